//! Proofs, receipts and signed checkpoints, each checked by code that never saw the database.

use std::os::unix::fs::PermissionsExt;

use postgres::Client;
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::merkle::Hash;
use tenant_guard_core::note::{KeyKind, SigningKey};
use tenant_guard_core::proof::is_consistent;
use tenant_guard_core::receipt::{self, LogProof};
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, Issuer, expect_error, lines};
use tenant_guard_verify::exit;

use super::offline::{Scratch, export, program};
use super::{add, checkpoint, database, seal};
use crate::capture::run;

pub(super) const KEY: &str =
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

pub(super) fn one(client: &mut Client, query: &str) -> String {
    let rows = client.query(query, &[]);
    rows.unwrap_or_else(|error| panic!("{query}: {error:?}"))[0].get(0)
}

fn event_ids(client: &mut Client) -> Vec<String> {
    lines(
        client,
        "SELECT event_id FROM tenant_guard.audit_event ORDER BY xid, ordinal",
    )
}

fn receipt(client: &mut Client, event: &str) -> String {
    one(client, &format!("SELECT tenant_guard.receipt('{event}')"))
}

/// Blocks of many sizes, some with several accounts.
fn ledger() -> (Database, Client, Vec<String>) {
    let db = database();
    let mut client = db.superuser();
    for round in 0..7 {
        for event in 0..=round * 2 % 5 {
            add(
                &mut client,
                &format!("{round}-{event}"),
                ["a", "b", "c"][event % 3],
            );
        }
        assert_eq!(seal(&mut client).len(), 1);
    }
    let events = event_ids(&mut client);
    (db, client, events)
}

#[test]
fn receipt_of_every_event_proves_it_and_nothing_else() {
    let (_db, mut client, events) = ledger();
    for event in &events {
        let text = receipt(&mut client, event);
        let (shown, note) = receipt::verify(&text).unwrap_or_else(|e| panic!("{event}: {e}"));
        assert_eq!(shown.event.to_string(), *event);
        assert_eq!(note, checkpoint(&mut client));
        // Any other byte of it is noticed.
        let proof = LogProof::parse(&text).expect("a proof");
        let opening = String::from_utf8(proof.extra.clone().expect("an opening")).unwrap();
        for (from, to) in [
            ("\"insert\"", "\"delete\""),
            ("\"n\\\":", "\"m\\\":"),
            ("\"index\":", "\"index\":1"),
        ] {
            let edited = opening.replacen(from, to, 1);
            assert_ne!(edited, opening, "{from}");
            let extra = Some(edited.into_bytes());
            let forged = LogProof {
                extra,
                ..proof.clone()
            }
            .to_string();
            assert!(receipt::verify(&forged).is_err(), "{from}");
        }
        let index = proof.index + 1;
        let forged = LogProof {
            index,
            ..proof.clone()
        }
        .to_string();
        assert!(receipt::verify(&forged).is_err());
    }
}

#[test]
fn receipt_stays_good_while_the_ledger_grows() {
    let (_db, mut client, events) = ledger();
    let before = receipt(&mut client, &events[0]);
    let (shown, _) = receipt::verify(&before).expect("a receipt");
    let old = shown.checkpoint;
    add(&mut client, "later", "a");
    seal(&mut client);
    let new: Checkpoint = checkpoint(&mut client).parse().expect("a checkpoint");
    let proof = consistency(&mut client, &format!("{}, {}", old.size, new.size));
    assert!(is_consistent(
        (old.size, old.root),
        (new.size, new.root),
        &proof
    ));
    let notes = [old.to_string(), new.to_string()].map(|text| Scratch::new(text.as_bytes()));
    let hashes: Vec<String> = proof
        .iter()
        .map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    let hashes = Scratch::new(hashes.join("\n").as_bytes());
    let bundle = Scratch::new(&export(&mut client, ""));
    for proof in [&hashes, &bundle] {
        let [old, new] = &notes;
        let (good, bad) = (
            ["consistency".into(), old.name(), new.name(), proof.name()],
            ["consistency".into(), new.name(), old.name(), hashes.name()],
        );
        let run = |words: &[std::ffi::OsString; 4]| {
            program(&words.each_ref().map(std::ffi::OsString::as_os_str))
        };
        assert_eq!(run(&good).0, exit::INTACT);
        assert_eq!(run(&bad).0, exit::FINDINGS);
    }
}

