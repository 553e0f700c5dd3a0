//! `ReadMany` on real directories: links that are swapped in, files that grow, hostile names, what is no regular file.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use baton_channel::allow::{AllowList, Peer, Trust};
use baton_channel::key::PublicKey;
use baton_exec_server::{Directory, FilesService};
use baton_proto::files::files_error::Kind as ErrorKind;
use baton_proto::files::small_file::Kind;
use baton_proto::files::{FilesError, Place, ReadManyRequest, WholeFile};
use baton_proto::limits::{FILE_PIECE_MAX, READ_MANY_MAX, SMALL_FILE_MAX};
use baton_rpc::files::files_server::Files as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use tonic::{Code, Request, Status};

/// One service and one client of it.
struct Host {
    service: FilesService,
    peer: Arc<Peer>,
}

fn host() -> Host {
    let key = PublicKey::from_bytes([1; 32]);
    let allow = AllowList::only(key, "test", Trust::Continue);
    Host {
        service: FilesService::new(Directory::Own),
        peer: Arc::new(allow.find(&key).unwrap().unwrap()),
    }
}

impl Host {
    async fn read_many<N: AsRef<[u8]>>(&self, directory: Place, names: &[N]) -> Result<Vec<Kind>, Status> {
        let names = names.iter().map(|name| Bytes::copy_from_slice(name.as_ref()));
        let mut request = Request::new(ReadManyRequest {
            directory: Some(directory),
            names: names.collect(),
        });
        request.extensions_mut().insert(Arc::clone(&self.peer));
        let mut messages = self.service.read_many(request).await?.into_inner();
        let mut files = Vec::new();
        while let Some(message) = messages.next().await {
            let message = message?.files;
            assert!((1..=READ_MANY_MAX).contains(&message.len()));
            let message = message.into_iter().map(|file| file.kind.unwrap());
            let message: Vec<Kind> = message.collect();
            let bytes: usize = message
                .iter()
                .filter_map(|kind| Some(whole(kind)?.data.len()))
                .sum();
            assert!(bytes <= FILE_PIECE_MAX, "{bytes}");
            files.extend(message);
        }
        Ok(files)
    }
}

fn whole(kind: &Kind) -> Option<&WholeFile> {
    match kind {
        Kind::Whole(whole) => Some(whole),
        Kind::Failed(_) | Kind::TooLarge(_) => None,
    }
}

#[track_caller]
fn failure(kind: &Kind) -> ErrorKind {
    match kind {
        Kind::Failed(failed) => {
            assert!(!failed.message.is_empty());
            failed.kind()
        }
        other => panic!("{other:?}"),
    }
}

fn below(root: &Path, path: &str) -> Place {
    Place {
        root: Some(Bytes::copy_from_slice(root.as_os_str().as_bytes())),
        path: Bytes::copy_from_slice(path.as_bytes()),
    }
}

/// A directory without links in its path.
fn directory() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

