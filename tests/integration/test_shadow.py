"""Policies in shadow: they decide, count and explain, and nobody is refused."""
import asyncio
import threading
import time

import pytest

from harness import wait_for


def would(gateway, answer):
    """Stage and policy of each decision in shadow: what it was."""
    decisions = gateway.explain(answer.headers["x-request-id"])["decisions"]
    return {(one["stage"], one["policy"]): one for one in decisions if one["decided"].startswith("would_")}


def test_policies_in_shadow_refuse_nobody_and_count(launch, upstream):
    backend = upstream(answer=lambda request: (500, {}, b"no"))
    gateway = launch({
        "policies": {"rate_limits": {"all": {"key": "route", "rate": "1/m", "burst": 1, "shadow": True}}},
        "clusters": {"app": {"endpoints": [backend.address], "breaker": {"consecutive_failures": 2, "shadow": True},
                             "concurrency": {"kind": "fixed", "limit": 1, "shadow": True}}},
        "routes": [{"name": "r", "match": {"prefix": "/"}, "rate_limits": ["all"], "to": "cluster:app",
                    "waiting_room": {"admit": "1/m", "burst": 1, "shadow": True}}]})
    with gateway.client(http2=True) as client:
        answers = [client.get(f"/{i}") for i in range(6)]
    assert [answer.status_code for answer in answers] == [500] * 6
    assert backend.count() == 6
    assert all("ratelimit" not in answer.headers for answer in answers)
    policies = gateway.stats()["policies"]
    assert policies["rate_limits"]["all"] | {"keys": 0, "evictions": 0} == {
        "allowed": 1, "refused": 5, "shadow": True, "keys": 0, "evictions": 0}
    assert policies["waiting_rooms"]["r"]["shadow"] and policies["waiting_rooms"]["r"]["waiting"] == 5
    gate = gateway.gate("app")
    assert gate["breaker"]["shadow"] and gate["breaker"]["opened_total"] == 1 and gate["breaker"]["refused_total"] >= 1
    spared = would(gateway, answers[-1])
    for stage, policy in (("rate_limit", "all"), ("waiting_room", "waiting_room"), ("breaker", "breaker")):
        assert spared[stage, policy]["decided"] == "would_refuse", spared


def test_explain_tells_of_each_limit_in_shadow(launch, upstream):
    slow, failing = upstream(), upstream(answer=lambda request: (503, {}, b"no"))
    gateway = launch({
        "clusters": {"slow": {"endpoints": [slow.address], "limits": {"requests": 1, "shadow": True},
                              "concurrency": {"kind": "fixed", "limit": 1, "shadow": True}},
                     "broken": {"endpoints": [failing.address], "breaker": {"enabled": False},
                                "endpoint_breaker": {"consecutive_failures": 1, "open": "60s", "open_max": "60s",
                                                     "shadow": True}}},
        "routes": [{"match": {"prefix": "/slow"}, "to": "cluster:slow"},
                   {"match": {"prefix": "/"}, "to": "cluster:broken"}]})
    answers = []
    slow.gate.clear()
    try:
        held = [threading.Thread(target=lambda: answers.append(gateway.get("/slow"))) for _ in range(2)]
        for count, thread in enumerate(held, 1):
            thread.start()
            wait_for(lambda: gateway.gate("slow")["concurrency"]["in_flight"] == count, what="those who are held")
    finally:
        slow.gate.set()
    for thread in held:
        thread.join(60)
    assert [answer.status_code for answer in answers] == [200, 200]
    spared = max((would(gateway, answer) for answer in answers), key=len)
    assert {key: (one["decided"], one.get("reason"), one["value"], one["limit"]) for key, one in spared.items()} == {
        ("admit", "concurrency"): ("would_wait", None, 2, 1),
        ("backend", "limits.requests"): ("would_refuse", "cluster_requests", 2, 1)}
    assert gateway.get("/").status_code == 503 and would(gateway, gateway.get("/"))[
        "backend", "endpoint_breaker"]["reason"] == "endpoints_open"


def test_a_queue_in_shadow_tells_nobody_to_hold_back(launch, upstream):
    def serve(request):
        time.sleep(0.03)
        return 200, {}, b"ok"
    backend = upstream(serve)
    gateway = launch({
        "clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 1},
                             "queue": {"wait_max": "1m", "shadow": True}}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "timeout": "2m"}]})

    async def flood():
        asks = []
        async with gateway.async_client(http2=True) as client:
            while gateway.gate("app")["priority"]["lowered_total"] == 0:  # more come than are served
                asks += [asyncio.create_task(client.get("/")) for _ in range(20)]
                await asyncio.sleep(0.1)
            return await asyncio.gather(*asks, client.get("/"))
    answers = asyncio.run(flood())
    assert {answer.status_code for answer in answers} == {200}
    assert not any("x-floodgate-priority" in answer.headers for answer in answers)


