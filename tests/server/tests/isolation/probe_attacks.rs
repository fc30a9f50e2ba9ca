//! What others could make of a probe, and what it must not pass over.

use tenant_guard_tests::{expect_error, lines};

use super::Shop;

/// What a probe says of the attempts that match, by the superuser, the roles of the shop named as in the
/// tests; the verdict comes first.
fn of(shop: &Shop, arguments: &str, pattern: &str) -> Vec<String> {
    let found = lines(
        &mut shop.db.superuser(),
        &format!(
            "SELECT concat_ws('/', role, attempt, outcome, CASE WHEN role IS NOT NULL THEN detail END)
             FROM tenant_guard.probe({arguments}) WITH ORDINALITY
             WHERE role IS NULL OR attempt ~ '{pattern}' ORDER BY ordinality"
        ),
    );
    let named = found.into_iter();
    named
        .map(|line| line.replace(&shop.owner, "owner").replace(&shop.app, "app"))
        .collect()
}

/// Contacts, a table of who ran the trigger on them, and one to whom secrets belong.
fn bait() -> Shop {
    let shop = Shop::contacts();
    shop.run(
        "CREATE SEQUENCE shop.ran_as_app; GRANT ALL ON SEQUENCE shop.ran_as_app TO PUBLIC;
         CREATE FUNCTION shop.spy() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF current_user LIKE '%app' THEN PERFORM nextval('shop.ran_as_app'); END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER spy BEFORE INSERT ON shop.contact
             FOR EACH ROW EXECUTE FUNCTION shop.spy()",
    );
    shop
}

/// Whether the trigger of the bait ran in the application's name. A sequence keeps what is undone.
fn ran_as_app(shop: &Shop) -> bool {
    lines(
        &mut shop.db.superuser(),
        "SELECT is_called FROM shop.ran_as_app",
    ) == ["t"]
}

#[test]
fn a_trigger_does_not_run_as_a_role_that_its_author_cannot_become() {
    let shop = bait();
    let answer = of(&shop, "'shop.contact'", "^as ");
    assert_eq!(
        answer,
        [
            "verdict/failed",
            "app/as app/not tried/code of owner would run with its rights"
        ]
    );
    assert!(!ran_as_app(&shop));
    // Of one who could become it, nothing is gained.
    shop.db
        .superuser()
        .batch_execute(&format!("GRANT {} TO {}", shop.app, shop.owner))
        .unwrap();
    assert_eq!(of(&shop, "'shop.contact'", "^as "), ["verdict/passed"]);
    assert!(ran_as_app(&shop));
}

#[test]
fn code_runs_as_others_where_the_caller_vouches_for_its_author() {
    let shop = bait();
    let trusting = format!("'shop.contact', trust => '{{code of {}}}'", shop.owner);
    assert_eq!(of(&shop, &trusting, "^as "), ["verdict/passed"]);
    assert!(ran_as_app(&shop));
}

#[test]
fn code_never_runs_as_a_role_that_reads_files() {
    let shop = bait();
    let reads_files = format!("GRANT pg_read_server_files TO {}", shop.app);
    shop.db.superuser().batch_execute(&reads_files).unwrap();
    let trusting = format!("'shop.contact', trust => '{{code of {}}}'", shop.owner);
    assert_eq!(
        of(&shop, &trusting, "^as "),
        [
            "verdict/failed",
            "app/as app/not tried/code of owner would run with its rights"
        ]
    );
    assert!(!ran_as_app(&shop));
    // In every database of the cluster it would be found.
    let revoke = format!("REVOKE pg_read_server_files FROM {}", shop.app);
    shop.db.superuser().batch_execute(&revoke).unwrap();
}

#[test]
fn a_policy_does_not_run_as_a_role_that_its_author_cannot_become() {
    let shop = Shop::contacts();
    shop.run(
        "CREATE SEQUENCE shop.leak;
         CREATE POLICY leaking ON shop.contact AS RESTRICTIVE
             USING (set_config('shop.leak', current_user, false) IS NOT NULL)",
    );
    assert_eq!(
        of(&shop, "'shop.contact'", "^as "),
        [
            "verdict/failed",
            "app/as app/not tried/code of owner would run with its rights"
        ]
    );
}

