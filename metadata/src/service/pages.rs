//! Lists in pages: each is read after the one before it was sent, and has at most [`PAGE_BYTES_MAX`].

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use baton_proto::limits::PAGE_BYTES_MAX;
use futures_util::{Stream, stream};
use prost::Message;
use tonic::{Response, Status};

use super::MetadataService;
use crate::store::query::{Cursor, Page};
use crate::store::sqlite::{ReadError, Reader};

/// The range of a list that a client requests.
pub(super) struct ListRange {
    after: Option<Cursor>,
    left: u64,
    most: u32,
}

impl ListRange {
    /// The range after the page whose `next` was `after`: `limit` items, or all for 0; at most `most` on one page.
    pub(super) fn new(after: &[u8], limit: u32, most: u32) -> Result<Self, Status> {
        let left = match limit {
            0 => u64::MAX,
            limit => limit.into(),
        };
        let after = cursor(after)?;
        Ok(Self { after, left, most })
    }

    /// The range after this page, if any is left.
    fn behind<T>(self, page: &Page<T>) -> Option<Self> {
        let left = self.left - page.items.len() as u64;
        let after = page.next.filter(|_| left > 0)?;
        Some(Self {
            after: Some(after),
            left,
            ..self
        })
    }
}

/// Decodes a cursor.
fn cursor(after: &[u8]) -> Result<Option<Cursor>, Status> {
    if after.is_empty() {
        return Ok(None);
    }
    let bytes = after
        .try_into()
        .map_err(|_| Status::invalid_argument("`after` is not the `next` of a page"))?;
    Ok(Some(Cursor::from_bytes(bytes)))
}

/// The cursor after a page, and whether newer items may be missing.
pub(super) struct PageInfo {
    pub(super) next: Vec<u8>,
    pub(super) behind: bool,
}

/// The pages of a list: `read` reads items after a cursor, `message` converts them to a page.
pub(super) async fn pages<T, M>(
    service: &MetadataService,
    range: ListRange,
    read: impl Fn(&Reader, Option<Cursor>, u32) -> Result<Page<T>, ReadError> + Clone + Send + 'static,
    message: impl Fn(&[T], PageInfo) -> M + Clone + Send + 'static,
) -> Response<Pages<M>>
where
    T: Send + 'static,
    M: Message,
{
    let behind = service.is_behind().await;
    let service = service.clone();
    let pages = stream::try_unfold(Some(range), move |range| {
        let (service, read, message) = (service.clone(), read.clone(), message.clone());
        async move {
            let Some(range) = range else { return Ok(None) };
            let mut limit = u32::try_from(range.left).unwrap_or(u32::MAX).min(range.most);
            let after = range.after;
            loop {
                let read = read.clone();
                let page = service.query(move |reader| read(reader, after, limit)).await?;
                let next = page.next.map(|next| next.to_bytes().to_vec());
                let info = PageInfo {
                    next: next.unwrap_or_default(),
                    behind,
                };
                let message = message(&page.items, info);
                if message.encoded_len() > PAGE_BYTES_MAX && page.items.len() > 1 {
                    // The items are long, which is rare: retry with fewer.
                    limit = page.items.len() as u32 / 2;
                    continue;
                }
                return Ok(Some((message, range.behind(&page))));
            }
        }
    });
    Response::new(Pages(Box::pin(pages)))
}

/// A stream of pages.
pub struct Pages<T>(Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>);

impl<T> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

impl<T> Stream for Pages<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}
