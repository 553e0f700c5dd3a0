//! Two multiplexers under a virtual clock.

use std::collections::BTreeMap;

use baton_proto::channel::Trailers;
use baton_proto::limits::{HEAD_MAX, METADATA_ENTRIES_MAX, NOISE_PLAINTEXT_MAX, STREAM_WINDOW, TIMINGS_MAX};
use baton_trace::record::{Anchor, StageRecord};
use baton_trace::stage::exec::PROCESS;
use bytes::BytesMut;
use proptest::prelude::*;
use prost::Message;
use prost::encoding::encode_varint;

use super::*;
use crate::frame::{self, FrameError, Kind};
use crate::stamps::{RelayStamp, SentStamps};
use crate::stream::Continuation;
use crate::timings;

/// A client and a server; the test delivers their messages.
struct Pair {
    client: Mux,
    server: Mux,
    now: Anchor,
}

impl Pair {
    fn new() -> Self {
        let now = Anchor {
            instant: Instant::now(),
            unix_ns: 1_000_000_000,
        };
        let mut pair = Self {
            client: Mux::new(Role::Client, now.instant),
            server: Mux::new(Role::Server, now.instant),
            now,
        };
        // The first ping.
        pair.client.handle_timeout(now.instant).unwrap();
        pair.settle();
        pair
    }

    fn advance(&mut self, by: Duration) {
        self.now.instant += by;
        self.now.unix_ns += by.as_nanos() as u64;
    }

    fn open(&mut self) -> StreamId {
        self.client.open(self.now.instant, &head(), None).unwrap()
    }

    /// An open stream on which the server has answered with its `Head`.
    fn exchange(&mut self) -> StreamId {
        let id = self.open();
        self.settle();
        self.server.take_head(id).unwrap();
        self.server.send_head(id, &Head::default()).unwrap();
        self.settle();
        self.client.take_head(id).unwrap();
        id
    }

    /// Delivers one message of each end. Returns whether there was one.
    fn step(&mut self) -> bool {
        let mut any = false;
        for to_server in [true, false] {
            let (from, to) = if to_server {
                (&mut self.client, &mut self.server)
            } else {
                (&mut self.server, &mut self.client)
            };
            if let Some(message) = message(from, self.now) {
                to.handle(self.now, self.now.instant, RelayStamp::default(), message)
                    .unwrap();
                any = true;
            }
        }
        any
    }

    fn settle(&mut self) {
        while self.step() {}
    }
}

fn head() -> Head {
    Head {
        path: "/a.B/C".into(),
        ..Head::default()
    }
}

fn message(from: &mut Mux, now: Anchor) -> Option<Bytes> {
    let mut out = BytesMut::new();
    let any = from.transmit(now, &mut out);
    assert!(out.len() <= NOISE_PLAINTEXT_MAX);
    from.sealed(now.instant);
    any.then(|| out.into())
}

fn events(mux: &mut Mux) -> Vec<Event> {
    std::iter::from_fn(|| mux.poll_event()).collect()
}

#[test]
fn head_and_data_of_a_call_share_one_message() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.client
        .send_data(pair.now.instant, id, "request".into(), true)
        .unwrap();
    let sent = message(&mut pair.client, pair.now).unwrap();
    pair.server
        .handle(pair.now, pair.now.instant, RelayStamp::default(), sent)
        .unwrap();
    assert_eq!(pair.server.take_head(id), Some(head()));
    assert_eq!(pair.server.receive(id), Received::Data("request".into()));
    assert_eq!(pair.server.receive(id), Received::End);
    assert!(message(&mut pair.client, pair.now).is_none());
}

#[test]
fn trailers_with_timings_follow_the_message_of_the_last_data() {
    let mut pair = Pair::new();
    let id = pair.exchange();
    let draft = TimingsDraft {
        anchor: pair.now,
        stages: Vec::new(),
        continues: None,
    };
    pair.server
        .send_data(pair.now.instant, id, "x".into(), false)
        .unwrap();
    pair.server.send_trailers(id, Vec::new(), Some(draft)).unwrap();
    pair.advance(Duration::from_micros(5));
    let mut out = BytesMut::new();
    assert!(pair.server.transmit(pair.now, &mut out));
    pair.advance(Duration::from_micros(3));
    pair.server.sealed(pair.now.instant);
    let first = std::mem::take(&mut out);
    assert!(pair.server.transmit(pair.now, &mut out));
    for message in [first, out] {
        pair.client
            .handle(pair.now, pair.now.instant, RelayStamp::default(), message.into())
            .unwrap();
    }
    assert_eq!(pair.client.receive(id), Received::Data("x".into()));
    let Received::Trailers(trailers) = pair.client.receive(id) else {
        panic!("no trailers")
    };
    let timings: Vec<_> = timings::Timings::new(&trailers.timings)
        .unwrap()
        .map(Result::unwrap)
        .map(|row| (row.stage.0, row.start_ns, row.duration_ns))
        .collect();
    assert_eq!(timings, [(14, 0, 5_000), (15, 5_000, 3_000), (13, 0, 8_000)]);
}

#[test]
fn the_timings_of_an_answer_without_data_end_where_its_trailers_are_written() {
    let mut pair = Pair::new();
    let id = pair.exchange();
    let draft = TimingsDraft {
        anchor: pair.now,
        stages: Vec::new(),
        continues: None,
    };
    pair.server.send_trailers(id, Vec::new(), Some(draft)).unwrap();
    pair.advance(Duration::from_micros(5));
    pair.settle();
    let Received::Trailers(trailers) = pair.client.receive(id) else {
        panic!("no trailers")
    };
    let timings: Vec<_> = timings::Timings::new(&trailers.timings)
        .unwrap()
        .map(Result::unwrap)
        .map(|row| (row.stage.0, row.start_ns, row.duration_ns))
        .collect();
    assert_eq!(timings, [(13, 0, 5_000)]);
}

