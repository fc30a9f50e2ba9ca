//! Signed notes as published by C2SP, Go and the witnesses of torchwood; cosignatures of our own.

use tenant_guard_core::note::{InvalidKey, KeyKind, Note, SigningKey, Verdict, VerifierKey};

fn verdict(vector: &serde_json::Value) -> Verdict {
    let text = |name: &str| vector[name].as_str().expect("a text");
    let key: VerifierKey = text("key").parse().expect("a key");
    assert_eq!(key.to_string(), text("key"));
    key.verify(&Note::parse(text("note")).expect("a note"))
}

#[test]
fn published_notes_verify_as_printed() {
    let vectors = super::vectors("notes.json");
    for (kind, expected) in [
        ("good", Verdict::Signed(None)),
        ("forged", Verdict::Forged),
        ("absent", Verdict::Absent),
    ] {
        let list = vectors[kind].as_array().expect("a list");
        assert!(!list.is_empty());
        for vector in list {
            assert_eq!(verdict(vector), expected, "{vector}");
        }
    }
    for note in super::texts(&vectors["malformed"]["notes"]) {
        assert!(Note::parse(note).is_err(), "{note:?}");
    }
    for key in super::texts(&vectors["bad_keys"]["keys"]) {
        assert_eq!(key.parse::<VerifierKey>(), Err(InvalidKey), "{key}");
    }
}

#[test]
fn a_published_key_signs_as_printed() {
    let signing = &super::vectors("notes.json")["signing"];
    let text = |name: &str| signing[name].as_str().expect("a text");
    let key: SigningKey = text("key").parse().expect("a private key");
    assert_eq!(key.verifier().to_string(), text("verifier"));
    assert_eq!(key.sign(text("text"), 0), text("line"));
    let shown = format!("{key:?}");
    assert!(!shown.contains("AYEKFALVFGyNhPJEMzD1QIDr"), "{shown}");
}

#[test]
fn a_witness_signs_text_and_time() {
    let key =
        SigningKey::from_seed("witness.example/w1", KeyKind::Cosignature, &[7; 32]).expect("a key");
    let body = "example.com/log\n3\nRcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=\n";
    let line = key.sign(body, 1_679_315_147);
    let noted = format!("{body}\n{line}");
    let note = Note::parse(&noted).expect("a note");
    assert_eq!(
        key.verifier().verify(&note),
        Verdict::Signed(Some(1_679_315_147))
    );

    let mut later = note.clone();
    later.signatures[0].bytes[7] ^= 1;
    assert_eq!(key.verifier().verify(&later), Verdict::Forged);
    let mut cut = note.clone();
    cut.signatures[0].bytes.truncate(7);
    assert_eq!(key.verifier().verify(&cut), Verdict::Forged);
    let mut other = note.clone();
    other.text = "example.com/log\n4\nRcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=\n";
    assert_eq!(key.verifier().verify(&other), Verdict::Forged);

    // The same bytes as a key of a log are another key, which did not sign.
    let log =
        SigningKey::from_seed("witness.example/w1", KeyKind::Ed25519, &[7; 32]).expect("a key");
    assert_eq!(log.verifier().public(), key.verifier().public());
    assert_eq!(log.verifier().verify(&note), Verdict::Absent);
}

#[test]
fn keys_that_are_none_are_refused() {
    let good = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
    assert!(good.parse::<VerifierKey>().is_ok());
    for (from, to) in [
        ("af0c", "AF0C"),
        ("af0c", "af0d"),
        ("Enoch", "Enock"),
        ("EnochRoot", ""),
        ("EnochRoot", "Enoch Root"),
        ("+AT", "+AA"),
        ("+AT", "+"),
        ("dop", "do="),
        ("+", " "),
    ] {
        let text = good.replace(from, to);
        assert_eq!(text.parse::<VerifierKey>(), Err(InvalidKey), "{text}");
        let private = format!("PRIVATE+KEY+{text}");
        assert!(private.parse::<SigningKey>().is_err(), "{private}");
    }
    assert!(SigningKey::from_seed("a b", KeyKind::Ed25519, &[0; 32]).is_err());
}
