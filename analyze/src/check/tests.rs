use super::*;
use crate::test_traces::{Made, call, other, stage, trace};

fn names(spans: &[Made]) -> Vec<&'static str> {
    found(spans, &CheckOptions::default())
        .iter()
        .map(Finding::name)
        .collect()
}

fn found(spans: &[Made], options: &CheckOptions) -> Vec<Finding> {
    check(&trace(spans), options)
}

fn of<'a>(spans: &'a mut [Made], name: &str) -> &'a mut Made {
    spans
        .iter_mut()
        .find(|span| span.attributes.contains(&("baton.stage".to_owned(), name.into())))
        .unwrap()
}

/// The server's clock is ahead of the client's.
fn ahead(mut spans: Vec<Made>, by_us: u64) -> Vec<Made> {
    for span in spans.iter_mut().filter(|span| span.part == "server") {
        span.start_ns += by_us * 1_000;
        span.end_ns += by_us * 1_000;
    }
    spans
}

fn with_offset(mut spans: Vec<Made>, offset_ns: i64) -> Vec<Made> {
    for (key, value) in &mut spans[0].attributes {
        if key == "baton.clock.offset_ns" {
            *value = offset_ns.into();
        }
    }
    spans
}

#[test]
fn an_exported_call_has_no_fault() {
    assert_eq!(found(&call(), &CheckOptions::default()), []);
    // Nor has one whose server is a second ahead.
    let skewed = with_offset(ahead(call(), 1_000_000), 1_000_000_000);
    let findings = found(&skewed, &CheckOptions::default());
    let is_path = |finding: &Finding| matches!(finding, Finding::CriticalPath(_));
    assert!(findings.iter().all(is_path), "{findings:?}");
}

#[test]
fn a_missing_parent_is_found_and_a_caller_elsewhere_is_none() {
    let mut spans = call();
    spans.retain(|span| span.id != 11);
    assert_eq!(names(&spans).iter().filter(|name| **name == "orphan").count(), 5);
    // The caller exports elsewhere.
    let mut spans = call();
    spans[0].parent = 99;
    assert_eq!(names(&spans), [""; 0]);
    // Here the trace has a root, so the caller's span should be there too.
    spans.push(other(50, 0, "GET /", 0, 2_000));
    assert_eq!(names(&spans), ["orphan"]);
    let partial = CheckOptions {
        is_partial: true,
        ..CheckOptions::default()
    };
    assert_eq!(found(&spans, &partial), []);
}

#[test]
fn a_child_outside_its_parent_is_found_beyond_the_clocks_bound_only() {
    // Inside one component nothing is allowed.
    let mut spans = call();
    of(&mut spans, "process.close").end_ns += 1_000;
    let findings = found(&spans, &CheckOptions::default());
    let outside = findings.iter().find_map(|finding| match finding {
        Finding::OutsideParent { by_ns, bound_ns, .. } => Some((*by_ns, *bound_ns)),
        _ => None,
    });
    assert_eq!(outside, Some((1_000, 0)), "{findings:?}");
    // The error is 20 µs, the slack 1 ms. The rpc ends 170 µs before the call.
    let is_outside = |spans: &[Made]| names(spans).contains(&"outside_parent");
    assert!(!is_outside(&ahead(call(), 1_189)));
    assert!(is_outside(&ahead(call(), 1_192)));
    // The offset explains it.
    assert!(!is_outside(&with_offset(ahead(call(), 1_192), 1_192_000)));
}

#[test]
fn touching_overlapping_and_empty_siblings_are_found() {
    let mut spans = call();
    of(&mut spans, "client.queue").start_ns -= 1_000;
    assert_eq!(names(&spans)[0], "touching");
    let mut spans = call();
    of(&mut spans, "server.open").end_ns += 5_000;
    assert_eq!(names(&spans)[0], "overlapping");
    let mut spans = call();
    let seal = of(&mut spans, "client.seal");
    seal.end_ns = seal.start_ns;
    assert_eq!(names(&spans)[0], "zero_length");
    // Output overlaps the wait by its nature.
    let mut spans = call();
    of(&mut spans, "process.stdout").start_ns -= 5_000;
    assert_eq!(names(&spans), [""; 0]);
    // One stage over two others is told for both.
    let mut spans = call();
    of(&mut spans, "dispatch").end_ns += 15_000;
    assert_eq!(names(&spans)[..2], ["overlapping"; 2]);
}