#[test]
fn the_timings_of_a_continued_call_name_it_and_have_the_answer_as_second_attempt() {
    let mut pair = Pair::new();
    let id = pair.exchange();
    let began = pair.now;
    pair.advance(Duration::from_millis(1));
    let process = StageRecord {
        stage: PROCESS,
        attempt: 0,
        start_ns: 100_000,
        end_ns: 300_000,
        estimated: false,
    };
    let draft = TimingsDraft {
        anchor: began,
        stages: vec![process],
        continues: Some(Continuation {
            call_id: 5.into(),
            arrived: pair.now.instant,
        }),
    };
    pair.server
        .send_data(pair.now.instant, id, "x".into(), false)
        .unwrap();
    pair.server.send_trailers(id, Vec::new(), Some(draft)).unwrap();
    pair.advance(Duration::from_micros(5));
    pair.settle();
    assert_eq!(pair.client.receive(id), Received::Data("x".into()));
    let Received::Trailers(trailers) = pair.client.receive(id) else {
        panic!("no trailers")
    };
    assert_eq!(trailers.call_id, 5);
    let timings = timings::Timings::new(&trailers.timings).unwrap();
    assert_eq!(timings.received_unix_ns, began.unix_ns);
    let rows: Vec<_> = timings
        .map(Result::unwrap)
        .map(|row| (row.stage.0, row.attempt, row.start_ns, row.duration_ns))
        .collect();
    assert_eq!(
        rows,
        [
            (14, 1, 1_000_000, 5_000),
            (15, 1, 1_005_000, 0),
            (13, 0, 0, 300_000),
            (13, 1, 1_000_000, 5_000),
            (32, 0, 100_000, 200_000),
        ]
    );
}

#[test]
fn an_answer_of_a_released_stream_is_reported_with_its_stamps() {
    for wants_timings in [true, false] {
        let mut pair = Pair::new();
        let id = pair.exchange();
        while pair.server.poll_event().is_some() {}
        let timings = wants_timings.then(|| TimingsDraft {
            anchor: pair.now,
            stages: Vec::new(),
            continues: None,
        });
        pair.server
            .send_data(pair.now.instant, id, "x".into(), false)
            .unwrap();
        pair.server.send_trailers(id, Vec::new(), timings).unwrap();
        pair.server.release(id);
        let sent = SentStamps {
            queued: Some(pair.now.instant),
            taken: Some(pair.now.instant),
            sealed: Some(pair.now.instant),
        };
        while message(&mut pair.server, pair.now).is_some() {}
        assert_eq!(pair.server.poll_event(), Some(Event::Answered(id, sent)));
        assert!(pair.server.streams.is_empty());
    }
}

#[test]
fn a_server_is_told_what_its_peer_has_consumed_of_an_answer() {
    let mut pair = Pair::new();
    let id = pair.exchange();
    let bytes = vec![7; limits::CREDIT_BATCH as usize + 100];
    pair.server
        .send_data(pair.now.instant, id, bytes.into(), false)
        .unwrap();
    let mut received = 0;
    let mut told = Vec::new();
    for _ in 0..100 {
        pair.settle();
        while let Received::Data(data) = pair.client.receive(id) {
            received += data.len() as u64;
        }
        while let Some(event) = pair.server.poll_event() {
            told.extend(matches!(event, Event::Consumed(..)).then_some(event));
        }
    }
    assert_eq!(received, u64::from(limits::CREDIT_BATCH) + 100);
    let [Event::Consumed(of, consumed)] = told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(of, id);
    assert!(
        (u64::from(limits::CREDIT_BATCH)..=received).contains(&consumed),
        "{consumed}"
    );
}

#[test]
fn an_answer_wakes_a_producer_that_waits_for_room() {
    let mut pair = Pair::new();
    let id = pair.exchange();
    while pair.client.has_room(id).unwrap() {
        let chunk = Bytes::from(vec![0; 64 * 1024]);
        pair.client.send_data(pair.now.instant, id, chunk, false).unwrap();
        pair.settle();
    }
    while pair.client.poll_event().is_some() {}
    pair.server.send_trailers(id, Vec::new(), None).unwrap();
    pair.settle();
    let events: Vec<_> = std::iter::from_fn(|| pair.client.poll_event()).collect();
    assert!(events.contains(&Event::Writable(id)), "{events:?}");
    assert_eq!(pair.client.has_room(id), Err(StreamError::Closed));
}

#[test]
fn trailers_without_timings_share_the_message_of_the_last_data() {
    let mut pair = Pair::new();
    let id = pair.exchange();
    pair.server
        .send_data(pair.now.instant, id, "x".into(), false)
        .unwrap();
    pair.server.send_trailers(id, Vec::new(), None).unwrap();
    assert!(message(&mut pair.server, pair.now).is_some());
    assert!(message(&mut pair.server, pair.now).is_none());
}

#[test]
fn a_stalled_reader_stops_only_its_own_sender_at_the_window() {
    let mut pair = Pair::new();
    let stalled = pair.exchange();
    let other = pair.exchange();
    let chunk = Bytes::from(vec![0; 256 * 1024]);
    for _ in 0..16 {
        pair.server
            .send_data(pair.now.instant, stalled, chunk.clone(), false)
            .unwrap();
    }
    pair.settle();
    let stream = &pair.client.streams[&stalled];
    assert_eq!(stream.receive.buffered, STREAM_WINDOW as usize);
    assert_eq!(pair.server.streams[&stalled].credit, 0);
    assert_eq!(pair.server.has_room(stalled), Ok(false));

    pair.server
        .send_data(pair.now.instant, other, "through".into(), false)
        .unwrap();
    pair.settle();
    assert_eq!(pair.client.receive(other), Received::Data("through".into()));

    // Reading grants credit for the rest.
    events(&mut pair.server);
    let mut total = 0;
    while let Received::Data(data) = pair.client.receive(stalled) {
        total += data.len();
        pair.settle();
    }
    assert_eq!(total, 16 * chunk.len());
    assert!(events(&mut pair.server).contains(&Event::Writable(stalled)));
}

/// Bytes that a server sends on a stream that the client does not read.
fn sent_unread(to_client: u32) -> usize {
    let mut pair = Pair::new();
    let head = Head {
        window: to_client,
        ..head()
    };
    let id = pair.client.open(pair.now.instant, &head, None).unwrap();
    pair.settle();
    pair.server.send_head(id, &Head::default()).unwrap();
    let bulk = vec![0; 4 * STREAM_WINDOW as usize];
    pair.server
        .send_data(pair.now.instant, id, bulk.into(), false)
        .unwrap();
    pair.settle();
    pair.client.streams[&id].receive.buffered
}

