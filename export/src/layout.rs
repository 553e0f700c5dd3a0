//! Selects the stages of a record that become spans, with their ids, parents and times.

use std::ops::Range;

use baton_trace::record::{CallRecord, Side, StageRecord};
use baton_trace::report::coverage;
use baton_trace::report::tree::present_parent;
use baton_trace::stage::{Component, StageId, exec, transport};
use opentelemetry::SpanId;

use super::rounding::{self, SpanBounds};
use crate::limits::RECORD_STAGES_MAX;

/// A stage as it will be exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpanPlacement {
    pub stage: StageRecord,
    pub part: Component,
    pub span_id: SpanId,
    /// `None` for the root of a trace, and for what happens beside calls.
    pub parent: Option<SpanId>,
    /// Its parent is the record's parent: no span of this record, even if one has the same id.
    pub is_outermost: bool,
    /// The parent is exported by another component.
    pub parent_is_remote: bool,
    pub start_ns: u64,
    pub end_ns: u64,
    /// On the root of a component's part: how many spans the part has.
    pub announced: Option<u32>,
}

/// The spans of `record` that its component exports, rounded to whole microseconds.
pub(super) fn owed(record: &CallRecord) -> Vec<SpanPlacement> {
    let mut placed = place(record, |part| owes(record.side, part));
    let server = server_beside(record, &mut placed);
    round(&mut placed, server);
    placed
}

/// How many spans [`owed`] gives.
pub(super) fn owed_len(record: &CallRecord) -> usize {
    let stages = &record.stages[..record.stages.len().min(RECORD_STAGES_MAX)];
    let is_owed =
        |stage: &&StageRecord| stage.stage != transport::CALL && owes(record.side, part(stage.stage));
    stages.iter().filter(is_owed).count() + usize::from(record.side == Side::Client)
}

/// Each span is exported exactly once: a component exports the stages that it measured, and the client also those that
/// the relay stamped.
fn owes(side: Side, part: Component) -> bool {
    match side {
        Side::Client => matches!(part, Component::Client | Component::Relay),
        Side::Server => part == Component::Server,
    }
}

/// Every stage, to the nanosecond.
pub(super) fn whole(record: &CallRecord) -> Vec<SpanPlacement> {
    place(record, |_| true)
}

fn place(record: &CallRecord, wanted: impl Fn(Component) -> bool) -> Vec<SpanPlacement> {
    let call_id = record.context.span_id;
    let stages = &record.stages[..record.stages.len().min(RECORD_STAGES_MAX)];
    let mut taken = Vec::with_capacity(stages.len());
    // Caches ids: every child needs its parent's id, and hashing is most of the cost of a span's layout.
    let mut ids = vec![None; stages.len()];
    let mut id_of = |index: usize| {
        let stage = &stages[index];
        *ids[index].get_or_insert_with(|| record.span_id(stage.stage, stage.attempt))
    };
    let mut placed = Vec::with_capacity(stages.len() + 1);
    if record.side == Side::Client {
        placed.push(SpanPlacement {
            part: Component::Client,
            span_id: call_id,
            parent: record.parent,
            is_outermost: true,
            ..timed(record, envelope_stage(record))
        });
    }
    let rpc = stages.iter().position(|stage| stage.stage == transport::RPC);
    for (index, stage) in stages.iter().enumerate() {
        let part = part(stage.stage);
        if stage.stage == transport::CALL || !wanted(part) {
            continue;
        }
        // In a client's record this stage came with a server's trailers, which claim that it belongs to the call.
        if stage.stage.is_background() && record.side == Side::Server {
            placed.push(SpanPlacement {
                part,
                span_id: call_id,
                parent: record.parent,
                is_outermost: true,
                ..timed(record, *stage)
            });
            continue;
        }
        let attempt = free_attempt(&mut taken, stage);
        // Only a client knows the envelope. A server's outermost span is `rpc`.
        let parent = match (present_parent(stages, stage), record.side) {
            (None, Side::Server) => rpc.filter(|rpc| *rpc != index),
            (parent, _) => parent,
        };
        let is_outermost = parent.is_none() && record.side == Side::Server;
        let (parent, parent_is_remote) = match parent {
            Some(parent) => (Some(id_of(parent)), self::part(stages[parent].stage) != part),
            None if is_outermost => (record.parent, record.parent.is_some()),
            None => (Some(call_id), part != Component::Client),
        };
        placed.push(SpanPlacement {
            part,
            span_id: match attempt == stage.attempt {
                true => id_of(index),
                false => record.span_id(stage.stage, attempt),
            },
            parent,
            parent_is_remote,
            is_outermost,
            ..timed(record, *stage)
        });
    }
    announce(&mut placed);
    placed
}

