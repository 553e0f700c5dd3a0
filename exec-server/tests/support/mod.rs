//! A server on loopback and a client of it, for the tests of one crate: no channel, no relay.
#![allow(
    dead_code,
    unreachable_pub,
    unused_macros,
    reason = "each test binary uses a part"
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton_channel::allow::{AllowList, Peer, Trust};
use baton_channel::key::PublicKey;
use baton_exec_server::{ExecService, Settings, SpawnMethod};
use baton_export::clock;
use baton_proto::Epoch;
use baton_proto::exec::exec_error::Kind as ErrorKind;
use baton_proto::exec::process_event::Kind as EventKind;
use baton_proto::exec::run_request::Kind as RequestKind;
use baton_proto::exec::{
    Ack, Attach, Closed, EnvironmentVariable, ExecError, Exited, OutputStream, ProcessEvent, RunRequest,
    Start, Stdin, StdinClose, WaitRequest, exited,
};
use baton_rpc::exec::exec_client::ExecClient;
pub use baton_support::wait::eventually;
use baton_trace::call::ServerCall;
use baton_trace::call_end::{CallDeadline, CallEndCell};
use baton_trace::w3c::TraceContext;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Server};
use tonic::{Request, Status, Streaming};

/// The only epoch of the servers here.
pub const EPOCH: Epoch = Epoch([7; 16]);

/// One server, one connection to it.
pub struct Host {
    pub service: ExecService,
    pub client: ExecClient<Channel>,
    calls: Arc<Mutex<Setup>>,
}

/// The extensions of the next call.
struct Setup {
    peer: Option<Arc<Peer>>,
    context: Option<TraceContext>,
    exported: bool,
    end: Option<CallEndCell>,
    deadline: Option<CallDeadline>,
    user: Option<&'static str>,
    served: Vec<Arc<ServerCall>>,
}

/// The client of a made-up key.
fn peer(client: u8, trust: Trust) -> Arc<Peer> {
    let key = PublicKey::from_bytes([client; 32]);
    let allow = AllowList::only(key, "test", trust);
    Arc::new(allow.find(&key).unwrap().unwrap())
}

impl Host {
    pub async fn start(method: SpawnMethod) -> Self {
        Self::with(service(method)).await
    }

