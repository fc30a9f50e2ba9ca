//! Attacks on identity from inside a session: procedures that commit, old snapshots, hostile JSON,
//! owners and installations that change under an open session.

use postgres::{Client, Error};
use serde_json::json;
use serde_json::value::RawValue;
use tenant_guard_tests::{Database, Issuer, assert_ordinary, expect_error, lines};

use super::forging::stolen_value;
use super::{ACME, BETA, Fixture, expect_no_identity, notes, run};

const AUTHENTICATE: &str = "SELECT tenant_guard.authenticate($1)";

fn sign_in(client: &mut Client, token: &str) -> Result<u64, Error> {
    client.execute(AUTHENTICATE, &[&token])
}

fn replace_keys(fixture: &Fixture, by: &Issuer) {
    fixture
        .db
        .superuser()
        .execute(
            "SELECT tenant_guard.set_issuer_keys($1, $2)",
            &[&by.name(), &by.jwks()],
        )
        .expect("the issuer is known");
}

/// A procedure of the application: `CREATE` on a schema is all it takes.
fn create_procedure(fixture: &Fixture, definition: &str) {
    let create = format!("GRANT CREATE ON SCHEMA public TO {}", fixture.app);
    run(&mut fixture.db.superuser(), &create);
    run(
        &mut fixture.session(),
        &format!("CREATE PROCEDURE {definition}"),
    );
}

/// The readers return pointers into backend memory, and a CALL does not copy its arguments: what
/// they point to must neither change nor go when the procedure commits and another account signs in.
#[test]
fn arguments_of_a_call_survive_another_account_signing_in() {
    let fixture = Fixture::new();
    create_procedure(
        &fixture,
        "swap(_ jsonb, id uuid, name text, token text, INOUT seen text) LANGUAGE plpgsql AS $$
         BEGIN
             COMMIT;
             FOR i IN 1..3 LOOP
                 PERFORM tenant_guard.authenticate(token);
                 COMMIT;
             END LOOP;
             seen := concat_ws(' ', id, name);
         END $$",
    );
    let mut client = fixture.session();
    let seen = lines(
        &mut client,
        &format!(
            "CALL swap(tenant_guard.authenticate('{}'), tenant_guard.account_id(),
                       tenant_guard.account_id_text(), '{}', '')",
            fixture.issuer.token(ACME),
            fixture.issuer.token(BETA),
        ),
    );
    assert_eq!(seen, [format!("{ACME} {ACME}")]);
}

/// PostgreSQL keeps the cursor of a loop whose body commits, and `pg_cursors` does not call it
/// holdable.
#[test]
fn loop_over_an_accounts_rows_keeps_another_account_out_after_commit() {
    let fixture = Fixture::new();
    create_procedure(
        &fixture,
        "mix(first text, second text) LANGUAGE plpgsql AS $$
         DECLARE
             found record;
         BEGIN
             PERFORM tenant_guard.authenticate(first);
             FOR found IN SELECT id FROM note ORDER BY id LOOP
                 COMMIT;
                 PERFORM tenant_guard.authenticate(second);
             END LOOP;
         END $$",
    );
    let (acme, beta) = (fixture.issuer.token(ACME), fixture.issuer.token(BETA));
    let mut client = fixture.session();
    expect_error(
        client.batch_execute(&format!("CALL mix('{acme}', '{beta}')")),
        "55000",
        "a holdable cursor of another account is open",
    );
    run(&mut client, &format!("CALL mix('{beta}', '{beta}')"));
}

#[test]
fn accounts_may_follow_each_other_in_a_procedure_that_commits() {
    let fixture = Fixture::new();
    create_procedure(
        &fixture,
        "each_account(tokens text[], INOUT seen text) LANGUAGE plpgsql AS $$
         DECLARE
             token text;
         BEGIN
             FOREACH token IN ARRAY tokens LOOP
                 PERFORM tenant_guard.authenticate(token);
                 seen := concat(seen, (SELECT count(*) FROM note), ' ');
                 COMMIT;
             END LOOP;
         END $$",
    );
    let (acme, beta) = (fixture.issuer.token(ACME), fixture.issuer.token(BETA));
    let call = format!("CALL each_account(ARRAY['{acme}', '{beta}', '{acme}'], '')");
    assert_eq!(lines(&mut fixture.session(), &call), ["2 1 2 "]);
}

