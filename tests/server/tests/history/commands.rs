//! Commands that change what rows say, or which rows there are, beside the events of rows: each is followed,
//! or nothing is answered.

use postgres::Client;
use tenant_guard_tests::{Database, lines};

use crate::capture::run;

/// A database with an audited table of two rows, `s.t`.
pub(super) fn with_rows(columns: &str, values: &str) -> (Database, Client) {
    let db = Database::new();
    let mut client = db.superuser();
    run(
        &mut client,
        &format!(
            "SELECT tenant_guard.init_ledger(); CREATE SCHEMA s; {columns};
             SELECT tenant_guard.audit('s.t'); INSERT INTO s.t VALUES {values}"
        ),
    );
    (db, client)
}

pub(super) fn plain() -> (Database, Client) {
    with_rows(
        "CREATE TABLE s.t (id int PRIMARY KEY, v text)",
        "(1, 'a'), (2, 'b')",
    )
}

/// The rows of a table itself, values as text.
pub(super) fn live(client: &mut Client, table: &str) -> Vec<String> {
    let columns = format!(
        "SELECT string_agg(format('%L, %I::text', attname, attname), ', ') FROM pg_attribute
         WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped"
    );
    let columns = lines(client, &columns).concat();
    let only = format!(
        "SELECT CASE relkind WHEN 'p' THEN '' ELSE 'ONLY' END FROM pg_class WHERE oid = '{table}'::regclass"
    );
    let only = lines(client, &only).concat();
    let rows = format!("SELECT jsonb_build_object({columns})::text FROM {only} {table} ORDER BY 1");
    lines(client, &rows)
}

/// The same from events, or why it is refused.
pub(super) fn looked(
    client: &mut Client,
    table: &str,
    snapshot: &str,
) -> Result<Vec<String>, String> {
    let query = format!(
        "SELECT (SELECT jsonb_object_agg(key, value) FROM json_each_text(r))::text
         FROM tenant_guard.as_of_snapshot('{table}', '{snapshot}') AS r ORDER BY 1"
    );
    match client.simple_query(&query) {
        Ok(_) => Ok(lines(client, &query)),
        Err(error) => {
            let error = error.as_db_error().expect("the server says why");
            assert_eq!(error.code().code(), "55000", "{error}");
            let detail = error.detail().unwrap_or_default();
            let why = detail.split_once(": ").map_or(detail, |(_, why)| why);
            Err(why.to_owned())
        }
    }
}

pub(super) fn snapshot(client: &mut Client) -> String {
    lines(client, "SELECT pg_current_snapshot()").concat()
}

fn verified(client: &mut Client, table: &str) -> Vec<String> {
    let query = format!("SELECT code FROM tenant_guard.verify_state('{table}') ORDER BY 1");
    lines(client, &query)
}

/// Looking back equals the table, and the table its events.
#[track_caller]
pub(super) fn known(client: &mut Client, table: &str) {
    let rows = live(client, table);
    let at = snapshot(client);
    assert_eq!(looked(client, table, &at), Ok(rows));
    assert_eq!(verified(client, table), [""; 0]);
}

pub(super) const COMMAND: &str = "a command took or gave values that no event holds.";

/// Nothing is answered, but for what was before; a baseline makes rows known again.
#[track_caller]
pub(super) fn refused(client: &mut Client, table: &str, command: &str, why: &str) {
    let (before, rows) = (snapshot(client), live(client, table));
    run(client, command);
    let at = snapshot(client);
    assert_eq!(looked(client, table, &at), Err(why.into()), "{command}");
    assert_eq!(looked(client, table, &before), Ok(rows), "{command}");
    let found = verified(client, table);
    assert!(
        found.iter().all(|code| code.ends_with("_unknown")) && !found.is_empty(),
        "{command}: {found:?}"
    );
    run(
        client,
        &format!("SELECT tenant_guard.record_baseline('{table}')"),
    );
    known(client, table);
}

