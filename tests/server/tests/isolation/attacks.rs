//! Each test is named after what somebody tries.

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, assert_ordinary, expect_error, lines};

use super::Shop;

const FLOOR: &str = "new row violates row-level security policy";

#[test]
fn reading_everything_shows_the_account_alone() {
    let shop = Shop::contacts();
    let names = |account| {
        shop.within(account, |t| {
            lines(t, "SELECT name FROM shop.contact ORDER BY id")
        })
    };
    assert_eq!(names(ACCOUNT_A), ["ann", "abe"]);
    assert_eq!(names(ACCOUNT_B), ["bob"]);
}

#[test]
fn reading_by_key_joining_counting_and_copying_show_the_account_alone() {
    let shop = Shop::contacts();
    shop.within(ACCOUNT_A, |t| {
        assert!(lines(t, "SELECT name FROM shop.contact WHERE id = 3").is_empty());
        assert_eq!(lines(t, "SELECT count(*) FROM shop.contact"), ["2"]);
        let join =
            "SELECT a.name, b.name FROM shop.contact a JOIN shop.contact b USING (account_id)
                    WHERE a.id < b.id";
        assert_eq!(lines(t, join), ["ann|abe"]);
        let mut copied = String::new();
        let mut reader = t.copy_out("COPY shop.contact (name) TO STDOUT").unwrap();
        std::io::Read::read_to_string(&mut reader, &mut copied).unwrap();
        assert_eq!(copied, "ann\nabe\n");
    });
}

/// The view's own condition hides nothing from a function that tells what it is given; the policy does.
#[test]
fn leaky_function_behind_a_view_without_barrier_is_shown_own_rows_only() {
    let shop = Shop::contacts();
    for options in ["", shop.db.invoker()] {
        shop.run(&format!(
            "DROP VIEW IF EXISTS shop.most;
             CREATE VIEW shop.most {options} AS SELECT id, name FROM shop.contact
             WHERE upper(name) <> 'ABE'"
        ));
        shop.db
            .superuser()
            .batch_execute(&format!(
                "DROP SCHEMA IF EXISTS spy CASCADE; CREATE SCHEMA spy AUTHORIZATION {app};
                 CREATE FUNCTION spy.peek(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
                     $$BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END$$",
                app = shop.app
            ))
            .unwrap();
        let (mut session, notices) = shop.db.connect_with_notices(&shop.app);
        assert_ordinary(&mut session);
        let mut t = session.transaction().unwrap();
        shop.issuer.sign_in(&mut t, ACCOUNT_A);
        notices.take();
        let seen = "SELECT name FROM shop.most WHERE spy.peek(name)";
        assert_eq!(lines(&mut t, seen), ["ann"], "{options}");
        assert_eq!(
            notices.take(),
            ["00000: saw ann", "00000: saw abe"],
            "{options}"
        );
    }
}

#[test]
fn reading_without_identity_is_refused() {
    let shop = Shop::contacts();
    let mut session = shop.app();
    for statement in [
        "SELECT FROM shop.contact",
        "UPDATE shop.contact SET name = ''",
        "DELETE FROM shop.contact",
        "INSERT INTO shop.contact (id, name) VALUES (9, 'eve')",
        "COPY shop.contact TO STDOUT",
    ] {
        expect_error(session.batch_execute(statement), "28000", "no identity");
    }
}

#[test]
fn updating_and_deleting_everything_touch_the_account_alone() {
    let shop = Shop::contacts();
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(
            t.execute("UPDATE shop.contact SET name = 'x'", &[])
                .unwrap(),
            2
        );
        assert_eq!(t.execute("DELETE FROM shop.contact", &[]).unwrap(), 2);
        assert_eq!(
            t.execute("DELETE FROM shop.contact WHERE id = 3", &[])
                .unwrap(),
            0
        );
    });
    let rest = "SELECT id, name FROM shop.contact";
    assert_eq!(lines(&mut shop.db.superuser(), rest), ["3|bob"]);
}

