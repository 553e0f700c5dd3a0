//! Searches by the client library, through a real relay.

use std::fs;
use std::future::pending;
use std::path::Path;
use std::sync::Arc;

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::Seed;
use baton_channel::{Notice, Server};
use baton_core_client::{
    Client, FileKind, FilePlace, FileSelection, FilesError, FilesFailure, GlobOptions, GrepOptions,
    SearchTruncation,
};
use baton_exec_server::ExecServer;
use baton_relay::{Config, Relay};
use tokio::sync::Notify;

use crate::host::{directory, names};

async fn client() -> Client {
    let relay = Relay::bind("127.0.0.1:0".parse().unwrap(), Config::default());
    let relay = relay.await.unwrap();
    let url = format!("http://{}", relay.local_addr());
    tokio::spawn(relay.serve(pending()));
    let seed = Seed::generate().unwrap();
    let allow = AllowList::only(*seed.client_key().unwrap().public(), "test", Trust::Continue);
    let registered = Arc::new(Notify::new());
    let notify = Arc::clone(&registered);
    let server = Server::new(&url, &Seed::generate().unwrap(), allow).unwrap();
    let server = server.on_notice(move |notice| {
        if let Notice::Registered = notice {
            notify.notify_one();
        }
    });
    let ticket = server.ticket();
    tokio::spawn(ExecServer::builder(server).build().unwrap().serve(pending()));
    registered.notified().await;
    Client::new(ticket, seed.client_key().unwrap())
}

#[tokio::test]
async fn a_client_gets_entries_lines_and_ends() {
    let (_dir, root) = directory();
    fs::create_dir(root.join("d")).unwrap();
    fs::write(root.join("d/f"), "word\n".repeat(2_000)).unwrap();
    fs::write(root.join("ignored"), "word").unwrap();
    fs::write(root.join(".gitignore"), "ignored").unwrap();
    let client = client().await;
    let files = client.files();
    let place = || FilePlace::beneath(&root, "");

    let mut found = files.glob(place(), GlobOptions::default()).await.unwrap();
    let mut entries = Vec::new();
    while let Some(entry) = found.next().await.unwrap() {
        entries.push((entry.path, entry.status.kind, entry.status.size));
    }
    let expected = [
        (Path::new("d").to_owned(), FileKind::Directory),
        (Path::new("d/f").to_owned(), FileKind::File),
    ];
    assert!(
        entries
            .iter()
            .map(|(path, kind, _)| (path, kind))
            .eq(expected.iter().map(|(path, kind)| (path, kind)))
    );
    assert_eq!(entries[1].2, 10_000);
    let end = found.end().unwrap();
    assert_eq!((end.results, end.truncated), (2, None));

    let options = GrepOptions {
        max_matches: Some(1_500),
        ..GrepOptions::default()
    };
    let mut lines = files.grep(place(), "w(or)d$", options).await.unwrap();
    let mut count = 0;
    while let Some(line) = lines.next().await.unwrap() {
        count += 1;
        assert_eq!((line.number, line.found), (count, Some((0, 4))));
    }
    let end = lines.end().unwrap();
    assert_eq!(
        (end.matches, end.truncated),
        (1_500, Some(SearchTruncation::Results))
    );

    let refused = files
        .grep(place(), "(", GrepOptions::default())
        .await
        .unwrap_err();
    let is_typed = matches!(
        &refused,
        FilesError::Failed {
            failure: FilesFailure::InvalidSearch,
            ..
        }
    );
    assert!(is_typed, "{refused:?}");
    let selection = FileSelection {
        excludes: names(&["a"; 65]),
        ..FileSelection::default()
    };
    let options = GlobOptions {
        selection,
        max_results: None,
    };
    let refused = files.glob(place(), options).await.unwrap_err();
    assert!(refused.to_string().contains("at most 64 globs"), "{refused}");
}