#[test]
fn an_admin_tries_no_role_that_it_cannot_become() {
    let shop = Shop::contacts();
    let mut owner = shop.owner();
    let tried = lines(
        &mut owner,
        "SELECT DISTINCT concat_ws('/', role, attempt, outcome, detail)
         FROM tenant_guard.probe('shop.contact') WHERE outcome = 'not tried'",
    );
    let app = &shop.app;
    assert_eq!(
        tried,
        [format!("{app}/as {app}/not tried/you cannot become it")]
    );
    let gate = format!("SELECT tenant_guard.probe_gate('shop.contact', '{{as {app}}}')");
    owner.batch_execute(&gate).unwrap();
}

#[test]
fn an_admin_plants_nothing_in_tables_of_others() {
    let shop = Shop::contacts();
    let admin = shop.db.role("admin");
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(&format!("GRANT tenant_guard_admin TO {admin}"))
        .unwrap();
    let planted = lines(
        &mut shop.db.connect_as(&admin),
        "SELECT attempt, outcome, detail FROM tenant_guard.probe('shop.contact') OFFSET 1",
    );
    let refused = format!(
        "plant|not tried|shop.contact is of {}, whose rights you do not have",
        shop.owner
    );
    assert_eq!(planted, [refused]);
}

#[test]
fn functions_of_anybody_are_not_called() {
    let shop = Shop::contacts();
    let eve = shop.db.role("eve");
    shop.db
        .superuser()
        .batch_execute(&format!(
            "CREATE SCHEMA pub; GRANT USAGE, CREATE ON SCHEMA pub TO PUBLIC; SET ROLE {eve};
             CREATE FUNCTION pub.f() RETURNS int LANGUAGE plpgsql STABLE AS $$
             BEGIN -- contact
                 RAISE EXCEPTION 'called'; END $$"
        ))
        .unwrap();
    let refused =
        format!("app/function pub.f()/not tried/code of {eve} would run with the rights of app");
    let answer = of(&shop, "'shop.contact'", "pub.f");
    assert_eq!(answer[0], "verdict/failed");
    assert!(answer.contains(&refused), "{answer:#?}");
}

#[test]
fn volatile_functions_are_called_only_where_they_are_named() {
    let shop = Shop::contacts();
    shop.db
        .superuser()
        .batch_execute(
            "CREATE FUNCTION shop.purge() RETURNS void LANGUAGE sql SECURITY DEFINER
                 AS 'DELETE FROM shop.contact'",
        )
        .unwrap();
    let answer = of(&shop, "'shop.contact'", "^function");
    assert!(
        answer.contains(
            &"app/function shop.purge()/not tried/it is volatile, and trust does not name it"
                .into()
        ),
        "{answer:#?}"
    );
    // A function that deletes everything shows nothing.
    let answer = of(
        &shop,
        "'shop.contact', trust => '{function shop.purge()}'",
        "^function",
    );
    assert!(
        answer.contains(
            &"app/function shop.purge()/crossed/it changes the other account's row".into()
        ),
        "{answer:#?}"
    );
}

#[test]
fn locks_that_a_function_takes_are_given_back() {
    let shop = Shop::contacts();
    let mut superuser = shop.db.superuser();
    superuser
        .batch_execute(
            "CREATE FUNCTION shop.locking() RETURNS bigint LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_advisory_lock(4242), pg_advisory_lock_shared(-7, 8);
                 RETURN (SELECT count(*) FROM shop.contact); END $$;
             SELECT pg_advisory_lock(1)",
        )
        .unwrap();
    superuser
        .batch_execute(
            "SELECT tenant_guard.probe('shop.contact', trust => '{function shop.locking()}')",
        )
        .unwrap();
    let held = "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
    assert_eq!(lines(&mut superuser, held), ["1"]);
}

