//! The requests of a command that may outlive its session. A later call sends again what the process has not taken.
//!
//! Standard input is kept until the exec-server reports that the process has taken it. The other requests are sent once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_proto::exec::run_request::Kind;
use baton_proto::exec::{Attached, RunRequest, Stdin, StdinClose, WindowSize};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc};

use crate::limits::STDIN_KEPT_BYTES;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Outbox {
    queued: AsyncMutex<mpsc::Receiver<RunRequest>>,
    kept: Mutex<KeptInput>,
    /// Notified when there is room for input again.
    room: Notify,
}

/// Input that was taken out of the queue.
#[derive(Debug)]
struct KeptInput {
    /// Contiguous, up to `end`.
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// The offset behind the last chunk.
    end: u64,
    /// The end of the input has followed.
    is_closed: bool,
    /// The exec-server reports what the process has taken. Otherwise nothing is kept once it is sent.
    is_reported: bool,
    /// The process takes no more input.
    is_refused: bool,
    /// The last size of the terminal, which another call sends again.
    size: Option<WindowSize>,
}

/// The position of one call.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    offset: u64,
    has_closed: bool,
    /// What is sent before all else.
    size: Option<WindowSize>,
}

impl Outbox {
    pub(crate) fn new(queued: mpsc::Receiver<RunRequest>) -> Arc<Self> {
        Arc::new(Self {
            queued: AsyncMutex::new(queued),
            kept: Mutex::new(KeptInput {
                chunks: VecDeque::new(),
                bytes: 0,
                end: 0,
                is_closed: false,
                is_reported: true,
                is_refused: false,
                size: None,
            }),
            room: Notify::new(),
        })
    }

    /// The exec-server does not report what the process takes.
    pub(crate) fn is_not_reported(&self) {
        self.kept().is_reported = false;
        self.room.notify_one();
    }

    /// The process has taken its input up to here.
    pub(crate) fn taken(&self, offset: u64) {
        self.kept().forget(offset);
        self.room.notify_one();
    }

    /// A call has attached: the process takes its input from here on. Without a call before, the input begins there.
    pub(crate) fn attached(&self, attached: &Attached, is_first: bool) {
        let mut kept = self.kept();
        if is_first {
            kept.end = attached.stdin_offset;
        }
        kept.is_refused |= attached.stdin_closed;
        kept.forget(attached.stdin_offset);
        drop(kept);
        self.room.notify_one();
    }

    /// The requests of one call, with the input from `offset` on. One stream at a time: it has the queue.
    pub(crate) fn requests(self: Arc<Self>, offset: u64) -> impl Stream<Item = RunRequest> + Send {
        let cursor = Cursor {
            offset,
            has_closed: false,
            size: self.kept().size,
        };
        stream::unfold((self, cursor), |(outbox, mut cursor)| async move {
            let request = outbox.next(&mut cursor).await?;
            Some((request, (outbox, cursor)))
        })
    }

