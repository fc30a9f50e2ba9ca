//! What a superuser changes behind the guards, and what verification says to it.
//!
//! Columns come from the catalog, so that a new one is edited too. Every edit stands in a
//! transaction that is rolled back: verification sees what its own transaction did.

use postgres::{Client, GenericClient, Transaction};
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, Issuer, expect_error, lines};

use super::{database, findings, offline, seal, verification};
use crate::capture::partitions::this_month;
use crate::capture::{capture, run, switch_guards_off};

/// A table of the ledger: its key, and what a finding about one of its rows can say of it.
pub(super) struct Table {
    pub(super) name: &'static str,
    key: &'static str,
    /// SQL for block, account, and the text that names the row in `event_id` or `detail`.
    identity: [&'static str; 3],
}

/// The first block whose snapshot sees a transaction.
const BLOCK_OF_XID: &str = "(SELECT min(b.block) FROM tenant_guard.ledger_block AS b
    WHERE pg_visible_in_snapshot(t.xid::text::xid8, b.snapshot::pg_snapshot))";

pub(super) const TABLES: [Table; 5] = [
    Table {
        name: "audit_log",
        key: "incarnation, xid, ordinal",
        identity: [
            BLOCK_OF_XID,
            "account_id",
            "lpad(to_hex(incarnation), 16, '0') || '-' || xid || '-' || ordinal",
        ],
    },
    Table {
        name: "audit_context",
        key: "incarnation, xid, number",
        identity: [
            BLOCK_OF_XID,
            "NULL",
            "lpad(to_hex(incarnation), 16, '0') || '-' || xid || '-'",
        ],
    },
    Table {
        name: "ledger_account",
        key: "account_id",
        identity: ["NULL", "account_id", "NULL"],
    },
    Table {
        name: "ledger_block",
        key: "block",
        identity: ["block", "NULL", "NULL"],
    },
    Table {
        name: "ledger_leaf",
        key: "block, position",
        identity: ["block", "account_id", "NULL"],
    },
];

/// A ledger of four blocks in which every column has a value in some row, and its superuser, who
/// has switched off what can be switched off: guards, keys, constraints.
pub(super) fn defenceless() -> (Database, Client) {
    let db = database();
    let mut client = db.superuser();
    let issuer = Issuer::es256("https://issuer.example");
    issuer.register(&mut client);
    run(
        &mut client,
        "CREATE TABLE part (id int, account_id uuid, secret text) PARTITION BY LIST (id);
         CREATE TABLE part_1 PARTITION OF part DEFAULT",
    );
    capture(&mut client, "part", "account_id", "secret");
    for round in 0..4 {
        for account in [ACCOUNT_A, ACCOUNT_B] {
            write_in_account(&mut client, &issuer, account, round);
        }
        run(
            &mut client,
            &format!("INSERT INTO item VALUES ('x{round}', 'other')"),
        );
        run(&mut client, "TRUNCATE part");
        assert_eq!(seal(&mut client).len(), 1);
    }
    for table in TABLES {
        switch_guard_off(&mut client, table.name);
        drop_constraints(&mut client, table.name);
    }
    assert_eq!(findings(&mut client), [""; 0]);
    (db, client)
}

fn write_in_account(client: &mut Client, issuer: &Issuer, account: &str, round: i32) {
    let mut claims = issuer.claims(account);
    claims["roles"] = serde_json::json!(["agent", "owner"]);
    claims["sid"] = "session-1".into();
    claims["jti"] = "token-1".into();
    let mut transaction = client.transaction().unwrap();
    transaction
        .execute(
            "SELECT tenant_guard.authenticate($1)",
            &[&issuer.sign(&claims)],
        )
        .unwrap();
    run(
        &mut transaction,
        &format!(
            "SELECT tenant_guard.record_event('export', 'report', '{{\"round\": {round}}}');
             INSERT INTO part VALUES ({round}, '{account}', 'hush');
             UPDATE part SET secret = 'hush!' WHERE id = {round}"
        ),
    );
    transaction.commit().unwrap();
}

pub(super) fn switch_guard_off(client: &mut Client, table: &str) {
    switch_guards_off(client);
    run(
        client,
        &format!("ALTER TABLE tenant_guard.{table} DISABLE TRIGGER tenant_guard_guard"),
    );
}

