//! `baton relay --metrics`: the counters of a relay for Prometheus.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use baton_support::process::RunningProgram;
use rustix::process::Signal;

use crate::support::{Home, Input, Mark, PATIENCE, Running, poll, relay, run, signal};

const METRICS: [&str; 2] = ["--metrics", "127.0.0.1:0"];

/// The `HOST:PORT` of a relay that was started with [`METRICS`].
fn endpoint(relay: &mut RunningProgram) -> String {
    let url = relay.line_after("counters at ", PATIENCE).unwrap();
    let address = url.strip_prefix("http://").unwrap();
    address.strip_suffix("/metrics").unwrap().to_owned()
}

/// The answer to a request, with its head.
fn request(endpoint: &str, line: &str) -> String {
    let mut stream = TcpStream::connect(endpoint).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(format!("{line} HTTP/1.1\r\nHost: relay\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The value of one sample of the page.
fn sample(endpoint: &str, name: &str) -> u64 {
    let page = request(endpoint, "GET /metrics");
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(&format!("baton_relay_{name} ")));
    line.unwrap_or_else(|| panic!("no {name}: {page}"))
        .parse()
        .unwrap()
}

#[test]
fn a_relay_tells_its_counters_also_while_it_drains() {
    let home = Home::new();
    home.allow("continue");
    let (mut relay, address) = relay(&home, "127.0.0.1:0", &METRICS);
    let endpoint = endpoint(&mut relay);
    let value = |name: &str| sample(&endpoint, name);
    for (name, expected) in [
        ("registrations", 0),
        ("registrations_limit", 4_096),
        ("sessions_limit", 8_192),
        ("memory_limit_bytes", 1 << 30),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    let mut exec_server = home.exec_server(&format!("http://{address}"));
    let ticket = exec_server.line_after("ticket: ", PATIENCE).unwrap();
    let mark = Mark::new();
    let exec = home.exec(&ticket, ["--env", mark.variable()], ["sh", "-c", "read line"]);
    let mut client = Running::start(exec, Input::Open);
    mark.await_processes(1);
    for (name, expected) in [
        ("draining", 0),
        ("registrations", 1),
        ("sessions", 1),
        ("sessions_opened_total", 1),
        ("requests_refused_total{reason=\"not_registered\"}", 0),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    for name in [
        "frames_total{direction=\"to_exec_server\"}",
        "forwarded_bytes_total{direction=\"to_client\"}",
        "memory_reserved_bytes",
    ] {
        assert!(value(name) > 0, "{name}");
    }
    poll("the question after the registration", || {
        (value("here_answers_total{answer=\"registered\"}") > 0).then_some(())
    });

    signal(&relay, Signal::TERM);
    poll("the drain", || (value("draining") == 1).then_some(()));
    assert_eq!((value("sessions"), value("registrations")), (1, 0));
    client.write(b"\n");
    client.finish().assert_printed("");
    assert!(relay.wait(PATIENCE).unwrap().success());
    assert!(TcpStream::connect(&endpoint).is_err(), "it ends with the relay");
}

#[test]
fn the_page_is_open_metrics_and_other_requests_are_refused() {
    let home = Home::new();
    let (mut relay, _) = relay(&home, "127.0.0.1:0", &METRICS);
    let endpoint = endpoint(&mut relay);
    let page = request(&endpoint, "GET /metrics");
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    assert!(
        page.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{page}"
    );
    assert!(page.ends_with("\n# EOF\n"), "{page}");
    assert!(
        page.contains(
            "# HELP baton_relay_registrations Exec-servers that are registered\n\
             # TYPE baton_relay_registrations gauge\n\
             baton_relay_registrations 0\n"
        ),
        "{page}"
    );
    for (line, status) in [
        ("HEAD /metrics", "200 "),
        ("GET /", "404 "),
        ("POST /metrics", "405 "),
        ("nonsense", "400 "),
        (&format!("GET /metrics?{}", "x".repeat(20_000)), "4"),
    ] {
        let answer = request(&endpoint, line);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{line}: {answer}"
        );
    }
}

/// Silent connections in all 16 places: the scrape waits until their time is over.
#[test]
fn scrapers_that_say_nothing_do_not_keep_others_out_for_ever() {
    let home = Home::new();
    let (mut relay, _) = relay(&home, "127.0.0.1:0", &METRICS);
    let endpoint = endpoint(&mut relay);
    let silent: Vec<_> = (0..16).map(|_| TcpStream::connect(&endpoint).unwrap()).collect();
    assert_eq!(sample(&endpoint, "registrations"), 0);
    drop(silent);
}

#[test]
fn an_address_that_is_in_use_is_named_with_the_option_to_change() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut baton = home.baton();
    baton.args(["relay", "--listen", "127.0.0.1:0", "--metrics", &address]);
    run(baton).assert_failed(255, &format!("cannot serve counters on {address}: "));
}
