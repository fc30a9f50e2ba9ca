//! The calls that a plan is made of. Arguments that have their default are left out.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ACCOUNT_COLUMN, AccountRelation, Annotations, Audited, Command, Governed, Issuer, LEEWAY_US,
    Membership, Ownership, Parent, Relation, RelationName, Scope, duration,
};
use crate::archetype::Archetype;
use crate::audit::push_identifier;
use crate::policy::{array, literal};

/// A call in the making.
struct Call {
    text: String,
    arguments: usize,
}

impl Call {
    fn new(function: &str) -> Self {
        Self {
            text: format!("SELECT tenant_guard.{function}("),
            arguments: 0,
        }
    }

    fn push(mut self, argument: &str) -> Self {
        if self.arguments > 0 {
            self.text += ", ";
        }
        self.arguments += 1;
        self.text += argument;
        self
    }

    fn text(self, value: &str) -> Self {
        self.push(&literal(value))
    }

    fn text_or_null(self, value: Option<&str>) -> Self {
        self.push(&value.map_or("NULL".into(), literal))
    }

    fn named(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.push(&format!("{name} => {}", literal(value))),
            None => self,
        }
    }

    fn list(self, name: &str, values: &BTreeSet<String>) -> Self {
        let values = Vec::from_iter(values);
        self.named(
            name,
            (!values.is_empty()).then(|| array(&values)).as_deref(),
        )
    }

    /// Database roles, which the type `regrole` reads as identifiers.
    fn roles(self, roles: &BTreeSet<String>) -> Self {
        self.list(
            "roles",
            &roles.iter().map(|role| identifier(role)).collect(),
        )
    }

    fn flag(self, name: &str, value: bool, default: bool) -> Self {
        match value == default {
            true => self,
            false => self.push(&format!("{name} => {value}")),
        }
    }

    fn end(self) -> String {
        self.text + ")"
    }
}

fn identifier(name: &str) -> String {
    let mut text = String::new();
    push_identifier(&mut text, name);
    text
}

pub(super) fn add_issuer(name: &str, keys: &str, issuer: &Issuer) -> String {
    settings(Call::new("add_issuer").text(name).text(keys), issuer)
}

pub(super) fn alter_issuer(name: &str, issuer: &Issuer) -> String {
    settings(Call::new("alter_issuer").text(name), issuer)
}

fn settings(call: Call, issuer: &Issuer) -> String {
    let empty = BTreeSet::new();
    let paths = serde_json::json!(issuer.claim_paths).to_string();
    let leeway = duration::print(issuer.leeway_us);
    let max_age = issuer.max_age_us.map(duration::print);
    call.list("algorithms", issuer.algorithms.as_ref().unwrap_or(&empty))
        .list("audiences", issuer.audiences.as_ref().unwrap_or(&empty))
        .named(
            "claim_paths",
            (!issuer.claim_paths.is_empty()).then_some(&paths),
        )
        .named("leeway", (issuer.leeway_us != LEEWAY_US).then_some(&leeway))
        .named("max_age", max_age.as_deref())
        .flag("require_exp", issuer.require_exp, true)
        .end()
}

pub(super) fn drop_issuer(name: &str) -> String {
    Call::new("drop_issuer").text(name).end()
}

pub(super) fn set_membership(membership: Option<&Membership>) -> String {
    let call = Call::new("set_membership");
    match membership {
        None => call.push("NULL").push("NULL").push("NULL"),
        Some(of) => call
            .text(&of.relation.to_string())
            .text(&of.subject_column)
            .text(&of.account_column)
            .named("role_column", of.role_column.as_deref())
            .named("active_column", of.active_column.as_deref()),
    }
    .end()
}

pub(super) fn set_account_relation(accounts: Option<&AccountRelation>) -> String {
    let call = Call::new("set_account_relation");
    match accounts {
        None => call.push("NULL").push("NULL"),
        Some(of) => call
            .text(&of.relation.to_string())
            .text(&of.key_column)
            .named("active_column", of.active_column.as_deref()),
    }
    .end()
}

pub(super) fn define_role(name: &str, inherits: &BTreeSet<String>) -> String {
    Call::new("define_role")
        .text(name)
        .list("inherits", inherits)
        .end()
}

pub(super) fn drop_role(name: &str) -> String {
    Call::new("drop_role").text(name).end()
}

pub(super) fn require_role_assurance(name: &str, level: Option<&str>) -> String {
    Call::new("require_role_assurance")
        .text(name)
        .text_or_null(level)
        .end()
}

/// The call that protects a relation in the declared way, the first time or again.
pub fn protect(name: &RelationName, relation: &Relation) -> String {
    let ownership = &relation.ownership;
    let column = ownership.account_column();
    let archetype = ownership.archetype();
    let implied = matches!(archetype, Archetype::Account | Archetype::Child);
    let call = Call::new("protect")
        .text(&name.to_string())
        .named(
            "account_column",
            column.filter(|column| *column != ACCOUNT_COLUMN),
        )
        .roles(&relation.roles)
        .list("redact", &relation.redact)
        .flag("audit", relation.audit, true)
        .named("archetype", (!implied).then(|| archetype.name()));
    parent_arguments(call, ownership).end()
}