fn drop_constraints(client: &mut Client, table: &str) {
    let constraints = format!(
        "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)
         FROM pg_constraint WHERE coninhcount = 0
             AND (conrelid = 'tenant_guard.{table}'::regclass
                 OR conrelid IN (SELECT relid FROM pg_partition_tree('tenant_guard.{table}')))
         ORDER BY contype <> 'p'"
    );
    let columns = format!(
        "SELECT format('ALTER TABLE tenant_guard.{table} ALTER %I DROP NOT NULL', attname)
         FROM pg_attribute WHERE attrelid = 'tenant_guard.{table}'::regclass AND attnum > 0"
    );
    for query in [constraints, columns] {
        for statement in lines(client, &query) {
            run(client, &statement);
        }
    }
}

/// A row that is about to be changed.
#[derive(Clone)]
pub(super) struct Target {
    /// `first`, `middle` or `last`, for the report.
    pub(super) place: &'static str,
    pub(super) ctid: String,
    pub(super) block: Option<i64>,
    pub(super) account: Option<String>,
    pub(super) name: Option<String>,
}

impl Table {
    /// Every row, in the order of the key.
    fn rows(&self, client: &mut Client) -> Vec<Target> {
        let [block, account, name] = self.identity;
        let query = format!(
            "SELECT ctid::text, {block}::bigint, {account}::text, {name}::text
             FROM tenant_guard.{} AS t ORDER BY {}",
            self.name, self.key
        );
        let rows = client.query(&query, &[]).unwrap();
        let target = |row: &postgres::Row| Target {
            place: "some",
            ctid: row.get(0),
            block: row.get(1),
            account: row.get(2),
            name: row.get(3),
        };
        rows.iter().map(target).collect()
    }

    pub(super) fn first_middle_last(&self, client: &mut Client) -> [Target; 3] {
        let rows = self.rows(client);
        let last = rows.len() - 1;
        let places = [("first", 0), ("middle", last / 2), ("last", last)];
        places.map(|(place, at)| Target {
            place,
            ..rows[at].clone()
        })
    }

    /// Name and type of every column.
    fn columns(&self, client: &mut Client) -> Vec<(String, String)> {
        let query = "SELECT attname::text, format_type(atttypid, atttypmod)
                     FROM pg_attribute WHERE attrelid = $1::text::regclass
                       AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
        let rows = client.query(query, &[&format!("tenant_guard.{}", self.name)]);
        let rows = rows.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

/// Other values for a column of this type, as SQL.
fn edits(column: &str, sql_type: &str) -> Vec<String> {
    let own = match sql_type {
        "bigint" | "integer" | "smallint" => vec!["coalesce(? + 1, 1)", "? - 1", "-?", "0"],
        "text" => vec![
            "coalesce(? || 'x', 'x')",
            "''",
            "upper(?)",
            "repeat('9', 30)",
        ],
        "text[]" => vec![
            "coalesce(? || 'x'::text, '{x}')",
            "'{}'",
            "'{NULL}'",
            "'{\"\"}'",
            "ARRAY[?]",
            "('[2:3]=' || ?::text)::text[]",
        ],
        "bytea" => vec![
            "coalesce(set_byte(?, 0, get_byte(?, 0) # 1), '\\x00')",
            "substr(?, 2)",
            "? || '\\x00'",
            "''",
            "decode(repeat('00', 32), 'hex')",
        ],
        "timestamp with time zone" => vec!["? + interval '1 us'", "'infinity'", "'-infinity'"],
        other => panic!("no edits are known for a column of type {other}"),
    };
    let all = own.into_iter().chain(["NULL"]);
    let column = format!("\"{column}\"");
    all.map(|edit| edit.replace('?', &column)).collect()
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) code: String,
    pub(super) block: Option<i64>,
    pub(super) account: Option<String>,
    pub(super) event_id: Option<String>,
    pub(super) detail: String,
}

/// What verification says, which without the database and in parts must be the same.
pub(super) fn verify(client: &mut impl GenericClient) -> Vec<Found> {
    let query =
        "SELECT code, block, account_id, event_id, detail FROM tenant_guard.verify_ledger()";
    let rows = client
        .query(query, &[])
        .unwrap_or_else(|error| panic!("{error:?}"));
    let found: Vec<Found> = rows.iter().map(Found::of_row).collect();
    offline::assert_same(client, &found);
    verification::assert_parts_find_the_same(client, &found);
    found
}

impl Found {
    /// Code, block, account, event and detail.
    pub(super) fn of_row(row: &postgres::Row) -> Self {
        Self {
            code: row.get(0),
            block: row.get(1),
            account: row.get(2),
            event_id: row.get(3),
            detail: row.get(4),
        }
    }

