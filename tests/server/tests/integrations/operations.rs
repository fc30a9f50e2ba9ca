//! The statements of docs/operations.md that watch over a database, run as they stand there.

use tenant_guard_tests::{Database, lines};

const PAGE: &str = include_str!("../../../../docs/operations.md");

#[test]
fn statements_that_watch_find_nothing_in_a_sound_database_and_what_is_broken_in_another() {
    let database = Database::new();
    let mut superuser = database.superuser();
    for step in [
        "CREATE TABLE public.item (id int PRIMARY KEY, account_id uuid NOT NULL)",
        "SELECT tenant_guard.audit('public.item')",
        "INSERT INTO item VALUES (1, gen_random_uuid())",
        "SELECT * FROM tenant_guard.seal()",
        "SET ROLE tenant_guard_auditor",
    ] {
        superuser.batch_execute(step).expect(step);
    }
    let section = PAGE.split("## Watching it").nth(1).expect("it is there");
    let section = section.split("\n## ").next().expect("it ends");
    let statements: Vec<_> = section
        .split("```sql\n")
        .skip(1)
        .map(|block| block.split("\n```").next().expect("a block ends"))
        .collect();
    assert_eq!(statements.len(), 7);
    // The first and the last two have rows in any database.
    for statement in &statements[1..5] {
        assert_eq!(lines(&mut superuser, statement), [""; 0], "{statement}");
    }
    for statement in [statements[0], statements[5], statements[6]] {
        superuser.batch_execute(statement).expect(statement);
    }
    superuser
        .batch_execute(
            "RESET ROLE;
             SET tenant_guard.guards = off;
             ALTER TABLE tenant_guard.audit_log DISABLE TRIGGER tenant_guard_guard;
             UPDATE tenant_guard.audit_log SET account_id = 'somebody' WHERE relation = 'public.item'",
        )
        .expect("a superuser may");
    let found = lines(&mut superuser, statements[4]);
    assert!(
        found.iter().any(|row| row.starts_with("event_altered")),
        "{found:?}"
    );
}
