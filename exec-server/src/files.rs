//! The service `baton.files.v1.Files`, as a plain tonic service: looks at and reads the file system as this process's
//! user.
//!
//! ```text
//! request ──► checked (request, place) ──► a slot of the client's share, then a thread ──► answer
//!                  one answer within a deadline: lookups ──► stat, find_up
//!                  many messages, at the client's pace: transfers ──► list, read
//! ```
//!
//! An allowed client may run any command, so the service shows it nothing more. What it protects is the exec-server: a
//! file system that hangs holds a bounded number of threads, and no thread of the runtime.

mod error;
mod find_up;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod list;
mod lookups;
mod place;
mod read;
mod request;
mod stat;
mod transfers;

use std::sync::Arc;

use baton_channel::allow::Peer;
use baton_channel::key::PublicKey;
use baton_proto::files::{
    FindUpRequest, FindUpResponse, HashRequest, HashResponse, ListPage, ListRequest, ReadRequest,
    ReadResponse, StatRequest, StatResponse,
};
use baton_rpc::files::files_server::{Files, FilesServer};
use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status};

pub use error::{FilesError, InvalidMarkers, InvalidPath};

use crate::limits::FILES_REQUEST_BYTES;
use crate::settings::Directory;
use lookups::Lookups;
use place::Place;
use read::{Hashing, Range};
use request::{Markers, RequestedPath};
use transfers::Transfers;

/// Answers questions about files and reads them. Clones share the limits on lookups and transfers.
///
/// A request's extensions must hold an `Arc<`[`Peer`]`>`, else it is refused as unauthenticated.
#[derive(Clone)]
pub struct FilesService {
    lookups: Lookups,
    transfers: Transfers,
    directory: Directory,
}

impl FilesService {
    /// A service whose empty path is this directory.
    pub fn new(directory: Directory) -> Self {
        Self {
            lookups: Lookups::new(),
            transfers: Transfers::new(),
            directory,
        }
    }

    /// The service as tonic mounts it, with this crate's limit on requests.
    pub fn into_server(self) -> FilesServer<Self> {
        FilesServer::new(self).max_decoding_message_size(FILES_REQUEST_BYTES)
    }
}

fn client<T>(request: &Request<T>) -> Result<PublicKey, FilesError> {
    let peer = request.extensions().get::<Arc<Peer>>();
    Ok(peer.ok_or(FilesError::Unauthenticated)?.key)
}

#[tonic::async_trait]
impl Files for FilesService {
    type ListStream = BoxStream<'static, Result<ListPage, Status>>;
    type ReadStream = BoxStream<'static, Result<ReadResponse, Status>>;

    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<StatResponse>, Status> {
        let client = client(&request)?;
        let StatRequest { path, follow } = request.into_inner();
        let path = RequestedPath::try_from(path)?;
        let directory = self.directory;
        let look = move |_| stat::stat(&path.or_default(directory), follow);
        Ok(Response::new(self.lookups.run(client, look).await?))
    }

    async fn find_up(&self, request: Request<FindUpRequest>) -> Result<Response<FindUpResponse>, Status> {
        let client = client(&request)?;
        let FindUpRequest { start, markers } = request.into_inner();
        let (start, markers) = (RequestedPath::try_from(start)?, Markers::try_from(markers)?);
        let directory = self.directory;
        let look = move |deadline| find_up::find_up(&start.or_default(directory), &markers, deadline);
        Ok(Response::new(self.lookups.run(client, look).await?))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let client = client(&request)?;
        let place = Place::try_from(request.into_inner().place)?;
        let directory = self.directory;
        let work = move |outbox: &_| list::list(&place, directory, outbox);
        let transfer = self.transfers.start(client, work).await?;
        Ok(Response::new(transfer.into_answer().await?))
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let client = client(&request)?;
        let ReadRequest {
            place,
            offset,
            length,
            hash,
        } = request.into_inner();
        let (place, range) = (Place::try_from(place)?, Range { offset, length });
        let directory = self.directory;
        let work = move |outbox: &_| read::read(&place, directory, range, hash, outbox);
        let transfer = self.transfers.start(client, work).await?;
        Ok(Response::new(transfer.into_answer().await?))
    }

    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        let client = client(&request)?;
        let HashRequest { place, length } = request.into_inner();
        let place = Place::try_from(place)?;
        let directory = self.directory;
        let work = move |outbox: &_| read::hash(&place, directory, length, outbox);
        let mut transfer = self.transfers.start(client, work).await?;
        while let Some(message) = transfer.next().await? {
            if let Hashing::Done(answer) = message {
                return Ok(Response::new(answer));
            }
        }
        Err(FilesError::Io(std::io::Error::other("a transfer gave no hash")).into())
    }
}

impl std::fmt::Debug for FilesService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilesService").finish_non_exhaustive()
    }
}
