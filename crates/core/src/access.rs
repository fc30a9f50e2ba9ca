//! Why a row is shown or hidden: policies of a relation judged operand by operand.
//!
//! What an operand says of a row is found by the server; how operands make a policy, and policies a
//! verdict, is decided here, as PostgreSQL combines them.

use crate::permission::{Command, Condition};

/// What an operand, or a whole condition, says of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It is SQL NULL, which admits no row.
    Null,
    /// It depends on the row, which the asking role may not know.
    Open,
    /// Asking it is an error.
    Fails,
}

impl Truth {
    /// As it is printed of an operand.
    pub fn of_operand(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Null => "null",
            Self::Open => "depends on the row",
            Self::Fails => "fails",
        }
    }

    /// As it is printed of a policy.
    pub fn of_policy(self) -> &'static str {
        match self {
            Self::True => "admits",
            Self::False | Self::Null => "refuses",
            Self::Open => "depends on the row",
            Self::Fails => "fails",
        }
    }

    fn not(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            other => other,
        }
    }
}

/// Judges a condition by its operands.
pub fn judge(condition: &Condition, operand: &mut dyn FnMut(&str) -> Truth) -> Truth {
    let mut all = |parts: &[Condition], decisive: Truth| {
        let found: Vec<_> = parts.iter().map(|part| judge(part, operand)).collect();
        // Which of several operands is asked first is PostgreSQL's choice, so one that decides by
        // itself counts before one that fails.
        let order = [decisive, Truth::Fails, Truth::Open, Truth::Null];
        let first = order.into_iter().find(|truth| found.contains(truth));
        first.unwrap_or(decisive.not())
    };
    match condition {
        Condition::True => Truth::True,
        Condition::False => Truth::False,
        Condition::And(parts) => all(parts, Truth::False),
        Condition::Or(parts) => all(parts, Truth::True),
        Condition::Not(part) => judge(part, operand).not(),
        Condition::Leaf(text) => operand(text),
    }
}

/// The operands of a condition in the order they are written, each once.
pub fn operands(condition: &Condition) -> Vec<&str> {
    fn collect<'c>(condition: &'c Condition, found: &mut Vec<&'c str>) {
        match condition {
            Condition::And(parts) | Condition::Or(parts) => {
                parts.iter().for_each(|part| collect(part, found));
            }
            Condition::Not(part) => collect(part, found),
            Condition::Leaf(text) if !found.contains(&text.as_str()) => found.push(text),
            Condition::True => found.push("true"),
            Condition::False => found.push("false"),
            Condition::Leaf(_) => {}
        }
    }
    let mut found = Vec::new();
    collect(condition, &mut found);
    found
}

/// A policy as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPolicy {
    /// Its name.
    pub name: String,
    /// `AS RESTRICTIVE`
    pub restrictive: bool,
    /// The command it is for, none for all.
    pub command: Option<Command>,
    /// Whether it is for the role that is asked about.
    pub applies: bool,
    /// The USING expression.
    pub using: Option<Condition>,
    /// The WITH CHECK expression.
    pub check: Option<Condition>,
}

/// Which rows a condition is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clause {
    /// Rows as they stand.
    Using,
    /// Rows as they are to be stored.
    Check,
}

impl Clause {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Using => "using",
            Self::Check => "check",
        }
    }

    /// The clauses a command asks of a row, beside those of SELECT.
    pub fn of(command: Command) -> &'static [Self] {
        match command {
            Command::Select | Command::Delete => &[Self::Using],
            Command::Insert => &[Self::Check],
            Command::Update => &[Self::Using, Self::Check],
        }
    }
}

impl NamedPolicy {
    /// `permissive` or `restrictive`
    pub fn kind(&self) -> &'static str {
        if self.restrictive {
            "restrictive"
        } else {
            "permissive"
        }
    }

    /// The condition a command asks of a row; USING stands for a missing WITH CHECK. None where the
    /// policy is for another command.
    pub fn condition(&self, command: Command, clause: Clause) -> Option<&Condition> {
        if self.command.is_some_and(|only| only != command) {
            return None;
        }
        match clause {
            Clause::Using => self.using.as_ref(),
            Clause::Check => self.check.as_ref().or(self.using.as_ref()),
        }
    }
}

/// What all policies together say of a row, and which of them decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// [`Truth::True`], [`Truth::False`], [`Truth::Open`] or [`Truth::Fails`].
    pub truth: Truth,
    /// In words.
    pub because: String,
    /// The operand that is to blame, with what it says, in words.
    pub blame: Option<String>,
}

impl Decision {
    fn new(truth: Truth, because: String) -> Self {
        Self {
            truth,
            because,
            blame: None,
        }
    }
}