fn consistency(client: &mut Client, arguments: &str) -> Vec<Hash> {
    let query = format!("SELECT tenant_guard.consistency_proof({arguments})");
    let rows = client.query(&query, &[]);
    let hashes: Vec<Vec<u8>> = rows.unwrap_or_else(|e| panic!("{query}: {e:?}"))[0].get(0);
    hashes
        .into_iter()
        .map(|hash| hash.try_into().expect("a hash"))
        .collect()
}

/// Between any two blocks, and for the tree of an account too.
#[test]
fn consistency_of_any_two_sizes_is_proven() {
    let (_db, mut client, _) = ledger();
    let global = client.query(
        "SELECT tree_size, root FROM tenant_guard.ledger_block ORDER BY 1",
        &[],
    );
    let account = client.query(
        "SELECT account_size, account_root FROM tenant_guard.ledger_leaf
         WHERE account_id = 'a' ORDER BY 1",
        &[],
    );
    for (rows, of) in [(global.unwrap(), ""), (account.unwrap(), ", 'a'")] {
        let states: Vec<(u64, Hash)> = rows
            .iter()
            .map(|row| {
                (
                    row.get::<_, i64>(0) as u64,
                    row.get::<_, Vec<u8>>(1).try_into().unwrap(),
                )
            })
            .collect();
        assert!(states.len() >= 7);
        for (at, new) in states.iter().enumerate() {
            for old in &states[..=at] {
                let proof = consistency(&mut client, &format!("{}, {}{of}", old.0, new.0));
                assert!(is_consistent(*old, *new, &proof), "{} {}{of}", old.0, new.0);
            }
        }
    }
}

#[test]
fn inclusion_proof_is_that_of_the_receipt() {
    let (_db, mut client, events) = ledger();
    let event = &events[events.len() / 2];
    let query = format!(
        "SELECT block, leaf_index, tree_size, tree_path, events_path
                         FROM tenant_guard.inclusion_proof('{event}')"
    );
    let row = &client.query(&query, &[]).unwrap()[0];
    let text = receipt(&mut client, event);
    let proof = LogProof::parse(&text).unwrap();
    let (shown, _) = receipt::verify(&text).unwrap();
    assert_eq!(row.get::<_, i64>(0), shown.block);
    assert_eq!(row.get::<_, i64>(1) as u64, proof.index);
    assert_eq!(row.get::<_, i64>(2) as u64, shown.checkpoint.size);
    let path: Vec<Vec<u8>> = row.get(3);
    assert_eq!(
        path,
        proof
            .path
            .iter()
            .map(|hash| hash.to_vec())
            .collect::<Vec<_>>()
    );
}

#[test]
fn proof_of_what_is_not_sealed_or_never_was_is_refused() {
    let (_db, mut client, events) = ledger();
    add(&mut client, "new", "a");
    let unsealed = event_ids(&mut client).pop().expect("an event");
    let mut refused = |call: &str, state: &str, message: &str| {
        let outcome = client.query(&format!("SELECT tenant_guard.{call}"), &[]);
        expect_error(outcome, state, message);
    };
    for function in ["receipt", "inclusion_proof"] {
        refused(
            &format!("{function}('{unsealed}')"),
            "55000",
            "the event is not sealed yet",
        );
        let other = events[0].replace('-', "-9");
        refused(
            &format!("{function}('{other}')"),
            "42704",
            &format!("event \"{other}\" does not exist"),
        );
        refused(
            &format!("{function}('x')"),
            "22023",
            "event_id is not an event id",
        );
    }
    for (sizes, message) in [
        ("0, 1", "old_size does not fit: it must be 1 to new_size"),
        ("3, 2", "old_size does not fit: it must be 1 to new_size"),
        ("1, 1000", "new_size does not fit: no such tree was sealed"),
        (
            "1, 2, 'nobody'",
            "new_size does not fit: no such tree was sealed",
        ),
        (
            "1, 2, NULL, 9",
            "new_size does not fit: no such tree was sealed",
        ),
    ] {
        refused(&format!("consistency_proof({sizes})"), "22023", message);
    }
    for (sizes, message) in [
        ("NULL, 1", "old_size must not be null"),
        ("1, NULL", "new_size must not be null"),
    ] {
        refused(&format!("consistency_proof({sizes})"), "22004", message);
    }
}

