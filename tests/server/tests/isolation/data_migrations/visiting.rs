//! Which accounts are visited, as whom, and what the log says of it.

use tenant_guard_tests::expect_error;

use super::*;

/// Row 54 of the catalogue of failures.
#[test]
fn update_by_the_owner_under_force_reaches_every_row_of_every_account() {
    let migration = Migration::contacts();
    let mut session = migration.session();
    expect_error(
        session.simple_query(SHOUT),
        "28000",
        "no identity is bound to this transaction",
    );
    call(&mut session, SHOUT, ", run => 'shout'").unwrap();
    assert_eq!(migration.names(), ["ANN!", "ABE!", "BOB!"]);
    assert_eq!(
        migration.record("run, account_id, state, rows, started_at <= finished_at"),
        [
            format!("shout|{ACCOUNT_A}|done|2|t"),
            format!("shout|{ACCOUNT_B}|done|1|t")
        ]
    );
}

#[test]
fn each_account_has_its_changes_and_the_reason_in_its_own_log() {
    let migration = Migration::contacts();
    call(
        &mut migration.session(),
        SHOUT,
        ", run => 'shout', subject => 'release 7', roles => '{admin,clerk}'",
    )
    .unwrap();
    let subject = "release 7";
    assert_eq!(
        migration.all(
            "SELECT account_id, kind, action, row_key, subject, data::jsonb->>'reason',
                 data::jsonb->>'run', data::jsonb->>'roles'
             FROM tenant_guard.audit_event WHERE account_id <> '' ORDER BY xid, command_id, ordinal"
        ),
        [
            format!(
                "{ACCOUNT_A}|system|act_as|<null>|{subject}|because|shout|[\"admin\", \"clerk\"]"
            ),
            format!("{ACCOUNT_A}|row|update|{{\"id\":1}}|{subject}|<null>|<null>|<null>"),
            format!("{ACCOUNT_A}|row|update|{{\"id\":2}}|{subject}|<null>|<null>|<null>"),
            format!(
                "{ACCOUNT_B}|system|act_as|<null>|{subject}|because|shout|[\"admin\", \"clerk\"]"
            ),
            format!("{ACCOUNT_B}|row|update|{{\"id\":3}}|{subject}|<null>|<null>|<null>"),
        ]
    );
}

#[test]
fn subject_is_the_session_s_role_where_none_is_named() {
    let migration = Migration::contacts();
    call(
        &mut migration.session(),
        "INSERT INTO shop.contact (id, name) SELECT 10 + count(*), tenant_guard.subject() FROM shop.contact",
        "",
    )
    .unwrap();
    let role = &migration.migrator;
    assert_eq!(
        migration.all("SELECT id, name FROM shop.contact WHERE id > 3 ORDER BY id"),
        [format!("11|{role}"), format!("12|{role}")]
    );
}

#[test]
fn accounts_of_every_type_are_visited_in_the_order_of_their_texts() {
    for (kind, accounts) in [
        ("integer", ["-7", "10", "9"]),
        ("bigint", ["-7", "12345678901", "9"]),
        ("text", ["Zoe & 'Co\"", "acme", "ärger"]),
        (
            "uuid",
            [ACCOUNT_A, ACCOUNT_B, "cccccccc-cccc-4ccc-8ccc-cccccccccccc"],
        ),
    ] {
        let migration = Migration::of(Shop::with(&format!(
            "CREATE TABLE shop.item (id int PRIMARY KEY, account_id {kind}, visit text);
             INSERT INTO shop.item VALUES (1, $${}$$, ''), (2, $${}$$, ''), (3, $${}$$, '');
             SELECT tenant_guard.protect('shop.item')",
            accounts[2], accounts[0], accounts[1]
        )));
        call(
            &mut migration.session(),
            "UPDATE shop.item SET visit = visit || 'x'",
            "",
        )
        .unwrap();
        assert_eq!(
            migration.all("SELECT visit FROM shop.item"),
            ["x", "x", "x"],
            "{kind}"
        );
        let mut recorded = migration.all(
            "SELECT account_id FROM tenant_guard.account_run WHERE state = 'done'
             ORDER BY started_at",
        );
        assert_eq!(recorded, accounts, "{kind}");
        recorded.sort();
        assert_eq!(recorded, accounts, "{kind}");
    }
}

