//! Checks that the links of the documents, to each other and into the sources, point to existing files.

use std::path::{Path, PathBuf};

/// Collects the Markdown files of the repository, without build output.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            documents(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The link targets of a page, without links to other sites and without anchors.
fn targets(page: &str) -> impl Iterator<Item = &str> {
    page.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or_default())
        .filter(|path| !path.is_empty() && !path.contains("://"))
}

#[test]
fn every_link_of_a_document_points_to_a_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = Vec::new();
    documents(&root, &mut pages);
    let mut count = 0;
    let mut broken = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        let folder = page.parent().unwrap();
        for path in targets(&text) {
            count += 1;
            if !folder.join(path).exists() {
                broken.push(format!("{}: {path}", page.display()));
            }
        }
    }
    assert!(count > 100, "{count} links were read");
    assert!(
        broken.is_empty(),
        "these links point to no file:\n{}",
        broken.join("\n")
    );
}

#[test]
fn links_to_other_sites_and_within_a_page_are_no_files() {
    let page =
        "[a](one.md), [b](two.md#part), [c](#here), [d](https://example.org/x.md) and [e](../three.rs)";
    assert_eq!(
        targets(page).collect::<Vec<_>>(),
        ["one.md", "two.md", "../three.rs"]
    );
}
