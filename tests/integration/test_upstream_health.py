"""
test_upstream_health.py: endpoints that are checked, endpoints that are ejected, and what /readyz,
/stats and /metrics say of them.
"""
import collections
import contextlib
import threading

import h2.errors
import pytest

from harness import plain_http, wait_for
from test_policies import in_background, join
from upstreams import H2Server, Raw, SocketServer, cluster, figures, ok, reset, serving


def answers(gateway, count=10, path="/"):
    with gateway.client() as client:
        return collections.Counter(client.get(path).text for _ in range(count))


def states(gateway):
    return {one["address"]: one["state"] for one in figures(gateway)["endpoints"]}


class Patient(Raw):
    """Answers its name, and its health by a switch."""

    def __init__(self, name, **keywords):
        self.is_well = True
        self.checks = []
        super().__init__([self.reply], **keywords)
        self.name = name

    def reply(self, connection, head, body):
        if head.startswith(b"GET /health "):
            self.checks.append(head)
            connection.sendall(ok() if self.is_well else ok(status=b"503 Service Unavailable"))
        else:
            connection.sendall(ok(self.name.encode()))


CHECK = {"path": "/health", "interval": "100ms", "timeout": "5s", "healthy_after": 2, "unhealthy_after": 2}


def test_a_sick_endpoint_is_left_out_until_it_is_well(launch):
    with serving(Patient("a"), Patient("b")) as (a, b):
        gateway = launch(cluster([a.address, b.address], health_check=CHECK, threads=2))
        assert set(answers(gateway)) == {"a", "b"}
        b.is_well = False
        wait_for(lambda: states(gateway)[b.address] == "unhealthy")
        assert set(answers(gateway)) == {"a"}
        metrics = plain_http.get(gateway.admin + "/metrics").text
        assert f'floodgate_endpoint_usable{{cluster="api",endpoint="{b.address}"}} 0' in metrics
        b.is_well = True
        wait_for(lambda: states(gateway)[b.address] == "healthy")
        assert set(answers(gateway)) == {"a", "b"}
        head = a.checks[0]
        assert b"\r\nhost: 127.0.0.1\r\n" in head and b"floodgate-health-check" in head
        # Checks are nobody's requests.
        assert figures(gateway, "requests")["started"] == 30


def test_readyz_is_honest_and_nobody_healthy_means_everybody(launch):
    with serving(Patient("a")) as a:
        a.is_well = False
        gateway = launch(cluster([a.address], health_check=CHECK), keep_ready=False)
        wait_for(lambda: gateway.readiness() is not None and states(gateway)[a.address] == "unhealthy")
        ready = gateway.readiness()
        assert ready.status_code == 503 and "healthy" in ready.text
        assert answers(gateway, 2) == {"a": 2}  # any answer is better than none
        a.is_well = True
        gateway.wait_ready()


def test_a_check_that_hangs_is_a_bad_one(launch):
    never = threading.Event()
    with serving(SocketServer(lambda connection, _: never.wait(30)), Patient("b")) as (a, b):
        gateway = launch(cluster([a.address, b.address], health_check={**CHECK, "timeout": "2s"}))
        wait_for(lambda: states(gateway)[a.address] == "unhealthy")
        assert set(answers(gateway)) == {"b"}
        never.set()


def checked(gateway, address):
    """What the log said last of its checks, and /stats says of the last one."""
    line = [one for one in gateway.log.splitlines() if f"event=endpoint_checked cluster=api endpoint={address} " in one][-1]
    fault = next(one["check_fault"] for one in figures(gateway)["endpoints"] if one["address"] == address)
    return line.split(f"endpoint={address} ")[1], fault


