//! A span processor of OpenTelemetry's SDK that keeps every ended span.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

/// Ended spans, in the order of their ends. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl Ended {
    /// All spans that have ended so far.
    pub fn all(&self) -> Vec<SpanData> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first ended span of this name.
    ///
    /// # Panics
    /// If no span of this name has ended.
    pub fn named(&self, name: &str) -> SpanData {
        let found = self.all().into_iter().find(|span| span.name == name);
        found.unwrap_or_else(|| panic!("no span {name} has ended"))
    }
}

impl SpanProcessor for Ended {
    fn on_start(&self, _span: &mut Span, _parent: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
