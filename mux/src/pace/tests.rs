//! Two multiplexers connected by a simulated path with delay and limited rate, under a virtual clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use baton_proto::channel::Head;
use baton_proto::limits::NOISE_PLAINTEXT_MAX;
use baton_trace::record::Anchor;
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::Pace;
use crate::limits;
use crate::{Mux, Received, RelayStamp, Role, StreamId};

const MS: Duration = Duration::from_millis(1);

/// The link of the benchmark: 200 Mbit/s, 20 ms in each direction.
const LINK: Path = Path {
    rate: 25e6,
    one_way: Duration::from_millis(20),
    jitter: Duration::ZERO,
};

#[derive(Debug, Clone, Copy)]
struct Path {
    /// Bytes a second, in each direction.
    rate: f64,
    one_way: Duration,
    /// Greatest additional delay of a message.
    jitter: Duration,
}

/// One direction of the path: a bottleneck with an unbounded queue, then a delay.
struct Direction {
    free: Instant,
    arriving: VecDeque<(Instant, Bytes)>,
    /// State of the jitter: a deterministic pseudorandom sequence.
    count: u32,
}

impl Direction {
    fn push(&mut self, path: Path, now: Instant, message: Bytes) {
        self.free = self.free.max(now) + Duration::from_secs_f64(message.len() as f64 / path.rate);
        self.count = self.count.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let at = self.free + path.one_way + path.jitter * (self.count >> 24) / 256;
        // A path whose delay decreases does not reorder messages.
        let at = self.arriving.back().map_or(at, |(last, _)| at.max(*last));
        self.arriving.push_back((at, message));
    }
}

/// An exec-server that streams to a client that reads everything, and the measurements.
struct TestNetwork {
    client: Mux,
    server: Mux,
    path: Path,
    up: Direction,
    down: Direction,
    start: Instant,
    now: Instant,
    bulk: StreamId,
    bulk_received: usize,
    /// Bytes that the producer writes in a second; `None`: as many as there is room for.
    bulk_rate: Option<f64>,
    bulk_sent: usize,
    other: StreamId,
    /// When the message in flight on the other stream was queued.
    queued_at: Option<Instant>,
    latencies: Vec<Duration>,
    pings: usize,
    messages: usize,
}

impl TestNetwork {
    fn new(path: Path) -> Self {
        let start = Instant::now();
        let direction = || Direction {
            free: start,
            arriving: VecDeque::new(),
            count: 7,
        };
        // The server sends its last handshake message now, and the client answers it at once.
        let server = Mux::new(Role::Server, start);
        let start = start + path.one_way;
        let mut client = Mux::new(Role::Client, start);
        client.set_peer_window(limits::RECEIVE_WINDOW);
        let head = Head {
            window: limits::RECEIVE_WINDOW,
            ..Head::default()
        };
        let bulk = client.open(start, &head, None).unwrap();
        let other = client.open(start, &head, None).unwrap();
        client.handle_timeout(start).unwrap();
        let mut network = Self {
            client,
            server,
            path,
            up: direction(),
            down: direction(),
            start,
            now: start,
            bulk,
            bulk_received: 0,
            bulk_rate: None,
            bulk_sent: 0,
            other,
            queued_at: None,
            latencies: Vec::new(),
            pings: 0,
            messages: 0,
        };
        network.run(4 * path.one_way + MS, false);
        for id in [bulk, other] {
            network.server.take_head(id).unwrap();
            network.server.send_head(id, &Head::default()).unwrap();
        }
        network.run(4 * path.one_way + MS, false);
        network
    }

    fn anchor(&self) -> Anchor {
        Anchor {
            instant: self.now,
            unix_ns: (self.now - self.start).as_nanos() as u64,
        }
    }

    /// Simulates a time span, with or without bulk.
    fn run(&mut self, time: Duration, has_bulk: bool) {
        let end = self.now + time;
        let began = self.now;
        let sent_before = self.bulk_sent;
        loop {
            if has_bulk {
                let due = |network: &Self| match network.bulk_rate {
                    None => true,
                    Some(rate) => {
                        let made = (network.now - began).as_secs_f64() * rate;
                        ((network.bulk_sent - sent_before) as f64) < made
                    }
                };
                while due(self) && self.server.has_room(self.bulk).unwrap() {
                    let chunk = Bytes::from_static(&[0; 65_536]);
                    self.bulk_sent += chunk.len();
                    self.server.send_data(self.now, self.bulk, chunk, false).unwrap();
                }
            }
            self.transmit();
            let next = [&self.up, &self.down]
                .into_iter()
                .filter_map(|direction| Some(direction.arriving.front()?.0))
                .min();
            let step = self.now + MS / 4;
            let next = next.map_or(step, |next| next.min(step));
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            self.arrive();
        }
    }

