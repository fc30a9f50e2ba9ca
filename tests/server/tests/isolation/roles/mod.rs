//! Roles of the product: what each sees and does, through sessions of one database role.

mod columns;
mod matrix;
mod recipes;
mod refusals;

use postgres::Transaction;
use serde_json::json;
use tenant_guard_tests::{ACCOUNT_A, Database, expect_error, lines};

use super::Shop;

/// Runs `work` in a transaction of the application for account A, as `subject` with `roles`, at
/// assurance level aal1, and rolls back.
fn signed_in<T>(
    shop: &Shop,
    subject: &str,
    roles: &[&str],
    work: impl FnOnce(&mut Transaction<'_>) -> T,
) -> T {
    at_level(shop, subject, roles, "aal1", work)
}

fn at_level<T>(
    shop: &Shop,
    subject: &str,
    roles: &[&str],
    level: &str,
    work: impl FnOnce(&mut Transaction<'_>) -> T,
) -> T {
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    let mut claims = shop.issuer.claims(ACCOUNT_A);
    claims["sub"] = json!(subject);
    claims["roles"] = json!(roles);
    claims["aal"] = json!(level);
    let token = shop.issuer.sign(&claims);
    let authenticate = "SELECT tenant_guard.authenticate($1)";
    transaction.execute(authenticate, &[&token]).unwrap();
    work(&mut transaction)
}

/// Findings of check() but for foreign keys without the account, which these schemas have.
fn findings(shop: &Shop, columns: &str) -> Vec<String> {
    shop.check_where(columns, "code <> '26-foreign-key-without-account'")
}

/// Ids of the rows of a relation that the session sees.
fn ids(session: &mut Transaction<'_>, relation: &str) -> Vec<String> {
    lines(session, &format!("SELECT id FROM {relation} ORDER BY id"))
}

/// Prospects of account A (1 to 4) and B (9), by owner and agents; who is assigned 2 and 3.
fn prospects() -> Shop {
    Shop::with(
        "CREATE TABLE shop.prospect (id int PRIMARY KEY, account_id uuid, owner text,
             owner_id bigint, agents text[], secret text);
         INSERT INTO shop.prospect VALUES
             (1, 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 'ann', 1, '{ann,abe}', 's1'),
             (2, 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 'abe', 2, '{}', 's2'),
             (3, 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 'ann', 1, NULL, 's3'),
             (4, 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', NULL, NULL, '{NULL}', 's4'),
             (9, 'bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb', 'ann', 1, '{ann}', 's9');
         CREATE TABLE shop.assigned (id int PRIMARY KEY, account_id uuid,
             prospect_id int REFERENCES shop.prospect, agent text);
         INSERT INTO shop.assigned VALUES
             (1, 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 2, 'ann'),
             (2, 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 3, 'abe'),
             (3, 'bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb', 1, 'eve');
         CREATE TABLE shop.call_log (id int PRIMARY KEY, account_id uuid,
             prospect_id int REFERENCES shop.prospect ON DELETE CASCADE, note text);
         INSERT INTO shop.call_log VALUES
             (1, 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 1, 'n1'),
             (2, 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 2, 'n2'),
             (3, 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 4, 'n3');
         SELECT tenant_guard.protect('shop.prospect');
         SELECT tenant_guard.protect('shop.assigned');
         SELECT tenant_guard.protect('shop.call_log');
         SELECT tenant_guard.define_role('agent');
         SELECT tenant_guard.define_role('admin', '{agent}')",
    )
}

#[test]
fn undeclared_relations_are_open_to_every_role_and_declared_ones_to_theirs() {
    let shop = prospects();
    let all = ["1", "2", "3", "4"];
    signed_in(&shop, "ann", &[], |session| {
        assert_eq!(ids(session, "shop.prospect"), all);
    });
    shop.run("SELECT tenant_guard.allow('admin', 'shop.prospect', '{select}')");
    for (roles, seen) in [
        (&["admin"][..], &all[..]),
        (&["agent"], &[]),
        (&["agent", "admin"], &all),
        (&["Admin"], &[]),
        (&[], &[]),
    ] {
        signed_in(&shop, "ann", roles, |session| {
            assert_eq!(ids(session, "shop.prospect"), seen, "{roles:?}");
            let deleted = session.execute("DELETE FROM shop.prospect", &[]);
            assert_eq!(deleted.unwrap(), 0, "{roles:?}");
        });
        signed_in(&shop, "ann", roles, |session| {
            expect_error(
                session.execute("INSERT INTO shop.prospect (id) VALUES (10)", &[]),
                "42501",
                "new row violates row-level security policy",
            );
        });
    }
}

#[test]
fn scopes_reach_the_subjects_rows_only() {
    let shop = prospects();
    for (scope, seen) in [
        ("'own', owner_column => 'owner'", &["1", "3"][..]),
        ("'assigned', assigned_column => 'agents'", &["1"]),
        ("'assigned', assigned_column => 'owner'", &["1", "3"]),
        (
            "'assigned', assignment => 'shop.assigned', assignment_key => 'prospect_id',
             assignment_subject => 'agent'",
            &["2"],
        ),
        ("'account'", &["1", "2", "3", "4"]),
    ] {
        shop.run(&format!(
            "SELECT tenant_guard.allow('agent', 'shop.prospect', '{{select,delete}}', {scope})"
        ));
        // Inherited: admin reaches the same.
        for roles in [["agent"], ["admin"]] {
            signed_in(&shop, "ann", &roles, |session| {
                assert_eq!(ids(session, "shop.prospect"), seen, "{scope}");
            });
        }
        signed_in(&shop, "eve", &["agent"], |session| {
            let seen = if scope == "'account'" { seen } else { &[] };
            assert_eq!(ids(session, "shop.prospect"), seen, "{scope}");
        });
    }
    shop.run(
        "SELECT tenant_guard.allow('agent', 'shop.prospect', '{select}', 'own',
             owner_column => 'owner_id')",
    );
    signed_in(&shop, "2", &["agent"], |session| {
        assert_eq!(ids(session, "shop.prospect"), ["2"]);
    });
    signed_in(&shop, "ann", &["agent"], |session| {
        expect_error(
            session.execute("SELECT FROM shop.prospect", &[]),
            "22P02",
            "subject of the current identity is not of type bigint",
        );
    });
}

#[test]
fn a_row_cannot_be_written_out_of_the_scope() {
    let shop = prospects();
    shop.run(
        "SELECT tenant_guard.allow('agent', 'shop.prospect', '{select,insert,update}', 'own',
             owner_column => 'owner')",
    );
    let refused = "new row violates row-level security policy for table \"prospect\"";
    for statement in [
        "UPDATE shop.prospect SET owner = 'abe' WHERE id = 1",
        "INSERT INTO shop.prospect (id, owner) VALUES (10, 'abe')",
        "INSERT INTO shop.prospect (id) VALUES (10)",
    ] {
        signed_in(&shop, "ann", &["agent"], |session| {
            expect_error(session.execute(statement, &[]), "42501", refused);
        });
    }
    for (statement, rows) in [
        ("UPDATE shop.prospect SET secret = 'x'", 2),
        ("UPDATE shop.prospect SET secret = 'x' WHERE id = 2", 0),
        (
            "INSERT INTO shop.prospect (id, owner) VALUES (10, 'ann')",
            1,
        ),
    ] {
        signed_in(&shop, "ann", &["agent"], |session| {
            assert_eq!(
                session.execute(statement, &[]).unwrap(),
                rows,
                "{statement}"
            );
        });
    }
}

