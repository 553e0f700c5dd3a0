//! Handles of the workers that execute, and of a process set of Baton.

use std::cell::Cell;
use std::time::Duration;

use baton_bench::floor::{Flavour, StartMethod};
use baton_support::process::{Stack, usage};

use crate::Failure;
use crate::protocol::{Request, Task};

/// A worker that executes on request, with the number of requested executions.
pub(crate) struct Worker {
    process: baton_bench::Worker,
    executions: Cell<usize>,
}

impl Worker {
    fn start(arguments: &[&str], collector: Option<&str>) -> Result<Self, Failure> {
        Ok(Self {
            process: baton_bench::Worker::start(arguments, collector)?,
            executions: Cell::new(0),
        })
    }

    /// Starts the floor.
    pub(crate) fn floor(method: StartMethod, flavour: Flavour) -> Result<Self, Failure> {
        Self::start(&["floor", method.name(), flavour.name()], None)
    }

    /// Sends a request and returns its samples.
    pub(crate) fn ask(&self, request: impl Into<Request>) -> Result<Vec<f64>, Failure> {
        let request = request.into();
        self.executions
            .update(|executions| executions + request.warm_up + request.executions);
        self.process.ask(request)
    }

    /// Executions requested so far, including warm-up.
    pub(crate) fn executions(&self) -> usize {
        self.executions.get()
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// What [`Baton::cpu_times`] divides CPU time by. The client is the load generator.
pub(crate) const CPU_USERS: [&str; 4] = ["relay", "exec-server", "commands", "client"];

/// A relay, an exec-server and a client.
pub(crate) struct Baton {
    stack: Stack,
    pub(crate) client: Worker,
}

impl Baton {
    /// Starts all three and connects the client. With a collector, every execution is recorded and exported to it.
    /// Without a collector, tracing is off as far as it can be: no exporter, and a sampler that samples nothing on both
    /// sides. The exec-server still stamps its stages, for the records of `baton history`, as it always does.
    pub(crate) fn start(collector: Option<&str>) -> Result<Self, Failure> {
        Self::start_with(&[], collector)
    }

    /// Starts all three without tracing, the relay with this number of threads.
    pub(crate) fn with_relay_threads(threads: usize) -> Result<Self, Failure> {
        Self::start_with(&["--threads", &threads.to_string()], None)
    }

    fn start_with(relay: &[&str], collector: Option<&str>) -> Result<Self, Failure> {
        let stack = Stack::start_with_relay(relay, collector, |command, _| {
            if collector.is_none() {
                command.env("OTEL_TRACES_SAMPLER", "always_off");
            }
        })?;
        let (ticket, key) = (stack.ticket(), stack.client_key());
        let key = key.to_str().ok_or("the temporary directory is not UTF-8")?;
        let client = Worker::start(&["client", ticket, key], collector)?;
        Ok(Self { stack, client })
    }

    /// CPU time so far of the three processes, without their children.
    pub(crate) fn cpu_time(&self) -> std::io::Result<Duration> {
        let pids = [
            self.stack.relay.pid(),
            self.stack.exec_server.pid(),
            self.client.pid(),
        ];
        pids.into_iter().map(usage::cpu_time).sum()
    }

    /// CPU time so far of each process, and of the commands that have ended.
    pub(crate) fn cpu_times(&self) -> std::io::Result<[Duration; CPU_USERS.len()]> {
        let exec_server = self.stack.exec_server.pid();
        Ok([
            usage::cpu_time(self.stack.relay.pid())?,
            usage::cpu_time(exec_server)?,
            usage::children_cpu_time(exec_server)?,
            usage::cpu_time(self.client.pid())?,
        ])
    }

    /// Resident bytes of relay and exec-server.
    pub(crate) fn resident_bytes(&self) -> std::io::Result<(u64, u64)> {
        Ok((
            usage::resident_bytes(self.stack.relay.pid())?,
            usage::resident_bytes(self.stack.exec_server.pid())?,
        ))
    }

    /// Stops the client first, then the exec-server, then the relay, so that all spans are exported.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        self.client.ask(Task::Finish)?;
        drop(self.client);
        self.stack.stop()?;
        Ok(())
    }
}
