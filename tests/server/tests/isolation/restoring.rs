//! Taking protection off, and carrying it through a dump.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, expect_error, lines};

use super::Shop;

/// Asserts that protecting and unprotecting `relation` leaves the dump of the schema as it was.
#[track_caller]
fn returns(shop: &Shop, relation: &str) {
    let before = shop.dump();
    let mut owner = shop.owner();
    owner
        .batch_execute(&format!("SELECT tenant_guard.protect('{relation}')"))
        .unwrap();
    assert!(before != shop.dump());
    owner
        .batch_execute(&format!("SELECT tenant_guard.unprotect('{relation}')"))
        .unwrap();
    let after = shop.dump();
    assert_eq!(before, after);
    let left = "SELECT (SELECT count(*) FROM tenant_guard.protection)
                     + (SELECT count(*) FROM tenant_guard.protection_member)";
    assert_eq!(lines(&mut shop.db.superuser(), left), ["0"]);
}

#[test]
fn plain_table_returns_to_what_it_was() {
    returns(
        &Shop::with("CREATE TABLE shop.t (account_id uuid)"),
        "shop.t",
    );
}

#[test]
fn odd_defaults_return() {
    let shop = Shop::with(
        "CREATE SEQUENCE shop.numbers;
         CREATE FUNCTION shop.\"odd \"\"name\"() RETURNS bigint LANGUAGE sql RETURN 7;
         CREATE TABLE shop.\"Odd Table\" (\"Account \"\"Id\" int
             DEFAULT (shop.\"odd \"\"name\"() + nextval('shop.numbers'))::numeric::int);
         CREATE TABLE shop.text (account_id varchar(20) DEFAULT E'it''s\\n' || current_user)",
    );
    let before = shop.dump();
    let mut owner = shop.owner();
    owner
        .batch_execute(
            "SELECT tenant_guard.protect('shop.\"Odd Table\"', 'Account \"Id');
             SELECT tenant_guard.protect('shop.text');
             SELECT tenant_guard.unprotect('shop.\"Odd Table\"');
             SELECT tenant_guard.unprotect('shop.text')",
        )
        .unwrap();
    let after = shop.dump();
    assert_eq!(before, after);
}

#[test]
fn row_security_of_ones_own_returns() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (account_id uuid NOT NULL, n int);
         ALTER TABLE shop.t ENABLE ROW LEVEL SECURITY;
         CREATE POLICY mine ON shop.t AS RESTRICTIVE USING (n > 0)",
    );
    returns(&shop, "shop.t");
}

#[test]
fn partitions_return_each_to_its_own() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (account_id uuid, n int) PARTITION BY LIST (n);
         CREATE TABLE shop.t1 PARTITION OF shop.t FOR VALUES IN (1);
         CREATE TABLE shop.t2 PARTITION OF shop.t (account_id NOT NULL DEFAULT gen_random_uuid())
             FOR VALUES IN (2);
         CREATE TABLE shop.t3 PARTITION OF shop.t FOR VALUES IN (3, 4) PARTITION BY LIST (n);
         CREATE TABLE shop.t3a PARTITION OF shop.t3 (account_id NOT NULL) FOR VALUES IN (3);
         CREATE TABLE shop.t3b PARTITION OF shop.t3 FOR VALUES IN (4);
         ALTER TABLE shop.t1 ENABLE ROW LEVEL SECURITY;
         ALTER TABLE shop.t3b FORCE ROW LEVEL SECURITY",
    );
    returns(&shop, "shop.t");
}

#[test]
fn children_return_each_to_its_own() {
    let shop = Shop::with(
        "CREATE TABLE shop.p (account_id uuid);
         CREATE TABLE shop.c1 (account_id uuid NOT NULL DEFAULT gen_random_uuid()) INHERITS (shop.p);
         CREATE TABLE shop.c2 (n int) INHERITS (shop.p);
         CREATE TABLE shop.g () INHERITS (shop.c1, shop.c2)",
    );
    returns(&shop, "shop.p");
}

#[test]
fn partition_with_the_account_in_its_own_key_returns() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (account_id uuid, n int) PARTITION BY LIST (n);
         CREATE TABLE shop.t1 PARTITION OF shop.t FOR VALUES IN (1);
         ALTER TABLE shop.t1 ADD PRIMARY KEY (account_id, n)",
    );
    returns(&shop, "shop.t");
}

