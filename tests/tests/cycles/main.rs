//! The modules of a crate form no cycles.
//!
//! The nodes are the direct child modules of a crate's root. An edge is a path in the code of one child that names
//! another: `crate::other::Thing`, `super::other::Thing`, a name that the root re-exports from `other`, or a macro that
//! `other` exports. Paths between the root and a child, test code (`#[cfg(test)]`, `feature = "fuzz"`) and folders
//! other than `src` are no edges.
//!
//! The sources are parsed into Rust tokens: a path in a comment, a documentation link or a string is no edge.

mod graph;
mod modules;

use std::path::{Path, PathBuf};
use std::process::Command;

use baton_support::sources::rust_files;
use graph::Graph;
use modules::Sources;

/// A library or binary of the workspace.
struct Target {
    package: String,
    workspace: PathBuf,
    /// The source file of the crate root.
    root: PathBuf,
}

fn targets() -> Vec<Target> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let mut targets = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        for target in package["targets"].as_array().expect("targets") {
            let kinds = target["kind"].as_array().expect("kinds");
            if kinds.iter().any(|kind| kind == "lib" || kind == "bin") {
                targets.push(Target {
                    package: text(&package["name"]),
                    workspace: text(&metadata["workspace_root"]).into(),
                    root: text(&target["src_path"]).into(),
                });
            }
        }
    }
    targets
}

fn graph(target: &Target) -> Graph {
    // Messages show paths relative to the workspace.
    let relative = |path: &Path| path.strip_prefix(&target.workspace).unwrap().to_path_buf();
    let mut sources = Sources::new();
    for path in rust_files(target.root.parent().unwrap()) {
        sources.insert(relative(&path), std::fs::read_to_string(&path).unwrap());
    }
    modules::read(&sources, &relative(&target.root))
        .unwrap_or_else(|problem| panic!("{}: {problem}", target.package))
}

#[test]
fn the_modules_of_no_crate_form_a_cycle() {
    let mut found = String::new();
    for target in targets() {
        for cycle in graph(&target).cycles() {
            found += &format!("{}: {cycle}\n", target.package);
        }
    }
    assert!(found.is_empty(), "modules form cycles:\n{found}");
}

/// The cycles of a crate with these files, as they are printed.
fn cycles_of(files: &[(&str, &str)]) -> Vec<String> {
    let sources = files
        .iter()
        .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
        .collect();
    let graph = modules::read(&sources, Path::new("lib.rs")).unwrap();
    graph.cycles().iter().map(ToString::to_string).collect()
}

#[track_caller]
fn assert_edge(root: &str, a: &str) {
    let files = [("lib.rs", root), ("a.rs", a), ("b.rs", "use crate::a;")];
    assert_eq!(cycles_of(&files).len(), 1, "{root} {a}");
}

#[track_caller]
fn assert_no_edge(root: &str, a: &str) {
    let files = [("lib.rs", root), ("a.rs", a), ("b.rs", "use crate::a;")];
    assert_eq!(cycles_of(&files), [""; 0], "{root} {a}");
}

#[test]
fn a_cycle_is_shown_with_the_line_of_each_edge() {
    let cycles = cycles_of(&[
        ("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;\n"),
        ("a.rs", "//! A.\n\nuse crate::b::B;\n"),
        ("b/mod.rs", "mod inner;\n"),
        (
            "b/inner.rs",
            "fn f() {\n    let c = vec![super::super::c::C];\n}\n",
        ),
        ("c.rs", "use std::fmt;\nuse super::{\n    a::A,\n    d,\n};\n"),
        ("d.rs", "use std::fmt;\n"),
    ]);
    assert_eq!(
        cycles,
        ["a, b, c; the shortest cycle:\n  \
          a names b: a.rs:3: crate::b::B\n  \
          b names c: b/inner.rs:2: crate::c::C\n  \
          c names a: c.rs:3: crate::a::A"]
    );
}

#[test]
fn two_separate_cycles_are_both_shown() {
    let cycles = cycles_of(&[
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b;"),
        ("b.rs", "use crate::{a, c};"),
        ("c.rs", "use crate::d;"),
        ("d.rs", "use crate::c;"),
    ]);
    assert_eq!(cycles.len(), 2, "{cycles:#?}");
}

#[test]
fn every_form_of_path_to_a_module_is_an_edge() {
    let root = "mod a; mod b;";
    assert_edge(root, "use crate::b;");
    assert_edge(root, "use super::b::B as C;");
    assert_edge(root, "use crate::{b::*, std};");
    assert_edge(root, "use crate::{x::{y, z}, b::{self, B}};");
    assert_edge(root, "fn f(x: &crate::b::B) {}");
    assert_edge(root, "pub use self::super::b::B;");
    assert_edge(root, "mod inner { use super::super::b; }");
    assert_edge(root, "macro_rules! m { () => { $crate::b::f() } }");
    assert_edge(root, "#[derive(Debug)] struct A { b: crate::b::B }");
    assert_edge("mod a { use crate::b; } mod b;", "");
}

