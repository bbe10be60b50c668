"""Every refusal explains itself, and says the same in body, fields, log, metrics and `floodgate explain`."""
import contextlib
import json
import re
import threading
import time

import h2.events
import httpx
import pytest

from harness import Upstream, h2_start, h2_until, plain_http, read_response, run_binary, wait_for

FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')


def cluster(address, **more):
    return {"endpoints": [address], "concurrency": {"kind": "fixed", "limit": 1}, **more}


def queue(**more):
    return {"requests_max": 10, "wait_max": "60s", "target": "off", **more}


def sections(slow, failing):
    clusters = {
        "full": cluster(slow, queue=queue(requests_max=1)),
        "bytes": cluster(slow, queue=queue(bytes_max="10B")),
        "tokens": cluster(slow, queue=queue(tokens_max=1)),
        "impatient": cluster(slow, queue=queue(wait_max="1ms")),
        "broken": cluster(failing, breaker={"consecutive_failures": 1, "open": "60s", "open_max": "60s"}),
        "shut": cluster(failing, endpoint_breaker={"consecutive_failures": 1, "open": "60s", "open_max": "60s"},
                        breaker={"enabled": False}),
        "requests": cluster(slow, concurrency={"kind": "fixed", "limit": 9}, limits={"requests": 1}),
        "late": cluster(slow),
        "slow": cluster(slow, queue=queue()),
        "pending": {"endpoints": [slow], "max_connections": 1, "limits": {"pending": 1},
                    "concurrency": {"kind": "fixed", "limit": 1, "shadow": True}},
    }
    routes = [{"name": name, "match": {"prefix": f"/{name}"}, "to": f"cluster:{name}",
               "timeout": "50ms" if name == "late" else "60s"}
              for name in clusters]
    routes += [
        {"name": "limit", "match": {"prefix": "/limit"}, "rate_limits": ["rare"], "respond": {"status": 200}},
        {"name": "line", "match": {"prefix": "/line"}, "waiting_room": {"admit": "1/h", "burst": 1},
         "respond": {"status": 200}},
        {"name": "own", "match": {"prefix": "/own"}, "to": "cluster:late", "timeout": "60s",
         "concurrency": {"limit": 1}, "queue": queue(requests_max=1)},
        {"name": "posted", "match": {"prefix": "/posted", "methods": ["POST"]}, "respond": {"status": 200}},
        {"name": "mine", "match": {"prefix": "/mine"}, "to": "cluster:late", "identity": "required"},
        {"name": "small", "match": {"prefix": "/small"}, "to": "cluster:late", "timeout": "60s", "body_max": "10B"},
        {"name": "stored", "match": {"prefix": "/stored"}, "to": "cluster:full", "cache": {"ttl": "1m"}},
    ]
    return {"clusters": clusters, "routes": routes,
            "policies": {"rate_limits": {"rare": {"key": "route", "rate": "1/h", "burst": 1}}},
            "observability": {"access_log": True, "recent_requests": 256}}


def take_time(request):
    if request.path.startswith("/slow"):
        time.sleep(0.15)
    return Upstream.echo(request)


@pytest.fixture(scope="module")
def site(launch_module, upstream_module):
    slow = upstream_module(answer=take_time)
    failing = upstream_module(answer=lambda request: (503, {}, b"no"))
    gateway = launch_module(sections(slow.address, failing.address))
    gateway.slow = slow
    return gateway


class Held:
    """Requests that stay where they are until the block ends."""

    def __init__(self, site, path, count, are_there, content=None):
        self.site, self.path, self.are_there, self.content = site, path, are_there, content
        self.errors = []
        self.threads = [threading.Thread(target=self.ask) for _ in range(count)]

    def ask(self):
        try:
            with self.site.client() as client:
                client.request("POST" if self.content else "GET", self.path, content=self.content)
        except httpx.HTTPError as error:
            self.errors.append(error)

    def __enter__(self):
        self.site.slow.gate.clear()
        for thread in self.threads:
            thread.start()
        wait_for(lambda: self.are_there(self.site.stats()), what="those who are held")

    def __exit__(self, *exception):
        self.site.slow.gate.set()
        for thread in self.threads:
            thread.join(60)
        assert not self.errors and not any(thread.is_alive() for thread in self.threads)


