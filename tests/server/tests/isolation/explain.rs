//! Why a row is shown or hidden: what is told, to whom, and that nobody learns of rows by asking.

use postgres::GenericClient;
use serde_json::json;
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, expect_error, lines};

use super::Shop;
use super::archetypes::every_archetype;

/// These columns of the whole answer, or of what the condition selects.
fn explained(
    client: &mut impl GenericClient,
    arguments: &str,
    columns: &str,
    condition: &str,
) -> Vec<String> {
    let query = format!(
        "SELECT {columns} FROM tenant_guard.explain_access({arguments}) WITH ORDINALITY
         WHERE {condition} ORDER BY ordinality"
    );
    lines(client, &query)
}

fn summary(client: &mut impl GenericClient, arguments: &str) -> String {
    explained(client, arguments, "verdict, detail", "kind = 'summary'").join("\n")
}

/// Arguments for a session of a superuser: a row of a table, claims of account A, the application.
fn imagined(shop: &Shop, table: &str, key: &str, more: serde_json::Value) -> String {
    let mut claims = json!({ "account_id": ACCOUNT_A });
    claims
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    format!("'shop.{table}', '{key}', '{claims}', '{}'", shop.app)
}

#[test]
fn a_row_is_shown_by_the_operands_of_its_policies() {
    let shop = Shop::contacts();
    let app = shop.app.clone();
    shop.within(ACCOUNT_A, |t| {
        let whole = "concat_ws('/', command, policy, kind, clause, operand, verdict, detail)";
        let select = "command IS NULL OR command = 'select'";
        assert_eq!(
            explained(t, "'shop.contact', '{\"id\": 1}'", whole, select),
            [
                "summary/shown/policy tenant_guard_access admits it".into(),
                format!("identity/bound/account {ACCOUNT_A}"),
                format!("role/{app}/row security applies"),
                "select/command/shown/policy tenant_guard_access admits it".into(),
                "select/tenant_guard_floor/restrictive/using/admits".into(),
                "select/tenant_guard_floor/restrictive/using/\
                 account_id = tenant_guard.account_id()/true"
                    .into(),
                "select/tenant_guard_access/permissive/using/admits".into(),
                "select/tenant_guard_access/permissive/using/\
                 account_id = tenant_guard.account_id()/true"
                    .into(),
            ]
        );
        assert_eq!(
            explained(
                t,
                "'shop.contact', '{\"id\": 1}'",
                "command, verdict",
                "kind = 'command'"
            ),
            [
                "select|shown",
                "insert|allowed",
                "update|allowed",
                "delete|allowed"
            ]
        );
    });
}

#[test]
fn a_row_of_another_account_answers_as_no_row_byte_for_byte() {
    let shop = Shop::contacts();
    shop.run(
        "CREATE POLICY own ON shop.contact AS RESTRICTIVE FOR UPDATE TO PUBLIC
             USING (name <> 'bob' AND length(name) / (length(name) - 3) >= 0)",
    );
    let answer = |client: &mut postgres::Transaction<'_>, id: u8| {
        lines(
            client,
            &format!(
                "SELECT * FROM tenant_guard.explain_access('shop.contact', '{{\"id\": {id}}}')"
            ),
        )
    };
    shop.within(ACCOUNT_A, |t| {
        let (hidden, missing) = (answer(t, 3), answer(t, 99));
        assert_eq!(hidden, missing);
        assert_eq!(
            hidden[0],
            format!(
                "<null>|<null>|summary|<null>|<null>|no such row or hidden|\
                 {} sees none: policy tenant_guard_floor depends on the row",
                shop.app
            )
        );
        assert!(
            hidden.iter().all(|line| !line.contains("name")),
            "{hidden:?}"
        );
    });
    // Nor without an identity, where policies fail on any row.
    let mut session = shop.app();
    let mut t = session.transaction().unwrap();
    assert_eq!(answer(&mut t, 3), answer(&mut t, 99));
    assert_eq!(
        summary(&mut t, "'shop.contact', '{\"id\": 3}'"),
        format!(
            "no such row or hidden|{} sees none: no identity is bound to this transaction",
            shop.app
        )
    );
}

