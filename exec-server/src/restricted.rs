//! What a client may call whose line on the allow-list limits it.
//!
//! * A client with a forced command: `Exec`, which runs that command, and `Warm.Ping`, which does nothing. The owner of
//!   the allow-list has granted one command.
//! * A client whose commands run as another user: `Exec`, and the services that only give it its own records and states.
//!   The others have the rights of this process.
//!
//! Every other service is refused here, also one that a program mounts itself: what it does for a client is not known.
//! `Files` refuses by itself, with a typed error, but for a user that the exec-server's settings name.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use baton_channel::Service;
use baton_channel::allow::Peer;
use baton_rpc::exec::exec_server::SERVICE_NAME as EXEC;
use baton_rpc::files::files_server::SERVICE_NAME as FILES;
use baton_rpc::metadata::metadata_server::SERVICE_NAME as METADATA;
use baton_rpc::warm::warm_server::SERVICE_NAME as WARM;
use futures_util::future::Either;
use tonic::Status;
use tonic::body::Body;

use crate::files::FilesError;
use crate::refusal::{OTHER_USER, RESTRICTED};

/// A round trip that keeps a session ready. It has no effect, and its answer is empty.
const PING: &str = "baton.warm.v1.Warm/Ping";

/// Refuses calls of clients that are limited.
#[derive(Debug, Clone)]
pub(crate) struct Restricted<S> {
    pub(crate) inner: S,
    /// The commands of every client run as a user that the settings name.
    pub(crate) has_user: bool,
}

/// Whether a path is of this service.
fn is_of(path: &str, service: &str) -> bool {
    let path = path.strip_prefix('/').unwrap_or_default();
    let method = path.strip_prefix(service);
    method.is_some_and(|method| method.starts_with('/'))
}

/// Whether a client with a forced command may call this path.
fn is_open(path: &str) -> bool {
    is_of(path, EXEC) || is_of(path, FILES) || path.strip_prefix('/') == Some(PING)
}

/// Whether a client whose line names a user may call this path.
fn is_open_as_user(path: &str) -> bool {
    [EXEC, FILES, METADATA, WARM]
        .into_iter()
        .any(|service| is_of(path, service))
}

impl<S: Service> tower_service::Service<http::Request<Body>> for Restricted<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Self::Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Arc<Peer>>();
        let options = peer.map(|peer| peer.options());
        let (is_forced, has_user) = options.map_or((false, false), |options| {
            (options.command().is_some(), options.user().is_some())
        });
        let path = request.uri().path();
        let refusal = if is_forced && !is_open(path) {
            Status::permission_denied(RESTRICTED)
        } else if has_user && !is_open_as_user(path) {
            Status::permission_denied(OTHER_USER)
        } else if self.has_user && is_of(path, FILES) {
            FilesError::OtherUser.into()
        } else {
            return Either::Left(self.inner.call(request));
        };
        Either::Right(ready(Ok(refusal.into_http())))
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

    #[test]
    fn a_client_of_another_user_reaches_no_service_that_is_not_known() {
        for (path, expected) in [
            ("/baton.exec.v1.Exec/Run", true),
            ("/baton.files.v1.Files/Write", true),
            ("/baton.warm.v1.Warm/Watch", true),
            ("/baton.metadata.v1.Metadata/History", true),
            ("/baton.metadata.v1.Metadata", false),
            ("/baton.exec.v1.Executor/Run", false),
            ("/my.Service/Method", false),
            ("", false),
        ] {
            assert_eq!(is_open_as_user(path), expected, "{path}");
        }
    }
}
