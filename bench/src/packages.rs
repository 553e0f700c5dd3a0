//! Installs the programs that Baton is compared with.

use std::io;
use std::process::{Command, Stdio};

/// Packages could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// This process is not root.
    #[error("only root can install {0}")]
    NotRoot(String),
    /// apt-get failed.
    #[error("{packages} could not be installed: {source}")]
    Failed {
        /// The packages.
        packages: String,
        /// The cause, with the stderr of apt-get.
        source: io::Error,
    },
}

/// Installs these packages with apt-get.
///
/// # Errors
/// [`PackageError`].
pub fn install(packages: &[&str]) -> Result<(), PackageError> {
    let names = || packages.join(" ");
    if !is_root() {
        return Err(PackageError::NotRoot(names()));
    }
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        succeed(&mut apt).map_err(|source| PackageError::Failed {
            packages: names(),
            source,
        })
    };
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat())
}

/// Installs a package with apt-get unless `program` can be started.
///
/// # Errors
/// [`PackageError`].
pub fn install_program(program: &str, package: &str) -> Result<(), PackageError> {
    if is_installed(program) {
        return Ok(());
    }
    install(&[package])
}

/// Whether a program can be started. Its `--version` may fail.
pub fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null());
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a command without input.
///
/// # Errors
/// It could not be started, or failed; with its stderr.
pub fn succeed(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{command:?} failed: {stderr}")))
}
