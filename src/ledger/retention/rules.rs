//! The rules: how long is kept what, and what is let go. None is ever shortened.

use std::collections::HashMap;

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::ledger::configuration_hash;
use tenant_guard_core::ledger::retention::{
    LET_GO, LONGEST, MOST_RULES, Rule, SET, Statement, What,
};

use super::stretches::last_before;
use super::take_lock;
use crate::audit::record::record_named;
use crate::audit::tables::{LedgerWriting, ensure_ledger};
use crate::audit::text::qualified_name;
use crate::catalog::{as_owner, write};
use crate::clock;
use crate::error::{Error, OrRaise};
use crate::identity::issuers::fixed_length;
use crate::ledger::rows::{for_each_row, with_latest_snapshot};
use crate::ledger::store;
use crate::settings;

/// All that was set and let go, under the active snapshot.
fn all() -> Vec<(What, Rule)> {
    let mut all = Vec::new();
    for_each_row(
        c"SELECT relation, keep, before FROM tenant_guard.ledger_retention ORDER BY number",
        &[],
        |row| {
            let what = match row.optional_text(0) {
                Some(relation) => What::Payload(relation.to_owned()),
                None => What::Events,
            };
            let keep = row.bigint(1);
            let before = row.optional_bigint(2);
            all.push((what, Rule { keep, before }));
        },
    );
    all
}

/// What is captured, with the rules that a block sealed at this time states; as the active snapshot
/// sees them.
pub(in crate::ledger) fn state(configuration: &str, now: i64) -> String {
    Statement::of(all(), now).added_to(configuration)
}

/// What the newest block states: only that may be removed. Raises where it cannot be told.
pub(super) fn sealed() -> Statement {
    let Some(last) = store::exists().then(store::last_block).flatten() else {
        return Statement::default();
    };
    let newest = |text: &String| configuration_hash(text) == last.configuration;
    let text = store::configuration_at(last.block).filter(newest);
    let stated = text.and_then(|text| Statement::stated(&text));
    stated.unwrap_or_else(|| Error::BrokenLedger("what was captured").raise())
}

/// The rules as they were set, whether sealed or not, and what they let go by now.
pub(super) fn in_force() -> Statement {
    with_latest_snapshot(|| Statement::of(all(), clock::now_us()))
}

/// How long the data of a relation's events is kept at least; of all without a rule of their own
/// where there is none.
#[pg_extern(sql = false)]
fn set_retention(relation: Option<pg_sys::Oid>, payload: Option<Interval>, reason: Option<&str>) {
    let relation = relation.map(root_name);
    let (keep, reason) = checked("payload", payload, reason);
    take_lock();
    ensure_ledger();
    let rules = as_owner(in_force);
    let own = relation.as_deref().unwrap_or_default();
    if rules.of_data(own).is_some_and(|rule| keep < rule.keep) {
        Error::RetentionLowered("data").raise();
    }
    if rules.events.is_some_and(|rule| keep > rule.keep) {
        Error::DataOutlivesEvents.raise();
    }
    let known = rules.payload.get(own);
    if known.is_none() && rules.payload.len() + 2 > MOST_RULES {
        Error::TooManyRules(MOST_RULES).raise();
    }
    if known.is_none_or(|rule| rule.keep != keep) {
        store_rule(Some(own), keep, None);
        let data = serde_json::json!({"payload": keep, "reason": reason}).to_string();
        record_named(SET, (relation.as_deref(), None), "", Some(&data));
    }
}

/// How long events are kept at least.
#[pg_extern(sql = false)]
fn keep_events(period: Option<Interval>, reason: Option<&str>) {
    let (keep, reason) = checked("period", period, reason);
    take_lock();
    ensure_ledger();
    let rules = as_owner(in_force);
    if rules.events.is_some_and(|rule| keep < rule.keep) {
        Error::RetentionLowered("events").raise();
    }
    if rules.payload.values().any(|rule| keep < rule.keep) {
        Error::DataOutlivesEvents.raise();
    }
    if rules.events.is_none_or(|rule| rule.keep != keep) {
        store_rule(None, keep, None);
        let data = serde_json::json!({"events": keep, "reason": reason}).to_string();
        record_named(SET, (None, None), "", Some(&data));
    }
}

/// Lets go what was sealed longer ago than its rule keeps it; what newly is.
#[pg_extern(sql = false)]
fn let_go() -> TableIterator<
    'static,
    (
        name!(what, String),
        name!(relation, Option<String>),
        name!(before, TimestampWithTimeZone),
    ),