def gate_is(name, in_flight, waiting):
    def are_there(stats):
        gate = stats["policies"]["backends"][name]
        return gate["concurrency"]["in_flight"] == in_flight and gate["queue"]["waiting"] == waiting
    return are_there


def route_gate_is(name, in_flight, waiting):
    def are_there(stats):
        gate = stats["policies"]["routes"][name]
        return gate["concurrency"]["in_flight"] == in_flight and gate["queue"]["waiting"] == waiting
    return are_there


def seconds_of(milliseconds):
    return (milliseconds + 999) // 1000


def log_of(site, request_id):
    line = wait_for(lambda: next((one for one in site.log.splitlines() if f"request_id={request_id} " in one
                                  and re.search("event=(request|slow_request|bad_request) ", one)), None), what="its log line")
    return dict(FIELD.findall(line))


def check_log_and_explain(site, request_id, code, error, has_command=True):
    """`error` has policy, value, limit and retry_after_ms as the client was told them, as far as it was."""
    log = log_of(site, request_id)
    assert (log["refused"], log["policy"]) == (code, error.get("policy", "-")), log
    assert int(log["retry_after_ms"]) == error.get("retry_after_ms", 0), (log, error)
    last = site.explain(request_id)["decisions"][-1]
    assert (last["decided"], last["reason"], last.get("policy")) == ("refuse", code, error.get("policy"))
    assert last.get("wait_ms", 0) == error.get("retry_after_ms", 0)
    if "value" in error:
        assert (int(log["value"]), int(log["limit"])) == (error["value"], error["limit"]) \
            == (last["value"], last["limit"])
    else:
        assert not {"value", "limit"} & (last.keys() | log.keys()), (last, log)
    if not has_command:  # once a refusal is enough
        return
    done = run_binary("explain", request_id, "-c", site.config)
    assert done.returncode == 0 and f"reason={code}" in done.stdout, done.stdout + done.stderr


def refused_total(site, route, code):
    line = re.search(rf'floodgate_refused_total{{route="{route}",reason="{code}"}} (\d+)\n',
                     plain_http.get(site.admin + "/metrics").text)
    return int(line.group(1))


def figure(site, name):
    return int(re.search(rf"floodgate_{name} (\d+)\n", plain_http.get(site.admin + "/metrics").text).group(1))


def ask_as_grpc(site, path, content=b"\0" * 5, headers=None):
    with site.client(http2=True) as client:
        return client.post(path, headers={"content-type": "application/grpc", "te": "trailers", **(headers or {})},
                           content=content)


GRPC = {413: "8", 429: "8", 503: "14", 504: "4"}


def check_grpc(site, path, status, code, policy, has_wait=True, **request):
    """Trailers only: the head says it all, and there is nothing behind it."""
    route = path.split("/")[1]
    before = refused_total(site, route, code)
    called = ask_as_grpc(site, path, **request)
    assert (called.status_code, called.headers["content-type"]) == (200, "application/grpc"), called.headers
    assert called.content == b"" and called.headers["grpc-status"] == GRPC[status]
    assert called.headers["grpc-message"] and "retry-after" not in called.headers
    assert ("grpc-retry-pushback-ms" in called.headers) == has_wait
    log, last = log_of(site, called.headers["x-request-id"]), site.explain(called.headers["x-request-id"])
    assert last["status"] == int(log["status"]) == status and log["refused"] == code
    assert (last["decisions"][-1]["reason"], last["decisions"][-1]["policy"]) == (code, policy)
    wait = int(called.headers.get("grpc-retry-pushback-ms", 0))
    assert last["decisions"][-1].get("wait_ms", 0) == int(log["retry_after_ms"]) == wait
    wait_for(lambda: refused_total(site, route, code) == before + 1, what="the metric")


