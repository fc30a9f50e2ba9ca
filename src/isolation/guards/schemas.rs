//! Governed schemas: whose new tables with the account column are protected as they are made.

use std::ffi::{CStr, CString};

use pgrx::pg_sys::ObjectType;
use pgrx::prelude::*;
use tenant_guard_core::archetype::Archetype;

use super::command::{self, Command};
use crate::audit::record::record_system;
use crate::catalog::write;
use crate::error::{Error, OrRaise};
use crate::isolation::request::{Request, text};
use crate::isolation::{registry, require_admin};
use crate::versions;

/// What is registered for a schema.
pub(super) struct Rule {
    pub(super) column: String,
    roles: Option<Vec<String>>,
    redact: Vec<String>,
    audit: bool,
}

impl Rule {
    /// The protection of a new table.
    pub(super) fn request(self, relation: pg_sys::Oid) -> Result<Request, Error> {
        // Without a role that is gone the policy would be for the others alone.
        for role in self.roles.iter().flatten() {
            let name = CString::new(role.as_str()).unwrap_or_default();
            // SAFETY: a catalog look-up of a terminated name.
            if unsafe { pg_sys::get_role_oid(name.as_ptr(), true) } == pg_sys::Oid::INVALID {
                return Err(Error::NoRole(role.clone()));
            }
        }
        Ok(Request {
            relation,
            archetype: Archetype::Account,
            column: Some(self.column),
            roles: self.roles,
            redact: self.redact,
            audit: self.audit,
            links: Vec::new(),
        })
    }
}

/// The rule for a table that has the account column of its governed schema.
pub(super) fn rule_for(relation: pg_sys::Oid) -> Option<Rule> {
    let found = registry::read(
        "SELECT g.account_column::text, g.roles::text[], g.audit, \
             ARRAY(SELECT r.name FROM unnest(g.redact::text[]) WITH ORDINALITY AS r (name, position) \
                 JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = r.name \
                     AND a.attnum > 0 AND NOT a.attisdropped \
                 ORDER BY r.position) \
         FROM tenant_guard.governed_schema AS g \
         JOIN pg_namespace AS n ON n.nspname = g.schema \
         JOIN pg_class AS c ON c.relnamespace = n.oid \
         JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = g.account_column \
             AND a.attnum > 0 AND NOT a.attisdropped \
         WHERE c.oid = $1 AND c.relkind IN ('r', 'p')",
        &[relation.into()],
        |row| {
            Ok(Rule {
                column: row.get(1)?.unwrap_or_default(),
                roles: row.get(2)?,
                audit: row.get(3)?.unwrap_or(true),
                redact: row.get(4)?.unwrap_or_default(),
            })
        },
    );
    found.into_iter().next()
}

/// Has new tables of a schema that have the account column protected as they are made.
#[pg_extern(sql = false)]
fn govern_schema<'a>(
    schema: Option<&CStr>,
    account_column: Option<&'a CStr>,
    roles: Option<Vec<Option<pg_sys::Oid>>>,
    redact: Option<pgrx::Array<'a, &'a CStr>>,
    audit: Option<bool>,
) {
    let schema = schema.ok_or(Error::NullArgument("schema")).or_raise();
    require_admin().or_raise();
    let common = Request::of_schema(account_column, roles, redact, audit).or_raise();
    require_owned_schema(schema).or_raise();
    govern(schema, &common).or_raise();
}

/// No longer does so. Tables that are protected stay so.
#[pg_extern(sql = false)]
fn ungovern_schema(schema: Option<&CStr>) {
    let schema = schema.ok_or(Error::NullArgument("schema")).or_raise();
    require_admin().or_raise();
    require_owned_schema(schema).or_raise();
    let name = text(schema);
    if remove(&name) == 0 {
        Error::NotGoverned(name).raise();
    }
    let data = serde_json::json!({ "schema": name }).to_string();
    record_system("ungovern_schema", None, "", Some(&data));
}

/// Has the rule of a schema go with it.
pub(super) fn dropped(schema: &str) {
    remove(schema);
}

/// Has the rule of a schema follow it to its new name.
pub(super) fn renamed(command: &Command) {
    // SAFETY: dispatched by the statement's tag.
    let (kind, old, new) = unsafe {
        let statement: &pg_sys::RenameStmt = command.statement();
        let name = |name| command::text(name);
        (
            statement.renameType,
            name(statement.subname),
            name(statement.newname),
        )
    };
    if kind != ObjectType::OBJECT_SCHEMA {
        return;
    }
    // No schema had the new name, so a rule under it was left by one that is gone.
    remove(&new);
    write(
        "UPDATE tenant_guard.governed_schema SET schema = $2 \
         WHERE schema OPERATOR(pg_catalog.=) $1",
        &[old.as_str().into(), new.as_str().into()],
    );
}

/// Removes the rule of a schema; how many there were.
fn remove(schema: &str) -> usize {
    write(
        "DELETE FROM tenant_guard.governed_schema WHERE schema OPERATOR(pg_catalog.=) $1 \
         RETURNING 1",
        &[schema.into()],
    )
}

/// Registers the rule of a schema after `protect_schema`, where the schema is the caller's.
pub(in crate::isolation) fn govern_protected(schema: &str, common: &Request) -> Result<(), Error> {
    let name = CString::new(schema).unwrap_or_default();
    match require_owned_schema(&name) {
        Ok(()) => govern(&name, common),
        Err(Error::NotSchemaOwner(_)) => {
            notice!("schema \"{schema}\" is not yours: tables made in it later stay unprotected");
            Ok(())
        }
        Err(other) => Err(other),
    }
}

fn govern(schema: &CStr, common: &Request) -> Result<(), Error> {
    write(
        "INSERT INTO tenant_guard.governed_schema (schema, account_column, roles, redact, audit) \
         VALUES ($1, $2, $3::text[]::name[], $4::text[]::name[], $5) \
         ON CONFLICT (schema) DO UPDATE SET \
             account_column = excluded.account_column, roles = excluded.roles, \
             redact = excluded.redact, audit = excluded.audit",
        &[
            text(schema).into(),
            common.column.as_deref().into(),
            common.roles.clone().into(),
            common.redact.clone().into(),
            common.audit.into(),
        ],
    );
    let data = serde_json::json!({
        "schema": text(schema), "account_column": common.column, "roles": common.roles,
        "redact": common.redact, "audit": common.audit,
    });
    record_system("govern_schema", None, "", Some(&data.to_string()));
    Ok(())
}

/// Refuses a schema that is not the caller's or may not be governed.
fn require_owned_schema(schema: &CStr) -> Result<(), Error> {
    let name = text(schema);
    let reserved =
        name.starts_with("pg_") || ["information_schema", "tenant_guard"].contains(&name.as_str());
    if reserved {
        return Err(Error::ReservedSchema(name));
    }
    // SAFETY: catalog look-ups by a terminated name and by oid.
    unsafe {
        let oid = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        if oid == pg_sys::Oid::INVALID {
            return Err(Error::UnknownSchema(name));
        }
        if !versions::owns_schema(oid) {
            return Err(Error::NotSchemaOwner(name));
        }
        Ok(())
    }
}
