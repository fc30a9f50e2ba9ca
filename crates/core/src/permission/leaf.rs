//! What a single test of a policy says, recognised in the text PostgreSQL prints.

use super::condition::Condition;

/// A test of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Test {
    /// True of every row for whoever has an identity.
    Anyone,
    /// True of no row.
    Nobody,
    /// The token has one of these roles.
    Roles(Vec<String>),
    /// The token states this level of assurance.
    Level(String),
    /// The row is the account's, by itself or through its parent.
    Account,
    /// The row has no account; its column.
    NoAccount(String),
    /// A column of the row is the subject; its name.
    Own(String),
    /// A column or table assigns the row to the subject; its name.
    Assigned(String),
    /// A row of this relation that the row leads to can be read.
    Via(String),
    /// The same, of a relation whose rows belong to accounts and are read by everybody.
    Public(String),
    /// Anything else.
    Other,
}

const ACCOUNT: [&str; 3] = [
    "tenant_guard.account_id()",
    "tenant_guard.account_id_bigint()",
    "tenant_guard.account_id_text()",
];
const SUBJECT: [&str; 3] = [
    "tenant_guard.subject()",
    "tenant_guard.user_id()",
    "tenant_guard.user_id_bigint()",
];

impl Test {
    /// Recognises the text of a [`Condition::Leaf`].
    pub(super) fn of(leaf: &str) -> Self {
        let found = call(leaf)
            .or_else(|| comparison(leaf))
            .or_else(|| exists(leaf));
        found.unwrap_or(Self::Other)
    }
}

/// `function('constant'::type)` of ours.
fn call(leaf: &str) -> Option<Test> {
    match leaf {
        "tenant_guard.anyone()" | "tenant_guard.is_authenticated()" => return Some(Test::Anyone),
        "tenant_guard.nobody()" => return Some(Test::Nobody),
        _ => {}
    }
    let (function, rest) = leaf.strip_prefix("tenant_guard.")?.split_once('(')?;
    let argument = rest.strip_suffix(')')?;
    let text = |kind| argument.strip_suffix(kind).and_then(constant);
    match function {
        "has_any_role" => Some(Test::Roles(elements(&text("::text[]")?)?)),
        "has_role" => Some(Test::Roles(vec![text("::text")?])),
        "has_assurance" | "assured" => Some(Test::Level(text("::text")?)),
        _ => None,
    }
}

/// `column = reader()`, `reader() = ANY (column)` and `column IS NULL`.
fn comparison(leaf: &str) -> Option<Test> {
    if let Some(column) = leaf.strip_suffix(" IS NULL") {
        return Some(Test::NoAccount(column_name(column)?));
    }
    let (left, right) = leaf.split_once(" = ")?;
    if ACCOUNT.contains(&right) {
        return column_name(left).map(|_| Test::Account);
    }
    if SUBJECT.contains(&right) {
        return column_name(left).map(Test::Own);
    }
    let array = right.strip_prefix("ANY (")?.strip_suffix(')')?;
    let column = column_name(array)?;
    SUBJECT.contains(&left).then_some(Test::Assigned(column))
}

/// The relation that is read and the filter of `EXISTS (SELECT FROM relation alias WHERE ...)`.
fn subquery(leaf: &str) -> Option<(&str, &str)> {
    let query = leaf.strip_prefix("EXISTS (SELECT ")?.strip_suffix(')')?;
    let query = query.strip_prefix("1 ").unwrap_or(query);
    let (from, filter) = query.strip_prefix("FROM ")?.split_once(" WHERE ")?;
    let from = from.strip_prefix("ONLY ").unwrap_or(from);
    let relation = match from.rsplit_once(' ') {
        Some((relation, alias)) => name_end(alias)
            .filter(|end| *end == alias.len())
            .and(Some(relation))?,
        None => from,
    };
    column_name(relation).map(|_| (relation, filter))
}

/// What an operand of a policy asks for, in words; none for one that is not recognised.
pub fn meaning(leaf: &str) -> Option<String> {
    Some(match Test::of(leaf) {
        Test::Anyone => "an identity, where one is asked for".into(),
        Test::Nobody => "no row is admitted".into(),
        Test::Roles(roles) => format!("the token must have one of the roles {}", roles.join(", ")),
        Test::Level(level) => format!("the token must state assurance level \"{level}\""),
        Test::Account => "the row must be of the account of the identity".into(),
        Test::NoAccount(column) => format!("the row must have no account in {column}"),
        Test::Own(column) => format!("{column} must be the subject"),
        Test::Assigned(by) => format!("{by} must assign the row to the subject"),
        Test::Via(relation) | Test::Public(relation) => {
            format!("the row must lead to a row of {relation} that is shown")
        }
        Test::Other => return None,
    })
}

/// The relation that a test reads beside the row's own.
pub fn relation(leaf: &str) -> Option<&str> {
    subquery(leaf).map(|(relation, _)| relation)
}

