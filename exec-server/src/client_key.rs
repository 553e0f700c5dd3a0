//! Who is calling.

use std::fmt;

/// The static public key of the calling client, as its session proved it. Process ids are scoped to it.
///
/// Whatever serves [`crate::ExecService`] puts it into the extensions of every request; a request without one is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey(pub [u8; 32]);

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(")?;
        for byte in &self.0[..4] {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…)")
    }
}
