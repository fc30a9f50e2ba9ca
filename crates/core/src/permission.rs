//! Roles of the product: who may do what with which rows of the account, compiled into the text of
//! policies, and read back from policies as they stand.
//!
//! At run time only the verified claims of a token are read: which roles count, and through which
//! inheritance, is decided here when a policy is written.

mod columns;
mod compile;
mod condition;
mod error;
mod leaf;
mod matrix;
mod policies;
mod reading;
mod roles;

pub use columns::{ColumnLists, Columns};
pub use compile::{Assignment, Command, Grant, Link, Scope, SubjectColumn, SubjectType, condition};
pub use condition::Condition;
pub use error::PermissionError;
pub use leaf::meaning;
pub use leaf::relation as relation_of;
pub use matrix::{Cell, Reach, StandingPolicy, cells};
pub use policies::policies;
pub use reading::{Reading, recursion};
pub use roles::{Role, Roles};
