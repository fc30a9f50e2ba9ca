//! Where what stands is not what is registered.

use pgrx::prelude::*;

use super::apply::finish;
use super::catalog::Catalog;
use super::export;
use crate::catalog::{as_owner, require_able_owner};
use crate::isolation::members::Tree;
use crate::isolation::{numbering, registry, statements};
use crate::subtransaction::attempt_unhindered;

type Finding = (String, &'static str, String, Option<String>);

/// What a statement of a plan mends, by how it begins and what it holds.
const MENDS: [(&str, &str, &str); 13] = [
    ("CREATE POLICY", "", "a policy is missing"),
    ("ALTER POLICY", "", "a policy was altered"),
    ("DROP POLICY", "", "a policy was altered"),
    (
        "ALTER TABLE",
        "ROW LEVEL SECURITY",
        "row security is off or not forced",
    ),
    (
        "ALTER TABLE",
        "SET DEFAULT",
        "the default of the account column was changed",
    ),
    (
        "ALTER TABLE",
        "SET NOT NULL",
        "the account column may be null",
    ),
    ("ALTER TABLE", "TRIGGER", "a trigger does not fire always"),
    (
        "REVOKE",
        "",
        "privileges that reach past row security were granted",
    ),
    ("CREATE OR REPLACE TRIGGER", "", "a trigger was altered"),
    ("CREATE TRIGGER", "", "a trigger is missing"),
    ("DROP TRIGGER", "", "a trigger stands in the way"),
    (
        "SELECT",
        "register_protection",
        "a partition or child is not protected",
    ),
    (
        "SELECT",
        "require_assurance",
        "a policy of assurance was altered",
    ),
];

pub(super) fn found() -> Vec<Finding> {
    require_able_owner();
    let mut findings = Vec::new();
    let protected = registry::read(
        "SELECT p.relation::oid, c.oid::regclass::text, \
             rtrim(tenant_guard.protect_again(p.relation), ';') \
         FROM tenant_guard.protection AS p JOIN pg_class AS c ON c.oid = p.relation \
         ORDER BY 2",
        &[],
        |row| {
            let oid = row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::Oid::INVALID);
            Ok((oid, row.get::<String>(2)?.unwrap_or_default(), row.get(3)?))
        },
    );
    for (oid, name, again) in protected {
        for detail in compared(oid) {
            findings.push((name.clone(), "drift", detail, again.clone()));
        }
    }
    // Which column is meant is for a person to say.
    for (relation, column, by) in numbering::strayed() {
        let detail = format!("column {column} is not the one that {by}() named");
        findings.push((relation, "drift", detail, None));
    }
    let present = export::registered();
    let catalog = Catalog::of(&[&present]);
    for step in finish(&catalog, &present) {
        let detail = match step.statement.starts_with("DROP") {
            true => "an index is yet to be dropped",
            false => "an index is yet to be made",
        };
        findings.push((step.object, "pending", detail.into(), Some(step.statement)));
    }
    findings
}

/// What differs on one relation, whoever asks: of other owners' relations, too, in schemas that are
/// closed to the caller. What cannot be compared at all, as after a column has another name, differs.
fn compared(relation: pg_sys::Oid) -> Vec<String> {
    attempt_unhindered(|| as_owner(|| differences(relation)))
        .unwrap_or_else(|report| vec![report.message().to_owned()])
}

/// What differs on one relation, each kind of difference once for each thing it is about.
pub(super) fn differences(relation: pg_sys::Oid) -> Vec<String> {
    let Some(request) = registry::registered(relation) else {
        return Vec::new();
    };
    let plan = match Tree::read(&request) {
        Ok(tree) => statements(&request, &tree),
        Err(obstacle) => Err(obstacle.into()),
    };
    match plan {
        Err(error) => vec![error.to_string()],
        Ok(plan) => plan.iter().map(|statement| detail(statement)).collect(),
    }
}

fn detail(statement: &str) -> String {
    let mended = MENDS
        .iter()
        .find(|(begin, part, _)| statement.starts_with(begin) && statement.contains(part));
    let (_, _, detail) = mended.unwrap_or(&("", "", "something differs"));
    format!("{detail}: {statement}")
}
