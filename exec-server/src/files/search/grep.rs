//! The lines below a directory, or of a file, that match a pattern.
//!
//! grep-searcher reads a file through a rolling buffer and gives the lines to a sink. Reader and sink are called in turns,
//! and share the results: the reader keeps the time, so that a large file without a match ends in time too. It also tells
//! binary files: the searcher would do that by its buffers, so what is found would depend on how a file is read.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::time::Instant;

use baton_proto::files::grep_response::Kind;
use baton_proto::files::{
    FileLines, GrepEnd, GrepLine, GrepPage, GrepResponse, Span, Truncation, Unsearched,
};
use baton_proto::limits::LINE_TEXT_MAX;
use bytes::Bytes;
use grep_matcher::Matcher as _;
use grep_regex::RegexMatcher;
use grep_searcher::{
    BinaryDetection, MmapChoice, Searcher, SearcherBuilder, Sink, SinkContext, SinkContextKind, SinkMatch,
};
use prost::Message as _;
use rustix::fs::{FileType, fstat};

use super::walk::Walk;
use super::{GrepOrder, Halt, Progress, Results, truncation};
use crate::files::error::FilesError;
use crate::files::place::{open_directory, open_regular};
use crate::files::transfers::{Outbox, Stop};
use crate::limits::GREP_BUFFER_MAX;
use crate::settings::Directory;

/// Bytes of a long line before its first match that are shown.
const SHOWN_BEFORE_MATCH: usize = LINE_TEXT_MAX / 4;

/// A NUL byte among so many bytes at the beginning makes a file binary, as it does for ripgrep.
const BINARY_HEAD: usize = 64 * 1024;

/// A line, and the file that it is of.
type Found = (Bytes, GrepLine);

fn page(found: Vec<Found>) -> GrepResponse {
    let mut files: Vec<FileLines> = Vec::new();
    for (path, line) in found {
        match files.last_mut() {
            Some(last) if last.path == path => last.lines.push(line),
            _ => files.push(FileLines {
                path,
                lines: vec![line],
            }),
        }
    }
    GrepResponse {
        kind: Some(Kind::Page(GrepPage { files })),
    }
}

/// Gives the answer of `Grep`.
pub(in crate::files) fn grep(
    order: &GrepOrder,
    default: Directory,
    deadline: Instant,
    outbox: &Outbox<Progress<GrepResponse>>,
) -> Result<(), Stop> {
    let location = order.place.locate(default)?;
    let found = fstat(&location).map_err(FilesError::of_place)?;
    let matcher = order.pattern.compile().map_err(FilesError::from)?;
    // What is wrong with the place or with a glob is the call's error, so it comes before the first sign of life.
    let scope = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => {
            let base = open_directory(&location)?;
            let walk = Walk::new(base, &order.place, default, &order.selection)?;
            Scope::Tree(Box::new(walk))
        }
        _ => {
            order.selection.compile().map_err(FilesError::from)?;
            Scope::File(open_regular(&location)?)
        }
    };
    let mut results = Results::new(outbox, deadline, page)?;
    let mut search = Search::new(order, matcher);
    let (ended, unsearched) = match scope {
        Scope::Tree(mut walk) => {
            let ended = search.tree(&mut walk, &mut results);
            (ended, walk.unsearched())
        }
        Scope::File(file) => {
            let read = search.file(file, Bytes::new(), &mut results);
            let unreadable = u64::from(matches!(read, Ok(false)));
            let unsearched = Unsearched {
                unreadable,
                ignore_files: 0,
            };
            (read.map(drop), unsearched)
        }
    };
    search.end.truncated = truncation(ended)?.into();
    search.end.unsearched = Some(unsearched);
    results.end(GrepResponse {
        kind: Some(Kind::End(search.end)),
    })
}

enum Scope {
    Tree(Box<Walk>),
    File(File),
}

struct Search<'a> {
    order: &'a GrepOrder,
    matcher: RegexMatcher,
    searcher: Searcher,
    /// As far as it is known.
    end: GrepEnd,
}

