//! Personal values that were erased, and those that are merely gone.

use tenant_guard_core::erasure;
use tenant_guard_core::event::EventKey;
use tenant_guard_core::ledger::{Code, Finding, Scope};

use super::model::{self, Event, Ledger, sample, verify_bundle};
use super::vectors::check_ledger;

pub(crate) const ONE: &str = "2b1c7f6e-0d43-4b0a-9d3f-1f0e4c5a7788";
const TWO: &str = "007";

/// Incarnations of the sample: where it began, and where it is.
fn places(ledger: &Ledger) -> [i64; 2] {
    [0, 2].map(|at| ledger.ledger_block[at].incarnation)
}

fn key(incarnation: i64, xid: i64, ordinal: i32) -> EventKey {
    EventKey {
        incarnation,
        xid,
        ordinal,
    }
}

/// Takes the personal values of events away.
fn forget(ledger: &mut Ledger, events: &[EventKey]) {
    for event in &mut ledger.audit_log {
        if events.contains(&event.key()) {
            (event.personal, event.personal_salt) = (None, None);
        }
    }
}

/// An event that says so.
fn erasure(incarnation: i64, xid: i64, account: &str, events: &[EventKey]) -> Event {
    Event {
        incarnation,
        xid,
        ordinal: 1,
        kind: "system".to_owned(),
        action: erasure::ACTION.to_owned(),
        account_id: account.to_owned(),
        occurred_at: 1_760_000_000_000_000 + xid * 1_000_000,
        data: Some(erasure::data(events, "Art. 17 GDPR", None)),
        ..Event::default()
    }
}

/// The sample with erasures in a fourth block: of events of both incarnations, of one that stands
/// behind its erasure, and one erasure that is not sealed yet.
pub(crate) fn erased() -> Ledger {
    let mut ledger = sample();
    let [first, second] = places(&ledger);
    let of_one = [key(first, 100, 2), key(first, 106, 1), key(second, 50, 1)];
    let mut of_one_ascending = of_one.to_vec();
    of_one_ascending.sort();
    let (of_two, behind) = ([key(first, 102, 1)], [key(second, 60, 1)]);
    let unsealed = [key(first, 103, 1)];
    for events in [&of_one[..], &of_two, &behind, &unsealed] {
        forget(&mut ledger, events);
    }
    ledger.capture(erasure(second, 58, TWO, &behind));
    ledger.capture(erasure(second, 70, ONE, &of_one_ascending));
    ledger.capture(erasure(second, 71, TWO, &of_two));
    ledger.capture(erasure(second, 75, ONE, &unsealed));
    ledger.seal((second, 1), "72:72:", "", 1_760_000_400_000_000);
    ledger
}

/// The same where the erasure of a transaction says something else, and has the hash of that.
pub(crate) fn erased_saying(xid: i64, data: &str) -> Ledger {
    let mut ledger = erased();
    let is_it = |event: &Event| event.action == erasure::ACTION && event.xid == xid;
    let at = ledger.audit_log.iter().position(is_it).expect("there");
    let mut event = ledger.audit_log.remove(at);
    event.data = Some(data.to_owned());
    ledger.capture(event);
    ledger
}

fn found(ledger: &Ledger) -> Vec<(Code, Option<String>)> {
    let findings = ledger.verify(Scope::All, None, places(ledger)[1]);
    named(findings)
}

fn named(findings: Vec<Finding>) -> Vec<(Code, Option<String>)> {
    { findings.into_iter() }
        .map(|found| (found.code, found.event_id))
        .collect()
}

#[test]
fn erased_values_leave_an_intact_ledger() {
    let ledger = erased();
    check_ledger("erased.json", &ledger);
    let incarnation = places(&ledger)[1];
    for account in [ONE, TWO, ""] {
        let findings = ledger.verify(Scope::Account(account.to_owned()), None, incarnation);
        assert_eq!(findings, [], "{account}");
    }
    for (file, account) in [("erased.copy", None), ("erased_of_one.copy", Some(ONE))] {
        let files = ledger.bundle(incarnation, account);
        let (findings, _) = verify_bundle(&files, None).expect("a bundle");
        assert_eq!(findings, [], "{file}");
        model::check_bundle(file, &files);
    }
}

#[test]
fn value_that_nobody_declared_is_named() {
    let mut ledger = erased();
    let [first, second] = places(&ledger);
    let gone = [key(first, 101, 1), key(first, 107, 1), key(second, 50, 2)];
    forget(&mut ledger, &gone);
    let findings = ledger.verify(Scope::All, None, second);
    let mut expected = gone.to_vec();
    expected.sort();
    let said: Vec<_> = { findings.iter() }
        .map(|found| (found.code, found.event_id.clone(), found.relation.clone()))
        .collect();
    let relation = Some("shop.message".to_owned());
    let wanted = { expected.iter() }.map(|key| {
        (
            Code::PersonalMissing,
            Some(key.to_string()),
            relation.clone(),
        )
    });
    assert_eq!(said, wanted.collect::<Vec<_>>());
    let blocks: Vec<_> = findings.iter().map(|found| found.block).collect();
    assert!(
        blocks.contains(&Some(3)) && blocks.contains(&Some(1)),
        "{blocks:?}"
    );
}

#[test]
fn half_of_an_opening_is_damage_declared_or_not() {
    let sound = erased();
    for (n, event) in sound.audit_log.iter().enumerate() {
        if event.personal_commitment.is_none() {
            continue;
        }
        let mut ledger = sound.clone();
        let edited = &mut ledger.audit_log[n];
        if event.personal.is_none() {
            edited.personal_salt = Some("00".repeat(32));
        } else {
            edited.personal_salt = None;
        }
        let expected = (Code::PersonalMissing, Some(event.key().to_string()));
        assert_eq!(found(&ledger), [expected]);
    }
}

