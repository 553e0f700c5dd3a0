//! How much may be in flight: the measured rate of delivery × (the least round trip + a margin), sans-IO.
//!
//! What is sealed can no longer be overtaken. So the writer keeps no more sealed and not yet with the peer than the
//! path needs to stay busy; the rest waits in the multiplexer, where the next frame of another call goes first.
//!
//! The signal is `Ping`: one that bulk leaves behind every now and then covers everything before it, and its `Pong`,
//! which is authenticated like all inner frames, says that the peer has it. From the two follow a sample of the round
//! trip and one of the rate (Cheng, Cardwell et al., "Delivery Rate Estimation",
//! draft-cheng-iccrg-delivery-rate-estimation); a filter of the greatest rate and one of the least round trip make the
//! model of the path, as in BBR (Cardwell et al., "BBR Congestion Control",
//! draft-cardwell-iccrg-bbr-congestion-control). TCP below stays in charge of congestion.
//!
//! Flow: [`sent`](Pace::sent) with every message, [`pong`](Pace::pong) with every answer, [`room`](Pace::room) before
//! bulk is taken. No timer: answers are its clock. It never stands still, because a writer that waits for room has a
//! `Ping` under way, and a peer that does not answer ends the session ([`unanswered_since`](Pace::unanswered_since)).
//!
//! Invariants:
//! * the limit stays between [`limits::IN_FLIGHT_MIN`] and [`limits::IN_FLIGHT_MAX`], whatever the peer answers and
//!   when;
//! * what short calls send is never held back, and asks for no message of its own.

mod greatest;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use baton_proto::limits::NOISE_PLAINTEXT_MAX;

use crate::limits;
use greatest::Greatest;

/// See the [module](self).
pub(crate) struct Pace {
    /// Bytes of messages handed to the link, ever.
    sent: u64,
    /// As many of them are with the peer, as far as it has said.
    delivered: u64,
    /// The point that the next sample of the rate begins at: bytes, when they were sent, and when they were known to be
    /// delivered.
    base: Base,
    /// Unanswered, oldest first.
    probes: VecDeque<Probe>,
    /// When the latest answer arrived.
    answered: Instant,
    /// `sent` at the last probe.
    probed: u64,
    /// The writer had nothing to send when it had sent this much: until that is delivered, samples tell of the
    /// application.
    dry_at: Option<u64>,
    /// Somebody was held back when this much was sent.
    full_at: Option<u64>,
    rate: Greatest,
    round_trip: Option<RoundTrip>,
    round: Round,
    /// Round trips in a row in which somebody waited and no queue showed.
    calm: u32,
    /// Since when more of a queue stands than the model explains.
    long_since: Option<Instant>,
    phase: Phase,
    limit: u64,
    /// Nothing is held back any more: the session is ending.
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
    /// How much longer one takes without a queue of ours: delays vary on some paths, and others queue there too.
    noise: Duration,
}

/// Round trips that are looked at while nothing of ours queues.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    count: u32,
    least: Duration,
    total: Duration,
}

/// A `Ping` under way, and what was known when it left.
#[derive(Debug, Clone, Copy)]
struct Probe {
    id: u64,
    sent: Instant,
    /// Its answer says that this much is delivered.
    covers: u64,
    /// Of its message.
    bytes: usize,
    base: Base,
    /// The application, or we ourselves, sent less than the path takes.
    is_limited: bool,
    /// Sent with the queue before the narrow place drained: its round trip is the path's.
    is_clean: bool,
    /// Nothing of ours was before it.
    is_first: bool,
}

/// What was seen in the round trip under way.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    /// It is over with the answer to a probe that left when this much was delivered.
    ends: u64,
    /// The least sample in it: a queue that stands shows in all of them, jitter does not.
    least: Option<Duration>,
    /// Somebody was held back in it.
    was_full: bool,
    /// Some of it was sent while there was little to send.
    is_limited: bool,
}

