//! How changes of a relation are captured: audited relations without an account, and lists of
//! columns for all.

use std::ffi::CStr;

use pgrx::prelude::*;
use tenant_guard_core::archetype::Archetype;
use tenant_guard_core::plan;
use tenant_guard_core::trigger::CaptureRule;

use super::members::Tree;
use super::registry::{self, read};
use super::request::{Request, text};
use super::{execute, locking, lookup, require_admin, statements};
use crate::audit::hash_key;
use crate::audit::record::record_system;
use crate::catalog::write;
use crate::error::{Error, Obstacle, OrRaise};

/// Has changes of a relation captured, or captured in another way.
#[pg_extern(sql = false)]
fn audit<'a>(
    relation: Option<pg_sys::Oid>,
    include: Option<pgrx::Array<'a, &'a CStr>>,
    exclude: Option<pgrx::Array<'a, &'a CStr>>,
    redact: Option<pgrx::Array<'a, &'a CStr>>,
    hash: Option<pgrx::Array<'a, &'a CStr>>,
    skip_unchanged: Option<bool>,
    truncate_rows: Option<bool>,
) {
    let relation = relation.ok_or(Error::NullArgument("relation")).or_raise();
    let optional = |list, name| match list {
        None => Ok(Vec::new()),
        Some(list) => names(&list, name),
    };
    let rule = CaptureRule {
        include: include
            .map(|list| names(&list, "an element of include"))
            .transpose()
            .or_raise(),
        exclude: optional(exclude, "an element of exclude").or_raise(),
        redact: optional(redact, "an element of redact").or_raise(),
        hash: optional(hash, "an element of hash").or_raise(),
        skip_unchanged: skip_unchanged.unwrap_or(false),
        truncate_rows: truncate_rows.unwrap_or(false),
    };
    require_admin().or_raise();
    registry::lock();
    // Judged before a lock is taken on what the caller may not decide about.
    Tree::read(&bare(relation)).or_raise();
    refuse(relation, &rule).or_raise();
    if rule_of(relation).as_ref() == Some(&rule) {
        let name = lookup::name_of(relation).unwrap_or_default();
        notice!("relation {name} is already audited in this way");
    } else {
        if !rule.hash.is_empty() {
            hash_key::ensure();
        }
        store(relation, &rule);
        record_system("audit", Some(relation), "", Some(&described(&rule)));
    }
    // What the rule asks for may have been taken off while the guards were.
    bring_about(relation).or_raise();
}

/// Has changes of a relation no longer captured, of a protected one captured as `protect` says.
#[pg_extern(sql = false)]
fn unaudit(relation: Option<pg_sys::Oid>) {
    let relation = relation.ok_or(Error::NullArgument("relation")).or_raise();
    require_admin().or_raise();
    registry::lock();
    let tree = Tree::read(&bare(relation)).or_raise();
    if rule_of(relation).is_none() {
        Error::from(Obstacle::NotAudited(tree.name().to_owned())).raise();
    }
    // The guards let go of what no rule asks for.
    forget(relation);
    record_system("unaudit", Some(relation), "", None);
    bring_about(relation).or_raise();
}

fn names(list: &pgrx::Array<'_, &CStr>, element: &'static str) -> Result<Vec<String>, Error> {
    let name = |name: Option<&CStr>| name.map(text).ok_or(Error::NullArgument(element));
    list.iter().map(name).collect()
}

/// What it takes to read a relation that may not be protected.
fn bare(relation: pg_sys::Oid) -> Request {
    Request {
        relation,
        archetype: Archetype::DenyAll,
        column: None,
        roles: None,
        redact: Vec::new(),
        audit: false,
        links: Vec::new(),
    }
}

/// Raises what stands against capturing the relation by this rule.
fn refuse(relation: pg_sys::Oid, rule: &CaptureRule) -> Result<(), Error> {
    let name = lookup::name_of(relation).unwrap_or_default();
    if let Some(root) = root_of(relation).filter(|root| *root != relation) {
        let root = lookup::name_of(root).unwrap_or_default();
        return Err(Obstacle::PartOf(name, root).into());
    }
    if let Some(parent) = lookup::parent_of(relation) {
        return Err(Obstacle::PartOf(name, parent).into());
    }
    if let Some(column) = rule.contradiction() {
        return Err(Error::TwoLists(column.to_owned()));
    }
    let account = registry::registered(relation).map(|request| request.column_name().to_owned());
    let account = account.unwrap_or_default();
    let secret: Vec<_> = rule.redact.iter().chain(&rule.hash).cloned().collect();
    for (column, standing) in lookup::standings(relation, &secret, &account) {
        match standing {
            lookup::Standing::Missing => return Err(Obstacle::NoColumn(column, name).into()),
            lookup::Standing::Key => return Err(Obstacle::RedactsKey(column, name).into()),
            lookup::Standing::Plain => {}
        }
    }
    let plain = rule.include.iter().flatten().chain(&rule.exclude);
    match plain.into_iter().find(|c| !lookup::has_column(relation, c)) {
        Some(column) => Err(Obstacle::NoColumn(column.clone(), name).into()),
        None => Ok(()),
    }
}

