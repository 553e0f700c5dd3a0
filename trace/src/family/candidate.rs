//! A line or a message body that may be the ready marker.

use super::bytes::is_white_space;
use super::json::{JsonScanner, Rejected};
use super::rpc_message::RpcMessage;
use crate::limits::FAMILY_LINE_MAX;

/// Bytes that may be the marker. Longer than [`FAMILY_LINE_MAX`], they are none.
#[derive(Debug)]
pub(super) struct Candidate {
    wanted: Wanted,
    form: Form,
    length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A JSON object.
    Object,
    /// A message of JSON-RPC 2.0.
    Message,
}

#[derive(Debug)]
enum Form {
    /// White space only.
    Blank,
    Object(JsonScanner),
    Message(RpcMessage),
    Rejected,
}

impl Candidate {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            form: Form::Blank,
            length: 0,
        }
    }

    /// Begins with other bytes.
    pub(super) fn reset(&mut self) {
        // Member by member: a form is large, and its discriminant is enough.
        self.form = Form::Blank;
        self.length = 0;
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.length = self.length.saturating_add(bytes.len());
        if self.is_too_long() || self.scan(bytes).is_err() {
            self.form = Form::Rejected;
        }
    }

    /// Takes the last bytes.
    pub(super) fn take_last(&mut self, bytes: &[u8]) {
        // Most lines that are no marker show it by their last byte, which costs less than a scan.
        if let Some(last) = bytes.iter().rev().find(|byte| !is_white_space(**byte))
            && !self.wanted.ends_with(*last)
        {
            self.form = Form::Rejected;
        }
        self.take(bytes);
    }

    /// Whether the bytes so far are the marker, if they are all.
    pub(super) fn is_complete(&self) -> bool {
        match &self.form {
            Form::Object(json) => json.is_complete(),
            Form::Message(message) => message.is_complete(),
            Form::Blank | Form::Rejected => false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn is_too_long(&self) -> bool {
        self.length > FAMILY_LINE_MAX
    }

    fn scan(&mut self, bytes: &[u8]) -> Result<(), Rejected> {
        if let Form::Blank = self.form {
            match bytes.iter().find(|byte| !is_white_space(**byte)) {
                None => return Ok(()),
                Some(first) => self.form = self.wanted.begun_by(*first)?,
            }
        }
        match &mut self.form {
            Form::Object(json) => json.take(bytes),
            Form::Message(message) => message.take(bytes),
            Form::Blank | Form::Rejected => Ok(()),
        }
    }
}

impl Wanted {
    fn begun_by(self, byte: u8) -> Result<Form, Rejected> {
        match (self, byte) {
            (Self::Object, b'{') => Ok(Form::Object(JsonScanner::new())),
            (Self::Message, b'{' | b'[') => Ok(Form::Message(RpcMessage::new())),
            _ => Err(Rejected),
        }
    }

    fn ends_with(self, byte: u8) -> bool {
        byte == b'}' || self == Self::Message && byte == b']'
    }
}
