//! Governed schemas: whose new tables with the account column are protected as they are made.

use std::ffi::{CStr, CString};

use pgrx::prelude::*;
use tenant_guard_core::archetype::Archetype;

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
         JOIN pg_class AS c ON c.relnamespace = g.schema \
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
    let oid = owned_schema(schema).or_raise();
    govern(oid, schema, &common).or_raise();
}

/// No longer does so. Tables that are protected stay so.
#[pg_extern(sql = false)]
fn ungovern_schema(schema: Option<&CStr>) {
    let schema = schema.ok_or(Error::NullArgument("schema")).or_raise();
    require_admin().or_raise();
    let oid = owned_schema(schema).or_raise();
    let removed = write(
        "DELETE FROM tenant_guard.governed_schema WHERE schema OPERATOR(pg_catalog.=) $1 \
         RETURNING 1",
        &[oid.into()],
    );
    let name = text(schema);
    if removed == 0 {
        Error::NotGoverned(name).raise();
    }
    let data = serde_json::json!({ "schema": name }).to_string();
    record_system("ungovern_schema", None, "", Some(&data));
}

/// Registers the rule of a schema after `protect_schema`, where the schema is the caller's.
pub(in crate::isolation) fn govern_protected(schema: &str, common: &Request) -> Result<(), Error> {
    let name = CString::new(schema).unwrap_or_default();
    match owned_schema(&name) {
        Ok(oid) => govern(oid, &name, common),
        Err(Error::NotSchemaOwner(_)) => {
            notice!("schema \"{schema}\" is not yours: tables made in it later stay unprotected");
            Ok(())
        }
        Err(other) => Err(other),
    }
}

fn govern(oid: pg_sys::Oid, schema: &CStr, common: &Request) -> Result<(), Error> {
    write(
        "INSERT INTO tenant_guard.governed_schema (schema, account_column, roles, redact, audit) \
         VALUES ($1, $2, $3::text[]::name[], $4::text[]::name[], $5) \
         ON CONFLICT (schema) DO UPDATE SET \
             account_column = excluded.account_column, roles = excluded.roles, \
             redact = excluded.redact, audit = excluded.audit",
        &[
            oid.into(),
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

/// A schema of the caller's that may be governed.
fn owned_schema(schema: &CStr) -> Result<pg_sys::Oid, Error> {
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
        Ok(oid)
    }
}
