//! Trying to cross from one account to another, with rows of two accounts that nobody has.
//!
//! Everything happens in a subtransaction that is always rolled back. Rows are planted with the rights
//! of each table's owner and attempts are made with those of each role that reaches the relation; no
//! statement runs with the rights of the extension's owner, because triggers, constraints and policies
//! are other people's code.

mod canary;
mod reach;
mod trying;

use std::collections::HashMap;

use pgrx::prelude::*;
use serde_json::json;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::identity::Identity;
use tenant_guard_core::probe::{Outcome, Trial, Values, mix, uuid};

use self::canary::{Canary, Planter, name};
use self::reach::{Reacher, Shower, allowed_columns, key_columns};
use super::ownership::Ownerships;
use super::registry::{read, root_of};
use super::{floor_hook, obstacles, require_admin};
use crate::error::{Error, Obstacle, OrRaise};
use crate::identity::binding;
use crate::raw::json_argument;

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

fn answer(fcinfo: pg_sys::FunctionCallInfo) -> Result<Answer, Error> {
    // SAFETY: PostgreSQL passed `fcinfo`; sql/probe.sql gives the arguments these types.
    let (relation, accepted, chosen) = unsafe {
        (
            pgrx::fcinfo::pg_getarg::<pg_sys::Oid>(fcinfo, 0),
            pgrx::fcinfo::pg_getarg::<Vec<Option<String>>>(fcinfo, 1),
            json_argument(fcinfo, 2),
        )
    };
    require_admin()?;
    let relation = relation.ok_or(Error::NullArgument("relation"))?;
    let accepted = accepted.ok_or(Error::NullArgument("accept"))?;
    let chosen = chosen.ok_or(Error::NullArgument("canary"))?;
    let name = refuse_unfit(relation)?;
    let lines = Probe::new(relation, chosen_values(relation, &name, &chosen)?)?.run()?;
    Ok(Answer {
        relation: name,
        lines,
        accepted: accepted.into_iter().flatten().collect(),
    })
}

/// The name of a relation whose rows belong to accounts.
fn refuse_unfit(relation: pg_sys::Oid) -> Result<String, Error> {
    let kinds = read(
        "SELECT c.relkind::text FROM pg_class AS c WHERE c.oid = $1",
        &[relation.into()],
        |row| row.get::<String>(1).map(Option::unwrap_or_default),
    );
    let kind = kinds.into_iter().next();
    let kind = kind.ok_or(Obstacle::Gone(relation.to_u32()))?;
    let name = name(relation);
    let other = obstacles::other_kind(&kind);
    if !other.is_empty() {
        return Err(Obstacle::WrongKind(name, other).into());
    }
    match root_of(relation) {
        None => return Err(Obstacle::NotProtected(name).into()),
        Some(root) if root != relation => {
            return Err(Obstacle::PartOf(name, canary::name(root)).into());
        }
        Some(_) => {}
    }
    let owner = Ownerships::of(vec![relation]).get(relation);
    match owner {
        Some(owner) if owner.archetype().has_accounts() => Ok(name),
        _ => Err(Obstacle::NoAccounts(name).into()),
    }
}

/// The values that the caller chose for columns of canary rows.
fn chosen_values(
    relation: pg_sys::Oid,
    name: &str,
    chosen: &str,
) -> Result<HashMap<String, String>, Error> {
    let columns = read(
        "SELECT k.key, k.value, EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = $1 \
             AND a.attname = k.key AND a.attnum > 0 AND NOT a.attisdropped) \
         FROM jsonb_each_text($2::jsonb) AS k",
        &[relation.into(), chosen.into()],
        |row| {
            let column = row.get::<String>(1)?.unwrap_or_default();
            Ok((column, row.get::<String>(2)?, row.get::<bool>(3)?))
        },
    );
    let mut values = HashMap::new();
    for (column, value, exists) in columns {
        if exists != Some(true) {
            return Err(Obstacle::NoColumn(column, name.to_owned()).into());
        }
        let value = value.ok_or(Error::UnfitArgument("canary", "it has a null value"))?;
        values.insert(column, value);
    }
    Ok(values)
}

struct Probe {
    relation: pg_sys::Oid,
    chosen: HashMap<String, String>,
    showers: Vec<Shower>,
    reachers: Vec<Reacher>,
    random: u64,
    mine: Identity,
    theirs: Identity,
    subject: String,
    read_by_all: bool,
}

impl Probe {
    fn new(relation: pg_sys::Oid, chosen: HashMap<String, String>) -> Result<Self, Error> {
        let random = read("SELECT gen_random_uuid()::text", &[], |row| {
            row.get::<String>(1)
        });
        let random = random.into_iter().flatten().next().unwrap_or_default();
        let random = u64::from_str_radix(&random[..8], 16).unwrap_or(1) << 32
            | u64::from(std::process::id());
        let tree = reach::tree(relation);
        let showers = reach::showers(&tree);
        let reachers = reach::reachers(&tree, &showers);
        let subject = subject(random);
        let account = |random| made_up_account(mix(random));
        let (mine, theirs) = (account(random), account(random ^ 1));
        let owner = Ownerships::of(vec![relation]).get(relation);
        Ok(Self {
            relation,
            chosen,
            showers,
            reachers,
            random,
            mine: identity(&mine, &subject)?,
            theirs: identity(&theirs, &subject)?,
            subject,
            read_by_all: owner.is_some_and(|owner| owner.is_read_by_anyone()),
        })
    }

