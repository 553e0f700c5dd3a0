//! This executable as one of its own workers. Each answers requests from its stdin until that is closed.

mod client;
mod floor;
mod sink;

use std::io::Write as _;
use std::os::fd::AsFd as _;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;

use crate::Failure;
use crate::protocol::{Request, write_answer};

/// Runs the role that the first argument names.
pub(crate) fn main(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["floor", flavour] => floor::main(flavour),
        ["sink"] => sink::main(),
        ["client", ticket, key] => client::main(ticket, key),
        _ => Err(format!("no such role: {arguments:?}").into()),
    }
}

/// Says `ready` and answers requests. Reads stdin through the runtime's own reactor, so that what runs beside this, such as
/// the keep-alive of a session, goes on while nobody asks, and no second thread is there while somebody measures.
async fn answer(
    ready: &str,
    mut handle: impl AsyncFnMut(Request) -> Result<Vec<f64>, Failure>,
) -> Result<(), Failure> {
    let stdin = pipe::Receiver::from_owned_fd(std::io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut lines = BufReader::new(stdin).lines();
    say(ready)?;
    while let Some(line) = lines.next_line().await? {
        let answer = match Request::parse(&line) {
            Some(request) => handle(request).await.map_err(|error| error.to_string()),
            None => Err(format!("not a request: {line}")),
        };
        say(&write_answer(&answer))?;
    }
    Ok(())
}

fn say(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// What a worker answers to a task of another role.
fn not_mine() -> Failure {
    "that is another role's task".into()
}
