//! Foreign keys between protected relations, as the catalog has them.

use pgrx::prelude::*;
use tenant_guard_core::policy::AccountType;
use tenant_guard_core::reference::{Account, Action, Key, Side};

use super::examine::Reference;
use crate::isolation::{lookup, registry};

const KEYS: &str = include_str!("keys.sql");

/// A foreign key with what examining its rows takes.
pub(super) struct ForeignKey {
    pub(super) child: pg_sys::Oid,
    pub(super) child_root: pg_sys::Oid,
    pub(super) reference: Reference,
    pub(super) key: Key,
    /// Whether a unique index over the parent's account and key is there.
    pub(super) has_unique: bool,
    /// Whether the key pairs the accounts itself.
    pub(super) paired: bool,
    /// Whether rows of the relation find their account by this key.
    pub(super) is_link: bool,
    /// Whether PostgreSQL takes it for true of all rows.
    pub(super) valid: bool,
}

/// The foreign keys of protected relations in these schemas, all for none, to protected relations.
pub(super) fn of(schemas: Option<&[String]>, paired_too: bool) -> Vec<ForeignKey> {
    let schemas = schemas.map(<[String]>::to_vec);
    let found = registry::read(KEYS, &[schemas.into(), paired_too.into()], |row| {
        let oid = |n| {
            row.get::<pg_sys::Oid>(n)
                .map(|oid| oid.unwrap_or(pg_sys::Oid::INVALID))
        };
        let text = |n| row.get::<String>(n).map(Option::unwrap_or_default);
        let texts = |n| row.get::<Vec<String>>(n).map(Option::unwrap_or_default);
        let flag = |n| row.get::<bool>(n).map(|flag| flag.unwrap_or(false));
        let account = |column: usize| {
            let (name, kind) = (row.get::<String>(column)?, text(column + 1)?);
            let not_null = flag(column + 2)?;
            Ok::<_, pgrx::spi::SpiError>(name.zip(AccountType::from_sql(&kind)).map(
                |(name, kind)| Account {
                    column: name,
                    kind,
                    not_null,
                },
            ))
        };
        let reference = Reference {
            columns: texts(9)?,
            parent: oid(5)?,
            parent_root: oid(6)?,
            parent_columns: texts(10)?,
            when: None,
        };
        let side = |relation, columns: &[String], account| Side {
            relation,
            columns: columns.to_vec(),
            account,
        };
        let key = Key {
            name: text(2)?,
            child: side(text(7)?, &reference.columns, account(11)?),
            parent: side(text(8)?, &reference.parent_columns, account(14)?),
            on_update: Action::from_letter(&text(17)?),
            on_delete: Action::from_letter(&text(18)?),
            sets: texts(19)?,
            full: flag(20)?,
            nullable: flag(21)?,
            deferrable: flag(22)?,
            deferred: flag(23)?,
            temporal: flag(24)?,
            crossed: flag(25)?,
            names_accounts: flag(26)?,
            sets_some: flag(28)?,
        };
        Ok(ForeignKey {
            child: oid(3)?,
            child_root: oid(4)?,
            reference,
            key,
            has_unique: flag(27)?,
            paired: flag(29)?,
            is_link: flag(30)?,
            valid: flag(31)?,
        })
    });
    found.into_iter().map(quote).collect()
}

/// Quotes what goes into statements.
fn quote(mut found: ForeignKey) -> ForeignKey {
    for side in [&mut found.key.child, &mut found.key.parent] {
        side.columns = lookup::quoted(&side.columns);
        if let Some(account) = &mut side.account {
            account.column = lookup::quoted(std::slice::from_ref(&account.column)).concat();
        }
    }
    found.key.sets = lookup::quoted(&found.key.sets);
    found
}
