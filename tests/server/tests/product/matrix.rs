//! Cells of every kind in the permission matrix, each proven by a session of its role.

use std::collections::{BTreeSet, HashMap};

use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage, Transaction};
use serde_json::Value;
use tenant_guard_tests::lines;

use super::governing::govern_with_roles;
use super::{Product, person};

const ACCOUNT: i32 = 1;
const OTHER: i32 = 2;
const ROLES: [&str; 6] = ["viewer", "agent", "manager", "accountant", "admin", "owner"];
const COMMANDS: [&str; 4] = ["select", "insert", "update", "delete"];

/// A relation as a superuser sees it.
struct Relation {
    name: String,
    archetype: String,
    /// Columns that can be written.
    columns: Vec<String>,
    /// Rows of the account that signs in, those of its first person and what hangs on them first.
    rows: Vec<Row>,
    /// A row of another account; none where rows have no account.
    foreign: Option<Row>,
    /// All rows.
    total: usize,
    /// The parents of a child; of several, those of the rows in turn.
    parents: Vec<String>,
}

/// The values of a row's columns, as literals.
type Row = Vec<String>;

/// What the matrix says of a role, a relation and a command.
#[derive(Clone, Debug, Default)]
struct Cell {
    /// Scope and detail, one for each way.
    ways: Vec<(String, String)>,
    columns: Option<Vec<String>>,
}

type Matrix = HashMap<(String, String, String), Cell>;

fn matrix(client: &mut Client) -> Matrix {
    let mut matrix = Matrix::new();
    let query = "SELECT role, relation::text, command, scope, COALESCE(detail, ''), columns
         FROM tenant_guard.permission_matrix()";
    for row in client.query(query, &[]).unwrap() {
        let cell = matrix
            .entry((row.get(0), row.get(1), row.get(2)))
            .or_default();
        cell.ways.push((row.get(3), row.get(4)));
        cell.columns = row.get(5);
    }
    matrix
}

fn relations(product: &Product) -> Vec<Relation> {
    let mut superuser = product.db.superuser();
    let declared = product.relations();
    let relation = |(name, declaration): (String, Value)| {
        let columns = lines(
            &mut superuser,
            &format!(
                "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = '{name}'::regclass AND attnum > 0
                 AND NOT attisdropped AND attgenerated = '' AND attidentity <> 'a' ORDER BY attnum"
            ),
        );
        let values: Vec<_> = columns
            .iter()
            .map(|column| format!("quote_nullable(t.{column}::text)"))
            .collect();
        let mut rows_of = |account: i32| -> Vec<Row> {
            let query = format!(
                "SELECT ARRAY[{}] FROM {name} AS t
                 WHERE t::text ~ '^\\({account}0\\d,|[(,\"]{account}/|^\\({account},'
                     OR t::text LIKE '%0000000000{account}0%'
                 ORDER BY t::text",
                values.join(", "),
            );
            let rows = superuser.query(&query, &[]).unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        };
        let rows = rows_of(ACCOUNT);
        // Keys that the database counts begin with any number.
        let foreign = rows_of(OTHER).into_iter().find(|row| !rows.contains(row));
        let total = lines(&mut superuser, &format!("SELECT FROM {name}")).len();
        let parents = match (&declaration["parents"], declaration["via"].as_str()) {
            (Value::Object(by_type), _) => {
                by_type.values().map(|parent| parent.as_str().unwrap().to_owned()).collect()
            }
            (_, Some(_)) if name == "crm.activity_guest" => vec!["crm.activity".to_owned()],
            (_, Some(via)) => lines(
                &mut superuser,
                &format!(
                    "SELECT f.confrelid::regclass FROM pg_constraint AS f JOIN pg_attribute AS a
                         ON a.attrelid = f.conrelid AND f.conkey = ARRAY[a.attnum]
                     WHERE f.contype = 'f' AND f.conrelid = '{name}'::regclass AND a.attname = '{via}'"
                ),
            ),
            _ => Vec::new(),
        };
        let by_default = if parents.is_empty() {
            "account"
        } else {
            "child"
        };
        let archetype = declaration["archetype"]
            .as_str()
            .unwrap_or(by_default)
            .to_owned();
        Relation {
            name,
            archetype,
            columns,
            rows,
            foreign,
            total,
            parents,
        }
    };
    declared.into_iter().map(relation).collect()
}

