//! Copies of protected relations.

use tenant_guard_tests::{ACCOUNT_A, lines};

use super::super::Shop;
use super::{done, findings, members, refused};

#[test]
fn copy_by_create_table_as_is_protected() {
    let shop = Shop::contacts();
    let mut superuser = shop.db.superuser();
    let views = format!(
        "CREATE VIEW shop.names {0} AS SELECT account_id, name FROM shop.contact;
         CREATE VIEW shop.nested {0} AS SELECT * FROM shop.names;
         PREPARE by_name AS SELECT * FROM shop.nested",
        shop.db.invoker()
    );
    done(&mut superuser, &views);
    for (name, statement) in [
        ("a", "CREATE TABLE shop.a AS SELECT * FROM shop.contact"),
        ("b", "SELECT * INTO shop.b FROM shop.contact"),
        (
            "c",
            "CREATE TABLE shop.c AS WITH q AS (SELECT * FROM shop.contact) SELECT * FROM q",
        ),
        (
            "d",
            "CREATE TABLE shop.d AS SELECT c.account_id FROM pg_class
                 JOIN (SELECT account_id FROM shop.contact) AS c ON true LIMIT 1",
        ),
        ("e", "CREATE TABLE shop.e AS TABLE shop.nested"),
        ("f", "CREATE TABLE shop.f AS EXECUTE by_name"),
    ] {
        done(&mut superuser, statement);
        let member = format!("shop.{name}|shop.{name}");
        assert!(members(&shop).contains(&member), "{statement}");
    }
    done(
        &mut superuser,
        &format!("GRANT SELECT ON shop.f TO {}", shop.app),
    );
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(
            lines(t, "SELECT name FROM shop.f ORDER BY 1"),
            ["abe", "ann"]
        );
    });
    assert_eq!(findings(&shop), [""; 0]);
}

#[test]
fn copy_without_the_account_is_refused() {
    let shop = Shop::contacts();
    let mut superuser = shop.db.superuser();
    done(
        &mut superuser,
        "CREATE VIEW shop.names AS SELECT name FROM shop.contact;
         PREPARE by_name AS SELECT name FROM shop.contact",
    );
    for statement in [
        "CREATE TABLE shop.copy AS SELECT name FROM shop.contact",
        "CREATE TABLE shop.copy AS SELECT account_id AS org, name FROM shop.contact",
        "SELECT name INTO shop.copy FROM shop.contact",
        "CREATE TABLE shop.copy AS SELECT count(*) FROM shop.contact",
        "CREATE TABLE shop.copy AS SELECT (SELECT max(name) FROM shop.contact)",
        "CREATE TABLE shop.copy AS SELECT * FROM shop.names",
        "CREATE TABLE shop.copy AS EXECUTE by_name",
        "CREATE TABLE shop.copy AS EXECUTE by_name WITH NO DATA",
        "CREATE UNLOGGED TABLE public.copy AS SELECT name FROM shop.contact",
        "DO $$ BEGIN CREATE TABLE shop.copy AS SELECT name FROM shop.contact; END $$",
    ] {
        refused(
            &mut superuser,
            statement,
            "55000",
            "copies rows of protected relation shop.contact without their account",
        );
    }
    let mut session = shop.app();
    let temporary = "CREATE TEMP TABLE mine AS SELECT name FROM shop.contact";
    let mut t = session.transaction().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_A);
    t.batch_execute(temporary).unwrap();
    assert_eq!(lines(&mut t, "SELECT count(*) FROM mine"), ["2"]);
}

#[test]
fn prepared_statement_that_comes_to_mean_a_protected_relation_is_no_way_around() {
    let shop = Shop::contacts();
    refused(
        &mut shop.db.superuser(),
        "CREATE TABLE public.contact (name text);
         PREPARE by_name AS SELECT name FROM contact;
         SET search_path = shop;
         CREATE TABLE public.copy AS EXECUTE by_name",
        "55000",
        "public.copy copies rows of protected relation shop.contact without their account",
    );
}

#[test]
fn materialized_view_over_protected_relations_is_refused() {
    let shop = Shop::contacts();
    let mut superuser = shop.db.superuser();
    done(
        &mut superuser,
        "CREATE VIEW shop.names AS SELECT name FROM shop.contact",
    );
    for query in ["TABLE shop.contact", "TABLE shop.names"] {
        refused(
            &mut superuser,
            &format!("CREATE MATERIALIZED VIEW shop.m AS {query}"),
            "55000",
            "materialized view shop.m holds rows of protected relation shop.contact",
        );
    }
    done(
        &mut superuser,
        "CREATE MATERIALIZED VIEW shop.m AS SELECT relname FROM pg_class",
    );
}

