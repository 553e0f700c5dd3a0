//! What is below a directory, and the lines in it that match a pattern.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use baton_proto::files::{
    FileLines, GlobRequest, GlobResponse, GrepRequest, GrepResponse, Selection, glob_response, grep_response,
};
use baton_proto::limits::{LINE_TEXT_MAX, PATH_MAX, SEARCH_PAGE_MAX};
use bytes::Bytes;
use tonic::Streaming;

use super::{FilePlace, FileStatus, Files, FilesError};

/// Which files a search is about. The default is what ripgrep looks at: no hidden files, and none that .gitignore files
/// leave out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSelection {
    /// At most 64 globs of at most 1,024 bytes. An entry has to match one of them; none: all match. `*` and `?` match
    /// anything but `/`, `**` as a whole component any number of components. A glob without `/` matches the name at every
    /// depth, one with `/` the path relative to the place, and one with `/` at its end directories only.
    pub globs: Vec<String>,
    /// As many. What matches one is left out, a directory with all that it holds.
    pub excludes: Vec<String>,
    /// Includes what has a name that begins with `.`, `.git` among them.
    pub hidden: bool,
    /// Leaves out what the .gitignore files leave out, whether or not there is a repository: those below the place, of the
    /// place itself, and of the directories between the place and its root, if it is a [`FilePlace::beneath`] one.
    pub gitignore: bool,
}

impl Default for FileSelection {
    fn default() -> Self {
        Self {
            globs: Vec::new(),
            excludes: Vec::new(),
            hidden: false,
            gitignore: true,
        }
    }
}

impl FileSelection {
    fn into_wire(self) -> Selection {
        Selection {
            globs: self.globs,
            excludes: self.excludes,
            hidden: self.hidden,
            gitignore: self.gitignore,
        }
    }
}

/// What [`Files::glob`] gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GlobOptions {
    /// Which entries.
    pub selection: FileSelection,
    /// At most 100,000. `None`: as many.
    pub max_results: Option<u32>,
}

/// What [`Files::grep`] gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrepOptions {
    /// Which files, if the place is a directory.
    pub selection: FileSelection,
    /// The pattern is text, not a regular expression.
    pub fixed_strings: bool,
    /// Upper and lower case are the same.
    pub ignore_case: bool,
    /// Lines before each match, at most 32.
    pub before: u32,
    /// Lines after each match, at most 32.
    pub after: u32,
    /// Matching lines of one file. `None`: no limit.
    pub max_per_file: Option<u32>,
    /// Matching lines in all: at most 100,000. `None`: as many.
    pub max_matches: Option<u32>,
}

/// The entries below a directory, as they arrive. Drop ends the search.
#[derive(Debug)]
pub struct GlobResults {
    messages: Streaming<GlobResponse>,
    page: VecDeque<FoundEntry>,
    end: Option<GlobEnd>,
}

/// The lines that match a pattern, as they arrive. Drop ends the search.
#[derive(Debug)]
pub struct GrepResults {
    messages: Streaming<GrepResponse>,
    page: VecDeque<FoundLine>,
    end: Option<GrepEnd>,
}

/// An entry below a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundEntry {
    /// Relative to the place, of names that are not `.` and `..`. It may be no UTF-8.
    pub path: PathBuf,
    /// Its status, without a canonical path; of a symbolic link, that of the link.
    pub status: FileStatus,
}

/// A line that matches a pattern, or is near one that does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundLine {
    /// The path of the file, as [`FoundEntry::path`]. Empty if the place is a file.
    pub path: PathBuf,
    /// Counted from 1.
    pub number: u64,
    /// The offset of the line's first byte in the file.
    pub offset: u64,
    /// The bytes of the line, without the line feed. Of a line of more than 2,048 bytes, 2,048 of them about its first match.
    pub text: Bytes,
    /// The offset in the line of the first byte of `text`.
    pub text_offset: u64,
    /// The length of the line in bytes, without the line feed.
    pub length: u64,
    /// The first match, as bytes of the line from the first up to the second. `None`: the line does not match, it is before
    /// or after one that does.
    pub found: Option<(u64, u64)>,
}

/// Why a search does not tell all there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SearchTruncation {
    /// There are more results than asked for, or than 100,000.
    Results,
    /// The exec-server's time for it was over: 60 s, waits for this client included.
    Time,
    /// A directory has more entries than the exec-server sorts: some 200,000.
    Entries,
    /// A reason that this version does not know.
    Other,
}

