"""
test_duplex.py: answers that begin while their requests go on, as gRPC's streams both ways do, and those that go on for long:
who may be silent, for how long, whose doing it is when that was too long, and what they keep from others.
"""
import threading
import time

import pytest

import wire
from harness import wait_for
from test_policies import in_background, join
from upstreams import H2Requests, SocketServer, serving
from wire import DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, frame

BODY_TIMEOUT = 1  # seconds
FAILURES = 2  # in a row open the breaker
PIECES = 35


class Server(SocketServer):
    """Its answers begin at once: "/talk" says a piece now and then, "/listen" ends when it is told to, "/quiet" never."""

    def __init__(self):
        self.go_on, self.resets = threading.Event(), 0
        super().__init__(self.talk)

    def talk(self, connection, _):
        peer = H2Requests(connection)
        while (one := peer.next_frame()) is not None:
            kind, stream, payload = one
            if kind == HEADERS:
                path = dict(peer.decoder.decode(payload))[":path"]
                connection.sendall(frame(HEADERS, END_HEADERS, stream, b"\x88") + frame(DATA, 0, stream, b"-"))
                threading.Thread(target=self.go, args=(connection, stream, path), daemon=True).start()
            self.resets += kind == RST_STREAM

    def go(self, connection, stream, path):
        if path.endswith("/talk"):
            for _ in range(PIECES - 1):
                time.sleep(0.1)
                connection.sendall(frame(DATA, 0, stream, b"-"))
        elif path.endswith("/listen"):
            assert self.go_on.wait(60)
        else:
            return
        connection.sendall(frame(DATA, END_STREAM, stream, b"."))


@pytest.fixture(scope="module")
def server():
    with serving(Server()) as one:
        yield one


@pytest.fixture(scope="module")
def site(launch_module, server):
    cluster = {"endpoints": [server.address], "protocol": "h2",
               "breaker": {"consecutive_failures": FAILURES, "open": "1h", "open_max": "1h"}}
    return launch_module({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1, "body_timeout": f"{BODY_TIMEOUT}s"},
        "clusters": {"app": cluster, "brief": cluster},
        "routes": [{"match": {"prefix": "/stream"}, "to": "cluster:app", "stream_idle_timeout": "60s"},
                   {"match": {"prefix": "/brief"}, "to": "cluster:brief", "stream_idle_timeout": "300ms"},
                   {"match": {"prefix": "/"}, "to": "cluster:app"}]})


def begin(site, path):
    """A request whose body stays open, and has said something."""
    client = wire.H2(wire.connect(site.port))
    client.send(wire.headers(1, wire.pseudo(path, method="POST"), END_HEADERS) + frame(DATA, 0, 1, b"hello"))
    return client


@pytest.mark.parametrize("path", ["/talk", "/stream/talk"])
def test_who_listens_need_not_talk(site, path):
    client = begin(site, path)
    with client.connection:
        assert client.until(lambda: client.is_over(1))
        assert client.bodies[1] == b"-" * PIECES + b"." and 1 in client.ended


def test_who_listens_in_http1_need_not_talk(site):
    with wire.connect(site.port) as connection:
        connection.sendall(b"POST /talk HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        heard = b""
        while not heard.endswith(b"0\r\n\r\n"):
            piece = connection.recv(65536)
            assert piece, "it was cut"
            heard += piece
    assert heard.partition(b"\r\n\r\n")[2].count(b"-") == PIECES


def test_both_may_be_silent_for_as_long_as_the_route_says(site, server):
    started = time.monotonic()
    client = begin(site, "/stream/listen")
    with client.connection:
        assert client.until(lambda: 1 in client.bodies)
        wait_for(lambda: time.monotonic() > started + 2.5 * BODY_TIMEOUT, what="the end of the time for bodies")
        server.go_on.set()
        assert client.until(lambda: client.is_over(1))
        assert client.bodies[1] == b"-." and 1 in client.ended


@pytest.mark.parametrize("path, cluster", [("/quiet", "app"), ("/brief/quiet", "brief")], ids=["body_timeout", "the route's"])
def test_a_silence_that_the_client_could_have_ended_is_its_own(site, server, path, cluster):
    before = server.resets
    for _ in range(FAILURES + 1):
        client = begin(site, path)
        with client.connection:
            assert client.until(lambda: client.is_over(1)) and 1 in client.resets and 1 not in client.ended
    wait_for(lambda: server.resets > before + FAILURES, what="the end at the server")
    assert site.gate(cluster)["breaker"]["opened_total"] == 0


@pytest.mark.parametrize("holds", [False, True])
def test_streams_that_have_begun_leave_their_slots(launch, server, holds):
    """Else as many as may be in flight would keep out all others until they end."""
    gateway = launch({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1},
        "clusters": {"app": {"endpoints": [server.address], "protocol": "h2", "concurrency": {"kind": "fixed", "limit": 4},
                             "queue": {"wait_max": "200ms"}}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "stream_idle_timeout": "60s", "stream_holds_slot": holds}]})
    client = wire.H2(wire.connect(gateway.port))
    with client.connection:
        for stream in range(1, 21, 2):
            client.send(wire.headers(stream, wire.pseudo("/quiet")))
            assert client.until(lambda: stream in client.status)
        assert [client.status[stream] for stream in range(1, 21, 2)] == [200] * (4 if holds else 10) + [503] * (6 if holds else 0)
        assert gateway.gate("app")["concurrency"]["in_flight"] == (4 if holds else 0)
        assert gateway.stats()["backends"]["app"]["limits"]["requests"]["used"] == (4 if holds else 10)
    gateway.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 0)
    assert gateway.gate("app")["concurrency"]["in_flight"] == 0


