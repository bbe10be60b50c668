"""When a backend is left alone, and who may try it again."""
import concurrent.futures
import contextlib
import socket
import threading

import pytest

import wire
from harness import plain_http, wait_for
from upstreams import H2Requests, H2Server, SocketServer, ok, read_request, serving


def cluster(address, breaker, **more):
    return {"clusters": {"app": {"endpoints": [address], "breaker": breaker, **more}},
            "routes": [{"name": name, "match": {"path": f"/{name}"}, "to": "cluster:app", "priority": name}
                       for name in ("critical", "normal", "low")]}


def is_half_open(gateway):
    return gateway.gate("app")["breaker"]["state"] == "half_open"


def check_left_alone(answer):
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert error["code"] == "breaker_open" and error["policy"] == "breaker"
    assert error["value"] >= error["limit"] > 0  # what opened it
    assert error["retry_after_ms"] > 0 and int(answer.headers["retry-after"]) >= 1


def test_slow_answers_open_it(launch, upstream):
    backend = upstream()
    gateway = launch(cluster(backend.address, {"consecutive_failures": "off", "error_ratio": "off", "slow": "1ns",
                                               "slow_ratio": "100%", "min_requests": 5, "open": "60s",
                                               "open_max": "60s"}))
    with gateway.client() as client:
        assert [client.get("/normal").status_code for _ in range(5)] == [200] * 5
        check_left_alone(client.get("/normal"))
    breaker = gateway.gate("app")["breaker"]
    assert breaker["state"] == "open" and breaker["opened_by"] == "slow_ratio"
    assert 'floodgate_breaker_open{backend="app"} 1' in plain_http.get(gateway.admin + "/metrics").text


def test_answers_in_time_do_not(launch, upstream):
    backend = upstream()
    gateway = launch(cluster(backend.address, {"slow": "1h", "slow_ratio": "0.1%", "min_requests": 1}))
    with gateway.client() as client:
        assert [client.get("/normal").status_code for _ in range(30)] == [200] * 30
    assert gateway.gate("app")["breaker"]["opened_by"] == "none"


@pytest.mark.parametrize("status, is_open", [("14", True), ("13", False)])
@pytest.mark.parametrize("in_trailers", [False, True])
def test_unavailable_opens_it_whatever_the_status_of_http(launch, status, is_open, in_trailers):
    def fail(_, conn, stream_id, __):
        if in_trailers:
            conn.send_headers(stream_id, [(":status", "200"), ("content-type", "application/grpc")])
        head = [] if in_trailers else [(":status", "200"), ("content-type", "application/grpc")]
        conn.send_headers(stream_id, [*head, ("grpc-status", status)], end_stream=True)

    with serving(H2Server(fail)) as server:
        gateway = launch(cluster(server.address, {"consecutive_failures": 3, "open": "60s", "open_max": "60s"},
                                 protocol="h2"))
        with gateway.client(http2=True) as client:
            for _ in range(5):
                assert client.post("/normal", headers={"content-type": "application/grpc"}).status_code == 200
        assert len(server.streams) == (3 if is_open else 5)
        assert gateway.gate("app")["breaker"]["state"] == ("open" if is_open else "closed")


class Restarting(SocketServer):
    """Holds eight requests, then breaks every connection at once, and from then on answers."""

    def __init__(self, protocol):
        self.protocol, self.held = protocol, 0
        super().__init__(self.talk)

    def is_last_held(self):
        with self.lock:
            self.held += 1
            return self.held == 8

    def break_all(self):
        with self.lock:
            for connection in self.open:
                connection.shutdown(socket.SHUT_RDWR)

    def requests(self, connection):
        """What answers each: bytes."""
        if self.protocol == "h2":
            peer = H2Requests(connection)
            while (request := peer.next_request()) is not None:
                yield wire.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, request[0], b"\x88")
        else:
            file = connection.makefile("rb")
            while read_request(file) is not None:
                yield ok()

    def talk(self, connection, _):
        for answer in self.requests(connection):
            if self.held >= 8:
                connection.sendall(answer)
            elif self.is_last_held():
                self.break_all()
                return


