//! The command line of `baton ssh`: ssh's options, as far as rsync, git and people need them.
//!
//! Options are read as ssh reads them: letters may share a `-`, a value follows its letter or is the next word, options
//! may also stand between HOST and the command, and the first other word begins the command.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use baton_trace::text::printable;

use crate::hosts::is_name;
use crate::limits::GRACE_LONGEST;

/// Why a command line of `baton ssh` is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SshUsage {
    #[error("no host: `baton ssh HOST [COMMAND]`, where `baton host list` lists the hosts")]
    NoHost,
    #[error("`{0}` is no name of a host: pass one of `baton host list`, as in `baton ssh worker uname -a`")]
    BadHost(String),
    #[error("baton ssh has no option `{0}`: remove it, or see `baton ssh --help` for those that there are")]
    UnknownOption(String),
    #[error("the option `{0}` needs a value")]
    NoValue(String),
    #[error("`{value}` is no value of `{option}`: {expected}")]
    BadValue {
        option: String,
        value: String,
        expected: &'static str,
    },
}

/// Whether the command gets a terminal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum TerminalChoice {
    /// Only a login shell, and if standard input is a terminal.
    #[default]
    Auto,
    /// `-T`
    Never,
    /// `-t`: if standard input is a terminal.
    IfLocal,
    /// `-tt`
    Always,
}

/// A command line of `baton ssh`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SshLine {
    pub(crate) host: String,
    /// The user before `@`, or of `-l`.
    pub(crate) user: Option<String>,
    /// The words of the command, joined with spaces; `None` for a login shell.
    pub(crate) command: Option<OsString>,
    pub(crate) terminal: TerminalChoice,
    /// `-n`: the command's input is empty.
    pub(crate) no_input: bool,
    /// `-e none`: a terminal without escapes.
    pub(crate) no_escapes: bool,
    pub(crate) quiet: bool,
    /// `-G`: print the host instead.
    pub(crate) prints_host: bool,
    /// The patterns of `-o SendEnv=`.
    pub(crate) send_env: Vec<String>,
    pub(crate) grace: Option<Duration>,
    pub(crate) trace_dir: Option<PathBuf>,
}

impl SshLine {
    /// Parses the words after `baton ssh`.
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, SshUsage> {
        let mut line = Self::default();
        let mut words = words.into_iter();
        let mut host = None;
        let mut command: Vec<OsString> = Vec::new();
        while let Some(word) = words.next() {
            let bytes = word.as_bytes();
            let is_option = bytes.len() > 1 && bytes.starts_with(b"-");
            if bytes == b"--" {
                if host.is_none() {
                    host = words.next();
                }
                command.extend(words.by_ref());
            } else if is_option {
                line.option(&word, &mut words)?;
            } else if host.is_none() {
                host = Some(word);
            } else {
                command.push(word);
                command.extend(words.by_ref());
            }
        }
        let host = host.ok_or(SshUsage::NoHost)?;
        line.destination(&host)?;
        line.command = (!command.is_empty()).then(|| command.join(OsStr::new(" ")));
        Ok(line)
    }

