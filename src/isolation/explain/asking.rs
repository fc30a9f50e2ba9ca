//! For which role of the database it is asked, and what that may do at all.

use pgrx::prelude::*;
use tenant_guard_core::permission::Command;

use crate::catalog::role_name;
use crate::error::Error;
use crate::isolation::registry::read;
use crate::isolation::{is_admin, may_become};

/// Who asks, and about whom.
pub(super) struct Asking {
    /// The role whose policies and privileges are looked at, and with whose rights operands are asked.
    pub(super) role: pg_sys::Oid,
    pub(super) name: String,
    /// Whether the caller may know which rows there are.
    pub(super) knows_rows: bool,
}

impl Asking {
    /// About `role`, which the caller must be able to become, or about the caller.
    pub(super) fn of(role: Option<pg_sys::Oid>) -> Result<Self, Error> {
        // SAFETY: catalog look-ups by oid.
        unsafe {
            let caller = pg_sys::GetUserId();
            let role = role.unwrap_or(caller);
            if pg_sys::GetUserNameFromId(role, true).is_null() {
                return Err(Error::UnknownRole(role.to_u32()));
            }
            if !may_become(caller, role) {
                return Err(Error::NotAMember(role_name(role)));
            }
            Ok(Self {
                role,
                name: role_name(role),
                knows_rows: is_admin(),
            })
        }
    }
}

/// What grants leave of a command.
pub(super) enum Privilege {
    Whole,
    /// These columns only.
    Columns(Vec<String>),
    /// Nothing: what is missing, in words.
    Missing(String),
}

/// What is granted to a role for each command, in the order of [`Command::ALL`].
pub(super) fn privileges(asking: &Asking, relation: pg_sys::Oid, name: &str) -> Vec<Privilege> {
    let role = asking.role;
    let in_schema = read(
        "SELECT n.nspname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE c.oid = $1 AND NOT has_schema_privilege($2, n.oid, 'USAGE')",
        &[relation.into(), role.into()],
        |row| row.get::<String>(1),
    );
    let closed = in_schema.into_iter().next().flatten();
    let of = |command: Command| {
        if let Some(schema) = &closed {
            return Privilege::Missing(format!(
                "USAGE on schema {schema} is not granted to {}",
                asking.name
            ));
        }
        let keyword = command.name().to_uppercase();
        let granted = read(
            "SELECT has_table_privilege($2, $1, $3), \
                 CASE WHEN $3 <> 'DELETE' THEN ARRAY( \
                     SELECT a.attname::text FROM pg_attribute AS a \
                     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped \
                         AND has_column_privilege($2, $1, a.attnum, $3) ORDER BY a.attnum) END",
            &[relation.into(), role.into(), keyword.as_str().into()],
            |row| {
                let columns = row.get::<Vec<String>>(2)?.unwrap_or_default();
                Ok((row.get::<bool>(1)?.unwrap_or(false), columns))
            },
        );
        match granted.into_iter().next() {
            Some((true, _)) => Privilege::Whole,
            Some((false, columns)) if !columns.is_empty() => Privilege::Columns(columns),
            _ => {
                let missing = format!("{keyword} on {name} is not granted to {}", asking.name);
                Privilege::Missing(missing)
            }
        }
    };
    Command::ALL.into_iter().map(of).collect()
}
