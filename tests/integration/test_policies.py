"""What is refused, when, and what the refused are told."""
import asyncio
import collections
import threading
import time

import httpx
import pytest

from harness import wait_for


def in_background(gateway, path, count, http2=False, **kwargs):
    """`count` requests, each on a connection of its own; their answers in order of arrival."""
    answers = []

    def ask():
        with gateway.client(http2=http2) as client:
            answers.append(client.get(path, **kwargs))
    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, answers


def join(threads):
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


# ---- rate limits ----

@pytest.fixture(scope="module")
def limited(launch_module, upstream_module):
    backend = upstream_module()
    gateway = launch_module({
        "policies": {"rate_limits": {
            "per-user": {"key": "user", "rate": "1/m", "burst": 3},
            "per-address": {"key": "ip", "rate": "1/m", "burst": 2},
            "all": {"key": "route", "rate": "1/m", "burst": 4}}},
        "identity": {"sessions_per_ip": "5/m"},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [
            {"name": "session", "match": {"path": "/api/session"}, "session": True},
            {"name": "user", "match": {"path": "/user"}, "identity": "optional", "rate_limits": ["per-user"],
             "to": "cluster:app"},
            {"name": "ip", "match": {"path": "/ip"}, "rate_limits": ["per-address"], "to": "cluster:app"},
            {"name": "route", "match": {"path": "/route"}, "rate_limits": ["all"], "to": "cluster:app"},
        ]})
    gateway.backend = backend
    return gateway


def check_refused(answer, policy):
    assert answer.status_code == 429
    error = answer.json()["error"]
    assert error["code"] == "rate_limit" and error["policy"] == policy
    assert error["value"] == 0 and error["limit"] > 0
    assert 0 < error["retry_after_ms"] <= 70000
    assert abs(int(answer.headers["retry-after"]) - error["retry_after_ms"] / 1000) <= 1
    assert answer.headers["ratelimit-policy"].startswith(f'"{policy}";q=')
    assert f'"{policy}";r=0' in answer.headers["ratelimit"]


@pytest.mark.races
@pytest.mark.parametrize("path, policy, burst", [("/ip", "per-address", 2), ("/route", "all", 4)])
def test_rate_limit_by_address_and_route(limited, path, policy, burst):
    gateway = limited
    with gateway.client(http2=True) as client:
        answers = [client.get(path) for _ in range(burst + 2)]
    assert [answer.status_code for answer in answers] == [200] * burst + [429] * 2
    assert f'"{policy}";r={burst - 1}' in answers[0].headers["ratelimit"]
    check_refused(answers[-1], policy)
    assert gateway.backend.count(path) == burst
    figures = gateway.stats()["policies"]["rate_limits"][policy]
    assert figures["allowed"] == burst and figures["refused"] == 2


def test_rate_limit_by_user(limited):
    gateway = limited
    headers = [{"authorization": "Bearer " + gateway.token(name)} for name in ("anna", "ben")]
    with gateway.client() as client:
        for header in headers:
            answers = [client.get("/user", headers=header) for _ in range(4)]
            assert [answer.status_code for answer in answers] == [200] * 3 + [429]
            check_refused(answers[-1], "per-user")


def test_sessions_are_limited_by_address(limited):
    with limited.client() as client:
        answers = [client.post("/api/session", json={"device_id": f"d{i}"}) for i in range(7)]
    assert [answer.status_code for answer in answers] == [201] * 5 + [429] * 2
    check_refused(answers[-1], "sessions_per_ip")


# ---- queue ----

