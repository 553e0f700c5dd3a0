//! Features: optional parts of the protocol. Each end announces its own in the handshake; a session uses those of both.

/// A set of features. Feature n is bit n; `docs/PROTOCOL.md` section 5 lists the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(u64);

impl Features {
    /// Feature 0: the exec-server takes `MarkerReached` in a `Run`.
    pub const MARKERS: u32 = 0;
    /// Feature 1: the exec-server has `baton.files.v1.Files/FindUp`.
    pub const FIND_UP: u32 = 1;
    /// Feature 2: the exec-server lets a process outlive its session for `Start.grace_ms`.
    pub const OUTLIVES_SESSION: u32 = 2;
    /// Feature 3: the exec-server has `List`, `Read` and `Hash` of `baton.files.v1.Files`.
    pub const READ_FILES: u32 = 3;
    /// Feature 4: the exec-server has `Write` and `Mkdir` of `baton.files.v1.Files`.
    pub const WRITE_FILES: u32 = 4;
    /// Feature 5: the exec-server has `Attach`, for processes with a grace, and `Wait` of `baton.exec.v1.Exec`.
    pub const ATTACH: u32 = 5;
    /// Feature 6: the exec-server takes `Signal` in a `Run`, has `Signal` and `List` of `baton.exec.v1.Exec`, and heeds
    /// `Start.kill_grace_ms`.
    pub const SIGNALS: u32 = 6;
    /// Feature 7: the exec-server takes `WriteStart.resume` in a `Write` of `baton.files.v1.Files`.
    pub const RESUME_WRITES: u32 = 7;
    /// Feature 8: the exec-server heeds `Start.terminal` and `Start.login_shell`, and takes `WindowSize` in a `Run` and
    /// an `Attach` of `baton.exec.v1.Exec`.
    pub const TERMINALS: u32 = 8;
    /// Feature 12: the exec-server heeds the header `baton-user` of a `Run` of `baton.exec.v1.Exec`, and tells in
    /// `Started.user` which user the process runs as.
    pub const USERS: u32 = 12;
    /// Feature 10: the exec-server heeds `Start.detached`, `Start.drop_output` and `Start.tell_repeated`, and has `Poll`
    /// of `baton.exec.v1.Exec`.
    pub const DETACHED: u32 = 10;
    /// Feature 11: the exec-server tells in its records whose fault a failed command is, and heeds `faults` of
    /// `History` of `baton.metadata.v1.Metadata`.
    pub const FAULTS: u32 = 11;
    /// Feature 13: the exec-server has `Glob` and `Grep` of `baton.files.v1.Files`.
    pub const SEARCH_FILES: u32 = 13;
    /// Feature 14: the exec-server has `ReadMany` of `baton.files.v1.Files`.
    pub const READ_MANY: u32 = 14;

    /// The features of this version of Baton, whatever services an exec-server mounts.
    pub const SUPPORTED: Self = Self(1 << Self::MARKERS | Self::OPTIONAL);

    /// The features of services that an exec-server may not mount, or whose settings switch them off.
    const OPTIONAL: u64 = 1 << Self::FIND_UP
        | 1 << Self::OUTLIVES_SESSION
        | 1 << Self::READ_FILES
        | 1 << Self::WRITE_FILES
        | 1 << Self::ATTACH
        | 1 << Self::SIGNALS
        | 1 << Self::RESUME_WRITES
        | 1 << Self::TERMINALS
        | 1 << Self::DETACHED
        | 1 << Self::FAULTS
        | 1 << Self::USERS
        | 1 << Self::SEARCH_FILES
        | 1 << Self::READ_MANY;

    /// The set without the features of services that an exec-server may not mount, or whose settings switch them off.
    #[must_use]
    pub const fn without_services(self) -> Self {
        Self(self.0 & !Self::OPTIONAL)
    }

    /// The set with feature `number`. A number above 63 changes nothing.
    #[must_use]
    pub const fn with(self, number: u32) -> Self {
        match number < u64::BITS {
            true => Self(self.0 | 1 << number),
            false => self,
        }
    }

    /// The set that a peer announced. Unknown bits stay in it; [`common`](Self::common) removes them.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set as it is announced.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The features in both sets.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the set has feature `number`. No set has a number above 63.
    pub const fn has(self, number: u32) -> bool {
        number < u64::BITS && self.0 >> number & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_uses_the_features_that_both_ends_announce() {
        let (ours, theirs) = (Features::from_bits(0b0110), Features::from_bits(0b1100));
        assert_eq!(ours.common(theirs), theirs.common(ours));
        let used: Vec<u32> = (0..100)
            .filter(|number| ours.common(theirs).has(*number))
            .collect();
        assert_eq!(used, [2]);
    }

    #[test]
    fn a_service_that_may_be_missing_is_announced_by_itself() {
        let bare = Features::SUPPORTED.without_services();
        assert!(bare.has(Features::MARKERS));
        let services = [
            Features::FIND_UP,
            Features::OUTLIVES_SESSION,
            Features::READ_FILES,
            Features::WRITE_FILES,
            Features::ATTACH,
            Features::SIGNALS,
            Features::RESUME_WRITES,
            Features::TERMINALS,
            Features::DETACHED,
            Features::USERS,
            Features::FAULTS,
            Features::SEARCH_FILES,
            Features::READ_MANY,
        ];
        assert!(services.iter().all(|feature| !bare.has(*feature)));
        assert_eq!(
            services.into_iter().fold(bare, Features::with),
            Features::SUPPORTED
        );
    }

    #[test]
    fn feature_n_is_bit_n() {
        assert!(Features::from_bits(1).has(0) && Features::from_bits(1 << 63).has(63));
        assert!(!Features::from_bits(u64::MAX).has(64));
    }
}
