//! The command line.

use std::ffi::OsString;

use lexopt::prelude::*;

use crate::Failure;

pub(crate) const USAGE: &str = "\
usage: tenant-guard-verify [options] command

  bundle BUNDLE                   checks all of a bundle of export_ledger(): a file, a directory,
                                  or - for standard input
  receipt FILE                    checks that the event of a receipt is in the ledger
  consistency OLD NEW PROOF       checks that the checkpoint in file NEW grew out of the one in OLD;
                                  PROOF is a bundle, or a file with a hash of consistency_proof() a line
  unpack BUNDLE DIRECTORY         writes the files of a bundle into a new directory

  --against FILE   of a bundle: the ledger must contain what it did at this checkpoint
  --keep-days N    of a bundle: no rule of retention may keep anything for less
  --key KEY        the ledger's verifier key must have signed the newest checkpoint
  --policy FILE    the same by a C2SP tlog-policy: logs, witnesses, and how many of them
  --json           the result as JSON
  --help, --version

exit codes: 0 intact, proven, or unpacked; 1 not as it was sealed, or not proven; 2 usage;
            3 unreadable input, or output that cannot be written;
            4 intact or proven, but not signed as --key or --policy ask
";

/// No rule keeps anything for longer.
const MOST_DAYS: u32 = 36_500;

#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Version,
    Bundle(OsString),
    Receipt(OsString),
    Consistency {
        old: OsString,
        new: OsString,
        proof: OsString,
    },
    Unpack {
        bundle: OsString,
        directory: OsString,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) against: Option<OsString>,
    /// Shortest time that a rule may keep anything, in days.
    pub(crate) keep_days: Option<u32>,
    pub(crate) key: Option<String>,
    pub(crate) policy: Option<OsString>,
    pub(crate) json: bool,
}

pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(Command, Options), Failure> {
    let usage = |error: lexopt::Error| Failure::Usage(error.to_string());
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut options = Options::default();
    let mut words = Vec::new();
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Long("against") => options.against = Some(parser.value().map_err(usage)?),
            Long("policy") => options.policy = Some(parser.value().map_err(usage)?),
            Long("keep-days") => {
                let value = parser.value().map_err(usage)?;
                let days: u32 = value.parse().map_err(usage)?;
                if days > MOST_DAYS {
                    return Err(Failure::Usage(format!(
                        "--keep-days is at most {MOST_DAYS}"
                    )));
                }
                options.keep_days = Some(days);
            }
            Long("key") => {
                let value = parser.value().map_err(usage)?;
                options.key = Some(value.string().map_err(usage)?);
            }
            Long("json") => options.json = true,
            Long("help") | Short('h') => return Ok((Command::Help, options)),
            Long("version") | Short('V') => return Ok((Command::Version, options)),
            Value(word) => words.push(word),
            other => return Err(usage(other.unexpected())),
        }
    }
    if options.key.is_some() && options.policy.is_some() {
        return Err(Failure::Usage(
            "--key and --policy exclude each other".to_owned(),
        ));
    }
    let command = command(words)?;
    let of_bundle = [
        ("--against", options.against.is_some()),
        ("--keep-days", options.keep_days.is_some()),
    ];
    for (name, _) in of_bundle.into_iter().filter(|(_, given)| *given) {
        if !matches!(command, Command::Bundle(_)) {
            return Err(Failure::Usage(format!("{name} goes with bundle alone")));
        }
    }
    Ok((command, options))
}

fn command(words: Vec<OsString>) -> Result<Command, Failure> {
    let mut words = words.into_iter();
    let name = words
        .next()
        .ok_or_else(|| Failure::Usage("a command is missing".to_owned()))?;
    let name = name.to_string_lossy().into_owned();
    let rest: Vec<OsString> = words.collect();
    match (name.as_str(), <[OsString; 1]>::try_from(rest)) {
        ("bundle", Ok([bundle])) => Ok(Command::Bundle(bundle)),
        ("receipt", Ok([receipt])) => Ok(Command::Receipt(receipt)),
        ("consistency", Err(rest)) => match <[OsString; 3]>::try_from(rest) {
            Ok([old, new, proof]) => Ok(Command::Consistency { old, new, proof }),
            Err(_) => Err(wrong_number(&name)),
        },
        ("unpack", Err(rest)) => match <[OsString; 2]>::try_from(rest) {
            Ok([bundle, directory]) => Ok(Command::Unpack { bundle, directory }),
            Err(_) => Err(wrong_number(&name)),
        },
        ("bundle" | "receipt" | "consistency" | "unpack", _) => Err(wrong_number(&name)),
        _ => Err(Failure::Usage(format!("unknown command {name:?}"))),
    }
}

fn wrong_number(command: &str) -> Failure {
    Failure::Usage(format!("{command} takes another number of files"))
}
