//! Writes a command's output to this process's standard streams.
//!
//! A separate thread performs writes that may block, so that the thread that drives the session never waits for a
//! reader, and receives the next bytes during a write. Bytes are written in the order of their arrival over both
//! streams, because both are often one terminal. While the writer thread is idle, a small write that cannot block is
//! made directly.

use std::collections::VecDeque;
use std::fs::File;
use std::future::pending;
use std::io::{self, IoSlice, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{mpsc, oneshot};

use crate::closed_stdout::stdout_was_closed;
use crate::error::CliError;
use crate::limits::{ATOMIC_WRITE, OUTPUT_QUEUE};
use crate::stdio::{GrowingPipe, await_ready};

/// One of this process's output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputStream {
    Stdout,
    Stderr,
}

/// Both output streams. If it is dropped without [`finish`](Self::finish), the writer thread still writes the queue
/// while the process runs.
pub(crate) struct OutputStreams {
    files: Arc<OutputFiles>,
    /// Started at the first write that might block.
    writer: Option<WriterThread>,
}

struct OutputFiles {
    stdout: File,
    stderr: File,
}

/// A handle to the writer thread.
struct WriterThread {
    /// `None` once the queue is closed.
    queue: Option<mpsc::Sender<OutputChunk>>,
    /// The number of chunks that are not written yet.
    waiting: Arc<AtomicUsize>,
    ended: oneshot::Receiver<Result<(), CliError>>,
}

struct OutputChunk {
    to: OutputStream,
    data: Bytes,
}

impl OutputStreams {
    pub(crate) fn open() -> Result<Self, CliError> {
        if stdout_was_closed() {
            return Err(CliError::NoStdout);
        }
        Ok(Self::new(duplicate(io::stdout())?, duplicate(io::stderr())?)?)
    }

    fn new(stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Self> {
        let files = Arc::new(OutputFiles {
            stdout: stdout.into(),
            stderr: stderr.into(),
        });
        Ok(Self { files, writer: None })
    }

    /// Queues or writes the data; waits while [`OUTPUT_QUEUE`] chunks are queued. Fails once a write has failed,
    /// possibly one of an earlier chunk. Not cancellation safe: a dropped call may or may not have queued the data.
    pub(crate) async fn write(&mut self, to: OutputStream, data: Bytes) -> Result<(), CliError> {
        // A direct write must not interleave with a write of the thread to the same terminal.
        let is_idle = self.writer.as_ref().is_none_or(WriterThread::is_idle);
        if is_idle && data.len() <= ATOMIC_WRITE && is_writable(self.files.of(to)) {
            return self.files.write(to, data);
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(WriterThread::start(Arc::clone(&self.files))?),
        };
        if writer.take(OutputChunk { to, data }).await {
            return Ok(());
        }
        self.finish().await
    }

    /// Resolves as soon as a write has failed, without another write. Cancellation safe.
    pub(crate) async fn failed(&mut self) -> CliError {
        let error = match &mut self.writer {
            Some(writer) => match (&mut writer.ended).await {
                Ok(Err(error)) => error,
                // Without an error the thread runs while it has a queue.
                Ok(Ok(())) | Err(_) => writer_thread_gone(),
            },
            None => pending().await,
        };
        self.writer = None;
        error
    }

    /// Waits until everything is written. No write follows. Cancellation safe.
    pub(crate) async fn finish(&mut self) -> Result<(), CliError> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        writer.queue = None;
        let ended = (&mut writer.ended).await;
        self.writer = None;
        ended.unwrap_or_else(|_| Err(writer_thread_gone()))
    }
}

impl WriterThread {
    fn start(files: Arc<OutputFiles>) -> io::Result<Self> {
        let (queue, pieces) = mpsc::channel(OUTPUT_QUEUE);
        let (end, ended) = oneshot::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let still = Arc::clone(&waiting);
        let run = move || {
            // Fails if the handle was dropped.
            let _ = end.send(write_out(&files, pieces, &still));
        };
        std::thread::Builder::new()
            .name("baton-output".into())
            .spawn(run)?;
        Ok(Self {
            queue: Some(queue),
            waiting,
            ended,
        })
    }

    fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// Queues a chunk; `false` if the thread has ended.
    async fn take(&mut self, piece: OutputChunk) -> bool {
        let Some(queue) = &self.queue else { return false };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        queue.send(piece).await.is_ok()
    }
}

/// Writes chunks until the queue is closed. Waiting chunks of one stream are written with one system call.
fn write_out(
    files: &OutputFiles,
    mut pieces: mpsc::Receiver<OutputChunk>,
    waiting: &AtomicUsize,
) -> Result<(), CliError> {
    let mut growing = [GrowingPipe::default(), GrowingPipe::default()];
    let mut ahead = None;
    while let Some(OutputChunk { to, data }) = ahead.take().or_else(|| pieces.blocking_recv()) {
        let mut batch = VecDeque::from([data]);
        while batch.len() < OUTPUT_QUEUE
            && let Ok(piece) = pieces.try_recv()
        {
            if piece.to != to {
                ahead = Some(piece);
                break;
            }
            batch.push_back(piece.data);
        }
        let bytes = batch.iter().map(Bytes::len).sum();
        let count = batch.len();
        write_batch(files.of(to), batch).map_err(|error| failed(to, error))?;
        growing[to as usize].carried(files.of(to), bytes);
        waiting.fetch_sub(count, Ordering::Release);
    }
    Ok(())
}