#[test]
fn a_name_that_the_root_re_exports_is_an_edge_to_its_module() {
    assert_edge("mod a; mod b; pub use b::B;", "use crate::B;");
    assert_edge("mod a; mod b; pub use b::B;", "use crate::{x, B as C};");
    assert_edge("mod a; mod b; pub use crate::b::{C, B};", "use super::B;");
    assert_edge("mod a; mod b; use self::b::B as C;", "use crate::C;");
    assert_edge("mod a; mod b; pub use b::x as y;", "use crate::y::z;");
    assert_no_edge("mod a; mod b; pub use std::B;", "use crate::B;");
    assert_no_edge("mod a; mod b; pub use b::B as C;", "use crate::B;");
}

#[test]
fn a_macro_is_an_edge_to_the_module_that_defines_it() {
    let defines = "macro_rules! out { () => {} }";
    let textual = format!("#[macro_use] mod b {{ use crate::a; {defines} }} mod a;");
    assert_edge(&textual, "fn f() { out!(); }");
    assert_no_edge(&textual, "fn f() { println!(\"{}\", out); }");
    let exported = format!("mod b {{ use crate::a; #[macro_export] {defines} }} mod a;");
    assert_edge(&exported, "use crate::out;");
}

#[test]
fn a_module_and_its_root_or_its_children_form_no_cycle() {
    let cycles = cycles_of(&[
        ("lib.rs", "mod a; fn f() { a::g(); } struct Root;"),
        ("a.rs", "mod inner; use inner::X; use crate::Root;"),
        ("a/inner.rs", "use super::Y; use crate::a::Z;"),
    ]);
    assert_eq!(cycles, [""; 0]);
}

#[test]
fn test_code_is_no_edge() {
    let root = "mod a; mod b;";
    assert_no_edge(root, "#[cfg(test)] mod tests { use crate::b; }");
    assert_no_edge(root, "#[cfg(test)] mod tests;");
    assert_no_edge(root, "#[cfg(test)] use crate::{b, c}; struct A;");
    assert_no_edge(root, "#[cfg(test)] fn f() -> crate::b::B { B } ");
    assert_no_edge(root, "#[cfg(all(unix, test))] use crate::b;");
    assert_no_edge(root, "#[cfg(any(test, feature = \"fuzz\"))] use crate::b;");
    assert_no_edge(root, "struct A { #[cfg(test)] b: crate::b::B, c: u8 }");
    assert_no_edge(root, "#![cfg(test)] use crate::b;");
    assert_no_edge("mod a; #[cfg(test)] mod b;", "use crate::b;");
}

#[test]
fn code_beside_test_code_is_an_edge() {
    let root = "mod a; mod b;";
    assert_edge(root, "#[cfg(test)] use std::fmt; use crate::b;");
    assert_edge(root, "#[cfg(test)] mod tests { } use crate::b;");
    assert_edge(root, "#[cfg(not(test))] use crate::b;");
    assert_edge(root, "#[cfg(any(test, unix))] use crate::b;");
    assert_edge(root, "#[cfg(test)] #[derive(Debug)] struct X; use crate::b;");
    assert_edge(root, "#[cfg(test)] const X: A = A { }; use crate::b;");
    assert_edge(root, "#[cfg(test)] pub(crate) async fn f() {} use crate::b;");
}

#[test]
fn a_comment_a_string_and_another_crate_are_no_edges() {
    let root = "mod a; mod b;";
    assert_no_edge(root, "// use crate::b;\n/// [B](crate::b::B)\nstruct A;");
    assert_no_edge(root, "const A: &str = \"crate::b\";");
    assert_no_edge(root, "use other::b; use ::b::c; use std::{b, c};");
    assert_no_edge(root, "pub(crate) struct A; pub(super) struct B;");
}

/// A name from a glob cannot be resolved without a compiler.
#[test]
fn a_glob_of_the_root_is_refused() {
    for (root, a) in [
        ("mod a; mod b;", "use crate::*;"),
        ("mod a; mod b;", "use super::{b, *};"),
        ("mod a; mod b; pub use b::*;", ""),
    ] {
        let files = [("lib.rs", root), ("a.rs", a), ("b.rs", "")];
        let sources = files
            .iter()
            .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
            .collect();
        let result = modules::read(&sources, Path::new("lib.rs"));
        assert!(result.is_err_and(|problem| problem.contains("write the names out")));
    }
}
