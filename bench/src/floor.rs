//! The floor: the cost of a program that spawns `/bin/true` itself, with tokio and three pipes, and waits for it.
//! Remote execution cannot be faster.
//!
//! The standard library takes its `posix_spawn` path here: absolute program, inherited environment, no `pre_exec`. The
//! pipes are read to end of file, as a caller that wants the output must do. For `/bin/true` that is one read each.

use std::io;
use std::process::Stdio;

use tokio::process::Command;
use tokio::runtime::{Builder, Runtime};

/// The program: an absolute path, so that no `PATH` is searched.
pub const PROGRAM: &str = "/bin/true";

/// The runtime that the floor uses. Which one is faster depends on the machine. The benchmark compares with the faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// tokio's current-thread runtime.
    CurrentThread,
    /// tokio's multi-thread runtime with two worker threads.
    TwoWorkers,
}

impl Flavour {
    /// All flavours.
    pub const ALL: [Self; 2] = [Self::CurrentThread, Self::TwoWorkers];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::CurrentThread => "current-thread",
            Self::TwoWorkers => "two-workers",
        }
    }

    /// A new runtime of this flavour.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn runtime(self) -> io::Result<Runtime> {
        match self {
            Self::CurrentThread => Builder::new_current_thread().enable_all().build(),
            Self::TwoWorkers => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
        }
    }
}

/// One execution.
///
/// # Errors
/// An error of the operating system, or a failure status of the program.
pub async fn once() -> io::Result<()> {
    let child = Command::new(PROGRAM)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let output = child.wait_with_output().await?;
    if output.status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("{PROGRAM}: {}", output.status)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_support::load::{in_flight, sequential};

    #[test]
    fn both_flavours_execute_in_a_row_and_at_once() {
        for flavour in Flavour::ALL {
            flavour.runtime().unwrap().block_on(async {
                assert_eq!(sequential(3, once).await.unwrap().len(), 3);
                in_flight(8, 4, once).await.unwrap();
            });
        }
    }
}
