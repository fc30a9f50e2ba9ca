//! Policies as C2SP `tlog-policy` describes them.

use tenant_guard_core::note::{KeyKind, Note, SigningKey};
use tenant_guard_core::witness::Policy;

const BODY: &str = "example.com/log\n3\nRcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=\n";

fn log() -> SigningKey {
    SigningKey::from_seed("example.com/log", KeyKind::Ed25519, &[1; 32]).expect("a key")
}

fn witness(n: u8) -> SigningKey {
    let name = format!("witness.example/{n}");
    SigningKey::from_seed(&name, KeyKind::Cosignature, &[100 + n; 32]).expect("a key")
}

/// The example of the specification: two of X1 to X3 and one of Y1 to Y3.
fn example() -> String {
    let key = |n| witness(n).verifier().to_string();
    format!(
        "# who is trusted\nlog {} https://log.example\n\n\
         witness X1 {}\n\twitness  X2 {}\nwitness X3 {} https://x3.example\n\
         group X-witnesses 2 X1 X2 X3\n\
         witness Y1 {}\nwitness Y2 {}\nwitness Y3 {}\ngroup Y-witnesses any Y1 Y2 Y3\n\
         group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n",
        log().verifier(),
        key(1),
        key(2),
        key(3),
        key(4),
        key(5),
        key(6)
    )
}

fn signed(by: &[u8]) -> String {
    let mut note = format!("{BODY}\n{}", log().sign(BODY, 0));
    for n in by {
        note += &witness(*n).sign(BODY, 1_000 + u64::from(*n));
    }
    note
}

#[test]
fn a_quorum_is_counted_through_groups() {
    let policy = Policy::parse(&example()).expect("a policy");
    for (by, good) in [
        (&[1, 2, 4][..], true),
        (&[1, 3, 5, 6], true),
        (&[1, 2], false),
        (&[1, 4, 5, 6], false),
        (&[], false),
    ] {
        let note = signed(by);
        let judged = policy.judge(&Note::parse(&note).expect("a note"));
        assert!(judged.log_signed && judged.forged.is_empty());
        assert_eq!(judged.is_good(), good, "{by:?}");
        let times: Vec<u64> = judged.witnesses.iter().map(|(_, time)| *time).collect();
        assert_eq!(
            times,
            by.iter().map(|n| 1_000 + u64::from(*n)).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_note_of_another_log_or_with_a_forged_signature_is_not_good() {
    let policy = Policy::parse(&example()).expect("a policy");
    let of_witnesses: String = signed(&[1, 2, 4]).replacen(&log().sign(BODY, 0), "", 1);
    let judged = policy.judge(&Note::parse(&of_witnesses).expect("a note"));
    assert!(!judged.log_signed && judged.quorum && !judged.is_good());

    let other = BODY.replace("\n3\n", "\n4\n");
    let moved = signed(&[1, 2, 4]).replacen(BODY, &other, 1);
    let judged = policy.judge(&Note::parse(&moved).expect("a note"));
    assert_eq!(judged.forged.len(), 4);
    assert!(!judged.is_good() && judged.witnesses.is_empty());
}

#[test]
fn policies_that_are_none_name_their_line() {
    let key = |n| witness(n).verifier().to_string();
    let (log, one, two) = (log().verifier().to_string(), key(1), key(2));
    let of_log = key(1).replace("witness.example/1", "other");
    for (text, expected) in [
        (String::new(), "line 1 of the policy: no quorum"),
        (
            "quorum none\nquorum none\n".to_owned(),
            "line 2 of the policy: a second quorum",
        ),
        (
            "quorum X\n".to_owned(),
            "line 1 of the policy: an unknown quorum",
        ),
        (
            "quorum\n".to_owned(),
            "line 1 of the policy: not a definition",
        ),
        (
            "allow all\n".to_owned(),
            "line 1 of the policy: not a definition",
        ),
        (
            "quorum none\r\n".to_owned(),
            "line 1 of the policy: a control character",
        ),
        (
            format!("log {log}\nlog {log}\n"),
            "line 2 of the policy: a second log with this key",
        ),
        (
            format!("log {one}\n"),
            "line 1 of the policy: not a key of a log",
        ),
        (
            format!("log {of_log}\n"),
            "line 1 of the policy: not a verifier key",
        ),
        (
            format!("witness X {log}\n"),
            "line 1 of the policy: not a key of a witness",
        ),
        (
            format!("witness none {one}\n"),
            "line 1 of the policy: the name is taken",
        ),
        (
            format!("witness X {one}\nwitness X {two}\n"),
            "line 2 of the policy: the name is taken",
        ),
        (
            format!("witness X {one}\nwitness Y {one}\n"),
            "line 2 of the policy: a second witness with this key",
        ),
        (
            format!("witness X {one}\ngroup G 2 X\n"),
            "line 2 of the policy: more members asked for than there are, or none",
        ),
        (
            format!("witness X {one}\ngroup G any\n"),
            "line 2 of the policy: more members asked for than there are, or none",
        ),
        (
            format!("witness X {one}\ngroup G 01 X\n"),
            "line 2 of the policy: not a number of members",
        ),
        (
            format!("witness X {one}\ngroup G any Y\n"),
            "line 2 of the policy: an unknown member",
        ),
        (
            format!("witness X {one}\ngroup G any X\ngroup H any X\n"),
            "line 3 of the policy: a member of two groups",
        ),
        (
            format!("witness X {one}\ngroup G any X X\n"),
            "line 2 of the policy: a member of two groups",
        ),
    ] {
        let found = Policy::parse(&text).expect_err(&text);
        assert_eq!(found.to_string(), expected, "{text}");
    }
    let open = Policy::parse("quorum none\n").expect("a policy");
    let note = signed(&[]);
    assert!(open.judge(&Note::parse(&note).expect("a note")).is_good());
}
