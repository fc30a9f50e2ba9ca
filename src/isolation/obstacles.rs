//! What stands against protecting a relation.

use pgrx::prelude::*;
use tenant_guard_core::policy::AccountType;

use super::lookup;
use super::manifest;
use super::members::{MemberState, Tree};
use super::ownership::Ownerships;
use super::registry;
use super::request::Request;
use crate::error::{Error, Obstacle};
use crate::versions;

/// Whether the relation is one that can be protected at all, and the caller's to decide about.
pub(super) fn kind_and_owner(member: &MemberState) -> Result<(), Obstacle> {
    let kind = match member.kind.as_str() {
        "r" | "p" if member.reserved => "a system catalog or a table of tenant_guard",
        "r" | "p" if member.temporary => "a temporary table",
        kind => other_kind(kind),
    };
    if !kind.is_empty() {
        return Err(Obstacle::WrongKind(member.plan.name.clone(), kind));
    }
    // SAFETY: catalog lookup by oid.
    if unsafe { versions::owns_relation(member.relation) } {
        Ok(())
    } else {
        Err(Obstacle::NotOwner(member.plan.name.clone()))
    }
}

/// What a relation is by its `relkind`; empty for tables.
pub(super) fn other_kind(kind: &str) -> &'static str {
    match kind {
        "r" | "p" => "",
        "v" => "a view",
        "m" => "a materialized view",
        "f" => "a foreign table",
        "i" | "I" => "an index",
        "S" => "a sequence",
        "t" => "a TOAST table",
        _ => "not a table",
    }
}

/// Raises what [`all`] finds first, then a clash with the account columns protected already.
pub(super) fn refuse(request: &Request, tree: &Tree) -> Result<(), Error> {
    let mut found = all(request, tree);
    found.extend(mixed_types(request, tree, &[]));
    found
        .into_iter()
        .next()
        .map_or(Ok(()), |obstacle| Err(obstacle.into()))
}

/// Everything the catalog shows against protecting the tree, beside account types that clash.
pub(super) fn all(request: &Request, tree: &Tree) -> Vec<Obstacle> {
    let mut found: Vec<_> = tree
        .iter()
        .filter_map(|member| kind_and_owner(member).err())
        .collect();
    if !found.is_empty() {
        return found;
    }
    let name = tree.name().to_owned();
    if let Some(parent) = lookup::parent_of(request.relation) {
        found.push(Obstacle::PartOf(name.clone(), parent));
    }
    found.extend(account_column(request, tree));
    for (redacted, standing) in
        lookup::standings(request.relation, &request.redact, request.column_name())
    {
        found.extend(match standing {
            lookup::Standing::Missing => Some(Obstacle::NoColumn(redacted, name.clone())),
            lookup::Standing::Key => Some(Obstacle::RedactsKey(redacted, name.clone())),
            lookup::Standing::Plain => None,
        });
    }
    found.extend(personal(request, &name));
    found.extend(parents(request, tree));
    found
}

/// What is wrong with the columns declared personal, whenever that was.
fn personal(request: &Request, name: &str) -> Vec<Obstacle> {
    let declared = manifest::personal_columns(request.relation);
    let standings = lookup::standings(request.relation, &declared, request.column_name());
    let wrong = |(column, standing)| match standing {
        lookup::Standing::Missing => Some(Obstacle::NoColumn(column, name.to_owned())),
        lookup::Standing::Key => Some(Obstacle::PersonalKey(column, name.to_owned())),
        lookup::Standing::Plain => None,
    };
    standings.into_iter().filter_map(wrong).collect()
}