impl<'a> Search<'a> {
    fn new(order: &'a GrepOrder, matcher: RegexMatcher) -> Self {
        let searcher = SearcherBuilder::new()
            .before_context(order.before)
            .after_context(order.after)
            .line_number(true)
            .binary_detection(BinaryDetection::none())
            .heap_limit(Some(GREP_BUFFER_MAX))
            // Offsets are those of the file, so nothing is decoded. A file that shrinks while it is mapped would kill
            // the process.
            .bom_sniffing(false)
            .memory_map(MmapChoice::never())
            .build();
        Self {
            order,
            matcher,
            searcher,
            end: GrepEnd::default(),
        }
    }

    fn tree(&mut self, walk: &mut Walk, results: &mut Results<'_, Found, GrepResponse>) -> Result<(), Halt> {
        walk.begin(results)?;
        while let Some(is_directory) = walk.next(results)? {
            if is_directory {
                continue;
            }
            let Some(location) = walk.locate()? else {
                continue;
            };
            let file = match open_regular(&location) {
                // A link, a FIFO, a device: there is nothing to search in it.
                Err(FilesError::NotRegular) => continue,
                file => file,
            };
            let Some(file) = walk.unless_passed_over(file)? else {
                continue;
            };
            let path = Bytes::copy_from_slice(walk.path());
            if !self.file(file, path, results)? {
                walk.count_unreadable();
            }
        }
        Ok(())
    }

    /// Searches a file. False: it could not be read up to its end.
    fn file(
        &mut self,
        file: File,
        path: Bytes,
        results: &mut Results<'_, Found, GrepResponse>,
    ) -> Result<bool, Halt> {
        let shared = Shared {
            results: RefCell::new(results),
            halt: RefCell::new(None),
            read_failed: Cell::new(false),
        };
        let mut sink = Lines {
            shared: &shared,
            matcher: &self.matcher,
            path,
            in_file: 0,
            max_in_file: self.order.max_per_file.unwrap_or(u64::MAX),
            in_all: self.end.matches,
            max_in_all: self.order.max_matches,
            is_cut: false,
        };
        let mut file = Watched {
            file,
            head: Head::Unread,
            is_binary: false,
            shared: &shared,
        };
        let searched = self.searcher.search_reader(&self.matcher, &mut file, &mut sink);
        let is_binary = file.is_binary;
        let Lines { in_file, is_cut, .. } = sink;
        self.end.files += 1;
        self.end.matches += in_file;
        self.end.files_with_matches += u64::from(in_file > 0);
        self.end.cut += u64::from(is_cut);
        self.end.binary += u64::from(is_binary);
        if let Some(halt) = shared.halt.take() {
            return Err(halt);
        }
        let read_failed = shared.read_failed.get();
        // The searcher itself fails only if a line does not fit into its buffer.
        self.end.long_lines += u64::from(searched.is_err() && !read_failed);
        Ok(!read_failed)
    }
}

/// What the reader and the sink of one file share.
struct Shared<'a, 'b> {
    results: RefCell<&'a mut Results<'b, Found, GrepResponse>>,
    /// Why the whole search is to end.
    halt: RefCell<Option<Halt>>,
    read_failed: Cell<bool>,
}

/// A file that is read as long as the search goes on, and up to its first NUL byte.
struct Watched<'a, 'b> {
    file: File,
    head: Head,
    is_binary: bool,
    shared: &'a Shared<'a, 'b>,
}

/// The first [`BINARY_HEAD`] bytes of a file, which are looked at before the first of them is searched.
enum Head {
    Unread,
    Read(Cursor<Vec<u8>>),
}

impl Watched<'_, '_> {
    fn read_file(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Err(halt) = self.shared.results.borrow_mut().tick() {
            self.shared.halt.replace(Some(halt));
            return Err(io::Error::other("the search ends"));
        }
        loop {
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    self.shared.read_failed.set(read.is_err());
                    return read;
                }
            }
        }
    }

    fn read_head(&mut self) -> io::Result<Vec<u8>> {
        let (mut head, mut len) = (vec![0; BINARY_HEAD], 0);
        while len < head.len() {
            match self.read_file(&mut head[len..])? {
                0 => break,
                read => len += read,
            }
        }
        head.truncate(len);
        Ok(head)
    }
}