> {
    take_lock();
    let mut news = Vec::new();
    if as_owner(|| with_latest_snapshot(store::exists)) {
        let rules = as_owner(in_force);
        let payload = rules
            .payload
            .iter()
            .map(|(name, rule)| (Some(name.as_str()), rule));
        let all: Vec<_> = payload
            .chain(rules.events.iter().map(|rule| (None, rule)))
            .collect();
        let through = as_owner(|| with_latest_snapshot(gone_through));
        let (mut sealed, now) = (SealedBefore::default(), clock::now_us());
        for (name, rule) in all {
            let from = through.get(&name.map(str::to_owned)).copied();
            if let Some(before) = sealed.newly_gone(rule, from.unwrap_or(0), now) {
                store_rule(name, rule.keep, Some(before));
                let what = if name.is_some() { "payload" } else { "events" };
                let relation = name.filter(|name| !name.is_empty());
                let data = serde_json::json!({"what": what, "before": before}).to_string();
                record_named(LET_GO, (relation, None), "", Some(&data));
                let before = TimestampWithTimeZone::try_from(clock::from_unix(before));
                let before = before.expect("a time of the past");
                news.push((what.to_owned(), relation.map(str::to_owned), before));
            }
        }
    }
    TableIterator::new(news)
}

/// The blocks that were sealed before a time, each time asked once.
#[derive(Default)]
struct SealedBefore(HashMap<i64, i64>);

impl SealedBefore {
    fn last(&mut self, time: i64, from: i64) -> i64 {
        let find = || as_owner(|| with_latest_snapshot(|| last_before(time, from)));
        *self.0.entry(time).or_insert_with(find)
    }

    /// The time before which a rule now lets everything go, where a block was sealed since the last one.
    /// All blocks up to `from` are let go of by then.
    fn newly_gone(&mut self, rule: &Rule, from: i64, now: i64) -> Option<i64> {
        let keep = rule.keep.max(settings::retention_floor_us());
        let before = now.checked_sub(keep)?;
        let known = rule.before.map_or(0, |before| self.last(before, from));
        (self.last(before, from) > known).then_some(before)
    }
}

/// The last block that removal has gone through for each rule: whole events under no name.
fn gone_through() -> HashMap<Option<String>, i64> {
    let mut found = HashMap::from([(None, store::removed_through(None))]);
    for_each_row(
        c"SELECT relation, next FROM tenant_guard.retention_progress",
        &[],
        |row| {
            found.insert(Some(row.text(0).to_owned()), row.bigint(1) - 1);
        },
    );
    found
}

fn checked<'r>(
    name: &'static str,
    period: Option<Interval>,
    reason: Option<&'r str>,
) -> (i64, &'r str) {
    let period = period.ok_or(Error::NullArgument(name)).or_raise();
    let reason = reason.ok_or(Error::NullArgument("reason")).or_raise();
    if reason.trim().is_empty() {
        Error::EmptyArgument("reason").raise();
    }
    let keep = fixed_length(name, &period).or_raise();
    if keep < settings::retention_floor_us() {
        Error::RetentionFloor(name).raise();
    }
    if keep > LONGEST {
        Error::UnfitArgument(name, "it must be at most 36500 days").raise();
    }
    (keep, reason)
}

/// The name under which events of a relation stand in the log.
fn root_name(relation: pg_sys::Oid) -> String {
    let name = qualified_name(relation);
    // SAFETY: a catalog look-up by oid.
    if unsafe { pg_sys::get_rel_relispartition(relation) } {
        Error::RetentionOfPartition(name).raise();
    }
    name
}

/// Raises a rule, or has it let something go: of a relation, of all where the name is empty, or of whole
/// events where there is none. A rule has one row: each sealing reads all of them.
fn store_rule(relation: Option<&str>, keep: i64, before: Option<i64>) {
    let _writing = LedgerWriting::begin();
    write(
        "WITH known AS (UPDATE tenant_guard.ledger_retention AS r \
             SET keep = GREATEST(r.keep, $2), before = COALESCE($3, r.before) \
             WHERE r.relation OPERATOR(pg_catalog.=) $1 OR r.relation IS NULL AND $1 IS NULL \
             RETURNING 1) \
         INSERT INTO tenant_guard.ledger_retention (number, relation, keep, before) \
         SELECT COALESCE(pg_catalog.max(r.number), 0) OPERATOR(pg_catalog.+) 1, $1, $2, $3 \
         FROM tenant_guard.ledger_retention AS r HAVING NOT EXISTS (SELECT FROM known)",
        &[relation.into(), keep.into(), before.into()],
    );
}
