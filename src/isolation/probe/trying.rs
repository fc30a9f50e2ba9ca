//! One role's attempts, each undone as soon as it is over.

use std::ffi::CString;

use pgrx::pg_sys::panic::ErrorReportWithLevel;
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, PreparedStatement};
use tenant_guard_core::identity::Identity;
use tenant_guard_core::policy::literal;
use tenant_guard_core::probe::{Attempt, Outcome, Sign, Trial, Values, filter, listed};

use super::authors::has_rights;
use crate::catalog::{as_restricted, relation_owner};
use crate::error::sqlstate;
use crate::identity::binding;
use crate::isolation::copy_from;
use crate::subtransaction::undone;
use crate::versions;

/// What became of an attempt, and more about it in words.
pub(super) type Tried = (Outcome, Option<String>);

/// The identities of a probe.
pub(super) struct Identities {
    pub(super) mine: Identity,
    pub(super) theirs: Identity,
    /// Of an account without rows.
    pub(super) nobody: Identity,
}

/// Makes all attempts of a trial in the name of `role`, under one's own identity, which is bound.
pub(super) fn all(
    role: pg_sys::Oid,
    relation: pg_sys::Oid,
    trial: &Trial,
    identities: &Identities,
) -> Vec<(&'static str, Tried)> {
    let attempts = trial.attempts();
    let mut tried: Vec<_> = { attempts.iter() }
        .map(|attempt| (attempt.name, one(role, attempt, identities)))
        .collect();
    tried.push(("truncate", truncated(role, relation, trial)));
    if trial.read_by_all {
        let detail = "rows are read by every account".to_owned();
        tried.push(("select", (Outcome::ByDesign, Some(detail))));
    } else {
        tried.push(("prepared statement", prepared(role, trial, identities)));
        tried.push(("select without identity", without_identity(role, trial)));
        tried.push(("copy query to", copied_out(role, &trial.copied())));
        let relation = copied_out(role, &trial.copied_relation());
        tried.push(("copy relation to", relation));
    }
    let copied = copied_in(role, relation, trial).unwrap_or_else(|| {
        // Where row security does not hold the role, COPY stores what INSERT does.
        let inserted = tried.iter().find(|(name, _)| *name == "insert");
        inserted.map_or((Outcome::NotTried, None), |(_, tried)| tried.clone())
    });
    tried.push(("copy from", copied));
    tried
}

/// Whether the role sees the row of its own account; none where it may not ask, or asking fails.
pub(super) fn sees_own(role: pg_sys::Oid, trial: &Trial) -> Option<bool> {
    let counted = undone(|| as_restricted(role, || count(&trial.control())));
    counted.ok().map(|rows| rows > 0)
}

/// One attempt by statements alone.
pub(super) fn one(role: pg_sys::Oid, attempt: &Attempt, identities: &Identities) -> Tried {
    judged(undone(|| {
        if attempt.of_nobody {
            binding::switch(Some(&identities.nobody));
        }
        as_restricted(role, || {
            let (last, before) = attempt
                .statements
                .split_last()
                .map_or(("", [].as_slice()), |s| (s.0.as_str(), s.1));
            // All of them are run, whatever the one before found.
            let fetched = before
                .iter()
                .fold(None, |_, statement| Some(touched(statement)));
            match attempt.sign {
                Sign::Counts => count(last),
                Sign::TouchesFetched if fetched == Some(0) => 0,
                Sign::Touches | Sign::TouchesFetched => touched(last),
            }
        })
    }))
}

/// Whatever it empties is everybody's. It waits for nobody: behind it everybody would.
fn truncated(role: pg_sys::Oid, relation: pg_sys::Oid, trial: &Trial) -> Tried {
    if relation_owner(relation).is_some_and(|owner| has_rights(role, owner)) {
        let detail = "whoever owns a table may empty it, as drop it".to_owned();
        return (Outcome::ByDesign, Some(detail));
    }
    judged(undone(|| {
        touched("SET LOCAL lock_timeout = '100ms'");
        as_restricted(role, || {
            touched(&format!("TRUNCATE {} CASCADE", trial.relation))
        });
        1
    }))
}

/// Whether the role reads rows of others than the account that is bound in a relation that may have none
/// of the other account's.
pub(super) fn of_others(role: pg_sys::Oid, relation: &str, own: &Values) -> Tried {
    let counted = undone(|| {
        as_restricted(role, || {
            let held = format!(
                "SELECT row_security_active({})::int4::int8",
                literal(relation)
            );
            let others = format!(
                "SELECT count(*) FROM (SELECT FROM ONLY {relation} AS t WHERE NOT ({}) LIMIT 1) AS o",
                filter("t", own)
            );
            (count(&others), count(&held) > 0)
        })
    });
    match counted {
        Ok((0, false)) => {
            let detail = "row security does not hold the role".to_owned();
            (Outcome::Crossed, Some(detail))
        }
        counted => judged(counted.map(|(others, _)| others)),
    }
}

/// Plans a statement while the other account is bound, and runs that plan for one's own. Identities are
/// bound outside of what the role does: settings that are made within end with it.
fn prepared(role: pg_sys::Oid, trial: &Trial, identities: &Identities) -> Tried {
    let counted = |plan: &OwnedPreparedStatement| {
        let found = Spi::connect_mut(|client| client.update(plan, None, &[])?.first().get_one());
        found.unwrap_or_else(|error| failed(&error)).unwrap_or(0)
    };
    judged(undone(|| {
        touched("SET LOCAL plan_cache_mode = force_generic_plan");
        binding::switch(Some(&identities.theirs));
        let plan = as_restricted(role, || {
            let prepared = Spi::connect_mut(|client| {
                let prepared = client.prepare_mut(trial.read().as_str(), &[]);
                prepared.map(PreparedStatement::keep)
            });
            let plan = prepared.unwrap_or_else(|error| failed(&error));
            counted(&plan);
            plan
        });
        binding::switch(Some(&identities.mine));
        as_restricted(role, || counted(&plan))
    }))
}

