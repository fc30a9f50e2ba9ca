//! The part of verification that looks at single events.

use std::collections::HashMap;

use super::found::Findings;
use super::leaves::LeafRow;
use crate::event::{Context, Entry, personal_commitment};
use crate::ledger::finding::{Code, Finding};
use crate::ledger::records::AccountLeaf;
use crate::ledger::seal::AccountRound;
use crate::ledger::stored::{Opening, StoredAccount, StoredEvent, hash_or_none_such};
use crate::merkle::{Frontier, Hash};

/// An account while the blocks pass by.
pub(super) struct Account {
    pub(super) name: String,
    pub(super) row: Option<AccountRow>,
    /// Its tree and its events in the current block, from the events themselves.
    pub(super) round: AccountRound,
    /// The same from the stored leaf hashes, while they differ in the current block.
    pub(super) alternate: Option<Box<AccountRound>>,
    /// Its tree before the current block, where that can be taken back.
    before: Option<Frontier>,
    /// Last block in which it had an event.
    touched_in: i64,
    /// Size and root of its tree as the last leaf says.
    pub(super) sealed: Option<(i64, Hash)>,
    /// Whether `round` still is the sealed tree: not after its events were found changed.
    pub(super) tree_known: bool,
    /// Whether its row was reported already.
    pub(super) row_reported: bool,
    /// The block of its last leaf, where that block's events were removed.
    pub(super) removed_in: Option<i64>,
    /// Its row of `ledger_pruned`.
    pub(super) pruned: Option<PrunedRow>,
}

/// Owned copy of a row of `ledger_pruned`.
pub(super) struct PrunedRow {
    pub(super) block: i64,
    pub(super) size: i64,
    pub(super) state: Vec<u8>,
}

impl PrunedRow {
    pub(super) fn tree(&self) -> Option<Frontier> {
        Frontier::from_state(u64::try_from(self.size).ok()?, &self.state)
    }
}

/// Owned copy of a row of `ledger_account`.
pub(super) struct AccountRow {
    pub(super) blinding: Vec<u8>,
    pub(super) size: i64,
    pub(super) state: Vec<u8>,
}

impl Account {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            row: None,
            round: AccountRound::new(Frontier::new()),
            alternate: None,
            before: None,
            touched_in: 0,
            sealed: None,
            tree_known: true,
            row_reported: false,
            removed_in: None,
            pruned: None,
        }
    }

    /// Whether neither row nor leaf is there.
    pub(super) fn is_unknown(&self) -> bool {
        self.row.is_none() && self.sealed.is_none()
    }

    fn append(&mut self, computed: Hash, stored: Hash) {
        if computed != stored && self.alternate.is_none() {
            self.alternate = Some(Box::new(self.round.clone()));
        }
        if let Some(alternate) = &mut self.alternate {
            alternate.append(stored);
        }
        self.round.append(computed);
    }
}

/// All accounts met so far; the memory of verification.
#[derive(Default)]
pub(super) struct Accounts {
    index: HashMap<String, usize>,
    all: Vec<Account>,
    /// Accounts with events in the current block.
    touched: Vec<usize>,
    /// Place of the account looked up last: that of the next event is often the same.
    latest: usize,
}

