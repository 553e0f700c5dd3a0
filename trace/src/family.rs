//! Runtime families: how a program that runs for long shows that it is ready, and when its session begins.
//!
//! ```text
//! spawn begins ── family.cli_ready ──► ready ── family.session_init ──► session init ── family.first_output ──► output
//! ```
//!
//! [`FAMILIES`] declares both markers of every family once, with who observes them. The exec-server observes *ready*
//! with a [`Detector`], in standard output as it passes. Output cannot show *session init*: the caller or a proxy
//! reports it. [`Unavailable`] is the closed list of reasons why a stage has no interval. Documents, the command line
//! and the code read these tables.

mod bytes;
mod candidate;
mod detector;
mod event_stream;
mod json;
mod json_lines;
mod json_rpc;
mod markdown;
mod prompt;
mod rpc_message;
mod utf8;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
#[cfg(any(test, feature = "fuzz"))]
mod plain;

use baton_proto::exec as wire;
use opentelemetry::KeyValue;

use crate::attribute;
use crate::stage::{StageId, exec};

pub use detector::{Detection, Detector};
pub use markdown::markdown;

/// What a program writes to its standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// One JSON object a line.
    JsonLines,
    /// Messages of JSON-RPC 2.0, one a line or after a `Content-Length` header.
    JsonRpc,
    /// Server-sent events.
    EventStream,
    /// Any text.
    Text,
    /// A prompt that waits for a line of input.
    Prompt,
}

/// The declaration of one family.
#[derive(Debug, PartialEq, Eq)]
pub struct FamilyDef {
    /// The family.
    pub family: Family,
    /// Its name in flags, spans and records.
    pub name: &'static str,
    /// The programs it is for.
    pub programs: &'static str,
    /// The marker at which the program is ready.
    pub ready: MarkerDef,
    /// The marker at which its session begins.
    pub session_init: MarkerDef,
}

/// The declaration of one marker.
#[derive(Debug, PartialEq, Eq)]
pub struct MarkerDef {
    /// The event.
    pub event: &'static str,
    /// Who observes it.
    pub observer: Observer,
}

/// Who observes a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observer {
    /// The exec-server, in standard output as it passes. Standard error never counts.
    ExecServer,
    /// The caller or a proxy, which reports it with `MarkerReached`. The exec-server takes the time of the arrival.
    Caller,
}

impl Observer {
    /// For documents.
    pub const fn description(self) -> &'static str {
        match self {
            Self::ExecServer => "the exec-server, in standard output",
            Self::Caller => "the caller or a proxy, which reports it",
        }
    }
}

const fn seen(event: &'static str) -> MarkerDef {
    MarkerDef {
        event,
        observer: Observer::ExecServer,
    }
}

const fn reported(event: &'static str) -> MarkerDef {
    MarkerDef {
        event,
        observer: Observer::Caller,
    }
}

/// The families, with both markers of each.
pub const FAMILIES: &[FamilyDef] = &[
    FamilyDef {
        family: Family::JsonLines,
        name: "jsonl",
        programs: "a program that writes one JSON object a line",
        ready: seen("the first complete line that is a JSON object"),
        session_init: reported("the first request is sent"),
    },
    FamilyDef {
        family: Family::JsonRpc,
        name: "json_rpc",
        programs: "a server of JSON-RPC 2.0 on standard input and output, such as MCP or LSP",
        ready: seen(
            "the first well-formed JSON-RPC 2.0 message, on one line or after a Content-Length header",
        ),
        session_init: reported("the handshake is acknowledged, by the answer to `initialize` for example"),
    },
    FamilyDef {
        family: Family::EventStream,
        name: "event_stream",
        programs: "a program that writes server-sent events",
        ready: seen("the first decoded event: the blank line after at least one line of data"),
        session_init: reported("the handshake is acknowledged, or the first request is sent"),
    },
    FamilyDef {
        family: Family::Text,
        name: "text",
        programs: "any other program",
        ready: seen("the first chunk that is not empty"),
        session_init: reported("the first request is sent"),
    },
    FamilyDef {
        family: Family::Prompt,
        name: "prompt",
        programs: "a shell or an interpreter that waits behind a prompt on standard output",
        ready: seen("the first prompt: the last line, unterminated, ends in one of `$ `, `# `, `% `, `> `"),
        session_init: reported("the first request, a line of input, is sent"),
    },
];

