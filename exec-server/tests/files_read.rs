//! `List`, `Read` and `Hash` on real directories: hostile names, links that lead out of a root, what is no regular file.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use baton_channel::allow::{AllowList, Peer, Trust};
use baton_channel::key::PublicKey;
use baton_exec_server::{Directory, FilesService};
use baton_proto::files::file_status::Kind;
use baton_proto::files::files_error::Kind as ErrorKind;
use baton_proto::files::read_response::Kind as Piece;
use baton_proto::files::{
    DirectoryEntry, FileStatus, FilesError, HashRequest, HashResponse, ListRequest, Place, ReadEnd,
    ReadRequest,
};
use baton_proto::limits::{FILE_PIECE_MAX, LIST_PAGE_MAX, NAME_MAX};
use baton_rpc::files::files_server::Files as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use rustix::fs::{CWD, FileType, Mode, mknodat};
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

/// What a whole answer of `Read` has.
#[derive(Debug)]
struct WholeRead {
    status: FileStatus,
    bytes: Vec<u8>,
    end: ReadEnd,
}

impl Host {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(peer) = &self.peer {
            request.extensions_mut().insert(Arc::clone(peer));
        }
        request
    }

    async fn list(&self, place: Place) -> Result<BTreeMap<Vec<u8>, DirectoryEntry>, Status> {
        let request = self.request(ListRequest { place: Some(place) });
        let mut pages = self.service.list(request).await?.into_inner();
        let mut entries = BTreeMap::new();
        while let Some(page) = pages.next().await {
            let page = page?.entries;
            assert!((1..=LIST_PAGE_MAX).contains(&page.len()), "{}", page.len());
            for entry in page {
                assert!(entries.insert(entry.name.to_vec(), entry).is_none());
            }
        }
        Ok(entries)
    }

    async fn read(&self, request: ReadRequest) -> Result<WholeRead, Status> {
        let mut messages = self.service.read(self.request(request)).await?.into_inner();
        let (mut status, mut bytes) = (None, Vec::new());
        loop {
            let message = messages.next().await.expect("an end")?;
            match message.kind.unwrap() {
                Piece::Start(start) => assert!(std::mem::replace(&mut status, start.status).is_none()),
                Piece::Data(data) => {
                    assert!((1..=FILE_PIECE_MAX).contains(&data.len()) && status.is_some());
                    bytes.extend_from_slice(&data);
                }
                Piece::End(end) => {
                    assert!(messages.next().await.is_none(), "something after the end");
                    let status = status.unwrap();
                    return Ok(WholeRead { status, bytes, end });
                }
            }
        }
    }

    async fn read_all(&self, place: Place) -> Result<WholeRead, Status> {
        let place = Some(place);
        let request = ReadRequest {
            place,
            ..ReadRequest::default()
        };
        self.read(request).await
    }

    async fn hash(&self, place: Place, length: Option<u64>) -> Result<HashResponse, Status> {
        let place = Some(place);
        let request = self.request(HashRequest { place, length });
        Ok(self.service.hash(request).await?.into_inner())
    }
}

fn bytes(path: impl AsRef<Path>) -> Bytes {
    Bytes::copy_from_slice(path.as_ref().as_os_str().as_bytes())
}

fn at(path: impl AsRef<Path>) -> Place {
    Place {
        root: None,
        path: bytes(path),
    }
}

fn below(root: impl AsRef<Path>, path: impl AsRef<Path>) -> Place {
    Place {
        root: Some(bytes(root)),
        path: bytes(path),
    }
}

/// A directory without links in its path.
fn directory() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

