"""The encodings of docs/PROTOCOL.md: protobuf, keys, tickets, signed messages, prologues, span ids and frames.

It shares no code with Baton. Section numbers in this directory are those of the document.
"""

import base64
import hashlib
import struct
import urllib.parse

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SUITE = "Noise_IKhfs_25519+MLKEM768_AESGCM_SHA256"
VERSION = 2


class Malformed(Exception):
    """A key file, a ticket or a message is malformed."""


# The part of protobuf that the messages use.


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, value):
    """A varint field for an int or a bool, a length-delimited one for bytes or text."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fixed64(number, value):
    return varint(number << 3 | 1) + struct.pack("<Q", value)


class Message(dict):
    """A decoded message: lists of raw values by field number."""

    def __init__(self, data):
        at = 0

        def read_varint():
            nonlocal at
            value = shift = 0
            while True:
                byte = data[at]
                at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
                if byte < 0x80:
                    return value

        while at < len(data):
            key = read_varint()
            kind = key & 7
            if kind == 0:
                value = read_varint()
            else:
                size = {1: 8, 2: None, 5: 4}[kind]
                size = read_varint() if size is None else size
                value = bytes(data[at:at + size])
                at += size
                value = int.from_bytes(value, "little") if kind != 2 else value
            self.setdefault(key >> 3, []).append(value)

    def last(self, number, default=b""):
        """The last value of a field: for scalar fields, protobuf lets it win."""
        return self.get(number, [default])[-1]


def varints(data):
    out, value, shift = [], 0, 0
    for byte in data:
        value, shift = value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            out.append(value)
            value = shift = 0
    if shift:
        raise Malformed("a varint is cut")
    return out


def timings(data):
    """Section 8: the arrival of Head, and for each stage (id, start, duration, attempt)."""
    if not data:
        return 0, []
    received_unix_ns, width, *numbers = varints(data)
    if width < 3 or len(numbers) % width:
        raise Malformed("malformed timings")
    rows = [numbers[at:at + width] for at in range(0, len(numbers), width)]
    return received_unix_ns, [tuple((row + [0])[:4]) for row in rows]


def parts(*items):
    """Each part, prefixed with its length (u16, big endian)."""
    return b"".join(struct.pack(">H", len(item)) + item for item in items)


def unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def read_seed(path):
    with open(path, encoding="ascii") as file:
        tag, seed = file.read().split()
    if tag != "baton-key-v1":
        raise Malformed(f"{path} is no key file")
    return unbase64(seed)


def derive(seed, label):
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=b"baton", info=label).derive(seed)


def noise_private(seed):
    return derive(seed, b"baton noise static v1")


def registration_key(seed):
    return Ed25519PrivateKey.from_private_bytes(derive(seed, b"baton registration v1"))


def public_bytes(private):
    return private.public_key().public_bytes_raw()


def exec_server_id(registration_public):
    return hashlib.sha256(registration_public).digest()[:16]


class Ticket:
    """What a client needs to reach an exec-server (section 2)."""

    def __init__(self, relay_url, server_id, noise_key, dial_token):
        self.relay_url, self.exec_server_id = relay_url, server_id
        self.noise_key, self.dial_token = noise_key, dial_token

    @classmethod
    def parse(cls, text):
        prefix, _, encoded = text.strip().partition(":")
        data = unbase64(encoded) if prefix == "baton1" else b""
        body, checksum = data[:-4], data[-4:]
        if not body or hashlib.sha256(body).digest()[:4] != checksum:
            raise Malformed("not a ticket, or a damaged one")
        message = Message(body)
        suite, _, key = message.last(4).decode().partition(":")
        if message.last(1, 0) != VERSION or suite != SUITE:
            raise Malformed("a ticket of another protocol version or Noise suite")
        return cls(message.last(2).decode(), message.last(3), unbase64(key), message.last(5))

    @classmethod
    def of_seed(cls, seed, relay_url):
        noise_key = public_bytes(X25519PrivateKey.from_private_bytes(noise_private(seed)))
        server_id = exec_server_id(public_bytes(registration_key(seed)))
        return cls(relay_url, server_id, noise_key, derive(seed, b"baton dial token v1"))

    def text(self):
        body = field(1, VERSION) + field(2, self.relay_url) + field(3, self.exec_server_id)
        body += field(4, f"{SUITE}:{base64url(self.noise_key)}") + field(5, self.dial_token)
        return "baton1:" + base64url(body + hashlib.sha256(body).digest()[:4])

    def authority(self):
        return urllib.parse.urlsplit(self.relay_url).netloc


def signed_message(nonce, authority, dial_token_hash):
    """The message that an exec-server signs to register (section 3)."""
    version = struct.pack(">I", VERSION)
    return parts(b"baton.relay.v1.Register", nonce, authority.encode(), version, dial_token_hash)


def prologue(server_id, session_id):
    roles = b"initiator=client,responder=exec-server"
    version = struct.pack(">I", VERSION)
    return parts(b"baton.channel.v1", version, SUITE.encode(), roles, server_id, session_id)


def siphash(key, message):
    """SipHash-2-4, as 8 bytes, little-endian."""
    mask = (1 << 64) - 1
    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573]

    def rotate(x, bits):
        return (x << bits | x >> (64 - bits)) & mask

    def rounds(count):
        for _ in range(count):
            v[0] = (v[0] + v[1]) & mask
            v[2] = (v[2] + v[3]) & mask
            v[1] = rotate(v[1], 13) ^ v[0]
            v[3] = rotate(v[3], 16) ^ v[2]
            v[0] = rotate(v[0], 32)
            v[2] = (v[2] + v[1]) & mask
            v[0] = (v[0] + v[3]) & mask
            v[1] = rotate(v[1], 17) ^ v[2]
            v[3] = rotate(v[3], 21) ^ v[0]
            v[2] = rotate(v[2], 32)

    padded = message + bytes(7 - len(message) % 8) + bytes([len(message) & 0xff])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xff
    rounds(4)
    return struct.pack("<Q", v[0] ^ v[1] ^ v[2] ^ v[3])


def span_id(trace_id, call_id, stage, attempt=0):
    """The derived id of a stage's span."""
    return siphash(trace_id, call_id + bytes([stage, attempt]))


def frame(kind, stream, body=b"", end=False):
    """An inner frame."""
    return struct.pack(">BBHI", kind, int(end), len(body), stream) + body
