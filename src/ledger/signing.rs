//! Signed checkpoints: the key in a file, and signatures made elsewhere.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::note::{KeyKind, Note, Signature, SigningKey, Verdict, completed};

use super::proof::Blocks;
use super::publication::{self, Limit};
use super::rows::{for_each_row, with_latest_snapshot};
use crate::audit::tables::LedgerWriting;
use crate::catalog::{as_owner, write};
use crate::error::{Error, OrRaise};
use crate::settings;

/// A key in its text form is far shorter.
const LONGEST_KEY: u64 = 4096;

/// Signatures kept for one checkpoint, one of each key; the ledger's own has a place besides.
const MOST_SIGNATURES: usize = 64;

/// Longest signature in bytes, several times that of Ed25519 with its key id and time.
const LONGEST_SIGNATURE: usize = 256;

/// Longest name of a key in bytes.
const LONGEST_NAME: usize = 256;

/// The key that signs checkpoints; none where no file is set.
fn key() -> Result<Option<SigningKey>, Error> {
    let path = settings::checkpoint_key_file();
    path.map(|path| read_key(&path)).transpose()
}

/// Nothing of the file's content is ever part of an error.
fn read_key(path: &str) -> Result<SigningKey, Error> {
    // Asked before it is opened, too: that alone would wait for whoever writes into a pipe.
    let about = std::fs::metadata(path).map_err(|_| Error::KeyFile("cannot be opened"))?;
    if !about.is_file() {
        return Err(Error::KeyFile("is not a regular file"));
    }
    let file = File::open(path).map_err(|_| Error::KeyFile("cannot be opened"))?;
    let about = file
        .metadata()
        .map_err(|_| Error::KeyFile("cannot be read"))?;
    if !about.is_file() {
        return Err(Error::KeyFile("is not a regular file"));
    }
    // As PostgreSQL asks of the key of its certificate: the server's own file and nobody else's,
    // or root's, which the server's group may read.
    let server = server_user().ok_or(Error::KeyFile("cannot be read"))?;
    let forbidden = match about.uid() {
        0 if server != 0 => 0o037,
        owner if owner == server => 0o077,
        _ => return Err(Error::KeyFile("belongs to another user than the server's")),
    };
    if about.mode() & forbidden != 0 {
        return Err(Error::KeyFile("can be read or written by others"));
    }
    let mut text = String::new();
    file.take(LONGEST_KEY)
        .read_to_string(&mut text)
        .map_err(|_| Error::KeyFile("cannot be read"))?;
    let key: Option<SigningKey> = text.trim_end().parse().ok();
    key.filter(|key| key.verifier().kind() == KeyKind::Ed25519)
        .ok_or(Error::KeyFile("does not hold an Ed25519 note key"))
}

/// The user who runs the server: it does not start on a data directory of anybody else.
fn server_user() -> Option<u32> {
    // SAFETY: set once at start-up, a terminated string.
    let directory = unsafe { CStr::from_ptr(pg_sys::DataDir) };
    let about = std::fs::metadata(directory.to_str().ok()?).ok()?;
    Some(about.uid())
}

/// The note of a checkpoint: its body, the signature of the key in the file, and what was stored.
/// Without any signature it is the body alone.
pub(super) fn note_of(checkpoint: &Checkpoint) -> String {
    let body = checkpoint.to_string();
    let own = key().or_raise().map(|key| key.sign(&body, 0));
    let mut lines: Vec<String> = own.into_iter().collect();
    for line in stored_lines(checkpoint) {
        if !lines.iter().any(|other| same_key(other, &line)) {
            lines.push(line);
        }
    }
    join(body, &lines)
}

/// Whether two lines of signature are of one key: name and key id, which tell keys apart.
fn same_key(one: &str, other: &str) -> bool {
    let key_of = |line| Signature::parse(line).map(|parsed| (parsed.name, parsed.key_id));
    key_of(one).is_some_and(|key| key_of(other) == Some(key))
}

fn join(body: String, lines: &[String]) -> String {
    match lines {
        [] => body,
        lines => body + "\n" + &lines.concat(),
    }
}

/// The signatures that are stored for a checkpoint.
fn stored_lines(checkpoint: &Checkpoint) -> Vec<String> {
    let mut lines = Vec::new();
    let body = checkpoint.to_string();
    for_each_row(
        c"SELECT note FROM tenant_guard.ledger_checkpoint \
          WHERE epoch OPERATOR(pg_catalog.=) $1 AND size OPERATOR(pg_catalog.=) $2",
        &[
            (pg_sys::INT8OID, pg_sys::Datum::from(checkpoint.epoch)),
            (pg_sys::INT8OID, pg_sys::Datum::from(checkpoint.size as i64)),
        ],
        |row| {
            if let Ok(note) = Note::parse(row.text(0)) {
                let same = note.text == body;
                let signatures = note.signatures.iter().filter(|_| same);
                lines.extend(signatures.map(|signature| signature.line.to_owned()));
            }
        },
    );
    lines
}

/// Size of the newest stored checkpoint of an epoch that holds a leaf.
pub(super) fn stored_size(epoch: i64, leaf: u64) -> Option<u64> {
    let mut found = None;
    for_each_row(
        c"SELECT pg_catalog.max(size) FROM tenant_guard.ledger_checkpoint \
          WHERE epoch OPERATOR(pg_catalog.=) $1 AND size OPERATOR(pg_catalog.>) $2",
        &[
            (pg_sys::INT8OID, pg_sys::Datum::from(epoch)),
            (pg_sys::INT8OID, pg_sys::Datum::from(leaf as i64)),
        ],
        |row| found = row.optional_bigint(0),
    );
    found.and_then(|size| size.try_into().ok())
}