#[test]
fn moving_a_row_to_another_account_is_refused() {
    let shop = Shop::contacts();
    for filter in ["", " WHERE id = 1", " WHERE id = 1 RETURNING id"] {
        let mut session = shop.app();
        let mut t = session.transaction().unwrap();
        shop.issuer.sign_in(&mut t, ACCOUNT_A);
        let update = format!("UPDATE shop.contact SET account_id = '{ACCOUNT_B}'{filter}");
        expect_error(t.batch_execute(&update), "42501", FLOOR);
    }
}

#[test]
fn inserting_for_another_account_is_refused() {
    let shop = Shop::contacts();
    let values = format!("(9, '{ACCOUNT_B}', 'eve')");
    for insert in [
        format!("INSERT INTO shop.contact VALUES {values}"),
        format!("INSERT INTO shop.contact VALUES {values} ON CONFLICT DO NOTHING"),
        "INSERT INTO shop.contact VALUES (9, NULL, 'eve')".into(),
        format!(
            "MERGE INTO shop.contact AS t USING (VALUES {values}) AS s (id, account, name)
             ON t.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.account::uuid, s.name)"
        ),
    ] {
        if insert.starts_with("MERGE") && !shop.db.has_merge() {
            continue;
        }
        let mut session = shop.app();
        let mut t = session.transaction().unwrap();
        shop.issuer.sign_in(&mut t, ACCOUNT_A);
        let refused = t.batch_execute(&insert);
        expect_error(refused, "42501", FLOOR);
    }
}

#[test]
fn inserting_without_an_account_takes_the_verified_one() {
    let shop = Shop::contacts();
    let insert = "INSERT INTO shop.contact (id, name) VALUES (9, 'eve') RETURNING account_id";
    let given = shop.within(ACCOUNT_B, |t| lines(t, insert));
    assert_eq!(given, [ACCOUNT_B]);
}

#[test]
fn truncating_is_refused_even_where_it_was_granted_before() {
    let shop = Shop::with("CREATE TABLE shop.note (id int PRIMARY KEY, account_id uuid)");
    shop.owner()
        .batch_execute(&format!(
            "GRANT ALL ON shop.note TO {0}, PUBLIC; GRANT CREATE ON SCHEMA shop TO {0}",
            shop.app
        ))
        .unwrap();
    shop.app().batch_execute("TRUNCATE shop.note").unwrap();
    shop.owner()
        .batch_execute("SELECT tenant_guard.protect('shop.note')")
        .unwrap();
    let mut session = shop.app();
    expect_error(
        session.batch_execute("TRUNCATE shop.note"),
        "42501",
        "permission denied for table note",
    );
    expect_error(
        session.batch_execute("CREATE TABLE shop.probe (id int REFERENCES shop.note)"),
        "42501",
        "permission denied for table note",
    );
}

#[test]
fn reading_and_writing_a_partition_directly_is_held_like_its_parent() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.message (account_id uuid, at date, body text) PARTITION BY RANGE (at);
         CREATE TABLE shop.message_1 PARTITION OF shop.message
             FOR VALUES FROM ('2024-01-01') TO ('2024-02-01') PARTITION BY LIST (body);
         CREATE TABLE shop.message_1_x PARTITION OF shop.message_1 DEFAULT;
         INSERT INTO shop.message VALUES
             ('{ACCOUNT_A}', '2024-01-05', 'a'), ('{ACCOUNT_B}', '2024-01-06', 'b');
         SELECT tenant_guard.protect('shop.message')"
    ));
    shop.within(ACCOUNT_A, |t| {
        for table in ["message", "message_1", "message_1_x"] {
            assert_eq!(
                lines(t, &format!("SELECT body FROM shop.{table}")),
                ["a"],
                "{table}"
            );
        }
        let insert =
            format!("INSERT INTO shop.message_1_x VALUES ('{ACCOUNT_B}', '2024-01-07', 'c')");
        let mut savepoint = t.transaction().unwrap();
        expect_error(savepoint.batch_execute(&insert), "42501", FLOOR);
    });
    expect_error(
        shop.app().batch_execute("SELECT FROM shop.message_1_x"),
        "28000",
        "no identity",
    );
}

