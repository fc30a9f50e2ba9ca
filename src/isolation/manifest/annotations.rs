//! What is declared of a relation beside its protection: which columns hold data of persons, so
//! that their values stand apart in the log, and whether plans list indexes.

use std::ffi::CStr;

use pgrx::prelude::*;

use crate::audit::record::record_system;
use crate::catalog::write;
use crate::error::{Error, Obstacle, OrRaise};
use crate::isolation::forgetting::{ANNOTATED, Sweep};
use crate::isolation::members::Tree;
use crate::isolation::request::{Request, text};
use crate::isolation::{capturing, lookup, numbering, obstacles, registry, require_admin};
use crate::versions;

/// Declares the personal columns of a relation, and whether plans list its indexes. What captures
/// its changes is told at once; where nothing does yet, `protect` and `audit` go by it.
#[pg_extern(sql = false)]
fn annotate(
    relation: Option<pg_sys::Oid>,
    personal: Option<pgrx::Array<'_, &CStr>>,
    index: Option<bool>,
) {
    let relation = relation.ok_or(Error::NullArgument("relation")).or_raise();
    let personal = personal.ok_or(Error::NullArgument("personal")).or_raise();
    let index = index.ok_or(Error::NullArgument("index")).or_raise();
    let personal: Vec<String> = personal
        .iter()
        .map(|name| {
            name.map(text)
                .ok_or(Error::NullArgument("an element of personal"))
        })
        .collect::<Result<_, _>>()
        .or_raise();
    require_admin().or_raise();
    registry::lock();
    let request = request_of(relation).or_raise();
    refuse(&request, &personal).or_raise();
    store(relation, &personal, index);
    let data = serde_json::json!({ "personal": personal, "index": index }).to_string();
    record_system("annotate", Some(relation), "", Some(&data));
    if registry::registered(relation).is_some() || capturing::rule_of(relation).is_some() {
        capturing::bring_about(relation).or_raise();
    }
}

/// What a relation is protected with, or what it takes to read one that is not.
fn request_of(relation: pg_sys::Oid) -> Result<Request, Error> {
    match registry::request(relation) {
        Ok(request) => Ok(request),
        Err(Obstacle::NotProtected(_)) => {
            let request = capturing::bare(relation);
            for member in Tree::read(&request)?.iter() {
                obstacles::kind_and_owner(member)?;
            }
            capturing::refuse_part(relation)?;
            Ok(request)
        }
        Err(other) => Err(other.into()),
    }
}

fn refuse(request: &Request, personal: &[String]) -> Result<(), Error> {
    let relation = request.relation;
    let name = || lookup::name_of(relation).unwrap_or_default();
    // SAFETY: a catalog look-up for the current role.
    if !unsafe { versions::owns_relation(relation) } {
        return Err(Obstacle::NotOwner(name()).into());
    }
    for (column, standing) in lookup::standings(relation, personal, request.column_name()) {
        match standing {
            lookup::Standing::Plain => {}
            lookup::Standing::Missing => return Err(Obstacle::NoColumn(column, name()).into()),
            lookup::Standing::Key => return Err(Obstacle::PersonalKey(column, name()).into()),
        }
    }
    let rule = capturing::rule_of(relation).unwrap_or_default();
    match rule.and_personal(personal.to_vec()).hashed_and_personal() {
        Some(column) => Err(Error::HashedPersonal(column.to_owned())),
        None => Ok(()),
    }
}

/// The columns of a relation that were declared personal.
pub(in crate::isolation) fn personal_columns(relation: pg_sys::Oid) -> Vec<String> {
    let found = registry::read_often(
        "SELECT a.personal::text[] FROM tenant_guard.annotation AS a WHERE a.relation = $1",
        &[relation.into()],
        |row| row.get::<Vec<String>>(1),
    );
    found.into_iter().next().flatten().unwrap_or_default()
}

/// Remembers what is declared of a relation, in the place of what was.
pub(in crate::isolation) fn store(relation: pg_sys::Oid, personal: &[String], index: bool) {
    forget(relation);
    write(
        "INSERT INTO tenant_guard.annotation (relation, personal, indexed) \
         SELECT $1, $2::pg_catalog.text[]::pg_catalog.name[], $3 \
         WHERE pg_catalog.cardinality($2) OPERATOR(pg_catalog.>) 0 OR NOT $3",
        &[relation.into(), personal.to_vec().into(), index.into()],
    );
    numbering::take(relation, numbering::By::Annotate, personal);
}

/// Declares of a copy what is declared of its source, as far as it has the columns.
pub(in crate::isolation) fn copy(source: pg_sys::Oid, relation: pg_sys::Oid) {
    let personal = lookup::present_columns(relation, &personal_columns(source));
    if !personal.is_empty() {
        store(relation, &personal, true);
    }
}

/// Forgets what was declared of a relation.
pub(in crate::isolation) fn forget(relation: pg_sys::Oid) {
    write(
        "DELETE FROM tenant_guard.annotation AS a WHERE a.relation OPERATOR(pg_catalog.=) $1",
        &[relation.into()],
    );
    ANNOTATED.with(Sweep::go_on);
    numbering::take(relation, numbering::By::Annotate, []);
}
