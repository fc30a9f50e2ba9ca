//! What protect refuses, each with nothing changed.

use postgres::Client;
use tenant_guard_tests::{ACCOUNT_A, expect_error, lines};

use super::Shop;

/// Asserts that `call` fails with this error and leaves nothing registered.
#[track_caller]
fn refused(shop: &Shop, client: &mut Client, call: &str, sqlstate: &str, message: &str) {
    expect_error(
        client.batch_execute(&format!("SELECT tenant_guard.{call}")),
        sqlstate,
        message,
    );
    let registered = "SELECT count(*) FROM tenant_guard.protection";
    assert_eq!(lines(&mut shop.db.superuser(), registered), ["0"], "{call}");
}

#[test]
fn what_is_no_table_cannot_be_protected() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (id int PRIMARY KEY, account_id uuid);
         CREATE VIEW shop.v AS TABLE shop.t;
         CREATE MATERIALIZED VIEW shop.m AS TABLE shop.t;
         CREATE SEQUENCE shop.s;
         CREATE TEMP TABLE passing (account_id uuid)",
    );
    shop.db
        .superuser()
        .batch_execute(&format!(
            "CREATE FOREIGN DATA WRAPPER nowhere;
             CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
             CREATE FOREIGN TABLE shop.f (account_id uuid) SERVER nowhere;
             ALTER FOREIGN TABLE shop.f OWNER TO {}",
            shop.owner
        ))
        .unwrap();
    let owner = &mut shop.owner();
    for (relation, kind) in [
        ("shop.v", "shop.v is a view"),
        ("shop.m", "shop.m is a materialized view"),
        ("shop.f", "shop.f is a foreign table"),
        ("shop.s", "shop.s is a sequence"),
        ("shop.t_pkey", "shop.t_pkey is an index"),
        (
            "pg_catalog.pg_class",
            "pg_catalog.pg_class is a system catalog",
        ),
        (
            "tenant_guard.issuer",
            "tenant_guard.issuer is a system catalog or a table of tenant_guard",
        ),
    ] {
        for function in ["protect", "protection_plan"] {
            refused(
                &shop,
                owner,
                &format!("{function}('{relation}')"),
                "42809",
                kind,
            );
        }
        let superuser = &mut shop.db.superuser();
        refused(
            &shop,
            superuser,
            &format!("protect('{relation}')"),
            "42809",
            kind,
        );
    }
    owner
        .batch_execute("CREATE TEMP TABLE passing (account_id uuid)")
        .unwrap();
    refused(
        &shop,
        owner,
        "protect('passing')",
        "42809",
        "passing is a temporary table",
    );
}

#[test]
fn missing_relation_column_or_role_is_named() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (id int PRIMARY KEY, account_id uuid, secret text);
         CREATE TABLE shop.g (account_id uuid, card text,
             id text GENERATED ALWAYS AS (lower(card)) STORED PRIMARY KEY)",
    );
    let owner = &mut shop.owner();
    let mut expect = |call: &str, state: &str, message: &str| {
        refused(&shop, owner, call, state, message);
    };
    expect(
        "protect('shop.nothing')",
        "42P01",
        "\"shop.nothing\" does not exist",
    );
    expect(
        "protect(987654::regclass)",
        "42P01",
        "relation with OID 987654 does not exist",
    );
    expect(
        "protect('shop.t', 'org')",
        "42703",
        "column \"org\" of relation shop.t does not exist",
    );
    expect(
        "protect('shop.t', 'ctid')",
        "42703",
        "column \"ctid\" of relation shop.t",
    );
    expect(
        "protect('shop.t', redact => '{gone}')",
        "42703",
        "column \"gone\" of relation shop.t",
    );
    expect(
        "protect('shop.t', redact => '{id}')",
        "22023",
        "column \"id\" of relation shop.t cannot",
    );
    expect(
        "protect('shop.g', redact => '{card}')",
        "22023",
        "column \"card\" of relation shop.g cannot",
    );
    expect(
        "protect('shop.t', redact => '{account_id}')",
        "22023",
        "column \"account_id\"",
    );
    expect(
        "protect('shop.t', roles => '{}')",
        "22023",
        "roles must name at least one role",
    );
    expect(
        "protect('shop.t', roles => '{987654}')",
        "42704",
        "role with OID 987654 does not exist",
    );
    expect(
        "protect('shop.t', roles => ARRAY[NULL::regrole])",
        "22004",
        "an element of roles",
    );
    expect(
        "protect('shop.t', roles => '{-}')",
        "22004",
        "an element of roles must not be null",
    );
    expect("protect(NULL)", "22004", "relation must not be null");
    expect(
        "protect('shop.t', NULL)",
        "22004",
        "account_column must not be null",
    );
    expect(
        "protect('shop.t', audit => NULL)",
        "22004",
        "audit must not be null",
    );
    expect(
        "protect('shop.t', redact => NULL)",
        "22004",
        "redact must not be null",
    );
    expect(
        "unprotect('shop.t')",
        "55000",
        "relation shop.t is not protected",
    );
    expect(
        "protect_schema('nowhere')",
        "3F000",
        "schema \"nowhere\" does not exist",
    );
}

