//! For any messages of a peer, at any time, the multiplexer keeps its bounds, accounts for credit to the byte, delivers
//! bytes in order, and sends frames that a peer can decode. A peer that breaks the protocol gets one `GoAway`.

mod seeds;

use std::collections::{HashMap, VecDeque};

use baton_fuzz::{Input, Target};
use baton_proto::channel::{GoAway, Pong, Trailers};
use baton_proto::limits::{HEAD_MAX, METADATA_ENTRIES_MAX, NOISE_PLAINTEXT_MAX, STREAM_WINDOW, TIMINGS_MAX};
use baton_trace::record::Anchor;
use bytes::BytesMut;
use prost::Message as _;

use super::*;
use crate::frame::{self, Kind, put_header};
use crate::stamps::RelayStamp;
use seeds::seeds;

/// A client against a hostile exec-server. The input: see [`Simulation::act`].
pub(crate) const CLIENT: Target = Target {
    name: "mux-client",
    run: |bytes| run(Role::Client, bytes),
    seeds,
};

/// An exec-server against a hostile client. The input: see [`Simulation::act`].
pub(crate) const SERVER: Target = Target {
    name: "mux-server",
    run: |bytes| run(Role::Server, bytes),
    seeds,
};

/// Most bytes that a peer sends in a run, so that a run is short.
const SENT_MAX: usize = 3 * 1024 * 1024;

/// Most memory that unread bytes of a stream may pin: a factor of their length, and a constant. A slice of a message
/// pins the whole message.
const PINNED: (usize, usize) = (9, 64 * 1024);

struct Simulation {
    mux: Mux,
    now: Anchor,
    /// The peer's message under construction.
    message: Vec<u8>,
    /// Every delivered message, to compute what its slices pin.
    delivered: Vec<Bytes>,
    sent_bytes: usize,
    /// By stream: the bytes that the peer sent, and how many of them the application received.
    sent: HashMap<StreamId, (Vec<u8>, usize)>,
    /// By stream: bytes of `Data` that the multiplexer may still send.
    granted: HashMap<StreamId, u64>,
    /// Pings that the peer received and did not answer, oldest first.
    unanswered_pings: VecDeque<u64>,
}

fn run(role: Role, bytes: &[u8]) {
    let now = Anchor {
        instant: Instant::now(),
        unix_ns: 1_000_000_000,
    };
    let mut simulation = Simulation {
        mux: Mux::new(role, now.instant),
        now,
        message: Vec::new(),
        delivered: Vec::new(),
        sent_bytes: 0,
        sent: HashMap::new(),
        granted: HashMap::new(),
        unanswered_pings: VecDeque::new(),
    };
    if role == Role::Server {
        // Unit tests cover other first messages: each ends the session.
        let hello = Bytes::from_static(&[11, 0, 0, 2, 0, 0, 0, 0, 8, 2]);
        let taken = simulation
            .mux
            .handle(now, now.instant, RelayStamp::default(), hello);
        taken.expect("a Hello begins the session");
    }
    let mut input = Input::new(bytes);
    while !input.is_empty() && simulation.sent_bytes < SENT_MAX {
        let done = simulation.act(&mut input);
        while simulation.mux.poll_event().is_some() {}
        if let Err(error) = done {
            simulation.check_go_away(&error);
            return;
        }
        simulation.check();
    }
    simulation.check_drains();
}

