"""What a client brings about by itself counts against no backend: short deadlines, uploads that stand still, leaving."""
import contextlib
import json
import threading
import time

import pytest

from harness import plain_http, read_response, send_and_hear, wait_for
from test_policies import in_background, join

FAILURES = 2  # in a row open the breaker


def site(address, route=None, **cluster):
    keys = {"breaker": {"consecutive_failures": FAILURES, "open": "1h", "open_max": "1h"}, **cluster}
    return {"clusters": {"app": {"endpoints": [address], **keys}},
            "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "timeout": "60s", **(route or {})}]}


@pytest.fixture
def hanging(upstream):
    """A backend that answers nobody until it is told to."""
    backend = upstream()
    backend.gate.clear()
    return backend


def ask_in_vain(gateway, count, **fields):
    """Requests that time out, one after another; their status."""
    with gateway.client() as client:
        return [client.get("/", headers=fields).status_code for _ in range(count)]


def is_untouched(gateway, backend):
    wait_for(lambda: gateway.gate("app")["concurrency"]["in_flight"] == 0)
    assert gateway.gate("app")["breaker"]["opened_total"] == 0
    backend.gate.set()
    assert gateway.get("/").status_code == 200
    return True


@pytest.mark.parametrize("field", [{"x-request-timeout-ms": "30"}, {"grpc-timeout": "30m"}])
def test_a_short_deadline_of_the_clients_is_no_failure(launch, hanging, field):
    gateway = launch(site(hanging.address))
    assert ask_in_vain(gateway, 3 * FAILURES, **field) == [504] * (3 * FAILURES)
    assert is_untouched(gateway, hanging)


def test_one_that_no_answer_takes_so_long_is(launch, hanging):
    gateway = launch(site(hanging.address))
    assert ask_in_vain(gateway, FAILURES, **{"x-request-timeout-ms": "2000"}) == [504] * FAILURES
    assert gateway.gate("app")["breaker"]["state"] == "open"


def test_the_time_that_the_route_gives_is(launch, hanging):
    gateway = launch(site(hanging.address, route={"timeout": "100ms"}))
    assert ask_in_vain(gateway, FAILURES) == [504] * FAILURES
    assert gateway.gate("app")["breaker"]["state"] == "open"


@pytest.mark.parametrize("cluster", [{}, {"retries": {"attempts": 1, "try_timeout": "1s"}}], ids=["route", "try"])
def test_an_upload_that_stands_still_is_the_clients(launch, upstream, cluster):
    backend = upstream()
    gateway = launch(site(backend.address, route={"timeout": "3s"}, concurrency={"kind": "fixed", "limit": 9}, **cluster))
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(gateway.raw()) for _ in range(3 * FAILURES)]
        for connection in connections:
            connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nabc")
        assert {read_response(connection.makefile("rb"))[0] for connection in connections} == {504}
    assert is_untouched(gateway, backend)


def test_uploads_that_take_long_keep_nobody_out(launch, upstream):
    """Those that are not all there have no slot after a while, and one again with their last byte: then they are work."""
    backend = upstream()
    gateway = launch(site(backend.address, concurrency={"kind": "fixed", "limit": 2},
                          queue={"target": "off", "wait_max": "60s"}))

    def in_flight():
        return gateway.gate("app")["concurrency"]["in_flight"]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(gateway.raw()) for _ in range(5)]
        for connection in connections:
            connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\nabc")
        wait_for(lambda: in_flight() == 2)
        assert gateway.get("/").status_code == 200
        wait_for(lambda: in_flight() == 0 and gateway.gate("app")["queue"]["waiting"] == 0)
        backend.gate.clear()
        for connection in connections:
            connection.sendall(b"def")
        wait_for(lambda: in_flight() == 5)
        threads, answers = in_background(gateway, "/", 1)
        wait_for(lambda: gateway.gate("app")["queue"]["waiting"] == 1)
        backend.gate.set()
        assert {read_response(connection.makefile("rb"))[0] for connection in connections} == {200}
        join(threads)
        assert answers[0].status_code == 200
    wait_for(lambda: in_flight() == 0)


