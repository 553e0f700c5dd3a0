//! Makes the response of a gRPC peer safe for tonic, whose status parser panics when `grpc-status-details-bin` is not
//! base64 (grpc-rust pull request 2618, open as of tonic 0.14.9). The responding peer chooses that header, so a relay,
//! an exec-server or a collector could end any task that waits for a response.
//!
//! Details that do not decode are removed, and the status is kept, as in Go's implementation.

use std::pin::Pin;
use std::task::{Context, Poll};

use data_encoding::BASE64_NOPAD;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use http_body_util::combinators::MapFrame;
use tonic::Status;
use tower_service::Service;

const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Reads the status in response headers or trailers; `None` if there is none.
pub fn status(headers: &HeaderMap) -> Option<Status> {
    if has_invalid_details(headers) {
        let mut headers = headers.clone();
        clean(&mut headers);
        return Status::from_header_map(&headers);
    }
    Status::from_header_map(headers)
}

/// Whether tonic would panic on these headers.
pub fn has_invalid_details(headers: &HeaderMap) -> bool {
    headers
        .get_all(DETAILS)
        .iter()
        .any(|details| !is_base64(details.as_bytes()))
}

fn clean(headers: &mut HeaderMap) {
    if has_invalid_details(headers) {
        headers.remove(DETAILS);
    }
}

/// Accepts full padding or none, like tonic.
fn is_base64(text: &[u8]) -> bool {
    let bare = text.strip_suffix(b"=").unwrap_or(text);
    let bare = bare.strip_suffix(b"=").unwrap_or(bare);
    let is_padded = bare.len() < text.len();
    (!is_padded || text.len().is_multiple_of(4)) && BASE64_NOPAD.decode(bare).is_ok()
}

/// A connection whose responses are safe to read for tonic's generated clients.
#[derive(Debug, Clone)]
pub struct ResponseGuard<S>(pub S);

/// The body of a guarded response.
pub type GuardedBody<B> = MapFrame<B, fn(Frame<<B as Body>::Data>) -> Frame<<B as Body>::Data>>;

impl<S, R, B> Service<Request<R>> for ResponseGuard<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: Body,
{
    type Response = Response<GuardedBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            clean(response.headers_mut());
            Ok(response.map(|body| body.map_frame(guard_frame as fn(_) -> _)))
        })
    }
}

/// Removes invalid details from one frame of a body.
pub fn guard_frame<D>(frame: Frame<D>) -> Frame<D> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            clean(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;
    use tonic::Code;

    use super::*;

    fn headers(details: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static("5"));
        headers.insert("grpc-message", HeaderValue::from_static("said"));
        headers.insert(DETAILS, HeaderValue::from_bytes(details).unwrap());
        headers
    }

    #[test]
    fn details_that_are_no_base64_are_left_out_and_the_status_stands() {
        for bad in ["!", "A", "A===", "QQ=", "QR", "Q Q", "QQ==QQ", "====", "_w"] {
            let status = status(&headers(bad.as_bytes())).unwrap();
            assert_eq!(
                (status.code(), status.message()),
                (Code::NotFound, "said"),
                "{bad}"
            );
            assert!(status.details().is_empty(), "{bad}");
        }
        for good in ["QQ", "QQ=="] {
            assert_eq!(status(&headers(good.as_bytes())).unwrap().details(), b"A");
        }
    }

    #[tokio::test]
    async fn headers_and_trailers_of_an_answer_reach_tonic_without_them() {
        struct Hostile;
        impl Service<Request<()>> for Hostile {
            type Response = Response<http_body_util::Full<bytes::Bytes>>;
            type Error = ();
            type Future = std::future::Ready<Result<Self::Response, ()>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, _: Request<()>) -> Self::Future {
                let mut response = Response::default();
                *response.headers_mut() = headers(b"!");
                std::future::ready(Ok(response))
            }
        }
        let response = ResponseGuard(Hostile).call(Request::new(())).await.unwrap();
        assert!(!response.headers().contains_key(DETAILS));
        assert!(response.headers().contains_key("grpc-status"));
        let trailers = guard_frame(Frame::<()>::trailers(headers(b"!")))
            .into_trailers()
            .unwrap();
        assert!(!trailers.contains_key(DETAILS));
        let kept = guard_frame(Frame::<()>::trailers(headers(b"QQ")))
            .into_trailers()
            .unwrap();
        assert!(kept.contains_key(DETAILS));
    }

    proptest! {
        #[test]
        fn no_details_panic(details in "[A-Za-z0-9+/=!_-]{0,12}") {
            let _ = status(&headers(details.as_bytes()));
        }
    }
}
