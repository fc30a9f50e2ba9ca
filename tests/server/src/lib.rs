//! Harness of the server tests: throwaway clusters, one database a test, real client sessions of
//! ordinary roles, tokens of made-up issuers.
//!
//! A test looks like this:
//!
//! ```no_run
//! use tenant_guard_tests::{ACCOUNT_A, Database, Issuer, expect_error, lines};
//!
//! let db = Database::new();
//! let issuer = Issuer::es256("https://issuer.example");
//! issuer.register(&mut db.superuser());
//! let app = db.role("app");
//! let mut session = db.connect_as(&app);
//! let mut transaction = session.transaction().unwrap();
//! issuer.sign_in(&mut transaction, ACCOUNT_A);
//! assert_eq!(lines(&mut transaction, "SELECT tenant_guard.account_id()"), [ACCOUNT_A]);
//! transaction.commit().unwrap();
//! expect_error(session.batch_execute("SELECT tenant_guard.account_id()"), "28000", "");
//! ```
//!
//! The tests of one process share one cluster; each has a database and roles of its own, so they
//! run in parallel. A database is dropped with its value, and its sessions end with it. A test
//! that needs settings, restarts or a system identifier of its own starts a [`Cluster`].
//! `tools/build.sh` must have run before.
#![warn(missing_docs)]

mod assertions;
mod cluster;
mod database;
mod issuer;

pub use assertions::{assert_ordinary, await_lines, expect_error, lines, rows};
pub use cluster::Cluster;
pub use database::{Database, Notices, feed};
pub use issuer::Issuer;

/// An account of the tests.
pub const ACCOUNT_A: &str = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa";
/// Another account of the tests.
pub const ACCOUNT_B: &str = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb";
