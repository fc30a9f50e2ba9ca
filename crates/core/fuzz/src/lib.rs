//! The targets of the core's own fuzzing, for cargo-fuzz.
#![allow(missing_docs)]

#[path = "../../tests/fuzz/proofs.rs"]
mod proofs;
#[path = "../../../../tests/tokens/signing.rs"]
#[expect(dead_code, reason = "one key is enough here")]
mod signing;
#[path = "../../tests/fuzz/stored.rs"]
mod stored;
#[path = "../../tests/fuzz/targets.rs"]
#[expect(
    dead_code,
    reason = "how many outcomes there are is for the other harness"
)]
mod targets;

use targets::Target;

fn targets() -> impl Iterator<Item = &'static Target> {
    targets::TARGETS.iter().chain(&stored::STORED)
}

/// Reads an input and asserts what must hold.
///
/// # Panics
///
/// Where it does not hold, or there is no such target.
pub fn judge(name: &str, input: &[u8]) {
    let target = targets()
        .find(|target| target.name == name)
        .expect("a target");
    (target.judge)(input);
}

/// For each target its name as that of a file, its seeds, and the pieces of its language.
pub fn seeds() -> impl Iterator<Item = (String, Vec<Vec<u8>>, &'static [&'static str])> {
    targets().map(|target| {
        let file = target.name.to_lowercase().replace(' ', "_");
        (file, (target.seeds)(), target.words)
    })
}
