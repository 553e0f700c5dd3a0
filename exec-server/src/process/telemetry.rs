//! The OpenTelemetry variables of a child: it gets the exec-server's collector and host, and neither its name nor its
//! credentials.
//!
//! The spans of a child are in the same trace only if it exports to the same collector. They are on the right time line
//! only if they have the same `host.id`, because Jaeger adjusts clock skew between hosts. With `OTEL_SERVICE_NAME` the
//! child's spans would belong to the exec-server's service. The headers may hold a token that no command may have.

use baton_export::resource;
use baton_spawn::Variable;

/// The variables that no child gets.
const OWN: [&str; 5] = [
    "OTEL_SERVICE_NAME",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
];

/// Spans are exported if one of them is set.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];

const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

/// The only protocol that an exec-server exports by. Many SDKs default to another one, which a collector does not
/// accept on the same port.
const GRPC: &str = "grpc";

const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";

const HOST_ID: &str = "host.id";

/// Resource attributes that name the exec-server itself.
const OWN_ATTRIBUTES: [&str; 3] = ["service.name", "service.version", "service.instance.id"];

/// The exec-server's variables that children inherit, and the `host.id` for their spans; `None` if nothing is exported.
pub(super) fn for_children(mut variables: Vec<Variable>) -> (Vec<Variable>, Option<String>) {
    let is = |variable: &Variable, name: &str| variable.name() == name.as_bytes();
    variables.retain(|variable| !OWN.iter().any(|name| is(variable, name)));
    let given = take(&mut variables, RESOURCE);
    let mut attributes: Vec<_> = given.as_deref().map(members).unwrap_or_default();
    attributes.retain(|(key, _)| !OWN_ATTRIBUTES.contains(key));
    let exports = variables.iter().any(|variable| {
        ENDPOINTS.iter().any(|name| is(variable, name)) && !variable.value().trim_ascii().is_empty()
    });
    let given_host = attributes.iter().find(|(key, _)| *key == HOST_ID);
    let host = given_host.map_or_else(|| resource::host_id().to_owned(), |(_, id)| (*id).to_owned());
    let host = exports.then_some(host);
    if let Some(host) = &host {
        attributes.retain(|(key, _)| *key != HOST_ID);
        attributes.push((HOST_ID, host));
        if !variables.iter().any(|variable| is(variable, PROTOCOL)) {
            variables.extend(Variable::new(PROTOCOL.as_bytes(), GRPC.as_bytes()));
        }
    }
    if !attributes.is_empty() {
        let list: Vec<_> = attributes
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        variables.extend(Variable::new(RESOURCE.as_bytes(), list.join(",").as_bytes()));
    }
    (variables, host)
}

/// Adds the `host.id` to the resource attributes that a start sets, because they replace those of the exec-server.
pub(super) fn merge(own: &mut [Variable], host: Option<&str>) {
    let Some(host) = host else { return };
    for variable in own
        .iter_mut()
        .filter(|variable| variable.name() == RESOURCE.as_bytes())
    {
        let given = String::from_utf8_lossy(variable.value());
        if members(&given).iter().any(|(key, _)| *key == HOST_ID) {
            continue;
        }
        let separator = if given.trim().is_empty() { "" } else { "," };
        let merged = format!("{}{separator}{HOST_ID}={host}", given.trim_end_matches(','));
        // Neither the variable nor the id has a NUL.
        if let Some(merged) = Variable::new(RESOURCE.as_bytes(), merged.as_bytes()) {
            *variable = merged;
        }
    }
}

/// Removes all variables with this name, and returns the value of the last one.
fn take(variables: &mut Vec<Variable>, name: &str) -> Option<String> {
    let mut last = None;
    variables.retain(|variable| {
        let is_it = variable.name() == name.as_bytes();
        if is_it {
            last = Some(String::from_utf8_lossy(variable.value()).into_owned());
        }
        !is_it
    });
    last
}

/// `key=value,…`; values stay percent-encoded.
fn members(list: &str) -> Vec<(&str, &str)> {
    list.split(',')
        .filter_map(|member| member.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(texts: &[&str]) -> Vec<Variable> {
        let split = texts.iter().map(|text| text.split_once('=').unwrap());
        split
            .map(|(name, value)| Variable::new(name.as_bytes(), value.as_bytes()).unwrap())
            .collect()
    }

    fn texts(variables: &[Variable]) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut texts: Vec<_> = variables
            .iter()
            .map(|variable| format!("{}={}", text(variable.name()), text(variable.value())))
            .collect();
        texts.sort_unstable();
        texts
    }

    #[test]
    fn a_child_exports_to_the_same_collector_from_the_same_host_under_its_own_name() {
        let (children, host) = for_children(variables(&[
            "PATH=/bin",
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317",
            "OTEL_EXPORTER_OTLP_HEADERS=authorization=secret",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS=authorization=secret",
            "OTEL_SERVICE_NAME=builder",
            "OTEL_RESOURCE_ATTRIBUTES=service.name=builder, team=a%20b ,service.instance.id=7",
        ]));
        let host = host.unwrap();
        assert_eq!(host, resource::host_id());
        assert_eq!(
            texts(&children),
            [
                "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317".to_owned(),
                "OTEL_EXPORTER_OTLP_PROTOCOL=grpc".to_owned(),
                format!("OTEL_RESOURCE_ATTRIBUTES=team=a%20b,host.id={host}"),
                "PATH=/bin".to_owned(),
            ]
        );
    }

    #[test]
    fn the_exec_servers_own_settings_override_the_defaults() {
        let (children, host) = for_children(variables(&[
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://collector:4317",
            "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            "OTEL_RESOURCE_ATTRIBUTES=host.id=given",
        ]));
        assert_eq!(host.as_deref(), Some("given"));
        let texts = texts(&children);
        assert!(texts.contains(&"OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf".to_owned()));
        assert!(texts.contains(&"OTEL_RESOURCE_ATTRIBUTES=host.id=given".to_owned()));
    }

    #[test]
    fn without_an_export_nothing_is_added() {
        let (children, host) = for_children(variables(&[
            "OTEL_SERVICE_NAME=builder",
            "OTEL_EXPORTER_OTLP_ENDPOINT= ",
            "OTEL_RESOURCE_ATTRIBUTES=service.name=builder",
        ]));
        assert_eq!((texts(&children).len(), host), (1, None));
    }

    #[test]
    fn attributes_that_a_start_sets_are_kept_and_get_the_host() {
        for (given, merged) in [
            ("team=a", "team=a,host.id=h"),
            ("", "host.id=h"),
            ("team=a,", "team=a,host.id=h"),
            ("host.id=other", "host.id=other"),
        ] {
            let mut own = variables(&[&format!("OTEL_RESOURCE_ATTRIBUTES={given}"), "A=host"]);
            merge(&mut own, Some("h"));
            assert_eq!(own[0].value(), merged.as_bytes());
            merge(&mut own, None);
            assert_eq!(
                (own[0].value(), own[1].value()),
                (merged.as_bytes(), &b"host"[..])
            );
        }
    }
}
