//! What a person reads of one call: where its time went, and what nobody accounted for.
//!
//! * [`coverage`]: the envelope, the accounted part of it, and the remainder;
//! * [`critical_path`]: what Jaeger draws as the critical path, and what must hold of it;
//! * [`tree`]: the stages in the order and depth in which they are shown;
//! * [`waterfall`](mod@waterfall): both, drawn for a terminal;
//! * [`brief`](mod@brief): the longest of them, in ten rows;
//! * [`units`]: durations in words.
//!
//! Everything is a pure function of one [`CallRecord`](crate::record::CallRecord). Records hold figures from the
//! other side of the wire and from files: nothing here panics, whatever they say.

pub mod brief;
pub mod coverage;
pub mod critical_path;
pub mod tree;
pub mod units;
pub mod waterfall;

pub use brief::brief;
pub use coverage::Coverage;
pub use waterfall::{Style, waterfall};

#[cfg(test)]
pub(crate) mod tests {
    //! Records for tests.

    use opentelemetry::{SpanId, TraceId};

    use crate::record::{Anchor, CallRecord, RpcStatus, Side, StageRecord};
    use crate::stage::StageId;
    use crate::w3c::TraceContext;

    /// A stage between two offsets from the anchor.
    pub(crate) fn stage(stage: StageId, start_ns: i64, end_ns: i64) -> StageRecord {
        StageRecord {
            stage,
            attempt: 0,
            start_ns,
            end_ns,
            estimated: false,
        }
    }

    /// A client's record of a call that went well.
    pub(crate) fn record(stages: Vec<StageRecord>) -> CallRecord {
        let mut context = TraceContext::new_root(true).with_span(SpanId::from(7));
        context.trace_id = TraceId::from(42);
        CallRecord {
            side: Side::Client,
            context,
            parent: None,
            links: Vec::new(),
            method: "baton.exec.v1.Exec/Run".into(),
            anchor: Anchor {
                unix_ns: 1_700_000_000_000_000_000,
                ..Anchor::now()
            },
            stages,
            status: RpcStatus(0),
            clock: None,
            server_unix_ns: None,
            attributes: Vec::new(),
            subject: None,
        }
    }
}