def check_everywhere(site, path, status, code, policy, has_wait=True, content=None, **request):
    """The refusal of a request over HTTP/1.1, HTTP/2 and gRPC; the last one's error."""
    route = path.split("/")[1]
    check_grpc(site, path, status, code, policy, has_wait, content=content or b"\0" * 5, **request)
    for http2 in (False, True):
        before = refused_total(site, route, code)
        with site.client(http2=http2) as client:
            answer = client.request("POST" if content else "GET", path, content=content, **request)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["policy"]) == (status, code, policy), answer.text
        assert error["request_id"] == answer.headers["x-request-id"] and error["message"] and error["type"]
        assert "value" in error and "limit" in error, error
        assert ("retry_after_ms" in error) == ("retry-after" in answer.headers) == has_wait, error
        if has_wait:
            assert int(answer.headers["retry-after"]) == seconds_of(error["retry_after_ms"])
        check_log_and_explain(site, error["request_id"], code, error, has_command=http2)
        wait_for(lambda: refused_total(site, route, code) == before + 1, what="the metric")
    return error


def test_rate_limit(site):
    assert site.get("/limit").status_code == 200
    error = check_everywhere(site, "/limit", 429, "rate_limit", "rare")
    assert (error["value"], error["limit"]) == (0, 1)
    called = ask_as_grpc(site, "/limit")
    assert called.status_code == 200 and called.headers["grpc-status"] == "8", called.headers
    assert "rare" in called.headers["grpc-message"]
    record = site.explain(called.headers["x-request-id"])
    assert record["status"] == 429
    assert record["decisions"][-1]["wait_ms"] == int(called.headers["grpc-retry-pushback-ms"])
    assert called.headers["ratelimit"].startswith('"rare";r=0;t=')


def test_waiting_room(site):
    assert site.get("/line").status_code == 200
    error = check_everywhere(site, "/line", 429, "waiting_room", "waiting_room")
    assert error["queue"]["eta_ms"] > 0 and error["queue"]["ticket"].startswith("t2.")


def test_queue_full(site):
    with Held(site, "/full", 2, gate_is("full", 1, 1)):
        error = check_everywhere(site, "/full", 503, "queue_full", "queue")
        assert (error["value"], error["limit"]) == (1, 1) and error["queue"]["position"] == 1
        assert error["queue"].get("eta_ms", 1) > 0  # none rather than a wrong one
        # through the cache, where a fetch of its own is refused, too
        stored = site.get("/stored/a")
        assert stored.status_code == 503
        assert (stored.json()["error"]["value"], stored.json()["error"]["limit"]) == (1, 1)
        check_log_and_explain(site, stored.headers["x-request-id"], "queue_full", stored.json()["error"])


def test_queue_bytes(site):
    with Held(site, "/bytes", 1, gate_is("bytes", 1, 0)):
        error = check_everywhere(site, "/bytes", 503, "queue_bytes", "queue", content=b"x" * 11)
        assert error["limit"] == 10


def test_queue_tokens(site):
    with Held(site, "/tokens", 1, gate_is("tokens", 1, 0)):
        assert check_everywhere(site, "/tokens", 503, "queue_tokens", "queue", content=b"{}")["limit"] == 1


def test_queue_timeout(site):
    with Held(site, "/impatient", 1, gate_is("impatient", 1, 0)):
        error = check_everywhere(site, "/impatient", 503, "queue_timeout", "queue")
        assert error["value"] >= error["limit"] == 1


def test_route_queue(site):
    with Held(site, "/own", 2, route_gate_is("own", 1, 1)):
        assert check_everywhere(site, "/own", 503, "queue_full", "route_queue")["limit"] == 1


def test_breakers(site):
    for name, code, policy in (("broken", "breaker_open", "breaker"), ("shut", "endpoints_open", "endpoint_breaker")):
        assert site.get(f"/{name}").status_code == 503
        wait_for(lambda: site.get(f"/{name}").json()["error"]["code"] == code)
        site.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 0)  # the last one is counted, too
        error = check_everywhere(site, f"/{name}", 503, code, policy)
        assert (error["value"], error["limit"]) == (1, 1)  # failures in a row; of one endpoint
        assert 1000 < error["retry_after_ms"] < 67000


