//! The forced command: what a client runs whose line on the allow-list has `command="…"`, as sshd does it.
//!
//! Of what the client asks for, nothing decides what is executed and where: the shell of the exec-server's user,
//! or of the client's `user=`, runs the forced command, in the default directory, with that user's environment. The client's arguments are in one
//! variable, quoted for a shell. Its variables are dropped, because one such as `PATH`, `LD_PRELOAD` or `BASH_ENV`
//! decides what a shell runs; the trace context of the call does not depend on them. Standard input is the client's.
//!
//! The digest of the parameters stays that of the start as it was sent, so a repeated start is recognised.

use std::ffi::CString;

use baton_channel::allow::Peer;
use baton_proto::exec::Start;
use baton_spawn::Variable;

use super::environment::Changes;
use super::launch::Launch;
use super::shell::LoginShell;
use crate::error::InvalidStart;
use crate::limits::ORIGINAL_COMMAND_BYTES;
use crate::user::RunAs;

/// The variable with the arguments that the client asked for.
const ORIGINAL_COMMAND: &str = "BATON_ORIGINAL_COMMAND";

impl Launch {
    /// The checked start of this client, whose commands run as this user; `None`: as the exec-server's own. The client's options count as they are now: an option that its line gains
    /// holds also for a call that is open, until it has sent its start.
    pub(crate) fn of_client(
        start: Start,
        client: &Peer,
        run_as: Option<RunAs>,
    ) -> Result<Self, InvalidStart> {
        let launch = Self::try_from(start)?;
        let shell = || LoginShell::of(run_as.as_ref());
        let launch = match (client.options().command(), launch.login_shell) {
            (None, false) => launch,
            (None, true) => launch.in_shell(&shell())?,
            (Some(command), _) => launch.forced(command, &shell())?,
        };
        Ok(Self { run_as, ..launch })
    }

    /// Runs the client's line, or nothing else, in the shell.
    fn in_shell(self, shell: &LoginShell) -> Result<Self, InvalidStart> {
        Ok(Self {
            program: Some(shell.path().to_owned()),
            argv: shell.argv(self.argv).ok_or(InvalidStart::LoginShell)?,
            ..self
        })
    }

    fn forced(self, command: &str, shell: &LoginShell) -> Result<Self, InvalidStart> {
        let mut own = Vec::new();
        if let Some(original) = self.original()? {
            let original = Variable::new(ORIGINAL_COMMAND.as_bytes(), &original);
            // No argument and no line of an allow-list has a NUL.
            own.push(original.ok_or(InvalidStart::NulInArgv)?);
        }
        let command = CString::new(command).map_err(|_| InvalidStart::NulInArgv)?;
        Ok(Self {
            argv: vec![shell.path().to_owned(), c"-c".into(), command],
            cwd: None,
            environment: Changes { own, clear: false },
            ..self
        })
    }

    /// What the client asks for: a line for a shell as it is, arguments quoted; `None` for an interactive shell.
    fn original(&self) -> Result<Option<Vec<u8>>, InvalidStart> {
        if !self.login_shell {
            return Ok(Some(quoted(&self.argv)?));
        }
        let line = self.argv.first().map(|line| line.to_bytes().to_vec());
        match line {
            Some(line) if line.len() > ORIGINAL_COMMAND_BYTES => Err(InvalidStart::OriginalCommand),
            line => Ok(line),
        }
    }
}

/// The arguments, quoted for a POSIX shell and separated by spaces.
fn quoted(argv: &[CString]) -> Result<Vec<u8>, InvalidStart> {
    let mut text = Vec::new();
    for argument in argv {
        let argument = argument.to_bytes();
        if !text.is_empty() {
            text.push(b' ');
        }
        // Before it is quoted, too: quotes make it up to four times as long.
        if argument.len() <= ORIGINAL_COMMAND_BYTES {
            quote(argument, &mut text);
        }
        if argument.len().max(text.len()) > ORIGINAL_COMMAND_BYTES {
            return Err(InvalidStart::OriginalCommand);
        }
    }
    Ok(text)
}

