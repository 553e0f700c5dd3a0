//! The options before the key on an allow-list line, as in the `authorized_keys` of OpenSSH:
//! `expires="20271231Z",user="backup",command="/usr/bin/backup" KEY name trust`.
//!
//! * here: what the options mean;
//! * `options/syntax.rs`: names, quotes and commas;
//! * `options/expiry.rs`: times.
//!
//! An option that is not understood makes its line bad, so that it never grants more than its author meant.

use std::time::SystemTime;

use baton_trace::text::hint;

use crate::limits::{LINE_OPTIONS_MAX, OPTION_VALUE_MAX, USER_NAME_MAX};
use syntax::WrittenOption;

mod expiry;
pub(super) mod syntax;

/// The options of a client's line on the allow-list. Without options, the client is not limited.
///
/// The server enforces [`expires`](Self::expires) itself. Each service enforces [`command`](Self::command) and
/// [`user`](Self::user): a service that does not, serves such a client like any other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientOptions {
    expires: Option<SystemTime>,
    command: Option<Box<str>>,
    user: Option<Box<str>>,
}

/// What is wrong with the options of an allow-list line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// This version does not have the option.
    #[error("unknown option `{0}` (the options are expires, command and user)")]
    Unknown(String),
    /// Each option is given at most once.
    #[error("the option `{0}` is given twice")]
    Repeated(&'static str),
    /// No value, or one without quotes.
    #[error("the option `{0}` has no value in double quotes")]
    NoValue(String),
    /// The quotes of a value are not closed on the line.
    #[error("the value of the option `{0}` has no closing quote (a quote in a value is written \\\")")]
    Unclosed(String),
    /// A space, or two commas, where an option should be.
    #[error("an option has no name (a comma is between two options, and no space is around `,` and `=`)")]
    NoName,
    /// Text directly after the closing quote.
    #[error("the option `{0}` is not followed by a comma or a space")]
    NoSeparator(String),
    /// More than [`LINE_OPTIONS_MAX`].
    #[error("a line has at most {LINE_OPTIONS_MAX} options")]
    TooMany,
    /// Longer than [`OPTION_VALUE_MAX`].
    #[error("the value of the option `{0}` is longer than {OPTION_VALUE_MAX} bytes")]
    TooLong(String),
    /// The value of `expires` is not a time.
    #[error(
        "expires is not a time in UTC: write 20271231Z, 202712312359Z, 20271231235959Z or 2027-12-31T23:59:59Z"
    )]
    Expires,
    /// The value of `command` is empty or has a control character.
    #[error("command is empty or has a control character")]
    Command,
    /// The value of `user` cannot be the name of a user.
    #[error(
        "user is not a name: it has 1 to {USER_NAME_MAX} bytes, no space, no control character, no `:` and no `/`"
    )]
    User,
}

/// The options that this version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Expires,
    Command,
    User,
}

impl Known {
    /// Names are case-insensitive, as in `authorized_keys`.
    fn named(name: &str) -> Option<Self> {
        [Self::Expires, Self::Command, Self::User]
            .into_iter()
            .find(|option| option.name().eq_ignore_ascii_case(name))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Expires => "expires",
            Self::Command => "command",
            Self::User => "user",
        }
    }
}

impl ClientOptions {
    /// From when on the client counts as not listed: its sessions end, and so does what it runs. By the wall clock of
    /// the exec-server's machine.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// The forced command: a shell command that runs in place of each command that the client asks for. Such a client
    /// may do nothing else, so a service that does more for its clients refuses it. It is not empty, and has no NUL.
    pub fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }

    /// The user of the exec-server's machine that the client's commands run as, by name. A service that would do for the
    /// client what only the exec-server's own user may, refuses it. The user may not exist.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Whether the client counts as not listed at this time.
    pub(crate) fn has_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// Whether a word that is no option is one by mistake.
    pub(super) fn looks_like_one(word: &str) -> bool {
        let is_known = |(name, _): (&str, &str)| Known::named(name).is_some();
        word.contains('"') || word.split_once('=').is_some_and(is_known)
    }

    /// Checks the options of a line.
    pub(super) fn of_line(written: Vec<WrittenOption<'_>>) -> Result<Self, OptionsError> {
        let mut options = Self::default();
        for WrittenOption { name, value } in written {
            let known = Known::named(name).ok_or_else(|| OptionsError::Unknown(hint(name)))?;
            let value = value.ok_or_else(|| OptionsError::NoValue(hint(name)))?;
            let is_repeated = match known {
                Known::Expires => options.expires.replace(expiry::parse(&value)?).is_some(),
                Known::Command => options.command.replace(command(value)?).is_some(),
                Known::User => options.user.replace(user(value)?).is_some(),
            };
            if is_repeated {
                return Err(OptionsError::Repeated(known.name()));
            }
        }
        Ok(options)
    }
}

/// The operating system would cut a command at a NUL. Other control characters could steer the terminal of whoever
/// reads it.
fn command(value: String) -> Result<Box<str>, OptionsError> {
    let is_command = !value.trim().is_empty() && !value.chars().any(|c| c.is_control() && c != '\t');
    match is_command {
        true => Ok(value.into()),
        false => Err(OptionsError::Command),
    }
}