/// Combines policies as PostgreSQL does: every restrictive one must admit a row, and one of the
/// permissive ones.
pub fn decide(
    policies: &[NamedPolicy],
    command: Command,
    clause: Clause,
    operand: &mut dyn FnMut(&str) -> Truth,
) -> Decision {
    let mut asked = Vec::new();
    for policy in policies.iter().filter(|policy| policy.applies) {
        if let Some(condition) = policy.condition(command, clause) {
            asked.push((policy, condition, judge(condition, operand)));
        }
    }
    let refuses = |truth: Truth| matches!(truth, Truth::False | Truth::Null);
    let refused = { asked.iter() }.find(|(policy, _, truth)| policy.restrictive && refuses(*truth));
    if let Some((policy, condition, _)) = refused {
        return Decision {
            truth: Truth::False,
            because: format!("restrictive policy {} refuses it", policy.name),
            blame: blame(condition, operand),
        };
    }
    let permissive: Vec<_> = { asked.iter() }
        .filter(|(policy, ..)| !policy.restrictive)
        .collect();
    if let [(policy, condition, truth)] = permissive.as_slice()
        && refuses(*truth)
    {
        return Decision {
            truth: Truth::False,
            because: format!("permissive policy {} refuses it", policy.name),
            blame: blame(condition, operand),
        };
    }
    if permissive.iter().all(|(.., truth)| refuses(*truth)) {
        let because = match permissive.as_slice() {
            [] => "no permissive policy is for the role",
            _ => "every permissive policy refuses it",
        };
        return Decision::new(Truth::False, because.to_owned());
    }
    let admitting = { permissive.iter() }.find(|(.., truth)| *truth == Truth::True);
    for truth in [Truth::Fails, Truth::Open] {
        // A permissive policy that is not sure matters only where no other admits.
        let undecided = asked.iter().find(|(policy, _, found)| {
            *found == truth && (policy.restrictive || admitting.is_none())
        });
        if let Some((policy, ..)) = undecided {
            let because = format!("policy {} {}", policy.name, truth.of_policy());
            return Decision::new(truth, because);
        }
    }
    let name = admitting.map_or("", |(policy, ..)| policy.name.as_str());
    Decision::new(Truth::True, format!("policy {name} admits it"))
}

/// The operand of a conjunction that is to blame for its verdict.
fn blame(condition: &Condition, operand: &mut dyn FnMut(&str) -> Truth) -> Option<String> {
    let parts = match condition {
        Condition::And(parts) => parts.as_slice(),
        single => std::slice::from_ref(single),
    };
    match { parts.iter() }.find(|part| judge(part, operand) != Truth::True)? {
        Condition::Leaf(text) => Some(format!("{text} is {}", operand(text).of_operand())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truths(text: &str) -> Truth {
        match text {
            "t" => Truth::True,
            "f" => Truth::False,
            "n" => Truth::Null,
            "o" => Truth::Open,
            _ => Truth::Fails,
        }
    }

    fn judged(text: &str) -> Truth {
        judge(&Condition::parse(text), &mut truths)
    }

    fn policy(name: &str, restrictive: bool, using: &str) -> NamedPolicy {
        NamedPolicy {
            name: name.into(),
            restrictive,
            command: None,
            applies: true,
            using: Some(Condition::parse(using)),
            check: None,
        }
    }

    fn decided(policies: &[NamedPolicy]) -> (Truth, String) {
        let decision = decide(policies, Command::Select, Clause::Using, &mut truths);
        let blame = decision.blame.map(|blame| format!(" ({blame})"));
        (
            decision.truth,
            decision.because + &blame.unwrap_or_default(),
        )
    }

    #[test]
    fn operands_are_combined_as_sql_does() {
        assert_eq!(judged("(t AND n)"), Truth::Null);
        assert_eq!(judged("(f AND n)"), Truth::False);
        assert_eq!(judged("(t OR n)"), Truth::True);
        assert_eq!(judged("(f OR n)"), Truth::Null);
        assert_eq!(judged("(NOT n)"), Truth::Null);
        assert_eq!(judged("(NOT (t AND f))"), Truth::True);
        assert_eq!(judged("(f AND e)"), Truth::False);
        assert_eq!(judged("(t AND e)"), Truth::Fails);
        assert_eq!(judged("(o OR e)"), Truth::Fails);
        assert_eq!(judged("(o AND t)"), Truth::Open);
        assert_eq!(judged("(o AND f)"), Truth::False);
    }

    #[test]
    fn each_operand_is_listed_once() {
        let condition = Condition::parse("((a AND (b OR (NOT a))) OR false)");
        assert_eq!(operands(&condition), ["a", "b", "false"]);
    }

    #[test]
    fn a_restrictive_policy_decides_over_permissive_ones() {
        assert_eq!(
            decided(&[
                policy("floor", true, "(t AND f)"),
                policy("open", false, "true")
            ]),
            (
                Truth::False,
                "restrictive policy floor refuses it (f is false)".into()
            )
        );
        assert_eq!(
            decided(&[policy("floor", true, "n"), policy("open", false, "true")]).0,
            Truth::False
        );
    }

    #[test]
    fn nobody_is_let_in_without_a_permissive_policy() {
        let other = NamedPolicy {
            applies: false,
            ..policy("others", false, "true")
        };
        assert_eq!(
            decided(&[policy("floor", true, "t"), other]),
            (Truth::False, "no permissive policy is for the role".into())
        );
    }

    #[test]
    fn one_permissive_policy_is_enough() {
        let policies = [policy("a", false, "o"), policy("b", false, "t")];
        assert_eq!(
            decided(&policies),
            (Truth::True, "policy b admits it".into())
        );
        let policies = [policy("a", false, "o"), policy("b", false, "f")];
        assert_eq!(decided(&policies).0, Truth::Open);
    }

    #[test]
    fn what_depends_on_the_row_is_not_decided_without_it() {
        let policies = [policy("floor", true, "o"), policy("b", false, "t")];
        assert_eq!(
            decided(&policies),
            (Truth::Open, "policy floor depends on the row".into())
        );
    }

    #[test]
    fn using_stands_for_a_missing_check() {
        let using = policy("p", false, "t");
        assert_eq!(
            using.condition(Command::Insert, Clause::Check),
            using.using.as_ref()
        );
        let only = NamedPolicy {
            command: Some(Command::Update),
            ..using
        };
        assert_eq!(only.condition(Command::Select, Clause::Using), None);
    }
}
