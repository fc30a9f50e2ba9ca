//! Manifests: what is read, what is refused, what is written back, and what leads from one to
//! another.
#![allow(missing_docs)]

mod differences;
mod generated;
mod online;
mod vectors;
