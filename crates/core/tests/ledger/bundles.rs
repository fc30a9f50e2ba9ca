//! Bundles: what they hold, and that nothing can be changed in one unnoticed.

use std::ops::Range;

use tenant_guard_core::bundle::rows::Bytes;
use tenant_guard_core::event::Context;
use tenant_guard_core::ledger::{Adopted, Claims, Code, Scope};
use tenant_guard_core::merkle::Hash;
use tenant_guard_core::proof::{RangeRoots, inclusion_ranges};
use tenant_guard_core::receipt::{AccountOpening, LogProof, ReceiptError, Telling, open, verify};

use crate::model::{self, Event, Ledger, bytes, hash, sample, verify_bundle};

pub(crate) type Files = Vec<(String, Vec<u8>)>;

pub(crate) const ONE: &str = "2b1c7f6e-0d43-4b0a-9d3f-1f0e4c5a7788";

fn incarnation(ledger: &Ledger) -> i64 {
    ledger.ledger_block[2].incarnation
}

fn bundle(account: Option<&str>) -> Files {
    let ledger = sample();
    ledger.bundle(incarnation(&ledger), account)
}

#[test]
fn a_bundle_is_intact_and_says_what_it_holds() {
    let files = bundle(None);
    let paths: Vec<_> = files.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "bundle.json",
            "epoch/1/tile/entries/000.p/8",
            "epoch/1/tile/0/000.p/8",
            "epoch/1/checkpoint",
            "openings/000",
            "epoch/2/tile/entries/000.p/4",
            "epoch/2/tile/0/000.p/4",
            "epoch/2/checkpoint",
        ]
    );
    let (findings, summary) = verify_bundle(&files, None).expect("a bundle");
    assert_eq!(findings, []);
    assert_eq!((summary.blocks, summary.unsealed), (3, 1));
    assert_eq!(summary.account, None);
    let ledger = sample();
    let last = ledger.checkpoint(&ledger.ledger_block[2]);
    assert_eq!(summary.checkpoints.last(), Some(&last));
    assert_eq!(summary.checkpoints.len(), 2);

    // Other files than openings may stand anywhere after the first.
    let mut moved = files.clone();
    moved.swap(4, 1);
    assert_eq!(verify_bundle(&moved, None).expect("a bundle").0, []);
}

#[test]
fn the_bundle_of_an_account_tells_nothing_of_others() {
    let files = bundle(Some(ONE));
    let (findings, summary) = verify_bundle(&files, None).expect("a bundle");
    assert_eq!(findings, []);
    assert_eq!(summary.account.as_deref(), Some(ONE));
    let openings = files.iter().find(|(path, _)| path == "openings/000");
    let text = String::from_utf8(openings.expect("there").1.clone()).expect("UTF-8");
    let events = text.lines().filter(|line| line.starts_with("audit_log "));
    let events: Vec<_> = events.collect();
    assert!(!events.is_empty() && events.iter().all(|line| line.contains(ONE)));
    assert_eq!(summary.events, events.len() as u64);
    assert!(!text.contains("\"007\"") && !text.contains("\"account_id\":\"\""));
    // Who acted for others is told no more than what they did.
    assert!(!text.contains("token-101"));

    let mut ledger = sample();
    let event = ledger
        .audit_log
        .iter_mut()
        .find(|event| event.account_id == ONE);
    event.expect("there").data = Some("{}".to_owned());
    let files = ledger.bundle(incarnation(&ledger), Some(ONE));
    let (findings, _) = verify_bundle(&files, None).expect("a bundle");
    let scoped = ledger.verify(Scope::Account(ONE.to_owned()), None, incarnation(&ledger));
    assert_eq!(findings, scoped);
    assert_eq!(findings[0].code, Code::EventAltered);
}