impl Accounts {
    /// Takes the row of an account; false where it has one already.
    pub(super) fn add_row(&mut self, row: &StoredAccount<'_>) -> bool {
        let at = self.at(row.account);
        let first = self.all[at].row.is_none();
        self.all[at].row = Some(AccountRow {
            blinding: row.blinding.to_vec(),
            size: row.size,
            state: row.state.to_vec(),
        });
        first
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Place of the account, which is added if new.
    pub(super) fn at(&mut self, name: &str) -> usize {
        if self
            .all
            .get(self.latest)
            .is_some_and(|account| account.name == name)
        {
            return self.latest;
        }
        self.latest = self.find(name).unwrap_or_else(|| {
            self.index.insert(name.to_owned(), self.all.len());
            self.all.push(Account::new(name));
            self.all.len() - 1
        });
        self.latest
    }

    pub(super) fn get(&mut self, at: usize) -> &mut Account {
        &mut self.all[at]
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Account> {
        self.all.iter_mut()
    }

    /// Accounts that had events since the last call.
    pub(super) fn take_touched(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.touched)
    }

    pub(super) fn append(&mut self, name: &str, block: i64, computed: Hash, stored: Hash) {
        self.touch(name, block, false).append(computed, stored);
    }

    /// Adds an event by its stored leaf hash alone, so that it can be taken back.
    pub(super) fn append_stored(&mut self, name: &str, block: i64, stored: Hash) {
        self.touch(name, block, true).round.append(stored);
    }

    fn touch(&mut self, name: &str, block: i64, keep_before: bool) -> &mut Account {
        let at = self.at(name);
        let account = &mut self.all[at];
        if account.touched_in != block {
            account.touched_in = block;
            account.alternate = None;
            account.before = keep_before.then(|| account.round.tree().clone());
            account.round.restart();
            self.touched.push(at);
        }
        account
    }

    /// Whether each account with events in the block has the leaf they give.
    pub(super) fn touched_fit(&self, rows: &[LeafRow]) -> bool {
        let sealed: HashMap<&str, AccountLeaf> = rows.iter().filter_map(LeafRow::sealed).collect();
        let of_accounts = rows.iter().filter(|row| row.is_of_account());
        let fits = |at: &usize| {
            let account = &self.all[*at];
            let sealed = sealed.get(account.name.as_str());
            sealed.is_some_and(|sealed| {
                let found = account.round.leaf(sealed.block, sealed.blinded_id);
                account.blinded_id() == Some(sealed.blinded_id)
                    && (found.events, found.events_root) == (sealed.events, sealed.events_root)
            })
        };
        of_accounts.count() == sealed.len() && self.touched.iter().all(fits)
    }

    /// Takes back the events of the block.
    pub(super) fn forget_touched(&mut self) {
        for at in self.take_touched() {
            let account = &mut self.all[at];
            account.touched_in = 0;
            if let Some(before) = account.before.take() {
                account.round = AccountRound::new(before);
            }
        }
    }
}

/// The contexts of the transaction whose events are being read.
pub(super) struct Contexts {
    transaction: (i64, i64),
    known: Vec<KnownContext>,
    /// Where each number stands first, once they are more than a few.
    index: HashMap<i16, usize>,
    /// Whether all events are read, so that a context without one is damage.
    all_events: bool,
    buffer: Vec<u8>,
}

/// So many contexts of a transaction are searched one by one: nearly all have one.
const FEW: usize = 8;

struct KnownContext {
    number: i16,
    stored: Hash,
    computed: Hash,
    used: bool,
}

impl Contexts {
    pub(super) fn new(all_events: bool) -> Self {
        Self {
            transaction: (0, 0),
            known: Vec::new(),
            index: HashMap::new(),
            all_events,
            buffer: Vec::with_capacity(256),
        }
    }

    pub(super) fn add(&mut self, context: &Context<'_>, stored: &[u8], findings: &mut Findings) {
        self.enter((context.incarnation, context.xid), findings);
        let stored = hash_or_none_such(stored);
        let computed = context.hash_in(&mut self.buffer);
        if stored != computed {
            findings.push(Finding::new(
                Code::ContextAltered,
                format!(
                    "context {} does not have its hash",
                    self.name(context.number)
                ),
            ));
        }
        self.known.push(KnownContext {
            number: context.number,
            stored,
            computed,
            used: false,
        });
        match self.known.len() {
            ..=FEW => {}
            count if self.index.is_empty() => {
                let numbers = self.known[..count].iter().map(|context| context.number);
                for (at, number) in numbers.enumerate() {
                    self.index.entry(number).or_insert(at);
                }
            }
            count => {
                self.index.entry(context.number).or_insert(count - 1);
            }
        }
    }

    /// Goes to the transaction of the next row.
    fn enter(&mut self, transaction: (i64, i64), findings: &mut Findings) {
        if transaction != self.transaction {
            self.leave(findings);
            self.transaction = transaction;
        }
    }

    /// Ends the transaction and reports the contexts that none of its events named.
    pub(super) fn leave(&mut self, findings: &mut Findings) {
        for unused in self
            .known
            .iter()
            .filter(|context| self.all_events && !context.used)
        {
            findings.push(Finding::new(
                Code::ContextUnreferenced,
                format!("no event names context {}", self.name(unused.number)),
            ));
        }
        self.known.clear();
        self.index.clear();
    }

