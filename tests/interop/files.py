#!/usr/bin/env python3
"""Asks a Baton exec-server about its file system: Files/Stat and Files/FindUp (section 7 of docs/PROTOCOL.md).

Each call is a unary gRPC call on a stream of its own; all share one session. Prints each answer as a line of JSON.
"""

import argparse
import json
import os
import struct
import sys
import time
import urllib.parse

from client import (CREDIT, DATA, FIND_UP, GO_AWAY, HEAD, HELLO, MARKERS, PING, PONG, RESET, SESSION, TRAILERS,
                    Failure, Session, hint)
from wire import VERSION, Malformed, Message, Ticket, field, fixed64, frame, noise_private, read_seed, unbase64

KINDS = ["OTHER", "REGULAR_FILE", "DIRECTORY", "SYMBOLIC_LINK", "FIFO", "SOCKET", "CHARACTER_DEVICE", "BLOCK_DEVICE"]
ABSENCES = ["UNSPECIFIED", "NOT_FOUND", "NOT_PERMITTED"]
FILES_ERRORS = ["UNSPECIFIED", "INVALID_PATH", "INVALID_MARKERS", "NOT_FOUND", "NOT_A_DIRECTORY", "NOT_PERMITTED",
                "BUSY", "TIMED_OUT", "IO_FAILED", "NOT_REGULAR", "OUTSIDE_ROOT", "NO_ROOTS",
                "EXISTS", "CHANGED", "INVALID_WRITE", "NO_SPACE", "RESTRICTED"]
UNREADABLE = ["UNSPECIFIED", "NOT_PERMITTED", "IO_FAILED"]


class Calls:
    """Unary calls in one session, one after the other. A request and its answer are far smaller than a window."""

    def __init__(self, session):
        self.session, self.frames, self.stream = session, session.inner_frames(), 0

    def call(self, method, request):
        """The answer, or None and the kind of the FilesError."""
        self.stream += 1
        first = frame(HELLO, SESSION, field(1, VERSION) + field(2, MARKERS | FIND_UP)) if self.stream == 1 else b""
        if first:
            first += frame(PING, SESSION, field(1, 1) + fixed64(2, time.time_ns()))
        head = field(1, method) + field(3, int(10e9))
        data = struct.pack(">BI", 0, len(request)) + request
        self.session.send(first + frame(HEAD, self.stream, head) + frame(DATA, self.stream, data, end=True))
        body, status = bytearray(), {}
        for kind, _, stream, data in self.frames:
            if kind == PING:
                message, now = Message(data), time.time_ns()
                times = fixed64(2, message.last(2, 0)) + fixed64(3, now) + fixed64(4, now)
                self.session.send(frame(PONG, SESSION, field(1, message.last(1, 0)) + times))
            elif kind in (PONG, CREDIT):
                pass
            elif kind == GO_AWAY:
                raise Failure(f"the exec-server ended the session: {hint(Message(data).last(3).decode())}")
            elif stream != self.stream:
                raise Failure(f"a frame of type {kind} on stream {stream}")
            elif kind == RESET:
                raise Failure(f"the call was reset with gRPC status {struct.unpack('>I', data)[0]}")
            elif kind == DATA:
                body += data
            elif kind in (HEAD, TRAILERS):
                entries = Message(data).get(2 if kind == HEAD else 1, [])
                status.update((entry.last(1).decode(), entry.last(2).decode()) for entry in map(Message, entries))
                if kind == TRAILERS:
                    return self.finish(status, bytes(body))

    def finish(self, status, body):
        code = int(status.get("grpc-status", 2))
        if code == 0:
            compressed, size = struct.unpack_from(">BI", body)
            if compressed or size != len(body) - 5:
                raise Failure("not one uncompressed message")
            return Message(body[5:])
        details = Message(unbase64(status.get("grpc-status-details-bin", "").rstrip("=")))
        for detail in map(Message, details.get(3, [])):
            if detail.last(1) == b"type.googleapis.com/baton.files.v1.FilesError":
                return {"error": FILES_ERRORS[Message(detail.last(2)).last(1, 0)], "grpc_status": code}
        raise Failure(f"gRPC status {code}: {hint(urllib.parse.unquote(status.get('grpc-message', '')))}")


def stat(calls, path, follow):
    answer = calls.call("/baton.files.v1.Files/Stat", field(1, os.fsencode(path)) + field(2, follow))
    if not isinstance(answer, Message):
        return answer
    if 2 in answer:
        return {"absent": ABSENCES[Message(answer.last(2)).last(1, 0)]}
    found = Message(answer.last(1))
    return {"kind": KINDS[found.last(1, 0)], "size": found.last(2, 0), "mode": oct(found.last(3, 0)),
            "modified_ns": found.last(4, 0) * 10**9 + found.last(5, 0), "canonical": os.fsdecode(found.last(6))}


def find_up(calls, start, markers):
    request = field(1, os.fsencode(start)) + b"".join(field(2, os.fsencode(marker)) for marker in markers)
    answer = calls.call("/baton.files.v1.Files/FindUp", request)
    if not isinstance(answer, Message):
        return answer
    found = Message(answer.last(1)) if 1 in answer else None
    result = {"start": os.fsdecode(answer.last(2)), "unreadable": answer.last(3, 0), "found": found and {
        "directory": os.fsdecode(found.last(1)), "marker": os.fsdecode(found.last(2)), "depth": found.last(3, 0)}}
    if 4 in answer:
        first = Message(answer.last(4))
        result["first_unreadable"] = [os.fsdecode(first.last(1)), UNREADABLE[first.last(2, 0)]]
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticket", required=True)
    parser.add_argument("--key", required=True, help="key file, as `baton keygen` writes it")
    parser.add_argument("--stat", action="append", default=[], metavar="PATH", help="the status of PATH, of a link itself")
    parser.add_argument("--follow", action="append", default=[], metavar="PATH", help="the status of what PATH leads to")
    parser.add_argument("--find-up", nargs="+", action="append", default=[], metavar=("START", "MARKER"))
    args = parser.parse_args()
    try:
        session = Session(Ticket.parse(args.ticket), noise_private(read_seed(args.key)), 30)
        calls = Calls(session)
        print(json.dumps({"find_up_is_announced": bool(session.features & FIND_UP)}))
        for path in args.stat:
            print(json.dumps(stat(calls, path, False)))
        for path in args.follow:
            print(json.dumps(stat(calls, path, True)))
        for start, *markers in args.find_up:
            print(json.dumps(find_up(calls, start, markers)))
        if not session.close():
            raise Failure("the exec-server did not answer END_STREAM with END_STREAM")
        return 0
    except (Failure, Malformed) as failure:
        print(f"files.py: {failure}", file=sys.stderr)
        return 255


if __name__ == "__main__":
    sys.exit(main())
