//! The channel's fuzz targets: every message of relays and peers that it decodes, and every text that users paste.
//! They exclude what dependencies decode: HTTP/2 (hyper), TLS and certificates (rustls).

use std::sync::Arc;

use baton_fuzz::Target;
use baton_noise::key::Seed;
use baton_proto::channel::Metadata;
use http::HeaderMap;

use crate::allow::{AllowList, Peer, Trust};

/// All targets of this crate.
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

/// An allowed client, for the targets of the crates above.
pub fn peer() -> Arc<Peer> {
    let key = *Seed::from_bytes([1; 32])
        .client_key()
        .expect("any seed is a key")
        .public();
    let found = AllowList::only(key, "fuzz", Trust::Continue).find(&key);
    Arc::new(found.ok().flatten().expect("it is on the list"))
}

/// Metadata as a call's receiver gets it, for the targets of the crates above.
pub fn metadata_to_headers(entries: Vec<(String, Vec<u8>)>) -> Option<HeaderMap> {
    let entry = |(key, value): (String, Vec<u8>)| Metadata {
        key,
        value: value.into(),
    };
    crate::service::to_headers(entries.into_iter().map(entry).collect())
}
