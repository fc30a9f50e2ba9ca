//! Sealing by snapshot difference: a block holds the events its snapshot sees and the one before
//! did not, so no late committer is lost and writers never wait.

use std::collections::HashMap;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::ledger::{
    AccountRound, Adopted, BlockPlan, Claim, Claims, NO_BLOCK, Participant, Sealed, Snapshot,
    blinded_account, configuration_hash, seal as make_block,
};
use tenant_guard_core::merkle::{Frontier, Hash};

use super::publication;
use super::retention;
use super::rows::{for_each_row, with_latest_snapshot};
use super::store::{self, LastBlock};
use crate::audit::configuration::{self, Changes};
use crate::audit::partitions;
use crate::audit::tables::LedgerWriting;
use crate::audit::transaction::incarnation;
use crate::catalog::{as_owner, our_schema};
use crate::error::{Error, OrRaise};
use crate::fault::fault_point;
use crate::memory::Memory;
use crate::random::random_bytes;
use crate::versions;

/// Leaves kept while the trees of new accounts are not loaded yet: 32 bytes each.
const WAITING_LEAVES: usize = 65_536;

/// Sub-id of our schema at which the sealer's lock stands.
const SEALER: u16 = 1;

/// Rows written by one statement.
const WRITE_BATCH: usize = 10_000;

/// Seals what was committed since the last block. No row when there was nothing, unless it is a
/// heartbeat.
#[pg_extern(sql = false)]
fn seal(
    heartbeat: bool,
) -> TableIterator<'static, (name!(block, i64), name!(events, i64), name!(accounts, i64))> {
    let sealed = as_owner(|| {
        let sealed = seal_round(heartbeat);
        // New partitions are locked until the transaction ends: nobody is to wait for the rest of one.
        // SAFETY: reads the state of the running transaction.
        if !unsafe { pg_sys::IsTransactionBlock() } {
            partitions::keep_ahead();
        }
        sealed
    });
    TableIterator::new(sealed)
}

/// A transaction with an id of its own would leave its later events out of every snapshot taken
/// here, and one that reads under an older snapshot would miss the last block.
fn refuse_unfit_transaction() -> Result<(), Error> {
    // SAFETY: reads backend-local transaction state.
    unsafe {
        if pg_sys::GetTopTransactionIdIfAny() != pg_sys::TransactionId::from(0) {
            return Err(Error::SealAfterWrite);
        }
        if pg_sys::XactIsoLevel != pg_sys::XACT_READ_COMMITTED as i32 {
            return Err(Error::SealIsolation);
        }
    }
    Ok(())
}

/// One round, in the name of the extension's owner: block, events and accounts. A heartbeat is a
/// block even where there is nothing to seal.
pub(super) fn seal_round(heartbeat: bool) -> Option<(i64, i64, i64)> {
    refuse_unfit_transaction().or_raise();
    take_sealer_lock();
    fault_point!("seal.locked");
    let mut accounts = Accounts::default();
    let changes = Changes::so_far();
    let round = with_latest_snapshot(|| {
        let round = Round::plan(changes)?;
        fault_point!("seal.planned");
        for claim in &round.claims {
            store::for_each_event("account_id, leaf_hash", claim, |row| {
                accounts.append(row.text(0), leaf(row.bytes(1)));
            });
        }
        accounts.settle();
        fault_point!("seal.events_read");
        (heartbeat || !accounts.0.is_empty()).then_some(round)
    });
    let Some(round) = round else {
        // What others seal next follows from nothing that this transaction did.
        release_sealer_lock();
        return None;
    };
    round.write(&accounts)
}

fn leaf(stored: &[u8]) -> Hash {
    // A leaf hash that is none is damage, but sealing what is there is what makes it lasting
    // evidence: verification recomputes every leaf from its event.
    stored.try_into().unwrap_or([0; 32])
}

/// One sealer at a time, to the end of its transaction. Readers and writers never wait for it.
///
/// A lock on an object of ours, at a sub-id no other code uses, rather than an advisory lock:
/// those any session may take and hold.
fn take_sealer_lock() {
    // SAFETY: the schema exists, since this function is in it; an ERROR releases the lock.
    unsafe {
        pg_sys::LockDatabaseObject(
            pg_sys::NamespaceRelationId,
            our_schema(),
            SEALER,
            pg_sys::ExclusiveLock as i32,
        );
    }
}

