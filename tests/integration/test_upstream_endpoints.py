"""
test_upstream_endpoints.py: endpoints that come and go while the gateway runs: by a file that is
followed, and by the operator.
"""
import collections
import os
import re
import signal

from harness import plain_http, wait_for
from upstreams import Raw, cluster, figures, ok, serving


def answers(gateway, count=12):
    with gateway.client() as client:
        return collections.Counter(client.get("/").text for _ in range(count))


def addresses(gateway):
    return {one["address"]: one for one in figures(gateway)["endpoints"]}


def test_a_file_is_followed(launch, tmp_path):
    path = tmp_path / "endpoints"
    with serving(Raw([ok(b"a")]), Raw([ok(b"b")])) as (a, b):
        path.write_text(f"# the first\n{a.address}\n")
        sections = cluster([], endpoints_file=str(path), threads=2)
        del sections["clusters"]["api"]["endpoints"]
        gateway = launch(sections)
        assert answers(gateway) == {"a": 12}
        path.write_text(f"{a.address} weight=3\n{b.address}\n")
        wait_for(lambda: len(addresses(gateway)) == 2, what="the second endpoint")
        assert addresses(gateway)[a.address]["weight"] == 3
        assert set(answers(gateway)) == {"a", "b"}
        path.write_text(f"{b.address}\nthis is no address\n")
        wait_for(lambda: "endpoints_file_refused" in gateway.log)
        assert r'line=2 reason="\"is\" is no setting' in gateway.log and len(addresses(gateway)) == 2
        replacement = tmp_path / "new"
        replacement.write_text(f"{b.address}\n")
        replacement.rename(path)
        wait_for(lambda: set(addresses(gateway)) == {b.address}, what="the first endpoint to go")
        assert answers(gateway) == {"b": 12}
        wait_for(lambda: figures(gateway, "connections")["open"] <= 2)


def test_a_file_that_is_empty_or_names_nobody_changes_nothing(launch, tmp_path):
    path = tmp_path / "endpoints"
    with serving(Raw([ok(b"a")]), Raw([ok(b"b")])) as (a, b):
        path.write_text(f"{a.address}\n")
        sections = cluster([], endpoints_file=str(path), threads=1)
        del sections["clusters"]["api"]["endpoints"]
        gateway = launch(sections)
        path.write_text("")  # as it is for a moment while it is written anew
        wait_for(lambda: 'reason="no endpoint in it' in gateway.log)
        assert answers(gateway, 3) == {"a": 3}
        path.write_text(f"{b.address}\nno-such-name.invalid:80\n")
        wait_for(lambda: "no-such-name.invalid:80 is not found" in gateway.log)
        assert answers(gateway, 3) == {"a": 3}
        path.write_text(f"{b.address}\n")
        wait_for(lambda: set(addresses(gateway)) == {b.address}, what="the new list")
        assert answers(gateway, 3) == {"b": 3}
        path.unlink()
        os.mkfifo(path)  # nobody writes to it: neither the list nor the helper that reads it may wait for that
        wait_for(lambda: "it is no regular file" in gateway.log)
        assert answers(gateway, 3) == {"b": 3}
        path.unlink()
        path.write_text(f"{a.address}\n")
        wait_for(lambda: set(addresses(gateway)) == {a.address}, what="a file again")
        assert gateway.log.count("it is no regular file") == 1


def from_file(path, **keys):
    sections = cluster([], endpoints_file=str(path), threads=2, **keys)
    del sections["clusters"]["api"]["endpoints"]
    return sections


def test_with_another_weight_an_endpoint_is_the_same(launch, tmp_path):
    path = tmp_path / "endpoints"
    with serving(Raw([ok(b"a")]), Raw([ok(b"b")])) as (a, b):
        path.write_text(f"{a.address}\n{b.address}\n")
        gateway = launch(from_file(path))
        assert answers(gateway) == {"a": 6, "b": 6}
        change(gateway, cluster="api", disable=a.address)
        path.write_text(f"{a.address} weight=2\n{b.address} weight=3 priority=1\n")
        wait_for(lambda: addresses(gateway)[a.address]["weight"] == 2, what="the new weight")
        assert addresses(gateway)[a.address]["state"] == "disabled"
        assert answers(gateway) == {"b": 12}
        change(gateway, cluster="api", enable=a.address)
        assert answers(gateway) == {"a": 12}  # and its priority is the higher one
        path.write_text(f"{a.address} weight=2\n{b.address}\n")
        wait_for(lambda: addresses(gateway)[b.address]["weight"] == 1, what="the new weight")
        assert answers(gateway) == {"a": 8, "b": 4}
        assert addresses(gateway)[a.address]["requests"] == 6 + 12 + 8


