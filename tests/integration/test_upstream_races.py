"""
test_upstream_races.py: what a server says or does to a kept connection in the very moment in which a
request is put on it. The gateway is held while both happen, so that it learns of them in one turn.
"""
import contextlib
import fcntl
import signal
import socket
import struct

import h2.settings
import pytest

from harness import children_of, send_signal, wait_for
from test_upstream_retries import methods
from upstreams import H2Server, Raw, cluster, figures, ok, serving
from wire import GOAWAY, frame

SIOCOUTQ = 0x5411
LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 4\r\nconnection: close\r\n\r\nlate"


@contextlib.contextmanager
def held(gateway):
    """The gateway's processes do nothing meanwhile."""
    pids = [gateway.process.pid, *children_of(gateway.process.pid)]
    try:
        for pid in pids:
            send_signal(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in reversed(pids):
            send_signal(pid, signal.SIGCONT)


def wait_arrived(connection):
    """All that was written has reached the other side."""
    plain = connection.fileno()
    wait_for(lambda: struct.unpack("i", fcntl.ioctl(plain, SIOCOUTQ, b"\0" * 4))[0] == 0)


def ask_while(gateway, method, happens):
    """A request, and then what the server does, before the gateway sees either; the status line."""
    with gateway.raw() as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        wait_for(lambda: figures(gateway, "connections")["idle"] == 1)
        with held(gateway):
            client.sendall(b"%s / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc" % method.encode())
            wait_arrived(client)
            wait_arrived(happens())
        return client.recv(65536).split(b"\r\n")[0]


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("what", ["late", "closed"])
def test_an_http1_connection_that_ends_is_not_used(launch, method, what):
    idle = []

    def answer(connection, *_):
        idle.append(connection)
        connection.sendall(ok())

    def happens():
        if what == "late":
            idle[0].sendall(LATE)
        idle[0].shutdown(socket.SHUT_WR)
        return idle[0]

    with serving(Raw([answer])) as server:
        gateway = launch(cluster([server.address]))
        assert ask_while(gateway, method, happens) == b"HTTP/1.1 200 OK"
        assert methods(server) == ["GET", method] and len(idle) == 2
        assert figures(gateway, "requests")["reconnects"] == 0


@pytest.mark.parametrize("what", ["closed", "goaway", "goaway and closed"])
def test_a_post_that_has_not_left_goes_over_another_http2_connection(launch, what):
    idle = []

    def answer(server, conn, stream_id, stream):
        idle.append(conn.fg_socket)
        server.echo(server, conn, stream_id, stream)

    def happens():
        if what != "closed":
            idle[0].sendall(frame(GOAWAY, 0, 0, b"\0\0\0\1" + b"\0\0\0\0"))
        if what != "goaway":
            idle[0].shutdown(socket.SHUT_WR)
        return idle[0]

    with serving(H2Server(answer)) as server:
        gateway = launch(cluster([server.address], protocol="h2"))
        assert ask_while(gateway, "POST", happens) == b"HTTP/1.1 200 OK"
        assert [stream.headers[":method"] for _, _, stream in server.streams] == ["GET", "POST"]
        assert figures(gateway)["endpoints"][0]["errors"] == 0


@pytest.mark.parametrize("method, status", [("GET", 200), ("POST", 408)])
def test_what_was_said_to_an_idle_connection_is_nobodys_answer(launch, method, status):
    """It crosses with the request: a GET goes again, a POST may have been taken."""
    def answer(connection, *_):
        connection.sendall(ok() if len(server.requests) != 2 else LATE)
        return len(server.requests) != 2

    with serving(Raw([answer])) as server:
        gateway = launch(cluster([server.address]))
        with gateway.client() as client:
            assert client.get("/").status_code == 200
            assert client.request(method, "/").status_code == status
        assert methods(server) == (["GET"] * 3 if method == "GET" else ["GET", "POST"])
        assert figures(gateway)["endpoints"][0]["errors"] == 0


def test_connections_that_take_no_streams_are_not_kept(launch):
    none = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 0}
    with serving(H2Server(settings=none)) as server:
        gateway = launch(cluster([server.address], protocol="h2", response_head_timeout="2s"))
        with gateway.client() as client:
            for _ in range(5):
                assert client.get("/").status_code in (200, 502)  # by chance, before the settings came
        wait_for(lambda: figures(gateway, "connections")["open"] == 0)
        assert figures(gateway, "connections")["idle"] == 0
