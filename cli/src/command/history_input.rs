//! The commands of an exec-server's history with their stages, for `analyze` and `gate`.

use std::io::{self, IsTerminal as _};
use std::ops::Range;

use baton_analyze::history::{HistoryCall, HistoryStage};
use baton_core_client::{Records, RecordsError};
use baton_proto::metadata::{HistoryRequest, Outcome, Record, ShowResponse};
use baton_trace::TraceId;
use baton_trace::stage::StageId;
use baton_trace::text::counted;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::args::HistoryInputArgs;
use crate::error::CliError;
use crate::limits::SHOWN_AT_ONCE;
use crate::remote::{query_records, ticket};
use crate::{logging, progress, record};

/// What was read of a history.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct HistorySummary {
    /// The exec-server's id.
    pub(crate) exec_server: String,
    /// Records in the list.
    pub(crate) records: u64,
    /// Of them, commands that still run or whose end is unknown.
    pub(crate) unfinished: u64,
    /// Of them, commands without stages: they failed to start, or their stages were removed.
    pub(crate) without_stages: u64,
    /// Commands whose stages are rounded to within a tenth, because they are old.
    pub(crate) rounded: u64,
    /// The newest records may be missing.
    pub(crate) behind: bool,
}

impl HistorySummary {
    /// For programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "exec_server": self.exec_server,
            "records": self.records,
            "unfinished": self.unfinished,
            "without_stages": self.without_stages,
            "rounded": self.rounded,
            "behind": self.behind,
        })
    }

    /// One line.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "from the history of exec-server {}: {}",
            self.exec_server,
            counted(self.records, "record", "records")
        );
        for (count, what) in [
            (self.unfinished, "unfinished"),
            (self.without_stages, "without stages"),
            (self.rounded, "with times rounded to within a tenth"),
        ] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        if self.behind {
            text.push_str("; the newest may be missing");
        }
        text
    }
}

/// Delivers the commands of the window, newest first, page by page. `window` is given the time of the newest command.
pub(crate) fn read(
    args: HistoryInputArgs,
    window: impl Fn(u64) -> Option<Range<u64>>,
    mut deliver: impl FnMut(HistoryCall),
) -> Result<HistorySummary, CliError> {
    logging::errors_only();
    let mut remote = args.remote();
    let ticket = ticket(None, remote.ticket_file.take(), remote.host.take(), |name| {
        std::env::var_os(name)
    })?;
    let mut summary = HistorySummary {
        exec_server: ticket.exec_server.to_string(),
        ..HistorySummary::default()
    };
    remote.ticket = Some(ticket.to_string());
    let is_shown = io::stderr().is_terminal();
    query_records(remote, async |records| {
        let mut pages = records.history(HistoryRequest::default()).await?;
        let mut within: Option<Range<u64>> = None;
        while let Some(page) = pages.next().await? {
            summary.behind |= page.behind;
            let Some(newest) = page.records.first().map(|one| one.accepted_unix_ns) else {
                continue;
            };
            let within = within.get_or_insert_with(|| window(newest).unwrap_or(0..u64::MAX));
            let is_last = page
                .records
                .last()
                .is_some_and(|one| one.accepted_unix_ns < within.start);
            let mut wanted = page.records;
            wanted.retain(|one| within.contains(&one.accepted_unix_ns));
            summary.records += wanted.len() as u64;
            for call in with_stages(&records, wanted, &mut summary).await? {
                deliver(call);
            }
            if is_shown {
                progress::show(&format!(
                    "reading: {}",
                    counted(summary.records, "record", "records")
                ));
            }
            if is_last {
                break;
            }
        }
        if is_shown {
            progress::clear();
        }
        Ok(summary)
    })
}

/// The commands with their stages, some requests at once, in the order of the list.
async fn with_stages(
    records: &Records,
    found: Vec<Record>,
    summary: &mut HistorySummary,
) -> Result<Vec<HistoryCall>, CliError> {
    let mut calls: Vec<(usize, HistoryCall)> = Vec::new();
    let mut requests = JoinSet::new();
    let mut left = found.into_iter().enumerate();
    loop {
        while requests.len() < SHOWN_AT_ONCE {
            let Some((place, one)) = left.next() else { break };
            if matches!(one.outcome(), Outcome::Running | Outcome::Lost) {
                summary.unfinished += 1;
                continue;
            }
            let records = records.clone();
            requests.spawn(async move {
                let shown = records.show(record::hex(&one.process_id)).await;
                (place, one, shown)
            });
        }
        let Some(done) = requests.join_next().await else {
            break;
        };
        let Ok((place, one, shown)) = done else { continue };
        let shown = match shown {
            Ok(shown) => shown,
            // It has expired since it was listed.
            Err(RecordsError::NotFound(_)) => ShowResponse::default(),
            Err(error) => return Err(error.into()),
        };
        if shown.stages.is_empty() {
            summary.without_stages += 1;
            continue;
        }
        summary.rounded += u64::from(shown.rounded);
        calls.push((place, call(&one, &shown)));
    }
    calls.sort_by_key(|(place, _)| *place);
    Ok(calls.into_iter().map(|(_, call)| call).collect())
}

fn call(one: &Record, shown: &ShowResponse) -> HistoryCall {
    let program = one
        .argv
        .first()
        .map(|program| String::from_utf8_lossy(program).into_owned());
    let program = program.unwrap_or_default();
    let stages = shown.stages.iter().filter_map(|time| {
        let stage = u8::try_from(time.stage).ok().filter(|id| *id > 0)?;
        Some(HistoryStage {
            stage: StageId(stage),
            start_ns: time.start_ns,
            duration_ns: time.duration_ns,
        })
    });
    HistoryCall {
        process: <[u8; 16]>::try_from(&one.process_id[..]).unwrap_or_default(),
        trace: <[u8; 16]>::try_from(&one.trace_id[..])
            .ok()
            .map(TraceId::from_bytes),
        accepted_ns: one.accepted_unix_ns,
        program: program.rsplit('/').next().unwrap_or_default().to_owned(),
        thread: one.thread_id.clone(),
        turn: (one.turn > 0).then_some(one.turn),
        step: one.step.clone(),
        outcome: record::ended(one),
        stages: stages.collect(),
    }
}
