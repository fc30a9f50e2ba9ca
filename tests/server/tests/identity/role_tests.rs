//! Tests of the token's roles and levels, as policies ask them: with constants, once a row.

use postgres::Client;
use serde_json::json;
use tenant_guard_tests::{expect_error, lines};

use super::{ACME, Fixture, expect_no_identity, run};

fn sign_in(fixture: &Fixture, client: &mut Client, subject: &str, roles: &[&str], level: &str) {
    let mut claims = fixture.issuer.claims(ACME);
    claims["sub"] = json!(subject);
    claims["roles"] = json!(roles);
    claims["aal"] = json!(level);
    let token = fixture.issuer.sign(&claims);
    let authenticate = "SELECT tenant_guard.authenticate($1)";
    client.execute(authenticate, &[&token]).unwrap();
}

#[test]
fn any_of_the_roles_suffices() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    run(&mut client, "BEGIN");
    sign_in(
        &fixture,
        &mut client,
        "7",
        &["agent", "it's, \"me\""],
        "aal2",
    );
    let ask = |client: &mut Client, array: &str| {
        lines(
            client,
            &format!("SELECT tenant_guard.has_any_role({array})"),
        )
    };
    for (array, answer) in [
        ("'{admin,agent}'", "t"),
        ("'{admin}'", "f"),
        ("'{}'", "f"),
        ("'{NULL,Agent}'", "f"),
        ("ARRAY[NULL, 'it''s, \"me\"']", "t"),
        ("NULL", "<null>"),
    ] {
        assert_eq!(ask(&mut client, array), [answer], "{array}");
    }
    run(&mut client, "ROLLBACK");
    expect_error(
        client.simple_query("SELECT tenant_guard.has_any_role('{agent}')"),
        "28000",
        "no identity is bound",
    );
    expect_no_identity(&mut client);
}

/// An answer is kept for a constant only: rows that ask for different roles get different answers.
#[test]
fn roles_that_change_from_row_to_row_are_asked_anew() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    run(&mut client, "BEGIN");
    sign_in(&fixture, &mut client, "7", &["agent"], "aal1");
    assert_eq!(
        lines(
            &mut client,
            "SELECT r, tenant_guard.has_any_role(ARRAY[r]), tenant_guard.has_assurance(l)
             FROM (VALUES ('agent', 'aal1'), ('admin', 'aal2'), ('agent', 'aal1')) AS v (r, l)"
        ),
        ["agent|t|t", "admin|f|f", "agent|t|t"]
    );
    run(
        &mut client,
        "CREATE FUNCTION pg_temp.ask() RETURNS text LANGUAGE plpgsql AS $$
         DECLARE role text; answers text := '';
         BEGIN
             FOREACH role IN ARRAY '{agent,admin,agent}'::text[] LOOP
                 answers := answers || CASE WHEN tenant_guard.has_any_role(ARRAY[role])
                     THEN 't' ELSE 'f' END;
             END LOOP;
             RETURN answers;
         END $$",
    );
    assert_eq!(lines(&mut client, "SELECT pg_temp.ask()"), ["tft"]);
}

/// A cursor keeps its plan's state over a sign-in of the same account with other roles, and over the
/// rollback of that sign-in.
#[test]
fn answers_follow_the_identity_inside_of_one_plan() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    run(&mut client, "BEGIN");
    sign_in(&fixture, &mut client, "7", &["agent"], "aal1");
    run(
        &mut client,
        "DECLARE c CURSOR FOR SELECT tenant_guard.has_any_role('{admin}'),
             tenant_guard.has_assurance('aal2'), tenant_guard.subject(),
             tenant_guard.user_id_bigint() FROM generate_series(1, 9)",
    );
    let next = |client: &mut Client| lines(client, "FETCH c");
    assert_eq!(next(&mut client), ["f|f|7|7"]);
    run(&mut client, "SAVEPOINT s");
    sign_in(&fixture, &mut client, "8", &["admin"], "aal2");
    assert_eq!(next(&mut client), ["t|t|8|8"]);
    run(&mut client, "ROLLBACK TO s");
    assert_eq!(next(&mut client), ["f|f|7|7"]);
    sign_in(&fixture, &mut client, "-8", &["admin"], "aal1");
    assert_eq!(next(&mut client), ["t|f|-8|-8"]);
    run(&mut client, "SELECT tenant_guard.sign_out()");
    expect_error(client.simple_query("FETCH c"), "28000", "no identity");
}

#[test]
fn subject_of_another_shape_than_the_column_is_an_error() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    for subject in ["007", "seven", "9223372036854775808", " 7"] {
        run(&mut client, "BEGIN");
        sign_in(&fixture, &mut client, subject, &[], "aal1");
        assert_eq!(
            lines(&mut client, "SELECT tenant_guard.subject()"),
            [subject]
        );
        expect_error(
            client.simple_query("SELECT tenant_guard.user_id_bigint()"),
            "22P02",
            "subject of the current identity is not of type bigint",
        );
        run(&mut client, "ROLLBACK");
    }
}

#[test]
fn a_token_without_subject_has_none() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    let mut claims = fixture.issuer.claims(ACME);
    claims.as_object_mut().unwrap().remove("sub");
    let token = fixture.issuer.sign(&claims);
    run(&mut client, "BEGIN");
    let authenticate = "SELECT tenant_guard.authenticate($1)";
    client.execute(authenticate, &[&token]).unwrap();
    assert_eq!(
        lines(
            &mut client,
            "SELECT tenant_guard.subject(), tenant_guard.user_id(), tenant_guard.user_id_bigint()"
        ),
        ["<null>|<null>|<null>"]
    );
}

/// PostgreSQL makes no one-time filter of a policy's condition, so each row asks, the cheap test first.
#[test]
fn role_test_of_a_policy_is_asked_before_the_account() {
    let fixture = Fixture::new();
    run(
        &mut fixture.db.superuser(),
        "ALTER POLICY account ON note USING (account_id = tenant_guard.account_id()
             AND tenant_guard.has_any_role('{admin}'))",
    );
    let mut client = fixture.session();
    run(&mut client, "BEGIN");
    sign_in(&fixture, &mut client, "7", &["agent"], "aal1");
    let plan = lines(&mut client, "EXPLAIN (COSTS off) SELECT id FROM note");
    assert_eq!(
        plan,
        [
            "Seq Scan on note",
            "  Filter: (tenant_guard.has_any_role('{admin}'::text[]) \
             AND (account_id = tenant_guard.account_id()))",
        ]
    );
}

#[test]
fn parallel_workers_ask_of_the_same_identity() {
    let fixture = Fixture::new();
    let mut client = fixture.session();
    run(
        &mut client,
        "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
         SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
         SET parallel_leader_participation = off; BEGIN",
    );
    sign_in(&fixture, &mut client, "7", &["agent"], "aal2");
    let query = "SELECT count(*), count(*) FILTER (WHERE tenant_guard.has_any_role('{agent}')
             AND tenant_guard.has_assurance('aal2') AND tenant_guard.user_id_bigint() = 7
             AND tenant_guard.subject() = '7'),
         count(*) FILTER (WHERE tenant_guard.has_any_role('{admin}'))
         FROM pg_catalog.pg_class";
    let plan = lines(&mut client, &format!("EXPLAIN (COSTS off) {query}"));
    assert!(plan.iter().any(|line| line.contains("Gather")), "{plan:?}");
    let counts = lines(&mut client, query);
    let counts: Vec<_> = counts[0].split('|').collect();
    assert_eq!((counts[0], counts[2]), (counts[1], "0"));
}