    /// The user of `-l` counts before that of `USER@`, as in ssh.
    fn destination(&mut self, word: &OsStr) -> Result<(), SshUsage> {
        let bad = || SshUsage::BadHost(shown(word));
        let text = word.to_str().ok_or_else(bad)?;
        let (user, host) = match text.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, text),
        };
        if !is_name(host) || user.is_some_and(str::is_empty) {
            return Err(bad());
        }
        self.host = host.to_owned();
        self.user = self.user.take().or_else(|| user.map(str::to_owned));
        Ok(())
    }

    /// One word of options, and the words that are their values.
    fn option(&mut self, word: &OsStr, words: &mut impl Iterator<Item = OsString>) -> Result<(), SshUsage> {
        let text = word
            .to_str()
            .ok_or_else(|| SshUsage::UnknownOption(shown(word)))?;
        if let Some(long) = text.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (long, None),
            };
            return self.long(name, value, words);
        }
        let mut letters = text.get(1..).unwrap_or_default().chars();
        while let Some(letter) = letters.next() {
            match letter {
                // There is no X11 forwarding to turn off.
                'x' => {}
                'q' => self.quiet = true,
                'n' => self.no_input = true,
                'G' => self.prints_host = true,
                'T' => self.terminal = TerminalChoice::Never,
                't' => {
                    self.terminal = match self.terminal {
                        TerminalChoice::IfLocal | TerminalChoice::Always => TerminalChoice::Always,
                        TerminalChoice::Auto | TerminalChoice::Never => TerminalChoice::IfLocal,
                    }
                }
                'p' | 'l' | 'o' | 'e' => {
                    let option = format!("-{letter}");
                    let rest = letters.as_str();
                    let value = match rest.is_empty() {
                        true => words.next(),
                        false => Some(OsString::from(rest)),
                    };
                    let value = text_value(&option, value)?;
                    return self.with_value(letter, option, value);
                }
                other => {
                    return Err(SshUsage::UnknownOption(
                        printable(&format!("-{other}")).into_owned(),
                    ));
                }
            }
        }
        Ok(())
    }

    fn with_value(&mut self, letter: char, option: String, value: String) -> Result<(), SshUsage> {
        let bad = |value: &str, expected| SshUsage::BadValue {
            option,
            value: printable(value).into_owned(),
            expected,
        };
        match letter {
            // The ticket has the address; ssh's port of the machine has no meaning for it.
            'p' => match value.parse::<u16>() {
                Ok(1..) => Ok(()),
                _ => Err(bad(&value, "expected a port, which is then ignored")),
            },
            'l' => match value.is_empty() {
                false => {
                    self.user = Some(value);
                    Ok(())
                }
                true => Err(bad(&value, "expected a user")),
            },
            'e' => match value.as_str() {
                "none" => {
                    self.no_escapes = true;
                    Ok(())
                }
                other => Err(bad(other, "expected `none`; the escape character is `~`")),
            },
            _ => {
                let patterns = send_env(&value)
                    .ok_or_else(|| SshUsage::UnknownOption(printable(&format!("-o {value}")).into_owned()))?;
                self.send_env.extend(patterns);
                Ok(())
            }
        }
    }

    fn long(
        &mut self,
        name: &str,
        value: Option<OsString>,
        words: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), SshUsage> {
        let option = printable(&format!("--{name}")).into_owned();
        match name {
            "trace-dir" => {
                let value = value.or_else(|| words.next()).filter(|value| !value.is_empty());
                self.trace_dir = Some(value.ok_or(SshUsage::NoValue(option))?.into());
            }
            "grace" => {
                let value = text_value(&option, value.or_else(|| words.next()))?;
                let grace = humantime::parse_duration(&value)
                    .ok()
                    .filter(|grace| *grace <= GRACE_LONGEST);
                self.grace = Some(grace.ok_or_else(|| SshUsage::BadValue {
                    option,
                    value: printable(&value).into_owned(),
                    expected: "expected a time like 60s or 10m, at most 7days",
                })?);
            }
            _ => return Err(SshUsage::UnknownOption(option)),
        }
        Ok(())
    }

    /// The variables of `-o SendEnv=` among these.
    pub(crate) fn sent(
        &self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> impl Iterator<Item = (OsString, OsString)> {
        variables.filter(move |(name, _)| {
            let is_sent = |pattern: &String| matches(pattern.as_bytes(), name.as_bytes());
            self.send_env.iter().any(is_sent)
        })
    }
}

fn text_value(option: &str, value: Option<OsString>) -> Result<String, SshUsage> {
    let value = value.ok_or_else(|| SshUsage::NoValue(option.to_owned()))?;
    value.into_string().map_err(|value| SshUsage::BadValue {
        option: option.to_owned(),
        value: shown(&value),
        expected: "it is not UTF-8 text",
    })
}

