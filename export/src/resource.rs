//! The resource of each component.
//!
//! Jaeger's clock-skew adjustment compares `host.id`, and its views tell instances apart by `service.instance.id`; both
//! are on every resource. `host.id` is derived from the machine id and is not the machine id itself, which
//! machine-id(5) asks not to send over a network. `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` override this
//! process's own resource.
//!
//! Spans that one component reports for another (the relay's, and in files the server's) are stamped by the
//! *reporter's* clock, so their resource has the reporter's `host.id`, and names it in `baton.reported_by`.

use std::sync::{LazyLock, OnceLock};

use aws_lc_rs::digest;
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, ResourceDetector};
use opentelemetry_semantic_conventions::SCHEMA_URL;
use opentelemetry_semantic_conventions::attribute::{
    HOST_ID, HOST_NAME, PROCESS_PID, SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION,
};

use baton_trace::attribute::REPORTED_BY;
use baton_trace::stage::Component;
use baton_trace::w3c::random::random_u128;

/// The service name of a component.
pub fn service_name(part: Component) -> &'static str {
    match part {
        Component::Client => "baton-client",
        Component::Relay => "baton-relay",
        Component::Server => "baton-exec-server",
    }
}

/// The component that the environment configures, in a process that has several.
static NAMED: OnceLock<Component> = OnceLock::new();

/// Declares that this process has several components, and that the service name and instance of its environment apply
/// to this one. Call it once, before an exporter is created.
pub fn set_configured_component(part: Component) {
    // A process has one environment, so later calls have no effect.
    let _ = NAMED.set(part);
}

/// This process's own resource. `service_name` is that of `OTEL_SERVICE_NAME`, if set; it takes precedence
/// (OpenTelemetry, environment variable specification).
pub(super) fn own(part: Component, configured_name: Option<String>) -> Resource {
    let is_named = NAMED.get().is_none_or(|named| *named == part);
    let environment = EnvResourceDetector::new().detect();
    let environment = environment
        .iter()
        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    build(part, environment.collect(), configured_name, is_named)
}

/// `environment` is the process's. A component that it does not configure keeps its own name and instance.
fn build(
    part: Component,
    mut environment: Vec<KeyValue>,
    configured_name: Option<String>,
    is_named: bool,
) -> Resource {
    if !is_named {
        environment.retain(|kv| ![SERVICE_NAME, SERVICE_INSTANCE_ID].contains(&kv.key.as_str()));
    }
    let mut attributes = vec![
        KeyValue::new(SERVICE_NAME, service_name(part)),
        KeyValue::new(SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
        KeyValue::new(SERVICE_INSTANCE_ID, instance(part)),
        KeyValue::new(HOST_ID, host_id()),
        KeyValue::new(PROCESS_PID, i64::from(std::process::id())),
    ];
    attributes.extend(HOST.name.clone().map(|name| KeyValue::new(HOST_NAME, name)));
    attributes.extend(environment);
    let configured_name = configured_name.filter(|_| is_named);
    attributes.extend(configured_name.map(|name| KeyValue::new(SERVICE_NAME, name)));
    Resource::builder_empty()
        .with_schema_url(attributes, SCHEMA_URL)
        .build()
}

/// The resource of background stages: a separate service, so that their traces are separate from those of calls.
pub(super) fn background(own: &Resource) -> Resource {
    let name = own.get(&Key::from_static_str(SERVICE_NAME));
    let name = name.map_or_else(String::new, |name| name.to_string());
    let mut attributes: Vec<_> = own
        .iter()
        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
        .collect();
    attributes.push(KeyValue::new(SERVICE_NAME, format!("{name}-background")));
    Resource::builder_empty()
        .with_schema_url(attributes, SCHEMA_URL)
        .build()
}

/// The resource of another component, whose spans `reporter` reports.
pub(super) fn reported(part: Component, reporter: &Resource) -> Resource {
    let of_reporter = |key| reporter.get(&Key::from_static_str(key));
    let reporter_id = of_reporter(SERVICE_INSTANCE_ID).unwrap_or_else(|| Value::from(instance(part)));
    let attributes = [
        KeyValue::new(SERVICE_NAME, service_name(part)),
        KeyValue::new(
            SERVICE_INSTANCE_ID,
            format!("{}-by-{reporter_id}", service_name(part)),
        ),
        KeyValue::new(
            HOST_ID,
            of_reporter(HOST_ID).unwrap_or_else(|| Value::from(host_id())),
        ),
        KeyValue::new(REPORTED_BY, reporter_id),
    ];
    Resource::builder_empty()
        .with_schema_url(attributes, SCHEMA_URL)
        .build()
}

/// The id of this machine in all resources, unless `OTEL_RESOURCE_ATTRIBUTES` overrides it.
pub fn host_id() -> &'static str {
    &HOST.id
}

