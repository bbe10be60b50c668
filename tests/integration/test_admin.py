"""The operators' side: figures, metrics, health, the effective configuration, the dashboard."""
import json
import pathlib
import re
import subprocess
import time

import pytest

import wire
from harness import DEMO_MODEL, plain_http, run_binary, unique, wait_for
from wire import headers, pseudo, settings


@pytest.fixture(scope="module")
def site(launch_module, upstream_module):
    backend = upstream_module()
    gateway = launch_module({
        "policies": {"rate_limits": {"per-user": {"key": "user", "rate": "100/s", "burst": 100}}},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "orders": {"skus": {"milk-tea": 100}},
        "inference": {"enabled": True, "model": str(DEMO_MODEL), "workers": 1, "kv_memory": "8MiB"},
        "routes": [
            {"name": "session", "match": {"path": "/api/session"}, "session": True},
            {"name": "api", "match": {"prefix": "/api/"}, "to": "orders", "identity": "required",
             "rate_limits": ["per-user"]},
            {"name": "llm", "match": {"prefix": "/v1/"}, "to": "inference"},
            {"name": "cached", "match": {"prefix": "/cached"}, "to": "cluster:app", "cache": {"ttl": "1m"}},
            {"name": "app", "match": {"prefix": "/"}, "to": "cluster:app",
             "waiting_room": {"admit": "1000/s", "burst": 1000}}]})
    headers = gateway.headers()
    with gateway.client(http2=True) as client:
        client.get("/a"), client.get("/cached"), client.get("/cached"), client.delete("/api/session")
        order = client.post("/api/orders", json={"sku": "milk-tea", "quantity": 1},
                            headers={**headers, "idempotency-key": unique()})
        chat = client.post("/v1/completions", json={"prompt": "The free card", "max_tokens": 3, "temperature": 0}, timeout=60)
        assert order.status_code == 201 and chat.status_code == 200
        gateway.completion_tokens = chat.json()["usage"]["completion_tokens"]
    return gateway


def admin(gateway, path, method="GET"):
    return plain_http.request(method, gateway.admin + path, timeout=10)


def test_stats_have_the_promised_groups(site):
    stats = site.wait_stats(lambda stats: stats if stats["gateway"]["requests"]["active"] == 0 else None)
    assert set(stats) >= {"gateway", "routes", "policies", "cache", "orders", "inference", "process"}
    assert set(stats["routes"]) >= {"session", "api", "llm", "cached", "app", "unmatched"}
    assert stats["routes"]["app"]["requests"] == 1 and stats["routes"]["app"]["by_class"]["2xx"] == 1
    assert stats["routes"]["cached"]["cache"]["hit"] == 1 and stats["routes"]["cached"]["cache"]["miss"] == 1
    assert stats["gateway"]["requests"]["total"] >= 6
    assert stats["gateway"]["connections"]["accepted"] >= 2
    assert stats["policies"]["rate_limits"]["per-user"]["allowed"] == 1
    assert set(stats["policies"]["backends"]) == {"app", "orders", "inference"}
    assert stats["policies"]["backends"]["app"]["breaker"]["state"] == "closed"
    # What other processes and threads count is published a moment after the answer has left.
    wait_for(lambda: site.stats()["orders"]["orders_placed"] == 1)
    wait_for(lambda: site.stats()["inference"]["tokens"]["completion"] == site.completion_tokens)
    assert stats["process"]["uptime_s"] > 0
    for route in stats["routes"].values():
        assert route["latency_s"]["p50"] <= route["latency_s"]["p99"] <= 60


