//! Commands on protected and audited relations, as events of the ledger.

use tenant_guard_tests::{Database, expect_error, lines};

use super::{database, run};

/// A protected table `note` and an audited one, `plan`, of the superuser.
fn tables() -> (Database, postgres::Client) {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE note (id int PRIMARY KEY, account_id text, body text);
         CREATE TABLE plan (id int PRIMARY KEY, name text);
         CREATE TABLE other (id int PRIMARY KEY, name text);
         SELECT tenant_guard.protect('note');
         SELECT tenant_guard.audit('plan')",
    );
    (db, client)
}

fn commands(client: &mut postgres::Client) -> Vec<String> {
    lines(
        client,
        "SELECT relation, data FROM tenant_guard.audit_log
         WHERE kind = 'system' AND action = 'ddl' ORDER BY xid, ordinal",
    )
}

#[test]
fn commands_on_protected_and_audited_tables_leave_an_event_without_their_text() {
    let (_db, mut client) = tables();
    run(
        &mut client,
        "ALTER TABLE note ADD COLUMN code text DEFAULT 'none', ALTER body SET NOT NULL;
         ALTER TABLE plan RENAME name TO title;
         ALTER TABLE plan RENAME TO tariff;
         CREATE POLICY extra ON note AS RESTRICTIVE USING (body <> 'hush');
         ALTER POLICY extra ON note USING (body <> 'hush!');
         DROP POLICY extra ON note;
         ALTER TABLE tariff DROP COLUMN title;
         COMMENT ON TABLE note IS 'hush';
         ALTER TABLE other ADD COLUMN more text; GRANT SELECT ON other TO PUBLIC; DROP TABLE other",
    );
    assert_eq!(
        commands(&mut client),
        [
            r#"public.note|{"actions":["add column code","set not null on column body"],"command":"ALTER TABLE","filled":{"code":"\"none\""}}"#,
            r#"public.plan|{"command":"ALTER TABLE","object":"column","renamed":"name","to":"title"}"#,
            r#"public.tariff|{"command":"ALTER TABLE","object":"table","renamed":"plan","to":"tariff"}"#,
            r#"public.note|{"command":"CREATE POLICY","policy":"extra"}"#,
            r#"public.note|{"command":"ALTER POLICY","policy":"extra"}"#,
            r#"public.note|{"command":"DROP POLICY","dropped":"policy","object":"extra on public.note"}"#,
            r#"public.tariff|{"command":"ALTER TABLE","dropped":"column","object":"public.tariff.title"}"#,
            r#"public.tariff|{"actions":["drop column title"],"command":"ALTER TABLE"}"#,
        ]
    );
    let shown = "SELECT count(*) FROM tenant_guard.audit_log WHERE data ~ 'hush'";
    assert_eq!(lines(&mut client, shown), ["0"]);
}

#[test]
fn grants_leave_the_privileges_before_and_after() {
    let (db, mut client) = tables();
    let reader = db.role("reader");
    run(
        &mut client,
        &format!(
            "GRANT SELECT ON note TO {reader};
             GRANT SELECT ON note TO {reader};
             GRANT UPDATE (body) ON note TO {reader};
             REVOKE ALL ON note FROM {reader};
             GRANT SELECT ON other TO {reader}"
        ),
    );
    let found = "SELECT relation, data::jsonb ->> 'command',
            data::jsonb -> 'privileges' -> 'table' ->> 'before' ~ $$reader=r/$$,
            data::jsonb -> 'privileges' -> 'table' ->> 'after' ~ $$reader=r/$$,
            data::jsonb #> '{privileges,columns,body}' ->> 'before' ~ $$reader=w/$$,
            data::jsonb #> '{privileges,columns,body}' ->> 'after' ~ $$reader=w/$$
         FROM tenant_guard.audit_log WHERE action = 'ddl' ORDER BY xid, ordinal";
    assert_eq!(
        lines(&mut client, found),
        [
            "public.note|GRANT|<null>|t|<null>|<null>",
            "public.note|GRANT|<null>|<null>|<null>|t",
            "public.note|REVOKE|t|f|t|<null>",
        ]
    );
}

