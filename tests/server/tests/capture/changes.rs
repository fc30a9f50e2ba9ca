//! What stands in the log after each kind of change.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Issuer, expect_error, lines};

use super::{capture, database, log, run};

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
fn replica_role_does_not_silence_capture() {
    let db = database();
    let mut client = db.superuser();
    run(&mut client, "CREATE TABLE t (account_id int)");
    capture(&mut client, "t", "account_id", "");
    run(&mut client, "SET session_replication_role = replica");
    run(&mut client, "INSERT INTO t VALUES (1)");
    run(&mut client, "TRUNCATE t");
    assert_eq!(log(&mut client, "action"), ["insert", "truncate"]);
}

#[test]
fn every_way_to_change_a_row_is_captured() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE t (account_id int, id int, v text, PRIMARY KEY (id, account_id))",
    );
    capture(&mut client, "t", "account_id", "");
    run(
        &mut client,
        "INSERT INTO t VALUES (1, 1, 'a') ON CONFLICT DO NOTHING",
    );
    run(
        &mut client,
        "INSERT INTO t VALUES (1, 1, 'a') ON CONFLICT DO NOTHING",
    );
    run(
        &mut client,
        "INSERT INTO t VALUES (1, 1, 'a'), (1, 2, 'b')
         ON CONFLICT (id, account_id) DO UPDATE SET v = excluded.v || '!'",
    );
    let merge = if db.has_merge() {
        "MERGE INTO t USING (VALUES (1), (2), (3)) AS s (id) ON t.id = s.id
         WHEN MATCHED AND s.id = 1 THEN DELETE
         WHEN MATCHED THEN UPDATE SET v = 'm'
         WHEN NOT MATCHED THEN INSERT VALUES (1, s.id, 'n')"
    } else {
        "DELETE FROM t WHERE id = 1; UPDATE t SET v = 'm'; INSERT INTO t VALUES (1, 3, 'n')"
    };
    run(&mut client, merge);
    let mut copy = client.copy_in("COPY t FROM STDIN").unwrap();
    std::io::Write::write_all(&mut copy, b"1\t9\tcopied\n").unwrap();
    copy.finish().unwrap();
    run(
        &mut client,
        "WITH gone AS (DELETE FROM t WHERE id = 9 RETURNING *) TABLE gone",
    );
    assert_eq!(
        log(&mut client, CHANGE),
        [
            r#"insert|1|{"id":1,"account_id":1}|{"account_id":1,"id":1,"v":"a"}"#,
            r#"update|1|{"id":1,"account_id":1}|{"old":{"v":"a"},"new":{"v":"a!"}}"#,
            r#"insert|1|{"id":2,"account_id":1}|{"account_id":1,"id":2,"v":"b"}"#,
            r#"delete|1|{"id":1,"account_id":1}|{"account_id":1,"id":1,"v":"a!"}"#,
            r#"update|1|{"id":2,"account_id":1}|{"old":{"v":"b"},"new":{"v":"m"}}"#,
            r#"insert|1|{"id":3,"account_id":1}|{"account_id":1,"id":3,"v":"n"}"#,
            r#"insert|1|{"id":9,"account_id":1}|{"account_id":1,"id":9,"v":"copied"}"#,
            r#"delete|1|{"id":9,"account_id":1}|{"account_id":1,"id":9,"v":"copied"}"#,
        ]
    );
}

