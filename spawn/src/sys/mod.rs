//! The only module that needs `unsafe`: no well-kept crate offers what [`clone`] does.
#![expect(
    unsafe_code,
    reason = "what clone's child may do is beyond what Rust can check; see the documentation of `clone`"
)]

mod child;
pub(crate) mod clone;
mod enter;
pub(crate) mod nursery;
mod stack;
