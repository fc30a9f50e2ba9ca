//! The extension's own record of what is protected and what stood there before.

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::{SpiError, SpiHeapTupleData};
use tenant_guard_core::archetype::Archetype;
use tenant_guard_core::policy::AccountType;

use super::forgetting::{PROTECTED, Sweep};
use super::locking;
use super::members::{MemberState, Tree};
use super::request::{Link, Request};
use crate::catalog::{as_owner, refuse_on_standby, write, write_often};
use crate::error::Obstacle;
use crate::kept_plan;
use crate::ledger::rows::with_latest_snapshot;

/// Serialises changes of the registry until the transaction ends, readers let through.
///
/// Taken before any lock on a table, always in this order, so that two migrations wait for each
/// other instead of deadlocking.
pub(super) fn lock() {
    refuse_on_standby();
    locking::lock_registry();
}

/// Remembers the tree as it stands, and what is asked for it.
///
/// What is remembered of a member already stays, since by now protection itself stands there; only
/// a change of the account column begins anew for that column.
pub(super) fn register(request: &Request, tree: &Tree) {
    write_often(
        "INSERT INTO tenant_guard.protection \
             (relation, archetype, account_column, roles, redact, audit) \
         VALUES ($1, $2, $3, $4::text[]::name[], $5::text[]::name[], $6) \
         ON CONFLICT (relation) DO UPDATE SET archetype = excluded.archetype, \
             account_column = excluded.account_column, roles = excluded.roles, \
             redact = excluded.redact, audit = excluded.audit",
        &[
            request.relation.into(),
            request.archetype.name().into(),
            request.column.as_deref().into(),
            request.roles.clone().into(),
            request.redact.clone().into(),
            request.audit.into(),
        ],
    );
    register_links(request);
    for member in tree.iter() {
        register_member(request, tree, member);
    }
    // A table protected by itself that became a child of this one is now protected with it.
    let mut others: Vec<_> = tree.relations().collect();
    others.retain(|member| *member != request.relation);
    if !others.is_empty() {
        for table in ["protection", "protection_link"] {
            write(
                &format!("DELETE FROM tenant_guard.{table} WHERE relation = ANY ($1::oid[])"),
                &[others.clone().into()],
            );
        }
    }
    PROTECTED.with(Sweep::go_on);
}

fn register_links(request: &Request) {
    if !links_of(request.relation).is_empty() {
        write(
            "DELETE FROM tenant_guard.protection_link WHERE relation = $1",
            &[request.relation.into()],
        );
    }
    for (position, link) in (0_i32..).zip(&request.links) {
        let (column, value) = link.when.clone().unzip();
        write(
            "INSERT INTO tenant_guard.protection_link \
                 (relation, position, via, parent, parent_key, type_column, type_value) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                request.relation.into(),
                position.into(),
                link.via.as_str().into(),
                link.parent.into(),
                link.parent_key.as_str().into(),
                column.into(),
                value.into(),
            ],
        );
    }
}

