//! An incremental check that bytes are one JSON text (RFC 8259). It keeps no text, and one bit for each level of
//! nesting.
//!
//! [`JsonScanner::next`] takes bytes up to the next [`Token`], from which [`rpc_message`](super::rpc_message) learns the
//! members of an object. The grammar is that of RFC 8259: strings are UTF-8, and an escaped surrogate may be alone.
//!
//! Most bytes of a JSON text are inside strings. They are taken in runs: eight bytes a step to the next byte that a
//! string treats specially, and UTF-8 is checked a run at a time. The module `plain` takes one byte at a time, and tests
//! compare both.

use super::bytes::{until_special, until_text};
use super::utf8::Utf8;
use crate::limits::JSON_DEPTH_MAX;

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct JsonScanner {
    /// Without fields: reading a whole enum just after its parts were written stalls a processor.
    expects: Expects,
    depth: u32,
    /// One bit for each open container, the innermost lowest: 1 for an array.
    arrays: u128,
    /// What the current text is.
    text: Text,
    /// The position in the current text.
    utf8: Utf8,
    /// The digits after `\u` that were read, and their value.
    digits: u8,
    value: u16,
    /// The rest of the current literal.
    literal: &'static [u8],
    number: Number,
}

const _: () = assert!(JSON_DEPTH_MAX <= u128::BITS);

/// A part of a JSON text that a reader of its members needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// The first byte of a value.
    Begin(ValueKind),
    /// The first quote of a member's name.
    BeginName,
    /// Characters of a string or name, as they are written. At the end of the bytes, a character may be divided.
    Characters(&'a [u8]),
    /// An escaped character. One that is not ASCII is [`NOT_ASCII`].
    Escaped(u8),
    /// The last characters of a string or name, and its last quote.
    EndText(&'a [u8]),
    /// The last byte of an object or array.
    EndContainer,
}

/// Stands for an escaped character that is not ASCII.
pub(super) const NOT_ASCII: u8 = 0xff;

/// The type of a value, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueKind {
    Object,
    Array,
    Text,
    Number,
    Boolean,
    Null,
}

/// The bytes are no JSON text, or nested too deeply, or no JSON text of the wanted form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rejected;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    Colon,
    CommaOrEnd,
    /// The rest of a string or name.
    Text,
    /// The character after a backslash.
    Escaped,
    /// Hexadecimal digits of `\u`.
    Digits,
    /// The rest of a literal.
    Literal,
    /// The rest of a number.
    Number,
    /// White space, to the end.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Name,
    Value,
}

/// The part of a number that was read (RFC 8259 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    ESign,
    Exponent,
}

impl JsonScanner {
    pub(super) fn new() -> Self {
        Self {
            expects: Expects::Value,
            depth: 0,
            arrays: 0,
            text: Text::Value,
            utf8: Utf8::default(),
            digits: 0,
            value: 0,
            literal: &[],
            number: Number::Zero,
        }
    }

    /// The number of open containers.
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    /// Whether the bytes are a complete JSON text, if nothing but white space follows.
    pub(super) fn is_complete(&self) -> bool {
        match self.expects {
            Expects::Nothing => true,
            Expects::Number => self.depth == 0 && self.number.may_end(),
            _ => false,
        }
    }

