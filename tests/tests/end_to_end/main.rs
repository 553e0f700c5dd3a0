//! End to end: a relay, an exec-server and a client, on loopback. Each is a process of the real binary; some tests use
//! the client library in the test process. Nothing else has to be installed.
//!
//! * `trace`: a command is one complete trace at a real OTLP receiver;
//! * `telemetry`: effects of a collector's state and of the `OTEL_*` variables on a command;
//! * `files`: trace files and `baton run`;
//! * `corpus`: `--trace-dir`, and the commands that read it;
//! * `blind`: the bytes on both legs of the relay;
//! * `call_end`: the call end that history has of a command;
//! * `outcomes`: outcome and fault of a command, the same in events, history and spans;
//! * `inherited`: what a command inherits from its exec-server, and what it does not;
//! * `ssh`: `baton ssh`, also as the ssh of git and rsync;
//! * `spawn`: how an exec-server creates processes, also in a sandbox;
//! * `copy`: `baton cp`;
//! * `remote_files`: files of the exec-server's machine, listed, read and written by the client library;
//! * `records`: history, threads and barriers, also after a disk failure or a crash of the exec-server;
//! * `recover`: commands with a grace, and their clients, survive lost connections;
//! * `refused`: the errors for bad tickets, relays, keys, lists and commands;
//! * `matrix`: every kind of command under every kind of fault of its connections, by one checker;
//! * `options`: options of an allow-list line: a forced command, an expired key, an unknown option;
//! * `revoked`: the processes of a client are killed when its line is removed from the allow-list;
//! * `processes`: `baton ps` and `baton kill`;
//! * `signals`: Ctrl-C and SIGTERM of a client, and the time that its command then has;
//! * `ids`: ids, detached commands, events as JSON and limited output, for scripts and agents;
//! * `hostile`: text of a hostile peer or file on a terminal;
//! * `health`: `baton health`;
//! * `terminal`: `exec -t` under a pseudo-terminal, its escapes, and `attach -t`;
//! * `users`: commands that run as another user than the exec-server's;
//! * `tls`: TLS to the relay, and the warning about clear text;
//! * `crowds`: more concurrent commands than a connection has sessions, and commands that wait for relay and
//!   exec-server;
//! * `crashes`: repeated kills of an exec-server: no start runs twice, and no record behind a barrier is lost;
//! * `ends`: a client, relay or exec-server that ends or is killed, and its surviving processes;
//! * `decide`: `baton compare` and `baton gate` over recorded runs;
//! * `jaeger`: `baton analyze --jaeger` over TLS;
//! * `volume`: no byte of input or output is lost;
//! * `warm`: `baton warm`, pooled sessions, and that no state of one command is visible in the next;
//! * `workspace`: the root of a project, and what a turn changed in it.
//!
//! Every wait has a deadline far beyond the need of a loaded machine. `BATON_TEST_FULL=1` raises the amounts.

mod blind;
mod call_end;
mod copy;
mod corpus;
mod crashes;
mod crowds;
mod decide;
mod ends;
mod environment;
mod files;
mod health;
mod hostile;
mod hosts;
mod ids;
mod inherited;
mod jaeger;
mod matrix;
mod metrics;
mod options;
mod outcomes;
mod processes;
mod records;
mod recover;
mod refused;
mod remote_files;
mod revoked;
mod signals;
mod spawn;
mod ssh;
mod support;
mod telemetry;
mod terminal;
mod tls;
mod trace;
mod users;
mod volume;
mod warm;
mod workspace;
