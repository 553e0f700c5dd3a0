#!/usr/bin/env python3
"""Asks a Baton exec-server about its file system: Files/Stat, FindUp, Glob and Grep (section 7 of docs/PROTOCOL.md).

Each call has a stream of its own; all share one session. Prints each answer as a line of JSON.
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
                "EXISTS", "CHANGED", "INVALID_WRITE", "NO_SPACE", "RESTRICTED", "INVALID_SEARCH"]
TRUNCATIONS = ["COMPLETE", "RESULTS", "TIME", "ENTRIES"]
UNREADABLE = ["UNSPECIFIED", "NOT_PERMITTED", "IO_FAILED"]


class Calls:
    """Calls in one session, one after the other. A request and its answer are far smaller than a window."""

    def __init__(self, session):
        self.session, self.frames, self.stream = session, session.inner_frames(), 0

    def call(self, method, request):
        """The answer, or the kind of the FilesError."""
        answers = self.stream_of(method, request)
        if isinstance(answers, dict):
            return answers
        if len(answers) != 1:
            raise Failure(f"{len(answers)} messages answer a unary call")
        return answers[0]

    def stream_of(self, method, request):
        """The messages of the answer, or the kind of the FilesError."""
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
            messages, at = [], 0
            while at < len(body):
                compressed, size = struct.unpack_from(">BI", body, at)
                if compressed or size > len(body) - at - 5:
                    raise Failure("a message that is compressed or cut")
                messages.append(Message(body[at + 5:at + 5 + size]))
                at += 5 + size
            return messages
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


def place_and_selection(root, globs):
    """Fields 1 and 2 of a GlobRequest or GrepRequest: the root itself, with .gitignore files heeded."""
    selection = b"".join(field(1, glob.encode()) for glob in globs) + field(4, 1)
    return field(1, field(1, os.fsencode(root))) + field(2, selection)


def end_of(answers, truncated, unsearched):
    """The messages before the end, the reason why they are not all, and what was passed over."""
    if not answers or 2 not in answers[-1] or any(2 in answer for answer in answers[:-1]):
        raise Failure("an answer without an end behind it")
    end = Message(answers[-1].last(2))
    passed = Message(end.last(unsearched, b""))
    return answers[:-1], end, {"truncated": TRUNCATIONS[end.last(truncated, 0)],
                               "unsearched": [passed.last(1, 0), passed.last(2, 0)]}


def glob(calls, root, globs):
    answers = calls.stream_of("/baton.files.v1.Files/Glob", place_and_selection(root, globs))
    if isinstance(answers, dict):
        return answers
    pages, end, result = end_of(answers, 2, 3)
    entries = [Message(entry) for page in pages for entry in Message(page.last(1)).get(1, [])]
    result["entries"] = [[os.fsdecode(entry.last(1)), KINDS[Message(entry.last(2)).last(1, 0)]] for entry in entries]
    if end.last(1, 0) != len(entries):
        raise Failure("another number of entries than the end says")
    return result


def grep(calls, root, pattern, globs):
    request = place_and_selection(root, globs) + field(3, pattern.encode()) + field(6, 1) + field(9, 3)
    answers = calls.stream_of("/baton.files.v1.Files/Grep", request)
    if isinstance(answers, dict):
        return answers
    pages, end, result = end_of(answers, 7, 8)
    result["lines"] = []
    for file in (Message(file) for page in pages for file in Message(page.last(1)).get(1, [])):
        for line in map(Message, file.get(2, [])):
            span = Message(line.last(6)) if 6 in line else None
            result["lines"].append([os.fsdecode(file.last(1)), line.last(1), line.last(2, 0), os.fsdecode(line.last(3, b"")),
                                    span and [span.last(1, 0), span.last(2, 0)]])
    result["counts"] = [end.last(number, 0) for number in range(1, 7)]
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticket", required=True)
    parser.add_argument("--key", required=True, help="key file, as `baton keygen` writes it")
    parser.add_argument("--stat", action="append", default=[], metavar="PATH", help="the status of PATH, of a link itself")
    parser.add_argument("--follow", action="append", default=[], metavar="PATH", help="the status of what PATH leads to")
    parser.add_argument("--find-up", nargs="+", action="append", default=[], metavar=("START", "MARKER"))
    parser.add_argument("--glob", nargs="+", action="append", default=[], metavar=("ROOT", "GLOB"))
    parser.add_argument("--grep", nargs="+", action="append", default=[], metavar=("ROOT", "PATTERN"))
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
        for root, *globs in args.glob:
            print(json.dumps(glob(calls, root, globs)))
        for root, pattern, *globs in args.grep:
            print(json.dumps(grep(calls, root, pattern, globs)))
        if not session.close():
            raise Failure("the exec-server did not answer END_STREAM with END_STREAM")
        return 0
    except (Failure, Malformed) as failure:
        print(f"files.py: {failure}", file=sys.stderr)
        return 255


if __name__ == "__main__":
    sys.exit(main())
