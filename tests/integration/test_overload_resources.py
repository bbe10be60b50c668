"""
The resources of the overload manager: each is used up by what really exhausts it, and recovers.
"""
import contextlib
import json
import signal
import socket
import time

import pytest

from harness import read_response, send_signal, wait_for
from overload_tools import (CALM, GET, REDIS_OF_A_SECOND, ask, complete, connect_from, end_of, llm, overload_of,
                            redis_pid, wait_taken, wait_watched)
from tls_tools import Seen


def test_file_descriptors(launch, upstream):
    backend = upstream()
    gateway = launch({
        "limits": {"threads": 1, "descriptors_reserved": 8, "handshake_timeout": "5m"},
        "policies": {"overload": {**CALM, "fds": {"address_share": "off", "shed_low": "50%/40%",
                                                  "refuse_connections": "70%/60%"}}},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "priority": "low"}]}, descriptors=160)
    fds = wait_watched(gateway, "fds")
    assert fds["limit"] == 160 and 0 < fds["used"] < 80
    with gateway.raw() as kept, contextlib.ExitStack() as stack:
        assert ask(kept)[0] == 200
        def has_seen(used):  # what it does is done at a sample, not at once
            overload = overload_of(gateway)
            return overload["steps"]["refuse_connections"]["taken"] or overload["resources"]["fds"]["used"] >= used
        for _ in range(20):
            overload = overload_of(gateway)
            used = overload["resources"]["fds"]["used"]
            assert used < 160
            if overload["steps"]["refuse_connections"]["taken"]:
                break
            for _ in range(10):
                stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 10))
            wait_for(lambda least=used + 6: has_seen(least))  # some that were there may have ended
        assert overload_of(gateway)["resources"]["fds"]["steps"][-2:] == ["shed_low", "refuse_connections"]
        status, fields, body = ask(kept)
        assert status == 503 and json.loads(body)["error"]["policy"] == "overload.fds"
        assert gateway.stats()["gateway"]["connections"]["refused_limit"] == 0  # it never came to that
    wait_taken(gateway, "refuse_connections", False)
    wait_taken(gateway, "shed_low", False)
    assert gateway.get("/").status_code == 200


def test_connections_that_rest_make_room_for_others(launch, upstream):
    backend = upstream()
    gateway = launch({
        "limits": {"threads": 1, "connections_max": 40, "idle_timeout": "5m"},
        "policies": {"overload": {**CALM, "shorten_idle_to": "1%"}},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "priority": "low"}]})

    def client(address, stack):
        return stack.enter_context(connect_from(gateway, address))
    with contextlib.ExitStack() as stack:
        resting = [client(f"127.0.0.{2 + i // 8}", stack) for i in range(32)]  # each address within its share
        assert [ask(one)[0] for one in resting] == [200] * 32
        wait_taken(gateway, "shorten_idle")
        connections = overload_of(gateway)["resources"]["connections"]
        assert connections["limit"] == 40 and connections["watched"]
        assert ask(client("127.0.0.9", stack))[0] == 200  # low, and nobody is shed for connections
        end_of(resting[0])  # after three seconds instead of five minutes
        wait_taken(gateway, "shorten_idle", False)  # some have gone, and it is enough
        assert ask(client("127.0.0.9", stack))[0] == 200
        assert overload_of(gateway)["steps"]["shorten_idle"]["acted_total"] >= 6
    wait_taken(gateway, "address_share", False)
    assert gateway.stats()["gateway"]["connections"]["refused_limit"] == 0


def test_at_the_end_of_connections_none_is_kept(launch, upstream):
    backend = upstream()
    gateway = launch({
        "limits": {"threads": 1, "connections_max": 40, "idle_timeout": "5m"},
        "policies": {"overload": {**CALM, "connections": {"address_share": "off", "shorten_idle": "off"}}},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "priority": "low"}]})
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(connect_from(gateway, "127.0.0.2"))
        assert "connection" not in ask(first)[1]
        opened = [first] + [stack.enter_context(connect_from(gateway, f"127.0.0.{3 + i // 5}")) for i in range(39)]
        wait_taken(gateway, "stop_keep_alive")
        for one in opened[:10]:
            status, fields, _ = ask(one)
            assert status == 200 and fields.get("connection", "close") == "close"
        wait_taken(gateway, "stop_keep_alive", False)  # by what it does itself
        assert "connection" not in ask(opened[-1])[1]
        assert ask(stack.enter_context(connect_from(gateway, "127.0.0.99")))[0] == 200
    connections = overload_of(gateway)["resources"]["connections"]
    assert connections["refused_total"] == 0 and overload_of(gateway)["steps"]["stop_keep_alive"]["acted_total"] >= 5


