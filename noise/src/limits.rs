//! Limits of keys and their sessions, each with the reason. Limits that both ends must agree on are in
//! [`baton_proto::limits`].

use std::time::Duration;

/// Messages of one direction after which its key is renewed. Far below the limits of AES-GCM and Noise. A key that
/// reaches [`baton_proto::limits::KEY_MAX_MESSAGES`] ends the session.
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 32;

/// Bytes of plaintext in one direction after which its key is renewed. Together with [`REKEY_AFTER`] it bounds what an
/// attacker with one key can read.
pub const REKEY_AFTER_BYTES: u64 = 64 << 30;

/// Age at which a key is renewed, however little it has encrypted. Bounds how long a stolen key is usable.
pub const REKEY_AFTER: Duration = Duration::from_secs(3600);

/// Divisor: each session of an exec-server renews its keys up to this fraction of the age earlier, so that sessions
/// that began together do not all rekey at the same time.
pub const REKEY_SPREAD: u32 = 10;

/// Longest key file, in bytes. A key file has 60; a different file named by mistake is not read completely.
pub const KEY_FILE_MAX: usize = 1024;
