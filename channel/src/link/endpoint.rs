//! An HTTP/2 connection to a relay, with the window arithmetic of the design.

use std::net::IpAddr;
use std::sync::Arc;

use baton_proto::limits::{OUTER_CONNECTION_WINDOW, OUTER_FRAME_SIZE, OUTER_STREAM_WINDOW};
use http::Uri;
use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::{SERVER_ADDRESS, SERVER_PORT};
use tonic::transport::{Channel, Endpoint};

use super::network::Network;
use super::tcp::Tcp;
use super::tls::connector::Connector;
use super::tls::roots::RelayRoots;
use crate::limits;

/// The relay's URL cannot be used, or the relay cannot be reached as it says.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RelayError {
    /// Not a URL of a relay.
    #[error("`{0}` is not a relay URL: expected https://host:port or http://host:port")]
    Url(String),
    /// Nobody answered.
    #[error("cannot reach the relay at {url}: {reason}; is `baton relay` running there?")]
    Unreachable {
        /// Where.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// No authority that we trust vouches for the relay's certificate.
    #[error(
        "the certificate of the relay at {url} is signed by nobody trusted here: if its authority is private, pass the \
         authority's certificate by --relay-ca FILE; else somebody may be posing as the relay"
    )]
    Untrusted {
        /// Where.
        url: String,
    },
    /// The certificate is another host's.
    #[error(
        "the certificate of the relay at {url} is not for `{host}`: dial the relay by a name in its certificate, or give \
         the relay a certificate with this one"
    )]
    WrongName {
        /// Where.
        url: String,
        /// The name it lacks.
        host: String,
    },
    /// The certificate cannot be accepted for another reason: expired, not valid yet, malformed.
    #[error(
        "the certificate of the relay at {url} is not valid ({reason}): renew it on the relay, and check the clocks of both \
         machines"
    )]
    Certificate {
        /// Where.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `https`, but what answers speaks something else.
    #[error(
        "{url} does not speak TLS: if you trust the network between, use http:// instead, or start the relay with \
         --tls-cert and --tls-key"
    )]
    NotTls {
        /// Where.
        url: String,
    },
    /// `http`, but what answers speaks TLS.
    #[error("{url} speaks TLS only: use https:// instead")]
    NeedsTls {
        /// Where.
        url: String,
    },
    /// The file of a private authority, which is read anew for each connection, cannot be used any more.
    #[error("no connection to {url}: {reason}")]
    Roots {
        /// Where.
        url: String,
        /// What is wrong with the file.
        reason: String,
    },
    /// The TLS handshake failed for another reason.
    #[error("cannot set up TLS with {url}: {reason}; a relay needs TLS 1.3 and HTTP/2")]
    Tls {
        /// Where.
        url: String,
        /// What failed.
        reason: String,
    },
}

impl RelayError {
    /// Whether only another URL helps. A relay that is down comes back, and a certificate is renewed: an exec-server that gave up
    /// then would be gone for good, and whoever can disturb its connection once could make it so.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Url(_))
    }

    /// Whether waiting can be enough: the relay is down, restarts, or the way to it is broken.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Roots { .. })
    }

    /// Whether the relay could not prove that it is the one of the URL.
    pub fn is_certificate(&self) -> bool {
        matches!(
            self,
            Self::Untrusted { .. } | Self::WrongName { .. } | Self::Certificate { .. }
        )
    }
}

/// A checked relay URL, whom to believe about the relay behind it, and the way there.
#[derive(Debug, Clone)]
pub(crate) struct RelayUrl {
    uri: Uri,
    authority: String,
    roots: RelayRoots,
    /// `None` is TCP.
    network: Option<Network>,
}

