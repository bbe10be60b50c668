"""
What one address may hold when descriptors run short: its stalled connections give way, and clients of other
addresses notice nothing.
"""
import contextlib
import socket
import threading

import pytest

from harness import free_port, plain_http, read_response, wait_for
from upstreams import wait_a_moment
from wire import PREFACE, headers, pseudo, settings

HOARDER, KEPT, FRESH = "127.0.0.2", "127.0.0.3", "127.0.0.4"
DESCRIPTORS, RESERVED = 240, 32
SHARE = (DESCRIPTORS - RESERVED) // 10
HELD = 300
GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
STALLS = {
    "shut windows": PREFACE + settings((4, 0)) + b"".join(headers(i, pseudo("/large")) for i in (1, 3, 5)),
    "slow reads": b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n" * 8,
    "slow heads": b"GET / HTTP/1.1\r\nhost: x\r\n",
    "slow bodies": b"POST /post HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\nx",
    "silence": b"",
    "idleness": b"GET /direct HTTP/1.1\r\nhost: x\r\n\r\n",
}


def connect(port, source, room=None):
    connection = socket.socket()
    if room is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    connection.settimeout(30)
    connection.bind((source, 0))
    connection.connect(("127.0.0.1", port))
    return connection


def ask(connection):
    connection.sendall(GET)
    return read_response(connection.makefile("rb"))


def step_of(stats):
    return stats["policies"]["overload"]["steps"]["address_share"]


def is_over(stats):
    """Taken, and given up again."""
    step = step_of(stats)
    return step["taken_total"] > 0 and not step["taken"]


class Neighbours:
    """Two addresses that ask on and on: over one connection that is kept, and over a new one each time."""

    def __init__(self, port):
        self.port = port
        self.problems, self.answers = [], 0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            with connect(self.port, KEPT) as kept:
                while not self.is_over.is_set():
                    with connect(self.port, FRESH) as fresh:
                        for connection in (kept, fresh):
                            status, fields, _ = ask(connection)
                            if status != 200 or "connection" in fields:
                                self.problems.append((status, fields))
                    self.answers += 1
        except Exception as error:
            self.problems.append(error)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()


@pytest.mark.parametrize("stall", STALLS)
def test_one_address_cannot_take_the_descriptors_of_all(launch, upstream, stall):
    fast = upstream(answer=lambda request: (200, {}, b"fine"))
    slow = upstream(answer=lambda request: (200, {}, b"x" * (1 << 20)))
    patience = dict.fromkeys(["handshake_timeout", "header_timeout", "idle_timeout", "body_timeout", "write_timeout"],
                             "5m")
    gateway = launch({
        "listeners": lambda one: [{"name": "plain", "address": f"127.0.0.1:{one.port}", "kind": "plain"}],
        "limits": {"threads": 1, "drain_timeout": "5s", "descriptors_reserved": RESERVED,
                   "connections_per_ip_max": 1000, **patience},
        "policies": {"overload": {"memory_max": "1TiB", "interval": "20ms", "hold": "100ms",
                                  "address_share_grace": "200ms", "fds": {"stop_keep_alive": "60%/50%"}}},
        "clusters": {"fast": {"endpoints": [fast.address], "concurrency": {"kind": "fixed", "limit": 64}},
                     "slow": {"endpoints": [slow.address], "max_connections": 24}},
        "routes": [{"match": {"path": "/direct"}, "respond": {"status": 200, "body": "fine"}},
                   {"match": {"path": "/"}, "to": "cluster:fast"}, {"match": {"prefix": "/"}, "to": "cluster:slow"}]},
        descriptors=DESCRIPTORS)
    connections = gateway.stats()["gateway"]["connections"]
    assert (connections["refused_share"], connections["closed_share"]) == (0, 0)
    with Neighbours(gateway.port) as neighbours, contextlib.ExitStack() as stack:
        for _ in range(HELD):
            held = stack.enter_context(connect(gateway.port, HOARDER, room=4096))
            with contextlib.suppress(ConnectionError):
                held.sendall(STALLS[stall])
        gateway.wait_stats(is_over, what="a hoard that is cut")
        stats = gateway.stats()
        connections = stats["gateway"]["connections"]
        assert connections["refused_share"] > 0
        kept_no_more = stats["policies"]["overload"]["steps"]["stop_keep_alive"]["acted_total"]  # of the hoarder's
        assert connections["closed_share"] + kept_no_more > 0
        assert step_of(stats)["acted_total"] == connections["closed_share"] + connections["refused_share"]
        seen = neighbours.answers
        gateway.wait_stats(lambda _: neighbours.answers > seen + 1 or neighbours.problems)
    assert not neighbours.problems
    assert gateway.stats()["gateway"]["connections"]["refused_limit"] == 0
    gateway.wait_stats(is_over)
    with contextlib.ExitStack() as stack:
        for _ in range(SHARE + 5):
            assert ask(stack.enter_context(connect(gateway.port, HOARDER)))[0] == 200


def from_address(number):
    return f"127.0.1.{number}"


@pytest.mark.parametrize("kind", ["silent", "kept", "no hello"])
@pytest.mark.parametrize("spared", ["10ms", "off"])
def test_who_rests_longest_makes_room_for_newcomers(launch, kind, spared):
    """No address holds more than one, so that none is above its share."""
    def listeners(one):
        one.plain_port = free_port()
        return [{"name": "tls", "address": f"127.0.0.1:{one.port}", "certificate": str(one.certificate),
                 "private_key": str(one.key)},
                {"name": "plain", "address": f"127.0.0.1:{one.plain_port}", "kind": "plain"}]

    gateway = launch({
        "listeners": listeners,
        "limits": {"threads": 1, "connections_max": 32, "idle_spared": spared},
        "routes": [{"match": {"prefix": "/"}, "respond": {"status": 200, "body": "it"}}]})
    with contextlib.ExitStack() as stack:
        def come(number, kind="kept"):
            port = gateway.port if kind == "no hello" else gateway.plain_port
            one = stack.enter_context(contextlib.closing(connect(port, from_address(number))))
            if kind == "kept":
                assert ask(one)[0] == 200
            return one

        def held():
            return gateway.stats()["gateway"]["connections"]
        resting = [come(number, kind) for number in range(1, 24)]  # with one more, three quarters are taken
        wait_for(lambda: held()["open"] == 23, what="all of them")
        if spared == "off":
            for number in range(24, 33):
                come(number)
            refused = stack.enter_context(contextlib.closing(connect(gateway.plain_port, from_address(33))))
            with contextlib.suppress(ConnectionError):
                assert refused.recv(1) == b""
            assert held()["closed_idle"] == 0
            return
        wait_a_moment()
        for number in range(24, 64):
            come(number)
            wait_for(lambda: held()["open"] <= 25, what="room")
            wait_a_moment()
        for one in resting:
            with contextlib.suppress(ConnectionError):
                assert one.recv(1) == b""
        assert held()["closed_idle"] >= 35 and held()["refused_limit"] == 0
        assert "floodgate_idle_closed_total " in plain_http.get(f"{gateway.admin}/metrics").text
