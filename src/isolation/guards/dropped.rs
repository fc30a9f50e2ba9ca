//! Policies and triggers of ours that a command dropped from a relation that stays, tables of the
//! ledger, and governed schemas.

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::pg_sys::CommandTag;
use pgrx::prelude::*;

use super::command::Command;
use super::refusal::refuse;
use super::schemas;
use super::wanted::{At, Member, POLICY, policy, trigger};
use crate::audit::pinned::Settings;
use crate::audit::tables;
use crate::error::Guarded;

thread_local! {
    /// The one trigger that our own code is dropping.
    static LET_GO: Cell<pg_sys::Oid> = const { Cell::new(pg_sys::Oid::INVALID) };
}

/// Runs `work`, which drops this trigger for one that takes its place.
pub(super) fn let_go(trigger: pg_sys::Oid, work: impl FnOnce()) {
    struct Closing;
    impl Drop for Closing {
        fn drop(&mut self) {
            LET_GO.set(pg_sys::Oid::INVALID);
        }
    }

    LET_GO.set(trigger);
    let _closing = Closing;
    work();
}

/// Refuses the command that dropped what the registry wants.
pub(super) fn judge(command: &Command) {
    let dropped = dropped();
    if dropped.is_empty() {
        return;
    }
    let _settings = Settings::for_catalog();
    for (catalog, oid, name) in dropped {
        if catalog == pg_sys::NamespaceRelationId {
            schemas::dropped(&name);
        } else if tables::named(&name) {
            refuse(command, None, Guarded::Ledger("drop", name));
        } else if catalog == POLICY {
            judge_policy(command, oid);
        } else {
            judge_trigger(command, oid);
        }
    }
}

/// Catalog and oid of each policy and trigger, and the name of each schema and of each table of ours,
/// that the command dropped.
fn dropped() -> Vec<(pg_sys::Oid, pg_sys::Oid, String)> {
    Spi::connect(|client| {
        let rows = client.select(
            "SELECT d.classid, d.objid, \
                 CASE WHEN d.classid OPERATOR(pg_catalog.=) 1259 \
                     OR d.classid OPERATOR(pg_catalog.=) 2615 THEN d.object_name END \
             FROM pg_catalog.pg_event_trigger_dropped_objects() AS d \
             WHERE d.classid OPERATOR(pg_catalog.=) 3256 OR d.classid OPERATOR(pg_catalog.=) 2620 \
                 OR d.classid OPERATOR(pg_catalog.=) 2615 AND NOT d.is_temporary \
                 OR d.classid OPERATOR(pg_catalog.=) 1259 AND d.objsubid OPERATOR(pg_catalog.=) 0 \
                     AND d.schema_name OPERATOR(pg_catalog.=) 'tenant_guard'",
            None,
            &[],
        )?;
        rows.map(|row| {
            let oid = |n| row.get(n).map(|oid| oid.unwrap_or(pg_sys::Oid::INVALID));
            Ok((oid(1)?, oid(2)?, row.get(3)?.unwrap_or_default()))
        })
        .collect::<Result<Vec<_>, pgrx::spi::SpiError>>()
    })
    .unwrap_or_else(|error| pgrx::error!("the command cannot be judged: {error}"))
}

/// DROP OWNED takes policies that name its role, and the role is to go.
fn judge_policy(command: &Command, oid: pg_sys::Oid) {
    if command.tag == CommandTag::CMDTAG_DROP_OWNED {
        return;
    }
    // By a cascade, what the policy names may be gone with it.
    let alone = command.tag == CommandTag::CMDTAG_DROP_POLICY;
    let Some(dropped) = policy(oid, At::Before, false) else {
        return;
    };
    let Some(member) = Member::of(dropped.relation).filter(|m| m.wants_policy(&dropped.name))
    else {
        return;
    };
    // A plan replaces a policy that says something else under the name.
    if alone && policy(oid, At::Before, true).is_some_and(|p| member.would_replace(&p)) {
        return;
    }
    let what = format!("drop policy \"{}\"", dropped.name);
    let refusal = Guarded::Weakens(what, member.name);
    refuse(command, Some(member.relation), refusal);
}

fn judge_trigger(command: &Command, oid: pg_sys::Oid) {
    if oid == LET_GO.get() {
        return;
    }
    let Some(trigger) = trigger(oid, At::Before) else {
        return;
    };
    // What came from a trigger goes with it, and no other way.
    if trigger.inherited && LET_GO.get() != pg_sys::Oid::INVALID {
        return;
    }
    let Some(member) = Member::of(trigger.relation) else {
        return;
    };
    if !member.wants_trigger(&trigger.name) {
        return;
    }
    // A plan drops the row trigger of its own that a partition brought along, and makes the one
    // that comes from its parent.
    let own = !trigger.inherited && trigger.name == tenant_guard_core::trigger::CAPTURE;
    if own && member.follows_parent {
        return;
    }
    let what = format!("drop trigger \"{}\"", trigger.name);
    let refusal = member.refusal_to_capture(what);
    refuse(command, Some(member.relation), refusal);
}
