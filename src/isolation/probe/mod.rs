//! Trying to cross from one account to another, with rows of two accounts that nobody has.
//!
//! Everything happens in a subtransaction that is always rolled back. Rows are planted with the rights
//! of each table's owner and attempts are made with those of each role that reaches the relation; no
//! statement runs with the rights of the extension's owner, because triggers, constraints and policies
//! are other people's code. With whose rights that code may run, `authors` decides.

mod advisory;
mod arguments;
mod authors;
mod canary;
mod comparing;
mod reach;
mod showers;
mod trying;

use std::cell::Cell;

use pgrx::prelude::*;
use serde_json::json;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::identity::Identity;
use tenant_guard_core::probe::{Outcome, Trial, Values, mix, uuid};

pub(super) use self::authors::may_become;

use self::arguments::Asked;
use self::authors::{authors, code_of};
use self::canary::{Canary, Planter, name};
use self::reach::{Reacher, allowed_columns, key_columns};
use self::showers::{Shower, showers};
use self::trying::Identities;
use super::floor_hook;
use super::ownership::Ownerships;
use super::registry::read;
use crate::audit::record::record_system;
use crate::error::{Error, OrRaise};
use crate::identity::binding;

/// One row of the answer.
struct Line {
    role: Option<String>,
    attempt: String,
    outcome: Outcome,
    detail: Option<String>,
}

/// Tries to cross, and says what became of each attempt.
#[pg_extern(sql = false)]
fn probe(
    fcinfo: pg_sys::FunctionCallInfo,
) -> TableIterator<
    'static,
    (
        name!(role, Option<String>),
        name!(attempt, String),
        name!(outcome, &'static str),
        name!(detail, Option<String>),
    ),
> {
    let answer = answer(fcinfo).or_raise();
    let failing = answer.failing().len();
    let verdict = match failing {
        0 => ("passed", format!("{} attempts", answer.lines.len())),
        _ => (
            "failed",
            format!("{failing} of {} attempts", answer.lines.len()),
        ),
    };
    let first = (None, "verdict".to_owned(), verdict.0, Some(verdict.1));
    let lines = answer.lines.into_iter();
    let lines = lines.map(|line| (line.role, line.attempt, line.outcome.name(), line.detail));
    TableIterator::new(std::iter::once(first).chain(lines).collect::<Vec<_>>())
}

/// An error unless nothing crossed and everything was tried or accepted.
#[pg_extern(sql = false)]
fn probe_gate(fcinfo: pg_sys::FunctionCallInfo) {
    let answer = answer(fcinfo).or_raise();
    let failing = answer.failing();
    if !failing.is_empty() {
        let relation = answer.relation;
        Error::ProbeFailed { relation, failing }.raise();
    }
}

/// What is said of an attempt, and more.
fn noted(detail: Option<String>, note: &str) -> Option<String> {
    Some(match detail {
        Some(detail) => format!("{detail}; {note}"),
        None => note.to_owned(),
    })
}

struct Answer {
    relation: String,
    lines: Vec<Line>,
    accepted: Vec<String>,
}

impl Answer {
    /// What crossed, and what could not be tried though nobody accepted that.
    fn failing(&self) -> Vec<String> {
        let fails = |line: &&Line| match line.outcome {
            Outcome::Crossed => true,
            Outcome::NotTried => !self.accepted.contains(&line.attempt),
            _ => false,
        };
        let failing = self.lines.iter().filter(fails);
        let said = failing.map(|line| {
            let mut said = format!("{}: {}", line.attempt, line.outcome.name());
            if let Some(role) = &line.role {
                said = format!("{role}: {said}");
            }
            match &line.detail {
                Some(detail) => format!("{said}, {detail}"),
                None => said,
            }
        });
        said.collect()
    }
}

thread_local! {
    static PROBING: Cell<bool> = const { Cell::new(false) };
}

fn answer(fcinfo: pg_sys::FunctionCallInfo) -> Result<Answer, Error> {
    struct Probing;
    impl Drop for Probing {
        fn drop(&mut self) {
            PROBING.set(false);
        }
    }

    // Code that a probe runs would have its own way with it.
    if PROBING.replace(true) {
        return Err(Error::NestedProbe);
    }
    let _probing = Probing;
    let asked = Asked::of(fcinfo)?;
    let probe = Probe::new(&asked)?;
    // What is tried is undone; that it was is not.
    let data = json!({
        "roles": probe.tried_roles(),
        "accept": asked.accepted,
        "trust": asked.leave.trusted,
    });
    record_system("probe", Some(asked.relation), "", Some(&data.to_string()));
    let mut lines = advisory::given_back(|| probe.run())?;
    lines.extend(probe.unknown_names(&lines));
    Ok(Answer {
        relation: asked.name,
        lines,
        accepted: asked.accepted,
    })
}

struct Probe<'a> {
    asked: &'a Asked,
    relation: pg_sys::Oid,
    tree: Vec<pg_sys::Oid>,
    /// Everybody but superusers whose code runs when the relation is written.
    authors: Vec<pg_sys::Oid>,
    showers: Vec<Shower>,
    reachers: Vec<Reacher>,
    random: u64,
    identities: Identities,
    subject: String,
    read_by_all: bool,
}

