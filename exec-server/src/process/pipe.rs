//! This process's ends of a child's pipes. They grow when they carry bulk, and do not wake this process for a child
//! that is about to exit.
//!
//! A pipe holds 64 KiB, so a child that writes as fast as it can needs a context switch for each 64 KiB, which on a
//! busy machine costs more than copying the bytes. A pipe that was about full a few times is enlarged, and later a
//! second time. The system limits the total capacity of a user's pipes, so the number of large pipes is limited. All
//! others keep their capacity, also where the system refuses a larger one.
//!
//! A child that exits closes its pipes first, one by one. The end of each would wake this process, and the exit would
//! wake it again a moment later. So the child's ends are held open in this process as well, until the child has exited.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::pipe::fcntl_setpipe_size;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{BULK_PIECE_BYTES, BULK_STEPS, HOLD_CHILD_ENDS_BELOW};

/// The slots for large pipes, shared by all children. Each step has its own, so that streams which stopped after they
/// had grown leave others the slots of the smaller step.
#[derive(Debug, Clone)]
pub(super) struct LargePipeSlots([Arc<Semaphore>; BULK_STEPS.len()]);

impl LargePipeSlots {
    pub(super) fn new() -> Self {
        Self(BULK_STEPS.map(|step| Arc::new(Semaphore::new(step.slots))))
    }
}

/// This process's end of one pipe: a [`Receiver`] or a [`Sender`].
#[derive(Debug)]
pub struct Pipe<P> {
    end: P,
    /// How often it was about full since it last grew.
    full: u32,
    /// The index of the next of [`BULK_STEPS`]; beyond the last it does not grow.
    next: usize,
    /// Its slot of the last step.
    slot: Option<OwnedSemaphorePermit>,
    slots: LargePipeSlots,
    /// The child's end, while this process holds it open.
    child_end: Option<OwnedFd>,
    /// The pipe may be at its end, and the runtime has no event for that: read without the runtime.
    read_directly: bool,
}

impl<P: AsFd> Pipe<P> {
    pub(super) fn new(end: P, slots: LargePipeSlots) -> Self {
        Self {
            end,
            full: 0,
            next: 0,
            slot: None,
            slots,
            child_end: None,
            read_directly: false,
        }
    }

    /// Counts that the pipe was about full, and enlarges it if a step is due.
    fn was_full(&mut self) {
        let (Some(step), Some(slots)) = (BULK_STEPS.get(self.next), self.slots.0.get(self.next)) else {
            return;
        };
        self.full += 1;
        if self.full < step.pieces {
            return;
        }
        // If there is no free slot now, the step is tried again later.
        self.full = 0;
        if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
            match fcntl_setpipe_size(&self.end, step.bytes) {
                Ok(_) => {
                    self.slot = Some(slot);
                    self.next += 1;
                }
                // The system refuses a larger pipe.
                Err(_) => self.next = BULK_STEPS.len(),
            }
        }
    }
}

impl Pipe<Receiver> {
    /// Holds the child's end open until [`Pipe::release_child_end`], or closes it at once if the server has many
    /// descriptors already.
    pub(super) fn holding_child_end(mut self, theirs: OwnedFd) -> Self {
        if theirs.as_raw_fd() < HOLD_CHILD_ENDS_BELOW {
            self.child_end = Some(theirs);
        }
        self
    }

    /// Closes the child's end, since the child has exited. The pipe is at its end when the child's descendants have
    /// closed it as well.
    pub(super) fn release_child_end(&mut self) {
        self.read_directly = self.child_end.take().is_some();
    }

    /// The next read does not wait for the runtime to tell of an event.
    pub(super) fn read_directly(&mut self) {
        self.read_directly = true;
    }