def test_a_full_list_may_become_another(launch, tmp_path):
    path = tmp_path / "endpoints"
    with serving(Raw([ok(b"a")]), Raw([ok(b"b")])) as (a, b):
        path.write_text(f"{a.address}\n127.0.0.1:1\n")
        gateway = launch(from_file(path, endpoints_max=2))
        path.write_text(f"{b.address}\n127.0.0.1:2\n")
        wait_for(lambda: set(addresses(gateway)) == {b.address, "127.0.0.1:2"}, what="the new list")
        assert answers(gateway, 6) == {"b": 6}


def test_nobody_is_asked_whom_the_operator_has_disabled(launch):
    with serving(Raw([ok(b"a")]), Raw([ok(b"b")])) as (a, b):
        gateway = launch(cluster([a.address, b.address], threads=2))
        change(gateway, cluster="api", disable=a.address)
        change(gateway, cluster="api", disable=b.address)
        with gateway.client() as client:
            assert {client.get("/").status_code for _ in range(3)} == {502}
        assert not a.requests and not b.requests
        change(gateway, cluster="api", enable=b.address)
        assert answers(gateway, 6) == {"b": 6}


def change(gateway, status=200, **query):
    url = gateway.admin + "/clusters/endpoints?" + "&".join(f"{name}={value}" for name, value in query.items())
    answer = plain_http.post(url)
    assert answer.status_code == status, answer.text
    return answer.text


def test_the_operator_adds_disables_and_removes(launch):
    with serving(Raw([ok(b"a")]), Raw([ok(b"b")])) as (a, b):
        gateway = launch(cluster([a.address], threads=2))
        assert answers(gateway) == {"a": 12}
        change(gateway, cluster="api", add=b.address, weight=2)
        assert addresses(gateway)[b.address]["weight"] == 2
        assert set(answers(gateway)) == {"a", "b"}
        change(gateway, cluster="api", disable=b.address)
        change(gateway, cluster="api", add=b.address, weight=3)  # the same, which stays disabled
        assert (addresses(gateway)[b.address]["weight"], addresses(gateway)[b.address]["state"]) == (3, "disabled")
        assert answers(gateway) == {"a": 12}
        change(gateway, cluster="api", enable=b.address)
        change(gateway, cluster="api", disable=a.address)
        assert addresses(gateway)[a.address]["state"] == "disabled"
        assert answers(gateway) == {"b": 12}
        change(gateway, cluster="api", enable=a.address)
        assert set(answers(gateway)) == {"a", "b"}
        change(gateway, cluster="api", remove=b.address)
        assert answers(gateway) == {"a": 12}


def test_mistakes_change_nothing(launch):
    with serving(Raw([ok(b"a")])) as a:
        gateway = launch(cluster([a.address]))
        before = addresses(gateway).keys()
        assert "expected" in change(gateway, 400)
        change(gateway, 400, cluster="api")
        change(gateway, 400, cluster="api", add="name.example:80")
        change(gateway, 400, cluster="api", add="127.0.0.1:80", weight=0)
        change(gateway, 400, cluster="api", add="127.0.0.1:80", remove="127.0.0.1:80")
        change(gateway, 404, cluster="other", add="127.0.0.1:80")
        change(gateway, 404, cluster="api", remove=a.address)  # it is the configuration's
        change(gateway, 404, cluster="api", disable="127.0.0.1:1")
        change(gateway, 409, cluster="api", add=a.address)  # it would be there twice
        assert addresses(gateway).keys() == before


def kept(gateway):
    return gateway.stats()["gateway"]["endpoint_changes"]


