//! Trace files, `baton trace show`, and `baton run` with everything embedded.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use baton_core_client::Ticket;
use baton_support::collector::ReceivedSpan;
use baton_support::process::RunningProgram;
use baton_trace::stage;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use rustix::process::Signal;

use crate::support::spans::{At, Session, assert_echo, may_be_absent};
use crate::support::{Finished, Home, Input, PATIENCE, Running, Testbed, await_says, relay, run, signal};

fn read(path: &Path) -> Vec<ReceivedSpan> {
    let request: ExportTraceServiceRequest =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let groups = request.resource_spans.into_iter();
    groups
        .flat_map(|group| {
            let resource = group.resource.unwrap().attributes;
            let name = resource
                .iter()
                .find(|attribute| attribute.key == "service.name")
                .unwrap();
            let Some(Value::StringValue(service)) = name.value.clone().unwrap().value else {
                panic!("{name:?}")
            };
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans
                .map(|span| ReceivedSpan {
                    service: service.clone(),
                    resource: resource.clone(),
                    span,
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Asserts that a waterfall has a line for the trace, one for every stage of a cold `echo`, and one for the remainder.
#[track_caller]
fn assert_drawn(text: &str) {
    assert!(text.starts_with("trace "), "{text}");
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let absent = ["call", "process.stderr", "start.durable", "recover"];
    for def in stage::all().filter(|def| !absent.contains(&def.name) && !def.name.starts_with("family.")) {
        let lines = names.iter().filter(|name| **name == def.name).count();
        let is_there = lines == 1 || lines == 0 && may_be_absent(def.name);
        assert!(is_there, "{} {lines} times: {text}", def.name);
    }
    assert!(names.contains(&"remainder"), "{text}");
}

fn baton_run(home: &Home, options: &[&str], command: &[&str]) -> std::process::Command {
    let mut baton = home.baton();
    baton.arg("run").args(options).arg("--").args(command);
    baton
}

fn show(home: &Home, file: &Path) -> Finished {
    let mut show = home.baton();
    show.args(["trace", "show"]).arg(file);
    run(show)
}

#[test]
fn a_trace_file_has_every_stage_of_all_components_and_redraws_the_waterfall() {
    let testbed = Testbed::new();
    let file = testbed.home.file("trace.json");
    let finished = run(testbed.exec_with(
        &["--trace", "--trace-json", file.to_str().unwrap()],
        ["echo", "ok"],
    ));
    finished.assert_printed("ok\n");
    assert_drawn(&finished.stderr);
    assert_echo(&read(&file), At::File, Session::Cold, None);
    show(&testbed.home, &file).assert_printed(&finished.stderr);
}

#[test]
fn run_embeds_everything_and_draws_the_waterfall_on_stderr() {
    let home = Home::new();
    let file = home.file("trace.json");
    let finished = run(baton_run(
        &home,
        &["--trace-json", file.to_str().unwrap()],
        &["echo", "ok"],
    ));
    finished.assert_printed("ok\n");
    assert_drawn(&finished.stderr);
    assert_echo(&read(&file), At::File, Session::Cold, None);
    show(&home, &file).assert_printed(&finished.stderr);
}

#[test]
fn run_passes_the_streams_and_the_exit_code_through() {
    let home = Home::new();
    let script = "cat; echo error >&2; exit 42";
    let command = baton_run(&home, &["--quiet"], &["sh", "-c", script]);
    let finished = Running::start(command, Input::Bytes(b"asked\0\xff".to_vec())).finish();
    assert_eq!(finished.code, 42, "{finished:?}");
    assert_eq!(finished.stdout, b"asked\0\xff");
    assert_eq!(finished.stderr, "error\n", "`--quiet` prints nothing");
}

#[test]
fn an_unwritable_trace_file_is_reported_before_the_command_and_keeps_its_exit_code() {
    let home = Home::new();
    let canary = home.file("canary");
    let absent = home.file("no/such/trace.json");
    let options = ["-q", "--trace-json", absent.to_str().unwrap()];
    let refused = run(baton_run(&home, &options, &["touch", canary.to_str().unwrap()]));
    refused.assert_failed(255, &format!("cannot write {}: No such file", absent.display()));
    assert!(!canary.exists(), "the command was run");

    let full = run(baton_run(
        &home,
        &["-q", "--trace-json", "/dev/full"],
        &["sh", "-c", "exit 3"],
    ));
    assert_eq!(full.code, 3, "{full:?}");
    assert!(
        full.stderr
            .contains("the trace is not in /dev/full: No space left"),
        "{full:?}"
    );
    let to_stdout = run(baton_run(
        &home,
        &["-q", "--trace-json", "/dev/stdout"],
        &["true"],
    ));
    assert!(to_stdout.text().starts_with('{'), "{to_stdout:?}");

    assert!(!Path::new("/dev/stdout.1").exists());
}

#[test]
fn a_trace_file_takes_one_command_after_the_other_and_stays_within_its_limit() {
    let home = Home::new();
    let file = home.file("trace.json");
    let trace = || {
        let options = ["-q", "--trace-json", file.to_str().unwrap()];
        run(baton_run(&home, &options, &["echo"]));
    };
    trace();
    trace();
    let drawn = show(&home, &file);
    let traces = drawn.text().lines().filter(|line| line.starts_with("trace "));
    assert_eq!(traces.count(), 2, "{drawn:?}");

    // A file at the limit of 16 MiB: the next trace begins a new file.
    let full = fs::read_to_string(&file).unwrap() + &" ".repeat(16 << 20);
    fs::write(&file, &full[..16 << 20]).unwrap();
    trace();
    assert_drawn(show(&home, &file).text());
    assert_eq!(fs::metadata(home.file("trace.json.1")).unwrap().len(), 16 << 20);
}

#[test]
fn a_view_whose_reader_has_closed_exits_with_141() {
    let testbed = Testbed::new();
    let file = testbed.home.file("trace.json");
    let options = ["--trace-json", file.to_str().unwrap()];
    run(testbed.exec_with(&options, ["echo", "ok"])).assert_printed("ok\n");
    let ticket = testbed.ticket.to_string();
    let mut history = testbed.home.baton();
    history.args(["history", "--json", &ticket]);
    let history: serde_json::Value = serde_json::from_slice(&run(history).stdout).unwrap();
    let file = file.to_str().unwrap();
    for view in [
        &["trace", "show", file][..],
        &["show", history["id"].as_str().unwrap(), &ticket],
        &["history", &ticket],
        &["keygen", "--public"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = testbed.home.baton();
        let ended = command.args(view).stdout(writer).output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.code(), &*stderr), (Some(141), ""), "{view:?}");
    }
}

#[test]
fn a_waterfall_is_drawn_in_ascii_where_the_locale_has_nothing_else() {
    let home = Home::new();
    let file = home.file("trace.json");
    run(baton_run(
        &home,
        &["-q", "--trace-json", file.to_str().unwrap()],
        &["echo"],
    ));
    for (name, locale, is_ascii) in [
        ("LANG", "C", true),
        ("LANG", "C.UTF-8", false),
        ("LC_ALL", "POSIX", true),
    ] {
        let mut show = home.baton();
        show.args(["trace", "show"]).arg(&file).env(name, locale);
        let shown = run(show);
        assert_drawn(shown.text());
        assert_eq!(shown.text().is_ascii(), is_ascii, "{name}={locale}");
    }
}

#[test]
fn a_call_that_was_never_made_leaves_no_trace_file_behind_and_leaves_alone_what_was_there() {
    let home = Home::new();
    let (new, empty, full) = (
        home.file("new.json"),
        home.file("empty.json"),
        home.file("full.json"),
    );
    fs::write(&empty, "").unwrap();
    fs::write(&full, "kept\n").unwrap();
    for file in [&new, &empty, &full] {
        let options = ["--trace-json", file.to_str().unwrap()];
        run(home.exec("nonsense", options, ["true"])).assert_failed(255, "not a ticket");
    }
    assert!(!new.exists());
    assert_eq!(fs::read_to_string(&empty).unwrap(), "");
    assert_eq!(fs::read_to_string(&full).unwrap(), "kept\n");
}

#[test]
fn a_failed_command_leaves_a_trace_file() {
    let testbed = Testbed::new();
    let file = testbed.home.file("trace.json");
    let ticket = &testbed.ticket;
    let nowhere = Ticket {
        relay_url: "http://127.0.0.1:1".into(),
        ..ticket.clone()
    };
    for (ticket, time, command, code, status, known) in [
        (ticket, "1m", "no-such-command", 127, "NOT_FOUND", "rpc "),
        (
            ticket,
            "1s",
            "cat",
            124,
            "DEADLINE_EXCEEDED",
            "the server's stages did not come back\n",
        ),
        (&nowhere, "1m", "cat", 255, "UNAVAILABLE", "remainder "),
    ] {
        let options = [
            "--trace",
            "--trace-json",
            file.to_str().unwrap(),
            "--timeout",
            time,
            // One attempt: an unreachable relay is reported at once.
            "--connect-timeout",
            "0s",
        ];
        let exec = testbed.home.exec(&ticket.to_string(), options, [command]);
        let finished = Running::start(exec, Input::Open).finish();
        assert_eq!(finished.code, code, "{finished:?}");
        let (drawn, message) = finished.stderr.split_once("baton: ").unwrap();
        assert_eq!(
            message.lines().count(),
            1,
            "one message follows the waterfall: {finished:?}"
        );
        assert!(
            drawn.starts_with("trace ") && drawn.contains(&format!("\n {known}")),
            "{drawn}"
        );
        assert!(drawn.contains(&format!("\n status {status} from ")), "{drawn}");
        show(&testbed.home, &file).assert_printed(drawn);
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn a_ticket_file_serves_in_place_of_the_ticket() {
    let home = Home::new();
    home.allow("continue");
    let (_relay, address) = relay(&home, "127.0.0.1:0", &[]);
    let file = home.file("ticket");
    let mut command = home.baton_exec_server(&format!("http://{address}"));
    command.arg("--ticket-file").arg(&file);
    let mut exec_server = RunningProgram::start("exec-server", command).unwrap();
    await_says(&exec_server, &format!("; the ticket is in {}", file.display()));
    let ticket = fs::read_to_string(&file).unwrap();
    let ticket = ticket.strip_suffix('\n').unwrap();
    assert!(ticket.starts_with("baton1:"), "{ticket}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let exec = |file: &Path| {
        let mut exec = home.baton();
        exec.args(["exec", "--", "echo", "ok"])
            .env("BATON_TICKET_FILE", file);
        run(exec)
    };
    exec(&file).assert_printed("ok\n");
    fs::write(&file, format!("ticket: {ticket}\n")).unwrap();
    exec(&file).assert_printed("ok\n");
    fs::write(&file, "nonsense").unwrap();
    exec(&file).assert_failed(255, "not a ticket: it starts with `baton1:`");
    exec(&home.file("absent")).assert_failed(255, "cannot read the ticket file");

    let mut nowhere = home.baton_exec_server(&format!("http://{address}"));
    nowhere.args(["--state", "none", "--ticket-file", "/no/such/directory/ticket"]);
    run(nowhere).assert_failed(255, "cannot write /no/such/directory/ticket: No such file");

    // The log, which a service manager may keep, has no ticket.
    signal(&exec_server, Signal::TERM);
    assert!(exec_server.wait(PATIENCE).unwrap().success());
    assert!(exec_server.line(PATIENCE).is_err(), "standard output is empty");
    assert!(
        !exec_server.stderr().contains("baton1:"),
        "{}",
        exec_server.stderr()
    );
}

#[test]
fn run_takes_its_directory_and_needs_no_home() {
    let home = Home::new();
    let dir = fs::canonicalize(home.file(".")).unwrap();
    let mut command = baton_run(&home, &["-q", "--cwd", dir.to_str().unwrap()], &["pwd", "-P"]);
    command.env_remove("HOME").env_remove("USER");
    run(command).assert_printed(&format!("{}\n", dir.display()));
}

#[test]
fn run_says_why_a_command_did_not_start() {
    let home = Home::new();
    for (command, code, sentence) in [
        ("no-such-command", 127, "command not found"),
        ("/etc/passwd", 126, "not executable"),
        ("/proc/no/such", 127, "command not found"),
    ] {
        run(baton_run(&home, &[], &[command])).assert_failed(code, sentence);
    }
}

#[test]
fn the_traces_of_a_file_are_checked_and_analyzed() {
    let home = Home::new();
    let file = home.file("trace.json");
    for _ in 0..3 {
        let options = ["-q", "--trace-json", file.to_str().unwrap()];
        assert_eq!(run(baton_run(&home, &options, &["echo", "ok"])).code, 0);
    }
    let ask = |words: &[&str]| {
        let mut ask = home.baton();
        ask.args(words).arg(&file);
        run(ask)
    };
    let checked = ask(&["trace", "check"]);
    assert!(
        checked.code == 0 && checked.text().ends_with(": no fault\n"),
        "{checked:?}"
    );
    let analyzed = ask(&["analyze", "--json", "--by", "label"]);
    assert_eq!(analyzed.code, 0, "{analyzed:?}");
    let report: serde_json::Value = serde_json::from_str(analyzed.text()).unwrap();
    assert_eq!(
        (&report["calls"], &report["envelope"]["n"]),
        (&3.into(), &3.into())
    );
    assert_eq!(report["remainders"]["told"], 3);
    assert_eq!(report["groups"]["echo"]["envelope"]["n"], 3);
    for stage in ["dispatch", "transit", "process.wait", "terminal.notify"] {
        let stage = &report["stages"][stage];
        assert!(stage["p50"].as_f64() <= stage["p99"].as_f64(), "{stage}");
        assert!(stage["critical_path_share"].as_f64().unwrap() > 0.0, "{stage}");
    }
    let table = ask(&["analyze"]);
    assert!(
        table.code == 0 && table.text().contains("process.wait"),
        "{table:?}"
    );

    // Cut off in the middle of the last line.
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, &text[..text.len() - 100]).unwrap();
    for words in [&["trace", "check"][..], &["analyze"]] {
        let refused = ask(words);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("trace.json:3: "), "{refused:?}");
    }
    // The call says how many stages it has, so the lost one is missed.
    let checked = ask(&["trace", "check"]);
    assert!(checked.text().contains(" stages; "), "{checked:?}");
    assert_eq!(ask(&["analyze", "--weighted"]).code, 0);
    fs::write(&file, text + "{\n").unwrap();
    let checked = ask(&["trace", "check"]);
    assert!(
        checked.text().ends_with(": no fault in what could be read\n"),
        "{checked:?}"
    );
}

#[test]
fn an_empty_trace_file_and_a_missing_one_have_different_errors() {
    let home = Home::new();
    let file = home.file("trace.json");
    fs::write(&file, "").unwrap();
    show(&home, &file).assert_failed(255, "the trace file is empty; write one with `--trace-json FILE`");
    fs::remove_file(&file).unwrap();
    let missing = format!("cannot read the trace file {}: No such file", file.display());
    show(&home, &file).assert_failed(255, &missing);
}