#[test]
fn value_that_came_back_is_named() {
    let mut ledger = erased();
    let [first, _] = places(&ledger);
    let back = key(first, 100, 2);
    let before = sample();
    let old = before.audit_log.iter().find(|event| event.key() == back);
    let old = old.expect("it was there");
    for event in &mut ledger.audit_log {
        if event.key() == back {
            event.personal.clone_from(&old.personal);
            event.personal_salt.clone_from(&old.personal_salt);
        }
    }
    let expected = (Code::PersonalRestored, Some(back.to_string()));
    assert_eq!(found(&ledger), [expected]);
}

#[test]
fn erasure_of_another_account_or_kind_declares_nothing() {
    let sound = sample();
    let [first, second] = places(&sound);
    let gone = [key(first, 100, 1)];
    let declared = |edit: &dyn Fn(&mut Event)| {
        let mut ledger = sound.clone();
        forget(&mut ledger, &gone);
        let mut event = erasure(second, 70, ONE, &gone);
        edit(&mut event);
        ledger.capture(event);
        ledger.seal((second, 1), "72:72:", "", 1_760_000_400_000_000);
        found(&ledger)
    };
    assert_eq!(declared(&|_| ()), []);
    let missing = (Code::PersonalMissing, Some(gone[0].to_string()));
    let restored = (Code::PersonalRestored, Some(gone[0].to_string()));
    let of_other = |event: &mut Event| event.account_id = TWO.to_owned();
    assert_eq!(declared(&of_other), [missing.clone(), restored]);
    for edit in [
        (|event: &mut Event| event.kind = "application".to_owned()) as fn(&mut Event),
        |event| event.kind = "row".to_owned(),
        |event| event.action = "ERASE_PERSONAL".to_owned(),
        |event| event.data = None,
        |event| event.data = Some("{}".to_owned()),
    ] {
        assert_eq!(declared(&edit), std::slice::from_ref(&missing));
    }
}

#[test]
fn erasure_that_is_removed_or_altered_leaves_its_values_missing() {
    let sound = erased();
    for (n, event) in sound.audit_log.iter().enumerate() {
        if event.action != erasure::ACTION {
            continue;
        }
        let missing = |found: Vec<(Code, Option<String>)>| {
            let count = found
                .iter()
                .filter(|(code, _)| *code == Code::PersonalMissing);
            count.count()
        };
        let names = event.with_stored(|event| erasure::named_by(&event.entry));
        let names = names.expect("it names some").len();
        let mut removed = sound.clone();
        removed.audit_log.remove(n);
        assert_eq!(missing(found(&removed)), names, "{}", event.key());
        let mut altered = sound.clone();
        let data = &mut altered.audit_log[n].data;
        *data = data.take().map(|data| data.replace("Art. 17", "Art. 18"));
        let said = found(&altered);
        assert!(said.contains(&(Code::EventAltered, Some(event.key().to_string()))));
        assert_eq!(missing(said), names, "{}", event.key());
    }
}

/// The page: one that names more than 10,000 names none, so that reading one takes little memory
/// whoever made the ledger.
#[test]
fn erasure_of_more_than_the_format_allows_declares_nothing() {
    let [first, _] = places(&sample());
    let unsealed = key(first, 103, 1);
    let missing = (Code::PersonalMissing, Some(unsealed.to_string()));
    let named = |count: usize| {
        found(&erased_saying(
            75,
            &erasure::data(&vec![unsealed; count], "x", None),
        ))
    };
    assert_eq!(named(erasure::MOST_NAMED), []);
    assert_eq!(named(erasure::MOST_NAMED + 1), [missing]);
}

/// What is beyond the list is counted, and no finding is made of it.
#[test]
fn undeclared_removals_beyond_the_list_are_counted() {
    const LISTED: usize = 100_000;
    let mut ledger = erased();
    let [first, second] = places(&ledger);
    let of_incarnation = |n: i64| key(first, 1_000_000 + n, 1);
    for n in 0..12 {
        let names: Vec<_> = (n * 10_000..(n + 1) * 10_000).map(of_incarnation).collect();
        ledger.capture(erasure(second, 80 + n, ONE, &names));
    }
    let findings = ledger.verify(Scope::All, None, second);
    assert_eq!(findings.len(), LISTED + 1);
    assert!({ findings.iter() }.all(|found| found.code == Code::PersonalRestored));
    let last = findings.last().expect("there");
    assert_eq!(
        last.detail,
        "and 20000 more findings, of this and other kinds"
    );
    assert_eq!(last.event_id, None);
}

/// Whoever begins at a checkpoint has looked at what is before it.
#[test]
fn what_an_erasure_names_before_a_checkpoint_is_not_looked_at() {
    let ledger = erased();
    let incarnation = places(&ledger)[1];
    for block in 1..=4 {
        assert_eq!(
            ledger.verify_after(&ledger, block, incarnation),
            [],
            "{block}"
        );
    }
    // Behind it, it is.
    let mut ledger = erased();
    let gone = [key(incarnation, 51, 1)];
    forget(&mut ledger, &gone);
    let expected = [(Code::PersonalMissing, Some(gone[0].to_string()))];
    assert_eq!(
        named(ledger.verify_after(&ledger, 2, incarnation)),
        expected
    );
    assert_eq!(named(ledger.verify_after(&ledger, 3, incarnation)), []);
}