    fn transmit(&mut self) {
        let anchor = self.anchor();
        for (mux, direction) in [
            (&mut self.client, &mut self.up),
            (&mut self.server, &mut self.down),
        ] {
            while mux.wants_transmit() {
                let mut out = BytesMut::new();
                if !mux.transmit(anchor, &mut out) {
                    break;
                }
                assert!(out.len() <= NOISE_PLAINTEXT_MAX);
                mux.sealed(self.now);
                self.messages += 1;
                self.pings += frames_of(&out, 6);
                direction.push(self.path, self.now, out.into());
            }
        }
    }

    fn arrive(&mut self) {
        let anchor = self.anchor();
        for (mux, direction) in [
            (&mut self.server, &mut self.up),
            (&mut self.client, &mut self.down),
        ] {
            while direction.arriving.front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, message) = direction.arriving.pop_front().unwrap();
                mux.handle(anchor, self.now, RelayStamp::default(), message)
                    .unwrap();
            }
            while mux.poll_event().is_some() {}
        }
        while let Received::Data(data) = self.client.receive(self.bulk) {
            self.bulk_received += data.len();
        }
        while let Received::Data(_) = self.client.receive(self.other) {
            self.latencies.push(self.now - self.queued_at.take().unwrap());
        }
    }

    /// Fraction of the path's rate that bulk reaches in a time span.
    fn throughput(&mut self, time: Duration) -> f64 {
        let before = self.bulk_received;
        self.run(time, true);
        (self.bulk_received - before) as f64 / time.as_secs_f64() / self.path.rate
    }

    /// The longest latency of small messages on the other stream beside bulk, in a number of rounds.
    fn longest_latency(&mut self, rounds: usize) -> Duration {
        self.latencies.clear();
        for round in 0..rounds {
            self.queued_at = Some(self.now);
            self.server
                .send_data(self.now, self.other, Bytes::from_static(b"exited"), false)
                .unwrap();
            let limit = self.now + Duration::from_secs(20);
            while self.queued_at.is_some() {
                assert!(self.now < limit, "message {round} never arrived");
                self.run(MS, true);
            }
            self.run((7 + round as u32 % 13) * MS, true);
        }
        self.latencies.iter().copied().max().unwrap()
    }
}

fn frames_of(mut message: &[u8], kind: u8) -> usize {
    let mut found = 0;
    while let Some(header) = message.get(..8) {
        found += usize::from(header[0] == kind);
        message = &message[8 + usize::from(u16::from_be_bytes([header[2], header[3]]))..];
    }
    found
}

#[test]
fn a_long_path_is_filled_and_a_frame_queued_after_bulk_overtakes_it() {
    let mut network = TestNetwork::new(LINK);
    let first = network.throughput(4 * MS * 1000);
    assert!(first >= 0.93, "{first} of the link in the first seconds");
    let longest_latency = network.longest_latency(200);
    assert!(longest_latency <= 32 * MS, "{longest_latency:?}");
    // Longer than ROUND_TRIP_WINDOW, so that the queue drains more than once.
    let then = network.throughput(25_000 * MS);
    assert!(then >= 0.98, "{then} of the link afterwards");
    let longest_latency = network.longest_latency(200);
    assert!(longest_latency <= 32 * MS, "{longest_latency:?} after a while");
}

#[test]
fn without_the_pace_a_frame_waits_for_a_whole_window() {
    let mut network = TestNetwork::new(LINK);
    network.server.end_session();
    network.run(1000 * MS, true);
    let longest_latency = network.longest_latency(20);
    assert!(
        longest_latency >= 45 * MS,
        "{longest_latency:?}: the pace is not what makes the difference"
    );
}