/// The openings of a bundle, one line each.
fn openings(files: &Files) -> Vec<String> {
    let openings = files.iter().find(|(path, _)| path == "openings/000");
    let text = String::from_utf8(openings.expect("there").1.clone()).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

fn with_openings(files: &Files, lines: &[String]) -> Files {
    let mut files = files.clone();
    let openings = files.iter_mut().find(|(path, _)| path == "openings/000");
    openings.expect("there").1 = (lines.join("\n") + "\n").into_bytes();
    files
}

fn row_of(line: &str, table: &str) -> Option<serde_json::Value> {
    let row = line.strip_prefix(table)?.strip_prefix(' ')?;
    Some(serde_json::from_str(row).expect("a row"))
}

/// Events and contexts of the last block, the name in its leaf, and the account's own row: all
/// that speaks of them without being a leaf of the tree.
#[test]
fn newest_events_of_an_account_taken_out_of_its_bundle_are_missed() {
    let files = bundle(Some(ONE));
    let lines = openings(&files);
    let mut tree = tenant_guard_core::merkle::Frontier::new();
    let mut block = 0;
    let mut leaves = lines.iter().filter_map(|line| row_of(line, "ledger_leaf"));
    let last = leaves.rfind(|leaf| leaf["account_id"] == ONE);
    let last = last.expect("a leaf")["block"].as_i64().expect("a number");
    let mut kept = Vec::new();
    for line in lines {
        if let Some(row) = row_of(&line, "ledger_block") {
            block = row["block"].as_i64().expect("a number");
        }
        let of_events = line.starts_with("audit_");
        if of_events && block == last {
            continue;
        }
        if let Some(event) = row_of(&line, "audit_log") {
            tree.append(hash(event["leaf_hash"].as_str().expect("a hash")));
        }
        kept.push(line);
    }
    for line in &mut kept {
        if let Some(mut leaf) = row_of(line, "ledger_leaf")
            && leaf["block"] == last
        {
            leaf.as_object_mut().expect("a row").remove("account_id");
            *line = format!("ledger_leaf {leaf}");
        }
        if let Some(mut row) = row_of(line, "ledger_account") {
            row["size"] = tree.size().into();
            row["state"] = hex::encode(tree.state()).into();
            *line = format!("ledger_account {row}");
        }
    }
    let (findings, _) = verify_bundle(&with_openings(&files, &kept), None).expect("a bundle");
    let found: Vec<_> = findings
        .iter()
        .map(|f| (f.code, f.block, f.account.as_deref(), f.detail.as_str()))
        .collect();
    let missing = "2 events fewer than sealed: none is left";
    assert_eq!(
        found[0],
        (Code::EventSetChanged, Some(last), Some(ONE), missing)
    );
    let codes: Vec<_> = found.iter().map(|found| found.0).collect();
    assert_eq!(codes, [Code::EventSetChanged, Code::AccountAltered]);

    // Without the row, nothing says which leaves are the account's.
    kept.retain(|line| !line.starts_with("ledger_account"));
    let (findings, _) = verify_bundle(&with_openings(&files, &kept), None).expect("a bundle");
    assert!(
        findings
            .iter()
            .any(|finding| finding.code == Code::AccountMissing)
    );
}

#[test]
fn the_bundle_of_an_account_of_which_nothing_is_known_proves_nothing() {
    let ledger = sample();
    let files = ledger.bundle(incarnation(&ledger), Some("nobody"));
    let (findings, _) = verify_bundle(&files, None).expect("a bundle");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].code, Code::AccountMissing);
    assert_eq!(
        findings[0].detail,
        "nothing of this account was sealed, which proves nothing"
    );
}

