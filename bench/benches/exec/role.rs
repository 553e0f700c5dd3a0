//! This executable as one of its own workers. Each answers requests from its stdin until that is closed.

mod client;
mod floor;

use baton_bench::{Failure, worker};

use crate::protocol::Request;

/// Runs the role that the first argument names.
pub(crate) fn main(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["floor", flavour] => floor::main(flavour),
        ["sink"] => worker::count_spans(),
        ["client", ticket, key] => client::main(ticket, key),
        _ => Err(format!("no such role: {arguments:?}").into()),
    }
}

/// Answers requests; `ready` is said first.
async fn answer(
    ready: &str,
    mut handle: impl AsyncFnMut(Request) -> Result<Vec<f64>, Failure>,
) -> Result<(), Failure> {
    worker::answer(ready, async |line| match Request::parse(line) {
        Some(request) => handle(request).await,
        None => Err(format!("not a request: {line}").into()),
    })
    .await
}

/// What a worker answers to a task of another role.
fn not_mine() -> Failure {
    "that is another role's task".into()
}
