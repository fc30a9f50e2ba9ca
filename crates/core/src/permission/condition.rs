//! The boolean structure of an expression as PostgreSQL prints it.
//!
//! `pg_get_expr` without pretty-printing puts parentheses around every AND, OR and NOT, so the
//! structure can be read without knowing the rest of SQL: what stands between them is kept as text.

/// An expression cut at its AND, OR and NOT.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// `true`
    True,
    /// `false`
    False,
    /// All of them, at least two.
    And(Vec<Condition>),
    /// One of them, at least two.
    Or(Vec<Condition>),
    /// The opposite.
    Not(Box<Condition>),
    /// Anything else: its text, without parentheses around the whole and with single spaces.
    Leaf(String),
}

/// Deeper nesting is left as text.
const DEEPEST: usize = 100;

impl Condition {
    /// Reads an expression as `pg_get_expr` prints it.
    ///
    /// A text that is not such an expression becomes one [`Condition::Leaf`].
    pub fn parse(printed: &str) -> Self {
        match tokens(printed) {
            Some(tokens) => parse(&tokens, 0),
            None => Self::Leaf(printed.trim().to_owned()),
        }
    }
}

/// A piece of an expression: its text and what it does to the structure.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    text: &'a str,
    kind: Kind,
    /// Whether white space stands before it.
    spaced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Open,
    Close,
    Word,
    Other,
}

/// Cuts a text into tokens; none where a quote or parenthesis is left open.
fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut depth = 0_usize;
    loop {
        let trimmed = rest.trim_start();
        let spaced = trimmed.len() < rest.len();
        let Some(first) = trimmed.chars().next() else {
            break;
        };
        let (length, kind) = match first {
            '(' | '[' => (1, Kind::Open),
            ')' | ']' => (1, Kind::Close),
            '\'' => (quoted(trimmed, '\'', false)?, Kind::Other),
            '"' => (quoted(trimmed, '"', false)?, Kind::Other),
            'E' if trimmed[1..].starts_with('\'') => {
                (1 + quoted(&trimmed[1..], '\'', true)?, Kind::Other)
            }
            _ if is_word(first) => {
                let end = trimmed.find(|c| !is_word(c)).unwrap_or(trimmed.len());
                (end, Kind::Word)
            }
            _ => (first.len_utf8(), Kind::Other),
        };
        match kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.checked_sub(1)?,
            _ => {}
        }
        tokens.push(Token {
            text: &trimmed[..length],
            kind,
            spaced,
        });
        rest = &trimmed[length..];
    }
    (depth == 0 && !tokens.is_empty()).then_some(tokens)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The length of the quoted text that `text` begins with.
fn quoted(text: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if escapes && character == '\\' {
            characters.next();
        } else if character == quote {
            if characters.peek().is_some_and(|(_, next)| *next == quote) {
                characters.next();
            } else {
                return Some(at + 1);
            }
        }
    }
    None
}

