//! Timing reports and requests.

mod intervals;
