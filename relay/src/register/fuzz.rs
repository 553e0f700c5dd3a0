//! For any bytes on a `Register` stream: only an unaltered proof registers a key, and an ended stream leaves no
//! registration.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use baton_fuzz::{Input, Script, Target};
use baton_proto::registration::{exec_server_id, signed_message};
use baton_proto::relay::{Decline, Pong};
use bytes::Bytes;
use prost::Message as _;
use tokio::runtime::Runtime;
use tonic::codec::Codec as _;

use super::*;

/// The input: the pieces of the body, each with its kind ([`FuzzBody::piece`]).
pub(crate) const REGISTER: Target = Target {
    name: "relay-register",
    run,
    seeds,
};

pub(super) const AUTHORITY: &str = "127.0.0.1:7700";

/// A request body made from the input. It signs the relay's challenge where the input asks for a proof.
struct FuzzBody {
    input: Vec<u8>,
    at: usize,
    responses: mpsc::Receiver<Result<RegisterResponse, Status>>,
    seen: Arc<Mutex<RelayAnswers>>,
}

/// What the relay has sent, and what the body has sent.
#[derive(Default)]
struct RelayAnswers {
    nonce: Vec<u8>,
    registered: bool,
    sent: Vec<u8>,
}

impl http_body::Body for FuzzBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        self.read_answers();
        let all = std::mem::take(&mut self.input);
        let mut input = Input::new(&all[self.at..]);
        let piece = (!input.is_empty()).then(|| self.piece(&mut input));
        self.at = all.len() - input.rest().len();
        self.input = all;
        Poll::Ready(piece.map(|piece| {
            self.seen
                .lock()
                .expect("one thread")
                .sent
                .extend_from_slice(&piece);
            Ok(http_body::Frame::data(piece.into()))
        }))
    }
}

impl Drop for FuzzBody {
    fn drop(&mut self) {
        self.read_answers();
    }
}

impl FuzzBody {
    /// Reads the relay's messages so far.
    fn read_answers(&mut self) {
        let mut seen = self.seen.lock().expect("one thread");
        while let Ok(response) = self.responses.try_recv() {
            match response.expect("no refusal before the end").kind {
                Some(register_response::Kind::Challenge(challenge)) => seen.nonce = challenge.nonce.to_vec(),
                Some(register_response::Kind::Registered(_)) => seen.registered = true,
                Some(register_response::Kind::Ping(_)) => {}
                _ => panic!("an unexpected message from the relay"),
            }
        }
    }

    fn piece(&self, input: &mut Input<'_>) -> Vec<u8> {
        let nonce = self.seen.lock().expect("one thread").nonce.clone();
        let framed = |message: Vec<u8>| [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
        let request = |kind| RegisterRequest { kind: Some(kind) }.encode_to_vec();
        match input.u8() % 7 {
            0 => input.chunk().to_vec(),
            1 => framed(input.chunk().to_vec()),
            // The proof, and the proof with one altered byte.
            2 => framed(request(register_request::Kind::Proof(proof(&nonce, AUTHORITY)))),
            3 => {
                let mut message = request(register_request::Kind::Proof(proof(&nonce, AUTHORITY)));
                let at = usize::from(input.u8()) % message.len();
                message[at] ^= input.u8();
                framed(message)
            }
            // A proof for another relay.
            4 => framed(request(register_request::Kind::Proof(proof(
                &nonce,
                "evil.example:7700",
            )))),
            5 => framed(request(register_request::Kind::Pong(Pong { nonce: input.u64() }))),
            _ => framed(request(register_request::Kind::Decline(Decline {
                session_id: input.chunk().to_vec().into(),
                accept_token: input.chunk().to_vec().into(),
                retry_after_ms: input.u32(),
            }))),
        }
    }
}

pub(super) fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[9; 32]).expect("any 32 bytes are a seed")
}

pub(super) fn proof(nonce: &[u8], authority: &str) -> Proof {
    let key = key();
    let dial_token_hash = [7; 32];
    let message = signed_message(nonce, authority, &dial_token_hash);
    Proof {
        version: baton_proto::PROTOCOL_VERSION,
        public_key: key.public_key().as_ref().to_vec().into(),
        signature: key.sign(&message).as_ref().to_vec().into(),
        dial_token_hash: dial_token_hash.to_vec().into(),
    }
}

