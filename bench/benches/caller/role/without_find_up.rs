//! An exec-server that has `Stat` and no `FindUp`, as an earlier version.

use std::future::pending;
use std::path::Path;
use std::sync::Arc;

use baton_bench::{Failure, worker};
use baton_channel::allow::{AllowList, Trust};
use baton_channel::key::Seed;
use baton_channel::{Notice, Routes, Server};
use baton_exec_server::server::NoService;
use baton_exec_server::{Directory, FilesService};
use baton_proto::files::{
    FindUpRequest, FindUpResponse, GlobRequest, GrepRequest, HashRequest, HashResponse, ListRequest,
    MkdirRequest, MkdirResponse, ReadManyRequest, ReadRequest, StatRequest, StatResponse, WriteRequest,
    WriteResponse,
};
use baton_rpc::files::files_server::{Files, FilesServer};
use tokio::sync::Notify;
use tonic::{Request, Response, Status, Streaming};

use super::runtime;

struct WithoutFindUp(FilesService);

#[tonic::async_trait]
impl Files for WithoutFindUp {
    type ListStream = <FilesService as Files>::ListStream;
    type ReadStream = <FilesService as Files>::ReadStream;
    type ReadManyStream = <FilesService as Files>::ReadManyStream;
    type GlobStream = <FilesService as Files>::GlobStream;
    type GrepStream = <FilesService as Files>::GrepStream;

    async fn glob(&self, _: Request<GlobRequest>) -> Result<Response<Self::GlobStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn grep(&self, _: Request<GrepRequest>) -> Result<Response<Self::GrepStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn read(&self, _: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn read_many(&self, _: Request<ReadManyRequest>) -> Result<Response<Self::ReadManyStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn write(&self, _: Request<Streaming<WriteRequest>>) -> Result<Response<WriteResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn mkdir(&self, _: Request<MkdirRequest>) -> Result<Response<MkdirResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<StatResponse>, Status> {
        self.0.stat(request).await
    }

    async fn find_up(&self, _request: Request<FindUpRequest>) -> Result<Response<FindUpResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Registers with the relay and accepts the client with this key. Its first line is its ticket. It answers no requests.
pub(super) fn main(relay: &str, key: &str) -> Result<(), Failure> {
    let client = Seed::read(Path::new(key))?.client_key()?;
    let allow = AllowList::only(*client.public(), "bench", Trust::Continue);
    runtime()?.block_on(async {
        let registered = Arc::new(Notify::new());
        let notify = Arc::clone(&registered);
        let server = Server::new(relay, &Seed::generate()?, allow)?.on_notice(move |notice| {
            if let Notice::Registered = notice {
                notify.notify_one();
            }
        });
        let ticket = server.ticket().to_string();
        let files = WithoutFindUp(FilesService::new(Directory::Home));
        let routes = Routes::new(FilesServer::new(files), NoService);
        tokio::spawn(server.serve(routes, pending()));
        registered.notified().await;
        worker::answer(&ticket, async |_| {
            Err("the exec-server answers no requests".into())
        })
        .await
    })
}
