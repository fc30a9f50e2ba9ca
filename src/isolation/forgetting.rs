//! Rows of ours about relations that were dropped, cleared out before a number comes to mean another
//! relation.
//!
//! Of some relations now and then, one after the other: of all, and to declare ten thousand would take the
//! square.

use std::cell::Cell;

use pgrx::prelude::*;

use super::registry::read_often;
use crate::catalog::write;

/// How many rows are looked at each time.
const LOOKED_AT: i32 = 256;

/// How many times nobody looks after a look that found nothing.
const RESTS: u32 = 15;

/// Below every relation's number, and not the invalid one, which is passed to SQL as null.
const BEFORE_ALL: pg_sys::Oid = pg_sys::Oid::from_u32(1);
const LAST_OID: pg_sys::Oid = pg_sys::Oid::from_u32(u32::MAX);

/// What is looked at, by the table that leads.
pub(super) struct Sweep {
    /// The last relation among the next $2 rows after relation $1, and how many rows these are.
    next: &'static str,
    /// Whether a relation after $1 and up to $2 is gone.
    any_gone: &'static str,
    tables: &'static [&'static str],
    /// The last relation that was looked at in this session.
    up_to: Cell<pg_sys::Oid>,
    resting: Cell<u32>,
}

macro_rules! next {
    ($table:literal) => {
        concat!(
            "SELECT max(t.relation), count(*)::int4 FROM ( \
                 SELECT relation::oid FROM tenant_guard.",
            $table,
            " WHERE relation > $1 ORDER BY relation LIMIT $2) AS t"
        )
    };
}

macro_rules! any_gone {
    ($first:literal $(, $more:literal)*) => {
        concat!("SELECT ", any_gone!(@of $first) $(, " OR ", any_gone!(@of $more))*)
    };
    (@of $table:literal) => {
        concat!(
            "EXISTS (SELECT FROM tenant_guard.",
            $table,
            " AS t WHERE t.relation > $1 AND t.relation <= $2 \
                 AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation))"
        )
    };
}

macro_rules! sweep {
    ($first:literal $(, $more:literal)*) => {
        Sweep {
            next: next!($first),
            any_gone: any_gone!($first $(, $more)*),
            tables: &[$first $(, $more)*],
            up_to: Cell::new(BEFORE_ALL),
            resting: Cell::new(0),
        }
    };
}

thread_local! {
    pub(super) static PROTECTED: Sweep = const {
        sweep!(
            "protection_member",
            "protection",
            "protection_link",
            "protection_column",
            "permission"
        )
    };
    pub(super) static NUMBERED: Sweep = const { sweep!("capture_column") };
    pub(super) static ANNOTATED: Sweep = const { sweep!("annotation") };
    pub(super) static AUDITED: Sweep = const { sweep!("capture_rule") };
}

impl Sweep {
    /// Looks at the next rows, and clears out those of relations that are gone.
    pub(super) fn go_on(&self) {
        if self.resting.get() > 0 {
            self.resting.set(self.resting.get() - 1);
            return;
        }
        let after = self.up_to.get();
        let last = read_often(self.next, &[after.into(), LOOKED_AT.into()], |row| {
            Ok((row.get::<pg_sys::Oid>(1)?, row.get::<i32>(2)?))
        });
        let last = last.into_iter().find_map(|(last, number)| {
            // Of what is left everything, and then from the beginning.
            last.filter(|_| number == Some(LOOKED_AT))
        });
        self.up_to.set(last.unwrap_or(BEFORE_ALL));
        let range = || [after.into(), last.unwrap_or(LAST_OID).into()];
        let gone = read_often(self.any_gone, &range(), |row| row.get::<bool>(1));
        if !gone.contains(&Some(true)) {
            self.resting.set(RESTS);
            return;
        }
        for table in self.tables {
            write(
                &format!(
                    "DELETE FROM tenant_guard.{table} AS t \
                     WHERE t.relation > $1 AND t.relation <= $2 \
                         AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation)"
                ),
                &range(),
            );
        }
    }
}
