//! `Stat` and `FindUp` on real directories: links, directories that may not be searched, starts that vanish, deep
//! trees.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use baton_channel::allow::{AllowList, Peer, Trust};
use baton_channel::key::PublicKey;
use baton_exec_server::{Directory, FilesService};
use baton_proto::files::absence::Reason;
use baton_proto::files::file_status::Kind;
use baton_proto::files::files_error::Kind as ErrorKind;
use baton_proto::files::stat_response::Answer;
use baton_proto::files::{
    FileStatus, FilesError, FindUpRequest, FindUpResponse, StatRequest, unreadable_directory,
};
use baton_proto::limits::{MARKERS_MAX, NAME_MAX, PATH_MAX};
use baton_rpc::files::files_server::Files as _;
use bytes::Bytes;
use tempfile::TempDir;
use tonic::{Code, Request, Status};

/// One service and one client of it.
struct Host {
    service: FilesService,
    peer: Option<Arc<Peer>>,
}

fn host() -> Host {
    let key = PublicKey::from_bytes([1; 32]);
    let allow = AllowList::only(key, "test", Trust::Continue);
    Host {
        service: FilesService::new(Directory::Own),
        peer: Some(Arc::new(allow.find(&key).unwrap().unwrap())),
    }
}

impl Host {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(peer) = &self.peer {
            request.extensions_mut().insert(Arc::clone(peer));
        }
        request
    }

    async fn stat(&self, path: impl AsRef<Path>, follow: bool) -> Result<Answer, Status> {
        let path = bytes(path.as_ref());
        let request = self.request(StatRequest { path, follow });
        Ok(self.service.stat(request).await?.into_inner().answer.unwrap())
    }

    async fn found(&self, path: impl AsRef<Path>, follow: bool) -> FileStatus {
        match self.stat(path, follow).await.unwrap() {
            Answer::Found(found) => found,
            absent => panic!("{absent:?}"),
        }
    }

    async fn find_up(&self, start: impl AsRef<Path>, markers: &[&[u8]]) -> Result<FindUpResponse, Status> {
        let request = FindUpRequest {
            start: bytes(start.as_ref()),
            markers: markers.iter().map(|name| Bytes::copy_from_slice(name)).collect(),
        };
        Ok(self.service.find_up(self.request(request)).await?.into_inner())
    }

    /// The directory, the marker and the depth that a search finds.
    async fn root(&self, start: impl AsRef<Path>, markers: &[&[u8]]) -> Option<(PathBuf, Vec<u8>, u32)> {
        let found = self.find_up(start, markers).await.unwrap().found?;
        Some((path(&found.directory), found.marker.to_vec(), found.depth))
    }
}

fn bytes(path: &Path) -> Bytes {
    Bytes::copy_from_slice(path.as_os_str().as_bytes())
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// A directory without links in its path.
fn directory() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

fn kind(status: &Status) -> (Code, ErrorKind) {
    let detail = FilesError::from_details(status.details()).unwrap();
    assert_eq!(detail.message, status.message());
    (status.code(), detail.kind())
}

/// A name that no ancestor of a temporary directory has.
const MARKER: &[u8] = b".baton-test-marker";

#[tokio::test]
async fn stat_tells_kind_size_mode_and_time_and_follows_a_link_only_on_request() {
    let (_dir, at) = directory();
    let host = host();
    let file = at.join("file");
    fs::write(&file, b"five!").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4751)).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_700_000_000, 123);
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(time)
        .unwrap();
    symlink("file", at.join("link")).unwrap();
    let _socket = UnixListener::bind(at.join("socket")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(at.join("fifo"))
            .status()
            .unwrap()
            .success()
    );

    let found = host.found(&file, false).await;
    assert_eq!(
        (found.kind(), found.size, found.mode),
        (Kind::RegularFile, 5, 0o4751)
    );
    assert_eq!((found.modified_unix_s, found.modified_ns), (1_700_000_000, 123));
    assert!(found.canonical_path.is_empty(), "only when links are followed");
    let link = host.found(at.join("link"), false).await;
    assert_eq!((link.kind(), link.size), (Kind::SymbolicLink, 4));
    let target = host.found(at.join("link"), true).await;
    assert_eq!((target.kind(), target.size), (Kind::RegularFile, 5));
    assert_eq!(path(&target.canonical_path), file);
    for (name, kind) in [
        ("", Kind::Directory),
        ("socket", Kind::Socket),
        ("fifo", Kind::Fifo),
    ] {
        assert_eq!(host.found(at.join(name), false).await.kind(), kind, "{name}");
    }
    assert_eq!(host.found("/dev/null", false).await.kind(), Kind::CharacterDevice);
}

