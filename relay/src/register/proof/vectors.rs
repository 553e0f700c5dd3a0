//! `docs/vectors/registration.json`: what an exec-server signs, and proofs that a relay refuses.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use baton_proto::relay::{Proof, RegisterRequest, register_request};
use baton_support::registration::proof;
use baton_vectors::{Case, Vector, check};
use prost::Message;

use super::*;

const NONCE: [u8; 32] = [1; 32];
const AUTHORITY: &str = "127.0.0.1:7700";
/// Any 32 bytes are an Ed25519 private key.
const PRIVATE_KEY: [u8; 32] = *b"baton registration vectors, seed";
const TOKEN_HASH: [u8; 32] = [0xd3; 32];

fn made(private_key: &[u8], nonce: &[u8], authority: &str, hash: &[u8]) -> Proof {
    let key = Ed25519KeyPair::from_seed_unchecked(private_key).unwrap();
    let sign = |message: &[u8]| key.sign(message).as_ref().to_vec();
    proof(key.public_key().as_ref(), sign, nonce, authority, hash)
}

fn request(proof: &Proof) -> Vec<u8> {
    let kind = register_request::Kind::Proof(proof.clone());
    RegisterRequest { kind: Some(kind) }.encode_to_vec()
}

fn verified(proof: &Proof, nonce: &[u8; 32], authority: &str) -> Result<ProvenIdentity, ProofError> {
    verify(
        proof.version,
        &proof.public_key,
        &proof.signature,
        &proof.dial_token_hash,
        nonce,
        authority,
    )
}

fn described(case: Case, proof: &Proof, authority: &str) -> Case {
    case.bytes("nonce", NONCE)
        .with("authority", authority)
        .with("version", proof.version)
        .bytes("public_key", &proof.public_key)
        .bytes("signature", &proof.signature)
        .bytes("dial_token_hash", &proof.dial_token_hash)
        .bytes("request", request(proof))
}

fn accepted(name: &str, authority: &str) -> Case {
    let proof = made(&PRIVATE_KEY, &NONCE, authority, &TOKEN_HASH);
    let case = Case::new("proof", name)
        .bytes("private_key", PRIVATE_KEY)
        .bytes("signed_message", signed_message(&NONCE, authority, &TOKEN_HASH));
    described(case, &proof, authority).bytes("exec_server_id", exec_server_id(&proof.public_key).0)
}

fn refused(name: &str, change: impl FnOnce(&mut Proof)) -> Case {
    let mut proof = made(&PRIVATE_KEY, &NONCE, AUTHORITY, &TOKEN_HASH);
    change(&mut proof);
    let code = verified(&proof, &NONCE, AUTHORITY).unwrap_err().code();
    described(Case::new("refused proof", name), &proof, AUTHORITY).with("grpc_status", i32::from(code))
}

fn cases() -> Vec<Case> {
    vec![
        accepted("a relay by its address", AUTHORITY),
        accepted("a relay by its name", "relay.example:7700"),
        refused("version 1", |proof| proof.version = 1),
        refused("a public key of 31 bytes", |proof| proof.public_key.truncate(31)),
        refused("a signature of 63 bytes", |proof| proof.signature.truncate(63)),
        refused("a dial token hash of 31 bytes", |proof| {
            proof.dial_token_hash.truncate(31)
        }),
        refused("signed for another relay", |proof| {
            *proof = made(&PRIVATE_KEY, &NONCE, "relay.example:7700", &TOKEN_HASH);
        }),
        refused("signed for another nonce", |proof| {
            *proof = made(&PRIVATE_KEY, &[2; 32], AUTHORITY, &TOKEN_HASH);
        }),
        refused("another dial token hash than the signed one", |proof| {
            proof.dial_token_hash = vec![0xd4; 32].into();
        }),
    ]
}

fn decode(vector: Vector<'_>) {
    let bytes = vector.bytes("request");
    let Some(register_request::Kind::Proof(proof)) = RegisterRequest::decode(&bytes[..]).unwrap().kind else {
        panic!("no Proof");
    };
    let fields = Proof {
        version: u32::try_from(vector.number("version")).unwrap(),
        public_key: vector.bytes("public_key").into(),
        signature: vector.bytes("signature").into(),
        dial_token_hash: vector.bytes("dial_token_hash").into(),
    };
    assert_eq!(proof, fields);
    assert_eq!(request(&fields), bytes);
    let (nonce, authority) = (vector.array("nonce"), vector.text("authority"));
    let verified = verified(&proof, &nonce, authority);
    match vector.kind() {
        "proof" => {
            let message = signed_message(&nonce, authority, &proof.dial_token_hash);
            assert_eq!(message, vector.bytes("signed_message"));
            assert_eq!(
                made(
                    &vector.bytes("private_key"),
                    &nonce,
                    authority,
                    &proof.dial_token_hash
                ),
                proof
            );
            assert_eq!(verified.unwrap().id.0, vector.array("exec_server_id"));
        }
        "refused proof" => {
            let code = i32::from(verified.expect_err("a refusal").code());
            assert_eq!(i64::from(code), vector.signed("grpc_status"));
        }
        _ => vector.unknown_kind(),
    }
}

#[test]
fn the_vectors_of_registration_hold() {
    check(
        "registration.json",
        "Section 3, Register: `request` is the RegisterRequest that answers the Challenge with this nonce. `grpc_status` is the relay's \
         refusal.",
        &cases(),
        decode,
    );
}
