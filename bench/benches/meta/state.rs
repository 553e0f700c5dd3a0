//! New databases, with or without a writer.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use baton_bench::Failure;
use baton_metadata::store::retention::Retention;
use baton_metadata::store::sqlite::{self, OpenedStore};
use baton_metadata::{Writer, WriterHandle};
use baton_trace::record::unix_now_ns;
use baton_trace::recorder::Recorder;
use tempfile::TempDir;

use crate::records::EPOCH;

/// A writer over a new database. The database is removed when this is dropped.
pub(crate) struct State {
    pub(crate) handle: WriterHandle,
    writer: Writer,
    directory: TempDir,
}

impl State {
    pub(crate) fn start(under: &Path) -> Result<Self, Failure> {
        let directory = TempDir::new_in(under)?;
        let store = open(directory.path())?.store;
        let (handle, writer) = baton_metadata::start(Box::new(store), Recorder::off())?;
        Ok(Self {
            handle,
            writer,
            directory,
        })
    }

    /// How often the log was started anew, which happens after all of it was moved into the database: the field of its
    /// header for the number of checkpoints (SQLite, "WAL file format", offset 12). 0 for a log without header.
    pub(crate) fn checkpoints(&self) -> Result<u32, Failure> {
        let mut header = [0; 16];
        let read = File::open(self.directory.path().join("baton.db-wal"))?.read(&mut header)?;
        let [.., a, b, c, d] = header;
        Ok(match read == header.len() {
            true => u32::from_be_bytes([a, b, c, d]),
            false => 0,
        })
    }

    pub(crate) async fn end(self) -> Result<(), Failure> {
        let report = self.writer.shutdown(Duration::from_secs(20)).await;
        if report.is_complete() {
            Ok(())
        } else {
            Err(format!("not everything was written: {report:?}").into())
        }
    }
}

/// Opens a new database.
pub(crate) fn open(directory: &Path) -> Result<OpenedStore, Failure> {
    let options = sqlite::StoreOptions {
        directory: directory.to_owned(),
        name: "bench".to_owned(),
        epoch: EPOCH,
        retention: Retention::default(),
        now_unix_ns: unix_now_ns(),
    };
    Ok(sqlite::open(&options, &mut |_| {})?)
}
