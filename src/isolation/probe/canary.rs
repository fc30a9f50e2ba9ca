//! Rows of an account that nobody has, planted as the owner of each table would.

use std::collections::HashMap;

use pgrx::prelude::*;
use tenant_guard_core::policy::literal;
use tenant_guard_core::probe::{ValueType, Values, listed, mix, value};

use super::authors::{Leave, authors, has_rights};
use super::reach::tree;
use crate::catalog::{as_relation_owner, relation_owner, role_name};
use crate::clock::statement_start_us;
use crate::error::sqlstate;
use crate::isolation::registry::{self, links_of, read, root_of};
use crate::subtransaction::attempt;

/// More parents above a row than anybody has.
const DEEPEST: usize = 16;

/// The texts of a row's columns, by name.
type Row = HashMap<String, Option<String>>;

/// A row that was planted.
pub(super) struct Canary {
    /// The columns it was given, and those of its key.
    pub(super) given: Values,
    /// The partition or child that it is in.
    pub(super) leaf: pg_sys::Oid,
    /// Its physical place in that.
    place: String,
    /// The columns that make it the account's.
    pub(super) ownership: Values,
}

/// Beside the columns of a row, whose names hold no NUL.
const LEAF: &str = "\0leaf";
const PLACE: &str = "\0place";

impl Canary {
    /// Whether the row is there, as it was planted. Past row security, with the rights of the owner of
    /// `relation`, which it was planted in.
    pub(super) fn stands(&self, relation: pg_sys::Oid) -> bool {
        let query = format!(
            "SELECT count(*) FROM {} AS t WHERE t.tableoid OPERATOR(pg_catalog.=) {}::oid \
             AND t.ctid OPERATOR(pg_catalog.=) {}::tid",
            name(relation),
            self.leaf.to_u32(),
            literal(&self.place)
        );
        let found = as_relation_owner(relation, || {
            Spi::connect_mut(|client| client.update(&query, None, &[])?.first().get_one::<i64>())
        });
        matches!(found, Ok(Ok(Some(1))))
    }
}

/// A column as it is written.
struct Column {
    name: String,
    quoted: String,
    /// To cast to.
    type_name: String,
    value_type: ValueType,
    /// Whether nothing but an INSERT gives it a value, and it needs one.
    required: bool,
    /// Whether it can be given one.
    writable: bool,
    /// Whether it is part of the primary key.
    key: bool,
}

struct ForeignKey {
    columns: Vec<String>,
    parent: pg_sys::Oid,
    parent_columns: Vec<String>,
    full: bool,
}

/// Plants rows of one account, with all that they point to.
pub(super) struct Planter<'a> {
    pub(super) account: String,
    pub(super) subject: &'a str,
    pub(super) leave: &'a Leave,
    /// Values that the caller chose for the relation itself.
    pub(super) chosen: &'a HashMap<String, String>,
    pub(super) random: u64,
    planted: HashMap<pg_sys::Oid, Row>,
}

impl<'a> Planter<'a> {
    pub(super) fn new(
        account: String,
        subject: &'a str,
        leave: &'a Leave,
        chosen: &'a HashMap<String, String>,
        random: u64,
    ) -> Self {
        Self {
            account,
            subject,
            leave,
            chosen,
            random,
            planted: HashMap::new(),
        }
    }

    /// Plants a row of `relation`; in words, why it cannot be.
    pub(super) fn plant(&mut self, relation: pg_sys::Oid) -> Result<Canary, String> {
        let (columns, values) = self.values(relation, 0, true)?;
        let row = self.insert(relation, &columns, &values)?;
        let mut given = Values::new();
        for column in columns.iter().filter(|column| column.key) {
            if let Some(Some(value)) = row.get(&column.name) {
                given.push((
                    column.quoted.clone(),
                    column.type_name.clone(),
                    value.clone(),
                ));
            }
        }
        let key: Vec<_> = given.iter().map(|(column, ..)| column.clone()).collect();
        let others = values.iter().filter(|(column, ..)| !key.contains(column));
        given.extend(others.cloned());
        let leaf = row
            .get(LEAF)
            .and_then(|oid| oid.as_ref()?.parse::<u32>().ok());
        Ok(Canary {
            ownership: self.ownership(relation, &values),
            given,
            leaf: leaf.map_or(relation, pg_sys::Oid::from),
            place: row.get(PLACE).cloned().flatten().unwrap_or_default(),
        })
    }

