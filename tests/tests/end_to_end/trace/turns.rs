//! Thread, turn and step of commands: what the caller asked for, what both components export, and what is on record are
//! the same.

use std::collections::{BTreeMap, BTreeSet};

use baton_core_client::Command;
use baton_proto::metadata::{HistoryRequest, Record};
use serde_json::Value;
use tokio::task::JoinSet;

use super::Traced;
use crate::support::spans::stage_of;
use crate::support::{PATIENCE, run};

/// Thread, turn and step; empty or 0: none.
type Ids = (&'static str, u64, &'static str);

/// One command for each combination. Its number is its argument.
fn batch() -> Vec<Ids> {
    let mut all = Vec::new();
    for thread in ["", "chat-a", "chat-b"] {
        for turn in [0, 1, 2, i64::MAX as u64] {
            all.extend(["", "plan", "act"].map(|step| (thread, turn, step)));
        }
    }
    all
}

/// The options of `exec` and `history` for these ids.
fn options((thread, turn, step): Ids) -> Vec<String> {
    let turn = Some(turn).filter(|turn| *turn > 0);
    let turn = turn.map(|turn| turn.to_string()).unwrap_or_default();
    [("--thread", thread), ("--turn", &turn), ("--step", step)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .flat_map(|(option, value)| [option.to_owned(), value.to_owned()])
        .collect()
}

fn number(record: &Record) -> usize {
    str::from_utf8(&record.argv[1]).unwrap().parse().unwrap()
}

/// The numbers of the commands that `baton history OPTIONS` lists.
fn listed(traced: &Traced, options: &[String]) -> BTreeSet<usize> {
    let mut history = traced.testbed.home.baton();
    history
        .args(["history", "--json", "-n0"])
        .args(options)
        .arg(traced.testbed.ticket.to_string());
    let history = run(history);
    assert_eq!((history.code, &*history.stderr), (0, ""), "{history:?}");
    let number = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["argv"][1].as_str().unwrap().parse().unwrap()
    };
    let numbers: Vec<usize> = history.text().lines().map(number).collect();
    let all: BTreeSet<_> = numbers.iter().copied().collect();
    assert_eq!(all.len(), numbers.len(), "no command is listed twice");
    all
}

#[test]
fn a_parallel_batch_has_the_same_turns_live_and_on_record() {
    let traced = Traced::new();
    let asked = batch();
    let exporter = traced.exporter();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let records = runtime.block_on(async {
        let client = traced.client(&exporter);
        let mut running = JoinSet::new();
        for (number, ids) in asked.iter().copied().enumerate() {
            // Every fourth command is one of the program.
            if number % 4 == 3 {
                let options = options(ids);
                let options: Vec<_> = options.iter().map(String::as_str).collect();
                let exec = traced.testbed.exec_with(&options, ["echo", &number.to_string()]);
                running.spawn_blocking(move || run(exec).assert_printed(&format!("{number}\n")));
                continue;
            }
            let (client, (thread, turn, step)) = (client.clone(), ids);
            let command = Command::new("echo").arg(number.to_string());
            let command = command.thread(thread).turn(turn).step(step);
            running.spawn(async move {
                let output = client.run(command).await.unwrap();
                assert_eq!(output.stdout, format!("{number}\n").as_bytes());
            });
        }
        while let Some(ended) = running.join_next().await {
            ended.unwrap();
        }
        let mut pages = client.records().history(HistoryRequest::default()).await.unwrap();
        let mut records = BTreeMap::new();
        while let Some(page) = pages.next().await.unwrap() {
            records.extend(page.records.into_iter().map(|record| (number(&record), record)));
        }
        client.close().await;
        records
    });
    exporter.shutdown(PATIENCE);

    let matching = |(thread, turn, step): Ids| -> BTreeSet<usize> {
        let asked = asked.iter().enumerate();
        let is = |(of_thread, of_turn, of_step): &Ids| {
            (thread.is_empty() || thread == *of_thread)
                && (turn == 0 || turn == *of_turn)
                && (step.is_empty() || step == *of_step)
        };
        asked
            .filter(|(_, ids)| is(ids))
            .map(|(number, _)| number)
            .collect()
    };
    for ids in batch() {
        assert_eq!(listed(&traced, &options(ids)), matching(ids), "{ids:?}");
    }
    assert!(listed(&traced, &options(("", 3, ""))).is_empty());

    let spans = traced.all_spans();
    for (number, (thread, turn, step)) in asked.iter().copied().enumerate() {
        let record = &records[&number];
        let on_record = (&*record.thread_id, record.turn, &*record.step);
        assert_eq!(on_record, (thread, turn, step), "command {number} on record");
        let id: String = record
            .process_id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let named = |id: &'static str| Some(id).filter(|id| !id.is_empty());
        let turn = i64::try_from(turn).ok().filter(|turn| *turn > 0);
        let of_command = spans
            .iter()
            .filter(|span| span.attribute("baton.process.id") == Some(&id));
        let mut stages: Vec<_> = of_command
            .map(|span| {
                let live = (
                    span.attribute("baton.thread"),
                    span.integer("baton.turn"),
                    span.attribute("baton.step"),
                );
                let stage = stage_of(span);
                assert_eq!(
                    live,
                    (named(thread), turn, named(step)),
                    "{stage} of command {number}"
                );
                stage
            })
            .collect();
        stages.sort_unstable();
        assert_eq!(stages, ["call", "process"], "the spans of command {number}");
    }
    // No other span has them.
    let ids = ["baton.thread", "baton.turn", "baton.step"];
    for span in spans
        .iter()
        .filter(|span| span.attribute("baton.process.id").is_none())
    {
        let attributes = span.span.attributes.iter();
        assert!(
            attributes
                .clone()
                .all(|attribute| !ids.contains(&&*attribute.key)),
            "{span:?}"
        );
    }
}

