//! The codecs of the services: protobuf with Baton's own errors.
//!
//! | package | codec | a message implements |
//! |---|---|---|
//! | `baton.exec.v1` | [`CheckedCodec`], which checks a message before it decodes it | [`Checked`] |
//! | `baton.warm.v1` | the same | the same |
//! | `baton.files.v1`, `baton.metadata.v1` | [`PlainCodec`] | [`Decoded`], by its name in `decoded!` |
//!
//! A request that does not decode is the client's fault: `INVALID_ARGUMENT`. tonic's own codec would answer `INTERNAL`,
//! with the text of the protobuf library.
//!
//! A repeated field costs two bytes on the wire and up to a hundred in memory, so with only a limit on bytes a peer
//! could make the receiver allocate fifty times the bytes that it sends. The entries of a [`RunRequest`] and of a
//! [`WarmState`] are counted in the encoded message. One with too many is refused before anything is allocated.

use std::fmt;

use bytes::Buf as _;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::{Code, Status};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use baton_proto::exec::exec_error::Kind;
use baton_proto::exec::{
    ExecError, ListRequest, ListResponse, PollRequest, PollResponse, ProcessEvent, RunRequest, SignalRequest,
    SignalResponse, WaitRequest,
};
use baton_proto::limits::{
    ARGUMENTS_MAX, ENVIRONMENT_MAX, FILES_REQUEST_MAX, PAGE_ITEMS_MAX, POLL_EVENTS_MAX, SEARCH_REQUEST_MAX,
    THREAD_METADATA_ENTRIES_MAX, WARM_HISTORY_MAX, WRITE_REQUEST_MAX,
};
use baton_proto::warm::{PingRequest, PingResponse, PublishResponse, WarmState, WatchRequest};
use baton_proto::{files, metadata};

/// The codec of services whose messages are checked before they are decoded ([`Checked`]).
pub struct CheckedCodec<T, U>(ProstCodec<T, U>);

/// The decoder of [`CheckedCodec`].
pub struct CheckedDecoder<U>(ProstDecoder<U>);

/// A message that is checked before it is decoded.
pub trait Checked {
    /// Refuses messages beyond the limits. Invalid protobuf passes, because the decoder refuses it.
    fn check(wire: &[u8]) -> Result<(), Status>;
}

impl<T, U> Default for CheckedCodec<T, U> {
    fn default() -> Self {
        Self(ProstCodec::default())
    }
}

impl<T, U> Codec for CheckedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Checked + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = CheckedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        self.0.encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        CheckedDecoder(self.0.decoder())
    }
}

impl<U: Message + Default + Checked> Decoder for CheckedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // tonic passes one message in one contiguous buffer.
        debug_assert_eq!(buf.chunk().len(), buf.remaining());
        U::check(buf.chunk())?;
        self.0.decode(buf)
    }
}

/// The codec of services whose messages are small. A message that does not decode gets Baton's own error ([`Decoded`]).
pub struct PlainCodec<T, U>(ProstCodec<T, U>);

/// The decoder of [`PlainCodec`].
pub struct PlainDecoder<U>(ProstDecoder<U>);

/// A message with the error that is returned if it does not decode.
pub trait Decoded {
    /// Bytes of the encoded message, at most. A longer one is refused before it is decoded.
    const LONGEST: usize;

    /// The error if the message does not decode.
    fn unreadable() -> Status;
}

impl<T, U> Default for PlainCodec<T, U> {
    fn default() -> Self {
        Self(ProstCodec::default())
    }
}

impl<T, U> Codec for PlainCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Decoded + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = PlainDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        self.0.encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        PlainDecoder(self.0.decoder())
    }
}

impl<U: Message + Default + Decoded> Decoder for PlainDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let len = buf.remaining();
        if len > U::LONGEST {
            let max = U::LONGEST;
            return Err(Status::out_of_range(format!(
                "the message has {len} bytes, and at most {max} are taken"
            )));
        }
        self.0.decode(buf).map_err(|_| U::unreadable())
    }
}

macro_rules! decoded {
    ($error:expr; $max:expr; $($package:ident::$message:ident)*) => {
        $(impl Decoded for $package::$message {
            const LONGEST: usize = $max;

            fn unreadable() -> Status {
                $error
            }
        })*
    };
}

const BAD_REQUEST: &str = "the request does not decode: send the protobuf message of this method";

decoded! {
    Status::invalid_argument(BAD_REQUEST); FILES_REQUEST_MAX;
    files::StatRequest files::FindUpRequest files::ListRequest files::ReadRequest files::HashRequest
    files::MkdirRequest files::ReadManyRequest
}

decoded! {
    Status::invalid_argument(BAD_REQUEST); SEARCH_REQUEST_MAX;
    files::GlobRequest files::GrepRequest
}