/// One id for each component of a process: `baton run` has a client and a server.
static CLIENT: LazyLock<String> = LazyLock::new(instance_id);
static SERVER: LazyLock<String> = LazyLock::new(instance_id);

/// A random UUIDv4, as the conventions require.
fn instance_id() -> String {
    let random = random_u128();
    let versioned = random & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{versioned:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn instance(part: Component) -> &'static str {
    match part {
        Component::Client | Component::Relay => &CLIENT,
        Component::Server => &SERVER,
    }
}

struct Host {
    id: String,
    name: Option<String>,
}

static HOST: LazyLock<Host> = LazyLock::new(|| {
    let line = |path: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        let line = text.trim();
        (!line.is_empty()).then(|| line.to_owned())
    };
    let name = line("/proc/sys/kernel/hostname").or_else(|| line("/etc/hostname"));
    let machine = line("/etc/machine-id").or_else(|| line("/var/lib/dbus/machine-id"));
    // A minimal container has no machine id, but a host name of its own.
    let source = machine.or_else(|| name.clone()).unwrap_or_default();
    Host {
        id: derived_id(&source),
        name,
    }
});

/// Half of SHA-256 over a fixed prefix and the machine's own id.
fn derived_id(machine: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(b"baton host.id\0");
    hash.update(machine.as_bytes());
    let hash = hash.finish();
    hash.as_ref()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(resource: &Resource, key: &'static str) -> String {
        resource.get(&Key::from_static_str(key)).unwrap().to_string()
    }

    #[test]
    fn a_part_names_itself_its_host_and_its_instance() {
        let resource = own(Component::Server, None);
        assert_eq!(get(&resource, "service.name"), "baton-exec-server");
        assert_eq!(get(&resource, "process.pid"), std::process::id().to_string());
        assert_eq!(get(&resource, "host.id").len(), 32);
        let instance = get(&resource, "service.instance.id");
        assert_eq!((instance.len(), &instance[14..15]), (36, "4"));
        assert_eq!(
            get(&own(Component::Client, Some("mine".into())), "service.name"),
            "mine"
        );
    }

    #[test]
    fn a_part_that_the_environment_does_not_name_keeps_its_own_name_and_instance() {
        let environment = || {
            let of = ["service.name", "service.instance.id", "team"];
            of.map(|key| KeyValue::new(key, "given")).to_vec()
        };
        let named = build(Component::Client, environment(), Some("mine".into()), true);
        let other = build(Component::Server, environment(), Some("mine".into()), false);
        assert_eq!(get(&named, "service.name"), "mine");
        assert_eq!(get(&named, "service.instance.id"), "given");
        assert_eq!(get(&other, "service.name"), "baton-exec-server");
        assert_eq!(get(&other, "service.instance.id"), instance(Component::Server));
        assert_eq!(
            (get(&named, "team"), get(&other, "team")),
            ("given".into(), "given".into())
        );
    }

    #[test]
    fn what_happens_beside_calls_is_a_service_of_its_own() {
        let server = own(Component::Server, Some("builder".into()));
        let beside = background(&server);
        assert_eq!(get(&beside, "service.name"), "builder-background");
        assert_eq!(get(&beside, "host.id"), get(&server, "host.id"));
    }

    #[test]
    fn the_parts_of_one_process_are_instances_of_their_own_and_keep_their_ids() {
        let id = |resource: &Resource| get(resource, "service.instance.id");
        let (client, server) = (own(Component::Client, None), own(Component::Server, None));
        let relay = reported(Component::Relay, &client);
        assert!(id(&client) != id(&server) && id(&client) != id(&relay) && id(&server) != id(&relay));
        assert_eq!(id(&client), id(&own(Component::Client, None)));
    }

    #[test]
    fn a_reported_part_is_marked_and_shares_the_reporters_clock() {
        let client = own(Component::Client, None);
        let relay = reported(Component::Relay, &client);
        assert_eq!(get(&relay, "service.name"), "baton-relay");
        assert_eq!(get(&relay, "host.id"), get(&client, "host.id"));
        assert_eq!(
            get(&relay, "baton.reported_by"),
            get(&client, "service.instance.id")
        );
        assert_ne!(
            get(&relay, "service.instance.id"),
            get(&client, "service.instance.id")
        );
    }

    #[test]
    fn the_machine_id_itself_is_not_sent() {
        assert_ne!(
            derived_id("0123456789abcdef0123456789abcdef"),
            "0123456789abcdef0123456789abcdef"
        );
        assert_ne!(derived_id("a"), derived_id("b"));
    }
}
