//! Ways to read that would leave nothing in the log, or something that is not so.

use tenant_guard_tests::{ACCOUNT_A, lines};

use super::{loaded, of_contacts, reads, rolled_back, shop};

/// A function that reads contacts, and one that tells what it is given.
const LEAKS: &str = "CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql
    AS 'BEGIN RAISE NOTICE ''%'', $1; RETURN false; END'";

#[test]
fn trigger_under_an_action_of_a_foreign_key_reads_in_sight() {
    let shop = shop();
    rolled_back(&shop, |session| {
        session
            .batch_execute(
                "CREATE TEMP TABLE p (id int PRIMARY KEY);
                 CREATE TEMP TABLE k (id int REFERENCES p ON DELETE CASCADE);
                 INSERT INTO p VALUES (1); INSERT INTO k VALUES (1);
                 CREATE FUNCTION pg_temp.peek() RETURNS trigger LANGUAGE plpgsql
                     AS 'BEGIN PERFORM * FROM shop.contact; RETURN old; END';
                 CREATE TRIGGER peek BEFORE DELETE ON k FOR EACH ROW
                     EXECUTE FUNCTION pg_temp.peek();
                 DELETE FROM p",
            )
            .unwrap();
    });
    assert_eq!(reads(&shop.db), [of_contacts("read|SELECT|2|1")]);
}

#[test]
fn function_in_a_parallel_worker_reads_in_sight() {
    let shop = shop();
    shop.run(
        "CREATE TABLE shop.seen (id int, name text);
         INSERT INTO shop.seen VALUES (1, 'x'), (2, 'y'), (3, 'z');
         SELECT tenant_guard.audit('shop.seen');
         SELECT tenant_guard.audit_reads('shop.seen');
         CREATE FUNCTION shop.names() RETURNS text LANGUAGE plpgsql PARALLEL SAFE
             AS 'BEGIN RETURN (SELECT string_agg(name, '','') FROM shop.seen); END'",
    );
    let mut owner = loaded(&shop.db);
    let everywhere = format!("SET {} = on", shop.db.parallel_setting());
    owner.batch_execute(&everywhere).unwrap();
    let plan = lines(&mut owner, "EXPLAIN (COSTS off) SELECT shop.names()");
    assert!(plan[0].contains("Gather"), "{plan:?}");
    assert_eq!(lines(&mut owner, "SELECT shop.names()"), ["x,y,z"]);
    assert_eq!(lines(&mut owner, "SELECT count(*) FROM shop.seen"), ["3"]);
    assert_eq!(
        reads(&shop.db),
        ["read|SELECT|1|1||shop.seen|<null>"; 2],
        "once in the worker, and once in the leader alone"
    );
}

#[test]
fn cursor_is_read_by_who_fetches() {
    let shop = shop();
    rolled_back(&shop, |session| {
        session
            .batch_execute("DECLARE c CURSOR FOR SELECT * FROM shop.contact; FETCH 1 FROM c")
            .unwrap();
        let mut claims = shop.issuer.claims(ACCOUNT_A);
        claims["sub"] = "mallory".into();
        let token = shop.issuer.sign(&claims);
        session
            .execute("SELECT tenant_guard.authenticate($1)", &[&token])
            .unwrap();
        session.batch_execute("FETCH ALL FROM c; CLOSE c").unwrap();
    });
    assert_eq!(reads(&shop.db), vec![of_contacts("read|SELECT|1|1"); 2]);
    let who = "SELECT c.subject FROM tenant_guard.audit_log AS l
        JOIN tenant_guard.audit_context AS c
            ON (c.incarnation, c.xid, c.number) = (l.incarnation, l.xid, l.context)
        WHERE l.action = 'read' ORDER BY l.occurred_at, l.ordinal";
    assert_eq!(lines(&mut shop.db.superuser(), who), ["tester", "mallory"]);
}

