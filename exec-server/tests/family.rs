//! Commands with a runtime family: stages, reasons and remainder of real processes.

#[macro_use]
mod support;

use baton_exec_server::SpawnMethod;
use baton_proto::exec::exec_error::Kind as ErrorKind;
use baton_proto::exec::marker_reached::Marker;
use baton_proto::exec::process_event::Kind;
use baton_proto::exec::run_request::Kind as RequestKind;
use baton_proto::exec::{Family, MarkerReached, Start};
use baton_trace::family::{self, FamilySummary, Unavailable};
use baton_trace::stage::{StageId, exec};
use baton_trace::w3c::TraceContext;
use support::{Call, Host, kind, start};
use tonic::Code;

with_each_spawn_method! {
    each_family_shows_that_it_is_ready_in_standard_output,
    a_report_and_output_after_it_give_all_three_stages,
    a_report_before_ready_is_out_of_order,
    a_line_that_the_exec_server_cut_off_is_not_ready,
    the_client_gets_what_the_family_measured_once,
    a_report_after_the_exit_and_a_second_one_are_ignored,
    a_report_without_a_family_or_of_an_unknown_marker_kills_the_process,
    a_family_of_a_later_version_is_refused,
    a_command_without_a_family_has_none_of_its_attributes,
}

/// What a call knows about its command's family.
#[derive(Debug)]
struct Measured {
    stages: Vec<(StageId, i64, i64)>,
    /// Of ready, session init and first output.
    reasons: [String; 3],
    family: String,
    remainder_ns: Option<i64>,
}

impl Measured {
    fn of(host: &Host) -> Self {
        let call = host.last_call();
        let command = call.command().unwrap().summary();
        let attributes: Vec<_> = command
            .family
            .iter()
            .flat_map(FamilySummary::attributes)
            .collect();
        let value = |key: &str| {
            let found = attributes
                .iter()
                .find(|attribute| attribute.key.as_str() == key)?;
            Some(found.value.as_str().into_owned())
        };
        let text = |key: &str| value(key).unwrap_or_default();
        let stages = call.stages();
        let process = stages.iter().find(|stage| stage.stage == exec::PROCESS).unwrap();
        let stages: Vec<_> = stages
            .iter()
            .filter(|stage| stage.stage.name().starts_with("family."))
            .map(|stage| {
                (
                    stage.stage,
                    stage.start_ns - process.start_ns,
                    stage.end_ns - process.start_ns,
                )
            })
            .collect();
        assert!(
            stages.iter().all(|(_, start, end)| 0 <= *start && start <= end),
            "{stages:?}"
        );
        let of = |stage: &str| text(&format!("baton.family.{stage}.unavailable"));
        Self {
            stages,
            reasons: ["cli_ready", "session_init", "first_output"].map(of),
            family: text("baton.family"),
            remainder_ns: value("baton.family.remainder_ns").map(|ns| ns.parse().unwrap()),
        }
    }

    fn has(&self, stage: StageId) -> bool {
        self.stages.iter().any(|(found, ..)| *found == stage)
    }
}

fn in_family(family: Family, script: &str) -> Start {
    Start {
        family: family.into(),
        stdin: true,
        ..start(&["sh", "-c", script])
    }
}

async fn traced(method: SpawnMethod) -> Host {
    let host = Host::start(method).await;
    host.traced(TraceContext::new_root(true));
    host
}

/// Runs a script that is given no input.
async fn measured(host: &Host, family: Family, script: &str) -> Measured {
    let started = Start {
        stdin: false,
        ..in_family(family, script)
    };
    host.run(started).await.unwrap().finish().await;
    Measured::of(host)
}

fn session_init() -> RequestKind {
    reached(Marker::SessionInit.into())
}

fn reached(marker: i32) -> RequestKind {
    RequestKind::Marker(MarkerReached { marker })
}

/// Waits for standard output that ends in `end`.
async fn output(call: &mut Call, end: &str) {
    let mut seen = Vec::new();
    while !seen.ends_with(end.as_bytes()) {
        match call.next().await.unwrap() {
            Some(Kind::Output(output)) => seen.extend_from_slice(&output.data),
            Some(_) => {}
            None => panic!("the process ended after {:?}", String::from_utf8_lossy(&seen)),
        }
    }
}

