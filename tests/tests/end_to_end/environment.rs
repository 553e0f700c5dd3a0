//! The options that a command's environment and end are chosen by.

use std::fs;

use crate::support::{Testbed, run};

/// The variables that `env` printed, without those of the trace.
fn variables(printed: &str) -> Vec<&str> {
    let of_baton = ["TRACEPARENT=", "TRACESTATE=", "BAGGAGE=", "BATON_PROCESS_MARK="];
    let mut lines: Vec<_> = printed
        .lines()
        .filter(|line| !of_baton.iter().any(|name| line.starts_with(name)))
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_clean_environment_has_what_the_files_and_options_set_and_nothing_else() {
    let testbed = Testbed::new();
    let [one, two] = ["one", "two"].map(|name| testbed.home.file(name));
    fs::write(&one, "# the first\nA=1\nB=x y=\"z\"\nUSER\nNOT_SET_HERE\n").unwrap();
    fs::write(&two, "A=2\nC=3\n").unwrap();
    let options = [
        "--env-policy",
        "clean",
        "--env-file",
        one.to_str().unwrap(),
        "--env-file",
        two.to_str().unwrap(),
        "--env",
        "C=4",
    ];
    let clean = run(testbed.exec_with(&options, ["env"]));
    assert_eq!(clean.code, 0, "{clean:?}");
    assert_eq!(
        variables(clean.text()),
        ["A=2", "B=x y=\"z\"", "C=4", "USER=tester"]
    );

    let inherited = run(testbed.exec_with(&["--env-policy", "inherit", "--env", "C=4"], ["env"]));
    let inherited = variables(inherited.text());
    assert!(
        inherited.contains(&"C=4") && inherited.iter().any(|line| line.starts_with("HOME=")),
        "{inherited:?}"
    );
}

#[test]
fn a_file_of_variables_that_cannot_be_used_runs_nothing() {
    let testbed = Testbed::new();
    let file = testbed.home.file("env");
    fs::write(&file, "A=1\nexport B=2\n").unwrap();
    let file = file.to_str().unwrap();
    let canary = testbed.home.file("canary");
    let touch = ["touch", canary.to_str().unwrap()];
    let line = format!("{file}:2: expected NAME=VALUE");
    run(testbed.exec_with(&["--env-file", file], touch)).assert_failed(255, &line);
    let absent = ["--env-file", "/nonexistent"];
    run(testbed.exec_with(&absent, touch)).assert_failed(255, "cannot read the variables in /nonexistent");
    for options in [
        &["--env-policy", "some"][..],
        &["--drain", "2h"],
        &["--drain", "soon"],
    ] {
        run(testbed.exec_with(options, touch)).assert_failed_whatever(2);
    }
    assert!(!canary.exists());
}

#[test]
fn output_after_the_exit_is_waited_for_as_long_as_drain_says() {
    let testbed = Testbed::new();
    let script = ["sh", "-c", "(sleep 6; echo late) & echo first"];
    run(testbed.exec_with(&["--drain", "10m"], script)).assert_printed("first\nlate\n");
    // Two seconds without the option.
    run(testbed.exec(script)).assert_printed("first\n");
}
