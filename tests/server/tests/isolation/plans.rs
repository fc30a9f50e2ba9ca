//! What a plan prints, protect does; what is asked for again, costs nothing.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, await_lines, expect_error, lines};

use super::Shop;

const TABLES: &str =
    "CREATE TABLE shop.note (id int PRIMARY KEY, account_id uuid, body text, secret text);
     CREATE TABLE shop.message (account_id uuid NOT NULL, at date) PARTITION BY RANGE (at);
     CREATE TABLE shop.message_1 PARTITION OF shop.message
         FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
     CREATE TABLE shop.party (account_id uuid);
     CREATE TABLE shop.person (name text) INHERITS (shop.party)";

fn plan(shop: &Shop, arguments: &str) -> Vec<String> {
    lines(
        &mut shop.owner(),
        &format!("SELECT statement FROM tenant_guard.protection_plan({arguments}) ORDER BY step"),
    )
}

#[test]
fn plan_run_statement_by_statement_gives_what_protect_gives() {
    let (planned, protected) = (Shop::with(TABLES), Shop::with(TABLES));
    for table in ["note", "message", "party"] {
        let arguments = format!("'shop.{table}', roles => '{{ROLE}}'");
        let statements = plan(&planned, &arguments.replace("ROLE", &planned.app));
        assert!(statements[0].starts_with("SELECT tenant_guard.register_protection("));
        let mut owner = planned.owner();
        for statement in statements {
            owner.batch_execute(&statement).unwrap();
        }
        let call = format!("SELECT tenant_guard.protect({arguments})");
        protected
            .owner()
            .batch_execute(&call.replace("ROLE", &protected.app))
            .unwrap();
    }
    let catalog = |shop: &Shop| {
        let mut superuser = shop.db.superuser();
        let mut text = shop.dump();
        for table in ["protection", "protection_member"] {
            let rows = format!("SELECT t FROM tenant_guard.{table} t ORDER BY t::text");
            text += &lines(&mut superuser, &rows).join("\n");
        }
        text.replace(shop.db.name(), "test")
    };
    assert_eq!(catalog(&planned), catalog(&protected));
}

#[test]
fn same_arguments_again_change_nothing_and_say_so() {
    let shop = Shop::with(TABLES);
    let admin = shop.db.role("admin");
    shop.db
        .superuser()
        .batch_execute(&format!("GRANT {} TO {admin}", shop.owner))
        .unwrap();
    let (mut session, notices) = shop.db.connect_with_notices(&admin);
    for table in ["note", "message", "party"] {
        let call = format!("SELECT tenant_guard.protect('shop.{table}')");
        session.batch_execute(&call).unwrap();
        assert!(notices.take().is_empty());
        let before = super::dump(&shop.db, &[]);
        session.batch_execute(&call).unwrap();
        assert_eq!(
            notices.take(),
            [format!(
                "00000: relation shop.{table} is already protected in this way"
            )]
        );
        assert!(plan(&shop, &format!("'shop.{table}'")).is_empty());
        assert_eq!(before, super::dump(&shop.db, &[]));
    }
}

#[test]
fn other_arguments_are_exactly_the_difference() {
    let shop = Shop::with(TABLES);
    let app = &shop.app;
    let mut owner = shop.owner();
    owner
        .batch_execute("SELECT tenant_guard.protect('shop.message')")
        .unwrap();
    assert_eq!(
        plan(&shop, &format!("'shop.message', roles => '{{{app}}}'")),
        [
            format!(
                "SELECT tenant_guard.register_protection('shop.message', \
                 account_column => 'account_id', roles => '{{{app}}}', redact => '{{}}', \
                 audit => true)"
            ),
            format!("ALTER POLICY tenant_guard_access ON shop.message TO {app}"),
            format!("ALTER POLICY tenant_guard_access ON shop.message_1 TO {app}"),
        ]
    );
    shop.unguarded()
        .batch_execute("ALTER TABLE shop.message_1 NO FORCE ROW LEVEL SECURITY")
        .unwrap();
    assert_eq!(
        plan(&shop, "'shop.message'"),
        ["ALTER TABLE ONLY shop.message_1 FORCE ROW LEVEL SECURITY"]
    );
}

