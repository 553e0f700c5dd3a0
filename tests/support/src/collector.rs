//! An OTLP receiver that keeps every span, for end-to-end tests.
//!
//! It runs on its own thread, so that it works in tests with and without a runtime.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::oneshot;

use crate::otlp::Receiver;

/// A running receiver; it stops when dropped.
#[derive(Debug)]
pub struct Collector {
    endpoint: String,
    kept: Arc<Kept>,
    _stop: oneshot::Sender<()>,
}

/// A span and the resource of its sender.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceivedSpan {
    /// The resource's `service.name`; empty without one.
    pub service: String,
    /// All attributes of the resource.
    pub resource: Vec<KeyValue>,
    /// The span as sent.
    pub span: Span,
}

#[derive(Debug, Default)]
struct Kept {
    spans: Mutex<Vec<ReceivedSpan>>,
    arrived: Condvar,
}

impl Collector {
    /// Starts a receiver on a free port of loopback.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn start() -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Starts a receiver at this address.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn start_at(address: SocketAddr) -> io::Result<Self> {
        let kept = Arc::new(Kept::default());
        let (stop, stopped) = oneshot::channel();
        let (ready, bound) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let for_thread = Arc::clone(&kept);
        thread::Builder::new()
            .name("collector".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    let receiver = match bind(address) {
                        Ok((receiver, endpoint)) => {
                            // `start_at` waits for this.
                            let _ = ready.send(Ok(endpoint));
                            receiver
                        }
                        Err(error) => {
                            let _ = ready.send(Err(error));
                            return;
                        }
                    };
                    tokio::select! {
                        _ = receiver.serve(move |request: ExportTraceServiceRequest| for_thread.keep(request)) => {}
                        _ = stopped => {}
                    }
                });
            })?;
        let endpoint = bound.recv().map_err(io::Error::other)??;
        Ok(Self {
            endpoint,
            kept,
            _stop: stop,
        })
    }

    /// The value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// All spans received so far, in order of arrival.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.kept.spans().clone()
    }

    /// Waits until the received spans satisfy `enough`, at most for `patience`. Returns the spans received so far.
    pub fn wait_for(
        &self,
        patience: Duration,
        enough: impl Fn(&[ReceivedSpan]) -> bool,
    ) -> Vec<ReceivedSpan> {
        let waited = self
            .kept
            .arrived
            .wait_timeout_while(self.kept.spans(), patience, |spans| !enough(spans));
        let (spans, _) = waited.unwrap_or_else(PoisonError::into_inner);
        spans.clone()
    }
}

impl ReceivedSpan {
    /// The text of an attribute of the span; `None` if it is absent or not text.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        text(&self.span.attributes, key)
    }

    /// The text of an attribute of the resource; `None` if it is absent or not text.
    pub fn of_resource(&self, key: &str) -> Option<&str> {
        text(&self.resource, key)
    }

    /// The number of an attribute of the span; `None` if it is absent or no integer.
    pub fn integer(&self, key: &str) -> Option<i64> {
        match value(&self.span.attributes, key)? {
            Value::IntValue(number) => Some(*number),
            _ => None,
        }
    }
}

impl Kept {
    fn keep(&self, request: ExportTraceServiceRequest) {
        let mut spans = self.spans();
        for group in request.resource_spans {
            let Resource { attributes, .. } = group.resource.unwrap_or_default();
            let service = text(&attributes, "service.name").unwrap_or_default().to_owned();
            let sent = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(sent.map(|span| ReceivedSpan {
                service: service.clone(),
                resource: attributes.clone(),
                span,
            }));
        }
        drop(spans);
        self.arrived.notify_all();
    }

    fn spans(&self) -> MutexGuard<'_, Vec<ReceivedSpan>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bind(address: SocketAddr) -> io::Result<(Receiver, String)> {
    let receiver = Receiver::bind_to(address)?;
    let endpoint = receiver.endpoint()?;
    Ok((receiver, endpoint))
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    attribute.value.as_ref()?.value.as_ref()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match value(attributes, key)? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use baton_export::clock;
    use baton_export::{Exporter, ExporterSettings};
    use baton_trace::record::{CallRecord, Side, StageRecord};
    use baton_trace::recorder::RecordSink as _;
    use baton_trace::stage::transport::CALL;
    use baton_trace::status::RpcStatus;
    use baton_trace::w3c::{TraceContext, random_span_id};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_client_s_call_arrives_with_its_service_and_its_stage() {
        let collector = Collector::start().unwrap();
        let settings = ExporterSettings::from_lookup(|name| {
            (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| collector.endpoint().to_owned())
        });
        let exporter = Exporter::new(Side::Client, settings.unwrap().unwrap()).unwrap();
        exporter.record(CallRecord {
            side: Side::Client,
            context: TraceContext::new_root(true).with_span(random_span_id()),
            parent: None,
            links: Vec::new(),
            method: "baton.exec.v1.Exec/Run".into(),
            anchor: clock::anchor(),
            stages: vec![StageRecord {
                stage: CALL,
                attempt: 0,
                start_ns: 0,
                end_ns: 1_000_000,
                estimated: false,
            }],
            status: RpcStatus(0),
            clock: None,
            server_unix_ns: None,
            server_calls: Vec::new(),
            attributes: Vec::new(),
            command: None,
        });
        exporter.shutdown(PATIENCE);
        let spans = collector.wait_for(PATIENCE, |spans| !spans.is_empty());
        let [span] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!(span.span.name, "baton.exec.v1.Exec/Run");
        assert_eq!(span.attribute("baton.stage"), Some("call"));
        assert!(!span.service.is_empty());
    }

    #[test]
    fn waiting_ends_after_its_patience() {
        let collector = Collector::start().unwrap();
        assert!(collector.wait_for(Duration::ZERO, |_| false).is_empty());
    }
}
