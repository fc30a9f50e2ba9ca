//! Whose events the caller may look back at.

use tenant_guard_core::account::AccountId;

use super::readers;
use crate::catalog::has_role;
use crate::error::{Error, Looking, OrRaise};

/// Whether the current user may look back at all accounts.
pub(super) fn is_auditor() -> bool {
    has_role(c"tenant_guard_auditor")
}

/// The account to look back at, empty for the system account; none for all of them. An auditor names
/// any or none, an identity its own or none, which is its own.
pub(super) fn account(asked: Option<&str>) -> Option<String> {
    let asked = asked.map(|account| match account {
        "" => String::new(),
        account => match AccountId::from_text(account) {
            Ok(account) => account.as_str().to_owned(),
            Err(_) => Error::UnfitAccount.raise(),
        },
    });
    if is_auditor() {
        return asked;
    }
    let own = readers::account()
        .ok_or(Error::Looking(Looking::NotReader))
        .or_raise();
    if asked.is_some_and(|asked| asked != own) {
        Error::Looking(Looking::OtherAccount).raise();
    }
    Some(own)
}