impl Family {
    /// Its row in [`FAMILIES`].
    pub const fn def(self) -> &'static FamilyDef {
        match self {
            Self::JsonLines => &FAMILIES[0],
            Self::JsonRpc => &FAMILIES[1],
            Self::EventStream => &FAMILIES[2],
            Self::Text => &FAMILIES[3],
            Self::Prompt => &FAMILIES[4],
        }
    }

    /// Its name in flags, spans and records.
    pub const fn name(self) -> &'static str {
        self.def().name
    }

    /// Decodes a family; `None` if the start names none.
    pub fn from_wire(family: wire::Family) -> Option<Self> {
        Some(match family {
            wire::Family::Unspecified => return None,
            wire::Family::Jsonl => Self::JsonLines,
            wire::Family::JsonRpc => Self::JsonRpc,
            wire::Family::EventStream => Self::EventStream,
            wire::Family::Text => Self::Text,
            wire::Family::Prompt => Self::Prompt,
        })
    }

    /// Encodes a family.
    pub fn to_wire(self) -> wire::Family {
        match self {
            Self::JsonLines => wire::Family::Jsonl,
            Self::JsonRpc => wire::Family::JsonRpc,
            Self::EventStream => wire::Family::EventStream,
            Self::Text => wire::Family::Text,
            Self::Prompt => wire::Family::Prompt,
        }
    }

    /// The family with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let def = FAMILIES.iter().find(|def| def.name == name)?;
        Some(def.family)
    }
}

/// Why a stage of a family has no interval. The list is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unavailable {
    /// Standard output ended without a byte.
    NotSeen,
    /// Standard output ended without the ready marker in it.
    NotRecognised,
    /// Standard output has a line, or a message, of more than [`FAMILY_LINE_MAX`](crate::limits::FAMILY_LINE_MAX)
    /// bytes, and no ready marker around it.
    LineTooLong,
    /// The first [`FAMILY_OUTPUT_MAX`](crate::limits::FAMILY_OUTPUT_MAX) bytes of standard output have no ready marker.
    LookedAtLimit,
    /// Nobody reported session init before the exit.
    NotReported,
    /// Session init was reported, and the ready marker was not found.
    NoReady,
    /// Session init was reported before the ready marker.
    OutOfOrder,
    /// Nobody reported session init, which the stage starts at. Whether output follows does not matter.
    NoSessionInit,
    /// No output follows session init.
    NoOutput,
}

impl Unavailable {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::NotSeen,
        Self::NotRecognised,
        Self::LineTooLong,
        Self::LookedAtLimit,
        Self::NotReported,
        Self::NoReady,
        Self::OutOfOrder,
        Self::NoSessionInit,
        Self::NoOutput,
    ];

    /// The name in spans, records and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSeen => "not_seen",
            Self::NotRecognised => "not_recognised",
            Self::LineTooLong => "line_too_long",
            Self::LookedAtLimit => "looked_at_limit",
            Self::NotReported => "not_reported",
            Self::NoReady => "no_ready",
            Self::OutOfOrder => "out_of_order",
            Self::NoSessionInit => "no_session_init",
            Self::NoOutput => "no_output",
        }
    }

    /// The reason with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// What the user of this family can do, where the reason has a usual cause.
    pub const fn hint(self, family: Family) -> Option<&'static str> {
        match (family, self) {
            (Family::Prompt, Self::NotSeen | Self::NotRecognised) => {
                Some("a prompt on standard error does not count; run it as sh -c '… 2>&1'")
            }
            _ => None,
        }
    }

    /// For documents.
    pub const fn description(self) -> &'static str {
        match self {
            Self::NotSeen => "standard output ended without a byte; standard error does not count",
            Self::NotRecognised => "standard output ended without the marker; standard error does not count",
            Self::LineTooLong => "a line or message has more than 256 KiB, and no marker was found around it",
            Self::LookedAtLimit => {
                "the first 1 MiB of standard output has no marker; the rest is not examined"
            }
            Self::NotReported => "nobody reported session init before the exit",
            Self::NoReady => "session init was reported, and the ready marker is unavailable",
            Self::OutOfOrder => "session init was reported before the ready marker",
            Self::NoSessionInit => "nobody reported session init, which the stage starts at",
            Self::NoOutput => "standard output has no byte after session init",
        }
    }
}

