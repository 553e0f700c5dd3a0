//! One end of an established session, sans-IO: keys ([`Session`]) below, calls ([`Mux`]) above.
//!
//! A message that opens is about keys or for the multiplexer, never both. What is about keys leaves before anything
//! else.

use std::time::Instant;

use baton_mux::{Mux, MuxError, RelayStamp};
use baton_noise::Session;
use baton_proto::Epoch;
use baton_trace::record::Anchor;
use bytes::{Bytes, BytesMut};

use super::control;
use super::error::SessionError;
use crate::allow::Standing;

/// Tells whether the client of this session may still call. Asked at every rekey, under the session's lock; must be
/// quick.
pub(crate) type StillAllowed = Box<dyn Fn() -> Standing + Send>;

/// See the [module](self).
pub(crate) struct Established {
    session: Session,
    pub(super) mux: Mux,
    pub(super) epoch: Epoch,
    still_allowed: StillAllowed,
    /// The message under construction is about keys.
    is_control: bool,
}

impl Established {
    /// The client's end, or the exec-server's with what it asks at every rekey.
    pub(crate) fn new(session: Session, mux: Mux, epoch: Epoch, still_allowed: StillAllowed) -> Self {
        Self {
            session,
            mux,
            epoch,
            still_allowed,
            is_control: false,
        }
    }

    /// How often the session's keys have been renewed.
    pub(super) fn renewals(&self) -> u64 {
        self.session.renewals()
    }

    /// Whether [`transmit`](Self::transmit) may have something to send.
    pub(super) fn wants_transmit(&self) -> bool {
        self.session.wants_control() && !self.mux.has_given_up() || self.mux.wants_transmit()
    }

    /// Writes the plaintext of the next message (`plaintext` is cleared first); `false`: there is none. The caller
    /// calls [`seal`](Self::seal) and then [`sealed`](Self::sealed).
    pub(super) fn transmit(&mut self, now: Anchor, plaintext: &mut Vec<u8>) -> bool {
        // After the GoAway to a peer that broke the protocol nothing is sent, and no key renewed. Before Hello nothing is either.
        let control = match self.mux.has_given_up() || self.mux.owes_hello() {
            true => None,
            false => self.session.control(),
        };
        self.is_control = control.is_some();
        match control {
            Some(control) => {
                plaintext.clear();
                control::put(&control, plaintext);
                true
            }
            None => self.mux.transmit(now, plaintext),
        }
    }

    /// Appends the sealed message to `out`.
    pub(super) fn seal(&mut self, plaintext: &[u8], out: &mut BytesMut) -> Result<(), SessionError> {
        Ok(self.session.seal(plaintext, out)?)
    }

    /// The message that was built is sealed and with the link.
    pub(super) fn sealed(&mut self, now: Instant) -> Result<(), SessionError> {
        if std::mem::take(&mut self.is_control) {
            self.session.control_sealed(now);
        } else {
            self.mux.sealed(now);
        }
        Ok(self.session.poll(now)?)
    }

    /// Opens one sealed message. An error ends the session.
    pub(super) fn open(&mut self, message: &[u8]) -> Result<Bytes, SessionError> {
        Ok(self.session.open(message)?.freeze())
    }

    /// Takes in what was opened at `now`; the link had it at `received`. An error ends the session.
    pub(super) fn handle(
        &mut self,
        now: Anchor,
        received: Instant,
        relay: RelayStamp,
        plaintext: Bytes,
    ) -> Result<(), SessionError> {
        if control::is_control(&plaintext) {
            // Counts as a sign of life like any other message, and not as the first message, which has Hello.
            self.mux.handle(now, received, relay, Bytes::new())?;
            self.handle_control(now.instant, plaintext)?;
        } else {
            self.mux.handle(now, received, relay, plaintext)?;
        }
        Ok(self.session.poll(now.instant)?)
    }

    fn handle_control(&mut self, now: Instant, message: Bytes) -> Result<(), SessionError> {
        let control = control::take(message).map_err(MuxError::from)?;
        if let Some(answer) = self.session.handle_control(now, control)? {
            match (self.still_allowed)() {
                Standing::Named(_) => {}
                Standing::Missing => return Err(SessionError::Revoked),
                // Nobody can be taken off a list that cannot be read: no session outlives its keys on the strength of an old one.
                Standing::Unknown => return Err(SessionError::AllowListUnusable),
            }
            self.session.answer(now, answer)?;
        }
        Ok(())
    }

    /// Lets time pass. An error ends the session.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        self.mux.handle_timeout(now)?;
        Ok(self.session.handle_timeout(now)?)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub(super) fn next_timeout(&self) -> Instant {
        let calls = self.mux.next_timeout();
        self.session.next_timeout().map_or(calls, |keys| calls.min(keys))
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