#[test]
fn an_admin_learns_why_a_row_is_hidden_from_claims() {
    let shop = Shop::contacts();
    let mut admin = shop.db.superuser();
    let arguments = imagined(&shop, "contact", "{\"id\": 3}", json!({}));
    assert_eq!(
        summary(&mut admin, &arguments),
        "hidden|restrictive policy tenant_guard_floor refuses it: \
         account_id = tenant_guard.account_id() is false"
    );
    assert_eq!(
        explained(
            &mut admin,
            &arguments,
            "policy, operand, verdict, detail",
            "command = 'select' AND operand IS NOT NULL AND kind = 'restrictive'"
        ),
        [
            "tenant_guard_floor|account_id = tenant_guard.account_id()|false|\
             the row must be of the account of the identity"
        ]
    );
    let missing = imagined(&shop, "contact", "{\"id\": 99}", json!({}));
    assert_eq!(summary(&mut admin, &missing), "no such row|in shop.contact");
    // An event says whose identity was imagined.
    assert_eq!(
        lines(
            &mut admin,
            "SELECT kind, action, account_id, relation, data FROM tenant_guard.audit_log
             WHERE action = 'explain_access' LIMIT 1"
        ),
        [format!(
            "system|explain_access|{ACCOUNT_A}|shop.contact|{{\"account_id\": \"{ACCOUNT_A}\"}}"
        )]
    );
}

#[test]
fn claims_bind_nothing_beyond_the_call() {
    let shop = Shop::contacts();
    let app = shop.app.clone();
    shop.db
        .superuser()
        .batch_execute(&format!("GRANT tenant_guard_admin TO {app}"))
        .unwrap();
    let arguments =
        format!("'shop.contact', '{{\"id\": 3}}', '{{\"account_id\": \"{ACCOUNT_B}\"}}'");
    shop.within(ACCOUNT_A, |t| {
        assert!(summary(t, &arguments).starts_with("shown|"));
        assert_eq!(lines(t, "SELECT tenant_guard.account_id()"), [ACCOUNT_A]);
        assert_eq!(
            lines(t, "SELECT id FROM shop.contact ORDER BY 1"),
            ["1", "2"]
        );
    });
    let mut session = shop.app();
    let mut t = session.transaction().unwrap();
    assert!(summary(&mut t, &arguments).starts_with("shown|"));
    assert_eq!(
        lines(&mut t, "SELECT tenant_guard.is_authenticated()"),
        ["f"]
    );
    // What was imagined is not the transaction's account, and does not stand in the way of it.
    shop.issuer.sign_in(&mut t, ACCOUNT_A);
    assert!(summary(&mut t, &arguments).starts_with("shown|"));
    let other = shop.issuer.sign(&shop.issuer.claims(ACCOUNT_B));
    expect_error(
        t.execute("SELECT tenant_guard.authenticate($1)", &[&other]),
        "55000",
        "this transaction is bound to another account",
    );
}

#[test]
fn claims_and_roles_of_others_are_the_admins() {
    let shop = Shop::contacts();
    let ask = |session: &mut postgres::Client, arguments: &str| {
        session.batch_execute(&format!(
            "SELECT * FROM tenant_guard.explain_access('shop.contact', '{{\"id\": 1}}', {arguments})"
        ))
    };
    let mut app = shop.app();
    for arguments in ["'{}'".to_owned(), format!("NULL, '{}'", shop.owner)] {
        expect_error(
            ask(&mut app, &arguments),
            "42501",
            "must be a member of role \"tenant_guard_admin\"",
        );
    }
    // Functions that policies call run with the role's rights.
    let mut owner = shop.owner();
    expect_error(
        ask(&mut owner, &format!("NULL, '{}'", shop.app)),
        "42501",
        &format!("must be a member of role \"{}\"", shop.app),
    );
}

#[test]
fn tokens_that_would_be_refused_are_told() {
    let shop = Shop::contacts();
    shop.run(&format!(
        "CREATE TABLE shop.account (id uuid PRIMARY KEY, active boolean);
         INSERT INTO shop.account VALUES ('{ACCOUNT_A}', false), ('{ACCOUNT_B}', true)"
    ));
    let mut admin = shop.db.superuser();
    let expired = imagined(&shop, "contact", "{\"id\": 1}", json!({ "exp": 1000 }));
    assert_eq!(summary(&mut admin, &expired), "refused|token has expired");
    shop.run("SELECT tenant_guard.set_account_relation('shop.account', 'id', 'active')");
    let suspended = imagined(&shop, "contact", "{\"id\": 1}", json!({}));
    assert_eq!(
        summary(&mut admin, &suspended),
        "refused|token account is not active"
    );
    shop.run("SELECT tenant_guard.revoke_subject('eve')");
    let revoked = imagined(
        &shop,
        "contact",
        "{\"id\": 3}",
        json!({ "account_id": ACCOUNT_B, "sub": "eve" }),
    );
    assert_eq!(
        summary(&mut admin, &revoked),
        "refused|token has been revoked"
    );
}