impl<'a> Probe<'a> {
    fn new(asked: &'a Asked) -> Result<Self, Error> {
        let relation = asked.relation;
        let random = read("SELECT gen_random_uuid()::text", &[], |row| {
            row.get::<String>(1)
        });
        let random = random.into_iter().flatten().next().unwrap_or_default();
        let random = u64::from_str_radix(&random[..8], 16).unwrap_or(1) << 32
            | u64::from(std::process::id());
        let tree = reach::tree(relation);
        let authors = authors(&tree, true);
        let showers = showers(&tree);
        let reachers = reach::reachers(&tree, &showers, &authors, &asked.leave);
        let subject = subject(random);
        let identity = |random| identity(&made_up_account(mix(random)), &subject);
        let identities = Identities {
            mine: identity(random)?,
            theirs: identity(random ^ 1)?,
            nobody: identity(random ^ 2)?,
        };
        let owner = Ownerships::of(vec![relation]).get(relation);
        Ok(Self {
            asked,
            relation,
            tree,
            authors,
            showers,
            reachers,
            random,
            identities,
            subject,
            read_by_all: owner.is_some_and(|owner| owner.is_read_by_anyone()),
        })
    }

    /// Those in whose names anything is tried, for people.
    fn tried_roles(&self) -> Vec<&str> {
        let tried = { self.reachers.iter() }.filter(|reacher| reacher.refusal.is_none());
        tried.map(|reacher| reacher.names.as_str()).collect()
    }

    /// Names among the arguments that mean nothing, such as of what was renamed since.
    fn unknown_names(&self, lines: &[Line]) -> Vec<Line> {
        let accepted = { self.asked.accepted.iter() }
            .filter(|name| !lines.iter().any(|line| line.attempt == **name))
            .map(|name| ("accept", name));
        let trusted = { self.asked.leave.trusted.iter() }
            .filter(|name| {
                let is_author = self.authors.iter().any(|author| code_of(*author) == **name);
                !is_author && !self.showers.iter().any(|shower| shower.is_named(name))
            })
            .map(|name| ("trust", name));
        let unknown = accepted.chain(trusted).map(|(argument, name)| Line {
            role: None,
            attempt: format!("{argument} {name}"),
            outcome: Outcome::NotTried,
            detail: Some("nothing is named so".into()),
        });
        unknown.collect()
    }

    fn run(&self) -> Result<Vec<Line>, Error> {
        // A session that has not loaded the library has policies alone.
        let tried =
            floor_hook::without(|| binding::borrow(&self.identities.mine, || self.attempts()));
        match tried {
            Ok(lines) => Ok(lines),
            Err(report) => pgrx::pg_sys::panic::CaughtError::PostgresError(*report).rethrow(),
        }
    }

