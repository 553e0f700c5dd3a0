//! `Write` and `Mkdir` through a real relay, by the client library: conditions, modes, cut writes, links that are swapped
//! in.

use std::ffi::OsStr;
use std::fs;
use std::future::pending;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::Seed;
use baton_channel::{Notice, Server};
use baton_core_client::{
    Client, FilePlace, FileWriter, Files, FilesError, FilesFailure, WriteCondition, WriteOptions, Written,
};
use baton_exec_server::ExecServer;
use baton_proto::limits::{FILE_PIECE_MAX, NAME_MAX};
use baton_relay::{Config, Relay};
use baton_support::wait::{eventually, within};
use futures_util::future::join_all;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use tokio::sync::Notify;
use tonic::Code;

/// An exec-server's files, and a directory.
struct Fixture {
    files: Files,
    _client: Client,
    _dir: TempDir,
    at: PathBuf,
}

async fn fixture() -> Fixture {
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
    let client = Client::new(ticket, seed.client_key().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().canonicalize().unwrap();
    Fixture {
        files: client.files(),
        _client: client,
        _dir: dir,
        at,
    }
}

impl Fixture {
    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.at.join(name)
    }

    async fn write(&self, name: &str, condition: WriteCondition, text: &str) -> Result<Written, FilesError> {
        let options = WriteOptions {
            condition,
            ..WriteOptions::default()
        };
        self.files
            .write(self.path(name), options, text.to_owned().into_bytes())
            .await
    }

    /// Writes until the temporary file is there.
    async fn begin(&self, writer: &mut FileWriter) {
        let begun = async {
            while !self.names().iter().any(|name| name.ends_with(".tmp")) {
                writer.write("piece").await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        within(begun).await;
    }

    /// The names in the directory.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.at).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        fs::symlink_metadata(self.path(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    }

    fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[track_caller]
fn failure<T: std::fmt::Debug>(answer: Result<T, FilesError>) -> FilesFailure {
    match answer {
        Err(FilesError::Failed { failure, .. }) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_is_written_whole_and_its_hash_and_status_are_answered() {
    let fixture = fixture().await;
    let content: Vec<u8> = (0..20 * FILE_PIECE_MAX + 3).map(|at| (at % 251) as u8).collect();
    let options = WriteOptions {
        sync: true,
        ..WriteOptions::default()
    };
    for replaced in [false, true] {
        let written = fixture
            .files
            .write(fixture.path("file"), options, content.clone());
        let written = written.await.unwrap();
        assert!(fs::read(fixture.path("file")).unwrap() == content);
        let hash = fixture.files.hash(fixture.path("file"), None).await.unwrap();
        assert_eq!((written.sha256, written.replaced), (hash.sha256, replaced));
        assert_eq!(written.status.size, content.len() as u64);
    }
    let empty = fixture.write("empty", WriteCondition::None, "").await.unwrap();
    assert_eq!((empty.status.size, fixture.text("empty")), (0, String::new()));
    assert_eq!(fixture.names(), ["empty", "file"], "no temporary file is left");
}

#[tokio::test]
async fn a_replaced_file_keeps_its_permissions_and_set_user_id_is_dropped() {
    let fixture = fixture().await;
    for (old, mode, expected) in [
        (0o640, None, 0o640),
        (0o400, None, 0o400),
        (0o6755, None, 0o755),
        (0o644, Some(0o6751), 0o751),
        (0o600, Some(0o666), 0o666),
    ] {
        fs::write(fixture.path("file"), "old").unwrap();
        fixture.set_mode("file", old);
        let options = WriteOptions {
            mode,
            ..WriteOptions::default()
        };
        let written = fixture
            .files
            .write(fixture.path("file"), options, "new")
            .await
            .unwrap();
        assert_eq!(
            (fixture.mode("file"), written.status.mode),
            (expected, expected),
            "{old:o}"
        );
        fs::remove_file(fixture.path("file")).unwrap();
    }
    // A new file has what the umask leaves, as one that a command makes.
    fs::write(fixture.path("made"), "").unwrap();
    fixture.write("new", WriteCondition::None, "").await.unwrap();
    assert_eq!(fixture.mode("new"), fixture.mode("made"));
}

#[tokio::test]
async fn a_file_that_is_not_the_expected_one_is_not_replaced() {
    let fixture = fixture().await;
    let first = fixture
        .write("file", WriteCondition::Absent, "first")
        .await
        .unwrap();
    assert!(!first.replaced);
    let expected = WriteCondition::Sha256(first.sha256);
    fixture.write("file", expected, "second").await.unwrap();
    let stale = fixture.write("file", expected, "third").await;
    assert_eq!(failure(stale), FilesFailure::Changed);
    let exists = fixture.write("file", WriteCondition::Absent, "third").await;
    assert_eq!(failure(exists), FilesFailure::Exists);
    let absent = fixture.write("none", expected, "third").await;
    assert_eq!(failure(absent), FilesFailure::Changed);
    assert_eq!(fixture.text("file"), "second");
    assert_eq!(fixture.names(), ["file"]);

    // A condition that stops to hold while the bytes arrive.
    let options = WriteOptions {
        condition: WriteCondition::Sha256(
            fixture
                .files
                .hash(fixture.path("file"), None)
                .await
                .unwrap()
                .sha256,
        ),
        ..WriteOptions::default()
    };
    let mut writer = fixture.files.writer(fixture.path("file"), options);
    fixture.begin(&mut writer).await;
    fs::write(fixture.path("file"), "meanwhile").unwrap();
    assert_eq!(failure(writer.finish(None).await), FilesFailure::Changed);
    assert_eq!(fixture.text("file"), "meanwhile");
    assert_eq!(fixture.names(), ["file"]);
}

#[tokio::test]
async fn of_writers_that_expect_the_same_one_succeeds() {
    let fixture = fixture().await;
    for round in 0..20 {
        let name = format!("file-{round}");
        let mut condition = WriteCondition::Absent;
        for rival in [FilesFailure::Exists, FilesFailure::Changed] {
            let writers = (0..8).map(|writer| {
                let (name, text) = (name.clone(), format!("{rival:?} {writer}"));
                let fixture = &fixture;
                async move { (fixture.write(&name, condition, &text).await, text) }
            });
            let mut winners = Vec::new();
            for (written, text) in join_all(writers).await {
                match written {
                    Ok(written) => winners.push((written, text)),
                    Err(_) => assert_eq!(failure(written), rival),
                }
            }
            let [(written, text)] = &winners[..] else {
                panic!("{winners:?}")
            };
            assert_eq!(fixture.text(&name), *text);
            condition = WriteCondition::Sha256(written.sha256);
        }
    }
}

#[tokio::test]
async fn a_write_that_is_cut_or_has_other_bytes_leaves_the_old_file_and_nothing_else() {
    let fixture = fixture().await;
    fs::write(fixture.path("file"), "old").unwrap();
    let mut writer = fixture
        .files
        .writer(fixture.path("file"), WriteOptions::default());
    fixture.begin(&mut writer).await;
    drop(writer);
    eventually("the temporary file is removed", || fixture.names() == ["file"]).await;

    let mut writer = fixture
        .files
        .writer(fixture.path("file"), WriteOptions::default());
    writer.write("new").await.unwrap();
    let other = writer.finish(Some([7; 32])).await;
    assert_eq!(failure(other), FilesFailure::InvalidWrite);
    assert_eq!(
        (fixture.text("file"), fixture.names()),
        ("old".into(), vec!["file".into()])
    );
    // Its slot is free again: there are 48 for one key.
    for _ in 0..100 {
        drop(
            fixture
                .files
                .writer(fixture.path("file"), WriteOptions::default()),
        );
        fixture.write("file", WriteCondition::None, "new").await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_write_ends_before_all_bytes_are_sent() {
    let fixture = fixture().await;
    let mut writer = fixture
        .files
        .writer(fixture.path("no/directory"), WriteOptions::default());
    let refused = loop {
        match writer.write(vec![0; FILE_PIECE_MAX]).await {
            Ok(()) => {}
            refused => break refused,
        }
    };
    assert_eq!(failure(refused), FilesFailure::NotFound);
    assert!(writer.write("more").await.is_err(), "it has ended");
}

#[tokio::test]
async fn links_fifos_sockets_devices_and_directories_are_not_replaced() {
    let fixture = fixture().await;
    let fifo = fixture.path("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _socket = UnixListener::bind(fixture.path("socket")).unwrap();
    fs::create_dir(fixture.path("directory")).unwrap();
    fs::write(fixture.path("target"), "target").unwrap();
    symlink("target", fixture.path("link")).unwrap();
    symlink("nowhere", fixture.path("dangling")).unwrap();
    // Not the machine's own device: if this test fails, it is replaced. Only root may make one.
    let mut names = vec!["fifo", "socket", "directory", "link", "dangling"];
    let null = rustix::fs::makedev(1, 3);
    if mknodat(
        CWD,
        fixture.path("device"),
        FileType::CharacterDevice,
        Mode::RUSR,
        null,
    )
    .is_ok()
    {
        names.push("device");
    }
    let before = fixture.names();
    for name in names {
        let refused = fixture.write(name, WriteCondition::None, "new").await;
        assert_eq!(failure(refused), FilesFailure::NotRegular, "{name}");
    }
    assert_eq!(
        (fixture.names(), fixture.text("target")),
        (before, "target".into())
    );
}

#[tokio::test]
async fn paths_that_name_no_file_are_refused_and_names_need_not_be_utf_8() {
    let fixture = fixture().await;
    fs::write(fixture.path("file"), "").unwrap();
    for (name, expected) in [
        ("", FilesFailure::InvalidPath),
        ("..", FilesFailure::InvalidPath),
        ("file/", FilesFailure::InvalidPath),
        (&*"n".repeat(NAME_MAX + 1), FilesFailure::InvalidPath),
        ("file/below", FilesFailure::NotFound),
        ("none/below", FilesFailure::NotFound),
    ] {
        let path = format!("{}/{name}", fixture.at.display());
        let written = fixture.files.write(&*path, WriteOptions::default(), "");
        assert_eq!(failure(written.await), expected, "{name}");
        assert_eq!(
            failure(fixture.files.mkdir(&*path, None).await),
            expected,
            "{name}"
        );
    }
    let relative = fixture.files.write("relative", WriteOptions::default(), "").await;
    assert_eq!(failure(relative), FilesFailure::InvalidPath);
    let strange = fixture.path(OsStr::from_bytes(b"\xff\n"));
    let longest = fixture.path("n".repeat(NAME_MAX));
    for path in [strange, longest] {
        fixture
            .files
            .write(&path, WriteOptions::default(), "new")
            .await
            .unwrap();
        assert_eq!(fs::read(path).unwrap(), b"new");
    }
    // Longer than any request but one of a write.
    let long = fixture.files.stat("/".repeat(20_000), false).await;
    assert!(
        matches!(&long, Err(FilesError::Rpc(status)) if status.code() == Code::OutOfRange),
        "{long:?}"
    );
}

#[tokio::test]
async fn directories_are_made_with_their_parents_and_mode() {
    let fixture = fixture().await;
    let files = &fixture.files;
    files.mkdir(fixture.path("plain"), None).await.unwrap();
    fs::create_dir(fixture.path("made")).unwrap();
    assert_eq!(fixture.mode("plain"), fixture.mode("made"));
    files.mkdir(fixture.path("mode"), Some(0o6310)).await.unwrap();
    assert_eq!(fixture.mode("mode"), 0o310);
    let exists = files.mkdir(fixture.path("mode"), None).await;
    assert_eq!(failure(exists), FilesFailure::Exists);
    let no_parent = files.mkdir(fixture.path("a/b"), None).await;
    assert_eq!(failure(no_parent), FilesFailure::NotFound);

    assert!(
        files
            .mkdir_all(fixture.path("a//b/./c"), Some(0o700))
            .await
            .unwrap()
    );
    assert!(!files.mkdir_all(fixture.path("a/b/c"), Some(0o755)).await.unwrap());
    assert_eq!(fixture.mode("a/b/c"), 0o700);
    let below = FilePlace::beneath(&fixture.at, "a/x/y");
    assert!(files.mkdir_all(below, None).await.unwrap());
    assert!(fixture.path("a/x/y").is_dir());
    fs::write(fixture.path("file"), "").unwrap();
    assert_eq!(
        failure(files.mkdir_all(fixture.path("file"), None).await),
        FilesFailure::Exists
    );
    let below_file = files.mkdir_all(fixture.path("file/a/b"), None).await;
    assert_eq!(failure(below_file), FilesFailure::NotFound);
}

#[tokio::test]
async fn no_link_leads_a_write_out_of_its_root() {
    let fixture = fixture().await;
    let (root, outside) = (fixture.path("root"), fixture.path("outside"));
    fs::create_dir(&root).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink("../outside", root.join("link")).unwrap();
    symlink(&outside, root.join("absolute")).unwrap();
    for path in ["link/file", "absolute/file", "../outside/file", "link/a/b"] {
        let place = FilePlace::beneath(&root, path);
        let written = fixture
            .files
            .write(place.clone(), WriteOptions::default(), "out")
            .await;
        assert_eq!(failure(written), FilesFailure::OutsideRoot, "{path}");
        let made = fixture.files.mkdir_all(place, None).await;
        assert_eq!(failure(made), FilesFailure::OutsideRoot, "{path}");
    }

    // A directory that is swapped for a link again and again.
    let stop = Arc::new(AtomicBool::new(false));
    let swaps = std::thread::spawn({
        let (root, stop) = (root.clone(), Arc::clone(&stop));
        move || {
            let (name, link) = (root.join("name"), root.join("swapped"));
            while !stop.load(Ordering::Relaxed) {
                fs::create_dir_all(&name).unwrap();
                let _ = fs::remove_dir_all(&name);
                symlink("../outside", &link).unwrap();
                let _ = fs::rename(&link, &name);
                let _ = fs::remove_file(&name);
                let _ = fs::remove_file(&link);
            }
        }
    });
    let mut written = 0;
    for _ in 0..500 {
        let place = FilePlace::beneath(&root, "name/file");
        let answer = fixture.files.write(place, WriteOptions::default(), "in").await;
        match answer {
            Ok(_) => written += 1,
            Err(_) => {
                let failed = failure(answer);
                let expected = [FilesFailure::OutsideRoot, FilesFailure::NotFound];
                assert!(expected.contains(&failed), "{failed:?}");
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    swaps.join().unwrap();
    assert!(written < 500, "the link was never met");
    assert_eq!(
        fs::read_dir(&outside).unwrap().count(),
        0,
        "something was written outside"
    );
}