/// What a search has passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PassedOver {
    /// Directories and files that could not be read.
    pub unreadable: u64,
    /// .gitignore files that were not heeded, because they are unreadable or too large.
    pub ignore_files: u64,
}

/// The end of a [`Files::glob`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GlobEnd {
    /// The number of entries.
    pub results: u64,
    /// `None`: these are all.
    pub truncated: Option<SearchTruncation>,
    /// What was passed over.
    pub passed_over: PassedOver,
}

/// The end of a [`Files::grep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GrepEnd {
    /// The number of matching lines.
    pub matches: u64,
    /// Files that were searched.
    pub files: u64,
    /// Those of them with a match.
    pub files_with_matches: u64,
    /// Those of them with a NUL byte: not searched if it is among the first 65,536 bytes, else searched up to it.
    pub binary: u64,
    /// Those of them with a line of more than 8 MiB, which were not searched to their end.
    pub long_lines: u64,
    /// Those of them with more matching lines than [`GrepOptions::max_per_file`].
    pub cut: u64,
    /// `None`: these are all.
    pub truncated: Option<SearchTruncation>,
    /// What was passed over.
    pub passed_over: PassedOver,
}

impl Files {
    /// The entries below a directory, in order: a directory before its content, and the entries of a directory by the bytes
    /// of their names. A symbolic link that is the place is followed, and none below it.
    ///
    /// An entry that is made, removed or replaced meanwhile may be missing. Memory: a page of at most 512 entries at a time.
    /// An exec-server answers 8 searches at once, 6 of one key; others wait.
    ///
    /// ```no_run
    /// use baton_core_client::{FilePlace, FileSelection, GlobOptions};
    ///
    /// # async fn run(client: baton_core_client::Client) -> Result<(), baton_core_client::FilesError> {
    /// let selection = FileSelection { globs: vec!["src/**/*.rs".into()], ..FileSelection::default() };
    /// let options = GlobOptions { selection, max_results: Some(1000) };
    /// let mut found = client.files().glob(FilePlace::beneath("/srv/project", ""), options).await?;
    /// while let Some(entry) = found.next().await? {
    ///     println!("{} {}", entry.path.display(), entry.status.size);
    /// }
    /// if found.end().is_some_and(|end| end.truncated.is_some()) {
    ///     println!("there are more");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`FilesError`], also by [`GlobResults::next`].
    pub async fn glob(
        &self,
        place: impl Into<FilePlace>,
        options: GlobOptions,
    ) -> Result<GlobResults, FilesError> {
        let request = GlobRequest {
            place: Some(place.into().into_wire()),
            selection: Some(options.selection.into_wire()),
            max_results: limit(options.max_results),
        };
        let messages = self.client.clone().glob(request).await?.into_inner();
        Ok(GlobResults {
            messages,
            page: VecDeque::new(),
            end: None,
        })
    }

    /// The lines that match a pattern, in a regular file or in those below a directory, which are in the order of
    /// [`glob`](Self::glob). The pattern is a regular expression in the syntax of the crate `regex`, at most 4 KiB, and
    /// matches within a line. A file with a NUL byte among its first 65,536 bytes is binary and not searched; one with a NUL
    /// byte behind them is searched up to it.
    ///
    /// Memory: a page of at most 512 lines at a time. Limits on searches at once are those of [`glob`](Self::glob).
    ///
    /// ```no_run
    /// use baton_core_client::{FilePlace, GrepOptions};
    ///
    /// # async fn run(client: baton_core_client::Client) -> Result<(), baton_core_client::FilesError> {
    /// let options = GrepOptions { after: 2, max_per_file: Some(10), ..GrepOptions::default() };
    /// let place = FilePlace::beneath("/srv/project", "src");
    /// let mut lines = client.files().grep(place, r"fn \w+_at", options).await?;
    /// while let Some(line) = lines.next().await? {
    ///     let text = String::from_utf8_lossy(&line.text);
    ///     println!("{}:{}: {text}", line.path.display(), line.number);
    /// }
    /// let end = lines.end().expect("after the last line");
    /// println!("{} in {} files", end.matches, end.files);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`FilesError`], also by [`GrepResults::next`]. A pattern or a glob that is none, or too large:
    /// [`FilesFailure::InvalidSearch`](crate::FilesFailure::InvalidSearch).
    pub async fn grep(
        &self,
        place: impl Into<FilePlace>,
        pattern: impl Into<String>,
        options: GrepOptions,
    ) -> Result<GrepResults, FilesError> {
        let request = GrepRequest {
            place: Some(place.into().into_wire()),
            selection: Some(options.selection.into_wire()),
            pattern: pattern.into(),
            fixed_strings: options.fixed_strings,
            ignore_case: options.ignore_case,
            before: options.before,
            after: options.after,
            max_per_file: limit(options.max_per_file),
            max_matches: limit(options.max_matches),
        };
        let messages = self.client.clone().grep(request).await?.into_inner();
        Ok(GrepResults {
            messages,
            page: VecDeque::new(),
            end: None,
        })
    }
}

