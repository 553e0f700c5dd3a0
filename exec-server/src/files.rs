//! The service `baton.files.v1.Files`, as a plain tonic service: looks at, reads and writes the file system as this
//! process's user.
//!
//! ```text
//! request ──► checked (request, place) ──► a slot of the client's share, then a thread ──► answer
//!                  one answer within a deadline: lookups ──► stat, find_up, mkdir
//!                  many messages, at the client's pace: transfers ──► list, read, read_many, write, search
//! ```
//!
//! An allowed client may run any command, so the service shows it nothing more. A client with a forced command may not,
//! so every call of it is refused. So is every call of a client whose commands run as another
//! user: the service has this process's rights, which are not that user's. What it protects is the exec-server: a
//! file system that hangs holds a bounded number of threads, and no thread of the runtime.

mod error;
mod find_up;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod list;
mod lookups;
mod mkdir;
mod part;
mod place;
mod read;
mod read_many;
mod request;
mod search;
mod stat;
mod threads;
mod transfers;
mod write;

use std::sync::Arc;

use baton_channel::allow::Peer;
use baton_channel::key::PublicKey;
use baton_proto::files::{
    FindUpRequest, FindUpResponse, GlobRequest, GlobResponse, GrepRequest, GrepResponse, HashRequest,
    HashResponse, ListPage, ListRequest, MkdirRequest, MkdirResponse, ReadManyRequest, ReadManyResponse,
    ReadRequest, ReadResponse, StatRequest, StatResponse, WriteRequest, WriteResponse, write_request,
};
use baton_proto::limits::WRITE_REQUEST_MAX;
use baton_rpc::files::files_server::{Files, FilesServer};
use futures_util::FutureExt as _;
use futures_util::stream::BoxStream;
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status, Streaming};

pub use error::{FilesError, InvalidMarkers, InvalidPath, InvalidSearch, InvalidWrite};

use crate::limits::{START_TIMEOUT, TRANSFER_OUTBOX};
use crate::settings::Directory;
pub(crate) use lookups::Lookups;
use mkdir::MkdirOrder;
use place::Place;
use read::{Hashing, Range};
use request::{FileNames, Markers, RequestedPath};
use search::{GlobOrder, GrepOrder};
use transfers::Transfers;
use write::{Commits, Piece, WriteOrder};

/// Answers questions about files, reads and writes them. Clones share the limits on lookups and transfers.
///
/// A request's extensions must hold an `Arc<`[`Peer`]`>`, else it is refused as unauthenticated. Clients with a forced
/// command, and clients whose line on the allow-list names a user, are refused.
#[derive(Clone)]
pub struct FilesService {
    lookups: Lookups,
    transfers: Transfers,
    searches: Transfers,
    commits: Commits,
    directory: Directory,
}

impl FilesService {
    /// A service whose empty path is this directory.
    pub fn new(directory: Directory) -> Self {
        Self {
            lookups: Lookups::new(),
            transfers: Transfers::new(),
            searches: Transfers::searches(),
            commits: Commits::default(),
            directory,
        }
    }

    /// The service as tonic mounts it, with this crate's limit on requests.
    pub fn into_server(self) -> FilesServer<Self> {
        FilesServer::new(self).max_decoding_message_size(WRITE_REQUEST_MAX)
    }
}

fn client<T>(request: &Request<T>) -> Result<PublicKey, FilesError> {
    let peer = request.extensions().get::<Arc<Peer>>();
    let peer = peer.ok_or(FilesError::Unauthenticated)?;
    let options = peer.options();
    match (options.command(), options.user()) {
        (None, None) => Ok(peer.key),
        (Some(_), _) => Err(FilesError::Restricted),
        (None, Some(_)) => Err(FilesError::OtherUser),
    }
}

/// The first request of a `Write`.
async fn first(requests: &mut Streaming<WriteRequest>) -> Result<WriteOrder, Status> {
    let first = timeout(START_TIMEOUT, next(requests)).await;
    let first = first.map_err(|_| FilesError::from(InvalidWrite::NotFirst))??;
    match first.and_then(|request| request.kind) {
        Some(write_request::Kind::Start(start)) => Ok(start.try_into()?),
        _ => Err(InvalidWrite::NotFirst.into()),
    }
}

