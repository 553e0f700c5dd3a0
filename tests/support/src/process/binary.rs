//! The `baton` binary of this workspace, built by cargo in the profile that this code was built in.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The `baton` binary could not be built.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BuildError {
    /// Cargo could not be run.
    #[error("cannot run cargo: {0}")]
    Cargo(String),
    /// Cargo failed; its stderr has the reason.
    #[error("cargo could not build the baton binary")]
    Failed,
    /// Cargo built no such binary.
    #[error("the workspace has no binary named baton")]
    Missing,
}

/// The path of the `baton` binary. The first call builds it with cargo, whose diagnostics go to stderr.
///
/// # Errors
/// [`BuildError`]. Later calls return the same error.
pub fn baton() -> Result<&'static Path, BuildError> {
    static BUILT: OnceLock<Result<PathBuf, BuildError>> = OnceLock::new();
    match BUILT.get_or_init(build) {
        Ok(path) => Ok(path),
        Err(error) => Err(error.clone()),
    }
}

fn build() -> Result<PathBuf, BuildError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut command = Command::new(cargo);
    command.current_dir(workspace).args([
        "build",
        "--quiet",
        "--bins",
        "--message-format=json-render-diagnostics",
    ]);
    // The profile of the test or benchmark that calls this.
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error: io::Error| BuildError::Cargo(error.to_string()))?;
    if !output.status.success() {
        return Err(BuildError::Failed);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    messages.lines().find_map(executable).ok_or(BuildError::Missing)
}

/// The path of the binary, if this message of cargo reports it as an artifact.
fn executable(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_baton = message["reason"] == "compiler-artifact" && message["target"]["name"] == "baton";
    let path = message["executable"].as_str().filter(|_| is_baton)?;
    Some(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_cargo_s_messages() {
        let library = r#"{"reason":"compiler-artifact","target":{"name":"baton"},"executable":null}"#;
        let binary = r#"{"reason":"compiler-artifact","target":{"name":"baton"},"executable":"/t/baton"}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable(binary), Some("/t/baton".into()));
        assert_eq!(executable("not json"), None);
    }
}
