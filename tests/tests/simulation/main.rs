//! Simulation: the real client, relay and exec-server on a simulated network, with a fake operating system under the exec-server,
//! in virtual time. Links fail, stall and lose, machines crash and come back, peers are slow; at the end a checker reads the
//! history of it all.
//!
//! * `plan`: what a seed determines;
//! * `simulation`: one simulation; `network`, `process`, `caller`: the parts that are not real;
//! * `history`: what happened; `check`: what must hold of it.
//!
//! `BATON_SIM_SEEDS=N` simulates N seeds (the first is `BATON_SIM_FIRST`, 1 if not set), `BATON_SIM_SEED=S` replays one and prints its
//! history.
//!
//! A seed determines the plan and the network's latencies, and with them the schedule. It does not determine keys of sessions, ids of
//! spans and sessions, or what the wall clock says: they are random or real, and no part's course depends on them.

mod caller;
mod check;
mod history;
mod network;
mod plan;
mod process;
mod seeds;
mod simulation;