#[test]
fn grants_return_in_their_order_with_options_and_grantors() {
    let shop = Shop::with("CREATE TABLE shop.t (id int PRIMARY KEY, account_id uuid, note text)");
    let roles: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .map(|label| shop.db.role(label))
        .collect();
    let [a, b, c, d] = &roles[..] else {
        unreachable!()
    };
    shop.owner()
        .batch_execute(&format!(
            "GRANT TRUNCATE ON shop.t TO {a};
             GRANT SELECT, TRIGGER ON shop.t TO {b} WITH GRANT OPTION;
             GRANT INSERT ON shop.t TO {a} WITH GRANT OPTION;
             GRANT REFERENCES (id, note), SELECT (note) ON shop.t TO {c};
             GRANT TRUNCATE ON shop.t TO PUBLIC;
             GRANT UPDATE ON shop.t TO {c}"
        ))
        .unwrap();
    for (grantor, privilege, grantee) in [(b, "TRIGGER", d), (b, "SELECT", a), (a, "INSERT", d)] {
        shop.db
            .connect_as(grantor)
            .batch_execute(&format!("GRANT {privilege} ON shop.t TO {grantee}"))
            .unwrap();
    }
    let acl = "SELECT relacl, ARRAY(SELECT attacl::text FROM pg_attribute WHERE attrelid = c.oid
                                    AND attnum > 0 ORDER BY attnum)
               FROM pg_class c WHERE oid = 'shop.t'::regclass";
    let before = lines(&mut shop.db.superuser(), acl);
    returns(&shop, "shop.t");
    assert_eq!(lines(&mut shop.db.superuser(), acl), before);
}

#[test]
fn grants_made_or_revoked_under_protection_stay_so() {
    let shop = Shop::with("CREATE TABLE shop.t (id int PRIMARY KEY, account_id uuid)");
    let (a, b) = (shop.db.role("a"), shop.db.role("b"));
    shop.owner()
        .batch_execute(&format!(
            "GRANT SELECT, TRUNCATE ON shop.t TO {a};
             SELECT tenant_guard.protect('shop.t');
             REVOKE SELECT ON shop.t FROM {a};
             GRANT SELECT ON shop.t TO {b};
             SELECT tenant_guard.unprotect('shop.t')"
        ))
        .unwrap();
    let rights = "SELECT grantee::regrole, string_agg(privilege_type, ',' ORDER BY privilege_type)
                  FROM pg_class, aclexplode(relacl) WHERE oid = 'shop.t'::regclass
                  AND grantee <> relowner GROUP BY grantee ORDER BY grantee::regrole::text";
    assert_eq!(
        lines(&mut shop.db.superuser(), rights),
        [
            format!("{a}|TRUNCATE"),
            format!("{}|DELETE,INSERT,SELECT,UPDATE", shop.app),
            format!("{b}|SELECT"),
        ]
    );
}

#[test]
fn default_chosen_later_stays() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (account_id uuid DEFAULT gen_random_uuid());
         SELECT tenant_guard.protect('shop.t');
         ALTER TABLE shop.t ALTER account_id DROP DEFAULT;
         SELECT tenant_guard.unprotect('shop.t')",
    );
    let default = "SELECT count(*) FROM pg_attrdef WHERE adrelid::regclass::text LIKE 'shop.%'";
    assert_eq!(lines(&mut shop.owner(), default), ["0"]);
}

#[test]
fn part_of_a_protection_cannot_be_taken_off_alone() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (account_id uuid, n int) PARTITION BY LIST (n);
         CREATE TABLE shop.t1 PARTITION OF shop.t FOR VALUES IN (1);
         SELECT tenant_guard.protect('shop.t')",
    );
    expect_error(
        shop.owner()
            .batch_execute("SELECT tenant_guard.unprotect('shop.t1')"),
        "42809",
        "shop.t1 is a partition or child of shop.t",
    );
}

#[test]
fn detached_partition_stays_protected_and_returns_with_its_parent() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.t (account_id uuid, n int) PARTITION BY LIST (n);
         CREATE TABLE shop.t1 PARTITION OF shop.t FOR VALUES IN (1);
         INSERT INTO shop.t VALUES ('{ACCOUNT_A}', 1), ('{ACCOUNT_B}', 1);
         SELECT tenant_guard.protect('shop.t');
         ALTER TABLE shop.t DETACH PARTITION shop.t1"
    ));
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(lines(t, "SELECT account_id FROM shop.t1"), [ACCOUNT_A]);
    });
    shop.owner()
        .batch_execute("SELECT tenant_guard.unprotect('shop.t')")
        .unwrap();
    let rest = "SELECT count(*) FROM pg_policy";
    assert_eq!(lines(&mut shop.db.superuser(), rest), ["0"]);
}

