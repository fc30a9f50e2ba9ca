//! What the registry wants to stand on a member, and rows of the catalog to compare with it.

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenant_guard_core::archetype::Ownership;
use tenant_guard_core::policy::{Command as PolicyCommand, Expression, FLOOR, Policy};
use tenant_guard_core::trigger::{CAPTURE, CAPTURE_TRUNCATE, CaptureRule, Trigger};

use crate::error::{Guarded, OrRaise};
use crate::isolation::lookup;
use crate::isolation::ownership::Ownerships;
use crate::isolation::permissions::Permissions;
use crate::isolation::{assurance, capturing, integrity, policies, registry};

/// A member of a protection, or an audited relation and what is below it.
pub(super) struct Member {
    pub(super) relation: pg_sys::Oid,
    pub(super) root: pg_sys::Oid,
    /// Qualified and quoted.
    pub(super) name: String,
    /// Whether its changes are captured.
    pub(super) audit: bool,
    pub(super) owner: String,
    /// Whether the owner can log in and is no superuser.
    pub(super) owner_can_log_in: bool,
    /// Whether it is a partition of another member, so that its row trigger comes from there.
    pub(super) follows_parent: bool,
    /// Whether it is under protection, and not audited only.
    pub(super) protected: bool,
}

impl Member {
    /// The relation as a member; none where it is neither protected nor audited, or gone.
    pub(super) fn of(relation: pg_sys::Oid) -> Option<Self> {
        Self::of_protection(relation).or_else(|| Self::audited(relation))
    }

    fn audited(relation: pg_sys::Oid) -> Option<Self> {
        let root = capturing::root_of(relation)?;
        Some(Self {
            relation,
            root,
            name: lookup::name_of(relation)?,
            audit: true,
            owner: String::new(),
            owner_can_log_in: false,
            follows_parent: root != relation && lookup::is_partition(relation),
            protected: false,
        })
    }

    fn of_protection(relation: pg_sys::Oid) -> Option<Self> {
        let found = registry::read_often(
            "SELECT m.root::oid, format('%I.%I', n.nspname, c.relname), \
                 p.audit OR EXISTS (SELECT FROM tenant_guard.capture_rule AS r \
                     WHERE r.relation = p.relation), \
                 o.rolname::text, o.rolcanlogin AND NOT o.rolsuper, \
                 c.relispartition AND EXISTS ( \
                     SELECT FROM pg_inherits AS i \
                     JOIN tenant_guard.protection_member AS a ON a.relation = i.inhparent \
                     WHERE i.inhrelid = c.oid) \
             FROM tenant_guard.protection_member AS m \
             JOIN tenant_guard.protection AS p ON p.relation = m.root \
             JOIN pg_class AS c ON c.oid = m.relation \
             JOIN pg_namespace AS n ON n.oid = c.relnamespace \
             JOIN pg_roles AS o ON o.oid = c.relowner \
             WHERE m.relation = $1",
            &[relation.into()],
            |row| {
                Ok(Self {
                    relation,
                    root: row.get(1)?.unwrap_or(pg_sys::Oid::INVALID),
                    name: row.get(2)?.unwrap_or_default(),
                    audit: row.get(3)?.unwrap_or(false),
                    owner: row.get(4)?.unwrap_or_default(),
                    owner_can_log_in: row.get(5)?.unwrap_or(false),
                    follows_parent: row.get(6)?.unwrap_or(false),
                    protected: true,
                })
            },
        );
        found.into_iter().next()
    }

    /// Whether a policy of this name is to stand on it.
    pub(super) fn wants_policy(&self, name: &str) -> bool {
        if !self.protected {
            return false;
        }
        let Some((owner, roles, permissions)) = self.registered() else {
            // What it was protected with is gone; the floor stays until the relation goes too.
            return name.starts_with(FLOOR);
        };
        let mut wanted = Policy::floor(&owner, &self.name);
        match permissions.policies(self.root, &owner, &roles, &self.name) {
            Some(of_roles) => wanted.extend(of_roles),
            None => wanted.extend(Policy::access(&owner, &self.name, &roles)),
        }
        wanted.iter().any(|policy| policy.name == name) || assurance::wants(self.root, name)
    }

    /// Whether the policy says what the registry wants of one of its name.
    pub(super) fn is_as_wanted(&self, policy: &PolicyRow) -> bool {
        let Some((owner, roles, permissions)) = self.registered() else {
            return false;
        };
        let (relation, name) = (self.relation, &self.name);
        let mut wanted = policies::wanted(&owner, &roles, &permissions, self.root, relation, name);
        wanted.retain(|wanted| wanted.name == policy.name);
        if wanted.is_empty() {
            return assurance::is_as_wanted(self.root, policy);
        }
        Policy::alterations(&wanted, &[policy.policy()], &self.name).is_empty()
    }

