//! Vectors beside those of the small ledger: one that moved between databases, an empty one, one of
//! more than a tile, signed ones, and damaged copies with what must be said of them.

use serde_json::{Value, json};
use tenant_guard_core::bundle::BundleError;
use tenant_guard_core::ledger::{Code, Finding, Scope};
use tenant_guard_core::note::{KeyKind, SigningKey};
use tenant_guard_core::receipt::{LogProof, ReceiptError, Telling, verify};

use crate::bundles::{Files, ONE, receipt_of};
use crate::erasures::{erased, erased_saying};
use crate::model::{self, ContextRow, Event, Ledger, sample, verify_bundle};
use crate::pruned::bundle_of_pruned;
use crate::rules_hidden::{bundle_of_kept, data_of_no_relation};

/// Databases of the ledger that moved; in text these are `fff...`, which sorts behind the positive.
const HOME: i64 = -3;
const OTHER: i64 = 9;
const COPY: i64 = -8;

fn write(ledger: &mut Ledger, incarnation: i64, xid: i64, account: &str) {
    let context = ContextRow {
        incarnation,
        xid,
        number: 0,
        role: Some(Vec::new()),
        session_role: "app".to_owned(),
        current_role: "app".to_owned(),
        transaction_start: xid,
        ..ContextRow::default()
    };
    ledger.audit_context.push(context.hashed());
    ledger.capture(Event {
        incarnation,
        xid,
        ordinal: 1,
        kind: "application".to_owned(),
        action: "note".to_owned(),
        account_id: account.to_owned(),
        occurred_at: xid,
        context: Some(0),
        ..Event::default()
    });
}

/// A timeline that changed, a database that took over the events of two others, and the way back
/// to the first, where a transaction had been running all the time.
fn moved() -> Ledger {
    let mut ledger = Ledger::default();
    for (incarnation, xid, account) in [
        (HOME, 5, ""),
        (HOME, 10, "x"), // in progress until block 3
        (HOME, 11, "x"),
        (HOME, 20, "x"), // carried to OTHER unsealed
        (COPY, 4, "y"),  // carried there by another dump
        (OTHER, 3, "y"),
        (OTHER, 8, ""), // carried back
        (HOME, 25, "y"),
        (HOME, 30, ""),
        (HOME, 31, ""), // not sealed yet
    ] {
        write(&mut ledger, incarnation, xid, account);
    }
    for (cluster, snapshot, adopted) in [
        ((HOME, 1), "10:12:10", ""),
        ((HOME, 1), "10:14:10", ""), // a heartbeat
        ((HOME, 2), "14:14:", ""),
        ((OTHER, 1), "7:7:", "fffffffffffffff8:5,fffffffffffffffd:21"),
        ((HOME, 2), "17:30:17", "0000000000000009:9"),
        ((HOME, 2), "31:31:", ""),
    ] {
        let sealed_at = 1_000 + ledger.ledger_block.len() as i64;
        ledger.seal(cluster, snapshot, adopted, sealed_at);
    }
    ledger
}

/// One event of each of 256 accounts in one block: more leaves than a tile has.
fn many() -> Ledger {
    let mut ledger = Ledger::default();
    for xid in 0..256 {
        write(&mut ledger, HOME, xid, &format!("account {xid:03}"));
    }
    ledger.seal((HOME, 1), "256:256:", "", 1_000);
    ledger
}

/// The note of a checkpoint: signed, and cosigned by a witness.
fn signed(body: String) -> String {
    let key = |name, kind, seed| {
        SigningKey::from_seed(name, kind, &[seed; 32]).expect("a name without spaces")
    };
    let log = key("tenant_guard.example", KeyKind::Ed25519, 1);
    let witness = key("witness.example", KeyKind::Cosignature, 2);
    let signatures = [log.sign(&body, 0), witness.sign(&body, 1_760_000_000)].concat();
    format!("{body}\n{signatures}")
}

fn sign_checkpoints(files: &mut Files) {
    for (path, content) in files {
        if path.ends_with("/checkpoint") {
            let body = String::from_utf8(std::mem::take(content)).expect("UTF-8");
            *content = signed(body).into_bytes();
        }
    }
}

fn check(name: &str, files: &Files) {
    let (findings, _) = verify_bundle(files, None).expect("a bundle");
    assert_eq!(findings, [], "{name}");
    model::check_bundle(name, files);
}

