//! TLS to the relay: calls work, the key exchange is post-quantum, only configured roots are trusted, and each failure
//! has an error type and a message.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::{Seed, StaticKey};
use baton_channel::{
    Channel, ChannelConfig, ConnectError, Notice, RegisterError, RelayError, RelayRoots, Server,
    ServerConfig, check_relay,
};
use baton_proto::limits::HANDSHAKE_TIMEOUT;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::PrivateKeyDer;
use rustls::{HandshakeKind, NamedGroup};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tonic::Code;

use crate::support::certificate::{Authority, self_signed_relay};
use crate::support::service::{Caller, Mounted};
use crate::support::{RunningRelay, RunningServer, source, within};

/// A call through the relay at `url`, between a client and a server that both trust `roots`.
async fn call(url: &str, roots: &RelayRoots) {
    let key = StaticKey::generate().unwrap();
    let allow = AllowList::only(*key.public(), "test", Trust::Continue);
    let server = RunningServer::start_with(url, allow, Mounted::echo(), roots.clone()).await;
    assert_eq!(server.ticket.relay_url, url);
    let channel = Channel::with_config(server.ticket.clone(), key, trusting(roots));
    assert_eq!(within(Caller::new(channel).echo("x")).await.unwrap(), "x");
    server.stop().await;
}

/// A channel with these trust roots for the relay.
fn trusting(roots: &RelayRoots) -> ChannelConfig {
    ChannelConfig {
        relay_roots: roots.clone(),
        ..ChannelConfig::default()
    }
}

/// The error of a client and a server that cannot connect to the relay at `url`. Both must report the same error.
async fn refused(url: &str, roots: RelayRoots) -> RelayError {
    let seed = Seed::generate().unwrap();
    let (notify, mut notices) = mpsc::unbounded_channel();
    let config = ServerConfig {
        relay_roots: roots.clone(),
        ..ServerConfig::default()
    };
    let server = Server::with_config(
        url,
        &seed,
        AllowList::only(*seed.client_key().unwrap().public(), "", Trust::Clamp),
        config,
    )
    .unwrap()
    .on_notice(move |notice| drop(notify.send(notice)));
    let ticket = server.ticket();
    let serving = tokio::spawn(server.serve(Mounted::echo(), std::future::pending()));
    // The server keeps retrying: a certificate can be renewed, and a temporary error must not end an exec-server.
    for _ in 0..2 {
        let notice = within(notices.recv()).await.unwrap();
        let Notice::Retrying(RegisterError::Relay(_), _) = notice else {
            panic!("{notice:?}");
        };
    }
    let notice = within(notices.recv()).await.unwrap();
    serving.abort();
    let Notice::Retrying(RegisterError::Relay(by_server), _) = notice else {
        panic!("{notice:?}");
    };

    let config = ChannelConfig {
        connect_timeout: Duration::ZERO,
        ..trusting(&roots)
    };
    let channel = Channel::with_config(ticket, seed.client_key().unwrap(), config);
    let started = std::time::Instant::now();
    let status = within(Caller::new(channel).echo("x")).await.unwrap_err();
    assert!(started.elapsed() < HANDSHAKE_TIMEOUT, "{status:?}");
    let ConnectError::Relay(by_client) = source::<ConnectError>(&status).clone() else {
        panic!("{status:?}");
    };
    let expected = match by_client.is_certificate() {
        true => Code::Unauthenticated,
        false => Code::Unavailable,
    };
    assert_eq!(status.code(), expected, "{status:?}");
    assert_eq!(by_client.to_string(), by_server.to_string());
    by_client
}

fn https(relay: &RunningRelay, host: &str) -> String {
    format!("https://{host}:{}", relay.address.port())
}

#[tokio::test]
async fn a_call_goes_through_a_relay_of_a_private_authority() {
    let authority = Authority::new();
    let relay = authority.relay("127.0.0.1").await;
    call(&https(&relay, "127.0.0.1"), &authority.roots()).await;
    let relay = authority.relay("localhost").await;
    call(&https(&relay, "localhost"), &authority.roots()).await;
}

#[tokio::test]
async fn a_self_signed_certificate_is_accepted_if_it_is_the_trust_root() {
    let (relay, roots) = self_signed_relay("localhost").await;
    call(&https(&relay, "localhost"), &roots).await;
    // The certificate is valid for its own name only.
    let error = refused(&https(&relay, "127.0.0.1"), roots.clone()).await;
    assert!(matches!(error, RelayError::WrongName { .. }), "{error:?}");
    // Another certificate for the same name is not trusted.
    let (other, _) = self_signed_relay("localhost").await;
    let error = refused(&https(&other, "localhost"), roots).await;
    assert!(matches!(error, RelayError::Untrusted { .. }), "{error:?}");
}

