//! The extension's own record of what is protected and what stood there before.

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::{SpiError, SpiHeapTupleData};
use tenant_guard_core::policy::AccountType;

use super::Request;
use super::members::{MemberState, Tree};
use crate::catalog::{as_owner, write};
use crate::error::{Error, Obstacle};

/// Serialises changes of the registry until the transaction ends, readers let through.
///
/// Taken before any lock on a table, always in this order, so that two migrations wait for each
/// other instead of deadlocking.
pub(super) fn lock() {
    write(
        "LOCK TABLE tenant_guard.protection IN SHARE ROW EXCLUSIVE MODE",
        &[],
    );
}

/// Remembers the tree as it stands, and what is asked for it.
///
/// What is remembered of a member already stays, since by now protection itself stands there; only
/// a change of the account column begins anew for that column.
pub(super) fn register(request: &Request, tree: &Tree) {
    write(
        "INSERT INTO tenant_guard.protection (relation, account_column, redact, audit) \
         VALUES ($1, $2, $3::text[]::name[], $4) \
         ON CONFLICT (relation) DO UPDATE SET \
             account_column = excluded.account_column, redact = excluded.redact, \
             audit = excluded.audit",
        &[
            request.relation.into(),
            request.column.as_str().into(),
            request.redact.clone().into(),
            request.audit.into(),
        ],
    );
    for member in tree.iter() {
        register_member(request, tree, member);
    }
    // A table protected by itself that became a child of this one is now protected with it.
    let members: Vec<_> = tree.relations().collect();
    write(
        "DELETE FROM tenant_guard.protection WHERE relation = ANY ($1::oid[]) AND relation <> $2",
        &[members.into(), request.relation.into()],
    );
    forget_dropped();
}

fn register_member(request: &Request, tree: &Tree, member: &MemberState) {
    let mut column = &member.plan.column;
    // A partition made under protection was born with what protection put on its parent.
    if let (None, Some((root, _)), Some(kind)) = (
        &member.remembered,
        &tree.root().remembered,
        tree.account_type(),
    ) && column.default.as_deref() == Some(kind.reader())
    {
        column = &root.before;
    }
    write(
        "INSERT INTO tenant_guard.protection_member AS m (relation, root, account_column, \
             row_security, force_row_security, not_null, column_default, grants) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $8 THEN ( \
             SELECT jsonb_agg(jsonb_build_object( \
                 'column', g.column_name, 'privilege', g.privilege, 'grantable', g.grantable, \
                 'grantor', CASE WHEN g.grantor <> c.relowner THEN grantor.rolname END, \
                 'grantee', grantee.rolname, 'to_owner', g.grantee = c.relowner) \
                 ORDER BY g.attnum, g.position) \
             FROM tenant_guard.granted_privilege AS g \
             JOIN pg_class AS c ON c.oid = g.relation \
             JOIN pg_roles AS grantor ON grantor.oid = g.grantor \
             LEFT JOIN pg_roles AS grantee ON grantee.oid = g.grantee \
             WHERE g.relation = $1) END) \
         ON CONFLICT (relation) DO UPDATE SET \
             root = excluded.root, account_column = excluded.account_column, \
             not_null = CASE WHEN $9 THEN excluded.not_null ELSE m.not_null END, \
             column_default = CASE WHEN $9 THEN excluded.column_default ELSE m.column_default END",
        &[
            member.relation.into(),
            request.relation.into(),
            request.column.as_str().into(),
            member.plan.row_security.into(),
            member.plan.force.into(),
            column.not_null.into(),
            column.default.as_deref().into(),
            (!member.plan.exposed_to.is_empty()).into(),
            member.plan.former.is_some().into(),
        ],
    );
}

/// Forgets a relation and its members.
pub(super) fn forget(relation: pg_sys::Oid) {
    write(
        "DELETE FROM tenant_guard.protection WHERE relation = $1",
        &[relation.into()],
    );
    write(
        "DELETE FROM tenant_guard.protection_member WHERE root = $1",
        &[relation.into()],
    );
}

/// Clears out what was dropped since, before its number comes to mean another table.
fn forget_dropped() {
    for table in ["protection", "protection_member"] {
        write(
            &format!(
                "DELETE FROM tenant_guard.{table} AS p \
                 WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = p.relation)"
            ),
            &[],
        );
    }
}

