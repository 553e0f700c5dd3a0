//! Baton's own output on the standard streams, and the forwarding of standard input to a command.

use std::future::pending;
use std::io;
use std::os::fd::AsFd;

use baton_core_client::Stdin;
use bytes::{Buf as _, Bytes};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::fcntl_setpipe_size;
use rustix::termios::isatty;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::closed_stdout::stdout_was_closed;
use crate::error::CliError;
use crate::keyboard::Keyboard;
use crate::limits::{BULK_BYTES, BULK_PIPE_BYTES, SMALL_READ, STDIN_QUEUE, STDIN_READ};

/// Prints a line to standard output. Does not panic if the reader has closed it.
macro_rules! stdout_line {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout().lock(), $($text)*);
    }};
}

/// Prints a line to standard error. Does not panic if the reader has closed it.
macro_rules! stderr_line {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let end = $crate::raw_terminal::line_end();
        let _ = write!(std::io::stderr().lock(), "{}{}", format_args!($($text)*), end);
    }};
}

/// Prints a line of a server's log to standard error, with the time.
macro_rules! log_line {
    ($($text:tt)*) => {
        stderr_line!("{} baton: {}", $crate::stdio::now(), format_args!($($text)*))
    };
}

/// The time for log lines: RFC 3339, UTC, milliseconds.
pub(crate) fn now() -> impl std::fmt::Display {
    humantime::format_rfc3339_millis(std::time::SystemTime::now())
}

/// Writes a page of a result to standard output. A closed reader ends the command, as with `| head`.
pub(crate) fn page(text: &str) -> Result<(), CliError> {
    if stdout_was_closed() {
        return Err(CliError::NoStdout);
    }
    page_to(io::stdout(), text)
}

/// Writes a page like [`page`], while a session is open. Uses another thread, because a pager may block for longer than
/// the session's timeout. If the future is dropped, the write continues.
pub(crate) async fn page_beside(text: String) -> Result<(), CliError> {
    if stdout_was_closed() {
        return Err(CliError::NoStdout);
    }
    page_beside_to(io::stdout(), text).await
}

async fn page_beside_to(out: impl io::Write + Send + 'static, text: String) -> Result<(), CliError> {
    let written = spawn_blocking(move || page_to(out, &text)).await;
    // The task does not panic, and is not cancelled while it is awaited.
    written.unwrap_or_else(|error| Err(CliError::Start(io::Error::other(error))))
}

fn page_to(mut out: impl io::Write, text: &str) -> Result<(), CliError> {
    let stream = "standard output";
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|source| match source.kind() {
        io::ErrorKind::BrokenPipe => CliError::ReaderGone { stream },
        _ => CliError::Stdio { stream, source },
    })
}

/// Enlarges a pipe once it has carried [`BULK_BYTES`]: each full or empty pipe costs a context switch.
#[derive(Debug, Default)]
pub(crate) struct GrowingPipe {
    carried: usize,
}

impl GrowingPipe {
    /// Counts bytes that went through `fd`, which may be something other than a pipe.
    pub(crate) fn carried(&mut self, fd: impl AsFd, bytes: usize) {
        let before = self.carried;
        self.carried = before.saturating_add(bytes);
        if before < BULK_BYTES && self.carried >= BULK_BYTES {
            // Fails for anything but a pipe, and beyond the user's limit.
            let _ = fcntl_setpipe_size(fd, BULK_PIPE_BYTES);
        }
    }
}

/// Waits until a non-blocking descriptor is ready.
pub(crate) fn await_ready(fd: impl AsFd, what: PollFlags) {
    // If it fails, the next read or write reports the error.
    let _ = poll(&mut [PollFd::new(&fd, what)], None);
}

/// Copies this process's standard input to the command's until either ends. A separate thread reads, because a terminal
/// or a pipe may never become readable.
///
/// The first `skipped` bytes are left out: the command has them. A read error is sent to `cut`, and the command's input then
/// stays open. With a `keyboard`, its escapes are found.
pub(crate) async fn forward(
    mut stdin: Stdin,
    mut skipped: u64,
    cut: oneshot::Sender<CliError>,
    keyboard: Option<Keyboard>,
) {
    let (sender, mut chunks) = mpsc::channel::<io::Result<Bytes>>(STDIN_QUEUE);
    let reader = std::thread::Builder::new()
        .name("baton-stdin".into())
        .spawn(move || read(io::stdin(), &sender));
    if reader.is_ok() {
        if let Some(keyboard) = keyboard {
            return keyboard.forward(stdin, chunks, cut).await;
        }
        while let Some(chunk) = chunks.recv().await {
            let chunk = match chunk {
                Ok(mut chunk) => {
                    let had = usize::try_from(skipped).unwrap_or(usize::MAX).min(chunk.len());
                    chunk.advance(had);
                    skipped -= had as u64;
                    chunk
                }
                Err(source) => {
                    // Fails if the command has ended.
                    let _ = cut.send(CliError::Input(source));
                    return pending().await;
                }
            };
            if stdin.write(chunk).await.is_err() {
                // The command no longer reads; its next event states why.
                return;
            }
        }
    }
    // Fails if the command has ended.
    let _ = stdin.close().await;
}