/// A limit on the wire, where 0 is none. A limit of 0 becomes 1.
fn limit(limit: Option<u32>) -> u32 {
    limit.map_or(0, |limit| limit.max(1))
}

const NO_END: FilesError = FilesError::Protocol("the results of a search without their end");
const NO_PAGE: FilesError =
    FilesError::Protocol("a page of results with none, or with more than it may have");

impl GlobResults {
    /// The next entry; `None` after the last, and then [`end`](Self::end) is there. Cancellation safe.
    ///
    /// # Errors
    /// [`FilesError`]. The entries so far are not all.
    pub async fn next(&mut self) -> Result<Option<FoundEntry>, FilesError> {
        loop {
            if let Some(entry) = self.page.pop_front() {
                return Ok(Some(entry));
            }
            if self.end.is_some() {
                return Ok(None);
            }
            match self.messages.message().await?.and_then(|message| message.kind) {
                Some(glob_response::Kind::Page(page)) => {
                    if !(1..=SEARCH_PAGE_MAX).contains(&page.entries.len()) {
                        return Err(NO_PAGE);
                    }
                    let entries = page.entries.into_iter().map(FoundEntry::try_from);
                    self.page = entries.collect::<Result<_, _>>()?;
                }
                Some(glob_response::Kind::End(end)) => {
                    self.end = Some(GlobEnd {
                        results: end.results,
                        truncated: truncation(end.truncated()),
                        passed_over: end.unsearched.unwrap_or_default().into(),
                    });
                }
                None => return Err(NO_END),
            }
        }
    }

    /// `Some` after [`next`](Self::next) has returned `None`.
    pub fn end(&self) -> Option<GlobEnd> {
        self.end
    }
}

impl GrepResults {
    /// The next line; `None` after the last, and then [`end`](Self::end) is there. Cancellation safe.
    ///
    /// # Errors
    /// [`FilesError`]. The lines so far are not all.
    pub async fn next(&mut self) -> Result<Option<FoundLine>, FilesError> {
        loop {
            if let Some(line) = self.page.pop_front() {
                return Ok(Some(line));
            }
            if self.end.is_some() {
                return Ok(None);
            }
            match self.messages.message().await?.and_then(|message| message.kind) {
                Some(grep_response::Kind::Page(page)) => self.page = lines(page.files)?,
                Some(grep_response::Kind::End(end)) => {
                    self.end = Some(GrepEnd {
                        matches: end.matches,
                        files: end.files,
                        files_with_matches: end.files_with_matches,
                        binary: end.binary,
                        long_lines: end.long_lines,
                        cut: end.cut,
                        truncated: truncation(end.truncated()),
                        passed_over: end.unsearched.unwrap_or_default().into(),
                    });
                }
                None => return Err(NO_END),
            }
        }
    }

    /// `Some` after [`next`](Self::next) has returned `None`.
    pub fn end(&self) -> Option<GrepEnd> {
        self.end
    }
}

fn truncation(truncation: baton_proto::files::Truncation) -> Option<SearchTruncation> {
    use baton_proto::files::Truncation;
    match truncation {
        Truncation::Complete => None,
        Truncation::Results => Some(SearchTruncation::Results),
        Truncation::Time => Some(SearchTruncation::Time),
        Truncation::Entries => Some(SearchTruncation::Entries),
    }
}

