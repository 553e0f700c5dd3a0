//! Runs git about a turn's changes.
//!
//! The repository is untrusted: a command may have written its configuration. Git is told to run nothing that it
//! names, as far as git can be told, and not to leave the found root. `env` removes the variables that would point git
//! at another repository, which the exec-server may have inherited from a hook.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use baton_trace::text::printable;

use super::porcelain::{self, Status};
use super::{Changes, ChangesError, Diff, RepositoryChanges, Scope};
use crate::client::Client;
use crate::command::Command;
use crate::error::{RunError, StartFailure};
use crate::limits::{DIFF_BYTES_MAX, GIT_MESSAGE_BYTES, GIT_TIMEOUT, STATUS_BYTES_MAX};

/// Variables that select a repository, a configuration or a program (git(1), "Environment variables").
const UNSET: [&str; 14] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_EXTERNAL_DIFF",
    "GIT_DIFF_OPTS",
    "GIT_GLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
];

/// Options of every git: a path is no pattern, and nothing that the configuration names is run or fetched.
const OPTIONS: [&str; 11] = [
    "--no-pager",
    "--no-optional-locks",
    "--literal-pathspecs",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "protocol.allow=never",
    "-c",
    "color.ui=false",
];

/// Submodules are compared by commit: to look for changes in one, git would obey its configuration without the options
/// above.
const STATUS: [&str; 7] = [
    "status",
    "--porcelain=v2",
    "--branch",
    "--no-ahead-behind",
    "--untracked-files=all",
    "--ignore-submodules=dirty",
    "-z",
];

const DIFF: [&str; 8] = [
    "diff",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--ignore-submodules=dirty",
    "--submodule=short",
    "--src-prefix=a/",
    "--dst-prefix=b/",
];

/// The exit codes of `env` for a program that does not exist or cannot be executed (env(1)).
const ENV_FOUND_NONE: [i32; 2] = [126, 127];

enum Ran {
    /// With this standard output.
    Ended(Vec<u8>),
    Missing,
}

/// Asks git about the paths in `scope`, or about the whole repository if there are none.
pub(super) async fn changes(
    client: &Client,
    root: PathBuf,
    scope: Scope,
    is_whole_repository: bool,
) -> Result<Changes, ChangesError> {
    let git = Git {
        client,
        root: &root,
        paths: scope.inside.into_iter().map(PathBuf::into_os_string).collect(),
    };
    let status = match git.run(&STATUS, None, STATUS_BYTES_MAX).await? {
        Ran::Missing => return Ok(Changes::GitMissing { root }),
        Ran::Ended(output) => porcelain::parse(&output)?,
    };
    let Status { commit, files } = status;
    if files.is_empty() {
        return Ok(Changes::NotChanged { root });
    }
    // Against the commit of the status, so that both agree. Before the first commit there is only the index.
    let against = commit.as_deref().unwrap_or("--cached");
    let diff = match git.run(&DIFF, Some(against), DIFF_BYTES_MAX).await {
        Ok(Ran::Missing) => return Ok(Changes::GitMissing { root }),
        Ok(Ran::Ended(output)) => Diff::Text(output),
        Err(ChangesError::Run(RunError::TooMuchOutput(limit))) => Diff::TooLarge(limit),
        Err(error) => return Err(error),
    };
    Ok(Changes::Changed(RepositoryChanges {
        root,
        commit,
        files,
        diff,
        outside: scope.outside.into_iter().collect(),
        is_whole_repository,
    }))
}

struct Git<'a> {
    client: &'a Client,
    root: &'a PathBuf,
    paths: Vec<OsString>,
}

impl Git<'_> {
    async fn run(
        &self,
        subcommand: &[&str],
        against: Option<&str>,
        max_output: usize,
    ) -> Result<Ran, ChangesError> {
        let mut command = Command::new("env");
        for variable in UNSET {
            command = command.args(["-u", variable]);
        }
        command = command.arg("git").args(OPTIONS).args(subcommand).args(against);
        command = command.arg("--").args(&self.paths).current_dir(self.root);
        for (name, value) in [
            ("GIT_TERMINAL_PROMPT", OsStr::new("0")),
            ("GIT_NO_LAZY_FETCH", OsStr::new("1")),
            // A `.git` that is no repository does not lead git to one further up.
            (
                "GIT_CEILING_DIRECTORIES",
                self.root.parent().map_or(OsStr::new(""), AsRef::as_ref),
            ),
        ] {
            command = command.env(name, value);
        }
        let command = command.label("git").max_output(max_output).timeout(GIT_TIMEOUT);
        let output = match self.client.run(command).await {
            Ok(output) => output,
            Err(RunError::Start {
                failure: StartFailure::CommandNotFound,
                ..
            }) => return Ok(Ran::Missing),
            Err(error) => return Err(error.into()),
        };
        match output.status.shell_code() {
            0 => Ok(Ran::Ended(output.stdout)),
            code if ENV_FOUND_NONE.contains(&code) => Ok(Ran::Missing),
            status => {
                let message = &output.stderr[..output.stderr.len().min(GIT_MESSAGE_BYTES)];
                Err(ChangesError::Git {
                    status,
                    message: printable(String::from_utf8_lossy(message).trim()).into_owned(),
                })
            }
        }
    }
}
