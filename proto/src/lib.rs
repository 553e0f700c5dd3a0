//! The wire of Baton: generated messages, identifiers, and the limits that both ends must agree on. The services over
//! them are in `baton-rpc`.
//!
//! Six packages, from the outside in: [`relay`] is visible to a relay, [`channel`] is inside the Noise transport
//! messages, [`exec`] is the service that runs processes, [`files`] looks at files, [`metadata`] is the service for
//! records of processes, [`warm`] the board of warm sessions.
//! `docs/PROTOCOL.md` specifies them.

mod error_details;
mod exec_error;
mod features;
mod files_error;
pub mod header;
mod id;
pub mod limits;
mod part;
pub mod registration;
mod signal;
mod start;

pub use features::Features;
pub use id::{Epoch, ExecServerId, IdError, ProcessId, SessionId};
pub use part::part_name;
pub use signal::{Signal, UnknownSignal};

/// `baton.relay.v1`: the outer wire.
pub mod relay {
    #![allow(missing_docs, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/baton.relay.v1.rs"));
}

/// `baton.channel.v1`: frame bodies inside the Noise channel, and the ticket.
pub mod channel {
    #![allow(missing_docs, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/baton.channel.v1.rs"));
}

/// `baton.exec.v1`: runs processes.
pub mod exec {
    #![allow(missing_docs, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/baton.exec.v1.rs"));
}

/// `baton.files.v1`: looks at the exec-server's file system.
pub mod files {
    #![allow(missing_docs, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/baton.files.v1.rs"));
}

/// `baton.metadata.v1`: records of processes, and threads.
pub mod metadata {
    #![allow(missing_docs, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/baton.metadata.v1.rs"));
}

/// `baton.warm.v1`: the board of warm sessions.
pub mod warm {
    #![allow(missing_docs, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/baton.warm.v1.rs"));
}

/// The protocol version that both ends put into the Noise prologue and the registration proof.
pub const PROTOCOL_VERSION: u32 = 2;