#[test]
fn detached_partitions_take_their_rows_along_however_they_are_named() {
    let (_db, mut client) = with_rows(
        "CREATE TABLE s.t (id int PRIMARY KEY, v text) PARTITION BY LIST (id);
         CREATE TABLE s.\"P 1\" PARTITION OF s.t FOR VALUES IN (1);
         CREATE TABLE s.p2 PARTITION OF s.t FOR VALUES IN (2, 3, 4) PARTITION BY LIST (id);
         CREATE TABLE s.p2a PARTITION OF s.p2 FOR VALUES IN (2);
         CREATE TABLE s.p2b PARTITION OF s.p2 FOR VALUES IN (3, 4);
         CREATE TABLE s.p5 PARTITION OF s.t FOR VALUES IN (5);
         CREATE TABLE s.p6 PARTITION OF s.t FOR VALUES IN (6);
         CREATE TABLE s.p7 PARTITION OF s.t FOR VALUES IN (7)",
        "(1, 'a'), (2, 'b'), (3, 'c'), (5, 'd'), (6, 'e'), (7, 'f')",
    );
    let mut moments = Vec::new();
    for command in [
        "ALTER TABLE s.t DETACH PARTITION s.\"P 1\"",
        // An empty one brings nothing.
        "CREATE TABLE s.p8 (id int NOT NULL, v text); ALTER TABLE s.t ATTACH PARTITION s.p8 FOR VALUES IN (8)",
        "INSERT INTO s.t VALUES (8, 'g')",
        "ALTER TABLE s.p2 DETACH PARTITION s.p2a",
        "ALTER TABLE s.t DETACH PARTITION s.p2",
        "SET search_path = s; ALTER TABLE t DETACH PARTITION p5; RESET search_path",
        "ALTER INDEX s.p6 RENAME TO \"P 6\"",
        "ALTER TABLE s.t DETACH PARTITION s.\"P 6\" CONCURRENTLY",
    ] {
        // What cannot run among others runs alone.
        command.split("; ").for_each(|one| run(&mut client, one));
        known(&mut client, "s.t");
        moments.push((snapshot(&mut client), live(&mut client, "s.t")));
    }
    refused(
        &mut client,
        "s.t",
        "ALTER TABLE s.t ATTACH PARTITION s.\"P 1\" FOR VALUES IN (1)",
        COMMAND,
    );
    for (at, rows) in moments {
        assert_eq!(looked(&mut client, "s.t", &at), Ok(rows));
    }
}

/// A part with parts of its own gets one that has rows.
#[test]
fn partition_with_rows_below_a_partition_makes_rows_unknown() {
    let (_db, mut client) = with_rows(
        "CREATE TABLE s.t (id int PRIMARY KEY, v text) PARTITION BY LIST (id);
         CREATE TABLE s.p PARTITION OF s.t FOR VALUES IN (1, 2) PARTITION BY LIST (id);
         CREATE TABLE s.p1 PARTITION OF s.p FOR VALUES IN (1)",
        "(1, 'a')",
    );
    run(&mut client, "CREATE TABLE s.p2 AS SELECT 2 AS id, 'b' AS v");
    run(&mut client, "ALTER TABLE s.p2 ALTER id SET NOT NULL");
    let attach = "ALTER TABLE s.p ATTACH PARTITION s.p2 FOR VALUES IN (2)";
    refused(&mut client, "s.t", attach, COMMAND);
}

#[test]
fn names_are_followed_whichever_command_changes_them() {
    let (_db, mut client) = with_rows(
        "CREATE SCHEMA parts;
         CREATE TABLE s.t (id int PRIMARY KEY, v text) PARTITION BY LIST (id);
         CREATE TABLE parts.p1 PARTITION OF s.t FOR VALUES IN (1);
         CREATE TABLE parts.p2 PARTITION OF s.t FOR VALUES IN (2)",
        "(1, 'a'), (2, 'b')",
    );
    let (then, rows) = (snapshot(&mut client), live(&mut client, "s.t"));
    for (command, table) in [
        ("ALTER SCHEMA s RENAME TO \"S\"", "\"S\".t"),
        ("ALTER INDEX \"S\".t RENAME TO u", "\"S\".u"),
        ("ALTER VIEW \"S\".u RENAME COLUMN v TO w", "\"S\".u"),
        ("UPDATE \"S\".u SET w = 'c' WHERE id = 2", "\"S\".u"),
        ("ALTER SCHEMA parts RENAME TO others", "\"S\".u"),
        ("TRUNCATE others.p1", "\"S\".u"),
    ] {
        run(&mut client, command);
        known(&mut client, table);
        assert_eq!(
            looked(&mut client, table, &then),
            Ok(rows.clone()),
            "{command}"
        );
    }
    let history = r#"SELECT action FROM tenant_guard.row_history('"S".u', '{"id": 2}')"#;
    assert_eq!(lines(&mut client, history), ["insert", "update"]);
}

