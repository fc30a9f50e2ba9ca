//! Verifying a bundle. The rows go to the same verification as those of a database; what else is
//! in the bundle must follow from the rows.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::rows::{AccountRow, BlockRow, ContextRow, EventRow, LeafRow, PrunedRow};
use super::trees::{Derived, Trees};
use super::{ABOUT, About, BUNDLE, VERSION, line};
use crate::checkpoint::Checkpoint;
use crate::ledger::retention::Statement;
use crate::ledger::{Claim, Finding, Rows, Scope, Server, Snapshot, Verifier};
use crate::merkle::Hash;
use crate::note::Note;
use crate::tile::number_path;

/// What was read is no bundle, or not one as it was exported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}: {problem}", .line.map_or(String::new(), |line| format!(", line {line}")))]
pub struct BundleError {
    /// File in which it shows.
    pub path: String,
    /// Line in it, counted from 1, of a file of openings.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: String,
}

/// What a bundle held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Account whose events are in it; all where there is none.
    pub account: Option<String>,
    /// Blocks.
    pub blocks: u64,
    /// Events of blocks.
    pub events: u64,
    /// Events of no block.
    pub unsealed: u64,
    /// Checkpoints of the epochs in order, signed as they came.
    pub checkpoints: Vec<String>,
    /// The rules of retention it was judged by, and what they let go.
    pub rules: Statement,
}

/// Where in the order of rows the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Accounts,
    Pruned,
    InBlock,
    /// The block's events are over.
    InLeaves,
    Between,
    Unsealed,
}

/// The verification of one bundle. Memory grows with the number of accounts, and by some bytes
/// with every 256 leaves; not with the number of events.
pub struct BundleVerifier {
    against: Option<Checkpoint>,
    floor: i64,
    now: i64,
    about: Option<About>,
    verifier: Verifier,
    stage: Stage,
    /// The account whose row came last.
    account: Option<String>,
    openings: u64,
    /// A line that goes on in the next file of openings.
    begun: Vec<u8>,
    order: Order,
    /// Block and position of the leaf whose row came last.
    leaf: Option<(i64, i64)>,
    trees: Trees,
    /// Files that rows or the bundle gave and the other did not yet.
    files: HashMap<String, (Hash, Side)>,
    summary: Summary,
    notes: Vec<(String, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Bundle,
    Rows,
}

impl BundleVerifier {
    /// Begins. With `against`, a checkpoint taken earlier, the ledger must have grown from it.
    pub fn new(against: Option<Checkpoint>) -> Self {
        Self {
            against,
            floor: 0,
            now: i64::MAX,
            about: None,
            verifier: Verifier::new(Scope::All, against),
            stage: Stage::Accounts,
            account: None,
            openings: 0,
            begun: Vec::new(),
            order: Order::default(),
            leaf: None,
            trees: Trees::default(),
            files: HashMap::new(),
            summary: Summary::default(),
            notes: Vec::new(),
        }
    }

    /// Takes a file: `bundle.json` first, the openings in their order, the others at any time.
    pub fn file(&mut self, path: &str, content: &[u8]) -> Result<(), BundleError> {
        let wrong = |problem: &str| BundleError {
            path: path.to_owned(),
            line: None,
            problem: problem.to_owned(),
        };
        if self.about.is_none() {
            return self.begin(path, content).map_err(|problem| wrong(&problem));
        }
        if path.starts_with("openings/") {
            if path != format!("openings/{}", number_path(self.openings)) {
                return Err(wrong("openings are not in their order"));
            }
            self.openings += 1;
            return self.read_openings(path, content);
        }
        let parts: Vec<&str> = path.splitn(3, '/').collect();
        match parts.as_slice() {
            ["epoch", _, "checkpoint"] => {
                let note = str::from_utf8(content).map_err(|_| wrong("not UTF-8"))?;
                let body = Note::parse(note).map_or(note, |note| note.text);
                let known = self.notes.iter().any(|(other, _)| other == path);
                self.notes.push((path.to_owned(), note.to_owned()));
                let hash = Sha256::digest(body).into();
                let settled = !known && settle(&mut self.files, path, hash, Side::Bundle);
                settled.then_some(()).ok_or_else(|| wrong(NOT_OF_ROWS))
            }
            ["epoch", _, tile] if tile.starts_with("tile/") => {
                let hash = Sha256::digest(content).into();
                let settled = settle(&mut self.files, path, hash, Side::Bundle);
                settled.then_some(()).ok_or_else(|| wrong(NOT_OF_ROWS))
            }
            _ => Err(wrong("not a file of a bundle")),
        }
    }