#[test]
fn rows_through_a_parent_follow_what_of_the_parent_is_seen() {
    let shop = prospects();
    shop.run(
        "SELECT tenant_guard.allow('agent', 'shop.prospect', '{select}', 'own',
             owner_column => 'owner');
         SELECT tenant_guard.allow('agent', 'shop.call_log', '{all}', 'via', via => 'prospect_id');
         SELECT tenant_guard.allow('admin', 'shop.call_log', '{select}')",
    );
    signed_in(&shop, "ann", &["agent"], |session| {
        assert_eq!(ids(session, "shop.call_log"), ["1"]);
        let insert = "INSERT INTO shop.call_log (id, prospect_id) VALUES (10, 3)";
        assert_eq!(session.execute(insert, &[]).unwrap(), 1);
        let insert = "INSERT INTO shop.call_log (id, prospect_id) VALUES (11, 2)";
        expect_error(session.execute(insert, &[]), "42501", "row-level security");
    });
    signed_in(&shop, "ann", &["admin"], |session| {
        assert_eq!(ids(session, "shop.call_log"), ["1", "2", "3"]);
    });
}

#[test]
fn keys_that_include_the_account_lead_to_parents_and_assignments_too() {
    let shop = Shop::with(
        "CREATE TABLE shop.prospect (account_id uuid, id int, PRIMARY KEY (account_id, id));
         INSERT INTO shop.prospect VALUES ('aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 1),
             ('aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 2), ('bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb', 1);
         CREATE TABLE shop.assigned (account_id uuid, prospect_id int, agent text,
             FOREIGN KEY (account_id, prospect_id) REFERENCES shop.prospect);
         INSERT INTO shop.assigned VALUES ('aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 2, 'ann'),
             ('bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb', 1, 'ann');
         CREATE TABLE shop.call_log (id int PRIMARY KEY, account_id uuid, prospect_id int,
             FOREIGN KEY (account_id, prospect_id) REFERENCES shop.prospect);
         INSERT INTO shop.call_log VALUES (1, 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 1),
             (2, 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 2);
         SELECT tenant_guard.protect('shop.prospect');
         SELECT tenant_guard.protect('shop.assigned');
         SELECT tenant_guard.protect('shop.call_log');
         SELECT tenant_guard.define_role('agent');
         SELECT tenant_guard.define_role('manager', '{agent}');
         SELECT tenant_guard.allow('manager', 'shop.assigned', '{all}');
         SELECT tenant_guard.allow('agent', 'shop.prospect', '{select}', 'assigned',
             assignment => 'shop.assigned', assignment_key => 'prospect_id',
             assignment_subject => 'agent');
         SELECT tenant_guard.allow('agent', 'shop.call_log', '{select}', 'via', via => 'prospect_id')",
    );
    signed_in(&shop, "ann", &["agent"], |session| {
        // Who may not read the assignments is assigned nothing.
        assert_eq!(ids(session, "shop.prospect"), [""; 0]);
    });
    shop.run(
        "SELECT tenant_guard.allow('agent', 'shop.assigned', '{select}', 'own',
             owner_column => 'agent')",
    );
    signed_in(&shop, "ann", &["agent"], |session| {
        assert_eq!(ids(session, "shop.prospect"), ["2"]);
        assert_eq!(ids(session, "shop.call_log"), ["2"]);
    });
    assert_eq!(shop.check("code, object"), [""; 0]);
}

#[test]
fn a_role_without_its_level_does_not_count() {
    let shop = prospects();
    shop.run(
        "SELECT tenant_guard.allow('agent', 'shop.prospect', '{select}', 'own',
             owner_column => 'owner');
         SELECT tenant_guard.allow('admin', 'shop.prospect', '{select}');
         SELECT tenant_guard.require_role_assurance('admin', 'aal2')",
    );
    let seen = |roles: &[&str], level: &str| {
        at_level(&shop, "ann", roles, level, |session| {
            ids(session, "shop.prospect")
        })
    };
    assert_eq!(seen(&["admin"], "aal1"), [""; 0]);
    assert_eq!(seen(&["admin"], "aal3"), ["1", "2", "3", "4"]);
    assert_eq!(seen(&["admin", "agent"], "aal1"), ["1", "3"]);
    shop.run("SELECT tenant_guard.require_role_assurance('admin', NULL)");
    assert_eq!(seen(&["admin"], "aal1"), ["1", "2", "3", "4"]);
}

#[test]
fn partitions_and_late_ones_get_the_policies() {
    let shop = Shop::with(
        "CREATE TABLE shop.visit (id int, account_id uuid, owner text) PARTITION BY RANGE (id);
         CREATE TABLE shop.visit_1 PARTITION OF shop.visit FOR VALUES FROM (0) TO (10);
         INSERT INTO shop.visit VALUES (1, 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 'ann'),
             (2, 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 'abe');
         SELECT tenant_guard.protect('shop.visit');
         SELECT tenant_guard.define_role('agent');
         SELECT tenant_guard.allow('agent', 'shop.visit', '{all}', 'own', owner_column => 'owner')",
    );
    for relation in ["shop.visit", "shop.visit_1"] {
        signed_in(&shop, "ann", &["agent"], |session| {
            assert_eq!(ids(session, relation), ["1"]);
        });
    }
    assert_eq!(findings(&shop, "code, object"), [""; 0]);
    shop.run(
        "CREATE TABLE shop.visit_2 PARTITION OF shop.visit FOR VALUES FROM (10) TO (20);
         SELECT tenant_guard.protect('shop.visit')",
    );
    assert_eq!(findings(&shop, "code, object"), [""; 0]);
}

#[test]
fn inheritance_that_changes_reaches_the_policies() {
    let shop = prospects();
    shop.run(
        "SELECT tenant_guard.define_role('manager');
         SELECT tenant_guard.allow('admin', 'shop.prospect', '{select}')",
    );
    let seen = || {
        signed_in(&shop, "ann", &["manager"], |session| {
            ids(session, "shop.prospect").len()
        })
    };
    assert_eq!(seen(), 0);
    shop.run("SELECT tenant_guard.define_role('manager', '{admin}')");
    assert_eq!(seen(), 4);
    shop.run("SELECT tenant_guard.define_role('manager', '{agent}')");
    assert_eq!(seen(), 0);
    assert_eq!(findings(&shop, "code, object"), [""; 0]);
}

#[test]
fn permissions_that_go_open_the_relation_again_and_say_so() {
    let shop = prospects();
    let before = shop.dump();
    shop.run(
        "SELECT tenant_guard.allow('agent', 'shop.prospect', '{all}', 'own',
             owner_column => 'owner')",
    );
    assert_ne!(shop.dump(), before);
    shop.run("SELECT tenant_guard.disallow('agent', 'shop.prospect', '{update,delete}')");
    signed_in(&shop, "ann", &["agent"], |session| {
        assert_eq!(ids(session, "shop.prospect"), ["1", "3"]);
        let deleted = session.execute("DELETE FROM shop.prospect", &[]);
        assert_eq!(deleted.unwrap(), 0);
    });
    shop.run("SELECT tenant_guard.disallow('agent', 'shop.prospect')");
    assert_eq!(shop.dump(), before);
    assert_eq!(findings(&shop, "code, object"), [""; 0]);
}

