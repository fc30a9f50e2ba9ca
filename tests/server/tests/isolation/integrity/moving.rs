//! check_data() over tables that change under it, and runs that go on after a crash.

use std::thread;

use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, lines};

use super::super::locking::until_locking;
use super::data::{CHECK, FOUND, damage, shop};

const RESUME: &str = "CALL tenant_guard.check_data_in_pieces(resume => true)";

#[test]
fn a_column_of_paths_that_becomes_one_of_numbers_meanwhile_does_not_bring_the_server_down() {
    let shop = shop("CREATE TABLE shop.file (id int PRIMARY KEY, account_id uuid, path text)");
    shop.run("SELECT tenant_guard.declare_path('shop.file', 'path', '{account}')");
    damage(
        &shop,
        &format!("INSERT INTO shop.file VALUES (1, '{ACCOUNT_A}', 'x')"),
    );
    for check in [CHECK, "CALL tenant_guard.check_data_in_pieces()"] {
        let mut superuser = shop.db.superuser();
        let mut open = superuser.transaction().unwrap();
        open.batch_execute(
            "ALTER TABLE shop.file ALTER path TYPE bigint USING 4702111234474983745",
        )
        .unwrap();
        thread::scope(|scope| {
            let checking = scope.spawn(|| shop.owner().batch_execute(check));
            until_locking(&shop.db);
            open.commit().unwrap();
            checking.join().unwrap().unwrap();
        });
        superuser
            .batch_execute("ALTER TABLE shop.file ALTER path TYPE text")
            .unwrap();
    }
}

#[test]
fn a_table_that_goes_meanwhile_is_left_out() {
    let shop = shop("");
    for (table, check) in [
        ("booking", CHECK),
        ("contact", "CALL tenant_guard.check_data_in_pieces()"),
    ] {
        let mut superuser = shop.unguarded();
        let mut open = superuser.transaction().unwrap();
        open.batch_execute(&format!("DROP TABLE shop.{table}"))
            .unwrap();
        thread::scope(|scope| {
            let checking = scope.spawn(|| shop.owner().batch_execute(check));
            until_locking(&shop.db);
            open.commit().unwrap();
            checking.join().unwrap().unwrap();
        });
    }
}

#[test]
fn rows_of_an_account_that_was_made_meanwhile_are_known() {
    let shop = shop("");
    let new = "cccccccc-cccc-4ccc-8ccc-cccccccccccc";
    shop.run("SELECT tenant_guard.set_account_relation('shop.account', 'id')");
    let mut superuser = shop.db.superuser();
    let mut open = superuser.transaction().unwrap();
    open.batch_execute(&format!(
        "LOCK TABLE shop.contact; INSERT INTO shop.account VALUES ('{new}');
         INSERT INTO shop.contact VALUES (3, '{new}'), (4, '{}')",
        new.replace('c', "d")
    ))
    .unwrap();
    thread::scope(|scope| {
        let checking = scope.spawn(|| {
            shop.db
                .superuser()
                .batch_execute("CALL tenant_guard.check_data_in_pieces()")
        });
        until_locking(&shop.db);
        open.commit().unwrap();
        checking.join().unwrap().unwrap();
    });
    assert_eq!(
        lines(&mut shop.owner(), FOUND),
        [
            "error|account-unknown|shop.contact|rows of accounts that the declared relation of \
             accounts does not have|1|{4}"
        ]
    );
}

#[test]
fn a_run_goes_on_over_a_table_that_has_become_shorter() {
    let shop = shop("");
    damage(
        &shop,
        &format!(
            "INSERT INTO shop.booking VALUES (11, '{ACCOUNT_A}', 2);
             INSERT INTO shop.booking SELECT n, '{ACCOUNT_A}', 1 FROM generate_series(12, 9999) AS n"
        ),
    );
    let mut owner = shop.owner();
    owner
        .batch_execute("CALL tenant_guard.check_data_in_pieces(blocks => 3)")
        .unwrap();
    let mut superuser = shop.db.superuser();
    let whole = lines(&mut superuser, FOUND);
    assert!(whole[0].ends_with("|1|{11}"), "{whole:?}");
    for (done, keep) in [("blocks / 2", 11), ("1", 11), ("1", 3000)] {
        damage(
            &shop,
            &format!("DELETE FROM shop.booking WHERE id > {keep}"),
        );
        superuser.batch_execute("VACUUM shop.booking").unwrap();
        superuser
            .batch_execute(&format!(
                "UPDATE tenant_guard.data_check SET finished = false, done = {done}
                 WHERE relation = 'shop.booking'::regclass"
            ))
            .unwrap();
        owner.batch_execute(RESUME).unwrap();
        // What is behind the end is not looked for again at the beginning.
        assert_eq!(lines(&mut superuser, FOUND), whole);
        let finished = "SELECT bool_and(finished AND done = blocks)
            FROM tenant_guard.check_data_progress";
        assert_eq!(lines(&mut superuser, finished), ["t"]);
    }
}

#[test]
fn a_run_that_goes_on_has_the_same_parts() {
    let shop = shop(
        "CREATE TABLE shop.place (name text PRIMARY KEY, account_id uuid);
         CREATE TABLE shop.visit (id int PRIMARY KEY, account_id uuid,
             place text REFERENCES shop.place)",
    );
    damage(
        &shop,
        &format!(
            "INSERT INTO shop.place SELECT 'place ' || n, '{ACCOUNT_B}' FROM generate_series(1, 70000) AS n;
             INSERT INTO shop.visit SELECT n, '{ACCOUNT_A}', 'place ' || n FROM generate_series(1, 7000) AS n"
        ),
    );
    let mut superuser = shop.db.superuser();
    for statement in [
        "SET maintenance_work_mem = '1MB'",
        "CALL tenant_guard.check_data_in_pieces()",
    ] {
        superuser.batch_execute(statement).unwrap();
    }
    let counts = "SELECT sum(count) FROM tenant_guard.data_check_finding";
    assert_eq!(lines(&mut superuser, counts), ["7000"]);
    let mut halves = || {
        superuser
            .batch_execute(
                "DELETE FROM tenant_guard.data_check_finding;
                 UPDATE tenant_guard.data_check SET finished = false, done = blocks * parts / 2
                 WHERE relation = 'shop.visit'::regclass",
            )
            .unwrap();
        superuser.batch_execute(RESUME).unwrap();
        lines(&mut superuser, counts)
    };
    let half = halves();
    assert_eq!(half, halves());
    assert_ne!(half, ["0"]);
}

#[test]
fn keys_that_are_multiples_of_something_make_no_more_parts_than_others() {
    let shop = shop(
        "CREATE TABLE shop.place (id bigint PRIMARY KEY, account_id uuid);
         CREATE TABLE shop.visit (id int PRIMARY KEY, account_id uuid,
             place bigint REFERENCES shop.place)",
    );
    damage(
        &shop,
        &format!(
            "INSERT INTO shop.place SELECT n::bigint * 4194304, '{ACCOUNT_A}' FROM generate_series(1, 70000) AS n;
             INSERT INTO shop.visit VALUES (1, '{ACCOUNT_A}', 4194304)"
        ),
    );
    let mut superuser = shop.db.superuser();
    for statement in [
        "SET maintenance_work_mem = '1MB'",
        "CALL tenant_guard.check_data_in_pieces()",
    ] {
        superuser.batch_execute(statement).unwrap();
    }
    let parts = "SELECT parts BETWEEN 2 AND 8 FROM tenant_guard.data_check
        WHERE relation = 'shop.visit'::regclass";
    assert_eq!(lines(&mut superuser, parts), ["t"]);
}