#[test]
fn materialized_view_of_before_is_not_refreshed_with_the_rows_of_one_account() {
    let shop = Shop::with(
        "CREATE TABLE shop.visit (id int PRIMARY KEY, account_id text NOT NULL);
         CREATE MATERIALIZED VIEW shop.visits AS SELECT account_id, count(*) FROM shop.visit GROUP BY 1;
         CREATE MATERIALIZED VIEW shop.names AS SELECT relname FROM pg_class",
    );
    let mut superuser = shop.db.superuser();
    done(
        &mut superuser,
        "INSERT INTO shop.visit VALUES (1, '1'), (2, '2'); REFRESH MATERIALIZED VIEW shop.visits;
         SELECT tenant_guard.protect('shop.visit')",
    );
    let held = "SELECT * FROM shop.visits ORDER BY 1";
    let grant = format!(
        "GRANT EXECUTE ON FUNCTION tenant_guard.act_as TO {}",
        shop.owner
    );
    done(&mut superuser, &grant);
    let mut owner = shop.owner();
    let refresh = "REFRESH MATERIALIZED VIEW shop.visits";
    refused(
        &mut owner,
        refresh,
        "28000",
        "no identity is bound to this transaction",
    );
    for refresh in [
        refresh,
        "REFRESH MATERIALIZED VIEW shop.visits WITH NO DATA; REFRESH MATERIALIZED VIEW shop.visits",
    ] {
        let bound = format!(
            "BEGIN; SELECT tenant_guard.act_as('1', 'report', reason => 'monthly'); {refresh}"
        );
        refused(
            &mut owner,
            &bound,
            "55000",
            "materialized view shop.visits would hold what one account sees of protected relation shop.visit",
        );
        done(&mut owner, "ROLLBACK");
        assert_eq!(lines(&mut superuser, held), ["1|1", "2|1"]);
    }
    done(&mut owner, "REFRESH MATERIALIZED VIEW shop.names");
    done(
        &mut superuser,
        "INSERT INTO shop.visit VALUES (3, '2');
         ALTER MATERIALIZED VIEW shop.visits OWNER TO CURRENT_USER; REFRESH MATERIALIZED VIEW shop.visits",
    );
    assert_eq!(lines(&mut superuser, held), ["1|1", "2|2"]);
}

#[test]
fn copies_of_what_everybody_reads_are_free() {
    let shop = Shop::with(
        "CREATE TABLE shop.country (code text PRIMARY KEY);
         SELECT tenant_guard.protect('shop.country', archetype => 'reference')",
    );
    let mut owner = shop.owner();
    done(
        &mut owner,
        "CREATE TABLE shop.copy AS SELECT * FROM shop.country;
         CREATE MATERIALIZED VIEW shop.m AS SELECT * FROM shop.country",
    );
    assert_eq!(members(&shop), ["shop.country|shop.country"]);
}

#[test]
fn copy_by_like_is_protected_like_its_source() {
    let shop = Shop::with(
        "CREATE TABLE shop.parent (id int PRIMARY KEY, account_id uuid, secret text);
         CREATE TABLE shop.child (id int PRIMARY KEY, parent_id int REFERENCES shop.parent);
         SELECT tenant_guard.protect('shop.parent', redact => '{secret}');
         SELECT tenant_guard.protect('shop.child', via => 'parent_id')",
    );
    let mut owner = shop.owner();
    done(
        &mut owner,
        "SET search_path = shop;
         CREATE TABLE parent_2 (LIKE parent INCLUDING ALL, more int);
         CREATE TABLE child_2 (LIKE child);
         CREATE TABLE pair (LIKE parent INCLUDING DEFAULTS, n int);
         CREATE TEMP TABLE passing (LIKE parent)",
    );
    let protected = "SELECT relation, account_column, redact, archetype
                     FROM tenant_guard.protected_relation ORDER BY relation::text";
    assert_eq!(
        lines(&mut shop.db.superuser(), protected),
        [
            "shop.child|<null>|{}|child",
            "shop.child_2|<null>|{}|child",
            "shop.pair|account_id|{secret}|account",
            "shop.parent|account_id|{secret}|account",
            "shop.parent_2|account_id|{secret}|account",
        ]
    );
    // LIKE copies no foreign key.
    assert_eq!(
        findings(&shop),
        ["26-foreign-key-without-account|shop.child_2"]
    );
    // Taking protection off leaves what LIKE would have copied of the bare table.
    done(&mut owner, "SELECT tenant_guard.unprotect('shop.pair')");
    let column = "SELECT attnotnull, atthasdef FROM pg_attribute
                  WHERE attrelid = 'shop.pair'::regclass AND attname = 'account_id'";
    assert_eq!(lines(&mut owner, column), ["f|f"]);
}

#[test]
fn like_within_create_schema_is_no_way_around() {
    let shop = Shop::contacts();
    done(
        &mut shop.db.superuser(),
        "CREATE SCHEMA other CREATE TABLE copy (LIKE shop.contact) CREATE TABLE plain (id int)",
    );
    assert_eq!(
        members(&shop),
        ["other.copy|other.copy", "shop.contact|shop.contact"]
    );
}

#[test]
fn name_that_changes_its_meaning_while_the_table_is_made_is_no_way_around() {
    let shop = Shop::contacts();
    let mut owner = shop.owner();
    done(
        &mut shop.db.superuser(),
        &format!("CREATE SCHEMA first AUTHORIZATION {}", shop.owner),
    );
    // Once it is made, "contact" means the copy.
    done(
        &mut owner,
        "SET search_path = first, shop; CREATE TABLE contact (LIKE contact)",
    );
    assert_eq!(
        members(&shop),
        ["first.contact|first.contact", "shop.contact|shop.contact"]
    );
}
