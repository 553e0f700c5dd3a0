//! The reader: chunks of the outer response body, opened and handed to the multiplexer.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Instant;

use baton_export::{clock, response_guard};
use baton_trace::text::hint;
use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::{Code, Status};

use super::error::SessionError;
use super::shared::{Shared, StreamHandle};
use crate::limits;
use crate::outer::Deframer;

/// Reads the response body of an outer stream, behind what `deframer` already has, until the session ends and returns why. `on_stream` is called for each stream the peer opens; it must not
/// block, and a stream that nobody reads never stops the reader.
pub(crate) async fn read(
    shared: &Arc<Shared>,
    mut body: Body,
    mut deframer: Deframer,
    mut on_stream: impl FnMut(StreamHandle),
) -> SessionError {
    let mut received = clock::now();
    let error = loop {
        if let Err(error) = take_messages(shared, &mut deframer, received) {
            break error;
        }
        while let Some(stream) = shared.next_opened() {
            on_stream(stream);
        }
        match next_chunk(shared, &mut body, &mut deframer).await {
            Ok(()) => received = clock::now(),
            Err(error) => break error,
        }
    };
    if shared.is_flushing() {
        // Letting go of the body now would reset the outer stream under what is still being sent.
        let _ = tokio::time::timeout(limits::CLOSE_TIMEOUT, drain(&mut body)).await;
    }
    shared.close(error);
    // The first reason counts.
    shared.ended().unwrap_or(SessionError::Closed)
}

fn take_messages(shared: &Shared, deframer: &mut Deframer, received: Instant) -> Result<(), SessionError> {
    while let Some((message, stamp)) = deframer.next()? {
        if !shared.receive(received, stamp, &message) {
            break;
        }
    }
    shared.ended().map_or(Ok(()), Err)
}

/// Waits for the next chunk, or for the session to be ended from outside.
async fn next_chunk(shared: &Shared, body: &mut Body, deframer: &mut Deframer) -> Result<(), SessionError> {
    let frame = tokio::select! {
        biased;
        frame = body.frame() => frame,
        () = shared.ending() => match shared.ended() {
            Some(error) => return Err(error),
            // HTTP/2 let go of the writer. Why, the reader's half of the same stream tells, behind what had arrived before.
            None => match tokio::time::timeout(limits::CLOSE_TIMEOUT, body.frame()).await {
                Ok(frame) => {
                    shared.look_again();
                    frame
                }
                Err(_) => return Err(SessionError::Relay("the outgoing stream was closed".into())),
            },
        },
    };
    match frame {
        Some(Ok(frame)) => match frame.into_data() {
            Ok(chunk) => {
                deframer.push(chunk);
                Ok(())
            }
            Err(frame) => Err(ended_by_relay(frame.trailers_ref())),
        },
        Some(Err(status)) => Err(broken(&status)),
        None => {
            deframer.finish()?;
            Err(SessionError::Relay("the relay closed the stream".into()))
        }
    }
}

/// Why the relay ended the stream in order: it shuts down, or the other end has gone. See PROTOCOL.md section 3, `Frame`.
fn ended_by_relay(trailers: Option<&http::HeaderMap>) -> SessionError {
    let reason = relay_reason(trailers);
    match trailers
        .and_then(response_guard::status)
        .map(|status| status.code())
    {
        Some(Code::Aborted) => SessionError::ConnectionLost(reason),
        _ => SessionError::Relay(reason),
    }
}

/// Why the stream broke: the relay reset it, or the connection that carried it was lost.
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

/// What the relay says of the end, for people: unauthenticated.
pub(crate) fn relay_reason(trailers: Option<&http::HeaderMap>) -> String {
    let status = trailers.and_then(response_guard::status);
    match status {
        Some(status) if !status.message().is_empty() => hint(status.message()),
        _ => "the other end hung up".into(),
    }
}
