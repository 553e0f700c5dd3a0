//! The cryptography of TLS to a relay, for rustls, at both ends: client or exec-server, and relay.
//!
//! [`provider`] is rustls's provider from aws-lc-rs with two key exchange groups and a source of randomness of its own:
//!
//! * `hybrid`: X25519MLKEM768. Whoever records a connection cannot decrypt it later with a quantum computer, unless
//!   X25519 and ML-KEM-768 are both broken;
//! * `x25519`: X25519, the group's classical half, and a group by itself for peers without the hybrid;
//! * `random`: getrandom(2). The first number of aws-lc's own generator costs a process 25 to 70 ms (jitter entropy),
//!   which every short `baton exec` would pay.
//!
//! A client offers both groups with a key share each, and the X25519 key is the same in both. So a server that knows
//! only X25519 answers at once. A server that knows only a NIST curve asks for a second hello (HelloRetryRequest, RFC
//! 8446 section 4.1.4), and the curve's key comes from aws-lc's generator.

mod hybrid;
mod random;
mod x25519;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};

use crate::hybrid::X25519MlKem768;
use crate::random::OsRandom;
use crate::x25519::X25519;

static X25519: X25519 = X25519 { random: &OsRandom };
static X25519_MLKEM768: X25519MlKem768 = X25519MlKem768 { random: &OsRandom };

/// rustls's cryptography for a client or a server. Groups in the order of preference: X25519MLKEM768, X25519,
/// secp256r1, secp384r1. A server of rustls takes the first group of the *client's* list that it knows.
///
/// The NIST curves and a server's ECDSA signatures use aws-lc's generator.
pub fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![
            &X25519_MLKEM768,
            &X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        secure_random: &OsRandom,
        ..default_provider()
    }
}
