//! The guide quotes the example, so that its code compiles and runs, and its tree is that of the example's trace.

use std::fs;
use std::path::Path;

use opentelemetry_proto::tonic::trace::v1::Span;

use crate::spans::{Spans, is_named};

/// Without indentation, which differs between a page and an `impl`.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

#[test]
fn the_guide_quotes_the_example() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(crate_folder.join(path)).expect(path);
    let (page, example) = (read("../docs/guide/agent.md"), read("examples/agent/agent.rs"));
    let example = lines(&example);
    let quotes = page.split("```rust\n").skip(1);
    let quotes: Vec<_> = quotes.filter_map(|rest| rest.split("```").next()).collect();
    assert!(quotes.len() >= 2);
    for quote in &quotes {
        let quoted = lines(quote);
        assert!(
            example.windows(quoted.len()).any(|window| window == quoted),
            "examples/agent/agent.rs does not have these lines:\n{quote}"
        );
    }
}

/// A span's name with those of its children.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tree {
    name: String,
    children: Vec<Tree>,
}

impl Tree {
    /// The spans below `top`. A call's own stages are left out, as are those of a request after the first.
    fn of(spans: &Spans, top: &Span, is_first: &mut bool) -> Self {
        let has_children = !is_named(top, "call") && (top.name != "request" || std::mem::take(is_first));
        let children = match has_children {
            true => spans.all_children(top),
            false => Vec::new(),
        };
        Self {
            name: top.name.clone(),
            children: children
                .into_iter()
                .map(|child| Self::of(spans, child, is_first))
                .collect(),
        }
    }

    /// Siblings that start at the same time have no order.
    fn sort(mut trees: Vec<Self>) -> Vec<Self> {
        for tree in &mut trees {
            tree.children = Self::sort(std::mem::take(&mut tree.children));
        }
        trees.sort();
        trees
    }

    /// Reads the lines of a drawing whose levels are four columns wide.
    fn read<'a>(
        lines: &mut std::iter::Peekable<impl Iterator<Item = (usize, &'a str)>>,
        level: usize,
    ) -> Vec<Self> {
        let mut trees = Vec::new();
        while let Some((_, name)) = lines.next_if(|(at, _)| *at == level) {
            trees.push(Self {
                name: name.to_owned(),
                children: Self::read(lines, level + 1),
            });
        }
        trees
    }
}

/// The tree of the guide is that of a trace.
pub(crate) fn assert_tree(spans: &Spans) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/agent.md");
    let page = fs::read_to_string(page).expect("the guide");
    let drawn = page
        .split("```text\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let drawn = drawn.expect("a drawing").lines().map(|line| {
        let columns = line.chars().take_while(|char| "│├└─ ".contains(*char)).count();
        let name = line.trim_start_matches(|char| "│├└─ ".contains(char));
        (columns / 4, name.split(' ').next().expect("a name"))
    });
    let drawn = Tree::read(&mut drawn.peekable(), 0);
    let mut is_first = true;
    let roots = spans.roots().into_iter();
    let traced = roots.map(|root| Tree::of(spans, root, &mut is_first)).collect();
    assert_eq!(Tree::sort(drawn), Tree::sort(traced));
}
