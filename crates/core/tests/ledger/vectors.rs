//! The vectors of `tests/vectors/ledger` are what this code gives. Other implementations read the
//! same files; `tests/vectors/verify_ledger_vectors.py` is one. After a change of the format,
//! `TENANT_GUARD_BLESS=1 cargo test -p tenant_guard_core --test ledger` writes them anew.

use serde_json::{Value, json};
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::event::{Entry, EventKey};
use tenant_guard_core::event::{encode_entry, incarnation, personal_commitment};
use tenant_guard_core::ledger::{
    AccountLeaf, Adopted, BlockRecord, Claims, EpochRecord, NO_BLOCK, Scope, Snapshot,
    blinded_account, configuration_hash,
};
use tenant_guard_core::merkle::{Frontier, Hash, leaf_hash};

use crate::model::{self, ContextRow, Event, Ledger, sample};

fn check(file: &str, vectors: &Value) {
    let expected = serde_json::to_string_pretty(vectors).expect("plain data") + "\n";
    model::check_file(file, &expected);
}

/// Leaves and roots for 1 to 8 of them, from the tests of Certificate Transparency
/// (google/certificate-transparency, cpp/merkletree/merkle_tree_test.cc).
const CT_LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
const CT_ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn trees() {
    let mut tree = Frontier::new();
    let mut known = Vec::new();
    for (leaf, root) in CT_LEAVES.iter().zip(CT_ROOTS) {
        tree.append(leaf_hash(&model::bytes(leaf)));
        assert_eq!(hex::encode(tree.root()), root);
        known.push(json!({ "leaf": leaf, "root": root }));
    }
    let mut tree = Frontier::new();
    let mut states = Vec::new();
    for size in 0..=17u8 {
        states.push(json!({
            "size": size,
            "state": hex::encode(tree.state()),
            "root": hex::encode(tree.root()),
        }));
        tree.append(leaf_hash(&[size]));
    }
    check(
        "trees.json",
        &json!({
            "certificate_transparency": known,
            "states": { "leaf_n": "the single byte n, from 0", "trees": states },
        }),
    );
}

/// The record is one array with as many items as its head says.
fn assert_whole(record: &[u8]) {
    let mut decoder = minicbor::Decoder::new(record);
    decoder.skip().expect("well-formed");
    assert_eq!(decoder.position(), record.len());
}

