//! Tables that a command made or put below a protected one: protected by the same command, or the
//! command is refused with what stands against it.

use pgrx::pg_sys::{self, AlterTableType, NodeTag, ObjectType};

use super::command::{Collected, Command, collected, objects, pointers, relation_named, text};
use super::refusal::{on, refuse};
use super::{above, dropped, noted, schemas};
use crate::audit::pinned::Settings;
use crate::audit::text::qualified_name;
use crate::error::{Error, Guarded, Obstacle};
use crate::isolation::lookup;
use crate::isolation::{arrival, capturing, registry};

/// What a relation is that a command made.
struct Made {
    relation: pg_sys::Oid,
    /// Root of the protection that a relation above it is registered under.
    root_above: Option<pg_sys::Oid>,
    /// Whether it is a partition or child of any relation.
    has_parent: bool,
    protected: bool,
}

impl Made {
    /// None for what is temporary or not a table.
    fn read(relation: pg_sys::Oid) -> Option<Self> {
        let found = registry::read(
            "WITH RECURSIVE above AS ( \
                 SELECT $1::oid AS relation, 0 AS distance \
                 UNION ALL \
                 SELECT i.inhparent, a.distance + 1 FROM above AS a \
                 JOIN pg_inherits AS i ON i.inhrelid = a.relation) \
             SELECT (SELECT m.root::oid FROM above AS a \
                     JOIN tenant_guard.protection_member AS m ON m.relation = a.relation \
                     WHERE a.distance > 0 ORDER BY a.distance, m.root LIMIT 1), \
                 (SELECT count(*) > 1 FROM above), \
                 EXISTS (SELECT FROM tenant_guard.protection_member AS m WHERE m.relation = $1) \
             FROM pg_class AS c \
             WHERE c.oid = $1 AND c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'",
            &[relation.into()],
            |row| {
                Ok(Self {
                    relation,
                    root_above: row.get(1)?,
                    has_parent: row.get(2)?.unwrap_or(false),
                    protected: row.get(3)?.unwrap_or(false),
                })
            },
        );
        found.into_iter().next()
    }
}

/// CREATE TABLE and CREATE FOREIGN TABLE, alone or within CREATE SCHEMA.
pub(super) fn made(command: &Command) {
    if command.node() != NodeTag::T_CreateSchemaStmt {
        // SAFETY: dispatched by the statement's tag; CREATE FOREIGN TABLE begins with a CREATE TABLE.
        let temporary =
            unsafe { noted::is_temporary(command.statement::<pg_sys::CreateStmt>().relation) };
        if temporary {
            return;
        }
    }
    let likened = noted::take(command).unwrap_or_default().likened;
    for (relation, tag) in objects(pg_sys::RelationRelationId) {
        if !matches!(
            tag,
            NodeTag::T_CreateStmt | NodeTag::T_CreateForeignTableStmt
        ) {
            continue;
        }
        // SAFETY: a catalog look-up by oid, its result a copy or null.
        let name = unsafe { text(pg_sys::get_rel_name(relation)) };
        let sources = likened.iter().filter(|(table, _)| *table == name);
        let sources: Vec<_> = sources.map(|(_, source)| *source).collect();
        let _settings = Settings::for_catalog();
        judge(command, relation, &sources);
    }
}

/// Takes the row trigger of its own off a table that is about to get its parent's: PostgreSQL
/// refuses two of one name.
pub(super) fn make_way(command: &Command) {
    if !on() || command.node() != NodeTag::T_AlterTableStmt {
        return;
    }
    // SAFETY: the statement is read as what its tag says, and nothing ran since its names were
    // given their meaning; the definition of ATTACH PARTITION names the partition.
    let (parent, comes) = unsafe {
        let statement: &pg_sys::AlterTableStmt = command.statement();
        let mut actions = pointers::<pg_sys::AlterTableCmd>(statement.cmds);
        let attach = actions.find(|a| a.subtype == AlterTableType::AT_AttachPartition);
        let Some(attach) = attach else { return };
        let partition = (*attach.def.cast::<pg_sys::PartitionCmd>()).name;
        (
            relation_named(statement.relation),
            relation_named(partition),
        )
    };
    let _settings = Settings::for_catalog();
    if let Some(trigger) = lookup::capture_in_the_way(parent, comes) {
        dropped::let_go(trigger, || arrival::drop_capture(comes));
    }
}

/// NO INHERIT and DETACH PARTITION of a table that is audited only: what leaves stays audited. Comes
/// before the other parts of the command are judged, which may be about its triggers.
pub(super) fn left(command: &Command) {
    let leaves = |kind| {
        matches!(
            kind,
            AlterTableType::AT_DropInherit
                | AlterTableType::AT_DetachPartition
                | AlterTableType::AT_DetachPartitionFinalize
        )
    };
    if !does(command, leaves) {
        return;
    }
    let _settings = Settings::for_catalog();
    for collected in collected() {
        let Collected::AlterTable(altered, actions) = collected else {
            continue;
        };
        for action in actions {
            // DETACH names the parent; what left it may have another name by now.
            let left = match action.kind {
                AlterTableType::AT_DropInherit => capturing::left(Some(altered)),
                AlterTableType::AT_DetachPartition | AlterTableType::AT_DetachPartitionFinalize => {
                    capturing::left(None)
                }
                _ => continue,
            };
            for left in left {
                if on() {
                    capturing::stay(&left);
                } else {
                    let name = qualified_name(left.relation);
                    let what = "end the capture of changes".to_owned();
                    refuse(
                        command,
                        Some(left.relation),
                        Guarded::Uncaptures(what, name),
                    );
                }
            }
        }
    }
}

