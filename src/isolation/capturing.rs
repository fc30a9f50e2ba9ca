//! How changes of a relation are captured: audited relations without an account, and lists of
//! columns for all.

use std::ffi::CStr;

use pgrx::prelude::*;
use tenant_guard_core::archetype::Archetype;
use tenant_guard_core::plan;
use tenant_guard_core::trigger::CaptureRule;

use super::forgetting::{AUDITED, Sweep};
use super::members::Tree;
use super::registry::{self, read, read_often};
use super::request::{Request, text};
use super::{execute, following, locking, lookup, manifest, numbering, require_admin, statements};
use crate::audit::configuration::arguments;
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
        personal: Vec::new(),
        skip_unchanged: skip_unchanged.unwrap_or(false),
        truncate_rows: truncate_rows.unwrap_or(false),
    };
    require_admin().or_raise();
    registry::lock();
    // Judged before a lock is taken on what the caller may not decide about.
    Tree::read(&bare(relation)).or_raise();
    let rule = rule.and_personal(manifest::personal_columns(relation));
    refuse(relation, &rule).or_raise();
    if rule_of(relation).as_ref() == Some(&rule) {
        take_names(relation, &rule);
        let name = lookup::name_of(relation).unwrap_or_default();
        notice!("relation {name} is already audited in this way");
    } else {
        if !rule.hash.is_empty() {
            hash_key::ensure();
        }
        // Whether rows stand is only sure while nobody else writes.
        locking::lock_trees(&[relation]);
        let mut data = described(&rule);
        data["empty"] = super::integrity::is_empty(relation).into();
        following::say(&mut data, relation);
        store(relation, &rule);
        record_system("audit", Some(relation), "", Some(&data.to_string()));
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
    if registry::registered(relation).is_none() {
        manifest::forget_annotations(relation);
    }
    record_system("unaudit", Some(relation), "", None);
    bring_about(relation).or_raise();
}

/// Judges a relation whose capture the current user is to decide about.
pub(super) fn judge(relation: pg_sys::Oid) -> Result<(), Error> {
    let tree = Tree::read(&bare(relation))?;
    match lookup::partition_of(relation) {
        Some(parent) => Err(Obstacle::PartOf(tree.name().to_owned(), parent).into()),
        None => Ok(()),
    }
}

fn names(list: &pgrx::Array<'_, &CStr>, element: &'static str) -> Result<Vec<String>, Error> {
    let name = |name: Option<&CStr>| name.map(text).ok_or(Error::NullArgument(element));
    list.iter().map(name).collect()
}

