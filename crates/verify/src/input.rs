//! Reading: bundles as a directory or as COPY wrote them, checkpoints, proofs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tenant_guard_core::bundle::ABOUT;
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::merkle::Hash;
use tenant_guard_core::tile::number_path;

use crate::Failure;
use crate::progress::Progress;

/// A text is read whole, so that a mistake does not fill the memory.
const LONGEST_TEXT: u64 = 64 << 20;

/// Longest file of a bundle; a whole tile of entries has at most 17 MB.
const LONGEST_FILE: u64 = 64 << 20;

/// Longest row of COPY: such a file in hexadecimal, and its path.
const LONGEST_ROW: u64 = 2 * LONGEST_FILE + 4096;

fn unreadable(path: &OsStr, error: impl std::fmt::Display) -> Failure {
    Failure::Input(format!("{}: {error}", path.to_string_lossy()))
}

/// A text file, or standard input.
pub(crate) fn text(path: &OsStr) -> Result<String, Failure> {
    let mut text = String::new();
    let most = LONGEST_TEXT + 1;
    let read = match path == "-" {
        true => io::stdin().lock().take(most).read_to_string(&mut text),
        false => File::open(path).and_then(|file| file.take(most).read_to_string(&mut text)),
    };
    read.map_err(|error| unreadable(path, error))?;
    if text.len() as u64 > LONGEST_TEXT {
        return Err(unreadable(path, "longer than 64 MiB"));
    }
    // psql ends what it prints with a newline of its own.
    while text.ends_with("\n\n") {
        text.pop();
    }
    Ok(text)
}

/// A checkpoint, signed or not.
pub(crate) fn checkpoint(path: &OsStr) -> Result<Checkpoint, Failure> {
    let text = text(path)?;
    Checkpoint::given(&text)
        .map_err(|_| unreadable(path, "not a checkpoint of a tenant_guard ledger"))
}

/// The hashes of a proof, one a line, in base64 or hexadecimal; none where the file is a bundle.
pub(crate) fn hashes(path: &OsStr) -> Result<Option<Vec<Hash>>, Failure> {
    if Path::new(path).is_dir() {
        return Ok(None);
    }
    // It is read twice, which a pipe cannot be.
    if !Path::new(path).is_file() {
        return Err(unreadable(path, "not a regular file"));
    }
    let mut first = Vec::new();
    File::open(path)
        .and_then(|file| file.take(ABOUT.len() as u64).read_to_end(&mut first))
        .map_err(|error| unreadable(path, error))?;
    if first == ABOUT.as_bytes() {
        return Ok(None);
    }
    let text = text(path)?;
    let hashes = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(hash);
    let hashes = hashes.collect::<Option<Vec<_>>>();
    let hashes = hashes.ok_or_else(|| unreadable(path, "neither a bundle nor a hash a line"))?;
    Ok(Some(hashes))
}

fn hash(line: &str) -> Option<Hash> {
    let line = line.trim();
    let digits = line.strip_prefix("\\x").unwrap_or(line);
    let bytes = lower_hex(digits).or_else(|| STANDARD.decode(line).ok())?;
    bytes.try_into().ok()
}

/// Bytes of hexadecimal digits in lower case, as PostgreSQL writes them.
fn lower_hex(digits: &str) -> Option<Vec<u8>> {
    let lower = !digits.bytes().any(|byte| byte.is_ascii_uppercase());
    lower.then(|| hex::decode(digits).ok()).flatten()
}

/// Where the files of a bundle are.
pub(crate) enum Source {
    /// Each for itself below a directory.
    Directory(PathBuf),
    /// One after the other, as `COPY (SELECT * FROM export_ledger()) TO STDOUT` writes them.
    Copied(Box<dyn BufRead>, Option<u64>),
}

impl Source {
    pub(crate) fn open(path: &OsStr) -> Result<Self, Failure> {
        if path == "-" {
            return Ok(Self::Copied(Box::new(BufReader::new(io::stdin())), None));
        }
        if Path::new(path).is_dir() {
            return Ok(Self::Directory(path.into()));
        }
        let file = File::open(path).map_err(|error| unreadable(path, error))?;
        let length = file.metadata().ok().map(|about| about.len());
        Ok(Self::Copied(
            Box::new(BufReader::with_capacity(1 << 20, file)),
            length,
        ))
    }

