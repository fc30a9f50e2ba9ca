//! Verification: streams the stored rows through the core's verifier.

use std::ffi::CStr;

use pgrx::prelude::*;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::event::{Context, Entry, EventKey};
use tenant_guard_core::ledger::{
    Claim, Finding, Scope, Snapshot, StoredAccount, StoredBlock, StoredEvent, StoredLeaf, Verifier,
};

use super::rows::{Cursor, NO_TEXT, Row, for_each_row, with_cursors, with_latest_snapshot};
use super::store::{self, AUDIT_CONTEXT, AUDIT_LOG, EVENT_ORDER};
use crate::audit::transaction;
use crate::catalog::as_owner;
use crate::clock::to_unix;
use crate::error::{Error, OrRaise};

/// Recomputes the ledger: a row for each thing that is not as it was sealed, none when it is
/// intact.
///
/// `account` narrows the check of events to one account. `against` is a checkpoint taken earlier;
/// without one a consistent removal of the newest blocks is not found.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn verify_ledger(
    account: Option<&str>,
    against: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(code, &'static str),
        name!(block, Option<i64>),
        name!(account_id, Option<String>),
        name!(event_id, Option<String>),
        name!(relation, Option<String>),
        name!(detail, String),
    ),
> {
    let scope = account.map_or(Ok(Scope::All), scope_of).or_raise();
    let against = against
        .map(|text| {
            text.parse::<Checkpoint>()
                .map_err(|_| Error::UnfitCheckpoint)
        })
        .transpose()
        .or_raise();
    let findings = as_owner(|| with_latest_snapshot(|| verify(scope, against)));
    TableIterator::new(findings.into_iter().map(|found| {
        let Finding {
            code,
            block,
            account,
            event_id,
            relation,
            detail,
        } = found;
        (code.as_str(), block, account, event_id, relation, detail)
    }))
}

/// The system account is the empty text, which names no account of a token.
fn scope_of(account: &str) -> Result<Scope, Error> {
    if account.is_empty() {
        return Ok(Scope::Account(String::new()));
    }
    let account = AccountId::from_text(account).map_err(|_| Error::UnfitAccount)?;
    Ok(Scope::Account(account.as_str().to_owned()))
}

fn verify(scope: Scope, against: Option<Checkpoint>) -> Vec<Finding> {
    let mut verifier = Verifier::new(scope, against);
    if store::exists() {
        read_accounts(&mut verifier);
        read_blocks(&mut verifier);
        read_unsealed(&mut verifier);
    }
    verifier.finish();
    verifier.take_findings()
}

fn read_accounts(verifier: &mut Verifier) {
    let query = c"SELECT account_id, blinding, size, state FROM tenant_guard.ledger_account \
                  ORDER BY account_id COLLATE \"C\"";
    for_each_row(query, &[], |row| {
        verifier.account(&StoredAccount {
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

fn read_blocks(verifier: &mut Verifier) {
    with_cursors(
        [(BLOCKS, &[]), (LEAVES, &[])],
        |[mut blocks, mut leaves]| {
            let mut leaf = leaves.next();
            while let Some(block) = blocks.next() {
                let number = block.bigint(1);
                for claim in verifier.begin_block(&block_of(&block)) {
                    read_events(verifier, &claim);
                }
                while let Some(row) = leaf.take_if(|row| row.bigint(2) <= number) {
                    verifier.leaf(&leaf_of(&row));
                    leaf = leaves.next();
                }
                verifier.end_block();
            }
            while let Some(row) = leaf {
                verifier.leaf(&leaf_of(&row));
                leaf = leaves.next();
            }
        },
    );
}

/// Events that no block holds yet, and contexts without any event.
fn read_unsealed(verifier: &mut Verifier) {
    verifier.begin_unsealed(transaction::incarnation());
    let mut incarnations: Vec<i64> = [AUDIT_LOG, AUDIT_CONTEXT]
        .into_iter()
        .flat_map(store::incarnations)
        .map(|(incarnation, _)| incarnation)
        .collect();
    incarnations.sort_unstable();
    incarnations.dedup();
    for incarnation in incarnations {
        let before = verifier.claims().of(incarnation);
        let xids = Snapshot::below(i64::MAX).ranges_since(&before);
        read_events(verifier, &Claim { incarnation, xids });
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
fn read_events(verifier: &mut Verifier, claim: &Claim) {
    for part in store::parts(claim) {
        let events = part.query(EVENT_COLUMNS, AUDIT_LOG, EVENT_ORDER);
        let contexts = part.query(CONTEXT_COLUMNS, AUDIT_CONTEXT, "number");
        with_cursors(
            [(&events, part.arguments()), (&contexts, part.arguments())],
            |[mut events, mut contexts]| merge(verifier, &mut events, &mut contexts),
        );
    }
}

fn merge(verifier: &mut Verifier, events: &mut Cursor, contexts: &mut Cursor) {
    let mut context = contexts.next();
    while let Some(event) = events.next() {
        let xid = event.bigint(1);
        while let Some(row) = context.take_if(|row| row.bigint(1) <= xid) {
            give_context(verifier, &row);
            context = contexts.next();
        }
        give_event(verifier, &event);
    }
    while let Some(row) = context {
        give_context(verifier, &row);
        context = contexts.next();
    }
}

fn give_context(verifier: &mut Verifier, row: &Row<'_>) {
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
    verifier.context(&context, row.bytes(13));
}

fn give_event(verifier: &mut Verifier, row: &Row<'_>) {
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
    verifier.event(&StoredEvent {
        entry,
        context: row.optional_smallint(5),
        leaf_hash: row.bytes(19),
        personal: row.optional_text(16),
        personal_salt: row.optional_bytes(17),
    });
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
