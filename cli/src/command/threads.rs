//! `baton threads`: the list of threads (conversations, jobs).

use baton_proto::metadata::{Thread, ThreadsRequest};
use baton_trace::text::printable;
use serde_json::json;

use super::history::{ALIGNED, warn_if_behind};
use crate::args::ThreadsArgs;
use crate::error::CliError;
use crate::remote::query_records;
use crate::stdio::page_beside;
use crate::table::{Column, Row, Terminal, draw};
use crate::{logging, record};

const COLUMNS: [Column; 4] = [
    Column::left("THREAD"),
    Column::right("USED"),
    Column::right("BEGUN").spare(1),
    Column::left("TITLE"),
];

pub(crate) fn main(args: ThreadsArgs) -> Result<i32, CliError> {
    logging::errors_only();
    let request = ThreadsRequest {
        archived: args.archived,
        limit: args.list.limit,
        ..ThreadsRequest::default()
    };
    query_records(args.remote, async |records| {
        let mut pages = records.threads(request).await?;
        let terminal = Terminal::of_stdout();
        let mut rows = Vec::new();
        let (mut is_behind, mut is_empty) = (false, true);
        while let Some(next) = pages.next().await? {
            is_behind |= next.behind;
            is_empty &= next.threads.is_empty();
            if args.list.json {
                let lines = next.threads.iter().map(|one| record::line(&json(one)));
                page_beside(lines.collect()).await?;
                continue;
            }
            rows.extend(next.threads.iter().map(row));
            if rows.len() >= ALIGNED {
                page_beside(draw(&COLUMNS, &std::mem::take(&mut rows), terminal)).await?;
            }
        }
        if !rows.is_empty() {
            page_beside(draw(&COLUMNS, &rows, terminal)).await?;
        }
        if is_empty && !args.list.json {
            stderr_line!("baton: no matching threads; `baton exec --thread T` creates one");
        }
        warn_if_behind(is_behind);
        Ok(0)
    })
}

fn row(thread: &Thread) -> Row {
    Row {
        cells: vec![
            printable(&thread.thread_id).into_owned(),
            record::ago(thread.updated_unix_ns),
            record::ago(thread.created_unix_ns),
            printable(&thread.title).into_owned(),
        ],
        is_bad: false,
    }
}

pub(crate) fn json(thread: &Thread) -> serde_json::Value {
    json!({
        "thread": thread.thread_id,
        "title": Some(&thread.title).filter(|title| !title.is_empty()),
        "archived": thread.archived,
        "created_unix_ns": thread.created_unix_ns,
        "updated_unix_ns": thread.updated_unix_ns,
    })
}