fn parse(tokens: &[Token<'_>], depth: usize) -> Condition {
    let inner = without_parentheses(tokens);
    if depth > DEEPEST {
        return leaf(inner);
    }
    let word = |n: usize| match inner.get(n) {
        Some(Token {
            text,
            kind: Kind::Word,
            ..
        }) => *text,
        _ => "",
    };
    // Between these and their end no AND is ours.
    if matches!(word(0), "SELECT" | "WITH" | "VALUES") {
        return leaf(inner);
    }
    let below = |parts: Vec<&[Token<'_>]>| {
        let parts = parts.into_iter().map(|part| parse(part, depth + 1));
        parts.collect::<Vec<_>>()
    };
    if let Some(parts) = split(inner, "OR") {
        return Condition::Or(flat(below(parts), |part| match part {
            Condition::Or(parts) => Ok(parts),
            other => Err(other),
        }));
    }
    if let Some(parts) = split(inner, "AND") {
        return Condition::And(flat(below(parts), |part| match part {
            Condition::And(parts) => Ok(parts),
            other => Err(other),
        }));
    }
    match (word(0), inner.len()) {
        ("NOT", 2..) => Condition::Not(Box::new(parse(&inner[1..], depth + 1))),
        ("true", 1) => Condition::True,
        ("false", 1) => Condition::False,
        _ => leaf(inner),
    }
}

/// Takes the parts of parts out one level.
fn flat(
    parts: Vec<Condition>,
    open: impl Fn(Condition) -> Result<Vec<Condition>, Condition>,
) -> Vec<Condition> {
    let parts = parts.into_iter().map(open);
    parts
        .flat_map(|part| part.unwrap_or_else(|other| vec![other]))
        .collect()
}

/// The tokens inside of the parentheses that surround all of them.
fn without_parentheses<'t, 'a>(mut tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    while let [first, inner @ .., last] = tokens {
        let surrounded = first.text == "(" && last.text == ")" && {
            let mut depth = 1_usize;
            inner.iter().all(|token| {
                match token.kind {
                    Kind::Open => depth += 1,
                    Kind::Close => depth -= 1,
                    _ => {}
                }
                depth > 0
            })
        };
        if !surrounded || inner.is_empty() {
            break;
        }
        tokens = inner;
    }
    tokens
}

/// The parts between the keyword where it stands outside of all parentheses; none where it does not.
fn split<'t, 'a>(tokens: &'t [Token<'a>], keyword: &str) -> Option<Vec<&'t [Token<'a>]>> {
    let mut depth = 0_usize;
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, token) in tokens.iter().enumerate() {
        match (token.kind, token.text) {
            (Kind::Open, _) | (Kind::Word, "CASE") => depth += 1,
            (Kind::Close, _) | (Kind::Word, "END") => depth = depth.saturating_sub(1),
            (Kind::Word, word) if depth == 0 && word == keyword => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    (parts.len() > 1 && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}

fn leaf(tokens: &[Token<'_>]) -> Condition {
    let mut text = String::new();
    for (at, token) in tokens.iter().enumerate() {
        let after_open = at > 0 && tokens[at - 1].kind == Kind::Open;
        if token.spaced && at > 0 && !after_open && token.kind != Kind::Close {
            text.push(' ');
        }
        text.push_str(token.text);
    }
    Condition::Leaf(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaf(text: &str) -> Condition {
        Condition::Leaf(text.into())
    }

    #[test]
    fn structure_is_read_as_the_catalog_prints_it() {
        assert_eq!(
            Condition::parse(
                "((account_id = tenant_guard.account_id()) AND \
                 (tenant_guard.has_any_role('{a,b}'::text[]) OR (NOT (x IS NOT NULL)) OR false))"
            ),
            Condition::And(vec![
                leaf("account_id = tenant_guard.account_id()"),
                Condition::Or(vec![
                    leaf("tenant_guard.has_any_role('{a,b}'::text[])"),
                    Condition::Not(Box::new(leaf("x IS NOT NULL"))),
                    Condition::False,
                ])
            ])
        );
        assert_eq!(Condition::parse("true"), Condition::True);
    }

    #[test]
    fn keywords_inside_of_other_things_are_text() {
        for text in [
            "(name = 'a AND b'::text)",
            "(name = E'it\\'s OR \\\\'::text)",
            "(\"x OR y\" = 1)",
            "CASE WHEN (a AND b) THEN c OR d ELSE e END",
            "(EXISTS ( SELECT FROM t WHERE ((t.a = 1) AND t.b)))",
            "( SELECT (a OR b) FROM t)",
            "((a)::text = ANY ((ARRAY['x'::text, 'AND'::text])))",
        ] {
            assert!(
                matches!(Condition::parse(text), Condition::Leaf(_)),
                "{text}: {:?}",
                Condition::parse(text)
            );
        }
    }

    #[test]
    fn layout_is_no_difference() {
        assert_eq!(
            Condition::parse(
                "(EXISTS ( SELECT\n   FROM shop.p parent\n  WHERE (parent.id = t.p)))"
            ),
            leaf("EXISTS (SELECT FROM shop.p parent WHERE (parent.id = t.p))")
        );
        assert_eq!(
            Condition::parse("((varchar_column)::text = f())"),
            leaf("(varchar_column)::text = f()")
        );
    }

    #[test]
    fn broken_texts_are_one_leaf() {
        for text in ["", "(", ")(", "a AND", "'x", "(a OR b", "NOT", "()"] {
            assert!(
                matches!(Condition::parse(text), Condition::Leaf(_)),
                "{text}"
            );
        }
    }

    fn conditions() -> impl Strategy<Value = Condition> {
        let leaves = prop_oneof![
            Just(Condition::True),
            Just(Condition::False),
            "[a-z]{1,3} = '(AND|[(]|''| OR )'".prop_map(Condition::Leaf),
        ];
        leaves.prop_recursive(4, 32, 4, |inner| {
            let parts = prop::collection::vec(inner.clone(), 2..4);
            prop_oneof![
                parts.clone().prop_map(Condition::And),
                parts.prop_map(Condition::Or),
                inner.prop_map(|part| Condition::Not(Box::new(part))),
            ]
        })
    }

    /// As PostgreSQL prints it.
    fn print(condition: &Condition) -> String {
        let joined = |parts: &[Condition], by: &str| {
            let parts: Vec<_> = parts.iter().map(print).collect();
            format!("({})", parts.join(by))
        };
        match condition {
            Condition::True => "true".into(),
            Condition::False => "false".into(),
            Condition::And(parts) => joined(parts, " AND "),
            Condition::Or(parts) => joined(parts, " OR "),
            Condition::Not(part) => format!("(NOT {})", print(part)),
            Condition::Leaf(text) => format!("({text})"),
        }
    }

    /// The same with parts of parts of one kind taken out.
    fn flattened(condition: Condition) -> Condition {
        match condition {
            Condition::And(parts) => Condition::And(flat(
                parts.into_iter().map(flattened).collect(),
                |part| match part {
                    Condition::And(parts) => Ok(parts),
                    other => Err(other),
                },
            )),
            Condition::Or(parts) => Condition::Or(flat(
                parts.into_iter().map(flattened).collect(),
                |part| match part {
                    Condition::Or(parts) => Ok(parts),
                    other => Err(other),
                },
            )),
            Condition::Not(part) => Condition::Not(Box::new(flattened(*part))),
            other => other,
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(condition in conditions()) {
            prop_assert_eq!(Condition::parse(&print(&condition)), flattened(condition));
        }

        #[test]
        fn any_text_is_read(text in "([()\\[\\]'\"E ]|AND|OR|NOT|CASE|END|\\PC){0,40}") {
            Condition::parse(&text);
        }
    }
}
