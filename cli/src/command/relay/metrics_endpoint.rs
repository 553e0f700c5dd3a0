//! The HTTP/1.1 endpoint of `baton relay --metrics`: `GET /metrics`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::metrics::RelayMetrics;
use crate::error::CliError;
use crate::limits::{METRICS_ACCEPT_PAUSE, METRICS_CONNECTIONS, METRICS_REQUEST_BYTES, METRICS_TIMEOUT};

const PATH: &str = "/metrics";

/// OpenMetrics 1.0, "Exposition format". Prometheus reads it without negotiation.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Listens for scrapes.
pub(super) struct MetricsEndpoint {
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl MetricsEndpoint {
    /// Port 0: any free one.
    pub(super) async fn bind(address: SocketAddr) -> Result<Self, CliError> {
        let error = |source| CliError::MetricsBind { address, source };
        let listener = TcpListener::bind(address).await.map_err(error)?;
        let local_addr = listener.local_addr().map_err(error)?;
        Ok(Self { listener, local_addr })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}{PATH}", self.local_addr)
    }

    /// Answers one request a connection, until it is dropped.
    pub(super) async fn serve(self, metrics: RelayMetrics) -> Infallible {
        let metrics = Arc::new(metrics);
        let places = Arc::new(Semaphore::new(METRICS_CONNECTIONS));
        loop {
            // The semaphore is never closed. Further scrapers wait in the kernel's queue.
            let place = places.clone().acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let metrics = metrics.clone();
                    tokio::spawn(async move {
                        // A scraper that is too slow, or gone, misses the page.
                        let _ = timeout(METRICS_TIMEOUT, answer_one(stream, &metrics)).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection for --metrics: {error}");
                    sleep(METRICS_ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn answer_one(stream: TcpStream, metrics: &RelayMetrics) -> hyper::Result<()> {
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(&request, metrics)));
    http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(METRICS_REQUEST_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn answer(request: &Request<Incoming>, metrics: &RelayMetrics) -> Response<Full<Bytes>> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, content_type, body) = match request.uri().path() {
        PATH if !is_read => (StatusCode::METHOD_NOT_ALLOWED, TEXT, "use GET\n".to_owned()),
        PATH => match metrics.text() {
            Ok(page) => (StatusCode::OK, OPEN_METRICS, page),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        _ => (StatusCode::NOT_FOUND, TEXT, format!("the page is {PATH}\n")),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
