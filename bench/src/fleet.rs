//! A fleet: HAProxy with the balancer's file of this repository, and relays behind it, on loopback. Several HAProxy
//! processes listen on one address, and the kernel spreads connections over them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use baton_support::limits::START_PATIENCE;
use baton_support::process::{Relays, RunningProgram, StackError, baton, isolated};
use baton_support::sources::workspace;
use rustix::process::{Resource, getrlimit};

use crate::limits::START_POLL;

/// Starts this many relays of one thread, and this many HAProxy processes in front of them. For
/// [`Stack::start_over`](baton_support::process::Stack::start_over): `beside` ends with the HAProxy processes.
///
/// # Errors
/// [`StackError`]; also if HAProxy is not installed.
pub fn start(relays: usize, balancers: usize, directory: &Path) -> Result<Relays, StackError> {
    let front = free_port()?;
    let mut started = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..relays {
        let mut command = isolated(Command::new(baton()?), None);
        command.args([
            "relay",
            "--listen",
            "127.0.0.1:0",
            "--proxy-protocol",
            "127.0.0.1",
        ]);
        command.args(["--authority", &front.to_string(), "--threads", "1"]);
        // Everything here comes from one address, which may use half.
        command.args(["--memory", "4GiB"]);
        command.env("XDG_STATE_HOME", directory);
        let mut relay = RunningProgram::start("relay", command)?;
        let address = relay.line_after("listening on ", START_PATIENCE)?;
        addresses.push(address.parse().map_err(io::Error::other)?);
        started.push(relay);
    }
    let relay = started.remove(0);
    let peers = (0..balancers)
        .map(|_| free_port())
        .collect::<io::Result<Vec<_>>>()?;
    for number in 0..balancers {
        let file = directory.join(format!("haproxy-{number}.cfg"));
        std::fs::write(&file, balancer_file(front, &addresses, &peers, number)?)?;
        started.push(start_balancer(&file, peers[number])?);
    }
    Ok(Relays {
        relay,
        beside: started,
        url: format!("http://{front}"),
    })
}

/// Starts HAProxy, and waits until it listens for other balancers at `peer`, as it does after all other addresses.
fn start_balancer(file: &Path, peer: SocketAddr) -> Result<RunningProgram, StackError> {
    let mut command = Command::new(HAPROXY);
    // Two descriptors a connection: where the system allows fewer than the file asks for, HAProxy does not start.
    let connections = files_max().saturating_sub(200).min(40_000).div_euclid(2);
    command.args(["-n", &connections.to_string()]);
    command.arg("-db").arg("-f").arg(file);
    let mut balancer = RunningProgram::start("haproxy", command)?;
    let deadline = Instant::now() + START_PATIENCE;
    while TcpStream::connect(peer).is_err() {
        if let Ok(status) = balancer.wait(START_POLL) {
            let ended = format!("haproxy ended with {status}: {}", balancer.stderr());
            return Err(io::Error::other(ended).into());
        }
        if Instant::now() > deadline {
            return Err(io::Error::other("haproxy does not listen").into());
        }
    }
    Ok(balancer)
}

/// The HAProxy processes that so many idle sessions need. A session takes four descriptors of one, or two of each of
/// two, and the kernel does not spread connections evenly.
pub fn balancers_for(sessions: usize) -> usize {
    let each = usize::try_from(files_max() / 5).unwrap_or(usize::MAX);
    sessions.div_ceil(each.max(1))
}

/// The limit on open files of this process, which its children inherit.
fn files_max() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Debian's package installs it here, which is not in every user's `PATH`.
const HAPROXY: &str = "/usr/sbin/haproxy";

/// Why there is no balancer to measure.
pub fn missing() -> Option<String> {
    (!Path::new(HAPROXY).exists()).then(|| "HAProxy is not installed: apt-get install haproxy".to_owned())
}

/// The balancer's file with these addresses, for the balancer `number` of those at `peers`. Without its metrics.
fn balancer_file(
    front: SocketAddr,
    relays: &[SocketAddr],
    peers: &[SocketAddr],
    number: usize,
) -> io::Result<String> {
    let file = std::fs::read_to_string(workspace().join("deploy/haproxy.cfg"))?;
    let mut text = String::new();
    let (mut binds, mut servers) = (0, 0);
    for line in file.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["frontend", "metrics"] => break,
            ["source", _] => {}
            ["localpeer", _] => text += &format!("    localpeer balancer-{number}\n"),
            ["peer", ..] => {
                for (number, peer) in peers.iter().enumerate() {
                    text += &format!("    peer balancer-{number} {peer}\n");
                }
            }
            ["bind", ":7700", ref options @ ..] => {
                binds += 1;
                text += &format!("    bind {front} {}\n", options.join(" "));
            }
            ["server", ..] => {
                servers += 1;
                if servers == 1 {
                    for (number, relay) in relays.iter().enumerate() {
                        text += &format!("    server relay-{number} {relay}\n");
                    }
                }
            }
            _ => text = text + line + "\n",
        }
    }
    match (binds, servers) {
        (1, 1..) => Ok(text),
        _ => Err(io::Error::other(
            "deploy/haproxy.cfg has no listener or no relays",
        )),
    }
}

/// A port that is free now. Another program could take it before HAProxy binds it, which is unlikely.
fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
