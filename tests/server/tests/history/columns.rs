//! What commands give rows in columns that come, and what else they do beside the events of rows.

use tenant_guard_tests::lines;

use super::commands::{COMMAND, known, live, looked, plain, refused, snapshot, with_rows};
use crate::capture::run;

const DDL: &str =
    "SELECT data FROM tenant_guard.audit_log WHERE action = 'ddl' ORDER BY xid, ordinal";

fn unknown(column: &str) -> String {
    format!("column \"{column}\" got values that no event holds.")
}

#[test]
fn column_whose_default_the_same_command_takes_away_is_not_known() {
    for columns in [
        "CREATE TABLE s.t (id int PRIMARY KEY, v text)",
        "CREATE TABLE s.t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
         CREATE TABLE s.p PARTITION OF s.t DEFAULT",
    ] {
        let (_db, mut client) = with_rows(columns, "(1, 'a'), (2, 'b')");
        refused(
            &mut client,
            "s.t",
            "ALTER TABLE s.t ADD COLUMN c text DEFAULT gen_random_uuid()::text,
                 ALTER COLUMN c SET DEFAULT NULL",
            &unknown("c"),
        );
        run(
            &mut client,
            "ALTER TABLE s.t ADD COLUMN d text DEFAULT 'd', ADD COLUMN e int",
        );
        known(&mut client, "s.t");
    }
}

/// A stable default is evaluated for each partition.
#[test]
fn column_that_partitions_fill_each_with_its_own_value_is_not_known() {
    let (_db, mut client) = with_rows(
        "CREATE TABLE s.t (id int PRIMARY KEY, v text) PARTITION BY LIST (id);
         CREATE TABLE s.p1 PARTITION OF s.t FOR VALUES IN (1);
         CREATE TABLE s.p2 PARTITION OF s.t FOR VALUES IN (2);
         CREATE SEQUENCE s.n;
         CREATE FUNCTION s.next() RETURNS text STABLE RETURN clock_timestamp()::text",
        "(1, 'a'), (2, 'b')",
    );
    refused(
        &mut client,
        "s.t",
        "ALTER TABLE s.t ADD COLUMN c text DEFAULT s.next()",
        &unknown("c"),
    );
}

#[test]
fn partitions_named_by_words_of_the_language_take_their_rows_along() {
    let (_db, mut client) = with_rows(
        "CREATE TABLE s.t (id int PRIMARY KEY, v text) PARTITION BY LIST (id);
         CREATE TABLE s.\"order\" PARTITION OF s.t FOR VALUES IN (1);
         CREATE TABLE s.\"values\" PARTITION OF s.t FOR VALUES IN (2);
         CREATE TABLE s.\"default\" PARTITION OF s.t DEFAULT",
        "(1, 'a'), (2, 'b'), (3, 'c')",
    );
    for partition in ["order", "default"] {
        run(
            &mut client,
            &format!("ALTER TABLE s.t DETACH PARTITION s.\"{partition}\""),
        );
        known(&mut client, "s.t");
    }
    run(
        &mut client,
        "ALTER TABLE s.t DETACH PARTITION s.\"values\" CONCURRENTLY",
    );
    known(&mut client, "s.t");
}

