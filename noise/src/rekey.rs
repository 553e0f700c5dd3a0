//! New keys under open calls: an IK handshake that travels inside the session it renews.
//!
//! ```text
//!  exec-server                    client
//!       │ ── Request ───────────────► │   only when the exec-server is due first
//!       │ ◄────────────────── Start ─ │   message 1
//!       │ ── Answer ────────────────► │   message 2; the exec-server seals with the new key from here on
//!       │ ◄───────────────── Switch ─ │   and so does the client
//! ```
//!
//! Everything else goes on meanwhile, under the old key of its direction. Invariants:
//! * the client is always the initiator, as in the first handshake, and a `Request` that crosses its `Start` is
//!   ignored, so both ends may begin at once;
//! * a direction changes keys exactly behind its sender's last word of the rekey (`Answer`, `Switch`), so no message
//!   is ever opened with the wrong key;
//! * each handshake's prologue holds the hash of the one before: it belongs to this session, at this point;
//! * the peer's static key stays the same, and the caller says anew whether it is allowed ([`Answer`]);
//! * a peer that does not answer in time, asks too often, or speaks out of turn ends the session.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::handshake::{HandshakeError, Initiator, Responder};
use crate::key::{PublicKey, StaticKey};
use crate::policy::{Allowance, RekeyPolicy};
use crate::prologue::rekey_prologue;
use crate::transport::{Keys, Transport, TransportError};

/// What the ends of a session say to each other about their keys. Each is a transport message of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// The exec-server wants a rekey.
    Request,
    /// The client begins one: Noise message 1.
    Start(Bytes),
    /// The exec-server's answer: Noise message 2. What it sends next has the new key.
    Answer(Bytes),
    /// What the client sends next has the new key.
    Switch,
}

