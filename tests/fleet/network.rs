//! A network namespace of this process, whose loopback has the addresses of `deploy/haproxy.cfg`.

use std::io;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// The address of the balancer, with the port that exec-servers and clients dial.
pub(crate) const BALANCER: &str = "10.177.0.2:7700";

/// Another address of the balancer. Who dials it comes from [`STRANGER_HOST`], so that relays count an attacker and
/// everybody else to different addresses.
pub(crate) const BALANCER_OF_STRANGERS: &str = "10.177.0.3:7700";

/// The address that HAProxy connects from. Relays believe only this one.
pub(crate) const BALANCER_HOST: &str = "10.177.0.2";

/// Where the relays listen.
pub(crate) const RELAYS: [&str; 3] = ["10.177.0.11:7701", "10.177.0.12:7701", "10.177.0.13:7701"];

/// A host that is no balancer.
pub(crate) const STRANGER_HOST: &str = "10.177.0.99";

/// Moves the calling thread, and all that it starts from now on, into a new namespace.
///
/// # Errors
/// An error of the operating system: this process may not create a namespace.
pub(crate) fn enter() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    ip(&["link", "set", "lo", "up"])?;
    let relays = RELAYS.map(host);
    let strange = host(BALANCER_OF_STRANGERS);
    for host in [BALANCER_HOST, STRANGER_HOST, strange].into_iter().chain(relays) {
        ip(&["address", "add", &format!("{host}/32"), "dev", "lo"])?;
    }
    ip(&[
        "route",
        "replace",
        "local",
        strange,
        "dev",
        "lo",
        "table",
        "local",
        "src",
        STRANGER_HOST,
    ])
}

fn host(address: &str) -> &str {
    address.split(':').next().unwrap_or_default()
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    match Command::new("ip").args(arguments).status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("`ip {}` failed", arguments.join(" ")))),
    }
}
