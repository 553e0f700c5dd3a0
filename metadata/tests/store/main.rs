//! The store on real SQLite: what it keeps, what it refuses, and what it does when the disk fails.

mod crash;
mod faults;
mod losses;
mod memory;
mod merging;
mod migrations;
mod opening;
mod people;
mod queries;
mod recovery;
mod retention;
mod support;
