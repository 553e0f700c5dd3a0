//! The guide's table of variables is what the code does.

use std::cell::RefCell;
use std::collections::BTreeSet;

use baton_export::ExporterSettings;

/// The standard variables (OpenTelemetry specification 1.49, "Environment variables" and "OTLP exporter"); of those about metrics, logs and other
/// exporters what they begin with.
const STANDARD: &[&str] = &[
    "OTEL_SDK_DISABLED",
    "OTEL_ENTITIES",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SERVICE_NAME",
    "OTEL_LOG_LEVEL",
    "OTEL_PROPAGATORS",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BLRP_",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOGRECORD_",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_INSECURE",
    "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
    "OTEL_EXPORTER_OTLP_SPAN_INSECURE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_METRICS_",
    "OTEL_EXPORTER_OTLP_LOGS_",
    "OTEL_EXPORTER_ZIPKIN_",
    "OTEL_EXPORTER_JAEGER_",
    "OTEL_EXPORTER_PROMETHEUS_",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_LOGS_EXPORTER",
    "OTEL_METRICS_EXEMPLAR_FILTER",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_METRIC_EXPORT_TIMEOUT",
    "OTEL_CONFIG_FILE",
    "OTEL_EXPERIMENTAL_CONFIG_FILE",
];

/// Variables of the guide's table that are said to be supported, or not to be.
fn documented(supported: &str) -> BTreeSet<String> {
    let guide = include_str!("../../docs/guide/telemetry.md");
    let mut found = BTreeSet::new();
    for row in guide.lines().filter(|line| line.starts_with("| `OTEL_")) {
        let cells: Vec<_> = row.split(" | ").collect();
        if cells[1] == supported {
            let names = cells[0].split('`').filter(|name| name.starts_with("OTEL_"));
            found.extend(names.map(|name| name.trim_end_matches('…').to_owned()));
        }
    }
    found
}

/// Every variable that is looked up when spans are exported.
fn looked_up() -> BTreeSet<String> {
    let names = RefCell::new(BTreeSet::new());
    let settings = ExporterSettings::from_lookup(|name| {
        names.borrow_mut().insert(name.to_owned());
        (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://localhost:4317".to_owned())
    });
    assert!(settings.unwrap().is_some());
    names.into_inner()
}

#[test]
fn the_guide_has_every_standard_variable_once() {
    let (yes, no) = (documented("yes"), documented("no"));
    assert!(yes.is_disjoint(&no));
    let all: BTreeSet<_> = yes.union(&no).map(String::as_str).collect();
    assert_eq!(all, STANDARD.iter().copied().collect());
}

#[test]
fn what_the_guide_calls_supported_is_what_the_code_reads() {
    let mut read = looked_up();
    // The SDK reads it, for the resource.
    read.insert("OTEL_RESOURCE_ATTRIBUTES".to_owned());
    // These are read to be told that they have no effect.
    for told in [
        "OTEL_PROPAGATORS",
        "OTEL_CONFIG_FILE",
        "OTEL_EXPERIMENTAL_CONFIG_FILE",
    ] {
        assert!(read.remove(told), "{told}");
    }
    assert_eq!(read, documented("yes"));
}
