//! Runs transfers, a bounded number at a time: work that gives a client many messages or takes many from it, each on one
//! of its [`threads`](super::threads), which may wait for the file system and for the client.
//!
//! Clients share the slots by key, as in [`lookups`](super::lookups). The thread waits while its client does not take
//! what was read. When the client is gone, it ends at its next message. A thread that the file system holds up keeps its
//! slot; its client gets an error after [`LOOKUP_TIMEOUT`].

use std::vec::IntoIter;

use baton_channel::key::PublicKey;
use baton_channel::slots::{Slot, SlotLimits, Slots};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tonic::Status;

use super::error::FilesError;
use super::threads::Threads;
use crate::limits::{
    LOOKUP_TIMEOUT, SEARCH_STACK, SEARCHES_AT_ONCE, SEARCHES_QUEUE, SHARE_OF_FREE, TRANSFER_OUTBOX,
    TRANSFER_STACK, TRANSFER_THREAD_IDLE, TRANSFERS_AT_ONCE, TRANSFERS_QUEUE, WRITE_TIMEOUT,
};

/// See the [module](self). Clones share the slots.
#[derive(Clone)]
pub(super) struct Transfers {
    slots: Slots<PublicKey>,
    threads: Threads,
}

/// What a transfer's thread gives.
enum Given<T> {
    Message(T),
    /// The last: without it the thread has failed.
    End(Result<(), FilesError>),
}

/// Where a transfer's thread puts its messages.
pub(super) struct Outbox<T>(mpsc::Sender<Given<T>>);

/// The client does not want more.
#[derive(Debug)]
pub(super) struct Gone;

/// The messages of a transfer. Drop ends it at its next message.
pub(super) struct Transfer<T> {
    messages: Option<mpsc::Receiver<Given<T>>>,
}

impl<T> Outbox<T> {
    /// Waits until there is room. Only for threads outside of the runtime.
    pub(super) fn put(&self, message: T) -> Result<(), Gone> {
        self.0.blocking_send(Given::Message(message)).map_err(|_| Gone)
    }

    /// Fails if the client does not want more. Does not wait.
    pub(super) fn check(&self) -> Result<(), Gone> {
        match self.0.is_closed() {
            true => Err(Gone),
            false => Ok(()),
        }
    }
}

/// Where a transfer's thread gets its messages.
pub(super) struct Inbox<T> {
    arrived: IntoIter<T>,
    received: mpsc::Receiver<T>,
}

/// A transfer that takes messages. Drop tells the thread that there are no further ones.
pub(super) struct Reception<T, R> {
    pieces: Option<mpsc::Sender<T>>,
    answered: oneshot::Receiver<Result<R, FilesError>>,
}

/// Why a transfer's thread ends early.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(FilesError),
    Gone,
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<FilesError> for Stop {
    fn from(error: FilesError) -> Self {
        Self::Failed(error)
    }
}

impl Transfers {
    pub(super) fn new() -> Self {
        Self::with(TRANSFERS_AT_ONCE, TRANSFERS_QUEUE, TRANSFER_STACK)
    }

    /// For `Glob` and `Grep`, which take more of a processor and of memory than other transfers, so fewer run at once.
    pub(super) fn searches() -> Self {
        Self::with(SEARCHES_AT_ONCE, SEARCHES_QUEUE, SEARCH_STACK)
    }

    fn with(slots: usize, queue: usize, stack: usize) -> Self {
        let weight = SHARE_OF_FREE;
        Self {
            slots: Slots::new(SlotLimits { slots, weight, queue }),
            threads: Threads::new(TRANSFER_THREAD_IDLE, stack),
        }
    }