def test_what_is_wrong_is_told(launch):
    never = threading.Event()
    gone = Patient("gone")
    gone.close()
    with serving(SocketServer(lambda connection, _: never.wait(30)), Patient("b"), Raw([b"garbage\r\n\r\n"])) as (a, b, c):
        b.is_well = False
        gateway = launch(cluster([a.address, b.address, c.address, gone.address],
                                 health_check={**CHECK, "timeout": "200ms", "unhealthy_after": 1}), keep_ready=False)
        for address, fault in ((a.address, "it took longer than the time-out"), (b.address, "status 503"),
                               (c.address, "the answer is not HTTP/1"),
                               (gone.address, "no endpoint could be connected to")):
            wait_for(lambda: gateway.readiness() and states(gateway)[address] == "unhealthy", what=address)
            assert checked(gateway, address) == (f'state=unhealthy reason="{fault}"', fault)
        b.is_well = True
        wait_for(lambda: states(gateway)[b.address] == "healthy")
        assert checked(gateway, b.address) == ("state=healthy", "")
        never.set()


def test_the_log_has_one_word_for_an_address_of_a_name(launch):
    with serving(Patient("b")) as b:
        port = b.address.rsplit(":", 1)[1]
        gateway = launch({**cluster([f"localhost:{port}"], health_check=CHECK), "observability": {"access_log": True}})
        assert answers(gateway, 1) == {"b": 1}
        name = f'"localhost:{port} (127.0.0.1)"'
        wait_for(lambda: f"endpoint={name} attempts=1 " in gateway.log, what="the line of the request")
        assert f"event=endpoint_checked cluster=api endpoint={name} state=healthy\n" in gateway.log


def test_tcp_checks(launch):
    with serving(Patient("b")) as b:
        a = Patient("a")
        gateway = launch(cluster([a.address, b.address], health_check={"kind": "tcp", "interval": "100ms", "unhealthy_after": 1}))
        assert set(answers(gateway)) == {"a", "b"}
        a.close()
        wait_for(lambda: states(gateway)[a.address] == "unhealthy")
        assert checked(gateway, a.address)[1] == "Connection refused"
        assert states(gateway)[b.address] == "healthy" and not b.checks


def test_checks_over_http2(launch):
    well = {"status": "200"}

    def reply(server, conn, stream_id, stream):
        status = well["status"] if stream.headers[":path"] == "/health" else "200"
        conn.send_headers(stream_id, [(":status", status)], end_stream=True)

    with serving(H2Server(reply)) as server:
        gateway = launch(cluster([server.address], protocol="h2", health_check=CHECK))
        assert states(gateway)[server.address] == "healthy"
        well["status"] = "500"
        wait_for(lambda: states(gateway)[server.address] == "unhealthy")
        well["status"] = "204"
        wait_for(lambda: states(gateway)[server.address] == "healthy")


def test_the_gateway_stops_while_a_check_over_http2_waits(launch):
    asked = []
    with serving(H2Server(lambda *_: asked.append(1))) as server:
        gateway = launch(cluster([server.address], protocol="h2", health_check={**CHECK, "timeout": "60s"}),
                         keep_ready=False)
        wait_for(lambda: asked)
        gateway.stop()


OUTLIER = {"consecutive_errors": 3, "interval": "100ms", "ejection": "2s", "ejected_max": "50%"}


def test_errors_in_a_row_eject_and_time_heals(launch):
    bad = {"is_bad": True}

    def reply(connection, *_):
        connection.sendall(ok(b"bad", b"500 Oops") if bad["is_bad"] else ok(b"bad"))

    with serving(Raw([reply]), Raw([ok(b"good")])) as (a, b):
        gateway = launch(cluster([a.address, b.address], outlier=OUTLIER, breaker={"enabled": False}))
        assert answers(gateway, 6) == {"bad": 3, "good": 3}
        wait_for(lambda: states(gateway)[a.address] == "ejected")
        endpoint = figures(gateway)["endpoints"][0]
        assert endpoint["ejections"] == 1 and endpoint["ejection_reason"] == "consecutive_errors"
        bad["is_bad"] = False
        wait_for(lambda: states(gateway)[a.address] == "healthy", what="the end of the ejection")
        assert set(answers(gateway, 4)) == {"bad", "good"}


