//! Tenant isolation enforced and proven inside PostgreSQL.
use pgrx::prelude::*;

::pgrx::pg_module_magic!();

#[pg_extern(sql = false)]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

extension_sql_file!("../sql/bootstrap.sql", name = "bootstrap", bootstrap);
