//! The arguments of a command, in one allocation.
//!
//! A record is created while an event is delivered and freed by the writer, at thousands a second: an allocation for
//! each argument took a third of that time.

use std::fmt;

/// Bytes of the length before each argument.
const LENGTH_BYTES: usize = 4;

/// Arguments, as bytes, because the operating system does not require UTF-8.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Argv(Vec<u8>);

impl Argv {
    /// With room for `count` arguments of `bytes` bytes together.
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        Self(Vec::with_capacity(
            count.saturating_mul(LENGTH_BYTES).saturating_add(bytes),
        ))
    }

    /// Appends an argument.
    pub fn push(&mut self, argument: &[u8]) {
        // Linux does not allow arguments of that size.
        let length = u32::try_from(argument.len()).unwrap_or(u32::MAX);
        self.0.extend(length.to_le_bytes());
        self.0.extend(&argument[..length as usize]);
    }

    /// The arguments, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<LENGTH_BYTES>()?;
            let (argument, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = after;
            Some(argument)
        })
    }

    /// Whether there are no arguments.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Allocated memory, in bytes.
    pub(crate) fn allocated(&self) -> usize {
        self.0.capacity()
    }

    /// Truncates to `bytes` bytes, where each argument counts `each` in addition to its own: truncates the first that
    /// does not fit, and drops those after it. Returns whether it truncated.
    pub(crate) fn cut(&mut self, bytes: usize, each: usize) -> bool {
        let kept = self.kept(bytes, each);
        let is_cut = kept.is_some();
        if let Some(kept) = kept {
            *self = kept;
        }
        is_cut
    }

    /// The result of [`cut`](Self::cut), if it truncates.
    fn kept(&self, bytes: usize, each: usize) -> Option<Self> {
        let mut left = bytes;
        let mut kept = Self::default();
        for argument in self.iter() {
            let room = left.saturating_sub(each);
            if argument.len() > room || left < each {
                kept.push(&argument[..room.min(argument.len())]);
                kept.0.shrink_to_fit();
                return Some(kept);
            }
            kept.push(argument);
            left = room - argument.len();
        }
        None
    }
}

impl FromIterator<Box<[u8]>> for Argv {
    fn from_iter<T: IntoIterator<Item = Box<[u8]>>>(arguments: T) -> Self {
        let mut argv = Self::default();
        for argument in arguments {
            argv.push(&argument);
        }
        argv.0.shrink_to_fit();
        argv
    }
}

impl From<Vec<Box<[u8]>>> for Argv {
    fn from(arguments: Vec<Box<[u8]>>) -> Self {
        arguments.into_iter().collect()
    }
}

impl fmt::Debug for Argv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.iter().map(String::from_utf8_lossy);
        f.debug_list().entries(texts).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(arguments: Vec<Vec<u8>>) {
            let argv: Argv = arguments.iter().map(|argument| Box::from(&argument[..])).collect();
            prop_assert_eq!(argv.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), arguments);
        }
    }
}
