//! Tests of the writer with its thread, lock and waiters, over a store with injected stalls and failures. The
//! scheduler's unit tests check its decisions against a model.

mod barriers;
mod bounds;
mod durable;
mod shutdown;
mod spans;
mod support;