fn write_batch(mut file: &File, mut batch: VecDeque<Bytes>) -> io::Result<()> {
    while !batch.is_empty() {
        let slices: Vec<_> = batch.iter().map(|data| IoSlice::new(data)).collect();
        let mut written = match file.write_vectored(&slices) {
            Ok(0) if batch.iter().any(|data| !data.is_empty()) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Another process that shares the file made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                await_ready(file, PollFlags::OUT);
                continue;
            }
            Err(error) => return Err(error),
        };
        while let Some(data) = batch.front_mut() {
            if data.len() > written {
                bytes::Buf::advance(data, written);
                break;
            }
            written -= data.len();
            batch.pop_front();
        }
    }
    Ok(())
}

impl OutputFiles {
    fn of(&self, stream: OutputStream) -> &File {
        match stream {
            OutputStream::Stdout => &self.stdout,
            OutputStream::Stderr => &self.stderr,
        }
    }

    fn write(&self, to: OutputStream, data: Bytes) -> Result<(), CliError> {
        write_batch(self.of(to), VecDeque::from([data])).map_err(|error| failed(to, error))
    }
}

fn failed(stream: OutputStream, source: io::Error) -> CliError {
    let stream = match stream {
        OutputStream::Stdout => "standard output",
        OutputStream::Stderr => "standard error",
    };
    match source.kind() {
        io::ErrorKind::BrokenPipe => CliError::ReaderGone { stream },
        _ => CliError::Stdio { stream, source },
    }
}

/// The writer thread ended without a result, which only a bug can cause.
fn writer_thread_gone() -> CliError {
    CliError::Start(io::Error::other(
        "the thread that writes output ended early; report it",
    ))
}

fn is_writable(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut fds, Some(&at_once)), Ok(1)) && fds[0].revents().contains(PollFlags::OUT)
}

fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    let fd: BorrowedFd<'_> = fd.as_fd();
    fd.try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::thread;

    use rustix::pipe::pipe;

    use super::*;

    /// Both streams write to one pipe, as to a terminal.
    fn one_pipe() -> (OutputStreams, File) {
        let (reader, writer) = pipe().unwrap();
        let second = writer.try_clone().unwrap();
        (OutputStreams::new(writer, second).unwrap(), reader.into())
    }

    fn piece(byte: u8, len: usize) -> Bytes {
        vec![byte; len].into()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn bytes_leave_in_the_order_in_which_they_came_over_both_streams() {
        let (mut outputs, mut reader) = one_pipe();
        // Large and small chunks: written by the thread, and directly while it is idle.
        let sizes = [1, 100_000, 2, 3, 5_000, 4, 200_000, 1, 1];
        let mut expected = Vec::new();
        for round in 0..20_u8 {
            for size in sizes {
                expected.extend(std::iter::repeat_n(round, size));
            }
        }
        let reading = thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        for round in 0..20 {
            for (index, size) in sizes.into_iter().enumerate() {
                let to = [OutputStream::Stdout, OutputStream::Stderr][index % 2];
                outputs.write(to, piece(round, size)).await.unwrap();
            }
        }
        outputs.finish().await.unwrap();
        drop(outputs);
        assert!(reading.join().unwrap().unwrap() == expected);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_stream_that_does_not_block_gets_all_of_it() {
        let (mut outputs, mut reader) = one_pipe();
        rustix::io::ioctl_fionbio(&outputs.files.stdout, true).unwrap();
        for size in [1, 300_000, 4_000] {
            outputs.write(OutputStream::Stdout, piece(7, size)).await.unwrap();
        }
        let reading = thread::spawn(move || {
            thread::sleep(std::time::Duration::from_millis(20));
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        outputs.finish().await.unwrap();
        drop(outputs);
        assert_eq!(reading.join().unwrap().unwrap().len(), 304_001);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_reader_that_does_not_read_holds_back_a_bounded_number_of_pieces() {
        let (mut outputs, reader) = one_pipe();
        let mut taken = 0;
        let writing = async {
            loop {
                outputs
                    .write(OutputStream::Stdout, piece(1, 64 * 1024))
                    .await
                    .unwrap();
                taken += 1;
            }
        };
        let blocked = tokio::time::timeout(std::time::Duration::from_millis(200), writing).await;
        assert!(blocked.is_err());
        // The pipe, the batch that is being written, the queue.
        assert!((2..=2 + 2 * OUTPUT_QUEUE).contains(&taken), "{taken}");
        drop(reader);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_reader_that_is_gone_is_told_at_once_and_at_the_next_write() {
        let (mut outputs, reader) = one_pipe();
        outputs
            .write(OutputStream::Stdout, piece(1, 200_000))
            .await
            .unwrap();
        drop(reader);
        let is_not_read = |error| {
            let name = "standard output";
            assert!(
                matches!(error, CliError::ReaderGone { stream } if stream == name),
                "{error}"
            );
        };
        is_not_read(outputs.failed().await);

        let (mut outputs, reader) = one_pipe();
        drop(reader);
        let mut result = Ok(());
        while result.is_ok() {
            result = outputs.write(OutputStream::Stdout, piece(1, 100_000)).await;
        }
        is_not_read(result.unwrap_err());
        assert!(outputs.finish().await.is_ok(), "the error was already reported");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn nothing_fails_while_nothing_is_written() {
        let (mut outputs, _reader) = one_pipe();
        let soon = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, outputs.failed()).await.is_err());
        outputs
            .write(OutputStream::Stdout, piece(1, 10_000))
            .await
            .unwrap();
        assert!(tokio::time::timeout(soon, outputs.failed()).await.is_err());
        outputs.finish().await.unwrap();
    }
}
