//! `Glob` and `Grep` on real directories: order, hostile trees, bounds, and results equal to those of naive models and of
//! git.

mod client;
mod host;
mod models;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_proto::files::file_status::Kind;
use baton_proto::files::files_error::Kind as ErrorKind;
use baton_proto::files::{GlobRequest, GrepRequest, Selection, Truncation};
use baton_proto::limits::{
    CONTEXT_LINES_MAX, GLOBS_MAX, LINE_TEXT_MAX, NAME_MAX, PATTERN_MAX, SEARCH_PAGE_MAX,
};
use baton_rpc::files::files_server::Files as _;
use futures_util::StreamExt as _;
use host::{Host, Line, at, below, directory, kind, names};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::process::geteuid;
use tokio::time::timeout;
use tonic::Code;

fn glob(place: baton_proto::files::Place, globs: &[&str]) -> GlobRequest {
    GlobRequest {
        place: Some(place),
        selection: Some(Selection {
            globs: names(globs),
            ..Selection::default()
        }),
        max_results: 0,
    }
}

fn grep(place: baton_proto::files::Place, pattern: &str) -> GrepRequest {
    GrepRequest {
        place: Some(place),
        pattern: pattern.to_owned(),
        ..GrepRequest::default()
    }
}

/// The text of each line, with a `:` after the number of one that matches and a `-` after that of another.
fn shown(lines: &[Line]) -> Vec<String> {
    let shown = |line: &Line| {
        let mark = if line.found.is_some() { ':' } else { '-' };
        let path = String::from_utf8_lossy(&line.path);
        format!(
            "{path}:{}{mark}{}",
            line.number,
            String::from_utf8_lossy(&line.text)
        )
    };
    lines.iter().map(shown).collect()
}

#[tokio::test]
async fn entries_come_in_order_with_kinds_and_sizes_whatever_their_names_are() {
    let (_dir, root) = directory();
    let strange = OsStr::from_bytes(b"\xff\n\x1b[31m");
    fs::create_dir_all(root.join("a/b")).unwrap();
    // `a.x` is before `a/b` as a text, and behind it by names.
    for file in ["a.x", "a/b/c", "a-b"] {
        fs::write(root.join(file), b"five!").unwrap();
    }
    fs::write(root.join(strange), b"").unwrap();
    fs::write(root.join(".hidden"), b"").unwrap();
    symlink("no/where", root.join("a/link")).unwrap();
    let found = Host::new().glob(glob(at(&root), &[])).await.unwrap();
    let paths: Vec<&[u8]> = found.entries.iter().map(|entry| &entry.path[..]).collect();
    let expected = [
        &b"a"[..],
        b"a/b",
        b"a/b/c",
        b"a/link",
        b"a-b",
        b"a.x",
        strange.as_bytes(),
    ];
    assert_eq!(paths, expected);
    let status = |index: usize| found.entries[index].status.clone().unwrap();
    assert_eq!(status(0).kind(), Kind::Directory);
    assert_eq!((status(2).kind(), status(2).size), (Kind::RegularFile, 5));
    assert!(status(2).modified_unix_s > 1_700_000_000);
    assert_eq!(status(3).kind(), Kind::SymbolicLink);
    assert_eq!(found.end.results, 7);
    assert_eq!(found.end.truncated(), Truncation::Complete);

    let mut hidden = glob(at(&root), &["/*"]);
    hidden.selection.as_mut().unwrap().hidden = true;
    hidden.selection.as_mut().unwrap().excludes = names(&["a/", "*.x"]);
    let found = Host::new().glob(hidden).await.unwrap();
    let paths: Vec<&[u8]> = found.entries.iter().map(|entry| &entry.path[..]).collect();
    assert_eq!(paths, [&b".hidden"[..], b"a-b", strange.as_bytes()]);
}