#[test]
fn a_probe_within_a_probe_does_not_switch_the_floor_on() {
    let shop = Shop::contacts();
    shop.run(
        "CREATE TABLE shop.other (id int PRIMARY KEY, account_id uuid);
         SELECT tenant_guard.protect('shop.other');
         CREATE FUNCTION shop.nested() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM tenant_guard.probe('shop.other');
             RETURN NEW;
         EXCEPTION WHEN object_not_in_prerequisite_state THEN
             RETURN NEW;
         END $$;
         CREATE TRIGGER nested AFTER INSERT ON shop.contact
             FOR EACH ROW EXECUTE FUNCTION shop.nested()",
    );
    shop.unguarded_owner()
        .batch_execute(
            "DROP POLICY tenant_guard_floor ON shop.contact;
             ALTER POLICY tenant_guard_access ON shop.contact USING (true) WITH CHECK (true)",
        )
        .unwrap();
    let trusting = format!("'shop.contact', trust => '{{code of {}}}'", shop.owner);
    let answer = of(&shop, &trusting, "^select$");
    assert!(answer.contains(&"app/select/crossed".into()), "{answer:#?}");
    // Nor does a trigger that probes its own table go on for ever.
    shop.unguarded_owner()
        .batch_execute(
            "CREATE FUNCTION shop.own() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM tenant_guard.probe('shop.contact'); RETURN NEW; END $$;
             CREATE TRIGGER own AFTER INSERT ON shop.contact
                 FOR EACH ROW EXECUTE FUNCTION shop.own()",
        )
        .unwrap();
    assert_eq!(
        of(&shop, "'shop.contact'", "^plant$"),
        ["verdict/failed", "plant/not tried"]
    );
}

#[test]
fn a_role_that_writes_without_reading_crosses() {
    let shop = Shop::contacts();
    let writer = format!("{}_writer", shop.db.name());
    shop.db
        .superuser()
        .batch_execute(&format!(
            "CREATE ROLE {writer} NOLOGIN; GRANT USAGE ON SCHEMA shop TO {writer};
             GRANT UPDATE, DELETE ON shop.contact TO {writer}"
        ))
        .unwrap();
    let sound = of(&shop, "'shop.contact'", "every row|^update$");
    assert_eq!(sound[0], "verdict/passed", "{sound:#?}");
    for line in [
        "update/refused/SQLSTATE 42501, a privilege is missing",
        "update of every row/hidden",
        "delete of every row/hidden",
    ] {
        assert!(sound.contains(&format!("{writer}/{line}")), "{sound:#?}");
    }
    shop.unguarded_owner()
        .batch_execute("ALTER TABLE shop.contact DISABLE ROW LEVEL SECURITY")
        .unwrap();
    let answer = of(&shop, "'shop.contact'", "every row");
    for attempt in ["update", "delete"] {
        let crossed = format!("{writer}/{attempt} of every row/crossed");
        assert!(
            answer.iter().any(|line| line.starts_with(&crossed)),
            "{answer:#?}"
        );
    }
}

#[test]
fn a_view_that_does_not_show_ones_own_row_proves_nothing() {
    let shop = Shop::contacts();
    shop.db
        .superuser()
        .batch_execute(&format!(
            "CREATE VIEW shop.named AS SELECT * FROM shop.contact WHERE name IS NOT NULL;
             GRANT SELECT ON shop.named TO {}",
            shop.app
        ))
        .unwrap();
    let untried = "app/view shop.named/not tried/it does not show one's own row either";
    let answer = of(&shop, "'shop.contact'", "^view");
    assert_eq!(answer, ["verdict/failed", untried]);
    let answer = of(
        &shop,
        "'shop.contact', canary => '{\"name\": \"x\"}'",
        "^view",
    );
    assert!(
        answer[1].starts_with("app/view shop.named/crossed"),
        "{answer:#?}"
    );
}

