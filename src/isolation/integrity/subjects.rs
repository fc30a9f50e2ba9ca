//! What `check_data` looks for in which relations, and how it says what it found.

use pgrx::prelude::*;
use tenant_guard_core::bucket::Template;
use tenant_guard_core::reference::Binding;

use super::examine::{Found, Outcome, Reference, Subject};
use super::keys;
use super::values::{Form, column_number};
use crate::isolation::registry;

const INFERRED: &str = include_str!("inferred.sql");

/// Something wrong with rows.
pub(super) struct Finding {
    pub(super) severity: &'static str,
    pub(super) code: &'static str,
    pub(super) object: String,
    pub(super) detail: String,
    pub(super) count: u64,
    pub(super) sample: Vec<String>,
}

impl Finding {
    pub(super) fn of(
        severity: &'static str,
        code: &'static str,
        object: &str,
        detail: String,
        found: Found,
    ) -> Option<Self> {
        (found.count > 0).then(|| Self {
            severity,
            code,
            object: object.to_owned(),
            detail,
            count: found.count,
            sample: found.sample,
        })
    }
}

/// Where a reference comes from.
enum Origin {
    /// A foreign key: its name, whether it is marked valid, whether it says which account it means.
    Declared(String, bool, bool),
    /// A column by which rows find their account, without a foreign key.
    Link,
    /// A column that is named after a relation.
    Inferred,
}

/// A relation and what is looked for in it.
pub(super) struct Examined {
    pub(super) subject: Subject,
    /// Schema-qualified and quoted.
    pub(super) name: String,
    requires_account: bool,
    origins: Vec<(Origin, String)>,
    templates: Vec<String>,
}

/// The relations of these schemas, all for none, whose rows belong to accounts.
pub(super) fn of(schemas: Option<&[String]>) -> Vec<Examined> {
    let wanted = schemas.map(<[String]>::to_vec);
    let mut all = registry::read(
        "SELECT m.relation::oid, m.root::oid, m.name, m.archetype IN ('account', 'public_read') \
         FROM tenant_guard.protected_member AS m \
         JOIN pg_class AS c ON c.oid = m.relation AND c.relkind IN ('r', 'p') \
             AND NOT (c.relispartition AND EXISTS ( \
                 SELECT FROM pg_inherits AS i \
                 JOIN tenant_guard.protection_member AS a ON a.relation = i.inhparent \
                 WHERE i.inhrelid = m.relation)) \
         WHERE m.archetype NOT IN ('reference', 'deny_all') \
             AND ($1 IS NULL OR m.schema = ANY ($1)) \
         ORDER BY m.name",
        &[wanted.into()],
        |row| {
            let oid = |n| row.get(n).map(|oid| oid.unwrap_or(pg_sys::Oid::INVALID));
            Ok(Examined::new(
                oid(1)?,
                oid(2)?,
                row.get(3)?.unwrap_or_default(),
                row.get(4)?.unwrap_or(false),
            ))
        },
    );
    add_declared(&mut all, schemas);
    add_links(&mut all);
    add_inferred(&mut all, schemas);
    add_paths(&mut all);
    all
}

fn find(all: &mut [Examined], relation: pg_sys::Oid) -> Option<&mut Examined> {
    all.iter_mut().find(|one| one.subject.relation == relation)
}

fn add_declared(all: &mut Vec<Examined>, schemas: Option<&[String]>) {
    for key in keys::of(schemas, true) {
        if find(all, key.child).is_none() {
            // A partition with a key of its own.
            let name = key.key.child.relation.clone();
            let mut partition = Examined::new(key.child, key.child_root, name, false);
            partition.subject.accounts = false;
            all.push(partition);
        }
        let Some(one) = find(all, key.child) else {
            continue;
        };
        let means = !key.paired && key.key.binding() == Binding::Left;
        let origin = Origin::Declared(key.key.name.clone(), key.valid, means);
        one.add(origin, key.key.parent.relation.clone(), key.reference);
    }
}

fn add_links(all: &mut [Examined]) {
    let links = registry::read(
        "SELECT m.relation::oid, l.via::text, l.parent::oid, l.parent_key::text, \
             l.type_column::text, l.type_value, l.parent::text \
         FROM tenant_guard.protection_link AS l \
         JOIN tenant_guard.protection_member AS m ON m.root = l.relation \
         JOIN pg_class AS p ON p.oid = l.parent \
         JOIN pg_attribute AS a ON a.attrelid = m.relation AND a.attname = l.via \
         WHERE NOT EXISTS (SELECT FROM pg_constraint AS f \
             WHERE f.contype = 'f' AND f.conrelid = m.relation AND f.confrelid = l.parent \
                 AND a.attnum = ANY (f.conkey) \
                 AND to_jsonb(f) ->> 'conenforced' IS DISTINCT FROM 'false') \
         ORDER BY m.relation, l.position",
        &[],
        |row| {
            let oid = |n| row.get(n).map(|oid| oid.unwrap_or(pg_sys::Oid::INVALID));
            let text = |n| row.get::<String>(n).map(Option::unwrap_or_default);
            let reference = Reference {
                columns: vec![text(2)?],
                parent: oid(3)?,
                parent_root: oid(3)?,
                parent_columns: vec![text(4)?],
                when: row.get::<String>(5)?.zip(row.get(6)?),
            };
            Ok((oid(1)?, text(7)?, reference))
        },
    );
    for (relation, parent, reference) in links {
        if let Some(one) = find(all, relation) {
            one.add(Origin::Link, parent, reference);
        }
    }
}

