//! temp
use crate::barrier::{FlushError, Flushed};
use crate::link::Link;
use crate::queue::Flight;
use crate::store::{WriteError, Written};
use baton_trace::recorder::Recorder;
use std::time::Instant;
pub(crate) struct Persist;
impl Persist {
    pub(crate) fn begin(_: &Recorder, _: &Flight) -> Self {
        Self
    }
    pub(crate) fn finish(self, _: &Recorder, _: Instant, _: Instant, _: &Result<Written, WriteError>) {}
}
pub(crate) fn flush(_: &Recorder, _: Option<Link>, _: Instant, _: Instant, _: &Result<Flushed, FlushError>) {}
