"""What a request met, told afterwards: /explain and `floodgate explain`."""
import re

import httpx
import pytest

from harness import plain_http, run_binary, wait_for
from upstreams import Raw, cluster, ok, reset, serving


@pytest.fixture(scope="module")
def explained(launch_module, upstream_module):
    backend = upstream_module()
    gateway = launch_module({
        "policies": {"rate_limits": {"all": {"key": "route", "rate": "1/m", "burst": 1}}},
        "observability": {"recent_requests": 64},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [{"name": "one", "match": {"path": "/one"}, "rate_limits": ["all"], "to": "cluster:app",
                    "priority": "high"}]})
    with gateway.client() as client:
        gateway.answers = [client.get("/one?secret=x") for _ in range(2)]
    return gateway


def test_an_admitted_request_passed_each_policy(explained):
    record = explained.explain(explained.answers[0].headers["x-request-id"])
    assert record["status"] == 200 and record["route"] == "one" and record["path"] == "/one"
    assert record["priority"]["class"] == "high" and 128 <= record["priority"]["number"] < 256
    assert record["admitted_number"] == 511
    passed = {decision["stage"]: decision for decision in record["decisions"]}
    assert all(decision["decided"] == "pass" for decision in passed.values())
    assert passed["rate_limit"]["policy"] == "all" and passed["rate_limit"]["limit"] == 1
    assert passed["admit"]["policy"] == "concurrency" and passed["breaker"]["policy"] == "breaker"
    assert record["hops_ms"]["backend"] > 0


def test_a_refused_request_says_by_what(explained):
    answer = explained.answers[1]
    assert answer.status_code == 429
    record = explained.explain(answer.headers["x-request-id"])
    last = record["decisions"][-1]
    assert (last["stage"], last["policy"], last["reason"], last["decided"]) == \
        ("rate_limit", "all", "rate_limit", "refuse")
    assert last["value"] == 0 and last["limit"] == 1 and last["wait_ms"] > 0


def test_the_command_prints_it(explained):
    request_id = explained.answers[1].headers["x-request-id"]
    explained.explain(request_id)
    done = run_binary("explain", request_id, "-c", explained.config)
    assert done.returncode == 0, done.stderr
    assert "GET /one -> 429" in done.stdout and "refuse" in done.stdout and "policy=all" in done.stdout
    unknown = run_binary("explain", "no-such-request", "-c", explained.config)
    assert unknown.returncode == 1 and "not among the recent requests" in unknown.stderr
    assert run_binary("explain", "-c", explained.config).returncode == 2
    assert run_binary("explain", "a b", "-c", explained.config).returncode == 2


def test_a_guest_draws_one_lot_with_all_the_addresses_it_has(launch, upstream):
    """Of IPv6 that is a /64, in which it may choose any."""
    gateway = launch({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain",
                                  "trusted_proxies": ["127.0.0.1"]}],
        "clusters": {"app": {"endpoints": [upstream().address]}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})

    def lots_of(addresses):
        with httpx.Client() as client:
            asked = [client.get(f"http://127.0.0.1:{gateway.port}/", headers={"x-forwarded-for": address}).headers["x-request-id"]
                     for address in addresses]
        return {gateway.explain(request_id)["priority"]["number"] for request_id in asked}
    assert len(lots_of(f"2001:db8:1:2:{i:x}::{i:x}" for i in range(1, 25))) == 1
    assert len(lots_of(f"2001:db8:1:{i:x}::1" for i in range(1, 25))) > 1
    assert len(lots_of(f"192.0.2.{i}" for i in range(1, 25))) > 1


def test_questions_that_make_no_sense(explained):
    for query, status in (("", 400), ("?request_id=", 400), ("?id=1", 400), ("?request_id=1", 404)):
        assert plain_http.get(f"{explained.admin}/explain{query}").status_code == status


def test_it_says_whom_a_fetch_of_the_cache_went_to(launch):
    """Of who led it; a hit has asked nobody. The log says the same."""
    with serving(Raw([lambda connection, *_: reset(connection) or False]),
                 Raw([ok(b"kept", fields=b"cache-control: max-age=600\r\n")])) as (bad, good):
        sections = cluster([good.address], threads=1)
        sections["clusters"]["down"] = {"endpoints": [bad.address], "breaker": {"enabled": False}}
        sections["routes"] = [{"match": {"prefix": "/down"}, "to": "cluster:down", "cache": True},
                              {"match": {"prefix": "/"}, "to": "cluster:api", "cache": True}]
        sections["observability"] = {"access_log": True}
        gateway = launch(sections)
        with gateway.client() as client:
            led, hit, lost = (client.get(path) for path in ("/", "/", "/down"))
        assert (led.status_code, hit.headers["cache-status"], lost.status_code) == (200, "floodgate; hit", 502)
        told = [gateway.explain(one.headers["x-request-id"])["backend"] for one in (led, lost)]
        assert [one["endpoint"] for one in told] == [good.address, bad.address]
        assert told[0]["attempts"] == 1
        assert not (gateway.explain(hit.headers["x-request-id"]).get("backend") or {}).get("endpoint")
        wait_for(lambda: re.search(f"cache=miss .*endpoint={good.address} attempts=1", gateway.log), what="the log line")


def test_it_says_who_answered_and_how_many_were_asked(launch):
    with serving(Raw([lambda connection, *_: reset(connection) or False]), Raw([ok()])) as (bad, good):
        gateway = launch(cluster([bad.address, good.address], threads=1, retries={"attempts": 2},
                                 balance="round_robin", breaker={"enabled": False}))
        with gateway.client() as client:
            answers = [client.get("/").headers["x-request-id"] for _ in range(4)]
        told = [gateway.explain(request_id)["backend"] for request_id in answers]
        assert {one["endpoint"] for one in told} == {good.address}
        assert {one["attempts"] for one in told} == {1, 2} and not any(one["hedged"] for one in told)
        done = run_binary("explain", answers[0], "-c", gateway.config)
        assert f"from {good.address} in " in done.stdout
