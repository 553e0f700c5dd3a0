//! A worker: the benchmark's own executable as a child process that answers requests. A request is a line of text. The
//! answer is a line of JSON: a list of numbers, or an object with an `error`.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

use baton_support::limits::{START_PATIENCE, STOP_PATIENCE};
use baton_support::process::{RunningProgram, isolated};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;

use crate::Failure;
use crate::limits::VISIT_PATIENCE;
use crate::sink::SpanSink;

/// The first argument of a worker. The next argument is its role.
pub const ROLE: &str = "role";

/// A running worker, as the benchmark's main process sees it. Killed when dropped.
#[derive(Debug)]
pub struct Worker {
    program: RefCell<RunningProgram>,
    ready: String,
}

impl Worker {
    /// Starts this executable with [`ROLE`] and `arguments`, the first of which is the role, and waits for its first
    /// line. It exports its spans to `collector`, if there is one.
    ///
    /// # Errors
    /// It did not start, or wrote no line in time.
    pub fn start(arguments: &[&str], collector: Option<&str>) -> Result<Self, Failure> {
        Self::start_of(&std::env::current_exe()?, arguments, collector)
    }

    /// Starts another benchmark's executable, with [`ROLE`] and `arguments`, and waits for its first line.
    ///
    /// # Errors
    /// It did not start, or wrote no line in time.
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

    /// Its first line.
    pub fn ready(&self) -> &str {
        &self.ready
    }

    /// Sends a request and waits for the answer.
    ///
    /// # Errors
    /// The worker's error, or it did not answer in time.
    pub fn ask(&self, request: impl Display) -> Result<Vec<f64>, Failure> {
        let mut program = self.program.borrow_mut();
        let line = program.ask(&request.to_string(), VISIT_PATIENCE)?;
        read_answer(&line).map_err(|error| format!("{}: {error}", program.name()).into())
    }

    /// Stops it with SIGSTOP; its connections stay open. See [`RunningProgram::freeze`].
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn freeze(&self) -> Result<(), Failure> {
        Ok(self.program.borrow().freeze()?)
    }

    /// Continues it with SIGCONT.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn thaw(&self) -> Result<(), Failure> {
        Ok(self.program.borrow().thaw()?)
    }

    /// Closes its stdin and waits until it has exited, so that its files are removed and it disturbs no later
    /// measurement.
    ///
    /// # Errors
    /// It did not exit in time.
    pub fn end(self) -> Result<(), Failure> {
        let mut program = self.program.into_inner();
        program.close_stdin();
        program.wait(STOP_PATIENCE)?;
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.borrow().pid()
    }
}

/// In a worker: writes `ready` as the first line, then answers each request from stdin until stdin is closed.
///
/// It reads stdin through the runtime's reactor, for two reasons. Other tasks, such as the keep-alive of a session, run
/// between requests. No second thread disturbs a measurement.
///
/// # Errors
/// An error of the operating system. An error of `handle` becomes an answer.
pub async fn answer(
    ready: &str,
    mut handle: impl AsyncFnMut(&str) -> Result<Vec<f64>, Failure>,
) -> Result<(), Failure> {
    let stdin = pipe::Receiver::from_owned_fd(std::io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut lines = BufReader::new(stdin).lines();
    write_line(ready)?;
    while let Some(line) = lines.next_line().await? {
        write_line(&write_answer(handle(&line).await))?;
    }
    Ok(())
}

/// In a worker: as [`answer`], for requests that block. Nothing else runs between them.
///
/// # Errors
/// An error of the operating system. An error of `handle` becomes an answer.
pub fn answer_blocking(
    ready: &str,
    mut handle: impl FnMut(&str) -> Result<Vec<f64>, Failure>,
) -> Result<(), Failure> {
    write_line(ready)?;
    for line in std::io::stdin().lines() {
        write_line(&write_answer(handle(&line?)))?;
    }
    Ok(())
}

/// In a worker that counts spans: writes its endpoint as the first line. It answers every request with the counts so
/// far: batches, spans, spans of kind CLIENT, spans of kind SERVER.
///
/// # Errors
/// An error of the operating system.
pub fn count_spans() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let sink = SpanSink::bind()?;
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

fn write_line(line: &str) -> std::io::Result<()> {
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
