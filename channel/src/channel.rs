//! The client's end: a tonic channel to one exec-server, over one warm session.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use baton_proto::Epoch;
use baton_trace::recorder::Recorder;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared as SharedFuture};
use tonic::Status;
use tonic::body::Body;

use crate::key::StaticKey;
use crate::link::dial::{ConnectError, dial};
use crate::mux::StreamError;
use crate::service::ResponseBody;
use crate::service::SessionError;
use crate::service::client::Call;
use crate::service::record::ConnectTimes;
use crate::service::shared::Shared;
use crate::service::stream_status;
use crate::ticket::Ticket;

/// A channel for tonic's generated clients: end-to-end encrypted, multiplexed over one session that is made at the
/// first call, kept warm, and made again when it has ended. Cheap to clone; the session ends with the last clone.
///
/// A call that finds no session waits for one; its trace shows that as `connect.*` stages. A call that was cut short
/// by the end of a session fails with `Unavailable` and is not repeated: only its caller knows whether it may be.
///
/// Errors arrive as [`tonic::Status`] whose source is a [`ConnectError`] or a [`SessionError`].
#[derive(Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

struct Inner {
    ticket: Ticket,
    key: StaticKey,
    recorder: Recorder,
    link: Mutex<Link>,
}

/// The session's supervisor.
enum Link {
    Down,
    /// Everybody who needs the session waits for the same attempt.
    Connecting(SharedFuture<BoxFuture<'static, Connected>>),
    Up(Arc<Shared>),
}

type Connected = Result<(Arc<Shared>, ConnectTimes), Arc<ConnectError>>;

impl Channel {
    /// A channel to the exec-server of `ticket`, as the client that `key` identifies. Connects at the first call.
    pub fn new(ticket: Ticket, key: StaticKey) -> Self {
        Self::with_recorder(ticket, key, Recorder::off())
    }

    /// The same, with every call recorded.
    pub fn with_recorder(ticket: Ticket, key: StaticKey, recorder: Recorder) -> Self {
        Self {
            inner: Arc::new(Inner {
                ticket,
                key,
                recorder,
                link: Mutex::new(Link::Down),
            }),
        }
    }

    /// Makes the session now, and returns the epoch of the exec-server's present life.
    pub async fn connect(&self) -> Result<Epoch, Status> {
        let (shared, _) = self.session().await?;
        shared.epoch().ok_or_else(|| SessionError::Closed.into_status())
    }

    /// The epoch of the exec-server's present life, as far as the present session knows it.
    pub fn epoch(&self) -> Option<Epoch> {
        match &*self.inner.link.lock().unwrap_or_else(PoisonError::into_inner) {
            Link::Up(shared) => shared.epoch(),
            Link::Down | Link::Connecting(_) => None,
        }
    }

    /// Ends the session once what is queued has been sent, or after [`crate::limits::CLOSE_TIMEOUT`]. Calls under way fail; a
    /// later call makes a new session.
    pub async fn close(&self) {
        let link = std::mem::replace(
            &mut *self.inner.link.lock().unwrap_or_else(PoisonError::into_inner),
            Link::Down,
        );
        if let Link::Up(shared) = link {
            shared.finish(SessionError::Closed);
            shared.flushed().await;
        }
    }

    /// The session and, if this call had to wait for it, when it was made.
    async fn session(&self) -> Result<(Arc<Shared>, Option<ConnectTimes>), Status> {
        let attempt = {
            let mut link = self.inner.link.lock().unwrap_or_else(PoisonError::into_inner);
            match &*link {
                Link::Up(shared) if shared.is_open() => return Ok((Arc::clone(shared), None)),
                Link::Connecting(attempt) => attempt.clone(),
                Link::Up(_) | Link::Down => {
                    let attempt = self.attempt();
                    *link = Link::Connecting(attempt.clone());
                    attempt
                }
            }
        };
        let outcome = attempt.clone().await;
        let mut link = self.inner.link.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*link, Link::Connecting(current) if current.ptr_eq(&attempt)) {
            *link = match &outcome {
                Ok((shared, _)) => Link::Up(Arc::clone(shared)),
                Err(_) => Link::Down,
            };
        }
        let (shared, times) = outcome.map_err(|error| error.to_status())?;
        Ok((shared, Some(times)))
    }

    /// Dials in a task of its own, so that a caller who gives up does not take the others' session with it.
    fn attempt(&self) -> SharedFuture<BoxFuture<'static, Connected>> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move {
            let result = dial(&inner.ticket, &inner.key, inner.recorder.clone()).await;
            result.map_err(Arc::new)
        });
        async move { task.await.unwrap_or_else(|_| Err(Arc::new(ConnectError::Local))) }
            .boxed()
            .shared()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Link::Up(shared) = self.link.get_mut().unwrap_or_else(PoisonError::into_inner) {
            shared.finish(SessionError::Closed);
        }
    }
}

impl tower_service::Service<http::Request<Body>> for Channel {
    type Response = http::Response<ResponseBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut call = Call::new(request, self.inner.recorder.is_on());
        let channel = self.clone();
        Box::pin(async move {
            for last in [false, true] {
                let (shared, connect) = match channel.session().await {
                    Ok(session) => session,
                    Err(status) => return Err(status),
                };
                match call.start(&shared, connect).await {
                    Ok(started) => return started.response().await,
                    // The session ended between the look at it and the call: nothing was sent, one more try.
                    Err((unsent, StreamError::GoingAway)) if !last => call = *unsent,
                    Err((_, error)) => {
                        let ended = shared.ended().map(SessionError::into_status);
                        return Err(ended.unwrap_or_else(|| stream_status(error)));
                    }
                }
            }
            Err(stream_status(StreamError::GoingAway))
        })
    }
}
