//! `--trace-dir`, and the commands that read it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::support::{Finished, Home, Testbed, poll, run};

fn baton(home: &Home, arguments: &[&str]) -> Finished {
    let mut baton = home.baton();
    baton.args(arguments);
    run(baton)
}

fn segments(directory: &Path) -> usize {
    let names = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".traces.zst"))
        .count()
}

#[test]
fn commands_append_to_a_directory_that_every_view_reads() {
    let testbed = Testbed::new();
    let home = &testbed.home;
    let (directory, file) = (home.file("new/traces"), home.file("trace.json"));
    let dir = directory.to_str().unwrap();
    for code in 0..3 {
        let exit = format!("exit {code}");
        let finished = run(testbed.exec_with(&["--trace-dir", dir], ["sh", "-c", &exit]));
        assert_eq!((finished.code, &*finished.stderr), (code, ""));
    }
    let both = [
        "--trace",
        "--trace-dir",
        dir,
        "--trace-json",
        file.to_str().unwrap(),
    ];
    let drawn = run(testbed.exec_with(&both, ["echo", "ok"]));
    drawn.assert_printed("ok\n");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), segments(&directory)), (0o700, 1));

    let checked = baton(home, &["trace", "check", dir]);
    assert!(checked.text().starts_with("checked 4 traces of "), "{checked:?}");
    assert!(checked.text().ends_with("no fault\n"), "{checked:?}");
    // The waterfall names its trace first: `trace ID …`.
    let id = drawn.stderr.split_whitespace().nth(1).unwrap();
    baton(home, &["trace", "show", dir, "--id", id]).assert_printed(&drawn.stderr);
    let all = baton(home, &["trace", "show", dir]);
    assert_eq!(all.text().matches("trace ").count(), 4, "{all:?}");
    let analyzed = baton(home, &["analyze", "--json", dir]);
    let analyzed: Value = serde_json::from_slice(&analyzed.stdout).unwrap();
    let shown = analyzed.to_string();
    assert!(shown.contains("\"process.spawn\""), "{shown}");
    let missing = "1".repeat(32);
    baton(home, &["trace", "show", dir, "--id", &missing])
        .assert_failed(255, &format!("no trace {missing} in "));

    let compacted = baton(home, &["trace", "compact", "--all", dir]);
    assert!(
        compacted
            .text()
            .starts_with("recompressed 1 segment of 4 traces: "),
        "{compacted:?}"
    );
    baton(home, &["trace", "show", dir, "--id", id]).assert_printed(&drawn.stderr);
    let again = baton(home, &["trace", "check", dir]);
    assert_eq!(again.stdout, checked.stdout);
}

#[test]
fn a_full_segment_is_recompressed_in_the_background() {
    let home = Home::new();
    let directory = home.file("traces");
    let dir = directory.to_str().unwrap();
    let run = |dir: &str| baton(&home, &["run", "-q", "--trace-dir", dir, "--", "true"]);
    run(dir).assert_printed("");
    let first = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "zst"))
        .unwrap();
    // A day old, by its name.
    let old = directory.join("1000000000-0000000000000000.traces.zst");
    fs::rename(&first, &old).unwrap();
    fs::write(
        directory.join(".lock"),
        old.file_name().unwrap().as_encoded_bytes(),
    )
    .unwrap();
    let before = fs::read(&old).unwrap();
    run(dir).assert_printed("");
    assert_eq!(segments(&directory), 2);
    poll("the old segment to be recompressed", || {
        (fs::read(&old).ok()? != before).then_some(())
    });
    let checked = baton(&home, &["trace", "check", dir]);
    assert!(checked.text().starts_with("checked 2 traces"), "{checked:?}");
}

#[test]
fn a_directory_that_cannot_be_used_is_reported_before_the_command() {
    let home = Home::new();
    let canary = home.file("canary");
    let file = home.file("file");
    fs::write(&file, "").unwrap();
    let beneath = file.join("traces");
    let beneath = beneath.to_str().unwrap();
    let touch = canary.to_str().unwrap();
    let refused = baton(
        &home,
        &["run", "-q", "--trace-dir", beneath, "--", "touch", touch],
    );
    refused.assert_failed(255, &format!("cannot make the directory {beneath} for traces: "));
    assert!(!canary.exists(), "the command was run");
}
