//! The requests to the workers.

use std::fmt;

/// What a worker measures, and the samples that it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Sequential executions with /dev/null as stdin: seconds of each.
    Sequential,
    /// Sequential executions with standard input as a pipe, closed at once: seconds of each.
    Piped,
    /// Executions with this many in flight: one number, seconds per execution.
    InFlight(usize),
    /// Executions on this many sessions, one in flight on each: one number, seconds per execution. Each session has a
    /// connection of its own to the relay.
    OnSessions(usize),
    /// Sequential executions: the remainder of each, in percent of its envelope.
    Remainder,
    /// Sequential executions: milliseconds from the exec-server's observation of each exit to the caller's receipt.
    Exit,
    /// Sequential executions: the envelope of each over the wall clock around the caller's await.
    Envelope,
    /// Sequential executions of `sleep 0.01` with stdin as a pipe: seconds from the call of `Client::start` to the
    /// event `Started` of each. The command is silent, so the exec-server holds `Started` back.
    Started,
    /// Round trips of a byte through one running `cat`: seconds of each.
    Cat,
    /// Sequential executions of `sleep 0.01` with /dev/null as stdin: seconds of each.
    Sleep,
    /// No executions: close the session and export the queued spans.
    Finish,
}

/// The command that is silent for ten milliseconds.
pub(crate) const SLEEP: [&str; 2] = ["/bin/sleep", "0.01"];

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
            "on-sessions" => Task::OnSessions(number()?),
            "remainder" => Task::Remainder,
            "exit" => Task::Exit,
            "envelope" => Task::Envelope,
            "started" => Task::Started,
            "cat" => Task::Cat,
            "sleep" => Task::Sleep,
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
            Task::OnSessions(width) => write!(f, "on-sessions {warm_up} {executions} {width}"),
            Task::Remainder => write!(f, "remainder {warm_up} {executions}"),
            Task::Exit => write!(f, "exit {warm_up} {executions}"),
            Task::Envelope => write!(f, "envelope {warm_up} {executions}"),
            Task::Started => write!(f, "started {warm_up} {executions}"),
            Task::Cat => write!(f, "cat {warm_up} {executions}"),
            Task::Sleep => write!(f, "sleep {warm_up} {executions}"),
            Task::Finish => write!(f, "finish 0 0"),
        }
    }
}
