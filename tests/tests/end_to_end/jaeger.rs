//! `baton analyze --jaeger https://…`: a server of rustls with a certificate of a private authority.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::version::TLS13;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::support::{Finished, Home, run};

/// An authority whose certificate is in a file.
struct Authority {
    certificate: Certificate,
    key: KeyPair,
    file: PathBuf,
}

impl Authority {
    fn new(home: &Home, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let file = home.file(name);
        fs::write(&file, certificate.pem()).unwrap();
        Self {
            certificate,
            key,
            file,
        }
    }

    /// A server for `localhost` that answers each search with this body. Returns its port.
    fn serve(&self, body: String) -> u16 {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.certificate, &self.key).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that does not trust the certificate aborts the handshake.
                let _ = answer(&config, stream.unwrap(), &body);
            }
        });
        port
    }
}

/// Answers one request.
fn answer(config: &Arc<ServerConfig>, stream: TcpStream, body: &str) -> io::Result<()> {
    let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let mut lines = BufReader::new(StreamOwned::new(connection, stream));
    let mut request = String::new();
    lines.read_line(&mut request)?;
    let mut line = String::new();
    while lines.read_line(&mut line)? > 2 {
        line.clear();
    }
    let status = match request.starts_with("GET /api/v3/traces?") {
        true => "200 OK",
        false => "400 Bad Request",
    };
    let tls = lines.get_mut();
    write!(
        tls,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    tls.conn.send_close_notify();
    tls.flush()
}

#[test]
fn a_jaeger_behind_tls_is_read_if_its_authority_is_trusted() {
    let home = Home::new();
    let trace = home.file("trace.json");
    let mut recorded = home.baton();
    recorded.args(["run", "--quiet", "--trace-json"]).arg(&trace);
    recorded.args(["--", "true"]);
    run(recorded).assert_printed("");
    let authority = Authority::new(&home, "authority.pem");
    let port = authority.serve(format!("{{\"result\":{}}}", fs::read_to_string(&trace).unwrap()));
    let analyze = |host: &str, trusted: &Authority| -> Finished {
        let mut baton = home.baton();
        baton.args(["analyze", "--json", "--jaeger"]);
        baton.arg(format!("https://{host}:{port}"));
        baton.env("SSL_CERT_FILE", &trusted.file);
        run(baton)
    };
    let analyzed = analyze("localhost", &authority);
    assert_eq!((analyzed.code, &*analyzed.stderr), (0, ""), "{analyzed:?}");
    let json: Value = serde_json::from_slice(&analyzed.stdout).unwrap();
    assert!(json.to_string().contains("\"process.spawn\""), "{json}");

    let failed = |host: &str| format!("TLS with Jaeger at https://{host}:{port} failed: ");
    let other = Authority::new(&home, "other.pem");
    analyze("localhost", &other).assert_failed(255, &failed("localhost"));
    // An authority that cannot be read does not give way to those of the system.
    let absent = Authority {
        file: home.file("absent.pem"),
        ..Authority::new(&home, "third.pem")
    };
    let unread = analyze("localhost", &absent);
    unread.assert_failed(255, "no authority could be read from SSL_CERT_FILE");
    // The certificate is for another name.
    analyze("127.0.0.1", &authority).assert_failed(255, &failed("127.0.0.1"));
}
