//! Why export could not be set up.

/// Why export could not be set up. Nothing has been started.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The endpoint is not a URL.
    #[error("{variable}: `{value}` is not a collector's URL; write it like http://localhost:4317")]
    Endpoint {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// The endpoint asks for TLS.
    #[error(
        "{variable}: `{value}` asks for TLS, which this build does not speak to collectors; \
         use an http:// endpoint, such as a collector or agent on this machine"
    )]
    Tls {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// The protocol is not gRPC.
    #[error(
        "{variable}: `{value}` is not spoken; set it to grpc and point the endpoint at the collector's gRPC port, usually 4317"
    )]
    Protocol {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// The compression is not supported.
    #[error("{variable}: `{value}` is not spoken; set it to none")]
    Compression {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// A header that HTTP does not allow. Its value may be a secret and is not repeated.
    #[error("{variable}: the entry with name `{name}` is no header; write name=value,name=value")]
    Header {
        /// The variable.
        variable: &'static str,
        /// The header's name; empty where there is no `=`.
        name: String,
    },
    /// The exporter is not supported.
    #[error("{variable}: `{value}` is not supported; set it to otlp, or to none")]
    Exporter {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// The exporter's own thread could not be started.
    #[error("the trace exporter's thread could not be started: {0}")]
    Thread(#[source] std::io::Error),
}
