//! Effects of a collector's state and of the `OTEL_*` variables on a command: its output and exit code do not change,
//! and its duration hardly does.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use baton_support::collector::{Collector, ReceivedSpan};
use baton_trace::w3c::Traceparent;
use rustix::process::Signal;

use crate::support::{Finished, Input, Running, Testbed, poll, run};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Longest time that the exit of a command waits for a collector.
const EXIT_WAIT: Duration = Duration::from_millis(50);

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

fn exec(testbed: &Testbed, collector: &str, options: &[&str], command: &[&str]) -> Command {
    let mut exec = testbed.exec_with(options, command);
    exec.env(ENDPOINT, collector);
    exec
}

fn spool(testbed: &Testbed) -> PathBuf {
    testbed.home.file(".local/state/baton/spool")
}

/// Names of the spooled files.
fn spooled(testbed: &Testbed) -> Vec<String> {
    let entries = fs::read_dir(spool(testbed)).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".otlp")).collect()
}

/// How often each span arrived.
fn arrivals(spans: &[ReceivedSpan]) -> BTreeMap<Vec<u8>, usize> {
    let mut arrivals = BTreeMap::new();
    for span in spans {
        *arrivals.entry(span.span.span_id.clone()).or_default() += 1;
    }
    arrivals
}

fn envelopes(spans: &[ReceivedSpan]) -> usize {
    spans
        .iter()
        .filter(|span| span.attribute("baton.stage") == Some("call"))
        .count()
}

/// The lower quartiles of the durations of as many runs of each, which alternate, so that a busy machine slows both
/// alike.
fn lower_quartiles(mut a: impl FnMut(), mut b: impl FnMut()) -> [Duration; 2] {
    const RUNS: usize = 15;
    let timed = |once: &mut dyn FnMut()| {
        let began = Instant::now();
        once();
        began.elapsed()
    };
    let (mut of_a, mut of_b): (Vec<_>, Vec<_>) = (0..RUNS).map(|_| (timed(&mut a), timed(&mut b))).unzip();
    of_a.sort();
    of_b.sort();
    [of_a[RUNS / 4], of_b[RUNS / 4]]
}

#[test]
fn a_collector_that_never_answers_costs_a_command_50_ms_at_most() {
    let testbed = Testbed::new();
    let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}", mute.local_addr().unwrap());
    let plain = || run(testbed.exec(["true"])).assert_printed("");
    let exporting = || {
        let finished = run(exec(&testbed, &endpoint, &[], &["sh", "-c", "echo ok; exit 7"]));
        assert_eq!((finished.code, finished.text()), (7, "ok\n"), "{finished:?}");
    };
    let [without, with] = lower_quartiles(plain, exporting);
    let bound = without + EXIT_WAIT + Duration::from_millis(15);
    assert!(with <= bound, "{with:?} with, {without:?} without a collector");
    assert!(!spooled(&testbed).is_empty());
}

#[test]
fn spans_of_runs_with_a_dead_collector_arrive_once_each_by_later_runs() {
    const RUNS: usize = 12;
    let testbed = Testbed::new();
    let address = free_port();
    let endpoint = format!("http://{address}");
    let all = |what: &str, patience: &[&str]| {
        let start = || {
            Running::start(
                exec(&testbed, &endpoint, patience, &["echo", what]),
                Input::Bytes(Vec::new()),
            )
        };
        let running: Vec<_> = (0..RUNS).map(|_| start()).collect();
        running
            .into_iter()
            .map(Running::finish)
            .collect::<Vec<Finished>>()
    };
    for finished in all("dead", &[]) {
        finished.assert_printed("dead\n");
        let kept = format!("kept in {}", spool(&testbed).display());
        assert!(
            finished.stderr.contains(&kept) && finished.stderr.contains(ENDPOINT),
            "{finished:?}"
        );
        assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    }
    assert_eq!(spooled(&testbed).len(), RUNS);

    let collector = Collector::start_at(address).unwrap();
    let mut runs = RUNS;
    poll("an empty spool", || {
        // The long timeout: a run that gives up before the answer keeps its spans, and a later run sends them again.
        for finished in all("alive", &["--flush-timeout", "60s"]) {
            finished.assert_printed("alive\n");
        }
        runs += RUNS;
        spooled(&testbed).is_empty().then_some(())
    });
    let spans = collector.spans();
    assert_eq!(envelopes(&spans), runs);
    assert!(arrivals(&spans).values().all(|arrivals| *arrivals == 1));
}

