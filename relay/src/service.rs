//! Routes the methods of `baton.relay.v1.Relay` on one connection.
//!
//! `Dial` and `Accept` are served on the HTTP body, without copies of payloads; `Register` and `Here` by tonic's
//! generated server.

use std::sync::Arc;

use baton_proto::header;
use baton_rpc::relay::relay_server::RelayServer;
use http::{Request, Response};
use tokio::time::timeout;
use tonic::Status;
use tonic::codegen::Service as _;

use crate::accept::accept;
use crate::connection::Connection;
use crate::dial::dial;
use crate::headers::id_header;
use crate::health;
use crate::here::HereRefusal;
use crate::limits::REGISTER_MESSAGE_BYTES;
use crate::refusal;
use crate::register::{RegisterRefusal, Registrar};
use crate::request_body::RequestBody;
use crate::response_body::ResponseBody;
use crate::state::RelayState;

/// The service of one connection.
#[derive(Clone)]
pub(crate) struct RelayService {
    pub(crate) relay: Arc<RelayState>,
    pub(crate) connection: Arc<Connection>,
}

impl RelayService {
    /// Answers one request.
    pub(crate) async fn answer(self, request: Request<RequestBody>) -> Response<ResponseBody> {
        if let Some(response) = health::answer(&self.relay, &request) {
            return response;
        }
        let metrics = &self.relay.metrics;
        match request.uri().path() {
            "/baton.relay.v1.Relay/Dial" => dial(&self.relay, &self.connection, request)
                .await
                .unwrap_or_else(|refusal| refusal::response(&refusal, metrics)),
            "/baton.relay.v1.Relay/Accept" => accept(&self.relay, &self.connection, request)
                .unwrap_or_else(|refusal| refusal::response(&refusal, metrics)),
            "/baton.relay.v1.Relay/Register" => self.registrar(request).await,
            "/baton.relay.v1.Relay/Here" => self.here(request).await,
            _ => Status::unimplemented("this is a Baton relay: it serves baton.relay.v1.Relay").into_http(),
        }
    }

    /// Answers `Here`. A peer that never sends its message would otherwise occupy the stream, at no cost to itself.
    async fn here(self, request: Request<RequestBody>) -> Response<ResponseBody> {
        let relay = self.relay.clone();
        let wait = relay.limits.handshake_timeout;
        timeout(wait, self.registrar(request))
            .await
            .unwrap_or_else(|_| refusal::response(&HereRefusal::Slow(wait), &relay.metrics))
    }

    /// Answers `Register` and `Here`.
    async fn registrar(self, request: Request<RequestBody>) -> Response<ResponseBody> {
        let named = match id_header(request.headers(), header::EXEC_SERVER_ID) {
            Ok(named) => named,
            Err(error) => {
                return refusal::response(&RegisterRefusal::from(error), &self.relay.metrics);
            }
        };
        let authority = request
            .uri()
            .authority()
            .map_or("", |authority| authority.as_str());
        let registrar = Registrar::new(self.relay, self.connection, named, authority.to_owned());
        let mut server = RelayServer::new(registrar).max_decoding_message_size(REGISTER_MESSAGE_BYTES);
        let Ok(response) = server.call(request).await;
        response.map(ResponseBody::grpc)
    }
}
