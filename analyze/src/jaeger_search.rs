//! The traces of a Jaeger, by its search API (`/api/v3/traces`): what to ask, and what the answers mean.
//!
//! Jaeger cuts the result of a search at a limit and does not say so. A search whose answer reaches the limit is
//! therefore divided into two halves of its window, until each answer is below it. A window that cannot be divided
//! further is a fault of the input, so the analysis refuses it.
//!
//! This module does no IO: the caller sends the requests.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::time::{Duration, UNIX_EPOCH};

use baton_trace::TraceId;
use baton_trace::text::printable;
use serde_json::Value;

use crate::limits::{JAEGER_MESSAGE_CHARS, JAEGER_TRACES, JAEGER_WINDOW_NS};
use crate::model::Trace;
use crate::read::{Fault, ReadError, ReadFile, ReadSummary, Reader};

/// What is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JaegerInput {
    /// `http` or `https`, host and port, and the base path of Jaeger if it has one; without a slash at the end.
    pub url: String,
    /// Traces with a span of this service.
    pub service: String,
    /// Nanoseconds since the Unix epoch; from the URL's `since` and `until`.
    pub since_ns: Option<u64>,
    /// The end of the window.
    pub until_ns: Option<u64>,
}

/// The service of the spans of `baton exec` and `baton run`.
pub const SERVICE: &str = "baton-client";

/// Why traces could not be read from a Jaeger.
#[derive(Debug, thiserror::Error)]
pub enum JaegerError {
    /// The URL is not usable.
    #[error(
        "{url} is not the address of a Jaeger: {what}; write http://HOST:16686, with ?service=NAME&since=TIME&until=TIME \
         after it if needed"
    )]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// Nobody answers.
    #[error(
        "cannot reach Jaeger at {url}: {what}; check the address, and that its query service listens (port 16686)"
    )]
    Unreachable {
        /// The address.
        url: String,
        /// The failure.
        what: String,
    },
    /// TLS failed.
    #[error("TLS with Jaeger at {url} failed: {what}; SSL_CERT_FILE names a private authority")]
    Tls {
        /// The address.
        url: String,
        /// The failure.
        what: String,
    },
    /// The answer did not come in time.
    #[error("Jaeger at {url} did not answer within {} s; ask for a shorter time with --since and --until", .limit.as_secs())]
    Timeout {
        /// The address.
        url: String,
        /// How long was waited.
        limit: Duration,
    },
    /// Something else answers.
    #[error(
        "{url} answers, but not as a Jaeger with /api/v3: {what}; check the address and port, and that it is Jaeger 2"
    )]
    NotJaeger {
        /// The address.
        url: String,
        /// The answer.
        what: String,
    },
    /// Jaeger wants credentials, or a proxy before it.
    #[error(
        "{url} demands credentials (HTTP status {status}), and Baton has none: use an address inside of the network, or \
         export the traces to a file"
    )]
    Forbidden {
        /// The address.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// Jaeger failed or refused.
    #[error("Jaeger at {url} refused the search with HTTP status {status}: {message}")]
    Refused {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// Jaeger's message.
        message: String,
    },
    /// The answer could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// An answer.
#[derive(Debug)]
pub enum Answer<'a> {
    /// The whole body, with the HTTP status.
    Whole(u16, &'a [u8]),
    /// The body is longer than the caller takes.
    TooLong,
}

impl JaegerInput {
    /// Whether an input is meant as an URL rather than a file.
    pub fn is_url(text: &str) -> bool {
        text.starts_with("http://") || text.starts_with("https://")
    }

    /// Reads an URL. `time` reads the values of `since` and `until`.
    ///
    /// # Errors
    /// [`JaegerError::Url`].
    pub fn parse(text: &str, time: impl Fn(&str) -> Result<u64, String>) -> Result<Self, JaegerError> {
        let wrong = |what: String| JaegerError::Url {
            url: printable(text).into_owned(),
            what,
        };
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let host = address
            .split_once("://")
            .map(|(_, host)| host)
            .unwrap_or_default();
        let is_plain = |c: char| c.is_ascii_graphic() && !['#', '@', '"', '<', '>'].contains(&c);
        if host.is_empty() || host.starts_with(['/', ':']) || !host.chars().all(is_plain) {
            return Err(wrong(
                "it has no host, or characters that no address has".to_owned(),
            ));
        }
        let mut input = Self {
            url: address.trim_end_matches('/').to_owned(),
            service: SERVICE.to_owned(),
            since_ns: None,
            until_ns: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "service" if !value.is_empty() => input.service = value.to_owned(),
                "since" => input.since_ns = Some(time(value).map_err(wrong)?),
                "until" => input.until_ns = Some(time(value).map_err(wrong)?),
                _ => {
                    let what = format!("`{pair}` is neither service, since nor until with a value");
                    return Err(wrong(what));
                }
            }
        }
        Ok(input)
    }
}

