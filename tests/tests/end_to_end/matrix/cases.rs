//! The kinds of commands: what each is, gets and does.

use std::path::Path;

use baton_support::command_check::{Exit, Expected};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Bytes of the binary file, which is longer than a pipe and a frame.
const BINARY_BYTES: usize = 150_000;

/// Signals whose default action kills: those of POSIX, and Linux's own.
const KILLING: [i32; 23] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 25, 26, 27, 29, 30, 31,
];

/// The standard input of a command.
#[derive(Clone)]
pub(super) enum Input {
    /// The caller drops its writer at once.
    Dropped,
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// Stays open until the command has ended.
    Open,
    /// Zeros until the command has closed its input.
    Endless,
}

/// One command.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) name: String,
    /// For `sh -c`. It finds the binary file in `$BINARY`.
    pub(super) script: String,
    pub(super) input: Input,
    pub(super) has_terminal: bool,
    /// The caller ends it with SIGTERM once it has printed something.
    pub(super) is_terminated: bool,
    pub(super) expected: Expected,
}

impl Case {
    fn new(name: impl Into<String>, script: impl Into<String>, stdout: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            script: script.into(),
            input: Input::Dropped,
            has_terminal: false,
            is_terminated: false,
            expected: Expected {
                stdout: stdout.into(),
                stderr: Vec::new(),
                exit: Exit::Code(0),
                truncated: false,
                may_have_gaps: false,
                leaves: 0,
                calls: 1,
            },
        }
    }

    fn stderr(mut self, stderr: impl Into<Vec<u8>>) -> Self {
        self.expected.stderr = stderr.into();
        self
    }

    fn exit(mut self, exit: Exit) -> Self {
        self.expected.exit = exit;
        self
    }

    fn input(self, input: Input) -> Self {
        Self { input, ..self }
    }

    fn on_terminal(self) -> Self {
        Self {
            has_terminal: true,
            ..self
        }
    }

    fn terminated(mut self) -> Self {
        self.expected.calls += 1;
        Self {
            is_terminated: true,
            ..self.exit(Exit::Signal(15))
        }
    }

    /// Bytes of its output.
    pub(super) fn output_bytes(&self) -> u64 {
        (self.expected.stdout.len() + self.expected.stderr.len()) as u64
    }
}

pub(super) fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Writes the binary file.
pub(super) fn write_binary(file: &Path) {
    std::fs::write(file, random_bytes(1, BINARY_BYTES)).unwrap();
}

/// Every kind of command but the signals.
pub(super) fn cases(line_bytes: usize) -> Vec<Case> {
    let binary = || random_bytes(1, BINARY_BYTES);
    let typed = random_bytes(2, 300_000);
    let mut cases: Vec<_> = [0, 1, 43, 255]
        .into_iter()
        .map(|code| {
            let script = format!("echo out; echo error >&2; exit {code}");
            Case::new(format!("exit {code}, both streams"), script, "out\n")
                .stderr("error\n")
                .exit(Exit::Code(code))
        })
        .collect();
    cases.extend([
        Case::new("no output", ":", ""),
        Case::new("no final newline", "printf abc", "abc"),
        Case::new(
            "binary data on both streams",
            "cat $BINARY; cat $BINARY >&2",
            binary(),
        )
        .stderr(binary()),
        Case::new("input that is echoed", "cat", typed.clone()).input(Input::Bytes(typed.clone())),
        Case::new("input that is counted", "wc -c", "300000\n").input(Input::Bytes(typed)),
        Case::new("no input", "cat; echo end", "end\n"),
        Case::new("input that stays open", "echo out; exit 3", "out\n")
            .input(Input::Open)
            .exit(Exit::Code(3)),
        Case::new(
            "input that is closed early",
            "head -c 1000 | wc -c; exec 0<&-; cat $BINARY",
            [b"1000\n".to_vec(), binary()].concat(),
        )
        .input(Input::Endless),
        Case::new(
            "a terminal",
            "read line; stty size; printf \"got $line\"; exit 43",
            "abc\r\n30 90\r\ngot abc",
        )
        .input(Input::Bytes(b"abc\n".to_vec()))
        .exit(Exit::Code(43))
        .on_terminal(),
        Case::new(
            "a terminal with open input",
            "test -t 0 && test -t 1 && test -t 2 && echo yes",
            "yes\r\n",
        )
        .input(Input::Open)
        .on_terminal(),
        Case::new(
            "a tree that is ended",
            "setsid sleep 300 & (sleep 300 & sleep 300 &) ; sleep 300 & echo ready; wait; sleep 300",
            "ready\n",
        )
        .terminated(),
        Case::new(
            "one line",
            format!("head -c {line_bytes} /dev/zero | tr '\\0' x"),
            vec![b'x'; line_bytes],
        ),
    ]);
    let mut leaves = Case::new(
        "children in the background",
        "sleep 300 >/dev/null 2>&1 & echo out",
        "out\n",
    );
    leaves.expected.leaves = 1;
    let mut holds = Case::new("a child that holds the output", "sleep 300 & echo out", "out\n");
    (holds.expected.leaves, holds.expected.truncated) = (1, true);
    cases.extend([leaves, holds]);
    cases
}

/// A command for each signal that kills.
pub(super) fn signals() -> Vec<Case> {
    let case = |signal: i32| {
        let script = format!("ulimit -c 0; echo before; kill -{signal} $$; echo behind");
        Case::new(format!("signal {signal}"), script, "before\n").exit(Exit::Signal(signal))
    };
    KILLING.into_iter().map(case).collect()
}
