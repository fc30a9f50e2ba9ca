//! A ledger of which data and whole blocks were removed by rules that its blocks state: it verifies as
//! before, and whatever is gone that no rule let go is found.

use sha2::{Digest, Sha256};
use tenant_guard_core::erasure;
use tenant_guard_core::ledger::retention::{Rule, Statement};
use tenant_guard_core::ledger::{Code, Finding, Scope, Verifier};
use tenant_guard_core::merkle::Frontier;

use crate::bundles::{Files, ONE};
use crate::model::{self, Event, Ledger, PrunedRow, hash, sample, verify_bundle};

pub(crate) const RELATION: &str = "shop.message";
pub(crate) const SECOND: i64 = 1_000_000;
/// When block 3 of the sample is sealed.
pub(crate) const SEALED: i64 = 1_760_000_300 * SECOND;
/// Data is kept for 20 seconds, events for 40.
pub(crate) const KEEP: [i64; 2] = [20 * SECOND, 40 * SECOND];

impl Ledger {
    pub(crate) fn newest(&self) -> i64 {
        self.ledger_block.last().expect("it has blocks").incarnation
    }

    /// Seals what has a lower xid.
    pub(crate) fn seal_below(&mut self, xid: i64) {
        let incarnation = self.newest();
        self.seal(
            (incarnation, 1),
            &format!("{xid}:{xid}:"),
            "",
            SEALED + xid * SECOND,
        );
    }

    /// The same, where what was captured is this.
    pub(crate) fn seal_stating(&mut self, xid: i64, configuration: &str) {
        self.stating = Some(configuration.to_owned());
        self.seal_below(xid);
        self.stating = None;
    }

    fn block_of(&self, event: &Event) -> Option<i64> {
        let mut claims = tenant_guard_core::ledger::Claims::default();
        self.ledger_block.iter().find_map(|block| {
            let snapshot = block.snapshot.parse().expect("valid");
            let held = claims.add_block(
                block.incarnation,
                snapshot,
                &block.adopted.parse().expect("valid"),
            );
            held.iter()
                .any(|claim| {
                    claim.incarnation == event.incarnation && claim.xids.contains(event.xid)
                })
                .then_some(block.block)
        })
    }

    /// Removes the data of events about the relation up to a block.
    pub(crate) fn remove_data(&mut self, through: i64) {
        let ledger = self.clone();
        for event in &mut self.audit_log {
            let meant = event.kind == "row" && event.relation.as_deref() == Some(RELATION);
            if meant && ledger.block_of(event).is_some_and(|at| at <= through) {
                strip(event);
            }
        }
    }

    /// Removes all events up to a block and keeps the trees of their accounts.
    pub(crate) fn remove_events(&mut self, through: i64) {
        let ledger = self.clone();
        let gone = |event: &Event| ledger.block_of(event).is_some_and(|at| at <= through);
        let mut trees: std::collections::BTreeMap<String, (i64, Frontier)> = Default::default();
        let mut claims = tenant_guard_core::ledger::Claims::default();
        for block in ledger
            .ledger_block
            .iter()
            .filter(|block| block.block <= through)
        {
            let snapshot = block.snapshot.parse().expect("valid");
            let held = claims.add_block(
                block.incarnation,
                snapshot,
                &block.adopted.parse().expect("valid"),
            );
            for event in held.iter().flat_map(|claim| ledger.claimed(claim)) {
                let tree = trees.entry(event.account_id.clone()).or_default();
                tree.0 = block.block;
                tree.1.append(hash(&event.leaf_hash));
            }
        }
        self.audit_log.retain(|event| !gone(event));
        let left = self.audit_log.clone();
        self.audit_context.retain(|row| {
            left.iter()
                .any(|event| (event.incarnation, event.xid) == (row.incarnation, row.xid))
        });
        self.ledger_pruned = trees
            .iter()
            .map(|(account, (last, tree))| PrunedRow {
                block: *last,
                account_id: account.clone(),
                size: tree.size() as i64,
                state: hex::encode(tree.state()),
            })
            .collect();
    }

