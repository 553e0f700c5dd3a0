//! Threads: their title, metadata and repository, and their durability behind a barrier.

use std::fs;

use baton_proto::limits::THREAD_METADATA_KEYS_MAX;
use serde_json::Value;

use super::{baton, crash, history};
use crate::support::{Testbed, poll, run};

#[test]
fn a_thread_has_title_metadata_and_the_repository_of_its_commands() {
    let testbed = Testbed::new();
    let dir = testbed.home.file("work");
    fs::create_dir_all(dir.join(".git/objects")).unwrap();
    fs::write(dir.join(".git/HEAD"), "ref: refs/heads/topic\n").unwrap();
    let options = [
        "--thread",
        "t-1",
        "--title",
        "A title",
        "--meta",
        "k=v",
        "--meta",
        "gone=x",
        "--cwd",
        dir.to_str().unwrap(),
    ];
    run(testbed.exec_with(&options, ["true"])).assert_printed("");
    run(testbed.exec_with(&["--thread", "t-2"], ["false"]));
    run(testbed.exec(["true"]));
    let of_thread = history(&testbed, &["--thread", "t-1"]);
    assert_eq!((of_thread.len(), &of_thread[0]["thread"]), (1, &"t-1".into()));

    let show = || -> Value {
        let shown = baton(&testbed, &["thread", "show", "--json", "t-1"]);
        serde_json::from_str(shown.text()).unwrap()
    };
    let branch = || show()["facts"]["branch"].as_str().map(str::to_owned);
    // The repository is looked up beside the command, without delaying it.
    poll("the facts are found", || {
        branch().filter(|branch| branch == "topic")
    });
    let shown = show();
    assert_eq!(shown["title"], "A title");
    assert_eq!(shown["metadata"], serde_json::json!({"k": "v", "gone": "x"}));
    assert_eq!(shown["facts"]["repository_root"], dir.to_str().unwrap());
    fs::write(dir.join(".git/HEAD"), "ref: refs/heads/other\n").unwrap();
    poll("a changed head is seen", || {
        branch().filter(|branch| branch == "other")
    });

    let set = [
        "thread", "set", "t-1", "--title", "Another", "--meta", "k=w", "--remove", "gone",
    ];
    baton(&testbed, &set).assert_printed("");
    assert_eq!(show()["title"], "Another");
    assert_eq!(show()["metadata"], serde_json::json!({"k": "w"}));

    let threads = || baton(&testbed, &["threads"]).text().lines().count() - 1;
    assert_eq!(threads(), 2);
    baton(&testbed, &["thread", "archive", "t-2"]).assert_printed("");
    assert_eq!(threads(), 1);
    baton(&testbed, &["thread", "archive", "--undo", "t-2"]).assert_printed("");
    assert_eq!(threads(), 2);
    baton(&testbed, &["thread", "archive", "t-2"]).assert_printed("");
    run(testbed.exec_with(&["--thread", "t-2"], ["true"]));
    assert_eq!(threads(), 2, "it is used again");
    baton(&testbed, &["thread", "delete", "t-2"]).assert_printed("");
    baton(&testbed, &["thread", "show", "t-2"]).assert_failed(255, "you have no thread of this id");
    baton(&testbed, &["thread", "delete", "t-2"]).assert_failed(255, "you have no thread of this id");
    assert_eq!(history(&testbed, &["--thread", "t-2"]).len(), 2, "what ran stays");
}

#[test]
fn a_thread_that_is_full_refuses_more_and_says_so() {
    let testbed = Testbed::new();
    let set = |from: usize, to: usize| {
        let pairs = (from..to).flat_map(|n| ["--meta".to_owned(), format!("key-{n}=x")]);
        let words = ["thread", "set", "t"].map(str::to_owned).into_iter().chain(pairs);
        let words: Vec<_> = words.collect();
        baton(&testbed, &words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for from in (0..THREAD_METADATA_KEYS_MAX).step_by(64) {
        set(from, from + 64).assert_printed("");
    }
    set(THREAD_METADATA_KEYS_MAX, THREAD_METADATA_KEYS_MAX + 1).assert_failed(
        255,
        "baton: a thread keeps 256 keys of metadata at most: take others away",
    );
    // An existing key may still be changed, and a command runs whether or not its metadata is accepted.
    set(0, 1).assert_printed("");
    run(testbed.exec_with(&["--thread", "t", "--meta", "one=more"], ["echo", "ok"])).assert_printed("ok\n");
    let shown = baton(&testbed, &["thread", "show", "t"]);
    assert!(
        shown.text().contains("full: of 256 keys") && !shown.text().contains("one=more"),
        "{shown:?}"
    );
    let others = baton(
        &testbed,
        &["thread", "set", "t", "--remove", "key-0", "--meta", "one=more"],
    );
    others.assert_printed("");
    assert!(
        baton(&testbed, &["thread", "show", "t"])
            .text()
            .contains("one=more")
    );
}

#[test]
fn a_thread_that_was_archived_or_deleted_is_so_after_kill_9_without_any_flush() {
    let mut testbed = Testbed::new();
    for thread in ["kept", "hidden", "gone"] {
        run(testbed.exec_with(&["--thread", thread], ["true"]));
    }
    baton(&testbed, &["thread", "archive", "hidden"]).assert_printed("");
    crash(&mut testbed, &[]);
    let threads = baton(&testbed, &["threads"]);
    assert!(
        threads.text().contains("kept") && threads.text().contains("gone"),
        "{threads:?}"
    );
    assert!(!threads.text().contains("hidden"), "{threads:?}");
    baton(&testbed, &["thread", "delete", "gone"]).assert_printed("");
    crash(&mut testbed, &[]);
    let threads = baton(&testbed, &["threads"]);
    assert!(
        threads.text().contains("kept") && !threads.text().contains("gone"),
        "{threads:?}"
    );
}
