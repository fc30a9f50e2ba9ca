//! The ledger as a whole: its vectors, and what verification finds in a tampered one.

mod bundles;
mod erasures;
mod model;
mod moved;
mod pruned;
mod rules_hidden;
mod since;
mod tampering;
mod vectors;
