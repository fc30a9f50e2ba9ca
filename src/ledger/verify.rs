//! Verification: hands the stored rows to the core's verifier.

use pgrx::prelude::*;
use tenant_guard_core::account::AccountId;
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::ledger::{Finding, Part, Rows, Scope, Verifier};

use super::progress::Progress;
use super::read::Reader;
use super::rows::with_latest_snapshot;
use super::{index, since};
use crate::catalog::as_owner;
use crate::clock;
use crate::error::{Error, OrRaise};
use crate::fault::fault_point;

/// Recomputes the ledger: a row for each thing that is not as it was sealed, none when it is
/// intact.
///
/// `account` narrows the check of events to one account. `against` is a checkpoint taken earlier;
/// without one a consistent removal of the newest blocks is not found. `since` is one up to which
/// the ledger was verified before: only what came after is looked at. `part` of `parts` does a
/// share of the work, so that several sessions find together what one finds.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn verify_ledger(
    account: Option<&str>,
    against: Option<&str>,
    since: Option<&str>,
    part: Option<i32>,
    parts: Option<i32>,
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
    let [against, since] =
        [against, since].map(|text| text.map(checkpoint_of).transpose().or_raise());
    if against.is_some() && since.is_some() {
        Error::UnfitArgument(
            "since",
            "it already is what the ledger must have grown from",
        )
        .raise();
    }
    let part = match (part, parts) {
        (None, None) => Ok(Part::WHOLE),
        (Some(part), Some(parts)) => Part::new(part, parts).ok_or(OTHER_PART),
        _ => Err(OTHER_PART),
    };
    let verifier = Verifier::new(scope, against)
        .part(part.or_raise())
        .read_at(clock::now_us());
    let findings = as_owner(|| with_latest_snapshot(|| verify(verifier, since)));
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

const OTHER_PART: Error =
    Error::UnfitArgument("part", "it must be 1 to parts, which is at most 1024");

fn checkpoint_of(text: &str) -> Result<Checkpoint, Error> {
    Checkpoint::given(text).map_err(|_| Error::UnfitCheckpoint)
}

fn verify(mut verifier: Verifier, since: Option<Checkpoint>) -> Vec<Finding> {
    let after = match &since {
        None => None,
        Some(checkpoint) => match since::begin(&mut verifier, checkpoint) {
            None => return verifier.take_findings(),
            after => after,
        },
    };
    let mut progress = Progress::begin();
    let read = Reader::new(&mut verifier)
        .after(after)
        .read(|block| progress.at(block));
    fault_point!("verify.all_read");
    verifier.finish();
    fault_point!("verify.finished");
    let mut findings = verifier.take_findings();
    if verifier.takes_trees() && after.is_none() {
        index::compare(&read, &mut findings);
    }
    findings
}