def test_cluster_limits(site):
    def used(name, limit):
        return lambda stats: stats["backends"][name]["limits"][limit]["used"] == 1
    for name, count in (("requests", 1), ("pending", 2)):
        with Held(site, f"/{name}", count, used(name, name)):
            error = check_everywhere(site, f"/{name}", 503, f"cluster_{name}", f"limits.{name}")
            assert (error["value"], error["limit"]) == (1, 1)


def test_a_deadline_that_cannot_be_met(site):
    with Held(site, "/slow", 5, gate_is("slow", 1, 4)):
        pass  # of those who leave the queue it learns the pace
    with Held(site, "/slow", 6, gate_is("slow", 1, 5)):
        error = check_everywhere(site, "/slow", 503, "cannot_meet_deadline", "queue",
                                 headers={"x-request-timeout-ms": "300"})
        assert error["value"] > error["limit"] > 0


def test_deadline(site):
    with contextlib.ExitStack() as stack:
        stack.callback(site.slow.gate.set)
        site.slow.gate.clear()
        with site.client() as client:
            first = threading.Thread(target=site.get, args=("/own",))
            first.start()
            wait_for(lambda: route_gate_is("own", 1, 0)(site.stats()))
            answer = client.get("/late")
        site.slow.gate.set()
        first.join()
    error = answer.json()["error"]
    assert answer.status_code == 504 and error["code"] == "deadline_exceeded", answer.text
    assert error["policy"] == "deadline" and error["value"] >= error["limit"] == 50


@pytest.mark.parametrize("path, headers, status, code, grpc", [
    ("/nowhere", {}, 404, "no_route", "12"), ("/posted", {}, 405, "method_not_allowed", None),
    ("/mine", {}, 401, "unauthenticated", "16"),
    ("/stored/none", {"cache-control": "only-if-cached"}, 504, "not_cached", None)])
def test_what_no_limit_decided(site, path, headers, status, code, grpc):
    for http2 in (False, True):
        with site.client(http2=http2) as client:
            answer = client.get(path, headers=headers)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], answer.headers.get("retry-after")) == (status, code, None)
        assert not {"policy", "value", "limit", "retry_after_ms"} & error.keys(), error
        check_log_and_explain(site, error["request_id"], code, error, has_command=http2)
    assert ("allow" in answer.headers) == (status == 405) and ("www-authenticate" in answer.headers) == (status == 401)
    if grpc is not None:
        assert ask_as_grpc(site, path).headers["grpc-status"] == grpc


def test_body_too_large(site):
    for http2, content in ((False, b"x" * 11), (True, b"x" * 11), (False, iter([b"x" * 6] * 2))):
        before = refused_total(site, "small", "body_too_large")
        with site.client(http2=http2) as client:
            answer = client.post("/small", content=content)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["limit"]) == (413, "body_too_large", 10), answer.text
        log = log_of(site, error["request_id"])
        assert (log["status"], log["refused"], log["policy"], log["limit"]) == ("413", "body_too_large", "body_max", "10")
        assert int(log["value"]) > 10 and log["aborted"] == "0"
        record = site.explain(error["request_id"])
        assert record["status"] == 413 and record["decisions"][-1]["reason"] == "body_too_large"
        wait_for(lambda: refused_total(site, "small", "body_too_large") == before + 1, what="the metric")