#[test]
fn altered_policies_are_found_and_mended() {
    let shop = prospects();
    shop.run("SELECT tenant_guard.allow('agent', 'shop.prospect', '{select,delete}')");
    let before = shop.dump();
    shop.unguarded()
        .batch_execute(
            "DROP POLICY tenant_guard_select ON shop.prospect;
             ALTER POLICY tenant_guard_delete ON shop.prospect
                 USING (account_id = tenant_guard.account_id());
             CREATE POLICY tenant_guard_insert ON shop.prospect FOR INSERT
                 WITH CHECK (account_id = tenant_guard.account_id())",
        )
        .unwrap();
    assert_eq!(
        findings(&shop, "severity, code, detail"),
        [
            "warning|37-floor-altered|policy tenant_guard_delete is altered",
            "warning|37-floor-altered|policy tenant_guard_insert is not asked for",
            "warning|37-floor-altered|policy tenant_guard_select is missing",
        ]
    );
    let plan = lines(
        &mut shop.owner(),
        "SELECT statement FROM tenant_guard.protection_plan('shop.prospect')",
    );
    assert_eq!(
        plan,
        [
            "CREATE POLICY tenant_guard_select ON shop.prospect AS PERMISSIVE FOR SELECT TO PUBLIC \
             USING (account_id OPERATOR(pg_catalog.=) tenant_guard.account_id() \
             AND tenant_guard.has_any_role('{admin,agent}'))",
            "ALTER POLICY tenant_guard_delete ON shop.prospect \
             USING (account_id OPERATOR(pg_catalog.=) tenant_guard.account_id() \
             AND tenant_guard.has_any_role('{admin,agent}'))",
            "DROP POLICY tenant_guard_insert ON shop.prospect",
        ]
    );
    shop.run("SELECT tenant_guard.protect('shop.prospect')");
    assert_eq!(shop.dump(), before);
}