decoded! {
    Status::invalid_argument(BAD_REQUEST); WRITE_REQUEST_MAX;
    files::WriteRequest
}

// The server and the client limit these.
decoded! {
    Status::invalid_argument(BAD_REQUEST); usize::MAX;
    metadata::HistoryRequest metadata::ShowRequest metadata::ThreadsRequest metadata::ThreadShowRequest
    metadata::ThreadUpdateRequest metadata::ThreadArchiveRequest metadata::ThreadDeleteRequest metadata::FlushRequest
}

decoded! {
    Status::internal("the exec-server sent an answer that does not decode"); usize::MAX;
    files::StatResponse files::FindUpResponse files::ListPage files::ReadResponse files::HashResponse
    files::WriteResponse files::MkdirResponse files::GlobResponse files::GrepResponse files::ReadManyResponse
    metadata::HistoryPage metadata::ShowResponse metadata::ThreadsPage metadata::ThreadShowResponse
    metadata::ThreadUpdateResponse metadata::ThreadArchiveResponse metadata::ThreadDeleteResponse
    metadata::FlushResponse
}

impl Checked for ProcessEvent {
    /// It has no repeated field.
    fn check(_: &[u8]) -> Result<(), Status> {
        Ok(())
    }
}

impl Checked for RunRequest {
    fn check(wire: &[u8]) -> Result<(), Status> {
        // The decoder merges several `start` fields into one.
        let mut entries = Entries::default();
        fields(wire, &mut |tag, start| {
            if tag == 1 {
                fields(start, &mut |tag, _| entries.count(tag));
            }
        });
        let beyond = [
            (entries.arguments, ARGUMENTS_MAX, "arguments"),
            (entries.variables, ENVIRONMENT_MAX, "environment variables"),
            (
                entries.metadata,
                THREAD_METADATA_ENTRIES_MAX,
                "entries of thread metadata",
            ),
        ];
        match beyond.into_iter().find(|(count, max, _)| count > max) {
            None => Ok(()),
            Some((count, max, what)) => Err(refusal(&format_args!(
                "a start has at most {max} {what}, and this one has {count}; nothing ran; pass long lists in a file or on standard input"
            ))),
        }
    }
}

impl Checked for ListResponse {
    fn check(wire: &[u8]) -> Result<(), Status> {
        let mut processes = 0;
        fields(wire, &mut |tag, _| processes += usize::from(tag == 1));
        if processes > PAGE_ITEMS_MAX {
            return Err(Status::internal(format!(
                "the exec-server sent a page of {processes} processes, and one has at most {PAGE_ITEMS_MAX}"
            )));
        }
        Ok(())
    }
}

impl Checked for PollResponse {
    fn check(wire: &[u8]) -> Result<(), Status> {
        let mut events = 0;
        fields(wire, &mut |tag, _| events += usize::from(tag == 1));
        if events > POLL_EVENTS_MAX {
            return Err(Status::internal(format!(
                "the exec-server sent {events} events in one answer, and one has at most {POLL_EVENTS_MAX}"
            )));
        }
        Ok(())
    }
}

impl Checked for WarmState {
    fn check(wire: &[u8]) -> Result<(), Status> {
        let mut warms = 0;
        fields(wire, &mut |tag, _| warms += usize::from(tag == 8));
        if warms > WARM_HISTORY_MAX {
            return Err(Status::invalid_argument(format!(
                "a history has at most {WARM_HISTORY_MAX} warms, and this one has {warms}; send the last ones"
            )));
        }
        Ok(())
    }
}

macro_rules! unrepeated {
    ($($message:ident)*) => {
        $(impl Checked for $message {
            /// It has no repeated field, so it is decoded twice at little cost, for an error of our own.
            fn check(wire: &[u8]) -> Result<(), Status> {
                let unreadable =
                    |_| Status::invalid_argument("the message does not decode: send that of this method");
                Self::decode(wire).map(drop).map_err(unreadable)
            }
        })*
    };
}

unrepeated! {
    WatchRequest PingRequest PingResponse PublishResponse SignalRequest SignalResponse ListRequest WaitRequest
    PollRequest
}

/// The number of repeated entries of a `Start`.
#[derive(Default)]
struct Entries {
    arguments: usize,
    variables: usize,
    metadata: usize,
}

impl Entries {
    fn count(&mut self, tag: u32) {
        match tag {
            3 => self.arguments += 1,
            5 => self.variables += 1,
            11 => self.metadata += 1,
            _ => {}
        }
    }
}

