//! An HTTP/2 connection to a relay, with the window arithmetic of the design.

use baton_proto::limits::{OUTER_CONNECTION_WINDOW, OUTER_FRAME_SIZE, OUTER_STREAM_WINDOW};
use http::Uri;
use http::uri::Scheme;
use tonic::transport::{Channel, Endpoint};

use super::network::Network;
use crate::limits;

/// The relay's URL cannot be used, or the relay cannot be reached.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RelayError {
    /// Not a URL of a relay.
    #[error("`{0}` is not a relay URL: expected http://host:port")]
    Url(String),
    /// Encryption to the relay is not built in yet.
    #[error(
        "`{0}`: TLS to the relay is not supported yet; use http:// (what you run is encrypted end to end either way)"
    )]
    Tls(String),
    /// Nobody answered.
    #[error("cannot reach the relay at {url}: {reason}; is `baton relay` running there?")]
    Unreachable {
        /// Where.
        url: String,
        /// What the system said.
        reason: String,
    },
}

/// A checked relay URL, and the way there.
#[derive(Debug, Clone)]
pub(crate) struct RelayUrl {
    uri: Uri,
    authority: String,
    /// `None` is TCP.
    network: Option<Network>,
}

impl RelayUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, RelayError> {
        let bad = || RelayError::Url(super::hint(text));
        let uri: Uri = text.parse().map_err(|_| bad())?;
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => {}
            Some(scheme) if *scheme == Scheme::HTTPS => return Err(RelayError::Tls(super::hint(text))),
            _ => return Err(bad()),
        }
        let authority = uri.authority().ok_or_else(bad)?.to_string();
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.contains('@') {
            return Err(bad());
        }
        Ok(Self {
            uri,
            authority,
            network: None,
        })
    }

    /// The same relay, over another network.
    pub(crate) fn over(self, network: Option<Network>) -> Self {
        Self { network, ..self }
    }

    /// `host:port` as dialled; part of what a registration signs.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The absolute URI of a relay method.
    pub(crate) fn method(&self, name: &str) -> Uri {
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.as_str())
            .path_and_query(format!("/baton.relay.v1.Relay/{name}"))
            .build()
            // All three parts come from a parsed URI and a constant.
            .expect("a checked relay URL and a method make a URI")
    }

    /// Connects. Each caller gets a connection of its own.
    pub(crate) async fn connect(&self) -> Result<Channel, RelayError> {
        let endpoint = Endpoint::from(self.uri.clone())
            .connect_timeout(limits::CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(OUTER_STREAM_WINDOW)
            .initial_connection_window_size(OUTER_CONNECTION_WINDOW)
            .max_frame_size(OUTER_FRAME_SIZE)
            .http2_keep_alive_interval(limits::OUTER_KEEP_ALIVE)
            .keep_alive_timeout(limits::OUTER_KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let connected = match &self.network {
            None => endpoint.connect().await,
            Some(network) => endpoint.connect_with_connector(network.clone()).await,
        };
        connected.map_err(|error| RelayError::Unreachable {
            url: self.uri.to_string(),
            reason: innermost(&error),
        })
    }
}

/// The cause at the bottom: "Connection refused" rather than "transport error".
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    super::hint(&cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_relay_url_is_taken() {
        let url = RelayUrl::parse("http://127.0.0.1:7000").unwrap();
        assert_eq!(url.authority(), "127.0.0.1:7000");
        assert_eq!(
            url.method("Dial"),
            "http://127.0.0.1:7000/baton.relay.v1.Relay/Dial"
        );
        for bad in [
            "",
            "relay:7000",
            "ftp://a",
            "http://",
            "http://a/b",
            "http://a?b",
            "http://u@a",
            "a b",
        ] {
            assert!(matches!(RelayUrl::parse(bad), Err(RelayError::Url(_))), "{bad}");
        }
        assert!(matches!(RelayUrl::parse("https://a"), Err(RelayError::Tls(_))));
    }
}
