//! Two real ends that rekey continually, with an attacker at either end or on the wire. A session between honest ends
//! does not end; an attack ends it with a typed error; an altered message never decrypts.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_fuzz::{Input, Script, Target};
use baton_mux::{Role, StreamId};
use baton_noise::key::Seed;
use baton_noise::{
    Control, Endpoint, Initiator, KeyLimit, MESSAGE_1_LEN, MESSAGE_2_LEN, RekeyError, RekeyPolicy, Responder,
    TransportError,
};
use baton_proto::channel::Head;
use baton_proto::limits::NOISE_PLAINTEXT_MAX;

use super::*;
use crate::allow::Grant;

/// The input: both policies, then steps (see [`SessionPair::act`]).
pub(crate) const SESSION: Target = Target {
    name: "session",
    run,
    seeds,
};

const CLIENT: usize = 0;
const SERVER: usize = 1;

struct SessionPair {
    ends: [Established; 2],
    /// Sealed messages on their way to each end.
    wires: [VecDeque<Bytes>; 2],
    now: Anchor,
    is_allowed: Arc<AtomicBool>,
    /// No message was forged, altered, dropped or repeated.
    is_honest: bool,
    /// Streams that the exec-server has answered.
    answered: HashSet<StreamId>,
}

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut pair = SessionPair::new(policy(&mut input), policy(&mut input));
    while !input.is_empty() {
        if let Err(error) = pair.act(&mut input) {
            pair.assert_fair(&error);
            return;
        }
        let [client, server] = &pair.ends;
        assert!(
            client.renewals().abs_diff(server.renewals()) <= 1,
            "one end is ahead by two keys"
        );
    }
}

fn standing(is_allowed: &AtomicBool) -> Standing {
    match is_allowed.load(Ordering::Relaxed) {
        true => Standing::Named(Grant::default()),
        false => Standing::Missing,
    }
}

fn policy(input: &mut Input<'_>) -> RekeyPolicy {
    RekeyPolicy {
        after: KeyLimit {
            messages: 1 + u64::from(input.u8()),
            bytes: 1 + u64::from(input.u16()),
        },
        after_age: Duration::from_secs(1 + u64::from(input.u8())),
        pace: Duration::ZERO,
        ..RekeyPolicy::default()
    }
}