/// What a search did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SearchSummary {
    /// Requests that were answered.
    pub requests: u64,
    /// Answers that reached the limit and were asked for again in two halves.
    pub divided: u64,
}

/// A search for all traces of a window.
#[derive(Debug)]
pub struct JaegerSearch {
    input: JaegerInput,
    /// The windows that remain, the next one last.
    windows: Vec<Range<u64>>,
    limit: usize,
    /// A trace at the border of two windows is in both answers.
    seen: HashSet<TraceId>,
    read: ReadSummary,
    file: ReadFile,
    summary: SearchSummary,
}

impl JaegerSearch {
    /// A search of these nanoseconds since the Unix epoch.
    pub fn new(input: JaegerInput, window_ns: Range<u64>) -> Self {
        let file = ReadFile {
            name: format!("{}?service={}", input.url, input.service),
            bytes: 0,
            spans: 0,
            faults: 0,
            first_fault_line: None,
        };
        Self {
            input,
            windows: vec![window_ns],
            limit: JAEGER_TRACES,
            seen: HashSet::new(),
            read: ReadSummary::default(),
            file,
            summary: SearchSummary::default(),
        }
    }

    /// With another limit than [`JAEGER_TRACES`].
    #[must_use]
    pub fn with_limit(mut self, traces: usize) -> Self {
        self.limit = traces.max(1);
        self
    }

    /// The path and query of the next request, after the address; `None` when all is read.
    pub fn next_request(&self) -> Option<String> {
        let window = self.windows.last()?;
        // Jaeger before 2.14 knows `num_traces` only, and later versions know both.
        Some(format!(
            "/api/v3/traces?query.service_name={}&query.start_time_min={}&query.start_time_max={}&query.search_depth={limit}\
             &query.num_traces={limit}&query.raw_traces=true",
            encoded(&self.input.service),
            encoded(&rfc3339(window.start)),
            encoded(&rfc3339(window.end)),
            limit = self.limit,
        ))
    }

    /// Takes the answer to the last request, and delivers its traces.
    ///
    /// # Errors
    /// [`JaegerError`].
    pub fn answered(
        &mut self,
        answer: &Answer<'_>,
        deliver: &mut dyn FnMut(Trace),
    ) -> Result<(), JaegerError> {
        let Some(window) = self.windows.pop() else {
            return Ok(());
        };
        self.summary.requests += 1;
        let (status, body) = match answer {
            Answer::Whole(status, body) => (*status, *body),
            Answer::TooLong if self.divide(&window) => return Ok(()),
            Answer::TooLong => {
                self.add_fault(
                    &window,
                    "its traces are too long for one answer, and were not read",
                );
                return Ok(());
            }
        };
        self.file.bytes += body.len() as u64;
        if !self.has_traces(status, body)? {
            return Ok(());
        }
        let mut traces = Vec::new();
        let mut collect = |trace: Trace| traces.push(trace);
        let mut reader = Reader::new(&mut collect);
        reader.input(&self.file.name, body)?;
        let read = reader.finish()?;
        if read.spans == 0 && read.fault_count > 0 {
            return Err(self.not_jaeger(status, body));
        }
        if traces.len() >= self.limit {
            if self.divide(&window) {
                return Ok(());
            }
            let what = format!("Jaeger's answer was cut at {} traces", self.limit);
            self.add_fault(&window, &what);
        }
        self.add(&read);
        for trace in traces {
            if self.seen.insert(trace.id()) {
                self.read.traces += 1;
                self.read.spans += trace.spans().len() as u64;
                self.file.spans += trace.spans().len() as u64;
                deliver(trace);
            }
        }
        Ok(())
    }