#[test]
fn unprotect_takes_permissions_along_and_gives_back_what_stood_before() {
    let shop = Shop::with("CREATE TABLE shop.t (id int PRIMARY KEY, account_id uuid)");
    let before = shop.dump();
    shop.run(
        "SELECT tenant_guard.protect('shop.t');
         SELECT tenant_guard.define_role('agent');
         SELECT tenant_guard.allow('agent', 'shop.t', '{all}')",
    );
    shop.run("SELECT tenant_guard.unprotect('shop.t')");
    assert_eq!(shop.dump(), before);
    let left = "SELECT count(*) FROM tenant_guard.permission";
    assert_eq!(lines(&mut shop.db.superuser(), left), ["0"]);
}

#[test]
fn roles_and_permissions_survive_dump_and_restore() {
    let shop = prospects();
    shop.run(
        "SELECT tenant_guard.allow('agent', 'shop.prospect', '{select}', 'assigned',
             assignment => 'shop.assigned', assignment_key => 'prospect_id',
             assignment_subject => 'agent', columns => '{id,owner}');
         SELECT tenant_guard.require_role_assurance('admin', 'aal2')",
    );
    let declared = "SELECT p.*, r.* FROM tenant_guard.permission AS p
        FULL JOIN tenant_guard.product_role AS r ON r.name = p.role ORDER BY r.name";
    let restored = Database::empty();
    restored.restore(&shop.db.pg_dump(&[]));
    assert_eq!(
        lines(&mut restored.superuser(), declared),
        lines(&mut shop.db.superuser(), declared)
    );
}

#[test]
fn changes_are_system_events() {
    let shop = prospects();
    shop.run(
        "SELECT tenant_guard.allow('agent', 'shop.prospect', '{select}', columns => '{id}');
         SELECT tenant_guard.disallow('agent', 'shop.prospect');
         SELECT tenant_guard.require_role_assurance('agent', 'aal2');
         SELECT tenant_guard.drop_role('admin')",
    );
    let events = "SELECT action, relation FROM tenant_guard.audit_log
        WHERE kind = 'system' AND action <> 'protect' ORDER BY xid, ordinal";
    assert_eq!(
        lines(&mut shop.db.superuser(), events),
        [
            "define_role|<null>",
            "define_role|<null>",
            "allow|shop.prospect",
            "disallow|shop.prospect",
            "require_role_assurance|<null>",
            "drop_role|<null>",
        ]
    );
}
