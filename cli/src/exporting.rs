//! Export of what was recorded, as the standard OpenTelemetry variables say.

use std::sync::Arc;

use baton_trace::export::Exporter;
use baton_trace::record::Side;
use baton_trace::recorder::Recorder;

use crate::error::CliError;
use crate::limits::FLUSH_TIMEOUT;

/// The exporter of one part, if there is one.
pub(crate) struct Exporting(Option<Arc<Exporter>>);

impl Exporting {
    pub(crate) fn start(side: Side) -> Result<Self, CliError> {
        Ok(Self(Exporter::from_env(side)?.map(Arc::new)))
    }

    /// Where records go.
    pub(crate) fn recorder(&self) -> Recorder {
        self.0
            .clone()
            .map_or_else(Recorder::off, |exporter| Recorder::to(exporter))
    }

    /// Sends what waits, within [`FLUSH_TIMEOUT`], and says what was lost.
    pub(crate) fn finish(self) {
        if let Some(exporter) = self.0 {
            let report = exporter.shutdown(FLUSH_TIMEOUT);
            if report.dropped > 0 {
                tell!("baton: {report}; is the collector at OTEL_EXPORTER_OTLP_ENDPOINT up?");
            }
        }
    }
}
