//! Certificates of a private authority, and relays that present them.

use std::path::Path;

use baton_channel::RelayRoots;
use baton_relay::{Config, Tls};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};

use super::RunningRelay;

/// A private certificate authority.
pub(crate) struct Authority {
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            certificate: params.self_signed(&key).unwrap(),
            key,
        }
    }

    /// Trust roots that contain only this authority.
    pub(crate) fn roots(&self) -> RelayRoots {
        RelayRoots::from_pem(self.pem().as_bytes()).unwrap()
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A relay with a certificate for `name`.
    pub(crate) async fn relay(&self, name: &str) -> RunningRelay {
        self.relay_with(name, |_| ()).await
    }

    /// A relay with a certificate for `name`, to which `change` is applied before it is signed.
    pub(crate) async fn relay_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> RunningRelay {
        let (certificate, key) = self.sign(name, change);
        relay(&certificate.pem(), &key.serialize_pem()).await
    }

    /// A certificate for `name` and its key.
    pub(crate) fn sign(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.certificate, &self.key).unwrap();
        (certificate, key)
    }
}

/// A relay with a certificate for `name` like that of `openssl req -x509`: self-signed and marked as an authority.
pub(crate) async fn self_signed_relay(name: &str) -> (RunningRelay, RelayRoots) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap().pem();
    let roots = RelayRoots::from_pem(certificate.as_bytes()).unwrap();
    (relay(&certificate, &key.serialize_pem()).await, roots)
}

async fn relay(certificate: &str, key: &str) -> RunningRelay {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        set_mode(&path, 0o600);
        path
    };
    let tls = Tls::from_pem_files(&file("cert.pem", certificate), &file("key.pem", key)).unwrap();
    let config = Config {
        tls: Some(tls),
        ..Config::default()
    };
    RunningRelay::start_with("127.0.0.1:0".parse().unwrap(), config).await
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
