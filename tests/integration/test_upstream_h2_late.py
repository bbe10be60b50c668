"""
test_upstream_h2_late.py: frames of an HTTP/2 server for streams that are no more (RFC 9113 section
5.1). For a stream that the gateway has reset they were on their way, and do no harm; the table of
fields stays in step. A server that says more of a stream that it has ended itself, or reset, has
lost count: the connection ends, and what is asked next goes over another one.
"""
import pytest

import wire
from harness import wait_for
from upstreams import H2Requests, SocketServer, cluster, serving
from wire import (CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, NO_ERROR, RST_STREAM,
                  STREAM_CLOSED, block, frame)

STATUS_200 = b"\x88"
REMEMBERED = b"\x40\x03x-a\x05hello"  # the table's newest entry from now on
NEWEST = b"\xbe"


def conf(server, **keys):
    return {"listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
            **cluster([server.address], protocol="h2", **keys)}


def answer(stream, fields=b"", body=b"ok"):
    return frame(HEADERS, END_HEADERS, stream, STATUS_200 + fields) + frame(DATA, END_STREAM, stream, body)


class Server(SocketServer):
    """Answers "/good"; for another path sends what `tell` makes of the connection's frames and the stream."""

    def __init__(self, tell):
        self.tell, self.peers = tell, []
        super().__init__(self.talk)

    def talk(self, connection, _):
        peer = H2Requests(connection)
        self.peers.append(peer)
        while (request := peer.next_request()) is not None:
            stream, path = request
            connection.sendall(answer(stream) if path == "/good" else b"".join(self.tell(peer, stream, path)))


def await_reset(peer, stream):
    while stream not in peer.resets:
        assert peer.next_frame() is not None


def give_up(client, stream, path):
    client.send(wire.headers(stream, wire.pseudo(path)))
    assert client.until(lambda: client.status.get(stream) == 200)
    client.send(frame(RST_STREAM, 0, stream, CANCEL.to_bytes(4, "big")))


def test_what_was_on_its_way_when_we_reset_does_no_harm(launch):
    """Forty streams, more than are noted: all kinds of frames come behind the reset, and a field for the table."""
    def tell(peer, stream, path):
        if path == "/left":
            peer.connection.sendall(frame(HEADERS, END_HEADERS, stream, STATUS_200))
            await_reset(peer, stream)
            yield frame(DATA, 0, stream, b"x" * 1000) + frame(DATA, 0, stream)
            yield frame(HEADERS, END_STREAM, stream, REMEMBERED[:6])
            yield frame(CONTINUATION, END_HEADERS, stream, REMEMBERED[6:])
        else:
            yield answer(stream, NEWEST)

    with serving(Server(tell)) as server:
        gateway = launch(conf(server))
        client = wire.H2(wire.connect(gateway.port))
        with client.connection:
            for number in range(40):
                give_up(client, 4 * number + 1, "/left")
                client.send(wire.headers(4 * number + 3, wire.pseudo("/known")))
                assert client.until(lambda: client.is_over(4 * number + 3))
                assert client.status[4 * number + 3] == 200 and client.bodies[4 * number + 3] == b"ok"
        assert server.count == 1 and server.peers[0].goaways == []


def test_a_server_that_never_hears_of_the_reset_is_left(launch):
    """More than the stream's window was: it is not late any more."""
    def tell(peer, stream, path):
        peer.connection.sendall(frame(HEADERS, END_HEADERS, stream, STATUS_200))
        await_reset(peer, stream)
        return [frame(DATA, 0, stream, b"x" * 16384)] * 17

    with serving(Server(tell)) as server:
        gateway = launch(conf(server))
        client = wire.H2(wire.connect(gateway.port))
        with client.connection:
            give_up(client, 1, "/left")
            client.send(wire.headers(3, wire.pseudo("/good")))
            assert client.until(lambda: client.is_over(3)) and client.status[3] == 200
        wait_for(lambda: server.peers[0].goaways == [ENHANCE_YOUR_CALM], what="the end of the connection")
        assert server.count == 2


@pytest.fixture(scope="module")
def ended_site(launch_module):
    with serving(Server(None)) as server:
        yield launch_module(conf(server, outlier=False, breaker={"enabled": False})), server


@pytest.mark.parametrize("ends", [
    pytest.param(lambda stream: answer(stream), id="ended"),
    pytest.param(lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, STATUS_200), id="ended with the head"),
    pytest.param(lambda stream: answer(stream) + frame(RST_STREAM, 0, stream, NO_ERROR.to_bytes(4, "big")),
                 id="ended and reset"),
])
@pytest.mark.parametrize("more", [
    pytest.param(lambda stream: frame(DATA, END_STREAM, stream, b"more"), id="data"),
    pytest.param(lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, block([("a", "b")])), id="trailers"),
    pytest.param(lambda stream: frame(HEADERS, END_STREAM, stream) + frame(CONTINUATION, END_HEADERS, stream, STATUS_200),
                 id="another head"),
])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_more_behind_the_end_breaks_the_connection(ended_site, ends, more, method):
    """Whether the request is over or not: a POST's body is not."""
    gateway, server = ended_site
    server.tell = lambda peer, stream, path: [ends(stream) + more(stream)]
    before = len(server.peers)
    client = wire.H2(wire.connect(gateway.port))
    with client.connection:
        flags = END_HEADERS | (END_STREAM if method == "GET" else 0)
        client.send(wire.headers(1, wire.pseudo("/ended", method=method), flags))
        assert client.until(lambda: client.is_over(1)) and client.status[1] == 200
        client.send(wire.headers(3, wire.pseudo("/good")))
        assert client.until(lambda: client.is_over(3)) and client.status[3] == 200
    assert len(server.peers) == (before + 1 if before else 2)
    wait_for(lambda: server.peers[-2].goaways == [STREAM_CLOSED], what="the end of the connection")