    /// Has blocks that were sealed later than this time let nothing go, Unix microseconds.
    pub fn read_at(mut self, now: i64) -> Self {
        self.now = now;
        self
    }

    /// Has rules of retention that keep for a shorter time reported, in microseconds.
    pub fn keep_at_least(mut self, floor: i64) -> Self {
        self.floor = floor;
        self
    }

    /// Takes the findings so far.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        self.verifier.take_findings()
    }

    /// Ends, and returns the last findings and what the bundle held.
    pub fn finish(mut self) -> Result<(Vec<Finding>, Summary), BundleError> {
        let wrong = |path: &str, problem: &str| BundleError {
            path: path.to_owned(),
            line: None,
            problem: problem.to_owned(),
        };
        if self.about.is_none() {
            return Err(wrong(ABOUT, "is missing"));
        }
        if self.stage != Stage::Unsealed || !self.begun.is_empty() {
            let path = format!("openings/{}", number_path(self.openings));
            return Err(wrong(&path, "is missing"));
        }
        let files = &mut self.files;
        let mut problem = None;
        self.trees
            .end_epoch(|path, derived| expect(files, &mut problem, path, derived));
        if let Some(path) = problem {
            return Err(wrong(&path, NOT_OF_ROWS));
        }
        if let Some((path, (_, side))) = self.files.iter().min_by_key(|(path, _)| *path) {
            return Err(wrong(
                path,
                match side {
                    Side::Bundle => NOT_OF_ROWS,
                    Side::Rows => "is missing",
                },
            ));
        }
        self.notes.sort_by_key(|(path, _)| epoch_of(path));
        self.summary.checkpoints = self.notes.into_iter().map(|(_, note)| note).collect();
        self.verifier.finish();
        self.summary.rules = self.verifier.rules();
        Ok((self.verifier.take_findings(), self.summary))
    }

    fn begin(&mut self, path: &str, content: &[u8]) -> Result<(), String> {
        if path != ABOUT {
            return Err(format!("{ABOUT} must come first"));
        }
        let about: About = serde_json::from_slice(content).map_err(|e| e.to_string())?;
        if about.bundle != BUNDLE || about.version != VERSION {
            return Err("a bundle of another kind or version".to_owned());
        }
        let scope = about.account.clone().map_or(Scope::All, Scope::Bundle);
        self.verifier = Verifier::new(scope, self.against)
            .keep_at_least(self.floor)
            .read_at(self.now);
        self.summary.account = about.account.clone();
        self.about = Some(about);
        Ok(())
    }

    fn read_openings(&mut self, path: &str, content: &[u8]) -> Result<(), BundleError> {
        for (number, text) in (1..).zip(content.split_inclusive(|byte| *byte == b'\n')) {
            self.read_part(text).map_err(|problem| BundleError {
                path: path.to_owned(),
                line: Some(number),
                problem,
            })?;
        }
        Ok(())
    }

    /// Takes a line, or the part of one that is in a file.
    fn read_part(&mut self, text: &[u8]) -> Result<(), String> {
        if self.begun.is_empty() && text.ends_with(b"\n") {
            return self.read_line(text);
        }
        if self.begun.len() + text.len() > LONGEST_LINE {
            return Err("a line longer than any row".to_owned());
        }
        self.begun.extend_from_slice(text);
        if !text.ends_with(b"\n") {
            return Ok(());
        }
        let line = std::mem::take(&mut self.begun);
        self.read_line(&line)
    }

