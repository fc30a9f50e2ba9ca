//! Findings that somebody has decided to live with.

use pgrx::prelude::*;
use tenant_guard_core::report::Finding;

use super::{check, require_admin};
use crate::audit::record::record_system;
use crate::catalog::write;
use crate::error::{Error, OrRaise};

/// Accepts what a check finds about an object at present, until a time or for good.
#[pg_extern(sql = false)]
fn accept_finding(
    code: Option<&str>,
    object: Option<&str>,
    reason: Option<&str>,
    until: Option<TimestampWithTimeZone>,
) {
    let code = code.ok_or(Error::NullArgument("code")).or_raise();
    let object = object.ok_or(Error::NullArgument("object")).or_raise();
    let reason = reason.ok_or(Error::NullArgument("reason")).or_raise();
    require_admin().or_raise();
    if reason.trim().is_empty() {
        Error::EmptyArgument("reason").raise();
    }
    if until.is_some_and(|until| crate::clock::to_unix(i64::from(until)) <= crate::clock::now_us())
    {
        Error::UnfitArgument("until", "it is in the past").raise();
    }
    let named = |finding: &Finding| finding.code == code && finding.object == object;
    let findings: Vec<_> = check::found(&None).into_iter().filter(named).collect();
    let Some(severity) = findings.iter().map(|finding| finding.severity).min() else {
        Error::NoFinding(code.to_owned(), object.to_owned()).raise()
    };
    let details: Vec<String> = { findings.into_iter() }
        .map(|finding| finding.detail)
        .collect();
    forget(code, object);
    // The session's role: this statement runs as the owner of the extension.
    write(
        "INSERT INTO tenant_guard.finding_acceptance \
             (code, object, details, severity, reason, until, accepted_by, accepted_at) \
         VALUES ($1, $2, $3, $4, $5, $6, session_user, \
             pg_catalog.statement_timestamp())",
        &[
            code.into(),
            object.into(),
            details.into(),
            severity.name().into(),
            reason.into(),
            until.into(),
        ],
    );
    record("accept_finding", code, object, Some(reason));
}

/// Takes an acceptance back.
#[pg_extern(sql = false)]
fn withdraw_acceptance(code: Option<&str>, object: Option<&str>) {
    let code = code.ok_or(Error::NullArgument("code")).or_raise();
    let object = object.ok_or(Error::NullArgument("object")).or_raise();
    require_admin().or_raise();
    if !forget(code, object) {
        Error::NoAcceptance(code.to_owned(), object.to_owned()).raise();
    }
    record("withdraw_acceptance", code, object, None);
}

/// Whether there was one.
fn forget(code: &str, object: &str) -> bool {
    let deleted = write(
        "DELETE FROM tenant_guard.finding_acceptance \
         WHERE code OPERATOR(pg_catalog.=) $1 AND object OPERATOR(pg_catalog.=) $2",
        &[code.into(), object.into()],
    );
    deleted > 0
}

fn record(action: &str, code: &str, object: &str, reason: Option<&str>) {
    let data = serde_json::json!({ "code": code, "object": object, "reason": reason });
    record_system(action, None, "", Some(&data.to_string()));
}
