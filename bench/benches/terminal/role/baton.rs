//! The client of Baton: a program with the library, one thread and one session.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use baton_bench::Failure;
use baton_bench::worker::{self, ROLE};
use baton_core_client::{Client, Command, Event, Run, Seed, Stdin, Ticket, WindowSize, keep_freed_memory};
use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{KEY, PAUSE, READY, count};

/// How long the command on the terminal outlives its session.
const GRACE: Duration = Duration::from_secs(60);

const SIZE: WindowSize = WindowSize {
    columns: 80,
    rows: 24,
    width_pixels: 0,
    height_pixels: 0,
};

/// Connects, starts the program that echoes on a terminal, and answers:
///
/// | request | answer |
/// |---|---|
/// | `keys COUNT` | milliseconds of each echo |
/// | `stream` | nothing; starts a process of the same session that writes zeros at full speed |
/// | `rate` | bytes per second of that process since then |
pub(super) fn main(ticket: &str, key: &str) -> Result<(), Failure> {
    keep_freed_memory();
    let ticket: Ticket = ticket.parse()?;
    let key = Seed::read(Path::new(key))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = Client::new(ticket, key.client_key()?);
        let mut terminal = Terminal::start(&client).await?;
        let mut stream: Option<Stream> = None;
        worker::answer("ready", async |request| match request {
            "stream" => {
                stream = Some(Stream::start(&client).await?);
                Ok(Vec::new())
            }
            "rate" => Ok(vec![stream.as_ref().ok_or("nothing streams")?.rate()?]),
            request => {
                let count = count(request).ok_or_else(|| format!("no such task: {request}"))?;
                let mut took = Vec::with_capacity(count);
                for _ in 0..count {
                    sleep(PAUSE).await;
                    took.push(terminal.press().await?.as_secs_f64() * 1e3);
                }
                Ok(took)
            }
        })
        .await
    })
}

/// The program that echoes.
struct Terminal {
    run: Run,
    stdin: Stdin,
}

impl Terminal {
    async fn start(client: &Client) -> Result<Self, Failure> {
        let command = Command::new(std::env::current_exe()?).args([ROLE, "echo"]);
        let (run, stdin) = client.start(command.terminal(SIZE).grace(GRACE)).await?;
        let mut terminal = Self { run, stdin };
        terminal.expect(READY).await?;
        Ok(terminal)
    }

    async fn press(&mut self) -> Result<Duration, Failure> {
        let pressed = Instant::now();
        self.stdin.write(Bytes::from_static(&[KEY])).await?;
        self.expect(KEY).await?;
        Ok(pressed.elapsed())
    }

    async fn expect(&mut self, byte: u8) -> Result<(), Failure> {
        loop {
            match self.run.next().await? {
                Some(Event::Started { .. }) => {}
                Some(Event::Stdout(data)) if data == [byte][..] => return Ok(()),
                other => return Err(format!("the terminal shows {other:?}").into()),
            }
        }
    }
}

/// A process that writes at full speed.
struct Stream {
    began: Instant,
    bytes: Arc<AtomicU64>,
    reading: JoinHandle<()>,
}

impl Stream {
    async fn start(client: &Client) -> Result<Self, Failure> {
        let (mut run, stdin) = client.start(Command::new("cat").arg("/dev/zero")).await?;
        drop(stdin);
        let bytes = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&bytes);
        let reading = tokio::spawn(async move {
            while let Ok(Some(event)) = run.next().await {
                if let Event::Stdout(data) = event {
                    counter.fetch_add(data.len() as u64, Ordering::Relaxed);
                }
            }
        });
        Ok(Self {
            began: Instant::now(),
            bytes,
            reading,
        })
    }

    /// Bytes per second so far.
    fn rate(&self) -> Result<f64, Failure> {
        if self.reading.is_finished() {
            return Err("the stream ended".into());
        }
        Ok(self.bytes.load(Ordering::Relaxed) as f64 / self.began.elapsed().as_secs_f64())
    }
}
