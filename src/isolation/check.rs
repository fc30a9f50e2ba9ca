//! The linter: one SQL file for each row of docs/isolation-failures.md it covers.

use std::ffi::CStr;

use pgrx::prelude::*;

use super::registry::read;

/// Code and query of a check; the code is the file's name with hyphens.
macro_rules! checks {
    ($($file:literal),+ $(,)?) => {
        &[$(($file, include_str!(concat!("../../sql/checks/", $file, ".sql")))),+]
    };
}

const CHECKS: &[(&str, &str)] = checks![
    "01_row_security_not_forced",
    "02_role_bypasses_row_security",
    "06_owner_can_log_in",
    "07_foreign_permissive_policy",
    "12_row_security_not_enabled",
    "13_child_not_protected",
    "15_guard_disabled",
    "18_materialized_view",
    "19_view_runs_as_owner",
    "24_truncate_granted",
    "26_foreign_key_without_account",
    "37_floor_altered",
    "41_account_nullable",
    "45_assignment_writable",
    "70_setting_planted",
];

/// One finding: severity, code, object, detail, fix.
type Finding = (String, String, String, String, String);

/// Looks for ways around isolation; `schemas` none means all of them.
#[pg_extern(sql = false)]
fn check(
    schemas: Option<pgrx::Array<'_, &CStr>>,
) -> TableIterator<
    'static,
    (
        name!(severity, String),
        name!(code, String),
        name!(object, String),
        name!(detail, String),
        name!(fix, String),
    ),
> {
    let schemas: Option<Vec<_>> =
        schemas.map(|names| names.iter().flatten().map(super::text).collect());
    let mut findings: Vec<Finding> = CHECKS
        .iter()
        .flat_map(|(file, query)| run(file, query, &schemas))
        .collect();
    findings.sort_by(|a, b| (rank(&a.0), &a.1, &a.2, &a.3).cmp(&(rank(&b.0), &b.1, &b.2, &b.3)));
    TableIterator::new(findings)
}

fn run(file: &str, query: &str, schemas: &Option<Vec<String>>) -> Vec<Finding> {
    let code = file.replace('_', "-");
    read(query, &[schemas.clone().into()], |row| {
        let text =
            |column| Ok::<_, pgrx::spi::SpiError>(row.get::<String>(column)?.unwrap_or_default());
        Ok((text(1)?, code.clone(), text(2)?, text(3)?, text(4)?))
    })
}

/// Worst first.
fn rank(severity: &str) -> u8 {
    match severity {
        "error" => 0,
        "warning" => 1,
        _ => 2,
    }
}
