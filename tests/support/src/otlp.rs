//! A receiver of OTLP over gRPC. The collector and the benchmarks' sink use it, and decode different parts of a
//! request.

use std::convert::Infallible;
use std::future::Ready;
use std::io;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// A bound receiver. Connections wait until [`serve`](Self::serve) runs.
pub struct Receiver(TcpIncoming);

impl Receiver {
    /// Binds a free port of loopback. Needs a tokio runtime.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn bind() -> io::Result<Self> {
        Self::bind_to((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Binds an address. Needs a tokio runtime.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn bind_to(address: SocketAddr) -> io::Result<Self> {
        let incoming = TcpIncoming::bind(address)?;
        Ok(Self(incoming.with_nodelay(Some(true))))
    }

    /// The value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn endpoint(&self) -> io::Result<String> {
        Ok(format!("http://{}", self.0.local_addr()?))
    }

    /// Decodes every request as `M` and passes it to `take`. `M` is `ExportTraceServiceRequest`, or a message with a
    /// subset of its fields. Returns only on an error.
    ///
    /// # Errors
    /// An error of the operating system.
    pub async fn serve<M, F>(self, take: F) -> io::Result<()>
    where
        M: prost::Message + Default + 'static,
        F: Fn(M) + Send + Sync + 'static,
    {
        let service = Export {
            take: Arc::new(take),
            message: PhantomData,
        };
        let server = Server::builder().add_service(service);
        server.serve_with_incoming(self.0).await.map_err(io::Error::other)
    }
}

/// `opentelemetry.proto.collector.trace.v1.TraceService`, whose only method is `Export`.
struct Export<M, F> {
    take: Arc<F>,
    message: PhantomData<fn(M)>,
}

impl<M, F> Clone for Export<M, F> {
    fn clone(&self) -> Self {
        Self {
            take: Arc::clone(&self.take),
            message: PhantomData,
        }
    }
}

impl<M, F> NamedService for Export<M, F> {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl<M, F> Service<http::Request<Body>> for Export<M, F>
where
    M: prost::Message + Default + 'static,
    F: Fn(M) + Send + Sync + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<ExportTraceServiceResponse, M>::default();
            Ok(Grpc::new(codec).unary(method, request).await)
        })
    }
}

impl<M, F> UnaryService<M> for Export<M, F>
where
    F: Fn(M),
{
    type Response = ExportTraceServiceResponse;
    type Future = Ready<Result<Response<ExportTraceServiceResponse>, Status>>;

    fn call(&mut self, request: Request<M>) -> Self::Future {
        (self.take)(request.into_inner());
        std::future::ready(Ok(Response::new(ExportTraceServiceResponse::default())))
    }
}