fn parent_arguments(call: Call, ownership: &Ownership) -> Call {
    let Ownership::Child { via, parent } = ownership else {
        return call;
    };
    let call = call.named("via", Some(via));
    match parent {
        Parent::ForeignKey => call,
        Parent::Named(parent) => call.named("parent", Some(&parent.to_string())),
        Parent::ByType {
            type_column,
            parents,
        } => {
            let all = parents.iter().map(|(kind, name)| (kind, name.to_string()));
            let all: BTreeMap<_, _> = all.collect();
            call.named("type_column", Some(type_column))
                .named("parents", Some(&serde_json::json!(all).to_string()))
        }
    }
}

pub(super) fn unprotect(name: &RelationName) -> String {
    Call::new("unprotect").text(&name.to_string()).end()
}

pub(super) fn annotate(name: &RelationName, declared: Option<Annotations<'_>>) -> String {
    let call = Call::new("annotate").text(&name.to_string());
    match declared {
        Some(of) => call
            .list("personal", of.personal)
            .flag("index", of.index, true),
        None => call,
    }
    .end()
}

pub(super) fn require_account_row(name: &RelationName, required: bool) -> String {
    Call::new("require_account_row")
        .text(&name.to_string())
        .flag("required", required, true)
        .end()
}

pub(super) fn declare_path(name: &RelationName, column: &str, template: Option<&str>) -> String {
    Call::new("declare_path")
        .text(&name.to_string())
        .text(column)
        .text_or_null(template)
        .end()
}

pub(super) fn audit(name: &RelationName, audited: &Audited) -> String {
    let include = audited
        .include
        .as_ref()
        .map(|of| array(&Vec::from_iter(of)));
    Call::new("audit")
        .text(&name.to_string())
        .named("include", include.as_deref())
        .list("exclude", &audited.exclude)
        .list("redact", &audited.redact)
        .list("hash", &audited.hash)
        .flag("skip_unchanged", audited.skip_unchanged, false)
        .flag("truncate_rows", audited.truncate_rows, false)
        .end()
}

pub(super) fn unaudit(name: &RelationName) -> String {
    Call::new("unaudit").text(&name.to_string()).end()
}

pub(super) fn audit_reads(name: &RelationName, enabled: bool) -> String {
    Call::new("audit_reads")
        .text(&name.to_string())
        .flag("enabled", enabled, true)
        .end()
}

/// The call that lets holders of a role read the log of their account, or the one that takes it back.
pub(super) fn let_read_log(role: &str, may: bool) -> String {
    let function = if may { "allow_log" } else { "disallow_log" };
    Call::new(function).text(role).end()
}

pub(super) fn require_assurance(
    name: &RelationName,
    command: &str,
    level: Option<&String>,
) -> String {
    let call = Call::new("require_assurance")
        .text(&name.to_string())
        .text_or_null(level.map(String::as_str));
    match command {
        "all" => call,
        command => call.text(&array(&[command])),
    }
    .end()
}

pub(super) fn allow(
    role: &str,
    relation: &RelationName,
    commands: &[Command],
    scope: &Scope,
    columns: Option<&BTreeSet<String>>,
) -> String {
    let call = Call::new("allow")
        .text(role)
        .text(&relation.to_string())
        .text(&names(commands));
    let call = match scope {
        Scope::Account => call,
        Scope::Own(column) => call
            .named("scope", Some("own"))
            .named("owner_column", Some(column)),
        Scope::Assigned(column) => call
            .named("scope", Some("assigned"))
            .named("assigned_column", Some(column)),
        Scope::AssignedBy {
            assignment,
            key,
            subject,
        } => call
            .named("scope", Some("assigned"))
            .named("assignment", Some(&assignment.to_string()))
            .named("assignment_key", Some(key))
            .named("assignment_subject", Some(subject)),
        Scope::Via(column) => call.named("scope", Some("via")).named("via", Some(column)),
    };
    match columns {
        Some(columns) => call.list("columns", columns),
        None => call,
    }
    .end()
}

pub(super) fn disallow(role: &str, relation: &RelationName, commands: &[Command]) -> String {
    Call::new("disallow")
        .text(role)
        .text(&relation.to_string())
        .text(&names(commands))
        .end()
}

fn names(commands: &[Command]) -> String {
    match commands.len() == Command::ALL.len() {
        true => array(&["all"]),
        false => array(&Vec::from_iter(
            commands.iter().map(|command| command.name()),
        )),
    }
}

pub(super) fn govern_schema(schema: &str, governed: &Governed) -> String {
    let column = Some(governed.account_column.as_str());
    Call::new("govern_schema")
        .text(schema)
        .named(
            "account_column",
            column.filter(|column| *column != ACCOUNT_COLUMN),
        )
        .roles(&governed.roles)
        .list("redact", &governed.redact)
        .flag("audit", governed.audit, true)
        .end()
}

pub(super) fn ungovern_schema(schema: &str) -> String {
    Call::new("ungovern_schema").text(schema).end()
}
