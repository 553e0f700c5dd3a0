//! A loopback of its own, with a congestion control of its own.
//!
//! On loopback the congestion control decides what TCP carries, so a comparison must name it. Programs take the default of
//! their network namespace, and a namespace belongs to threads: a thread with a private one starts every part in it and
//! nothing else on the machine notices.

use std::fs;
use std::io;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use nix::sched::{CloneFlags, unshare};

const DEFAULT: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

/// There is no network with this congestion control.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel has none of that name.
    #[error("the kernel offers no {0} (tcp_available_congestion_control)")]
    Unknown(String),
    /// It has, but not for us.
    #[error("{name} is not this system's default, and a network of our own cannot be made: {source}")]
    Private {
        /// The congestion control.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// The system's default congestion control.
///
/// # Errors
/// The operating system's.
pub fn congestion_control() -> io::Result<String> {
    Ok(fs::read_to_string(DEFAULT)?.trim().to_owned())
}

/// Runs `work` on a thread where TCP uses the congestion control `name`, and so does every process that it starts. Where it is
/// the system's default that is all; else the thread gets a network namespace of its own, with nothing but a loopback,
/// which takes root and `ip` of iproute2.
///
/// Until the thread has taken its place the name is in `tcp_allowed_congestion_control`; then that is as it was.
///
/// # Errors
/// [`NetworkError`]; `work` did not run then.
///
/// # Panics
/// If `work` does.
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
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let working = scope.spawn(move || {
            let moved = move_away(name);
            let is_there = moved.is_ok();
            let _ = tell.send(moved);
            is_there.then(work)
        });
        let moved = told.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        if let Some(before) = allowed {
            fs::write(ALLOWED, before).map_err(private)?;
        }
        moved.map_err(private)?;
        match working.join() {
            Ok(done) => done.ok_or_else(|| private(io::ErrorKind::Other.into())),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Lets other namespaces use it. Returns what was there before, if that was something else.
fn allow(name: &str) -> io::Result<Option<String>> {
    let allowed = fs::read_to_string(ALLOWED)?;
    if allowed.split_whitespace().any(|allowed| allowed == name) {
        return Ok(None);
    }
    fs::write(ALLOWED, format!("{} {name}", allowed.trim()))?;
    Ok(Some(allowed))
}

/// Gives the calling thread a network namespace of its own.
fn move_away(name: &str) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    // These files are those of the thread that opens them.
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
    fn what_the_kernel_does_not_have_is_named() {
        let error = under("no-such-control", || ()).unwrap_err();
        assert!(matches!(error, NetworkError::Unknown(name) if name == "no-such-control"));
    }

    #[test]
    fn a_program_started_there_sees_the_control_and_has_a_loopback() {
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
                // Not root, or in a sandbox: then it must be another than the default.
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