impl From<baton_proto::files::Unsearched> for PassedOver {
    fn from(unsearched: baton_proto::files::Unsearched) -> Self {
        Self {
            unreadable: unsearched.unreadable,
            ignore_files: unsearched.ignore_files,
        }
    }
}

impl TryFrom<baton_proto::files::GlobEntry> for FoundEntry {
    type Error = FilesError;

    fn try_from(entry: baton_proto::files::GlobEntry) -> Result<Self, FilesError> {
        let status = entry
            .status
            .ok_or(FilesError::Protocol("an entry without a status"))?;
        Ok(Self {
            path: relative(&entry.path)?,
            status: status.try_into()?,
        })
    }
}

/// The lines of a page.
fn lines(files: Vec<FileLines>) -> Result<VecDeque<FoundLine>, FilesError> {
    let count: usize = files.iter().map(|file| file.lines.len()).sum();
    if !(1..=SEARCH_PAGE_MAX).contains(&count) {
        return Err(NO_PAGE);
    }
    let mut lines = VecDeque::with_capacity(count);
    for file in files {
        let path = match file.path.is_empty() {
            true => PathBuf::new(),
            false => relative(&file.path)?,
        };
        for line in file.lines {
            let text_end = line.text_offset.checked_add(line.text.len() as u64);
            let found = line.r#match.map(|span| (span.start, span.end));
            let is_within = found.is_none_or(|(start, end)| start <= end && end <= line.length);
            if line.text.len() > LINE_TEXT_MAX
                || text_end.is_none_or(|end| end > line.length)
                || line.number == 0
                || !is_within
            {
                return Err(FilesError::Protocol("a line with impossible offsets"));
            }
            lines.push_back(FoundLine {
                path: path.clone(),
                number: line.number,
                offset: line.offset,
                text: line.text,
                text_offset: line.text_offset,
                length: line.length,
                found,
            });
        }
    }
    Ok(lines)
}

/// A path below a place, which does not lead out of it.
fn relative(path: &[u8]) -> Result<PathBuf, FilesError> {
    let is_name = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
    match path.len() <= PATH_MAX && path.split(|byte| *byte == b'/').all(is_name) {
        true => Ok(PathBuf::from(OsString::from_vec(path.to_vec()))),
        false => Err(FilesError::Protocol("a path that is not below its place")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_proto::files::{GrepLine, Span};

    #[test]
    fn a_path_that_leads_out_of_its_place_is_refused() {
        for path in [&b"a"[..], b"a/b", b"...", b"\xff\n/x"] {
            assert_eq!(relative(path).unwrap().into_os_string().into_vec(), path);
        }
        let long = [&b"a/"[..]].concat().repeat(PATH_MAX);
        for path in [
            &b""[..],
            b"/a",
            b"a/",
            b"..",
            b"a/../b",
            b"a//b",
            b"./a",
            b"a\0",
            &long,
        ] {
            let refused = relative(path).unwrap_err();
            assert!(matches!(refused, FilesError::Protocol(_)), "{refused:?}");
        }
    }

    #[test]
    fn a_line_whose_offsets_are_impossible_is_refused_and_a_page_is_bounded() {
        let fine = GrepLine {
            number: 1,
            offset: 5,
            text: Bytes::from_static(b"abc"),
            text_offset: 1,
            length: 4,
            r#match: Some(Span { start: 4, end: 4 }),
        };
        let page = |lines: Vec<GrepLine>| {
            let path = Bytes::from_static(b"a");
            super::lines(vec![FileLines { path, lines }])
        };
        assert_eq!(page(vec![fine.clone()]).unwrap()[0].found, Some((4, 4)));
        let with = |change: fn(&mut GrepLine)| {
            let mut line = fine.clone();
            change(&mut line);
            page(vec![line])
        };
        for refused in [
            with(|line| line.number = 0),
            with(|line| line.text_offset = 2),
            with(|line| line.text_offset = u64::MAX),
            with(|line| line.r#match = Some(Span { start: 3, end: 2 })),
            with(|line| line.r#match = Some(Span { start: 0, end: 5 })),
            with(|line| {
                line.text = vec![0; LINE_TEXT_MAX + 1].into();
                line.length = u64::MAX;
            }),
            page(vec![]),
            page(vec![fine.clone(); SEARCH_PAGE_MAX + 1]),
        ] {
            assert!(matches!(refused, Err(FilesError::Protocol(_))), "{refused:?}");
        }
    }
}