    /// Cancellation safe: input that was taken out of the queue is kept.
    async fn next(&self, cursor: &mut Cursor) -> Option<RunRequest> {
        loop {
            if let Some(size) = cursor.size.take() {
                let kind = Some(Kind::Resize(size));
                return Some(RunRequest { kind });
            }
            if let Some(kind) = self.kept().after(cursor) {
                return Some(RunRequest { kind: Some(kind) });
            }
            while !self.kept().has_room() {
                self.room.notified().await;
            }
            let request = self.queued.lock().await.recv().await?;
            let mut kept = self.kept();
            match request.kind {
                Some(Kind::Stdin(chunk)) => kept.push(chunk.data),
                Some(Kind::StdinClose(_)) => kept.is_closed = true,
                other => {
                    if let Some(Kind::Resize(size)) = &other {
                        kept.size = Some(*size);
                    }
                    return Some(RunRequest { kind: other });
                }
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, KeptInput> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptInput {
    fn push(&mut self, data: Bytes) {
        if self.is_refused || data.is_empty() {
            return;
        }
        self.end += data.len() as u64;
        self.bytes += data.len();
        self.chunks.push_back(data);
    }

    fn has_room(&self) -> bool {
        self.bytes < STDIN_KEPT_BYTES || !self.is_reported || self.is_refused
    }

    /// The offset of the first chunk.
    fn begin(&self) -> u64 {
        self.end - self.bytes as u64
    }

    /// Forgets the input before `offset`; a part of a chunk, too.
    fn forget(&mut self, offset: u64) {
        if self.is_refused {
            self.chunks.clear();
            self.bytes = 0;
            return;
        }
        while let Some(chunk) = self.chunks.front_mut() {
            let begin = self.end - self.bytes as u64;
            let gone = usize::try_from(offset.saturating_sub(begin)).unwrap_or(usize::MAX);
            if gone == 0 {
                return;
            }
            let gone = gone.min(chunk.len());
            let _ = chunk.split_to(gone);
            self.bytes -= gone;
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
    }

    /// What a call sends next of the input.
    fn after(&mut self, cursor: &mut Cursor) -> Option<Kind> {
        if self.is_refused {
            return None;
        }
        let mut offset = self.begin();
        let mut next = None;
        for chunk in &self.chunks {
            let end = offset + chunk.len() as u64;
            if end > cursor.offset {
                let from = usize::try_from(cursor.offset.saturating_sub(offset)).unwrap_or(0);
                next = Some(chunk.slice(from..));
                break;
            }
            offset = end;
        }
        if let Some(data) = next {
            let offset = cursor.offset;
            cursor.offset += data.len() as u64;
            if !self.is_reported {
                self.forget(cursor.offset);
            }
            return Some(Kind::Stdin(Stdin { offset, data }));
        }
        if self.is_closed && !cursor.has_closed {
            cursor.has_closed = true;
            return Some(Kind::StdinClose(StdinClose { offset: self.end }));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;

    fn chunk(data: &'static [u8]) -> RunRequest {
        // The outbox counts by itself.
        let (offset, data) = (0, data.into());
        RunRequest {
            kind: Some(Kind::Stdin(Stdin { offset, data })),
        }
    }

    fn close() -> RunRequest {
        RunRequest {
            kind: Some(Kind::StdinClose(StdinClose { offset: 0 })),
        }
    }

    /// What a call from `offset` on sends without waiting, as `offset:data`.
    fn sent(outbox: &Arc<Outbox>, offset: u64) -> Vec<String> {
        let mut requests = pin!(Arc::clone(outbox).requests(offset));
        let mut sent = Vec::new();
        while let Some(Some(request)) = requests.next().now_or_never() {
            sent.push(match request.kind {
                Some(Kind::Stdin(chunk)) => {
                    format!("{}:{}", chunk.offset, String::from_utf8_lossy(&chunk.data))
                }
                Some(Kind::StdinClose(close)) => format!("{}.", close.offset),
                other => format!("{other:?}"),
            });
        }
        sent
    }

    #[test]
    fn a_second_call_sends_what_the_process_has_not_taken_and_the_end_again() {
        let (sender, queued) = mpsc::channel(8);
        let outbox = Outbox::new(queued);
        for request in [chunk(b"abc"), chunk(b"def")] {
            sender.try_send(request).unwrap();
        }
        assert_eq!(sent(&outbox, 0), ["0:abc", "3:def"]);
        outbox.taken(2);
        sender.try_send(close()).unwrap();
        let attached = |stdin_offset| Attached {
            stdin_offset,
            stdin_closed: false,
            ..Attached::default()
        };
        outbox.attached(&attached(4), false);
        assert_eq!(sent(&outbox, 4), ["4:ef", "6."]);
        outbox.attached(&attached(6), false);
        assert_eq!(sent(&outbox, 6), ["6."]);
        assert_eq!(outbox.kept().bytes, 0);
    }

    #[test]
    fn a_second_call_sends_the_last_size_of_the_terminal_first() {
        let (sender, queued) = mpsc::channel(8);
        let outbox = Outbox::new(queued);
        let resize = |columns| RunRequest {
            kind: Some(Kind::Resize(WindowSize {
                columns,
                ..WindowSize::default()
            })),
        };
        for request in [resize(1), chunk(b"abc"), resize(2)] {
            sender.try_send(request).unwrap();
        }
        assert_eq!(sent(&outbox, 0).len(), 3);
        let again = sent(&outbox, 0);
        assert_eq!(again.len(), 2);
        assert!(again[0].contains("columns: 2"), "{again:?}");
        assert_eq!(again[1], "0:abc");
    }

    #[test]
    fn a_process_that_takes_no_more_input_gets_none() {
        let (sender, queued) = mpsc::channel(8);
        let outbox = Outbox::new(queued);
        sender.try_send(chunk(b"abc")).unwrap();
        assert_eq!(sent(&outbox, 0), ["0:abc"]);
        let attached = Attached {
            stdin_offset: 1,
            stdin_closed: true,
            ..Attached::default()
        };
        outbox.attached(&attached, false);
        sender.try_send(chunk(b"def")).unwrap();
        assert_eq!(sent(&outbox, 1), [""; 0]);
    }

    #[test]
    fn a_first_call_that_attaches_continues_where_another_client_stopped() {
        let (sender, queued) = mpsc::channel(8);
        let outbox = Outbox::new(queued);
        let attached = Attached {
            stdin_offset: 10,
            stdin_closed: false,
            ..Attached::default()
        };
        outbox.attached(&attached, true);
        sender.try_send(chunk(b"abc")).unwrap();
        assert_eq!(sent(&outbox, 10), ["10:abc"]);
    }

    #[test]
    fn no_more_is_kept_than_the_limit_and_nothing_of_what_nobody_reports() {
        let (sender, queued) = mpsc::channel(8);
        let outbox = Outbox::new(queued);
        let piece: &'static [u8] = vec![7; STDIN_KEPT_BYTES / 2].leak();
        for _ in 0..4 {
            sender.try_send(chunk(piece)).unwrap();
        }
        assert_eq!(sent(&outbox, 0).len(), 2);
        outbox.taken(1);
        let from = 2 * piece.len() as u64;
        assert_eq!(sent(&outbox, from).len(), 1, "there is room for one");
        assert_eq!(sent(&outbox, from + piece.len() as u64).len(), 0);
        outbox.is_not_reported();
        assert_eq!(sent(&outbox, from + piece.len() as u64).len(), 1);
        assert_eq!(outbox.kept().bytes, 0);
    }
}