    fn read_line(&mut self, text: &[u8]) -> Result<(), String> {
        let text = str::from_utf8(text).map_err(|_| "not UTF-8")?;
        let text = text.strip_suffix('\n').ok_or("a line without end")?;
        let (table, row) = match text {
            line::END_OF_BLOCK | line::UNSEALED => (text, ""),
            _ => {
                let row = text.split_once(' ').filter(|(_, row)| !row.is_empty());
                row.ok_or("a row without columns")?
            }
        };
        match (table, self.stage) {
            (line::ACCOUNT, Stage::Accounts) => self.account(&parse(row)?),
            (line::PRUNED, Stage::Accounts | Stage::Pruned) => self.pruned(&parse(row)?),
            (line::BLOCK, Stage::Accounts | Stage::Pruned | Stage::Between) => {
                self.block(&parse(row)?)
            }
            (line::CONTEXT, Stage::InBlock | Stage::Unsealed) => self.context(&parse(row)?),
            (line::EVENT, Stage::InBlock | Stage::Unsealed) => self.event(&parse(row)?),
            (line::LEAF, Stage::InBlock | Stage::InLeaves) => {
                self.stage = Stage::InLeaves;
                self.leaf(&parse(row)?)
            }
            (line::LEAF, Stage::Between) => self.leaf(&parse(row)?),
            // A ledger without a block may still have leaves, which then are of none.
            (line::LEAF, Stage::Accounts | Stage::Pruned) => self.leaf(&parse(row)?),
            (line::END_OF_BLOCK, Stage::InBlock | Stage::InLeaves) if row.is_empty() => {
                self.verifier.end_block();
                self.trees.end_block();
                self.stage = Stage::Between;
                Ok(())
            }
            (line::UNSEALED, Stage::Accounts | Stage::Pruned | Stage::Between)
                if row.is_empty() =>
            {
                let about = self.about.as_ref().ok_or("no bundle")?;
                self.verifier.begin_unsealed(Server {
                    incarnation: about.incarnation,
                    next_xid: about.next_xid,
                });
                self.stage = Stage::Unsealed;
                self.order = Order::default();
                Ok(())
            }
            _ => Err("a row that has no place here".to_owned()),
        }
    }

    fn account(&mut self, row: &AccountRow<'_>) -> Result<(), String> {
        self.refuse_others(&row.account_id.0)?;
        let account = &*row.account_id.0;
        // A second row of an account is a finding.
        if self.account.as_deref().is_some_and(|last| last > account) {
            return Err("rows are not in their order".to_owned());
        }
        self.account = Some(account.to_owned());
        self.verifier.account(&row.stored());
        Ok(())
    }

    fn pruned(&mut self, row: &PrunedRow<'_>) -> Result<(), String> {
        self.refuse_others(&row.account_id.0)?;
        if self.stage == Stage::Accounts {
            self.account = None;
            self.stage = Stage::Pruned;
        }
        let account = &*row.account_id.0;
        if self.account.as_deref().is_some_and(|last| last > account) {
            return Err("rows are not in their order".to_owned());
        }
        self.account = Some(account.to_owned());
        self.verifier.pruned(&row.stored());
        Ok(())
    }

    fn block(&mut self, row: &BlockRow<'_>) -> Result<(), String> {
        let stored = row.stored();
        let claims = self.verifier.begin_block(&stored);
        self.order = Order {
            claims,
            ..Order::default()
        };
        self.stage = Stage::InBlock;
        self.summary.blocks += 1;
        let files = &mut self.files;
        let mut problem = None;
        self.trees.begin_block(&stored, |path, derived| {
            expect(files, &mut problem, path, derived)
        });
        problem.map_or(Ok(()), |path| Err(format!("{path}: {NOT_OF_ROWS}")))
    }

    fn context(&mut self, row: &ContextRow<'_>) -> Result<(), String> {
        self.place(row.incarnation, row.xid, None)?;
        row.stored(|context| self.verifier.context(context, &row.hash.0));
        Ok(())
    }

    fn event(&mut self, row: &EventRow<'_>) -> Result<(), String> {
        self.refuse_others(&row.account_id.0)?;
        self.place(row.incarnation, row.xid, Some(row.ordinal))?;
        match self.stage {
            Stage::Unsealed => self.summary.unsealed += 1,
            _ => self.summary.events += 1,
        }
        row.stored(|event| self.verifier.event(event));
        Ok(())
    }

    fn leaf(&mut self, row: &LeafRow<'_>) -> Result<(), String> {
        if let Some(account) = &row.account_id {
            self.refuse_others(&account.0)?;
        }
        // What damage left without a number has the lowest there is, and stands anywhere.
        if row.block != i64::MIN && row.position != i64::MIN {
            let place = Some((row.block, row.position));
            if self.leaf > place {
                return Err("rows are not in their order".to_owned());
            }
            self.leaf = place;
        }
        let stored = row.stored();
        self.verifier.leaf(&stored);
        let files = &mut self.files;
        let mut problem = None;
        let taken = self.trees.leaf(&stored, |path, derived| {
            expect(files, &mut problem, path, derived)
        });
        taken.map_err(|error| error.to_string())?;
        problem.map_or(Ok(()), |path| Err(format!("{path}: {NOT_OF_ROWS}")))
    }

