//! Rows that belong together belong to one account, and so do files and origins.

mod binding;
mod buckets;
mod bypasses;
mod data;
mod moving;
mod origins;
mod unique;
