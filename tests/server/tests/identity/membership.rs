//! Accounts of persons: tokens without an account, memberships and lists of accounts.

use postgres::Client;
use serde_json::json;
use tenant_guard_tests::{Database, Issuer, expect_error, lines};

use super::{ACME, BETA, run};

const GONE: &str = "00000000-0000-0000-0000-00000000000c";

struct Fixture {
    db: Database,
    issuer: Issuer,
    app: String,
}

impl Fixture {
    fn new() -> Self {
        let db = Database::new();
        let issuer = Issuer::eddsa("https://issuer.test");
        let app = db.role("app");
        let mut superuser = db.superuser();
        issuer.register(&mut superuser);
        run(
            &mut superuser,
            &format!(
                "CREATE TABLE account (id uuid PRIMARY KEY, active boolean NOT NULL);
                 INSERT INTO account VALUES ('{ACME}', true), ('{BETA}', true), ('{GONE}', false);
                 CREATE TABLE member (subject text, account_id uuid NOT NULL, role text,
                     active boolean NOT NULL DEFAULT true);
                 INSERT INTO member VALUES ('ann', '{ACME}', 'owner', true),
                     ('bob', '{ACME}', NULL, true),
                     ('bob', '{BETA}', 'agent', true), ('cid', '{ACME}', 'owner', false),
                     ('dan', '{GONE}', 'owner', true);"
            ),
        );
        Self { db, issuer, app }
    }

    fn declare(&self) {
        run(
            &mut self.db.superuser(),
            "SELECT tenant_guard.set_membership('member', 'subject', 'account_id', 'role', 'active');
             SELECT tenant_guard.set_account_relation('account', 'id', 'active');",
        );
    }

    /// A token that names only a person.
    fn person(&self, subject: &str) -> String {
        let mut claims = self.issuer.claims(ACME);
        claims["sub"] = json!(subject);
        claims["roles"] = json!(["signed"]);
        claims
            .as_object_mut()
            .expect("claims are an object")
            .remove("account_id");
        self.issuer.sign(&claims)
    }

    /// Account and roles that a token gives in a transaction of an ordinary session.
    fn sign_in(&self, token: &str, account: Option<&str>) -> Result<String, postgres::Error> {
        let mut client = self.db.connect_as(&self.app);
        run(&mut client, "BEGIN");
        client.execute(
            "SELECT tenant_guard.authenticate($1, $2)",
            &[&token, &account],
        )?;
        let identity = "SELECT tenant_guard.account_id(), tenant_guard.roles()";
        Ok(lines(&mut client, identity).remove(0))
    }
}

#[test]
fn person_is_bound_to_the_account_they_belong_to() {
    let fixture = Fixture::new();
    let ann = fixture.person("ann");
    expect_error(
        fixture.sign_in(&ann, None),
        "28000",
        "token names no account",
    );
    fixture.declare();
    assert_eq!(
        fixture.sign_in(&ann, None).unwrap(),
        format!("{ACME}|{{signed,owner}}")
    );
    assert_eq!(
        fixture.sign_in(&ann, Some(ACME)).unwrap(),
        format!("{ACME}|{{signed,owner}}")
    );
    let bob = fixture.person("bob");
    assert_eq!(
        fixture.sign_in(&bob, Some(ACME)).unwrap(),
        format!("{ACME}|{{signed}}")
    );
    assert_eq!(
        fixture.sign_in(&bob, Some(BETA)).unwrap(),
        format!("{BETA}|{{signed,agent}}")
    );
}

#[test]
fn membership_is_needed_chosen_and_active() {
    let fixture = Fixture::new();
    fixture.declare();
    let refused = |subject: &str, account, message: &str| {
        let token = fixture.person(subject);
        expect_error(fixture.sign_in(&token, account), "28000", message);
    };
    refused("eve", None, "token subject belongs to no account");
    refused("eve", Some(ACME), "token subject belongs to no account");
    refused("cid", None, "token subject belongs to no account");
    refused(
        "bob",
        None,
        "token names several accounts and none was chosen",
    );
    refused(
        "ann",
        Some(BETA),
        "token does not allow the requested account",
    );
    refused("dan", None, "token account is not active");
    refused("' OR true --", None, "token subject belongs to no account");
}

