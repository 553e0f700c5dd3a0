//! Whether a JSON text is a well-formed message of JSON-RPC 2.0 (specification of 2013, sections 4 to 6): a request, a
//! notification, a response, or a batch of them.
//!
//! Keeps which members were there and of which type, and no text but the name of the current member. Of a name that is
//! repeated, the last member counts. Members that the specification does not name are allowed.

use super::json::{JsonScanner, Rejected, Token, ValueKind};

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct RpcMessage {
    json: JsonScanner,
    /// The depth of a message's members: 1, and 2 in a batch.
    level: u32,
    /// A message was complete, and all that were are well-formed.
    well_formed: bool,
    members: Members,
    text: Reading,
    /// The current member of the message.
    name: Word,
    /// The current member of `error`.
    error_name: Word,
    /// The value of `jsonrpc`.
    version: Word,
}

/// What the characters that follow belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Nothing,
    Name,
    ErrorName,
    Version,
}

/// The members of one message. `None`: absent. Else whether the type is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Members {
    version: bool,
    method: Option<bool>,
    id: Option<bool>,
    params: Option<bool>,
    result: bool,
    error: Option<bool>,
    in_error: bool,
    error_code: bool,
    error_message: bool,
}

impl Members {
    fn are_well_formed(&self) -> bool {
        let is_id = self.id == Some(true);
        let has_error = self.error == Some(true) && self.error_code && self.error_message;
        self.version
            && match (self.method, self.result, self.error) {
                (Some(true), false, None) => self.id != Some(false) && self.params != Some(false),
                (None, true, None) => is_id,
                (None, false, Some(_)) => is_id && has_error,
                _ => false,
            }
    }
}

/// A short ASCII text. A longer one, or one that is not ASCII, equals none of those that are compared. The longest of
/// these are `jsonrpc` and `message`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Word {
    bytes: [u8; 7],
    len: u8,
}

impl Word {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(free) = self.bytes.get_mut(usize::from(self.len)) {
                *free = *byte;
            } else {
                self.len = u8::MAX;
                return;
            }
            self.len += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl RpcMessage {
    pub(super) fn new() -> Self {
        Self {
            json: JsonScanner::new(),
            level: 0,
            well_formed: false,
            members: Members::default(),
            text: Reading::Nothing,
            name: Word::default(),
            error_name: Word::default(),
            version: Word::default(),
        }
    }

    /// Whether the bytes are a message, if nothing but white space follows.
    pub(super) fn is_complete(&self) -> bool {
        self.well_formed && self.json.is_complete()
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), Rejected> {
        loop {
            let outer = self.json.depth();
            let Some(token) = self.json.next(&mut bytes)? else {
                return Ok(());
            };
            match token {
                Token::Characters(characters) => self.read(characters),
                Token::Escaped(character) => self.read(&[character]),
                Token::EndText(characters) => {
                    self.read(characters);
                    if self.text == Reading::Version {
                        self.members.version = self.version.as_bytes() == b"2.0";
                    }
                    self.text = Reading::Nothing;
                }
                Token::BeginName if outer == self.level => {
                    self.name = Word::default();
                    self.text = Reading::Name;
                }
                Token::BeginName if outer == self.level + 1 && self.members.in_error => {
                    self.error_name = Word::default();
                    self.text = Reading::ErrorName;
                }
                Token::BeginName => {}
                Token::Begin(kind) => self.begin(outer, kind)?,
                Token::EndContainer => self.end(self.json.depth())?,
            }
        }
    }

    fn read(&mut self, characters: &[u8]) {
        match self.text {
            Reading::Nothing => {}
            Reading::Name => self.name.push(characters),
            Reading::ErrorName => self.error_name.push(characters),
            Reading::Version => self.version.push(characters),
        }
    }

    /// A value begins inside `outer` containers.
    fn begin(&mut self, outer: u32, kind: ValueKind) -> Result<(), Rejected> {
        match (self.level, kind) {
            (0, ValueKind::Object) => self.level = 1,
            (0, ValueKind::Array) => self.level = 2,
            (0, _) => return Err(Rejected),
            (2, ValueKind::Object) if outer == 1 => {}
            (2, _) if outer == 1 => return Err(Rejected),
            (level, _) if outer == level => self.member(kind),
            (level, _) if outer == level + 1 && self.members.in_error => self.member_of_error(kind),
            _ => {}
        }
        Ok(())
    }

    fn member(&mut self, kind: ValueKind) {
        use ValueKind::{Array, Null, Number, Object, Text};
        let members = &mut self.members;
        match self.name.as_bytes() {
            b"jsonrpc" => {
                members.version = false;
                if kind == Text {
                    self.version = Word::default();
                    self.text = Reading::Version;
                }
            }
            b"method" => members.method = Some(kind == Text),
            b"id" => members.id = Some(matches!(kind, Text | Number | Null)),
            b"params" => members.params = Some(matches!(kind, Object | Array)),
            b"result" => members.result = true,
            b"error" => {
                members.error = Some(kind == Object);
                members.in_error = kind == Object;
                members.error_code = false;
                members.error_message = false;
            }
            _ => {}
        }
    }

    fn member_of_error(&mut self, kind: ValueKind) {
        match self.error_name.as_bytes() {
            b"code" => self.members.error_code = kind == ValueKind::Number,
            b"message" => self.members.error_message = kind == ValueKind::Text,
            _ => {}
        }
    }

    /// A container ended, inside `outer` containers.
    fn end(&mut self, outer: u32) -> Result<(), Rejected> {
        if outer == self.level {
            self.members.in_error = false;
        }
        if outer + 1 == self.level {
            self.well_formed = self.members.are_well_formed();
            if !self.well_formed {
                return Err(Rejected);
            }
            self.members = Members::default();
        }
        Ok(())
    }
}