#[test]
fn values_that_a_type_changes_are_refused() {
    let (_db, mut client) = with_rows(
        "CREATE TYPE s.mood AS ENUM ('ok', 'bad'); CREATE TYPE s.pair AS (a int, b text);
         CREATE DOMAIN s.moods AS s.mood[];
         CREATE TABLE s.t (id int PRIMARY KEY, m s.moods, p s.pair)",
        "(1, '{ok,bad}', '(1,x)')",
    );
    for command in [
        "ALTER TYPE s.mood ADD VALUE 'fine'",
        "ALTER TYPE s.mood RENAME TO feeling",
        "ALTER TYPE s.pair RENAME ATTRIBUTE b TO bb",
        "ALTER DOMAIN s.moods ADD CHECK (cardinality(VALUE) < 9)",
    ] {
        run(&mut client, command);
        known(&mut client, "s.t");
    }
    for command in [
        "ALTER TYPE s.feeling RENAME VALUE 'ok' TO 'good'",
        "ALTER TYPE s.pair ADD ATTRIBUTE c int",
        "ALTER TYPE s.pair DROP ATTRIBUTE a",
    ] {
        refused(&mut client, "s.t", command, COMMAND);
    }
}

/// Rows of other relations, and names of other objects, change without any event of the row.
#[test]
fn values_that_say_what_other_objects_are_are_never_answered() {
    for (made, value) in [
        ("c s.other", "(1)"),
        ("c s.others", "{(1)}"),
        ("c s.pair", "(s.other)"),
        ("c regclass", "s.other"),
        ("c regtype[]", "{s.other}"),
        ("c aclitem", "postgres=r/postgres"),
    ] {
        let (_db, mut client) = with_rows(
            &format!(
                "CREATE TABLE s.other (a int); CREATE DOMAIN s.others AS s.other[];
                 CREATE TYPE s.pair AS (c regclass);
                 CREATE TABLE s.t (id int PRIMARY KEY, v text, {made})"
            ),
            "(1, 'a', NULL)",
        );
        known(&mut client, "s.t");
        run(
            &mut client,
            &format!("INSERT INTO s.t VALUES (2, 'b', '{value}')"),
        );
        let why = r#"column "c" says what other objects are, which no event of its rows tells."#;
        let at = snapshot(&mut client);
        assert_eq!(looked(&mut client, "s.t", &at), Err(why.into()), "{made}");
        run(
            &mut client,
            "ALTER TABLE s.other RENAME TO one; UPDATE s.t SET v = 'c'",
        );
        assert_eq!(verified(&mut client, "s.t"), ["column_unknown"], "{made}");
        run(&mut client, "DELETE FROM s.t WHERE id = 2");
        known(&mut client, "s.t");
    }
    // The column came later, with the same value for all.
    let (_db, mut client) = plain();
    run(
        &mut client,
        "ALTER TABLE s.t ADD COLUMN c regclass DEFAULT 's.t'",
    );
    let at = snapshot(&mut client);
    assert!(looked(&mut client, "s.t", &at).is_err());
    run(&mut client, "ALTER TABLE s.t DROP COLUMN c");
    known(&mut client, "s.t");
}

/// Rows of a table that inherits are its own, as COPY and pg_dump have them, and looked for by its name.
#[test]
fn tables_that_inherit_have_their_own_rows_and_get_columns_from_above() {
    let (_db, mut client) = plain();
    run(
        &mut client,
        "CREATE TABLE s.child (x int) INHERITS (s.t);
         SELECT tenant_guard.record_baseline('s.child'); INSERT INTO s.child VALUES (2, 'k', 5)",
    );
    for command in [
        "UPDATE s.t SET v = 'u'",
        "ALTER TABLE s.t ADD COLUMN y int DEFAULT 4",
        "ALTER TABLE s.child ADD COLUMN z int DEFAULT 3",
        "ALTER TABLE s.t ADD COLUMN z int DEFAULT 9",
        "ALTER TABLE s.t RENAME v TO w",
        "ALTER TABLE s.child RENAME x TO xx",
        "ALTER TABLE s.t DROP COLUMN y",
        "TRUNCATE ONLY s.t",
    ] {
        run(&mut client, command);
        known(&mut client, "s.t");
        known(&mut client, "s.child");
    }
    // One that was audited before it inherited.
    run(
        &mut client,
        "CREATE TABLE s.above (id int NOT NULL, w text, z int); ALTER TABLE s.t INHERIT s.above",
    );
    for command in [
        "ALTER TABLE s.above RENAME w TO v",
        "ALTER TABLE s.above ADD COLUMN q int DEFAULT 1",
    ] {
        run(&mut client, command);
        known(&mut client, "s.t");
        known(&mut client, "s.child");
    }
    let why = r#"column "v" got values that no event holds."#;
    refused(
        &mut client,
        "s.child",
        "ALTER TABLE s.above ALTER v TYPE varchar",
        why,
    );
}

