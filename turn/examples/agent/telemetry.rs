//! Where spans go: to a file, and to a collector if the environment names one.
//!
//! The spans of turns come through OpenTelemetry's SDK and are exported the standard way. Calls are Baton's records,
//! which Baton's own exporters send, one for each side. The client's record of a call has the exec-server's stages too,
//! so the file is complete without the exec-server's records.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_export::{Exporter, ExporterSettings, json};
use baton_trace::record::{CallRecord, Side};
use baton_trace::recorder::{RecordSink, Recorder};
use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::Handle;

use crate::Result;

/// How long the end of the process waits for the collector.
const FLUSH: Duration = Duration::from_secs(5);

pub(crate) struct Telemetry {
    provider: SdkTracerProvider,
    spans: KeptSpans,
    calls: Arc<KeptCalls>,
    /// The exec-server's, if there is a collector.
    server: Option<Arc<Exporter>>,
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

impl SpanExporter for KeptSpans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(batch);
        Ok(())
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
        let settings = ExporterSettings::from_env()?;
        let exporter = |side| -> Result<Option<Arc<Exporter>>> {
            let settings = settings.clone();
            Ok(settings
                .map(|settings| Exporter::new(side, settings))
                .transpose()?
                .map(Arc::new))
        };
        if settings.is_some() {
            let _runtime = runtime.enter();
            provider = provider.with_batch_exporter(OtlpExporter::builder().with_tonic().build()?);
        }
        Ok(Self {
            provider: provider.build(),
            spans,
            calls: Arc::new(KeptCalls {
                exporter: exporter(Side::Client)?,
                ..KeptCalls::default()
            }),
            server: exporter(Side::Server)?,
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
        match &self.server {
            Some(exporter) => Recorder::to(exporter.clone()),
            None => Recorder::off(),
        }
    }

    /// Sends what is left, writes the file, and returns the number of its spans. A collector that does not answer is
    /// reported and fails nothing.
    pub(crate) fn finish(self, file: Option<File>) -> Result<usize> {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH) {
            eprintln!("agent: spans of turns may be missing in the collector: {error}");
        }
        for exporter in self.calls.exporter.iter().chain(&self.server) {
            let report = exporter.shutdown(FLUSH);
            if report.dropped > 0 {
                eprintln!("agent: spans of calls are missing in the collector: {report}");
            }
        }
        let Some(file) = file else { return Ok(0) };
        let mut request = self.calls_as_spans()?;
        let spans = std::mem::take(&mut *self.spans.0.lock().unwrap_or_else(PoisonError::into_inner));
        let resource = ResourceAttributesWithSchema::from(&resource());
        request
            .resource_spans
            .extend(group_spans_by_resource_and_scope(spans, &resource));
        let mut file = BufWriter::new(file);
        serde_json::to_writer(&mut file, &request)?;
        file.write_all(b"\n")?;
        file.flush()?;
        let scopes = request.resource_spans.iter().flat_map(|group| &group.scope_spans);
        Ok(scopes.map(|scope| scope.spans.len()).sum())
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
