//! A command's streams to and from our own, without ever blocking the thread that keeps the session alive; and our own words
//! beside them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use baton_client::Stdin;
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::mpsc;

use crate::error::CliError;
use crate::limits::{ATOMIC_WRITE, STDIN_QUEUE, STDIN_READ};

/// A line of ours on standard output. A reader that has gone away is no reason to panic.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout().lock(), $($text)*);
    }};
}

/// The same on standard error.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), $($text)*);
    }};
}

/// A page of an answer on standard output. A reader that has gone away ends the command, as after `| head`.
pub(crate) fn page(text: &str) -> Result<(), CliError> {
    let stream = "standard output";
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|source| match source.kind() {
        io::ErrorKind::BrokenPipe => CliError::NotRead { stream },
        _ => CliError::Stdio { stream, source },
    })
}

/// One of our two output streams.
pub(crate) struct Output {
    file: Arc<File>,
    name: &'static str,
}

impl Output {
    pub(crate) fn stdout() -> io::Result<Self> {
        Ok(Self {
            file: duplicate(io::stdout().as_fd())?,
            name: "standard output",
        })
    }

    pub(crate) fn stderr() -> io::Result<Self> {
        Ok(Self {
            file: duplicate(io::stderr().as_fd())?,
            name: "standard error",
        })
    }

    /// Writes all of it. Small writes go straight out; a write that might block goes through another thread.
    pub(crate) async fn write(&self, data: Bytes) -> Result<(), CliError> {
        let written = if data.len() <= ATOMIC_WRITE && self.is_writable() {
            (&*self.file).write_all(&data)
        } else {
            let file = Arc::clone(&self.file);
            let task = tokio::task::spawn_blocking(move || (&*file).write_all(&data));
            task.await.unwrap_or_else(|error| Err(io::Error::other(error)))
        };
        written.map_err(|source| match source.kind() {
            io::ErrorKind::BrokenPipe => CliError::NotRead { stream: self.name },
            _ => CliError::Stdio {
                stream: self.name,
                source,
            },
        })
    }

    fn is_writable(&self) -> bool {
        let mut fds = [PollFd::new(&*self.file, PollFlags::OUT)];
        matches!(
            poll(
                &mut fds,
                Some(&rustix::event::Timespec {
                    tv_sec: 0,
                    tv_nsec: 0
                })
            ),
            Ok(1)
        ) && fds[0].revents().contains(PollFlags::OUT)
    }
}

fn duplicate(fd: impl AsFd) -> io::Result<Arc<File>> {
    let fd: OwnedFd = fd.as_fd().try_clone_to_owned()?;
    Ok(Arc::new(File::from(fd)))
}

/// Copies our standard input to the command's until either ends. Reading has a thread of its own, because a terminal
/// or a pipe may never become readable.
pub(crate) async fn forward(mut stdin: Stdin) {
    let (sender, mut chunks) = mpsc::channel::<Bytes>(STDIN_QUEUE);
    let reader = std::thread::Builder::new()
        .name("baton-stdin".into())
        .spawn(move || read(&sender));
    if reader.is_ok() {
        while let Some(chunk) = chunks.recv().await {
            if stdin.write(chunk).await.is_err() {
                // The command no longer reads; what it says next tells why.
                return;
            }
        }
    }
    // It may have ended first.
    let _ = stdin.close().await;
}

fn read(sender: &mpsc::Sender<Bytes>) {
    let mut buffer = vec![0; STDIN_READ];
    let mut input = io::stdin().lock();
    loop {
        match input.read(&mut buffer) {
            // An input that cannot be read is one without content.
            Ok(0) => return,
            Ok(len) => {
                if sender
                    .blocking_send(Bytes::copy_from_slice(&buffer[..len]))
                    .is_err()
                {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