#[test]
fn column_that_cannot_hold_an_account_is_refused() {
    let shop = Shop::with(
        "CREATE TABLE shop.n (account_id numeric);
         CREATE TABLE shop.c (account_id char(4));
         CREATE DOMAIN shop.account AS uuid;
         CREATE TABLE shop.d (account_id shop.account)",
    );
    let owner = &mut shop.owner();
    for (table, kind) in [("n", "numeric"), ("c", "character"), ("d", "shop.account")] {
        let message =
            format!("column \"account_id\" of relation shop.{table} is of type {kind}, which");
        let call = format!("protect('shop.{table}')");
        refused(&shop, owner, &call, "0A000", &message);
    }
    if !shop.db.has_icu() {
        return;
    }
    // 'ACME' would read the rows of 'acme'.
    owner
        .batch_execute(
            "CREATE COLLATION shop.loose
                 (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
             CREATE TABLE shop.l (account_id text COLLATE shop.loose)",
        )
        .unwrap();
    let call = "protect('shop.l')";
    refused(
        &shop,
        owner,
        call,
        "0A000",
        "has a nondeterministic collation",
    );
}

#[test]
fn somebody_without_the_right_is_refused() {
    let shop = Shop::with("CREATE TABLE shop.t (id int PRIMARY KEY, account_id uuid)");
    let app = &mut shop.app();
    for call in [
        "protect('shop.t')",
        "unprotect('shop.t')",
        "protect_schema('shop')",
    ] {
        refused(&shop, app, call, "42501", "permission denied for function");
    }
    // The right to call is not enough without the role, nor the role without the table.
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!(
            "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tenant_guard TO {}",
            shop.app
        ))
        .unwrap();
    refused(
        &shop,
        app,
        "protect('shop.t')",
        "42501",
        "must be a member of role",
    );
    superuser
        .batch_execute(&format!("GRANT tenant_guard_admin TO {}", shop.app))
        .unwrap();
    refused(
        &shop,
        app,
        "protect('shop.t')",
        "42501",
        "must be owner of relation shop.t",
    );
    let register = "register_protection('shop.t', 'account_id', NULL, '{}', false)";
    refused(
        &shop,
        app,
        register,
        "42501",
        "must be owner of relation shop.t",
    );
    expect_error(
        app.batch_execute(
            "INSERT INTO tenant_guard.protection VALUES ('shop.t', 'account', 'x', NULL, '{}', false)",
        ),
        "42501",
        "permission denied for table protection",
    );
}

#[test]
fn partition_that_is_not_a_table_or_not_owned_stops_the_whole_tree() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (account_id uuid, n int) PARTITION BY LIST (n);
         CREATE TABLE shop.t1 PARTITION OF shop.t FOR VALUES IN (1);
         CREATE TABLE shop.t2 PARTITION OF shop.t FOR VALUES IN (2)",
    );
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute("ALTER TABLE shop.t2 OWNER TO postgres")
        .unwrap();
    let owner = &mut shop.owner();
    refused(
        &shop,
        owner,
        "protect('shop.t')",
        "42501",
        "must be owner of relation shop.t2",
    );
    refused(
        &shop,
        owner,
        "protect('shop.t1')",
        "42809",
        "shop.t1 is a partition or child of shop.t",
    );
    superuser
        .batch_execute(
            "DROP TABLE shop.t2; CREATE FOREIGN DATA WRAPPER nowhere;
             CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
             CREATE FOREIGN TABLE shop.t3 PARTITION OF shop.t FOR VALUES IN (3) SERVER nowhere",
        )
        .unwrap();
    refused(
        &shop,
        owner,
        "protect('shop.t')",
        "42809",
        "shop.t3 is a foreign table",
    );
}