fn add_inferred(all: &mut [Examined], schemas: Option<&[String]>) {
    let wanted = schemas.map(<[String]>::to_vec);
    let inferred = registry::read(INFERRED, &[wanted.into()], |row| {
        let oid = |n| row.get(n).map(|oid| oid.unwrap_or(pg_sys::Oid::INVALID));
        let text = |n| row.get::<String>(n).map(Option::unwrap_or_default);
        let reference = Reference {
            columns: vec![text(3)?],
            parent: oid(4)?,
            parent_root: oid(5)?,
            parent_columns: vec![text(6)?],
            when: None,
        };
        Ok((oid(1)?, reference))
    });
    for (relation, reference) in inferred {
        if let Some(one) = find(all, relation) {
            let parent = crate::audit::text::qualified_name(reference.parent);
            one.add(Origin::Inferred, parent, reference);
        }
    }
}

fn add_paths(all: &mut [Examined]) {
    let rules = registry::read(
        "SELECT r.relation::oid, r.column_name::text, r.template FROM tenant_guard.path_rule AS r \
         ORDER BY r.relation, r.column_name",
        &[],
        |row| {
            let text = |n| row.get::<String>(n).map(Option::unwrap_or_default);
            let relation = row.get(1)?.unwrap_or(pg_sys::Oid::INVALID);
            Ok((relation, text(2)?, text(3)?))
        },
    );
    for (relation, column, template) in rules {
        for one in all.iter_mut().filter(|one| one.subject.root == relation) {
            let number = column_number(one.subject.relation, &column);
            let form = number.and_then(|number| Form::of(one.subject.relation, number));
            // A column that became one of another type holds no paths.
            if let (Some(Form::Text), Ok(fits)) = (form, Template::parse(&template)) {
                one.templates.push(template.clone());
                one.subject.paths.push((column.clone(), fits));
            }
        }
    }
}

impl Examined {
    fn new(relation: pg_sys::Oid, root: pg_sys::Oid, name: String, requires_account: bool) -> Self {
        Self {
            subject: Subject {
                relation,
                root,
                references: Vec::new(),
                accounts: true,
                paths: Vec::new(),
            },
            name,
            requires_account,
            origins: Vec::new(),
            templates: Vec::new(),
        }
    }

    fn add(&mut self, origin: Origin, parent: String, reference: Reference) {
        self.subject.references.push(reference);
        self.origins.push((origin, parent));
    }

    /// What was found, most of it about what the rows themselves say first.
    pub(super) fn findings(&self, outcome: Outcome) -> Vec<Finding> {
        let name = self.name.as_str();
        let mut all = Vec::new();
        if self.requires_account {
            let detail = "rows without an account".to_owned();
            let found = outcome.without_account;
            all.extend(Finding::of("error", "account-missing", name, detail, found));
        }
        let detail = "rows of accounts that the declared relation of accounts does not have";
        let found = outcome.unknown_account;
        all.extend(Finding::of(
            "error",
            "account-unknown",
            name,
            detail.to_owned(),
            found,
        ));
        let about = self.origins.iter().zip(&self.subject.references);
        for (((origin, parent), reference), found) in about.zip(outcome.references) {
            let columns = reference.columns.join(", ");
            let what = match origin {
                Origin::Declared(key, valid, _) => format!(
                    "by foreign key \"{key}\" ({columns}), marked {}valid",
                    if *valid { "" } else { "not " }
                ),
                Origin::Link => {
                    format!("by column {columns}, through which they find their account")
                }
                Origin::Inferred => {
                    format!("by column {columns}, inferred from its name and type")
                }
            };
            let Some(found) = found else {
                all.push(Finding {
                    severity: "info",
                    code: "reference-not-compared",
                    object: name.to_owned(),
                    detail: format!(
                        "values of a type that is not compared lead to {parent} {what}"
                    ),
                    count: 0,
                    sample: Vec::new(),
                });
                continue;
            };
            let inferred = matches!(origin, Origin::Inferred);
            if !matches!(origin, Origin::Declared(.., true)) {
                let severity = if inferred { "warning" } else { "error" };
                let detail = format!("rows refer to rows of {parent} of another account {what}");
                let code = "reference-foreign-account";
                all.extend(Finding::of(severity, code, name, detail, found.foreign));
            }
            if !inferred {
                let severity = if matches!(origin, Origin::Declared(..)) {
                    "error"
                } else {
                    "warning"
                };
                let detail = format!("rows refer to no row of {parent} {what}");
                let code = "reference-dangling";
                all.extend(Finding::of(severity, code, name, detail, found.dangling));
            }
        }
        let paths = self.subject.paths.iter().zip(&self.templates);
        for (((column, _), template), found) in paths.zip(outcome.paths) {
            let detail = format!("paths in column {column} are not the account's: {template}");
            all.extend(Finding::of(
                "error",
                "path-foreign-account",
                name,
                detail,
                found,
            ));
        }
        all
    }
}
