//! The part of verification that compares the leaves of a block with its events.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::blocks::Current;
use super::events::Account;
use super::{Scope, Verifier};
use crate::ledger::finding::{Code, Finding};
use crate::ledger::records::{AccountLeaf, blinded_account};
use crate::ledger::seal::AccountRound;
use crate::ledger::stored::{StoredLeaf, account_leaf, hash_or_none_such};
use crate::merkle::{Hash, empty_root};

/// Owned copy of a row of `ledger_leaf`.
pub(super) struct LeafRow {
    epoch: i64,
    position: i64,
    account: Option<String>,
    /// How many of the columns that only account leaves have are there.
    account_columns: usize,
    /// The record, if all of its columns are there.
    record: Option<AccountLeaf>,
    leaf_hash: Hash,
    matched: bool,
}

impl From<&StoredLeaf<'_>> for LeafRow {
    fn from(row: &StoredLeaf<'_>) -> Self {
        let present = [
            row.account.is_some(),
            row.blinded_id.is_some(),
            row.events.is_some(),
            row.events_root.is_some(),
            row.size.is_some(),
            row.root.is_some(),
        ];
        Self {
            epoch: row.epoch,
            position: row.position,
            account: row.account.map(str::to_owned),
            account_columns: present.into_iter().filter(|present| *present).count(),
            record: account_leaf(row),
            leaf_hash: hash_or_none_such(row.leaf_hash),
            matched: false,
        }
    }
}

impl LeafRow {
    /// Whether the row is about an account; a single column edited does not change it.
    pub(super) fn is_of_account(&self) -> bool {
        self.account_columns >= 3
    }

    /// Account and record, where both are there and sound.
    pub(super) fn sealed(&self) -> Option<(&str, AccountLeaf)> {
        self.account.as_deref().zip(self.sound_record())
    }

    /// The record, if it gives the stored leaf hash.
    fn sound_record(&self) -> Option<AccountLeaf> {
        self.record.filter(|record| record.hash() == self.leaf_hash)
    }
}

/// A leaf that belongs into the global tree.
struct Chosen {
    hash: Hash,
    /// Leaves of accounts are ordered by this.
    blinded_id: Hash,
    account: Option<String>,
    /// Number of its events in the block, where it can be told.
    events: Option<i64>,
    /// Epoch and position of its row, if there is one.
    place: Option<(i64, i64)>,
}

impl Verifier {
    /// Compares and returns the leaf hashes the block appended to the global tree, in order.
    pub(super) fn reconcile(&mut self, current: &Current) -> Vec<Hash> {
        let rows = std::mem::take(&mut self.rows);
        let (of_accounts, own): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(LeafRow::is_of_account);
        let (epoch_leaf, block_leaf) = self.own_leaves(current, own);
        let mut chosen = self.account_leaves(current, of_accounts);
        chosen.sort_by_key(|leaf| leaf.blinded_id);
        self.check_counts(current, &chosen);
        let chosen: Vec<Chosen> = epoch_leaf
            .into_iter()
            .chain(chosen)
            .chain([block_leaf])
            .collect();
        for (at, leaf) in (0..).zip(&chosen) {
            let position = current.start.saturating_add(at);
            let place = (current.epoch, position);
            if leaf.place.is_some_and(|stored| stored != place) {
                let detail = format!("the leaf at position {position} has another place");
                self.leaf_finding(Code::LeafAltered, current, leaf.account.as_deref(), detail);
            }
        }
        chosen.into_iter().map(|leaf| leaf.hash).collect()
    }

    /// A sound block must count its leaves and their events right.
    fn check_counts(&mut self, current: &Current, leaves: &[Chosen]) {
        if !current.consistent {
            return;
        }
        let missing = current.accounts.saturating_sub(leaves.len() as i64);
        if missing > 0 {
            let detail = format!("{missing} leaves of accounts are missing with all events");
            self.leaf_finding(Code::LeafMissing, current, None, detail);
        } else if missing < 0 {
            self.block_altered(
                current.block,
                "its number of accounts is not that of its leaves",
            );
        }
        let events = leaves
            .iter()
            .map(|leaf| leaf.events.map(i128::from))
            .sum::<Option<i128>>();
        if missing == 0 && events.is_some_and(|events| events != current.events.into()) {
            self.block_altered(
                current.block,
                "its number of events is not that of its leaves",
            );
        }
    }

