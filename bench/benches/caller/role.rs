//! The worker roles of this executable: a client of Baton, the program whose output it streams, a link, an exec-server
//! without `FindUp`, and streams in its own process.

mod client;
pub(crate) mod content;
mod link;
pub(crate) mod stream;
mod without_find_up;

use baton_bench::Failure;

/// Runs the role that the first argument names.
pub(crate) fn main(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["client", ticket, key] => client::main(ticket, key),
        ["write", content, bytes] => content::write(content, bytes.parse()?),
        ["stream"] => stream::main(),
        ["link", target] => link::main(target.parse()?),
        ["without-find-up", relay, key] => without_find_up::main(relay, key),
        _ => Err(format!("no such role: {arguments:?}").into()),
    }
}

/// A runtime with one thread: a wake-up across cores costs more than the parallel work saves. Every role uses it.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