#[tokio::test]
async fn what_is_not_there_is_an_answer_with_its_reason() {
    let (_dir, at) = directory();
    let host = host();
    fs::write(at.join("file"), b"").unwrap();
    symlink("nowhere", at.join("dangling")).unwrap();
    symlink("loop", at.join("loop")).unwrap();
    for name in ["none", "file/below", "dangling", "loop"] {
        let Answer::Absence(absence) = host.stat(at.join(name), true).await.unwrap() else {
            panic!("{name}")
        };
        assert_eq!(absence.reason(), Reason::NotFound, "{name}");
    }
    // The link itself is there.
    assert_eq!(
        host.found(at.join("dangling"), false).await.kind(),
        Kind::SymbolicLink
    );
}

#[tokio::test]
async fn an_empty_path_is_the_default_directory() {
    let host = host();
    let own = std::env::current_dir().unwrap().canonicalize().unwrap();
    assert_eq!(path(&host.found("", true).await.canonical_path), own);
    let found = host.find_up("", &[b"Cargo.toml"]).await.unwrap();
    assert_eq!(path(&found.start), own);
    assert_eq!(found.found.unwrap().depth, 0);
}

#[tokio::test]
async fn the_nearest_ancestor_with_a_marker_is_found_and_in_it_the_first_marker() {
    let (_dir, at) = directory();
    let host = host();
    let deep = at.join("a/b/c");
    fs::create_dir_all(&deep).unwrap();
    assert_eq!(host.root(&deep, &[MARKER]).await, None);
    fs::create_dir(at.join(".baton-test-marker")).unwrap();
    let far = (at.clone(), MARKER.to_vec(), 3);
    assert_eq!(host.root(&deep, &[MARKER]).await, Some(far.clone()));
    assert_eq!(host.root(&deep, &[b"other", MARKER]).await, Some(far.clone()));

    // A nearer one of any kind wins, whatever the order of the markers.
    assert!(
        Command::new("mkfifo")
            .arg(at.join("a/other"))
            .status()
            .unwrap()
            .success()
    );
    let near = (at.join("a"), b"other".to_vec(), 2);
    assert_eq!(host.root(&deep, &[MARKER, b"other"]).await, Some(near));
    fs::write(at.join("a/.baton-test-marker"), b"").unwrap();
    let first = (at.join("a"), MARKER.to_vec(), 2);
    assert_eq!(host.root(&deep, &[MARKER, b"other"]).await, Some(first));

    // The start counts, and nothing is remembered.
    fs::write(deep.join("other"), b"").unwrap();
    assert_eq!(
        host.root(&deep, &[b"other"]).await,
        Some((deep.clone(), b"other".to_vec(), 0))
    );
    fs::remove_file(deep.join("other")).unwrap();
    assert_eq!(
        host.root(&deep, &[b"other"]).await,
        Some((at.join("a"), b"other".to_vec(), 2))
    );
}

#[tokio::test]
async fn a_marker_that_is_a_link_counts_if_its_target_exists() {
    let (_dir, at) = directory();
    let host = host();
    let marker = at.join(".baton-test-marker");
    let start = at.join("a");
    fs::create_dir(&start).unwrap();
    for target in ["nowhere", ".baton-test-marker", "a/../nowhere"] {
        symlink(target, &marker).unwrap();
        let answer = host.find_up(&start, &[MARKER]).await.unwrap();
        assert_eq!((answer.found, answer.unreadable), (None, 0), "{target}");
        fs::remove_file(&marker).unwrap();
    }
    fs::write(at.join("target"), b"").unwrap();
    symlink("target", &marker).unwrap();
    assert_eq!(
        host.root(&start, &[MARKER]).await,
        Some((at.clone(), MARKER.to_vec(), 1))
    );
}

