"""
Who reads of a failed request at night is told which hop it was, how long, and why: in the answer, the log, /explain,
/stats and /metrics.
"""
import contextlib
import re
import signal

import httpx
import pytest

from harness import ROOT, free_port, h2_start, plain_http, run_binary, wait_for
from test_refusals import log_of


def serve(peer):
    head, _ = peer.read_request()
    path = head.split()[1].decode()
    if path.endswith("/garbage"):
        peer.write(b"garbage\r\n\r\n")
    elif path.endswith("/broken"):
        peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
    elif path.endswith("/stuck"):
        peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
        peer.more()  # until the gateway has gone
    elif path.endswith("/silent"):
        peer.more()


@pytest.fixture(scope="module")
def site(launch_module, recorder_module):
    recorder = recorder_module(serve)
    app = {"endpoints": [recorder.address], "connect_retries": 0, "breaker": {"enabled": False}}

    def route(name, **more):
        return {"name": name, "match": {"prefix": f"/{name}/"}, "to": "cluster:app", **more}
    gateway = launch_module({
        "clusters": {"app": {**app, "response_head_timeout": "60s"}, "hasty": {**app, "response_head_timeout": "100ms"},
                     "nobody": {**app, "endpoints": [f"127.0.0.1:{free_port()}"]},
                     "narrow": {**app, "response_head_timeout": "60s", "concurrency": {"kind": "fixed", "limit": 1},
                                "queue": {"wait_max": "100ms", "target": "off"}}},
        "limits": {"body_timeout": "100ms"},
        "observability": {"access_log": True, "recent_requests": 256},
        "routes": [route("nobody", to="cluster:nobody"), route("hasty", to="cluster:hasty"),
                   route("cached", to="cluster:hasty", cache=True), route("brief", timeout="100ms"),
                   route("narrow", to="cluster:narrow"), route("whole", buffer_request=True, body_max="1KiB"),
                   route("lane", concurrency={"limit": 1}, queue={"wait_max": "100ms", "target": "off"}),
                   route("quiet", timeout="60s", stream_idle_timeout="100ms"), route("app", timeout="60s")]})
    gateway.recorder = recorder
    return gateway


def test_every_reason_is_explained_to_operators(site):
    told = (ROOT / "docs/operations.md").read_text()
    requests = site.stats()["gateway"]["requests"]
    assert not [name for name in [*requests["refused"], *requests["failed"]] if f"`{name}`" not in told]


def failed_total(site, route, reason):
    found = re.search(rf'floodgate_failed_total{{route="{route}",reason="{reason}"}} (\d+)\n',
                      plain_http.get(site.admin + "/metrics").text)
    return int(found.group(1))


def hop_of(answer, name):
    return float(re.search(rf"\b{name};dur=([0-9.]+)", answer.headers["server-timing"]).group(1))


def check_told(site, request_id, route, reason, endpoint):
    log, record = log_of(site, request_id), site.explain(request_id)
    assert (log["refused"], log["failed"], log["endpoint"], log["attempts"]) == ("-", reason, endpoint, "1")
    assert record["failed"] == reason and record["backend"]["endpoint"] == endpoint
    assert float(log["backend_ms"]) > 0 and record["hops_ms"]["backend"] > 0
    assert site.stats()["routes"][route]["failed"][reason] >= 1
    assert f"  failed: {reason}\n" in run_binary("explain", request_id, "-c", site.config).stdout


@pytest.mark.parametrize("path, status, reason", [
    ("/nobody/x", 502, "backend_unreachable"), ("/app/gone", 502, "backend_reset"), ("/app/garbage", 502, "backend_reset"),
    ("/hasty/silent", 504, "backend_timeout"), ("/cached/silent", 504, "backend_timeout")])
@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_a_backend_that_does_not_answer(site, path, status, reason, http2):
    route = path.split("/")[1]
    before = failed_total(site, route, reason)
    with site.client(http2=http2) as client:
        answer = client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, reason)
    assert 0 < hop_of(answer, "backend") <= hop_of(answer, "total")
    assert reason != "backend_timeout" or hop_of(answer, "backend") >= 99
    endpoint = next(iter(site.stats()["backends"]["nobody" if route == "nobody" else "app"]["endpoints"]))["address"]
    check_told(site, answer.headers["x-request-id"], route, reason, endpoint)
    wait_for(lambda: failed_total(site, route, reason) == before + 1, what="the metric")


@pytest.mark.parametrize("path, reason", [("/app/broken", "backend_reset"), ("/cached/broken", "backend_reset"),
                                          ("/brief/stuck", "answer_late"), ("/quiet/stuck", "answer_silent")])
def test_an_answer_that_is_cut(site, path, reason):
    route = path.split("/")[1]
    with site.client() as client, contextlib.suppress(httpx.RemoteProtocolError), client.stream("GET", path) as answer:
        assert answer.status_code == 200
        answer.read()
    request_id = answer.headers["x-request-id"]
    check_told(site, request_id, route, reason, site.recorder.address)
    record = site.explain(request_id)
    assert record["aborted"] and record["hops_ms"]["body"] > 0 and record["status"] == 200