#[test]
fn functions_are_found_however_they_spell_the_name() {
    let shop = Shop::contacts();
    shop.db
        .superuser()
        .batch_execute(
            "CREATE FUNCTION shop.loud() RETURNS SETOF text LANGUAGE plpgsql STABLE SECURITY DEFINER
                 AS 'BEGIN RETURN QUERY SELECT id::text FROM Shop.CONTACT; END'",
        )
        .unwrap();
    let answer = of(&shop, "'shop.contact'", "^function");
    assert!(
        answer
            .iter()
            .any(|line| line.starts_with("app/function shop.loud()/crossed")),
        "{answer:#?}"
    );
}

#[test]
fn functions_and_views_over_functions_are_followed() {
    let shop = Shop::contacts();
    shop.db
        .superuser()
        .batch_execute(&format!(
            "CREATE FUNCTION shop.f1(i int) RETURNS SETOF int LANGUAGE plpgsql STABLE SECURITY DEFINER
                 AS 'BEGIN RETURN QUERY SELECT id FROM shop.contact; END';
             CREATE FUNCTION shop.f2() RETURNS SETOF int STABLE LANGUAGE sql
                 BEGIN ATOMIC SELECT shop.f1(1); END;
             CREATE VIEW shop.f3 AS SELECT * FROM shop.f1(1) AS t;
             GRANT SELECT ON shop.f3 TO {}",
            shop.app
        ))
        .unwrap();
    let answer = of(&shop, "'shop.contact'", "shop.f[23]");
    for crossed in ["app/function shop.f2()/crossed", "app/view shop.f3/crossed"] {
        assert!(
            answer.iter().any(|line| line.starts_with(crossed)),
            "{answer:#?}"
        );
    }
}

#[test]
fn a_view_is_written_through() {
    let shop = Shop::contacts();
    shop.db
        .superuser()
        .batch_execute(&format!(
            "CREATE VIEW shop.mine AS SELECT id, account_id AS whose, name FROM shop.contact
                 WHERE account_id = tenant_guard.account_id();
             CREATE VIEW shop.bin AS SELECT id FROM shop.contact;
             GRANT SELECT, INSERT ON shop.mine TO {app}; GRANT DELETE ON shop.bin TO {app}",
            app = shop.app
        ))
        .unwrap();
    let answer = of(&shop, "'shop.contact'", "^view .*:");
    assert_eq!(answer[0], "verdict/failed");
    for crossed in [
        "app/view shop.mine: insert/crossed",
        "app/view shop.bin: delete of every row/crossed",
    ] {
        assert!(answer.contains(&crossed.into()), "{answer:#?}");
    }
    assert!(answer.contains(&"app/view shop.mine: delete of every row/refused/SQLSTATE 42501, a privilege is missing".into()), "{answer:#?}");
}

#[test]
fn truncate_crosses_where_it_is_granted() {
    let shop = Shop::contacts();
    let answer = of(&shop, "'shop.contact'", "^truncate$");
    assert_eq!(
        answer,
        [
            "verdict/passed",
            "app/truncate/refused/SQLSTATE 42501, a privilege is missing",
            "owner/truncate/by design/whoever owns a table may empty it, as drop it"
        ]
    );
    let granted = format!("GRANT TRUNCATE ON shop.contact TO {}", shop.app);
    shop.unguarded().batch_execute(&granted).unwrap();
    let answer = of(&shop, "'shop.contact'", "^truncate$");
    assert!(
        answer.contains(&"app/truncate/crossed".into()),
        "{answer:#?}"
    );
}

#[test]
fn every_partition_and_child_is_read() {
    let shop = Shop::with(
        "CREATE TABLE shop.event (id int, account_id uuid, PRIMARY KEY (id)) PARTITION BY RANGE (id);
         CREATE TABLE shop.event_low PARTITION OF shop.event FOR VALUES FROM (0) TO (1000);
         CREATE TABLE shop.event_rest PARTITION OF shop.event DEFAULT;
         SELECT tenant_guard.protect('shop.event')",
    );
    assert_eq!(of(&shop, "'shop.event'", "^$"), ["verdict/passed"]);
    shop.unguarded_owner()
        .batch_execute("ALTER TABLE shop.event_low DISABLE ROW LEVEL SECURITY")
        .unwrap();
    let answer = of(&shop, "'shop.event'", "event_low");
    assert!(
        answer.contains(
            &"app/shop.event_low: select/crossed/row security does not hold the role".into()
        ),
        "{answer:#?}"
    );
}

