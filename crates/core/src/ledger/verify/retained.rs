//! The part of verification that asks whether what is gone was let go by a rule of retention.
//!
//! Removals name no events: a rule lets go what was sealed before a time, and blocks state rules
//! and times. So of all data that is gone the youngest of each relation is kept, until all blocks
//! were read.

use std::collections::BTreeMap;

use super::blocks::Current;
use super::events::PrunedRow;
use super::{Scope, Verifier};
use crate::event::{EventKey, Kind};
use crate::ledger::finding::{Code, Finding};
use crate::ledger::records::configuration_hash;
use crate::ledger::retention::{Rule, Statement};
use crate::ledger::seal::AccountRound;
use crate::ledger::stored::{StoredBlock, StoredEvent, StoredPruned, hash_or_none_such};
use crate::merkle::{Frontier, Hash};

/// So far clocks are put right, in microseconds: a block may be sealed that much before an earlier one,
/// and nothing that was let go by then is doubted.
const CLOCK_PUT_BACK: i64 = 86_400 * 1_000_000;

/// The rules so far, and what is gone.
pub(super) struct Retained {
    /// Shortest time that the reader takes for a rule.
    floor: i64,
    /// The reader's time: nothing is sealed later.
    now: i64,
    /// Damage hides what a block stated: from there on nothing is let go.
    unknown: bool,
    payload: BTreeMap<String, Known>,
    events: Option<Known>,
    /// The latest time at which one of the blocks so far was sealed.
    latest: i64,
    missing: BTreeMap<String, Missing>,
    removed: Option<Removed>,
    /// The block that verification begins after.
    pub(super) begun_after: i64,
}

/// A rule, as the blocks so far state it.
#[derive(Clone)]
struct Known {
    keep: i64,
    /// What was let go, each later in both its times than the one before it.
    gone: Vec<LetGo>,
}

/// What was sealed before a time was let go.
#[derive(Clone, Copy)]
struct LetGo {
    before: i64,
    /// Since then: a block that was sealed earlier shows that the clock was ahead.
    since: i64,
}

impl Known {
    /// What was sealed before this time is let go.
    fn before(&self) -> i64 {
        self.gone.last().map_or(i64::MIN, |gone| gone.before)
    }

    fn let_go(&mut self, new: LetGo) {
        let at = self.gone.partition_point(|gone| gone.before < new.before);
        if self
            .gone
            .get(at)
            .is_some_and(|gone| gone.since <= new.since)
        {
            return;
        }
        let mut later = self.gone.split_off(at);
        later.retain(|gone| gone.before > new.before);
        self.gone.retain(|gone| gone.since < new.since);
        self.gone.push(new);
        self.gone.append(&mut later);
    }

    /// A block was sealed at this time.
    fn forget_after(&mut self, time: i64) {
        let stays = self.gone.partition_point(|gone| gone.since <= time);
        self.gone.truncate(stays);
    }
}

/// The youngest data about a relation that is gone.
struct Missing {
    sealed_at: i64,
    block: i64,
    account: String,
    key: EventKey,
}

/// The first blocks, whose events were removed.
struct Removed {
    through: i64,
    /// When the last of them was sealed, once it was reached.
    sealed_at: Option<i64>,
}

impl Default for Retained {
    fn default() -> Self {
        Self {
            floor: 0,
            now: i64::MAX,
            unknown: false,
            payload: BTreeMap::new(),
            events: None,
            latest: i64::MIN,
            missing: BTreeMap::new(),
            removed: None,
            begun_after: i64::MIN,
        }
    }
}

impl Retained {
    /// Takes the time at which a block was sealed.
    fn pass(&mut self, sealed_at: i64) {
        let latest = sealed_at.saturating_add(CLOCK_PUT_BACK);
        if latest < self.latest {
            let rules = self.payload.values_mut().chain(&mut self.events);
            rules.for_each(|rule| rule.forget_after(latest));
        }
        self.latest = self.latest.max(sealed_at);
    }

