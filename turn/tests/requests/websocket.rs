//! 10,000 requests to a real WebSocket server on loopback, which sends their timing reports: most of them in time, some
//! late, doubled, lost or for no request, by a seed. Every match is exact: it is compared with the model, and its parts
//! with those that the server measured for this ordinal.
//!
//! Bytes and their order are real. The client's time is virtual, one millisecond for each request, so that a slow
//! machine makes no report late: *late* and *lost* are what the seed says, and the counters have one right value.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use baton_support::scale::seed;
use baton_turn::requests::{Bounds, Correlator, ReportedPart, TimingReport};
use futures_util::{SinkExt, StreamExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, connect_async};

use crate::model::{Expected, Model};

const REQUESTS: u64 = 10_000;
/// Requests that the client sends ahead of the server.
const AHEAD: u64 = 32;
/// The ordinals in which no report is sent at all, so that the number of waiting requests reaches its bound.
const SILENCE: std::ops::Range<u64> = 4_000..4_600;
/// Above [`AHEAD`], so that a request whose report is on its way is never the oldest of so many.
const BOUNDS: Bounds = Bounds {
    waiting: 128,
    report_timeout: Duration::from_millis(300),
    remembered: 4_096,
};
/// After how many further requests a late report is sent: more than the timeout.
const LATE: u64 = 800;
/// The same for the second of two: the first is still remembered then.
const SECOND: u64 = 50;

/// What the server does about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    InTime,
    Late,
    DoubledAtOnce,
    DoubledLater,
    Lost,
    /// In time, and another report that belongs to no request.
    WithUnknown,
}

fn fates(seed: u64) -> Vec<Fate> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut fate = |ordinal| match random.random_range(0..20) {
        _ if SILENCE.contains(&ordinal) => Fate::Lost,
        0 | 1 => Fate::Late,
        2 => Fate::DoubledAtOnce,
        3 => Fate::DoubledLater,
        4 => Fate::Lost,
        5 => Fate::WithUnknown,
        _ => Fate::InTime,
    };
    (0..REQUESTS).map(&mut fate).collect()
}

/// The parts `(name, offset, duration)` that the server measured for an ordinal. Some nest, some overlap.
fn parts(seed: u64, ordinal: u64) -> Vec<(&'static str, u64, u64)> {
    let mut random = StdRng::seed_from_u64(seed ^ ordinal.rotate_left(32));
    let number = random.random_range(0..5);
    ["queue", "prefill", "decode", "safety", "flush"][..number]
        .iter()
        .map(|name| {
            (
                *name,
                random.random_range(0..40_000_000),
                random.random_range(0..40_000_000),
            )
        })
        .collect()
}

fn report(seed: u64, ordinal: u64) -> Message {
    Message::text(json!({"ordinal": ordinal, "parts": parts(seed, ordinal)}).to_string())
}

/// Answers every request with an acknowledgement, after the reports that are due.
async fn serve(listener: TcpListener, seed: u64) {
    let (connection, _) = listener.accept().await.unwrap();
    let mut socket = accept_async(connection).await.unwrap();
    let fates = fates(seed);
    // By the ordinal of the request after which they are sent.
    let mut held: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    while let Some(Ok(received)) = socket.next().await {
        let Message::Text(text) = received else { continue };
        let request: u64 = text.parse().unwrap();
        let mut due: Vec<u64> = Vec::new();
        while let Some(entry) = held.first_entry().filter(|entry| *entry.key() <= request) {
            due.extend(entry.remove());
        }
        if let Some(fate) = usize::try_from(request).ok().and_then(|at| fates.get(at)) {
            match fate {
                Fate::InTime => due.push(request),
                Fate::Late => held.entry(request + LATE).or_default().push(request),
                Fate::DoubledAtOnce => due.extend([request, request]),
                Fate::DoubledLater => {
                    due.push(request);
                    held.entry(request + SECOND).or_default().push(request);
                }
                Fate::Lost => {}
                Fate::WithUnknown => due.extend([request, u64::MAX - request]),
            }
        }
        for ordinal in due {
            socket.feed(report(seed, ordinal)).await.unwrap();
        }
        socket
            .send(Message::text(json!({"ack": request}).to_string()))
            .await
            .unwrap();
    }
}

/// The client's end: the machine, and the model beside it.
struct Client {
    seed: u64,
    correlator: Correlator,
    model: Model,
    now: Instant,
    acknowledged: u64,
    most_waiting: usize,
    most_memory: usize,
}

impl Client {
    fn start(&mut self) -> u64 {
        self.now += Duration::from_millis(1);
        let ordinal = self.correlator.start(self.now).unwrap();
        assert!(self.model.start(ordinal, self.now));
        self.watch();
        ordinal
    }

