//! One end of an established session, sans-IO: keys ([`Session`]) below, calls ([`Mux`]) above.
//!
//! A decrypted message holds either key-exchange frames or frames of the multiplexer, never both. Key-exchange messages
//! are sent first.

use std::time::Instant;

use baton_mux::{Mux, MuxError, RelayStamp};
use baton_noise::Session;
use baton_proto::Epoch;
use baton_trace::record::Anchor;
use bytes::{Bytes, BytesMut};

use super::control;
use super::error::SessionError;
use crate::allow::Standing;

/// Returns whether the client of this session is still allowed. Called at every rekey under the session's lock, so it
/// must not block.
pub(crate) type StillAllowed = Box<dyn Fn() -> Standing + Send>;

/// The Noise session and the multiplexer of one end.
pub(crate) struct Established {
    session: Session,
    pub(super) mux: Mux,
    pub(super) epoch: Epoch,
    still_allowed: StillAllowed,
    /// The message under construction is a key-exchange message.
    is_control: bool,
}

impl Established {
    /// Joins the two. Only the exec-server calls `still_allowed`.
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

    /// Writes the plaintext of the next message (`message` is cleared first); `false`: there is none. The caller then
    /// calls [`seal`](Self::seal) and [`sealed`](Self::sealed).
    pub(super) fn transmit(&mut self, now: Anchor, message: &mut BytesMut) -> bool {
        // No key-exchange message is sent before Hello, which is always first, nor once this end has given up on the
        // peer: then only the GoAway is sent.
        let control = match self.mux.has_given_up() || self.mux.owes_hello() {
            true => None,
            false => self.session.control(),
        };
        self.is_control = control.is_some();
        match control {
            Some(control) => {
                message.clear();
                control::put(&control, message);
                true
            }
            None => self.mux.transmit(now, message),
        }
    }

    /// Seals the message in place.
    pub(super) fn seal(&mut self, message: &mut BytesMut) -> Result<(), SessionError> {
        Ok(self.session.seal(message)?)
    }

    /// Notes that the message that [`transmit`](Self::transmit) wrote is sealed.
    pub(super) fn sealed(&mut self, now: Instant) -> Result<(), SessionError> {
        if std::mem::take(&mut self.is_control) {
            self.session.control_sealed(now);
        } else {
            self.mux.sealed(now);
        }
        Ok(self.session.poll(now)?)
    }

    /// Decrypts one sealed message. An error ends the session.
    pub(super) fn open(&mut self, message: &[u8]) -> Result<Bytes, SessionError> {
        Ok(self.session.open(message)?.freeze())
    }

    /// Handles a message that was received at `received` and decrypted at `now`. An error ends the session.
    pub(super) fn handle(
        &mut self,
        now: Anchor,
        received: Instant,
        relay: RelayStamp,
        plaintext: Bytes,
    ) -> Result<(), SessionError> {
        if control::is_control(&plaintext) {
            // A key-exchange message resets the silence timeout like any other message. It is not the first message,
            // which holds Hello.
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
                Standing::Expired => return Err(SessionError::Expired),
                // A client cannot be removed from a list that cannot be read, so an old list must not renew the keys of
                // a session.
                Standing::Unknown => return Err(SessionError::AllowListUnusable),
            }
            self.session.answer(now, answer)?;
        }
        Ok(())
    }

    /// Fires the deadlines that have passed. An error ends the session.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        self.mux.handle_timeout(now)?;
        Ok(self.session.handle_timeout(now)?)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due next.
    pub(super) fn next_timeout(&self) -> Instant {
        let calls = self.mux.next_timeout();
        self.session.next_timeout().map_or(calls, |keys| calls.min(keys))
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
