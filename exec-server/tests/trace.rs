//! The trace of a process: its stages, the context in the child's environment, and the context in `Exited`.

#[macro_use]
mod support;

use baton_channel::allow::Trust;
use baton_exec_server::SpawnMethod;
use baton_proto::ProcessId;
use baton_proto::exec::Start;
use baton_proto::exec::process_event::Kind;
use baton_trace::call_end::CallEnd;
use baton_trace::command::CommandExit;
use baton_trace::outcome::Outcome;
use baton_trace::stage::{StageId, exec};
use baton_trace::w3c::TraceContext;
use support::{Host, start, variable};

with_each_spawn_method! {
    the_childs_parent_is_process_wait_where_that_is_exported_and_the_exit_carries_the_process_span,
    a_client_whose_trace_is_not_continued_learns_no_id_of_the_new_one,
    no_filter_removes_the_context_and_no_other_replaces_it,
    every_stage_is_recorded_before_the_call_ends,
    the_spans_of_a_call_name_its_process_its_client_and_its_end,
    a_killed_process_is_reported_as_killed_with_any_exit_code,
    a_silent_process_has_no_stage_of_output,
}

async fn the_childs_parent_is_process_wait_where_that_is_exported_and_the_exit_carries_the_process_span(
    method: SpawnMethod,
) {
    for (exported, parent) in [(true, exec::PROCESS_WAIT), (false, exec::PROCESS)] {
        exported_or_not(exported, parent, method).await;
    }
}

async fn exported_or_not(exported: bool, parent: StageId, method: SpawnMethod) {
    let host = Host::start(method).await;
    host.traced(TraceContext::new_root(true));
    host.exports(exported);
    let ran = host.run(start(&["env"])).await.unwrap().finish().await;
    let told = host.last_call().context_of(parent).traceparent().unwrap();
    let expected = format!("TRACEPARENT={told}");
    assert!(
        ran.text().lines().any(|line| line == expected),
        "{expected} in\n{}",
        ran.text()
    );
    let process = host.last_call().context_of(exec::PROCESS);
    let exited = ran.exited.unwrap();
    let carrier = exited.trace.unwrap();
    assert_eq!(carrier.traceparent.len(), 25);
    assert_eq!(carrier.traceparent[..16], process.trace_id.to_bytes());
    assert_eq!(carrier.traceparent[16..24], process.span_id.to_bytes());
    assert_eq!(carrier.traceparent[24], process.flags.to_u8());
}

async fn a_client_whose_trace_is_not_continued_learns_no_id_of_the_new_one(method: SpawnMethod) {
    let host = Host::start(method).await;
    for (trust, sees) in [
        (Trust::Restart, false),
        (Trust::Clamp, true),
        (Trust::Continue, true),
    ] {
        host.trusts(trust);
        host.traced(TraceContext::new_root(true));
        let ran = host.run(start(&["true"])).await.unwrap().finish().await;
        assert_eq!(ran.exited.unwrap().trace.is_some(), sees, "{trust:?}");
    }
}

async fn no_filter_removes_the_context_and_no_other_replaces_it(method: SpawnMethod) {
    let host = Host::start(method).await;
    host.traced(TraceContext::new_root(true));
    let meddling = Start {
        clear_env: true,
        env: ["TRACEPARENT", "TRACESTATE", "BAGGAGE"]
            .map(|name| variable(name, "stale"))
            .to_vec(),
        ..start(&["/usr/bin/env"])
    };
    let ran = host.run(meddling).await.unwrap().finish().await;
    let trace = host.last_call().context().trace_id.to_string();
    let is_mark = |line: &&str| line.starts_with("BATON_PROCESS_MARK=");
    let lines: Vec<_> = ran.text().lines().filter(|line| !is_mark(line)).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with(&format!("TRACEPARENT=00-{trace}-")),
        "{lines:?}"
    );
}

