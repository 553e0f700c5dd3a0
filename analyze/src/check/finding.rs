//! What a check may find.

use std::fmt;

use baton_trace::SpanId;
use baton_trace::report::critical_path::PathFinding;
use baton_trace::text::printable;

use crate::model::{Span, Trace};

/// A span in a message: its id, and its stage or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its id.
    pub id: SpanId,
    /// Its stage, or its name if it is no stage.
    pub name: String,
}

impl Unit {
    pub(super) fn of(trace: &Trace, span: &Span) -> Self {
        let name = trace.stage_name(span).unwrap_or_else(|| trace.name(span));
        Self {
            id: span.id,
            name: printable(name).into_owned(),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.id)
    }
}

/// A fault of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Two different spans share an id.
    SharedId {
        /// The id.
        span: SpanId,
    },
    /// A span ends before it starts.
    Backwards {
        /// The span.
        span: Unit,
        /// By how many nanoseconds.
        by_ns: u64,
    },
    /// The parent of a span is not in the trace.
    Orphan {
        /// The span.
        span: Unit,
        /// The missing parent.
        parent: SpanId,
    },
    /// A stage is outside of its parent by more than their clocks explain.
    OutsideParent {
        /// The stage.
        span: Unit,
        /// Its parent.
        parent: Unit,
        /// By how many nanoseconds, after correction by the clock offset.
        by_ns: u64,
        /// How many the clocks explain.
        bound_ns: u64,
    },
    /// An exported stage ends exactly where its next sibling begins.
    Touching {
        /// The earlier stage.
        first: Unit,
        /// The later stage.
        second: Unit,
    },
    /// Two exported sibling stages overlap.
    Overlapping {
        /// The stage that begins earlier.
        first: Unit,
        /// The other one.
        second: Unit,
    },
    /// An exported stage has no length.
    ZeroLength {
        /// The stage.
        span: Unit,
    },
    /// The critical path misses awaited time.
    CriticalPath(PathFinding),
    /// A resource lacks an attribute that views need.
    MissingResourceAttribute {
        /// The resource's service, if it names one.
        service: String,
        /// The missing key.
        key: &'static str,
    },
    /// An attribute has arguments or environment variables of a command.
    Private {
        /// The span, or the first span of the resource.
        span: Unit,
        /// The attribute's key; `None`: the span's name.
        key: Option<String>,
    },
    /// The parts of a call announce another number of stages than there are.
    Count {
        /// The call.
        call: SpanId,
        /// Stages that it announces.
        announced: i64,
        /// Stages that are in the trace.
        found: u64,
    },
}

impl Finding {
    /// Its name, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SharedId { .. } => "shared_id",
            Self::Backwards { .. } => "backwards",
            Self::Orphan { .. } => "orphan",
            Self::OutsideParent { .. } => "outside_parent",
            Self::Touching { .. } => "touching",
            Self::Overlapping { .. } => "overlapping",
            Self::ZeroLength { .. } => "zero_length",
            Self::CriticalPath(_) => "critical_path",
            Self::MissingResourceAttribute { .. } => "missing_resource_attribute",
            Self::Private { .. } => "private",
            Self::Count { .. } => "count",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedId { span } => write!(f, "two different spans have the id {span}"),
            Self::Backwards { span, by_ns } => {
                write!(
                    f,
                    "{span} ends {by_ns} ns before it starts: its clock ran backwards"
                )
            }
            Self::Orphan { span, parent } => {
                write!(f, "{span} is an orphan: its parent {parent} is not in the trace")
            }
            Self::OutsideParent {
                span,
                parent,
                by_ns,
                bound_ns,
            } => write!(
                f,
                "{span} is outside of its parent {parent} by {by_ns} ns; their clocks explain {bound_ns} ns"
            ),
            Self::Touching { first, second } => write!(
                f,
                "{first} touches {second}: exported stages are at least 1 µs apart"
            ),
            Self::Overlapping { first, second } => write!(f, "{first} overlaps its sibling {second}"),
            Self::ZeroLength { span } => {
                write!(f, "{span} has no length: an exported stage has at least 1 µs")
            }
            Self::CriticalPath(finding) => write!(f, "{finding}"),
            Self::MissingResourceAttribute { service, key } => {
                write!(f, "the resource of {service} has no {key}")
            }
            Self::Private { span, key: Some(key) } => write!(
                f,
                "the attribute {key} of {span} has arguments or environment variables of a command"
            ),
            Self::Private { span, key: None } => {
                write!(f, "the name of {span} has arguments of a command")
            }
            Self::Count {
                call,
                announced,
                found,
            } => write!(
                f,
                "the call {call} announces {announced} stages; {found} are here"
            ),
        }
    }
}
