//! The task that reads one side's request body into the session's queue.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::Body;

use super::{Closed, Deframer, Direction, End, Queue};
use crate::session::Session;

/// Runs until the body ends, breaks the framing, or nobody takes the frames any more; tells the session which.
pub(crate) async fn pump<B>(session: Arc<Session>, direction: Direction, mut body: B)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut deframer = Deframer::default();
    let end = poll_fn(|cx| poll_pump(session.queue(direction), &mut deframer, Pin::new(&mut body), cx)).await;
    match end {
        Ok(End::Clean) => session.queue(direction).end(End::Clean),
        Ok(end) => session.end(end),
        Err(Closed) => {} // Whoever closed the queue has told the session why.
    }
}

fn poll_pump<B>(
    queue: &Queue,
    deframer: &mut Deframer,
    mut body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<Result<End, Closed>>
where
    B: Body<Data = Bytes>,
{
    loop {
        // Room first: a frame that has been cut must have a place to go, and a full queue closes the HTTP/2 window.
        ready!(queue.poll_room(cx))?;
        match deframer.next_frame() {
            Ok(Some(frame)) => {
                queue.push(frame);
                continue;
            }
            Ok(None) => {}
            Err(error) => return Poll::Ready(Ok(End::Broken(error))),
        }
        match ready!(body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    deframer.feed(chunk, Instant::now());
                }
            }
            Some(Err(_)) => return Poll::Ready(Ok(End::Disconnected)),
            // A reset without an error (RFC 9113 section 8.1) looks like an end too, but no END_STREAM was seen.
            None if !body.is_end_stream() => return Poll::Ready(Ok(End::Disconnected)),
            None => {
                return Poll::Ready(Ok(deframer.finish().map_or_else(End::Broken, |()| End::Clean)));
            }
        }
    }
}
