//! What shows rows of a relation beside itself: views and functions.

use pgrx::prelude::*;

use super::authors::{Leave, authors, code_of, has_rights};
use super::reach::allowed_columns;
use crate::catalog::{relation_owner, role_name};
use crate::isolation::registry::read;
use crate::versions;

/// A view or a function.
pub(super) struct Shower {
    /// As it is named in the answer.
    pub(super) attempt: String,
    pub(super) oid: pg_sys::Oid,
    kind: Kind,
    /// Qualified and quoted.
    name: String,
    /// Why it can be tried by nobody.
    untried: Option<String>,
}

enum Kind {
    View {
        /// Everybody but superusers whose code runs when it is read.
        authors: Vec<pg_sys::Oid>,
    },
    Function {
        owner: pg_sys::Oid,
        is_superusers: bool,
        /// Whether all of it runs with its owner's rights.
        is_definers: bool,
        is_volatile: bool,
    },
}

/// Views over the relations and functions that read them, through any number of others: those whose body
/// depends on one, or whose text names one.
pub(super) fn showers(tree: &[pg_sys::Oid]) -> Vec<Shower> {
    read(
        include_str!("showers.sql"),
        &[tree.to_vec().into()],
        |row| {
            let oid = row.get(1)?.unwrap_or(pg_sys::Oid::INVALID);
            let flag = |n| row.get::<bool>(n).map(|flag| flag.unwrap_or(false));
            let kind = match flag(2)? {
                true => Kind::Function {
                    owner: row.get(6)?.unwrap_or(pg_sys::Oid::INVALID),
                    is_superusers: flag(7)?,
                    is_definers: flag(8)?,
                    is_volatile: flag(9)?,
                },
                false => Kind::View {
                    authors: Vec::new(),
                },
            };
            Ok(Shower {
                oid,
                kind,
                attempt: row.get(3)?.unwrap_or_default(),
                name: row.get(4)?.unwrap_or_default(),
                untried: row.get(5)?,
            })
        },
    )
    .into_iter()
    .map(Shower::with_authors)
    .collect()
}

impl Shower {
    fn with_authors(mut self) -> Self {
        if let Kind::View { authors: found } = &mut self.kind {
            *found = authors(&[self.oid], false);
        }
        self
    }

    pub(super) fn is_function(&self) -> bool {
        matches!(self.kind, Kind::Function { .. })
    }

    /// Whether what is named so is this, or code that it runs.
    pub(super) fn is_named(&self, name: &str) -> bool {
        match &self.kind {
            Kind::View { authors } => authors.iter().any(|author| code_of(*author) == name),
            Kind::Function { .. } => self.attempt == name,
        }
    }

    /// Whether a role may read or call it at all.
    pub(super) fn is_open_to(&self, role: pg_sys::Oid) -> bool {
        match self.kind {
            // SAFETY: a catalog look-up by oid.
            Kind::Function { .. } => unsafe { versions::may_execute(self.oid, role) },
            Kind::View { .. } => !allowed_columns(role, self.oid, "SELECT").is_empty(),
        }
    }

    /// What FROM reads in the name of a role; in words, why nothing does.
    pub(super) fn source(
        &self,
        role: pg_sys::Oid,
        relation: pg_sys::Oid,
        leave: &Leave,
    ) -> Result<String, String> {
        if let Some(untried) = &self.untried {
            return Err(untried.clone());
        }
        match &self.kind {
            Kind::View { authors } => {
                if let Some(refusal) = leave.refusal(authors, role, false) {
                    return Err(refusal);
                }
                let columns = allowed_columns(role, self.oid, "SELECT");
                Ok(format!(
                    "(SELECT {} FROM {}) AS tenant_guard_x",
                    columns.join(", "),
                    self.name
                ))
            }
            Kind::Function {
                owner,
                is_superusers,
                is_definers,
                is_volatile,
            } => {
                let is_known = *is_superusers
                    || relation_owner(relation) == Some(*owner)
                    || has_rights(leave.caller, *owner);
                let is_named = leave.trusts(&self.attempt);
                if !is_known && !is_named {
                    let owner = role_name(*owner);
                    return Err(format!("it is of {owner}, whose rights you do not have"));
                }
                if *is_volatile && !is_named {
                    return Err("it is volatile, and trust does not name it".into());
                }
                let runs_as_role = !is_superusers && !is_definers;
                if runs_as_role && let Some(refusal) = leave.refusal(&[*owner], role, is_named) {
                    return Err(refusal);
                }
                let name = &self.name;
                Ok(format!("(SELECT {name}() AS tenant_guard_x) AS s"))
            }
        }
    }

