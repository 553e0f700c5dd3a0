//! Export of spans, as the standard OpenTelemetry variables configure it.
//!
//! Export never changes an exit code. Unsupported settings are reported, and the command runs. Spans that the collector
//! has not accepted at the end are spooled, and a later run sends them.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baton_export::limits::EXIT_WAIT;
use baton_export::{
    ExitOptions, ExitReport, ExportFailure, Exporter, ExporterOptions, ExporterSettings, SpanLossCallback,
    Spool,
};
use baton_trace::record::Side;
use baton_trace::recorder::Recorder;
use baton_trace::sampler::Sampler;
use baton_trace::text::{counted, printable};

use tokio::runtime::Runtime;

use crate::error::CliError;
use crate::limits::{CI_FLUSH_TIMEOUT, FLUSH_TIMEOUT};
use crate::signals::StopSignals;

/// The exporters of this process, of which `baton run` has two.
pub(crate) struct Exporters {
    style: ReportStyle,
    settings: Option<ExporterSettings>,
    spool: Option<Spool>,
    sampler: Sampler,
    exporters: Vec<Arc<Exporter>>,
}

/// How messages are reported: as a command's line, or as a line of a server's log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReportStyle {
    Command,
    ServerLog,
}

impl ReportStyle {
    fn report(self, line: impl Display) {
        match self {
            Self::Command => stderr_line!("baton: {line}"),
            Self::ServerLog => log_line!("{line}"),
        }
    }
}

impl Exporters {
    /// For a process that ends with its command. Reads the environment and reports settings without effect. Starts
    /// nothing.
    pub(crate) fn of_command() -> Self {
        Self::new(ReportStyle::Command)
    }

    /// For a server, which logs once when it begins to lose spans.
    pub(crate) fn of_server() -> Self {
        Self::new(ReportStyle::ServerLog)
    }

    fn new(style: ReportStyle) -> Self {
        let settings = ExporterSettings::from_env().unwrap_or_else(|error| {
            style.report(format_args!(
                "{}; nothing is exported",
                printable(&error.to_string())
            ));
            None
        });
        let ignored = settings.iter().flat_map(ExporterSettings::ignored);
        ignored.for_each(|ignored| style.report(ignored));
        let spool = settings
            .as_ref()
            .and_then(|settings| Some(Spool::new(spool_path()?, settings)));
        let sampler = settings
            .as_ref()
            .map_or_else(ExporterSettings::sampler_from_env, ExporterSettings::sampler);
        Self {
            style,
            settings,
            spool,
            sampler,
            exporters: Vec::new(),
        }
    }

    /// Starts the exporter of one side, and returns its recorder.
    pub(crate) fn start(&mut self, side: Side) -> Result<Recorder, CliError> {
        let Some(settings) = &self.settings else {
            return Ok(Recorder::off().sampling(self.sampler));
        };
        let style = self.style;
        let options = ExporterOptions {
            // Only the first exporter sends the spool of earlier runs.
            spool: self.spool.clone().filter(|_| self.exporters.is_empty()),
            on_drop: (style == ReportStyle::ServerLog).then(|| -> SpanLossCallback {
                Box::new(move |dropped, failure| style.report(spans_dropped(dropped, failure)))
            }),
        };
        let exporter = Arc::new(Exporter::with_options(side, settings.clone(), options)?);
        self.exporters.push(Arc::clone(&exporter));
        Ok(Recorder::to(exporter).sampling(self.sampler))
    }

    /// Ends the export. Waits for the collector for `wait`, or for [`EXIT_WAIT`], which users do not notice; longer for
    /// a server, and in CI, where there may be no later run. Reports what was not delivered.
    pub(crate) fn finish(self, runtime: &Runtime, wait: Option<Duration>) {
        if self.exporters.is_empty() {
            return;
        }
        let is_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        let longer = match self.style {
            ReportStyle::ServerLog => Some(FLUSH_TIMEOUT),
            ReportStyle::Command => wait.or(is_ci.then_some(CI_FLUSH_TIMEOUT)),
        };
        let kept_in = self.spool.as_ref().map(|spool| spool.path().to_owned());
        let exit = ExitOptions {
            wait: longer.unwrap_or(EXIT_WAIT),
            is_patient: longer.is_some(),
            spool: self.spool,
        };
        let interrupted = async {
            StopSignals::new().next().await;
        };
        let report = runtime.block_on(baton_export::exit(&self.exporters, exit, interrupted));
        for line in lines(&report, kept_in, longer.is_some()) {
            self.style.report(line);
        }
    }
}

