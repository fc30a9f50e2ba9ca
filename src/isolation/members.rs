//! A relation with its partitions and children, as the catalog has them now.

use std::collections::HashMap;

use pgrx::prelude::*;
use pgrx::spi::SpiHeapTupleData;
use tenant_guard_core::plan::{ColumnState, FlagsBefore, Member, RememberedColumn};
use tenant_guard_core::policy::{AccountColumn, AccountType, Policy};
use tenant_guard_core::trigger::Trigger;

use super::lookup;
use super::request::Request;
use super::{capturing, locking, policies, registry};
use crate::error::Obstacle;

const MEMBERS: &str = include_str!("members.sql");

/// One relation of a tree: what the plan is made from, and what decides whether it may be made.
pub(super) struct MemberState {
    pub(super) relation: pg_sys::Oid,
    /// `pg_class.relkind`
    pub(super) kind: String,
    pub(super) temporary: bool,
    /// In a schema of PostgreSQL's or ours.
    pub(super) reserved: bool,
    /// Zero where the relation has no such column.
    pub(super) column_number: i16,
    pub(super) column_quoted: String,
    pub(super) column_type: String,
    /// False for a collation under which unlike texts are equal.
    pub(super) column_deterministic: bool,
    /// A validated constraint of ours says that no account is null.
    pub(super) proven: bool,
    column_computed: bool,
    /// Generated and not stored: no row holds it, so no trigger and no log does.
    pub(super) column_virtual: bool,
    column_is_key: bool,
    /// The relation this one is registered under.
    pub(super) root: Option<pg_sys::Oid>,
    pub(super) remembered: Option<(RememberedColumn, FlagsBefore)>,
    pub(super) plan: Member,
}

/// A relation and everything below it, parents first.
pub(super) struct Tree {
    members: Vec<MemberState>,
}

impl Tree {
    /// Reads the relation of `request` and all below it.
    pub(super) fn read(request: &Request) -> Result<Self, Obstacle> {
        let relations = lookup::tree_of(request.relation);
        let members = read_members(&relations, request.column.as_deref());
        let root = members
            .first()
            .ok_or(Obstacle::Gone(request.relation.to_u32()))?;
        super::obstacles::kind_and_owner(root)?;
        Ok(Self { members })
    }

    /// Reads exactly these relations, parents first.
    pub(super) fn of(relations: &[pg_sys::Oid], request: &Request) -> Self {
        Self {
            members: read_members(relations, request.column.as_deref()),
        }
    }

    /// Locks all of it against everybody, then reads.
    ///
    /// Kind and ownership are judged before the lock: a lock must not be had on what the caller
    /// could not protect anyway.
    pub(super) fn lock(request: &Request) -> Result<Self, Obstacle> {
        Self::read(request)?;
        locking::lock_trees(&[request.relation]);
        Self::read(request)
    }

    /// Locks and reads a protected relation with the members registered under it.
    pub(super) fn lock_protected(relation: pg_sys::Oid) -> Result<Self, Obstacle> {
        let request = registry::request(relation)?;
        Self::read(&request)?;
        let mut registered = registry::members_of(relation);
        registered.push(relation);
        locking::lock_trees(&registered);
        let below = Self::read(&request)?;
        let mut relations: Vec<_> = below.relations().collect();
        for detached in registry::members_of(relation) {
            if !relations.contains(&detached) {
                relations.push(detached);
            }
        }
        let mut members = read_members(&relations, request.column.as_deref());
        members.retain(|member| member.root == Some(relation));
        for member in &members {
            super::obstacles::kind_and_owner(member)?;
        }
        reindex_parents(&mut members, &relations);
        Ok(Self { members })
    }