/// Under an old snapshot the retired key is still in the table: whoever loads it there would go on
/// believing it, in this transaction and in all later ones of the session.
#[test]
fn retired_key_is_not_brought_back_by_an_old_snapshot() {
    let fixture = Fixture::new();
    let stolen = fixture.issuer.token(ACME);
    let successor = Issuer::es256(fixture.issuer.name());
    for write in ["SELECT 1", "CREATE TEMP TABLE with_an_id ()"] {
        let mut client = fixture.session();
        run(
            &mut client,
            &format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {write}"),
        );
        replace_keys(&fixture, &successor);
        expect_error(
            sign_in(&mut client, &stolen),
            "28000",
            "token names no known key",
        );
        run(&mut client, "ROLLBACK; BEGIN");
        expect_error(
            sign_in(&mut client, &stolen),
            "28000",
            "token names no known key",
        );
        replace_keys(&fixture, &fixture.issuer);
    }
}

#[test]
fn keys_that_were_rolled_back_verify_nothing() {
    let fixture = Fixture::new();
    let successor = Issuer::es256(fixture.issuer.name());
    let mut superuser = fixture.db.superuser();
    for (begin, end) in [
        ("BEGIN", "ROLLBACK"),
        ("BEGIN; SAVEPOINT s", "ROLLBACK TO s"),
    ] {
        run(&mut superuser, begin);
        superuser
            .execute(
                "SELECT tenant_guard.set_issuer_keys($1, $2)",
                &[&successor.name(), &successor.jwks()],
            )
            .expect("the issuer is known");
        sign_in(&mut superuser, &successor.token(ACME)).expect("its own change counts");
        run(&mut superuser, end);
        sign_in(&mut superuser, &fixture.issuer.token(ACME)).expect("the old key is back");
        expect_error(
            sign_in(&mut superuser, &successor.token(ACME)),
            "28000",
            "token names no known key",
        );
        run(&mut superuser, "ROLLBACK");
    }
}

#[test]
fn edits_of_the_issuer_table_reach_open_sessions() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    let token = fixture.issuer.token(ACME);
    let mut superuser = fixture.db.superuser();
    run(
        &mut superuser,
        "CREATE TEMP TABLE kept AS TABLE tenant_guard.issuer",
    );
    for (edit, undo) in [
        (
            "TRUNCATE tenant_guard.issuer",
            "INSERT INTO tenant_guard.issuer TABLE kept",
        ),
        (
            "SET session_replication_role = replica; DELETE FROM tenant_guard.issuer",
            "INSERT INTO tenant_guard.issuer TABLE kept",
        ),
        (
            "UPDATE tenant_guard.issuer SET issuer = 'https://other.test'",
            "UPDATE tenant_guard.issuer SET issuer = kept.issuer FROM kept",
        ),
    ] {
        sign_in(&mut client, &token).expect("the issuer is there");
        run(&mut superuser, edit);
        expect_error(
            sign_in(&mut client, &token),
            "28000",
            "token names no known issuer",
        );
        run(&mut superuser, undo);
    }
    sign_in(&mut client, &token).expect("the issuer is back");
}

#[test]
fn numbers_that_jsonb_cannot_hold_are_refused_like_any_malformed_token() {
    let fixture = Fixture::new();
    let refused = |number: &str| {
        let mut claims = fixture.issuer.claims(ACME);
        claims["n"] = json!("here");
        let text = claims.to_string().replace("\"here\"", number);
        let token = fixture
            .issuer
            .sign(&RawValue::from_string(text).expect("it is JSON"));
        let mut client = fixture.session();
        expect_error(sign_in(&mut client, &token), "28000", "token is malformed");
    };
    for number in [
        "1e-99999",
        "-0.0e-99999",
        "1.5e-16384",
        "1e-2147483649",
        "1e400000",
    ] {
        refused(number);
    }
}

