//! From JSON to a manifest, but for its relations.

use std::collections::{BTreeMap, BTreeSet};

use super::reader::{At, NOT_A_RELATION, Result, boolean, name, names, problem, relation_name};
use super::{
    ACCOUNT_COLUMN, AccountRelation, Audited, Governed, Issuer, LEEWAY_US, Manifest, Membership,
    Problem, RelationName, Role, VERSION, duration, read_relation,
};
use crate::claims::ClaimPaths;
use crate::issuer::{self, IssuerError, IssuerSettings};
use crate::json::{self, Json};
use crate::json_path::JsonPath;

const MEMBERS: [&str; 9] = [
    "version",
    "issuers",
    "membership",
    "account_relation",
    "roles",
    "relations",
    "audited",
    "audited_reads",
    "governed_schemas",
];

pub(super) fn manifest(text: &str) -> Result<Manifest> {
    let value = match json::parse_located(text) {
        Ok(value) => value,
        Err((path, error)) => return problem(path, error),
    };
    let root = At {
        value: &value,
        path: &JsonPath::root(),
    };
    // The version before all else: a later one may have other members.
    root.any_members()?.required("version", version)?;
    let members = root.members(&MEMBERS)?;
    Ok(Manifest {
        issuers: members.required("issuers", |at| at.map(issuer))?,
        membership: members.optional("membership", membership)?,
        account_relation: members.optional("account_relation", account_relation)?,
        roles: members.required("roles", |at| at.map(|_, at| role(at)))?,
        relations: members.required("relations", |at| by_relation(at, read_relation::relation))?,
        audited: members.or_default("audited", |at| by_relation(at, audited))?,
        audited_reads: members.or_default("audited_reads", |at| at.set(relation_name))?,
        governed_schemas: members.or_default("governed_schemas", |at| {
            at.map(|name, at| match super::name::fits(name) {
                true => governed(at),
                false => at.fail(Problem::TooLong),
            })
        })?,
    })
}

fn version(at: At<'_>) -> Result<()> {
    match at.value {
        Json::Integer(VERSION) => Ok(()),
        Json::Integer(later) if *later > VERSION => at.fail(Problem::Newer(*later)),
        _ => at.fail(Problem::Not("a version of manifests")),
    }
}

