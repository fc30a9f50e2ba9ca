//! What protect() is asked for, its arguments made sense of.

use std::ffi::CStr;

use pgrx::prelude::*;
use tenant_guard_core::archetype::Archetype;
use tenant_guard_core::manifest::Ownership;
use tenant_guard_core::policy::{array, literal};

use super::lookup;
use crate::error::{Error, Obstacle};

/// The arguments of `protect` as PostgreSQL passes them.
pub(super) struct Arguments<'a> {
    pub(super) relation: Option<pg_sys::Oid>,
    pub(super) account_column: Option<&'a CStr>,
    pub(super) roles: Option<Vec<Option<pg_sys::Oid>>>,
    pub(super) redact: Option<pgrx::Array<'a, &'a CStr>>,
    pub(super) audit: Option<bool>,
    pub(super) archetype: Option<&'a str>,
    pub(super) via: Option<&'a CStr>,
    pub(super) parent: Option<pg_sys::Oid>,
    pub(super) type_column: Option<&'a CStr>,
    /// An object: type to name of the parent.
    pub(super) parents: Option<pgrx::JsonB>,
}

/// The protection asked for, without nulls.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) relation: pg_sys::Oid,
    pub(super) archetype: Archetype,
    /// The account column, of archetypes that have one.
    pub(super) column: Option<String>,
    /// Names of those let in; none for PUBLIC.
    pub(super) roles: Option<Vec<String>>,
    pub(super) redact: Vec<String>,
    pub(super) audit: bool,
    pub(super) links: Vec<Link>,
}

/// A way to a parent as it is asked for and registered.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) via: String,
    pub(super) parent: pg_sys::Oid,
    pub(super) parent_key: String,
    /// Column and the value in it of rows that follow this link; none where all do.
    pub(super) when: Option<(String, String)>,
}

impl Request {
    /// Makes sense of the arguments; parents and their keys are looked up.
    pub(super) fn new(arguments: Arguments<'_>) -> Result<Self, Error> {
        let relation = arguments.relation.ok_or(Error::NullArgument("relation"))?;
        let archetype = archetype(&arguments)?;
        let column = arguments
            .account_column
            .map(text)
            .filter(|_| archetype.has_account_column());
        if archetype.has_account_column() && column.is_none() {
            return Err(Error::NullArgument("account_column"));
        }
        Ok(Self {
            relation,
            archetype,
            column,
            roles: role_list(arguments.roles.clone())?,
            redact: redact_list(arguments.redact.as_ref())?,
            audit: arguments.audit.ok_or(Error::NullArgument("audit"))?,
            links: links(relation, &arguments)?,
        })
    }

    /// What it takes to read a relation and count its rows without an account.
    pub(super) fn for_counting(relation: pg_sys::Oid, ownership: &Ownership) -> Self {
        Self {
            relation,
            archetype: ownership.archetype(),
            column: ownership.account_column().map(str::to_owned),
            roles: None,
            redact: Vec::new(),
            audit: false,
            links: Vec::new(),
        }
    }

    /// What is asked for the tables of a schema, before any of them is named.
    pub(super) fn of_schema<'a>(
        account_column: Option<&'a CStr>,
        roles: Option<Vec<Option<pg_sys::Oid>>>,
        redact: Option<pgrx::Array<'a, &'a CStr>>,
        audit: Option<bool>,
    ) -> Result<Self, Error> {
        Self::new(Arguments {
            relation: Some(pg_sys::Oid::INVALID),
            account_column,
            roles,
            redact,
            audit,
            archetype: None,
            via: None,
            parent: None,
            type_column: None,
            parents: None,
        })
    }

    /// The account column, empty without one. For messages.
    pub(super) fn column_name(&self) -> &str {
        self.column.as_deref().unwrap_or_default()
    }

    /// The call that registers this for `relation`, as a step of a plan.
    pub(super) fn register_call(&self, relation: &str) -> String {
        let mut call = format!(
            "SELECT tenant_guard.register_protection({}, account_column => {}, roles => {}, \
             redact => {}, audit => {}",
            literal(relation),
            self.column.as_deref().map_or("NULL".into(), literal),
            match &self.roles {
                Some(roles) => literal(&array(&lookup::quoted(roles))),
                None => "NULL".into(),
            },
            literal(&array(&self.redact)),
            self.audit,
        );
        if self.archetype != Archetype::Account {
            call += &format!(", archetype => {}", literal(self.archetype.name()));
        }
        if let Some(link) = self.links.first() {
            call += &format!(", via => {}", literal(&link.via));
            match &link.when {
                None => call += &format!(", parent => {}", literal(&name_of(link.parent))),
                Some((column, _)) => {
                    let parents = serde_json::Value::Object(
                        self.links.iter().filter_map(typed_parent).collect(),
                    );
                    call += &format!(
                        ", type_column => {}, parents => {}",
                        literal(column),
                        literal(&parents.to_string())
                    );
                }
            }
        }
        call + ")"
    }

    /// What the event of a registration says.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let link = |link: &Link| {
            serde_json::json!({
                "via": link.via,
                "parent": name_of(link.parent),
                "type": link.when.as_ref().map(|(_, value)| value),
            })
        };
        serde_json::json!({
            "archetype": self.archetype.name(),
            "account_column": self.column,
            "links": self.links.iter().map(link).collect::<Vec<_>>(),
            "roles": self.roles,
            "redact": self.redact,
            "audit": self.audit,
        })
    }
}

