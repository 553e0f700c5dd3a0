//! Attacks by a hostile relay, client or exec-server on the real components. An attacker can end its own sessions, and
//! nothing else.
//!
//! * `relay`: a relay that hands every session to the test, message by message; `testbed`: an exec-server and clients
//!   that use it;
//! * `altered`: messages that are changed, truncated, forged, lost, repeated, swapped or delayed;
//! * `rerouted`: crossed sessions, swapped peers, and replays of a recorded session;
//! * `strangers`: floods of dials, and how long an allowed client waits meanwhile;
//! * `origins`: floods of dials from one origin, and the share of the others;
//! * `registration`: hostile messages to a registered exec-server;
//! * `events`: an exec-server that reports false events of a command;
//! * `pages`: an exec-server that answers queries with more than was requested;
//! * `budget`: the memory that peers can make a relay use, against the formula of its `limits.rs`;
//! * `memory`: floods against processes of the real binary, whose memory is measured.
//!
//! Every attack checks that:
//!
//! - the session ends with a typed error before a deadline, unless the attack changed only timing or stamps;
//! - no command runs that the client did not start, and none runs twice;
//! - another client of the same relay and exec-server is served throughout.
//!
//! `BATON_TEST_FULL=1` raises the amounts. `BATON_TEST_SEED` repeats a run.

mod altered;
mod budget;
mod events;
mod memory;
mod origins;
mod pages;
/// Endpoints without the multiplexer, from the tests of `channel`.
#[allow(dead_code, reason = "each test crate uses a part")]
#[path = "../../../channel/tests/channel/support/raw.rs"]
mod raw;
mod registration;
mod relay;
mod rerouted;
mod strangers;
mod testbed;

use testbed::within;
