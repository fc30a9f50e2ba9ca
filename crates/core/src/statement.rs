//! What a statement is, without what it is about: its text with every constant and comment taken out,
//! and a hash of that.
//!
//! The words are those of PostgreSQL's scanner (`src/backend/parser/scan.l`).

use sha2::{Digest, Sha256};

/// Words that are looked at, after lists of constants became one: a bound on memory. The text behind
/// them does not count.
const MOST_TOKENS: usize = 10_000;

/// The fingerprint of a statement: the first 16 hexadecimal digits of the SHA-256 of [`reduced`].
///
/// `backslashes` says whether a backslash escapes in an ordinary string, as it does where
/// `standard_conforming_strings` is off.
pub fn fingerprint(statement: &str, backslashes: bool) -> String {
    let mut hash = Sha256::new();
    for_each_part(&tokens(statement, backslashes), |part| hash.update(part));
    hex::encode(&hash.finalize()[..8])
}

/// The statement's words in one form, one space between: names that are not quoted in lower case,
/// `?` for each constant, parameter or list of them, and neither comments nor a semicolon at the end.
pub fn reduced(statement: &str, backslashes: bool) -> String {
    let mut out = Vec::new();
    for_each_part(&tokens(statement, backslashes), |part| {
        out.extend_from_slice(part);
    });
    String::from_utf8_lossy(&out).into_owned()
}

