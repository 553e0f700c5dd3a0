//! `baton compare` and `baton gate` over recorded runs with a known delay.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Finished, Home, run};

/// Pairs of blocks: the fewest that a verdict needs.
const PAIRS: usize = 20;

/// Two directories with a file for each block, recorded in turns: `old`, whose command sleeps for 20 ms, and `new`, whose
/// command sleeps for 60 ms.
fn record(home: &Home) -> [PathBuf; 2] {
    let sides = [("old", "0.02"), ("new", "0.06")].map(|(name, seconds)| (home.file(name), seconds));
    for (directory, _) in &sides {
        fs::create_dir(directory).unwrap();
    }
    for pair in 0..PAIRS {
        for turn in 0..2 {
            let (directory, seconds) = &sides[(pair + turn) % 2];
            let mut baton = home.baton();
            baton.args(["run", "--quiet", "--trace-json"]);
            baton.arg(directory.join(format!("{pair}.json")));
            baton.args(["--", "sleep", *seconds]);
            run(baton).assert_printed("");
        }
    }
    sides.map(|(directory, _)| directory)
}

fn compare(home: &Home, a: &Path, b: &Path, options: &[&str]) -> Finished {
    let mut baton = home.baton();
    baton.arg("compare").arg(a).arg(b).args(options);
    run(baton)
}

#[test]
fn a_known_delay_is_found_in_its_stage_and_a_gate_gives_the_same_verdict_twice() {
    let home = Home::new();
    let [old, new] = record(&home);

    let slower = compare(&home, &old, &new, &[]);
    assert_eq!(slower.code, 1, "{slower:?}");
    let text = slower.text();
    assert!(
        text.starts_with("A: 20 runs. B: 20 runs. 20 interleaved pairs.\n"),
        "{text}"
    );
    let verdict = text.lines().last().unwrap();
    assert!(verdict.starts_with("verdict: regression: slower: "), "{text}");
    assert!(verdict.contains("process.wait +"), "{text}");
    let faster = compare(&home, &new, &old, &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&faster.stdout).unwrap();
    let stages = json["stages"].as_array().unwrap();
    let wait = stages
        .iter()
        .find(|stage| stage["stage"] == "process.wait")
        .unwrap();
    assert_eq!(wait["change"], "faster", "{json}");
    // The process includes the wait, so as a control it has moved.
    let unproven = compare(&home, &old, &new, &["--control", "process", "--markdown"]);
    assert_eq!(unproven.code, 4, "{unproven:?}");
    assert!(
        unproven
            .text()
            .starts_with("**unproven**: the control moved: process +"),
        "{unproven:?}"
    );

    let rules = home.file("rules.toml");
    let condition = "difference = 'process.wait', from = 'old', to = 'new', at_least = '50 %'";
    fs::write(
        &rules,
        format!(
            "[outcomes]\nslower = 7\nship = 0\nnot_enough_data = 3\n[sets]\nattribute = 'build'\n[[rule]]\noutcome = \
             'slower'\nany = [{{ {condition} }}]\n[otherwise]\noutcome = 'ship'\n"
        ),
    )
    .unwrap();
    let gate = |verdict: &str| {
        let mut baton = home.baton();
        baton.arg("gate").arg(&rules);
        baton
            .arg(format!("old={}", old.display()))
            .arg(format!("new={}", new.display()));
        baton
            .args(["--block", "file", "--verdict"])
            .arg(home.file(verdict));
        let finished = run(baton);
        (
            finished.code,
            finished.stdout,
            fs::read(home.file(verdict)).unwrap(),
        )
    };
    let first = gate("first.json");
    assert_eq!(first.0, 7, "{}", String::from_utf8_lossy(&first.1));
    assert_eq!(first, gate("second.json"));
}

#[test]
fn a_half_read_file_is_counted_by_compare_and_stops_a_gate() {
    let home = Home::new();
    let directory = home.file("runs");
    fs::create_dir(&directory).unwrap();
    for name in ["0.json", "1.json"] {
        let mut baton = home.baton();
        baton.args(["run", "--quiet", "--trace-json"]);
        baton.arg(directory.join(name)).args(["--", "true"]);
        run(baton).assert_printed("");
    }
    let torn = directory.join("1.json");
    let text = fs::read_to_string(&torn).unwrap();
    fs::write(&torn, format!("{text}{}", &text[..text.len() / 2])).unwrap();
    let part = "1 of 2 input files was read in part: ";
    let place = "1.json (1 fault, in line 2)";

    for form in [&[][..], &["--markdown"], &["--json"]] {
        let compared = compare(&home, &directory, &directory, form);
        for side in ["A: ", "B: "] {
            let said = format!("{side}{part}{}", directory.join(place).display());
            assert!(compared.text().contains(&said), "{compared:?}");
        }
    }
    let compared = compare(&home, &directory, &directory, &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&compared.stdout).unwrap();
    let input = &json["b"]["input"];
    assert_eq!((&input["files"], &input["fault_count"]), (&2.into(), &1.into()));
    assert_eq!(input["faulty_files"][0]["first_line"], 2);

    let rules = home.file("rules.toml");
    let gate = |population: &str| {
        fs::write(
            &rules,
            format!(
                "[outcomes]\nship = 0\nslow = 1\nnot_enough_data = 3\n{population}[[rule]]\noutcome = 'slow'\nall = [{{ \
                 stage = 'call', statistic = 'p50', at_least = '10min' }}]\n[otherwise]\noutcome = 'ship'\n"
            ),
        )
        .unwrap();
        let mut baton = home.baton();
        baton.arg("gate").arg(&rules).arg(&directory).arg("--json");
        let finished = run(baton);
        let json: serde_json::Value = serde_json::from_slice(&finished.stdout).unwrap();
        (finished.code, json)
    };
    let (code, verdict) = gate("");
    assert_eq!((code, &verdict["outcome"]), (3, &"not_enough_data".into()));
    assert!(
        verdict["sentence"].as_str().unwrap().starts_with(part),
        "{verdict}"
    );
    assert_eq!(verdict["input"], *input);
    let (code, verdict) = gate("[population]\nhalf_read = true\n");
    assert_eq!((code, &verdict["outcome"]), (0, &"ship".into()));
    assert_eq!(verdict["input"], *input);
}

#[test]
fn the_example_of_a_gate_runs_and_wrong_rules_name_their_line() {
    let home = Home::new();
    let trace = home.file("trace.json");
    let mut baton = home.baton();
    baton.args(["run", "--quiet", "--trace-json"]).arg(&trace);
    baton.args(["--", "true"]);
    run(baton).assert_printed("");
    let mut baton = home.baton();
    baton.args(["gate", "--example"]);
    let example = run(baton);
    assert_eq!(example.code, 0, "{example:?}");

    let rules = home.file("rules.toml");
    let gate = |text: &str| {
        fs::write(&rules, text).unwrap();
        let mut baton = home.baton();
        baton.arg("gate").arg(&rules).arg(&trace);
        run(baton)
    };
    let verdict = gate(example.text());
    assert_eq!(verdict.code, 3, "{verdict:?}");
    assert!(
        verdict.text().contains("population: 0 of 1 runs, 1 no turn"),
        "{verdict:?}"
    );
    let wrong = gate(
        &example
            .text()
            .replacen("\"family.session_init\"", "\"family.sesion_init\"", 1),
    );
    wrong.assert_failed(
        255,
        "rules.toml:32: unknown stage `family.sesion_init` (did you mean `family.session_init`?)",
    );
}
