//! The application goes on while governance comes and goes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;
use serde_json::Value;
use tenant_guard_tests::lines;

use super::governing::protect;
use super::{ACCOUNTS, MANIFEST, Product};

/// A table the application uses: its name, the filter that it needs while nobody governs the table, and the
/// column that it writes. `{a}` stands for the account.
struct Used {
    table: &'static str,
    filter: &'static str,
    column: Option<&'static str>,
}

const fn used(table: &'static str, filter: &'static str, column: Option<&'static str>) -> Used {
    Used {
        table,
        filter,
        column,
    }
}

/// With every parent that one of them has.
const USED: [Used; 21] = [
    used("app.account", "id = {a}", Some("name")),
    used("app.account_setting", "account_id = {a}", None),
    used(
        "app.notice_template",
        "account_id = {a} OR account_id IS NULL",
        None,
    ),
    used("crm.company", "account_id = {a}", Some("website")),
    used("crm.contact", "account_id = {a}", Some("first_name")),
    used("crm.deal", "account_id = {a}", Some("title")),
    used("crm.deal_move", "deal_id / 100 = {a}", None),
    used("crm.comment", "subject_id / 100 = {a}", Some("body")),
    used(
        "crm.comment_reaction",
        "comment_id / 100 = {a}",
        Some("emoji"),
    ),
    used("crm.activity", "account_id = {a}", Some("subject")),
    used("crm.campaign_event", "account_id = {a}", None),
    used(
        "billing.invoice_line",
        "invoice_id / 100 = {a}",
        Some("description"),
    ),
    used("stock.product", "tenant = {a}", Some("name")),
    used("hr.employee", "org = '{a}'", Some("name")),
    used(
        "app.import_fix",
        "error_id / 100 = {a}",
        Some("replacement"),
    ),
    used("app.import_batch", "account_id = {a}", Some("file_name")),
    used("app.import_row", "batch_id / 100 = {a}", Some("line")),
    used("app.import_error", "row_id / 100 = {a}", None),
    used("billing.invoice", "account_id = {a}", None),
    used("desk.ticket", "account_id = {a}", Some("title")),
    used("ref.country", "true", None),
];

#[derive(Debug, Default)]
struct Progress {
    stop: AtomicBool,
    read_governed: AtomicUsize,
    read_filtered: AtomicUsize,
    written: AtomicUsize,
}

/// Clients of all accounts read and write until `stop`; any error and any row of another account ends
/// the test.
fn client(product: &Product, account: i32, progress: &Progress) {
    let mut session = product.app();
    let mut random = 88_172_645_463_325_252 ^ account as u64;
    while !progress.stop.load(Relaxed) {
        let mut transaction = session.transaction().unwrap();
        product.sign_in(&mut transaction, account, "owner");
        for _ in 0..3 {
            // xorshift64: any spread will do.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let used = &USED[(random % USED.len() as u64) as usize];
            // While this lock is held the table stays what it is, governed or not.
            transaction
                .batch_execute(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", used.table))
                .unwrap();
            let governed = lines(
                &mut transaction,
                &format!(
                    "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE oid = '{}'::regclass",
                    used.table
                ),
            ) == ["t"];
            let filter = match governed {
                true => "true".to_owned(),
                false => used.filter.replace("{a}", &account.to_string()),
            };
            let rows = lines(
                &mut transaction,
                &format!("SELECT t::text FROM {} AS t WHERE {filter}", used.table),
            );
            assert!(!rows.is_empty(), "{}: an account without rows", used.table);
            for row in rows {
                assert!(
                    !is_of_another(&row, account),
                    "{account} reads {row} of {}",
                    used.table
                );
            }
            let read = match governed {
                true => &progress.read_governed,
                false => &progress.read_filtered,
            };
            read.fetch_add(1, Relaxed);
            if let Some(column) = used.column {
                let update = format!(
                    "UPDATE {} SET {column} = '{account}/canary/{random}' WHERE {filter}",
                    used.table
                );
                transaction.batch_execute(&update).unwrap();
                progress.written.fetch_add(1, Relaxed);
            }
        }
        transaction.commit().unwrap();
    }
}

/// Whether a row is one that was filled in, or written since, for another account than this.
fn is_of_another(row: &str, account: i32) -> bool {
    ACCOUNTS
        .into_iter()
        .filter(|other| *other != account)
        .any(|other| {
            row.starts_with(&format!("({other}0"))
                || row.contains(&format!(",{other}/"))
                || row.contains(&format!("({other}/"))
        })
}

/// Runs the application for `time`, and `change` beside it over and over with true and false in turn.
fn beside_traffic(time: Duration, mut change: impl FnMut(&Product, &mut Client, bool)) {
    let product = Product::new();
    let progress = Progress::default();
    let mut changes = 0;
    thread::scope(|scope| {
        // One for each account: two that write the same rows in a random order would deadlock by themselves.
        for account in ACCOUNTS {
            let (product, progress) = (&product, &progress);
            scope.spawn(move || {
                // A client that fails stops the others too.
                struct Stop<'a>(&'a AtomicBool);
                impl Drop for Stop<'_> {
                    fn drop(&mut self) {
                        self.0.store(true, Relaxed);
                    }
                }
                let _stop = Stop(&progress.stop);
                client(product, account, progress);
            });
        }
        let mut owner = product.owner();
        owner.batch_execute("SET lock_timeout = '20s'").unwrap();
        let started = Instant::now();
        // A change may take as long, and nobody have read on both sides of it.
        let unread = || {
            progress.read_governed.load(Relaxed) == 0 || progress.read_filtered.load(Relaxed) == 0
        };
        let goes_on = || started.elapsed() < time || unread() && started.elapsed() < 12 * time;
        while goes_on() && !progress.stop.load(Relaxed) {
            change(&product, &mut owner, changes % 2 == 0);
            changes += 1;
        }
        progress.stop.store(true, Relaxed);
    });
    println!("{changes} changes beside {progress:?}");
    assert!(changes > 0 && progress.written.into_inner() > 0);
    assert!(progress.read_governed.into_inner() > 0 && progress.read_filtered.into_inner() > 0);
    assert_eq!(product.db.deadlocks(), [""; 0]);
}

