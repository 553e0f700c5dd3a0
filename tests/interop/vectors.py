#!/usr/bin/env python3
"""Checks the test vectors of docs/vectors with this client's own code: `vectors.py FOLDER`.

Each file has one subject. Each function below checks one kind of case: it encodes and decodes, where the kind has both
directions. A file, a kind or a case without a check fails."""

import base64
import binascii
import hashlib
import json
import pathlib
import re
import struct
import sys
import urllib.parse
import warnings

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.exceptions import NoiseInvalidMessage

from client import EXEC_ERRORS, GO_AWAY_REASONS
from handshake import Handshake
from wire import (SUITE, VERSION, Malformed, Message, Ticket, base64url, derive, exec_server_id, field, fixed64, frame,
                  noise_private, parts, prologue, public_bytes, registration_key, signed_message, span_id, timings,
                  varint)

CLIENT, SERVER = "client", "exec-server"
WINDOW = 1_835_008


class Wrong(Exception):
    """A vector does not hold."""


def same(what, computed, written):
    if computed != written:
        shown = [value.hex() if isinstance(value, bytes) else value for value in (computed, written)]
        raise Wrong(f"{what}: computed {shown[0]}, the file has {shown[1]}")


def refuses(what, errors, action, *arguments):
    try:
        action(*arguments)
    except errors:
        return
    raise Wrong(f"{what} was accepted")


def data(case, member):
    return bytes.fromhex(case[member])


def optional(number, value):
    """A field of proto3: absent where it is 0 or empty."""
    return field(number, value) if value else b""


def optional64(number, value):
    return fixed64(number, value) if value else b""


# Section 2.


def canonical(text):
    """Decodes base64url without padding, in its canonical form only (section 2)."""
    if re.search(r"[^A-Za-z0-9_-]", text) or len(text) % 4 == 1:
        raise Malformed("not base64url")
    decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64url(decoded) != text:
        raise Malformed("bits behind the last byte")
    return decoded


