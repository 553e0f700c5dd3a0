//! The requests to the workers.

use std::fmt;

/// What a worker measures, and the samples that it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Sequential executions: seconds of each.
    Sequential,
    /// Sequential executions with standard input as a pipe, closed at once: seconds of each.
    Piped,
    /// Executions with this many in flight: one number, seconds per execution.
    InFlight(usize),
    /// Sequential executions: the remainder of each, in percent of its envelope.
    Remainder,
    /// Sequential executions: milliseconds from the exec-server's observation of each exit to the caller's receipt.
    Exit,
    /// No executions: close the session and export the queued spans.
    Finish,
}

/// A task, and its numbers of executions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) task: Task,
    /// Uncounted executions, which come first.
    pub(crate) warm_up: usize,
    /// Counted executions.
    pub(crate) executions: usize,
}

impl Request {
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let mut number = || words.next()?.parse().ok();
        let (warm_up, executions) = (number()?, number()?);
        let task = match name {
            "sequential" => Task::Sequential,
            "piped" => Task::Piped,
            "in-flight" => Task::InFlight(number()?),
            "remainder" => Task::Remainder,
            "exit" => Task::Exit,
            "finish" => Task::Finish,
            _ => return None,
        };
        Some(Self {
            task,
            warm_up,
            executions,
        })
    }
}

impl From<Task> for Request {
    /// A request without executions.
    fn from(task: Task) -> Self {
        Self {
            task,
            warm_up: 0,
            executions: 0,
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            task,
            warm_up,
            executions,
        } = self;
        match task {
            Task::Sequential => write!(f, "sequential {warm_up} {executions}"),
            Task::Piped => write!(f, "piped {warm_up} {executions}"),
            Task::InFlight(width) => write!(f, "in-flight {warm_up} {executions} {width}"),
            Task::Remainder => write!(f, "remainder {warm_up} {executions}"),
            Task::Exit => write!(f, "exit {warm_up} {executions}"),
            Task::Finish => write!(f, "finish 0 0"),
        }
    }
}
