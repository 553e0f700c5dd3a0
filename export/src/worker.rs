//! The exporter's own thread.
//!
//! Flow: the thread dials the collector at once. The data path pushes records under a short lock
//! ([`Outbox`](super::outbox)), and wakes the thread only when a whole batch waits. The thread wakes by itself every
//! delay and there does what costs time: layout, rounding, encoding, sending. Concurrently it sends the
//! [`spool`](super::spool) of earlier runs. gRPC runs on a runtime inside this thread, because on a caller's
//! current-thread runtime it would deadlock with the thread that waits for it.
//!
//! Invariants: the data path never waits for the network; the queue is bounded; every span is counted; a request stays
//! in the outbox and is retried until the collector has accepted or refused it, or the deadline of the shutdown has
//! passed.

use std::time::Duration;

use baton_trace::w3c::random::random_u64;
use bytes::Bytes;
use opentelemetry::Context;
use tokio::sync::Notify;

use super::drain::SpoolDrain;
use super::settings::ExporterSettings;
use super::state::{Destination, ExporterState};
use crate::limits::{EXPORT_RETRY_CLOSING, EXPORT_RETRY_FIRST, EXPORT_RETRY_MAX};

/// Runs until the exporter is closed and has nothing to send, or the deadline of the shutdown has passed.
pub(super) async fn run(
    state: &ExporterState,
    settings: &ExporterSettings,
    to: impl Destination,
    drain: Option<SpoolDrain>,
) {
    // Events of tonic, h2 and hyper on this thread must not become telemetry, which would cause further events.
    let _untraced = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
    let _suppressed = Context::enter_telemetry_suppressed_scope();
    let dial = async {
        if settings.sampler().is_off() {
            return;
        }
        tokio::select! {
            result = to.connect() => state.note(result),
            () = state.closed() => {}
        }
    };
    let worked = Notify::new();
    let work = async {
        work(state, settings, &to).await;
        worked.notify_one();
    };
    let drain = async {
        let Some(drain) = drain else { return };
        tokio::select! {
            () = state.first_connected() => {}
            () = worked.notified() => {}
        }
        if state.is_connected() {
            drain.run(state, &to).await;
        }
    };
    tokio::select! {
        biased;
        _ = async { tokio::join!(dial, work, drain) } => {}
        () = state.expired() => {}
    }
    state.tell_drops();
}

/// Sends requests until closed and empty, or until a retry is pointless.
async fn work(state: &ExporterState, settings: &ExporterSettings, to: &impl Destination) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(settings.delay) => {}
            () = state.outbox.full_batch.notified() => {}
            () = state.closed() => {}
        }
        let is_last = state.outbox.is_closed();
        while let Some(request) = state.outbox.next() {
            if !deliver(state, to, request.bytes, request.spans).await {
                return;
            }
        }
        state.tell_drops();
        if is_last {
            return;
        }
    }
}

/// Retries until the collector has responded. `false` if the wait ended without a response.
async fn deliver(state: &ExporterState, to: &impl Destination, request: Bytes, spans: u64) -> bool {
    let mut pause = EXPORT_RETRY_FIRST;
    loop {
        let began_closed = state.closing().is_some();
        let attempt = async {
            to.connect().await?;
            state.note_connected();
            to.send(request.clone(), spans).await
        };
        match attempt.await {
            Ok(rejected) => {
                state.note(Ok(()));
                state
                    .outbox
                    .answered(rejected.as_ref().map_or(0, |rejected| rejected.spans));
                if let Some(rejected) = rejected {
                    state.note_rejected(rejected.why);
                }
                return true;
            }
            Err(failure) if !failure.is_retryable() => {
                state.note(Err(failure));
                state.outbox.answered(spans);
                return true;
            }
            Err(failure) => {
                let is_hopeless = failure.is_immediate();
                state.note(Err(failure));
                let closing = state.closing();
                if began_closed && is_hopeless && closing.is_some_and(|closing| !closing.is_patient) {
                    return false;
                }
                state.tell_drops();
                match closing {
                    Some(_) => tokio::time::sleep(EXPORT_RETRY_CLOSING).await,
                    None => {
                        tokio::select! {
                            () = tokio::time::sleep(shortened(pause)) => {}
                            () = state.closed() => {}
                        }
                        pause = (pause * 2).min(EXPORT_RETRY_MAX);
                    }
                }
            }
        }
    }
}