/// Governs each of these tables in a transaction of its own, or gives it back; repeats what was not had.
fn one_by_one(product: &Product, owner: &mut Client, governs: bool) {
    let mut calls: Vec<_> = product
        .relations()
        .iter()
        .filter(|(name, _)| USED.iter().any(|used| used.table == name))
        .map(|(name, declaration)| match governs {
            true => protect(name, declaration),
            false => format!("SELECT tenant_guard.unprotect('{name}')"),
        })
        .collect();
    if !governs {
        calls.reverse();
    }
    for call in calls {
        while let Err(error) = owner.batch_execute(&call) {
            assert_eq!(
                error.code(),
                Some(&SqlState::LOCK_NOT_AVAILABLE),
                "{call}: {error}"
            );
        }
    }
}

/// Governs these tables by one manifest, or applies the one of before; repeats what was not had.
fn by_manifest(product: &Product, owner: &mut Client, governs: bool) {
    let exported = "SELECT tenant_guard.export_manifest()";
    let mut manifest: Value = owner.query_one(exported, &[]).unwrap().get(0);
    let mut relations = serde_json::Map::new();
    if governs {
        let whole: Value = serde_json::from_str(&product.named(MANIFEST)).unwrap();
        for used in USED {
            let mut declared = whole["relations"][used.table].clone();
            // The roles of the product are another test's; here every client is let in.
            declared.as_object_mut().unwrap().remove("permissions");
            relations.insert(used.table.to_owned(), declared);
        }
    }
    manifest["relations"] = relations.into();
    let apply = "SELECT count(*) FROM tenant_guard.apply_manifest($1)";
    while let Err(error) = owner.query_one(apply, &[&manifest]) {
        let code = error.code();
        assert_eq!(code, Some(&SqlState::LOCK_NOT_AVAILABLE), "{error:?}");
    }
}

#[test]
fn no_account_reads_another_while_a_manifest_is_applied_and_reversed() {
    beside_traffic(Duration::from_secs(5), by_manifest);
}

#[test]
#[ignore = "runs for two minutes"]
fn no_account_reads_another_in_minutes_of_manifests_applied_and_reversed() {
    beside_traffic(Duration::from_secs(120), by_manifest);
}

#[test]
fn no_account_reads_another_while_tables_are_governed_one_by_one() {
    beside_traffic(Duration::from_secs(5), one_by_one);
}

#[test]
#[ignore = "runs for two minutes"]
fn no_account_reads_another_in_minutes_of_governing_one_by_one() {
    beside_traffic(Duration::from_secs(120), one_by_one);
}
