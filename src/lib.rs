//! Tenant isolation enforced and proven inside PostgreSQL.
//!
//! This crate is glue: it adapts PostgreSQL to `tenant_guard_core`, which decides everything that
//! can be decided without a server. SQL objects are declared by hand in `sql/`.
#![warn(missing_docs)]

use pgrx::prelude::*;

mod allocated;
mod audit;
mod catalog;
mod clock;
mod error;
mod fault;
mod history;
mod identity;
mod isolation;
mod kept_plan;
mod ledger;
mod memory;
mod migration;
mod personal;
mod random;
mod raw;
mod secrecy;
mod settings;
mod subtransaction;
mod versions;
mod watch;

::pgrx::pg_module_magic!();

// One after the other, each requiring the one before it: without that pgrx orders them anew with each build,
// and the install script of a version is to be one text.
extension_sql_file!("../sql/bootstrap.sql", name = "bootstrap", bootstrap);
extension_sql_file!(
    "../sql/identity.sql",
    name = "identity",
    requires = ["bootstrap"]
);
extension_sql_file!("../sql/audit.sql", name = "audit", requires = ["identity"]);
extension_sql_file!("../sql/ledger.sql", name = "ledger", requires = ["audit"]);
extension_sql_file!("../sql/sealer.sql", name = "sealer", requires = ["ledger"]);
extension_sql_file!(
    "../sql/personal.sql",
    name = "personal",
    requires = ["sealer"]
);
extension_sql_file!(
    "../sql/proofs.sql",
    name = "proofs",
    requires = ["personal"]
);
extension_sql_file!(
    "../sql/retention.sql",
    name = "retention",
    requires = ["proofs"]
);
extension_sql_file!(
    "../sql/isolation.sql",
    name = "isolation",
    requires = ["retention"]
);
extension_sql_file!("../sql/reads.sql", name = "reads", requires = ["isolation"]);
extension_sql_file!("../sql/roles.sql", name = "roles", requires = ["reads"]);
extension_sql_file!("../sql/history.sql", name = "history", requires = ["roles"]);
extension_sql_file!("../sql/probe.sql", name = "probe", requires = ["history"]);
extension_sql_file!("../sql/explain.sql", name = "explain", requires = ["probe"]);
extension_sql_file!("../sql/checks.sql", name = "checks", requires = ["explain"]);
extension_sql_file!(
    "../sql/integrity.sql",
    name = "integrity",
    requires = ["checks"]
);
extension_sql_file!(
    "../sql/migration.sql",
    name = "migration",
    requires = ["integrity"]
);
extension_sql_file!(
    "../sql/manifest.sql",
    name = "manifest",
    requires = ["migration"]
);
extension_sql_file!(
    "../sql/closing.sql",
    name = "closing",
    requires = ["manifest"]
);
extension_sql_file!("../sql/guards.sql", name = "guards", requires = ["closing"]);

/// Called by PostgreSQL when it loads the library into a backend or a parallel worker.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::define();
    #[cfg(feature = "fault_points")]
    fault::define();
    ledger::sealer::launcher::install();
    isolation::copy_from::install();
    isolation::column_hook::install();
    isolation::floor_hook::install();
    audit::reads::install();
}

/// The version of the loaded library, which an upgrade may leave different from the SQL objects'.
#[pg_extern(sql = false)]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