/// Appends a word that every POSIX shell reads as `argument`: as it is if no shell interprets any of its bytes, else in
/// single quotes, in which only a single quote has to be written in another way.
fn quote(argument: &[u8], text: &mut Vec<u8>) {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"%+,-./:@_".contains(byte);
    if !argument.is_empty() && argument.iter().all(is_plain) {
        return text.extend_from_slice(argument);
    }
    text.push(b'\'');
    for (index, part) in argument.split(|byte| *byte == b'\'').enumerate() {
        if index > 0 {
            text.extend_from_slice(br"'\''");
        }
        text.extend_from_slice(part);
    }
    text.push(b'\'');
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::process::Command;

    use baton_proto::exec::EnvironmentVariable;
    use proptest::prelude::*;

    use super::*;

    fn start(argv: &[&[u8]]) -> Start {
        Start {
            process_id: vec![1; 16].into(),
            epoch: vec![2; 16].into(),
            argv: argv.iter().map(|argument| argument.to_vec().into()).collect(),
            ..Start::default()
        }
    }

    fn forced(start: Start) -> Result<Launch, InvalidStart> {
        Launch::try_from(start)?.forced("backup \"$x\"", &LoginShell::sh())
    }

    /// The value of the variable that a forced command gets.
    fn original(argv: &[&[u8]]) -> Result<Vec<u8>, InvalidStart> {
        let launch = forced(start(argv))?;
        let [variable] = &launch.environment.own[..] else {
            panic!("one variable");
        };
        assert_eq!(variable.name(), b"BATON_ORIGINAL_COMMAND");
        Ok(variable.value().to_owned())
    }

    #[test]
    fn nothing_that_a_client_sends_decides_what_a_forced_command_executes() {
        let names: [&'static [u8]; 4] = [b"PATH", b"LD_PRELOAD", b"BASH_ENV", b"BATON_ORIGINAL_COMMAND"];
        let variable = |name: &'static [u8]| EnvironmentVariable {
            name: name.into(),
            value: "x".into(),
        };
        let asked = Start {
            cwd: "/tmp/of-the-client".into(),
            clear_env: true,
            env: names.map(variable).into(),
            stdin: true,
            grace_ms: 7,
            ..start(&[b"rm", b"-rf", b"a b"])
        };
        let plain = Launch::try_from(asked.clone()).unwrap();
        let launch = forced(asked).unwrap();
        let argv: Vec<_> = launch.argv().iter().map(|argument| argument.as_c_str()).collect();
        assert_eq!(argv, [c"/bin/sh", c"-c", c"backup \"$x\""]);
        assert_eq!((launch.cwd.as_deref(), launch.environment.clear), (None, false));
        let [original] = &launch.environment.own[..] else {
            panic!("one variable");
        };
        assert_eq!(original.name(), b"BATON_ORIGINAL_COMMAND");
        assert_eq!(original.value(), b"rm -rf 'a b'");
        // The rest is as it was asked for, and a repeated start is still the same.
        assert!(launch.has_stdin());
        assert_eq!(launch.grace, plain.grace);
        assert_eq!(launch.parameters, plain.parameters);
        assert_eq!(launch.process_id(), plain.process_id());
    }

    #[test]
    fn the_original_command_is_quoted_where_a_shell_would_change_it() {
        for (argv, expected) in [
            (vec!["git-upload-pack", "a/b.git"], "git-upload-pack a/b.git"),
            (
                vec!["sh", "-c", "echo \"$x\"; it's"],
                "sh -c 'echo \"$x\"; it'\\''s'",
            ),
            (
                vec!["a", "", "~", "*", "x=1", "#", "\n"],
                "a '' '~' '*' 'x=1' '#' '\n'",
            ),
            (vec![""], "''"),
            (vec!["'"], "''\\'''"),
            (vec!["ü"], "'ü'"),
        ] {
            let argv: Vec<_> = argv.iter().map(|argument| argument.as_bytes()).collect();
            assert_eq!(original(&argv).unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn an_original_command_beyond_its_bound_is_refused_and_not_cut() {
        let most = vec![b'a'; ORIGINAL_COMMAND_BYTES];
        assert_eq!(original(&[&most]).unwrap().len(), ORIGINAL_COMMAND_BYTES);
        for argv in [
            vec![vec![b'a'; ORIGINAL_COMMAND_BYTES + 1]],
            vec![most.clone(), vec![b'a']],
            vec![vec![b'\''; ORIGINAL_COMMAND_BYTES / 2]],
        ] {
            let argv: Vec<_> = argv.iter().map(Vec::as_slice).collect();
            assert_eq!(original(&argv), Err(InvalidStart::OriginalCommand));
        }
    }

    #[test]
    fn a_line_for_a_login_shell_is_the_original_command_as_it_is() {
        let launch = |argv: &[&[u8]]| {
            let login_shell = true;
            forced(Start {
                login_shell,
                ..start(argv)
            })
            .unwrap()
        };
        let line = launch(&[b"echo \"$x\" | wc"]);
        assert_eq!(line.environment.own[0].value(), b"echo \"$x\" | wc");
        assert_eq!(line.argv().last().unwrap().as_c_str(), c"backup \"$x\"");
        assert!(launch(&[]).environment.own.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The claim is about shells, so a shell decides it.
        #[test]
        fn a_shell_splits_the_original_command_into_the_arguments_again(
            argv in prop::collection::vec(prop::collection::vec(1u8..=255, 0..12), 1..5),
        ) {
            let slices: Vec<_> = argv.iter().map(Vec::as_slice).collect();
            let output = Command::new("/bin/sh")
                .args(["-c", "eval \"set -- $BATON_ORIGINAL_COMMAND\"; printf '%s\\0' \"$@\""])
                .env_clear()
                .env("LC_ALL", "C")
                .env("BATON_ORIGINAL_COMMAND", OsStr::from_bytes(&original(&slices).unwrap()))
                .output()
                .unwrap();
            let expected: Vec<u8> = argv.iter().flat_map(|argument| [&argument[..], b"\0"].concat()).collect();
            prop_assert_eq!(output.stdout, expected);
        }
    }
}