def test_loops_that_are_late(launch, upstream):
    off = dict.fromkeys(["resume_only", "shed_normal", "shed_high", "refuse_connections"], "off")
    gateway = launch({
        "policies": {"overload": {**CALM, "hold": "200ms", "loop_lag_max": "200ms", "loop_lag": off}},
        "clusters": {"app": {"endpoints": [upstream().address]}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "priority": "low"}]})
    pid = gateway.stats()["process"]["pid"]
    for _ in range(40):  # what a neighbour does who takes the core away, again and again
        send_signal(pid, signal.SIGSTOP)
        time.sleep(0.5)
        send_signal(pid, signal.SIGCONT)
        refused = gateway.get("/")
        if refused.status_code == 503:
            break
    assert refused.status_code == 503 and refused.json()["error"]["policy"] == "overload.loop_lag"
    assert refused.json()["error"]["value"] > 0 and refused.json()["error"]["limit"] == 850
    steps = overload_of(gateway)["steps"]
    assert all(steps[step]["taken_total"] >= 1 for step in ("fewer_streams", "stale_cache", "shed_low"))
    wait_taken(gateway, "shed_low", False)
    wait_taken(gateway, "stale_cache", False)
    assert gateway.get("/").status_code == 200 and overload_of(gateway)["level"] == "normal"


def test_one_address_does_not_take_all_connections(launch, upstream):
    backend = upstream()
    gateway = launch({
        "limits": {"threads": 1, "connections_max": 40, "connections_per_ip_max": 40, "header_timeout": "5m"},
        "policies": {"overload": {**CALM, "address_share_grace": "10m"}},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    with contextlib.ExitStack() as stack:
        # It is stopped at 62.5 %, whether or not a sample came between.
        for _ in range(60):
            stack.enter_context(connect_from(gateway, "127.0.0.2"))
        gateway.wait_stats(lambda stats: stats["gateway"]["connections"]["accepted"] >= 60)
        connections = gateway.stats()["gateway"]["connections"]
        assert connections["open"] <= 25 and connections["refused_share"] >= 35
        assert ask(stack.enter_context(connect_from(gateway, "127.0.0.3")))[0] == 200
    wait_taken(gateway, "address_share", False)


def test_half_open_handshakes(launch, upstream):
    backend = upstream()
    gateway = launch({
        "limits": {"handshake_timeout": "60s"},
        "policies": {"overload": {**CALM, "handshakes_max": 12, "shorten_idle_to": "1%",
                                  "handshakes": {"shorten_idle": "100%/10%", "resume_only": "70%/60%"}}},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "priority": "low"}]})
    known = Seen(gateway.port, "localhost")
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 30)) for _ in range(9)]
        wait_taken(gateway, "resume_only")
        with pytest.raises(OSError):
            Seen(gateway.port, "localhost")
        assert Seen(gateway.port, "localhost", session=known.session, context=known.context).was_resumed
        # who was refused, too, is counted until its end has come
        wait_for(lambda: overload_of(gateway)["resources"]["handshakes"]["used"] == 9)
        silent += [stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 30)) for _ in range(3)]
        wait_for(lambda: overload_of(gateway)["steps"]["shorten_idle"]["taken_total"] == 1)  # undone once they are cut
        for one in silent:  # cut after 0.6 s instead of 60
            with contextlib.suppress(ConnectionError):
                assert one.recv(1) == b""
    wait_taken(gateway, "resume_only", False)
    wait_taken(gateway, "shorten_idle", False)
    assert Seen(gateway.port, "localhost").answer.startswith(b"HTTP/1.1 200")
    assert overload_of(gateway)["steps"]["shorten_idle"]["acted_total"] >= 9


def test_a_redis_that_does_not_answer(launch, upstream):
    backend = upstream()
    gateway = launch({
        "policies": {"overload": REDIS_OF_A_SECOND},
        "orders": {"redis": {"command_timeout": "60s"}, "skus": {"milk-tea": 10}, "breaker": {"enabled": False}},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [{"match": {"prefix": "/api/"}, "to": "orders", "priority": "low"},
                   {"match": {"prefix": "/"}, "to": "cluster:app", "priority": "low"}]})
    pid = redis_pid(gateway)
    assert gateway.get("/api/stock/milk-tea").json()["left"] == 10
    send_signal(pid, signal.SIGSTOP)
    try:
        wait_taken(gateway, "shed_low")  # no client asks: the figures' own command is late
        wait_taken(gateway, "stale_cache")
        refused = gateway.get("/api/stock/milk-tea")
        assert refused.status_code == 503 and refused.json()["error"]["policy"] == "overload.redis_latency"
        assert int(refused.headers["retry-after"]) >= 1
        assert gateway.get("/").status_code == 200  # of the same priority, and no business of Redis
        assert overload_of(gateway)["resources"]["redis_latency"]["used"] > 0.4
    finally:
        send_signal(pid, signal.SIGCONT)
    wait_taken(gateway, "shed_low", False)
    wait_taken(gateway, "stale_cache", False)
    assert gateway.get("/api/stock/milk-tea").json()["left"] == 10


