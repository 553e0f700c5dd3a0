//! The trace files among paths of files and directories.

use std::path::{Path, PathBuf};

use baton_corpus::is_segment_name;

use super::ReadError;

/// The given files, and the trace files in the given directories in the order of their names. Other files of a
/// directory, and its subdirectories, are left out.
///
/// # Errors
/// [`ReadError::Open`], [`ReadError::NoFiles`].
pub fn trace_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ReadError> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => files.extend(directory(path)?),
            false => files.push(path.clone()),
        }
    }
    Ok(files)
}

/// Whether a file is a segment of a corpus, by its name.
pub fn is_segment(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    is_segment_name(&name.to_string_lossy())
}

fn directory(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let failed = |source| ReadError::Open {
        path: path.into(),
        source,
    };
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let is_trace_file = name.contains(".json") && !name.starts_with('.');
        if (is_trace_file || is_segment_name(&name)) && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(ReadError::NoFiles { path: path.into() });
    }
    files.sort_unstable();
    Ok(files)
}
