//! The manifest of what is registered.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pgrx::prelude::*;
use pgrx::spi::{SpiError, SpiHeapTupleData};
use tenant_guard_core::archetype::Archetype;
use tenant_guard_core::manifest::{
    AccountRelation, Audited, Command, Governed, Issuer, Manifest, Membership, Ownership, Parent,
    Permission, Place, Relation, RelationName, Role, Scope,
};

use crate::isolation::registry::read;

/// Everything registered, with the public keys of issuers that have no others.
pub(super) fn registered() -> Manifest {
    let mut manifest = Manifest {
        issuers: issuers(),
        roles: roles(),
        relations: relations(),
        audited: audited(),
        audited_reads: audited_reads(),
        governed_schemas: governed_schemas(),
        ..Manifest::default()
    };
    identity_sources(&mut manifest);
    manifest
}

fn issuers() -> BTreeMap<String, Issuer> {
    let micros = "(date_part('epoch', {}) * 1e6)::int8";
    let query = format!(
        "SELECT i.issuer, i.keys::text, i.algorithms, i.audiences, i.claim_paths::text, {}, {}, \
             i.require_exp \
         FROM tenant_guard.issuer AS i",
        micros.replace("{}", "i.leeway"),
        micros.replace("{}", "i.max_age"),
    );
    let rows = read(&query, &[], |row| {
        let set =
            |column| Ok::<_, SpiError>(row.get::<Vec<String>>(column)?.map(BTreeSet::from_iter));
        let keys = row.get::<String>(2)?.unwrap_or_default();
        let paths = row.get::<String>(5)?.unwrap_or_default();
        let issuer = Issuer {
            keys: Issuer::without_secrets(&keys),
            algorithms: set(3)?,
            audiences: set(4)?,
            claim_paths: Issuer::paths_beside_defaults(&paths),
            leeway_us: row.get::<i64>(6)?.unwrap_or_default(),
            max_age_us: row.get::<i64>(7)?,
            require_exp: row.get::<bool>(8)?.unwrap_or(true),
        };
        Ok((row.get::<String>(1)?.unwrap_or_default(), issuer))
    });
    rows.into_iter().collect()
}

fn identity_sources(manifest: &mut Manifest) {
    let rows = read(
        "SELECT s.purpose, n.nspname::text, c.relname::text, s.key_column::text, \
             s.account_column::text, s.role_column::text, s.active_column::text \
         FROM tenant_guard.identity_source AS s \
         JOIN pg_class AS c ON c.oid = s.relation \
         JOIN pg_namespace AS n ON n.oid = c.relnamespace",
        &[],
        |row| {
            let key = row.get::<String>(4)?.unwrap_or_default();
            let active_column = row.get(7)?;
            let relation = name(row, 2)?;
            Ok(match row.get::<String>(1)?.as_deref() {
                Some("membership") => Source::Membership(Membership {
                    relation,
                    subject_column: key,
                    account_column: row.get(5)?.unwrap_or_default(),
                    role_column: row.get(6)?,
                    active_column,
                }),
                _ => Source::Accounts(AccountRelation {
                    relation,
                    key_column: key,
                    active_column,
                }),
            })
        },
    );
    for source in rows {
        match source {
            Source::Membership(source) => manifest.membership = Some(source),
            Source::Accounts(source) => manifest.account_relation = Some(source),
        }
    }
}

enum Source {
    Membership(Membership),
    Accounts(AccountRelation),
}

/// Schema and name in two columns, the first of which is given.
fn name(row: &SpiHeapTupleData<'_>, column: usize) -> Result<RelationName, SpiError> {
    Ok(RelationName {
        schema: row.get(column)?.unwrap_or_default(),
        name: row.get(column + 1)?.unwrap_or_default(),
    })
}