fn release_sealer_lock() {
    // SAFETY: gives back what `take_sealer_lock` took.
    unsafe {
        pg_sys::UnlockDatabaseObject(
            pg_sys::NamespaceRelationId,
            our_schema(),
            SEALER,
            pg_sys::ExclusiveLock as i32,
        );
    }
}

/// The process that holds the sealer's lock, or one on a table of ours that sealing waits for.
pub(super) fn who_holds_it() -> Option<i32> {
    let mut holder = None;
    for_each_row(
        c"SELECT l.pid::bigint FROM pg_catalog.pg_locks AS l \
          WHERE l.granted AND l.pid <> pg_catalog.pg_backend_pid() \
              AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d \
                  WHERE d.datname = pg_catalog.current_database()) \
              AND (l.locktype = 'object' AND l.classid = 'pg_catalog.pg_namespace'::regclass \
                      AND l.objid = 'tenant_guard'::regnamespace AND l.objsubid = 1 \
                  OR l.locktype = 'relation' AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', \
                          'ExclusiveLock', 'AccessExclusiveLock') \
                      AND l.relation IN (SELECT c.oid FROM pg_catalog.pg_class AS c \
                          WHERE c.relnamespace = 'tenant_guard'::regnamespace)) \
          ORDER BY l.locktype, l.pid LIMIT 1",
        &[],
        |row| holder = i32::try_from(row.bigint(0)).ok(),
    );
    holder
}

/// Transactions that the snapshot of a block lists as in progress: with ids of 20 digits its record
/// stays well below the 65,535 bytes that a log of tiles has for an entry. Where there are more,
/// what came after waits for the next block.
const MOST_IN_PROGRESS: usize = 2_500;

/// The active snapshot, with 64-bit ids.
pub(super) fn current_snapshot() -> Snapshot {
    let mut text = String::new();
    for_each_row(
        c"SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text",
        &[],
        |row| text = row.text(0).to_owned(),
    );
    text.parse().expect("PostgreSQL writes its own snapshots")
}

/// What is known of the next block before its events are read.
struct Round {
    last: Option<LastBlock>,
    incarnation: i64,
    timeline: i32,
    snapshot: String,
    adopted: Adopted,
    claims: Vec<Claim>,
    /// What is captured, as the snapshot sees it.
    configuration: String,
    /// Taken before: what rules let go by then is stated in it.
    sealed_at: i64,
}

impl Round {
    /// Plans a block of what the active snapshot sees. `None` where there is no ledger.
    fn plan(changes: Changes) -> Option<Self> {
        if !store::exists() {
            return None;
        }
        let sealed_at = crate::clock::now_us();
        let last = store::last_block();
        let incarnation = incarnation();
        // SAFETY: a backend that writes is not in recovery.
        let timeline = unsafe { versions::timeline() } as i32;
        let snapshot = current_snapshot().cut(MOST_IN_PROGRESS);
        let text = snapshot.to_string();

        let continued = last
            .as_ref()
            .filter(|last| last.incarnation == incarnation && last.timeline == timeline);
        let (mut claims, adopted) = match continued {
            Some(last) => {
                let claims = Claims::of_newest(incarnation, last.snapshot.clone());
                (claims, Adopted::default())
            }
            None => {
                let claims = store::claims();
                let adopted = left_over(incarnation, &claims);
                (claims, adopted)
            }
        };
        let claims = claims.add_block(incarnation, snapshot, &adopted);
        Some(Self {
            last,
            incarnation,
            timeline,
            snapshot: text,
            adopted,
            claims,
            configuration: retention::state(&configuration::current(changes), sealed_at),
            sealed_at,
        })
    }

    /// Whether the block is the first of an epoch.
    fn opens_epoch(&self) -> bool {
        self.last.as_ref().is_none_or(|last| {
            last.incarnation != self.incarnation || last.timeline != self.timeline
        })
    }

