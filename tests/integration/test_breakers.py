"""When a backend is left alone, and who may try it again."""
import threading

import httpx
import pytest

from harness import wait_for


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
    assert 'floodgate_breaker_open{backend="app"} 1' in httpx.get(gateway.admin + "/metrics").text


def test_answers_in_time_do_not(launch, upstream):
    backend = upstream()
    gateway = launch(cluster(backend.address, {"slow": "1h", "slow_ratio": "0.1%", "min_requests": 1}))
    with gateway.client() as client:
        assert [client.get("/normal").status_code for _ in range(30)] == [200] * 30
    assert gateway.gate("app")["breaker"]["opened_by"] == "none"


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
    gateway = launch(cluster(backend.address, {"consecutive_failures": 1, "open": "200ms", "open_max": "200ms",
                                               "half_open_probes": 2, "half_open_interval": "off"}))
    assert gateway.get("/normal").status_code == 500
    check_left_alone(gateway.get("/critical"))
    healthy.set()
    wait_for(lambda: is_half_open(gateway))
    assert [gateway.get("/low").status_code for _ in range(2)] == [200] * 2
    assert gateway.gate("app")["breaker"]["state"] == "closed"