#[test]
fn the_receiver_announces_the_window_and_the_protocol_s_is_the_least() {
    let least = STREAM_WINDOW as usize;
    // A client that announces no window, as in earlier versions.
    assert_eq!(sent_unread(0), least);
    assert_eq!(sent_unread(1), least);
    assert_eq!(
        sent_unread(limits::RECEIVE_WINDOW),
        limits::RECEIVE_WINDOW as usize
    );
    const { assert!(limits::RECEIVE_WINDOW > STREAM_WINDOW) };
    // The other direction: the window that the handshake announced.
    for (told, window) in [(0, least), (1_500_000, 1_500_000)] {
        let mut pair = Pair::new();
        pair.client.set_peer_window(told);
        let id = pair.open();
        let bulk = vec![0; 4 * least];
        pair.client
            .send_data(pair.now.instant, id, bulk.into(), false)
            .unwrap();
        pair.settle();
        assert_eq!(pair.server.streams[&id].receive.buffered, window);
    }
}

#[test]
fn a_short_answer_does_not_wait_behind_bulk() {
    let mut pair = Pair::new();
    let bulk = pair.exchange();
    let short = pair.exchange();
    pair.server
        .send_data(pair.now.instant, bulk, vec![0; 1024 * 1024].into(), false)
        .unwrap();
    message(&mut pair.server, pair.now).unwrap();
    pair.server
        .send_data(pair.now.instant, short, "exit".into(), false)
        .unwrap();
    let next = message(&mut pair.server, pair.now).unwrap();
    let mut rest = next;
    let first = frame::next(&mut rest).unwrap().unwrap();
    assert_eq!(first.stream, short);
}

/// A server that has sent as much bulk on one of two streams as it sends without a `Pong`, and the client that received
/// it.
fn unanswered_bulk() -> (Pair, StreamId, StreamId) {
    let mut pair = Pair::new();
    let (bulk, small) = (pair.exchange(), pair.exchange());
    for _ in 0..12 {
        let data = vec![0; 64 * 1024].into();
        pair.server
            .send_data(pair.now.instant, bulk, data, false)
            .unwrap();
    }
    let sent = deliver_to_client(&mut pair);
    assert!((64 * 1024..=192 * 1024).contains(&sent), "{sent}");
    assert!(!pair.server.wants_transmit());
    (pair, bulk, small)
}

/// Delivers every message of the server, and none of the client. Returns the bytes delivered.
fn deliver_to_client(pair: &mut Pair) -> usize {
    let mut sent = 0;
    while let Some(message) = message(&mut pair.server, pair.now) {
        sent += message.len();
        let stamp = RelayStamp::default();
        pair.client
            .handle(pair.now, pair.now.instant, stamp, message)
            .unwrap();
    }
    sent
}

#[test]
fn output_in_pieces_is_not_held_back_while_a_ping_of_bulk_is_unanswered() {
    let (mut pair, bulk, small) = unanswered_bulk();
    for piece in 0..8u8 {
        let data = vec![piece; 1024].into();
        pair.server
            .send_data(pair.now.instant, small, data, false)
            .unwrap();
        deliver_to_client(&mut pair);
        assert_eq!(
            pair.client.receive(small),
            Received::Data(vec![piece; 1024].into())
        );
    }
    pair.server.send_trailers(small, Vec::new(), None).unwrap();
    deliver_to_client(&mut pair);
    assert!(matches!(pair.client.receive(small), Received::Trailers(_)));
    // Bulk was held back.
    let unread = |mux: &mut Mux| {
        let pieces = std::iter::from_fn(|| match mux.receive(bulk) {
            Received::Data(data) => Some(data.len()),
            _ => None,
        });
        pieces.sum::<usize>()
    };
    assert!(unread(&mut pair.client) <= limits::IN_FLIGHT_INITIAL as usize);
    pair.settle();
    assert_eq!(pair.server.streams[&bulk].queued_bytes, 0);
}

#[test]
fn pieces_of_one_stream_pass_bulk_by_no_more_than_a_quantum() {
    let (mut pair, _, small) = unanswered_bulk();
    let mut sent = 0;
    for _ in 0..64 {
        let data = vec![0; 1024].into();
        pair.server
            .send_data(pair.now.instant, small, data, false)
            .unwrap();
        sent += deliver_to_client(&mut pair);
    }
    let share = limits::QUANTUM..limits::QUANTUM + 2048;
    assert!(share.contains(&sent), "{sent}");
}

#[test]
fn a_peer_that_sends_but_answers_no_ping_ends_the_session() {
    let (mut pair, ..) = unanswered_bulk();
    let since = pair.now.instant;
    let error = loop {
        pair.now.instant = pair
            .server
            .next_timeout()
            .min(pair.now.instant + Duration::from_secs(10));
        if let Err(error) = pair.server.handle_timeout(pair.now.instant) {
            break error;
        }
        pair.server
            .handle(pair.now, pair.now.instant, RelayStamp::default(), Bytes::new())
            .unwrap();
    };
    assert_eq!(error, MuxError::Unanswered);
    assert_eq!(pair.now.instant, since + limits::PONG_TIMEOUT);
    let (reason, detail) = error.go_away();
    assert_eq!(
        (reason, &*detail),
        (go_away::Reason::Timeout, "no answer to a Ping for 120 s")
    );
}

#[test]
fn bulk_is_not_starved_by_an_endless_supply_of_short_calls() {
    let mut pair = Pair::new();
    let bulk = pair.exchange();
    let mut shorts = (0..8)
        .map(|_| (0..30).map(|_| pair.exchange()).collect::<Vec<_>>())
        .collect::<Vec<_>>();
    pair.server
        .send_data(pair.now.instant, bulk, vec![0; 1024 * 1024].into(), false)
        .unwrap();
    let mut bulk_bytes = 0;
    for round in &mut shorts {
        // More than fits in a message, on new streams, which would always be sent first.
        for id in round {
            pair.server
                .send_data(pair.now.instant, *id, vec![0; 4096].into(), false)
                .unwrap();
        }
        // Fewer messages than are queued.
        for _ in 0..3 {
            let mut sent = message(&mut pair.server, pair.now).unwrap();
            let stamp = RelayStamp::default();
            pair.client
                .handle(pair.now, pair.now.instant, stamp, sent.clone())
                .unwrap();
            while let Some(frame) = frame::next(&mut sent).unwrap() {
                if frame.stream == bulk {
                    bulk_bytes += frame.body.len();
                }
            }
            if let Some(answers) = message(&mut pair.client, pair.now) {
                pair.server
                    .handle(pair.now, pair.now.instant, stamp, answers)
                    .unwrap();
            }
        }
    }
    assert!(bulk_bytes >= 4 * limits::QUANTUM, "{bulk_bytes}");
}