    /// Locks and reads a partition that was detached, and what is below it, with what is registered of
    /// it under `root`.
    pub(super) fn lock_left_behind(
        relation: pg_sys::Oid,
        root: pg_sys::Oid,
    ) -> Result<Self, Obstacle> {
        // The root may be gone.
        let column = registered(vec![relation]).remove(&relation);
        let request = Request {
            column: column.and_then(|member| member.column),
            ..capturing::bare(relation)
        };
        let mut tree = Self::lock(&request)?;
        let relations: Vec<_> = tree.relations().collect();
        tree.members.retain(|member| member.root == Some(root));
        for member in &tree.members {
            super::obstacles::kind_and_owner(member)?;
        }
        reindex_parents(&mut tree.members, &relations);
        Ok(tree)
    }

    pub(super) fn root(&self) -> &MemberState {
        &self.members[0]
    }

    pub(super) fn name(&self) -> &str {
        &self.root().plan.name
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &MemberState> {
        self.members.iter()
    }

    pub(super) fn relations(&self) -> impl Iterator<Item = pg_sys::Oid> + '_ {
        self.members.iter().map(|member| member.relation)
    }

    /// The members as they are, with the policies that `wanted` says are to stand on each.
    pub(super) fn plan_members(&self, wanted: impl Fn(&MemberState) -> Vec<Policy>) -> Vec<Member> {
        let members = self.members.iter().map(|member| Member {
            wanted: wanted(member),
            ..member.plan.clone()
        });
        members.collect()
    }

    pub(super) fn account_type(&self) -> Option<AccountType> {
        AccountType::from_sql(&self.root().column_type)
    }

    /// The account column of archetypes that have one, once `obstacles` found nothing against it.
    pub(super) fn account_column(
        &self,
        request: &Request,
    ) -> Result<Option<AccountColumn>, Obstacle> {
        let Some(name) = &request.column else {
            return Ok(None);
        };
        let root = self.root();
        let kind = self.account_type().ok_or_else(|| {
            let kind = root.column_type.clone();
            Obstacle::UnsupportedType(name.clone(), root.plan.name.clone(), kind)
        })?;
        Ok(Some(AccountColumn {
            name: name.clone(),
            quoted: root.column_quoted.clone(),
            kind,
        }))
    }

    /// Whether the column may be given the account as default: not what computes itself, and not
    /// the key of a table of accounts.
    pub(super) fn sets_default(&self) -> bool {
        !self.root().column_computed && !self.root().column_is_key
    }

    /// What is remembered of each member, for taking protection off.
    pub(super) fn remembered(&self) -> (Vec<Option<RememberedColumn>>, Vec<FlagsBefore>) {
        self.members
            .iter()
            .map(|member| match &member.remembered {
                Some((column, flags)) => (Some(column.clone()), *flags),
                None => (None, FlagsBefore::default()),
            })
            .unzip()
    }
}

fn read_members(relations: &[pg_sys::Oid], column: Option<&str>) -> Vec<MemberState> {
    let relations = relations.to_vec();
    let mut present = policies::present(relations.clone());
    let registered = registered(relations.clone());
    let columns = { relations.iter() }.map(|relation| registered.get(relation)?.column.clone());
    let columns: Vec<_> = columns.collect();
    let arguments = [relations.into(), column.into(), columns.into()];
    let mut members = registry::read_often(MEMBERS, &arguments, |row| member(row, &registered));
    for member in &mut members {
        member.plan.policies = present.remove(&member.relation).unwrap_or_default();
    }
    members
}

/// What is registered of a member.
struct Registered {
    root: pg_sys::Oid,
    column: Option<String>,
    before: ColumnState,
    flags: FlagsBefore,
}

fn registered(relations: Vec<pg_sys::Oid>) -> HashMap<pg_sys::Oid, Registered> {
    let rows = registry::read_often(
        "SELECT m.relation::oid, m.root::oid, m.account_column::text, m.not_null, m.column_default, \
             m.row_security, m.force_row_security \
         FROM tenant_guard.protection_member AS m WHERE m.relation = ANY ($1::oid[])",
        &[relations.into()],
        |row| {
            let oid = |n| row.get(n).map(|oid| oid.unwrap_or(pg_sys::Oid::INVALID));
            let flag = |n| row.get::<bool>(n).map(|flag| flag.unwrap_or(false));
            let registered = Registered {
                root: oid(2)?,
                column: row.get(3)?,
                before: ColumnState {
                    not_null: flag(4)?,
                    default: row.get(5)?,
                },
                flags: FlagsBefore {
                    row_security: flag(6)?,
                    force: flag(7)?,
                },
            };
            Ok((oid(1)?, registered))
        },
    );
    rows.into_iter().collect()
}

