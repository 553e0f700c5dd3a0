//! The user that the commands of a client run as, where it is not simply the exec-server's own: `--user`, or `user=` on
//! the client's line of the allow-list.
//!
//! ```text
//! start ──► the user's name ──► looked up, on a thread ──► Account ──► environment, shell, home, credentials
//! ```
//!
//! The user is looked up for each start, because groups and accounts change while an exec-server runs, and a right that
//! was taken away must not last. The starts of clients without such a user look nothing up.

use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use baton_channel::allow::Peer;
use baton_spawn::Variable;
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, getgrouplist};

use crate::files::{FilesError, Lookups};

/// The shell of a user whose entry has none.
const DEFAULT_SHELL: &CStr = c"/bin/sh";

/// The directories of programs for a user, and for root.
const PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";
const PATH_OF_ROOT: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a command does not run as a user.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// Fault of the exec-server's owner: the user never existed, or was removed.
    #[error("the exec-server's machine has no such user: create it, or name another one")]
    Unknown,
    /// Fault of the exec-server's owner.
    #[error("the exec-server runs neither as root nor as this user: start it as root")]
    NotRoot,
    /// Fault of the exec-server's owner.
    #[error(
        "the operating system does not let the exec-server run commands as another user ({0}): its container or \
        service needs the capabilities SETUID and SETGID"
    )]
    Refused(#[source] io::Error),
    /// Fault of the exec-server's machine.
    #[error("the user database of the exec-server's machine failed ({0}); try again")]
    Database(#[source] io::Error),
    /// Fault of the exec-server's machine.
    #[error("the user database of the exec-server's machine did not answer in time; try again")]
    TimedOut,
    /// Client's fault.
    #[error("too many commands of this client's key are being started: try again when some have started")]
    Busy,
    /// Client's fault.
    #[error(
        "the command would run as another user than the one that was asked for: ask for none (`-l`, `USER@`), or let \
        the exec-server's owner write user=\"NAME\" before this client's key on the allow-list"
    )]
    Other,
}

impl UserError {
    fn database(errno: Errno) -> Self {
        Self::Database(errno.into())
    }
}

/// A command was not started because of its user, and the exec-server's owner can change that.
#[derive(Debug)]
pub struct UserRefused<'a> {
    /// The client's name on the allow-list.
    pub client: &'a str,
    /// The user's name.
    pub user: &'a str,
    /// Why.
    pub error: &'a UserError,
}

/// Called for each [`UserRefused`]. It must not block.
pub type OnUserRefused = Arc<dyn Fn(&UserRefused<'_>) + Send + Sync>;

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    name: Arc<str>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// All its groups.
    pub(crate) groups: Vec<u32>,
    /// Absolute.
    pub(crate) home: CString,
    /// Absolute.
    pub(crate) shell: CString,
    /// This process has to become the user. It is root then, and may be so already: as a login it has the user's groups.
    pub(crate) is_become: bool,
}

/// The user that a command runs as.
#[derive(Debug)]
pub(crate) struct RunAs {
    pub(crate) name: Arc<str>,
    /// An error refuses a start, unless it repeats an earlier one.
    pub(crate) account: Result<Arc<Account>, UserError>,
}

/// Checks that this process can run commands as the user with this name. Waits for the user database.
///
/// # Errors
/// There is no such user, or this process runs neither as root nor as that user.
pub fn check_user(name: &str) -> Result<(), UserError> {
    Account::find(name).map(drop)
}

impl Account {
    /// Waits for the user database.
    fn find(name: &str) -> Result<Self, UserError> {
        let user = User::from_name(name).map_err(UserError::database)?;
        let user = user.ok_or(UserError::Unknown)?;
        let is_root = Uid::effective().is_root();
        if !is_root && user.uid != Uid::effective() {
            return Err(UserError::NotRoot);
        }
        let groups = match is_root {
            true => {
                let name = CString::new(name).map_err(|_| UserError::Unknown)?;
                getgrouplist(&name, user.gid).map_err(UserError::database)?
            }
            false => Vec::new(),
        };
        Ok(Self {
            name: name.into(),
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
            home: absolute(&user.dir).unwrap_or_else(|| c"/".into()),
            shell: absolute(&user.shell).unwrap_or_else(|| DEFAULT_SHELL.into()),
            is_become: is_root,
        })
    }

    /// The variables of a login. Of the exec-server's own, which may be secrets, only the language is among them.
    pub(crate) fn environment(&self) -> Vec<Variable> {
        let path = if self.uid == 0 { PATH_OF_ROOT } else { PATH };
        let language = std::env::var_os("LANG");
        let variables = [
            ("PATH", Some(path)),
            ("HOME", Some(self.home.to_bytes())),
            ("SHELL", Some(self.shell.to_bytes())),
            ("USER", Some(self.name.as_bytes())),
            ("LOGNAME", Some(self.name.as_bytes())),
            ("LANG", language.as_deref().map(OsStr::as_bytes)),
        ];
        let set = variables
            .into_iter()
            .filter_map(|(name, value)| Variable::new(name.as_bytes(), value?));
        set.collect()
    }
}

