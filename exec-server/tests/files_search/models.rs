//! `Glob` and `Grep` over random trees find what naive models of them find, and with .gitignore files what git finds.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::host::{Host, at, below, directory, names};
use baton_proto::files::{GlobRequest, GrepRequest, Selection};

/// SplitMix64: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % bound as u64) as usize
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn text(&mut self, parts: &[&str], longest: usize) -> String {
        (0..self.below(longest + 1)).map(|_| self.of(parts)).collect()
    }

    fn is(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

const NAMES: [&str; 8] = ["a", "b", "ab", "a.c", ".h", "b.c", "aa", "c"];

/// A random tree. `content` is that of each file.
fn grow(random: &mut Random, directory: &Path, depth: usize, content: &dyn Fn(&mut Random) -> Vec<u8>) {
    for name in NAMES {
        let path = directory.join(name);
        match random.below(4) {
            0 if depth > 0 => {
                fs::create_dir(&path).unwrap();
                grow(random, &path, depth - 1, content);
            }
            1 | 2 => fs::write(&path, content(random)).unwrap(),
            _ => {}
        }
    }
}

/// The paths below a directory in order, with whether each is a directory, as the model walks.
fn walk(directory: &Path, below: &str, enter: &dyn Fn(&str, bool) -> bool, found: &mut Vec<(String, bool)>) {
    let mut entries: Vec<String> = fs::read_dir(directory.join(below))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    entries.sort();
    for name in entries {
        let path = match below {
            "" => name,
            below => format!("{below}/{name}"),
        };
        let is_directory = directory.join(&path).is_dir();
        if !enter(&path, is_directory) {
            continue;
        }
        found.push((path.clone(), is_directory));
        if is_directory {
            walk(directory, &path, enter, found);
        }
    }
}

/// Whether a glob of `*`, `?`, letters and whole components `**` matches.
fn matches(glob: &str, path: &str, is_directory: bool) -> bool {
    let (glob, only_directories) = match glob.strip_suffix('/') {
        Some(glob) => (glob, true),
        None => (glob, false),
    };
    if only_directories && !is_directory {
        return false;
    }
    let anchored = glob.strip_prefix('/').unwrap_or(glob);
    let path: Vec<&str> = path.split('/').collect();
    match glob.contains('/') {
        true => components(&anchored.split('/').collect::<Vec<_>>(), &path),
        false => name(anchored.as_bytes(), path.last().unwrap().as_bytes()),
    }
}

fn components(glob: &[&str], path: &[&str]) -> bool {
    match (glob, path) {
        ([], []) => true,
        (["**"], path) => !path.is_empty(),
        (["**", rest @ ..], path) => (0..=path.len()).any(|skipped| components(rest, &path[skipped..])),
        ([first, rest @ ..], [part, parts @ ..]) => {
            name(first.as_bytes(), part.as_bytes()) && components(rest, parts)
        }
        _ => false,
    }
}

fn name(glob: &[u8], text: &[u8]) -> bool {
    match (glob, text) {
        ([], []) => true,
        ([b'*', rest @ ..], text) => (0..=text.len()).any(|skipped| name(rest, &text[skipped..])),
        ([b'?', rest @ ..], [_, text @ ..]) => name(rest, text),
        ([letter, rest @ ..], [first, text @ ..]) => letter == first && name(rest, text),
        _ => false,
    }
}

fn random_globs(random: &mut Random, most: usize) -> Vec<String> {
    let count = random.below(most + 1);
    let component = |random: &mut Random| match random.is(4) {
        true => "**".to_owned(),
        false => random
            .of(&["*", "?", "a", "b", "*.c", "a*", "?b", "ab", ".h", "*b*"])
            .to_owned(),
    };
    let glob = |random: &mut Random| {
        let parts: Vec<String> = (0..1 + random.below(3)).map(|_| component(random)).collect();
        let (before, after) = (random.is(4), random.is(5) && parts.last().unwrap() != "**");
        format!(
            "{}{}{}",
            if before { "/" } else { "" },
            parts.join("/"),
            if after { "/" } else { "" }
        )
    };
    (0..count)
        .map(|_| glob(random))
        // Two `**` after one another mean one to some, and nothing of their own to others.
        .filter(|glob| !glob.contains("**/**"))
        .collect()
}

#[tokio::test]
async fn a_glob_finds_what_a_naive_model_finds() {
    let host = Host::new();
    let mut results = 0;
    for seed in 0..60 {
        let mut random = Random(seed);
        let (_dir, root) = directory();
        grow(&mut random, &root, 3, &|_| Vec::new());
        for _ in 0..5 {
            let globs = random_globs(&mut random, 3);
            let excludes = random_globs(&mut random, 1);
            let hidden = random.is(2);
            let enter = |path: &str, is_directory: bool| {
                let is_hidden = path.rsplit('/').next().unwrap().starts_with('.');
                (hidden || !is_hidden) && !excludes.iter().any(|glob| matches(glob, path, is_directory))
            };
            let mut expected = Vec::new();
            walk(&root, "", &enter, &mut expected);
            expected.retain(|(path, is_directory)| {
                globs.is_empty() || globs.iter().any(|glob| matches(glob, path, *is_directory))
            });
            let request = GlobRequest {
                place: Some(below(&root, "")),
                selection: Some(Selection {
                    globs: globs.clone(),
                    excludes: excludes.clone(),
                    hidden,
                    gitignore: false,
                }),
                max_results: 0,
            };
            let found = host.glob(request).await.unwrap();
            let found: Vec<&[u8]> = found.entries.iter().map(|entry| &entry.path[..]).collect();
            let expected: Vec<&[u8]> = expected.iter().map(|(path, _)| path.as_bytes()).collect();
            assert_eq!(found, expected, "seed {seed}: {globs:?} without {excludes:?}");
            results += found.len();
        }
    }
    assert!(results > 1_000, "only {results}");
}

/// Whether a line has the text. `patterns` below are texts, so that the model needs no regular expression.
fn find(line: &[u8], text: &[u8]) -> Option<(u64, u64)> {
    let at = line.windows(text.len()).position(|window| window == text)?;
    Some((at as u64, (at + text.len()) as u64))
}

/// Numbers, offsets and first matches of the lines that `Grep` gives for one file.
type ModelLine = (u64, u64, Vec<u8>, Option<(u64, u64)>);

fn grep_file(content: &[u8], text: &[u8], before: usize, after: usize, max: usize) -> Vec<ModelLine> {
    let end = match content.iter().position(|byte| *byte == 0) {
        Some(..65_536) => 0,
        Some(end) => end,
        None => content.len(),
    };
    let mut lines: Vec<&[u8]> = content[..end].split(|byte| *byte == b'\n').collect();
    if lines.last() == Some(&&b""[..]) {
        lines.pop();
    }
    let all: Vec<usize> = (0..lines.len())
        .filter(|index| find(lines[*index], text).is_some())
        .collect();
    let given = &all[..all.len().min(max)];
    // The file is left at the first match that is not given.
    let stop = all.get(given.len()).copied().unwrap_or(lines.len());
    let shown: BTreeSet<usize> = given
        .iter()
        .flat_map(|index| index.saturating_sub(before)..=(index + after).min(lines.len() - 1))
        .filter(|index| *index < stop)
        .collect();
    shown
        .into_iter()
        .map(|index| {
            let offset = lines[..index].iter().map(|line| line.len() as u64 + 1).sum();
            (
                index as u64 + 1,
                offset,
                lines[index].to_vec(),
                find(lines[index], text),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_grep_finds_what_a_naive_model_finds() {
    let host = Host::new();
    let (mut results, mut binary_files) = (0, 0);
    let content = |random: &mut Random| {
        let mut text = random
            .text(&["ab", "a", "b", "\n", "\n\n", "x", "\u{e4}"], 30)
            .into_bytes();
        if random.is(6) {
            text.push(0);
            text.extend_from_slice(random.text(&["ab", "\n"], 6).as_bytes());
        }
        if random.is(10) {
            // More than the searcher's buffer at first.
            let at = random.below(text.len() + 1);
            text.splice(at..at, "yy\n".repeat(30_000).into_bytes());
        }
        text
    };
    for seed in 0..40 {
        let mut random = Random(seed);
        let (_dir, root) = directory();
        grow(&mut random, &root, 2, &content);
        for _ in 0..3 {
            let text = random.of(&["a", "ab", "ba", "bb", "\u{e4}", "aab"]);
            let (before, after) = (random.below(3), random.below(3));
            let max = random.below(4);
            let mut paths = Vec::new();
            walk(&root, "", &|_, _| true, &mut paths);
            let (mut expected, mut files, mut binary) = (Vec::new(), 0, 0);
            for (path, _) in paths.iter().filter(|(_, is_directory)| !is_directory) {
                let content = fs::read(root.join(path)).unwrap();
                let limit = if max == 0 { usize::MAX } else { max };
                for line in grep_file(&content, text.as_bytes(), before, after, limit) {
                    expected.push((path.clone(), line));
                }
                files += 1;
                binary += u64::from(content.contains(&0));
            }
            let request = GrepRequest {
                place: Some(at(&root)),
                selection: Some(Selection {
                    hidden: true,
                    ..Selection::default()
                }),
                pattern: text.to_owned(),
                before: before as u32,
                after: after as u32,
                max_per_file: max as u32,
                ..GrepRequest::default()
            };
            let found = host.grep(request).await.unwrap();
            let lines: Vec<(String, ModelLine)> = found
                .lines
                .iter()
                .map(|line| {
                    let path = String::from_utf8(line.path.to_vec()).unwrap();
                    (path, (line.number, line.offset, line.text.to_vec(), line.found))
                })
                .collect();
            assert_eq!(lines, expected, "seed {seed}: {text:?} {before} {after} {max}");
            assert_eq!(found.end.files, files);
            // A file that is left early may have a NUL that was not read.
            assert!(found.end.binary <= binary && (max > 0 || found.end.binary == binary));
            binary_files += found.end.binary;
            results += lines.len();
        }
    }
    assert!(results > 1_000 && binary_files > 100, "{results} {binary_files}");
}

fn git(root: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["-c", "core.excludesFile=/dev/null"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[tokio::test]
async fn with_gitignore_files_a_search_finds_what_git_lists() {
    let host = Host::new();
    let (mut listed, mut left_out) = (0, 0);
    for seed in 0..40 {
        let mut random = Random(seed);
        let (_dir, root) = directory();
        git(&root, &["init", "-q"]);
        grow(&mut random, &root, 3, &|_| Vec::new());
        let mut paths = vec![(String::new(), true)];
        walk(&root, "", &|path, _| !path.starts_with(".git"), &mut paths);
        for (path, _) in paths.iter().filter(|(_, is_directory)| *is_directory) {
            if random.is(3) {
                let lines = [
                    "*.c", "!b.c", "/a", "ab/", "a/b", "**/aa", "a/**", "c", "!c", "# a", "!/a/", "?b",
                ];
                let text: String = (0..1 + random.below(3))
                    .map(|_| format!("{}\n", random.of(&lines)))
                    .collect();
                fs::write(root.join(path).join(".gitignore"), text).unwrap();
            }
        }
        let output = git(&root, &["ls-files", "-z", "--others", "--exclude-standard"]);
        let expected: BTreeSet<&[u8]> = output
            .split(|byte| *byte == 0)
            .filter(|path| !path.is_empty())
            .collect();
        let request = |place, gitignore| GlobRequest {
            place: Some(place),
            selection: Some(Selection {
                excludes: names(&["/.git"]),
                hidden: true,
                gitignore,
                ..Selection::default()
            }),
            max_results: 0,
        };
        let files = async |request| {
            let found = host.glob(request).await.unwrap().entries;
            let is_file = |path: &[u8]| root.join(std::str::from_utf8(path).unwrap()).is_file();
            let paths = found.into_iter().map(|entry| entry.path.to_vec());
            paths.filter(|path| is_file(path)).collect::<BTreeSet<Vec<u8>>>()
        };
        let found = files(request(below(&root, ""), true)).await;
        assert_eq!(
            found.iter().map(|path| &path[..]).collect::<BTreeSet<_>>(),
            expected,
            "seed {seed}"
        );
        listed += found.len();
        left_out += files(request(at(&root), false)).await.len() - found.len();
    }
    assert!(listed > 200 && left_out > 200, "{listed} {left_out}");
}

/// The files above a place count if its root is above them.
#[tokio::test]
async fn gitignore_files_between_a_root_and_a_place_are_heeded() {
    let (_dir, root) = directory();
    fs::create_dir_all(root.join("src/x")).unwrap();
    for file in ["src/x/a.o", "src/x/b.o", "src/x/c", "src/x/d"] {
        fs::write(root.join(file), "word").unwrap();
    }
    fs::write(root.join(".gitignore"), "*.o\n/src/x/c\n").unwrap();
    fs::write(root.join("src/.gitignore"), "!b.o\n").unwrap();
    let host = Host::new();
    for (place, expected) in [
        (below(&root, "src/x"), &["b.o", "d"][..]),
        (below(&root, "./src//x/."), &["b.o", "d"]),
        (below(root.join("src"), "x"), &["a.o", "b.o", "c", "d"]),
        (at(root.join("src/x")), &["a.o", "b.o", "c", "d"]),
    ] {
        let request = GrepRequest {
            place: Some(place.clone()),
            selection: Some(Selection {
                gitignore: true,
                ..Selection::default()
            }),
            pattern: "word".into(),
            ..GrepRequest::default()
        };
        let found = host.grep(request).await.unwrap();
        let paths: Vec<&[u8]> = found.lines.iter().map(|line| &line.path[..]).collect();
        let expected: Vec<&[u8]> = expected.iter().map(|path| path.as_bytes()).collect();
        assert_eq!(paths, expected, "{place:?}");
    }
}