    pub(crate) fn check(&self) -> Vec<Finding> {
        self.verify(Scope::All, None, self.newest())
    }

    pub(crate) fn event_mut(&mut self, find: impl Fn(&Event) -> bool) -> &mut Event {
        self.audit_log
            .iter_mut()
            .find(|event| find(event))
            .expect("there")
    }
}

pub(crate) fn strip(event: &mut Event) {
    let data = event.data.take().expect("it has data");
    event.data_hash = Some(hex::encode(Sha256::digest(data)));
    (event.personal, event.personal_salt) = (None, None);
}

/// Rules as `before` of data and of events.
pub(crate) fn rules(data: Option<i64>, events: Option<i64>) -> Statement {
    let rule = |keep, before| Rule { keep, before };
    Statement {
        payload: [(String::new(), rule(KEEP[0], data))].into(),
        events: Some(rule(KEEP[1], events)),
    }
}

/// The sample, its rules sealed 30 seconds after its last block, and nothing let go.
pub(crate) fn ruled() -> Ledger {
    let mut ledger = sample();
    ledger.rules = rules(None, None);
    ledger.seal_below(90);
    ledger
}

/// The sample, with the data of all blocks let go and removed, and the events of blocks 1 and 2.
pub(crate) fn pruned() -> Ledger {
    let mut ledger = ruled();
    ledger.rules = rules(Some(SEALED + 1), Some(SEALED));
    ledger.seal_below(130);
    ledger.remove_data(3);
    ledger.remove_events(2);
    ledger.seal_below(140);
    ledger
}

pub(crate) fn bundle_of_pruned() -> Files {
    let ledger = pruned();
    ledger.bundle(ledger.newest(), None)
}