fn relations() -> BTreeMap<RelationName, Relation> {
    let mut parents = links();
    let mut assurance = assurance();
    let mut permissions = permissions();
    let rows = read(
        "SELECT c.oid, n.nspname::text, c.relname::text, p.archetype, p.account_column::text, \
             p.roles::text[], p.redact::text[], p.audit, a.personal::text[], a.indexed, \
             EXISTS (SELECT FROM tenant_guard.account_row_rule AS r WHERE r.relation = p.relation), \
             (SELECT jsonb_object_agg(r.column_name, r.template)::text \
              FROM tenant_guard.path_rule AS r \
              JOIN pg_attribute AS f ON f.attrelid = r.relation AND f.attname = r.column_name \
                  AND NOT f.attisdropped \
              WHERE r.relation = p.relation) \
         FROM tenant_guard.protection AS p \
         JOIN pg_class AS c ON c.oid = p.relation \
         JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         LEFT JOIN tenant_guard.annotation AS a ON a.relation = p.relation",
        &[],
        |row| {
            let set = |column| {
                let list = row.get::<Vec<String>>(column)?.unwrap_or_default();
                Ok::<_, SpiError>(BTreeSet::from_iter(list))
            };
            let archetype = row.get::<String>(4)?.unwrap_or_default();
            let column = row.get::<String>(5)?.unwrap_or_default();
            let mut relation = Relation::new(ownership(&archetype, column));
            relation.roles = set(6)?;
            relation.redact = set(7)?;
            relation.audit = row.get(8)?.unwrap_or(true);
            relation.personal = set(9)?;
            relation.index = row.get(10)?.unwrap_or(true);
            relation.account_row = row.get(11)?.unwrap_or(false);
            let paths = row.get::<String>(12)?.unwrap_or_default();
            relation.paths = serde_json::from_str(&paths).unwrap_or_default();
            let oid = row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::Oid::INVALID);
            Ok((oid, name(row, 2)?, relation))
        },
    );
    rows.into_iter()
        .map(|(oid, name, mut relation)| {
            if let Ownership::Child { .. } = relation.ownership
                && let Some(child) = parents.remove(&oid)
            {
                relation.ownership = child;
            }
            relation.assurance = assurance.remove(&oid).unwrap_or_default();
            relation.permissions = permissions.remove(&oid).unwrap_or_default();
            (name, relation)
        })
        .collect()
}

/// The ownership of an archetype whose parents, where it has any, are yet to be filled in.
fn ownership(archetype: &str, column: String) -> Ownership {
    match Archetype::from_name(archetype) {
        Some(Archetype::Account) => Ownership::Account(column),
        Some(Archetype::SharedDefaults) => Ownership::SharedDefaults(column),
        Some(Archetype::PublicRead) => Ownership::PublicRead(column),
        Some(Archetype::Reference) => Ownership::Reference,
        Some(Archetype::Child) => Ownership::Child {
            via: String::new(),
            parent: Parent::ForeignKey,
        },
        // As the policies have it, where the name is none of ours.
        Some(Archetype::DenyAll) | None => Ownership::DenyAll,
    }
}

/// What `audit` was told.
fn audited() -> BTreeMap<RelationName, Audited> {
    let rows = read(
        "SELECT r.include::text[], n.nspname::text, c.relname::text, r.exclude::text[], \
             r.redact::text[], r.hash::text[], r.skip_unchanged, r.truncate_rows, \
             (SELECT a.personal::text[] FROM tenant_guard.annotation AS a \
              WHERE a.relation = r.relation AND NOT EXISTS (SELECT FROM tenant_guard.protection AS p \
                  WHERE p.relation = r.relation)) \
         FROM tenant_guard.capture_rule AS r \
         JOIN pg_class AS c ON c.oid = r.relation \
         JOIN pg_namespace AS n ON n.oid = c.relnamespace",
        &[],
        |row| {
            let set = |column| {
                Ok::<_, SpiError>(row.get::<Vec<String>>(column)?.map(BTreeSet::from_iter))
            };
            let audited = Audited {
                include: set(1)?,
                exclude: set(4)?.unwrap_or_default(),
                redact: set(5)?.unwrap_or_default(),
                hash: set(6)?.unwrap_or_default(),
                skip_unchanged: row.get(7)?.unwrap_or(false),
                truncate_rows: row.get(8)?.unwrap_or(false),
                personal: set(9)?.unwrap_or_default(),
            };
            Ok((name(row, 2)?, audited))
        },
    );
    rows.into_iter().collect()
}

/// Of what is still protected or audited.
fn audited_reads() -> BTreeSet<RelationName> {
    let rows = read(
        "SELECT n.nspname::text, c.relname::text FROM tenant_guard.read_audit AS r \
         JOIN pg_class AS c ON c.oid = r.relation \
         JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE EXISTS (SELECT FROM tenant_guard.protection AS p WHERE p.relation = r.relation) \
             OR EXISTS (SELECT FROM tenant_guard.capture_rule AS k WHERE k.relation = r.relation)",
        &[],
        |row| name(row, 1),
    );
    rows.into_iter().collect()
}

fn governed_schemas() -> BTreeMap<String, Governed> {
    let rows = read(
        "SELECT n.nspname::text, g.account_column::text, g.roles::text[], g.redact::text[], g.audit \
         FROM tenant_guard.governed_schema AS g JOIN pg_namespace AS n ON n.nspname = g.schema",
        &[],
        |row| {
            let set = |column| {
                let list = row.get::<Vec<String>>(column)?.unwrap_or_default();
                Ok::<_, SpiError>(BTreeSet::from_iter(list))
            };
            let governed = Governed {
                account_column: row.get(2)?.unwrap_or_default(),
                roles: set(3)?,
                redact: set(4)?,
                audit: row.get(5)?.unwrap_or(true),
            };
            Ok((row.get::<String>(1)?.unwrap_or_default(), governed))
        },
    );
    rows.into_iter().collect()
}