    fn run(&self) -> Result<Vec<Line>, Error> {
        // A session that has not loaded the library has policies alone.
        let tried = floor_hook::without(|| binding::borrow(&self.mine, || self.attempts()));
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
        let planter = |identity: &Identity, random| {
            let account = identity.account.as_str().to_owned();
            Planter::new(account, &self.subject, &self.chosen, random)
        };
        let own = planter(&self.mine, mix(self.random)).plant(self.relation)?;
        // What views and functions show before there is a row of the other account.
        let before: Vec<_> = { self.reachers.iter() }.map(|of| self.shown(of)).collect();
        binding::switch(Some(&self.theirs));
        let mut of_other = planter(&self.theirs, mix(!self.random));
        let other = of_other.plant(self.relation)?;
        let another = of_other.another(self.relation)?;
        binding::switch(Some(&self.mine));

        let mut lines = Vec::new();
        for (reacher, before) in self.reachers.iter().zip(before) {
            lines.extend(self.by_role(reacher, &own, &other, &another));
            lines.extend(self.compared(reacher, before));
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
        let below = reach::way_down(self.relation, other.leaf);
        for relation in std::iter::once(self.relation).chain(below) {
            let trial = self.trial(reacher.role, relation, own, other, another);
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
            let tried = trying::all(reacher.role, relation, &trial, &self.mine, &self.theirs);
            let mut tried: Vec<_> = { tried.into_iter() }
                .map(|(attempt, tried)| line(attempt, tried))
                .collect();
            let role = reacher.role;
            if trying::sees_own(role, &trial) == Some(false) {
                if reach::is_let_in(role, relation) {
                    let detail = "the role does not see its own account's row, so what it does not \
                        see of the other's proves nothing: say values in canary";
                    tried.push(line("own row", (Outcome::NotTried, Some(detail.into()))));
                } else if let Some(first) = tried.first_mut() {
                    let note = "no policy lets the role see a row of any account";
                    first.detail = Some(match first.detail.take() {
                        Some(detail) => format!("{detail}; {note}"),
                        None => note.into(),
                    });
                }
            }
            lines.extend(tried);
        }
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

    /// What each view and function shows a role; none for what it may not read or call.
    fn shown(&self, reacher: &Reacher) -> Vec<Option<[Result<String, String>; 2]>> {
        let showers = self.showers.iter();
        showers
            .map(|shower| {
                let source = shower.source.as_deref()?;
                let open = shower.is_open_to(reacher.role);
                // Twice: what never says the same proves nothing.
                open.then(|| [0, 1].map(|_| trying::shown(reacher.role, source)))
            })
            .collect()
    }

    /// Whether a row of the other account changed what views and functions show.
    fn compared(
        &self,
        reacher: &Reacher,
        before: Vec<Option<[Result<String, String>; 2]>>,
    ) -> Vec<Line> {
        let showers = self.showers.iter().zip(before);
        let open = showers.filter(|(shower, _)| shower.is_open_to(reacher.role));
        open.map(|(shower, before)| {
            let (outcome, detail) = match (&shower.source, before) {
                (Some(source), Some([first, second])) => {
                    self.changed(reacher, source, first, second)
                }
                _ => (Outcome::NotTried, Some(shower.untried.clone())),
            };
            Line {
                role: Some(reacher.names.clone()),
                attempt: shower.attempt.clone(),
                outcome,
                detail,
            }
        })
        .collect()
    }

    fn changed(
        &self,
        reacher: &Reacher,
        source: &str,
        first: Result<String, String>,
        second: Result<String, String>,
    ) -> (Outcome, Option<String>) {
        match (first, second, trying::shown(reacher.role, source)) {
            (Ok(first), Ok(second), _) if first != second => {
                let detail = "it says something else each time".to_owned();
                (Outcome::NotTried, Some(detail))
            }
            (Ok(before), _, Ok(after)) if before == after => (Outcome::Hidden, None),
            (_, _, Ok(_)) if self.read_by_all => (Outcome::ByDesign, None),
            (_, _, Ok(_)) => {
                let detail = "a row of another account changes what it shows".to_owned();
                (Outcome::Crossed, Some(detail))
            }
            (_, _, Err(code)) => {
                let outcome = match Outcome::of_error(&code) {
                    Outcome::Refused => Outcome::Refused,
                    _ => Outcome::NotTried,
                };
                (outcome, Some(format!("SQLSTATE {code}")))
            }
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