#[test]
fn a_ledger_that_moved_and_came_back_is_intact() {
    let ledger = moved();
    assert_eq!(ledger.verify(Scope::All, None, HOME), []);
    let events: Vec<i64> = ledger.ledger_block.iter().map(|row| row.events).collect();
    assert_eq!(events, [2, 0, 1, 3, 2, 1]);
    let epochs: Vec<i64> = ledger.ledger_block.iter().map(|row| row.epoch).collect();
    assert_eq!(epochs, [1, 1, 2, 3, 4, 4]);
    let mut files = ledger.bundle(HOME, None);
    sign_checkpoints(&mut files);
    check("moved.copy", &files);
    check("moved_of_system.copy", &ledger.bundle(HOME, Some("")));
}

#[test]
fn a_ledger_without_a_block_is_intact() {
    check("empty.copy", &Ledger::default().bundle(HOME, None));
}

#[test]
fn a_ledger_of_more_than_a_tile_is_intact() {
    let mut files = many().bundle(HOME, Some("account 007"));
    assert!(files.iter().any(|(path, _)| path == "epoch/1/tile/0/000"));
    // Its openings in two files, as those of a large one are.
    let at = files.iter().position(|(path, _)| path == "openings/000");
    let at = at.expect("openings");
    let content = &mut files[at].1;
    let middle = content.len() / 2;
    let end = content[middle..].iter().position(|byte| *byte == b'\n');
    let rest = content.split_off(middle + end.expect("a line ends") + 1);
    files.insert(at + 1, ("openings/001".to_owned(), rest));
    check("many_of_one.copy", &files);
}

/// What later blocks claim cannot be less than what earlier ones hold.
#[test]
fn a_block_that_claims_less_than_the_one_before_is_named() {
    let cases: [(usize, &str, &str, &[&str]); 4] = [
        (
            1,
            "9:14:9",
            "",
            &["its snapshot sees less than the one before"],
        ),
        (
            1,
            "10:11:10",
            "",
            &["its snapshot sees less than the one before"],
        ),
        (
            3,
            "7:7:",
            "fffffffffffffff8:5,fffffffffffffffd:13",
            &["it takes over less of an incarnation than earlier blocks hold"],
        ),
        (
            3,
            "7:7:",
            "fffffffffffffff8:5,fffffffffffffffd:21,0000000000000009:1",
            &["its snapshot or adopted incarnations are no such"],
        ),
    ];
    for (at, snapshot, adopted, details) in cases {
        let sound = moved();
        let mut ledger = Ledger {
            audit_log: sound.audit_log.clone(),
            audit_context: sound.audit_context.clone(),
            ..Ledger::default()
        };
        for (n, row) in sound.ledger_block.iter().enumerate().take(at + 1) {
            let (snapshot, adopted) = match n == at {
                true => (snapshot, adopted),
                false => (row.snapshot.as_str(), row.adopted.as_str()),
            };
            let cluster = (row.incarnation, row.timeline);
            ledger.seal(cluster, snapshot, adopted, row.sealed_at);
        }
        let findings = ledger.verify(Scope::All, None, sound.ledger_block[at].incarnation);
        let found: Vec<&str> = findings
            .iter()
            .filter(|finding| finding.code == Code::BlockAltered)
            .map(|finding| finding.detail.as_str())
            .collect();
        assert_eq!(found, details, "{snapshot} {adopted}");
    }
}

#[test]
fn receipts_with_signatures_and_of_bare_events() {
    let files = [
        (
            "receipt_signed.tlog-proof",
            receipt_of(ONE, 1, Telling::All, signed),
        ),
        (
            "receipt_without_context.tlog-proof",
            receipt_of("", 0, Telling::All, |body| body),
        ),
    ];
    for (name, text) in files {
        verify(&text).expect(name);
        model::check_file(name, &text);
    }
}

/// An edit: of which vector, in which file of it, what, by what.
type Edit = (&'static str, &'static str, String, String);

