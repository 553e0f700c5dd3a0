//! A `Start` that has been checked: what to run, as types that cannot hold what the operating system refuses.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;

use baton_proto::exec::Start;
use baton_proto::{Epoch, ProcessId};

use crate::error::InvalidStart;
use crate::limits::{DRAIN_DEFAULT, DRAIN_MAX};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) process_id: ProcessId,
    pub(crate) epoch: Epoch,
    /// `argv[0]`, as given.
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
    /// `None` is the server's own.
    pub(super) cwd: Option<PathBuf>,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) clear_environment: bool,
    pub(super) stdin: bool,
    pub(super) drain: Duration,
}

impl TryFrom<Start> for Launch {
    type Error = InvalidStart;

    fn try_from(start: Start) -> Result<Self, InvalidStart> {
        let process_id = ProcessId::try_from(&start.process_id[..]).map_err(|_| InvalidStart::ProcessId)?;
        let epoch = Epoch::try_from(&start.epoch[..]).map_err(|_| InvalidStart::Epoch)?;
        let mut argv = start.argv.iter().map(|argument| os_string(argument));
        let program = argv
            .next()
            .ok_or(InvalidStart::EmptyArgv)?
            .ok_or(InvalidStart::NulInArgv)?;
        let arguments = argv.collect::<Option<Vec<_>>>().ok_or(InvalidStart::NulInArgv)?;
        let cwd = match &start.cwd[..] {
            [] => None,
            cwd => Some(PathBuf::from(os_string(cwd).ok_or(InvalidStart::NulInCwd)?)),
        };
        let mut environment = Vec::with_capacity(start.env.len());
        for variable in &start.env {
            if variable.name.is_empty() || variable.name.contains(&b'=') {
                return Err(InvalidStart::VariableName);
            }
            let name = os_string(&variable.name).ok_or(InvalidStart::NulInEnvironment)?;
            let value = os_string(&variable.value).ok_or(InvalidStart::NulInEnvironment)?;
            environment.push((name, value));
        }
        let drain = start.drain_ms.map_or(DRAIN_DEFAULT, |ms| {
            Duration::from_millis(ms.into()).min(DRAIN_MAX)
        });
        Ok(Self {
            process_id,
            epoch,
            program,
            arguments,
            cwd,
            environment,
            clear_environment: start.clear_env,
            stdin: start.stdin,
            drain,
        })
    }
}

impl Launch {
    /// Whether the client sends stdin.
    pub(crate) fn has_stdin(&self) -> bool {
        self.stdin
    }

    /// The value of a variable in the child's environment.
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        let name = OsStr::from_bytes(name.as_bytes());
        let own = self.environment.iter().rev().find(|(own, _)| own == name);
        match own {
            Some((_, value)) => Some(value.clone()),
            None if self.clear_environment => None,
            None => std::env::var_os(name),
        }
    }
}

fn os_string(bytes: &[u8]) -> Option<OsString> {
    (!bytes.contains(&0)).then(|| OsString::from_vec(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use baton_proto::exec::EnvironmentVariable;

    use super::*;

    fn start() -> Start {
        Start {
            process_id: vec![1; 16].into(),
            epoch: vec![2; 16].into(),
            argv: vec!["true".into()],
            ..Start::default()
        }
    }

    fn variable(name: &'static [u8], value: &'static [u8]) -> EnvironmentVariable {
        EnvironmentVariable {
            name: name.into(),
            value: value.into(),
        }
    }

    #[test]
    fn everything_the_operating_system_would_cut_short_is_refused() {
        let cases = [
            (
                InvalidStart::ProcessId,
                Start {
                    process_id: vec![1; 15].into(),
                    ..start()
                },
            ),
            (
                InvalidStart::Epoch,
                Start {
                    epoch: vec![1; 17].into(),
                    ..start()
                },
            ),
            (
                InvalidStart::EmptyArgv,
                Start {
                    argv: vec![],
                    ..start()
                },
            ),
            (
                InvalidStart::NulInArgv,
                Start {
                    argv: vec!["a\0".into()],
                    ..start()
                },
            ),
            (
                InvalidStart::NulInArgv,
                Start {
                    argv: vec!["a".into(), "\0".into()],
                    ..start()
                },
            ),
            (
                InvalidStart::NulInCwd,
                Start {
                    cwd: "/\0".into(),
                    ..start()
                },
            ),
            (
                InvalidStart::NulInEnvironment,
                Start {
                    env: vec![variable(b"a\0", b"")],
                    ..start()
                },
            ),
            (
                InvalidStart::NulInEnvironment,
                Start {
                    env: vec![variable(b"a", b"\0")],
                    ..start()
                },
            ),
            (
                InvalidStart::VariableName,
                Start {
                    env: vec![variable(b"a=b", b"")],
                    ..start()
                },
            ),
            (
                InvalidStart::VariableName,
                Start {
                    env: vec![variable(b"", b"x")],
                    ..start()
                },
            ),
        ];
        for (expected, start) in cases {
            assert_eq!(Launch::try_from(start).unwrap_err(), expected);
        }
    }

    #[test]
    fn the_last_of_several_variables_counts_and_a_cleared_environment_hides_the_servers() {
        let env = vec![variable(b"PATH", b"/a"), variable(b"PATH", b"/b")];
        let launch = Launch::try_from(Start { env, ..start() }).unwrap();
        assert_eq!(launch.variable("PATH").unwrap(), "/b");
        let launch = Launch::try_from(Start {
            clear_env: true,
            ..start()
        })
        .unwrap();
        assert_eq!(launch.variable("PATH"), None);
        let launch = Launch::try_from(start()).unwrap();
        assert_eq!(launch.variable("PATH"), std::env::var_os("PATH"));
    }

    #[test]
    fn a_drain_is_cut_to_its_limit() {
        let launch = Launch::try_from(Start {
            drain_ms: Some(u32::MAX),
            ..start()
        })
        .unwrap();
        assert_eq!(launch.drain, DRAIN_MAX);
        assert_eq!(Launch::try_from(start()).unwrap().drain, DRAIN_DEFAULT);
    }
}
