//! TLS 1.3 for the relay's connections: its certificate and key, read again when the files change.
//!
//! TLS hides ids, dial tokens and the sizes of frames from the network. Programs that renew certificates replace the
//! files every few weeks, and a restart would end every session. So the relay checks the files while it runs. If new
//! files cannot be used, the previous certificate stays in use.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};
use std::{fmt, fs, io};

use baton_regular_file::{OpenError, RegularFile};
use baton_tls::provider;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::limits::{PEM_BYTES, TLS_FILES_CHECK_INTERVAL};

/// The ALPN protocol id of HTTP/2 over TLS (RFC 9113 section 3.2).
const ALPN: &[u8] = b"h2";

/// A relay's certificate and key. Clones share them.
#[derive(Clone)]
pub struct Tls(Arc<CertificateFiles>);

struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<LoadedCertificate>,
}

struct LoadedCertificate {
    config: Arc<ServerConfig>,
    /// The modification times of both files when they were loaded.
    modified: ModificationTimes,
    checked: Instant,
}

type ModificationTimes = (Option<SystemTime>, Option<SystemTime>);

/// Certificate and key cannot be used. The relay's operator must fix them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The operating system reported an error, or the file is too long.
    #[error("cannot read {path}: {source}; check the path and its permissions")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, a FIFO or a device, which cannot be read a second time.
    #[error("{path} is not a regular file: store the PEM text in a regular file")]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
    /// The file contains something else.
    #[error("{path} contains no {expected} in PEM format: expected a file with -----BEGIN {label}-----")]
    Format {
        /// Which file.
        path: PathBuf,
        /// "certificate" or "private key".
        expected: &'static str,
        /// PEM's label for it.
        label: &'static str,
    },
    /// Another user could impersonate this relay.
    #[error("other users can access the key {path} (mode {mode:03o}): run `chmod {right:03o} {path}`")]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The permission bits that the file should have.
        right: u32,
    },
    /// They do not match, or the key's algorithm is not supported.
    #[error(
        "the key {key} cannot be used with the certificate {certificate}: {reason}; pass the certificate's own key"
    )]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// rustls's error.
        reason: String,
    },
}

impl Tls {
    /// Reads a certificate chain, leaf first, and its private key (PKCS #8, SEC 1 or PKCS #1), both in PEM format.
    /// Refuses a key that other users can access, except a group's read access to a file of root.
    ///
    /// At the first connection after each [`TLS_FILES_CHECK_INTERVAL`], the files are read again if they have changed.
    pub fn from_pem_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = LoadedCertificate {
            modified: modified(certificate, key),
            config: load(certificate, key)?,
            checked: Instant::now(),
        };
        warm_up_generator();
        Ok(Self(Arc::new(CertificateFiles {
            certificate: certificate.into(),
            key: key.into(),
            current: Mutex::new(current),
        })))
    }

    /// Performs the handshake. It has no timeout; the caller sets one.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        TlsAcceptor::from(self.config(Instant::now()))
            .accept(stream)
            .await
    }

    fn config(&self, now: Instant) -> Arc<ServerConfig> {
        let CertificateFiles {
            certificate,
            key,
            current,
        } = &*self.0;
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(current.checked) >= TLS_FILES_CHECK_INTERVAL {
            current.checked = now;
            let modified = modified(certificate, key);
            if modified != current.modified {
                match load(certificate, key) {
                    Ok(config) => {
                        tracing::info!("the certificate was read again");
                        (current.config, current.modified) = (config, modified);
                    }
                    // One of the two files may not be replaced yet: tried again, and logged again, next time.
                    Err(error) => tracing::warn!("the previous certificate stays in use: {error}"),
                }
            }
        }
        current.config.clone()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({}, <redacted>)", self.0.certificate.display())
    }
}

/// Draws a first number from aws-lc's random generator, which takes 27 ms (jitter entropy). An ECDSA signature uses that
/// generator, so without this call the first handshake would take longer.
#[expect(clippy::disallowed_methods, reason = "the cost is why it is called")]
fn warm_up_generator() {
    let _ = aws_lc_rs::rand::fill(&mut [0; 32]);
}

fn modified(certificate: &Path, key: &Path) -> ModificationTimes {
    let modified = |path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    (modified(certificate), modified(key))
}

fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(&read(certificate, |_| Ok(()))?)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| TlsError::Format {
            path: certificate.into(),
            expected: "certificate",
            label: "CERTIFICATE",
        })?;
    let text = zeroize::Zeroizing::new(read(key, |metadata| is_private(key, metadata))?);
    let private = PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsError::Format {
        path: key.into(),
        expected: "private key",
        label: "PRIVATE KEY",
    })?;
    let pair = |error: rustls::Error| TlsError::Pair {
        certificate: certificate.into(),
        key: key.into(),
        reason: error.to_string(),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(pair)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Peers never resume a TLS session.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Reads a regular file of at most [`PEM_BYTES`], if `check` accepts the metadata of the opened file.
fn read(path: &Path, check: impl FnOnce(&fs::Metadata) -> Result<(), TlsError>) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::File {
        path: path.into(),
        source,
    };
    let file = RegularFile::open(path).map_err(|error| match error {
        OpenError::Io(source) => failed(source),
        OpenError::NotRegular => TlsError::NotAFile { path: path.into() },
    })?;
    check(file.metadata())?;
    file.read(PEM_BYTES).map_err(failed)
}

fn is_private(path: &Path, metadata: &fs::Metadata) -> Result<(), TlsError> {
    let mode = metadata.mode() & 0o777;
    let right = right_mode(metadata.uid());
    if mode & 0o077 & !right == 0 {
        return Ok(());
    }
    Err(TlsError::Permissions {
        path: path.into(),
        mode,
        right,
    })
}

/// The permission bits that a key may have: root may grant a group read access, as PostgreSQL allows too.
fn right_mode(owner: u32) -> u32 {
    match owner {
        0 => 0o640,
        _ => 0o600,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(dir: &Path) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        fs::write(dir.join("cert"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(dir.join("key"), key.serialize_pem()).unwrap();
        fs::set_permissions(dir.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Sets the modification time, because the clocks of file systems are coarse.
    fn touch(path: &Path, seconds: u64) {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        File::open(path).unwrap().set_modified(time).unwrap();
    }

    /// A plain open of a FIFO waits for a writer, and would block every session of the relay.
    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path());
        let [cert, key, fifo] = ["cert", "key", "fifo"].map(|name| dir.path().join(name));
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, 0o600.into(), 0).unwrap();
        let (sender, told) = std::sync::mpsc::channel();
        let pairs = [(fifo.clone(), key), (cert, fifo)];
        std::thread::spawn(move || {
            for (cert, key) in pairs {
                let _ = sender.send(Tls::from_pem_files(&cert, &key).unwrap_err());
            }
        });
        for _ in 0..2 {
            let error = told
                .recv_timeout(std::time::Duration::from_secs(60))
                .expect("does not wait");
            assert!(matches!(error, TlsError::NotAFile { .. }), "{error}");
        }
    }

    #[test]
    fn only_root_shares_a_key_with_a_group() {
        assert_eq!(right_mode(0) & 0o077, 0o040);
        assert_eq!(right_mode(1000) & 0o077, 0);
    }

    #[test]
    fn a_renewed_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path());
        let tls = Tls::from_pem_files(&dir.path().join("cert"), &dir.path().join("key")).unwrap();
        let now = Instant::now();
        let first = tls.config(now);

        write(dir.path());
        touch(&dir.path().join("cert"), 1);
        assert!(Arc::ptr_eq(&tls.config(now), &first), "not checked at yet");
        let later = now + TLS_FILES_CHECK_INTERVAL * 2;
        let second = tls.config(later);
        assert!(!Arc::ptr_eq(&second, &first), "read again");
        assert!(
            Arc::ptr_eq(&tls.config(later + TLS_FILES_CHECK_INTERVAL), &second),
            "once"
        );

        fs::write(dir.path().join("cert"), "half of it").unwrap();
        touch(&dir.path().join("cert"), 2);
        assert!(
            Arc::ptr_eq(&tls.config(later + TLS_FILES_CHECK_INTERVAL * 2), &second),
            "kept"
        );
        write(dir.path());
        touch(&dir.path().join("cert"), 3);
        assert!(
            !Arc::ptr_eq(&tls.config(later + TLS_FILES_CHECK_INTERVAL * 3), &second),
            "fixed"
        );
    }
}
