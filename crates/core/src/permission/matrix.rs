//! What a role reaches, read from policies as they stand.

use std::collections::BTreeSet;

use super::compile::Command;
use super::condition::Condition;
use super::leaf::{Test, without_account};
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
/// `own` are conditions that mean the row is the account's, beside those recognised anyway.
pub fn cells(
    policies: &[StandingPolicy],
    command: Command,
    role: &str,
    own: &[Condition],
) -> Vec<Cell> {
    let reading = Reading { role, own };
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
    Test(Test, String),
}

/// More alternatives than anybody reads.
const MOST: usize = 64;

struct TooMany;

struct Reading<'a> {
    role: &'a str,
    own: &'a [Condition],
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
            let more = self.alternatives(part, opposite)?;
            let pairs = found
                .iter()
                .flat_map(|left| more.iter().map(move |right| (left, right)));
            found = reduced(pairs.map(|(left, right)| left.and(right)).collect())?;
        }
        Ok(found)
    }

    /// Recognises a condition, or a part of an AND, that binds the row to the account.
    fn account(&self, condition: &Condition) -> Result<Option<Vec<Alternative>>, TooMany> {
        if let Some(column) = without_account(condition) {
            return Ok(Some(vec![Alternative::of(Atom::AccountOrNone(column))]));
        }
        if self.own.contains(condition) {
            return Ok(Some(vec![Alternative::of(Atom::Account)]));
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
                let account = Alternative::of(Atom::Account);
                return Ok(Some(rest.iter().map(|other| account.and(other)).collect()));
            }
        }
        Ok(None)
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
            Test::Account => vec![Alternative::of(Atom::Account)],
            test => vec![Alternative::of(Atom::Test(test, text.to_owned()))],
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
        for atom in &self.rows {
            match atom {
                Atom::Account => bound = true,
                Atom::AccountOrNone(_) => (bound, free) = (true, true),
                Atom::Test(test, text) => others.push((test, text)),
            }
        }
        let (reach, detail) = match others.as_slice() {
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
        Cell {
            reach,
            detail,
            levels: self.levels.into_iter().collect(),
        }
    }
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
mod tests {
    use proptest::prelude::*;

    use super::super::compile::{Grant, Scope, SubjectColumn, SubjectType, condition};
    use super::super::roles::Roles;
    use super::super::roles::tests::role;
    use super::*;

    const FLOOR: &str = "(account_id = tenant_guard.account_id())";

    fn floor() -> StandingPolicy {
        StandingPolicy {
            restrictive: true,
            using: Some(FLOOR.into()),
            check: Some(FLOOR.into()),
            ..StandingPolicy::default()
        }
    }

    fn permissive(using: &str) -> StandingPolicy {
        StandingPolicy {
            using: Some(using.into()),
            ..StandingPolicy::default()
        }
    }

    fn shown(policies: &[StandingPolicy], command: Command, role: &str) -> Vec<String> {
        let cells = cells(policies, command, role, &[]);
        let cells = cells
            .iter()
            .map(|cell| format!("{} | {}", cell.describe(), cell.levels.join(",")));
        cells.collect()
    }

    #[test]
    fn no_permissive_policy_reaches_nothing() {
        assert_eq!(shown(&[floor()], Command::Select, "user"), ["nothing | "]);
    }

    #[test]
    fn a_policy_dropped_from_the_floor_shows_everything() {
        let anyone = permissive("tenant_guard.anyone()");
        assert_eq!(
            shown(std::slice::from_ref(&anyone), Command::Select, "x"),
            ["everything | "]
        );
        assert_eq!(
            shown(&[anyone, floor()], Command::Select, "x"),
            ["account | "]
        );
    }

    #[test]
    fn roles_decide_and_levels_are_listed() {
        let select = permissive(
            "((account_id = tenant_guard.account_id()) AND \
             ((tenant_guard.has_any_role('{admin}'::text[]) AND \
               tenant_guard.has_assurance('aal2'::text)) OR \
              (tenant_guard.has_any_role('{admin,user}'::text[]) AND \
               (owner = tenant_guard.subject()))))",
        );
        let policies = [floor(), select];
        assert_eq!(
            shown(&policies, Command::Select, "admin"),
            ["account | aal2", "own (owner) | "]
        );
        assert_eq!(
            shown(&policies, Command::Select, "user"),
            ["own (owner) | "]
        );
        assert_eq!(shown(&policies, Command::Select, "guest"), ["nothing | "]);
    }

    #[test]
    fn somebody_elses_policy_is_shown_as_it_is() {
        let policies = [floor(), permissive("(NOT (status = 'secret'::text))")];
        assert_eq!(
            shown(&policies, Command::Delete, "user"),
            ["other (the account's rows where NOT (status = 'secret'::text)) | "]
        );
        let unbound = [permissive("(owner = tenant_guard.subject())")];
        assert_eq!(
            shown(&unbound, Command::Select, "user"),
            ["other (rows of any account where owner = tenant_guard.subject()) | "]
        );
    }

    #[test]
    fn commands_are_told_apart_and_new_rows_are_named() {
        let update = StandingPolicy {
            command: Some(Command::Update),
            using: Some(
                "((account_id = tenant_guard.account_id()) AND (owner = tenant_guard.subject()))"
                    .into(),
            ),
            check: Some(FLOOR.into()),
            ..StandingPolicy::default()
        };
        let policies = [floor(), update];
        assert_eq!(
            shown(&policies, Command::Update, "u"),
            ["own (owner new rows: account) | "]
        );
        assert_eq!(shown(&policies, Command::Insert, "u"), ["nothing | "]);
    }