/// Why a rekey failed. Each ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RekeyError {
    /// Not at this point, or not by this end.
    #[error("the peer broke the protocol: {0}")]
    Unexpected(&'static str),
    /// The handshake does not continue this session, or no randomness here.
    #[error("a rekey failed: {0}")]
    Handshake(#[from] HandshakeError),
    /// The client of this session is another one.
    #[error("the client came to a rekey with another key than the session's")]
    OtherKey,
    /// More rekeys than [`RekeyPolicy::pace`] allows.
    #[error("the peer exceeded a limit: rekeys")]
    TooOften,
    /// Longer than [`RekeyPolicy::timeout`].
    #[error("the peer did not take its part in a rekey in time")]
    Timeout,
}

/// Which end of the session this is, and the static keys of both.
pub enum End {
    /// The one that dialled.
    Client {
        /// Its own key.
        key: Arc<StaticKey>,
        /// The pinned one.
        exec_server: PublicKey,
    },
    /// The one that was dialled.
    ExecServer {
        /// Its own key.
        key: Arc<StaticKey>,
        /// Proven in the first handshake.
        client: PublicKey,
    },
}

/// A `Start` that verified. [`Session::answer`] goes on with it; whoever drops it instead has to end the session.
#[must_use = "the client waits for the answer"]
pub struct Answer(Responder);

/// An established session whose keys are renewed in time.
pub struct Session {
    transport: Transport,
    end: End,
    /// Of the session's first handshake.
    prologue: Vec<u8>,
    policy: RekeyPolicy,
    phase: Phase,
    /// When the present key began to serve.
    since: Instant,
    /// When the rekey under way has to be over.
    deadline: Option<Instant>,
    allowance: Allowance,
    renewals: u64,
}

/// How far a rekey is.
enum Phase {
    /// None is under way.
    Steady,
    /// Client: `Start` is to be sent (while it is here) or has been.
    Starting {
        /// Apart, for it is large and seldom here.
        initiator: Box<Initiator>,
        start: Option<Bytes>,
        /// The exec-server has asked for the same.
        requested: bool,
    },
    /// Client: `Switch` is to be sent.
    Switching(Keys),
    /// Exec-server: `Request` is to be sent, or has been.
    Requesting { sent: bool },
    /// Exec-server: `Answer` is to be sent.
    Answering(Bytes, Keys),
    /// Exec-server: the client's `Switch` is to come.
    AwaitingSwitch(Keys),
}

impl Session {
    /// A session established at `now`, by a handshake with this prologue.
    pub fn new(
        mut transport: Transport,
        end: End,
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

    /// As [`Transport::seal`].
    pub fn seal(&mut self, plaintext: &[u8], out: &mut BytesMut) -> Result<(), TransportError> {
        self.transport.seal(plaintext, out)
    }

    /// As [`Transport::open`].
    pub fn open(&mut self, message: &[u8]) -> Result<BytesMut, TransportError> {
        self.transport.open(message)
    }

    /// How often the keys have been renewed.
    pub fn renewals(&self) -> u64 {
        self.renewals
    }

    /// The hash of the handshake that the newest keys are from.
    #[cfg(test)]
    pub(crate) fn handshake_hash(&self) -> &[u8; 32] {
        self.transport.hash()
    }

    /// What is to be sent next, before anything else, in a message of its own. Call
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

    /// Whether [`control`](Self::control) has something.
    pub fn wants_control(&self) -> bool {
        match &self.phase {
            Phase::Starting { start, .. } => start.is_some(),
            Phase::Requesting { sent } => !sent,
            Phase::Answering(..) | Phase::Switching(_) => true,
            Phase::Steady | Phase::AwaitingSwitch(_) => false,
        }
    }

    /// What [`control`](Self::control) gave is sealed: from the next message on a new key may count.
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

    /// Takes in what the peer said. `Some`: it may go on if its key is still allowed.
    pub fn handle_control(&mut self, now: Instant, control: Control) -> Result<Option<Answer>, RekeyError> {
        match control {
            Control::Request => self.on_request(now).map(|()| None),
            Control::Start(message) => self.on_start(now, &message).map(Some),
            Control::Answer(message) => self.on_answer(&message).map(|()| None),
            Control::Switch => self.on_switch(now).map(|()| None),
        }
    }

    /// The client of this `Start` is still allowed.
    pub fn answer(&mut self, now: Instant, answer: Answer) -> Result<(), RekeyError> {
        let (keys, message) = answer.0.finish_keys(&[])?;
        self.enter(now, Phase::Answering(message, keys));
        Ok(())
    }

    /// Begins a rekey if one is due and none is under way. To be called whenever messages have passed.
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

    /// Lets time pass: begins a rekey by age, and notices a peer that does not answer.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), RekeyError> {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(RekeyError::Timeout);
        }
        self.poll(now)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called. `None`: never.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Steady => self.since.checked_add(self.policy.after_age),
            _ => self.deadline,
        }
    }

    fn begin(&mut self, now: Instant, requested: bool) -> Result<(), RekeyError> {
        let phase = match &self.end {
            End::Client { key, exec_server } => {
                let (initiator, start) = Initiator::start(key, exec_server, &self.next_prologue())?;
                Phase::Starting {
                    initiator: Box::new(initiator),
                    start: Some(start),
                    requested,
                }
            }
            End::ExecServer { .. } => Phase::Requesting { sent: false },
        };
        self.enter(now, phase);
        Ok(())
    }

    /// A phase in which the peer has to do something.
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
        if let End::ExecServer { .. } = self.end {
            return Err(RekeyError::Unexpected(
                "a client asked for a rekey instead of beginning one",
            ));
        }
        match &mut self.phase {
            Phase::Steady => {
                self.charge(now)?;
                self.begin(now, true)
            }
            // It crossed our Start. One may; more would be a flood that costs the peer nothing.
            Phase::Starting {
                requested: requested @ false,
                ..
            } => {
                *requested = true;
                Ok(())
            }
            _ => Err(RekeyError::Unexpected("a rekey was asked for during a rekey")),
        }
    }

    fn on_start(&mut self, now: Instant, message: &[u8]) -> Result<Answer, RekeyError> {
        let End::ExecServer { key, client } = &self.end else {
            return Err(RekeyError::Unexpected("an exec-server began a rekey"));
        };
        if !matches!(self.phase, Phase::Steady | Phase::Requesting { .. }) {
            return Err(RekeyError::Unexpected("a rekey began during a rekey"));
        }
        let (key, client) = (Arc::clone(key), *client);
        // Before any Diffie-Hellman is done for it.
        self.charge(now)?;
        let responder = Responder::read(&key, &self.next_prologue(), message)?;
        if *responder.remote() != client {
            return Err(RekeyError::OtherKey);
        }
        Ok(Answer(responder))
    }

    fn on_answer(&mut self, message: &[u8]) -> Result<(), RekeyError> {
        let unexpected = Err(RekeyError::Unexpected("an answer to no rekey"));
        match std::mem::replace(&mut self.phase, Phase::Steady) {
            Phase::Starting {
                initiator,
                start: None,
                ..
            } => {
                let (keys, payload) = initiator.finish_keys(message)?;
                if !payload.is_empty() {
                    return Err(RekeyError::Unexpected("an answer to a rekey that says more"));
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
