//! Capture: what stands in the log after a change, and what never does.

use postgres::{Client, GenericClient};
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, Issuer, expect_error, lines};

/// A database with a ledger.
fn database() -> Database {
    let db = Database::new();
    run(&mut db.superuser(), "SELECT tenant_guard.init_ledger()");
    db
}

#[track_caller]
fn run(client: &mut impl GenericClient, statements: &str) {
    if let Err(error) = client.batch_execute(statements) {
        panic!("{statements}: {error:?}");
    }
}

/// Puts the triggers on a table that `protect` would.
#[track_caller]
fn capture(client: &mut Client, table: &str, account_column: &str, redact: &str) {
    for (name, events, function, each) in [
        ("", "INSERT OR UPDATE OR DELETE", "capture", "ROW"),
        ("_truncate", "TRUNCATE", "capture_truncate", "STATEMENT"),
    ] {
        run(
            client,
            &format!(
                "CREATE TRIGGER tenant_guard_capture{name} AFTER {events} ON {table}
                 FOR EACH {each} EXECUTE FUNCTION
                 tenant_guard.{function}('{account_column}', '{{{redact}}}');
                 ALTER TABLE {table} ENABLE ALWAYS TRIGGER tenant_guard_capture{name};"
            ),
        );
    }
}

/// These columns of the log, in the order of changes.
#[track_caller]
fn log(client: &mut impl GenericClient, columns: &str) -> Vec<String> {
    let order = "ORDER BY xid, command_id, ordinal";
    lines(
        client,
        &format!("SELECT {columns} FROM tenant_guard.audit_log {order}"),
    )
}

const CHANGE: &str = "action, account_id, row_key, data";

#[test]
fn each_change_gives_its_exact_event() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE t (id int PRIMARY KEY, account_id uuid, n int, note text)",
    );
    capture(&mut client, "t", "account_id", "");
    run(
        &mut client,
        &format!("INSERT INTO t VALUES (1, '{ACCOUNT_A}', 7), (2, NULL, 8)"),
    );
    run(
        &mut client,
        "UPDATE t SET n = n + 1, note = '' WHERE id = 1",
    );
    run(&mut client, "UPDATE t SET n = n WHERE id = 2");
    run(&mut client, "DELETE FROM t WHERE id = 1");
    run(&mut client, "TRUNCATE t");
    assert_eq!(
        log(&mut client, CHANGE),
        [
            format!(
                r#"insert|{ACCOUNT_A}|{{"id":1}}|{{"id":1,"account_id":"{ACCOUNT_A}","n":7,"note":null}}"#
            ),
            r#"insert||{"id":2}|{"id":2,"account_id":null,"n":8,"note":null}"#.into(),
            format!(
                r#"update|{ACCOUNT_A}|{{"id":1}}|{{"old":{{"n":7,"note":null}},"new":{{"n":8,"note":""}}}}"#
            ),
            r#"update||{"id":2}|{"old":{},"new":{}}"#.into(),
            format!(
                r#"delete|{ACCOUNT_A}|{{"id":1}}|{{"id":1,"account_id":"{ACCOUNT_A}","n":8,"note":""}}"#
            ),
            "truncate||<null>|<null>".into(),
        ]
    );
}

