//! What was refused is in the log, where reads are audited.

use std::collections::BTreeMap;

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Cluster, Issuer, expect_error, lines};

use super::{loaded, shop, shop_in};
use crate::isolation::Shop;

/// What was refused: the action, why, how often, where, and whom the token was of.
fn refused(shop: &Shop) -> Vec<String> {
    let mut superuser = shop.db.superuser();
    lines(&mut superuser, "SELECT tenant_guard.flush_reads()");
    lines(
        &mut superuser,
        "SELECT l.action, d.data ->> 'reason', d.data ->> 'executions', l.account_id, l.relation,
             c.issuer, c.subject
         FROM tenant_guard.audit_log AS l CROSS JOIN LATERAL (SELECT l.data::jsonb) AS d (data)
         JOIN tenant_guard.audit_context AS c
             ON (c.incarnation, c.xid, c.number) = (l.incarnation, l.xid, l.context)
         WHERE l.kind = 'system' AND l.action LIKE '%\\_refused'
         ORDER BY l.occurred_at, l.xid, l.ordinal",
    )
}

#[track_caller]
fn refuse_token(shop: &Shop, token: &str, message: &str) {
    let mut session = shop.app();
    let outcome = session.execute("SELECT tenant_guard.authenticate($1)", &[&token]);
    expect_error(outcome, "28000", message);
}

/// A new session of account A's writes what row security does not let in.
#[track_caller]
fn refuse_write(shop: &Shop, statement: &str) {
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    expect_error(
        transaction.batch_execute(statement),
        "42501",
        "new row violates row-level security policy",
    );
}

#[test]
fn refused_tokens_are_logged_with_what_is_certain_of_them() {
    let shop = shop();
    let issuer = shop.issuer.name();
    let mut expired = shop.issuer.claims(ACCOUNT_A);
    expired["exp"] = 1_000.into();
    expired["iat"] = 900.into();
    refuse_token(&shop, &shop.issuer.sign(&expired), "token has expired");
    // Somebody else's signature says nothing about who speaks.
    let forger = Issuer::es256(issuer);
    refuse_token(&shop, &forger.token(ACCOUNT_A), "token names no known key");
    let stranger = Issuer::es256("https://stranger.example");
    refuse_token(
        &shop,
        &stranger.token(ACCOUNT_A),
        "token names no known issuer",
    );
    refuse_token(&shop, "rubbish.with.secret", "token is malformed");
    refuse_token(&shop, "rubbish", "token is malformed");
    refuse_token(&shop, &"x".repeat(1 << 20), "token is too large");
    assert_eq!(
        refused(&shop),
        [
            format!("token_refused|token has expired|1||<null>|{issuer}|tester"),
            format!("token_refused|token names no known key|1||<null>|{issuer}|<null>"),
            "token_refused|token names no known issuer|1||<null>|<null>|<null>".to_owned(),
            "token_refused|token is malformed|2||<null>|<null>|<null>".to_owned(),
            "token_refused|token is too large|1||<null>|<null>|<null>".to_owned(),
        ]
    );
    let rubbish = "SELECT count(*) FROM tenant_guard.audit_log WHERE data LIKE '%rubbish%'";
    assert_eq!(lines(&mut shop.db.superuser(), rubbish), ["0"]);
}

#[test]
fn refused_token_is_logged_even_where_the_error_is_caught() {
    let shop = shop();
    let mut session = shop.app();
    session
        .batch_execute(
            "DO $$BEGIN PERFORM tenant_guard.authenticate('rubbish');
             EXCEPTION WHEN invalid_authorization_specification THEN NULL; END$$",
        )
        .unwrap();
    let expected = "token_refused|token is malformed|1||<null>|<null>|<null>";
    assert_eq!(refused(&shop), [expected]);
}

