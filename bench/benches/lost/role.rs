//! The worker roles of this executable: the client, and the commands that it runs.

mod client;
mod endless;
mod program;

use baton_bench::Failure;

/// Runs the role that the first argument names.
pub(crate) fn main(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["client", ticket, key] => client::main(ticket, key),
        ["write", file, number, pieces, pause_ms] => {
            program::write(file, number.parse()?, pieces.parse()?, pause_ms.parse()?)
        }
        ["write-on", file] => program::write_on(file),
        _ => Err(format!("no such role: {arguments:?}").into()),
    }
}
