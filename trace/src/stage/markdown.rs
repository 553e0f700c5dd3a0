//! Writes the tables of `docs/STAGES.md`.

use std::fmt::Write as _;

use super::{Component, StageDef, StageKind, exec, metadata, transport};

/// The tables in Markdown, each under a heading.
pub fn markdown() -> String {
    let mut out = String::new();
    table(&mut out, "Any call over the channel", transport::STAGES);
    out.push('\n');
    table(&mut out, "Processes", exec::STAGES);
    out.push('\n');
    table(&mut out, "Beside calls", metadata::STAGES);
    out
}

fn table(out: &mut String, title: &str, stages: &[StageDef]) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "### {title}\n\n| id | stage | under | kind | from | to | exported by | covers |\n|---:|---|---|---|---|---|---|---|"
    );
    for def in stages {
        let parent = def
            .parent
            .map_or("–".to_owned(), |parent| format!("`{}`", parent.name()));
        let kind = match def.kind {
            StageKind::Internal => "internal",
            StageKind::Client => "client",
            StageKind::Server => "server",
        };
        let exporter = match def.exporter {
            Component::Client => "client",
            Component::Relay => "client, for the relay",
            Component::Server => "server",
        };
        let covers = if def.covers { "yes" } else { "no" };
        let _ = writeln!(
            out,
            "| {} | `{}` | {parent} | {kind} | {} | {} | {exporter} | {covers} |",
            def.id.0, def.name, def.from, def.to,
        );
    }
}