def test_what_breaks_at_one_instant_is_no_share_of_errors(launch):
    """One loses its connections once, the other fails call after call: the same sweeps see both."""
    release = threading.Event()

    def break_once(connection, head, _):
        if b"/hang" in head:
            release.wait(30)
            return reset(connection)
        connection.sendall(ok(b"once"))

    def break_often(connection, head, _):
        if b"/fail" in head:
            return reset(connection)
        connection.sendall(ok(b"often"))

    with serving(Raw([break_once]), Raw([break_often])) as (once, often):
        gateway = launch(cluster([once.address, often.address], breaker={"enabled": False},
                                 concurrency={"kind": "fixed", "limit": 50}, outlier={
            **OUTLIER, "consecutive_errors": "off", "error_ratio": "10%", "min_requests": 5, "interval": "1s",
            "ejection": "60s", "ejected_max": "100%"}))
        threads, _ = in_background(gateway, "/hang", 16)
        wait_for(lambda: len(once.requests) == 8)
        release.set()
        join(threads)

        def is_ejected():
            for _ in range(8):
                gateway.get("/fail")
            return "ejected" in states(gateway).values()
        wait_for(is_ejected)
        assert states(gateway) == {once.address: "healthy", often.address: "ejected"}


def refuse(_, conn, stream_id, __):
    conn.reset_stream(stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)


def posts(gateway, count):
    with gateway.client() as client:
        return [client.post("/", content=b"x").status_code for _ in range(count)]


def test_who_refuses_every_stream_is_ejected_though_all_go_elsewhere(launch):
    with serving(H2Server(refuse), H2Server()) as (a, b):
        gateway = launch(cluster([a.address, b.address], protocol="h2", outlier={**OUTLIER, "ejection": "1h", "ejection_max": "1h"}))
        assert posts(gateway, 10) == [200] * 10
        endpoint = figures(gateway)["endpoints"][0]
        assert (endpoint["state"], endpoint["ejection_reason"]) == ("ejected", "consecutive_errors")
        # The first came before the server's settings: that it was one too many says nothing of the server.
        assert len(a.streams) == 4 and endpoint["resets"] == 3 and len(b.streams) == 10


@pytest.mark.parametrize("status, in_trailers, kind, is_ejected", [
    ("14", False, "application/grpc", True), ("14", True, "application/grpc+proto", True),
    ("13", False, "application/grpc", False),
    ("5", False, "application/grpc", False), ("4", True, "application/grpc", False),
    ("14", False, "text/plain", False)])
def test_a_status_of_grpc_is_an_error_like_any_other(launch, status, in_trailers, kind, is_ejected):
    def fail(server, conn, stream_id, _):
        head = [(":status", "200"), ("content-type", kind)]
        if in_trailers:
            conn.send_headers(stream_id, head)
            conn.send_data(stream_id, b"\0\0\0\0\0")
            head = []
        conn.send_headers(stream_id, [*head, ("grpc-status", status)], end_stream=True)

    with serving(H2Server(fail), H2Server()) as (a, b):
        gateway = launch(cluster([a.address, b.address], protocol="h2", breaker={"enabled": False},
                                 outlier={**OUTLIER, "ejection": "1h", "ejection_max": "1h"}))
        with gateway.client(http2=True) as client:
            for _ in range(10):
                assert client.post("/", content=b"x", headers={"content-type": kind, "te": "trailers"}).status_code == 200
        assert states(gateway) == {a.address: "ejected" if is_ejected else "healthy", b.address: "healthy"}
        assert len(a.streams) == (3 if is_ejected else 5)


def test_a_breaker_of_its_own_opens_for_who_refuses(launch):
    with serving(H2Server(refuse), H2Server()) as (a, b):
        gateway = launch(cluster([a.address, b.address], protocol="h2",
                                 endpoint_breaker={"consecutive_failures": 3, "open": "1h", "open_max": "1h"}))
        assert posts(gateway, 10) == [200] * 10
        assert states(gateway) == {a.address: "broken", b.address: "healthy"} and len(a.streams) == 4


