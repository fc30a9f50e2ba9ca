//! Bad days: what goes wrong in the middle of every step, and what an operator lives through. Nothing is
//! lost, nothing is half done, the server goes on.

mod cancels;
mod days;
mod disk;
mod dumps;
mod huge;
mod many;
mod owners;
mod points;
mod replication;
mod sealer;
mod steps;
mod timeouts;
