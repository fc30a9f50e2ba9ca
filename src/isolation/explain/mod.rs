//! Why a row is shown or hidden.

mod asking;
mod key;
mod row;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use tenant_guard_core::access::{Clause, Truth, operands};
use tenant_guard_core::permission::Command;

use self::asking::{Asking, Privilege};
use self::row::Case;
use crate::audit::record::record_system;
use crate::error::{Error, OrRaise};
use crate::identity::{binding, doors};
use crate::raw::json_argument;
use crate::subtransaction::undone;

use super::require_admin;

/// One row of the answer; what is not said is null.
#[derive(Default)]
struct Line {
    command: Option<&'static str>,
    policy: Option<String>,
    kind: &'static str,
    clause: Option<&'static str>,
    operand: Option<String>,
    verdict: String,
    detail: Option<String>,
}

/// Why the row with a key is shown or hidden: to the bound identity, or to one made of claims.
#[pg_extern(sql = false)]
#[expect(
    clippy::type_complexity,
    reason = "the columns of the SQL function, where a macro reads them"
)]
fn explain_access(
    fcinfo: pg_sys::FunctionCallInfo,
) -> TableIterator<
    'static,
    (
        name!(command, Option<&'static str>),
        name!(policy, Option<String>),
        name!(kind, &'static str),
        name!(clause, Option<&'static str>),
        name!(operand, Option<String>),
        name!(verdict, String),
        name!(detail, Option<String>),
    ),
> {
    // SAFETY: PostgreSQL passed `fcinfo`; sql/explain.sql gives the arguments these types.
    let (relation, key, claims, role) = unsafe {
        (
            pgrx::fcinfo::pg_getarg::<pg_sys::Oid>(fcinfo, 0),
            json_argument(fcinfo, 1),
            json_argument(fcinfo, 2),
            pgrx::fcinfo::pg_getarg::<pg_sys::Oid>(fcinfo, 3),
        )
    };
    let relation = relation.ok_or(Error::NullArgument("relation")).or_raise();
    let key = key.ok_or(Error::NullArgument("key")).or_raise();
    if claims.is_some() || role.is_some() {
        require_admin().or_raise();
    }
    let asking = Asking::of(role).or_raise();
    let lines = match claims {
        // Policies are somebody's code: where the caller asks with more rights than those of a
        // reader of the row, nothing it does may stay.
        None if asking.knows_rows => match undone(|| explained(&asking, relation, &key)) {
            Ok(lines) => lines.or_raise(),
            Err(report) => CaughtError::PostgresError(*report).rethrow(),
        },
        None => explained(&asking, relation, &key).or_raise(),
        Some(claims) => imagined(&asking, relation, &key, &claims).or_raise(),
    };
    let lines = lines.into_iter().map(|line| {
        (
            line.command,
            line.policy,
            line.kind,
            line.clause,
            line.operand,
            line.verdict,
            line.detail,
        )
    });
    TableIterator::new(lines.collect::<Vec<_>>())
}

/// The same under an identity made of claims, which ends with the answer.
fn imagined(
    asking: &Asking,
    relation: pg_sys::Oid,
    key: &str,
    claims: &str,
) -> Result<Vec<Line>, Error> {
    // What is wrong with the question comes before any event.
    key::Target::of(relation, key)?;
    let identity = match doors::imagined(claims) {
        Ok(identity) => identity,
        Err(Error::Refused(refusal)) => {
            let refused = |kind| Line {
                kind,
                verdict: "refused".into(),
                detail: Some(refusal.to_string()),
                ..Line::default()
            };
            return Ok(vec![refused("summary"), refused("identity")]);
        }
        Err(other) => return Err(other),
    };
    let account = identity.account.as_str();
    record_system(
        "explain_access",
        Some(relation),
        account,
        Some(&identity.claims),
    );
    match binding::borrow(&identity, || explained(asking, relation, key)) {
        Ok(lines) => lines,
        Err(report) => CaughtError::PostgresError(*report).rethrow(),
    }
}

fn explained(asking: &Asking, relation: pg_sys::Oid, key: &str) -> Result<Vec<Line>, Error> {
    let case = Case::new(asking, relation, key::Target::of(relation, key)?);
    let (verdict, because) = case.summary();
    let mut lines = vec![Line {
        kind: "summary",
        verdict: verdict.into(),
        detail: Some(because),
        ..Line::default()
    }];
    lines.extend([identity(), role(asking, &case)]);
    for command in Command::ALL {
        let (verdict, because) = case.verdict(command);
        lines.push(Line {
            command: Some(command.name()),
            kind: "command",
            verdict: verdict.into(),
            detail: Some(because),
            ..Line::default()
        });
        lines.extend(privileges(&case, command));
        lines.extend(policies(&case, command));
    }
    Ok(lines)
}

fn identity() -> Line {
    let line = |verdict: &str, detail: String| Line {
        kind: "identity",
        verdict: verdict.into(),
        detail: Some(detail),
        ..Line::default()
    };
    match binding::problem() {
        Some(error) => {
            let verdict = match error {
                Error::NoIdentity => "missing",
                Error::Expired => "expired",
                _ => "revoked",
            };
            line(verdict, error.to_string())
        }
        None => binding::with_unchecked(|identity| {
            let Some(identity) = identity else {
                return line("missing", Error::NoIdentity.to_string());
            };
            let mut detail = format!("account {}", identity.account);
            let roles: Vec<_> = identity.roles.collect();
            if !roles.is_empty() {
                detail += &format!(", roles {}", roles.join(", "));
            }
            if let Some(assurance) = identity.assurance {
                detail += &format!(", assurance {assurance}");
            }
            line("bound", detail)
        }),
    }
}

fn role(asking: &Asking, case: &Case<'_>) -> Line {
    Line {
        kind: "role",
        verdict: asking.name.clone(),
        detail: Some(case.row_security().into()),
        ..Line::default()
    }
}

/// What grants and lists of columns take from a command.
fn privileges(case: &Case<'_>, command: Command) -> Vec<Line> {
    let line = |kind, verdict: &str, detail: String| Line {
        command: Some(command.name()),
        kind,
        verdict: verdict.into(),
        detail: Some(detail),
        ..Line::default()
    };
    let mut lines = Vec::new();
    match case.privilege(command) {
        Privilege::Whole => {}
        Privilege::Missing(what) => lines.push(line("privilege", "missing", what.clone())),
        Privilege::Columns(columns) => {
            lines.push(line("privilege", "some columns", columns.join(", ")));
        }
    }
    if let Some(columns) = case.listed_columns(command) {
        lines.push(line("column list", "some columns", columns.join(", ")));
    }
    lines
}

/// Each policy that stands for a command, with its operands where the row may be known.
fn policies(case: &Case<'_>, command: Command) -> Vec<Line> {
    let mut lines = Vec::new();
    if !case.has_row_security() {
        return lines;
    }
    for clause in Clause::of(command) {
        for policy in &case.policies {
            let Some(condition) = policy.condition(command, *clause) else {
                continue;
            };
            // What is asked of the row as it stands needs not be said again.
            let said = *clause == Clause::Check
                && policy.condition(command, Clause::Using) == Some(condition)
                && Clause::of(command).len() > 1;
            if said {
                continue;
            }
            let line = |operand: Option<&str>, verdict: &str, detail| Line {
                command: Some(command.name()),
                policy: Some(policy.name.clone()),
                kind: policy.kind(),
                clause: Some(clause.name()),
                operand: operand.map(str::to_owned),
                verdict: verdict.into(),
                detail,
            };
            if !policy.applies {
                lines.push(line(
                    None,
                    "not asked",
                    Some("it is for other roles".into()),
                ));
                continue;
            }
            if let Privilege::Missing(_) = case.privilege(command) {
                lines.push(line(
                    None,
                    "not asked",
                    Some("the command is not granted".into()),
                ));
                continue;
            }
            let truth: Truth = case.judge(condition);
            lines.push(line(None, truth.of_policy(), None));
            if case.may_know() {
                lines.extend(operands(condition).into_iter().map(|operand| {
                    let (truth, detail) = case.ask(operand);
                    line(Some(operand), truth.of_operand(), detail)
                }));
            }
        }
    }
    lines
}
