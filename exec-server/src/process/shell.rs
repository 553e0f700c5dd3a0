//! The login shell of the exec-server's user, or of the user that a client's commands run as: for lines and interactive
//! shells that a client asks for, and for forced commands.

use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use nix::unistd::{Uid, User};

use crate::user::RunAs;

/// Where the user's is not known.
const DEFAULT_SHELL: &CStr = c"/bin/sh";

/// An absolute path.
#[derive(Debug, Clone)]
pub(super) struct LoginShell(CString);

/// The login shell of this process's user. The first call may wait for the system's user database.
fn login_shell() -> &'static LoginShell {
    static SHELL: OnceLock<LoginShell> = OnceLock::new();
    SHELL.get_or_init(|| LoginShell::choose(std::env::var_os("SHELL"), shell_of_user))
}

fn shell_of_user() -> Option<PathBuf> {
    let user = User::from_uid(Uid::effective()).ok().flatten()?;
    Some(user.shell)
}

impl LoginShell {
    /// The one of the user that a command runs as. For a user that is not known it is never executed.
    pub(super) fn of(run_as: Option<&RunAs>) -> Self {
        match run_as.map(|run_as| &run_as.account) {
            None => login_shell().clone(),
            Some(Ok(account)) => Self(account.shell.clone()),
            Some(Err(_)) => Self(DEFAULT_SHELL.into()),
        }
    }

    /// The one that this process's environment names, else the one of the user's entry.
    fn choose(variable: Option<OsString>, of_user: impl FnOnce() -> Option<PathBuf>) -> Self {
        let absolute = |path: OsString| {
            let path = CString::new(path.into_vec()).ok()?;
            path.to_bytes().starts_with(b"/").then_some(path)
        };
        let named = variable.and_then(absolute);
        let named = named.or_else(|| absolute(of_user()?.into_os_string()));
        Self(named.unwrap_or_else(|| DEFAULT_SHELL.into()))
    }

    #[cfg(test)]
    pub(super) fn sh() -> Self {
        Self(DEFAULT_SHELL.into())
    }

    pub(super) fn path(&self) -> &CStr {
        &self.0
    }

    /// The arguments of the shell: it runs the line, or is interactive without one. `None`: there are several.
    pub(super) fn argv(&self, mut line: Vec<CString>) -> Option<Vec<CString>> {
        let path = self.0.to_bytes();
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        match (line.pop(), line.is_empty()) {
            // A dash before the name makes it a login shell.
            (None, _) => Some(vec![CString::new([b"-", name].concat()).ok()?]),
            (Some(line), true) => Some(vec![CString::new(name).ok()?, c"-c".into(), line]),
            (Some(_), false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variable: Option<&str>, of_user: Option<&str>) -> LoginShell {
        LoginShell::choose(variable.map(OsString::from), || of_user.map(PathBuf::from))
    }

    #[test]
    fn the_shell_is_that_of_the_environment_then_that_of_the_user_if_it_is_a_path() {
        for (variable, of_user, expected) in [
            (None, None, c"/bin/sh"),
            (Some(""), None, c"/bin/sh"),
            (Some("bash"), Some(""), c"/bin/sh"),
            (Some("bash"), Some("/bin/zsh"), c"/bin/zsh"),
            (Some("/usr/bin/fish"), Some("/bin/zsh"), c"/usr/bin/fish"),
        ] {
            assert_eq!(chosen(variable, of_user).path(), expected);
        }
        assert!(login_shell().path().to_bytes().starts_with(b"/"));
    }

    #[test]
    fn a_shell_runs_one_line_or_is_an_interactive_login_shell() {
        let shell = chosen(Some("/usr/bin/fish"), None);
        let argv = |line: &[&CStr]| shell.argv(line.iter().map(|line| (*line).to_owned()).collect());
        assert_eq!(argv(&[]), Some(vec![c"-fish".to_owned()]));
        let line = [c"fish", c"-c", c"echo a b"].map(CStr::to_owned);
        assert_eq!(argv(&[c"echo a b"]), Some(line.into()));
        assert_eq!(argv(&[c"echo", c"a"]), None);
    }
}