    /// Runs `work` on a thread, as soon as there is a slot.
    ///
    /// # Errors
    /// [`FilesError::Busy`]: no slot within [`LOOKUP_TIMEOUT`]. [`FilesError::Io`]: no thread.
    pub(super) async fn start<T: Send + 'static>(
        &self,
        client: PublicKey,
        work: impl FnOnce(&Outbox<T>) -> Result<(), Stop> + Send + 'static,
    ) -> Result<Transfer<T>, FilesError> {
        let (sender, messages) = mpsc::channel(TRANSFER_OUTBOX);
        let run = move |slot| {
            let outbox = Outbox(sender);
            let end = match work(&outbox) {
                Ok(()) => Ok(()),
                Err(Stop::Failed(error)) => Err(error),
                Err(Stop::Gone) => return,
            };
            // Before the end, so that a client that has it finds the slot free.
            drop(slot);
            let _ = outbox.0.blocking_send(Given::End(end));
        };
        let slot = self.slot(client).await?;
        self.threads.run(move || run(slot))?;
        Ok(Transfer {
            messages: Some(messages),
        })
    }

    /// Runs `work` on a thread. It takes messages, of which the first have arrived, and gives one answer.
    ///
    /// # Errors
    /// [`FilesError::Io`]: no thread.
    pub(super) fn receive<T: Send + 'static, R: Send + 'static>(
        &self,
        slot: Slot<PublicKey>,
        arrived: Vec<T>,
        work: impl FnOnce(&mut Inbox<T>) -> Result<R, FilesError> + Send + 'static,
    ) -> Result<Reception<T, R>, FilesError> {
        let (pieces, received) = mpsc::channel(TRANSFER_OUTBOX);
        let (answer, answered) = oneshot::channel();
        let run = move || {
            let mut inbox = Inbox {
                arrived: arrived.into_iter(),
                received,
            };
            let answered = work(&mut inbox);
            drop(slot);
            let _ = answer.send(answered);
        };
        self.threads.run(run)?;
        Ok(Reception {
            pieces: Some(pieces),
            answered,
        })
    }

    /// Waits for a slot of the client's share.
    ///
    /// # Errors
    /// [`FilesError::Busy`]: none within [`LOOKUP_TIMEOUT`].
    pub(super) async fn slot(&self, client: PublicKey) -> Result<Slot<PublicKey>, FilesError> {
        let request = self.slots.request(client).map_err(|_| FilesError::Busy)?;
        let granted = timeout(LOOKUP_TIMEOUT, request.granted()).await;
        granted.map_err(|_| FilesError::Busy)
    }
}

impl<T> Inbox<T> {
    /// Waits for the next message. `None`: there is none any more. Only for threads outside of the runtime.
    pub(super) fn take(&mut self) -> Option<T> {
        self.arrived.next().or_else(|| self.received.blocking_recv())
    }
}

impl<T: Send, R> Reception<T, R> {
    /// Gives a message to the thread; waits until it has room. `Some`: the thread has ended with this answer.
    ///
    /// # Errors
    /// [`FilesError::WriteTimedOut`]: no room within [`WRITE_TIMEOUT`]. What the thread has failed with.
    pub(super) async fn give(&mut self, message: T) -> Result<Option<R>, FilesError> {
        let Some(pieces) = &self.pieces else {
            return self.answer().await.map(Some);
        };
        match timeout(WRITE_TIMEOUT, pieces.send(message)).await {
            Ok(Ok(())) => Ok(None),
            Ok(Err(_)) => self.answer().await.map(Some),
            Err(_) => Err(FilesError::WriteTimedOut),
        }
    }

    /// Waits for the thread's answer without giving more. Cancellation safe.
    ///
    /// # Errors
    /// What the thread has failed with.
    pub(super) async fn early_answer(&mut self) -> Result<R, FilesError> {
        let lost = || FilesError::Io(std::io::Error::other("a transfer has failed"));
        (&mut self.answered).await.unwrap_or_else(|_| Err(lost()))
    }

    /// Tells the thread that there are no further messages, and waits for its answer.
    ///
    /// # Errors
    /// [`FilesError::WriteTimedOut`]: no answer within [`WRITE_TIMEOUT`]. What the thread has failed with.
    pub(super) async fn answer(&mut self) -> Result<R, FilesError> {
        self.pieces = None;
        let answer = timeout(WRITE_TIMEOUT, self.early_answer()).await;
        answer.unwrap_or(Err(FilesError::WriteTimedOut))
    }
}