/// Whether the registry says of the tree what is asked for it.
pub(super) fn is_registered(request: &Request, tree: &Tree) -> bool {
    tree.iter()
        .all(|member| member.root == Some(request.relation))
        && read(
            "SELECT FROM tenant_guard.protection \
             WHERE relation = $1 AND account_column = $2 AND redact = $3::text[]::name[] \
                 AND audit = $4",
            &[
                request.relation.into(),
                request.column.as_str().into(),
                request.redact.clone().into(),
                request.audit.into(),
            ],
            |_| Ok(()),
        )
        .len()
            == 1
}

/// The account column a relation is protected by.
pub(super) fn account_column(relation: pg_sys::Oid) -> Result<String, Obstacle> {
    let found = read(
        "SELECT p.account_column::text, c.oid::regclass::text, m.root::text \
         FROM pg_class AS c \
         LEFT JOIN tenant_guard.protection AS p ON p.relation = c.oid \
         LEFT JOIN tenant_guard.protection_member AS m ON m.relation = c.oid \
         WHERE c.oid = $1",
        &[relation.into()],
        |row| {
            Ok((
                row.get::<String>(1)?,
                row.get::<String>(2)?,
                row.get::<String>(3)?,
            ))
        },
    );
    match found.into_iter().next() {
        None => Err(Obstacle::Gone(relation.to_u32())),
        Some((Some(column), ..)) => Ok(column),
        Some((None, name, Some(root))) => Err(Obstacle::PartOf(name.unwrap_or_default(), root)),
        Some((None, name, None)) => Err(Obstacle::NotProtected(name.unwrap_or_default())),
    }
}

