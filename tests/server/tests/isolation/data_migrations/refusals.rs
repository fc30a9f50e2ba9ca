//! What a data migration cannot be made to do.

use tenant_guard_tests::expect_error;

use super::*;

#[test]
fn nobody_may_call_it_without_a_grant_not_even_an_admin() {
    let shop = Shop::contacts();
    let admin = shop.db.role("admin");
    shop.db
        .superuser()
        .batch_execute(&format!("GRANT tenant_guard_admin TO {admin}"))
        .unwrap();
    for mut session in [shop.app(), shop.owner(), shop.db.connect_as(&admin)] {
        expect_error(
            call(&mut session, "SELECT 1", ""),
            "42501",
            "permission denied for procedure for_each_account",
        );
    }
}

#[test]
fn role_that_policies_do_not_hold_would_change_every_row_in_every_account() {
    let migration = Migration::contacts();
    let bypassing = migration.shop.db.role("bypassing");
    let mut superuser = migration.shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "ALTER ROLE {bypassing} BYPASSRLS;
             GRANT EXECUTE ON PROCEDURE tenant_guard.for_each_account TO {bypassing}"
        ))
        .unwrap();
    expect_error(
        call(&mut superuser, SHOUT, ""),
        "42501",
        "role \"postgres\" bypasses row security",
    );
    superuser
        .batch_execute(&format!("SET SESSION AUTHORIZATION {bypassing}"))
        .unwrap();
    expect_error(
        call(&mut superuser, SHOUT, ""),
        "42501",
        "bypasses row security",
    );
    assert_eq!(migration.names(), ["ann", "abe", "bob"]);
}

#[test]
fn statements_have_the_caller_s_rights_and_no_more() {
    let migration = Migration::contacts();
    for statement in [
        "SELECT count(*) FROM tenant_guard.issuer",
        "DELETE FROM tenant_guard.migration_run_account",
        "SELECT tenant_guard.act_as('x', 'y', reason => 'z')",
    ] {
        expect_error(
            call(&mut migration.session(), statement, ""),
            "42501",
            "permission denied for",
        );
    }
}

#[test]
fn statements_cannot_go_over_to_another_account() {
    let migration = Migration::contacts();
    let token = migration.shop.issuer.token(ACCOUNT_B);
    expect_error(
        call(
            &mut migration.session(),
            &format!("SELECT tenant_guard.authenticate('{token}')"),
            &format!(", accounts => '{{{ACCOUNT_A}}}'"),
        ),
        "55000",
        "this transaction is bound to another account",
    );
}

#[test]
fn transaction_control_in_the_statements_is_refused_before_anything_is_done() {
    let migration = Migration::contacts();
    let mut session = migration.session();
    for control in [
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT a",
        "BEGIN",
        "PREPARE TRANSACTION 'x'",
    ] {
        expect_error(
            call(&mut session, &format!("{SHOUT}; {control}"), ""),
            "2D000",
            "sql must not contain transaction control",
        );
    }
    expect_error(
        call(&mut session, "COPY shop.contact TO STDOUT", ""),
        "0A000",
        "sql must not copy from or to the client",
    );
    assert_eq!(migration.record("run"), [""; 0]);
    expect_error(
        call(
            &mut session,
            &format!("{SHOUT}; DO $$BEGIN COMMIT; END$$"),
            "",
        ),
        "2D000",
        "invalid transaction termination",
    );
    assert_eq!(migration.names(), ["ann", "abe", "bob"]);
}

#[test]
fn transaction_that_is_somebody_else_s_is_not_committed() {
    let migration = Migration::contacts();
    let mut session = migration.session();
    session.batch_execute("BEGIN").unwrap();
    let message = "for_each_account() cannot run inside a transaction block or a function";
    expect_error(call(&mut session, SHOUT, ""), "25001", message);
    session.batch_execute("ROLLBACK").unwrap();
    let two = format!("SELECT 1; CALL tenant_guard.for_each_account($${SHOUT}$$, 'because')");
    expect_error(session.batch_execute(&two), "25001", message);
    session
        .batch_execute(&format!(
            "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE plpgsql AS $f$
             BEGIN CALL tenant_guard.for_each_account($${SHOUT}$$, 'because'); END $f$"
        ))
        .unwrap();
    expect_error(session.simple_query("SELECT pg_temp.f()"), "25001", message);
    assert_eq!(migration.names(), ["ann", "abe", "bob"]);
}

#[test]
fn loop_over_a_query_would_keep_rows_of_one_account_for_the_next() {
    let migration = Migration::contacts();
    let mut session = migration.session();
    let looping = format!(
        "DO $do$ DECLARE r record; BEGIN
             FOR r IN SELECT g FROM generate_series(1, 1000) AS g LOOP
                 CALL tenant_guard.for_each_account($${SHOUT}$$, 'because');
             END LOOP;
         END $do$"
    );
    expect_error(
        session.batch_execute(&looping),
        "55000",
        "a holdable cursor of another account is open",
    );
}