#[test]
fn the_limit_follows_a_path_that_becomes_slower_faster_longer_or_shorter() {
    let mut network = TestNetwork::new(LINK);
    network.run(3_000 * MS, true);
    for (rate, one_way) in [
        (5e6, 20),
        (25e6, 20),
        (10e6, 50),
        (25e6, 5),
        (1e6, 20),
        (12e6, 40),
        (20e6, 20),
    ] {
        network.path = Path {
            rate,
            one_way: one_way * MS,
            ..LINK
        };
        // Until the measurements of the old path expire, and some time to recover.
        network.run(8_000 * MS, true);
        let share = network.throughput(5_000 * MS);
        let longest_latency = network.longest_latency(100);
        assert!(share >= 0.95, "{share} of {:?}", network.path);
        // Half as much again, while the limit grows to measure a faster path.
        let most = (one_way * MS + 12 * MS + Duration::from_secs_f64(8_000.0 / rate)) * 3 / 2;
        assert!(
            longest_latency <= most,
            "{longest_latency:?} on {:?}",
            network.path
        );
    }
}

#[test]
fn a_keystroke_waits_less_than_a_second_for_bulk_on_a_slow_path() {
    let mut network = TestNetwork::new(Path {
        rate: 125e3,
        one_way: 15 * MS,
        ..LINK
    });
    network.run(20_000 * MS, true);
    let share = network.throughput(10_000 * MS);
    assert!(share >= 0.95, "{share}");
    let longest_latency = network.longest_latency(50);
    assert!(longest_latency <= 15 * MS + 200 * MS, "{longest_latency:?}");
}

#[test]
fn jitter_does_not_starve_bulk() {
    for (jitter, at_least) in [(3, 0.9), (10, 0.7), (30, 0.15)] {
        let mut network = TestNetwork::new(Path {
            jitter: jitter * MS,
            ..LINK
        });
        network.run(5_000 * MS, true);
        let share = network.throughput(20_000 * MS);
        assert!(share >= at_least, "{share}, {jitter} ms");
    }
}

#[test]
fn a_peer_that_answers_nothing_is_sent_no_more_than_that_and_asked_no_more_than_it_must_answer() {
    let mut network = TestNetwork::new(LINK);
    let before = network.pings;
    network.client.end_session();
    // Every message arrives, but no `Pong` returns.
    let mut sent = 0;
    while network.server.has_room(network.bulk).unwrap() || network.server.wants_transmit() {
        if network.server.has_room(network.bulk).unwrap() {
            let chunk = Bytes::from_static(&[0; 65_536]);
            network
                .server
                .send_data(network.now, network.bulk, chunk, false)
                .unwrap();
        }
        let mut out = BytesMut::new();
        if network.server.transmit(network.anchor(), &mut out) {
            network.server.sealed(network.now);
            sent += out.len();
            network.pings += frames_of(&out, 6);
        }
        assert!(sent < 10 << 20, "bulk is not held back");
    }
    assert!(sent <= limits::IN_FLIGHT_INITIAL as usize, "{sent}");
    assert!((1..=limits::PROBES_MAX).contains(&(network.pings - before)));
    // Frames of other calls are still sent, and so is the Reset of this one.
    let other = network.other;
    network
        .server
        .send_data(network.now, other, Bytes::from_static(b"exited"), false)
        .unwrap();
    network.server.reset(network.bulk, 1);
    let mut out = BytesMut::new();
    assert!(network.server.wants_transmit() && network.server.transmit(network.anchor(), &mut out));
    assert_eq!(frames_of(&out, 4), 1, "the reset");
    assert_eq!(frames_of(&out, 2), 1, "the other call");
}

#[test]
fn an_ending_session_sends_its_queue_without_waiting_for_pongs() {
    let mut network = TestNetwork::new(LINK);
    let chunk = Bytes::from_static(&[0; 262_144]);
    network
        .server
        .send_data(network.now, network.bulk, chunk, false)
        .unwrap();
    network.server.end_session();
    let mut sent = 0;
    let mut out = BytesMut::new();
    while network.server.wants_transmit() && network.server.transmit(network.anchor(), &mut out) {
        sent += out.len();
        network.server.sealed(network.now);
    }
    assert!(sent >= 262_144, "{sent}");
}

#[test]
fn answers_out_of_turn_are_refused_and_early_ones_gain_nothing() {
    let now = Instant::now();
    let mut pace = Pace::new(now);
    assert!(!pace.pong(now, 1));
    for id in 1..=3 {
        pace.sent(now, 10_000, Some(id));
    }
    assert!(!pace.pong(now, 2) && !pace.pong(now, 4));
    // Pongs without delay, which only a peer that guesses ids can send: an interval of zero gives no rate sample, and
    // the limit stays in its bounds.
    for id in 1..=3 {
        assert!(pace.pong(now, id));
        assert!(!pace.pong(now, id));
    }
    for id in 4..10_000 {
        pace.held_back();
        pace.sent(now, 60_000, Some(id));
        pace.held_back();
        assert!(pace.pong(now + Duration::from_nanos(id), id));
        assert!(pace.target() <= limits::IN_FLIGHT_MAX);
    }
}

