//! `tracestate`: the list of vendor members that is propagated with the traceparent.
//!
//! Kept as one string, exactly as it came but for empty members and the white space around members. A list with one
//! malformed member is malformed (Level 2, section 3.3.2) and counts as absent; the traceparent stands (section 3.3).

use std::sync::Arc;

use thiserror::Error;

use super::grammar::{self, KEY, KEY_START, VALUE, trim_ows};
use crate::limits::{
    TRACESTATE_BYTES_MAX, TRACESTATE_KEY_MAX, TRACESTATE_LONG_MEMBER, TRACESTATE_MEMBERS_MAX,
    TRACESTATE_VALUE_MAX,
};

/// A `tracestate` list; empty means absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tracestate(Option<Arc<str>>);

/// Why a member cannot be put into a [`Tracestate`]. Always the caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MemberError {
    /// Level 2, section 3.3.2.2.1.
    #[error("a tracestate key is 1 to 256 of a-z 0-9 _ - * / @ and starts with a letter or a digit")]
    Key,
    /// Level 2, section 3.3.2.2.2.
    #[error("a tracestate value is 1 to 256 printable ASCII characters without , and = and ends in no space")]
    Value,
}

impl Tracestate {
    /// Reads a header value; `None` if it is malformed, the empty list if it holds no member.
    ///
    /// A list of more than 32 members is malformed. One of more than [`TRACESTATE_BYTES_MAX`] bytes loses whole
    /// members: those longer than 128 characters first, then from the end (Level 2, section 3.3.3.1). A repeated key is
    /// kept: removing it is allowed but not required (section 3.5).
    pub fn parse(value: impl AsRef<[u8]>) -> Option<Self> {
        let value = value.as_ref();
        let mut count = 0;
        let mut verbatim = value.len() <= TRACESTATE_BYTES_MAX;
        for part in value.split(|byte| *byte == b',') {
            let member = trim_ows(part);
            verbatim &= member.len() == part.len() && !member.is_empty();
            if member.is_empty() {
                continue;
            }
            count += 1;
            if count > TRACESTATE_MEMBERS_MAX || !is_member(member) {
                return None;
            }
        }
        // The grammar admits only ASCII.
        let text = std::str::from_utf8(value).ok()?;
        if count == 0 {
            return Some(Self::default());
        }
        if verbatim {
            return Some(Self(Some(text.into())));
        }
        let mut members: Vec<&str> = text
            .split(',')
            .map(|part| part.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty())
            .collect();
        shorten(&mut members, 0);
        Some(Self::of(&members))
    }

    /// Reads all headers of this name as one list (Level 2, section 3.3.2); `None` if that list is malformed.
    pub fn parse_all<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let Some(first) = values.next() else {
            return Some(Self::default());
        };
        match values.next() {
            None => Self::parse(first),
            Some(second) => Self::parse(grammar::join_headers(
                first,
                std::iter::once(second).chain(values),
            )),
        }
    }

    /// The header value; empty if absent.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether there is no member, so that no header is sent (Level 2, section 3.3.2).
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Keys and values, the latest writer first.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.as_str()
            .split(',')
            .filter_map(|member| member.split_once('='))
    }

    /// The value of a key; the first one, if the key is repeated.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.members()
            .find(|member| member.0 == key)
            .map(|member| member.1)
    }

    /// The list with this member in front and no other of its key (Level 2, section 3.5). Members beyond the limits are
    /// removed as in [`Self::parse`], never the new one.
    ///
    /// # Errors
    /// A key or value outside its grammar.
    ///
    /// ```
    /// use baton_trace::w3c::Tracestate;
    ///
    /// let before = Tracestate::parse("rojo=1,congo=2").unwrap();
    /// assert_eq!(before.put("congo", "3").unwrap().as_str(), "congo=3,rojo=1");
    /// ```
    pub fn put(&self, key: &str, value: &str) -> Result<Self, MemberError> {
        if !is_key(key.as_bytes()) {
            return Err(MemberError::Key);
        }
        if !is_value(value.as_bytes()) {
            return Err(MemberError::Value);
        }
        let new = format!("{key}={value}");
        let mut members = vec![new.as_str()];
        members.extend(
            self.as_str()
                .split(',')
                .filter(|member| member.split_once('=').is_some_and(|(other, _)| other != key))
                .take(TRACESTATE_MEMBERS_MAX - 1),
        );
        shorten(&mut members, 1);
        Ok(Self::of(&members))
    }

    fn of(members: &[&str]) -> Self {
        let joined = members.join(",");
        Self((!joined.is_empty()).then(|| joined.into()))
    }
}

/// Drops whole members until the list fits: long ones first, each time from the end; the first `kept` stay.
fn shorten(members: &mut Vec<&str>, kept: usize) {
    let mut length = members.iter().map(|member| member.len() + 1).sum::<usize>();
    for over in [TRACESTATE_LONG_MEMBER, 0] {
        for index in (kept..members.len()).rev() {
            // One comma less than members.
            if length <= TRACESTATE_BYTES_MAX + 1 {
                return;
            }
            if members[index].len() > over {
                length -= members.remove(index).len() + 1;
            }
        }
    }
}

/// `key "=" value`, without white space around it.
fn is_member(member: &[u8]) -> bool {
    match member.iter().position(|byte| *byte == b'=') {
        Some(at) => is_key(&member[..at]) && is_value(&member[at + 1..]),
        None => false,
    }
}

fn is_key(key: &[u8]) -> bool {
    key.len() <= TRACESTATE_KEY_MAX
        && key.first().is_some_and(|byte| KEY_START.has(*byte))
        && KEY.has_all(key)
}

fn is_value(value: &[u8]) -> bool {
    value.len() <= TRACESTATE_VALUE_MAX
        && value.last().is_some_and(|byte| *byte != b' ')
        && VALUE.has_all(value)
}
