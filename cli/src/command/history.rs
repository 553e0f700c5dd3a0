//! `baton history`: the commands that have run.

use baton_proto::metadata::{HistoryRequest, Record};
use baton_trace::outcome::Fault;
use baton_trace::text::printable;

use crate::args::HistoryArgs;
use crate::error::CliError;
use crate::remote::query_records;
use crate::stdio::page_beside;
use crate::table::{Column, Row, Terminal, draw};
use crate::{logging, record};

/// Rows that are aligned together: more than a screen, and a bound on memory for a history of any length.
pub(crate) const ALIGNED: usize = 1000;

/// Columns of a thread's or step's id, which may have hundreds of bytes.
const CALLER_ID_COLUMNS: usize = 24;

pub(crate) fn main(args: HistoryArgs) -> Result<i32, CliError> {
    logging::errors_only();
    let request = HistoryRequest {
        thread_id: args.thread.clone().unwrap_or_default(),
        turn: args.turn.unwrap_or_default(),
        step: args.step.clone().unwrap_or_default(),
        since_unix_ns: args.since.unwrap_or_default(),
        failed: args.failed,
        outcomes: args
            .outcome
            .iter()
            .map(|kind| record::asked_outcome(*kind).into())
            .collect(),
        faults: args
            .fault
            .iter()
            .map(|fault| record::asked_fault(*fault).into())
            .collect(),
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
    // Most commands have no turn and no step: their columns are drawn only where a record has one.
    let has_turns = records.iter().any(|one| one.turn > 0);
    let has_steps = records.iter().any(|one| !one.step.is_empty());
    let mut columns = vec![
        Column::left("ID"),
        Column::right("STARTED"),
        Column::right("TOOK"),
        Column::left("OUTCOME"),
        Column::left("SLOWEST").spare(2),
        Column::left("TRACE").spare(4),
        Column::left("THREAD")
            .spare(if is_one_thread { 9 } else { 1 })
            .most(CALLER_ID_COLUMNS),
    ];
    columns.extend(has_turns.then_some(Column::right("TURN").spare(5)));
    columns.extend(has_steps.then_some(Column::left("STEP").spare(6).most(CALLER_ID_COLUMNS)));
    columns.extend([
        Column::left("FAULT").spare(3),
        Column::left("MESSAGE").spare(7),
        Column::left("COMMAND"),
    ]);
    let row = |one: &Record| {
        let mut cells = vec![
            record::short_id(&one.process_id),
            record::ago(one.accepted_unix_ns),
            record::took(one),
            record::outcome(one),
            record::slowest(one),
            record::hex(&one.trace_id),
            printable(&one.thread_id).into_owned(),
        ];
        let turn = || match one.turn {
            0 => String::new(),
            turn => turn.to_string(),
        };
        cells.extend(has_turns.then(turn));
        cells.extend(has_steps.then(|| printable(&one.step).into_owned()));
        let fault = record::fault(one).map_or("", Fault::as_str);
        cells.extend([
            fault.to_owned(),
            printable(&one.message).into_owned(),
            record::command(one),
        ]);
        Row {
            cells,
            is_bad: record::is_failure(one),
        }
    };
    let rows: Vec<_> = records.iter().map(row).collect();
    draw(&columns, &rows, terminal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_and_steps_have_columns_where_a_command_has_them() {
        let plain = Terminal {
            width: None,
            color: false,
        };
        let heads = |records: &[Record]| {
            let table = table(records, false, plain);
            let head = table.lines().next().unwrap_or_default();
            ["THREAD", "TURN", "STEP"].map(|column| head.contains(column))
        };
        let of = |turn, step: &str| Record {
            turn,
            step: step.into(),
            ..Record::default()
        };
        assert_eq!(heads(&[of(0, "")]), [true, false, false]);
        assert_eq!(heads(&[of(0, ""), of(2, "")]), [true, true, false]);
        assert_eq!(heads(&[of(0, "s"), of(2, "")]), [true, true, true]);
        let drawn = table(&[of(0, ""), of(1234, "a\x1b[2J")], false, plain);
        assert!(drawn.contains(" 1234  a[2J"), "{drawn}");
    }
}