#[test]
fn token_with_an_account_needs_no_membership_but_an_active_account() {
    let fixture = Fixture::new();
    fixture.declare();
    let token = fixture.issuer.token(ACME);
    assert_eq!(
        fixture.sign_in(&token, None).unwrap(),
        format!("{ACME}|{{}}")
    );
    for unknown in [GONE, "00000000-0000-0000-0000-0000000000ff", "not-a-uuid"] {
        let refused = fixture.sign_in(&fixture.issuer.token(unknown), None);
        expect_error(refused, "28000", "token account is not active");
    }
}

#[test]
fn account_that_is_not_there_yet_or_suspended_can_be_acted_for() {
    let fixture = Fixture::new();
    fixture.declare();
    let app = &fixture.app;
    run(
        &mut fixture.db.superuser(),
        &format!(
            "SELECT tenant_guard.protect('account', account_column => 'id');
             GRANT SELECT, INSERT, UPDATE ON account TO {app};
             GRANT EXECUTE ON FUNCTION tenant_guard.act_as(text, text, text[], text) TO {app}"
        ),
    );
    const NEW: &str = "00000000-0000-0000-0000-00000000000d";
    let mut client = fixture.db.connect_as(app);
    let insert = format!("INSERT INTO account VALUES ('{NEW}', true)");
    expect_error(
        client.batch_execute(&insert),
        "28000",
        "no identity is bound to this transaction",
    );
    for (account, statement) in [
        (NEW, insert.as_str()),
        (GONE, "UPDATE account SET active = true"),
    ] {
        let refused = fixture.sign_in(&fixture.issuer.token(account), None);
        expect_error(refused, "28000", "token account is not active");
        let act = format!("BEGIN; SELECT tenant_guard.act_as('{account}', 'ops', reason => 'new')");
        run(&mut client, &act);
        assert_eq!(client.execute(statement, &[]).unwrap(), 1);
        let own = "SELECT id, active FROM account";
        assert_eq!(lines(&mut client, own), [format!("{account}|t")]);
        run(&mut client, "COMMIT");
        fixture
            .sign_in(&fixture.issuer.token(account), None)
            .expect("the account is active now");
    }
    // And nobody else's account comes with it.
    run(
        &mut client,
        &format!("BEGIN; SELECT tenant_guard.act_as('{NEW}', 'ops', reason => 'x')"),
    );
    let other = format!(
        "INSERT INTO account VALUES ('{}', true)",
        NEW.replace('d', "e")
    );
    expect_error(
        client.batch_execute(&other),
        "42501",
        "new row violates row-level security policy",
    );
}

#[test]
fn changes_of_membership_hold_from_the_next_transaction() {
    let fixture = Fixture::new();
    fixture.declare();
    let (ann, mut superuser) = (fixture.person("ann"), fixture.db.superuser());
    let mut client = fixture.db.connect_as(&fixture.app);
    let sign_in = |client: &mut Client| {
        run(client, "ROLLBACK; BEGIN");
        client.execute("SELECT tenant_guard.authenticate($1)", &[&ann])
    };
    sign_in(&mut client).expect("ann is a member");
    run(
        &mut superuser,
        "UPDATE member SET active = false WHERE subject = 'ann'",
    );
    expect_error(
        sign_in(&mut client),
        "28000",
        "token subject belongs to no account",
    );
    run(
        &mut superuser,
        "UPDATE member SET active = true WHERE subject = 'ann'",
    );
    sign_in(&mut client).expect("ann is a member again");
    run(&mut superuser, "UPDATE account SET active = false");
    expect_error(sign_in(&mut client), "28000", "token account is not active");
    run(
        &mut superuser,
        "SELECT tenant_guard.set_account_relation(NULL, NULL)",
    );
    sign_in(&mut client).expect("no list of accounts is declared");
    run(
        &mut superuser,
        "SELECT tenant_guard.set_membership(NULL, NULL, NULL)",
    );
    expect_error(sign_in(&mut client), "28000", "token names no account");
}

