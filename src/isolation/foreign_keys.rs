//! Foreign keys of protected relations, checked with every row in view.
//!
//! Under FORCE the owner who adds or validates a key sees no row to compare, and PostgreSQL would
//! mark a broken key valid. The guards let nobody take FORCE off for that moment.
//!
//! The comparison is a query, whose planning evaluates what the relation's owner wrote into indexes. So it
//! runs with the owner's rights, which the caller must have, and not with the caller's: those may be a
//! superuser's.

use std::ffi::CStr;

use pgrx::prelude::*;

use super::lookup;
use super::request::text;
use super::{execute_as_theirs, require_admin};
use crate::catalog::as_relation_owner;
use crate::error::{Error, Obstacle, OrRaise};
use crate::versions;

/// Gives a relation a foreign key, in the place of the one that has the name.
#[pg_extern(sql = false)]
fn replace_foreign_key(oid: pg_sys::Oid, constraint_name: &CStr, definition: &str) {
    require_admin().or_raise();
    let (relation, name) = quoted(oid, constraint_name).or_raise();
    let statement = format!(
        "ALTER TABLE {relation} DROP CONSTRAINT IF EXISTS {name}, ADD CONSTRAINT {name} {definition}"
    );
    if !is_one_foreign_key(&statement) {
        Error::UnfitForeignKey.raise();
    }
    execute_as_owner(oid, &statement).or_raise();
}

/// Validates a foreign key that was added NOT VALID.
#[pg_extern(sql = false)]
fn validate_foreign_key(oid: pg_sys::Oid, constraint_name: &CStr) {
    require_admin().or_raise();
    let (relation, name) = quoted(oid, constraint_name).or_raise();
    let statement = format!("ALTER TABLE {relation} VALIDATE CONSTRAINT {name}");
    execute_as_owner(oid, &statement).or_raise();
}

fn execute_as_owner(relation: pg_sys::Oid, statement: &str) -> Result<(), Error> {
    // SAFETY: a catalog look-up by oid.
    if !unsafe { versions::owns_relation(relation) } {
        let name = lookup::name_of(relation).unwrap_or_default();
        return Err(Obstacle::NotOwner(name).into());
    }
    as_relation_owner(relation, || execute_as_theirs(statement))
}

fn quoted(relation: pg_sys::Oid, constraint: &CStr) -> Result<(String, String), Error> {
    let name = lookup::name_of(relation).ok_or(Obstacle::Gone(relation.to_u32()))?;
    Ok((name, lookup::quoted(&[text(constraint)]).concat()))
}

/// Whether a definition stayed what it is to be in the statement it was put into.
fn is_one_foreign_key(statement: &str) -> bool {
    let Ok(statement) = std::ffi::CString::new(statement) else {
        return false;
    };
    // SAFETY: the grammar takes any terminated text and raises where it is none of its own; each
    // node is read as what its tag says.
    unsafe {
        let parsed =
            pg_sys::raw_parser(statement.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
        let statements = pgrx::PgList::<pg_sys::RawStmt>::from_pg(parsed);
        let Some(only) = statements.get_ptr(0).filter(|_| statements.len() == 1) else {
            return false;
        };
        let node = (*only).stmt;
        if (*node).type_ != pg_sys::NodeTag::T_AlterTableStmt {
            return false;
        }
        let actions = pgrx::PgList::<pg_sys::AlterTableCmd>::from_pg(
            (*node.cast::<pg_sys::AlterTableStmt>()).cmds,
        );
        let Some(added) = actions.get_ptr(1).filter(|_| actions.len() == 2) else {
            return false;
        };
        (*added).subtype == pg_sys::AlterTableType::AT_AddConstraint
            && (*(*added).def.cast::<pg_sys::Constraint>()).contype
                == pg_sys::ConstrType::CONSTR_FOREIGN
    }
}
