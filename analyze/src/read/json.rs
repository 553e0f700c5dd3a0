//! Values of the JSON encodings of spans: ids, numbers that may be text, text that may be borrowed.
//!
//! Every type reads both from a slice, where text is borrowed, and from a stream, where it is copied.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor};

use crate::model::{SpanKind, Value};

/// Text without an escape is borrowed from a slice.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// A trace id: 32 hexadecimal digits, or as many as are not leading zeros (Jaeger), or base64 (the canonical JSON
/// encoding of protobuf). 0 is invalid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TraceIdText(pub u128);

/// A span id, likewise of 16 digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SpanIdText(pub u64);

/// A number that may be written as text, as 64-bit numbers are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Number<T>(pub T);

/// The value of an attribute.
#[derive(Debug, Clone, Default)]
pub enum AnyValue<'a> {
    /// None given.
    #[default]
    Empty,
    /// Text.
    Text(Cow<'a, str>),
    /// An integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// A floating-point number.
    Double(f64),
    /// Anything else, as text.
    Other(String),
}

impl AnyValue<'_> {
    /// The value as a trace stores it.
    pub fn value(&self) -> Value<'_> {
        match self {
            Self::Empty => Value::Other(""),
            Self::Text(text) => Value::Text(text),
            Self::Int(number) => Value::Int(*number),
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Double(number) => Value::Double(*number),
            Self::Other(text) => Value::Other(text),
        }
    }

    /// An array of values.
    pub(super) fn list(values: &[Self]) -> AnyValue<'static> {
        let texts: Vec<_> = values.iter().map(plain).collect();
        AnyValue::Other(texts.join(", "))
    }

    /// A map of values.
    pub(super) fn map(entries: &[(&str, Self)]) -> AnyValue<'static> {
        let entry = |(key, value): &(&str, Self)| format!("{key}={}", plain(value));
        let texts: Vec<_> = entries.iter().map(entry).collect();
        AnyValue::Other(texts.join(", "))
    }
}

struct Hex<const BYTES: usize>;

impl<const BYTES: usize> Visitor<'_> for Hex<BYTES> {
    type Value = u128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an id of {} hexadecimal digits", 2 * BYTES)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u128, E> {
        let id = match text.len() {
            len if len <= 2 * BYTES && len != base64_len(BYTES) => from_hex(text),
            // A hexadecimal id of a length that base64 has too is one of Jaeger's without its leading zeros.
            len if len <= 2 * BYTES => from_base64::<BYTES>(text).or_else(|| from_hex(text)),
            _ => None,
        };
        id.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_unit<E: Error>(self) -> Result<u128, E> {
        Ok(0)
    }
}

const fn base64_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

fn from_hex(text: &str) -> Option<u128> {
    let mut id = 0;
    for digit in text.bytes() {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        id = id << 4 | u128::from(digit);
    }
    Some(id)
}

fn from_base64<const BYTES: usize>(text: &str) -> Option<u128> {
    // Both lengths that an id has end in padding; a hexadecimal id never does.
    let bytes = data_encoding::BASE64.decode(text.as_bytes()).ok()?;
    let id = <[u8; BYTES]>::try_from(bytes).ok()?;
    Some(id.iter().fold(0, |id, byte| id << 8 | u128::from(*byte)))
}

impl<'de> Deserialize<'de> for TraceIdText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Hex::<16>).map(Self)
    }
}

impl<'de> Deserialize<'de> for SpanIdText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Eight bytes were read.
        deserializer.deserialize_any(Hex::<8>).map(|id| Self(id as u64))
    }
}

struct NumberVisitor;