fn by_relation<T>(
    at: At<'_>,
    read: impl Fn(At<'_>) -> Result<T>,
) -> Result<BTreeMap<RelationName, T>> {
    let mut relations = BTreeMap::new();
    at.map(|key, at| {
        let Some(name) = RelationName::parse(key) else {
            return at.fail(NOT_A_RELATION);
        };
        let relation = read(at)?;
        let spelling = name.to_string();
        match relations.insert(name, relation) {
            None => Ok(()),
            Some(_) => at.fail(Problem::SecondSpelling(spelling)),
        }
    })?;
    Ok(relations)
}

fn role(at: At<'_>) -> Result<Role> {
    let members = at.members(&["inherits", "assurance", "reads_log"])?;
    Ok(Role {
        inherits: members.or_default("inherits", |at| at.set(|at| at.text().map(str::to_owned)))?,
        assurance: members.optional("assurance", level)?,
        reads_log: members.optional("reads_log", boolean)?.unwrap_or(false),
    })
}

/// A level of assurance, as `require_assurance` takes it.
pub(super) fn level(at: At<'_>) -> Result<String> {
    let text = at.text()?;
    let known = |c: char| c.is_ascii_alphanumeric() || "._:/+-".contains(c);
    match text.chars().all(known) {
        true => Ok(text.to_owned()),
        false => at.fail(Problem::Level),
    }
}

fn membership(at: At<'_>) -> Result<Membership> {
    let members = at.members(&[
        "relation",
        "subject_column",
        "account_column",
        "role_column",
        "active_column",
    ])?;
    Ok(Membership {
        relation: members.required("relation", relation_name)?,
        subject_column: members.required("subject_column", name)?,
        account_column: members.required("account_column", name)?,
        role_column: members.optional("role_column", name)?,
        active_column: members.optional("active_column", name)?,
    })
}

fn account_relation(at: At<'_>) -> Result<AccountRelation> {
    let members = at.members(&["relation", "key_column", "active_column"])?;
    Ok(AccountRelation {
        relation: members.required("relation", relation_name)?,
        key_column: members.required("key_column", name)?,
        active_column: members.optional("active_column", name)?,
    })
}

fn audited(at: At<'_>) -> Result<Audited> {
    let members = at.members(&[
        "include",
        "exclude",
        "redact",
        "hash",
        "skip_unchanged",
        "truncate_rows",
        "personal",
    ])?;
    let flag = |member: &str| Ok(members.optional(member, boolean)?.unwrap_or(false));
    Ok(Audited {
        include: members.optional("include", names)?,
        exclude: members.or_default("exclude", names)?,
        redact: members.or_default("redact", names)?,
        hash: members.or_default("hash", names)?,
        skip_unchanged: flag("skip_unchanged")?,
        truncate_rows: flag("truncate_rows")?,
        personal: members.or_default("personal", names)?,
    })
}

fn governed(at: At<'_>) -> Result<Governed> {
    let members = at.members(&["account_column", "roles", "redact", "audit"])?;
    let column = members.optional("account_column", name)?;
    Ok(Governed {
        account_column: column.unwrap_or_else(|| ACCOUNT_COLUMN.into()),
        roles: members
            .optional("roles", |at| at.nonempty(name))?
            .unwrap_or_default(),
        redact: members.or_default("redact", names)?,
        audit: members.optional("audit", boolean)?.unwrap_or(true),
    })
}

fn issuer(issuer_name: &str, at: At<'_>) -> Result<Issuer> {
    let members = at.members(&[
        "keys",
        "algorithms",
        "audiences",
        "claim_paths",
        "leeway",
        "max_age",
        "require_exp",
    ])?;
    let texts = |at: At<'_>| at.nonempty(|at| at.text().map(str::to_owned));
    let issuer = Issuer {
        keys: members.optional("keys", keys)?,
        algorithms: members.optional("algorithms", algorithms)?,
        audiences: members.optional("audiences", texts)?,
        claim_paths: members.or_default("claim_paths", claim_paths)?,
        leeway_us: members.optional("leeway", leeway)?.unwrap_or(LEEWAY_US),
        max_age_us: members.optional("max_age", max_age)?,
        require_exp: members.optional("require_exp", boolean)?.unwrap_or(true),
    };
    let Some(keys) = &issuer.keys else {
        return Ok(issuer);
    };
    let judged = issuer::Issuer::new(IssuerSettings {
        issuer: issuer_name.to_owned(),
        keys: keys.clone(),
        algorithms: issuer.algorithms.clone().map(Vec::from_iter),
        audiences: None,
        claim_paths: "{}".into(),
        leeway_us: 0,
        max_age_us: None,
        require_exp: true,
    });
    match judged {
        Ok(_) => Ok(issuer),
        Err(unfit) => problem(members.path("keys"), unfit),
    }
}

fn algorithms(at: At<'_>) -> Result<BTreeSet<String>> {
    at.nonempty(|at| {
        let name = at.text()?;
        match issuer::is_algorithm(name) {
            true => Ok(name.to_owned()),
            false => at.fail(IssuerError::UnknownAlgorithm(name.to_owned())),
        }
    })
}

fn leeway(at: At<'_>) -> Result<i64> {
    let microseconds = duration(at)?;
    match microseconds <= issuer::MAX_LEEWAY_US {
        true => Ok(microseconds),
        false => at.fail(IssuerError::Leeway),
    }
}

fn max_age(at: At<'_>) -> Result<i64> {
    match duration(at)? {
        0 => at.fail(IssuerError::MaxAge),
        microseconds => Ok(microseconds),
    }
}

fn duration(at: At<'_>) -> Result<i64> {
    match duration::parse(at.text()?) {
        Some(microseconds) => Ok(microseconds),
        None => at.fail(Problem::Not("a duration such as PT30S or P1DT12H")),
    }
}

/// The paths that are not the default ones.
fn claim_paths(at: At<'_>) -> Result<BTreeMap<String, Vec<String>>> {
    let mut paths = BTreeMap::new();
    at.map(|claim, at| {
        let Some((_, default)) = ClaimPaths::DEFAULTS
            .iter()
            .find(|(known, _)| *known == claim)
        else {
            return at.fail(Problem::Unknown);
        };
        let path = at.elements(|at| match at.text()? {
            member if ClaimPaths::is_user_writable(member) => {
                at.fail(Problem::Not("a member that users cannot write"))
            }
            member => Ok(member.to_owned()),
        })?;
        if path.is_empty() {
            return at.fail(Problem::Empty);
        }
        if path != [*default] {
            paths.insert(claim.to_owned(), path);
        }
        Ok(())
    })?;
    Ok(paths)
}

impl Issuer {
    /// The claims that `paths`, the JSON object that `add_issuer` took, does not have in their default
    /// place; none of what is not one.
    pub fn paths_beside_defaults(paths: &str) -> BTreeMap<String, Vec<String>> {
        parsed(paths, claim_paths).unwrap_or_default()
    }

    /// The key set itself, if a manifest may hold it.
    pub fn without_secrets(key_set: &str) -> Option<String> {
        parsed(key_set, keys)
    }
}

fn parsed<T>(text: &str, read: impl FnOnce(At<'_>) -> Result<T>) -> Option<T> {
    let value = json::parse(text).ok()?;
    let path = JsonPath::root();
    let at = At {
        value: &value,
        path: &path,
    };
    read(at).ok()
}

/// A JWK Set without secrets, as text.
fn keys(at: At<'_>) -> Result<String> {
    let members = at.any_members()?;
    members.required("keys", |keys| {
        keys.elements(|key| {
            let Json::Object(members) = key.value else {
                return key.fail(Problem::Not("an object"));
            };
            let secret = ["k", "d", "p", "q", "dp", "dq", "qi", "oth", "priv"];
            if let Some((name, _)) = members.iter().find(|(name, _)| secret.contains(name)) {
                return problem(key.path.member(name), Problem::SecretKey);
            }
            match members.get("kty").and_then(Json::as_text) {
                Some("oct") => problem(key.path.member("kty"), Problem::SecretKey),
                _ => Ok(()),
            }
        })
    })?;
    text_of(at).map(|value| value.to_string())
}

fn text_of(at: At<'_>) -> Result<serde_json::Value> {
    use serde_json::Value;
    Ok(match at.value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::from(*value),
        Json::Integer(value) => Value::from(*value),
        Json::OtherNumber => return at.fail(Problem::Not("a whole number of 64 bits")),
        Json::Text(text) => Value::from(text.as_ref()),
        Json::Array(_) => Value::from(at.elements(text_of)?),
        Json::Object(object) => {
            let members = object.iter().map(|(name, value)| {
                let path = at.path.member(name);
                Ok((name.to_owned(), text_of(At { value, path: &path })?))
            });
            Value::Object(members.collect::<Result<_>>()?)
        }
    })
}
