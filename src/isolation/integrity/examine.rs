//! Rows that refer to rows of another account, found by one pass over each side.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use pgrx::prelude::*;
use tenant_guard_core::archetype::Archetype;
use tenant_guard_core::bucket::Template;

use super::owner::{Key, Owner, Reaching, Shown};
use super::rows::{self, Snapshot};
use super::values::{Accounts, Form, Keys, NO_ACCOUNT, Table, column_number, table};
use crate::isolation::registry;

/// How many keys are shown of what was found.
const SAMPLE: usize = 5;
/// Bytes of memory for a row that is referred to, with what the table leaves empty.
const ENTRY: usize = 64;

/// Rows that something was found about.
#[derive(Clone, Default)]
pub(super) struct Found {
    pub(super) count: u64,
    /// The keys of the first of them.
    pub(super) sample: Vec<String>,
}

impl Found {
    pub(super) fn add(&mut self, key: impl FnOnce() -> String) {
        self.count += 1;
        if self.sample.len() < SAMPLE {
            self.sample.push(key());
        }
    }

    /// Adds what another part of the same relation gave.
    fn extend(&mut self, other: Self) {
        self.count += other.count;
        self.sample.extend(other.sample);
        self.sample.truncate(SAMPLE);
    }
}

/// A way from the rows of one relation to those of another.
#[derive(Clone)]
pub(super) struct Reference {
    pub(super) columns: Vec<String>,
    pub(super) parent: pg_sys::Oid,
    pub(super) parent_root: pg_sys::Oid,
    pub(super) parent_columns: Vec<String>,
    /// Only rows with this value in this column refer in this way.
    pub(super) when: Option<(String, String)>,
}

/// What is to be found about the rows of one relation.
pub(super) struct Subject {
    pub(super) relation: pg_sys::Oid,
    /// What it is registered under.
    pub(super) root: pg_sys::Oid,
    pub(super) references: Vec<Reference>,
    /// Whether rows without an account, and of accounts that are not known, are looked for.
    pub(super) accounts: bool,
    /// Columns of text, each with where in it the account stands.
    pub(super) paths: Vec<(String, Template)>,
}

/// What was found about one reference.
#[derive(Clone, Default)]
pub(super) struct Misdirected {
    /// Rows that refer to a row of another account.
    pub(super) foreign: Found,
    /// Rows that refer to no row.
    pub(super) dangling: Found,
}

/// What was found about the rows of one relation.
#[derive(Clone, Default)]
pub(super) struct Outcome {
    /// One for each reference; none where its columns are of a type that is not compared.
    pub(super) references: Vec<Option<Misdirected>>,
    pub(super) without_account: Found,
    pub(super) unknown_account: Found,
    pub(super) paths: Vec<Found>,
}

impl Outcome {
    pub(super) fn of(subject: &Subject) -> Self {
        Self {
            references: vec![Some(Misdirected::default()); subject.references.len()],
            paths: vec![Found::default(); subject.paths.len()],
            ..Self::default()
        }
    }

    /// Whether a row refers to what it should not.
    pub(super) fn is_misdirected(&self) -> bool {
        let mut found = self.references.iter().flatten();
        found.any(|found| found.foreign.count + found.dangling.count > 0)
    }

    /// Adds what another part of the same relation gave.
    fn extend(&mut self, other: Self) {
        for (all, part) in self.references.iter_mut().zip(other.references) {
            match (all.as_mut(), part) {
                (Some(all), Some(part)) => {
                    all.foreign.extend(part.foreign);
                    all.dangling.extend(part.dangling);
                }
                _ => *all = None,
            }
        }
        self.without_account.extend(other.without_account);
        self.unknown_account.extend(other.unknown_account);
        for (all, part) in self.paths.iter_mut().zip(other.paths) {
            all.extend(part);
        }
    }
}

/// One of several parts of all keys, for a table that is too large to be kept whole.
#[derive(Clone, Copy)]
pub(super) struct Part {
    number: u64,
    of: u64,
}

impl Part {
    const WHOLE: Self = Self { number: 0, of: 1 };

    /// The first of so many.
    pub(super) fn first(of: u64) -> Self {
        Self { number: 0, of }
    }

    /// Another one of as many.
    pub(super) fn at(self, number: u64) -> Self {
        Self { number, ..self }
    }

    /// Whether a row's key is of this part, which it is in every run: one that goes on has others
    /// behind it already.
    ///
    /// # Safety
    /// As of [`Key::fingerprint`].
    pub(super) unsafe fn has(self, key: &Key, row: &rows::Row) -> bool {
        // SAFETY: the caller vouches.
        self.of == 1
            || unsafe { key.fingerprint(row, &Keys::fixed()) }
                .is_some_and(|fixed| spread(fixed) % self.of == self.number)
    }
}

