//! Renews the keys while calls are open: an IKhfs handshake inside the session whose keys it renews.
//!
//! ```text
//!  exec-server                    client
//!       │ ── Request ───────────────► │   only when the exec-server is due first
//!       │ ◄────────────────── Start ─ │   message 1
//!       │ ── Answer ────────────────► │   message 2; the exec-server seals with the new key from here on
//!       │ ◄───────────────── Switch ─ │   and so does the client
//! ```
//!
//! Other messages continue meanwhile, under the old key of their direction. Invariants:
//! * the client is always the initiator, as in the first handshake. A `Request` that crosses its `Start` is ignored, so
//!   both ends may begin at the same time;
//! * a direction changes keys directly after its sender's last message of the rekey (`Answer`, `Switch`), so no message
//!   is opened with the wrong key;
//! * each handshake's prologue contains the hash of the previous handshake, which binds it to this session and to this
//!   rekey;
//! * the peer's static key stays the same, and the caller checks again whether it is allowed ([`Answer`]);
//! * a peer that does not answer in time, causes too many rekeys, or sends a message out of order ends the session.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::handshake::{HandshakeError, Initiator, Responder};
use crate::key::{PublicKey, StaticKey};
use crate::policy::{Allowance, RekeyPolicy};
use crate::prologue::rekey_prologue;
use crate::transport::{Keys, Transport, TransportError};

/// Messages of a rekey. Each is alone in a transport message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// The exec-server requests a rekey.
    Request,
    /// The client begins a rekey: Noise message 1.
    Start(Bytes),
    /// The exec-server's answer: Noise message 2. Its next messages are sealed with the new key.
    Answer(Bytes),
    /// The client's next messages are sealed with the new key.
    Switch,
}

/// Why a rekey failed. Each error ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RekeyError {
    /// The peer must not send this message, or not in this phase.
    #[error("the peer broke the protocol: {0}")]
    Unexpected(&'static str),
    /// The peer's handshake does not continue this session, or has an invalid key.
    #[error("a rekey failed: {0}")]
    Handshake(HandshakeError),
    /// No fault of the peer: there is no randomness here.
    #[error("a rekey failed: no randomness from the operating system")]
    Local,
    /// The static key is not that of the session's client.
    #[error("the client used a different static key in a rekey than in the session")]
    OtherKey,
    /// The peer caused more rekeys than [`RekeyPolicy::pace`] allows.
    #[error("the peer exceeded a limit: rekeys")]
    TooOften,
    /// The peer took longer than [`RekeyPolicy::timeout`].
    #[error("the peer did not answer in a rekey in time")]
    Timeout,
}

impl From<HandshakeError> for RekeyError {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Local => Self::Local,
            HandshakeError::Verify | HandshakeError::KemKey => Self::Handshake(error),
        }
    }
}

/// The role of this end, and the static keys of both ends.
pub enum Endpoint {
    /// The end that dialled.
    Client {
        /// Its own key.
        key: Arc<StaticKey>,
        /// The pinned key.
        exec_server: PublicKey,
    },
    /// The end that was dialled.
    ExecServer {
        /// Its own key.
        key: Arc<StaticKey>,
        /// The key that the first handshake proved.
        client: PublicKey,
    },
}

/// A verified `Start`. Pass it to [`Session::answer`], or drop it and end the session.
#[must_use = "the client waits for the answer"]
pub struct Answer(Responder);

/// An established session, which renews its keys.
pub struct Session {
    transport: Transport,
    end: Endpoint,
    /// Prologue of the session's first handshake.
    prologue: Vec<u8>,
    policy: RekeyPolicy,
    phase: Phase,
    /// When the current keys were established.
    since: Instant,
    /// Deadline of the current rekey; an exec-server sets it again when it answers.
    deadline: Option<Instant>,
    allowance: Allowance,
    renewals: u64,
}

/// State of a rekey.
enum Phase {
    /// No rekey is in progress.
    Steady,
    /// Client: `Start` is to be sent while `start` is `Some`, and was sent afterwards.
    Starting {
        initiator: Initiator,
        start: Option<Bytes>,
        /// The exec-server has requested a rekey too.
        requested: bool,
    },
    /// Client: `Switch` must be sent.
    Switching(Keys),
    /// Exec-server: `Request` must be sent, or was sent.
    Requesting { sent: bool },
    /// Exec-server: `Answer` must be sent.
    Answering(Bytes, Keys),
    /// Exec-server: waits for the client's `Switch`.
    AwaitingSwitch(Keys),
}

