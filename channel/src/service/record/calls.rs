//! The calls of one client's record, and which of them the server's stages belong to.
//!
//! A call that continues the work of another one has a call id of its own, because the exec-server exports spans of
//! both. The timings in its answer are those of the call that began the work: the exec-server names it in
//! `Trailers.call_id`. Else they are its own.
//!
//! The server is untrusted, so it can name only a call that the client has made. Otherwise it could give its stages the
//! span ids of another call.

use std::time::Instant;

use baton_trace::SpanId;
use baton_trace::record::ServerCallRef;

use crate::limits::LOST_CALLS_MAX;

/// The calls of a record after its first, and those that have lost their session.
#[derive(Default)]
pub(crate) struct RecordCalls {
    /// `None`: the first call.
    latest: Option<ServerCallRef>,
    /// Those that may have begun the work, oldest first, at most [`LOST_CALLS_MAX`].
    lost: Vec<LostCall>,
    /// The call that the server has named.
    named: Option<SpanId>,
}

/// A call that was sent, and whose session was lost.
struct LostCall {
    id: SpanId,
    /// When its request was encrypted.
    sealed: Option<Instant>,
}

/// The calls that the server's stages of a record belong to. The default is the first call.
#[derive(Default)]
pub(super) struct StagesOf {
    /// [`CallRecord::server_calls`](baton_trace::record::CallRecord::server_calls).
    pub(super) calls: Vec<ServerCallRef>,
    /// When the request of the call that began the work was encrypted; `None`: that of the first call.
    pub(super) sealed: Option<Instant>,
}

impl RecordCalls {
    /// Whether the record is of several calls.
    pub(super) fn is_continued(&self) -> bool {
        self.latest.is_some()
    }

    /// Another call continues the work.
    pub(crate) fn add(&mut self, call_id: SpanId, method: &str) {
        self.latest = Some(ServerCallRef {
            call_id,
            method: method.to_owned().into(),
        });
        self.named = None;
    }

    /// The latest call, which was sent, has lost its session. `sealed`: when its request was encrypted. `first`: the
    /// first call of the record.
    pub(super) fn lose(&mut self, first: ServerCallRef, sealed: Option<Instant>) {
        let latest = self.latest.as_ref().unwrap_or(&first);
        // A call with another method continues what was begun before.
        if latest.method != first.method {
            return;
        }
        if self.lost.len() == LOST_CALLS_MAX {
            self.lost.remove(0);
        }
        self.lost.push(LostCall {
            id: latest.call_id,
            sealed,
        });
    }

    /// The server's answer has named this call; 0: none.
    pub(crate) fn name(&mut self, call_id: u64) {
        self.named = Some(SpanId::from(call_id)).filter(|id| *id != SpanId::INVALID);
    }

    /// What the stages in the latest answer belong to. `sealed`: when the latest request was encrypted. `is_of_latest`
    /// decides for an exec-server that names no call.
    pub(super) fn stages_of(
        &self,
        first: ServerCallRef,
        sealed: Option<Instant>,
        is_of_latest: impl FnOnce() -> bool,
    ) -> StagesOf {
        let Some(latest) = self.latest.clone() else {
            return StagesOf::default();
        };
        let named = self.lost.iter().find(|lost| Some(lost.id) == self.named);
        match named {
            Some(lost) => StagesOf {
                sealed: lost.sealed,
                calls: vec![
                    ServerCallRef {
                        call_id: lost.id,
                        ..first
                    },
                    latest,
                ],
            },
            // Only a call with another method can be answered with the timings of an earlier one.
            None if latest.method == first.method || is_of_latest() => StagesOf {
                sealed,
                calls: vec![latest],
            },
            None => StagesOf::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RUN: &str = "Exec/Run";
    const ATTACH: &str = "Exec/Attach";

    fn call(id: u64, method: &'static str) -> ServerCallRef {
        ServerCallRef {
            call_id: id.into(),
            method: method.into(),
        }
    }

    /// Two starts that were lost, at 1 and 2 s, each followed by a call that attaches.
    fn calls(begin: Instant) -> RecordCalls {
        let mut calls = RecordCalls::default();
        calls.lose(call(1, RUN), Some(begin + Duration::from_secs(1)));
        calls.add(2.into(), ATTACH);
        calls.lose(call(1, RUN), Some(begin));
        calls.add(3.into(), RUN);
        calls.lose(call(1, RUN), Some(begin + Duration::from_secs(2)));
        calls.add(4.into(), ATTACH);
        calls
    }

    fn stages_of(calls: &RecordCalls, is_of_latest: bool) -> Vec<ServerCallRef> {
        calls.stages_of(call(1, RUN), None, || is_of_latest).calls
    }

    #[test]
    fn the_stages_belong_to_the_start_that_the_server_names() {
        let begin = Instant::now();
        for (named, sealed) in [(1, 1), (3, 2)] {
            let mut calls = calls(begin);
            calls.name(named);
            let of = calls.stages_of(call(1, RUN), None, || panic!("the server has said it"));
            assert_eq!(of.calls, [call(named, RUN), call(4, ATTACH)]);
            assert_eq!(of.sealed, Some(begin + Duration::from_secs(sealed)));
        }
    }

    #[test]
    fn a_server_cannot_name_a_call_that_has_started_nothing() {
        for named in [0, 2, 4, 99] {
            for (is_of_latest, expected) in [(false, vec![]), (true, vec![call(4, ATTACH)])] {
                let mut calls = calls(Instant::now());
                calls.name(named);
                assert_eq!(stages_of(&calls, is_of_latest), expected, "{named}");
            }
        }
        let mut only = RecordCalls::default();
        only.name(99);
        assert_eq!(stages_of(&only, true), []);
    }

    #[test]
    fn a_repeated_start_that_is_answered_tells_its_own_stages() {
        let mut calls = calls(Instant::now());
        calls.name(3);
        calls.add(5.into(), RUN);
        assert_eq!(stages_of(&calls, false), [call(5, RUN)]);
    }

    #[test]
    fn the_number_of_lost_calls_is_bounded() {
        let mut calls = RecordCalls::default();
        for id in 0..100 {
            calls.add(id.into(), RUN);
            calls.lose(call(1, RUN), None);
        }
        assert_eq!(calls.lost.len(), LOST_CALLS_MAX);
        calls.add(100.into(), ATTACH);
        calls.name(99);
        assert_eq!(stages_of(&calls, false), [call(99, RUN), call(100, ATTACH)]);
    }
}