@pytest.mark.parametrize("protocol", ["http1", "h2"])
@pytest.mark.parametrize("method, statuses", [("GET", {200}), ("POST", {502})])
def test_a_server_that_restarts_opens_none(launch, protocol, method, statuses):
    """Eight requests are lost at one instant, which is no row of eight: both breakers stay closed, and what may go again is
    answered."""
    with serving(Restarting(protocol)) as server:
        gateway = launch(cluster(server.address, {"consecutive_failures": 5}, protocol=protocol,
                                 endpoint_breaker={"consecutive_failures": 5}, outlier=False,
                                 concurrency={"kind": "fixed", "limit": 20}, retries={"attempts": 2, "budget_min": 20}))
        with concurrent.futures.ThreadPoolExecutor(8) as pool, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(gateway.client()) for _ in range(8)]
            answers = list(pool.map(lambda client: client.request(method, "/normal"), clients))
        assert {answer.status_code for answer in answers} == statuses
        assert gateway.get("/normal").status_code == 200
        assert gateway.gate("app")["breaker"]["opened_total"] == 0
        figures = endpoints(gateway)[server.address]
        assert figures["breaker_opened"] == 0 and figures["resets"] == 8


@pytest.fixture
def recovering(launch, upstream):
    """A backend that is well again and about to be tried; the important have asked for it."""
    healthy = threading.Event()
    backend = upstream(lambda request: (200, {}, b"ok") if healthy.is_set() else (500, {}, b"broken"))
    gateway = launch(cluster(backend.address, {"consecutive_failures": 1, "open": "1s", "open_max": "1s",
                                               "half_open_probes": 2, "half_open_interval": "1h"}))
    gateway.backend = backend
    assert gateway.get("/normal").status_code == 500
    check_left_alone(gateway.get("/critical"))
    healthy.set()
    wait_for(lambda: is_half_open(gateway))
    return gateway


def test_the_most_important_try_it_first(recovering):
    gateway = recovering
    for path in ("/low", "/normal"):
        check_left_alone(gateway.get(path))
    assert gateway.get("/critical").status_code == 200
    assert gateway.backend.count("/critical") == 1 and gateway.backend.count("/low") == 0


def test_those_who_try_it_come_in_a_trickle(recovering):
    gateway = recovering
    assert gateway.get("/critical").status_code == 200
    for _ in range(3):  # two may try it, but the second an hour after the first
        check_left_alone(gateway.get("/critical"))
    breaker = gateway.gate("app")["breaker"]
    assert breaker["state"] == "half_open" and breaker["probes_total"] == 1
    assert gateway.backend.count() == 2


def test_without_a_trickle_first_come_is_first_served(launch, upstream):
    healthy = threading.Event()
    backend = upstream(lambda request: (200, {}, b"ok") if healthy.is_set() else (500, {}, b"broken"))
    gateway = launch(cluster(backend.address, {"consecutive_failures": 1, "open": "2s", "open_max": "2s",
                                               "half_open_probes": 2, "half_open_interval": "off"}))
    assert gateway.get("/normal").status_code == 500
    check_left_alone(gateway.get("/critical"))
    healthy.set()
    wait_for(lambda: is_half_open(gateway))
    assert [gateway.get("/low").status_code for _ in range(2)] == [200] * 2
    assert gateway.gate("app")["breaker"]["state"] == "closed"


# ---- a breaker for each endpoint ----

def endpoints(gateway):
    """By address."""
    return {one["address"]: one for one in gateway.stats()["backends"]["app"]["endpoints"]}


def each(addresses, breaker, **more):
    config = cluster(addresses[0], {"enabled": False}, endpoint_breaker=breaker, **more)
    config["clusters"]["app"]["endpoints"] = addresses
    return config


def test_an_endpoint_that_fails_gets_nothing_while_the_others_serve(launch, upstream):
    bad, good = upstream(lambda request: (500, {}, b"broken")), upstream()
    gateway = launch(each([bad.address, good.address], {"consecutive_failures": 2, "open": "1h", "open_max": "1h"},
                          panic_threshold="100%"))
    with gateway.client() as client:
        statuses = [client.get("/normal").status_code for _ in range(40)]
    assert statuses.count(500) == 2 == bad.count() and statuses.count(200) == 38
    figures = endpoints(gateway)[bad.address]
    assert figures["state"] == "broken" and figures["breaker"] == "open" and figures["breaker_opened"] == 1
    metrics = plain_http.get(gateway.admin + "/metrics").text
    assert f'floodgate_endpoint_breaker_open{{cluster="app",endpoint="{bad.address}"}} 1' in metrics
    assert f'floodgate_endpoint_breaker_open{{cluster="app",endpoint="{good.address}"}} 0' in metrics