def reload(gateway, sections=None):
    if sections is not None:
        gateway.sections = gateway.with_defaults(sections)
        gateway.write_config()
    drained = gateway.log.count("event=drain_started")
    gateway.signal(signal.SIGHUP)
    wait_for(lambda: gateway.log.count("event=drain_started") == drained + 1, what="the new gateway")


def test_changes_outlive_reloads_and_crashes(launch):
    with serving(Raw([ok(b"a")]), Raw([ok(b"b")]), Raw([ok(b"c")])) as (a, b, c):
        gateway = launch(cluster([a.address, b.address], threads=2))
        change(gateway, cluster="api", add=c.address, weight=2, priority=0)
        change(gateway, cluster="api", disable=a.address)
        reload(gateway)
        assert set(answers(gateway)) == {"b", "c"}
        assert (addresses(gateway)[c.address]["weight"], addresses(gateway)[a.address]["state"]) == (2, "disabled")
        assert kept(gateway) == {"count": 2, "max": 256, "refused": 0, "list": [
            {"cluster": "api", "endpoint": c.address, "change": "added", "in_force": True, "weight": 2, "priority": 0},
            {"cluster": "api", "endpoint": a.address, "change": "disabled", "in_force": True}]}
        started = re.findall(r"event=child_started role=gateway .*?pid=(\d+)", gateway.log)
        os.kill(int(started[-1]), signal.SIGKILL)
        wait_for(lambda: gateway.log.count("event=child_started role=gateway") > len(started), what="another gateway")
        gateway.wait_ready()
        assert set(answers(gateway)) == {"b", "c"}
        change(gateway, cluster="api", enable=a.address)
        change(gateway, cluster="api", remove=c.address)
        assert kept(gateway)["list"] == []
        reload(gateway)
        assert set(answers(gateway)) == {"a", "b"}


def test_a_reload_keeps_what_its_configuration_allows(launch):
    with serving(Raw([ok(b"a")]), Raw([ok(b"b")]), Raw([ok(b"c")])) as (a, b, c):
        gateway = launch(cluster([a.address], threads=1))
        change(gateway, cluster="api", add=b.address)
        change(gateway, cluster="api", add=c.address)
        change(gateway, cluster="api", disable=b.address)
        # It has one of them itself now, and that is no second one; what was said about it stays.
        reload(gateway, cluster([a.address, b.address], threads=1))
        assert len(figures(gateway)["endpoints"]) == 3 and "the cluster has it itself now" in gateway.log
        assert addresses(gateway)[b.address]["state"] == "disabled"
        assert set(answers(gateway)) == {"a", "c"}
        reload(gateway, cluster([a.address, b.address], threads=1, endpoints_max=2))
        assert set(addresses(gateway)) == {a.address, b.address} and "endpoints_max is reached" in gateway.log
        # One that is not there stays disabled until it comes back, and says so.
        reload(gateway, cluster([a.address], threads=1))
        assert [(one["endpoint"], one["in_force"]) for one in kept(gateway)["list"]] == [(b.address, False)]
        reload(gateway, cluster([a.address, b.address], threads=1))
        assert answers(gateway, 6) == {"a": 6}
        other = cluster([a.address], threads=1)
        other["clusters"] = {"other": other["clusters"]["api"]}
        other["routes"][0]["to"] = "cluster:other"
        reload(gateway, other)
        assert kept(gateway)["list"] == [] and "its cluster is gone" in gateway.log


def test_there_is_room_for_so_many_changes(launch):
    with serving(Raw([ok(b"a")]), Raw([ok(b"b")])) as (a, b):
        gateway = launch({**cluster([a.address, b.address]), "admin": lambda g: {
            "address": f"127.0.0.1:{g.admin_port}", "endpoint_changes_max": 1}})
        change(gateway, cluster="api", disable=a.address)
        full = "endpoint_changes_max, as it was at the last start"
        assert full in change(gateway, 409, cluster="api", disable=b.address)
        assert answers(gateway, 4) == {"b": 4}
        change(gateway, cluster="api", enable=a.address)
        change(gateway, cluster="api", disable=b.address)
        assert (kept(gateway)["count"], kept(gateway)["refused"]) == (1, 1)
        metrics = plain_http.get(gateway.admin + "/metrics").text
        assert "floodgate_endpoint_changes_refused_total 1\n" in metrics
