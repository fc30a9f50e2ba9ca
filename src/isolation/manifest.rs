//! One declaration for everything: applied, exported, and compared with what stands.

mod annotations;
mod apply;
mod catalog;
mod drift;
mod export;

use pgrx::prelude::*;
use tenant_guard_core::manifest::Manifest;

pub(super) use self::annotations::{
    copy as copy_annotations, forget as forget_annotations, personal_columns,
    store as store_annotations,
};
pub(crate) use self::apply::{code_of, located};
use self::catalog::Catalog;
use super::require_admin;
use crate::error::{Error, OrRaise};
use crate::raw::json_argument;

/// Brings the database to what a manifest declares, or says how that would be done.
#[pg_extern(sql = false)]
fn apply_manifest(
    fcinfo: pg_sys::FunctionCallInfo,
) -> TableIterator<
    'static,
    (
        name!(step, i32),
        name!(phase, &'static str),
        name!(object, String),
        name!(statement, String),
        name!(reverse, Option<String>),
    ),
> {
    // SAFETY: PostgreSQL passed `fcinfo`; sql/manifest.sql gives the arguments these types.
    let (manifest, dry_run) = unsafe {
        (
            json_argument(fcinfo, 0),
            pgrx::fcinfo::pg_getarg::<bool>(fcinfo, 1),
        )
    };
    let manifest = manifest.ok_or(Error::NullArgument("manifest")).or_raise();
    let dry_run = dry_run.ok_or(Error::NullArgument("dry_run")).or_raise();
    require_admin().or_raise();
    let wanted = Manifest::parse(&manifest).or_raise();
    let plan = match dry_run {
        true => apply::plan(wanted).or_raise(),
        false => apply::apply(wanted).or_raise(),
    };
    let steps = (1..).zip(plan).map(|(number, (phase, step))| {
        let reverse = Some(step.reverse).filter(|reverse| !reverse.is_empty());
        (number, phase, step.object, step.statement, reverse)
    });
    TableIterator::new(steps.collect::<Vec<_>>())
}

/// The manifest of what is registered, in its shortest form.
#[pg_extern(sql = false)]
fn export_manifest() -> pgrx::JsonB {
    let mut manifest = export::registered();
    let catalog = Catalog::of(&[&manifest]);
    manifest.leave_to_foreign_keys(&catalog.facts);
    // Keys rotate without a manifest.
    for issuer in manifest.issuers.values_mut() {
        issuer.keys = None;
    }
    pgrx::JsonB(manifest.to_value())
}

/// Everything that stands otherwise than is registered, and every index that is yet to be made.
#[pg_extern(sql = false)]
fn drift() -> TableIterator<
    'static,
    (
        name!(object, String),
        name!(state, &'static str),
        name!(detail, String),
        name!(statement, Option<String>),
    ),
> {
    TableIterator::new(drift::found())
}
