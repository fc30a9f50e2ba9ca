//! One row and what the policies of its relation say of it.
//!
//! Operands are asked with the rights of the role they are asked for, as policies are, never with those
//! of the extension's owner: other people's policies call other people's functions.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use tenant_guard_core::access::{Clause, Decision, NamedPolicy, Truth, decide, judge};
use tenant_guard_core::permission::{Command, Condition, meaning, relation_of};
use tenant_guard_core::policy::FLOOR;

use super::asking::{Asking, Privilege, privileges};
use super::key::{Target, name_of, parent_key};
use crate::catalog::{as_relation_owner, as_restricted};
use crate::error::{Error, OrRaise, sqlstate};
use crate::identity::binding;
use crate::isolation::registered::Registry;
use crate::isolation::registry::{links_of, read, root_of};
use crate::isolation::{column_hook, expression};
use crate::subtransaction::attempt;

/// What the asking role may know of the row.
enum Found {
    /// The caller reads it, and asks its operands in place.
    Visible,
    /// An administrator may know that it is there: the row, as a value of the relation's row type.
    Record(pg_sys::Datum),
    /// An administrator may know that there is none.
    Missing,
    /// There is none, or the caller does not see it. Nothing is read further.
    Unknown,
}

/// A row and the policies it is held against.
pub(super) struct Case<'a> {
    asking: &'a Asking,
    target: Target,
    found: Found,
    held: bool,
    privileges: Vec<Privilege>,
    pub(super) policies: Vec<NamedPolicy>,
    answers: RefCell<HashMap<String, (Truth, Option<String>)>>,
}

/// SQLSTATE of a column that is not there.
const UNDEFINED_COLUMN: &str = "42703";

