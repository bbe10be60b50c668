"""Whatever number `policies` in /stats has, /metrics has too, and the same."""
import json
import re

import pytest

from harness import plain_http, wait_for
from redis_tools import redis_server

GATES = {"concurrency.limit": "{}_concurrency_limit", "concurrency.in_flight": "{}_in_flight",
         "concurrency.over_limit_total": "{}_over_limit_total",
         "concurrency.noload_latency_s": "{}_noload_latency_seconds",
         "priority.level": "{}_admission_level", "priority.lowered_total": "{}_admission_lowered_total",
         "priority.refused_total": "{}_admission_refused_total"}
QUEUES = {"waiting": "depth", "bytes": "bytes", "tokens": "tokens", "expected_wait_s": "expected_wait_seconds"}
ROOMS = {"wait_s": "wait_seconds", "wait_error_s": "wait_error_seconds", "admitted_per_s": "admitted_per_second",
         "pace_per_s": "pace_per_second", "drain_per_s": "drain_per_second", "waiting": "waiting"}
LIMITS = {"keys": "keys", "evictions": "evictions_total", "given_back": "given_back_total", "owed": "owed_total"}
LEASES = {"held": "held", "leased": "granted_total", "passed_in_advance": "in_advance_total"}
SHARED = {"connected_threads": "connected_loops", "in_flight": "in_flight"}


def metric_of(path):
    """The sample that tells of the number at `path`; None: there is none."""
    group, *rest = path
    if group in ("backends", "routes"):
        name, *key = rest
        of, key = group[:-1], ".".join(key)
        label, route = f'{of}="{name}"', "route_" if of == "route" else ""
        if key in GATES:
            return GATES[key].format(of) + f"{{{label}}}"
        part, what = key.split(".")
        if part == "queue" and what in QUEUES:
            return f"{route}queue_{QUEUES[what]}{{{label}}}"
        if part == "queue":
            return f"{route}queued_total{{{label}}}" if what == "queued_total" else \
                f'{route}queue_refused_total{{{label},reason="{what.removesuffix("_total")}"}}'
        return {"breaker": f"breaker_{what}{{{label}}}",
                "memory": f"backend_memory_{what.replace('used_bytes', 'bytes')}{{{label}}}"}.get(part)
    if group == "waiting_rooms":
        name, key = rest
        return f'waiting_room_{ROOMS.get(key, key + "_total")}{{route="{name}"}}'
    if group == "rate_limits":
        name, *key = rest
        label = f'limit="{name}"'
        if key[0] in ("allowed", "refused"):
            return f'rate_limit_decisions_total{{{label},decision="{key[0]}"}}'
        if key[0] in LIMITS:
            return f"rate_limit_{LIMITS[key[0]]}{{{label}}}"
        return f"rate_limit_lease_{LEASES[key[1]]}{{{label}}}" if key[1] in LEASES else \
            f'rate_limit_lease_questions_total{{{label},result="{key[1]}"}}'
    if group == "overload":
        kind, name, key = rest
        key = {"pressure": "pressure_ratio"}.get(key, key)
        return f'overload_{key}{{resource="{name}"}}' if kind == "resources" else \
            f'overload_step_{key}{{step="{name}"}}'
    if group == "shared_state" and rest[0] == "latency_seconds":
        quantile = {"p50": "0.5", "p99": "0.99", "p999": "0.999"}.get(rest[1])
        return "shared_state_latency_seconds" + (f'{{quantile="{quantile}"}}' if quantile else "_count")
    return f"shared_state_{SHARED.get(rest[0], rest[0] + '_total')}" if group == "shared_state" else None


def numbers_in(node, path=()):
    if isinstance(node, dict):
        for key, value in node.items():
            yield from numbers_in(value, path + (key,))
    elif isinstance(node, (int, float)) and not isinstance(node, bool):
        yield path, node


def samples_of(gateway):
    text = plain_http.get(gateway.admin + "/metrics").text
    return {name.removeprefix("floodgate_"): float(value)
            for name, value in re.findall(r"^(floodgate_\S+(?:\{.*\})?) (\S+)$", text, re.M)}