pub(crate) fn codes(findings: &[Finding]) -> Vec<Code> {
    findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn what_was_let_go_is_no_finding_anywhere() {
    let ledger = pruned();
    assert!(
        ledger
            .audit_log
            .iter()
            .any(|event| event.data_hash.is_some())
    );
    assert_eq!(ledger.ledger_pruned.len(), 3);
    assert_eq!(ledger.check(), []);
    let newest = ledger.newest();
    for account in [ONE, "007", ""] {
        let scope = Scope::Account(account.to_owned());
        assert_eq!(ledger.verify(scope, None, newest), [], "{account}");
    }
    for block in &ledger.ledger_block {
        let checkpoint = ledger.checkpoint(block);
        let found = ledger.verify(Scope::All, Some(&checkpoint), newest);
        assert_eq!(found, [], "against block {}", block.block);
        assert_eq!(
            ledger.verify_after(&ledger, block.block, newest),
            [],
            "since block {}",
            block.block
        );
    }
    for account in [None, Some(ONE), Some("007")] {
        let files = ledger.bundle(newest, account);
        let (found, summary) = verify_bundle(&files, None).expect("a bundle");
        assert_eq!(found, [], "bundle of {account:?}");
        assert_eq!(summary.rules, rules(Some(SEALED + 1), Some(SEALED)));
    }
}

#[test]
fn ledger_that_was_pruned_is_the_one_in_the_vectors() {
    let ledger = pruned();
    crate::vectors::check_ledger("pruned.json", &ledger);
    model::check_bundle("pruned.copy", &ledger.bundle(ledger.newest(), None));
    model::check_bundle(
        "pruned_of_one.copy",
        &ledger.bundle(ledger.newest(), Some(ONE)),
    );
}

/// A removal before any block lets it go, or beyond what it lets go.
#[test]
fn data_removed_before_a_block_lets_it_go_is_missing() {
    let mut early = ruled();
    early.remove_data(3);
    // One finding for a relation, with the youngest event.
    assert_eq!(codes(&early.check()), [Code::DataMissing]);
    for (before, expected) in [(SEALED, vec![Code::DataMissing]), (SEALED + 1, vec![])] {
        let mut ledger = ruled();
        ledger.rules = rules(Some(before), None);
        ledger.seal_below(130);
        ledger.remove_data(3);
        assert_eq!(codes(&ledger.check()), expected, "{before}");
        for scope in [ONE, "007"] {
            let found = ledger.verify(Scope::Account(scope.to_owned()), None, ledger.newest());
            assert_eq!(codes(&found), expected, "{scope}, {before}");
        }
    }
}

/// C1: nothing that an event says of itself, its time least of all, lets anything go.
#[test]
fn forged_declaration_of_a_future_time_lets_no_account_vanish() {
    let mut ledger = ruled();
    let newest = ledger.newest();
    for (xid, occurred_at) in [(100, i64::MAX / 2), (101, SEALED)] {
        ledger.capture(Event {
            incarnation: newest,
            xid,
            ordinal: 1,
            kind: "system".to_owned(),
            action: "prune_blocks".to_owned(),
            account_id: "007".to_owned(),
            occurred_at,
            data: Some("{\"block\":3,\"events\":2}".to_owned()),
            ..Event::default()
        });
    }
    ledger.seal_below(130);
    ledger.remove_events(3);
    assert_eq!(codes(&ledger.check()), [Code::EventSetChanged]);
}

/// C1: whole blocks are gone for everybody or for nobody.
#[test]
fn account_that_alone_is_kept_or_removed_is_found() {
    let mut ledger = pruned();
    ledger.ledger_pruned.retain(|row| row.account_id != "007");
    assert_eq!(codes(&ledger.check()), [Code::PrunedAltered]);
    for row in 0..3 {
        let mut ledger = pruned();
        let block = &mut ledger.ledger_pruned[row].block;
        *block = 3 - *block;
        assert!(
            codes(&ledger.check()).contains(&Code::PrunedAltered),
            "{row}"
        );
    }
    // An event that is there again.
    let mut ledger = pruned();
    let whole = sample();
    let back = whole
        .audit_log
        .iter()
        .find(|event| whole.block_of(event) == Some(1));
    let back = back.expect("there").clone();
    let contexts = whole.audit_context.iter();
    let of_back = contexts.filter(|row| (row.incarnation, row.xid) == (back.incarnation, back.xid));
    let number = back.context;
    ledger
        .audit_context
        .extend(of_back.filter(|row| Some(row.number) == number).cloned());
    ledger.audit_log.push(back);
    assert_eq!(codes(&ledger.check()), [Code::EventSetChanged]);
}

/// C3, C4: rules only grow from block to block, and none goes away.
#[test]
fn rule_that_a_later_block_lowers_is_broken() {
    let broken = |statement: Statement| {
        let mut ledger = ruled();
        ledger.rules = statement;
        ledger.seal_below(130);
        codes(&ledger.check())
    };
    let mut lowered = rules(None, None);
    lowered.payload.get_mut("").expect("there").keep -= 1;
    let mut own = rules(None, None);
    let shorter = Rule {
        keep: KEEP[0] - 1,
        before: None,
    };
    own.payload.insert(RELATION.to_owned(), shorter);
    let mut events = rules(None, None);
    events.events.as_mut().expect("there").keep -= 1;
    let mut outlives = rules(None, None);
    outlives.payload.get_mut("").expect("there").keep = KEEP[1] + 1;
    for statement in [lowered, own, events, outlives] {
        assert_eq!(
            broken(statement.clone()),
            [Code::RetentionBroken],
            "{statement}"
        );
    }
    // All of them gone: of data and of events.
    assert_eq!(broken(Statement::default()), [Code::RetentionBroken; 2]);
    let mut raised = rules(None, None);
    raised.payload.insert(
        RELATION.to_owned(),
        Rule {
            keep: KEEP[0] + 1,
            before: None,
        },
    );
    raised.events.as_mut().expect("there").keep += 1;
    assert_eq!(broken(raised), []);
}

/// The same for whoever begins after a checkpoint: the rules that stood then are known.
#[test]
fn rule_that_is_lowered_after_a_checkpoint_is_broken() {
    let mut ledger = ruled();
    ledger.rules.payload.get_mut("").expect("there").keep -= 1;
    ledger.seal_below(130);
    let newest = ledger.newest();
    let since = ledger.ledger_block.len() as i64 - 1;
    let found = ledger.verify_after(&ledger, since, newest);
    assert_eq!(codes(&found), [Code::RetentionBroken]);
}

/// M1: each block is judged by when it was sealed itself; a later one that might is no excuse.
#[test]
fn what_is_let_go_too_early_stays_a_finding_after_a_later_block() {
    let mut ledger = ruled();
    // Sealed 130 seconds after: it keeps what is younger than 20.
    ledger.rules = rules(Some(SEALED + 110 * SECOND + 1), None);
    ledger.seal_below(130);
    assert_eq!(codes(&ledger.check()), [Code::RetentionBroken]);
    ledger.remove_data(3);
    assert_eq!(
        codes(&ledger.check()),
        [Code::RetentionBroken, Code::DataMissing]
    );
    ledger.rules = rules(Some(SEALED + 110 * SECOND), None);
    ledger.seal_below(140);
    assert_eq!(codes(&ledger.check()), [Code::RetentionBroken]);
}

/// C4: that the first blocks' events are gone, with them those about rules, changes no rule.
#[test]
fn removing_blocks_removes_no_rule_that_judges_it() {
    let mut ledger = pruned();
    ledger.rules.events = Some(Rule {
        keep: KEEP[1] - 1,
        before: Some(SEALED),
    });
    ledger.seal_below(150);
    assert_eq!(codes(&ledger.check()), [Code::RetentionBroken]);
    let mut ledger = ruled();
    ledger.rules = rules(None, Some(SEALED));
    ledger.seal_below(130);
    ledger.remove_events(3);
    assert_eq!(codes(&ledger.check()), [Code::EventSetChanged]);
}

/// M2: what is not of the form states nothing, and that is said.
#[test]
fn rules_stated_loosely_are_broken_and_let_nothing_go() {
    let mut ledger = ruled();
    ledger.rules = Statement::default();
    let before = SEALED + 1;
    let loose = format!("{{\"retention\":[{{\"payload\":20000000.0,\"before\":{before}}}]}}");
    ledger.seal_stating(130, &loose);
    ledger.remove_data(3);
    assert_eq!(
        codes(&ledger.check()),
        [Code::RetentionBroken, Code::DataMissing]
    );
}

/// C5: a reader may ask for more than a rule keeps.
#[test]
fn rule_below_what_the_reader_asks_for_is_named() {
    let ledger = pruned();
    for (floor, expected) in [(KEEP[0], 0), (KEEP[0] + 1, 2), (KEEP[1] + 1, 4)] {
        let mut verifier = Verifier::new(Scope::All, None).keep_at_least(floor);
        let incarnation = ledger.newest();
        ledger.give(&mut verifier, incarnation);
        verifier.finish();
        let found = codes(&verifier.take_findings());
        // The rules stand in two blocks.
        assert_eq!(found, vec![Code::RetentionBroken; expected], "{floor}");
    }
}

#[test]
fn hash_beside_the_data_and_data_of_what_cannot_go_are_found() {
    let mut ledger = pruned();
    let event = ledger.event_mut(|event| event.data.is_some());
    let data = event.data.as_deref().expect("there");
    event.data_hash = Some(hex::encode(Sha256::digest(data)));
    assert_eq!(codes(&ledger.check()), [Code::EventAltered]);
    // Not sealed yet, and the extension's own.
    let mut ledger = pruned();
    let newest = ledger.newest();
    for (kind, sealed) in [("row", false), ("system", true)] {
        let mut ledger = ledger.clone();
        ledger.capture(Event {
            incarnation: newest,
            xid: 200,
            kind: kind.to_owned(),
            action: "insert".to_owned(),
            relation: Some(RELATION.to_owned()),
            data: Some("{}".to_owned()),
            ..Event::default()
        });
        strip(ledger.audit_log.last_mut().expect("there"));
        if sealed {
            ledger.rules = rules(Some(SEALED + 200 * SECOND), Some(SEALED));
            ledger.seal_below(210);
            ledger.seal_below(300);
        }
        assert!(
            codes(&ledger.check()).contains(&Code::DataMissing),
            "{kind}"
        );
    }
    let event = ledger.event_mut(|event| event.data_hash.is_some());
    event.data_hash = Some("00".repeat(32));
    assert_eq!(codes(&ledger.check()), [Code::EventAltered]);
}

/// Takes the personal values of an event away, and says so at `xid`.
fn erase(ledger: &mut Ledger, event: usize, xid: i64) {
    let newest = ledger.newest();
    let event = &mut ledger.audit_log[event];
    (event.personal, event.personal_salt) = (None, None);
    let (account, key) = (event.account_id.clone(), event.key());
    ledger.capture(Event {
        incarnation: newest,
        xid,
        ordinal: 1,
        kind: "system".to_owned(),
        action: erasure::ACTION.to_owned(),
        account_id: account,
        occurred_at: SEALED + xid * SECOND,
        data: Some(erasure::data(&[key], "Art. 17 GDPR", None)),
        ..Event::default()
    });
}

#[test]
fn erasure_before_or_after_the_removal_of_data_or_events_is_no_finding() {
    for erased_first in [true, false] {
        let mut ledger = ruled();
        let meant = |event: &Event| event.personal.is_some() && ledger.block_of(event) <= Some(2);
        let event = ledger.audit_log.iter().position(meant).expect("there");
        if erased_first {
            erase(&mut ledger, event, 100);
        }
        ledger.rules = rules(Some(SEALED + 1), Some(SEALED));
        ledger.seal_below(130);
        ledger.remove_data(3);
        if !erased_first {
            erase(&mut ledger, event, 135);
        }
        assert_eq!(ledger.check(), [], "data, {erased_first}");
        ledger.seal_below(140);
        ledger.remove_events(2);
        assert_eq!(ledger.check(), [], "events, {erased_first}");
    }
}

/// H2: that events are gone excuses nothing of those that are there.
#[test]
fn value_that_came_back_after_removed_blocks_is_named() {
    let mut ledger = pruned();
    let meant = |event: &Event| event.personal.is_some();
    let Some(event) = ledger.audit_log.iter().position(meant) else {
        panic!("a personal value is left");
    };
    let before = ledger.audit_log[event].clone();
    erase(&mut ledger, event, 200);
    assert_eq!(ledger.check(), []);
    ledger.audit_log[event] = before;
    assert_eq!(codes(&ledger.check()), [Code::PersonalRestored]);
}

#[test]
fn row_of_removed_events_that_was_edited_is_found() {
    type Edit = fn(&mut PrunedRow);
    let edits: [Edit; 4] = [
        |row| row.size += 1,
        |row| row.state = "00".repeat(32),
        |row| row.account_id.push('x'),
        |row| row.block = 3,
    ];
    for (at, edit) in edits.into_iter().enumerate() {
        let mut ledger = pruned();
        edit(&mut ledger.ledger_pruned[1]);
        assert!(
            codes(&ledger.check()).contains(&Code::PrunedAltered),
            "{at}"
        );
    }
    // All of them, as if nothing had been removed or more than there is.
    let mut ledger = pruned();
    ledger.ledger_pruned.clear();
    assert!(!ledger.check().is_empty());
    ledger = pruned();
    ledger
        .ledger_pruned
        .iter_mut()
        .for_each(|row| row.block = 99);
    assert!(codes(&ledger.check()).contains(&Code::PrunedAltered));
}