    /// Takes an event whose data is gone.
    pub(super) fn missing(
        &mut self,
        relation: Option<&str>,
        block: i64,
        account: &str,
        key: EventKey,
    ) {
        let relation = relation.unwrap_or_default();
        let sealed_at = self.latest;
        let known = self.missing.get(relation);
        if known.is_none_or(|known| known.sealed_at < sealed_at) {
            let missing = Missing {
                sealed_at,
                block,
                account: account.to_owned(),
                key,
            };
            self.missing.insert(relation.to_owned(), missing);
        }
    }

    /// Whether the events of a block were removed.
    pub(super) fn is_removed(&self, block: i64) -> bool {
        self.removed
            .as_ref()
            .is_some_and(|removed| block <= removed.through)
    }

    /// The rules that the ledger was judged by, with what was let go.
    fn rules(&self) -> Statement {
        let rule = |known: &Known| Rule {
            keep: known.keep,
            before: known.gone.last().map(|gone| gone.before),
        };
        let payload = self.payload.iter();
        Statement {
            payload: payload
                .map(|(name, known)| (name.clone(), rule(known)))
                .collect(),
            events: self.events.as_ref().map(rule),
        }
    }

    /// Takes what a block states; what is wrong with it.
    fn take(&mut self, stated: &Statement, sealed_at: i64) -> Vec<String> {
        let mut wrong = Vec::new();
        let by = By {
            sealed_at,
            floor: self.floor,
            counts: !self.unknown,
        };
        let new = |relation: &String| !self.payload.contains_key(relation);
        let of_all = stated.payload.keys().any(new);
        let of_all = self.payload.get("").filter(|_| of_all).cloned();
        for (relation, rule) in &stated.payload {
            let known = self.payload.remove(relation).or_else(|| of_all.clone());
            let known = by.judge(known, rule, &data_of(relation), &mut wrong);
            self.payload.insert(relation.clone(), known);
        }
        let gone = self
            .payload
            .keys()
            .filter(|relation| !stated.payload.contains_key(*relation));
        wrong.extend(gone.map(|relation| format!("the rule for {} is gone", data_of(relation))));
        match &stated.events {
            Some(rule) => {
                let known = by.judge(self.events.take(), rule, "events", &mut wrong);
                self.events = Some(known);
                if stated.payload.values().any(|data| data.keep > rule.keep) {
                    wrong.push("events are kept for less than their data".to_owned());
                }
            }
            None if self.events.is_some() => wrong.push("the rule for events is gone".to_owned()),
            None => {}
        }
        wrong
    }
}

/// By what a rule is judged.
struct By {
    sealed_at: i64,
    floor: i64,
    /// Whether what it lets go counts.
    counts: bool,
}

impl By {
    /// Compares a rule with what was known of it.
    fn judge(
        &self,
        known: Option<Known>,
        rule: &Rule,
        what: &str,
        wrong: &mut Vec<String>,
    ) -> Known {
        let mut now = known.unwrap_or(Known {
            keep: rule.keep,
            gone: Vec::new(),
        });
        if rule.keep < now.keep {
            wrong.push(format!("{what} is kept for less than before"));
        }
        if rule.keep < self.floor {
            wrong.push(format!("{what} is kept for less than the reader asks for"));
        }
        now.keep = now.keep.max(rule.keep);
        if let Some(before) = rule.before {
            match before.checked_add(now.keep) {
                Some(since) if since <= self.sealed_at && self.counts => {
                    now.let_go(LetGo { before, since });
                }
                Some(since) if since <= self.sealed_at => {}
                _ => wrong.push(format!("{what} was let go that the rule keeps")),
            }
        }
        now
    }
}

pub(super) const OWN_DATA_GONE: &str = "the data of an event of the extension's own is gone";
const OTHER_FORM: &str = "what it states of retention is none of the format's";