impl Simulation {
    /// One step of the peer, the application or the clock.
    fn act(&mut self, input: &mut Input<'_>) -> Result<(), MuxError> {
        match input.u8() % 20 {
            0 => self.message.extend_from_slice(input.chunk()),
            1 => {
                let path = ["/a.B/C", "", "no path"][usize::from(input.u8() % 3)];
                let timeout_ns = u64::from(input.u16()) << (input.u8() % 48);
                let head = Head {
                    path: path.into(),
                    timeout_ns,
                    window: timeout_ns as u32,
                    timings: true,
                    call_id: 7,
                    metadata: entries(input),
                };
                self.put(Kind::Head, input, &head.encode_to_vec());
            }
            2 => {
                let (len, end) = (usize::from(input.u16()), input.bool());
                let id = stream(input);
                let len = len.min(NOISE_PLAINTEXT_MAX - 8);
                // A pattern, to detect reordering.
                let from = self.message.len() as u8;
                let body: Vec<u8> = (0..len).map(|at| from.wrapping_add(at as u8)).collect();
                put_header(&mut self.message, Kind::Data, end, id, len);
                self.message.extend_from_slice(&body);
            }
            3 => {
                // Timings of any length and content: the multiplexer does not decode them.
                let trailers = Trailers {
                    metadata: entries(input),
                    timings: vec![input.u8(); usize::from(input.u16() % 1_024)].into(),
                    call_id: 7,
                };
                self.put(Kind::Trailers, input, &trailers.encode_to_vec());
            }
            4 => {
                let code = u32::from(input.u8()).to_be_bytes();
                self.put(Kind::Reset, input, &code);
            }
            5 => {
                let credit = input.u32().to_be_bytes();
                self.put(Kind::Credit, input, &credit);
            }
            6 => {
                let ping = baton_proto::channel::Ping {
                    id: input.u8().into(),
                    sent_unix_ns: u64::MAX,
                };
                put_header(&mut self.message, Kind::Ping, false, 0, ping.encoded_len());
                self.message.extend_from_slice(&ping.encode_to_vec());
            }
            7 => {
                let pong = Pong {
                    id: input.u8().into(),
                    ping_sent_unix_ns: input.u64(),
                    received_unix_ns: input.u64(),
                    sent_unix_ns: input.u64(),
                };
                put_header(&mut self.message, Kind::Pong, false, 0, pong.encoded_len());
                self.message.extend_from_slice(&pong.encode_to_vec());
            }
            8 => {
                let go_away = GoAway {
                    reason: input.u8().into(),
                    last_stream: input.u32(),
                    detail: String::from_utf8_lossy(input.chunk()).into_owned(),
                };
                let body = go_away.encode_to_vec();
                put_header(&mut self.message, Kind::GoAway, false, 0, body.len().min(0xffff));
                self.message.extend_from_slice(&body);
            }
            9 => {
                let kind = [Kind::Head, Kind::Trailers, Kind::Reset, Kind::Credit, Kind::Data];
                let kind = kind[usize::from(input.u8() % 5)];
                let body = input.chunk();
                self.put(kind, input, body);
            }
            10 | 11 => self.deliver()?,
            12 => drop(self.transmit()),
            13 => self.open_or_answer(input),
            14 => self.send_data(input),
            15 => {
                let (id, with_timings) = (stream(input), input.bool());
                let draft = with_timings.then(|| TimingsDraft {
                    anchor: self.now,
                    stages: Vec::new(),
                    continues: None,
                });
                if self.mux.role == Role::Server {
                    let _ = self.mux.send_trailers(id, vec![entry()], draft);
                }
            }
            16 => {
                let (id, times) = (stream(input), input.u8());
                for _ in 0..times {
                    if !self.receive(id) {
                        break;
                    }
                }
            }
            17 => {
                let id = stream(input);
                match input.u8() % 3 {
                    0 => self.mux.reset(id, code::CANCELLED),
                    1 => self.mux.release(id),
                    _ => drop(self.mux.take_head(id)),
                }
            }
            18 => {
                let by = Duration::from_millis(input.u16().into());
                self.now.instant += by;
                self.now.unix_ns += by.as_nanos() as u64;
                self.mux.handle_timeout(self.now.instant)?;
                assert!(
                    self.mux.next_timeout() > self.now.instant,
                    "the next timeout is not in the future"
                );
            }
            _ => self.mux.go_away(go_away::Reason::Shutdown, "bye"),
        }
        Ok(())
    }

    /// Appends a frame to the peer's message.
    fn put(&mut self, kind: Kind, input: &mut Input<'_>, body: &[u8]) {
        let body = &body[..body.len().min(0xffff)];
        put_header(&mut self.message, kind, false, stream(input), body.len());
        self.message.extend_from_slice(body);
    }

    fn deliver(&mut self) -> Result<(), MuxError> {
        let mut message = std::mem::take(&mut self.message);
        message.truncate(NOISE_PLAINTEXT_MAX);
        let message = Bytes::from(message);
        self.sent_bytes += message.len();
        self.delivered.push(message.clone());
        let mut frames = message.clone();
        while let Ok(Some(frame)) = frame::next(&mut frames) {
            match frame.kind {
                Kind::Data => {
                    let (sent, _) = self.sent.entry(frame.stream).or_default();
                    sent.extend_from_slice(&frame.body);
                }
                // It may announce a larger window than the protocol's.
                Kind::Head if self.mux.role == Role::Server => {
                    if let Ok(head) = Head::decode(frame.body.clone()) {
                        *self.granted(frame.stream) += u64::from(head.window.saturating_sub(STREAM_WINDOW));
                    }
                }
                Kind::Credit if frame.body.len() == 4 => {
                    let credit = frame.body.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                    *self.granted(frame.stream) += credit;
                }
                // Any other `Pong` than the next one due ends the session.
                Kind::Pong => drop(self.unanswered_pings.pop_front()),
                _ => {}
            }
        }
        let now = self.now;
        self.mux
            .handle(now, now.instant, RelayStamp::default(), message)?;
        for (id, stream) in &self.mux.streams {
            let pieces = &stream.receive.queue;
            let pinned: usize = pieces.iter().map(|piece| self.pinned(piece)).sum();
            let queued = stream.receive.buffered;
            assert!(
                pinned <= PINNED.0 * queued + PINNED.1,
                "stream {id} pins {pinned} bytes with {queued}"
            );
        }
        Ok(())
    }