#[test]
fn membership_that_ended_is_not_seen_by_an_older_snapshot() {
    let fixture = Fixture::new();
    fixture.declare();
    let (ann, mut superuser) = (fixture.person("ann"), fixture.db.superuser());
    let mut client = fixture.db.connect_as(&fixture.app);
    run(
        &mut client,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; CREATE TEMPORARY TABLE written (n int);
         SELECT count(*) FROM written",
    );
    run(&mut superuser, "DELETE FROM member WHERE subject = 'ann'");
    expect_error(
        client.execute("SELECT tenant_guard.authenticate($1)", &[&ann]),
        "28000",
        "token subject belongs to no account",
    );
}

#[test]
fn membership_table_may_itself_be_protected() {
    let fixture = Fixture::new();
    fixture.declare();
    run(
        &mut fixture.db.superuser(),
        &format!(
            "SELECT tenant_guard.protect('member'); SELECT tenant_guard.protect('account', 'id');
             GRANT SELECT ON member, account TO {}",
            fixture.app
        ),
    );
    assert_eq!(
        fixture.sign_in(&fixture.person("ann"), None).unwrap(),
        format!("{ACME}|{{signed,owner}}")
    );
    let mut client = fixture.db.connect_as(&fixture.app);
    run(&mut client, "BEGIN");
    client
        .execute(
            "SELECT tenant_guard.authenticate($1)",
            &[&fixture.person("ann")],
        )
        .expect("ann is a member");
    assert_eq!(
        lines(&mut client, "SELECT subject FROM member ORDER BY 1"),
        ["ann", "bob", "cid"]
    );
}

#[test]
fn declaration_is_checked_and_needs_the_right_to_read() {
    let fixture = Fixture::new();
    let mut superuser = fixture.db.superuser();
    run(
        &mut superuser,
        "CREATE VIEW seen AS SELECT * FROM member; CREATE TABLE odd (subject jsonb, account_id uuid)",
    );
    for (statement, sqlstate, message) in [
        (
            "set_membership('member', 'nobody', 'account_id')",
            "42703",
            "column \"nobody\"",
        ),
        (
            "set_membership('member', 'subject', 'active')",
            "42804",
            "column \"active\"",
        ),
        (
            "set_membership('odd', 'subject', 'account_id')",
            "42804",
            "column \"subject\"",
        ),
        (
            "set_membership('member', 'subject', 'account_id', 'active')",
            "42804",
            "\"active\"",
        ),
        (
            "set_account_relation('account', 'id', 'id')",
            "42804",
            "column \"id\"",
        ),
        (
            "set_membership('seen', 'subject', 'account_id')",
            "42809",
            "is not a table",
        ),
        (
            "set_membership('member', NULL, 'account_id')",
            "22004",
            "subject_column must not be null",
        ),
    ] {
        let refused = superuser.simple_query(&format!("SELECT tenant_guard.{statement}"));
        expect_error(refused, sqlstate, message);
    }
    let admin = fixture.db.role("admin");
    run(
        &mut superuser,
        &format!("GRANT tenant_guard_admin TO {admin}"),
    );
    let declare = "SELECT tenant_guard.set_membership('member', 'subject', 'account_id')";
    let mut client = fixture.db.connect_as(&admin);
    expect_error(
        client.simple_query(declare),
        "42501",
        "permission denied for relation",
    );
    run(
        &mut superuser,
        &format!("GRANT SELECT ON member TO {admin}"),
    );
    run(&mut client, declare);
    let mut app = fixture.db.connect_as(&fixture.app);
    expect_error(
        app.simple_query(declare),
        "42501",
        "permission denied for function",
    );
}

