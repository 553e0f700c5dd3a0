//! The standard environment variables, parsed once.
//!
//! | variable | effect |
//! |---|---|
//! | `OTEL_SDK_DISABLED=true`, `OTEL_TRACES_EXPORTER=none` | nothing is exported |
//! | `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, `OTEL_EXPORTER_OTLP_ENDPOINT` | where to; without it nothing is exported |
//! | `OTEL_EXPORTER_OTLP_TRACES_INSECURE`, `…_INSECURE` | `true` lets an endpoint go without `http://` |
//! | `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL`, `…_PROTOCOL` | `grpc` is the one there is |
//! | `OTEL_EXPORTER_OTLP_TRACES_TIMEOUT`, `…_TIMEOUT` | milliseconds for one request |
//! | `OTEL_EXPORTER_OTLP_TRACES_HEADERS`, `…_HEADERS` | `name=value,…`, values percent-encoded |
//! | `OTEL_EXPORTER_OTLP_TRACES_COMPRESSION`, `…_COMPRESSION` | `none` is the one there is |
//! | `OTEL_BSP_SCHEDULE_DELAY`, `…_MAX_QUEUE_SIZE`, `…_MAX_EXPORT_BATCH_SIZE` | as for the SDK's batch processor |
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | override our resource |
//!
//! A number that does not parse is ignored, as the specification asks; an endpoint that does not is an error.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use crate::limits::{EXPORT_BATCH_SPANS, EXPORT_DELAY, EXPORT_QUEUE_SPANS, EXPORT_TIMEOUT};

