//! Signals that the client library sends, through a relay.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use baton_channel::allow::{AllowList, Trust};
use baton_channel::{Notice, Server};
use baton_core_client::{
    CallEnd, Client, Command, Event, ExitStatus, ProcessError, Run, Seed, Signal, Stdin,
};
use baton_exec_server::ExecService;
use baton_proto::Features;
use baton_relay::{Config, Relay};
use tokio::sync::Notify;

/// A client of an exec-server.
async fn client(announce: impl FnOnce(Server) -> Server) -> Client {
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
    let exec = ExecService::new(server.epoch()).into_server();
    tokio::spawn(server.serve(exec, pending()));
    registered.notified().await;
    Client::new(ticket, seed.client_key().unwrap())
}

async fn client_with_signals() -> Client {
    client(|server| server.announce(Features::SIGNALS)).await
}

/// Starts a shell with these traps, and waits until they are set.
async fn start(client: &Client, traps: &str, kill_grace: Duration) -> (Run, Stdin) {
    // The shell says which signal has ended its `sleep`.
    let script = format!("exec 2>/dev/null; {traps}; echo ready; while :; do sleep 0.02; done");
    let command = Command::new("sh").arg("-c").arg(script).kill_grace(kill_grace);
    let (mut run, stdin) = client.start(command).await.unwrap();
    prints(&mut run, "ready\n").await;
    (run, stdin)
}

async fn bounded<T>(future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, future).await.expect("it never ends")
}

/// Waits for this output.
async fn prints(run: &mut Run, expected: &str) {
    bounded(async {
        loop {
            match run.next().await.unwrap() {
                Some(Event::Stdout(data)) if data == expected.as_bytes() => return,
                Some(Event::Started { .. }) => {}
                other => panic!("{other:?} and not {expected:?}"),
            }
        }
    })
    .await;
}

/// The exit status, after which no output follows.
async fn exit(run: &mut Run) -> ExitStatus {
    bounded(async {
        let mut exit = None;
        while let Some(event) = run.next().await.unwrap() {
            if let Event::Exited { status, .. } = event {
                exit = Some(status);
            }
        }
        exit.unwrap()
    })
    .await
}

#[tokio::test]
async fn a_run_is_sent_signals_beside_its_input_and_in_order_with_it() {
    let client = client_with_signals().await;
    let traps = "trap 'echo one' USR1; trap 'echo two' USR2; trap 'exit 7' INT";
    let (mut run, mut stdin) = start(&client, traps, Duration::ZERO).await;
    run.signal(Signal::Usr1).await.unwrap();
    prints(&mut run, "one\n").await;
    stdin.write("input".into()).await.unwrap();
    stdin.signal(Signal::Usr2).await.unwrap();
    prints(&mut run, "two\n").await;

    // The command does not read it.
    let filling = tokio::spawn(async move {
        let chunk = bytes::Bytes::from(vec![0; 128 * 1024]);
        for _ in 0..64 {
            stdin.write(chunk.clone()).await?;
        }
        stdin.signal(Signal::Usr2).await.ok();
        Ok::<_, baton_core_client::StdinError>(())
    });
    let signaller = run.signaller();
    assert!(signaller.is_supported());
    signaller.signal(Signal::Usr1).await.unwrap();
    prints(&mut run, "one\n").await;
    assert!(!filling.is_finished());
    run.terminate(Signal::Int).await.unwrap();
    let status = exit(&mut run).await;
    // The kill grace of zero may be faster than its trap.
    let killed = ExitStatus::Signal {
        signal: 9,
        core_dumped: false,
    };
    assert!([ExitStatus::Code(7), killed].contains(&status), "{status:?}");
}

#[tokio::test]
async fn a_run_that_is_terminated_has_its_own_exit_code_or_is_killed_after_its_grace() {
    let client = client_with_signals().await;
    let (mut run, _stdin) = start(&client, "trap 'exit 7' INT", Duration::from_secs(60)).await;
    run.terminate(Signal::Int).await.unwrap();
    assert_eq!(exit(&mut run).await, ExitStatus::Code(7));

    let grace = Duration::from_millis(500);
    let (mut run, _stdin) = start(&client, "trap '' INT TERM", grace).await;
    let begun = std::time::Instant::now();
    run.terminate(Signal::Int).await.unwrap();
    let killed = ExitStatus::Signal {
        signal: 9,
        core_dumped: false,
    };
    assert_eq!(exit(&mut run).await, killed);
    assert!(begun.elapsed() >= grace, "{:?}", begun.elapsed());
    let ended = bounded(async {
        loop {
            match run.signal(Signal::Int).await {
                // It is reaped after the rest of its group.
                Ok(()) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(error) => return error,
            }
        }
    });
    assert!(matches!(ended.await, ProcessError::Ended));
}

#[tokio::test]
async fn an_exec_server_without_the_feature_is_sent_no_signal() {
    let client = client(|server| server).await;
    let (mut run, stdin) = start(&client, "trap 'exit 7' INT", Duration::from_secs(60)).await;
    assert!(!run.signaller().is_supported());
    for refused in [
        run.signal(Signal::Int).await,
        run.terminate(Signal::Int).await,
        stdin.signal(Signal::Int).await,
    ] {
        assert!(matches!(refused, Err(ProcessError::NotSupported)), "{refused:?}");
    }
    // The command runs on.
    let next = tokio::time::timeout(Duration::from_millis(100), run.next()).await;
    assert!(next.is_err(), "{next:?}");
}

#[tokio::test]
async fn a_run_tells_the_number_of_each_event_and_why_it_ended() {
    let client = client_with_signals().await;
    let (mut run, _stdin) = start(&client, "trap '' TERM", Duration::from_millis(50)).await;
    assert_eq!(run.last_seq(), 2, "started and one output");
    assert_eq!((run.trace(), run.call_end()), (None, None), "it has not exited");
    run.terminate(Signal::Term).await.unwrap();
    let mut seq = run.last_seq();
    while let Some(event) = bounded(run.next()).await.unwrap() {
        seq += 1;
        assert_eq!(run.last_seq(), seq, "{event:?}");
    }
    assert!(run.trace().is_some(), "this client gets trace ids");
    assert_eq!(run.call_end(), Some(CallEnd::Reset));
}