    fn write(self, accounts: &Accounts) -> Option<(i64, i64, i64)> {
        let opens_epoch = self.opens_epoch();
        let last = self.last.as_ref();
        let previous_checkpoint = last
            .filter(|_| opens_epoch)
            .map(|last| last.checkpoint().to_string());
        let adopted = self.adopted.to_string();
        let plan = BlockPlan {
            block: last.map_or(0, |last| last.block) + 1,
            epoch: last.map_or(0, |last| last.epoch) + i64::from(opens_epoch),
            incarnation: self.incarnation,
            timeline: self.timeline,
            snapshot: &self.snapshot,
            adopted: &adopted,
            sealed_at: self.sealed_at,
            previous_hash: last.map_or(NO_BLOCK, |last| last.hash),
            previous_checkpoint: previous_checkpoint.as_deref(),
            configuration: configuration_hash(&self.configuration),
        };
        let mut tree = match last {
            Some(last) if !opens_epoch => last.tree.clone(),
            _ => Frontier::new(),
        };
        let sealed = make_block(&plan, accounts.participants(), &mut tree);
        fault_point!("seal.block_made");
        // A block that a crash takes back must not have been seen: a checkpoint of it would
        // contradict the block that is made in its place.
        // SAFETY: sets a flag of the running transaction.
        unsafe { pg_sys::ForceSyncCommit() };
        let _writing = LedgerWriting::begin();
        write_accounts(accounts);
        fault_point!("seal.accounts_written");
        write_leaves(&plan, &sealed);
        fault_point!("seal.leaves_written");
        let changed = last.is_none_or(|last| last.configuration != plan.configuration);
        let configuration = changed.then_some(self.configuration.as_str());
        write_block(&plan, &sealed, &tree, configuration);
        fault_point!("seal.block_written");
        publication::note_sealed(plan.block, &sealed.hash);
        fault_point!("seal.noted");
        Some((plan.block, sealed.record.events, sealed.record.accounts))
    }
}

/// Other incarnations with events that no block holds: a dump carried them here unsealed.
fn left_over(incarnation: i64, claims: &Claims) -> Adopted {
    let bounds = store::incarnations(store::AUDIT_LOG)
        .into_iter()
        .filter_map(|(other, highest)| {
            let before = claims.of(other);
            let bound = claims.adoption_bound(other, highest);
            let rest = Snapshot::below(bound).ranges_since(&before);
            let any = rest.from < rest.until || !rest.late.is_empty();
            (other != incarnation && any).then_some((other, bound))
        });
    Adopted::new(bounds.collect()).expect("each incarnation is listed once, with a valid bound")
}

/// The accounts with events in the block.
#[derive(Default)]
struct Accounts(HashMap<String, Account>, usize);

#[derive(Default)]
struct Account {
    /// None until the account's tree is loaded.
    tree: Option<(AccountRound, [u8; 32])>,
    /// Leaves that wait for the tree.
    waiting: Vec<Hash>,
}

impl Accounts {
    fn append(&mut self, account: &str, leaf: Hash) {
        let Self(accounts, waiting) = self;
        match accounts.get_mut(account) {
            Some(Account {
                tree: Some((round, _)),
                ..
            }) => round.append(leaf),
            known => {
                match known {
                    Some(known) => known.waiting.push(leaf),
                    None => {
                        let new = Account {
                            tree: None,
                            waiting: vec![leaf],
                        };
                        accounts.insert(account.to_owned(), new);
                    }
                }
                *waiting += 1;
                if *waiting >= WAITING_LEAVES {
                    self.settle();
                }
            }
        }
    }

    /// Loads the trees of the accounts that wait for theirs, and appends what waited.
    fn settle(&mut self) {
        let Self(accounts, waiting) = self;
        let unknown: Vec<String> = accounts
            .iter()
            .filter(|(_, account)| account.tree.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        let memory = Memory::new(c"tenant_guard names of accounts");
        let names = memory.within(|| unknown.clone().into_datum());
        let names = names.expect("a vector is never NULL");
        for_each_row(
            c"SELECT account_id, size, state, blinding FROM tenant_guard.ledger_account \
              WHERE account_id OPERATOR(pg_catalog.=) ANY ($1)",
            &[(pg_sys::TEXTARRAYOID, names)],
            |row| {
                let tree = u64::try_from(row.bigint(1))
                    .ok()
                    .and_then(|size| Frontier::from_state(size, row.bytes(2)));
                let loaded = tree.zip(row.bytes(3).try_into().ok());
                let Some((tree, blinding)) = loaded else {
                    Error::BrokenLedger("the tree of an account").raise()
                };
                if let Some(account) = accounts.get_mut(row.text(0)) {
                    account.tree = Some((AccountRound::new(tree), blinding));
                }
            },
        );
        for name in &unknown {
            if let Some(account) = accounts.get_mut(name) {
                let (round, _) = account
                    .tree
                    .get_or_insert_with(|| (AccountRound::new(Frontier::new()), random_bytes()));
                account
                    .waiting
                    .drain(..)
                    .for_each(|leaf| round.append(leaf));
                account.waiting.shrink_to_fit();
            }
        }
        *waiting = 0;
    }

    fn settled(&self) -> impl Iterator<Item = (&str, &AccountRound, &[u8; 32])> {
        self.0.iter().filter_map(|(name, account)| {
            account
                .tree
                .as_ref()
                .map(|(round, blinding)| (name.as_str(), round, blinding))
        })
    }

    fn participants(&self) -> Vec<Participant<'_>> {
        self.settled()
            .map(|(account, round, blinding)| Participant {
                account,
                blinded_id: blinded_account(blinding, account),
                round,
            })
            .collect()
    }
}

