//! How a foreign key between relations of accounts is bound to the account.
//!
//! Where both rows carry their account, the key itself can compare it: a composite key over the
//! account and what the key was over before. Everywhere else a trigger of ours compares.

use sha2::{Digest, Sha256};

use crate::policy::{AccountType, literal};

/// First part of the name of the trigger on the relation that refers.
pub const BIND: &str = "tenant_guard_bind_";
/// First part of the name of the trigger on the relation that is referred to.
pub const BOUND: &str = "tenant_guard_bound_";

/// Longest name PostgreSQL keeps, in bytes.
const LONGEST_NAME: usize = 63;

/// What a foreign key does when the row it refers to changes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `NO ACTION`
    Nothing,
    /// `RESTRICT`
    Restrict,
    /// `CASCADE`
    Cascade,
    /// `SET NULL`
    SetNull,
    /// `SET DEFAULT`
    SetDefault,
}

impl Action {
    /// The action of this letter in `pg_constraint`.
    pub fn from_letter(letter: &str) -> Self {
        match letter {
            "r" => Self::Restrict,
            "c" => Self::Cascade,
            "n" => Self::SetNull,
            "d" => Self::SetDefault,
            _ => Self::Nothing,
        }
    }

    fn sets(self) -> bool {
        matches!(self, Self::SetNull | Self::SetDefault)
    }

    fn clause(self, event: &str) -> String {
        let action = match self {
            Self::Nothing => return String::new(),
            Self::Restrict => "RESTRICT",
            Self::Cascade => "CASCADE",
            Self::SetNull => "SET NULL",
            Self::SetDefault => "SET DEFAULT",
        };
        format!(" ON {event} {action}")
    }
}

/// One side of a foreign key.
#[derive(Clone, Debug)]
pub struct Side {
    /// Schema-qualified and quoted name of the relation.
    pub relation: String,
    /// Quoted names of the key's columns, in its order.
    pub columns: Vec<String>,
    /// The account column, where rows have one of their own.
    pub account: Option<Account>,
}

/// The account column of one side.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its quoted name.
    pub column: String,
    /// Its type.
    pub kind: AccountType,
    /// Whether the catalog lets no row be without an account.
    pub not_null: bool,
}

/// A foreign key between protected relations that does not pair their accounts.
#[derive(Clone, Debug)]
pub struct Key {
    /// Name of the constraint.
    pub name: String,
    /// Who refers.
    pub child: Side,
    /// Who is referred to.
    pub parent: Side,
    /// `ON UPDATE`
    pub on_update: Action,
    /// `ON DELETE`
    pub on_delete: Action,
    /// Quoted columns that `ON DELETE SET ...` sets; empty for all of the key.
    pub sets: Vec<String>,
    /// `MATCH FULL`
    pub full: bool,
    /// Whether a column of the key may be null.
    pub nullable: bool,
    /// `DEFERRABLE`
    pub deferrable: bool,
    /// `INITIALLY DEFERRED`
    pub deferred: bool,
    /// Over a period of time (from PostgreSQL 18 on).
    pub temporal: bool,
    /// Whether the key is over the account column of either side already, paired with another one.
    pub crossed: bool,
    /// Whether the rows referred to are the accounts themselves.
    pub names_accounts: bool,
    /// Whether the server can set some columns of a key only (PostgreSQL 15).
    pub sets_some: bool,
}

/// How a key is held to the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// By a composite key of this definition, which needs a unique index over the account and the
    /// key of the parent.
    Composite(String),
    /// By triggers beside the key, for this reason.
    Trigger(&'static str),
    /// Not at all: it says on purpose which account it refers to.
    Left,
}

