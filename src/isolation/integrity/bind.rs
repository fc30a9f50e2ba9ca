//! `bind_foreign_keys`: every foreign key between protected relations is held to the account.

use std::ffi::CStr;

use pgrx::prelude::*;
use tenant_guard_core::reference::{BIND, Binding, trigger_name};

use super::examine::{Examiner, Misdirected, Subject};
use super::keys::{self, ForeignKey};
use super::triggers;
use crate::audit::record::record_system;
use crate::error::{BrokenKey, Error, Obstacle, OrRaise};
use crate::isolation::request::text;
use crate::isolation::{execute, locking, lookup, registry, require_admin};
use crate::versions;

/// Holds the foreign keys of a schema's protected relations to the account; what was done, or with
/// `dry_run` would be, as statements in order.
#[pg_extern(sql = false)]
fn bind_foreign_keys(
    schema: Option<&CStr>,
    dry_run: Option<bool>,
) -> TableIterator<
    'static,
    (
        name!(step, i32),
        name!(relation, String),
        name!(statement, String),
    ),
> {
    let schema = text(schema.ok_or(Error::NullArgument("schema")).or_raise());
    let dry_run = dry_run.ok_or(Error::NullArgument("dry_run")).or_raise();
    require_admin().or_raise();
    lookup::refuse_unknown_schema(&schema).or_raise();
    let schemas = [schema.clone()];
    if !dry_run {
        registry::lock();
        let relations = relations(&keys::of(Some(&schemas), false));
        refuse_others(&relations).or_raise();
        locking::lock_trees(&relations);
    }
    let found = keys::of(Some(&schemas), false);
    refuse_others(&relations(&found)).or_raise();
    refuse_broken(&schema, &found).or_raise();
    let mut plan = plan(&found);
    plan.extend(obsolete(&schema, &found));
    if !dry_run && !plan.is_empty() {
        for (_, statement) in &plan {
            execute(std::slice::from_ref(statement));
        }
        let data = serde_json::json!({ "schema": schema, "statements": plan.len() });
        record_system("bind_foreign_keys", None, "", Some(&data.to_string()));
    }
    let rows = plan.into_iter();
    TableIterator::new(
        (1..)
            .zip(rows)
            .map(|(step, (relation, statement))| (step, relation, statement)),
    )
}

/// The topmost relations of the keys, each once.
fn relations(found: &[ForeignKey]) -> Vec<pg_sys::Oid> {
    let sides = found
        .iter()
        .flat_map(|key| [key.child_root, key.reference.parent_root]);
    let mut all: Vec<_> = sides.collect();
    all.sort_by_key(|relation| relation.to_u32());
    all.dedup();
    all
}

/// Refuses relations that are not the caller's: of another owner's the caller does not decide who
/// may be referred to.
fn refuse_others(relations: &[pg_sys::Oid]) -> Result<(), Error> {
    for relation in relations {
        // SAFETY: a catalog look-up by oid.
        if !unsafe { versions::owns_relation(*relation) } {
            let name = lookup::name_of(*relation).unwrap_or_default();
            return Err(Obstacle::NotOwner(name).into());
        }
    }
    Ok(())
}

/// Refuses keys that rows break, all of them together.
fn refuse_broken(schema: &str, found: &[ForeignKey]) -> Result<(), Error> {
    let mut examiner = Examiner::new();
    let mut broken = Vec::new();
    for key in found
        .iter()
        .filter(|key| key.key.binding() != Binding::Left)
    {
        let subject = Subject {
            relation: key.child,
            root: key.child_root,
            references: vec![key.reference.clone()],
            accounts: false,
            paths: Vec::new(),
        };
        let mut outcome = examiner.examine(&subject);
        let name = (key.key.name.clone(), key.key.child.relation.clone());
        match outcome.references.pop().flatten() {
            // PostgreSQL compares what we cannot when it checks the new key.
            None if matches!(key.key.binding(), Binding::Composite(_)) => {}
            None => broken.push(BrokenKey::Incomparable(name.0, name.1)),
            Some(Misdirected { foreign, dangling }) => {
                if foreign.count > 0 {
                    broken.push(BrokenKey::Foreign(
                        name.0.clone(),
                        name.1.clone(),
                        foreign.count,
                    ));
                }
                // Only a key that was never validated can have some.
                if dangling.count > 0 {
                    broken.push(BrokenKey::Dangling(name.0, name.1, dangling.count));
                }
            }
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(Error::BrokenKeys(schema.to_owned(), broken))
}

/// The statements, each with the relation it changes.
fn plan(found: &[ForeignKey]) -> Vec<(String, String)> {
    let mut plan: Vec<(String, String)> = Vec::new();
    let mut add = |relation: &str, statement: String| {
        if !plan.iter().any(|(_, planned)| *planned == statement) {
            plan.push((relation.to_owned(), statement));
        }
    };
    let mut left = Vec::new();
    for ForeignKey {
        key,
        has_unique,
        child,
        reference,
        is_link,
        ..
    } in found
    {
        // Whose such a row is, the key itself says.
        if *is_link && key.child.account.is_none() {
            continue;
        }
        match key.binding() {
            Binding::Left => left.push(format!("{} of {}", key.name, key.child.relation)),
            Binding::Composite(definition) => {
                if let Some(unique) = key.unique().filter(|_| !has_unique) {
                    add(&key.parent.relation, unique);
                }
                add(&key.child.relation, key.replacement(&definition));
                let former = trigger_name(BIND, &key.name);
                if triggers::has(*child, &former) {
                    let child = &key.child.relation;
                    add(child, format!("DROP TRIGGER {former} ON {child}"));
                }
            }
            Binding::Trigger(_) => {
                let relations = [*child, reference.parent];
                for ((relation, name, definition), oid) in key.triggers().into_iter().zip(relations)
                {
                    let always =
                        |table: &str| format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}");
                    if !triggers::has(oid, &name) {
                        add(relation, definition);
                        add(relation, always(relation));
                    }
                    for table in triggers::silent(oid, &name) {
                        let table = lookup::name_of(table).unwrap_or_default();
                        add(&table, always(&table));
                    }
                }
            }
        }
    }
    if !left.is_empty() {
        notice!(
            "left alone, because they name accounts: {}",
            left.join(", ")
        );
    }
    plan
}

/// The statements that take triggers off whose key is gone, or holds the account itself by now.
fn obsolete(schema: &str, found: &[ForeignKey]) -> Vec<(String, String)> {
    let members = registry::read(
        "SELECT m.relation::oid FROM tenant_guard.protected_member AS m \
         WHERE m.schema = $1 ORDER BY m.name",
        &[schema.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    );
    let mut plan = Vec::new();
    for relation in members {
        for trigger in triggers::on(relation) {
            let kept = triggers::holds(relation, &trigger);
            let replaced = found
                .iter()
                .any(|key| key.child == relation && trigger_name(BIND, &key.key.name) == trigger);
            if !kept && !replaced {
                let name = lookup::name_of(relation).unwrap_or_default();
                plan.push((name.clone(), format!("DROP TRIGGER {trigger} ON {name}")));
            }
        }
    }
    plan
}
