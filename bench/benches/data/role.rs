//! The worker roles of this executable: the programs at both ends of a stream, the peers, and clients of Baton.

mod blind;
mod client;
mod crowd;
mod far_end;
mod link;
pub(crate) mod program;
mod ssh;

use baton_bench::{Failure, worker};

/// Runs the role that the first argument names.
pub(crate) fn main(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["produce", bytes] => program::produce(bytes.parse()?, None),
        ["produce", bytes, rate] => program::produce(bytes.parse()?, Some(rate.parse()?)),
        ["consume"] => program::consume(),
        ["far-end"] => far_end::main(),
        ["blind", target] => blind::main(target.parse()?),
        ["link", target] => link::main(target.parse()?),
        ["client", ticket, key] => client::main(ticket, key),
        ["crowd", key, ref tickets @ ..] => crowd::main(key, tickets),
        ["ssh", port, key] => ssh::main(port.parse()?, key),
        ["sink"] => worker::count_spans(),
        _ => Err(format!("no such role: {arguments:?}").into()),
    }
}

/// A runtime with one thread: a wake-up across cores costs more than the parallel work saves. Every role uses it.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Parses the next word of a request.
fn word<T: std::str::FromStr>(words: &mut std::str::SplitWhitespace<'_>) -> Result<T, Failure>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    Ok(words.next().ok_or("the request lacks a word")?.parse()?)
}
