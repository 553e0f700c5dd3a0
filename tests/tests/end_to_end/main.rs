//! End to end: a relay, an exec-server and a client, three processes of the real binary (or the client library in this
//! one), on loopback. Nothing else has to be installed.
//!
//! * `trace`: one command is one trace, whole, at a real OTLP receiver;
//! * `telemetry`: what a collector's state and the `OTEL_*` variables do to a command;
//! * `files`: trace files and `baton run`;
//! * `blind`: what the relay's two legs carry;
//! * `call_end`: history tells who ended a command;
//! * `inherited`: what a command gets of the exec-server that runs it, and what it does not;
//! * `spawn`: how an exec-server creates processes, in a sandbox too;
//! * `records`: history, threads, barriers, and what is left when the disk fails or the exec-server is killed;
//! * `refused`: bad tickets, relays, keys, lists and commands, each with its sentence;
//! * `revoked`: a client that loses its line on the list loses what it runs;
//! * `hostile`: what a hostile peer or file gets to show on a terminal;
//! * `health`: `baton health`;
//! * `tls`: the connection to the relay, and the warning where it is in clear text;
//! * `crowds`: more commands at once than a connection has sessions, and commands that wait for relay and exec-server;
//! * `crashes`: an exec-server that is killed again and again runs nothing twice and forgets nothing that a barrier covered;
//! * `ends`: who dies, and what is left;
//! * `volume`: no byte is lost, however many there are.
//!
//! Every wait has a deadline, far beyond what a loaded machine needs. `BATON_TEST_FULL=1` raises the amounts in `volume`.

mod blind;
mod call_end;
mod crashes;
mod crowds;
mod ends;
mod files;
mod health;
mod hostile;
mod inherited;
mod records;
mod refused;
mod revoked;
mod spawn;
mod support;
mod telemetry;
mod tls;
mod trace;
mod volume;