/// What is wrong with the account column, of archetypes that have one.
fn account_column(request: &Request, tree: &Tree) -> Option<Obstacle> {
    let column = request.column.clone()?;
    let root = tree.root();
    let name = root.plan.name.clone();
    if root.column_number == 0 {
        return Some(Obstacle::NoColumn(column, name));
    }
    if root.column_virtual {
        return Some(Obstacle::NotStored(column, name));
    }
    if tree.account_type().is_none() {
        let kind = root.column_type.clone();
        return Some(Obstacle::UnsupportedType(column, name, kind));
    }
    let unfit = tree.iter().find(|member| !member.column_deterministic)?;
    Some(Obstacle::Nondeterministic(column, unfit.plan.name.clone()))
}

/// What is wrong with the parents asked for, or with the children that are left.
fn parents(request: &Request, tree: &Tree) -> Vec<Obstacle> {
    let name = || tree.name().to_owned();
    let owners = Ownerships::of(request.links.iter().map(|link| link.parent).collect());
    let mut found = Vec::new();
    for link in &request.links {
        let parent = lookup::name_of(link.parent).unwrap_or_default();
        found.extend(match owners.get(link.parent) {
            _ if owners.leads_to(link.parent, request.relation) => {
                Some(Obstacle::OwnParent(name(), parent))
            }
            None => Some(Obstacle::UnprotectedParent(name(), parent)),
            Some(owner) if !owner.archetype().has_accounts() => {
                let archetype = owner.archetype().name();
                Some(Obstacle::NoAccountsInParent(name(), parent, archetype))
            }
            Some(_) => None,
        });
        if let Some((column, _)) = &link.when
            && !lookup::has_column(request.relation, column)
        {
            found.push(Obstacle::NoColumn(column.clone(), name()));
        }
    }
    if !request.archetype.has_accounts() {
        let children = registry::children(request.relation).into_iter();
        found.extend(children.map(|child| Obstacle::HasChild(name(), child)));
    }
    found
}

/// A relation whose account column is a uuid where ours is not, or the other way round, among
/// those registered and `others`.
pub(super) fn mixed_types(
    request: &Request,
    tree: &Tree,
    others: &[(String, AccountType)],
) -> Option<Obstacle> {
    let kind = tree.account_type()?;
    let registered = registry::account_type(request.relation);
    let (other, _) = registered
        .iter()
        .chain(others)
        .find(|(_, registered)| !kind.mixes_with(*registered))?;
    Some(Obstacle::MixedTypes(
        request.column_name().to_owned(),
        tree.name().to_owned(),
        other.clone(),
    ))
}

/// Rows without an account, counted in every member whose column may be null, unless a constraint
/// that was validated before has proven that there are none.
///
/// Reads the heap itself: no policy hides a row from the count, and no expression of the table's
/// owner is evaluated with our rights.
pub(super) fn null_accounts(request: &Request, tree: &Tree) -> Option<Obstacle> {
    if !request.archetype.requires_account() {
        return None;
    }
    let tables: Vec<_> = tree
        .iter()
        .filter(|m| m.column_number > 0 && !m.plan.column.not_null && !m.proven && m.kind == "r")
        .map(|m| {
            (
                count_nulls(m.relation, m.column_number),
                m.plan.name.clone(),
            )
        })
        .filter(|(rows, _)| *rows > 0)
        .collect();
    (!tables.is_empty()).then(|| Obstacle::NullAccounts {
        column: request.column_name().to_owned(),
        tables,
    })
}

fn count_nulls(relation: pg_sys::Oid, column: i16) -> u64 {
    let mut nulls = 0;
    // SAFETY: the relation is a table with storage; each tuple is used before the next one is
    // fetched, and `column` is one of its attributes. On ERROR the resource owner ends scan and
    // relation.
    unsafe {
        let table = pg_sys::table_open(relation, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::systable_beginscan(
            table,
            pg_sys::Oid::INVALID,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        loop {
            pgrx::check_for_interrupts!();
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            nulls += u64::from(pg_sys::heap_attisnull(
                tuple,
                column.into(),
                (*table).rd_att,
            ));
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(table, pg_sys::NoLock as i32);
    }
    nulls
}