    fn receive(&mut self, message: &Message) {
        let message: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        if let Some(ordinal) = message["ack"].as_u64() {
            self.acknowledged = ordinal + 1;
            return;
        }
        let ordinal = message["ordinal"].as_u64().unwrap();
        let received: Vec<_> = message["parts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| {
                let ns = |at: usize| part[at].as_u64().unwrap();
                ReportedPart::from_ns(part[0].as_str().unwrap(), ns(1), ns(2))
            })
            .collect();
        let expected = self.model.report(ordinal, self.now);
        match self.correlator.report(ordinal, &received, self.now) {
            TimingReport::Matched(timing) => {
                let Expected::Matched { start, total } = expected else {
                    panic!("{ordinal} matched, not {expected:?}");
                };
                assert_eq!(
                    (timing.ordinal, timing.start, timing.total),
                    (ordinal, start, total)
                );
                let clamped = |ns: u64| Duration::from_nanos(ns).min(total);
                let measured: Vec<_> = parts(self.seed, ordinal)
                    .into_iter()
                    .map(|(name, at, long)| (name, clamped(at), clamped(at + long)))
                    .collect();
                let found = timing
                    .parts
                    .iter()
                    .map(|part| (&*part.name, part.offset, part.offset + part.duration));
                assert_eq!(found.collect::<Vec<_>>(), measured, "parts of {ordinal}");
                assert_eq!(timing.covered + timing.rest, total);
            }
            TimingReport::Late => assert_eq!(expected, Expected::Late, "{ordinal}"),
            TimingReport::Duplicate => assert_eq!(expected, Expected::Duplicate, "{ordinal}"),
            TimingReport::Unknown => assert_eq!(expected, Expected::Unknown, "{ordinal}"),
        }
        self.watch();
    }

    fn watch(&mut self) {
        self.most_waiting = self.most_waiting.max(self.correlator.waiting());
        self.most_memory = self.most_memory.max(self.correlator.memory());
    }
}

#[tokio::test]
async fn each_of_10_000_reports_over_a_websocket_is_matched_exactly() {
    let seed = seed();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, seed));
    let (mut socket, _) = connect_async(format!("ws://{address}/")).await.unwrap();

    let mut client = Client {
        seed,
        correlator: Correlator::with_bounds(BOUNDS),
        model: Model::new(BOUNDS),
        now: Instant::now(),
        acknowledged: 0,
        most_waiting: 0,
        most_memory: 0,
    };
    for _ in 0..REQUESTS {
        let ordinal = client.start();
        socket.send(Message::text(ordinal.to_string())).await.unwrap();
        while ordinal - client.acknowledged.min(ordinal) >= AHEAD {
            client.receive(&socket.next().await.unwrap().unwrap());
        }
    }
    // No request, only an occasion for the server to send what it still holds, after the client's timeout.
    while client.acknowledged < REQUESTS {
        client.receive(&socket.next().await.unwrap().unwrap());
    }
    client.now += BOUNDS.report_timeout;
    let flush = REQUESTS + LATE;
    socket.send(Message::text(flush.to_string())).await.unwrap();
    while client.acknowledged <= flush {
        client.receive(&socket.next().await.unwrap().unwrap());
    }
    socket.close(None).await.unwrap();
    server.await.unwrap();

    let fates = fates(seed);
    let with = |wanted: &[Fate]| fates.iter().filter(|fate| wanted.contains(fate)).count() as u64;
    let counters = client.correlator.counters();
    println!(
        "{counters:?}, most waiting {}, most memory {}",
        client.most_waiting, client.most_memory
    );
    assert_eq!(counters, client.model.counters);
    assert_eq!(counters.started, REQUESTS);
    assert_eq!(counters.late, with(&[Fate::Late]));
    assert_eq!(counters.lost, with(&[Fate::Late, Fate::Lost]));
    assert_eq!(counters.matched, REQUESTS - counters.lost);
    assert_eq!(
        counters.duplicate,
        with(&[Fate::DoubledAtOnce, Fate::DoubledLater])
    );
    assert_eq!(counters.unknown, with(&[Fate::WithUnknown]));
    for each in [counters.late, counters.duplicate, counters.unknown] {
        assert!(each > 100, "the seed makes {each} of a kind");
    }

    // At the bound and never above: 40 bytes of a waiting and 16 of a settled request, both counts at their bounds. The
    // capacities are powers of two, as the bounds are, so that nothing is allocated beyond them.
    assert_eq!(client.most_waiting, BOUNDS.waiting);
    assert_eq!(client.most_memory, BOUNDS.waiting * 40 + BOUNDS.remembered * 16);
}
