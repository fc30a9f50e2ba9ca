//! Manifests: applied, exported, compared with what stands, and taken back.

mod applying;
mod drifting;
mod indexes;
mod issuers;
mod preparing;
mod refusals;
mod reversing;
mod roles;
mod size;

use postgres::{Client, GenericClient};
use serde_json::{Value, json};
use tenant_guard_tests::lines;

use super::Shop;

/// A schema in the style of a product: an account, its table of partitions two deep, a chain of
/// children, children of several parents, shared rows, a view and a function over them.
const SCHEMA: &str = "CREATE TABLE shop.account (id uuid PRIMARY KEY, name text);
    CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid, name text, secret text,
        owner text, team text[]);
    CREATE TABLE shop.note (id int PRIMARY KEY, contact_id int REFERENCES shop.contact, body text);
    CREATE TABLE shop.comment (id int PRIMARY KEY, subject_type text, subject_id int);
    CREATE TABLE shop.template (id int PRIMARY KEY, account_id uuid);
    CREATE TABLE shop.country (code text PRIMARY KEY);
    CREATE TABLE shop.message (account_id uuid, at date) PARTITION BY RANGE (at);
    CREATE TABLE shop.message_1 PARTITION OF shop.message
        FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    CREATE TABLE shop.message_2 PARTITION OF shop.message
        FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY RANGE (at);
    CREATE TABLE shop.message_2_1 PARTITION OF shop.message_2
        FOR VALUES FROM ('2025-01-01') TO ('2025-07-01');
    CREATE TABLE shop.party (account_id uuid DEFAULT '00000000-0000-0000-0000-000000000000');
    CREATE TABLE shop.person (name text) INHERITS (shop.party);
    CREATE VIEW shop.names AS SELECT name FROM shop.contact;
    CREATE FUNCTION shop.contacts() RETURNS SETOF shop.contact LANGUAGE sql STABLE
        AS 'SELECT * FROM shop.contact';
    GRANT TRUNCATE, REFERENCES ON shop.contact TO PUBLIC;
    GRANT SELECT (name) ON shop.account TO PUBLIC";

fn relations() -> Value {
    json!({
        "shop.account": {"account_column": "id"},
        "shop.contact": {"redact": ["secret"], "personal": ["name"], "assurance": {"delete": "aal2"}},
        "shop.note": {"via": "contact_id"},
        "shop.comment": {"via": "subject_id", "type_column": "subject_type",
            "parents": {"contact": "shop.contact", "note": "shop.note"}},
        "shop.template": {"archetype": "shared_defaults", "audit": false},
        "shop.country": {"archetype": "reference", "index": false},
        "shop.message": {},
        "shop.party": {},
    })
}

/// What stands, with other relations.
fn manifest(shop: &Shop, relations: &Value) -> Value {
    let mut manifest = export(&mut shop.owner());
    manifest["relations"] = relations.clone();
    manifest
}

fn export(client: &mut impl GenericClient) -> Value {
    let row = client
        .query_one("SELECT tenant_guard.export_manifest()", &[])
        .unwrap();
    row.get(0)
}

/// One row of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    phase: String,
    object: String,
    statement: String,
    reverse: Option<String>,
}

fn call(
    client: &mut impl GenericClient,
    manifest: &Value,
    dry_run: bool,
) -> Result<Vec<Step>, postgres::Error> {
    let query = "SELECT phase, object, statement, reverse
        FROM tenant_guard.apply_manifest($1, $2) ORDER BY step";
    let rows = client.query(query, &[manifest, &dry_run])?;
    let step = |row: &postgres::Row| Step {
        phase: row.get(0),
        object: row.get(1),
        statement: row.get(2),
        reverse: row.get(3),
    };
    Ok(rows.iter().map(step).collect())
}

fn apply(client: &mut impl GenericClient, manifest: &Value) -> Vec<Step> {
    call(client, manifest, false).unwrap()
}

fn plan(client: &mut impl GenericClient, manifest: &Value) -> Vec<Step> {
    call(client, manifest, true).unwrap()
}

fn of_phase(steps: &[Step], phase: &str) -> Vec<Step> {
    let steps = steps.iter().filter(|step| step.phase == phase);
    steps.cloned().collect()
}

/// Statements that take steps back, the last step first.
fn backwards(steps: &[Step]) -> Vec<String> {
    let reverses = steps.iter().rev();
    reverses.filter_map(|step| step.reverse.clone()).collect()
}

/// Runs statements one by one, each in a transaction of its own.
fn run<'s>(client: &mut Client, statements: impl IntoIterator<Item = &'s String>) {
    for statement in statements {
        let done = client.batch_execute(statement);
        done.unwrap_or_else(|error| panic!("{statement}\n{error:?}"));
    }
}

/// The columns of what `drift` finds.
fn drift(shop: &Shop, columns: &str) -> Vec<String> {
    let query = format!("SELECT {columns} FROM tenant_guard.drift()");
    lines(&mut shop.owner(), &query)
}

/// The tables' definitions, and what is registered of them.
fn everything(shop: &Shop) -> String {
    let mut superuser = shop.db.superuser();
    let mut text = shop.dump();
    for table in [
        "protection",
        "protection_link",
        "protection_member",
        "protection_assurance",
        "product_role",
        "permission",
        "annotation",
        "governed_schema",
        "capture_rule",
        "read_audit",
        "log_reader",
    ] {
        let rows = format!("SELECT t::text FROM tenant_guard.{table} t ORDER BY 1");
        text += &format!("\n{table}\n{}", lines(&mut superuser, &rows).join("\n"));
    }
    text.replace(shop.db.name(), "test")
}