#[test]
fn a_view_of_some_columns_and_of_one_role_is_read() {
    let shop = Shop::contacts();
    let second = shop.db.role("second");
    shop.db
        .superuser()
        .batch_execute(&format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON shop.contact TO {second};
             CREATE VIEW shop.part AS SELECT id, name FROM shop.contact WHERE current_user = '{second}';
             GRANT SELECT (id) ON shop.part TO {}, {second}",
            shop.app
        ))
        .unwrap();
    let answer = of(&shop, "'shop.contact'", "^view");
    assert!(
        answer.iter().any(|line| {
            line.contains("/view shop.part/crossed/")
                && line.ends_with(&format!("as {second} alone"))
        }),
        "{answer:#?}"
    );
}

#[test]
fn keys_with_few_made_up_values_are_planted() {
    let shop = Shop::with(
        "CREATE TABLE shop.priced (price numeric PRIMARY KEY, account_id uuid);
         INSERT INTO shop.priced SELECT g, '00000000-0000-0000-0000-000000000001' FROM generate_series(1, 9) AS g;
         CREATE TABLE shop.host (address inet PRIMARY KEY, account_id uuid);
         CREATE TABLE shop.short (code varchar(1) PRIMARY KEY, account_id uuid);
         SELECT tenant_guard.protect('shop.priced'), tenant_guard.protect('shop.host'),
             tenant_guard.protect('shop.short')",
    );
    for table in ["priced", "host"] {
        let answer = of(&shop, &format!("'shop.{table}'"), "^$");
        assert_eq!(answer, ["verdict/passed"], "{table}");
    }
    let chosen =
        "'shop.short', canary => '[{\"code\": \"a\"}, {\"code\": \"b\"}, {\"code\": \"c\"}]'";
    assert_eq!(of(&shop, chosen, "^$"), ["verdict/passed"]);
}

#[test]
fn names_that_mean_nothing_fail() {
    let shop = Shop::contacts();
    let answer = of(
        &shop,
        "'shop.contact', '{no such attempt}', trust => '{function shop.gone()}'",
        "^$",
    );
    assert_eq!(
        answer,
        [
            "verdict/failed",
            "accept no such attempt/not tried",
            "trust function shop.gone()/not tried"
        ]
    );
    expect_error(
        shop.db
            .superuser()
            .batch_execute("SELECT tenant_guard.probe_gate('shop.contact', '{no such attempt}')"),
        "55000",
        "probe of shop.contact failed",
    );
}

#[test]
fn what_returns_a_cursor_or_aggregates_is_not_tried() {
    let shop = Shop::contacts();
    shop.db
        .superuser()
        .batch_execute(
            "CREATE FUNCTION shop.rc() RETURNS refcursor LANGUAGE plpgsql STABLE SECURITY DEFINER AS $$
             DECLARE c refcursor := 'c';
             BEGIN OPEN c FOR SELECT * FROM shop.contact; RETURN c; END $$;
             CREATE FUNCTION shop.sf(text, int) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
                 'BEGIN RETURN (SELECT string_agg(name, '','') FROM shop.contact); END';
             REVOKE ALL ON FUNCTION shop.sf(text, int) FROM PUBLIC;
             CREATE AGGREGATE shop.ag(int) (SFUNC = shop.sf, STYPE = text)",
        )
        .unwrap();
    let answer = of(&shop, "'shop.contact'", "shop.(rc|ag)");
    for untried in [
        "app/function shop.rc()/not tried/it returns a cursor",
        "app/function shop.ag(integer)/not tried/it is an aggregate",
    ] {
        assert!(answer.contains(&untried.into()), "{answer:#?}");
    }
}
