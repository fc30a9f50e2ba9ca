//! Names in the lists of capture that come to other columns: what the listed one holds must not go
//! on into the log in clear under its new name.

use postgres::Client;
use tenant_guard_tests::{Database, expect_error, lines};

use super::{database, run};

const STALE: &str = "capture trigger of \"person\" does not fit column \"email\"";

/// A table whose changes are captured in this way.
fn people(declare: &str) -> (Database, Client) {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE person (id int PRIMARY KEY, account_id text NOT NULL DEFAULT 'a',
             email text, phone text, plan text)",
    );
    run(&mut client, declare);
    (db, client)
}

fn strayed(client: &mut Client) -> [Vec<String>; 2] {
    let checked = "SELECT object, detail FROM tenant_guard.check() WHERE code = '15-ledger-altered'
         ORDER BY 2";
    let drift =
        "SELECT object, detail FROM tenant_guard.drift() WHERE detail LIKE '%is not the one%'
         ORDER BY 2";
    [checked, drift].map(|query| lines(client, query))
}

#[test]
fn column_that_takes_the_name_of_a_listed_one_is_refused() {
    for (declare, again, by) in [
        (
            "SELECT tenant_guard.audit('person'); SELECT tenant_guard.annotate('person', '{email}')",
            "SELECT tenant_guard.annotate('person', '{email,email_legacy}')",
            "annotate",
        ),
        (
            "SELECT tenant_guard.annotate('person', '{email}'); SELECT tenant_guard.protect('person')",
            "SELECT tenant_guard.annotate('person', '{email,email_legacy}')",
            "annotate",
        ),
        (
            "SELECT tenant_guard.protect('person', redact => '{email}')",
            "SELECT tenant_guard.protect('person', redact => '{email,email_legacy}')",
            "protect",
        ),
        (
            "SELECT tenant_guard.audit('person', redact => '{email}')",
            "SELECT tenant_guard.audit('person', redact => '{email,email_legacy}')",
            "audit",
        ),
        (
            "SELECT tenant_guard.audit('person', hash => '{email}')",
            "SELECT tenant_guard.audit('person', hash => '{email,email_legacy}')",
            "audit",
        ),
        (
            "SELECT tenant_guard.audit('person', exclude => '{email}')",
            "SELECT tenant_guard.audit('person', exclude => '{email,email_legacy}')",
            "audit",
        ),
        (
            "SELECT tenant_guard.audit('person', include => '{id,email}')",
            "SELECT tenant_guard.audit('person', include => '{id,email}')",
            "audit",
        ),
    ] {
        let (_db, mut client) = people(declare);
        let insert = "INSERT INTO person (id, account_id, email) VALUES (1, 'a', 'ada')";
        run(&mut client, insert);
        assert_eq!(strayed(&mut client), [[""; 0]; 2].map(|none| none.to_vec()));
        run(
            &mut client,
            "ALTER TABLE person RENAME email TO email_legacy; ALTER TABLE person ADD email text",
        );
        let update = "UPDATE person SET email_legacy = 'secret of ada'";
        expect_error(client.batch_execute(update), "55000", STALE);
        let said = format!("public.person|column email is not the one that {by}() named");
        assert_eq!(strayed(&mut client), [vec![said.clone()], vec![said]]);
        run(&mut client, again);
        run(&mut client, update);
        assert_eq!(strayed(&mut client), [[""; 0]; 2].map(|none| none.to_vec()));
        let in_clear =
            "SELECT count(*) FROM tenant_guard.audit_log WHERE data LIKE '%secret of ada%'";
        assert_eq!(lines(&mut client, in_clear), ["0"], "{declare}");
    }
}

#[test]
fn columns_that_swap_names_in_a_ring_are_refused_until_they_are_declared_anew() {
    let (_db, mut client) = people(
        "SELECT tenant_guard.annotate('person', '{email,phone}');
         SELECT tenant_guard.audit('person')",
    );
    run(
        &mut client,
        "ALTER TABLE person RENAME email TO was; ALTER TABLE person RENAME plan TO email;
         ALTER TABLE person RENAME phone TO plan; ALTER TABLE person RENAME was TO phone",
    );
    let insert = "INSERT INTO person (id, phone, plan) VALUES (1, 'ada', '555')";
    let error = client.batch_execute(insert).expect_err("it is stale");
    assert_eq!(error.code().map(|code| code.code()), Some("55000"));
    // What did not name them does not take them anew.
    run(&mut client, "SELECT tenant_guard.audit('person')");
    client.batch_execute(insert).expect_err("it is stale");
    run(
        &mut client,
        "SELECT tenant_guard.annotate('person', '{plan,phone}')",
    );
    run(&mut client, insert);
    let found = "SELECT data, personal FROM tenant_guard.audit_log WHERE kind = 'row'";
    assert_eq!(
        lines(&mut client, found),
        [r#"{"id":1,"account_id":"a","email":null}|{"phone":"ada","plan":"555"}"#]
    );
}

#[test]
fn names_are_watched_over_in_partitions_too_also_in_those_that_left() {
    for capture in ["protect('part')", "audit('part')"] {
        let db = database();
        let mut client = db.superuser();
        run(
            &mut client,
            &format!(
                "CREATE TABLE part (id int PRIMARY KEY, account_id text NOT NULL, email text)
                     PARTITION BY RANGE (id);
                 CREATE TABLE low PARTITION OF part FOR VALUES FROM (0) TO (9);
                 SELECT tenant_guard.annotate('part', '{{email}}');
                 SELECT tenant_guard.{capture};
                 CREATE TABLE high PARTITION OF part FOR VALUES FROM (9) TO (99);
                 CREATE TABLE left_later PARTITION OF part FOR VALUES FROM (99) TO (999);
                 INSERT INTO part VALUES (1, 'a', 'x'), (10, 'a', 'x'), (100, 'a', 'x');
                 ALTER TABLE part DETACH PARTITION left_later;
                 INSERT INTO left_later VALUES (101, 'a', 'x');
                 ALTER TABLE left_later RENAME email TO was; ALTER TABLE left_later ADD email text"
            ),
        );
        let change = "UPDATE left_later SET was = 'secret'";
        let stale = "capture trigger of \"left_later\" does not fit column \"email\"";
        expect_error(client.batch_execute(change), "55000", stale);
        run(
            &mut client,
            "ALTER TABLE part RENAME email TO was; ALTER TABLE part ADD email text",
        );
        for (partition, id) in [("low", 2), ("high", 11)] {
            let insert = format!(
                "INSERT INTO {partition} (id, account_id, was) VALUES ({id}, 'a', 'secret')"
            );
            let stale = format!("capture trigger of \"{partition}\" does not fit column \"email\"");
            expect_error(client.batch_execute(&insert), "55000", &stale);
        }
    }
}

/// A restore numbers columns anew.
#[test]
fn numbers_of_columns_stay_out_of_dumps() {
    let db = database();
    let mut client = db.superuser();
    let dumped = "SELECT count(*) FROM pg_extension
         WHERE 'tenant_guard.capture_column'::regclass::oid = ANY (extconfig)";
    assert_eq!(lines(&mut client, dumped), ["0"]);
}