    /// The leaves of the epoch, if it begins here, and of the block.
    fn own_leaves(&mut self, current: &Current, rows: Vec<LeafRow>) -> (Option<Chosen>, Chosen) {
        let mut rows = rows.into_iter().peekable();
        let epoch_leaf = current.epoch_leaf.map(|computed| {
            let row = rows.next_if(|row| row.position == 0 || row.leaf_hash == computed);
            // What the columns of a damaged block give is not the leaf that was sealed.
            let sealed = row
                .as_ref()
                .filter(|_| !current.consistent)
                .map(|row| row.leaf_hash);
            self.own_leaf(current, "epoch", sealed.unwrap_or(computed), row)
        });
        let row = rows.next();
        let [computed, stored] = current.hashes;
        let in_leaf = row.as_ref().map(|row| row.leaf_hash);
        let sealed = if in_leaf == Some(computed) {
            computed
        } else {
            stored
        };
        let block_leaf = self.own_leaf(current, "block", sealed, row);
        for row in rows {
            let detail = format!("the leaf at position {} was not sealed", row.position);
            self.leaf_finding(Code::LeafInserted, current, None, detail);
        }
        (epoch_leaf, block_leaf)
    }

    fn own_leaf(
        &mut self,
        current: &Current,
        what: &str,
        sealed: Hash,
        row: Option<LeafRow>,
    ) -> Chosen {
        match &row {
            None => {
                let detail = format!("the leaf of the {what} is missing");
                self.leaf_finding(Code::LeafMissing, current, None, detail);
            }
            Some(row) if row.leaf_hash != sealed => {
                let detail = format!("the leaf hash of the {what} is not the sealed one");
                self.leaf_finding(Code::LeafAltered, current, None, detail);
            }
            Some(row) if row.account_columns > 0 => {
                let detail = format!("the leaf of the {what} has columns of an account");
                self.leaf_finding(Code::LeafAltered, current, None, detail);
            }
            Some(_) => {}
        }
        let place = row.map(|row| (row.epoch, row.position));
        Chosen {
            hash: sealed,
            blinded_id: [0; 32],
            account: None,
            events: None,
            place,
        }
    }

