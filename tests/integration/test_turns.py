"""
Turns of an event loop: who is sent much is served by pieces, and everybody else in
between. What waits for the gateway when it is stopped is there at once when it goes on; its log says who came first.
"""
import contextlib
import re
import signal
import socket

import pytest

from harness import plain_http, read_response, send_signal, wait_for

LARGE = bytes(i % 251 for i in range(60000))
ROOM = 1 << 20  # of a client's socket: it takes an answer whole


def script(peer):
    while peer.read_request() is not None:
        peer.write(b"HTTP/1.1 200 OK\r\ncache-control: max-age=1000\r\ncontent-length: %d\r\n\r\n%s" % (len(LARGE), LARGE))


@pytest.fixture(scope="module")
def upstream(recorder_module):
    return recorder_module(script)


@pytest.fixture(scope="module")
def site(launch_module, upstream):
    return launch_module({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1},
        "observability": {"access_log": True},
        "clusters": {"up": {"endpoints": [upstream.address]}},
        "routes": [{"match": {"prefix": "/small"}, "respond": {"status": 200, "body": "small"}},
                   {"match": {"prefix": "/"}, "to": "cluster:up", "cache": True}]})


def figure(site, name):
    return site.stats()["gateway"]["connections"][name]


def served(site, since):
    """Paths in the order in which they were answered."""
    return re.findall(r'event=request .* path="([^"]+)"', site.log[since:])


@contextlib.contextmanager
def stopped(site):
    """Nothing is read until the end of it."""
    pid = site.stats()["process"]["pid"]
    send_signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        send_signal(pid, signal.SIGCONT)


class Client:
    def __init__(self, site):
        self.connection = socket.socket()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        self.connection.settimeout(30)
        self.connection.connect(("127.0.0.1", site.port))
        self.file = self.connection.makefile("rb")

    def ask(self, *paths):
        self.connection.sendall(b"".join(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode() for path in paths))

    def hear(self, count):
        """Bodies of what was asked for."""
        answers = [read_response(self.file) for _ in range(count)]
        assert all(status == 200 for status, _, _ in answers)
        return [body for _, _, body in answers]

    def close(self):
        self.file.close()
        self.connection.close()


def known(stack, site):
    """A client that the gateway has read more than a few times: nobody new is in a hurry."""
    client = stack.enter_context(contextlib.closing(Client(site)))
    for _ in range(5):
        client.ask("/small/hello")
        client.hear(1)
    return client


def test_small_answers_do_not_wait_for_large_ones(site):
    with contextlib.ExitStack() as stack:
        crowd = [known(stack, site) for _ in range(20)]
        other = known(stack, site)
        crowd[0].ask("/large/0")
        assert crowd[0].hear(1) == [LARGE]
        before, since = figure(site, "writes_cut"), len(site.log)
        with stopped(site):
            for client in crowd:
                client.ask("/large/0")
            other.ask("/small/other")
        assert other.hear(1) == [b"small"]
        assert all(client.hear(1) == [LARGE] for client in crowd)
        order = wait_for(lambda: len(served(site, since)) >= 21 and served(site, since), what="all in the log")
        assert order.index("/small/other") <= 8
        assert figure(site, "writes_cut") > before
        assert "floodgate_writes_cut_total " in plain_http.get(f"{site.admin}/metrics").text
