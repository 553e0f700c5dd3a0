//! `baton cp`: files and trees, both ways, by the real programs through a relay.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Finished, Home, Input, Running, Testbed, poll, run};

fn command(home: &Home, ticket: &str, words: &[&str]) -> std::process::Command {
    let mut command = home.baton();
    command.env("BATON_TICKET", ticket).arg("cp").args(words);
    command
}

/// `baton cp WORDS`, where `:PATH` is a path of the testbed's exec-server, whose default directory is the home.
fn cp(testbed: &Testbed, words: &[&str]) -> Finished {
    run(command(&testbed.home, &testbed.ticket.to_string(), words))
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// The permissions of a path, and length and hash of a file.
type Node = (u32, Option<(usize, u64)>);

/// Every path below a directory.
fn tree(root: &Path) -> BTreeMap<PathBuf, Node> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let bytes = kind.is_file().then(|| fs::read(&path).unwrap());
            let content = bytes.map(|bytes| {
                let mut hasher = DefaultHasher::new();
                bytes.hash(&mut hasher);
                (bytes.len(), hasher.finish())
            });
            if kind.is_dir() {
                directories.push(path.clone());
            }
            let name = path.strip_prefix(root).unwrap();
            found.insert(name.to_owned(), (mode(&path), content));
        }
    }
    found
}

