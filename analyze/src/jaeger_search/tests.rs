use super::*;
use crate::test_traces::{call, line};

const SECOND: u64 = 1_000_000_000;

fn input() -> JaegerInput {
    JaegerInput::parse("http://jaeger:16686/", |_| Ok(7)).unwrap()
}

/// An answer with the traces of these numbers.
fn answer(traces: Range<u128>) -> Vec<u8> {
    let mut groups = Vec::new();
    for trace in traces {
        let mut spans = call();
        spans.iter_mut().for_each(|span| span.trace = trace);
        let document: Value = serde_json::from_str(&line(&spans)).unwrap();
        groups.extend(document["resourceSpans"].as_array().unwrap().clone());
    }
    serde_json::json!({ "result": { "resourceSpans": groups } })
        .to_string()
        .into_bytes()
}

/// The bounds that a request asks for, in seconds.
fn asked(search: &JaegerSearch) -> Option<(u64, u64)> {
    let request = search.next_request()?;
    let time = |key: &str| {
        let from = request.split_once(key)?.1;
        let text = from.split('&').next()?.replace("%3A", ":");
        let at = humantime::parse_rfc3339(&text).ok()?;
        Some(at.duration_since(UNIX_EPOCH).ok()?.as_secs())
    };
    Some((time("start_time_min=")?, time("start_time_max=")?))
}

#[test]
fn a_request_names_service_window_and_limit() {
    let mut input = input();
    input.service = "my agent&x".to_owned();
    let search = JaegerSearch::new(input, 0..SECOND / 2);
    assert_eq!(
        search.next_request().unwrap(),
        "/api/v3/traces?query.service_name=my%20agent%26x&query.start_time_min=1970-01-01T00%3A00%3A00.000000000Z\
         &query.start_time_max=1970-01-01T00%3A00%3A00.500000000Z&query.search_depth=1000&query.num_traces=1000\
         &query.raw_traces=true"
    );
}

#[test]
fn an_answer_at_the_limit_is_asked_for_again_in_halves_and_no_trace_counts_twice() {
    let mut search = JaegerSearch::new(input(), 0..8 * SECOND).with_limit(3);
    let mut ids = Vec::new();
    let mut deliver = |trace: Trace| ids.push(trace.id());
    assert_eq!(asked(&search), Some((0, 8)));
    search
        .answered(&Answer::Whole(200, &answer(1..4)), &mut deliver)
        .unwrap();
    assert_eq!(asked(&search), Some((0, 4)));
    search
        .answered(&Answer::Whole(200, &answer(1..3)), &mut deliver)
        .unwrap();
    assert_eq!(asked(&search), Some((4, 8)));
    search.answered(&Answer::TooLong, &mut deliver).unwrap();
    assert_eq!(asked(&search), Some((4, 6)));
    // Trace 2 has spans on both sides of the border.
    search
        .answered(&Answer::Whole(200, &answer(2..4)), &mut deliver)
        .unwrap();
    assert_eq!(asked(&search), Some((6, 8)));
    let nothing = br#"{"error":{"httpCode":404,"message":"No traces found"}}"#;
    search
        .answered(&Answer::Whole(404, nothing), &mut deliver)
        .unwrap();
    assert_eq!(asked(&search), None);
    let (read, summary) = search.finish();
    assert_eq!(ids, [1, 2, 3].map(TraceId::from));
    assert_eq!((read.traces, read.fault_count, read.files.len()), (3, 0, 1));
    let expected = SearchSummary {
        requests: 5,
        divided: 2,
    };
    assert_eq!(summary, expected);
}

#[test]
fn a_window_that_cannot_be_divided_is_a_fault_and_not_cut_in_silence() {
    let mut search = JaegerSearch::new(input(), 0..JAEGER_WINDOW_NS).with_limit(2);
    search
        .answered(&Answer::Whole(200, &answer(1..3)), &mut |_| {})
        .unwrap();
    let (read, _) = search.finish();
    assert_eq!((read.traces, read.fault_count, read.files[0].faults), (2, 1, 1));
    assert!(
        read.faults[0].to_string().contains("cut at 2 traces"),
        "{}",
        read.faults[0]
    );
}

#[test]
fn empty_answers_have_no_traces() {
    for (status, body) in [
        (200, r#"{"result":{}}"#),
        (200, r#"{"result":{"resourceSpans":[]}}"#),
        (404, r#"{"error":{"httpCode":404,"message":"No traces found"}}"#),
    ] {
        let mut search = JaegerSearch::new(input(), 0..SECOND);
        search
            .answered(&Answer::Whole(status, body.as_bytes()), &mut |_| panic!())
            .unwrap();
        assert_eq!(
            (search.next_request(), search.finish().0.fault_count),
            (None, 0),
            "{body}"
        );
    }
}

#[test]
fn what_is_no_answer_of_jaeger_is_named_with_what_to_do() {
    for (status, body, part) in [
        (
            200,
            "<!doctype html><html>",
            "not as a Jaeger with /api/v3: HTTP status 200, `<!doctype html>",
        ),
        (200, r#"{"status":"ok"}"#, "not as a Jaeger"),
        (200, "", "an empty answer"),
        (
            404,
            "404 page not found\n",
            "HTTP status 404, `404 page not found`",
        ),
        (302, "", "HTTP status 302"),
        (401, "", "demands credentials (HTTP status 401)"),
        (
            400,
            r#"{"error":{"message":"malformed parameter"}}"#,
            "status 400: malformed parameter",
        ),
        (503, "over\x1b[2Jload", "status 503: `over[2Jload`"),
    ] {
        let mut search = JaegerSearch::new(input(), 0..SECOND);
        let error = search
            .answered(&Answer::Whole(status, body.as_bytes()), &mut |_| {})
            .unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_url_says_where_what_and_when() {
    let read = |text: &str| {
        JaegerInput::parse(text, |time| {
            time.parse::<u64>().map_err(|error| error.to_string())
        })
    };
    let whole = read("https://host:1/jaeger/?service=mine&since=5&until=6").unwrap();
    assert_eq!(
        (&*whole.url, &*whole.service, whole.since_ns, whole.until_ns),
        ("https://host:1/jaeger", "mine", Some(5), Some(6))
    );
    assert_eq!(read("http://host").unwrap().service, SERVICE);
    for (bad, what) in [
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("http://a b", "no address"),
        ("http://user@host", "no address"),
        ("http://host?since=x", "invalid digit"),
        ("http://host?limit=3", "`limit=3` is neither"),
    ] {
        let error = read(bad).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}
