//! The participants: starting them, and timing streams and commands through them.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use baton_bench::{Failure, Worker, fleet};
use baton_support::process::{Stack, baton, isolated, usage};

use rustix::pipe::fcntl_setpipe_size;

use crate::limits::LARGE_PIPE;
use crate::role::program::{check_count, consumer, producer};

/// A relay, an exec-server, and a client with a warm session.
pub(crate) struct Baton {
    pub(crate) stack: Stack,
    pub(crate) client: Worker,
}

impl Baton {
    /// Starts all three, without tracing.
    pub(crate) fn start() -> Result<Self, Failure> {
        let stack = Stack::start(None)?;
        let client = client(&stack, stack.ticket())?;
        Ok(Self { stack, client })
    }

    /// Starts this many HAProxy processes, relays of one thread behind them, an exec-server and a client, without
    /// tracing.
    pub(crate) fn start_fleet(relays: usize, balancers: usize) -> Result<Self, Failure> {
        let stack = Stack::start_over(|directory| fleet::start(relays, balancers, directory))?;
        let client = client(&stack, stack.ticket())?;
        Ok(Self { stack, client })
    }

    /// CPU time so far of client, relay and exec-server, without their child processes.
    pub(crate) fn cpu_times(&self) -> std::io::Result<[Duration; 3]> {
        Ok([
            usage::cpu_time(self.client.pid())?,
            usage::cpu_time(self.stack.relay.pid())?,
            usage::cpu_time(self.stack.exec_server.pid())?,
        ])
    }
}

/// Starts a client of this stack that uses this ticket.
pub(crate) fn client(stack: &Stack, ticket: &str) -> Result<Worker, Failure> {
    Worker::start(&["client", ticket, &key(stack)?], None)
}

/// The path of the client key that the stack's exec-server accepts.
pub(crate) fn key(stack: &Stack) -> Result<String, Failure> {
    let key = stack.client_key();
    Ok(key
        .to_str()
        .ok_or("the temporary directory is not UTF-8")?
        .to_owned())
}

/// A command that runs `argv` with a new `baton exec`.
pub(crate) fn exec(stack: &Stack, collector: Option<&str>, argv: &[String]) -> Result<Command, Failure> {
    let mut command = isolated(Command::new(baton()?), collector);
    command.args(["exec", stack.ticket(), "--key"]);
    command.arg(stack.client_key()).arg("--").args(argv);
    // A spool of its own: not the user's, whose files it would send.
    command.env("XDG_STATE_HOME", stack.directory());
    Ok(command)
}

/// The stdin and stdout of the program at the far end of a TCP stream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FarEndStdio {
    /// The socket.
    Direct,
    /// A pipe. The far end copies between pipe and socket.
    Piped,
}

/// Seconds of a download over TCP from `address`: a blind relay or a link. The socket is the consumer's stdin.
pub(crate) fn download_tcp(address: &str, stdio: FarEndStdio, bytes: u64) -> Result<f64, Failure> {
    let started = Instant::now();
    let stream = ask(address, stdio, &format!("produce {bytes}"))?;
    let mut consumer = local(&consumer()?, Stdio::from(OwnedFd::from(stream)), Stdio::piped())?;
    let counted = finish(&mut consumer)?;
    let took = started.elapsed().as_secs_f64();
    check_count(&counted, bytes)?;
    Ok(took)
}

/// Seconds of an upload over TCP to `address`. The socket is the producer's stdout.
pub(crate) fn upload_tcp(address: &str, stdio: FarEndStdio, bytes: u64) -> Result<f64, Failure> {
    let started = Instant::now();
    let mut stream = ask(address, stdio, "consume")?;
    let argv = producer(bytes, None)?;
    let stdout = Stdio::from(OwnedFd::from(stream.try_clone()?));
    finish(&mut local(&argv, Stdio::null(), stdout)?)?;
    stream.shutdown(Shutdown::Write)?;
    let mut counted = Vec::new();
    stream.read_to_end(&mut counted)?;
    let took = started.elapsed().as_secs_f64();
    check_count(&counted, bytes)?;
    Ok(took)
}

fn ask(address: &str, stdio: FarEndStdio, line: &str) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let how = match stdio {
        FarEndStdio::Direct => "direct",
        FarEndStdio::Piped => "piped",
    };
    stream.write_all(format!("{how} {line}\n").as_bytes())?;
    Ok(stream)
}

/// Seconds of `remote | consumer`, where `remote` is a command that runs a remote producer.
pub(crate) fn download_cli(mut remote: Command, bytes: u64) -> Result<f64, Failure> {
    let started = Instant::now();
    let mut remote = remote.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let pipe = remote.stdout.take().ok_or("no pipe")?;
    // `baton exec` enlarges such a pipe itself, and `ssh` does not.
    let _ = fcntl_setpipe_size(&pipe, LARGE_PIPE);
    let mut consumer = local(&consumer()?, pipe.into(), Stdio::piped())?;
    let counted = finish(&mut consumer)?;
    let took = started.elapsed().as_secs_f64();
    succeed(remote.wait_with_output()?)?;
    check_count(&counted, bytes)?;
    Ok(took)
}

/// Seconds of `producer | remote`, where `remote` is a command that runs a remote consumer.
pub(crate) fn upload_cli(mut remote: Command, bytes: u64) -> Result<f64, Failure> {
    let started = Instant::now();
    let argv = producer(bytes, None)?;
    let mut producer = local(&argv, Stdio::null(), Stdio::piped())?;
    let pipe = producer.stdout.take().ok_or("no pipe")?;
    let _ = fcntl_setpipe_size(&pipe, LARGE_PIPE);
    let remote = remote.stdin(pipe).stdout(Stdio::piped()).spawn()?;
    let counted = succeed(remote.wait_with_output()?)?;
    let took = started.elapsed().as_secs_f64();
    finish(&mut producer)?;
    check_count(&counted, bytes)?;
    Ok(took)
}

/// Seconds from the start of a command to its exit.
pub(crate) fn cold(mut command: Command) -> Result<f64, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let started = Instant::now();
    let status = command.status()?;
    let took = started.elapsed().as_secs_f64();
    if status.success() {
        Ok(took)
    } else {
        Err(format!("{command:?} ended with {status}").into())
    }
}

/// The arguments as one quoted command line for a shell.
pub(crate) fn quoted(argv: &[String]) -> String {
    let words = argv
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    words.collect::<Vec<_>>().join(" ")
}

fn local(argv: &[String], stdin: Stdio, stdout: Stdio) -> Result<std::process::Child, Failure> {
    let mut command = Command::new(&argv[0]);
    Ok(command.args(&argv[1..]).stdin(stdin).stdout(stdout).spawn()?)
}

fn finish(child: &mut std::process::Child) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut output)?;
    }
    let status = child.wait()?;
    if status.success() {
        Ok(output)
    } else {
        Err(format!("a program at the end of a stream ended with {status}").into())
    }
}

fn succeed(output: Output) -> Result<Vec<u8>, Failure> {
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("the remote command ended with {}", output.status).into())
    }
}