async fn every_stage_is_recorded_before_the_call_ends(method: SpawnMethod) {
    let host = Host::start(method).await;
    host.traced(TraceContext::new_root(true));
    let script = "echo out; read line; echo err >&2";
    let mut call = host
        .run(Start {
            stdin: true,
            ..start(&["sh", "-c", script])
        })
        .await
        .unwrap();
    call.pid().await;
    assert!(matches!(call.next().await, Ok(Some(Kind::Output(_)))));
    call.requests.stdin(0, "\n").await;
    call.requests.close_stdin(1).await;
    while call.next().await.unwrap().is_some() {}
    let stages = host.last_call().stages();
    let of = |id: StageId| {
        *stages
            .iter()
            .find(|stage| stage.stage == id)
            .unwrap_or_else(|| panic!("no {id:?}"))
    };
    let process = of(exec::PROCESS);
    for stage in &stages {
        assert!(
            stage.start_ns >= process.start_ns && stage.end_ns <= process.end_ns,
            "{stage:?}"
        );
    }
    let (spawn, wait, close) = (
        of(exec::PROCESS_SPAWN),
        of(exec::PROCESS_WAIT),
        of(exec::PROCESS_CLOSE),
    );
    assert_eq!(spawn.start_ns, process.start_ns);
    assert_eq!(spawn.end_ns, wait.start_ns);
    assert_eq!(wait.end_ns, close.start_ns);
    assert_eq!(close.end_ns, process.end_ns);
    let (out, err) = (of(exec::PROCESS_STDOUT), of(exec::PROCESS_STDERR));
    assert!(out.start_ns < err.start_ns, "each from its own first byte");
    assert_eq!(of(exec::PROCESS_FIRST_OUTPUT).end_ns, out.start_ns);
}

async fn the_spans_of_a_call_name_its_process_its_client_and_its_end(method: SpawnMethod) {
    let host = Host::start(method).await;
    host.traced(TraceContext::new_root(true));
    for (script, code, signal) in [("exit 3", 3, None), ("kill -9 $$", 137, Some(9))] {
        let started = Start {
            thread_id: "nightly".into(),
            turn: 2,
            step: "build".into(),
            ..start(&["/bin/sh", "-c", script])
        };
        let id = ProcessId::try_from(&started.process_id[..]).unwrap();
        let ran = host.run(started).await.unwrap().finish().await;
        let call = host.last_call();
        let known = call.command().unwrap().summary();
        let text = |key| known.text(key).unwrap().into_owned();
        assert_eq!(text("process.executable.name"), "sh");
        assert_eq!(text("process.pid"), ran.pid.to_string());
        assert_eq!(text("baton.process.id"), id.to_string());
        assert_eq!(text("baton.thread"), "nightly");
        assert_eq!(text("baton.turn"), "2");
        assert_eq!(text("baton.step"), "build");
        assert_eq!(text("baton.client"), "test");
        assert_eq!(known.attributes.len(), 7, "and no argument: {known:?}");
        let exit = signal.map_or(CommandExit::Code(code), CommandExit::Signal);
        let outcome = Outcome::of_exit(exit, false, false, None);
        assert_eq!((known.outcome, exit.code()), (outcome, code));
    }
}

async fn a_killed_process_is_reported_as_killed_with_any_exit_code(method: SpawnMethod) {
    let host = Host::start(method).await;
    host.traced(TraceContext::new_root(true));
    let script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let mut call = host.run(start(&["sh", "-c", script])).await.unwrap();
    call.pid().await;
    assert!(matches!(call.next().await, Ok(Some(Kind::Output(_)))));
    drop(call);
    host.idle().await;
    let killed = Outcome::of_exit(CommandExit::Code(0), false, false, Some(CallEnd::Reset));
    assert_eq!(host.last_call().command().unwrap().summary().outcome, killed);
}

async fn a_silent_process_has_no_stage_of_output(method: SpawnMethod) {
    let host = Host::start(method).await;
    host.traced(TraceContext::new_root(true));
    host.run(start(&["true"])).await.unwrap().finish().await;
    let stages = host.last_call().stages();
    assert_eq!(stages.len(), 4, "{stages:?}");
}
