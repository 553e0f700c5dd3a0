//! Our own words on our standard streams, and a command's standard input from ours.

use std::io::{self, Write as _};
use std::os::fd::AsFd;

use baton_client::Stdin;
use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::pipe::fcntl_setpipe_size;
use tokio::sync::mpsc;

use crate::error::CliError;
use crate::limits::{BULK, BULK_PIPE, SMALL_READ, STDIN_QUEUE, STDIN_READ};

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

/// A pipe to or from us that carries much is enlarged, once: each time it is full or empty two programs change places.
#[derive(Debug, Default)]
pub(crate) struct Growing {
    carried: usize,
}

impl Growing {
    /// So many more bytes went through it. It may be no pipe.
    pub(crate) fn carried(&mut self, fd: impl AsFd, bytes: usize) {
        let before = self.carried;
        self.carried = before.saturating_add(bytes);
        if before < BULK && self.carried >= BULK {
            // What is no pipe, or may not grow, stays as it is.
            let _ = fcntl_setpipe_size(fd, BULK_PIPE);
        }
    }
}

/// Copies our standard input to the command's until either ends. Reading has a thread of its own, because a terminal
/// or a pipe may never become readable.
pub(crate) async fn forward(mut stdin: Stdin) {
    let (sender, mut chunks) = mpsc::channel::<Bytes>(STDIN_QUEUE);
    let reader = std::thread::Builder::new()
        .name("baton-stdin".into())
        .spawn(move || read(io::stdin(), &sender));
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

fn read(input: impl AsFd, sender: &mpsc::Sender<Bytes>) {
    let mut growing = Growing::default();
    let mut buffer = Vec::new();
    loop {
        buffer.reserve(STDIN_READ);
        let len = match rustix::io::read(&input, spare_capacity(&mut buffer)) {
            // An input that cannot be read is one without content.
            Ok(0) => return,
            Ok(len) => len,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
        };
        growing.carried(&input, len);
        // What is typed must not pin a large buffer with each key.
        let chunk = if len <= SMALL_READ {
            let chunk = Bytes::copy_from_slice(&buffer);
            buffer.clear();
            chunk
        } else {
            std::mem::take(&mut buffer).into()
        };
        if sender.blocking_send(chunk).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

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
        let sizes = [1, 70_000, 3, SMALL_READ, SMALL_READ + 1, BULK, 2 * BULK_PIPE];
        let writing = std::thread::spawn(move || {
            let mut writer = File::from(writer);
            for (index, size) in sizes.into_iter().enumerate() {
                writer.write_all(&vec![index as u8; size]).unwrap();
            }
        });
        let mut received = vec![0; sizes.len()];
        let mut latest = 0;
        while let Some(chunk) = chunks.blocking_recv() {
            assert!(chunk.len() <= STDIN_READ);
            for byte in chunk {
                assert!(byte >= latest, "out of order");
                latest = byte;
                received[usize::from(byte)] += 1;
            }
        }
        writing.join().unwrap();
        assert_eq!(received, sizes);
        assert_eq!(reading.join().unwrap(), BULK_PIPE);
    }

    #[test]
    fn what_is_no_pipe_is_left_as_it_is() {
        let mut growing = Growing::default();
        growing.carried(File::open("/dev/null").unwrap(), 10 * BULK);
    }
}