#[test]
fn parent_that_came_later_hides_nothing() {
    let shop = shop();
    shop.run(
        "CREATE TABLE shop.seen (id int NOT NULL);
         INSERT INTO shop.seen VALUES (1), (2);
         SELECT tenant_guard.audit('shop.seen');
         SELECT tenant_guard.audit_reads('shop.seen')",
    );
    let mut reader = loaded(&shop.db);
    assert_eq!(lines(&mut reader, "SELECT * FROM shop.seen LIMIT 1"), ["1"]);
    shop.db
        .superuser()
        .batch_execute(
            "CREATE TABLE shop.above (id int NOT NULL);
             CREATE TABLE shop.top ();
             ALTER TABLE shop.seen INHERIT shop.above;
             ALTER TABLE shop.above INHERIT shop.top",
        )
        .unwrap();
    lines(&mut reader, "SELECT * FROM shop.above");
    lines(&mut reader, "SELECT * FROM ONLY shop.above");
    lines(&mut reader, "SELECT count(*) FROM shop.top");
    let of_seen = |rows: u8| format!("read|SELECT|{rows}|1||shop.seen|<null>");
    assert_eq!(reads(&shop.db), [of_seen(1), of_seen(2), of_seen(1)]);
}

#[test]
fn switching_off_and_taking_it_back_hides_nothing() {
    let shop = shop();
    let mut owner = loaded(&shop.db);
    let mut transaction = owner.transaction().unwrap();
    let off = "SELECT tenant_guard.audit_reads('shop.contact', false)";
    lines(&mut transaction, off);
    lines(&mut transaction, "SELECT count(*) FROM shop.contact");
    transaction.rollback().unwrap();
    let expected = "read|SELECT|1|1||shop.contact|<null>";
    assert_eq!(reads(&shop.db), [expected]);
    lines(&mut owner, off);
    lines(&mut owner, "SELECT count(*) FROM shop.contact");
    assert_eq!(reads(&shop.db), [expected], "that one is committed");
}

#[test]
fn condition_of_a_change_copies_nothing_out_of_sight() {
    let shop = shop();
    rolled_back(&shop, |session| {
        session.batch_execute(LEAKS).unwrap();
        session
            .batch_execute(&format!(
                "DELETE FROM shop.contact WHERE pg_temp.leak(name);
                 INSERT INTO shop.contact VALUES (1, '{ACCOUNT_A}', 'x')
                     ON CONFLICT (id) DO UPDATE SET name = 'y' WHERE pg_temp.leak(contact.name)"
            ))
            .unwrap();
    });
    assert_eq!(
        reads(&shop.db),
        [
            of_contacts("read|DELETE|0|1"),
            of_contacts("read|INSERT|0|1")
        ]
    );
}

#[test]
fn query_is_no_copy_where_columns_are_judged() {
    let shop = shop();
    shop.run(
        "CREATE TABLE shop.seen (id int);
         SELECT tenant_guard.audit('shop.seen');
         SELECT tenant_guard.audit_reads('shop.seen')",
    );
    shop.run(&format!("GRANT SELECT ON shop.seen TO {}", shop.app));
    rolled_back(&shop, |session| {
        lines(session, "SELECT count(*) FROM shop.seen");
    });
    assert_eq!(
        reads(&shop.db),
        [format!("read|SELECT|1|1|{ACCOUNT_A}|shop.seen|<null>")]
    );
}

#[test]
fn copy_after_a_refused_query_is_an_export() {
    let shop = shop();
    shop.run("CREATE TABLE shop.closed (id int)");
    let mut client = loaded(&shop.db);
    client.batch_execute("CREATE ROLE copier; GRANT USAGE ON SCHEMA shop TO copier; GRANT SELECT ON shop.contact TO copier; ALTER ROLE copier BYPASSRLS; SET ROLE copier").unwrap();
    for _ in 0..20 {
        client
            .batch_execute("SELECT id FROM shop.closed")
            .unwrap_err();
        let mut copy = client.copy_out("COPY shop.contact TO STDOUT").unwrap();
        std::io::copy(&mut copy, &mut std::io::sink()).unwrap();
        drop(copy);
    }
    let found = reads(&shop.db);
    client
        .batch_execute("RESET ROLE; DROP OWNED BY copier; DROP ROLE copier")
        .unwrap();
    assert_eq!(found, ["export|COPY|unknown|1||shop.contact|<null>"; 20]);
}