/// Executes what is missing between the rule and the triggers that stand.
fn bring_about(relation: pg_sys::Oid) -> Result<(), Error> {
    if let Some(request) = registry::registered(relation) {
        let tree = Tree::lock(&request)?;
        execute(&statements(&request, &tree)?);
        return Ok(());
    }
    let request = bare(relation);
    let rule = rule_of(relation);
    let tree = Tree::read(&request)?;
    let plan = plan::capture(&tree.plan_members(|_| Vec::new()), "", rule.as_ref());
    if plan.is_empty() {
        return Ok(());
    }
    locking::lock_trees(&[relation]);
    let tree = Tree::read(&request)?;
    for member in tree.iter() {
        super::obstacles::kind_and_owner(member)?;
    }
    execute(&plan::capture(
        &tree.plan_members(|_| Vec::new()),
        "",
        rule.as_ref(),
    ));
    Ok(())
}

/// Puts the triggers of the audited relation above on what a command made or put below it.
pub(super) fn join(root: pg_sys::Oid, coming: pg_sys::Oid) {
    let members = Tree::of(&lookup::path_below(root, coming), &bare(root));
    let plan = plan::capture(
        &members.plan_members(|_| Vec::new()),
        "",
        rule_of(root).as_ref(),
    );
    execute(&plan);
    let root = serde_json::json!({ "root": lookup::name_of(root) }).to_string();
    record_system("audit", Some(coming), "", Some(&root));
}

/// How changes of a protected relation are captured: what `audit` asked for, and no less redacted
/// than `protect` did.
pub(super) fn wanted(request: &Request) -> Option<CaptureRule> {
    match rule_of(request.relation) {
        Some(rule) => Some(rule.and_redact(&request.redact)),
        None => request
            .audit
            .then(|| CaptureRule::redacting(&request.redact)),
    }
}

/// The rule of a relation that is audited by itself.
pub(super) fn rule_of(relation: pg_sys::Oid) -> Option<CaptureRule> {
    let rows = read(
        "SELECT r.include::text[], r.exclude::text[], r.redact::text[], r.hash::text[], \
             r.skip_unchanged, r.truncate_rows \
         FROM tenant_guard.capture_rule AS r JOIN pg_class AS c ON c.oid = r.relation \
         WHERE r.relation = $1",
        &[relation.into()],
        |row| {
            Ok(CaptureRule {
                include: row.get(1)?,
                exclude: row.get(2)?.unwrap_or_default(),
                redact: row.get(3)?.unwrap_or_default(),
                hash: row.get(4)?.unwrap_or_default(),
                skip_unchanged: row.get(5)?.unwrap_or(false),
                truncate_rows: row.get(6)?.unwrap_or(false),
            })
        },
    );
    rows.into_iter().next()
}

/// The audited relation that this one is, or is below of.
pub(super) fn root_of(relation: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let found = read(
        "WITH RECURSIVE above AS ( \
             SELECT $1::oid AS relation, 0 AS distance \
             UNION ALL \
             SELECT i.inhparent, a.distance + 1 FROM above AS a \
             JOIN pg_inherits AS i ON i.inhrelid = a.relation) \
         SELECT r.relation::oid FROM above AS a \
         JOIN tenant_guard.capture_rule AS r ON r.relation = a.relation \
         ORDER BY a.distance LIMIT 1",
        &[relation.into()],
        |row| row.get::<pg_sys::Oid>(1),
    );
    found.into_iter().next().flatten()
}

fn store(relation: pg_sys::Oid, rule: &CaptureRule) {
    write(
        "INSERT INTO tenant_guard.capture_rule (relation, include, exclude, redact, hash, \
             skip_unchanged, truncate_rows) \
         VALUES ($1, $2::text[]::name[], $3::text[]::name[], $4::text[]::name[], \
             $5::text[]::name[], $6, $7) \
         ON CONFLICT (relation) DO UPDATE SET include = excluded.include, \
             exclude = excluded.exclude, redact = excluded.redact, hash = excluded.hash, \
             skip_unchanged = excluded.skip_unchanged, truncate_rows = excluded.truncate_rows",
        &[
            relation.into(),
            rule.include.clone().into(),
            rule.exclude.clone().into(),
            rule.redact.clone().into(),
            rule.hash.clone().into(),
            rule.skip_unchanged.into(),
            rule.truncate_rows.into(),
        ],
    );
    write(
        "DELETE FROM tenant_guard.capture_rule AS r \
         WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = r.relation)",
        &[],
    );
}

fn forget(relation: pg_sys::Oid) {
    write(
        "DELETE FROM tenant_guard.capture_rule WHERE relation = $1",
        &[relation.into()],
    );
}

/// What the event says.
fn described(rule: &CaptureRule) -> String {
    serde_json::json!({
        "include": rule.include,
        "exclude": rule.exclude,
        "redact": rule.redact,
        "hash": rule.hash,
        "skip_unchanged": rule.skip_unchanged,
        "truncate_rows": rule.truncate_rows,
    })
    .to_string()
}
