//! The floor from the registry: it holds where a superuser dropped or altered a policy by mistake.

use postgres::{Client, Transaction};
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Cluster, Database, expect_error, lines};

use super::Shop;
use super::archetypes::{TABLES, every_archetype};

const FLOOR: &str = "new row violates row-level security policy \"tenant_guard_floor\"";

/// Drops every policy of ours and lets everybody do everything.
const OPEN_ALL: &str = "DO $$
    DECLARE p record;
    BEGIN
        FOR p IN SELECT polname, polrelid::regclass AS relation FROM pg_policy LOOP
            EXECUTE format('DROP POLICY %I ON %s', p.polname, p.relation);
        END LOOP;
        FOR p IN SELECT oid::regclass AS relation FROM pg_class WHERE relrowsecurity LOOP
            EXECUTE format('CREATE POLICY open ON %s USING (true) WITH CHECK (true)', p.relation);
        END LOOP;
    END $$";

#[track_caller]
fn run(client: &mut Client, statements: &str) {
    client.batch_execute(statements).unwrap();
}

/// The other account's rows stay hidden and untouched, and none can be written.
fn assert_held(shop: &Shop) {
    shop.within(ACCOUNT_B, |t| {
        assert_eq!(lines(t, "SELECT name FROM shop.contact"), ["bob"]);
        for refused in [
            format!("INSERT INTO shop.contact VALUES (9, '{ACCOUNT_A}', 'eve')"),
            format!("UPDATE shop.contact SET account_id = '{ACCOUNT_A}'"),
            format!(
                "INSERT INTO shop.contact VALUES (3, '{ACCOUNT_B}', '')
                 ON CONFLICT (id) DO UPDATE SET account_id = '{ACCOUNT_A}'"
            ),
        ] {
            let mut savepoint = t.transaction().unwrap();
            expect_error(savepoint.batch_execute(&refused), "42501", FLOOR);
        }
        let mut savepoint = t.transaction().unwrap();
        assert_eq!(
            savepoint
                .execute("UPDATE shop.contact SET name = 'x'", &[])
                .unwrap(),
            1
        );
        assert_eq!(
            savepoint.execute("DELETE FROM shop.contact", &[]).unwrap(),
            1
        );
        savepoint.rollback().unwrap();
    });
}

fn assert_found(shop: &Shop) {
    let codes = shop.check("code");
    assert!(codes.contains(&"37-floor-altered".to_owned()), "{codes:?}");
}

#[test]
fn floor_dropped_and_access_opened_by_a_superuser_show_no_other_account() {
    let shop = Shop::contacts();
    run(
        &mut shop.unguarded(),
        "DROP POLICY tenant_guard_floor ON shop.contact;
         ALTER POLICY tenant_guard_access ON shop.contact USING (true) WITH CHECK (true)",
    );
    assert_held(&shop);
    assert_found(&shop);
}

#[test]
fn floor_altered_to_true_by_a_superuser_shows_no_other_account() {
    let shop = Shop::contacts();
    run(
        &mut shop.unguarded(),
        "ALTER POLICY tenant_guard_floor ON shop.contact USING (true) WITH CHECK (true);
         ALTER POLICY tenant_guard_access ON shop.contact USING (true) WITH CHECK (true)",
    );
    assert_held(&shop);
    assert_found(&shop);
}

#[test]
fn access_policy_of_true_beside_a_dropped_floor_shows_no_other_account() {
    let shop = Shop::contacts();
    run(
        &mut shop.unguarded(),
        "DROP POLICY tenant_guard_floor ON shop.contact;
         CREATE POLICY support ON shop.contact USING (true)",
    );
    assert_held(&shop);
    assert_found(&shop);
}

