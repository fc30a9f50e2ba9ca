//! Lists of columns: roles of one database role reach different columns.

use postgres::Transaction;
use tenant_guard_tests::{ACCOUNT_A, expect_error, lines};

use super::super::Shop;
use super::{at_level, prospects, signed_in};

/// Agents read id and owner, update owner, insert id and owner; admins all but need aal2.
fn listed() -> Shop {
    let shop = prospects();
    shop.run(
        "SELECT tenant_guard.allow('agent', 'shop.prospect', '{select,insert}',
             columns => '{id,owner}');
         SELECT tenant_guard.allow('agent', 'shop.prospect', '{update}', columns => '{owner}');
         SELECT tenant_guard.define_role('chief');
         SELECT tenant_guard.allow('chief', 'shop.prospect', '{all}');
         SELECT tenant_guard.require_role_assurance('chief', 'aal2');
         SELECT tenant_guard.define_role('clerk');
         SELECT tenant_guard.allow('clerk', 'shop.prospect', '{select}', columns => '{secret}')",
    );
    shop
}

#[track_caller]
fn denied(session: &mut Transaction<'_>, statement: &str, column: &str) {
    let mut savepoint = session.savepoint("s").unwrap();
    expect_error(
        savepoint.execute(statement, &[]),
        "42501",
        &format!("permission denied for column {column} of table prospect"),
    );
}

#[test]
fn columns_outside_of_the_list_are_refused_wherever_they_stand() {
    let shop = listed();
    signed_in(&shop, "ann", &["agent"], |session| {
        for statement in [
            "SELECT secret FROM shop.prospect",
            "SELECT id FROM shop.prospect WHERE secret = 's1'",
            "SELECT count(*) FROM shop.prospect ORDER BY max(secret)",
            "SELECT count(secret) FROM shop.prospect",
            "SELECT FROM (SELECT secret FROM shop.prospect) AS s",
            "WITH s AS (SELECT secret FROM shop.prospect) SELECT * FROM s",
            "SELECT (SELECT max(secret) FROM shop.prospect)",
            "UPDATE shop.prospect SET owner = secret",
            "UPDATE shop.prospect SET owner = 'x' RETURNING secret",
            "COPY (SELECT secret FROM shop.prospect) TO STDOUT",
            "DECLARE c CURSOR FOR SELECT secret FROM shop.prospect",
            "CREATE TEMP TABLE t AS SELECT secret FROM shop.prospect",
        ] {
            denied(session, statement, "secret");
        }
        // The whole row names them all.
        for statement in [
            "SELECT p FROM shop.prospect AS p",
            "SELECT to_jsonb(p) FROM shop.prospect AS p",
            "TABLE shop.prospect",
        ] {
            denied(session, statement, "account_id");
        }
        for (statement, column) in [
            ("UPDATE shop.prospect SET id = 1", "id"),
            ("UPDATE shop.prospect SET secret = 'x'", "secret"),
            (
                "INSERT INTO shop.prospect (id, secret) VALUES (10, 'x')",
                "secret",
            ),
            (
                "INSERT INTO shop.prospect (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET secret = ''",
                "secret",
            ),
            (
                "MERGE INTO shop.prospect AS p USING (VALUES (1)) AS v (id) ON p.id = v.id
                 WHEN MATCHED THEN UPDATE SET secret = 'x'",
                "secret",
            ),
        ] {
            if statement.starts_with("MERGE") && !shop.db.has_merge() {
                continue;
            }
            denied(session, statement, column);
        }
    });
}

#[test]
fn columns_of_the_list_are_reached() {
    let shop = listed();
    signed_in(&shop, "ann", &["agent"], |session| {
        assert_eq!(lines(session, "SELECT count(*) FROM shop.prospect"), ["4"]);
        assert_eq!(
            lines(
                session,
                "SELECT id, owner FROM shop.prospect WHERE id < 3 ORDER BY ctid"
            ),
            ["1|ann", "2|abe"]
        );
        for (statement, rows) in [
            ("UPDATE shop.prospect SET owner = 'x' WHERE id = 1", 1),
            (
                "INSERT INTO shop.prospect (id, owner) VALUES (10, 'ann')",
                1,
            ),
            ("SELECT FROM shop.prospect WHERE id = 1 FOR UPDATE", 1),
        ] {
            assert_eq!(
                session.execute(statement, &[]).unwrap(),
                rows,
                "{statement}"
            );
        }
    });
}

#[test]
fn roles_add_up_and_one_without_a_list_reaches_all() {
    let shop = listed();
    let both = "SELECT id, secret FROM shop.prospect WHERE id = 1";
    signed_in(&shop, "ann", &["agent", "clerk"], |session| {
        assert_eq!(lines(session, both), ["1|s1"]);
        denied(session, "SELECT agents FROM shop.prospect", "agents");
    });
    // Admin inherits agent's list and has none of its own.
    signed_in(&shop, "ann", &["admin"], |session| {
        denied(session, both, "secret");
    });
    signed_in(&shop, "ann", &["chief"], |session| {
        denied(session, both, "id");
    });
    at_level(&shop, "ann", &["chief"], "aal2", |session| {
        assert_eq!(lines(session, both), ["1|s1"]);
        assert_eq!(
            lines(session, "SELECT count(p) FROM shop.prospect AS p"),
            ["4"]
        );
    });
}

