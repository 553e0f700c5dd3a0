//! The channel's fuzz targets: everything that relays and peers send and it decodes, and the texts that people paste into it. HTTP/2 is
//! hyper's, TLS and certificates are rustls's.

use std::sync::Arc;

use baton_fuzz::Target;
use baton_noise::key::Seed;
use baton_proto::channel::Metadata;
use http::HeaderMap;

use crate::allow::{AllowList, Peer, Trust};

/// All of them.
pub const TARGETS: &[Target] = &[
    crate::outer::fuzz::FRAMES,
    crate::link::register::fuzz::REGISTRATION,
    crate::link::fuzz::WORDS,
    crate::link::dial::fuzz::SERVER_HELLO,
    crate::service::KEY_FRAMES,
    crate::service::established::fuzz::SESSION,
    crate::service::METADATA,
    crate::service::record::fuzz::TIMINGS,
    crate::ticket::fuzz::TICKET,
    crate::allow::fuzz::ALLOW_LIST,
];

/// For the targets of the crates above: a client that is allowed.
pub fn peer() -> Arc<Peer> {
    let key = *Seed::from_bytes([1; 32])
        .client_key()
        .expect("any seed is a key")
        .public();
    let found = AllowList::only(key, "fuzz", Trust::Continue).find(&key);
    Arc::new(found.ok().flatten().expect("it is on the list"))
}

/// For the targets of the crates above: metadata as a call's caller gets it.
pub fn metadata_to_headers(entries: Vec<(String, Vec<u8>)>) -> Option<HeaderMap> {
    let entry = |(key, value): (String, Vec<u8>)| Metadata {
        key,
        value: value.into(),
    };
    crate::service::to_headers(entries.into_iter().map(entry).collect())
}