@pytest.fixture(scope="module")
def site(launch_module, upstream_module, tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as (port, _, _):
        backend = upstream_module()
        shared = {"shared_state": {"redis": {"address": f"127.0.0.1:{port}"}}}
        gateway = launch_module({
            "policies": {**shared, "rate_limits": {
                "local": {"key": "ip", "rate": "100/s"},
                "bytes": {"key": "ip", "rate": "1000000/s", "cost": "bytes"},
                "global": {"key": "route", "rate": "1000/s", "scope": "global", "lease": 10}}},
            "clusters": {"app": {"endpoints": [backend.address]}, "bare": {
                "endpoints": [backend.address], "breaker": {"enabled": False}}},
            "routes": [
                {"name": "room", "match": {"path": "/room"}, "to": "cluster:app", "waiting_room": {"admit": "1/h"}},
                {"name": "shared", "match": {"path": "/shared"}, "to": "cluster:app",
                 "waiting_room": {"admit": "1/h", "shared": True}},
                {"name": "auto", "match": {"path": "/auto"}, "to": "cluster:app", "waiting_room": {"admit": "auto"}},
                {"name": "bare", "match": {"path": "/bare"}, "to": "cluster:bare", "concurrency": {"limit": 3}},
                {"name": "all", "match": {"prefix": "/"}, "to": "cluster:app",
                 "rate_limits": ["local", "bytes", "global"]}]})
        wait_for(lambda: gateway.stats()["policies"]["shared_state"]["state"] == "connected")
        gateway.wait_stats(lambda stats: "pace_per_s" in stats["policies"]["waiting_rooms"]["auto"])
        with gateway.client() as client:
            for path in ("/", "/", "/", "/bare", "/room", "/room", "/shared", "/shared"):
                assert client.get(path).status_code in (200, 429)
        gateway.wait_stats(lambda stats: stats["policies"]["rate_limits"]["global"]["global"]["answered"] > 0)
        yield gateway


def test_each_number_of_the_policies_has_a_metric(site):
    figures = dict(numbers_in(site.stats()["policies"]))
    samples = samples_of(site)
    missing = {path: metric_of(path) for path in figures if metric_of(path) not in samples}
    assert not missing, json.dumps({".".join(path): name for path, name in missing.items()}, indent=1)
    assert len({metric_of(path) for path in figures}) == len(figures)  # no two numbers are one metric
    named = ("rate_limits", "backends", "routes", "waiting_rooms")
    groups = {path[:2] if path[0] in named else path[:1] for path in figures}
    assert {("rate_limits", "global"), ("backends", "bare"), ("routes", "bare"), ("waiting_rooms", "shared"),
            ("overload",), ("shared_state",)} <= groups


def test_they_are_the_same_numbers(site):
    def agree():
        before, samples, after = site.stats()["policies"], samples_of(site), site.stats()["policies"]
        before, after = dict(numbers_in(before)), dict(numbers_in(after))
        still = {path: value for path, value in before.items() if after.get(path) == value}
        return len(still) > 0.8 * len(before) and all(
            samples[metric_of(path)] == pytest.approx(value, rel=1e-6) for path, value in still.items())
    wait_for(agree)


def test_states_that_are_words(site):
    samples = samples_of(site)
    assert samples['breaker_open{backend="app"}'] == 0 and samples['breaker_enabled{backend="app"}'] == 1
    assert samples['breaker_enabled{backend="bare"}'] == 0
    assert samples['breaker_opened_by{backend="app",rule="none"}'] == 1
    assert samples['rate_limit_local_share{limit="global"}'] == 0 and samples["shared_state_connected"] == 1
    assert samples["overload_level"] in (0, 1, 2, 3) and samples["overload_shadow"] == 0
    assert samples['waiting_room_alone{route="shared"}'] == 0
    assert samples['backend_shadow{backend="app",policy="queue"}'] == 0
