//! What counts as a read, and what is recorded of it.

use std::io::Read;
use std::thread;
use std::time::Duration;

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, expect_error, lines};

use super::{loaded, of_contacts, reads, rolled_back, shop};
use crate::isolation::Shop;

#[test]
fn cursor_that_is_fetched_and_rolled_back_is_in_the_log() {
    let shop = shop();
    rolled_back(&shop, |session| {
        session
            .batch_execute("DECLARE c CURSOR FOR SELECT * FROM shop.contact; FETCH ALL FROM c")
            .unwrap();
    });
    assert_eq!(reads(&shop.db), [of_contacts("read|SELECT|unknown|1")]);
}

#[test]
fn cursor_that_is_closed_has_the_rows_of_all_fetches() {
    let shop = shop();
    rolled_back(&shop, |session| {
        session
            .batch_execute(
                "DECLARE c CURSOR FOR SELECT * FROM shop.contact;
                 FETCH 1 FROM c; FETCH 1 FROM c; FETCH 1 FROM c; CLOSE c",
            )
            .unwrap();
    });
    assert_eq!(reads(&shop.db), [of_contacts("read|SELECT|2|1")]);
}

#[test]
fn read_of_a_transaction_that_is_rolled_back_is_in_the_log_with_its_rows() {
    let shop = shop();
    rolled_back(&shop, |session| {
        assert_eq!(lines(session, "SELECT id FROM shop.contact"), ["1", "2"]);
    });
    assert_eq!(reads(&shop.db), [of_contacts("read|SELECT|2|1")]);
}

#[test]
fn read_of_a_read_only_transaction_is_in_the_log() {
    let shop = shop();
    let mut session = shop.app();
    let mut transaction = session.build_transaction().read_only(true).start().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_B);
    assert_eq!(
        lines(&mut transaction, "SELECT name FROM shop.contact"),
        ["bob"]
    );
    transaction.commit().unwrap();
    let expected = format!("read|SELECT|1|1|{ACCOUNT_B}|shop.contact|<null>");
    assert_eq!(reads(&shop.db), [expected]);
}

#[test]
fn plain_explain_is_no_read_and_explain_analyze_is_one() {
    let shop = shop();
    rolled_back(&shop, |session| {
        session
            .batch_execute("EXPLAIN SELECT * FROM shop.contact")
            .unwrap();
        session
            .batch_execute("EXPLAIN ANALYZE SELECT * FROM shop.contact")
            .unwrap();
    });
    assert_eq!(reads(&shop.db), [of_contacts("read|SELECT|2|1")]);
}

#[test]
fn copy_to_of_an_account_is_an_export_with_its_rows() {
    let shop = shop();
    rolled_back(&shop, |session| {
        for copy in [
            "COPY shop.contact TO STDOUT",
            "COPY (SELECT id FROM shop.contact WHERE id = 1) TO STDOUT",
        ] {
            let mut text = String::new();
            session
                .copy_out(copy)
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
        }
    });
    assert_eq!(
        reads(&shop.db),
        [
            of_contacts("export|COPY|2|1"),
            of_contacts("export|COPY|1|1")
        ]
    );
}

#[test]
fn copy_to_of_a_superuser_is_an_export_of_unknown_size() {
    let shop = shop();
    let mut text = String::new();
    let mut superuser = loaded(&shop.db);
    let mut copy = superuser.copy_out("COPY shop.contact TO STDOUT").unwrap();
    copy.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 3);
    drop(copy);
    assert_eq!(
        reads(&shop.db),
        ["export|COPY|unknown|1||shop.contact|<null>"]
    );
    let fingerprint = "SELECT data::json ->> 'fingerprint'
            = tenant_guard.statement_fingerprint('COPY shop.contact TO STDOUT;')
        FROM tenant_guard.audit_log WHERE action = 'export'";
    assert_eq!(lines(&mut superuser, fingerprint), ["t"]);
}

#[test]
fn large_results_are_exports() {
    let shop = shop();
    shop.db
        .superuser()
        .batch_execute(&format!(
            "ALTER DATABASE {} SET tenant_guard.export_rows = 1",
            shop.db.name()
        ))
        .unwrap();
    rolled_back(&shop, |session| {
        lines(session, "SELECT id FROM shop.contact");
        lines(session, "SELECT id FROM shop.contact WHERE id = 2");
    });
    assert_eq!(
        reads(&shop.db),
        [
            of_contacts("export|SELECT|2|1"),
            of_contacts("read|SELECT|1|1")
        ]
    );
}

#[test]
fn prepared_statement_is_one_record_a_transaction() {
    let shop = shop();
    rolled_back(&shop, |session| {
        let statement = session
            .prepare("SELECT name FROM shop.contact WHERE id = $1")
            .unwrap();
        for id in [1, 2, 3] {
            session.query(&statement, &[&id]).unwrap();
        }
        // The same without a parameter, and another one.
        session
            .query("SELECT name FROM shop.contact WHERE id = 7", &[])
            .unwrap();
        session.query("SELECT id FROM shop.contact", &[]).unwrap();
    });
    assert_eq!(
        reads(&shop.db),
        [
            of_contacts("read|SELECT|2|4"),
            of_contacts("read|SELECT|2|1")
        ]
    );
}

