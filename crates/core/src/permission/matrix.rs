//! What a role reaches, read from policies as they stand.

use std::collections::BTreeSet;

use super::compile::Command;
use super::condition::Condition;
use super::leaf::{self, Test, without_account};
use super::roles::{implies, strictest};

/// A policy that applies to a database role, with its expressions as `pg_get_expr` prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandingPolicy {
    /// `AS RESTRICTIVE`
    pub restrictive: bool,
    /// The command it is for, none for all.
    pub command: Option<Command>,
    /// The USING expression.
    pub using: Option<String>,
    /// The WITH CHECK expression.
    pub check: Option<String>,
}

/// How far a role reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Every row of every account.
    Everything,
    /// All rows of the account.
    Account,
    /// Rows whose column names the subject.
    Own,
    /// Rows that are assigned to the subject.
    Assigned,
    /// Rows whose parent the subject may read.
    Via,
    /// Rows that meet a condition of another kind.
    Other,
    /// No row.
    Nothing,
}

impl Reach {
    /// The name as it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Account => "account",
            Self::Own => "own",
            Self::Assigned => "assigned",
            Self::Via => "via",
            Self::Other => "other",
            Self::Nothing => "nothing",
        }
    }
}

/// One way in which a role reaches rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Which rows.
    pub reach: Reach,
    /// The column or relation that decides, or the condition that is left.
    pub detail: String,
    /// The levels of assurance it takes.
    pub levels: Vec<String>,
}

/// What a token with exactly the role `role` reaches by `command` under `policies`, which are those
/// that apply to the database role; one [`Cell`] for each way.
///
/// `own` are conditions that mean the row is the account's, beside those recognised anyway. `selects`
/// says what the same token reaches by SELECT of another relation, named as printed, none where that is
/// not known: policies read other relations under the policies of those.
pub fn cells(
    policies: &[StandingPolicy],
    command: Command,
    role: &str,
    own: &[Condition],
    selects: &dyn Fn(&str) -> Option<Vec<Cell>>,
) -> Vec<Cell> {
    let reading = Reading { role, own, selects };
    let of = |checked: bool| reading.cells(policies, command, checked);
    match command {
        Command::Insert => of(true),
        Command::Update => {
            let (mut rows, new_rows) = (of(false), of(true));
            if rows != new_rows {
                let new_rows: Vec<_> = new_rows.iter().map(Cell::describe).collect();
                for cell in &mut rows {
                    let parts = [cell.detail.as_str(), "new rows:", &new_rows.join(" or ")];
                    cell.detail = parts.join(" ").trim_start().to_owned();
                }
            }
            rows
        }
        Command::Select | Command::Delete => of(false),
    }
}

impl Cell {
    fn describe(&self) -> String {
        let name = self.reach.name();
        if self.detail.is_empty() {
            name.to_owned()
        } else {
            format!("{name} ({})", self.detail)
        }
    }
}

/// What must hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Alternative {
    rows: BTreeSet<Atom>,
    levels: BTreeSet<String>,
}

/// A condition on a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Atom {
    Account,
    /// The account's or nobody's.
    AccountOrNone(String),
    /// It leads to a row of this relation that the role reaches.
    Through(String),
    Test(Test, String),
}

/// More alternatives than anybody reads.
const MOST: usize = 64;

struct TooMany;

struct Reading<'a> {
    role: &'a str,
    own: &'a [Condition],
    selects: &'a dyn Fn(&str) -> Option<Vec<Cell>>,
}