#[test]
fn reading_an_inheritance_child_directly_is_held_like_its_parent() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.party (account_id uuid, name text);
         CREATE TABLE shop.person (born date) INHERITS (shop.party);
         INSERT INTO shop.person VALUES ('{ACCOUNT_A}', 'ann'), ('{ACCOUNT_B}', 'bob');
         SELECT tenant_guard.protect('shop.party')"
    ));
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(lines(t, "SELECT name FROM shop.party"), ["ann"]);
        assert_eq!(lines(t, "SELECT name FROM shop.person"), ["ann"]);
    });
}

#[test]
fn owning_the_table_opens_nothing() {
    let shop = Shop::contacts();
    let login = shop.db.role("login_owner");
    shop.unguarded()
        .batch_execute(&format!(
            "GRANT CREATE ON SCHEMA shop TO {login}; ALTER TABLE shop.contact OWNER TO {login}"
        ))
        .unwrap();
    let mut session = shop.db.connect_as(&login);
    assert_ordinary(&mut session);
    expect_error(
        session.batch_execute("SELECT FROM shop.contact"),
        "28000",
        "no identity",
    );
    let mut t = session.transaction().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_B);
    assert_eq!(lines(&mut t, "SELECT name FROM shop.contact"), ["bob"]);
}

#[test]
fn adding_a_permissive_policy_does_not_widen_the_floor() {
    let shop = Shop::contacts();
    shop.owner()
        .batch_execute("CREATE POLICY open ON shop.contact USING (true) WITH CHECK (true)")
        .unwrap();
    shop.within(ACCOUNT_B, |t| {
        assert_eq!(lines(t, "SELECT name FROM shop.contact"), ["bob"]);
        let mut savepoint = t.transaction().unwrap();
        let insert = format!("INSERT INTO shop.contact VALUES (9, '{ACCOUNT_A}', 'eve')");
        expect_error(savepoint.batch_execute(&insert), "42501", FLOOR);
    });
}

#[test]
fn dropping_the_extension_closes_what_it_protected() {
    let shop = Shop::contacts();
    shop.unguarded()
        .batch_execute("DROP EXTENSION tenant_guard CASCADE")
        .unwrap();
    assert!(lines(&mut shop.app(), "SELECT name FROM shop.contact").is_empty());
    expect_error(
        shop.app().batch_execute(&format!(
            "INSERT INTO shop.contact VALUES (9, '{ACCOUNT_A}', '')"
        )),
        "42501",
        FLOOR,
    );
}

/// The known exception: what somebody else's policy opens was kept closed by the floor that goes.
#[test]
fn dropping_the_extension_leaves_what_a_foreign_permissive_policy_opens() {
    let shop = Shop::contacts();
    shop.run("CREATE POLICY open ON shop.contact USING (true)");
    let known = shop.check_where("severity, code, object", "code LIKE '07-%'");
    assert_eq!(known, ["warning|07-foreign-permissive-policy|shop.contact"]);
    shop.unguarded()
        .batch_execute("DROP EXTENSION tenant_guard CASCADE")
        .unwrap();
    assert_eq!(
        lines(&mut shop.app(), "SELECT name FROM shop.contact ORDER BY id"),
        ["ann", "abe", "bob"]
    );
}