/// What an account and a session without one can see and do in every archetype.
fn possible(shop: &Shop) -> Vec<String> {
    let mut possible = Vec::new();
    let mut try_all = |who: &str, t: &mut Transaction<'_>| {
        for table in TABLES {
            for statement in [
                format!("SELECT * FROM shop.{table} ORDER BY 1"),
                format!("UPDATE shop.{table} AS t SET id = t.id RETURNING t.*")
                    .replace(
                        "country AS t SET id = t.id",
                        "country AS t SET code = t.code",
                    )
                    .replace(
                        "reaction AS t SET id = t.id",
                        "reaction AS t SET emoji = t.emoji",
                    ),
                format!("DELETE FROM shop.{table} RETURNING *"),
                format!("INSERT INTO shop.{table} SELECT * FROM shop.{table} RETURNING *"),
            ] {
                let mut savepoint = t.transaction().unwrap();
                let outcome = match savepoint.simple_query(&statement) {
                    Ok(_) => {
                        savepoint.rollback().unwrap();
                        let mut again = t.transaction().unwrap();
                        format!("{:?}", lines(&mut again, &statement))
                    }
                    Err(error) => format!("{:?}", error.code()),
                };
                possible.push(format!("{who}: {statement}: {outcome}"));
            }
        }
        let message = |thread| format!("INSERT INTO shop.message VALUES (99, {thread})");
        for statement in [message("1"), message("2"), message("NULL")] {
            let mut savepoint = t.transaction().unwrap();
            let done = savepoint.batch_execute(&statement).is_ok();
            possible.push(format!("{who}: {statement}: {done}"));
        }
    };
    for account in [ACCOUNT_A, ACCOUNT_B] {
        let mut session = shop.app();
        let mut t = session.transaction().unwrap();
        shop.issuer.sign_in(&mut t, account);
        try_all(account, &mut t);
    }
    let mut session = shop.app();
    // Without preloading, the library comes with its first function.
    run(&mut session, "SELECT tenant_guard.version()");
    try_all("nobody", &mut session.transaction().unwrap());
    possible
}

#[test]
fn without_any_policy_of_ours_every_archetype_lets_do_what_it_did() {
    let shop = every_archetype();
    let before = possible(&shop);
    assert!(
        before.iter().any(|line| line.contains("of a")),
        "{before:#?}"
    );
    run(&mut shop.unguarded(), OPEN_ALL);
    for (after, before) in possible(&shop).iter().zip(&before) {
        assert_eq!(after, before);
    }
}

#[test]
fn where_the_policies_stand_nothing_is_evaluated_twice() {
    let shop = every_archetype();
    let plans = |shop: &Shop| {
        shop.within(ACCOUNT_A, |t| {
            let mut plans = Vec::new();
            for table in TABLES {
                let copy = format!("INSERT INTO shop.{table} SELECT * FROM shop.{table}");
                for statement in [format!("SELECT FROM shop.{table}"), copy] {
                    let explain = format!("EXPLAIN (VERBOSE, COSTS off) {statement}");
                    plans.push(lines(t, &explain));
                }
            }
            plans
        })
    };
    let hooked = plans(&shop);
    // What is not registered is left to its policies.
    run(
        &mut shop.unguarded(),
        "DELETE FROM tenant_guard.protection_member",
    );
    assert_eq!(plans(&shop), hooked);
}

#[test]
fn removing_the_registration_as_well_leaves_only_the_policies() {
    let shop = Shop::contacts();
    run(
        &mut shop.unguarded(),
        "DROP POLICY tenant_guard_floor ON shop.contact;
         ALTER POLICY tenant_guard_access ON shop.contact USING (true);
         DELETE FROM tenant_guard.protection_member",
    );
    shop.within(ACCOUNT_B, |t| {
        assert_eq!(lines(t, "SELECT count(*) FROM shop.contact"), ["3"]);
    });
}

#[test]
fn statement_prepared_before_the_protection_is_held_by_it() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid, name text);
         ALTER TABLE shop.contact ENABLE ROW LEVEL SECURITY;
         CREATE POLICY open ON shop.contact USING (true) WITH CHECK (true);
         INSERT INTO shop.contact VALUES (1, '{ACCOUNT_A}', 'ann'), (2, '{ACCOUNT_B}', 'bob')"
    ));
    let mut session = shop.app();
    run(
        &mut session,
        "SET plan_cache_mode = force_generic_plan; SELECT tenant_guard.version();
         PREPARE names AS SELECT name FROM shop.contact ORDER BY id",
    );
    assert_eq!(lines(&mut session, "EXECUTE names"), ["ann", "bob"]);
    run(
        &mut shop.owner(),
        "SELECT tenant_guard.protect('shop.contact')",
    );
    run(&mut shop.unguarded(), OPEN_ALL);
    let mut t = session.transaction().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_B);
    assert_eq!(lines(&mut t, "EXECUTE names"), ["bob"]);
    t.commit().unwrap();
    run(
        &mut shop.owner(),
        "SELECT tenant_guard.unprotect('shop.contact')",
    );
    assert_eq!(lines(&mut session, "EXECUTE names"), ["ann", "bob"]);
}