def test_a_stream_takes_no_slot_back_when_its_upload_ends(launch):
    """Its slot was given up while the client was slow to send; the answer began before all was there."""
    may_answer, ended = threading.Event(), threading.Event()

    def talk(connection, _):
        peer = H2Requests(connection)
        while (one := peer.next_frame()) is not None:
            kind, stream, payload = one
            if kind == HEADERS:
                assert may_answer.wait(60)
                connection.sendall(frame(HEADERS, END_HEADERS, stream, b"\x88") + frame(DATA, 0, stream, b"-"))
            if kind == DATA and payload.endswith(b"all of it"):
                ended.set()

    with serving(SocketServer(talk)) as server:
        gateway = launch({
            "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
            "limits": {"threads": 1},
            "clusters": {"app": {"endpoints": [server.address], "protocol": "h2"}},
            "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "stream_idle_timeout": "60s"}]})
        client = begin(gateway, "/")
        with client.connection:
            gateway.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 1)
            wait_for(lambda: gateway.gate("app")["concurrency"]["in_flight"] == 0, what="the slot of a slow upload")
            may_answer.set()
            assert client.until(lambda: 1 in client.bodies)
            client.send(frame(DATA, END_STREAM, 1, b"all of it"))
            assert ended.wait(60)
            assert gateway.gate("app")["concurrency"]["in_flight"] == 0


def test_events_leave_connections_to_other_requests(launch, recorder):
    """Over HTTP/1.1 each holds one."""
    def script(peer):
        while (request := peer.read_request()) is not None:
            if request[0].startswith(b"GET /events"):
                peer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n-\r\n")
                peer.more()
                return
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    gateway = launch({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1},
        "clusters": {"app": {"endpoints": [recorder(script).address], "max_connections": 8}},
        "routes": [{"match": {"path": "/events"}, "to": "cluster:app", "stream_idle_timeout": "60s"},
                   {"match": {"prefix": "/"}, "to": "cluster:app"}]})
    client = wire.H2(wire.connect(gateway.port))
    with client.connection:
        answers = [client.get(1, "/good")]
        for stream in range(3, 23, 2):
            client.send(wire.headers(stream, wire.pseudo("/events")))
            assert client.until(lambda: client.status.get(stream) == 200 or client.is_over(stream))
            answers.append(client.status[stream])
        assert answers == [200] * 7 + [503] * 4 and b"cluster_tunnels" in client.bodies[21]
        assert client.get(23, "/good") == 200
    gateway.wait_stats(lambda stats: stats["backends"]["app"]["limits"]["tunnels"]["used"] == 0)


def test_answers_that_end_are_no_events(launch, upstream):
    """On a route for both, requests that are waited for and answers that say how long they are hold no tunnel."""
    backend = upstream()
    backend.gate.clear()
    gateway = launch({
        "clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 16},
                             "max_connections": 16, "limits": {"tunnels": 1}}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "stream_idle_timeout": "60s"}]})
    threads, answers = in_background(gateway, "/", 12)
    wait_for(lambda: backend.in_flight == 12)
    assert gateway.stats()["backends"]["app"]["limits"]["tunnels"]["used"] == 0
    backend.gate.set()
    join(threads)
    assert [answer.status_code for answer in answers] == [200] * 12