#[test]
fn column_named_table_does_not_hide_a_grant_on_the_table() {
    let (db, mut client) = tables();
    let reader = db.role("reader");
    run(
        &mut client,
        &format!(
            "ALTER TABLE note ADD COLUMN \"table\" text, ADD COLUMN columns text;
             GRANT SELECT, UPDATE (\"table\", columns) ON note TO {reader}"
        ),
    );
    let found = "SELECT data::jsonb #>> '{privileges,table,after}' ~ $$reader=r/$$,
            data::jsonb #>> '{privileges,columns,table,after}' ~ $$reader=w/$$,
            data::jsonb #>> '{privileges,columns,columns,after}' ~ $$reader=w/$$
         FROM tenant_guard.audit_log WHERE action = 'ddl' AND data ~ 'GRANT'";
    assert_eq!(lines(&mut client, found), ["t|t|t"]);
}

#[test]
fn change_of_a_type_leaves_an_event_of_the_tables_that_have_it() {
    let (_db, mut client) = tables();
    run(
        &mut client,
        "CREATE TYPE mood AS ENUM ('ok', 'bad');
         CREATE TYPE address AS (street text, city text, mood mood);
         CREATE DOMAIN addresses AS address[];
         CREATE TABLE bill (id int, at addresses) PARTITION BY LIST (id);
         CREATE TABLE bill_1 PARTITION OF bill FOR VALUES IN (1);
         SELECT tenant_guard.audit('bill');
         CREATE TYPE free AS ENUM ('x');
         ALTER TYPE free ADD VALUE 'y';
         ALTER TYPE mood RENAME VALUE 'ok' TO 'paid'",
    );
    run(&mut client, "ALTER TYPE mood ADD VALUE 'late'");
    run(
        &mut client,
        "ALTER TYPE address DROP ATTRIBUTE city;
         ALTER TYPE address RENAME ATTRIBUTE street TO road;
         ALTER DOMAIN addresses ADD CONSTRAINT short CHECK (cardinality(VALUE) < 9);
         ALTER DOMAIN addresses RENAME CONSTRAINT short TO few;
         ALTER TYPE mood RENAME TO state",
    );
    assert_eq!(
        commands(&mut client),
        [
            r#"public.bill|{"command":"ALTER TYPE","object":"value","renamed":"ok","to":"paid","type":"public.mood"}"#,
            r#"public.bill|{"added":"late","command":"ALTER TYPE","type":"public.mood"}"#,
            r#"public.bill|{"actions":["drop column city"],"command":"ALTER TYPE","type":"public.address"}"#,
            r#"public.bill|{"command":"ALTER TYPE","object":"attribute","renamed":"street","to":"road","type":"public.address"}"#,
            r#"public.bill|{"command":"ALTER DOMAIN","type":"public.addresses"}"#,
            r#"public.bill|{"command":"ALTER DOMAIN","renamed":"short","to":"few","type":"public.addresses"}"#,
            r#"public.bill|{"command":"ALTER TYPE","renamed":"mood","to":"state","type":"public.state"}"#,
        ]
    );
}

#[test]
fn values_given_by_an_expression_and_renamed_constraints_show_in_the_event() {
    let (_db, mut client) = tables();
    run(
        &mut client,
        "INSERT INTO plan VALUES (1, 'basic');
         ALTER TABLE plan ALTER name TYPE int USING 0;
         ALTER TABLE plan ADD CONSTRAINT one CHECK (id > 0);
         ALTER TABLE plan RENAME CONSTRAINT one TO positive",
    );
    assert_eq!(
        commands(&mut client),
        [
            r#"public.plan|{"actions":["change the type of column name"],"by_expression":["name"],"command":"ALTER TABLE"}"#,
            r#"public.plan|{"actions":["add constraint one"],"command":"ALTER TABLE"}"#,
            r#"public.plan|{"command":"ALTER TABLE","renamed":"one","to":"positive"}"#,
        ]
    );
}

#[test]
fn drop_owned_leaves_the_privileges_it_took() {
    let (db, mut client) = tables();
    let reader = db.role("reader");
    run(
        &mut client,
        &format!(
            "GRANT SELECT, UPDATE (body) ON note TO {reader}; GRANT SELECT ON other TO {reader}"
        ),
    );
    run(&mut client, &format!("DROP OWNED BY {reader}"));
    let found = "SELECT relation, data::jsonb #>> '{privileges,table,before}' ~ $$reader=r/$$,
            data::jsonb #>> '{privileges,columns,body,before}' ~ $$reader=w/$$,
            data ~ 'reader.*reader.*reader'
         FROM tenant_guard.audit_log WHERE action = 'ddl' AND data ~ 'DROP OWNED'";
    assert_eq!(lines(&mut client, found), ["public.note|t|t|f"]);
}

#[test]
fn command_under_an_old_snapshot_is_judged_by_what_is_audited_now() {
    let (db, mut client) = tables();
    let mut old = db.superuser();
    run(
        &mut old,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM plan",
    );
    run(&mut client, "SELECT tenant_guard.audit('other')");
    expect_error(
        old.batch_execute("ALTER TABLE other DISABLE TRIGGER tenant_guard_capture"),
        "42501",
        "of audited relation public.other",
    );
    run(
        &mut old,
        "ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM plan",
    );
    run(
        &mut client,
        "CREATE TABLE new (account_id text); SELECT tenant_guard.protect('new')",
    );
    expect_error(
        old.batch_execute("ALTER TABLE new DISABLE ROW LEVEL SECURITY"),
        "42501",
        "of protected relation public.new",
    );
}

#[test]
fn dropped_tables_leave_an_event() {
    let (_db, mut client) = tables();
    run(
        &mut client,
        "CREATE SCHEMA s; CREATE TABLE s.\"Rate\" (id int); SELECT tenant_guard.audit('s.\"Rate\"');
         DROP TABLE plan; DROP SCHEMA s CASCADE; DROP TABLE note CASCADE",
    );
    assert_eq!(
        commands(&mut client),
        [
            r#"public.plan|{"command":"DROP TABLE","dropped":"relation"}"#,
            r#"s."Rate"|{"command":"DROP SCHEMA","dropped":"relation"}"#,
            r#"public.note|{"command":"DROP TABLE","dropped":"relation"}"#,
        ]
    );
}

#[test]
fn replica_role_does_not_silence_the_recording_of_commands() {
    let (_db, mut client) = tables();
    run(
        &mut client,
        "SET session_replication_role = replica;
         ALTER TABLE plan ADD COLUMN more text",
    );
    assert_eq!(
        commands(&mut client),
        [
            r#"public.plan|{"actions":["add column more"],"command":"ALTER TABLE","filled":{"more":"null"}}"#
        ]
    );
    expect_error(
        client.batch_execute("ALTER TABLE plan DISABLE TRIGGER tenant_guard_capture"),
        "42501",
        "cannot disable trigger \"tenant_guard_capture\" of audited relation public.plan",
    );
}

#[test]
fn capture_switched_off_with_the_guards_off_leaves_events() {
    let (_db, mut client) = tables();
    run(
        &mut client,
        "SET tenant_guard.guards = off;
         ALTER TABLE plan DISABLE TRIGGER tenant_guard_capture;
         INSERT INTO plan VALUES (1, 'unseen');
         DROP TRIGGER tenant_guard_capture_truncate ON plan",
    );
    let events = "SELECT action, relation, coalesce(data::jsonb ->> 'passed', data)
         FROM tenant_guard.audit_log WHERE action IN ('ddl', 'guards off') ORDER BY xid, ordinal";
    assert_eq!(
        lines(&mut client, events),
        [
            "guards off|public.plan|cannot disable trigger \"tenant_guard_capture\" of audited relation public.plan",
            r#"ddl|public.plan|{"actions":["disable trigger tenant_guard_capture"],"command":"ALTER TABLE"}"#,
            "guards off|public.plan|cannot drop trigger \"tenant_guard_capture_truncate\" of audited relation public.plan",
            r#"ddl|public.plan|{"command":"DROP TRIGGER","dropped":"trigger","object":"tenant_guard_capture_truncate on public.plan"}"#,
        ]
    );
}

#[test]
fn restoring_a_dump_records_no_commands() {
    let (db, _client) = tables();
    let (plain, archive) = (Database::empty(), Database::empty());
    plain.restore(&db.pg_dump(&[]));
    archive.pg_restore(&["--single-transaction"], &db.pg_dump(&["--format=custom"]));
    for copy in [plain, archive] {
        let mut restored = copy.superuser();
        assert_eq!(commands(&mut restored), [""; 0]);
        run(&mut restored, "ALTER TABLE plan ADD COLUMN more text");
        assert_eq!(commands(&mut restored).len(), 1);
    }
}

#[test]
fn extension_whose_ledger_holds_events_is_not_dropped_with_cascade_either() {
    let (_db, mut client) = tables();
    for statement in [
        "DROP EXTENSION tenant_guard CASCADE",
        "DROP SCHEMA tenant_guard CASCADE",
    ] {
        expect_error(
            client.batch_execute(statement),
            "55000",
            "the audit ledger holds events",
        );
    }
}
