//! The relay with TLS: it checks its files before it listens, a silent peer costs little, and a renewed certificate
//! needs no restart.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use baton_relay::{Config, Limits, Tls, TlsError};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs::{DEFAULT_KX_GROUPS, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, HandshakeKind, NamedGroup, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::balancer::{begin, behind_balancer, proxied};
use crate::support::{TestRelay, within_timeout};

/// A certificate and its key, in files.
struct CertificateFiles {
    dir: TempDir,
    certificate: String,
}

impl CertificateFiles {
    fn new() -> Self {
        let mut files = Self {
            dir: tempfile::tempdir().unwrap(),
            certificate: String::new(),
        };
        files.renew();
        files
    }

    /// Replaces both files.
    fn renew(&mut self) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        self.certificate = params.self_signed(&key).unwrap().pem();
        fs::write(self.path("cert.pem"), &self.certificate).unwrap();
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        set_mode(&self.path("key.pem"), 0o600);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn load(&self) -> Result<Tls, TlsError> {
        Tls::from_pem_files(&self.path("cert.pem"), &self.path("key.pem"))
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

async fn relay(files: &CertificateFiles, handshake_timeout: Duration) -> TestRelay {
    relay_with(files, handshake_timeout, Config::default()).await
}

async fn relay_with(files: &CertificateFiles, handshake_timeout: Duration, config: Config) -> TestRelay {
    TestRelay::with(Config {
        tls: Some(files.load().unwrap()),
        limits: Limits {
            handshake_timeout,
            ..Limits::default()
        },
        ..config
    })
    .await
}

/// Performs the handshake of a client that trusts `certificate`.
async fn handshake(
    relay: &TestRelay,
    certificate: &str,
    alpn: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    handshake_with(relay, certificate, alpn, DEFAULT_KX_GROUPS).await
}

/// The same with a stock rustls that knows these key exchange groups.
async fn handshake_with(
    relay: &TestRelay,
    certificate: &str,
    alpn: &str,
    groups: &[&'static dyn SupportedKxGroup],
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(relay.addr).await.unwrap();
    handshake_on(socket, certificate, alpn, groups).await
}

async fn handshake_on(
    socket: TcpStream,
    certificate: &str,
    alpn: &str,
    groups: &[&'static dyn SupportedKxGroup],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap())
        .unwrap();
    let provider = CryptoProvider {
        kx_groups: groups.to_vec(),
        ..default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

#[tokio::test]
async fn it_speaks_http_2_under_tls_1_3() {
    let files = CertificateFiles::new();
    let relay = relay(&files, Duration::from_secs(5)).await;
    let mut stream = handshake(&relay, &files.certificate, "h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 4];
    within_timeout("the relay's settings", stream.read_exact(&mut head))
        .await
        .unwrap();
    assert_eq!(head[3], 4, "SETTINGS");
}

#[tokio::test]
async fn a_relay_agrees_on_x25519mlkem768_and_serves_clients_without_it() {
    let files = CertificateFiles::new();
    let relay = relay(&files, Duration::from_secs(5)).await;
    for (group, name) in [
        (kx_group::X25519MLKEM768, NamedGroup::X25519MLKEM768),
        (kx_group::X25519, NamedGroup::X25519),
        (kx_group::SECP256R1, NamedGroup::secp256r1),
    ] {
        let stream = handshake_with(&relay, &files.certificate, "h2", &[group])
            .await
            .unwrap();
        let tls = stream.get_ref().1;
        assert_eq!(tls.negotiated_key_exchange_group().unwrap().name(), name);
        assert_eq!(tls.handshake_kind(), Some(HandshakeKind::Full), "{name:?}");
    }
}

#[tokio::test]
async fn behind_a_balancer_the_handshake_follows_the_header() {
    let files = CertificateFiles::new();
    let relay = relay_with(&files, Duration::from_secs(5), behind_balancer()).await;
    // The certificate's key is the relay's: a balancer that forwards TLS does not end it.
    let socket = begin(&relay, &proxied("192.0.2.1:1234", b"\x04\0\x01x")).await;
    let stream = handshake_on(socket, &files.certificate, "h2", DEFAULT_KX_GROUPS).await;
    assert_eq!(stream.unwrap().get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let socket = begin(&relay, &[]).await;
    let without = handshake_on(socket, &files.certificate, "h2", DEFAULT_KX_GROUPS).await;
    assert!(without.is_err());
}

#[tokio::test]
async fn another_protocol_is_refused_in_the_handshake() {
    let files = CertificateFiles::new();
    let relay = relay(&files, Duration::from_secs(5)).await;
    assert!(handshake(&relay, &files.certificate, "http/1.1").await.is_err());
}

#[tokio::test]
async fn a_peer_that_is_silent_is_hung_up_on_and_holds_nobody_up() {
    let files = CertificateFiles::new();
    let relay = relay(&files, Duration::from_millis(300)).await;
    let mut silent = TcpStream::connect(relay.addr).await.unwrap();
    handshake(&relay, &files.certificate, "h2").await.unwrap();
    let read = within_timeout("its end", silent.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn a_handshake_under_way_does_not_hold_the_shutdown_up() {
    let files = CertificateFiles::new();
    let mut relay = relay(&files, Duration::from_secs(3600)).await;
    let mut silent = TcpStream::connect(relay.addr).await.unwrap();
    // When this completes, the relay has accepted the silent connection too.
    handshake(&relay, &files.certificate, "h2").await.unwrap();
    relay.shut_down().await;
    let read = within_timeout("its end", silent.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn clear_text_gets_an_alert_and_no_answer() {
    let files = CertificateFiles::new();
    let relay = relay(&files, Duration::from_secs(5)).await;
    let mut socket = TcpStream::connect(relay.addr).await.unwrap();
    socket
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = within_timeout("its end", socket.read_to_end(&mut answer)).await;
    assert_eq!(
        answer.first(),
        Some(&21),
        "an alert (RFC 8446 section 5.1): {answer:?}"
    );
    assert!(answer.len() < 16, "{answer:?}");
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let files = CertificateFiles::new();
    let key = files.path("key.pem");
    for mode in [0o644, 0o604, 0o620, 0o666, 0o601] {
        set_mode(&key, mode);
        let error = files.load().unwrap_err();
        assert!(matches!(error, TlsError::Permissions { .. }), "{mode:o}: {error}");
        let text = error.to_string();
        assert!(
            text.contains(&format!("{}`", key.display())) && text.contains("`chmod 6"),
            "{text}"
        );
    }
    set_mode(&key, 0o400);
    files.load().unwrap();
}

#[test]
fn files_that_are_no_pair_are_told_apart() {
    let (files, other) = (CertificateFiles::new(), CertificateFiles::new());
    let (cert, key) = (files.path("cert.pem"), files.path("key.pem"));
    let load = |cert: &Path, key: &Path| Tls::from_pem_files(cert, key).unwrap_err();
    let absent = files.path("absent");
    assert!(matches!(load(&absent, &key), TlsError::File { .. }));
    assert!(matches!(load(&cert, &absent), TlsError::File { .. }));
    set_mode(&cert, 0o600);
    assert!(matches!(
        load(&cert, &cert),
        TlsError::Format {
            label: "PRIVATE KEY",
            ..
        }
    ));
    assert!(matches!(
        load(&key, &key),
        TlsError::Format {
            label: "CERTIFICATE",
            ..
        }
    ));
    assert!(matches!(
        load(&cert, &other.path("key.pem")),
        TlsError::Pair { .. }
    ));
    let long = files.path("long");
    fs::write(&long, vec![b'x'; 2 * 1024 * 1024]).unwrap();
    assert!(matches!(load(&long, &key), TlsError::File { .. }));
}

#[test]
fn debug_prints_no_key() {
    let files = CertificateFiles::new();
    let printed = format!("{:?}", files.load().unwrap());
    assert!(printed.contains("<redacted>"), "{printed}");
    assert!(printed.len() < 200, "{printed}");
}
