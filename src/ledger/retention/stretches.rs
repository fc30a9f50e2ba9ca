//! Runs of blocks whose events are gone through together.

use pgrx::pg_sys;
use tenant_guard_core::ledger::{Claim, Claims, Snapshot};

use crate::clock;
use crate::ledger::rows::{Row, for_each_row};
use crate::ledger::store;

/// Consecutive blocks.
pub(super) struct Stretch {
    pub(super) first: i64,
    pub(super) last: i64,
    /// Events they held when they were sealed.
    pub(super) events: i64,
    /// Which events those are.
    pub(super) claims: Vec<Claim>,
}

/// A block as far as it says which events it holds.
struct Block {
    number: i64,
    incarnation: i64,
    timeline: i64,
    events: i64,
    snapshot: Snapshot,
}

impl Block {
    fn continues(&self, before: &Self) -> bool {
        (self.incarnation, self.timeline) == (before.incarnation, before.timeline)
    }
}

fn block_of(row: &Row<'_>) -> Block {
    let Ok(snapshot) = row.text(4).parse() else {
        crate::error::Error::BrokenLedger("the snapshot of a block").raise()
    };
    Block {
        number: row.bigint(0),
        incarnation: row.bigint(1),
        timeline: row.bigint(2),
        events: row.bigint(3),
        snapshot,
    }
}

/// Events of the blocks that one statement goes through.
const AT_ONCE: i64 = 10_000;

/// The first blocks of a range that hold any event, of about so many events, in stretches. What lies between two
/// of them holds nothing, so what the later one adds to the earlier is what it holds.
pub(super) fn stretches(first: i64, last: i64, most: i64) -> Vec<Stretch> {
    let mut blocks = Vec::new();
    for_each_row(
        c"SELECT block, incarnation, timeline::pg_catalog.int8, events, snapshot \
          FROM tenant_guard.ledger_block \
          WHERE block OPERATOR(pg_catalog.>=) $1 AND block OPERATOR(pg_catalog.<=) $2 \
              AND (events OPERATOR(pg_catalog.>) 0 OR block OPERATOR(pg_catalog.=) $1) \
          ORDER BY block LIMIT $3",
        &[
            (pg_sys::INT8OID, pg_sys::Datum::from(first - 1)),
            (pg_sys::INT8OID, pg_sys::Datum::from(last)),
            // Each holds an event.
            (pg_sys::INT8OID, pg_sys::Datum::from(most.saturating_add(1))),
        ],
        |row| blocks.push(block_of(row)),
    );
    let mut found: Vec<Stretch> = Vec::new();
    let mut before: Option<&Block> = None;
    let mut claims_of_epoch = false;
    // Claims of the blocks before the stretch in hand, while it goes on.
    let mut claims = Claims::default();
    let mut events = 0;
    for block in &blocks {
        if events >= most {
            break;
        }
        let continued = before.is_some_and(|before| block.continues(before));
        // What an epoch takes over is in its first block, which stands alone.
        let joins = !claims_of_epoch
            && found
                .last()
                .is_some_and(|last| continued && last.events + block.events <= most.min(AT_ONCE));
        if block.number < first {
            before = Some(block);
            continue;
        }
        events += block.events;
        match found.last_mut() {
            Some(last) if joins => {
                last.last = block.number;
                last.events += block.events;
                last.claims = of_range(&claims, block);
            }
            _ => {
                let held = match before {
                    Some(before) if continued => {
                        claims = Claims::of_newest(before.incarnation, before.snapshot.clone());
                        of_range(&claims, block)
                    }
                    _ => {
                        claims = Claims::default();
                        store::claims_of_block(block.number)
                    }
                };
                claims_of_epoch = !continued;
                found.push(Stretch {
                    first: block.number,
                    last: block.number,
                    events: block.events,
                    claims: held,
                });
            }
        }
        before = Some(block);
    }
    found
}

/// What the blocks up to this one hold that those before the stretch do not.
fn of_range(before: &Claims, last: &Block) -> Vec<Claim> {
    let adopted = Default::default();
    before
        .clone()
        .add_block(last.incarnation, last.snapshot.clone(), &adopted)
}

/// The last block up to which all were sealed before a time, where all up to `from` were: it reads those after
/// it alone.
pub(super) fn last_before(time: i64, from: i64) -> i64 {
    let time = pg_sys::Datum::from(clock::from_unix(time));
    let mut last = 0;
    for_each_row(
        c"SELECT COALESCE( \
              (SELECT block OPERATOR(pg_catalog.-) 1::pg_catalog.int8 FROM tenant_guard.ledger_block \
               WHERE block OPERATOR(pg_catalog.>) $2 AND sealed_at OPERATOR(pg_catalog.>=) $1 \
               ORDER BY block LIMIT 1), \
              (SELECT pg_catalog.max(block) FROM tenant_guard.ledger_block), 0)",
        &[
            (pg_sys::TIMESTAMPTZOID, time),
            (pg_sys::INT8OID, pg_sys::Datum::from(from)),
        ],
        |row| last = row.bigint(0),
    );
    last
}
