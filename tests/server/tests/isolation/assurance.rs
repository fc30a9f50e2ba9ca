//! Commands that ask for more than a valid token: a second factor.

use postgres::{Client, Error, Transaction};
use serde_json::json;
use tenant_guard_tests::{ACCOUNT_A, expect_error, lines};

use super::Shop;

const REQUIRED: &str = "assurance level \"aal2\" is required";

impl Shop {
    /// Runs `work` in a transaction of account A whose token states this assurance.
    fn assured<T>(
        &self,
        assurance: serde_json::Value,
        work: impl FnOnce(&mut Transaction<'_>) -> T,
    ) -> T {
        let mut claims = self.issuer.claims(ACCOUNT_A);
        claims["aal"] = assurance;
        let token = self.issuer.sign(&claims);
        let mut session = self.app();
        let mut transaction = session.transaction().unwrap();
        let authenticate = "SELECT tenant_guard.authenticate($1)";
        transaction.execute(authenticate, &[&token]).unwrap();
        work(&mut transaction)
    }

    /// What becomes of a statement under this assurance.
    fn attempt(&self, assurance: &str, statement: &str) -> Result<u64, Error> {
        self.assured(json!(assurance), |client| client.execute(statement, &[]))
    }
}

fn require(client: &mut Client, arguments: &str) {
    client
        .batch_execute(&format!(
            "SELECT tenant_guard.require_assurance('shop.contact', {arguments})"
        ))
        .unwrap();
}

#[test]
fn admin_action_without_a_second_factor_fails_with_a_hint() {
    let shop = Shop::contacts();
    require(&mut shop.owner(), "'aal2', '{update,delete}'");
    for statement in [
        "UPDATE shop.contact SET name = 'x'",
        "DELETE FROM shop.contact",
    ] {
        for weak in ["aal1", "loa3", "mfa"] {
            let refused = shop.attempt(weak, statement);
            let hint = refused
                .as_ref()
                .err()
                .and_then(Error::as_db_error)
                .and_then(|e| e.hint());
            assert_eq!(
                hint,
                Some(
                    "Sign in with a further factor and call tenant_guard.authenticate(token) again."
                )
            );
            expect_error(refused, "42501", REQUIRED);
        }
        assert_eq!(shop.attempt("aal2", statement).unwrap(), 2);
        assert_eq!(shop.attempt("aal3", statement).unwrap(), 2);
    }
    assert_eq!(
        shop.attempt("aal1", "SELECT * FROM shop.contact").unwrap(),
        2
    );
    let insert = format!("INSERT INTO shop.contact VALUES (9, '{ACCOUNT_A}', 'new')");
    assert_eq!(shop.attempt("aal1", &insert).unwrap(), 1);
    let unstated = shop.within(ACCOUNT_A, |client| {
        client.execute("DELETE FROM shop.contact", &[]).err()
    });
    expect_error::<()>(Err(unstated.expect("refused")), "42501", REQUIRED);
}

#[test]
fn one_of_several_methods_suffices() {
    let shop = Shop::contacts();
    require(&mut shop.owner(), "'mfa'");
    let count = |methods: serde_json::Value| {
        shop.assured(methods, |client| {
            client.execute("SELECT * FROM shop.contact", &[])
        })
    };
    assert_eq!(count(json!(["pwd", "mfa"])).unwrap(), 2);
    expect_error(
        count(json!(["pwd", "otp"])),
        "42501",
        "assurance level \"mfa\" is required",
    );
    let insert = format!("INSERT INTO shop.contact VALUES (9, '{ACCOUNT_A}', 'new')");
    expect_error(
        shop.attempt("pwd", &insert),
        "42501",
        "assurance level \"mfa\" is required",
    );
    shop.assured(json!("aal2"), |client| {
        assert_eq!(
            lines(
                client,
                "SELECT tenant_guard.has_assurance('aal1'), tenant_guard.has_assurance('aal3')"
            ),
            ["t|f"]
        );
    });
}

#[test]
fn assurance_comes_back_when_its_policy_is_dropped_and_goes_with_protection() {
    let shop = Shop::contacts();
    let (mut owner, before) = (shop.owner(), {
        let mut owner = shop.owner();
        owner
            .batch_execute("SELECT tenant_guard.unprotect('shop.contact')")
            .unwrap();
        let before = shop.dump();
        owner
            .batch_execute("SELECT tenant_guard.protect('shop.contact')")
            .unwrap();
        before
    });
    let protected = shop.dump();
    require(&mut owner, "'aal2', '{delete}'");
    assert_eq!(shop.check("code"), [""; 0]);
    let again = "SELECT tenant_guard.protect('shop.contact')";
    for damage in [
        "DROP POLICY tenant_guard_assurance_delete ON shop.contact",
        "ALTER POLICY tenant_guard_assurance_delete ON shop.contact USING (true)",
        "ALTER POLICY tenant_guard_assurance_delete ON shop.contact TO tenant_guard_auditor",
    ] {
        shop.unguarded().batch_execute(damage).unwrap();
        assert_eq!(
            shop.check("severity, code, object, detail"),
            [
                "error|37-floor-altered|shop.contact|assurance 'aal2' is required to delete, but its \
              policy is missing or altered"
            ],
            "{damage}"
        );
        owner.batch_execute(again).unwrap();
        assert_eq!(shop.check("code"), [""; 0]);
        expect_error(
            shop.attempt("aal1", "DELETE FROM shop.contact"),
            "42501",
            REQUIRED,
        );
    }
    require(&mut owner, "NULL, '{delete}'");
    assert_eq!(shop.dump(), protected);
    require(&mut owner, "'aal2'");
    owner
        .batch_execute("SELECT tenant_guard.unprotect('shop.contact')")
        .unwrap();
    assert_eq!(shop.dump(), before);
    let forgotten = "SELECT count(*) FROM tenant_guard.protection_assurance";
    assert_eq!(lines(&mut shop.db.superuser(), forgotten), ["0"]);
}

#[test]
fn partitions_ask_for_it_too() {
    let shop = Shop::with(&format!(
        "CREATE TABLE shop.note (id int, account_id uuid) PARTITION BY RANGE (id);
         CREATE TABLE shop.note_1 PARTITION OF shop.note FOR VALUES FROM (0) TO (10);
         INSERT INTO shop.note VALUES (1, '{ACCOUNT_A}');
         SELECT tenant_guard.protect('shop.note');
         SELECT tenant_guard.require_assurance('shop.note', 'aal2', '{{delete}}');
         CREATE TABLE shop.note_2 PARTITION OF shop.note FOR VALUES FROM (10) TO (20);
         SELECT tenant_guard.protect('shop.note');"
    ));
    for table in ["note", "note_1"] {
        let delete = format!("DELETE FROM shop.{table}");
        expect_error(shop.attempt("aal1", &delete), "42501", REQUIRED);
    }
    let policies = "SELECT polrelid::regclass FROM pg_policy
                    WHERE polname = 'tenant_guard_assurance_delete' ORDER BY polrelid::regclass::text";
    assert_eq!(
        lines(&mut shop.db.superuser(), policies),
        ["shop.note", "shop.note_1", "shop.note_2"]
    );
}

#[test]
fn requirement_is_judged_and_needs_owner_and_admin() {
    let shop = Shop::contacts();
    let mut owner = shop.owner();
    owner
        .batch_execute("CREATE TABLE shop.plain (account_id uuid)")
        .unwrap();
    for (arguments, sqlstate, message) in [
        ("'shop.plain', 'aal2'", "55000", "not protected"),
        ("'shop.contact', ''", "22023", "level must be a name"),
        (
            "'shop.contact', 'aal2''; --'",
            "22023",
            "level must be a name",
        ),
        (
            "'shop.contact', 'aal2', '{truncate}'",
            "22023",
            "command \"truncate\"",
        ),
        (
            "'shop.contact', 'aal2', '{}'",
            "22023",
            "commands must not be empty",
        ),
        (
            "'shop.contact', 'aal2', NULL",
            "22004",
            "commands must not be null",
        ),
    ] {
        let statement = format!("SELECT tenant_guard.require_assurance({arguments})");
        expect_error(owner.simple_query(&statement), sqlstate, message);
    }
    let statement = "SELECT tenant_guard.require_assurance('shop.contact', 'aal2')";
    expect_error(
        shop.app().simple_query(statement),
        "42501",
        "permission denied for function",
    );
    let admin = shop.db.role("admin");
    shop.db
        .superuser()
        .batch_execute(&format!("GRANT tenant_guard_admin TO {admin}"))
        .unwrap();
    let refused = shop.db.connect_as(&admin).simple_query(statement);
    expect_error(refused, "42501", "must be owner of");
    assert_eq!(shop.attempt("aal1", "DELETE FROM shop.contact").unwrap(), 2);
}