fn spans_dropped(dropped: u64, failure: Option<ExportFailure>) -> String {
    let lost = counted(
        dropped,
        "span was not exported and is lost",
        "spans were not exported and are lost",
    );
    match failure {
        Some(failure) => format!("{lost}, more may follow: {failure}"),
        None => format!("{lost}, more may follow: the collector is too slow for the recorded spans"),
    }
}

/// `$XDG_STATE_HOME/baton/spool`, or `~/.local/state/baton/spool`. `None` without a home directory.
fn spool_path() -> Option<PathBuf> {
    let xdg = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let state = xdg.or_else(|| {
        let home = std::env::home_dir()?;
        (!home.as_os_str().is_empty()).then(|| home.join(".local/state"))
    });
    state.map(|state| state.join("baton/spool"))
}

/// The messages about an export. If the caller set a wait, spooled spans are reported even without an error.
fn lines(report: &ExitReport, kept_in: Option<PathBuf>, was_patient: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if !report.is_quiet() || was_patient && report.spooled > 0 {
        let failure = report.failure.as_ref();
        let failure = failure.map_or_else(
            || "more spans were recorded than could be sent".to_owned(),
            ToString::to_string,
        );
        let mut fates = Vec::new();
        if report.spooled > 0 {
            let kept_in = kept_in.unwrap_or_default();
            fates.push(format!(
                "{} kept in {} for a later run",
                counted(report.spooled, "span is", "spans are"),
                kept_in.display()
            ));
        }
        if report.dropped > 0 {
            let why = match &report.spool_error {
                Some(error) => format!(" ({error})"),
                None => String::new(),
            };
            fates.push(format!(
                "{} lost{why}",
                counted(report.dropped, "span is", "spans are")
            ));
        }
        lines.push(format!("{}: {failure}", fates.join(", ")));
    }
    let earlier = &report.earlier;
    if earlier.dropped > 0 {
        lines.push(format!(
            "{} lost: the spool keeps at most 16 MiB for seven days, and drops spans that a collector rejects",
            counted(
                earlier.dropped,
                "span of earlier runs is",
                "spans of earlier runs are"
            )
        ));
    }
    for finding in &earlier.findings {
        lines.push(format!("spool: {finding}"));
    }
    let more = earlier.found - earlier.findings.len();
    if more > 0 {
        lines.push(format!(
            "spool: and {} not sent",
            counted(more as u64, "more file was", "more files were")
        ));
    }
    if let Some(error) = &earlier.error {
        lines.push(format!("the spool of earlier runs was not sent: {error}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(report: &ExitReport, was_patient: bool) -> Vec<String> {
        lines(
            report,
            Some("/home/me/.local/state/baton/spool".into()),
            was_patient,
        )
    }

    #[test]
    fn what_is_delivered_is_no_news_and_what_is_kept_or_lost_is_one_line() {
        let delivered = ExitReport {
            exported: 12,
            ..ExitReport::default()
        };
        assert!(messages(&delivered, false).is_empty() && messages(&delivered, true).is_empty());
        let kept = ExitReport {
            spooled: 1,
            ..ExitReport::default()
        };
        assert!(
            messages(&kept, false).is_empty(),
            "a slow collector gets it from the next run"
        );
        let [line] = &messages(&kept, true)[..] else {
            panic!()
        };
        assert!(
            line.starts_with("1 span is kept in /home/me/.local/state/baton/spool for a later run: "),
            "{line}"
        );
        let stale = ExitReport {
            is_stale: true,
            ..kept
        };
        assert_eq!(messages(&stale, false).len(), 1);
        let lost = ExitReport {
            dropped: 12,
            spool_error: Some(baton_export::SpoolError::Open { path: "/s".into() }),
            ..ExitReport::default()
        };
        let [line] = &messages(&lost, false)[..] else {
            panic!()
        };
        assert!(
            line.starts_with("12 spans are lost (/s is open to other users"),
            "{line}"
        );
    }

    #[test]
    fn what_became_of_earlier_runs_is_told_if_it_was_lost() {
        let mut report = ExitReport::default();
        report.earlier.delivered = 100;
        assert!(messages(&report, false).is_empty());
        report.earlier.dropped = 7;
        report.earlier.found = 5;
        let messages = messages(&report, false);
        assert!(
            messages[0].starts_with("7 spans of earlier runs are lost"),
            "{messages:?}"
        );
        assert_eq!(messages[1], "spool: and 5 more files were not sent");
    }
}
