//! The task of one process: reads its pipes, watches its exit, feeds its stdin, kills it, and ends it in order.
//!
//! It is one task, apart from the RPC that started it, so that the exit is seen while the client reads nothing and the
//! kill happens when the client is gone. Within one wake-up the order is: requests, orders, pipes, exit, time. Pipes before
//! the exit, because a short command's output and exit often arrive together and people like them in that order;
//! the exit never waits for a pipe, since one turn reads no more than [`READS_PER_TURN`] times.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use baton_channel::allow::Peer;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::{Exited, Output, OutputStream, RunRequest};
use baton_trace::call::ServerCall;
use baton_trace::clock;
use baton_trace::record::unix_now_ns;
use baton_trace::stage::exec;
use baton_trace::w3c::TraceContext;
use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::time::{Sleep, sleep_until};
use tonic::{Status, Streaming};

use super::backend::{Backend, Exec, ExecState, ProcessGroup, Running};
use super::follow::Events;
use super::kill::Kill;
use super::launch::Launch;
use super::life::Life;
use super::output::ReadBuffer;
use super::shared::Shared;
use super::stdin;
use super::table::{Place, ProcessTable, Registration};
use crate::error::{RequestError, StartError};
use crate::limits::READS_PER_TURN;

/// Starts a process and returns its events; or, if this start repeats an earlier one, that one's end. Must be called in a tokio
/// runtime; does not wait for the child's exec.
pub(crate) fn run<B: Backend>(
    table: &Arc<ProcessTable>,
    backend: &B,
    client: &Peer,
    launch: Launch,
    call: Option<Arc<ServerCall>>,
    requests: Streaming<RunRequest>,
) -> Result<Events, StartError> {
    let begun = clock::now();
    let drain = launch.drain;
    let key = (client.key, launch.process_id);
    let mut registration = match table.register(key, launch.parameters, begun)? {
        Place::New(registration) => registration,
        Place::Taken(ended) => return Ok(Events::again(ended)),
    };
    let context = call.as_ref().map(|call| call.context_of(exec::PROCESS));
    let has_stdin = launch.stdin;
    let Running {
        exec,
        group,
        stdin,
        stdout,
        stderr,
    } = backend.spawn(launch, context.as_ref())?;
    let spawned = clock::now();
    registration.set_started(true);
    let shared = registration.shared().clone();
    let events = Events::new(shared.clone(), table.patience(has_stdin).clone());
    shared.starts(group.pid(), exec.clone());
    let driver = Driver::<B> {
        exec,
        group,
        stdout: Some(stdout),
        stderr: Some(stderr),
        buffer: ReadBuffer::new(),
        turn: OutputStream::Stdout,
        life: Life::new(begun, spawned, drain),
        kill: Kill::Idle,
        timer: None,
        shared: shared.clone(),
        registration,
        call,
        context,
        sees_ids: client.sees_ids(),
    };
    tokio::spawn(async move {
        let mut stdin = stdin;
        let requests = stdin::pump(requests, &mut stdin, &shared);
        driver.drive(requests).await;
    });
    Ok(events)
}

/// The child exited because it could not execute its program.
struct NotExecuted;

struct Driver<B: Backend> {
    exec: Arc<dyn Exec>,
    group: B::Group,
    /// `None` at its end.
    stdout: Option<B::Stdout>,
    /// `None` at its end.
    stderr: Option<B::Stderr>,
    buffer: ReadBuffer,
    /// The pipe to read next.
    turn: OutputStream,
    life: Life,
    kill: Kill,
    /// Most processes never need one.
    timer: Option<Pin<Box<Sleep>>>,
    shared: Arc<Shared>,
    registration: Registration,
    call: Option<Arc<ServerCall>>,
    /// The `process` stage's, as the child got it.
    context: Option<TraceContext>,
    /// Whether the client may learn it.
    sees_ids: bool,
}

impl<B: Backend> Driver<B> {
    async fn drive(mut self, requests: impl Future<Output = Result<(), RequestError>>) {
        let mut requests = pin!(requests);
        let mut requesting = true;
        poll_fn(|cx| {
            if requesting && let Poll::Ready(end) = requests.as_mut().poll(cx) {
                requesting = false;
                self.requests_ended(end);
            }
            self.poll(cx)
        })
        .await;
    }

    /// A client that breaks the protocol loses its process, unless that has exited and does not care any more.
    fn requests_ended(&self, end: Result<(), RequestError>) {
        if let Err(error) = end
            && !self.life.has_exited()
        {
            self.shared.fail(error.into());
        }
    }