/// The stages of a family, in order.
pub const STAGES: [StageId; 3] = [
    exec::FAMILY_CLI_READY,
    exec::FAMILY_SESSION_INIT,
    exec::FAMILY_FIRST_OUTPUT,
];

/// What a command's family measured, beside the intervals of its stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilySummary {
    /// The family that the start named.
    pub family: Family,
    /// For each of [`STAGES`] that has no interval, the reason.
    pub unavailable: [Option<Unavailable>; 3],
    /// Nanoseconds from the beginning of the spawn to the first output after the last known marker that no stage of
    /// [`STAGES`] accounts for. If there is no such output, to the end of the output.
    pub remainder_ns: u64,
}

/// The attributes for the reasons of [`STAGES`].
const UNAVAILABLE: [&str; 3] = [
    attribute::FAMILY_CLI_READY_UNAVAILABLE,
    attribute::FAMILY_SESSION_INIT_UNAVAILABLE,
    attribute::FAMILY_FIRST_OUTPUT_UNAVAILABLE,
];

impl FamilySummary {
    /// The attributes of the `process` span.
    pub fn attributes(&self) -> impl Iterator<Item = KeyValue> + use<> {
        let remainder_ns = i64::try_from(self.remainder_ns).unwrap_or(i64::MAX);
        let reasons = UNAVAILABLE.into_iter().zip(self.unavailable);
        [
            KeyValue::new(attribute::FAMILY, self.family.name()),
            KeyValue::new(attribute::FAMILY_REMAINDER_NS, remainder_ns),
        ]
        .into_iter()
        .chain(reasons.filter_map(|(name, reason)| Some(KeyValue::new(name, reason?.name()))))
    }

    /// Encodes the summary.
    pub fn to_wire(&self) -> wire::FamilyReport {
        let unavailable = |(stage, reason): (StageId, Unavailable)| wire::UnavailableStage {
            stage: stage.0.into(),
            reason: reason.name().into(),
        };
        wire::FamilyReport {
            family: self.family.to_wire().into(),
            unavailable: self.unavailable().map(unavailable).collect(),
            remainder_ns: self.remainder_ns,
        }
    }

    /// Decodes a summary; `None` if it is of no known family. Stages and reasons of a later version are skipped.
    pub fn from_wire(report: &wire::FamilyReport) -> Option<Self> {
        let reason_of = |stage: StageId| {
            let found = report
                .unavailable
                .iter()
                .find(|one| one.stage == u32::from(stage.0))?;
            Unavailable::from_name(&found.reason)
        };
        Some(Self {
            family: Family::from_wire(wire::Family::try_from(report.family).ok()?)?,
            unavailable: STAGES.map(reason_of),
            remainder_ns: report.remainder_ns,
        })
    }

    /// Reads a summary from the attributes of a `process` span: `text` and `integer` return the one with this name.
    pub fn from_attributes<'a>(
        text: impl Fn(&str) -> Option<&'a str>,
        integer: impl Fn(&str) -> Option<i64>,
    ) -> Option<Self> {
        let remainder_ns = integer(attribute::FAMILY_REMAINDER_NS)?;
        Some(Self {
            family: Family::from_name(text(attribute::FAMILY)?)?,
            unavailable: UNAVAILABLE.map(|name| Unavailable::from_name(text(name)?)),
            remainder_ns: u64::try_from(remainder_ns).unwrap_or(0),
        })
    }

    /// The stages without an interval, and the reason of each.
    pub fn unavailable(&self) -> impl Iterator<Item = (StageId, Unavailable)> {
        let reasons = STAGES.into_iter().zip(self.unavailable);
        reasons.filter_map(|(stage, reason)| Some((stage, reason?)))
    }
}

#[cfg(test)]
mod tests;