fn absolute(path: &Path) -> Option<CString> {
    let path = path.is_absolute().then_some(path)?;
    CString::new(path.as_os_str().as_bytes()).ok()
}

/// Whether this process's own user has this name. Waits for the user database.
fn is_own(name: &str) -> Result<bool, UserError> {
    let user = User::from_name(name).map_err(UserError::database)?;
    Ok(user.is_some_and(|user| user.uid == Uid::effective()))
}

/// Decides which user a client's commands run as. Clones share the limit on lookups.
#[derive(Clone)]
pub(crate) struct Users {
    lookups: Lookups,
    /// Of clients whose line names none.
    default: Option<Arc<str>>,
    on_refused: Option<OnUserRefused>,
}

impl Users {
    pub(crate) fn new(default: Option<&str>) -> Self {
        Self {
            lookups: Lookups::new(),
            default: default.map(Into::into),
            on_refused: None,
        }
    }

    pub(crate) fn on_refused(&mut self, on_refused: OnUserRefused) {
        self.on_refused = Some(on_refused);
    }

    /// The user that this client's commands run as from now on; `None`: the exec-server's own.
    pub(crate) fn name_for(&self, client: &Peer) -> Option<Arc<str>> {
        match client.options().user() {
            Some(user) => Some(user.into()),
            None => self.default.clone(),
        }
    }

    /// The user that a command of this client runs as. `asked`: the client wants no other one.
    pub(crate) async fn of_command(&self, client: &Peer, asked: Option<&str>) -> Option<RunAs> {
        let name = self.name_for(client);
        let account = match (&name, asked) {
            (None, None) => return None,
            (None, Some(asked)) => {
                let asked: Arc<str> = asked.into();
                match self.look_up(client, asked, is_own).await {
                    Ok(true) => return None,
                    Ok(false) => Err(UserError::Other),
                    Err(error) => Err(error),
                }
            }
            (Some(name), Some(asked)) if **name != *asked => Err(UserError::Other),
            (Some(name), _) => {
                let found = self.look_up(client, Arc::clone(name), Account::find).await;
                found.map(Arc::new)
            }
        };
        let name = name.or_else(|| asked.map(Into::into))?;
        Some(RunAs { name, account })
    }

    async fn look_up<T: Send + 'static>(
        &self,
        client: &Peer,
        name: Arc<str>,
        look: fn(&str) -> Result<T, UserError>,
    ) -> Result<T, UserError> {
        let found = self.lookups.run(client.key, move |_| Ok(look(&name))).await;
        found.unwrap_or_else(|error| {
            Err(match error {
                FilesError::Busy => UserError::Busy,
                FilesError::Io(error) => UserError::Database(error),
                _ => UserError::TimedOut,
            })
        })
    }

    /// Tells the exec-server's owner of a command that was not started.
    pub(crate) fn refused(&self, client: &str, user: &str, error: &UserError) {
        if let (Some(on_refused), false) = (&self.on_refused, matches!(error, UserError::Other)) {
            on_refused(&UserRefused { client, user, error });
        }
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users")
            .field("default", &self.default)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_of_a_user_is_that_of_a_login() {
        let account = |uid| Account {
            name: "me".into(),
            uid,
            gid: 1,
            groups: Vec::new(),
            home: c"/home/me".into(),
            shell: c"/bin/zsh".into(),
            is_become: true,
        };
        let of = |account: &Account| -> Vec<_> {
            let variables = account.environment().into_iter();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            variables
                .filter(|variable| variable.name() != b"LANG")
                .map(|variable| format!("{}={}", text(variable.name()), text(variable.value())))
                .collect()
        };
        let expected = [
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "HOME=/home/me",
            "SHELL=/bin/zsh",
            "USER=me",
            "LOGNAME=me",
        ];
        assert_eq!(of(&account(7)), expected);
        assert!(of(&account(0))[0].contains("/usr/sbin"));
    }

    #[test]
    fn paths_of_an_entry_are_absolute_or_the_default() {
        assert_eq!(absolute(Path::new("/bin/sh")).as_deref(), Some(c"/bin/sh"));
        for path in ["", "bin/sh"] {
            assert_eq!(absolute(Path::new(path)), None);
        }
    }

    #[test]
    fn users_are_found_by_name() {
        assert!(matches!(
            check_user("no-such-user-of-baton"),
            Err(UserError::Unknown)
        ));
        assert!(matches!(
            check_user("no\0user"),
            Err(UserError::Unknown | UserError::Database(_))
        ));
        let own = User::from_uid(Uid::effective()).unwrap().unwrap().name;
        check_user(&own).unwrap();
        assert!(is_own(&own).unwrap());
        let other = if Uid::effective().is_root() {
            "nobody"
        } else {
            "root"
        };
        assert!(!is_own(other).unwrap());
        match Uid::effective().is_root() {
            true => assert_eq!(Account::find(other).unwrap().shell.to_bytes()[0], b'/'),
            false => assert!(matches!(check_user(other), Err(UserError::NotRoot))),
        }
    }
}