#[test]
fn table_protected_alone_joins_the_parent_it_is_attached_to() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (account_id uuid, n int) PARTITION BY LIST (n);
         CREATE TABLE shop.t1 (account_id uuid DEFAULT gen_random_uuid(), n int);
         SELECT tenant_guard.protect('shop.t1');
         SELECT tenant_guard.protect('shop.t');
         ALTER TABLE shop.t ATTACH PARTITION shop.t1 FOR VALUES IN (1)",
    );
    let mut owner = shop.owner();
    let protected = "SELECT relation FROM tenant_guard.protected_relation";
    assert_eq!(lines(&mut owner, protected), ["shop.t"]);
    owner
        .batch_execute("SELECT tenant_guard.unprotect('shop.t')")
        .unwrap();
    let defaults = "SELECT adrelid::regclass, pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid::regclass::text LIKE 'shop.%'";
    assert_eq!(lines(&mut owner, defaults), ["shop.t1|gen_random_uuid()"]);
}

#[test]
fn dropped_table_leaves_no_trace_in_a_dump() {
    let shop = Shop::contacts();
    shop.owner()
        .batch_execute("DROP TABLE shop.contact")
        .unwrap();
    let restored = Database::empty();
    restored.restore(&shop.db.pg_dump(&[]));
    let rows = "SELECT count(*) FROM tenant_guard.protection_member";
    assert_eq!(lines(&mut restored.superuser(), rows), ["0"]);
}

#[test]
fn what_was_dropped_is_cleared_out_as_others_are_protected() {
    let shop = Shop::contacts();
    let mut superuser = shop.db.superuser();
    // As 400 tables that were dropped would leave them.
    superuser
        .batch_execute(
            "INSERT INTO tenant_guard.protection
                 SELECT (4000000000 + n)::oid, 'account', 'account_id', NULL, '{}', false
                 FROM generate_series(1, 400) AS n;
             INSERT INTO tenant_guard.protection_member
                 SELECT relation, relation, account_column, true, true, true
                 FROM tenant_guard.protection WHERE relation::oid > 4000000000;
             INSERT INTO tenant_guard.protection_column
                 SELECT relation, 1 FROM tenant_guard.protection WHERE relation::oid > 4000000000",
        )
        .unwrap();
    let mut left = || {
        let left = ["protection", "protection_member", "protection_column"].map(|table| {
            let rows = format!(
                "SELECT count(*) FROM tenant_guard.{table} WHERE relation::oid > 4000000000"
            );
            lines(&mut superuser, &rows).concat()
        });
        left.join(" ")
    };
    let mut owner = shop.owner();
    let mut after = vec![left()];
    for name in ["a", "b", "c"] {
        owner
            .batch_execute(&format!(
                "CREATE TABLE shop.{name} (id int PRIMARY KEY, account_id uuid NOT NULL);
                 SELECT tenant_guard.protect('shop.{name}')"
            ))
            .unwrap();
        after.push(left());
    }
    assert_eq!(after[0], "400 400 400");
    assert_eq!(after[3], "0 0 0");
    assert_eq!(
        lines(
            &mut owner,
            "SELECT relation FROM tenant_guard.protected_relation ORDER BY 1"
        ),
        ["shop.contact", "shop.a", "shop.b", "shop.c"]
    );
}

#[test]
fn dump_and_restore_keep_protection() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.t (id int PRIMARY KEY, account_id uuid);
         INSERT INTO shop.t VALUES (1, '{ACCOUNT_A}'), (2, '{ACCOUNT_B}');
         CREATE TABLE shop.m (account_id uuid, n int) PARTITION BY LIST (n);
         CREATE TABLE shop.m1 PARTITION OF shop.m FOR VALUES IN (1);
         INSERT INTO shop.m VALUES ('{ACCOUNT_A}', 1), ('{ACCOUNT_B}', 1)"
    ));
    let before = shop.dump();
    shop.owner()
        .batch_execute("SELECT tenant_guard.protect_schema('shop')")
        .unwrap();
    let (plain, archive) = (Database::empty(), Database::empty());
    plain.restore(&shop.db.pg_dump(&[]));
    archive.pg_restore(
        &["--single-transaction"],
        &shop.db.pg_dump(&["--format=custom"]),
    );
    for db in [&plain, &archive] {
        let mut superuser = db.superuser();
        assert!(
            lines(
                &mut superuser,
                "SELECT * FROM tenant_guard.check() WHERE severity = 'error'
                     AND code !~ '^(0[2345]|1[01]|3[45]|58|6[4568]|70|72|73)-'"
            )
            .is_empty()
        );
        let mut session = db.connect_as(&shop.app);
        expect_error(
            session.batch_execute("SELECT FROM shop.t"),
            "28000",
            "no identity",
        );
        let mut t = session.transaction().unwrap();
        shop.issuer.sign_in(&mut t, ACCOUNT_B);
        assert_eq!(lines(&mut t, "SELECT id FROM shop.t"), ["2"]);
        assert_eq!(lines(&mut t, "SELECT account_id FROM shop.m1"), [ACCOUNT_B]);
        t.rollback().unwrap();
        superuser
            .batch_execute(
                "SELECT tenant_guard.unprotect(relation) FROM tenant_guard.protected_relation",
            )
            .unwrap();
        assert_eq!(before, super::dump(db, &["--schema=shop"]));
    }
}

