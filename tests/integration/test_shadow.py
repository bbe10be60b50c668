"""Policies in shadow: they decide, count and explain, and nobody is refused."""
import httpx

from harness import wait_for


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
    url = f"{gateway.admin}/explain?request_id={answers[-1].headers['x-request-id']}"
    wait_for(lambda: httpx.get(url).status_code == 200)
    would = {decision["stage"]: decision["decided"] for decision in httpx.get(url).json()["decisions"]}
    assert would["rate_limit"] == would["waiting_room"] == would["breaker"] == "would_refuse"
