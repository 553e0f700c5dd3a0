//! The service `baton.files.v1.Files`, as a plain tonic service: looks at the file system as this process's user.
//!
//! ```text
//! request ──► checked (request) ──► a slot of the client's share, then a thread (lookups) ──► stat, find_up ──► answer
//! ```
//!
//! An allowed client may run any command, so the service shows it nothing more. What it protects is the exec-server: a
//! file system that hangs holds a bounded number of threads, and no thread of the runtime.

mod error;
mod find_up;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod lookups;
mod request;
mod stat;

use std::sync::Arc;

use baton_channel::allow::Peer;
use baton_channel::key::PublicKey;
use baton_proto::files::{FindUpRequest, FindUpResponse, StatRequest, StatResponse};
use baton_rpc::files::files_server::{Files, FilesServer};
use tonic::{Request, Response, Status};

pub use error::{FilesError, InvalidMarkers, InvalidPath};

use crate::limits::FILES_REQUEST_BYTES;
use crate::settings::Directory;
use lookups::Lookups;
use request::{Markers, RequestedPath};

/// Answers `Stat` and `FindUp`. Clones share the limit on lookups.
///
/// A request's extensions must hold an `Arc<`[`Peer`]`>`, else it is refused as unauthenticated.
#[derive(Clone)]
pub struct FilesService {
    lookups: Lookups,
    directory: Directory,
}

impl FilesService {
    /// A service whose empty path is this directory.
    pub fn new(directory: Directory) -> Self {
        Self {
            lookups: Lookups::new(),
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
}

impl std::fmt::Debug for FilesService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilesService").finish_non_exhaustive()
    }
}
