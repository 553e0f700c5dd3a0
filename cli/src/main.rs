//! `baton`: every role and every view in one binary. What a library user would want is in the crates below.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic when nobody reads: `say!` and `tell!`"
)]

#[macro_use]
mod stdio;

mod args;
mod command;
mod descriptors;
mod error;
mod exporting;
mod identity;
mod limits;
mod logging;
mod outer;
mod output;
mod own_ticket;
mod record;
mod remote;
mod repeats;
mod runtime;
mod signals;
mod started;
mod state;
mod table;
mod terminal;
mod ticket_file;
mod trace_file;
mod warned;

use args::Args;
use error::CliError;

fn main() {
    baton_core_client::keep_freed_memory();
    let args = Args::from_command_line();
    let outcome = command::main(args.command);
    let code = outcome.unwrap_or_else(|error| {
        if !error.is_silent() {
            match error.advice() {
                Some(advice) => tell!("baton: {error}; {advice}"),
                None => tell!("baton: {error}"),
            }
        }
        if let CliError::Interrupted { signal } = error {
            signals::die_of(signal);
        }
        error.exit_code()
    });
    // Ends threads that wait for standard input, too.
    std::process::exit(code);
}