/// Settings that change how the catalog prints what is compared and remembered.
const ODD_SETTINGS: &str = "SET quote_all_identifiers = on;
     SET standard_conforming_strings = off;
     SET DateStyle = 'SQL, DMY'";

#[test]
fn settings_of_the_session_change_neither_protection_nor_its_undoing() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (account_id text DEFAULT ('2024-02-01'::date)::text);
         CREATE TABLE shop.\"back\\'slash\" (account_id text)",
    );
    let before = shop.dump();
    let mut odd = shop.owner();
    odd.batch_execute(ODD_SETTINGS).unwrap();
    odd.batch_execute("SELECT tenant_guard.protect_schema('shop')")
        .unwrap();
    let altered = "SELECT code FROM tenant_guard.check() WHERE code ~ '^(37|41)'";
    let again = "SELECT statement FROM tenant_guard.protection_plan('shop.t')";
    for query in [altered, again] {
        assert_eq!(lines(&mut odd, query), Vec::<String>::new(), "{query}");
    }
    let take_off = "SELECT tenant_guard.unprotect(relation) FROM tenant_guard.protected_relation";
    shop.owner().batch_execute(take_off).unwrap();
    assert_eq!(before, shop.dump());

    let mut plain = shop.owner();
    plain
        .batch_execute("SELECT tenant_guard.protect_schema('shop')")
        .unwrap();
    odd.batch_execute(take_off).unwrap();
    assert_eq!(before, shop.dump());
}

#[test]
fn protection_of_a_detached_partition_is_shown_and_comes_off() {
    let shop = Shop::with(
        "CREATE TABLE shop.t (account_id uuid, at int) PARTITION BY RANGE (at);
         CREATE TABLE shop.t1 PARTITION OF shop.t FOR VALUES FROM (0) TO (9) PARTITION BY RANGE (at);
         CREATE TABLE shop.t11 PARTITION OF shop.t1 FOR VALUES FROM (0) TO (5);
         CREATE TABLE shop.t2 PARTITION OF shop.t FOR VALUES FROM (9) TO (20)",
    );
    shop.run("SELECT tenant_guard.protect('shop.t')");
    let refused = shop
        .owner()
        .batch_execute("SELECT tenant_guard.unprotect('shop.t1')");
    expect_error(
        refused,
        "42809",
        "shop.t1 is a partition or child of shop.t",
    );
    shop.run("ALTER TABLE shop.t DETACH PARTITION shop.t1");
    let shown = "SELECT relation, account_column FROM tenant_guard.protected_relation ORDER BY 1";
    assert_eq!(
        lines(&mut shop.owner(), shown),
        ["shop.t|account_id", "shop.t1|account_id"]
    );
    shop.run("SELECT tenant_guard.unprotect('shop.t1')");
    assert_eq!(lines(&mut shop.owner(), shown), ["shop.t|account_id"]);
    let left = "SELECT c.relname, c.relrowsecurity,
            (SELECT count(*) FROM pg_policy AS p WHERE p.polrelid = c.oid),
            (SELECT count(*) FROM pg_trigger AS t WHERE t.tgrelid = c.oid),
            (SELECT count(*) FROM tenant_guard.protection_member AS m WHERE m.relation = c.oid)
        FROM pg_class AS c WHERE c.relname ~ '^t\\d*$' AND c.relnamespace = 'shop'::regnamespace ORDER BY 1";
    assert_eq!(
        lines(&mut shop.db.superuser(), left),
        ["t|t|2|2|1", "t1|f|0|0|0", "t11|f|0|0|0", "t2|t|2|2|1"]
    );
    shop.run(
        "ALTER TABLE shop.t1 DISABLE ROW LEVEL SECURITY; SELECT tenant_guard.unprotect('shop.t')",
    );
}
