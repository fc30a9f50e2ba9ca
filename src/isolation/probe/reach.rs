//! Who reaches a relation.

use pgrx::prelude::*;

use super::authors::{BECOME, Leave, powers};
use super::showers::Shower;
use crate::isolation::registry::read;

/// Roles for which nothing differs that decides about the relation.
pub(super) struct Reacher {
    /// By name.
    pub(super) roles: Vec<(pg_sys::Oid, String)>,
    /// All of them, for people.
    pub(super) names: String,
    /// Why nothing is tried in their names; none where it is.
    pub(super) refusal: Option<String>,
}

impl Reacher {
    /// The one that stands for all.
    pub(super) fn role(&self) -> pg_sys::Oid {
        self.roles
            .first()
            .map_or(pg_sys::Oid::INVALID, |(role, _)| *role)
    }
}

/// Everything below a relation, itself first.
pub(super) fn tree(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    read(
        "WITH RECURSIVE tree AS ( \
             SELECT $1::oid AS relation \
             UNION \
             SELECT i.inhrelid FROM tree AS t \
             JOIN pg_inherits AS i ON i.inhparent = t.relation) \
         SELECT relation FROM tree ORDER BY relation <> $1, relation",
        &[relation.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// The relations between `root` and `leaf`, `leaf` included and `root` not.
pub(super) fn way_down(root: pg_sys::Oid, leaf: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    read(
        "WITH RECURSIVE up AS ( \
             SELECT $2::oid AS relation \
             UNION \
             SELECT i.inhparent FROM up AS u JOIN pg_inherits AS i ON i.inhrelid = u.relation) \
         SELECT relation FROM up WHERE relation <> $1",
        &[root.into(), leaf.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// How many roles of a group are looked up by name.
const NAMED: i32 = 4;

/// The roles that reach one of the relations or what shows them, by grants to themselves, to PUBLIC or to
/// groups, or as owners. What they reach only by SET ROLE, the role they become reaches. Superusers are
/// held by nothing, and are not tried; nor is who bypasses row security and reaches functions alone, as
/// these show others the same.
pub(super) fn reachers(
    tree: &[pg_sys::Oid],
    showers: &[Shower],
    authors: &[pg_sys::Oid],
    leave: &Leave,
) -> Vec<Reacher> {
    let of_kind = |functions: bool| {
        let found = showers
            .iter()
            .filter(move |shower| shower.is_function() == functions);
        found.map(|shower| shower.oid).collect::<Vec<_>>()
    };
    let mut relations = tree.to_vec();
    relations.extend(of_kind(false));
    read(
        include_str!("reachers.sql"),
        &[
            relations.into(),
            of_kind(true).into(),
            leave.caller.into(),
            BECOME.into(),
            powers().into(),
            authors.to_vec().into(),
            leave.untrusted(authors).into(),
            NAMED.into(),
        ],
        |row| {
            let roles = row.get::<Vec<pg_sys::Oid>>(1)?.unwrap_or_default();
            let names = row.get::<Vec<String>>(2)?.unwrap_or_default();
            let more = row.get::<i64>(3)?.unwrap_or(0) - names.len() as i64;
            let listed = names.join(", ");
            Ok(Reacher {
                roles: roles.into_iter().zip(names).collect(),
                names: match more {
                    1.. => format!("{listed} and {more} more"),
                    _ => listed,
                },
                refusal: row.get(4)?,
            })
        },
    )
}

/// Whether a permissive policy of the relation lets the role see rows.
pub(super) fn is_let_in(role: pg_sys::Oid, relation: pg_sys::Oid) -> bool {
    let policies = read(
        "SELECT FROM pg_policy AS p WHERE p.polrelid = $2 AND p.polpermissive \
             AND p.polcmd IN ('*', 'r') AND EXISTS (SELECT FROM unnest(p.polroles) AS o (role) \
                 WHERE o.role = 0 OR pg_has_role($1, o.role, 'USAGE')) LIMIT 1",
        &[role.into(), relation.into()],
        |_| Ok(()),
    );
    !policies.is_empty()
}

/// Of these quoted columns of a relation, those that a role may use for `privilege`.
pub(super) fn allowed_columns(
    role: pg_sys::Oid,
    relation: pg_sys::Oid,
    privilege: &str,
) -> Vec<String> {
    read(
        "SELECT quote_ident(a.attname) FROM pg_attribute AS a \
         WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped \
             AND a.attgenerated = '' AND (a.attidentity <> 'a' OR $3 <> 'UPDATE') \
             AND has_column_privilege($1, $2, a.attnum, $3) ORDER BY a.attnum",
        &[role.into(), relation.into(), privilege.into()],
        |row| row.get::<String>(1).map(Option::unwrap_or_default),
    )
}

/// The quoted columns of the primary key.
pub(super) fn key_columns(relation: pg_sys::Oid) -> Vec<String> {
    read(
        "SELECT quote_ident(a.attname) FROM pg_index AS i \
         JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) \
         WHERE i.indrelid = $1 AND i.indisprimary ORDER BY a.attnum",
        &[relation.into()],
        |row| row.get::<String>(1).map(Option::unwrap_or_default),
    )
}
