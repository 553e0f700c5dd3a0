//! Decides whether two starts request the same process.

use aws_lc_rs::digest;
use prost::Message;

use crate::exec::Start;

impl Start {
    /// SHA-256 of all parameters of the process: all fields except the epoch, `tell_repeated` and `received`, which belong
    /// to the attempt. Starts of one process id with the same parameters request the same process.
    pub fn parameters(&self) -> [u8; 32] {
        let parameters = Self {
            epoch: Default::default(),
            tell_repeated: false,
            received: Default::default(),
            ..self.clone()
        };
        let hash = digest::digest(&digest::SHA256, &parameters.encode_to_vec());
        let mut out = [0; 32];
        out.copy_from_slice(hash.as_ref());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Family, WindowSize};

    #[test]
    fn what_belongs_to_the_attempt_is_no_parameter_and_all_else_is() {
        let start = Start {
            argv: vec!["true".into()],
            ..Start::default()
        };
        let later = Start {
            epoch: vec![1; 16].into(),
            tell_repeated: true,
            received: vec![2; 16].into(),
            ..start.clone()
        };
        assert_eq!(start.parameters(), later.parameters());
        let others = [
            Start {
                argv: vec!["true".into(), "".into()],
                ..start.clone()
            },
            Start {
                cwd: "/".into(),
                ..start.clone()
            },
            Start {
                env: vec![Default::default()],
                ..start.clone()
            },
            Start {
                clear_env: true,
                ..start.clone()
            },
            Start {
                stdin: true,
                ..start.clone()
            },
            Start {
                drain_ms: Some(0),
                ..start.clone()
            },
            Start {
                thread_id: "t".into(),
                ..start.clone()
            },
            Start {
                title: "t".into(),
                ..start.clone()
            },
            Start {
                metadata: vec![Default::default()],
                ..start.clone()
            },
            Start {
                turn: 1,
                ..start.clone()
            },
            Start {
                step: "s".into(),
                ..start.clone()
            },
            Start {
                family: Family::Jsonl.into(),
                ..start.clone()
            },
            Start {
                grace_ms: 1,
                ..start.clone()
            },
            Start {
                kill_grace_ms: Some(0),
                ..start.clone()
            },
            Start {
                terminal: Some(WindowSize::default()),
                ..start.clone()
            },
            Start {
                login_shell: true,
                ..start.clone()
            },
        ];
        for other in others {
            assert_ne!(start.parameters(), other.parameters(), "{other:?}");
        }
    }
}
