//! How well somebody was authenticated, compared with what an action asks for.

/// Whether the assurance of a token meets what is required.
///
/// A token may state several (`amr`), parted by spaces; one suffices. A statement meets a
/// requirement of the same text, and one that ends in a smaller number behind the same name: `aal2`
/// meets `aal1`. Names that end in no number have no order.
pub fn meets(stated: &str, required: &str) -> bool {
    stated.split(' ').any(|stated| {
        stated == required
            || match (level(stated), level(required)) {
                (Some((name, has)), Some((wanted, needs))) => name == wanted && has >= needs,
                _ => false,
            }
    })
}

/// Name and number of a numbered level. Numbers as large as no scale has are none.
fn level(text: &str) -> Option<(&str, u32)> {
    let name = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = text[name.len()..].parse().ok()?;
    (!name.is_empty()).then_some((name, number))
}

#[cfg(test)]
mod tests {
    use super::meets;

    #[test]
    fn numbered_levels_are_ordered_within_their_name() {
        for (stated, required) in [
            ("aal2", "aal2"),
            ("aal3", "aal2"),
            ("aal10", "aal9"),
            ("mfa", "mfa"),
            ("pwd mfa otp", "mfa"),
            ("urn:acr:silver", "urn:acr:silver"),
            ("2", "2"),
        ] {
            assert!(meets(stated, required), "{stated} {required}");
        }
        for (stated, required) in [
            ("aal1", "aal2"),
            ("loa3", "aal2"),
            ("", "aal1"),
            ("pwd", "mfa"),
            ("mfa", "mf"),
            ("3", "2"),
            ("aal99999999999", "aal1"),
            ("aal2", "aal2 "),
        ] {
            assert!(!meets(stated, required), "{stated} {required}");
        }
    }
}
