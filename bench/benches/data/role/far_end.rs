//! The server behind a blind relay: for each TCP connection it runs one of the two [programs](super::program), as the
//! connection's first line requests.
//!
//! With `direct …`, the socket is the program's stdin and stdout, as with inetd, and the server copies no bytes. With
//! `piped …`, the server copies between socket and pipe, as a server that encrypts or frames must do. Its pipes are
//! enlarged as Baton's are.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use baton_bench::{Failure, worker};
use rustix::pipe::fcntl_setpipe_size;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy_buf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use super::program::{PIECE, consumer, producer};
use super::{runtime, word};
use crate::limits::LARGE_PIPE;

/// The longest first line, in bytes.
const LINE: usize = 64;

/// Its first line is its address. It answers no requests.
pub(super) fn main() -> Result<(), Failure> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?.to_string();
        let serving = async {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::spawn(async move {
                    if let Err(error) = serve(stream).await {
                        eprintln!("{error}");
                    }
                });
            }
        };
        tokio::select! {
            served = serving => served,
            done = worker::answer(&address, async |_| Err("the far end answers no requests".into())) => done,
        }
    })
}

async fn serve(mut stream: TcpStream) -> Result<(), Failure> {
    let line = first_line(&mut stream).await?;
    let mut words = line.split_whitespace();
    let (how, what): (String, String) = (word(&mut words)?, word(&mut words)?);
    let argv = match &what[..] {
        "produce" => producer(word(&mut words)?, None)?,
        _ => consumer()?,
    };
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]);
    match (&how[..], &what[..]) {
        ("direct", _) => {
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            let stdin = OwnedFd::from(stream.try_clone()?);
            let mut child = command.stdin(stdin).stdout(OwnedFd::from(stream)).spawn()?;
            // `command` holds the socket too, which would keep the connection open.
            drop(command);
            child.wait().await?;
        }
        (_, "produce") => {
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
            let stdout = child.stdout.take().ok_or("no pipe")?;
            let _ = fcntl_setpipe_size(&stdout, LARGE_PIPE);
            copy_buf(&mut BufReader::with_capacity(PIECE, stdout), &mut stream).await?;
            child.wait().await?;
        }
        _ => {
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let mut stdin = child.stdin.take().ok_or("no pipe")?;
            let _ = fcntl_setpipe_size(&stdin, LARGE_PIPE);
            copy_buf(&mut BufReader::with_capacity(PIECE, &mut stream), &mut stdin).await?;
            drop(stdin);
            stream.write_all(&child.wait_with_output().await?.stdout).await?;
        }
    }
    Ok(())
}

/// Reads the first line byte by byte, because the bytes after it belong to the program.
async fn first_line(stream: &mut TcpStream) -> Result<String, Failure> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(String::from_utf8(line)?),
            _ if line.len() == LINE => return Err("the first line is too long".into()),
            byte => line.push(byte),
        }
    }
}
