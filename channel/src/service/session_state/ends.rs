//! How a session ends. Every end of an established session goes through [`fail`](SessionState::fail),
//! [`end_after_go_away`](SessionState::end_after_go_away) or [`end`](SessionState::end):
//!
//! | cause | sent to the peer |
//! |---|---|
//! | a fault of the peer, the relay or the network ([`SessionError::to_go_away`]) | `GoAway`, then END_STREAM |
//! | the peer's `GoAway` | END_STREAM |
//! | the peer's END_STREAM; no call is open and no new one is accepted | the queued frames, then END_STREAM |
//! | the relay or the connection is lost; a rekey finds no randomness here | RST_STREAM |
//!
//! The frames before END_STREAM have [`limits::CLOSE_TIMEOUT`] to be sent; after that RST_STREAM is sent.

use std::collections::HashMap;
use std::task::Waker;

use baton_mux::StreamId;
use baton_proto::channel::go_away;
use baton_trace::call_end::CallEnd;

use super::super::error::SessionError;
use super::super::established::Established;
use super::{LockedState, SessionState};
use crate::limits;

/// How the session ends.
#[derive(Debug, Clone)]
pub(in crate::service) enum Ending {
    /// With the queued frames, then END_STREAM.
    Flush(SessionError),
    /// With RST_STREAM.
    Now(SessionError),
}

impl SessionState {
    /// Why the session has ended, if it has.
    pub(crate) fn ended(&self) -> Option<SessionError> {
        self.lock().ended()
    }

    /// Whether the session is ending but still sends what is queued.
    pub(in crate::service) fn is_flushing(&self) -> bool {
        matches!(self.lock().ending, Some(Ending::Flush(_)))
    }

    /// Waits until the session ends or its writer is lost. One waiter.
    pub(in crate::service) async fn ending(&self) {
        self.ending.notified().await;
    }

    /// Ends the session immediately, with RST_STREAM. Calls fail with `error`.
    pub(crate) fn close(&self, error: SessionError) {
        self.end(&mut self.lock(), Ending::Now(error));
    }

    /// Sends the queued frames, then ends the session. Calls fail with `error`.
    pub(crate) fn finish(&self, error: SessionError) {
        self.end(&mut self.lock(), Ending::Flush(error));
    }

    /// Waits until HTTP/2 has taken all frames of an ending session, for at most [`limits::CLOSE_TIMEOUT`].
    pub(crate) async fn flushed(&self) {
        let _ = tokio::time::timeout(limits::CLOSE_TIMEOUT, self.flushed.acquire()).await;
    }

    /// Waits until the peer has received what was flushed, if that may hold the reset of a call, for at most
    /// [`limits::CLOSE_TIMEOUT`]. HTTP/2 may have taken it and not written it: a program that ends then would leave a
    /// call, and its process, for as long as its grace.
    pub(crate) async fn resets_received(&self) {
        let has_reset = |session: &Established| session.mux.has_reset();
        if self.lock().established.as_ref().is_some_and(has_reset) {
            // The peer ends its direction when it has read the end of this one.
            let _ = tokio::time::timeout(limits::CLOSE_TIMEOUT, self.left.acquire()).await;
        }
    }

    /// Notes that the reader has ended.
    pub(in crate::service) fn reader_is_done(&self) {
        self.left.close();
    }

    /// Notes that HTTP/2 dropped the writer, which does not learn the reason. The reader reads the reason and ends the
    /// session with it.
    pub(in crate::service) fn writer_is_lost(&self) {
        let mut state = self.lock();
        state.is_writer_lost = true;
        if state.ending.is_some() {
            // The queued frames of this flush can no longer be sent.
            self.end(&mut state, Ending::Now(SessionError::Closed));
        }
        self.ending.notify_one();
    }

    /// Notifies the reader again. It has handled a chunk that arrived before the writer was lost, and still has to read
    /// the reason.
    pub(in crate::service) fn notify_ending_again(&self) {
        self.ending.notify_one();
    }

