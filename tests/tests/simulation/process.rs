//! The fake operating system under the exec-server. Its processes follow a script in virtual time and handle signals;
//! their pipes have the capacity of real ones. Each process adds what it did to the history.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use baton_core_client::ExitStatus;
use baton_exec_server::StartError;
use baton_exec_server::process::{Backend, Launch, ProcessGroup, Running};
use baton_proto::exec::Signaled;
use baton_proto::exec::exited::Status;
use baton_trace::w3c::TraceContext;
use bytes::Bytes;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::history::{Event, History, Output, Position, RunId, ServerEpoch, pattern, stream_of};
use crate::plan::{Plan, Script};

/// Capacity of a Linux pipe, in bytes.
const PIPE: usize = 64 * 1024;

/// The operating system during one run of the exec-server.
#[derive(Clone)]
pub(crate) struct FakeBackend {
    history: History,
    plan: Arc<Plan>,
    epoch: ServerEpoch,
    pids: Arc<AtomicU32>,
}

impl FakeBackend {
    pub(crate) fn new(history: History, plan: Arc<Plan>, epoch: ServerEpoch) -> Self {
        Self {
            history,
            plan,
            epoch,
            pids: Arc::new(AtomicU32::new(100)),
        }
    }
}

impl std::fmt::Debug for FakeBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FakeBackend({:?})", self.epoch)
    }
}

impl Backend for FakeBackend {
    type Group = Group;
    type Stdin = DuplexStream;
    type Stdout = DuplexStream;
    type Stderr = DuplexStream;

    fn spawn(&self, launch: Launch, context: Option<&TraceContext>) -> Result<Running<Self>, StartError> {
        let run = launch
            .argv()
            .get(1)
            .and_then(|run| run.to_str().ok()?.parse().ok());
        let run = RunId(run.ok_or(StartError::CommandNotFound)?);
        let script = self
            .plan
            .run(run)
            .map_or_else(Script::probe, |run| run.script.clone());
        self.history.add(Event::Spawned {
            run,
            process: launch.process_id(),
            epoch: self.epoch,
            position: context.map(|context| Position {
                trace: context.trace_id,
                span: context.span_id,
            }),
        });
        let (stdout, stdout_end) = duplex(PIPE);
        let (stderr, stderr_end) = duplex(PIPE);
        let (stdin_end, stdin) = match launch.has_stdin() {
            true => {
                let (end, stdin) = duplex(PIPE);
                (Some(end), Some(stdin))
            }
            false => (None, None),
        };
        let (signals, signalled) = watch::channel(None);
        let (exit, exited) = oneshot::channel();
        let process = Process {
            run,
            script,
            history: self.history.clone(),
            stdin,
            stdout,
            stderr,
        };
        let task = tokio::spawn(process.run(signalled, exit)).abort_handle();
        Ok(Running {
            exec: Arc::new(baton_export::clock::now()),
            group: Group {
                pid: self.pids.fetch_add(1, Ordering::Relaxed),
                run,
                history: self.history.clone(),
                signals,
                exited,
                task,
                gone: false,
            },
            stdin: stdin_end,
            stdout: stdout_end,
            stderr: stderr_end,
            terminal: None,
        })
    }
}

/// The exec-server's handle of a process.
pub(crate) struct Group {
    pid: u32,
    run: RunId,
    history: History,
    signals: watch::Sender<Option<Signal>>,
    exited: oneshot::Receiver<Status>,
    task: AbortHandle,
    gone: bool,
}

impl Group {
    fn go(&mut self) {
        if !std::mem::replace(&mut self.gone, true) {
            self.history.add(Event::Gone { run: self.run });
        }
    }
}

impl ProcessGroup for Group {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Status>> {
        let exited = Pin::new(&mut self.exited).poll(cx);
        exited.map(|status| status.map_err(|_| io::ErrorKind::NotFound.into()))
    }