#[test]
fn foreign_files_in_the_spool_are_reported_and_removed() {
    let testbed = Testbed::new();
    let address = free_port();
    let endpoint = format!("http://{address}");
    run(exec(&testbed, &endpoint, &[], &["true"])).assert_printed("");
    let [name] = &spooled(&testbed)[..] else { panic!() };
    let older = |millis: &str| format!("{millis}{}", &name[13..]);
    fs::write(spool(&testbed).join(older("1700000000001")), b"garbage").unwrap();
    let secret = testbed.home.file("secret");
    fs::write(&secret, b"secret").unwrap();
    let now = name[..13].parse::<u64>().unwrap();
    let link = spool(&testbed).join(older(&(now - 1).to_string()));
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    let garbage = spool(&testbed).join(older(&(now - 2).to_string()));
    fs::write(&garbage, b"\x1b[2Jgarbage").unwrap();

    let collector = Collector::start_at(address).unwrap();
    let mut printed = String::new();
    poll("an empty spool", || {
        let finished = run(exec(&testbed, &endpoint, &[], &["true"]));
        finished.assert_printed("");
        printed.push_str(&finished.stderr);
        spooled(&testbed).is_empty().then_some(())
    });
    assert!(printed.contains("is a link and was removed"), "{printed}");
    assert!(printed.contains("is damaged and was removed"), "{printed}");
    // The first file was more than seven days old.
    assert!(printed.contains("of earlier runs"), "{printed}");
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    assert!(envelopes(&collector.spans()) >= 2);
}

#[test]
fn a_spool_open_to_others_is_not_used_and_the_loss_is_reported() {
    let testbed = Testbed::new();
    fs::create_dir_all(spool(&testbed)).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(spool(&testbed), open).unwrap();
    let finished = run(exec(&testbed, "http://127.0.0.1:1", &[], &["echo", "ok"]));
    finished.assert_printed("ok\n");
    assert!(finished.stderr.contains("lost"), "{finished:?}");
    assert!(
        finished.stderr.contains("is open to other users: run `chmod 700"),
        "{finished:?}"
    );
    assert!(spooled(&testbed).is_empty());
}

#[test]
fn in_ci_and_with_a_flush_timeout_the_exit_waits_for_a_late_collector() {
    let testbed = Testbed::new();
    for by_ci in [true, false] {
        let address = free_port();
        let endpoint = format!("http://{address}");
        let mut command = if by_ci {
            exec(&testbed, &endpoint, &[], &["echo", "ok"])
        } else {
            exec(&testbed, &endpoint, &["--flush-timeout", "2s"], &["echo", "ok"])
        };
        if by_ci {
            command.env("CI", "true");
        }
        let mut running = Running::start_unread(command, Input::Bytes(Vec::new()));
        // The spool file is written when the command has ended, before the wait for the collector.
        let kept = poll("a file in the spool", || spooled(&testbed).pop());
        let collector = Collector::start_at(address).unwrap();
        running.read();
        let finished = running.finish();
        finished.assert_printed("ok\n");
        // On a very busy machine the wait may end before the collector has started.
        if finished.stderr.is_empty() {
            assert_eq!(envelopes(&collector.spans()), 1, "{finished:?}");
            assert!(!spooled(&testbed).contains(&kept), "it was delivered after all");
        } else {
            assert!(finished.stderr.contains("kept in"), "{finished:?}");
        }
    }
}

