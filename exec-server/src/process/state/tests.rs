//! Processes of one key, with transports and clients that hold back credit as Baton's do. Drivers run only when woken.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake};

use baton_channel::limits::CREDIT_BATCH;
use baton_proto::exec::{Closed, Output, OutputStream, ProcessEvent};
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;

use super::super::retention::{KeepBudget, RetentionBudget};
use super::super::shares::ClientUsage;
use super::*;

/// A call's window.
const WINDOW: u64 = 1024 * 1024;

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Process {
    state: ProcessState,
    /// The lengths of the reads of its pipe that are left.
    reads: VecDeque<usize>,
    has_ended: bool,
    woken: Arc<Woken>,
    call: Call,
    /// The client's.
    last: u64,
    is_closed: bool,
}

struct Call {
    cursor: Cursor,
    cell: CallEndCell,
    /// What is on the way, with the end of each event in the response.
    on_the_way: VecDeque<(u64, ProcessEvent)>,
    sent: u64,
    consumed: u64,
    granted: u64,
}

impl Call {
    fn after(seen: u64) -> Self {
        Self {
            cursor: Cursor {
                lease: Lease::default(),
                seen,
                is_attached: true,
                tells_stdin: false,
            },
            cell: CallEndCell::counting(),
            on_the_way: VecDeque::new(),
            sent: 0,
            consumed: 0,
            granted: 0,
        }
    }
}

impl Process {
    fn new(
        reads: Vec<usize>,
        retention: &Arc<RetentionBudget>,
        kept: &Arc<KeepBudget>,
        key: &Arc<ClientUsage>,
    ) -> Self {
        let retained = RetainedBytes::new(Arc::clone(retention), Arc::clone(key));
        let state = ProcessState::new(None, retained, KeptBytes::new(Arc::clone(kept), Arc::clone(key)));
        let call = Call::after(0);
        {
            let mut inner = state.lock();
            inner.log.keep(Keep {
                encoded: KEPT_ENCODED_BYTES,
                memory: KEPT_PROCESS_BYTES,
            });
            inner.begin_call(0, Some(call.cell.clone()));
        }
        Self {
            state,
            reads: reads.into(),
            has_ended: false,
            woken: Arc::new(Woken(AtomicBool::new(true))),
            call,
            last: 0,
            is_closed: false,
        }
    }

    fn drive(&mut self) {
        if !self.woken.0.swap(false, Ordering::Relaxed) {
            return;
        }
        let waker = Waker::from(Arc::clone(&self.woken));
        self.state.orders(&mut Context::from_waker(&waker));
        while !self.has_ended && self.state.has_room() {
            match self.reads.pop_front() {
                Some(len) => self.state.append(Kind::Output(Output {
                    stream: OutputStream::Stdout.into(),
                    data: Bytes::from(vec![7; len]),
                })),
                None => {
                    self.state.append(Kind::Closed(Closed::default()));
                    self.has_ended = true;
                }
            }
        }
    }

    /// The transport takes events while its window is open.
    fn send(&mut self) {
        let call = &mut self.call;
        let mut context = Context::from_waker(Waker::noop());
        while call.sent < call.granted + WINDOW
            && let Poll::Ready(Some(event)) = self.state.poll_event(&mut context, &mut call.cursor)
        {
            let event = event.unwrap();
            call.sent += 5 + event.encoded_len() as u64;
            call.on_the_way.push_back((call.sent, event));
        }
    }

    /// The client consumes this many bytes, and returns credit once it has a batch.
    fn consume(&mut self, bytes: u64) {
        let call = &mut self.call;
        call.consumed = call.sent.min(call.consumed.saturating_add(bytes));
        while let Some((_, event)) = call.on_the_way.front().filter(|(end, _)| *end <= call.consumed) {
            assert!(
                !matches!(event.kind, Some(Kind::Gap(_))),
                "output is lost after {}",
                self.last
            );
            self.last += 1;
            assert_eq!(event.seq, self.last);
            self.is_closed = matches!(event.kind, Some(Kind::Closed(_)));
            call.on_the_way.pop_front();
        }
        if call.consumed - call.granted >= u64::from(CREDIT_BATCH) {
            call.granted = call.consumed;
            call.cell.set_consumed(call.granted);
        }
    }

    /// Loses the call and what is on the way, and attaches.
    fn lose(&mut self) {
        self.call = Call::after(self.last);
        let mut inner = self.state.lock();
        inner.begin_call(self.last, Some(self.call.cell.clone()));
        wake(inner.driver.take());
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Drive,
    Send,
    Consume(u64),
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Drive),
        4 => Just(Step::Send),
        2 => (1..600_000_u64).prop_map(Step::Consume),
        1 => Just(Step::Lose),
    ]
}

fn reads() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        prop::collection::vec(1..=65_536_usize, 0..40),
        prop::collection::vec(1..=8_usize, 0..30_000),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_client_that_consumes_gets_everything_whatever_the_budget(
        budget in prop_oneof![Just(0_usize), 0..4_000_000_usize],
        all in prop::collection::vec(reads(), 1..5),
        steps in prop::collection::vec((0..4_usize, step()), 0..200),
        reads_nothing in any::<bool>(),
    ) {
        let (retention, kept) = (Arc::default(), Arc::<KeepBudget>::default());
        kept.set_limit(budget);
        let key = Arc::default();
        let mut processes: Vec<_> = all
            .into_iter()
            .map(|reads| Process::new(reads, &retention, &kept, &key))
            .collect();
        for (at, step) in steps {
            let at = at % processes.len();
            let process = &mut processes[at];
            match step {
                Step::Drive => process.drive(),
                Step::Send => process.send(),
                Step::Consume(bytes) => process.consume(bytes),
                Step::Lose => process.lose(),
            }
        }
        // One client may stop, with all that its process may have; the others go on.
        let begin = usize::from(reads_nothing);
        for round in 0.. {
            processes.iter_mut().for_each(|process| {
                process.drive();
                process.send();
            });
            processes[begin..].iter_mut().for_each(|process| process.consume(u64::MAX));
            if processes[begin..].iter().all(|process| process.is_closed) {
                break;
            }
            prop_assert!(round < 10_000, "a process waits for ever");
        }
    }
}
