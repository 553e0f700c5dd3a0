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
//! | `OTEL_TRACES_SAMPLER`, `…_ARG` | which traces are recorded: [`sampler`](baton_trace::sampler) |
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | override our resource |
//!
//! `docs/guide/telemetry.md` has all standard variables. A number, a sampler or a propagator that is not supported is
//! [`IgnoredVariable`], as the specification asks. An unsupported endpoint, protocol, compression or header is an
//! [`ExportError`], because exporting to a wrong destination would be worse than exporting nothing.

mod error;
mod ignored_variable;

use std::fmt;
use std::time::Duration;

use baton_trace::sampler::Sampler;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use crate::failure::collector_name;
use crate::limits::{
    EXPORT_BATCH_SPANS, EXPORT_DELAY, EXPORT_QUEUE_SPANS, EXPORT_SHUTDOWN_MAX, EXPORT_TIMEOUT,
};

pub use error::ExportError;
pub use ignored_variable::IgnoredVariable;

/// The destination and the parameters of the export.
#[derive(Clone)]
pub struct ExporterSettings {
    pub(super) endpoint: Uri,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    pub(super) delay: Duration,
    pub(super) queue_spans: usize,
    pub(super) batch_spans: usize,
    pub(super) service_name: Option<String>,
    sampler: Sampler,
    ignored: Vec<IgnoredVariable>,
}

