//! How the rows of registered relations find their account.

use std::collections::HashMap;

use pgrx::prelude::*;
use pgrx::spi::{SpiError, SpiHeapTupleData};
use tenant_guard_core::archetype::{Archetype, Link, Ownership};
use tenant_guard_core::policy::{AccountColumn, AccountType};

use super::registry::{read, read_often};

/// What is registered of one relation.
struct Registered {
    name: String,
    /// A table whose children may hold keys that its own rows have too: no key is over them all.
    alone: bool,
    archetype: Archetype,
    /// Name, quoted name and type of the account column.
    column: Option<(String, String, String)>,
    links: Vec<RegisteredLink>,
}

struct RegisteredLink {
    via: String,
    parent: pg_sys::Oid,
    key: String,
    when: Option<(String, String)>,
}

/// What is registered of relations and of all they reach through their parents. A link over a column
/// that is gone leads nowhere.
pub(super) struct Ownerships(HashMap<pg_sys::Oid, Registered>);

/// What is registered of the relations for which the condition holds, and of all they reach.
macro_rules! registered {
    ($condition:literal) => {
        concat!("WITH RECURSIVE reached AS ( \
                SELECT p.relation FROM tenant_guard.protection AS p ", $condition, " \
                UNION \
                SELECT l.parent FROM reached AS r \
                JOIN tenant_guard.protection_link AS l ON l.relation = r.relation \
            ) \
            SELECT c.oid, format('%I.%I', n.nspname, c.relname), p.archetype, p.account_column::text, \
                quote_ident(p.account_column), format_type(a.atttypid, NULL), \
                l.via, l.parent, l.key, l.type_column, l.type_value, c.relkind <> 'p' \
            FROM reached AS r \
            JOIN tenant_guard.protection AS p ON p.relation = r.relation \
            JOIN pg_class AS c ON c.oid = p.relation \
            JOIN pg_namespace AS n ON n.oid = c.relnamespace \
            LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = p.account_column \
                AND a.attnum > 0 AND NOT a.attisdropped \
            CROSS JOIN LATERAL ( \
                SELECT array_agg(quote_ident(l.via) ORDER BY l.position) AS via, \
                    array_agg(l.parent::oid ORDER BY l.position) AS parent, \
                    array_agg(quote_ident(l.parent_key) ORDER BY l.position) AS key, \
                    array_agg(quote_ident(l.type_column) ORDER BY l.position) AS type_column, \
                    array_agg(l.type_value ORDER BY l.position) AS type_value \
                FROM tenant_guard.protection_link AS l \
                JOIN pg_attribute AS v ON v.attrelid = l.relation AND v.attname = l.via \
                    AND v.attnum > 0 AND NOT v.attisdropped \
                JOIN pg_attribute AS k ON k.attrelid = l.parent AND k.attname = l.parent_key \
                    AND k.attnum > 0 AND NOT k.attisdropped \
                LEFT JOIN pg_attribute AS t ON t.attrelid = l.relation AND t.attname = l.type_column \
                    AND t.attnum > 0 AND NOT t.attisdropped \
                WHERE l.relation = p.relation AND (l.type_column IS NULL OR t.attnum IS NOT NULL) \
            ) AS l")
            };
}

impl Ownerships {
    /// Of these relations, as far as they are registered.
    pub(super) fn of(relations: Vec<pg_sys::Oid>) -> Self {
        if relations.is_empty() {
            return Self(HashMap::new());
        }
        let query = registered!("WHERE p.relation = ANY ($1::oid[])");
        Self(
            read_often(query, &[relations.into()], registered)
                .into_iter()
                .collect(),
        )
    }

    /// Of everything registered.
    pub(super) fn all() -> Self {
        Self(read(registered!(""), &[], registered).into_iter().collect())
    }

    /// Schema-qualified and quoted name of a registered relation.
    pub(super) fn name(&self, relation: pg_sys::Oid) -> &str {
        self.0
            .get(&relation)
            .map_or("", |registered| &registered.name)
    }

    /// What FROM reads the parent's rows by: only those that its key is unique among, as foreign keys
    /// do.
    pub(super) fn source(&self, parent: pg_sys::Oid) -> Option<String> {
        let registered = self.0.get(&parent)?;
        let only = if registered.alone { "ONLY " } else { "" };
        Some(format!("{only}{}", registered.name))
    }

    /// Whether the rows of `relation` find their account through those of `other`, or are those.
    pub(super) fn leads_to(&self, relation: pg_sys::Oid, other: pg_sys::Oid) -> bool {
        relation == other
            || self.0.get(&relation).is_some_and(|registered| {
                let mut links = registered.links.iter();
                links.any(|link| self.leads_to(link.parent, other))
            })
    }

    /// How rows of a registered relation find their account; nobody's where its account column is
    /// gone or of a type that holds none.
    pub(super) fn get(&self, relation: pg_sys::Oid) -> Option<Ownership> {
        let registered = self.0.get(&relation)?;
        Some(match registered.archetype {
            Archetype::Reference => Ownership::Everybody,
            Archetype::DenyAll => Ownership::Nobody,
            Archetype::Child => {
                let links = registered.links.iter();
                Ownership::Parents(links.filter_map(|link| self.link(link)).collect())
            }
            archetype => match account_column(registered) {
                Some(column) => Ownership::Column(archetype, column),
                None => Ownership::Nobody,
            },
        })
    }

    fn link(&self, link: &RegisteredLink) -> Option<Link> {
        Some(Link {
            via: link.via.clone(),
            when: link.when.clone(),
            parent: self.source(link.parent)?,
            key: link.key.clone(),
            owner: Box::new(self.get(link.parent)?),
        })
    }
}

fn registered(row: &SpiHeapTupleData<'_>) -> Result<(pg_sys::Oid, Registered), SpiError> {
    let text = |n| row.get::<String>(n).map(Option::unwrap_or_default);
    let texts = |n| {
        row.get::<Vec<Option<String>>>(n)
            .map(Option::unwrap_or_default)
    };
    let column = match row.get::<String>(4)? {
        Some(name) => Some((name, text(5)?, text(6)?)),
        None => None,
    };
    let parents = row.get::<Vec<pg_sys::Oid>>(8)?.unwrap_or_default();
    let types = texts(10)?.into_iter().zip(texts(11)?);
    let links = texts(7)?.into_iter().zip(parents).zip(texts(9)?).zip(types);
    let links = links
        .map(|(((via, parent), key), (column, value))| RegisteredLink {
            via: via.unwrap_or_default(),
            parent,
            key: key.unwrap_or_default(),
            when: column.zip(value),
        })
        .collect();
    let registered = Registered {
        name: text(2)?,
        alone: row.get::<bool>(12)?.unwrap_or(true),
        // A name that is none of ours cannot be written there; closed if it were.
        archetype: Archetype::from_name(&text(3)?).unwrap_or(Archetype::DenyAll),
        column,
        links,
    };
    Ok((
        row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::Oid::INVALID),
        registered,
    ))
}

fn account_column(registered: &Registered) -> Option<AccountColumn> {
    let (name, quoted, kind) = registered.column.as_ref()?;
    Some(AccountColumn {
        name: name.clone(),
        quoted: quoted.clone(),
        kind: AccountType::from_sql(kind)?,
    })
}
