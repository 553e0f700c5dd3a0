//! The ends of a child's pipes that are ours. They grow when they carry bulk.
//!
//! A pipe holds 64 KiB, so a child that writes as fast as it can changes places with us for each 64 KiB, and on a busy machine that
//! costs more than the bytes do. One that has been found (nearly) full a few times is enlarged, and again when that goes on. What a user's pipes may hold
//! together is limited by the system, so there are only so many at a time; the others, and all where the system says no, stay as
//! they are.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::pipe::fcntl_setpipe_size;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{BULK_PIECE_BYTES, BULK_STEPS};

/// The places for large pipes, shared by all children: of each step its own, so that streams which stopped after they had grown leave
/// others at least the smaller ones.
#[derive(Debug, Clone)]
pub(super) struct Room([Arc<Semaphore>; BULK_STEPS.len()]);

impl Room {
    pub(super) fn new() -> Self {
        Self(BULK_STEPS.map(|step| Arc::new(Semaphore::new(step.places))))
    }
}

/// Our end of one pipe: a [`Receiver`] or a [`Sender`].
#[derive(Debug)]
pub struct Pipe<P> {
    end: P,
    /// How often it was found full since it last grew.
    full: u32,
    /// The next of [`BULK_STEPS`]; beyond the last it stays as it is.
    next: usize,
    /// Its place among those that grew as far.
    place: Option<OwnedSemaphorePermit>,
    room: Room,
}

impl<P: AsFd> Pipe<P> {
    pub(super) fn new(end: P, room: Room) -> Self {
        Self {
            end,
            full: 0,
            next: 0,
            place: None,
            room,
        }
    }

    /// It was found full.
    fn was_full(&mut self) {
        let (Some(step), Some(places)) = (BULK_STEPS.get(self.next), self.room.0.get(self.next)) else {
            return;
        };
        self.full += 1;
        if self.full < step.pieces {
            return;
        }
        // If there is no place now, perhaps there is one later.
        self.full = 0;
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            match fcntl_setpipe_size(&self.end, step.bytes) {
                Ok(_) => {
                    self.place = Some(place);
                    self.next += 1;
                }
                // The system does not want it larger.
                Err(_) => self.next = BULK_STEPS.len(),
            }
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
        ready!(Pin::new(&mut self.end).poll_read(cx, buffer))?;
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

    /// A pipe whose reading end is ours, and its size.
    fn reading(room: &Room) -> (Pipe<Receiver>, std::fs::File) {
        let (sender, receiver) = pipe().unwrap();
        let theirs = sender.into_blocking_fd().unwrap();
        (Pipe::new(receiver, room.clone()), theirs.into())
    }

    /// Passes so many pieces of so many bytes, each read whole.
    async fn pass(pipe: &mut Pipe<Receiver>, theirs: &mut std::fs::File, pieces: u32, len: usize) {
        let mut buffer = vec![0; len];
        for _ in 0..pieces {
            theirs.write_all(&vec![7; len]).unwrap();
            assert_eq!(pipe.read(&mut buffer).await.unwrap(), len);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_pipe_that_is_read_in_large_pieces_grows_step_by_step() {
        let room = Room::new();
        let (mut pipe, mut theirs) = reading(&room);
        let mut size = USUAL;
        for step in BULK_STEPS {
            pass(&mut pipe, &mut theirs, step.pieces - 1, BULK_PIECE_BYTES).await;
            assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), size);
            pass(&mut pipe, &mut theirs, 1, BULK_PIECE_BYTES).await;
            size = step.bytes;
            assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), size);
        }
        pass(&mut pipe, &mut theirs, LARGE.pieces, USUAL).await;
        let free = || [0, 1].map(|step: usize| room.0[step].available_permits());
        assert_eq!(free(), [BULK.places, LARGE.places - 1]);
        drop(pipe);
        assert_eq!(free(), [BULK.places, LARGE.places]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn talk_does_not_make_a_pipe_grow() {
        let (mut pipe, mut theirs) = reading(&Room::new());
        pass(&mut pipe, &mut theirs, 100 * BULK.pieces, 4096).await;
        assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), USUAL);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn no_more_pipes_grow_than_there_are_places_for() {
        let room = Room::new();
        let mut grown = Vec::new();
        for _ in 0..BULK.places {
            let (mut pipe, mut theirs) = reading(&room);
            pass(&mut pipe, &mut theirs, BULK.pieces, USUAL).await;
            grown.push(pipe);
        }
        let (mut pipe, mut theirs) = reading(&room);
        pass(&mut pipe, &mut theirs, BULK.pieces, USUAL).await;
        assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), USUAL);
        grown.pop();
        pass(&mut pipe, &mut theirs, BULK.pieces, USUAL).await;
        assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), BULK.bytes);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn large_pipes_whose_streams_have_stopped_leave_others_a_place() {
        let room = Room::new();
        let mut stopped = Vec::new();
        for _ in 0..LARGE.places {
            let (mut pipe, mut theirs) = reading(&room);
            pass(&mut pipe, &mut theirs, BULK.pieces + LARGE.pieces, USUAL).await;
            assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), LARGE.bytes);
            stopped.push(pipe);
        }
        let (mut pipe, mut theirs) = reading(&room);
        pass(&mut pipe, &mut theirs, BULK.pieces + LARGE.pieces, USUAL).await;
        assert_eq!(fcntl_getpipe_size(&theirs).unwrap(), BULK.bytes);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_pipe_that_takes_less_than_it_is_given_grows() {
        let (sender, receiver) = pipe().unwrap();
        let mut theirs = std::fs::File::from(receiver.into_blocking_fd().unwrap());
        let mut pipe = Pipe::new(sender, Room::new());
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
