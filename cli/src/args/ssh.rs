//! `baton ssh`.

use std::ffi::OsString;

const HELP: &str = "\
The arguments are joined with spaces, and the login shell of the command's user runs them as one line, as with ssh.
Without arguments it is an interactive login shell. HOST is a name of `baton host list`.

Options, before HOST or right behind it:
  -t, -tt         give the command a terminal, if standard input is one; -tt in any case
  -T              give it no terminal
  -n              no standard input
  -e none         no escapes on the terminal; otherwise `~?` at the beginning of a line lists them
  -q              do not warn about a relay without TLS
  -G              print the host's name, and run nothing
  -l USER, USER@  run the command only if its user is USER; the exec-server's owner sets that user, not the client
  -p PORT         ignored: the host's ticket has the address of its relay
  -o SendEnv=PATTERN  pass the variables that match; repeatable. Other settings are refused
  -x              ignored: there is no X11 forwarding
  --grace TIME    as of `baton exec`: how long the command runs on after its connection is lost
  --trace-dir DIR as of `baton exec`: append the command's stages to a corpus of traces

Exit codes: the command's own, or 255 if Baton failed.

Examples:
  baton ssh worker
  baton ssh worker 'cd src && make'
  rsync -a -e 'baton ssh' src/ worker:src/
  GIT_SSH_COMMAND='baton ssh' git clone worker:src/project.git";

#[derive(clap::Args)]
#[command(override_usage = "baton ssh [OPTIONS] HOST [COMMAND]...", after_help = HELP)]
pub(crate) struct SshArgs {
    /// Options, host and command, as ssh has them
    // Parsed by `ssh_line`, because clap cannot end its options at the first word of the command.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        hide = true,
        value_name = "WORD"
    )]
    pub(crate) words: Vec<OsString>,
}

/// A command line of `baton ssh`, without clap; `None` for another one, and for one that asks for help.
pub(super) fn parse(words: impl IntoIterator<Item = OsString>) -> Option<SshArgs> {
    let mut words = words.into_iter().skip(1);
    if words.next()? != "ssh" {
        return None;
    }
    let words: Vec<_> = words.collect();
    let asks = words.first().is_some_and(|word| word == "--help" || word == "-h");
    (!asks).then_some(SshArgs { words })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<Vec<OsString>> {
        let words = line.split(' ').map(OsString::from);
        parse(words).map(|args| args.words)
    }

    #[test]
    fn help_is_left_to_clap_and_a_command_keeps_its_own() {
        assert_eq!(parsed("baton ssh worker ls --help").unwrap().len(), 3);
        assert_eq!(parsed("baton ssh"), Some(vec![]));
        for line in ["baton ssh --help", "baton ssh -h", "baton exec ssh", "baton"] {
            assert_eq!(parsed(line), None, "{line}");
        }
    }
}
