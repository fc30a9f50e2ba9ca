//! docs/getting-started.md, run as it stands there, block after block.

use postgres::Client;
use tenant_guard_tests::{Database, lines};

const PAGE: &str = include_str!("../../../../docs/getting-started.md");

/// The SQL blocks of the page: who runs each, as its first line says, its statements, and the error that
/// its last line expects.
fn blocks(owner: &str, application: &str) -> Vec<(String, String, Option<String>)> {
    let page = PAGE
        .replace("crm_owner", owner)
        .replace("crm_app", application);
    let parts = page.split("\n```sql\n").skip(1);
    parts
        .map(|part| {
            let (block, _) = part.split_once("\n```\n").expect("a block ends");
            let (who, statements) = block.split_once('\n').expect("a block has statements");
            let who = who
                .strip_prefix("-- as ")
                .expect("a block says who runs it");
            let who = who
                .split(':')
                .next()
                .expect("split gives a part")
                .to_owned();
            let (statements, error) = match statements.rsplit_once("\n-- error: ") {
                Some((statements, error)) => (statements, Some(error.to_owned())),
                None => (statements, None),
            };
            (who, statements.to_owned(), error)
        })
        .collect()
}

/// Runs statements one by one, as psql does.
fn run(session: &mut Client, statements: &str) -> Result<(), postgres::Error> {
    let mut rest = statements;
    // No string of the page ends a line with a semicolon.
    while let Some((statement, tail)) = rest.split_once(";\n") {
        session.batch_execute(statement)?;
        rest = tail;
    }
    session.batch_execute(rest)
}

#[test]
fn every_step_of_the_page_works_in_its_order() {
    let database = Database::empty();
    let (owner, application) = (
        format!("{}_owner", database.name()),
        format!("{}_app", database.name()),
    );
    let blocks = blocks(&owner, &application);
    assert_eq!(blocks.len(), 11);
    for (who, statements, expected) in blocks {
        let mut session = match who.as_str() {
            "the superuser" => database.superuser(),
            _ => database.connect_as(&who),
        };
        if statements.contains("check_gate") {
            database.accept_its_age();
        }
        let outcome = run(&mut session, &statements);
        match (outcome, expected) {
            (Ok(()), None) => {}
            (Err(error), Some(expected)) => {
                let message = error.as_db_error().expect("the server says it").message();
                assert_eq!(message, expected, "{statements}");
            }
            (Ok(()), Some(expected)) => panic!("no error, but \"{expected}\" after {statements}"),
            (Err(error), None) => panic!("{error:?} after {statements}"),
        }
    }
    let mut superuser = database.superuser();
    assert_eq!(
        lines(
            &mut superuser,
            "SELECT id || ' ' || account_id || ' ' || coalesce(contact_id::text, '-') FROM crm.invoice ORDER BY id"
        ),
        ["1 acme 1", "2 globex 2", "3 acme -"]
    );
    assert_eq!(
        lines(
            &mut superuser,
            "SELECT relation::text || ' ' || archetype FROM tenant_guard.protected_relation ORDER BY 1"
        ),
        [
            "crm.contact account",
            "crm.country reference",
            "crm.invoice account",
            "crm.note child"
        ]
    );
}