impl Session {
    /// A session that was established at `now` by a handshake with this prologue.
    pub fn new(
        mut transport: Transport,
        end: Endpoint,
        prologue: Vec<u8>,
        policy: RekeyPolicy,
        now: Instant,
    ) -> Self {
        transport.limit(policy.end);
        Self {
            transport,
            end,
            prologue,
            policy,
            phase: Phase::Steady,
            since: now,
            deadline: None,
            allowance: Allowance::full(now),
            renewals: 0,
        }
    }

    /// Seals a message; see [`Transport::seal`].
    pub fn seal(&mut self, message: &mut BytesMut) -> Result<(), TransportError> {
        self.transport.seal(message)
    }

    /// Opens a message; see [`Transport::open`].
    pub fn open(&mut self, message: &[u8]) -> Result<BytesMut, TransportError> {
        self.transport.open(message)
    }

    /// Number of completed rekeys.
    pub fn renewals(&self) -> u64 {
        self.renewals
    }

    /// The handshake hash of the newest keys.
    #[cfg(test)]
    pub(crate) fn handshake_hash(&self) -> &[u8; 32] {
        self.transport.hash()
    }

    /// The rekey message to send next, before any other message and alone in its message. Call
    /// [`control_sealed`](Self::control_sealed) once it is sealed.
    pub fn control(&self) -> Option<Control> {
        match &self.phase {
            Phase::Starting { start, .. } => start.clone().map(Control::Start),
            Phase::Requesting { sent: false } => Some(Control::Request),
            Phase::Answering(message, _) => Some(Control::Answer(message.clone())),
            Phase::Switching(_) => Some(Control::Switch),
            Phase::Steady | Phase::Requesting { sent: true } | Phase::AwaitingSwitch(_) => None,
        }
    }

    /// Whether [`control`](Self::control) returns a message.
    pub fn wants_control(&self) -> bool {
        match &self.phase {
            Phase::Starting { start, .. } => start.is_some(),
            Phase::Requesting { sent } => !sent,
            Phase::Answering(..) | Phase::Switching(_) => true,
            Phase::Steady | Phase::AwaitingSwitch(_) => false,
        }
    }