#[test]
fn key_of_another_column_is_compared_at_once() {
    let (_db, mut client) = with_rows(
        "CREATE TABLE s.t (id int PRIMARY KEY, k int NOT NULL)",
        "(1, 10), (2, 20)",
    );
    for command in [
        "ALTER TABLE s.t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (k)",
        "UPDATE s.t SET id = 1",
        "ALTER TABLE s.t DROP CONSTRAINT t_pkey",
        "INSERT INTO s.t VALUES (1, 10)",
    ] {
        run(&mut client, command);
        known(&mut client, "s.t");
    }
}

#[test]
fn relation_of_a_name_that_another_one_had_is_not_that_one() {
    let (_db, mut client) = plain();
    let (then, rows) = (snapshot(&mut client), live(&mut client, "s.t"));
    let again = "CREATE TABLE s.t (id int PRIMARY KEY, v text); SELECT tenant_guard.audit('s.t');
                 INSERT INTO s.t VALUES (1, 'new')";
    run(
        &mut client,
        &format!("ALTER TABLE s.t RENAME TO old; {again}"),
    );
    known(&mut client, "s.t");
    known(&mut client, "s.old");
    assert_eq!(looked(&mut client, "s.old", &then), Ok(rows));
    let unknown = "No event says which rows there were at first.";
    assert_eq!(looked(&mut client, "s.t", &then), Err(unknown.into()));
    let of = |client: &mut Client| {
        let query =
            r#"SELECT data::json ->> 'v' FROM tenant_guard.row_history('s.t', '{"id": 1}')"#;
        lines(client, query)
    };
    assert_eq!(of(&mut client), ["new"]);
    let (then, rows) = (snapshot(&mut client), live(&mut client, "s.t"));
    run(&mut client, "SET tenant_guard.guards = off; DROP TABLE s.t");
    assert_eq!(of(&mut client), ["new"]);
    run(&mut client, &again.replace("'new'", "'third'"));
    assert_eq!(of(&mut client), ["third"]);
    known(&mut client, "s.t");
    // The name meant the one that is gone.
    assert_eq!(looked(&mut client, "s.t", &then), Ok(rows));
}

#[test]
fn changes_of_all_kinds_of_statements_are_events() {
    let (db, mut client) = with_rows(
        "CREATE TABLE s.up (id int PRIMARY KEY); INSERT INTO s.up VALUES (1), (2), (3);
         CREATE TABLE s.t (id int PRIMARY KEY, up int REFERENCES s.up ON DELETE CASCADE ON UPDATE CASCADE,
             v text, w int GENERATED ALWAYS AS (id * 2) STORED)",
        "(1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')",
    );
    for statement in [
        "INSERT INTO s.t VALUES (1, 1, 'z') ON CONFLICT (id) DO UPDATE SET v = excluded.v || '!'",
        "MERGE INTO s.t USING (VALUES (1), (2), (9)) AS x (i) ON x.i = t.id
         WHEN MATCHED AND i = 2 THEN DELETE WHEN MATCHED THEN UPDATE SET v = 'm'
         WHEN NOT MATCHED THEN INSERT VALUES (i, 3, 'n')",
        "UPDATE s.up SET id = 10 WHERE id = 1",
        "DELETE FROM s.up WHERE id = 3",
        "ALTER TABLE s.t ALTER w DROP EXPRESSION",
        "ALTER TABLE s.t RENAME v TO x; ALTER TABLE s.t RENAME w TO v; ALTER TABLE s.t RENAME x TO w",
        "ALTER TABLE s.t DROP COLUMN w, ADD COLUMN w text DEFAULT 'again'",
        "SET session_replication_role = replica; INSERT INTO s.t VALUES (7, 7); RESET session_replication_role",
        "TRUNCATE s.up CASCADE",
    ] {
        if statement.starts_with("MERGE") && !db.has_merge() {
            continue;
        }
        run(&mut client, statement);
        known(&mut client, "s.t");
    }
}