/// Wide enough for both signed and unsigned numbers of 64 bits.
impl Visitor<'_> for NumberVisitor {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a text that is one")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<i128, E> {
        Ok(number.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<i128, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<i128, E> {
        // JavaScript writes large integers with an exponent. The cast saturates, and the range is checked later.
        match number.fract() == 0.0 {
            true => Ok(number as i128),
            false => Err(E::invalid_value(Unexpected::Float(number), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<i128, E> {
        text.parse()
            .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_unit<E: Error>(self) -> Result<i128, E> {
        Ok(0)
    }
}

impl<'de, T: TryFrom<i128>> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = deserializer.deserialize_any(NumberVisitor)?;
        let number = T::try_from(number);
        number
            .map(Self)
            .map_err(|_| D::Error::custom("number out of range"))
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum ValueKey {
    #[serde(alias = "string_value")]
    StringValue,
    #[serde(alias = "bool_value")]
    BoolValue,
    #[serde(alias = "int_value")]
    IntValue,
    #[serde(alias = "double_value")]
    DoubleValue,
    #[serde(alias = "array_value")]
    ArrayValue,
    #[serde(alias = "kvlist_value")]
    KvlistValue,
    #[serde(alias = "bytes_value")]
    BytesValue,
    #[serde(other)]
    Unknown,
}

#[derive(serde::Deserialize)]
struct Elements<'a> {
    #[serde(borrow, default)]
    values: Vec<AnyValue<'a>>,
}

#[derive(serde::Deserialize)]
struct Entries<'a> {
    #[serde(borrow, default)]
    values: Vec<super::otlp::KeyValue<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for AnyValue<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValueVisitor)
    }
}

struct AnyValueVisitor;

impl<'de> Visitor<'de> for AnyValueVisitor {
    type Value = AnyValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value of an attribute, like {\"stringValue\":\"x\"}")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(AnyValue::Empty)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut value = AnyValue::Empty;
        while let Some(key) = map.next_key()? {
            value = match key {
                ValueKey::StringValue => AnyValue::Text(map.next_value::<Text<'de>>()?.0),
                ValueKey::BoolValue => AnyValue::Bool(map.next_value()?),
                ValueKey::IntValue => AnyValue::Int(map.next_value::<Number<i64>>()?.0),
                ValueKey::DoubleValue => AnyValue::Double(map.next_value()?),
                ValueKey::BytesValue => AnyValue::Other(map.next_value::<Text<'de>>()?.0.into_owned()),
                ValueKey::ArrayValue => {
                    let elements: Elements<'de> = map.next_value()?;
                    AnyValue::list(&elements.values)
                }
                ValueKey::KvlistValue => {
                    let entries: Entries<'de> = map.next_value()?;
                    let entries = entries.values.iter();
                    let entries: Vec<_> = entries.map(|entry| (&*entry.key, entry.value.clone())).collect();
                    AnyValue::map(&entries)
                }
                ValueKey::Unknown => {
                    map.next_value::<serde::de::IgnoredAny>()?;
                    continue;
                }
            };
        }
        Ok(value)
    }
}

fn plain(value: &AnyValue<'_>) -> String {
    match value {
        AnyValue::Empty => String::new(),
        AnyValue::Text(text) => text.clone().into_owned(),
        AnyValue::Int(number) => number.to_string(),
        AnyValue::Bool(flag) => flag.to_string(),
        AnyValue::Double(number) => number.to_string(),
        AnyValue::Other(text) => text.clone(),
    }
}

/// A span's kind, by number or by name.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KindText(pub SpanKind);

impl KindText {
    /// The kind of this name, OTLP's or Jaeger's.
    pub(super) fn named(kind: &str) -> Self {
        Self(match kind.strip_prefix("SPAN_KIND_").unwrap_or(kind) {
            "SERVER" | "server" => SpanKind::Server,
            "CLIENT" | "client" => SpanKind::Client,
            "PRODUCER" | "producer" => SpanKind::Producer,
            "CONSUMER" | "consumer" => SpanKind::Consumer,
            _ => SpanKind::Internal,
        })
    }
}

struct KindVisitor;

impl Visitor<'_> for KindVisitor {
    type Value = KindText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the kind of a span")
    }

    fn visit_u64<E: Error>(self, kind: u64) -> Result<KindText, E> {
        Ok(KindText(match kind {
            2 => SpanKind::Server,
            3 => SpanKind::Client,
            4 => SpanKind::Producer,
            5 => SpanKind::Consumer,
            _ => SpanKind::Internal,
        }))
    }

    fn visit_str<E: Error>(self, kind: &str) -> Result<KindText, E> {
        Ok(KindText::named(kind))
    }
}

impl<'de> Deserialize<'de> for KindText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

/// A status code, by number or by name: whether it is an error.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ErrorCode(pub bool);

struct ErrorCodeVisitor;

impl Visitor<'_> for ErrorCodeVisitor {
    type Value = ErrorCode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the status code of a span")
    }

    fn visit_u64<E: Error>(self, code: u64) -> Result<ErrorCode, E> {
        Ok(ErrorCode(code == 2))
    }

    fn visit_str<E: Error>(self, code: &str) -> Result<ErrorCode, E> {
        Ok(ErrorCode(code == "STATUS_CODE_ERROR" || code == "ERROR"))
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ErrorCodeVisitor)
    }
}