/// The relations, one for each way of a condition that leads over parents; empty where a way leads
/// over none.
pub(super) fn parents(condition: &Condition) -> Vec<&str> {
    let ways = match condition {
        Condition::Or(ways) => ways.as_slice(),
        only => std::slice::from_ref(only),
    };
    let found = ways.iter().map(|way| match way {
        Condition::And(parts) => parts.iter().find_map(parent),
        only => parent(only),
    });
    found.collect::<Option<Vec<_>>>().unwrap_or_default()
}

fn parent(condition: &Condition) -> Option<&str> {
    match condition {
        Condition::Leaf(leaf) => relation(leaf),
        _ => None,
    }
}

/// `EXISTS (...)` that leads from the row to others.
fn exists(leaf: &str) -> Option<Test> {
    let (relation, filter) = subquery(leaf)?;
    let conjuncts = match Condition::parse(filter) {
        Condition::And(parts) => parts,
        single => vec![single],
    };
    let (mut joined, mut account, mut subject, mut public) = (false, false, false, false);
    for conjunct in &conjuncts {
        match test_of_row(conjunct)? {
            Test::Account => account = true,
            Test::Own(_) | Test::Assigned(_) => subject = true,
            Test::Via(_) => joined = true,
            Test::Anyone | Test::Public(_) => public = true,
            _ => return None,
        }
    }
    let relation = relation.to_owned();
    match (joined, account, subject) {
        (true, true, false) => Some(Test::Account),
        (true, _, true) => Some(Test::Assigned(relation)),
        (true, false, false) if public => Some(Test::Public(relation)),
        (true, false, false) => Some(Test::Via(relation)),
        _ => None,
    }
}

/// A test inside of a subquery; a comparison of two columns leads from row to row.
fn test_of_row(condition: &Condition) -> Option<Test> {
    if without_account(condition).is_some() {
        return Some(Test::Account);
    }
    let Condition::Leaf(leaf) = condition else {
        return None;
    };
    if let Some((left, right)) = leaf.split_once(" = ")
        && let (Some(left), Some(_)) = (column_name(left), column_name(right))
    {
        return Some(Test::Via(left));
    }
    match Test::of(leaf) {
        // What a row two steps away says is of no use here but for its account.
        Test::Via(_) | Test::Assigned(_) if leaf.starts_with("EXISTS") => None,
        test => Some(test),
    }
}

/// The column of `column = account OR column IS NULL`: rows of the account and defaults for all who
/// have an identity.
pub(super) fn without_account(condition: &Condition) -> Option<String> {
    let Condition::Or(parts) = condition else {
        return None;
    };
    let [Condition::Leaf(own), none] = parts.as_slice() else {
        return None;
    };
    let none = match none {
        Condition::Leaf(none) => none,
        Condition::And(parts) => match parts.as_slice() {
            [Condition::Leaf(none), Condition::Leaf(all)] if Test::of(all) == Test::Anyone => none,
            _ => return None,
        },
        _ => return None,
    };
    let (column, _) = own.split_once(" = ")?;
    match (Test::of(own), Test::of(none)) {
        (Test::Account, Test::NoAccount(free)) if column_name(column)? == free => Some(free),
        _ => None,
    }
}

/// The column a text names and nothing else, as printed: qualified or not, with or without the cast
/// of a `character varying` column.
fn column_name(text: &str) -> Option<String> {
    let cast = ["::text", "::text[]"].into_iter();
    let name = cast
        .filter_map(|cast| {
            text.strip_suffix(cast)?
                .strip_prefix('(')?
                .strip_suffix(')')
        })
        .next()
        .unwrap_or(text);
    let mut rest = name;
    loop {
        let end = name_end(rest)?;
        match rest[end..].strip_prefix('.') {
            Some(next) => rest = next,
            None => return (end == rest.len()).then(|| name.to_owned()),
        }
    }
}

/// The length of the identifier a text begins with.
fn name_end(text: &str) -> Option<usize> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut at = 0;
        loop {
            at += quoted[at..].find('"')? + 1;
            if !quoted[at..].starts_with('"') {
                return Some(at + 1);
            }
            at += 1;
        }
    }
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let end = text.find(|c| !word(c)).unwrap_or(text.len());
    let starts = |c: char| c.is_alphabetic() || c == '_';
    text.starts_with(starts).then_some(end)
}

/// The text of a string constant as PostgreSQL prints it.
fn constant(literal: &str) -> Option<String> {
    let (body, escapes) = match literal.strip_prefix('E') {
        Some(body) => (body, true),
        None => (literal, false),
    };
    let mut characters = body.strip_prefix('\'')?.strip_suffix('\'')?.chars();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        let doubled = character == '\'' || (escapes && character == '\\');
        if doubled && characters.next() != Some(character) {
            return None;
        }
        text.push(character);
    }
    Some(text)
}