impl<T: Send + 'static> Transfer<T> {
    /// The next message; `None` after the last. Cancellation safe.
    ///
    /// # Errors
    /// What the thread failed with. [`FilesError::TimedOut`]: it gave nothing for [`LOOKUP_TIMEOUT`].
    pub(super) async fn next(&mut self) -> Result<Option<T>, FilesError> {
        let Some(messages) = &mut self.messages else {
            return Ok(None);
        };
        match timeout(LOOKUP_TIMEOUT, messages.recv()).await {
            Ok(Some(Given::Message(message))) => Ok(Some(message)),
            Ok(Some(Given::End(end))) => {
                self.messages = None;
                end.map(|()| None)
            }
            Ok(None) => {
                self.messages = None;
                Err(FilesError::Io(std::io::Error::other("a transfer has failed")))
            }
            Err(_) => {
                self.messages = None;
                Err(FilesError::TimedOut)
            }
        }
    }

    /// The answer of a call. Waits for the first message, so that an error of the beginning is the call's.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub(super) async fn into_answer(mut self) -> Result<BoxStream<'static, Result<T, Status>>, FilesError> {
        let Some(first) = self.next().await? else {
            return Ok(stream::empty().boxed());
        };
        let rest = stream::unfold(self, |mut transfer| async move {
            let message = transfer.next().await.map_err(Status::from).transpose()?;
            Some((message, transfer))
        });
        Ok(stream::iter([Ok(first)]).chain(rest).boxed())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as blocking;

    use super::*;

    fn key(client: u8) -> PublicKey {
        PublicKey::from_bytes([client; 32])
    }

    async fn until_free(transfers: &Transfers) {
        while transfers.slots.taken() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn messages_arrive_in_order_and_the_slot_is_free_at_the_end() {
        let transfers = Transfers::new();
        let work = |outbox: &Outbox<u32>| (0..100).try_for_each(|n| Ok(outbox.put(n)?));
        let transfer = transfers.start(key(1), work).await.unwrap();
        let answer: Vec<_> = transfer.into_answer().await.unwrap().collect().await;
        let numbers: Vec<u32> = answer.into_iter().map(Result::unwrap).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
        assert_eq!(transfers.slots.taken(), 0);
    }

    #[tokio::test]
    async fn a_transfer_nobody_reads_ends_and_a_failed_one_is_an_error_and_no_end() {
        let transfers = Transfers::new();
        let endless = |outbox: &Outbox<u32>| {
            loop {
                outbox.put(7)?;
            }
        };
        drop(transfers.start(key(1), endless).await.unwrap());
        until_free(&transfers).await;

        let work = |outbox: &Outbox<u32>| {
            outbox.put(1)?;
            Err(FilesError::NotRegular.into())
        };
        let mut failed = transfers.start(key(1), work).await.unwrap();
        assert_eq!(failed.next().await.unwrap(), Some(1));
        assert!(matches!(failed.next().await, Err(FilesError::NotRegular)));
        assert!(failed.next().await.unwrap().is_none());

        let mut panicked = transfers
            .start(key(1), |_: &Outbox<u32>| panic!("on purpose"))
            .await
            .unwrap();
        assert!(matches!(panicked.next().await, Err(FilesError::Io(_))));
        until_free(&transfers).await;
    }

    #[tokio::test(start_paused = true)]
    async fn transfers_that_hang_fail_in_time_and_leave_slots_to_other_keys() {
        let transfers = Transfers::new();
        let (release, held) = blocking::channel::<()>();
        let held = std::sync::Arc::new(std::sync::Mutex::new(held));
        let hang = || {
            let held = std::sync::Arc::clone(&held);
            move |_: &Outbox<u32>| {
                let _ = held.lock().unwrap().recv();
                Ok(())
            }
        };
        let mut hung = Vec::new();
        let refused = loop {
            match transfers.start(key(1), hang()).await {
                Ok(transfer) => hung.push(transfer),
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, FilesError::Busy), "{refused:?}");
        assert_eq!(hung.len(), TRANSFERS_AT_ONCE / 4 * 3);
        let error = hung[0].next().await.unwrap_err();
        assert!(matches!(error, FilesError::TimedOut), "{error:?}");
        tokio::time::resume();
        let mut other = transfers
            .start(key(2), |outbox| Ok(outbox.put(5)?))
            .await
            .unwrap();
        assert_eq!(other.next().await.unwrap(), Some(5));
        drop(release);
        until_free(&transfers).await;
    }
}
