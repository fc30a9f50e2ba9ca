//! Readers of notes, keys, policies, receipts and bundles.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tenant_guard_core::bundle::BundleVerifier;
use tenant_guard_core::note::{Note, Verdict, VerifierKey};
use tenant_guard_core::receipt::{self, LogProof, ReceiptError};
use tenant_guard_core::witness::Policy;

const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\
    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

macro_rules! vector {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/vectors/ledger/", $name))
    };
}

pub(crate) fn note_seeds() -> Vec<Vec<u8>> {
    vec![NOTE.into(), NOTE.replace("Peter", "Enoch").into()]
}

/// A note is put together again by its parts, and only the known one is signed.
pub(crate) fn note(input: &[u8]) -> String {
    let Ok(text) = str::from_utf8(input) else {
        return "no text".into();
    };
    let Ok(note) = Note::parse(text) else {
        return "refused".into();
    };
    let lines: String = note
        .signatures
        .iter()
        .map(|signature| signature.line)
        .collect();
    assert_eq!(format!("{}\n{lines}", note.text), text);
    let key: VerifierKey = KEY.parse().expect("a key");
    match key.verify(&note) {
        Verdict::Signed(_) => {
            assert!(NOTE.starts_with(note.text));
            "signed".into()
        }
        other => format!("{other:?}"),
    }
}

pub(crate) fn policy_seeds() -> Vec<Vec<u8>> {
    let text = format!("log {KEY}\n# none\ngroup g any w\nquorum none\n");
    vec![text.into(), b"quorum none\n".into()]
}

pub(crate) fn policy(input: &[u8]) -> String {
    let Ok(text) = str::from_utf8(input) else {
        return "no text".into();
    };
    match Policy::parse(text) {
        Ok(policy) => {
            let judged = policy.judge(&Note::parse(NOTE).expect("a note"));
            format!("{} {}", judged.log_signed, judged.quorum)
        }
        Err(error) => {
            assert!((1..=text.split('\n').count()).contains(&error.line));
            error.problem.into()
        }
    }
}

/// Opening and proof, a line between them, so that mutants reach the JSON below the base64.
pub(crate) fn receipt_seeds() -> Vec<Vec<u8>> {
    let texts = [
        vector!("receipt.tlog-proof"),
        vector!("receipt_without_values.tlog-proof"),
    ];
    let seeds = texts.map(|text| {
        let proof = LogProof::parse(text).expect("a proof");
        let mut seed = proof.extra.clone().expect("an opening");
        let rest = LogProof {
            extra: None,
            ..proof
        }
        .to_string();
        seed.push(b'\n');
        seed.extend(rest.into_bytes());
        seed
    });
    seeds.into()
}

/// Whatever still verifies is the event it was.
pub(crate) fn receipt(input: &[u8]) -> String {
    let end = input
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(input.len());
    let rest = input.get(end + 1..).unwrap_or_default();
    let Ok(rest) = str::from_utf8(rest) else {
        return "no text".into();
    };
    let extra = format!("extra {}\nindex ", STANDARD.encode(&input[..end]));
    match receipt::verify(&rest.replacen("index ", &extra, 1)) {
        Ok((shown, _)) => {
            assert_eq!(
                (shown.event.xid, shown.event.ordinal, shown.block),
                (100, 2, 1)
            );
            "shown".into()
        }
        Err(ReceiptError::Malformed(_)) => "malformed".into(),
        Err(error) => error.to_string(),
    }
}

pub(crate) fn openings_seeds() -> Vec<Vec<u8>> {
    let line = vector!("bundle.copy")
        .lines()
        .find_map(|line| line.strip_prefix("openings/000\t\\\\x"));
    vec![hex::decode(line.expect("openings")).expect("hexadecimal")]
}

/// Whatever is read ends in findings or an error, never in a panic.
pub(crate) fn openings(input: &[u8]) -> String {
    let mut verifier = BundleVerifier::new(None);
    let about = br#"{"bundle":"tenant_guard/ledger","version":1,"incarnation":1,"next_xid":1}"#;
    verifier.file("bundle.json", about).expect("a bundle");
    match verifier.file("openings/000", input) {
        Err(error) => error.problem.chars().take(12).collect(),
        Ok(()) => {
            let found = verifier.take_findings();
            found
                .first()
                .map_or("read".into(), |finding| finding.code.to_string())
        }
    }
}
