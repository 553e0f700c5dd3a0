//! The exporter's own thread, and what it shares with the data path.
//!
//! Flow: the thread dials the collector at once. The data path pushes records under a short lock ([`Outbox`]), and wakes the thread only when
//! a whole batch waits. The thread wakes by itself every delay and there does what costs time: layout, rounding, encoding, sending. Beside that
//! it sends what earlier runs have left in the [`spool`](super::spool). gRPC lives on a runtime inside this thread, because on a caller's
//! current-thread runtime it would wait for the very thread that waits for it.
//!
//! Invariants: the data path never waits for the network; what waits is bounded; every span is counted; a request is tried until the collector
//! has taken or refused it, or the deadline of the shutdown has passed, and stays in the outbox until then.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry::Context;
use tokio::sync::{Notify, watch};

use super::drain::{Drain, Drained};
use super::outbox::Outbox;
use super::settings::Settings;
use super::trouble::Trouble;
use crate::limits::{EXPORT_RETRY_CLOSING, EXPORT_RETRY_FIRST, EXPORT_RETRY_MAX};
use crate::w3c::random::random_u64;

/// Where spans go. The second implementor is the test's, which stalls and fails by command.
pub(super) trait Destination {
    /// Connects, unless it is connected.
    fn connect(&self) -> impl Future<Output = Result<(), Trouble>>;

    /// One attempt at one request. `None` if the collector has taken all of its spans.
    fn send(&self, request: Bytes, spans: u64) -> impl Future<Output = Result<Option<Rejected>, Trouble>>;
}

/// Spans that a collector did not want, of a request that it took.
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) spans: u64,
    pub(super) why: Trouble,
}

/// How long to go on once closed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing {
    pub(super) deadline: Instant,
    /// Whether to try for all that time, even if nobody listens.
    pub(super) is_patient: bool,
}

/// Tells the owner of a long-lived part that spans are lost, once: how many so far, and why if that is known.
pub type OnDrop = Box<dyn FnOnce(u64, Option<Trouble>) + Send>;

/// What the data path and the thread share.
pub(super) struct Shared {
    pub(super) outbox: Outbox,
    closing: watch::Sender<Option<Closing>>,
    /// There is, or was, a connection.
    connected: watch::Sender<bool>,
    /// The latest, until something is delivered.
    trouble: Mutex<Option<Trouble>>,
    drained: Mutex<Drained>,
    /// Nobody waits for this part's exit before there is something to drop.
    on_drop: Mutex<Option<OnDrop>>,
    may_drop: AtomicBool,
}

impl Shared {
    pub(super) fn new(outbox: Outbox, on_drop: Option<OnDrop>) -> Self {
        Self {
            outbox,
            closing: watch::Sender::new(None),
            connected: watch::Sender::new(false),
            trouble: Mutex::default(),
            drained: Mutex::default(),
            may_drop: AtomicBool::new(on_drop.is_some()),
            on_drop: Mutex::new(on_drop),
        }
    }

    /// Takes no more records and asks the thread to finish. Only the first time counts.
    pub(super) fn close(&self, closing: Closing) {
        self.outbox.close();
        self.closing.send_modify(|current| {
            current.get_or_insert(closing);
        });
    }

    /// Has the thread give up now.
    pub(super) fn give_up(&self) {
        self.outbox.close();
        let closing = Closing {
            deadline: Instant::now(),
            is_patient: false,
        };
        self.closing.send_replace(Some(closing));
    }

    pub(super) fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Why the collector does not have what is left, if that is known.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        lock(&self.trouble).clone()
    }

    /// What became of what earlier runs have left.
    pub(super) fn drained(&self) -> MutexGuard<'_, Drained> {
        lock(&self.drained)
    }

    fn closing(&self) -> Option<Closing> {
        *self.closing.borrow()
    }

    /// Resolves once closed.
    pub(super) async fn closed(&self) {
        // The sender is ours, so this cannot fail.
        let _ = self.closing.subscribe().wait_for(Option::is_some).await;
    }

    /// Resolves once there was a connection.
    pub(super) async fn first_connected(&self) {
        let _ = self.connected.subscribe().wait_for(|connected| *connected).await;
    }

    /// Resolves once closed and the deadline has passed, also if that is moved.
    async fn expired(&self) {
        let mut closing = self.closing.subscribe();
        loop {
            let deadline = (*closing.borrow_and_update()).map(|closing| closing.deadline);
            let passed = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = passed => return,
                _ = closing.changed() => {}
            }
        }
    }

    fn note(&self, result: Result<(), Trouble>) {
        if result.is_ok() {
            self.note_connected();
        }
        *lock(&self.trouble) = result.err();
    }

    fn note_connected(&self) {
        self.connected
            .send_if_modified(|connected| !std::mem::replace(connected, true));
    }

    /// Tells the owner if this is the first time that spans are lost.
    fn tell_drops(&self) {
        let dropped = self.outbox.dropped();
        if dropped > 0 && self.may_drop.swap(false, Ordering::Relaxed) {
            let on_drop = lock(&self.on_drop).take();
            if let Some(on_drop) = on_drop {
                on_drop(dropped, self.trouble());
            }
        }
    }
}