fn data_of(relation: &str) -> String {
    match relation {
        "" => "data".to_owned(),
        relation => format!("data of {relation}"),
    }
}

impl Verifier {
    /// Has rules that keep for a shorter time reported, in microseconds.
    pub fn keep_at_least(mut self, floor: i64) -> Self {
        self.retained.floor = floor;
        self
    }

    /// Has blocks that were sealed later than this time let nothing go, Unix microseconds.
    pub fn read_at(mut self, now: i64) -> Self {
        self.retained.now = now;
        self
    }

    /// Takes what was captured at the block that verification begins after: so rules of before are known.
    /// `latest` is when the latest of the blocks up to it was sealed.
    pub fn captured_before(&mut self, row: &StoredBlock<'_>, text: Option<&str>, latest: i64) {
        self.retained.pass(latest);
        self.retained.pass(row.sealed_at);
        let sealed = hash_or_none_such(row.configuration_hash);
        let text = text.filter(|text| configuration_hash(text) == sealed);
        let (code, detail) = match text.map(Statement::stated) {
            // That the block is another is said already.
            _ if row.record().hash() != hash_or_none_such(row.hash) => {
                self.retained.unknown = true;
                return;
            }
            Some(Some(stated)) => {
                // What is wrong with them is said where that block is verified.
                self.retained.take(&stated, row.sealed_at);
                return;
            }
            Some(None) => (Code::RetentionBroken, OTHER_FORM),
            None => (
                Code::ConfigurationAltered,
                "the text is missing, or is not that of its hash",
            ),
        };
        self.retained.unknown = true;
        let finding = Finding::new(code, detail).block(row.block);
        self.on_blocks(|verifier| verifier.report(finding));
    }

    /// The rules of retention that the ledger was judged by.
    pub fn rules(&self) -> Statement {
        self.retained.rules()
    }

    /// Takes what a block states of retention. `sealed` is the hash of what was captured that it was sealed
    /// with, where damage does not hide it.
    pub(super) fn note_rules(&mut self, row: &StoredBlock<'_>, sealed: Option<Hash>, gap: bool) {
        self.pass_removed(row.block);
        self.retained.pass(row.sealed_at);
        let before = self.last.as_ref().and_then(|last| last.configuration);
        let sound = |text: &&str| Some(configuration_hash(text)) == sealed;
        let text = row.configuration.filter(sound);
        let as_before = sealed.is_some() && before == sealed;
        self.retained.unknown |= gap || text.is_none() && !as_before;
        let Some(text) = text else {
            return;
        };
        let wrong = match Statement::stated(text) {
            Some(stated) => self.retained.take(&stated, row.sealed_at),
            None => vec![OTHER_FORM.to_owned()],
        };
        for detail in wrong {
            self.report(Finding::new(Code::RetentionBroken, detail).block(row.block));
        }
    }

    /// Reports data that is gone where no rule lets it go: before it was sealed, and of the
    /// extension's own events, by which others are judged.
    pub(super) fn check_kept(&mut self, event: &StoredEvent<'_>) {
        if !event.is_pruned() {
            return;
        }
        let block = self.current.as_ref().map(|current| current.block);
        let detail = match block {
            None => "its data is gone before it was sealed",
            Some(_) if event.entry.kind == Kind::System.as_str() => OWN_DATA_GONE,
            Some(_) => return,
        };
        self.report(super::named(event, block, Code::DataMissing, detail));
    }