/// Shortened at random by up to a half.
fn shortened(pause: Duration) -> Duration {
    pause - pause.mul_f64((random_u64() % 1024) as f64 / 2048.0)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tonic::Code;

    use std::sync::Mutex;

    use super::*;
    use crate::failure::{ExportFailure, FailureKind};
    use crate::outbox::tests::{call, outbox, settings};
    use crate::state::{RejectedSpans, ShutdownRequest, SpanLossCallback, lock};

    /// Accepts what it gets, or stalls or refuses some by command.
    #[derive(Default)]
    struct Fake {
        sent: Mutex<Vec<u64>>,
        rejects: u64,
        stalls: bool,
        /// Fails like this as often as there are entries, the last first.
        fails: Mutex<Vec<FailureKind>>,
    }

    fn failure(kind: FailureKind) -> ExportFailure {
        ExportFailure::new(&"http://localhost:4317".parse().unwrap(), kind)
    }

    impl Destination for &Fake {
        async fn connect(&self) -> Result<(), ExportFailure> {
            Ok(())
        }

        async fn send(&self, _: Bytes, spans: u64) -> Result<Option<RejectedSpans>, ExportFailure> {
            if self.stalls {
                std::future::pending::<()>().await;
            }
            if let Some(kind) = lock(&self.fails).pop() {
                return Err(failure(kind));
            }
            lock(&self.sent).push(spans);
            Ok((self.rejects > 0).then(|| RejectedSpans {
                spans: self.rejects,
                why: failure(FailureKind::Rejected("too many".into())),
            }))
        }
    }

    fn state(settings: &ExporterSettings) -> ExporterState {
        ExporterState::new(outbox(settings), None)
    }

    fn within(seconds: u64, is_patient: bool) -> ShutdownRequest {
        ShutdownRequest {
            deadline: tokio::time::Instant::now().into_std() + Duration::from_secs(seconds),
            is_patient,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn records_leave_after_the_delay_in_batches() {
        let settings = settings(&[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")]);
        let state = state(&settings);
        let fake = Fake::default();
        for _ in 0..3 {
            state.outbox.push(call());
        }
        state.close(within(60, true));
        run(&state, &settings, &fake, None).await;
        assert_eq!(*lock(&fake.sent), [10, 5]);
        assert_eq!(state.outbox.counts(), (15, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn rejected_and_refused_spans_are_dropped_and_the_rest_goes_on() {
        let settings = settings(&[]);
        let state = state(&settings);
        let fake = Fake {
            rejects: 1,
            ..Fake::default()
        };
        state.outbox.push(call());
        state.close(within(60, true));
        run(&state, &settings, &fake, None).await;
        assert_eq!((state.outbox.counts(), state.outbox.dropped()), ((4, 1), 1));
        assert!(state.failure().unwrap().to_string().contains("too many"));

        let state = self::state(&settings);
        let denied = FailureKind::Refused(Code::PermissionDenied, String::new());
        let fake = Fake {
            fails: Mutex::new(vec![denied]),
            ..Fake::default()
        };
        state.outbox.push(call());
        state.close(within(60, true));
        run(&state, &settings, &fake, None).await;
        assert_eq!((state.outbox.counts(), state.outbox.dropped()), ((0, 5), 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_comes_back_gets_everything() {
        let settings = settings(&[]);
        let state = state(&settings);
        let gone = || FailureKind::Connect("Connection refused".into());
        let fake = Fake {
            fails: Mutex::new((0..50).map(|_| gone()).collect()),
            ..Fake::default()
        };
        state.outbox.push(call());
        let delivered = async {
            while state.outbox.counts().1 > 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = run(&state, &settings, &fake, None) => panic!("it was not closed"),
            () = delivered => {}
        }
        assert_eq!((state.outbox.counts(), state.failure()), ((5, 0), None));
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_listens_only_the_patient_wait() {
        let settings = settings(&[]);
        for (is_patient, waited) in [(false, 0), (true, 2)] {
            let state = state(&settings);
            let gone = || FailureKind::Connect("Connection refused".into());
            let fake = Fake {
                fails: Mutex::new((0..9_999).map(|_| gone()).collect()),
                ..Fake::default()
            };
            state.outbox.push(call());
            let began = tokio::time::Instant::now();
            state.close(within(2, is_patient));
            run(&state, &settings, &fake, None).await;
            assert_eq!(began.elapsed().as_secs(), waited, "{is_patient}");
            assert_eq!(
                state.outbox.take_remaining().len(),
                1,
                "it is still there for the spool"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_collector_is_given_up_at_the_deadline_and_at_once_when_asked() {
        let settings = settings(&[]);
        for asked in [false, true] {
            let state = state(&settings);
            let fake = Fake {
                stalls: true,
                ..Fake::default()
            };
            state.outbox.push(call());
            state.close(within(60, true));
            let began = tokio::time::Instant::now();
            let ask = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if asked {
                    state.give_up();
                }
            };
            tokio::join!(run(&state, &settings, &fake, None), ask);
            assert_eq!(began.elapsed().as_secs(), if asked { 1 } else { 60 });
            assert_eq!(state.outbox.counts(), (0, 5));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_owner_is_told_once_when_spans_begin_to_be_lost() {
        let settings = settings(&[("OTEL_BSP_MAX_QUEUE_SIZE", "20")]);
        let (told, tells) = mpsc::channel();
        let on_drop: SpanLossCallback = Box::new(move |dropped, why| told.send((dropped, why)).unwrap());
        let state = ExporterState::new(outbox(&settings), Some(on_drop));
        let gone = || FailureKind::Connect("Connection refused".into());
        let fake = Fake {
            fails: Mutex::new((0..50).map(|_| gone()).collect()),
            ..Fake::default()
        };
        let pushing = async {
            for _ in 0..30 {
                state.outbox.push(call());
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = run(&state, &settings, &fake, None) => panic!("it was not closed"),
            () = pushing => {}
        }
        let told: Vec<_> = tells.try_iter().collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].0 > 0 && told[0].1 == Some(failure(gone())), "{told:?}");
    }
}
