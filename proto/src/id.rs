//! Fixed-size identifiers: bytes in messages, lowercase hex in headers and output.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

/// The text or bytes are not an identifier of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}: 16 bytes (32 lowercase hex digits) expected")]
pub struct IdError {
    kind: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdError;

            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                bytes.try_into().map(Self).map_err(|_| IdError { kind: $kind })
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let bytes = HEXLOWER
                    .decode(text.as_bytes())
                    .map_err(|_| IdError { kind: $kind })?;
                Self::try_from(bytes.as_slice())
            }
        }
    };
}

id!(
    /// Names an exec-server: the truncated SHA-256 of its registration key, so it certifies itself.
    ExecServerId,
    "exec-server id"
);
id!(
    /// Names one session through the relay; random, chosen by the client.
    SessionId,
    "session id"
);
id!(
    /// Names one run of an exec-server; random, generated at its start.
    Epoch,
    "epoch"
);
id!(
    /// Names a process; a UUIDv7 chosen by the client and scoped to its key.
    ProcessId,
    "process id"
);

impl ExecServerId {
    /// A number that is distributed like a random one over exec-servers, and the same in every run of one: the first
    /// eight bytes of the id, which is a hash.
    pub fn first_bytes(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_round_trip() {
        let id = SessionId([0xab; 16]);
        assert_eq!(id.to_string(), "ab".repeat(16));
        assert_eq!(id.to_string().parse::<SessionId>().unwrap(), id);
        assert_eq!(SessionId::try_from(&id.0[..]).unwrap(), id);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "ab", &"AB".repeat(16), &"ab".repeat(17), &"zz".repeat(16)] {
            assert!(text.parse::<SessionId>().is_err(), "{text}");
        }
    }
}
