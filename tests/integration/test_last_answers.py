"""
Answers that a client has not read yet when the gateway ends its connection, while it is saying more: to close then
would reset the connection, and what waits for the client in the kernel would be lost (RFC 9112 section 9.6).
"""
import contextlib
import socket
import threading

import pytest

from harness import read_all

BODY = b"x" * 20000
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n" + BODY
GET = b"GET /whole HTTP/1.1\r\nhost: x\r\n\r\n"
MORE = GET * 4000  # more than the gateway has read by then


def script(peer):
    while (request := peer.read_request()) is not None:
        if b" /broken " in request[0]:
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart")
            return
        peer.write(ANSWER)


def before(backend, requests):
    """A gateway that ends a connection behind so many."""
    return {"listeners": lambda one: [{"name": "plain", "address": f"127.0.0.1:{one.port}", "kind": "plain"}],
            "limits": {"threads": 1, "requests_per_connection_max": requests},
            "clusters": {"app": {"endpoints": [backend.address]}},
            "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]}


@pytest.mark.parametrize("said, whole, end", [
    (GET + MORE, 3, BODY),
    (GET * 2 + b"GET /broken HTTP/1.1\r\nhost: x\r\n\r\n" + MORE, 2, b"\r\n\r\npart")],
    ids=["the last request of a connection", "an answer that breaks off"])
def test_who_says_more_can_read_what_was_answered(launch, recorder, said, whole, end):
    backend = recorder(script)
    gateway = launch(before(backend, 3))
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", gateway.port))

        def say():
            with contextlib.suppress(OSError):
                connection.sendall(said)
        speaker = threading.Thread(target=say)
        speaker.start()
        gateway.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 0
                           and stats["gateway"]["requests"]["total"] >= 3, what="the last answer, out of our hands")
        answers = read_all(connection)
        speaker.join(60)
    assert answers.count(BODY) == whole and answers.endswith(end), len(answers)


def test_a_slow_link_has_the_time_that_it_takes(launch, recorder):
    """Longer than anybody is listened to who does not read."""
    whole = 150_000
    backend = recorder(lambda peer: (peer.read_request(), peer.write(
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % whole + bytes(whole))))
    gateway = launch(before(backend, 1))
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        connection.connect(("127.0.0.1", gateway.port))
        connection.sendall(GET)
        gateway.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 0
                           and stats["gateway"]["requests"]["total"] >= 1, what="the answer, out of our hands")
        taken = 0
        pace = threading.Event()
        while piece := connection.recv(4096):
            taken += len(piece)
            connection.sendall(b"x")  # what a reset would answer
            pace.wait(0.12)
    assert taken > whole
