//! Who speaks: tokens verified against registered issuers, bound to the transaction, read by
//! policies.

mod authenticate;
pub(crate) mod binding;
mod doors;
mod idle;
mod issuers;
mod membership;
mod readers;
mod revocation;
