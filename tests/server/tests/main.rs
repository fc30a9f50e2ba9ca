//! All server tests in one program: it links once, and they share one cluster.

mod harness;
mod identity;
mod isolation;
mod surface;
