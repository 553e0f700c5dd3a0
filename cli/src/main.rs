//! `baton`: every role and every view in one binary. What a library user would want is in the crates below.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic when nobody reads: `stdout_line!` and `stderr_line!`"
)]

#[macro_use]
mod stdio;

mod args;
mod closed_stdout;
mod command;
mod descriptor_limit;
mod error;
mod exporters;
mod identity;
mod limits;
mod log_rate_limit;
mod logging;
mod metadata;
mod output;
mod published_ticket;
mod record;
mod relay_connection;
mod remote;
mod runtime;
mod signals;
mod table;
mod terminal;
mod ticket_file;
mod trace_file;
mod warned_hosts;

use args::Args;
use error::CliError;

fn main() {
    baton_core_client::keep_freed_memory();
    let args = Args::from_command_line();
    let outcome = command::main(args.command);
    let code = outcome.unwrap_or_else(|error| {
        if !error.is_silent() {
            match error.advice() {
                Some(advice) => stderr_line!("baton: {error}; {advice}"),
                None => stderr_line!("baton: {error}"),
            }
        }
        if let CliError::Interrupted { signal } = error {
            signals::exit_by_signal(signal);
        }
        error.exit_code()
    });
    // Ends threads that wait for standard input, too.
    std::process::exit(code);
}
