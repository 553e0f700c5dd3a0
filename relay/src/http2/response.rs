//! Answers one request: calls the service, then writes its response body to HTTP/2 as the peer's window allows.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf as _;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use http_body::Body as _;

use crate::frames::Rope;
use crate::request_body::RequestBody;
use crate::response_body::ResponseBody;
use crate::service::RelayService;

/// Why a response was not sent completely. Caused by the peer, except [`ResponseError::Body`].
#[derive(Debug, thiserror::Error)]
enum ResponseError {
    #[error("the stream failed: {0}")]
    Stream(#[from] h2::Error),
    #[error("the peer reset the stream: {0}")]
    Reset(Reason),
    #[error("the stream is closed")]
    Closed,
    #[error("the session was ended: {0}")]
    Body(tonic::Status),
}

/// Runs the service for a request, until the peer resets the stream, and sends the response.
pub(crate) async fn answer(service: RelayService, request: Request<RecvStream>, respond: SendResponse<Rope>) {
    if let Err(error) = try_answer(service, request, respond).await {
        tracing::debug!("a response ended early: {error}");
    }
}

async fn try_answer(
    service: RelayService,
    request: Request<RecvStream>,
    mut respond: SendResponse<Rope>,
) -> Result<(), ResponseError> {
    let stream = service.connection.open_stream();
    let response = tokio::select! {
        response = service.answer(request.map(RequestBody::new)) => response,
        reset = poll_fn(|cx| respond.poll_reset(cx)) => return Err(ResponseError::Reset(reset?)),
    };
    let (head, body) = response.into_parts();
    let mut body = body.on(stream);
    let is_end = body.is_end_stream();
    let mut sending = respond.send_response(Response::from_parts(head, ()), is_end)?;
    if is_end {
        return Ok(());
    }
    let mut waiting = None;
    poll_fn(|cx| poll_send(&mut sending, &mut body, &mut waiting, cx)).await
}

/// Sends the body. Requests capacity only when a chunk waits: capacity that is reserved without a chunk is lost to the
/// other streams of the connection.
fn poll_send(
    sending: &mut SendStream<Rope>,
    body: &mut ResponseBody,
    waiting: &mut Option<Rope>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), ResponseError>> {
    loop {
        if let Poll::Ready(reason) = sending.poll_reset(cx)? {
            return Poll::Ready(Err(ResponseError::Reset(reason)));
        }
        if waiting.is_some() {
            while sending.capacity() == 0 {
                // Lets the relay cut a session whose reader has stalled.
                if let Poll::Ready(status) = body.poll_cut(cx) {
                    return Poll::Ready(Err(reset_stream(sending, status)));
                }
                match ready!(sending.poll_capacity(cx)) {
                    Some(capacity) => {
                        capacity?;
                    }
                    None => return Poll::Ready(Err(ResponseError::Closed)),
                }
            }
            if let Some(chunk) = waiting.take() {
                sending.send_data(chunk, false)?;
            }
        }
        match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) if chunk.has_remaining() => {
                    sending.reserve_capacity(1);
                    *waiting = Some(chunk);
                }
                Ok(_) => {}
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        sending.reserve_capacity(0);
                        sending.send_trailers(trailers)?;
                        return Poll::Ready(Ok(()));
                    }
                }
            },
            Some(Err(status)) => return Poll::Ready(Err(reset_stream(sending, status))),
            None => {
                sending.send_data(Rope::default(), true)?;
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Resets the stream, which frees the data that HTTP/2 buffers for it.
fn reset_stream(sending: &mut SendStream<Rope>, status: tonic::Status) -> ResponseError {
    sending.send_reset(Reason::ENHANCE_YOUR_CALM);
    ResponseError::Body(status)
}
