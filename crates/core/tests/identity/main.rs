//! Tokens that must be accepted, and every way we know in which one must not be.
#![allow(missing_docs)]

mod claims;
mod form;
mod hostile;
mod issuers;
mod keys;
mod properties;
mod signature;
#[path = "../../../../tests/tokens/signing.rs"]
mod signing;
mod times;
#[path = "../../../../tests/tokens/hostile.rs"]
mod tokens;
