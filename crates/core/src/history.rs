//! Looking back: what rows were, from their events alone.
//!
//! Events come in the order of changes. Everything here is decided without a server.

mod commands;
mod feed;
mod fold;
mod members;
mod moment;
mod names;
mod spans;
mod track;

pub use feed::{InvalidPosition, Position};
pub use fold::{Difference, Event, Fold, Misfit, Scope, Standing, Unknown, Why};
pub use members::{canonical, is_object};
pub use moment::{Counted, Counts};
pub use names::{InvalidName, Names, as_logged, bare, names_before, qualified, split};
pub use track::{Note, Track};
