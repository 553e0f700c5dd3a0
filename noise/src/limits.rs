//! Limits of keys and their sessions, each with what it protects. Those that both ends must agree on are in
//! [`baton_proto::limits`].

use std::time::Duration;

/// Messages of one direction after which its key is renewed. Far under what AES-GCM and Noise allow; the key's end is
/// [`baton_proto::limits::KEY_MAX_MESSAGES`].
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 32;

/// Bytes of plaintext in one direction after which its key is renewed: what a thief of one key could read at most,
/// together with [`REKEY_AFTER`].
pub const REKEY_AFTER_BYTES: u64 = 64 << 30;

/// Age at which a key is renewed, whatever it has carried. Bounds for how long a stolen one is of use.
pub const REKEY_AFTER: Duration = Duration::from_secs(3600);

/// Of an exec-server's sessions each renews its keys up to this part of the age sooner, so that many that began
/// together do not all shake hands in the same moment.
pub const REKEY_SPREAD: u32 = 10;

/// Bytes of a key file. One is 60 bytes long; another file named by mistake is not read whole.
pub const KEY_FILE_MAX: usize = 1024;