    fn attempts(&self) -> Vec<Line> {
        match self.plant() {
            Ok(lines) => lines,
            Err(why) => vec![Line {
                role: None,
                attempt: "plant".into(),
                outcome: Outcome::NotTried,
                detail: Some(why),
            }],
        }
    }

    fn plant(&self) -> Result<Vec<Line>, String> {
        let planter = |identity: &Identity, place: usize, random| {
            let account = identity.account.as_str().to_owned();
            let chosen = self.asked.chosen(place);
            Planter::new(account, &self.subject, &self.asked.leave, chosen, random)
        };
        let Identities { mine, theirs, .. } = &self.identities;
        let anything = || true;
        let none: Vec<_> = { self.reachers.iter() }
            .map(|of| self.shown(of, &anything))
            .collect();
        let own = planter(mine, 0, mix(self.random)).plant(self.relation)?;
        // Twice: what never says the same proves nothing.
        let before: Vec<_> = { self.reachers.iter() }
            .map(|of| [0, 1].map(|_| self.shown(of, &anything)))
            .collect();
        binding::switch(Some(theirs));
        let mut of_other = planter(theirs, 1, mix(!self.random));
        let other = of_other.plant(self.relation)?;
        of_other.chosen = self.asked.chosen(2);
        let another = of_other.another(self.relation)?;
        binding::switch(Some(mine));

        let mut lines = Vec::new();
        for (place, reacher) in self.reachers.iter().enumerate() {
            if let Some(refusal) = &reacher.refusal {
                lines.push(Line {
                    role: Some(reacher.names.clone()),
                    attempt: format!("as {}", reacher.names),
                    outcome: Outcome::NotTried,
                    detail: Some(refusal.clone()),
                });
                continue;
            }
            lines.extend(self.by_role(reacher, &own, &other, &another));
            let after = self.shown(reacher, &|| other.stands(self.relation));
            let [first, second] = &before[place];
            lines.extend(self.compared(reacher, &none[place], [first, second], &after));
            lines.extend(self.written_through(reacher, &another, &other));
        }
        Ok(lines)
    }

    /// All attempts of one role on the relation, and on what is between it and the row's own table.
    fn by_role(
        &self,
        reacher: &Reacher,
        own: &Canary,
        other: &Canary,
        another: &Values,
    ) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut way = reach::way_down(self.relation, other.leaf);
        way.insert(0, self.relation);
        for &relation in &way {
            let trial = self.trial(reacher.role(), relation, own, other, another);
            let prefix = match relation == self.relation {
                true => String::new(),
                false => format!("{}: ", trial.relation),
            };
            let line = |attempt: &str, (outcome, detail)| Line {
                role: Some(reacher.names.clone()),
                attempt: format!("{prefix}{attempt}"),
                outcome,
                detail,
            };
            let tried = trying::all(reacher.role(), relation, &trial, &self.identities);
            let mut tried: Vec<_> = { tried.into_iter() }
                .map(|(attempt, tried)| line(attempt, tried))
                .collect();
            let role = reacher.role();
            if trying::sees_own(role, &trial) == Some(false) {
                if reach::is_let_in(role, relation) {
                    let detail = "the role does not see its own account's row, so what it does not \
                        see of the other's proves nothing: say values in canary";
                    tried.push(line("own row", (Outcome::NotTried, Some(detail.into()))));
                } else if let Some(first) = tried.first_mut() {
                    let note = "no policy lets the role see a row of any account";
                    first.detail = noted(first.detail.take(), note);
                }
            }
            lines.extend(tried);
        }
        let aside = self.tree.iter().filter(|member| !way.contains(member));
        let aside = aside.filter(|_| !self.read_by_all && !own.ownership.is_empty());
        lines.extend(aside.map(|&member| {
            let member = name(member);
            let (outcome, detail) = trying::of_others(reacher.role(), &member, &own.ownership);
            Line {
                role: Some(reacher.names.clone()),
                attempt: format!("{member}: select"),
                outcome,
                detail,
            }
        }));
        lines
    }

    fn trial(
        &self,
        role: pg_sys::Oid,
        relation: pg_sys::Oid,
        own: &Canary,
        other: &Canary,
        another: &Values,
    ) -> Trial {
        let readable = allowed_columns(role, relation, "SELECT");
        let changeable = allowed_columns(role, relation, "UPDATE");
        let insertable = allowed_columns(role, relation, "INSERT");
        let key = key_columns(relation);
        // By the key, or by what else the role may read; where it may read nothing, it is refused.
        let found_by = |canary: &Canary| {
            let by_key: Values = canary
                .given
                .iter()
                .filter(|(c, ..)| key.contains(c))
                .cloned()
                .collect();
            let legible = |values: &Values| values.iter().all(|(c, ..)| readable.contains(c));
            if !by_key.is_empty() && (legible(&by_key) || readable.is_empty()) {
                return by_key;
            }
            let given = canary.given.iter().filter(|(c, ..)| readable.contains(c));
            let given: Values = given.cloned().collect();
            if given.is_empty() {
                canary.given.clone()
            } else {
                given
            }
        };
        let owning: Vec<_> = other.ownership.iter().map(|(column, ..)| column).collect();
        let changed = { changeable.iter() }.find(|column| !owning.contains(column));
        let inserted = another.iter().filter(|(column, ..)| {
            insertable.contains(column) || owning.contains(&column) || insertable.is_empty()
        });
        Trial {
            relation: name(relation),
            own: found_by(own),
            owned: own.ownership.clone(),
            other: found_by(other),
            another: inserted.cloned().collect(),
            changed: changed.or(changeable.first()).cloned(),
            moved: other.ownership.clone(),
            key,
            read_by_all: self.read_by_all,
            merge: pg_sys::PG_VERSION_NUM >= 150_000,
        }
    }
}

