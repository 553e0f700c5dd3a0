//! Baton as a user has it, with a name for the exec-server; and the words by which tools call either.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use baton_bench::Failure;
use baton_bench::ssh::Ssh;
use baton_support::process::{Stack, baton, isolated};
use tempfile::TempDir;

/// The name of the exec-server.
const HOST: &str = "worker";

/// A relay, an exec-server, and the home directory of a user who knows the exec-server.
pub(crate) struct Baton {
    _stack: Stack,
    home: TempDir,
}

impl Baton {
    pub(crate) fn start() -> Result<Self, Failure> {
        let stack = Stack::start(None)?;
        let home = TempDir::with_prefix("baton-home-")?;
        let config = home.path().join(".config/baton");
        fs::create_dir_all(&config)?;
        fs::copy(stack.client_key(), config.join(Stack::CLIENT_KEY))?;
        let ticket = stack.ticket().to_owned();
        let baton = Self { _stack: stack, home };
        let mut add = baton.program("baton")?;
        add.args(["host", "add", HOST, "-"]);
        add.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut add = add.spawn()?;
        let mut stdin = add.stdin.take().ok_or("no pipe")?;
        writeln!(stdin, "{ticket}")?;
        drop(stdin);
        let added = add.wait_with_output()?;
        match added.status.success() {
            true => Ok(baton),
            false => Err(String::from_utf8_lossy(&added.stderr).into()),
        }
    }
}

/// One of the two ways.
pub(crate) trait Remote {
    /// A program with the user's environment; `baton` is the one under test.
    fn program(&self, name: &str) -> Result<Command, Failure>;

    /// The words that other programs call in place of `ssh`.
    fn shell(&self) -> Result<String, Failure>;

    /// A path of the remote machine, as rsync, git, scp and `baton cp` take it.
    fn place(&self, path: &Path) -> String;

    /// Copies one file; `scp`, or `baton cp`.
    fn copy(&self) -> Result<Command, Failure>;

    /// Copies a tree with permissions but without times: `baton cp -r`, or rsync, which takes the same directories with
    /// a slash behind them.
    fn copy_tree(&self, from: String, to: String) -> Result<Command, Failure>;
}

impl Remote for Baton {
    fn program(&self, name: &str) -> Result<Command, Failure> {
        let command = match name {
            "baton" => Command::new(baton()?),
            other => Command::new(other),
        };
        let mut command = isolated(command, None);
        command
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path().join(".config"))
            .env("XDG_STATE_HOME", self.home.path().join("state"));
        Ok(command)
    }

    fn shell(&self) -> Result<String, Failure> {
        Ok(format!("{} ssh", baton()?.display()))
    }

    fn place(&self, path: &Path) -> String {
        format!("{HOST}:{}", path.display())
    }

    fn copy(&self) -> Result<Command, Failure> {
        let mut copy = self.program("baton")?;
        copy.arg("cp");
        Ok(copy)
    }

    fn copy_tree(&self, from: String, to: String) -> Result<Command, Failure> {
        let mut copy = self.copy()?;
        copy.args(["-r", &from, &to]);
        Ok(copy)
    }
}

impl Remote for Ssh {
    fn program(&self, name: &str) -> Result<Command, Failure> {
        Ok(isolated(Command::new(name), None))
    }

    fn shell(&self) -> Result<String, Failure> {
        Ok(format!("ssh -F {} -J jump", self.config().display()))
    }

    fn place(&self, path: &Path) -> String {
        format!("target:{}", path.display())
    }

    fn copy(&self) -> Result<Command, Failure> {
        let mut copy = self.program("scp")?;
        copy.arg("-q").arg("-F").arg(self.config()).args(["-J", "jump"]);
        Ok(copy)
    }

    fn copy_tree(&self, from: String, to: String) -> Result<Command, Failure> {
        let mut copy = self.program("rsync")?;
        copy.args(["-rp", "-e", &self.shell()?]);
        copy.args([format!("{from}/"), format!("{to}/")]);
        Ok(copy)
    }
}
