//! What columns that a command brought or changed say of rows of before.

use pgrx::pg_sys::{self, AlterTableType};
use serde_json::{Map, Value};

use super::command::Action;
use super::recorded::word;
use super::wanted::Member;
use crate::audit::filling;
use crate::isolation::following;
use crate::versions;

/// Says what rows have in columns that came, and which columns say what other objects are.
pub(super) fn describe(data: &mut Value, relation: pg_sys::Oid, actions: &[Action]) {
    let new = |kind| kind == AlterTableType::AT_AddColumn || changes_values(kind);
    if { actions.iter() }.any(|action| new(versions::action(action.kind))) {
        // Before values are read: it waits for whoever changes their types.
        following::say(data, relation);
    }
    let filled = filled(relation, actions);
    if !filled.is_empty() {
        data["filled"] = filled.into();
    }
}

/// Whether a part of ALTER TABLE gives a column other values.
pub(super) fn changes_values(kind: AlterTableType::Type) -> bool {
    matches!(
        word(kind),
        "change the type of column" | "change the expression of column"
    )
}

/// What rows of before have in the columns that a command added: null for one that is not captured.
/// A column is left out where that cannot be told, or is not to stand in the log as it is.
fn filled(relation: pg_sys::Oid, actions: &[Action]) -> Map<String, Value> {
    let is_new = |action: &&Action| versions::action(action.kind) == AlterTableType::AT_AddColumn;
    let mut filled = Map::new();
    // No event has a value of what is computed when it is read.
    for action in actions {
        let told = is_new(&action) || changes_values(versions::action(action.kind));
        if told && filling::is_virtual(relation, &action.name) {
            filled.insert(action.name.clone(), Value::Null);
        }
    }
    let added: Vec<&str> = { actions.iter() }
        .filter(is_new)
        .map(|action| action.name.as_str())
        .filter(|name| !filled.contains_key(*name))
        .collect();
    if added.is_empty() {
        return filled;
    }
    let member = Member::of(relation);
    let Some((_, rule)) = member.and_then(|member| member.captured()) else {
        return filled;
    };
    let mut told = Vec::new();
    for column in added {
        let is_in = |list: &[String]| list.iter().any(|name| name == column);
        let left_out = { rule.include.as_ref() }.is_some_and(|only| !is_in(only));
        // What else the command did to it says nothing of what rows got when it came.
        let also = |action: &Action| {
            let kind = versions::action(action.kind);
            action.name == column && !is_new(&action) && kind != AlterTableType::AT_DropColumn
        };
        if left_out || is_in(&rule.exclude) || is_in(&rule.redact) {
            filled.insert(column.to_owned(), Value::Null);
        } else if !is_in(&rule.hash) && !is_in(&rule.personal) && !actions.iter().any(also) {
            told.push(column);
        }
    }
    filled.append(&mut filling::of(relation, told.into_iter()));
    filled
}
