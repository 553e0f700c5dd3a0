//! How a process ended, for whoever starts it again.
//!
//! A client that lost the answer to its `Start` repeats it. Nothing may run twice, so what it gets is the first run's end: its `Exited`
//! and its `Closed`, with the `seq` they have there, once there are such. What that run printed went to whoever followed it, and is
//! not kept.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use baton_proto::exec::ProcessEvent;
use baton_proto::exec::process_event::Kind;
use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tonic::Status;

use crate::error::StartError;

/// What is known of a process's end. The sender's drop says that no more will be.
#[derive(Debug, Default)]
struct Known {
    exited: Option<ProcessEvent>,
    closed: Option<ProcessEvent>,
}

/// The process's side.
#[derive(Debug)]
pub(super) struct Ends(watch::Sender<Known>);

/// A side that can be kept when the process is long gone; some 1 KiB.
#[derive(Debug, Clone)]
pub(super) struct Ended(watch::Receiver<Known>);

/// The end of a process, as events. Dropping it changes nothing.
pub(super) struct Again(Pin<Box<dyn Stream<Item = Result<ProcessEvent, Status>> + Send>>);

impl Ends {
    pub(super) fn new() -> Self {
        Self(watch::Sender::default())
    }

    /// Notes the event if it is of the end.
    pub(super) fn note(&self, seq: u64, kind: &Kind) {
        let slot: fn(&mut Known) -> &mut Option<ProcessEvent> = match kind {
            Kind::Exited(_) => |known| &mut known.exited,
            Kind::Closed(_) => |known| &mut known.closed,
            Kind::Started(_) | Kind::Output(_) => return,
        };
        let event = ProcessEvent {
            seq,
            kind: Some(kind.clone()),
        };
        self.0.send_modify(|known| *slot(known) = Some(event));
    }

    pub(super) fn ended(&self) -> Ended {
        Ended(self.0.subscribe())
    }
}

impl Ended {
    /// The end, waited for if need be.
    pub(super) fn events(self) -> Again {
        let events = stream::unfold((self.0, Told::Nothing), |(mut ends, mut told)| async move {
            let item = next(&mut ends, &mut told).await?;
            Some((item, (ends, told)))
        });
        Again(Box::pin(events))
    }
}

/// How far the telling has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Exited,
    All,
}

async fn next(ends: &mut watch::Receiver<Known>, told: &mut Told) -> Option<Result<ProcessEvent, Status>> {
    loop {
        {
            let known = ends.borrow_and_update();
            match (*told, &known.exited, &known.closed) {
                (Told::All, ..) => return None,
                (Told::Nothing, Some(exited), _) => {
                    *told = Told::Exited;
                    return Some(Ok(exited.clone()));
                }
                (Told::Exited, _, Some(closed)) => {
                    *told = Told::All;
                    return Some(Ok(closed.clone()));
                }
                (Told::Nothing, None, Some(_)) => {
                    *told = Told::All;
                    return Some(Err(Status::internal("the exit status of the process was lost")));
                }
                (Told::Nothing | Told::Exited, _, None) => {}
            }
        }
        if ends.changed().await.is_err() {
            *told = Told::All;
            return Some(Err(StartError::FirstFailed.into()));
        }
    }
}

impl Stream for Again {
    type Item = Result<ProcessEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Again")
    }
}
