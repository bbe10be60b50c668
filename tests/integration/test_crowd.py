"""One client that fills a backend's queue: others still find a place in it, at that client's cost. One that asks for
many things at once, which can be served, gets them all."""
import contextlib
import json
import threading
import time

import pytest

import upstreams
from harness import read_response
from test_address_share import connect

HOARDER, OTHER = "127.0.0.2", "127.0.0.3"
PLACES = 64
GET = b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n"


def test_who_has_few_waiting_finds_a_place_in_a_full_queue(launch, upstream):
    backend = upstream()
    gateway = launch({
        "listeners": lambda one: [{"name": "plain", "address": f"127.0.0.1:{one.port}", "kind": "plain"}],
        "limits": {"threads": 1, "connections_per_ip_max": 1000},
        "clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 1},
                             "queue": {"requests_max": PLACES, "wait_max": "10m", "target": "off"}}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "timeout": "10m"}]})

    def gate():
        return gateway.gate("app")

    def ask(stack, source):
        connection = stack.enter_context(connect(gateway.port, source))
        connection.sendall(GET)
        return connection.makefile("rb")
    backend.gate.clear()
    with contextlib.ExitStack() as stack:
        hoard = [ask(stack, HOARDER) for _ in range(PLACES + 1)]
        gateway.wait_stats(lambda _: gate()["queue"]["waiting"] == PLACES, what="a full queue")
        status, _, body = read_response(ask(stack, HOARDER))
        assert status == 503 and json.loads(body)["error"]["code"] == "queue_full"
        others = [ask(stack, OTHER) for _ in range(3)]
        gateway.wait_stats(lambda _: gate()["queue"]["displaced_total"] == 3, what="three that gave way")
        assert gate()["queue"]["waiting"] == PLACES
        backend.gate.set()
        assert [read_response(one)[0] for one in others] == [200] * 3
        statuses = [read_response(one)[0] for one in hoard]
        assert statuses.count(200) == PLACES - 2 and statuses.count(503) == 3


def test_who_asks_for_one_thing_does_not_wait_for_another_ones_hundred(launch, upstream):
    backend = upstream()
    gateway = launch({
        "listeners": lambda one: [{"name": "plain", "address": f"127.0.0.1:{one.port}", "kind": "plain"}],
        "limits": {"threads": 2, "connections_per_ip_max": 1000},
        "clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 1},
                             "queue": {"wait_max": "10m", "target": "off"}}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "timeout": "10m"}]})

    def ask(stack, source, path):
        connection = stack.enter_context(connect(gateway.port, source))
        connection.sendall(f"GET /{path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        return connection.makefile("rb")
    backend.gate.clear()
    with contextlib.ExitStack() as stack:
        waiting = [ask(stack, HOARDER, "hoard") for _ in range(50)]
        gateway.wait_stats(lambda _: gateway.gate("app")["queue"]["waiting"] == 49, what="the hoard in the queue")
        waiting += [ask(stack, f"127.0.0.{number}", "other") for number in (3, 4, 5)]
        gateway.wait_stats(lambda _: gateway.gate("app")["queue"]["waiting"] == 52, what="all in the queue")
        backend.gate.set()
        assert [read_response(one)[0] for one in waiting] == [200] * 53
    paths = [path for _, path, _ in backend.requests]
    assert paths[:5].count("/other") == 3, paths  # behind the one at work and one of the hoard's


@pytest.mark.parametrize("service, count", [(0.01, 60), (0.1, 10)])
def test_a_burst_is_served_by_a_server_with_one_thread(launch, service, count):
    """Nothing comes behind it, so to refuse any of it would help nobody; with the defaults, but for a long wait."""
    one_thread = threading.Lock()

    def answer(connection, _, body):
        with one_thread:
            time.sleep(service)
        connection.sendall(upstreams.ok(body))
    with upstreams.serving(upstreams.Raw([answer])) as server, contextlib.ExitStack() as stack:
        gateway = launch({"listeners": lambda one: [
            {"name": "plain", "address": f"127.0.0.1:{one.port}", "kind": "plain"}],
            **upstreams.cluster([server.address], queue={"wait_max": "5m"})})
        crowd = [stack.enter_context(connect(gateway.port, OTHER)) for _ in range(count)]
        for one in crowd:
            one.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert [read_response(one.makefile("rb"))[0] for one in crowd] == [200] * count
        queue = gateway.gate("api")["queue"]
        assert queue["shed_total"] == 0 and queue["queued_total"] > 0