    /// Hands over each file: path in the bundle, and content.
    pub(crate) fn each_file(
        self,
        progress: &mut Progress<'_>,
        each: impl FnMut(&str, &[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match self {
            Self::Directory(directory) => each_in_directory(&directory, progress, each),
            Self::Copied(reader, length) => {
                progress.begin(length);
                each_copied(reader, progress, each)
            }
        }
    }
}

fn each_copied(
    mut reader: Box<dyn BufRead>,
    progress: &mut Progress<'_>,
    mut each: impl FnMut(&str, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = reader
            .by_ref()
            .take(LONGEST_ROW + 1)
            .read_until(b'\n', &mut line)
            .map_err(|error| Failure::Input(error.to_string()))?;
        if line.len() as u64 > LONGEST_ROW {
            return Err(Failure::Input(format!(
                "row {number} is longer than any of a bundle"
            )));
        }
        progress.advance(read as u64);
        // psql writes the mark of the end where the file was made by its \copy of old.
        if read == 0 || line == b"\\.\n" {
            break;
        }
        let row = copied_row(&line)
            .ok_or_else(|| Failure::Input(format!("row {number} is not one of a bundle")))?;
        each(row.0, &row.1)?;
    }
    Ok(())
}

/// A row of COPY's text format: the path, a tab, and a bytea, whose backslash is doubled.
fn copied_row(line: &[u8]) -> Option<(&str, Vec<u8>)> {
    let line = str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (path, content) = line.split_once('\t')?;
    let content = lower_hex(content.strip_prefix("\\\\x")?)?;
    (!path.contains('\\')).then_some((path, content))
}

fn each_in_directory(
    directory: &Path,
    progress: &mut Progress<'_>,
    mut each: impl FnMut(&str, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut give = |path: &str, progress: &mut Progress<'_>| {
        let mut content = Vec::new();
        File::open(directory.join(path))
            .and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut content))
            .map_err(|error| unreadable(OsStr::new(path), error))?;
        if content.len() as u64 > LONGEST_FILE {
            return Err(unreadable(
                OsStr::new(path),
                "longer than any file of a bundle",
            ));
        }
        progress.advance(content.len() as u64);
        each(path, &content)
    };
    let mut rest = Vec::new();
    let mut length = 0;
    list(directory, Path::new(""), &mut |path, size| {
        length += size;
        if path != ABOUT && !path.starts_with("openings/") {
            rest.push(path.to_owned());
        }
    })?;
    progress.begin(Some(length));
    give(ABOUT, progress)?;
    for number in 0.. {
        let path = format!("openings/{}", number_path(number));
        if !directory.join(&path).exists() {
            break;
        }
        give(&path, progress)?;
    }
    rest.iter().try_for_each(|path| give(path, progress))
}

/// Hands over the files below a directory, with paths as they are in a bundle. Anything but regular
/// files is refused: a link would lead elsewhere, and a pipe make the reader wait.
fn list(root: &Path, below: &Path, each: &mut impl FnMut(&str, u64)) -> Result<(), Failure> {
    let directory = root.join(below);
    let failed = |error| unreadable(directory.as_os_str(), error);
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // That of a link itself, not of what it names.
        let about = entry.metadata().map_err(failed)?;
        let path = below.join(entry.file_name());
        if about.is_dir() {
            list(root, &path, each)?;
        } else if !about.is_file() {
            return Err(unreadable(path.as_os_str(), "not a regular file"));
        } else {
            let path = path.to_string_lossy();
            each(&path, about.len());
        }
    }
    Ok(())
}

/// Writes the files of a bundle into a directory that is not there yet.
pub(crate) fn unpack(
    bundle: &OsStr,
    directory: &OsStr,
    progress: &mut Progress<'_>,
) -> Result<(), Failure> {
    let source = Source::open(bundle)?;
    let root = PathBuf::from(directory);
    fs::create_dir(&root).map_err(|error| unreadable(directory, error))?;
    source.each_file(progress, |path, content| {
        // A bundle comes from somebody else and must not reach outside of its directory.
        let relative = Path::new(path);
        let inside = relative
            .components()
            .all(|component| matches!(component, Component::Normal(_)));
        let file = root.join(relative);
        let folder = file.parent().filter(|_| inside && !path.is_empty());
        let folder =
            folder.ok_or_else(|| Failure::Input(format!("{path:?} is no path of a bundle")))?;
        fs::create_dir_all(folder)
            .and_then(|()| File::create_new(&file))
            .and_then(|mut file| io::Write::write_all(&mut file, content))
            .map_err(|error| unreadable(file.as_os_str(), error))
    })
}