impl Key {
    /// How this key can be held to the account.
    pub fn binding(&self) -> Binding {
        if self.names_accounts {
            return Binding::Left;
        }
        let (child, parent) = match (&self.child.account, &self.parent.account) {
            (Some(child), Some(parent)) => (child, parent),
            _ => return Binding::Trigger("a side has no account column"),
        };
        if !child.not_null || !parent.not_null {
            return Binding::Trigger("rows without an account are referred to, or refer");
        }
        if !comparable(child.kind, parent.kind) {
            return Binding::Trigger("the account columns are of types that no key compares");
        }
        if self.crossed {
            return Binding::Trigger("an account column is paired with another column");
        }
        if self.temporal {
            return Binding::Trigger("the key is over a period");
        }
        if self.full && self.nullable && self.child.columns.len() > 1 {
            return Binding::Trigger("MATCH FULL takes no null beside an account");
        }
        if self.on_update.sets() {
            return Binding::Trigger("ON UPDATE would set the account too");
        }
        if self.on_delete.sets() && !self.sets_some {
            return Binding::Trigger("ON DELETE would set the account too");
        }
        Binding::Composite(self.composite(child, parent))
    }

    fn composite(&self, child: &Account, parent: &Account) -> String {
        let mut definition = format!(
            "FOREIGN KEY ({}, {}) REFERENCES {} ({}, {})",
            child.column,
            self.child.columns.join(", "),
            self.parent.relation,
            parent.column,
            self.parent.columns.join(", "),
        );
        // Over one column both kinds of match are the same; over it and the account they are not.
        if self.full && !self.nullable {
            definition += " MATCH FULL";
        }
        definition += &self.on_update.clause("UPDATE");
        definition += &self.on_delete.clause("DELETE");
        if self.on_delete.sets() {
            let sets = match self.sets.as_slice() {
                [] => &self.child.columns,
                sets => sets,
            };
            definition += &format!(" ({})", sets.join(", "));
        }
        definition + self.deferral()
    }

    fn deferral(&self) -> &'static str {
        match (self.deferrable, self.deferred) {
            (_, true) => " DEFERRABLE INITIALLY DEFERRED",
            (true, false) => " DEFERRABLE",
            (false, false) => "",
        }
    }

    /// The call that puts the composite key in the place of this one.
    pub fn replacement(&self, definition: &str) -> String {
        format!(
            "SELECT tenant_guard.replace_foreign_key({}, {}, {})",
            literal(&self.child.relation),
            literal(&self.name),
            literal(definition),
        )
    }

    /// The unique constraint the composite key needs.
    pub fn unique(&self) -> Option<String> {
        let account = &self.parent.account.as_ref()?.column;
        Some(format!(
            "ALTER TABLE {} ADD UNIQUE ({account}, {})",
            self.parent.relation,
            self.parent.columns.join(", ")
        ))
    }

    /// The triggers that hold this key: relation, name and definition of each.
    pub fn triggers(&self) -> [(&str, String, String); 2] {
        let trigger = |relation: &str, name: &str, events: &str, function: &str| {
            format!(
                "CREATE CONSTRAINT TRIGGER {name} AFTER {events} ON {relation}{} FOR EACH ROW \
                 EXECUTE FUNCTION tenant_guard.{function}({})",
                self.deferral(),
                literal(&self.name),
            )
        };
        let (bind, bound) = (
            trigger_name(BIND, &self.name),
            trigger_name(BOUND, &self.name),
        );
        let (child, parent) = (&self.child.relation, &self.parent.relation);
        let binds = trigger(child, &bind, "INSERT OR UPDATE", "check_binding");
        let holds = trigger(parent, &bound, "UPDATE", "check_bound");
        [(child, bind, binds), (parent, bound, holds)]
    }
}

/// Whether a foreign key can be over columns of both types.
fn comparable(one: AccountType, other: AccountType) -> bool {
    use AccountType::{Text, Varchar};
    one == other || matches!((one, other), (Text, Varchar) | (Varchar, Text))
}