/// What a role reaches of a relation by a command, from the matrix alone.
struct Reach<'a> {
    matrix: &'a Matrix,
    relations: HashMap<&'a str, &'a Relation>,
}

impl Reach<'_> {
    fn cell(&self, role: &str, name: &str, command: &str) -> &Cell {
        &self.matrix[&(role.to_owned(), name.to_owned(), command.to_owned())]
    }

    /// Whether row `number` of the account is reached. Rows of one number belong together: those with the
    /// first hang on the first person.
    fn row(&self, role: &str, name: &str, command: &str, number: usize) -> bool {
        let relation = self.relations[name];
        let through = |parent: &str| {
            let leads = match relation.parents.as_slice() {
                by_type @ [_, _, ..] => by_type.get(number).is_some_and(|its| its == parent),
                _ => true,
            };
            leads && self.row(role, parent, "select", number)
        };
        let way = |(scope, detail): &(String, String)| {
            let mut parents = detail.split(" and via ");
            match scope.as_str() {
                "nothing" => false,
                "account" | "everything" => true,
                "own" | "assigned" => number == 0 && parents.skip(1).all(through),
                "via" => parents.all(through),
                other => panic!("{role} {name} {command}: {other} {detail}"),
            }
        };
        self.cell(role, name, command).ways.iter().any(way)
    }

    /// How many rows are reached, those of nobody and, where everybody reads, of others included.
    fn rows(&self, role: &str, name: &str, command: &str) -> usize {
        let relation = self.relations[name];
        let ways = &self.cell(role, name, command).ways;
        if ways.iter().any(|(scope, _)| scope == "everything") {
            return relation.total;
        }
        let own = relation.own();
        let own = own
            .filter(|number| self.row(role, name, command, *number))
            .count();
        own + usize::from(
            ways.iter()
                .any(|(_, detail)| detail == "and rows without account"),
        )
    }
}

impl Cell {
    /// Whether the role may name the column.
    fn lists(&self, column: &str) -> bool {
        self.columns
            .as_ref()
            .is_none_or(|list| list.iter().any(|listed| listed == column))
    }
}

impl Relation {
    /// The places of the account's rows.
    fn own(&self) -> std::ops::Range<usize> {
        0..self.rows.len()
    }

    /// The rows' values of some columns.
    fn values<'a>(&'a self, columns: &[&String]) -> Vec<Vec<&'a str>> {
        let places: Vec<_> = { columns.iter() }
            .map(|column| self.columns.iter().position(|own| own == *column).unwrap())
            .collect();
        let of_row = |row: &'a Row| places.iter().map(|place| row[*place].as_str()).collect();
        self.rows.iter().map(of_row).collect()
    }

    fn insert(&self, row: &Row) -> String {
        let (name, columns) = (&self.name, self.columns.join(", "));
        format!("INSERT INTO {name} ({columns}) VALUES ({})", row.join(", "))
    }
}

/// Runs a statement in a savepoint: rows affected or returned, or the error's code.
fn attempt(transaction: &mut Transaction<'_>, statement: &str) -> Result<usize, SqlState> {
    let mut savepoint = transaction.transaction().unwrap();
    let result = match savepoint.simple_query(statement) {
        Ok(messages) => Ok(messages
            .iter()
            .find_map(|message| match message {
                SimpleQueryMessage::CommandComplete(rows) => Some(*rows as usize),
                _ => None,
            })
            .unwrap()),
        Err(error) => match error.code() {
            Some(code) => Err(code.clone()),
            None => panic!("{statement}: {error}"),
        },
    };
    savepoint.rollback().unwrap();
    result
}

const DENIED: Result<usize, SqlState> = Err(SqlState::INSUFFICIENT_PRIVILEGE);

