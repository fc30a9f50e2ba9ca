//! Checks what tenant_guard gives out, on a machine without a database: bundles of
//! `export_ledger()`, receipts, and whether one checkpoint grew out of another.
//!
//! All judgement is `tenant_guard_core`'s, the same that runs in the database; here is the command
//! line around it.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

mod arguments;
mod input;
mod progress;
mod report;

use std::ffi::OsString;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use tenant_guard_core::bundle::{BundleVerifier, Summary};
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::ledger::Finding;
use tenant_guard_core::note::{Note, completed};
use tenant_guard_core::proof::is_consistent;
use tenant_guard_core::receipt::{self, ReceiptError};
use tenant_guard_core::witness::{Judgement, Policy};

use arguments::{Command, Options};
use input::Source;
use progress::Progress;
use report::Report;

/// Exit codes.
pub mod exit {
    /// All is as it was sealed, and signed as asked.
    pub const INTACT: u8 = 0;
    /// Something is not as it was sealed, or not proven.
    pub const FINDINGS: u8 = 1;
    /// The command line cannot be understood.
    pub const USAGE: u8 = 2;
    /// The input cannot be read, or is not what it should be.
    pub const UNREADABLE: u8 = 3;
    /// All is as it was sealed, but not signed as the key or the policy asks.
    pub const UNSIGNED: u8 = 4;
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line cannot be understood.
    #[error("{0}\n{usage}", usage = arguments::USAGE)]
    Usage(String),
    /// The input cannot be read, or is not what it should be.
    #[error("{}", report::printable(.0))]
    Input(String),
}

impl Failure {
    /// The exit code.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Usage(_) => exit::USAGE,
            Self::Input(_) => exit::UNREADABLE,
        }
    }
}

/// Carries out a command line without the program's name and returns the exit code. `progress` is
/// a terminal to show on how far long work is.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    progress: Option<&mut dyn Write>,
) -> Result<u8, Failure> {
    let (command, options) = arguments::parse(arguments)?;
    match carry_out(command, &options, out, progress) {
        Err(Failure::Input(problem)) if options.json => {
            write(out, &report::unreadable(&problem))?;
            Ok(exit::UNREADABLE)
        }
        result => result,
    }
}

fn carry_out(
    command: Command,
    options: &Options,
    out: &mut dyn Write,
    progress: Option<&mut dyn Write>,
) -> Result<u8, Failure> {
    let mut progress = Progress::new(progress);
    let report = match command {
        Command::Help => {
            write(out, arguments::USAGE)?;
            return Ok(exit::INTACT);
        }
        Command::Version => {
            write(
                out,
                &format!("tenant-guard-verify {}\n", env!("CARGO_PKG_VERSION")),
            )?;
            return Ok(exit::INTACT);
        }
        Command::Bundle(path) => bundle(&path, options, &mut progress)?,
        Command::Receipt(path) => receipt_of(&path, options)?,
        Command::Consistency { old, new, proof } => {
            consistency([&old, &new], &proof, options, &mut progress)?
        }
        Command::Unpack { bundle, directory } => {
            input::unpack(&bundle, &directory, &mut progress)?;
            return Ok(exit::INTACT);
        }
    };
    progress.end();
    write(out, &report.text(options.json))?;
    Ok(report.exit())
}

fn write(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Input(format!("the result cannot be written: {error}")))
}

/// Verifies a bundle: findings in order, and what it held.
pub fn verify_bundle(
    path: &std::ffi::OsStr,
    against: Option<Checkpoint>,
) -> Result<(Vec<Finding>, Summary), Failure> {
    read_bundle(path, against, 0, &mut Progress::new(None))
}

fn read_bundle(
    path: &std::ffi::OsStr,
    against: Option<Checkpoint>,
    keep_days: u32,
    progress: &mut Progress<'_>,
) -> Result<(Vec<Finding>, Summary), Failure> {
    let floor = i64::from(keep_days) * 86_400_000_000;
    let mut verifier = BundleVerifier::new(against)
        .keep_at_least(floor)
        .read_at(now());
    let mut findings = Vec::new();
    Source::open(path)?.each_file(progress, |path, content| {
        let result = verifier.file(path, content);
        findings.extend(verifier.take_findings());
        result.map_err(|error| Failure::Input(error.to_string()))
    })?;
    let (last, summary) = verifier
        .finish()
        .map_err(|error| Failure::Input(error.to_string()))?;
    findings.extend(last);
    Ok((findings, summary))
}

