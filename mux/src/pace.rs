//! Limits the bytes in flight to the measured delivery rate × (the least round trip + a margin), sans-IO.
//!
//! A sealed message cannot be overtaken. So the writer keeps only as many sealed bytes undelivered as the path needs to
//! stay busy. The rest waits in the multiplexer, where a frame of another call can be sent first.
//!
//! The signal is `Ping`: bulk sends one at intervals, and its `Pong` shows that the peer has received every byte up to
//! the `Ping`. The `Pong` is authenticated like all inner frames. Each pair gives one sample of the round trip and one
//! of the rate (Cheng, Cardwell et al., "Delivery Rate Estimation", draft-cheng-iccrg-delivery-rate-estimation); a
//! windowed maximum of the rate and a windowed minimum of the round trip are the model of the path, as in BBR (Cardwell
//! et al., "BBR Congestion Control", draft-cardwell-iccrg-bbr-congestion-control). TCP below still does congestion
//! control.
//!
//! Flow: the writer calls [`sent`](Pace::sent) for every message, [`pong`](Pace::pong) for every `Pong`, and
//! [`room`](Pace::room) before it takes bulk from a stream. There is no timer: the `Pong`s drive all updates. The
//! writer cannot stall for ever: while it waits for room a `Ping` is unanswered, and a peer that never answers ends the
//! session ([`unanswered_since`](Pace::unanswered_since)).
//!
//! Invariants:
//! * the limit stays between [`limits::IN_FLIGHT_MIN`] and [`limits::IN_FLIGHT_MAX`], whatever the peer answers and
//!   when;
//! * bulk does not hold back frames of short calls: they may exceed the limit by a burst. They cause no message that
//!   contains only a `Ping`.

mod windowed_max;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use baton_proto::limits::NOISE_PLAINTEXT_MAX;

use crate::limits;
use windowed_max::WindowedMax;

/// See the [module](self).
pub(crate) struct Pace {
    /// Total bytes of the messages handed to the link.
    sent: u64,
    /// How many of them the peer has acknowledged with `Pong`s.
    delivered: u64,
    /// Where the next rate sample begins: a number of delivered bytes, when they were sent, and when their `Pong`
    /// arrived.
    base: Base,
    /// Unanswered `Ping`s, oldest first.
    probes: VecDeque<Probe>,
    /// When the latest `Pong` arrived.
    answered: Instant,
    /// `sent` at the last probe.
    probed: u64,
    /// The value of `sent` when the writer last had nothing more to send. Until those bytes are delivered, rate samples
    /// measure the application, not the path.
    dry_at: Option<u64>,
    /// The value of `sent` when bulk was last held back.
    full_at: Option<u64>,
    rate: WindowedMax,
    round_trip: Option<RoundTrip>,
    round: Round,
    /// Consecutive round trips in which bulk was held back and no queue was measured.
    calm: u32,
    /// Since when the measured queue is longer than the margin.
    queue_since: Option<Instant>,
    phase: Phase,
    limit: u64,
    /// The session is ending: the limit no longer applies.
    is_off: bool,
}

#[derive(Debug, Clone, Copy)]
struct Base {
    bytes: u64,
    sent: Instant,
    delivered: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct RoundTrip {
    least: Duration,
    /// When it was last seen.
    seen: Instant,
    /// How much round trips vary without a queue of this session: path delay varies, and other traffic queues there
    /// too.
    noise: Duration,
}

/// Round-trip samples taken while this session has no queue on the path.
#[derive(Debug, Clone, Copy, Default)]
struct DrainSamples {
    count: u32,
    least: Duration,
    total: Duration,
}

/// An unanswered `Ping`, and the state when it was sent.
#[derive(Debug, Clone, Copy)]
struct Probe {
    id: u64,
    sent: Instant,
    /// The value of `sent` that its `Pong` acknowledges.
    covers: u64,
    /// Length of its message.
    bytes: usize,
    base: Base,
    /// The application or a drain limited the sending rate, so the rate sample is a lower bound.
    is_limited: bool,
    /// Sent after the queue at the bottleneck drained: its round trip is that of the path alone.
    is_clean: bool,
    /// It is in the first message after a pause (see [`Pace::is_after_pause`]).
    is_first: bool,
}

/// Measurements of the current round trip.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    /// The round trip ends with the `Pong` of a probe that was sent when at least this many bytes were delivered.
    ends: u64,
    /// The least sample, without the transmission time of its message. A standing queue raises every sample; jitter
    /// does not.
    least: Option<Duration>,
    /// Bulk was held back in it.
    was_full: bool,
    /// At least one of its samples was limited (see [`Probe::is_limited`]).
    is_limited: bool,
}

