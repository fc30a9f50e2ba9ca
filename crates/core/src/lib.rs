//! Everything tenant_guard decides without PostgreSQL: no I/O, no clock of its own, no unsafe code.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

pub mod access;
pub mod account;
pub mod archetype;
pub mod assurance;
pub mod audit;
mod base64url;
pub mod bucket;
pub mod bundle;
mod cbor;
pub mod checkpoint;
pub mod claims;
pub mod configuration;
pub mod event;
pub mod fingerprints;
pub mod identity;
pub mod issuer;
pub mod json;
pub mod json_path;
pub mod jwk;
pub mod keyed_hash;
pub mod ledger;
pub mod locking;
pub mod manifest;
pub mod merkle;
pub mod migration;
pub mod month;
pub mod note;
pub mod origin;
pub mod permission;
pub mod plan;
pub mod policy;
pub mod probe;
pub mod proof;
pub mod publication;
pub mod receipt;
pub mod reference;
pub mod report;
pub mod revocation;
pub mod sealing;
pub mod tile;
pub mod token;
pub mod trigger;
pub mod witness;
