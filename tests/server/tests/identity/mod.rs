//! Who speaks: identities bound, ended, forged, revoked, through sessions of ordinary roles.

mod attacks;
mod binding;
mod doors;
mod forging;
mod hostile_tokens;
mod idle;
mod issuers;
mod membership;
mod readers;
mod revocation;
mod role_tests;
mod secrecy;

use postgres::Client;
use tenant_guard_tests::{Cluster, Database, Issuer, assert_ordinary, expect_error, lines};

pub(crate) const ACME: &str = "00000000-0000-0000-0000-00000000000a";
pub(crate) const BETA: &str = "00000000-0000-0000-0000-00000000000b";
const NO_IDENTITY: &str = "no identity is bound to this transaction";

/// A database with a table under a policy, an application role and one issuer.
pub(crate) struct Fixture {
    pub(crate) db: Database,
    pub(crate) issuer: Issuer,
    pub(crate) app: String,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(Database::new(), Issuer::es256("https://issuer.test"))
    }

    /// On a cluster of its own, for what is planted where `check()` of every database looks.
    pub(crate) fn alone() -> Self {
        let db = Cluster::start(&[]).database();
        Self::with(db, Issuer::es256("https://issuer.test"))
    }

    pub(crate) fn with(db: Database, issuer: Issuer) -> Self {
        let app = db.role("app");
        let mut superuser = db.superuser();
        issuer.register(&mut superuser);
        superuser
            .batch_execute(&format!(
                "CREATE TABLE note (id int PRIMARY KEY, account_id uuid NOT NULL);
                 INSERT INTO note VALUES (1, '{ACME}'), (2, '{ACME}'), (3, '{BETA}');
                 ALTER TABLE note ENABLE ROW LEVEL SECURITY;
                 ALTER TABLE note FORCE ROW LEVEL SECURITY;
                 CREATE POLICY account ON note USING (account_id = tenant_guard.account_id());
                 GRANT SELECT ON note TO {app};"
            ))
            .expect("the fixture is sound");
        Self { db, issuer, app }
    }

    /// An ordinary session of the application.
    pub(crate) fn session(&self) -> Client {
        let mut client = self.db.connect_as(&self.app);
        assert_ordinary(&mut client);
        client
    }

    pub(crate) fn refuses(&self, token: &str, message: &str) {
        let refused = self
            .session()
            .query("SELECT tenant_guard.authenticate($1)", &[&token]);
        expect_error(refused, "28000", message);
    }
}

pub(crate) fn notes(client: &mut Client) -> Vec<String> {
    lines(client, "SELECT id FROM note ORDER BY id")
}

#[track_caller]
pub(crate) fn expect_no_identity(client: &mut Client) {
    expect_error(
        client.simple_query("SELECT id FROM note"),
        "28000",
        NO_IDENTITY,
    );
    assert_eq!(
        lines(client, "SELECT tenant_guard.is_authenticated()"),
        ["f"]
    );
}

pub(crate) fn run(client: &mut Client, statement: &str) {
    client
        .batch_execute(statement)
        .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
}