fn roles() -> BTreeMap<String, Role> {
    let rows = read(
        "SELECT r.name, r.inherits, r.assurance, \
             EXISTS (SELECT FROM tenant_guard.log_reader AS l WHERE l.role = r.name) \
         FROM tenant_guard.product_role AS r",
        &[],
        |row| {
            let inherits = row.get::<Vec<String>>(2)?.unwrap_or_default();
            let role = Role {
                inherits: BTreeSet::from_iter(inherits),
                assurance: row.get(3)?,
                reads_log: row.get(4)?.unwrap_or(false),
            };
            Ok((row.get::<String>(1)?.unwrap_or_default(), role))
        },
    );
    rows.into_iter().collect()
}

fn permissions() -> HashMap<pg_sys::Oid, BTreeSet<Permission>> {
    let rows = read(
        "SELECT p.relation::oid, p.role, p.command, p.scope, p.owner_column::text, \
             p.assigned_column::text, p.assignment_key::text, p.assignment_subject::text, \
             p.via::text, p.columns::text[], n.nspname::text, c.relname::text \
         FROM tenant_guard.permission AS p \
         LEFT JOIN pg_class AS c ON c.oid = p.assignment \
         LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE p.assignment IS NULL OR c.oid IS NOT NULL",
        &[],
        |row| {
            let text = |column| row.get::<String>(column).map(Option::unwrap_or_default);
            let scope = match text(4)?.as_str() {
                "own" => Scope::Own(text(5)?),
                "via" => Scope::Via(text(9)?),
                "assigned" => match row.get::<String>(6)? {
                    Some(column) => Scope::Assigned(column),
                    None => Scope::AssignedBy {
                        assignment: name(row, 11)?,
                        key: text(7)?,
                        subject: text(8)?,
                    },
                },
                _ => Scope::Account,
            };
            let command = text(3)?;
            let command = Command::ALL
                .into_iter()
                .find(|known| known.name() == command);
            let columns = row.get::<Vec<String>>(10)?;
            let permission = command.map(|command| Permission {
                role: text(2).unwrap_or_default(),
                command,
                scope,
                columns: columns.map(BTreeSet::from_iter),
                place: Place::default(),
            });
            let oid = row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::Oid::INVALID);
            Ok((oid, permission))
        },
    );
    let mut permissions: HashMap<_, BTreeSet<_>> = HashMap::new();
    for (oid, permission) in rows {
        permissions.entry(oid).or_default().extend(permission);
    }
    permissions
}

/// How children find their parents.
fn links() -> HashMap<pg_sys::Oid, Ownership> {
    let rows = read(
        "SELECT l.relation::oid, l.via::text, n.nspname::text, c.relname::text, \
             l.type_column::text, l.type_value \
         FROM tenant_guard.protection_link AS l \
         JOIN pg_class AS c ON c.oid = l.parent \
         JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         ORDER BY l.relation, l.position",
        &[],
        |row| {
            let oid = row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::Oid::INVALID);
            let via = row.get::<String>(2)?.unwrap_or_default();
            let when = row.get::<String>(5)?.zip(row.get::<String>(6)?);
            Ok((oid, via, name(row, 3)?, when))
        },
    );
    let mut links: HashMap<pg_sys::Oid, Ownership> = HashMap::new();
    for (oid, via, parent, when) in rows {
        let Some((type_column, value)) = when else {
            let parent = Parent::Named(parent);
            links.insert(oid, Ownership::Child { via, parent });
            continue;
        };
        let typed = links.entry(oid).or_insert_with(|| Ownership::Child {
            via,
            parent: Parent::ByType {
                type_column,
                parents: BTreeMap::new(),
            },
        });
        if let Ownership::Child {
            parent: Parent::ByType { parents, .. },
            ..
        } = typed
        {
            parents.insert(value, parent);
        }
    }
    links
}

fn assurance() -> HashMap<pg_sys::Oid, BTreeMap<String, String>> {
    let rows = read(
        "SELECT a.relation::oid, a.command, a.level FROM tenant_guard.protection_assurance AS a",
        &[],
        |row| {
            let text = |column| row.get::<String>(column).map(Option::unwrap_or_default);
            let oid = row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::Oid::INVALID);
            Ok((oid, text(2)?, text(3)?))
        },
    );
    let mut levels: HashMap<_, BTreeMap<_, _>> = HashMap::new();
    for (oid, command, level) in rows {
        levels.entry(oid).or_default().insert(command, level);
    }
    levels
}
