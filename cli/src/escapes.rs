//! The escapes of a terminal, as ssh has them: `~` at the beginning of a line, and a further key.
//!
//! A state machine without IO. Keys arrive in pieces of any size. A `~` at the beginning of a line is held back until
//! the next key shows whether it begins an escape.

/// What a user asks Baton for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escape {
    /// `~.`: end the command, and leave.
    Leave,
    /// `~d`: leave, and let the command run on.
    Detach,
    /// `~?`: list the escapes.
    Help,
    /// Ctrl-C while the connection is lost: the command cannot get it.
    Interrupt,
    /// The terminal is gone.
    HangUp,
}

/// A part of what was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Typed {
    /// For the command; not empty.
    Keys(Vec<u8>),
    Escape(Escape),
}

/// Finds the escapes in what is typed.
#[derive(Debug, Default)]
pub(crate) struct EscapeDetector {
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No key since the last newline, or none at all.
    #[default]
    LineStart,
    /// After another key of the line.
    Inside,
    /// After a `~` at the beginning of a line, which is held back.
    Tilde,
}

impl EscapeDetector {
    /// The parts of `input`, in order.
    pub(crate) fn feed(&mut self, input: &[u8]) -> Vec<Typed> {
        let (mut parts, mut keys) = (Vec::new(), Vec::new());
        for &key in input {
            let escape = match (self.state, key) {
                (State::LineStart, b'~') => {
                    self.state = State::Tilde;
                    continue;
                }
                (State::Tilde, b'.') => Escape::Leave,
                (State::Tilde, b'd') => Escape::Detach,
                (State::Tilde, b'?') => Escape::Help,
                (State::Tilde, b'~') => {
                    self.state = State::Inside;
                    keys.push(b'~');
                    continue;
                }
                (state, key) => {
                    if state == State::Tilde {
                        keys.push(b'~');
                    }
                    keys.push(key);
                    self.state = match key {
                        b'\r' | b'\n' => State::LineStart,
                        _ => State::Inside,
                    };
                    continue;
                }
            };
            self.state = State::LineStart;
            if !keys.is_empty() {
                parts.push(Typed::Keys(std::mem::take(&mut keys)));
            }
            parts.push(Typed::Escape(escape));
        }
        if !keys.is_empty() {
            parts.push(Typed::Keys(keys));
        }
        parts
    }

    /// What is held back at the end of input.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        (self.state == State::Tilde).then(|| vec![b'~'])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys and the escapes of pieces, as text: `<.>` is an escape.
    fn typed(pieces: &[&[u8]]) -> String {
        let mut detector = EscapeDetector::default();
        let mut text = String::new();
        for piece in pieces {
            for part in detector.feed(piece) {
                match part {
                    Typed::Keys(keys) => {
                        assert!(!keys.is_empty());
                        text += std::str::from_utf8(&keys).unwrap();
                    }
                    Typed::Escape(Escape::Leave) => text += "<.>",
                    Typed::Escape(Escape::Detach) => text += "<d>",
                    Typed::Escape(Escape::Help) => text += "<?>",
                    Typed::Escape(Escape::Interrupt | Escape::HangUp) => panic!("no key is it"),
                }
            }
        }
        let held = detector.finish().unwrap_or_default();
        text + std::str::from_utf8(&held).unwrap()
    }

    #[test]
    fn an_escape_begins_a_line() {
        for (keys, expected) in [
            ("~.", "<.>"),
            ("~d", "<d>"),
            ("ls\r~?", "ls\r<?>"),
            ("ls\n~.", "ls\n<.>"),
            ("a~.", "a~."),
            ("~~.", "~."),
            ("~~", "~"),
            ("~x", "~x"),
            ("~\r~.", "~\r<.>"),
            ("~?~.", "<?><.>"),
            ("~", "~"),
            ("cd ~/x\r", "cd ~/x\r"),
            ("~/bin/x\r", "~/bin/x\r"),
            ("", ""),
        ] {
            assert_eq!(typed(&[keys.as_bytes()]), expected, "{keys:?}");
        }
    }

    /// Every text of up to six of the keys that matter.
    fn texts() -> Vec<Vec<u8>> {
        let mut all = vec![Vec::new()];
        let mut begin = 0;
        for _ in 0..6 {
            let longest = all[begin..].to_vec();
            begin = all.len();
            for text in longest {
                let longer = b"~.d?\ra".iter().map(|key| [&text[..], &[*key]].concat());
                all.extend(longer);
            }
        }
        all
    }

    #[test]
    fn the_pieces_in_which_keys_arrive_make_no_difference() {
        for text in texts() {
            let whole = typed(&[&text]);
            for at in 1..text.len() {
                let (first, second) = text.split_at(at);
                assert_eq!(typed(&[first, second]), whole, "{text:?} at {at}");
            }
        }
    }

    #[test]
    fn every_key_outside_of_an_escape_reaches_the_command() {
        for text in texts() {
            // By the rules: `~` is an escape's, or an escaped one, only behind a newline.
            let (mut expected, mut at_start, mut index) = (String::new(), true, 0);
            while index < text.len() {
                let key = text[index];
                let next = text.get(index + 1);
                match (at_start && key == b'~', next) {
                    (true, Some(b'.' | b'd' | b'?')) => {
                        expected += &format!("<{}>", char::from(text[index + 1]));
                        index += 2;
                    }
                    (true, Some(b'~')) => {
                        expected.push('~');
                        at_start = false;
                        index += 2;
                    }
                    _ => {
                        expected.push(char::from(key));
                        at_start = key == b'\r';
                        index += 1;
                    }
                }
            }
            assert_eq!(typed(&[&text]), expected, "{text:?}");
        }
    }
}
