//! Records for tests, here and in the crates above.

use std::time::Instant;

use opentelemetry::{SpanId, TraceId};

use crate::record::{Anchor, CallRecord, Side, StageRecord};
use crate::stage::StageId;
use crate::status::RpcStatus;
use crate::w3c::TraceContext;

/// A stage between two offsets from the anchor.
pub fn stage(stage: StageId, start_ns: i64, end_ns: i64) -> StageRecord {
    StageRecord {
        stage,
        attempt: 0,
        start_ns,
        end_ns,
        estimated: false,
    }
}

/// A client's record of a successful call.
pub fn record(stages: Vec<StageRecord>) -> CallRecord {
    let mut context = TraceContext::new_root(true).with_span(SpanId::from(7));
    context.trace_id = TraceId::from(42);
    CallRecord {
        side: Side::Client,
        context,
        parent: None,
        links: Vec::new(),
        method: "baton.exec.v1.Exec/Run".into(),
        anchor: Anchor {
            instant: Instant::now(),
            unix_ns: 1_700_000_000_000_000_000,
        },
        stages,
        status: RpcStatus(0),
        clock: None,
        server_unix_ns: None,
        server_calls: Vec::new(),
        attributes: Vec::new(),
        command: None,
    }
}