/// An ordinary session: its own events, values left out; nobody else's, not even of its account.
#[test]
fn receipt_of_another_account_issuer_or_subject_is_refused() {
    let db = database();
    let mut superuser = db.superuser();
    let issuer = Issuer::es256("https://issuer.example");
    issuer.register(&mut superuser);
    let elsewhere = Issuer::es256("https://elsewhere.example");
    elsewhere.register(&mut superuser);
    let role = db.role("app");
    let mut app = db.connect_as(&role);
    let mut act = |issuer: &Issuer, account: &str, subject: &str, what: &str| {
        let mut claims = issuer.claims(account);
        claims["sub"] = subject.into();
        let token = issuer.sign(&claims);
        let mut transaction = app.transaction().unwrap();
        transaction
            .execute("SELECT tenant_guard.authenticate($1)", &[&token])
            .unwrap();
        let outcome = transaction
            .query(what, &[])
            .map(|rows| rows[0].get::<_, String>(0));
        transaction.commit().unwrap();
        outcome
    };
    let (ann, ben) = (
        "8f1c0f3e-0d43-4b0a-9d3f-1f0e4c5a7701",
        "8f1c0f3e-0d43-4b0a-9d3f-1f0e4c5a7702",
    );
    let record = "SELECT tenant_guard.record_event('export', 'report', '{\"secret\": 17}')";
    let own = act(&issuer, ACCOUNT_A, ann, record).unwrap();
    let colleague = act(&issuer, ACCOUNT_A, ben, record).unwrap();
    let stranger = act(&issuer, ACCOUNT_B, ann, record).unwrap();
    let namesake = act(&elsewhere, ACCOUNT_A, ann, record).unwrap();
    seal(&mut superuser);
    let ask = |event: &str| format!("SELECT tenant_guard.receipt('{event}')");
    let text = act(&issuer, ACCOUNT_A, ann, &ask(&own)).unwrap();
    let (shown, _) = receipt::verify(&text).expect("a receipt");
    assert_eq!(
        (shown.event.to_string(), shown.account.as_str()),
        (own.clone(), ACCOUNT_A)
    );
    let extra = LogProof::parse(&text).unwrap().extra.unwrap();
    let opening = String::from_utf8(extra).unwrap();
    assert!(
        opening.contains("\"data_hash\"") && !opening.contains("secret"),
        "{opening}"
    );

    for event in [&colleague, &stranger, &namesake, &own.replace('-', "-9")] {
        expect_error(
            act(&issuer, ACCOUNT_A, ann, &ask(event)),
            "42704",
            &format!("event \"{event}\" does not exist"),
        );
    }
    let mut nobody = db.connect_as(&role);
    let outcome = nobody.query(ask(&own).as_str(), &[]);
    expect_error(outcome, "28000", "no identity is bound to this transaction");
    for call in [
        "inclusion_proof('x')",
        "consistency_proof(1, 1)",
        "signed_checkpoint()",
        "checkpoint_verifier_key()",
        "add_cosignature('x')",
        "export_ledger()",
    ] {
        let outcome = nobody.query(&format!("SELECT tenant_guard.{call}"), &[]);
        let name = call.split('(').next().unwrap_or_default();
        expect_error(
            outcome,
            "42501",
            &format!("permission denied for function {name}"),
        );
    }

    // An auditor may hand out the whole of it.
    let auditor = db.role("auditor");
    run(
        &mut superuser,
        &format!("GRANT tenant_guard_auditor TO {auditor}"),
    );
    let text = receipt(&mut db.connect_as(&auditor), &own);
    let extra = LogProof::parse(&text).unwrap().extra.unwrap();
    assert!(String::from_utf8(extra).unwrap().contains("secret"));
    assert!(receipt::verify(&text).is_ok());
}

