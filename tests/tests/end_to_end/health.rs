//! `baton health`: exit code 0 without output if healthy, otherwise exit code 1 and an error on stderr.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use baton_core_client::Seed;
use baton_support::collector::Collector;
use rustix::process::Signal;

use crate::support::{Finished, Home, Testbed, poll, relay, run, signal};

fn check_relay(home: &Home, url: &str) -> Finished {
    let mut health = home.baton();
    health.args(["health", "--relay", url]);
    run(health)
}

fn check_exec_server(home: &Home, ticket: &str) -> Finished {
    let mut health = home.baton();
    health.arg("health").env("BATON_TICKET", ticket);
    run(health)
}

fn is_healthy(finished: &Finished) -> bool {
    finished.code == 0
}

/// Waits until the check fails with this sentence.
fn await_unhealthy(check: impl Fn() -> Finished, sentence: &str) {
    poll(sentence, || {
        let finished = check();
        (!is_healthy(&finished)).then(|| finished.assert_failed(1, sentence))
    });
}

#[test]
fn a_relay_is_healthy_while_it_answers() {
    let home = Home::new();
    let (relay, address) = relay(&home, "127.0.0.1:0", &[]);
    let url = format!("http://{address}");
    check_relay(&home, &url).assert_printed("");
    // The socket of a stopped relay still accepts connections.
    relay.freeze().unwrap();
    check_relay(&home, &url).assert_failed(1, "no answer from the relay at http://127.0.0.1:");
    relay.thaw().unwrap();
    check_relay(&home, &url).assert_printed("");
    drop(relay);
    check_relay(&home, &url).assert_failed(1, "cannot reach the relay at http://127.0.0.1:");
}

#[test]
fn an_exec_server_is_healthy_while_it_is_registered() {
    let Testbed {
        home,
        relay: first_relay,
        relay_address,
        exec_server,
        ticket,
    } = Testbed::new();
    let check = || check_exec_server(&home, &ticket.to_string());
    check().assert_printed("");
    // A ticket with the dial token of another seed.
    let mut stray = ticket.clone();
    stray.dial_token = Seed::generate()
        .unwrap()
        .server_keys()
        .unwrap()
        .dial_token
        .clone();
    check_exec_server(&home, &stray.to_string()).assert_failed(1, "refused this ticket");

    // The relay is killed and restarted. It has no registration until the exec-server registers again.
    drop(first_relay);
    check().assert_failed(1, "cannot reach the relay");
    let (_relay, _) = relay(&home, &relay_address.to_string(), &[]);
    poll("the exec-server is registered again", || {
        is_healthy(&check()).then_some(())
    });

    // The exec-server is killed without deregistering.
    signal(&exec_server, Signal::KILL);
    await_unhealthy(
        check,
        &format!("the exec-server {} is not registered", ticket.exec_server),
    );
}

#[test]
fn other_servers_are_not_healthy_relays() {
    let home = Home::new();
    // A gRPC server answers an unknown method with HTTP status 200.
    let collector = Collector::start().unwrap();
    check_relay(&home, collector.endpoint()).assert_failed(1, "answered with gRPC status Unimplemented");
    // A web server.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            // The answer does not depend on the request.
            let _ = socket.read(&mut [0; 1024]);
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    check_relay(&home, &url).assert_failed(1, &format!("the relay at {url}"));
    check_relay(&home, "relay:7700").assert_failed(1, "is not a relay URL");
    let mut nothing = home.baton();
    nothing.arg("health");
    run(nothing).assert_failed(1, "no relay and no exec-server to check: pass --relay URL");
}
