//! `baton ps`: the commands that run.

use baton_proto::exec::{Process, ProcessState};
use baton_trace::text::printable;
use serde_json::json;

use crate::args::PsArgs;
use crate::error::CliError;
use crate::remote::with_client;
use crate::stdio::page_beside;
use crate::table::{Column, Row, Terminal, draw};
use crate::{logging, record};

/// Columns of a thread's id, which may have hundreds of bytes.
const THREAD_COLUMNS: usize = 24;

const COLUMNS: [Column; 6] = [
    Column::left("ID"),
    Column::right("PID").spare(2),
    Column::right("STARTED"),
    Column::left("STATE"),
    Column::left("THREAD").spare(1).most(THREAD_COLUMNS),
    Column::left("COMMAND"),
];

pub(crate) fn main(args: PsArgs) -> Result<i32, CliError> {
    logging::errors_only();
    with_client(args.remote, async |client| {
        let processes = client.processes().await?;
        if args.json {
            page_beside(processes.iter().map(|one| record::line(&json(one))).collect()).await?;
        } else if processes.is_empty() {
            stderr_line!(
                "baton: no command of this client's key runs; `baton history` lists those that have run"
            );
        } else {
            page_beside(table(&processes, Terminal::of_stdout())).await?;
        }
        Ok(0)
    })
}

pub(super) fn table(processes: &[Process], terminal: Terminal) -> String {
    let rows: Vec<_> = processes.iter().map(row).collect();
    draw(&COLUMNS, &rows, terminal)
}

fn row(process: &Process) -> Row {
    Row {
        cells: vec![
            record::short_id(&process.process_id),
            process.pid.to_string(),
            record::ago(process.started_unix_ns),
            state_name(process.state()).into(),
            printable(&process.thread_id).into_owned(),
            record::command_line(&process.argv, process.argv_cut),
        ],
        is_bad: false,
    }
}

fn state_name(state: ProcessState) -> &'static str {
    match state {
        ProcessState::Running => "running",
        ProcessState::Detached => "detached",
        ProcessState::Ending => "ending",
        ProcessState::Exited => "exited",
        ProcessState::Unspecified => "unknown",
    }
}

fn json(process: &Process) -> serde_json::Value {
    let argv = process
        .argv
        .iter()
        .map(|argument| String::from_utf8_lossy(argument));
    json!({
        "id": record::hex(&process.process_id),
        "pid": process.pid,
        "state": state_name(process.state()),
        "started": record::time(process.started_unix_ns),
        "started_unix_ns": process.started_unix_ns,
        "thread": Some(&process.thread_id).filter(|thread| !thread.is_empty()),
        "argv": argv.collect::<Vec<_>>(),
        "argv_cut": process.argv_cut,
    })
}