fn refusal(message: &fmt::Arguments<'_>) -> Status {
    let error = ExecError {
        kind: Kind::InvalidStart.into(),
        message: message.to_string(),
    };
    let details = error.to_details(Code::InvalidArgument.into());
    Status::with_details(Code::InvalidArgument, error.message, details)
}

/// Visits the length-delimited fields, until the end or the first invalid one.
fn fields<'a>(mut wire: &'a [u8], visit: &mut dyn FnMut(u32, &'a [u8])) {
    while let Ok((tag, wire_type)) = decode_key(&mut wire) {
        if wire_type != WireType::LengthDelimited {
            if skip_field(wire_type, tag, &mut wire, DecodeContext::default()).is_err() {
                return;
            }
            continue;
        }
        let Ok(len) = decode_varint(&mut wire) else { return };
        let Some((field, rest)) = usize::try_from(len)
            .ok()
            .and_then(|len| wire.split_at_checked(len))
        else {
            return;
        };
        visit(tag, field);
        wire = rest;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use baton_proto::exec::{EnvironmentVariable, Start, ThreadMetadata, run_request};

    fn wire(start: Start) -> Vec<u8> {
        let kind = Some(run_request::Kind::Start(start));
        RunRequest { kind }.encode_to_vec()
    }

    fn full() -> Start {
        Start {
            process_id: vec![1; 16].into(),
            stdin: true,
            drain_ms: Some(7),
            argv: vec![Bytes::from_static(b"a"); ARGUMENTS_MAX],
            env: vec![EnvironmentVariable::default(); ENVIRONMENT_MAX],
            metadata: vec![ThreadMetadata::default(); THREAD_METADATA_ENTRIES_MAX],
            ..Start::default()
        }
    }

    #[test]
    fn a_start_with_as_many_entries_as_it_may_have_is_decoded_and_one_more_is_not() {
        assert!(RunRequest::check(&wire(full())).is_ok());
        let more: [fn(&mut Start); 3] = [
            |start| start.argv.push(Bytes::new()),
            |start| start.env.push(EnvironmentVariable::default()),
            |start| start.metadata.push(ThreadMetadata::default()),
        ];
        for add in more {
            let mut start = full();
            add(&mut start);
            let refused = RunRequest::check(&wire(start)).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            let detail = ExecError::from_details(refused.details()).unwrap();
            assert_eq!(detail.kind(), Kind::InvalidStart);
            assert!(refused.message().contains("at most"), "{refused}");
        }
    }

    #[test]
    fn entries_of_several_starts_in_one_request_are_counted_together() {
        let twice = [wire(full()), wire(full())].concat();
        assert!(RunRequest::check(&twice).is_err());
        let decoded = RunRequest::decode(&*twice).unwrap();
        let Some(run_request::Kind::Start(start)) = decoded.kind else {
            panic!("{decoded:?}")
        };
        assert_eq!(start.env.len(), 2 * ENVIRONMENT_MAX, "the decoder merges them");
    }

    #[test]
    fn a_warm_state_with_a_history_beyond_its_bound_is_not_decoded() {
        let state = |warms| WarmState {
            history: vec![Default::default(); warms],
            ..WarmState::default()
        };
        let check = |state: WarmState| WarmState::check(&state.encode_to_vec());
        assert!(check(state(WARM_HISTORY_MAX)).is_ok());
        let refused = check(state(WARM_HISTORY_MAX + 1)).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(
            WatchRequest::check(b"\xff").unwrap_err().code(),
            Code::InvalidArgument
        );
    }

    #[test]
    fn a_page_of_processes_beyond_its_bound_is_not_decoded() {
        let check = |processes| {
            let page = ListResponse {
                processes: vec![Default::default(); processes],
                more: false,
            };
            ListResponse::check(&page.encode_to_vec())
        };
        assert!(check(PAGE_ITEMS_MAX).is_ok());
        assert_eq!(check(PAGE_ITEMS_MAX + 1).unwrap_err().code(), Code::Internal);
    }

    #[test]
    fn an_answer_to_a_poll_beyond_its_bound_is_not_decoded() {
        let check = |events| {
            let answer = PollResponse {
                events: vec![Default::default(); events],
            };
            PollResponse::check(&answer.encode_to_vec())
        };
        assert!(check(POLL_EVENTS_MAX).is_ok());
        assert_eq!(check(POLL_EVENTS_MAX + 1).unwrap_err().code(), Code::Internal);
    }

    #[test]
    fn what_is_no_protobuf_is_left_to_the_decoder() {
        for garbage in [
            &b"\xff"[..],
            b"\x0a\x7f",
            b"\x0a\x02\x2a\x7f",
            b"\x0b\x0c",
            b"\x0f\x01",
        ] {
            assert!(RunRequest::check(garbage).is_ok(), "{garbage:?}");
        }
    }
}