/// However large a row: its line is cut, wherever that falls, and put together again.
#[test]
fn a_row_longer_than_a_file_goes_on_in_the_next() {
    let mut ledger = sample();
    let event = ledger
        .audit_log
        .iter()
        .find(|event| event.xid == 60)
        .expect("in sample")
        .clone();
    ledger.capture(Event {
        ordinal: 2,
        data: Some("x\u{1}\"\\ü".repeat(700_000)),
        row_key: Some("k".repeat(3 << 20)),
        ..event
    });
    let files = ledger.bundle(incarnation(&ledger), None);
    let sizes = files.iter().map(|(_, content)| content.len());
    assert!(sizes.max() < Some(4 << 20));
    let of_openings = |(path, _): &&(String, Vec<u8>)| path.starts_with("openings/");
    assert!(files.iter().filter(of_openings).count() > 5);
    let (findings, summary) = verify_bundle(&files, None).expect("a bundle");
    assert_eq!((findings, summary.unsealed), (Vec::new(), 2));
    for at in 0..files.len() {
        let mut fewer = files.clone();
        fewer.remove(at);
        assert!(verify_bundle(&fewer, None).is_err(), "{}", files[at].0);
    }
}

/// What another reader of JSON or hexadecimal might read as the same or as something else.
#[test]
fn rows_are_read_as_strictly_as_they_are_written() {
    let files = bundle(None);
    let lines = openings(&files);
    let at = lines.iter().position(|line| line.starts_with("audit_log "));
    let at = at.expect("an event");
    let line = &lines[at];
    let leaf = line.split("\"leaf_hash\":\"").nth(1).expect("a hash");
    let leaf = leaf.split('"').next().expect("its end");
    for (from, to) in [
        ("\"ordinal\":1,", "\"ordinal\":1,\"ordinal\":1,"),
        ("\"ordinal\":1,", "\"ordinal\":1.0,"),
        ("\"ordinal\":1,", "\"ordinal\":true,"),
        ("\"ordinal\":1,", "\"ordinal\":\"1\","),
        ("\"ordinal\":1,", "\"ordinal\":1e0,"),
        ("\"ordinal\":1,", "\"ordinal\":1,\"target\":null,"),
        ("\"hashed\":[\"email\"]", "\"hashed\":[]"),
        ("audit_log {", "audit_log [{"),
        (leaf, &leaf.to_uppercase()),
        (leaf, &format!(" {leaf}")),
    ] {
        let mut other = lines.clone();
        other[at] = line.replacen(from, to, 1);
        assert_ne!(other[at], *line, "{to}");
        assert!(
            verify_bundle(&with_openings(&files, &other), None).is_err(),
            "{to}"
        );
    }
}

/// Each file of a bundle is either of the rows or not what the rows give.
#[test]
fn a_file_that_is_altered_or_gone_is_noticed() {
    let files = bundle(None);
    for at in 0..files.len() {
        let mut fewer = files.clone();
        let (path, _) = fewer.remove(at);
        let error = verify_bundle(&fewer, None).expect_err(&path).to_string();
        assert!(
            error.contains(&path) || path == "bundle.json",
            "{path}: {error}"
        );

        let mut twice = files.clone();
        twice.push(files[at].clone());
        assert!(verify_bundle(&twice, None).is_err(), "{path} twice");

        let mut altered = files.clone();
        altered[at].1[0] ^= 1;
        assert!(verify_bundle(&altered, None).is_err(), "{path} altered");
    }
    let mut more = files.clone();
    more.push(("epoch/1/tile/0/001".to_owned(), vec![0; 32]));
    let error = verify_bundle(&more, None).expect_err("more").to_string();
    assert_eq!(error, "epoch/1/tile/0/001: does not follow from the rows");
    more.pop();
    more.push(("notes".to_owned(), Vec::new()));
    let error = verify_bundle(&more, None).expect_err("more").to_string();
    assert_eq!(error, "notes: not a file of a bundle");
}

/// The order of rows is the reader's to check: nobody else sorts them.
#[test]
fn rows_in_another_order_or_place_are_refused_or_found() {
    let files = bundle(None);
    let at = files.iter().position(|(path, _)| path == "openings/000");
    let at = at.expect("there");
    let text = String::from_utf8(files[at].1.clone()).expect("UTF-8");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for from in 0..lines.len() {
        for to in [0, from.saturating_sub(1), from + 1, lines.len() - 1] {
            let mut moved = lines.clone();
            let line = moved.remove(from);
            moved.insert(to.min(moved.len()), line);
            if moved == lines {
                continue;
            }
            let mut files = files.clone();
            files[at].1 = moved.concat().into_bytes();
            // What orders nothing may move: contexts within their transaction.
            let free = |line: &str| line.starts_with("audit_context");
            match verify_bundle(&files, None) {
                Err(_) => {}
                Ok((findings, _)) => assert!(!findings.is_empty() || free(line), "{line}"),
            }
        }
    }
}

