//! CREATE TABLE AS, SELECT INTO and CREATE MATERIALIZED VIEW over protected relations.

use pgrx::pg_sys::{self, NodeTag, ObjectType};

use super::command::{Command, objects};
use super::created::admit;
use super::refusal::refuse;
use super::{noted, schemas};
use crate::audit::pinned::Settings;
use crate::audit::text::qualified_name;
use crate::catalog::relation_owner;
use crate::error::Guarded;
use crate::isolation::{arrival, registry};

/// Protects the copy like the first of its sources whose account column it has, or refuses it.
pub(super) fn made(command: &Command) {
    // SAFETY: dispatched by the statement's tag.
    let (materialized, executed) = unsafe {
        let statement: &pg_sys::CreateTableAsStmt = command.statement();
        if noted::is_temporary((*statement.into).rel) {
            return;
        }
        let materialized = statement.objtype == ObjectType::OBJECT_MATVIEW;
        (materialized, noted::relations_executed(statement.query))
    };
    let mut read = noted::take(command).and_then(|noted| noted.read);
    // What a prepared statement reads is settled when it is executed, under the search path of then.
    if let Some(executed) = executed {
        read = read
            .zip(executed)
            .map(|(before, now)| [before, now].concat());
    }
    for (relation, tag) in objects(pg_sys::RelationRelationId) {
        // SAFETY: a catalog look-up by oid.
        let temporary =
            unsafe { pg_sys::get_rel_persistence(relation) } as u8 == pg_sys::RELPERSISTENCE_TEMP;
        if tag != NodeTag::T_CreateTableAsStmt || temporary {
            continue;
        }
        let _settings = Settings::for_catalog();
        let name = qualified_name(relation);
        let Some(read) = &read else {
            refuse(command, Some(relation), Guarded::CopiesUnknown(name));
            continue;
        };
        let sources = protected_sources(read);
        if materialized {
            if let Some(source) = sources.iter().find(|source| !source.open) {
                let refusal = Guarded::MaterializedView(name, qualified_name(source.root));
                refuse(command, Some(relation), refusal);
            }
        } else {
            judge(command, relation, &sources);
        }
    }
}

/// Refuses to fill a materialized view with the rows of the one account that whoever refreshes it is bound to.
/// Without an account there is no row at all, but an error; a superuser reads past policies, and so
/// does a view of his.
pub(super) fn refreshed(command: &Command) {
    for (view, tag) in objects(pg_sys::RelationRelationId) {
        // SAFETY: dispatched by the statement's tag; a look-up of a role.
        let filtered = unsafe {
            let statement: &pg_sys::RefreshMatViewStmt = command.statement();
            let sees_all = |owner| pg_sys::has_bypassrls_privilege(owner);
            !statement.skipData && !relation_owner(view).is_some_and(sees_all)
        };
        if tag != NodeTag::T_RefreshMatViewStmt || !filtered {
            continue;
        }
        let _settings = Settings::for_catalog();
        if let Some(source) = protected_sources(&[view]).iter().find(|s| !s.open) {
            let refusal =
                Guarded::RefreshedByOne(qualified_name(view), qualified_name(source.root));
            refuse(command, Some(view), refusal);
        }
    }
}

fn judge(command: &Command, relation: pg_sys::Oid, sources: &[Source]) {
    let fitting = sources
        .iter()
        .find(|source| registry::has_account_column_of(relation, source.root));
    if let Some(source) = fitting {
        let because = format!(
            "It is a copy of protected relation {}.",
            qualified_name(source.root)
        );
        admit(command, relation, because, || {
            arrival::protect_like(source.root, relation)
        });
    } else if let Some(source) = sources.iter().find(|source| !source.open) {
        let refusal = Guarded::Copies(qualified_name(relation), qualified_name(source.root));
        refuse(command, Some(relation), refusal);
    } else if let Some(rule) = schemas::rule_for(relation) {
        let because = format!(
            "It has column \"{}\" in a schema whose tables are protected.",
            rule.column
        );
        admit(command, relation, because, || {
            arrival::protect_new(rule.request(relation)?)
        });
    }
}

/// A protected relation that a query reads.
struct Source {
    root: pg_sys::Oid,
    /// Whether its rows are everybody's anyway.
    open: bool,
}

/// The protected relations among these and behind views among them, nearest first.
fn protected_sources(relations: &[pg_sys::Oid]) -> Vec<Source> {
    registry::read(
        "WITH RECURSIVE source AS ( \
             SELECT r.oid FROM unnest($1::oid[]) AS r (oid) \
             UNION \
             SELECT d.refobjid FROM source AS s \
             JOIN pg_rewrite AS w ON w.ev_class = s.oid \
             JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid \
                 AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> s.oid) \
         SELECT m.root::oid, bool_or(p.archetype IN ('public_read', 'reference')) \
         FROM source AS s \
         JOIN tenant_guard.protection_member AS m ON m.relation = s.oid \
         JOIN tenant_guard.protection AS p ON p.relation = m.root \
         JOIN pg_class AS c ON c.oid = m.root \
         GROUP BY m.root ORDER BY m.root::oid",
        &[relations.to_vec().into()],
        |row| {
            Ok(Source {
                root: row.get(1)?.unwrap_or(pg_sys::Oid::INVALID),
                open: row.get(2)?.unwrap_or(false),
            })
        },
    )
}