    /// Reads without the runtime, which learns of the end only when it polls for events again.
    fn read_now(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<bool> {
        match rustix::io::read(&self.end, buffer.initialize_unfilled()) {
            Ok(read) => {
                buffer.advance(read);
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsyncRead for Pipe<Receiver> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        self.read_directly = self.read_directly && self.read_now(buffer)?;
        if !self.read_directly {
            ready!(Pin::new(&mut self.end).poll_read(cx, buffer))?;
        }
        if buffer.filled().len() - before >= BULK_PIECE_BYTES {
            self.was_full();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe<Sender> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.end).poll_write(cx, data))?;
        if written < data.len() && data.len() >= BULK_PIECE_BYTES {
            self.was_full();
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use rustix::pipe::fcntl_getpipe_size;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::unix::pipe::pipe;

    use super::*;
    use crate::limits::BulkStep;

    const USUAL: usize = 64 * 1024;
    const BULK: BulkStep = BULK_STEPS[0];
    const LARGE: BulkStep = BULK_STEPS[1];

    /// A pipe whose reading end is this process's, and its writing end.
    fn reading(slots: &LargePipeSlots) -> (Pipe<Receiver>, std::fs::File) {
        let (sender, receiver) = pipe().unwrap();
        let theirs = sender.into_blocking_fd().unwrap();
        (Pipe::new(receiver, slots.clone()), theirs.into())
    }

    /// Writes and reads `pieces` pieces of `len` bytes, each in one read.
    async fn pass(pipe: &mut Pipe<Receiver>, theirs: &mut std::fs::File, pieces: u32, len: usize) {
        let mut buffer = vec![0; len];
        for _ in 0..pieces {
            theirs.write_all(&vec![7; len]).unwrap();
            assert_eq!(pipe.read(&mut buffer).await.unwrap(), len);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_pipe_that_is_read_in_large_pieces_grows_step_by_step() {
        let slots = LargePipeSlots::new();
        let (mut pipe, mut theirs) = reading(&slots);
        let mut size = USUAL;
        for step in BULK_STEPS {
            pass(&mut pipe, &mut theirs, step.pieces - 1, BULK_PIECE_BYTES).await;
            assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), size);
            pass(&mut pipe, &mut theirs, 1, BULK_PIECE_BYTES).await;
            size = step.bytes;
            assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), size);
        }
        pass(&mut pipe, &mut theirs, LARGE.pieces, USUAL).await;
        let free = || [0, 1].map(|step: usize| slots.0[step].available_permits());
        assert_eq!(free(), [BULK.slots, LARGE.slots - 1]);
        drop(pipe);
        assert_eq!(free(), [BULK.slots, LARGE.slots]);
    }

    /// The result of a read that does not wait.
    fn at_once(pipe: &mut Pipe<Receiver>) -> Option<Vec<u8>> {
        let mut buffer = [0; 16];
        let mut buffer = ReadBuf::new(&mut buffer);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match Pin::new(pipe).poll_read(&mut cx, &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().to_vec()).ok(),
            Poll::Pending => None,
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_pipe_that_is_held_ends_when_the_child_has_exited_and_without_a_further_event() {
        // Children of other tests hold copies of open descriptors for a moment, so one success in several attempts is
        // enough.
        let mut ends = 0;
        for _ in 0..20 {
            let (mut pipe, mut theirs) = reading(&LargePipeSlots::new());
            pipe.child_end = Some(theirs.try_clone().unwrap().into());
            theirs.write_all(b"last words").unwrap();
            drop(theirs);
            let mut buffer = [0; 16];
            assert_eq!(pipe.read(&mut buffer).await.unwrap(), 10);
            assert_eq!(at_once(&mut pipe), None, "the child may be there still");
            pipe.release_child_end();
            ends += usize::from(at_once(&mut pipe) == Some(vec![]));
        }
        assert!(ends > 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_pipe_that_was_held_gives_what_is_in_it_and_waits_for_descendants() {
        let (mut pipe, mut theirs) = reading(&LargePipeSlots::new());
        pipe.child_end = Some(theirs.try_clone().unwrap().into());
        theirs.write_all(b"one").unwrap();
        pipe.release_child_end();
        assert_eq!(at_once(&mut pipe), Some(b"one".to_vec()));
        assert_eq!(at_once(&mut pipe), None);
        theirs.write_all(b"two").unwrap();
        drop(theirs);
        let mut rest = Vec::new();
        pipe.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"two");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_server_with_many_descriptors_holds_no_further_ones() {
        let (pipe, theirs) = reading(&LargePipeSlots::new());
        // Other tests have descriptors too.
        let is_low = theirs.as_raw_fd() < HOLD_CHILD_ENDS_BELOW;
        assert_eq!(pipe.holding_child_end(theirs.into()).child_end.is_some(), is_low);

        let (pipe, theirs) = reading(&LargePipeSlots::new());
        let high = rustix::io::fcntl_dupfd_cloexec(&theirs, HOLD_CHILD_ENDS_BELOW).unwrap();
        drop(theirs);
        let mut pipe = pipe.holding_child_end(high);
        let mut buffer = [0; 1];
        assert_eq!(pipe.read(&mut buffer).await.unwrap(), 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn small_pieces_do_not_make_a_pipe_grow() {
        let (mut pipe, mut theirs) = reading(&LargePipeSlots::new());
        pass(&mut pipe, &mut theirs, 100 * BULK.pieces, 4096).await;
        assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), USUAL);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn no_more_pipes_grow_than_there_are_slots() {
        let slots = LargePipeSlots::new();
        let mut grown = Vec::new();
        for _ in 0..BULK.slots {
            let (mut pipe, mut theirs) = reading(&slots);
            pass(&mut pipe, &mut theirs, BULK.pieces, USUAL).await;
            grown.push(pipe);
        }
        let (mut pipe, mut theirs) = reading(&slots);
        pass(&mut pipe, &mut theirs, BULK.pieces, USUAL).await;
        assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), USUAL);
        grown.pop();
        pass(&mut pipe, &mut theirs, BULK.pieces, USUAL).await;
        assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), BULK.bytes);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn large_pipes_whose_streams_have_stopped_leave_others_a_slot() {
        let slots = LargePipeSlots::new();
        let mut stopped = Vec::new();
        for _ in 0..LARGE.slots {
            let (mut pipe, mut theirs) = reading(&slots);
            pass(&mut pipe, &mut theirs, BULK.pieces + LARGE.pieces, USUAL).await;
            assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), LARGE.bytes);
            stopped.push(pipe);
        }
        let (mut pipe, mut theirs) = reading(&slots);
        pass(&mut pipe, &mut theirs, BULK.pieces + LARGE.pieces, USUAL).await;
        assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), BULK.bytes);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_pipe_with_incomplete_writes_grows() {
        let (sender, receiver) = pipe().unwrap();
        let mut theirs = std::fs::File::from(receiver.into_blocking_fd().unwrap());
        let mut pipe = Pipe::new(sender, LargePipeSlots::new());
        let data = vec![7; USUAL + BULK_PIECE_BYTES];
        let mut buffer = vec![0; USUAL];
        for _ in 0..BULK.pieces {
            assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), USUAL);
            assert_eq!(pipe.write(&data).await.unwrap(), USUAL);
            theirs.read_exact(&mut buffer).unwrap();
        }
        assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), BULK.bytes);
        assert_eq!(pipe.write(&data).await.unwrap(), data.len());
    }
}
