//! What is declared of a protected relation and enforced by nothing: which columns hold data of
//! persons, and whether plans list indexes.

use std::ffi::CStr;

use pgrx::prelude::*;

use crate::audit::record::record_system;
use crate::catalog::write;
use crate::error::{Error, Obstacle, OrRaise};
use crate::isolation::lookup;
use crate::isolation::request::text;
use crate::isolation::{registry, require_admin};
use crate::versions;

/// Declares the personal columns of a protected relation, and whether plans list its indexes.
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
    let request = registry::request(relation).or_raise();
    let name = || lookup::name_of(relation).unwrap_or_default();
    // SAFETY: a catalog look-up for the current role.
    if !unsafe { versions::owns_relation(relation) } {
        Error::from(Obstacle::NotOwner(name())).raise();
    }
    for (column, standing) in lookup::standings(relation, &personal, request.column_name()) {
        match standing {
            lookup::Standing::Plain => {}
            lookup::Standing::Missing => Error::from(Obstacle::NoColumn(column, name())).raise(),
            lookup::Standing::Key => Error::from(Obstacle::PersonalKey(column, name())).raise(),
        }
    }
    forget(relation);
    write(
        "INSERT INTO tenant_guard.annotation (relation, personal, indexed) \
         SELECT $1, $2::pg_catalog.text[]::pg_catalog.name[], $3 \
         WHERE pg_catalog.cardinality($2) OPERATOR(pg_catalog.>) 0 OR NOT $3",
        &[relation.into(), personal.clone().into(), index.into()],
    );
    let data = serde_json::json!({ "personal": personal, "index": index }).to_string();
    record_system("annotate", Some(relation), "", Some(&data));
}

/// Forgets what was declared of a relation.
pub(in crate::isolation) fn forget(relation: pg_sys::Oid) {
    write(
        "DELETE FROM tenant_guard.annotation WHERE relation OPERATOR(pg_catalog.=) $1",
        &[relation.into()],
    );
}
