//! Everything tenant_guard decides without PostgreSQL: no I/O, no clock of its own, no unsafe code.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]
