//! `baton`: every role and every view in one binary. The libraries are the other crates of the workspace.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic if the reader has closed the stream; use `stdout_line!` and `stderr_line!`"
)]

#[macro_use]
mod stdio;

mod args;
mod closed_stdout;
mod command;
mod copy_place;
mod cut_output;
mod descriptor_limit;
mod env_file;
mod error;
mod escapes;
mod event_json;
mod event_output;
mod exporters;
mod hosts;
mod identity;
mod jaeger;
mod keyboard;
mod limits;
mod log_rate_limit;
mod logging;
mod metadata;
mod output;
mod progress;
mod published_ticket;
mod raw_terminal;
mod record;
mod relay_connection;
mod remote;
mod runtime;
mod signals;
mod ssh_line;
mod table;
mod terminal;
mod ticket_file;
mod trace_file;
mod trace_outputs;
mod warned_hosts;
mod window;

use args::Args;
use error::CliError;

fn main() {
    baton_core_client::keep_freed_memory();
    let args = Args::from_command_line();
    let outcome = command::main(args.command);
    // Before any message, and before a signal ends this process.
    raw_terminal::restore();
    let code = outcome.unwrap_or_else(|error| {
        if !error.is_silent() {
            stderr_line!("baton: {}", error.message());
        }
        if let CliError::Interrupted { signal } = error.cause() {
            signals::exit_by_signal(*signal);
        }
        error.exit_code()
    });
    // Also ends threads that wait for standard input.
    std::process::exit(code);
}