/// What the limit follows.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The limit grows by what is delivered, and so doubles each round trip, until the rate stops growing with it.
    Startup {
        rate: f64,
        /// Round trips in which the rate grew by less than a quarter, or a queue stood.
        flat: u32,
    },
    /// The limit is that of the model, and more while no queue shows.
    Steady,
    /// The least round trip was not seen for long, because of the queue that we keep: we let it drain and look.
    Drain(Look),
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
            rate: Greatest::default(),
            round_trip: None,
            round: Round::default(),
            calm: 0,
            long_since: None,
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

    /// Bytes that streams with a small backlog may add now; they are not held back for bulk.
    pub(crate) fn room_for_fresh(&self) -> usize {
        if self.is_off {
            return usize::MAX;
        }
        let beyond = self.target() + self.target().min(limits::FRESH_BURST as u64);
        usize::try_from(beyond.saturating_sub(self.in_flight())).unwrap_or(usize::MAX)
    }

    /// Largest frame of bulk: what is behind one on a slow path does not wait for all of the margin.
    pub(crate) fn grain(&self) -> usize {
        limits::QUANTUM.min((self.spacing() / 2) as usize)
    }

    /// Bulk had to wait.
    pub(crate) fn held_back(&mut self) {
        self.full_at = Some(self.sent);
    }

    /// Whether there is no room and nothing under way that would bring it: if somebody wants it, a `Ping` must leave.
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

    /// Whether the writer had sent all there was, and was asked about nothing since.
    fn is_after_pause(&self) -> bool {
        self.probes.is_empty() && self.dry_at == Some(self.sent)
    }

    /// Bytes of a message with bulk, at most. It arrives only when all of it has, so it is no longer than what one
    /// `Ping` answers for, or half of that.
    pub(crate) fn message_max(&self) -> usize {
        match usize::try_from(self.spacing()).unwrap_or(usize::MAX) {
            spacing if spacing <= NOISE_PLAINTEXT_MAX => spacing,
            spacing if spacing <= 2 * NOISE_PLAINTEXT_MAX => spacing / 2,
            _ => NOISE_PLAINTEXT_MAX,
        }
    }

    /// Whether that `Ping` should have its message for itself: bytes beside it would take their own time on the way.
    pub(crate) fn wants_lone_probe(&self) -> bool {
        matches!(self.phase, Phase::Drain(_))
            && self.in_flight() <= self.target()
            && !self.probes.iter().any(|probe| probe.is_clean)
    }

    /// A message of so many bytes is with the link; `probe` is the id of the `Ping` in it.
    pub(crate) fn sent(&mut self, now: Instant, bytes: usize, probe: Option<u64>) {
        let is_first = self.is_after_pause();
        if is_first {
            // After a pause: the time in which nobody sent is no part of a sample, and what was sent before it neither.
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

    /// A round trip that was measured otherwise.
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

    /// The answer to a `Ping` arrived at `now`. `false`: not the one that is due; answers come in the order of the
    /// questions.
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
        // Somebody was held back while this was under way: then a queue of ours is in its round trip.
        let was_full = self.full_at.is_some_and(|full_at| full_at >= probe.covers);
        self.take_round_trip(now, round_trip, &probe, was_full);
        self.take_rate(now, &probe);
        if matches!(self.phase, Phase::Startup { .. }) && was_full {
            self.limit += newly;
        }
        // Without the time that the message itself took at the narrow place.
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
            self.turn(now, ended);
        }
        if let Some(model) = self.model(self.margin())
            && matches!(self.phase, Phase::Steady)
            && self.limit < model
        {
            // By and by: all at once would be a queue itself.
            self.limit = model.min(self.limit + newly / 2);
        }
        self.limit = self.limit.clamp(limits::IN_FLIGHT_MIN, limits::IN_FLIGHT_MAX);
        true
    }

    /// Since when the peer has owed an answer: since the oldest unanswered `Ping`, or the latest answer if that is
    /// later.
    pub(crate) fn unanswered_since(&self) -> Option<Instant> {
        Some(self.probes.front()?.sent.max(self.answered))
    }

    /// Nothing is held back from now on.
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
            // Short calls never leave it, and need not be asked about often.
            Phase::Startup { .. } => target / few,
            Phase::Steady | Phase::Drain(_) => target / limits::PROBES_IN_FLIGHT,
        };
        let rate = self.rate.value().unwrap_or(0.0);
        let of_interval = (rate * limits::PROBE_INTERVAL.as_secs_f64()) as u64;
        most.max(of_interval.min(target / few))
            .max(limits::PROBE_SPACING_MIN)
    }

    /// What may be in flight now.
    fn target(&self) -> u64 {
        match (self.phase, self.model(Duration::ZERO)) {
            (Phase::Drain(_), Some(product)) => (product / 4 * 3).clamp(limits::IN_FLIGHT_MIN, self.limit),
            _ => self.limit,
        }
    }

    /// Rate × (least round trip + margin), when both are known; what is beyond any limit is cut.
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
            // The path as it is now, longer than it was or not.
            self.round_trip = None;
        } else if is_old && matches!(self.phase, Phase::Steady) {
            self.phase = Phase::Drain(Look::default());
        }
        self.add_round_trip(now, sample);
        if let Phase::Drain(look) = &mut self.phase
            && probe.is_clean
        {
            look.least = if look.count == 0 {
                sample
            } else {
                look.least.min(sample)
            };
            look.total += sample;
            look.count += 1;
            let look = *look;
            if look.count < limits::DRAIN_ROUND_TRIPS {
                return;
            }
            self.limit = self.target();
            self.phase = Phase::Steady;
            self.round_trip = Some(RoundTrip {
                least: look.least,
                seen: now,
                noise: 2 * (look.total / look.count - look.least),
            });
        }
    }

    fn take_rate(&mut self, now: Instant, probe: &Probe) {
        let bytes = probe.covers - probe.base.bytes;
        // The slower of sending and delivering: answers that were held up come in a bunch.
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

    /// What more than the path holds may be in flight, as time.
    fn margin(&self) -> Duration {
        let known = self.round_trip;
        let of = |known: RoundTrip| known.least / limits::IN_FLIGHT_MARGIN_PART + known.noise;
        limits::IN_FLIGHT_MARGIN + known.map_or(Duration::ZERO, of)
    }

    /// A round trip is over.
    fn turn(&mut self, now: Instant, ended: Round) {
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
            // The path may take more than it was ever given: a sixteenth, then an eighth, then a quarter each time.
            Phase::Steady if is_calm => match self.calm.checked_sub(limits::CALM_ROUND_TRIPS) {
                None => {}
                Some(grown) => {
                    let more = self.limit + ((self.limit / 16) << grown.min(2));
                    self.limit = more.min(model + model / 4).max(self.limit.min(model));
                }
            },
            Phase::Steady if queue > margin => {
                self.limit = self.limit.min(model);
                let since = *self.long_since.get_or_insert(now);
                // A path that became slower is believed to be by now: this one is longer.
                if now.saturating_duration_since(since) > 2 * rate_window(known.least) {
                    self.phase = Phase::Drain(Look::default());
                    self.long_since = None;
                }
                return;
            }
            Phase::Steady => self.limit = self.limit.min(model.max(self.limit - self.limit / 8)),
            Phase::Drain(_) => {}
        }
        self.long_since = None;
    }
}

/// How long a sample of the rate counts.
fn rate_window(round_trip: Duration) -> Duration {
    limits::RATE_WINDOW.max(limits::RATE_WINDOW_ROUND_TRIPS * round_trip)
}

#[cfg(test)]
mod tests;
