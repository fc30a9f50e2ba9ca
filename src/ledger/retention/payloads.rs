//! Removing the data of events.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::ledger::EventChecks;
use tenant_guard_core::ledger::retention::PRUNE_PAYLOADS;

use super::names::Names;
use super::rules::{in_force, sealed};
use super::stretches::{Stretch, last_before, stretches};
use super::{HELD, change, check, count_holds, lock_removal, refuse_damaged};
use crate::audit::record::record_named;
use crate::audit::tables::LedgerWriting;
use crate::catalog::{as_owner, write};
use crate::clock;
use crate::error::Error;
use crate::ledger::read::{CONTEXT_COLUMNS, EVENT_COLUMNS, merge};
use crate::ledger::rows::{for_each_row, with_latest_snapshot};
use crate::ledger::store::{self, AUDIT_LOG, Part};
use crate::personal::holds;

/// Removes the data of events that the newest block lets go. Goes through the blocks of about so many
/// events; of how many it removed the data, and whether there are more to go through.
#[pg_extern(sql = false)]
fn prune_payloads(most: i32) -> TableIterator<'static, (name!(events, i64), name!(more, bool))> {
    if most < 1 {
        Error::UnfitArgument("most", "it must be at least 1").raise();
    }
    lock_removal("prune_payloads");
    let (rules, set) = as_owner(|| (with_latest_snapshot(sealed), in_force()));
    let names = Names::of([&rules, &set], holds::renames());
    let (mut removed, mut left, mut more) = (0, i64::from(most), false);
    for (relation, rule) in &rules.payload {
        if left <= 0 {
            more = true;
            break;
        }
        // A rule that was made longer counts at once, and so does one for another name of the relation.
        let keep = names.longest(relation).unwrap_or(i64::MAX);
        let latest = clock::now_us().saturating_sub(keep);
        let before = rule.before.map(|before| before.min(latest));
        let mut pass = Pass::of(relation, before, left);
        removed += pass.remove(&names.own);
        left -= pass.events();
        more |= pass.more;
    }
    TableIterator::once((removed, more))
}

/// The blocks that one call goes through for a rule.
struct Pass<'r> {
    relation: &'r str,
    before: i64,
    stretches: Vec<Stretch>,
    /// Blocks that the rule lets go come after them.
    more: bool,
    held_from: Option<i64>,
    /// Whether anything is held at all, and how many holds were released.
    holds: (i64, i64),
}

impl<'r> Pass<'r> {
    fn of(relation: &'r str, before: Option<i64>, most: i64) -> Self {
        let mut pass = Self {
            relation,
            before: before.unwrap_or(i64::MIN),
            stretches: Vec::new(),
            more: false,
            held_from: None,
            holds: (0, 0),
        };
        if before.is_some() {
            as_owner(|| with_latest_snapshot(|| pass.plan(most)));
        }
        pass
    }

    fn plan(&mut self, most: i64) {
        self.holds = count_holds();
        let (mut next, mut releases) = (1, self.holds.1);
        let relation = self.relation.into_datum().expect("a text is never NULL");
        for_each_row(
            c"SELECT next, held_from, releases FROM tenant_guard.retention_progress \
              WHERE relation OPERATOR(pg_catalog.=) $1",
            &[(pg_sys::TEXTOID, relation)],
            |row| {
                next = row.bigint(0);
                self.held_from = row.optional_bigint(1);
                releases = row.bigint(2);
            },
        );
        // What was held may be let go by now.
        if releases != self.holds.1 {
            next = self.held_from.take().map_or(next, |held| held.min(next));
        }
        let last = last_before(self.before, next - 1);
        self.stretches = stretches(next, last, most);
        self.more = self
            .stretches
            .last()
            .is_some_and(|stretch| stretch.last < last);
    }

    fn events(&self) -> i64 {
        self.stretches.iter().map(|stretch| stretch.events).sum()
    }

