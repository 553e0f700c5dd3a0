//! The only module with `unsafe` code: no maintained crate creates a child as [`clone`] does, and [`fork`] runs the
//! same steps in its child.
#![expect(
    unsafe_code,
    reason = "what a cloned child may do is beyond what Rust can check; see the documentation of `clone`"
)]

mod child;
pub(crate) mod clone;
mod enter;
pub(crate) mod fork;
pub(crate) mod inherited;
pub(crate) mod memory;
pub(crate) mod report;
mod signals;
mod stack;
pub(crate) mod stack_pool;
