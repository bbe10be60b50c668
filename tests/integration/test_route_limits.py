"""A concurrency limit of a route's own, before its backend's: both count, the route's comes first, no slot is lost."""
import asyncio

import pytest

from harness import plain_http, run_binary, wait_for
from test_policies import in_background, join
from test_rehearse import write  # noqa: F401


def site(address, concurrency, queue=None, backend=8, **cluster):
    return {
        "limits": {"threads": 2}, "observability": {"recent_requests": 256},
        "clusters": {"app": {"endpoints": [address], "concurrency": {"kind": "fixed", "limit": backend},
                             "queue": {"requests_max": 50, "wait_max": "60s", "target": "off"}, **cluster}},
        "routes": [{"name": "report", "match": {"prefix": "/report"}, "to": "cluster:app",
                    "concurrency": concurrency,
                    "queue": {"requests_max": 1, "wait_max": "60s", "target": "off", **(queue or {})}},
                   {"name": "all", "match": {"prefix": "/"}, "to": "cluster:app"}]}


def route(gateway, name="report"):
    return gateway.stats()["policies"]["routes"][name]


def decisions_of(gateway, answer):
    decisions = gateway.explain(answer.headers["x-request-id"])["decisions"]
    return {decision["policy"]: decision["decided"] for decision in decisions}


def test_a_route_has_its_own_limit_and_queue(launch, upstream):
    backend = upstream()
    gateway = launch(site(backend.address, {"limit": 2}))
    backend.gate.clear()
    threads, answers = in_background(gateway, "/report", 2)
    wait_for(lambda: backend.in_flight == 2)
    waiting, late = in_background(gateway, "/report", 1)
    wait_for(lambda: route(gateway)["queue"]["waiting"] == 1)
    refused = gateway.get("/report")
    assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
    error = refused.json()["error"]
    assert (error["code"], error["policy"], error["limit"]) == ("queue_full", "route_queue", 1)
    assert decisions_of(gateway, refused)["route_queue"] == "refuse"
    others, free = in_background(gateway, "/other", 3)  # the backend has slots for them
    wait_for(lambda: backend.in_flight == 5)
    assert route(gateway)["concurrency"] | {"noload_latency_s": 0} == {
        "limit": 2, "in_flight": 2, "over_limit_total": 2, "shadow": False, "noload_latency_s": 0}
    metrics = plain_http.get(gateway.admin + "/metrics").text
    for line in ('route_in_flight{route="report"} 2', 'route_queue_depth{route="report"} 1',
                 'route_queue_refused_total{route="report",reason="full"} 1', 'backend_in_flight{backend="app"} 5'):
        assert f"floodgate_{line}\n" in metrics
    backend.gate.set()
    join(threads + waiting + others)
    assert [answer.status_code for answer in answers + late + free] == [200] * 6
    assert "route_queue;dur=" in late[0].headers["server-timing"]
    wait_for(lambda: route(gateway)["concurrency"]["in_flight"] == 0)


def test_explain_says_which_of_the_two_held_it(launch, upstream):
    backend = upstream()
    gateway = launch(site(backend.address, {"limit": 1}, backend=1))
    backend.gate.clear()
    first, _ = in_background(gateway, "/report", 1)
    wait_for(lambda: backend.in_flight == 1)
    by_route, at_route = in_background(gateway, "/report", 1)
    wait_for(lambda: route(gateway)["queue"]["waiting"] == 1)
    by_backend, at_backend = in_background(gateway, "/other", 1)
    wait_for(lambda: gateway.gate("app")["queue"]["waiting"] == 1)
    backend.gate.set()
    join(first + by_route + by_backend)
    held, other = decisions_of(gateway, at_route[0]), decisions_of(gateway, at_backend[0])
    assert held["route_queue"] == "pass" and "route_queue" not in other and "route_concurrency" not in other
    assert other["queue"] == "pass"
    hops = gateway.explain(at_route[0].headers["x-request-id"])["hops_ms"]
    assert hops["route_queue"] > 0


