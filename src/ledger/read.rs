//! Reading the whole ledger in the order in which verification takes it.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;
use tenant_guard_core::erasure;
use tenant_guard_core::event::{Context, Entry, EventKey};
use tenant_guard_core::ledger::{
    Claim, Depth, EventLeaf, Opening, Rows, Server, Snapshot, StoredAccount, StoredBlock,
    StoredEvent, StoredLeaf, StoredPruned,
};

use super::rows::{Arguments, NO_TEXT, Row, for_each_row, with_cursors};
use super::store::{self, AUDIT_CONTEXT, AUDIT_LOG, EVENT_ORDER};
use crate::audit::transaction;
use crate::clock::to_unix;
use crate::fault::fault_point;

/// Hands over all rows under the active snapshot; none where there is no ledger.
pub(super) fn read_ledger(rows: &mut impl Rows) {
    Reader::new(rows).read(|_| ());
}

/// The server as it is now: asked for while the snapshot of the rows is the active one, so that all
/// transactions whose rows are seen have begun.
pub(super) fn server() -> Server {
    // SAFETY: reads shared memory under its lock.
    let next = unsafe { pg_sys::ReadNextFullTransactionId() };
    Server {
        incarnation: transaction::incarnation(),
        next_xid: next.value as i64,
    }
}

/// Reads the ledger once, as its taker asks for it.
pub(super) struct Reader<'r, R> {
    rows: &'r mut R,
    /// Block after which reading begins, of a ledger that is not read from its first block on.
    after: Option<i64>,
    read: RowsRead,
}

/// How many rows were read of the two tables of events.
#[derive(Default)]
pub(super) struct RowsRead {
    pub(super) events: u64,
    pub(super) contexts: u64,
}

impl<'r, R: Rows> Reader<'r, R> {
    pub(super) fn new(rows: &'r mut R) -> Self {
        Self {
            rows,
            after: None,
            read: RowsRead::default(),
        }
    }

    /// Begins with the block after this one.
    pub(super) fn after(self, block: Option<i64>) -> Self {
        Self {
            after: block,
            ..self
        }
    }

    /// Reads, and tells `at_block` each block before its events.
    pub(super) fn read(mut self, mut at_block: impl FnMut(i64)) -> RowsRead {
        if store::exists() {
            if self.rows.takes_trees() {
                self.read_accounts();
                self.read_pruned();
                fault_point!("verify.accounts_read");
            }
            self.read_blocks(&mut at_block);
            fault_point!("verify.blocks_read");
            self.read_unsealed();
        } else {
            self.rows.begin_unsealed(server());
        }
        self.read
    }

    /// A query of rows after the block that reading begins with; all where it begins with the first.
    fn query(
        &self,
        all: &str,
        after: &str,
        order: &str,
    ) -> (CString, Vec<(pg_sys::Oid, pg_sys::Datum)>) {
        let argument = self
            .after
            .map(|block| (pg_sys::INT8OID, pg_sys::Datum::from(block)));
        let condition = argument.map_or("", |_| after);
        let query = store::query_text(&format!("{all} {condition} ORDER BY {order}"));
        (query, argument.into_iter().collect())
    }

    fn read_accounts(&mut self) {
        let (query, arguments) = self.query(
            "SELECT account_id, blinding, size, state FROM tenant_guard.ledger_account",
            "WHERE account_id OPERATOR(pg_catalog.=) ANY (SELECT account_id \
                FROM tenant_guard.ledger_leaf WHERE block OPERATOR(pg_catalog.>) $1)",
            // A NULL is damage, and stands where what is read in its place belongs.
            "COALESCE(account_id, E'\\x01') COLLATE \"C\"",
        );
        for_each_row(&query, &arguments, |row| {
            self.rows.account(&StoredAccount {
                account: row.text(0),
                blinding: row.bytes(1),
                size: row.bigint(2),
                state: row.bytes(3),
            });
        });
    }

    fn read_pruned(&mut self) {
        let (query, arguments) = self.query(
            "SELECT account_id, size, state, block FROM tenant_guard.ledger_pruned",
            "WHERE account_id OPERATOR(pg_catalog.=) ANY (SELECT account_id \
                FROM tenant_guard.ledger_leaf WHERE block OPERATOR(pg_catalog.>) $1)",
            "COALESCE(account_id, E'\\x01') COLLATE \"C\"",
        );
        for_each_row(&query, &arguments, |row| {
            self.rows.pruned(&StoredPruned {
                account: row.text(0),
                size: row.bigint(1),
                state: row.bytes(2),
                block: row.bigint(3),
            });
        });
    }

