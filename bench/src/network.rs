//! A private loopback with a chosen congestion control.
//!
//! On loopback the congestion control determines TCP's throughput, so a comparison must name it. A program uses the
//! default of its network namespace, and a namespace belongs to a thread. A thread with a private namespace therefore
//! starts every process of a comparison in it, without effect on the rest of the machine.

use std::fs;
use std::io;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use nix::sched::{CloneFlags, unshare};

const DEFAULT: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

/// A network with this congestion control cannot be provided.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel has no congestion control of that name.
    #[error("the kernel offers no {0} (tcp_available_congestion_control)")]
    Unknown(String),
    /// The kernel has it, but this process may not create a network namespace.
    #[error(
        "{name} is not this system's default, and a private network namespace cannot be created: {source}"
    )]
    Private {
        /// The congestion control.
        name: String,
        /// The cause.
        source: io::Error,
    },
}

/// The system's default congestion control.
///
/// # Errors
/// An error of the operating system.
pub fn congestion_control() -> io::Result<String> {
    Ok(fs::read_to_string(DEFAULT)?.trim().to_owned())
}

/// Runs `work` on a thread where TCP uses the congestion control `name`, as does every process that the thread starts.
/// If `name` is the system's default, `work` runs on the calling thread. Otherwise a new thread gets a network
/// namespace that has only a loopback; this needs root and `ip` of iproute2.
///
/// While the new thread enters its namespace, `tcp_allowed_congestion_control` includes `name`. Then the file is
/// restored.
///
/// # Errors
/// [`NetworkError`]; `work` did not run.
///
/// # Panics
/// If `work` panics.
pub fn under<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T, NetworkError> {
    let private = |source| NetworkError::Private {
        name: name.to_owned(),
        source,
    };
    let offered = fs::read_to_string(AVAILABLE).map_err(private)?;
    if !offered.split_whitespace().any(|offered| offered == name) {
        return Err(NetworkError::Unknown(name.to_owned()));
    }
    if congestion_control().map_err(private)? == name {
        return Ok(work());
    }
    let allowed = allow(name).map_err(private)?;
    let (report, reported) = mpsc::channel();
    thread::scope(|scope| {
        let working = scope.spawn(move || {
            let entered = enter_namespace(name);
            let is_inside = entered.is_ok();
            let _ = report.send(entered);
            is_inside.then(work)
        });
        let entered = reported
            .recv()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        if let Some(before) = allowed {
            fs::write(ALLOWED, before).map_err(private)?;
        }
        entered.map_err(private)?;
        match working.join() {
            Ok(done) => done.ok_or_else(|| private(io::ErrorKind::Other.into())),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Allows namespaces to use `name` as their default. Returns the previous content of the file if it changed.
fn allow(name: &str) -> io::Result<Option<String>> {
    let allowed = fs::read_to_string(ALLOWED)?;
    if allowed.split_whitespace().any(|allowed| allowed == name) {
        return Ok(None);
    }
    fs::write(ALLOWED, format!("{} {name}", allowed.trim()))?;
    Ok(Some(allowed))
}

/// Moves the calling thread into a new network namespace.
fn enter_namespace(name: &str) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    // Below /proc/sys/net, a file belongs to the namespace of the thread that opens it.
    fs::write(DEFAULT, name)?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    if up.success() {
        Ok(())
    } else {
        Err(io::Error::other("`ip link set lo up` failed"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_error_names_an_unknown_congestion_control() {
        let error = under("no-such-control", || ()).unwrap_err();
        assert!(matches!(error, NetworkError::Unknown(name) if name == "no-such-control"));
    }

    #[test]
    fn a_child_process_sees_the_congestion_control_and_has_a_loopback() {
        let before = (
            congestion_control().unwrap(),
            fs::read_to_string(ALLOWED).unwrap(),
        );
        for name in fs::read_to_string(AVAILABLE).unwrap().split_whitespace() {
            let seen = under(name, || {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                near.write_all(b"x").unwrap();
                listener.accept().unwrap().0.read_exact(&mut [0]).unwrap();
                let seen = Command::new("cat").arg(DEFAULT).output().unwrap();
                String::from_utf8(seen.stdout).unwrap().trim().to_owned()
            });
            match seen {
                Ok(seen) => assert_eq!(seen, name),
                // Not root, or in a sandbox: possible only for a control that is not the default.
                Err(NetworkError::Private { .. }) => assert_ne!(before.0, name),
                Err(error) => panic!("{error}"),
            }
        }
        let after = (
            congestion_control().unwrap(),
            fs::read_to_string(ALLOWED).unwrap(),
        );
        assert_eq!(before, after);
    }
}
