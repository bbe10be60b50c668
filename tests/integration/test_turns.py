"""
Turns of an event loop: who asks for much at once, or is sent much, is served by pieces, and everybody else in
between. What waits for the gateway when it is stopped is there at once when it goes on; its log says who came first.
"""
import concurrent.futures
import contextlib
import re
import signal
import socket
import threading

import pytest

import wire
from harness import plain_http, read_response, send_signal, wait_for
from upstreams import H2Server, Raw, cluster, figures, ok, server_tls, serving

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


def end_of_log(site):
    """What has been answered so far is before it."""
    site.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 0, what="the end of all requests")
    return len(site.log)


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


class H1:
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


class H2(wire.H2):
    def __init__(self, site):
        self.next = 1
        super().__init__(wire.connect(site.port))

    def ask(self, *paths):
        first, self.next = self.next, self.next + 2 * len(paths)
        self.send(b"".join(wire.headers(stream, wire.pseudo(path))
                           for stream, path in zip(range(first, self.next, 2), paths)))

    def hear(self, count):
        streams = range(self.next - 2 * count, self.next, 2)
        assert self.until(lambda: self.ended.issuperset(streams)) and all(self.status[i] == 200 for i in streams)
        return [self.bodies[i] for i in streams]

    def close(self):
        self.connection.close()


def known(stack, site, kind):
    """A client that the gateway has read more than a few times: nobody new is in a hurry."""
    client = stack.enter_context(contextlib.closing(kind(site)))
    for _ in range(5):
        client.ask("/small/hello")
        client.hear(1)
    return client


@pytest.mark.parametrize("kind", [H1, H2])
def test_a_hundred_requests_of_one_read_let_others_in_between(site, kind):
    with contextlib.ExitStack() as stack:
        greedy, other = known(stack, site, kind), known(stack, site, kind)
        before, since = figure(site, "reads_cut"), end_of_log(site)
        with stopped(site):
            greedy.ask(*(f"/small/{i}" for i in range(100)))
            other.ask("/small/other")
        assert greedy.hear(100) == [b"small"] * 100 and other.hear(1) == [b"small"]
        order = wait_for(lambda: len(served(site, since)) >= 101 and served(site, since), what="all in the log")
        assert order.index("/small/other") <= 16
        assert [path for path in order if path != "/small/other"] == [f"/small/{i}" for i in range(100)]
        assert figure(site, "reads_cut") >= before + 5
        assert "floodgate_reads_cut_total " in plain_http.get(f"{site.admin}/metrics").text


@pytest.mark.parametrize("kind", [H1, H2])
def test_requests_behind_which_the_client_ends_are_all_answered(site, kind):
    """Who says no more behind his last request hears every answer: the end waits behind what is held back."""
    with contextlib.ExitStack() as stack:
        client = known(stack, site, kind)
        with stopped(site):
            client.ask(*(f"/small/{i}" for i in range(100)))
            if kind is H1:
                client.connection.shutdown(socket.SHUT_WR)
        assert client.hear(100) == [b"small"] * 100
        if kind is H1:
            assert client.file.read() == b""


def test_a_frame_without_bytes_is_not_left_behind(site):
    """The last word of a read is the end of a head, in a frame of its own; nothing more comes to move it."""
    with contextlib.ExitStack() as stack:
        client = known(stack, site, H2)
        with stopped(site):
            client.ask(*(f"/small/{i}" for i in range(15)))
            last, client.next = client.next, client.next + 2
            client.send(wire.headers(last, wire.pseudo("/small/last"), wire.END_STREAM) +
                        wire.frame(wire.CONTINUATION, wire.END_HEADERS, last))
        assert client.hear(16) == [b"small"] * 16
        with stopped(site):
            client.ask(*(f"/small/{i}" for i in range(16)))
            last, client.next = client.next, client.next + 2
            client.send(wire.headers(last, wire.pseudo("/small/last"), wire.END_STREAM) +
                        wire.frame(wire.CONTINUATION, wire.END_HEADERS, last))
        assert client.hear(17) == [b"small"] * 17


def test_small_answers_do_not_wait_for_large_ones(site):
    with contextlib.ExitStack() as stack:
        crowd = [known(stack, site, H1) for _ in range(20)]
        other = known(stack, site, H1)
        crowd[0].ask("/large/0")
        assert crowd[0].hear(1) == [LARGE]
        before, since = figure(site, "writes_cut"), end_of_log(site)
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


HUGE = bytes(i % 249 for i in range(1500000))


def huge_server(kind, certificate):
    if kind == "h2":
        def answer(server, conn, stream_id, _):
            conn.send_headers(stream_id, [(":status", "200")])
            server.send(conn, stream_id, HUGE)
        return H2Server(answer)
    return Raw([ok(HUGE)], tls=server_tls(certificate) if kind == "tls" else None)


@pytest.mark.parametrize("kind", ["plain", "tls", "h2"])
def test_large_answers_of_servers_are_read_behind_others(launch, certificate, kind):
    keys = {"plain": {}, "tls": {"tls": {"verify": False}}, "h2": {"protocol": "h2"}}[kind]
    with serving(huge_server(kind, certificate)) as server:
        gateway = launch(cluster([server.address], **keys))
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            for _ in range(2):
                answers = list(pool.map(lambda _: gateway.get("/").content, range(6)))
                assert all(answer == HUGE for answer in answers)
        assert figures(gateway, "connections")["last_reads"] > 0


def test_small_answers_of_servers_are_read_at_once(launch):
    with serving(Raw([ok(b"x" * 10000)])) as server:
        gateway = launch(cluster([server.address]))
        for _ in range(20):
            assert gateway.get("/").content == b"x" * 10000
        assert figures(gateway, "connections")["last_reads"] == 0


@pytest.mark.parametrize("gathers", [True, False])
def test_an_answer_waits_for_others_a_turn_and_not_for_ever(launch, gathers):
    released = threading.Event()

    def answer(connection, head, _):
        if b"/slow" in head:
            released.wait(60)
        connection.sendall(ok(b"it"))

    with serving(Raw([answer])) as server:
        config = cluster([server.address])
        config["listeners"] = lambda fg: [{"address": f"127.0.0.1:{fg.port}", "kind": "plain"}]
        config["limits"].update({} if gathers else {"write_gather": "off"})
        gateway = launch(config)
        client = H2(gateway)
        with contextlib.closing(client):
            client.ask("/slow")
            client.ask("/fast")
            assert client.hear(1) == [b"it"]
            client.ask("/fast")
            assert client.hear(1) == [b"it"]
            assert 1 not in client.ended
            assert (figure(gateway, "writes_gathered") > 0) == gathers
            released.set()
            assert client.hear(3) == [b"it"] * 3
        assert "floodgate_writes_gathered_total " in plain_http.get(f"{gateway.admin}/metrics").text
