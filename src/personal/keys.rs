//! Whether a key can be that of a row: one that cannot keeps nothing and finds nothing.

use std::collections::{BTreeSet, HashSet};

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::history::split;
use tenant_guard_core::row_key::{KeyColumns, Shape, Written, normalised};

use crate::audit::values::Form;
use crate::error::Error;
use crate::ledger::rows::for_each_row;

/// Raises where a hold on a row would keep nothing: its key is none that rows of these relations have
/// now, and no event of the account has it. Under the active snapshot, as the owner.
pub(super) fn refuse_unheld(account: &str, relation: &str, names: &BTreeSet<String>, key: &str) {
    let columns = columns_of(names);
    if columns.iter().any(|columns| columns.admit(key)) {
        return;
    }
    let mut found = false;
    for_each_key(names, |of, logged| found |= of == account && logged == key);
    if !found {
        refuse(relation, &columns);
    }
}

/// Raises where one of the keys is neither like those that rows of the relation have now, nor like any
/// that its events have. Under the active snapshot, as the owner.
pub(super) fn refuse_foreign(relation: &str, keys: &HashSet<String>) {
    let names = BTreeSet::from([relation.to_owned()]);
    let columns = columns_of(&names);
    let fits = |key: &&String| columns.iter().any(|columns| columns.admit(key));
    let others: BTreeSet<Shape> = { keys.iter().filter(|key| !fits(key)) }
        .filter_map(|key| Shape::of(key))
        .collect();
    if others.is_empty() {
        return;
    }
    let mut logged = BTreeSet::new();
    for_each_key(&names, |_, key| logged.extend(Shape::of(&key)));
    let is_logged = |other: &Shape| logged.iter().any(|shape| other.is_like(shape));
    if !others.iter().all(is_logged) {
        refuse(relation, &columns);
    }
}

fn refuse(relation: &str, columns: &[KeyColumns]) -> ! {
    let expected = {
        columns
            .iter()
            .find(|columns| matches!(columns, KeyColumns::Key(_)))
    }
    .or(columns.first())
    .map(|columns| format!("Its rows are named like {columns}."));
    Error::ForeignRowKey(relation.to_owned(), expected).raise()
}

/// Hands over account and normalised key of the events of relations.
fn for_each_key(names: &BTreeSet<String>, mut each: impl FnMut(&str, String)) {
    if !crate::ledger::exists() {
        return;
    }
    let names: Vec<String> = names.iter().cloned().collect();
    for_each_row(
        // As personal_events() finds them.
        c"SELECT l.account_id, CASE WHEN l.row_key IS NULL AND l.action = 'insert' THEN l.data \
              ELSE l.row_key END \
          FROM tenant_guard.audit_log AS l \
          WHERE l.kind = 'row' AND (l.relation = ANY ($1) OR l.leaf_relation = ANY ($1))",
        &[texts(names)],
        |row| {
            if let Some(key) = row.optional_text(1).and_then(normalised) {
                each(row.text(0), key);
            }
        },
    );
}

/// What names rows of the tables of these names and of those that inherit from them, as capture writes
/// it for each of them.
fn columns_of(names: &BTreeSet<String>) -> Vec<KeyColumns> {
    let parts = names.iter().filter_map(|name| split(name).ok());
    let (schemas, tables): (Vec<String>, Vec<String>) = parts.unzip();
    let mut found: Vec<(i64, KeyColumns)> = Vec::new();
    for_each_row(
        c"WITH RECURSIVE tree AS ( \
              SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
              JOIN unnest($1, $2) AS p (nsp, rel) ON n.nspname = p.nsp AND c.relname = p.rel \
              WHERE c.relkind IN ('r', 'p', 'f') \
              UNION SELECT i.inhrelid FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.oid) \
          SELECT t.oid::bigint, (i.indexrelid IS NOT NULL)::integer, a.attname::text, \
              a.atttypid::bigint \
          FROM tree AS t \
          JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped \
          LEFT JOIN pg_index AS i ON i.indrelid = t.oid AND i.indisprimary \
              AND i.indimmediate AND i.indisvalid \
          WHERE i.indexrelid IS NULL OR EXISTS ( \
              SELECT FROM unnest(i.indkey) WITH ORDINALITY AS k (n, place) \
              WHERE k.n = a.attnum AND k.place <= i.indnkeyatts) \
          ORDER BY t.oid, a.attnum",
        &[texts(schemas), texts(tables)],
        |row| {
            let (oid, keyed) = (row.bigint(0), row.integer(1) == 1);
            let kind = u32::try_from(row.bigint(3)).unwrap_or_default();
            let column = (row.text(2).to_owned(), written(pg_sys::Oid::from(kind)));
            match found.last_mut() {
                Some((last, KeyColumns::Key(columns) | KeyColumns::Row(columns)))
                    if *last == oid =>
                {
                    columns.push(column);
                }
                _ if keyed => found.push((oid, KeyColumns::Key(vec![column]))),
                _ => found.push((oid, KeyColumns::Row(vec![column]))),
            }
        },
    );
    found.into_iter().map(|(_, columns)| columns).collect()
}

fn written(type_id: pg_sys::Oid) -> Written {
    match Form::of(type_id) {
        Form::Bool => Written::Boolean,
        Form::Int2 | Form::Int4 | Form::Int8 | Form::Oid => Written::Integer,
        Form::Number(_) => Written::Number,
        Form::Uuid => Written::Uuid,
        Form::JsonText | Form::Json(_) => Written::Any,
        Form::Text
        | Form::Bytea
        | Form::Date
        | Form::Timestamp
        | Form::Timestamptz
        | Form::Other(_) => Written::Text,
    }
}

fn texts(texts: Vec<String>) -> (pg_sys::Oid, pg_sys::Datum) {
    let datum = texts.into_datum().expect("a vector is no NULL");
    (pg_sys::TEXTARRAYOID, datum)
}