fn for_each_part(tokens: &[Token<'_>], mut each: impl FnMut(&[u8])) {
    for (number, token) in tokens.iter().enumerate() {
        if number > 0 {
            each(b" ");
        }
        match token {
            Token::Constant => each(b"?"),
            Token::Word(word) => each(&word.to_ascii_lowercase()),
            Token::Quoted(text) | Token::Other(text) => each(text),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// A constant or a parameter.
    Constant,
    /// A key word or a name that is not quoted.
    Word(&'a [u8]),
    /// A quoted name, quotes included.
    Quoted(&'a [u8]),
    /// An operator or a punctuation mark.
    Other(&'a [u8]),
}

fn tokens(statement: &str, backslashes: bool) -> Vec<Token<'_>> {
    let mut scanner = Scanner {
        rest: statement.as_bytes(),
        backslashes,
    };
    let mut tokens = Vec::new();
    while tokens.len() < MOST_TOKENS {
        match scanner.next() {
            Some(token) => push(&mut tokens, token),
            None => break,
        }
    }
    while tokens.last() == Some(&Token::Other(b";")) {
        tokens.pop();
    }
    tokens
}

/// Adds a word, and makes one of constants that stand for one, or for a list of any length.
fn push<'a>(tokens: &mut Vec<Token<'a>>, token: Token<'a>) {
    use Token::{Constant, Other};
    if token == Constant {
        if let [.., before, Other(b"-" | b"+")] | [before @ Other(b"-" | b"+")] = tokens.as_slice()
            && (tokens.len() == 1 || !is_operand(*before))
        {
            tokens.pop();
        }
        match tokens.as_slice() {
            // A string may go on in the next line.
            [.., Constant] => return,
            [.., Constant, Other(b",")] => {
                tokens.pop();
                return;
            }
            _ => {}
        }
    }
    tokens.push(token);
    const OPEN: Token<'_> = Other(b"(");
    const CLOSE: Token<'_> = Other(b")");
    if tokens.ends_with(&[OPEN, Constant, CLOSE, Other(b","), OPEN, Constant, CLOSE]) {
        tokens.truncate(tokens.len() - 4);
    }
}

/// Whether a sign behind this is an operator of two operands.
fn is_operand(token: Token<'_>) -> bool {
    const NO_OPERANDS: [&str; 36] = [
        "all",
        "and",
        "any",
        "as",
        "between",
        "by",
        "case",
        "default",
        "distinct",
        "else",
        "execute",
        "from",
        "having",
        "ilike",
        "in",
        "is",
        "like",
        "limit",
        "not",
        "offset",
        "on",
        "or",
        "over",
        "return",
        "returning",
        "select",
        "set",
        "similar",
        "some",
        "then",
        "to",
        "union",
        "using",
        "values",
        "when",
        "where",
    ];
    match token {
        Token::Constant | Token::Quoted(_) => true,
        Token::Other(mark) => matches!(mark, b")" | b"]"),
        Token::Word(word) => !NO_OPERANDS
            .iter()
            .any(|key_word| word.eq_ignore_ascii_case(key_word.as_bytes())),
    }
}

struct Scanner<'a> {
    rest: &'a [u8],
    backslashes: bool,
}

impl<'a> Scanner<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let &first = self.rest.first()?;
        let second = self.rest.get(1).copied().unwrap_or(0);
        Some(match first {
            b'\'' => self.string(0, self.backslashes),
            b'e' | b'E' if second == b'\'' => self.string(1, true),
            b'b' | b'B' | b'x' | b'X' | b'n' | b'N' if second == b'\'' => {
                self.string(1, self.backslashes)
            }
            b'u' | b'U' if self.rest[1..].starts_with(b"&'") => self.string(2, false),
            b'u' | b'U' if self.rest[1..].starts_with(b"&\"") => self.quoted(2),
            b'"' => self.quoted(0),
            b'$' => self.dollar(),
            b'0'..=b'9' => self.number(),
            b'.' if second.is_ascii_digit() => self.number(),
            _ if starts_word(first) => self.word(),
            _ if is_operator(first) => self.operator(),
            b':' if second == b':' => Token::Other(self.take(2)),
            _ => Token::Other(self.take(1)),
        })
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn skip_blanks(&mut self) {
        loop {
            match self.rest {
                [first, ..] if first.is_ascii_whitespace() || *first == 0x0b => self.take(1),
                [b'-', b'-', ..] => {
                    let end = self.rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
                    self.take(end.unwrap_or(usize::MAX))
                }
                [b'/', b'*', ..] => self.comment(),
                _ => return,
            };
        }
    }

    /// A comment, and those within it.
    fn comment(&mut self) -> &'a [u8] {
        let mut depth = 0_u32;
        loop {
            match self.rest {
                [b'/', b'*', ..] => {
                    depth += 1;
                    self.take(2);
                }
                [b'*', b'/', ..] => {
                    depth -= 1;
                    self.take(2);
                    if depth == 0 {
                        return &[];
                    }
                }
                [] => return &[],
                _ => {
                    self.take(1);
                }
            }
        }
    }

    /// A string whose quote stands behind `prefix` letters.
    fn string(&mut self, prefix: usize, backslashes: bool) -> Token<'a> {
        self.take(prefix + 1);
        loop {
            match self.rest {
                [b'\\', _, ..] if backslashes => self.take(2),
                [b'\'', b'\'', ..] => self.take(2),
                [b'\'', ..] => {
                    self.take(1);
                    return Token::Constant;
                }
                [] => return Token::Constant,
                _ => self.take(1),
            };
        }
    }

    fn quoted(&mut self, prefix: usize) -> Token<'a> {
        let start = self.rest;
        let mut length = prefix + 1;
        loop {
            match &start[length..] {
                [b'"', b'"', ..] => length += 2,
                [b'"', ..] => return Token::Quoted(self.take(length + 1)),
                [] => return Token::Quoted(self.take(length)),
                _ => length += 1,
            }
        }
    }

    /// A parameter, or a string between dollars.
    fn dollar(&mut self) -> Token<'a> {
        let name = &self.rest[1..];
        if name.first().is_some_and(u8::is_ascii_digit) {
            let digits = name.iter().take_while(|b| b.is_ascii_digit()).count();
            self.take(1 + digits);
            return Token::Constant;
        }
        let length = name
            .iter()
            .take_while(|&&b| starts_word(b) || b.is_ascii_digit())
            .count();
        if name.get(length) != Some(&b'$') {
            return Token::Other(self.take(1));
        }
        let delimiter = self.take(length + 2);
        let end = self
            .rest
            .windows(delimiter.len())
            .position(|w| w == delimiter);
        self.take(end.map_or(usize::MAX, |end| end + delimiter.len()));
        Token::Constant
    }

    fn number(&mut self) -> Token<'a> {
        let mut length = 0;
        while let Some(&byte) = self.rest.get(length) {
            let sign = matches!(byte, b'+' | b'-')
                && matches!(self.rest[length - 1], b'e' | b'E')
                && !self.rest.starts_with(b"0x")
                && !self.rest.starts_with(b"0X")
                && self.rest.get(length + 1).is_some_and(u8::is_ascii_digit);
            // Two dots stand between the bounds of a loop.
            let dot = byte == b'.' && self.rest.get(length + 1) != Some(&b'.');
            if !(byte.is_ascii_alphanumeric() || byte == b'_' || dot || sign) {
                break;
            }
            length += 1;
        }
        self.take(length);
        Token::Constant
    }

    fn word(&mut self) -> Token<'a> {
        let continues = |b: &&u8| starts_word(**b) || b.is_ascii_digit() || **b == b'$';
        let length = self.rest.iter().take_while(continues).count();
        let word = self.take(length);
        if word.eq_ignore_ascii_case(b"true") || word.eq_ignore_ascii_case(b"false") {
            return Token::Constant;
        }
        Token::Word(word)
    }

    /// An operator ends where a comment begins, and with a sign only if it has a mark that no operator
    /// of SQL's has.
    fn operator(&mut self) -> Token<'a> {
        let mut length = self.rest.iter().take_while(|b| is_operator(**b)).count();
        let comment = (1..length).find(|&n| {
            let behind = &self.rest[n..];
            behind.starts_with(b"--") || behind.starts_with(b"/*")
        });
        length = comment.unwrap_or(length);
        let special = |b: &u8| b"~!@#^&|`?%".contains(b);
        if !self.rest[..length].iter().any(special) {
            while length > 1 && matches!(self.rest[length - 1], b'+' | b'-') {
                length -= 1;
            }
        }
        Token::Other(self.take(length))
    }
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_operator(byte: u8) -> bool {
    b"~!@#^&|`?+-*/%<>=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn reduces(statement: &str, expected: &str) {
        assert_eq!(reduced(statement, false), expected, "{statement}");
    }

    #[test]
    fn constants_of_every_form_are_one_word() {
        for constant in [
            "'secret'",
            "'it''s'",
            "E'it\\'s \\\\'",
            "e'a'",
            "B'101'",
            "x'1F'",
            "N'a'",
            "U&'d\\0061t'",
            "$$se'cret$$",
            "$tag$ a $$ b $other$ $tag$",
            "17",
            "1.5",
            ".5",
            "1e10",
            "1.5E-3",
            "0x1F",
            "1_000",
            "$1",
            "-5",
            "+ 5",
            "true",
            "FALSE",
            "'a'\n  'b'",
            "'a' -- x\n 'b'",
            "-.5e+3",
        ] {
            reduces(&format!("SELECT {constant}"), "select ?");
            reduces(&format!("SELECT a={constant}"), "select a = ?");
            reduces(
                &format!("SELECT a WHERE b > ({constant});"),
                "select a where b > ( ? )",
            );
        }
    }

    #[test]
    fn words_marks_and_quoted_names_stay() {
        reduces(
            "Select \"A b\"\"c\" , U&\"d\" from S.t$1 where j->>'k' @> 'x' and a-1 = b - -2 -- end",
            "select \"A b\"\"c\" , U&\"d\" from s . t$1 where j ->> ? @> ? and a - ? = b - ?",
        );
        reduces(
            "select a::int /* x /* y */ 'z' */ +b",
            "select a :: int + b",
        );
        reduces("select a<-5, b@-c, d?'k'", "select a < ? , b @- c , d ? ?");
        reduces("for i in 1..10 loop", "for i in ? . ? loop");
        reduces("select é", "select é");
        reduces(";; select 1;;", "; ; select ?");
    }

    #[test]
    fn lists_are_as_long_as_one() {
        let short = "insert into t values ( ? )";
        reduces("INSERT INTO t VALUES (1, 'a', $3)", short);
        reduces("INSERT INTO t VALUES (1, 'a'), (2,-3), ($1,$2)", short);
        reduces(
            "SELECT a IN (1,2,3), b = ANY('{1,2}')",
            "select a in ( ? ) , b = any ( ? )",
        );
        reduces("SELECT a, 1, 2, b", "select a , ? , b");
    }

    #[test]
    fn what_never_ends_is_a_constant_to_the_end() {
        reduces("select 'abc", "select ?");
        reduces("select $x$ abc $y$", "select ?");
        reduces("select /* abc", "select");
        reduces("select \"abc", "select \"abc");
        reduces("select $ a", "select $ a");
    }

    #[test]
    fn a_backslash_escapes_where_it_does_in_the_server() {
        assert_eq!(reduced(r"select 'it\'s' , b", true), "select ? , b");
        reduces(r"select 'it\', b", "select ? , b");
    }

    #[test]
    fn the_fingerprint_is_known() {
        let expected = hex::encode(&Sha256::digest("select * from t where id = ?")[..8]);
        assert_eq!(
            fingerprint("SELECT  * FROM t WHERE id = 17;", false),
            expected
        );
        assert_eq!(fingerprint("select * from T where id=$1", false), expected);
        assert_eq!(expected.len(), 16);
    }

    #[test]
    fn a_statement_of_any_size_takes_bounded_memory() {
        let names = "a.".repeat(5 * MOST_TOKENS);
        assert!(tokens(&names, false).len() <= MOST_TOKENS);
        let list = format!("select {}1", "1,".repeat(5 * MOST_TOKENS));
        reduces(&list, "select ?");
    }

    proptest! {
        /// The secret has letters that no other part of the statement has.
        #[test]
        fn no_byte_of_a_constant_or_comment_survives(
            secret in "[XYZ0-9 ,;()\\-/+\"éß]{1,20}",
            form in 0..9_usize,
            before in "[abc =(,]{0,10}",
            after in "[abc =),]{0,10}",
        ) {
            let hidden = match form {
                0 => format!("'{secret}'"),
                1 => format!("E'{secret}\\''"),
                2 => format!("$q${secret}$q$"),
                3 => format!("/*{} */", secret.replace(['*', '/'], "")),
                4 => format!("--{secret}\n"),
                5 => format!("U&'{secret}'"),
                6 => format!("'{secret}''{secret}'"),
                7 => format!("$${secret}$$"),
                _ => format!("B'{secret}'"),
            };
            // A letter or dollar before it would be a part of it.
            let text = format!("{before} {hidden} {after}");
            let other = format!("{before} {} {after}", match form { 3 | 4 => " ", _ => "'q'" });
            prop_assert_eq!(reduced(&text, false), reduced(&other, false));
        }

        #[test]
        fn anything_can_be_read(text in "(\\PC|['\"$\\\\/*\\-;\n])*", backslashes: bool) {
            let once = fingerprint(&text, backslashes);
            prop_assert_eq!(once.len(), 16);
        }
    }
}