/// The name of a trigger for the key of this name, always one that needs no quotes.
pub fn trigger_name(first: &str, key: &str) -> String {
    let plain = key
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if plain && first.len() + key.len() <= LONGEST_NAME {
        return format!("{first}{key}");
    }
    // A hash has no letter beyond f, and a key of that form and length is hashed as well.
    format!("{first}{}", &hex::encode(Sha256::digest(key))[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(relation: &str, column: &str) -> Side {
        Side {
            relation: relation.into(),
            columns: vec![column.into()],
            account: Some(Account {
                column: "account_id".into(),
                kind: AccountType::Uuid,
                not_null: true,
            }),
        }
    }

    fn key() -> Key {
        Key {
            name: "k".into(),
            child: side("s.child", "parent_id"),
            parent: side("s.parent", "id"),
            on_update: Action::Nothing,
            on_delete: Action::Nothing,
            sets: Vec::new(),
            full: false,
            nullable: true,
            deferrable: false,
            deferred: false,
            temporal: false,
            crossed: false,
            names_accounts: false,
            sets_some: true,
        }
    }

    fn composite(key: &Key) -> String {
        match key.binding() {
            Binding::Composite(definition) => definition,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn composite_key_leads_with_the_account() {
        assert_eq!(
            composite(&key()),
            "FOREIGN KEY (account_id, parent_id) REFERENCES s.parent (account_id, id)"
        );
        assert_eq!(
            key().unique().as_deref(),
            Some("ALTER TABLE s.parent ADD UNIQUE (account_id, id)")
        );
    }

    #[test]
    fn what_the_key_did_it_still_does_and_the_account_is_never_set() {
        let mut all = Key {
            on_update: Action::Cascade,
            on_delete: Action::SetNull,
            deferrable: true,
            deferred: true,
            ..key()
        };
        assert!(composite(&all).ends_with(
            " ON UPDATE CASCADE ON DELETE SET NULL (parent_id) DEFERRABLE INITIALLY DEFERRED"
        ));
        all.sets = vec!["part".into()];
        all.deferred = false;
        assert!(composite(&all).ends_with(" ON DELETE SET NULL (part) DEFERRABLE"));
        all.sets_some = false;
        assert!(matches!(all.binding(), Binding::Trigger(_)));
        for action in [Action::SetNull, Action::SetDefault] {
            let key = Key {
                on_update: action,
                ..key()
            };
            assert!(matches!(key.binding(), Binding::Trigger(_)));
        }
    }

    #[test]
    fn full_match_beside_an_account_that_is_never_null() {
        let full = Key {
            full: true,
            ..key()
        };
        assert!(!composite(&full).contains("MATCH FULL"));
        let mut wide = full.clone();
        wide.child.columns.push("b".into());
        wide.parent.columns.push("b".into());
        assert!(matches!(wide.binding(), Binding::Trigger(_)));
        wide.nullable = false;
        assert!(composite(&wide).ends_with(" MATCH FULL"));
    }

    #[test]
    fn keys_that_cannot_pair_the_accounts_get_triggers() {
        let mut none = key();
        none.child.account = None;
        let mut defaults = key();
        defaults.parent.account.as_mut().unwrap().not_null = false;
        let mut mixed = key();
        mixed.child.account.as_mut().unwrap().kind = AccountType::Integer;
        mixed.parent.account.as_mut().unwrap().kind = AccountType::Text;
        let crossed = Key {
            crossed: true,
            ..key()
        };
        for key in [none, defaults, mixed, crossed] {
            assert!(matches!(key.binding(), Binding::Trigger(_)));
        }
        let named = Key {
            names_accounts: true,
            ..key()
        };
        assert_eq!(named.binding(), Binding::Left);
    }

    #[test]
    fn text_and_varchar_accounts_compare() {
        let mut key = key();
        key.child.account.as_mut().unwrap().kind = AccountType::Varchar;
        key.parent.account.as_mut().unwrap().kind = AccountType::Text;
        assert!(matches!(key.binding(), Binding::Composite(_)));
    }

    #[test]
    fn trigger_is_deferred_like_the_key_and_hostile_names_stay_in_their_quotes() {
        let odd = Key {
            name: "o'clock; DROP".into(),
            deferrable: true,
            ..key()
        };
        let [(child, name, bind), (parent, ..)] = odd.triggers();
        assert_eq!((child, parent), ("s.child", "s.parent"));
        assert!(name.starts_with(BIND) && name.len() <= LONGEST_NAME);
        assert_eq!(
            bind,
            format!(
                "CREATE CONSTRAINT TRIGGER {name} AFTER INSERT OR UPDATE ON s.child DEFERRABLE \
                 FOR EACH ROW EXECUTE FUNCTION tenant_guard.check_binding('o''clock; DROP')"
            )
        );
        let long = trigger_name(BOUND, &"x".repeat(63));
        assert!(long.len() <= LONGEST_NAME);
        assert_ne!(long, trigger_name(BOUND, &"x".repeat(62)));
    }
}