    /// Whether the finding says which row it is about, as exactly as it can.
    fn names(&self, table: &Table, target: &Target) -> bool {
        let Self { block, account, .. } = self;
        match table.name {
            "audit_log" => {
                self.event_id == target.name || (*block, account) == (target.block, &target.account)
            }
            "audit_context" => {
                let name = target.name.as_deref().expect("contexts have a name");
                let event = self.event_id.as_deref().unwrap_or_default();
                event.starts_with(name) || self.detail.contains(name)
            }
            "ledger_account" => *account == target.account,
            _ => *block == target.block,
        }
    }

    /// Whether the finding is of a kind that an edit of this column may give.
    fn fits(&self, table: &Table, column: &str) -> bool {
        let codes: &[&str] = match (table.name, column) {
            // The event now belongs elsewhere, where its context may not be.
            ("audit_log", "incarnation" | "xid") => {
                &["event_set_changed", "event_altered", "context_missing"]
            }
            ("audit_log", "context") => &["event_altered", "context_missing"],
            ("audit_log", "personal" | "personal_salt") => &["personal_altered"],
            ("audit_log", _) => &["event_altered"],
            ("audit_context", "incarnation" | "xid" | "number") => &["context_missing"],
            ("audit_context", _) => &["context_altered"],
            ("ledger_account", "account_id") => &["account_missing"],
            ("ledger_account", _) => &["account_altered"],
            ("ledger_block", "block") => &["block_missing", "block_altered"],
            ("ledger_block", "configuration") => &["configuration_altered"],
            ("ledger_block", _) => &["block_altered"],
            ("ledger_leaf", "block") => &["leaf_missing", "block_missing"],
            ("ledger_leaf", "position") => &["leaf_altered", "leaf_missing"],
            (_, _) => &["leaf_altered"],
        };
        codes.contains(&self.code.as_str())
    }
}

/// What was tried and what was said to it; `wrong` is shown when there is any.
#[derive(Default)]
struct Report {
    tried: usize,
    wrong: Vec<String>,
}

impl Report {
    fn add(&mut self, what: String, found: &[Found], right: bool) {
        let said: Vec<_> = found
            .iter()
            .map(|found| {
                let Found {
                    code,
                    block,
                    account,
                    event_id,
                    detail,
                } = found;
                format!("{code} {block:?} {account:?} {event_id:?} {detail}")
            })
            .collect();
        let line = format!("{what}: {}", said.join("; "));
        println!("{line}");
        self.tried += 1;
        if !right {
            self.wrong.push(line);
        }
    }