def test_a_deadline_that_passes_at_a_server_names_it(site):
    answer = site.get("/brief/silent")
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert hop_of(answer, "backend") > 0
    log, record = (tell(answer.headers["x-request-id"]) for tell in (lambda one: log_of(site, one), site.explain))
    assert (log["endpoint"], log["attempts"], log["failed"]) == (site.recorder.address, "1", "-")
    assert record["backend"] == {"endpoint": site.recorder.address, "attempts": 1, "hedged": False}
    assert float(log["backend_ms"]) > 0


def test_who_left_is_told_whom_it_waited_for(site):
    before = site.stats()["routes"]["app"]["aborted"]
    with site.raw() as connection:
        connection.sendall(b"GET /app/left/silent HTTP/1.1\r\nhost: x\r\n\r\n")
        wait_for(lambda: b"/left/silent" in site.recorder.received(), what="the request at the server")
    wait_for(lambda: site.stats()["routes"]["app"]["aborted"] == before + 1, what="its end")
    line = wait_for(lambda: [one for one in site.log.splitlines() if "route=app status=0" in one], what="its line")[-1]
    assert f"endpoint={site.recorder.address} attempts=1 " in line and "backend_ms=0.000" not in line
    assert " aborted=1 gone=client_closed failed=- " in line


def test_whom_a_drain_has_cut_is_told_so(launch, recorder):
    server = recorder(serve)
    gateway = launch({"limits": {"threads": 1, "drain_timeout": "100ms"}, "observability": {"access_log": True},
                      "clusters": {"app": {"endpoints": [server.address]}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    with gateway.raw() as connection:
        connection.sendall(b"GET /silent HTTP/1.1\r\nhost: x\r\n\r\n")
        wait_for(lambda: b"/silent" in server.received(), what="the request at the server")
        gateway.signal(signal.SIGTERM)
        assert gateway.process.wait(30) == 0
    assert " aborted=1 gone=drain failed=- " in gateway.log


def test_a_stream_that_its_client_resets_is_told_so(site):
    connection, state = h2_start(site)
    with connection:
        state.send_headers(1, [(":method", "GET"), (":path", "/app/reset/silent"), (":scheme", "https"),
                               (":authority", "x")], end_stream=True)
        connection.sendall(state.data_to_send())
        wait_for(lambda: b"/app/reset/silent" in site.recorder.received(), what="the request at the server")
        state.reset_stream(1, 8)
        connection.sendall(state.data_to_send())
        line = wait_for(lambda: [one for one in site.log.splitlines() if 'path="/app/reset/silent"' in one], what="its line")[0]
    assert " aborted=1 gone=stream_reset failed=- " in line
    request_id = line.split("request_id=")[1].split()[0]
    assert site.explain(request_id)["gone"] == "stream_reset"
    assert "  gone: stream_reset\n" in run_binary("explain", request_id, "-c", site.config).stdout


@contextlib.contextmanager
def at_a_server(site, path):
    with site.raw() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        wait_for(lambda: path.encode() in site.recorder.received(), what="the request at the server")
        yield connection


@pytest.mark.parametrize("route, hop", [("narrow", "queue"), ("lane", "route_queue")])
def test_who_waits_in_vain_is_told_where(site, route, hop):
    with at_a_server(site, f"/{route}/first/silent"):
        answer = site.get(f"/{route}/second")
        assert answer.json()["error"]["code"] == "queue_timeout" and 99 <= hop_of(answer, hop) <= hop_of(answer, "total")
        request_id = answer.headers["x-request-id"]
        assert float(log_of(site, request_id)[f"{hop}_ms"]) >= 99 and site.explain(request_id)["hops_ms"][hop] >= 99


def test_who_leaves_while_waiting_is_told_where(site):
    with at_a_server(site, "/narrow/third/silent"):
        with site.raw() as connection:
            connection.sendall(b"GET /narrow/left HTTP/1.1\r\nhost: x\r\n\r\n")
            site.wait_stats(lambda stats: stats["policies"]["backends"]["narrow"]["queue"]["waiting"] == 1)
        line = wait_for(lambda: [one for one in site.log.splitlines() if 'path="/narrow/left"' in one], what="its line")[0]
    assert " queue_ms=0.000 " not in line and "backend_ms=0.000" in line


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_a_body_that_does_not_come_is_told_as_an_upload(site, http2):
    def slowly():
        yield b"x"
        site.wait_stats(lambda stats: stats["routes"]["whole"]["refused"]["body_timeout"] > before)
    before = site.stats()["routes"]["whole"]["refused"]["body_timeout"]
    with site.client(http2=http2) as client:
        answer = client.post("/whole/x", content=slowly())
    assert answer.status_code == 408
    log = log_of(site, answer.headers["x-request-id"])
    assert log["refused"] == "body_timeout" and float(log["upload_ms"]) > 0
