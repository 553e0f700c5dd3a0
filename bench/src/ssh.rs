//! OpenSSH, as a peer: a private server on a port of loopback, with keys and settings of its own, and warm connections to it.
//! Nothing of the system's or the user's ssh configuration is read or written, and all of it ends with its handle.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use baton_support::limits::START_PATIENCE;
use baton_support::process::{ProgramError, RunningProgram};
use tempfile::TempDir;

use crate::limits::START_POLL;

/// The cipher of both directions: the fastest that OpenSSH has where the processor has AES.
pub const CIPHER: &str = "aes128-gcm@openssh.com";

/// Where a distribution puts `sshd`, which is not on everybody's `PATH`.
const SSHD: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];

/// Where Debian's sshd wants to be confined, if it is root.
const SEPARATION: &str = "/run/sshd";

/// There is no OpenSSH to compare with.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// Not installed.
    #[error(
        "no OpenSSH server is installed ({0}); --install-ssh installs it as root, where there is apt-get"
    )]
    Missing(String),
    /// It could not be installed.
    #[error("OpenSSH could not be installed: {0}")]
    Install(String),
    /// A file, a key or a port of it.
    #[error("cannot set up OpenSSH: {0}")]
    Setup(#[from] io::Error),
    /// It did not come up.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// How a connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Straight to the server.
    Direct,
    /// Through a jump host (`-J`): the same server, in the role of another.
    Jump,
}

/// A running server.
#[derive(Debug)]
pub struct Ssh {
    _server: RunningProgram,
    port: u16,
    dir: TempDir,
}

/// A warm connection: a control master in the foreground.
#[derive(Debug)]
pub struct Master {
    _part: RunningProgram,
    config: PathBuf,
    socket: PathBuf,
}

impl Ssh {
    /// Starts a server.
    ///
    /// # Errors
    /// [`SshError`].
    pub fn start() -> Result<Self, SshError> {
        let sshd = find()?;
        let dir = TempDir::with_prefix("baton-ssh-")?;
        let path = |name: &str| dir.path().join(name);
        for key in [HOST_KEY, USER_KEY] {
            let mut keygen = Command::new("ssh-keygen");
            keygen
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path(key));
            succeed(&mut keygen)?;
        }
        fs::copy(path(&format!("{USER_KEY}.pub")), path("authorized_keys"))?;
        if is_root() {
            fs::create_dir_all(SEPARATION)?;
        }
        // Free now; nobody else takes ports on purpose between this and the server's own bind.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        fs::write(path("sshd_config"), server_config(dir.path(), port))?;
        fs::write(path(CONFIG), client_config(dir.path(), port)?)?;

        let mut command = Command::new(sshd);
        command.args(["-D", "-e", "-f"]).arg(path("sshd_config"));
        let mut server = RunningProgram::start("sshd", command)?;
        let is_up = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        wait_until(is_up, &mut server)?;
        Ok(Self {
            _server: server,
            port,
            dir,
        })
    }

    /// A warm connection.
    ///
    /// # Errors
    /// [`SshError`].
    pub fn master(&self, name: &str, route: Route) -> Result<Master, SshError> {
        let socket = self.dir.path().join(name);
        let config = self.dir.path().join(CONFIG);
        let mut command = Command::new("ssh");
        command
            .arg("-F")
            .arg(&config)
            .args(["-M", "-N", "-S"])
            .arg(&socket);
        if route == Route::Jump {
            command.args(["-J", "jump"]);
        }
        command.arg("target");
        let mut part = RunningProgram::start("ssh", command)?;
        wait_until(|| socket.exists(), &mut part)?;
        Ok(Master {
            _part: part,
            config,
            socket,
        })
    }

    /// The server's port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The private key that it lets in.
    pub fn user_key(&self) -> PathBuf {
        self.dir.path().join(USER_KEY)
    }
}

impl Master {
    /// A new process of ssh's command line that runs `command` over the warm connection. The remote user's shell reads it.
    pub fn command(&self, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F")
            .arg(&self.config)
            .arg("-S")
            .arg(&self.socket)
            .args(["target", command]);
        ssh
    }
}

const HOST_KEY: &str = "host_key";
const USER_KEY: &str = "user_key";
const CONFIG: &str = "ssh_config";

