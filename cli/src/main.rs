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

use args::{Args, Command, TraceCommand};
use error::CliError;

fn main() {
    baton_core_client::keep_freed_memory();
    let args = Args::from_command_line();
    let outcome = match args.command {
        Command::Run(args) => command::run::main(args),
        Command::Exec(args) => command::exec::main(args),
        Command::Relay(args) => command::relay::main(args),
        Command::ExecServer(args) => command::exec_server::main(args),
        Command::History(args) => command::history::main(args),
        Command::Show(args) => command::show::main(args),
        Command::Threads(args) => command::threads::main(args),
        Command::Thread(command) => command::thread::main(command),
        Command::Flush(args) => command::flush::main(args),
        Command::Keygen(args) => command::keygen::main(args),
        Command::Health(args) => command::health::main(args),
        Command::Ticket(command) => command::ticket::main(command),
        Command::Trace(TraceCommand::Show(args)) => command::trace::main(args),
    };
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
