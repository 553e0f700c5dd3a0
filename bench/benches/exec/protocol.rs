//! What the benchmark asks its workers.

use std::fmt;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Execute one after the other: seconds of each.
    Sequential,
    /// Execute one after the other with standard input as a pipe, closed at once: seconds of each.
    Piped,
    /// Execute with this many in flight: seconds per execution, one number.
    InFlight(usize),
    /// One after the other: the remainder of each, in percent of its envelope.
    Remainder,
    /// One after the other: milliseconds from the exec-server's sight of each exit into the caller's hands.
    Exit,
    /// Nothing more comes: end the session and export what waits.
    Finish,
}

/// A task, and on how many executions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) task: Task,
    /// Executions first, in the same manner, that are not counted.
    pub(crate) warm_up: usize,
    /// Executions that are.
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
    /// Without executions.
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
