//! `baton exec`: one command on a remote machine, like ssh.

use baton_client::{Client, Command, RunError, SessionError, Ticket};
use baton_trace::record::Side;

use super::{run_here, runtime};
use crate::args::ExecArgs;
use crate::error::CliError;
use crate::exporting::Exporting;
use crate::trace_file::TraceFile;
use crate::{identity, logging, outer, terminal, ticket_file};

pub(crate) fn main(args: ExecArgs) -> Result<i32, CliError> {
    logging::start("error");
    let trace_file = TraceFile::open(args.trace_json)?;
    let ticket: Ticket = match (args.ticket, args.ticket_file) {
        (Some(ticket), _) => ticket.parse()?,
        (None, Some(file)) => ticket_file::read(&file)?,
        (None, None) => return Err(CliError::NoTicket),
    };
    let roots = outer::roots(args.relay_ca.as_deref())?;
    let key = identity::client_key(&identity::path(args.key, identity::CLIENT_KEY)?)?;
    let public = *key.public();
    let exporting = Exporting::start(Side::Client)?;

    let mut argv = args.command.into_iter();
    let mut command = Command::new(argv.next().unwrap_or_default()).args(argv);
    for (name, value) in args.env {
        command = command.env(name, value);
    }
    if let Some(cwd) = args.cwd {
        command = command.current_dir(cwd);
    }
    command = command.trace(args.trace || trace_file.is_some());

    let runtime = runtime()?;
    outer::warn_if_exposed(&ticket.relay_url);
    let client = Client::with_recorder(ticket, key, exporting.recorder()).relay_roots(roots);
    let outcome = runtime.block_on(async {
        let outcome = run_here(&client, command).await;
        client.close().await;
        outcome
    });
    exporting.finish();
    let (code, record) = outcome.map_err(|error| match error {
        CliError::Run(RunError::Session(SessionError::NotAllowed)) => CliError::NotAllowed {
            line: identity::public_line(&public),
        },
        other => other,
    })?;
    if let Some(record) = record {
        if let Some(file) = trace_file {
            file.write(&record);
        }
        if args.trace {
            terminal::draw(&record, std::io::stderr());
        }
    }
    Ok(code)
}
