//! One registered exec-server: its stream, its dial token's hash, and whether it answers pings.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time;
use baton_proto::ExecServerId;
use baton_proto::registration::dial_token_hash;
use baton_proto::relay::{Ping, RegisterResponse, Registered, register_response};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use tonic::Status;

/// The identity that a valid proof establishes.
#[derive(Debug)]
pub(crate) struct ProvenIdentity {
    pub(crate) id: ExecServerId,
    pub(crate) dial_token_hash: [u8; 32],
}

/// The sender of a `Register` stream.
pub(crate) type Outbound = mpsc::Sender<Result<RegisterResponse, Status>>;

/// A registration, shared by its stream's task, the registry and dials.
pub(crate) struct Registration {
    proven: ProvenIdentity,
    outbound: Outbound,
    probes: Mutex<HashMap<u64, oneshot::Sender<()>>>,
    end: OnceLock<RegistrationEnd>,
    ended: Notify,
}

/// A message could not be sent, because of the exec-server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SendError {
    /// It does not read its stream.
    Full,
    /// Its stream has ended.
    Gone,
}

/// Why the relay ends a registration.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RegistrationEnd {
    /// Another registration of the same key has replaced it.
    Replaced,
    /// The table is full, and an exec-server that was registered before needs its slot.
    Displaced,
    /// The list of exec-servers no longer names it.
    NotAllowed,
    /// The relay is shutting down.
    ShutDown,
}

impl Registration {
    pub(crate) fn new(proven: ProvenIdentity, outbound: Outbound) -> Self {
        Self {
            proven,
            outbound,
            probes: Mutex::default(),
            end: OnceLock::new(),
            ended: Notify::new(),
        }
    }

    pub(crate) fn id(&self) -> ExecServerId {
        self.proven.id
    }

    /// Compares hashes in constant time: the relay never stores the token, and timing reveals nothing about it.
    pub(crate) fn dial_token_fits(&self, token: &[u8; 32]) -> bool {
        let hash = dial_token_hash(token);
        constant_time::verify_slices_are_equal(&hash, &self.proven.dial_token_hash).is_ok()
    }

    /// Sends `Registered`. It fails only if the stream has ended: only the Challenge is in the queue before it.
    pub(crate) fn welcome(&self, max_sessions: usize, ping_interval: Duration) {
        let _ = self.send(register_response::Kind::Registered(Registered {
            exec_server_id: self.id().0.to_vec().into(),
            max_sessions: u32::try_from(max_sessions).unwrap_or(u32::MAX),
            ping_interval_ms: u32::try_from(ping_interval.as_millis()).unwrap_or(u32::MAX),
        }));
    }

    /// Sends a message without waiting.
    pub(crate) fn send(&self, kind: register_response::Kind) -> Result<(), SendError> {
        let message = RegisterResponse { kind: Some(kind) };
        self.outbound.try_send(Ok(message)).map_err(|error| match error {
            TrySendError::Full(_) => SendError::Full,
            TrySendError::Closed(_) => SendError::Gone,
        })
    }

    /// Whether the exec-server answers a `Ping` within `wait`. Returns `false` at once for a stream that has ended.
    pub(crate) async fn answers(&self, wait: Duration) -> bool {
        let mut nonce = [0; 8];
        if getrandom::fill(&mut nonce).is_err() {
            return true; // No ping can be sent: the holder keeps its slot.
        }
        let nonce = u64::from_ne_bytes(nonce);
        let (answer, answered) = oneshot::channel();
        self.probes().insert(nonce, answer);
        let probe = async {
            let ping = register_response::Kind::Ping(Ping { nonce });
            let message = RegisterResponse { kind: Some(ping) };
            if self.outbound.send(Ok(message)).await.is_err() {
                return false;
            }
            tokio::select! {
                answered = answered => answered.is_ok(),
                () = self.outbound.closed() => false,
            }
        };
        let alive = timeout(wait, probe).await.unwrap_or(false);
        self.probes().remove(&nonce);
        alive
    }

    /// Handles a `Pong`. A late one, whose ping has timed out, is ignored.
    pub(crate) fn pong(&self, nonce: u64) {
        if let Some(answer) = self.probes().remove(&nonce) {
            let _ = answer.send(());
        }
    }

    /// Resolves with the reason when the relay ends this registration.
    pub(crate) async fn ended(&self) -> RegistrationEnd {
        loop {
            let notified = self.ended.notified();
            match self.end.get() {
                Some(end) => return *end,
                None => notified.await,
            }
        }
    }

    /// Ends the registration; the first reason counts.
    pub(crate) fn end(&self, end: RegistrationEnd) {
        let _ = self.end.set(end);
        self.ended.notify_one();
    }

    fn probes(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