    fn refuse_others(&self, account: &str) -> Result<(), String> {
        let only = self.summary.account.as_deref();
        match only.is_none_or(|only| only == account) {
            true => Ok(()),
            false => Err("a row of another account".to_owned()),
        }
    }

    /// Refuses a row that is not of this block, or not in the order of the ledger: verification
    /// relies on a database to hand over rows so.
    fn place(&mut self, incarnation: i64, xid: i64, ordinal: Option<i32>) -> Result<(), String> {
        if self.stage == Stage::Unsealed && self.order.incarnation() != Some(incarnation) {
            let before = self.verifier.claims().of(incarnation);
            let xids = Snapshot::below(i64::MAX).ranges_since(&before);
            if self
                .order
                .incarnation()
                .is_some_and(|last| last > incarnation)
            {
                return Err("rows are not in their order".to_owned());
            }
            self.order = Order {
                claims: vec![Claim { incarnation, xids }],
                ..Order::default()
            };
        }
        self.order.place(incarnation, xid, ordinal)
    }
}

/// PostgreSQL has no row of more than a gigabyte; escapes make at most two of it.
const LONGEST_LINE: usize = (2 << 30) + (64 << 20);

const NOT_OF_ROWS: &str = "does not follow from the rows";

/// Number of the epoch in a path of its.
fn epoch_of(path: &str) -> u64 {
    let number = path.split('/').nth(1).map(str::parse);
    number.and_then(Result::ok).unwrap_or_default()
}

fn parse<'a, T: Deserialize<'a>>(row: &'a str) -> Result<T, String> {
    // A list of values in order would pass for an object.
    if !row.trim_ascii_start().starts_with('{') {
        return Err("not an object".to_owned());
    }
    serde_json::from_str(row).map_err(|error| error.to_string())
}

/// Notes that the rows give a file.
fn expect(
    files: &mut HashMap<String, (Hash, Side)>,
    problem: &mut Option<String>,
    path: &str,
    derived: Derived<'_>,
) {
    let hash = match derived {
        Derived::Tile(content) => Sha256::digest(content).into(),
        Derived::Checkpoint(checkpoint) => Sha256::digest(checkpoint.to_string()).into(),
    };
    if !settle(files, path, hash, Side::Rows) {
        problem.get_or_insert_with(|| path.to_owned());
    }
}

/// Notes a file that one side gave; false where the other gave another, or this one gave two.
fn settle(files: &mut HashMap<String, (Hash, Side)>, path: &str, hash: Hash, side: Side) -> bool {
    match files.entry(path.to_owned()) {
        Slot::Vacant(slot) => {
            slot.insert((hash, side));
            true
        }
        Slot::Occupied(slot) => {
            let (other, from) = slot.remove();
            other == hash && from != side
        }
    }
}

/// The order of the rows of a block.
#[derive(Default)]
struct Order {
    claims: Vec<Claim>,
    /// Claim in hand.
    at: usize,
    xid: Option<i64>,
    ordinal: Option<i32>,
}

impl Order {
    fn incarnation(&self) -> Option<i64> {
        self.claims.get(self.at).map(|claim| claim.incarnation)
    }

    fn place(&mut self, incarnation: i64, xid: i64, ordinal: Option<i32>) -> Result<(), String> {
        while self.incarnation().is_some_and(|at| at != incarnation) {
            self.at += 1;
            (self.xid, self.ordinal) = (None, None);
        }
        let claim = self.claims.get(self.at).ok_or("a row of another block")?;
        // A forged event may have the very last number, which bounds nothing.
        let last = xid == i64::MAX && claim.xids.until == i64::MAX;
        if !last && !claim.xids.contains(xid) {
            return Err("a row of another block".to_owned());
        }
        if self.xid != Some(xid) {
            if self.xid.is_some_and(|before| before > xid) {
                return Err("rows are not in their order".to_owned());
            }
            (self.xid, self.ordinal) = (Some(xid), None);
        }
        // Contexts have no ordinal: where one stands among the events of its transaction is free.
        let in_order = ordinal.is_none() || self.ordinal <= ordinal;
        self.ordinal = ordinal.or(self.ordinal);
        match in_order {
            true => Ok(()),
            false => Err("rows are not in their order".to_owned()),
        }
    }
}