#[test]
fn unfit_json_and_arrays_of_issuers_are_bad_arguments() {
    let fixture = Fixture::new();
    let mut superuser = fixture.db.superuser();
    let keys = fixture.issuer.jwks();
    // The longest that an interval takes beside days.
    let hours = if fixture.db.version() < 15 {
        "2147483647:59:59"
    } else {
        "2562047788:00:54"
    };
    let longest = format!("max_age => '2147483647 days {hours}'");
    for unfit in [
        r#"'{"keys": [], "n": 1e400}'"#,
        "(repeat('[', 200) || repeat(']', 200))::jsonb",
    ] {
        let add = format!("SELECT tenant_guard.add_issuer('https://x', {unfit})");
        expect_error(superuser.simple_query(&add), "22023", "key set ");
    }
    for (argument, sqlstate, message) in [
        (
            "algorithms => ARRAY['ES256', NULL]",
            "22004",
            "an element of algorithms",
        ),
        (
            "audiences => ARRAY[NULL]",
            "22004",
            "an element of audiences",
        ),
        ("leeway => '2147483647 days'", "22023", "leeway must be"),
        (longest.as_str(), "22023", "max_age must be"),
        (
            r#"claim_paths => '{"account": ["n"], "x": 1e400}'"#,
            "22023",
            "claim paths",
        ),
    ] {
        let add = format!("SELECT tenant_guard.add_issuer('https://x', $1, {argument})");
        expect_error(superuser.execute(&add, &[&keys]), sqlstate, message);
    }
}

#[test]
fn huge_arguments_are_refused_before_they_are_copied() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    for (arguments, message) in [
        ("repeat('x', 16385)", "token is too large"),
        ("repeat('x', 300000000)", "token is too large"),
        (
            "'x', repeat('x', 300000000)",
            "token does not allow the requested account",
        ),
    ] {
        let call = format!("SELECT tenant_guard.authenticate({arguments})");
        expect_error(client.simple_query(&call), "28000", message);
    }
}

/// The planted value reaches a parallel worker before the leader's state does.
#[test]
fn planted_setting_chooses_no_account_in_parallel_workers() {
    let fixture = Fixture::alone();
    let stolen = stolen_value(&fixture).replace('\'', "''");
    let app = &fixture.app;
    run(
        &mut fixture.db.superuser(),
        &format!(
            "INSERT INTO note SELECT n, '{ACME}' FROM generate_series(10, 20000) AS n;
             ANALYZE note;
             ALTER ROLE {app} SET tenant_guard.on_missing_identity = 'empty';
             ALTER ROLE {app} SET tenant_guard.identity = '{stolen}'"
        ),
    );
    for preload in ["", "tenant_guard"] {
        if !preload.is_empty() {
            let alter = format!("ALTER ROLE {app} SET session_preload_libraries = {preload}");
            run(&mut fixture.db.superuser(), &alter);
        }
        let mut client = fixture.session();
        run(
            &mut client,
            "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
             SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off",
        );
        let query = "SELECT id FROM note";
        let plan = lines(
            &mut client,
            &format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {query}"),
        );
        assert!(
            plan.iter().any(|line| line.contains("Workers Launched: 2")),
            "{plan:#?}"
        );
        assert_eq!(lines(&mut client, query), [""; 0]);
    }
}

#[test]
fn settings_planted_before_the_library_is_loaded_do_not_count() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    run(
        &mut client,
        "SET tenant_guard.allow_session_identity = on;
         SET tenant_guard.on_missing_identity = 'empty'",
    );
    let refused = client.execute(
        "SELECT tenant_guard.authenticate($1, is_local => false)",
        &[&fixture.issuer.token(ACME)],
    );
    expect_error(refused, "55000", "session identity is not allowed");
    expect_no_identity(&mut client);
}

#[test]
fn new_owner_of_the_extension_serves_open_sessions() {
    let db = Database::empty();
    let (old, new) = (db.role("old"), db.role("new"));
    let mut superuser = db.superuser();
    run(
        &mut superuser,
        &format!("ALTER ROLE {old} SUPERUSER; ALTER ROLE {new} SUPERUSER"),
    );
    let mut installer = db
        .config(&old)
        .connect(postgres::NoTls)
        .expect("the role can connect");
    run(&mut installer, "CREATE EXTENSION tenant_guard");
    let fixture = Fixture::with(db, Issuer::es256("https://issuer.test"));
    let mut client = fixture.session();
    fixture.issuer.sign_in(&mut client, ACME);
    drop(installer);
    run(
        &mut superuser,
        &format!("REASSIGN OWNED BY {old} TO {new}; DROP ROLE {old}"),
    );
    fixture.issuer.sign_in(&mut client, ACME);
    run(
        &mut superuser,
        "UPDATE tenant_guard.issuer SET leeway = '1 s'",
    );
    fixture.issuer.sign_in(&mut client, ACME);
    run(&mut superuser, &format!("ALTER ROLE {new} NOSUPERUSER"));
}

