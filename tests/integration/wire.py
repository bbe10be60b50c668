"""
wire.py: HTTP as bytes, for tests that must see exactly what was said: what an upstream received, with
the fields that differ each time replaced, and HTTP/2 frames without a library that would refuse to
send or to read malformed ones.
"""
import contextlib
import re
import socket
import ssl

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 16
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY, ACK = 1, 4, 8, 32, 1
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
 REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM) = range(12)

VOLATILE = [(rb"\r\nx-request-id: [^\r]*", b""), (rb"\r\ntraceparent: [^\r]*", b""),
            (rb"\r\nx-request-timeout-ms: \d+", b""), (rb"\r\nx-forwarded-(for|proto): [^\r]*", b"")]


def stable(data):
    """Upstream bytes without the fields that the gateway adds to every request."""
    for pattern, text in VOLATILE:
        data = re.sub(pattern, text, data)
    return data


def head(method="GET", path="/", host="x", fields=(), version="HTTP/1.1"):
    """A request head as the gateway writes it, after `stable`."""
    lines = [f"{method} {path} {version}", f"host: {host}", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def connect(port, timeout=60, source=None):
    connection = socket.create_connection(("127.0.0.1", port), timeout, source and (source, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(i.to_bytes(2, "big") + v.to_bytes(4, "big") for i, v in pairs))


def block(fields):
    """Fields as literals that touch no table, so that blocks can be sent in any order."""
    out = b""
    for name, value in fields:
        name, value = (text if isinstance(text, bytes) else text.encode("latin-1") for text in (name, value))
        out += b"\x00" + length(name) + name + length(value) + value
    return out


def length(data, prefix=7):
    limit = (1 << prefix) - 1
    if len(data) < limit:
        return bytes([len(data)])
    out, rest = bytes([limit]), len(data) - limit
    while rest >= 128:
        out, rest = out + bytes([rest & 127 | 128]), rest >> 7
    return out + bytes([rest])


def pseudo(path="/", method="GET", authority="x", scheme="http"):
    return [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]


def headers(stream, fields, flags=END_STREAM | END_HEADERS):
    return frame(HEADERS, flags, stream, block(fields))


class H2:
    """A connection that writes any bytes and notes what comes back, stream by stream."""

    def __init__(self, connection, first=None, preface=PREFACE):
        self.connection = connection
        self.buffer = b""
        self.decoder = hpack.Decoder(max_header_list_size=1 << 20)
        self.status = {}
        self.never_indexed = {}  # names of fields so marked, by stream
        self.bodies = {}
        self.ended = set()
        self.resets = {}
        self.goaways = []  # (last stream, code)
        self.pongs = 0
        self.acks = 0
        self.settings = {}
        self.is_closed = False
        self.send(preface + (settings() if first is None else first))

    def send(self, data):
        """Sends; an end by the other side shows when reading."""
        with contextlib.suppress(OSError):
            self.connection.sendall(data)

    def read(self):
        """One read, all frames of it; False at the end of the connection."""
        try:
            data = self.connection.recv(65536)
        except (ConnectionError, ssl.SSLError):
            data = b""
        if not data:
            self.is_closed = True
            return False
        self.buffer += data
        while len(self.buffer) >= 9:
            size = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + size:
                break
            kind, flags, stream = self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], "big")
            payload, self.buffer = self.buffer[9:9 + size], self.buffer[9 + size:]
            self.on_frame(kind, flags, stream, payload)
        return True

    def on_frame(self, kind, flags, stream, payload):
        if kind == HEADERS:
            fields = self.decoder.decode(payload)
            self.never_indexed.setdefault(stream, set()).update(
                name for name, _ in (one for one in fields if isinstance(one, hpack.NeverIndexedHeaderTuple)))
            fields = dict(fields)
            if ":status" in fields and int(fields[":status"]) >= 200:
                self.status[stream] = int(fields[":status"])
        elif kind == DATA:
            self.bodies[stream] = self.bodies.get(stream, b"") + payload
        elif kind == RST_STREAM:
            self.resets[stream] = int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            self.goaways.append((int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big")))
        elif kind == PING and flags & ACK:
            self.pongs += 1
        elif kind == SETTINGS and flags & ACK:
            self.acks += 1
        elif kind == SETTINGS:
            for at in range(0, len(payload), 6):
                self.settings[int.from_bytes(payload[at:at + 2], "big")] = int.from_bytes(payload[at + 2:at + 6], "big")
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.ended.add(stream)

    def until(self, condition):
        """Reads until it holds or the connection has ended; says whether it holds."""
        while not condition():
            if not self.read():
                return condition()
        return True

    def is_over(self, stream):
        return stream in self.ended or stream in self.resets

    def get(self, stream, path="/"):
        """A well-formed request and its status; None if the connection ends first."""
        self.send(headers(stream, pseudo(path)))
        self.until(lambda: self.is_over(stream))
        return self.status.get(stream)