/// A name of the catalog; every database with the extension is UTF-8.
pub(super) fn text(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

fn archetype(arguments: &Arguments<'_>) -> Result<Archetype, Error> {
    let archetype = match arguments.archetype {
        Some(name) => {
            Archetype::from_name(name).ok_or_else(|| Error::UnknownArchetype(name.to_owned()))?
        }
        None if arguments.via.is_some() => Archetype::Child,
        None => Archetype::Account,
    };
    let child = archetype == Archetype::Child;
    let beside = [
        ("via", arguments.via.is_some()),
        ("parent", arguments.parent.is_some()),
        ("type_column", arguments.type_column.is_some()),
        ("parents", arguments.parents.is_some()),
    ];
    match beside.iter().find(|(_, given)| *given && !child) {
        Some((argument, _)) => Err(Error::UnfitArgument(argument, "only a child has a parent")),
        None if child && arguments.via.is_none() => Err(Error::UnfitArgument(
            "via",
            "a child needs the column that holds its parent\'s key",
        )),
        None => Ok(archetype),
    }
}

/// The roles asked for, none of them standing for PUBLIC: that is what no list at all means.
fn role_list(roles: Option<Vec<Option<pg_sys::Oid>>>) -> Result<Option<Vec<String>>, Error> {
    let Some(roles) = roles else {
        return Ok(None);
    };
    if roles.is_empty() {
        return Err(Error::EmptyRoles);
    }
    let named = roles.into_iter().map(|role| match role {
        Some(role) if role != pg_sys::Oid::INVALID => Ok(role),
        _ => Err(Error::NullArgument("an element of roles")),
    });
    let named: Vec<_> = named.collect::<Result<_, _>>()?;
    lookup::role_names(&named).map(Some)
}

fn redact_list(redact: Option<&pgrx::Array<'_, &CStr>>) -> Result<Vec<String>, Error> {
    let redact = redact.ok_or(Error::NullArgument("redact"))?;
    let name = |name: Option<&CStr>| {
        name.map(text)
            .ok_or(Error::NullArgument("an element of redact"))
    };
    redact.iter().map(name).collect()
}

fn links(relation: pg_sys::Oid, arguments: &Arguments<'_>) -> Result<Vec<Link>, Error> {
    let Some(via) = arguments.via.map(text) else {
        return Ok(Vec::new());
    };
    let link = |parent, when| -> Result<Link, Error> {
        let (parent, parent_key) = lookup::parent_key(relation, &via, parent)?;
        Ok(Link {
            via: via.clone(),
            parent,
            parent_key,
            when,
        })
    };
    match (arguments.type_column.map(text), &arguments.parents) {
        (None, None) => Ok(vec![link(arguments.parent, None)?]),
        (Some(column), Some(parents)) if arguments.parent.is_none() => {
            let parents: std::collections::BTreeMap<String, String> =
                serde_json::from_value(parents.0.clone()).map_err(|_| {
                    Error::UnfitArgument("parents", "it names a relation for each type")
                })?;
            if parents.is_empty() {
                return Err(Error::EmptyArgument("parents"));
            }
            let typed = parents.into_iter().map(|(value, name)| {
                let parent = lookup::relation_named(&name)?;
                link(Some(parent), Some((column.clone(), value)))
            });
            typed.collect()
        }
        _ => Err(Error::UnfitArgument(
            "parents",
            "type_column and parents come together and without parent",
        )),
    }
}

fn typed_parent(link: &Link) -> Option<(String, serde_json::Value)> {
    let (_, value) = link.when.as_ref()?;
    Some((value.clone(), name_of(link.parent).into()))
}

fn name_of(relation: pg_sys::Oid) -> String {
    lookup::name_of(relation).unwrap_or_else(|| Obstacle::Gone(relation.to_u32()).to_string())
}