BAD_HEADS = {  # what is sent, and what is said of it
    "bad_host": (400, b"GET /x HTTP/1.1\r\n\r\n"),
    "malformed_request": (400, b"\x00\x01\r\n\r\n"),
    "ambiguous_length": (400, b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"),
    "header_too_large": (431, b"GET /x HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 70000 + b"\r\n\r\n"),
    "bad_chunk": (400, b"POST /small HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nx\r\n"),
}


def check_bad_request(site, status, code, request_id, route, before):
    log, record = log_of(site, request_id), site.explain(request_id)
    assert (log["status"], log["refused"], log["client"]) == (str(status), code, "127.0.0.1")
    assert record["status"] == status and record["client"] == "127.0.0.1"
    assert (record["decisions"][-1]["decided"], record["decisions"][-1]["reason"]) == ("refuse", code)
    wait_for(lambda: refused_total(site, route, "bad_request") == before + 1, what="the metric")


@pytest.mark.parametrize("code", BAD_HEADS)
def test_what_is_no_request_is_told_and_kept(site, code):
    status, data = BAD_HEADS[code]
    route = "small" if code == "bad_chunk" else "unmatched"
    before = refused_total(site, route, "bad_request")
    errors = figure(site, "protocol_errors_total")
    with site.raw() as connection:
        connection.sendall(data)
        told, _, body = read_response(connection.makefile("rb"))
    error = json.loads(body)["error"]
    assert (told, error["code"]) == (status, code)
    check_bad_request(site, status, code, error["request_id"], route, before)
    assert figure(site, "protocol_errors_total") == errors + 1


def test_a_bad_head_of_http2_is_told_and_kept(site):
    before = refused_total(site, "unmatched", "bad_request")
    connection, state = h2_start(site)
    with connection:
        state.send_headers(1, [(":method", "GET"), (":scheme", "https"), (":path", "/a%2fb"), (":authority", "a")],
                           end_stream=True)
        connection.sendall(state.data_to_send())
        events = []
        assert h2_until(connection, state, h2.events.StreamEnded, events)
    head = next(dict(event.headers) for event in events if isinstance(event, h2.events.ResponseReceived))
    assert head[":status"] == "400"
    check_bad_request(site, 400, "bad_target", head["x-request-id"], "unmatched", before)


def test_frames_that_are_none_are_counted_and_logged(site):
    errors, floods = (figure(site, f"{name}_total") for name in ("protocol_errors", "h2_floods"))
    connection, state = h2_start(site)
    with connection:
        connection.sendall(bytes([0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]))  # a window that opens by nothing
        assert h2_until(connection, state, h2.events.ConnectionTerminated)
    wait_for(lambda: figure(site, "protocol_errors_total") > errors)
    wait_for(lambda: re.search("event=protocol_error client=127.0.0.1 version=h2 reason=", site.log))
    connection, state = h2_start(site)
    with connection:
        with contextlib.suppress(OSError):
            connection.sendall(bytes([0, 0, 8, 6, 0, 0, 0, 0, 0] + [0] * 8) * 30000)  # pings
        h2_until(connection, state, h2.events.ConnectionTerminated)
    wait_for(lambda: figure(site, "h2_floods_total") == floods + 1)
    assert figure(site, "tls_floods_total") == 0 and figure(site, "timeouts_total") >= 0


def test_a_body_too_large_for_a_grpc_call(site):
    called = ask_as_grpc(site, "/small", content=b"x" * 11)
    assert (called.status_code, called.headers["content-type"], called.content) == (200, "application/grpc", b"")
    assert called.headers["grpc-status"] == "8" and called.headers["grpc-message"] == "The request body is too large."
    assert site.explain(called.headers["x-request-id"])["status"] == 413


def test_the_log_tells_of_a_refusal_that_nothing_records(launch):
    gateway = launch({"policies": {"rate_limits": {"rare": {"key": "route", "rate": "1/h", "burst": 1}}},
                      "observability": {"access_log": True, "recent_requests": "off"},
                      "routes": [{"match": {"prefix": "/"}, "rate_limits": ["rare"], "respond": {"status": 200}}]})
    gateway.get("/")
    refused = gateway.get("/").json()["error"]
    log = log_of(gateway, refused["request_id"])
    assert (log["refused"], log["policy"], log["limit"]) == ("rate_limit", "rare", "1")
    assert int(log["retry_after_ms"]) == refused["retry_after_ms"]


def test_two_who_are_refused_at_once_come_back_apart(site):
    site.get("/limit")
    waits = {site.get("/limit").json()["error"]["retry_after_ms"] for _ in range(12)}
    assert len(waits) > 3 and min(waits) <= max(waits) <= 1.11 * min(waits), waits