/// The thread's life: until closed and empty, or closed and late.
pub(super) async fn run(shared: &Shared, settings: &Settings, to: impl Destination, drain: Option<Drain>) {
    // What tonic, h2 and hyper say on this thread must not become telemetry: it would cause more of itself.
    let _untraced = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
    let _suppressed = Context::enter_telemetry_suppressed_scope();
    let dial = async {
        if settings.sampler().is_off() {
            return;
        }
        tokio::select! {
            result = to.connect() => shared.note(result),
            () = shared.closed() => {}
        }
    };
    let worked = Notify::new();
    let work = async {
        work(shared, settings, &to).await;
        worked.notify_one();
    };
    let drain = async {
        let Some(drain) = drain else { return };
        tokio::select! {
            () = shared.first_connected() => {}
            () = worked.notified() => {}
        }
        if shared.is_connected() {
            drain.run(shared, &to).await;
        }
    };
    tokio::select! {
        biased;
        _ = async { tokio::join!(dial, work, drain) } => {}
        () = shared.expired() => {}
    }
    shared.tell_drops();
}

/// Sends what comes, until closed and empty, or hopeless.
async fn work(shared: &Shared, settings: &Settings, to: &impl Destination) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(settings.delay) => {}
            () = shared.outbox.full_batch.notified() => {}
            () = shared.closed() => {}
        }
        let is_last = shared.outbox.is_closed();
        while let Some(request) = shared.outbox.next() {
            if !deliver(shared, to, request.bytes, request.spans).await {
                return;
            }
        }
        shared.tell_drops();
        if is_last {
            return;
        }
    }
}

/// Tries until the collector has answered. `false` if it did not and nobody wants to wait longer.
async fn deliver(shared: &Shared, to: &impl Destination, request: Bytes, spans: u64) -> bool {
    let mut pause = EXPORT_RETRY_FIRST;
    loop {
        let began_closed = shared.closing().is_some();
        let attempt = async {
            to.connect().await?;
            shared.note_connected();
            to.send(request.clone(), spans).await
        };
        match attempt.await {
            Ok(rejected) => {
                shared.note(Ok(()));
                shared
                    .outbox
                    .answered(rejected.as_ref().map_or(0, |rejected| rejected.spans));
                if let Some(rejected) = rejected {
                    *lock(&shared.trouble) = Some(rejected.why);
                }
                return true;
            }
            Err(trouble) if !trouble.is_retryable() => {
                shared.note(Err(trouble));
                shared.outbox.answered(spans);
                return true;
            }
            Err(trouble) => {
                let is_hopeless = trouble.is_immediate();
                shared.note(Err(trouble));
                let closing = shared.closing();
                if began_closed && is_hopeless && closing.is_some_and(|closing| !closing.is_patient) {
                    return false;
                }
                shared.tell_drops();
                match closing {
                    Some(_) => tokio::time::sleep(EXPORT_RETRY_CLOSING).await,
                    None => {
                        tokio::select! {
                            () = tokio::time::sleep(shortened(pause)) => {}
                            () = shared.closed() => {}
                        }
                        pause = (pause * 2).min(EXPORT_RETRY_MAX);
                    }
                }
            }
        }
    }
}

/// Up to half of it shorter, by chance.
fn shortened(pause: Duration) -> Duration {
    pause - pause.mul_f64((random_u64() % 1024) as f64 / 2048.0)
}

