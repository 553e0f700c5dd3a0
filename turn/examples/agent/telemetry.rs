//! Where spans go: to a file, and to a collector if the environment names one.
//!
//! The spans of turns come through OpenTelemetry's SDK and are exported the standard way. Calls are Baton's records,
//! which Baton's own exporters send, one for each side. The client's record of a call has the exec-server's stages too,
//! so the file is complete without the exec-server's records.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use baton_export::{Exporter, ExporterSettings, json};
use baton_trace::record::{CallRecord, Side};
use baton_trace::recorder::{RecordSink, Recorder};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::Handle;

use crate::Result;
use crate::options::TraceFile;

/// How long the end of the process waits for the collector, and how long a request to it may take.
const FLUSH: Duration = Duration::from_millis(1_500);

/// How much later than that a thread may say that it has ended.
const GRACE: Duration = Duration::from_millis(100);

pub(crate) struct Telemetry {
    provider: SdkTracerProvider,
    spans: KeptSpans,
    calls: Arc<KeptCalls>,
    collector: Option<Collector>,
}

/// What the collector gets, beside the client's calls.
struct Collector {
    /// For messages.
    endpoint: String,
    delivered: Arc<AtomicUsize>,
    server: Arc<Exporter>,
}

/// Keeps the spans of turns, for the file.
#[derive(Debug, Clone, Default)]
struct KeptSpans(Arc<Mutex<Vec<SpanData>>>);

/// Keeps the client's calls for the file, and passes them on to its exporter.
#[derive(Default)]
struct KeptCalls {
    records: Mutex<Vec<CallRecord>>,
    exporter: Option<Arc<Exporter>>,
}

impl KeptSpans {
    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SpanExporter for KeptSpans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(batch);
        Ok(())
    }
}

/// Counts the spans of turns that the collector has accepted. The SDK only logs that it has not.
#[derive(Debug)]
struct CountedExporter {
    exporter: OtlpExporter,
    delivered: Arc<AtomicUsize>,
}

impl SpanExporter for CountedExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.exporter.export(batch).await?;
        self.delivered.fetch_add(spans, Ordering::Relaxed);
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl RecordSink for KeptCalls {
    fn record(&self, record: CallRecord) {
        if let Some(exporter) = &self.exporter {
            exporter.record(record.clone());
        }
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(record);
    }
}

impl Telemetry {
    /// Reads the environment. The exporter of turns connects on `runtime`.
    pub(crate) fn start(runtime: &Handle) -> Result<Self> {
        let spans = KeptSpans::default();
        let mut provider = SdkTracerProvider::builder()
            .with_resource(resource())
            .with_simple_exporter(spans.clone());
        let mut collector = None;
        let mut exporter = None;
        if let Some(settings) = ExporterSettings::from_env()? {
            let delivered = Arc::new(AtomicUsize::new(0));
            let _runtime = runtime.enter();
            provider = provider.with_batch_exporter(CountedExporter {
                exporter: OtlpExporter::builder().with_tonic().with_timeout(FLUSH).build()?,
                delivered: delivered.clone(),
            });
            exporter = Some(Arc::new(Exporter::new(Side::Client, settings.clone())?));
            collector = Some(Collector {
                endpoint: settings.collector(),
                delivered,
                server: Arc::new(Exporter::new(Side::Server, settings)?),
            });
        }
        Ok(Self {
            provider: provider.build(),
            spans,
            calls: Arc::new(KeptCalls {
                exporter,
                ..KeptCalls::default()
            }),
            collector,
        })
    }

    /// For [`baton_turn::Thread`].
    pub(crate) fn provider(&self) -> &SdkTracerProvider {
        &self.provider
    }

    pub(crate) fn client_recorder(&self) -> Recorder {
        Recorder::to(self.calls.clone())
    }

    pub(crate) fn server_recorder(&self) -> Recorder {
        match &self.collector {
            Some(collector) => Recorder::to(collector.server.clone()),
            None => Recorder::off(),
        }
    }

    /// Sends what is left, writes the file, and returns the number of its spans. A collector that does not answer is
    /// reported and fails nothing.
    pub(crate) fn finish(self, file: Option<TraceFile>) -> Result<usize> {
        if let Some(collector) = &self.collector {
            self.flush(collector);
        }
        let Some(file) = file else { return Ok(0) };
        let mut request = self.calls_as_spans()?;
        let resource = ResourceAttributesWithSchema::from(&resource());
        request
            .resource_spans
            .extend(group_spans_by_resource_and_scope(self.spans.take(), &resource));
        let mut content = serde_json::to_vec(&request)?;
        content.push(b'\n');
        file.write(&content)?;
        let scopes = request.resource_spans.iter().flat_map(|group| &group.scope_spans);
        Ok(scopes.map(|scope| scope.spans.len()).sum())
    }

    /// Sends what is left, of all three at once, for [`FLUSH`] at most.
    fn flush(&self, collector: &Collector) {
        let (ended, all_ended) = mpsc::channel();
        let exporters = self.calls.exporter.iter().chain([&collector.server]);
        for exporter in exporters {
            let (exporter, ended) = (Arc::clone(exporter), ended.clone());
            thread::spawn(move || ended.send(exporter.shutdown(FLUSH).dropped));
        }
        let provider = self.provider.clone();
        thread::spawn(move || {
            // Its timeout is no limit: at its end it waits for a request that is under way. What it says about the
            // collector is less than the count below.
            let _ = provider.shutdown_with_timeout(FLUSH);
            ended.send(0)
        });
        let deadline = Instant::now() + FLUSH + GRACE;
        let mut lost_calls = 0;
        for _ in 0..3 {
            let left = deadline.saturating_duration_since(Instant::now());
            lost_calls += all_ended.recv_timeout(left).unwrap_or(0);
        }
        let delivered = collector.delivered.load(Ordering::Relaxed);
        let lost_turns = self.spans.len().saturating_sub(delivered);
        for (lost, of) in [(lost_turns as u64, "turns"), (lost_calls, "calls")] {
            if lost > 0 {
                eprintln!(
                    "agent: {lost} spans of {of} were not delivered to the collector at {}: start it, or check \
                     OTEL_EXPORTER_OTLP_ENDPOINT",
                    collector.endpoint
                );
            }
        }
    }

    /// As Baton writes them to trace files, to be one object with the spans of turns.
    fn calls_as_spans(&self) -> Result<ExportTraceServiceRequest> {
        let records = self.calls.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut written = Vec::new();
        json::write(&mut written, &records)?;
        Ok(serde_json::from_slice(&written)?)
    }
}

/// Named by `OTEL_SERVICE_NAME`, else `agent`.
fn resource() -> Resource {
    let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_default();
    let name = if name.is_empty() { "agent".to_owned() } else { name };
    Resource::builder().with_service_name(name).build()
}
