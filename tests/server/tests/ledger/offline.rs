//! The offline verifier on what a database exports.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::{Client, GenericClient};
use tenant_guard_core::ledger::Finding;
use tenant_guard_tests::{ACCOUNT_A, Cluster};
use tenant_guard_verify::{exit, run as verifier, verify_bundle};

use super::tamper::{Found, defenceless};
use super::{add, checkpoint, database, seal};
use crate::capture::run;

/// A file that goes with its value.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(content: &[u8]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Closed to everybody but the server, which reads some of them.
        let path = Cluster::shared()
            .directory()
            .join(format!("scratch_{number}"));
        let mut file = std::fs::File::create_new(&path).expect("a new file");
        file.write_all(content).expect("room for a file");
        Self(path)
    }

    pub(super) fn name(&self) -> OsString {
        self.0.clone().into()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.is_dir() {
            let _ = std::fs::remove_dir_all(&self.0);
        } else {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

/// What COPY writes of an export.
pub(super) fn export(client: &mut impl GenericClient, arguments: &str) -> Vec<u8> {
    let query = format!("COPY (SELECT * FROM tenant_guard.export_ledger({arguments})) TO STDOUT");
    let mut content = Vec::new();
    client
        .copy_out(query.as_str())
        .unwrap_or_else(|error| panic!("{query}: {error:?}"))
        .read_to_end(&mut content)
        .unwrap_or_else(|error| panic!("{query}: {error:?}"));
    content
}

fn offline(client: &mut impl GenericClient, arguments: &str) -> Vec<Finding> {
    let bundle = Scratch::new(&export(client, arguments));
    verify_bundle(&bundle.name(), None)
        .unwrap_or_else(|error| panic!("{error}"))
        .0
}

/// Compares what the database found with what is found without it.
pub(super) fn assert_same(client: &mut impl GenericClient, found: &[Found]) {
    macro_rules! said {
        ($found:expr) => {{ $found.iter() }
            .map(|found| {
                (
                    found.code.as_str(),
                    found.block,
                    found.account.as_deref(),
                    found.event_id.as_deref(),
                    found.detail.as_str(),
                )
            })
            .collect::<Vec<_>>()};
    }
    let offline = offline(client, "");
    assert_eq!(said!(offline), said!(found));
}

/// Exit code and output of the program.
pub(super) fn program(arguments: &[&std::ffi::OsStr]) -> (u8, String) {
    let mut out = Vec::new();
    match verifier(arguments.iter().map(OsString::from), &mut out, None) {
        Ok(code) => (code, String::from_utf8(out).expect("UTF-8")),
        Err(error) => (error.exit(), error.to_string()),
    }
}

fn words<'w>(words: &'w [&'w str]) -> Vec<&'w std::ffi::OsStr> {
    words.iter().map(std::ffi::OsStr::new).collect()
}

fn bundle_of(client: &mut Client, arguments: &str) -> Scratch {
    Scratch::new(&export(client, arguments))
}

#[test]
fn bundle_is_verified_from_file_and_directory() {
    let (_db, mut client) = defenceless();
    let bundle = bundle_of(&mut client, "");
    let path = bundle.0.to_str().expect("a plain path");
    let (code, text) = program(&words(&["bundle", path]));
    assert_eq!(code, exit::INTACT, "{text}");
    assert!(text.starts_with("4 blocks, "), "{text}");
    assert!(text.contains(" 0 not sealed yet: intact\n"), "{text}");

    let directory = Scratch(bundle.0.with_extension("unpacked"));
    let folder = directory.0.to_str().expect("a plain path");
    assert_eq!(program(&words(&["unpack", path, folder])).0, exit::INTACT);
    assert_eq!(program(&words(&["bundle", folder])), (code, text));
    let tile = directory.0.join("epoch/1/tile/0");
    assert!(tile.is_dir());
    std::fs::write(directory.0.join("epoch/1/checkpoint"), "no\n").expect("writable");
    let (code, text) = program(&words(&["bundle", folder]));
    assert_eq!(
        (code, text.as_str()),
        (
            exit::UNREADABLE,
            "epoch/1/checkpoint: does not follow from the rows"
        )
    );
    // Never over what is there already.
    assert_eq!(
        program(&words(&["unpack", path, folder])).0,
        exit::UNREADABLE
    );
}

#[test]
fn damage_is_told_to_people_and_programs() {
    let (_db, mut client) = defenceless();
    // As $(...) of a shell leaves it.
    let earlier = Scratch::new(checkpoint(&mut client).trim_end().as_bytes());
    let earlier = earlier.0.to_str().expect("a plain path");
    run(
        &mut client,
        "UPDATE tenant_guard.ledger_block SET sealed_at = now() WHERE block = 2",
    );
    let bundle = bundle_of(&mut client, "");
    let path = bundle.0.to_str().expect("a plain path");
    let (code, text) = program(&words(&["bundle", path]));
    assert_eq!(code, exit::FINDINGS);
    assert!(
        text.starts_with("block_altered, block 2: its columns do not give its hash\n"),
        "{text}"
    );
    assert!(text.contains(": 1 finding\n"), "{text}");
    let (code, text) = program(&words(&["--json", "bundle", path, "--against", earlier]));
    assert_eq!(code, exit::FINDINGS);
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["verdict"], "damaged");
    assert_eq!(json["findings"][0]["code"], "block_altered");
    assert_eq!(json["findings"][0]["block"], 2);
    assert_eq!(json["signatures"], serde_json::Value::Null);
}

#[test]
fn ledger_that_was_cut_is_found_against_a_checkpoint() {
    let (_db, mut client) = defenceless();
    let earlier = Scratch::new(checkpoint(&mut client).as_bytes());
    let earlier = earlier.0.to_str().expect("a plain path");
    run(
        &mut client,
        "DELETE FROM tenant_guard.ledger_block WHERE block = 4;
         DELETE FROM tenant_guard.ledger_leaf WHERE block = 4",
    );
    let bundle = bundle_of(&mut client, "");
    let path = bundle.0.to_str().expect("a plain path");
    let (code, text) = program(&words(&["bundle", path, "--against", earlier]));
    assert_eq!(code, exit::FINDINGS);
    assert!(text.contains("checkpoint_truncated: "), "{text}");
}

#[test]
fn bundle_of_an_account_is_verified_and_blind_to_others() {
    let (_db, mut client) = defenceless();
    let one = format!("'{ACCOUNT_A}'");
    let content = String::from_utf8(export(&mut client, &one)).expect("text");
    assert!(!content.contains(&hex(tenant_guard_tests::ACCOUNT_B)));
    assert!(content.contains(&hex(ACCOUNT_A)));
    assert_eq!(offline(&mut client, &one), []);
    run(
        &mut client,
        &format!(
            "DELETE FROM tenant_guard.audit_log WHERE account_id = '{ACCOUNT_A}'
               AND xid = (SELECT min(xid) FROM tenant_guard.audit_log WHERE account_id = '{ACCOUNT_A}')"
        ),
    );
    let found = offline(&mut client, &one);
    assert_eq!(found[0].code.as_str(), "event_set_changed");
    assert_eq!(found[0].account.as_deref(), Some(ACCOUNT_A));
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn input_that_is_no_bundle_and_words_that_are_no_command_are_told_apart() {
    let nothing = Scratch::new(b"");
    let path = nothing.0.to_str().expect("a plain path");
    assert_eq!(program(&words(&["bundle", path])).0, exit::UNREADABLE);
    let text = Scratch::new(b"hello\n");
    let path = text.0.to_str().expect("a plain path");
    let (code, message) = program(&words(&["bundle", path]));
    assert_eq!(
        (code, message.as_str()),
        (exit::UNREADABLE, "row 1 is not one of a bundle")
    );
    assert_eq!(program(&words(&["receipt", path])).0, exit::UNREADABLE);
    assert_eq!(program(&words(&["bundle", "/nowhere"])).0, exit::UNREADABLE);
    for usage in [
        &[][..],
        &["bundle"],
        &["bundle", "a", "b"],
        &["consistency", "a", "b"],
        &["check", "a"],
        &["--loud", "bundle", "a"],
        &["receipt", "a", "--against", "b"],
        &["bundle", "a", "--key", "k", "--policy", "p"],
    ] {
        assert_eq!(program(&words(usage)).0, exit::USAGE, "{usage:?}");
    }
    assert_eq!(
        program(&words(&["bundle", path, "--key", "none"])).0,
        exit::UNREADABLE
    );
    assert_eq!(program(&words(&["--help"])).0, exit::INTACT);
    // A bundle with a path that leads out of its directory.
    let escape = Scratch::new(b"../escaped\t\\\\x00\n");
    let directory = Scratch(escape.0.with_extension("unpacked"));
    let arguments = [
        "unpack",
        escape.0.to_str().unwrap(),
        directory.0.to_str().unwrap(),
    ];
    let (code, message) = program(&words(&arguments));
    assert_eq!(
        (code, message.as_str()),
        (exit::UNREADABLE, "\"../escaped\" is no path of a bundle")
    );
}

#[test]
fn auditor_exports_in_a_read_only_transaction() {
    let db = database();
    add(&mut db.superuser(), "one", ACCOUNT_A);
    seal(&mut db.superuser());
    let role = db.role("auditor");
    run(
        &mut db.superuser(),
        &format!("GRANT tenant_guard_auditor TO {role}"),
    );
    let mut auditor = db.connect_as(&role);
    let mut transaction = auditor.transaction().unwrap();
    run(&mut transaction, "SET TRANSACTION READ ONLY");
    assert_eq!(offline(&mut transaction, ""), []);
}