#[test]
fn accounts_of_all_protected_relations_and_partitions_are_visited() {
    let migration = Migration::of(Shop::with(
        "CREATE TABLE shop.a (account_id int);
         INSERT INTO shop.a VALUES (1), (1);
         CREATE TABLE shop.b (account_id int, day int) PARTITION BY LIST (day);
         CREATE TABLE shop.b1 PARTITION OF shop.b FOR VALUES IN (1);
         CREATE TABLE shop.b2 PARTITION OF shop.b FOR VALUES IN (2);
         INSERT INTO shop.b VALUES (2, 1), (3, 2);
         CREATE TABLE shop.open (account_id int);
         INSERT INTO shop.open VALUES (4);
         SELECT tenant_guard.protect('shop.a'), tenant_guard.protect('shop.b')",
    ));
    call(&mut migration.session(), "SELECT 1", "").unwrap();
    assert_eq!(
        migration.record("account_id, state, rows"),
        ["1|done|0", "2|done|0", "3|done|0"]
    );
}

#[test]
fn declared_accounts_are_visited_suspended_ones_too_and_no_others() {
    let migration = Migration::contacts();
    let mut owner = migration.shop.owner();
    owner
        .batch_execute(&format!(
            "CREATE TABLE shop.account (id uuid PRIMARY KEY, active boolean);
             INSERT INTO shop.account VALUES ('{ACCOUNT_B}', false);
             SELECT tenant_guard.set_account_relation('shop.account', 'id', 'active')"
        ))
        .unwrap();
    let mut session = migration.session();
    call(&mut session, SHOUT, "").unwrap();
    assert_eq!(migration.names(), ["ann", "abe", "BOB!"]);
    expect_error(
        call(
            &mut session,
            SHOUT,
            &format!(", accounts => '{{{ACCOUNT_A}}}'"),
        ),
        "42704",
        &format!("account \"{ACCOUNT_A}\" does not exist"),
    );
}

#[test]
fn accounts_asked_for_are_visited_once_each_whatever_their_spelling() {
    let migration = Migration::contacts();
    let upper = ACCOUNT_A.to_uppercase();
    call(
        &mut migration.session(),
        SHOUT,
        &format!(", accounts => '{{{upper},{ACCOUNT_A}}}'"),
    )
    .unwrap();
    assert_eq!(migration.names(), ["ANN!", "ABE!", "bob"]);
}

#[test]
fn protected_tables_without_rows_give_a_notice_and_no_run() {
    let migration = Migration::of(Shop::with(
        "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid, name text);
         SELECT tenant_guard.protect('shop.contact')",
    ));
    let (mut session, notices) = migration.shop.db.connect_with_notices(&migration.migrator);
    call(&mut session, SHOUT, "").unwrap();
    call(&mut session, SHOUT, ", accounts => '{}'").unwrap();
    assert_eq!(notices.take(), ["00000: there is no account to visit"; 2]);
    assert_eq!(migration.record("run"), [""; 0]);
}

#[test]
fn progress_is_told_and_an_unnamed_run_gets_a_name() {
    let migration = Migration::contacts();
    let (mut session, notices) = migration.shop.db.connect_with_notices(&migration.migrator);
    call(&mut session, SHOUT, "").unwrap();
    let run = migration.all("SELECT run FROM tenant_guard.migration_run");
    assert_eq!(
        notices.take(),
        [
            format!("00000: the run is named \"{}\"", run[0]),
            format!(
                "00000: run \"{}\": 1 of 2 accounts, \"{ACCOUNT_A}\" changed 2 rows",
                run[0]
            ),
            format!(
                "00000: run \"{}\": 2 of 2 accounts, \"{ACCOUNT_B}\" changed 1 rows",
                run[0]
            ),
        ]
    );
}

#[test]
fn several_statements_run_in_one_transaction_of_the_account() {
    let migration = Migration::contacts();
    call(
        &mut migration.session(),
        " CREATE TEMPORARY TABLE batch ON COMMIT DROP AS
             SELECT name, pg_current_xact_id() AS xact FROM shop.contact;
          -- a comment; with a semicolon
          UPDATE shop.contact AS c SET name = 'ü;' || b.name FROM batch AS b
          WHERE b.name = c.name AND b.xact = pg_current_xact_id();
          SELECT 'a row that nobody reads' ;; ",
        "",
    )
    .unwrap();
    assert_eq!(migration.names(), ["ü;ann", "ü;abe", "ü;bob"]);
}

#[test]
fn procedure_may_call_it_where_it_may_commit() {
    let migration = Migration::contacts();
    let mut session = migration.session();
    session
        .batch_execute(&format!(
            "DO $do$ BEGIN
                 CALL tenant_guard.for_each_account($${SHOUT}$$, 'because');
                 CALL tenant_guard.for_each_account($${SHOUT}$$, 'because');
             END $do$"
        ))
        .unwrap();
    assert_eq!(migration.names(), ["ANN!!", "ABE!!", "BOB!!"]);
}