def test_queue_of_one_and_the_place_in_it(launch, upstream):
    backend = upstream()
    gateway = launch({
        "clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 1},
                             "queue": {"requests_max": 1, "wait_max": "30s", "target": "off"}}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    backend.gate.clear()
    first, answers = in_background(gateway, "/1", 1)
    wait_for(lambda: backend.in_flight == 1)
    second, more = in_background(gateway, "/2", 1)
    wait_for(lambda: gateway.gate("app")["queue"]["waiting"] == 1)
    third = gateway.get("/3")
    assert third.status_code == 503
    error = third.json()["error"]
    assert error["code"] == "queue_full" and error["policy"] == "queue"
    assert error["queue"]["position"] >= 1
    assert int(third.headers["retry-after"]) >= 1
    backend.gate.set()
    join(first + second)
    assert answers[0].status_code == 200 and more[0].status_code == 200
    assert "queue;dur=" in more[0].headers["server-timing"]
    assert backend.in_flight_most == 1
    assert gateway.gate("app")["queue"]["full_total"] == 1
    wait_for(lambda: gateway.gate("app")["concurrency"]["in_flight"] == 0)


def test_who_waits_too_long_is_refused(launch, upstream):
    backend = upstream()
    gateway = launch({
        "clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 1},
                             "queue": {"requests_max": 10, "wait_max": "300ms", "target": "off"}}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    backend.gate.clear()
    first, _ = in_background(gateway, "/1", 1)
    wait_for(lambda: backend.in_flight == 1)
    answer = gateway.get("/2")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] in ("queue_timeout", "cannot_meet_deadline")
    assert int(answer.headers["retry-after"]) >= 1
    backend.gate.set()
    join(first)
    assert backend.count("/2") == 0


@pytest.mark.races
def test_a_waiting_client_that_leaves_gives_its_place_back(launch, upstream):
    backend = upstream()
    gateway = launch({
        "clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 1},
                             "queue": {"requests_max": 1, "wait_max": "30s", "target": "off"}}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    backend.gate.clear()
    first, _ = in_background(gateway, "/1", 1)
    wait_for(lambda: backend.in_flight == 1)
    for _ in range(5):
        connection = gateway.raw()
        connection.sendall(b"GET /gone HTTP/1.1\r\nhost: x\r\n\r\n")
        wait_for(lambda: gateway.gate("app")["queue"]["waiting"] == 1)
        connection.close()
        wait_for(lambda: gateway.gate("app")["queue"]["waiting"] == 0)
    backend.gate.set()
    join(first)
    assert gateway.get("/2").status_code == 200
    assert backend.count("/gone") == 0


def test_high_priority_goes_first(launch, upstream):
    backend = upstream()
    gateway = launch({
        "clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 1},
                             "queue": {"requests_max": 10, "wait_max": "30s", "target": "off", "ageing": "off"}}},
        "routes": [{"name": "low", "match": {"prefix": "/low"}, "to": "cluster:app", "priority": "low"},
                   {"name": "high", "match": {"prefix": "/high"}, "to": "cluster:app", "priority": "high"},
                   {"name": "first", "match": {"prefix": "/"}, "to": "cluster:app"}]})
    backend.gate.clear()
    threads, _ = in_background(gateway, "/first", 1)
    wait_for(lambda: backend.in_flight == 1)
    for number, path in enumerate(["/low", "/low", "/high"], 1):
        threads += in_background(gateway, path, 1)[0]
        wait_for(lambda expected=number: gateway.gate("app")["queue"]["waiting"] == expected)
    backend.gate.set()
    join(threads)
    assert [path for _, path, _ in backend.requests] == ["/first", "/high", "/low", "/low"]


# ---- breaker ----