    /// Notes that the writer was dropped: nothing more is sent.
    pub(in crate::service) fn writer_is_done(&self) {
        self.flushed.close();
    }

    /// Sends `GoAway` and the queued frames, then ends the session with `error`.
    pub(crate) fn go_away(&self, reason: go_away::Reason, detail: &str, error: SessionError) {
        self.end_with_go_away(&mut self.lock(), reason, detail, error);
    }

    /// Sends `GoAway` with reason `Shutdown`, accepts no further call, and ends the session once the open calls are
    /// answered.
    pub(crate) fn drain(&self) {
        let mut state = self.lock();
        if state.ending.is_some() {
            return;
        }
        if let Some(session) = &mut state.established {
            session.mux.go_away(go_away::Reason::Shutdown, "");
        }
        state.is_draining = true;
        self.react(&mut state);
    }

    pub(super) fn end_with_go_away(
        &self,
        state: &mut LockedState,
        reason: go_away::Reason,
        detail: &str,
        error: SessionError,
    ) {
        if state.ending.is_some() {
            // The first reason counts.
            return;
        }
        if let Some(session) = &mut state.established {
            session.mux.go_away(reason, detail);
        }
        self.end(state, Ending::Flush(error));
    }

    /// Ends the session with `error`. The peer receives the reason in a `GoAway`, and nothing after it; a client that
    /// is no longer allowed also receives the queued frames. A session that is already ending, or is not established,
    /// ends immediately.
    pub(in crate::service) fn fail(&self, state: &mut LockedState, error: SessionError) {
        let go_away = match (&state.ending, &mut state.established) {
            (None, Some(session)) => error.to_go_away().map(|go_away| (session, go_away)),
            _ => None,
        };
        let Some((session, (reason, detail))) = go_away else {
            return self.end(state, Ending::Now(error));
        };
        match error {
            SessionError::Revoked | SessionError::Expired | SessionError::AllowListUnusable => {
                session.mux.go_away(reason, &detail);
            }
            _ => session.mux.give_up(reason, &detail),
        }
        self.end(state, Ending::Flush(error));
    }

    /// Ends the session with a fault that was detected outside the lock ([`fail`](Self::fail)).
    pub(crate) fn give_up(&self, error: SessionError) {
        self.fail(&mut self.lock(), error);
    }

    /// Ends the session after a `GoAway` with which the peer ended it. The peer reads nothing more, so nothing is sent.
    pub(super) fn end_after_go_away(&self, state: &mut LockedState, error: SessionError) {
        if state.ending.is_none()
            && let Some(session) = &mut state.established
        {
            session.mux.fall_silent();
        }
        self.end(state, Ending::Flush(error));
    }

    /// Ends the session because the client's key is no longer on the allow-list, or has expired. The client receives
    /// `GoAway`.
    pub(crate) fn revoke(&self, reason: SessionError) {
        self.give_up(reason);
    }

    /// Ends the session. Only the first reason is kept; a later [`Ending::Now`] still cuts a flush short.
    pub(super) fn end(&self, state: &mut LockedState, ending: Ending) {
        let ending = match (state.peer_go_away, ending) {
            // The peer's `GoAway` is authenticated; the relay's reason is not.
            (Some(reason), Ending::Now(SessionError::Relay(_) | SessionError::ConnectionLost(_))) => {
                Ending::Now(SessionError::GoAway(reason))
            }
            (Some(reason), Ending::Flush(SessionError::Relay(_))) => {
                Ending::Flush(SessionError::GoAway(reason))
            }
            (_, ending) => ending,
        };
        match (&state.ending, ending) {
            (None, ending) => state.ending = Some(ending),
            (Some(Ending::Flush(error)), Ending::Now(_)) => state.ending = Some(Ending::Now(error.clone())),
            (Some(_), _) => return,
        }
        if let Some(session) = &mut state.established {
            // Queued frames are sent without pacing: this end no longer reads the answers that the pace depends on.
            session.mux.end_session();
        }
        state.cut_calls += state.calls.len();
        // Calls that wait for a slot fail now.
        self.slots.close();
        let why = state.ended().map_or(CallEnd::ShutDown, |error| error.call_end());
        for call in in_order(&mut state.calls) {
            call.cut(why);
        }
        for wakers in in_order(&mut state.wakers) {
            [wakers.receive, wakers.send]
                .into_iter()
                .flatten()
                .for_each(Waker::wake);
        }
        state.wake_writer();
        self.timer.notify_one();
        self.ending.notify_one();
        // A client that has left is not half open.
        self.confirmed.notify_one();
    }