/// The next request of a `Write`.
async fn next(requests: &mut Streaming<WriteRequest>) -> Result<Option<WriteRequest>, Status> {
    let next = requests.message().await;
    // Not a gRPC message: the client's fault, and the library's message would not help the client.
    next.map_err(|status| match status.code() {
        Code::Internal => InvalidWrite::OutOfOrder.into(),
        _ => status,
    })
}

#[tonic::async_trait]
impl Files for FilesService {
    type ListStream = BoxStream<'static, Result<ListPage, Status>>;
    type ReadStream = BoxStream<'static, Result<ReadResponse, Status>>;
    type ReadManyStream = BoxStream<'static, Result<ReadManyResponse, Status>>;
    type GlobStream = BoxStream<'static, Result<GlobResponse, Status>>;
    type GrepStream = BoxStream<'static, Result<GrepResponse, Status>>;

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

    async fn read_many(
        &self,
        request: Request<ReadManyRequest>,
    ) -> Result<Response<Self::ReadManyStream>, Status> {
        let client = client(&request)?;
        let ReadManyRequest { directory, names } = request.into_inner();
        let (place, names) = (Place::try_from(directory)?, FileNames::try_from(names)?);
        let directory = self.directory;
        let work = move |outbox: &_| read_many::read_many(&place, &names, directory, outbox);
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

    async fn write(
        &self,
        request: Request<Streaming<WriteRequest>>,
    ) -> Result<Response<WriteResponse>, Status> {
        let client = client(&request)?;
        let mut requests = request.into_inner();
        let order = first(&mut requests).await?;
        let mut sequence = order.sequence();
        let (directory, commits) = (self.directory, self.commits.clone());
        let work = move |inbox: &mut _| write::write(&order, directory, &commits, inbox);
        let slot = self.transfers.slot(client).await?;
        // What has arrived already, which of a small file is everything: its thread never waits for it.
        let (mut arrived, mut is_last) = (Vec::new(), false);
        while arrived.len() < TRANSFER_OUTBOX
            && !is_last
            && let Some(request) = next(&mut requests).now_or_never()
        {
            let piece = sequence.check(request?)?;
            is_last = matches!(piece, Piece::End { .. });
            arrived.push(piece);
        }
        let mut reception = self.transfers.receive(slot, arrived, work)?;
        if is_last {
            return Ok(Response::new(reception.answer().await?));
        }
        loop {
            let request = tokio::select! {
                // The thread ends before the end only with an error, such as a condition that does not hold.
                early = reception.early_answer() => return Ok(Response::new(early?)),
                request = next(&mut requests) => request?,
            };
            // If this fails, the drop of `reception` tells the thread to discard what it has.
            let piece = sequence.check(request)?;
            let is_last = matches!(piece, Piece::End { .. });
            if let Some(answer) = reception.give(piece).await? {
                return Ok(Response::new(answer));
            }
            if is_last {
                return Ok(Response::new(reception.answer().await?));
            }
        }
    }

    async fn mkdir(&self, request: Request<MkdirRequest>) -> Result<Response<MkdirResponse>, Status> {
        let client = client(&request)?;
        let order = MkdirOrder::try_from(request.into_inner())?;
        let directory = self.directory;
        let look = move |deadline| mkdir::mkdir(&order, directory, deadline);
        Ok(Response::new(self.lookups.run(client, look).await?))
    }

    async fn glob(&self, request: Request<GlobRequest>) -> Result<Response<Self::GlobStream>, Status> {
        let client = client(&request)?;
        let order = GlobOrder::try_from(request.into_inner())?;
        let directory = self.directory;
        let work = move |outbox: &_| search::glob(&order, directory, search::deadline(), outbox);
        let transfer = self.searches.start(client, work).await?;
        Ok(Response::new(search::answer(transfer).await?))
    }

    async fn grep(&self, request: Request<GrepRequest>) -> Result<Response<Self::GrepStream>, Status> {
        let client = client(&request)?;
        let order = GrepOrder::try_from(request.into_inner())?;
        let directory = self.directory;
        let work = move |outbox: &_| search::grep(&order, directory, search::deadline(), outbox);
        let transfer = self.searches.start(client, work).await?;
        Ok(Response::new(search::answer(transfer).await?))
    }
}

impl std::fmt::Debug for FilesService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilesService").finish_non_exhaustive()
    }
}
