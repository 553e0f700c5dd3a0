//! Downloads of small files through a real relay, with a service for files that counts its calls and can be without
//! `ReadMany`, as an earlier version, or answer it in a hostile way.

use std::collections::BTreeMap;
use std::fs;
use std::future::pending;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::Seed;
use baton_channel::{Notice, Routes, Server};
use baton_core_client::{Client, CopyError, CopyEvent, CopyOptions, FilesError};
use baton_exec_server::server::NoService;
use baton_exec_server::{Directory, ExecService, FilesService};
use baton_proto::Features;
use baton_proto::files::{
    FindUpRequest, FindUpResponse, GlobRequest, GrepRequest, HashRequest, HashResponse, ListRequest,
    MkdirRequest, MkdirResponse, ReadManyRequest, ReadManyResponse, ReadRequest, StatRequest, StatResponse,
    WriteRequest, WriteResponse,
};
use baton_proto::limits::{READ_MANY_MAX, SMALL_FILE_MAX};
use baton_relay::{Config, Relay};
use baton_rpc::files::files_server::{Files, FilesServer};
use futures_util::StreamExt as _;
use futures_util::stream;
use tempfile::TempDir;
use tokio::sync::Notify;
use tonic::{Request, Response, Status, Streaming};

#[derive(Clone, Copy)]
enum Many {
    Served,
    NotServed,
    /// Without the last file.
    Short,
    /// A file is removed, and another one grows, before they are read.
    Late,
}

/// Counts the calls of a service for files.
#[derive(Clone)]
struct Counted {
    inner: FilesService,
    many: Many,
    root: PathBuf,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls {
    read: AtomicUsize,
    read_many: AtomicUsize,
    names: Mutex<Vec<usize>>,
}

#[tonic::async_trait]
impl Files for Counted {
    type GlobStream = <FilesService as Files>::GlobStream;
    type GrepStream = <FilesService as Files>::GrepStream;

    async fn glob(&self, _: Request<GlobRequest>) -> Result<Response<Self::GlobStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn grep(&self, _: Request<GrepRequest>) -> Result<Response<Self::GrepStream>, Status> {
        Err(Status::unimplemented(""))
    }

    type ListStream = <FilesService as Files>::ListStream;
    type ReadStream = <FilesService as Files>::ReadStream;
    type ReadManyStream = <FilesService as Files>::ReadManyStream;

    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<StatResponse>, Status> {
        self.inner.stat(request).await
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        self.inner.list(request).await
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        self.calls.read.fetch_add(1, Ordering::SeqCst);
        self.inner.read(request).await
    }

    async fn read_many(
        &self,
        request: Request<ReadManyRequest>,
    ) -> Result<Response<Self::ReadManyStream>, Status> {
        self.calls.read_many.fetch_add(1, Ordering::SeqCst);
        self.calls
            .names
            .lock()
            .unwrap()
            .push(request.get_ref().names.len());
        match self.many {
            Many::Served => self.inner.read_many(request).await,
            Many::NotServed => Err(Status::unimplemented("")),
            Many::Short => {
                let answer = self.inner.read_many(request).await?.into_inner();
                let messages: Vec<Result<ReadManyResponse, Status>> = answer.collect().await;
                let short = messages.into_iter().map(|message| {
                    let mut message = message?;
                    message.files.truncate(message.files.len() - 1);
                    Ok(message)
                });
                Ok(Response::new(stream::iter(short.collect::<Vec<_>>()).boxed()))
            }
            Many::Late => {
                fs::remove_file(self.root.join("gone")).unwrap();
                fs::write(self.root.join("grown"), vec![7; SMALL_FILE_MAX + 1]).unwrap();
                self.inner.read_many(request).await
            }
        }
    }

    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        self.inner.hash(request).await
    }

