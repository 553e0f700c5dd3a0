//! The answer to a call that attaches to a process whose log is not kept any more.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Attached, Gap, ProcessEvent};
use futures_util::stream::{self, Stream, StreamExt as _};
use tonic::Status;

use super::repeated::RepeatedStart;
use super::state::unnumbered;

/// `Exited` and `Closed` of a process whose output is not kept any more. Dropping it does not affect the process.
pub(super) struct EndedEvents(Pin<Box<dyn Stream<Item = Item> + Send>>);

type Item = Result<ProcessEvent, Status>;

impl EndedEvents {
    /// `Attached`, and those after `seen`.
    pub(super) fn attached(process: RepeatedStart, seen: u64) -> Self {
        let attached = unnumbered(Kind::Attached(Attached {
            stdin_closed: true,
            last_seq: process.last_seq().unwrap_or(seen),
            ..Attached::default()
        }));
        let Self(events) = Self::after(process, seen);
        Self(Box::pin(stream::iter([Ok(attached)]).chain(events)))
    }

    /// Those after `seen`, with a `Gap` for what was before them.
    pub(super) fn after(process: RepeatedStart, seen: u64) -> Self {
        let events = process.events().scan(seen, |seen, item| {
            let items = match item {
                Ok(event) if event.seq <= *seen => Vec::new(),
                Ok(event) => {
                    let first_seq = event.seq;
                    let gap = (first_seq > *seen + 1).then(|| unnumbered(Kind::Gap(Gap { first_seq })));
                    *seen = first_seq;
                    gap.into_iter().chain([event]).map(Ok).collect()
                }
                Err(status) => vec![Err(status)],
            };
            std::future::ready(Some(stream::iter(items)))
        });
        Self(Box::pin(events.flatten()))
    }
}

impl Stream for EndedEvents {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for EndedEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndedEvents")
    }
}

#[cfg(test)]
mod tests {
    use baton_proto::exec::exited;

    use super::*;
    use crate::termination::{Close, Exit, OutputTotals, Termination};

    fn repeated() -> RepeatedStart {
        let exit = Exit {
            seq: 3,
            status: Some(exited::Status::Code(4)),
            stopped: None,
            out_of_memory: false,
            at_unix_ns: 7,
            traceparent: None,
        };
        let close = Close {
            seq: 5,
            at_unix_ns: 8,
            output: OutputTotals::default(),
            survivors: 0,
        };
        RepeatedStart::of_finished(Termination::Closed(exit, close))
    }

    /// The `seq` of an event; of a gap, the one after it as a negative number; 0: attached.
    async fn read(seen: u64) -> Vec<i64> {
        let events = EndedEvents::attached(repeated(), seen);
        let number = |event: ProcessEvent| match event.kind.unwrap() {
            Kind::Gap(gap) => -(gap.first_seq as i64),
            _ => event.seq as i64,
        };
        events.map(Result::unwrap).map(number).collect().await
    }

    #[tokio::test]
    async fn a_call_without_a_log_gets_the_end_after_what_it_has_and_is_told_what_is_missing() {
        assert_eq!(read(0).await, [0, -3, 3, -5, 5]);
        assert_eq!(read(1).await, [0, -3, 3, -5, 5]);
        assert_eq!(read(2).await, [0, 3, -5, 5]);
        assert_eq!(read(3).await, [0, -5, 5]);
        assert_eq!(read(4).await, [0, 5]);
        assert_eq!(read(5).await, [0]);
    }
}