#[tokio::test]
async fn files_come_whole_in_the_order_of_their_names_and_each_failure_is_of_its_file() {
    let (_dir, root) = directory();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("script"), b"#!").unwrap();
    fs::set_permissions(root.join("script"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::write(root.join("limit"), vec![1; SMALL_FILE_MAX]).unwrap();
    fs::write(root.join("beyond"), vec![2; SMALL_FILE_MAX + 1]).unwrap();
    fs::create_dir(root.join("directory")).unwrap();
    // A plain open would wait for a writer.
    let fifo = root.join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let names = [
        "script",
        "absent",
        "limit",
        "fifo",
        "beyond",
        "directory",
        "empty",
        "script",
    ];
    let files = host().read_many(below(&root, ""), &names).await.unwrap();
    assert_eq!(files.len(), names.len());
    let script = whole(&files[0]).unwrap();
    let status = script.status.as_ref().unwrap();
    assert_eq!(
        (&script.data[..], status.size, status.mode),
        (&b"#!"[..], 2, 0o4751)
    );
    assert!(!script.changed);
    assert_eq!(failure(&files[1]), ErrorKind::NotFound);
    assert_eq!(whole(&files[2]).unwrap().data, vec![1; SMALL_FILE_MAX]);
    assert_eq!(failure(&files[3]), ErrorKind::NotRegular);
    assert!(matches!(files[4], Kind::TooLarge(_)));
    assert_eq!(failure(&files[5]), ErrorKind::NotRegular);
    assert!(whole(&files[6]).unwrap().data.is_empty());
    assert_eq!(whole(&files[7]), Some(script));
}

#[tokio::test]
async fn the_most_and_largest_files_come_in_bounded_messages() {
    let (_dir, root) = directory();
    let names: Vec<String> = (0..READ_MANY_MAX).map(|number| number.to_string()).collect();
    for (number, name) in names.iter().enumerate() {
        fs::write(
            root.join(name),
            vec![u8::try_from(number).unwrap(); SMALL_FILE_MAX],
        )
        .unwrap();
    }
    let files = host().read_many(below(&root, ""), &names).await.unwrap();
    assert_eq!(files.len(), READ_MANY_MAX);
    for (number, file) in files.iter().enumerate() {
        let expected = vec![u8::try_from(number).unwrap(); SMALL_FILE_MAX];
        assert_eq!(whole(file).unwrap().data, expected);
    }
}

#[tokio::test]
async fn a_name_that_leads_out_of_the_directory_is_refused_before_anything_is_read() {
    let (_dir, root) = directory();
    fs::write(root.join("fine"), b"fine").unwrap();
    fs::create_dir(root.join("sub")).unwrap();
    let beyond = vec!["fine"; READ_MANY_MAX + 1];
    let none: [&str; 0] = [];
    let host = host();
    for names in [
        &["fine", ".."][..],
        &["."],
        &["../fine"],
        &["sub/../fine"],
        &["/etc/passwd"],
        &["fine", ""],
        &["fi\0ne"],
        &beyond,
        &none,
    ] {
        let refused = host.read_many(below(&root, ""), names).await.unwrap_err();
        let detail = FilesError::from_details(refused.details()).unwrap();
        assert_eq!(
            (refused.code(), detail.kind()),
            (Code::InvalidArgument, ErrorKind::InvalidPath),
            "{names:?}"
        );
    }
}

#[tokio::test]
async fn no_link_is_followed_at_a_name_and_none_leads_the_directory_out_of_its_root() {
    let (_dir, root) = directory();
    let tree = root.join("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(root.join("secret"), b"secret").unwrap();
    fs::write(tree.join("sub/file"), b"file").unwrap();
    symlink("../../secret", tree.join("sub/out")).unwrap();
    symlink("file", tree.join("sub/inside")).unwrap();
    symlink("..", tree.join("up")).unwrap();
    symlink("sub", tree.join("same")).unwrap();
    let host = host();
    let files = host
        .read_many(below(&tree, "sub"), &["out", "inside", "file"])
        .await
        .unwrap();
    assert_eq!(failure(&files[0]), ErrorKind::NotRegular);
    assert_eq!(failure(&files[1]), ErrorKind::NotRegular);
    assert_eq!(whole(&files[2]).unwrap().data, "file");
    // A link to a directory of the root is one way to it.
    let files = host.read_many(below(&tree, "same"), &["file"]).await.unwrap();
    assert_eq!(whole(&files[0]).unwrap().data, "file");
    for (path, kind) in [
        ("up", ErrorKind::OutsideRoot),
        ("..", ErrorKind::OutsideRoot),
        ("sub/file", ErrorKind::NotADirectory),
        ("absent", ErrorKind::NotFound),
    ] {
        let refused = host.read_many(below(&tree, path), &["secret"]).await.unwrap_err();
        let detail = FilesError::from_details(refused.details()).unwrap();
        assert_eq!(detail.kind(), kind, "{path}");
    }
}

#[tokio::test]
async fn a_link_that_is_swapped_in_during_the_calls_never_shows_what_it_leads_to() {
    let (_dir, root) = directory();
    let tree = root.join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(root.join("secret"), b"secret").unwrap();
    fs::write(tree.join("file"), b"file").unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (tree, is_over) = (tree.clone(), Arc::clone(&is_over));
        move || {
            while !is_over.load(Ordering::Relaxed) {
                symlink("../secret", tree.join("new")).unwrap();
                fs::rename(tree.join("new"), tree.join("file")).unwrap();
                fs::write(tree.join("new"), b"file").unwrap();
                fs::rename(tree.join("new"), tree.join("file")).unwrap();
            }
        }
    });
    let host = host();
    for _ in 0..200 {
        for file in host
            .read_many(below(&tree, ""), &["file"; READ_MANY_MAX])
            .await
            .unwrap()
        {
            match &file {
                Kind::Whole(whole) => assert_eq!(whole.data, "file"),
                _ => assert_eq!(failure(&file), ErrorKind::NotRegular),
            }
        }
    }
    is_over.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
}

#[tokio::test]
async fn a_file_that_grows_is_never_longer_than_a_small_one() {
    let (_dir, root) = directory();
    let path = root.join("file");
    fs::write(&path, vec![1; SMALL_FILE_MAX - 64]).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let grower = std::thread::spawn({
        let (path, is_over) = (path.clone(), Arc::clone(&is_over));
        move || {
            let file = fs::File::options().write(true).open(path).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                file.set_len(SMALL_FILE_MAX as u64 - 64).unwrap();
                file.set_len(SMALL_FILE_MAX as u64 * 3).unwrap();
            }
        }
    });
    let host = host();
    for _ in 0..100 {
        for file in host.read_many(below(&root, ""), &["file"; 4]).await.unwrap() {
            match &file {
                Kind::Whole(whole) => assert!(whole.data.len() <= SMALL_FILE_MAX),
                Kind::TooLarge(_) => {}
                Kind::Failed(failed) => panic!("{failed:?}"),
            }
        }
    }
    is_over.store(true, Ordering::Relaxed);
    grower.join().unwrap();
    // Its size is not told, and its bytes are read to their end.
    let own = host
        .read_many(below(Path::new("/proc/self"), ""), &["stat"])
        .await
        .unwrap();
    assert!(!whole(&own[0]).unwrap().data.is_empty());
}