    /// Ends an idle session that accepts no further call.
    pub(super) fn end_if_finished(&self, state: &mut LockedState) {
        let is_used_up = |session: &Established| session.mux.is_used_up();
        let takes_no_other = state.is_draining || state.established.as_ref().is_some_and(is_used_up);
        if let Some(reason) = state.peer_go_away {
            self.end(state, Ending::Flush(SessionError::GoAway(reason)));
        } else if takes_no_other {
            self.end(state, Ending::Flush(SessionError::Closed));
        }
    }

    /// Number of calls without an answer when the session ended; server only.
    pub(crate) fn cut_calls(&self) -> usize {
        self.lock().cut_calls
    }
}

/// Drains a map of streams, oldest stream first. The order of wake-ups must not depend on a hash, so that a simulation
/// can be replayed.
fn in_order<T>(of_streams: &mut HashMap<StreamId, T>) -> impl Iterator<Item = T> + use<T> {
    let mut taken: Vec<_> = of_streams.drain().collect();
    taken.sort_unstable_by_key(|(id, _)| *id);
    taken.into_iter().map(|(_, of_stream)| of_stream)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use baton_export::clock;
    use baton_mux::{Mux, MuxError, Role, StreamError, code};
    use baton_noise::key::StaticKey;
    use baton_noise::{
        Endpoint, HandshakeError, Initiator, RekeyError, RekeyPolicy, Responder, Session, TransportError,
    };
    use baton_proto::Epoch;
    use baton_proto::channel::{GoAway, Head};
    use baton_trace::command::CallProgress;
    use baton_trace::recorder::Recorder;
    use bytes::BytesMut;
    use futures_util::FutureExt as _;
    use prost::Message as _;
    use tonic::Code;

    use super::*;
    use crate::allow::Standing;
    use crate::outer::OuterError;

    /// A client's session without a server at the other end.
    fn client(change: impl FnOnce(&mut Mux)) -> Arc<SessionState> {
        let (key, server) = (
            Arc::new(StaticKey::generate().unwrap()),
            StaticKey::generate().unwrap(),
        );
        let (initiator, message1) = Initiator::start(&key, server.public(), b"").unwrap();
        let responder = Responder::read(&server, b"", &message1).unwrap();
        let (_, message2) = responder.finish(b"").unwrap();
        let (transport, _) = initiator.finish(&message2).unwrap();
        let end = Endpoint::Client {
            key,
            exec_server: *server.public(),
        };
        let now = clock::now();
        let session = Session::new(transport, end, Vec::new(), RekeyPolicy::default(), now);
        let mut mux = Mux::new(Role::Client, now);
        change(&mut mux);
        let shared = SessionState::new(Recorder::off());
        let epoch = Epoch([0; 16]);
        shared.establish(
            Established::new(session, mux, epoch, Box::new(|| Standing::Missing)),
            None,
        );
        shared
    }

    #[test]
    fn a_session_without_free_stream_ids_ends_with_its_last_call() {
        let shared = client(Mux::use_up_but_one);
        let open = || shared.open(&Head::default(), None).now_or_never().unwrap();
        assert!(shared.is_open());
        let last = open().ok().unwrap();
        assert!(!shared.is_open(), "a new call needs a new session");
        assert_eq!(open().err(), Some(StreamError::GoingAway));
        assert_eq!(shared.ended(), None, "the last call continues");
        drop(last);
        assert_eq!(shared.ended(), Some(SessionError::Closed));
    }

    #[test]
    fn every_fault_that_ends_a_session_is_sent_as_a_goaway_and_nothing_after_it() {
        let faults = [
            SessionError::Mux(MuxError::Silent),
            SessionError::Mux(MuxError::Unanswered),
            SessionError::Mux(MuxError::Protocol("a frame after the end of its stream")),
            SessionError::Mux(MuxError::Limit("pings")),
            SessionError::Transport(TransportError::Decrypt),
            SessionError::Transport(TransportError::TooLong),
            SessionError::Transport(TransportError::Exhausted),
            SessionError::Outer(OuterError::Malformed),
            SessionError::Rekey(RekeyError::Unexpected("a rekey began during a rekey")),
            SessionError::Rekey(RekeyError::Handshake(HandshakeError::KemKey)),
            SessionError::Rekey(RekeyError::OtherKey),
            SessionError::Rekey(RekeyError::TooOften),
            SessionError::Rekey(RekeyError::Timeout),
            SessionError::Unconfirmed,
        ];
        for fault in faults {
            let shared = client(|_| ());
            let call = shared
                .open(&Head::default(), None)
                .now_or_never()
                .unwrap()
                .unwrap();
            shared.give_up(fault.clone());
            assert_eq!(shared.ended(), Some(fault.clone()));
            assert!(shared.is_flushing(), "{fault}");
            let mut state = shared.lock();
            let session = state.established.as_mut().unwrap();
            let mut plaintext = BytesMut::new();
            assert!(session.transmit(clock::anchor(), &mut plaintext), "{fault}");
            // Behind the client's Hello.
            let hello = usize::from(u16::from_be_bytes([plaintext[2], plaintext[3]]));
            let go_away = GoAway::decode(&plaintext[8 + hello + 8..]).unwrap();
            assert_eq!(
                Some((go_away.reason(), go_away.detail)),
                fault.to_go_away(),
                "one frame, {fault}"
            );
            assert!(!session.wants_transmit(), "{fault}");
            drop(state);
            drop(call);
        }
    }

    #[test]
    fn a_lost_relay_and_a_session_that_the_peer_ended_send_no_goaway() {
        let silent = [
            SessionError::Relay("gone".into()),
            SessionError::ConnectionLost("gone".into()),
            SessionError::NotAllowed,
            SessionError::Closed,
        ];
        for error in silent {
            assert_eq!(error.to_go_away(), None, "{error}");
        }
    }

    #[test]
    fn a_call_that_ended_before_its_session_keeps_its_own_reason() {
        let shared = client(|_| ());
        let open = || shared.open(&Head::default(), None).now_or_never().unwrap();
        let (late, other) = (open().ok().unwrap(), open().ok().unwrap());
        late.reset(code::DEADLINE_EXCEEDED);
        shared.close(SessionError::Relay("gone".into()));
        assert_eq!(late.cut_short().code(), Code::DeadlineExceeded);
        assert_eq!(other.cut_short().code(), Code::Unavailable);
    }

    #[test]
    fn a_call_that_is_reset_before_its_session_ends_is_answered_and_not_cut_short() {
        let shared = client(|_| ());
        let open = || shared.open(&Head::default(), None).now_or_never().unwrap();
        let (first, other) = (open().ok().unwrap(), open().ok().unwrap());
        first.reset(code::UNAVAILABLE);
        assert_eq!(first.unanswered(), CallProgress::Answered);
        assert_eq!(other.unanswered(), CallProgress::CutShort);
        shared.finish(SessionError::GoAway(go_away::Reason::Shutdown));
        for call in [first, other] {
            assert_eq!(call.unanswered(), CallProgress::SessionClosed(CallEnd::ShutDown));
        }
    }
}