/// An account that nobody has, of the kind that account columns hold.
fn made_up_account(random: u64) -> String {
    let uuids = read(
        "SELECT FROM tenant_guard.protection AS p \
         JOIN pg_attribute AS a ON a.attrelid = p.relation AND a.attname = p.account_column \
         WHERE a.atttypid = 'uuid'::regtype LIMIT 1",
        &[],
        |_| Ok(()),
    );
    match uuids.is_empty() {
        true => (2_000_000_000 + random % 147_000_000).to_string(),
        false => uuid(random),
    }
}

/// A subject of the kind that columns of owners hold.
fn subject(random: u64) -> String {
    let numbers = read(
        "SELECT FROM tenant_guard.permission AS p \
         JOIN pg_attribute AS a ON a.attrelid = p.relation AND a.attname = p.owner_column \
         WHERE a.atttypid IN ('integer'::regtype, 'bigint'::regtype) LIMIT 1",
        &[],
        |_| Ok(()),
    );
    match numbers.is_empty() {
        true => uuid(mix(random)),
        false => (2_000_000_000 + mix(random) % 147_000_000).to_string(),
    }
}

/// Somebody of an account, with every role of the product and every level that is asked for anywhere:
/// what crosses at all does so for them.
fn identity(account: &str, subject: &str) -> Result<Identity, Error> {
    let texts = |query| {
        read(query, &[], |row| {
            row.get::<String>(1).map(Option::unwrap_or_default)
        })
    };
    let roles = texts("SELECT r.name FROM tenant_guard.product_role AS r ORDER BY r.name");
    let levels = texts(
        "SELECT a.level FROM tenant_guard.protection_assurance AS a \
         UNION SELECT r.assurance FROM tenant_guard.product_role AS r \
         WHERE r.assurance IS NOT NULL ORDER BY 1",
    );
    let claims = json!({ "account_id": account, "sub": subject, "roles": roles });
    Ok(Identity {
        issuer: "tenant_guard.probe".into(),
        account: AccountId::from_text(account).map_err(|_| Error::UnfitAccount)?,
        subject: Some(subject.to_owned()),
        roles,
        session: None,
        assurance: Some(levels.join(" ")).filter(|levels| !levels.is_empty()),
        token_id: None,
        issued_at_us: None,
        valid_until_us: i64::MAX,
        claims: claims.to_string(),
    })
}