    fn read_blocks(&mut self, at_block: &mut impl FnMut(i64)) {
        let condition = "WHERE block OPERATOR(pg_catalog.>) $1";
        let (blocks, arguments) = self.query(BLOCKS, condition, "block");
        let (leaves, _) = match self.rows.takes_trees() {
            true => self.query(LEAVES, condition, "block, position"),
            false => (c"SELECT WHERE false".to_owned(), Vec::new()),
        };
        let of_leaves: Arguments<'_> = if self.rows.takes_trees() {
            &arguments
        } else {
            &[]
        };
        let queries: [(&CStr, Arguments<'_>); 2] = [(&blocks, &arguments), (&leaves, of_leaves)];
        with_cursors(queries, |[mut blocks, mut leaves]| {
            let mut leaf = leaves.next();
            while let Some(block) = blocks.next() {
                let number = block.bigint(1);
                at_block(number);
                fault_point!("verify.block_begun");
                let claims = self.rows.begin_block(&block_of(&block));
                let depth = self.rows.depth();
                self.read_claims(&claims, depth);
                while let Some(row) = leaf.take_if(|row| row.bigint(2) <= number) {
                    self.rows.leaf(&leaf_of(&row));
                    leaf = leaves.next();
                }
                if depth == Depth::Leaves && self.rows.needs_events() {
                    self.read_claims(&claims, Depth::Events);
                }
                self.rows.end_block();
                fault_point!("verify.block_ended");
            }
            while let Some(row) = leaf {
                self.rows.leaf(&leaf_of(&row));
                leaf = leaves.next();
            }
        });
    }

    /// Events that no block holds yet, and contexts without any event.
    fn read_unsealed(&mut self) {
        self.rows.begin_unsealed(server());
        let mut incarnations: Vec<i64> = [AUDIT_LOG, AUDIT_CONTEXT]
            .into_iter()
            .flat_map(store::incarnations)
            .map(|(incarnation, _)| incarnation)
            .collect();
        incarnations.sort_unstable();
        incarnations.dedup();
        for incarnation in incarnations {
            let before = self.rows.claims().of(incarnation);
            let xids = Snapshot::below(i64::MAX).ranges_since(&before);
            let (claims, depth) = ([Claim { incarnation, xids }], self.rows.depth());
            self.read_claims(&claims, depth);
            if depth == Depth::Leaves && self.rows.needs_events() {
                self.read_claims(&claims, Depth::Events);
            }
        }
    }

    /// Hands over the events of claims, each transaction's contexts before its events.
    fn read_claims(&mut self, claims: &[Claim], depth: Depth) {
        for part in claims.iter().flat_map(store::parts) {
            match depth {
                Depth::Nothing => {}
                Depth::Leaves => {
                    let query = part.query(&leaf_columns(), AUDIT_LOG, EVENT_ORDER);
                    for_each_row(&query, part.arguments(), |row| {
                        self.read.events += 1;
                        self.rows.event_leaf(&event_leaf_of(row));
                    });
                }
                Depth::Events => {
                    let events = part.query(EVENT_COLUMNS, AUDIT_LOG, EVENT_ORDER);
                    let contexts = part.query(CONTEXT_COLUMNS, AUDIT_CONTEXT, "number");
                    merge(
                        (&events, part.arguments()),
                        (&contexts, part.arguments()),
                        |read| self.take(read),
                    );
                }
            }
        }
    }

    fn take(&mut self, read: Read<'_>) {
        match read {
            Read::Context(context, hash) => {
                self.read.contexts += 1;
                self.rows.context(context, hash);
            }
            Read::Event(event) => {
                self.read.events += 1;
                self.rows.event(event);
                fault_point!("verify.event_read");
            }
        }
    }
}

/// A row of one of the two tables of events.
pub(super) enum Read<'a> {
    /// With its column `hash`.
    Context(&'a Context<'a>, &'a [u8]),
    Event(&'a StoredEvent<'a>),
}

/// Hands over the rows of a query of events and of one of contexts, each transaction's contexts before its
/// events.
pub(super) fn merge(
    events: (&CStr, Arguments<'_>),
    contexts: (&CStr, Arguments<'_>),
    mut each: impl FnMut(Read<'_>),
) {
    with_cursors([events, contexts], |[mut events, mut contexts]| {
        let mut context = contexts.next();
        while let Some(event) = events.next() {
            let xid = event.bigint(1);
            while let Some(row) = context.take_if(|row| row.bigint(1) <= xid) {
                with_context(&row, |context, hash| each(Read::Context(context, hash)));
                context = contexts.next();
            }
            with_event(&event, |event| each(Read::Event(event)));
        }
        while let Some(row) = context {
            with_context(&row, |context, hash| each(Read::Context(context, hash)));
            context = contexts.next();
        }
    });
}

/// Hands over the events of a claim with their contexts, in the order of the ledger.
pub(super) fn for_each_with_contexts(claim: &Claim, mut each: impl FnMut(Read<'_>)) {
    for part in store::parts(claim) {
        let events = part.query(EVENT_COLUMNS, AUDIT_LOG, EVENT_ORDER);
        let contexts = part.contexts(CONTEXT_COLUMNS);
        merge(
            (&events, part.arguments()),
            (&contexts, part.arguments()),
            &mut each,
        );
    }
}

const BLOCKS: &str = "SELECT version, block, epoch, incarnation, timeline, \
    snapshot, adopted, events, accounts, sealed_at, previous_hash, previous_size, previous_root, \
    previous_checkpoint, hash, tree_size, root, state, configuration_hash, configuration \
    FROM tenant_guard.ledger_block";

const LEAVES: &str = "SELECT epoch, position, block, account_id, blinded_id, events, \
    events_root, account_size, account_root, leaf_hash FROM tenant_guard.ledger_leaf";

/// Hands over a block by its number, if it is there.
pub(super) fn with_block<T>(number: i64, work: impl FnOnce(&StoredBlock<'_>) -> T) -> Option<T> {
    let query = store::query_text(&format!("{BLOCKS} WHERE block OPERATOR(pg_catalog.=) $1"));
    let argument = (pg_sys::INT8OID, pg_sys::Datum::from(number));
    with_cursors([(&query, &[argument])], |[mut blocks]| {
        blocks.next().map(|row| work(&block_of(&row)))
    })
}

/// All columns in the order of the table, so that PostgreSQL hands over its rows as they are:
/// putting together others cost as much as hashing them.
pub(super) const EVENT_COLUMNS: &str = "incarnation, xid, command_id, occurred_at, ordinal, context, kind, \
    action, account_id, relation, leaf_relation, row_key, target, redacted, hashed, data, personal, \
    personal_salt, personal_commitment, data_hash, leaf_hash";

/// What is read of an event whose leaf hash is taken as it is stored. Of its personal values it is
/// enough to know whether they are there.
fn leaf_columns() -> String {
    format!(
        "account_id, leaf_hash, incarnation, xid, ordinal, \
         CASE WHEN personal_commitment IS NULL THEN 0 ELSE 1 END \
             + CASE WHEN personal IS NULL THEN 0 ELSE 2 END \
             + CASE WHEN personal_salt IS NULL THEN 0 ELSE 4 END \
             + CASE WHEN data_hash IS NULL OR data IS NOT NULL THEN 0 ELSE 8 END, \
         CASE WHEN data_hash IS NOT NULL OR personal_commitment IS NOT NULL \
             AND (personal IS NULL OR personal_salt IS NULL) THEN relation END, \
         CASE WHEN kind OPERATOR(pg_catalog.=) 'system' \
             AND action OPERATOR(pg_catalog.=) '{}' THEN action END",
        erasure::ACTION
    )
}

fn event_leaf_of<'a>(row: &Row<'a>) -> EventLeaf<'a> {
    let there = row.integer(5);
    EventLeaf {
        key: EventKey {
            incarnation: row.bigint(2),
            xid: row.bigint(3),
            ordinal: row.integer(4),
        },
        account: row.text(0),
        relation: row.optional_text(6),
        leaf_hash: row.bytes(1),
        opening: Opening::of(there & 1 != 0, there & 2 != 0, there & 4 != 0),
        is_erasure: row.optional_text(7).is_some(),
        is_pruned: there & 8 != 0,
    }
}

pub(super) const CONTEXT_COLUMNS: &str = "incarnation, xid, transaction_start, number, issuer, token_id, \
    session, subject, role, session_role, \"current_role\", client_address, application_name, hash";

/// Hands over one event with the context it names, if that is there, and returns what came of it;
/// none where there is no such event.
pub(super) fn one_event<T>(
    key: EventKey,
    work: impl for<'a> FnOnce(&StoredEvent<'a>, Option<(&Context<'a>, &'a [u8])>) -> T,
) -> Option<T> {
    let (mut work, mut result) = (Some(work), None);
    let query = keyed(EVENT_COLUMNS, AUDIT_LOG, EVENT_ORDER);
    for_each_row(&query, &arguments(key, key.ordinal), |row| {
        with_event(row, |event| {
            let Some(work) = work.take() else { return };
            result = Some(match event.context {
                Some(number) => with_named(key, number, |context| work(event, context)),
                None => work(event, None),
            });
        });
    });
    result
}

/// Hands over a context of a transaction by its number.
fn with_named<T>(
    key: EventKey,
    number: i16,
    work: impl for<'a> FnOnce(Option<(&Context<'a>, &'a [u8])>) -> T,
) -> T {
    let (mut work, mut result) = (Some(work), None);
    let query = keyed(CONTEXT_COLUMNS, AUDIT_CONTEXT, "number");
    for_each_row(&query, &arguments(key, number.into()), |row| {
        with_context(row, |context, hash| {
            if let Some(work) = work.take() {
                result = Some(work(Some((context, hash))));
            }
        });
    });
    match (result, work) {
        (Some(result), _) => result,
        (None, work) => work.expect("only a row takes it")(None),
    }
}

/// The query of one row of a transaction. `number` is the column that tells them apart.
fn keyed(columns: &str, table: &str, number: &str) -> CString {
    store::query_text(&format!(
        "SELECT {columns} FROM tenant_guard.{table} \
         WHERE incarnation OPERATOR(pg_catalog.=) $1 AND xid OPERATOR(pg_catalog.=) $2 \
             AND {number} OPERATOR(pg_catalog.=) $3"
    ))
}

fn arguments(key: EventKey, number: i32) -> [(pg_sys::Oid, pg_sys::Datum); 3] {
    [
        (pg_sys::INT8OID, pg_sys::Datum::from(key.incarnation)),
        (pg_sys::INT8OID, pg_sys::Datum::from(key.xid)),
        (pg_sys::INT4OID, pg_sys::Datum::from(number)),
    ]
}

pub(super) fn with_context<T>(row: &Row<'_>, work: impl FnOnce(&Context<'_>, &[u8]) -> T) -> T {
    let roles = row.texts(8);
    let context = Context {
        incarnation: row.bigint(0),
        xid: row.bigint(1),
        number: row.smallint(3),
        issuer: row.optional_text(4),
        token_id: row.optional_text(5),
        session: row.optional_text(6),
        subject: row.optional_text(7),
        roles: roles.as_deref(),
        session_role: row.text(9),
        current_role: row.text(10),
        client_address: row.optional_text(11),
        application_name: row.optional_text(12),
        transaction_start: to_unix(row.bigint(2)),
    };
    work(&context, row.bytes(13))
}

pub(super) fn with_event<T>(row: &Row<'_>, work: impl FnOnce(&StoredEvent<'_>) -> T) -> T {
    let (redacted, hashed) = (names(row.texts(13)), names(row.texts(14)));
    let entry = Entry {
        key: EventKey {
            incarnation: row.bigint(0),
            xid: row.bigint(1),
            ordinal: row.integer(4),
        },
        command_id: row.bigint(2),
        kind: row.text(6),
        action: row.text(7),
        account: row.text(8),
        relation: row.optional_text(9),
        leaf_relation: row.optional_text(10),
        row_key: row.optional_text(11),
        target: row.optional_text(12),
        occurred_at: to_unix(row.bigint(3)),
        context: None,
        data: row.optional_text(15),
        personal: row.optional_bytes(18),
        redacted: &redacted,
        hashed: &hashed,
    };
    work(&StoredEvent {
        entry,
        context: row.optional_smallint(5),
        leaf_hash: row.bytes(20),
        data_hash: row.optional_bytes(19),
        personal: row.optional_text(16),
        personal_salt: row.optional_bytes(17),
    })
}

/// Names of columns. Where there are none the list is NULL: an empty one is damage.
fn names(list: Option<Vec<&str>>) -> Vec<&str> {
    match list {
        None => Vec::new(),
        Some(names) if names.is_empty() => vec![NO_TEXT],
        Some(names) => names,
    }
}

fn block_of<'a>(row: &Row<'a>) -> StoredBlock<'a> {
    StoredBlock {
        version: row.smallint(0).into(),
        block: row.bigint(1),
        epoch: row.bigint(2),
        incarnation: row.bigint(3),
        timeline: row.integer(4),
        snapshot: row.text(5),
        adopted: row.text(6),
        events: row.bigint(7),
        accounts: row.bigint(8),
        sealed_at: to_unix(row.bigint(9)),
        previous_hash: row.bytes(10),
        previous_size: row.bigint(11),
        previous_root: row.bytes(12),
        previous_checkpoint: row.optional_text(13),
        hash: row.bytes(14),
        tree_size: row.bigint(15),
        root: row.bytes(16),
        state: row.bytes(17),
        configuration_hash: row.bytes(18),
        configuration: row.optional_text(19),
    }
}

fn leaf_of<'a>(row: &Row<'a>) -> StoredLeaf<'a> {
    StoredLeaf {
        epoch: row.bigint(0),
        position: row.bigint(1),
        block: row.bigint(2),
        account: row.optional_text(3),
        blinded_id: row.optional_bytes(4),
        events: row.optional_bigint(5),
        events_root: row.optional_bytes(6),
        size: row.optional_bigint(7),
        root: row.optional_bytes(8),
        leaf_hash: row.bytes(9),
    }
}
