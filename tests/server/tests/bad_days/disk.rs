//! Disks that are full: of the data, and of the write-ahead log.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tenant_guard_tests::{ACCOUNT_A, Cluster, lines};

use super::points::{check_ledger, state};
use super::steps::{STEPS, insert, shop, sign_in};

/// A small file system in memory.
struct Disk(PathBuf);

impl Disk {
    /// Leaves no free byte.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filling")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filling")).unwrap();
    }
}

fn succeeds(program: &str, arguments: &[&Path]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program}");
}

#[test]
fn full_disk_fails_what_does_not_fit_and_leaves_nothing_half_done() {
    let cluster = Cluster::start(&[]);
    let Some(disk) = cluster.mount_disk(80).map(Disk) else {
        return;
    };
    let shop = shop(cluster.database());
    let name = shop.db.name();
    let mut server = cluster
        .config("postgres", "postgres")
        .connect(postgres::NoTls)
        .unwrap();
    let place = disk.0.display();
    server
        .batch_execute(&format!("CREATE TABLESPACE small LOCATION '{place}'"))
        .unwrap();
    server
        .batch_execute(&format!("ALTER DATABASE {name} SET TABLESPACE small"))
        .unwrap();
    let steps = || (200..).zip(STEPS.iter().filter(|step| step.prefix != "ledger."));
    for (number, step) in steps() {
        (step.prepare)(&shop, number);
    }
    disk.fill();

    let mut app = shop.app();
    let mut refused = 0;
    for id in 10_000.. {
        let mut transaction = app.transaction().unwrap();
        sign_in(&shop, &mut transaction, true).unwrap();
        let long = format!(
            "UPDATE shop.contact SET name = repeat(md5(random()::text), 50) WHERE id = {id}"
        );
        let changed = insert(&mut transaction, id).and_then(|()| transaction.batch_execute(&long));
        match changed.and_then(|()| transaction.commit()) {
            Ok(()) => {}
            Err(error) => {
                let code = error.as_db_error().map(|error| error.code().code());
                assert_eq!(code, Some("53100"), "{error:?}");
                refused += 1;
            }
        }
        if refused == 3 {
            break;
        }
    }
    let mut watcher = shop.db.superuser();
    let mut failed = Vec::new();
    for (number, step) in steps() {
        let before = state(&mut watcher);
        let mut session = (step.session)(&shop, "");
        match (step.run)(&shop, &mut session, number) {
            Ok(()) => (step.check)(&shop, number),
            Err(error) => {
                let code = error.as_db_error().map(|error| error.code().code());
                assert_eq!(code, Some("53100"), "{}: {error:?}", step.name);
                assert_eq!(state(&mut watcher), before, "{}", step.name);
                failed.push((number, step));
            }
        }
    }
    assert!(!failed.is_empty());
    disk.free();
    for (number, step) in failed {
        let again = (step.run)(&shop, &mut (step.session)(&shop, ""), number);
        again.unwrap_or_else(|error| panic!("{}: {error:?}", step.name));
        (step.check)(&shop, number);
    }
    check_ledger(&shop, "full disk");
    drop((app, watcher, server));
    cluster.stop();
}

#[test]
fn full_disk_of_the_write_ahead_log_loses_nothing_that_was_committed() {
    let cluster = Cluster::start(&["min_wal_size=32MB", "max_wal_size=32MB"]);
    let Some(disk) = cluster.mount_disk(100).map(Disk) else {
        return;
    };
    let shop = shop(cluster.database());
    cluster.stop();
    let log = cluster.directory().join("data/pg_wal");
    succeeds("cp", &[Path::new("-a"), &log, &disk.0]);
    succeeds("rm", &[Path::new("-r"), &log]);
    succeeds("ln", &[Path::new("-s"), &disk.0.join("pg_wal"), &log]);
    cluster.restart();
    disk.fill();

    let mut app = shop.app();
    let mut committed = Vec::new();
    for id in 10_000.. {
        let Ok(mut transaction) = app.transaction() else {
            break;
        };
        let done = sign_in(&shop, &mut transaction, true)
            .and_then(|()| insert(&mut transaction, id))
            .and_then(|()| {
                transaction.batch_execute(&format!(
                    "UPDATE shop.contact SET name = (SELECT string_agg(md5(i::text || random()), '')
                         FROM generate_series(1, 20000) AS i) WHERE id = {id}"
                ))
            })
            .and_then(|()| transaction.commit());
        match done {
            Ok(()) => committed.push(id.to_string()),
            Err(_) if app.is_closed() => break,
            Err(error) => {
                let code = error.as_db_error().map(|error| error.code().code());
                assert!(matches!(code, None | Some("53100" | "57P02")), "{error:?}");
                break;
            }
        }
        assert!(id < 10_500, "the disk does not fill");
    }
    assert!(!committed.is_empty());
    disk.free();
    cluster.restart_after_kill();

    let mut superuser = shop.db.superuser();
    let rows = lines(
        &mut superuser,
        "SELECT id FROM shop.contact WHERE id >= 10000 ORDER BY id",
    );
    // A commit whose answer did not arrive may have been one.
    assert!(rows.starts_with(&committed), "{rows:?} {committed:?}");
    assert!(rows.len() <= committed.len() + 1);
    check_ledger(&shop, "full disk of the log");
    shop.within(ACCOUNT_A, |session| insert(session, 20_000).unwrap());
    superuser
        .batch_execute("SELECT * FROM tenant_guard.seal()")
        .unwrap();
    check_ledger(&shop, "after it");
    drop(superuser);
    cluster.stop();
}