/// What it takes to read a relation that may not be protected.
pub(super) fn bare(relation: pg_sys::Oid) -> Request {
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

/// Raises what stands against a rule of this relation's own: another relation's is its rule.
pub(super) fn refuse_part(relation: pg_sys::Oid) -> Result<(), Error> {
    let name = lookup::name_of(relation).unwrap_or_default();
    if let Some(root) = root_of(relation).filter(|root| *root != relation) {
        let root = lookup::name_of(root).unwrap_or_default();
        return Err(Obstacle::PartOf(name, root).into());
    }
    if let Some(parent) = lookup::parent_of(relation) {
        return Err(Obstacle::PartOf(name, parent).into());
    }
    Ok(())
}

/// Raises what stands against capturing the relation by this rule.
fn refuse(relation: pg_sys::Oid, rule: &CaptureRule) -> Result<(), Error> {
    refuse_part(relation)?;
    let name = lookup::name_of(relation).unwrap_or_default();
    if let Some(column) = rule.hashed_and_personal() {
        return Err(Error::HashedPersonal(column.to_owned()));
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
pub(super) fn bring_about(relation: pg_sys::Oid) -> Result<(), Error> {
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
    let mut data = serde_json::json!({ "root": lookup::name_of(root) });
    following::say(&mut data, coming);
    record_system("audit", Some(coming), "", Some(&data.to_string()));
}

/// A relation that left its audited tree with triggers of ours on it.
pub(super) struct Left {
    pub(super) relation: pg_sys::Oid,
    rule: CaptureRule,
}

/// The relations that bear triggers of ours without an account, the mark of those that are audited
/// only, and that no rule and no protection speaks for: this one, or the topmost of each tree among
/// those that the running transaction changed.
///
/// By their triggers, because nothing else remains: which tree it was cannot be told when another
/// session had put them there a moment ago.
pub(super) fn left(only: Option<pg_sys::Oid>) -> Vec<Left> {
    let found = read(
        "WITH RECURSIVE audited AS ( \
             SELECT r.relation::oid AS relation FROM tenant_guard.capture_rule AS r \
             UNION \
             SELECT i.inhrelid FROM audited AS a JOIN pg_inherits AS i ON i.inhparent = a.relation), \
         lonely AS ( \
             SELECT DISTINCT ON (t.tgrelid) t.tgrelid AS relation, t.tgargs \
             FROM pg_trigger AS t \
             WHERE t.tgname IN ('tenant_guard_capture', 'tenant_guard_capture_truncate') \
                 AND t.tgfoid IN ('tenant_guard.capture'::regproc, \
                     'tenant_guard.capture_truncate'::regproc) \
                 AND get_byte(t.tgargs, 0) = 0 \
                 AND NOT EXISTS (SELECT FROM audited AS a WHERE a.relation = t.tgrelid) \
                 AND NOT EXISTS (SELECT FROM tenant_guard.protection_member AS m \
                     WHERE m.relation = t.tgrelid) \
             ORDER BY t.tgrelid, t.tgname DESC) \
         SELECT l.relation, l.tgargs, c.xmin::text FROM lonely AS l \
         JOIN pg_class AS c ON c.oid = l.relation \
         WHERE ($1::oid IS NULL OR l.relation = $1) \
             AND NOT EXISTS (SELECT FROM pg_inherits AS i \
                 JOIN lonely AS above ON above.relation = i.inhparent \
                 WHERE i.inhrelid = l.relation) \
         ORDER BY l.relation",
        &[only.into()],
        |row| {
            let relation = row.get(1)?.unwrap_or(pg_sys::Oid::INVALID);
            let told = row.get::<Vec<u8>>(2)?.unwrap_or_default();
            Ok((relation, told, row.get::<String>(3)?.unwrap_or_default()))
        },
    );
    let changed_now = |changed_by: &str| {
        let id = changed_by.parse::<u32>().map(pg_sys::TransactionId::from);
        // SAFETY: looks at the state of the running transaction.
        id.is_ok_and(|id| unsafe { pg_sys::TransactionIdIsCurrentTransactionId(id) })
    };
    let left = |(relation, told, changed_by): (pg_sys::Oid, Vec<u8>, String)| {
        let rule = rule_told(&arguments(&told))?;
        (only.is_some() || changed_now(&changed_by)).then_some(Left { relation, rule })
    };
    found.into_iter().filter_map(left).collect()
}

/// The rule in the arguments of a trigger of ours.
fn rule_told(arguments: &[String]) -> Option<CaptureRule> {
    let [_, redact, more @ ..] = arguments else {
        return None;
    };
    let redact = read(
        "SELECT $1::text::text[]",
        &[redact.as_str().into()],
        |row| row.get::<Vec<String>>(1),
    );
    let redact = redact.into_iter().next().flatten()?;
    CaptureRule::read(redact, more.first().map(String::as_str)).ok()
}

/// Has what left an audited tree captured by itself as it was there.
pub(super) fn stay(left: &Left) {
    store(left.relation, &left.rule);
    manifest::store_annotations(left.relation, &left.rule.personal, true);
    let members = Tree::of(&lookup::tree_of(left.relation), &bare(left.relation));
    let plan = plan::capture(&members.plan_members(|_| Vec::new()), "", Some(&left.rule));
    execute(&plan);
    let mut data = described(&left.rule);
    following::say(&mut data, left.relation);
    record_system("audit", Some(left.relation), "", Some(&data.to_string()));
}

/// Lets the rule of a relation go that has come below an audited one with the same rule.
pub(super) fn come_back(relation: pg_sys::Oid) {
    let above = root_above(relation).and_then(rule_of);
    if above.is_some() && above == rule_of(relation) {
        forget(relation);
        manifest::forget_annotations(relation);
    }
}

/// How changes of a protected relation are captured: what `audit` asked for, no less redacted
/// than `protect` did, and with the columns personal that `annotate` named.
pub(super) fn wanted(request: &Request) -> Option<CaptureRule> {
    match rule_of(request.relation) {
        Some(rule) => Some(rule.and_redact(&request.redact)),
        None => request.audit.then(|| {
            CaptureRule::redacting(&request.redact)
                .and_personal(manifest::personal_columns(request.relation))
        }),
    }
}

/// The rule of a relation that is audited by itself.
pub(super) fn rule_of(relation: pg_sys::Oid) -> Option<CaptureRule> {
    let rows = read_often(
        "SELECT r.include::text[], r.exclude::text[], r.redact::text[], r.hash::text[], \
             r.skip_unchanged, r.truncate_rows, a.personal::text[] \
         FROM tenant_guard.capture_rule AS r JOIN pg_class AS c ON c.oid = r.relation \
         LEFT JOIN tenant_guard.annotation AS a ON a.relation = r.relation \
         WHERE r.relation = $1",
        &[relation.into()],
        |row| {
            Ok(CaptureRule {
                include: row.get(1)?,
                exclude: row.get(2)?.unwrap_or_default(),
                redact: row.get(3)?.unwrap_or_default(),
                hash: row.get(4)?.unwrap_or_default(),
                personal: row.get(7)?.unwrap_or_default(),
                skip_unchanged: row.get(5)?.unwrap_or(false),
                truncate_rows: row.get(6)?.unwrap_or(false),
            })
        },
    );
    rows.into_iter().next()
}

/// The audited relation that this one is, or is below of.
pub(super) fn root_of(relation: pg_sys::Oid) -> Option<pg_sys::Oid> {
    nearest(relation, 0)
}

/// The audited relation that this one is below of.
fn root_above(relation: pg_sys::Oid) -> Option<pg_sys::Oid> {
    nearest(relation, 1)
}

fn nearest(relation: pg_sys::Oid, distance: i32) -> Option<pg_sys::Oid> {
    let found = read_often(
        "WITH RECURSIVE above AS ( \
             SELECT $1::oid AS relation, 0 AS distance \
             UNION ALL \
             SELECT i.inhparent, a.distance + 1 FROM above AS a \
             JOIN pg_inherits AS i ON i.inhrelid = a.relation) \
         SELECT r.relation::oid FROM above AS a \
         JOIN tenant_guard.capture_rule AS r ON r.relation = a.relation \
         WHERE a.distance >= $2 ORDER BY a.distance LIMIT 1",
        &[relation.into(), distance.into()],
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
    take_names(relation, rule);
    AUDITED.with(Sweep::go_on);
}

/// Remembers the columns that now have the names in the rule's lists.
fn take_names(relation: pg_sys::Oid, rule: &CaptureRule) {
    let lists = [&rule.exclude, &rule.redact, &rule.hash];
    let names = lists.into_iter().flatten();
    let names = names.chain(rule.include.iter().flatten());
    numbering::take(relation, numbering::By::Audit, names);
}

fn forget(relation: pg_sys::Oid) {
    write(
        "DELETE FROM tenant_guard.capture_rule WHERE relation = $1",
        &[relation.into()],
    );
    numbering::take(relation, numbering::By::Audit, []);
}

/// What the event says.
fn described(rule: &CaptureRule) -> serde_json::Value {
    serde_json::json!({
        "include": rule.include,
        "exclude": rule.exclude,
        "redact": rule.redact,
        "hash": rule.hash,
        "skip_unchanged": rule.skip_unchanged,
        "truncate_rows": rule.truncate_rows,
    })
}