/// The same data whatever panicked meanwhile.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tonic::Code;

    use super::*;
    use crate::export::outbox::tests::{call, outbox, settings};
    use crate::export::trouble::Kind;

    /// Accepts what it gets, or stalls or refuses some by command.
    #[derive(Default)]
    struct Fake {
        sent: Mutex<Vec<u64>>,
        rejects: u64,
        stalls: bool,
        /// Fails like this as often as there are entries, the last first.
        fails: Mutex<Vec<Kind>>,
    }

    fn trouble(kind: Kind) -> Trouble {
        Trouble::new(&"http://localhost:4317".parse().unwrap(), kind)
    }

    impl Destination for &Fake {
        async fn connect(&self) -> Result<(), Trouble> {
            Ok(())
        }

        async fn send(&self, _: Bytes, spans: u64) -> Result<Option<Rejected>, Trouble> {
            if self.stalls {
                std::future::pending::<()>().await;
            }
            if let Some(kind) = lock(&self.fails).pop() {
                return Err(trouble(kind));
            }
            lock(&self.sent).push(spans);
            Ok((self.rejects > 0).then(|| Rejected {
                spans: self.rejects,
                why: trouble(Kind::Rejected("too many".into())),
            }))
        }
    }

    fn shared(settings: &Settings) -> Shared {
        Shared::new(outbox(settings), None)
    }

    fn within(seconds: u64, is_patient: bool) -> Closing {
        Closing {
            deadline: tokio::time::Instant::now().into_std() + Duration::from_secs(seconds),
            is_patient,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn records_leave_after_the_delay_in_batches() {
        let settings = settings(&[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")]);
        let shared = shared(&settings);
        let fake = Fake::default();
        for _ in 0..3 {
            shared.outbox.push(call());
        }
        shared.close(within(60, true));
        run(&shared, &settings, &fake, None).await;
        assert_eq!(*lock(&fake.sent), [10, 5]);
        assert_eq!(shared.outbox.counts(), (15, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn rejected_and_refused_spans_are_dropped_and_the_rest_goes_on() {
        let settings = settings(&[]);
        let shared = shared(&settings);
        let fake = Fake {
            rejects: 1,
            ..Fake::default()
        };
        shared.outbox.push(call());
        shared.close(within(60, true));
        run(&shared, &settings, &fake, None).await;
        assert_eq!((shared.outbox.counts(), shared.outbox.dropped()), ((4, 1), 1));
        assert!(shared.trouble().unwrap().to_string().contains("too many"));

        let shared = self::shared(&settings);
        let denied = Kind::Refused(Code::PermissionDenied, String::new());
        let fake = Fake {
            fails: Mutex::new(vec![denied]),
            ..Fake::default()
        };
        shared.outbox.push(call());
        shared.close(within(60, true));
        run(&shared, &settings, &fake, None).await;
        assert_eq!((shared.outbox.counts(), shared.outbox.dropped()), ((0, 5), 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_comes_back_gets_everything() {
        let settings = settings(&[]);
        let shared = shared(&settings);
        let gone = || Kind::Connect("Connection refused".into());
        let fake = Fake {
            fails: Mutex::new((0..50).map(|_| gone()).collect()),
            ..Fake::default()
        };
        shared.outbox.push(call());
        let delivered = async {
            while shared.outbox.counts().1 > 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = run(&shared, &settings, &fake, None) => panic!("it was not closed"),
            () = delivered => {}
        }
        assert_eq!((shared.outbox.counts(), shared.trouble()), ((5, 0), None));
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_listens_only_the_patient_wait() {
        let settings = settings(&[]);
        for (is_patient, waited) in [(false, 0), (true, 2)] {
            let shared = shared(&settings);
            let gone = || Kind::Connect("Connection refused".into());
            let fake = Fake {
                fails: Mutex::new((0..9_999).map(|_| gone()).collect()),
                ..Fake::default()
            };
            shared.outbox.push(call());
            let began = tokio::time::Instant::now();
            shared.close(within(2, is_patient));
            run(&shared, &settings, &fake, None).await;
            assert_eq!(began.elapsed().as_secs(), waited, "{is_patient}");
            assert_eq!(shared.outbox.empty().len(), 1, "it is still there for the spool");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_collector_is_given_up_at_the_deadline_and_at_once_when_asked() {
        let settings = settings(&[]);
        for asked in [false, true] {
            let shared = shared(&settings);
            let fake = Fake {
                stalls: true,
                ..Fake::default()
            };
            shared.outbox.push(call());
            shared.close(within(60, true));
            let began = tokio::time::Instant::now();
            let ask = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if asked {
                    shared.give_up();
                }
            };
            tokio::join!(run(&shared, &settings, &fake, None), ask);
            assert_eq!(began.elapsed().as_secs(), if asked { 1 } else { 60 });
            assert_eq!(shared.outbox.counts(), (0, 5));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_owner_is_told_once_when_spans_begin_to_be_lost() {
        let settings = settings(&[("OTEL_BSP_MAX_QUEUE_SIZE", "20")]);
        let (told, tells) = mpsc::channel();
        let on_drop: OnDrop = Box::new(move |dropped, why| told.send((dropped, why)).unwrap());
        let shared = Shared::new(outbox(&settings), Some(on_drop));
        let gone = || Kind::Connect("Connection refused".into());
        let fake = Fake {
            fails: Mutex::new((0..50).map(|_| gone()).collect()),
            ..Fake::default()
        };
        let pushing = async {
            for _ in 0..30 {
                shared.outbox.push(call());
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = run(&shared, &settings, &fake, None) => panic!("it was not closed"),
            () = pushing => {}
        }
        let told: Vec<_> = tells.try_iter().collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].0 > 0 && told[0].1 == Some(trouble(gone())), "{told:?}");
    }
}