    fn account_leaves(&mut self, current: &Current, mut rows: Vec<LeafRow>) -> Vec<Chosen> {
        let mut by_name = HashMap::new();
        let mut by_blinded_id = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            if let Some(name) = &row.account {
                by_name.entry(name.clone()).or_insert(at);
            }
            if let Some(record) = &row.record {
                by_blinded_id.entry(record.blinded_id).or_insert(at);
            }
        }
        let too_few = (rows.len() as i64) < current.accounts;
        let too_many = rows.len() as i64 > current.accounts;
        let mut chosen = Vec::with_capacity(rows.len());
        for at in self.touched_and_kept(current) {
            let account = self.accounts.get(at);
            let blinded_id = account.blinded_id();
            let row = blinded_id
                .and_then(|id| by_blinded_id.get(&id))
                .or_else(|| by_name.get(&account.name))
                .map(|at| &mut rows[*at])
                .filter(|row| !row.matched);
            match row {
                Some(row) => {
                    row.matched = true;
                    let (hash, findings) = account.compare(current, row, self.begun_later);
                    let place = Some((row.epoch, row.position));
                    let name = Some(account.name.clone());
                    let blinded_id = row.order(blinded_id);
                    chosen.push(Chosen {
                        hash,
                        blinded_id,
                        account: name,
                        events: row.sound_record().map(|record| record.events),
                        place,
                    });
                    self.findings.extend(findings);
                }
                None => chosen.extend(self.without_row(current, at, too_few)),
            }
        }
        for row in rows.into_iter().filter(|row| !row.matched) {
            chosen.extend(self.without_events(current, row, too_many));
        }
        chosen
    }

    /// Accounts with events in the block. Where the block's events were removed, each is reported.
    fn touched_and_kept(&mut self, current: &Current) -> Vec<usize> {
        let touched = self.accounts.take_touched();
        if !self.retained.is_removed(current.block) {
            return touched;
        }
        for at in touched {
            let account = self.accounts.get(at);
            account.alternate = None;
            let name = account.name.clone();
            let detail = "events are there, of a block whose events were removed";
            self.leaf_finding(Code::EventSetChanged, current, Some(&name), detail);
        }
        Vec::new()
    }

    /// An account has events in the block and no leaf.
    fn without_row(&mut self, current: &Current, at: usize, too_few: bool) -> Option<Chosen> {
        let account = self.accounts.get(at);
        let name = account.name.clone();
        if too_few && let Some(blinded_id) = account.blinded_id() {
            let leaf = account.round.leaf(current.block, blinded_id);
            account.sealed = Some((leaf.size, leaf.root));
            let detail = "the leaf of an account is missing";
            self.leaf_finding(Code::LeafMissing, current, Some(&name), detail);
            return Some(Chosen {
                hash: leaf.hash(),
                blinded_id,
                account: Some(name),
                events: Some(leaf.events),
                place: None,
            });
        }
        account.tree_known = false;
        if current.claims_known {
            let detail = format!(
                "{}, none is",
                events_more(account.round.events().unsigned_abs())
            );
            self.leaf_finding(Code::EventSetChanged, current, Some(&name), detail);
        }
        None
    }

    /// The block has a leaf of an account and no event, unless events were not looked at.
    fn without_events(
        &mut self,
        current: &Current,
        row: LeafRow,
        too_many: bool,
    ) -> Option<Chosen> {
        let hidden = match &row.account {
            None => self.hidden_name(&row),
            Some(_) => None,
        };
        let name = row.account.as_deref().or(hidden.as_deref());
        if name.is_none() && matches!(self.scope, Scope::Bundle(_)) {
            if row.sound_record().is_none() {
                let detail = format!(
                    "the leaf at position {} does not have the hash of its columns",
                    row.position
                );
                self.leaf_finding(Code::LeafAltered, current, None, detail);
            }
            return Some(row.into_sealed());
        }
        let removed = self.retained.is_removed(current.block);
        if let Some(name) = name.filter(|_| removed) {
            let begun_later = self.begun_later;
            let at = self.accounts.at(name);
            let account = self.accounts.get(at);
            account.removed_in = Some(current.block);
            if !begun_later {
                account.sealed.get_or_insert((0, empty_root()));
            }
        }
        let judged =
            current.claims_known && !removed && name.is_none_or(|name| self.in_scope(name));
        let place = format!("the leaf at position {}", row.position);
        let sound = row.sound_record();
        let (code, detail) = match sound {
            _ if judged && too_many => (Code::LeafInserted, format!("{place} was not sealed")),
            None => (
                Code::LeafAltered,
                format!("{place} does not have the hash of its columns"),
            ),
            Some(record) if judged => (
                Code::EventSetChanged,
                format!(
                    "{}: none is left",
                    events_fewer(record.events.unsigned_abs())
                ),
            ),
            Some(record) => {
                self.take_as_stored(current, name, record);
                if hidden.is_some() {
                    let detail = format!("{place} does not name its account");
                    self.leaf_finding(Code::LeafAltered, current, name, detail);
                }
                return Some(row.into_sealed());
            }
        };
        self.leaf_finding(code, current, name, detail);
        if code == Code::LeafInserted {
            return None;
        }
        if let Some(name) = name {
            let at = self.accounts.at(name);
            let account = self.accounts.get(at);
            account.tree_known = false;
            account.sealed = row.record.map(|record| (record.size, record.root));
        }
        Some(row.into_sealed())
    }

    /// In the bundle of one account, that account where a leaf without a name is its own: what
    /// else was taken out with the name would not be missed.
    fn hidden_name(&mut self, row: &LeafRow) -> Option<String> {
        let Scope::Bundle(only) = &self.scope else {
            return None;
        };
        let only = only.clone();
        let at = self.accounts.find(&only)?;
        let own = self.accounts.get(at).blinded_id()?;
        (row.record?.blinded_id == own).then_some(only)
    }

    /// Follows the leaves of an account whose events are not looked at.
    fn take_as_stored(&mut self, current: &Current, name: Option<&str>, record: AccountLeaf) {
        let Some(name) = name else {
            return self.leaf_finding(Code::LeafAltered, current, None, "a leaf has no account");
        };
        let at = self.accounts.at(name);
        let account = self.accounts.get(at);
        account.tree_known = false;
        let mut findings = Vec::new();
        account.check_blinding(current.block, record.blinded_id, &mut findings);
        account.check_growth(current, record, &mut findings);
        account.sealed = Some((record.size, record.root));
        self.findings.extend(findings);
    }

    fn leaf_finding(
        &mut self,
        code: Code,
        current: &Current,
        account: Option<&str>,
        detail: impl Into<String>,
    ) {
        self.report(leaf_finding(code, current, account, detail));
    }
}