#[test]
fn a_cancelled_call_is_reset_and_the_server_is_notified() {
    let mut pair = Pair::new();
    let id = pair.exchange();
    pair.client.release(id);
    pair.settle();
    assert!(events(&mut pair.server).contains(&Event::Reset(id)));
    assert_eq!(pair.server.receive(id), Received::Reset(code::CANCELLED));
    pair.server.release(id);
    assert!(pair.client.is_idle() && pair.server.is_idle());
}

#[test]
fn a_call_cancelled_before_its_head_was_sent_sends_nothing() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.client.release(id);
    assert!(message(&mut pair.client, pair.now).is_none());
    let id = pair.exchange();
    assert!(pair.server.stamps(id).is_some());
}

#[test]
fn a_deadline_ends_the_call_on_both_ends() {
    let mut pair = Pair::new();
    let deadline = pair.now.instant + Duration::from_millis(50);
    let head = Head {
        timeout_ns: 50_000_000,
        ..head()
    };
    let id = pair.client.open(pair.now.instant, &head, Some(deadline)).unwrap();
    pair.settle();
    assert_eq!(pair.client.next_timeout(), deadline);
    assert_eq!(pair.server.next_timeout(), deadline);
    pair.advance(Duration::from_millis(50));
    for mux in [&mut pair.client, &mut pair.server] {
        mux.handle_timeout(pair.now.instant).unwrap();
        assert!(events(mux).contains(&Event::Reset(id)));
        assert_eq!(mux.receive(id), Received::Reset(code::DEADLINE_EXCEEDED));
    }
    pair.settle();
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let mut pair = Pair::new();
    for _ in 0..MAX_STREAMS {
        pair.open();
    }
    assert_eq!(
        pair.client.open(pair.now.instant, &head(), None),
        Err(StreamError::TooMany)
    );
    pair.settle();
    // A client that ignores the limit.
    pair.client.streams.clear();
    let id = pair.open();
    pair.settle();
    assert_eq!(pair.client.receive(id), Received::Reset(code::RESOURCE_EXHAUSTED));
}

#[test]
fn a_peer_that_lets_streams_expire_and_never_reads_exceeds_a_limit() {
    let mut pair = Pair::new();
    let head = Head {
        timeout_ns: 1,
        ..head()
    };
    let mut opened = 0;
    let error = loop {
        let id = pair.client.open(pair.now.instant, &head, None).unwrap();
        let message = message(&mut pair.client, pair.now).unwrap();
        // The server never transmits, because the peer does not read.
        if let Err(error) = pair
            .server
            .handle(pair.now, pair.now.instant, RelayStamp::default(), message)
        {
            break error;
        }
        pair.advance(Duration::from_micros(1));
        pair.server.handle_timeout(pair.now.instant).unwrap();
        while pair.server.poll_event().is_some() {}
        pair.server.release(id);
        pair.client.streams.remove(&id);
        opened += 1;
        assert!(opened <= limits::MAX_RESETS, "{opened} resets wait");
    };
    assert!(matches!(error, MuxError::Limit(_)));
}

#[test]
fn pings_measure_the_clock_and_keep_the_session_alive() {
    let mut pair = Pair::new();
    assert_eq!(
        pair.client.clock_offset(),
        Some(ClockOffset {
            offset_ns: 0,
            error_ns: 0
        })
    );
    for _ in 0..20 {
        pair.advance(limits::PING_INTERVAL);
        pair.client.handle_timeout(pair.now.instant).unwrap();
        pair.settle();
        pair.server.handle_timeout(pair.now.instant).unwrap();
    }
}

#[test]
fn a_silent_peer_is_detected() {
    let mut pair = Pair::new();
    pair.advance(limits::IDLE_TIMEOUT);
    assert_eq!(
        pair.client.handle_timeout(pair.now.instant),
        Err(MuxError::Silent)
    );
    assert_eq!(
        pair.server.handle_timeout(pair.now.instant),
        Err(MuxError::Silent)
    );
}

#[test]
fn after_going_away_no_stream_is_opened() {
    let mut pair = Pair::new();
    pair.server.go_away(go_away::Reason::Shutdown, "");
    pair.settle();
    assert!(events(&mut pair.client).contains(&Event::GoAway(go_away::Reason::Shutdown)));
    assert_eq!(
        pair.client.open(pair.now.instant, &head(), None),
        Err(StreamError::GoingAway)
    );
}

#[test]
fn a_call_that_crosses_a_go_away_is_refused_and_earlier_ones_are_answered() {
    let mut pair = Pair::new();
    let before = pair.exchange();
    pair.server.go_away(go_away::Reason::Shutdown, "");
    // Opened before the GoAway arrives.
    let crossing = pair.open();
    pair.settle();
    assert_eq!(pair.client.receive(crossing), Received::Reset(code::UNAVAILABLE));
    assert!(!events(&mut pair.server).contains(&Event::Opened(crossing)));
    pair.server.send_trailers(before, Vec::new(), None).unwrap();
    pair.settle();
    assert_eq!(
        pair.client.receive(before),
        Received::Trailers(Trailers::default())
    );
    for id in [before, crossing] {
        pair.client.release(id);
        pair.server.release(id);
    }
    assert!(pair.client.is_idle() && pair.server.is_idle());
}

