//! The store on real SQLite: what it keeps, what it refuses, and what it does when the disk fails.

mod crash;
mod documented_queries;
mod faults;
mod losses;
mod memory;
mod merging;
mod migrations;
mod opening;
mod queries;
mod recovery;
mod retention;
mod support;
