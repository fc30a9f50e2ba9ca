//! All server tests in one program: it links once, and they share one cluster.

mod bad_days;
mod capture;
mod functions_page;
mod harness;
mod history;
mod identity;
mod integrations;
mod isolation;
mod ledger;
mod product;
mod reads;
mod surface;
mod upgrade;

#[path = "../../tokens/signing.rs"]
#[expect(dead_code, reason = "the tests of the core use the rest")]
mod signing;
#[path = "../../tokens/hostile.rs"]
#[expect(dead_code, reason = "the tests of the core use the rest")]
mod tokens;
