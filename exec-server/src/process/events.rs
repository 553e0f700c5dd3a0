//! The response stream of `Run` and `Attach`, which reads the log.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{ProcessEvent, Repeated};
use baton_trace::call::ServerCall;
use baton_trace::call_end::CallEndCell;
use futures_util::Stream;
use tonic::Status;

use super::attachment::Attachment;
use super::call::CallContext;
use super::ended::EndedEvents;
use super::repeated::{RepeatedEvents, RepeatedStart};
use super::reporter::DeliveryNotice;
use super::state::{Cursor, Lease, ProcessState};
use super::ticker::Ticker;
use super::watcher::Watcher;

/// The events of one process, in order. An event leaves the log when it is handed to the transport, unless the process
/// has a grace. A slow client stops the child through the transport's flow control.
///
/// Dropping it before the end means that the call was cut short, which ends its attachment to the process. The
/// stream of a repeated start has only `Exited` and `Closed`, and dropping it has no effect. The same is true of a call
/// that attaches to a process whose log is not kept any more, and of one that only watches.
#[derive(Debug)]
pub struct Events(Source);

#[derive(Debug)]
enum Source {
    First(Follower),
    Repeated(RepeatedEvents),
    Ended(EndedEvents),
    Watched(Watcher),
}

#[derive(Debug)]
struct Follower {
    attachment: Attachment,
    cursor: Cursor,
    /// The call ends after `Started`.
    ends_after_started: bool,
    /// Of a call that attaches: it tells its caller the stages of the process.
    call: Option<Arc<ServerCall>>,
    started_delay: Ticker,
    /// `None` once it is sent.
    delivery: Option<DeliveryNotice>,
    /// The transport has taken all events so far, and has asked for more.
    is_drained: bool,
}

impl Events {
    /// Those of the call that starts the process.
    pub(super) fn new(
        state: Arc<ProcessState>,
        started_delay: Ticker,
        end: Option<CallEndCell>,
        delivery: Option<DeliveryNotice>,
        tells_stdin: bool,
        ends_after_started: bool,
    ) -> Self {
        let lease = Lease::default();
        Self(Source::First(Follower {
            attachment: Attachment::new(state, lease, end),
            cursor: Cursor {
                lease,
                seen: 0,
                is_attached: true,
                tells_stdin,
            },
            ends_after_started,
            call: None,
            started_delay,
            delivery,
            is_drained: false,
        }))
    }

    /// Those of a call that attaches, after the event that it has.
    pub(super) fn attached(
        state: Arc<ProcessState>,
        started_delay: Ticker,
        cursor: Cursor,
        context: CallContext,
    ) -> Self {
        Self(Source::First(Follower {
            attachment: Attachment::new(state, cursor.lease, context.end),
            cursor,
            ends_after_started: false,
            call: context.call,
            started_delay,
            delivery: None,
            is_drained: false,
        }))
    }

    pub(super) fn ended(events: EndedEvents) -> Self {
        Self(Source::Ended(events))
    }

    pub(super) fn watched(watcher: Watcher) -> Self {
        Self(Source::Watched(watcher))
    }

    pub(super) fn repeated(start: RepeatedStart, told: Option<Repeated>) -> Self {
        Self(Source::Repeated(start.answer(told)))
    }

    /// Waits for an event after `Started`, or until the process runs and `Started` has waited long enough to share a
    /// message with another event ([`STARTED_DELAY`](crate::limits::STARTED_DELAY)). An error means that nothing ran.
    ///
    /// The events of a short command are then sent in one message instead of two, which saves work in the exec-server,
    /// the relay and the client.
    pub(crate) async fn settled(&mut self) -> Result<(), Status> {
        let Source::First(Follower {
            attachment,
            started_delay,
            delivery,
            ..
        }) = &mut self.0
        else {
            return Ok(());
        };
        let state = attachment.state();
        loop {
            let more = poll_fn(|cx| state.poll_more_than_started(cx));
            tokio::select! {
                biased;
                () = more => match state.failure() {
                    Some(status) => {
                        // A process that never ran has no first event.
                        *delivery = None;
                        return Err(status);
                    }
                    None => return Ok(()),
                },
                () = started_delay.wait() => {}
            }
            // Sends the events that exist.
            if state.announce() {
                return Ok(());
            }
        }
    }
}

impl Stream for Events {
    type Item = Result<ProcessEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let follower = match &mut self.0 {
            Source::First(follower) => follower,
            Source::Repeated(events) => return Pin::new(events).poll_next(cx),
            Source::Ended(events) => return Pin::new(events).poll_next(cx),
            Source::Watched(watcher) => return Pin::new(watcher).poll_next(cx),
        };
        if follower.is_drained
            && let Some(delivery) = follower.delivery.take()
        {
            delivery.send();
        }
        if follower.ends_after_started && follower.cursor.seen > 0 {
            return Poll::Ready(None);
        }
        let item = follower.attachment.state().poll_event(cx, &mut follower.cursor);
        if follower.ends_after_started && follower.cursor.seen > 0 {
            follower.attachment.release();
        }
        if item.is_pending() {
            // The transport sends the events that it has taken when this returns pending, and then polls again.
            follower.is_drained = follower.cursor.seen > 0;
        }
        if let Poll::Ready(Some(Ok(event))) = &item
            && matches!(event.kind, Some(Kind::Closed(_)))
            && let Some(call) = follower.call.take()
            && let Some(told) = follower.attachment.state().told()
        {
            call.tell(told);
        }
        item
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(delivery) = self.delivery.take() {
            delivery.send();
        }
    }
}
