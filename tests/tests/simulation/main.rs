//! Simulation: the real client, relay and exec-server on a simulated network, with a fake operating system under the
//! exec-server, in virtual time. Links fail, stall and lose messages, machines crash and restart, peers are slow. At
//! the end a checker reads the history of all events.
//!
//! * `plan`: what a seed determines;
//! * `simulation`: one simulation; `network`, `process`, `caller`: the simulated components;
//! * `companion`: further callers of a process; `insistent`: callers that do not give their lease up;
//! * `fleet`: another kind of simulation, with several relays behind a balancer;
//! * `history`: the recorded events; `check`: the claims about them;
//! * `seeds`: the tests, which simulate and replay seeds.
//!
//! `BATON_SIM_SEEDS=N` simulates N seeds. `BATON_SIM_FIRST` is the first of them; the default is 1. `BATON_SIM_SEED=S`
//! replays one seed and prints its history.
//!
//! A seed determines the plan and the network's latencies, and with them the schedule. It does not determine session
//! keys, ids of spans and sessions, or the wall clock: these are random or real, and the schedule does not depend on
//! them.

mod caller;
mod check;
mod companion;
mod fleet;
mod history;
mod insistent;
mod network;
mod plan;
mod process;
mod seeds;
mod simulation;
