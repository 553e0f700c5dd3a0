//! `baton thread`: shows or changes one thread.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use baton_proto::limits::THREAD_METADATA_KEYS_MAX;
use baton_proto::metadata::{Facts, HistoryRequest, ThreadShowResponse, ThreadUpdateRequest};
use baton_trace::text::printable;
use serde_json::json;

use super::{flush, history, threads};
use crate::args::{ThreadArchiveArgs, ThreadCommand, ThreadDeleteArgs, ThreadSetArgs, ThreadShowArgs};
use crate::error::CliError;
use crate::remote::query_records;
use crate::stdio::page_beside;
use crate::table::Terminal;
use crate::{logging, record};

/// The number of commands that are shown with their thread.
const LAST: u32 = 10;

pub(crate) fn main(command: ThreadCommand) -> Result<i32, CliError> {
    logging::errors_only();
    match command {
        ThreadCommand::Show(args) => show(args),
        ThreadCommand::Set(args) => set(args),
        ThreadCommand::Archive(ThreadArchiveArgs { thread, undo, remote }) => {
            query_records(remote, async |records| {
                Ok(records.archive_thread(thread, undo).await?)
            })?;
            Ok(0)
        }
        ThreadCommand::Delete(ThreadDeleteArgs { thread, remote }) => {
            query_records(remote, async |records| Ok(records.delete_thread(thread).await?))?;
            Ok(0)
        }
    }
}

fn show(args: ThreadShowArgs) -> Result<i32, CliError> {
    query_records(args.remote, async |records| {
        let found = records.thread(args.thread.as_str()).await?;
        if args.json {
            page_beside(record::line(&json(&found))).await?;
            history::warn_if_behind(found.behind);
            return Ok(0);
        }
        page_beside(about(&found)).await?;
        let last = HistoryRequest {
            thread_id: args.thread,
            limit: LAST,
            ..HistoryRequest::default()
        };
        let last = records.history(last).await?.next().await?;
        let commands = last.map(|page| page.records).unwrap_or_default();
        if !commands.is_empty() {
            let table = history::table(&commands, true, Terminal::of_stdout());
            page_beside(format!("\n{table}")).await?;
        }
        history::warn_if_behind(found.behind);
        Ok(0)
    })
}

/// Changes a thread. Exit code 0 means that the change is on disk.
fn set(args: ThreadSetArgs) -> Result<i32, CliError> {
    let request = ThreadUpdateRequest {
        thread_id: args.thread,
        title: args.title,
        set: args.meta.into_iter().collect(),
        remove: args.remove,
    };
    query_records(args.remote, async |records| {
        records.update_thread(request).await?;
        let flushed = records.flush(0).await?;
        match flushed.failures.is_empty() {
            true => Ok(0),
            false => Err(CliError::NotFlushed(flush::causes(&flushed).join("; "))),
        }
    })
}

fn about(found: &ThreadShowResponse) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{:<10} {}", printable(name), printable(value));
        }
    };
    let when = |unix_ns: u64| format!("{} ({})", record::time(unix_ns), record::ago(unix_ns));
    if let Some(thread) = &found.thread {
        line("thread", &thread.thread_id);
        line("title", &thread.title);
        line("begun", &when(thread.created_unix_ns));
        line("used", &when(thread.updated_unix_ns));
        if thread.archived {
            line("archived", "yes");
        }
    }
    if let Some(facts) = &found.facts {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        line("cwd", &text(&facts.cwd));
        line("repository", &text(&facts.repository_root));
        line("branch", &branch(facts));
        line("commit", &facts.head);
    }
    // Sorted: a map has no order of its own.
    for (key, value) in found.values.iter().collect::<BTreeMap<_, _>>() {
        line("metadata", &format!("{key}={value}"));
    }
    if found.values.len() >= THREAD_METADATA_KEYS_MAX {
        let full = format!("full: of {THREAD_METADATA_KEYS_MAX} keys; further ones are not kept");
        line("metadata", &full);
    }
    out
}

fn branch(facts: &Facts) -> String {
    match facts.branch.is_empty() && !facts.head.is_empty() {
        true => "(detached)".into(),
        false => String::from_utf8_lossy(&facts.branch).into_owned(),
    }
}

fn json(found: &ThreadShowResponse) -> serde_json::Value {
    let mut json = found.thread.as_ref().map(threads::json).unwrap_or_default();
    json["metadata"] = json!(found.values);
    let text =
        |bytes: &[u8]| Some(String::from_utf8_lossy(bytes).into_owned()).filter(|text| !text.is_empty());
    json["facts"] = found.facts.as_ref().map_or(serde_json::Value::Null, |facts| {
        json!({
            "cwd": text(&facts.cwd),
            "repository_root": text(&facts.repository_root),
            "branch": text(&facts.branch),
            "head": text(facts.head.as_bytes()),
            "found_unix_ns": facts.found_unix_ns,
        })
    });
    json
}
