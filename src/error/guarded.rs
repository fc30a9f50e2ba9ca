//! What the guards refuse.

use pgrx::PgSqlErrorCode;

use super::Obstacle;

/// Why a guard refuses a command. Names of relations come qualified and quoted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Guarded {
    /// It would take a part of protection away: what it would do, relation.
    #[error("cannot {0} of protected relation {1}")]
    Weakens(String, String),
    /// It would stop changes from being captured: what it would do, relation.
    #[error("cannot {0} of audited relation {1}")]
    Uncaptures(String, String),
    /// Its new owner could switch everything off: relation, role.
    #[error("protected relation {0} cannot belong to role \"{1}\", which can log in")]
    OwnerCanLogIn(String, String),
    /// Whoever reads what is above would read its rows: relation, what it would be a part of.
    #[error("protected relation {0} cannot be part of {1}, which is not protected as it is")]
    LessProtected(String, String),
    /// A trigger that writes events in the extension's name: function.
    #[error("permission denied for function {0}")]
    CaptureTrigger(String),
    /// What it would do, name of the ledger's table.
    #[error("cannot {0} ledger table \"{1}\"")]
    Ledger(&'static str, String),
    /// What it would do, name of a view of ours.
    #[error("cannot {0} view \"{1}\" of tenant_guard")]
    View(&'static str, String),
    /// What it would do to the extension.
    #[error("cannot {0}: the audit ledger holds events")]
    HoldsEvents(&'static str),
    /// What it would do to the extension.
    #[error("cannot {0}")]
    Extension(&'static str),
    /// The copy, and the protected relation whose account column it lacks.
    #[error("{0} copies rows of protected relation {1} without their account")]
    Copies(String, String),
    /// The copy, whose sources were not seen when the command began.
    #[error("{0} copies rows of relations that cannot be told")]
    CopiesUnknown(String),
    /// Materialized view, protected relation.
    #[error("materialized view {0} holds rows of protected relation {1}")]
    MaterializedView(String, String),
    /// Materialized view, protected relation.
    #[error("materialized view {0} would hold what one account sees of protected relation {1}")]
    RefreshedByOne(String, String),
    /// What is made cannot be protected as it would have to be: why it would have to be.
    #[error("{obstacle}")]
    Unprotectable {
        /// What stands against it.
        obstacle: Box<Obstacle>,
        /// Why it is to be protected.
        because: String,
    },
}

const LET_THROUGH: &str = "A superuser can let the command through by setting \
                           tenant_guard.guards to off; that leaves an event.";

impl Guarded {
    pub(super) fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::Weakens(..)
            | Self::Uncaptures(..)
            | Self::OwnerCanLogIn(..)
            | Self::LessProtected(..)
            | Self::CaptureTrigger(_) => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Ledger(..)
            | Self::View(..)
            | Self::HoldsEvents(_)
            | Self::Extension(_)
            | Self::Copies(..)
            | Self::CopiesUnknown(_)
            | Self::MaterializedView(..)
            | Self::RefreshedByOne(..) => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Unprotectable { obstacle, .. } => obstacle.code(),
        }
    }

    pub(super) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Weakens(..) => {
                "tenant_guard.unprotect() takes protection off as a whole, and \
                 tenant_guard.protect() changes it. A superuser can let the command through by \
                 setting tenant_guard.guards to off; that leaves an event."
            }
            Self::Uncaptures(..) => {
                "tenant_guard.unaudit() stops the capture of changes, and tenant_guard.audit() \
                 changes it. A superuser can let the command through by setting \
                 tenant_guard.guards to off; that leaves an event."
            }
            Self::OwnerCanLogIn(..) => {
                "An owner can take protection off. Give the table to a role that nobody logs in \
                 as, and grant the other one what it needs."
            }
            Self::LessProtected(..) => {
                "A statement on a parent asks the policies of the parent alone. Protect that first, \
                 or tenant_guard.unprotect() what is to be its part: below a protected relation it \
                 is protected in the same command."
            }
            Self::CaptureTrigger(_) => "tenant_guard.protect() and tenant_guard.audit() create it.",
            Self::Copies(..) => {
                "Select the account column under its own name too, so that the copy can be \
                 protected, or create the table and protect it before it is filled."
            }
            Self::MaterializedView(..) => {
                "It would show every account's rows to whoever may read it. A view with \
                 security_invoker, or a protected table, shows each account its own."
            }
            Self::RefreshedByOne(..) => {
                "Give the view to a superuser: it is refreshed with the rows of all accounts then. \
                 Grant it to nobody whose queries are an account's."
            }
            Self::Unprotectable { obstacle, .. } => return obstacle.hint(),
            _ => LET_THROUGH,
        })
    }

    pub(super) fn detail(&self) -> Option<String> {
        match self {
            Self::Unprotectable { because, .. } => Some(because.clone()),
            _ => None,
        }
    }
}