impl Reading<'_> {
    fn cells(&self, policies: &[StandingPolicy], command: Command, checked: bool) -> Vec<Cell> {
        let applies = |policy: &&StandingPolicy| policy.command.is_none_or(|only| only == command);
        let expression = |policy: &StandingPolicy| {
            let check = policy.check.as_ref().filter(|_| checked);
            check
                .or(policy.using.as_ref())
                .map(|text| Condition::parse(text))
        };
        let of = |restrictive| {
            let policies = policies.iter().filter(applies);
            let policies = policies.filter(move |policy| policy.restrictive == restrictive);
            policies.filter_map(expression).collect::<Vec<_>>()
        };
        // As PostgreSQL: one permissive policy must hold, and every restrictive one.
        let mut all = of(true);
        all.push(match of(false) {
            permissive if permissive.is_empty() => Condition::False,
            permissive => Condition::Or(permissive),
        });
        match self.alternatives(&Condition::And(all), false) {
            Ok(found) if found.is_empty() => vec![Cell {
                reach: Reach::Nothing,
                detail: String::new(),
                levels: Vec::new(),
            }],
            Ok(found) => {
                let cells: BTreeSet<_> = found.into_iter().map(Alternative::into_cell).collect();
                cells.into_iter().collect()
            }
            Err(TooMany) => vec![Cell {
                reach: Reach::Other,
                detail: "too many alternatives".into(),
                levels: Vec::new(),
            }],
        }
    }

    /// The disjunctive form of a condition, or of its opposite, without what is part of
    /// something else.
    fn alternatives(
        &self,
        condition: &Condition,
        opposite: bool,
    ) -> Result<Vec<Alternative>, TooMany> {
        if !opposite && let Some(found) = self.account(condition)? {
            return Ok(found);
        }
        match condition {
            Condition::True if !opposite => Ok(vec![Alternative::default()]),
            Condition::False if opposite => Ok(vec![Alternative::default()]),
            Condition::True | Condition::False => Ok(Vec::new()),
            Condition::Not(part) => self.alternatives(part, !opposite),
            Condition::And(parts) if !opposite => self.all_of(parts, false),
            Condition::Or(parts) if opposite => self.all_of(parts, true),
            Condition::And(parts) | Condition::Or(parts) => {
                let mut found = Vec::new();
                for part in parts {
                    found.extend(self.alternatives(part, opposite)?);
                }
                reduced(found)
            }
            Condition::Leaf(text) => Ok(self.leaf(text, opposite)),
        }
    }

    fn all_of(&self, parts: &[Condition], opposite: bool) -> Result<Vec<Alternative>, TooMany> {
        let mut found = vec![Alternative::default()];
        for part in parts {
            found = reduced(both(&found, &self.alternatives(part, opposite)?))?;
        }
        Ok(found)
    }

    /// Recognises a condition, or a part of an AND, that binds the row to the account.
    fn account(&self, condition: &Condition) -> Result<Option<Vec<Alternative>>, TooMany> {
        if let Some(column) = without_account(condition) {
            return Ok(Some(vec![Alternative::of(Atom::AccountOrNone(column))]));
        }
        if self.own.contains(condition) {
            return Ok(Some(self.through_parents(condition)));
        }
        let Condition::And(parts) = condition else {
            return Ok(None);
        };
        for own in self.own {
            let Condition::And(wanted) = own else {
                continue;
            };
            if wanted.iter().all(|part| parts.contains(part)) {
                let rest = parts.iter().filter(|part| !wanted.contains(part));
                let rest = self.all_of(&rest.cloned().collect::<Vec<_>>(), false)?;
                return Ok(Some(both(&self.through_parents(own), &rest)));
            }
        }
        Ok(None)
    }

    /// What is left of the account's rows where a condition leads to them over parents.
    fn through_parents(&self, own: &Condition) -> Vec<Alternative> {
        let account = [Alternative::of(Atom::Account)];
        let parents = leaf::parents(own);
        let mut ways: Vec<_> = parents.iter().map(|parent| self.reached(parent)).collect();
        let all = [Alternative::default()];
        if ways.iter().all(|way| way == &all) {
            return account.into();
        }
        if let [_, _, ..] = ways.as_slice() {
            // Each way is of other rows, so none of them reaches all.
            for (way, parent) in ways.iter_mut().zip(&parents) {
                let through = Alternative::of(Atom::Through((*parent).to_owned()));
                *way = both(way, &[through]);
            }
        }
        both(&account, &ways.concat())
    }

    /// How far the rows of a relation are reached by a policy that reads it.
    fn reached(&self, relation: &str) -> Vec<Alternative> {
        let Some(cells) = (self.selects)(relation) else {
            return vec![Alternative::default()];
        };
        let reached = cells.iter().filter(|cell| cell.reach != Reach::Nothing);
        let reached = reached.map(|cell| Alternative {
            rows: match cell.reach {
                Reach::Everything | Reach::Account => BTreeSet::new(),
                _ => [Atom::Through(relation.to_owned())].into(),
            },
            levels: cell.levels.iter().cloned().collect(),
        });
        reached.collect()
    }

    /// What is reached of the rows that lead to rows of a relation, whosever these are.
    fn public(&self, relation: &str, text: &str) -> Vec<Alternative> {
        let test = Atom::Test(Test::Public(relation.to_owned()), text.to_owned());
        let Some(cells) = (self.selects)(relation) else {
            return vec![Alternative::of(test)];
        };
        let reached = cells.iter().filter(|cell| cell.reach != Reach::Nothing);
        let reached = reached.map(|cell| Alternative {
            rows: match cell.reach {
                Reach::Everything => BTreeSet::new(),
                Reach::Account if cell.detail.is_empty() => [Atom::Account].into(),
                _ => [test.clone()].into(),
            },
            levels: cell.levels.iter().cloned().collect(),
        });
        reached.collect()
    }

    fn leaf(&self, text: &str, opposite: bool) -> Vec<Alternative> {
        let always = |holds: bool| {
            if holds {
                vec![Alternative::default()]
            } else {
                vec![]
            }
        };
        match Test::of(text) {
            Test::Anyone => always(!opposite),
            Test::Nobody => always(opposite),
            Test::Roles(roles) => always(roles.iter().any(|role| role == self.role) != opposite),
            _ if opposite => {
                vec![Alternative::of(Atom::Test(
                    Test::Other,
                    format!("NOT ({text})"),
                ))]
            }
            Test::Level(level) => vec![Alternative {
                levels: [level].into(),
                ..Alternative::default()
            }],
            Test::Account => self.through_parents(&Condition::Leaf(text.to_owned())),
            Test::Public(relation) => self.public(&relation, text),
            test => {
                let found = [Alternative::of(Atom::Test(test, text.to_owned()))];
                let Some(relation) = leaf::relation(text) else {
                    return found.into();
                };
                // The test says itself which rows; here is only whether there are any.
                let mut reached = self.reached(relation);
                for way in &mut reached {
                    way.rows.clear();
                }
                both(&found, &reached)
            }
        }
    }
}

