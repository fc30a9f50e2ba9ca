//! Who read what: recorded when a statement starts, whatever becomes of its transaction.

mod attacks;
mod buffer;
mod configuring;
mod evasions;
mod refused;
mod statements;
mod worker;

use std::sync::Arc;

use postgres::{Client, Transaction};
use tenant_guard_tests::{ACCOUNT_A, Cluster, Database, lines};

use crate::isolation::Shop;

/// What the log says of reads: the action, what it was, the rows, how often, account and relation.
const READS: &str = "SELECT l.action, d.data ->> 'statement', d.data ->> 'rows',
        d.data ->> 'executions', l.account_id, l.relation, l.leaf_relation
    FROM tenant_guard.audit_log AS l CROSS JOIN LATERAL (SELECT l.data::jsonb) AS d (data)
    WHERE l.kind = 'system' AND l.action IN ('read', 'export')
    ORDER BY l.occurred_at, l.xid, l.ordinal";

/// Contacts of two accounts whose reads are audited.
fn shop() -> Shop {
    let shop = Shop::contacts();
    shop.run("SELECT tenant_guard.audit_reads('shop.contact')");
    shop
}

/// The same table, empty, in a cluster of the test's own.
fn shop_in(cluster: &Arc<Cluster>) -> Shop {
    let shop = Shop::of(cluster.database());
    shop.run(
        "CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid, name text);
         SELECT tenant_guard.protect('shop.contact');
         SELECT tenant_guard.audit_reads('shop.contact')",
    );
    shop
}

/// The reads in the log, after what waits in the buffer was written there.
#[track_caller]
fn reads(db: &Database) -> Vec<String> {
    let mut superuser = db.superuser();
    lines(&mut superuser, "SELECT tenant_guard.flush_reads()");
    lines(&mut superuser, READS)
}

/// A read of contacts by account A.
fn of_contacts(what: &str) -> String {
    format!("{what}|{ACCOUNT_A}|shop.contact|<null>")
}

/// A session of the application bound to account A, in a transaction that is rolled back.
fn rolled_back<T>(shop: &Shop, work: impl FnOnce(&mut Transaction<'_>) -> T) -> T {
    let mut session = shop.app();
    let mut transaction = session.transaction().unwrap();
    shop.issuer.sign_in(&mut transaction, ACCOUNT_A);
    let result = work(&mut transaction);
    transaction.rollback().unwrap();
    result
}

/// A session of the superuser that has loaded the library.
fn loaded(db: &Database) -> Client {
    let mut client = db.superuser();
    client.batch_execute("LOAD 'tenant_guard'").unwrap();
    client
}
