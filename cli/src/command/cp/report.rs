//! What a copy says: lines about what was not copied on standard error, or with --json every event on standard output.

use std::path::Path;

use baton_core_client::{CopyEvent, FileKind};
use baton_trace::text::{counted, printable};
use serde_json::{Value, json};

use super::progress::ProgressLine;
use crate::error::CliError;
use crate::output::{OutputStream, OutputStreams};
use crate::record;

pub(super) struct Report {
    /// As the user has written it, printable.
    source: String,
    /// Only with --json.
    output: Option<OutputStreams>,
}

impl Report {
    pub(super) fn new(source: String, is_json: bool) -> Result<Self, CliError> {
        Ok(Self {
            source,
            output: is_json.then(OutputStreams::open).transpose()?,
        })
    }

    pub(super) async fn event(&mut self, event: CopyEvent, line: &mut ProgressLine) -> Result<(), CliError> {
        if self.output.is_some() {
            return self.print(&as_json(&event)).await;
        }
        let (path, text) = match event {
            CopyEvent::Copied { changed: false, .. } => return Ok(()),
            CopyEvent::Copied { path, .. } => (path, "was changed while it was copied".to_owned()),
            CopyEvent::Skipped { path, kind } => (path, format!("skipped, because it is {}", a_kind(kind))),
            CopyEvent::Failed { path, error } => (path, format!("not copied: {error}")),
            _ => return Ok(()),
        };
        line.clear();
        stderr_line!("baton: {}: {text}", self.shown(&path));
        Ok(())
    }

    /// Tells the totals. Whether everything was copied.
    pub(super) async fn end(mut self, mut line: ProgressLine) -> Result<bool, CliError> {
        let (progress, took) = (line.progress(), line.took());
        let is_complete = progress.skipped == 0 && progress.failed == 0;
        let is_shown = line.clear();
        if let Some(output) = &mut self.output {
            let done = json!({
                "event": "done",
                "files": progress.files,
                "bytes": progress.bytes,
                "skipped": progress.skipped,
                "failed": progress.failed,
                "duration_ns": u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            });
            output
                .write(OutputStream::Stdout, record::line(&done).into())
                .await?;
            output.finish().await?;
        } else if !is_complete {
            stderr_line!(
                "baton: copied {}; {} skipped, {} not copied",
                counted(progress.files, "file", "files"),
                progress.skipped,
                progress.failed
            );
        } else if is_shown {
            stderr_line!("copied {}", line.summary());
        }
        Ok(is_complete)
    }

    async fn print(&mut self, event: &Value) -> Result<(), CliError> {
        match &mut self.output {
            Some(output) => {
                output
                    .write(OutputStream::Stdout, record::line(event).into())
                    .await
            }
            None => Ok(()),
        }
    }

    /// A path below the source.
    fn shown(&self, below: &Path) -> String {
        let below = below.to_string_lossy();
        let source = &self.source;
        match (below.is_empty(), source.ends_with(['/', ':'])) {
            (true, _) => source.clone(),
            (false, true) => format!("{source}{}", printable(&below)),
            (false, false) => format!("{source}/{}", printable(&below)),
        }
    }
}

fn as_json(event: &CopyEvent) -> Value {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    match event {
        CopyEvent::Copied { path, bytes, changed } => json!({
            "event": "copied",
            "path": text(path),
            "bytes": bytes,
            "changed": changed,
        }),
        CopyEvent::Skipped { path, kind } => json!({
            "event": "skipped",
            "path": text(path),
            "kind": kind_name(*kind),
        }),
        CopyEvent::Failed { path, error } => json!({
            "event": "failed",
            "path": text(path),
            "error": error.to_string(),
        }),
        _ => json!({ "event": "unknown" }),
    }
}

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Symlink => "symbolic_link",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::CharacterDevice => "character_device",
        FileKind::BlockDevice => "block_device",
        FileKind::File => "file",
        FileKind::Directory => "directory",
        _ => "other",
    }
}

fn a_kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Symlink => "a symbolic link",
        FileKind::Fifo => "a FIFO",
        FileKind::Socket => "a socket",
        FileKind::CharacterDevice | FileKind::BlockDevice => "a device",
        _ => "neither a file nor a directory",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_steer_no_terminal_and_are_shown_behind_the_source() {
        let report = |source: &str| Report {
            source: source.to_owned(),
            output: None,
        };
        let path = Path::new("a\x1b[2J\nb");
        assert_eq!(report("worker:src").shown(path), "worker:src/a[2J b");
        assert_eq!(report("worker:").shown(path), "worker:a[2J b");
        assert_eq!(report("src/").shown(Path::new("b")), "src/b");
        assert_eq!(report("src").shown(Path::new("")), "src");
        let event = CopyEvent::Skipped {
            path: path.to_owned(),
            kind: FileKind::Symlink,
        };
        let line = record::line(&as_json(&event));
        let text = line.trim_end_matches('\n');
        assert_eq!(printable(text), text);
        assert_eq!(
            serde_json::from_str::<Value>(text).unwrap()["path"],
            "a\x1b[2J\nb"
        );
    }
}