impl Alternative {
    fn of(atom: Atom) -> Self {
        Self {
            rows: [atom].into(),
            ..Self::default()
        }
    }

    fn and(&self, other: &Self) -> Self {
        let mut rows: BTreeSet<_> = self.rows.union(&other.rows).cloned().collect();
        if rows.contains(&Atom::Account) {
            rows.retain(|atom| !matches!(atom, Atom::AccountOrNone(_)));
        }
        Self {
            rows,
            levels: strictest(self.levels.union(&other.levels).cloned().collect()),
        }
    }

    /// Whether every row and token that meets `other` meets this.
    fn contains(&self, other: &Self) -> bool {
        let met = |atom: &Atom| {
            other.rows.contains(atom)
                || matches!(atom, Atom::AccountOrNone(_)) && other.rows.contains(&Atom::Account)
        };
        self.rows.iter().all(met) && implies(&other.levels, &self.levels)
    }

    fn into_cell(self) -> Cell {
        let (mut bound, mut free) = (false, false);
        let mut others = Vec::new();
        let mut through = Vec::new();
        for atom in &self.rows {
            match atom {
                Atom::Through(relation) => through.push(relation.as_str()),
                Atom::Account => bound = true,
                Atom::AccountOrNone(_) => (bound, free) = (true, true),
                Atom::Test(test, text) => others.push((test, text)),
            }
        }
        // The scope names this relation already.
        through.retain(|relation| {
            let mut named = others.iter();
            !named.any(|(test, _)| matches!(test, Test::Via(by) if by == relation))
        });
        let (reach, mut detail) = match others.as_slice() {
            [] if !through.is_empty() => {
                (Reach::Via, std::mem::take(&mut through).join(" and via "))
            }
            [] if free => (Reach::Account, "and rows without account".to_owned()),
            [] if bound => (Reach::Account, String::new()),
            [] => (Reach::Everything, String::new()),
            [(Test::Own(by), _)] if bound => (Reach::Own, by.clone()),
            [(Test::Assigned(by), _)] if bound => (Reach::Assigned, by.clone()),
            [(Test::Via(by), _)] if bound => (Reach::Via, by.clone()),
            others => {
                let texts = others.iter().map(|(_, text)| text.as_str());
                let account = bound.then_some("the account's rows where");
                let account = account.unwrap_or("rows of any account where");
                let texts: Vec<_> = texts.collect();
                (Reach::Other, format!("{account} {}", texts.join(" AND ")))
            }
        };
        for relation in through {
            detail += " and via ";
            detail += relation;
        }
        Cell {
            reach,
            detail,
            levels: self.levels.into_iter().collect(),
        }
    }
}

fn both(one: &[Alternative], other: &[Alternative]) -> Vec<Alternative> {
    let pairs = one
        .iter()
        .flat_map(|left| other.iter().map(move |right| (left, right)));
    pairs.map(|(left, right)| left.and(right)).collect()
}

/// Leaves out what is part of something else.
fn reduced(found: Vec<Alternative>) -> Result<Vec<Alternative>, TooMany> {
    let mut kept: Vec<Alternative> = Vec::new();
    for new in found {
        if !kept.iter().any(|old| old.contains(&new)) {
            kept.retain(|old| !new.contains(old));
            kept.push(new);
        }
        if kept.len() > MOST {
            return Err(TooMany);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests;