    fn signal(&mut self, signal: Signal) {
        if self.gone {
            return;
        }
        if [Signal::TERM, Signal::KILL].contains(&signal) {
            self.signals.send_replace(Some(signal));
            return;
        }
        // The processes handle every other one, and go on.
        self.history.add(Event::Signalled {
            run: self.run,
            signal: signal.as_raw(),
        });
    }

    fn reap(&mut self) {
        self.go();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.task.abort();
        self.go();
    }
}

/// The process's own state.
struct Process {
    run: RunId,
    script: Script,
    history: History,
    stdin: Option<DuplexStream>,
    stdout: DuplexStream,
    stderr: DuplexStream,
}

impl Process {
    async fn run(mut self, signals: watch::Receiver<Option<Signal>>, exit: oneshot::Sender<Status>) {
        let ignores_sigterm = self.script.ignores_sigterm;
        let killed = killed(signals, ignores_sigterm);
        // When the script ends and a signal arrives in the same poll, the script wins: the history must have the end of
        // input that the process saw, although a kill follows at once.
        let status = tokio::select! {
            biased;
            () = self.follow_script() => ExitStatus::Code(self.script.code),
            signal = killed => ExitStatus::Signal { signal: signal.as_raw(), core_dumped: false },
        };
        self.history.add(Event::Exited {
            run: self.run,
            status,
        });
        drop(self.stderr);
        match self.script.descendant {
            Some(holds) => drop(tokio::spawn(descendant(self.stdout, holds))),
            None => drop(self.stdout),
        }
        // Fails only if the exec-server has dropped its handle.
        let _ = exit.send(match status {
            ExitStatus::Code(code) => Status::Code(code),
            ExitStatus::Signal { signal, core_dumped } => Status::Signaled(Signaled { signal, core_dumped }),
        });
    }

    async fn follow_script(&mut self) {
        let reading = read_all(
            self.run,
            &self.history,
            self.stdin.take(),
            self.script.stdin_pause,
        );
        let writing = async {
            let mut written = [0; 3];
            for &(pause, output, bytes) in &self.script.writes {
                sleep(pause).await;
                let pipe = match output {
                    Output::Stdout => &mut self.stdout,
                    Output::Stderr => &mut self.stderr,
                };
                let from = &mut written[usize::from(stream_of(output))];
                write(self.run, &self.history, output, pipe, from, bytes).await;
            }
        };
        tokio::join!(reading, writing);
    }
}

/// Writes the next `bytes` of an output, and records each part that the pipe has taken.
async fn write(
    run: RunId,
    history: &History,
    output: Output,
    pipe: &mut DuplexStream,
    from: &mut usize,
    bytes: usize,
) {
    let data = pattern(run, stream_of(output), *from, bytes);
    let mut rest = &data[..];
    while !rest.is_empty() {
        // The exec-server closes the pipe only when it has killed the process.
        let Ok(taken) = pipe.write(rest).await else { return };
        rest = &rest[taken..];
        *from += taken;
        history.add(Event::Wrote {
            run,
            output,
            bytes: taken,
        });
    }
}

async fn read_all(run: RunId, history: &History, stdin: Option<DuplexStream>, pause: Duration) {
    let Some(mut stdin) = stdin else { return };
    let mut buffer = [0; 4096];
    loop {
        sleep(pause).await;
        match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(bytes) => {
                let data = Bytes::copy_from_slice(&buffer[..bytes]);
                history.add(Event::Read { run, data });
            }
        }
    }
    history.add(Event::ReadEnd { run });
}

/// Waits for a signal that ends the process.
async fn killed(mut signals: watch::Receiver<Option<Signal>>, ignores_sigterm: bool) -> Signal {
    loop {
        if let Some(signal) = *signals.borrow_and_update()
            && (signal == Signal::KILL || !ignores_sigterm)
        {
            return signal;
        }
        if signals.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Holds standard output open after the process has exited.
async fn descendant(stdout: DuplexStream, holds: Duration) {
    sleep(holds).await;
    drop(stdout);
}
