//! The response stream of `Run`: the log's way out.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use baton_proto::exec::ProcessEvent;
use baton_trace::call_end::{CallEnd, CallEndCell};
use futures_util::Stream;
use tonic::Status;

use super::repeated::{RepeatedEvents, RepeatedStart};
use super::reporter::DeliveryNotice;
use super::state::ProcessState;
use super::ticker::Ticker;

/// The events of one process, in order. What has been handed over is forgotten: the transport's flow control is what
/// a slow client holds the child back with.
///
/// Dropping it before the end means that the client has gone away: the process is killed, by its own driver. Those of a start that was
/// repeated are of its end only, and dropping them means nothing.
#[derive(Debug)]
pub struct Events(Source);

#[derive(Debug)]
enum Source {
    First(Follower),
    Repeated(RepeatedEvents),
}

#[derive(Debug)]
struct Follower {
    state: Arc<ProcessState>,
    seen: u64,
    started_delay: Ticker,
    /// Tells why the call was cut short, if it was and its transport says so.
    end: Option<CallEndCell>,
    /// Until it is told.
    delivery: Option<DeliveryNotice>,
    /// The transport has taken events, and found no more.
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
            state,
            seen: 0,
            started_delay,
            end,
            delivery,
            is_drained: false,
        }))
    }

    pub(super) fn repeated(start: RepeatedStart) -> Self {
        Self(Source::Repeated(start.events()))
    }

    /// Waits until there is more to tell than that the process runs, or until it runs and that has waited long enough for company
    /// ([`STARTED_DELAY`](crate::limits::STARTED_DELAY)). An error means that nothing ran.
    ///
    /// A short command's events then leave in one message instead of two, which the sender, the relay and the
    /// client each save the work of.
    pub(crate) async fn settled(&mut self) -> Result<(), Status> {
        let Source::First(Follower {
            state,
            started_delay,
            delivery,
            ..
        }) = &mut self.0
        else {
            return Ok(());
        };
        loop {
            let more = poll_fn(|cx| state.poll_more_than_started(cx));
            tokio::select! {
                biased;
                () = more => match state.failure() {
                    Some(status) => {
                        // Of what never ran there is no first event.
                        *delivery = None;
                        return Err(status);
                    }
                    None => return Ok(()),
                },
                () = started_delay.wait() => {}
            }
            // What there is goes out.
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
        let Poll::Ready(item) = follower.state.poll_event(cx, follower.seen) else {
            // The transport sends what it took when there is no more of it, and then asks again.
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
        let end = self.end.as_ref().and_then(CallEndCell::get);
        self.state.abandon(end.unwrap_or(CallEnd::Reset));
        if let Some(delivery) = self.delivery.take() {
            delivery.send();
        }
    }
}
