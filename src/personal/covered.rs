//! The relations a hold is about: under all names they had, with the tables that inherit from them.

use std::collections::BTreeSet;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::history::{qualified, split};
use tenant_guard_core::hold::add_renamed;

use crate::ledger::rows::for_each_row;

/// Whether a name is that of a table as the log writes it, or that of any event. Under the active
/// snapshot, as the owner.
pub(super) fn is_known(name: &str) -> bool {
    let Ok((schema, table)) = split(name) else {
        return false;
    };
    let mut found = false;
    let arguments = [schema, table].map(|part| text(&part));
    for_each_row(
        c"SELECT 1::bigint FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
          WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'f')",
        &arguments,
        |_| found = true,
    );
    if !found && crate::ledger::exists() {
        for_each_row(
            c"SELECT 1::bigint FROM tenant_guard.audit_log AS l \
              WHERE l.kind = 'row' AND (l.relation = $1 OR l.leaf_relation = $1) LIMIT 1",
            &[text(name)],
            |_| found = true,
        );
    }
    found
}

/// These names and all that a hold on them is about, by changes of names from the log and by what
/// inherits now. Events of a partition bear its root's name as well, so of a row in a partition the
/// root is in. Under the active snapshot, as the owner.
pub(super) fn with_relatives(
    mut names: BTreeSet<String>,
    renames: &[(String, String)],
    of_row: bool,
) -> BTreeSet<String> {
    loop {
        let before = names.len();
        add_renamed(&mut names, renames);
        let found = relatives(&names, of_row);
        names.extend(found);
        if names.len() == before {
            return names;
        }
    }
}

fn relatives(names: &BTreeSet<String>, of_row: bool) -> Vec<String> {
    let parts = names.iter().filter_map(|name| split(name).ok());
    let (schemas, tables): (Vec<String>, Vec<String>) = parts.unzip();
    let list = |texts: Vec<String>| {
        let datum = texts.into_datum().expect("a vector is no NULL");
        (pg_sys::TEXTARRAYOID, datum)
    };
    let of_row = (pg_sys::BOOLOID, pg_sys::Datum::from(of_row));
    let mut found = Vec::new();
    for_each_row(
        c"WITH RECURSIVE named AS ( \
              SELECT c.oid, c.relispartition FROM pg_class AS c \
              JOIN pg_namespace AS n ON n.oid = c.relnamespace \
              JOIN unnest($1, $2) AS p (nsp, rel) ON n.nspname = p.nsp AND c.relname = p.rel), \
          tree AS ( \
              SELECT oid FROM named \
              UNION SELECT pg_partition_root(oid) FROM named WHERE $3 AND relispartition \
              UNION SELECT i.inhrelid FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.oid \
                  JOIN pg_class AS c ON c.oid = i.inhrelid WHERE NOT c.relispartition) \
          SELECT n.nspname::text, c.relname::text FROM tree AS t JOIN pg_class AS c ON c.oid = t.oid \
          JOIN pg_namespace AS n ON n.oid = c.relnamespace",
        &[list(schemas), list(tables), of_row],
        |row| found.push(qualified(row.text(0), row.text(1))),
    );
    found
}

fn text(text: &str) -> (pg_sys::Oid, pg_sys::Datum) {
    let datum = text.into_datum().expect("a text is no NULL");
    (pg_sys::TEXTOID, datum)
}