async fn each_family_shows_that_it_is_ready_in_standard_output(method: SpawnMethod) {
    let host = traced(method).await;
    let message = r#"{"jsonrpc":"2.0","method":"m"}"#;
    let framed = format!(
        r"printf 'Content-Length: {}\r\n\r\n%s' '{message}'",
        message.len()
    );
    for (family, name, script, ready) in [
        (
            Family::Jsonl,
            "jsonl",
            r#"echo log; printf '{"a'; echo '":1}'"#,
            Ok(()),
        ),
        (
            Family::Jsonl,
            "jsonl",
            r"printf '{\r\n}\r\n\0\377'",
            Err("not_recognised"),
        ),
        (Family::Jsonl, "jsonl", "echo '{}' >&2", Err("not_seen")),
        (Family::JsonRpc, "json_rpc", &format!("echo '{message}'"), Ok(())),
        (Family::JsonRpc, "json_rpc", &framed, Ok(())),
        (Family::JsonRpc, "json_rpc", "echo '{}'", Err("not_recognised")),
        (
            Family::EventStream,
            "event_stream",
            r"printf 'data: a\r\n\r\n'",
            Ok(()),
        ),
        (
            Family::EventStream,
            "event_stream",
            r"printf ': ping\n\n'",
            Err("not_recognised"),
        ),
        (Family::Text, "text", "printf x", Ok(())),
        (Family::Text, "text", "true", Err("not_seen")),
        (Family::Prompt, "prompt", r"printf '\033[1m$ \033[0m'", Ok(())),
        (
            Family::Prompt,
            "prompt",
            "printf 'no prompt'",
            Err("not_recognised"),
        ),
        (
            Family::Jsonl,
            "jsonl",
            "yes | head -c 2000000",
            Err("looked_at_limit"),
        ),
        (
            Family::Jsonl,
            "jsonl",
            "head -c 2000000 /dev/zero; echo; echo '{}'",
            Err("line_too_long"),
        ),
        (Family::Jsonl, "jsonl", "printf '{}'", Ok(())),
        // More of the line may have been about to come.
        (
            Family::Jsonl,
            "jsonl",
            "printf '{}'; kill -9 $$",
            Err("not_recognised"),
        ),
    ] {
        let measured = measured(&host, family, script).await;
        assert_eq!(measured.family, name);
        assert_eq!(measured.reasons[0], ready.err().unwrap_or_default(), "{script}");
        assert_eq!(measured.has(exec::FAMILY_CLI_READY), ready.is_ok(), "{script}");
        assert_eq!(
            measured.reasons[1..],
            ["not_reported", "no_session_init"],
            "{script}"
        );
        assert!(
            measured.remainder_ns.is_some_and(|ns| ns >= 0),
            "{script}: {measured:?}"
        );
        if ready.is_err() {
            assert!(
                measured.remainder_ns > Some(0),
                "{script}: all of its time remains"
            );
        }
    }
}

#[tokio::test]
async fn a_line_of_64_mib_is_too_long_and_passes_unchanged() {
    let host = traced(SpawnMethod::default()).await;
    let started = Start {
        stdin: false,
        ..in_family(
            Family::Jsonl,
            "printf '{\"a\":\"'; head -c 67108864 /dev/zero | tr '\\0' x; echo '\"}'",
        )
    };
    let ran = host.run(started).await.unwrap().finish().await;
    assert_eq!(ran.stdout.len(), (64 << 20) + 9);
    assert_eq!(Measured::of(&host).reasons[0], "line_too_long");
}

async fn a_line_that_the_exec_server_cut_off_is_not_ready(method: SpawnMethod) {
    let host = traced(method).await;
    let script = "trap 'exit 0' TERM; printf '{}'; while :; do sleep 0.01; done";
    let mut call = host.run(in_family(Family::Jsonl, script)).await.unwrap();
    output(&mut call, "{}").await;
    // Not a marker: the exec-server kills the process.
    call.requests.request(reached(99)).await;
    call.failure().await;
    host.idle().await;
    assert_eq!(Measured::of(&host).reasons[0], "not_recognised");
}

async fn a_report_and_output_after_it_give_all_three_stages(method: SpawnMethod) {
    let host = traced(method).await;
    let script = "echo '{}'; read line; echo '{\"answer\":1}'; read line";
    let mut call = host.run(in_family(Family::Jsonl, script)).await.unwrap();
    output(&mut call, "{}\n").await;
    call.requests.request(session_init()).await;
    call.requests.stdin(0, "\n").await;
    output(&mut call, "1}\n").await;
    call.requests.close_stdin(1).await;
    while call.next().await.unwrap().is_some() {}
    let measured = Measured::of(&host);
    let [ready, init, first] = &measured.stages[..] else {
        panic!("{measured:?}")
    };
    assert_eq!(
        [ready.0, init.0, first.0],
        [
            exec::FAMILY_CLI_READY,
            exec::FAMILY_SESSION_INIT,
            exec::FAMILY_FIRST_OUTPUT
        ]
    );
    // From the beginning of the spawn, each from the end of the one before.
    assert_eq!((ready.1, init.1, first.1), (0, ready.2, init.2));
    assert_eq!(measured.reasons, [""; 3]);
    assert_eq!(measured.remainder_ns, Some(0));
}