/// The newest checkpoint as a signed note, with what witnesses said of it.
#[pg_extern(sql = false)]
fn signed_checkpoint() -> String {
    let limit = publication::limit();
    let note = as_owner(|| {
        with_latest_snapshot(|| {
            let newest = publication::newest_block(limit);
            // What is signed is the tree, not what a column says of it.
            if newest.tree.root() != newest.root {
                Error::BrokenLedger("the newest block").raise();
            }
            note_of(&newest.checkpoint())
        })
    });
    if Note::parse(&note).is_err() {
        Error::NotSigned.raise();
    }
    note
}

/// The public key of the key in the file.
#[pg_extern(sql = false)]
fn checkpoint_verifier_key() -> Option<String> {
    key().or_raise().map(|key| key.verifier().to_string())
}

/// Keeps signatures and cosignatures of one of this ledger's checkpoints. Who signed is not asked:
/// whoever relies on a signature knows the key, and the database does not.
#[pg_extern(sql = false)]
fn add_cosignature(note: &str) {
    let note: &str = &completed(note);
    let parsed = Note::parse(note)
        .map_err(|_| Error::UnfitArgument("note", "it is not a signed note"))
        .or_raise();
    let checkpoint: Checkpoint = note
        .parse()
        .map_err(|_| Error::UnfitArgument("note", "its text is not a checkpoint of a ledger"))
        .or_raise();
    let limit = publication::limit();
    let known = as_owner(|| with_latest_snapshot(|| is_ours(&checkpoint, limit)));
    if !known {
        Error::UnfitArgument("note", "its text is not a checkpoint of this ledger").raise();
    }
    let fits = |signature: &Signature<'_>| {
        signature.bytes.len() <= LONGEST_SIGNATURE && signature.name.len() <= LONGEST_NAME
    };
    if !parsed.signatures.iter().all(fits) {
        Error::UnfitArgument("note", "a signature of it is too long").raise();
    }
    refuse_forged("note", note);
    let own = key().or_raise();
    let own = own.map(|key| key.sign(parsed.text, 0));
    keep(&checkpoint, &parsed, own.as_deref());
}

/// Whether the tree of an epoch was this one at the end of a block.
fn is_ours(checkpoint: &Checkpoint, limit: Limit) -> bool {
    find(checkpoint, limit).is_some()
}

/// The block at whose end the tree of an epoch was this one.
pub(super) fn block_of(checkpoint: &Checkpoint) -> Option<i64> {
    find(checkpoint, Limit::Newest)
}

fn find(checkpoint: &Checkpoint, limit: Limit) -> Option<i64> {
    let mut blocks = Blocks::open(limit);
    let number = blocks.of_size(checkpoint.epoch, checkpoint.size)?;
    let block = blocks.get(number);
    let same = (block.incarnation, block.root) == (checkpoint.incarnation, checkpoint.root);
    same.then_some(number)
}

/// Refuses a note that names the ledger's key, which did not sign it.
pub(super) fn refuse_forged(name: &'static str, note: &str) {
    let note = completed(note);
    let Ok(parsed) = Note::parse(&note) else {
        return;
    };
    let own = key().or_raise();
    if own.is_some_and(|key| key.verifier().verify(&parsed) == Verdict::Forged) {
        Error::UnfitArgument(name, "it names the ledger's key, which did not sign it").raise();
    }
}

/// Keeps one line of each key, the newest: a witness that signs again takes its own place. `own` is a
/// line of the ledger's key.
fn keep(checkpoint: &Checkpoint, note: &Note<'_>, own: Option<&str>) {
    let _writing = LedgerWriting::begin();
    // The row is there and locked from here on, so that of two signatures none is lost.
    write(
        "INSERT INTO tenant_guard.ledger_checkpoint AS c (epoch, size, root, taken_at, note) \
         VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (epoch, size) DO UPDATE SET note = c.note",
        &[
            checkpoint.epoch.into(),
            (checkpoint.size as i64).into(),
            checkpoint.root.to_vec().into(),
            crate::clock::timestamp(crate::clock::now_us()).into(),
            note.text.into(),
        ],
    );
    let mut lines = as_owner(|| with_latest_snapshot(|| stored_lines(checkpoint)));
    for signature in &note.signatures {
        match lines.iter_mut().find(|line| same_key(line, signature.line)) {
            Some(line) => signature.line.clone_into(line),
            None => lines.push(signature.line.to_owned()),
        }
    }
    let is_own = |line: &&String| own.is_some_and(|own| same_key(own, line));
    let others = lines.iter().filter(|line| !is_own(line)).count();
    if others > MOST_SIGNATURES {
        Error::UnfitArgument("note", "there are too many signatures of its text").raise();
    }
    write(
        "UPDATE tenant_guard.ledger_checkpoint SET note = $3 \
         WHERE epoch OPERATOR(pg_catalog.=) $1 AND size OPERATOR(pg_catalog.=) $2",
        &[
            checkpoint.epoch.into(),
            (checkpoint.size as i64).into(),
            join(checkpoint.to_string(), &lines).into(),
        ],
    );
}