def test_breaker_opens_and_closes_again(launch, upstream):
    healthy = threading.Event()
    backend = upstream(lambda request: (200, {}, b"ok") if healthy.is_set() else (500, {}, b"broken"))
    gateway = launch({
        "clusters": {"app": {"endpoints": [backend.address], "breaker": {
            "consecutive_failures": 3, "open": "2s", "open_max": "2s", "half_open_probes": 1}}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    with gateway.client() as client:
        assert [client.get("/").status_code for _ in range(3)] == [500] * 3
        refused = client.get("/")
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "breaker_open"
        assert refused.json()["error"]["retry_after_ms"] > 0 and int(refused.headers["retry-after"]) >= 1
        assert backend.count() == 3
        assert gateway.gate("app")["breaker"]["state"] in ("open", "half_open")  # it opens for a moment
        healthy.set()
        wait_for(lambda: client.get("/").status_code == 200)
        assert gateway.gate("app")["breaker"]["state"] == "closed"
        assert gateway.gate("app")["breaker"]["opened_total"] == 1


def test_a_dead_upstream_is_502_then_left_alone(launch, upstream):
    backend = upstream()
    gateway = launch({
        "clusters": {"app": {"endpoints": [backend.address], "connect_retries": 0,
                             "breaker": {"consecutive_failures": 2, "open": "1s", "open_max": "1s",
                                         "half_open_probes": 1}}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    with gateway.client() as client:
        assert client.get("/").status_code == 200
        backend.close()
        dead = client.get("/")
        assert dead.status_code == 502
        assert dead.json()["error"]["code"] in ("backend_unreachable", "backend_reset")
        wait_for(lambda: client.get("/").status_code == 503)
        upstream(port=backend.port)
        wait_for(lambda: client.get("/").status_code == 200)


# ---- deadlines ----

@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_deadlines(launch, upstream, http2):
    backend = upstream()
    gateway = launch({
        "clusters": {"app": {"endpoints": [backend.address], "breaker": {"enabled": False}}},
        "routes": [{"name": "short", "match": {"prefix": "/short"}, "to": "cluster:app", "timeout": "300ms"},
                   {"name": "long", "match": {"prefix": "/"}, "to": "cluster:app", "timeout": "60s"}]})
    backend.gate.clear()
    with gateway.client(http2=http2) as client:
        route = client.get("/short")
        assert route.status_code == 504 and route.json()["error"]["code"] == "deadline_exceeded"
        asked = client.get("/long", headers={"x-request-timeout-ms": "200"})
        assert asked.status_code == 504
        wait_for(lambda: gateway.gate("app")["concurrency"]["in_flight"] == 0)
        backend.gate.set()
        for nonsense in ("0", "-1", "soon", "99999999999999999999", ""):
            status = client.get("/long", headers={"x-request-timeout-ms": nonsense}).status_code
            assert status in (200, 504) if nonsense == "0" else status == 200, nonsense


# ---- waiting room ----

def test_waiting_room_ticket(launch, upstream):
    backend = upstream()
    gateway = launch({
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [{"name": "sale", "match": {"prefix": "/sale"}, "to": "cluster:app", "identity": "optional",
                    "waiting_room": {"admit": "30/m", "burst": 1, "waiting_max": 2, "grace": "1m"}}]})
    with gateway.client() as client:
        assert client.get("/sale").status_code == 200
        waits = client.get("/sale")
        assert waits.status_code == 429
        error = waits.json()["error"]
        ticket = waits.headers["x-floodgate-ticket"]
        assert error["type"] == "waiting_room" and error["queue"]["ticket"] == ticket
        assert error["queue"]["position"] >= 0 and error["queue"]["eta_ms"] >= 0
        assert int(waits.headers["retry-after"]) >= 1
        forged = client.get("/sale", headers={"x-floodgate-ticket": ticket[:-2] + "AA"})
        assert forged.status_code in (429, 503)
        got = wait_for(lambda: next((a for a in [client.get("/sale", headers={"x-floodgate-ticket": ticket})]
                                     if a.status_code == 200), None))
        assert got.status_code == 200


def test_a_full_waiting_room_says_so(launch, upstream):
    backend = upstream()
    gateway = launch({
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [{"name": "sale", "match": {"prefix": "/"}, "to": "cluster:app",
                    "waiting_room": {"admit": "1/m", "burst": 1, "waiting_max": 2, "grace": "1m"}}]})
    with gateway.client() as client:
        answers = [client.get("/") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 503, 503]
    assert int(answers[-1].headers["retry-after"]) >= 1
    room = gateway.stats()["policies"]["waiting_rooms"]["sale"]
    assert room["waiting"] == 2 and room["full"] == 2


# ---- overload ----

def test_overload_refuses_the_least_important_first(launch, upstream):
    backend = upstream()
    gateway = launch({
        # Any process has more than 0.2 % and less than all of this.
        "policies": {"overload": {"memory_max": "1GiB", "interval": "20ms",
                                  "memory": {"shed_low": "0.1%/0.1%", "shed_normal": "0.2%/0.1%"}}},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [{"name": f"p-{name}", "match": {"path": f"/{name}"}, "to": "cluster:app", "priority": name}
                   for name in ("low", "normal", "high", "critical")]})
    gateway.wait_stats(lambda stats: stats["policies"]["overload"]["level"] == "high")
    with gateway.client() as client:
        for name, status in [("low", 503), ("normal", 503), ("high", 200), ("critical", 200)]:
            answer = client.get("/" + name)
            assert answer.status_code == status, name
            if status == 503:
                assert answer.json()["error"]["code"] == "overload"
                assert int(answer.headers["retry-after"]) >= 1
    assert backend.count("/low") == 0
    overload = gateway.stats()["policies"]["overload"]
    memory = overload["resources"]["memory"]
    assert memory["pressure"] > 0.001 and memory["refused_total"] == 2
    assert memory["steps"] == ["shed_low", "shed_normal"]
    step = overload["steps"]["shed_low"]
    assert step == {"taken": True, "by": ["memory"], "taken_total": 1, "acted_total": 1}


def test_overload_at_the_limit_accepts_nobody_and_stays_observable(launch, upstream):
    backend = upstream()
    gateway = launch({
        "policies": {"overload": {"memory_max": "1GiB", "interval": "20ms",
                                  "memory": {"refuse_connections": "0.3%/0.1%"}}},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "priority": "critical"}]})
    gateway.wait_stats(lambda stats: stats["policies"]["overload"]["level"] == "critical")
    with pytest.raises(httpx.TransportError):
        gateway.get("/", timeout=5)
    assert gateway.stats()["policies"]["overload"]["level"] == "critical"


# ---- many at once ----

@pytest.mark.races
def test_a_crowd_is_served_or_told(launch, upstream):
    backend = upstream()
    gateway = launch({
        "limits": {"threads": 2},
        "clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 4},
                             "queue": {"requests_max": 16, "wait_max": "20s", "target": "off"}}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})

    async def crowd():
        async with gateway.async_client(http2=True) as one, gateway.async_client() as two:
            return await asyncio.gather(*(client.get(f"/{i}") for i in range(60) for client in (one, two)))
    answers = asyncio.run(crowd())
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 503} and statuses.count(200) >= 20
    assert backend.in_flight_most <= 4
    for answer in answers:
        if answer.status_code == 503:
            assert answer.json()["error"]["code"] in ("queue_full", "queue_timeout", "cannot_meet_deadline")
    gateway.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 0)
    gate = gateway.gate("app")
    assert gate["concurrency"]["in_flight"] == 0 and gate["queue"]["waiting"] == 0


# ---- the same users ----

def test_who_got_in_gets_in_again(launch, upstream):
    def serve(request):
        time.sleep(0.04)
        return 200, {}, b"ok"
    backend = upstream(serve)
    gateway = launch({
        "clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 1},
                             "queue": {"wait_max": "200ms"}}},  # of forty five are served in it, the others ask again
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "identity": "optional"}]})
    tokens = [gateway.token(f"user-{number}") for number in range(40)]
    lots, served, asked = {}, collections.Counter(), collections.Counter()

    async def use(client, user):
        for _ in range(15):
            answer = await client.get("/", headers={"authorization": "Bearer " + tokens[user]})
            seen = answer.headers.get("x-floodgate-priority")
            if seen is not None:
                lots.setdefault(user, set()).add(int(seen.split(",")[0].removeprefix("own=")))
            asked[user] += 1
            served[user] += answer.status_code == 200

    async def crowd():
        async with gateway.async_client(http2=True) as client:
            await asyncio.gather(*(use(client, user) for user in range(len(tokens))))
    asyncio.run(crowd())
    assert sum(asked.values()) > 2 * sum(served.values())
    assert all(len(of_user) == 1 for of_user in lots.values())  # the user's, not the request's
    by_lot = sorted(lots, key=lambda user: min(lots[user]))
    best, worst = (sum(served[user] for user in users) for users in (by_lot[:10], by_lot[-10:]))
    assert best > 1.3 * worst, (best, worst, sum(served.values()))
