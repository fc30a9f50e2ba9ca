//! Personal values in the log: finding them, taking them out, what keeps them, and what is left of
//! them on disk.

mod covered;
mod erase;
mod events;
mod hold_log;
pub(crate) mod holds;
mod keys;
mod overwrite;

use tenant_guard_core::account::AccountId;
use tenant_guard_core::history::as_logged;

use crate::error::Error;

/// The canonical text of an account; empty for the system account, which no token names.
fn account_of(account: Option<&str>) -> Result<String, Error> {
    let account = account.ok_or(Error::NullArgument("account"))?;
    if account.is_empty() {
        return Ok(String::new());
    }
    let account = AccountId::from_text(account).map_err(|_| Error::UnfitAccount)?;
    Ok(account.as_str().to_owned())
}

/// The name that events have of a relation, which must be there or in the log. Under the active snapshot,
/// as the owner.
fn known_relation(relation: &str) -> String {
    match as_logged(relation) {
        Ok(name) if covered::is_known(&name) => name,
        _ => Error::NotLogged(relation.to_owned()).raise(),
    }
}

/// Longest reason or legal basis, in bytes: it stands in each event of a large erasure.
const LONGEST_TEXT: usize = 8 << 10;

/// A text that says why, which must be there.
fn why(name: &'static str, text: Option<&str>) -> Result<String, Error> {
    let text = text.ok_or(Error::NullArgument(name))?;
    if text.trim().is_empty() {
        return Err(Error::EmptyArgument(name));
    }
    if text.len() > LONGEST_TEXT {
        return Err(Error::LongValue(name, LONGEST_TEXT));
    }
    Ok(text.to_owned())
}
