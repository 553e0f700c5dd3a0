//! One command that writes all the time, and when its client gets bytes again after a lost session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_bench::Failure;
use baton_core_client::{Client, Event, ExitStatus, Recovery, Stdin};
use baton_trace::record::unix_now_ns;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::program::{Checked, WRITE_ON, endless};

/// Longest wait for a recovery: as long as the command's grace.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running command.
pub(super) struct Endless {
    stdin: Stdin,
    /// The time of the first byte after each recovery.
    first_bytes: mpsc::UnboundedReceiver<u64>,
    /// The output and the exits.
    reading: JoinHandle<Result<(Checked, Vec<ExitStatus>), Failure>>,
}

impl Endless {
    pub(super) async fn start(client: &Client, file: &str) -> Result<Self, Failure> {
        let attached = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&attached);
        let command = endless(file)?.on_recovery(Arc::new(move |recovery| {
            if let Recovery::Attached { .. } = recovery {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }));
        let (mut run, stdin) = client.start(command).await?;
        let (first_byte, first_bytes) = mpsc::unbounded_channel();
        let reading = tokio::spawn(async move {
            let (mut output, mut exits, mut seen) = (Checked::new(WRITE_ON), Vec::new(), 0);
            while let Some(event) = run.next().await? {
                match event {
                    Event::Stdout(data) => {
                        let now = unix_now_ns();
                        let attached = attached.load(Ordering::Relaxed);
                        if attached > seen {
                            seen = attached;
                            // Fails only after the last outage.
                            let _ = first_byte.send(now);
                        }
                        output.take(&data);
                    }
                    Event::Exited { status, .. } => exits.push(status),
                    Event::Started { .. } | Event::Closed { truncated: false, .. } => {}
                    other => return Err(format!("{other:?}").into()),
                }
            }
            Ok((output, exits))
        });
        Ok(Self {
            stdin,
            first_bytes,
            reading,
        })
    }

    /// Seconds from `back` to the first byte after a recovery that is later than `killed`.
    pub(super) async fn recovered(&mut self, killed: u64, back: u64) -> Result<f64, Failure> {
        let first = async {
            loop {
                match self.first_bytes.recv().await {
                    Some(at) if at > killed => return Some(at),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        match timeout(PATIENCE, first).await {
            // A client may be faster than the process that reads that the relay listens.
            Ok(Some(at)) => Ok(at.saturating_sub(back) as f64 / 1e9),
            Ok(None) => match (&mut self.reading).await? {
                Ok(_) => Err("the command ended".into()),
                Err(error) => Err(error),
            },
            Err(_) => Err("the command was not recovered".into()),
        }
    }

    /// Wrong bytes and wrong exits.
    pub(super) async fn end(self) -> Result<Vec<f64>, Failure> {
        self.stdin.close().await?;
        let (output, exits) = timeout(PATIENCE, self.reading).await???;
        let is_wrong = exits != [ExitStatus::Code(0)];
        Ok(vec![output.wrong_so_far() as f64, u8::from(is_wrong).into()])
    }
}