#[test]
fn every_type_of_account_column_is_held() {
    let shop = Shop::with(
        "CREATE TABLE shop.by_int (id int PRIMARY KEY, account_id int);
         CREATE TABLE shop.by_bigint (id int PRIMARY KEY, account_id bigint);
         CREATE TABLE shop.by_text (id int PRIMARY KEY, account_id text);
         CREATE TABLE shop.by_varchar (id int PRIMARY KEY, account_id varchar(20));
         INSERT INTO shop.by_int VALUES (1, 7), (2, 8);
         INSERT INTO shop.by_bigint VALUES (1, 7), (2, 8);
         INSERT INTO shop.by_text VALUES (1, '7'), (2, '8'), (3, '07'), (4, '7 ');
         INSERT INTO shop.by_varchar VALUES (1, '7'), (2, '8'), (3, '07'), (4, '7 ');
         SELECT tenant_guard.protect_schema('shop')",
    );
    shop.within("7", |t| {
        for table in ["by_int", "by_bigint", "by_text", "by_varchar"] {
            assert_eq!(
                lines(t, &format!("SELECT id FROM shop.{table}")),
                ["1"],
                "{table}"
            );
            let insert = format!("INSERT INTO shop.{table} (id) VALUES (9) RETURNING account_id");
            assert_eq!(lines(t, &insert), ["7"], "{table}");
            let mut savepoint = t.transaction().unwrap();
            let insert = format!("INSERT INTO shop.{table} VALUES (10, '8')");
            expect_error(savepoint.batch_execute(&insert), "42501", FLOOR);
        }
    });
    // An account of another shape than the column is an error, never a silent nothing.
    let mut session = shop.app();
    let mut t = session.transaction().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_A);
    expect_error(
        t.batch_execute("SELECT FROM shop.by_bigint"),
        "22P02",
        "not of type bigint",
    );
}

#[test]
fn parallel_workers_filter_by_the_account_of_their_leader() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.big (id int, account_id uuid, filler text) WITH (parallel_workers = 2);
         INSERT INTO shop.big SELECT n,
             CASE WHEN n % 3 = 0 THEN '{ACCOUNT_A}' ELSE '{ACCOUNT_B}' END::uuid, repeat('x', 50)
         FROM generate_series(1, 30000) AS n;
         SELECT tenant_guard.protect('shop.big');
         ANALYZE shop.big"
    ));
    shop.within(ACCOUNT_A, |t| {
        t.batch_execute(
            "SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0;
             SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL parallel_leader_participation = off",
        )
        .unwrap();
        let query = "SELECT count(*), count(*) FILTER (WHERE id % 3 = 0) FROM shop.big";
        let plan = lines(t, &format!("EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) {query}"));
        let place = |what: &str| plan.iter().position(|line| line.contains(what));
        assert!(place("Workers Launched: 2").is_some(), "{plan:#?}");
        let (gather, filter) = (place("Gather"), place("Filter: (account_id = tenant_guard"));
        assert!(gather.is_some() && gather < filter, "{plan:#?}");
        // Floor and access policy say the same: it is evaluated once a row.
        assert!(!plan[filter.unwrap()].contains("AND"), "{plan:#?}");
        assert_eq!(lines(t, query), ["10000|10000"]);
    });
}

#[test]
fn pointing_at_another_accounts_parent_fails_on_the_composite_key_only() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.parent (id int PRIMARY KEY, account_id uuid, UNIQUE (account_id, id));
         CREATE TABLE shop.simple (id int PRIMARY KEY, account_id uuid,
             parent_id int REFERENCES shop.parent);
         CREATE TABLE shop.composite (id int PRIMARY KEY, account_id uuid, parent_id int,
             FOREIGN KEY (account_id, parent_id) REFERENCES shop.parent (account_id, id));
         INSERT INTO shop.parent VALUES (1, '{ACCOUNT_A}'), (2, '{ACCOUNT_B}');
         SELECT tenant_guard.protect_schema('shop')"
    ));
    // The attack on the simple key, which the policies cannot see.
    let attack = "INSERT INTO shop.simple (id, parent_id) VALUES (1, 2)";
    shop.within(ACCOUNT_A, |t| t.batch_execute(attack).unwrap());
    let mut session = shop.app();
    let mut t = session.transaction().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_A);
    expect_error(
        t.batch_execute("INSERT INTO shop.composite (id, parent_id) VALUES (1, 2)"),
        "23503",
        "violates foreign key constraint",
    );
    let findings = shop.check_where("code, object, detail", "severity = 'error'");
    assert_eq!(
        findings,
        [
            "26-foreign-key-without-account|shop.simple|foreign key simple_parent_id_fkey \
          (parent_id) to shop.parent does not include the account"
        ]
    );
}
