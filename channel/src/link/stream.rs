//! One outer stream, `Dial` or `Accept`: the request body carries this end's frames, the response body the peer's.

use std::sync::Arc;

use baton_export::response_guard;
use baton_trace::text::hint;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, TE};
use http::{HeaderValue, Method, Request, Uri, Version};
use http_body_util::BodyExt;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Channel;
use tower_service::Service;

use super::endpoint::innermost;
use crate::outer::{Deframer, OuterError};
use crate::service::outgoing::Outgoing;
use crate::service::session_state::SessionState;

/// The receiving half of an outer stream.
pub(crate) struct OuterStream {
    pub(crate) body: Body,
    pub(crate) deframer: Deframer,
}

/// Why an outer stream could not be opened, or broke.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum StreamOpenError {
    /// The relay refused. Its status is an unauthenticated hint.
    #[error("{}", .0.message())]
    Refused(Status),
    /// The connection failed.
    #[error("{0}")]
    Connection(String),
    /// The server is not a relay.
    #[error("HTTP status {0}: the server is not a Baton relay")]
    NoRelay(u16),
    /// The received bytes are not a stream of frames.
    #[error(transparent)]
    Outer(#[from] OuterError),
}

impl OuterStream {
    /// Opens a stream whose request body is `shared`'s writer, and waits for the relay's response headers. Messages
    /// that are queued on `shared` are sent meanwhile.
    pub(crate) async fn open(
        channel: &mut Channel,
        uri: Uri,
        headers: &[(&'static str, String)],
        shared: &Arc<SessionState>,
    ) -> Result<Self, StreamOpenError> {
        let mut request = Request::new(Body::new(Outgoing::new(Arc::clone(shared))));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        let map = request.headers_mut();
        map.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        map.insert(TE, HeaderValue::from_static("trailers"));
        for (name, value) in headers {
            // Names are constants, values are hex.
            if let Ok(value) = HeaderValue::from_str(value) {
                map.insert(HeaderName::from_static(name), value);
            }
        }
        let connection = |error: tonic::transport::Error| StreamOpenError::Connection(innermost(&error));
        std::future::poll_fn(|cx| channel.poll_ready(cx))
            .await
            .map_err(connection)?;
        let response = channel.call(request).await.map_err(connection)?;
        let (parts, body) = response.into_parts();
        if let Some(status) = response_guard::status(&parts.headers) {
            return Err(StreamOpenError::Refused(status));
        }
        if parts.status != http::StatusCode::OK {
            let code = parts.status.as_u16();
            return Err(match code {
                // Sent by a proxy whose relay is down.
                502..=504 => StreamOpenError::Connection(format!("HTTP status {code}")),
                _ => StreamOpenError::NoRelay(code),
            });
        }
        Ok(Self {
            body,
            deframer: Deframer::default(),
        })
    }

    /// Waits for the next Noise message during the handshake.
    pub(crate) async fn message(&mut self) -> Result<Bytes, StreamOpenError> {
        loop {
            if let Some((message, _)) = self.deframer.next()? {
                return Ok(message);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => self.deframer.push(chunk),
                    Err(frame) => {
                        let status = frame.trailers_ref().and_then(response_guard::status);
                        let ended = || Status::unavailable("the relay ended the stream");
                        return Err(StreamOpenError::Refused(status.unwrap_or_else(ended)));
                    }
                },
                Some(Err(status)) => return Err(StreamOpenError::Connection(hint(status.message()))),
                None => return Err(StreamOpenError::Connection("the relay ended the stream".into())),
            }
        }
    }
}
