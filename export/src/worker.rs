//! The exporter's own thread.
//!
//! Flow: the thread dials the collector at once. The data path pushes records under a short lock ([`Outbox`](super::outbox)), and wakes the thread only when
//! a whole batch waits. The thread wakes by itself every delay and there does what costs time: layout, rounding, encoding, sending. Beside that
//! it sends what earlier runs have left in the [`spool`](super::spool). gRPC lives on a runtime inside this thread, because on a caller's
//! current-thread runtime it would wait for the very thread that waits for it.
//!
//! Invariants: the data path never waits for the network; what waits is bounded; every span is counted; a request is tried until the collector
//! has taken or refused it, or the deadline of the shutdown has passed, and stays in the outbox until then.

use std::time::Duration;

use baton_trace::w3c::random::random_u64;
use bytes::Bytes;
use opentelemetry::Context;
use tokio::sync::Notify;

use super::drain::Drain;
use super::settings::Settings;
use super::shared::{Destination, Shared};
use crate::limits::{EXPORT_RETRY_CLOSING, EXPORT_RETRY_FIRST, EXPORT_RETRY_MAX};

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
                    shared.note_rejected(rejected.why);
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tonic::Code;

    use std::sync::Mutex;

    use super::*;
    use crate::outbox::tests::{call, outbox, settings};
    use crate::shared::{Closing, OnDrop, Rejected, lock};
    use crate::trouble::{Kind, Trouble};

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
