//! What .gitignore files leave out.
//!
//! The files of a directory and of all above it are heeded at once. A file that is nearer counts more, and in a file a line
//! that is later. Together they are bounded, because a tree of strangers holds them.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::OFlags;

use crate::files::error::FilesError;
use crate::files::place::{open_regular, without_links};
use crate::limits::{IGNORE_BYTES_MAX, IGNORE_LINES_MAX};

const NAME: &[u8] = b".gitignore";

/// The files of a directory and of those above it.
#[derive(Default)]
pub(super) struct Ignores {
    /// One for each directory, the outermost first. `None`: it has no such file.
    layers: Vec<Option<Layer>>,
    bytes: usize,
    lines: usize,
    /// Files that are not heeded.
    pub(super) skipped: u64,
}

struct Layer {
    matcher: Gitignore,
    /// Where a path that is relative to the file's directory begins in the whole path.
    from: usize,
    bytes: usize,
    lines: usize,
}

impl Ignores {
    /// Goes into a directory. `directory` is its path below `root`, and its entries begin at `from` in the paths that
    /// [`is_ignored`](Self::is_ignored) gets.
    ///
    /// # Errors
    /// What concerns more than the file: no descriptor, no openat2.
    pub(super) fn enter(&mut self, root: impl AsFd, directory: &[u8], from: usize) -> Result<(), FilesError> {
        let layer = match self.read(root, directory) {
            Ok(None) => None,
            Ok(Some(text)) => {
                let layer = self.layer(&text, from);
                self.skipped += u64::from(layer.is_none());
                layer
            }
            Err(error) if error.is_of_the_machine() => return Err(error),
            Err(_) => {
                self.skipped += 1;
                None
            }
        };
        if let Some(layer) = &layer {
            self.bytes += layer.bytes;
            self.lines += layer.lines;
        }
        self.layers.push(layer);
        Ok(())
    }

    /// Leaves the directory that was entered last.
    pub(super) fn leave(&mut self) {
        if let Some(layer) = self.layers.pop().flatten() {
            self.bytes -= layer.bytes;
            self.lines -= layer.lines;
        }
    }

    /// Whether an entry of the directory that was entered last is left out.
    pub(super) fn is_ignored(&self, path: &[u8], is_directory: bool) -> bool {
        let nearest_first = self.layers.iter().rev().flatten();
        let mut said = nearest_first.map(|layer| {
            let path = OsStr::from_bytes(&path[layer.from..]);
            layer.matcher.matched(Path::new(path), is_directory)
        });
        said.find(|said| !said.is_none())
            .is_some_and(|said| said.is_ignore())
    }

    /// The file's bytes, up to one more than are heeded. `None`: there is none.
    fn read(&self, root: impl AsFd, directory: &[u8]) -> Result<Option<Vec<u8>>, FilesError> {
        let mut path = directory.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(NAME);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let location = match without_links(root, Path::new(OsStr::from_bytes(&path)), flags) {
            Ok(location) => location,
            Err(FilesError::Absent) => return Ok(None),
            Err(error) => return Err(error),
        };
        let file = open_regular(&location)?;
        let mut text = Vec::new();
        let left = (IGNORE_BYTES_MAX - self.bytes + 1) as u64;
        file.take(left).read_to_end(&mut text).map_err(FilesError::Io)?;
        Ok(Some(text))
    }

    /// `None`: it is too large.
    fn layer(&self, text: &[u8], from: usize) -> Option<Layer> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let (bytes, lines) = (text.len(), text.split(|byte| *byte == b'\n').count());
        if self.bytes + bytes > IGNORE_BYTES_MAX || self.lines + lines > IGNORE_LINES_MAX {
            return None;
        }
        let mut builder = GitignoreBuilder::new("");
        for line in text.split(|byte| *byte == b'\n') {
            // git skips a line that is no pattern, too. One that is no UTF-8 cannot be given to the library.
            if let Ok(line) = std::str::from_utf8(line) {
                let line = line.strip_suffix('\r').unwrap_or(line);
                let _ = builder.add_line(None, &without_braces(line));
            }
        }
        Some(Layer {
            matcher: builder.build().ok()?,
            from,
            bytes,
            lines,
        })
    }
}

/// Escapes braces, which mean nothing to git. The library would take them for alternatives, and recurse for each level: a
/// line of braces alone would use up the stack.
fn without_braces(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len());
    let (mut is_escaped, mut is_class) = (false, false);
    for character in line.chars() {
        match character {
            '{' | '}' if !is_escaped && !is_class => escaped.push('\\'),
            '[' if !is_escaped => is_class = true,
            ']' if !is_escaped => is_class = false,
            _ => {}
        }
        // In a class a backslash may be a character as any other. If it is none here, more is escaped than need be.
        is_escaped = character == '\\' && !is_escaped && !is_class;
        escaped.push(character);
    }
    // A class that does not end makes the line no pattern, and the library reads what is in it as if there were none.
    match is_class && escaped.contains(['{', '}']) {
        true => String::new(),
        false => escaped,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, Mode, openat};

    use super::*;

    /// What is heeded after a file with this text was met in a directory `d` of a root without one.
    fn ignores(text: &[u8]) -> Ignores {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/.gitignore"), text).unwrap();
        let root = openat(CWD, dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        let mut ignores = Ignores::default();
        ignores.enter(&root, b"", 0).unwrap();
        ignores.enter(&root, b"d", 2).unwrap();
        ignores
    }

    #[test]
    fn lines_are_read_as_git_reads_them() {
        let ignores = ignores(b"\xef\xbb\xbf*.o\r\n!keep.o\n/top\nonly/\n{a,b}\n\xff\n[\nc[{]\n#x\n");
        assert_eq!(ignores.skipped, 0);
        for (path, is_directory, expected) in [
            (&b"d/a.o"[..], false, true),
            (b"d/e/a.o", false, true),
            (b"d/keep.o", false, false),
            (b"d/top", false, true),
            (b"d/e/top", false, false),
            (b"d/only", true, true),
            (b"d/only", false, false),
            (b"d/a", false, false),
            (b"d/{a,b}", false, true),
            (b"d/c{", false, true),
            (b"d/#x", false, false),
        ] {
            assert_eq!(ignores.is_ignored(path, is_directory), expected, "{path:?}");
        }
    }

    #[test]
    fn a_file_that_would_take_too_much_is_counted_and_not_heeded() {
        let fits = vec![b'a'; IGNORE_BYTES_MAX];
        assert_eq!(ignores(&fits).skipped, 0);
        let long = vec![b'a'; IGNORE_BYTES_MAX + 1];
        let many = b"a\n".repeat(IGNORE_LINES_MAX);
        for text in [long, many] {
            let ignores = ignores(&text);
            assert_eq!((ignores.skipped, ignores.bytes), (1, 0));
            assert!(!ignores.is_ignored(b"d/a", false));
        }
        // Each of these would use up the stack.
        for text in [
            "{".repeat(IGNORE_BYTES_MAX),
            ["[\\]", &"{".repeat(30_000), &"}".repeat(30_000), "]"].concat(),
        ] {
            assert_eq!(ignores(text.as_bytes()).skipped, 0);
        }
    }

    #[test]
    fn what_was_left_is_heeded_no_more() {
        let mut ignores = ignores(b"a\n");
        assert!(ignores.is_ignored(b"d/a", false));
        ignores.leave();
        assert!(!ignores.is_ignored(b"d/a", false));
        assert_eq!((ignores.bytes, ignores.lines), (0, 0));
    }
}
