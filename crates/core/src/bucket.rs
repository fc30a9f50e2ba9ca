//! Paths of files in buckets that accounts share: `<account>/a/b`.
//!
//! What a path says must be what every reader of it makes of it, so whatever some of them resolve, cut or
//! decode is no path at all: empty segments, `.` and `..`, also with spaces, dots or a parameter behind
//! them, backslashes, control characters, characters that compatibility normalisation makes these of, and
//! any of these behind percent signs, however often, or in UTF-8 of the wrong length.

use thiserror::Error;

use crate::account::AccountId;

/// Bytes of the longest path, which is what object stores take as a key. Whoever stores a path must not be
/// able to keep those who judge it busy.
pub const LONGEST_PATH: usize = 1024;

/// How often a segment may be percent-encoded: a name that was encoded once too often by each of several
/// programs is still one.
const DECODINGS: usize = 5;

/// Why a text is no segment of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// Nothing between two slashes.
    #[error("a segment of a path must not be empty")]
    Empty,
    /// `.` or `..`, which lead elsewhere, or what some readers cut to one of them.
    #[error("a segment of a path must not be . or ..")]
    Dots,
    /// A slash or backslash, which makes two segments of one.
    #[error("a segment of a path must not hold a slash or backslash")]
    Separator,
    /// A character that Unicode's compatibility forms write with slashes, backslashes or dots.
    #[error(
        "a segment of a path must not hold a character that stands for a slash, backslash or dot"
    )]
    Lookalike,
    /// A dot or space at the end of the account, which some readers cut off.
    #[error("the folder of a path must not end with a dot or space")]
    Folder,
    /// A character that some readers cut at.
    #[error("a segment of a path must not hold a control character")]
    Control,
    /// One of these, percent-encoded.
    #[error("a segment of a path must not hold them percent-encoded either")]
    Encoded,
    /// More than [`LONGEST_PATH`] bytes.
    #[error("a path must not be longer than {LONGEST_PATH} bytes")]
    Long,
    /// No segment but the account's.
    #[error("a path needs a segment after the account")]
    Short,
    /// Not a template.
    #[error("a template is segments of which exactly one is {{account}}, and * stands for any")]
    Template,
}

/// The path of these segments in the folder of an account.
///
/// # Errors
///
/// [`PathError`] where a segment, or the account itself, is none.
pub fn build<'a>(
    account: &'a str,
    segments: impl IntoIterator<Item = &'a str>,
) -> Result<String, PathError> {
    let mut path = String::new();
    let mut count = 0;
    if is_cut(account) {
        return Err(PathError::Folder);
    }
    for segment in [account].into_iter().chain(segments) {
        if path.len() + segment.len() >= LONGEST_PATH {
            return Err(PathError::Long);
        }
        refuse_unsound(segment)?;
        if count > 0 {
            path.push('/');
        }
        path.push_str(segment);
        count += 1;
    }
    if count < 2 {
        return Err(PathError::Short);
    }
    Ok(path)
}

/// The account in whose folder a path is; none where it is no sound path with something in a folder, or
/// the account is not in its canonical text.
pub fn account(path: &str) -> Option<&str> {
    let (account, rest) = path.split_once('/')?;
    if path.len() > LONGEST_PATH {
        return None;
    }
    let sound = |segment| refuse_unsound(segment).is_ok();
    let canonical = AccountId::from_text(account).is_ok_and(|id| id.as_str() == account);
    (canonical && !is_cut(account) && sound(account) && rest.split('/').all(sound))
        .then_some(account)
}

/// Whether some readers take the end off, so that two accounts have one folder.
fn is_cut(account: &str) -> bool {
    account.ends_with(['.', ' '])
}

fn refuse_unsound(segment: &str) -> Result<(), PathError> {
    refuse(segment.as_bytes())?;
    refuse_lookalikes(segment)?;
    let mut bytes = segment.as_bytes().to_vec();
    for round in 0.. {
        let Some(decoded) = decoded(&bytes) else {
            break;
        };
        if round == DECODINGS {
            return Err(PathError::Encoded);
        }
        refuse(&decoded).map_err(|_| PathError::Encoded)?;
        let text = String::from_utf8_lossy(&decoded);
        if is_overlong(&decoded) || refuse_lookalikes(&text).is_err() {
            return Err(PathError::Encoded);
        }
        bytes = decoded;
    }
    Ok(())
}