/// Handlers of cancelled calls end with a delay, and a client cannot know when they have ended.
#[test]
fn a_client_may_cancel_all_its_calls_and_open_as_many_in_the_same_message() {
    let mut pair = Pair::new();
    let mut given_up = Vec::new();
    for _ in 0..MAX_STREAMS {
        given_up.push(pair.open());
    }
    pair.settle();
    for id in &given_up {
        pair.client.release(*id);
    }
    let opened: Vec<_> = (0..MAX_STREAMS).map(|_| pair.open()).collect();
    pair.settle();
    for id in &opened {
        assert_eq!(pair.client.receive(*id), Received::Pending, "{id}");
    }
    // The number of streams that are not yet released is bounded too.
    for id in &opened {
        pair.client.release(*id);
    }
    let beyond = pair.open();
    pair.settle();
    assert_eq!(
        pair.client.receive(beyond),
        Received::Reset(code::RESOURCE_EXHAUSTED)
    );
    assert!(pair.server.streams.len() <= 2 * MAX_STREAMS);
    for id in given_up.into_iter().chain(opened) {
        pair.server.release(id);
    }
    let again = pair.open();
    pair.settle();
    assert_eq!(pair.client.receive(again), Received::Pending);
}

#[test]
fn the_last_number_of_a_session_is_used_once_and_its_deadline_passes() {
    let mut pair = Pair::new();
    let (now, last) = (pair.now, StreamId::MAX);
    let from_client = |pair: &mut Pair, message: Vec<u8>| {
        pair.server
            .handle(now, now.instant, RelayStamp::default(), message.into())
    };
    let expiring = |timeout_ns| {
        let head = Head { timeout_ns, ..head() };
        raw(1, 0, last, &head.encode_to_vec())
    };
    from_client(&mut pair, expiring(1_000)).unwrap();
    assert!(events(&mut pair.server).contains(&Event::Opened(last)));
    from_client(&mut pair, raw(2, 1, last, b"request")).unwrap();
    assert_eq!(
        from_client(&mut pair, expiring(2_000)),
        Err(MuxError::Protocol("a stream number was used twice"))
    );
    pair.advance(Duration::from_millis(1));
    pair.server.handle_timeout(pair.now.instant).unwrap();
    assert_eq!(
        pair.server.receive(last),
        Received::Reset(code::DEADLINE_EXCEEDED)
    );
}

#[test]
fn a_client_whose_numbers_are_used_up_is_going_away() {
    let mut pair = Pair::new();
    pair.client.use_up_but_one();
    let last = pair.exchange();
    assert_eq!(last, StreamId::MAX);
    assert!(pair.client.is_going_away());
    assert_eq!(
        pair.client.open(pair.now.instant, &head(), None),
        Err(StreamError::GoingAway)
    );
}

#[test]
fn the_end_of_the_session_resets_unanswered_calls_as_unavailable_after_its_go_away() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.settle();
    pair.server.go_away(go_away::Reason::Shutdown, "");
    pair.server.end_session();
    pair.server.release(id);
    pair.settle();
    let told = events(&mut pair.client);
    let at = |wanted: Event| told.iter().position(|event| *event == wanted).unwrap();
    assert!(
        at(Event::GoAway(go_away::Reason::Shutdown)) < at(Event::Reset(id)),
        "{told:?}"
    );
    assert_eq!(pair.client.reset_code(id), Some(code::UNAVAILABLE));
}

/// Encodes a frame.
fn raw(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, flags];
    out.extend_from_slice(&(body.len() as u16).to_be_bytes());
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// Delivers messages to the end with this role of a session with one open stream. The error ends the session with a
/// `GoAway` with `reason`, in one message, and nothing is sent after it.
fn assert_refused(to: Role, reason: go_away::Reason, name: &str, messages: Vec<Vec<u8>>) {
    let mut pair = Pair::new();
    assert_eq!(pair.open(), 1);
    pair.settle();
    let now = pair.now;
    let (mut refusing, mut refused) = match to {
        Role::Server => (pair.server, pair.client),
        Role::Client => (pair.client, pair.server),
    };
    let error = messages
        .into_iter()
        .find_map(|message| {
            refusing
                .handle(now, now.instant, RelayStamp::default(), message.into())
                .err()
        })
        .unwrap_or_else(|| panic!("{name}: taken"));
    let (said, detail) = error.go_away();
    refusing.give_up(said, &detail);
    assert!(refusing.wants_transmit());
    let told = message(&mut refusing, now).unwrap();
    refusing.reset(1, code::CANCELLED);
    assert!(
        !refusing.wants_transmit() && message(&mut refusing, now).is_none(),
        "{name}"
    );
    refused
        .handle(now, now.instant, RelayStamp::default(), told)
        .unwrap();
    assert!(events(&mut refused).contains(&Event::GoAway(reason)), "{name}");
    assert!(
        error
            .to_string()
            .contains(refused.goodbye().trim_start_matches("a frame: "))
    );
}

