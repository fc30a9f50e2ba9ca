//! Who speaks: tokens verified against registered issuers, bound to the transaction, read by
//! policies.

pub(crate) mod authenticate;
pub(crate) mod binding;
pub(crate) mod doors;
mod idle;
pub(crate) mod issuers;
pub(crate) mod membership;
mod readers;
mod revocation;