#[tokio::test]
async fn lines_come_with_numbers_offsets_and_context_each_once() {
    let (_dir, root) = directory();
    fs::write(
        root.join("f"),
        "one\r\ntwo\nthree\nfour two\nfive\nsix\nno end two",
    )
    .unwrap();
    let mut request = grep(at(&root), "two");
    (request.before, request.after) = (1, 1);
    let found = Host::new().grep(request.clone()).await.unwrap();
    assert_eq!(
        shown(&found.lines),
        [
            "f:1-one\r",
            "f:2:two",
            "f:3-three",
            "f:4:four two",
            "f:5-five",
            "f:6-six",
            "f:7:no end two"
        ]
    );
    let fourth = &found.lines[3];
    assert_eq!(
        (fourth.offset, fourth.length, fourth.found),
        (15, 8, Some((5, 8)))
    );
    assert_eq!(
        (found.end.matches, found.end.files, found.end.files_with_matches),
        (3, 1, 1)
    );

    // The place may be the file.
    request.place = Some(at(root.join("f")));
    (request.before, request.after) = (0, 0);
    let found = Host::new().grep(request).await.unwrap();
    assert_eq!(shown(&found.lines), [":2:two", ":4:four two", ":7:no end two"]);
}

#[tokio::test]
async fn text_is_not_a_pattern_and_case_may_be_ignored() {
    let (_dir, root) = directory();
    fs::write(root.join("f"), "a.c\nabc\nA.C\n\u{c4}B\n\u{e4}b\n").unwrap();
    let lines = async |pattern: &str, fixed_strings, ignore_case| {
        let request = GrepRequest {
            fixed_strings,
            ignore_case,
            ..grep(at(&root), pattern)
        };
        let found = Host::new().grep(request).await.unwrap();
        found.lines.iter().map(|line| line.number).collect::<Vec<_>>()
    };
    assert_eq!(lines("a.c", false, false).await, [1, 2]);
    assert_eq!(lines("a.c", true, false).await, [1]);
    assert_eq!(lines("a.c", true, true).await, [1, 3]);
    assert_eq!(lines("\u{e4}B", false, true).await, [4, 5]);
    assert_eq!(lines("^$", false, false).await, [0; 0]);
    assert_eq!(lines(r"(?-u:\xc3)", false, false).await, [4, 5]);
}