    /// The values of a further row of `relation`, which is not planted.
    pub(super) fn another(&mut self, relation: pg_sys::Oid) -> Result<Values, String> {
        Ok(self.values(relation, 0, true)?.1)
    }

    /// Those of the values that say whose the row is.
    fn ownership(&self, relation: pg_sys::Oid, values: &Values) -> Values {
        let names = owning_columns(relation);
        let owning = values.iter().filter(|(column, ..)| names.contains(column));
        owning.cloned().collect()
    }

    /// The row of a parent, planted once.
    fn parent(&mut self, relation: pg_sys::Oid, depth: usize) -> Result<Row, String> {
        if let Some(row) = self.planted.get(&relation) {
            return Ok(row.clone());
        }
        if depth > DEEPEST {
            return Err(format!("{} needs a row of itself", name(relation)));
        }
        let (columns, values) = self.values(relation, depth, false)?;
        let row = self.insert(relation, &columns, &values)?;
        self.planted.insert(relation, row.clone());
        Ok(row)
    }

    fn values(
        &mut self,
        relation: pg_sys::Oid,
        depth: usize,
        target: bool,
    ) -> Result<(Vec<Column>, Values), String> {
        let columns = columns_of(relation);
        let mut known: HashMap<String, Option<String>> = HashMap::new();
        if target {
            let chosen = self.chosen.iter();
            known.extend(chosen.map(|(name, value)| (name.clone(), Some(value.clone()))));
        }
        let root = root_of(relation);
        if let Some(request) = root.and_then(registry::registered)
            && let Some(column) = request.column
        {
            known.insert(column, Some(self.account.clone()));
        }
        if let Some(link) = root.into_iter().flat_map(links_of).next() {
            let parent = self.parent(link.parent, depth + 1)?;
            known.insert(link.via, parent.get(&link.parent_key).cloned().flatten());
            if let Some((column, value)) = link.when {
                known.insert(column, Some(value));
            }
        }
        for key in foreign_keys(relation) {
            self.follow(&key, relation, depth, &columns, &mut known)?;
        }
        if let Some(root) = root {
            for owner in owner_columns(root) {
                known
                    .entry(owner)
                    .or_insert_with(|| Some(self.subject.to_owned()));
            }
        }
        let mut values = Values::new();
        for column in columns.iter().filter(|column| column.writable) {
            let made = match known.get(&column.name) {
                Some(Some(value)) => value.clone(),
                Some(None) | None if !column.required => continue,
                _ => self.make(relation, column)?,
            };
            values.push((column.quoted.clone(), column.type_name.clone(), made));
        }
        Ok((columns, values))
    }

    /// Plants what a foreign key points to, where it must point to something.
    fn follow(
        &mut self,
        key: &ForeignKey,
        relation: pg_sys::Oid,
        depth: usize,
        columns: &[Column],
        known: &mut HashMap<String, Option<String>>,
    ) -> Result<(), String> {
        let set = |name: &String| {
            let required = columns
                .iter()
                .any(|column| column.required && column.name == *name);
            required || known.get(name).is_some_and(Option::is_some)
        };
        let needed = match key.full {
            true => key.columns.iter().any(set),
            false => key.columns.iter().all(set),
        };
        let settled = key.columns.iter().all(|name| known.contains_key(name));
        if !needed || (settled && self.planted.contains_key(&key.parent)) {
            return Ok(());
        }
        if key.parent == relation {
            return Ok(());
        }
        let parent = self.parent(key.parent, depth + 1)?;
        for (column, of_parent) in key.columns.iter().zip(&key.parent_columns) {
            let value = parent.get(of_parent).cloned().flatten();
            known.entry(column.clone()).or_insert(value);
        }
        Ok(())
    }

