//! The response stream of `Run`: the log's way out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use baton_proto::exec::ProcessEvent;
use futures_util::Stream;
use tonic::Status;

use super::shared::Shared;

/// The events of one process, in order. What has been handed over is forgotten: the transport's flow control is what
/// a slow client holds the child back with.
///
/// Dropping it before the end means that the client has gone away: the process is killed, by its own driver.
#[derive(Debug)]
pub struct Events {
    shared: Arc<Shared>,
    seen: u64,
}

impl Events {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, seen: 0 }
    }
}

impl Stream for Events {
    type Item = Result<ProcessEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.shared.poll_event(cx, self.seen));
        if let Some(Ok(event)) = &item {
            self.seen = event.seq;
        }
        Poll::Ready(item)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}
