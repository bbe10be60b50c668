"""
test_upstream_h2_floods.py: frames of an HTTP/2 server that bring nothing. Without end they end its connection, at the
cost of what is on it; those that go with what moves do not, however many.
"""
import contextlib

import pytest

import wire
from upstreams import H2Requests, SocketServer, cluster, serving
from wire import (DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY, RST_STREAM, SETTINGS,
                  WINDOW_UPDATE, frame)

HEAD = b"\x88"
FRAMES = 10500  # more than a connection is spared


def conf(server, **keys):
    return {"listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
            **cluster([server.address], protocol="h2", breaker={"enabled": False}, outlier=False, **keys)}


def answer(stream):
    return frame(HEADERS, END_HEADERS, stream, HEAD) + frame(DATA, END_STREAM, stream, b"ok")


class Server(SocketServer):
    """Answers "/good"; for another path sends what `tell` makes of the stream, and reads on."""

    def __init__(self, tell):
        self.tell, self.peers = tell, []
        super().__init__(self.talk)

    def talk(self, connection, _):
        peer = H2Requests(connection)
        self.peers.append(peer)
        while (request := peer.next_request()) is not None:
            stream, path = request
            if path == "/good":
                connection.sendall(answer(stream))
                continue
            with contextlib.suppress(OSError):  # it hangs up before it has all
                self.tell(peer, stream)


@pytest.fixture(scope="module")
def flooded(launch_module):
    with serving(Server(None)) as server:
        yield launch_module(conf(server)), server


@pytest.mark.parametrize("one, behind", [
    pytest.param(lambda stream: frame(PING, 0, 0, b"12345678"), False, id="pings"),
    pytest.param(lambda stream: frame(SETTINGS, 0, 0), False, id="settings"),
    pytest.param(lambda stream: frame(PRIORITY, 0, stream, b"\0\0\0\0\x10"), False, id="priorities"),
    pytest.param(lambda stream: frame(WINDOW_UPDATE, 0, stream, b"\0\0\0\1"), False, id="windows"),
    pytest.param(lambda stream: frame(99, 0, stream, b"x"), False, id="frames of no known type"),
    pytest.param(lambda stream: frame(GOAWAY, 0, 0, b"\x7f\xff\xff\xff\0\0\0\0"), False, id="goaways"),
    pytest.param(lambda stream: frame(DATA, 0, stream), True, id="empty data"),
    pytest.param(lambda stream: frame(DATA, PADDED, stream, b"\2\0\0"), True, id="padding alone"),
    pytest.param(lambda stream: frame(RST_STREAM, 0, stream - 2, b"\0\0\0\0"), False, id="resets of what is over"),
])
def test_without_end_they_end_the_connection(flooded, one, behind):
    """And no other: what is asked next goes over a new one."""
    gateway, server = flooded
    server.tell = lambda peer, stream: peer.connection.sendall(
        (frame(HEADERS, END_HEADERS, stream, HEAD) if behind else b"") + one(stream) * FRAMES)
    client = wire.H2(wire.connect(gateway.port))
    with client.connection:
        assert client.get(1, "/good") == 200
        mine = server.peers[-1]
        client.send(wire.headers(3, wire.pseudo("/flood", method="POST")))
        assert client.until(lambda: client.is_over(3))
        assert client.status.get(3) == (200 if behind and 3 in client.status else None if behind else 502)
        assert (3 in client.resets) == behind
        assert client.get(5, "/good") == 200 and server.peers[-1] is not mine


@pytest.mark.parametrize("count, status", [(90, 200), (200, 502)])
def test_how_many_is_a_key_of_the_cluster(launch, count, status):
    def tell(peer, stream):
        peer.connection.sendall(frame(PING, 0, 0, b"12345678") * count + answer(stream))

    with serving(Server(tell)) as server:
        gateway = launch(conf(server, http2_overhead_burst=100, http2_overhead_per_second=1))
        client = wire.H2(wire.connect(gateway.port))
        with client.connection:
            assert client.get(1, "/flood") == status


def test_windows_in_small_pieces_are_earned_by_what_we_send(launch):
    """Two for each KiB of 12 MiB: more than any connection is spared."""
    def tell(peer, stream):
        received = 0
        while (one := peer.next_frame()) is not None:
            kind, _, payload = one
            if kind != DATA:
                continue
            received += len(payload)
            pieces = len(payload) // 1024
            peer.connection.sendall(b"".join(frame(WINDOW_UPDATE, 0, where, b"\0\0\4\0") for where in (stream, 0)) * pieces)
            if received == 12 << 20:
                peer.connection.sendall(answer(stream))
                return

    with serving(Server(tell)) as server:
        gateway = launch({**conf(server), "limits": {"threads": 1, "body_max": "16MiB"}})
        with wire.connect(gateway.port) as connection:
            connection.sendall(b"POST /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (12 << 20))
            connection.sendall(bytes(12 << 20))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.count == 1 and server.peers[0].goaways == []


def test_empty_data_is_silence(launch):
    """It gives an answer no more time."""
    def tell(peer, stream):
        peer.connection.sendall(frame(HEADERS, END_HEADERS, stream, HEAD) + frame(DATA, 0, stream, b"part"))
        peer.connection.settimeout(0.02)
        while stream not in peer.resets:
            with contextlib.suppress(TimeoutError):
                peer.next_frame()
            peer.connection.sendall(frame(DATA, 0, stream))

    with serving(Server(tell)) as server:
        gateway = launch(conf(server, response_idle_timeout="300ms"))
        client = wire.H2(wire.connect(gateway.port))
        with client.connection:
            client.send(wire.headers(1, wire.pseudo("/slow")))
            assert client.until(lambda: client.is_over(1)) and client.bodies[1] == b"part" and 1 in client.resets
