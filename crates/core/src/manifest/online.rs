//! What a plan does outside of its transaction, so that nobody waits for it: proof that accounts are
//! not null before, indexes after.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::{Manifest, Operation, Ownership, Relation, RelationName, Scope};

/// The constraint that proves before the transaction that no account is null.
const PROOF: &str = "tenant_guard_account_not_null";

/// How the names of our indexes begin.
const INDEX_PREFIX: &str = "tenant_guard_";

/// PostgreSQL cuts longer names off.
const LONGEST_NAME: usize = 63;

/// A name as SQL reads it: quoted always, since which words need it differs between versions of
/// PostgreSQL.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table of a relation: itself, a partition or a child.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Schema and name as the catalog has them.
    pub schema: String,
    /// The name as the catalog has it.
    pub name: String,
    /// The table it is a partition of, by place in the tree.
    pub parent: Option<usize>,
    /// `PARTITION BY`
    pub partitioned: bool,
    /// Whether the account column is `NOT NULL`; true where there is none.
    pub not_null: bool,
    /// Whether the proof stands, and was made.
    pub proof: Option<bool>,
    /// The indexes on it.
    pub indexes: Vec<Index>,
}

/// An index as the catalog has it.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// The name.
    pub name: String,
    /// The names of its columns; empty in the place of an expression.
    pub columns: Vec<String>,
    /// Whether queries can use it.
    pub valid: bool,
    /// A btree of all rows.
    pub plain: bool,
    /// Whether it is part of an index of the partitioned table.
    pub attached: bool,
}

impl Table {
    fn full_name(&self) -> String {
        self.qualified(&self.name)
    }

    fn qualified(&self, name: &str) -> String {
        format!("{}.{}", quote(&self.schema), quote(name))
    }

    fn index(&self, name: &str) -> Option<&Index> {
        self.indexes.iter().find(|index| index.name == name)
    }

    /// Whether an index serves these columns: begins with them in any order, or with the last one,
    /// which narrows the rows down most.
    fn serves(&self, columns: &[String]) -> bool {
        let wanted: BTreeSet<_> = columns.iter().collect();
        self.indexes.iter().any(|index| {
            let first: BTreeSet<_> = index.columns.iter().take(columns.len()).collect();
            index.valid
                && index.plain
                && (first == wanted || index.columns.first() == columns.last())
        })
    }
}

fn step(name: &RelationName, statement: String, reverse: String) -> Operation {
    Operation {
        path: Manifest::path_of(name),
        object: name.to_string(),
        statement,
        reverse,
    }
}

/// The statements, each for a transaction of its own, after which the plan's transaction can set the
/// account column `NOT NULL` without reading the tables.
pub fn prepare(name: &RelationName, relation: &Relation, tree: &[Table]) -> Vec<Operation> {
    let column = relation.ownership.account_column();
    let mut steps = Vec::new();
    for (table, column) in nullable(relation, tree).zip(column.into_iter().cycle()) {
        let (on, column) = (table.full_name(), quote(column));
        let drop = format!("ALTER TABLE ONLY {on} DROP CONSTRAINT IF EXISTS {PROOF}");
        if table.proof.is_none() {
            // Dropping it in the same statement lets the statement be repeated.
            let add = format!(
                "{drop}, ADD CONSTRAINT {PROOF} CHECK ({column} IS NOT NULL) NO INHERIT NOT VALID"
            );
            steps.push(step(name, add, drop));
        }
        if table.proof != Some(true) {
            let validate = format!("ALTER TABLE ONLY {on} VALIDATE CONSTRAINT {PROOF}");
            steps.push(step(name, validate, String::new()));
        }
    }
    steps
}

/// The statements of the plan's transaction that take the proofs away again.
pub fn settle(name: &RelationName, relation: &Relation, tree: &[Table]) -> Vec<Operation> {
    let drop = |table: &Table| {
        let on = table.full_name();
        let drop = format!("ALTER TABLE ONLY {on} DROP CONSTRAINT IF EXISTS {PROOF}");
        step(name, drop, String::new())
    };
    let mut steps: Vec<_> = nullable(relation, tree).map(drop).collect();
    let left = tree
        .iter()
        .filter(|table| table.not_null && table.proof.is_some());
    steps.extend(left.map(drop));
    steps
}