/// The events that `--json` has printed.
fn events(finished: &Finished) -> Vec<Value> {
    let lines = finished.text().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_file_is_copied_both_ways_by_the_name_of_its_host() {
    let testbed = Testbed::new();
    let home = &testbed.home;
    let add = |words: &[&str]| {
        let mut command = home.baton();
        command.args(words);
        run(command)
    };
    add(&["host", "add", "worker", &testbed.ticket.to_string()]).assert_printed("");
    let copy = |words: &[&str]| {
        run({
            let mut command = home.baton();
            command.arg("cp").args(words);
            command
        })
    };
    let (local, far) = (home.file("local"), home.file("far"));
    fs::create_dir_all(&far).unwrap();
    // More than a batch, and no multiple of one.
    let content = bytes(3 << 20 | 17);
    fs::write(&local, &content).unwrap();
    set_mode(&local, 0o6751);
    let local = local.to_str().unwrap();

    copy(&[local, "worker:far/new"]).assert_printed("");
    assert!(fs::read(far.join("new")).unwrap() == content);
    assert_eq!(
        mode(&far.join("new")),
        0o751,
        "the mode is kept without set-user-ID and set-group-ID"
    );
    copy(&[local, "worker:far"]).assert_printed("");
    assert!(
        fs::read(far.join("local")).unwrap() == content,
        "a directory receives the file"
    );
    copy(&[local, "worker:~/far/"]).assert_printed("");

    set_mode(&far.join("new"), 0o7740);
    let back = home.file("back");
    copy(&["worker:far/new", back.to_str().unwrap()]).assert_printed("");
    assert!(fs::read(&back).unwrap() == content);
    assert_eq!(mode(&back), 0o740);
    let into = home.file("into");
    fs::create_dir(&into).unwrap();
    let absolute = format!("worker:{}", far.join("new").display());
    copy(&[&absolute, into.to_str().unwrap()]).assert_printed("");
    assert!(fs::read(into.join("new")).unwrap() == content);

    // What was there is replaced, and a link that the user names stays one.
    fs::write(far.join("new"), "other").unwrap();
    let link = home.file("link");
    symlink(&back, &link).unwrap();
    copy(&["worker:far/new", link.to_str().unwrap()]).assert_printed("");
    assert_eq!(fs::read(&back).unwrap(), b"other");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    symlink(far.join("new"), far.join("link")).unwrap();
    copy(&[local, "worker:far/link"]).assert_printed("");
    assert!(fs::read(far.join("new")).unwrap() == content);
    assert!(fs::symlink_metadata(far.join("link")).unwrap().is_symlink());

    // Nothing but the copies is left.
    let names = |directory: &Path| tree(directory).into_keys().collect::<Vec<_>>();
    assert_eq!(names(&into), [Path::new("new")]);
    assert_eq!(names(&far), ["link", "local", "new"].map(PathBuf::from));
}

#[test]
fn a_tree_is_copied_both_ways_with_its_bytes_modes_and_names() {
    let testbed = Testbed::new();
    let root = testbed.home.file("root");
    for directory in ["a/b/c", "empty", "-dash", "closed"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for (name, length, file_mode) in [
        (&b"a/large"[..], 2 << 20 | 3, 0o644),
        (b"a/b/c/small", 5, 0o600),
        (b"a/none", 0, 0o755),
        (b"a/exact", 1 << 20, 0o640),
        (b"-dash/-n", 1, 0o666),
        (b"a/line\nfeed \x1b[2J", 2, 0o444),
        (b"a/\xff\xfe", 3, 0o400),
        (b"closed/inside", 4, 0o644),
    ] {
        let path = root.join(OsStr::from_bytes(name));
        fs::write(&path, bytes(length)).unwrap();
        set_mode(&path, file_mode);
    }
    set_mode(&root.join("a/b"), 0o2710);
    set_mode(&root.join("empty"), 0o1777);
    let mut expected = tree(&root);
    for (directory, permissions) in [("a/b", 0o710), ("empty", 0o777)] {
        expected.get_mut(Path::new(directory)).unwrap().0 = permissions;
    }
    let file = |name: &str| testbed.home.file(name).to_str().unwrap().to_owned();
    let refused = cp(&testbed, &[&file("root"), ":up"]);
    refused.assert_failed(1, "the source is a directory; pass -r");
    assert!(!testbed.home.file("up").exists());

    cp(&testbed, &["-r", &file("root"), ":up"]).assert_printed("");
    assert_eq!(tree(&testbed.home.file("up")), expected);
    cp(&testbed, &[":up", &file("down")]).assert_failed(1, "the source is a directory; pass -r");
    // A directory that its owner may not write can be downloaded as it is.
    set_mode(&testbed.home.file("up/closed"), 0o555);
    cp(&testbed, &["-r", ":up", &file("down")]).assert_printed("");
    expected.get_mut(Path::new("closed")).unwrap().0 = 0o555;
    assert_eq!(tree(&testbed.home.file("down")), expected);

    // An existing directory receives the tree by its name, or what is in it, and keeps its own mode.
    fs::create_dir(testbed.home.file("into")).unwrap();
    set_mode(&testbed.home.file("into"), 0o700);
    cp(&testbed, &["-r", ":up", &file("into")]).assert_printed("");
    assert_eq!(tree(&testbed.home.file("into/up")), expected);
    cp(&testbed, &["-r", ":up/a/.", &file("into")]).assert_printed("");
    assert!(testbed.home.file("into/b/c/small").exists() && !testbed.home.file("into/a").exists());
    assert_eq!(mode(&testbed.home.file("into")), 0o700);
    fs::create_dir(testbed.home.file("far")).unwrap();
    for _ in 0..2 {
        cp(&testbed, &["-r", &file("root/a/"), ":far"]).assert_printed("");
        let mut expected = tree(&root.join("a"));
        expected.get_mut(Path::new("b")).unwrap().0 = 0o710;
        assert_eq!(tree(&testbed.home.file("far/a")), expected);
    }

    // A file is no directory.
    cp(&testbed, &["-r", &file("root"), ":up/a/none"]).assert_failed(1, "is not a directory");
    cp(&testbed, &["-r", ":up", &file("root/a/none")]).assert_failed(1, "is not a directory");
    cp(&testbed, &[":up/a/none", &file("nowhere/")]).assert_failed(1, "is not a directory");
    cp(&testbed, &[&file("root/a/none"), ":nowhere/"]).assert_failed(1, "is not a directory");
    cp(&testbed, &[&file("root/a/none"), ":nowhere/x"]).assert_failed(1, "not copied");
    cp(&testbed, &[&file("nowhere"), ":x"]).assert_failed(1, "the source does not exist");
    cp(&testbed, &[":nowhere", &file("x")]).assert_failed(1, "the source does not exist");
}

#[test]
fn links_fifos_and_sockets_of_a_tree_are_skipped_and_told() {
    let testbed = Testbed::new();
    let root = testbed.home.file("root");
    let secret = testbed.home.file("secret");
    fs::create_dir_all(root.join("deep")).unwrap();
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "secret").unwrap();
    fs::write(root.join("deep/file"), "x").unwrap();
    symlink(&secret, root.join("deep/link\x1b[2J")).unwrap();
    symlink(secret.join("key"), root.join("key")).unwrap();
    mknodat(
        CWD,
        root.join("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _socket = UnixListener::bind(root.join("socket")).unwrap();
    let there = testbed.home.file("down");
    for (from, to) in [
        (root.to_str().unwrap(), ":up"),
        (":root", there.to_str().unwrap()),
    ] {
        let copied = cp(&testbed, &["-r", from, to]);
        copied.assert_failed(1, "copied 1 file; 4 skipped, 0 not copied");
        for said in [
            "deep/link[2J: skipped, because it is a symbolic link",
            "key: skipped, because it is a symbolic link",
            "fifo: skipped, because it is a FIFO",
            "socket: skipped, because it is a socket",
        ] {
            assert!(copied.stderr.contains(said), "{said:?} in {copied:?}");
        }
        let again = format!("{to}-again");
        let json = cp(&testbed, &["-r", "--json", from, &again]);
        assert_eq!((json.code, &*json.stderr), (1, ""));
        let events = events(&json);
        let count = |event: &str| events.iter().filter(|found| found["event"] == event).count();
        assert_eq!(
            (count("copied"), count("skipped"), count("failed"), count("done")),
            (1, 4, 0, 1)
        );
        let done = events.last().unwrap();
        assert_eq!(
            (&done["event"], &done["files"], &done["skipped"]),
            (&"done".into(), &1.into(), &4.into())
        );
        assert!(
            events
                .iter()
                .any(|event| event["kind"] == "fifo" && event["path"] == "fifo")
        );
    }
    for copy in ["up", "down"] {
        let paths: Vec<_> = tree(&testbed.home.file(copy)).into_keys().collect();
        assert_eq!(paths, [Path::new("deep"), Path::new("deep/file")], "{copy}");
    }
    // A FIFO or a device that the user names is neither waited for nor replaced.
    let fifo = root.join("fifo");
    cp(&testbed, &[fifo.to_str().unwrap(), ":x"]).assert_failed(1, "not a regular file");
    cp(&testbed, &[":root/fifo", there.join("x").to_str().unwrap()]).assert_failed(1, "not a regular file");
    cp(&testbed, &[":root/deep/file", fifo.to_str().unwrap()]).assert_failed(1, "not replaced");
    assert!(!fs::symlink_metadata(&fifo).unwrap().is_file());
}

#[test]
fn a_link_that_is_planted_in_the_destination_is_neither_followed_nor_replaced() {
    let testbed = Testbed::new();
    let root = testbed.home.file("root");
    fs::create_dir_all(root.join("directory")).unwrap();
    fs::write(root.join("file"), "new").unwrap();
    fs::write(root.join("directory/inside"), "new").unwrap();
    fs::write(root.join("honest"), "new").unwrap();
    let outside = testbed.home.file("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "old").unwrap();
    for copy in ["up", "down"] {
        let copy = testbed.home.file(copy).join("root");
        fs::create_dir_all(&copy).unwrap();
        symlink(outside.join("file"), copy.join("file")).unwrap();
        symlink(&outside, copy.join("directory")).unwrap();
    }
    let there = testbed.home.file("down");
    for (from, to) in [
        (root.to_str().unwrap(), ":up"),
        (":root", there.to_str().unwrap()),
    ] {
        let copied = cp(&testbed, &["-r", from, to]);
        copied.assert_failed(1, "copied 1 file; 0 skipped, 2 not copied");
        assert!(copied.stderr.contains("root/file: not copied: "), "{copied:?}");
        assert!(
            copied.stderr.contains("root/directory: not copied: "),
            "{copied:?}"
        );
    }
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"old");
    assert_eq!(
        fs::read_dir(&outside).unwrap().count(),
        1,
        "nothing was made outside"
    );
    for copy in ["up/root", "down/root"] {
        let copy = testbed.home.file(copy);
        assert_eq!(fs::read(copy.join("honest")).unwrap(), b"new");
        assert!(fs::symlink_metadata(copy.join("file")).unwrap().is_symlink());
        assert!(fs::symlink_metadata(copy.join("directory")).unwrap().is_symlink());
        assert_eq!(
            fs::read_dir(&copy).unwrap().count(),
            3,
            "no temporary file is left"
        );
    }
}

#[test]
fn hundreds_of_small_files_are_copied_both_ways() {
    let testbed = Testbed::new();
    let root = testbed.home.file("root");
    for directory in 0..10 {
        let directory = root.join(format!("{directory}"));
        fs::create_dir_all(&directory).unwrap();
        for file in 0..60 {
            fs::write(directory.join(format!("{file}")), bytes(4096 + file)).unwrap();
        }
    }
    // More than a page.
    for file in 0..600 {
        fs::write(root.join(format!("file {file}")), bytes(file)).unwrap();
    }
    let expected = tree(&root);
    let there = testbed.home.file("down");
    let up = cp(&testbed, &["-r", "--json", root.to_str().unwrap(), ":up"]);
    let down = cp(&testbed, &["-r", "--json", ":up", there.to_str().unwrap()]);
    let size: usize = expected
        .values()
        .filter_map(|(_, content)| Some((*content)?.0))
        .sum();
    for finished in [up, down] {
        assert_eq!((finished.code, &*finished.stderr), (0, ""));
        let events = events(&finished);
        assert_eq!(events.len(), 1201);
        let done = &events[1200];
        assert_eq!((&done["files"], &done["bytes"]), (&1200.into(), &size.into()));
    }
    assert!(tree(&testbed.home.file("up")) == expected, "uploaded");
    assert!(tree(&there) == expected, "downloaded");
}

#[test]
fn a_copy_without_its_exec_server_is_255_and_a_line_that_is_none_is_2() {
    let mut testbed = Testbed::new();
    let file = testbed.home.file("file");
    fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    for (words, sentence) in [
        (&[file, file][..], "both on this machine"),
        (&[":a", ":b"], "both on an exec-server"),
        (&["--host", "worker", "worker:a", file], "write `:PATH`"),
        (&["user@worker:a", file], "no name of an exec-server"),
        (&[file], "DST"),
    ] {
        cp(&testbed, words).assert_failed(2, sentence);
    }
    cp(&testbed, &["nobody:a", file]).assert_failed(255, "no host nobody: ");
    let stranger = run(command(&Home::new(), &testbed.ticket.to_string(), &[":a", file]));
    stranger.assert_failed(255, "this client's key is not allowed");
    testbed.stop_exec_server();
    for words in [
        &["--connect-timeout", "0s", file, ":a"][..],
        &["--connect-timeout", "0s", ":a", file],
    ] {
        cp(&testbed, words).assert_failed(255, "baton: ");
    }
    // What this machine knows needs no connection.
    cp(&testbed, &[testbed.home.file("").to_str().unwrap(), ":a"]).assert_failed(1, "pass -r");
}

/// Waits for a file with such a name that is not empty.
fn growing(directory: &Path, is_it: impl Fn(&str) -> bool) -> PathBuf {
    poll("a file grows", || {
        let entries = fs::read_dir(directory).unwrap();
        entries.flatten().map(|entry| entry.path()).find(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            is_it(name) && path.metadata().is_ok_and(|found| found.len() > 0)
        })
    })
}

#[test]
fn an_interrupted_download_leaves_no_part_and_with_resume_one_that_is_continued() {
    let testbed = Testbed::new();
    let (far, there) = (testbed.home.file("far"), testbed.home.file("there"));
    fs::create_dir(&there).unwrap();
    // More than is copied before the test has seen that the copy began.
    let content = bytes(1_000_003).repeat(96);
    fs::write(&far, &content).unwrap();
    let target = there.join("far");
    let start = |words: &[&str]| {
        let command = command(&testbed.home, &testbed.ticket.to_string(), words);
        Running::start(command, Input::Bytes(Vec::new()))
    };
    let plain = [":far", there.to_str().unwrap()];
    let interrupted = start(&plain);
    growing(&there, |name| name.starts_with(".baton-"));
    interrupted.signal(Signal::INT);
    assert_eq!(interrupted.finish().signal, Some(2));
    assert_eq!(fs::read_dir(&there).unwrap().count(), 0, "the part was removed");

    let resume = ["--resume", ":far", there.to_str().unwrap()];
    let killed = start(&resume);
    let part = growing(&there, |name| name == ".far.baton-part");
    killed.signal(Signal::KILL);
    killed.finish();
    let left = part.metadata().unwrap();
    assert!(left.len() < content.len() as u64, "it was killed too late");
    start(&resume).finish().assert_printed("");
    let copied = target.metadata().unwrap();
    assert_eq!(copied.ino(), left.ino(), "the part was continued");
    assert!(fs::read(&target).unwrap() == content);
    assert!(!part.exists());

    // A part with other bytes, or of a longer file, is not the beginning.
    for wrong in [vec![7; 1 << 20], [&content[..], b"more"].concat()] {
        fs::write(&part, &wrong).unwrap();
        start(&resume).finish().assert_printed("");
        assert!(fs::read(&target).unwrap() == content);
        assert!(!part.exists());
    }

    // What is no part of this user's is left as it is.
    let other = testbed.home.file("other");
    fs::write(&other, "other").unwrap();
    symlink(&other, &part).unwrap();
    start(&resume).finish().assert_failed(1, ".baton-part");
    fs::remove_file(&part).unwrap();
    fs::hard_link(&other, &part).unwrap();
    start(&resume).finish().assert_failed(1, ".baton-part");
    assert_eq!(fs::read(&other).unwrap(), b"other");
    fs::remove_file(&part).unwrap();
    let locked = File::create(&part).unwrap();
    flock(&locked, FlockOperation::LockExclusive).unwrap();
    start(&resume).finish().assert_failed(1, ".baton-part");
}

#[test]
fn an_interrupted_upload_is_continued_behind_its_part_with_resume() {
    let testbed = Testbed::new();
    let (local, far) = (testbed.home.file("local"), testbed.home.file("far"));
    fs::create_dir(&far).unwrap();
    // More than is copied before the test has seen that the copy began.
    let content = bytes(1_000_003).repeat(96);
    fs::write(&local, &content).unwrap();
    set_mode(&local, 0o640);
    let start = || {
        let words = ["--resume", local.to_str().unwrap(), ":far"];
        let command = command(&testbed.home, &testbed.ticket.to_string(), &words);
        Running::start(command, Input::Bytes(Vec::new()))
    };
    let killed = start();
    let part = growing(&far, |name| name == ".local.baton-part");
    killed.signal(Signal::KILL);
    killed.finish();
    poll("the exec-server gives the part up", || {
        let lock = FlockOperation::NonBlockingLockExclusive;
        flock(File::open(&part).unwrap(), lock).ok()
    });
    let left = part.metadata().unwrap();
    assert!((1..content.len() as u64).contains(&left.len()), "{left:?}");
    start().finish().assert_printed("");
    let target = far.join("local");
    assert_eq!(
        target.metadata().unwrap().ino(),
        left.ino(),
        "the part was continued"
    );
    assert!(fs::read(&target).unwrap() == content);
    assert_eq!((mode(&target), part.exists()), (0o640, false));

    for wrong in [vec![7; 1 << 20], [&content[..], b"more"].concat()] {
        fs::write(&part, &wrong).unwrap();
        start().finish().assert_printed("");
        assert!(fs::read(&target).unwrap() == content);
        assert!(!part.exists());
    }
    let other = testbed.home.file("other");
    fs::write(&other, "other").unwrap();
    symlink(&other, &part).unwrap();
    start().finish().assert_failed(1, "not a regular file");
    assert_eq!(fs::read(&other).unwrap(), b"other");
}
