//! The commands, each with its expected answer.

use std::path::PathBuf;
use std::time::Duration;

use baton_bench::Failure;
use baton_core_client::{Client, Command, Event, ExitStatus, Output, RunError, StartFailure};
use baton_support::process::{baton, isolated};
use rand::RngExt as _;
use rand::rngs::StdRng;

/// A timeout that expires before its command can end.
const TIMEOUT: Duration = Duration::from_millis(30);

/// A client that runs random commands.
pub(crate) struct Mix {
    pub(crate) client: Client,
    pub(crate) ticket: String,
    pub(crate) key: PathBuf,
}

impl Mix {
    /// Runs one random command.
    ///
    /// # Errors
    /// The answer is not the expected one.
    pub(crate) async fn one(&self, random: &mut StdRng) -> Result<(), Failure> {
        match random.random_range(0..100) {
            0..30 => self.expect(Command::new("true"), 0, b"", b"").await,
            30..45 => {
                let code = random.random_range(0..256);
                self.expect(sh(&format!("exit {code}")), code, b"", b"").await
            }
            45..60 => {
                let word = format!("{:x}", random.random::<u128>());
                self.expect(
                    Command::new("echo").arg(&word),
                    0,
                    format!("{word}\n").as_bytes(),
                    b"",
                )
                .await
            }
            60..70 => {
                self.expect(sh("echo out; echo err >&2; exit 3"), 3, b"out\n", b"err\n")
                    .await
            }
            70..75 => {
                let output = self.client.run(sh("kill -9 $$")).await?;
                let killed = ExitStatus::Signal {
                    signal: 9,
                    core_dumped: false,
                };
                check(output.status == killed, &output)
            }
            75..82 => {
                let bytes = random.random_range(0..256 * 1024);
                let command = sh(&format!("head -c {bytes} /dev/zero"));
                self.expect(command, 0, &vec![0; bytes], b"").await
            }
            82..90 => self.echoed(random).await,
            90..93 => match self.client.run(Command::new("no-such-program")).await {
                Err(RunError::Start {
                    failure: StartFailure::CommandNotFound,
                    ..
                }) => Ok(()),
                other => Err(format!("not found: {other:?}").into()),
            },
            93..95 => match self
                .client
                .run(Command::new("sleep").arg("60").timeout(TIMEOUT))
                .await
            {
                Err(RunError::TimedOut) => Ok(()),
                other => Err(format!("timed out: {other:?}").into()),
            },
            95..97 => self.cancelled().await,
            _ => self.command_line(random.random_range(0..256)).await,
        }
    }

    async fn expect(&self, command: Command, code: i32, stdout: &[u8], stderr: &[u8]) -> Result<(), Failure> {
        let output = self.client.run(command).await?;
        let is_right = output.status == ExitStatus::Code(code)
            && output.stdout == stdout
            && output.stderr == stderr
            && !output.truncated;
        check(is_right, &output)
    }

    /// `cat` must return its standard input unchanged.
    async fn echoed(&self, random: &mut StdRng) -> Result<(), Failure> {
        let mut sent = vec![0; random.random_range(0..64 * 1024)];
        random.fill(&mut sent[..]);
        let (mut run, mut stdin) = self.client.start(Command::new("cat")).await?;
        let writing = async {
            stdin.write(sent.clone().into()).await?;
            stdin.close().await
        };
        let reading = async {
            let (mut received, mut exit) = (Vec::new(), None);
            while let Some(event) = run.next().await? {
                match event {
                    Event::Stdout(data) => received.extend_from_slice(&data),
                    Event::Exited { status, .. } => exit = Some(status),
                    _ => {}
                }
            }
            Ok::<_, RunError>((received, exit))
        };
        let (written, read) = tokio::join!(writing, reading);
        let (received, exit) = read?;
        written?;
        match received == sent && exit == Some(ExitStatus::Code(0)) {
            true => Ok(()),
            false => Err(format!("cat: {exit:?}, {} of {} bytes", received.len(), sent.len()).into()),
        }
    }

    /// The caller drops the call once the command runs.
    async fn cancelled(&self) -> Result<(), Failure> {
        let (mut run, _stdin) = self.client.start(Command::new("sleep").arg("60")).await?;
        match run.next().await? {
            Some(Event::Started { .. }) => Ok(()),
            other => Err(format!("cancelled: {other:?}").into()),
        }
    }

    /// A new `baton exec` process must print the code and exit with it.
    async fn command_line(&self, code: i32) -> Result<(), Failure> {
        let mut command = isolated(std::process::Command::new(baton()?), None);
        command.env("BATON_TICKET", &self.ticket);
        command.args(["exec", "--key"]).arg(&self.key);
        command
            .args(["--", "sh", "-c"])
            .arg(format!("echo {code}; exit {code}"));
        let output = tokio::process::Command::from(command)
            .stdin(std::process::Stdio::null())
            .output()
            .await?;
        match output.status.code() == Some(code) && output.stdout == format!("{code}\n").as_bytes() {
            true => Ok(()),
            false => Err(format!("baton exec: {output:?}, not {code}").into()),
        }
    }
}

fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

fn check(is_right: bool, output: &Output) -> Result<(), Failure> {
    match is_right {
        true => Ok(()),
        false => Err(format!("{:?}, {} bytes", output.status, output.stdout.len()).into()),
    }
}
