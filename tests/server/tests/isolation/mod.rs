//! Isolation: what an account sees and can do, and how protection comes and goes.

mod archetypes;
mod assurance;
mod attacks;
mod checks;
mod data_migrations;
mod explain;
mod floor_hook;
mod guards;
mod integrity;
mod loading;
mod locking;
mod manifest;
mod plans;
mod probe;
mod probe_attacks;
mod random_statements;
mod refusals;
mod restoring;
mod roles;

use postgres::{Client, Transaction};
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, Database, Issuer, assert_ordinary, lines};

/// A database with an issuer, a schema `shop` whose owner nobody logs in as, and an application.
pub(crate) struct Shop {
    pub(crate) db: Database,
    pub(crate) issuer: Issuer,
    pub(crate) owner: String,
    pub(crate) app: String,
}

impl Shop {
    /// The schema, empty.
    pub(crate) fn empty() -> Self {
        Self::of(Database::new())
    }

    /// The schema, empty, in this database.
    pub(crate) fn of(db: Database) -> Self {
        let issuer = Issuer::es256("https://issuer.example");
        let mut superuser = db.superuser();
        issuer.register(&mut superuser);
        let (owner, app) = (format!("{}_owner", db.name()), db.role("app"));
        superuser
            .batch_execute(&format!(
                "CREATE ROLE {owner} NOLOGIN NOSUPERUSER NOBYPASSRLS;
                 GRANT tenant_guard_admin TO {owner};
                 CREATE SCHEMA shop AUTHORIZATION {owner};
                 GRANT USAGE ON SCHEMA shop TO PUBLIC;
                 ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA shop
                     GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app}"
            ))
            .unwrap();
        Self {
            db,
            issuer,
            owner,
            app,
        }
    }

    /// The schema after `ddl`, run as its owner.
    pub(crate) fn with(ddl: &str) -> Self {
        let shop = Self::empty();
        shop.owner().batch_execute(ddl).unwrap();
        shop
    }

    /// Contacts of two accounts, protected: rows 1 and 2 are A's, row 3 is B's.
    pub(crate) fn contacts() -> Self {
        Self::with(&format!(
            "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid, name text);
             INSERT INTO shop.contact VALUES
                 (1, '{ACCOUNT_A}', 'ann'), (2, '{ACCOUNT_A}', 'abe'), (3, '{ACCOUNT_B}', 'bob');
             SELECT tenant_guard.protect('shop.contact')"
        ))
    }

    /// Runs statements as the owner.
    #[track_caller]
    pub(crate) fn run(&self, statements: &str) {
        let done = self.owner().batch_execute(statements);
        done.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }

    /// The dump of the schema.
    fn dump(&self) -> String {
        dump(&self.db, &["--schema=shop"])
    }

    /// These columns of the findings of check(). Roles and settings are the cluster's, so those of
    /// other tests are left out, and what the fixture itself is: a server that trusts everybody and is as
    /// old as its package, and an owner whose tables are open to the application at once.
    fn check(&self, columns: &str) -> Vec<String> {
        self.check_where(columns, "true")
    }

    /// The same of those findings that meet the condition.
    fn check_where(&self, columns: &str, condition: &str) -> Vec<String> {
        let query = self.query_of_findings(columns, condition);
        lines(&mut self.db.superuser(), &query)
    }

    fn query_of_findings(&self, columns: &str, condition: &str) -> String {
        format!(
            "SELECT {columns} FROM tenant_guard.check()
             WHERE ({condition}) AND (code !~ '^(02|03|04|05|10|11|34|35|64|66|68|70|73)-'
                    OR format('%s %s %s', object, detail, fix) ~ '{name}\\M|{name}_'
                    OR code LIKE '34-%' AND detail LIKE 'publishes%'
                    OR code LIKE '35-%')
                AND code !~ '^(58|72)-'
                AND detail <> 'tables that {owner} makes are open to {app} at once'",
            name = self.db.name(),
            owner = self.owner,
            app = self.app,
        )
    }

    /// A session with the owner's rights and nothing more.
    pub(crate) fn owner(&self) -> Client {
        let mut client = self.db.superuser();
        client
            .batch_execute(&format!("SET SESSION AUTHORIZATION {}", self.owner))
            .unwrap();
        client
    }

    /// A session of the superuser that no guard stops, for damage that a guard would refuse.
    pub(crate) fn unguarded(&self) -> Client {
        let mut client = self.db.superuser();
        client
            .batch_execute("SET tenant_guard.guards = off")
            .unwrap();
        client
    }

    /// A session with the owner's rights that no guard stops.
    fn unguarded_owner(&self) -> Client {
        let mut client = self.unguarded();
        let become_owner = format!("SET ROLE {}", self.owner);
        client.batch_execute(&become_owner).unwrap();
        client
    }

    /// A session of the application.
    pub(crate) fn app(&self) -> Client {
        let mut client = self.db.connect_as(&self.app);
        assert_ordinary(&mut client);
        client
    }

    /// Runs `work` in a transaction of the application bound to `account`, and commits.
    pub(crate) fn within<T>(
        &self,
        account: &str,
        work: impl FnOnce(&mut Transaction<'_>) -> T,
    ) -> T {
        let mut session = self.app();
        let mut transaction = session.transaction().unwrap();
        self.issuer.sign_in(&mut transaction, account);
        let result = work(&mut transaction);
        transaction.commit().unwrap();
        result
    }
}

/// What `pg_dump` prints, without the key that differs from run to run.
pub(crate) fn dump(db: &Database, arguments: &[&str]) -> String {
    let text = String::from_utf8(db.pg_dump(arguments)).unwrap();
    let lines = text.lines().filter(|line| !line.contains("restrict "));
    lines.collect::<Vec<_>>().join("\n")
}
