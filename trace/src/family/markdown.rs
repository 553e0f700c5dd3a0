//! The tables of this module for `docs/STAGES.md`.

use std::fmt::Write as _;

use super::{FAMILIES, Unavailable};

/// Both tables as Markdown: the families with their markers, and the reasons.
pub fn markdown() -> String {
    let mut page = String::from("| family | for | marker | event | observed by |\n|---|---|---|---|---|\n");
    for def in FAMILIES {
        let (name, programs) = (def.name, def.programs);
        let row = |marker: &str, event: &str, observer: &str| {
            format!("| `{name}` | {programs} | {marker} | {event} | {observer} |")
        };
        for (marker, def) in [("ready", &def.ready), ("session init", &def.session_init)] {
            let _ = writeln!(page, "{}", row(marker, def.event, def.observer.description()));
        }
    }
    page.push_str("\n| reason | a stage is unavailable because |\n|---|---|\n");
    for reason in Unavailable::ALL {
        let _ = writeln!(page, "| `{}` | {} |", reason.name(), reason.description());
    }
    page
}
