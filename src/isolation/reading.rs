//! Whose reads are audited.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::capturing::{bare, root_of as audited_root, rule_of};
use super::members::Tree;
use super::registry::{self, read};
use super::{lookup, require_admin};
use crate::audit::reads;
use crate::audit::record::record_system;
use crate::catalog::write;
use crate::error::{Error, Obstacle, OrRaise};

/// Has the reads of a protected or audited relation, its partitions and children recorded, or no longer
/// recorded.
#[pg_extern(sql = false)]
fn audit_reads(relation: Option<pg_sys::Oid>, enabled: Option<bool>) {
    let relation = relation.ok_or(Error::NullArgument("relation")).or_raise();
    let enabled = enabled.ok_or(Error::NullArgument("enabled")).or_raise();
    require_admin().or_raise();
    registry::lock();
    let tree = Tree::read(&bare(relation)).or_raise();
    if enabled {
        refuse(relation, tree.name()).or_raise();
    }
    if is_audited(relation) == enabled {
        let so = if enabled { "already" } else { "not" };
        notice!("reads of relation {} are {so} audited", tree.name());
        return;
    }
    if enabled {
        write(
            "INSERT INTO tenant_guard.read_audit (relation) VALUES ($1)",
            &[relation.into()],
        );
        reads::prepare();
    } else {
        write(
            "DELETE FROM tenant_guard.read_audit WHERE relation = $1",
            &[relation.into()],
        );
    }
    forget_dropped();
    let data = serde_json::json!({ "enabled": enabled }).to_string();
    record_system("audit_reads", Some(relation), "", Some(&data));
}

/// Raises what stands against auditing reads of the relation.
fn refuse(relation: pg_sys::Oid, name: &str) -> Result<(), Error> {
    let above = [registry::root_of(relation), audited_root(relation)];
    let above = above.into_iter().flatten().find(|root| *root != relation);
    if let Some(root) = above {
        let root = lookup::name_of(root).unwrap_or_default();
        return Err(Obstacle::PartOf(name.to_owned(), root).into());
    }
    if registry::registered(relation).is_none() && rule_of(relation).is_none() {
        return Err(Error::ReadsOfNobody(name.to_owned()));
    }
    Ok(())
}

fn is_audited(relation: pg_sys::Oid) -> bool {
    let found = read(
        "SELECT true FROM tenant_guard.read_audit AS r WHERE r.relation = $1",
        &[relation.into()],
        |row| row.get::<bool>(1),
    );
    !found.is_empty()
}

/// Forgets what a command dropped.
pub(super) fn dropped() {
    if reads::are_registered() {
        forget_dropped();
    }
}

/// Forgets relations that are gone: their numbers may come to be others'.
fn forget_dropped() {
    write(
        "DELETE FROM tenant_guard.read_audit AS r \
         WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = r.relation)",
        &[],
    );
}
