//! How much of a call is accounted for.
//!
//! Remainder = envelope minus the union of the covering stages, clipped to the envelope. The table row says whether a
//! stage covers: leaves of the awaited path do, `call`, `rpc` and `process` never. A transit and its relay stages
//! overlap, and stages from a peer may. A union counts each nanosecond once; a sum could hide a gap behind an overlap.
//! The remainder is never negative and always present.

use crate::record::{CallRecord, StageRecord};
use crate::stage::transport;

/// A half-open interval, in nanoseconds after the record's anchor; the end is never before the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Its first nanosecond.
    pub start_ns: i64,
    /// The first nanosecond after it.
    pub end_ns: i64,
}

impl Interval {
    /// Length in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.end_ns.abs_diff(self.start_ns)
    }

    fn of(record: &StageRecord) -> Self {
        Self {
            start_ns: record.start_ns,
            end_ns: record.end_ns.max(record.start_ns),
        }
    }

    fn clipped_to(self, bounds: Self) -> Self {
        Self {
            start_ns: self.start_ns.clamp(bounds.start_ns, bounds.end_ns),
            end_ns: self.end_ns.clamp(bounds.start_ns, bounds.end_ns),
        }
    }
}

/// The interval of the whole call: its `call` stage, or without one the hull of all stages.
pub fn envelope(record: &CallRecord) -> Interval {
    if let Some(call) = record.stage(transport::CALL) {
        return Interval::of(call);
    }
    let hull = record.stages.iter().map(Interval::of).reduce(|a, b| Interval {
        start_ns: a.start_ns.min(b.start_ns),
        end_ns: a.end_ns.max(b.end_ns),
    });
    hull.unwrap_or(Interval {
        start_ns: 0,
        end_ns: 0,
    })
}

/// The accounted time of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// The whole call.
    pub envelope: Interval,
    /// Nanoseconds of it inside at least one covering stage.
    pub covered_ns: u64,
}

impl Coverage {
    /// Reads a client's record, which holds the stages of all parts.
    pub fn of(record: &CallRecord) -> Self {
        let envelope = envelope(record);
        let mut covering: Vec<Interval> = record
            .stages
            .iter()
            .filter(|stage| stage.stage.def().is_some_and(|def| def.covers))
            .map(|stage| Interval::of(stage).clipped_to(envelope))
            .collect();
        covering.sort_unstable_by_key(|interval| interval.start_ns);

        let mut covered_ns = 0;
        let mut reached = envelope.start_ns;
        for interval in covering {
            let fresh = interval.start_ns.max(reached);
            if interval.end_ns > fresh {
                covered_ns += interval.end_ns.abs_diff(fresh);
                reached = interval.end_ns;
            }
        }
        Self { envelope, covered_ns }
    }

    /// Nanoseconds of the call that no stage accounts for.
    pub fn remainder_ns(&self) -> u64 {
        self.envelope.duration_ns().saturating_sub(self.covered_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stage::{self, StageId, exec, transport::*};
    use crate::test_records::{record, stage};

    #[test]
    fn a_call_without_stages_is_all_remainder() {
        let coverage = Coverage::of(&record(vec![stage(CALL, 0, 100)]));
        assert_eq!((coverage.covered_ns, coverage.remainder_ns()), (0, 100));
    }

    #[test]
    fn an_empty_record_has_a_remainder_of_zero() {
        assert_eq!(Coverage::of(&record(vec![])).remainder_ns(), 0);
    }

    #[test]
    fn a_transit_and_its_relay_stages_count_once() {
        let stages = vec![
            stage(CALL, 0, 100),
            stage(TRANSIT, 10, 40),
            stage(RELAY_QUEUE, 20, 25),
            stage(RELAY_FORWARD, 25, 30),
        ];
        assert_eq!(Coverage::of(&record(stages)).covered_ns, 30);
    }

    #[test]
    fn envelope_rpc_process_and_overlapping_views_of_it_do_not_cover() {
        let stages = vec![
            stage(CALL, 0, 100),
            stage(RPC, 0, 100),
            stage(exec::PROCESS, 0, 100),
            stage(exec::PROCESS_STDOUT, 0, 100),
            stage(CONNECT_DIAL, 0, 100),
            stage(StageId(250), 0, 100),
        ];
        assert_eq!(Coverage::of(&record(stages)).remainder_ns(), 100);
    }

    #[test]
    fn stages_outside_the_envelope_are_clipped() {
        let stages = vec![
            stage(CALL, 0, 100),
            stage(DISPATCH, -500, 10),
            stage(SERVER_OPEN, 90, i64::MAX),
            stage(SERVER_QUEUE, 500, 600),
        ];
        assert_eq!(Coverage::of(&record(stages)).covered_ns, 20);
    }

    #[test]
    fn the_widest_possible_figures_do_not_overflow() {
        let stages = vec![
            stage(CALL, i64::MIN, i64::MAX),
            stage(DISPATCH, i64::MIN, i64::MAX),
        ];
        let coverage = Coverage::of(&record(stages));
        assert_eq!((coverage.covered_ns, coverage.remainder_ns()), (u64::MAX, 0));
    }

    proptest! {
        /// The model marks every covered nanosecond of a small envelope in a bitmap.
        #[test]
        fn coverage_agrees_with_a_bitmap(
            start in -20i64..20,
            length in 0i64..120,
            stages in prop::collection::vec((0usize..27, -60i64..200, -20i64..120), 0..24),
        ) {
            let all: Vec<_> = stage::all().filter(|def| def.id != CALL).collect();
            let mut records = vec![stage(CALL, start, start + length)];
            let mut bitmap = vec![false; length as usize];
            for (row, from, len) in stages {
                let def = all[row % all.len()];
                records.push(stage(def.id, from, from + len));
                for at in from..from + len {
                    if def.covers && (start..start + length).contains(&at) {
                        bitmap[(at - start) as usize] = true;
                    }
                }
            }
            let coverage = Coverage::of(&record(records));
            let covered = bitmap.iter().filter(|bit| **bit).count() as u64;
            prop_assert_eq!(coverage.covered_ns, covered);
            prop_assert_eq!(coverage.remainder_ns(), length as u64 - covered);
        }

        #[test]
        fn no_figures_panic(stages in prop::collection::vec((any::<u8>(), any::<i64>(), any::<i64>()), 0..40)) {
            let stages = stages.into_iter().map(|(id, start, end)| stage(StageId(id), start, end)).collect();
            let coverage = Coverage::of(&record(stages));
            prop_assert!(coverage.covered_ns <= coverage.envelope.duration_ns());
        }
    }
}