def test_metrics_satisfy_promtool(site):
    answer = admin(site, "/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    done = subprocess.run(["promtool", "check", "metrics"], input=answer.text, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("requests_total", "ttft_seconds", "kv_blocks", "breaker", "cache"):
        assert name in answer.text, name


def test_counters_in_metrics_only_grow(site):
    def counters():
        lines = [line.rsplit(" ", 1) for line in admin(site, "/metrics").text.splitlines() if line[0] != "#"]
        return {name: float(value) for name, value in lines if "_total" in name}
    before = counters()
    site.get("/a")
    after = counters()
    assert set(before) <= set(after)
    assert all(after[name] >= value for name, value in before.items())
    assert sum(after.values()) > sum(before.values())


def test_health_and_pages(site):
    assert admin(site, "/healthz").status_code == 200
    assert admin(site, "/readyz").status_code == 200
    assert admin(site, "/stats", "HEAD").status_code == 200
    page = admin(site, "/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert admin(site, "/none").status_code == 404
    for path, method, allowed in [("/stats", "POST", "GET, HEAD"), ("/drain", "GET", "POST"), ("/", "TRACE", "GET, HEAD"),
                                  ("/reload", "DELETE", "GET, HEAD, POST"), ("/dashboard.js", "PUT", "GET, HEAD")]:
        answer = admin(site, path, method)
        assert answer.status_code == 405 and answer.headers["allow"] == allowed and "date" in answer.headers, path
    assert "allow" not in admin(site, "/stats").headers
    assert admin(site, "/cache/purge").status_code == 405


def test_the_admin_side_is_not_on_the_public_port(site):
    assert "gateway" not in site.get("/stats").json()  # the upstream's echo


def test_config_shows_defaults_and_no_secret(launch, upstream):
    backend = upstream()
    gateway = launch({"clusters": {"app": {"endpoints": [backend.address]}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    answer = admin(gateway, "/config")
    assert answer.status_code == 200
    shown = answer.json()
    assert shown["limits"]["connections_max"] == 20000 and shown["clusters"]["app"]["connect_retries"] == 2
    secret = (gateway.run / "jwt.key").read_bytes()
    assert secret.hex() not in answer.text and secret not in answer.content


def test_not_ready_while_redis_is_away(launch, tmp_path):
    from redis_tools import redis_server
    from test_orders import shop
    with redis_server(tmp_path, "--requirepass", "geheim-456") as (port, _, _):
        gateway = launch(shop(durability="memory", redis={"address": f"127.0.0.1:{port}", "password": "geheim-456"}))
        assert "geheim-456" not in json.dumps(admin(gateway, "/config").json())
    wait_for(lambda: admin(gateway, "/readyz").status_code == 503)
    assert "orders" in admin(gateway, "/readyz").text
    assert admin(gateway, "/healthz").status_code == 200


def test_the_supervisor_rests(launch):
    """With no workers to watch it has nothing to do until a signal or a child's end wakes it."""
    gateway = launch({"routes": [{"match": {"prefix": "/"}, "respond": {"status": 204}}]})

    def woken():
        status = pathlib.Path(f"/proc/{gateway.process.pid}/status").read_text()
        return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.M)[1])

    before = woken()
    time.sleep(2)  # the span that is measured
    assert woken() - before < 8


@pytest.mark.races
def test_looking_disturbs_nobody(site):
    with site.client(http2=True) as client:
        for number in range(40):
            assert client.get(f"/{number}").status_code == 200
            assert admin(site, "/stats" if number % 2 else "/metrics").status_code == 200


def test_pages_that_nobody_reads_have_a_bound(launch):
    """And who looks at health is not told so; once they are gone others get theirs."""
    gateway = launch({"admin": {"answers_max": "1MiB"},
                      "routes": [{"match": {"prefix": f"/{i}"}, "respond": {"status": 204}} for i in range(50)]})
    size = len(admin(gateway, "/metrics").content)
    assert 16384 < size < 1 << 20
    peer = wire.H2(wire.connect(gateway.admin_port), first=settings((4, 0)))
    with peer.connection:
        streams = range(1, 201, 2)
        peer.send(b"".join(headers(i, pseudo("/metrics", authority="127.0.0.1")) for i in streams))
        assert peer.until(lambda: len(peer.status) == len(streams))
        pages = [i for i in streams if peer.status[i] == 200]
        assert 0 < len(pages) <= (1 << 20) // size and {peer.status[i] for i in streams} == {200, 503}
        assert admin(gateway, "/metrics").status_code == 503
        assert admin(gateway, "/healthz").status_code == 200 and "event=admin_answers_unread bytes=" in gateway.log
    wait_for(lambda: admin(gateway, "/metrics").status_code == 200, what="the end of the pages that wait")


def test_drain_by_request(launch, upstream):
    backend = upstream()
    gateway = launch({"limits": {"threads": 1, "drain_timeout": "20s"},
                      "clusters": {"app": {"endpoints": [backend.address]}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    assert admin(gateway, "/drain").status_code == 405
    backend.gate.clear()
    with gateway.raw() as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        wait_for(lambda: backend.count("/slow") == 1)
        answer = admin(gateway, "/drain", "POST")
        assert answer.status_code == 202 and answer.text == "draining\n"
        wait_for(lambda: "event=stopping" in gateway.log)
        backend.gate.set()
        assert b" 200 OK\r\n" in connection.recv(65536)
    assert gateway.process.wait(30) == 0


@pytest.mark.parametrize("origin, status", [
    ("http://evil.example", 403), ("null", 403), ("http://localhost.evil.example:1", 403), ("", 403), ("//", 403),
    ("http://{address}", 200), ("https://{address}", 200)])
def test_another_sites_page_cannot_make_a_browser_ask(site, origin, status):
    address = site.admin.removeprefix("http://")
    answer = plain_http.post(site.admin + "/cache/purge?tag=none", headers={"origin": origin.format(address=address)})
    assert answer.status_code == status, answer.text
    assert plain_http.get(site.admin + "/stats", headers={"origin": "http://evil.example"}).status_code == 200


@pytest.mark.parametrize("host, is_ours", [
    ("localhost", True), ("LOCALHOST.", True), ("127.0.0.1", True), ("127.9.9.9:1", True), ("[::1]", True),
    ("ops.example", True), ("Ops.Example.:9901", True), ("evil.example", False), ("localhost.evil.example", False),
    ("127.0.0.1.evil.example:9901", False), ("127.1", False), ("sub.ops.example", False)])
def test_a_name_that_leads_here_is_not_ours(launch, host, is_ours):
    """DNS rebinding: to a browser the page of evil.example and what that name leads to now are one site."""
    gateway = launch({"admin": lambda fg: {"address": fg.admin.removeprefix("http://"), "hosts": ["ops.example"]},
                      "routes": [{"match": {"prefix": "/"}, "respond": {"status": 200}}]})
    for path in ("/stats", "/config", "/", "/nothing"):
        answer = plain_http.get(gateway.admin + path, headers={"host": host})
        assert answer.status_code == (403 if not is_ours else 404 if path == "/nothing" else 200), (path, answer.text)
    for origin in ({}, {"origin": f"http://{host.lower()}"}):
        answer = plain_http.post(gateway.admin + "/cache/purge?tag=none", headers={"host": host, **origin})
        assert answer.status_code == (200 if is_ours else 403), answer.text
    assert ("admin.hosts" in answer.text) != is_ours


@pytest.mark.parametrize("name", ["*.example", "ops.example:9901", "[::1]", "ops/x"])
def test_check_refuses_what_is_no_name(tmp_path, name):
    path = tmp_path / "f.yaml"
    path.write_text(f"listeners: [{{address: 127.0.0.1:8080, kind: plain}}]\nadmin:\n hosts: [gateway-1, \"{name}\"]\n"
                    "routes: [{match: {prefix: /}, respond: {}}]\n")
    done = run_binary("check", "-c", path)
    assert done.returncode == 2
    assert f'f.yaml:3:21: hosts: "{name}" is not a name; expected example.org, without a port' in done.stderr


def test_where_others_reach_it_names_are_for_what_changes_nothing(launch):
    gateway = launch({"admin": lambda fg: {"address": fg.admin.removeprefix("http://").replace("127.0.0.1", "0.0.0.0")},
                      "routes": [{"match": {"prefix": "/"}, "respond": {"status": 200}}]})
    name = {"host": "gateway-1.internal:9901"}
    assert plain_http.get(gateway.admin + "/metrics", headers=name).status_code == 200
    assert plain_http.post(gateway.admin + "/cache/purge?tag=none", headers=name).status_code == 200
    page = {**name, "origin": "http://gateway-1.internal:9901"}
    assert plain_http.post(gateway.admin + "/cache/purge?tag=none", headers=page).status_code == 403
