//! The gRPC services and clients of Baton, generated over the messages of `baton-proto`.
//!
//! Each module has the name of its package in `baton-proto`. [`codec`] decodes `baton.exec.v1`, `baton.files.v1`,
//! `baton.metadata.v1` and `baton.warm.v1`, and refuses messages that do not decode or have too many entries.
//! `baton-proto` depends on no gRPC library, so that crates without one can use its messages.

pub mod codec;

/// Services of `baton.relay.v1`: registration, dial and accept.
pub mod relay {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("baton.relay.v1");
}

/// Services of `baton.exec.v1`: runs processes.
pub mod exec {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("baton.exec.v1");
}

/// Services of `baton.files.v1`: looks at the exec-server's file system.
pub mod files {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("baton.files.v1");
}

/// Services of `baton.metadata.v1`: records of processes, and threads.
pub mod metadata {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("baton.metadata.v1");
}

/// Services of `baton.warm.v1`: the board of warm sessions.
pub mod warm {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("baton.warm.v1");
}