def test_a_redis_that_is_gone(launch):
    gateway = launch({
        "policies": {"overload": REDIS_OF_A_SECOND},
        "orders": {"redis": {"command_timeout": "300ms"}, "skus": {"milk-tea": 10}, "breaker": {"enabled": False}},
        "routes": [{"match": {"prefix": "/api/"}, "to": "orders", "priority": "low"}]})
    pid = redis_pid(gateway)
    send_signal(pid, signal.SIGSTOP)  # long enough for the connection to be given up
    try:
        gateway.wait_stats(lambda stats: stats["orders"]["redis"]["connected_threads"] < 2)
        wait_taken(gateway, "shed_low")
        assert overload_of(gateway)["resources"]["redis_latency"]["pressure"] > 0.8
    finally:
        send_signal(pid, signal.SIGCONT)
    wait_taken(gateway, "shed_low", False)
    assert gateway.get("/api/stock/milk-tea").json()["left"] == 10


def shed_low_of(gateway):
    return overload_of(gateway)["steps"]["shed_low"]


def test_kv_blocks_run_short(launch, upstream):
    backend = upstream()
    sections = llm(batch_max=64, sequences_max=64, waiting_max=64)
    sections["clusters"] = {"app": {"endpoints": [backend.address]}}
    sections["routes"].append({"match": {"prefix": "/"}, "to": "cluster:app", "priority": "low"})
    sections["policies"] = {"overload": {**CALM, "cap_tokens_to": 3,
                                         "kv_blocks": {"cap_tokens": "20%/10%", "shed_low": "30%/15%"}}}
    gateway = launch(sections)
    wait_watched(gateway, "kv_blocks")
    with gateway.client() as client:
        assert complete(client, 8) == (None, "length", 8)
        with contextlib.ExitStack() as stack:
            # A client that reads nothing holds its blocks until it has gone.
            opened = []

            def hold():
                answer = stack.enter_context(client.stream("POST", "/v1/completions", json={
                    "prompt": "Once upon a time " * 20 + str(len(opened)), "max_tokens": 400, "temperature": 0,
                    "stream": True, "ignore_eos": True}))
                opened.append(answer)
                return answer
            while not shed_low_of(gateway)["taken"]:
                last = hold()
                if last.status_code != 200:  # it was taken meanwhile, or blocks ran out before it was seen
                    last.read()
                    assert last.status_code == 503, last.text
                    assert last.json()["error"]["policy"] in ("overload.kv_blocks", "kv_blocks"), last.text
                assert len(opened) < 60
            before = shed_low_of(gateway)
            refused = client.post("/v1/completions", json={"prompt": "Tea", "max_tokens": 4})
            now = shed_low_of(gateway)
            if before["taken"] and now["taken"] and now["taken_total"] == before["taken_total"]:  # they had not ended
                assert refused.status_code == 503
                assert refused.json()["error"]["policy"] == "overload.kv_blocks"
            assert client.get("/").status_code == 200
        wait_taken(gateway, "shed_low", False)
        wait_taken(gateway, "cap_tokens", False)
        assert complete(client, 8) == (None, "length", 8)
    assert overload_of(gateway)["steps"]["cap_tokens"]["taken_total"] >= 1


def test_memory_of_requests(launch, upstream):
    backend = upstream()
    gateway = launch({
        "limits": {"threads": 1, "request_memory_total_max": "1MiB", "request_memory_max": "256KiB"},
        "policies": {"overload": {**CALM, "request_memory": {"shed_low": "10%/5%"}}},
        "clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 200}}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "priority": "low"}]})
    backend.gate.clear()  # requests stay open
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(12):
            if overload_of(gateway)["steps"]["shed_low"]["taken"]:
                break
            for _ in range(10):
                opened.append(stack.enter_context(gateway.raw()))
                opened[-1].sendall(GET)
        refused = gateway.get("/")
        assert refused.status_code == 503 and refused.json()["error"]["policy"] == "overload.request_memory"
        backend.gate.set()
        statuses = [read_response(connection.makefile("rb"))[0] for connection in opened]
    assert set(statuses) <= {200, 503} and statuses.count(200) >= 10
    wait_taken(gateway, "shed_low", False)
    assert gateway.get("/").status_code == 200