fn member(
    row: &SpiHeapTupleData<'_>,
    registered: &HashMap<pg_sys::Oid, Registered>,
) -> Result<MemberState, pgrx::spi::SpiError> {
    let text = |name: &str| row.get_by_name::<String, _>(name);
    let flag = |name: &str| Ok::<_, pgrx::spi::SpiError>(row.get_by_name(name)?.unwrap_or(false));
    let trigger = |which: &str| -> Result<Option<Trigger>, pgrx::spi::SpiError> {
        let Some(definition) = text(&format!("{which}_definition"))? else {
            return Ok(None);
        };
        Ok(Some(Trigger {
            definition,
            always: flag(&format!("{which}_always"))?,
            inherited: flag(&format!("{which}_inherited"))?,
        }))
    };

    let relation = row.get_by_name("relation")?.unwrap_or(pg_sys::Oid::INVALID);
    let registered = registered.get(&relation);
    let remembered = match registered {
        None => None,
        Some(registered) => Some((
            RememberedColumn {
                quoted: text("former_quoted")?.unwrap_or_default(),
                kind: text("former_type")?
                    .as_deref()
                    .and_then(AccountType::from_sql),
                present: ColumnState {
                    not_null: flag("former_not_null")?,
                    default: text("former_default")?,
                },
                before: registered.before.clone(),
            },
            registered.flags,
        )),
    };
    let column_changes = flag("column_changes")?;
    let kind = text("kind")?.unwrap_or_default();
    Ok(MemberState {
        relation,
        temporary: flag("temporary")?,
        reserved: flag("reserved")?,
        column_number: row.get_by_name("column_number")?.unwrap_or(0),
        column_quoted: text("column_quoted")?.unwrap_or_default(),
        column_type: text("column_type")?.unwrap_or_default(),
        column_deterministic: flag("column_deterministic")?,
        proven: flag("proven")?,
        column_computed: flag("column_computed")?,
        column_virtual: flag("column_virtual")?,
        column_is_key: flag("column_is_key")?,
        root: registered.map(|registered| registered.root),
        plan: Member {
            name: text("name")?.unwrap_or_default(),
            parent: row
                .get_by_name::<i32, _>("parent")?
                .and_then(|p| usize::try_from(p).ok()),
            partitioned: kind == "p",
            partition: flag("partition")?,
            row_security: flag("row_security")?,
            force: flag("force")?,
            column: ColumnState {
                not_null: flag("column_not_null")?,
                default: text("column_default")?,
            },
            column_in_key: flag("column_in_key")?,
            made_not_null: remembered
                .as_ref()
                .is_some_and(|(column, _)| !column.before.not_null)
                && !column_changes,
            former: remembered
                .as_ref()
                .filter(|_| column_changes)
                .map(|(column, _)| column.clone()),
            wanted: Vec::new(),
            policies: Vec::new(),
            capture: trigger("capture")?,
            truncate: trigger("truncate")?,
            exposed_to: row.get_by_name("exposed_to")?.unwrap_or_default(),
        },
        kind,
        remembered,
    })
}

/// Points the parents of what is left of `before` at their new places.
fn reindex_parents(members: &mut [MemberState], before: &[pg_sys::Oid]) {
    let places: Vec<_> = members.iter().map(|member| member.relation).collect();
    for member in members {
        member.plan.parent = member
            .plan
            .parent
            .and_then(|parent| places.iter().position(|place| *place == before[parent]));
    }
}