impl ExporterSettings {
    /// From this process's environment; `None` if nothing is to be exported.
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
        let mut variables = Variables {
            lookup,
            ignored: Vec::new(),
        };
        if variables.is("OTEL_SDK_DISABLED", "true") {
            return Ok(None);
        }
        let endpoint = variables.first([
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ]);
        let Some((variable, endpoint)) = endpoint else {
            return Ok(None);
        };
        if !variables.wants_otlp()? {
            return Ok(None);
        }
        let insecure = variables.first([
            "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
            "OTEL_EXPORTER_OTLP_INSECURE",
        ]);
        let insecure = insecure.is_some_and(|(_, value)| value.trim().eq_ignore_ascii_case("true"));
        let endpoint = self::endpoint(variable, endpoint, insecure)?;
        let protocol = variables.first([
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ]);
        if let Some((variable, value)) = protocol.filter(|(_, value)| value.trim() != "grpc") {
            return Err(ExportError::Protocol { variable, value });
        }
        let compression = variables.first([
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
            "OTEL_EXPORTER_OTLP_COMPRESSION",
        ]);
        if let Some((variable, value)) = compression.filter(|(_, value)| value.trim() != "none") {
            return Err(ExportError::Compression { variable, value });
        }
        let headers =
            match variables.first(["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]) {
                Some((variable, value)) => headers(variable, &value)?,
                None => HeaderMap::new(),
            };
        variables.check_ignored();
        let queue_spans = variables.count("OTEL_BSP_MAX_QUEUE_SIZE", EXPORT_QUEUE_SPANS);
        let timeout = variables.first(["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]);
        let timeout = timeout.and_then(|(variable, value)| variables.number(variable, &value));
        Ok(Some(Self {
            endpoint,
            headers,
            timeout: match timeout.map_or(EXPORT_TIMEOUT, Duration::from_millis) {
                // The specification defines 0 as no limit.
                Duration::ZERO => EXPORT_SHUTDOWN_MAX,
                timeout => timeout.min(EXPORT_SHUTDOWN_MAX),
            },
            delay: variables.millis("OTEL_BSP_SCHEDULE_DELAY", EXPORT_DELAY),
            queue_spans,
            batch_spans: variables
                .count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", EXPORT_BATCH_SPANS)
                .min(queue_spans),
            service_name: variables.get("OTEL_SERVICE_NAME"),
            sampler: variables.sampler(),
            ignored: variables.ignored,
        }))
    }

    /// Scheme, host and port of the collector, for messages.
    pub fn collector(&self) -> String {
        collector_name(&self.endpoint)
    }

    /// Which traces are recorded.
    pub fn sampler(&self) -> Sampler {
        self.sampler
    }

    /// Only the sampler, for a component that does not export and records for its caller. Unsupported values have no
    /// effect.
    pub fn sampler_from_env() -> Sampler {
        let mut variables = Variables {
            lookup: |name| std::env::var(name).ok(),
            ignored: Vec::new(),
        };
        if variables.is("OTEL_SDK_DISABLED", "true") {
            return Sampler::default();
        }
        variables.sampler()
    }

    /// Variables that are set and have no effect, to be reported to the user.
    pub fn ignored(&self) -> &[IgnoredVariable] {
        &self.ignored
    }
}

/// A source of variables, and those without effect.
struct Variables<F> {
    lookup: F,
    ignored: Vec<IgnoredVariable>,
}

impl<F: Fn(&'static str) -> Option<String>> Variables<F> {
    fn get(&self, name: &'static str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.trim().is_empty())
    }

    /// The first that is set: a variable for traces takes precedence over a general one.
    fn first(&self, names: [&'static str; 2]) -> Option<(&'static str, String)> {
        names.into_iter().find_map(|name| Some((name, self.get(name)?)))
    }

    fn is(&self, name: &'static str, wanted: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.trim().eq_ignore_ascii_case(wanted))
    }

    fn number(&mut self, variable: &'static str, value: &str) -> Option<u64> {
        let number = value.trim().parse().ok();
        if number.is_none() {
            self.ignore(variable, value, "it is not a number of milliseconds");
        }
        number
    }

    fn millis(&mut self, variable: &'static str, default: Duration) -> Duration {
        let value = self.get(variable);
        let millis = value.and_then(|value| self.number(variable, &value));
        millis.map_or(default, Duration::from_millis)
    }

    fn count(&mut self, variable: &'static str, default: usize) -> usize {
        let Some(value) = self.get(variable) else {
            return default;
        };
        match value.trim().parse() {
            Ok(count) if count > 0 => count,
            _ => {
                self.ignore(variable, &value, "it is not a number above 0");
                default
            }
        }
    }

    /// Whether OTLP is among the exporters. Other names beside it have no effect; only other names are an error.
    fn wants_otlp(&mut self) -> Result<bool, ExportError> {
        let variable = "OTEL_TRACES_EXPORTER";
        let Some(value) = self.get(variable) else {
            return Ok(true);
        };
        let is = |wanted| {
            value
                .split(',')
                .any(|name| name.trim().eq_ignore_ascii_case(wanted))
        };
        match (is("otlp"), is("none")) {
            (true, _) if value.contains(',') => {
                self.ignore(variable, &value, "otlp is the only exporter here");
                Ok(true)
            }
            (true, _) => Ok(true),
            (false, true) => Ok(false),
            (false, false) => Err(ExportError::Exporter { variable, value }),
        }
    }

    fn sampler(&mut self) -> Sampler {
        let argument = "OTEL_TRACES_SAMPLER_ARG";
        let ratio = self.get(argument).map(|value| {
            let ratio = value.trim().parse::<f64>();
            let is_ratio = |ratio: &f64| (0.0..=1.0).contains(ratio);
            (ratio.ok().filter(is_ratio), value)
        });
        let variable = "OTEL_TRACES_SAMPLER";
        let Some(value) = self.get(variable) else {
            return Sampler::default();
        };
        if value.contains("traceidratio")
            && let Some((None, value)) = &ratio
        {
            self.ignore(argument, value, "it is not a number from 0 to 1; 1 is used");
        }
        let ratio = ratio.and_then(|(ratio, _)| ratio);
        Sampler::named(value.trim(), ratio).unwrap_or_else(|| {
            self.ignore(
                variable,
                &value,
                "there is no such sampler here; parentbased_always_on is used",
            );
            Sampler::default()
        })
    }

    /// Checks for unsupported variables that would change the exported spans.
    fn check_ignored(&mut self) {
        for (variable, why) in [
            ("OTEL_CONFIG_FILE", "configuration files are not read"),
            (
                "OTEL_EXPERIMENTAL_CONFIG_FILE",
                "configuration files are not read",
            ),
        ] {
            if let Some(value) = self.get(variable) {
                self.ignore(variable, &value, why);
            }
        }
        let variable = "OTEL_PROPAGATORS";
        if let Some(value) = self.get(variable) {
            let mut names = value.split(',').map(str::trim);
            if names.any(|name| name != "tracecontext" && name != "baggage") {
                self.ignore(variable, &value, "tracecontext and baggage are used, always");
            }
        }
    }

    fn ignore(&mut self, variable: &'static str, value: &str, why: &'static str) {
        self.ignored.push(IgnoredVariable {
            variable,
            value: value.to_owned(),
            why,
        });
    }
}

/// Headers may hold the collector's credentials.
impl fmt::Debug for ExporterSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExporterSettings")
            .field("endpoint", &self.endpoint)
            .field("headers", &"<redacted>")
            .finish_non_exhaustive()
    }
}

fn headers(variable: &'static str, list: &str) -> Result<HeaderMap, ExportError> {
    let mut headers = HeaderMap::new();
    for member in list.split(',').filter(|member| !member.trim().is_empty()) {
        // An entry without `=` may be a secret as a whole.
        let (name, value) = member.split_once('=').unwrap_or_default();
        let (name, value) = (name.trim(), value.trim());
        let value = percent_decode_str(value).decode_utf8_lossy();
        match (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            (Ok(parsed), Ok(value)) => headers.append(parsed, value),
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
    let value = without_credentials(&value);
    match url.parse::<Uri>() {
        Ok(uri) if uri.scheme_str() == Some("https") => Err(ExportError::Tls { variable, value }),
        Ok(uri) if uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty()) => {
            Ok(uri)
        }
        _ => Err(ExportError::Endpoint { variable, value }),
    }
}

/// The URL without credentials, for messages.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Option<ExporterSettings>, ExportError> {
        ExporterSettings::from_lookup(|name| {
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
        let tls = settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://me:secret@host:4317/p")]).unwrap_err();
        assert!(matches!(&tls, ExportError::Tls { value, .. } if value == "https://host:4317/p"));
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
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let gzip = settings(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]);
        assert!(matches!(gzip, Err(ExportError::Compression { .. })));
    }

    #[test]
    fn what_is_not_supported_and_does_no_harm_is_ignored_and_told() {
        let read = settings(&[
            ENDPOINT,
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_TRACES_EXPORTER", "otlp,console"),
            ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_PROPAGATORS", "tracecontext,b3"),
            ("OTEL_CONFIG_FILE", "otel.yaml"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ]);
        let read = read.unwrap().unwrap();
        let told: Vec<_> = read.ignored().iter().map(ToString::to_string).collect();
        let names = [
            "OTEL_TRACES_EXPORTER: `otlp,console`",
            "OTEL_CONFIG_FILE: `otel.yaml`",
            "OTEL_PROPAGATORS: `tracecontext,b3`",
            "OTEL_BSP_MAX_QUEUE_SIZE: `0`",
            "OTEL_BSP_SCHEDULE_DELAY: `soon`",
            "OTEL_TRACES_SAMPLER: `jaeger_remote`",
        ];
        assert_eq!(told.len(), names.len(), "{told:?}");
        for (told, name) in told.iter().zip(names) {
            assert!(told.starts_with(name), "{told}");
        }
        assert_eq!((read.sampler, read.delay), (Sampler::default(), EXPORT_DELAY));
        assert_eq!(
            (read.queue_spans, read.timeout),
            (EXPORT_QUEUE_SPANS, EXPORT_SHUTDOWN_MAX)
        );
    }

    #[test]
    fn the_sampler_is_the_named_one_and_a_ratio_that_is_none_is_1() {
        let with = |argument| {
            let sampler = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
            let read = settings(&[ENDPOINT, sampler, ("OTEL_TRACES_SAMPLER_ARG", argument)]);
            let read = read.unwrap().unwrap();
            (read.sampler, read.ignored.len())
        };
        let named = |ratio| Sampler::named("parentbased_traceidratio", ratio).unwrap();
        assert_eq!(with("0.25"), (named(Some(0.25)), 0));
        for bad in ["many", "-1", "1.5", "NaN"] {
            assert_eq!(with(bad), (named(None), 1), "{bad}");
        }
    }

    #[test]
    fn an_exporter_that_is_not_otlp_is_an_error_and_none_is_none() {
        let with = |exporter| settings(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", exporter)]);
        assert!(with("otlp").unwrap().unwrap().ignored().is_empty());
        assert!(with("none").unwrap().is_none());
        for other in ["zipkin", "console,jaeger"] {
            assert!(
                matches!(with(other), Err(ExportError::Exporter { .. })),
                "{other}"
            );
        }
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
