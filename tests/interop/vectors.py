#!/usr/bin/env python3
"""Computes the worked example of docs/PROTOCOL.md, and checks that the document holds each value.

`vectors.py` prints the values; `vectors.py DOCUMENT` checks them, and exits with 1 if one is missing."""

import hashlib
import re
import sys

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from wire import (Ticket, exec_server_id, field, fixed64, frame, noise_private, parts, prologue, public_bytes,
                  registration_key, base64url, signed_message, span_id, timings, varint)

SEED = bytes(range(32))
NONCE = b"\x01" * 32
SESSION_ID = b"\x02" * 16
TRACE_ID = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736")
CALL_ID = bytes.fromhex("00f067aa0ba902b7")
AUTHORITY = "127.0.0.1:7700"


def outer(payload):
    """A gRPC message: one `Frame`."""
    message = field(1, payload)
    return b"\0" + len(message).to_bytes(4, "big") + message


def vectors():
    registration = registration_key(SEED)
    registration_public = public_bytes(registration)
    ticket = Ticket.of_seed(SEED, f"http://{AUTHORITY}")
    token_hash = hashlib.sha256(ticket.dial_token).digest()
    signed = signed_message(NONCE, AUTHORITY, token_hash)
    head = field(1, "/a.B/C") + field(3, 1_000_000_000) + field(4, True) + fixed64(6, int.from_bytes(CALL_ID, "big"))
    return {
        "key file": f"baton-key-v1 {base64url(SEED)}",
        "Noise private key": noise_private(SEED),
        "Noise public key": public_bytes(X25519PrivateKey.from_private_bytes(noise_private(SEED))),
        "registration public key": registration_public,
        "exec-server id": exec_server_id(registration_public),
        "dial token": ticket.dial_token,
        "dial token hash": token_hash,
        "ticket": ticket.text(),
        "signed message": signed,
        "signature": registration.sign(signed),
        "prologue": prologue(ticket.exec_server_id, SESSION_ID),
        "outer frame": outer(b"abc"),
        "Data, stream 0x01020304, END_STREAM, 1,286 bytes: header": frame(2, 0x01020304, bytes(0x0506), end=True)[:8],
        "Credit of 131,072 on stream 1": frame(5, 1, (131_072).to_bytes(4, "big")),
        "Reset of stream 3 with CANCELLED": frame(4, 3, (1).to_bytes(4, "big")),
        "Head of /a.B/C on stream 1, 1 s, with timings and call id": frame(1, 1, head),
        "timings of stages 13 and, for the third time, 32": b"".join(map(varint, (1_000, 4, 13, 300, 5, 0, 32, 1, 0, 2))),
        "Ping 1 sent at 1,000,000,000": frame(6, 0, field(1, 1) + fixed64(2, 1_000_000_000)),
        "what a rekey adds to the prologue": parts(b"\x03" * 32),
        "Answer of a rekey": frame(10, 0, b"abc") + frame(9, 0),
        "span id of rpc (13)": span_id(TRACE_ID, CALL_ID, 13),
        "span id of process (32)": span_id(TRACE_ID, CALL_ID, 32),
    }


def check_known():
    """What the unit tests of the Rust implementation hold too."""
    assert signed_message(b"\1\1", "r:1", b"\2") == (
        b"\x00\x17baton.relay.v1.Register\x00\x02\x01\x01\x00\x03r:1\x00\x04\x00\x00\x00\x01\x00\x01\x02")
    assert exec_server_id(b"").hex() == "e3b0c44298fc1c149afbf4c8996fb924"
    assert outer(b"abc") == b"\x00\x00\x00\x00\x05\x0a\x03abc"
    assert frame(2, 0x01020304, bytes(0x0506), end=True)[:8] == bytes([2, 1, 5, 6, 1, 2, 3, 4])
    assert timings(bytes([0xE8, 7, 4, 13, 0xAC, 2, 5, 0, 32, 1, 0, 2])) == (1_000, [(13, 300, 5, 0), (32, 1, 0, 2)])


def main():
    check_known()
    values = {name: value if isinstance(value, str) else value.hex() for name, value in vectors().items()}
    if len(sys.argv) < 2:
        for name, value in values.items():
            print(f"{name}\n    {value}")
        return 0
    with open(sys.argv[1], encoding="utf-8") as file:
        text = re.sub(r"\s", "", file.read())
    missing = [name for name, value in values.items() if re.sub(r"\s", "", value) not in text]
    for name in missing:
        print(f"{sys.argv[1]} lacks or contradicts: {name}: {values[name]}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