/// However the table is changed after it was declared, it gives the rows that were declared or none.
#[test]
fn owner_of_a_declared_table_cannot_smuggle_code_into_the_lookup() {
    let fixture = Fixture::new();
    let owner = fixture.db.role("owner");
    let mut superuser = fixture.db.superuser();
    run(
        &mut superuser,
        &format!(
            "GRANT CREATE ON SCHEMA public TO {owner}; SET ROLE {owner};
             CREATE TABLE people (subject text, account_id uuid, role text);
             INSERT INTO people VALUES ('ann', '{ACME}', 'owner');
             CREATE TABLE empty (subject text, account_id uuid, role text); RESET ROLE;
             CREATE TABLE witness (who text);
             GRANT INSERT ON witness TO PUBLIC;
             SELECT tenant_guard.set_membership('people', 'subject', 'account_id', 'role');"
        ),
    );
    let ann = fixture.person("ann");
    assert_eq!(
        fixture.sign_in(&ann, None).unwrap(),
        format!("{ACME}|{{signed,owner}}")
    );
    let mut attacker = fixture.db.connect_as(&owner);
    run(
        &mut attacker,
        "CREATE TYPE pair AS (a text);
         CREATE FUNCTION smuggle(pair) RETURNS text LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO witness VALUES (current_user); RETURN 'owner'; END $$;
         CREATE CAST (pair AS text) WITH FUNCTION smuggle(pair) AS IMPLICIT;
         ALTER TABLE people ALTER COLUMN role TYPE pair USING ROW(role)::pair;",
    );
    expect_error(
        fixture.sign_in(&ann, None),
        "42804",
        "column \"role\" of relation",
    );
    run(
        &mut superuser,
        "SELECT tenant_guard.set_membership('empty', 'subject', 'account_id', 'role')",
    );
    run(
        &mut attacker,
        "CREATE FUNCTION smuggled() RETURNS text LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO witness VALUES (current_user); RETURN 'ann'; END $$;",
    );
    let rule = "CREATE RULE \"_RETURN\" AS ON SELECT TO empty DO INSTEAD
         SELECT smuggled() AS subject, NULL::uuid AS account_id, NULL::text AS role";
    if fixture.db.version() < 16 {
        run(&mut attacker, rule);
        expect_error(fixture.sign_in(&ann, None), "42809", "is not a table");
    } else {
        // A table cannot be turned into a view any more.
        let refused = attacker.batch_execute(rule);
        expect_error(refused, "42809", "cannot have ON SELECT rules");
    }
    assert_eq!(lines(&mut superuser, "SELECT * FROM witness"), [""; 0]);
}

