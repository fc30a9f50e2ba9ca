//! Whether views and functions show, change or take in rows of another account.

use pgrx::prelude::*;
use tenant_guard_core::probe::{Attempt, Outcome, Sign, Values, blind, listed};

use super::canary::Canary;
use super::reach::{Reacher, allowed_columns};
use super::showers::Shower;
use super::trying::{self, Shown};
use super::{Line, Probe, noted};
use crate::catalog::extension_owner;

/// What each view and function shows to each role that may read or call it; in words, why nothing.
pub(super) type All = Vec<Vec<Option<Result<Shown, String>>>>;

impl Probe<'_> {
    /// What is shown to the roles of a group.
    pub(super) fn shown(&self, reacher: &Reacher, stands: &dyn Fn() -> bool) -> All {
        if reacher.refusal.is_some() {
            return Vec::new();
        }
        let of_role = |role: pg_sys::Oid| {
            let showers = self.showers.iter();
            showers
                .map(|shower| {
                    let open = shower.is_open_to(role);
                    open.then(|| {
                        let source = shower.source(role, self.relation, &self.asked.leave)?;
                        Ok(trying::shown(role, &source, stands))
                    })
                })
                .collect()
        };
        { reacher.roles.iter() }
            .map(|(role, _)| of_role(*role))
            .collect()
    }

    /// Whether a row of the other account changed what views and functions show: `none` is what they
    /// showed when no row was planted, `before` what they did when there was one's own, asked twice.
    pub(super) fn compared(
        &self,
        reacher: &Reacher,
        none: &All,
        before: [&All; 2],
        after: &All,
    ) -> Vec<Line> {
        let mut lines = Vec::new();
        for (role, (_, name)) in reacher.roles.iter().enumerate() {
            for (place, shower) in self.showers.iter().enumerate() {
                let of = |all: &All| all[role][place].clone();
                let (Some(none), Some(first), Some(second), Some(after)) =
                    (of(none), of(before[0]), of(before[1]), of(after))
                else {
                    continue;
                };
                let all = none.and_then(|none| Ok([none, first?, second?, after?]));
                let (outcome, mut detail) = match all {
                    Ok(shown) => self.judged(shown),
                    Err(why) => (Outcome::NotTried, Some(why)),
                };
                if *name != reacher.names {
                    detail = noted(detail, &format!("as {name} alone"));
                }
                lines.push(Line {
                    role: Some(reacher.names.clone()),
                    attempt: shower.attempt.clone(),
                    outcome,
                    detail,
                });
            }
        }
        lines
    }

    fn judged(&self, [none, first, second, after]: [Shown; 4]) -> (Outcome, Option<String>) {
        let not_tried = |why: &str| (Outcome::NotTried, Some(why.to_owned()));
        match (none, first, second, after) {
            (.., Shown::Harmed) => {
                let detail = "it changes the other account's row".to_owned();
                (Outcome::Crossed, Some(detail))
            }
            (.., Shown::Error(code)) => {
                let outcome = match Outcome::of_error(&code) {
                    Outcome::Refused => Outcome::Refused,
                    _ => Outcome::NotTried,
                };
                (outcome, Some(format!("SQLSTATE {code}")))
            }
            (_, first, second, _) if first != second => {
                not_tried("it says something else each time")
            }
            (none, first, _, after) if first == after => match none == first {
                true => not_tried("it does not show one's own row either"),
                false => (Outcome::Hidden, None),
            },
            _ if self.read_by_all => (Outcome::ByDesign, None),
            _ => {
                let detail = "a row of another account changes what it shows".to_owned();
                (Outcome::Crossed, Some(detail))
            }
        }
    }

    /// Whether roles of a group write rows of another account through views that PostgreSQL writes through.
    pub(super) fn written_through(
        &self,
        reacher: &Reacher,
        another: &Values,
        other: &Canary,
    ) -> Vec<Line> {
        let mut lines = Vec::new();
        for shower in self.showers.iter().filter(|shower| !shower.is_function()) {
            let open = { reacher.roles.iter() }
                .filter_map(|(role, name)| Some((*role, name, shower.writing(*role)?)));
            for (role, name, writing) in open {
                let alone = (*name != reacher.names).then(|| format!("as {name} alone"));
                let line = |attempt: &str, (outcome, detail): trying::Tried| Line {
                    role: Some(reacher.names.clone()),
                    attempt: format!("{}: {attempt}", shower.attempt),
                    outcome,
                    detail: match &alone {
                        Some(alone) => noted(detail, alone),
                        None => detail,
                    },
                };
                let refusal = self.asked.leave.refusal(&self.authors, role, false);
                let refusal = refusal
                    .or_else(|| shower.refusal(role, &self.asked.leave))
                    .or(writing.untried);
                match refusal {
                    Some(why) => lines.push(line("write", (Outcome::NotTried, Some(why)))),
                    None => {
                        let attempts = self.writes(shower, role, another, other);
                        lines.extend(attempts.iter().map(|attempt| {
                            let tried = trying::one(role, attempt, &self.identities);
                            line(attempt.name, tried)
                        }));
                    }
                }
            }
        }
        lines
    }

    fn writes(
        &self,
        shower: &Shower,
        role: pg_sys::Oid,
        another: &Values,
        other: &Canary,
    ) -> Vec<Attempt> {
        // The row by the names that its columns have in the view; its account must be among them.
        let columns = shower.columns_of(self.relation);
        // One that the table's own rows take too, if any: PostgreSQL numbers and computes the others. The
        // extension's owner, a superuser, is denied none but these.
        let granted = allowed_columns(role, shower.oid, "UPDATE");
        let taken = allowed_columns(extension_owner(), self.relation, "UPDATE");
        let is_taken = |of_view: &&String| {
            let of_table = columns.iter().find(|(_, name)| name == *of_view);
            of_table.is_some_and(|(of_table, _)| taken.contains(of_table))
        };
        let changed = granted.iter().find(is_taken).or(granted.first());
        let mut attempts = blind(shower.name(), changed.map(String::as_str));
        let named = |values: &Values| -> Values {
            let renamed = values.iter().filter_map(|(column, kind, value)| {
                let (_, of_view) = columns.iter().find(|(of_table, _)| of_table == column)?;
                Some((of_view.clone(), kind.clone(), value.clone()))
            });
            renamed.collect()
        };
        let (values, ownership) = (named(another), named(&other.ownership));
        if ownership.len() == other.ownership.len() {
            let (columns, values) = listed(&values);
            attempts.push(Attempt {
                name: "insert",
                statements: vec![format!(
                    "INSERT INTO {} ({columns}) VALUES ({values})",
                    shower.name()
                )],
                sign: Sign::Touches,
                of_nobody: false,
            });
        }
        attempts
    }
}
