//! The service `baton.warm.v1.Warm`: a board of what clients keep warm.
//!
//! A client that keeps a conversation warm publishes its states for as long as its call is open. Clients with the same
//! key watch them. The exec-server stores nothing and warms nothing itself.
//!
//! * here: the RPCs;
//! * [`board`]: states and watchers, with their bounds;
//! * [`check`]: refuses states that a client must not publish.

mod board;
mod check;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_channel::allow::Peer;
use baton_channel::key::PublicKey;
use baton_proto::limits::WARM_STATE_MAX;
use baton_proto::warm::{PingRequest, PingResponse, PublishResponse, WarmState, WatchRequest};
use baton_rpc::warm::warm_server::{Warm, WarmServer};
use futures_util::{Stream, stream};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status, Streaming};

use self::board::{Board, BoardFull, PublicationId, WatcherId};
use self::check::InvalidWarmState;
use crate::limits::START_TIMEOUT;

/// The service `baton.warm.v1.Warm`: a board of what clients keep warm. Clones share one board.
///
/// [`ExecServer`](crate::ExecServer) does not have it by itself: mount it with `Builder::service`. A client of an
/// exec-server without it gets `UNIMPLEMENTED`, and keeps its sessions warm without a board.
#[derive(Debug, Clone)]
pub struct WarmService {
    board: Arc<Mutex<Board>>,
    closed: watch::Sender<bool>,
}

/// Why a call of the board failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BoardError {
    #[error("the caller of this request is not known")]
    Unauthenticated,
    #[error(transparent)]
    Invalid(#[from] InvalidWarmState),
    #[error(transparent)]
    Full(#[from] BoardFull),
    #[error("another client with this key publishes this conversation now; publish under another id")]
    Replaced,
    #[error("the exec-server shuts down; publish or watch again when it is back")]
    Closed,
}

impl From<BoardError> for Status {
    fn from(error: BoardError) -> Self {
        let code = match error {
            BoardError::Unauthenticated => Code::Unauthenticated,
            BoardError::Invalid(_) => Code::InvalidArgument,
            BoardError::Full(_) => Code::ResourceExhausted,
            BoardError::Replaced => Code::Aborted,
            BoardError::Closed => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl Default for WarmService {
    fn default() -> Self {
        Self {
            board: Arc::default(),
            closed: watch::Sender::new(false),
        }
    }
}

impl WarmService {
    /// The service for tonic, with this crate's limits on requests.
    pub fn into_server(self) -> WarmServer<Self> {
        WarmServer::new(self).max_decoding_message_size(WARM_STATE_MAX)
    }

    /// Ends every call with `UNAVAILABLE`. Without it, calls that stay open delay a shutdown until its drain timeout.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        // The board is consistent after each statement, and no statement panics.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves when the service closes. The service outlives its calls.
async fn until_closed(mut closed: watch::Receiver<bool>) {
    let _ = closed.wait_for(|closed| *closed).await;
}

fn client<T>(request: &Request<T>) -> Result<PublicKey, BoardError> {
    let peer = request.extensions().get::<Arc<Peer>>();
    Ok(peer.ok_or(BoardError::Unauthenticated)?.key)
}

/// Removes the publication when its call ends, however it ends.
struct Publication {
    service: WarmService,
    client: PublicKey,
    conversation: Arc<str>,
    id: PublicationId,
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.service
            .lock()
            .close(self.client, &self.conversation, self.id);
    }
}

/// Removes the watcher when its call ends, however it ends.
struct Watching {
    service: WarmService,
    client: PublicKey,
    id: WatcherId,
    wake: Arc<Notify>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.service.lock().unwatch(self.client, self.id);
    }
}

/// The states that a watcher receives.
pub struct WarmStates(Pin<Box<dyn Stream<Item = Result<WarmState, Status>> + Send>>);

impl fmt::Debug for WarmStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WarmStates")
    }
}

impl Stream for WarmStates {
    type Item = Result<WarmState, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// The next state of a publisher; `None` after its last. A state that does not decode is the client's fault.
async fn next(states: &mut Streaming<WarmState>) -> Result<Option<WarmState>, Status> {
    states.message().await.map_err(|status| match status.code() {
        Code::Internal => BoardError::from(InvalidWarmState::Unreadable).into(),
        _ => status,
    })
}

#[tonic::async_trait]
impl Warm for WarmService {
    type WatchStream = WarmStates;

    async fn publish(
        &self,
        request: Request<Streaming<WarmState>>,
    ) -> Result<Response<PublishResponse>, Status> {
        let client = client(&request)?;
        let mut states = request.into_inner();
        let closed = until_closed(self.closed.subscribe());
        tokio::pin!(closed);
        let first = timeout(START_TIMEOUT, next(&mut states)).await;
        let first = first.map_err(|_| BoardError::from(InvalidWarmState::TooLate))??;
        let first = first.ok_or(BoardError::from(InvalidWarmState::Missing))?;
        check::check(&first).map_err(BoardError::from)?;
        let conversation: Arc<str> = first.conversation.as_str().into();
        let (id, replaced) = {
            let opened = self.lock().open(client, &conversation, first);
            opened.map_err(BoardError::from)?
        };
        let _publication = Publication {
            service: self.clone(),
            client,
            conversation: Arc::clone(&conversation),
            id,
        };
        loop {
            let state = tokio::select! {
                state = next(&mut states) => state?,
                () = replaced.notified() => return Err(BoardError::Replaced.into()),
                () = &mut closed => return Err(BoardError::Closed.into()),
            };
            let Some(state) = state else {
                return Ok(Response::new(PublishResponse {}));
            };
            check::check(&state).map_err(BoardError::from)?;
            if *state.conversation != *conversation {
                return Err(BoardError::from(InvalidWarmState::OtherConversation).into());
            }
            if !self.lock().update(client, &conversation, id, state) {
                return Err(BoardError::Replaced.into());
            }
        }
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<WarmStates>, Status> {
        let client = client(&request)?;
        let wanted = request.into_inner().conversation;
        if !wanted.is_empty() {
            check::conversation(&wanted).map_err(BoardError::from)?;
        }
        let wanted = (!wanted.is_empty()).then_some(&*wanted);
        let (id, wake) = {
            let watched = self.lock().watch(client, wanted);
            watched.map_err(BoardError::from)?
        };
        let watching = Watching {
            service: self.clone(),
            client,
            id,
            wake,
        };
        let states = stream::try_unfold(watching, |watching| async move {
            loop {
                let next = watching.service.lock().next(watching.client, watching.id);
                if let Some(state) = next {
                    return Ok(Some((state, watching)));
                }
                let closed = until_closed(watching.service.closed.subscribe());
                tokio::select! {
                    () = watching.wake.notified() => {}
                    () = closed => return Err(BoardError::Closed.into()),
                }
            }
        });
        Ok(Response::new(WarmStates(Box::pin(states))))
    }

    async fn ping(&self, request: Request<PingRequest>) -> Result<Response<PingResponse>, Status> {
        client(&request)?;
        Ok(Response::new(PingResponse {}))
    }
}