#[test]
fn protection_that_is_rolled_back_holds_nothing() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid, name text);
         ALTER TABLE shop.contact ENABLE ROW LEVEL SECURITY;
         ALTER TABLE shop.contact FORCE ROW LEVEL SECURITY;
         CREATE POLICY open ON shop.contact USING (true) WITH CHECK (true);
         INSERT INTO shop.contact VALUES (1, '{ACCOUNT_A}', 'ann')"
    ));
    let mut owner = shop.owner();
    let read = "SELECT name FROM shop.contact";
    assert_eq!(lines(&mut owner, read), ["ann"]);
    for end in ["ROLLBACK", "ROLLBACK TO a; COMMIT"] {
        run(
            &mut owner,
            "BEGIN; SAVEPOINT a; SELECT tenant_guard.protect('shop.contact'); SAVEPOINT b",
        );
        expect_error(owner.simple_query(read), "28000", "no identity");
        run(&mut owner, end);
        assert_eq!(lines(&mut owner, read), ["ann"]);
    }
}

#[test]
fn renamed_account_column_is_found_by_its_number() {
    let shop = Shop::contacts();
    run(
        &mut shop.unguarded(),
        &format!(
            "ALTER TABLE shop.contact RENAME account_id TO org;
             ALTER TABLE shop.contact ADD account_id uuid DEFAULT '{ACCOUNT_B}';
             {OPEN_ALL}"
        ),
    );
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(
            lines(t, "SELECT name FROM shop.contact ORDER BY 1"),
            ["abe", "ann"]
        );
    });
}

#[test]
fn link_that_is_renamed_closes_until_it_is_protected_again() {
    let shop = every_archetype();
    run(
        &mut shop.owner(),
        "ALTER TABLE shop.message RENAME thread_id TO conversation",
    );
    shop.within(ACCOUNT_A, |t| {
        let mut savepoint = t.transaction().unwrap();
        expect_error(
            savepoint.simple_query("SELECT FROM shop.message"),
            "55000",
            "column \"thread_id\" of protected relation shop.message is not there as it was protected",
        );
    });
    run(
        &mut shop.owner(),
        "SELECT tenant_guard.protect('shop.message', via => 'conversation')",
    );
    shop.within(ACCOUNT_A, |t| {
        assert_eq!(lines(t, "SELECT id FROM shop.message"), ["10"]);
    });
}

#[test]
fn restored_database_is_held_where_its_policies_are_dropped() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.contact (gone int, other uuid, id int PRIMARY KEY, account_id uuid, name text);
         ALTER TABLE shop.contact DROP gone;
         INSERT INTO shop.contact VALUES ('{ACCOUNT_B}', 1, '{ACCOUNT_A}', 'ann'),
             ('{ACCOUNT_A}', 3, '{ACCOUNT_B}', 'bob');
         SELECT tenant_guard.protect('shop.contact')"
    ));
    let restored = Database::empty();
    restored.restore(&shop.db.pg_dump(&[]));
    run(
        &mut restored.superuser(),
        &format!("SET tenant_guard.guards = off; {OPEN_ALL}"),
    );
    let mut session = restored.connect_as(&shop.app);
    let mut t = session.transaction().unwrap();
    shop.issuer.sign_in(&mut t, ACCOUNT_B);
    assert_eq!(lines(&mut t, "SELECT name FROM shop.contact"), ["bob"]);
}

#[test]
fn query_of_a_parallel_worker_s_own_is_held() {
    let shop = Shop::contacts();
    run(
        &mut shop.unguarded(),
        &format!(
            "{OPEN_ALL};
             CREATE FUNCTION shop.names() RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE AS
                 $$BEGIN RETURN (SELECT string_agg(name, ',') FROM shop.contact); END$$"
        ),
    );
    shop.within(ACCOUNT_B, |t| {
        // It was named force_parallel_mode before version 16.
        lines(
            t,
            "SELECT set_config(name, 'on', true) FROM pg_settings
             WHERE name IN ('force_parallel_mode', 'debug_parallel_query')",
        );
        let plan = lines(t, "EXPLAIN (COSTS off) SELECT shop.names()");
        assert!(plan[0].contains("Gather"), "{plan:?}");
        assert_eq!(lines(t, "SELECT shop.names()"), ["bob"]);
    });
}

