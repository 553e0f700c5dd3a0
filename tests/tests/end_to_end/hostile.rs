//! Control sequences in the text of a hostile peer or file never reach the terminal.

use std::fs;
use std::net::TcpListener;
use std::thread;

use baton_channel::allow::{AllowList, Trust};
use baton_channel::{Notice, Server};
use baton_core_client::{Seed, Ticket};
use baton_proto::relay::{Frame, HereRequest, HereResponse, RegisterRequest, RegisterResponse};
use baton_proto::{ExecServerId, header};
use baton_rpc::relay::relay_server::{Relay, RelayServer};
use baton_support::process::RunningProgram;
use baton_support::scripted_exec::ScriptedExec;
use tonic::codegen::BoxStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::support::{Home, Testbed, assert_printable, poll, run};

/// Control sequences that clear the screen, set the title and colours, rewrite a line, and reverse the reading order.
const STEERING: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31mSTEERED\r\n\u{8}\u{7f}\u{202e}fake\u{2028}";

/// The part of [`STEERING`] that may be shown.
const WORD: &str = "STEERED";

#[track_caller]
fn assert_harmless(text: &str) {
    assert!(text.contains(WORD), "the rest is shown: {text:?}");
    assert_printable(text);
    assert!(!text.contains(['\u{202e}', '\u{2028}']), "{text:?}");
}

/// A relay that refuses every request with a chosen text.
struct HostileRelay(Code);

#[tonic::async_trait]
impl Relay for HostileRelay {
    type RegisterStream = BoxStream<RegisterResponse>;
    type DialStream = BoxStream<Frame>;
    type AcceptStream = BoxStream<Frame>;

    async fn register(
        &self,
        _: Request<Streaming<RegisterRequest>>,
    ) -> Result<Response<Self::RegisterStream>, Status> {
        Err(Status::new(self.0, STEERING))
    }

    async fn here(&self, _: Request<HereRequest>) -> Result<Response<HereResponse>, Status> {
        Err(Status::new(self.0, STEERING))
    }

    async fn dial(&self, _: Request<Streaming<Frame>>) -> Result<Response<Self::DialStream>, Status> {
        let mut status = Status::new(self.0, STEERING);
        status.metadata_mut().insert(header::RETRY_PUSHBACK, 7.into());
        Err(status)
    }

    async fn accept(&self, _: Request<Streaming<Frame>>) -> Result<Response<Self::AcceptStream>, Status> {
        Err(Status::new(self.0, STEERING))
    }
}

impl HostileRelay {
    /// Serves on a thread that ends with the test process. Returns the URL.
    fn start(code: Code) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
                let server = tonic::transport::Server::builder().add_service(RelayServer::new(Self(code)));
                server.serve_with_incoming(incoming).await.unwrap();
            });
        });
        url
    }
}

#[test]
fn a_relay_s_reasons_are_shown_to_a_client_without_what_steers() {
    let home = Home::new();
    let seed = Seed::generate().unwrap();
    for code in [
        Code::NotFound,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::Unavailable,
        Code::Internal,
    ] {
        let ticket = Ticket {
            relay_url: HostileRelay::start(code),
            exec_server: ExecServerId([7; 16]),
            noise_key: home.public(),
            dial_token: seed.server_keys().unwrap().dial_token.clone(),
        };
        let once = ["--connect-timeout", "0s"];
        let finished = run(home.exec(&ticket.to_string(), once, ["true"]));
        finished.assert_failed(255, "relay");
        assert_harmless(&finished.stderr);
    }
}

#[test]
fn a_relay_s_reasons_are_shown_to_an_exec_server_s_owner_without_what_steers() {
    let home = Home::new();
    let refuses_for_good = home.baton_exec_server(&HostileRelay::start(Code::FailedPrecondition));
    let finished = run(refuses_for_good);
    finished.assert_failed(255, "the relay refused the registration");
    assert_harmless(&finished.stderr);
    for code in [Code::AlreadyExists, Code::Unavailable] {
        let exec_server: RunningProgram = home.exec_server(&HostileRelay::start(code));
        poll("the exec-server tries again", || {
            exec_server.stderr().contains("trying again").then_some(())
        });
        assert_harmless(&exec_server.stderr());
    }
}

#[test]
fn an_exec_server_s_reasons_are_shown_without_what_steers() {
    let testbed = Testbed::new();
    for code in [Code::Internal, Code::NotFound, Code::Unknown] {
        let seed = Seed::generate().unwrap();
        let allow = AllowList::only(testbed.home.public(), "tester", Trust::Continue);
        let server = Server::new(&format!("http://{}", testbed.relay_address), &seed, allow).unwrap();
        let ticket = server.ticket().to_string();
        let (registered, is_registered) = std::sync::mpsc::channel();
        let server = server.on_notice(move |notice| {
            if let Notice::Registered = notice {
                registered.send(()).unwrap();
            }
        });
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let service = ScriptedExec::refusal(Status::new(code, STEERING));
            runtime
                .block_on(server.serve(service, std::future::pending()))
                .unwrap();
        });
        is_registered.recv_timeout(crate::support::PATIENCE).unwrap();
        let finished = run(testbed.home.exec(&ticket, ["--trace"], ["true"]));
        finished.assert_failed(255, WORD);
        assert_harmless(&finished.stderr);
    }
}

#[test]
fn a_trace_file_is_drawn_without_what_steers_or_is_named_as_none() {
    let home = Home::new();
    let file = home.file("trace.json");
    let mut record = home.baton();
    record.args([
        "run",
        "--quiet",
        "--trace-json",
        file.to_str().unwrap(),
        "--",
        "true",
    ]);
    assert_eq!(run(record).code, 0);
    let whole = fs::read_to_string(&file).unwrap();
    let show = |text: &str| {
        fs::write(&file, text).unwrap();
        let mut show = home.baton();
        show.args(["trace", "show"]).arg(&file);
        run(show)
    };
    let steering = serde_json::to_string(STEERING).unwrap();
    for field in ["process.spawn", "baton.exec.v1.Exec/Run", "rpc.method", "OK"] {
        let shown = show(&whole.replace(&format!("\"{field}\""), &steering));
        assert_printable(shown.text());
        assert_printable(&shown.stderr);
        assert!([0, 255].contains(&shown.code), "{shown:?}");
    }
    for cut in [0, 1, whole.len() / 2, whole.len() - 2] {
        let shown = show(&whole[..cut]);
        assert_eq!(shown.code, 255, "{shown:?}");
        assert_printable(&shown.stderr);
    }
    show("{}").assert_failed(255, "baton: ");
    fs::remove_file(&file).unwrap();
    let mut missing = home.baton();
    missing.args(["trace", "show"]).arg(&file);
    run(missing).assert_failed(255, "No such file");
}