/// How the limit is computed.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The limit grows by the delivered bytes, and so doubles each round trip, until the rate stops growing.
    Startup {
        rate: f64,
        /// Round trips in which the rate grew by less than a quarter, or a queue formed.
        flat: u32,
    },
    /// The limit is that of the model, and higher while no queue is measured.
    Steady,
    /// The least round trip is out of date, because this session's own queue hides it: the queue drains to measure it
    /// again.
    Drain(DrainSamples),
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            sent: 0,
            delivered: 0,
            base: Base {
                bytes: 0,
                sent: now,
                delivered: now,
            },
            probes: VecDeque::new(),
            answered: now,
            probed: 0,
            dry_at: None,
            full_at: None,
            rate: WindowedMax::default(),
            round_trip: None,
            round: Round::default(),
            calm: 0,
            queue_since: None,
            phase: Phase::Startup { rate: 0.0, flat: 0 },
            limit: limits::IN_FLIGHT_INITIAL,
            is_off: false,
        }
    }

    /// Bytes that bulk may add now: none, or at least a [`grain`](Self::grain).
    pub(crate) fn room(&self) -> usize {
        if self.is_off {
            return usize::MAX;
        }
        let room = self.target().saturating_sub(self.in_flight());
        if room < self.grain() as u64 {
            return 0;
        }
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    /// Bytes that streams with a small backlog may add now: up to a burst more than bulk.
    pub(crate) fn room_for_fresh(&self) -> usize {
        if self.is_off {
            return usize::MAX;
        }
        let beyond = self.target() + self.target().min(limits::FRESH_BURST as u64);
        usize::try_from(beyond.saturating_sub(self.in_flight())).unwrap_or(usize::MAX)
    }

    /// Largest frame of bulk. On a slow path it is small, so that the frame behind it does not wait for the whole
    /// margin.
    pub(crate) fn grain(&self) -> usize {
        limits::QUANTUM.min((self.spacing() / 2) as usize)
    }

    /// Bulk had to wait.
    pub(crate) fn held_back(&mut self) {
        self.full_at = Some(self.sent);
    }

    /// Whether there is no room, and no unanswered `Ping` whose `Pong` would free some. A `Ping` must be sent if a
    /// stream has data to send.
    pub(crate) fn is_stuck(&self) -> bool {
        self.room() == 0 && self.probes.is_empty() && self.sent > self.probed
    }

    /// Whether a message of so many bytes should carry a `Ping`.
    pub(crate) fn wants_probe(&self, bytes: usize) -> bool {
        !self.is_off
            && self.probes.len() < limits::PROBES_MAX
            && (self.is_stuck()
                || self.wants_lone_probe()
                || self.is_after_pause() && 4 * bytes as u64 >= self.spacing()
                || self.sent - self.probed + (bytes + self.message_max() / 2) as u64 >= self.spacing())
    }

    /// Whether the writer has sent everything that was queued, and no `Ping` is unanswered.
    fn is_after_pause(&self) -> bool {
        self.probes.is_empty() && self.dry_at == Some(self.sent)
    }

    /// Longest message with bulk, in bytes. The receiver can use a message only when all of it has arrived, so it is no
    /// longer than the distance between two probes, or half of that.
    pub(crate) fn message_max(&self) -> usize {
        match usize::try_from(self.spacing()).unwrap_or(usize::MAX) {
            spacing if spacing <= NOISE_PLAINTEXT_MAX => spacing,
            spacing if spacing <= 2 * NOISE_PLAINTEXT_MAX => spacing / 2,
            _ => NOISE_PLAINTEXT_MAX,
        }
    }

    /// Whether the next `Ping` must be alone in its message: other bytes would add their transmission time to the round
    /// trip.
    pub(crate) fn wants_lone_probe(&self) -> bool {
        matches!(self.phase, Phase::Drain(_))
            && self.in_flight() <= self.target()
            && !self.probes.iter().any(|probe| probe.is_clean)
    }

    /// Records a message handed to the link; `probe` is the id of the `Ping` in it.
    pub(crate) fn sent(&mut self, now: Instant, bytes: usize, probe: Option<u64>) {
        let is_first = self.is_after_pause();
        if is_first {
            // After a pause. Neither the idle time nor the bytes sent before it are part of the next rate sample.
            self.base = Base {
                bytes: self.sent,
                sent: now,
                delivered: now,
            };
        }
        let is_clean = self.wants_lone_probe();
        self.sent += bytes as u64;
        if let Some(id) = probe {
            self.probes.push_back(Probe {
                id,
                sent: now,
                covers: self.sent,
                bytes,
                base: self.base,
                is_limited: self.dry_at.is_some() || matches!(self.phase, Phase::Drain(_)),
                is_clean,
                is_first,
            });
            self.probed = self.sent;
        }
    }

    /// The writer has nothing more to send.
    pub(crate) fn ran_dry(&mut self) {
        self.dry_at = Some(self.sent);
    }

    /// Adds a round-trip sample from another source: the handshake.
    pub(crate) fn add_round_trip(&mut self, now: Instant, sample: Duration) {
        let is_least = self.round_trip.is_none_or(|known| sample <= known.least);
        if is_least {
            self.round_trip = Some(RoundTrip {
                least: sample,
                seen: now,
                noise: self.round_trip.map_or(Duration::ZERO, |known| known.noise),
            });
        }
    }

    /// Records the `Pong` that arrived at `now`. `false`: it does not answer the oldest `Ping`; `Pong`s arrive in the
    /// order of the `Ping`s.
    pub(crate) fn pong(&mut self, now: Instant, id: u64) -> bool {
        let Some(probe) = self.probes.front().copied().filter(|probe| probe.id == id) else {
            return false;
        };
        self.probes.pop_front();
        self.answered = now;
        let newly = probe.covers - self.delivered;
        self.delivered = probe.covers;
        if self.dry_at.is_some_and(|dry_at| dry_at < self.delivered) {
            self.dry_at = None;
        }
        self.base = Base {
            bytes: self.delivered,
            sent: probe.sent,
            delivered: now,
        };
        let round_trip = now.saturating_duration_since(probe.sent);
        // If bulk was held back after this `Ping` was sent, the round trip includes this session's queue.
        let was_full = self.full_at.is_some_and(|full_at| full_at >= probe.covers);
        self.take_round_trip(now, round_trip, &probe, was_full);
        self.take_rate(now, &probe);
        if matches!(self.phase, Phase::Startup { .. }) && was_full {
            self.limit += newly;
        }
        // Without the transmission time of the message at the bottleneck.
        let own = probe.bytes as f64 / self.rate.value().unwrap_or(f64::INFINITY);
        let own = Duration::try_from_secs_f64(own).unwrap_or(Duration::MAX);
        let wait = round_trip.saturating_sub(own);
        let round = &mut self.round;
        round.least = Some(round.least.map_or(wait, |least| least.min(wait)));
        round.was_full |= was_full;
        round.is_limited |= probe.is_limited;
        if probe.base.bytes >= round.ends {
            let ended = std::mem::take(round);
            self.round.ends = self.delivered;
            self.end_round(now, ended);
        }
        if let Some(model) = self.model(self.margin())
            && matches!(self.phase, Phase::Steady)
            && self.limit < model
        {
            // Gradually: the whole difference at once would form a queue.
            self.limit = model.min(self.limit + newly / 2);
        }
        self.limit = self.limit.clamp(limits::IN_FLIGHT_MIN, limits::IN_FLIGHT_MAX);
        true
    }

    /// Since when the peer has owed a `Pong`: the time of the oldest unanswered `Ping`, or of the latest `Pong` if that
    /// is later.
    pub(crate) fn unanswered_since(&self) -> Option<Instant> {
        Some(self.probes.front()?.sent.max(self.answered))
    }

    /// Removes the limit.
    pub(crate) fn switch_off(&mut self) {
        self.is_off = true;
    }

    fn in_flight(&self) -> u64 {
        self.sent - self.delivered
    }

    /// Bytes between two probes.
    fn spacing(&self) -> u64 {
        let (target, few) = (self.target(), limits::PROBES_IN_FLIGHT_FEW);
        let most = match self.phase {
            // A session with only short calls stays in this phase, and few probes are enough for it.
            Phase::Startup { .. } => target / few,
            Phase::Steady | Phase::Drain(_) => target / limits::PROBES_IN_FLIGHT,
        };
        let rate = self.rate.value().unwrap_or(0.0);
        let of_interval = (rate * limits::PROBE_INTERVAL.as_secs_f64()) as u64;
        most.max(of_interval.min(target / few))
            .max(limits::PROBE_SPACING_MIN)
    }

    /// Bytes that may be in flight now.
    fn target(&self) -> u64 {
        match (self.phase, self.model(Duration::ZERO)) {
            (Phase::Drain(_), Some(product)) => (product / 4 * 3).clamp(limits::IN_FLIGHT_MIN, self.limit),
            _ => self.limit,
        }
    }

    /// Rate × (least round trip + margin), when both are known; capped at twice the greatest limit.
    fn model(&self, margin: Duration) -> Option<u64> {
        let rate = self.rate.value()?;
        let time = self.round_trip?.least + margin;
        Some(((rate * time.as_secs_f64()) as u64).min(2 * limits::IN_FLIGHT_MAX))
    }

    fn take_round_trip(&mut self, now: Instant, sample: Duration, probe: &Probe, was_full: bool) {
        let known = self.round_trip;
        let is_old =
            known.is_some_and(|known| now.saturating_duration_since(known.seen) > limits::ROUND_TRIP_WINDOW);
        if is_old && (probe.is_first || !was_full) && !matches!(self.phase, Phase::Drain(_)) {
            // Start again with this sample, which is free of this session's queue.
            self.round_trip = None;
        } else if is_old && matches!(self.phase, Phase::Steady) {
            self.phase = Phase::Drain(DrainSamples::default());
        }
        self.add_round_trip(now, sample);
        if let Phase::Drain(samples) = &mut self.phase
            && probe.is_clean
        {
            samples.least = if samples.count == 0 {
                sample
            } else {
                samples.least.min(sample)
            };
            samples.total += sample;
            samples.count += 1;
            let samples = *samples;
            if samples.count < limits::DRAIN_ROUND_TRIPS {
                return;
            }
            self.limit = self.target();
            self.phase = Phase::Steady;
            self.round_trip = Some(RoundTrip {
                least: samples.least,
                seen: now,
                noise: 2 * (samples.total / samples.count - samples.least),
            });
        }
    }

    fn take_rate(&mut self, now: Instant, probe: &Probe) {
        let bytes = probe.covers - probe.base.bytes;
        // The longer of the sending and the delivery interval: delayed `Pong`s arrive in bursts, which would
        // overestimate the rate.
        let sending = probe.sent.saturating_duration_since(probe.base.sent);
        let delivering = now.saturating_duration_since(probe.base.delivered);
        let took = sending.max(delivering);
        if took.is_zero() {
            return;
        }
        let least = self.round_trip.map_or(took, |known| known.least);
        let rate = bytes as f64 / took.as_secs_f64();
        if !probe.is_limited || self.rate.value().is_none_or(|known| rate >= known) {
            self.rate.add(now, rate, rate_window(least));
        }
    }

    /// How much more than the path's capacity may be in flight, as a time at the measured rate.
    fn margin(&self) -> Duration {
        let known = self.round_trip;
        let of = |known: RoundTrip| known.least / limits::IN_FLIGHT_MARGIN_PART + known.noise;
        limits::IN_FLIGHT_MARGIN + known.map_or(Duration::ZERO, of)
    }

    /// Ends a round trip: adjusts the limit and the phase.
    fn end_round(&mut self, now: Instant, ended: Round) {
        let margin = self.margin();
        let (Some(known), Some(least), Some(rate), Some(model)) = (
            self.round_trip,
            ended.least,
            self.rate.value(),
            self.model(margin),
        ) else {
            return;
        };
        let queue = least.saturating_sub(known.least);
        let is_calm =
            ended.was_full && !ended.is_limited && queue <= known.noise + (margin - known.noise) / 5;
        self.calm = if is_calm { self.calm + 1 } else { 0 };
        match &mut self.phase {
            Phase::Startup { rate: before, flat } => {
                if queue > 2 * margin || rate < *before * 1.25 && !ended.is_limited {
                    *flat += 1;
                } else if rate >= *before * 1.25 {
                    *flat = 0;
                }
                *before = before.max(rate);
                if *flat >= limits::STARTUP_FLAT_ROUND_TRIPS {
                    self.phase = Phase::Steady;
                    self.limit = self.limit.min(model);
                }
            }
            // The path may have more capacity than was ever used: raise the limit by a sixteenth, then an eighth, then
            // a quarter each time.
            Phase::Steady if is_calm => match self.calm.checked_sub(limits::CALM_ROUND_TRIPS) {
                None => {}
                Some(grown) => {
                    let more = self.limit + ((self.limit / 16) << grown.min(2));
                    self.limit = more.min(model + model / 4).max(self.limit.min(model));
                }
            },
            Phase::Steady if queue > margin => {
                self.limit = self.limit.min(model);
                let since = *self.queue_since.get_or_insert(now);
                // The rate filter has already dropped samples of a faster path, so the path's own round trip is longer
                // now.
                if now.saturating_duration_since(since) > 2 * rate_window(known.least) {
                    self.phase = Phase::Drain(DrainSamples::default());
                    self.queue_since = None;
                }
                return;
            }
            Phase::Steady => self.limit = self.limit.min(model.max(self.limit - self.limit / 8)),
            Phase::Drain(_) => {}
        }
        self.queue_since = None;
    }
}

/// How long a rate sample stays in the filter.
fn rate_window(round_trip: Duration) -> Duration {
    limits::RATE_WINDOW.max(limits::RATE_WINDOW_ROUND_TRIPS * round_trip)
}

#[cfg(test)]
mod tests;
