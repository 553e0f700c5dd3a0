//! The guard of a request's prefix: its reasons, its bounds, its test helper, hit rates, and simulated providers.

mod assertion;
mod bounds;
mod hits;
mod property;
mod providers;
mod reasons;
mod support;