fn refuse_lookalikes(segment: &str) -> Result<(), PathError> {
    if segment.contains(SEPARATORS) {
        return Err(PathError::Lookalike);
    }
    let plain = segment.replace(DOTS, ".");
    refuse(plain.as_bytes()).map_err(|_| PathError::Lookalike)
}

/// Whether there is UTF-8 that is longer than it need be (RFC 3629 section 3), of which a careless decoder
/// makes a slash or a dot.
fn is_overlong(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| {
        matches!(
            pair,
            [0xc0 | 0xc1, 0x80..=0xbf] | [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f]
        )
    })
}

/// Characters whose compatibility decomposition (Unicode Standard Annex 15) has a slash or backslash.
const SEPARATORS: [char; 7] = [
    '\u{2100}', '\u{2101}', '\u{2105}', '\u{2106}', '\u{fe68}', '\u{ff0f}', '\u{ff3c}',
];
/// Those that have nothing but dots.
const DOTS: [char; 5] = ['\u{2024}', '\u{2025}', '\u{2026}', '\u{fe52}', '\u{ff0e}'];

fn refuse(segment: &[u8]) -> Result<(), PathError> {
    // Windows takes spaces and dots off the end, Java's servlets what is behind a semicolon.
    let name = segment.split(|byte| *byte == b';').next();
    let is_dots = |name: &[u8]| name.iter().all(|byte| matches!(byte, b'.' | b' '));
    match segment {
        [] => Err(PathError::Empty),
        _ if name.is_some_and(is_dots) => Err(PathError::Dots),
        _ if segment.iter().any(|byte| matches!(byte, b'/' | b'\\')) => Err(PathError::Separator),
        _ if segment.iter().any(u8::is_ascii_control) => Err(PathError::Control),
        _ => Ok(()),
    }
}

/// The bytes with what is percent-encoded (RFC 3986 section 2.1) decoded once; none where nothing is.
fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let digit = |at: usize| {
        bytes
            .get(at)
            .and_then(|byte| char::from(*byte).to_digit(16))
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    (out.len() < bytes.len()).then_some(out)
}

/// Where in the paths of a column the account stands: `{account}`, `avatars/{account}`, `*/{account}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Account,
    Any,
    Fixed(String),
}

