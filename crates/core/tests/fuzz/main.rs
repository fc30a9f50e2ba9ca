//! Fuzzing of everything that reads what somebody else wrote: tokens, key sets, claim paths, and
//! the canonical texts that are stored.
//!
//! It runs for `TENANT_GUARD_FUZZ_SECONDS`, one second when that is not set, and begins anew each
//! time with a random seed. A failure prints the input as a Rust literal: add it to the seeds.
#![allow(missing_docs)]

mod mutation;
mod proofs;
#[path = "../../../../tests/tokens/signing.rs"]
#[expect(dead_code, reason = "one key is enough here")]
mod signing;
mod stored;
mod targets;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use mutation::{Corpus, Random};
use stored::STORED;
use targets::{TARGETS, Target};

/// Inputs of one target between two looks at the clock.
const ROUND: u64 = 200;

/// A target at work: its inputs, and what it has said so far. An input that makes it say something
/// new joins the others, so that mutation goes on from there.
struct Run {
    target: &'static Target,
    corpus: Corpus,
    outcomes: HashSet<String>,
    executions: u64,
}

/// Tells which input it was when the target panics on it.
struct Trial<'i> {
    target: &'static str,
    input: &'i [u8],
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let input = self.input.escape_ascii();
            eprintln!("{} failed on b\"{input}\"", self.target);
        }
    }
}

impl Run {
    fn new(target: &'static Target) -> Self {
        let seeds = (target.seeds)();
        let mut run = Self {
            target,
            corpus: Corpus::new(&seeds, target.words),
            outcomes: HashSet::new(),
            executions: 0,
        };
        for seed in seeds {
            run.execute(seed);
        }
        run
    }

    fn execute(&mut self, input: Vec<u8>) {
        let trial = Trial {
            target: self.target.name,
            input: &input,
        };
        let outcome = (self.target.judge)(&input);
        drop(trial);
        self.executions += 1;
        if self.outcomes.insert(outcome) {
            self.corpus.add(input);
        }
    }
}

#[test]
fn hostile_input_is_read_or_refused() {
    let seconds = std::env::var("TENANT_GUARD_FUZZ_SECONDS").map_or(1, |text| {
        text.parse()
            .expect("TENANT_GUARD_FUZZ_SECONDS is a whole number")
    });
    let mut random = Random::new(RandomState::new().hash_one("seed"));
    let mut runs: Vec<_> = TARGETS.iter().chain(&STORED).map(Run::new).collect();

    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        for run in &mut runs {
            for _ in 0..ROUND {
                let input = run.corpus.mutant(&mut random);
                run.execute(input);
            }
        }
    }

    let per_second = |executions: u64| executions as f64 / begun.elapsed().as_secs_f64();
    for run in &runs {
        let (name, outcomes) = (run.target.name, run.outcomes.len());
        println!("{name}: {} executions, {outcomes} outcomes", run.executions);
        // A target that always says the same is not reached by its inputs.
        assert!(
            outcomes >= run.target.least_outcomes,
            "{name}: {:?}",
            run.outcomes
        );
    }
    let total = runs.iter().map(|run| run.executions).sum();
    println!("{total} executions, {:.0}/s", per_second(total));
}

/// cargo-fuzz has a program for each target, and for nothing else.
#[test]
fn each_target_is_one_of_cargo_fuzz() {
    let programs = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/fuzz_targets");
    let mut programs: Vec<_> = std::fs::read_dir(programs)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .map(|text| text.split('"').nth(1).expect("a name").to_owned())
        .collect();
    let mut targets: Vec<_> = TARGETS
        .iter()
        .chain(&STORED)
        .map(|target| target.name)
        .collect();
    programs.sort();
    targets.sort();
    assert_eq!(programs, targets);
}
