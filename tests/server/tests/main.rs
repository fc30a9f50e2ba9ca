//! All server tests in one program: it links once, and they share one cluster.

mod capture;
mod doors;
mod harness;
mod hostile_tokens;
mod identity;
mod identity_attacks;
mod idle;
mod integrations;
mod isolation;
mod ledger;
mod membership;
mod revocation;
mod surface;

#[path = "../../tokens/signing.rs"]
#[expect(dead_code, reason = "the tests of the core use the rest")]
mod signing;
#[path = "../../tokens/hostile.rs"]
#[expect(dead_code, reason = "the tests of the core use the rest")]
mod tokens;
