//! A fleet of relays behind HAProxy, with the file that users get (`deploy/haproxy.cfg`).
//!
//! `cargo run -p baton-tests --example fleet -- BATON`, as root, with HAProxy and iproute2 installed. BATON is the
//! program to test. HAProxy, the relays and the exec-servers are real processes on a loopback that only they have, with
//! the addresses of the file. Exit code 77: this machine cannot run it, and the last line of standard output says why.
//! `BATON_TEST_FULL=1` raises the amounts and judges times strictly. `BATON_TEST_SEED` repeats the order of faults and
//! commands.
//!
//! * `network`: the namespace and its addresses;
//! * `balancer`: HAProxy, its file, and what it says of the relays;
//! * `fleet`: relays and exec-servers;
//! * `commands`: commands, and what is claimed of each;
//! * `faults`: relays that are killed, hang and drain under commands, and return;
//! * `reachable`: how soon every exec-server is reachable when a relay returns;
//! * `hostile`: a tenant that never reads, forged addresses, headers that lie.

mod balancer;
mod commands;
mod faults;
mod fleet;
mod hostile;
mod network;
/// Endpoints without the multiplexer, from the tests of `channel`.
#[allow(dead_code, reason = "each test program uses a part")]
#[path = "../../channel/tests/channel/support/raw.rs"]
mod raw;
mod reachable;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use baton_support::scale::{is_full, scaled, seed};
use tokio::time::timeout;

use self::balancer::{Balancer, BalancerFile};
use self::fleet::Fleet;

/// Deadline of every wait for something that must happen: far longer than it takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a case found: a line for the log, or why it fails.
type Verdict = Result<String, String>;

/// Awaits a future for at most [`PATIENCE`].
async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .expect("it completes within the deadline")
}

/// Why this machine cannot run the test, if it cannot.
fn missing() -> Option<&'static str> {
    let runs = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !rustix::process::geteuid().is_root() {
        Some("not root: a network namespace cannot be made")
    } else if !runs("haproxy", "-v") {
        Some("haproxy is missing: apt-get install haproxy")
    } else if !runs("ip", "-V") {
        Some("ip is missing: apt-get install iproute2")
    } else {
        None
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(baton), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: fleet BATON");
        return ExitCode::from(2);
    };
    let baton = PathBuf::from(baton);
    if let Some(reason) = missing() {
        println!("{reason}");
        return ExitCode::from(77);
    }
    // Before any thread exists: a namespace belongs to a thread, and new ones inherit it.
    if let Err(error) = network::enter() {
        println!("this machine allows no namespaces: {error}");
        return ExitCode::from(77);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    match runtime.block_on(all(baton)) {
        0 => ExitCode::SUCCESS,
        failed => {
            println!("{failed} of the cases failed");
            ExitCode::FAILURE
        }
    }
}

/// Runs every case, and returns how many failed.
async fn all(baton: PathBuf) -> usize {
    let seed = seed();
    let exec_servers = scaled("exec-servers", 4, 10) as usize;
    println!(
        "times are judged {}",
        if is_full() { "strictly" } else { "generously" }
    );
    let mut failed = 0;
    let mut report = |name: &str, began: Instant, verdict: Verdict| {
        let (is, detail) = match verdict {
            Ok(detail) => ("ok", detail),
            Err(detail) => {
                failed += 1;
                ("FAILED", detail)
            }
        };
        println!("{is}: {name}, {:.1} s: {detail}", began.elapsed().as_secs_f64());
    };

    let began = Instant::now();
    let file = BalancerFile::of_users();
    report("haproxy -c accepts the file", began, file.check());

    let mut fleet = Fleet::start(baton, Balancer::start(&file), exec_servers).await;
    println!("registrations by relay: {:?}", fleet.balancer.streams().await);
    let began = Instant::now();
    report(
        "forged addresses are refused",
        began,
        fleet.explained(hostile::forged_addresses(&fleet).await),
    );
    let began = Instant::now();
    report(
        "headers that lie are refused",
        began,
        fleet.explained(hostile::lies(&fleet).await),
    );
    let began = Instant::now();
    report(
        "a tenant that never reads stalls nobody else",
        began,
        fleet.explained(hostile::tenant(&fleet).await),
    );
    let began = Instant::now();
    report(
        "a client that is stopped stalls no other of its exec-server",
        began,
        fleet.explained(hostile::stopped_client(&fleet).await),
    );
    let began = Instant::now();
    let verdict = faults::under_commands(&mut fleet, seed).await;
    report(
        "commands outlive killed, hung and drained relays",
        began,
        fleet.explained(verdict),
    );
    for (name, file, has_table) in [
        (
            "with the stick table a relay's return interrupts nothing",
            &file,
            true,
        ),
        (
            "without the stick table every exec-server is soon reachable after a relay's return",
            &file.without_stick_table(),
            false,
        ),
    ] {
        // HAProxy still has the streams of the hostile tenant.
        fleet.replace_balancer(file).await;
        let began = Instant::now();
        let verdict = reachable::after_return(&mut fleet, has_table).await;
        report(name, began, fleet.explained(verdict));
    }
    failed
}