/// The first `call` announces the spans of client and relay, the first `rpc` those of the server. Where the server's
/// `rpc` is missing, the `call` announces all spans.
fn announce(placed: &mut [SpanPlacement]) {
    let root = |stage| move |span: &SpanPlacement| span.stage.stage == stage;
    let call = placed.iter().position(root(transport::CALL));
    let rpc = placed.iter().position(root(transport::RPC));
    let all = placed.len() as u32;
    let of_server = match rpc {
        Some(_) => placed
            .iter()
            .filter(|span| span.part == Component::Server)
            .count() as u32,
        None => 0,
    };
    if let Some(call) = call {
        placed[call].announced = Some(all - of_server);
    }
    if let Some(rpc) = rpc {
        placed[rpc].announced = Some(of_server);
    }
}

/// An id that this version does not know can only have come from a newer server's `Trailers`.
fn part(stage: StageId) -> Component {
    stage.def().map_or(Component::Server, |def| def.exporter)
}

/// A client's record always has the envelope's span, because every other span is below it.
fn envelope_stage(record: &CallRecord) -> StageRecord {
    let envelope = coverage::envelope(record);
    StageRecord {
        stage: transport::CALL,
        attempt: 0,
        start_ns: envelope.start_ns,
        end_ns: envelope.end_ns,
        estimated: false,
    }
}

/// A second record of one stage and attempt would get the first one's span id; it takes the next free attempt.
fn free_attempt(taken: &mut Vec<(StageId, u8)>, stage: &StageRecord) -> u8 {
    let mut attempt = stage.attempt;
    // `RECORD_STAGES_MAX` is below the 256 there are, so an attempt is free.
    while taken.contains(&(stage.stage, attempt)) {
        attempt = attempt.wrapping_add(1);
    }
    taken.push((stage.stage, attempt));
    attempt
}

fn timed(record: &CallRecord, stage: StageRecord) -> SpanPlacement {
    let start_ns = record.anchor.unix_ns_at(stage.start_ns);
    SpanPlacement {
        stage,
        part: Component::Client,
        span_id: SpanId::INVALID,
        parent: None,
        is_outermost: false,
        parent_is_remote: false,
        start_ns,
        end_ns: record.anchor.unix_ns_at(stage.end_ns).max(start_ns),
        announced: None,
    }
}

/// Where a collector has the server's `rpc`, for the client's transits to keep out of: by the server's own clock, if
/// that may be the client's too. The transits then end and begin there, in place of where the clock's estimate has
/// them. `None`: the two clocks differ, and nobody's stamps can be held against the other's.
fn server_beside(record: &CallRecord, placed: &mut [SpanPlacement]) -> Option<Range<u64>> {
    if record.side != Side::Client || !record.clock?.may_be_none() {
        return None;
    }
    let server = record.server_unix_ns.as_ref()?;
    let transit = |stage| move |span: &SpanPlacement| span.stage.stage == stage;
    let out = placed.iter().position(transit(transport::TRANSIT))?;
    let back = placed.iter().position(transit(transport::TERMINAL_TRANSIT));
    let first = placed[out].start_ns;
    let last = match (back, placed.first()) {
        (Some(back), _) => placed[back].end_ns,
        (None, Some(call)) => call.end_ns,
        (None, None) => return None,
    };
    let start_ns = server.start.clamp(first, last.max(first));
    let end_ns = server.end.clamp(start_ns, last.max(start_ns));
    move_transit(placed, out, first..start_ns);
    if let Some(back) = back {
        move_transit(placed, back, end_ns..last.max(end_ns));
    }
    Some(start_ns..end_ns)
}

/// Gives a transit other bounds, with its relay stages in their middle as before.
fn move_transit(placed: &mut [SpanPlacement], index: usize, to: Range<u64>) {
    let transit = &mut placed[index];
    let middle = |start: u64, end: u64| start.midpoint(end);
    let by = i128::from(middle(to.start, to.end)) - i128::from(middle(transit.start_ns, transit.end_ns));
    transit.start_ns = to.start;
    transit.end_ns = to.end;
    let id = transit.span_id;
    let moved = |at: u64| (i128::from(at) + by).clamp(to.start.into(), to.end.into()) as u64;
    for relay in placed.iter_mut().filter(|span| span.parent == Some(id)) {
        relay.start_ns = moved(relay.start_ns);
        relay.end_ns = moved(relay.end_ns);
    }
}