#[test]
fn a_bundle_that_ends_early_is_found_with_a_checkpoint() {
    let ledger = sample();
    let checkpoint = ledger.checkpoint(&ledger.ledger_block[1]);
    let mut shorter = sample();
    shorter.ledger_block.truncate(1);
    shorter.ledger_leaf.retain(|leaf| leaf.block == 1);
    let files = shorter.bundle(ledger.ledger_block[0].incarnation, None);
    let against = Some(checkpoint.parse().expect("a checkpoint"));
    let (findings, _) = verify_bundle(&files, against).expect("a bundle");
    assert!(
        findings
            .iter()
            .any(|finding| finding.code == Code::CheckpointTruncated)
    );
    let whole = bundle(None);
    assert_eq!(verify_bundle(&whole, against).expect("a bundle").0, []);
}

/// As COPY writes it: what the second verifier reads.
#[test]
fn the_vectors_are_what_is_written() {
    let ledger = sample();
    for (name, account) in [("bundle.copy", None), ("bundle_of_one.copy", Some(ONE))] {
        let rows = ledger.bundle(incarnation(&ledger), account);
        model::check_bundle(name, &rows);
    }
}

/// The receipt of the second event of the first account in block 1.
fn receipt(telling: Telling) -> String {
    receipt_of(ONE, 1, telling, |checkpoint| checkpoint)
}

/// The receipt of an event of block 1 with the checkpoint of block 2. The account's events are
/// counted from 0.
pub(crate) fn receipt_of(
    account: &str,
    at: usize,
    telling: Telling,
    sign: impl Fn(String) -> String,
) -> String {
    let ledger = sample();
    let block = &ledger.ledger_block[0];
    let mut claims = Claims::default();
    let snapshot = block.snapshot.parse().expect("a snapshot");
    let claims = claims.add_block(block.incarnation, snapshot, &Adopted::default());
    let mut events = ledger.claimed(&claims[0]);
    events.retain(|event| event.account_id == account);
    let ranges = inclusion_ranges(at as u64, events.len() as u64).expect("there");
    let path = path_of(ranges, events.iter().map(|event| event.leaf_hash.as_str()));
    let leaves = ledger.ledger_leaf.iter().filter(|leaf| leaf.epoch == 1);
    let leaves: Vec<_> = leaves.collect();
    let own =
        |leaf: &&&model::LeafRow| leaf.block == 1 && leaf.account_id.as_deref() == Some(account);
    let leaf = leaves.iter().find(own).expect("there");
    let ranges = inclusion_ranges(leaf.position as u64, leaves.len() as u64).expect("there");
    let global = path_of(ranges, leaves.iter().map(|leaf| leaf.leaf_hash.as_str()));
    let mut accounts = ledger.ledger_account.iter();
    let row = accounts.find(|row| row.account_id == account);
    let (blinding, root) = (
        bytes(&row.expect("there").blinding),
        bytes(leaf.account_root.as_deref().expect("there")),
    );
    let of_event = |row: &&model::ContextRow| {
        (row.xid, Some(row.number)) == (events[at].xid, events[at].context)
    };
    let context = ledger.audit_context.iter().find(of_event);
    let extra = events[at].with_stored(|event| {
        let opening = |context: Option<(&Context<'_>, &[u8])>| {
            let account = AccountOpening {
                block: 1,
                blinding: Bytes(blinding.as_slice().into()),
                events: events.len() as i64,
                account_size: leaf.account_size.expect("there"),
                account_root: Bytes(root.as_slice().into()),
            };
            let opening = open(event, context, telling, account, (at as u64, &path));
            serde_json::to_vec(&opening).expect("plain data")
        };
        match context {
            Some(row) => row.with_context(|context| opening(Some((context, &bytes(&row.hash))))),
            None => opening(None),
        }
    });
    let proof = LogProof {
        extra: Some(extra),
        index: leaf.position as u64,
        path: global,
        checkpoint: &sign(ledger.checkpoint(&ledger.ledger_block[1])),
    };
    proof.to_string()
}

