//! Moves the server's stages onto the client's clock.
//!
//! All values from the server or the relay are untrusted: counts are capped by the wire limit; durations and positions
//! are clamped to the interval between the client's own stamps.

use std::ops::Range;

use baton_mux::RelayStamp;
use baton_mux::timings::{MalformedTimings, Timings};
use baton_trace::clock::ClockOffset;
use baton_trace::record::{Anchor, StageRecord};
use baton_trace::stage::transport::{
    RELAY_FORWARD, RELAY_QUEUE, TERMINAL_RELAY_FORWARD, TERMINAL_RELAY_QUEUE, TERMINAL_TRANSIT, TRANSIT,
};
use baton_trace::stage::{Component, StageId};

/// The interval of a call in which the client only waits: from its last stamp on the request to its first stamp on the
/// last data frame of the response.
pub(super) struct WaitInterval {
    pub(super) sent_ns: i64,
    pub(super) back_ns: i64,
    /// A data frame arrived, so there is a terminal transit.
    pub(super) answered: bool,
    pub(super) relay_back: RelayStamp,
}

impl WaitInterval {
    /// Places the server's stages between the two stamps. The sum of the two transits is exact. Their division is an
    /// estimate: the middle of the interval that the clock offset, its error and the relay's stamps allow. Returns when
    /// the server's stages began and ended on the server's own clock.
    ///
    /// On an error `stages` holds additional stages that are meaningless; the caller removes them.
    pub(super) fn place_server_stages(
        &self,
        anchor: &Anchor,
        timings: Timings<'_>,
        clock: Option<ClockOffset>,
        stages: &mut Vec<StageRecord>,
    ) -> Result<Range<u64>, MalformedTimings> {
        let ns = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let received_unix_ns = timings.received_unix_ns;
        let first = stages.len();
        let mut relay_out = RelayStamp::default();
        let mut server_end = 0i64;
        for row in timings {
            let row = row?;
            let end_ns = ns(row.start_ns).saturating_add(ns(row.duration_ns));
            match row.stage {
                RELAY_QUEUE => relay_out.queue_ns = row.duration_ns,
                RELAY_FORWARD => relay_out.forward_ns = row.duration_ns,
                stage => {
                    server_end = server_end.max(end_ns);
                    if !is_accepted_from_server(stage) {
                        continue;
                    }
                    // Relative to the arrival of `Head`. Its position is computed after the loop, because it depends on
                    // all stages.
                    stages.push(StageRecord {
                        stage,
                        attempt: row.attempt,
                        start_ns: ns(row.start_ns),
                        end_ns,
                        estimated: false,
                    });
                }
            }
        }
        let slack = (self.back_ns - self.sent_ns).saturating_sub(server_end).max(0);
        let least = self.sent_ns + relay_total(relay_out).min(slack);
        let most = (self.sent_ns + slack - relay_total(self.relay_back).min(slack)).max(least);
        // Without a terminal transit, any time that the estimate takes from the transit would become remainder. If both
        // ends may have one clock, an offset of zero is more exact than the estimate.
        let one_clock = ClockOffset {
            offset_ns: 0,
            error_ns: 0,
        };
        let clock = clock.map(|clock| match !self.answered && clock.may_be_none() {
            true => one_clock,
            false => clock,
        });
        let base = match clock {
            Some(clock) => {
                let received =
                    i128::from(received_unix_ns) - i128::from(anchor.unix_ns) - i128::from(clock.offset_ns);
                let at = |error: i128| (received + error).clamp(least.into(), most.into()) as i64;
                let error = i128::from(clock.error_ns);
                at(-error).midpoint(at(error))
            }
            None => least.midpoint(most),
        };
        let clamp = |at: i64| at.clamp(self.sent_ns, self.back_ns);
        for stage in &mut stages[first..] {
            stage.start_ns = clamp(base.saturating_add(stage.start_ns));
            stage.end_ns = clamp(base.saturating_add(stage.end_ns));
        }
        let ids = [TRANSIT, RELAY_QUEUE, RELAY_FORWARD];
        push_transit(stages, ids, self.sent_ns, clamp(base), relay_out);
        if self.answered {
            let start = clamp(base.saturating_add(server_end));
            let ids = [TERMINAL_TRANSIT, TERMINAL_RELAY_QUEUE, TERMINAL_RELAY_FORWARD];
            push_transit(stages, ids, start, self.back_ns, self.relay_back);
        }
        let end_unix_ns = received_unix_ns.saturating_add(server_end.unsigned_abs());
        Ok(received_unix_ns..end_unix_ns)
    }
}

/// Whether a client accepts a stage from a server: only stages that a server measures. A stage without a row in the
/// stage table was registered by the server alone, or belongs to a later version: it is drawn as unknown and never
/// covers. No stage has the id 0 or 255.
fn is_accepted_from_server(stage: StageId) -> bool {
    match stage.def() {
        Some(def) => def.exporter == Component::Server && !stage.is_background(),
        None => !matches!(stage.0, 0 | u8::MAX),
    }
}

fn relay_total(stamp: RelayStamp) -> i64 {
    i64::try_from(stamp.queue_ns.saturating_add(stamp.forward_ns)).unwrap_or(i64::MAX)
}

/// Adds a transit and its two relay stages, clamped to it and placed in its middle. A relay stage of length zero is
/// omitted.
fn push_transit(
    stages: &mut Vec<StageRecord>,
    [transit, queue, forward]: [StageId; 3],
    start_ns: i64,
    end_ns: i64,
    relay: RelayStamp,
) {
    let end_ns = end_ns.max(start_ns);
    stages.push(StageRecord {
        stage: transit,
        attempt: 0,
        start_ns,
        end_ns,
        estimated: false,
    });
    let room = end_ns - start_ns;
    let clamped = |ns: u64, room: i64| i64::try_from(ns).unwrap_or(i64::MAX).min(room);
    let forward_ns = clamped(relay.forward_ns, room);
    let queue_ns = clamped(relay.queue_ns, room - forward_ns);
    let start = start_ns + (room - forward_ns - queue_ns) / 2;
    let middle = start + forward_ns;
    let estimated = |stage, start_ns, end_ns| StageRecord {
        stage,
        attempt: 0,
        start_ns,
        end_ns,
        estimated: true,
    };
    let relay = [
        estimated(forward, start, middle),
        estimated(queue, middle, middle + queue_ns),
    ];
    stages.extend(relay.into_iter().filter(|stage| stage.duration_ns() > 0));
}