    fn granted(&mut self, id: StreamId) -> &mut u64 {
        self.granted.entry(id).or_insert(STREAM_WINDOW.into())
    }

    /// Transmits a message, decodes it as a peer would, and checks its `Data` against the granted credit.
    fn transmit(&mut self) -> bool {
        let mut out = BytesMut::new();
        let any = self.mux.transmit(self.now, &mut out);
        assert_eq!(any, !out.is_empty());
        assert!(
            out.len() <= NOISE_PLAINTEXT_MAX,
            "a message of {} bytes",
            out.len()
        );
        if !any {
            assert!(!self.mux.wants_transmit(), "it wants to send, but has nothing");
        }
        let mut message = Bytes::from(out);
        while let Some(frame) = frame::next(&mut message).expect("our own frames can be read") {
            match frame.kind {
                Kind::Data => {
                    let granted = self.granted(frame.stream);
                    let left = granted.checked_sub(frame.body.len() as u64);
                    *granted = left.expect("Data beyond the peer's credit");
                }
                Kind::Head => {
                    assert!(frame.body.len() <= HEAD_MAX);
                    let head = Head::decode(frame.body).expect("our own Head decodes");
                    assert!(head.metadata.len() <= METADATA_ENTRIES_MAX);
                }
                Kind::Trailers => {
                    let trailers = Trailers::decode(frame.body).expect("our own Trailers decode");
                    assert!(trailers.timings.len() <= TIMINGS_MAX);
                }
                Kind::Ping => {
                    let ping = baton_proto::channel::Ping::decode(frame.body).expect("our own Ping decodes");
                    self.unanswered_pings.push_back(ping.id);
                }
                _ => {}
            }
        }
        if any {
            self.mux.sealed(self.now.instant);
        }
        any
    }

    fn open_or_answer(&mut self, input: &mut Input<'_>) {
        let (id, timeout) = (stream(input), u64::from(input.u16()));
        let head = Head {
            path: "/a.B/C".into(),
            metadata: entries(input),
            window: limits::RECEIVE_WINDOW,
            ..Head::default()
        };
        match self.mux.role {
            Role::Client => {
                let deadline = deadline(self.now.instant, timeout * 1_000_000);
                let _ = self.mux.open(self.now.instant, &head, deadline);
            }
            Role::Server => {
                let _ = self.mux.send_head(id, &head);
            }
        }
    }

    fn send_data(&mut self, input: &mut Input<'_>) {
        let (id, len) = (stream(input), input.u16());
        let end = input.bool() && self.mux.role == Role::Client;
        if self.mux.has_room(id) == Ok(true) {
            let data = vec![7; len.into()].into();
            self.mux
                .send_data(self.now.instant, id, data, end)
                .expect("there was room");
        }
    }

    /// Receives the next data of a stream; `false`: there is none.
    fn receive(&mut self, id: StreamId) -> bool {
        let Received::Data(data) = self.mux.receive(id) else {
            return false;
        };
        assert!(!data.is_empty(), "empty data");
        let (sent, taken) = self.sent.get_mut(&id).expect("the peer has sent on this stream");
        let next = sent.get(*taken..*taken + data.len());
        assert_eq!(next, Some(&data[..]), "bytes lost, repeated or reordered");
        *taken += data.len();
        true
    }

    /// Checks the bounds, and the accounts of credit and memory.
    fn check(&self) {
        let mux = &self.mux;
        assert!(mux.streams.len() <= MAX_STREAMS + limits::MAX_ENDING);
        let open = mux
            .streams
            .values()
            .filter(|stream| !stream.is_finished(mux.role));
        assert!(open.count() <= MAX_STREAMS);
        assert!(
            mux.deadlines.len() <= mux.streams.len(),
            "a deadline outlives its stream"
        );
        assert!(mux.control.pongs.len() <= limits::MAX_PONGS);
        assert!(mux.control.resets.len() <= limits::MAX_RESETS + MAX_STREAMS);
        assert!(
            mux.control.credits.len() <= MAX_STREAMS + limits::MAX_ENDING + 64,
            "{} credits",
            mux.control.credits.len()
        );
        assert!(mux.goodbye.chars().count() <= baton_trace::limits::HINT_CHARS);
        for (id, stream) in &mux.streams {
            let receive = &stream.receive;
            let queued: usize = receive.queue.iter().map(Bytes::len).sum();
            assert_eq!(receive.buffered, queued, "stream {id}");
            let accounted = receive.window as usize + receive.grant as usize + receive.buffered;
            match receive.reset {
                None => assert_eq!(
                    accounted,
                    limits::RECEIVE_WINDOW as usize,
                    "credit leaks on stream {id}"
                ),
                Some(_) => assert!(accounted <= limits::RECEIVE_WINDOW as usize),
            }
            assert!(receive.empty_frames <= limits::MAX_EMPTY_DATA);
            let granted = self.granted.get(id).copied();
            assert!(u64::from(stream.credit) <= granted.unwrap_or(STREAM_WINDOW.into()));
            let backlog = stream.queue.iter().map(|item| match item {
                crate::stream::Item::Data { data, .. } => data.len(),
                _ => 0,
            });
            assert_eq!(stream.queued_bytes, backlog.sum::<usize>());
            assert!(stream.queued_bytes <= limits::SEND_BUFFER + usize::from(u16::MAX));
        }
    }

