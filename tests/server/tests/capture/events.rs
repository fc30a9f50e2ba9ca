//! Keys and order of events, and the events that are not changes of rows.

use std::collections::BTreeMap;

use tenant_guard_core::event::EventKey;
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, Issuer, expect_error, lines};

use super::{capture, database, log, run};

#[test]
fn application_records_events_in_its_own_account_only() {
    let db = Database::new();
    let issuer = Issuer::es256("https://issuer.example");
    issuer.register(&mut db.superuser());
    let app = db.role("app");
    let mut session = db.connect_as(&app);
    expect_error(
        session.batch_execute("SELECT tenant_guard.record_event('export')"),
        "28000",
        "no identity",
    );
    let mut transaction = session.transaction().unwrap();
    issuer.sign_in(&mut transaction, ACCOUNT_A);
    let record = "SELECT tenant_guard.record_event('export', 'contacts', '{\"n\": 1.50}')";
    let id = lines(&mut transaction, record).remove(0);
    run(
        &mut transaction,
        "SELECT tenant_guard.record_event('viewed')",
    );
    run(
        &mut transaction,
        "SELECT tenant_guard.record_event('erase', NULL, NULL)",
    );
    for unfit in ["''", "repeat('x', 201)"] {
        let mut savepoint = transaction.transaction().unwrap();
        expect_error(
            savepoint.batch_execute(&format!("SELECT tenant_guard.record_event({unfit})")),
            "22023",
            "action must be 1 to 200 bytes long",
        );
    }
    let mut savepoint = transaction.transaction().unwrap();
    expect_error(
        savepoint.batch_execute("SELECT tenant_guard.record_event(NULL)"),
        "22004",
        "action must not be null",
    );
    savepoint.rollback().unwrap();
    transaction.commit().unwrap();

    let mut owner = db.superuser();
    assert_eq!(
        log(
            &mut owner,
            "kind, action, account_id, subject, target, data, relation"
        ),
        [
            format!(r#"application|export|{ACCOUNT_A}|tester|contacts|{{"n": 1.50}}|<null>"#),
            format!("application|viewed|{ACCOUNT_A}|tester|<null>|{{}}|<null>"),
            format!("application|erase|{ACCOUNT_A}|tester|<null>|<null>|<null>"),
        ]
    );
    let key: EventKey = id.parse().expect("an event id");
    assert_eq!(
        log(&mut owner, "incarnation, xid, ordinal")[0],
        format!("{}|{}|{}", key.incarnation, key.xid, key.ordinal)
    );
}

#[test]
fn expired_identity_records_no_event_but_its_changes_are_captured() {
    let db = database();
    let issuer = Issuer::es256("https://issuer.example");
    let mut owner = db.superuser();
    owner
        .execute(
            "SELECT tenant_guard.add_issuer($1, $2::jsonb, leeway => '0 s')",
            &[&issuer.name(), &issuer.jwks()],
        )
        .unwrap();
    let app = db.role("app");
    run(
        &mut owner,
        &format!("CREATE TABLE t (account_id uuid); GRANT INSERT ON t TO {app}"),
    );
    capture(&mut owner, "t", "account_id", "");
    let mut session = db.connect_as(&app);
    let mut transaction = session.transaction().unwrap();
    let mut claims = issuer.claims(ACCOUNT_A);
    let expires = claims["iat"].as_u64().unwrap() + 5;
    claims["exp"] = expires.into();
    let token = issuer.sign(&claims);
    transaction
        .execute("SELECT tenant_guard.authenticate($1)", &[&token])
        .unwrap();
    let until_then =
        format!("SELECT pg_sleep({expires} + 0.1 - extract(epoch FROM clock_timestamp()))");
    run(&mut transaction, &until_then);
    run(
        &mut transaction,
        &format!("INSERT INTO t VALUES ('{ACCOUNT_A}')"),
    );
    let mut savepoint = transaction.transaction().unwrap();
    expect_error(
        savepoint.batch_execute("SELECT tenant_guard.record_event('late')"),
        "28000",
        "has expired",
    );
    savepoint.rollback().unwrap();
    transaction.commit().unwrap();
    assert_eq!(log(&mut owner, "kind, subject"), ["row|tester"]);
}

#[test]
fn read_only_transaction_records_no_event() {
    let db = database();
    let issuer = Issuer::es256("https://issuer.example");
    issuer.register(&mut db.superuser());
    let app = db.role("app");
    let mut session = db.connect_as(&app);
    let mut transaction = session.build_transaction().read_only(true).start().unwrap();
    issuer.sign_in(&mut transaction, ACCOUNT_B);
    expect_error(
        transaction.batch_execute("SELECT tenant_guard.record_event('x')"),
        "25006",
        "cannot execute record_event() in a read-only transaction",
    );
}

/// Applies the logged changes of `public.t (id int primary key, n int, ...)` in their order: for
/// each row what its image would hold.
fn fold(client: &mut postgres::Client) -> BTreeMap<i64, serde_json::Value> {
    let rows = client
        .query(
            "SELECT action, row_key, data FROM tenant_guard.audit_log
             WHERE relation = 'public.t' ORDER BY xid, command_id, ordinal",
            &[],
        )
        .unwrap();
    let mut live = BTreeMap::new();
    for row in rows {
        let json = |column: &str| -> serde_json::Value {
            serde_json::from_str(row.get(column)).expect("JSON")
        };
        let id = json("row_key")["id"].as_i64().expect("a key");
        match row.get("action") {
            "insert" => assert!(
                live.insert(id, json("data")).is_none(),
                "row {id} was there"
            ),
            "delete" => assert_eq!(live.remove(&id), Some(json("data"))),
            _ => {
                let image = live.get_mut(&id).expect("an updated row is there");
                let changes = json("data");
                for (column, old) in changes["old"].as_object().expect("an object") {
                    assert_eq!(&image[column], old, "row {id}, column {column}");
                    image[column] = changes["new"][column].clone();
                }
            }
        }
    }
    live
}

#[test]
fn nested_changes_fold_to_the_live_table() {
    let db = database();
    let mut client = db.superuser();
    // The trigger's name sorts before ours, so its changes are captured before the change that
    // caused them.
    run(
        &mut client,
        "CREATE TABLE t (id int PRIMARY KEY, account_id int, n int, trail text DEFAULT '');
         CREATE FUNCTION nest() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF tg_op = 'INSERT' AND new.n > 0 THEN
                 UPDATE t SET trail = trail || 'i' WHERE id = new.id;
                 INSERT INTO t VALUES (new.id + 100 * new.n, new.account_id, new.n - 1);
                 UPDATE t SET n = n + 10 WHERE id % 2 = 0 AND id < 100;
             ELSIF tg_op = 'UPDATE' AND length(new.trail) < 4 THEN
                 UPDATE t SET trail = trail || new.id WHERE id IN (new.id, new.id + 1);
             ELSIF tg_op = 'DELETE' THEN
                 UPDATE t SET trail = trail || 'd' WHERE id = old.id + 1;
                 DELETE FROM t WHERE id = old.id + 100;
             END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER a_nest AFTER INSERT OR UPDATE OR DELETE ON t
             FOR EACH ROW EXECUTE FUNCTION nest();",
    );
    capture(&mut client, "t", "account_id", "");
    run(
        &mut client,
        "INSERT INTO t SELECT i, 1, i % 4 FROM generate_series(1, 20) AS i",
    );
    run(
        &mut client,
        "BEGIN;
         UPDATE t SET n = n + 1 WHERE id < 10;
         SAVEPOINT s; DELETE FROM t WHERE id < 5; UPDATE t SET n = -1; ROLLBACK TO s;
         DELETE FROM t WHERE id BETWEEN 3 AND 8;
         INSERT INTO t VALUES (4, 2, 1) ON CONFLICT (id) DO UPDATE SET n = 0;
         INSERT INTO t VALUES (4, 2, 1) ON CONFLICT (id) DO UPDATE SET n = excluded.n + t.n;
         COMMIT;
         DELETE FROM t WHERE id > 250;",
    );
    let folded = fold(&mut client);
    let live: BTreeMap<i64, serde_json::Value> = client
        .query("SELECT id::bigint, to_jsonb(t) FROM t", &[])
        .unwrap()
        .into_iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert!(live.len() > 20, "the nested changes leave rows to compare");
    assert_eq!(folded, live);
    let out_of_order = "SELECT count(*) > 10 FROM tenant_guard.audit_log a
        JOIN tenant_guard.audit_log b USING (xid)
        WHERE a.ordinal < b.ordinal AND a.command_id > b.command_id";
    assert_eq!(
        lines(&mut client, out_of_order),
        ["t"],
        "ordinals alone would fold wrongly"
    );
}

#[test]
fn rolled_back_savepoints_leave_no_event_and_no_gap_in_contexts() {
    let db = database();
    let mut client = db.superuser();
    run(&mut client, "CREATE TABLE t (account_id int)");
    capture(&mut client, "t", "account_id", "");
    run(&mut client, "SET application_name = 'first'; BEGIN");
    for depth in 0..100 {
        run(
            &mut client,
            &format!("SAVEPOINT s{depth}; INSERT INTO t VALUES ({depth})"),
        );
    }
    // The context record stood in savepoint 0: it goes, and the next event writes it again.
    run(&mut client, "ROLLBACK TO s0; INSERT INTO t VALUES (1000)");
    run(
        &mut client,
        "SAVEPOINT a; SET LOCAL application_name = 'second'",
    );
    run(&mut client, "INSERT INTO t VALUES (1001); RELEASE a");
    run(
        &mut client,
        "SAVEPOINT b; INSERT INTO t VALUES (1002); ROLLBACK TO b",
    );
    run(&mut client, "INSERT INTO t VALUES (1003)");
    run(&mut client, "COMMIT");
    assert_eq!(
        lines(
            &mut client,
            "SELECT account_id, application_name, number
             FROM tenant_guard.audit_log l
             JOIN tenant_guard.audit_context c ON (c.incarnation, c.xid, c.number)
                 = (l.incarnation, l.xid, l.context)
             ORDER BY ordinal"
        ),
        ["1000|first|0", "1001|second|1", "1003|second|1"]
    );
    assert_eq!(log(&mut client, "ordinal"), ["100", "101", "103"]);
    assert_eq!(
        lines(
            &mut client,
            "SELECT count(*) FROM tenant_guard.audit_context"
        ),
        ["2"]
    );
}

#[test]
fn roles_are_those_of_the_moment() {
    let db = database();
    let (app, other) = (db.role("app"), db.role("other"));
    let mut owner = db.superuser();
    run(
        &mut owner,
        &format!(
            "CREATE TABLE t (account_id int); GRANT INSERT ON t TO {app}, {other};
             GRANT {other} TO {app}"
        ),
    );
    capture(&mut owner, "t", "account_id", "");
    let mut session = db.connect_as(&app);
    run(
        &mut session,
        &format!("INSERT INTO t VALUES (1); SET ROLE {other}"),
    );
    run(&mut session, "INSERT INTO t VALUES (2)");
    run(
        &mut owner,
        &format!("ALTER ROLE {other} RENAME TO {other}_renamed"),
    );
    run(&mut session, "INSERT INTO t VALUES (3)");
    run(&mut session, "RESET ROLE; INSERT INTO t VALUES (4)");
    assert_eq!(
        log(&mut owner, "session_role, \"current_role\""),
        [
            format!("{app}|{app}"),
            format!("{app}|{other}"),
            format!("{app}|{other}_renamed"),
            format!("{app}|{app}"),
        ]
    );
}

#[test]
fn identity_that_changes_within_a_transaction_changes_the_context() {
    let db = database();
    let issuer = Issuer::es256("https://issuer.example");
    let mut owner = db.superuser();
    issuer.register(&mut owner);
    let app = db.role("app");
    run(
        &mut owner,
        &format!("CREATE TABLE t (account_id uuid); GRANT INSERT ON t TO {app}"),
    );
    capture(&mut owner, "t", "account_id", "");
    let mut session = db.connect_as(&app);
    let mut transaction = session.transaction().unwrap();
    for subject in ["ann", "ben"] {
        let mut claims = issuer.claims(ACCOUNT_A);
        claims["sub"] = subject.into();
        claims["jti"] = format!("token of {subject}").into();
        let token = issuer.sign(&claims);
        transaction
            .execute("SELECT tenant_guard.authenticate($1)", &[&token])
            .unwrap();
        run(
            &mut transaction,
            &format!("INSERT INTO t VALUES ('{ACCOUNT_A}')"),
        );
    }
    run(&mut transaction, "SELECT tenant_guard.sign_out()");
    run(
        &mut transaction,
        &format!("INSERT INTO t VALUES ('{ACCOUNT_A}')"),
    );
    transaction.commit().unwrap();
    assert_eq!(
        lines(
            &mut owner,
            "SELECT subject, token_id FROM tenant_guard.audit_event ORDER BY ordinal"
        ),
        ["ann|token of ann", "ben|token of ben", "<null>|<null>"]
    );
}

#[test]
fn captured_events_verify_as_they_are_stored() {
    let db = database();
    let issuer = Issuer::es256("https://issuer.example");
    let mut owner = db.superuser();
    issuer.register(&mut owner);
    let app = db.role("app");
    run(
        &mut owner,
        &format!(
            r#"CREATE TABLE "Ünusual" (id int PRIMARY KEY, account_id uuid, secret text, d date)
                   PARTITION BY RANGE (id);
               CREATE TABLE leaf PARTITION OF "Ünusual" DEFAULT;
               GRANT ALL ON "Ünusual" TO {app}"#
        ),
    );
    capture(&mut owner, r#""Ünusual""#, "account_id", "secret");
    let changes = format!(
        r#"INSERT INTO "Ünusual" VALUES (1, '{ACCOUNT_A}', 'x', '-infinity'), (2, NULL, NULL, NULL);
           UPDATE "Ünusual" SET secret = 'y', account_id = '{ACCOUNT_B}';
           DELETE FROM "Ünusual" WHERE id = 1; TRUNCATE "Ünusual";"#
    );
    run(&mut owner, &changes);
    let mut session = db.connect_with_options(&app, "-c application_name=größer");
    for roles in [
        serde_json::json!([]),
        serde_json::json!(["a,b", "\"q\"", "NULL", "é"]),
    ] {
        let mut claims = issuer.claims(ACCOUNT_A);
        claims["roles"] = roles;
        claims["sid"] = "s\u{1}".into();
        let mut transaction = session.transaction().unwrap();
        let token = issuer.sign(&claims);
        transaction
            .execute("SELECT tenant_guard.authenticate($1)", &[&token])
            .unwrap();
        run(&mut transaction, &changes);
        run(
            &mut transaction,
            "SELECT tenant_guard.record_event('é', '', '{\"a\": [1.0, null]}')",
        );
        transaction.commit().unwrap();
    }
    assert_eq!(
        lines(&mut owner, "SELECT events FROM tenant_guard.seal()"),
        ["26"]
    );
    assert_eq!(
        lines(
            &mut owner,
            "SELECT v FROM tenant_guard.verify_ledger() AS v"
        ),
        [""; 0]
    );
}

#[test]
fn signing_in_again_and_again_keeps_one_context() {
    let db = database();
    let issuer = Issuer::es256("https://issuer.example");
    let mut owner = db.superuser();
    issuer.register(&mut owner);
    let app = db.role("app");
    run(
        &mut owner,
        &format!("CREATE TABLE t (account_id uuid); GRANT INSERT ON t TO {app}"),
    );
    capture(&mut owner, "t", "account_id", "");
    let mut session = db.connect_as(&app);
    let mut transaction = session.transaction().unwrap();
    let token = issuer.token(ACCOUNT_A);
    for _ in 0..5 {
        transaction
            .execute("SELECT tenant_guard.authenticate($1)", &[&token])
            .unwrap();
        run(
            &mut transaction,
            &format!("INSERT INTO t VALUES ('{ACCOUNT_A}')"),
        );
    }
    transaction.commit().unwrap();
    assert_eq!(
        lines(
            &mut owner,
            "SELECT count(*) FROM tenant_guard.audit_context"
        ),
        ["1"]
    );
}