    fn make(&mut self, relation: pg_sys::Oid, column: &Column) -> Result<String, String> {
        self.random = mix(self.random);
        value(&column.value_type, self.random, statement_start_us()).ok_or_else(|| {
            format!(
                "column {} of {} is of type {}: say a value in canary",
                column.quoted,
                name(relation),
                column.type_name
            )
        })
    }

    /// Why no row of `relation` is planted: with its owner's rights runs nobody's code who has them not,
    /// and nobody plants there who has them not.
    fn refuse(&self, relation: pg_sys::Oid) -> Result<(), String> {
        let Some(owner) = relation_owner(relation) else {
            return Err("a table is gone".into());
        };
        if !has_rights(self.leave.caller, owner) {
            return Err(format!(
                "{} is of {}, whose rights you do not have",
                name(relation),
                role_name(owner)
            ));
        }
        let authors = authors(&tree(relation), true);
        match self.leave.refusal(&authors, owner, false) {
            None => Ok(()),
            Some(refusal) => Err(refusal),
        }
    }

    /// Inserts a row with the rights of the table's owner, past its row security; the row as stored.
    fn insert(
        &self,
        relation: pg_sys::Oid,
        columns: &[Column],
        values: &Values,
    ) -> Result<Row, String> {
        let relation_name = name(relation);
        self.refuse(relation)?;
        let (into, written) = listed(values);
        // By format(), as a cast to text may call what the owner of a type wrote.
        let texts: Vec<_> = { columns.iter() }
            .map(|Column { quoted, .. }| {
                format!("CASE WHEN num_nulls(t.{quoted}) = 0 THEN format('%s', t.{quoted}) END")
            })
            .collect();
        let body = match values.is_empty() {
            true => "DEFAULT VALUES".to_owned(),
            false => format!("({into}) OVERRIDING SYSTEM VALUE VALUES ({written})"),
        };
        let statement = format!(
            "INSERT INTO {relation_name} AS t {body} \
             RETURNING t.tableoid::oid::text, t.ctid::text, {}",
            texts.join(", ")
        );
        let inserted = attempt(|| {
            let inserted = as_relation_owner(relation, || {
                Spi::connect_mut(|client| {
                    let rows = client.update(&statement, None, &[])?.first();
                    let mut row = Row::new();
                    row.insert(LEAF.into(), rows.get::<String>(1)?);
                    row.insert(PLACE.into(), rows.get::<String>(2)?);
                    for (place, column) in (3..).zip(columns) {
                        row.insert(column.name.clone(), rows.get::<String>(place)?);
                    }
                    Ok::<_, pgrx::spi::Error>(row)
                })
            });
            inserted
                .ok()
                .and_then(Result::ok)
                .filter(|row| row.values().any(Option::is_some))
        });
        match inserted {
            Ok(Some(row)) => Ok(row),
            Ok(None) => Err(format!("a trigger keeps rows from {relation_name}")),
            Err(error) => Err(format!(
                "no row can be planted in {relation_name}: SQLSTATE {}; say values in canary",
                sqlstate(error.sql_error_code())
            )),
        }
    }
}

/// Schema-qualified and quoted.
pub(super) fn name(relation: pg_sys::Oid) -> String {
    crate::isolation::lookup::name_of(relation).unwrap_or_default()
}

/// Quoted columns that decide whose a row is.
fn owning_columns(relation: pg_sys::Oid) -> Vec<String> {
    read(
        "SELECT quote_ident(p.account_column) FROM tenant_guard.protection AS p \
         WHERE p.relation = $1 AND p.account_column IS NOT NULL \
         UNION SELECT quote_ident(l.via) FROM tenant_guard.protection_link AS l \
         WHERE l.relation = $1",
        &[relation.into()],
        |row| row.get::<String>(1).map(Option::unwrap_or_default),
    )
}

