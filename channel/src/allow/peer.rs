//! The client of a session, with the current trust in its trace context and its current options.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use baton_export::clock;
use baton_noise::key::PublicKey;
use baton_trace::TraceFlags;
use baton_trace::w3c::{ExtractedContext, TraceContext};

use super::{ClientOptions, Grant, Trust};
use crate::limits::{CLAMP_BURST, CLAMP_PER_SECOND};

/// The client of a session. Every request has it in its extensions.
pub struct Peer {
    /// Its static key, which identifies it.
    pub key: PublicKey,
    /// Its name on the allow-list.
    pub name: String,
    /// Updated when the allow-list changes.
    grant: Mutex<Grant>,
    bucket: Arc<Mutex<Bucket>>,
}

impl Peer {
    pub(super) fn new(key: PublicKey, name: String, grant: Grant, buckets: &Buckets) -> Self {
        Self {
            key,
            name,
            grant: Mutex::new(grant),
            bucket: buckets.of(key),
        }
    }

    /// The options of its line on the allow-list, as they are now. They change while a session is open, within a second
    /// of an edit of the list, so read them at the beginning of each call, or later.
    pub fn options(&self) -> Arc<ClientOptions> {
        Arc::clone(&lock(&self.grant).options)
    }

    pub(crate) fn trust(&self) -> Trust {
        lock(&self.grant).trust
    }

    /// Sets trust and options for later calls.
    pub(crate) fn set_grant(&self, grant: Grant) {
        *lock(&self.grant) = grant;
    }

    /// Whether this client may see the span ids of its calls here. A client whose trace is not continued does not need
    /// them.
    pub fn sees_ids(&self) -> bool {
        self.trust() != Trust::Restart
    }

    /// Applies the client's trust to an inbound context. Returns the context of the call, and a link to an inbound
    /// context that was not continued. Without an inbound context, starts a new, unsampled trace.
    pub(crate) fn admit(&self, inbound: ExtractedContext) -> (TraceContext, Option<TraceContext>) {
        let known = inbound.context.is_some();
        let sampled = inbound.context.as_ref().is_some_and(TraceContext::is_sampled);
        match self.trust() {
            Trust::Restart if known => {
                let link = inbound.context;
                (TraceContext::new_root(sampled && self.take_token()), link)
            }
            Trust::Restart => (TraceContext::new_root(false), None),
            Trust::Clamp if sampled && !self.take_token() => {
                let mut context = inbound.continue_or_start(false);
                context.flags = TraceFlags::new(context.flags.to_u8() & !TraceFlags::SAMPLED.to_u8());
                (context, None)
            }
            Trust::Clamp | Trust::Continue => (inbound.continue_or_start(false), None),
        }
    }

    fn take_token(&self) -> bool {
        lock(&self.bucket).take(clock::now())
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("key", &self.key)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// One token bucket per client, shared by all its sessions, so that a new session does not refill it. Only clients on
/// the allow-list get one, so the list bounds their number. Clones share the buckets.
#[derive(Debug, Clone, Default)]
pub(super) struct Buckets(Arc<Mutex<HashMap<PublicKey, Arc<Mutex<Bucket>>>>>);

impl Buckets {
    fn of(&self, key: PublicKey) -> Arc<Mutex<Bucket>> {
        let mut buckets = lock(&self.0);
        let bucket = buckets
            .entry(key)
            .or_insert_with(|| Arc::new(Mutex::new(Bucket::full(clock::now()))));
        Arc::clone(bucket)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A token bucket: [`CLAMP_PER_SECOND`] traces a second, [`CLAMP_BURST`] at once.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self {
            tokens: CLAMP_BURST,
            at: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let refill = now.saturating_duration_since(self.at).as_secs_f64() * CLAMP_PER_SECOND;
        self.tokens = (self.tokens + refill).min(CLAMP_BURST);
        self.at = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::AllowList;
    use super::*;

    fn key() -> PublicKey {
        PublicKey::from_bytes([1; 32])
    }

    fn inbound(sampled: bool) -> ExtractedContext {
        ExtractedContext {
            context: Some(TraceContext::new_root(sampled)),
            ..ExtractedContext::default()
        }
    }

    fn peer(trust: Trust) -> Peer {
        AllowList::only(key(), "laptop", trust)
            .find(&key())
            .unwrap()
            .unwrap()
    }

    #[test]
    fn continue_keeps_everything() {
        for sampled in [false, true] {
            let inbound = inbound(sampled);
            let (context, link) = peer(Trust::Continue).admit(inbound.clone());
            assert_eq!((Some(context), link), (inbound.context, None));
        }
    }

    #[test]
    fn clamp_keeps_the_ids_and_bounds_what_is_recorded() {
        let peer = peer(Trust::Clamp);
        let inbound = inbound(true);
        let admitted: Vec<_> = (0..CLAMP_BURST as usize + 50)
            .map(|_| peer.admit(inbound.clone()).0)
            .collect();
        let trace_id = inbound.context.unwrap().trace_id;
        assert!(admitted.iter().all(|context| context.trace_id == trace_id));
        assert!(admitted[0].is_sampled());
        assert!(!admitted.last().unwrap().is_sampled());
    }

    #[test]
    fn restart_starts_a_new_trace_with_a_link() {
        let inbound = inbound(true);
        let (context, link) = peer(Trust::Restart).admit(inbound.clone());
        assert_ne!(context.trace_id, inbound.context.as_ref().unwrap().trace_id);
        assert_eq!(link, inbound.context);
    }

    #[test]
    fn a_changed_trust_applies_to_the_next_call() {
        let peer = peer(Trust::Continue);
        let inbound = inbound(true);
        assert!(peer.sees_ids());
        peer.set_grant(Grant {
            trust: Trust::Restart,
            ..Grant::default()
        });
        assert!(!peer.sees_ids());
        assert_eq!(peer.admit(inbound.clone()).1, inbound.context);
    }

    #[test]
    fn the_sessions_of_a_client_share_one_token_bucket() {
        let list = AllowList::only(key(), "laptop", Trust::Clamp);
        let session = || list.clone().find(&key()).unwrap().unwrap();
        let one = session();
        while one.admit(inbound(true)).0.is_sampled() {}
        let admitted = (0..CLAMP_BURST as usize).filter(|_| session().admit(inbound(true)).0.is_sampled());
        assert!(admitted.count() < CLAMP_BURST as usize / 2);
    }

    #[test]
    fn a_bucket_refills() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        while bucket.take(start) {}
        assert!(!bucket.take(start + Duration::from_millis(1)));
        assert!(bucket.take(start + Duration::from_secs(1)));
    }
}