/// Why export could not be set up. Nothing has been started.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The endpoint is not a URL.
    #[error("{variable}: `{value}` is not a collector's URL; write it like http://localhost:4317")]
    Endpoint {
        /// The variable that says so.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// The endpoint asks for TLS.
    #[error(
        "{variable}: `{value}` asks for TLS, which this build does not speak to collectors; \
         use an http:// endpoint, such as a collector or agent on this machine"
    )]
    Tls {
        /// The variable that says so.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// Another protocol than gRPC.
    #[error(
        "{variable}: `{value}` is not spoken; set it to grpc and point the endpoint at the collector's gRPC port, usually 4317"
    )]
    Protocol {
        /// The variable that says so.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// A compression that is not spoken.
    #[error("{variable}: `{value}` is not spoken; set it to none")]
    Compression {
        /// The variable that says so.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// A header that HTTP does not allow. Its value may be a secret and is not repeated.
    #[error("{variable}: `{name}` and its value do not make a header; write name=value,name=value")]
    Header {
        /// The variable that says so.
        variable: &'static str,
        /// The header's name.
        name: String,
    },
    /// The exporter's own thread could not be started.
    #[error("the trace exporter's thread could not be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// Where and how to export.
#[derive(Clone)]
pub struct Settings {
    pub(super) endpoint: Uri,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    pub(super) delay: Duration,
    pub(super) queue_spans: usize,
    pub(super) batch_spans: usize,
    pub(super) service_name: Option<String>,
}

impl Settings {
    /// From this process's environment; `None` when nothing is to be exported.
    ///
    /// # Errors
    /// [`ExportError`], with a sentence that names the variable.
    pub fn from_env() -> Result<Option<Self>, ExportError> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// From any source of variables. An empty value counts as unset, as the specification asks.
    ///
    /// # Errors
    /// [`ExportError`], with a sentence that names the variable.
    pub fn from_lookup(lookup: impl Fn(&'static str) -> Option<String>) -> Result<Option<Self>, ExportError> {
        let get = |name| {
            lookup(name)
                .filter(|value| !value.trim().is_empty())
                .map(|value| (name, value))
        };
        let first = |names: [&'static str; 2]| names.into_iter().find_map(get);
        let is = |name, wanted: &str| {
            get(name).is_some_and(|(_, value)| value.trim().eq_ignore_ascii_case(wanted))
        };
        let number = |name| get(name).and_then(|(_, value)| value.trim().parse::<u64>().ok());

        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let Some((variable, value)) = first([
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ]) else {
            return Ok(None);
        };
        let protocol = first([
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ]);
        if let Some((variable, value)) = protocol.filter(|(_, value)| value.trim() != "grpc") {
            return Err(ExportError::Protocol { variable, value });
        }
        let compression = first([
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
            "OTEL_EXPORTER_OTLP_COMPRESSION",
        ]);
        if let Some((variable, value)) = compression.filter(|(_, value)| value.trim() != "none") {
            return Err(ExportError::Compression { variable, value });
        }
        let headers = match first(["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]) {
            Some((variable, value)) => headers(variable, &value)?,
            None => HeaderMap::new(),
        };
        let insecure = first([
            "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
            "OTEL_EXPORTER_OTLP_INSECURE",
        ])
        .is_some_and(|(_, value)| value.trim().eq_ignore_ascii_case("true"));

        let count = |name, default: usize| match number(name).map(usize::try_from) {
            Some(Ok(count)) if count > 0 => count,
            _ => default,
        };
        let queue_spans = count("OTEL_BSP_MAX_QUEUE_SIZE", EXPORT_QUEUE_SPANS);
        let timeout =
            number("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT").or_else(|| number("OTEL_EXPORTER_OTLP_TIMEOUT"));
        Ok(Some(Self {
            endpoint: endpoint(variable, value, insecure)?,
            headers,
            timeout: timeout.map_or(EXPORT_TIMEOUT, Duration::from_millis),
            delay: number("OTEL_BSP_SCHEDULE_DELAY").map_or(EXPORT_DELAY, Duration::from_millis),
            queue_spans,
            batch_spans: count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", EXPORT_BATCH_SPANS).min(queue_spans),
            service_name: get("OTEL_SERVICE_NAME").map(|(_, value)| value),
        }))
    }
}

/// Headers may hold the collector's credentials.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("headers", &"<redacted>")
            .finish_non_exhaustive()
    }
}

fn headers(variable: &'static str, list: &str) -> Result<HeaderMap, ExportError> {
    let mut headers = HeaderMap::new();
    for member in list.split(',').filter(|member| !member.trim().is_empty()) {
        let (name, value) = member.split_once('=').unwrap_or((member, ""));
        let (name, value) = (name.trim(), value.trim());
        let value = percent_decode_str(value).decode_utf8_lossy();
        match (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            (Ok(parsed), Ok(value)) if member.contains('=') => headers.append(parsed, value),
            _ => {
                let name = name.to_owned();
                return Err(ExportError::Header { variable, name });
            }
        };
    }
    Ok(headers)
}

fn endpoint(variable: &'static str, value: String, insecure: bool) -> Result<Uri, ExportError> {
    let text = value.trim();
    let url = match text.split_once("://") {
        None if insecure => format!("http://{text}"),
        _ => text.to_owned(),
    };
    match url.parse::<Uri>() {
        Ok(uri) if uri.scheme_str() == Some("https") => Err(ExportError::Tls { variable, value }),
        Ok(uri) if uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty()) => {
            Ok(uri)
        }
        _ => Err(ExportError::Endpoint { variable, value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Option<Settings>, ExportError> {
        Settings::from_lookup(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");

    #[test]
    fn without_an_endpoint_nothing_is_exported() {
        assert!(settings(&[]).unwrap().is_none());
        assert!(
            settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")])
                .unwrap()
                .is_none()
        );
        assert!(
            settings(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")])
                .unwrap()
                .is_none()
        );
        assert!(
            settings(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")])
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn the_traces_endpoint_comes_first() {
        let both = [
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:1"),
        ];
        assert_eq!(settings(&both).unwrap().unwrap().endpoint, "http://collector:1/");
    }

    #[test]
    fn the_batch_follows_its_variables_and_ignores_nonsense() {
        let read = settings(&[
            ENDPOINT,
            ("OTEL_BSP_SCHEDULE_DELAY", "10"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "7"),
        ]);
        let read = read.unwrap().unwrap();
        assert_eq!(
            (read.delay, read.timeout),
            (Duration::from_millis(10), Duration::from_millis(7))
        );
        assert_eq!((read.queue_spans, read.batch_spans), (100, 100));
    }

    #[test]
    fn a_bad_endpoint_is_told_by_name() {
        for bad in [
            "localhost:4317",
            "http://",
            "http://[::1",
            "ftp://host",
            "nonsense \u{0}",
        ] {
            let error = settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", bad)]).unwrap_err();
            assert!(matches!(error, ExportError::Endpoint { .. }), "{bad}");
            assert!(
                error.to_string().starts_with("OTEL_EXPORTER_OTLP_ENDPOINT: "),
                "{error}"
            );
        }
        let tls = settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://host:4317")]);
        assert!(matches!(tls, Err(ExportError::Tls { .. })));
        let http = settings(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]);
        assert!(matches!(http, Err(ExportError::Protocol { .. })));
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let with = |headers| settings(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", headers)]);
        let read = with("authorization=Basic%20c2VjcmV0=, x-tenant = a")
            .unwrap()
            .unwrap();
        assert_eq!(read.headers["authorization"], "Basic c2VjcmV0=");
        assert_eq!(read.headers["x-tenant"], "a");
        assert!(!format!("{read:?}").contains("c2Vj"));
        for bad in ["secret", "a b=secret", "x=secret%0A"] {
            let error = with(bad).unwrap_err();
            assert!(matches!(error, ExportError::Header { .. }), "{bad}");
            assert!(
                bad == "secret" || !error.to_string().contains("secret"),
                "{error}"
            );
        }
        let gzip = settings(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]);
        assert!(matches!(gzip, Err(ExportError::Compression { .. })));
    }

    #[test]
    fn an_insecure_endpoint_may_go_without_a_scheme() {
        let read = settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
        ]);
        assert_eq!(read.unwrap().unwrap().endpoint, "http://localhost:4317/");
    }
}