/// Whether a user of this name exists is not known here. The user database separates its fields by `:`.
fn user(value: String) -> Result<Box<str>, OptionsError> {
    let is_part = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, ':' | '/');
    match !value.is_empty() && value.len() <= USER_NAME_MAX && value.chars().all(is_part) {
        true => Ok(value.into()),
        false => Err(OptionsError::User),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> Result<(ClientOptions, String), OptionsError> {
        let (written, rest) = syntax::read(line)?;
        Ok((ClientOptions::of_line(written)?, rest.to_owned()))
    }

    fn options(expires: Option<u64>, command: Option<&str>) -> ClientOptions {
        ClientOptions {
            expires: expires.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds)),
            command: command.map(Into::into),
            user: None,
        }
    }

    #[test]
    fn options_are_read_as_authorized_keys_has_them() {
        for (line, expected) in [
            ("expires=\"19700102Z\" k", options(Some(86400), None)),
            ("command=\"true\"\tk", options(None, Some("true"))),
            (
                "Command=\"true\",EXPIRES=\"19700101000001Z\" k",
                options(Some(1), Some("true")),
            ),
            (r#"command="a \"b\" c" k"#, options(None, Some(r#"a "b" c"#))),
            (r#"command="a\\\"b" k"#, options(None, Some(r#"a\\"b"#))),
        ] {
            let (read, rest) = parse(line).unwrap();
            assert_eq!((read, rest.trim()), (expected, "k"), "{line}");
        }
        let (read, _) = parse("USER=\"a.b-c_1$\",command=\"true\" k").unwrap();
        assert_eq!((read.user(), read.command()), (Some("a.b-c_1$"), Some("true")));
        let (read, rest) = parse(r#"command="printf '\n' # , = a b" k # c"#).unwrap();
        assert_eq!(read.command(), Some(r"printf '\n' # , = a b"));
        assert_eq!(rest, " k # c");
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let name = || "command".to_owned();
        for (line, expected) in [
            ("from=\"host\" k", OptionsError::Unknown("from".into())),
            ("command=\"a\",no-pty k", OptionsError::Unknown("no-pty".into())),
            ("restrict k", OptionsError::Unknown("restrict".into())),
            ("command k", OptionsError::NoValue(name())),
            ("command=true k", OptionsError::NoValue(name())),
            ("command= \"true\" k", OptionsError::NoValue(name())),
            ("command='true' k", OptionsError::NoValue(name())),
            ("command\"true\" k", OptionsError::NoValue(name())),
            ("command=\"true k", OptionsError::Unclosed(name())),
            ("command=\"true\\\" k", OptionsError::Unclosed(name())),
            ("command=\"\" k", OptionsError::Command),
            ("command=\" \" k", OptionsError::Command),
            ("command=\"a\0b\" k", OptionsError::Command),
            ("command=\"a\u{1b}[2J\" k", OptionsError::Command),
            ("command=\"a\"x k", OptionsError::NoSeparator(name())),
            ("command=\"a\", k", OptionsError::NoName),
            (",command=\"a\" k", OptionsError::NoName),
            ("command=\"a\",,expires=\"19700102Z\" k", OptionsError::NoName),
            ("=\"a\" k", OptionsError::NoName),
            ("command=\"a\",COMMAND=\"a\" k", OptionsError::Repeated("command")),
            ("expires=\"soon\" k", OptionsError::Expires),
            ("user=\"\" k", OptionsError::User),
            ("user=\"a b\" k", OptionsError::User),
            ("user=\"a:0\" k", OptionsError::User),
            ("user=\"../a\" k", OptionsError::User),
            ("user=\"a\u{1b}\" k", OptionsError::User),
            ("user=\"a\",user=\"b\" k", OptionsError::Repeated("user")),
        ] {
            assert_eq!(parse(line), Err(expected), "{line}");
        }
        let long = "a".repeat(OPTION_VALUE_MAX);
        assert!(parse(&format!("command=\"{long}\" k")).is_ok());
        assert_eq!(
            parse(&format!("command=\"{long}a\" k")),
            Err(OptionsError::TooLong(name()))
        );
        let many = ["x"; LINE_OPTIONS_MAX + 1].join(",");
        assert_eq!(parse(&format!("{many} k")), Err(OptionsError::TooMany));
    }

    #[test]
    fn a_client_has_expired_from_that_time_on() {
        let options = options(Some(100), None);
        let at = |seconds| options.has_expired(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!([99, 100, 101].map(at), [false, true, true]);
        assert!(!ClientOptions::default().has_expired(UNIX_EPOCH + Duration::from_secs(u32::MAX.into())));
    }

    proptest! {
        #[test]
        fn a_command_is_the_one_that_was_quoted(command in "[^\\p{Cc}]{1,40}", expires in 0u64..4_000_000_000) {
            prop_assume!(!command.trim().is_empty());
            // It would quote the closing quote. Neither sshd nor this has a way to write it.
            prop_assume!(!command.ends_with('\\'));
            let expires = UNIX_EPOCH + Duration::from_secs(expires);
            let line = format!(
                "command=\"{}\",expires=\"{}\" k",
                command.replace('"', "\\\""),
                humantime::format_rfc3339(expires)
            );
            let (read, rest) = parse(&line).unwrap();
            prop_assert_eq!(read, ClientOptions {
                expires: Some(expires),
                command: Some(command.as_str().into()),
                user: None,
            });
            prop_assert_eq!(rest, " k");
        }

        /// Whatever the options are: they are accepted only if each one is known, and given once.
        #[test]
        fn a_list_with_an_option_that_is_not_understood_is_never_accepted(
            names in prop::collection::vec("(?i:command|expires|user|from|[a-z-]{1,9})", 1..5),
        ) {
            let list: Vec<_> = names
                .iter()
                .map(|name| format!("{name}=\"{}\"", "20300101Z"))
                .collect();
            let count = |known: &str| names.iter().filter(|name| name.eq_ignore_ascii_case(known)).count();
            let known = ["command", "expires", "user"].map(count);
            let is_understood = known.iter().sum::<usize>() == names.len() && known.iter().all(|count| *count <= 1);
            prop_assert_eq!(parse(&format!("{} k", list.join(","))).is_ok(), is_understood);
        }
    }
}