#[test]
fn copying_rows_in_is_held_to_the_list() {
    let shop = listed();
    signed_in(&shop, "ann", &["agent"], |session| {
        let mut rows = session
            .copy_in("COPY shop.prospect (id, owner) FROM STDIN")
            .unwrap();
        std::io::Write::write_all(&mut rows, b"20\tann\n").unwrap();
        assert_eq!(rows.finish().unwrap(), 1);
    });
    signed_in(&shop, "ann", &["agent"], |session| {
        let refused = session.copy_in("COPY shop.prospect (id, secret) FROM STDIN");
        expect_error(
            refused.map(|_| ()),
            "42501",
            "permission denied for column secret of table prospect",
        );
    });
}

#[test]
fn a_view_does_not_widen_the_list() {
    let shop = listed();
    shop.run(
        "CREATE VIEW shop.all_columns AS TABLE shop.prospect;
         CREATE VIEW shop.some_columns AS SELECT id, owner FROM shop.prospect",
    );
    signed_in(&shop, "ann", &["agent"], |session| {
        denied(session, "SELECT secret FROM shop.all_columns", "account_id");
        assert_eq!(
            lines(session, "SELECT count(id) FROM shop.some_columns"),
            ["4"]
        );
    });
}

#[test]
fn partitions_are_held_to_the_list_by_name() {
    let shop = Shop::with(
        "CREATE TABLE shop.visit (id int, account_id uuid, secret text) PARTITION BY RANGE (id);
         CREATE TABLE shop.visit_1 (secret text, gone int, account_id uuid, id int);
         ALTER TABLE shop.visit_1 DROP gone;
         ALTER TABLE shop.visit ATTACH PARTITION shop.visit_1 FOR VALUES FROM (0) TO (10);
         INSERT INTO shop.visit VALUES (1, 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 's');
         SELECT tenant_guard.protect('shop.visit');
         SELECT tenant_guard.define_role('agent');
         SELECT tenant_guard.allow('agent', 'shop.visit', '{select}', columns => '{id}')",
    );
    for table in ["visit", "visit_1"] {
        signed_in(&shop, "ann", &["agent"], |session| {
            let ids = lines(session, &format!("SELECT id FROM shop.{table}"));
            assert_eq!(ids, ["1"]);
            expect_error(
                session.execute(&format!("SELECT secret FROM shop.{table}"), &[]),
                "42501",
                &format!("permission denied for column secret of table {table}"),
            );
        });
    }
}

#[test]
fn foreign_keys_and_the_log_are_not_held_to_lists() {
    let shop = listed();
    shop.run(
        "SELECT tenant_guard.define_role('remover');
         SELECT tenant_guard.allow('remover', 'shop.prospect', '{select,delete}');
         SELECT tenant_guard.allow('agent', 'shop.call_log', '{select,insert}',
             columns => '{id,prospect_id}');
         SELECT tenant_guard.allow('remover', 'shop.call_log', '{select}', columns => '{id}')",
    );
    signed_in(&shop, "ann", &["remover"], |session| {
        let delete = "DELETE FROM shop.prospect WHERE id = 4";
        assert_eq!(session.execute(delete, &[]).unwrap(), 1);
        assert_eq!(lines(session, "SELECT count(*) FROM shop.call_log"), ["2"]);
    });
    signed_in(&shop, "ann", &["agent"], |session| {
        let insert = "INSERT INTO shop.call_log (id, prospect_id) VALUES (10, 1)";
        assert_eq!(session.execute(insert, &[]).unwrap(), 1);
    });
}

/// Lists reach sessions that are open, and prepared statements.
#[test]
fn lists_that_change_reach_open_sessions() {
    let shop = listed();
    let mut session = shop.app();
    let mut claims = shop.issuer.claims(ACCOUNT_A);
    claims["roles"] = serde_json::json!(["agent"]);
    let token = shop.issuer.sign(&claims);
    let statement = session
        .prepare("SELECT id, secret FROM shop.prospect")
        .unwrap();
    let mut rows = || {
        let mut transaction = session.transaction().unwrap();
        let authenticate = "SELECT tenant_guard.authenticate($1)";
        transaction.execute(authenticate, &[&token]).unwrap();
        transaction.query(&statement, &[]).map(|rows| rows.len())
    };
    for _ in 0..6 {
        expect_error(rows(), "42501", "permission denied for column secret");
    }
    shop.run(
        "SELECT tenant_guard.allow('agent', 'shop.prospect', '{select}', columns => '{id,secret}')",
    );
    assert_eq!(rows().unwrap(), 4);
    shop.run("SELECT tenant_guard.disallow('clerk', 'shop.prospect')");
    shop.run("SELECT tenant_guard.allow('agent', 'shop.prospect', '{select}', columns => '{id}')");
    expect_error(rows(), "42501", "permission denied for column secret");
    shop.run("SELECT tenant_guard.allow('agent', 'shop.prospect', '{select}')");
    assert_eq!(rows().unwrap(), 4);
}

#[test]
fn who_is_not_held_by_row_security_is_not_held_to_lists() {
    let shop = listed();
    let secrets = "SELECT count(secret) FROM shop.prospect";
    assert_eq!(lines(&mut shop.db.superuser(), secrets), ["5"]);
}
