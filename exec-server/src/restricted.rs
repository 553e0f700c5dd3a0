//! What a client with a forced command may call: `Exec`, which runs that command, and `Warm.Ping`, which does nothing.
//!
//! Every other service is refused here, also one that a program mounts itself: what it does for a client is not known,
//! and the owner of the allow-list has granted one command. `Files` refuses by itself, with a typed error.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use baton_channel::Service;
use baton_channel::allow::Peer;
use baton_rpc::exec::exec_server::SERVICE_NAME as EXEC;
use baton_rpc::files::files_server::SERVICE_NAME as FILES;
use futures_util::future::Either;
use tonic::Status;
use tonic::body::Body;

/// The message of a refused call.
pub(crate) const RESTRICTED: &str = "this client's key may only run the command that the exec-server's allow-list has \
    for it (option `command`): ask the exec-server's owner for a key without that option";

/// A round trip that keeps a session ready. It has no effect, and its answer is empty.
const PING: &str = "baton.warm.v1.Warm/Ping";

/// Refuses calls of clients with a forced command.
#[derive(Debug, Clone)]
pub(crate) struct Restricted<S>(pub(crate) S);

/// Whether a client with a forced command may call this path.
fn is_open(path: &str) -> bool {
    let path = path.strip_prefix('/').unwrap_or_default();
    let is_of = |service: &str| {
        path.strip_prefix(service)
            .is_some_and(|method| method.starts_with('/'))
    };
    is_of(EXEC) || is_of(FILES) || path == PING
}

impl<S: Service> tower_service::Service<http::Request<Body>> for Restricted<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Self::Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Arc<Peer>>();
        let is_restricted = peer.is_some_and(|peer| peer.options().command().is_some());
        match is_restricted && !is_open(request.uri().path()) {
            true => Either::Right(ready(Ok(Status::permission_denied(RESTRICTED).into_http()))),
            false => Either::Left(self.0.call(request)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_services_that_refuse_or_force_by_themselves_are_open() {
        for (path, expected) in [
            ("/baton.exec.v1.Exec/Run", true),
            ("/baton.files.v1.Files/Write", true),
            ("/baton.warm.v1.Warm/Ping", true),
            ("/baton.warm.v1.Warm/Watch", false),
            ("/baton.warm.v1.Warm/Ping/x", false),
            ("/baton.metadata.v1.Metadata/History", false),
            ("/baton.exec.v1.Executor/Run", false),
            ("/baton.exec.v1.Exec", false),
            ("baton.exec.v1.Exec/Run", false),
            ("/my.Service/Method", false),
            ("", false),
        ] {
            assert_eq!(is_open(path), expected, "{path}");
        }
    }
}