/// What tells cells apart: archetype, command, scope, by a table or a column, with a list of columns.
type Kind = (String, &'static str, String, bool, bool);

/// Relations that have between them two cells of each kind there is, as far as there are two.
fn examples<'a>(relations: &'a [Relation], matrix: &Matrix) -> Vec<&'a Relation> {
    let mut met: HashMap<Kind, usize> = HashMap::new();
    let mut chosen = Vec::new();
    for relation in relations {
        let mut kinds = BTreeSet::new();
        for (role, command) in cells() {
            let cell = &matrix[&(role.to_owned(), relation.name.clone(), command.to_owned())];
            for (scope, detail) in &cell.ways {
                kinds.insert((
                    relation.archetype.clone(),
                    command,
                    scope.clone(),
                    detail.contains('.'),
                    cell.columns.is_some(),
                ));
            }
        }
        if kinds
            .iter()
            .any(|kind| met.get(kind).is_none_or(|times| *times < 2))
        {
            chosen.push(relation);
            for kind in kinds {
                *met.entry(kind).or_default() += 1;
            }
        }
    }
    chosen
}

fn cells() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROLES
        .into_iter()
        .flat_map(|role| COMMANDS.map(|command| (role, command)))
}

/// Proves the cells of examples; returns how many.
fn prove_matrix() -> usize {
    let product = Product::new();
    let mut superuser = product.db.superuser();
    // Rows are deleted and rolled back: what points at them is not asked.
    superuser
        .batch_execute(
            "DO $$ DECLARE f record; BEGIN
                FOR f IN SELECT conrelid::regclass AS relation, conname FROM pg_constraint
                    WHERE contype = 'f' AND conparentid = 0 AND conrelid >= 16384 AND connamespace <> 'tenant_guard'::regnamespace LOOP
                    EXECUTE format('ALTER TABLE %s ALTER CONSTRAINT %I DEFERRABLE INITIALLY DEFERRED', f.relation, f.conname);
                END LOOP; END $$",
        )
        .unwrap();
    govern_with_roles(&product);
    let matrix = matrix(&mut product.owner());
    let relations = relations(&product);
    let reach = Reach {
        matrix: &matrix,
        relations: relations
            .iter()
            .map(|relation| (relation.name.as_str(), relation))
            .collect(),
    };
    assert_eq!(matrix.len(), ROLES.len() * relations.len() * COMMANDS.len());
    let proven = examples(&relations, &matrix);

    let mut session = product.app();
    for role in ROLES {
        let mut transaction = session.transaction().unwrap();
        product.sign_in(&mut transaction, ACCOUNT, role);
        for relation in &proven {
            for command in COMMANDS {
                prove(&mut transaction, &reach, role, relation, command);
            }
        }
    }
    proven.len() * ROLES.len() * COMMANDS.len()
}

#[test]
fn examples_of_every_kind_of_cell_are_what_a_session_of_the_role_can_do() {
    let proven = prove_matrix();
    assert!((400..1200).contains(&proven), "{proven}");
}