#[test]
fn a_child_names_the_parent_that_hides_it() {
    let shop = every_archetype();
    let mut admin = shop.db.superuser();
    let child = |admin: &mut postgres::Client, id: u8| {
        explained(
            admin,
            &imagined(&shop, "message", &format!("{{\"id\": {id}}}"), json!({})),
            "verdict, detail",
            "command = 'select' AND kind = 'restrictive' AND operand IS NOT NULL",
        )
    };
    assert_eq!(
        child(&mut admin, 20),
        [
            "false|parent shop.thread: hidden, restrictive policy tenant_guard_floor refuses it: \
             account_id = tenant_guard.account_id() is false"
        ]
    );
    assert_eq!(
        child(&mut admin, 30),
        ["false|it names no row of shop.thread"]
    );
    assert_eq!(child(&mut admin, 10), ["true|<null>"]);
}

#[test]
fn roles_and_levels_that_lack_are_named() {
    let shop = Shop::contacts();
    shop.run(
        "SELECT tenant_guard.define_role('agent');
         SELECT tenant_guard.allow('agent', 'shop.contact', '{select}');
         SELECT tenant_guard.require_assurance('shop.contact', 'aal2', '{select}')",
    );
    let mut admin = shop.db.superuser();
    let mut lacking = |claims| {
        explained(
            &mut admin,
            &imagined(&shop, "contact", "{\"id\": 1}", claims),
            "operand, verdict, detail",
            "command = 'select' AND operand IS NOT NULL AND verdict <> 'true'",
        )
    };
    assert_eq!(
        lacking(json!({ "aal": "aal2" })),
        ["tenant_guard.has_any_role('{agent}'::text[])|false|\
             the token must have one of the roles agent"]
    );
    assert_eq!(
        lacking(json!({ "roles": ["agent"] })),
        ["tenant_guard.assured('aal2'::text)|fails|\
             SQLSTATE 42501: the token must state assurance level \"aal2\""]
    );
    assert!(lacking(json!({ "roles": ["agent"], "aal": "aal2" })).is_empty());
}

#[test]
fn privileges_and_lists_of_columns_are_named() {
    let shop = Shop::contacts();
    let mut admin = shop.db.superuser();
    shop.run(&format!(
        "REVOKE ALL ON shop.contact FROM {app};
         GRANT SELECT (id, account_id) ON shop.contact TO {app};
         SELECT tenant_guard.define_role('agent');
         SELECT tenant_guard.allow('agent', 'shop.contact', '{{select}}', columns => '{{id}}')",
        app = shop.app
    ));
    let arguments = imagined(
        &shop,
        "contact",
        "{\"id\": 1}",
        json!({ "roles": ["agent"] }),
    );
    assert_eq!(
        explained(
            &mut admin,
            &arguments,
            "command, kind, verdict, detail",
            "kind IN ('privilege', 'column list')"
        ),
        [
            "select|privilege|some columns|id, account_id".into(),
            "select|column list|some columns|id".into(),
            format!(
                "insert|privilege|missing|INSERT on shop.contact is not granted to {}",
                shop.app
            ),
            format!(
                "update|privilege|missing|UPDATE on shop.contact is not granted to {}",
                shop.app
            ),
            format!(
                "delete|privilege|missing|DELETE on shop.contact is not granted to {}",
                shop.app
            ),
        ]
    );
    shop.run(&format!("REVOKE ALL ON shop.contact FROM {}", shop.app));
    assert_eq!(
        summary(&mut admin, &arguments),
        format!(
            "denied|SELECT on shop.contact is not granted to {}",
            shop.app
        )
    );
    // The same words for the role itself, which sees no row.
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(
            summary(t, "'shop.contact', '{\"id\": 1}'"),
            format!(
                "denied|SELECT on shop.contact is not granted to {}",
                shop.app
            )
        );
    });
}

