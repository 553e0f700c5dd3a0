//! The roles of this executable as a new process. Most do one thing for the first time, print for how many seconds they
//! did, and end. Those of `steady` answer requests.

use std::time::Instant;

use baton_bench::{Failure, worker};

use crate::classical::Classical;
use crate::hello::{Cryptography, hello};
use crate::own::Own;

/// Runs the role that the first argument names.
///
/// | arguments | timed |
/// |---|---|
/// | `steady own`, `steady classical` | as many handshakes of both ends as requested, each |
/// | `first own`, `first classical` | a Noise handshake of both ends, after their static keys were generated |
/// | `hello own`, `hello x25519`, `hello aws-lc` | a TLS hello, after the configuration was made |
pub(crate) fn main(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["steady", "own"] => {
            let own = Own::generate()?;
            steady(|| own.handshake())
        }
        ["steady", "classical"] => {
            let classical = Classical::generate()?;
            steady(|| classical.handshake())
        }
        ["first", "own"] => {
            let own = Own::generate()?;
            timed(|| own.handshake())
        }
        ["first", "classical"] => {
            let classical = Classical::generate()?;
            timed(|| classical.handshake())
        }
        ["hello", "own"] => first_hello(Cryptography::Own),
        ["hello", "x25519"] => first_hello(Cryptography::X25519),
        ["hello", "aws-lc"] => first_hello(Cryptography::AwsLc),
        _ => Err(format!("no such role: {arguments:?}").into()),
    }
}

fn steady(handshake: impl Fn() -> Result<(), Failure>) -> Result<(), Failure> {
    worker::answer_blocking("ready", |request| {
        (0..request.parse::<usize>()?)
            .map(|_| {
                let began = Instant::now();
                handshake()?;
                Ok(began.elapsed().as_secs_f64())
            })
            .collect()
    })
}

fn first_hello(cryptography: Cryptography) -> Result<(), Failure> {
    let config = cryptography.config()?;
    timed(|| hello(config).map(drop))
}

fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let began = Instant::now();
    work()?;
    println!("{}", began.elapsed().as_secs_f64());
    Ok(())
}
