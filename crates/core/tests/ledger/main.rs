//! The ledger as a whole: its vectors, and what verification finds in a tampered one.

mod bundles;
mod model;
mod tampering;
mod vectors;