#[test]
fn a_repeat_of_a_turn_is_found_by_a_fingerprint_that_has_no_argument() {
    let traced = Traced::new();
    let file = traced.testbed.home.file("turns.json");
    let exec = |turn: &str, argument: &str| {
        let options = [
            "--thread",
            "t",
            "--turn",
            turn,
            "--trace-json",
            file.to_str().unwrap(),
        ];
        run(traced.testbed.exec_with(&options, ["echo", argument])).assert_printed(&format!("{argument}\n"));
    };
    for (turn, argument) in [
        ("1", "secret-one"),
        ("1", "secret-two"),
        ("1", "secret-one"),
        ("2", "secret-one"),
    ] {
        exec(turn, argument);
    }
    let text = std::fs::read_to_string(&file).unwrap();
    // A client's file has it on the `process` too.
    assert_eq!(text.matches("\"baton.arguments.fingerprint\"").count(), 2 * 4);
    assert!(!text.contains("secret-"));
    let analyze = |options: &[&str]| {
        let mut baton = traced.testbed.home.baton();
        baton.args(["analyze", "--json"]).args(options).arg(&file);
        run(baton)
    };
    let found = analyze(&["--repeats"]);
    let json: Value = serde_json::from_slice(&found.stdout).unwrap();
    let repeats = &json["repeats"];
    assert_eq!(
        (
            &repeats["calls"],
            &repeats["repeats"],
            &repeats["turns_with_repeats"]
        ),
        (&4.into(), &1.into(), &1.into()),
        "{json}"
    );
    assert_eq!(repeats["labels"][0]["label"], "echo", "{json}");
    // No command without a turn has a fingerprint.
    let mut plain = traced.testbed.home.baton();
    let other = traced.testbed.home.file("plain.json");
    plain
        .args(["run", "--quiet", "--trace-json"])
        .arg(&other)
        .args(["--", "true"]);
    run(plain).assert_printed("");
    let mut baton = traced.testbed.home.baton();
    baton.args(["analyze", "--repeats"]).arg(&other);
    let refused = run(baton);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("--repeats cannot answer: 1 call has no"),
        "{refused:?}"
    );
}

#[test]
fn show_prints_the_turn_and_the_step_of_a_command() {
    let traced = Traced::new();
    let show = |options: &[&str], json: &[&str]| {
        run(traced.testbed.exec_with(options, ["true"])).assert_printed("");
        let id = |words: &[&str]| {
            let mut baton = traced.testbed.home.baton();
            baton
                .args(words)
                .env("BATON_TICKET", traced.testbed.ticket.to_string());
            run(baton)
        };
        let newest: Value = serde_json::from_str(id(&["history", "--json", "-n1"]).text()).unwrap();
        let shown = id(&[&["show", newest["id"].as_str().unwrap()], json].concat());
        (newest, shown.text().to_owned())
    };
    let grouped = ["--thread", "chat", "--turn", "3", "--step", "plan"];
    let (_, shown) = show(&grouped, &[]);
    assert!(
        shown.contains("thread    chat\nturn      3\nstep      plan\n"),
        "{shown}"
    );
    let (newest, shown) = show(&grouped, &["--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    for json in [&newest, &shown] {
        assert_eq!((&json["thread"], &json["turn"]), (&"chat".into(), &3.into()));
        assert_eq!(json["step"], "plan");
    }
    let (newest, shown) = show(&[], &[]);
    assert!(
        !shown.contains("\nturn ") && !shown.contains("\nstep "),
        "{shown}"
    );
    for key in ["thread", "turn", "step"] {
        assert_eq!(newest.get(key), Some(&Value::Null), "{key}");
    }
}