fn path_of<'a>(ranges: Vec<Range<u64>>, leaves: impl Iterator<Item = &'a str>) -> Vec<Hash> {
    let mut path = RangeRoots::new(ranges);
    leaves.for_each(|leaf| path.append(hash(leaf)));
    path.finish().expect("all there")
}

#[test]
fn a_receipt_shows_its_event_with_and_without_values() {
    for (name, telling) in [
        ("receipt.tlog-proof", Telling::All),
        ("receipt_without_values.tlog-proof", Telling::Hashes),
    ] {
        let text = receipt(telling);
        let (shown, _) = verify(&text).expect("a receipt");
        assert_eq!(
            (shown.account.as_str(), shown.block, shown.event.xid),
            (ONE, 1, 100)
        );
        let extra = LogProof::parse(&text)
            .expect("a proof")
            .extra
            .expect("an opening");
        let opening = String::from_utf8(extra).expect("UTF-8");
        assert_eq!(opening.contains("amount"), telling == Telling::All);
        assert_eq!(opening.contains("@example.org"), telling == Telling::All);
        model::check_file(name, &text);
    }
}

#[test]
fn an_edited_receipt_says_what_is_wrong() {
    let text = receipt(Telling::All);
    let proof = LogProof::parse(&text).expect("a proof");
    let opening = String::from_utf8(proof.extra.clone().expect("an opening")).expect("UTF-8");
    let edited = |from: &str, to: &str| {
        let edited = opening.replacen(from, to, 1);
        assert_ne!(edited, opening, "{from}");
        let extra = Some(edited.into_bytes());
        LogProof {
            extra,
            ..proof.clone()
        }
        .to_string()
    };
    for (from, to, expected) in [
        (
            "\"action\":\"INSERT\"",
            "\"action\":\"DELETE\"",
            ReceiptError::Event,
        ),
        ("amount", "Amount", ReceiptError::Event),
        (
            "\"leaf_hash\":\"",
            "\"leaf_hash\":\"00",
            ReceiptError::Event,
        ),
        ("token-100", "token-101", ReceiptError::Context),
        ("@example.org", "@example.com", ReceiptError::Personal),
        ("\"events\":", "\"events\":1", ReceiptError::Inclusion),
        (
            "\"blinding\":\"",
            "\"blinding\":\"00",
            ReceiptError::Inclusion,
        ),
        ("\"index\":1", "\"index\":0", ReceiptError::Inclusion),
        ("\"path\":[\"", "\"path\":[\"00", ReceiptError::Inclusion),
    ] {
        assert_eq!(verify(&edited(from, to)), Err(expected), "{from}");
    }
    for (from, to) in [
        ("{", "["),
        ("\"version\":1", "\"version\":2"),
        ("\"kind\"", "\"other\""),
    ] {
        let error = verify(&edited(from, to)).expect_err(from);
        assert!(matches!(error, ReceiptError::Malformed(_)), "{error}");
    }
    let index = proof.index + 1;
    assert_eq!(
        verify(
            &LogProof {
                index,
                ..proof.clone()
            }
            .to_string()
        ),
        Err(ReceiptError::Inclusion)
    );
    for text in [
        "",
        "c2sp.org/tlog-proof@v1\n",
        &text.replace("@v1", "@v2"),
        &text.replace("index ", "index 0"),
    ] {
        assert!(
            matches!(verify(text), Err(ReceiptError::Malformed(_))),
            "{text}"
        );
    }
}