fn damage() -> Vec<Edit> {
    let ledger = sample();
    let openings = openings_of(&ledger);
    let line = |table: &str, n: usize| {
        let mut lines = openings.split_inclusive('\n');
        let line = lines.by_ref().filter(|line| line.starts_with(table)).nth(n);
        line.expect("that many").to_owned()
    };
    let (account, event, context) = (
        line("ledger_account", 0),
        line("audit_log", 0),
        line("audit_context", 0),
    );
    let (leaf, next_leaf) = (line("ledger_leaf", 1), line("ledger_leaf", 2));
    let salt = |bytes: usize| format!("\"personal_salt\":\"{}\"", "64".repeat(bytes));
    // The same bytes are hashed.
    let shifted = event
        .replace("\"personal\":\"", "\"personal\":\"d")
        .replace(&salt(32), &salt(31));
    assert_ne!(shifted, event);
    let state = format!("\"state\":\"{}", ledger.ledger_block[0].state);
    let body = ledger.checkpoint(&ledger.ledger_block[1]);
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let in_rows = [
        pair("\\\"amount\\\":1.10", "\\\"amount\\\":1.20"),
        pair("p100@", "p101@"),
        (event.clone(), shifted),
        (event.clone(), String::new()),
        (event.clone(), format!("{event}{event}")),
        pair("token-100", "token-101"),
        (context.clone(), String::new()),
        (context.clone(), format!("{context}{context}")),
        (account, String::new()),
        (state, "\"state\":\"00".to_owned()),
        pair("\"sealed_at\":", "\"sealed_at\":1"),
        (leaf.clone(), String::new()),
        (format!("{leaf}{next_leaf}"), format!("{next_leaf}{leaf}")),
        pair("\"ordinal\":1,", "\"ordinal\":1,\"more\":1,"),
        pair("\"ordinal\":1,", "\"ordinal\":1,\"ordinal\":1,"),
        pair("end_of_block\n", "end_of_block \n"),
        pair("unsealed\n", ""),
    ];
    let mut edits: Vec<Edit> = in_rows
        .map(|(from, to)| ("bundle.copy", "openings/000", from, to))
        .into();
    for signature in ["", "no signature\n", "\u{2014} a+b Az3grlgtzPICa5OS\n"] {
        let note = format!("{body}\n{signature}");
        edits.push(("bundle.copy", "epoch/1/checkpoint", body.clone(), note));
    }
    let in_pruned = [
        ("\"size\":1,", "\"size\":2,"),
        ("ledger_pruned {\"block\":2", "ledger_pruned {\"block\":1"),
        (
            "ledger_pruned {\"block\":1,\"account_id\":\"\"",
            "ledger_pruned {\"block\":1,\"account_id\":\"0\"",
        ),
        ("\"data_hash\":\"", "\"data\":\"{}\",\"data_hash\":\""),
        ("\"data_hash\":\"", "\"data_hash\":\"00"),
        ("\\\"before\\\":", "\\\"before\\\":1"),
        ("\\\"payload\\\":2", "\\\"payload\\\":1"),
    ];
    let in_pruned = in_pruned.map(|(from, to)| pair(from, to));
    edits.extend(in_pruned.map(|(from, to)| ("pruned.copy", "openings/000", from, to)));
    let (from, to) = data_of_no_relation();
    edits.push(("no_relation_kept.copy", "openings/000", from, to));
    edits.push((
        "bundle.copy",
        "bundle.json",
        "\"version\":1".to_owned(),
        "\"version\":2".to_owned(),
    ));
    let in_extra = [
        pair("\\\"amount\\\":1.10", "\\\"amount\\\":1.20"),
        pair("token-100", "token-101"),
        pair("p100@", "p101@"),
        (salt(32), salt(31)),
        pair("\"events\":5", "\"events\":6"),
        pair("\"index\":1", "\"index\":2"),
        pair("\"version\":1", "\"version\":2"),
    ];
    edits.extend(in_extra.map(|(from, to)| ("receipt.tlog-proof", "extra", from, to)));
    let in_text = [
        (body.clone(), format!("{body}\nno signature\n")),
        pair("index ", "index 0"),
        pair("tenant_guard/", "tenant-guard/"),
    ];
    edits.extend(in_text.map(|(from, to)| ("receipt.tlog-proof", "text", from, to)));
    edits.extend(damage_of_erased());
    edits
}

/// Data of an erasure that is not of the format's form, with which it names nothing.
const OTHER_FORMS: [&str; 6] = [
    r#"[[["0ac4f632b90a7fcd",[[103,1]]]],"x"]"#,
    r#"{"erased":[["0ac4f632b90a7fcd",[[103,1]]]],"legal_basis":"\ud800"}"#,
    r#"{"erased":[["0ac4f632b90a7fcd",[[103,1]]],["0ac4f632b90a7fcd",{}]],"legal_basis":"x"}"#,
    r#"{"erased":[["0ac4f632b90a7fcd",[[103,1,true]]]],"legal_basis":"x"}"#,
    r#"{"erased":[["0ac4f632b90a7fcd",[[103,1]]]],"legal_basis":"x","reason":null}"#,
    r#"{"erased":[["0ac4f632b90a7fcd",[[103,1]]]],"erased":[["0ac4f632b90a7fcd",[[103,1]]]],"legal_basis":"x"}"#,
];