    pub async fn with(service: ExecService) -> Self {
        let calls = Arc::new(Mutex::new(Setup {
            peer: Some(peer(1, Trust::Continue)),
            context: None,
            exported: true,
            end: None,
            deadline: None,
            user: None,
            served: Vec::new(),
        }));
        let setup = calls.clone();
        let intercepted = move |mut request: Request<()>| {
            let mut setup = setup.lock().unwrap();
            if let Some(peer) = &setup.peer {
                request.extensions_mut().insert(Arc::clone(peer));
            }
            if let Some(end) = &setup.end {
                request.extensions_mut().insert(end.clone());
            }
            if let Some(user) = setup.user {
                request.metadata_mut().insert("baton-user", user.parse().unwrap());
            }
            if let Some(deadline) = setup.deadline {
                request.extensions_mut().insert(deadline);
            }
            if let Some(context) = &setup.context {
                let call = Arc::new(
                    ServerCall::new(context, context.span_id, clock::anchor(), true).exported(setup.exported),
                );
                setup.served.push(call.clone());
                request.extensions_mut().insert(call);
            }
            Ok(request)
        };
        let server =
            tonic::service::interceptor::InterceptedService::new(service.clone().into_server(), intercepted);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Server::builder().serve_with_incoming(server, TcpListenerStream::new(listener)));
        let channel = Channel::from_shared(format!("http://{address}"))
            .unwrap()
            .connect()
            .await
            .unwrap();
        Self {
            service,
            client: ExecClient::new(channel),
            calls,
        }
    }

    /// Whether the stages of the calls from now on are exported.
    pub fn exports(&self, exported: bool) {
        self.calls.lock().unwrap().exported = exported;
    }

    /// Sets the client of the calls from now on.
    pub fn calls_as(&self, client: u8) {
        self.calls.lock().unwrap().peer = Some(peer(client, Trust::Continue));
    }

    /// Sets the trust of the calls from now on.
    pub fn trusts(&self, trust: Trust) {
        self.calls.lock().unwrap().peer = Some(peer(1, trust));
    }

    /// Sets the options of the client's line on the allow-list for the calls from now on.
    pub fn calls_with(&self, options: &str) {
        let key = PublicKey::from_bytes([1; 32]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allowed");
        std::fs::write(&path, format!("{options} {key} test continue")).unwrap();
        let found = AllowList::file(&path).unwrap().find(&key);
        self.calls.lock().unwrap().peer = Some(Arc::new(found.unwrap().unwrap()));
    }

    /// The client of the calls from now on wants its commands to run as this user.
    pub fn asks_for(&self, user: Option<&'static str>) {
        self.calls.lock().unwrap().user = user;
    }

    /// The calls from now on have no client.
    pub fn calls_anonymously(&self) {
        self.calls.lock().unwrap().peer = None;
    }

    /// Sets the trace context of the calls from now on.
    pub fn traced(&self, context: TraceContext) {
        self.calls.lock().unwrap().context = Some(context);
    }

    /// Sets the cell with the reason why the calls from now on are cut short.
    pub fn ends_by(&self, end: CallEndCell) {
        self.calls.lock().unwrap().end = Some(end);
    }

    /// Sets the deadline of the calls from now on, which the code under test has to enforce.
    pub fn calls_end_at(&self, deadline: CallDeadline) {
        self.calls.lock().unwrap().deadline = Some(deadline);
    }

    /// The last traced call.
    pub fn last_call(&self) -> Arc<ServerCall> {
        self.calls.lock().unwrap().served.last().unwrap().clone()
    }

    /// Sends a start and follows it.
    pub async fn run(&self, start: Start) -> Result<Call, Status> {
        self.send(RequestKind::Start(start)).await
    }

    /// Opens a call with any first request.
    pub async fn send(&self, first: RequestKind) -> Result<Call, Status> {
        let (requests, queue) = mpsc::channel(4);
        requests.send(RunRequest { kind: Some(first) }).await.unwrap();
        let events = self
            .client
            .clone()
            .run(ReceiverStream::new(queue))
            .await?
            .into_inner();
        Ok(Call {
            requests: Requests(requests),
            events,
        })
    }

    /// Attaches to a process.
    pub async fn attach(&self, attach: Attach) -> Result<Call, Status> {
        self.send_attach(RequestKind::Attach(attach)).await
    }

    /// The end of a process.
    pub async fn wait(&self, wait: WaitRequest) -> Result<Vec<ProcessEvent>, Status> {
        let mut events = self.client.clone().wait(wait).await?.into_inner();
        let mut all = Vec::new();
        while let Some(event) = events.message().await? {
            all.push(event);
        }
        Ok(all)
    }

    /// Opens a call of `Attach` with any first request.
    pub async fn send_attach(&self, first: RequestKind) -> Result<Call, Status> {
        let (requests, queue) = mpsc::channel(4);
        requests.send(RunRequest { kind: Some(first) }).await.unwrap();
        let queue = ReceiverStream::new(queue);
        let events = self.client.clone().attach(queue).await?.into_inner();
        Ok(Call {
            requests: Requests(requests),
            events,
        })
    }

    /// Runs a shell script to its end.
    pub async fn sh(&self, script: &str) -> Ran {
        self.run(start(&["sh", "-c", script]))
            .await
            .unwrap()
            .finish()
            .await
    }

    /// Waits until every process is reaped; panics after five seconds.
    pub async fn idle(&self) {
        eventually("processes are still in the table", || {
            self.service.processes() == 0
        })
        .await;
    }
}

/// One call of `Run`.
pub struct Call {
    pub requests: Requests,
    pub events: Streaming<ProcessEvent>,
}

/// The request side of a call; dropping every clone ends the requests.
#[derive(Clone)]
pub struct Requests(mpsc::Sender<RunRequest>);

impl Requests {
    pub async fn request(&self, kind: RequestKind) {
        // A call that has ended takes nothing more.
        let _ = self.0.send(RunRequest { kind: Some(kind) }).await;
    }

    pub async fn stdin(&self, offset: u64, data: impl Into<bytes::Bytes>) {
        let data = data.into();
        self.request(RequestKind::Stdin(Stdin { offset, data })).await;
    }

    pub async fn close_stdin(&self, offset: u64) {
        self.request(RequestKind::StdinClose(StdinClose { offset })).await;
    }

    pub async fn ack(&self, seq: u64) {
        self.request(RequestKind::Ack(Ack { seq })).await;
    }
}

impl Call {
    pub async fn next(&mut self) -> Result<Option<EventKind>, Status> {
        Ok(self.events.message().await?.map(|event| event.kind.unwrap()))
    }

    /// The pid, which must come first.
    pub async fn pid(&mut self) -> u32 {
        match self.next().await.unwrap().unwrap() {
            EventKind::Started(started) => started.pid,
            other => panic!("{other:?} before Started"),
        }
    }

    /// The error that ends the call.
    pub async fn failure(mut self) -> Status {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the call ended well"),
                Err(status) => return status,
            }
        }
    }

    /// All events, in order.
    pub async fn events(mut self) -> Vec<ProcessEvent> {
        let mut events = Vec::new();
        while let Some(event) = self.events.message().await.unwrap() {
            events.push(event);
        }
        events
    }

    /// Everything, with the checks that every process must pass.
    pub async fn finish(mut self) -> Ran {
        let mut ran = Ran::default();
        let follow = async {
            while let Some(event) = self.events.message().await.unwrap() {
                ran.add(event);
            }
        };
        tokio::time::timeout(Duration::from_secs(30), follow)
            .await
            .expect("the call never ends");
        let closed = ran.closed.as_ref().expect("no Closed");
        assert_eq!(closed.stdout_bytes, ran.stdout.len() as u64);
        assert_eq!(closed.stderr_bytes, ran.stderr.len() as u64);
        ran
    }
}