def test_the_last_endpoint_is_never_ejected(launch):
    with serving(Raw([ok(b"bad", b"500 Oops")])) as a:
        gateway = launch(cluster([a.address], outlier=OUTLIER, breaker={"enabled": False}))
        assert answers(gateway, 10) == {"bad": 10}
        assert states(gateway)[a.address] == "healthy"


def test_a_slow_sibling_is_ejected(launch):
    release = threading.Event()

    def slow(connection, *_):
        release.wait(0.1)
        connection.sendall(ok(b"slow"))

    with serving(Raw([slow]), Raw([ok(b"b")]), Raw([ok(b"c")])) as (a, b, c):
        gateway = launch(cluster([a.address, b.address, c.address], outlier={
            "consecutive_errors": "off", "latency": "500%", "min_requests": 3, "interval": "2s", "ejection": "60s"}))

        def is_ejected():
            answers(gateway, 6)
            return states(gateway)[a.address] == "ejected"

        wait_for(is_ejected, what="the ejection of the slow one")
        assert figures(gateway)["endpoints"][0]["ejection_reason"] == "latency"
        assert f'event=endpoints_ejected cluster=api count=1 endpoints="{a.address} for latency"' in gateway.log


def test_a_tail_is_ejected_and_one_slow_answer_is_not(launch):
    never = threading.Event()

    def late(seconds, body):
        def answer(connection, *_):
            never.wait(seconds)
            connection.sendall(ok(body))
        return answer

    usual = late(0.02, b"usual")
    every_second = [late(0.3, b"late"), usual] * 2000
    with serving(Raw([late(2, b"once"), usual]), Raw(every_second), Raw([usual]), Raw([usual])) as servers:
        once, tail, *_ = (one.address for one in servers)
        gateway = launch(cluster([one.address for one in servers], outlier={
            "consecutive_errors": "off", "latency": "500%", "min_requests": 10, "interval": "5s", "ejection": "60s",
            "ejected_max": "100%"}))

        def is_ejected():
            answers(gateway, 8)
            return states(gateway)[tail] == "ejected"

        wait_for(is_ejected, what="the ejection of the one with the tail")
        assert states(gateway)[once] == "healthy"


@pytest.mark.parametrize("keys", [{"path": "health"}, {"path": "/a#b"}, {"path": "/\u00fc"}, {"path": "/a b"}, {"interval": "0s"}, {"kind": "udp"}])
def test_a_wrong_check_is_a_configuration_error(launch, keys):
    with pytest.raises(AssertionError, match="expected"):
        launch(cluster(["127.0.0.1:9"], health_check={**CHECK, **keys}))


@pytest.mark.parametrize("http2", [False, True])
def test_a_check_may_have_a_query(launch, http2):
    with serving(H2Server() if http2 else Raw([ok()])) as server:
        gateway = launch(cluster([server.address], protocol="h2" if http2 else "http1",
                                 health_check={**CHECK, "path": "/he%61lth?full=1&x=/a?b"}))
        assert states(gateway)[server.address] == "healthy"
        asked = server.streams[0][2].headers[":path"] if http2 else server.requests[0][0].split()[1].decode()
        assert asked == "/he%61lth?full=1&x=/a?b"


def test_a_check_whose_answer_does_not_end_is_bad_and_read_no_further(launch):
    def pour(connection, head, _):
        if b"/health" not in head:
            return connection.sendall(ok(b"fine"))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"x" * 65536)
        return False

    with serving(Raw([pour]), Patient("b")) as (a, b):
        gateway = launch(cluster([a.address, b.address], health_check={**CHECK, "interval": "5s", "unhealthy_after": 1}))
        wait_for(lambda: states(gateway)[a.address] == "unhealthy")
        assert set(answers(gateway)) == {"b"}
        assert figures(gateway, "endpoints")[0]["checks_bad"] == 1
        assert figures(gateway, "received_bytes") < 2 << 20