#[test]
fn an_interruption_ends_the_wait_for_a_collector_and_loses_nothing() {
    let testbed = Testbed::new();
    let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}", mute.local_addr().unwrap());
    let command = exec(&testbed, &endpoint, &["--flush-timeout", "10m"], &["echo", "ok"]);
    let running = Running::start(command, Input::Bytes(Vec::new()));
    poll("a file in the spool", || spooled(&testbed).pop());
    running.signal(Signal::INT);
    // `finish` fails after PATIENCE, a tenth of the flush timeout.
    let finished = running.finish();
    finished.assert_printed("ok\n");
    assert!(finished.stderr.contains("kept in"), "{finished:?}");
    assert_eq!(spooled(&testbed).len(), 1);
}

#[test]
fn a_port_that_speaks_http_1_is_told_as_that() {
    let testbed = Testbed::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // Both fail if the client has closed the connection.
            let _ = stream.read_exact(&mut [0; 24]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    let finished = run(exec(
        &testbed,
        &endpoint,
        &["--flush-timeout", "5s"],
        &["echo", "ok"],
    ));
    finished.assert_printed("ok\n");
    let hint = "speaks HTTP/1, not gRPC: use the gRPC port, usually 4317";
    assert!(finished.stderr.contains(hint), "{finished:?}");
}

#[test]
fn an_unsupported_value_is_one_line_on_stderr_and_the_command_runs() {
    let mut testbed = Testbed::new();
    let collector = Collector::start().unwrap();
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        (ENDPOINT, "https://collector:4317"),
        (ENDPOINT, "nonsense\x1b[2J"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
    ] {
        for mut command in [testbed.exec(["echo", "ok"]), {
            let mut run = testbed.home.baton();
            run.args(["run", "--quiet", "--", "echo", "ok"]);
            run
        }] {
            command.env(ENDPOINT, collector.endpoint()).env(name, value);
            let finished = run(command);
            finished.assert_printed("ok\n");
            assert!(finished.stderr.contains(name), "{finished:?}");
            assert!(
                finished.stderr.ends_with("; nothing is exported\n"),
                "{finished:?}"
            );
            assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
            assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
            finished.assert_failed_whatever(0);
        }
    }
    assert!(collector.spans().is_empty());
    // An ignored value does not prevent the export.
    let mut command = exec(&testbed, collector.endpoint(), &[], &["echo", "ok"]);
    command
        .env("OTEL_TRACES_SAMPLER", "jaeger_remote")
        .env("CI", "true");
    let finished = run(command);
    finished.assert_printed("ok\n");
    assert!(
        finished
            .stderr
            .starts_with("baton: OTEL_TRACES_SAMPLER: `jaeger_remote` is ignored"),
        "{finished:?}"
    );
    assert_eq!(envelopes(&collector.spans()), 1);

    // An exec-server serves despite an unsupported value.
    testbed.stop_exec_server();
    let mut command = testbed
        .home
        .baton_exec_server(&format!("http://{}", testbed.relay_address));
    command.env(ENDPOINT, "https://collector:4317");
    testbed.exec_server = baton_support::process::RunningProgram::start("exec-server", command).unwrap();
    testbed.await_registration();
    run(testbed.exec(["echo", "ok"])).assert_printed("ok\n");
    assert!(testbed.exec_server.stderr().contains("; nothing is exported"));
}

/// The sampled flag of the TRACEPARENT that a command gets.
fn flags_seen(mut command: Command, variables: &[(&str, &str)]) -> u8 {
    command.envs(variables.iter().copied());
    let finished = run(command);
    assert_eq!(finished.code, 0, "{finished:?}");
    Traceparent::parse(finished.text().trim())
        .unwrap()
        .flags()
        .to_u8()
        & 1
}

#[test]
fn a_refusing_sampler_clears_the_sampled_flag_and_exports_nothing() {
    const SAMPLED: (&str, &str) = (
        "TRACEPARENT",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    );
    const UNSAMPLED: (&str, &str) = (
        "TRACEPARENT",
        "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-00",
    );
    let collector = Collector::start().unwrap();
    let mut testbed = Testbed::with_collector(Some(collector.endpoint()));
    let show = ["sh", "-c", "echo $TRACEPARENT"];
    for (sampler, ratio, expected) in [
        ("always_on", "0", [1, 1, 1]),
        ("always_off", "1", [0, 0, 0]),
        ("traceidratio", "0", [0, 0, 0]),
        ("traceidratio", "1", [1, 1, 1]),
        ("parentbased_always_on", "0", [1, 0, 1]),
        ("parentbased_always_off", "1", [1, 0, 0]),
        ("parentbased_traceidratio", "0", [1, 0, 0]),
        ("parentbased_traceidratio", "1", [1, 0, 1]),
    ] {
        for (parent, expected) in [Some(SAMPLED), Some(UNSAMPLED), None].into_iter().zip(expected) {
            let mut variables = vec![
                ("OTEL_TRACES_SAMPLER", sampler),
                ("OTEL_TRACES_SAMPLER_ARG", ratio),
                ("CI", "true"),
            ];
            variables.extend(parent);
            let before = envelopes(&collector.spans());
            let seen = flags_seen(testbed.exec(show), &variables);
            assert_eq!(seen, expected, "{sampler} {ratio} {parent:?}");
            let exported = envelopes(&collector.spans()) - before;
            assert_eq!(exported, usize::from(expected), "{sampler} {ratio} {parent:?}");
        }
    }
    // `--trace` without a collector samples too, unless the sampler refuses.
    let mut command = testbed.exec_with(&["--trace"], show);
    command.env_remove(ENDPOINT);
    assert_eq!(flags_seen(command, &[("OTEL_TRACES_SAMPLER", "always_off")]), 0);
    let mut command = testbed.exec_with(&["--trace"], show);
    command.env_remove(ENDPOINT);
    assert_eq!(flags_seen(command, &[]), 1);

    // An exec-server's sampler can drop traces that its clients sample.
    testbed.stop_exec_server();
    let mut command = testbed
        .home
        .baton_exec_server(&format!("http://{}", testbed.relay_address));
    command.env("OTEL_TRACES_SAMPLER", "always_off");
    testbed.exec_server = baton_support::process::RunningProgram::start("exec-server", command).unwrap();
    testbed.await_registration();
    let of_servers = |spans: &[ReceivedSpan]| {
        let servers = spans.iter().filter(|span| span.service == "baton-exec-server");
        servers.count()
    };
    let before = of_servers(&collector.spans());
    assert_eq!(flags_seen(testbed.exec(show), &[SAMPLED]), 0);
    testbed.stop_exec_server();
    assert_eq!(of_servers(&collector.spans()), before);
}

#[test]
fn an_exec_server_says_once_that_it_begins_to_lose_spans() {
    let mut testbed = Testbed::new();
    testbed.stop_exec_server();
    let mut command = testbed
        .home
        .baton_exec_server(&format!("http://{}", testbed.relay_address));
    command
        .env(ENDPOINT, format!("http://{}", free_port()))
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "60")
        .env("OTEL_BSP_SCHEDULE_DELAY", "10");
    testbed.exec_server = baton_support::process::RunningProgram::start("exec-server", command).unwrap();
    testbed.await_registration();
    let warnings = |testbed: &Testbed| {
        testbed
            .exec_server
            .stderr()
            .matches("are lost, more may follow")
            .count()
    };
    let sampled = (
        "TRACEPARENT",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    );
    let one = || {
        let mut command = testbed.exec(["true"]);
        command.env(sampled.0, sampled.1);
        run(command).assert_printed("");
    };
    poll("the exec-server logs the loss", || {
        one();
        (warnings(&testbed) > 0).then_some(())
    });
    for _ in 0..10 {
        one();
    }
    assert_eq!(warnings(&testbed), 1, "{}", testbed.exec_server.stderr());
    assert!(
        testbed
            .exec_server
            .stderr()
            .contains("cannot connect to http://127.0.0.1:")
    );
    // The spans that remain at the shutdown are spooled.
    assert!(spooled(&testbed).is_empty());
    testbed.stop_exec_server();
    assert_eq!(spooled(&testbed).len(), 1);
}