fn without_identity(role: pg_sys::Oid, trial: &Trial) -> Tried {
    judged(undone(|| {
        binding::switch(None);
        as_restricted(role, || count(&trial.read()))
    }))
}

/// COPY of a query writes what the query returns. The rows go to the null device.
fn copied_out(role: pg_sys::Oid, query: &str) -> Tried {
    judged(undone(|| {
        as_restricted(role, || {
            let query = CString::new(query).expect("names and values hold no NUL");
            // SAFETY: the parser returns a list with one statement; all nodes live in the current
            // memory context, beyond the copying.
            unsafe {
                let mode = pg_sys::RawParseMode::RAW_PARSE_DEFAULT;
                let parsed = pg_sys::raw_parser(query.as_ptr(), mode);
                let state = pg_sys::make_parsestate(std::ptr::null_mut());
                (*state).p_sourcetext = query.as_ptr();
                pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
                let copying =
                    versions::copy_to_file(state, pg_sys::list_nth(parsed, 0).cast(), c"/dev/null");
                let rows = pg_sys::DoCopyTo(copying);
                pg_sys::EndCopyTo(copying);
                pg_sys::PopActiveSnapshot();
                rows as i64
            }
        })
    }))
}

/// A row of the other account, as a client would send it; none where row security does not hold the role.
fn copied_in(role: pg_sys::Oid, relation: pg_sys::Oid, trial: &Trial) -> Option<Tried> {
    let (columns, _) = listed(&trial.another);
    let escaped = |text: &String| {
        let text = text.replace('\\', "\\\\").replace('\t', "\\t");
        text.replace('\n', "\\n").replace('\r', "\\r")
    };
    let row: Vec<_> = { trial.another.iter() }
        .map(|(.., value)| escaped(value))
        .collect();
    let statement = format!("COPY {} ({columns}) FROM STDIN", trial.relation);
    let tried = undone(|| {
        as_restricted(role, || {
            copy_from::from_memory(&statement, relation, row.join("\t") + "\n")
        })
    });
    match tried {
        Ok(None) => None,
        Ok(Some(rows)) => Some(judged(Ok(rows))),
        Err(error) => Some(judged(Err(error))),
    }
}

fn judged(tried: Result<i64, Box<ErrorReportWithLevel>>) -> Tried {
    match tried {
        Ok(1..) => (Outcome::Crossed, None),
        Ok(_) => (Outcome::Hidden, None),
        Err(error) => {
            let code = sqlstate(error.sql_error_code());
            let outcome = Outcome::of_error(&code);
            let detail = match (outcome, error.function_name()) {
                // It refuses to filter, whatever there is to be hidden.
                (Outcome::Refused, Some("check_enable_rls")) => {
                    let detail = "row_security is off".to_owned();
                    return (Outcome::NotTried, Some(detail));
                }
                (Outcome::Refused, Some("aclcheck_error" | "aclcheck_error_col")) => {
                    format!("SQLSTATE {code}, a privilege is missing")
                }
                (Outcome::Crossed, _) => {
                    format!("only a constraint was in the way: SQLSTATE {code}")
                }
                _ => format!("SQLSTATE {code}"),
            };
            (outcome, Some(detail))
        }
    }
}

/// What a view or function shows.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// All of it, as one text.
    Text(String),
    /// The SQLSTATE of an error.
    Error(String),
    /// The row that was watched is not as it was.
    Harmed,
}

/// What a view or function shows to a role, while `stands` holds before and after. By format(), as a cast
/// to text may call what the owner of a type wrote.
pub(super) fn shown(role: pg_sys::Oid, source: &str, stands: impl Fn() -> bool) -> Shown {
    let query = format!(
        "SELECT count(*) || md5(coalesce(string_agg(md5(format('%s', tenant_guard_x)), '' \
             ORDER BY md5(format('%s', tenant_guard_x))), '')) FROM {source}"
    );
    let read = undone(|| {
        let stood = stands();
        let text = as_restricted(role, || text(&query));
        (text, stood && !stands())
    });
    match read {
        Ok((_, true)) => Shown::Harmed,
        Ok((text, false)) => Shown::Text(text),
        Err(error) => Shown::Error(sqlstate(error.sql_error_code())),
    }
}

fn text(query: &str) -> String {
    let found = Spi::connect_mut(|client| client.update(query, None, &[])?.first().get_one());
    found
        .unwrap_or_else(|error| failed(&error))
        .unwrap_or_default()
}

fn count(query: &str) -> i64 {
    let found = Spi::connect_mut(|client| client.update(query, None, &[])?.first().get_one());
    found.unwrap_or_else(|error| failed(&error)).unwrap_or(0)
}

/// How many rows a statement returns or changes.
fn touched(statement: &str) -> i64 {
    let rows =
        Spi::connect_mut(|client| client.update(statement, None, &[]).map(|rows| rows.len()));
    rows.unwrap_or_else(|error| failed(&error)) as i64
}

fn failed(error: &pgrx::spi::Error) -> ! {
    pgrx::error!("a statement of the probe cannot be run: {error}")
}