impl RelayUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, RelayError> {
        let bad = || RelayError::Url(baton_trace::text::hint(text));
        let uri: Uri = text.parse().map_err(|_| bad())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(bad());
        }
        let authority = uri.authority().ok_or_else(bad)?.to_string();
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.contains('@') {
            return Err(bad());
        }
        Ok(Self {
            uri,
            authority,
            roots: RelayRoots::default(),
            network: None,
        })
    }

    /// Whom to believe when it is `https`; the platform's authorities if not told.
    pub(crate) fn with_roots(self, roots: RelayRoots) -> Self {
        Self { roots, ..self }
    }

    /// The same relay, over another network.
    pub(crate) fn over(self, network: Option<Network>) -> Self {
        Self { network, ..self }
    }

    /// Whether the way to the relay can be listened to by others than this machine.
    pub(crate) fn is_exposed(&self) -> bool {
        let host = self.host();
        let is_loopback = host.eq_ignore_ascii_case("localhost")
            || host
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.to_canonical().is_loopback());
        !self.is_tls() && !is_loopback
    }

    /// `host:port` as dialled; part of what a registration signs.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The absolute URI of a relay method.
    pub(crate) fn method(&self, name: &str) -> Uri {
        self.at(format!("/baton.relay.v1.Relay/{name}"))
    }

    /// The absolute URI of `path`, a constant that begins with `/`.
    pub(crate) fn at(&self, path: String) -> Uri {
        Uri::builder()
            .scheme(self.uri.scheme_str().unwrap_or("http"))
            .authority(self.authority.as_str())
            .path_and_query(path)
            .build()
            // All three parts come from a parsed URI and a constant.
            .expect("a checked relay URL and a path make a URI")
    }

    /// Connects. Each caller gets a connection of its own.
    pub(crate) async fn connect(&self) -> Result<Channel, RelayError> {
        let endpoint = Endpoint::from(self.uri.clone())
            .connect_timeout(limits::CONNECT_TIMEOUT)
            .initial_stream_window_size(OUTER_STREAM_WINDOW)
            .initial_connection_window_size(OUTER_CONNECTION_WINDOW)
            .max_frame_size(OUTER_FRAME_SIZE)
            .http2_keep_alive_interval(limits::OUTER_KEEP_ALIVE)
            .keep_alive_timeout(limits::OUTER_KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let connected = match (&self.network, self.is_tls()) {
            (_, true) => endpoint.connect_with_connector(self.connector()).await,
            (Some(network), false) => endpoint.connect_with_connector(network.clone()).await,
            (None, false) => endpoint.connect_with_connector(self.tcp()).await,
        };
        connected.map_err(|error| {
            cause(&error).cloned().unwrap_or_else(|| RelayError::Unreachable {
                url: self.uri.to_string(),
                reason: innermost(&error),
            })
        })
    }

    /// What may be behind a connection over which no answer came: in clear text, a relay that waits for TLS. Asked after
    /// the fact, so that a connection that works pays nothing, and over TCP only: another network is its owner's to know.
    pub(crate) async fn explain(&self) -> Option<RelayError> {
        if self.is_tls() || self.network.is_some() {
            return None;
        }
        let hello = tokio::time::timeout(limits::PROBE_TIMEOUT, self.connector().connect()).await;
        let speaks_tls = match hello.ok()? {
            Ok(_) => true,
            Err(error) => error.is_certificate(),
        };
        speaks_tls.then(|| RelayError::NeedsTls {
            url: self.uri.to_string(),
        })
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    fn port(&self) -> u16 {
        let default_port = if self.is_tls() { 443 } else { 80 };
        self.uri.port_u16().unwrap_or(default_port)
    }

    /// What the conventions ask of a client's span: the server as it is dialled, which is the relay.
    pub(crate) fn attributes(&self) -> Vec<KeyValue> {
        let host: Arc<str> = self.host().into();
        vec![
            KeyValue::new(SERVER_ADDRESS, host),
            KeyValue::new(SERVER_PORT, i64::from(self.port())),
        ]
    }

    fn tcp(&self) -> Tcp {
        Tcp {
            host: self.host().to_owned(),
            port: self.port(),
        }
    }

    fn connector(&self) -> Connector {
        Connector {
            roots: self.roots.clone(),
            url: self.uri.to_string(),
            tcp: self.tcp(),
            over: self
                .network
                .clone()
                .map(|network| (network, self.authority.clone())),
        }
    }
}

/// Whether the way to the relay of this URL is in clear text and leaves this machine: then what a relay sees, the dial token
/// included, is visible to the network as well.
///
/// # Errors
/// [`RelayError::Url`].
pub fn is_exposed(relay_url: &str) -> Result<bool, RelayError> {
    Ok(RelayUrl::parse(relay_url)?.is_exposed())
}

/// Our own error beneath a transport's, if there is one.
fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a RelayError> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

/// The cause at the bottom: "Connection refused" rather than "transport error".
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    baton_trace::text::hint(&cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_relay_url_is_taken() {
        for (scheme, text) in [
            ("http", "http://127.0.0.1:7000"),
            ("https", "https://relay.example"),
        ] {
            let url = RelayUrl::parse(text).unwrap();
            let authority = text.split("//").nth(1).unwrap();
            assert_eq!(url.authority(), authority);
            assert_eq!(
                url.method("Dial").to_string(),
                format!("{scheme}://{authority}/baton.relay.v1.Relay/Dial")
            );
        }
        for bad in [
            "",
            "relay:7000",
            "ftp://a",
            "http://",
            "http://a/b",
            "https://a/b",
            "http://a?b",
            "http://u@a",
            "a b",
        ] {
            assert!(matches!(RelayUrl::parse(bad), Err(RelayError::Url(_))), "{bad}");
        }
    }

    #[test]
    fn a_port_that_is_not_told_follows_from_the_scheme_and_brackets_are_no_host() {
        let tcp = |text| RelayUrl::parse(text).unwrap().tcp();
        assert_eq!(tcp("https://a").port, 443);
        assert_eq!(tcp("http://a").port, 80);
        let six = tcp("https://[2001:db8::1]:7700");
        assert_eq!((six.host.as_str(), six.port), ("2001:db8::1", 7700));
    }

    #[test]
    fn only_clear_text_that_leaves_the_machine_is_exposed() {
        for own in [
            "http://127.0.0.1:7700",
            "http://127.8.9.1:7700",
            "http://localhost:7700",
            "http://LocalHost:7700",
            "http://[::1]:7700",
            "http://[::ffff:127.0.0.1]:7700",
            "https://relay.example:7700",
        ] {
            assert!(!is_exposed(own).unwrap(), "{own}");
        }
        for exposed in [
            "http://relay.example:7700",
            "http://10.0.0.1:7700",
            "http://[2001:db8::1]:7700",
            "http://localhost.example:7700",
            "http://0.0.0.0:7700",
        ] {
            assert!(is_exposed(exposed).unwrap(), "{exposed}");
        }
    }
}