def begin_slowly(gateway, connection, length):
    """An upload that has no slot any more, when all but its first three bytes are to come."""
    def active():
        return gateway.stats()["gateway"]["requests"]["active"]
    wait_for(lambda: active() == 0)
    connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\nabc" % length)
    wait_for(lambda: active() == 1)
    wait_for(lambda: gateway.gate("app")["concurrency"]["in_flight"] == 0)


def upload_slowly(gateway):
    with gateway.raw() as connection:
        begin_slowly(gateway, connection, 6)
        connection.sendall(b"def")
        return read_response(connection.makefile("rb"))[0]


def test_what_becomes_of_a_slow_upload_tells_the_breaker(launch, upstream):
    """It alone: where all are slow, a backend would be called for ever, or never be tried again."""
    status = [500]
    backend = upstream(lambda handler: (status[0], {}, b""))
    gateway = launch(site(backend.address, breaker={
        "consecutive_failures": FAILURES, "open": "500ms", "open_max": "500ms", "half_open_probes": 1}))
    assert [upload_slowly(gateway) for _ in range(FAILURES)] == [500] * FAILURES
    assert gateway.gate("app")["breaker"]["opened_total"] == 1
    status[0] = 200
    wait_for(lambda: gateway.gate("app")["breaker"]["state"] == "half_open")
    assert upload_slowly(gateway) == 200
    wait_for(lambda: gateway.gate("app")["breaker"]["state"] == "closed", what="it is closed")


ENDPOINT = {"consecutive_failures": FAILURES, "slow": "1s", "min_requests": 3, "open": "1h", "open_max": "1h"}


def is_left_alone(gateway):
    return [one["breaker"] for one in gateway.stats()["backends"]["app"]["endpoints"]] != ["closed"]


def test_a_slow_upload_is_no_slow_answer(launch, upstream):
    """Nor does its time count for the endpoint: whoever sends slowly could have each of them left alone."""
    gateway = launch(site(upstream().address, endpoint_breaker=ENDPOINT))
    for _ in range(4):
        with gateway.raw() as connection:
            began = time.monotonic()
            begin_slowly(gateway, connection, 6)
            wait_for(lambda began=began: time.monotonic() > began + 1.2, what="longer than an answer may take")
            connection.sendall(b"def")
            status, fields, _ = read_response(connection.makefile("rb"))
            assert status == 200
    assert not is_left_alone(gateway)
    record = gateway.explain(fields["x-request-id"])
    hops = record["hops_ms"]
    assert hops["upload"] >= 1000 and hops["upload"] + hops["backend"] <= record["total_ms"] + 1
    timing = dict(part.strip().split(";dur=") for part in fields["server-timing"].split(","))
    assert float(timing["upload"]) >= 1000
    assert float(timing["upstream"]) <= float(timing["total"]) - float(timing["upload"]) + 1


def test_a_slow_upload_keeps_no_endpoint_from_being_tried(launch, upstream):
    """It is the one probe that there may be, and gives that place to others; what becomes of it counts in the end."""
    status = [500]
    backend = upstream(lambda handler: (status[0], {}, b""))
    gateway = launch(site(backend.address, breaker={"enabled": False}, endpoint_breaker={
        "consecutive_failures": 1, "open": "500ms", "open_max": "500ms", "half_open_probes": 1}))

    def state():
        return gateway.stats()["backends"]["app"]["endpoints"][0]["breaker"]
    for ends in ("probe", "upload"):
        status[0] = 500
        wait_for(lambda: gateway.get("/").status_code == 500 and state() != "closed")
        status[0] = 200
        wait_for(lambda: state() == "half_open")
        with gateway.raw() as connection:
            begin_slowly(gateway, connection, 6)
            if ends == "probe":
                wait_for(lambda: gateway.get("/").status_code == 200)
                wait_for(lambda: state() == "closed")
            connection.sendall(b"def")
            assert read_response(connection.makefile("rb"))[0] == 200
        wait_for(lambda: state() == "closed")