/// The group that a client of Baton with these roots and a stock rustls with these groups agree on, and the number of
/// hellos.
async fn agreed(
    authority: &Authority,
    roots: &RelayRoots,
    groups: &[&'static dyn SupportedKxGroup],
) -> (NamedGroup, HandshakeKind) {
    let (certificate, key) = authority.sign("127.0.0.1", |_| ());
    let provider = CryptoProvider {
        kx_groups: groups.to_vec(),
        ..default_provider()
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.into()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let roots = roots.clone();
    let client = tokio::spawn(async move { check_relay(&url, roots).await });
    let socket = within(listener.accept()).await.unwrap().0;
    let stream = within(TlsAcceptor::from(Arc::new(config)).accept(socket))
        .await
        .unwrap();
    client.abort();
    let tls = stream.get_ref().1;
    let group = tls.negotiated_key_exchange_group().unwrap();
    (group.name(), tls.handshake_kind().unwrap())
}

#[tokio::test]
async fn a_client_agrees_on_x25519mlkem768_and_offers_x25519_in_the_same_hello() {
    let authority = Authority::new();
    let hybrid = [kx_group::X25519, kx_group::X25519MLKEM768];
    let agreed = async |groups: &[_]| agreed(&authority, &authority.roots(), groups).await;
    let expected = (NamedGroup::X25519MLKEM768, HandshakeKind::Full);
    assert_eq!(agreed(&hybrid).await, expected);
    let expected = (NamedGroup::X25519, HandshakeKind::Full);
    assert_eq!(agreed(&[kx_group::X25519]).await, expected);
}

/// A client that remembered the earlier group would offer no other at first.
#[tokio::test]
async fn a_classical_key_exchange_does_not_make_the_next_hello_classical() {
    let authority = Authority::new();
    let roots = authority.roots();
    let (group, _) = agreed(&authority, &roots, &[kx_group::X25519]).await;
    assert_eq!(group, NamedGroup::X25519);
    let next = agreed(&authority, &roots, &[kx_group::X25519MLKEM768]).await;
    assert_eq!(next, (NamedGroup::X25519MLKEM768, HandshakeKind::Full));
}

#[tokio::test]
async fn nobody_is_believed_who_was_not_named() {
    let relay = Authority::new().relay("127.0.0.1").await;
    let url = https(&relay, "127.0.0.1");
    for roots in [Authority::new().roots(), RelayRoots::default()] {
        let error = refused(&url, roots).await;
        assert!(matches!(error, RelayError::Untrusted { .. }), "{error:?}");
        assert!(error.to_string().contains("--relay-ca FILE"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let relay = authority.relay("relay.example").await;
    let error = refused(&https(&relay, "localhost"), authority.roots()).await;
    let RelayError::WrongName { host, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(host, "localhost");
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused() {
    let authority = Authority::new();
    for (from, until, reason) in [
        (2000, 2001, "it has expired"),
        (2999, 3000, "its time has not begun"),
    ] {
        let relay = authority
            .relay_with("127.0.0.1", |params| {
                params.not_before = rcgen::date_time_ymd(from, 1, 1);
                params.not_after = rcgen::date_time_ymd(until, 1, 1);
            })
            .await;
        let error = refused(&https(&relay, "127.0.0.1"), authority.roots()).await;
        assert!(matches!(error, RelayError::Certificate { .. }), "{error:?}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn clear_text_to_a_relay_with_tls_fails_with_advice_to_use_https() {
    let authority = Authority::new();
    let relay = authority.relay("127.0.0.1").await;
    // With and without trust in its certificate.
    for roots in [authority.roots(), RelayRoots::default()] {
        let error = refused(&relay.url(), roots).await;
        assert!(matches!(error, RelayError::NeedsTls { .. }), "{error:?}");
        assert!(error.to_string().contains("use https://"), "{error}");
    }
}

#[tokio::test]
async fn tls_to_a_relay_without_tls_is_reported() {
    let relay = RunningRelay::start().await;
    let error = refused(&https(&relay, "127.0.0.1"), RelayRoots::default()).await;
    assert!(matches!(error, RelayError::NotTls { .. }), "{error:?}");
}

#[tokio::test]
async fn a_relay_that_is_down_is_not_reported_as_one_without_tls() {
    let relay = RunningRelay::start().await;
    let (clear, tls) = (relay.url(), https(&relay, "127.0.0.1"));
    relay.kill().await;
    for url in [clear, tls] {
        let error = refused(&url, RelayRoots::default()).await;
        assert!(matches!(error, RelayError::Unreachable { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn the_ca_file_is_read_for_each_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, old.pem()).unwrap();
    let roots = RelayRoots::from_pem_file(&file).unwrap();
    let relay = old.relay("127.0.0.1").await;
    call(&https(&relay, "127.0.0.1"), &roots).await;
    let relay = new.relay("127.0.0.1").await;
    let url = https(&relay, "127.0.0.1");
    let error = refused(&url, roots.clone()).await;
    assert!(matches!(error, RelayError::Untrusted { .. }), "{error:?}");
    std::fs::write(&file, new.pem()).unwrap();
    call(&url, &roots).await;
    // A file without a certificate trusts no relay.
    std::fs::write(&file, "").unwrap();
    let error = refused(&url, roots.clone()).await;
    assert!(matches!(error, RelayError::Roots { .. }), "{error:?}");
    std::fs::remove_file(&file).unwrap();
    let error = refused(&url, roots).await;
    assert!(
        error.to_string().contains("cannot read the relay's CA file"),
        "{error}"
    );
}

#[test]
fn a_file_that_holds_no_certificate_is_no_authority() {
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in ["", "x", "-----BEGIN CERTIFICATE-----\n", certificate] {
        assert!(RelayRoots::from_pem(text.as_bytes()).is_none(), "{text}");
    }
}
