//! Sends the spool of earlier runs once a connection is established, concurrently with this run.
//!
//! One run drains at a time, one request at a time, oldest first. Several files are sent as one request, because
//! concatenated protobuf messages are one message. When this run ends, only the first request may still be started, and
//! the wait of the exit includes a request in progress. A file is removed when all of it was delivered. An error ends
//! the drain for this run.

use bytes::BytesMut;
use rustix::fd::OwnedFd;

use super::outbox::EncodedRequest;
use super::spool::{
    OpenedFile, Spool, SpoolContent, SpoolDirectory, SpoolError, SpoolFault, SpoolFinding, now_ms, prune,
};
use super::state::{Destination, ExporterState};
use crate::limits::{SPOOL_FINDINGS_MAX, SPOOL_REQUEST_BYTES, SPOOL_REQUEST_FILES};

/// A spool to send.
pub(super) struct SpoolDrain {
    spool: Spool,
}

/// A request made of files, and the files that it completes.
#[derive(Default)]
struct DrainRequest {
    requests: Vec<EncodedRequest>,
    bytes: usize,
    /// Their locks are held.
    complete: Vec<(String, OwnedFd)>,
}

impl SpoolDrain {
    pub(super) fn new(spool: Spool) -> Self {
        Self { spool }
    }

    /// Runs until all is sent, an error occurs, or this run ends. At least one request is tried, so that short runs
    /// also deliver the spans of earlier short runs.
    pub(super) async fn run(self, state: &ExporterState, to: &impl Destination) {
        if let Err(error) = self.send(state, to).await {
            state.drained().error = Some(error);
        }
    }

    async fn send(&self, state: &ExporterState, to: &impl Destination) -> Result<(), SpoolError> {
        let Some((directory, names)) = self.spool.look()? else {
            return Ok(());
        };
        if names.is_empty() {
            return Ok(());
        }
        let Ok(_sending) = directory.lock("send.lock", false) else {
            // Another run drains the spool.
            return Ok(());
        };
        state.drained().dropped += prune(&directory, now_ms(), 0)?.spans;
        let mut load = DrainRequest::default();
        for spooled in names {
            let name = spooled.to_string();
            match directory.read(&name)? {
                OpenedFile::Taken => {}
                OpenedFile::Bad(what) => {
                    if matches!(what, SpoolFault::Link | SpoolFault::Damaged) {
                        directory.remove(&name)?;
                    }
                    find(state, name, what);
                }
                OpenedFile::Read(file, locked) => {
                    let content = SpoolContent::read(file);
                    if content.is_damaged {
                        let read: u64 = content.requests.iter().map(|request| request.spans).sum();
                        state.drained().dropped += spooled.spans.saturating_sub(read);
                        find(state, name.clone(), SpoolFault::Damaged);
                    }
                    for request in content.requests {
                        let is_full = load.bytes + request.bytes.len() > SPOOL_REQUEST_BYTES
                            || load.complete.len() >= SPOOL_REQUEST_FILES;
                        if is_full && (!load.send(state, to, &directory).await? || state.outbox.is_closed()) {
                            return Ok(());
                        }
                        load.bytes += request.bytes.len();
                        load.requests.push(request);
                    }
                    load.complete.push((name, locked));
                }
            }
        }
        load.send(state, to, &directory).await?;
        Ok(())
    }
}

impl DrainRequest {
    /// Sends the collected messages as one request, and removes the completed files. `false` if it was not delivered.
    async fn send(
        &mut self,
        state: &ExporterState,
        to: &impl Destination,
        directory: &SpoolDirectory,
    ) -> Result<bool, SpoolError> {
        let Self {
            requests, complete, ..
        } = std::mem::take(self);
        match attempt(state, to, &requests).await {
            Attempt::Taken => {}
            Attempt::Later => return Ok(false),
            Attempt::Refused if requests.len() > 1 => {
                // One message makes the collector refuse the whole request.
                for request in requests {
                    let spans = request.spans;
                    match attempt(state, to, &[request]).await {
                        Attempt::Taken => {}
                        Attempt::Later => return Ok(false),
                        Attempt::Refused => state.drained().dropped += spans,
                    }
                }
            }
            Attempt::Refused => {
                state.drained().dropped += requests.iter().map(|request| request.spans).sum::<u64>();
                for (name, _) in &complete {
                    find(state, name.clone(), SpoolFault::Refused);
                }
            }
        }
        for (name, _locked) in complete {
            directory.remove(&name)?;
        }
        Ok(true)
    }
}

enum Attempt {
    Taken,
    Refused,
    /// Not delivered; a later run may succeed, possibly with other settings.
    Later,
}

async fn attempt(state: &ExporterState, to: &impl Destination, requests: &[EncodedRequest]) -> Attempt {
    let spans = requests.iter().map(|request| request.spans).sum();
    let bytes = match requests {
        [] => return Attempt::Taken,
        [one] => one.bytes.clone(),
        several => {
            let mut all = BytesMut::with_capacity(several.iter().map(|request| request.bytes.len()).sum());
            several
                .iter()
                .for_each(|request| all.extend_from_slice(&request.bytes));
            all.freeze()
        }
    };
    match to.send(bytes, spans).await {
        Ok(rejected) => {
            let rejected = rejected.map_or(0, |rejected| rejected.spans);
            let mut drained = state.drained();
            drained.delivered += spans - rejected;
            drained.dropped += rejected;
            Attempt::Taken
        }
        Err(failure) if failure.is_about_request() => Attempt::Refused,
        Err(_) => Attempt::Later,
    }
}