macro_rules! insert_member {
    ($grants:literal) => {
        concat!(
            "INSERT INTO tenant_guard.protection_member AS m (relation, root, account_column, \
                 row_security, force_row_security, not_null, column_default, grants) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, ",
            $grants,
            ") ON CONFLICT (relation) DO UPDATE SET \
                 root = excluded.root, account_column = excluded.account_column, \
                 not_null = CASE WHEN $8 THEN excluded.not_null ELSE m.not_null END, \
                 column_default = \
                     CASE WHEN $8 THEN excluded.column_default ELSE m.column_default END"
        )
    };
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
    // Most have no grants that protection withdraws.
    let insert = match member.plan.exposed_to.is_empty() {
        true => insert_member!("NULL::jsonb"),
        false => insert_member!(
            "(SELECT jsonb_agg(jsonb_build_object( \
                 'column', g.column_name, 'privilege', g.privilege, 'grantable', g.grantable, \
                 'grantor', CASE WHEN g.grantor <> c.relowner THEN grantor.rolname END, \
                 'grantee', grantee.rolname, 'to_owner', g.grantee = c.relowner) \
                 ORDER BY g.attnum, g.position) \
             FROM tenant_guard.granted_privilege AS g \
             JOIN pg_class AS c ON c.oid = g.relation \
             JOIN pg_roles AS grantor ON grantor.oid = g.grantor \
             LEFT JOIN pg_roles AS grantee ON grantee.oid = g.grantee \
             WHERE g.relation = $1)"
        ),
    };
    write_often(
        insert,
        &[
            member.relation.into(),
            request.relation.into(),
            request.column.as_deref().into(),
            member.plan.row_security.into(),
            member.plan.force.into(),
            column.not_null.into(),
            column.default.as_deref().into(),
            member.plan.former.is_some().into(),
        ],
    );
    write_often(
        "INSERT INTO tenant_guard.protection_column AS c (relation, account_number) \
         VALUES ($1, $2) \
         ON CONFLICT (relation) DO UPDATE SET account_number = excluded.account_number",
        &[member.relation.into(), member.column_number.into()],
    );
}

/// Forgets a relation and its members.
pub(super) fn forget(relation: pg_sys::Oid) {
    for rows in [
        "protection_column WHERE relation IN ( \
             SELECT m.relation FROM tenant_guard.protection_member AS m WHERE m.root = $1)",
        "protection WHERE relation = $1",
        "protection_link WHERE relation = $1",
        "protection_member WHERE root = $1",
    ] {
        write(
            &format!("DELETE FROM tenant_guard.{rows}"),
            &[relation.into()],
        );
    }
}

/// Forgets partitions that left the relation they were protected with.
pub(super) fn forget_members(members: Vec<pg_sys::Oid>) {
    for table in ["protection_column", "protection_member"] {
        write(
            &format!("DELETE FROM tenant_guard.{table} WHERE relation = ANY ($1::oid[])"),
            &[members.clone().into()],
        );
    }
}

/// The relation that a partition is registered under and was detached from; none of one that is
/// still below it, or protected by itself.
pub(super) fn left_behind(relation: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let found = read(
        "SELECT m.root::oid FROM tenant_guard.protection_member AS m \
         WHERE m.relation = $1 AND m.root <> m.relation \
             AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = m.relation)",
        &[relation.into()],
        |row| row.get::<pg_sys::Oid>(1),
    );
    found.into_iter().next().flatten()
}

/// What a relation is protected with.
pub(super) fn request(relation: pg_sys::Oid) -> Result<Request, Obstacle> {
    if let Some(request) = registered(relation) {
        return Ok(request);
    }
    let found = read_often(
        "SELECT c.oid::regclass::text, m.root::text FROM pg_class AS c \
         LEFT JOIN tenant_guard.protection_member AS m ON m.relation = c.oid \
         WHERE c.oid = $1",
        &[relation.into()],
        |row| {
            Ok((
                row.get::<String>(1)?.unwrap_or_default(),
                row.get::<String>(2)?,
            ))
        },
    );
    Err(match found.into_iter().next() {
        None => Obstacle::Gone(relation.to_u32()),
        Some((name, Some(root))) => Obstacle::PartOf(name, root),
        Some((name, None)) => Obstacle::NotProtected(name),
    })
}

/// What is registered for a relation that still exists.
pub(super) fn registered(relation: pg_sys::Oid) -> Option<Request> {
    let rows = read_often(
        "SELECT p.archetype, p.account_column::text, p.roles::text[], p.redact::text[], p.audit \
         FROM tenant_guard.protection AS p JOIN pg_class AS c ON c.oid = p.relation \
         WHERE p.relation = $1",
        &[relation.into()],
        |row| {
            let archetype = row.get::<String>(1)?.unwrap_or_default();
            Ok(Request {
                relation,
                archetype: Archetype::from_name(&archetype).unwrap_or(Archetype::DenyAll),
                column: row.get(2)?,
                roles: row.get(3)?,
                redact: row.get(4)?.unwrap_or_default(),
                audit: row.get(5)?.unwrap_or(true),
                links: Vec::new(),
            })
        },
    );
    let request = rows.into_iter().next()?;
    Some(Request {
        links: links_of(relation),
        ..request
    })
}