/// The column was there, and is none that events hold.
#[test]
fn column_that_was_there_already_gets_nothing_and_is_not_written_down() {
    for list in ["exclude", "redact", "hash"] {
        let (_db, mut client) = with_rows(
            "CREATE TABLE s.t (id int PRIMARY KEY, v text); CREATE TABLE s.other (id int)",
            "(0, 'x')",
        );
        run(
            &mut client,
            &format!(
                "SELECT tenant_guard.unaudit('s.t'); TRUNCATE s.t; INSERT INTO s.t VALUES (0, 'x');
                 ALTER TABLE s.t ADD COLUMN w text DEFAULT 'was a secret'; DELETE FROM s.t;
                 SELECT tenant_guard.audit('s.t', {list} => '{{v,w}}'); INSERT INTO s.t VALUES (1, 'a')"
            ),
        );
        let before = snapshot(&mut client);
        let rows = looked(&mut client, "s.t", &before).expect("it is known");
        run(
            &mut client,
            "ALTER TABLE s.t ADD COLUMN IF NOT EXISTS w text; ALTER TABLE s.t ADD COLUMN IF NOT EXISTS v text",
        );
        let at = snapshot(&mut client);
        assert_eq!(looked(&mut client, "s.t", &at), Ok(rows), "{list}");
        // The rule names it still.
        run(
            &mut client,
            "ALTER TABLE s.t DROP COLUMN v; ALTER TABLE s.t ADD COLUMN v text DEFAULT 'in clear'",
        );
        let told = lines(&mut client, DDL).concat();
        assert!(
            !told.contains("secret") && !told.contains("clear"),
            "{told}"
        );
        let at = snapshot(&mut client);
        let found = looked(&mut client, "s.t", &at);
        if list == "hash" {
            assert_eq!(found, Err(unknown("v")));
        } else {
            assert_eq!(found, Ok(vec![r#"{"id": "1"}"#.to_owned()]), "{list}");
        }
    }
}

#[test]
fn attributes_that_go_with_their_type_make_rows_unknown() {
    let (_db, mut client) = with_rows(
        "CREATE TYPE s.mood AS ENUM ('q'); CREATE TYPE s.pair AS (a int, b s.mood);
         CREATE TABLE s.t (id int PRIMARY KEY, v s.pair[])",
        "(1, '{\"(1,q)\"}')",
    );
    known(&mut client, "s.t");
    refused(&mut client, "s.t", "DROP TYPE s.mood CASCADE", COMMAND);
}

#[test]
fn attribute_of_a_table_that_is_renamed_as_one_of_a_type_is_its_column() {
    let (_db, mut client) = plain();
    for command in [
        "ALTER TYPE s.t RENAME ATTRIBUTE v TO w",
        "UPDATE s.t SET w = 'u' WHERE id = 1",
    ] {
        run(&mut client, command);
        known(&mut client, "s.t");
    }
}

#[test]
fn attribute_by_another_name_is_a_column_of_tables_made_of_the_type() {
    let (_db, mut client) = with_rows(
        "CREATE TYPE s.pair AS (a int, b text); CREATE TABLE s.t OF s.pair;
         CREATE TABLE s.u (id int PRIMARY KEY, p s.pair); SELECT tenant_guard.audit('s.u');
         INSERT INTO s.u VALUES (1, '(1,x)')",
        "(1, 'a')",
    );
    let rename = "ALTER TYPE s.pair RENAME ATTRIBUTE b TO c CASCADE";
    refused(&mut client, "s.t", rename, COMMAND);
    known(&mut client, "s.u");
}

#[test]
fn column_named_like_a_note_of_ours_is_told_apart() {
    let (_db, mut client) = with_rows(
        "CREATE TABLE s.t (id int PRIMARY KEY, v text, \"v by an expression\" int)",
        "(1, 'a', 7)",
    );
    let command = "ALTER TABLE s.t ALTER \"v by an expression\" TYPE bigint USING 8";
    refused(&mut client, "s.t", command, &unknown("v by an expression"));
}

/// What a dump brings into a database that has the table is a change like any other.
#[test]
fn dump_restored_over_an_audited_table_makes_its_rows_unknown() {
    let (db, mut client) = plain();
    let dump = db.pg_dump(&["-t", "s.t", "--clean", "--if-exists"]);
    let (then, rows) = (snapshot(&mut client), live(&mut client, "s.t"));
    run(&mut client, "DELETE FROM s.t WHERE id = 1");
    let output = db.psql(&[], &dump);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(live(&mut client, "s.t").len(), 2);
    let at = snapshot(&mut client);
    assert_eq!(looked(&mut client, "s.t", &at), Err(COMMAND.into()));
    assert_eq!(looked(&mut client, "s.t", &then), Ok(rows));
    // The settings alone hide nothing.
    let (_db, mut client) = with_rows(
        "CREATE TABLE s.t (id int PRIMARY KEY, v text) PARTITION BY LIST (id);
         CREATE TABLE s.p1 PARTITION OF s.t FOR VALUES IN (1);
         CREATE TABLE s.p2 PARTITION OF s.t FOR VALUES IN (2)",
        "(1, 'a'), (2, 'b')",
    );
    run(
        &mut client,
        "SET row_security = off; SET check_function_bodies = off; ALTER TABLE s.t RENAME v TO w;
         ALTER TABLE s.t RENAME TO u; ALTER TABLE s.p1 RENAME TO p3",
    );
    known(&mut client, "s.u");
    run(&mut client, "DROP TABLE s.p3");
    known(&mut client, "s.u");
}

#[test]
fn tables_that_a_crash_empties_are_not_answered_for() {
    let why = "the table is unlogged, and a crash takes its rows.";
    let (_db, mut client) = with_rows(
        "CREATE UNLOGGED TABLE s.t (id int PRIMARY KEY, v text)",
        "(1, 'a')",
    );
    for command in [
        "SELECT 1",
        "TRUNCATE s.t",
        "SELECT tenant_guard.record_baseline('s.t')",
    ] {
        run(&mut client, command);
        let at = snapshot(&mut client);
        assert_eq!(
            looked(&mut client, "s.t", &at),
            Err(why.into()),
            "{command}"
        );
    }
    run(
        &mut client,
        "ALTER TABLE s.t SET LOGGED; SELECT tenant_guard.record_baseline('s.t'); INSERT INTO s.t VALUES (2, 'b')",
    );
    known(&mut client, "s.t");
    run(&mut client, "ALTER TABLE s.t SET UNLOGGED; TRUNCATE s.t");
    let at = snapshot(&mut client);
    assert_eq!(looked(&mut client, "s.t", &at), Err(why.into()));
}

#[test]
fn tables_of_an_extension_are_followed_into_its_schema() {
    let (_db, mut client) = with_rows(
        "CREATE SCHEMA x1; CREATE SCHEMA x2; CREATE TABLE x1.t (id int PRIMARY KEY, v text);
         CREATE TABLE s.t (id int); CREATE EXTENSION hstore SCHEMA x1;
         SELECT tenant_guard.audit('x1.t'); INSERT INTO x1.t VALUES (1, 'a')",
        "(1)",
    );
    run(
        &mut client,
        "ALTER EXTENSION hstore ADD TABLE x1.t; ALTER EXTENSION hstore SET SCHEMA x2",
    );
    known(&mut client, "x2.t");
}
