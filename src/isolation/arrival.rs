//! Protecting a table in the command that makes it or puts it below a protected one.
//!
//! Nobody is asked whether he is an admin: protecting what is above, the source or the schema was
//! the admin's decision. The statements run in the name of whoever runs the command, who must own
//! the table.

use pgrx::prelude::*;
use tenant_guard_core::trigger::CAPTURE;

use super::lookup;
use super::members::{MemberState, Tree};
use super::request::Request;
use super::{assurance, difference, execute, manifest, numbering, obstacles, registry, roles};
use crate::audit::record::record_system;
use crate::error::{Error, Obstacle};

/// Protects a relation, and what is below it, as part of the protection of `root`.
///
/// Only the relations that come are locked and changed: adding a partition must not wait for
/// everybody who reads the others.
pub(super) fn join(root: pg_sys::Oid, relation: pg_sys::Oid) -> Result<(), Error> {
    let request = registry::request(root)?;
    let coming: Vec<_> = lookup::tree_of(relation);
    enroll(&request, &coming)?;
    record(relation, serde_json::json!({ "root": name(root) }));
    Ok(())
}

/// Gives a partition that was detached the triggers that went with its parent.
pub(super) fn stay(root: pg_sys::Oid, relation: pg_sys::Oid) -> Result<(), Error> {
    let request = registry::request(root)?;
    let left = Tree::of(&lookup::tree_of(relation), &request);
    numbering::keep(root, relation);
    let (_, plan) = difference(
        &request,
        &left,
        registry::registered(request.relation).as_ref(),
    )?;
    execute(&plan);
    Ok(())
}

/// Drops the row trigger of a relation that is to get another one through its parent.
pub(super) fn drop_capture(relation: pg_sys::Oid) {
    let name = name(relation);
    execute(&[format!("DROP TRIGGER {CAPTURE} ON {name}")]);
}

/// Protects a relation like another protected one.
pub(super) fn protect_like(source: pg_sys::Oid, relation: pg_sys::Oid) -> Result<(), Error> {
    let mut request = Request {
        relation,
        ..registry::request(source)?
    };
    request.redact = lookup::present_columns(relation, &request.redact);
    assurance::copy(source, relation);
    roles::copy(source, relation);
    manifest::copy_annotations(source, relation);
    protect(request, serde_json::json!({ "like": name(source) }))?;
    registry::remember_as_of(source, relation);
    Ok(())
}

/// Protects a new relation.
pub(super) fn protect_new(request: Request) -> Result<(), Error> {
    protect(request, serde_json::json!({ "schema": "governed" }))
}

fn name(relation: pg_sys::Oid) -> String {
    crate::audit::text::qualified_name(relation)
}

fn record(relation: pg_sys::Oid, data: serde_json::Value) {
    record_system("protect", Some(relation), "", Some(&data.to_string()));
}

fn protect(request: Request, data: serde_json::Value) -> Result<(), Error> {
    lock(&lookup::tree_of(request.relation));
    let tree = Tree::read(&request)?;
    obstacles::refuse(&request, &tree)?;
    if let Some(obstacle) = obstacles::null_accounts(&request, &tree) {
        return Err(obstacle.into());
    }
    registry::register(&request, &tree);
    numbering::take(request.relation, numbering::By::Protect, &request.redact);
    let tree = Tree::read(&request)?;
    let (_, mut plan) = difference(
        &request,
        &tree,
        registry::registered(request.relation).as_ref(),
    )?;
    plan.extend(assurance::missing_on(&tree, request.relation));
    execute(&plan);
    record(request.relation, data);
    Ok(())
}

/// Brings relations, parents first, under the protection of the request's relation, which is above
/// them or was.
fn enroll(request: &Request, coming: &[pg_sys::Oid]) -> Result<(), Error> {
    lock(coming);
    let new = Tree::of(coming, request);
    for member in new.iter() {
        obstacles::kind_and_owner(member)?;
        fits_owner(request.relation, member)?;
    }
    if let Some(obstacle) = obstacles::null_accounts(request, &new) {
        return Err(obstacle.into());
    }
    let above = lookup::path_to(request.relation, coming[0]);
    let all: Vec<_> = above.iter().chain(coming).copied().collect();
    registry::register(request, &Tree::of(&all, request));
    // What else is to be done above is not this command's to do, nor its author's.
    let registered = registry::registered(request.relation);
    let of = |members: &[pg_sys::Oid]| {
        let members = Tree::of(members, request);
        difference(request, &members, registered.as_ref())
    };
    let (_, mut plan) = of(&all)?;
    let (_, other) = of(&above)?;
    for statement in other {
        if let Some(at) = plan.iter().position(|step| *step == statement) {
            plan.remove(at);
        }
    }
    plan.extend(assurance::missing_on(
        &Tree::of(coming, request),
        request.relation,
    ));
    execute(&plan);
    Ok(())
}

/// Whoever comes to own a part of a protection can take it off that part, so it must be the owner
/// of the whole, or somebody who cannot log in or may do everything anyway.
fn fits_owner(root: pg_sys::Oid, member: &MemberState) -> Result<(), Obstacle> {
    let strangers = registry::read(
        "SELECT FROM pg_class AS c \
         JOIN pg_class AS r ON r.oid = $2 AND r.relowner <> c.relowner \
         JOIN pg_roles AS o ON o.oid = c.relowner AND o.rolcanlogin AND NOT o.rolsuper \
         WHERE c.oid = $1",
        &[member.relation.into(), root.into()],
        |_| Ok(()),
    );
    if strangers.is_empty() {
        Ok(())
    } else {
        Err(Obstacle::NotRootsOwner(member.plan.name.clone()))
    }
}

fn lock(relations: &[pg_sys::Oid]) {
    for relation in relations {
        // SAFETY: relations of the running command, on which it holds locks of its own.
        unsafe { pg_sys::LockRelationOid(*relation, pg_sys::AccessExclusiveLock as i32) }
    }
}
