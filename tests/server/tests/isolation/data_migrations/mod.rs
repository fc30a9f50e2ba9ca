//! `for_each_account`: data migrations where row security holds for the owner too.

mod refusals;
mod resuming;
mod visiting;

use postgres::{Client, Error};
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, assert_ordinary, lines};

use super::Shop;

/// A shop and the role that migrates its data: it has the rights of the tables' owner.
struct Migration {
    shop: Shop,
    migrator: String,
}

impl Migration {
    fn of(shop: Shop) -> Self {
        let migrator = shop.db.role("migrator");
        shop.db
            .superuser()
            .batch_execute(&format!(
                "GRANT {} TO {migrator};
                 GRANT EXECUTE ON PROCEDURE tenant_guard.for_each_account TO {migrator}",
                shop.owner
            ))
            .unwrap();
        Self { shop, migrator }
    }

    /// Contacts 1 and 2 are A's, 3 is B's.
    fn contacts() -> Self {
        Self::of(Shop::contacts())
    }

    fn session(&self) -> Client {
        let mut session = self.shop.db.connect_as(&self.migrator);
        assert_ordinary(&mut session);
        session
    }

    /// Rows of a query that no policy binds.
    #[track_caller]
    fn all(&self, query: &str) -> Vec<String> {
        lines(&mut self.shop.db.superuser(), query)
    }

    fn names(&self) -> Vec<String> {
        self.all("SELECT name FROM shop.contact ORDER BY id")
    }

    /// These columns of the record, in the order of the accounts.
    #[track_caller]
    fn record(&self, columns: &str) -> Vec<String> {
        self.all(&format!(
            "SELECT {columns} FROM tenant_guard.account_run ORDER BY run, account_id"
        ))
    }
}

/// Calls the procedure with these statements and further arguments.
fn call(session: &mut Client, sql: &str, arguments: &str) -> Result<(), Error> {
    session.batch_execute(&format!(
        "CALL tenant_guard.for_each_account($sql${sql}$sql$, 'because'{arguments})"
    ))
}

const SHOUT: &str = "UPDATE shop.contact SET name = upper(name) || '!'";