proptest! {
    /// A peer chooses when to answer: the limit stays in its bounds, and nothing overflows.
    #[test]
    fn no_timing_of_pongs_breaks_the_bounds(
        steps in prop::collection::vec((0u32..45, 0u32..50, 1usize..65_000, any::<bool>()), 1..300),
    ) {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let (mut id, mut answered) = (0, 0);
        for (before, until, bytes, is_dry) in steps {
            now += Duration::from_nanos(1 << before);
            if pace.wants_probe(bytes) {
                id += 1;
                pace.sent(now, bytes, Some(id));
            } else {
                pace.sent(now, bytes, None);
            }
            if is_dry { pace.ran_dry() } else { pace.held_back() }
            if until < 45 && answered < id {
                now += Duration::from_nanos(1 << until);
                answered += 1;
                prop_assert!(pace.pong(now, answered));
            }
            prop_assert!((limits::IN_FLIGHT_MIN..=limits::IN_FLIGHT_MAX).contains(&pace.target()));
            prop_assert!(pace.grain() > 0 && pace.message_max() >= pace.grain());
        }
    }
}

#[test]
fn the_pace_does_not_slow_loopback() {
    let mut network = TestNetwork::new(Path {
        rate: 2e9,
        one_way: MS / 20,
        ..LINK
    });
    network.run(200 * MS, true);
    let pings = network.pings;
    let share = network.throughput(500 * MS);
    assert!(share >= 0.98, "{share}");
    // One `Ping` in seven messages.
    let pings = network.pings - pings;
    assert!(pings < 2500, "{pings} pings");
}

#[test]
fn the_rate_of_a_slow_producer_is_not_taken_for_that_of_the_path() {
    let mut network = TestNetwork::new(LINK);
    network.run(2_000 * MS, true);
    network.bulk_rate = Some(1e6);
    network.run(30_000 * MS, true);
    network.bulk_rate = None;
    let share = network.throughput(500 * MS);
    assert!(share >= 0.85, "{share} of the link at once");
}

#[test]
fn after_a_pause_the_path_is_filled_at_once() {
    let mut network = TestNetwork::new(LINK);
    network.run(2_000 * MS, true);
    network.run(20_000 * MS, false);
    let share = network.throughput(500 * MS);
    assert!(share >= 0.85, "{share}");
}

#[test]
fn short_calls_cause_few_pings() {
    let mut network = TestNetwork::new(LINK);
    let before = network.pings;
    for _ in 0..100 {
        network
            .server
            .send_data(network.now, network.other, Bytes::from_static(&[0; 400]), false)
            .unwrap();
        network.queued_at = Some(network.now);
        network.run(50 * MS, false);
    }
    // 40 KB in all, in which the client's liveness `Ping` is due at most once.
    assert!(network.pings - before <= 3, "{} pings", network.pings - before);
}

/// Fraction of the link that bulk reaches after paths of `10^magnitude` bytes a second and `one_way` ms, each for
/// `time` ms, with or without bulk.
fn share_after(changes: impl IntoIterator<Item = (f64, u32, u32, bool)>) -> f64 {
    let mut network = TestNetwork::new(LINK);
    for (magnitude, one_way, time, has_bulk) in changes {
        network.path = Path {
            rate: 10f64.powf(magnitude),
            one_way: one_way * MS,
            ..LINK
        };
        network.run(time * MS, has_bulk);
    }
    network.path = LINK;
    // The queue at the bottleneck drains first, each message at the rate of the path on which it was sent.
    let free = network.up.free.max(network.down.free);
    network.run(free.saturating_duration_since(network.now), true);
    network.run(60_000 * MS, true);
    network.throughput(3_000 * MS)
}

#[test]
fn a_path_is_filled_after_a_queue_of_a_minute() {
    let share = share_after([(8.081, 1, 7, true), (4.0, 0, 13, true)]);
    assert!(share >= 0.9, "{share}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// However the path changes, bulk continues and is not held back for ever.
    #[test]
    fn bulk_never_stalls(
        changes in prop::collection::vec((4.0f64..9.0, 0u32..300, 1u32..1500, any::<bool>()), 1..8),
    ) {
        let share = share_after(changes);
        prop_assert!(share >= 0.9, "{share}");
    }
}