    /// Takes all bytes.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), Rejected> {
        while self.next(&mut bytes)?.is_some() {}
        Ok(())
    }

    /// Takes bytes from the front, up to the end of the next token; all of them if no token is among them. A token
    /// changes [`depth`](Self::depth) by one at most.
    #[inline(always)]
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Token<'a>>, Rejected> {
        while let Some((&byte, rest)) = bytes.split_first() {
            let token = match self.expects {
                Expects::Text => self.text(bytes)?,
                Expects::Literal => self.literal(bytes)?,
                Expects::Number => self.number(bytes)?,
                expects => {
                    *bytes = rest;
                    self.byte(expects, byte, bytes)?
                }
            };
            if token.is_some() {
                return Ok(token);
            }
        }
        Ok(None)
    }

    /// Takes a byte outside of runs. If it is white space, takes what follows of it too.
    #[inline(always)]
    fn byte<'a>(
        &mut self,
        expects: Expects,
        byte: u8,
        rest: &mut &'a [u8],
    ) -> Result<Option<Token<'a>>, Rejected> {
        match (expects, byte) {
            (Expects::Escaped, _) => return self.escaped(byte),
            (Expects::Digits, _) => return self.digit(byte),
            (_, b' ' | b'\t' | b'\n' | b'\r') => *rest = &rest[until_text(rest)..],
            (Expects::CommaOrEnd, b',') if self.is_in_array() => self.expects = Expects::Value,
            (Expects::CommaOrEnd, b',') => self.expects = Expects::Name,
            (Expects::CommaOrEnd, b']') if self.is_in_array() => return Ok(Some(self.close())),
            (Expects::CommaOrEnd, b'}') if !self.is_in_array() => return Ok(Some(self.close())),
            (Expects::ValueOrEnd, b']') | (Expects::NameOrEnd, b'}') => return Ok(Some(self.close())),
            (Expects::Value | Expects::ValueOrEnd, _) => return self.begin(byte).map(Some),
            (Expects::Name | Expects::NameOrEnd, b'"') => {
                self.expects = Expects::Text;
                self.text = Text::Name;
                return Ok(Some(Token::BeginName));
            }
            (Expects::Colon, b':') => self.expects = Expects::Value,
            _ => return Err(Rejected),
        }
        Ok(None)
    }

    #[inline(always)]
    fn begin<'a>(&mut self, byte: u8) -> Result<Token<'a>, Rejected> {
        Ok(Token::Begin(match byte {
            b'{' => self.open(ValueKind::Object, Expects::NameOrEnd)?,
            b'[' => self.open(ValueKind::Array, Expects::ValueOrEnd)?,
            b'"' => {
                self.expects = Expects::Text;
                self.text = Text::Value;
                ValueKind::Text
            }
            b'-' => self.begin_number(Number::Minus),
            b'0' => self.begin_number(Number::Zero),
            b'1'..=b'9' => self.begin_number(Number::Integer),
            b't' => self.begin_literal(b"rue", ValueKind::Boolean),
            b'f' => self.begin_literal(b"alse", ValueKind::Boolean),
            b'n' => self.begin_literal(b"ull", ValueKind::Null),
            _ => return Err(Rejected),
        }))
    }

    fn open(&mut self, kind: ValueKind, expects: Expects) -> Result<ValueKind, Rejected> {
        if self.depth == JSON_DEPTH_MAX {
            return Err(Rejected);
        }
        self.depth += 1;
        self.arrays = self.arrays << 1 | u128::from(kind == ValueKind::Array);
        self.expects = expects;
        Ok(kind)
    }

    fn begin_number(&mut self, number: Number) -> ValueKind {
        self.expects = Expects::Number;
        self.number = number;
        ValueKind::Number
    }

    fn begin_literal(&mut self, rest: &'static [u8], kind: ValueKind) -> ValueKind {
        self.expects = Expects::Literal;
        self.literal = rest;
        kind
    }

    /// Takes the characters of a string or name, up to its end or an escape.
    #[inline(always)]
    fn text<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Token<'a>>, Rejected> {
        let (run, rest) = bytes.split_at(until_special(bytes));
        if !self.utf8.take(run) {
            return Err(Rejected);
        }
        let Some((special, rest)) = rest.split_first() else {
            *bytes = rest;
            return Ok(Some(Token::Characters(run)));
        };
        *bytes = rest;
        match special {
            _ if !self.utf8.is_between_characters() => Err(Rejected),
            b'"' => {
                match self.text {
                    Text::Name => self.expects = Expects::Colon,
                    Text::Value => self.ended_value(),
                }
                Ok(Some(Token::EndText(run)))
            }
            b'\\' => {
                self.expects = Expects::Escaped;
                Ok(Some(Token::Characters(run)))
            }
            // Control characters.
            _ => Err(Rejected),
        }
    }

    fn escaped<'a>(&mut self, byte: u8) -> Result<Option<Token<'a>>, Rejected> {
        let character = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.expects = Expects::Digits;
                (self.digits, self.value) = (0, 0);
                return Ok(None);
            }
            _ => return Err(Rejected),
        };
        self.expects = Expects::Text;
        Ok(Some(Token::Escaped(character)))
    }

    fn digit<'a>(&mut self, byte: u8) -> Result<Option<Token<'a>>, Rejected> {
        let digit = char::from(byte).to_digit(16).ok_or(Rejected)?;
        self.value = self.value << 4 | digit as u16;
        self.digits += 1;
        if self.digits < 4 {
            return Ok(None);
        }
        self.expects = Expects::Text;
        Ok(Some(Token::Escaped(match self.value {
            0..0x80 => self.value as u8,
            _ => NOT_ASCII,
        })))
    }

    fn literal<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Token<'a>>, Rejected> {
        let (here, rest) = self.literal.split_at(self.literal.len().min(bytes.len()));
        *bytes = bytes.strip_prefix(here).ok_or(Rejected)?;
        self.literal = rest;
        if rest.is_empty() {
            self.ended_value();
        }
        Ok(None)
    }

    /// Takes the bytes of a number. The byte after it belongs to no number.
    fn number<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Token<'a>>, Rejected> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.number.next(byte) {
                Some(next) => self.number = next,
                None if self.number.may_end() => {
                    self.ended_value();
                    break;
                }
                None => return Err(Rejected),
            }
            *bytes = rest;
        }
        Ok(None)
    }

    #[inline(always)]
    fn close<'a>(&mut self) -> Token<'a> {
        self.depth -= 1;
        self.arrays >>= 1;
        self.ended_value();
        Token::EndContainer
    }

    fn ended_value(&mut self) {
        self.expects = match self.depth {
            0 => Expects::Nothing,
            _ => Expects::CommaOrEnd,
        };
    }

    fn is_in_array(&self) -> bool {
        self.arrays & 1 == 1
    }
}

impl Number {
    /// The number with one more byte; `None` if that byte belongs to no number.
    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Self::Integer,
            (Self::Zero | Self::Integer, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::ESign,
            (Self::E | Self::ESign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            _ => return None,
        })
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::Exponent)
    }
}
