//! The trust roots that verify a relay's certificate.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_regular_file::{OpenError, RegularFile};
use baton_tls::provider;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::ALPN;
use crate::limits;

/// The trust roots for the certificate of a relay whose URL is `https`.
///
/// [`Default`] is the platform's list of authorities: on Linux the system's bundle, or the one that `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` name. On a machine without a list, it is Mozilla's list, which is built in. Cheap to clone.
#[derive(Clone, Default)]
pub struct RelayRoots(Arc<Roots>);

#[derive(Default)]
struct Roots {
    /// A private authority's file, which is read for each connection. `None`: no file.
    file: Option<PathBuf>,
    /// The last certificates and their configuration.
    cache: Mutex<Cache>,
}

/// The certificates of the last read, and the configuration that the first connection built from them. It is built
/// lazily, because reading the platform's list takes milliseconds that a clear-text connection does not need.
#[derive(Default)]
struct Cache {
    /// `None`: the platform's list.
    certificates: Option<Vec<CertificateDer<'static>>>,
    config: Option<Arc<ClientConfig>>,
}

/// Why no connection can be opened with these roots.
#[derive(Debug)]
pub(super) enum ConfigError {
    /// The file has changed and can no longer be used.
    File(RootsError),
    /// rustls does not accept them.
    Tls(String),
}

/// Why the file of a private authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The operating system failed to read it.
    #[error("cannot read the relay's CA file {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The path is a directory, a FIFO or a device, which cannot be read for each connection.
    #[error("{path} is not a regular file: store the relay's CA certificates in a regular file")]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
    /// The file does not contain only certificates in PEM.
    #[error(
        "{path} is no CA file: expected one or more certificates in PEM, each beginning with -----BEGIN CERTIFICATE-----"
    )]
    Format {
        /// Which file.
        path: PathBuf,
    },
}

impl RelayRoots {
    /// Trusts only the certificates of a PEM file: a private authority, or the relay's own certificate.
    ///
    /// The file may have at most [`limits::CA_FILE`] bytes. It is read now and again for each connection, so a renewed
    /// authority applies from the next connection. While the file cannot be used, connections fail.
    pub fn from_pem_file(path: &Path) -> Result<Self, RootsError> {
        let certificates = read(path)?;
        Ok(Self::of(certificates, Some(path.into())))
    }

    /// Trusts only these PEM certificates, which are not read again. `None` if there is no certificate, or one is
    /// malformed.
    pub fn from_pem(text: &[u8]) -> Option<Self> {
        Some(Self::of(parse(text)?, None))
    }

    fn of(certificates: Vec<CertificateDer<'static>>, file: Option<PathBuf>) -> Self {
        let cache = Cache {
            certificates: Some(certificates),
            config: None,
        };
        Self(Arc::new(Roots {
            file,
            cache: Mutex::new(cache),
        }))
    }

    /// The configuration for rustls. Reads files, so it may block.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, ConfigError> {
        let now = self.0.file.as_deref().map(read).transpose();
        let now = now.map_err(ConfigError::File)?;
        let mut cache = self.0.lock();
        if now.is_some() && now != cache.certificates {
            *cache = Cache {
                certificates: now,
                config: None,
            };
        }
        if let Some(config) = &cache.config {
            return Ok(Arc::clone(config));
        }
        let config = config(cache.certificates.as_deref()).map_err(ConfigError::Tls)?;
        cache.config = Some(Arc::clone(&config));
        Ok(config)
    }
}

impl Roots {
    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let failed = |source| RootsError::File {
        path: path.into(),
        source,
    };
    let format = || RootsError::Format { path: path.into() };
    // A plain open of a FIFO would wait for a writer.
    let file = RegularFile::open(path).map_err(|error| match error {
        OpenError::Io(source) => failed(source),
        OpenError::NotRegular => RootsError::NotAFile { path: path.into() },
    })?;
    let text = file.read(limits::CA_FILE).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => format(),
        _ => failed(error),
    })?;
    parse(&text).ok_or_else(format)
}

fn parse(text: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .ok()?;
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        store.add(certificate.clone()).ok()?;
    }
    (!certificates.is_empty()).then_some(certificates)
}

/// `None`: the platform's roots.
fn config(own: Option<&[CertificateDer<'static>]>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(store(own).into(), Arc::clone(&provider))
        .build()
        .map_err(|error| error.to_string())?;
    let own = own.unwrap_or_default().to_vec();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { own, verifier }))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Peers never resume a TLS session. rustls would also remember the group of the last connection, and offer a key
    // share of it alone: after one proxy without X25519MLKEM768, hellos to others would be classical at first.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn store(own: Option<&[CertificateDer<'static>]>) -> RootCertStore {
    let mut store = RootCertStore::empty();
    match own {
        Some(own) => {
            store.add_parsable_certificates(own.iter().cloned());
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
        }
    }
    store
}

impl fmt::Debug for RelayRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.lock().certificates {
            Some(own) => write!(f, "RelayRoots({} certificates)", own.len()),
            None => f.write_str("RelayRoots(platform)"),
        }
    }
}

/// webpki's verifier, which also accepts the relay's own certificate if it is one of the configured roots.
///
/// The usual `openssl req -x509` marks its certificate as an authority, and webpki refuses an authority's certificate
/// as a server's. An exact match with a configured certificate proves as much as a signature by it.
#[derive(Debug)]
struct Verifier {
    own: Vec<CertificateDer<'static>>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.verifier
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // webpki checks the validity period before this error.
            Err(Error::InvalidCertificate(CertificateError::Other(error))) if is_authority(&error) => {
                if !self.own.contains(end_entity) {
                    return Err(CertificateError::UnknownIssuer.into());
                }
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

fn is_authority(error: &rustls::OtherError) -> bool {
    matches!(
        error.0.downcast_ref::<webpki::Error>(),
        Some(webpki::Error::CaUsedAsEndEntity)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_as_ca_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, 0o600.into(), 0).unwrap();
        let (sender, result) = std::sync::mpsc::channel();
        let fifo = path.clone();
        std::thread::spawn(move || sender.send(RelayRoots::from_pem_file(&fifo).err()));
        let error = result.recv_timeout(std::time::Duration::from_secs(60));
        let error = error.expect("does not wait").expect("is refused").to_string();
        let expected = format!("{} is not a regular file: ", path.display());
        assert!(error.starts_with(&expected), "{error}");
    }
}