#[test]
fn roles_past_row_security_see_every_row() {
    let shop = Shop::contacts();
    let mut admin = shop.db.superuser();
    assert_eq!(
        summary(&mut admin, "'shop.contact', '{\"id\": 3}'"),
        "shown|row security does not apply: the role bypasses it, or it is not enabled or not forced"
    );
}

#[test]
fn code_of_other_peoples_policies_runs_with_the_roles_rights() {
    let shop = Shop::contacts();
    let mut admin = shop.db.superuser();
    shop.run(
        "CREATE TABLE shop.spoils (who text);
         CREATE FUNCTION shop.steal(name text) RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM set_config('spy.who', current_user || ' ' || name, false);
             RETURN current_user = 'postgres';
         END $$;
         CREATE POLICY steal ON shop.contact FOR SELECT TO PUBLIC USING (shop.steal(name))",
    );
    let arguments = imagined(&shop, "contact", "{\"id\": 1}", json!({}));
    assert_eq!(
        explained(
            &mut admin,
            &arguments,
            "operand, verdict",
            "policy = 'steal' AND operand IS NOT NULL"
        ),
        ["shop.steal(name)|false"]
    );
    // And nothing that it did outlives the call.
    assert_eq!(
        lines(
            &mut admin,
            "SELECT coalesce(current_setting('spy.who', true), '')"
        ),
        [""]
    );
}

/// A policy of the owner's that counts how often it is asked, and writes down by whom.
const SPY: &str = "CREATE TABLE shop.spoils (who text);
    CREATE SEQUENCE shop.asked;
    GRANT INSERT ON shop.spoils TO PUBLIC; GRANT USAGE ON SEQUENCE shop.asked TO PUBLIC;
    CREATE FUNCTION shop.spy() RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM nextval('shop.asked');
        INSERT INTO shop.spoils VALUES (current_user);
        RETURN true;
    END $$;
    CREATE POLICY spy ON shop.contact AS RESTRICTIVE FOR SELECT TO PUBLIC USING (shop.spy())";

fn times_asked(client: &mut impl GenericClient) -> Vec<String> {
    let query = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END > 0 FROM shop.asked";
    lines(client, query)
}

#[test]
fn policy_of_an_owner_does_not_run_as_an_admin_who_may_not_read_the_table() {
    let shop = Shop::contacts();
    shop.run(SPY);
    let admin = shop.db.role("admin");
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!("GRANT tenant_guard_admin TO {admin}"))
        .unwrap();
    let mut session = shop.db.connect_as(&admin);
    let arguments = "'shop.contact', '{\"id\": 1}'";
    assert_eq!(
        summary(&mut session, arguments),
        format!("denied|SELECT on shop.contact is not granted to {admin}")
    );
    assert_eq!(
        explained(
            &mut session,
            arguments,
            "command, verdict, detail",
            "policy = 'spy'"
        ),
        ["select|not asked|the command is not granted"]
    );
    assert_eq!(times_asked(&mut superuser), ["f"]);
}

#[test]
fn nothing_that_an_explained_policy_wrote_is_kept() {
    let shop = Shop::contacts();
    shop.run(SPY);
    let mut superuser = shop.db.superuser();
    for arguments in [
        format!("'shop.contact', '{{\"id\": 1}}', NULL, '{}'", shop.app),
        imagined(&shop, "contact", "{\"id\": 1}", json!({})),
    ] {
        superuser
            .batch_execute("ALTER SEQUENCE shop.asked RESTART")
            .unwrap();
        explained(&mut superuser, &arguments, "verdict", "true");
        assert_eq!(times_asked(&mut superuser), ["t"]);
        assert_eq!(
            lines(&mut superuser, "SELECT who FROM shop.spoils"),
            [""; 0]
        );
    }
}

