//! A service for files, asked to search.

use std::future::Future;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use baton_channel::allow::{AllowList, Peer, Trust};
use baton_channel::key::PublicKey;
use baton_exec_server::{Directory, FilesService};
use baton_proto::files::files_error::Kind as ErrorKind;
use baton_proto::files::{
    FilesError, GlobEnd, GlobEntry, GlobRequest, GrepEnd, GrepRequest, GrepResponse, Place, glob_response,
    grep_response,
};
use baton_proto::limits::{LINE_TEXT_MAX, SEARCH_PAGE_MAX};
use baton_rpc::files::files_server::Files as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tempfile::TempDir;
use tonic::{Code, Request, Status};

/// One service and one client of it.
pub(crate) struct Host {
    pub(crate) service: FilesService,
    peer: Option<Arc<Peer>>,
}

/// What a whole answer of `Glob` has.
#[derive(Debug)]
pub(crate) struct Globbed {
    pub(crate) entries: Vec<GlobEntry>,
    pub(crate) pages: usize,
    pub(crate) end: GlobEnd,
}

/// What a whole answer of `Grep` has.
#[derive(Debug)]
pub(crate) struct Grepped {
    pub(crate) lines: Vec<Line>,
    pub(crate) end: GrepEnd,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) path: Bytes,
    pub(crate) number: u64,
    pub(crate) offset: u64,
    pub(crate) text: Bytes,
    pub(crate) text_offset: u64,
    pub(crate) length: u64,
    pub(crate) found: Option<(u64, u64)>,
}

type Answer = Result<BoxStream<'static, Result<GrepResponse, Status>>, Status>;

fn key() -> PublicKey {
    PublicKey::from_bytes([1; 32])
}

/// An allow-list whose one line has these options.
pub(crate) fn allow_with(directory: &Path, options: &str) -> AllowList {
    let path = directory.join("allow");
    std::fs::write(&path, format!("{options} {} test continue\n", key())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    AllowList::file(path).unwrap()
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(AllowList::only(key(), "test", Trust::Continue))
    }

    pub(crate) fn with(allow: AllowList) -> Self {
        Self {
            service: FilesService::new(Directory::Own),
            peer: Some(Arc::new(allow.find(&key()).unwrap().unwrap())),
        }
    }

    pub(crate) fn without_peer() -> Self {
        Self {
            peer: None,
            ..Self::new()
        }
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(peer) = &self.peer {
            request.extensions_mut().insert(Arc::clone(peer));
        }
        request
    }

    pub(crate) async fn glob(&self, request: GlobRequest) -> Result<Globbed, Status> {
        let mut messages = self.service.glob(self.request(request)).await?.into_inner();
        let (mut entries, mut pages) = (Vec::new(), 0);
        loop {
            let message = messages.next().await.expect("an end")?;
            match message.kind.unwrap() {
                glob_response::Kind::Page(page) => {
                    assert!((1..=SEARCH_PAGE_MAX).contains(&page.entries.len()));
                    entries.extend(page.entries);
                    pages += 1;
                }
                glob_response::Kind::End(end) => {
                    assert!(messages.next().await.is_none(), "something after the end");
                    assert_eq!(end.results, entries.len() as u64);
                    return Ok(Globbed { entries, pages, end });
                }
            }
        }
    }

    pub(crate) fn grep_stream(&self, request: GrepRequest) -> Pin<Box<dyn Future<Output = Answer> + '_>> {
        Box::pin(async move {
            let answer = self.service.grep(self.request(request)).await?;
            Ok(answer.into_inner())
        })
    }

    pub(crate) async fn grep(&self, request: GrepRequest) -> Result<Grepped, Status> {
        let mut messages = self.grep_stream(request).await?;
        let mut lines = Vec::new();
        loop {
            let message = messages.next().await.expect("an end")?;
            match message.kind.unwrap() {
                grep_response::Kind::Page(page) => {
                    let before = lines.len();
                    for file in page.files {
                        assert!(!file.lines.is_empty());
                        for line in file.lines {
                            assert!(line.text.len() <= LINE_TEXT_MAX);
                            lines.push(Line {
                                path: file.path.clone(),
                                number: line.number,
                                offset: line.offset,
                                text: line.text,
                                text_offset: line.text_offset,
                                length: line.length,
                                found: line.r#match.map(|span| (span.start, span.end)),
                            });
                        }
                    }
                    assert!((1..=SEARCH_PAGE_MAX).contains(&(lines.len() - before)));
                }
                grep_response::Kind::End(end) => {
                    assert!(messages.next().await.is_none(), "something after the end");
                    let matches = lines.iter().filter(|line| line.found.is_some()).count();
                    assert_eq!(end.matches, matches as u64);
                    return Ok(Grepped { lines, end });
                }
            }
        }
    }
}

pub(crate) fn names(globs: &[&str]) -> Vec<String> {
    globs.iter().map(|glob| (*glob).to_owned()).collect()
}

fn bytes(path: impl AsRef<Path>) -> Bytes {
    Bytes::copy_from_slice(path.as_ref().as_os_str().as_bytes())
}

pub(crate) fn at(path: impl AsRef<Path>) -> Place {
    Place {
        root: None,
        path: bytes(path),
    }
}

pub(crate) fn below(root: impl AsRef<Path>, path: impl AsRef<Path>) -> Place {
    Place {
        root: Some(bytes(root)),
        path: bytes(path),
    }
}

/// A directory without links in its path.
pub(crate) fn directory() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

#[track_caller]
pub(crate) fn kind(status: &Status) -> (Code, ErrorKind) {
    let detail = FilesError::from_details(status.details()).unwrap_or_else(|| panic!("{status:?}"));
    assert_eq!(detail.message, status.message());
    (status.code(), detail.kind())
}
