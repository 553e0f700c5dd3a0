//! Stages of any call over the channel.

use super::Component::{Client, Relay, Server};
use super::{StageDef, StageId, StageKind};

/// The envelope: the CLIENT span of the call.
pub const CALL: StageId = StageId(1);
/// The client side until `Head` is queued.
pub const DISPATCH: StageId = StageId(2);
/// Connecting to the relay.
pub const CONNECT_DIAL: StageId = StageId(3);
/// Waiting for the exec-server to accept.
pub const CONNECT_PAIR: StageId = StageId(4);
/// The rest of the Noise handshake after pairing.
pub const CONNECT_HANDSHAKE: StageId = StageId(5);
/// The time of the request's `Head` in the send queue.
pub const CLIENT_QUEUE: StageId = StageId(6);
/// Encrypting it.
pub const CLIENT_SEAL: StageId = StageId(7);
/// Transfer to the exec-server, through the relay.
pub const TRANSIT: StageId = StageId(8);
/// The time in the relay's queue, by its stamp.
pub const RELAY_QUEUE: StageId = StageId(9);
/// Receiving the frame in the relay, by its stamp.
pub const RELAY_FORWARD: StageId = StageId(10);
/// Decrypting and decoding.
pub const SERVER_OPEN: StageId = StageId(11);
/// Waiting for the handler.
pub const SERVER_QUEUE: StageId = StageId(12);
/// The call at the exec-server, from the arrival of the request to the last data of the response: the SERVER span of
/// the call.
pub const RPC: StageId = StageId(13);
/// The time of the response's last data frame in the send queue.
pub const TERMINAL_QUEUE: StageId = StageId(14);
/// Encrypting it.
pub const TERMINAL_SEAL: StageId = StageId(15);
/// Transfer back to the client.
pub const TERMINAL_TRANSIT: StageId = StageId(16);
/// The time in the relay's queue on the return path.
pub const TERMINAL_RELAY_QUEUE: StageId = StageId(17);
/// Receiving the frame in the relay on the return path.
pub const TERMINAL_RELAY_FORWARD: StageId = StageId(18);
/// Decrypting and decoding the last data frame.
pub const TERMINAL_OPEN: StageId = StageId(19);
/// Delivery to the caller.
pub const TERMINAL_NOTIFY: StageId = StageId(20);
/// Without a session, until the client is attached to its process again.
pub const RECOVER: StageId = StageId(21);

#[rustfmt::skip]
/// The table, in waterfall order.
pub const STAGES: &[StageDef] = &[
    row(CALL, "call", None, StageKind::Client, "call", "Trailers handed to the caller", Client, false),
    row(DISPATCH, "dispatch", Some(CALL), StageKind::Internal, "call", "Head queued", Client, true),
    row(CONNECT_DIAL, "connect.dial", Some(DISPATCH), StageKind::Internal, "session wanted", "connected to the relay", Client, false),
    row(CONNECT_PAIR, "connect.pair", Some(DISPATCH), StageKind::Internal, "Dial sent", "exec-server accepted", Client, false),
    row(CONNECT_HANDSHAKE, "connect.handshake", Some(DISPATCH), StageKind::Internal, "exec-server accepted", "Noise message 2 opened", Client, false),
    row(CLIENT_QUEUE, "client.queue", Some(CALL), StageKind::Internal, "Head queued", "taken by the writer", Client, true),
    row(CLIENT_SEAL, "client.seal", Some(CALL), StageKind::Internal, "taken by the writer", "encrypted and handed to the link", Client, true),
    row(TRANSIT, "transit", Some(CALL), StageKind::Internal, "handed to the link", "received by the server's link", Client, true),
    row(RELAY_QUEUE, "relay.queue", Some(TRANSIT), StageKind::Internal, "frame complete in the relay", "taken by the outgoing stream", Relay, true),
    row(RELAY_FORWARD, "relay.forward", Some(TRANSIT), StageKind::Internal, "first byte of the frame seen", "last byte of the frame seen", Relay, true),
    row(RPC, "rpc", Some(CALL), StageKind::Server, "received", "last data encrypted, or without data Trailers", Server, false),
    row(SERVER_OPEN, "server.open", Some(RPC), StageKind::Internal, "received", "decrypted and decoded", Server, true),
    row(SERVER_QUEUE, "server.queue", Some(RPC), StageKind::Internal, "decoded", "handler starts", Server, true),
    row(TERMINAL_QUEUE, "terminal.queue", Some(RPC), StageKind::Internal, "last data frame queued", "taken by the writer", Server, true),
    row(TERMINAL_SEAL, "terminal.seal", Some(RPC), StageKind::Internal, "taken by the writer", "encrypted and handed to the link", Server, true),
    row(RECOVER, "recover", Some(CALL), StageKind::Internal, "session lost", "attached again", Client, true),
    row(TERMINAL_TRANSIT, "terminal.transit", Some(CALL), StageKind::Internal, "handed to the link", "received by the client's link", Client, true),
    row(TERMINAL_RELAY_QUEUE, "terminal.relay.queue", Some(TERMINAL_TRANSIT), StageKind::Internal, "frame complete in the relay", "taken by the outgoing stream", Relay, true),
    row(TERMINAL_RELAY_FORWARD, "terminal.relay.forward", Some(TERMINAL_TRANSIT), StageKind::Internal, "first byte of the frame seen", "last byte of the frame seen", Relay, true),
    row(TERMINAL_OPEN, "terminal.open", Some(CALL), StageKind::Internal, "received", "decrypted and decoded", Client, true),
    row(TERMINAL_NOTIFY, "terminal.notify", Some(CALL), StageKind::Internal, "decoded", "in the caller's hands", Client, true),
];

#[allow(clippy::too_many_arguments)] // One argument per column keeps the table readable.
const fn row(
    id: StageId,
    name: &'static str,
    parent: Option<StageId>,
    kind: StageKind,
    from: &'static str,
    to: &'static str,
    exporter: super::Component,
    covers: bool,
) -> StageDef {
    StageDef {
        id,
        name,
        parent,
        kind,
        from,
        to,
        exporter,
        covers,
    }
}