    /// Compares what is gone with what was let go, once all is read.
    pub(super) fn check_retained(&mut self) {
        self.retained.pass(self.retained.now);
        let missing = std::mem::take(&mut self.retained.missing);
        for (relation, missing) in missing {
            let rules = &self.retained.payload;
            let rule = rules.get(&relation).or_else(|| rules.get(""));
            if rule.is_some_and(|rule| missing.sealed_at < rule.before()) {
                continue;
            }
            self.report(Finding {
                block: Some(missing.block),
                account: Some(missing.account),
                event_id: Some(missing.key.to_string()),
                relation: Some(relation).filter(|relation| !relation.is_empty()),
                ..Finding::new(
                    Code::DataMissing,
                    "its data is gone, and what a rule let go ends before it",
                )
            });
        }
        let Some(removed) = &self.retained.removed else {
            return;
        };
        let detail = match removed.sealed_at {
            Some(sealed_at) => {
                let events = &self.retained.events;
                if (events.as_ref()).is_some_and(|events| sealed_at < events.before()) {
                    return;
                }
                "events up to this block are gone, and what a rule let go ends before it"
            }
            // Verification from a checkpoint on does not ask about what went before it.
            None if self.retained.begun_after >= removed.through => return,
            None => "there is no such block whose events were removed",
        };
        let code = match removed.sealed_at {
            Some(_) => Code::EventSetChanged,
            None => Code::PrunedAltered,
        };
        let finding = Finding::new(code, detail).block(removed.through);
        self.report(finding);
    }

    /// Takes a row of `ledger_pruned`. The events that are gone end with the last of their blocks.
    pub(super) fn add_pruned(&mut self, row: &StoredPruned<'_>) {
        let removed = self.retained.removed.get_or_insert(Removed {
            through: row.block,
            sealed_at: None,
        });
        removed.through = removed.through.max(row.block);
        let at = self.accounts.at(row.account);
        let account = self.accounts.get(at);
        let kept = PrunedRow {
            block: row.block,
            size: row.size,
            state: row.state.to_vec(),
        };
        let another = account.pruned.replace(kept).is_some();
        if another {
            let finding = Finding::new(Code::PrunedAltered, "the account has another row");
            self.report(finding.account(row.account));
        }
    }

    /// The last block whose events were removed is not there.
    fn pass_removed(&mut self, next: i64) {
        let latest = self.retained.latest;
        let last = self.last.as_ref().map_or(0, |last| last.block);
        let removed = self.retained.removed.as_mut();
        if let Some(removed) = removed.filter(|at| last < at.through && at.through < next) {
            removed.sealed_at = Some(latest);
        }
    }

    /// Where the removed events end, the trees of accounts are those that were kept.
    pub(super) fn end_removed(&mut self, current: &Current) {
        let latest = self.retained.latest;
        let removed = self.retained.removed.as_mut();
        let Some(removed) = removed.filter(|removed| removed.through == current.block) else {
            return;
        };
        removed.sealed_at = Some(latest);
        self.erasures.begin_after(self.claims.clone());
        let mut findings = Vec::new();
        for account in self.accounts.iter_mut() {
            let kept = account.pruned.take();
            let of_last = |row: &&PrunedRow| Some(row.block) == account.removed_in;
            let tree = kept.as_ref().filter(of_last).and_then(PrunedRow::tree);
            let sealed = account.sealed;
            account.round = AccountRound::new(Frontier::new());
            account.tree_known = sealed.is_none();
            let same = |tree: &Frontier| Some((tree.size() as i64, tree.root())) == sealed;
            let in_scope = match &self.scope {
                Scope::All => true,
                Scope::Account(only) | Scope::Bundle(only) => *only == account.name,
            };
            let detail = match (tree.filter(same), kept, sealed) {
                (Some(tree), ..) => {
                    account.round = AccountRound::new(tree);
                    account.tree_known = true;
                    continue;
                }
                (None, None, Some(_)) if in_scope => {
                    "the tree of its events that were removed is gone"
                }
                // Its leaf stands before the one that verification began after.
                (None, Some(_), None) if self.begun_later => continue,
                (None, Some(_), _) => {
                    "block, size or state is not that of the account's last leaf up to it"
                }
                (None, None, _) => continue,
            };
            let finding = Finding::new(Code::PrunedAltered, detail);
            findings.push(finding.account(&account.name).block(current.block));
        }
        self.findings.extend(findings);
    }
}