#[test]
fn settings_of_an_index_expression_do_not_stay_with_the_superuser_who_explains() {
    let shop = Shop::contacts();
    shop.run(
        "CREATE SEQUENCE shop.asked;
         CREATE FUNCTION shop.lead_astray() RETURNS int LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM nextval('shop.asked');
             PERFORM set_config('search_path', 'shop, pg_catalog', false);
             RETURN 1;
         END $$;
         CREATE FUNCTION shop.one(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN RETURN (SELECT shop.lead_astray()); END $$;
         CREATE INDEX ON shop.contact (id) WHERE shop.one(1) = 1;
         SELECT setval('shop.asked', 1, false)",
    );
    let mut superuser = shop.db.superuser();
    let before = lines(&mut superuser, "SHOW search_path");
    summary(&mut superuser, "'shop.contact', '{\"id\": 1}'");
    assert_eq!(times_asked(&mut superuser), ["t"]);
    assert_eq!(lines(&mut superuser, "SHOW search_path"), before);
}

#[test]
fn a_policy_that_reads_a_system_column_is_left_open() {
    let shop = Shop::contacts();
    shop.run(
        "CREATE POLICY here ON shop.contact AS RESTRICTIVE FOR SELECT TO PUBLIC
             USING (tableoid = 'shop.contact'::regclass)",
    );
    let arguments = imagined(&shop, "contact", "{\"id\": 1}", json!({}));
    let mut superuser = shop.db.superuser();
    assert!(summary(&mut superuser, &arguments).starts_with("depends on the row|"));
    assert_eq!(
        explained(
            &mut superuser,
            &arguments,
            "verdict, detail",
            "policy = 'here' AND operand IS NOT NULL"
        ),
        ["depends on the row|it reads a system column, which a row read by itself has not"]
    );
}

#[test]
fn a_key_that_two_rows_have_is_refused() {
    let shop = Shop::contacts();
    shop.run(
        "CREATE TABLE shop.friend () INHERITS (shop.contact);
         SELECT tenant_guard.protect('shop.contact')",
    );
    shop.within(ACCOUNT_A, |t| {
        t.batch_execute(&format!(
            "INSERT INTO shop.friend VALUES (1, '{ACCOUNT_A}', 'twin')"
        ))
        .unwrap();
    });
    let ask = "SELECT * FROM tenant_guard.explain_access('shop.contact', '{\"id\": 1}')";
    let refused = "key does not fit: more than one row has it";
    expect_error(shop.db.superuser().batch_execute(ask), "22023", refused);
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    expect_error(transaction.batch_execute(ask), "22023", refused);
}

#[test]
fn the_floor_that_the_library_holds_is_shown() {
    let shop = Shop::contacts();
    shop.unguarded_owner()
        .batch_execute(
            "ALTER POLICY tenant_guard_floor ON shop.contact USING (true);
             ALTER POLICY tenant_guard_access ON shop.contact USING (true)",
        )
        .unwrap();
    let mut admin = shop.db.superuser();
    assert_eq!(
        summary(
            &mut admin,
            &imagined(&shop, "contact", "{\"id\": 3}", json!({}))
        ),
        "hidden|restrictive policy tenant_guard_floor (held by the library) refuses it: \
         account_id = tenant_guard.account_id() is false"
    );
}

#[test]
fn what_names_no_row_is_refused() {
    let shop = Shop::contacts();
    shop.run(&format!(
        "CREATE VIEW shop.names {} AS SELECT name FROM shop.contact;
         CREATE TABLE shop.open (id int PRIMARY KEY)",
        shop.db.invoker()
    ));
    let mut app = shop.app();
    for (arguments, code, message) in [
        (
            "'shop.contact', '{\"idd\": 1}'",
            "42703",
            "column \"idd\" of relation shop.contact",
        ),
        (
            "'shop.contact', '{\"name\": \"ann\"}'",
            "22023",
            "primary key or unique index",
        ),
        // With the key it would tell whether the name is right.
        (
            "'shop.contact', '{\"id\": 1, \"name\": \"ann\"}'",
            "22023",
            "exactly the columns",
        ),
        ("'shop.contact', '{\"id\": null}'", "22023", "null value"),
        (
            "'shop.contact', '{}'",
            "22023",
            "primary key or unique index",
        ),
        ("'shop.contact', '[]'", "22023", "non-object"),
        ("'shop.contact', NULL", "22004", "key must not be null"),
        ("NULL, '{}'", "22004", "relation must not be null"),
        ("'shop.names', '{}'", "42809", "shop.names is a view"),
        (
            "'shop.open', '{\"id\": 1}'",
            "55000",
            "relation shop.open is not protected",
        ),
    ] {
        expect_error(
            app.batch_execute(&format!(
                "SELECT * FROM tenant_guard.explain_access({arguments})"
            )),
            code,
            message,
        );
    }
}