/// The planner evaluates constant calls of functions marked IMMUTABLE in index expressions,
/// predicates and constraints, whoever wrote them.
#[test]
fn planning_the_lookup_runs_what_hangs_on_the_table_with_its_owners_rights_only() {
    let fixture = Fixture::new();
    let owner = fixture.db.role("owner");
    let mut superuser = fixture.db.superuser();
    run(
        &mut superuser,
        &format!(
            "GRANT CREATE ON SCHEMA public TO {owner}; SET ROLE {owner};
             CREATE TABLE people (subject text, account_id uuid);
             INSERT INTO people VALUES ('ann', '{ACME}'); RESET ROLE;
             CREATE TABLE witness (who text);
             GRANT INSERT ON witness TO PUBLIC;
             SELECT tenant_guard.set_membership('people', 'subject', 'account_id');"
        ),
    );
    run(
        &mut fixture.db.connect_as(&owner),
        "CREATE FUNCTION seen() RETURNS int LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO public.witness VALUES (current_user); RETURN 1; END $$;
         CREATE FUNCTION smuggled(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN RETURN $1; END $$;
         CREATE INDEX ON people ((smuggled(1))) WHERE smuggled(1) = 1;
         ALTER TABLE people ADD CHECK (smuggled(1) = 1);
         CREATE OR REPLACE FUNCTION smuggled(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN RETURN public.seen(); END $$;",
    );
    let mut client = fixture.db.connect_as(&fixture.app);
    run(&mut client, "SET constraint_exclusion = on; BEGIN");
    client
        .execute(
            "SELECT tenant_guard.authenticate($1)",
            &[&fixture.person("ann")],
        )
        .expect("ann is a member");
    run(&mut client, "COMMIT");
    assert_eq!(
        lines(&mut superuser, "SELECT DISTINCT who FROM witness"),
        [owner]
    );
}

#[test]
fn relation_put_in_the_place_of_a_declared_one_is_not_read() {
    let fixture = Fixture::new();
    let owner = fixture.db.role("owner");
    let mut superuser = fixture.db.superuser();
    run(
        &mut superuser,
        &format!(
            "GRANT CREATE ON DATABASE {} TO {owner};
             CREATE SCHEMA app AUTHORIZATION {owner}; ALTER TABLE member SET SCHEMA app;
             CREATE TABLE witness (who text);
             GRANT INSERT ON witness TO PUBLIC;
             SELECT tenant_guard.set_membership('app.member', 'subject', 'account_id', 'role');",
            fixture.db.name()
        ),
    );
    let mut client = fixture.db.connect_as(&fixture.app);
    let ann = fixture.person("ann");
    let sign_in = |client: &mut Client| {
        run(client, "ROLLBACK; BEGIN");
        client
            .execute("SELECT tenant_guard.authenticate($1)", &[&ann])
            .expect("ann is a member");
        lines(client, "SELECT tenant_guard.account_id()")
    };
    assert_eq!(sign_in(&mut client), [ACME]);
    run(
        &mut fixture.db.connect_as(&owner),
        &format!(
            "ALTER SCHEMA app RENAME TO aside; CREATE SCHEMA app;
             CREATE FUNCTION app.smuggled() RETURNS text LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO public.witness VALUES (current_user); RETURN 'ann'; END $$;
             CREATE VIEW app.member AS
                 SELECT app.smuggled() AS subject, '{BETA}'::uuid AS account_id, 'x'::text AS role;"
        ),
    );
    assert_eq!(sign_in(&mut client), [ACME]);
    run(&mut client, "COMMIT");
    assert_eq!(lines(&mut superuser, "SELECT * FROM witness"), [""; 0]);
}

#[test]
fn subjects_that_a_collation_calls_equal_are_different_persons() {
    let fixture = Fixture::new();
    if !fixture.db.has_icu() {
        return;
    }
    run(
        &mut fixture.db.superuser(),
        &format!(
            "CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2',
                 deterministic = false);
             CREATE TABLE people (subject text COLLATE caseless PRIMARY KEY, account_id uuid);
             INSERT INTO people VALUES ('ann', '{ACME}');
             SELECT tenant_guard.set_membership('people', 'subject', 'account_id');"
        ),
    );
    fixture
        .sign_in(&fixture.person("ann"), None)
        .expect("ann is a member");
    expect_error(
        fixture.sign_in(&fixture.person("ANN"), None),
        "28000",
        "token subject belongs to no account",
    );
}

#[test]
fn renamed_column_stops_signing_in_with_a_hint_and_is_found() {
    let fixture = Fixture::new();
    fixture.declare();
    let (ann, mut superuser) = (fixture.person("ann"), fixture.db.superuser());
    let mut open = fixture.db.connect_as(&fixture.app);
    let sign_in = |client: &mut postgres::Client| {
        client.execute("SELECT tenant_guard.authenticate($1)", &[&ann])
    };
    sign_in(&mut open).unwrap();
    let found = "SELECT severity, object, detail, fix FROM tenant_guard.check()
                 WHERE code = '48-membership-altered' ORDER BY object";
    assert_eq!(lines(&mut superuser, found), [""; 0]);
    run(
        &mut superuser,
        "ALTER TABLE member RENAME COLUMN subject TO person;
         ALTER TABLE account DROP COLUMN active",
    );
    for client in [&mut open, &mut fixture.db.connect_as(&fixture.app)] {
        let error = sign_in(client).unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "55000");
        assert!(
            error.message().starts_with(
                "column \"subject\" of relation public.member, which set_membership() named"
            ) || error.message().starts_with(
                "column \"active\" of relation public.account, which set_account_relation() named"
            ),
            "{}",
            error.message()
        );
        assert_eq!(
            error.hint(),
            Some(
                "Nobody signs in until tenant_guard.set_membership() or \
                 tenant_guard.set_account_relation() is called with the names of now."
            )
        );
    }
    let fix = "SELECT tenant_guard.set_membership('public.member', subject_column => 'person', \
               account_column => 'account_id', role_column => 'role', active_column => 'active');";
    assert_eq!(
        lines(&mut superuser, found),
        [
            "error|public.account|has no column active, which set_account_relation() named: nobody signs in|".to_owned(),
            format!("error|public.member|has no column subject, which set_membership() named: nobody signs in|{fix}"),
        ]
    );
    run(&mut superuser, fix);
    run(
        &mut superuser,
        "SELECT tenant_guard.set_account_relation('account', 'id')",
    );
    assert_eq!(lines(&mut superuser, found), [""; 0]);
    sign_in(&mut open).unwrap();
}
