//! Reading the whole ledger in the order in which verification takes it.

use std::ffi::CStr;

use tenant_guard_core::event::{Context, Entry, EventKey};
use tenant_guard_core::ledger::{
    Claim, Rows, Snapshot, StoredAccount, StoredBlock, StoredEvent, StoredLeaf,
};

use super::rows::{Cursor, NO_TEXT, Row, for_each_row, with_cursors};
use super::store::{self, AUDIT_CONTEXT, AUDIT_LOG, EVENT_ORDER, Part};
use crate::audit::transaction;
use crate::clock::to_unix;

/// Hands over all rows under the active snapshot; none where there is no ledger.
pub(super) fn read_ledger(rows: &mut impl Rows) {
    if store::exists() {
        read_accounts(rows);
        read_blocks(rows);
        read_unsealed(rows);
    } else {
        rows.begin_unsealed(transaction::incarnation());
    }
}

fn read_accounts(rows: &mut impl Rows) {
    let query = c"SELECT account_id, blinding, size, state FROM tenant_guard.ledger_account \
                  ORDER BY account_id COLLATE \"C\"";
    for_each_row(query, &[], |row| {
        rows.account(&StoredAccount {
            account: row.text(0),
            blinding: row.bytes(1),
            size: row.bigint(2),
            state: row.bytes(3),
        });
    });
}

const BLOCKS: &CStr = c"SELECT version, block, epoch, incarnation, timeline, \
    snapshot, adopted, events, accounts, sealed_at, previous_hash, previous_size, previous_root, \
    previous_checkpoint, hash, tree_size, root, state, configuration_hash, configuration \
    FROM tenant_guard.ledger_block ORDER BY block";

const LEAVES: &CStr = c"SELECT epoch, position, block, account_id, blinded_id, events, \
    events_root, account_size, account_root, leaf_hash FROM tenant_guard.ledger_leaf ORDER BY block, position";

fn read_blocks(rows: &mut impl Rows) {
    with_cursors(
        [(BLOCKS, &[]), (LEAVES, &[])],
        |[mut blocks, mut leaves]| {
            let mut leaf = leaves.next();
            while let Some(block) = blocks.next() {
                let number = block.bigint(1);
                for claim in rows.begin_block(&block_of(&block)) {
                    read_events(rows, &claim);
                }
                while let Some(row) = leaf.take_if(|row| row.bigint(2) <= number) {
                    rows.leaf(&leaf_of(&row));
                    leaf = leaves.next();
                }
                rows.end_block();
            }
            while let Some(row) = leaf {
                rows.leaf(&leaf_of(&row));
                leaf = leaves.next();
            }
        },
    );
}

/// Events that no block holds yet, and contexts without any event.
fn read_unsealed(rows: &mut impl Rows) {
    rows.begin_unsealed(transaction::incarnation());
    let mut incarnations: Vec<i64> = [AUDIT_LOG, AUDIT_CONTEXT]
        .into_iter()
        .flat_map(store::incarnations)
        .map(|(incarnation, _)| incarnation)
        .collect();
    incarnations.sort_unstable();
    incarnations.dedup();
    for incarnation in incarnations {
        let before = rows.claims().of(incarnation);
        let xids = Snapshot::below(i64::MAX).ranges_since(&before);
        read_events(rows, &Claim { incarnation, xids });
    }
}

/// All columns in the order of the table, so that PostgreSQL hands over its rows as they are:
/// putting together others cost as much as hashing them.
const EVENT_COLUMNS: &str = "incarnation, xid, command_id, occurred_at, ordinal, context, kind, \
    action, account_id, relation, leaf_relation, row_key, target, redacted, hashed, data, personal, \
    personal_salt, personal_commitment, leaf_hash";

const CONTEXT_COLUMNS: &str = "incarnation, xid, transaction_start, number, issuer, token_id, \
    session, subject, role, session_role, \"current_role\", client_address, application_name, hash";

/// Hands over the events of a claim, each transaction's contexts before its events.
fn read_events(rows: &mut impl Rows, claim: &Claim) {
    for part in store::parts(claim) {
        let events = part.query(EVENT_COLUMNS, AUDIT_LOG, EVENT_ORDER);
        let contexts = part.query(CONTEXT_COLUMNS, AUDIT_CONTEXT, "number");
        with_cursors(
            [(&events, part.arguments()), (&contexts, part.arguments())],
            |[mut events, mut contexts]| merge(rows, &mut events, &mut contexts),
        );
    }
}

/// Hands each event of a claim to `each` with the context it names, if that is there, and returns
/// what came of it. For claims of one transaction: its contexts are kept.
pub(super) fn one_event<T>(
    claim: &Claim,
    mut each: impl for<'a> FnMut(&StoredEvent<'a>, Option<(&Context<'a>, &'a [u8])>) -> T,
) -> Vec<T> {
    let mut found = Vec::new();
    for part in store::parts(claim) {
        let events = part.query(EVENT_COLUMNS, AUDIT_LOG, EVENT_ORDER);
        for_each_row(&events, part.arguments(), |row| {
            with_event(row, |event| {
                let result = match event.context {
                    Some(number) => with_named(&part, number, |context| each(event, context)),
                    None => each(event, None),
                };
                found.push(result);
            });
        });
    }
    found
}

/// Hands over a context of a transaction by its number.
fn with_named<T>(
    part: &Part,
    number: i16,
    work: impl for<'a> FnOnce(Option<(&Context<'a>, &'a [u8])>) -> T,
) -> T {
    let contexts = part.query(CONTEXT_COLUMNS, AUDIT_CONTEXT, "number");
    let (mut work, mut result) = (Some(work), None);
    for_each_row(&contexts, part.arguments(), |row| {
        with_context(row, |context, hash| {
            if context.number == number && work.is_some() {
                result = work.take().map(|work| work(Some((context, hash))));
            }
        });
    });
    match (result, work) {
        (Some(result), _) => result,
        (None, work) => work.expect("only a row takes it")(None),
    }
}

fn merge(rows: &mut impl Rows, events: &mut Cursor, contexts: &mut Cursor) {
    let mut context = contexts.next();
    while let Some(event) = events.next() {
        let xid = event.bigint(1);
        while let Some(row) = context.take_if(|row| row.bigint(1) <= xid) {
            with_context(&row, |context, hash| rows.context(context, hash));
            context = contexts.next();
        }
        with_event(&event, |event| rows.event(event));
    }
    while let Some(row) = context {
        with_context(&row, |context, hash| rows.context(context, hash));
        context = contexts.next();
    }
}

fn with_context<T>(row: &Row<'_>, work: impl FnOnce(&Context<'_>, &[u8]) -> T) -> T {
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

fn with_event<T>(row: &Row<'_>, work: impl FnOnce(&StoredEvent<'_>) -> T) -> T {
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
        leaf_hash: row.bytes(19),
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
