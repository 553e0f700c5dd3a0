//! The response stream of `Run`, which reads the log.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use baton_proto::exec::ProcessEvent;
use baton_trace::call_end::CallEndCell;
use futures_util::Stream;
use tonic::Status;

use super::attachment::Attachment;
use super::repeated::{RepeatedEvents, RepeatedStart};
use super::reporter::DeliveryNotice;
use super::state::ProcessState;
use super::ticker::Ticker;

/// The events of one process, in order. An event leaves the log when it is handed to the transport. A slow client stops
/// the child through the transport's flow control.
///
/// Dropping it before the end means that the call was cut short, which ends its attachment to the process. The
/// stream of a repeated start has only `Exited` and `Closed`, and dropping it has no effect.
#[derive(Debug)]
pub struct Events(Source);

#[derive(Debug)]
enum Source {
    First(Follower),
    Repeated(RepeatedEvents),
}

#[derive(Debug)]
struct Follower {
    attachment: Attachment,
    seen: u64,
    started_delay: Ticker,
    /// `None` once it is sent.
    delivery: Option<DeliveryNotice>,
    /// The transport has taken all events so far, and has asked for more.
    is_drained: bool,
}

impl Events {
    pub(super) fn new(
        state: Arc<ProcessState>,
        started_delay: Ticker,
        end: Option<CallEndCell>,
        delivery: Option<DeliveryNotice>,
    ) -> Self {
        Self(Source::First(Follower {
            attachment: Attachment::new(state, end),
            seen: 0,
            started_delay,
            delivery,
            is_drained: false,
        }))
    }

    pub(super) fn repeated(start: RepeatedStart) -> Self {
        Self(Source::Repeated(start.events()))
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
        };
        if follower.is_drained
            && let Some(delivery) = follower.delivery.take()
        {
            delivery.send();
        }
        let Poll::Ready(item) = follower.attachment.state().poll_event(cx, follower.seen) else {
            // The transport sends the events that it has taken when this returns pending, and then polls again.
            follower.is_drained = follower.seen > 0;
            return Poll::Pending;
        };
        if let Some(Ok(event)) = &item {
            follower.seen = event.seq;
        }
        Poll::Ready(item)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(delivery) = self.delivery.take() {
            delivery.send();
        }
    }
}
