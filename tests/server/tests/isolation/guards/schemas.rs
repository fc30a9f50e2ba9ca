//! Governed schemas.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, lines};

use super::super::Shop;
use super::{done, findings, members, refused};

#[test]
fn new_table_of_a_governed_schema_is_protected_or_refused() {
    let shop = Shop::empty();
    let mut owner = shop.owner();
    done(
        &mut owner,
        "SELECT tenant_guard.govern_schema('shop', redact => '{secret, iban}')",
    );
    done(
        &mut shop.db.superuser(),
        &format!("REVOKE tenant_guard_admin FROM {}", shop.owner),
    );
    done(
        &mut owner,
        &format!(
            "CREATE TABLE shop.t (id int, account_id uuid, secret text);
             CREATE TABLE shop.p (account_id uuid, n int) PARTITION BY LIST (n);
             CREATE TABLE shop.p1 PARTITION OF shop.p FOR VALUES IN (1);
             CREATE TABLE shop.q AS SELECT '{ACCOUNT_A}'::uuid AS account_id;
             CREATE TABLE shop.other (id int);
             CREATE TEMP TABLE passing (account_id uuid)"
        ),
    );
    assert_eq!(
        members(&shop),
        [
            "shop.p|shop.p",
            "shop.p1|shop.p",
            "shop.q|shop.q",
            "shop.t|shop.t"
        ]
    );
    let redacted = "SELECT redact FROM tenant_guard.protected_relation
                    WHERE relation = 'shop.t'::regclass";
    assert_eq!(lines(&mut shop.db.superuser(), redacted), ["{secret}"]);
    assert_eq!(findings(&shop), [""; 0]);
    refused(
        &mut owner,
        "CREATE TABLE shop.n (account_id numeric)",
        "0A000",
        "column \"account_id\" of relation shop.n is of type numeric",
    );
    refused(
        &mut owner,
        "CREATE TABLE shop.n AS SELECT NULL::uuid AS account_id",
        "23502",
        "column \"account_id\" has null values: 1 in shop.n",
    );
    done(
        &mut shop.db.superuser(),
        &format!("INSERT INTO shop.t VALUES (1, '{ACCOUNT_A}', 'x'), (2, '{ACCOUNT_B}', 'y')"),
    );
    shop.within(ACCOUNT_B, |t| {
        assert_eq!(lines(t, "SELECT id FROM shop.t"), ["2"]);
    });
}

#[test]
fn table_moved_into_a_governed_schema_is_protected() {
    let shop = Shop::empty();
    done(
        &mut shop.db.superuser(),
        &format!(
            "CREATE SCHEMA drafts AUTHORIZATION {0}; SET ROLE {0};
             SELECT tenant_guard.govern_schema('shop');
             CREATE TABLE drafts.t (account_id uuid);
             ALTER TABLE drafts.t SET SCHEMA shop",
            shop.owner
        ),
    );
    assert_eq!(members(&shop), ["shop.t|shop.t"]);
}

#[test]
fn protect_schema_governs_what_comes_later_and_ungovern_ends_it() {
    let shop = Shop::with(
        "CREATE TABLE shop.a (account_id uuid);
         SELECT tenant_guard.protect_schema('shop');
         CREATE TABLE shop.b (account_id uuid)",
    );
    assert_eq!(members(&shop), ["shop.a|shop.a", "shop.b|shop.b"]);
    let mut owner = shop.owner();
    done(
        &mut owner,
        "SELECT tenant_guard.ungovern_schema('shop'); CREATE TABLE shop.c (account_id uuid)",
    );
    assert_eq!(members(&shop), ["shop.a|shop.a", "shop.b|shop.b"]);
    refused(
        &mut owner,
        "SELECT tenant_guard.ungovern_schema('shop')",
        "55000",
        "schema \"shop\" is not governed",
    );
}

#[test]
fn rule_follows_its_schema_to_another_name_and_goes_with_it() {
    let shop = Shop::with("SELECT tenant_guard.govern_schema('shop')");
    let rules = "SELECT schema, account_column FROM tenant_guard.governed_schema";
    for (mut client, name) in [
        (shop.db.superuser(), "two words"),
        (shop.unguarded(), "Shop"),
    ] {
        let old = lines(
            &mut client,
            "SELECT schema FROM tenant_guard.governed_schema",
        );
        done(
            &mut client,
            &format!("ALTER SCHEMA \"{}\" RENAME TO \"{name}\"", old[0]),
        );
        assert_eq!(lines(&mut client, rules), [format!("{name}|account_id")]);
    }
    done(
        &mut shop.owner(),
        "CREATE TABLE \"Shop\".t (account_id uuid)",
    );
    assert_eq!(members(&shop), ["\"Shop\".t|\"Shop\".t"]);
    done(
        &mut shop.db.superuser(),
        &format!(
            "CREATE SCHEMA shop AUTHORIZATION {0}; SET ROLE {0};
             CREATE TABLE shop.t (account_id uuid)",
            shop.owner
        ),
    );
    assert_eq!(members(&shop), ["\"Shop\".t|\"Shop\".t"]);
    for mut client in [shop.db.superuser(), shop.unguarded()] {
        done(
            &mut client,
            "CREATE SCHEMA passing; SELECT tenant_guard.govern_schema('passing');
             DROP SCHEMA passing",
        );
        assert_eq!(lines(&mut client, rules), ["Shop|account_id"]);
    }
}

#[test]
fn only_an_admin_who_owns_the_schema_governs_it() {
    let shop = Shop::empty();
    let mut app = shop.app();
    let govern = "SELECT tenant_guard.govern_schema('shop')";
    refused(&mut app, govern, "42501", "permission denied for function");
    done(
        &mut shop.db.superuser(),
        &format!("GRANT tenant_guard_admin TO {}", shop.app),
    );
    refused(
        &mut app,
        govern,
        "42501",
        "must be owner of schema \"shop\"",
    );
    let mut superuser = shop.db.superuser();
    for (schema, state, message) in [
        ("nowhere", "3F000", "schema \"nowhere\" does not exist"),
        (
            "pg_catalog",
            "22023",
            "schema \"pg_catalog\" cannot be governed",
        ),
        (
            "tenant_guard",
            "22023",
            "schema \"tenant_guard\" cannot be governed",
        ),
    ] {
        let call = format!("SELECT tenant_guard.govern_schema('{schema}')");
        refused(&mut superuser, &call, state, message);
    }
}

#[test]
fn role_that_a_rule_names_and_that_is_gone_stops_the_table() {
    let shop = Shop::empty();
    let passing = shop.db.role("passing");
    done(
        &mut shop.owner(),
        &format!("SELECT tenant_guard.govern_schema('shop', roles => '{{{passing}}}')"),
    );
    done(&mut shop.db.superuser(), &format!("DROP ROLE {passing}"));
    refused(
        &mut shop.owner(),
        "CREATE TABLE shop.t (account_id uuid)",
        "42704",
        &format!("role \"{passing}\" does not exist"),
    );
}