/// Each case is a message that no conforming peer sends; it ends the session.
#[test]
fn a_forbidden_message_ends_the_session_with_a_go_away_that_gives_the_reason() {
    use Role::{Client, Server};
    use go_away::Reason::{LimitExceeded, ProtocolError};

    let head = Head::default().encode_to_vec();
    let entries = vec![Metadata::default(); METADATA_ENTRIES_MAX + 1];
    let many_entries = Head {
        metadata: entries.clone(),
        ..Head::default()
    };
    let many_trailers = Trailers {
        metadata: entries,
        ..Trailers::default()
    };
    let over_window: Vec<Vec<u8>> = (0..=limits::RECEIVE_WINDOW / 32_768)
        .map(|_| raw(2, 0, 1, &[0; 32_768]))
        .collect();
    let empty_data = |before: Vec<Vec<u8>>| {
        let flood = (0..=limits::MAX_EMPTY_DATA).map(|_| raw(2, 0, 1, b""));
        before.into_iter().chain(flood).collect()
    };
    let pings: Vec<Vec<u8>> = (0..=limits::MAX_PONGS).map(|_| raw(6, 0, 0, b"")).collect();
    let streams: Vec<Vec<u8>> = (2..)
        .take(MAX_STREAMS + limits::MAX_RESETS)
        .map(|id| raw(1, 0, id, b""))
        .collect();
    let cases: Vec<(Role, go_away::Reason, &str, Vec<Vec<u8>>)> = vec![
        (Server, ProtocolError, "truncated header", vec![vec![2, 0, 0]]),
        (
            Server,
            ProtocolError,
            "truncated body",
            vec![vec![2, 0, 0, 9, 0, 0, 0, 1, 7]],
        ),
        (
            Server,
            ProtocolError,
            "unknown required type",
            vec![raw(127, 0, 1, b"")],
        ),
        (
            Client,
            ProtocolError,
            "unknown required type",
            vec![raw(12, 0, 0, b"")],
        ),
        (
            Client,
            LimitExceeded,
            "unknown optional types",
            vec![raw(200, 0, 0, b"").repeat(limits::MAX_SKIPPED + 1)],
        ),
        (
            Server,
            ProtocolError,
            "a second Hello",
            vec![raw(11, 0, 0, &[8, 2])],
        ),
        (
            Server,
            ProtocolError,
            "undefined flag",
            vec![raw(2, 0x80, 1, b"")],
        ),
        (
            Server,
            ProtocolError,
            "flag of another type",
            vec![raw(1, 1, 2, &head)],
        ),
        (
            Server,
            ProtocolError,
            "session frame on a stream",
            vec![raw(6, 0, 1, b"")],
        ),
        (
            Server,
            ProtocolError,
            "stream frame on the session",
            vec![raw(2, 0, 0, b"")],
        ),
        (
            Server,
            ProtocolError,
            "head that is no protobuf",
            vec![raw(1, 0, 9, &[0xff; 8])],
        ),
        (
            Server,
            ProtocolError,
            "head beyond its length",
            vec![raw(1, 0, 9, &[0x20; HEAD_MAX + 1])],
        ),
        (
            Server,
            LimitExceeded,
            "head of endless entries",
            vec![raw(1, 0, 9, &many_entries.encode_to_vec())],
        ),
        (Server, ProtocolError, "head used twice", vec![raw(1, 0, 1, b"")]),
        (
            Server,
            LimitExceeded,
            "streams without end, nothing read",
            streams,
        ),
        (
            Server,
            ProtocolError,
            "data on an unopened stream",
            vec![raw(2, 0, 9, b"x")],
        ),
        (Server, LimitExceeded, "data beyond its credit", over_window),
        (Server, LimitExceeded, "empty data frames", empty_data(vec![])),
        (
            Server,
            ProtocolError,
            "data after its end",
            vec![raw(2, 1, 1, b""), raw(2, 0, 1, b"x")],
        ),
        (
            Server,
            ProtocolError,
            "trailers on a request",
            vec![raw(3, 0, 1, b"")],
        ),
        (
            Server,
            ProtocolError,
            "reset of an unopened stream",
            vec![raw(4, 0, 9, &[0; 4])],
        ),
        (Server, ProtocolError, "short reset", vec![raw(4, 0, 1, &[0; 3])]),
        (
            Server,
            ProtocolError,
            "credit for an unopened stream",
            vec![raw(5, 0, 9, &[0; 4])],
        ),
        (
            Server,
            LimitExceeded,
            "credit beyond the window",
            vec![raw(5, 0, 1, &1u32.to_be_bytes())],
        ),
        (
            Server,
            LimitExceeded,
            "credit that overflows",
            vec![raw(5, 0, 1, &u32::MAX.to_be_bytes())],
        ),
        (Server, ProtocolError, "pong for no ping", vec![raw(7, 0, 0, b"")]),
        (Server, LimitExceeded, "ping flood", pings.clone()),
        (
            Server,
            ProtocolError,
            "goodbye that is no protobuf",
            vec![raw(8, 0, 0, &[0xff; 8])],
        ),
        (
            Client,
            ProtocolError,
            "head that nobody asked for",
            vec![raw(1, 0, 2, &head)],
        ),
        (
            Client,
            ProtocolError,
            "data before head",
            vec![raw(2, 0, 1, b"x")],
        ),
        (
            Client,
            ProtocolError,
            "trailers before head",
            vec![raw(3, 0, 1, b"")],
        ),
        (
            Client,
            ProtocolError,
            "second head",
            vec![raw(1, 0, 1, b""), raw(1, 0, 1, b"")],
        ),
        (
            Client,
            ProtocolError,
            "answer that ends with data",
            vec![raw(1, 0, 1, b""), raw(2, 1, 1, b"")],
        ),
        (
            Client,
            ProtocolError,
            "second trailers",
            vec![raw(1, 0, 1, b""), raw(3, 0, 1, b""), raw(3, 0, 1, b"")],
        ),
        (
            Client,
            ProtocolError,
            "trailers beyond their length",
            vec![
                raw(1, 0, 1, b""),
                raw(3, 0, 1, &[0x20; HEAD_MAX + TIMINGS_MAX + 1]),
            ],
        ),
        (
            Client,
            LimitExceeded,
            "trailers of endless entries",
            vec![raw(1, 0, 1, b""), raw(3, 0, 1, &many_trailers.encode_to_vec())],
        ),
        (
            Client,
            LimitExceeded,
            "empty data frames of an answer",
            empty_data(vec![raw(1, 0, 1, b"")]),
        ),
        (Client, LimitExceeded, "ping flood of a server", pings),
    ];
    for (to, reason, name, messages) in cases {
        assert_refused(to, reason, name, messages);
    }
}

#[test]
fn a_call_with_too_many_metadata_entries_is_refused_locally() {
    let mut pair = Pair::new();
    let head = |entries: usize| Head {
        metadata: vec![Metadata::default(); entries],
        ..head()
    };
    let mut open = |entries| pair.client.open(pair.now.instant, &head(entries), None);
    assert_eq!(open(METADATA_ENTRIES_MAX + 1), Err(StreamError::HeadTooLarge));
    let id = open(METADATA_ENTRIES_MAX).unwrap();
    pair.settle();
    assert!(pair.server.take_head(id).is_some());
    // A handler's trailers lose entries from the end, never the status.
    let mut metadata = vec![Metadata::default(); METADATA_ENTRIES_MAX];
    metadata.push(Metadata {
        key: "grpc-status".into(),
        value: "0".into(),
    });
    pair.server.send_head(id, &Head::default()).unwrap();
    pair.server.send_trailers(id, metadata, None).unwrap();
    pair.settle();
    let Received::Trailers(trailers) = pair.client.receive(id) else {
        panic!("no trailers")
    };
    assert_eq!(trailers.metadata.len(), METADATA_ENTRIES_MAX);
    assert_eq!(trailers.metadata.last().unwrap().key, "grpc-status");
}

