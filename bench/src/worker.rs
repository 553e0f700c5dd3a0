//! A worker: a benchmark's own executable again, as a process that answers requests. A line asks; a line of JSON answers, a
//! list of numbers or an object with an `error`.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

use baton_support::limits::START_PATIENCE;
use baton_support::process::{RunningProgram, isolated};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;

use crate::Failure;
use crate::limits::VISIT_PATIENCE;
use crate::sink::Sink;

/// First argument of a worker; its role follows.
pub const ROLE: &str = "role";

/// A worker, as its benchmark sees it. Dies with this.
#[derive(Debug)]
pub struct Worker {
    program: RefCell<RunningProgram>,
    ready: String,
}

impl Worker {
    /// Starts this executable with [`ROLE`] and `arguments`, the first of which is the role, and waits for its first line.
    /// What it records it exports to `collector`, if there is one.
    ///
    /// # Errors
    /// It did not start, or did not speak in time.
    pub fn start(arguments: &[&str], collector: Option<&str>) -> Result<Self, Failure> {
        Self::start_of(&std::env::current_exe()?, arguments, collector)
    }

    /// Starts another benchmark's executable, with [`ROLE`] and `arguments`, and waits for its first line.
    ///
    /// # Errors
    /// It did not start, or did not speak in time.
    pub fn start_of(executable: &Path, arguments: &[&str], collector: Option<&str>) -> Result<Self, Failure> {
        let mut command = isolated(Command::new(executable), collector);
        command.arg(ROLE).args(arguments);
        let mut program = RunningProgram::start(arguments.first().copied().unwrap_or(ROLE), command)?;
        let ready = program.line(START_PATIENCE)?;
        Ok(Self {
            program: RefCell::new(program),
            ready,
        })
    }

    /// What it said first.
    pub fn ready(&self) -> &str {
        &self.ready
    }

    /// Has it do something, and waits for the answer.
    ///
    /// # Errors
    /// Its own, or that it did not answer in time.
    pub fn ask(&self, request: impl Display) -> Result<Vec<f64>, Failure> {
        let mut program = self.program.borrow_mut();
        let line = program.ask(&request.to_string(), VISIT_PATIENCE)?;
        read_answer(&line).map_err(|error| format!("{}: {error}", program.name()).into())
    }

    /// Stops it where it is, its connections open; see [`RunningProgram::freeze`].
    ///
    /// # Errors
    /// The operating system's.
    pub fn freeze(&self) -> Result<(), Failure> {
        Ok(self.program.borrow().freeze()?)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// The operating system's.
    pub fn thaw(&self) -> Result<(), Failure> {
        Ok(self.program.borrow().thaw()?)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.borrow().pid()
    }
}

/// As a worker: says `ready` and answers each request from stdin until that is closed. Reads stdin through the runtime's own
/// reactor, so that what runs beside this, such as the keep-alive of a session, goes on while nobody asks, and no second
/// thread is there while somebody measures.
///
/// # Errors
/// The operating system's. An error of `handle` is an answer.
pub async fn answer(
    ready: &str,
    mut handle: impl AsyncFnMut(&str) -> Result<Vec<f64>, Failure>,
) -> Result<(), Failure> {
    let stdin = pipe::Receiver::from_owned_fd(std::io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut lines = BufReader::new(stdin).lines();
    say(ready)?;
    while let Some(line) = lines.next_line().await? {
        say(&write_answer(handle(&line).await))?;
    }
    Ok(())
}

/// As a worker that counts spans: says its endpoint; whatever it is asked, it answers what it has received so far: batches,
/// spans, spans of kind CLIENT, spans of kind SERVER.
///
/// # Errors
/// The operating system's.
pub fn count_spans() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let sink = Sink::bind()?;
        let (endpoint, handle) = (sink.endpoint()?, sink.handle());
        let counting = answer(&endpoint, async |_| {
            let counts = handle.counts();
            let counts = [
                counts.batches,
                counts.spans,
                counts.client_spans,
                counts.server_spans,
            ];
            Ok(counts.map(|count| count as f64).to_vec())
        });
        tokio::select! {
            served = sink.serve() => Ok(served?),
            done = counting => done,
        }
    })
}

fn say(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

fn write_answer(answer: Result<Vec<f64>, Failure>) -> String {
    match answer {
        Ok(numbers) => serde_json::json!(numbers).to_string(),
        Err(error) => serde_json::json!({ "error": error.to_string() }).to_string(),
    }
}

fn read_answer(line: &str) -> Result<Vec<f64>, String> {
    let value: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if let Some(error) = value["error"].as_str() {
        return Err(error.to_owned());
    }
    let numbers = value
        .as_array()
        .and_then(|numbers| numbers.iter().map(serde_json::Value::as_f64).collect());
    numbers.ok_or_else(|| format!("not an answer: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let numbers = vec![0.5, 2e9, 1e-9];
        assert_eq!(read_answer(&write_answer(Ok(numbers.clone()))), Ok(numbers));
        assert_eq!(
            read_answer(&write_answer(Err("\"no\"\nmore".into()))),
            Err("\"no\"\nmore".to_owned())
        );
        assert!(read_answer("[1, null]").is_err() && read_answer("{}").is_err());
    }
}
