//! Paths of files that belong to the verified account.

use pgrx::prelude::*;
use tenant_guard_core::bucket;

use crate::error::{Error, OrRaise};
use crate::identity::binding;

/// The path of these segments in the folder of the verified account.
#[pg_extern(sql = false)]
fn account_path(segments: VariadicArray<&str>) -> Option<String> {
    let segments: Option<Vec<_>> = segments.iter().collect();
    let segments = segments.ok_or(Error::NullArgument("a segment")).or_raise();
    let build = |account: &str| bucket::build(account, segments.iter().copied());
    let path = binding::with_current(|identity| build(identity.account));
    path.map(|path| path.map_err(Error::from).or_raise())
}

/// The account in whose folder a path is.
#[pg_extern(sql = false)]
fn path_account(path: &str) -> Option<&str> {
    bucket::account(path)
}

/// Whether a path is in the folder of the verified account.
#[pg_extern(sql = false)]
fn owns_path(path: &str) -> Option<bool> {
    binding::with_current(|identity| bucket::account(path) == Some(identity.account))
}