def test_a_server_that_waits_no_longer_for_an_upload_is_not_to_blame(launch, recorder):
    ends = threading.Semaphore(0)

    def serve(peer):
        if peer.read_until(b"abc") is not None:
            ends.acquire(timeout=60)
    gateway = launch(site(recorder(serve).address, endpoint_breaker=ENDPOINT, outlier={"consecutive_errors": 2}))
    for _ in range(FAILURES + 1):
        with gateway.raw() as connection:
            begin_slowly(gateway, connection, 6)
            ends.release()
            assert read_response(connection.makefile("rb"))[0] == 502
    assert not is_left_alone(gateway)
    assert [one["state"] for one in gateway.stats()["backends"]["app"]["endpoints"]] == ["healthy"]


def test_uploads_that_stand_still_give_their_connections_up(launch, upstream):
    """Not before somebody waits for one, and none that gets on or is all there."""
    backend = upstream()
    gateway = launch({**site(backend.address, max_connections=4, slow_reader_max="300ms"), "limits": {"threads": 1}})
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(gateway.raw()) for _ in range(4)]
        for connection in connections:
            connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\nabc")
        wait_for(lambda: gateway.stats()["backends"]["app"]["limits"]["connections"]["used"] == 4)
        assert gateway.stats()["backends"]["app"]["requests"]["gave_way"] == 0
        assert gateway.get("/").status_code == 200
        wait_for(lambda: gateway.stats()["backends"]["app"]["requests"]["gave_way"] >= 1)
        gone = 0
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(b"def")
            status, fields, body = read_response(connection.makefile("rb"))
            if status != 200:
                assert (status, json.loads(body)["error"]["code"]) == (503, "slow_reader")
                assert int(fields["retry-after"]) >= 1
                gone += 1
        assert gone == gateway.stats()["backends"]["app"]["requests"]["gave_way"] < 4
    wait_for(lambda: gateway.gate("app")["concurrency"]["in_flight"] == 0)
    assert gateway.gate("app")["breaker"]["opened_total"] == 0


@pytest.mark.parametrize("pauses", [False, True])
def test_an_upload_that_the_server_does_not_take_is_the_servers(launch, upstream, pauses):
    """Whether it was the client's turn for a while, so that it had no slot any more, or not."""
    backend = upstream(read_body=False)
    backend.gate.clear()
    gateway = launch(site(backend.address, route={"timeout": "2s", "body_max": "1GiB"},
                          concurrency={"kind": "fixed", "limit": FAILURES}))

    def upload():
        if not pauses:
            yield b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 50000000\r\n\r\n"
        for _ in range(200):
            yield bytes(250000)
    for _ in range(FAILURES):  # one behind the other: those of one instant are one
        with gateway.raw() as connection:  # the answer comes before all is sent
            if pauses:
                begin_slowly(gateway, connection, 50000003)
            assert send_and_hear(connection, upload(), lambda heard: b"\r\n\r\n" in heard).startswith(b"HTTP/1.1 504 ")
    assert gateway.gate("app")["breaker"]["state"] == "open"


def test_clients_that_leave_open_no_breaker_and_leave_no_slot_behind(launch, hanging):
    gateway = launch(site(hanging.address, concurrency={"kind": "gradient2", "limit": 4}))
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(gateway.raw()).sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            wait_for(lambda: gateway.gate("app")["concurrency"]["in_flight"] == 4)
        wait_for(lambda: gateway.gate("app")["concurrency"]["in_flight"] == 0)
    assert is_untouched(gateway, hanging)


def test_a_refusal_of_our_own_moves_no_limit(launch, hanging):
    """The cluster's exact limits are ours: that they are reached does not say that its servers are busy."""
    gateway = launch(site(hanging.address, limits={"requests": 1}, concurrency={"kind": "aimd", "limit": 40, "min": 1}))
    threads, answers = in_background(gateway, "/held", 1)
    wait_for(lambda: hanging.in_flight == 1)
    with gateway.client() as client:
        codes = [client.get("/").json()["error"]["code"] for _ in range(60)]
    assert codes == ["cluster_requests"] * 60
    gate = gateway.gate("app")
    assert gate["concurrency"]["limit"] == 40 and gate["breaker"]["opened_total"] == 0
    hanging.gate.set()
    join(threads)
    assert answers[0].status_code == 200
    refused = 'floodgate_cluster_limit_refused_total{cluster="app",limit="requests"} 60'
    assert refused in plain_http.get(gateway.admin + "/metrics").text
