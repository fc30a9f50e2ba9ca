//! The linter: one SQL file for each row of docs/isolation-failures.md it covers.

use std::ffi::CStr;

use pgrx::prelude::*;
use tenant_guard_core::report::{self, Acceptance, Finding, Severity};

use super::lookup;
use super::registry::read;
use crate::catalog::require_able_owner;
use crate::error::{Error, OrRaise};
use crate::versions;

/// Code and query of a check; the code is the file's name with hyphens.
macro_rules! checks {
    ($($file:literal),+ $(,)?) => {
        &[$(($file, include_str!(concat!("../../sql/checks/", $file, ".sql")))),+]
    };
}

const CHECKS: &[(&str, &str)] = checks![
    "01_row_security_not_forced",
    "02_role_bypasses_row_security",
    "03_superuser_can_log_in",
    "04_role_becomes_bypassing",
    "05_member_of_owner",
    "06_owner_can_log_in",
    "07_foreign_permissive_policy",
    "10_row_security_off",
    "11_predefined_role",
    "12_row_security_not_enabled",
    "13_child_not_protected",
    "15_guard_disabled",
    "15_ledger_altered",
    "17_create_granted",
    "18_materialized_view",
    "19_view_runs_as_owner",
    "22_foreign_table",
    "23_default_privileges",
    "24_truncate_granted",
    "25_foreign_key_oracle",
    "26_foreign_key_without_account",
    "26_parent_key_not_unique",
    "27_unique_across_accounts",
    "31_sequence_granted",
    "32_large_object",
    "34_replication",
    "35_subscription",
    "37_floor_altered",
    "40_policy_always_true",
    "41_account_nullable",
    "41_policy_null_safe",
    "42_policy_reads_setting",
    "44_policy_default_account",
    "45_assignment_writable",
    "45_policy_reads_open_table",
    "46_policy_cycle",
    "47_user_metadata",
    "48_membership_altered",
    "51_rule",
    "52_trigger_bypasses",
    "53_account_default",
    "55_definer_bypasses",
    "56_definer_search_path",
    "57_immutable_identity",
    "58_version_below_fixes",
    "59_leakproof",
    "60_statistics_views",
    "64_session_identity",
    "66_statistics_role",
    "67_account_literal",
    "68_createrole",
    "69_schema_owner_can_log_in",
    "70_setting_planted",
    "71_tls_off",
    "72_hba_lets_in",
    "73_password",
    "74_index_unusable",
    "75_reads_unseen",
    "76_identity_writable",
];

/// Looks for ways around isolation; `schemas` none means all of them. What is accepted is shown
/// when asked for.
#[pg_extern(sql = false)]
fn check(
    schemas: Option<pgrx::Array<'_, &CStr>>,
    accepted: Option<bool>,
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
    let accepted = accepted.ok_or(Error::NullArgument("accepted")).or_raise();
    let shown = |finding: Finding| match finding.accepted {
        None => Some((
            finding.severity.name(),
            finding.detail,
            finding.code,
            finding.object,
            finding.fix,
        )),
        Some(reason) => accepted.then(|| {
            let detail = format!("{}; {reason}", finding.detail);
            (
                "accepted",
                detail,
                finding.code,
                finding.object,
                finding.fix,
            )
        }),
    };
    let rows: Vec<_> = judged(schemas)
        .into_iter()
        .filter_map(shown)
        .map(|(severity, detail, code, object, fix)| {
            (severity.to_owned(), code, object, detail, fix)
        })
        .collect();
    TableIterator::new(rows)
}

/// All findings, those that are accepted included, as one document.
#[pg_extern(sql = false)]
fn check_report(format: Option<&str>, schemas: Option<pgrx::Array<'_, &CStr>>) -> pgrx::JsonB {
    let format = format.ok_or(Error::NullArgument("format")).or_raise();
    let write = match format {
        "json" => report::json,
        "sarif" => report::sarif,
        other => Error::UnknownFormat(other.to_owned()).raise(),
    };
    pgrx::JsonB(write(&judged(schemas), env!("CARGO_PKG_VERSION")))
}

/// Fails while there are findings of this severity, or a worse one, that nobody has accepted.
#[pg_extern(sql = false)]
fn check_gate(fail_on: Option<&str>, schemas: Option<pgrx::Array<'_, &CStr>>) {
    let fail_on = fail_on.ok_or(Error::NullArgument("fail_on")).or_raise();
    let worst = Severity::from_name(fail_on)
        .ok_or_else(|| Error::UnknownSeverity(fail_on.to_owned()))
        .or_raise();
    let findings = judged(schemas);
    let failing = report::failing(&findings, worst);
    if !failing.is_empty() {
        let line = |f: &&Finding| format!("{} {} {}", f.severity.name(), f.code, f.object);
        Error::Findings(failing.iter().map(line).collect()).raise()
    }
}

/// Every finding, with what is accepted of them.
pub(super) fn judged(schemas: Option<pgrx::Array<'_, &CStr>>) -> Vec<Finding> {
    let schemas = schemas.map(|names| lookup::known_schemas(&names).or_raise());
    let mut findings = found(&schemas);
    report::judge(&mut findings, &acceptances(), schemas.is_none());
    findings
}

/// What the checks find.
pub(super) fn found(schemas: &Option<Vec<String>>) -> Vec<Finding> {
    require_able_owner();
    let run = |(file, query): &(&str, &str)| run(file, query, schemas);
    CHECKS.iter().flat_map(run).collect()
}

fn run(file: &str, query: &str, schemas: &Option<Vec<String>>) -> Vec<Finding> {
    let code = file.replace('_', "-");
    let query = versions::with_catalogs_of_this(query);
    read(&query, &[schemas.clone().into()], |row| {
        let text =
            |column| Ok::<_, pgrx::spi::SpiError>(row.get::<String>(column)?.unwrap_or_default());
        Ok(Finding {
            // A check that names no severity of ours must not go unseen.
            severity: Severity::from_name(&text(1)?).unwrap_or(Severity::Error),
            code: code.clone(),
            object: text(2)?,
            detail: text(3)?,
            fix: text(4)?,
            accepted: None,
        })
    })
}

/// What is accepted now.
fn acceptances() -> Vec<Acceptance> {
    read(
        "SELECT code, object, details, severity, format('accepted by %s%s: %s', accepted_by, \
             CASE WHEN until IS NULL THEN '' ELSE ' until ' || until::text END, reason) \
         FROM tenant_guard.finding_acceptance \
         WHERE until IS NULL OR until > statement_timestamp()",
        &[],
        |row| {
            let text = |column| row.get::<String>(column).map(Option::unwrap_or_default);
            Ok(Acceptance {
                code: text(1)?,
                object: text(2)?,
                details: row.get(3)?.unwrap_or_default(),
                severity: Severity::from_name(&text(4)?).unwrap_or(Severity::Info),
                reason: text(5)?,
            })
        },
    )
}