#[tokio::test]
async fn no_link_is_followed_and_only_regular_files_are_opened() {
    let (_dir, outside) = directory();
    let root = outside.join("root");
    fs::create_dir_all(root.join("d")).unwrap();
    fs::write(outside.join("secret"), "word").unwrap();
    fs::write(root.join("d/file"), "word").unwrap();
    symlink("..", root.join("d/up")).unwrap();
    symlink("loop", root.join("d/loop")).unwrap();
    symlink("../../secret", root.join("d/out")).unwrap();
    symlink(&outside, root.join("d/absolute")).unwrap();
    symlink("/dev/zero", root.join("d/zero")).unwrap();
    // A plain open would wait for a writer; a read of the device would never end.
    mknodat(CWD, root.join("d/fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = UnixListener::bind(root.join("d/socket")).unwrap();
    if geteuid().is_root() {
        let _ = mknodat(
            CWD,
            root.join("d/device"),
            FileType::CharacterDevice,
            Mode::RWXU,
            makedev(1, 5),
        );
    }
    let host = Host::new();
    for place in [
        at(&root),
        below(&root, ""),
        below(&root, "d"),
        below(&outside, "root/d"),
    ] {
        let found = host.grep(grep(place.clone(), "word")).await.unwrap();
        assert_eq!(found.lines.len(), 1, "{place:?}");
        assert!(found.lines[0].path.ends_with(b"file"));
        assert_eq!(found.end.files, 1);
        assert_eq!(found.end.unsearched.unwrap().unreadable, 0);
        let found = host.glob(glob(place, &["secret", "file", "fifo"])).await.unwrap();
        assert_eq!(found.entries.len(), 2);
    }
    for (place, code, expected) in [
        (
            below(&root, "d/out"),
            Code::PermissionDenied,
            ErrorKind::OutsideRoot,
        ),
        (
            below(&root, "d/absolute"),
            Code::PermissionDenied,
            ErrorKind::OutsideRoot,
        ),
        (below(&root, ".."), Code::PermissionDenied, ErrorKind::OutsideRoot),
        (
            at(root.join("d/fifo")),
            Code::FailedPrecondition,
            ErrorKind::NotRegular,
        ),
        (
            at(root.join("d/zero")),
            Code::FailedPrecondition,
            ErrorKind::NotRegular,
        ),
        (at(root.join("none")), Code::NotFound, ErrorKind::NotFound),
        (at("relative"), Code::InvalidArgument, ErrorKind::InvalidPath),
    ] {
        let refused = host.grep(grep(place.clone(), "word")).await.unwrap_err();
        assert_eq!(kind(&refused), (code, expected), "{place:?}");
    }
    let refused = host.glob(glob(at(root.join("d/file")), &[])).await.unwrap_err();
    assert_eq!(
        kind(&refused),
        (Code::FailedPrecondition, ErrorKind::NotADirectory)
    );
}

#[tokio::test]
async fn a_directory_that_is_swapped_for_a_link_again_and_again_never_leads_a_search_out() {
    let (_dir, outside) = directory();
    let root = outside.join("root");
    for (directory, content) in [
        (outside.join("elsewhere"), "secret word"),
        (root.join("real"), "fine word"),
    ] {
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("file"), content).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let swaps = std::thread::spawn({
        let (root, stop) = (root.clone(), Arc::clone(&stop));
        move || {
            let (name, link) = (root.join("name"), root.join("link"));
            while !stop.load(Ordering::Relaxed) {
                let _ = fs::rename(root.join("real"), &name);
                symlink("../elsewhere", &link).unwrap();
                let _ = fs::rename(&name, root.join("real"));
                let _ = fs::rename(&link, &name);
                let _ = fs::remove_file(&name);
            }
        }
    });
    let host = Host::new();
    for _ in 0..1_000 {
        let found = host.grep(grep(below(&root, ""), "word")).await.unwrap();
        for line in &found.lines {
            assert_eq!(&line.text[..], b"fine word", "{line:?}");
        }
        assert_eq!(found.end.truncated(), Truncation::Complete);
    }
    stop.store(true, Ordering::Relaxed);
    swaps.join().unwrap();
}

#[tokio::test]
async fn a_binary_file_is_not_searched_and_one_with_a_nul_far_behind_up_to_it() {
    let (_dir, root) = directory();
    let far = [&"x\n".repeat(100_000), "word\n\0 word\n"].concat();
    for (name, content) in [
        ("at-once", &b"\0word\nword\n"[..]),
        ("behind", b"word\nmore word\0 and word\nword\n"),
        ("far", far.as_bytes()),
        ("utf-16", b"\xff\xfew\0o\0r\0d\0"),
        ("with-bom", b"\xef\xbb\xbfword\n"),
    ] {
        fs::write(root.join(name), content).unwrap();
    }
    let found = Host::new().grep(grep(at(&root), "word")).await.unwrap();
    let lines: Vec<(&[u8], u64)> = found
        .lines
        .iter()
        .map(|line| (&line.path[..], line.number))
        .collect();
    let expected = [(&b"far"[..], 100_001), (b"with-bom", 1)];
    assert_eq!(lines, expected);
    assert_eq!((found.end.files, found.end.binary), (5, 4));
    // Offsets are those of the file.
    let last = found.lines.last().unwrap();
    assert_eq!((last.offset, last.found), (0, Some((3, 7))));
}

#[tokio::test]
async fn a_long_line_is_cut_about_its_match_and_one_beyond_the_buffer_ends_its_file() {
    let (_dir, root) = directory();
    let megabyte = "m".repeat(1 << 20);
    fs::write(root.join("a"), format!("{megabyte}word{megabyte}\nword\n")).unwrap();
    let huge = "h".repeat(64 << 20);
    fs::write(root.join("b"), format!("word\n{huge}word\nword\n")).unwrap();
    let exact = "e".repeat(LINE_TEXT_MAX - 4);
    fs::write(
        root.join("c"),
        format!("{exact}word\n{exact}.word\nword{exact}{exact}"),
    )
    .unwrap();
    let found = Host::new().grep(grep(at(&root), "word")).await.unwrap();
    let lines: Vec<_> = found
        .lines
        .iter()
        .map(|line| (line.path[0], line.number, line.text_offset, line.text.len()))
        .collect();
    let cut = (1 << 20) - LINE_TEXT_MAX as u64 / 4;
    let exact = LINE_TEXT_MAX as u64;
    assert_eq!(
        lines,
        [
            (b'a', 1, cut, LINE_TEXT_MAX),
            (b'a', 2, 0, 4),
            (b'b', 1, 0, 4),
            (b'c', 1, 0, LINE_TEXT_MAX),
            (b'c', 2, exact - 3 - exact / 4, LINE_TEXT_MAX / 4 + 4),
            (b'c', 3, 0, LINE_TEXT_MAX),
        ]
    );
    assert_eq!(found.lines[0].length, 2 * (1 << 20) + 4);
    assert_eq!((found.end.files, found.end.long_lines), (3, 1));
    assert_eq!(found.end.truncated(), Truncation::Complete);
}

#[tokio::test]
async fn an_answer_says_whether_it_is_all() {
    let (_dir, root) = directory();
    for name in ["a", "b", "c"] {
        fs::write(root.join(name), "x\nword\nx\nword\nword\n").unwrap();
    }
    let host = Host::new();
    for (max_results, results, truncated) in [
        (2, 2, Truncation::Results),
        (3, 3, Truncation::Complete),
        (u32::MAX, 3, Truncation::Complete),
    ] {
        let request = GlobRequest {
            max_results,
            ..glob(at(&root), &[])
        };
        let found = host.glob(request).await.unwrap();
        assert_eq!((found.entries.len(), found.end.truncated()), (results, truncated));
    }
    for (max_per_file, max_matches, matches, cut, truncated) in [
        (0, 9, 9, 0, Truncation::Complete),
        (0, 8, 8, 0, Truncation::Results),
        (2, 0, 6, 3, Truncation::Complete),
        (2, 6, 6, 3, Truncation::Complete),
        (2, 5, 5, 2, Truncation::Results),
        (3, 0, 9, 0, Truncation::Complete),
    ] {
        let request = GrepRequest {
            max_per_file,
            max_matches,
            before: 1,
            after: 1,
            ..grep(at(&root), "word")
        };
        let end = host.grep(request).await.unwrap().end;
        let said = (end.matches, end.cut, end.truncated());
        assert_eq!(said, (matches, cut, truncated), "{max_per_file} {max_matches}");
    }
    let request = GrepRequest {
        max_per_file: 1,
        before: 2,
        ..grep(at(root.join("a")), "word")
    };
    // Not the line before the match that is left out.
    assert_eq!(
        shown(&host.grep(request).await.unwrap().lines),
        [":1-x", ":2:word"]
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_counted() {
    let (_dir, root) = directory();
    fs::create_dir(root.join("d")).unwrap();
    fs::write(root.join("f"), "word").unwrap();
    fs::write(root.join("g"), "word").unwrap();
    // As a file of a process's memory: it opens, and no read of it succeeds.
    let found = Host::new()
        .grep(grep(at("/proc/self/mem"), "word"))
        .await
        .unwrap();
    assert_eq!(found.end.unsearched.unwrap().unreadable, 1);
    if geteuid().is_root() {
        return println!("partly checked: root may read everything");
    }
    fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(root.join("f"), fs::Permissions::from_mode(0o000)).unwrap();
    let found = Host::new().grep(grep(at(&root), "word")).await.unwrap();
    assert_eq!(
        (found.end.matches, found.end.unsearched.unwrap().unreadable),
        (1, 2)
    );
}

#[tokio::test]
async fn a_directory_of_too_many_names_ends_a_search_that_says_so() {
    let (_dir, root) = directory();
    let count = (16 << 20) / (NAME_MAX + 64) + 1;
    for number in 0..count {
        let path = root.join(format!("{number:0>255}"));
        mknodat(CWD, path, FileType::RegularFile, Mode::RUSR, 0).unwrap();
    }
    let found = Host::new().glob(glob(at(&root), &[])).await.unwrap();
    assert_eq!(found.end.truncated(), Truncation::Entries);
    fs::remove_file(root.join(format!("{:0>255}", 0))).unwrap();
    let found = Host::new().glob(glob(at(&root), &[])).await.unwrap();
    assert_eq!(
        (found.end.truncated(), found.entries.len()),
        (Truncation::Complete, count - 1)
    );
    assert!(found.pages >= count / SEARCH_PAGE_MAX);
}

#[tokio::test]
async fn a_tree_deeper_than_a_path_is_searched_as_deep_as_a_path_leads() {
    let (_dir, root) = directory();
    let name = "n".repeat(200);
    let mut directory = rustix::fs::open(&root, rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..30 {
        rustix::fs::mkdirat(&directory, &name, Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::PATH;
        directory = rustix::fs::openat(&directory, &name, flags, Mode::empty()).unwrap();
    }
    let found = Host::new().glob(glob(at(&root), &[])).await.unwrap();
    // 20 × 201 − 1 bytes fit into a path.
    assert_eq!(found.end.results, 20);
    assert!(found.end.unsearched.unwrap().unreadable > 0);
}

#[tokio::test]
async fn what_is_no_search_is_a_typed_error_that_repeats_nothing_of_it() {
    let (_dir, root) = directory();
    let many = vec!["a"; GLOBS_MAX + 1];
    let long = "secret".repeat(PATTERN_MAX);
    for request in [
        grep(at(&root), ""),
        grep(at(&root), &long),
        grep(at(&root), "(secret"),
        grep(at(&root), "secret\n"),
        grep(at(&root), r"secret\w{500}{500}"),
        GrepRequest {
            before: CONTEXT_LINES_MAX + 1,
            ..grep(at(&root), "a")
        },
        GrepRequest {
            selection: glob(at(&root), &["[secret"]).selection,
            ..grep(at(&root), "a")
        },
        GrepRequest {
            selection: glob(at(&root), &many).selection,
            ..grep(at(&root), "a")
        },
    ] {
        let refused = Host::new().grep(request).await.unwrap_err();
        let expected = (Code::InvalidArgument, ErrorKind::InvalidSearch);
        assert_eq!(kind(&refused), expected, "{refused:?}");
        assert!(!refused.message().contains("secret"), "{refused:?}");
    }
    for globs in [&["{secret"][..], &[""], &many] {
        let refused = Host::new().glob(glob(at(&root), globs)).await.unwrap_err();
        assert_eq!(kind(&refused), (Code::InvalidArgument, ErrorKind::InvalidSearch));
    }
}

/// Six searches of one key run at once, and a search whose answer is dropped leaves its slot at once, also while it finds
/// nothing.
#[tokio::test]
async fn a_key_has_a_share_of_the_searches_and_a_cancelled_one_ends() {
    let (_dir, root) = directory();
    let lines = "word\n".repeat(300_000);
    fs::write(root.join("f"), &lines).unwrap();
    let host = Host::new();
    let mut open = Vec::new();
    for _ in 0..6 {
        let request = host.request(grep(at(&root), "word"));
        let mut answer = host.service.grep(request).await.unwrap().into_inner();
        answer.next().await.unwrap().unwrap();
        open.push(answer);
    }
    let mut other = host.grep_stream(grep(at(&root), "word"));
    assert!(
        timeout(Duration::from_millis(200), &mut other).await.is_err(),
        "a seventh search began"
    );
    drop(open.pop());
    let other = timeout(Duration::from_secs(60), other).await.unwrap();
    assert!(other.is_ok(), "refused");
}

#[tokio::test]
async fn a_client_with_a_command_or_a_user_and_one_without_a_key_is_refused() {
    let (_dir, root) = directory();
    for options in ["command=\"true\"", "user=\"nobody\""] {
        let host = Host::with(host::allow_with(&root, options));
        for refused in [
            host.grep(grep(at(&root), "word")).await.map(drop).unwrap_err(),
            host.glob(glob(at(&root), &[])).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(
                kind(&refused),
                (Code::PermissionDenied, ErrorKind::Restricted),
                "{options}"
            );
        }
    }
    let host = Host::without_peer();
    let refused = host.grep(grep(at(&root), "word")).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = host.glob(glob(at(&root), &[])).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}