    /// Memory that one piece pins: its handle, and its message or its own buffer.
    fn pinned(&self, piece: &Bytes) -> usize {
        let at = piece.as_ptr() as usize;
        let holds = |message: &&Bytes| {
            (message.as_ptr() as usize..message.as_ptr() as usize + message.len()).contains(&at)
        };
        let message = self.delivered.iter().rev().find(holds);
        size_of::<Bytes>() + message.map_or(2 * piece.len() + 32, Bytes::len)
    }

    /// A peer that broke the protocol gets one `GoAway`, and nothing after it.
    fn check_go_away(&mut self, error: &MuxError) {
        let (reason, detail) = error.go_away();
        self.mux.give_up(reason, &detail);
        let mut out = BytesMut::new();
        let owes_hello = self.mux.owes_hello();
        assert!(self.mux.wants_transmit() && self.mux.transmit(self.now, &mut out));
        let mut message = Bytes::from(out.clone());
        if owes_hello {
            let hello = frame::next(&mut message).expect("our own frame");
            assert_eq!(hello.map(|frame| frame.kind), Some(Kind::Hello));
        }
        let last = frame::next(&mut message)
            .expect("our own frame")
            .expect("one frame");
        assert_eq!((last.kind, message.len()), (Kind::GoAway, 0));
        assert!(!self.mux.wants_transmit() && !self.mux.transmit(self.now, &mut out));
    }

    /// With enough credit and every ping answered, everything queued is sent, and then the writer is idle.
    fn check_drains(&mut self) {
        let ids: Vec<_> = self.mux.streams.keys().copied().collect();
        for _ in 0..100_000 {
            if self.transmit() || self.answer_ping() {
                continue;
            }
            let mut granted = false;
            for id in &ids {
                if let Some(stream) = self.mux.streams.get_mut(id)
                    && stream.queued_bytes > 0
                    && stream.credit == 0
                {
                    stream.credit = STREAM_WINDOW;
                    *self.granted.entry(*id).or_insert(0) += u64::from(STREAM_WINDOW);
                    self.mux.schedule.activate(*id);
                    granted = true;
                }
            }
            if !granted {
                let waiting = self
                    .mux
                    .streams
                    .values()
                    .filter(|stream| !stream.queue.is_empty())
                    .count();
                assert_eq!(waiting, 0, "streams that are never sent");
                return;
            }
        }
        panic!("the writer never becomes idle");
    }

    /// The peer answers the oldest unanswered ping; `false`: there is none.
    fn answer_ping(&mut self) -> bool {
        let Some(id) = self.unanswered_pings.pop_front() else {
            return false;
        };
        let pong = Pong {
            id,
            ..Pong::default()
        };
        let mut message = Vec::new();
        put_header(&mut message, Kind::Pong, false, 0, pong.encoded_len());
        message.extend_from_slice(&pong.encode_to_vec());
        let (now, none) = (self.now, RelayStamp::default());
        let answered = self.mux.handle(now, now.instant, none, message.into());
        answered.expect("a Pong for the oldest Ping is accepted");
        true
    }
}

fn entry() -> Metadata {
    Metadata {
        key: "key".into(),
        value: Bytes::from_static(b"value"),
    }
}

/// Mostly few, because many are slow to build.
fn entries(input: &mut Input<'_>) -> Vec<Metadata> {
    let count = match input.u8() {
        255 => METADATA_ENTRIES_MAX + 1,
        254 => METADATA_ENTRIES_MAX / 2,
        few => usize::from(few % 8),
    };
    vec![entry(); count]
}

fn stream(input: &mut Input<'_>) -> StreamId {
    match input.u8() {
        u8::MAX => StreamId::MAX,
        id => id.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_client_breaks_the_bounds_or_the_accounts_of_an_exec_servers_multiplexer() {
        baton_fuzz::replay(&SERVER);
    }

    #[test]
    fn no_exec_server_breaks_the_bounds_or_the_accounts_of_a_clients_multiplexer() {
        baton_fuzz::replay(&CLIENT);
    }
}
