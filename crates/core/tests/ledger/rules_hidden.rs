//! Rules that somebody hides, states in another form, or lets go by a clock that is put forward, so that
//! what they keep seems let go.

use tenant_guard_core::ledger::retention::Statement;
use tenant_guard_core::ledger::{Code, Scope, Verifier};

use crate::bundles::Files;
use crate::model::{self, Ledger};
use crate::pruned::{KEEP, SEALED, SECOND, codes, pruned, ruled, rules, strip};

/// Ten years.
const LONG: i64 = 315_360_000 * SECOND;

/// A ledger that keeps all for long, whose rules are replaced by those of [`KEEP`], which let everything of
/// the sample go.
fn replaced() -> Ledger {
    let mut ledger = model::sample();
    ledger.rules = rules(None, None);
    ledger.rules.payload.get_mut("").expect("there").keep = LONG;
    ledger.rules.events.as_mut().expect("there").keep = LONG;
    ledger.seal_below(90);
    ledger.rules = rules(Some(SEALED + 1), Some(SEALED + 1));
    ledger.seal_below(160);
    ledger
}

fn hide(ledger: &mut Ledger, block: i64) {
    let row = &mut ledger.ledger_block[block as usize - 1];
    row.configuration.take().expect("a text");
}

#[test]
fn rules_hidden_from_whoever_begins_after_a_checkpoint_let_nothing_go() {
    for through in [3, 4] {
        let mut ledger = replaced();
        let newest = ledger.newest();
        hide(&mut ledger, 4);
        ledger.remove_events(through);
        let found = codes(&ledger.verify_after(&ledger, 4, newest));
        assert!(found.contains(&Code::ConfigurationAltered), "{found:?}");
    }
    // Removed after the checkpoint.
    let mut ledger = replaced();
    hide(&mut ledger, 4);
    ledger.remove_events(5);
    let found = codes(&ledger.verify_after(&ledger, 4, ledger.newest()));
    assert!(found.contains(&Code::ConfigurationAltered), "{found:?}");
}

#[test]
fn text_of_another_block_is_not_taken_for_the_rules_before_a_checkpoint() {
    let mut ledger = replaced();
    let newest = ledger.newest();
    ledger.ledger_block[3].configuration = ledger.ledger_block[4].configuration.clone();
    let found = codes(&ledger.verify_after(&ledger, 4, newest));
    assert!(found.contains(&Code::ConfigurationAltered), "{found:?}");
}

#[test]
fn one_hidden_text_does_not_silence_what_is_removed_afterwards() {
    let mut ledger = replaced();
    hide(&mut ledger, 4);
    let before = codes(&ledger.check());
    assert_eq!(before, [Code::ConfigurationAltered]);
    let mut without_data = ledger.clone();
    without_data.remove_data(3);
    assert_eq!(
        codes(&without_data.check()),
        [Code::ConfigurationAltered, Code::DataMissing]
    );
    ledger.remove_events(3);
    assert_eq!(
        codes(&ledger.check()),
        [Code::ConfigurationAltered, Code::EventSetChanged]
    );
}

#[test]
fn missing_blocks_let_nothing_go() {
    let mut ledger = pruned();
    // Those whose rules let go what is gone.
    ledger.ledger_block.retain(|row| row.block != 4);
    let found = codes(&ledger.check());
    assert!(found.contains(&Code::BlockMissing), "{found:?}");
    assert!(found.contains(&Code::DataMissing), "{found:?}");
    assert!(found.contains(&Code::EventSetChanged), "{found:?}");
}

const DAY: i64 = 86_400 * SECOND;

/// Rules that let go what is sealed before a time, sealed when that is old enough by a clock.
fn forwarded(days: i64) -> Ledger {
    let mut ledger = ruled();
    let ahead = days * DAY;
    let [data, events] = KEEP.map(|keep| Some(SEALED + 90 * SECOND + ahead - keep));
    ledger.rules = rules(data, events);
    let incarnation = ledger.newest();
    ledger.seal((incarnation, 1), "95:95:", "", SEALED + 90 * SECOND + ahead);
    ledger
}