#[test]
fn rows_without_an_account_are_counted_behind_any_policy() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.t (account_id uuid, n int) PARTITION BY LIST (n);
         CREATE TABLE shop.t1 PARTITION OF shop.t FOR VALUES IN (1);
         CREATE TABLE shop.t2 PARTITION OF shop.t FOR VALUES IN (2);
         CREATE TABLE shop.t3 PARTITION OF shop.t FOR VALUES IN (3);
         INSERT INTO shop.t VALUES (NULL, 1), (NULL, 1), ('{ACCOUNT_A}', 1), (NULL, 2), ('{ACCOUNT_A}', 3);
         ALTER TABLE shop.t1 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    ));
    let call = "protect('shop.t')";
    let message = "column \"account_id\" has null values: 2 in shop.t1, 1 in shop.t2";
    refused(&shop, &mut shop.owner(), call, "23502", message);
    let policies = "SELECT count(*) FROM pg_policy";
    assert_eq!(lines(&mut shop.db.superuser(), policies), ["0"]);
}

#[test]
fn uuid_beside_other_account_types_is_refused() {
    let shop = Shop::with(
        "CREATE TABLE shop.a (account_id uuid);
         CREATE TABLE shop.b (account_id bigint);
         CREATE TABLE shop.c (account_id text)",
    );
    let mut owner = shop.owner();
    expect_error(
        owner.batch_execute("SELECT tenant_guard.protect_schema('shop')"),
        "0A000",
        "schema \"shop\" cannot be protected",
    );
    owner
        .batch_execute("SELECT tenant_guard.protect('shop.b')")
        .unwrap();
    owner
        .batch_execute("SELECT tenant_guard.protect('shop.c')")
        .unwrap();
    expect_error(
        owner.batch_execute("SELECT tenant_guard.protect('shop.a')"),
        "0A000",
        "column \"account_id\" of relation shop.a is of another kind than the account column of shop.b",
    );
}

#[test]
fn schema_reports_every_obstacle_before_it_touches_a_table() {
    let shop = Shop::with(
        "CREATE TABLE shop.a_sound (account_id uuid);
         CREATE TABLE shop.b_null (account_id uuid);
         INSERT INTO shop.b_null VALUES (NULL);
         CREATE TABLE shop.c_numeric (account_id numeric);
         CREATE TABLE shop.d_other (account_id text)",
    );
    let error = shop
        .owner()
        .batch_execute("SELECT tenant_guard.protect_schema('shop')")
        .unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "23502");
    assert_eq!(
        error.detail().unwrap().lines().collect::<Vec<_>>(),
        [
            "column \"account_id\" has null values: 1 in shop.b_null",
            "column \"account_id\" of relation shop.c_numeric is of type numeric, which cannot hold \
             an account",
            "column \"account_id\" of relation shop.d_other is of another kind than the account \
             column of shop.a_sound",
        ]
    );
    let changed = "SELECT relname FROM pg_class
        WHERE relrowsecurity AND relnamespace <> 'tenant_guard'::regnamespace";
    assert!(lines(&mut shop.db.superuser(), changed).is_empty());
}

/// No row holds it, so that no event could say whose it is. From PostgreSQL 18 on it is what a generated
/// column is where nothing else is said.
#[test]
fn account_that_is_computed_when_it_is_read_cannot_be_protected() {
    let shop = Shop::with(
        "CREATE TABLE shop.doc (id int PRIMARY KEY, meta jsonb NOT NULL);
         CREATE TABLE shop.kept (id int PRIMARY KEY, meta jsonb NOT NULL,
             account_id text GENERATED ALWAYS AS (meta ->> 'account') STORED)",
    );
    if shop.db.version() >= 18 {
        shop.run(
            "ALTER TABLE shop.doc ADD account_id text GENERATED ALWAYS AS (meta ->> 'account')",
        );
        refused(
            &shop,
            &mut shop.owner(),
            "protect('shop.doc')",
            "0A000",
            "column \"account_id\" of relation shop.doc is generated and not stored",
        );
    }
    shop.run("SELECT tenant_guard.protect('shop.kept')");
    if shop.db.version() >= 18 {
        let found = "detail LIKE '%and cannot be by a column that is generated and not stored'";
        assert_eq!(shop.check_where("object, fix", found), ["shop.doc|"]);
    }
}