fn shown(text: &OsStr) -> String {
    printable(&text.to_string_lossy()).into_owned()
}

/// The patterns of `SendEnv=A B`, or `SendEnv A B`; `None` for any other setting, and without a pattern. ssh's keywords
/// have no case.
fn send_env(setting: &str) -> Option<Vec<String>> {
    let setting = setting.trim();
    let end = setting.find(|c: char| c == '=' || c.is_ascii_whitespace())?;
    let (keyword, patterns) = setting.split_at(end);
    let patterns = patterns.trim_start();
    let patterns = patterns.strip_prefix('=').unwrap_or(patterns);
    let patterns: Vec<_> = patterns.split_ascii_whitespace().map(str::to_owned).collect();
    // A `-` before a pattern would take it back.
    let is_plain = !patterns.is_empty() && patterns.iter().all(|pattern| !pattern.starts_with('-'));
    (keyword.eq_ignore_ascii_case("SendEnv") && is_plain).then_some(patterns)
}

/// Whether a name matches a pattern: `*` is any text, `?` is one byte. Linear memory, and at most the product of the
/// lengths in time.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    // Where to go on after a mismatch: the last `*`, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((begin, taken)) = star else {
                    return false;
                };
                star = Some((begin, taken + 1));
                at = begin + 1;
                seen = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<SshLine, SshUsage> {
        SshLine::parse(words.iter().map(OsString::from))
    }

    fn plain(command: Option<&str>) -> SshLine {
        SshLine {
            host: "worker".into(),
            command: command.map(OsString::from),
            ..SshLine::default()
        }
    }

    #[test]
    fn words_are_joined_with_spaces_and_not_quoted() {
        assert_eq!(parse(&["worker"]), Ok(plain(None)));
        for words in [
            &["worker", "echo", "a  b", "-x", "--", "$HOME"][..],
            &["worker", "echo a  b", "-x -- $HOME"],
            &["--", "worker", "echo", "a  b", "-x", "--", "$HOME"],
            &["worker", "--", "echo", "a  b", "-x", "--", "$HOME"],
        ] {
            assert_eq!(
                parse(words),
                Ok(plain(Some("echo a  b -x -- $HOME"))),
                "{words:?}"
            );
        }
    }

    #[test]
    fn what_rsync_and_git_pass_is_understood() {
        let user = SshLine {
            user: Some("me".into()),
            ..plain(Some("rsync --server -vlogDtpre.iLsfxCIvu . dir/"))
        };
        let rsync = ["--server", "-vlogDtpre.iLsfxCIvu", ".", "dir/"];
        assert_eq!(
            parse(&[&["-l", "me", "worker", "rsync"][..], &rsync].concat()),
            Ok(user)
        );
        let git = |words: &[&str]| {
            let command = "git-upload-pack '/a b.git'";
            parse(&[words, &["worker", command]].concat()).unwrap()
        };
        let expected = SshLine {
            send_env: vec!["GIT_PROTOCOL".into()],
            ..plain(Some("git-upload-pack '/a b.git'"))
        };
        assert_eq!(git(&["-o", "SendEnv=GIT_PROTOCOL"]), expected);
        assert_eq!(git(&["-oSendEnv=GIT_PROTOCOL", "-p22"]), expected);
        assert_eq!(git(&["-x", "-o", "sendenv GIT_PROTOCOL", "-p", "2222"]), expected);
        let probe = parse(&["-G", "-p", "22", "worker"]).unwrap();
        assert!(probe.prints_host && probe.command.is_none());
    }

    #[test]
    fn letters_share_a_dash_and_options_may_follow_the_host() {
        let line = parse(&["-xqT", "worker", "-nG", "ls"]).unwrap();
        assert!(line.quiet && line.no_input && line.prints_host);
        assert_eq!(line.terminal, TerminalChoice::Never);
        assert_eq!(line.command, Some("ls".into()));
        for (words, expected) in [
            (&["worker"][..], TerminalChoice::Auto),
            (&["-t", "worker"], TerminalChoice::IfLocal),
            (&["-tt", "worker"], TerminalChoice::Always),
            (&["-t", "worker", "-t"], TerminalChoice::Always),
            (&["-Tt", "worker"], TerminalChoice::IfLocal),
            (&["-ttT", "worker"], TerminalChoice::Never),
        ] {
            assert_eq!(parse(words).unwrap().terminal, expected, "{words:?}");
        }
        let line = parse(&["-tte", "none", "--grace=10m", "--trace-dir", "t", "worker"]).unwrap();
        assert!(line.no_escapes);
        assert_eq!(line.grace, Some(Duration::from_secs(600)));
        assert_eq!(line.trace_dir, Some("t".into()));
    }

    #[test]
    fn a_user_is_told_from_the_host() {
        for words in [
            &["me@worker"][..],
            &["-l", "me", "worker"],
            &["-lme", "you@worker"],
        ] {
            let line = parse(words).unwrap();
            assert_eq!((line.host.as_str(), line.user.as_deref()), ("worker", Some("me")));
        }
    }

    #[test]
    fn a_host_is_no_option_and_no_address() {
        for word in [
            "-worker",
            "-oProxyCommand=x",
            "--",
            "a/b",
            "ssh://worker",
            "[::1]",
            "",
            "@worker",
            "me@",
        ] {
            let refused = parse(&["--", word]);
            assert_eq!(refused, Err(SshUsage::BadHost(word.into())), "{word:?}");
        }
        assert_eq!(parse(&[]), Err(SshUsage::NoHost));
        assert_eq!(parse(&["-x", "--"]), Err(SshUsage::NoHost));
    }

    #[test]
    fn what_is_not_known_is_refused_by_its_name() {
        let unknown = |name: &str| -> Result<SshLine, SshUsage> { Err(SshUsage::UnknownOption(name.into())) };
        assert_eq!(parse(&["-4", "worker"]), unknown("-4"));
        assert_eq!(parse(&["-xv", "worker"]), unknown("-v"));
        assert_eq!(parse(&["--help-me", "worker"]), unknown("--help-me"));
        for setting in [
            "ProxyCommand=sh",
            "SendEnv",
            "SendEnv=",
            "SendEnv=-LC_*",
            "=SendEnv",
        ] {
            let refused = parse(&["-o", setting, "worker"]);
            assert_eq!(refused, unknown(&format!("-o {setting}")));
        }
        for option in ["-o", "-p", "-l", "-e", "--grace", "--trace-dir"] {
            assert_eq!(parse(&[option]), Err(SshUsage::NoValue(option.into())));
        }
        for words in [
            ["-p", "x"],
            ["-p", "0"],
            ["-l", ""],
            ["-e", "^"],
            ["--grace", "8d"],
        ] {
            let refused = parse(&[words[0], words[1], "worker"]);
            assert!(matches!(refused, Err(SshUsage::BadValue { .. })), "{words:?}");
        }
    }

    #[test]
    fn a_pattern_selects_variables() {
        for (pattern, name, expected) in [
            ("GIT_PROTOCOL", "GIT_PROTOCOL", true),
            ("GIT_PROTOCOL", "GIT_PROTOCOL_", false),
            ("LC_*", "LC_ALL", true),
            ("LC_*", "LC_", true),
            ("LC_*", "LC", false),
            ("*", "", true),
            ("?", "", false),
            ("*_?", "A_B_C", true),
            ("*a*b", "xaxbxab", true),
            ("*a*b", "xaxbx", false),
            ("**", "x", true),
            ("", "x", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
        let line = SshLine {
            send_env: vec!["A*".into(), "B".into()],
            ..SshLine::default()
        };
        let all = ["A", "AB", "B", "BA"].map(|name| (OsString::from(name), OsString::new()));
        let sent: Vec<_> = line.sent(all.into_iter()).map(|(name, _)| name).collect();
        assert_eq!(sent, ["A", "AB", "B"]);
    }
}