#[test]
fn dropping_the_extension_closes_every_archetype() {
    let shop = every_archetype();
    let mut before = shop.app();
    run(&mut before, "SELECT tenant_guard.version()");
    assert_eq!(
        lines(&mut before, "SELECT count(*) FROM shop.country"),
        ["2"]
    );
    run(&mut shop.unguarded(), "DROP EXTENSION tenant_guard CASCADE");
    for session in [&mut before, &mut shop.app(), &mut shop.owner()] {
        for table in TABLES {
            let rows = lines(session, &format!("SELECT FROM shop.{table}"));
            assert!(rows.is_empty(), "{table} shows {rows:?}");
            expect_error(
                session.batch_execute(&format!("INSERT INTO shop.{table} DEFAULT VALUES")),
                "42501",
                "new row violates row-level security policy",
            );
        }
    }
}

/// Tests run without the just-in-time compiler, which most servers have on.
#[test]
fn compiled_statements_are_held() {
    let shop = Shop::contacts();
    run(&mut shop.unguarded(), OPEN_ALL);
    shop.within(ACCOUNT_B, |t| {
        t.batch_execute(
            "SET LOCAL jit = on; SET LOCAL jit_above_cost = 0;
             SET LOCAL jit_inline_above_cost = 0; SET LOCAL jit_optimize_above_cost = 0",
        )
        .unwrap();
        if lines(t, "SELECT pg_jit_available()") == ["t"] {
            let plan = lines(t, "EXPLAIN SELECT name FROM shop.contact");
            assert!(plan.contains(&"JIT:".to_owned()), "{plan:?}");
        }
        assert_eq!(lines(t, "SELECT name FROM shop.contact"), ["bob"]);
        let refused = format!("INSERT INTO shop.contact VALUES (9, '{ACCOUNT_A}', 'eve')");
        expect_error(t.batch_execute(&refused), "42501", FLOOR);
    });
}

/// A cluster whose every session has the library from its start.
fn preloading() -> std::sync::Arc<Cluster> {
    Cluster::start(&["shared_preload_libraries=tenant_guard"])
}

#[test]
fn preloaded_library_holds_sessions_that_never_signed_in() {
    let shop = Shop::of(preloading().database());
    run(
        &mut shop.owner(),
        &format!(
            "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid, name text);
             INSERT INTO shop.contact VALUES (1, '{ACCOUNT_A}', 'ann'), (3, '{ACCOUNT_B}', 'bob');
             SELECT tenant_guard.protect('shop.contact')"
        ),
    );
    run(&mut shop.unguarded(), OPEN_ALL);
    expect_error(
        shop.app().simple_query("SELECT FROM shop.contact"),
        "28000",
        "no identity is bound to this transaction",
    );
    assert_held(&shop);
}

#[test]
fn library_preloaded_for_a_database_holds_its_sessions_from_their_start() {
    let shop = Shop::contacts();
    let database = shop.db.name();
    run(
        &mut shop.unguarded(),
        &format!(
            "ALTER DATABASE {database} SET session_preload_libraries = 'tenant_guard'; {OPEN_ALL}"
        ),
    );
    expect_error(
        shop.app().simple_query("SELECT FROM shop.contact"),
        "28000",
        "no identity is bound to this transaction",
    );
}

#[test]
fn preloaded_library_lets_a_database_without_the_extension_alone() {
    let db = preloading().empty_database();
    let role = db.role("app");
    let mut superuser = db.superuser();
    let table = format!(
        "CREATE TABLE note (body text); ALTER TABLE note ENABLE ROW LEVEL SECURITY;
         CREATE POLICY open ON note USING (true) WITH CHECK (true);
         INSERT INTO note VALUES ('x'); GRANT ALL ON note TO {role}"
    );
    run(&mut superuser, &table);
    let mut session = db.connect_as(&role);
    let read = "SELECT body FROM note";
    assert_eq!(lines(&mut session, read), ["x"]);
    // Somebody's own schema of that name is not ours.
    run(
        &mut superuser,
        "CREATE SCHEMA tenant_guard;
         CREATE TABLE tenant_guard.protection_member (relation int PRIMARY KEY, root int);
         INSERT INTO tenant_guard.protection_member VALUES ('note'::regclass::int, 0)",
    );
    assert_eq!(lines(&mut session, read), ["x"]);
    for _ in 0..2 {
        run(
            &mut superuser,
            "DROP SCHEMA tenant_guard CASCADE; CREATE EXTENSION tenant_guard",
        );
        assert_eq!(lines(&mut session, read), ["x"]);
        run(&mut superuser, "DROP EXTENSION tenant_guard CASCADE");
        assert_eq!(lines(&mut session, read), ["x"]);
        run(&mut superuser, "CREATE SCHEMA IF NOT EXISTS tenant_guard");
    }
}
