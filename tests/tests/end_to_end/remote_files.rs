//! Files of the exec-server's machine, by the real programs through a relay.

use std::fs;
use std::os::unix::fs::symlink;

use baton_core_client::{
    FileKind, FilePart, FilePlace, FilesError, FilesFailure, WriteCondition, WriteOptions,
};

use crate::support::Testbed;

#[test]
fn a_tree_is_listed_and_its_files_are_read_through_a_relay() {
    let testbed = Testbed::new();
    let root = testbed.home.file("tree");
    fs::create_dir_all(root.join("deep")).unwrap();
    // More than one window.
    let content: Vec<u8> = (0..5 << 20).map(|at: u32| (at % 251) as u8).collect();
    fs::write(root.join("large"), &content).unwrap();
    symlink("/etc/passwd", root.join("out")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = testbed.client();
        let files = client.files();
        let mut listing = files.list(&root).await.unwrap();
        let mut entries = Vec::new();
        while let Some(entry) = listing.next().await.unwrap() {
            let kind = entry.status.map(|status| status.kind);
            entries.push((entry.name.into_string().unwrap(), kind, entry.target));
        }
        entries.sort_by(|left, right| left.0.cmp(&right.0));
        let expected = [
            ("deep", FileKind::Directory, None),
            ("large", FileKind::File, None),
            ("out", FileKind::Symlink, Some("/etc/passwd".into())),
        ];
        let expected = expected.map(|(name, kind, target)| (name.to_owned(), Some(kind), target));
        assert_eq!(entries, expected);

        let part = FilePart {
            hash: true,
            ..FilePart::default()
        };
        let place = FilePlace::beneath(&root, "large");
        let mut reader = files.read(place.clone(), part).await.unwrap();
        assert_eq!(reader.status().size, content.len() as u64);
        let mut bytes = Vec::new();
        while let Some(piece) = reader.next().await.unwrap() {
            bytes.extend_from_slice(&piece);
        }
        assert!(bytes == content, "other bytes");
        let end = reader.end().unwrap();
        let hash = files.hash(place, None).await.unwrap();
        assert!(!end.changed && end.sha256 == Some(hash.sha256));

        let refused = files.read(FilePlace::beneath(&root, "out"), FilePart::default());
        let refused = refused.await.unwrap_err();
        let FilesError::Failed { failure, .. } = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(failure, FilesFailure::OutsideRoot);

        // A reader that is dropped gives its slot back: there are 48 for one key.
        for _ in 0..100 {
            files.read(root.join("large"), FilePart::default()).await.unwrap();
        }
        client.close().await;
    });
}

#[test]
fn a_file_is_read_changed_and_replaced_through_a_relay_unless_another_was_faster() {
    let testbed = Testbed::new();
    let root = testbed.home.file("tree");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = testbed.client();
        let files = client.files();
        let place = || FilePlace::beneath(&root, "a/b/file");
        assert!(files.mkdir_all(root.join("a/b"), None).await.unwrap());
        let options = |condition| WriteOptions {
            condition,
            ..WriteOptions::default()
        };
        // More than one window.
        let content: Vec<u8> = (0..5 << 20).map(|at: u32| (at % 251) as u8).collect();
        let written = files.write(place(), options(WriteCondition::Absent), content.clone());
        let first = WriteCondition::Sha256(written.await.unwrap().sha256);
        assert!(fs::read(root.join("a/b/file")).unwrap() == content);
        files.write(place(), options(first), "mine").await.unwrap();
        let slower = files.write(place(), options(first), "theirs").await.unwrap_err();
        let FilesError::Failed { failure, .. } = slower else {
            panic!("{slower:?}")
        };
        assert_eq!(failure, FilesFailure::Changed);
        let output = client.run(baton_core_client::Command::new("cat").arg(root.join("a/b/file")));
        assert_eq!(output.await.unwrap().stdout, b"mine");
        client.close().await;
    });
}