/// Keys that are multiples of something, as those that have a time in them are, over all parts alike.
fn spread(fingerprint: u128) -> u64 {
    let folded = (fingerprint ^ fingerprint >> 64) as u64;
    let product = u128::from(folded).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (product >> 64) as u64
}

/// The rows that are referred to, by their key, each with its account; none where the key is of a type
/// that is not compared.
pub(super) type Referred = Option<(Vec<Form>, Table)>;

/// Reads rows under one snapshot.
pub(super) struct Examiner {
    keys: Keys,
    pub(super) accounts: Accounts,
    /// None between two transactions.
    snapshot: Option<Snapshot>,
    /// What links lead to, by relation and key.
    parents: HashMap<(pg_sys::Oid, String), Rc<Referred>>,
    /// Accounts that exist, where that is declared.
    known: Option<HashSet<u32>>,
}

/// How rows of a relation find their account, with what that takes to work out.
pub(super) enum Source {
    Column(String),
    Links(Vec<Way>),
    Nothing,
}

pub(super) struct Way {
    pub(super) via: String,
    pub(super) when: Option<(String, String)>,
    pub(super) parent: Rc<Referred>,
}

impl Examiner {
    pub(super) fn new() -> Self {
        Self {
            keys: Keys::new(),
            accounts: Accounts::default(),
            snapshot: Some(Snapshot::now()),
            parents: HashMap::new(),
            known: None,
        }
    }

    /// Lets go of the snapshot, which a transaction must not leave behind.
    pub(super) fn let_go(&mut self) {
        self.snapshot = None;
    }

    /// Takes a new snapshot.
    pub(super) fn renew(&mut self) {
        self.snapshot = None;
        self.snapshot = Some(Snapshot::now());
    }

    /// Forgets what links lead to.
    pub(super) fn forget_parents(&mut self) {
        self.parents.clear();
    }

    /// Says which accounts there are.
    pub(super) fn know(&mut self, accounts: Vec<String>) {
        let numbers = accounts.into_iter();
        self.known = Some(numbers.map(|text| self.accounts.number(text)).collect());
    }

    /// Examines all of a relation, in as many passes as memory asks for.
    pub(super) fn examine(&mut self, subject: &Subject) -> Outcome {
        let mut parts = 1;
        loop {
            if let Some(outcome) = self.examine_in(parts, subject) {
                return outcome;
            }
            parts *= 2;
        }
    }

    fn examine_in(&mut self, parts: u64, subject: &Subject) -> Option<Outcome> {
        let mut outcome = Outcome::of(subject);
        for number in 0..parts {
            let part = Part::first(parts).at(number);
            let referred = self.referred(subject, part)?;
            for of in rows::tables_of(subject.relation) {
                let found = self.examine_table(subject, &referred, part, of, None);
                outcome.extend(found);
            }
        }
        Some(outcome)
    }

    /// What the references of a subject lead to; none where a part is too large for the memory that
    /// maintenance may take.
    pub(super) fn referred(&mut self, subject: &Subject, part: Part) -> Option<Vec<Referred>> {
        // SAFETY: a setting, read by its own thread.
        let memory = unsafe { pg_sys::maintenance_work_mem } as usize * 1024;
        self.referred_within(memory / ENTRY, subject, part)
    }

    /// The same however large it is.
    pub(super) fn all_referred(&mut self, subject: &Subject, part: Part) -> Vec<Referred> {
        let all = self.referred_within(usize::MAX, subject, part);
        all.unwrap_or_default()
    }

    fn referred_within(
        &mut self,
        mut left: usize,
        subject: &Subject,
        part: Part,
    ) -> Option<Vec<Referred>> {
        let mut all = Vec::new();
        for reference in &subject.references {
            let (parent, root) = (reference.parent, reference.parent_root);
            let loaded = self.load(parent, root, &reference.parent_columns, part, left)?;
            left = left.saturating_sub(loaded.as_ref().map_or(0, |(_, table)| table.len()));
            all.push(loaded);
        }
        Some(all)
    }

    /// The rows of a relation by these columns.
    fn load(
        &mut self,
        relation: pg_sys::Oid,
        root: pg_sys::Oid,
        columns: &[String],
        part: Part,
        most: usize,
    ) -> Option<Referred> {
        let source = self.source(root);
        let mut all = table();
        let mut forms: Option<Vec<Form>> = None;
        for of in rows::tables_of(relation) {
            let Some(key) = Key::of(of, columns) else {
                return Some(None);
            };
            let mut owner = Owner::of(&source, of);
            let widest = key.widest().max(owner.widest());
            forms.get_or_insert_with(|| key.forms());
            let mut fits = true;
            let (keys, accounts) = (&self.keys, &mut self.accounts);
            rows::for_each(of, None, widest, self.snapshot.as_ref(), |row| {
                // SAFETY: the row is of this table.
                unsafe {
                    if let Some(fingerprint) = key.fingerprint(row, keys)
                        && fits
                        && part.has(&key, row)
                    {
                        let account = owner.account(row, keys, accounts).unwrap_or(NO_ACCOUNT);
                        all.insert(fingerprint, account);
                        fits = part.of >= MOST_PARTS || all.len() <= most;
                    }
                }
            });
            if !fits {
                return None;
            }
        }
        Some(forms.map(|forms| (forms, all)))
    }