#[test]
fn other_account_column_gives_the_former_one_back() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (org uuid DEFAULT gen_random_uuid(), account_id uuid NOT NULL)",
    );
    let mut owner = shop.owner();
    let before = shop.dump();
    for column in ["org", "account_id"] {
        let call = format!("SELECT tenant_guard.protect('shop.t', '{column}')");
        owner.batch_execute(&call).unwrap();
    }
    let columns = "SELECT a.attname, a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
                   FROM pg_attribute a LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
                   WHERE attrelid = 'shop.t'::regclass AND attnum > 0 ORDER BY attnum";
    assert_eq!(
        lines(&mut owner, columns),
        [
            "org|f|gen_random_uuid()",
            "account_id|t|tenant_guard.account_id()"
        ]
    );
    assert!(shop.check_where("code", "severity = 'error'").is_empty());
    owner
        .batch_execute("SELECT tenant_guard.unprotect('shop.t')")
        .unwrap();
    assert_eq!(before, shop.dump());
}

#[test]
fn another_column_under_the_account_columns_name_gives_no_event_to_its_account() {
    let shop = Shop::contacts();
    shop.run(&format!(
        "ALTER TABLE shop.contact RENAME account_id TO org;
         ALTER TABLE shop.contact ADD account_id uuid DEFAULT '{ACCOUNT_B}'"
    ));
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    expect_error(
        transaction.batch_execute("UPDATE shop.contact SET name = 'amy' WHERE id = 1"),
        "55000",
        "does not fit column \"account_id\"",
    );
}

#[test]
fn renamed_account_column_is_followed_by_protecting_again() {
    let shop = Shop::with("CREATE TABLE shop.t (account_id uuid DEFAULT gen_random_uuid(), n int)");
    let mut owner = shop.owner();
    owner
        .batch_execute(
            "SELECT tenant_guard.protect('shop.t');
             ALTER TABLE shop.t RENAME account_id TO org",
        )
        .unwrap();
    let insert = "INSERT INTO shop.t (n) VALUES (1)";
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    // The log would not know whose row it is.
    expect_error(
        transaction.batch_execute(insert),
        "55000",
        "does not fit column \"account_id\"",
    );
    transaction.rollback().unwrap();
    owner
        .batch_execute("SELECT tenant_guard.protect('shop.t', 'org')")
        .unwrap();
    shop.within(ACCOUNT_A, |t| t.batch_execute(insert).unwrap());
    owner
        .batch_execute("SELECT tenant_guard.unprotect('shop.t')")
        .unwrap();
    let default = "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid::regclass::text LIKE 'shop.%'";
    assert_eq!(lines(&mut owner, default), ["gen_random_uuid()"]);
}

#[test]
fn partition_made_later_comes_in_by_protecting_again() {
    let shop = Shop::with(TABLES);
    let before = shop.dump();
    let mut owner = shop.owner();
    let protect = "SELECT tenant_guard.protect('shop.message')";
    owner.batch_execute(protect).unwrap();
    shop.unguarded_owner()
        .batch_execute(
            "CREATE TABLE shop.message_2 PARTITION OF shop.message
                 FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')",
        )
        .unwrap();
    shop.db
        .superuser()
        .batch_execute(&format!(
            "INSERT INTO shop.message VALUES ('{ACCOUNT_A}', '2024-02-02'), ('{ACCOUNT_B}', '2024-02-03')"
        ))
        .unwrap();
    let unprotected = "SELECT object FROM tenant_guard.check() WHERE code LIKE '13-%'";
    assert_eq!(
        lines(&mut shop.db.superuser(), unprotected),
        ["shop.message_2"]
    );
    owner.batch_execute(protect).unwrap();
    assert!(
        shop.check_where("code", "severity = 'error' AND object LIKE 'shop.message%'")
            .is_empty()
    );
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(lines(t, "SELECT at FROM shop.message_2"), ["2024-02-02"]);
    });
    // What came later goes back to what its parent had.
    owner
        .batch_execute("SELECT tenant_guard.unprotect('shop.message'); DROP TABLE shop.message_2")
        .unwrap();
    assert_eq!(before, shop.dump());
}

