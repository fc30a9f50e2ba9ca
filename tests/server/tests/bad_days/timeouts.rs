//! Time that is over, and locks that are not had in time, wherever a step is.

use tenant_guard_tests::{Database, expect_error};

use super::points::{check_ledger, state};
use super::steps::{STEPS, shop};

/// How a statement ends that takes too long. PostgreSQL forgets the limit before it commits: where it was reached
/// just then, what is done at the commit ends as if somebody had cancelled it.
const ENDED: [&str; 2] = [
    "canceling statement due to statement timeout",
    "canceling statement due to user request",
];

#[test]
fn statement_timeout_at_any_moment_of_a_step_leaves_nothing_half_done() {
    let shop = shop(Database::new());
    let mut watcher = shop.db.superuser();
    let mut ended = 0;
    let steps = STEPS.iter().filter(|step| step.prefix != "ledger.");
    for (step, first) in steps.zip((1..).map(|n| n * 1000)) {
        for milliseconds in [1, 2, 4, 8, 16, 32] {
            let number = first + milliseconds;
            (step.prepare)(&shop, number);
            let before = state(&mut watcher);
            let mut session = (step.session)(&shop, "");
            let limit = format!("SET statement_timeout = {milliseconds}");
            session.batch_execute(&limit).unwrap();
            if let Err(error) = (step.run)(&shop, &mut session, number) {
                let name = step.name;
                let message = error.as_db_error().map(ToString::to_string);
                assert!(
                    message.is_some_and(|message| ENDED.iter().any(|end| message.ends_with(end))),
                    "{name}, {milliseconds} ms: {error:?}"
                );
                assert_eq!(state(&mut watcher), before, "{name}, {milliseconds} ms");
                ended += 1;
                (step.run)(&shop, &mut (step.session)(&shop, ""), number).unwrap();
            }
            (step.check)(&shop, number);
        }
        check_ledger(&shop, step.name);
    }
    assert!(ended > 0);
}

/// What a step needs, locked by somebody who does not let go.
#[test]
fn lock_not_had_in_time_leaves_nothing_half_done() {
    let shop = shop(Database::new());
    let mut watcher = shop.db.superuser();
    let mut number = 100;
    for (prefix, table) in [
        ("authenticate.", "tenant_guard.issuer"),
        ("capture.", "shop.contact"),
        ("capture.", "tenant_guard.audit_log"),
        ("capture.", "tenant_guard.audit_context"),
        ("seal.", "tenant_guard.audit_log"),
        ("seal.", "tenant_guard.ledger_account"),
        ("seal.", "tenant_guard.ledger_block"),
        ("verify.", "tenant_guard.audit_log"),
        ("verify.", "tenant_guard.ledger_leaf"),
        ("reads.", "tenant_guard.audit_log"),
        ("erase.", "tenant_guard.audit_log"),
        ("protect.", "tenant_guard.protection"),
        ("protect.", "tenant_guard.protection_member"),
        ("unprotect.", "tenant_guard.protection"),
        ("manifest.", "tenant_guard.protection"),
        ("checkpoint.", "tenant_guard.ledger_block"),
    ] {
        let step = STEPS.iter().find(|step| step.prefix == prefix).unwrap();
        number += 1;
        (step.prepare)(&shop, number);
        let before = state(&mut watcher);
        let mut session = (step.session)(&shop, "");
        session.batch_execute("SET lock_timeout = '30ms'").unwrap();
        let mut holder = shop.db.superuser();
        let mut held = holder.transaction().unwrap();
        held.batch_execute(&format!("LOCK TABLE {table}")).unwrap();
        let outcome = (step.run)(&shop, &mut session, number);
        held.rollback().unwrap();
        let error = outcome.expect_err(&format!("{prefix} does without {table}"));
        expect_error(Err::<(), _>(error), "55P03", "");
        assert_eq!(state(&mut watcher), before, "{prefix} {table}");
        (step.run)(&shop, &mut session, number).unwrap();
        (step.check)(&shop, number);
    }
    check_ledger(&shop, "locks");
}