# ---- the same traffic, with each policy and with its shadow; the bounds of a queue have none, memory hangs on them ----

def at_cluster(**cluster):
    return lambda address: {
        "clusters": {"app": {"endpoints": [address], "breaker": {"enabled": False}, **cluster}},
        "routes": [{"name": "r", "match": {"prefix": "/"}, "to": "cluster:app", "timeout": "60s"}]}


def at_route(policies=None, **route):
    return lambda address: {
        "policies": policies or {},
        "clusters": {"app": {"endpoints": [address], "breaker": {"enabled": False}}},
        "routes": [{"name": "r", "match": {"prefix": "/"}, "to": "cluster:app", "timeout": "60s", **route}]}


def rate(shadow):
    return at_route({"rate_limits": {"all": {"key": "route", "rate": "1/h", "burst": 2, **shadow}}}, rate_limits=["all"])


def overload(shadow):
    always = {"memory_max": "1GiB", "interval": "20ms", "memory": {"shed_low": "0.1%/0.1%"}, **shadow}
    return at_route({"overload": always}, priority="low")


FAILURES = {"consecutive_failures": 2, "open": "60s", "open_max": "60s"}
SHADOWED = {  # the configuration; the counter; how many of six it refuses; are all six asked at once?
    "rate_limit": (rate, "policies.rate_limits.all.refused", 4, False),
    "waiting_room": (lambda s: at_route(waiting_room={"admit": "1/h", "burst": 2, "waiting_max": 1, **s}),
                     "policies.waiting_rooms.r.full", 3, False),
    "breaker": (lambda s: at_cluster(breaker={**FAILURES, **s}), "policies.backends.app.breaker.refused_total", 4, False),
    "endpoint_breaker": (lambda s: at_cluster(endpoint_breaker={**FAILURES, **s}), None, 4, False),
    "overload": (overload, "policies.overload.resources.memory.refused_total", 6, False),
    "limits": (lambda s: at_cluster(concurrency={"kind": "fixed", "limit": 9}, limits={"requests": 2, **s}),
               "backends.app.limits.requests.refused", 4, True),
}


def ask_six(gateway, backend, at_once):
    """Their answers; all at once: each is on its way, or has its answer, before the next one comes."""
    answers, threads = [], []

    def ask(number):
        with gateway.client(timeout=60) as client:
            answers.append(client.get(f"/{number}"))

    def arrived():
        gate = gateway.gate("app")
        return gate["concurrency"]["in_flight"] + gate["queue"]["waiting"] + len(answers)
    if not at_once:
        for number in range(6):
            ask(number)
        return answers
    backend.gate.clear()
    try:
        for number in range(6):
            threads.append(threading.Thread(target=ask, args=(number,)))
            threads[-1].start()
            wait_for(lambda: arrived() == len(threads), what="the next one's arrival")
    finally:
        backend.gate.set()
        for thread in threads:
            thread.join(60)
    assert len(answers) == 6
    return answers


@pytest.mark.parametrize("policy", SHADOWED)
def test_in_shadow_as_many_would_be_refused_as_are(launch, upstream, policy):
    sections, counter, count, at_once = SHADOWED[policy]
    status = 500 if "breaker" in policy else 200
    for shadow in ({}, {"shadow": True}):
        backend = upstream(answer=lambda request: (status, {}, b"said"))
        gateway = launch(sections(shadow)(backend.address))
        if policy == "overload":
            gateway.wait_stats(lambda stats: stats["policies"]["overload"]["steps"]["shed_low"]["taken"])
        answers = ask_six(gateway, backend, at_once)
        served = [answer for answer in answers if answer.text == "said"]
        assert backend.count() == len(served) and {answer.status_code for answer in served} <= {status}
        if shadow:
            assert len(served) == 6, [answer.text for answer in answers]
            spared = [would(gateway, answer) for answer in answers]
            refused = [one for found in spared for one in found.values() if one["decided"] == "would_refuse"]
            assert len(refused) >= count, spared
        elif policy != "waiting_room":
            assert len(served) == 6 - count, [answer.text for answer in answers]
        figures = gateway.stats()
        for key in counter.split(".") if counter else []:
            figures = figures[key]
        assert counter is None or figures == count, (shadow, figures)