    #[test]
    fn shared_defaults_are_named_once() {
        let both = "((account_id = tenant_guard.account_id()) OR \
            ((account_id IS NULL) AND tenant_guard.is_authenticated()))";
        let policies = [
            StandingPolicy {
                restrictive: true,
                ..permissive(both)
            },
            permissive(&format!(
                "({both} AND tenant_guard.has_any_role('{{a}}'::text[]))"
            )),
        ];
        assert_eq!(
            shown(&policies, Command::Select, "a"),
            ["account (and rows without account) | "]
        );
        let write = StandingPolicy {
            command: Some(Command::Delete),
            restrictive: true,
            ..permissive(FLOOR)
        };
        let policies = [policies.as_slice(), &[write]].concat();
        assert_eq!(shown(&policies, Command::Delete, "a"), ["account | "]);
    }

    #[test]
    fn a_condition_given_as_the_accounts_is_taken_for_it() {
        let own = Condition::parse("((kind = 'a'::text) AND f(x))");
        let policies = [permissive(
            "((kind = 'a'::text) AND f(x) AND tenant_guard.has_any_role('{a}'::text[]))",
        )];
        let found = cells(&policies, Command::Select, "a", &[own]);
        assert_eq!(found[0].reach, Reach::Account);
    }

    #[test]
    fn too_many_alternatives_are_no_answer() {
        let either = |n| format!("((a{n} > 1) OR (b{n} > 1))");
        let all: Vec<_> = (0..12).map(either).collect();
        let policies = [permissive(&format!("({})", all.join(" AND ")))];
        let found = cells(&policies, Command::Select, "a", &[]);
        assert_eq!((found.len(), found[0].reach), (1, Reach::Other));
    }

    /// As the catalog prints a condition of `compile`.
    fn printed(compiled: &str) -> String {
        // Both spellings parse: AND binds its parts without the parentheses of the catalog, which
        // the reader of the catalog's text needs only around the OR.
        compiled
            .replace("OPERATOR(pg_catalog.=)", "=")
            .replace("')", "'::text[])")
            .replace(
                "has_assurance('aal1'::text[])",
                "has_assurance('aal1'::text)",
            )
            .replace(
                "has_assurance('aal2'::text[])",
                "has_assurance('aal2'::text)",
            )
    }

    fn scopes() -> impl Strategy<Value = Scope> {
        let own = |name: &str| {
            Scope::Own(SubjectColumn {
                quoted: name.into(),
                kind: SubjectType::Text,
                array: false,
            })
        };
        prop_oneof![Just(Scope::Account), Just(own("x")), Just(own("y"))]
    }

    fn graphs() -> impl Strategy<Value = Roles> {
        // Each role inherits only roles before it, so there is no cycle.
        let level = prop_oneof![Just(""), Just("aal1"), Just("aal2")];
        prop::collection::vec((any::<u8>(), level), 4).prop_map(|drawn| {
            let names = ["a", "b", "c", "d"];
            let roles = drawn.iter().enumerate().map(|(n, (mask, level))| {
                let inherits = (0..n).filter(|before| mask & (1 << before) != 0);
                let inherits: Vec<_> = inherits.map(|before| names[before]).collect();
                role(names[n], &inherits, level)
            });
            Roles::new(roles).unwrap()
        })
    }

    /// Which rows (all, x, y) a holder reaches at a level, straight from the definition.
    fn defined(roles: &Roles, grants: &[Grant], holder: &str, has: &str) -> BTreeSet<Scope> {
        let has = BTreeSet::from([has.to_owned()]);
        let mut reached = BTreeSet::new();
        for grant in grants {
            for (role, levels) in roles.holders(&grant.role) {
                if role == holder && implies(&has, &levels) {
                    reached.insert(grant.scope.clone());
                }
            }
        }
        if reached.contains(&Scope::Account) {
            reached.retain(|scope| *scope == Scope::Account);
        }
        reached
    }

    proptest! {
        /// What is compiled and read back is what was declared, for each role and level.
        #[test]
        fn compiled_conditions_mean_the_declaration(
            roles in graphs(),
            drawn in prop::collection::vec((0..4_usize, scopes()), 0..6),
        ) {
            let names = ["a", "b", "c", "d"];
            let grants: Vec<_> = drawn.into_iter()
                .map(|(n, scope)| Grant { role: names[n].into(), scope })
                .collect();
            let account = "account_id OPERATOR(pg_catalog.=) tenant_guard.account_id()";
            let text = condition(&roles, &grants, "s.t", account);
            let policies: Vec<_> = text.iter().map(|text| permissive(&printed(text))).collect();
            for holder in names {
                let found = cells(&policies, Command::Select, holder, &[]);
                for has in ["none", "aal1", "aal2"] {
                    let has_set = BTreeSet::from([has.to_owned()]);
                    let mut reached: BTreeSet<_> = found.iter()
                        .filter(|cell| implies(&has_set, &cell.levels.iter().cloned().collect()))
                        .filter(|cell| cell.reach != Reach::Nothing)
                        .map(|cell| match cell.reach {
                            Reach::Account => Scope::Account,
                            Reach::Own => Scope::Own(SubjectColumn {
                                quoted: cell.detail.clone(), kind: SubjectType::Text, array: false,
                            }),
                            other => panic!("{other:?} {}", cell.detail),
                        })
                        .collect();
                    if reached.contains(&Scope::Account) {
                        reached.retain(|scope| *scope == Scope::Account);
                    }
                    prop_assert_eq!(
                        &reached, &defined(&roles, &grants, holder, has),
                        "{} at {} of {:?}", holder, has, &text
                    );
                }
            }
        }
    }
}