/// `server`: what a collector has under the envelope beside these.
fn round(placed: &mut [SpanPlacement], server: Option<Range<u64>>) {
    let server = server.map(|server| SpanBounds {
        start_ns: server.start,
        end_ns: server.end,
        // The envelope is a client's first.
        parent: Some(0),
        pinned: true,
        beside: false,
    });
    let items: Vec<SpanBounds> = placed
        .iter()
        .map(|span| SpanBounds {
            start_ns: span.start_ns,
            end_ns: span.end_ns,
            parent: span
                .parent
                .filter(|_| !span.is_outermost)
                .and_then(|parent| placed.iter().position(|other| other.span_id == parent)),
            pinned: span.is_outermost
                && (matches!(span.stage.stage, transport::CALL | transport::RPC)
                    || span.stage.stage.is_background()),
            beside: is_beside(span.stage.stage),
        })
        .chain(server)
        .collect();
    for (span, micros) in placed.iter_mut().zip(rounding::to_micros(&items)) {
        span.start_ns = micros.start.saturating_mul(1_000);
        span.end_ns = micros.end.saturating_mul(1_000);
    }
}

/// A user's stage that does not cover may overlap its siblings, which are awaited.
fn is_beside(stage: StageId) -> bool {
    exec::CONCURRENT.contains(&stage) || stage.is_user_defined() && stage.def().is_none_or(|def| !def.covers)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use baton_trace::stage::{self, exec::*, metadata::*, transport::*};
    use baton_trace::test_records::{record, stage};

    use super::*;

    fn warm() -> CallRecord {
        record(vec![
            stage(CALL, 0, 1_000_000),
            stage(DISPATCH, 0, 20_000),
            stage(TRANSIT, 20_000, 100_000),
            stage(RELAY_QUEUE, 50_000, 55_000),
            stage(SERVER_OPEN, 100_000, 110_000),
            stage(RPC, 110_000, 900_000),
            stage(PROCESS, 110_000, 890_000),
            stage(PROCESS_WAIT, 300_000, 800_000),
            stage(TERMINAL_NOTIFY, 900_000, 1_000_000),
        ])
    }

    fn stages(placed: &[SpanPlacement]) -> Vec<StageId> {
        placed.iter().map(|span| span.stage.stage).collect()
    }

    #[test]
    fn each_part_owes_what_it_measured_and_together_they_owe_everything_once() {
        let client = warm();
        let mut server = warm();
        server.side = Side::Server;
        let theirs = owed(&client);
        assert_eq!((owed_len(&client), owed_len(&server)), (5, 4));
        assert_eq!(
            stages(&theirs),
            [CALL, DISPATCH, TRANSIT, RELAY_QUEUE, TERMINAL_NOTIFY]
        );
        let ours = owed(&server);
        assert_eq!(stages(&ours), [SERVER_OPEN, RPC, PROCESS, PROCESS_WAIT]);

        let mut ids: Vec<_> = theirs.iter().chain(&ours).map(|span| span.span_id).collect();
        let mut whole: Vec<_> = whole(&client).iter().map(|span| span.span_id).collect();
        ids.sort_by_key(|id| id.to_bytes());
        whole.sort_by_key(|id| id.to_bytes());
        assert_eq!(ids, whole);
    }

    #[test]
    fn what_happens_beside_calls_is_the_root_of_its_own_trace_unless_a_server_claims_it_for_a_call() {
        let mut beside = record(vec![stage(METADATA_PERSIST, 0, 900)]);
        beside.side = Side::Server;
        beside.parent = None;
        let placed = owed(&beside);
        assert_eq!(stages(&placed), [METADATA_PERSIST]);
        assert_eq!(
            (placed[0].span_id, placed[0].parent),
            (beside.context.span_id, None)
        );
        assert_eq!((placed[0].end_ns - placed[0].start_ns) % 1_000, 0);

        let claimed = record(vec![stage(CALL, 0, 1_000), stage(METADATA_PERSIST, 0, 900)]);
        assert_eq!(stages(&owed(&claimed)), [CALL]);
        let placed = whole(&claimed);
        assert_ne!(placed[1].span_id, placed[0].span_id);
        assert_eq!(placed[1].parent, Some(placed[0].span_id));
    }

    #[test]
    fn no_sibling_makes_room_for_a_users_stage_that_does_not_cover() {
        let mut server = warm();
        server.side = Side::Server;
        let bounds = |record: &CallRecord, of| {
            let placed = owed(record);
            let span = placed.iter().find(|span| span.stage.stage == of).unwrap();
            (span.start_ns, span.end_ns)
        };
        let alone = bounds(&server, PROCESS);
        server.stages.push(stage(StageId(200), 112_000, 700_000));
        assert_eq!(bounds(&server, PROCESS), alone);
        let (start_ns, end_ns) = bounds(&server, StageId(200));
        assert!(alone.0 <= start_ns && start_ns < end_ns && end_ns < alone.1);
    }

    #[test]
    fn every_parent_is_in_the_trace() {
        let placed = whole(&warm());
        for span in &placed[1..] {
            let parent = placed
                .iter()
                .find(|other| Some(other.span_id) == span.parent)
                .unwrap();
            assert_eq!(span.parent_is_remote, parent.part != span.part, "{span:?}");
        }
    }

    #[test]
    fn a_servers_rpc_hangs_under_the_span_that_it_was_told_and_is_the_root_where_it_was_told_none() {
        let mut server = warm();
        server.side = Side::Server;
        let own = stage::span_id(server.context.trace_id, SpanId::from(7), RPC, 0);
        // The last one is a peer's that derived the id of `rpc` before it called.
        for parent in [None, Some(SpanId::from(9)), Some(own)] {
            server.parent = parent;
            let placed = owed(&server);
            let rpc = placed.iter().find(|span| span.stage.stage == RPC).unwrap();
            assert_eq!(
                (rpc.span_id, rpc.parent, rpc.parent_is_remote),
                (own, parent, parent.is_some())
            );
            let others = placed.iter().filter(|span| span.stage.stage != RPC);
            for span in others {
                let parent = placed.iter().find(|other| Some(other.span_id) == span.parent);
                assert!(parent.is_some(), "no part of the trace: {span:?}");
            }
        }
    }

    #[test]
    fn the_root_of_each_part_announces_how_many_spans_the_part_has() {
        let announced = |placed: &[SpanPlacement]| -> Vec<(StageId, u32)> {
            let found = placed
                .iter()
                .filter_map(|span| Some((span.stage.stage, span.announced?)));
            found.collect()
        };
        let client = warm();
        let mut server = warm();
        server.side = Side::Server;
        assert_eq!(announced(&owed(&client)), [(CALL, 5)]);
        assert_eq!(announced(&owed(&server)), [(RPC, 4)]);
        assert_eq!(announced(&whole(&client)), [(CALL, 5), (RPC, 4)]);
        let mut without_rpc = warm();
        without_rpc.stages.retain(|stage| stage.stage != RPC);
        assert_eq!(announced(&whole(&without_rpc)), [(CALL, 8)]);
        let mut twice = warm();
        twice.stages.push(stage(RPC, 120_000, 130_000));
        assert_eq!(announced(&whole(&twice)), [(CALL, 5), (RPC, 5)]);
    }

    #[test]
    fn a_client_always_owes_the_envelope() {
        let placed = owed(&record(vec![stage(DISPATCH, 5_000, 9_000)]));
        assert_eq!(stages(&placed), [CALL, DISPATCH]);
        assert_eq!(placed[0].span_id, SpanId::from(7));
        assert_eq!(stages(&owed(&record(vec![]))), [CALL]);
    }

    #[test]
    fn a_caller_that_claims_a_stage_as_its_span_changes_nothing() {
        let mut record = warm();
        record.parent = Some(stage::span_id(
            record.context.trace_id,
            SpanId::from(7),
            DISPATCH,
            0,
        ));
        assert_eq!(owed(&record).len(), 5);
    }

    #[test]
    fn two_records_of_one_stage_get_two_ids() {
        let placed = whole(&record(vec![
            stage(PROCESS, 0, 5),
            stage(PROCESS, 6, 9),
            stage(PROCESS, 9, 9),
        ]));
        let ids: HashSet<_> = placed.iter().map(|span| span.span_id).collect();
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn a_record_of_any_length_is_cut() {
        let many = vec![stage(DISPATCH, 0, 5); 100_000];
        assert_eq!(owed(&record(many)).len(), RECORD_STAGES_MAX + 1);
    }
}