/// The tables with rows whose account column is yet to become `NOT NULL`.
fn nullable<'t>(relation: &Relation, tree: &'t [Table]) -> impl Iterator<Item = &'t Table> {
    let requires = relation.ownership.archetype().requires_account();
    tree.iter()
        .filter(move |table| requires && !table.not_null && !table.partitioned)
}

/// The lists of columns by which isolation filters rows of each relation of a manifest, longest
/// first. `is_array` tells the columns that an index of this kind does not serve.
fn wanted_columns(
    manifest: &Manifest,
    name: &RelationName,
    is_array: impl Fn(&str) -> bool,
) -> Vec<Vec<String>> {
    let Some(relation) = manifest.relations.get(name) else {
        return Vec::new();
    };
    if !relation.index {
        return Vec::new();
    }
    let account = relation.ownership.account_column();
    let behind_account = |column: &String| {
        let columns = account.into_iter().chain([column.as_str()]);
        columns.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut wanted = BTreeSet::new();
    for permission in &relation.permissions {
        match &permission.scope {
            Scope::Own(column) | Scope::Assigned(column) | Scope::Via(column)
                if !is_array(column) && account != Some(column) =>
            {
                wanted.insert(behind_account(column));
            }
            _ => {}
        }
    }
    let permissions = manifest.relations.values().flat_map(|of| &of.permissions);
    for permission in permissions {
        match &permission.scope {
            Scope::AssignedBy {
                assignment,
                key,
                subject,
            } if assignment == name && !is_array(subject) => {
                wanted.insert(vec![subject.clone(), key.clone()]);
            }
            _ => {}
        }
    }
    let first = match &relation.ownership {
        Ownership::Child { via, .. } => Some(via.as_str()),
        other => other.account_column(),
    };
    let served = |first: &str| wanted.iter().any(|columns| columns[0] == first);
    if let Some(first) = first
        && !served(first)
    {
        wanted.insert(vec![first.to_owned()]);
    }
    Vec::from_iter(wanted)
}

/// The statements, none of them in a transaction, that make the indexes which the manifest wants on
/// a relation, and drop those of ours that it does not want any more.
///
/// They are needed for speed alone, so they come last and nothing waits for them.
pub fn finish(
    manifest: &Manifest,
    name: &RelationName,
    tree: &[Table],
    is_array: impl Fn(&str) -> bool,
) -> Vec<Operation> {
    let mut steps = Vec::new();
    let wanted = wanted_columns(manifest, name, is_array);
    let kept: BTreeSet<String> = tree
        .iter()
        .flat_map(|table| wanted.iter().map(|columns| index_name(table, columns)))
        .collect();
    for table in tree {
        for index in &table.indexes {
            let ours = index.name.starts_with(INDEX_PREFIX) && !index.attached;
            if ours && !kept.contains(&index.name) {
                steps.push(drop_index(name, table, index));
            }
        }
    }
    for columns in wanted {
        for place in 0..tree.len() {
            // Partitions come with the table at their top.
            if tree[place]
                .parent
                .is_none_or(|above| !tree[above].partitioned)
            {
                create_indexes(&mut steps, name, tree, place, &columns);
            }
        }
    }
    steps
}

fn drop_index(name: &RelationName, table: &Table, index: &Index) -> Operation {
    let drop = dropping(table, &index.name);
    step(name, drop, creating(table, &index.name, &index.columns))
}

fn dropping(table: &Table, index: &str) -> String {
    // PostgreSQL drops the index of a partitioned table, and all that is part of it, at once only.
    let concurrently = if table.partitioned {
        ""
    } else {
        " CONCURRENTLY"
    };
    format!(
        "DROP INDEX{concurrently} IF EXISTS {}",
        table.qualified(index)
    )
}

fn creating(table: &Table, index: &str, columns: &[String]) -> String {
    let concurrently = if table.partitioned {
        ""
    } else {
        " CONCURRENTLY"
    };
    let columns: Vec<_> = columns.iter().map(|column| quote(column)).collect();
    format!(
        "CREATE INDEX{concurrently} IF NOT EXISTS {} ON {} ({})",
        quote(index),
        table.full_name(),
        columns.join(", ")
    )
}

/// Indexes on one table, or on a partitioned one from the top down.
fn create_indexes(
    steps: &mut Vec<Operation>,
    name: &RelationName,
    tree: &[Table],
    top: usize,
    columns: &[String],
) {
    let below = |place: usize| {
        (place + 1..tree.len()).filter(move |below| tree[*below].parent == Some(place))
    };
    let table = &tree[top];
    let own = index_name(table, columns);
    if !table.partitioned {
        if !table.serves(columns) {
            create_index(steps, name, table, &own, columns);
        }
        return;
    }
    let mut partitions: Vec<usize> = Vec::new();
    let mut open = vec![top];
    while let Some(place) = open.pop() {
        partitions.push(place);
        open.extend(below(place));
    }
    partitions.sort_unstable();
    let mut leaves = partitions.iter().filter(|place| !tree[**place].partitioned);
    // Without partitions it has no rows, and the index costs nothing.
    let served = table.serves(columns) || table.index(&own).is_some_and(|index| index.valid);
    if served
        || partitions.len() > 1 && leaves.all(|place| serves_by_itself(&tree[*place], columns))
    {
        return;
    }
    for place in &partitions {
        let part = &tree[*place];
        let index = index_name(part, columns);
        if part.partitioned {
            if part.index(&index).is_none() {
                let on = creating(part, &index, columns).replacen(" ON ", " ON ONLY ", 1);
                steps.push(step(name, on, dropping(part, &index)));
            }
        } else if part.index(&index).is_none_or(|found| !found.valid) {
            create_index(steps, name, part, &index, columns);
        }
    }
    // From the bottom up: an index becomes valid with the last of its parts.
    for place in partitions.iter().skip(1).rev() {
        let part = &tree[*place];
        let Some(above) = part.parent.map(|above| &tree[above]) else {
            continue;
        };
        let index = index_name(part, columns);
        if !part.index(&index).is_some_and(|found| found.attached) {
            let top = index_name(above, columns);
            let attach = format!(
                "ALTER INDEX {} ATTACH PARTITION {}",
                above.qualified(&top),
                part.qualified(&index)
            );
            // What is part of an index goes with it and not before.
            steps.push(step(name, attach, dropping(&tree[partitions[0]], &own)));
        }
    }
}

/// Whether another index than ours serves the columns.
fn serves_by_itself(table: &Table, columns: &[String]) -> bool {
    let mut others = table.clone();
    let own = index_name(table, columns);
    others.indexes.retain(|index| index.name != own);
    others.serves(columns)
}

fn create_index(
    steps: &mut Vec<Operation>,
    name: &RelationName,
    table: &Table,
    index: &str,
    columns: &[String],
) {
    if table.index(index).is_some_and(|found| !found.valid) {
        // What is left of a build that failed.
        steps.push(step(name, dropping(table, index), String::new()));
    }
    let create = creating(table, index, columns);
    steps.push(step(name, create, dropping(table, index)));
}

/// The name of our index on these columns: the same each time, and one a table and columns.
fn index_name(table: &Table, columns: &[String]) -> String {
    let plain = format!("{INDEX_PREFIX}{}_{}", table.name, columns.join("_"));
    if plain.len() <= LONGEST_NAME {
        return plain;
    }
    let mut hash = Sha256::new();
    for part in [&table.name].into_iter().chain(columns) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let suffix = format!("_{}", hex::encode(&hash.finalize()[..5]));
    let mut kept = LONGEST_NAME - suffix.len();
    while !plain.is_char_boundary(kept) {
        kept -= 1;
    }
    format!("{}{suffix}", &plain[..kept])
}