    #[track_caller]
    fn finish(self, at_least: usize) {
        let Self { tried, wrong } = self;
        assert!(tried >= at_least, "only {tried} changes were tried");
        assert!(
            wrong.is_empty(),
            "{} of {tried}:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }
}

/// Makes a change, verifies, and takes the change back. Nothing when it changed no row.
pub(super) fn changed(client: &mut Client, statements: &[String]) -> Option<Vec<Found>> {
    let mut transaction = client.transaction().unwrap();
    let change = |transaction: &mut Transaction<'_>, statement: &String| {
        let outcome = transaction.execute(statement.as_str(), &[]);
        outcome.unwrap_or_else(|error| panic!("{statement}: {error:?}"))
    };
    let rows: u64 = statements
        .iter()
        .map(|statement| change(&mut transaction, statement))
        .sum();
    (rows > 0).then(|| verify(&mut transaction))
}

#[test]
fn edit_of_any_column_is_found_and_named() {
    let (_db, mut client) = defenceless();
    let mut report = Report::default();
    // What each column holds is hashed or compared by lines of its own.
    let mut columns = 0;
    for table in TABLES {
        let targets = table.first_middle_last(&mut client);
        for (column, sql_type) in table.columns(&mut client) {
            let before = report.tried;
            for target in &targets {
                for value in edits(&column, &sql_type) {
                    let statement = format!(
                        "UPDATE tenant_guard.{} SET \"{column}\" = {value}
                         WHERE ctid = '{}' AND \"{column}\" IS DISTINCT FROM {value}",
                        table.name, target.ctid
                    );
                    let Some(found) = changed(&mut client, &[statement]) else {
                        continue;
                    };
                    let right = found
                        .iter()
                        .any(|found| found.names(&table, target) && found.fits(&table, &column));
                    let what = format!(
                        "{} {column} of the {} row = {value}",
                        table.name, target.place
                    );
                    report.add(what, &found, right);
                }
            }
            columns += usize::from(report.tried > before);
        }
    }
    println!("{} edits of {columns} columns", report.tried);
    assert!(columns >= 60, "only {columns} columns were edited");
    report.finish(800);
}

#[test]
fn deletion_of_any_row_is_found_and_named() {
    let (_db, mut client) = defenceless();
    let mut report = Report::default();
    for table in TABLES {
        for target in table.rows(&mut client) {
            let statement = format!(
                "DELETE FROM tenant_guard.{} WHERE ctid = '{}'",
                table.name, target.ctid
            );
            let found = changed(&mut client, &[statement]).expect("the row is there");
            let code = match table.name {
                "audit_log" => "event_set_changed",
                "audit_context" => "context_missing",
                "ledger_account" => "account_missing",
                "ledger_block" => "block_missing",
                _ => "leaf_missing",
            };
            let right = found
                .iter()
                .any(|found| found.code == code && found.names(&table, &target));
            let what = format!("{} without row {}", table.name, target.ctid);
            report.add(what, &found, right);
        }
    }
    report.finish(80);
}

/// A copy under another key: in the place of a row that never was, or of none.
#[test]
fn insertion_of_a_row_is_found_and_named() {
    let (_db, mut client) = defenceless();
    let mut report = Report::default();
    for (name, keys, codes) in [
        (
            "audit_log",
            &[
                "'ordinal', ordinal + 1000",
                "'xid', xid + 1",
                "'xid', -xid",
                "'xid', 9223372036854775807",
                "'incarnation', -1",
            ][..],
            &["event_set_changed", "event_unclaimed", "context_missing"][..],
        ),
        (
            "audit_context",
            &["'number', number + 7", "'xid', -xid", "'incarnation', -1"],
            &["context_altered"],
        ),
        (
            "ledger_account",
            &["'account_id', 'nobody'"],
            &["account_altered"],
        ),
        (
            "ledger_block",
            &["'block', block + 4", "'block', -block", "'block', 0"],
            &["block_altered"],
        ),
        (
            "ledger_leaf",
            &[
                "'position', position + 1000",
                "'position', -1",
                "'block', block + 4",
                "'block', -1",
            ],
            &["leaf_inserted", "block_missing"],
        ),
    ] {
        let table = TABLES.into_iter().find(|table| table.name == name).unwrap();
        for target in table.first_middle_last(&mut client) {
            for key in keys {
                let statement = format!(
                    "INSERT INTO tenant_guard.{name}
                     SELECT (jsonb_populate_record(t, jsonb_build_object({key}))).*
                     FROM tenant_guard.{name} AS t WHERE ctid = '{}'",
                    target.ctid
                );
                let found = changed(&mut client, &[statement]).expect("a row is inserted");
                let right = found
                    .iter()
                    .any(|found| codes.contains(&found.code.as_str()));
                report.add(
                    format!("{name} with {key} after {}", target.place),
                    &found,
                    right,
                );
            }
        }
    }
    report.finish(40);
}

#[test]
fn swap_of_two_rows_is_found_and_named() {
    let (_db, mut client) = defenceless();
    let mut report = Report::default();
    for table in TABLES {
        let key: Vec<_> = table.key.split(", ").collect();
        let content: Vec<_> = table
            .columns(&mut client)
            .into_iter()
            .map(|(column, _)| column)
            .filter(|column| !key.contains(&column.as_str()))
            .map(|column| format!("\"{column}\""))
            .collect();
        let rows = table.rows(&mut client);
        for pair in rows.windows(2) {
            let [one, two] = pair else { continue };
            let columns = content.join(", ");
            let others = content.join(", o.");
            let statement = format!(
                "UPDATE tenant_guard.{name} AS t SET ({columns}) = (SELECT o.{others}
                     FROM tenant_guard.{name} AS o
                     WHERE o.ctid IN ('{a}', '{b}') AND o.ctid <> t.ctid)
                 WHERE ctid IN ('{a}', '{b}')",
                name = table.name,
                a = one.ctid,
                b = two.ctid
            );
            let found = changed(&mut client, &[statement]).expect("both rows are there");
            let right = [one, two]
                .iter()
                .any(|target| found.iter().any(|found| found.names(&table, target)));
            report.add(
                format!("{} {} and {} swapped", table.name, one.ctid, two.ctid),
                &found,
                right,
            );
        }
    }
    report.finish(70);
}

/// What no block holds yet is protected by its own hash.
#[test]
fn edit_of_an_unsealed_event_is_found() {
    let (_db, mut client) = defenceless();
    run(&mut client, "INSERT INTO item VALUES ('new', 'other')");
    let newest = "xid = (SELECT max(xid) FROM tenant_guard.audit_log)";
    for (table, change, code) in [
        ("audit_log", "data = '{}'", "event_altered"),
        ("audit_log", "xid = xid + 1", "context_missing"),
        ("audit_context", "application_name = 'x'", "context_altered"),
    ] {
        let statement = format!("UPDATE tenant_guard.{table} SET {change} WHERE {newest}");
        let found = changed(&mut client, &[statement]).expect("a row is changed");
        assert!(
            found
                .iter()
                .any(|found| found.code == code && found.block.is_none()),
            "{change}"
        );
    }
}

#[test]
fn column_of_another_type_is_refused() {
    let (_db, mut client) = defenceless();
    run(&mut client, "DROP VIEW tenant_guard.audit_event");
    for (column, sql_type) in [
        ("audit_log ALTER account_id", "varchar"),
        ("audit_log ALTER xid", "numeric"),
        ("ledger_leaf ALTER leaf_hash", "text USING leaf_hash::text"),
        ("ledger_block ALTER sealed_at", "text"),
    ] {
        let alter = format!("ALTER TABLE tenant_guard.{column} TYPE {sql_type}");
        run(&mut client, &format!("BEGIN; {alter}"));
        let outcome = client.query("SELECT count(*) FROM tenant_guard.verify_ledger()", &[]);
        expect_error(outcome, "55000", "of a table of tenant_guard was altered");
        run(&mut client, "ROLLBACK");
    }
}

/// A key is unique in its partition only: one that stands in another month as well is found.
#[test]
fn event_that_stands_in_another_partition_as_well_is_found() {
    let (_db, mut client) = defenceless();
    let mut report = Report::default();
    for target in TABLES[0].first_middle_last(&mut client) {
        for time in ["occurred_at + interval '1 month'", "NULL", "'-infinity'"] {
            let statement = format!(
                "INSERT INTO tenant_guard.audit_log
                 SELECT (jsonb_populate_record(l, jsonb_build_object('occurred_at', {time}))).*
                 FROM tenant_guard.audit_log AS l WHERE ctid = '{}'",
                target.ctid
            );
            let found = changed(&mut client, &[statement]).expect("a row is inserted");
            let right = found
                .iter()
                .any(|found| found.code == "event_set_changed" && found.block == target.block);
            report.add(format!("{} event at {time}", target.place), &found, right);
        }
    }
    report.finish(9);
}

#[test]
fn partition_that_was_taken_off_or_bounded_anew_is_found_by_what_is_missing() {
    let (_db, mut client) = defenceless();
    let month = this_month();
    let detach = format!("ALTER TABLE tenant_guard.audit_log DETACH PARTITION {month}");
    let mut transaction = client.transaction().unwrap();
    run(&mut transaction, &detach);
    let found = verify(&mut transaction);
    for block in 1..=4 {
        let named = |found: &Found| found.code == "event_set_changed" && found.block == Some(block);
        assert!(found.iter().any(named), "block {block}");
    }
    // The same events in another partition are the same ledger.
    run(
        &mut transaction,
        &format!("INSERT INTO tenant_guard.audit_log TABLE {month}"),
    );
    let found = verify(&mut transaction);
    assert!(found.is_empty(), "{}", found[0].code);
    // One of them moved to another month is not.
    run(
        &mut transaction,
        "UPDATE tenant_guard.audit_log SET occurred_at = occurred_at + interval '1 month'
         WHERE leaf_hash = (SELECT leaf_hash FROM tenant_guard.audit_log ORDER BY 1 LIMIT 1)",
    );
    let codes: Vec<_> = verify(&mut transaction)
        .into_iter()
        .map(|found| found.code)
        .collect();
    assert_eq!(codes, ["event_altered"]);
}
