//! Reads traces from a Jaeger over HTTP/1.1, with TLS for `https`.

use std::io::{self, IsTerminal as _};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use baton_analyze::jaeger_search::{Answer, JaegerError, JaegerInput, JaegerSearch, SearchSummary};
use baton_analyze::limits::JAEGER_ANSWER_BYTES;
use baton_analyze::model::Trace;
use baton_analyze::read::ReadSummary;
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::error::CliError;
use crate::limits::{JAEGER_ANSWER_TIMEOUT, JAEGER_CONNECT_TIMEOUT, JAEGER_WINDOW};
use crate::progress;
use crate::runtime::runtime;

/// What was read of a Jaeger.
pub(crate) struct JaegerRead {
    pub(crate) summary: ReadSummary,
    pub(crate) search: SearchSummary,
    /// The window that was searched.
    pub(crate) window_ns: Range<u64>,
}

/// The window of an input: until now, and an hour long, where nothing else is said.
pub(crate) fn window(since_ns: Option<u64>, until_ns: Option<u64>) -> Range<u64> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let until = until_ns.unwrap_or(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    let hour = u64::try_from(JAEGER_WINDOW.as_nanos()).unwrap_or(u64::MAX);
    since_ns.unwrap_or(until.saturating_sub(hour))..until
}

/// Delivers every trace of the window.
pub(crate) fn read(
    input: &JaegerInput,
    window_ns: Range<u64>,
    deliver: &mut dyn FnMut(Trace),
) -> Result<JaegerRead, CliError> {
    let is_shown = io::stderr().is_terminal();
    let mut search = JaegerSearch::new(input.clone(), window_ns.clone());
    let mut traces = 0_u64;
    let mut counted = |trace: Trace| {
        traces += 1;
        if is_shown && traces.is_multiple_of(100) {
            progress::show(&format!("reading: {traces} traces"));
        }
        deliver(trace);
    };
    let runtime = runtime()?;
    while let Some(path) = search.next_request() {
        let answer = runtime.block_on(get(&input.url, &path))?;
        let answer = match &answer {
            Some((status, body)) => Answer::Whole(*status, body),
            None => Answer::TooLong,
        };
        search.answered(&answer, &mut counted)?;
    }
    if is_shown {
        progress::clear();
    }
    let (summary, search) = search.finish();
    Ok(JaegerRead {
        summary,
        search,
        window_ns,
    })
}

/// Status and body; `None` if the body is too long.
async fn get(url: &str, path: &str) -> Result<Option<(u16, Bytes)>, JaegerError> {
    let wrong = |what: String| JaegerError::Url {
        url: url.to_owned(),
        what,
    };
    let unreachable = |what: String| JaegerError::Unreachable {
        url: url.to_owned(),
        what,
    };
    let uri: Uri = format!("{url}{path}")
        .parse()
        .map_err(|error: http::uri::InvalidUri| wrong(error.to_string()))?;
    let host = uri.host().ok_or_else(|| wrong("it has no host".to_owned()))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let dialled = timeout(JAEGER_CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), port))).await;
    let tcp = dialled
        .map_err(|_| {
            unreachable(format!(
                "no connection within {} s",
                JAEGER_CONNECT_TIMEOUT.as_secs()
            ))
        })?
        .map_err(|error| unreachable(error.to_string()))?;
    let answered = async {
        if !is_tls {
            return exchange(url, &uri, tcp).await;
        }
        let failed = |what: String| JaegerError::Tls {
            url: url.to_owned(),
            what,
        };
        let name = ServerName::try_from(host.clone()).map_err(|error| failed(error.to_string()))?;
        let connector = TlsConnector::from(tls().map_err(failed)?);
        let tls = connector.connect(name, tcp).await;
        exchange(url, &uri, tls.map_err(|error| failed(error.to_string()))?).await
    };
    timeout(JAEGER_ANSWER_TIMEOUT, answered)
        .await
        .map_err(|_| JaegerError::Timeout {
            url: url.to_owned(),
            limit: JAEGER_ANSWER_TIMEOUT,
        })?
}

/// The system's authorities, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`; Mozilla's where there are none.
fn tls() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        // Whoever names authorities trusts no others.
        if let Some(name) = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
            .into_iter()
            .find(|name| std::env::var_os(name).is_some())
        {
            let why = match loaded.errors.first() {
                Some(error) => error.to_string(),
                None => "it holds no certificate".to_owned(),
            };
            return Err(format!("no authority could be read from {name}: {why}"));
        }
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(baton_tls::provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// One request and its answer.
async fn exchange(
    url: &str,
    uri: &Uri,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Option<(u16, Bytes)>, JaegerError> {
    let failed = |error: &dyn std::error::Error| {
        // The causes say more than hyper.
        let cause = std::iter::successors(error.source(), |error| error.source()).last();
        JaegerError::NotJaeger {
            url: url.to_owned(),
            what: match cause {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            },
        }
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let driving = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| failed(&error))?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), JAEGER_ANSWER_BYTES)
        .collect()
        .await;
    driving.abort();
    match body {
        Ok(body) => Ok(Some((status, body.to_bytes()))),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(error) => Err(failed(&*error)),
    }
}

#[cfg(test)]
mod tests;
