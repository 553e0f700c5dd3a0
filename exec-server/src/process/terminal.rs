//! The terminal of a process: a pseudo-terminal, whose other side this process reads and writes.
//!
//! Its end is not that of a pipe. When no process has it open any more, reading it is an error of the operating system,
//! which means the end here. And its input does not end by closing, which would hang the terminal up: its special
//! character for the end of a file is written.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use baton_proto::exec::WindowSize;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Winsize, tcgetattr, tcsetattr, tcsetwinsize,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A size that no terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WindowSizeError;

/// The size in a request, checked.
pub(super) fn window_size(size: &WindowSize) -> Result<Winsize, WindowSizeError> {
    let checked = |number: u32| u16::try_from(number).map_err(|_| WindowSizeError);
    Ok(Winsize {
        ws_row: checked(size.rows)?,
        ws_col: checked(size.columns)?,
        ws_xpixel: checked(size.width_pixels)?,
        ws_ypixel: checked(size.height_pixels)?,
    })
}

/// This process's side of a terminal.
#[derive(Debug)]
pub struct Terminal(AsyncFd<OwnedFd>);

/// Its input: what a person would type.
#[derive(Debug)]
pub struct TerminalInput {
    terminal: Arc<Terminal>,
    /// Nothing was written since the last line, so that one special character is an end of file.
    at_line_start: bool,
}

/// Its output: what a person would see.
#[derive(Debug)]
pub struct TerminalOutput(Arc<Terminal>);

impl Terminal {
    /// A new terminal of this size, and the process's side of it. Must be called in a tokio runtime.
    #[expect(
        deprecated,
        reason = "it is deprecated for types whose descriptor may change, unlike an OwnedFd; its successor is unsafe"
    )]
    pub(super) fn open(size: Winsize) -> io::Result<(Arc<Self>, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        unlockpt(&ours)?;
        let theirs = ioctl_tiocgptpeer(&ours, flags)?;
        tcsetwinsize(&ours, size)?;
        let mut modes = tcgetattr(&theirs)?;
        // Erasing a character erases all its bytes.
        modes.input_modes |= InputModes::IUTF8;
        tcsetattr(&theirs, OptionalActions::Now, &modes)?;
        fcntl_setfl(&ours, OFlags::NONBLOCK)?;
        Ok((Arc::new(Self(AsyncFd::new(ours)?)), theirs))
    }

    /// Sets its size. The foreground process group gets SIGWINCH if that changes anything.
    pub(super) fn resize(&self, size: Winsize) {
        // The terminal may have been hung up.
        let _ = tcsetwinsize(&self.0, size);
    }

    pub(super) fn ends(self: &Arc<Self>) -> (TerminalInput, TerminalOutput) {
        let input = TerminalInput {
            terminal: Arc::clone(self),
            at_line_start: true,
        };
        (input, TerminalOutput(Arc::clone(self)))
    }

    /// The special character for the end of a file, while the terminal heeds it.
    fn end_of_file(&self) -> Option<u8> {
        let modes = tcgetattr(&self.0).ok()?;
        let end = modes.special_codes[SpecialCodeIndex::VEOF];
        (modes.local_modes.contains(LocalModes::ICANON) && end != 0).then_some(end)
    }
}

/// Reads output; 0 is the end, when no process has the terminal open.
///
/// Linux first looks for output and then whether anybody has the terminal open. A process that writes and exits between
/// the two makes it tell the end although there is output. Nobody can write after that, so a second read decides.
fn read_output(terminal: impl AsFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    let mut read = || rustix::io::read(&terminal, &mut *buffer);
    match read().or_else(|error| if error == Errno::IO { read() } else { Err(error) }) {
        Err(Errno::IO) => Ok(0),
        read => read,
    }
}

