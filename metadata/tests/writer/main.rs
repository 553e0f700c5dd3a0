//! The writer with its thread, its lock and its waiters, over a store that stalls and fails by command. That the machine behind it
//! decides rightly is held by its own tests, against a model.

mod barriers;
mod bounds;
mod durable;
mod shutdown;
mod spans;
mod support;