/// The ways from rows of a relation to their parents.
pub(super) fn links_of(relation: pg_sys::Oid) -> Vec<Link> {
    read_often(
        "SELECT l.via::text, l.parent::oid, l.parent_key::text, l.type_column::text, l.type_value \
         FROM tenant_guard.protection_link AS l WHERE l.relation = $1 ORDER BY l.position",
        &[relation.into()],
        |row| {
            Ok(Link {
                via: row.get(1)?.unwrap_or_default(),
                parent: row.get(2)?.unwrap_or(pg_sys::Oid::INVALID),
                parent_key: row.get(3)?.unwrap_or_default(),
                when: row.get::<String>(4)?.zip(row.get(5)?),
            })
        },
    )
}

/// The names of relations that find their account through `relation`, without further steps between.
pub(super) fn children(relation: pg_sys::Oid) -> Vec<String> {
    read_often(
        "SELECT DISTINCT c.oid::regclass::text FROM tenant_guard.protection_link AS l \
         JOIN pg_class AS c ON c.oid = l.relation WHERE l.parent = $1 ORDER BY 1",
        &[relation.into()],
        |row| row.get::<String>(1).map(Option::unwrap_or_default),
    )
}

/// The calls that protect again all that finds its account through `relation`, parents first.
pub(super) fn protect_below(relation: pg_sys::Oid) -> Vec<String> {
    read_often(
        "WITH RECURSIVE below AS ( \
             SELECT l.relation, 1 AS depth FROM tenant_guard.protection_link AS l \
             WHERE l.parent = $1 \
             UNION \
             SELECT l.relation, b.depth + 1 FROM below AS b \
             JOIN tenant_guard.protection_link AS l ON l.parent = b.relation) \
         SELECT tenant_guard.protect_again(c.oid) FROM below AS b \
         JOIN pg_class AS c ON c.oid = b.relation \
         GROUP BY c.oid ORDER BY max(b.depth), c.oid::regclass::text",
        &[relation.into()],
        |row| {
            let call = row.get::<String>(1)?.unwrap_or_default();
            Ok(call.trim_end_matches(';').to_owned())
        },
    )
}

/// The relation that this one is registered under, both still there.
pub(super) fn root_of(relation: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let found = read_often(
        "SELECT m.root::oid FROM tenant_guard.protection_member AS m \
         JOIN pg_class AS c ON c.oid = m.root WHERE m.relation = $1",
        &[relation.into()],
        |row| row.get::<pg_sys::Oid>(1),
    );
    found.into_iter().next().flatten()
}