impl SessionPair {
    fn new(client_policy: RekeyPolicy, server_policy: RekeyPolicy) -> Self {
        let key = |byte| {
            Arc::new(
                Seed::from_bytes([byte; 32])
                    .client_key()
                    .expect("any seed is a key"),
            )
        };
        let (client_key, server_key) = (key(1), key(2));
        let (initiator, message1) =
            Initiator::start(&client_key, server_key.public(), b"p").expect("message 1");
        let responder = Responder::read(&server_key, b"p", &message1).expect("genuine");
        let (at_server, message2) = responder.finish(b"").expect("message 2");
        let (at_client, _) = initiator.finish(&message2).expect("genuine");
        let client_end = Endpoint::Client {
            key: Arc::clone(&client_key),
            exec_server: *server_key.public(),
        };
        let server_end = Endpoint::ExecServer {
            client: *client_key.public(),
            key: server_key,
        };
        let now = Anchor {
            instant: Instant::now(),
            unix_ns: 1_000_000_000,
        };
        let is_allowed = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&is_allowed);
        let end = |transport, end, policy, role, still_allowed: StillAllowed| {
            let session = Session::new(transport, end, b"p".to_vec(), policy, now.instant);
            Established::new(
                session,
                Mux::new(role, now.instant),
                Epoch([0; 16]),
                still_allowed,
            )
        };
        Self {
            ends: [
                end(
                    at_client,
                    client_end,
                    client_policy,
                    Role::Client,
                    Box::new(|| Standing::Missing),
                ),
                end(
                    at_server,
                    server_end,
                    server_policy,
                    Role::Server,
                    Box::new(move || standing(&asked)),
                ),
            ],
            wires: Default::default(),
            now,
            is_allowed,
            is_honest: true,
            answered: HashSet::new(),
        }
    }

    fn act(&mut self, input: &mut Input<'_>) -> Result<(), SessionError> {
        let step = input.u8();
        let end = usize::from(step >> 7);
        match step % 16 {
            0..=2 => drop(self.transmit(end)?),
            3..=5 => drop(self.deliver(end)?),
            6 => {
                for _ in 0..20 {
                    let mut any = false;
                    for end in [CLIENT, SERVER] {
                        any |= self.transmit(end)?;
                        while self.deliver(1 - end)? {
                            any = true;
                        }
                    }
                    if !any {
                        break;
                    }
                }
            }
            7 => {
                let (at, by) = (input.u16(), input.u8());
                let Some(message) = self.wires[end].pop_front() else {
                    return Ok(());
                };
                let mut message = message.to_vec();
                let at = usize::from(at) % message.len();
                message[at] ^= by;
                let opened = self.ends[end].open(&message);
                if by == 0 {
                    self.take_in(end, opened?)?;
                } else {
                    self.is_honest = false;
                    let error = opened.expect_err("an altered message opened");
                    assert_eq!(error, SessionError::Transport(TransportError::Decrypt));
                    return Err(error);
                }
            }
            8 => {
                self.is_honest = false;
                let plaintext = input.chunk();
                self.forge(end, plaintext)?;
            }
            9 => {
                self.is_honest = false;
                let control = match input.u8() % 4 {
                    0 => Control::Request,
                    1 => Control::Start(Bytes::copy_from_slice(input.chunk())),
                    2 => Control::Answer(Bytes::copy_from_slice(input.chunk())),
                    _ => Control::Switch,
                };
                let mut plaintext = Vec::new();
                control::put(&control, &mut plaintext);
                self.forge(end, &plaintext)?;
            }
            10 => self.is_honest &= self.wires[end].pop_front().is_none(),
            11 => {
                if let Some(message) = self.wires[end].front().cloned() {
                    self.is_honest = false;
                    self.wires[end].push_back(message);
                }
            }
            12 => {
                let by = Duration::from_millis(input.u16().into());
                self.now.instant += by;
                self.now.unix_ns += by.as_nanos() as u64;
                for end in &mut self.ends {
                    end.handle_timeout(self.now.instant)?;
                }
            }
            13 => self.is_allowed.store(input.bool(), Ordering::Relaxed),
            14 => {
                let head = Head {
                    path: "/a.B/C".into(),
                    ..Head::default()
                };
                let _ = self.ends[CLIENT].mux.open(self.now.instant, &head, None);
            }
            _ => {
                let (id, len) = (u32::from(input.u8() % 4), usize::from(input.u16()));
                let mux = &mut self.ends[end].mux;
                if end == SERVER && mux.take_head(id).is_some() {
                    let _ = mux.send_head(id, &Head::default());
                    self.answered.insert(id);
                }
                let is_answered = end == CLIENT || self.answered.contains(&id);
                if is_answered && mux.has_room(id) == Ok(true) {
                    let _ = mux.send_data(self.now.instant, id, vec![7; len].into(), false);
                }
            }
        }
        Ok(())
    }

    fn transmit(&mut self, end: usize) -> Result<bool, SessionError> {
        let mut message = BytesMut::new();
        let from = &mut self.ends[end];
        if !from.wants_transmit() || !from.transmit(self.now, &mut message) {
            return Ok(false);
        }
        from.seal(&mut message)?;
        from.sealed(self.now.instant)?;
        self.wires[1 - end].push_back(message.freeze());
        Ok(true)
    }

    fn deliver(&mut self, end: usize) -> Result<bool, SessionError> {
        let Some(message) = self.wires[end].pop_front() else {
            return Ok(false);
        };
        let plaintext = self.ends[end].open(&message)?;
        self.take_in(end, plaintext)?;
        Ok(true)
    }

    fn take_in(&mut self, end: usize, plaintext: Bytes) -> Result<(), SessionError> {
        let now = self.now;
        let end = &mut self.ends[end];
        end.handle(now, now.instant, RelayStamp::default(), plaintext)?;
        while end.mux.poll_event().is_some() {}
        Ok(())
    }

    /// Seals a plaintext that only a hostile end would send, and appends it to the wire.
    fn forge(&mut self, end: usize, plaintext: &[u8]) -> Result<(), SessionError> {
        let plaintext = &plaintext[..plaintext.len().min(NOISE_PLAINTEXT_MAX)];
        let mut sealed = BytesMut::from(plaintext);
        self.ends[end].seal(&mut sealed)?;
        self.wires[1 - end].push_back(sealed.freeze());
        Ok(())
    }

    /// Asserts that a session between honest ends ended only because of a timeout or a revoked key.
    fn assert_fair(&self, error: &SessionError) {
        let said = error.to_string();
        assert!(!said.chars().any(char::is_control), "{said:?}");
        let is_fair = match error {
            SessionError::Mux(MuxError::Silent | MuxError::Unanswered)
            | SessionError::Rekey(RekeyError::Timeout) => true,
            SessionError::Revoked => !self.is_allowed.load(Ordering::Relaxed),
            _ => false,
        };
        assert!(
            is_fair || !self.is_honest,
            "a session between honest ends failed: {error:?}"
        );
    }
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let of = |messages: u8, bytes: u16, age: u8| {
        let one = |script: Script| script.u8(messages).u16(bytes).u8(age);
        one(one(Script::default()))
    };
    let seldom = || of(255, u16::MAX, 255);
    let calls = |script: Script| {
        script
            .u8(14)
            .u8(6)
            .u8(0x80 | 15)
            .u8(1)
            .u16(2_000)
            .u8(15)
            .u8(1)
            .u16(60_000)
            .u8(6)
    };
    let control = |script: Script, end: u8, which: u8, body: &[u8]| {
        let script = script.u8(end << 7 | 9).u8(which);
        if matches!(which, 1 | 2) {
            script.chunk(body)
        } else {
            script
        }
    };
    vec![
        ("calls", calls(seldom()).done()),
        ("rekeys", calls(calls(of(2, 500, 9))).done()),
        ("rekey-every-message", calls(of(0, 0, 0)).done()),
        (
            "by-age",
            calls(of(200, u16::MAX, 2))
                .u8(12)
                .u16(4_000)
                .u8(6)
                .u8(12)
                .u16(4_000)
                .u8(6)
                .done(),
        ),
        (
            "crossing",
            of(1, 60, 1)
                .u8(12)
                .u16(2_500)
                .u8(0)
                .u8(0x80)
                .u8(0x83)
                .u8(3)
                .u8(6)
                .done(),
        ),
        (
            "timeout",
            of(1, 60, 1).u8(12).u16(3_000).u8(0).u8(12).u16(60_000).done(),
        ),
        (
            "revoked",
            of(1, 60, 1).u8(13).u8(0).u8(12).u16(2_500).u8(6).done(),
        ),
        (
            "altered",
            calls(of(9, 500, 9)).u8(14).u8(0).u8(0x87).u16(3).u8(1).done(),
        ),
        (
            "dropped",
            seldom().u8(14).u8(0).u8(14).u8(0).u8(0x8a).u8(0x83).done(),
        ),
        (
            "repeated",
            seldom().u8(14).u8(0).u8(0x8b).u8(0x83).u8(0x83).done(),
        ),
        ("request", control(seldom(), 1, 0, b"").u8(6).done()),
        (
            "requests",
            control(control(seldom(), 1, 0, b""), 1, 0, b"").u8(6).done(),
        ),
        ("start", control(seldom(), 0, 1, &[7; MESSAGE_1_LEN]).u8(6).done()),
        (
            "answer",
            control(seldom(), 1, 2, &[7; MESSAGE_2_LEN]).u8(6).done(),
        ),
        ("switch", control(seldom(), 0, 3, b"").u8(6).done()),
        (
            "forged",
            seldom().u8(8).chunk(&[1, 0, 0, 0, 0, 0, 0, 1]).u8(6).done(),
        ),
    ]
}

#[cfg(test)]
#[test]
fn no_end_and_no_wire_breaks_a_session_that_renews_its_keys_but_by_cheating() {
    baton_fuzz::replay(&SESSION);
}
