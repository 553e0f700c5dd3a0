//! The only module with `unsafe` code: no well-kept crate creates a child as [`clone`] does.
#![expect(
    unsafe_code,
    reason = "what a cloned child may do is beyond what Rust can check; see the documentation of `clone`"
)]

pub(crate) mod child;
pub(crate) mod clone;
mod enter;
pub(crate) mod memory;
pub(crate) mod signals;
mod stack;
pub(crate) mod stack_pool;
