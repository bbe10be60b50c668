"""Policies in shadow: they decide, count and explain, and nobody is refused."""
import asyncio
import threading

import httpx

from harness import wait_for


def would(gateway, answer):
    """Stage and policy of each decision in shadow: what it was."""
    url = f"{gateway.admin}/explain?request_id={answer.headers['x-request-id']}"
    wait_for(lambda: httpx.get(url).status_code == 200, what="its record")
    return {(one["stage"], one["policy"]): one for one in httpx.get(url).json()["decisions"]
            if one["decided"].startswith("would_")}


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
    backend = upstream()
    gateway = launch({
        "clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 1},
                             "queue": {"wait_max": "1m", "shadow": True}}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "timeout": "2m"}]})

    async def wait(client, seconds):
        backend.gate.clear()
        asks = [asyncio.create_task(client.get("/")) for _ in range(20)]
        await asyncio.sleep(seconds)  # no condition to wait for: the wait itself is the overload
        backend.gate.set()
        return await asyncio.gather(*asks)

    async def flood():
        async with gateway.async_client(http2=True) as client:
            answers = []
            while gateway.gate("app")["priority"]["level"] == 511:
                answers += await wait(client, 0.2)
            return answers + await wait(client, 0.2)
    answers = asyncio.run(flood())
    assert {answer.status_code for answer in answers} == {200} and gateway.gate("app")["priority"]["lowered_total"] >= 1
    assert not any("x-floodgate-priority" in answer.headers for answer in answers)
