//! New databases, with or without a writer.

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
    _directory: TempDir,
}

impl State {
    pub(crate) fn start(under: &Path) -> Result<Self, Failure> {
        let directory = TempDir::new_in(under)?;
        let store = open(directory.path())?.store;
        let (handle, writer) = baton_metadata::start(Box::new(store), Recorder::off())?;
        Ok(Self {
            handle,
            writer,
            _directory: directory,
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