#[test]
fn refused_writes_are_logged_with_their_relation() {
    let shop = shop();
    shop.run(
        "CREATE TABLE shop.note (id int, account_id uuid);
         SELECT tenant_guard.protect('shop.note')",
    );
    let mut session = shop.app();
    for statement in [
        format!("INSERT INTO shop.contact VALUES (7, '{ACCOUNT_B}', 'secret')"),
        format!("UPDATE shop.contact SET account_id = '{ACCOUNT_B}' WHERE id = 1"),
        format!("INSERT INTO shop.note VALUES (7, '{ACCOUNT_B}')"),
    ] {
        let mut transaction = session.transaction().unwrap();
        shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
        let outcome = transaction.batch_execute(&statement);
        expect_error(
            outcome,
            "42501",
            "new row violates row-level security policy",
        );
    }
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    let mut copy = transaction.copy_in("COPY shop.note FROM STDIN").unwrap();
    std::io::Write::write_all(&mut copy, format!("8\t{ACCOUNT_B}\n").as_bytes()).unwrap();
    let outcome = copy.finish();
    expect_error(
        outcome,
        "42501",
        "new row violates row-level security policy",
    );
    drop(transaction);
    let who = format!("{ACCOUNT_A}|RELATION|{}|tester", shop.issuer.name());
    let of = |what: &str, relation: &str| {
        let who = who.replace("RELATION", relation);
        format!("write_refused|{what} against row security|1|{who}")
    };
    assert_eq!(
        refused(&shop),
        [
            of("INSERT", "shop.contact"),
            of("UPDATE", "shop.contact"),
            of("INSERT", "shop.note"),
            of("COPY", "note"),
        ]
    );
}

#[test]
fn first_thing_after_a_start_of_the_server_is_a_refused_write() {
    let cluster = Cluster::start(&[]);
    let shop = shop_in(&cluster);
    cluster.restart();
    refuse_write(
        &shop,
        &format!("INSERT INTO shop.contact VALUES (7, '{ACCOUNT_B}', 'secret')"),
    );
    let who = format!("{ACCOUNT_A}|shop.contact|{}|tester", shop.issuer.name());
    let expected = format!("write_refused|INSERT against row security|1|{who}");
    assert_eq!(refused(&shop), [expected]);
}

#[test]
fn first_thing_after_a_start_of_the_server_is_a_refused_call() {
    let cluster = Cluster::start(&["session_preload_libraries=tenant_guard"]);
    let shop = shop_in(&cluster);
    cluster.restart();
    let outcome = shop
        .app()
        .batch_execute("SELECT tenant_guard.unprotect('shop.contact')");
    let message = "permission denied for function unprotect";
    expect_error(outcome, "42501", message);
    let expected = format!("call_refused|{message}|1||<null>|<null>|<null>");
    assert_eq!(refused(&shop), [expected]);
}

#[test]
fn write_whose_error_is_caught_is_not_logged() {
    let shop = shop();
    shop.within(ACCOUNT_A, |session| {
        session
            .batch_execute(&format!(
                "DO $$BEGIN INSERT INTO shop.contact VALUES (7, '{ACCOUNT_B}', 'x');
                 EXCEPTION WHEN insufficient_privilege THEN NULL; END$$"
            ))
            .unwrap();
    });
    assert_eq!(refused(&shop), [""; 0]);
}

#[test]
fn refused_calls_are_logged_with_who_called() {
    let shop = shop();
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    let outcome = transaction.batch_execute("SELECT tenant_guard.unprotect('shop.contact')");
    expect_error(outcome, "42501", "permission denied for function unprotect");
    drop(transaction);
    // Not a function of ours.
    let outcome = session.batch_execute("SELECT pg_read_file('secret')");
    expect_error(
        outcome,
        "42501",
        "permission denied for function pg_read_file",
    );
    let mut owner = loaded(&shop.db);
    owner
        .batch_execute(
            "CREATE TABLE shop.other (id int, account_id uuid); SET ROLE tenant_guard_admin",
        )
        .unwrap();
    let outcome = owner.batch_execute("SELECT tenant_guard.protect('shop.other')");
    expect_error(outcome, "42501", "");
    let found = refused(&shop);
    let first = format!(
        "call_refused|permission denied for function unprotect|1|{ACCOUNT_A}|<null>|{}|tester",
        shop.issuer.name()
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0], first);
    assert!(
        found[1].starts_with("call_refused|must be owner of"),
        "{found:?}"
    );
}