#[test]
fn loop_of_look_ups_is_one_record() {
    let shop = shop();
    rolled_back(&shop, |session| {
        session
            .batch_execute(
                "DO $$BEGIN FOR n IN 1..1000 LOOP
                     PERFORM name FROM shop.contact WHERE id = n;
                 END LOOP; END$$",
            )
            .unwrap();
    });
    assert_eq!(reads(&shop.db), [of_contacts("read|SELECT|2|1000")]);
}

#[test]
fn failing_query_has_an_unknown_number_of_rows() {
    let shop = shop();
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    let failing = transaction.batch_execute("SELECT 1 / (id - 2) FROM shop.contact");
    expect_error(failing, "22012", "division by zero");
    drop(transaction);
    assert_eq!(reads(&shop.db), [of_contacts("read|SELECT|unknown|1")]);
}

#[test]
fn cancelled_query_has_an_unknown_number_of_rows() {
    let shop = shop();
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    let cancel = transaction.cancel_token();
    let mut observer = shop.db.superuser();
    let waiting = thread::spawn(move || {
        let asleep = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event = 'PgSleep'";
        while lines(&mut observer, asleep) != ["1"] {
            thread::sleep(Duration::from_millis(10));
        }
        cancel.cancel_query(postgres::NoTls).unwrap();
    });
    let cancelled = transaction.batch_execute("SELECT pg_sleep(60) FROM shop.contact");
    expect_error(
        cancelled,
        "57014",
        "canceling statement due to user request",
    );
    waiting.join().unwrap();
    drop(transaction);
    assert_eq!(reads(&shop.db), [of_contacts("read|SELECT|unknown|1")]);
}

#[test]
fn caught_error_ends_the_read_it_was_in() {
    let shop = shop();
    rolled_back(&shop, |session| {
        session
            .batch_execute(
                "DO $$BEGIN
                     BEGIN PERFORM 1 / (id - 2) FROM shop.contact;
                     EXCEPTION WHEN division_by_zero THEN NULL; END;
                     PERFORM name FROM shop.contact;
                 END$$",
            )
            .unwrap();
    });
    assert_eq!(
        reads(&shop.db),
        [
            of_contacts("read|SELECT|unknown|1"),
            of_contacts("read|SELECT|2|1")
        ]
    );
}

#[test]
fn reads_through_views_and_functions_count() {
    let shop = shop();
    shop.run(&format!(
        "CREATE VIEW shop.names {} AS SELECT name FROM shop.contact;
         CREATE FUNCTION shop.name_of(wanted int) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
             SET search_path = pg_catalog, pg_temp
             AS 'SELECT name FROM shop.contact WHERE id = wanted';
         GRANT SELECT ON shop.names TO {}",
        shop.db.invoker(),
        shop.app
    ));
    rolled_back(&shop, |session| {
        lines(session, "SELECT * FROM shop.names");
        lines(session, "SELECT shop.name_of(1)");
    });
    assert_eq!(
        reads(&shop.db),
        [
            of_contacts("read|SELECT|2|1"),
            of_contacts("read|SELECT|1|1")
        ]
    );
}

#[test]
fn partition_read_by_its_own_name_counts_with_root_and_leaf() {
    let shop = Shop::with(
        "CREATE TABLE shop.visit (account_id uuid, day int) PARTITION BY RANGE (day);
         CREATE TABLE shop.visit_1 PARTITION OF shop.visit FOR VALUES FROM (0) TO (10);
         SELECT tenant_guard.protect('shop.visit');
         SELECT tenant_guard.audit_reads('shop.visit')",
    );
    // One that comes later is one of them.
    rolled_back(&shop, |session| {
        lines(session, "SELECT * FROM shop.visit");
    });
    shop.run("CREATE TABLE shop.visit_2 PARTITION OF shop.visit FOR VALUES FROM (10) TO (20)");
    rolled_back(&shop, |session| {
        lines(session, "SELECT * FROM shop.visit_1");
        lines(session, "SELECT * FROM shop.visit_2");
    });
    let expected = ["<null>", "shop.visit_1", "shop.visit_2"]
        .map(|leaf| format!("read|SELECT|0|1|{ACCOUNT_A}|shop.visit|{leaf}"));
    assert_eq!(reads(&shop.db), expected);
}

