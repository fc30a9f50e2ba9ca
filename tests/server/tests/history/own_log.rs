//! An account's own people and the log of their account.

use postgres::Transaction;
use tenant_guard_core::receipt;
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, expect_error, lines};

use super::{Shop, sign_in};
use crate::capture::run;

const OWN: &str = "SELECT kind, action, account_id, row_key FROM tenant_guard.own_event ORDER BY occurred_at, row_key";

fn own(session: &mut Transaction<'_>) -> Vec<String> {
    lines(session, OWN)
}

#[test]
fn role_that_reads_the_log_sees_the_events_of_its_account_and_no_others() {
    let shop = Shop::with_items();
    let of_a = [
        format!(r#"row|insert|{ACCOUNT_A}|{{"id":1}}"#),
        format!(r#"row|insert|{ACCOUNT_A}|{{"id":2}}"#),
    ];
    assert_eq!(shop.within(ACCOUNT_A, &["manager"], own), of_a);
    // By inheritance, too.
    assert_eq!(shop.within(ACCOUNT_A, &["clerk", "chief"], own), of_a);
    assert_eq!(
        shop.within(ACCOUNT_B, &["manager"], own),
        [format!(r#"row|insert|{ACCOUNT_B}|{{"id":3}}"#)]
    );
    let who = "SELECT DISTINCT subject FROM tenant_guard.own_event";
    let who = shop.within(ACCOUNT_A, &["manager"], |session| lines(session, who));
    assert_eq!(who, ["tester"]);
}

#[test]
fn roles_without_the_right_see_no_event() {
    let shop = Shop::with_items();
    for roles in [&[][..], &["clerk"], &["Manager", "managers"]] {
        assert_eq!(shop.within(ACCOUNT_A, roles, own), [""; 0], "{roles:?}");
    }
    shop.run("SELECT tenant_guard.disallow_log('manager')");
    assert_eq!(shop.within(ACCOUNT_A, &["manager"], own), [""; 0]);
}

#[test]
fn level_of_assurance_of_a_role_holds_for_its_log() {
    let shop = Shop::with_items();
    shop.run("SELECT tenant_guard.require_role_assurance('manager', 'aal2')");
    assert_eq!(shop.within(ACCOUNT_A, &["manager"], own), [""; 0]);
}

#[test]
fn without_an_identity_the_log_is_an_error_or_empty_as_the_setting_says() {
    let shop = Shop::with_items();
    let mut session = shop.app();
    expect_error(
        session.simple_query(OWN),
        "28000",
        "no identity is bound to this transaction",
    );
    run(
        &mut shop.db.superuser(),
        &format!(
            "ALTER ROLE {} SET tenant_guard.on_missing_identity = 'empty'",
            shop.app
        ),
    );
    assert_eq!(lines(&mut shop.app(), OWN), [""; 0]);
}

/// A condition that tells what it is given is evaluated after the view's own.
#[test]
fn leaky_function_in_a_condition_is_shown_own_events_only() {
    let shop = Shop::with_items();
    let mut superuser = shop.db.superuser();
    run(
        &mut superuser,
        &format!(
            "CREATE SCHEMA spy AUTHORIZATION {app};
             CREATE FUNCTION spy.peek(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
                 $$BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END$$;
             CREATE FUNCTION spy.eq(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
             CREATE OPERATOR spy.= (LEFTARG = text, RIGHTARG = text, FUNCTION = spy.eq)",
            app = shop.app
        ),
    );
    let (mut session, notices) = shop.db.connect_with_notices(&shop.app);
    // A planted operator does not reach into the view either.
    run(&mut session, "SET search_path = spy, pg_catalog");
    let mut transaction = session.transaction().unwrap();
    sign_in(&mut transaction, &shop.token(ACCOUNT_A, &["manager"]));
    let seen = "SELECT count(*) FROM tenant_guard.own_event WHERE spy.peek(row_key)";
    assert_eq!(lines(&mut transaction, seen), ["2"]);
    transaction.rollback().unwrap();
    let mut told = notices.take();
    told.sort();
    assert_eq!(told, [r#"00000: saw {"id":1}"#, r#"00000: saw {"id":2}"#]);
}

/// The planner holds conditions on text against statistics, and EXPLAIN shows what comes of it.
#[test]
fn row_estimates_do_not_bisect_the_keys_of_another_account() {
    let shop = Shop::with_items();
    let plans = |shop: &Shop| {
        shop.within(ACCOUNT_A, &["manager"], |session| {
            let mut told = Vec::new();
            for source in ["own_event", "own_events(since => '2020-01-01')"] {
                for condition in [
                    "true".to_owned(),
                    format!("account_id = '{ACCOUNT_B}' AND row_key < '{{\"id\":2000'"),
                    format!("account_id = '{ACCOUNT_B}' AND row_key < '{{\"id\":5'"),
                    "data < '{\"id\":40'".to_owned(),
                    "action = 'insert' AND occurred_at > '2020-01-01'".to_owned(),
                ] {
                    let explain =
                        format!("EXPLAIN SELECT 1 FROM tenant_guard.{source} WHERE {condition}");
                    told.extend(lines(session, &explain));
                }
            }
            told
        })
    };
    let mut superuser = shop.db.superuser();
    run(&mut superuser, "ANALYZE tenant_guard.audit_log");
    let before = plans(&shop);
    assert!(
        before[0].starts_with("Function Scan on own_events"),
        "{before:?}"
    );
    shop.write(
        ACCOUNT_B,
        &format!("INSERT INTO shop.item SELECT g, '{ACCOUNT_B}', 'x' FROM generate_series(1000, 5999) AS g"),
    );
    run(&mut superuser, "ANALYZE tenant_guard.audit_log");
    assert_eq!(plans(&shop), before);
    let counted = "EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT 1 FROM tenant_guard.own_event";
    let counted = shop.within(ACCOUNT_A, &["manager"], |session| lines(session, counted));
    let rows = shop.db.explained_rows(2);
    let expected = format!("Function Scan on own_events (actual rows={rows} loops=1)");
    assert_eq!(counted, [expected]);
}

#[test]
fn events_of_a_period_are_those_of_the_account_in_it() {
    let shop = Shop::with_items();
    let between = lines(&mut shop.auditor(), "SELECT clock_timestamp()").concat();
    shop.write(ACCOUNT_A, "UPDATE shop.item SET name = 'eve' WHERE id = 1");
    for (period, expected) in [
        (format!("'{between}'"), "1"),
        (format!("until => '{between}'"), "2"),
        (format!("'{between}', '{between}'"), "0"),
        (String::new(), "3"),
    ] {
        let count = format!("SELECT count(*) FROM tenant_guard.own_events({period})");
        let seen = |account, roles| shop.within(account, roles, |session| lines(session, &count));
        assert_eq!(seen(ACCOUNT_A, &["manager"]), [expected], "{period}");
        assert_eq!(seen(ACCOUNT_A, &["clerk"]), ["0"], "{period}");
    }
}

#[test]
fn plan_kept_from_another_identity_shows_the_events_of_the_one_there_is() {
    let shop = Shop::with_items();
    let mut session = shop.app();
    let count = "SELECT count(*) FROM tenant_guard.own_event";
    run(
        &mut session,
        &format!("SET plan_cache_mode = force_generic_plan; PREPARE own AS {count}"),
    );
    for (account, roles, expected) in [
        (ACCOUNT_A, &["manager"][..], "2"),
        (ACCOUNT_B, &["manager"], "1"),
        (ACCOUNT_A, &["clerk"], "0"),
    ] {
        let mut transaction = session.transaction().unwrap();
        sign_in(&mut transaction, &shop.token(account, roles));
        assert_eq!(lines(&mut transaction, "EXECUTE own"), [expected]);
        transaction.commit().unwrap();
    }
}

#[test]
fn cursor_of_one_account_gives_no_rows_to_the_next() {
    let shop = Shop::with_items();
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    sign_in(&mut transaction, &shop.token(ACCOUNT_A, &["manager"]));
    let declare = "DECLARE c CURSOR FOR SELECT row_key FROM tenant_guard.own_event";
    run(&mut transaction, declare);
    let other = shop.token(ACCOUNT_B, &["manager"]);
    let switched = transaction.execute("SELECT tenant_guard.authenticate($1)", &[&other]);
    expect_error(switched, "55000", "bound to another account");
}

/// Who may read is judged by what is committed now, not by a snapshot of before.
#[test]
fn right_that_is_taken_back_is_gone_in_an_old_snapshot_too() {
    let shop = Shop::with_items();
    let mut session = shop.app();
    let mut transaction = session
        .build_transaction()
        .isolation_level(postgres::IsolationLevel::RepeatableRead)
        .start()
        .unwrap();
    sign_in(&mut transaction, &shop.token(ACCOUNT_A, &["manager"]));
    assert_eq!(own(&mut transaction).len(), 2);
    shop.run("SELECT tenant_guard.disallow_log('manager')");
    assert_eq!(own(&mut transaction), [""; 0]);
}

#[test]
fn events_of_the_system_are_not_the_accounts() {
    let shop = Shop::with_items();
    shop.run("ALTER TABLE shop.item ADD COLUMN more int; TRUNCATE shop.item");
    let kinds = "SELECT DISTINCT kind, action FROM tenant_guard.own_event";
    let kinds = shop.within(ACCOUNT_A, &["manager"], |session| lines(session, kinds));
    assert_eq!(kinds, ["row|insert"]);
}

#[test]
fn letting_a_role_read_is_recorded_and_holds_the_role() {
    let shop = Shop::bare();
    let mut owner = shop.owner();
    expect_error(
        owner.batch_execute("SELECT tenant_guard.allow_log('nobody')"),
        "42704",
        "nobody",
    );
    expect_error(
        owner.batch_execute(
            "SELECT tenant_guard.define_role('chief'), tenant_guard.drop_role('manager')",
        ),
        "2BP01",
        "manager",
    );
    run(
        &mut owner,
        "SELECT tenant_guard.disallow_log('manager');
         SELECT tenant_guard.define_role('chief');
         SELECT tenant_guard.drop_role('manager')",
    );
    let events = "SELECT action, data FROM tenant_guard.audit_log
                  WHERE action ~ 'allow_log' ORDER BY xid, ordinal";
    assert_eq!(
        lines(&mut shop.db.superuser(), events),
        [
            r#"allow_log|{"role":"manager"}"#,
            r#"disallow_log|{"role":"manager"}"#
        ]
    );
}

/// A receipt opens what the log says, so whoever reads that may have one of each event.
#[test]
fn role_that_reads_the_log_takes_receipts_of_every_event_of_its_account() {
    let shop = Shop::with_items();
    run(&mut shop.db.superuser(), "SELECT tenant_guard.seal()");
    let ids = "SELECT event_id FROM tenant_guard.audit_event WHERE kind = 'row' ORDER BY row_key";
    let ids = lines(&mut shop.db.superuser(), ids);
    let take = |roles: &[&str], id: &str| {
        shop.within(ACCOUNT_A, roles, |session| {
            let taken = session.query_one("SELECT tenant_guard.receipt($1)", &[&id]);
            taken.map(|row| row.get::<_, String>(0))
        })
    };
    for id in &ids[..2] {
        assert!(receipt::verify(&take(&["manager"], id).unwrap()).is_ok());
        expect_error(take(&["clerk"], id), "42501", "");
    }
    // Another account's is not there.
    expect_error(take(&["manager"], &ids[2]), "42704", &ids[2]);
}

#[test]
fn view_comes_back_with_the_extension_and_from_a_dump() {
    let shop = Shop::with_items();
    let dump = shop.db.pg_dump(&[]);
    let restored = tenant_guard_tests::Database::empty();
    restored.restore(&dump);
    let view = "SELECT pg_get_viewdef('tenant_guard.own_event'),
                    has_table_privilege('public', 'tenant_guard.own_event', 'SELECT')";
    let expected = lines(&mut shop.db.superuser(), view);
    assert_eq!(lines(&mut restored.superuser(), view), expected);
    let mut superuser = restored.superuser();
    run(
        &mut superuser,
        "SET tenant_guard.guards = off; DROP EXTENSION tenant_guard CASCADE;
         CREATE EXTENSION tenant_guard",
    );
    assert_eq!(lines(&mut superuser, view), expected);
}
