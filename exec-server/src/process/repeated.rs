//! The answer to a repeated start: the [`Termination`] of the first run, as events.
//!
//! A client that lost the answer to its `Start` repeats it. The command must not run twice, so the answer is `Exited`
//! and `Closed` of the first run, with the `seq` that they have there, as soon as they exist. The output of that run is
//! not kept.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{ProcessEvent, Repeated};
use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::sync::watch;

use super::state::unnumbered;
use crate::error::{StartError, exit_status_lost};
use crate::termination::Termination;

/// Receives the termination of a process. When the sender is dropped, no further change follows.
#[derive(Debug, Clone)]
pub(super) struct RepeatedStart(watch::Receiver<Termination>);

/// `Exited` and `Closed` of a process. Dropping it does not affect the process.
pub(super) struct RepeatedEvents(Pin<Box<dyn Stream<Item = Item> + Send>>);

type Item = Result<ProcessEvent, tonic::Status>;

impl RepeatedStart {
    /// Of a process that has not been reaped.
    pub(super) fn of_live(termination: watch::Receiver<Termination>) -> Self {
        Self(termination)
    }

    /// Of a process that was reaped with this termination.
    pub(super) fn of_finished(termination: Termination) -> Self {
        Self(watch::channel(termination).1)
    }

    /// The `seq` of the last event, once there is one.
    pub(super) fn last_seq(&self) -> Option<u64> {
        match *self.0.borrow() {
            Termination::Closed(_, close) => Some(close.seq),
            Termination::Running | Termination::Exited(_) => None,
        }
    }

    /// `told`, if the client wants it, and the events, which wait for the process's end.
    pub(super) fn answer(self, told: Option<Repeated>) -> RepeatedEvents {
        let RepeatedEvents(events) = self.events();
        let told = told.map(|told| Ok(unnumbered(Kind::Repeated(told))));
        RepeatedEvents(Box::pin(stream::iter(told).chain(events)))
    }

    /// The events, which wait for the process's end.
    pub(super) fn events(self) -> RepeatedEvents {
        let events = stream::unfold(
            (self.0, Sent::Nothing),
            |(mut termination, mut sent)| async move {
                let item = next(&mut termination, &mut sent).await?;
                Some((item, (termination, sent)))
            },
        );
        RepeatedEvents(Box::pin(events))
    }
}

/// Which events were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Nothing,
    Exited,
    All,
}

async fn next(receiver: &mut watch::Receiver<Termination>, sent: &mut Sent) -> Option<Item> {
    loop {
        let termination = *receiver.borrow_and_update();
        match (*sent, termination) {
            (Sent::All, _) => return None,
            (Sent::Nothing, Termination::Exited(exit) | Termination::Closed(exit, _)) => {
                if let Some(event) = exit.event(exit.bare_trace()) {
                    *sent = Sent::Exited;
                    return Some(Ok(numbered(exit.seq, event)));
                }
                if matches!(termination, Termination::Closed(..)) {
                    *sent = Sent::All;
                    return Some(Err(exit_status_lost()));
                }
            }
            (Sent::Exited, Termination::Closed(_, close)) => {
                *sent = Sent::All;
                return Some(Ok(numbered(close.seq, close.event(None))));
            }
            (Sent::Nothing, Termination::Running)
            | (Sent::Exited, Termination::Running | Termination::Exited(_)) => {}
        }
        if receiver.changed().await.is_err() {
            *sent = Sent::All;
            return Some(Err(StartError::FirstFailed.into()));
        }
    }
}

fn numbered(seq: u64, kind: Kind) -> ProcessEvent {
    ProcessEvent {
        seq,
        kind: Some(kind),
    }
}

impl Stream for RepeatedEvents {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for RepeatedEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RepeatedEvents")
    }
}

#[cfg(test)]
mod tests {
    use baton_proto::exec::exited::Status;
    use futures_util::StreamExt as _;
    use tonic::Code;

    use super::*;
    use crate::termination::{Close, Exit, OutputTotals};

    fn exit(status: Option<Status>) -> Exit {
        Exit {
            seq: 3,
            status,
            stopped: None,
            out_of_memory: false,
            at_unix_ns: 7,
            traceparent: Some([9; 25]),
        }
    }

    const CLOSE: Close = Close {
        seq: 5,
        at_unix_ns: 8,
        output: OutputTotals {
            truncated: true,
            stdout_bytes: 1,
            stderr_bytes: 2,
        },
        survivors: 3,
    };

    #[tokio::test]
    async fn each_event_is_sent_as_soon_as_it_exists_and_the_same_ones_follow_a_reaped_process() {
        let sender = watch::Sender::new(Termination::Running);
        let mut live = RepeatedStart::of_live(sender.subscribe()).events();
        let exit = exit(Some(Status::Code(4)));
        sender.send_replace(Termination::Exited(exit));
        let exited = live.next().await.unwrap().unwrap();
        assert_eq!(exited.seq, 3);
        let Some(Kind::Exited(event)) = &exited.kind else {
            panic!("{exited:?}")
        };
        assert_eq!((event.status, event.observed_unix_ns), (Some(Status::Code(4)), 7));
        assert_eq!(event.trace.as_ref().unwrap().traceparent[..], [9; 25]);
        sender.send_replace(Termination::Closed(exit, CLOSE));
        let closed = live.next().await.unwrap().unwrap();
        assert_eq!((closed.seq, closed.kind.clone()), (5, Some(CLOSE.event(None))));
        assert!(live.next().await.is_none());

        let finished = RepeatedStart::of_finished(Termination::Closed(exit, CLOSE)).events();
        let events: Vec<_> = finished.map(Result::unwrap).collect().await;
        assert_eq!(events, [exited, closed]);
    }

    #[tokio::test]
    async fn a_lost_exit_status_is_an_error_at_the_end_of_the_output() {
        let lost = Termination::Closed(exit(None), CLOSE);
        let mut events = RepeatedStart::of_finished(lost).events();
        assert_eq!(events.next().await.unwrap().unwrap_err().code(), Code::Internal);
        assert!(events.next().await.is_none());
    }

    #[tokio::test]
    async fn a_process_that_never_ran_is_an_error() {
        let mut events = RepeatedStart::of_finished(Termination::Running).events();
        assert_eq!(
            events.next().await.unwrap().unwrap_err().code(),
            Code::Unavailable
        );
        assert!(events.next().await.is_none());
    }
}