/// Columns by which permissions tell whose own a row is.
fn owner_columns(root: pg_sys::Oid) -> Vec<String> {
    read(
        "SELECT DISTINCT p.owner_column::text FROM tenant_guard.permission AS p \
         WHERE p.relation = $1 AND p.owner_column IS NOT NULL",
        &[root.into()],
        |row| row.get::<String>(1).map(Option::unwrap_or_default),
    )
}

fn columns_of(relation: pg_sys::Oid) -> Vec<Column> {
    read(
        "SELECT a.attname::text, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), \
             format_type(b.oid, NULL), b.typtype::text, b.typcategory::text, \
             CASE WHEN b.oid IN (1042, 1043) AND b.typmod > 4 THEN b.typmod - 4 END, \
             ARRAY(SELECT e.enumlabel::text FROM pg_enum AS e WHERE e.enumtypid = b.oid \
              ORDER BY e.enumsortorder), \
             (a.attnotnull OR b.not_null) AND NOT a.atthasdef AND a.attidentity = '', \
             a.attgenerated = '', \
             EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = a.attrelid AND i.indisprimary \
                 AND a.attnum = ANY (i.indkey)), \
             CASE WHEN b.oid = 1700 AND b.typmod > 4 \
                 THEN greatest((b.typmod - 4 >> 16) - (b.typmod - 4 & 2047), 0) END \
         FROM pg_attribute AS a \
         CROSS JOIN LATERAL ( \
             WITH RECURSIVE below AS ( \
                 SELECT t.oid, t.typtype, t.typcategory, t.typbasetype, a.atttypmod AS typmod, \
                     t.typtypmod, t.typnotnull AND t.typdefault IS NULL AS not_null \
                 FROM pg_type AS t WHERE t.oid = a.atttypid \
                 UNION ALL \
                 SELECT t.oid, t.typtype, t.typcategory, t.typbasetype, b.typtypmod, t.typtypmod, \
                     b.not_null OR t.typnotnull AND t.typdefault IS NULL \
                 FROM below AS b JOIN pg_type AS t ON t.oid = b.typbasetype) \
             SELECT * FROM below WHERE typtype <> 'd') AS b \
         WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        &[relation.into()],
        |row| {
            let text = |n| row.get::<String>(n).map(Option::unwrap_or_default);
            let letter = |n| text(n).map(|text| text.chars().next().unwrap_or(' '));
            let flag = |n| row.get::<bool>(n).map(|flag| flag.unwrap_or(false));
            let (length, digits) = (row.get::<i32>(7)?, row.get::<i32>(12)?);
            Ok(Column {
                name: text(1)?,
                quoted: text(2)?,
                type_name: text(3)?,
                value_type: ValueType {
                    name: text(4)?,
                    kind: letter(5)?,
                    category: letter(6)?,
                    length: length.and_then(|length| usize::try_from(length).ok()),
                    labels: row.get::<Vec<String>>(8)?.unwrap_or_default(),
                    digits: digits.and_then(|digits| u32::try_from(digits).ok()),
                },
                required: flag(9)?,
                writable: flag(10)?,
                key: flag(11)?,
            })
        },
    )
}

fn foreign_keys(relation: pg_sys::Oid) -> Vec<ForeignKey> {
    read(
        "SELECT f.confrelid, f.confmatchtype = 'f', \
             ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY AS k (n, place) \
                 JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = k.n \
                 ORDER BY k.place), \
             ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY AS k (n, place) \
                 JOIN pg_attribute AS a ON a.attrelid = f.confrelid AND a.attnum = k.n \
                 ORDER BY k.place) \
         FROM pg_constraint AS f \
         WHERE f.contype = 'f' AND f.conrelid = $1 AND f.conparentid = 0 \
         ORDER BY cardinality(f.conkey) DESC, f.conname",
        &[relation.into()],
        |row| {
            Ok(ForeignKey {
                parent: row.get(1)?.unwrap_or(pg_sys::Oid::INVALID),
                full: row.get(2)?.unwrap_or(false),
                columns: row.get(3)?.unwrap_or_default(),
                parent_columns: row.get(4)?.unwrap_or_default(),
            })
        },
    )
}
