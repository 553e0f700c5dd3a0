//! The guard of a request's prefix: its reasons, its bounds and its helper for tests.

mod assertion;
mod bounds;
mod property;
mod reasons;
mod support;