    /// Removes what the rule lets go, notes how far that came, and records it.
    fn remove(&mut self, named: &[String]) -> i64 {
        let Some(through) = self.stretches.last().map(|stretch| stretch.last) else {
            return 0;
        };
        let mut removed = 0;
        as_owner(|| {
            let _writing = LedgerWriting::begin();
            for stretch in &self.stretches {
                let mut kept = false;
                for part in stretch.claims.iter().flat_map(store::parts) {
                    with_latest_snapshot(|| self.check_part(&part, named));
                    removed += self.remove_part(&part, named);
                    kept |= self.holds.0 > 0 && self.keeps(&part, named);
                }
                if kept {
                    self.held_from.get_or_insert(stretch.first);
                }
            }
        });
        write(
            "INSERT INTO tenant_guard.retention_progress AS p (relation, next, held_from, releases) \
             VALUES ($1, $2, $3, $4) ON CONFLICT (relation) DO UPDATE SET next = EXCLUDED.next, \
                 held_from = EXCLUDED.held_from, releases = EXCLUDED.releases",
            &[
                self.relation.into(),
                (through + 1).into(),
                self.held_from.into(),
                self.holds.1.into(),
            ],
        );
        if removed > 0 {
            let data = serde_json::json!({
                "before": self.before, "block": through, "events": removed,
            });
            let relation = Some(self.relation).filter(|relation| !relation.is_empty());
            let data = data.to_string();
            record_named(PRUNE_PAYLOADS, (relation, None), "", Some(&data));
        }
        removed
    }

    /// Raises where what would be removed is not what was sealed: what is damaged must stay to be found.
    fn check_part(&self, part: &Part, named: &[String]) {
        let (condition, _) = self.condition(part, named);
        let events = store::query_text(&format!(
            "SELECT {EVENT_COLUMNS} FROM tenant_guard.{AUDIT_LOG} AS l \
             WHERE {condition} AND NOT ({HELD}) ORDER BY l.incarnation, l.xid, l.ordinal"
        ));
        let contexts = part.contexts(CONTEXT_COLUMNS);
        let more = match self.relation {
            "" => (pg_sys::TEXTARRAYOID, named.to_vec().into_datum()),
            relation => (pg_sys::TEXTOID, relation.into_datum()),
        };
        let mut arguments = part.arguments().to_vec();
        arguments.push((more.0, more.1.expect("it is never NULL")));
        let mut checks = EventChecks::new(false);
        merge(
            (&events, &arguments),
            (&contexts, part.arguments()),
            |read| check(&mut checks, &read),
        );
        refuse_damaged(checks);
    }

    /// The condition on events that the rule is about and that still have their data.
    fn condition(&self, part: &Part, named: &[String]) -> (String, DatumWithOid<'r>) {
        let (condition, arguments) = part.condition();
        let number = arguments + 1;
        let (of_rule, more) = match self.relation {
            "" => (
                format!(
                    "(l.relation IS NULL OR l.relation OPERATOR(pg_catalog.<>) ALL (${number}))"
                ),
                named.to_vec().into(),
            ),
            relation => (
                format!("l.relation OPERATOR(pg_catalog.=) ${number}"),
                relation.into(),
            ),
        };
        let condition = format!(
            "{condition} AND {of_rule} AND l.data IS NOT NULL \
             AND l.kind OPERATOR(pg_catalog.<>) 'system'"
        );
        (condition, more)
    }

    /// The hash is the one that the entry has.
    fn remove_part(&self, part: &Part, named: &[String]) -> i64 {
        let (condition, more) = self.condition(part, named);
        let statement = format!(
            "WITH removed AS (UPDATE tenant_guard.audit_log AS l \
                SET data = NULL, personal = NULL, personal_salt = NULL, \
                    data_hash = pg_catalog.sha256(pg_catalog.convert_to(data, 'UTF8')) \
                WHERE {condition} AND NOT ({HELD}) RETURNING 1) \
             SELECT pg_catalog.count(*) FROM removed"
        );
        let mut removed = 0;
        change(&statement, part, vec![more], |row| {
            removed = row.get::<i64>(1)?.unwrap_or_default();
            Ok(())
        });
        removed
    }

    /// Whether anything was left: it is held.
    fn keeps(&self, part: &Part, named: &[String]) -> bool {
        let (condition, more) = self.condition(part, named);
        let statement =
            format!("SELECT 1 FROM tenant_guard.audit_log AS l WHERE {condition} LIMIT 1");
        let mut found = false;
        change(&statement, part, vec![more], |_| {
            found = true;
            Ok(())
        });
        found
    }
}
