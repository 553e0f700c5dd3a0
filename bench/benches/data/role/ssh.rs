//! The ssh peer: a program that keeps one ssh connection of a library and runs commands over it, on one thread.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use baton_bench::floor::PROGRAM;
use baton_bench::{Failure, worker};
use baton_support::load::sequential;
use russh::client::{Config, Handle, Handler, connect};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{ChannelMsg, Preferred, cipher};

use super::{runtime, word};

/// Connects, then answers `sequential WARM-UP EXECUTIONS` with the seconds of each execution.
pub(super) fn main(port: u16, key: &str) -> Result<(), Failure> {
    let key = Arc::new(load_secret_key(Path::new(key), None)?);
    let config = Arc::new(Config {
        preferred: Preferred {
            cipher: Cow::Borrowed(&[cipher::AES_128_GCM]),
            ..Preferred::default()
        },
        // Without it, Nagle's algorithm and delayed acknowledgements would make every round trip take 40 ms.
        nodelay: true,
        ..Config::default()
    });
    runtime()?.block_on(async {
        let mut connection = connect(config, ("127.0.0.1", port), Trusting).await?;
        let user = baton_bench::ssh::user()?;
        let with_key = PrivateKeyWithHashAlg::new(key, None);
        if !connection.authenticate_publickey(user, with_key).await?.success() {
            return Err("the ssh server refused the user key".into());
        }
        let connection = Arc::new(connection);
        worker::answer("ready", async |request| {
            let mut words = request.split_whitespace();
            let _sequential: String = word(&mut words)?;
            let (warm_up, executions) = (word(&mut words)?, word(&mut words)?);
            let connection = Arc::clone(&connection);
            // In a task, as in Baton's client.
            let took = tokio::spawn(async move {
                sequential(warm_up, || run(&connection)).await?;
                sequential(executions, || run(&connection)).await
            });
            Ok(took.await??.iter().map(|(took, ())| took.as_secs_f64()).collect())
        })
        .await
    })
}

/// Accepts every server key: the server is started by this benchmark.
struct Trusting;

impl Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

async fn run(connection: &Handle<Trusting>) -> Result<(), Failure> {
    let mut channel = connection.channel_open_session().await?;
    channel.exec(true, PROGRAM).await?;
    let mut status = None;
    while let Some(message) = channel.wait().await {
        if let ChannelMsg::ExitStatus { exit_status } = message {
            status = Some(exit_status);
        }
    }
    match status {
        Some(0) => Ok(()),
        status => Err(format!("{PROGRAM} over ssh: {status:?}").into()),
    }
}
