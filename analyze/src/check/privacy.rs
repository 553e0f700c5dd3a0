//! Resources of Baton's components: what they must say, and what neither they nor the stages may say.

use std::collections::HashSet;

use baton_trace::attribute;

use super::{Finding, Unit};
use crate::model::{Trace, Value};

/// Views tell machines and instances apart by these.
const OF_EVERY_RESOURCE: [&str; 3] = ["service.name", "service.instance.id", "host.id"];

/// Of a component that reports itself.
const OF_OWN_RESOURCE: &str = "service.version";

/// Conventional keys of a command's arguments. `process.executable.name` is its base name and allowed.
const ARGUMENTS: [&str; 3] = ["process.command", "process.command_args", "process.command_line"];

const ENVIRONMENT: &str = "process.environment_variable";

pub(super) fn check(trace: &Trace, secrets: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = HashSet::new();
    for span in trace.spans().iter().filter(|span| span.stage.is_some()) {
        let is_private = |(key, value): &(&str, Value<'_>)| {
            ARGUMENTS.contains(key) || key.starts_with(ENVIRONMENT) || has_secret(key, *value, secrets)
        };
        let mut report = |key: Option<&str>| {
            findings.push(Finding::Private {
                span: Unit::of(trace, span),
                key: key.map(str::to_owned),
            });
        };
        for (key, _) in trace.attributes(span).filter(is_private) {
            report(Some(key));
        }
        if contains(trace.name(span), secrets) {
            report(None);
        }
        if !seen.insert(trace.resource_index(span)) {
            continue;
        }
        for (key, _) in trace.resource(span).filter(is_private) {
            report(Some(key));
        }
        let has = |key: &str| trace.resource(span).any(|(known, _)| known == key);
        let is_own = !has(attribute::REPORTED_BY);
        let needed = OF_EVERY_RESOURCE
            .into_iter()
            .chain(is_own.then_some(OF_OWN_RESOURCE));
        let service = trace
            .resource_text(span, "service.name")
            .unwrap_or("(no service)");
        let service = baton_trace::text::printable(service);
        findings.extend(
            needed
                .filter(|key| !has(key))
                .map(|key| Finding::MissingResourceAttribute {
                    service: service.clone().into_owned(),
                    key,
                }),
        );
    }
    findings
}

fn has_secret(key: &str, value: Value<'_>, secrets: &[String]) -> bool {
    let text = match value {
        Value::Text(text) | Value::Other(text) => text,
        Value::Int(_) | Value::Bool(_) | Value::Double(_) => "",
    };
    contains(key, secrets) || contains(text, secrets)
}

fn contains(text: &str, secrets: &[String]) -> bool {
    secrets
        .iter()
        .any(|secret| !secret.is_empty() && text.contains(secret.as_str()))
}