    /// The message from [`control`](Self::control) is sealed. After `Answer` and `Switch`, the next message uses the
    /// new key.
    pub fn control_sealed(&mut self, now: Instant) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Steady) {
            Phase::Starting {
                initiator, requested, ..
            } => Phase::Starting {
                initiator,
                start: None,
                requested,
            },
            Phase::Requesting { .. } => Phase::Requesting { sent: true },
            Phase::Answering(_, keys) => {
                self.transport.switch_send(&keys);
                Phase::AwaitingSwitch(keys)
            }
            Phase::Switching(keys) => {
                self.transport.switch_send(&keys);
                self.renewed(now);
                Phase::Steady
            }
            unchanged @ (Phase::Steady | Phase::AwaitingSwitch(_)) => unchanged,
        };
    }

    /// Handles a rekey message of the peer. `Some`: the caller continues with [`answer`](Self::answer) if the peer's
    /// key is still allowed.
    pub fn handle_control(&mut self, now: Instant, control: Control) -> Result<Option<Answer>, RekeyError> {
        match control {
            Control::Request => self.on_request(now).map(|()| None),
            Control::Start(message) => self.on_start(now, &message).map(Some),
            Control::Answer(message) => self.on_answer(&message).map(|()| None),
            Control::Switch => self.on_switch(now).map(|()| None),
        }
    }

    /// Queues the answer to a `Start` whose client is still allowed.
    pub fn answer(&mut self, now: Instant, answer: Answer) -> Result<(), RekeyError> {
        let (keys, message) = answer.0.finish_keys(&[])?;
        self.enter(now, Phase::Answering(message, keys));
        Ok(())
    }

    /// Begins a rekey if one is due and none is in progress. Call it after messages were sealed or opened.
    pub fn poll(&mut self, now: Instant) -> Result<(), RekeyError> {
        let is_due = || {
            self.transport.has_carried(&self.policy.after)
                || now.saturating_duration_since(self.since) >= self.policy.after_age
        };
        if matches!(self.phase, Phase::Steady) && is_due() {
            self.begin(now, false)?;
        }
        Ok(())
    }

    /// Begins a rekey when the keys reach their maximum age, and detects a peer that does not answer.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), RekeyError> {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(RekeyError::Timeout);
        }
        self.poll(now)
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called. `None`: never.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Steady => self.since.checked_add(self.policy.after_age),
            _ => self.deadline,
        }
    }

    fn begin(&mut self, now: Instant, requested: bool) -> Result<(), RekeyError> {
        let phase = match &self.end {
            Endpoint::Client { key, exec_server } => {
                let (initiator, start) = Initiator::start(key, exec_server, &self.next_prologue())?;
                Phase::Starting {
                    initiator,
                    start: Some(start),
                    requested,
                }
            }
            Endpoint::ExecServer { .. } => Phase::Requesting { sent: false },
        };
        self.enter(now, phase);
        Ok(())
    }

    /// Enters a phase in which the peer must answer before the timeout.
    fn enter(&mut self, now: Instant, phase: Phase) {
        self.phase = phase;
        self.deadline = now.checked_add(self.policy.timeout);
    }

    fn renewed(&mut self, now: Instant) {
        self.since = now;
        self.deadline = None;
        self.renewals += 1;
    }

    fn next_prologue(&self) -> Vec<u8> {
        rekey_prologue(&self.prologue, self.transport.hash())
    }

    fn on_request(&mut self, now: Instant) -> Result<(), RekeyError> {
        if let Endpoint::ExecServer { .. } = self.end {
            return Err(RekeyError::Unexpected(
                "a client requested a rekey instead of beginning one",
            ));
        }
        match &mut self.phase {
            Phase::Steady => {
                self.charge(now)?;
                self.begin(now, true)
            }
            // It crossed this end's Start. Only one can; more would be a flood that costs the peer nothing.
            Phase::Starting {
                requested: requested @ false,
                ..
            } => {
                *requested = true;
                Ok(())
            }
            _ => Err(RekeyError::Unexpected("a rekey was requested during a rekey")),
        }
    }

    fn on_start(&mut self, now: Instant, message: &[u8]) -> Result<Answer, RekeyError> {
        let Endpoint::ExecServer { key, client } = &self.end else {
            return Err(RekeyError::Unexpected("an exec-server began a rekey"));
        };
        if !matches!(self.phase, Phase::Steady | Phase::Requesting { .. }) {
            return Err(RekeyError::Unexpected("a rekey began during a rekey"));
        }
        let (key, client) = (Arc::clone(key), *client);
        // Before any Diffie-Hellman operation, so that a flood costs little.
        self.charge(now)?;
        let responder = Responder::read(&key, &self.next_prologue(), message)?;
        if *responder.remote() != client {
            return Err(RekeyError::OtherKey);
        }
        Ok(Answer(responder))
    }

    fn on_answer(&mut self, message: &[u8]) -> Result<(), RekeyError> {
        let unexpected = Err(RekeyError::Unexpected("an answer without a rekey"));
        match std::mem::replace(&mut self.phase, Phase::Steady) {
            Phase::Starting {
                initiator,
                start: None,
                ..
            } => {
                let (keys, payload) = initiator.finish_keys(message)?;
                if !payload.is_empty() {
                    return Err(RekeyError::Unexpected("an answer to a rekey with a payload"));
                }
                self.transport.switch_receive(&keys);
                self.phase = Phase::Switching(keys);
                Ok(())
            }
            _ => unexpected,
        }
    }

    fn on_switch(&mut self, now: Instant) -> Result<(), RekeyError> {
        match std::mem::replace(&mut self.phase, Phase::Steady) {
            Phase::AwaitingSwitch(keys) => {
                self.transport.switch_receive(&keys);
                self.renewed(now);
                Ok(())
            }
            _ => Err(RekeyError::Unexpected("a new key without a rekey")),
        }
    }

    /// Counts a rekey that the peer causes.
    fn charge(&mut self, now: Instant) -> Result<(), RekeyError> {
        if self.allowance.take(now, self.policy.pace) {
            Ok(())
        } else {
            Err(RekeyError::TooOften)
        }
    }
}

#[cfg(test)]
mod tests;
