//! The benchmark's handles of its workers: one that answers requests, and Baton's three parts together.

use std::cell::{Cell, RefCell};
use std::process::Command;
use std::time::Duration;

use baton_tests::floor::Flavour;
use baton_tests::limits::{START_PATIENCE, VISIT_PATIENCE};
use baton_tests::process::{Part, Stack, isolated, usage};

use crate::Failure;
use crate::protocol::{Request, Task, read_answer};

/// First argument of a worker; its role follows.
pub(crate) const ROLE: &str = "role";

/// A process that answers requests.
pub(crate) struct Worker {
    part: RefCell<Part>,
    ready: String,
    executions: Cell<usize>,
}

impl Worker {
    fn start(name: &str, arguments: &[&str], collector: Option<&str>) -> Result<Self, Failure> {
        let mut command = isolated(Command::new(std::env::current_exe()?), collector);
        command.arg(ROLE).args(arguments);
        let mut part = Part::start(name, command)?;
        let ready = part.line(START_PATIENCE)?;
        Ok(Self {
            part: RefCell::new(part),
            ready,
            executions: Cell::new(0),
        })
    }

    /// The floor.
    pub(crate) fn floor(flavour: Flavour) -> Result<Self, Failure> {
        Self::start("floor", &["floor", flavour.name()], None)
    }

    /// The sink.
    pub(crate) fn sink() -> Result<Self, Failure> {
        Self::start("sink", &["sink"], None)
    }

    /// What it said first: the sink's endpoint.
    pub(crate) fn ready(&self) -> &str {
        &self.ready
    }

    /// Has it do something.
    pub(crate) fn ask(&self, request: impl Into<Request>) -> Result<Vec<f64>, Failure> {
        let request = request.into();
        self.executions
            .set(self.executions.get() + request.warm_up + request.executions);
        let mut part = self.part.borrow_mut();
        let line = part.ask(&request.to_string(), VISIT_PATIENCE)?;
        read_answer(&line).map_err(|error| format!("{}: {error}", part.name()).into())
    }

    /// Executions asked for so far, warm-ups included.
    pub(crate) fn executions(&self) -> usize {
        self.executions.get()
    }

    fn pid(&self) -> u32 {
        self.part.borrow().pid()
    }
}

/// Relay, exec-server and client.
pub(crate) struct Baton {
    stack: Stack,
    pub(crate) client: Worker,
}

impl Baton {
    /// Starts all three, the client connected. With a collector every execution is recorded and exported there; without
    /// one nothing is.
    pub(crate) fn start(collector: Option<&str>) -> Result<Self, Failure> {
        let stack = Stack::start(collector)?;
        let (ticket, key) = (stack.ticket().to_string(), stack.client_key());
        let key = key.to_str().ok_or("the temporary directory is not UTF-8")?;
        let client = Worker::start("client", &["client", &ticket, key], collector)?;
        Ok(Self { stack, client })
    }

    /// CPU time of the three parts so far, without that of what they executed.
    pub(crate) fn cpu_time(&self) -> std::io::Result<Duration> {
        let pids = [
            self.stack.relay.pid(),
            self.stack.exec_server.pid(),
            self.client.pid(),
        ];
        pids.into_iter().map(usage::cpu_time).sum()
    }

    /// Resident bytes of relay and exec-server.
    pub(crate) fn resident_bytes(&self) -> std::io::Result<(u64, u64)> {
        Ok((
            usage::resident_bytes(self.stack.relay.pid())?,
            usage::resident_bytes(self.stack.exec_server.pid())?,
        ))
    }

    /// Ends all three in the order in which nothing is lost.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        self.client.ask(Task::Finish)?;
        drop(self.client);
        self.stack.stop()?;
        Ok(())
    }
}
