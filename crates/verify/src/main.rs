//! `tenant-guard-verify`: see [`tenant_guard_verify`].

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut out, mut progress) = (io::stdout().lock(), io::stderr());
    let terminal = progress.is_terminal();
    let progress: Option<&mut dyn Write> = terminal.then_some(&mut progress as &mut dyn Write);
    let result = tenant_guard_verify::run(std::env::args_os().skip(1), &mut out, progress);
    match result {
        Ok(exit) => ExitCode::from(exit),
        Err(error) => {
            eprintln!("tenant-guard-verify: {error}");
            ExitCode::from(error.exit())
        }
    }
}
