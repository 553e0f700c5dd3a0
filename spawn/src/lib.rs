//! Starts child processes.
//!
//! * [`Image`]: what a child executes, with its [`Environment`];
//! * [`clone_child`]: creates the child by clone(2), and does not wait for its exec;
//! * [`limits`]: every bound, with its reason and what it can cost.
//!
//! All `unsafe` code is in the private module `sys`.

mod environment;
pub mod limits;
mod sys;

pub use environment::{Environment, Variable};
pub use sys::clone::{Cloned, Execution, Image, Inheritance, State, clone_child, prepare};
pub use sys::nursery::Nursery;
