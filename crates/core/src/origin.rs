//! Web origins in their one serialisation (RFC 6454 section 6.2).

use std::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// Longest origin in bytes: a host name of 253, its scheme and port.
const LONGEST: usize = 512;

/// An origin: scheme, host and port.
///
/// Two are the same exactly when their texts are: scheme and host in lower case, no port where it is the
/// scheme's own. There are no wildcards: `*` and `*.example.com` are hosts of nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

/// Why a text is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OriginError {
    /// Not `scheme://host` or `scheme://host:port`.
    #[error("an origin is scheme://host or scheme://host:port and nothing more")]
    Shape,
    /// `*` somewhere in it.
    #[error("an origin names one host: wildcards are not allowed")]
    Wildcard,
    /// What browsers send for origins that are not to be told apart.
    #[error("the origin null is that of anybody")]
    Null,
    /// Letters beyond ASCII, which browsers send encoded.
    #[error("a host name with other letters is written as browsers send it, xn--")]
    NotAscii,
}

impl Origin {
    /// Reads an origin as a browser sends it, or as a person writes it.
    ///
    /// # Errors
    ///
    /// [`OriginError`] for anything else, a URL with a path or a user included.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        if text.eq_ignore_ascii_case("null") {
            return Err(OriginError::Null);
        }
        if text.contains('*') {
            return Err(OriginError::Wildcard);
        }
        if !text.is_ascii() {
            return Err(OriginError::NotAscii);
        }
        let (scheme, rest) = text.split_once("://").ok_or(OriginError::Shape)?;
        let scheme = scheme.to_ascii_lowercase();
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase());
        if text.len() > LONGEST || !is_scheme || !scheme.chars().all(letter) {
            return Err(OriginError::Shape);
        }
        let (host, port) = host_and_port(rest)?;
        let host = canonical_host(host)?;
        Ok(Self(match port {
            Some(port) if default_port(&scheme) != Some(port) => {
                format!("{scheme}://{host}:{port}")
            }
            _ => format!("{scheme}://{host}"),
        }))
    }

    /// The serialisation.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn host_and_port(rest: &str) -> Result<(&str, Option<u16>), OriginError> {
    let end = match rest.strip_prefix('[') {
        Some(address) => address.find(']').ok_or(OriginError::Shape)? + 2,
        None => rest.find(':').unwrap_or(rest.len()),
    };
    let (host, port) = rest.split_at(end);
    if port.is_empty() {
        return Ok((host, None));
    }
    let digits = port.strip_prefix(':').ok_or(OriginError::Shape)?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    let port = digits.parse().ok().filter(|_| plain);
    port.map(|port| (host, Some(port)))
        .ok_or(OriginError::Shape)
}

fn canonical_host(host: &str) -> Result<String, OriginError> {
    if let Some(address) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let address: Ipv6Addr = address.parse().map_err(|_| OriginError::Shape)?;
        return Ok(format!("[{address}]"));
    }
    let host = host.to_ascii_lowercase();
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let labels_fit = host
        .split('.')
        .all(|label| !label.is_empty() && label.chars().all(letter));
    // A last label that is a number makes it an address, which has one spelling.
    let is_number = |label: &str| {
        label.bytes().all(|byte| byte.is_ascii_digit())
            || label
                .strip_prefix("0x")
                .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let fits = labels_fit
        && (!host.rsplit('.').next().is_some_and(is_number) || host.parse::<Ipv4Addr>().is_ok());
    fits.then_some(host).ok_or(OriginError::Shape)
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_origin_has_one_text() {
        for (text, canonical) in [
            ("https://app.example.com", "https://app.example.com"),
            ("HTTPS://App.Example.COM:443", "https://app.example.com"),
            ("http://localhost:80", "http://localhost"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://example.com:80", "https://example.com:80"),
            ("http://[0:0::1]:8080", "http://[::1]:8080"),
            ("http://127.0.0.1", "http://127.0.0.1"),
            ("capacitor://localhost", "capacitor://localhost"),
            (
                "https://xn--rume-moa.example",
                "https://xn--rume-moa.example",
            ),
        ] {
            assert_eq!(Origin::parse(text).unwrap().as_str(), canonical);
        }
    }

    #[test]
    fn texts_that_only_look_like_an_origin_are_refused() {
        for text in [
            "",
            "example.com",
            "https:/example.com",
            "https://",
            "https://example.com/",
            "https://example.com/path",
            "https://example.com?",
            "https://example.com#",
            "https://user@example.com",
            "https://example.com:",
            "https://example.com:0443",
            "https://example.com:65536",
            "https://example.com:443:443",
            "https://example..com",
            "https://example.com.",
            "https://example.com\\.evil.example",
            "https://exa mple.com",
            "https://example.com\n",
            " https://example.com",
            "https://2130706433",
            "https://0x7f.1",
            "https://127.1",
            "https://[::1",
            "https://[::1]x",
            "https://[fe80::1%25en0]",
            "://example.com",
            "1https://example.com",
        ] {
            assert_eq!(Origin::parse(text), Err(OriginError::Shape), "{text:?}");
        }
        assert_eq!(Origin::parse("null"), Err(OriginError::Null));
        for text in ["*", "https://*", "https://*.example.com", "*://example.com"] {
            assert_eq!(Origin::parse(text), Err(OriginError::Wildcard));
        }
        assert_eq!(
            Origin::parse("https://räume.example"),
            Err(OriginError::NotAscii)
        );
    }
}
