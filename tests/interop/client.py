#!/usr/bin/env python3
"""Runs one command on a Baton exec-server, as `baton exec` does.

It shares no code with Baton and uses nothing that is not in docs/PROTOCOL.md: it proves that the document suffices.
`Session` dials, does the handshake and exchanges frames (sections 3 to 5). `Call` is one Exec/Run in a session
(sections 6 to 8). It sends one Ping only, so it cannot run a command that produces nothing for 35 s.
"""

import argparse
import json
import os
import queue
import secrets
import struct
import sys
import time
import unicodedata
import urllib.parse

import grpc

from handshake import Handshake
from wire import (VERSION, Malformed, Message, Ticket, field, fixed64, frame, noise_private, parts, prologue,
                  read_seed, span_id, timings, unbase64)

HEAD, DATA, TRAILERS, RESET, CREDIT, PING, PONG, GO_AWAY, SWITCH, REKEY, HELLO = range(1, 12)
# Types from FIRST_OPTIONAL on are optional. No version defines UNKNOWN_OPTIONAL: the exec-server must skip it.
FIRST_OPTIONAL, UNKNOWN_OPTIONAL = 128, 200
# Feature 0: the exec-server takes MarkerReached. Feature 1: it has Files/FindUp.
MARKERS, FIND_UP = 1 << 0, 1 << 1
# No version defines this feature: the exec-server must ignore it.
UNKNOWN_FEATURE = 1 << 63
FAMILIES = ["unspecified", "jsonl", "json_rpc", "event_stream", "text", "prompt"]
SESSION_INIT = 1
SESSION, STREAM = 0, 1
WINDOW = 1 << 20
# Differs from the default, so that an exec-server that ignores `Head.window` is noticed.
ANNOUNCED_WINDOW = 3 << 19
DATA_CHUNK = 16 * 1024
CREDIT_BATCH = WINDOW // 8
ACK_BATCH = 128 * 1024
GO_AWAY_REASONS = ["UNSPECIFIED", "SHUTDOWN", "NOT_ALLOWED", "PROTOCOL_ERROR", "LIMIT_EXCEEDED",
                   "ALLOW_LIST_UNUSABLE", "TIMEOUT", "DAMAGED"]
EXEC_ERRORS = ["UNSPECIFIED", "COMMAND_NOT_FOUND", "NOT_EXECUTABLE", "BAD_CWD", "INVALID_START", "INVALID_STDIN",
               "CONFLICT", "LOST", "SPAWN_FAILED", "TOO_MANY_PROCESSES", "INVALID_ACK", "NOT_DURABLE",
               "INVALID_MARKER", "INVALID_SIGNAL", "UNKNOWN_PROCESS", "NO_GRACE", "SUPERSEDED", "INVALID_ATTACH",
               "INVALID_RESIZE"]
STAGES = {9: "relay.queue", 10: "relay.forward", 11: "server.open", 12: "server.queue", 13: "rpc", 14: "terminal.queue",
          15: "terminal.seal", 32: "process", 33: "process.spawn", 34: "process.first_output", 35: "process.stdout",
          36: "process.stderr", 37: "process.wait", 38: "process.close", 39: "start.durable",
          40: "family.cli_ready", 41: "family.session_init", 42: "family.first_output"}
PROCESS_STAGE = 32
# Characters of an untrusted text that are shown.
HINT_CHARS = 200
# Characters that are not category Cc and still steer a terminal: marks, separators, embeddings, overrides, isolates.
STEERING = {0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)}


def hint(text):
    """Text of the relay or the exec-server, for display: bounded, and without what steers a terminal."""
    shown = (char for char in text if unicodedata.category(char) != "Cc" and ord(char) not in STEERING)
    return "".join(shown)[:HINT_CHARS]


class Failure(Exception):
    """Ends the client with a message and an exit code."""

    def __init__(self, text, code=255):
        super().__init__(text)
        self.code = code


