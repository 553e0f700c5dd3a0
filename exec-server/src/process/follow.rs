//! The response stream of `Run`: the log's way out.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use baton_proto::exec::ProcessEvent;
use futures_util::Stream;
use tonic::Status;

use super::ends::{Again, Ended};
use super::shared::Shared;
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
    Again(Again),
}

#[derive(Debug)]
struct Follower {
    shared: Arc<Shared>,
    seen: u64,
    patience: Ticker,
}

impl Events {
    pub(super) fn new(shared: Arc<Shared>, patience: Ticker) -> Self {
        Self(Source::First(Follower {
            shared,
            seen: 0,
            patience,
        }))
    }

    pub(super) fn again(ended: Ended) -> Self {
        Self(Source::Again(ended.events()))
    }

    /// Waits until there is more to tell than that the process runs, or until it runs and that has waited long enough for company
    /// ([`STARTED_DELAY`](crate::limits::STARTED_DELAY)). An error means that nothing ran.
    ///
    /// A short command's events then leave in one message instead of two, which the sender, the relay and the
    /// client each save the work of.
    pub(crate) async fn settled(&mut self) -> Result<(), Status> {
        let Source::First(Follower { shared, patience, .. }) = &mut self.0 else {
            return Ok(());
        };
        loop {
            let more = poll_fn(|cx| shared.poll_more_than_started(cx));
            tokio::select! {
                biased;
                () = more => return shared.failure().map_or(Ok(()), Err),
                () = patience.wait() => {}
            }
            // What there is goes out.
            if shared.announce() {
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
            Source::Again(again) => return Pin::new(again).poll_next(cx),
        };
        let item = ready!(follower.shared.poll_event(cx, follower.seen));
        if let Some(Ok(event)) = &item {
            follower.seen = event.seq;
        }
        Poll::Ready(item)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}
