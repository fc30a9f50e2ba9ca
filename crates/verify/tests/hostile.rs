//! What somebody who wants to be believed, or to do harm, hands to the program.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tenant_guard_verify::{exit, run};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/ledger");

/// A directory that goes with its value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tg-verify-{}-{name}", std::process::id()));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.expect("a new directory");
        Self(path)
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).expect("room for a file");
        path.to_str().expect("a plain path").to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Exit code and output of the program.
fn program(arguments: &[&str]) -> (u8, String) {
    let mut out = Vec::new();
    match run(arguments.iter().map(OsString::from), &mut out, None) {
        Ok(code) => (code, String::from_utf8(out).expect("UTF-8")),
        Err(error) => (error.exit(), error.to_string()),
    }
}

fn vector(name: &str) -> String {
    format!("{VECTORS}/{name}")
}

/// The checkpoints at the end of each block of the vectors.
fn checkpoints() -> Vec<String> {
    let text = fs::read_to_string(vector("ledger.json")).expect("vectors");
    let ledger: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let blocks = ledger["expected"].as_array().expect("blocks").iter();
    blocks
        .map(|block| block["checkpoint"].as_str().expect("a text").to_owned())
        .collect()
}

#[test]
fn checkpoints_in_the_wrong_order_prove_nothing() {
    let scratch = Scratch::new("order");
    let names: Vec<String> = (0..)
        .zip(checkpoints())
        .map(|(n, text)| scratch.file(&format!("checkpoint-{n}"), text.as_bytes()))
        .collect();
    let bundle = vector("bundle.copy");
    for (old, old_name) in names.iter().enumerate() {
        for (new, new_name) in names.iter().enumerate() {
            let (code, text) = program(&["consistency", old_name, new_name, &bundle]);
            let expected = if old <= new {
                exit::INTACT
            } else {
                exit::FINDINGS
            };
            assert_eq!(code, expected, "{old} {new}: {text}");
            if old > new {
                assert_eq!(
                    text,
                    "not proven: the checkpoint given as the newer one is the older one\n"
                );
            }
        }
    }
}

#[test]
fn findings_of_a_consistency_check_come_with_what_was_read() {
    let scratch = Scratch::new("summary");
    let [old, new, _] = checkpoints().try_into().expect("three blocks");
    let digit = if new.contains("\n8\n") { "9" } else { "8" };
    let lines: Vec<&str> = new.lines().collect();
    let forged = format!("{}\n{digit}\n{}\n", lines[0], lines[2]);
    let old = scratch.file("old", old.as_bytes());
    let forged = scratch.file("new", forged.as_bytes());
    let (code, text) = program(&["consistency", &old, &forged, &vector("bundle.copy")]);
    assert_eq!(code, exit::FINDINGS, "{text}");
    assert!(text.contains("\n3 blocks, "), "{text}");
}

fn unpacked(scratch: &Scratch) -> PathBuf {
    let directory = scratch.0.join("bundle");
    let name = directory.to_str().expect("a plain path");
    assert_eq!(
        program(&["unpack", &vector("bundle.copy"), name]).0,
        exit::INTACT
    );
    assert_eq!(program(&["bundle", name]).0, exit::INTACT);
    directory
}

#[test]
fn links_and_pipes_in_a_directory_are_refused() {
    for (name, make) in [
        (
            "link",
            (|path| std::os::unix::fs::symlink("/etc/passwd", path).is_ok()) as fn(&Path) -> bool,
        ),
        ("pipe", |path| {
            Command::new("mkfifo")
                .arg(path)
                .status()
                .is_ok_and(|s| s.success())
        }),
    ] {
        let scratch = Scratch::new(name);
        let directory = unpacked(&scratch);
        for place in ["openings/001", "epoch/1/more", "openings/000"] {
            let path = directory.join(place);
            let _ = fs::remove_file(&path);
            assert!(make(&path), "{place}");
            let (code, text) = program(&["bundle", directory.to_str().expect("a plain path")]);
            assert_eq!(code, exit::UNREADABLE);
            assert_eq!(text, format!("{place}: not a regular file"));
            fs::remove_file(&path).expect("there");
        }
    }
}

#[test]
fn what_is_too_long_is_refused_and_not_cut() {
    let scratch = Scratch::new("long");
    let receipt = scratch.file("receipt", b"");
    let file = File::options().write(true).open(&receipt).expect("there");
    file.set_len((64 << 20) + 1).expect("a file with a hole");
    let (code, text) = program(&["receipt", &receipt]);
    assert_eq!(code, exit::UNREADABLE);
    assert!(text.ends_with("/receipt: longer than 64 MiB"), "{text}");

    let directory = unpacked(&scratch);
    let file = File::create(directory.join("openings/001")).expect("writable");
    file.set_len((64 << 20) + 1).expect("a file with a hole");
    let (code, text) = program(&["bundle", directory.to_str().expect("a plain path")]);
    assert_eq!(code, exit::UNREADABLE);
    assert_eq!(text, "openings/001: longer than any file of a bundle");
}

#[test]
fn names_do_not_steer_the_terminal() {
    let scratch = Scratch::new("terminal");
    let bundle = fs::read_to_string(vector("bundle.copy")).expect("vectors");
    let evil = scratch.file(
        "evil",
        format!("{bundle}\u{1b}[2J\u{202e}\t\\\\x00\n").as_bytes(),
    );
    let (code, text) = program(&["bundle", &evil]);
    assert_eq!(code, exit::UNREADABLE);
    assert_eq!(text, "\\u{1b}[2J\\u{202e}: not a file of a bundle");
}

#[test]
fn hexadecimal_in_upper_case_is_refused() {
    let scratch = Scratch::new("upper");
    let bundle = fs::read_to_string(vector("bundle.copy")).expect("vectors");
    let upper = bundle.replacen("\\\\x7b", "\\\\x7B", 1);
    assert_ne!(upper, bundle);
    let upper = scratch.file("upper", upper.as_bytes());
    let (code, text) = program(&["bundle", &upper]);
    assert_eq!(
        (code, text.as_str()),
        (exit::UNREADABLE, "row 1 is not one of a bundle")
    );
}

#[test]
fn input_that_cannot_be_read_is_told_to_programs_too() {
    let nowhere = "/nowhere/at/all";
    for command in [
        &["bundle", nowhere][..],
        &["receipt", nowhere],
        &["consistency", nowhere, nowhere, nowhere],
        &["unpack", nowhere, nowhere],
    ] {
        let mut words = vec!["--json"];
        words.extend(command);
        let (code, text) = program(&words);
        assert_eq!(code, exit::UNREADABLE, "{text}");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["verdict"], "unreadable");
        let problem = json["problem"].as_str().expect("a text");
        assert!(problem.contains(nowhere), "{problem}");
    }
}
