//! What a protected relation becomes a part of. PostgreSQL asks the policies of the relation that a
//! statement names and of none below it, so a parent that is open, or protected another way, would
//! show the rows of its children past their own protection.

use pgrx::pg_sys;

use super::command::Command;
use super::refusal::refuse;
use crate::error::Guarded;
use crate::isolation::registry;

/// Refuses the command where a protected relation among `relation` and what is below it has come under
/// one that holds its rows to less.
pub(super) fn judge(command: &Command, relation: pg_sys::Oid) {
    if let Some((member, name, above)) = less_protected(relation) {
        refuse(command, Some(member), Guarded::LessProtected(name, above));
    }
}

/// The first protected relation among these, with its name, and the name of what is above it and is not
/// protected, or under a protection that says something else than its own.
fn less_protected(relation: pg_sys::Oid) -> Option<(pg_sys::Oid, String, String)> {
    let found = registry::read(
        "WITH RECURSIVE below AS ( \
             SELECT $1::oid AS relation \
             UNION \
             SELECT i.inhrelid FROM below AS b JOIN pg_inherits AS i ON i.inhparent = b.relation), \
         above AS ( \
             SELECT m.relation::oid AS member, m.root, i.inhparent AS relation \
             FROM below AS b \
             JOIN tenant_guard.protection_member AS m ON m.relation = b.relation \
             JOIN pg_inherits AS i ON i.inhrelid = b.relation \
             UNION \
             SELECT a.member, a.root, i.inhparent FROM above AS a \
             JOIN pg_inherits AS i ON i.inhrelid = a.relation) \
         SELECT a.member, format('%I.%I', mn.nspname, mc.relname), \
             format('%I.%I', n.nspname, c.relname) \
         FROM above AS a \
         JOIN pg_class AS mc ON mc.oid = a.member \
         JOIN pg_namespace AS mn ON mn.oid = mc.relnamespace \
         JOIN pg_class AS c ON c.oid = a.relation JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         LEFT JOIN tenant_guard.protection_member AS am ON am.relation = a.relation \
         WHERE am.root IS DISTINCT FROM a.root AND NOT EXISTS ( \
             SELECT FROM tenant_guard.protection AS p \
             JOIN tenant_guard.protection AS q ON q.relation = am.root \
             WHERE p.relation = a.root AND q.archetype = p.archetype \
                 AND q.account_column IS NOT DISTINCT FROM p.account_column \
                 AND (q.audit OR NOT p.audit) AND q.redact @> p.redact \
                 AND NOT EXISTS ( \
                     SELECT unnest(s.personal) FROM tenant_guard.annotation AS s \
                     WHERE s.relation = p.relation \
                     EXCEPT \
                     SELECT unnest(s.personal) FROM tenant_guard.annotation AS s \
                     WHERE s.relation = q.relation) \
                 AND (p.roles IS NULL OR q.roles <@ p.roles) \
                 AND NOT EXISTS ( \
                     SELECT l.via, l.parent, l.parent_key, l.type_column, l.type_value \
                     FROM tenant_guard.protection_link AS l WHERE l.relation = q.relation \
                     EXCEPT \
                     SELECT l.via, l.parent, l.parent_key, l.type_column, l.type_value \
                     FROM tenant_guard.protection_link AS l WHERE l.relation = p.relation) \
                 AND NOT EXISTS ( \
                     SELECT s.command, s.level FROM tenant_guard.protection_assurance AS s \
                     WHERE s.relation = p.relation \
                     EXCEPT \
                     SELECT s.command, s.level FROM tenant_guard.protection_assurance AS s \
                     WHERE s.relation = q.relation) \
                 AND (NOT EXISTS (SELECT FROM tenant_guard.permission AS s \
                         WHERE s.relation = p.relation) \
                     OR EXISTS (SELECT FROM tenant_guard.permission AS s \
                         WHERE s.relation = q.relation) \
                     AND NOT EXISTS ( \
                         SELECT s.role, s.command, s.scope, s.owner_column, s.assigned_column, \
                             s.assignment, s.assignment_key, s.assignment_subject, s.via, s.columns \
                         FROM tenant_guard.permission AS s WHERE s.relation = q.relation \
                         EXCEPT \
                         SELECT s.role, s.command, s.scope, s.owner_column, s.assigned_column, \
                             s.assignment, s.assignment_key, s.assignment_subject, s.via, s.columns \
                         FROM tenant_guard.permission AS s WHERE s.relation = p.relation))) \
         ORDER BY a.member LIMIT 1",
        &[relation.into()],
        |row| {
            Ok((
                row.get(1)?.unwrap_or(pg_sys::Oid::INVALID),
                row.get(2)?.unwrap_or_default(),
                row.get(3)?.unwrap_or_default(),
            ))
        },
    );
    found.into_iter().next()
}
