//! The worker roles of this executable: the two clients, and the program that echoes.

mod baton;
mod echo;
mod local;

use std::time::Duration;

use baton_bench::Failure;

/// The pause before each keystroke, in which every process falls asleep, as between two keys of a person.
const PAUSE: Duration = Duration::from_millis(10);

/// The first byte that the program that echoes writes, in raw mode.
const READY: u8 = b'R';

/// The key. Its echo is the same byte.
const KEY: u8 = b'k';

/// Runs the role that the first argument names.
pub(crate) fn main(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["baton", ticket, key] => baton::main(ticket, key),
        ["local"] => local::main(),
        ["echo"] => echo::main(),
        _ => Err(format!("no such role: {arguments:?}").into()),
    }
}

/// The number of keystrokes in a request `keys COUNT`.
fn count(request: &str) -> Option<usize> {
    request.strip_prefix("keys ")?.parse().ok()
}
