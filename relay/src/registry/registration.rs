//! One registered exec-server: its stream, its dial token's hash, and whether it is still there.

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

/// What a valid proof establishes.
#[derive(Debug)]
pub(crate) struct ProvenIdentity {
    pub(crate) id: ExecServerId,
    pub(crate) dial_token_hash: [u8; 32],
}

/// What the relay sends on a `Register` stream.
pub(crate) type Outbound = mpsc::Sender<Result<RegisterResponse, Status>>;

/// A registration; shared by its own stream, the registry, and dials.
pub(crate) struct Registration {
    proven: ProvenIdentity,
    outbound: Outbound,
    probes: Mutex<HashMap<u64, oneshot::Sender<()>>>,
    end: OnceLock<RegistrationEnd>,
    ended: Notify,
}

/// A message could not be sent: the exec-server's fault, either way.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SendError {
    /// It does not read its stream.
    Full,
    /// Its stream is gone.
    Gone,
}

/// Why the relay ends a registration.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RegistrationEnd {
    /// Another registration has its place.
    Replaced,
    /// The table is full, and one that was here before needs its place.
    Displaced,
    /// The list of exec-servers does not name it any more.
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

    /// Compares hashes, in constant time: the relay never stores the token, and a guesser learns nothing from the clock.
    pub(crate) fn dial_token_fits(&self, token: &[u8; 32]) -> bool {
        let hash = dial_token_hash(token);
        constant_time::verify_slices_are_equal(&hash, &self.proven.dial_token_hash).is_ok()
    }

    /// Tells the exec-server that it is registered. Its queue has room, or it is gone: only the Challenge came before.
    pub(crate) fn welcome(&self, max_sessions: usize) {
        let _ = self.send(register_response::Kind::Registered(Registered {
            exec_server_id: self.id().0.to_vec().into(),
            max_sessions: u32::try_from(max_sessions).unwrap_or(u32::MAX),
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

    /// Does the exec-server answer a `Ping` within `wait`? A stream that is gone answers at once: no.
    pub(crate) async fn answers(&self, wait: Duration) -> bool {
        let mut nonce = [0; 8];
        if getrandom::fill(&mut nonce).is_err() {
            return true; // Cannot ask: the holder keeps its place.
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

    /// A `Pong` came; one that nobody waits for is late, and ignored.
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

    /// Ends the registration, unless it is ending.
    pub(crate) fn end(&self, end: RegistrationEnd) {
        let _ = self.end.set(end);
        self.ended.notify_one();
    }

    fn probes(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
