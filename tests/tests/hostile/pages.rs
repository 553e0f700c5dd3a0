//! An exec-server with the right key that answers queries with more than was requested: the caller's memory stays
//! bounded.

use std::sync::Arc;

use baton_core_client::RecordsError;
use baton_proto::limits::{ANSWER_MAX, PAGE_ITEMS_MAX, SHOWN_MAX};
use baton_proto::metadata::{
    FlushRequest, FlushResponse, HistoryPage, HistoryRequest, Record, ShowRequest, ShowResponse, StageTime,
    Thread, ThreadArchiveRequest, ThreadArchiveResponse, ThreadDeleteRequest, ThreadDeleteResponse,
    ThreadShowRequest, ThreadShowResponse, ThreadUpdateRequest, ThreadUpdateResponse, ThreadsPage,
    ThreadsRequest,
};
use baton_rpc::metadata::metadata_server::{Metadata, MetadataServer};
use tonic::codegen::BoxStream;
use tonic::{Code, Request, Response, Status};

use crate::testbed::with_exec_server;

/// Gives fixed answers to every query.
#[derive(Clone, Default)]
struct ScriptedMetadata(Arc<Answers>);

#[derive(Default)]
struct Answers {
    history: Vec<HistoryPage>,
    threads: Vec<ThreadsPage>,
    shown: ShowResponse,
    thread: ThreadShowResponse,
}

fn never<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not used by these tests"))
}

#[tonic::async_trait]
impl Metadata for ScriptedMetadata {
    type HistoryStream = BoxStream<HistoryPage>;
    type ThreadsStream = BoxStream<ThreadsPage>;

    async fn history(&self, _: Request<HistoryRequest>) -> Result<Response<Self::HistoryStream>, Status> {
        let pages: Vec<_> = self.0.history.iter().cloned().map(Ok).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(pages))))
    }

    async fn show(&self, _: Request<ShowRequest>) -> Result<Response<ShowResponse>, Status> {
        Ok(Response::new(self.0.shown.clone()))
    }

    async fn threads(&self, _: Request<ThreadsRequest>) -> Result<Response<Self::ThreadsStream>, Status> {
        let pages: Vec<_> = self.0.threads.iter().cloned().map(Ok).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(pages))))
    }

    async fn thread_show(
        &self,
        _: Request<ThreadShowRequest>,
    ) -> Result<Response<ThreadShowResponse>, Status> {
        Ok(Response::new(self.0.thread.clone()))
    }

    async fn thread_update(
        &self,
        _: Request<ThreadUpdateRequest>,
    ) -> Result<Response<ThreadUpdateResponse>, Status> {
        never()
    }

    async fn thread_archive(
        &self,
        _: Request<ThreadArchiveRequest>,
    ) -> Result<Response<ThreadArchiveResponse>, Status> {
        never()
    }

    async fn thread_delete(
        &self,
        _: Request<ThreadDeleteRequest>,
    ) -> Result<Response<ThreadDeleteResponse>, Status> {
        never()
    }

    async fn flush(&self, _: Request<FlushRequest>) -> Result<Response<FlushResponse>, Status> {
        never()
    }
}

fn records(count: usize) -> HistoryPage {
    HistoryPage {
        records: vec![Record::default(); count],
        ..HistoryPage::default()
    }
}

fn record(bytes: usize) -> Record {
    Record {
        cwd: vec![b'x'; bytes].into(),
        ..Record::default()
    }
}

/// The number of records that a client with this limit accepts from these pages.
async fn taken(pages: Vec<HistoryPage>, limit: u32) -> Result<usize, RecordsError> {
    let service = ScriptedMetadata(Arc::new(Answers {
        history: pages,
        ..Answers::default()
    }));
    with_exec_server(MetadataServer::new(service), async |client| {
        let request = HistoryRequest {
            limit,
            ..HistoryRequest::default()
        };
        let mut pages = client.records().history(request).await?;
        let mut count = 0;
        while let Some(page) = pages.next().await? {
            count += page.records.len();
        }
        Ok(count)
    })
    .await
}

#[tokio::test]
async fn an_exec_server_that_answers_with_more_than_was_asked_for_is_stopped_and_named() {
    let full = || records(PAGE_ITEMS_MAX);
    assert_eq!(taken(vec![full(), full()], 0).await.unwrap(), 2 * PAGE_ITEMS_MAX);
    assert_eq!(taken(vec![full(), records(50)], 150).await.unwrap(), 150);
    for (name, pages, limit) in [
        (
            "more records than a page may have",
            vec![records(PAGE_ITEMS_MAX + 1)],
            0,
        ),
        ("the smallest records", vec![records(ANSWER_MAX / 4)], 0),
        ("more than was requested", vec![full(), records(51)], 150),
        ("pages without end", (0..1_000).map(|_| full()).collect(), 150),
    ] {
        let taken = taken(pages, limit).await;
        assert!(
            matches!(taken, Err(RecordsError::Protocol(_))),
            "{name}: {taken:?}"
        );
    }
    let long = HistoryPage {
        records: vec![record(ANSWER_MAX)],
        ..HistoryPage::default()
    };
    let taken = taken(vec![long], 0).await;
    assert!(
        matches!(&taken, Err(RecordsError::Rpc(status)) if status.code() == Code::OutOfRange),
        "{taken:?}"
    );
}

#[tokio::test]
async fn no_other_answer_of_an_exec_server_is_longer_than_its_caller_takes() {
    let stages = |count| ShowResponse {
        stages: vec![StageTime::default(); count],
        ..ShowResponse::default()
    };
    for (count, is_taken) in [(SHOWN_MAX, true), (SHOWN_MAX + 1, false)] {
        let service = ScriptedMetadata(Arc::new(Answers {
            shown: stages(count),
            threads: vec![ThreadsPage {
                threads: vec![Thread::default(); PAGE_ITEMS_MAX + 1],
                ..ThreadsPage::default()
            }],
            ..Answers::default()
        }));
        with_exec_server(MetadataServer::new(service), async |client| {
            let shown = client.records().show("a").await;
            assert_eq!(shown.is_ok(), is_taken, "{shown:?}");
            let threads = client.records().threads(ThreadsRequest::default()).await;
            let page = threads.unwrap().next().await;
            assert!(matches!(page, Err(RecordsError::Protocol(_))), "{page:?}");
        })
        .await;
    }
    let service = ScriptedMetadata(Arc::new(Answers {
        thread: ThreadShowResponse {
            values: (0..1_000).map(|n| (n.to_string(), "x".repeat(4_096))).collect(),
            ..ThreadShowResponse::default()
        },
        ..Answers::default()
    }));
    with_exec_server(MetadataServer::new(service), async |client| {
        let thread = client.records().thread("a").await;
        assert!(
            matches!(&thread, Err(RecordsError::Rpc(status)) if status.code() == Code::OutOfRange),
            "{thread:?}"
        );
    })
    .await;
}