#[test]
fn event_says_who_where_and_when() {
    let db = database();
    let issuer = Issuer::es256("https://issuer.example");
    let mut owner = db.superuser();
    issuer.register(&mut owner);
    let app = db.role("app");
    run(
        &mut owner,
        &format!("CREATE TABLE t (id int PRIMARY KEY, account_id uuid); GRANT ALL ON t TO {app}"),
    );
    capture(&mut owner, "t", "account_id", "");
    let mut session = db.connect_with_options(&app, "-c application_name=shop");
    let mut transaction = session.transaction().unwrap();
    let mut claims = issuer.claims(ACCOUNT_A);
    claims["roles"] = serde_json::json!(["agent", "a \"b\""]);
    claims["sid"] = "session-1".into();
    claims["jti"] = "token-1".into();
    let token = issuer.sign(&claims);
    transaction
        .execute("SELECT tenant_guard.authenticate($1)", &[&token])
        .unwrap();
    run(
        &mut transaction,
        &format!("INSERT INTO t VALUES (1, '{ACCOUNT_A}')"),
    );
    run(
        &mut transaction,
        &format!("INSERT INTO t VALUES (2, '{ACCOUNT_A}')"),
    );
    transaction.commit().unwrap();
    run(
        &mut session,
        &format!("INSERT INTO t VALUES (3, '{ACCOUNT_B}')"),
    );

    let known =
        format!("row|public.t|<null>|tester|{{agent,\"a \\\"b\\\"\"}}|{app}|{app}|<null>|0");
    let unknown = format!("row|public.t|<null>|<null>|<null>|{app}|{app}|<null>|0");
    assert_eq!(
        log(
            &mut owner,
            "kind, relation, leaf_relation, subject, role, session_role, \"current_role\", \
             redacted, context"
        ),
        [known.clone(), known, unknown]
    );
    assert_eq!(
        lines(
            &mut owner,
            "SELECT issuer, token_id, session, client_address, application_name, number
             FROM tenant_guard.audit_context ORDER BY xid"
        ),
        [
            "https://issuer.example|token-1|session-1|<null>|shop|0",
            "<null>|<null>|<null>|<null>|shop|0",
        ]
    );
    assert_eq!(
        lines(
            &mut owner,
            "SELECT bool_and(occurred_at BETWEEN transaction_start AND clock_timestamp()
                             AND occurred_at > now() - interval '1 min')
             FROM tenant_guard.audit_log JOIN tenant_guard.audit_context
                  USING (incarnation, xid)"
        ),
        ["t"]
    );
}

#[test]
fn redacted_value_is_nowhere_in_the_log() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE t (account_id text, secret text, \"Other one\" text, n int)",
    );
    capture(&mut client, "t", "account_id", r#"secret,"Other one""#);
    run(
        &mut client,
        "INSERT INTO t VALUES ('a', 'hush1', 'hush2', 1)",
    );
    run(&mut client, "UPDATE t SET secret = 'hush3'");
    run(&mut client, "UPDATE t SET n = 2");
    run(&mut client, "DELETE FROM t");
    let whole = r#"{"account_id":"a","n":2}"#;
    assert_eq!(
        log(&mut client, "action, redacted, row_key, data"),
        [
            r#"insert|{secret,"Other one"}|<null>|{"account_id":"a","n":1}"#.into(),
            r#"update|{secret}|{"account_id":"a","n":1}|{"old":{},"new":{}}"#.into(),
            r#"update|<null>|{"account_id":"a","n":1}|{"old":{"n":1},"new":{"n":2}}"#.into(),
            format!(r#"delete|{{secret,"Other one"}}|{whole}|{whole}"#),
        ]
    );
    assert_eq!(
        lines(
            &mut client,
            "SELECT count(*) FROM tenant_guard.audit_log l WHERE l::text ~ 'hush'"
        ),
        ["0"]
    );
}

#[test]
fn log_refuses_everybody_elses_writes() {
    let db = database();
    let mut superuser = db.superuser();
    let app = db.role("app");
    run(
        &mut superuser,
        &format!("GRANT tenant_guard_admin, tenant_guard_auditor TO {app}"),
    );
    let tables = lines(
        &mut superuser,
        "SELECT c.oid::regclass FROM pg_class c
         WHERE relnamespace = 'tenant_guard'::regnamespace AND relkind = 'r'
           AND relname ~ '^(audit|ledger)_' ORDER BY 1",
    );
    assert_eq!(tables.len(), 5);
    let mut session = db.connect_as(&app);
    for role in ["origin", "replica"] {
        run(
            &mut superuser,
            &format!("SET session_replication_role = {role}"),
        );
        for table in &tables {
            for statement in [
                format!("INSERT INTO {table} SELECT * FROM {table}"),
                format!("UPDATE {table} SET incarnation = 0").replace(
                    "incarnation",
                    if table.ends_with("_account") {
                        "size"
                    } else if table.ends_with("_leaf") {
                        "block"
                    } else {
                        "incarnation"
                    },
                ),
                format!("DELETE FROM {table}"),
                format!("TRUNCATE {table}"),
            ] {
                expect_error(
                    superuser.batch_execute(&statement),
                    "55000",
                    "is append-only",
                );
                expect_error(
                    session.batch_execute(&statement),
                    "42501",
                    "permission denied",
                );
            }
            assert_eq!(
                lines(&mut session, &format!("SELECT count(*) FROM {table}")).len(),
                1
            );
        }
    }
}