impl Template {
    /// Reads a template: the first segments of each path.
    ///
    /// # Errors
    ///
    /// [`PathError::Template`] where it does not name the account once, else what is wrong with a
    /// segment.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let segment = |segment: &str| {
            Ok(match segment {
                "{account}" => Segment::Account,
                "*" => Segment::Any,
                _ if segment.contains(['{', '}', '*']) => return Err(PathError::Template),
                _ => {
                    refuse_unsound(segment)?;
                    Segment::Fixed(segment.to_owned())
                }
            })
        };
        let segments: Vec<_> = text.split('/').map(segment).collect::<Result<_, _>>()?;
        let accounts = segments
            .iter()
            .filter(|segment| **segment == Segment::Account);
        if accounts.count() != 1 {
            return Err(PathError::Template);
        }
        Ok(Self(segments))
    }

    /// Whether a path is one of this account's: sound, begun as the template says, and longer than it.
    pub fn fits(&self, path: &str, account: &str) -> bool {
        let mut segments = path.split('/');
        let begins = self.0.iter().all(|wanted| {
            segments.next().is_some_and(|segment| match wanted {
                Segment::Account => segment == account,
                Segment::Any => true,
                Segment::Fixed(fixed) => segment == fixed,
            })
        });
        begins
            && segments.next().is_some()
            && path.len() <= LONGEST_PATH
            && path.split('/').all(|s| refuse_unsound(s).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [(&str, PathError); 27] = [
        ("", PathError::Empty),
        (".", PathError::Dots),
        ("..", PathError::Dots),
        ("a/b", PathError::Separator),
        ("/", PathError::Separator),
        ("a\\b", PathError::Separator),
        ("a\0b", PathError::Control),
        ("a\nb", PathError::Control),
        ("a\u{7f}", PathError::Control),
        ("%2e%2e", PathError::Encoded),
        (".%2E", PathError::Encoded),
        ("a%2fb", PathError::Encoded),
        ("a%5Cb", PathError::Encoded),
        ("a%00", PathError::Encoded),
        ("%252e%252e", PathError::Encoded),
        ("a%25252fb", PathError::Encoded),
        ("%%32%65%%32%65", PathError::Encoded),
        ("...", PathError::Dots),
        (".. ", PathError::Dots),
        (" ", PathError::Dots),
        ("..;x=1", PathError::Dots),
        ("%2e%2e%20", PathError::Encoded),
        ("%c0%ae%c0%ae", PathError::Encoded),
        ("a%c0%afb", PathError::Encoded),
        ("\u{ff0e}\u{ff0e}", PathError::Lookalike),
        ("a\u{ff0f}b", PathError::Lookalike),
        ("a%EF%BC%8Fb", PathError::Encoded),
    ];

    #[test]
    fn a_segment_that_leads_elsewhere_is_refused_in_every_spelling() {
        for (segment, why) in HOSTILE {
            assert_eq!(build("7", [segment]), Err(why), "{segment:?}");
            let folder = build(segment, ["a"]);
            assert!(
                [why, PathError::Folder].map(Err).contains(&folder),
                "{segment:?}"
            );
            assert_eq!(
                account(&format!("7/{segment}/x")).is_some(),
                segment == "a/b"
            );
        }
        assert_eq!(build("7", []), Err(PathError::Short));
    }

    #[test]
    fn paths_that_take_long_to_judge_are_nobodys() {
        let long = "a".repeat(LONGEST_PATH - 2);
        let path = build("7", [long.as_str()]).unwrap();
        assert_eq!((path.len(), account(&path)), (LONGEST_PATH, Some("7")));
        assert_eq!(build("7", [&*(long + "a")]), Err(PathError::Long));
        assert_eq!(account(&(path.clone() + "a")), None);
        assert!(
            !Template::parse("{account}")
                .unwrap()
                .fits(&(path + "a"), "7")
        );

        let encoded = |times| format!("a%{}41", "25".repeat(times - 1));
        assert!(build("7", [&*encoded(DECODINGS)]).is_ok());
        let oftener = encoded(DECODINGS + 1);
        assert_eq!(build("7", [&*oftener]), Err(PathError::Encoded));
        assert_eq!(account(&format!("7/{oftener}")), None);
    }

    #[test]
    fn ordinary_names_pass() {
        for name in [
            "a.pdf",
            ".profile",
            "a..b",
            "end.",
            "100%",
            "50% off.txt",
            "%zz",
            "räume",
            "a b",
            "%C3%A4",
            "and so on\u{2026}",
            "50%aff",
        ] {
            let path = build("acme", ["x", name]).unwrap();
            assert_eq!(path, format!("acme/x/{name}"));
            assert_eq!(account(&path), Some("acme"));
        }
    }

    #[test]
    fn what_is_no_path_in_a_folder_is_nobodys() {
        for path in [
            "",
            "acme",
            "acme/",
            "/acme/a",
            "acme//a",
            "acme/../b/a",
            "acme/a/",
            "./a",
            "acme./a",
            "acme /a",
            "AAAAAAAA-aaaa-4aaa-8aaa-aaaaaaaaaaaa/a",
        ] {
            assert_eq!(account(path), None, "{path}");
        }
    }

    #[test]
    fn two_accounts_have_no_folder_in_common() {
        for account in ["acme.", "acme ", "acme. ."] {
            assert_eq!(build(account, ["a"]), Err(PathError::Folder));
        }
    }

    #[test]
    fn templates_say_where_the_account_stands() {
        let plain = Template::parse("{account}").unwrap();
        assert!(plain.fits("7/a", "7"));
        for path in ["7", "7/", "8/a", "70/a", "7/../8/a", "/7/a", "8/7/a"] {
            assert!(!plain.fits(path, "7"), "{path}");
        }
        let deep = Template::parse("avatars/*/{account}").unwrap();
        assert!(deep.fits("avatars/eu/7/me.png", "7"));
        assert!(!deep.fits("avatars/7/eu/me.png", "7"));
        assert!(!deep.fits("avatars//7/me.png", "7"));
        for text in [
            "",
            "a",
            "{account}/{account}",
            "x{account}",
            "{account}/",
            "{account}/../a",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
