//! Encodes an error in gRPC's richer error model: a `google.rpc.Status` in `grpc-status-details-bin`
//! (<https://google.aip.dev/193>), so that tools of every language can read it.

use bytes::Bytes;
use prost::Message;
use prost_types::Any;

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

/// The details of a status of this gRPC code and message, with one error. `name` is the full name of its message type.
pub(crate) fn encode(name: &str, error: &impl Message, code: i32, message: &str) -> Bytes {
    let status = Status {
        code,
        message: message.to_owned(),
        details: vec![Any {
            type_url: format!("type.googleapis.com/{name}"),
            value: error.encode_to_vec(),
        }],
    };
    status.encode_to_vec().into()
}

/// The first error of this type in the details of a status. `None` if there is none, or if they are no
/// `google.rpc.Status`.
pub(crate) fn decode<E: Message + Default>(name: &str, details: &[u8]) -> Option<E> {
    let status = Status::decode(details).ok()?;
    let is_ours = |any: &&Any| any.type_url.rsplit('/').next() == Some(name);
    let any = status.details.iter().find(is_ours)?;
    E::decode(&*any.value).ok()
}