fn find(state: &ExporterState, name: String, what: SpoolFault) {
    let mut drained = state.drained();
    drained.found += 1;
    if drained.findings.len() < SPOOL_FINDINGS_MAX {
        drained.findings.push(SpoolFinding { name, what });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use tempfile::TempDir;
    use tonic::Code;

    use super::*;
    use crate::failure::{ExportFailure, FailureKind};
    use crate::outbox::tests::{outbox, settings};
    use crate::spool::tests::{files, request, spool, write};
    use crate::state::{DrainReport, RejectedSpans, ShutdownRequest};
    use crate::worker;

    /// Takes what has no more than so many spans, and says how many there were.
    struct Fake {
        takes: u64,
        otherwise: Code,
        sent: Mutex<Vec<u64>>,
    }

    impl Fake {
        fn new(takes: u64, otherwise: Code) -> Self {
            Self {
                takes,
                otherwise,
                sent: Mutex::default(),
            }
        }

        fn sent(&self) -> Vec<u64> {
            self.sent.lock().unwrap().clone()
        }
    }

    impl Destination for &Fake {
        async fn connect(&self) -> Result<(), ExportFailure> {
            Ok(())
        }

        async fn send(&self, _: Bytes, spans: u64) -> Result<Option<RejectedSpans>, ExportFailure> {
            if spans > self.takes {
                let refused = FailureKind::Refused(self.otherwise, String::new());
                return Err(ExportFailure::new(&"http://localhost".parse().unwrap(), refused));
            }
            self.sent.lock().unwrap().push(spans);
            Ok(None)
        }
    }

    /// Drains until nothing moves, then ends the run.
    async fn drain(spool: &Spool, to: &Fake) -> DrainReport {
        let settings = settings(&[]);
        let state = ExporterState::new(outbox(&settings), None);
        let running = worker::run(&state, &settings, to, Some(SpoolDrain::new(spool.clone())));
        // The clock is virtual: it moves when nothing else does.
        let ending = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            state.close(ShutdownRequest {
                deadline: Instant::now() + Duration::from_secs(60),
                is_patient: false,
            });
        };
        tokio::join!(running, ending);
        std::mem::take(&mut *state.drained())
    }

    #[tokio::test(start_paused = true)]
    async fn what_earlier_runs_left_is_sent_together_and_removed() {
        let dir = TempDir::new().unwrap();
        let spool = spool(&dir);
        for _ in 0..3 {
            write(&spool, &[request(), request()]);
        }
        let fake = Fake::new(u64::MAX, Code::Ok);
        let drained = drain(&spool, &fake).await;
        assert_eq!((drained.delivered, drained.dropped, drained.found), (30, 0, 0));
        assert_eq!(fake.sent(), [30]);
        assert!(files(&spool).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_no_larger_than_its_limits() {
        let dir = TempDir::new().unwrap();
        let spool = spool(&dir);
        for _ in 0..SPOOL_REQUEST_FILES + 1 {
            write(&spool, &[request()]);
        }
        let fake = Fake::new(u64::MAX, Code::Ok);
        drain(&spool, &fake).await;
        assert_eq!(fake.sent(), [5 * SPOOL_REQUEST_FILES as u64, 5]);
        assert!(files(&spool).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_has_trouble_leaves_everything_for_a_later_run() {
        let dir = TempDir::new().unwrap();
        let spool = spool(&dir);
        write(&spool, &[request()]);
        for code in [Code::Unavailable, Code::Unauthenticated, Code::Unimplemented] {
            let drained = drain(&spool, &Fake::new(0, code)).await;
            assert_eq!((drained.delivered, drained.dropped), (0, 0), "{code:?}");
            assert_eq!(files(&spool).len(), 1, "{code:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_that_is_refused_spoils_no_other() {
        let dir = TempDir::new().unwrap();
        let spool = spool(&dir);
        let twice = EncodedRequest {
            bytes: [request().bytes, request().bytes].concat().into(),
            spans: 10,
        };
        write(&spool, &[request(), twice, request()]);
        let fake = Fake::new(5, Code::InvalidArgument);
        let drained = drain(&spool, &fake).await;
        assert_eq!((drained.delivered, drained.dropped), (10, 10));
        assert!(files(&spool).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn garbage_is_removed_and_told_and_what_can_be_read_of_it_is_sent() {
        let dir = TempDir::new().unwrap();
        let spool = spool(&dir);
        write(&spool, &[request(), request()]);
        let [name] = &files(&spool)[..] else { panic!() };
        let path = spool.path().join(name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let fake = Fake::new(u64::MAX, Code::Ok);
        let drained = drain(&spool, &fake).await;
        assert_eq!((drained.delivered, drained.dropped, drained.found), (5, 5, 1));
        assert_eq!(drained.findings[0].what, SpoolFault::Damaged);
        assert!(files(&spool).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_run_sends_at_a_time() {
        let dir = TempDir::new().unwrap();
        let spool = spool(&dir);
        write(&spool, &[request()]);
        let (directory, _) = spool.look().unwrap().unwrap();
        let other = directory.lock("send.lock", false).unwrap();
        let fake = Fake::new(u64::MAX, Code::Ok);
        drain(&spool, &fake).await;
        assert_eq!((fake.sent(), files(&spool).len()), (vec![], 1));
        drop(other);
        drain(&spool, &fake).await;
        assert_eq!((fake.sent(), files(&spool).len()), (vec![5], 0));
    }
}
