"""Section 4: the handshake, and the transport messages after it.

noiseprotocol has the symmetric state, X25519 and AES-GCM, and kyber-py has ML-KEM. noiseprotocol knows no `hfs`. A
field that is encrypted between two tokens is processed like the payload of a shorter message, so each message of the
handshake is two of noiseprotocol's: `e, es` with the ML-KEM key as its payload, then `s, ss`; `e, ee` with the
ciphertext, then `se`.
"""

import secrets

from kyber_py.ml_kem import ML_KEM_768
from noise.connection import Keypair, NoiseConnection
from noise.constants import TOKEN_E, TOKEN_EE, TOKEN_ES, TOKEN_S, TOKEN_SE, TOKEN_SS

from wire import SUITE, Malformed

# The suite without `hfs` and the KEM: the patterns and primitives that noiseprotocol knows.
KNOWN = b"Noise_IK_25519_AESGCM_SHA256"
HALVES = [[TOKEN_E, TOKEN_ES], [TOKEN_S, TOKEN_SS], [TOKEN_E, TOKEN_EE], [TOKEN_SE]]
TAG = 16
# Where the second half of a message begins.
FIRST_OF_MESSAGE_1 = 32 + 1184 + TAG
FIRST_OF_MESSAGE_2 = 32 + 1088 + TAG
MESSAGE_1 = FIRST_OF_MESSAGE_1 + 32 + TAG + TAG
MESSAGE_2 = FIRST_OF_MESSAGE_2 + TAG


class Handshake:
    """One end. Fixed randomness is for test vectors."""

    def __init__(self, bound_to, private_key, exec_server_key=None, ephemeral=None, kem=None):
        """The client has `exec_server_key`. `kem` is the seed of its ML-KEM key, or `m` of the exec-server."""
        self.noise = NoiseConnection.from_name(KNOWN)
        # The name is hashed. It must be the suite's.
        self.noise.noise_protocol.name = SUITE.encode()
        self.is_client = exec_server_key is not None
        if self.is_client:
            self.noise.set_as_initiator()
            self.noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, exec_server_key)
            self.kem_key, self.kem_private = ML_KEM_768.key_derive(kem or secrets.token_bytes(64))
        else:
            self.noise.set_as_responder()
            self.kem_message = kem or secrets.token_bytes(32)
        self.noise.set_prologue(bound_to)
        self.noise.set_keypair_from_private_bytes(Keypair.STATIC, private_key)
        if ephemeral:
            self.noise.set_keypair_from_private_bytes(Keypair.EPHEMERAL, ephemeral)
        self.noise.start_handshake()
        self.state = self.noise.noise_protocol.handshake_state
        self.state.message_patterns = list(HALVES)

    def write_message(self, payload=b""):
        message = bytearray()
        if self.is_client:
            self.state.write_message(self.kem_key, message)
            self.state.write_message(payload, message)
        else:
            # Fails for a key with a coefficient above the modulus.
            secret, ciphertext = ML_KEM_768._encaps_internal(self.kem_key, self.kem_message)
            self.state.write_message(ciphertext, message)
            self.state.symmetric_state.mix_key(secret)
            self.state.write_message(payload, message)
            self.noise.handshake_finished = True
        return bytes(message)

    def read_message(self, message):
        first, payload = bytearray(), bytearray()
        if self.is_client:
            if len(message) < MESSAGE_2:
                raise Malformed(f"message 2 has {len(message)} bytes")
            self.state.read_message(message[:FIRST_OF_MESSAGE_2], first)
            self.state.symmetric_state.mix_key(ML_KEM_768.decaps(self.kem_private, bytes(first)))
            self.state.read_message(message[FIRST_OF_MESSAGE_2:], payload)
            self.noise.handshake_finished = True
        else:
            if len(message) != MESSAGE_1:
                raise Malformed(f"message 1 has {len(message)} bytes")
            self.state.read_message(message[:FIRST_OF_MESSAGE_1], first)
            self.kem_key = bytes(first)
            self.state.read_message(message[FIRST_OF_MESSAGE_1:], payload)
        return bytes(payload)

    def encrypt(self, plaintext):
        return bytes(self.noise.encrypt(plaintext))

    def decrypt(self, message):
        return bytes(self.noise.decrypt(message))

    def get_handshake_hash(self):
        return self.noise.get_handshake_hash()