#[test]
fn operators_and_functions_planted_in_the_search_path_are_not_called() {
    let migration = Migration::contacts();
    let mut session = migration.session();
    migration
        .shop
        .owner()
        .batch_execute(
            "CREATE FUNCTION shop.trap(text, text) RETURNS boolean LANGUAGE plpgsql AS
                 $$BEGIN RAISE 'trapped'; END$$;
             CREATE OPERATOR shop.= (FUNCTION = shop.trap, LEFTARG = text, RIGHTARG = text);
             CREATE FUNCTION shop.unnest(text[]) RETURNS SETOF text LANGUAGE plpgsql AS
                 $$BEGIN RAISE 'trapped'; END$$;
             CREATE FUNCTION shop.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS
                 $$BEGIN RAISE 'trapped'; END$$",
        )
        .unwrap();
    session
        .batch_execute("SET search_path = shop, pg_catalog")
        .unwrap();
    call(
        &mut session,
        "UPDATE contact SET name = 'x'",
        ", run => 'r'",
    )
    .unwrap();
    call(
        &mut session,
        "UPDATE contact SET name = 'x'",
        ", run => 'r'",
    )
    .unwrap();
    assert_eq!(migration.names(), ["x", "x", "x"]);
}

#[test]
fn what_was_deferred_to_the_commit_fails_its_own_account() {
    let migration = Migration::of(Shop::with(&format!(
        "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid,
             name text UNIQUE DEFERRABLE INITIALLY DEFERRED);
         INSERT INTO shop.contact VALUES (1, '{ACCOUNT_A}', 'ann'), (2, '{ACCOUNT_B}', 'abe'),
             (3, '{ACCOUNT_B}', 'bob');
         SELECT tenant_guard.protect('shop.contact')"
    )));
    expect_error(
        call(
            &mut migration.session(),
            "UPDATE shop.contact SET name = account_id::text",
            ", run => 'r'",
        ),
        "23505",
        &format!("run \"r\" failed for account \"{ACCOUNT_B}\": duplicate key value"),
    );
    assert_eq!(migration.names(), [ACCOUNT_A, "abe", "bob"]);
}

#[test]
fn values_of_rows_are_not_kept_in_the_record() {
    let migration = Migration::contacts();
    let mut session = migration.session();
    for (run, statement) in [
        ("1", "UPDATE shop.contact SET id = name::int"),
        ("2", "DO $$BEGIN RAISE 'ann is %', 'secret'; END$$"),
        ("3", "UPDATE shop.contact SET id = 3"),
    ] {
        let arguments = format!(", run => '{run}', accounts => '{{{ACCOUNT_B},{ACCOUNT_A}}}'");
        call(&mut session, statement, &arguments).unwrap_err();
    }
    assert_eq!(
        migration.all(
            "SELECT run, sqlstate, message FROM tenant_guard.account_run
             WHERE state = 'failed' ORDER BY 1"
        ),
        [
            "1|22P02|invalid input syntax for type integer: \"...\"",
            "2|P0001|<null>",
            "3|23505|duplicate key value violates unique constraint \"contact_pkey\"",
        ]
    );
}

#[test]
fn arguments_that_cannot_be_are_refused() {
    let migration = Migration::contacts();
    let mut session = migration.session();
    for (arguments, sqlstate, message) in [
        ("NULL, 'r'", "22004", "sql must not be null"),
        ("' ; -- nothing', 'r'", "22023", "sql must not be empty"),
        ("'SELEKT 1', 'r'", "42601", "syntax error at or near"),
        (
            "'SELECT 1', ' '",
            "22023",
            "reason must say why the account is acted for",
        ),
        (
            "'SELECT 1', NULL",
            "22023",
            "reason must say why the account is acted for",
        ),
        (
            "'SELECT 1', 'r', run => ''",
            "22023",
            "run must not be empty",
        ),
        (
            "'SELECT 1', 'r', on_error => 'ignore'",
            "22023",
            "on_error must be stop or continue",
        ),
        (
            "'SELECT 1', 'r', on_error => NULL",
            "22004",
            "on_error must not be null",
        ),
        (
            "'SELECT 1', 'r', accounts => '{NULL}'",
            "22004",
            "an element of an array must not be null",
        ),
        (
            "'SELECT 1', 'r', accounts => '{\"\"}'",
            "22023",
            "account is not an account id",
        ),
        (
            "'SELECT 1', 'r', roles => NULL",
            "22004",
            "roles must not be null",
        ),
    ] {
        expect_error(
            session.batch_execute(&format!("CALL tenant_guard.for_each_account({arguments})")),
            sqlstate,
            message,
        );
    }
    assert_eq!(migration.record("run"), [""; 0]);
}
