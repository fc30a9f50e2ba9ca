//! All server tests in one program: it links once, and they share one cluster.

mod capture;
mod harness;
mod identity;
mod isolation;
mod surface;
