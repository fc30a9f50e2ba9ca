//! `check_data`: what the rows themselves say, read over all accounts.

use std::ffi::CStr;

use pgrx::prelude::*;
use tenant_guard_core::bucket::Template;

use super::examine::{Examiner, Found};
use super::rows;
use super::subjects::{self, Examined, Finding};
use super::values::{Form, column_number};
use crate::audit::record::record_system;
use crate::audit::text::qualified_name;
use crate::catalog::write;
use crate::error::{Error, OrRaise};
use crate::identity::membership;
use crate::isolation::request::text;
use crate::isolation::{lookup, registry, require_admin};

/// A finding as SQL returns it.
pub(super) type FindingRow = (String, String, String, String, i64, Vec<String>);

/// Looks at the rows of all protected relations of these schemas, all for none.
#[pg_extern(sql = false)]
fn check_data(
    schemas: Option<pgrx::Array<'_, &CStr>>,
) -> TableIterator<
    'static,
    (
        name!(severity, String),
        name!(code, String),
        name!(object, String),
        name!(detail, String),
        name!(count, i64),
        name!(sample, Vec<String>),
    ),
> {
    require_admin().or_raise();
    let schemas = schemas.map(|names| lookup::known_schemas(&names).or_raise());
    let mut examiner = examiner();
    let mut findings = Vec::new();
    for examined in subjects::of(schemas.as_deref()) {
        lock(&examined);
        let outcome = examiner.examine(&examined.subject);
        findings.extend(examined.findings(outcome));
    }
    findings.extend(required_rows(&mut examiner, schemas.as_deref()));
    TableIterator::new(findings.into_iter().map(row))
}

/// One that knows the accounts there are, where they are declared.
pub(super) fn examiner() -> Examiner {
    let mut examiner = Examiner::new();
    know_accounts(&mut examiner);
    examiner
}

/// Tells it which accounts there are now. Its snapshot is to be older: an account comes before its rows.
pub(super) fn know_accounts(examiner: &mut Examiner) {
    if let Some(accounts) = membership::accounts().or_raise() {
        examiner.know(accounts);
    }
}

/// Holds a relation, and what it refers to, against changes of its columns.
pub(super) fn lock(examined: &Examined) {
    let subject = &examined.subject;
    let parents = subject.references.iter().map(|reference| reference.parent);
    for relation in [subject.relation].into_iter().chain(parents) {
        // SAFETY: a lock on an oid; of a relation that is gone it is a lock on nothing.
        unsafe { pg_sys::LockRelationOid(relation, pg_sys::AccessShareLock as i32) };
        rows::tables_of(relation);
    }
}

pub(super) fn row(finding: Finding) -> FindingRow {
    (
        finding.severity.to_owned(),
        finding.code.to_owned(),
        finding.object,
        finding.detail,
        finding.count as i64,
        finding.sample,
    )
}

/// Accounts that lack their row in a relation where each has one.
pub(super) fn required_rows(examiner: &mut Examiner, schemas: Option<&[String]>) -> Vec<Finding> {
    let Some(accounts) = membership::accounts().or_raise() else {
        return Vec::new();
    };
    let wanted = schemas.map(<[String]>::to_vec);
    let relations = registry::read(
        "SELECT r.relation::oid, m.name FROM tenant_guard.account_row_rule AS r \
         JOIN tenant_guard.protected_member AS m ON m.relation = r.relation \
         WHERE $1 IS NULL OR m.schema = ANY ($1) ORDER BY m.name",
        &[wanted.into()],
        |row| {
            let relation = row.get(1)?.unwrap_or(pg_sys::Oid::INVALID);
            Ok((relation, row.get::<String>(2)?.unwrap_or_default()))
        },
    );
    let mut findings = Vec::new();
    for (relation, name) in relations {
        let present = examiner.accounts_of(relation);
        let mut found = Found::default();
        for account in &accounts {
            if !present.contains(&examiner.accounts.number(account.clone())) {
                found.add(|| account.clone());
            }
        }
        let detail = "accounts without a row in a relation where each has one".to_owned();
        findings.extend(Finding::of(
            "warning",
            "account-row-missing",
            &name,
            detail,
            found,
        ));
    }
    findings
}

/// Declares that each account has a row in a relation, or no longer.
#[pg_extern(sql = false)]
fn require_account_row(relation: pg_sys::Oid, required: bool) {
    require_admin().or_raise();
    refuse_unprotected(relation).or_raise();
    let rule = "DELETE FROM tenant_guard.account_row_rule WHERE relation = $1";
    write(rule, &[relation.into()]);
    if required {
        let rule = "INSERT INTO tenant_guard.account_row_rule (relation) VALUES ($1)";
        write(rule, &[relation.into()]);
    }
    let data = serde_json::json!({ "required": required }).to_string();
    record_system("require_account_row", Some(relation), "", Some(&data));
}

/// Declares where in the paths of a column the account stands; null takes it back.
#[pg_extern(sql = false)]
fn declare_path(relation: Option<pg_sys::Oid>, column: Option<&CStr>, template: Option<&str>) {
    let relation = relation.ok_or(Error::NullArgument("relation")).or_raise();
    let column = text(column.ok_or(Error::NullArgument("column_name")).or_raise());
    require_admin().or_raise();
    refuse_unprotected(relation).or_raise();
    let name = qualified_name(relation);
    let Some(number) = column_number(relation, &column) else {
        Error::NoColumn(column, name).raise()
    };
    if Form::of(relation, number) != Some(Form::Text) {
        Error::UnfitColumn(column, name, "text").raise();
    }
    let rule = "DELETE FROM tenant_guard.path_rule WHERE relation = $1 AND column_name = $2";
    write(rule, &[relation.into(), column.as_str().into()]);
    if let Some(template) = template {
        Template::parse(template).map_err(Error::from).or_raise();
        write(
            "INSERT INTO tenant_guard.path_rule (relation, column_name, template) \
             VALUES ($1, $2, $3)",
            &[relation.into(), column.as_str().into(), template.into()],
        );
    }
    let data = serde_json::json!({ "column": column, "template": template }).to_string();
    record_system("declare_path", Some(relation), "", Some(&data));
}

/// Refuses what is no protected relation, or a part of one.
fn refuse_unprotected(relation: pg_sys::Oid) -> Result<(), Error> {
    registry::request(relation)?;
    Ok(())
}