impl Read for Watched<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Head::Unread = self.head {
            let mut head = self.read_head()?;
            if head.contains(&0) {
                self.is_binary = true;
                head.clear();
            }
            self.head = Head::Read(Cursor::new(head));
        }
        if let Head::Read(head) = &mut self.head {
            let read = head.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
        }
        if self.is_binary {
            return Ok(0);
        }
        let read = self.read_file(buffer)?;
        match buffer[..read].iter().position(|byte| *byte == 0) {
            Some(before) => {
                self.is_binary = true;
                Ok(before)
            }
            None => Ok(read),
        }
    }
}

/// Takes the lines of one file.
struct Lines<'a, 'b> {
    shared: &'a Shared<'a, 'b>,
    matcher: &'a RegexMatcher,
    path: Bytes,
    /// Matching lines so far.
    in_file: u64,
    max_in_file: u64,
    /// Matching lines of the files before.
    in_all: u64,
    max_in_all: u64,
    is_cut: bool,
}

impl Lines<'_, '_> {
    fn is_full(&self) -> bool {
        self.in_file >= self.max_in_file || self.in_all + self.in_file >= self.max_in_all
    }

    /// False: the search ends.
    fn add(&self, number: Option<u64>, offset: u64, line: &[u8], found: Option<Span>) -> bool {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let (text_offset, text) = shown(line, found.as_ref());
        let line = GrepLine {
            number: number.unwrap_or_default(),
            offset,
            text: Bytes::copy_from_slice(text),
            text_offset,
            length: line.len() as u64,
            r#match: found,
        };
        let bytes = line.encoded_len() + self.path.len();
        let added = self
            .shared
            .results
            .borrow_mut()
            .add((self.path.clone(), line), bytes);
        match added {
            Ok(()) => true,
            Err(halt) => {
                self.shared.halt.replace(Some(halt));
                false
            }
        }
    }
}

impl Sink for Lines<'_, '_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        if self.in_file >= self.max_in_file {
            self.is_cut = true;
            return Ok(false);
        }
        if self.in_all + self.in_file >= self.max_in_all {
            let halt = Halt::Truncated(Truncation::Results);
            self.shared.halt.replace(Some(halt));
            return Ok(false);
        }
        self.in_file += 1;
        let line = found.bytes();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        // The searcher may have found the line by a part of the pattern that it has no match of alone: then all of it.
        let first = self.matcher.find(line).ok().flatten();
        let span = match first {
            Some(first) => Span {
                start: first.start() as u64,
                end: first.end() as u64,
            },
            None => Span {
                start: 0,
                end: line.len() as u64,
            },
        };
        Ok(self.add(
            found.line_number(),
            found.absolute_byte_offset(),
            line,
            Some(span),
        ))
    }

    fn context(&mut self, _: &Searcher, context: &SinkContext<'_>) -> Result<bool, io::Error> {
        // Before a match that will not be given.
        if *context.kind() == SinkContextKind::Before && self.is_full() {
            return Ok(true);
        }
        Ok(self.add(
            context.line_number(),
            context.absolute_byte_offset(),
            context.bytes(),
            None,
        ))
    }
}

/// The part of a line that is shown, and its offset in the line.
fn shown<'a>(line: &'a [u8], found: Option<&Span>) -> (u64, &'a [u8]) {
    let (start, end) = found.map_or((0, 0), |span| (span.start as usize, span.end as usize));
    let from = match end > LINE_TEXT_MAX {
        true => start.saturating_sub(SHOWN_BEFORE_MATCH),
        false => 0,
    };
    let text = &line[from..];
    (from as u64, &text[..text.len().min(LINE_TEXT_MAX)])
}