#[test]
fn cascades_are_captured() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE parent (id int PRIMARY KEY, account_id int);
         CREATE TABLE child (id int PRIMARY KEY, account_id int,
             up int REFERENCES parent ON UPDATE CASCADE ON DELETE SET NULL);",
    );
    capture(&mut client, "parent", "account_id", "");
    capture(&mut client, "child", "account_id", "");
    run(
        &mut client,
        "INSERT INTO parent VALUES (1, 5); INSERT INTO child VALUES (10, 5, 1)",
    );
    run(&mut client, "UPDATE parent SET id = 2");
    run(&mut client, "DELETE FROM parent");
    run(&mut client, "TRUNCATE parent CASCADE");
    let cascades = log(&mut client, "relation, action, row_key, data").split_off(2);
    let mut truncated = cascades[4..].to_vec();
    truncated.sort();
    assert_eq!(
        cascades[..4],
        [
            r#"public.parent|update|{"id":1}|{"old":{"id":1},"new":{"id":2}}"#,
            r#"public.child|update|{"id":10}|{"old":{"up":1},"new":{"up":2}}"#,
            r#"public.parent|delete|{"id":2}|{"id":2,"account_id":5}"#,
            r#"public.child|update|{"id":10}|{"old":{"up":2},"new":{"up":null}}"#,
        ]
    );
    let truncate = |table: &str| format!("public.{table}|truncate|<null>|<null>");
    assert_eq!(truncated, [truncate("child"), truncate("parent")]);
}

#[test]
fn partition_is_named_beside_its_root() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        r#"CREATE SCHEMA "Odd schema";
           CREATE TABLE "Odd schema".root (account_id int, id int, v int, gone int)
               PARTITION BY LIST (account_id);
           CREATE TABLE middle PARTITION OF "Odd schema".root FOR VALUES IN (1, 2)
               PARTITION BY RANGE (id);
           CREATE TABLE leaf (v int, gone int, id int NOT NULL, account_id int);
           ALTER TABLE middle ATTACH PARTITION leaf FOR VALUES FROM (0) TO (10);
           CREATE TABLE other PARTITION OF "Odd schema".root DEFAULT;
           ALTER TABLE "Odd schema".root DROP COLUMN gone;"#,
    );
    capture(&mut client, r#""Odd schema".root"#, "account_id", "");
    run(
        &mut client,
        r#"INSERT INTO "Odd schema".root VALUES (1, 1, 1)"#,
    );
    run(&mut client, "UPDATE leaf SET v = 2");
    run(
        &mut client,
        r#"UPDATE "Odd schema".root SET account_id = 7"#,
    );
    run(&mut client, r#"ALTER SCHEMA "Odd schema" RENAME TO plain"#);
    run(&mut client, "DELETE FROM plain.root");
    run(&mut client, "ALTER TABLE plain.root RENAME TO tree");
    run(&mut client, "INSERT INTO plain.tree VALUES (1, 1, 1)");
    run(
        &mut client,
        "ALTER TABLE plain.tree DETACH PARTITION middle",
    );
    run(
        &mut client,
        "CREATE TRIGGER again AFTER INSERT ON middle FOR EACH ROW
        EXECUTE FUNCTION tenant_guard.capture('account_id', '{}')",
    );
    run(
        &mut client,
        "INSERT INTO middle (account_id, id) VALUES (1, 2)",
    );
    assert_eq!(
        log(
            &mut client,
            "relation, leaf_relation, action, account_id, data"
        ),
        [
            r#""Odd schema".root|public.leaf|insert|1|{"v":1,"id":1,"account_id":1}"#,
            r#""Odd schema".root|public.leaf|update|1|{"old":{"v":1},"new":{"v":2}}"#,
            r#""Odd schema".root|public.leaf|delete|1|{"v":2,"id":1,"account_id":1}"#,
            r#""Odd schema".root|public.other|insert|7|{"account_id":7,"id":1,"v":2}"#,
            r#"plain.root|public.other|delete|7|{"account_id":7,"id":1,"v":2}"#,
            r#"plain.tree|public.leaf|insert|1|{"v":1,"id":1,"account_id":1}"#,
            r#"public.middle|public.leaf|insert|1|{"v":null,"id":2,"account_id":1}"#,
        ]
    );
}

#[test]
fn inherited_child_is_its_own_relation() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE up (account_id int); CREATE TABLE down (extra int) INHERITS (up)",
    );
    capture(&mut client, "up", "account_id", "");
    capture(&mut client, "down", "account_id", "");
    run(
        &mut client,
        "INSERT INTO down VALUES (1, 2); UPDATE up SET account_id = 3",
    );
    assert_eq!(
        log(&mut client, "relation, leaf_relation, account_id, data"),
        [
            r#"public.down|<null>|1|{"account_id":1,"extra":2}"#,
            r#"public.down|<null>|1|{"old":{"account_id":1},"new":{"account_id":3}}"#,
            r#"public.down|<null>|3|{"old":{"account_id":1},"new":{"account_id":3}}"#,
        ]
    );
}