/// Installs OpenSSH with apt-get, as root, unless it is there. Debian starts the system's own server after it, unless the
/// machine's policy forbids that, as in most containers.
///
/// # Errors
/// [`SshError::Install`].
pub fn install() -> Result<(), SshError> {
    if find().is_ok() {
        return Ok(());
    }
    if !is_root() {
        return Err(SshError::Install("only root can".to_owned()));
    }
    for arguments in [
        &["update", "-qq"][..],
        &[
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            "openssh-server",
            "openssh-client",
        ],
    ] {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        succeed(&mut apt).map_err(|error| SshError::Install(error.to_string()))?;
    }
    find().map(drop)
}

/// The login name of whoever runs this.
///
/// # Errors
/// The operating system's.
pub fn user() -> io::Result<String> {
    let output = Command::new("id").arg("-un").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn find() -> Result<&'static str, SshError> {
    for client in ["ssh", "ssh-keygen"] {
        // Both answer and fail; one that is not there cannot be started.
        let mut command = Command::new(client);
        command.arg("-?").stdin(Stdio::null()).stderr(Stdio::null());
        if command.stdout(Stdio::null()).status().is_err() {
            return Err(SshError::Missing(format!("{client} is not in PATH")));
        }
    }
    let found = SSHD.into_iter().find(|path| Path::new(path).exists());
    found.ok_or_else(|| SshError::Missing(format!("none of {}", SSHD.join(", "))))
}

/// Neither server nor master says on stdout that it is up.
fn wait_until(is_up: impl Fn() -> bool, part: &mut RunningProgram) -> Result<(), SshError> {
    let deadline = Instant::now() + START_PATIENCE;
    while !is_up() {
        match part.wait(START_POLL) {
            Err(ProgramError::Silent { .. }) if Instant::now() < deadline => {}
            Err(error) => return Err(error.into()),
            Ok(status) => {
                let ended = format!("{} ended with {status}: {}", part.name(), part.stderr());
                return Err(io::Error::other(ended).into());
            }
        }
    }
    Ok(())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn succeed(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{command:?} failed: {said}")))
}

/// `SHLVL` keeps bash from reading the user's start-up file, which it does as the top-level shell of an ssh connection: what a
/// machine's owner has in there is no part of ssh.
fn server_config(dir: &Path, port: u16) -> String {
    let dir = dir.display();
    format!(
        "ListenAddress 127.0.0.1:{port}\n\
         HostKey {dir}/{HOST_KEY}\n\
         AuthorizedKeysFile {dir}/authorized_keys\n\
         PidFile none\n\
         UsePAM no\n\
         StrictModes no\n\
         PasswordAuthentication no\n\
         PermitRootLogin prohibit-password\n\
         PermitUserRC no\n\
         PrintMotd no\n\
         PrintLastLog no\n\
         UseDNS no\n\
         Compression no\n\
         Ciphers {CIPHER}\n\
         SetEnv SHLVL=2\n\
         MaxStartups 100\n\
         MaxSessions 100\n\
         LogLevel ERROR\n"
    )
}

fn client_config(dir: &Path, port: u16) -> io::Result<String> {
    let (user, dir) = (user()?, dir.display());
    Ok(format!(
        "Host *\n\
         HostName 127.0.0.1\n\
         Port {port}\n\
         User {user}\n\
         IdentityFile {dir}/{USER_KEY}\n\
         IdentitiesOnly yes\n\
         BatchMode yes\n\
         StrictHostKeyChecking no\n\
         UserKnownHostsFile /dev/null\n\
         GlobalKnownHostsFile /dev/null\n\
         Ciphers {CIPHER}\n\
         Compression no\n\
         LogLevel ERROR\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_server_runs_commands_over_warm_connections_of_both_routes() {
        let ssh = match Ssh::start() {
            Ok(ssh) => ssh,
            Err(error @ SshError::Missing(_)) => return eprintln!("skipped: {error}"),
            Err(error) => panic!("{error}"),
        };
        for (name, route) in [("direct", Route::Direct), ("jump", Route::Jump)] {
            let master = ssh.master(name, route).unwrap();
            let output = master.command("echo $((SHLVL + 39)); exit 3").output().unwrap();
            assert_eq!(
                (output.status.code(), &output.stdout[..]),
                (Some(3), &b"42\n"[..]),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}
