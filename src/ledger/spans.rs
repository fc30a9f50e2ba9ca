//! Which transactions the partitions of a table hold, so that reading block after block does not
//! look into all of them each time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tenant_guard_core::month::names_partition;

use super::rows::for_each_row;
use super::store::query_text;

/// Queries under one snapshot before it is worth knowing.
const FEW: u32 = 4;

/// The lowest and the highest transaction of an incarnation in a partition.
struct Span {
    incarnation: i64,
    lowest: i64,
    highest: i64,
    partition: Rc<str>,
}

/// What is known under the running snapshot.
#[derive(Default)]
struct Known {
    asked: u32,
    tables: HashMap<String, Rc<[Span]>>,
}

thread_local! {
    /// Nothing where no snapshot of ours is active.
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

/// Runs `work`, under a snapshot of its own.
pub(super) fn under_one_snapshot<T>(work: impl FnOnce() -> T) -> T {
    struct Outer(Option<Known>);
    impl Drop for Outer {
        fn drop(&mut self) {
            KNOWN.replace(self.0.take());
        }
    }

    let _outer = Outer(KNOWN.replace(Some(Known::default())));
    work()
}

/// The name of the table, or of its one partition that holds transactions of an incarnation between
/// these, both included.
pub(super) fn narrowest(table: &str, incarnation: i64, lowest: i64, highest: i64) -> Rc<str> {
    let spans = of(table);
    let mut holding = spans.iter().filter(|span| {
        span.incarnation == incarnation && span.lowest <= highest && lowest <= span.highest
    });
    match (holding.next(), holding.next()) {
        (Some(only), None) => only.partition.clone(),
        _ => table.into(),
    }
}

fn of(table: &str) -> Rc<[Span]> {
    let known = KNOWN.with_borrow_mut(|known| {
        let known = known.as_mut()?;
        known.asked = known.asked.saturating_add(1);
        match known.asked <= FEW {
            true => None,
            false => Some(known.tables.get(table).cloned()),
        }
    });
    match known {
        None => Rc::new([]),
        Some(Some(spans)) => spans,
        Some(None) => {
            let spans: Rc<[Span]> = read(table).into();
            KNOWN.with_borrow_mut(|known| {
                if let Some(known) = known {
                    known.tables.insert(table.to_owned(), spans.clone());
                }
            });
            spans
        }
    }
}

/// Nothing where a partition is not as our code names them: then all are to be read.
fn read(table: &str) -> Vec<Span> {
    let partitions = query_text(&format!(
        "SELECT CASE WHEN c.relnamespace OPERATOR(pg_catalog.=) p.relnamespace \
             THEN c.relname::pg_catalog.text END \
         FROM pg_catalog.pg_class AS p \
         JOIN pg_catalog.pg_inherits AS i ON i.inhparent OPERATOR(pg_catalog.=) p.oid \
         JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid \
         WHERE p.oid OPERATOR(pg_catalog.=) 'tenant_guard.{table}'::pg_catalog.regclass"
    ));
    let mut names = Vec::new();
    for_each_row(&partitions, &[], |row| {
        names.push(row.optional_text(0).map(Rc::<str>::from));
    });
    let ours: Option<Vec<Rc<str>>> = names
        .into_iter()
        .map(|name| name.filter(|name| names_partition(name, table)))
        .collect();
    let mut spans = Vec::new();
    for partition in ours.unwrap_or_default() {
        for_each_row(&extremes(&partition), &[], |row| {
            spans.push(Span {
                incarnation: row.bigint(0),
                lowest: row.bigint(1),
                highest: row.bigint(2),
                partition: partition.clone(),
            });
        });
    }
    spans
}

/// The query of each incarnation in a table with its lowest and highest transaction. One index
/// descent for each of them, however many rows there are.
pub(super) fn extremes(table: &str) -> std::ffi::CString {
    let of_incarnation = |what| {
        format!(
            "(SELECT pg_catalog.{what}(xid) FROM tenant_guard.{table} AS a \
              WHERE a.incarnation OPERATOR(pg_catalog.=) i.n)"
        )
    };
    query_text(&format!(
        "WITH RECURSIVE i (n) AS ( \
            SELECT pg_catalog.min(incarnation) FROM tenant_guard.{table} \
            UNION ALL \
            SELECT (SELECT pg_catalog.min(incarnation) FROM tenant_guard.{table} AS a \
                    WHERE a.incarnation OPERATOR(pg_catalog.>) i.n) \
            FROM i WHERE i.n IS NOT NULL) \
         SELECT n, {}, {} FROM i WHERE n IS NOT NULL",
        of_incarnation("min"),
        of_incarnation("max")
    ))
}
