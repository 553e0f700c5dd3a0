//! What ends when its client's key is removed from the allow-list, or expires.

/// Something of a client that outlives the client's sessions, and must end when the client's key is revoked.
pub trait Revocable: Send + Sync {
    /// The client's key was removed from the allow-list, or has expired. Called under a lock: it must not block, and
    /// must not call [`Revocations::watch`](crate::Revocations::watch).
    fn revoke(&self);
}