@pytest.mark.races
def test_neither_is_exceeded_and_none_is_lost(launch, upstream):
    backend = upstream()
    gateway = launch(site(backend.address, {"limit": 3}, {"requests_max": 20}, backend=5))

    async def crowd():
        async with gateway.async_client(http2=True) as one, gateway.async_client() as two:
            return await asyncio.gather(*(client.get(path) for _ in range(20) for client in (one, two)
                                          for path in ("/report", "/other")))
    connections = [gateway.raw() for _ in range(6)]
    for number, connection in enumerate(connections):  # some leave wherever they are
        connection.sendall(b"GET /report/gone HTTP/1.1\r\nhost: x\r\n\r\n")
        if number % 2:
            connection.close()
    answers = asyncio.run(crowd())
    for connection in connections:
        connection.close()
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert backend.in_flight_most <= 5
    gateway.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 0)
    assert route(gateway)["concurrency"]["in_flight"] == 0 and route(gateway)["queue"]["waiting"] == 0
    assert gateway.gate("app")["concurrency"]["in_flight"] == 0


def test_an_adaptive_one_starts_where_it_says(launch, upstream):
    backend = upstream()
    gateway = launch(site(backend.address, {"kind": "vegas", "limit": 7, "min": 2, "max": 40}))
    assert gateway.get("/report").status_code == 200
    assert route(gateway)["concurrency"]["limit"] == 7
    shadow = launch(site(backend.address, {"limit": 1, "shadow": True}))
    backend.gate.clear()
    threads, answers = in_background(shadow, "/report", 3)
    wait_for(lambda: backend.in_flight == 3)
    assert route(shadow)["concurrency"]["over_limit_total"] == 2
    backend.gate.set()
    join(threads)
    assert [answer.status_code for answer in answers] == [200] * 3


def test_the_same_in_the_rehearsal(write):  # noqa: F811
    config = site("127.0.0.1:9", {"limit": 2}, {"requests_max": 10, "wait_max": "1s"}, backend=8)
    crowd = {"arrivals": [{"rate": "400/s"}], "retry": 1}
    night = {"duration": "20s", "backends": {"app": {"slots": 8, "service": "20ms"}},
             "crowds": {"analysts": {**crowd, "journey": ["GET /report"]},
                        "buyers": {**crowd, "arrivals": [{"rate": "200/s"}], "journey": ["GET /buy"]}}}

    def good_of(stdout):
        return {line.split()[0]: float(line.split("%")[0].split()[-1]) for line in stdout.splitlines()
                if line.startswith(("report ", "all "))}
    files = write(night, config)
    done = run_binary("rehearse", *files, "--simulate")
    assert done.returncode == 0, done.stderr
    good = good_of(done.stdout)
    # 2 slots of 20 ms are 100/s for 400/s of reports; the six others are plenty for 200/s of sales.
    assert good["all"] > 99 and 20 < good["report"] < 26, done.stdout


def test_the_refusal_is_told_however_much_was_decided_before(launch, upstream):
    backend = upstream()
    config = site(backend.address, {"limit": 1}, backend=1)
    config["policies"] = {"rate_limits": {f"limit-{i}": {"key": "route", "rate": "1000/s"} for i in range(8)}}
    config["routes"][0].update(rate_limits=list(config["policies"]["rate_limits"]), waiting_room={"admit": "1000/s"})
    config["clusters"]["app"]["queue"]["wait_max"] = "2s"
    gateway = launch(config)
    backend.gate.clear()
    first, _ = in_background(gateway, "/other", 1)
    wait_for(lambda: backend.in_flight == 1)
    leaves = gateway.raw()
    leaves.sendall(b"GET /report HTTP/1.1\r\nhost: x\r\n\r\n")
    wait_for(lambda: gateway.gate("app")["queue"]["waiting"] == 1)
    second, answers = in_background(gateway, "/report", 1)  # one room, eight limits, the route's queue, the backend's
    wait_for(lambda: route(gateway)["queue"]["waiting"] == 1)
    leaves.close()
    join(second)
    assert answers[0].status_code == 503 and answers[0].json()["error"]["code"] == "queue_timeout"
    assert answers[0].json()["error"]["value"] >= answers[0].json()["error"]["limit"] > 0  # ms
    decisions = decisions_of(gateway, answers[0])
    assert list(decisions)[-1] == "queue" and decisions["queue"] == "refuse" and decisions["route_queue"] == "pass"
    backend.gate.set()
    join(first)
