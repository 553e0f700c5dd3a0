//! The first message of TLS, as a client sends it to a relay.

use std::sync::Arc;

use baton_bench::Failure;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, NamedGroup, RootCertStore};

/// A client's cryptography.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cryptography {
    /// Baton's: X25519MLKEM768 and X25519.
    Own,
    /// Baton's, X25519 alone.
    X25519,
    /// X25519MLKEM768 of aws-lc-rs, with its own random generator.
    AwsLc,
}

impl Cryptography {
    fn provider(self) -> CryptoProvider {
        let mut own = baton_tls::provider();
        match self {
            Self::Own => own,
            Self::X25519 => {
                own.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
                own
            }
            Self::AwsLc => CryptoProvider {
                kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
                ..default_provider()
            },
        }
    }

    /// A client's configuration, which a hello does not include.
    pub(crate) fn config(self) -> Result<Arc<ClientConfig>, Failure> {
        let config = ClientConfig::builder_with_provider(Arc::new(self.provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

/// Makes a hello. Returns its length.
pub(crate) fn hello(config: Arc<ClientConfig>) -> Result<usize, Failure> {
    let mut client = ClientConnection::new(config, ServerName::try_from("relay.example")?)?;
    Ok(client.write_tls(&mut std::io::sink())?)
}