    /// Whether a plan would drop the policy for one that says what the registry wants.
    pub(super) fn would_replace(&self, policy: &PolicyRow) -> bool {
        self.registered().is_some() && !self.is_as_wanted(policy)
    }

    /// How rows find their account, the quoted names of who is let in, and what roles may do.
    fn registered(&self) -> Option<(Ownership, Vec<String>, Permissions)> {
        let request = registry::registered(self.root)?;
        let owner = Ownerships::of(vec![self.root]).get(self.root)?;
        let roles = lookup::quoted(request.roles.as_deref().unwrap_or_default());
        let permissions = Permissions::of(self.root).or_raise();
        Some((owner, roles, permissions))
    }

    /// Whether a trigger of this name is to stand on it.
    pub(super) fn wants_trigger(&self, name: &str) -> bool {
        self.audit && matches!(name, CAPTURE | CAPTURE_TRUNCATE)
            || integrity::is_ours(name) && integrity::holds(self.relation, name)
    }

    /// The account column, empty where there is none, and how changes are captured.
    pub(super) fn captured(&self) -> Option<(String, CaptureRule)> {
        if !self.protected {
            return Some((String::new(), capturing::rule_of(self.root)?));
        }
        let request = registry::registered(self.root)?;
        let rule = capturing::wanted(&request)?;
        Some((request.column_name().to_owned(), rule))
    }

    /// That the command would stop changes from being captured: what it would do.
    pub(super) fn refusal_to_capture(&self, what: String) -> Guarded {
        let name = self.name.clone();
        if self.protected {
            Guarded::Weakens(what, name)
        } else {
            Guarded::Uncaptures(what, name)
        }
    }

    /// Whether the trigger is defined as the registry wants one of its name.
    pub(super) fn is_trigger_as_wanted(&self, trigger: &TriggerRow) -> bool {
        let Some((account, rule)) = self.captured() else {
            return false;
        };
        if integrity::is_ours(&trigger.name) {
            return integrity::is_as_made(trigger.oid);
        }
        let wanted = match trigger.name.as_str() {
            CAPTURE => Trigger::capture(&self.name, &account, &rule),
            CAPTURE_TRUNCATE => Trigger::capture_truncate(&self.name, &account, &rule),
            _ => return false,
        };
        let definition = registry::read_often(
            "SELECT pg_get_triggerdef($1)",
            &[trigger.oid.into()],
            |row| row.get::<String>(1),
        );
        definition.into_iter().next().flatten() == Some(wanted.definition)
    }
}

/// A policy as the catalog holds it.
pub(in crate::isolation) struct PolicyRow {
    pub(in crate::isolation) relation: pg_sys::Oid,
    pub(in crate::isolation) name: String,
    pub(in crate::isolation) restrictive: bool,
    /// `pg_policy.polcmd`
    pub(in crate::isolation) command: u8,
    pub(in crate::isolation) roles: Vec<pg_sys::Oid>,
    /// As `pg_get_expr` prints it; none where there is none.
    pub(in crate::isolation) using: Option<String>,
    pub(in crate::isolation) check: Option<String>,
}

impl PolicyRow {
    /// Whether it is for PUBLIC.
    pub(in crate::isolation) fn for_all_roles(&self) -> bool {
        self.roles == [pg_sys::Oid::INVALID]
    }

    fn policy(&self) -> Policy {
        let names = registry::read(
            "SELECT quote_ident(r.rolname) FROM pg_roles AS r WHERE r.oid = ANY ($1::oid[])",
            &[self.roles.clone().into()],
            |row| row.get::<String>(1).map(Option::unwrap_or_default),
        );
        let letter = char::from(self.command).to_string();
        Policy {
            name: self.name.clone(),
            restrictive: self.restrictive,
            command: PolicyCommand::from_letter(&letter).unwrap_or(PolicyCommand::All),
            roles: names,
            using: self.using.clone().map(Expression::present),
            check: self.check.clone().map(Expression::present),
        }
    }
}

/// A trigger as the catalog holds it.
pub(super) struct TriggerRow {
    pub(super) oid: pg_sys::Oid,
    pub(super) relation: pg_sys::Oid,
    pub(super) name: String,
    pub(super) function: pg_sys::Oid,
    /// Made through the trigger of the partitioned table above.
    pub(super) inherited: bool,
}

