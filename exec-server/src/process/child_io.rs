//! This process's ends of a child's standard streams: pipes, or a terminal.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};

use super::pipe::Pipe;
use super::terminal::{TerminalInput, TerminalOutput};

/// What a child reads.
#[derive(Debug)]
pub enum ChildInput {
    /// A pipe, whose end closes it.
    Pipe(Pipe<Sender>),
    /// A terminal, into which the end is typed.
    Terminal(TerminalInput),
}

/// What a child writes.
#[derive(Debug)]
pub enum ChildOutput {
    /// A pipe.
    Pipe(Pipe<Receiver>),
    /// A terminal.
    Terminal(TerminalOutput),
    /// Nothing: the standard error of a child with a terminal.
    Nothing,
}

impl ChildOutput {
    /// As [`Pipe::release_child_end`].
    pub(super) fn release_child_end(&mut self) {
        if let Self::Pipe(pipe) = self {
            pipe.release_child_end();
        }
    }

    /// As [`Pipe::read_directly`].
    pub(super) fn read_directly(&mut self) {
        if let Self::Pipe(pipe) = self {
            pipe.read_directly();
        }
    }
}

impl AsyncRead for ChildOutput {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buffer),
            Self::Terminal(terminal) => Pin::new(terminal).poll_read(cx, buffer),
            Self::Nothing => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for ChildInput {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Pipe(pipe) => Pin::new(pipe).poll_write(cx, data),
            Self::Terminal(terminal) => Pin::new(terminal).poll_write(cx, data),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Pipe(pipe) => Pin::new(pipe).poll_flush(cx),
            Self::Terminal(terminal) => Pin::new(terminal).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Pipe(pipe) => Pin::new(pipe).poll_shutdown(cx),
            Self::Terminal(terminal) => Pin::new(terminal).poll_shutdown(cx),
        }
    }
}