/// 10 days forward, prune, back: the next block shows it.
#[test]
fn clock_put_forward_and_back_lets_nothing_go() {
    for (days, expected) in [(0, vec![]), (10, vec![Code::DataMissing])] {
        let mut ledger = forwarded(days);
        ledger.remove_data(3);
        ledger.rules = Statement::default();
        let text = ledger.ledger_block[4].configuration.clone().expect("rules");
        // What was captured is as before: the block does not state it again.
        ledger.seal_stating(96, &text);
        assert_eq!(codes(&ledger.check()), expected, "{days}");
    }
}

/// Before another block is sealed, the reader's own clock does.
#[test]
fn block_sealed_in_the_readers_future_lets_nothing_go() {
    let mut ledger = forwarded(10);
    ledger.remove_data(3);
    for (now, expected) in [
        (SEALED + 95 * SECOND, vec![Code::DataMissing]),
        (SEALED + 11 * DAY, vec![]),
    ] {
        let mut verifier = Verifier::new(Scope::All, None).read_at(now);
        ledger.give(&mut verifier, ledger.newest());
        verifier.finish();
        assert_eq!(codes(&verifier.take_findings()), expected);
    }
}

/// Age is the highest time so far, also for whoever begins after a checkpoint.
#[test]
fn age_after_a_checkpoint_is_that_of_the_whole_ledger() {
    let mut ledger = ruled();
    let incarnation = ledger.newest();
    let seal = |ledger: &mut Ledger, xid: i64, at: i64| {
        ledger.seal(
            (incarnation, 1),
            &format!("{xid}:{xid}:"),
            "",
            SEALED + at * SECOND,
        );
    };
    seal(&mut ledger, 92, 3_000);
    seal(&mut ledger, 93, 100);
    ledger.capture(model::Event {
        incarnation,
        xid: 94,
        ordinal: 1,
        kind: "row".to_owned(),
        action: "insert".to_owned(),
        relation: Some(crate::pruned::RELATION.to_owned()),
        account_id: "007".to_owned(),
        data: Some("{}".to_owned()),
        ..Default::default()
    });
    seal(&mut ledger, 95, 110);
    ledger.rules = rules(Some(SEALED + 2_000 * SECOND), None);
    seal(&mut ledger, 96, 4_000);
    ledger.remove_data(7);
    let newest = ledger.newest();
    assert_eq!(codes(&ledger.check()), [Code::DataMissing]);
    // Block 6, whose own time is earlier than that of the block before it.
    assert_eq!(
        codes(&ledger.verify_after(&ledger, 6, newest)),
        [Code::DataMissing]
    );
}

/// Configurations that state rules, or nothing of retention.
const STATED: [&str; 12] = [
    "{}",
    r#"{"retention":[{"payload":1}]}"#,
    r#"{"retention":[{"payload":0,"before":-9223372036854775808}]}"#,
    r#"{"retention":[{"payload":3153600000000000,"relation":"a"},{"payload":1},{"events":3153600000000000}]}"#,
    r#" { "retention" : [ { "payload" : 1 , "relation" : "\ud83d\ude00" } ] } "#,
    r#"{"a":1,"a":2,"retention":[{"events":1,"before":9223372036854775807}]}"#,
    r#"{"a":1.5,"retention":[{"events":1}]}"#,
    r#"{"a":-0,"retention":[{"events":1}]}"#,
    r#"{"a":[1e3,true,null,"\ud83d\ude00"],"retention":[{"events":1}]}"#,
    r#"{"a":123456789012345678901234567890,"retention":[{"events":1}]}"#,
    r#"{"retention":[{"pay\u006coad":1}]}"#,
    r#"{"a":{"retention":1}}"#,
];