/// The result of one call.
#[derive(Default)]
pub struct Ran {
    last: u64,
    /// Event names in order, runs of output collapsed.
    pub order: Vec<&'static str>,
    pub pid: u32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exited: Option<Exited>,
    pub closed: Option<Closed>,
    pub exited_at: Option<Instant>,
    pub closed_at: Option<Instant>,
}

impl Ran {
    fn add(&mut self, event: ProcessEvent) {
        assert_eq!(event.seq, self.last + 1, "a gap");
        assert!(self.closed.is_none(), "an event after Closed");
        self.last = event.seq;
        let name = match event.kind.unwrap() {
            EventKind::Started(started) => {
                self.pid = started.pid;
                "started"
            }
            EventKind::Output(output) => {
                assert!(!output.data.is_empty());
                match output.stream() {
                    OutputStream::Stdout => self.stdout.extend_from_slice(&output.data),
                    OutputStream::Stderr => self.stderr.extend_from_slice(&output.data),
                    OutputStream::Unspecified => panic!("output of no stream"),
                }
                "output"
            }
            EventKind::Exited(exited) => {
                assert!(self.exited.replace(exited).is_none(), "two exits");
                self.exited_at = Some(Instant::now());
                "exited"
            }
            EventKind::Closed(closed) => {
                self.closed = Some(closed);
                self.closed_at = Some(Instant::now());
                "closed"
            }
            other => panic!("{other:?} in a call that starts a process"),
        };
        if self.order.last() != Some(&name) {
            self.order.push(name);
        }
    }

    pub fn code(&self) -> i32 {
        match self.status() {
            exited::Status::Code(code) => code,
            other => panic!("{other:?}"),
        }
    }

    pub fn status(&self) -> exited::Status {
        self.exited.as_ref().unwrap().status.unwrap()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

/// Makes two tests of each function: one for each method of creating a child.
macro_rules! with_each_spawn_method {
    ($($name:ident,)+) => {$(
        mod $name {
            use baton_exec_server::SpawnMethod;

            #[tokio::test]
            async fn by_clone() {
                super::$name(SpawnMethod::Clone).await;
            }

            #[tokio::test]
            async fn by_the_standard_library() {
                super::$name(SpawnMethod::Std).await;
            }
        }
    )+};
}

/// A service that creates children so.
pub fn service(method: SpawnMethod) -> ExecService {
    let settings = Settings {
        spawn: method,
        ..Settings::default()
    };
    ExecService::with(EPOCH, &settings).unwrap()
}

/// A new, empty directory of a cgroup v2 file system that this process may write; `None`, with the reason printed: there
/// is none on this machine. Kills what is left in it.
pub struct CgroupDirectory(pub std::path::PathBuf);

impl CgroupDirectory {
    pub fn find() -> Option<Self> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let of_cgroup2 = fields.filter(|fields| fields.get(2) == Some(&"cgroup2"));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        for mount in of_cgroup2 {
            let path = std::path::Path::new(mount[1]).join(format!("test-{}-{number}", std::process::id()));
            if std::fs::create_dir(&path).is_ok() {
                let directory = Self(path);
                if directory.0.join("cgroup.kill").exists() {
                    return Some(directory);
                }
            }
        }
        println!("not checked: there is no writable cgroup v2 file system of Linux 5.14 here");
        None
    }

    /// The names of the cgroups in it.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap().flatten();
        let directories = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        directories
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for CgroupDirectory {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        for _ in 0..1000 {
            for name in self.names() {
                let _ = std::fs::remove_dir(self.0.join(name));
            }
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// No more processes at once than this.
pub fn most(max_processes: usize, method: SpawnMethod) -> Settings {
    Settings {
        max_processes,
        spawn: method,
        ..Settings::default()
    }
}

/// A start with an id of its own.
pub fn start(argv: &[&str]) -> Start {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Start {
        process_id: id.to_vec().into(),
        epoch: EPOCH.0.to_vec().into(),
        argv: argv
            .iter()
            .map(|argument| bytes::Bytes::copy_from_slice(argument.as_bytes()))
            .collect(),
        ..Start::default()
    }
}

pub fn variable(name: &str, value: &str) -> EnvironmentVariable {
    EnvironmentVariable {
        name: name.as_bytes().to_vec().into(),
        value: value.as_bytes().to_vec().into(),
    }
}

/// The typed error in a status.
pub fn kind(status: &Status) -> ErrorKind {
    let detail = ExecError::from_details(status.details()).unwrap();
    assert_eq!(detail.message, status.message());
    detail.kind()
}

/// Whether any process is left in a group, except for zombies that another process has yet to reap.
pub fn group_is_gone(pgid: u32) -> bool {
    !std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let state = fields.next();
        let group = fields.nth(1);
        group == Some(&pgid.to_string()) && state != Some("Z")
    })
}
