//! Why a role or a permission cannot be.

use thiserror::Error;

/// Why roles and permissions cannot be as asked. Names of relations come qualified and quoted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PermissionError {
    /// A role that is not defined.
    #[error("role \"{0}\" of the product does not exist")]
    UnknownRole(String),
    /// A role inherits itself: the path from it back to it.
    #[error("roles of the product inherit each other: {}", .0.join(" > "))]
    RoleCycle(Vec<String>),
    /// What names a role that is to be dropped.
    #[error("role \"{0}\" of the product is in use")]
    RoleInUse(String, Vec<String>),
    /// Not the name of a scope.
    #[error("scope \"{0}\" is not account, own, assigned or via")]
    UnknownScope(String),
    /// An argument that the scope does not take, or misses.
    #[error("scope {0} {1}")]
    UnfitScope(&'static str, &'static str),
    /// A column list for a command that touches whole rows.
    #[error("delete takes no columns")]
    ColumnsOfDelete,
    /// An archetype whose floor decides already: relation, archetype, command.
    #[error("roles cannot be allowed to {2} rows of {0}, whose archetype is {1}")]
    Archetype(String, &'static str, &'static str),
    /// A relation that assigns rows but is open or nobody's.
    #[error("relation {0} cannot assign rows: it is not protected as rows of one account")]
    UnprotectedAssignment(String),
    /// A relation whose rows nothing can be assigned by.
    #[error("relation {0} has no primary key of one column beside the account")]
    NoRowKey(String),
    /// A role that may write what assigns rows to it: role, assigning relation.
    #[error("role \"{0}\" could assign rows to itself through {1}")]
    SelfAssignment(String, String),
    /// Policies that read each other's relations: the path from one back to it.
    #[error("policies would read each other's relations: {}", .0.join(" > "))]
    Recursion(Vec<String>),
    /// A relation that permissions on another one read: relation, the other.
    #[error("permissions on {1} read relation {0}")]
    ReadBy(String, String),
    /// A permission that names what is gone: role, command, relation.
    #[error("what allows role \"{0}\" to {1} rows of {2} names a column or key that is gone")]
    Broken(String, &'static str, String),
}

impl PermissionError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::UnprotectedAssignment(_) => {
                "Call tenant_guard.protect() on it: who may write it decides who sees what."
            }
            Self::SelfAssignment(..) => {
                "Allow other roles to write that relation first, with tenant_guard.allow()."
            }
            Self::Broken(..) => "Call disallow() and allow() anew.",
            _ => return None,
        })
    }

    /// One thing a line.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::RoleInUse(_, by) => Some(by.join("\n")),
            _ => None,
        }
    }
}