#[test]
fn rows_that_a_change_looks_at_are_read() {
    let shop = shop();
    rolled_back(&shop, |session| {
        for statement in [
            "UPDATE shop.contact SET name = 'x' WHERE id = 1",
            "UPDATE shop.contact SET name = 'x'",
            "DELETE FROM shop.contact WHERE id = 1",
            "UPDATE shop.contact SET name = 'x' WHERE id = 2 RETURNING name",
            "UPDATE shop.contact SET name = (SELECT max(name) FROM shop.contact) WHERE id = 2",
            "MERGE INTO shop.contact AS c USING (VALUES (2)) AS v (id) ON c.id = v.id
             WHEN MATCHED THEN DO NOTHING",
        ] {
            if statement.starts_with("MERGE") && !shop.db.has_merge() {
                continue;
            }
            session.batch_execute(statement).unwrap();
        }
    });
    let mut expected = vec![
        of_contacts("read|UPDATE|1|1"),
        of_contacts("read|DELETE|1|1"),
        of_contacts("read|UPDATE|1|1"),
        of_contacts("read|UPDATE|1|1"),
    ];
    if shop.db.has_merge() {
        expected.push(of_contacts("read|MERGE|0|1"));
    }
    assert_eq!(
        reads(&shop.db),
        expected,
        "an UPDATE of all rows shows none"
    );
}

#[test]
fn checks_of_foreign_keys_are_no_reads() {
    let shop = shop();
    shop.run(
        "CREATE TABLE shop.note (id int, account_id uuid,
             contact_id int REFERENCES shop.contact);
         SELECT tenant_guard.protect('shop.note')",
    );
    rolled_back(&shop, |session| {
        session
            .batch_execute("INSERT INTO shop.note (id, contact_id) VALUES (1, 1)")
            .unwrap();
    });
    assert_eq!(reads(&shop.db), [""; 0]);
}

#[test]
fn event_says_who_read_and_not_who_wrote_it() {
    let shop = shop();
    let mut claims = shop.issuer.claims(ACCOUNT_A);
    claims["sid"] = "session-1".into();
    claims["jti"] = "token-1".into();
    claims["roles"] = serde_json::json!(["clerk", "reader"]);
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    transaction
        .batch_execute("SET application_name = 'till'")
        .unwrap();
    transaction
        .execute(
            "SELECT tenant_guard.authenticate($1)",
            &[&shop.issuer.sign(&claims)],
        )
        .unwrap();
    lines(&mut transaction, "SELECT * FROM shop.contact");
    transaction.rollback().unwrap();
    reads(&shop.db);
    let who = "SELECT c.issuer, c.subject, c.role, c.session, c.token_id, c.session_role,
            c.current_role, c.client_address, c.application_name, l.kind
        FROM tenant_guard.audit_log AS l JOIN tenant_guard.audit_context AS c
            ON (c.incarnation, c.xid, c.number) = (l.incarnation, l.xid, l.context)
        WHERE l.action = 'read'";
    assert_eq!(
        lines(&mut shop.db.superuser(), who),
        [format!(
            "{}|tester|{{clerk,reader}}|session-1|token-1|{app}|{app}|<null>|till|system",
            shop.issuer.name(),
            app = shop.app
        )]
    );
    let findings = "SELECT * FROM tenant_guard.verify_ledger()";
    assert_eq!(lines(&mut shop.db.superuser(), findings), [""; 0]);
}

/// What a client is told of an error, word for word.
fn told(client: &mut postgres::Client, statement: &str) -> String {
    let error = client.batch_execute(statement).expect_err(statement);
    let error = error.as_db_error().expect("the server refuses");
    format!(
        "{} {} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        error.code().code(),
        error.message(),
        error.detail(),
        error.hint(),
        error.position(),
        error.where_(),
        error.table(),
        error.column(),
        error.constraint(),
        error.routine(),
    )
}

#[test]
fn errors_are_word_for_word_what_they_are_without_the_hooks() {
    let shop = shop();
    shop.run(
        "CREATE TABLE shop.rule (id int PRIMARY KEY, n int CONSTRAINT small CHECK (n < 10));
         CREATE FUNCTION shop.fail(n int) RETURNS int LANGUAGE plpgsql
             AS 'BEGIN RETURN (SELECT 1 / (id - n) FROM shop.contact WHERE id = n); END'",
    );
    let statements = [
        "SELECT shop.fail(2)",
        "SELECT 1 / (id - 2) FROM shop.contact",
        "INSERT INTO shop.rule VALUES (1, 11)",
        "INSERT INTO shop.rule VALUES (1, 1), (1, 2)",
        "DO $$BEGIN PERFORM shop.fail(1); END$$",
        "SELECT nothing FROM shop.contact",
        "SELECT (SELECT id FROM shop.contact)",
        "DECLARE c CURSOR FOR SELECT 1/0; FETCH c",
        "EXPLAIN ANALYZE SELECT 1 / (id - 1) FROM shop.contact",
        "SET statement_timeout = '20ms'; SELECT pg_sleep(60), id FROM shop.contact",
    ];
    let mut without = shop.db.superuser();
    let mut with = loaded(&shop.db);
    for statement in statements {
        assert_eq!(
            told(&mut with, statement),
            told(&mut without, statement),
            "{statement}"
        );
    }
    assert!(!reads(&shop.db).is_empty());
}