fn entry_vector(name: &str, event: &Event, context: Option<Hash>) -> Value {
    let (entry, leaf) = event.with_stored(|stored| {
        let entry = Entry {
            context,
            ..stored.entry
        };
        let mut encoded = Vec::new();
        encode_entry(&entry, &mut encoded);
        assert_whole(&encoded);
        assert_eq!(entry.leaf_hash(&mut Vec::new()), leaf_hash(&encoded));
        (hex::encode(&encoded), leaf_hash(&encoded))
    });
    json!({
        "name": name,
        "event": Event { leaf_hash: hex::encode(leaf), ..event.clone() },
        "event_id": event.key().to_string(),
        "context_hash": context.map(hex::encode),
        "entry": entry,
    })
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn entries() {
    let empty = Event::default();
    let texts = Event {
        kind: "row".to_owned(),
        action: "UPDATE".to_owned(),
        account_id: "m\u{fc}ller \u{1f512}".to_owned(),
        relation: some("public.\"Quoted \u{e9}\""),
        leaf_relation: some(""),
        row_key: some("{}"),
        target: some(""),
        data: some("{\"a\": 1.10}"),
        redacted: vec!["x".to_owned(), "y".to_owned()],
        hashed: vec!["z".to_owned()],
        ..Event::default()
    };
    let large = Event {
        incarnation: i64::MIN,
        xid: i64::MAX,
        ordinal: i32::MAX,
        command_id: u32::MAX.into(),
        occurred_at: i64::MAX,
        context: Some(i16::MAX),
        ..Event::default()
    };
    let negative = Event {
        incarnation: -1,
        occurred_at: i64::MIN,
        ..Event::default()
    };
    let long = Event {
        action: "x".repeat(23),
        account_id: "x".repeat(24),
        row_key: Some("x".repeat(255)),
        target: Some("x".repeat(256)),
        redacted: (0..24).map(|n| n.to_string()).collect(),
        ..Event::default()
    };
    let empty_data = Event {
        data: some(""),
        ..Event::default()
    };
    let personal = Event {
        personal: some("{\"email\":\"a@example.org\"}"),
        personal_salt: Some("5a".repeat(32)),
        personal_commitment: Some(hex::encode(personal_commitment(
            &[0x5a; 32],
            "{\"email\":\"a@example.org\"}",
        ))),
        ..Event::default()
    };
    check(
        "entries.json",
        &json!([
            entry_vector("empty", &empty, None),
            entry_vector(
                "text beyond ascii, empty text beside null",
                &texts,
                Some([0xc0; 32])
            ),
            entry_vector("largest integers", &large, Some([0xff; 32])),
            entry_vector("negative integers", &negative, None),
            entry_vector("lengths at the bounds of a shorter form", &long, None),
            entry_vector("empty data beside null", &empty_data, None),
            entry_vector("personal values", &personal, None),
        ]),
    );
}

#[test]
fn contexts() {
    let vector = |row: ContextRow| {
        let mut encoded = Vec::new();
        row.with_context(|context| context.encode(&mut encoded));
        assert_whole(&encoded);
        json!({ "context": row.hashed(), "record": hex::encode(encoded) })
    };
    let empty = ContextRow::default();
    let lists = ContextRow {
        role: Some(Vec::new()),
        ..empty.clone()
    };
    let full = ContextRow {
        incarnation: i64::MIN,
        xid: i64::MAX,
        number: i16::MAX,
        issuer: some("https://login.example/\u{fc}"),
        token_id: some("0"),
        session: some(""),
        subject: some("\u{0041}\u{030a}"), // not normalised to U+00C5
        role: Some(vec![String::new(), "a,b".to_owned(), "\"".to_owned()]),
        session_role: "s".to_owned(),
        current_role: "\u{1f512}".to_owned(),
        client_address: some("2001:db8::1"),
        application_name: some("psql"),
        transaction_start: -1,
        ..empty.clone()
    };
    check(
        "contexts.json",
        &json!([vector(empty), vector(lists), vector(full)]),
    );
}

#[test]
fn hashes() {
    let names = [
        (0, 0),
        (7_300_000_000_000_000_001, 16_384),
        (u64::MAX, u32::MAX),
    ];
    let incarnations = names.map(|(system_identifier, database_oid)| {
        json!({
            "system_identifier": system_identifier,
            "database_oid": database_oid,
            "incarnation": incarnation(system_identifier, database_oid),
        })
    });
    let accounts = ["", "007", "2b1c7f6e-0d43-4b0a-9d3f-1f0e4c5a7788"].map(|account| {
        json!({
            "blinding": "b1".repeat(32),
            "account_id": account,
            "blinded_id": hex::encode(blinded_account(&[0xb1; 32], account)),
        })
    });
    let commitments = ["", "{\"email\":\"a@example.org\"}"].map(|personal| {
        json!({
            "salt": "5a".repeat(32),
            "personal": personal,
            "commitment": hex::encode(personal_commitment(&[0x5a; 32], personal)),
        })
    });
    check(
        "hashes.json",
        &json!({
            "incarnations": incarnations,
            "blinded_accounts": accounts,
            "personal_commitments": commitments,
        }),
    );
}

#[test]
fn records() {
    fn vector(fields: Value, encode: impl FnOnce(&mut Vec<u8>), leaf: Hash) -> Value {
        let mut record = Vec::new();
        encode(&mut record);
        assert_whole(&record);
        assert_eq!(leaf, leaf_hash(&record));
        json!({ "fields": fields, "record": hex::encode(record), "leaf_hash": hex::encode(leaf) })
    }
    let epochs = [None, Some("tenant_guard/0000000000000001/1\n1\nAAAA\n")].map(|checkpoint| {
        let record = EpochRecord {
            epoch: 2,
            incarnation: -2,
            timeline: 3,
            previous_checkpoint: checkpoint,
        };
        let fields = json!({
            "epoch": 2, "incarnation": -2, "timeline": 3, "previous_checkpoint": checkpoint,
        });
        vector(fields, |out| record.encode(out), record.hash())
    });
    let account = AccountLeaf {
        block: 9,
        blinded_id: [1; 32],
        events: 1_000,
        events_root: [2; 32],
        size: 70_000,
        root: [3; 32],
    };
    let account_fields = json!({
        "block": 9, "blinded_id": "01".repeat(32), "events": 1_000,
        "events_root": "02".repeat(32), "account_size": 70_000, "account_root": "03".repeat(32),
    });
    let block = BlockRecord {
        version: 1,
        block: 1,
        epoch: 1,
        incarnation: i64::MAX,
        timeline: 1,
        snapshot: "10:20:10,14",
        adopted: "0000000000000001:5",
        events: 3,
        accounts: 2,
        sealed_at: 1_760_000_000_000_000,
        previous_hash: NO_BLOCK,
        previous_size: 0,
        previous_root: Frontier::new().root(),
        configuration: configuration_hash("{}"),
    };
    let block_fields = json!({
        "version": 1, "block": 1, "epoch": 1, "incarnation": i64::MAX, "timeline": 1,
        "snapshot": "10:20:10,14", "adopted": "0000000000000001:5", "events": 3, "accounts": 2,
        "sealed_at": 1_760_000_000_000_000_i64, "previous_hash": "00".repeat(32),
        "previous_size": 0, "previous_root": hex::encode(Frontier::new().root()),
        "configuration_hash": hex::encode(configuration_hash("{}")),
    });
    check(
        "records.json",
        &json!({
            "epoch": epochs,
            "account": [vector(account_fields, |out| account.encode(out), account.hash())],
            "block": [vector(block_fields, |out| block.encode(out), block.hash())],
        }),
    );
}

#[test]
fn snapshots() {
    let valid = ["0:0:", "10:10:", "10:20:", "10:20:10,14,19"];
    let invalid = [
        "",
        "10:20",
        "20:10:",
        "01:2:",
        "10:20:14,10",
        "10:20:20",
        "10:20:9",
        "1:2:,",
    ];
    assert!(valid.iter().all(|text| text.parse::<Snapshot>().is_ok()));
    assert!(invalid.iter().all(|text| text.parse::<Snapshot>().is_err()));
    let adopted = [
        "",
        "0000000000000001:5",
        "ffffffffffffffff:7,0000000000000001:5",
    ];
    let not_adopted = [
        "1:5",
        "0000000000000001:05",
        "0000000000000001:5,ffffffffffffffff:7",
    ];
    assert!(adopted.iter().all(|text| text.parse::<Adopted>().is_ok()));
    assert!(
        not_adopted
            .iter()
            .all(|text| text.parse::<Adopted>().is_err())
    );
    let rounds = [
        ("0:0:", "10:20:10,14"),
        ("10:20:10,14", "14:30:14,25"),
        ("14:30:14,25", "31:31:"),
    ];
    let differences = rounds.map(|(before, after)| {
        let parse = |text: &str| text.parse::<Snapshot>().expect("valid");
        let ranges = parse(after).ranges_since(&parse(before));
        let xids: Vec<i64> = (0..40).filter(|xid| ranges.contains(*xid)).collect();
        json!({ "before": before, "after": after, "xids": xids })
    });
    check(
        "snapshots.json",
        &json!({
            "valid": valid,
            "invalid": invalid,
            "adopted_valid": adopted,
            "adopted_invalid": not_adopted,
            "differences": differences,
        }),
    );
}

#[test]
fn checkpoints() {
    let checkpoint = Checkpoint {
        incarnation: -1,
        epoch: 2,
        size: 17,
        root: [0x2f; 32],
    };
    let body = checkpoint.to_string();
    let signed = format!("{body}\n\u{2014} witness.example Az3grlgtzPICa5OS\n");
    let invalid = [
        body.trim_end().to_owned(),
        body.replace("/2\n", "/02\n"),
        body.replace("\n17\n", "\n0\n"),
        body.replace("ffff", "FFFF"),
        body.replace('=', ""),
        format!("{body}more\n"),
        format!("{body}\n"),
    ];
    assert!(
        [&body, &signed]
            .iter()
            .all(|text| text.parse() == Ok(checkpoint))
    );
    assert!(
        invalid
            .iter()
            .all(|text| text.parse::<Checkpoint>().is_err())
    );
    check(
        "checkpoints.json",
        &json!({
            "incarnation": -1,
            "epoch": 2,
            "size": 17,
            "root": "2f".repeat(32),
            "valid": [body, signed],
            "invalid": invalid,
        }),
    );
}

#[test]
fn ledger() {
    check_ledger("ledger.json", &sample());
}

/// A block of nothing, sealed so that silence is no deletion: its tree grows by its own leaf alone.
#[test]
fn heartbeat() {
    let mut ledger = sample();
    let last = ledger.ledger_block.last().expect("it has blocks").clone();
    let at = (last.incarnation, last.timeline);
    ledger.seal(at, &last.snapshot, "", last.sealed_at + 900_000_000);
    let beat = ledger.ledger_block.last().expect("it has blocks");
    assert_eq!((beat.events, beat.accounts), (0, 0));
    assert_eq!(beat.tree_size, last.tree_size + 1);
    check_ledger("heartbeat.json", &ledger);
}

pub(crate) fn check_ledger(file: &str, ledger: &Ledger) {
    let mut claims = Claims::default();
    let blocks = ledger.ledger_block.iter().map(|block| {
        let snapshot = block.snapshot.parse().expect("valid");
        let adopted = block.adopted.parse().expect("valid");
        let claimed = claims.add_block(block.incarnation, snapshot, &adopted);
        let events = claimed.iter().flat_map(|claim| ledger.claimed(claim));
        let events: Vec<String> = events.map(|event| event.key().to_string()).collect();
        json!({ "block": block.block, "events": events, "checkpoint": ledger.checkpoint(block) })
    });
    let blocks: Vec<Value> = blocks.collect();
    let mut vectors = serde_json::to_value(ledger).expect("plain data");
    vectors["expected"] = blocks.into();
    check(file, &vectors);

    let read: Ledger = serde_json::from_value(vectors).expect("plain data");
    let incarnation = read.ledger_block[2].incarnation;
    assert_eq!(read.verify(Scope::All, None, incarnation), []);
}

/// What is encoded can be read back to the same fields by a CBOR library, and nothing is left.
#[test]
fn entries_read_back() {
    let event = sample().audit_log[0].clone();
    let context = Some([7; 32]);
    event.with_stored(|stored| {
        let entry = Entry {
            context,
            ..stored.entry
        };
        let mut encoded = Vec::new();
        encode_entry(&entry, &mut encoded);
        let mut d = minicbor::Decoder::new(&encoded);
        assert_eq!(d.array().unwrap(), Some(19));
        assert_eq!((d.str().unwrap(), d.u8().unwrap()), ("entry", 1));
        let (incarnation, xid, ordinal) = (d.i64().unwrap(), d.i64().unwrap(), d.i32().unwrap());
        assert_eq!(
            EventKey {
                incarnation,
                xid,
                ordinal
            },
            entry.key
        );
        assert_eq!(d.i64().unwrap(), entry.command_id);
        for text in [entry.kind, entry.action, entry.account] {
            assert_eq!(d.str().unwrap(), text);
        }
        let optional = |d: &mut minicbor::Decoder<'_>| d.decode::<Option<String>>().unwrap();
        for text in [
            entry.relation,
            entry.leaf_relation,
            entry.row_key,
            entry.target,
        ] {
            assert_eq!(optional(&mut d).as_deref(), text);
        }
        assert_eq!(d.i64().unwrap(), entry.occurred_at);
        assert_eq!(d.bytes().unwrap(), [7; 32]);
        assert_eq!(d.bytes().unwrap().len(), 32);
        assert_eq!(Some(d.bytes().unwrap()), entry.personal);
        for names in [entry.redacted, entry.hashed] {
            let read: Vec<String> = d.decode().unwrap();
            assert_eq!(read, names);
        }
        assert_eq!(d.position(), encoded.len());
    });
}