#[tokio::test]
async fn a_start_with_links_has_the_ancestors_of_the_directory_it_leads_to() {
    let (_dir, at) = directory();
    let host = host();
    fs::create_dir_all(at.join("project/src")).unwrap();
    fs::create_dir_all(at.join("home/.baton-test-marker")).unwrap();
    fs::create_dir(at.join("project/.baton-test-marker")).unwrap();
    symlink("../project/src", at.join("home/link")).unwrap();
    let project = Some((at.join("project"), MARKER.to_vec(), 1));
    assert_eq!(host.root(at.join("home/link"), &[MARKER]).await, project);
    assert_eq!(host.root(at.join("home/link/../src/."), &[MARKER]).await, project);
    let answer = host.find_up(at.join("home/link"), &[MARKER]).await.unwrap();
    assert_eq!(path(&answer.start), at.join("project/src"));
}

#[tokio::test]
async fn a_start_that_is_none_is_a_typed_error() {
    let (_dir, at) = directory();
    let host = host();
    fs::write(at.join("file"), b"").unwrap();
    symlink("loop", at.join("loop")).unwrap();
    let not_found = (Code::NotFound, ErrorKind::NotFound);
    for (name, expected) in [
        ("none", not_found),
        ("file/below", not_found),
        ("loop", not_found),
        ("file", (Code::FailedPrecondition, ErrorKind::NotADirectory)),
        (
            &"n".repeat(NAME_MAX + 1),
            (Code::InvalidArgument, ErrorKind::InvalidPath),
        ),
    ] {
        let refused = host.find_up(at.join(name), &[MARKER]).await.unwrap_err();
        assert_eq!(kind(&refused), expected, "{name}");
        let temporary = at.to_str().unwrap();
        assert!(
            !refused.message().contains(temporary),
            "no path is exported: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_start_that_vanishes_again_and_again_is_an_answer_or_not_found() {
    let (_dir, at) = directory();
    let host = host();
    fs::write(at.join(".baton-test-marker"), b"").unwrap();
    let start = at.join("start");
    let stop = Arc::new(AtomicBool::new(false));
    let flicker = std::thread::spawn({
        let (start, stop) = (start.clone(), Arc::clone(&stop));
        move || {
            while !stop.load(Ordering::Relaxed) {
                fs::create_dir_all(start.join("below")).unwrap();
                fs::remove_dir_all(&start).unwrap();
            }
        }
    });
    let (mut found, mut gone) = (0, 0);
    for _ in 0..500 {
        match host.find_up(start.join("below"), &[MARKER]).await {
            Ok(answer) => {
                let answer = answer.found.unwrap();
                assert_eq!((path(&answer.directory), answer.depth), (at.clone(), 2));
                found += 1;
            }
            Err(error) => {
                assert_eq!(kind(&error), (Code::NotFound, ErrorKind::NotFound), "{error:?}");
                gone += 1;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    flicker.join().unwrap();
    assert_eq!(found + gone, 500);
    assert!(gone > 0, "it never vanished");
}

#[tokio::test]
async fn a_tree_as_deep_as_a_path_is_searched_to_its_top() {
    let (_dir, at) = directory();
    let host = host();
    fs::write(at.join(".baton-test-marker"), b"").unwrap();
    let depth = (PATH_MAX - at.as_os_str().len()) / 2;
    let deep = at.join(vec!["d"; depth].join("/"));
    fs::create_dir_all(&deep).unwrap();
    // Directory and marker together are longer than a path may be.
    let longest = vec![b'm'; NAME_MAX];
    let found = host.root(&deep, &[&longest, MARKER]).await;
    assert_eq!(found, Some((at, MARKER.to_vec(), u32::try_from(depth).unwrap())));
}

#[tokio::test]
async fn paths_and_markers_beyond_the_limits_are_refused_with_a_typed_error() {
    let host = host();
    let invalid = (Code::InvalidArgument, ErrorKind::InvalidPath);
    let long = "/".repeat(PATH_MAX + 1);
    for bad in ["relative", "./x", "/nul\0", &long] {
        assert_eq!(kind(&host.stat(bad, false).await.unwrap_err()), invalid);
        assert_eq!(kind(&host.find_up(bad, &[MARKER]).await.unwrap_err()), invalid);
    }
    let invalid = (Code::InvalidArgument, ErrorKind::InvalidMarkers);
    for bad in [&[][..], &[MARKER; MARKERS_MAX + 1], &[b"a/b"], &[b".."], &[b""]] {
        assert_eq!(kind(&host.find_up("/", bad).await.unwrap_err()), invalid);
    }
    assert!(host.find_up("/", &[MARKER; MARKERS_MAX]).await.is_ok());
}

#[tokio::test]
async fn a_caller_without_a_key_is_refused() {
    let host = Host { peer: None, ..host() };
    let refused = host.stat("/", false).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = host.find_up("/", &[MARKER]).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

/// Runs a test of this program without root's capability to pass over permissions. False: this machine cannot.
fn runs_without_override(test: &str) -> bool {
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(WITHOUT_OVERRIDE, "1");
    match command.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success(),
                "{said}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            true
        }
        Err(error) => {
            eprintln!("skipped, because root passes over permissions and setpriv cannot be run: {error}");
            false
        }
    }
}

const WITHOUT_OVERRIDE: &str = "BATON_TEST_WITHOUT_OVERRIDE";

#[tokio::test]
async fn directories_that_may_not_be_searched_are_passed_over_and_reported() {
    if rustix::process::geteuid().is_root() && std::env::var_os(WITHOUT_OVERRIDE).is_none() {
        runs_without_override("directories_that_may_not_be_searched_are_passed_over_and_reported");
        return;
    }
    let (_dir, at) = directory();
    let host = host();
    let closed = at.join("a/closed");
    fs::create_dir_all(closed.join("below")).unwrap();
    fs::write(at.join("target"), b"").unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();

    // The start itself may not be searched; its ancestors may.
    mode(&closed, 0o600);
    let answer = host.find_up(&closed, &[MARKER]).await.unwrap();
    assert_eq!((answer.found, answer.unreadable), (None, 1));
    let first = answer.first_unreadable.unwrap();
    assert_eq!(path(&first.directory), closed);
    assert_eq!(first.reason(), unreadable_directory::Reason::NotPermitted);
    fs::write(at.join(".baton-test-marker"), b"").unwrap();
    let answer = host.find_up(&closed, &[MARKER]).await.unwrap();
    assert_eq!(path(&answer.found.unwrap().directory), at);
    assert_eq!(answer.unreadable, 1, "the nearer directory may be the root");

    // A start behind it cannot be reached.
    let refused = host.find_up(closed.join("below"), &[MARKER]).await.unwrap_err();
    assert_eq!(kind(&refused), (Code::PermissionDenied, ErrorKind::NotPermitted));
    let Answer::Absence(absence) = host.stat(closed.join("below"), false).await.unwrap() else {
        panic!()
    };
    assert_eq!(absence.reason(), Reason::NotPermitted);

    // A marker whose target cannot be reached is unknown; a directory that may be searched and not listed is read.
    symlink("closed/below", at.join("a/.baton-test-marker")).unwrap();
    let answer = host.find_up(at.join("a"), &[MARKER]).await.unwrap();
    assert_eq!((answer.found.unwrap().depth, answer.unreadable), (1, 1));
    mode(&closed, 0o100);
    let answer = host.find_up(closed.join("below"), &[MARKER]).await.unwrap();
    assert_eq!((answer.found.unwrap().depth, answer.unreadable), (2, 0));
    mode(&closed, 0o700);
}
