//! Data migrations account by account: what is recorded of them and when progress is told.

use sha2::{Digest, Sha256};

/// What a run does when the statements fail for one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Ends there with the error; what is done stays done.
    Stop,
    /// Records the failure and goes on; ends with an error when all others are done.
    Continue,
}

impl OnError {
    /// The choice named `stop` or `continue`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "stop" => Some(Self::Stop),
            "continue" => Some(Self::Continue),
            _ => None,
        }
    }
}

/// SHA-256 of a run's statements, in hex: what a run is told apart by, without keeping its text,
/// which may hold secrets.
pub fn statements_hash(sql: &str) -> String {
    hex::encode(Sha256::digest(sql))
}

/// 48 bits that stand for a run's name in a lock.
pub fn lock_key(run: &str) -> (u32, u16) {
    let digest: [u8; 32] = Sha256::digest(run).into();
    let [a, b, c, d, e, f, ..] = digest;
    (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]))
}

/// Whether progress is told after `done` of `total` accounts: after each of up to a hundred, else
/// after each percent.
pub fn is_progress_due(done: usize, total: usize) -> bool {
    let percent = |done: usize| done * 100 / total.max(1);
    total <= 100 || done == total || percent(done) != percent(done.saturating_sub(1))
}

/// Classes of SQLSTATE whose messages in PostgreSQL's own code hold names of objects, never values
/// of rows.
const NAMES_ONLY: [&str; 10] = ["0A", "21", "23", "25", "2D", "40", "53", "54", "55", "57"];

/// The part of an error's message that may be kept where others read it.
///
/// `by_server` says that PostgreSQL's own code raised it. What statements raise themselves may
/// hold anything and is left out; of other messages of the server what stands in double quotes is,
/// where it may be a value of a row or a piece of a statement.
pub fn recorded_message(sqlstate: &str, message: &str, by_server: bool) -> Option<String> {
    if !by_server {
        return None;
    }
    if NAMES_ONLY.iter().any(|class| sqlstate.starts_with(class)) {
        return Some(message.to_owned());
    }
    let (head, quoted) = message.split_once('"').unwrap_or((message, ""));
    // A value may hold quotes itself, so everything up to the last one goes.
    let tail = quoted.rsplit_once('"').map(|(_, tail)| tail);
    Some(match tail {
        Some(tail) => format!("{head}\"...\"{tail}"),
        None if quoted.is_empty() => head.to_owned(),
        None => format!("{head}\"..."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_constraints_are_recorded_and_quoted_values_are_not() {
        let kept = "duplicate key value violates unique constraint \"contact_pkey\"";
        assert_eq!(recorded_message("23505", kept, true).as_deref(), Some(kept));
        for (sqlstate, message, recorded) in [
            (
                "22P02",
                "invalid input syntax for type integer: \"4711 \"x\" \"",
                "invalid input syntax for type integer: \"...\"",
            ),
            (
                "22003",
                "value \"99999999999\" is out of range for type integer",
                "value \"...\" is out of range for type integer",
            ),
            (
                "42601",
                "syntax error at or near \"s3cret\"",
                "syntax error at or near \"...\"",
            ),
            ("22012", "division by zero", "division by zero"),
            ("22P02", "odd \"quote", "odd \"..."),
        ] {
            assert_eq!(
                recorded_message(sqlstate, message, true).as_deref(),
                Some(recorded)
            );
        }
    }

    #[test]
    fn what_statements_raise_themselves_is_not_recorded() {
        assert_eq!(recorded_message("P0001", "iban DE12 is bad", false), None);
        assert_eq!(recorded_message("23505", "iban DE12 is bad", false), None);
    }

    #[test]
    fn progress_is_told_at_most_about_a_hundred_times() {
        assert!((1..=100).all(|done| is_progress_due(done, 100)));
        let told = (1..=12_345).filter(|done| is_progress_due(*done, 12_345));
        assert_eq!(told.count(), 100);
        assert!(is_progress_due(12_345, 12_345));
        let few = (1..=101).filter(|done| is_progress_due(*done, 101)).count();
        assert_eq!(few, 100);
    }

    #[test]
    fn hash_is_of_the_exact_text() {
        assert_eq!(
            statements_hash("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_ne!(statements_hash("UPDATE t"), statements_hash("update t"));
    }

    #[test]
    fn only_two_choices_have_names() {
        assert_eq!(OnError::from_name("stop"), Some(OnError::Stop));
        assert_eq!(OnError::from_name("continue"), Some(OnError::Continue));
        assert_eq!(OnError::from_name("Stop"), None);
    }
}