/// The members registered under a relation that still exist.
pub(super) fn members_of(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    read(
        "SELECT m.relation::oid FROM tenant_guard.protection_member AS m \
         JOIN pg_class AS c ON c.oid = m.relation WHERE m.root = $1 ORDER BY 1",
        &[relation.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// The relation and all below it, parents first, each once.
pub(super) fn tree_of(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    read(
        "WITH RECURSIVE tree AS ( \
             SELECT $1::oid AS relation, 0 AS depth \
             UNION ALL \
             SELECT i.inhrelid, t.depth + 1 FROM tree AS t \
             JOIN pg_inherits AS i ON i.inhparent = t.relation) \
         SELECT t.relation FROM tree AS t GROUP BY t.relation ORDER BY max(t.depth), t.relation",
        &[relation.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// Name of the relation that `relation` is a partition or child of.
pub(super) fn parent_of(relation: pg_sys::Oid) -> Option<String> {
    read(
        "SELECT i.inhparent::regclass::text FROM pg_inherits AS i \
         WHERE i.inhrelid = $1 ORDER BY i.inhseqno",
        &[relation.into()],
        |row| row.get::<String>(1),
    )
    .into_iter()
    .next()
    .flatten()
}

/// Names and account types of the protected relations other than `relation`.
pub(super) fn account_types(relation: pg_sys::Oid) -> Vec<(String, AccountType)> {
    let rows = read(
        "SELECT p.relation::text, format_type(a.atttypid, NULL) \
         FROM tenant_guard.protection AS p \
         JOIN pg_attribute AS a ON a.attrelid = p.relation AND a.attname = p.account_column \
         WHERE p.relation <> $1 ORDER BY 1",
        &[relation.into()],
        |row| Ok((row.get::<String>(1)?, row.get::<String>(2)?)),
    );
    rows.into_iter()
        .filter_map(|(name, kind)| Some((name?, AccountType::from_sql(&kind?)?)))
        .collect()
}

/// What a column that is to be redacted is to its relation.
pub(super) enum Standing {
    Missing,
    /// The account column or part of the primary key, or what one of them is generated from.
    Key,
    Plain,
}

/// The columns to be redacted, each with its standing.
pub(super) fn redacted_columns(request: &Request) -> Vec<(String, Standing)> {
    read(
        "SELECT r.name, a.attnum IS NULL, EXISTS ( \
             SELECT FROM pg_attribute AS s WHERE s.attrelid = $1 \
                 AND (s.attnum = a.attnum OR s.attgenerated <> '' AND EXISTS ( \
                     SELECT FROM pg_attrdef AS e JOIN pg_depend AS d \
                         ON d.classid = 'pg_attrdef'::regclass AND d.objid = e.oid \
                     WHERE e.adrelid = $1 AND e.adnum = s.attnum \
                         AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 \
                         AND d.refobjsubid = a.attnum)) \
                 AND (s.attname = $3 OR EXISTS ( \
                     SELECT FROM pg_index AS k WHERE k.indrelid = $1 AND k.indisprimary \
                         AND s.attnum = ANY (k.indkey)))) \
         FROM unnest($2::text[]) WITH ORDINALITY AS r (name, position) \
         LEFT JOIN pg_attribute AS a ON a.attrelid = $1 AND a.attname = r.name \
             AND a.attnum > 0 AND NOT a.attisdropped \
         ORDER BY r.position",
        &[
            request.relation.into(),
            request.redact.clone().into(),
            request.column.as_str().into(),
        ],
        |row| {
            let name = row.get::<String>(1)?.unwrap_or_default();
            let missing = row.get::<bool>(2)?.unwrap_or(true);
            let key = row.get::<bool>(3)?.unwrap_or(false);
            Ok((
                name,
                match (missing, key) {
                    (true, _) => Standing::Missing,
                    (false, true) => Standing::Key,
                    (false, false) => Standing::Plain,
                },
            ))
        },
    )
}

/// The names of roles as `quote_ident` writes them.
pub(super) fn quoted_roles(roles: &[pg_sys::Oid]) -> Result<Vec<String>, Error> {
    let names = read(
        "SELECT quote_ident(r.rolname) FROM unnest($1::oid[]) WITH ORDINALITY AS w (oid, position) \
         LEFT JOIN pg_roles AS r ON r.oid = w.oid ORDER BY w.position",
        &[roles.to_vec().into()],
        |row| row.get::<String>(1),
    );
    names
        .into_iter()
        .zip(roles)
        .map(|(name, role)| name.ok_or(Error::UnknownRole(role.to_u32())))
        .collect()
}

/// A table that `protect_schema` is to protect.
pub(super) struct Candidate {
    pub(super) relation: pg_sys::Oid,
    /// The columns to be redacted that it has.
    pub(super) redact: Vec<String>,
}

/// The topmost tables of a schema that have the account column and are not protected yet.
pub(super) fn tables_of(schema: &str, common: &Request) -> Result<Vec<Candidate>, Error> {
    let schemas = read(
        "SELECT FROM pg_namespace WHERE nspname = $1",
        &[schema.into()],
        |_| Ok(()),
    );
    if schemas.is_empty() {
        return Err(Error::UnknownSchema(schema.to_owned()));
    }
    let tables = read(
        "SELECT c.oid, c.oid::regclass::text, \
             EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = $2 \
                 AND a.attnum > 0 AND NOT a.attisdropped), \
             ARRAY(SELECT r.name FROM unnest($3::text[]) WITH ORDINALITY AS r (name, position) \
                 JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = r.name \
                     AND a.attnum > 0 AND NOT a.attisdropped \
                 ORDER BY r.position) \
         FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') \
             AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid) \
             AND NOT EXISTS ( \
                 SELECT FROM tenant_guard.protection_member AS m WHERE m.relation = c.oid) \
         ORDER BY c.relname",
        &[
            schema.into(),
            common.column.as_str().into(),
            common.redact.clone().into(),
        ],
        |row| {
            let candidate = Candidate {
                relation: row.get(1)?.unwrap_or(pg_sys::Oid::INVALID),
                redact: row.get(4)?.unwrap_or_default(),
            };
            Ok((
                candidate,
                row.get::<String>(2)?,
                row.get::<bool>(3)?.unwrap_or(false),
            ))
        },
    );
    for redacted in &common.redact {
        if !tables
            .iter()
            .any(|(table, ..)| table.redact.contains(redacted))
        {
            return Err(Error::UnknownColumn(redacted.clone(), schema.to_owned()));
        }
    }
    let (with, without): (Vec<_>, Vec<_>) = tables.into_iter().partition(|(.., has)| *has);
    if !without.is_empty() {
        let names: Vec<_> = without
            .into_iter()
            .filter_map(|(_, name, _)| name)
            .collect();
        notice!(
            "left alone, without column \"{}\": {}",
            common.column,
            names.join(", ")
        );
    }
    Ok(with.into_iter().map(|(table, ..)| table).collect())
}

/// Runs one query as the extension's owner and maps its rows.
pub(super) fn read<T>(
    query: &str,
    arguments: &[DatumWithOid<'_>],
    row: impl Fn(&SpiHeapTupleData<'_>) -> Result<T, SpiError>,
) -> Vec<T> {
    as_owner(|| {
        Spi::connect(|client| {
            let rows = client.select(query, None, arguments)?;
            rows.map(|found| row(&found)).collect::<Result<Vec<_>, _>>()
        })
    })
    .unwrap_or_else(|error| pgrx::error!("protections cannot be read: {error}"))
}