fn read(input: impl AsFd, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut growing = GrowingPipe::default();
    let mut buffer = Vec::new();
    loop {
        buffer.reserve(STDIN_READ);
        let len = match rustix::io::read(&input, spare_capacity(&mut buffer)) {
            Ok(0) => return,
            Ok(len) => len,
            Err(Errno::INTR) => continue,
            // Another process that shares the file made it non-blocking.
            Err(Errno::AGAIN) => {
                await_ready(&input, PollFlags::IN);
                continue;
            }
            // Not open for reading, as with nohup, or a closed terminal: treated as empty input.
            Err(Errno::BADF) => return,
            Err(Errno::IO) if isatty(&input) => return,
            Err(error) => {
                // Fails if the command has ended.
                let _ = sender.blocking_send(Err(error.into()));
                return;
            }
        };
        growing.carried(&input, len);
        // A key press must not pin a large buffer.
        let chunk = if len <= SMALL_READ {
            let chunk = Bytes::copy_from_slice(&buffer);
            buffer.clear();
            chunk
        } else {
            std::mem::take(&mut buffer).into()
        };
        if sender.blocking_send(Ok(chunk)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::time::Duration;

    use rustix::pipe::{fcntl_getpipe_size, pipe};

    use super::*;

    #[test]
    fn input_arrives_whole_whatever_its_pieces() {
        let (reader, writer) = pipe().unwrap();
        let (sender, mut chunks) = mpsc::channel(STDIN_QUEUE);
        let reading = std::thread::spawn(move || {
            read(&reader, &sender);
            fcntl_getpipe_size(&reader).unwrap()
        });
        let sizes = [
            1,
            70_000,
            3,
            SMALL_READ,
            SMALL_READ + 1,
            BULK_BYTES,
            2 * BULK_PIPE_BYTES,
        ];
        let writing = std::thread::spawn(move || {
            let mut writer = File::from(writer);
            for (index, size) in sizes.into_iter().enumerate() {
                writer.write_all(&vec![index as u8; size]).unwrap();
            }
        });
        let mut received = vec![0; sizes.len()];
        let mut latest = 0;
        while let Some(chunk) = chunks.blocking_recv() {
            assert!(chunk.as_ref().unwrap().len() <= STDIN_READ);
            for byte in chunk.unwrap() {
                assert!(byte >= latest, "out of order");
                latest = byte;
                received[usize::from(byte)] += 1;
            }
        }
        writing.join().unwrap();
        assert_eq!(received, sizes);
        assert_eq!(reading.join().unwrap(), BULK_PIPE_BYTES);
    }

    #[test]
    fn what_is_no_pipe_is_left_as_it_is() {
        let mut growing = GrowingPipe::default();
        growing.carried(File::open("/dev/null").unwrap(), 10 * BULK_BYTES);
    }

    /// The bytes read from an input, and whether reading failed.
    fn read_all(input: impl AsFd + Send + 'static) -> (Vec<u8>, bool) {
        let (sender, mut chunks) = mpsc::channel(STDIN_QUEUE);
        std::thread::spawn(move || read(&input, &sender));
        let (mut all, mut failed) = (Vec::new(), false);
        while let Some(chunk) = chunks.blocking_recv() {
            match chunk {
                Ok(chunk) => all.extend_from_slice(&chunk),
                Err(_) => failed = true,
            }
        }
        (all, failed)
    }

    #[tokio::test]
    async fn a_page_that_nobody_reads_yet_keeps_nobody_else_waiting() {
        let (reader, writer) = pipe().unwrap();
        let (go, gone) = std::sync::mpsc::channel();
        let reading = std::thread::spawn(move || {
            // The timeout ends the test if the page blocks this thread's caller.
            let _ = gone.recv_timeout(Duration::from_secs(5));
            let mut all = String::new();
            File::from(reader).read_to_string(&mut all).map(|_| all)
        });
        let text = "x".repeat(BULK_PIPE_BYTES);
        let mut writing = std::pin::pin!(page_beside_to(File::from(writer), text.clone()));
        let waited = tokio::time::timeout(Duration::from_millis(1), &mut writing).await;
        assert!(waited.is_err(), "the timer was kept waiting");
        go.send(()).unwrap();
        writing.await.unwrap();
        assert!(reading.join().unwrap().unwrap() == text);
    }

    #[test]
    fn an_input_that_fails_is_not_one_that_ends() {
        assert_eq!(read_all(File::open("/").unwrap()), (vec![], true));
        assert_eq!(read_all(File::open("/dev/null").unwrap()), (vec![], false));
        let unreadable = File::options().write(true).open("/dev/null").unwrap();
        assert_eq!(read_all(unreadable), (vec![], false));
    }

    #[test]
    fn an_input_that_does_not_block_is_waited_for() {
        let (reader, writer) = pipe().unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        let reading = std::thread::spawn(move || read_all(reader));
        let mut writer = File::from(writer);
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(20));
            writer.write_all(b"x").unwrap();
        }
        drop(writer);
        assert_eq!(reading.join().unwrap(), (b"xxx".to_vec(), false));
    }
}