    /// Qualified and quoted.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Why code of a view does not run in the name of a role; none where it may.
    pub(super) fn refusal(&self, role: pg_sys::Oid, leave: &Leave) -> Option<String> {
        match &self.kind {
            Kind::View { authors } => leave.refusal(authors, role, false),
            Kind::Function { .. } => None,
        }
    }

    /// How a role may write through a view; none for a view through which it may write nothing.
    pub(super) fn writing(&self, role: pg_sys::Oid) -> Option<Writing> {
        let found = read(
            // Bits of the commands: 4 UPDATE, 8 INSERT, 16 DELETE.
            "SELECT pg_relation_is_updatable($1, false) & 28 <> 0, \
                 pg_relation_is_updatable($1, true) & 28 <> 0 OR EXISTS ( \
                     SELECT FROM pg_rewrite AS w WHERE w.ev_class = $1 AND w.ev_type <> '1') \
             FROM pg_class AS c WHERE c.oid = $1 AND c.relkind = 'v' \
                 AND has_schema_privilege($2, c.relnamespace, 'USAGE') \
                 AND (has_any_column_privilege($2, $1, 'INSERT, UPDATE') \
                     OR has_table_privilege($2, $1, 'DELETE'))",
            &[self.oid.into(), role.into()],
            |row| Ok((row.get::<bool>(1)?, row.get::<bool>(2)?)),
        );
        let (by_itself, by_others) = found.into_iter().next()?;
        match (by_itself, by_others) {
            (Some(true), _) => Some(Writing { untried: None }),
            (_, Some(true)) => Some(Writing {
                untried: Some("a trigger or rule of the view decides what is written".into()),
            }),
            _ => None,
        }
    }

    /// The columns of a relation and what a view calls them, all quoted; by their names where it reads
    /// the relation through another view.
    pub(super) fn columns_of(&self, relation: pg_sys::Oid) -> Vec<(String, String)> {
        read(
            r"WITH mapped AS (
                 SELECT m.found[1]::int2 AS place, m.found[2]::int2 AS origin
                 FROM pg_rewrite AS w, regexp_matches(w.ev_action::text, ':resno (\d+) :resname \S+ '
                     ':ressortgroupref \d+ :resorigtbl ' || $2::oid || ' :resorigcol (\d+)', 'g')
                     AS m (found)
                 WHERE w.ev_class = $1 AND w.ev_type = '1')
             SELECT quote_ident(b.attname), quote_ident(v.attname)
             FROM pg_attribute AS v JOIN pg_attribute AS b ON b.attrelid = $2 AND b.attnum > 0
                 AND NOT b.attisdropped AND CASE WHEN EXISTS (SELECT FROM mapped)
                     THEN EXISTS (SELECT FROM mapped AS m
                         WHERE m.place = v.attnum AND m.origin = b.attnum)
                     ELSE b.attname = v.attname END
             WHERE v.attrelid = $1 AND v.attnum > 0",
            &[self.oid.into(), relation.into()],
            |row| {
                let text = |n| row.get::<String>(n).map(Option::unwrap_or_default);
                Ok((text(1)?, text(2)?))
            },
        )
    }
}

/// What is known of writing through a view.
pub(super) struct Writing {
    /// Why it is not tried; none where it is.
    pub(super) untried: Option<String>,
}
