//! A line or a message body that may be the ready marker.

use super::json::{JsonScanner, Rejected, Token, ValueKind};
use super::rpc_message::RpcMessage;
use crate::limits::FAMILY_LINE_MAX;

/// Bytes that may be the marker. Longer than [`FAMILY_LINE_MAX`], they are none.
#[derive(Debug)]
pub(super) struct Candidate {
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
    Object(JsonScanner),
    Message(RpcMessage),
    Rejected,
}

impl Candidate {
    pub(super) fn new(wanted: Wanted) -> Self {
        let form = match wanted {
            Wanted::Object => Form::Object(JsonScanner::new()),
            Wanted::Message => Form::Message(RpcMessage::new()),
        };
        Self { form, length: 0 }
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.length = self.length.saturating_add(bytes.len());
        if self.is_too_long() || self.form.take(bytes).is_err() {
            self.form = Form::Rejected;
        }
    }

    /// Whether the bytes so far are the marker, if they are all.
    pub(super) fn is_complete(&self) -> bool {
        match &self.form {
            Form::Object(json) => json.is_complete(),
            Form::Message(message) => message.is_complete(),
            Form::Rejected => false,
        }
    }

    pub(super) fn is_too_long(&self) -> bool {
        self.length > FAMILY_LINE_MAX
    }
}

impl Form {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Rejected> {
        match self {
            Self::Object(json) => bytes.iter().try_for_each(|&byte| {
                let is_outermost = json.depth() == 0;
                match json.next(byte)? {
                    Token::Begin(kind) if is_outermost && kind != ValueKind::Object => Err(Rejected),
                    _ => Ok(()),
                }
            }),
            Self::Message(message) => bytes.iter().try_for_each(|&byte| message.next(byte)),
            Self::Rejected => Ok(()),
        }
    }
}
