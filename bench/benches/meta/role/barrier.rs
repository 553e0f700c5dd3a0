//! A writer that is asked for barriers, and its peer, which appends to a file and syncs it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use baton_bench::{Failure, worker};
use baton_metadata::WriterHandle;
use tokio::runtime::{Builder, Runtime};

use crate::records::{end, exited, spawned, start, whole};
use crate::state::State;

/// Executions per second. Each makes the four patches that an exec-server makes of an execution.
const LOAD: f64 = 2_000.0;
/// The first id of the load, so that its records are not those of the barriers.
const LOAD_IDS: u64 = 1 << 40;

/// Opens a new database below `directory`. It answers:
///
/// * `visit TIMES PAUSE`: the seconds of each barrier, from accepting a record until it is durable, with a pause of
///   PAUSE milliseconds before each;
/// * `load`: begins to accept the updates of [`LOAD`] executions per second, until `end`;
/// * `end`: the rate of that load, if there was one, and the number of checkpoints. Everything is written.
pub(super) fn main(directory: &Path) -> Result<(), Failure> {
    let runtime = runtime()?;
    let mut state = Some(State::start(directory)?);
    let mut load: Option<Load> = None;
    let mut n = 0;
    // The runtime of the barriers is not that of the requests, which has entered already.
    runtime_of_requests(|request| {
        let running = state.as_ref().ok_or("it has ended")?;
        match request.split(' ').collect::<Vec<_>>()[..] {
            ["visit", times, pause] => visit(times, pause, || {
                n += 1;
                let since = Instant::now();
                running.handle.accept(whole(n))?;
                runtime.block_on(running.handle.flush())?;
                Ok(since.elapsed().as_secs_f64())
            }),
            ["load"] => {
                load = Some(Load::start(running.handle.clone()));
                Ok(Vec::new())
            }
            ["end"] => {
                let rate = load.take().map_or(Ok(0.0), Load::end)?;
                runtime.block_on(running.handle.flush())?;
                let checkpoints = running.checkpoints()?;
                if let Some(state) = state.take() {
                    runtime.block_on(state.end())?;
                }
                Ok(vec![rate, checkpoints.into()])
            }
            _ => Err(format!("no such request: {request}").into()),
        }
    })
}

/// The peer: answers `visit TIMES PAUSE` with the seconds of each append of one page and its sync.
pub(super) fn fsyncs(directory: &Path) -> Result<(), Failure> {
    let mut file = tempfile::tempfile_in(directory)?;
    runtime_of_requests(|request| match request.split(' ').collect::<Vec<_>>()[..] {
        ["visit", times, pause] => visit(times, pause, || append(&mut file)),
        _ => Err(format!("no such request: {request}").into()),
    })
}

/// Appends one page and syncs the file. Returns the seconds.
fn append(file: &mut File) -> Result<f64, Failure> {
    let since = Instant::now();
    file.write_all(&[0x5a; 4096])?;
    file.sync_data()?;
    Ok(since.elapsed().as_secs_f64())
}

fn visit(
    times: &str,
    pause_ms: &str,
    mut once: impl FnMut() -> Result<f64, Failure>,
) -> Result<Vec<f64>, Failure> {
    let (times, pause): (usize, _) = (times.parse()?, Duration::from_millis(pause_ms.parse()?));
    (0..times)
        .map(|_| {
            thread::sleep(pause);
            once()
        })
        .collect()
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Answers requests by a function that may block: on a thread that runs nothing else.
pub(super) fn runtime_of_requests(
    mut handle: impl FnMut(&str) -> Result<Vec<f64>, Failure>,
) -> Result<(), Failure> {
    worker::answer_blocking("ready", &mut handle)
}

/// A thread that accepts updates.
struct Load {
    over: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<f64, Failure>>,
}

impl Load {
    fn start(handle: WriterHandle) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        Self {
            over,
            thread: thread::spawn(move || executions(&handle, &is_over)),
        }
    }

    /// Returns the achieved rate.
    fn end(self) -> Result<f64, Failure> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the load panicked")?
    }
}

/// Accepts the patches of [`LOAD`] executions per second until `over`. Returns the achieved rate.
fn executions(handle: &WriterHandle, over: &AtomicBool) -> Result<f64, Failure> {
    let started = Instant::now();
    let mut n = 0_u64;
    while !over.load(Ordering::Relaxed) {
        let due = (started.elapsed().as_secs_f64() * LOAD) as u64;
        while n < due {
            let id = LOAD_IDS + n;
            for update in [start(id), spawned(id), exited(id), end(id)] {
                handle.accept(update)?;
            }
            n += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(n as f64 / started.elapsed().as_secs_f64())
}