/// Unix microseconds by this machine's clock.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

fn bundle(
    path: &std::ffi::OsStr,
    options: &Options,
    progress: &mut Progress<'_>,
) -> Result<Report, Failure> {
    let against = options
        .against
        .as_deref()
        .map(input::checkpoint)
        .transpose()?;
    let (findings, summary) = read_bundle(path, against, options.keep_days.unwrap_or(0), progress)?;
    let judged = summary
        .checkpoints
        .last()
        .map_or(Ok(None), |note| judge(options, note))?;
    Ok(Report::Bundle {
        findings,
        summary,
        judged: judged.or_else(|| nothing_signed(options)),
    })
}

fn receipt_of(path: &std::ffi::OsStr, options: &Options) -> Result<Report, Failure> {
    let text = input::text(path)?;
    match receipt::verify(&text) {
        Ok((shown, note)) => Ok(Report::Receipt {
            judged: judge(options, note)?,
            shown: Box::new(shown),
        }),
        Err(error @ ReceiptError::Malformed(_)) => Err(Failure::Input(error.to_string())),
        Err(error) => Ok(Report::NotProven(error.to_string())),
    }
}

/// What key or policy say of a note; none where neither was given.
fn judge(options: &Options, note: &str) -> Result<Option<Judgement>, Failure> {
    let Some(policy) = policy(options)? else {
        return Ok(None);
    };
    Ok(match Note::parse(&completed(note)) {
        Ok(note) => Some(policy.judge(&note)),
        Err(_) => nothing_signed(options),
    })
}

/// What is said of a checkpoint without signatures.
fn nothing_signed(options: &Options) -> Option<Judgement> {
    let asked = options.key.is_some() || options.policy.is_some();
    asked.then(|| Judgement {
        log_signed: false,
        witnesses: Vec::new(),
        forged: Vec::new(),
        quorum: false,
    })
}

fn policy(options: &Options) -> Result<Option<Policy>, Failure> {
    if let Some(path) = &options.policy {
        let text = input::text(path)?;
        let policy = Policy::parse(&text).map_err(|error| Failure::Input(error.to_string()))?;
        return Ok(Some(policy));
    }
    let key = options.key.as_deref().map(str::parse).transpose();
    let key = key.map_err(|_| Failure::Usage("--key is not a verifier key".to_owned()))?;
    Ok(key.map(Policy::of_log))
}

fn consistency(
    notes: [&std::ffi::OsStr; 2],
    proof: &std::ffi::OsStr,
    options: &Options,
    progress: &mut Progress<'_>,
) -> Result<Report, Failure> {
    let [old, new] = notes.map(input::text);
    let (old, new) = (old?, new?);
    let [before, after] = [&old, &new].map(|note| {
        Checkpoint::given(note)
            .map_err(|_| Failure::Input("not a checkpoint of a tenant_guard ledger".to_owned()))
    });
    let (before, after) = (before?, after?);
    if (after.epoch, after.size) < (before.epoch, before.size) {
        let problem = "the checkpoint given as the newer one is the older one";
        return Ok(Report::NotProven(problem.to_owned()));
    }
    let (findings, summary) = match input::hashes(proof)? {
        Some(hashes) => {
            let same_tree = (before.incarnation, before.epoch) == (after.incarnation, after.epoch);
            let sizes = [(before.size, before.root), (after.size, after.root)];
            let holds = same_tree && is_consistent(sizes[0], sizes[1], &hashes);
            return Ok(match holds {
                true => Report::Consistent {
                    before,
                    after,
                    judged: judge(options, &new)?,
                },
                false => Report::NotProven(
                    "the newer checkpoint did not grow out of the older one".to_owned(),
                ),
            });
        }
        None => {
            let (mut findings, summary) = read_bundle(proof, Some(before), 0, progress)?;
            let (of_new, _) = read_bundle(proof, Some(after), 0, progress)?;
            findings.extend(
                of_new
                    .into_iter()
                    .filter(|finding| !findings.contains(finding))
                    .collect::<Vec<_>>(),
            );
            (findings, summary)
        }
    };
    Ok(match findings.is_empty() {
        true => Report::Consistent {
            before,
            after,
            judged: judge(options, &new)?,
        },
        false => Report::Bundle {
            findings,
            summary,
            judged: None,
        },
    })
}