#[track_caller]
fn kind(status: &Status) -> (Code, ErrorKind) {
    let detail = FilesError::from_details(status.details()).unwrap_or_else(|| panic!("{status:?}"));
    assert_eq!(detail.message, status.message());
    (status.code(), detail.kind())
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

const NOT_REGULAR: (Code, ErrorKind) = (Code::FailedPrecondition, ErrorKind::NotRegular);
const NOT_FOUND: (Code, ErrorKind) = (Code::NotFound, ErrorKind::NotFound);
const OUTSIDE: (Code, ErrorKind) = (Code::PermissionDenied, ErrorKind::OutsideRoot);

#[tokio::test]
async fn a_directory_is_listed_with_kinds_sizes_modes_and_targets_whatever_its_names_are() {
    let (_dir, root) = directory();
    fs::write(root.join("file"), b"five!").unwrap();
    fs::set_permissions(root.join("file"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::create_dir(root.join("directory")).unwrap();
    symlink("no/where", root.join("link")).unwrap();
    fifo(&root.join("fifo"));
    let _socket = UnixListener::bind(root.join("socket")).unwrap();
    let strange = OsStr::from_bytes(b"\xff\xfe\n\x1b[31m");
    fs::write(root.join(strange), b"").unwrap();
    let longest = "n".repeat(NAME_MAX);
    fs::write(root.join(&longest), b"").unwrap();

    let entries = host().list(at(&root)).await.unwrap();
    let status = |name: &[u8]| entries[name].status.clone().unwrap();
    assert_eq!(entries.len(), 7);
    let file = status(b"file");
    assert_eq!(
        (file.kind(), file.size, file.mode),
        (Kind::RegularFile, 5, 0o4751)
    );
    assert!(file.modified_unix_s > 1_700_000_000);
    for (name, kind) in [
        (&b"directory"[..], Kind::Directory),
        (b"fifo", Kind::Fifo),
        (b"socket", Kind::Socket),
        (strange.as_bytes(), Kind::RegularFile),
        (longest.as_bytes(), Kind::RegularFile),
    ] {
        assert_eq!(status(name).kind(), kind, "{name:?}");
        assert!(entries[name].target.is_empty());
    }
    assert_eq!(status(b"link").kind(), Kind::SymbolicLink);
    assert_eq!(&entries[&b"link"[..]].target[..], b"no/where");
    let null = host().list(at("/dev")).await.unwrap();
    let null = null[&b"null"[..]].status.clone().unwrap();
    assert_eq!(null.kind(), Kind::CharacterDevice);
}

#[tokio::test]
async fn a_large_directory_comes_in_bounded_pages_and_an_empty_one_is_no_error() {
    let (_dir, root) = directory();
    assert!(host().list(at(&root)).await.unwrap().is_empty());
    let count = 2 * LIST_PAGE_MAX + 1;
    for number in 0..count {
        fs::write(root.join(format!("{number:0>200}")), b"").unwrap();
    }
    assert_eq!(host().list(at(&root)).await.unwrap().len(), count);
}

#[tokio::test]
async fn a_part_of_a_file_is_read_and_hashed() {
    let (_dir, root) = directory();
    let host = host();
    let content: Vec<u8> = (0..3 * FILE_PIECE_MAX + 7).map(|at| (at % 251) as u8).collect();
    fs::write(root.join("file"), &content).unwrap();
    symlink("file", root.join("link")).unwrap();
    let whole = host.read_all(at(root.join("link"))).await.unwrap();
    assert!(whole.bytes == content && !whole.end.changed && whole.end.sha256.is_empty());
    assert_eq!(
        (whole.status.kind(), whole.status.size),
        (Kind::RegularFile, content.len() as u64)
    );
    let size = content.len() as u64;
    for (offset, length, expected) in [
        (0, Some(3), &content[..3]),
        (
            FILE_PIECE_MAX as u64 - 1,
            Some(2),
            &content[FILE_PIECE_MAX - 1..FILE_PIECE_MAX + 1],
        ),
        (size - 2, None, &content[content.len() - 2..]),
        (0, Some(0), b""),
        (size, None, b""),
        (u64::MAX, None, b""),
        (u64::MAX, Some(u64::MAX), b""),
        (i64::MAX as u64, None, b""),
    ] {
        let request = ReadRequest {
            place: Some(at(root.join("file"))),
            offset,
            length,
            hash: true,
        };
        let part = host.read(request).await.unwrap();
        assert!(part.bytes == expected, "{offset} {length:?}");
        let prefix = root.join("prefix");
        fs::write(&prefix, expected).unwrap();
        let hash = host.hash(at(&prefix), None).await.unwrap();
        assert_eq!(
            (hash.sha256, hash.length),
            (part.end.sha256, expected.len() as u64)
        );
    }
}

#[tokio::test]
async fn a_prefix_hash_is_the_sha_256_of_those_bytes_and_says_how_many_there_were() {
    let (_dir, root) = directory();
    fs::write(root.join("file"), b"abcdef").unwrap();
    let host = host();
    let hash = |length| host.hash(at(root.join("file")), length);
    // FIPS 180-2, appendix B.1.
    let abc = b"\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde\x5d\xae\x22\x23\
                \xb0\x03\x61\xa3\x96\x17\x7a\x9c\xb4\x10\xff\x61\xf2\x00\x15\xad";
    let prefix = hash(Some(3)).await.unwrap();
    assert_eq!((&prefix.sha256[..], prefix.length), (&abc[..], 3));
    assert_eq!(prefix.status.unwrap().size, 6);
    let beyond = hash(Some(1 << 40)).await.unwrap();
    assert_eq!(
        (beyond.length, beyond.sha256),
        (6, hash(None).await.unwrap().sha256)
    );
    assert_eq!(hash(Some(0)).await.unwrap().length, 0);
}

#[tokio::test]
async fn a_file_that_is_changed_while_it_is_read_is_reported() {
    let (_dir, root) = directory();
    let path = root.join("file");
    fs::write(&path, vec![1; 64 * FILE_PIECE_MAX]).unwrap();
    let host = host();
    let request = ReadRequest {
        place: Some(at(&path)),
        ..ReadRequest::default()
    };
    let mut messages = host
        .service
        .read(host.request(request))
        .await
        .unwrap()
        .into_inner();
    messages.next().await.unwrap().unwrap();
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    file.write_all(b"more").unwrap();
    let mut end = None;
    while let Some(message) = messages.next().await {
        if let Some(Piece::End(last)) = message.unwrap().kind {
            end = Some(last);
        }
    }
    assert!(end.unwrap().changed);
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
    let (_dir, root) = directory();
    let host = host();
    // A plain open would wait for a writer.
    fifo(&root.join("fifo"));
    let _socket = UnixListener::bind(root.join("socket")).unwrap();
    symlink("fifo", root.join("link")).unwrap();
    for path in [
        root.clone(),
        root.join("fifo"),
        root.join("socket"),
        root.join("link"),
        "/dev/null".into(),
    ] {
        let refused = host.read_all(at(&path)).await.unwrap_err();
        assert_eq!(kind(&refused), NOT_REGULAR, "{}", path.display());
        let refused = host.hash(at(&path), None).await.unwrap_err();
        assert_eq!(kind(&refused), NOT_REGULAR, "{}", path.display());
    }
    for path in ["fifo", "socket"] {
        let refused = host.list(at(root.join(path))).await.unwrap_err();
        assert_eq!(
            kind(&refused),
            (Code::FailedPrecondition, ErrorKind::NotADirectory),
            "{path}"
        );
    }
    // A file whose size the kernel does not tell is read to its end.
    let own = host.read_all(at("/proc/self/stat")).await.unwrap();
    assert!(own.status.size == 0 && !own.bytes.is_empty());
}

#[tokio::test]
async fn paths_that_are_none_are_typed_errors_that_repeat_no_path() {
    let (_dir, root) = directory();
    let host = host();
    symlink("loop", root.join("loop")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    fs::write(root.join("file"), b"").unwrap();
    let long = "n".repeat(NAME_MAX + 1);
    let invalid = (Code::InvalidArgument, ErrorKind::InvalidPath);
    for (place, expected) in [
        (at(root.join("none")), NOT_FOUND),
        (at(root.join("loop")), NOT_FOUND),
        (at(root.join("dangling")), NOT_FOUND),
        (at(root.join("file/below")), NOT_FOUND),
        (at(root.join(&long)), invalid),
        (at("relative"), invalid),
        (at("/nul\0"), invalid),
        (below(&root, "/absolute"), invalid),
        (below("relative", "file"), invalid),
        (below(&root, &long), invalid),
        (below(root.join("none"), "file"), NOT_FOUND),
    ] {
        let refused = host.read_all(place.clone()).await.unwrap_err();
        assert_eq!(kind(&refused), expected, "{place:?}");
        assert!(!refused.message().contains(root.to_str().unwrap()), "{refused:?}");
        assert_eq!(kind(&host.list(place.clone()).await.unwrap_err()), expected);
        assert_eq!(kind(&host.hash(place, None).await.unwrap_err()), expected);
    }
}

#[tokio::test]
async fn no_link_and_no_dots_lead_out_of_a_root() {
    let (_dir, outside) = directory();
    let root = outside.join("tree");
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(outside.join("secret"), b"secret").unwrap();
    fs::write(root.join("file"), b"fine").unwrap();
    symlink("../../file", root.join("a/b/inside")).unwrap();
    symlink("../../../secret", root.join("a/b/up")).unwrap();
    symlink(outside.join("secret"), root.join("absolute")).unwrap();
    symlink("..", root.join("parent")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    let host = host();
    for path in ["file", "a/b/inside", "a/../file", "./a//b/../../file"] {
        let read = host.read_all(below(&root, path)).await.unwrap();
        assert_eq!(read.bytes, b"fine", "{path}");
    }
    for path in [
        "../secret",
        "a/../../secret",
        "a/b/up",
        "absolute",
        "parent/secret",
        "parent/tree/file",
        "magic/etc/passwd",
    ] {
        let refused = host.read_all(below(&root, path)).await.unwrap_err();
        assert_eq!(kind(&refused), OUTSIDE, "{path}");
    }
    for path in ["..", "parent", "a/../.."] {
        let refused = host.list(below(&root, path)).await.unwrap_err();
        assert_eq!(kind(&refused), OUTSIDE, "{path}");
    }
    assert_eq!(host.list(below(&root, "")).await.unwrap().len(), 5);
    // The root's own links are followed: it is trusted.
    symlink("tree", outside.join("alias")).unwrap();
    let read = host.read_all(below(outside.join("alias"), "file")).await.unwrap();
    assert_eq!(read.bytes, b"fine");
    // Without a root every link is followed.
    let read = host.read_all(at(root.join("a/b/up"))).await.unwrap();
    assert_eq!(read.bytes, b"secret");
}

#[tokio::test]
async fn a_directory_that_is_swapped_for_a_link_again_and_again_never_leads_out_of_its_root() {
    let (_dir, outside) = directory();
    let root = outside.join("root");
    for (directory, content) in [(outside.join("elsewhere"), "secret"), (root.join("real"), "fine")] {
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
                let _ = fs::rename(&name, root.join("real"));
                symlink("../elsewhere", &link).unwrap();
                let _ = fs::rename(&link, &name);
                let _ = fs::remove_file(&name);
            }
        }
    });
    let host = host();
    let mut refused = 0;
    // More reads where the link is not met soon: the thread that swaps may start late on a busy machine.
    let deadline = Instant::now() + Duration::from_secs(60);
    for read in 0.. {
        if read >= 2_000 && (refused > 0 || Instant::now() > deadline) {
            break;
        }
        match host.read_all(below(&root, "name/file")).await {
            Ok(read) => assert_eq!(read.bytes, b"fine"),
            Err(error) => {
                let kind = kind(&error);
                assert!(kind == OUTSIDE || kind == NOT_FOUND, "{error:?}");
                refused += usize::from(kind == OUTSIDE);
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    swaps.join().unwrap();
    assert!(refused > 0, "the link was never met");
}

#[tokio::test]
async fn a_caller_of_a_transfer_without_a_key_is_refused() {
    let host = Host { peer: None, ..host() };
    let refused = host.list(at("/")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = host.read_all(at("/etc/passwd")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = host.hash(at("/etc/passwd"), None).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}