class Session:
    """An established Noise session through the relay."""

    def __init__(self, ticket, private_key, timeout, rekey_after=0, version_hint=VERSION):
        session_id = secrets.token_bytes(16)
        self.private_key, self.noise_key = private_key, ticket.noise_key
        self.prologue = prologue(ticket.exec_server_id, session_id)
        self.handshake = self.new_handshake(self.prologue)
        # A rekey replaces the key of one direction before that of the other.
        self.sealer = self.opener = self.handshake
        self.rekeying, self.rekeys, self.rekey_after, self.opened = False, 0, rekey_after, 0
        self.clock = None
        self.stamp = (0, 0)
        self.outbox = queue.SimpleQueue()
        self.outbox.put(field(1, self.handshake.write_message()))
        sent = time.time_ns()
        # No serializers: grpc passes the bytes of each message through.
        self.channel = grpc.insecure_channel(ticket.authority(), options=[("grpc.enable_http_proxy", 0)])
        self.frames = self.channel.stream_stream("/baton.relay.v1.Relay/Dial")(
            iter(self.outbox.get, None),
            metadata=[("baton-exec-server-id", ticket.exec_server_id.hex()),
                      ("baton-session-id", session_id.hex()),
                      ("baton-dial-token", ticket.dial_token.hex()),
                      ("baton-protocol-version", str(version_hint))],
            timeout=timeout + 5)
        try:
            noise = self.next_noise()
            if not noise and self.other_version not in (0, VERSION):
                raise Failure(f"the exec-server speaks version {self.other_version}, this client {VERSION} "
                              "(not authenticated)")
            if not noise:
                raise Failure("no session: the exec-server cannot read message 1")
            hello = Message(self.handshake.read_message(noise))
        except (StopIteration, grpc.RpcError) as error:
            reason = "the stream ended"
            if isinstance(error, grpc.RpcError):
                reason = f"{error.code().name}: {hint(error.details() or '')}"
            raise Failure(f"no session: {reason}") from None
        if hello.last(5, 0):
            raise Failure(f"no session left for this key; again in {hello.last(5, 0)} ms")
        if hello.last(6, 0) < VERSION:
            raise Failure(f"the exec-server announces version {hello.last(6, 0)} in a session of version {VERSION}")
        self.features = hello.last(7, 0) & (MARKERS | FIND_UP)
        self.epoch = hello.last(1)
        self.window = max(hello.last(4, 0), WINDOW)
        self.sample(sent, hello.last(2, 0), hello.last(3, 0))

    def new_handshake(self, bound_to):
        return Handshake(bound_to, self.private_key, self.noise_key)

    def start_rekey(self):
        """Section 4: a new handshake, whose prologue has the hash of the previous one."""
        if not self.rekeying:
            self.rekeying = True
            self.handshake = self.new_handshake(self.prologue + parts(self.handshake.get_handshake_hash()))
            self.send(frame(REKEY, SESSION, self.handshake.write_message()))

    def take_rekey(self, body):
        if not body:
            self.start_rekey()
        elif not self.rekeying or self.handshake.read_message(body):
            raise Failure("a rekey message that answers no Start, or has a payload")

    def take_switch(self):
        self.opener = self.handshake
        self.send(frame(SWITCH, SESSION))
        self.sealer = self.handshake
        self.rekeying, self.rekeys = False, self.rekeys + 1

    def next_noise(self):
        outer = Message(next(self.frames))
        self.stamp = (outer.last(2, 0), outer.last(3, 0))
        self.other_version = outer.last(4, 0)
        return outer.last(1)

    def sample(self, t0, t1, t2):
        """Clock offset and its error bound; the sample with the least round trip is kept."""
        t3 = time.time_ns()
        error = ((t3 - t0) - (t2 - t1)) // 2
        if error >= 0 and (self.clock is None or error < self.clock["error_ns"]):
            self.clock = {"offset_ns": ((t1 - t0) + (t2 - t3)) // 2, "error_ns": error}

    def send(self, plaintext):
        self.outbox.put(field(1, bytes(self.sealer.encrypt(plaintext))))

    def inner_frames(self):
        """Yields the received frames except Rekey and Switch: type, end flag, stream, body."""
        while True:
            try:
                message = bytes(self.opener.decrypt(self.next_noise()))
            except StopIteration:
                raise Failure("the session ended") from None
            except grpc.RpcError as error:
                raise Failure(f"the session ended: {hint(error.details() or '')}") from None
            self.opened += 1
            if self.rekey_after and self.opened % self.rekey_after == 0:
                self.start_rekey()
            at = 0
            while at < len(message):
                kind, flags, size, stream = struct.unpack_from(">BBHI", message, at)
                body = message[at + 8:at + 8 + size]
                at += 8 + size
                if kind >= FIRST_OPTIONAL:
                    continue
                if not HEAD <= kind < HELLO:
                    raise Failure(f"a frame of the unknown required type {kind}")
                if kind == REKEY:
                    self.take_rekey(body)
                elif kind == SWITCH:
                    self.take_switch()
                else:
                    yield kind, flags & 1, stream, body

    def close(self):
        """Half-closes the outer stream and waits for its end. Returns whether the relay ended it with status OK."""
        self.outbox.put(None)
        try:
            for _ in self.frames:
                pass
            return True
        except grpc.RpcError:
            return False
        finally:
            self.channel.close()


class Call:
    """One call of Exec/Run: section 7."""

    def __init__(self, session, args):
        self.session, self.args = session, args
        # The exec-server announces its window in ServerHello, this client in Head; else both are the default.
        self.credit = WINDOW if args.no_window else session.window
        self.window = WINDOW if args.no_window else ANNOUNCED_WINDOW
        self.consumed, self.unacknowledged, self.most = 0, 0, self.credit
        self.pending, self.half_close = bytearray(), False
        self.received, self.seq, self.status = {1: 0, 2: 0}, 0, {}
        self.stdout, self.exit_code, self.carrier = bytearray(), None, b""
        self.awaits_ready = args.family != FAMILIES[0] and bool(session.features & MARKERS)
        self.timings, self.terminal_stamp = None, (0, 0)
        # This client exports no span: the caller's span is the parent, and these bytes distinguish the call.
        self.call_id = secrets.token_bytes(8)

    def request(self, number, message):
        """Queues one RunRequest behind gRPC's 5-byte prefix. After the exit, the request stream has ended."""
        if self.exit_code is not None:
            return
        message = field(number, message)
        self.pending += struct.pack(">BI", 0, len(message)) + message

    def flush(self):
        """Sends what the credit allows."""
        while self.pending and self.credit:
            chunk = bytes(self.pending[:min(DATA_CHUNK, self.credit)])
            del self.pending[:len(chunk)]
            self.credit -= len(chunk)
            self.session.send(frame(DATA, STREAM, chunk))
        if self.half_close and not self.pending:
            self.half_close = False
            self.session.send(frame(DATA, STREAM, end=True))

    def start(self):
        args = self.args
        milliseconds = time.time_ns() // 1_000_000
        process_id = bytearray(milliseconds.to_bytes(6, "big") + secrets.token_bytes(10))
        process_id[6], process_id[8] = process_id[6] & 0x0F | 0x70, process_id[8] & 0x3F | 0x80
        start = field(1, bytes(process_id)) + field(2, self.session.epoch)
        start += b"".join(field(3, argument) for argument in args.command)
        start += field(7, args.stdin) + field(9, args.thread) + field(12, args.turn) + field(13, args.step)
        start += field(14, FAMILIES.index(args.family))
        metadata = field(2, field(1, "traceparent") + field(2, args.traceparent))
        head = field(1, "/baton.exec.v1.Exec/Run") + metadata
        head += field(3, int(args.timeout * 1e9)) + field(4, args.timings)
        head += field(5, 0 if args.no_window else ANNOUNCED_WINDOW) + fixed64(6, int.from_bytes(self.call_id, "big"))
        ping = field(1, 1) + fixed64(2, time.time_ns())
        hello = frame(HELLO, SESSION, field(1, VERSION) + field(2, MARKERS | UNKNOWN_FEATURE))
        if args.no_hello:
            hello = b""
        skipped = frame(UNKNOWN_OPTIONAL, STREAM, b"to be skipped")
        self.session.send(hello + frame(PING, SESSION, ping) + skipped + frame(HEAD, STREAM, head))
        if args.unknown_required:
            self.session.send(frame(127, SESSION))
        self.request(1, start)
        if args.stdin:
            offset = 0
            while data := sys.stdin.buffer.read(64 * 1024):
                self.request(2, field(1, offset) + field(2, data))
                offset += len(data)
            self.request(3, field(1, offset))
        self.flush()

    def run(self):
        """Runs the command and returns its exit code."""
        self.start()
        body = bytearray()
        for kind, end, stream, data in self.session.inner_frames():
            if kind == PING:
                message = Message(data)
                now = time.time_ns()
                times = fixed64(2, message.last(2, 0)) + fixed64(3, now) + fixed64(4, now)
                self.session.send(frame(PONG, SESSION, field(1, message.last(1, 0)) + times))
            elif kind == PONG:
                message = Message(data)
                self.session.sample(message.last(2, 0), message.last(3, 0), message.last(4, 0))
            elif kind == GO_AWAY:
                reason = Message(data).last(1, 0)
                name = GO_AWAY_REASONS[reason] if reason < len(GO_AWAY_REASONS) else str(reason)
                detail = hint(Message(data).last(3).decode(errors="replace"))
                raise Failure(f"the exec-server ended the session ({detail}): {name}")
            elif stream != STREAM:
                raise Failure(f"a frame of type {kind} on stream {stream}")
            elif kind == HEAD:
                self.take_metadata(Message(data).get(2, []))
            elif kind == DATA:
                self.terminal_stamp = self.session.stamp
                self.window -= len(data)
                if self.window < 0:
                    raise Failure("data beyond its credit")
                body += data
                self.grant(len(data))
                while len(body) >= 5 and len(body) >= 5 + (size := struct.unpack_from(">I", body, 1)[0]):
                    self.event(Message(bytes(body[5:5 + size])))
                    del body[:5 + size]
            elif kind == CREDIT:
                self.credit += struct.unpack(">I", data)[0]
                if self.credit > self.most:
                    raise Failure("more credit than the window")
            elif kind == RESET:
                raise Failure(f"the call was reset with gRPC status {struct.unpack('>I', data)[0]}")
            elif kind == TRAILERS:
                message = Message(data)
                self.take_metadata(message.get(1, []))
                self.timings = message.last(3)
                return self.finish()
            self.flush()

    def take_metadata(self, entries):
        for entry in map(Message, entries):
            self.status[entry.last(1).decode()] = entry.last(2).decode()

    def grant(self, size):
        """Grants credit for the consumed bytes, once they are CREDIT_BATCH."""
        self.consumed += size
        if self.consumed >= CREDIT_BATCH:
            self.session.send(frame(CREDIT, STREAM, struct.pack(">I", self.consumed)))
            self.window += self.consumed
            self.consumed = 0

    def event(self, event):
        if event.last(1, 0) != self.seq + 1:
            raise Failure("an event is missing")
        self.seq += 1
        if 3 in event:
            output = Message(event.last(3))
            stream, data = output.last(1, 0), output.last(2)
            self.received[stream] += len(data)
            self.unacknowledged += len(data)
            target = sys.stdout if stream == 1 else sys.stderr
            target.buffer.write(data)
            target.buffer.flush()
            if stream == 1 and self.awaits_ready:
                # This client takes the first output for the acknowledgement of a handshake.
                self.awaits_ready = False
                self.request(5, field(1, SESSION_INIT))
            if stream == 1 and self.args.check_trace:
                self.stdout += data
            if self.unacknowledged >= ACK_BATCH:
                self.unacknowledged = 0
                self.request(4, field(1, self.seq))
        elif 4 in event:
            exited = Message(event.last(4))
            self.exit_code = 128 + Message(exited.last(2)).last(1, 0) if 2 in exited else exited.last(1, 0)
            self.carrier = Message(exited.last(4)).last(1)
            self.half_close = True
        elif 5 in event:
            closed = Message(event.last(5))
            if (closed.last(2, 0), closed.last(3, 0)) != (self.received[1], self.received[2]):
                raise Failure("output is missing")

    def finish(self):
        if self.args.timings:
            self.print_timings()
        code = int(self.status.get("grpc-status", 2))
        if code != 0:
            kind = self.exec_error()
            text = hint(urllib.parse.unquote(self.status.get("grpc-message", "")))
            raise Failure(f"{EXEC_ERRORS[kind]} (gRPC status {code}): {text}", {1: 127, 2: 126}.get(kind, 255))
        if self.exit_code is None:
            raise Failure("the response ended before the command")
        if self.args.check_trace:
            self.check_trace()
        return self.exit_code

    def exec_error(self):
        """The kind of the ExecError in the google.rpc.Status of a failed call; 0 if there is none."""
        details = Message(unbase64(self.status.get("grpc-status-details-bin", "").rstrip("=")))
        trailers = (int(self.status["grpc-status"]), urllib.parse.unquote(self.status.get("grpc-message", "")))
        if 3 in details and (details.last(1, 0), details.last(2).decode()) != trailers:
            raise Failure("the details have another code or message than the trailers")
        for detail in map(Message, details.get(3, [])):
            if detail.last(1) == b"type.googleapis.com/baton.exec.v1.ExecError":
                return Message(detail.last(2)).last(1, 0)
        return 0

    def check_trace(self):
        """Checks that the child's TRACEPARENT and Exited.trace name the derived span."""
        _, trace, _, flags = self.args.traceparent.split("-")
        process = span_id(bytes.fromhex(trace), self.call_id, PROCESS_STAGE).hex()
        if self.stdout.decode().split() != [f"00-{trace}-{process}-{flags}"]:
            raise Failure(f"the child saw {self.stdout.decode()!r}, not span {process}")
        if self.carrier.hex() != trace + process + flags:
            raise Failure(f"the exit carried {self.carrier.hex()}, not span {process}")

    def print_timings(self):
        received_unix_ns, rows = timings(self.timings)
        stages = [{"stage": STAGES.get(stage, stage), "start_ns": start, "duration_ns": duration, "attempt": attempt}
                  for stage, start, duration, attempt in rows]
        queue_ns, forward_ns = self.terminal_stamp
        print(json.dumps({"received_unix_ns": received_unix_ns, "stages": stages, "clock": self.session.clock,
                          "terminal_relay": {"queue_ns": queue_ns, "forward_ns": forward_ns}}), file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticket", default=os.environ.get("BATON_TICKET"), help="default: $BATON_TICKET")
    parser.add_argument("--key", required=True, help="key file, as `baton keygen` writes it")
    parser.add_argument("--stdin", action="store_true", help="send standard input")
    parser.add_argument("--timings", action="store_true", help="print the server's stages as a line of JSON on stderr")
    parser.add_argument("--rekey-after", type=int, default=0, metavar="N",
                        help="begin a rekey after every N received messages, and print the number of rekeys on stderr")
    parser.add_argument("--no-window", action="store_true",
                        help="neither announce a window nor use the announced one")
    parser.add_argument("--version-hint", type=int, default=VERSION, metavar="N",
                        help="the version in the header baton-protocol-version, which must not affect the session")
    parser.add_argument("--no-hello", action="store_true", help="omit the first frame; the session must end")
    parser.add_argument("--unknown-required", action="store_true",
                        help="send a frame of type 127; the session must end")
    parser.add_argument("--traceparent", help="default: a new, sampled trace")
    parser.add_argument("--check-trace", action="store_true", help="the command prints $TRACEPARENT: check it")
    parser.add_argument("--thread", default="", help="the thread that the command belongs to")
    parser.add_argument("--turn", type=int, default=0, metavar="N", help="the turn that it belongs to, from 1")
    parser.add_argument("--step", default="", metavar="ID", help="the step of that turn")
    parser.add_argument("--family", choices=FAMILIES, default=FAMILIES[0],
                        help="the runtime family; session init is reported at the first output")
    parser.add_argument("--timeout", type=float, default=30, help="the call's deadline in seconds (30)")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD")
    args = parser.parse_args()
    args.command = args.command[1:] if args.command[:1] == ["--"] else args.command
    args.traceparent = args.traceparent or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-03"
    try:
        ticket = Ticket.parse(args.ticket or "")
        session = Session(ticket, noise_private(read_seed(args.key)), args.timeout, args.rekey_after, args.version_hint)
        try:
            code = Call(session, args).run()
        except (Failure, Malformed):
            session.close()
            raise
        if args.rekey_after:
            print(f"{session.rekeys} rekeys", file=sys.stderr)
        if not session.close():
            raise Failure("the exec-server did not answer END_STREAM with END_STREAM")
        return code
    except (Failure, Malformed) as failure:
        print(f"client.py: {failure}", file=sys.stderr)
        return getattr(failure, "code", 255)


if __name__ == "__main__":
    sys.exit(main())