    /// What was read, when all is.
    pub fn finish(mut self) -> (ReadSummary, SearchSummary) {
        self.read.files.push(self.file);
        (self.read, self.summary)
    }

    /// Divides a window that is longer than [`JAEGER_WINDOW_NS`].
    fn divide(&mut self, window: &Range<u64>) -> bool {
        let length = window.end.saturating_sub(window.start);
        if length <= JAEGER_WINDOW_NS {
            return false;
        }
        let middle = window.start + length / 2;
        self.windows.extend([middle..window.end, window.start..middle]);
        self.summary.divided += 1;
        true
    }

    /// Whether an answer has traces to read. One without traces has HTTP status 404, or an empty result.
    fn has_traces(&self, status: u16, body: &[u8]) -> Result<bool, JaegerError> {
        let url = || self.input.url.clone();
        match status {
            200 if is_empty(body) => Ok(false),
            200 => match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
                Some(b'{') => Ok(true),
                _ => Err(self.not_jaeger(status, body)),
            },
            404 => match message(body) {
                Some(_) => Ok(false),
                None => Err(self.not_jaeger(status, body)),
            },
            401 | 403 => Err(JaegerError::Forbidden { url: url(), status }),
            300..=399 => Err(self.not_jaeger(status, body)),
            _ => Err(JaegerError::Refused {
                url: url(),
                status,
                message: message(body).unwrap_or_else(|| beginning(body)),
            }),
        }
    }

    fn not_jaeger(&self, status: u16, body: &[u8]) -> JaegerError {
        JaegerError::NotJaeger {
            url: self.input.url.clone(),
            what: format!("HTTP status {status}, {}", beginning(body)),
        }
    }

    fn add(&mut self, read: &ReadSummary) {
        self.read.duplicate_spans += read.duplicate_spans;
        self.read.spans_without_id += read.spans_without_id;
        self.read.fault_count += read.fault_count;
        self.file.faults += read.fault_count;
        self.read.faults.extend(read.faults.iter().cloned());
        self.read.faults.truncate(crate::limits::FAULTS_DESCRIBED);
    }

    fn add_fault(&mut self, window: &Range<u64>, what: &str) {
        let fault = Fault {
            name: self.file.name.clone(),
            line: 1,
            offset: 0,
            what: format!(
                "{what}, between {} and {}",
                rfc3339(window.start),
                rfc3339(window.end)
            ),
            spans_before: 0,
        };
        self.add(&ReadSummary {
            fault_count: 1,
            faults: vec![fault],
            ..ReadSummary::default()
        });
    }
}

impl fmt::Display for SearchSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = baton_trace::text::counted(self.requests, "request", "requests");
        write!(f, "{requests}, {} divided", self.divided)
    }
}

/// Whether an answer is `{"result": {}}`, or has no groups of spans in it.
fn is_empty(body: &[u8]) -> bool {
    // An answer with traces is longer than this.
    if body.len() > 128 {
        return false;
    }
    let parsed: Result<Value, _> = serde_json::from_slice(body);
    parsed.is_ok_and(|answer| {
        let groups = &answer["result"]["resourceSpans"];
        answer.get("result").is_some() && groups.as_array().is_none_or(Vec::is_empty)
    })
}

/// The message of an error of the API.
fn message(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    // Jaeger's gateway, and gRPC's.
    let message = answer["error"]["message"]
        .as_str()
        .or(answer["message"].as_str())?;
    Some(shortened(message))
}

fn beginning(body: &[u8]) -> String {
    match body.is_empty() {
        true => "an empty answer".to_owned(),
        false => format!(
            "`{}`",
            shortened(&String::from_utf8_lossy(&body[..body.len().min(4096)]))
        ),
    }
}

fn shortened(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = line.chars().take(JAEGER_MESSAGE_CHARS).collect();
    printable(&cut).into_owned()
}

fn rfc3339(ns: u64) -> String {
    // `humantime` panics beyond the year 9999, which nanoseconds in 64 bits do not reach.
    humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(ns)).to_string()
}

/// Text in a query (RFC 3986, 2.3).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests;