async fn a_report_before_ready_is_out_of_order(method: SpawnMethod) {
    let host = traced(method).await;
    let mut call = host
        .run(in_family(Family::Jsonl, "read line; echo '{}'; read line"))
        .await
        .unwrap();
    call.pid().await;
    call.requests.request(session_init()).await;
    call.requests.stdin(0, "\n").await;
    output(&mut call, "{}\n").await;
    call.requests.close_stdin(1).await;
    while call.next().await.unwrap().is_some() {}
    let measured = Measured::of(&host);
    assert_eq!(measured.reasons, ["", "out_of_order", ""]);
    assert!(!measured.has(exec::FAMILY_SESSION_INIT));
    assert!(measured.remainder_ns.is_some());
}

async fn the_client_gets_what_the_family_measured_once(method: SpawnMethod) {
    let host = traced(method).await;
    let started = Start {
        stdin: false,
        ..in_family(Family::Jsonl, "echo '{}'")
    };
    let mut closed = Vec::new();
    for start in [started.clone(), started] {
        let mut call = host.run(start).await.unwrap();
        while let Some(event) = call.next().await.unwrap() {
            if let Kind::Closed(event) = event {
                closed.push(event.family);
            }
        }
    }
    let [Some(report), None] = &closed[..] else {
        panic!("{closed:?}")
    };
    let summary = FamilySummary::from_wire(report).unwrap();
    let reasons = [
        None,
        Some(Unavailable::NotReported),
        Some(Unavailable::NoSessionInit),
    ];
    assert_eq!(
        (summary.family, summary.unavailable),
        (family::Family::JsonLines, reasons)
    );
}

async fn a_report_after_the_exit_and_a_second_one_are_ignored(method: SpawnMethod) {
    let host = traced(method).await;
    // The descendant holds standard output after the exit.
    let script = "echo '{}'; (read line; echo late) <&3 & exit 0";
    let script = format!("exec 3<&0; {script}");
    let mut call = host.run(in_family(Family::Jsonl, &script)).await.unwrap();
    loop {
        match call.next().await.unwrap() {
            Some(Kind::Exited(_)) => break,
            Some(_) => {}
            None => panic!("no exit"),
        }
    }
    call.requests.request(session_init()).await;
    call.requests.request(session_init()).await;
    call.requests.stdin(0, "\n").await;
    call.requests.close_stdin(1).await;
    while call.next().await.unwrap().is_some() {}
    assert_eq!(
        Measured::of(&host).reasons,
        ["", "not_reported", "no_session_init"]
    );
}

async fn a_report_without_a_family_or_of_an_unknown_marker_kills_the_process(method: SpawnMethod) {
    let host = traced(method).await;
    for (family, marker) in [
        (Family::Unspecified, 1),
        (Family::Jsonl, 0),
        (Family::Jsonl, 2),
        (Family::Jsonl, -1),
    ] {
        let mut call = host.run(in_family(family, "sleep 1000")).await.unwrap();
        call.pid().await;
        call.requests.request(reached(marker)).await;
        let status = call.failure().await;
        let expected = (Code::InvalidArgument, ErrorKind::InvalidMarker);
        assert_eq!((status.code(), kind(&status)), expected, "{family:?} {marker}");
        host.idle().await;
    }
}

async fn a_family_of_a_later_version_is_refused(method: SpawnMethod) {
    let host = traced(method).await;
    for family in [6, -1, i32::MAX] {
        let started = Start {
            family,
            ..start(&["true"])
        };
        let status = host.run(started).await.err().unwrap();
        let expected = (Code::InvalidArgument, ErrorKind::InvalidStart);
        assert_eq!((status.code(), kind(&status)), expected, "{family}");
        assert!(status.message().contains("family"), "{status}");
    }
}

async fn a_command_without_a_family_has_none_of_its_attributes(method: SpawnMethod) {
    let host = traced(method).await;
    let measured = measured(&host, Family::Unspecified, "echo '{}'").await;
    assert_eq!((measured.stages.len(), measured.remainder_ns), (0, None));
    assert_eq!(
        (measured.reasons, measured.family),
        (Default::default(), String::new())
    );
}