def test_with_all_endpoints_left_alone_requests_are_refused(launch, upstream):
    servers = [upstream(lambda request: (500, {}, b"broken")) for _ in range(2)]
    gateway = launch(each([server.address for server in servers],
                          {"consecutive_failures": 1, "open": "1h", "open_max": "1h"}))
    with gateway.client() as client:
        assert [client.get("/normal").status_code for _ in range(2)] == [500] * 2
        refused = client.get("/normal")
    assert refused.status_code == 503
    error = refused.json()["error"]
    assert error["code"] == "endpoints_open" and error["retry_after_ms"] > 60000
    assert sum(server.count() for server in servers) == 2
    assert plain_http.get(gateway.admin + "/readyz").status_code == 503


def test_an_endpoint_is_tried_again_by_the_most_important(launch, upstream):
    healthy = threading.Event()
    weak = upstream(lambda request: (200, {}, b"weak") if healthy.is_set() else (500, {}, b"broken"))
    good = upstream(lambda request: (200, {}, b"good"))
    gateway = launch(each([weak.address, good.address],
                          {"consecutive_failures": 1, "open": "1s", "open_max": "1s", "half_open_probes": 2,
                           "half_open_interval": "1h"}))
    with gateway.client() as client:
        assert sorted(client.get("/normal").status_code for _ in range(2)) == [200, 500]
        assert client.get("/critical").text == "good"  # and has asked
        healthy.set()
        wait_for(lambda: endpoints(gateway)[weak.address]["breaker"] == "half_open")
        assert {client.get("/low").text for _ in range(6)} == {"good"}
        assert client.get("/critical").text == "weak"
        assert {client.get("/critical").text for _ in range(6)} == {"good"}  # the second probe is not due
    figures = endpoints(gateway)[weak.address]
    assert figures["breaker_probes"] == 1 and figures["breaker"] == "half_open"


def test_an_endpoint_that_is_well_again_serves_again(launch, upstream):
    healthy = threading.Event()
    weak = upstream(lambda request: (200, {}, b"weak") if healthy.is_set() else (500, {}, b"broken"))
    good = upstream(lambda request: (200, {}, b"good"))
    gateway = launch(each([weak.address, good.address],
                          {"consecutive_failures": 1, "open": "100ms", "open_max": "100ms", "half_open_probes": 2,
                           "half_open_interval": "1ms"}))
    with gateway.client() as client:
        wait_for(lambda: client.get("/normal").status_code == 500)
        healthy.set()
        wait_for(lambda: client.get("/normal").text != "" and endpoints(gateway)[weak.address]["breaker"] == "closed")
        assert {client.get("/normal").text for _ in range(8)} == {"weak", "good"}


def test_in_shadow_an_endpoint_is_used_on(launch, upstream):
    bad = upstream(lambda request: (500, {}, b"broken"))
    gateway = launch(each([bad.address], {"consecutive_failures": 1, "open": "1h", "open_max": "1h", "shadow": True}))
    with gateway.client() as client:
        assert [client.get("/normal").status_code for _ in range(4)] == [500] * 4
    figures = endpoints(gateway)[bad.address]
    assert figures["breaker"] == "open" and figures["state"] == "healthy" and figures["breaker_refused"] >= 1


def test_what_is_stale_is_served_while_all_endpoints_are_left_alone(launch, upstream):
    is_broken = threading.Event()
    fields = {"cache-control": "max-age=60, stale-if-error=6000", "age": "1000", "etag": '"a"'}
    backend = upstream(lambda request: (500, {}, b"broken") if is_broken.is_set() else (200, fields, b"kept"))
    config = each([backend.address], {"consecutive_failures": 1, "open": "1h", "open_max": "1h"})
    for route in config["routes"]:
        route["cache"] = True
    gateway = launch(config)
    with gateway.client() as client:
        assert client.get("/normal").text == "kept"
        is_broken.set()
        assert client.get("/normal").text == "kept"  # in place of the 500
        wait_for(lambda: endpoints(gateway)[backend.address]["breaker"] == "open")
        count = backend.count()
        assert [client.get("/normal").text for _ in range(3)] == ["kept"] * 3
        assert client.get("/low").json()["error"]["code"] == "endpoints_open"
    assert backend.count() == count
