//! What the tests assert about errors, rows and sessions.

use std::thread;
use std::time::{Duration, Instant};

use postgres::{Client, Error, GenericClient, SimpleQueryMessage};

/// Asserts that the server refused with this SQLSTATE and a message that contains `message`.
///
/// # Panics
///
/// When there was no error, or another one.
#[track_caller]
pub fn expect_error<T>(result: Result<T, Error>, sqlstate: &str, message: &str) {
    let Err(error) = result else {
        panic!("expected an error {sqlstate} \"{message}\", but the server agreed");
    };
    let Some(error) = error.as_db_error() else {
        panic!("expected an error {sqlstate} \"{message}\", not {error}");
    };
    assert!(
        error.code().code() == sqlstate && error.message().contains(message),
        "expected an error {sqlstate} \"{message}\", not {} \"{}\"",
        error.code().code(),
        error.message(),
    );
}

/// The rows of a query as `psql -At` prints them: columns parted by `|`, NULL as `<null>`.
///
/// # Panics
///
/// When the query fails.
#[track_caller]
pub fn lines(client: &mut impl GenericClient, query: &str) -> Vec<String> {
    let messages = match client.simple_query(query) {
        Ok(messages) => messages,
        Err(error) => panic!("{query}: {}", describe(&error)),
    };
    rows(&messages)
}

/// Returns once a query gives these rows, as [`lines`] shows them. Each try is a statement of its own.
///
/// # Panics
///
/// When it does not within half a minute.
#[track_caller]
pub fn await_lines(client: &mut impl GenericClient, query: &str, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let found = lines(client, query);
        if found == expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{query} gives {found:?}, not {expected:?}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// The rows among the messages of a simple query, printed so.
pub fn rows(messages: &[SimpleQueryMessage]) -> Vec<String> {
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.map(|row| {
        let columns = (0..row.len()).map(|column| row.get(column).unwrap_or("<null>"));
        columns.collect::<Vec<_>>().join("|")
    })
    .collect()
}

/// Asserts that row security binds this session: its role has no attribute, membership or
/// unforced ownership that lets it past a policy. Every test of isolation calls it, because a
/// session that bypasses policies would show nothing.
///
/// # Panics
///
/// When the session could see more than its policies let through.
#[track_caller]
pub fn assert_ordinary(client: &mut Client) {
    assert_cannot_bypass(client);
    let unforced = lines(
        client,
        "SELECT c.oid::regclass FROM pg_catalog.pg_class c
         WHERE c.relrowsecurity AND NOT c.relforcerowsecurity
           AND pg_catalog.pg_has_role(c.relowner, 'MEMBER')
         ORDER BY 1",
    );
    assert!(
        unforced.is_empty(),
        "the session owns tables without FORCE: {unforced:?}"
    );
}

/// Asserts that neither the session's role nor one it may become bypasses row security.
#[track_caller]
pub(crate) fn assert_cannot_bypass(client: &mut Client) {
    let bypassing = lines(
        client,
        "SELECT rolname FROM pg_catalog.pg_roles
         WHERE (rolsuper OR rolbypassrls) AND pg_catalog.pg_has_role(session_user, oid, 'MEMBER')
         ORDER BY 1",
    );
    assert!(
        bypassing.is_empty(),
        "the session may bypass row security as {bypassing:?}"
    );
}

fn describe(error: &Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} {}", error.code().code(), error.message()),
        None => error.to_string(),
    }
}
