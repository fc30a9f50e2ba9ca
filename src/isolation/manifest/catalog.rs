//! What the catalog says about the relations that a manifest names.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pgrx::prelude::*;
use pgrx::spi::{SpiError, SpiHeapTupleData};
use tenant_guard_core::manifest::{
    Column, Facts, Index, Kind, Manifest, RelationFacts, RelationName, Table,
};

use crate::isolation::registry::read;

const RELATIONS: &str = include_str!("relations.sql");
const TABLES: &str = include_str!("tables.sql");

/// What a relation can be beside a table, in the words of relations.sql.
const OTHER_KINDS: [&str; 8] = [
    "a system catalog or a table of tenant_guard",
    "a temporary table",
    "a view",
    "a materialized view",
    "a foreign table",
    "a sequence",
    "an index",
    "not a table",
];

/// What manifests are held against, and the numbers of the relations in it.
pub(super) struct Catalog {
    pub(super) facts: Facts,
    pub(super) oids: BTreeMap<RelationName, pg_sys::Oid>,
}

impl Catalog {
    /// Looks up what any of the manifests names.
    pub(super) fn of(manifests: &[&Manifest]) -> Self {
        let names: BTreeSet<_> = manifests
            .iter()
            .flat_map(|manifest| manifest.named_relations())
            .collect();
        let schemas: Vec<_> = names.iter().map(|name| name.schema.clone()).collect();
        let relations: Vec<_> = names.iter().map(|name| name.name.clone()).collect();
        let mut catalog = Self {
            facts: Facts {
                roles: names_of("SELECT rolname::text FROM pg_roles"),
                schemas: names_of("SELECT nspname::text FROM pg_namespace"),
                ..Facts::default()
            },
            oids: BTreeMap::new(),
        };
        for (oid, name, facts) in read(RELATIONS, &[schemas.into(), relations.into()], relation) {
            catalog.oids.insert(name.clone(), oid);
            catalog.facts.relations.insert(name, facts);
        }
        catalog
    }

    /// Whether a column of a relation holds arrays.
    pub(super) fn is_array(&self, relation: &RelationName, column: &str) -> bool {
        let relation = self.facts.relations.get(relation);
        let column = relation.and_then(|relation| relation.columns.get(column));
        column.is_some_and(|column| column.type_name.ends_with("[]"))
    }

    /// The tables of each relation, by the account column that the manifest gives it.
    pub(super) fn tables(&self, manifest: &Manifest) -> BTreeMap<RelationName, Vec<Table>> {
        let known = self.oids.iter();
        let (names, oids): (Vec<_>, Vec<_>) = known.unzip();
        let columns: Vec<Option<String>> = names
            .iter()
            .map(|name| {
                let relation = manifest.relations.get(name)?;
                relation.ownership.account_column().map(str::to_owned)
            })
            .collect();
        let oids: Vec<pg_sys::Oid> = oids.into_iter().copied().collect();
        let rows = read(TABLES, &[oids.into(), columns.into()], table);
        let mut trees: BTreeMap<RelationName, Vec<Table>> = BTreeMap::new();
        let mut places: HashMap<(usize, pg_sys::Oid), usize> = HashMap::new();
        for row in rows {
            let Some(name) = names.get(row.root) else {
                continue;
            };
            let tree = trees.entry((*name).clone()).or_default();
            let place = (row.root, row.relation);
            // A child of several parents is met once for each.
            if places.contains_key(&place) {
                continue;
            }
            places.insert(place, tree.len());
            tree.push(Table {
                parent: row
                    .parent
                    .and_then(|above| places.get(&(row.root, above)).copied()),
                ..row.table
            });
        }
        trees
    }
}

fn names_of(query: &str) -> BTreeSet<String> {
    let names = read(query, &[], |row| row.get::<String>(1));
    names.into_iter().flatten().collect()
}

fn texts(row: &SpiHeapTupleData<'_>, name: &str) -> Result<Vec<String>, SpiError> {
    Ok(row.get_by_name(name)?.unwrap_or_default())
}

fn flags(row: &SpiHeapTupleData<'_>, name: &str) -> Result<Vec<bool>, SpiError> {
    Ok(row.get_by_name(name)?.unwrap_or_default())
}

fn text(row: &SpiHeapTupleData<'_>, name: &str) -> Result<String, SpiError> {
    Ok(row.get_by_name(name)?.unwrap_or_default())
}

fn oid(row: &SpiHeapTupleData<'_>, name: &str) -> Result<Option<pg_sys::Oid>, SpiError> {
    row.get_by_name(name)
}

fn relation(
    row: &SpiHeapTupleData<'_>,
) -> Result<(pg_sys::Oid, RelationName, RelationFacts), SpiError> {
    let other = text(row, "other_kind")?;
    let other = OTHER_KINDS.into_iter().find(|known| *known == other);
    let columns = texts(row, "column_types")?
        .into_iter()
        .zip(flags(row, "column_keys")?)
        .map(|(type_name, key)| Column { type_name, key });
    let leads_to = texts(row, "link_schemas")?
        .into_iter()
        .zip(texts(row, "link_names")?)
        .map(|(schema, name)| RelationName { schema, name });
    let facts = RelationFacts {
        kind: other.map_or(Kind::Table, Kind::Other),
        part_of: row.get_by_name("part_of")?,
        columns: texts(row, "column_names")?
            .into_iter()
            .zip(columns)
            .collect(),
        foreign_keys: texts(row, "link_columns")?
            .into_iter()
            .zip(leads_to)
            .collect(),
    };
    let name = RelationName {
        schema: text(row, "schema")?,
        name: text(row, "name")?,
    };
    let number = oid(row, "relation")?.unwrap_or(pg_sys::Oid::INVALID);
    Ok((number, name, facts))
}

/// A table with the relation it belongs to, by place in the list that was asked for.
struct TableRow {
    root: usize,
    relation: pg_sys::Oid,
    parent: Option<pg_sys::Oid>,
    table: Table,
}

fn table(row: &SpiHeapTupleData<'_>) -> Result<TableRow, SpiError> {
    let flag = |name: &str| Ok::<_, SpiError>(row.get_by_name(name)?.unwrap_or(false));
    let root: i32 = row.get_by_name("root")?.unwrap_or(-1);
    let valid = flags(row, "index_valid")?.into_iter();
    let more = valid
        .zip(flags(row, "index_plain")?)
        .zip(flags(row, "index_attached")?);
    let indexes = texts(row, "index_names")?
        .into_iter()
        .zip(texts(row, "index_columns")?)
        .zip(more)
        .map(|((name, columns), ((valid, plain), attached))| Index {
            name,
            columns: serde_json::from_str(&columns).unwrap_or_default(),
            valid,
            plain,
            attached,
        });
    Ok(TableRow {
        root: usize::try_from(root).unwrap_or(usize::MAX),
        relation: oid(row, "relation")?.unwrap_or(pg_sys::Oid::INVALID),
        parent: oid(row, "parent")?,
        table: Table {
            schema: text(row, "schema")?,
            name: text(row, "name")?,
            parent: None,
            partitioned: flag("partitioned")?,
            not_null: flag("not_null")?,
            proof: row.get_by_name("proof")?,
            indexes: indexes.collect(),
        },
    })
}
