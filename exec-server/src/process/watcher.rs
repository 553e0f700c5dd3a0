//! The response stream of a call that only watches: it reads the log beside the call of the process, and blocks nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Gap, ProcessEvent};
use futures_util::Stream;
use tonic::Status;

use super::ended::EndedEvents;
use super::state::{ProcessState, Watched, unnumbered};
use crate::error::AttachError;

/// See the [module](self). Dropping it does not affect the process.
#[derive(Debug)]
pub(super) struct Watcher {
    state: Arc<ProcessState>,
    seen: u64,
    /// Its first event is a gap: it does not want what was before.
    skipped: bool,
    /// It has got its `Attached`.
    is_attached: bool,
    /// Of a process whose log was abandoned.
    ended: Option<EndedEvents>,
}

impl Watcher {
    /// Watches what follows the event `seen`, without what was before `since`.
    pub(super) fn new(
        state: Arc<ProcessState>,
        seen: u64,
        since: Option<Instant>,
    ) -> Result<Self, AttachError> {
        let first = state.begin_watch(seen, since)?;
        Ok(Self {
            state,
            seen: first,
            skipped: first > seen,
            is_attached: false,
            ended: None,
        })
    }
}

impl Stream for Watcher {
    type Item = Result<ProcessEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.is_attached {
            self.is_attached = true;
            let attached = self.state.watched();
            return Poll::Ready(Some(Ok(unnumbered(Kind::Attached(attached)))));
        }
        if std::mem::take(&mut self.skipped) {
            let first_seq = self.seen + 1;
            return Poll::Ready(Some(Ok(unnumbered(Kind::Gap(Gap { first_seq })))));
        }
        if self.ended.is_none() {
            let seen = self.seen;
            match self.state.poll_watched(cx, seen) {
                Poll::Ready(Watched::Event(event)) => {
                    self.seen = event.seq;
                    return Poll::Ready(Some(Ok(event)));
                }
                Poll::Ready(Watched::Gap(gap)) => {
                    self.seen = gap.first_seq - 1;
                    return Poll::Ready(Some(Ok(unnumbered(Kind::Gap(gap)))));
                }
                Poll::Ready(Watched::End) => return Poll::Ready(None),
                Poll::Ready(Watched::Abandoned) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        let this = &mut *self;
        let ended = this
            .ended
            .get_or_insert_with(|| EndedEvents::after(this.state.repeated(), this.seen));
        Pin::new(ended).poll_next(cx)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.state.end_watch();
    }
}
