//! Tests of the store on real SQLite.

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
