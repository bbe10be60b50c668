"""
The steps of the overload manager: each acts when its resource is short, and is undone when the shortage ends.

They are driven by a control group made of plain files (`cgroup_root`), whose figure the test writes.
"""
import contextlib
import json
import os
import pathlib
import signal
import ssl
import threading

import h2.events
import h2.settings
import httpx
import pytest

from harness import h2_start, h2_until, plain_http, read_response, server_sent_events, trusting_context, wait_for
from overload_tools import CALM, GET, ask, complete, connect_from, end_of, llm, overload_of, wait_taken, wait_watched
from tls_tools import Seen


class Group:
    """A control group of a thousand bytes, as version 2 shows one."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        (self.folder / "memory.max").write_text("1000\n")
        (self.folder / "memory.stat").write_text("inactive_file 0\n")
        self.use(0)

    def use(self, bytes_used):
        (self.folder / "memory.current").write_text(f"{bytes_used}\n")

    def overload(self, **steps):
        """The step is taken from half full on, and nothing else ever is."""
        off = dict.fromkeys(["address_share", "shrink_cache", "shorten_idle", "fewer_streams", "stale_cache", "stop_keep_alive", "resume_only",
                             "shed_low", "shed_normal", "shed_high", "refuse_connections"], "off")
        return {**CALM, "cgroup_root": str(self.folder), "cgroup_memory": {**off, **steps}}


@pytest.fixture
def group(tmp_path):
    return Group(tmp_path)


@contextlib.contextmanager
def pressed(group, gateway, step):
    group.use(600)
    wait_taken(gateway, step)
    yield
    group.use(0)
    wait_taken(gateway, step, False)


def web(group, upstream, routes=None, **steps):
    backend = upstream()
    return {"policies": {"overload": group.overload(**steps)},
            "clusters": {"app": {"endpoints": [backend.address]}},
            "routes": routes or [{"match": {"prefix": "/"}, "to": "cluster:app", "priority": "critical"}]}


# ---- stalls that the kernel measures ----

def stalled(percent):
    return (f"some avg10=100.00 avg60=0.00 avg300=0.00 total=1\n"
            f"full avg10={percent:.2f} avg60=0.00 avg300=0.00 total=1\n")


@pytest.mark.parametrize("kind", ["memory", "io"])
def test_work_that_stands_still_sheds_and_recovers(launch, upstream, group, kind):
    backend, file, resource = upstream(), group.folder / f"{kind}.pressure", f"{kind}_stall"
    file.write_text(stalled(0))
    gateway = launch({"policies": {"overload": {**group.overload(), resource: {"shed_low": "30%/10%"}}},
                      "clusters": {"app": {"endpoints": [backend.address]}},
                      "routes": [{"match": {"path": "/low"}, "to": "cluster:app", "priority": "low"},
                                 {"match": {"prefix": "/"}, "to": "cluster:app"}]})
    assert wait_watched(gateway, resource)["used"] == 0 and gateway.get("/low").status_code == 200
    file.write_text(stalled(29.99))
    wait_for(lambda: overload_of(gateway)["resources"][resource]["used"] == 0.2999)
    assert gateway.get("/low").status_code == 200
    file.write_text(stalled(42.5))
    wait_taken(gateway, "shed_low")
    refused = gateway.get("/low")
    assert refused.status_code == 503 and refused.json()["error"]["policy"] == f"overload.{resource}"
    assert refused.json()["error"]["value"] == 425 and gateway.get("/").status_code == 200
    assert f'floodgate_overload_used{{resource="{resource}"}} 0.425\n' in plain_http.get(gateway.admin + "/metrics").text
    file.write_text(stalled(5))
    wait_taken(gateway, "shed_low", False)
    assert gateway.get("/low").status_code == 200


def test_stalls_are_shown_and_take_no_step_by_themselves(launch, upstream, group):
    (group.folder / "cpu.pressure").write_text(stalled(0))
    gateway = launch(web(group, upstream))
    wait_for(lambda: overload_of(gateway)["resources"]["cpu_stall"]["used"] == 1)  # some work, all of the time
    cpu = overload_of(gateway)["resources"]["cpu_stall"]
    assert not cpu["watched"] and cpu["pressure"] == 0 and cpu["steps"] == [] and gateway.get("/").status_code == 200


# ---- steps ----

def test_an_address_above_its_share_loses_what_stalls_and_gets_no_more(launch, upstream, group):
    sections = web(group, upstream, address_share="50%/40%")
    sections["limits"] = {"threads": 1, "connections_max": 100, "handshake_timeout": "5m"}
    sections["policies"]["overload"] |= {"address_share_to": "10%", "address_share_grace": "1ms",
                                         "handshakes_max": 1000}
    gateway = launch(sections)

    def wait_open(count):
        gateway.wait_stats(lambda stats: stats["gateway"]["connections"]["open"] == count, what=f"{count} open")
    with contextlib.ExitStack() as stack:
        def silent(count, address="127.0.0.2"):
            return [stack.enter_context(connect_from(gateway, address)) for _ in range(count)]
        oldest = silent(5)
        wait_open(5)
        silent(10)
        wait_open(15)
        with pressed(group, gateway, "address_share"):
            for one in oldest:
                end_of(one)
            wait_open(10)
            end_of(silent(1)[0])
            silent(2, "127.0.0.3")
            wait_open(12)
            connections = gateway.stats()["gateway"]["connections"]
            assert (connections["closed_share"], connections["refused_share"]) == (5, 1)
            assert overload_of(gateway)["steps"]["address_share"]["acted_total"] == 6
        silent(3)
        wait_open(15)
    assert gateway.stats()["gateway"]["connections"]["refused_share"] == 1


def test_above_its_share_an_address_keeps_what_makes_progress(launch, upstream, group):
    backend = upstream()
    sections = web(group, upstream, address_share="50%/40%")
    sections["clusters"]["app"] = {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 20}}
    sections["limits"] = {"threads": 1, "connections_max": 100, "idle_timeout": "5m"}
    sections["policies"]["overload"] |= {"address_share_to": "1%", "address_share_grace": "1ms"}
    gateway = launch(sections)
    with contextlib.ExitStack() as stack:
        def opened():
            return stack.enter_context(gateway.raw())
        idle = [opened() for _ in range(4)]
        assert [ask(one)[0] for one in idle] == [200] * 4
        backend.gate.clear()
        at_work = [opened() for _ in range(10)]
        for one in at_work:
            one.sendall(GET)
        wait_for(lambda: backend.in_flight == 10, what="ten requests at work")
        with pressed(group, gateway, "address_share"):
            assert [one.recv(1) for one in idle] == [b""] * 4  # a farewell, not a reset
        backend.gate.set()
        assert [read_response(one.makefile("rb"))[0] for one in at_work] == [200] * 10
    assert gateway.stats()["gateway"]["connections"]["closed_share"] == 4


def test_idle_connections_end_sooner_those_open_already_too(launch, upstream, group):
    sections = web(group, upstream, shorten_idle="50%/40%")
    sections["policies"]["overload"]["shorten_idle_to"] = "1%"  # of 60 s
    gateway = launch(sections)
    with gateway.raw() as old:
        old.settimeout(30)
        assert ask(old)[0] == 200
        with pressed(group, gateway, "shorten_idle"):
            assert old.recv(1) == b""  # long before its minute is over
            assert overload_of(gateway)["steps"]["shorten_idle"]["acted_total"] >= 1
    acted = overload_of(gateway)["steps"]["shorten_idle"]["acted_total"]
    with gateway.raw() as new:
        assert ask(new)[0] == 200
        seen = gateway.stats()["process"]["uptime_s"]
        gateway.wait_stats(lambda stats: stats["process"]["uptime_s"] > seen + 1)  # 0.6 s would have ended it
        assert ask(new)[0] == 200
    assert overload_of(gateway)["steps"]["shorten_idle"]["acted_total"] == acted


def streams_allowed(event):
    return event.changed_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS].new_value


def test_http2_streams_become_fewer_and_more_again(launch, upstream, group):
    gateway = launch(web(group, upstream, fewer_streams="50%/40%"))
    connection, state = h2_start(gateway)
    with connection:
        def told():
            """What the server says next; the acknowledgement goes back at once."""
            event = h2_until(connection, state, h2.events.RemoteSettingsChanged)
            connection.sendall(state.data_to_send())
            return streams_allowed(event)
        assert told() == 100
        with pressed(group, gateway, "fewer_streams"):
            assert told() == 10
            fresh, fresh_state = h2_start(gateway)
            with fresh:
                assert streams_allowed(h2_until(fresh, fresh_state, h2.events.RemoteSettingsChanged)) == 10
        assert told() == 100
        state.send_headers(1, [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "h")],
                           end_stream=True)
        connection.sendall(state.data_to_send())
        assert h2_until(connection, state, h2.events.ResponseReceived) is not None
    assert overload_of(gateway)["steps"]["fewer_streams"]["acted_total"] >= 1


def test_connections_are_not_kept_and_kept_again(launch, upstream, group):
    gateway = launch(web(group, upstream, stop_keep_alive="50%/40%"))
    connection, state = h2_start(gateway)
    with gateway.raw() as first, connection:
        assert "connection" not in ask(first)[1]
        with pressed(group, gateway, "stop_keep_alive"):
            assert ask(first)[1]["connection"] == "close"
            assert first.recv(1) == b""
            state.send_headers(1, [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "h")],
                               end_stream=True)
            connection.sendall(state.data_to_send())
            # This client's library takes no answer behind a GOAWAY, though it comes.
            assert h2_until(connection, state, h2.events.ConnectionTerminated) is not None
    with gateway.raw() as second:
        assert "connection" not in ask(second)[1] and "connection" not in ask(second)[1]
    assert overload_of(gateway)["steps"]["stop_keep_alive"]["acted_total"] == 2


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_only_who_resumes_gets_a_handshake(launch, upstream, group, version):
    gateway = launch(web(group, upstream, resume_only="50%/40%"))
    known = Seen(gateway.port, "localhost", version=version)
    with pressed(group, gateway, "resume_only"):
        with pytest.raises(OSError):  # a reset, or the end before the handshake's
            Seen(gateway.port, "localhost", version=version)
        again = Seen(gateway.port, "localhost", session=known.session, context=known.context)
        assert again.was_resumed and again.answer.startswith(b"HTTP/1.1 200")
        connections = gateway.stats()["gateway"]["connections"]
        assert connections["handshakes_refused"] == 1 and connections["handshakes_ok"] == 2
        gateway.wait_stats(lambda stats: stats["gateway"]["connections"]["handshakes_open"] == 0)
    assert Seen(gateway.port, "localhost", version=version).answer.startswith(b"HTTP/1.1 200")


def test_old_answers_are_good_enough_only_meanwhile(launch, upstream, group):
    count = iter(range(100))
    backend = upstream(answer=lambda request: (200, {"cache-control": "max-age=60", "age": "61", "etag": '"a"'},
                                               str(next(count)).encode()))
    sections = web(group, upstream, stale_cache="50%/40%",
                   routes=[{"match": {"prefix": "/"}, "to": "cluster:app", "cache": True}])
    sections["clusters"]["app"]["endpoints"] = [backend.address]
    gateway = launch(sections)
    with gateway.client() as client:
        assert client.get("/old").text == "0"
        assert client.get("/old").headers["cache-status"] == "floodgate; fwd=stale"
        with pressed(group, gateway, "stale_cache"):
            assert client.get("/old").headers["cache-status"] == "floodgate; hit; detail=stale"
            assert overload_of(gateway)["steps"]["stale_cache"]["acted_total"] == 1
        assert client.get("/old").headers["cache-status"] == "floodgate; fwd=stale"


def test_the_cache_gives_memory_back_and_takes_it_again(launch, upstream, group):
    def stored(request):
        return 200, {"cache-control": "public, max-age=3600"}, os.urandom(20000)
    backend = upstream(stored)
    gateway = launch({"policies": {"overload": group.overload(shrink_cache="50%/40%"),
                                   "cache": {"memory_max": "4MiB", "object_max": "64KiB"}},
                      "clusters": {"app": {"endpoints": [backend.address]}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "cache": True}]})

    def cache():
        return gateway.stats()["cache"]
    with gateway.client() as client:
        for number in range(150):
            assert client.get(f"/{number}").status_code == 200
        held = cache()["bytes"]
        assert held > 2 << 20
        with pressed(group, gateway, "shrink_cache"):
            wait_for(lambda: cache()["bytes"] < held / 4, 60)  # a tenth less each second
            assert overload_of(gateway)["steps"]["shrink_cache"]["acted_total"] >= 5
            for number in range(200, 260):  # it works on, and keeps to what it may hold
                assert client.get(f"/{number}").status_code == 200
            figures = cache()
            assert 0 < figures["bytes"] <= figures["bytes_max"] < 4 << 20
        lowest = cache()["bytes_max"]
        wait_for(lambda: cache()["bytes_max"] > lowest)


def test_less_important_requests_are_refused_and_served_again(launch, upstream, group):
    routes = [{"name": name, "match": {"path": f"/{name}"}, "to": "cluster:app", "priority": name}
              for name in ("low", "normal", "high", "critical")]
    gateway = launch(web(group, upstream, routes, shed_low="50%/40%", shed_normal="70%/60%", shed_high="90%/80%"))

    def served():
        with gateway.client() as client:
            return [name for name in ("low", "normal", "high", "critical") if client.get("/" + name).status_code == 200]
    assert served() == ["low", "normal", "high", "critical"]
    group.use(600)
    wait_taken(gateway, "shed_low")
    assert served() == ["normal", "high", "critical"] and overload_of(gateway)["level"] == "elevated"
    group.use(1000)
    wait_taken(gateway, "shed_high")
    assert served() == ["critical"] and overload_of(gateway)["level"] == "critical"
    group.use(650)  # above where low and normal are served again, below where high is
    wait_taken(gateway, "shed_high", False)
    assert served() == ["high", "critical"]
    group.use(0)
    wait_taken(gateway, "shed_low", False)
    assert served() == ["low", "normal", "high", "critical"] and overload_of(gateway)["level"] == "normal"


def test_what_the_configuration_answers_is_never_shed(launch, upstream, group):
    routes = [{"name": "health", "match": {"path": "/health"}, "respond": {"status": 200, "body": "up"}, "priority": "low"},
              {"name": "known", "match": {"path": "/known"}, "respond": {"status": 200, "body": "you"}, "priority": "low",
               "identity": "optional"},
              {"name": "moved", "match": {"path": "/old"}, "redirect": {"to": "/new"}, "priority": "low",
               "identity": "optional"},
              {"name": "rest", "match": {"prefix": "/"}, "to": "cluster:app", "priority": "high"}]
    gateway = launch(web(group, upstream, routes, shed_low="50%/40%", shed_high="50%/40%"))
    with pressed(group, gateway, "shed_high"), gateway.client() as client:
        answers = [client.get(path).status_code for path in ("/health", "/known", "/old", "/app")]
    assert answers == [200, 200, 308, 503]


def test_new_connections_are_refused_and_open_ones_and_the_admin_stay(launch, upstream, group):
    gateway = launch(web(group, upstream, refuse_connections="50%/40%"))
    with gateway.raw() as old:
        assert ask(old)[0] == 200
        with pressed(group, gateway, "refuse_connections"):
            with pytest.raises(OSError):
                gateway.raw()
            assert ask(old)[0] == 200
            assert plain_http.get(gateway.admin + "/healthz").status_code == 200
        with gateway.raw() as new:
            assert ask(new)[0] == 200
    assert gateway.stats()["gateway"]["connections"]["refused_overload"] == 1


@pytest.mark.parametrize("step", ["resume_only", "refuse_connections"])
def test_newcomers_are_let_in_beside_the_one_address_that_makes_a_loop_late(launch, upstream, group, step):
    """To refuse them would give nobody any time. Beside nobody's flood all are refused."""
    (group.folder / "cpu.pressure").write_text(stalled(0).replace("100.00", "0.00"))
    conf = web(group, upstream)
    conf["policies"]["overload"].update({"interval": "500ms", "cpu_stall": {step: "50%/40%"}})
    gateway = launch(conf)

    def get_from(address):
        with contextlib.suppress(OSError), connect_from(gateway, address) as plain, \
                trusting_context().wrap_socket(plain, server_hostname="localhost") as connection:
            return ask(connection)[0]
        return None
    assert get_from("127.4.0.1") == 200
    (group.folder / "cpu.pressure").write_text(stalled(0).replace("100.00", "60.00"))
    wait_taken(gateway, step)
    assert [get_from(f"127.4.1.{i}") for i in range(1, 20)] == [None] * 19
    refused = overload_of(gateway)["steps"][step]["acted_total"]

    def flooded():
        assert [get_from("127.4.0.1") for _ in range(100)][50:] == [None] * 50
        return get_from("127.4.0.2")
    assert wait_for(flooded, what="a newcomer who is let in") == 200
    assert overload_of(gateway)["steps"][step]["acted_total"] >= refused + 50