/// What is no JSON object, or states them in another form.
const OTHER_FORMS: &[&str] = &[
    "",
    "[]",
    r#"[[{"payload":1}]]"#,
    r#"{"retention":[]}"#,
    r#"{"retention":null}"#,
    r#"{"retention":{"payload":1}}"#,
    r#"{"retention":[[null,1]]}"#,
    r#"{"retention":[{"payload":1}],"retention":[{"payload":1}]}"#,
    r#"{"retention":[{"payload":1},{"payload":1}]}"#,
    r#"{"retention":[{"events":1},{"events":2}]}"#,
    r#"{"retention":[{"payload":1,"events":1}]}"#,
    r#"{"retention":[{"payload":1,"payload":2}]}"#,
    r#"{"retention":[{"payload":-1}]}"#,
    r#"{"retention":[{"payload":3153600000000001}]}"#,
    r#"{"retention":[{"payload":1.0}]}"#,
    r#"{"retention":[{"payload":1e3}]}"#,
    r#"{"retention":[{"payload":-0}]}"#,
    r#"{"retention":[{"payload":true}]}"#,
    r#"{"retention":[{"payload":"1"}]}"#,
    r#"{"retention":[{"payload":1,"before":1.5}]}"#,
    r#"{"retention":[{"payload":1,"before":null}]}"#,
    r#"{"retention":[{"payload":1,"before":9223372036854775808}]}"#,
    r#"{"retention":[{"payload":1,"relation":""}]}"#,
    r#"{"retention":[{"payload":1,"relation":null}]}"#,
    r#"{"retention":[{"payload":1,"relation":"\ud800"}]}"#,
    r#"{"retention":[{"events":1,"relation":"a"}]}"#,
    r#"{"retention":[{"payload":1,"reason":"a"}]}"#,
    r#"{"retention":[{}]}"#,
    r#"{"retention":[{"payload":1}]} x"#,
    r#"{"retention":[{"payload":1,"before":-0}]}"#,
    r#"{"retention":[{"payload":NaN}]}"#,
    r#"{"a":NaN,"retention":[{"payload":1}]}"#,
    r#"{"a":-Infinity}"#,
    r#"{"\ud800":1,"retention":[{"payload":1}]}"#,
    r#"{"retention":[{"payload":1,"\ud800":1}]}"#,
    r#"{"retention":[{"payload":01}]}"#,
    r#"{"retention":[{"payload":1,"relation":"a"},{"payload":1,"relation":"\u0061"}]}"#,
];

#[test]
fn rules_of_another_form_are_none() {
    for text in STATED {
        assert!(Statement::stated(text).is_some(), "{text}");
    }
    for text in OTHER_FORMS {
        assert_eq!(Statement::stated(text), None, "{text}");
    }
    let vectors = serde_json::json!({ "valid": STATED, "invalid": OTHER_FORMS });
    let text = serde_json::to_string_pretty(&vectors).expect("plain data") + "\n";
    model::check_file("rules.json", &text);
}

/// An event about no relation, and rules by which data goes before events or after them.
fn of_no_relation(before: [i64; 2]) -> Ledger {
    let mut ledger = ruled();
    ledger.capture(model::Event {
        incarnation: ledger.newest(),
        xid: 91,
        ordinal: 1,
        kind: "application".to_owned(),
        action: "note".to_owned(),
        account_id: "007".to_owned(),
        data: Some("{}".to_owned()),
        ..Default::default()
    });
    ledger.seal_below(100);
    let [data, events] = before.map(|before| Some(SEALED + before * SECOND));
    ledger.rules = rules(data, events);
    ledger.seal_below(200);
    ledger
}

fn remove_note(ledger: &mut Ledger) {
    strip(ledger.event_mut(|event| event.action == "note"));
}

/// Its data goes by the rule for data and not by the one for whole events.
#[test]
fn data_about_no_relation_goes_by_the_rule_for_data() {
    let [mut gone, mut kept] = [[101, 1], [1, 101]].map(of_no_relation);
    assert_eq!((gone.check(), kept.check()), (vec![], vec![]));
    remove_note(&mut gone);
    assert_eq!(gone.check(), []);
    model::check_bundle("no_relation.copy", &gone.bundle(gone.newest(), None));
    model::check_bundle("no_relation_kept.copy", &bundle_of_kept());
    remove_note(&mut kept);
    assert_eq!(codes(&kept.check()), [Code::DataMissing]);
}

pub(crate) fn bundle_of_kept() -> Files {
    let kept = of_no_relation([1, 101]);
    kept.bundle(kept.newest(), None)
}

/// The edit that removes the data of the event about no relation.
pub(crate) fn data_of_no_relation() -> (String, String) {
    let line = |ledger: &Ledger| {
        let files = ledger.bundle(ledger.newest(), None);
        let openings = files.into_iter().find(|(path, _)| path == "openings/000");
        let openings = String::from_utf8(openings.expect("there").1).expect("UTF-8");
        let line = openings.lines().find(|line| line.contains("\"note\""));
        line.expect("there").to_owned()
    };
    let mut ledger = of_no_relation([1, 101]);
    let whole = line(&ledger);
    remove_note(&mut ledger);
    (whole, line(&ledger))
}