    async fn write(&self, _: Request<Streaming<WriteRequest>>) -> Result<Response<WriteResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn mkdir(&self, _: Request<MkdirRequest>) -> Result<Response<MkdirResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn find_up(&self, _: Request<FindUpRequest>) -> Result<Response<FindUpResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// An exec-server with a client, and a directory.
struct Fixture {
    client: Client,
    calls: Arc<Calls>,
    _dir: TempDir,
    root: PathBuf,
    copy: PathBuf,
}

async fn fixture(many: Many, announced: bool) -> Fixture {
    let relay = Relay::bind("127.0.0.1:0".parse().unwrap(), Config::default())
        .await
        .unwrap();
    let url = format!("http://{}", relay.local_addr());
    tokio::spawn(relay.serve(pending()));
    let seed = Seed::generate().unwrap();
    let allow = AllowList::only(*seed.client_key().unwrap().public(), "test", Trust::Continue);
    let registered = Arc::new(Notify::new());
    let notify = Arc::clone(&registered);
    let mut server = Server::new(&url, &Seed::generate().unwrap(), allow).unwrap();
    server = server.announce(Features::READ_FILES);
    if announced {
        server = server.announce(Features::READ_MANY);
    }
    let server = server.on_notice(move |notice| {
        if let Notice::Registered = notice {
            notify.notify_one();
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().canonicalize().unwrap();
    let root = at.join("root");
    fs::create_dir(&root).unwrap();
    let calls = Arc::new(Calls::default());
    let files = Counted {
        inner: FilesService::new(Directory::Home),
        many,
        root: root.clone(),
        calls: Arc::clone(&calls),
    };
    let ticket = server.ticket();
    let exec = ExecService::new(server.epoch()).into_server();
    let routes = Routes::new(exec, Routes::new(FilesServer::new(files), NoService));
    tokio::spawn(server.serve(routes, pending()));
    registered.notified().await;
    Fixture {
        client: Client::new(ticket, seed.client_key().unwrap()),
        calls,
        _dir: dir,
        root,
        copy: at.join("copy"),
    }
}

impl Fixture {
    fn write(&self, name: &str, length: usize) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![name.len() as u8; length]).unwrap();
    }

    /// Downloads the directory. Returns how many files were copied, their bytes, and what failed or was skipped.
    async fn download(&self, resume: bool) -> Result<(u64, u64, BTreeMap<PathBuf, CopyEvent>), CopyError> {
        let options = CopyOptions {
            recursive: true,
            resume,
        };
        let mut copy = self
            .client
            .files()
            .download(&self.root, &self.copy, options)
            .await?;
        let meter = copy.meter();
        let (mut copied, mut others) = (0, BTreeMap::new());
        while let Some(event) = copy.next().await? {
            match event {
                CopyEvent::Copied { changed, .. } => {
                    assert!(!changed);
                    copied += 1;
                }
                CopyEvent::Skipped { ref path, .. } | CopyEvent::Failed { ref path, .. } => {
                    assert!(others.insert(path.clone(), event).is_none());
                }
                _ => unreachable!(),
            }
        }
        let progress = meter.progress();
        assert_eq!(progress.files, copied);
        Ok((copied, progress.bytes, others))
    }

    #[track_caller]
    fn assert_copied(&self, name: &str) {
        assert!(
            fs::read(self.root.join(name)).unwrap() == fs::read(self.copy.join(name)).unwrap(),
            "{name}"
        );
    }

    fn calls(&self) -> (usize, usize) {
        let read = self.calls.read.load(Ordering::SeqCst);
        (read, self.calls.read_many.load(Ordering::SeqCst))
    }
}

fn entries(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

#[tokio::test]
async fn small_files_of_a_directory_come_by_few_calls_and_large_ones_by_their_own() {
    let fixture = fixture(Many::Served, true).await;
    let names: Vec<String> = (0..70).map(|number| format!("a/{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        fixture.write(name, number);
    }
    fixture.write("b/limit", SMALL_FILE_MAX);
    fixture.write("b/beyond", SMALL_FILE_MAX + 1);
    fixture.write("b/empty", 0);
    symlink("limit", fixture.root.join("b/link")).unwrap();
    let (copied, bytes, others) = fixture.download(false).await.unwrap();
    assert_eq!(copied, 73);
    assert_eq!(bytes, (0..70).sum::<u64>() + 2 * SMALL_FILE_MAX as u64 + 1);
    assert_eq!(others.len(), 1);
    assert!(matches!(others[Path::new("b/link")], CopyEvent::Skipped { .. }));
    for name in names
        .iter()
        .map(String::as_str)
        .chain(["b/limit", "b/beyond", "b/empty"])
    {
        fixture.assert_copied(name);
    }
    assert_eq!(
        (entries(&fixture.copy.join("a")), entries(&fixture.copy.join("b"))),
        (70, 3)
    );
    let (reads, reads_many) = fixture.calls();
    // The order of the listing decides whether the two small ones of `b` are neighbours.
    assert!(reads <= 3 && reads_many <= 4, "{reads} {reads_many}");
    let names = fixture.calls.names.lock().unwrap();
    assert!(
        names.iter().all(|count| (2..=READ_MANY_MAX).contains(count)),
        "{names:?}"
    );
}

#[tokio::test]
async fn an_exec_server_of_an_earlier_version_is_asked_for_each_file() {
    for (many, announced, asked) in [
        (Many::NotServed, false, false),
        // The session is a new one since the listing.
        (Many::NotServed, true, true),
    ] {
        let fixture = fixture(many, announced).await;
        let names: Vec<String> = (0..70).map(|number| format!("a/{number}")).collect();
        for name in &names {
            fixture.write(name, 100);
        }
        let (copied, bytes, others) = fixture.download(false).await.unwrap();
        assert_eq!((copied, bytes, others.len()), (70, 7000, 0));
        names.iter().for_each(|name| fixture.assert_copied(name));
        let (reads, reads_many) = fixture.calls();
        assert_eq!((reads, reads_many > 0), (70, asked));
    }
}

#[tokio::test]
async fn a_copy_that_is_resumed_looks_for_the_part_of_each_file() {
    let fixture = fixture(Many::Served, true).await;
    for number in 0..40 {
        fixture.write(&number.to_string(), 100);
    }
    let (copied, ..) = fixture.download(true).await.unwrap();
    assert_eq!((copied, fixture.calls()), (40, (40, 0)));
}

#[tokio::test]
async fn a_file_that_is_gone_or_has_grown_is_no_matter_of_the_others() {
    let fixture = fixture(Many::Late, true).await;
    for name in ["gone", "grown", "one", "two"] {
        fixture.write(name, 100);
    }
    let (copied, bytes, others) = fixture.download(false).await.unwrap();
    assert_eq!((copied, bytes), (3, 201 + SMALL_FILE_MAX as u64));
    assert_eq!(others.len(), 1);
    assert!(matches!(others[Path::new("gone")], CopyEvent::Failed { .. }));
    for name in ["grown", "one", "two"] {
        fixture.assert_copied(name);
    }
    assert_eq!(fixture.calls(), (1, 1));
}

#[tokio::test]
async fn an_answer_without_a_file_ends_the_copy_and_leaves_none_of_its_files() {
    let fixture = fixture(Many::Short, true).await;
    for name in ["one", "two"] {
        fixture.write(name, 100);
    }
    let ended = fixture.download(false).await.unwrap_err();
    assert!(
        matches!(ended, CopyError::Files(FilesError::Protocol(_))),
        "{ended:?}"
    );
    assert_eq!(entries(&fixture.copy), 0);
}