/// The elements of a one-dimensional array of texts without nulls, from its text form.
fn elements(array: &str) -> Option<Vec<String>> {
    let mut rest = array.strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let mut element = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut characters = quoted.char_indices();
            let end = loop {
                match characters.next()? {
                    (_, '\\') => element.push(characters.next()?.1),
                    (at, '"') => break at,
                    (_, character) => element.push(character),
                }
            };
            rest = &quoted[end + 1..];
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (plain, others) = rest.split_at(end);
            if plain.is_empty() || plain.contains(['{', '}', '"', '\\']) || plain == "NULL" {
                return None;
            }
            plain.clone_into(&mut element);
            rest = others;
        }
        elements.push(element);
        match rest.strip_prefix(',') {
            Some("") => return None,
            Some(others) => rest = others,
            None if rest.is_empty() => break,
            None => return None,
        }
    }
    Some(elements)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::array;

    #[test]
    fn our_tests_are_recognised() {
        let names = |names: &[&str]| Test::Roles(names.iter().map(|n| (*n).to_owned()).collect());
        for (leaf, test) in [
            (
                "tenant_guard.has_any_role('{a,b}'::text[])",
                names(&["a", "b"]),
            ),
            (
                r#"tenant_guard.has_any_role(E'{"it''s \\"x\\"","y z"}'::text[])"#,
                names(&["it's \"x\"", "y z"]),
            ),
            ("tenant_guard.has_role('a'::text)", names(&["a"])),
            (
                "tenant_guard.has_assurance('aal2'::text)",
                Test::Level("aal2".into()),
            ),
            ("tenant_guard.anyone()", Test::Anyone),
            ("tenant_guard.nobody()", Test::Nobody),
            ("account_id = tenant_guard.account_id()", Test::Account),
            (
                "(\"Account\")::text = tenant_guard.account_id_text()",
                Test::Account,
            ),
            ("owner = tenant_guard.subject()", Test::Own("owner".into())),
            (
                "tenant_guard.user_id() = ANY (agents)",
                Test::Assigned("agents".into()),
            ),
            (
                "EXISTS (SELECT FROM shop.assigned assignment WHERE \
                 ((assignment.t_id = t.id) AND (assignment.agent = tenant_guard.subject())))",
                Test::Assigned("shop.assigned".into()),
            ),
            (
                "EXISTS (SELECT FROM shop.parent WHERE (parent.id = t.parent_id))",
                Test::Via("shop.parent".into()),
            ),
            (
                "EXISTS (SELECT 1 FROM shop.parent parent WHERE ((parent.id = t.parent_id) \
                 AND (parent.account_id = tenant_guard.account_id())))",
                Test::Account,
            ),
            (
                "EXISTS (SELECT FROM a WHERE ((a.id = t.a_id) AND (EXISTS (SELECT FROM b WHERE \
                 ((b.id = a.b_id) AND ((b.account_id = tenant_guard.account_id()) \
                 OR (b.account_id IS NULL)))))))",
                Test::Account,
            ),
            (
                "EXISTS (SELECT FROM a WHERE ((a.id = t.a_id) AND (EXISTS (SELECT FROM b WHERE \
                 ((b.id = a.b_id) AND tenant_guard.anyone())))))",
                Test::Public("a".into()),
            ),
        ] {
            assert_eq!(Test::of(leaf), test, "{leaf}");
        }
    }

    #[test]
    fn look_alikes_are_not() {
        for leaf in [
            "account_id OPERATOR(mine.=) tenant_guard.account_id()",
            "account_id <> tenant_guard.account_id()",
            "other.account_id() = tenant_guard.account_id()",
            "tenant_guard.account_id() = tenant_guard.account_id()",
            "lower(account_id) = tenant_guard.account_id_text()",
            "tenant_guard.has_any_role(roles)",
            "tenant_guard.has_any_role('{a,b}'::text[]) IS NULL",
            "evil.has_any_role('{a}'::text[])",
            "tenant_guard.has_assurance(level)",
            "tenant_guard.subject() = ANY (f(x))",
            "owner = \"tenant_guard.subject()\"",
            // It leads from no row of ours.
            "EXISTS (SELECT FROM shop.parent WHERE (parent.account_id = tenant_guard.account_id()))",
            // Another test than ours decides.
            "EXISTS (SELECT FROM shop.parent WHERE ((parent.id = t.parent_id) AND parent.open))",
            "EXISTS (SELECT FROM a, b WHERE (a.id = b.id))",
            "EXISTS (SELECT FROM a WHERE (a.id = t.id) LIMIT 0)",
            "EXISTS (SELECT FROM a WHERE ((a.id = t.id) OR (a.account_id = tenant_guard.account_id())))",
        ] {
            assert_eq!(Test::of(leaf), Test::Other, "{leaf}");
        }
    }

    proptest! {
        #[test]
        fn arrays_we_write_are_read(names in prop::collection::vec("[^\\x00]{0,8}", 0..4)) {
            prop_assert_eq!(elements(&array(&names)), Some(names));
        }

        #[test]
        fn any_text_is_judged(leaf in "(EXISTS|SELECT| FROM | WHERE | = |tenant_guard.|account_id\\(\\)|has_role\\(|['\"(){},.]|\\PC){0,20}") {
            Test::of(&leaf);
        }
    }
}