#[test]
fn account_is_written_in_canonical_text() {
    let db = database();
    let mut client = db.superuser();
    for (of_type, value, expected) in [
        ("uuid", "'AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA'", ACCOUNT_A),
        ("text", "'AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA'", ACCOUNT_A),
        ("text", "'007'", "007"),
        ("varchar(20)", "'Größe'", "Größe"),
        ("smallint", "-7", "-7"),
        ("integer", "7", "7"),
        ("bigint", "9223372036854775807", "9223372036854775807"),
        ("text", "NULL", ""),
    ] {
        run(&mut client, &format!("CREATE TABLE t (account {of_type})"));
        capture(&mut client, "t", "account", "");
        run(&mut client, &format!("INSERT INTO t VALUES ({value})"));
        let last = log(&mut client, "account_id").pop();
        assert_eq!(last.as_deref(), Some(expected), "{of_type} {value}");
        run(&mut client, "DROP TABLE t");
    }
}

#[test]
fn trigger_that_no_longer_fits_refuses_the_change() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE t (id int PRIMARY KEY, account_id int, secret text, n int)",
    );
    capture(&mut client, "t", "account_id", "secret");
    let insert = "INSERT INTO t VALUES (1, 1)";
    for (alter, back, column) in [
        (
            "RENAME account_id TO tenant",
            "RENAME tenant TO account_id",
            "account_id",
        ),
        ("RENAME secret TO open", "RENAME open TO secret", "secret"),
        (
            "ALTER account_id TYPE date USING NULL",
            "ALTER account_id TYPE int USING NULL",
            "account_id",
        ),
        (
            "DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (secret)",
            "DROP CONSTRAINT t_pkey, ALTER secret DROP NOT NULL, ADD PRIMARY KEY (id)",
            "secret",
        ),
    ] {
        run(&mut client, &format!("ALTER TABLE t {alter}"));
        let expected = format!("capture trigger of \"t\" does not fit column \"{column}\"");
        expect_error(
            client.batch_execute("INSERT INTO t VALUES (1, NULL, 'x')"),
            "55000",
            &expected,
        );
        run(&mut client, &format!("ALTER TABLE t {back}"));
    }
    run(&mut client, insert);
    assert_eq!(lines(&mut client, "SELECT count(*) FROM t"), ["1"]);
}

#[test]
fn capture_functions_are_triggers_of_the_admin_alone() {
    let db = database();
    let app = db.role("app");
    let mut owner = db.superuser();
    run(
        &mut owner,
        &format!("GRANT CREATE ON SCHEMA public TO {app}"),
    );
    let mut session = db.connect_as(&app);
    run(&mut session, "CREATE TABLE mine (account_id text)");
    for function in ["capture", "capture_truncate", "guard_ledger"] {
        expect_error(
            session.batch_execute(&format!(
                "CREATE TRIGGER forge AFTER INSERT ON mine FOR EACH ROW
                 EXECUTE FUNCTION tenant_guard.{function}('account_id', '{{}}')"
            )),
            "42501",
            "permission denied",
        );
        expect_error(
            owner.batch_execute(&format!("SELECT tenant_guard.{function}()")),
            "39P01",
            "can only be called as a trigger",
        );
    }
    run(
        &mut owner,
        "CREATE TABLE t (account_id int);
         CREATE TRIGGER before BEFORE INSERT ON t FOR EACH ROW
             EXECUTE FUNCTION tenant_guard.capture('account_id', '{}')",
    );
    expect_error(
        owner.batch_execute("INSERT INTO t VALUES (1)"),
        "39P01",
        "as a trigger",
    );
}

