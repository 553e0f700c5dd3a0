//! How a process ended, for whoever starts it again.
//!
//! A client that lost the answer to its `Start` repeats it. Nothing may run twice, so what it gets is the first run's end: its `Exited`
//! and its `Closed`, with the `seq` they have there, once there are such. What that run printed went to whoever followed it, and is
//! not kept.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use baton_proto::exec::exited::Status;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{CallEnd, Closed, Exited, ProcessEvent, TraceCarrier};
use futures_util::stream::{self, Stream};
use tokio::sync::watch;

use crate::error::StartError;

/// Trace id, span id and flags.
const TRACEPARENT_BYTES: usize = 25;

/// What is known of a process's end. The sender's drop says that no more will be.
#[derive(Debug, Default)]
struct Known {
    exited: Option<ProcessEvent>,
    closed: Option<ProcessEvent>,
}

/// The process's side.
#[derive(Debug)]
pub(super) struct Ends(watch::Sender<Known>);

/// Whoever waits for the end of a process, or comes after it.
#[derive(Debug, Clone)]
pub(super) struct Ended(watch::Receiver<Known>);

/// The end of a process, as events. Dropping it changes nothing.
pub(super) struct Again(Pin<Box<dyn Stream<Item = Result<ProcessEvent, tonic::Status>> + Send>>);

/// What is remembered of a process's end: its two events in less memory. The trace context is the bare `traceparent`.
#[derive(Debug, Clone, Default)]
pub(super) struct End {
    /// 0: its exit is not known.
    exited_seq: u64,
    /// 0: it was not closed.
    closed_seq: u64,
    observed_unix_ns: u64,
    stdout_bytes: u64,
    stderr_bytes: u64,
    status: Option<Status>,
    truncated: bool,
    trace: Option<[u8; TRACEPARENT_BYTES]>,
    call_end: CallEnd,
}

impl End {
    fn of(known: &Known) -> Self {
        let mut end = Self::default();
        if let Some(ProcessEvent {
            seq,
            kind: Some(Kind::Exited(exited)),
        }) = &known.exited
        {
            end.exited_seq = *seq;
            end.status = exited.status;
            end.observed_unix_ns = exited.observed_unix_ns;
            let carrier = exited.trace.as_ref();
            end.trace = carrier.and_then(|carrier| carrier.traceparent[..].try_into().ok());
            end.call_end = exited.call_end();
        }
        if let Some(ProcessEvent {
            seq,
            kind: Some(Kind::Closed(closed)),
        }) = &known.closed
        {
            end.closed_seq = *seq;
            end.truncated = closed.truncated;
            end.stdout_bytes = closed.stdout_bytes;
            end.stderr_bytes = closed.stderr_bytes;
        }
        end
    }

    fn known(&self) -> Known {
        let event = |seq, kind| {
            (seq > 0).then_some(ProcessEvent {
                seq,
                kind: Some(kind),
            })
        };
        let trace = self.trace.map(|traceparent| TraceCarrier {
            traceparent: traceparent.to_vec().into(),
            ..TraceCarrier::default()
        });
        let exited = Exited {
            status: self.status,
            observed_unix_ns: self.observed_unix_ns,
            trace,
            call_end: self.call_end.into(),
        };
        let closed = Closed {
            truncated: self.truncated,
            stdout_bytes: self.stdout_bytes,
            stderr_bytes: self.stderr_bytes,
        };
        Known {
            exited: event(self.exited_seq, Kind::Exited(exited)),
            closed: event(self.closed_seq, Kind::Closed(closed)),
        }
    }

    /// For a start that comes after the end.
    pub(super) fn ended(&self) -> Ended {
        Ended(watch::channel(self.known()).1)
    }
}

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

    /// What is known of the end so far.
    pub(super) fn end(&self) -> End {
        End::of(&self.0.borrow())
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

async fn next(
    ends: &mut watch::Receiver<Known>,
    told: &mut Told,
) -> Option<Result<ProcessEvent, tonic::Status>> {
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
                    return Some(Err(tonic::Status::internal(
                        "the exit status of the process was lost",
                    )));
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
    type Item = Result<ProcessEvent, tonic::Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Again")
    }
}
