//! Project roots and a turn's changes through a real relay, with a service for files that counts its calls and can be
//! without `FindUp`, as an earlier version.

use std::ffi::OsStr;
use std::fs;
use std::future::pending;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::Seed;
use baton_channel::{Notice, Routes, Server};
use baton_core_client::{
    ChangedFile, Changes, ChangesError, Client, Command, Diff, FilesError, FilesFailure, ProjectRoot, Thread,
    UpwardSearch,
};
use baton_exec_server::server::NoService;
use baton_exec_server::{Directory, ExecService, FilesService};
use baton_proto::Features;
use baton_proto::files::{
    FindUpRequest, FindUpResponse, GlobRequest, GrepRequest, HashRequest, HashResponse, ListRequest,
    MkdirRequest, MkdirResponse, ReadManyRequest, ReadRequest, StatRequest, StatResponse, WriteRequest,
    WriteResponse,
};
use baton_relay::{Config, Relay};
use baton_rpc::files::files_server::{Files, FilesServer};
use tempfile::TempDir;
use tokio::sync::Notify;
use tonic::{Request, Response, Status, Streaming};

/// Counts the calls of a service for files.
#[derive(Clone)]
struct Counted {
    inner: FilesService,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls {
    stat: AtomicUsize,
    find_up: AtomicUsize,
    /// The most `Stat` that were open at once.
    open: AtomicUsize,
    most_open: AtomicUsize,
    is_without_find_up: AtomicBool,
    is_without_stat: AtomicBool,
    /// The more components a path has, the later its `Stat` is answered.
    near_is_late: AtomicBool,
}

impl Calls {
    /// The calls of `FindUp` and `Stat` since the last time.
    fn take(&self) -> (usize, usize) {
        (
            self.find_up.swap(0, Ordering::SeqCst),
            self.stat.swap(0, Ordering::SeqCst),
        )
    }
}

#[tonic::async_trait]
impl Files for Counted {
    type ListStream = <FilesService as Files>::ListStream;
    type ReadStream = <FilesService as Files>::ReadStream;
    type ReadManyStream = <FilesService as Files>::ReadManyStream;
    type GlobStream = <FilesService as Files>::GlobStream;
    type GrepStream = <FilesService as Files>::GrepStream;

    async fn glob(&self, _: Request<GlobRequest>) -> Result<Response<Self::GlobStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn grep(&self, _: Request<GrepRequest>) -> Result<Response<Self::GrepStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn read(&self, _: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn read_many(&self, _: Request<ReadManyRequest>) -> Result<Response<Self::ReadManyStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn write(&self, _: Request<Streaming<WriteRequest>>) -> Result<Response<WriteResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn mkdir(&self, _: Request<MkdirRequest>) -> Result<Response<MkdirResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<StatResponse>, Status> {
        let calls = &self.calls;
        if calls.is_without_stat.load(Ordering::SeqCst) {
            return Err(Status::unimplemented(""));
        }
        calls.stat.fetch_add(1, Ordering::SeqCst);
        let open = calls.open.fetch_add(1, Ordering::SeqCst) + 1;
        calls.most_open.fetch_max(open, Ordering::SeqCst);
        if calls.near_is_late.load(Ordering::SeqCst) {
            let components = request
                .get_ref()
                .path
                .iter()
                .filter(|byte| **byte == b'/')
                .count();
            tokio::time::sleep(Duration::from_millis(10 * components as u64)).await;
        }
        let answer = self.inner.stat(request).await;
        calls.open.fetch_sub(1, Ordering::SeqCst);
        answer
    }

    async fn find_up(&self, request: Request<FindUpRequest>) -> Result<Response<FindUpResponse>, Status> {
        self.calls.find_up.fetch_add(1, Ordering::SeqCst);
        match self.calls.is_without_find_up.load(Ordering::SeqCst) {
            true => Err(Status::unimplemented("")),
            false => self.inner.find_up(request).await,
        }
    }
}

/// An exec-server with a client, and a directory.
struct Fixture {
    client: Client,
    calls: Arc<Calls>,
    _dir: TempDir,
    at: PathBuf,
}

/// An exec-server that announces `FindUp`.
async fn fixture() -> Fixture {
    fixture_with(|server| server.announce(Features::FIND_UP)).await
}

async fn fixture_with(announce: impl FnOnce(Server) -> Server) -> Fixture {
    let relay = Relay::bind("127.0.0.1:0".parse().unwrap(), Config::default())
        .await
        .unwrap();
    let url = format!("http://{}", relay.local_addr());
    tokio::spawn(relay.serve(pending()));
    let seed = Seed::generate().unwrap();
    let allow = AllowList::only(*seed.client_key().unwrap().public(), "test", Trust::Continue);
    let registered = Arc::new(Notify::new());
    let notify = Arc::clone(&registered);
    let server = Server::new(&url, &Seed::generate().unwrap(), allow).unwrap();
    let server = announce(server).on_notice(move |notice| {
        if let Notice::Registered = notice {
            notify.notify_one();
        }
    });
    let ticket = server.ticket();
    let calls = Arc::new(Calls::default());
    let files = Counted {
        inner: FilesService::new(Directory::Home),
        calls: Arc::clone(&calls),
    };
    let exec = ExecService::new(server.epoch()).into_server();
    let routes = Routes::new(exec, Routes::new(FilesServer::new(files), NoService));
    tokio::spawn(server.serve(routes, pending()));
    registered.notified().await;
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().canonicalize().unwrap();
    Fixture {
        client: Client::new(ticket, seed.client_key().unwrap()),
        calls,
        _dir: dir,
        at,
    }
}

const MARKER: &str = ".baton-test-marker";

impl Fixture {
    /// Creates a directory `levels` below the fixture's.
    fn below(&self, levels: usize) -> PathBuf {
        let deep = (0..levels).fold(self.at.clone(), |at, level| at.join(format!("d{level}")));
        fs::create_dir_all(&deep).unwrap();
        deep
    }