/// The partitions of a protected relation that are not registered under its root.
pub(super) fn children_outside(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    read_often(
        "SELECT i.inhrelid FROM tenant_guard.protection_member AS p \
         JOIN pg_inherits AS i ON i.inhparent = p.relation \
         LEFT JOIN tenant_guard.protection_member AS m ON m.relation = i.inhrelid \
         WHERE p.relation = $1 AND m.root IS DISTINCT FROM p.root ORDER BY i.inhrelid",
        &[relation.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// Members of an audited protection that are no longer below any other, and lack the row trigger
/// that they had through their parent.
pub(super) fn detached_from(root: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    read(
        "SELECT m.relation::oid FROM tenant_guard.protection_member AS m \
         JOIN tenant_guard.protection AS p ON p.relation = m.root \
         JOIN pg_class AS c ON c.oid = m.relation \
         WHERE m.root = $1 AND m.relation <> m.root \
             AND (p.audit OR EXISTS (SELECT FROM tenant_guard.capture_rule AS r \
                 WHERE r.relation = m.root)) \
             AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = m.relation) \
             AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = m.relation \
                 AND t.tgname = 'tenant_guard_capture') \
         ORDER BY 1",
        &[root.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// Remembers of a copy made by LIKE what is remembered of its source, where the copy was born with
/// what protection had put there.
pub(super) fn remember_as_of(source: pg_sys::Oid, copy: pg_sys::Oid) {
    write(
        "UPDATE tenant_guard.protection_member AS m SET \
             not_null = m.not_null AND (s.not_null OR EXISTS ( \
                 SELECT FROM pg_index AS k WHERE k.indrelid = m.relation AND k.indisprimary \
                     AND b.attnum = ANY (k.indkey))), \
             column_default = CASE \
                 WHEN m.column_default IS NOT DISTINCT FROM pg_get_expr(d.adbin, d.adrelid) \
                 THEN s.column_default ELSE m.column_default END \
         FROM tenant_guard.protection_member AS s \
         JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attname = s.account_column \
         JOIN pg_attribute AS b ON b.attrelid = $2 AND b.attname = s.account_column \
         LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         WHERE m.relation = $2 AND s.relation = $1 AND m.account_column = s.account_column",
        &[source.into(), copy.into()],
    );
}

/// Whether a relation has a column of the name of a protected one's account column.
pub(super) fn has_account_column_of(relation: pg_sys::Oid, source: pg_sys::Oid) -> bool {
    !read(
        "SELECT FROM tenant_guard.protection AS p \
         JOIN pg_attribute AS a ON a.attrelid = $1 AND a.attname = p.account_column \
             AND a.attnum > 0 AND NOT a.attisdropped \
         WHERE p.relation = $2",
        &[relation.into(), source.into()],
        |_| Ok(()),
    )
    .is_empty()
}

/// The members registered under a relation that still exist.
pub(super) fn members_of(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    read_often(
        "SELECT m.relation::oid FROM tenant_guard.protection_member AS m \
         JOIN pg_class AS c ON c.oid = m.relation WHERE m.root = $1 ORDER BY 1",
        &[relation.into()],
        |row| Ok(row.get(1)?.unwrap_or(pg_sys::Oid::INVALID)),
    )
}

/// Name and account type of a protected relation other than `relation`. One speaks for all: each was
/// compared with those before it, and no column that a policy reads changes its type.
pub(super) fn account_type(relation: pg_sys::Oid) -> Option<(String, AccountType)> {
    let rows = read_often(
        // By index from row to row until one is there: a join would read both tables whole.
        "SELECT p.relation::text, (SELECT format_type(a.atttypid, NULL) FROM pg_attribute AS a \
             WHERE a.attrelid = p.relation AND a.attname = p.account_column) \
         FROM tenant_guard.protection AS p \
         WHERE p.relation <> $1 AND p.account_column IS NOT NULL \
             AND (SELECT a.attnum FROM pg_attribute AS a \
                  WHERE a.attrelid = p.relation AND a.attname = p.account_column) > 0 LIMIT 1",
        &[relation.into()],
        |row| Ok((row.get::<String>(1)?, row.get::<String>(2)?)),
    );
    rows.into_iter()
        .find_map(|(name, kind)| Some((name?, AccountType::from_sql(&kind?)?)))
}

/// Runs one query as the extension's owner and maps its rows.
pub(super) fn read<T>(
    query: &str,
    arguments: &[DatumWithOid<'_>],
    row: impl Fn(&SpiHeapTupleData<'_>) -> Result<T, SpiError>,
) -> Vec<T> {
    as_owner(|| {
        Spi::connect(|client| {
            if reads_the_past() {
                return read_now(query, arguments, row);
            }
            let rows = client.select(query, None, arguments)?;
            rows.map(|found| row(&found)).collect::<Result<Vec<_>, _>>()
        })
    })
    .unwrap_or_else(|error| cannot_be_read(error))
}

/// The same of a query whose plan is kept for the next time: one that is run for each of many relations.
pub(super) fn read_often<T>(
    query: &'static str,
    arguments: &[DatumWithOid<'_>],
    row: impl Fn(&SpiHeapTupleData<'_>) -> Result<T, SpiError>,
) -> Vec<T> {
    as_owner(|| {
        // SAFETY: connected, as the owner, under the path that is always the same.
        let run = |read_only| unsafe {
            kept_plan::execute(query, arguments, read_only)?;
            rows(&row)
        };
        Spi::connect(|_| match reads_the_past() {
            true => now(|| run(true)),
            false => run(!has_written()),
        })
    })
    .unwrap_or_else(|error| cannot_be_read(error))
}

fn cannot_be_read(error: SpiError) -> ! {
    pgrx::error!("protections cannot be read: {error}")
}

/// Whether queries of the transaction see what was committed when it began, and not what is protected
/// since: commands act on the catalogs of now, so they must not be judged by those of then.
fn reads_the_past() -> bool {
    // SAFETY: backend-local state.
    unsafe {
        pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 && !pg_sys::IsInParallelMode()
    }
}

/// Whether the transaction has an id, from which on pgrx lets each query see what was done before.
fn has_written() -> bool {
    // SAFETY: backend-local state.
    unsafe { pg_sys::GetCurrentTransactionIdIfAny() != pg_sys::InvalidTransactionId }
}

/// Runs a query that only reads, in an open connection of SPI, under a snapshot of now.
fn read_now<T>(
    query: &str,
    arguments: &[DatumWithOid<'_>],
    row: impl Fn(&SpiHeapTupleData<'_>) -> Result<T, SpiError>,
) -> Result<Vec<T>, SpiError> {
    let query = std::ffi::CString::new(query).expect("a query holds no NUL");
    let mut types: Vec<_> = arguments.iter().map(DatumWithOid::oid).collect();
    let (mut values, nulls) = kept_plan::values(arguments);
    // SAFETY: there are as many types, values and marks as announced; the rows are read before they
    // are freed.
    now(|| unsafe {
        let status = pg_sys::SPI_execute_with_args(
            query.as_ptr(),
            types.len() as i32,
            types.as_mut_ptr(),
            values.as_mut_ptr(),
            nulls.as_ptr(),
            true,
            0,
        );
        Spi::check_status(status)?;
        rows(&row)
    })
}

/// Runs `work` under a snapshot of now; what the transaction did becomes visible, as before each query
/// that may write.
fn now<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: inside a transaction and no parallel operation, as `reads_the_past` has it.
    unsafe { pg_sys::CommandCounterIncrement() };
    with_latest_snapshot(work)
}

/// The rows of the query that SPI ran last, mapped.
///
/// # Safety
/// It must have returned rows, in the connection that is open.
unsafe fn rows<T>(
    row: &impl Fn(&SpiHeapTupleData<'_>) -> Result<T, SpiError>,
) -> Result<Vec<T>, SpiError> {
    // SAFETY: the caller vouches; the rows live as long as the connection.
    unsafe {
        let (table, count) = (pg_sys::SPI_tuptable, pg_sys::SPI_processed as usize);
        (0..count)
            .filter_map(|n| {
                SpiHeapTupleData::new((*table).tupdesc, *(*table).vals.add(n)).transpose()
            })
            .map(|found| row(&found?))
            .collect()
    }
}

/// Runs one query with the caller's rights and maps its rows.
pub(super) fn read_as_caller<T>(
    query: &str,
    row: impl Fn(&SpiHeapTupleData<'_>) -> Result<T, SpiError>,
) -> Vec<T> {
    Spi::connect(|client| {
        let rows = client.select(query, None, &[])?;
        rows.map(|found| row(&found)).collect::<Result<Vec<_>, _>>()
    })
    .unwrap_or_else(|error| pgrx::error!("the command cannot be judged: {error}"))
}