    /// The hashes an event may have been written with: what the context's row holds and what its
    /// columns give, usually the same.
    fn candidates(&mut self, number: i16) -> Option<[Hash; 2]> {
        let at = match self.known.len() {
            ..=FEW => self.known.iter().position(|known| known.number == number),
            _ => self.index.get(&number).copied(),
        };
        let context = &mut self.known[at?];
        context.used = true;
        Some([context.stored, context.computed])
    }

    fn name(&self, number: i16) -> String {
        let (incarnation, xid) = self.transaction;
        format!("{incarnation:016x}-{xid}-{number}")
    }
}

/// Leaf hash of an event as its columns give it. Where the context's row is damaged and one of
/// its two hashes gives the stored leaf, that one is taken: the damage is reported already.
/// `None` when the context is gone and nothing can be computed.
fn computed_leaf(
    event: &StoredEvent<'_>,
    contexts: &mut Contexts,
    buffer: &mut Vec<u8>,
) -> Option<Hash> {
    let data = event.data_hash();
    let mut leaf_with = |context| {
        let entry = Entry {
            context,
            ..event.entry
        };
        entry.leaf_hash_of_data(data, buffer)
    };
    let Some(number) = event.context else {
        return Some(leaf_with(None));
    };
    let [stored, computed] = contexts.candidates(number)?;
    let leaf = leaf_with(Some(stored));
    if stored == computed || leaf == event.leaf_hash {
        return Some(leaf);
    }
    Some(leaf_with(Some(computed)))
}

/// The leaf hash of an event that was checked.
pub(super) struct Checked {
    /// As its columns give it, or as it is stored where they cannot.
    pub(super) computed: Hash,
    pub(super) stored: Hash,
    /// Whether its columns give the stored one.
    pub(super) sound: bool,
}

/// Checks one event by itself.
pub(super) fn check_event(
    event: &StoredEvent<'_>,
    block: Option<i64>,
    contexts: &mut Contexts,
    buffer: &mut Vec<u8>,
    findings: &mut Findings,
) -> Checked {
    let key = event.entry.key;
    contexts.enter((key.incarnation, key.xid), findings);
    let stored = hash_or_none_such(event.leaf_hash);
    let computed = computed_leaf(event, contexts, buffer);
    match computed {
        None => findings.push(named(
            event,
            block,
            Code::ContextMissing,
            "its context is gone",
        )),
        Some(computed) if computed != stored => findings.push(named(
            event,
            block,
            Code::EventAltered,
            "the leaf hash computed from its columns is not the stored one",
        )),
        Some(_) if event.entry.data.is_some() && event.data_hash.is_some() => findings.push(named(
            event,
            block,
            Code::EventAltered,
            "a hash of the data stands beside the data",
        )),
        Some(_) => {}
    }
    if let Some((code, detail)) = check_personal(event) {
        findings.push(named(event, block, code, detail));
    }
    Checked {
        computed: computed.unwrap_or(stored),
        stored,
        sound: computed == Some(stored),
    }
}

/// Whether what is there of the personal values is right. What is gone altogether may have been
/// erased.
fn check_personal(event: &StoredEvent<'_>) -> Option<(Code, &'static str)> {
    let commitment = event.entry.personal;
    let altered = match (event.opening(), event.personal, event.personal_salt) {
        (Opening::Gone, ..) | (Opening::Whole, None, None) => return None,
        (Opening::Half, ..) => {
            let detail = "of personal values and salt one is gone";
            return Some((Code::PersonalMissing, detail));
        }
        (Opening::Whole, Some(personal), Some(salt)) if commitment.is_some() => {
            let opening = salt
                .try_into()
                .map(|salt| personal_commitment(salt, personal));
            let opens = opening.is_ok_and(|opening| commitment == Some(&opening));
            (!opens).then_some("the personal values do not open their commitment")
        }
        (Opening::Whole, ..) => Some("personal values without a commitment"),
    };
    altered.map(|detail| (Code::PersonalAltered, detail))
}

pub(super) fn named(
    event: &StoredEvent<'_>,
    block: Option<i64>,
    code: Code,
    detail: &str,
) -> Finding {
    let entry = &event.entry;
    Finding {
        code,
        block,
        account: Some(entry.account.to_owned()),
        event_id: Some(entry.key.to_string()),
        relation: entry.relation.map(str::to_owned),
        detail: detail.to_owned(),
    }
}