#[test]
fn the_detail_of_a_go_away_is_printable_and_bounded() {
    let mut pair = Pair::new();
    pair.server
        .go_away(go_away::Reason::ProtocolError, &"\u{1b}[2J".repeat(1_000));
    pair.settle();
    let said = pair.client.goodbye();
    assert!(
        said.contains("[2J") && said.chars().count() <= baton_trace::limits::HINT_CHARS,
        "{said}"
    );
    assert!(!said.chars().any(char::is_control), "{said:?}");
}

proptest! {
    /// Random schedules: any interleaving of producers, consumers and messages delivers every byte of every stream
    /// in order, holds no stream beyond its window, and loses no credit.
    #[test]
    fn random_schedules_lose_no_bytes(
        steps in prop::collection::vec((0u8..6, 0usize..8, 1usize..60_000), 1..400),
    ) {
        let mut pair = Pair::new();
        let ids: Vec<_> = (0..8).map(|_| pair.exchange()).collect();
        let mut sent: BTreeMap<StreamId, Vec<u8>> = BTreeMap::new();
        let mut got: BTreeMap<StreamId, Vec<u8>> = BTreeMap::new();
        let mut counter = 0u32;
        for (action, which, size) in steps {
            let id = ids[which];
            match action {
                0 | 1 => {
                    if pair.server.has_room(id).unwrap() {
                        let data: Vec<u8> = std::iter::repeat_with(|| { counter = counter.wrapping_add(7919); counter as u8 })
                            .take(size)
                            .collect();
                        sent.entry(id).or_default().extend_from_slice(&data);
                        pair.server.send_data(pair.now.instant, id, data.into(), false).unwrap();
                    }
                }
                2 => {
                    if let Received::Data(data) = pair.client.receive(id) {
                        got.entry(id).or_default().extend_from_slice(&data);
                    }
                }
                _ => {
                    pair.step();
                }
            }
            for stream in pair.client.streams.values() {
                prop_assert!(stream.receive.buffered <= STREAM_WINDOW as usize);
            }
        }
        for id in &ids {
            pair.server.send_trailers(*id, Vec::new(), None).unwrap();
        }
        let mut ended = 0;
        while ended < ids.len() {
            pair.settle();
            for id in &ids {
                match pair.client.receive(*id) {
                    Received::Data(data) => got.entry(*id).or_default().extend_from_slice(&data),
                    Received::Trailers(_) => ended += 1,
                    Received::End => {}
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
        prop_assert_eq!(&sent, &got);
        for id in &ids {
            let at_sender = pair.server.streams.get(id).map(|stream| stream.credit);
            let receive = &pair.client.streams[id].receive;
            // The sender's stream still exists, because it was not released.
            prop_assert_eq!(at_sender.unwrap() + receive.grant, STREAM_WINDOW, "credit of {} lost", id);
        }
    }

    #[test]
    fn no_message_panics(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..20)) {
        for role in [Role::Client, Role::Server] {
            let now = Anchor { instant: Instant::now(), unix_ns: 0 };
            let mut mux = Mux::new(role, now.instant);
            if role == Role::Server {
                mux.set_peer(1, Features::default());
            }
            for message in &messages {
                let _ = mux.handle(now, now.instant, RelayStamp::default(), message.clone().into());
            }
        }
    }
}

#[test]
fn unread_bytes_pin_little_more_memory_than_their_length() {
    let now = Anchor {
        instant: Instant::now(),
        unix_ns: 0,
    };
    let mut server = Mux::new(Role::Server, now.instant);
    let mut message = raw(11, 0, 0, &[8, 2]);
    frame::put_header(&mut message, frame::Kind::Head, false, 1, 0);
    server
        .handle(now, now.instant, RelayStamp::default(), message.into())
        .unwrap();
    let credits = [5, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0].repeat(600);
    for n in 0..20_000_u32 {
        let mut message = Vec::new();
        frame::put_header(&mut message, frame::Kind::Data, false, 1, 1);
        message.push(n as u8);
        // Every second byte is in a message of 7 KiB, with frames that the receiver does not keep.
        if n % 2 == 0 {
            message.extend_from_slice(&credits);
        }
        server
            .handle(now, now.instant, RelayStamp::default(), message.into())
            .unwrap();
    }
    let pieces = &server.streams[&1].receive.queue;
    assert!(
        pieces.len() <= 1 + 20_000 / (limits::JOIN_UP_TO / 2),
        "{} pieces",
        pieces.len()
    );
    assert!(pieces.iter().all(Bytes::is_unique), "a piece holds its message");
    let mut next = 0_u32;
    while let Received::Data(data) = server.receive(1) {
        for byte in data {
            assert_eq!(byte, next as u8);
            next += 1;
        }
    }
    assert_eq!(next, 20_000);
}

/// A handler can keep the metadata of its call for any time.
#[test]
fn metadata_pins_little_of_its_message() {
    let metadata = vec![Metadata {
        key: "a".into(),
        value: vec![b'v'; 100].into(),
    }];
    let head = Head {
        metadata: metadata.clone(),
        ..head()
    };
    let trailers = Trailers {
        metadata,
        ..Trailers::default()
    };
    let credits = raw(5, 0, 1, &[0; 4]).repeat(5_000);
    let long = |frame: Vec<u8>| Bytes::from([frame, credits.clone()].concat());

    let mut pair = Pair::new();
    let now = pair.now;
    let message = long(raw(1, 0, 1, &head.encode_to_vec()));
    pair.server
        .handle(now, now.instant, RelayStamp::default(), message.clone())
        .unwrap();
    assert!(message.is_unique(), "a request's head holds its message");
    assert_eq!(pair.server.take_head(1), Some(head.clone()));

    assert_eq!(pair.open(), 1);
    for frame in [
        raw(1, 0, 1, &head.encode_to_vec()),
        raw(3, 0, 1, &trailers.encode_to_vec()),
    ] {
        let message = long(frame);
        pair.client
            .handle(now, now.instant, RelayStamp::default(), message.clone())
            .unwrap();
        assert!(message.is_unique(), "an answer's metadata holds its message");
    }
    assert_eq!(pair.client.receive(1), Received::Trailers(trailers));
}

#[test]
fn both_ends_use_the_features_that_both_announce() {
    let now = Anchor {
        instant: Instant::now(),
        unix_ns: 1_000_000_000,
    };
    let mut client = Mux::new(Role::Client, now.instant);
    let mut server = Mux::new(Role::Server, now.instant);
    // Feature 63 is of a version that the exec-server does not know.
    (client.own_features, server.own_features) =
        (Features::from_bits(1 << 63 | 0b011), Features::from_bits(0b110));
    assert_eq!((client.peer_version(), server.peer_version()), (None, None));
    assert_eq!((client.features(), server.features()), Default::default());

    client.set_peer(9, server.own_features);
    let hello = message(&mut client, now).unwrap();
    server
        .handle(now, now.instant, RelayStamp::default(), hello)
        .unwrap();
    assert_eq!((client.peer_version(), server.peer_version()), (Some(9), Some(2)));
    assert_eq!(client.features(), Features::from_bits(0b010));
    assert_eq!(server.features(), client.features());
}

#[test]
fn the_first_frame_of_a_session_is_the_clients_hello_in_the_message_of_the_first_call() {
    let now = Anchor {
        instant: Instant::now(),
        unix_ns: 1_000_000_000,
    };
    let mut client = Mux::new(Role::Client, now.instant);
    assert!(client.owes_hello() && client.wants_transmit());
    client.handle_timeout(now.instant).unwrap();
    client.open(now.instant, &head(), None).unwrap();
    let mut first = message(&mut client, now).unwrap();
    assert!(!client.owes_hello());
    let mut features = Vec::new();
    encode_varint(Features::SUPPORTED.bits(), &mut features);
    let header = [11, 0, 0, 3 + features.len() as u8, 0, 0, 0, 0];
    let expected = [&header[..], &[8, 2, 16], &features].concat();
    assert_eq!(first[..expected.len()], expected);
    let kinds: Vec<_> = std::iter::from_fn(|| frame::next(&mut first).unwrap()).collect();
    let kinds: Vec<_> = kinds.iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [Kind::Hello, Kind::Ping, Kind::Head]);
    // A client that ends the session before it has sent anything sends Hello first too.
    let mut client = Mux::new(Role::Client, now.instant);
    client.give_up(go_away::Reason::ProtocolError, "test");
    let last = message(&mut client, now).unwrap();
    assert_eq!((last[0], last[expected.len()]), (11, 8));
}

/// The result of a new server for this first message.
fn first_message(frames: &[u8]) -> Result<(), MuxError> {
    let now = Anchor {
        instant: Instant::now(),
        unix_ns: 1_000_000_000,
    };
    let mut server = Mux::new(Role::Server, now.instant);
    let frames = Bytes::copy_from_slice(frames);
    server.handle(now, now.instant, RelayStamp::default(), frames)
}

#[test]
fn a_session_that_does_not_begin_with_hello_is_refused() {
    let hello = raw(11, 0, 0, &[8, 2]);
    let ping = raw(6, 0, 0, &[8, 1]);
    let no_hello = Err(MuxError::Protocol("the client's first frame is not Hello"));
    assert_eq!(first_message(&hello), Ok(()));
    assert_eq!(first_message(&[&hello[..], &ping].concat()), Ok(()));
    assert_eq!(first_message(b""), no_hello, "an empty message");
    assert_eq!(first_message(&ping), no_hello);
    assert_eq!(first_message(&[&ping[..], &hello].concat()), no_hello, "second");
    assert_eq!(
        first_message(&[&raw(200, 0, 0, b"")[..], &hello].concat()),
        no_hello
    );
    for version in [&b""[..], &[8, 1]] {
        let below = first_message(&raw(11, 0, 0, version));
        assert!(
            matches!(below, Err(MuxError::Protocol(_))),
            "{version:?}: {below:?}"
        );
    }
    let malformed = first_message(&raw(11, 0, 0, &[0xff]));
    assert!(matches!(malformed, Err(MuxError::Frame(_))), "{malformed:?}");
    let twice = first_message(&[&hello[..], &hello].concat());
    assert!(matches!(twice, Err(MuxError::Protocol(_))), "{twice:?}");
    // A newer client, with a field that this version does not know.
    assert_eq!(first_message(&raw(11, 0, 0, &[8, 3, 16, 255, 1, 24, 1])), Ok(()));
    let mut pair = Pair::new();
    let (now, stamp) = (pair.now, RelayStamp::default());
    let from_server = pair.client.handle(now, now.instant, stamp, hello.into());
    assert!(
        matches!(from_server, Err(MuxError::Protocol(_))),
        "{from_server:?}"
    );
}

#[test]
fn unknown_optional_frames_are_skipped_and_unknown_required_ones_refused_by_number() {
    let mut pair = Pair::new();
    let id = pair.exchange();
    let (now, stamp) = (pair.now, RelayStamp::default());
    let data = raw(2, 0, id, b"request");
    let message = [
        raw(128, 0, 0, b""),
        raw(255, 0, 77, &[9; 60_000]),
        data,
        raw(200, 0, id, b"x"),
    ]
    .concat();
    pair.server
        .handle(now, now.instant, stamp, message.into())
        .unwrap();
    assert_eq!(pair.server.receive(id), Received::Data("request".into()));
    assert_eq!(pair.server.receive(id), Received::Pending);

    for number in [0, 12, 127] {
        let refused = pair
            .server
            .handle(now, now.instant, stamp, raw(number, 0, 0, b"").into());
        let error = refused.unwrap_err();
        assert_eq!(error, FrameError::UnknownType(number).into());
        let (reason, detail) = error.go_away();
        assert_eq!(reason, go_away::Reason::ProtocolError);
        assert!(detail.contains(&format!("type {number}")), "{detail}");
    }
}

#[test]
fn a_flood_of_optional_frames_ends_the_session() {
    let mut pair = Pair::new();
    let (now, stamp) = (pair.now, RelayStamp::default());
    let most = raw(200, 0, 0, b"x").repeat(limits::MAX_SKIPPED);
    for _ in 0..100 {
        pair.server
            .handle(now, now.instant, stamp, most.clone().into())
            .unwrap();
    }
    let one_more = [&most[..], &raw(201, 0, 1, b"")].concat();
    let error = pair.server.handle(now, now.instant, stamp, one_more.into());
    let error = error.unwrap_err();
    assert!(matches!(error, MuxError::Limit(_)), "{error}");
    assert_eq!(error.go_away().0, go_away::Reason::LimitExceeded);
}