/// A file of the server's own user, as the setting asks for one.
pub(super) fn key_file(client: &mut Client, content: &str) -> Scratch {
    let file = Scratch::new(content.as_bytes());
    std::fs::set_permissions(&file.0, std::fs::Permissions::from_mode(0o600)).unwrap();
    let directory = one(client, "SHOW data_directory");
    let about = std::fs::metadata(directory).expect("the data directory");
    use std::os::unix::fs::MetadataExt;
    std::os::unix::fs::chown(&file.0, Some(about.uid()), Some(about.gid())).unwrap();
    file
}

pub(super) fn set_key(client: &mut Client, file: &Scratch) {
    let path = file.0.to_str().expect("a plain path");
    run(
        client,
        &format!("SET tenant_guard.checkpoint_key_file = '{path}'"),
    );
}

#[test]
fn checkpoint_is_signed_by_the_key_in_the_file() {
    let (_db, mut client, events) = ledger();
    let outcome = client.query("SELECT tenant_guard.signed_checkpoint()", &[]);
    expect_error(outcome, "55000", "the checkpoint is not signed");
    assert_eq!(
        lines(&mut client, "SELECT tenant_guard.checkpoint_verifier_key()"),
        ["<null>"]
    );
    let file = key_file(&mut client, &format!("{KEY}\n"));
    set_key(&mut client, &file);
    assert_eq!(
        lines(&mut client, "SELECT tenant_guard.checkpoint_verifier_key()"),
        [VERIFIER]
    );
    let note = one(&mut client, "SELECT tenant_guard.signed_checkpoint()");
    let key: SigningKey = KEY.parse().unwrap();
    let body = checkpoint(&mut client);
    assert_eq!(note, format!("{body}\n{}", key.sign(&body, 0)));

    let kept = Scratch::new(receipt(&mut client, &events[0]).as_bytes());
    let (bundle, name) = (Scratch::new(&export(&mut client, "")), kept.name());
    let other = SigningKey::from_seed("other", KeyKind::Ed25519, &[9; 32]).unwrap();
    let other = other.verifier().to_string();
    for (command, file) in [("receipt", name), ("bundle", bundle.name())] {
        let run = |key: &str| {
            let words = [command.into(), file.clone(), "--key".into(), key.into()];
            program(&words.each_ref().map(std::ffi::OsString::as_os_str)).0
        };
        assert_eq!(run(VERIFIER), exit::INTACT);
        assert_eq!(run(&other), exit::UNSIGNED);
    }
}

#[test]
fn key_file_that_others_read_or_that_holds_no_key_is_refused_and_never_shown() {
    let (_db, mut client, _) = ledger();
    let refused = |client: &mut Client, file: &Scratch, message: &str| {
        set_key(client, file);
        let outcome = client.query("SELECT tenant_guard.signed_checkpoint()", &[]);
        let error = outcome.expect_err("no signature");
        let shown = format!("{error:?}");
        assert!(!shown.contains("AYEKFALV"), "{shown}");
        expect_error::<()>(Err(error), "F0000", message);
    };
    let good = key_file(&mut client, KEY);
    for mode in [0o640, 0o604, 0o620, 0o660] {
        std::fs::set_permissions(&good.0, std::fs::Permissions::from_mode(mode)).unwrap();
        refused(
            &mut client,
            &good,
            "the checkpoint key file can be read or written by others",
        );
    }
    for content in ["", "key", VERIFIER, &KEY.replace("c74f", "c74e")] {
        let file = key_file(&mut client, content);
        refused(
            &mut client,
            &file,
            "the checkpoint key file does not hold an Ed25519 note key",
        );
    }
    let gone = Scratch::new(b"");
    std::fs::remove_file(&gone.0).unwrap();
    refused(
        &mut client,
        &gone,
        "the checkpoint key file cannot be opened",
    );
    std::fs::create_dir(&gone.0).unwrap();
    refused(
        &mut client,
        &gone,
        "the checkpoint key file is not a regular file",
    );
}

