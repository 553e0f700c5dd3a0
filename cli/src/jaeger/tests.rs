use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::*;

/// An answer as a Jaeger 2 writes it: a trace of two spans, one of them a stage.
const RECORDED: &str = r#"{"result":{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"baton-client"}}]},"scopeSpans":[{"scope":{},"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"00f067aa0ba902b7","name":"true","kind":3,"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000001000000","attributes":[{"key":"baton.stage","value":{"stringValue":"call"}},{"key":"baton.remainder_ns","value":{"intValue":"1000000"}}],"status":{}},{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"00f067aa0ba902b8","parentSpanId":"00f067aa0ba902b7","name":"dispatch","kind":1,"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000000500000","attributes":[{"key":"baton.stage","value":{"stringValue":"dispatch"}}],"status":{}}]}]}]}}"#;

/// Answers connections in turn with these bytes, and returns the requests.
fn serve(answers: Vec<Vec<u8>>) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let one = |answer: Vec<u8>| {
            let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            stream.write_all(&answer).unwrap();
            request
        };
        answers.into_iter().map(one).collect()
    });
    (url, served)
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// As Go's server sends a long answer.
fn chunked(body: &str) -> Vec<u8> {
    let mut out = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.as_bytes().chunks(100) {
        out.extend(format!("{:x}\r\n", chunk.len()).bytes());
        out.extend_from_slice(chunk);
        out.extend(b"\r\n");
    }
    out.extend(b"0\r\n\r\n");
    out
}

fn input(url: &str) -> JaegerInput {
    JaegerInput::parse(url, |_| Err(String::new())).unwrap()
}

fn error_of(url: &str) -> String {
    match read(&input(url), 0..1, &mut |_| {}) {
        Ok(_) => panic!("{url} was read"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_recorded_answer_in_chunks_is_read() {
    let (url, served) = serve(vec![chunked(RECORDED)]);
    let mut spans = 0;
    let window = 1_700_000_000_000_000_000..1_700_000_001_000_000_000;
    let read = read(&input(&format!("{url}/base")), window.clone(), &mut |trace| {
        spans += trace.spans().len();
    });
    let read = read.unwrap();
    assert_eq!((spans, read.summary.traces, read.summary.fault_count), (2, 1, 0));
    assert_eq!((read.search.requests, read.window_ns), (1, window));
    let request = served.join().unwrap().remove(0);
    assert!(
        request.starts_with(
            "GET /base/api/v3/traces?query.service_name=baton-client&query.start_time_min=2023-11-14T"
        ),
        "{request}"
    );
}

#[test]
fn an_answer_that_is_cut_off_is_an_error() {
    let mut cut = answer("200 OK", RECORDED);
    cut.truncate(cut.len() - 10);
    let (url, _served) = serve(vec![cut]);
    let error = error_of(&url);
    assert!(error.contains("answers, but not as a Jaeger"), "{error}");
}

#[test]
fn what_is_no_jaeger_says_so_and_what_to_do() {
    let (url, _served) = serve(vec![answer("404 Not Found", "404 page not found\n")]);
    assert!(error_of(&url).contains("HTTP status 404"), "{url}");
    let (url, _served) = serve(vec![b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()]);
    let error = error_of(&url);
    assert!(
        error.contains("not as a Jaeger with /api/v3") && error.contains("check the address"),
        "{error}"
    );
}

#[test]
fn an_address_where_nobody_listens_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = error_of(&url);
    assert!(
        error.contains("cannot reach Jaeger at http://127.0.0.1:") && error.contains("port 16686"),
        "{error}"
    );
}

#[test]
fn a_server_without_tls_fails_the_handshake() {
    let (url, _served) = serve(vec![answer("400 Bad Request", "")]);
    let error = error_of(&url.replace("http://", "https://"));
    assert!(
        error.starts_with("TLS with Jaeger at https://127.0.0.1:"),
        "{error}"
    );
}

#[test]
fn the_window_is_the_last_hour_unless_said_otherwise() {
    let hour = 3_600_000_000_000;
    let default = window(None, None);
    assert_eq!(default.end - default.start, hour);
    assert_eq!(window(None, Some(2 * hour)), hour..2 * hour);
    assert_eq!(window(Some(5), Some(9)), 5..9);
}
