"""
Answers out of the cache that nobody reads: what was pushed out stays in memory as long as somebody is sent it, where
others would be fetched. While that room is short, whoever takes nothing gives it up; else nothing could be kept any more.
"""
import contextlib
import random
import re
import socket
import threading

import pytest

import wire
from harness import read_all, wait_for
from wire import CANCEL, headers, pseudo, settings

SIZE = 1000000  # more than what the kernel and the connection's own buffers take


TEXT = random.Random(1).randbytes(SIZE // 2).hex().encode().replace(b"f", b"x")  # brotli has to look for long


gate = threading.Event()  # for what is asked for as "/gated"


def script(peer):
    while (request := peer.read_request()) is not None:
        if b"/gated" in request[0]:
            gate.wait(60)
        length = b"" if b"/unsaid" in request[0] else b"content-length: %d\r\n" % SIZE
        end = b"" if length else b"connection: close\r\n"
        kind, body = (b"html", TEXT) if b"/text" in request[0] else (b"none", b"x" * SIZE)
        peer.write(b"HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-type: text/%s\r\n%s%s\r\n" % (
            kind, length, end) + body)
        if end:
            return


@pytest.fixture
def make(launch, recorder):
    def make(**keys):
        return launch({
            "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
            "limits": {"threads": 1, "write_timeout": "10m"},
            "policies": {"cache": {"memory_max": "16MiB", "object_max": "1MiB", "compress_types": ["text/html"], **keys}},
            "clusters": {"up": {"endpoints": [recorder(script).address]}},
            "routes": [{"match": {"prefix": "/"}, "to": "cluster:up", "cache": True}]})
    return make


def ask(site, path, codings=""):
    """How the cache says that it came by the answer."""
    with wire.connect(site.port) as connection:
        connection.sendall(b"GET %s HTTP/1.1\r\nhost: x\r\naccept-encoding: %s\r\nconnection: close\r\n\r\n" % (
            path.encode(), codings.encode()))
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert codings or answer.count(b"x") >= SIZE
    return re.search(rb"\r\ncache-status: floodgate; ([^\r;]*)", answer)[1].decode()


class Unread:
    """Somebody who asks, and reads nothing."""

    def __init__(self, site, path, http2):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", site.port))
        if http2:
            self.peer = wire.H2(self.socket, first=settings((4, 0)))
            self.peer.send(headers(1, pseudo(path)))
        else:
            self.socket.sendall(b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n" % path.encode())
            self.peer = None

    def is_whole(self):
        if self.peer is not None:
            self.peer.send(wire.frame(wire.WINDOW_UPDATE, 0, 1, SIZE.to_bytes(4, "big")) +
                           wire.frame(wire.WINDOW_UPDATE, 0, 0, SIZE.to_bytes(4, "big")))
            self.peer.until(lambda: self.peer.is_over(1))
            assert self.peer.resets.get(1, CANCEL) == CANCEL
            return len(self.peer.bodies.get(1, b"")) == SIZE
        data = b""
        with contextlib.suppress(ConnectionError):
            while data.count(b"x") < SIZE and (piece := self.socket.recv(65536)):
                data += piece
        return data.count(b"x") >= SIZE


def crowd_out(site, http2, path, count=30):
    """So many pages, each asked for by somebody who reads it and by somebody who does not."""
    unread = []
    for i in range(count):
        unread.append(Unread(site, path + str(i), http2))
        unread[-1].socket.recv(1, socket.MSG_PEEK)  # it is being answered
        ask(site, path + str(i))
    return unread


def room_of(site):
    return site.stats()["cache"]["held_bytes"]


@pytest.mark.parametrize("path", ["/page-", "/unsaid-"], ids=["of a known length", "until the end"])
@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_whoever_reads_nothing_gives_way_to_what_would_be_kept(make, http2, path):
    site = make(slow_reader_max="100ms")
    kept = Unread(site, "/kept", http2)
    ask(site, "/kept")
    assert {ask(site, "/kept") for _ in range(3)} == {"hit"}
    unread = crowd_out(site, http2, path)
    fresh = (f"/fresh-{i}" for i in range(1000))

    def is_kept():
        now = next(fresh)
        return ask(site, now) == "fwd=uri-miss" and ask(site, now) == "hit"
    wait_for(is_kept, what="something new that is kept")
    assert ask(site, "/kept") == "hit" and kept.is_whole()  # its body is in the cache all the same
    cut = [one for one in unread if not one.is_whole()]
    assert 0 < len(cut)
    assert "event=slow_reader_cut backend=cache client=127.0.0.1" in site.log
    for one in (kept, *unread):
        one.socket.close()
    wait_for(lambda: room_of(site) == 0, what="the end of what was held")


def test_without_that_they_stay_until_their_time_is_over(make):
    site = make(slow_reader_max="off")
    unread = crowd_out(site, False, "/page-")
    assert room_of(site) > (4 << 20) - SIZE
    ask(site, "/fresh")
    assert ask(site, "/fresh") == "fwd=bypass"
    assert all(one.is_whole() for one in unread)
    for one in unread:
        one.socket.close()
    wait_for(lambda: room_of(site) == 0, what="the end of what was held")


def test_what_is_in_the_cache_is_held_there(make):
    """And not in the room for what is fetched, though who asked first has read nothing of it yet."""
    site = make()
    unread = [Unread(site, f"/page-{i}", False) for i in range(8)]
    for i in range(8):
        ask(site, f"/page-{i}")
        assert ask(site, f"/page-{i}") == "hit"
    wait_for(lambda: room_of(site) == 0, what="nothing that is held twice")
    assert all(one.is_whole() for one in unread)
    for one in unread:
        one.socket.close()


def test_what_is_to_be_compressed_leaves_room_as_well(make):
    """A page that waits for its turn is held, though it was pushed out long ago; the next one asks again."""
    site = make()
    for i in range(40):
        ask(site, f"/text-{i}", "br")
        assert ask(site, f"/text-{i}", "br") == "hit"
    wait_for(lambda: room_of(site) == 0, what="the end of what waits")
    wait_for(lambda: ask(site, "/text-39", "br") == "hit" and site.stats()["cache"]["variants"] > 0, what="the page in brotli")


@pytest.mark.parametrize("path", ["/gated", "/gated/unsaid"], ids=["of a known length", "until the end"])
def test_many_who_read_the_same_fetch_have_it_in_common(make, path):
    """Of each of them 128 KiB would else wait, in memory that no limit of requests counts."""
    site = make()
    gate.clear()
    crowd = [Unread(site, path, True) for _ in range(20)]
    for one in crowd:
        one.peer.send(b"".join(headers(i, pseudo(path)) for i in range(3, 201, 2)))
    site.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 2000, what="all of them")
    before = site.stats()["process"]["rss_peak_bytes"]
    gate.set()
    for one in crowd:
        assert one.peer.until(lambda peer=one.peer: len(peer.status) == 100)
    assert site.stats()["process"]["rss_peak_bytes"] - before < 128 << 20  # it was 250 MiB
    assert crowd[0].is_whole()
    for one in crowd:
        one.socket.close()
