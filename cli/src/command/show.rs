//! `baton show`: one command of the history.

use std::fmt::Write as _;

use baton_proto::metadata::{Outcome, Record, ShowResponse, StageTime};
use baton_trace::outcome::{Fault, StartFailure};
use baton_trace::text::{counted, printable};

use super::history::{table, warn_if_behind};
use crate::args::ShowArgs;
use crate::error::CliError;
use crate::remote::query_records;
use crate::stdio::page;
use crate::table::Terminal;
use crate::terminal::drawn;
use crate::{logging, record};

pub(crate) fn main(args: ShowArgs) -> Result<i32, CliError> {
    logging::errors_only();
    let found = query_records(args.remote, async |records| {
        Ok(records.show(args.id.as_str()).await?)
    })?;
    let ShowResponse {
        record: Some(one),
        stages,
        rounded,
        several,
        behind,
    } = found
    else {
        return Err(ambiguous(args.id, &found.several));
    };
    drop(several);
    if args.json {
        let mut json = record::json(&one);
        json["stages"] = record::stages_json(&stages);
        json["stages_rounded"] = rounded.into();
        page(&record::line(&json))?;
        warn_if_behind(behind);
        return Ok(0);
    }
    page(&about(&one, &stages))?;
    if let Some(call) = record::call(&one, &stages) {
        let caveat = match rounded {
            true => "Times are within a tenth of what was measured.\n",
            false => "",
        };
        page(&format!("\n{caveat}{}", drawn(&call, &std::io::stdout())))?;
    }
    warn_if_behind(behind);
    Ok(0)
}

fn ambiguous(name: String, several: &[Record]) -> CliError {
    let plain = Terminal {
        width: Terminal::of_stdout().width,
        color: false,
    };
    CliError::Ambiguous {
        name,
        several: table(several, false, plain).trim_end().to_owned(),
    }
}

/// One line per known property.
fn about(one: &Record, stages: &[StageTime]) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name:<9} {}", printable(value));
        }
    };
    let when = |unix_ns: u64| match unix_ns {
        0 => String::new(),
        at => format!("{} ({})", record::time(at), record::ago(at)),
    };
    line("command", &record::command(one));
    line("cwd", &String::from_utf8_lossy(&one.cwd));
    line("outcome", &record::outcome(one));
    line("fault", record::fault(one).map_or("", Fault::as_str));
    line(
        "reason",
        record::ended(one)
            .and_then(|outcome| outcome.start_failure())
            .map_or("", StartFailure::as_str),
    );
    line("message", &one.message);
    line("", record::survivor(one).unwrap_or_default());
    line("thread", &one.thread_id);
    if one.turn > 0 {
        line("turn", &one.turn.to_string());
    }
    line("step", &one.step);
    line("started", &when(one.accepted_unix_ns));
    match one.outcome() {
        Outcome::Lost => line("found", &when(one.ended_unix_ns)),
        _ => line("ended", &when(one.ended_unix_ns)),
    }
    line("took", &record::took(one));
    line("slowest", &record::slowest(one));
    for (nth, row) in record::family(one, stages).iter().enumerate() {
        line(if nth == 0 { "family" } else { "" }, row);
    }
    let output = format!(
        "{} on stdout, {} on stderr",
        counted(one.stdout_bytes, "byte", "bytes"),
        one.stderr_bytes
    );
    match one.outcome() {
        Outcome::Running | Outcome::Lost => line("events", &format!("{} seen", one.last_seq)),
        Outcome::FailedToStart => {}
        _ => line("output", &output),
    }
    line("id", &record::hex(&one.process_id));
    line("trace", &record::hex(&one.trace_id));
    out
}
