//! A named part of a request.

use std::borrow::Cow;
use std::fmt;

/// A named part of what a caller sends, with its content. Several sections of a request may share a name, for example
/// the messages of a conversation. The order of the sections is that of the request.
///
/// `Debug` shows the name and the length, never the content.
#[derive(Clone)]
pub struct Section<'a> {
    name: Cow<'a, str>,
    content: Content<'a>,
    tokens: Option<u64>,
}

#[derive(Clone)]
pub(super) enum Content<'a> {
    Bytes(Cow<'a, [u8]>),
    /// The boundaries count: `["a", "bc"]` is not `["ab", "c"]`.
    List(Vec<Cow<'a, str>>),
}

impl<'a> Section<'a> {
    /// A text: a prompt, a message, a schema.
    pub fn text(name: impl Into<Cow<'a, str>>, text: impl Into<Cow<'a, str>>) -> Self {
        let bytes = match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Self::bytes(name, bytes)
    }

    /// Any bytes: an image, an encoded message.
    pub fn bytes(name: impl Into<Cow<'a, str>>, bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::new(name.into(), Content::Bytes(bytes.into()))
    }

    /// A list of texts: arguments, variables of an environment, tools. The order counts, so a caller sorts what has
    /// none: the iteration order of a hash map is another one in each process.
    pub fn list<T: Into<Cow<'a, str>>>(
        name: impl Into<Cow<'a, str>>,
        items: impl IntoIterator<Item = T>,
    ) -> Self {
        let items = items.into_iter().map(Into::into).collect();
        Self::new(name.into(), Content::List(items))
    }

    /// Sets the section's length in tokens, for a [simulation](super::SimulatedCache).
    pub fn with_tokens(self, tokens: u64) -> Self {
        Self {
            tokens: Some(tokens),
            ..self
        }
    }

    /// The section's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length in bytes; of a list, that of its items.
    pub fn len(&self) -> u64 {
        match &self.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::List(items) => items.iter().map(|item| item.len() as u64).sum(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its length in tokens: as [set](Self::with_tokens), else an estimate of four bytes each.
    pub fn tokens(&self) -> u64 {
        self.tokens.unwrap_or_else(|| self.len().div_ceil(4))
    }

    pub(super) fn content(&self) -> &Content<'a> {
        &self.content
    }

    fn new(name: Cow<'a, str>, content: Content<'a>) -> Self {
        Self {
            name,
            content,
            tokens: None,
        }
    }
}

impl fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section")
            .field("name", &self.name)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
