//! Writes the seeds and the dictionary of each target: `seeds DIRECTORY`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let directory = PathBuf::from(env::args_os().nth(1).expect("a directory"));
    for (name, seeds, words) in tenant_guard_fuzz::seeds() {
        let corpus = directory.join(&name);
        fs::create_dir_all(&corpus)?;
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(corpus.join(format!("seed-{number}")), seed)?;
        }
        let mut dictionary = String::new();
        for word in words {
            let bytes = word.bytes();
            let escaped: String = bytes.map(|byte| format!("\\x{byte:02X}")).collect();
            writeln!(dictionary, "\"{escaped}\"").expect("text");
        }
        fs::write(directory.join(format!("{name}.dict")), dictionary)?;
    }
    Ok(())
}
