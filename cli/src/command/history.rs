//! `baton history`: the commands that have run.

use baton_proto::metadata::{HistoryRequest, Record};
use baton_trace::text::printable;

use crate::args::HistoryArgs;
use crate::error::CliError;
use crate::remote::query_records;
use crate::stdio::page_beside;
use crate::table::{Column, Row, Terminal, draw};
use crate::{logging, record};

/// Rows that are aligned together: more than a screen, and a bound on memory for a history of any length.
pub(crate) const ALIGNED: usize = 1000;

pub(crate) fn main(args: HistoryArgs) -> Result<i32, CliError> {
    logging::errors_only();
    let request = HistoryRequest {
        thread_id: args.thread.clone().unwrap_or_default(),
        since_unix_ns: args.since.unwrap_or_default(),
        failed: args.failed,
        outcomes: args.outcome.iter().map(|outcome| (*outcome).into()).collect(),
        limit: args.list.limit,
        ..HistoryRequest::default()
    };
    let terminal = Terminal::of_stdout();
    query_records(args.remote, async |records| {
        let mut pages = records.history(request).await?;
        let mut rows = Vec::new();
        let (mut is_behind, mut is_empty) = (false, true);
        while let Some(page_of) = pages.next().await? {
            is_behind |= page_of.behind;
            is_empty &= page_of.records.is_empty();
            if args.list.json {
                let lines = page_of.records.iter().map(|one| record::line(&record::json(one)));
                page_beside(lines.collect()).await?;
                continue;
            }
            rows.extend(page_of.records);
            if rows.len() >= ALIGNED {
                let rows = std::mem::take(&mut rows);
                page_beside(table(&rows, args.thread.is_some(), terminal)).await?;
            }
        }
        if !rows.is_empty() {
            page_beside(table(&rows, args.thread.is_some(), terminal)).await?;
        }
        if is_empty && !args.list.json {
            stderr_line!("baton: no matching commands on record");
        }
        warn_if_behind(is_behind);
        Ok(0)
    })
}

/// Warns about an answer that may lack the newest records.
pub(crate) fn warn_if_behind(is_behind: bool) {
    if is_behind {
        stderr_line!(
            "baton: the exec-server's disk currently accepts no writes, so the newest records may be missing; `baton \
             flush` reports the reason"
        );
    }
}

pub(crate) fn table(records: &[Record], is_one_thread: bool, terminal: Terminal) -> String {
    let columns = [
        Column::left("ID"),
        Column::right("STARTED"),
        Column::right("TOOK"),
        Column::left("OUTCOME"),
        Column::left("SLOWEST").spare(2),
        Column::left("TRACE").spare(4),
        Column::left("THREAD").spare(if is_one_thread { 9 } else { 1 }),
        Column::left("FAULT").spare(3),
        Column::left("COMMAND"),
    ];
    let row = |one: &Record| Row {
        cells: vec![
            record::short_id(one),
            record::ago(one.accepted_unix_ns),
            record::took(one),
            record::outcome(one),
            record::slowest(one),
            record::hex(&one.trace_id),
            printable(&one.thread_id).into_owned(),
            printable(&one.fault).into_owned(),
            record::command(one),
        ],
        is_bad: record::is_failure(one),
    };
    let rows: Vec<_> = records.iter().map(row).collect();
    draw(&columns, &rows, terminal)
}
