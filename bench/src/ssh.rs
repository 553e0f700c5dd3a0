//! OpenSSH for comparison: a private server on a port of loopback, with its own keys and settings, and warm connections
//! to it. It neither reads nor writes the ssh configuration of the system or the user. Dropping the handles stops all
//! processes and removes all files.

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
use crate::packages::{self, PackageError, is_root, succeed};

/// The cipher of both directions: the fastest of OpenSSH on a processor with AES instructions.
pub const CIPHER: &str = "aes128-gcm@openssh.com";

/// Paths where distributions install `sshd`. They are often not in a user's `PATH`.
const SSHD: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];

/// The privilege separation directory that Debian's sshd needs when it runs as root.
const SEPARATION: &str = "/run/sshd";

/// OpenSSH cannot be used for comparison.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// It is not installed.
    #[error("OpenSSH is not installed ({0}); as root, --install-ssh installs it with apt-get")]
    Missing(String),
    /// It could not be installed.
    #[error(transparent)]
    Install(#[from] PackageError),
    /// A file, key or port could not be set up.
    #[error("cannot set up OpenSSH: {0}")]
    Setup(#[from] io::Error),
    /// It did not start.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// The route of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Directly to the server.
    Direct,
    /// Through a jump host (`-J`). The same server acts as the jump host.
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
    _program: RunningProgram,
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
        // The port is free now. Another program could take it before the server binds it, which is unlikely.
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

    /// Opens a warm connection.
    ///
    /// # Errors
    /// [`SshError`].
    pub fn master(&self, name: &str, route: Route) -> Result<Master, SshError> {
        let socket = self.dir.path().join(name);
        let config = self.config();
        let mut command = self.client();
        command.args(["-M", "-N", "-S"]).arg(&socket);
        if route == Route::Jump {
            command.args(["-J", "jump"]);
        }
        command.arg("target");
        let mut program = RunningProgram::start("ssh", command)?;
        wait_until(|| socket.exists(), &mut program)?;
        Ok(Master {
            _program: program,
            config,
            socket,
        })
    }

    /// A new `ssh` process that opens a connection of its own and runs `command`. The remote user's shell interprets it.
    pub fn command(&self, command: &str) -> Command {
        let mut ssh = self.client();
        ssh.args(["-S", "none", "target", command]);
        ssh
    }

    /// The key exchange that client and server agree on. No setting names one, so it is OpenSSH's default.
    ///
    /// # Errors
    /// `ssh` could not be started, or did not print it.
    pub fn key_exchange(&self) -> io::Result<String> {
        let mut ssh = self.client();
        let output = ssh.args(["-v", "-S", "none", "target", "true"]).output()?;
        let log = String::from_utf8_lossy(&output.stderr);
        let name = log
            .lines()
            .find_map(|line| line.strip_prefix("debug1: kex: algorithm: "));
        let absent = || io::Error::other(format!("ssh printed no key exchange: {log}"));
        Ok(name.ok_or_else(absent)?.trim().to_owned())
    }

    fn client(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.config());
        ssh
    }

    /// The configuration file for `ssh -F`. Its hosts `target` and `jump` are both the server.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join(CONFIG)
    }

    /// The server's port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The private key that the server accepts.
    pub fn user_key(&self) -> PathBuf {
        self.dir.path().join(USER_KEY)
    }
}

impl Master {
    /// A new `ssh` process that runs `command` over the warm connection. The remote user's shell interprets it.
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

/// Installs OpenSSH with apt-get, unless it is installed. Needs root. Debian then starts the system's server, unless a
/// policy of the machine forbids that, as in most containers.
///
/// # Errors
/// [`SshError::Install`].
pub fn install() -> Result<(), SshError> {
    if find().is_err() {
        packages::install(&["openssh-server", "openssh-client"])?;
    }
    find().map(drop)
}

/// The login name of the current user.
///
/// # Errors
/// An error of the operating system.
pub fn user() -> io::Result<String> {
    let output = Command::new("id").arg("-un").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn find() -> Result<&'static str, SshError> {
    for client in ["ssh", "ssh-keygen"] {
        // `-?` makes both fail. Only a missing program cannot be started.
        let mut command = Command::new(client);
        command.arg("-?").stdin(Stdio::null()).stderr(Stdio::null());
        if command.stdout(Stdio::null()).status().is_err() {
            return Err(SshError::Missing(format!("{client} is not in PATH")));
        }
    }
    let found = SSHD.into_iter().find(|path| Path::new(path).exists());
    found.ok_or_else(|| SshError::Missing(format!("none of {}", SSHD.join(", "))))
}

/// Polls until `is_up`: neither server nor master reports on stdout that it is ready.
fn wait_until(is_up: impl Fn() -> bool, program: &mut RunningProgram) -> Result<(), SshError> {
    let deadline = Instant::now() + START_PATIENCE;
    while !is_up() {
        match program.wait(START_POLL) {
            Err(ProgramError::Silent { .. }) if Instant::now() < deadline => {}
            Err(error) => return Err(error.into()),
            Ok(status) => {
                let ended = format!("{} ended with {status}: {}", program.name(), program.stderr());
                return Err(io::Error::other(ended).into());
            }
        }
    }
    Ok(())
}

/// `SHLVL=2` keeps bash from reading the user's start-up file, as the top-level shell of an ssh connection does. The
/// cost of that file is not a cost of ssh.
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
         Subsystem sftp internal-sftp\n\
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
    fn a_private_server_runs_commands_over_warm_connections_of_both_routes_and_over_a_new_one() {
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
        let output = ssh.command("echo $((SHLVL + 39)); exit 3").output().unwrap();
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(3), &b"42\n"[..])
        );
        let key_exchange = ssh.key_exchange().unwrap();
        assert!(key_exchange.contains("25519"), "{key_exchange}");
    }
}
