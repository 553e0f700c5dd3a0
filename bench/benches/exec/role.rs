//! The worker roles of this executable. Each answers requests from its stdin until stdin is closed.

mod client;
mod floor;

use baton_bench::{Failure, worker};

use crate::protocol::Request;

/// Runs the role that the first argument names.
pub(crate) fn main(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["floor", method, flavour] => floor::main(method, flavour),
        ["sink"] => worker::count_spans(),
        ["client", ticket, key] => client::main(ticket, key),
        _ => Err(format!("no such role: {arguments:?}").into()),
    }
}

/// Writes `ready` as the first line, then answers requests.
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

/// The answer to a task of another role.
fn wrong_role() -> Failure {
    "that is another role's task".into()
}
