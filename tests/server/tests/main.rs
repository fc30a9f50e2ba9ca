//! All server tests in one program: it links once, and they share one cluster.

mod capture;
mod doors;
mod harness;
mod identity;
mod identity_attacks;
mod integrations;
mod isolation;
mod ledger;
mod membership;
mod revocation;
mod surface;