/// What is gone without an erasure, an erasure that is gone, and what came back in spite of one.
fn damage_of_erased() -> Vec<Edit> {
    let before = openings_of(&sample());
    let openings = openings_of(&erased());
    let event = |openings: &str, place: &str| {
        let mut lines = openings.split_inclusive('\n');
        let line = lines.find(|line| line.starts_with("audit_log") && line.contains(place));
        line.expect("there").to_owned()
    };
    let at = |xid: i64, ordinal: i32| format!("\"xid\":{xid},\"ordinal\":{ordinal},");
    let whole = event(&openings, &at(101, 1));
    let member = |name: &str, next: &str| {
        let [from, to] = [name, next].map(|name| whole.find(&format!(",\"{name}\":")));
        whole[from.expect("a member")..to.expect("another")].to_owned()
    };
    let value = member("personal", "personal_salt");
    let salt = member("personal_salt", "personal_commitment");
    let without = |parts: &[&String]| {
        let line = whole.clone();
        { parts.iter() }.fold(line, |line, part| line.replacen(part.as_str(), "", 1))
    };
    let erasure = event(&openings, &at(70, 1));
    let edits = [
        (whole.clone(), without(&[&value, &salt])),
        (whole.clone(), without(&[&value])),
        (whole.clone(), without(&[&salt])),
        (erasure.clone(), String::new()),
        (erasure.clone(), erasure.replace("Art. 17", "Art. 18")),
        (
            erasure.clone(),
            erasure.replace("\"system\"", "\"application\""),
        ),
        (event(&openings, &at(100, 2)), event(&before, &at(100, 2))),
    ];
    let unsealed = event(&openings, &at(75, 1));
    let of_another_form = OTHER_FORMS.map(|data| {
        let said = openings_of(&erased_saying(75, data));
        (unsealed.clone(), event(&said, &at(75, 1)))
    });
    { edits.into_iter().chain(of_another_form) }
        .map(|(from, to)| ("erased.copy", "openings/000", from, to))
        .collect()
}

fn openings_of(ledger: &Ledger) -> String {
    let files = ledger.bundle(ledger.ledger_block[2].incarnation, None);
    let openings = files.into_iter().find(|(path, _)| path == "openings/000");
    String::from_utf8(openings.expect("there").1).expect("UTF-8")
}

fn edited(text: &str, (_, _, from, to): &Edit) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

fn codes(result: Result<Vec<Finding>, BundleError>) -> Value {
    let Ok(findings) = result else {
        return json!("no bundle");
    };
    let mut codes: Vec<&str> = findings.iter().map(|found| found.code.as_str()).collect();
    codes.sort_unstable();
    json!(codes)
}

fn of_bundle(edit: &Edit) -> Value {
    let ledger = match edit.0 {
        "erased.copy" => erased(),
        _ => sample(),
    };
    let mut files = match edit.0 {
        "pruned.copy" => bundle_of_pruned(),
        "no_relation_kept.copy" => bundle_of_kept(),
        _ => ledger.bundle(ledger.ledger_block[2].incarnation, None),
    };
    let file = files.iter_mut().find(|(path, _)| path == edit.1);
    let content = &mut file.expect("there").1;
    let text = String::from_utf8(std::mem::take(content)).expect("UTF-8");
    *content = edited(&text, edit).into_bytes();
    codes(verify_bundle(&files, None).map(|(findings, _)| findings))
}

fn of_receipt(edit: &Edit) -> Value {
    let text = receipt_of(ONE, 1, Telling::All, |body| body);
    let text = match edit.1 {
        "extra" => {
            let proof = LogProof::parse(&text).expect("a proof");
            let extra = String::from_utf8(proof.extra.clone().expect("there")).expect("UTF-8");
            let extra = Some(edited(&extra, edit).into_bytes());
            LogProof { extra, ..proof }.to_string()
        }
        _ => edited(&text, edit),
    };
    match verify(&text) {
        Ok(_) => json!("intact"),
        Err(ReceiptError::Malformed(_)) => json!("no receipt"),
        Err(_) => json!("not proven"),
    }
}

/// Each edit replaces the first occurrence.
#[test]
fn damaged_copies_have_the_results_that_are_written() {
    let edits = damage();
    let vectors = edits.iter().map(|edit| {
        let (of, file, from, to) = edit;
        let result = match *of {
            of if of.ends_with(".copy") => of_bundle(edit),
            _ => of_receipt(edit),
        };
        assert!(result != json!([]) && result != json!("intact"), "{from}");
        json!({ "of": of, "in": file, "from": from, "to": to, "result": result })
    });
    let vectors: Vec<Value> = vectors.collect();
    let text = serde_json::to_string_pretty(&vectors).expect("plain data") + "\n";
    model::check_file("damaged.json", &text);
}
