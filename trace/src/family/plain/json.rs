//! [`json`](super::super::json), one byte at a time: each byte yields a [`Token`].

use crate::family::json::{NOT_ASCII, Rejected, ValueKind};
use crate::family::utf8::Utf8;
use crate::limits::JSON_DEPTH_MAX;

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JsonScanner {
    expects: Expects,
    depth: u32,
    /// One bit for each open container, the innermost lowest: 1 for an array.
    arrays: u128,
    utf8: Utf8,
}

const _: () = assert!(JSON_DEPTH_MAX <= u128::BITS);

/// What a byte is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// White space, punctuation, or the rest of a number or literal.
    Other,
    /// The first byte of a value.
    Begin(ValueKind),
    /// The first quote of a member's name.
    BeginName,
    /// A character of a string or name. One that is not ASCII is [`NOT_ASCII`].
    Character(u8),
    /// The last quote of a string or name.
    EndText,
    /// The last byte of an object or array.
    EndContainer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    Colon,
    CommaOrEnd,
    Text {
        of: Text,
    },
    Escaped {
        of: Text,
    },
    /// Hexadecimal digits of `\u`.
    Digits {
        of: Text,
        left: u8,
        value: u16,
    },
    /// The rest of a literal.
    Literal(&'static [u8]),
    Number(Number),
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
            utf8: Utf8::default(),
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
            Expects::Number(number) => self.depth == 0 && number.may_end(),
            _ => false,
        }
    }

    /// Takes the next byte.
    pub(super) fn next(&mut self, byte: u8) -> Result<Token, Rejected> {
        if let Expects::Number(number) = self.expects {
            if let Some(next) = number.next(byte) {
                self.expects = Expects::Number(next);
                return Ok(Token::Other);
            }
            if !number.may_end() {
                return Err(Rejected);
            }
            self.ended_value();
        }
        match self.expects {
            Expects::Text { of } => self.text(of, byte),
            Expects::Escaped { of } => self.escaped(of, byte),
            Expects::Digits { of, left, value } => self.digits(of, left, value, byte),
            Expects::Literal(rest) => self.literal(rest, byte),
            // RFC 8259 section 2.
            _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => Ok(Token::Other),
            Expects::Value => self.value(byte),
            Expects::ValueOrEnd if byte == b']' => Ok(self.close()),
            Expects::ValueOrEnd => self.value(byte),
            Expects::NameOrEnd if byte == b'}' => Ok(self.close()),
            Expects::Name | Expects::NameOrEnd if byte == b'"' => {
                self.expects = Expects::Text { of: Text::Name };
                Ok(Token::BeginName)
            }
            Expects::Colon if byte == b':' => self.then(Expects::Value),
            Expects::CommaOrEnd => match (byte, self.is_in_array()) {
                (b',', true) => self.then(Expects::Value),
                (b',', false) => self.then(Expects::Name),
                (b']', true) | (b'}', false) => Ok(self.close()),
                _ => Err(Rejected),
            },
            Expects::Name | Expects::NameOrEnd | Expects::Colon | Expects::Number(_) | Expects::Nothing => {
                Err(Rejected)
            }
        }
    }

    fn then(&mut self, expects: Expects) -> Result<Token, Rejected> {
        self.expects = expects;
        Ok(Token::Other)
    }

    fn value(&mut self, byte: u8) -> Result<Token, Rejected> {
        let (kind, expects) = match byte {
            b'{' => (ValueKind::Object, Expects::NameOrEnd),
            b'[' => (ValueKind::Array, Expects::ValueOrEnd),
            b'"' => (ValueKind::Text, Expects::Text { of: Text::Value }),
            b'-' => (ValueKind::Number, Expects::Number(Number::Minus)),
            b'0' => (ValueKind::Number, Expects::Number(Number::Zero)),
            b'1'..=b'9' => (ValueKind::Number, Expects::Number(Number::Integer)),
            b't' => (ValueKind::Boolean, Expects::Literal(b"rue")),
            b'f' => (ValueKind::Boolean, Expects::Literal(b"alse")),
            b'n' => (ValueKind::Null, Expects::Literal(b"ull")),
            _ => return Err(Rejected),
        };
        if matches!(kind, ValueKind::Object | ValueKind::Array) {
            if self.depth == JSON_DEPTH_MAX {
                return Err(Rejected);
            }
            self.depth += 1;
            self.arrays = self.arrays << 1 | u128::from(kind == ValueKind::Array);
        }
        self.expects = expects;
        Ok(Token::Begin(kind))
    }

    fn text(&mut self, of: Text, byte: u8) -> Result<Token, Rejected> {
        if !self.utf8.accepts(byte) {
            return Err(Rejected);
        }
        match byte {
            b'"' => {
                self.ended_text(of);
                Ok(Token::EndText)
            }
            b'\\' => self.then(Expects::Escaped { of }),
            0..0x20 => Err(Rejected),
            0x20..0x80 => Ok(Token::Character(byte)),
            _ => Ok(Token::Character(NOT_ASCII)),
        }
    }

    fn escaped(&mut self, of: Text, byte: u8) -> Result<Token, Rejected> {
        let character = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                return self.then(Expects::Digits {
                    of,
                    left: 4,
                    value: 0,
                });
            }
            _ => return Err(Rejected),
        };
        self.expects = Expects::Text { of };
        Ok(Token::Character(character))
    }

    fn digits(&mut self, of: Text, left: u8, value: u16, byte: u8) -> Result<Token, Rejected> {
        let digit = char::from(byte).to_digit(16).ok_or(Rejected)?;
        let value = value << 4 | digit as u16;
        if left > 1 {
            return self.then(Expects::Digits {
                of,
                left: left - 1,
                value,
            });
        }
        self.expects = Expects::Text { of };
        Ok(Token::Character(match value {
            0..0x80 => value as u8,
            _ => NOT_ASCII,
        }))
    }

    fn literal(&mut self, rest: &'static [u8], byte: u8) -> Result<Token, Rejected> {
        match rest {
            [next, rest @ ..] if *next == byte => {
                match rest.is_empty() {
                    true => self.ended_value(),
                    false => self.expects = Expects::Literal(rest),
                }
                Ok(Token::Other)
            }
            _ => Err(Rejected),
        }
    }

    fn ended_text(&mut self, of: Text) {
        match of {
            Text::Name => self.expects = Expects::Colon,
            Text::Value => self.ended_value(),
        }
    }

    fn close(&mut self) -> Token {
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
