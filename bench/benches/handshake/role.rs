//! The roles of this executable as a new process. Each does one thing for the first time, prints for how many seconds
//! it did, and ends.

use std::time::Instant;

use baton_bench::Failure;

use crate::classical::Classical;
use crate::hello::{Cryptography, hello};
use crate::own::Own;

/// Runs the role that the first argument names.
///
/// | arguments | timed |
/// |---|---|
/// | `first own`, `first classical` | a Noise handshake of both ends, after their static keys were generated |
/// | `hello own`, `hello x25519`, `hello aws-lc` | a TLS hello, after the configuration was made |
pub(crate) fn main(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
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