@pytest.mark.parametrize("addresses", [1, 40])
def test_who_asks_now_and_then_is_served_beside_a_flood(launch, upstream, group, addresses):
    """Of one address, or of so many that none asks for a sixteenth of all."""
    (group.folder / "cpu.pressure").write_text(stalled(0).replace("100.00", "60.00"))
    gateway = launch({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "policies": {"overload": {**group.overload(), "interval": "1s", "cpu_stall": {"shed_normal": "50%/40%"}}},
        "clusters": {"app": {"endpoints": [upstream().address]}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    wait_taken(gateway, "shed_normal")
    with contextlib.ExitStack() as stack:
        flood = [stack.enter_context(connect_from(gateway, f"127.5.0.{i + 1}")) for i in range(addresses)]
        neighbour = stack.enter_context(connect_from(gateway, "127.6.0.1"))

        def served():
            for _ in range(600 // addresses):
                assert all(ask(one)[0] == 503 for one in flood)
            return ask(neighbour)[0] == 200
        wait_for(served, what="an answer beside the flood")


def test_answers_are_kept_short_and_say_so(launch, group):
    sections = {**llm(), "policies": {"overload": {**group.overload(cap_tokens="50%/40%"), "cap_tokens_to": 7}}}
    gateway = launch(sections)
    with gateway.client() as client:
        assert complete(client, 20) == (None, "length", 20)
        with pressed(group, gateway, "cap_tokens"):
            assert complete(client, 20) == ("7", "length", 7)
            assert complete(client, 5) == (None, "length", 5)
            with client.stream("POST", "/v1/completions", json={
                    "prompt": "Tea", "max_tokens": 20, "stream": True, "ignore_eos": True,
                    "stream_options": {"include_usage": True}}) as answer:
                assert answer.headers["x-floodgate-max-tokens"] == "7"
                data = [data for _, data in server_sent_events([*answer.iter_lines(), ""])]
            assert json.loads(data[-2])["usage"]["completion_tokens"] == 7
            assert overload_of(gateway)["steps"]["cap_tokens"]["acted_total"] == 2
        assert complete(client, 20) == (None, "length", 20)


# ---- what is told ----

def test_each_change_is_logged_counted_and_explained(launch, upstream, group):
    routes = [{"name": name, "match": {"path": f"/{name}"}, "to": "cluster:app", "priority": name}
              for name in ("low", "high")]
    gateway = launch(web(group, upstream, routes, shed_low="50%/40%", shed_high="90%/80%"))
    with gateway.client() as client, pressed(group, gateway, "shed_low"):
        refused, served = client.get("/low"), client.get("/high")
        assert (refused.status_code, served.status_code) == (503, 200)
        error = refused.json()["error"]
        assert (error["code"], error["policy"], error["value"], error["limit"]) == (
            "overload", "overload.cgroup_memory", 600, 500)
        metrics = plain_http.get(gateway.admin + "/metrics").text
        for line in ('overload_pressure_ratio{resource="cgroup_memory"} 0.6', 'overload_step_taken{step="shed_low"} 1',
                     'overload_step_taken{step="shed_high"} 0', 'overload_step_taken_total{step="shed_low"} 1',
                     'overload_step_acted_total{step="shed_low"} 1',
                     'overload_refused_total{resource="cgroup_memory"} 1'):
            assert f"floodgate_{line}\n" in metrics, line

        def decision(answer):
            decisions = gateway.explain(answer.headers["x-request-id"])["decisions"]
            found = [one for one in decisions if one["stage"] == "overload"]
            return [(one["decided"], one["policy"], one["value"], one["limit"]) for one in found]
        assert decision(refused) == [("refuse", "overload.cgroup_memory", 600, 500)]
        assert decision(served) == [("pass", "overload.cgroup_memory", 600, 900)]
    taken = [line for line in gateway.log.splitlines() if "event=overload_step_" in line]
    assert len(taken) == 2
    assert "overload_step_taken step=shed_low resource=cgroup_memory pressure=0.600 threshold=0.500" in taken[0]
    assert "overload_step_given_up step=shed_low resource=cgroup_memory pressure=0.000 threshold=0.400" in taken[1]


def test_in_shadow_every_step_is_taken_on_paper_alone(launch, upstream, group):
    sections = web(group, upstream, shed_high="50%/40%", stop_keep_alive="50%/40%", resume_only="50%/40%",
                   refuse_connections="50%/40%", fewer_streams="50%/40%",
                   routes=[{"name": "r", "match": {"prefix": "/"}, "to": "cluster:app", "priority": "low"}])
    sections["policies"]["overload"]["shadow"] = True
    gateway = launch(sections)
    with pressed(group, gateway, "shed_high"), gateway.raw() as connection:
        status, fields, _ = ask(connection)
        assert status == 200 and "connection" not in fields
        overload = overload_of(gateway)
        assert overload["shadow"] and overload["level"] == "critical"
        assert overload["resources"]["cgroup_memory"]["refused_total"] == 1
        assert all(step["acted_total"] == 0 for step in overload["steps"].values())
        assert "shadow=true" in gateway.log


def test_a_reload_in_the_middle(launch, upstream, group):
    gateway = launch(web(group, upstream, shed_low="50%/40%",
                         routes=[{"match": {"prefix": "/"}, "to": "cluster:app", "priority": "low"}]))
    first, statuses, over = gateway.stats()["process"]["pid"], [], threading.Event()

    def ask_on():
        while not over.is_set():
            with contextlib.suppress(httpx.TransportError):
                statuses.append(gateway.get("/").status_code)
    with pressed(group, gateway, "shed_low"):
        asking = threading.Thread(target=ask_on)
        asking.start()
        try:
            gateway.signal(signal.SIGHUP)
            wait_for(lambda: new_pid(gateway, first), what="the new gateway")
            count = len(statuses)
            wait_for(lambda: len(statuses) >= count + 5)
        finally:
            over.set()
            asking.join(60)
        assert set(statuses) == {503}  # the new one knows before it serves
    assert gateway.get("/").status_code == 200


def new_pid(gateway, first):
    with contextlib.suppress(httpx.HTTPError):
        return gateway.stats()["process"]["pid"] not in (0, first)


@pytest.mark.races
def test_under_load_while_steps_come_and_go(launch, upstream, group):
    gateway = launch(web(group, upstream, shorten_idle="50%/40%", fewer_streams="50%/40%", stop_keep_alive="50%/40%",
                         shed_low="50%/40%",
                         routes=[{"match": {"prefix": "/"}, "to": "cluster:app", "priority": "low"}]))
    over = threading.Event()

    def flip():
        for _ in range(5):
            with pressed(group, gateway, "shed_low"):
                pass
        over.set()
    flipper = threading.Thread(target=flip)
    flipper.start()
    statuses = set()
    try:
        while not over.is_set():
            for http2 in (False, True):
                with gateway.client(http2=http2) as client, contextlib.suppress(httpx.TransportError):
                    for _ in range(10):
                        statuses.add(client.get("/").status_code)
    finally:
        flipper.join()
    assert statuses <= {200, 503} and 200 in statuses
    assert gateway.get("/").status_code == 200