#[test]
fn signatures_made_elsewhere_are_kept_and_come_with_receipts() {
    let (_db, mut client, events) = ledger();
    let body = checkpoint(&mut client);
    let log: SigningKey = KEY.parse().unwrap();
    let witness = SigningKey::from_seed("witness.example", KeyKind::Cosignature, &[3; 32]).unwrap();
    for line in [
        log.sign(&body, 0),
        witness.sign(&body, 1_760_000_000),
        log.sign(&body, 0),
    ] {
        let note = format!("{body}\n{line}");
        // As $(...) of a shell leaves it.
        let note = note.trim_end();
        client
            .execute("SELECT tenant_guard.add_cosignature($1)", &[&note])
            .unwrap();
    }
    let signed = format!(
        "{body}\n{}{}",
        log.sign(&body, 0),
        witness.sign(&body, 1_760_000_000)
    );
    assert_eq!(
        one(&mut client, "SELECT tenant_guard.signed_checkpoint()"),
        signed
    );
    add(&mut client, "later", "a");
    seal(&mut client);
    // A receipt quotes the newest checkpoint that somebody signed.
    let text = receipt(&mut client, &events[0]);
    assert_eq!(receipt::verify(&text).unwrap().1, signed);
    let newest = event_ids(&mut client).pop().unwrap();
    let text = receipt(&mut client, &newest);
    assert_eq!(receipt::verify(&text).unwrap().1, checkpoint(&mut client));

    let policy = format!(
        "log {VERIFIER}\nwitness W {}\nquorum W\n",
        witness.verifier()
    );
    let policy = Scratch::new(policy.as_bytes());
    let kept = Scratch::new(receipt(&mut client, &events[0]).as_bytes());
    let words = [
        "receipt".into(),
        kept.name(),
        "--policy".into(),
        policy.name(),
    ];
    let (code, text) = program(&words.each_ref().map(std::ffi::OsString::as_os_str));
    assert_eq!(code, exit::INTACT, "{text}");
    assert!(
        text.ends_with("signed by the ledger's key; witnesses W\n"),
        "{text}"
    );
}

#[test]
fn signature_of_another_ledgers_checkpoint_is_refused() {
    let (_db, mut client, _) = ledger();
    let body = checkpoint(&mut client);
    let key: SigningKey = KEY.parse().unwrap();
    let file = key_file(&mut client, KEY);
    set_key(&mut client, &file);
    let parsed: Checkpoint = body.parse().unwrap();
    let other = |change: fn(&mut Checkpoint)| {
        let mut other = parsed;
        change(&mut other);
        let body = other.to_string();
        format!("{body}\n{}", key.sign(&body, 0))
    };
    let foreign = "note does not fit: its text is not a checkpoint of this ledger";
    for (note, message) in [
        (other(|c| c.root = [0; 32]), foreign),
        (other(|c| c.size += 1), foreign),
        (other(|c| c.size -= 1), foreign),
        (other(|c| c.epoch += 1), foreign),
        (other(|c| c.incarnation += 1), foreign),
        (body.clone(), "note does not fit: it is not a signed note"),
        (
            format!("hello\n\n{}", key.sign("hello\n", 0)),
            "note does not fit: its text is not a checkpoint of a ledger",
        ),
        (
            format!("{body}\n{}", key.sign("hello\n", 0)),
            "note does not fit: it names the ledger's key, which did not sign it",
        ),
    ] {
        let outcome = client.execute("SELECT tenant_guard.add_cosignature($1)", &[&note]);
        expect_error(outcome, "22023", message);
    }
    assert_eq!(
        lines(
            &mut client,
            "SELECT count(*) FROM tenant_guard.ledger_checkpoint"
        ),
        ["0"]
    );
}