fn run(bytes: &[u8]) {
    thread_local! {
        static RUNTIME: RefCell<Runtime> = RefCell::new(
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"),
        );
    }
    let relay = Arc::new(RelayState::new(crate::Config::default()));
    let address = AUTHORITY.parse().expect("an address");
    let (outbound, responses) = mpsc::channel(REGISTER_QUEUE);
    let exchange = RegisterExchange {
        relay: relay.clone(),
        connection: Arc::new(Connection::new(
            address,
            address,
            1,
            crate::memory_budget::MemoryBudget::new(0),
        )),
        named: exec_server_id(key().public_key().as_ref()),
        authority: AUTHORITY.to_owned(),
        outbound,
    };
    let seen = Arc::<Mutex<RelayAnswers>>::default();
    let body = FuzzBody {
        input: bytes.to_vec(),
        at: 0,
        responses,
        seen: seen.clone(),
    };
    let decoder = tonic_prost::ProstCodec::<RegisterResponse, RegisterRequest>::default().decoder();
    let mut inbound = Streaming::new_request(decoder, body, None, Some(REGISTER_MESSAGE_BYTES));
    let ended = RUNTIME.with_borrow(|runtime| runtime.block_on(exchange.serve_registration(&mut inbound)));
    let id = exec_server_id(key().public_key().as_ref());
    assert!(
        relay.registry.registration(id).is_none(),
        "an ended stream is still registered"
    );
    if let Err(refusal) = &ended {
        let status = refusal::status(refusal, &relay.metrics);
        assert_ne!(status.code(), Code::Ok);
        assert!(!status.message().chars().any(char::is_control));
    }
    drop(inbound);
    let RelayAnswers {
        nonce,
        registered,
        sent,
    } = &*seen.lock().expect("one thread");
    let is_proven = first_message(sent).is_some_and(|message| {
        let request = RegisterRequest::decode(message);
        request
            .is_ok_and(|request| request.kind == Some(register_request::Kind::Proof(proof(nonce, AUTHORITY))))
    });
    assert_eq!(
        *registered, is_proven,
        "registered without the key's proof, or not registered with it"
    );
}

/// The first whole gRPC message, if the relay may accept it.
fn first_message(body: &[u8]) -> Option<&[u8]> {
    let (prefix, rest) = body.split_first_chunk::<5>()?;
    let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    (prefix[0] == 0 && len <= REGISTER_MESSAGE_BYTES).then_some(())?;
    rest.get(..len)
}

/// For the target of headers: whether a relay accepts this authority, or its error.
pub(crate) fn check_authority(configured: &[String], local: &str, authority: &str) -> Result<(), String> {
    let local = local.parse().expect("an address");
    RelayAuthorities { configured, local }
        .check(authority)
        .map_err(|error| error.to_string())
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let proof = || Script::default().u8(2);
    vec![
        ("proof-and-pongs", proof().u8(5).u64(1).u8(5).u64(u64::MAX).done()),
        (
            "proof-and-decline",
            proof()
                .u8(6)
                .chunk(&[1; 16])
                .chunk(&[2; 32])
                .u32(500)
                .u8(6)
                .done(),
        ),
        ("altered-key", Script::default().u8(3).u8(8).u8(1).done()),
        (
            "altered-signature",
            Script::default().u8(3).u8(60).u8(0x80).done(),
        ),
        ("of-another-relay", Script::default().u8(4).done()),
        ("pong-first", Script::default().u8(5).u64(7).u8(2).done()),
        ("two-proofs", proof().u8(2).done()),
        ("too-long", Script::default().u8(0).chunk(&[0, 0, 0, 4, 1]).done()),
        ("empty-message", Script::default().u8(1).chunk(&[]).u8(2).done()),
        (
            "unknown-later",
            proof().u8(1).chunk(&[0x1a, 0]).u8(1).chunk(&[0xff]).done(),
        ),
        ("cut", Script::default().u8(0).chunk(&[0, 0, 0, 0, 9, 1]).done()),
        (
            "compressed",
            Script::default().u8(0).chunk(&[1, 0, 0, 0, 1, 0]).done(),
        ),
    ]
}

#[cfg(test)]
#[test]
fn nothing_but_its_own_unaltered_proof_registers_a_key() {
    baton_fuzz::replay(&REGISTER);
}
