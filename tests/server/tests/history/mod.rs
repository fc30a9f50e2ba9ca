//! Looking back: who may, and what is seen there.

mod columns;
mod commands;
mod crossing;
mod feed;
mod limits;
mod load;
mod moments;
mod own_log;
mod refusals;
mod rows;
mod states;

use postgres::{Client, Transaction};
use serde_json::json;
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, Issuer, assert_ordinary, lines};

use crate::capture::run;

/// A database with an issuer, a protected table `shop.item` of an owner who is an admin, an application,
/// and a role `manager` that reads the log of its account and that `chief` inherits.
struct Shop {
    db: Database,
    issuer: Issuer,
    owner: String,
    app: String,
    auditor: String,
}

const ITEM: &str = "CREATE TABLE shop.item (id int PRIMARY KEY, account_id uuid, name text,
        amount numeric, at timestamptz DEFAULT '2024-02-29 12:00:00.5+01', tags jsonb);";

impl Shop {
    /// The table empty, so that its rows are known from the first one on.
    fn new() -> Self {
        let shop = Self::bare();
        shop.run(&format!("{ITEM} SELECT tenant_guard.protect('shop.item')"));
        shop
    }

    /// Without a table.
    fn bare() -> Self {
        let db = Database::new();
        let issuer = Issuer::es256("https://issuer.example");
        let mut superuser = db.superuser();
        issuer.register(&mut superuser);
        let (owner, app) = (format!("{}_owner", db.name()), db.role("app"));
        let auditor = db.role("auditor");
        run(
            &mut superuser,
            &format!(
                "CREATE ROLE {owner} NOLOGIN NOSUPERUSER NOBYPASSRLS;
                 GRANT tenant_guard_admin TO {owner};
                 GRANT tenant_guard_auditor TO {auditor};
                 CREATE SCHEMA shop AUTHORIZATION {owner};
                 GRANT USAGE ON SCHEMA shop TO PUBLIC;
                 ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA shop
                     GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app};
                 SELECT tenant_guard.init_ledger();
                 SELECT tenant_guard.define_role('manager');
                 SELECT tenant_guard.define_role('chief', '{{manager}}');
                 SELECT tenant_guard.define_role('clerk');
                 SELECT tenant_guard.allow_log('manager')"
            ),
        );
        Self {
            db,
            issuer,
            owner,
            app,
            auditor,
        }
    }

    /// Runs statements as the owner.
    #[track_caller]
    fn run(&self, statements: &str) {
        run(&mut self.owner(), statements);
    }

    fn owner(&self) -> Client {
        let mut client = self.db.superuser();
        let become_owner = format!("SET SESSION AUTHORIZATION {}", self.owner);
        run(&mut client, &become_owner);
        client
    }

    /// A session of a new ordinary role of the group of admins.
    fn admin(&self) -> Client {
        let role = self.db.role("admin");
        let grant = format!("GRANT tenant_guard_admin TO {role}");
        run(&mut self.db.superuser(), &grant);
        self.db.connect_as(&role)
    }

    fn auditor(&self) -> Client {
        self.db.connect_as(&self.auditor)
    }

    fn app(&self) -> Client {
        let mut client = self.db.connect_as(&self.app);
        assert_ordinary(&mut client);
        client
    }

    fn token(&self, account: &str, roles: &[&str]) -> String {
        let mut claims = self.issuer.claims(account);
        claims["roles"] = json!(roles);
        self.issuer.sign(&claims)
    }

    /// Runs `work` in a transaction of the application as somebody of the account, and commits.
    fn within<T>(
        &self,
        account: &str,
        roles: &[&str],
        work: impl FnOnce(&mut Transaction<'_>) -> T,
    ) -> T {
        let mut session = self.app();
        let mut transaction = session.transaction().unwrap();
        sign_in(&mut transaction, &self.token(account, roles));
        let result = work(&mut transaction);
        transaction.commit().unwrap();
        result
    }

    /// Writes as somebody of the account.
    #[track_caller]
    fn write(&self, account: &str, statements: &str) {
        self.within(account, &[], |session| {
            let done = session.batch_execute(statements);
            done.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
        });
    }

    /// Two rows of A and one of B.
    fn with_items() -> Self {
        let shop = Self::new();
        shop.write(
            ACCOUNT_A,
            &format!(
                "INSERT INTO shop.item VALUES (1, '{ACCOUNT_A}', 'ann', 1.50), (2, '{ACCOUNT_A}', 'abe', 2)"
            ),
        );
        shop.write(
            ACCOUNT_B,
            &format!("INSERT INTO shop.item VALUES (3, '{ACCOUNT_B}', 'bob', 3)"),
        );
        shop
    }
}

#[track_caller]
fn sign_in(session: &mut impl postgres::GenericClient, token: &str) {
    let authenticate = "SELECT tenant_guard.authenticate($1)";
    session.execute(authenticate, &[&token]).unwrap();
}

/// The rows of a table, as its events name their columns, and as `as_of` gives them at the snapshot.
fn same_as_table(client: &mut Client, table: &str, snapshot: &str) {
    let live = lines(
        client,
        &format!("SELECT to_jsonb(t)::text FROM {table} AS t ORDER BY 1"),
    );
    let folded = lines(
        client,
        &format!(
            "SELECT to_jsonb(jsonb_populate_record(NULL::{table}, r::jsonb))::text
             FROM tenant_guard.as_of_snapshot('{table}', '{snapshot}') AS r ORDER BY 1"
        ),
    );
    assert_eq!(folded, live);
}
