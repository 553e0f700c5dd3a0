//! Which key exchange group two ends agree on, over real sockets, with a stock rustls at either end.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use baton_tls::provider;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{ActiveKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, CommonState, Error, HandshakeKind, NamedGroup,
    PeerMisbehaved, RootCertStore, ServerConfig, ServerConnection,
};

/// Longer than any handshake takes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The provider of a stock rustls, with these groups.
fn stock(groups: &[&'static dyn SupportedKxGroup]) -> CryptoProvider {
    CryptoProvider {
        kx_groups: groups.to_vec(),
        ..default_provider()
    }
}

/// The group, and the number of hellos.
type Agreed = (NamedGroup, HandshakeKind);

/// One hello sufficed.
const FULL: HandshakeKind = HandshakeKind::Full;
/// A second hello was needed.
const RETRIED: HandshakeKind = HandshakeKind::FullWithHelloRetryRequest;

fn configs(client: CryptoProvider, server: CryptoProvider) -> (ClientConfig, ServerConfig) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = CertificateDer::from(params.self_signed(&key).unwrap());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(client))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(Arc::new(server))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    (client, server)
}

/// What the handshake of one end results in.
fn outcome(handshake: io::Result<(usize, usize)>, state: &CommonState) -> Result<Agreed, Error> {
    match handshake {
        Ok(_) => {
            let group = state.negotiated_key_exchange_group().expect("a group");
            Ok((group.name(), state.handshake_kind().expect("a handshake")))
        }
        Err(error) => Err(error.downcast().expect("an error of TLS")),
    }
}

/// What client and server of a handshake end with.
fn handshake(client: CryptoProvider, server: CryptoProvider) -> [Result<Agreed, Error>; 2] {
    let (client, server) = configs(client, server);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut tls = ServerConnection::new(Arc::new(server)).unwrap();
        let handshake = tls.complete_io(&mut socket);
        outcome(handshake, &tls)
    });
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = ClientConnection::new(Arc::new(client), name).unwrap();
    let handshake = tls.complete_io(&mut socket);
    [outcome(handshake, &tls), serving.join().unwrap()]
}

/// Asserts that both ends agree on this group, by this kind of handshake.
#[track_caller]
fn assert_agreed(client: CryptoProvider, server: CryptoProvider, agreed: Agreed) {
    assert_eq!(handshake(client, server), [Ok(agreed), Ok(agreed)]);
}

#[test]
fn both_ends_agree_on_x25519mlkem768() {
    assert_agreed(provider(), provider(), (NamedGroup::X25519MLKEM768, FULL));
}

#[test]
fn a_stock_rustls_at_either_end_agrees_on_x25519mlkem768() {
    let agreed = (NamedGroup::X25519MLKEM768, FULL);
    let hybrid = || stock(&[kx_group::X25519MLKEM768, kx_group::X25519]);
    assert_agreed(hybrid(), provider(), agreed);
    assert_agreed(provider(), hybrid(), agreed);
    assert_agreed(provider(), default_provider(), agreed);
    assert_agreed(stock(&[kx_group::X25519MLKEM768]), provider(), agreed);
    assert_agreed(provider(), stock(&[kx_group::X25519MLKEM768]), agreed);
}

#[test]
fn an_end_that_knows_only_x25519_needs_no_second_hello() {
    let agreed = (NamedGroup::X25519, FULL);
    assert_agreed(provider(), stock(&[kx_group::X25519]), agreed);
    assert_agreed(stock(&[kx_group::X25519]), provider(), agreed);
}

#[test]
fn an_end_that_knows_only_p_256_is_served_by_p_256() {
    let p_256 = || stock(&[kx_group::SECP256R1]);
    // A server asks for the group, because no client sends a share of each group that it knows.
    assert_agreed(provider(), p_256(), (NamedGroup::secp256r1, RETRIED));
    assert_agreed(p_256(), provider(), (NamedGroup::secp256r1, FULL));
}

/// A group that claims to be X25519MLKEM768, with a share of that many bytes.
#[derive(Debug)]
struct Malformed(usize);

struct MalformedShare(Vec<u8>);

impl SupportedKxGroup for Malformed {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(MalformedShare(vec![0xff; self.0])))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

impl ActiveKeyExchange for MalformedShare {
    fn complete(self: Box<Self>, _: &[u8]) -> Result<SharedSecret, Error> {
        Ok(SharedSecret::from(&[0; 64][..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.0
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

/// The share of 1,216 bytes has the right length and a key that fails FIPS 203's check.
#[test]
fn a_client_with_an_invalid_share_gets_an_alert_and_is_at_fault() {
    static GROUPS: [Malformed; 5] = [
        Malformed(1),
        Malformed(1120),
        Malformed(1215),
        Malformed(1216),
        Malformed(1217),
    ];
    for group in &GROUPS {
        let [client, server] = handshake(stock(&[group]), provider());
        assert_eq!(server, Err(PeerMisbehaved::InvalidKeyShare.into()), "{group:?}");
        let alert = Error::AlertReceived(AlertDescription::IllegalParameter);
        assert_eq!(client, Err(alert), "{group:?}");
    }
}

/// The stock server answers with a share of the group's own kind, so it is a server that breaks the draft.
#[test]
fn a_server_with_a_malformed_share_is_at_fault() {
    static GROUPS: [Malformed; 3] = [Malformed(1119), Malformed(1121), Malformed(1216)];
    for group in &GROUPS {
        let [client, _] = handshake(provider(), stock(&[group]));
        assert_eq!(client, Err(PeerMisbehaved::InvalidKeyShare.into()), "{group:?}");
    }
}
