//! What a hostile relay, client or exec-server can do to the real other parts: end its own sessions, and nothing else.
//!
//! * `relay`: a relay that hands every session to the test, message by message; `testbed`: an exec-server and clients that use it;
//! * `altered`: messages that are flipped, cut, forged, lost, repeated, swapped, held back;
//! * `rerouted`: sessions and peers that are crossed, and what was recorded, played again;
//! * `strangers`: floods of dials beside a client that is allowed, and how long that one waits;
//! * `registration`: what a relay can tell a registered exec-server;
//! * `events`: an exec-server that lies about what a command did;
//! * `pages`: an exec-server that answers queries with more than was asked for;
//! * `budget`: the worst that peers can do to a relay's memory, against the formula of its `limits.rs`;
//! * `memory`: floods against processes of the real binary, whose memory is measured.
//!
//! In every one of them: the session ends with a typed error in time (or nothing but time was touched), nothing runs that
//! the client did not ask for, nothing runs twice, and a client of the same relay and exec-server works on meanwhile.
//!
//! `BATON_TEST_FULL=1` raises the amounts, `BATON_TEST_SEED` repeats a run.

mod altered;
mod budget;
mod events;
mod memory;
mod origins;
mod pages;
/// The hand-driven ends of the channel's own tests.
#[allow(dead_code, reason = "each test crate uses a part")]
#[path = "../../../channel/tests/channel/support/raw.rs"]
mod raw;
mod registration;
mod relay;
mod rerouted;
mod strangers;
mod testbed;

use testbed::within;