    /// How rows registered under `root` find their account.
    fn source(&mut self, root: pg_sys::Oid) -> Source {
        let Some(request) = registry::registered(root) else {
            return Source::Nothing;
        };
        match request.archetype {
            Archetype::Child => {
                let links = request.links.into_iter();
                Source::Links(links.map(|link| self.way(link)).collect())
            }
            _ => request.column.map_or(Source::Nothing, Source::Column),
        }
    }

    fn way(&mut self, link: super::super::request::Link) -> Way {
        let place = (link.parent, link.parent_key.clone());
        let parent = match self.parents.get(&place) {
            Some(known) => Rc::clone(known),
            None => {
                let columns = [link.parent_key];
                let whole = Part::WHOLE;
                let loaded = self.load(link.parent, link.parent, &columns, whole, usize::MAX);
                let loaded = Rc::new(loaded.flatten());
                self.parents.insert(place, Rc::clone(&loaded));
                loaded
            }
        };
        Way {
            via: link.via,
            when: link.when,
            parent,
        }
    }

    /// Examines the rows of one table, or of some of its blocks.
    pub(super) fn examine_table(
        &mut self,
        subject: &Subject,
        referred: &[Referred],
        part: Part,
        of: pg_sys::Oid,
        blocks: Option<(u32, u32)>,
    ) -> Outcome {
        let source = self.source(subject.root);
        let mut outcome = Outcome::of(subject);
        let mut ways: Vec<Option<Reaching<'_>>> = subject
            .references
            .iter()
            .zip(referred)
            .map(|(reference, referred)| Reaching::new(reference, referred.as_ref(), of))
            .collect();
        for (found, way) in outcome.references.iter_mut().zip(&ways) {
            if way.is_none() {
                *found = None;
            }
        }
        let mut owner = Owner::of(&source, of);
        // What does not depend on the part is looked for once.
        let accounts_too = subject.accounts && part.number == 0;
        let paths: Vec<_> = { subject.paths.iter() }
            .filter(|_| part.number == 0)
            .map(|(column, template)| {
                let number = column_number(of, column);
                let number = number.filter(|number| Form::of(of, *number) == Some(Form::Text));
                (number, template)
            })
            .collect();
        let shown = Shown::of(of);
        let widest = { ways.iter().flatten().map(Reaching::widest) }
            .chain(paths.iter().filter_map(|(number, _)| *number))
            .chain([owner.widest(), shown.widest()])
            .max()
            .unwrap_or(0);
        let (keys, accounts) = (&self.keys, &mut self.accounts);
        let known = self.known.as_ref();
        rows::for_each(of, blocks, widest, self.snapshot.as_ref(), |row| {
            // SAFETY: the row is of this table.
            unsafe {
                let account = owner.account(row, keys, accounts);
                if accounts_too && owner.has_column() {
                    match account {
                        Some(NO_ACCOUNT) => outcome.without_account.add(|| shown.text(row)),
                        Some(account) if known.is_some_and(|known| !known.contains(&account)) => {
                            outcome.unknown_account.add(|| shown.text(row));
                        }
                        _ => {}
                    }
                }
                for (way, found) in ways.iter_mut().zip(&mut outcome.references) {
                    if let (Some(way), Some(found)) = (way, found) {
                        way.follow(row, account, part, keys, found, &shown);
                    }
                }
                for ((number, template), found) in paths.iter().zip(&mut outcome.paths) {
                    if let Some(value) = number.and_then(|number| row.get(number))
                        && let Some(account) = account.filter(|account| *account != NO_ACCOUNT)
                        && !template.fits(&Form::Text.text(value), accounts.text(account))
                    {
                        found.add(|| shown.text(row));
                    }
                }
            }
        });
        outcome
    }

    /// The accounts that rows of a relation belong to.
    pub(super) fn accounts_of(&mut self, relation: pg_sys::Oid) -> HashSet<u32> {
        let source = self.source(relation);
        let mut all = HashSet::new();
        for of in rows::tables_of(relation) {
            let mut owner = Owner::of(&source, of);
            let (keys, accounts) = (&self.keys, &mut self.accounts);
            rows::for_each(of, None, owner.widest(), self.snapshot.as_ref(), |row| {
                // SAFETY: the row is of this table.
                all.extend(unsafe { owner.account(row, keys, accounts) });
            });
        }
        all.remove(&NO_ACCOUNT);
        all
    }
}

/// With so many parts a table is kept however large it is: more passes help nobody.
const MOST_PARTS: u64 = 1024;
