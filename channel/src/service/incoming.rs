//! The reader: decrypts the messages of the outer response body and passes them to the multiplexer.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Instant;

use baton_export::{clock, response_guard};
use baton_trace::text::hint;
use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::{Code, Status};

use super::error::SessionError;
use super::session_state::{SessionState, StreamHandle};
use crate::limits;
use crate::outer::{Deframer, OuterError};

/// Reads the response body of an outer stream until the session ends, and returns the reason. `deframer` may already
/// hold bytes that precede `body`. `on_stream` is called for each stream that the peer opens; it must not block. A
/// stream that its handler does not read never stops the reader.
pub(crate) async fn read(
    session: &Arc<SessionState>,
    mut body: Body,
    mut deframer: Deframer,
    mut on_stream: impl FnMut(StreamHandle),
) -> SessionError {
    let mut received = clock::now();
    let end = loop {
        if let Err(end) = take_messages(session, &mut deframer, received) {
            break end;
        }
        while let Some(stream) = session.next_opened() {
            on_stream(stream);
        }
        match next_chunk(session, &mut body, &mut deframer).await {
            Ok(()) => received = clock::now(),
            Err(end) => break end,
        }
    };
    match end {
        ReadEnd::SessionEnded => {}
        ReadEnd::Orderly(error) => session.finish(error),
        ReadEnd::Lost(error) => session.close(error),
        ReadEnd::Fault(error) => session.give_up(error.into()),
    }
    if session.is_flushing() {
        // Dropping the body before both directions end would reset the outer stream.
        let both = async { tokio::join!(drain(&mut body), session.flushed()) };
        let _ = tokio::time::timeout(limits::CLOSE_TIMEOUT, both).await;
    }
    session.close(SessionError::Closed);
    session.reader_is_done();
    // The first reason counts.
    session.ended().unwrap_or(SessionError::Closed)
}

/// Why the reader stops.
enum ReadEnd {
    /// The session has ended already.
    SessionEnded,
    /// The peer has sent END_STREAM.
    Orderly(SessionError),
    /// The stream was reset or ended out of order, or its connection was lost.
    Lost(SessionError),
    /// The bytes are not a valid sequence of the relay's frames.
    Fault(OuterError),
}

fn take_messages(session: &SessionState, deframer: &mut Deframer, received: Instant) -> Result<(), ReadEnd> {
    while let Some((message, stamp)) = deframer.next().map_err(ReadEnd::Fault)? {
        if !session.receive(received, stamp, &message) {
            break;
        }
    }
    session.ended().map_or(Ok(()), |_| Err(ReadEnd::SessionEnded))
}

/// Waits for the next chunk, or until another task ends the session.
async fn next_chunk(session: &SessionState, body: &mut Body, deframer: &mut Deframer) -> Result<(), ReadEnd> {
    let frame = tokio::select! {
        biased;
        frame = body.frame() => frame,
        () = session.ending() => match session.ended() {
            Some(_) => return Err(ReadEnd::SessionEnded),
            // HTTP/2 dropped the writer. The reader's half of the same stream delivers the reason, after the chunks
            // that arrived before it.
            None => match tokio::time::timeout(limits::CLOSE_TIMEOUT, body.frame()).await {
                Ok(frame) => {
                    session.notify_ending_again();
                    frame
                }
                Err(_) => {
                    let error = SessionError::Relay("the outgoing stream was closed".into());
                    return Err(ReadEnd::Lost(error));
                }
            },
        },
    };
    match frame {
        Some(Ok(frame)) => match frame.into_data() {
            Ok(chunk) => {
                deframer.push(chunk);
                Ok(())
            }
            Err(frame) => Err(ended_by_relay(frame.trailers_ref(), deframer)),
        },
        Some(Err(status)) => Err(ReadEnd::Lost(broken(&status))),
        None => {
            deframer.finish().map_err(ReadEnd::Fault)?;
            Err(ReadEnd::Lost(SessionError::Relay(
                "the relay closed the stream".into(),
            )))
        }
    }
}

/// Why the relay ended the stream: the peer ended its direction in order, the peer is gone, or the relay shuts down.
/// PROTOCOL.md section 3, `Frame`, lists the statuses.
fn ended_by_relay(trailers: Option<&http::HeaderMap>, deframer: &Deframer) -> ReadEnd {
    let reason = relay_reason(trailers);
    let status = trailers.and_then(response_guard::status);
    match status.map(|status| status.code()) {
        Some(Code::Ok) => match deframer.finish() {
            Ok(()) => ReadEnd::Orderly(SessionError::Relay(reason)),
            Err(error) => ReadEnd::Fault(error),
        },
        Some(Code::Aborted) => ReadEnd::Lost(SessionError::ConnectionLost(reason)),
        _ => ReadEnd::Lost(SessionError::Relay(reason)),
    }
}

/// Why the stream failed: the relay reset it, or the connection that carried it was lost.
fn broken(status: &Status) -> SessionError {
    let reason = hint(status.message());
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>()
            && error.is_reset()
            && error.is_remote()
        {
            return SessionError::Relay(reason);
        }
        cause = error.source();
    }
    SessionError::ConnectionLost(reason)
}

async fn drain(body: &mut Body) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// The relay's status message at the end of the stream. It is unauthenticated: for display only.
pub(crate) fn relay_reason(trailers: Option<&http::HeaderMap>) -> String {
    let status = trailers.and_then(response_guard::status);
    match status {
        Some(status) if !status.message().is_empty() => hint(status.message()),
        _ => "the other end hung up".into(),
    }
}
