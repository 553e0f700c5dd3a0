//! The counters of a relay as a page for Prometheus, in the text format of OpenMetrics 1.0. No value and no label names
//! an address, a key or an exec-server.

use std::fmt;
use std::sync::Arc;

use baton_relay::{Limits, Metrics, RefusalReason};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

/// What every name begins with.
const PREFIX: &str = "baton_relay";

/// The page of a relay. Its counters are read anew for each [`text`](Self::text).
#[derive(Debug)]
pub(super) struct RelayMetrics(Registry);

#[derive(Debug)]
struct RelayCollector {
    metrics: Arc<Metrics>,
    limits: Limits,
}

impl RelayMetrics {
    pub(super) fn new(metrics: Arc<Metrics>, limits: Limits) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(RelayCollector { metrics, limits }));
        Self(registry)
    }

    /// # Errors
    /// None: writing to a string does not fail.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

impl Collector for RelayCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = self.metrics.snapshot();
        let mut page = Page(encoder);
        page.gauge(
            "draining",
            "1 while the relay drains or shuts down",
            None,
            u64::from(now.draining),
        )?;
        page.gauge(
            "registrations",
            "Exec-servers that are registered",
            None,
            now.registrations,
        )?;
        page.gauge(
            "registrations_limit",
            "Exec-servers that can be registered",
            None,
            self.limits.registrations as u64,
        )?;
        page.counter(
            "registrations_unanswered",
            "Registrations that ended because the exec-server answered no ping",
            now.registrations_unanswered,
        )?;
        page.counters(
            "here_answers",
            "Answers to exec-servers that asked whether they are registered (Here)",
            None,
            "answer",
            [
                ("registered", now.here_registered),
                ("not_registered", now.here_not_registered),
            ],
        )?;
        page.gauge("sessions", "Sessions that are open", None, now.sessions_open)?;
        page.gauge(
            "sessions_limit",
            "Sessions that can be open",
            None,
            self.limits.sessions as u64,
        )?;
        page.counter("sessions_opened", "Sessions that were opened", now.sessions_total)?;
        page.counter(
            "sessions_reset",
            "Sessions that the relay ended because a side broke the framing",
            now.sessions_reset,
        )?;
        page.counter(
            "connections_rejected",
            "Connections that were closed before they were served",
            now.connections_rejected,
        )?;
        page.counters(
            "requests_refused",
            "Requests that were refused, and Here of exec-servers that are not registered",
            None,
            "reason",
            RefusalReason::ALL.map(|reason| (reason.as_str(), now.refused(reason))),
        )?;
        let directions =
            |to_exec_server, to_client| [("to_exec_server", to_exec_server), ("to_client", to_client)];
        page.counters(
            "frames",
            "Frames that were forwarded",
            None,
            "direction",
            directions(now.to_exec_server.frames, now.to_client.frames),
        )?;
        page.counters(
            "forwarded",
            "Encrypted bytes that were forwarded",
            Some(&Unit::Bytes),
            "direction",
            directions(now.to_exec_server.bytes, now.to_client.bytes),
        )?;
        page.gauge(
            "memory_reserved",
            "Memory that is reserved for clients and exec-servers, of --memory",
            Some(&Unit::Bytes),
            now.memory_reserved,
        )?;
        page.gauge(
            "memory_limit",
            "Memory that can be reserved (--memory)",
            Some(&Unit::Bytes),
            self.limits.memory as u64,
        )
    }
}

struct Page<'e>(DescriptorEncoder<'e>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        let encoder = self.0.encode_descriptor(name, help, unit, gauge.metric_type())?;
        gauge.encode(encoder)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        let encoder = self
            .0
            .encode_descriptor(name, help, None, counter.metric_type())?;
        counter.encode(encoder)
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        label: &str,
        values: [(&str, u64); N],
    ) -> fmt::Result {
        let type_ = ConstCounter::new(0_u64).metric_type();
        let mut encoder = self.0.encode_descriptor(name, help, unit, type_)?;
        for (value, count) in values {
            let labels = [(label, value)];
            ConstCounter::new(count).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
