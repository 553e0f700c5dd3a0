//! `baggage`: a caller's own keys and values, carried with a trace or without one.
//!
//! Kept as one string, exactly as it came but for empty or malformed members and the white space around members. Unlike
//! a tracestate, one malformed member does not spoil the others (Baggage, section 3.5).

use std::borrow::Cow;
use std::sync::Arc;

use super::grammar::{self, BAGGAGE, TOKEN, trim_ows};
use crate::limits::{BAGGAGE_BYTES_MAX, BAGGAGE_MEMBERS_MAX};

/// A `baggage` list; empty means absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Baggage(Option<Arc<str>>);

/// One member of a [`Baggage`], white space removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaggageMember<'a> {
    /// A token (Baggage, section 3.3.1.2).
    pub key: &'a str,
    /// The value as it travels, percent-encoded; [`Self::value`] decodes it.
    pub raw_value: &'a str,
    /// The properties as they travel, without the first semicolon; empty if there are none (section 3.3.1.4).
    pub properties: &'a str,
}

impl Baggage {
    /// Reads a header value. Malformed members are left out.
    ///
    /// 64 members and 8,192 bytes are propagated in full, as Baggage section 3.3.2 requires. Beyond that, a member that
    /// does not fit is dropped as a whole; smaller members after it are kept.
    pub fn parse(value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let mut list = BaggageBuilder::default();
        let mut verbatim = value.len() <= BAGGAGE_BYTES_MAX;
        for part in value.split(|byte| *byte == b',') {
            let member = trim_ows(part);
            verbatim &= member.len() == part.len() && is_member(member) && list.admit(member.len());
        }
        if verbatim {
            // The grammar admits only ASCII.
            return Self(std::str::from_utf8(value).ok().map(Arc::from));
        }
        let mut list = BaggageBuilder::default();
        for member in value.split(|byte| *byte == b',').map(trim_ows) {
            if is_member(member) {
                list.push(member);
            }
        }
        list.finish()
    }

    /// Reads all headers of this name as one list (Baggage, section 3.3: the limits apply to all of them together).
    pub fn parse_all<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Self {
        let Some(first) = values.next() else {
            return Self::default();
        };
        match values.next() {
            None => Self::parse(first),
            Some(second) => Self::parse(grammar::join_headers(
                first,
                std::iter::once(second).chain(values),
            )),
        }
    }

    /// Builds a list from keys, values and properties; values are percent-encoded (Baggage, section 3.3.1.3). Members
    /// whose key is no token, whose properties are malformed, or that exceed the limits of [`Self::parse`] are dropped.
    ///
    /// ```
    /// use baton_trace::w3c::Baggage;
    ///
    /// let baggage = Baggage::from_members([("user", "Amélie, 1st", "")]);
    /// assert_eq!(baggage.as_str(), "user=Am%C3%A9lie%2C%201st");
    /// assert_eq!(baggage.value("user").unwrap(), "Amélie, 1st");
    /// ```
    pub fn from_members<'a>(members: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> Self {
        let mut list = BaggageBuilder::default();
        let mut member = String::new();
        for (key, value, properties) in members {
            member.clear();
            member.push_str(key);
            member.push('=');
            percent_encode(value, &mut member);
            let properties = trim(properties);
            if !properties.is_empty() {
                member.push(';');
                member.push_str(properties);
            }
            // The key by itself too: one that holds `=` could pass for another member.
            if is_token(key.as_bytes()) && is_member(member.as_bytes()) {
                list.push(member.as_bytes());
            }
        }
        list.finish()
    }

    /// The header value; empty if absent.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether there is no member, so that no header is sent.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The members in order; a key may be repeated (Baggage, section 3.3.1.1).
    pub fn members(&self) -> impl Iterator<Item = BaggageMember<'_>> {
        self.as_str().split(',').filter_map(|member| {
            let (key, rest) = member.split_once('=')?;
            let (value, properties) = rest.split_once(';').unwrap_or((rest, ""));
            Some(BaggageMember {
                key: trim(key),
                raw_value: trim(value),
                properties: trim(properties),
            })
        })
    }

    /// The decoded value of a key; the first one, if the key is repeated.
    pub fn value(&self, key: &str) -> Option<Cow<'_, str>> {
        self.members()
            .find(|member| member.key == key)
            .map(|member| member.value())
    }
}

impl<'a> BaggageMember<'a> {
    /// The value, percent-decoded. Bytes that are no UTF-8 become U+FFFD, a `%` that encodes nothing stays (Baggage,
    /// section 3.3.1.3).
    pub fn value(&self) -> Cow<'a, str> {
        percent_decode(self.raw_value)
    }
}

/// The propagated list under construction, and its size.
#[derive(Default)]
struct BaggageBuilder {
    bytes: Vec<u8>,
    members: usize,
    length: usize,
}

impl BaggageBuilder {
    /// Reserves space for one more member and its comma, if it fits.
    fn admit(&mut self, member: usize) -> bool {
        let length = self.length + member + usize::from(self.members > 0);
        let fits = self.members < BAGGAGE_MEMBERS_MAX && length <= BAGGAGE_BYTES_MAX;
        if fits {
            self.members += 1;
            self.length = length;
        }
        fits
    }

    fn push(&mut self, member: &[u8]) {
        if self.admit(member.len()) {
            if self.members > 1 {
                self.bytes.push(b',');
            }
            self.bytes.extend_from_slice(member);
        }
    }

    fn finish(self) -> Baggage {
        let text = String::from_utf8(self.bytes).unwrap_or_default();
        Baggage((!text.is_empty()).then(|| text.into()))
    }
}

/// `key OWS "=" OWS value *( OWS ";" OWS property )` (Baggage, section 3.3.1), without white space around it.
fn is_member(member: &[u8]) -> bool {
    let Some(at) = member.iter().position(|byte| *byte == b'=') else {
        return false;
    };
    let mut parts = member[at + 1..].split(|byte| *byte == b';');
    is_token(trim_ows(&member[..at]))
        && parts.next().is_some_and(|value| BAGGAGE.has_all(trim_ows(value)))
        && parts.all(is_property)
}

/// `key OWS [ "=" OWS value ]` (Baggage, section 3.3.1.4).
fn is_property(property: &[u8]) -> bool {
    match property.iter().position(|byte| *byte == b'=') {
        Some(at) => is_token(trim_ows(&property[..at])) && BAGGAGE.has_all(trim_ows(&property[at + 1..])),
        None => is_token(trim_ows(property)),
    }
}

fn is_token(key: &[u8]) -> bool {
    !key.is_empty() && TOKEN.has_all(key)
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn percent_encode(value: &str, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if BAGGAGE.has(byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 0x0f)]));
        }
    }
}

fn percent_decode(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push((hex_digit(*high) << 4) | hex_digit(*low));
                rest = after;
            }
            _ => decoded.push(*byte),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// The value of an ASCII hexadecimal digit of either case.
fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20).saturating_sub(b'a') + 10,
    }
}
