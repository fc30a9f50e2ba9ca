//! Transactions that fail because of one another, with capture on.

use std::sync::Barrier;
use std::thread;

use postgres::{Client, IsolationLevel, Transaction};
use tenant_guard_tests::{Cluster, Database, expect_error, lines};

use super::points::check_ledger;
use super::steps::{expect, shop, sign_in};
use crate::isolation::Shop;

/// Updates of contacts in the log, against what they did.
#[track_caller]
fn check_updates(shop: &Shop, expected: u32) {
    let counted = "SELECT (SELECT sum(n) FROM shop.contact), count(*) FROM tenant_guard.audit_log
                   WHERE relation = 'shop.contact' AND action = 'update'";
    expect(shop, counted, &[&format!("{expected}|{expected}")]);
    check_ledger(shop, "updates");
}

fn begin<'a>(shop: &Shop, session: &'a mut Client, level: IsolationLevel) -> Transaction<'a> {
    let mut transaction = session
        .build_transaction()
        .isolation_level(level)
        .start()
        .unwrap();
    sign_in(shop, &mut transaction, true).unwrap();
    lines(&mut transaction, "SELECT sum(n) FROM shop.contact");
    transaction
}

fn count_up(session: &mut Transaction<'_>, id: u32) -> Result<(), postgres::Error> {
    session.batch_execute(&format!(
        "UPDATE shop.contact SET n = n + 1 WHERE id = {id}"
    ))
}

#[test]
fn serialization_failure_leaves_no_event_and_its_retry_one() {
    let shop = shop(Database::new());
    let (mut first, mut second) = (shop.app(), shop.app());
    let mut events = 0;
    // The same row; then two rows that each other's transaction has read.
    for (level, rows) in [
        (IsolationLevel::RepeatableRead, [1, 1]),
        (IsolationLevel::Serializable, [1, 3]),
    ] {
        let mut one = begin(&shop, &mut first, level);
        let mut two = begin(&shop, &mut second, level);
        count_up(&mut one, rows[0]).unwrap();
        if rows[0] == rows[1] {
            one.commit().unwrap();
            expect_error(count_up(&mut two, rows[1]), "40001", "could not serialize");
            two.rollback().unwrap();
        } else {
            count_up(&mut two, rows[1]).unwrap();
            one.commit().unwrap();
            expect_error(two.commit(), "40001", "could not serialize");
        }
        events += 1;
        check_updates(&shop, events);
        let mut again = begin(&shop, &mut second, level);
        count_up(&mut again, rows[1]).unwrap();
        again.commit().unwrap();
        events += 1;
        check_updates(&shop, events);
    }
}

#[test]
fn deadlock_leaves_no_event_of_its_victim_and_the_retry_one() {
    // Others look for deadlocks in the log of the shared server.
    let cluster = Cluster::start(&["fsync=off"]);
    let shop = shop(cluster.database());
    let both = Barrier::new(2);
    thread::scope(|scope| {
        for rows in [[1, 3], [3, 1]] {
            let (shop, both) = (&shop, &both);
            scope.spawn(move || {
                let mut session = shop.app();
                let mut transaction = begin(shop, &mut session, IsolationLevel::ReadCommitted);
                count_up(&mut transaction, rows[0]).unwrap();
                both.wait();
                let second = count_up(&mut transaction, rows[1]);
                if second.is_ok() {
                    transaction.commit().unwrap();
                    both.wait();
                    return;
                }
                expect_error(second, "40P01", "deadlock");
                transaction.rollback().unwrap();
                both.wait();
                let mut again = begin(shop, &mut session, IsolationLevel::ReadCommitted);
                count_up(&mut again, rows[0]).unwrap();
                count_up(&mut again, rows[1]).unwrap();
                again.commit().unwrap();
            });
        }
    });
    check_updates(&shop, 4);
}