/// One cell: what is allowed does, what is denied gets its SQLSTATE or no row.
fn prove(
    transaction: &mut Transaction<'_>,
    reach: &Reach<'_>,
    role: &str,
    relation: &Relation,
    command: &str,
) {
    let name = &relation.name;
    let cell = reach.cell(role, name, command);
    let context = format!("{command} on {name} as {role}, {cell:?}");
    let privilege = format!("SELECT has_table_privilege('{name}', '{command}')");
    if lines(transaction, &privilege) != ["t"] {
        // What the database does not grant, the matrix does not show.
        assert!(
            matches!(relation.archetype.as_str(), "deny_all" | "reference"),
            "{context}"
        );
        return;
    }
    let listed: Vec<_> = relation
        .columns
        .iter()
        .filter(|column| cell.lists(column))
        .collect();
    let reached = reach.rows(role, name, command);
    let mut expect = |statement: &str, rows: usize| {
        let outcome = attempt(transaction, statement);
        // A policy that reads a parent without the right to denies with an error, too.
        let denied = rows == 0 && outcome == DENIED;
        assert!(
            denied || outcome == Ok(rows),
            "{context}: {rows} rows, not {outcome:?}: {statement}"
        );
    };
    match command {
        "select" => {
            if !listed.is_empty() {
                let columns: Vec<_> = listed.iter().map(|column| column.as_str()).collect();
                expect(
                    &format!("SELECT {} FROM {name}", columns.join(", ")),
                    reached,
                );
                if reached > 0 {
                    shows_no_other_rows(transaction, reach, role, relation, &listed);
                }
            }
            for hidden in relation.columns.iter().filter(|column| !cell.lists(column)) {
                let outcome = attempt(transaction, &format!("SELECT {hidden} FROM {name}"));
                assert_eq!(outcome, DENIED, "{context} {hidden}");
            }
        }
        "update" => {
            let select = reach.cell(role, name, "select");
            if let Some(column) = listed.iter().find(|column| !is_account(column)) {
                // It reads what it writes, so it reaches rows and columns that it may read as well.
                let both = match select.lists(column) {
                    true => relation
                        .own()
                        .filter(|number| {
                            reach.row(role, name, "update", *number)
                                && reach.row(role, name, "select", *number)
                        })
                        .count(),
                    false => 0,
                };
                expect(&format!("UPDATE {name} SET {column} = {column}"), both);
            }
            for hidden in relation.columns.iter().filter(|column| !cell.lists(column)) {
                let update = format!("UPDATE {name} SET {hidden} = DEFAULT");
                assert_eq!(attempt(transaction, &update), DENIED, "{context} {hidden}");
            }
        }
        "delete" => expect(&format!("DELETE FROM {name}"), reached),
        _ => {
            for number in relation.own() {
                let insert = relation.insert(&relation.rows[number]);
                let outcome = attempt(transaction, &insert);
                // The row is there already, which an index says once row security let it through.
                let let_in = match &outcome {
                    Ok(_) => true,
                    Err(code) => {
                        [SqlState::UNIQUE_VIOLATION, SqlState::EXCLUSION_VIOLATION].contains(code)
                    }
                };
                assert!(let_in || outcome == DENIED, "{context}: {outcome:?}");
                assert_eq!(
                    let_in,
                    reach.row(role, name, command, number),
                    "{context}: {outcome:?} {insert}"
                );
            }
            if let Some(foreign) = &relation.foreign {
                let insert = relation.insert(foreign);
                assert_eq!(attempt(transaction, &insert), DENIED, "{context} {insert}");
            }
        }
    }
}

/// What a SELECT returns is what is reached of the account, and the one row of nobody where that is shown.
fn shows_no_other_rows(
    transaction: &mut Transaction<'_>,
    reach: &Reach<'_>,
    role: &str,
    relation: &Relation,
    columns: &[&String],
) {
    let name = &relation.name;
    let ways = &reach.cell(role, name, "select").ways;
    if ways.iter().any(|(scope, _)| scope == "everything") {
        return;
    }
    let texts: Vec<_> = columns
        .iter()
        .map(|column| format!("quote_nullable({column}::text)"))
        .collect();
    let query = format!("SELECT ARRAY[{}] FROM {name}", texts.join(", "));
    let shown = transaction.query(&query, &[]).unwrap();
    let shown: Vec<Row> = shown.iter().map(|row| row.get(0)).collect();
    let wanted: Vec<_> = { relation.values(columns).into_iter().enumerate() }
        .filter(|(number, _)| reach.row(role, name, "select", *number))
        .map(|(_, values)| values)
        .collect();
    let other: Vec<_> = shown
        .iter()
        .filter(|row| !wanted.contains(&row.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(
        other.len(),
        shown.len() - wanted.len(),
        "{role} {name} {shown:?}"
    );
    let of_nobody = ways
        .iter()
        .any(|(_, detail)| detail == "and rows without account");
    assert!(
        other.len() <= usize::from(of_nobody),
        "{role} reads in {name}: {other:?}"
    );
}

fn is_account(column: &str) -> bool {
    ["account_id", "tenant", "org"].contains(&column)
}

#[test]
fn role_without_its_level_reaches_what_no_role_reaches() {
    let product = Product::new();
    govern_with_roles(&product);
    let mut session = product.app();
    let mut transaction = session.transaction().unwrap();
    let mut claims = product.issuer.claims("1");
    claims["sub"] = person(1, 1).into();
    claims["roles"] = ["owner"].as_slice().into();
    let token = product.issuer.sign(&claims);
    transaction
        .execute("SELECT tenant_guard.authenticate($1)", &[&token])
        .unwrap();
    for (name, rows) in [
        ("crm.company", 0),
        ("billing.invoice", 0),
        ("work.label", 4),
    ] {
        assert_eq!(
            attempt(&mut transaction, &format!("SELECT id FROM {name}")),
            Ok(rows),
            "{name}"
        );
    }
}