P = 2**255 - 19
ORDER_8 = [bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
           bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157")]


def public_key_error(text):
    """What is wrong with a public key's text; None: nothing."""
    suite, _, encoded = text.partition(":")
    try:
        key = canonical(encoded)
    except Malformed:
        return "malformed"
    if suite != SUITE or len(key) != 32:
        return "malformed"
    value = int.from_bytes(key, "little") & (1 << 255) - 1
    orders = [int.from_bytes(point, "little") for point in ORDER_8]
    return "low order" if value in [0, 1, P - 1, P, P + 1, *orders] else None


def key_file_seed(text):
    tag, _, encoded = text.strip().partition(" ")
    seed = canonical(encoded)
    if tag != "baton-key-v1" or len(seed) != 32:
        raise Malformed("no key file")
    return seed


def noise_key(case):
    seed, private = data(case, "seed"), data(case, "private_key")
    same("seed of the file", key_file_seed(case["key_file"]), seed)
    same("key file", f"baton-key-v1 {base64url(seed)}\n", case["key_file"])
    same("private key", noise_private(seed), private)
    public = public_bytes(X25519PrivateKey.from_private_bytes(private))
    same("public key", public, data(case, "public_key"))
    same("public key as text", f"{SUITE}:{base64url(public)}", case["public_key_text"])
    same("error", public_key_error(case["public_key_text"]), None)


def a_registration_key(case):
    key = registration_key(data(case, "seed"))
    same("private key", key.private_bytes_raw(), data(case, "private_key"))
    same("public key", public_bytes(key), data(case, "public_key"))
    same("id", exec_server_id(public_bytes(key)), data(case, "exec_server_id"))


def dial_token(case):
    label, generation = b"baton dial token v1", case["generation"]
    if generation:
        label += b" generation " + struct.pack(">Q", generation)
    token = derive(data(case, "seed"), label)
    same("dial token", token, data(case, "dial_token"))
    same("hash", hashlib.sha256(token).digest(), data(case, "dial_token_hash"))


def refused_public_key(case):
    same("error", public_key_error(case["text"]), case["error"])


def refused_key_file(case):
    refuses("the key file", Malformed, key_file_seed, case["text"])


def ticket_error(text):
    """What is wrong with a ticket, in the document's order; None: nothing."""
    text = text.strip()
    if not text.startswith("baton1:"):
        return "prefix"
    try:
        content = canonical(text[7:])
    except Malformed:
        return "damaged"
    body, checksum = content[:-4], content[-4:]
    if len(text) > 4096 or len(content) < 4 or hashlib.sha256(body).digest()[:4] != checksum:
        return "damaged"
    message = Message(body)
    if message.last(1, 0) != VERSION:
        return "version"
    if len(message.last(3)) != 16:
        return "exec-server id"
    if public_key_error(message.last(4).decode()):
        return "key"
    return None if len(message.last(5)) == 32 else "dial token"


def ticket_to_read(case):
    ticket = Ticket.parse(case["text"])
    same("error", ticket_error(case["text"]), None)
    same("version", case["version"], VERSION)
    same("URL", ticket.relay_url, case["relay_url"])
    same("id", ticket.exec_server_id, data(case, "exec_server_id"))
    same("key", f"{SUITE}:{base64url(ticket.noise_key)}", case["noise_key"])
    same("dial token", ticket.dial_token, data(case, "dial_token"))


def a_ticket(case):
    ticket_to_read(case)
    key = canonical(case["noise_key"].partition(":")[2])
    made = Ticket(case["relay_url"], data(case, "exec_server_id"), key, data(case, "dial_token"))
    same("text", made.text(), case["text"])


def refused_ticket(case):
    same("error", ticket_error(case["text"]), case["error"])


def url_parts(text):
    url = urllib.parse.urlsplit(text)
    good = url.scheme in ("http", "https") and url.netloc and "@" not in url.netloc
    if not good or url.path not in ("", "/") or "?" in text:
        raise Malformed("no relay URL")
    return url.netloc, url.scheme == "https"


def relay_url(case):
    same("parts", url_parts(case["text"]), (case["authority"], case["tls"]))


def refused_relay_url(case):
    refuses("the URL", Malformed, url_parts, case["text"])


# Section 3.


def proof_status(case, message):
    """The gRPC status of a relay's answer to a Proof; 0: it registers."""
    public, signature, token_hash = message.last(2), message.last(3), message.last(4)
    if message.last(1, 0) != VERSION:
        return 9
    if (len(public), len(signature), len(token_hash)) != (32, 64, 32):
        return 3
    try:
        signed = signed_message(data(case, "nonce"), case["authority"], token_hash)
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
    except InvalidSignature:
        return 16
    return 0


def refused_proof(case):
    names = ["public_key", "signature", "dial_token_hash"]
    proof = field(1, case["version"]) + b"".join(field(2 + at, data(case, name)) for at, name in enumerate(names))
    same("request", field(1, proof), data(case, "request"))
    same("status", proof_status(case, Message(Message(data(case, "request")).last(1))), case.get("grpc_status", 0))


def a_proof(case):
    refused_proof(case)
    key = Ed25519PrivateKey.from_private_bytes(data(case, "private_key"))
    signed = signed_message(data(case, "nonce"), case["authority"], data(case, "dial_token_hash"))
    same("signed message", signed, data(case, "signed_message"))
    same("signature", key.sign(signed), data(case, "signature"))
    same("public key", public_bytes(key), data(case, "public_key"))
    same("id", exec_server_id(public_bytes(key)), data(case, "exec_server_id"))


def padded(value):
    """A varint of exactly 6 bytes."""
    value = min(value, (1 << 42) - 1)
    return bytes(value >> 7 * at & 0x7F | (0x80 if at < 5 else 0) for at in range(6))


def a_stamp(case):
    bytes_ = b"\x10" + padded(case["measured_queue_ns"]) + b"\x18" + padded(case["measured_forward_ns"])
    same("bytes", bytes_, data(case, "bytes"))
    read = Message(bytes_)
    same("read", [read.last(2), read.last(3)], [case["queue_ns"], case["forward_ns"]])


def outer(message):
    return b"\0" + struct.pack(">I", len(message)) + message


def outer_error(bytes_):
    if len(bytes_) < 5:
        return "truncated"
    if bytes_[0]:
        return "compressed"
    size = int.from_bytes(bytes_[1:5], "big")
    if size > 65_599:
        return "too long"
    if size > len(bytes_) - 5:
        return "truncated"
    try:
        read = Message(bytes_[5:])
    except (IndexError, KeyError):
        return "malformed"
    return "other version" if not read.last(1) and read.last(4, 0) else None


def frame_to_read(case):
    bytes_ = data(case, "bytes")
    same("error", outer_error(bytes_), None)
    read = Message(bytes_[5:])
    same("Noise message", read.last(1), data(case, "noise"))
    same("stamp", [read.last(2, 0), read.last(3, 0)], [case["queue_ns"], case["forward_ns"]])


def outer_frame(case):
    frame_to_read(case)
    same("bytes", outer(field(1, data(case, "noise"))), data(case, "bytes"))


def forwarded_frame(case):
    frame_to_read(case)
    stamp = b"\x10" + padded(case["queue_ns"]) + b"\x18" + padded(case["forward_ns"])
    same("bytes", outer(field(1, data(case, "noise")) + stamp), data(case, "bytes"))


def refused_frame(case):
    same("error", outer_error(data(case, "bytes")), case["error"])


# Section 4.


def both_ends(case, bound_to, prefix=""):
    """Both ends before message 1, with fixed randomness."""
    def member(name):
        return data(case, prefix + name)

    client = Handshake(bound_to, data(case, "client_private_key"), data(case, "exec_server_public_key"),
                       ephemeral=member("client_ephemeral"), kem=member("client_kem_seed"))
    server = Handshake(bound_to, data(case, "exec_server_private_key"),
                       ephemeral=member("exec_server_ephemeral"), kem=member("exec_server_kem_message"))
    return {CLIENT: client, SERVER: server}


def ends(case):
    """Both ends before message 1. Checks the keys and the prologue of the case."""
    for end in ("client", "exec_server"):
        same("private key", noise_private(data(case, f"{end}_seed")), data(case, f"{end}_private_key"))
    bound_to = prologue(data(case, "exec_server_id"), data(case, "session_id"))
    same("prologue", bound_to, data(case, "prologue"))
    return both_ends(case, bound_to)


def shaken(case):
    """Both ends after the handshake, message 1 and message 2."""
    both = ends(case)
    message_1 = both[CLIENT].write_message()
    same("payload 1", both[SERVER].read_message(message_1), b"")
    message_2 = both[SERVER].write_message(data(case, "payload_2"))
    same("payload 2", both[CLIENT].read_message(message_2), data(case, "payload_2"))
    return both, message_1, message_2


def server_hello(fields):
    return (optional(1, bytes.fromhex(fields["epoch"])) + optional64(2, fields["received_unix_ns"])
            + optional64(3, fields["sent_unix_ns"]) + optional(4, fields["window"]) + optional(5, fields["retry_after_ms"])
            + optional(6, fields["version"]) + optional(7, fields["features"]))


def a_handshake(case):
    both, message_1, message_2 = shaken(case)
    same("message 1", message_1, data(case, "message_1"))
    same("message 2", message_2, data(case, "message_2"))
    for end in both.values():
        same("handshake hash", end.get_handshake_hash(), data(case, "handshake_hash"))
    same("payload 1", case["payload_1"], "")
    payload, fields = data(case, "payload_2"), case["server_hello"]
    same("payload 2", server_hello(fields), payload)
    read = Message(payload)
    same("fields", [read.last(1).hex(), *(read.last(at, 0) for at in range(2, 8))], list(fields.values()))


NOT_VERIFIED = (InvalidTag, NoiseInvalidMessage, ValueError, Malformed, AssertionError)


def refused_message_1(case):
    server = ends(case)[SERVER]
    refuses("message 1", NOT_VERIFIED, server.read_message, data(case, "message_1"))


def no_message_2(case):
    server = ends(case)[SERVER]
    same("payload 1", server.read_message(data(case, "message_1")), b"")
    refuses("the ML-KEM key in message 1", ValueError, server.write_message)


def refused_message_2(case):
    client = ends(case)[CLIENT]
    same("message 1", client.write_message(), data(case, "message_1"))
    refuses("message 2", NOT_VERIFIED, client.read_message, data(case, "message_2"))


OTHER = {CLIENT: SERVER, SERVER: CLIENT}


def messages(case):
    both, _, _ = shaken(case)
    for message in case["messages"]:
        end, plaintext = message["from"], data(message, "plaintext")
        sealed = both[end].encrypt(plaintext)
        same("message", sealed, data(message, "message"))
        same("plaintext", both[OTHER[end]].decrypt(sealed), plaintext)


def refused_message(case):
    server = shaken(case)[0][SERVER]
    for message in case["accepted"]:
        server.decrypt(bytes.fromhex(message))
    message = data(case, "message")
    refuses("the message", NOT_VERIFIED, server.decrypt, message)


def a_rekey(case):
    old, _, _ = shaken(case)
    same("handshake hash", old[CLIENT].get_handshake_hash(), data(case, "handshake_hash"))
    bound_to = data(case, "prologue") + parts(old[CLIENT].get_handshake_hash())
    same("prologue", bound_to, data(case, "rekey_prologue"))
    new = both_ends(case, bound_to, "rekey_")
    # Which keys each end encrypts with.
    keys = {CLIENT: old, SERVER: old}
    for message in case["messages"]:
        end, name, plaintext = message["from"], message["is"], data(message, "plaintext")
        if name == "Request":
            same(name, frame(10, 0), plaintext)
        elif name == "Start":
            start = new[CLIENT].write_message()
            same(name, frame(10, 0, start), plaintext)
            same("payload", new[SERVER].read_message(start), b"")
        elif name == "Answer":
            answer = new[SERVER].write_message()
            same(name, frame(10, 0, answer) + frame(9, 0), plaintext)
            same("payload", new[CLIENT].read_message(answer), b"")
        elif name == "Switch":
            same(name, frame(9, 0), plaintext)
        sealed = keys[end][end].encrypt(plaintext)
        same(f"message `{name}`", sealed, data(message, "message"))
        same(f"plaintext of `{name}`", keys[end][OTHER[end]].decrypt(sealed), plaintext)
        if name in ("Answer", "Switch"):
            keys[end] = new
    same("keys", [keys[end] is new for end in (CLIENT, SERVER)], [True, True])
    same("handshake hash", new[CLIENT].get_handshake_hash(), data(case, "rekey_handshake_hash"))


# Section 5.

TYPES = ["Head", "Data", "Trailers", "Reset", "Credit", "Ping", "Pong", "GoAway", "Switch", "Rekey", "Hello"]
OPTIONAL = 128
REASONS = ["REASON_UNSPECIFIED", *GO_AWAY_REASONS[1:]]


def metadata_of(entries):
    return [{"key": entry.last(1).decode(), "value": entry.last(2).decode()} for entry in map(Message, entries)]


def metadata_bytes(number, entries):
    return b"".join(field(number, field(1, entry["key"]) + field(2, entry["value"])) for entry in entries)


def body_fields(kind, body):
    """The fields of a body, as the files have them."""
    if kind == "Data":
        return {"data": body.hex()}
    if kind == "Rekey":
        return {"message": body.hex()}
    if kind in ("Reset", "Credit"):
        return {"code" if kind == "Reset" else "bytes": struct.unpack(">I", body)[0]}
    read = Message(body)
    if kind == "Head":
        return {"path": read.last(1).decode(), "metadata": metadata_of(read.get(2, [])), "timeout_ns": read.last(3, 0),
                "timings": bool(read.last(4, 0)), "window": read.last(5, 0), "call_id": f"{read.last(6, 0):016x}"}
    if kind == "Trailers":
        return {"metadata": metadata_of(read.get(1, [])), "timings": read.last(3).hex()}
    if isinstance(kind, int):
        return {"body": body.hex()}
    if kind == "Hello":
        return {"version": read.last(1, 0), "features": read.last(2, 0)}
    if kind == "GoAway":
        return {"reason": read.last(1, 0), "reason_name": REASONS[read.last(1, 0)], "last_stream": read.last(2, 0),
                "detail": read.last(3).decode()}
    names = {"Ping": ["id", "sent_unix_ns"], "Switch": [],
             "Pong": ["id", "ping_sent_unix_ns", "received_unix_ns", "sent_unix_ns"]}[kind]
    return {name: read.last(1 + at, 0) for at, name in enumerate(names)}


def body_bytes(kind, fields):
    if kind in ("Data", "Rekey"):
        return bytes.fromhex(fields["data" if kind == "Data" else "message"])
    if kind in ("Reset", "Credit"):
        return struct.pack(">I", fields["code" if kind == "Reset" else "bytes"])
    if kind == "Head":
        return (optional(1, fields["path"]) + metadata_bytes(2, fields["metadata"]) + optional(3, fields["timeout_ns"])
                + optional(4, fields["timings"]) + optional(5, fields["window"])
                + optional64(6, int(fields["call_id"], 16)))
    if kind == "Trailers":
        return metadata_bytes(1, fields["metadata"]) + optional(3, bytes.fromhex(fields["timings"]))
    if "body" in fields:
        return bytes.fromhex(fields["body"])
    if kind == "Hello":
        return optional(1, fields["version"]) + optional(2, fields["features"])
    if kind == "GoAway":
        return optional(1, fields["reason"]) + optional(2, fields["last_stream"]) + optional(3, fields["detail"])
    values = list(fields.values())
    return b"" if not values else optional(1, values[0]) + b"".join(
        optional64(2 + at, value) for at, value in enumerate(values[1:]))


class Refused(Exception):
    """A message ends the session, with this reason."""


def split(message):
    """The frames of a plaintext: type, END_STREAM, stream, body."""
    while message:
        if len(message) < 8:
            raise Refused("PROTOCOL_ERROR")
        number, flags, size, stream = struct.unpack_from(">BBHI", message)
        body, message = message[8:8 + size], message[8 + size:]
        if number >= OPTIONAL and len(body) == size:
            yield number, False, stream, body
            continue
        known = 1 <= number <= len(TYPES)
        if len(body) < size or not known or flags and (flags, number) != (1, 2) or (stream == 0) != (number >= 6):
            raise Refused("PROTOCOL_ERROR")
        yield TYPES[number - 1], flags == 1, stream, body


def a_message(case):
    read, made = [], b""
    for kind, end, stream, body in split(data(case, "bytes")):
        # This client knows no optional type, so it takes the name from the file.
        number = kind if isinstance(kind, int) else TYPES.index(kind) + 1
        name = case["frames"][len(read)]["type_name"] if isinstance(kind, int) else kind
        read.append({"type": number, "type_name": name, "end_stream": end, "stream": stream,
                     "fields": body_fields(kind, body)})
    same("frames", read, case["frames"])
    for one in case["frames"]:
        made += frame(one["type"], one["stream"], body_bytes(one["type_name"], one["fields"]), one["end_stream"])
    same("bytes", made, data(case, "bytes"))


class Receiver:
    """Checks the frames of a peer: the rules of section 5 that the cases need."""

    def __init__(self, sender):
        self.sender = sender
        # Per stream: whether the answer's Head was received, whether its direction has ended, the number of empty Data.
        self.streams = {1: {"head": False, "ended": False, "empty": 0}} if sender == SERVER else {}
        self.highest, self.pings, self.greeted = max(self.streams, default=0), 0, True

    def take(self, message):
        if not self.greeted:
            self.require(message[:1] == b"\x0b")
        skipped = 0
        for kind, end, stream, body in split(message):
            if isinstance(kind, int):
                skipped += 1
                self.require(skipped <= 16, "LIMIT_EXCEEDED")
                continue
            try:
                fields = body_fields(kind, body)
            except (IndexError, KeyError, struct.error):
                raise Refused("PROTOCOL_ERROR") from None
            self.frame(kind, end, stream, fields)

    def frame(self, kind, end, number, fields):
        require = self.require
        require(kind not in ("Switch", "Rekey", "Pong"))
        if kind == "Hello":
            require(not self.greeted and self.sender == CLIENT and fields["version"] >= VERSION)
            self.greeted = True
        if kind == "Ping":
            self.pings += 1
            require(self.pings <= 16, "LIMIT_EXCEEDED")
        if number == 0:
            return
        if kind == "Head" and self.sender == CLIENT:
            require(number > self.highest)
            self.highest = number
            self.streams[number] = {"head": True, "ended": False, "empty": 0}
            return
        require(number in self.streams)
        stream = self.streams[number]
        if kind in ("Head", "Data", "Trailers"):
            require(not stream["ended"] and not (kind == "Trailers" and self.sender == CLIENT))
            require(not (end and self.sender == SERVER) and stream["head"] != (kind == "Head"))
            stream["head"] = True
            stream["ended"] = end or kind == "Trailers"
        if kind == "Data" and not fields["data"]:
            stream["empty"] += 1
            require(stream["empty"] <= 64, "LIMIT_EXCEEDED")
        # These cases send no Data to the peer, so its credit is the whole window.
        require(kind != "Credit" or fields["bytes"] == 0, "LIMIT_EXCEEDED")

    @staticmethod
    def require(holds, reason="PROTOCOL_ERROR"):
        if not holds:
            raise Refused(reason)


def refused_frames(case):
    receiver = Receiver(case["from"])
    for message in case["before"]:
        receiver.take(bytes.fromhex(message))
    try:
        receiver.take(data(case, "bytes"))
    except Refused as refused:
        same("reason", str(refused), case["go_away"])
    else:
        raise Wrong("the message was accepted")


def refused_first_message(case):
    receiver = Receiver(CLIENT)
    receiver.greeted = False
    try:
        receiver.take(data(case, "bytes"))
    except Refused as refused:
        same("reason", str(refused), case["go_away"])
    else:
        raise Wrong("the message was accepted")


# Section 7.


def a_status(case):
    bytes_ = data(case, "bytes")
    same("header", base64.b64encode(bytes_).decode(), case["header"])
    made = optional(1, case["code"]) + optional(2, case["message"])
    for detail in case["details"]:
        made += field(3, field(1, detail["type_url"]) + field(2, bytes.fromhex(detail["value"])))
    same("bytes", made, bytes_)
    read = Message(bytes_)
    same("status", [read.last(1, 0), read.last(2).decode()], [case["code"], case["message"]])
    error = exec_error(bytes_)
    expected = case["exec_error"]
    same("exec error", [error.last(1, 0), error.last(2).decode()], [expected["number"], expected["message"]])
    same("kind", KINDS[expected["number"]], expected["kind"])


KINDS = ["KIND_UNSPECIFIED", *EXEC_ERRORS[1:]]


def exec_error(details):
    """The ExecError in the details of a status; None: there is none."""
    try:
        for detail in map(Message, Message(details).get(3, [])):
            if detail.last(1) == b"type.googleapis.com/baton.exec.v1.ExecError":
                return Message(detail.last(2))
    except (IndexError, KeyError):
        pass
    return None


def no_exec_error(case):
    same("exec error", exec_error(data(case, "bytes")), None)


# Section 8.


def a_span_id(case):
    made = span_id(data(case, "trace_id"), data(case, "call_id"), case["stage"], case["attempt"])
    same("span id", made, data(case, "span_id"))


def timings_read(bytes_):
    """The timings; None: they count as absent."""
    try:
        if re.search(rb"[\x80-\xff]{10}", bytes_):
            return None
        return timings(bytes_) if bytes_ else None
    except (Malformed, ValueError):
        return None


def timings_to_read(case):
    names = ["stage", "start_ns", "duration_ns", "attempt"]
    rows = [tuple(row[name] for name in names) for row in case["rows"]]
    same("read", timings_read(data(case, "bytes")), (case["received_unix_ns"], rows))


def timings_both_ways(case):
    timings_to_read(case)
    width = 4 if any(row["attempt"] for row in case["rows"]) else 3
    numbers = [number for row in case["rows"] for number in list(row.values())[:width]]
    made = b"".join(map(varint, [case["received_unix_ns"], width, *numbers]))
    same("bytes", made, data(case, "bytes"))


def no_timings(case):
    same("read", timings_read(data(case, "bytes")), None)


# Of each stage: id, name, parent, whether it covers; in the order of STAGES.md.
STAGES = [
    (2, "dispatch", 1, True), (6, "client.queue", 1, True), (7, "client.seal", 1, True), (8, "transit", 1, True),
    (9, "relay.queue", 8, True), (10, "relay.forward", 8, True), (13, "rpc", 1, False), (11, "server.open", 13, True),
    (12, "server.queue", 13, True), (14, "terminal.queue", 13, True), (15, "terminal.seal", 13, True),
    (16, "terminal.transit", 1, True), (17, "terminal.relay.queue", 16, True), (18, "terminal.relay.forward", 16, True),
    (19, "terminal.open", 1, True), (20, "terminal.notify", 1, True), (39, "start.durable", 13, True),
    (32, "process", 13, False), (33, "process.spawn", 32, True), (34, "process.first_output", 32, False),
    (35, "process.stdout", 32, False), (36, "process.stderr", 32, False), (37, "process.wait", 32, True),
    (38, "process.close", 32, True)]
TABLE = {row[0]: (order, *row[1:]) for order, row in enumerate(STAGES)}
SERVERS = {11, 12, 13, 14, 15, *range(32, 40)}


def transit(ids, start, end, queue, forward):
    """A transit, and the relay's two stages in its middle."""
    forward = min(forward, end - start)
    queue = min(queue, end - start - forward)
    at = start + (end - start - forward - queue) // 2
    inner = [(ids[2], at, at + forward), (ids[1], at + forward, at + forward + queue)]
    return [(ids[0], start, end)] + [stage for stage in inner if stage[1] < stage[2]]


def placed(case):
    """Places the exec-server's rows on the client's clock (section 8)."""
    sent, answer, clock = case["sent"], case.get("answer"), case.get("clock")
    read = timings_read(data(case, "timings"))
    if read is None:
        return []
    received, rows = read
    back = answer["back"] if answer else case["end"]
    relay = {stage: duration for stage, _, duration, _ in rows if stage in (9, 10)}
    rows = [(stage, start, start + duration) for stage, start, duration, _ in rows if stage not in (9, 10)]
    server_end = max((end for _, _, end in rows), default=0)
    relay_back = answer["relay_queue_ns"] + answer["relay_forward_ns"] if answer else 0
    slack = max(0, back - sent - server_end)
    least = sent + min(sum(relay.values()), slack)
    most = max(least, sent + slack - min(relay_back, slack))
    if clock:
        offset, error = clock["offset_ns"], clock["error_ns"]
        if not answer and abs(offset) <= error:
            offset = error = 0
        middle = received - case["anchor_unix_ns"] - offset
        base = sum(min(max(at, least), most) for at in (middle - error, middle + error)) // 2
    else:
        base = (least + most) // 2

    def clamp(at):
        return min(max(at, sent), back)

    known = [row for row in rows if row[0] in SERVERS or row[0] not in (*TABLE, 0, 1, 3, 4, 5, 255)]
    stages = [(stage, clamp(base + start), clamp(base + end)) for stage, start, end in known]
    stages += transit((8, 9, 10), sent, clamp(base), relay.get(9, 0), relay.get(10, 0))
    if answer:
        start = clamp(base + server_end)
        stages += transit((16, 17, 18), start, back, answer["relay_queue_ns"], answer["relay_forward_ns"])
    return stages


def waterfall(case):
    stages = [(2, 0, case["queued"]), (6, case["queued"], case["taken"]), (7, case["taken"], case["sent"])]
    stages += placed(case)
    if "answer" in case:
        answer = case["answer"]
        stages += [(19, answer["back"], answer["opened"]), (20, answer["opened"], answer["handed"])]
    present = {stage for stage, _, _ in stages}

    def parent_of(stage):
        parent = TABLE[stage][2] if stage in TABLE else 1
        while parent != 1 and parent not in present:
            parent = TABLE[parent][2]
        return parent

    def below(parent, depth):
        children = [stage for stage in stages if parent_of(stage[0]) == parent]
        for stage, start, end in sorted(children, key=lambda one: (one[1], TABLE.get(one[0], (99 + one[0],))[0])):
            name = TABLE[stage][1] if stage in TABLE else f"unknown({stage})"
            yield {"stage": stage, "name": name, "depth": depth, "start_ns": start, "end_ns": end}
            yield from below(stage, depth + 1)

    same("rows", list(below(1, 0)), case["rows"])
    covered = reached = 0
    for stage, start, end in sorted(stages, key=lambda one: one[1]):
        if stage in TABLE and TABLE[stage][3] and end > max(start, reached):
            covered += min(end, case["end"]) - max(start, reached)
            reached = end
    same("remainder", case["end"] - covered, case["remainder_ns"])


CHECKS = {
    "keys": {"noise key": noise_key, "registration key": a_registration_key, "dial token": dial_token,
             "refused public key": refused_public_key, "refused key file": refused_key_file},
    "tickets": {"ticket": a_ticket, "ticket to read": ticket_to_read, "refused ticket": refused_ticket,
                "relay url": relay_url, "refused relay url": refused_relay_url},
    "registration": {"proof": a_proof, "refused proof": refused_proof},
    "stamps": {"stamp": a_stamp},
    "outer-frames": {"frame": outer_frame, "forwarded frame": forwarded_frame, "frame to read": frame_to_read,
                     "refused frame": refused_frame},
    "handshake": {"handshake": a_handshake, "refused message 1": refused_message_1,
                  "no message 2": no_message_2, "refused message 2": refused_message_2},
    "transport": {"messages": messages, "refused message": refused_message},
    "rekey": {"rekey": a_rekey},
    "frames": {"message": a_message, "refused message": refused_frames,
               "refused first message": refused_first_message},
    "status": {"status": a_status, "no exec error": no_exec_error},
    "span-ids": {"span id": a_span_id},
    "timings": {"timings": timings_both_ways, "timings to read": timings_to_read, "no timings": no_timings},
    "waterfall": {"waterfall": waterfall},
}


def check(path):
    """Checks a file. Returns the number of its cases, and its failures."""
    file = json.loads(path.read_text(encoding="utf-8"))
    wrong = []
    if not file["about"] or not file["cases"]:
        wrong.append("the file says nothing")
    for case in file["cases"]:
        try:
            CHECKS[path.stem][case["kind"]](case)
        except KeyError as error:
            wrong.append(f"{case['name']}: there is no check or member {error}")
        except (Wrong, Refused, Malformed, ValueError, IndexError, TypeError, struct.error, binascii.Error, InvalidTag,
                InvalidSignature, NoiseInvalidMessage) as error:
            wrong.append(f"{case['name']}: {type(error).__name__}: {error}")
    return len(file["cases"]), wrong


def main():
    # noiseprotocol warns about fixed ephemeral keys, which the vectors need.
    warnings.filterwarnings("ignore", module="noise")
    files = sorted(pathlib.Path(sys.argv[1]).glob("*.json"))
    failed = {path.stem for path in files} != set(CHECKS)
    if failed:
        print(f"the files are {[path.stem for path in files]}, the checks {list(CHECKS)}", file=sys.stderr)
    for path in files:
        cases, wrong = check(path)
        print(f"{path.name}: {cases} cases, {len(wrong)} wrong")
        for line in wrong:
            print(f"{path.name}: {line}", file=sys.stderr)
        failed = failed or bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
