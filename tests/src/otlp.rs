//! The receiving end of OTLP over gRPC, which sink and collector share.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A bound receiver that does not serve yet; connections wait.
pub(crate) struct Receiver(TcpIncoming);

impl Receiver {
    /// Binds a free port of loopback. Needs a tokio runtime.
    pub(crate) fn bind() -> io::Result<Self> {
        Self::bind_to((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// The same at an address.
    pub(crate) fn bind_to(address: SocketAddr) -> io::Result<Self> {
        let incoming = TcpIncoming::bind(address)?;
        Ok(Self(incoming.with_nodelay(Some(true))))
    }

    /// What to set `OTEL_EXPORTER_OTLP_ENDPOINT` to.
    pub(crate) fn endpoint(&self) -> io::Result<String> {
        Ok(format!("http://{}", self.0.local_addr()?))
    }

    /// Hands every request to `take`, for ever.
    pub(crate) async fn serve<F>(self, take: F) -> io::Result<()>
    where
        F: Fn(ExportTraceServiceRequest) + Send + Sync + 'static,
    {
        let service = TraceServiceServer::new(Take(take));
        let server = Server::builder().add_service(service);
        server.serve_with_incoming(self.0).await.map_err(io::Error::other)
    }
}

struct Take<F>(F);

#[tonic::async_trait]
impl<F> TraceService for Take<F>
where
    F: Fn(ExportTraceServiceRequest) + Send + Sync + 'static,
{
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        (self.0)(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
