//! What the benchmark and its workers say to each other: a line of words asks, a line of JSON answers.
//!
//! An answer is a list of numbers, or an object with an `error`.

use std::fmt;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Execute one after the other: seconds of each.
    Sequential,
    /// The same with standard input as a pipe, closed at once: seconds of each.
    Piped,
    /// Execute with this many in flight: seconds per execution, one number.
    InFlight(usize),
    /// One after the other: the remainder of each, in percent of its envelope.
    Remainder,
    /// One after the other: milliseconds from the exec-server's sight of each exit into the caller's hands.
    Exit,
    /// Nothing more comes: end the session and export what waits.
    Finish,
    /// Received so far: batches, spans, spans of kind CLIENT, spans of kind SERVER.
    Counts,
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

/// The answer.
pub(crate) type Answer = Result<Vec<f64>, String>;

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
            "counts" => Task::Counts,
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
            Task::Counts => write!(f, "counts 0 0"),
        }
    }
}

/// An answer as a line.
pub(crate) fn write_answer(answer: &Answer) -> String {
    match answer {
        Ok(numbers) => serde_json::json!(numbers).to_string(),
        Err(error) => serde_json::json!({ "error": error }).to_string(),
    }
}

/// The line as an answer.
pub(crate) fn read_answer(line: &str) -> Answer {
    let value: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if let Some(error) = value["error"].as_str() {
        return Err(error.to_owned());
    }
    let numbers = value
        .as_array()
        .and_then(|numbers| numbers.iter().map(serde_json::Value::as_f64).collect());
    numbers.ok_or_else(|| format!("not an answer: {line}"))
}