/// When a row of the catalog is read.
#[derive(Clone, Copy)]
pub(super) enum At {
    Now,
    /// As the running command found it, which is how to see what it dropped.
    Before,
}

/// `pg_policy` and its index over oid, which pgrx does not bind. The numbers are fixed in the
/// initial contents of the catalog.
pub(super) const POLICY: pg_sys::Oid = pg_sys::Oid::from_u32(3256);
const POLICY_BY_OID: pg_sys::Oid = pg_sys::Oid::from_u32(3257);

/// Reads a policy. Its expressions only when asked to: printing them fails where a column that they
/// name is gone.
pub(super) fn policy(oid: pg_sys::Oid, at: At, expressions: bool) -> Option<PolicyRow> {
    scan(POLICY, POLICY_BY_OID, oid, at, |row| {
        // SAFETY: the columns of pg_policy by number and type, the same in every version that
        // has row security.
        unsafe {
            let relation: pg_sys::Oid = row.get(3)?;
            let print = |number| {
                let tree = row.datum(number).filter(|_| expressions)?;
                let arguments = [Some(tree), relation.into_datum()];
                pgrx::direct_function_call::<String>(pg_sys::pg_get_expr, &arguments)
            };
            Some(PolicyRow {
                relation,
                name: row.name(2)?,
                restrictive: !row.get::<bool>(5)?,
                command: row.get::<i8>(4)? as u8,
                roles: row.get(6)?,
                using: print(7),
                check: print(8),
            })
        }
    })
}

/// Reads a trigger.
pub(super) fn trigger(oid: pg_sys::Oid, at: At) -> Option<TriggerRow> {
    let index = pg_sys::Oid::from_u32(pg_sys::TriggerOidIndexId);
    scan(pg_sys::TriggerRelationId, index, oid, at, |row| {
        // SAFETY: the columns of pg_trigger by number and type.
        unsafe {
            Some(TriggerRow {
                oid,
                relation: row.get(pg_sys::Anum_pg_trigger_tgrelid)?,
                name: row.name(pg_sys::Anum_pg_trigger_tgname)?,
                function: row.get(pg_sys::Anum_pg_trigger_tgfoid)?,
                inherited: row.get::<pg_sys::Oid>(pg_sys::Anum_pg_trigger_tgparentid)?
                    != pg_sys::Oid::INVALID,
            })
        }
    })
}

/// The values of a row of a catalog.
struct Row {
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl Row {
    fn datum(&self, number: u32) -> Option<pg_sys::Datum> {
        let at = number as usize - 1;
        (!self.nulls[at]).then(|| self.values[at])
    }

    /// # Safety
    /// The column must be of the type that `T` reads.
    unsafe fn get<T: FromDatum>(&self, number: u32) -> Option<T> {
        // SAFETY: the caller vouches for the type; the value points into the row, which is read
        // before the scan goes on.
        unsafe { T::from_datum(self.datum(number)?, false) }
    }

    /// # Safety
    /// The column must be of type name.
    unsafe fn name(&self, number: u32) -> Option<String> {
        // SAFETY: a name is a terminated string in its own right.
        unsafe { Some(self.get::<&CStr>(number)?.to_string_lossy().into_owned()) }
    }
}

/// Reads the row of this oid from a catalog.
fn scan<T>(
    catalog: pg_sys::Oid,
    index: pg_sys::Oid,
    oid: pg_sys::Oid,
    at: At,
    read: impl FnOnce(&Row) -> Option<T>,
) -> Option<T> {
    // SAFETY: a scan of a catalog by its index over oid, which is its first column. The tuple is
    // read before the scan ends; an ERROR ends scan and relation.
    unsafe {
        let snapshot = match at {
            At::Now => std::ptr::null_mut(),
            At::Before if pg_sys::ActiveSnapshotSet() => pg_sys::GetActiveSnapshot(),
            At::Before => return None,
        };
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            1,
            pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
            pg_sys::F_OIDEQ.into(),
            oid.into(),
        );
        let relation = pg_sys::table_open(catalog, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::systable_beginscan(relation, index, true, snapshot, 1, &mut key);
        let tuple = pg_sys::systable_getnext(scan);
        let found = if tuple.is_null() {
            None
        } else {
            let columns = (*(*relation).rd_att).natts as usize;
            let mut row = Row {
                values: vec![pg_sys::Datum::from(0); columns],
                nulls: vec![true; columns],
            };
            pg_sys::heap_deform_tuple(
                tuple,
                (*relation).rd_att,
                row.values.as_mut_ptr(),
                row.nulls.as_mut_ptr(),
            );
            read(&row)
        };
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        found
    }
}
