//! Harness of the server tests.
