//! Advisory locks that other people's code takes meanwhile: those of a session outlive what is undone.

use crate::isolation::registry::read;

/// A lock: its two halves, whether these are two keys, and whether it is shared.
type Lock = (i64, i64, bool, bool);

/// Runs `work`, and gives back the locks that the session did not hold before.
pub(super) fn given_back<T>(work: impl FnOnce() -> T) -> T {
    let before = held();
    let result = work();
    for lock in held() {
        if !before.contains(&lock) {
            give_back(&lock);
        }
    }
    result
}

/// What the session holds.
fn held() -> Vec<Lock> {
    read(
        "SELECT l.classid::int8, l.objid::int8, l.objsubid = 2, l.mode = 'ShareLock' \
         FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.pid = pg_backend_pid() AND l.granted \
             AND l.database = (SELECT d.oid FROM pg_database AS d \
                 WHERE d.datname = current_database())",
        &[],
        |row| {
            let number = |n| row.get::<i64>(n).map(Option::unwrap_or_default);
            let flag = |n| row.get::<bool>(n).map(Option::unwrap_or_default);
            Ok((number(1)?, number(2)?, flag(3)?, flag(4)?))
        },
    )
}

/// As often as it was taken.
fn give_back(lock: &Lock) {
    let (high, low, is_pair, is_shared) = *lock;
    let function = match is_shared {
        true => "pg_advisory_unlock_shared",
        false => "pg_advisory_unlock",
    };
    let key = match is_pair {
        true => format!("{}, {}", high as u32 as i32, low as u32 as i32),
        false => (high << 32 | low).to_string(),
    };
    while held().contains(lock) {
        let given = read(&format!("SELECT {function}({key})"), &[], |row| {
            row.get::<bool>(1)
        });
        // One of the transaction's ends with it.
        if given != [Some(true)] {
            break;
        }
    }
}