impl LeafRow {
    /// The row as it stands, for the global tree.
    fn into_sealed(self) -> Chosen {
        Chosen {
            hash: self.leaf_hash,
            blinded_id: self.order(None),
            events: self.sound_record().map(|record| record.events),
            account: self.account,
            place: Some((self.epoch, self.position)),
        }
    }

    /// What the leaf is ordered by: its own column where it is sound, else what the account's
    /// blinding gives.
    fn order(&self, computed: Option<Hash>) -> Hash {
        match (self.sound_record(), computed, self.record) {
            (Some(record), _, _) => record.blinded_id,
            (None, Some(computed), _) => computed,
            (None, None, Some(record)) => record.blinded_id,
            (None, None, None) => [0xff; 32],
        }
    }
}

impl Account {
    pub(super) fn blinded_id(&self) -> Option<Hash> {
        let blinding = self.row.as_ref()?.blinding.as_slice().try_into().ok()?;
        Some(blinded_account(blinding, &self.name))
    }

    /// Compares the account's events in the block with its leaf. Returns the leaf hash that was
    /// sealed, as far as can be told.
    ///
    /// Where verification has begun later, the account's tree is known if this is its first leaf.
    fn compare(
        &mut self,
        current: &Current,
        row: &LeafRow,
        begun_later: bool,
    ) -> (Hash, Vec<Finding>) {
        let mut findings = Vec::new();
        let mut report = |code, detail: String| {
            findings.push(leaf_finding(code, current, Some(&self.name), detail));
        };
        let alternate = self.alternate.take();
        let is_first = |record: AccountLeaf| record.size == record.events;
        if begun_later && self.sealed.is_none() && !row.sound_record().is_some_and(is_first) {
            self.tree_known = false;
        }
        let Some(record) = row.sound_record() else {
            report(
                Code::LeafAltered,
                "its columns do not give its leaf hash".to_owned(),
            );
            return (
                self.compare_damaged(current, row, alternate, &mut findings),
                findings,
            );
        };
        if row.account.as_deref() != Some(&self.name) {
            report(
                Code::LeafAltered,
                "the leaf names another account".to_owned(),
            );
        }
        self.check_blinding(current.block, record.blinded_id, &mut findings);
        if current.claims_known {
            self.compare_sound(current, record, alternate, &mut findings);
        } else {
            self.tree_known = false;
        }
        self.sealed = Some((record.size, record.root));
        (row.leaf_hash, findings)
    }

