//! Verification: hands the stored rows to the core's verifier.

use pgrx::prelude::*;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::ledger::{Finding, Scope, Verifier};

use super::read::read_ledger;
use super::rows::with_latest_snapshot;
use crate::catalog::as_owner;
use crate::error::{Error, OrRaise};

/// Recomputes the ledger: a row for each thing that is not as it was sealed, none when it is
/// intact.
///
/// `account` narrows the check of events to one account. `against` is a checkpoint taken earlier;
/// without one a consistent removal of the newest blocks is not found.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn verify_ledger(
    account: Option<&str>,
    against: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(code, &'static str),
        name!(block, Option<i64>),
        name!(account_id, Option<String>),
        name!(event_id, Option<String>),
        name!(relation, Option<String>),
        name!(detail, String),
    ),
> {
    let scope = account.map_or(Ok(Scope::All), scope_of).or_raise();
    let against = against
        .map(|text| {
            text.parse::<Checkpoint>()
                .map_err(|_| Error::UnfitCheckpoint)
        })
        .transpose()
        .or_raise();
    let findings = as_owner(|| with_latest_snapshot(|| verify(scope, against)));
    TableIterator::new(findings.into_iter().map(|found| {
        let Finding {
            code,
            block,
            account,
            event_id,
            relation,
            detail,
        } = found;
        (code.as_str(), block, account, event_id, relation, detail)
    }))
}

/// The system account is the empty text, which names no account of a token.
pub(super) fn scope_of(account: &str) -> Result<Scope, Error> {
    if account.is_empty() {
        return Ok(Scope::Account(String::new()));
    }
    let account = AccountId::from_text(account).map_err(|_| Error::UnfitAccount)?;
    Ok(Scope::Account(account.as_str().to_owned()))
}

fn verify(scope: Scope, against: Option<Checkpoint>) -> Vec<Finding> {
    let mut verifier = Verifier::new(scope, against);
    read_ledger(&mut verifier);
    verifier.finish();
    verifier.take_findings()
}