    fn mark(&self, directory: &Path) -> PathBuf {
        let marker = directory.join(MARKER);
        fs::write(&marker, b"").unwrap();
        marker
    }

    /// git as a user runs it.
    fn git(&self, arguments: &[&str]) {
        let output = std::process::Command::new("git")
            .current_dir(&self.at)
            .args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@t",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

fn directory(search: &UpwardSearch) -> Option<&Path> {
    search
        .root
        .as_ref()
        .map(|ProjectRoot { directory, .. }| directory.as_path())
}

fn failure(error: FilesError) -> FilesFailure {
    match error {
        FilesError::Failed { failure, .. } => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_root_far_up_is_found_by_one_call() {
    let fixture = fixture().await;
    let deep = fixture.below(12);
    fixture.mark(&fixture.at);
    let found = fixture
        .client
        .workspace()
        .project_root(&deep, [".baton-none", MARKER])
        .await
        .unwrap();
    let root = found.root.unwrap();
    assert_eq!(
        (root.directory, root.marker.as_os_str(), root.depth),
        (fixture.at.clone(), OsStr::new(MARKER), 12)
    );
    assert_eq!(fixture.calls.take(), (1, 0));
}

#[tokio::test]
async fn a_root_kept_from_startup_is_used_once() {
    let fixture = fixture().await;
    let start = fixture.below(2);
    fixture.mark(&fixture.at);
    let workspace = fixture.client.workspace();
    let kept = workspace.find_at_startup(&start, [MARKER]).await.unwrap();
    assert_eq!(fixture.calls.take(), (1, 0));
    assert_eq!(workspace.project_root(&start, [MARKER]).await.unwrap(), kept);
    assert_eq!(
        fixture.calls.take(),
        (0, 0),
        "the next discovery takes it without a call"
    );
    assert_eq!(workspace.project_root(&start, [MARKER]).await.unwrap(), kept);
    assert_eq!(fixture.calls.take(), (1, 0), "then it is gone");
}

#[tokio::test]
async fn a_kept_root_is_for_its_start_and_markers_and_for_the_next_discovery_only() {
    let fixture = fixture().await;
    let start = fixture.below(2);
    fixture.mark(&fixture.at);
    let other = start.parent().unwrap();
    let workspace = fixture.client.workspace();
    for (next_start, next_markers) in [(other, &[MARKER][..]), (&start, &[MARKER, "other"])] {
        workspace.find_at_startup(&start, [MARKER]).await.unwrap();
        fixture.calls.take();
        let found = workspace.project_root(next_start, next_markers).await.unwrap();
        assert_eq!(found.start, next_start);
        assert_eq!(fixture.calls.take(), (1, 0), "{next_start:?}");
        workspace.project_root(&start, [MARKER]).await.unwrap();
        assert_eq!(fixture.calls.take(), (1, 0), "another discovery came between");
    }
    // Another workspace has kept nothing.
    workspace.find_at_startup(&start, [MARKER]).await.unwrap();
    fixture.calls.take();
    fixture
        .client
        .workspace()
        .project_root(&start, [MARKER])
        .await
        .unwrap();
    assert_eq!(fixture.calls.take(), (1, 0));
}

#[tokio::test]
async fn a_kept_root_ends_with_its_session() {
    let fixture = fixture().await;
    let start = fixture.below(1);
    fixture.mark(&fixture.at);
    let workspace = fixture.client.workspace();
    workspace.find_at_startup(&start, [MARKER]).await.unwrap();
    fixture.calls.take();
    fixture.client.close().await;
    workspace.project_root(&start, [MARKER]).await.unwrap();
    assert_eq!(fixture.calls.take(), (1, 0));
}

#[tokio::test]
async fn a_nearer_marker_made_or_removed_is_seen_on_the_next_load() {
    let fixture = fixture().await;
    let start = fixture.below(2);
    fixture.mark(&fixture.at);
    let workspace = fixture.client.workspace();
    workspace.find_at_startup(&start, [MARKER]).await.unwrap();
    let found = workspace.project_root(&start, [MARKER]).await.unwrap();
    assert_eq!(directory(&found), Some(&*fixture.at));
    let nearer = fixture.mark(start.parent().unwrap());
    let found = workspace.project_root(&start, [MARKER]).await.unwrap();
    assert_eq!(directory(&found), start.parent());
    fs::remove_file(nearer).unwrap();
    let found = workspace.project_root(&start, [MARKER]).await.unwrap();
    assert_eq!(directory(&found), Some(&*fixture.at));
    // What was not found at start-up is not kept.
    fs::remove_file(fixture.at.join(MARKER)).unwrap();
    assert_eq!(
        workspace.find_at_startup(&start, [MARKER]).await.unwrap().root,
        None
    );
    fixture.mark(&fixture.at);
    let found = workspace.project_root(&start, [MARKER]).await.unwrap();
    assert_eq!(directory(&found), Some(&*fixture.at));
}

#[tokio::test]
async fn without_find_up_eight_ancestors_are_probed_at_once_and_the_nearest_wins() {
    let fixture = fixture().await;
    fixture.calls.is_without_find_up.store(true, Ordering::SeqCst);
    let deep = fixture.below(12);
    fixture.mark(&fixture.at);
    let workspace = fixture.client.workspace();
    let found = workspace.project_root(&deep, [MARKER]).await.unwrap();
    let root = found.root.clone().unwrap();
    assert_eq!((&*root.directory, root.depth), (&*fixture.at, 12));
    let (find_up, stat) = fixture.calls.take();
    assert_eq!(find_up, 1);
    assert!(
        stat <= 1 + 16,
        "the status of the start and two times eight probes: {stat}"
    );
    assert!(fixture.calls.most_open.load(Ordering::SeqCst) <= 1 + 8);

    // Farther answers arrive first.
    fixture.calls.near_is_late.store(true, Ordering::SeqCst);
    let nearer = deep.ancestors().nth(2).unwrap();
    fixture.mark(nearer);
    fixture.mark(deep.ancestors().nth(4).unwrap());
    let found = workspace.project_root(&deep, [MARKER]).await.unwrap();
    assert_eq!(directory(&found), Some(nearer));
    assert_eq!(
        fixture.calls.take().0,
        0,
        "it is remembered that there is no FindUp"
    );
    fixture.calls.near_is_late.store(false, Ordering::SeqCst);
    assert_eq!(
        workspace.project_root(&deep, [".baton-none"]).await.unwrap().root,
        None
    );
}

#[tokio::test]
async fn an_exec_server_that_does_not_announce_find_up_is_probed_at_once() {
    let fixture = fixture_with(|server| server).await;
    let start = fixture.below(2);
    fixture.mark(&fixture.at);
    fixture.client.connect().await.unwrap();
    let search = async || {
        let workspace = fixture.client.workspace();
        let found = workspace.project_root(&start, [MARKER]).await.unwrap();
        assert_eq!(directory(&found), Some(&*fixture.at));
        fixture.calls.take()
    };
    let (find_up, stat) = search().await;
    assert!(find_up == 0 && stat > 0, "{find_up} {stat}");
    // Before a session nothing is announced, and the call that establishes it finds out.
    fixture.client.close().await;
    fixture.calls.is_without_find_up.store(true, Ordering::SeqCst);
    assert_eq!(search().await.0, 1);
    assert_eq!(search().await.0, 0);
}

#[tokio::test]
async fn the_fallback_answers_as_find_up_does() {
    let fixture = fixture().await;
    let project = fixture.at.join("project/src");
    let home = fixture.at.join("home");
    fs::create_dir_all(&project).unwrap();
    fs::create_dir_all(&home).unwrap();
    fixture.mark(&fixture.at.join("project"));
    fixture.mark(&home);
    symlink(&project, home.join("link")).unwrap();
    symlink("nowhere", project.join(MARKER)).unwrap();
    fs::write(home.join("file"), b"").unwrap();
    let starts = [
        project.clone(),
        home.join("link"),
        home.join("link/../src"),
        home.join("link/"),
        home.join("./link"),
        home.clone(),
        PathBuf::from("/"),
        PathBuf::new(),
    ];
    let bad = [
        home.join("none"),
        home.join("file"),
        "relative".into(),
        "/a\0".into(),
    ];
    let (mut answers, mut failures) = (Vec::new(), Vec::new());
    for is_without in [false, true] {
        fixture
            .calls
            .is_without_find_up
            .store(is_without, Ordering::SeqCst);
        let workspace = fixture.client.workspace();
        let mut answered = Vec::new();
        for start in &starts {
            answered.push(
                workspace
                    .project_root(start, [".baton-none", MARKER])
                    .await
                    .unwrap(),
            );
        }
        let mut failed = Vec::new();
        for start in &bad {
            failed.push(failure(
                workspace.project_root(start, [MARKER]).await.unwrap_err(),
            ));
        }
        for marker in ["", "..", "a/b"] {
            failed.push(failure(
                workspace.project_root(&home, [marker]).await.unwrap_err(),
            ));
        }
        answers.push(answered);
        failures.push(failed);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(failures[0], failures[1]);
    assert_eq!(directory(&answers[0][1]), Some(&*fixture.at.join("project")));
}

#[tokio::test]
async fn a_server_without_files_is_a_typed_error() {
    let fixture = fixture().await;
    fixture.calls.is_without_find_up.store(true, Ordering::SeqCst);
    fixture.calls.is_without_stat.store(true, Ordering::SeqCst);
    let refused = fixture
        .client
        .workspace()
        .project_root("/", [MARKER])
        .await
        .unwrap_err();
    assert!(matches!(refused, FilesError::NotServed), "{refused:?}");
    assert!(refused.to_string().contains("update it"), "{refused}");
}

#[tokio::test]
async fn a_threads_repository_is_found_with_its_first_change_and_never_before() {
    let fixture = fixture().await;
    let start = fixture.below(1);
    let thread = Thread::new(&fixture.client, "t", &start);
    assert_eq!(thread.changes().await.unwrap(), Changes::NoneRecorded);
    thread.changed("");
    assert_eq!(thread.changes().await.unwrap(), Changes::NoneRecorded);
    // Also commands look nothing up.
    assert!(
        fixture
            .client
            .run(thread.command("true"))
            .await
            .unwrap()
            .status
            .success()
    );
    thread.changed("new");
    assert_eq!(fixture.calls.take(), (0, 0));

    let Changes::NoRepository(search) = thread.changes().await.unwrap() else {
        panic!()
    };
    assert_eq!((search.start, search.root), (start.clone(), None));
    assert_eq!(fixture.calls.take(), (1, 0));

    // The repository is made only now: it was not looked for too early, and none is not remembered.
    fixture.git(&["init", "-q"]);
    assert_eq!(
        thread.changes().await.unwrap(),
        Changes::NotChanged {
            root: fixture.at.clone()
        }
    );
    assert_eq!(fixture.calls.take(), (1, 0));
    fs::write(start.join("new"), "text\n").unwrap();
    let Changes::Changed(changed) = thread.changes().await.unwrap() else {
        panic!()
    };
    assert_eq!(changed.commit, None, "before the first commit");
    assert_eq!(changed.files[0].path, Path::new("d0/new"));
    assert_eq!(fixture.calls.take(), (0, 0), "known until the turn ends");
    thread.begin_turn();
    assert_eq!(thread.changes().await.unwrap(), Changes::NoneRecorded);
    thread.changed(start.join("new"));
    assert!(matches!(thread.changes().await.unwrap(), Changes::Changed(_)));
    assert_eq!(fixture.calls.take(), (1, 0));
}

#[tokio::test]
async fn changes_are_gits_diff_of_the_recorded_paths() {
    let fixture = fixture().await;
    let start = fixture.below(1);
    fixture.git(&["init", "-q"]);
    for name in ["edited", "gone", "other", "*"] {
        fs::write(start.join(name), "one\n").unwrap();
    }
    fixture.git(&["add", "."]);
    fixture.git(&["commit", "-q", "-m", "one"]);
    let link = fixture.at.join("link");
    symlink(&start, &link).unwrap();
    fs::write(start.join("edited"), "two\n").unwrap();
    fs::write(start.join("other"), "two\n").unwrap();
    fs::remove_file(start.join("gone")).unwrap();
    fs::write(start.join("made"), "new\n").unwrap();

    // The start is a link into the repository.
    let thread = Thread::new(&fixture.client, "t", &link);
    thread.changed("edited");
    thread.changed(link.join("gone"));
    thread.changed("./x/../made");
    thread.changed("/outside/of/it");
    // A path is no pattern: this file has not changed, and others that it would match are not reported.
    thread.changed("*");
    let Changes::Changed(changed) = thread.changes().await.unwrap() else {
        panic!()
    };
    let files: Vec<_> = changed
        .files
        .iter()
        .map(
            |ChangedFile {
                 path,
                 index,
                 worktree,
                 ..
             }| (path.to_str().unwrap(), *index, *worktree),
        )
        .collect();
    assert_eq!(
        files,
        [
            ("d0/edited", '.', 'M'),
            ("d0/gone", '.', 'D'),
            ("d0/made", '?', '?')
        ]
    );
    assert_eq!(changed.outside, [PathBuf::from("/outside/of/it")]);
    assert_eq!(changed.commit.unwrap().len(), 40);
    let Diff::Text(diff) = changed.diff else { panic!() };
    let diff = String::from_utf8(diff).unwrap();
    assert!(
        diff.contains("+++ b/d0/edited\n") && diff.contains("-one\n+two\n"),
        "{diff}"
    );
    assert!(
        diff.contains("--- a/d0/gone\n") && !diff.contains("other"),
        "{diff}"
    );
}

#[tokio::test]
async fn git_runs_nothing_that_the_repository_names() {
    let fixture = fixture().await;
    fixture.git(&["init", "-q"]);
    fs::write(fixture.at.join("file"), "one\n").unwrap();
    fs::write(fixture.at.join(".gitattributes"), "file diff=own\n").unwrap();
    fixture.git(&["add", "."]);
    fixture.git(&["commit", "-q", "-m", "one"]);
    fs::write(fixture.at.join("file"), "two\n").unwrap();
    let ran = fixture.at.join("ran");
    let program = fixture.at.join("program");
    fs::write(
        &program,
        format!("#!/bin/sh\necho \"$0 $@\" >> {}\n", ran.display()),
    )
    .unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let program = program.to_str().unwrap();
    for name in [
        "core.fsmonitor",
        "diff.external",
        "diff.own.command",
        "diff.own.textconv",
        "core.pager",
    ] {
        fixture.git(&["config", name, program]);
    }
    fs::create_dir_all(fixture.at.join(".git/hooks")).unwrap();
    fs::copy(program, fixture.at.join(".git/hooks/post-index-change")).unwrap();
    let thread = Thread::new(&fixture.client, "t", &fixture.at);
    thread.changed("file");
    let Changes::Changed(changed) = thread.changes().await.unwrap() else {
        panic!()
    };
    let Diff::Text(diff) = changed.diff else { panic!() };
    assert!(String::from_utf8(diff).unwrap().contains("-one\n+two\n"));
    assert!(!ran.exists(), "{}", fs::read_to_string(ran).unwrap());
}

#[tokio::test]
async fn a_git_directory_that_is_no_repository_is_gits_error_and_leads_to_no_other_repository() {
    let fixture = fixture().await;
    fixture.git(&["init", "-q"]);
    let start = fixture.below(1);
    fs::create_dir(start.join(".git")).unwrap();
    fs::write(start.join("new"), b"").unwrap();
    let thread = Thread::new(&fixture.client, "t", &start);
    thread.changed("new");
    let error = thread.changes().await.unwrap_err();
    let ChangesError::Git { status: 128, message } = error else {
        panic!("{error:?}")
    };
    assert!(message.contains("not a git repository"), "{message}");
}

#[tokio::test]
async fn a_start_that_is_removed_is_a_typed_error() {
    let fixture = fixture().await;
    let start = fixture.below(1);
    let thread = Thread::new(&fixture.client, "t", &start);
    thread.changed("new");
    fs::remove_dir(&start).unwrap();
    let error = thread.changes().await.unwrap_err();
    let ChangesError::Files(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure(error), FilesFailure::NotFound);
    let gone = fixture.client.run(Command::new("pwd").current_dir(&start)).await;
    assert!(gone.is_err(), "as for a command");
}