    /// Ready when the process is reaped.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let stop = self.shared.should_stop(cx);
        if stop && let Some(signal) = self.kill.begin(clock::now()) {
            self.group.signal(signal);
        }
        self.read(cx);
        if self.watch(cx).is_err() {
            self.registration.set_started(false);
            self.retire();
            return Poll::Ready(());
        }
        loop {
            let now = clock::now();
            if let Some(signal) = self.kill.due(now) {
                self.group.signal(signal);
            }
            self.close(now);
            if self.life.is_closed() && !self.kill.is_pending() {
                self.retire();
                return Poll::Ready(());
            }
            if self.poll_timer(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Reads the pipes in turns while there is room, so that neither starves the other.
    fn read(&mut self, cx: &mut Context<'_>) {
        let mut idle = 0;
        for _ in 0..READS_PER_TURN {
            if self.stdout.is_none() && self.stderr.is_none() {
                return;
            }
            if !self.shared.has_room() {
                self.life.pause(clock::now());
                return;
            }
            if self.life.is_paused() {
                self.life.resume(clock::now());
            }
            let (chunk, other) = match self.turn {
                OutputStream::Stderr => (read(&mut self.buffer, cx, &mut self.stderr), OutputStream::Stdout),
                _ => (read(&mut self.buffer, cx, &mut self.stdout), OutputStream::Stderr),
            };
            let took = self.took(self.turn, chunk);
            self.turn = other;
            idle = if took { 0 } else { idle + 1 };
            if idle == 2 {
                return;
            }
        }
        // There may be more, and no other wake-up for it.
        cx.waker().wake_by_ref();
    }

    /// Appends what a pipe gave; true if it may have more at once.
    fn took(&mut self, stream: OutputStream, chunk: Poll<io::Result<Bytes>>) -> bool {
        let Poll::Ready(chunk) = chunk else { return false };
        let now = clock::now();
        match chunk {
            Ok(data) if !data.is_empty() => {
                self.life.output(stream, data.len(), now);
                self.shared.append(Kind::Output(Output {
                    stream: stream.into(),
                    data,
                }));
                true
            }
            // A pipe that cannot be read has nothing more to give.
            Ok(_) | Err(_) => {
                self.life.end_of_file(stream, now);
                match stream {
                    OutputStream::Stderr => self.stderr = None,
                    OutputStream::Stdout | OutputStream::Unspecified => self.stdout = None,
                }
                false
            }
        }
    }

    /// Pushes the exit as soon as it is known. An error means that nothing ran, and that the client is told so.
    fn watch(&mut self, cx: &mut Context<'_>) -> Result<(), NotExecuted> {
        if self.life.has_exited() {
            return Ok(());
        }
        let Poll::Ready(exit) = self.group.poll_exit(cx) else {
            return Ok(());
        };
        let now = clock::now();
        match self.exec.state() {
            ExecState::Failed(error) => {
                self.shared.fail(error.into());
                return Err(NotExecuted);
            }
            ExecState::Executed(Some(at)) => self.life.executed(at, now),
            ExecState::Executed(None) | ExecState::Pending => {}
        }
        self.life.exit(now);
        match exit {
            Ok(status) => self.shared.append(Kind::Exited(Exited {
                status: Some(status),
                observed_unix_ns: match &self.call {
                    Some(call) => call.anchor().unix_ns_of(now),
                    None => unix_now_ns(),
                },
                trace: self
                    .context
                    .as_ref()
                    .filter(|_| self.sees_ids)
                    .map(TraceContext::to_carrier),
            })),
            Err(_) => self
                .shared
                .fail(Status::internal("the exit status of the process was lost")),
        }
        Ok(())
    }

    /// Ends the life when it is over: records its stages, reaps, and only then says so.
    fn close(&mut self, now: Instant) {
        let killed = self.kill == Kill::Done && self.life.has_exited();
        let closed = match killed {
            // What still holds a pipe has left the group: not waited for.
            true => self.life.cut(now),
            false => self.life.close(now),
        };
        let Some(closed) = closed else { return };
        // Taken: the record of a call that was cut short waits for whoever can still add to it.
        if let Some(call) = self.call.take() {
            for (stage, start, end) in self.life.stages() {
                call.record(stage, start, end);
            }
        }
        if !self.kill.is_pending() {
            self.retire();
        }
        self.shared.append(Kind::Closed(closed));
    }

    fn retire(&mut self) {
        self.group.reap();
        self.registration.release();
    }

    /// Ready when a deadline has come; pending, with the timer set, when the next one is still ahead.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = [self.life.deadline(), self.kill.deadline()]
            .into_iter()
            .flatten()
            .min();
        let Some(deadline) = deadline else {
            self.timer = None;
            return Poll::Pending;
        };
        let deadline = deadline.into();
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

fn read<R: AsyncRead + Unpin>(
    buffer: &mut ReadBuffer,
    cx: &mut Context<'_>,
    pipe: &mut Option<R>,
) -> Poll<io::Result<Bytes>> {
    match pipe {
        Some(pipe) => buffer.poll_read(cx, pipe),
        None => Poll::Pending,
    }
}