#[test]
fn every_refused_call_of_ours_is_logged_under_its_name() {
    let shop = shop();
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    lines(&mut transaction, "SELECT id FROM shop.contact");
    transaction.commit().unwrap();
    // A strict function of a constant NULL would be none at all before rights are looked at.
    let calls = "SELECT format(k.call, p.proname, (
                SELECT string_agg(format(k.argument, format_type(t, NULL)), ', ' ORDER BY n)
                FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, n))),
            format('permission denied for %s %s', k.kind, p.proname)
        FROM pg_proc AS p
        JOIN (VALUES ('f', 'function', 'SELECT tenant_guard.%I(%s)', '(SELECT NULL::%s)'),
            ('p', 'procedure', 'CALL tenant_guard.%I(%s)', 'NULL::%s')) AS k (prokind, kind, call, argument)
            ON k.prokind = p.prokind::text
        WHERE p.pronamespace = 'tenant_guard'::regnamespace
            AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
            AND NOT has_function_privilege(p.oid, 'EXECUTE')
        ORDER BY 2, 1";
    let mut times = BTreeMap::<String, u32>::new();
    for call in session.query(calls, &[]).unwrap() {
        let (statement, message): (String, String) = (call.get(0), call.get(1));
        let outcome = session.batch_execute(&statement);
        expect_error(outcome, "42501", &message);
        *times.entry(message).or_default() += 1;
    }
    for (kind, name) in [
        ("function", "check"),
        ("function", "erase_personal"),
        ("function", "place_hold"),
        ("function", "prune_blocks"),
        ("function", "record_baseline"),
        ("function", "verify_state"),
        ("procedure", "check_data_in_pieces"),
    ] {
        let message = format!("permission denied for {kind} {name}");
        assert!(times.contains_key(&message), "{name} is tried");
    }
    let mut expected: Vec<_> = times
        .into_iter()
        .map(|(message, times)| format!("call_refused|{message}|{times}||<null>|<null>|<null>"))
        .collect();
    expected.sort();
    let mut found = refused(&shop);
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn refused_call_is_not_pinned_on_who_had_the_connection_before() {
    let shop = shop();
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    lines(&mut transaction, "SELECT id FROM shop.contact");
    transaction.commit().unwrap();
    session.batch_execute("DISCARD ALL").unwrap();
    for statement in [
        "EXPLAIN SELECT tenant_guard.flush_reads()",
        "SELECT tenant_guard.flush_reads()",
        "COPY (SELECT tenant_guard.flush_reads()) TO STDOUT",
    ] {
        let outcome = session.batch_execute(statement);
        let message = "permission denied for function flush_reads";
        expect_error(outcome, "42501", message);
    }
    let expected =
        "call_refused|permission denied for function flush_reads|3||<null>|<null>|<null>";
    assert_eq!(refused(&shop), [expected]);
}

#[test]
fn refused_write_names_the_relation_of_the_row() {
    let shop = shop();
    shop.run(
        "CREATE TABLE shop.note (id int, account_id uuid);
         SELECT tenant_guard.protect('shop.note')",
    );
    refuse_write(
        &shop,
        &format!(
            "WITH changed AS (UPDATE shop.contact SET name = 'x' WHERE id = 1 RETURNING id)
             INSERT INTO shop.note SELECT id, '{ACCOUNT_B}' FROM changed"
        ),
    );
    let who = format!("{ACCOUNT_A}|shop.note|{}|tester", shop.issuer.name());
    let expected = format!("write_refused|INSERT against row security|1|{who}");
    assert_eq!(refused(&shop), [expected]);
}

#[test]
fn flood_of_bad_tokens_pushes_no_read_out() {
    let shop = shop();
    super::rolled_back(&shop, |session| {
        lines(session, "SELECT * FROM shop.contact");
    });
    let mut session = shop.app();
    for number in 0..300 {
        // No two are alike.
        let name = format!("SET application_name = 'client {number}'");
        session.batch_execute(&name).unwrap();
        for _ in 0..3 {
            let outcome = session.batch_execute("SELECT tenant_guard.authenticate('rubbish')");
            expect_error(outcome, "28000", "token is malformed");
        }
    }
    assert_eq!(super::reads(&shop.db).len(), 1);
    assert_eq!(refused(&shop).len(), 300, "the same ones are one record");
}

#[test]
fn refusals_can_be_switched_off_by_a_superuser_alone() {
    let shop = shop();
    let mut session = shop.app();
    lines(&mut session, "SELECT tenant_guard.is_authenticated()");
    let refused_setting = session.batch_execute("SET tenant_guard.audit_refusals = off");
    expect_error(
        refused_setting,
        "42501",
        "permission denied to set parameter",
    );
    let off = format!(
        "ALTER DATABASE {} SET tenant_guard.audit_refusals = off",
        shop.db.name()
    );
    shop.db.superuser().batch_execute(&off).unwrap();
    refuse_token(&shop, "rubbish", "token is malformed");
    assert_eq!(refused(&shop), [""; 0]);
}

#[test]
fn refusals_are_not_recorded_where_no_reads_are() {
    let shop = Shop::contacts();
    refuse_token(&shop, "rubbish", "token is malformed");
    assert_eq!(refused(&shop), [""; 0]);
}