#[test]
fn a_record_in_a_file_may_touch() {
    let mut spans = call();
    for span in spans.iter_mut().filter(|span| span.part == "server") {
        span.part = "reported".to_owned();
    }
    of(&mut spans, "client.queue").start_ns -= 1_000;
    let seal = of(&mut spans, "client.seal");
    seal.end_ns = seal.start_ns;
    assert_eq!(names(&spans), [""; 0]);
}

#[test]
fn awaited_time_that_the_critical_path_misses_is_found() {
    let mut spans = call();
    of(&mut spans, "transit").end_ns += 700_000;
    assert!(names(&spans).contains(&"critical_path"), "{:?}", names(&spans));
}

#[test]
fn a_resource_says_what_views_need() {
    let mut spans = call();
    spans[0].version = String::new();
    assert_eq!(names(&spans), [""; 0]);
    let text = crate::test_traces::line(&call()).replace("host.id", "host.it");
    let (traces, _) = crate::test_traces::read(&[&text]);
    let findings = check(&traces[0], &CheckOptions::default());
    assert_eq!(findings.len(), 3, "one for each component: {findings:?}");
    assert_eq!(
        findings[0].to_string(),
        "the resource of baton-client has no host.id"
    );
}

#[test]
fn arguments_and_environment_are_found_in_every_attribute() {
    for key in [
        "process.command_args",
        "process.command_line",
        "process.environment_variable.HOME",
    ] {
        let mut spans = call();
        spans[0] = spans[0].clone().with(key, "x");
        assert_eq!(names(&spans), ["private"], "{key}");
    }
    let secret = CheckOptions {
        secrets: vec!["--password".to_owned()],
        ..CheckOptions::default()
    };
    let mut spans = call();
    spans[0] = spans[0]
        .clone()
        .with("note", serde_json::json!(["a", "--password=1"]));
    spans[3].name = "make --password".to_owned();
    assert_eq!(found(&spans, &secret).len(), 2);
    assert_eq!(names(&spans), [""; 0]);
    // Another tool says of itself what it likes.
    let mut spans = call();
    spans.push(other(50, 15, "compile", 300, 400).with("process.command_args", "cc"));
    assert!(!names(&spans).contains(&"private"));
}

#[test]
fn the_announced_number_of_stages_is_counted() {
    for (announced, is_right) in [(21, true), (22, false), (20, false), (-1, false)] {
        let mut spans = call();
        spans[0] = spans[0].clone().with("baton.spans", announced);
        // A child's own span does not count.
        spans.push(other(50, 15, "compile", 300, 700));
        assert_eq!(!names(&spans).contains(&"count"), is_right, "{announced}");
    }
}

#[test]
fn the_announcements_of_both_parts_add_up() {
    for (of_server, is_right) in [(9, true), (10, false)] {
        let mut spans = call();
        spans[0] = spans[0].clone().with("baton.spans", 12);
        let rpc = of(&mut spans, "rpc");
        *rpc = rpc.clone().with("baton.spans", of_server);
        assert_eq!(!names(&spans).contains(&"count"), is_right, "{of_server}");
    }
}

#[test]
fn shared_ids_and_backward_clocks_are_found() {
    let mut spans = call();
    spans.push(stage(2, 1, "recover", 951, 960));
    assert!(names(&spans).contains(&"shared_id"), "{:?}", names(&spans));
    let mut spans = call();
    let open = of(&mut spans, "terminal.open");
    open.end_ns = open.start_ns - 5_000;
    assert!(names(&spans).contains(&"backwards"));
}

#[test]
fn a_background_stage_is_a_trace_of_its_own() {
    assert_eq!(names(&[stage(1, 0, "metadata.persist", 0, 50)]), [""; 0]);
}

#[test]
fn hand_made_nonsense_does_not_panic() {
    // A cycle, a span that is its own parent, extreme times.
    let mut spans = vec![
        stage(1, 2, "rpc", 0, 5),
        stage(2, 1, "process", 0, 5),
        stage(3, 3, "call", 0, 5),
    ];
    spans[0].start_ns = u64::MAX;
    spans[1].end_ns = 0;
    assert!(!names(&spans).is_empty());
}