impl AsyncRead for TerminalOutput {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.0.poll_read_ready(cx))?;
            let read = ready.try_io(|fd| Ok(read_output(fd, buffer.initialize_unfilled())?));
            match read {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(read) => {
                    buffer.advance(read?);
                    return Poll::Ready(Ok(()));
                }
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for TerminalInput {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.terminal.0.poll_write_ready(cx))?;
            let written = ready.try_io(|fd| Ok(rustix::io::write(fd, data)?));
            drop(ready);
            match written {
                Ok(Ok(written)) => {
                    if let Some(last) = written.checked_sub(1).and_then(|last| data.get(last)) {
                        self.at_line_start = matches!(last, b'\n' | b'\r');
                    }
                    return Poll::Ready(Ok(written));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Types the end of a file. After an unfinished line it takes two of them: the first passes that line on.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(end) = self.terminal.end_of_file() else {
            return Poll::Ready(Ok(()));
        };
        if !self.at_line_start {
            ready!(self.as_mut().poll_write(cx, &[end]))?;
            self.at_line_start = true;
        }
        self.poll_write(cx, &[end]).map_ok(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const SIZE: Winsize = Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };

    #[test]
    fn a_size_that_does_not_fit_is_refused() {
        let size = WindowSize {
            columns: 132,
            rows: 43,
            width_pixels: 1,
            height_pixels: 65_535,
        };
        let expected = Winsize {
            ws_row: 43,
            ws_col: 132,
            ws_xpixel: 1,
            ws_ypixel: 65_535,
        };
        assert_eq!(window_size(&size), Ok(expected));
        let too_large = WindowSize { rows: 65_536, ..size };
        assert_eq!(window_size(&too_large), Err(WindowSizeError));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_terminal_ends_when_nobody_has_it_open_and_gives_what_was_written_before() {
        let (terminal, theirs) = Terminal::open(SIZE).unwrap();
        let (_, mut output) = terminal.ends();
        assert_eq!(rustix::io::write(&theirs, b"last words\n"), Ok(11));
        drop(theirs);
        let mut all = Vec::new();
        output.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"last words\r\n");
    }

    /// Without the second read, about one in 20,000 is lost, so a run finds that in two of five cases.
    #[tokio::test]
    async fn last_words_are_not_lost_to_a_reader_that_is_reading_when_the_writer_leaves() {
        for round in 0..10_000_u32 {
            let (terminal, theirs) = Terminal::open(SIZE).unwrap();
            let writer = std::thread::spawn(move || {
                for _ in 0..round % 1_000 {
                    std::hint::spin_loop();
                }
                rustix::io::write(&theirs, b"last words").unwrap();
            });
            let mut all = Vec::new();
            let mut buffer = [0; 64];
            loop {
                match read_output(&terminal.0, &mut buffer) {
                    Ok(0) => break,
                    Ok(read) => all.extend_from_slice(&buffer[..read]),
                    Err(error) => assert_eq!(error, Errno::AGAIN),
                }
            }
            writer.join().unwrap();
            assert_eq!(all, b"last words", "in round {round}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_of_the_input_is_typed_and_passes_an_unfinished_line_on() {
        for (typed, lines) in [
            ("one\n", vec!["one\n", ""]),
            ("one", vec!["one", ""]),
            ("", vec![""]),
        ] {
            let (terminal, theirs) = Terminal::open(SIZE).unwrap();
            let (mut input, _output) = terminal.ends();
            input.write_all(typed.as_bytes()).await.unwrap();
            input.shutdown().await.unwrap();
            for line in lines {
                let mut buffer = [0; 16];
                let read = rustix::io::read(&theirs, &mut buffer[..]).unwrap();
                assert_eq!(String::from_utf8_lossy(&buffer[..read]), line, "of {typed:?}");
            }
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_program_that_reads_single_keys_gets_no_end() {
        let (terminal, theirs) = Terminal::open(SIZE).unwrap();
        let mut modes = tcgetattr(&theirs).unwrap();
        modes.make_raw();
        tcsetattr(&theirs, OptionalActions::Now, &modes).unwrap();
        let (mut input, _output) = terminal.ends();
        input.shutdown().await.unwrap();
        input.write_all(b"x").await.unwrap();
        let mut buffer = [0; 16];
        assert_eq!(rustix::io::read(&theirs, &mut buffer[..]), Ok(1));
        assert_eq!(buffer[0], b'x');
    }
}