#[test]
fn capture_of_many_rows_keeps_no_memory() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE t (id int PRIMARY KEY, account_id uuid, n numeric, d timestamptz[], j jsonb,
             m money)",
    );
    capture(&mut client, "t", "account_id", "");
    let mut used = |count: u32| {
        run(&mut client, "TRUNCATE t");
        run(
            &mut client,
            &format!(
                "INSERT INTO t SELECT i, '{ACCOUNT_A}', i / 7.0, ARRAY[now()], '{{}}', i
                 FROM generate_series(1, {count}) AS i"
            ),
        );
        let used = "SELECT sum(total_bytes) FROM pg_backend_memory_contexts";
        lines(&mut client, used)[0].parse::<u64>().unwrap()
    };
    used(1000);
    let few = used(1000);
    let many = used(30_000);
    assert!(
        many < few + 200_000,
        "{few} bytes after few rows, {many} after many"
    );
}

#[test]
fn events_of_a_prepared_transaction_wait_for_its_commit() {
    let db = database();
    let mut client = db.superuser();
    run(&mut client, "CREATE TABLE t (account_id int)");
    capture(&mut client, "t", "account_id", "");
    let name = db.name().to_owned();
    run(
        &mut client,
        &format!("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION '{name}'"),
    );
    run(&mut client, "INSERT INTO t VALUES (2)");
    assert_eq!(log(&mut client, "account_id, ordinal, context"), ["2|0|0"]);
    run(&mut client, &format!("COMMIT PREPARED '{name}'"));
    assert_eq!(
        log(&mut client, "account_id, ordinal, context"),
        ["1|0|0", "2|0|0"]
    );
}

#[test]
fn column_generated_from_a_redacted_one_is_redacted() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE t (account_id int, card text, n int,
             last4 text GENERATED ALWAYS AS (right(card, 4)) STORED,
             double int GENERATED ALWAYS AS (n * 2) STORED)",
    );
    capture(&mut client, "t", "account_id", "card");
    run(&mut client, "INSERT INTO t VALUES (1, '41111', 1)");
    run(&mut client, "UPDATE t SET card = '52222'");
    run(
        &mut client,
        "ALTER TABLE t ADD size int GENERATED ALWAYS AS (length(card)) STORED",
    );
    run(&mut client, "DELETE FROM t");
    let whole = r#"{"account_id":1,"n":1,"double":2}"#;
    assert_eq!(
        log(&mut client, "action, redacted, row_key, data"),
        [
            format!("insert|{{card,last4}}|<null>|{whole}"),
            format!(r#"update|{{card,last4}}|{whole}|{{"old":{{}},"new":{{}}}}"#),
            format!("delete|{{card,last4,size}}|{whole}|{whole}"),
        ]
    );
}

#[test]
fn account_that_sealing_could_not_keep_is_refused() {
    let db = database();
    let mut client = db.superuser();
    run(&mut client, "CREATE TABLE t (account_id text)");
    capture(&mut client, "t", "account_id", "");
    run(&mut client, "INSERT INTO t VALUES (repeat('a', 1024))");
    let longer = "INSERT INTO t VALUES (repeat('a', 1025))";
    let message = "account id in relation public.t is longer than 1024 bytes";
    expect_error(client.batch_execute(longer), "54000", message);
    // Random text, which no compression makes fit.
    run(
        &mut client,
        "INSERT INTO t SELECT string_agg(md5(i::text), '') FROM generate_series(1, 32) AS i",
    );
    assert_eq!(
        lines(
            &mut client,
            "SELECT events, accounts FROM tenant_guard.seal()"
        ),
        ["2|2"]
    );
}
