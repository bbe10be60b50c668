"""
What a server can do to a gateway and to whoever is beside its clients: answers in pieces of a byte, by chunks and by
frames, without end.
"""
import contextlib

import pytest

import wire
from harness import read_all, wait_for
from upstreams import SocketServer, serving
from wire import DATA, END_HEADERS, HEADERS, SETTINGS, frame

PIECES = 3000
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
TEXT = bytes(97 + i % 26 for i in range(PIECES))


def chunks(connection, _):
    """/endless: chunks of a byte until it is cut; anything else: some thousands of them, in one go."""
    file = connection.makefile("rb")
    while line := file.readline():
        while file.readline().strip():
            pass
        connection.sendall(HEAD)
        while b"/endless" in line:
            connection.sendall(b"1;a=b\r\nx\r\n" * 5000)
        connection.sendall(b"".join(b"1\r\n%c\r\n" % one for one in TEXT) + b"0\r\n\r\n")


def frames(connection, _):
    """The same by HTTP/2, whose windows are not looked at: there is none so small."""
    file = connection.makefile("rb")
    file.read(len(wire.PREFACE))
    connection.sendall(frame(SETTINGS, 0, 0))
    while head := file.read(9):
        payload = file.read(int.from_bytes(head[:3], "big"))
        stream = int.from_bytes(head[5:9], "big")
        if head[3] == SETTINGS and not head[4] & wire.ACK:
            connection.sendall(frame(SETTINGS, wire.ACK, 0))
        if head[3] != HEADERS:
            continue
        connection.sendall(frame(HEADERS, END_HEADERS, stream, b"\x88"))
        if b"/endless" in payload:
            with contextlib.suppress(OSError):
                connection.sendall(frame(DATA, 0, stream, b"x") * 200000)
        connection.sendall(b"".join(frame(DATA, 0, stream, b"%c" % one) for one in TEXT) +
                           frame(DATA, wire.END_STREAM, stream))


@pytest.fixture(scope="module", params=["chunks", "frames"])
def site(request, launch_module):
    serve = {"chunks": chunks, "frames": frames}[request.param]
    with serving(SocketServer(serve)) as server:
        yield launch_module({
            "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
            "limits": {"threads": 1},
            "clusters": {"up": {"endpoints": [server.address], "protocol": "h2" if serve is frames else "http1"}},
            "routes": [{"match": {"path": "/direct"}, "respond": {"status": 200, "body": "direct"}},
                       {"match": {"prefix": "/"}, "to": "cluster:up"}]})


def request(path):
    return b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path


def pieces_of(body):
    """The chunks of a chunked body."""
    found = []
    while True:
        size, _, body = body.partition(b"\r\n")
        if int(size, 16) == 0:
            return found
        found.append(body[:int(size, 16)])
        body = body[int(size, 16) + 2:]


def test_tiny_pieces_reach_the_client_joined(site):
    with wire.connect(site.port) as connection:
        connection.sendall(request(b"/a"))
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and b"chunked" in head
    pieces = pieces_of(body)
    assert b"".join(pieces) == TEXT and len(pieces) < PIECES // 10


def test_tiny_pieces_without_end_are_read_a_little_at_a_time(site):
    def dear_reads():
        return site.stats()["backends"]["up"]["connections"]["dear_reads"]
    before = dear_reads()
    crowd = [wire.connect(site.port) for _ in range(4)]
    try:
        for one in crowd:
            one.sendall(request(b"/endless"))
        def is_dear():
            for one in crowd:
                one.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    one.recv(1 << 20)
            return dear_reads() > before
        wait_for(is_dear, what="a dear read")
        with wire.connect(site.port) as connection:
            connection.sendall(b"GET /direct HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert read_all(connection).endswith(b"\r\n\r\ndirect")
    finally:
        for one in crowd:
            one.close()
    site.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 0, what="the end of the requests")