#[test]
fn key_and_identity_columns_keep_their_default() {
    let shop = Shop::with(
        "CREATE TABLE shop.account (id uuid PRIMARY KEY DEFAULT gen_random_uuid());
         SELECT tenant_guard.protect('shop.account', 'id')",
    );
    let default = "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid::regclass::text LIKE 'shop.%'";
    assert_eq!(lines(&mut shop.owner(), default), ["gen_random_uuid()"]);
    // Nobody makes an account but the one the token names.
    shop.within(ACCOUNT_A, |t| {
        let insert = format!("INSERT INTO shop.account VALUES ('{ACCOUNT_A}')");
        t.batch_execute(&insert).unwrap();
        assert_eq!(lines(t, "SELECT id FROM shop.account"), [ACCOUNT_A]);
    });

    let shop = Shop::with(
        "CREATE TABLE shop.account (account_id bigint GENERATED ALWAYS AS IDENTITY, name text);
         SELECT tenant_guard.protect('shop.account')",
    );
    assert!(lines(&mut shop.owner(), default).is_empty());
}

#[test]
fn schema_protects_tables_with_the_column_and_names_the_others() {
    let shop = Shop::with(TABLES);
    shop.owner()
        .batch_execute(
            "CREATE TABLE shop.currency (code text); CREATE VIEW shop.v AS TABLE shop.note",
        )
        .unwrap();
    let admin = shop.db.role("admin");
    shop.db
        .superuser()
        .batch_execute(&format!("GRANT {} TO {admin}", shop.owner))
        .unwrap();
    let (mut session, notices) = shop.db.connect_with_notices(&admin);
    session
        .batch_execute("SELECT tenant_guard.protect_schema('shop', redact => '{secret}')")
        .unwrap();
    assert_eq!(
        notices.take(),
        ["00000: left alone, without column \"account_id\": shop.currency"]
    );
    let protected = "SELECT relation, account_column, roles, redact, audit
                     FROM tenant_guard.protected_relation ORDER BY relation::text";
    assert_eq!(
        lines(&mut session, protected),
        [
            "shop.message|account_id|<null>|{}|t",
            "shop.note|account_id|<null>|{secret}|t",
            "shop.party|account_id|<null>|{}|t",
        ]
    );
    // A table protected already keeps its own arguments.
    session
        .batch_execute("SELECT tenant_guard.protect_schema('shop')")
        .unwrap();
    let redact = "SELECT redact FROM tenant_guard.protected_relation WHERE redact <> '{}'";
    assert_eq!(lines(&mut session, redact), ["{secret}"]);
}

#[test]
fn roles_decide_who_comes_in_and_the_floor_whose_rows() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.t (account_id uuid, n int);
         INSERT INTO shop.t VALUES ('{ACCOUNT_A}', 1), ('{ACCOUNT_B}', 2)"
    ));
    let (app, outsider) = (&shop.app, shop.db.role("outsider"));
    shop.owner()
        .batch_execute(&format!(
            "GRANT SELECT ON shop.t TO {outsider};
             SELECT tenant_guard.protect('shop.t', roles => '{{{app}}}')"
        ))
        .unwrap();
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(lines(t, "SELECT n FROM shop.t"), ["1"])
    });
    let mut session = shop.db.connect_as(&outsider);
    let mut t = session.transaction().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_A);
    assert!(lines(&mut t, "SELECT n FROM shop.t").is_empty());
}

#[test]
fn two_sessions_protecting_one_table_end_as_one() {
    let shop = Shop::with(TABLES);
    let protect = "SELECT tenant_guard.protect('shop.message')";
    let mut first = shop.owner();
    let mut transaction = first.transaction().unwrap();
    transaction.batch_execute(protect).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| shop.owner().batch_execute(protect));
        await_lines(
            &mut shop.db.superuser(),
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'",
            &["1"],
        );
        transaction.commit().unwrap();
        second.join().unwrap().unwrap();
    });
    let policies =
        "SELECT polrelid::regclass, count(*) FROM pg_policy GROUP BY 1 ORDER BY count(*), 1";
    assert_eq!(
        lines(&mut shop.db.superuser(), policies),
        ["shop.message|2", "shop.message_1|2"]
    );
    assert!(
        shop.check_where("code", "severity = 'error' AND object LIKE 'shop.message%'")
            .is_empty()
    );
}

