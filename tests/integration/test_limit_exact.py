"""A limit of four is four, as the server counts it, whatever clients and servers do; and nothing of it is lost."""
import contextlib
import random
import socket
import threading
import time

import httpx
import pytest

from harness import h2_start, wait_for
from upstreams import SocketServer, ok, read_request, reset, serving

LIMIT, CLIENTS, ROUNDS = 4, 10, 12


def has_hung_up(connection):
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


class Unruly(SocketServer):
    """Works for 20 to 100 ms on each request, then answers, fails or breaks off. Who has hung up does not count."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.busy, self.most, self.served = set(), 0, 0
        super().__init__(self.talk)

    def talk(self, connection, _):
        file = connection.makefile("rb")
        while read_request(file) is not None:
            with self.lock:
                self.busy = {one for one in self.busy | {connection} if not has_hung_up(one)}
                self.most, self.served = max(self.most, len(self.busy)), self.served + 1
                end = self.random.choice(["ok"] * 5 + ["503", "500", "reset", "close", "break"])
                end_at = time.monotonic() + self.random.choice([0.02, 0.02, 0.1])
            while time.monotonic() < end_at and not has_hung_up(connection):
                time.sleep(0.005)
            with self.lock:
                self.busy.discard(connection)
            if end == "reset":
                reset(connection)
            if end in ("reset", "close"):
                return
            connection.sendall({"ok": ok(b"fine"), "break": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"}.get(
                end, ok(b"no", b"%s No" % end.encode())))
            if end == "break":
                return


def leave_on_http1(gateway, chance):
    with gateway.raw() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(chance.random() * 0.06)
        if chance.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def reset_streams(gateway, chance):
    connection, state = h2_start(gateway)
    with connection:
        for stream in (1, 3, 5):
            state.send_headers(stream, [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/")],
                               end_stream=True)
        connection.sendall(state.data_to_send())
        time.sleep(chance.random() * 0.05)
        state.reset_stream(1, 8)
        state.reset_stream(3, 8)
        connection.sendall(state.data_to_send())
        time.sleep(chance.random() * 0.05)


def ask(gateway, chance):
    fields = {} if chance.random() < 0.6 else {"x-request-timeout-ms": str(chance.randrange(5, 100))}
    with contextlib.suppress(httpx.RemoteProtocolError):  # broke off
        assert gateway.get("/", headers=fields).status_code in (200, 500, 502, 503, 504)


@pytest.mark.parametrize("kind", ["fixed", "gradient2"])
def test_whatever_happens(launch, kind):
    with serving(Unruly(seed=1)) as server:
        limit = {"kind": kind, "limit": LIMIT, **({"max": LIMIT, "min": 2} if kind != "fixed" else {})}
        gateway = launch({
            "limits": {"threads": 2},
            "clusters": {"app": {"endpoints": [server.address], "breaker": {"enabled": False}, "concurrency": limit,
                                 "retries": {"attempts": 2, "hedge_after": "40ms", "try_timeout": "90ms"}}},
            "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "timeout": "20s"}]})
        problems = []

        def client(number):
            chance = random.Random(number)
            try:
                for _ in range(ROUNDS):
                    chance.choice([leave_on_http1, reset_streams, ask, ask])(gateway, chance)
            except Exception as error:  # pylint: disable=broad-except
                problems.append(error)
        threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not problems and server.most <= LIMIT and server.served > CLIENTS, (problems, server.most)
        wait_for(lambda: gateway.gate("app")["concurrency"]["in_flight"] == 0)
        used = gateway.stats()["backends"]["app"]["limits"]
        assert [used[name]["used"] for name in ("requests", "pending", "retries")] == [0, 0, 0]
        assert gateway.gate("app")["queue"]["waiting"] == 0
