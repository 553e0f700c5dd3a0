//! The proof by which an exec-server registers with a relay.

use baton_proto::PROTOCOL_VERSION;
use baton_proto::registration::signed_message;
use baton_proto::relay::Proof;

/// The valid proof of an exec-server that connected to `authority` and received `nonce`. `sign` signs with the private
/// key of `public_key`.
pub fn proof(
    public_key: &[u8],
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
    nonce: &[u8],
    authority: &str,
    dial_token_hash: &[u8],
) -> Proof {
    Proof {
        version: PROTOCOL_VERSION,
        public_key: public_key.to_vec().into(),
        signature: sign(&signed_message(nonce, authority, dial_token_hash)).into(),
        dial_token_hash: dial_token_hash.to_vec().into(),
    }
}
