//! Commands on what stands on a protected relation.

use pgrx::pg_sys::{self, AlterTableType, NodeTag, ObjectType};

use super::command::{Action, Collected, Command, collected, name_parts, objects, pointers, text};
use super::refusal::refuse;
use super::wanted::{At, Member, POLICY, policy, trigger};
use crate::audit::pinned::Settings;
use crate::catalog::our_schema;
use crate::error::Guarded;
use crate::isolation::is_admin;

/// Refuses the parts of ALTER TABLE that weaken a member of a protection.
pub(super) fn altered(command: &Command) {
    // SAFETY: dispatched by the statement's tag; its actions are AlterTableCmd nodes.
    let guarded = unsafe {
        let statement: &pg_sys::AlterTableStmt = command.statement();
        pointers::<pg_sys::AlterTableCmd>(statement.cmds)
            .any(|action| weakens(action.subtype, &text(action.name)).is_some())
    };
    if !guarded {
        return;
    }
    let _settings = Settings::for_catalog();
    for collected in collected() {
        let Collected::AlterTable(relation, actions) = collected else {
            continue;
        };
        if let Some(member) = Member::of(relation) {
            for action in &actions {
                judge(command, &member, action);
            }
        }
    }
}

/// What part of protection an action touches.
enum Part {
    RowSecurity(&'static str),
    Triggers(String),
    Owner,
}

fn weakens(action: AlterTableType::Type, name: &str) -> Option<Part> {
    let ours = name.starts_with("tenant_guard_");
    Some(match action {
        AlterTableType::AT_DisableRowSecurity => Part::RowSecurity("disable row security"),
        AlterTableType::AT_NoForceRowSecurity => Part::RowSecurity("take FORCE off row security"),
        AlterTableType::AT_DisableTrig if ours => {
            Part::Triggers(format!("disable trigger \"{name}\""))
        }
        // It fires on origin, or on a replica, only; ours fire ALWAYS.
        AlterTableType::AT_EnableTrig | AlterTableType::AT_EnableReplicaTrig if ours => {
            Part::Triggers(format!("change the firing of trigger \"{name}\""))
        }
        AlterTableType::AT_DisableTrigAll | AlterTableType::AT_DisableTrigUser => {
            Part::Triggers("disable the triggers".into())
        }
        AlterTableType::AT_EnableTrigAll | AlterTableType::AT_EnableTrigUser => {
            Part::Triggers("change the firing of the triggers".into())
        }
        AlterTableType::AT_ChangeOwner => Part::Owner,
        _ => return None,
    })
}

fn judge(command: &Command, member: &Member, action: &Action) {
    let Action { kind, name, .. } = action;
    let refusal = match weakens(*kind, name) {
        None => return,
        Some(Part::RowSecurity(_)) if !member.protected => return,
        Some(Part::RowSecurity(what)) => Guarded::Weakens(what.into(), member.name.clone()),
        Some(Part::Triggers(what)) => {
            let all = name.is_empty() && member.audit;
            if !all && !member.wants_trigger(name) {
                return;
            }
            member.refusal_to_capture(what)
        }
        Some(Part::Owner) if !member.owner_can_log_in => return,
        Some(Part::Owner) => Guarded::OwnerCanLogIn(member.name.clone(), member.owner.clone()),
    };
    refuse(command, Some(member.relation), refusal);
}

/// Refuses that a policy or trigger of ours is given another name, under which it would not be found.
pub(super) fn renamed(command: &Command) {
    // SAFETY: dispatched by the statement's tag.
    let (kind, name) = unsafe {
        let statement: &pg_sys::RenameStmt = command.statement();
        (statement.renameType, text(statement.subname))
    };
    if !name.starts_with("tenant_guard_") {
        return;
    }
    let _settings = Settings::for_catalog();
    match kind {
        ObjectType::OBJECT_POLICY => {
            for (oid, _) in objects(POLICY) {
                let member = policy(oid, At::Now, false).and_then(|p| Member::of(p.relation));
                if let Some(member) = member.filter(|member| member.wants_policy(&name)) {
                    let what = format!("rename policy \"{name}\"");
                    let refusal = Guarded::Weakens(what, member.name);
                    refuse(command, Some(member.relation), refusal);
                }
            }
        }
        ObjectType::OBJECT_TRIGGER => {
            for (oid, _) in objects(pg_sys::TriggerRelationId) {
                let member = trigger(oid, At::Now).and_then(|t| Member::of(t.relation));
                if let Some(member) = member.filter(|member| member.wants_trigger(&name)) {
                    let what = format!("rename trigger \"{name}\"");
                    let refusal = member.refusal_to_capture(what);
                    refuse(command, Some(member.relation), refusal);
                }
            }
        }
        _ => {}
    }
}

/// Refuses that a policy of ours says something else than the registry wants.
pub(super) fn policy_altered(command: &Command) {
    // SAFETY: dispatched by the statement's tag.
    let name = unsafe { text(command.statement::<pg_sys::AlterPolicyStmt>().policy_name) };
    if !name.starts_with("tenant_guard_") {
        return;
    }
    let _settings = Settings::for_catalog();
    for (oid, _) in objects(POLICY) {
        let Some(policy) = policy(oid, At::Now, true) else {
            continue;
        };
        let Some(member) = Member::of(policy.relation) else {
            continue;
        };
        if member.wants_policy(&name) && !member.is_as_wanted(&policy) {
            let what = format!("alter policy \"{name}\"");
            let refusal = Guarded::Weakens(what, member.name);
            refuse(command, Some(member.relation), refusal);
        }
    }
}

/// Refuses a trigger in the place of one of ours, and one that writes events from whoever may not
/// decide about protection.
///
/// Everybody may execute the capture functions, because a partition gets its trigger in the name of
/// whoever makes the partition.
pub(super) fn trigger_created(command: &Command) {
    if command.node() == NodeTag::T_CreateTrigStmt {
        // SAFETY: dispatched by the statement's tag.
        let (name, function) = unsafe {
            let statement: &pg_sys::CreateTrigStmt = command.statement();
            (text(statement.trigname), name_parts(statement.funcname))
        };
        // The last part of a name is that of the function, whatever schema it is found in.
        let captures = function
            .last()
            .is_some_and(|last| last.starts_with("capture"));
        if !captures && !name.starts_with("tenant_guard_") {
            return;
        }
    }
    let _settings = Settings::for_catalog();
    for (oid, tag) in objects(pg_sys::TriggerRelationId) {
        if tag != NodeTag::T_CreateTrigStmt {
            continue;
        }
        let Some(trigger) = trigger(oid, At::Now) else {
            continue;
        };
        let captures = capture_function(trigger.function);
        if captures.is_none() && !trigger.name.starts_with("tenant_guard_") {
            continue;
        }
        let wanting = Member::of(trigger.relation).filter(|m| m.wants_trigger(&trigger.name));
        match (wanting, captures) {
            (Some(member), _) if !member.is_trigger_as_wanted(&trigger) => {
                let what = format!("replace trigger \"{}\"", trigger.name);
                let refusal = member.refusal_to_capture(what);
                refuse(command, Some(member.relation), refusal);
            }
            (None, Some(function)) if !is_admin() => {
                refuse(
                    command,
                    Some(trigger.relation),
                    Guarded::CaptureTrigger(function),
                );
            }
            _ => {}
        }
    }
}

/// The name of a function of ours that a trigger may have.
fn capture_function(function: pg_sys::Oid) -> Option<String> {
    // SAFETY: catalog look-ups by oid; the name is a copy.
    unsafe {
        if pg_sys::get_func_namespace(function) != our_schema() {
            return None;
        }
        Some(text(pg_sys::get_func_name(function)))
    }
}