/// Whether ALTER TABLE has a part of this kind.
fn does(command: &Command, kind: impl Fn(AlterTableType::Type) -> bool) -> bool {
    // SAFETY: dispatched by the statement's tag; its actions are AlterTableCmd nodes.
    unsafe {
        let statement: &pg_sys::AlterTableStmt = command.statement();
        pointers::<pg_sys::AlterTableCmd>(statement.cmds).any(|action| kind(action.subtype))
    }
}

/// ATTACH PARTITION and INHERIT; DETACH PARTITION, which takes triggers away.
pub(super) fn attached(command: &Command) {
    let moves = |kind| {
        matches!(
            kind,
            AlterTableType::AT_AttachPartition
                | AlterTableType::AT_AddInherit
                | AlterTableType::AT_DetachPartition
                | AlterTableType::AT_DetachPartitionFinalize
        )
    };
    if !does(command, moves) {
        return;
    }
    let _settings = Settings::for_catalog();
    for collected in collected() {
        let Collected::AlterTable(altered, actions) = collected else {
            continue;
        };
        for action in actions {
            match action.kind {
                // PostgreSQL does not say which one came, and its name may have changed its
                // meaning. Whatever else is there without being registered has to be.
                AlterTableType::AT_AttachPartition => {
                    // Before it joins, which would make its protection that of what is above.
                    if registry::root_of(altered).is_none() {
                        above::judge(command, altered);
                    }
                    for child in registry::children_outside(altered) {
                        above::judge(command, child);
                        judge(command, child, &[]);
                    }
                    if let Some(root) = capturing::root_of(altered).filter(|_| on()) {
                        let children = lookup::children_of(altered);
                        children.into_iter().for_each(capturing::come_back);
                        capturing::join(root, altered);
                    }
                }
                AlterTableType::AT_AddInherit => {
                    above::judge(command, altered);
                    if on() {
                        capturing::come_back(altered);
                    }
                    judge(command, altered, &[]);
                }
                AlterTableType::AT_DetachPartition | AlterTableType::AT_DetachPartitionFinalize => {
                    detached(command, altered)
                }
                _ => {}
            }
        }
    }
}

/// SET SCHEMA of a table.
pub(super) fn moved(command: &Command) {
    // SAFETY: dispatched by the statement's tag.
    let kind = unsafe {
        command
            .statement::<pg_sys::AlterObjectSchemaStmt>()
            .objectType
    };
    if kind != ObjectType::OBJECT_TABLE {
        return;
    }
    for (relation, _) in objects(pg_sys::RelationRelationId) {
        let _settings = Settings::for_catalog();
        judge(command, relation, &[]);
    }
}

/// Protects a table that is new in its place, where what is above it, what it is a copy of, or its
/// schema says so.
fn judge(command: &Command, relation: pg_sys::Oid, sources: &[pg_sys::Oid]) {
    let Some(made) = Made::read(relation) else {
        return;
    };
    if let Some(root) = made.root_above {
        let because = format!(
            "It would be part of protected relation {}.",
            qualified_name(root)
        );
        admit(command, relation, because, || arrival::join(root, relation));
        if !made.protected {
            above::judge(command, relation);
        }
    } else if let Some(root) = capturing::root_of(relation).filter(|_| !made.protected)
        && root != relation
    {
        if on() {
            capturing::join(root, relation);
        }
    } else if made.protected {
        // Protected by itself already, and only moved.
    } else if let Some(source) = sources.iter().find_map(|source| registry::root_of(*source)) {
        let because = format!(
            "It is a copy of protected relation {}.",
            qualified_name(source)
        );
        admit(command, relation, because, || {
            arrival::protect_like(source, relation)
        });
    } else if !made.has_parent
        && let Some(rule) = schemas::rule_for(made.relation)
    {
        let because = format!(
            "It has column \"{}\" in a schema whose tables are protected.",
            rule.column
        );
        admit(command, relation, because, || {
            arrival::protect_new(rule.request(relation)?)
        });
    }
}

/// Gives partitions that left a protected tree the triggers they had through it.
fn detached(command: &Command, parent: pg_sys::Oid) {
    let Some(root) = registry::root_of(parent) else {
        return;
    };
    for relation in registry::detached_from(root) {
        let because = format!("It stays under the protection of {}.", qualified_name(root));
        admit(command, relation, because, || arrival::stay(root, relation));
    }
}

/// Protects what is new, or refuses the command with the obstacle.
pub(super) fn admit(
    command: &Command,
    relation: pg_sys::Oid,
    because: String,
    protect: impl FnOnce() -> Result<(), Error>,
) {
    if !on() {
        let refusal = Guarded::Unprotectable {
            obstacle: Box::new(Obstacle::NotProtected(qualified_name(relation))),
            because,
        };
        return refuse(command, Some(relation), refusal);
    }
    match protect() {
        Ok(()) => {}
        Err(Error::Obstacle(obstacle)) => {
            let obstacle = Box::new(obstacle);
            let refusal = Guarded::Unprotectable { obstacle, because };
            refuse(command, Some(relation), refusal);
        }
        Err(other) => other.raise(),
    }
}