#[test]
fn new_installation_serves_open_sessions_and_the_old_one_is_gone() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    run(
        &mut client,
        "PREPARE sign_in (text) AS SELECT tenant_guard.authenticate($1); BEGIN",
    );
    let execute = format!("EXECUTE sign_in ('{}')", fixture.issuer.token(ACME));
    run(&mut client, &execute);
    run(&mut client, "COMMIT");
    let mut superuser = fixture.db.superuser();
    run(
        &mut superuser,
        "SET tenant_guard.guards = off; DROP EXTENSION tenant_guard CASCADE",
    );
    // The policy went with its function: the table is closed, not open.
    assert_eq!(notes(&mut client), [""; 0]);
    expect_error(client.simple_query(&execute), "42883", "authenticate");

    run(&mut superuser, "CREATE EXTENSION tenant_guard");
    expect_error(
        client.simple_query(&execute),
        "28000",
        "token names no known issuer",
    );
    fixture.issuer.register(&mut superuser);
    run(&mut client, &execute);
    replace_keys(&fixture, &Issuer::es256(fixture.issuer.name()));
    expect_error(
        client.simple_query(&execute),
        "28000",
        "token names no known key",
    );
}

#[test]
fn issuers_come_back_from_a_dump() {
    let fixture = Fixture::new();
    let audiences = Issuer::hs256("https://audience.test");
    fixture
        .db
        .superuser()
        .execute(
            "SELECT tenant_guard.add_issuer($1, $2, algorithms => '{HS256}', audiences => '{api}',
                 leeway => '1.5 s', max_age => '1 day')",
            &[&audiences.name(), &audiences.jwks()],
        )
        .expect("the issuer is sound");
    let issuers = "SELECT * FROM tenant_guard.issuer ORDER BY issuer";
    let wanted = lines(&mut fixture.db.superuser(), issuers);
    let dump = fixture.db.pg_dump(&[]);
    let restored = Database::empty();
    restored.restore(&dump);
    assert_eq!(lines(&mut restored.superuser(), issuers), wanted);

    let mut client = restored.connect_as(&fixture.app);
    assert_ordinary(&mut client);
    run(&mut client, "BEGIN");
    fixture.issuer.sign_in(&mut client, ACME);
    assert_eq!(notes(&mut client), ["1", "2"]);
    run(&mut client, "ROLLBACK");
    let mut claims = audiences.claims(BETA);
    expect_error(
        sign_in(&mut client, &audiences.sign(&claims)),
        "28000",
        "token audience is not accepted",
    );
    claims["aud"] = json!("api");
    sign_in(&mut client, &audiences.sign(&claims)).expect("the audience is right");
}

/// A role that may create schemas makes ours first, to stand functions beside ours later.
#[test]
fn schema_of_somebody_else_is_not_taken_over() {
    let db = Database::empty();
    let squatter = db.role("squatter");
    let mut superuser = db.superuser();
    run(
        &mut superuser,
        &format!("CREATE SCHEMA tenant_guard AUTHORIZATION {squatter}"),
    );
    expect_error(
        superuser.batch_execute("CREATE EXTENSION tenant_guard"),
        "55000",
        &format!("schema \"tenant_guard\" belongs to role \"{squatter}\", who is not superuser"),
    );
    run(
        &mut superuser,
        "ALTER SCHEMA tenant_guard OWNER TO CURRENT_USER; CREATE EXTENSION tenant_guard",
    );
}

/// A reload that is cut short must leave the session asking again, not with what it had before.
#[test]
fn cancelled_reload_keeps_no_retired_key() {
    let fixture = Fixture::new();
    let stolen = fixture.issuer.token(ACME);
    for known in [true, false] {
        let mut client = fixture.session();
        if known {
            sign_in(&mut client, &stolen).expect("the key is still trusted");
        } else {
            run(&mut client, "SELECT tenant_guard.is_authenticated()");
        }
        let successor = Issuer::es256(fixture.issuer.name());
        replace_keys(&fixture, &successor);
        let mut superuser = fixture.db.superuser();
        let mut blocker = superuser.transaction().expect("a transaction begins");
        blocker
            .batch_execute("LOCK tenant_guard.issuer IN ACCESS EXCLUSIVE MODE")
            .expect("nobody else has it");
        run(&mut client, "SET statement_timeout = '200ms'");
        expect_error(sign_in(&mut client, &stolen), "57014", "");
        blocker.rollback().expect("the lock goes");
        run(&mut client, "RESET statement_timeout");
        expect_error(
            sign_in(&mut client, &stolen),
            "28000",
            "token names no known key",
        );
        successor.sign_in(&mut client, ACME);
        replace_keys(&fixture, &fixture.issuer);
    }
}