    fn compare_sound(
        &mut self,
        current: &Current,
        record: AccountLeaf,
        alternate: Option<Box<AccountRound>>,
        findings: &mut Vec<Finding>,
    ) {
        let same_events = |leaf: &AccountLeaf| {
            (leaf.events, leaf.events_root) == (record.events, record.events_root)
        };
        let found = self.round.leaf(current.block, record.blinded_id);
        if !same_events(&found) {
            match alternate {
                // Only leaf hashes or only columns were edited: each such event is reported.
                Some(alternate)
                    if same_events(&alternate.leaf(current.block, record.blinded_id)) =>
                {
                    self.round = *alternate;
                }
                _ => {
                    let difference = found.events.abs_diff(record.events);
                    let detail = match found.events.cmp(&record.events) {
                        Ordering::Equal => SAME_NUMBER.to_owned(),
                        Ordering::Greater => events_more(difference),
                        Ordering::Less => events_fewer(difference),
                    };
                    let code = Code::EventSetChanged;
                    findings.push(leaf_finding(code, current, Some(&self.name), detail));
                    self.check_growth(current, record, findings);
                    self.tree_known = false;
                    return;
                }
            }
        }
        if !self.tree_known {
            return self.check_growth(current, record, findings);
        }
        let tree = self.round.tree();
        if (tree.size() as i64, tree.root()) != (record.size, record.root) {
            let detail = "size or root is not that of the account's tree";
            findings.push(leaf_finding(
                Code::LeafAltered,
                current,
                Some(&self.name),
                detail,
            ));
            self.tree_known = false;
        }
    }

    /// The leaf's row is damaged. If the events give one of its two hashes they are sound.
    fn compare_damaged(
        &mut self,
        current: &Current,
        row: &LeafRow,
        alternate: Option<Box<AccountRound>>,
        findings: &mut Vec<Finding>,
    ) -> Hash {
        let from_columns = row.record.map(|record| record.hash());
        let blinded_id = self
            .blinded_id()
            .or(row.record.map(|record| record.blinded_id));
        let candidates = [Some(self.round.clone()), alternate.map(|round| *round)];
        for round in candidates.into_iter().flatten() {
            let leaf = round.leaf(current.block, blinded_id.unwrap_or_default());
            let hash = leaf.hash();
            if hash == row.leaf_hash || Some(hash) == from_columns {
                self.round = round;
                self.sealed = Some((leaf.size, leaf.root));
                return hash;
            }
        }
        if self.tree_known && current.claims_known {
            let detail = "the events give neither the leaf's hash nor its columns";
            let code = Code::EventSetChanged;
            findings.push(leaf_finding(code, current, Some(&self.name), detail));
        }
        self.tree_known = false;
        self.sealed = row.record.map(|record| (record.size, record.root));
        row.leaf_hash
    }

    fn check_blinding(&mut self, block: i64, sealed: Hash, findings: &mut Vec<Finding>) {
        let differs = self.row.is_some() && self.blinded_id() != Some(sealed);
        if differs && !self.row_reported {
            self.row_reported = true;
            let detail = "its blinding does not give the name of its leaves";
            let finding = Finding::new(Code::AccountAltered, detail);
            findings.push(finding.block(block).account(&self.name));
        }
    }

    /// Without its tree, the size of an account can still be followed.
    fn check_growth(&self, current: &Current, record: AccountLeaf, findings: &mut Vec<Finding>) {
        let Some((size, _)) = self.sealed else { return };
        if Some(record.size) != size.checked_add(record.events) {
            let detail = "the account's tree does not grow by the events of the block";
            findings.push(leaf_finding(
                Code::LeafAltered,
                current,
                Some(&self.name),
                detail,
            ));
        }
    }
}

fn leaf_finding(
    code: Code,
    current: &Current,
    account: Option<&str>,
    detail: impl Into<String>,
) -> Finding {
    let finding = Finding::new(code, detail).block(current.block);
    match account {
        Some(account) => finding.account(account),
        None => finding,
    }
}

const SAME_NUMBER: &str = "as many events as sealed, but altered or reordered";

fn events_more(count: u64) -> String {
    let events = if count == 1 { "event" } else { "events" };
    format!("{count} {events} more than sealed")
}

fn events_fewer(count: u64) -> String {
    let events = if count == 1 { "event" } else { "events" };
    format!("{count} {events} fewer than sealed")
}