type Reason = (&'static str, String);

impl<'a> Case<'a> {
    pub(super) fn new(asking: &'a Asking, relation: pg_sys::Oid, target: Target) -> Self {
        // SAFETY: a catalog look-up by oid; with noError it does not raise.
        let row_security = unsafe { pg_sys::check_enable_rls(relation, asking.role, true) };
        let privileges = privileges(asking, relation, &target.name);
        let policies = policies(asking.role, relation);
        let found = match asking.knows_rows {
            true => match record(&target).or_raise() {
                Some(record) => Found::Record(record),
                None => Found::Missing,
            },
            false if is_visible(&target).or_raise() => Found::Visible,
            false => Found::Unknown,
        };
        Self {
            asking,
            target,
            found,
            held: row_security == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32,
            privileges,
            policies,
            answers: RefCell::default(),
        }
    }

    /// Whether operands may be told.
    pub(super) fn may_know(&self) -> bool {
        !matches!(self.found, Found::Unknown)
    }

    pub(super) fn has_row_security(&self) -> bool {
        self.held
    }

    pub(super) fn row_security(&self) -> &'static str {
        if self.held {
            "row security applies"
        } else {
            "row security does not apply: the role bypasses it, or it is not enabled or not forced"
        }
    }

    pub(super) fn privilege(&self, command: Command) -> &Privilege {
        &self.privileges[command as usize]
    }

    /// The columns that lists leave to the identity, in the order of the table; none for all.
    pub(super) fn listed_columns(&self, command: Command) -> Option<Vec<String>> {
        if !self.held {
            return None;
        }
        let columns = column_hook::reached_columns(self.target.relation, command)?;
        let columns: Vec<_> = columns.into_iter().collect();
        Some(read(
            "SELECT a.attname::text FROM pg_attribute AS a \
             WHERE a.attrelid = $1 AND a.attnum = ANY ($2) ORDER BY a.attnum",
            &[self.target.relation.into(), columns.into()],
            |row| row.get::<String>(1).map(Option::unwrap_or_default),
        ))
    }

    /// Whether the row is shown, and why.
    pub(super) fn summary(&self) -> Reason {
        let (verdict, because) = self.verdict(Command::Select);
        match self.found {
            _ if verdict == "denied" => (verdict, because),
            Found::Missing => ("no such row", format!("in {}", self.target.name)),
            Found::Unknown => {
                let role = &self.asking.name;
                (
                    "no such row or hidden",
                    format!("{role} sees none: {because}"),
                )
            }
            Found::Visible | Found::Record(_) => (verdict, because),
        }
    }

    /// Whether a command reaches the row as it stands, or could store it so, and why.
    pub(super) fn verdict(&self, command: Command) -> Reason {
        if let Privilege::Missing(what) = self.privilege(command) {
            return ("denied", what.clone());
        }
        let words = match command {
            Command::Select => ["shown", "hidden"],
            _ => ["allowed", "refused"],
        };
        if !self.held {
            return (words[0], self.row_security().into());
        }
        let decision = self.decision(command);
        let verdict = match decision.truth {
            Truth::True => words[0],
            Truth::Open => "depends on the row",
            Truth::Fails => "fails",
            Truth::False | Truth::Null => words[1],
        };
        (verdict, self.because(decision))
    }

    fn decision(&self, command: Command) -> Decision {
        let ask = |command, clause| {
            let operand = &mut |operand: &str| self.ask(operand).0;
            decide(&self.policies, command, clause, operand)
        };
        if matches!(command, Command::Update | Command::Delete) {
            let selected = ask(Command::Select, Clause::Using);
            if selected.truth != Truth::True {
                let because = format!("select does not find it: {}", selected.because);
                return Decision {
                    because,
                    ..selected
                };
            }
        }
        let clauses = Clause::of(command).iter();
        let mut asked = clauses.map(|clause| ask(command, *clause));
        let last = asked.next_back();
        let undecided = asked.find(|decision| decision.truth != Truth::True);
        // Every command asks something.
        undecided.or(last).unwrap_or(Decision {
            truth: Truth::False,
            because: String::new(),
            blame: None,
        })
    }

    fn because(&self, decision: Decision) -> String {
        let problem = binding::problem().filter(|_| decision.truth != Truth::True);
        if let Some(problem) = problem {
            return problem.to_string();
        }
        match decision.blame {
            Some(blame) if self.may_know() => format!("{}: {blame}", decision.because),
            _ => decision.because,
        }
    }

    pub(super) fn judge(&self, condition: &Condition) -> Truth {
        judge(condition, &mut |operand| self.ask(operand).0)
    }

    /// What an operand says of the row, and more about it in words.
    pub(super) fn ask(&self, operand: &str) -> (Truth, Option<String>) {
        if let Some(known) = self.answers.borrow().get(operand) {
            return known.clone();
        }
        let answer = match operand {
            "true" => (Truth::True, None),
            "false" => (Truth::False, None),
            _ => match self.evaluate(operand) {
                Ok(Some(truth)) => (truth, self.more(operand, truth)),
                Ok(None) => (Truth::Open, None),
                // The columns of the row are all there.
                Err(code) if code == UNDEFINED_COLUMN && matches!(self.found, Found::Record(_)) => {
                    let detail = "it reads a system column, which a row read by itself has not";
                    (Truth::Open, Some(detail.to_owned()))
                }
                Err(code) => (Truth::Fails, Some(failure(operand, &code))),
            },
        };
        let mut answers = self.answers.borrow_mut();
        answers.insert(operand.to_owned(), answer.clone());
        answer
    }

    /// `None` where it depends on a row that is not known; the SQLSTATE where it fails.
    fn evaluate(&self, operand: &str) -> Result<Option<Truth>, String> {
        let Target {
            relation,
            name,
            alias,
            values,
            ..
        } = &self.target;
        let asked = attempt(|| match &self.found {
            Found::Visible => {
                let filter = self.target.filter(alias);
                let query = format!("SELECT ({operand}) FROM {name} AS {alias} WHERE {filter}");
                let values: Vec<_> = values.iter().map(|value| value.as_str().into()).collect();
                Some(one(&query, &values))
            }
            Found::Record(record) => {
                let query = format!("SELECT ({operand}) FROM (SELECT ($1).*) AS {alias}");
                // SAFETY: the record is a value of the relation's row type, in memory that lives
                // as long as the call.
                let record =
                    unsafe { DatumWithOid::new(*record, pg_sys::get_rel_type_id(*relation)) };
                as_restricted(self.asking.role, || Some(one(&query, &[record])))
            }
            Found::Missing | Found::Unknown => as_restricted(self.asking.role, || {
                let reads_row = reads_row(*relation, operand);
                (!reads_row).then(|| one(&format!("SELECT ({operand})"), &[]))
            }),
        });
        match asked {
            Ok(None) => Ok(None),
            Ok(Some(Some(true))) => Ok(Some(Truth::True)),
            Ok(Some(Some(false))) => Ok(Some(Truth::False)),
            Ok(Some(None)) => Ok(Some(Truth::Null)),
            Err(error) => Err(sqlstate(error.sql_error_code())),
        }
    }

    /// What an operand that does not hold asks for; of one that reads a parent, why that is not found.
    fn more(&self, operand: &str, truth: Truth) -> Option<String> {
        if truth == Truth::True {
            return None;
        }
        let parent = relation_of(operand).and_then(|_| self.parent());
        parent.or_else(|| meaning(operand))
    }

    /// Why the parents of the row are not shown, one after the other.
    fn parent(&self) -> Option<String> {
        let links = links_of(root_of(self.target.relation)?);
        let said = links.into_iter().filter_map(|link| {
            if let Some((column, value)) = &link.when
                && self.column(column)?.as_ref() != Some(value)
            {
                return None;
            }
            let name = name_of(link.parent);
            let Some(value) = self.column(&link.via)? else {
                return Some(format!("it names no row of {name}"));
            };
            let key = parent_key(&link.parent_key, &value);
            let target = Target::of(link.parent, &key).ok()?;
            let (verdict, because) = Case::new(self.asking, link.parent, target).summary();
            Some(match verdict {
                "no such row" => format!("parent {name}: no such row"),
                _ => format!("parent {name}: {verdict}, {because}"),
            })
        });
        let said: Vec<_> = said.collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// The text of a column of the row; none where it cannot be read.
    fn column(&self, column: &str) -> Option<Option<String>> {
        let Target {
            relation,
            name,
            alias,
            values,
            ..
        } = &self.target;
        let column = pgrx::spi::quote_identifier(column);
        attempt(|| match &self.found {
            Found::Visible => {
                let filter = self.target.filter(alias);
                let query =
                    format!("SELECT {alias}.{column}::text FROM {name} AS {alias} WHERE {filter}");
                let values: Vec<_> = values.iter().map(|value| value.as_str().into()).collect();
                Some(one(&query, &values))
            }
            Found::Record(record) => {
                let query = format!("SELECT (r).{column}::text FROM (SELECT $1 AS r) AS s");
                // SAFETY: as in `evaluate`.
                let record =
                    unsafe { DatumWithOid::new(*record, pg_sys::get_rel_type_id(*relation)) };
                as_restricted(self.asking.role, || Some(one(&query, &[record])))
            }
            Found::Missing | Found::Unknown => None,
        })
        .ok()
        .flatten()
    }
}

/// What made an operand fail, without a value of the row.
fn failure(operand: &str, code: &str) -> String {
    match (binding::problem(), meaning(operand)) {
        (Some(problem), _) if code == "28000" => problem.to_string(),
        (_, Some(meaning)) => format!("SQLSTATE {code}: {meaning}"),
        _ => format!("SQLSTATE {code}"),
    }
}

/// The one value of the one row of a query.
fn one<T: FromDatum + IntoDatum>(query: &str, arguments: &[DatumWithOid<'_>]) -> Option<T> {
    let found = Spi::connect(|client| {
        let rows = client.select(query, Some(1), arguments)?.first();
        match rows.is_empty() {
            true => Ok(None),
            false => rows.get::<T>(1),
        }
    });
    found.unwrap_or_else(|error: pgrx::spi::Error| {
        pgrx::error!("an operand of a policy cannot be asked: {error}")
    })
}

/// Whether an operand names a column of the row.
fn reads_row(relation: pg_sys::Oid, operand: &str) -> bool {
    // SAFETY: a tree just made; only read.
    unsafe { pg_sys::contain_vars_of_level(expression::compile(relation, operand), 0) }
}

/// Whether the caller sees the row. An error on the way, of a policy's code too, says no more than that
/// it does not.
fn is_visible(target: &Target) -> Result<bool, Error> {
    let query = format!(
        "SELECT FROM {} AS {} WHERE {}",
        target.name,
        target.alias,
        target.filter(&target.alias)
    );
    let values = &target.values;
    let found = attempt(|| {
        let values: Vec<_> = values.iter().map(|value| value.as_str().into()).collect();
        Spi::connect(|client| Ok(client.select(&query, Some(2), &values)?.len()))
            .unwrap_or_else(|error: pgrx::spi::Error| pgrx::error!("{error}"))
    });
    match found {
        Ok(0) | Err(_) => Ok(false),
        Ok(1) => Ok(true),
        Ok(_) => Err(AMBIGUOUS),
    }
}

/// A key holds within one table, not among those that inherit from it.
const AMBIGUOUS: Error = Error::UnfitArgument("key", "more than one row has it");

/// The row, read as PostgreSQL reads what a foreign key points to.
fn record(target: &Target) -> Result<Option<pg_sys::Datum>, Error> {
    const ROW: &str = "tenant_guard_row";
    let query = format!(
        "SELECT {ROW} FROM {} AS {ROW} WHERE {}",
        target.name,
        target.filter(ROW)
    );
    let values: Vec<_> = { target.values.iter() }
        .map(|value| value.as_str().into())
        .collect();
    // SAFETY: backend-local state.
    let memory = unsafe { pg_sys::CurrentMemoryContext };
    let found = as_relation_owner(target.relation, || {
        Spi::connect(|client| {
            let rows = client.select(&query, Some(2), &values)?;
            match rows.len() {
                0 => return Ok(Ok(None)),
                1 => {}
                _ => return Ok(Err(AMBIGUOUS)),
            }
            let rows = rows.first();
            let row = rows.get_datum_by_ordinal(1)?;
            // SAFETY: a value of a row type is a varlena without parts stored elsewhere; its copy
            // outlives the connection.
            Ok(Ok(row.map(|row| unsafe {
                let before = pg_sys::MemoryContextSwitchTo(memory);
                let copy = pg_sys::pg_detoast_datum_copy(row.cast_mut_ptr());
                pg_sys::MemoryContextSwitchTo(before);
                pg_sys::Datum::from(copy)
            })))
        })
    })?;
    found.unwrap_or_else(|error: pgrx::spi::Error| {
        pgrx::error!("a protected relation cannot be read: {error}")
    })
}

/// The policies that stand on a relation, restrictive ones first, and the floor that the library holds
/// where its policy is gone or altered.
fn policies(role: pg_sys::Oid, relation: pg_sys::Oid) -> Vec<NamedPolicy> {
    let mut policies = read(
        "SELECT p.polname::text, NOT p.polpermissive, \
             CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update' \
                 WHEN 'd' THEN 'delete' END, \
             EXISTS (SELECT FROM unnest(p.polroles) AS r (role) \
                 WHERE r.role = 0 OR pg_has_role($2, r.role, 'USAGE')), \
             pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid) \
         FROM pg_policy AS p WHERE p.polrelid = $1 ORDER BY p.polpermissive, p.polname",
        &[relation.into(), role.into()],
        |row| {
            let condition = |n| {
                let text = row.get::<String>(n);
                text.map(|text| text.map(|text| Condition::parse(&text)))
            };
            let command = row.get::<String>(3)?;
            Ok(NamedPolicy {
                name: row.get(1)?.unwrap_or_default(),
                restrictive: row.get(2)?.unwrap_or(false),
                command: command.and_then(|name| Command::from_name(&name)),
                applies: row.get(4)?.unwrap_or(false),
                using: condition(5)?,
                check: condition(6)?,
            })
        },
    );
    for held in floor(relation) {
        let stands = |policy: &NamedPolicy| {
            NamedPolicy {
                name: held.name.clone(),
                ..policy.clone()
            } == held
        };
        if !policies.iter().any(stands) {
            policies.insert(0, held);
        }
    }
    policies
}

/// What the library holds every row to, whatever policies say.
fn floor(relation: pg_sys::Oid) -> Vec<NamedPolicy> {
    let registry = Registry::find();
    let Some(conditions) = registry.and_then(|found| found.conditions(relation).or_raise()) else {
        return Vec::new();
    };
    let printed = |text: &str| {
        let printed = as_relation_owner(relation, || expression::printed(relation, text));
        Condition::parse(&printed.or_raise())
    };
    let (read, write) = (printed(&conditions.read), printed(&conditions.write));
    let policy = |command, using: &Condition, check: Option<&Condition>| NamedPolicy {
        name: format!("{FLOOR} (held by the library)"),
        restrictive: true,
        command,
        applies: true,
        using: Some(using.clone()),
        check: check.cloned(),
    };
    let mut floor = vec![policy(None, &read, Some(&write))];
    if read != write {
        floor.push(policy(Some(Command::Update), &write, None));
        floor.push(policy(Some(Command::Delete), &write, None));
    }
    floor
}