/// Frees what a batch is handed to the server in, which is as large as the batch, before the next.
fn write_batch(work: impl FnOnce()) {
    Memory::new(c"tenant_guard batch of a block").within(work);
}

fn write_accounts(accounts: &Accounts) {
    let rows: Vec<_> = accounts.settled().collect();
    for rows in rows.chunks(WRITE_BATCH) {
        write_batch(|| {
            write(
                "INSERT INTO tenant_guard.ledger_account AS a (account_id, blinding, size, state) \
             SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), \
                pg_catalog.unnest($3), pg_catalog.unnest($4)) \
             ON CONFLICT (account_id) DO UPDATE \
             SET size = EXCLUDED.size, state = EXCLUDED.state",
                &[
                    column(rows, |(name, _, _)| name.to_string()).into(),
                    column(rows, |(_, _, blinding)| blinding.to_vec()).into(),
                    column(rows, |(_, round, _)| round.tree().size() as i64).into(),
                    column(rows, |(_, round, _)| round.tree().state().to_vec()).into(),
                ],
            )
        });
    }
}

fn write_leaves(plan: &BlockPlan<'_>, sealed: &Sealed<'_>) {
    for rows in sealed.leaves.chunks(WRITE_BATCH) {
        write_batch(|| {
            write(
                "INSERT INTO tenant_guard.ledger_leaf (epoch, block, position, leaf_hash, \
                account_id, blinded_id, events, events_root, account_size, account_root) \
             SELECT $1, $2, * FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), \
                pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), \
                pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10))",
                &[
                    plan.epoch.into(),
                    plan.block.into(),
                    column(rows, |leaf| leaf.position).into(),
                    column(rows, |leaf| leaf.hash.to_vec()).into(),
                    column(rows, |leaf| leaf.account.map(|(name, _)| name.to_owned())).into(),
                    column(rows, |leaf| {
                        leaf.account.map(|(_, a)| a.blinded_id.to_vec())
                    })
                    .into(),
                    column(rows, |leaf| leaf.account.map(|(_, a)| a.events)).into(),
                    column(rows, |leaf| {
                        leaf.account.map(|(_, a)| a.events_root.to_vec())
                    })
                    .into(),
                    column(rows, |leaf| leaf.account.map(|(_, a)| a.size)).into(),
                    column(rows, |leaf| leaf.account.map(|(_, a)| a.root.to_vec())).into(),
                ],
            )
        });
    }
}

fn write_block(
    plan: &BlockPlan<'_>,
    sealed: &Sealed<'_>,
    tree: &Frontier,
    configuration: Option<&str>,
) {
    let record = &sealed.record;
    write(
        "INSERT INTO tenant_guard.ledger_block (block, version, epoch, incarnation, timeline, \
            snapshot, adopted, events, accounts, sealed_at, previous_hash, previous_size, \
            previous_root, previous_checkpoint, hash, tree_size, root, state, \
            configuration_hash, configuration) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
            $19, $20)",
        &[
            record.block.into(),
            (record.version as i16).into(),
            record.epoch.into(),
            record.incarnation.into(),
            record.timeline.into(),
            record.snapshot.into(),
            record.adopted.into(),
            record.events.into(),
            record.accounts.into(),
            crate::clock::timestamp(record.sealed_at).into(),
            record.previous_hash.to_vec().into(),
            record.previous_size.into(),
            record.previous_root.to_vec().into(),
            plan.previous_checkpoint.into(),
            sealed.hash.to_vec().into(),
            (tree.size() as i64).into(),
            tree.root().to_vec().into(),
            tree.state().to_vec().into(),
            record.configuration.to_vec().into(),
            configuration.into(),
        ],
    );
}

fn column<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

fn write(statement: &str, arguments: &[pgrx::datum::DatumWithOid<'_>]) {
    Spi::connect_mut(|client| client.update(statement, None, arguments).map(drop))
        .unwrap_or_else(|error| pgrx::error!("the ledger cannot be written: {error}"));
}