#[test]
fn operator_planted_in_the_search_path_is_not_taken_by_a_plan() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (account_id varchar, n int);
         INSERT INTO shop.t VALUES ('a', 1), ('b', 2)",
    );
    shop.db
        .superuser()
        .batch_execute(
            "CREATE FUNCTION public.always(varchar, text) RETURNS boolean
                 LANGUAGE sql IMMUTABLE RETURN true;
             CREATE OPERATOR public.= (FUNCTION = public.always, LEFTARG = varchar, RIGHTARG = text)",
        )
        .unwrap();
    let statements = plan(&shop, "'shop.t'");
    let mut owner = shop.owner();
    for statement in statements {
        owner.batch_execute(&statement).unwrap();
    }
    shop.within("a", |t| assert_eq!(lines(t, "SELECT n FROM shop.t"), ["1"]));
}

#[test]
fn triggers_of_the_log_come_change_and_go_with_the_arguments() {
    let shop = Shop::with(TABLES);
    let mut owner = shop.owner();
    let mut protect = |table: &str, arguments: &str| {
        let call = format!("SELECT tenant_guard.protect('shop.{table}', {arguments})");
        owner.batch_execute(&call).unwrap();
        lines(
            &mut owner,
            "SELECT tgrelid::regclass, substr(tgname, 14), tgenabled,
                 replace(encode(tgargs, 'escape'), '\\000', ' ')
             FROM pg_trigger WHERE tgname LIKE 'tenant_guard%' AND tgname <> 'tenant_guard_guard'
             ORDER BY tgrelid::regclass::text COLLATE \"C\", 2",
        )
    };
    assert!(protect("note", "audit => false").is_empty());
    assert_eq!(
        protect("note", "redact => '{secret}'"),
        [
            "shop.note|capture|A|account_id {secret} ",
            "shop.note|capture_truncate|A|account_id {secret} ",
        ]
    );
    assert_eq!(
        protect("note", "redact => '{secret,body}'"),
        [
            "shop.note|capture|A|account_id {secret,body} ",
            "shop.note|capture_truncate|A|account_id {secret,body} ",
        ]
    );
    assert!(protect("note", "audit => false").is_empty());
    assert_eq!(
        protect("message", "audit => true"),
        [
            "shop.message|capture|A|account_id {} ",
            "shop.message|capture_truncate|A|account_id {} ",
            "shop.message_1|capture|A|account_id {} ",
            "shop.message_1|capture_truncate|A|account_id {} ",
        ]
    );
    assert!(protect("message", "audit => false").is_empty());
    assert_eq!(
        protect("party", "audit => true"),
        [
            "shop.party|capture|A|account_id {} ",
            "shop.party|capture_truncate|A|account_id {} ",
            "shop.person|capture|A|account_id {} ",
            "shop.person|capture_truncate|A|account_id {} ",
        ]
    );
}

#[test]
fn protecting_and_unprotecting_are_events_of_the_system() {
    let shop = Shop::with(TABLES);
    shop.owner()
        .batch_execute(
            "SELECT tenant_guard.protect('shop.note', redact => '{secret}');
             SELECT tenant_guard.unprotect('shop.note')",
        )
        .unwrap();
    let events = "SELECT kind, action, relation, account_id, l.\"current_role\", data
                  FROM tenant_guard.audit_event AS l ORDER BY xid, ordinal";
    assert_eq!(
        lines(&mut shop.db.superuser(), events),
        [
            format!(
                "system|protect|shop.note||{}|\
                 {{\"account_column\":\"account_id\",\"archetype\":\"account\",\"audit\":true,\
                 \"empty\":true,\"links\":[],\"redact\":[\"secret\"],\"roles\":null}}",
                shop.owner
            ),
            format!("system|unprotect|shop.note||{}|<null>", shop.owner),
        ]
    );
}
