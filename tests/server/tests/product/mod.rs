//! The schema of a whole product, governed and given back: `tests/server/product`.

mod governing;
mod manifest;
mod matrix;
mod probing;
mod traffic;

use postgres::{Client, Transaction};
use serde_json::Value;
use tenant_guard_tests::{Database, Issuer, assert_ordinary, lines};

const SCHEMA: &str = include_str!("../../product/schema.sql");
const DATA: &str = include_str!("../../product/data.sql");
const MANIFEST: &str = include_str!("../../product/manifest.json");

/// The schemas of the product.
const SCHEMAS: [&str; 8] = [
    "ref", "app", "crm", "billing", "stock", "hr", "work", "desk",
];

/// The accounts that have rows.
const ACCOUNTS: [i32; 3] = [1, 2, 3];

/// A database with the product's schema and rows; its roles are `<database>_app` and so on.
struct Product {
    db: Database,
    issuer: Issuer,
}

impl Product {
    fn new() -> Self {
        let db = Database::new();
        let issuer = Issuer::hs256("https://sign-in.product.example");
        let mut superuser = db.superuser();
        issuer.register(&mut superuser);
        let roles = format!(
            "CREATE ROLE product_owner NOLOGIN NOSUPERUSER NOBYPASSRLS;
             GRANT tenant_guard_admin TO product_owner;
             GRANT CREATE ON DATABASE {} TO product_owner;
             CREATE ROLE product_app LOGIN; CREATE ROLE product_reports LOGIN;
             CREATE ROLE product_support LOGIN; CREATE ROLE product_partner LOGIN;",
            db.name()
        );
        let product = Self { db, issuer };
        let schema = if product.db.version() < 15 {
            SCHEMA
                .replace("security_invoker = true", "security_barrier = false")
                .replace("security_barrier = false, ", "")
        } else {
            SCHEMA.to_owned()
        };
        for script in [&roles, &schema] {
            superuser.batch_execute(&product.named(script)).unwrap();
        }
        product.owner().batch_execute(DATA).unwrap();
        product
    }

    /// The text with the product's roles renamed to those of this database: roles are the cluster's.
    fn named(&self, text: &str) -> String {
        ["owner", "app", "reports", "support", "partner"]
            .iter()
            .fold(text.to_owned(), |text, role| {
                text.replace(
                    &format!("product_{role}"),
                    &format!("{}_{role}", self.db.name()),
                )
            })
    }

    fn owner(&self) -> Client {
        let mut client = self.db.superuser();
        client
            .batch_execute(&self.named("SET SESSION AUTHORIZATION product_owner"))
            .unwrap();
        client
    }

    /// A session of the application.
    fn app(&self) -> Client {
        let mut client = self.db.connect_as(&self.named("product_app"));
        assert_ordinary(&mut client);
        client
    }

    /// Binds the transaction to the first person of an account, in this role of the product.
    fn sign_in(&self, transaction: &mut Transaction<'_>, account: i32, role: &str) {
        let mut claims = self.issuer.claims(&account.to_string());
        claims["sub"] = person(account, 1).into();
        claims["roles"] = [role].as_slice().into();
        claims["aal"] = "aal2".into();
        let token = self.issuer.sign(&claims);
        transaction
            .execute("SELECT tenant_guard.authenticate($1)", &[&token])
            .unwrap();
    }

    /// The dump of the product's schemas.
    fn dump(&self) -> String {
        let schemas = SCHEMAS.map(|schema| format!("--schema={schema}"));
        let arguments: Vec<_> = schemas.iter().map(String::as_str).collect();
        crate::isolation::dump(&self.db, &arguments)
    }

    /// The topmost tables and what the manifest declares for each, parents first.
    fn relations(&self) -> Vec<(String, Value)> {
        let manifest: Value = serde_json::from_str(MANIFEST).unwrap();
        let declared = manifest["relations"].as_object().unwrap();
        let known = lines(
            &mut self.db.superuser(),
            &format!(
                "SELECT c.oid::regclass FROM pg_class AS c
                 WHERE c.relkind IN ('r', 'p')
                     AND c.relnamespace::regnamespace::text = ANY ('{{{}}}')
                     AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid)
                 ORDER BY c.oid",
                SCHEMAS.join(",")
            ),
        );
        assert_eq!(
            known.len(),
            declared.len(),
            "the manifest governs every table"
        );
        let mut relations: Vec<_> = known
            .into_iter()
            .map(|name| {
                let declaration = declared[&name].clone();
                (name, declaration)
            })
            .collect();
        // Polymorphic children have parents that were made after them.
        let late = ["crm.comment", "crm.attachment"];
        relations.sort_by_key(|(name, _)| late.iter().any(|late| name.starts_with(late)));
        relations
    }
}

/// The subject of a person of an account.
fn person(account: i32, number: i32) -> String {
    format!("00000000-0000-4000-8000-{:012}", account * 100 + number)
}
