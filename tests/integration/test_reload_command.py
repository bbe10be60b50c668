"""`floodgate reload`: asks the running gateway, waits, and says what came of it."""
import asyncio
import concurrent.futures
import contextlib
import ctypes
import os
import re
import signal
import socket
import struct
import threading

from harness import (children_of, free_port, living_workers, plain_http, read_all, run_binary, unique, wait_for,
                     workers)
from test_inference_kills import STREAMS, Crowd, assert_all_free, pool, undisturbed, until


PIDFD_GETFD = 438  # the number of the system call on all machines


def site(text="one"):
    return {"routes": [{"match": {"prefix": "/"}, "respond": {"status": 200, "body": text}}]}


def said(gateway):
    with gateway.client() as client:
        return client.get("/").text


def reload(gateway, *arguments):
    return run_binary("reload", "-c", gateway.config, *arguments, timeout=180)


def rewrite(gateway, **sections):
    gateway.sections = {**gateway.sections, **sections}
    gateway.write_config()


def test_a_good_one_is_in_force_when_the_command_ends(launch):
    gateway = launch(site())
    assert said(gateway) == "one"
    for generation, text in ((2, "two"), (3, "three")):
        rewrite(gateway, **site(text))
        done = reload(gateway)
        assert done.returncode == 0, done.stderr
        assert f"configuration generation {generation}, 0 workers exchanged" in done.stdout
        assert said(gateway) == text


def test_what_is_wrong_is_said_with_its_place(launch):
    gateway = launch(site())
    good = gateway.sections
    rewrite(gateway, limits={"threads": "many"})
    refused = reload(gateway)
    assert refused.returncode == 2 and re.search(rf"{gateway.config}:\d+:\d+: .*threads", refused.stderr)
    # The supervisor reads the file itself, and says the same to whoever asks the admin listener.
    ticket = plain_http.post(gateway.admin + "/reload").json()["ticket"]

    def outcome():
        config = plain_http.get(gateway.admin + "/reload").json()["config"]
        return config["ticket"] >= ticket and config["state"] in ("failed", "done") and config
    config = gateway.wait_stats(lambda _: outcome())
    assert config["state"] == "failed" and re.search(r"floodgate.yaml:\d+:\d+: .*threads", config["text"])
    assert config["generation"] == 1
    # A file without a fault that cannot come into force without a restart.
    gateway.sections = good
    rewrite(gateway, limits={**good["limits"], "threads": 1})
    refused = reload(gateway)
    assert refused.returncode == 2 and "goes on" in refused.stderr
    assert "limits.threads changed: such keys need a restart" in refused.stderr
    assert said(gateway) == "one"
    gateway.sections = good
    rewrite(gateway, **site("two"))
    assert reload(gateway).returncode == 0 and said(gateway) == "two"


def test_reloads_go_one_at_a_time(launch, upstream):
    """While a gateway of before has something in flight no third one begins; of those asked for meanwhile the last counts."""
    go_on = threading.Event()

    def answer(_):
        go_on.wait(60)
        return 200, {}, b"late"
    server = upstream(answer)

    def held_site(text):
        return {"routes": [{"match": {"path": "/held"}, "to": "cluster:api"}, *site(text)["routes"]],
                "clusters": {"api": {"endpoints": [f"127.0.0.1:{server.port}"]}}}
    gateway = launch({**held_site("one"), "limits": {"threads": 1, "drain_timeout": "60s"}})
    with gateway.raw() as connection, concurrent.futures.ThreadPoolExecutor(1) as pool:
        try:
            connection.sendall(b"GET /held HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            wait_for(lambda: server.in_flight == 1, what="the request in flight")
            rewrite(gateway, **held_site("two"))
            assert reload(gateway).returncode == 0 and said(gateway) == "two"
            for text in ("three", "four"):
                rewrite(gateway, **held_site(text))
                waits = pool.submit(reload, gateway) if text == "three" else waits
                gateway.signal(signal.SIGHUP)
            wait_for(lambda: "event=reload_deferred" in gateway.log, what="a word about it")
            assert said(gateway) == "two" and len(children_of(gateway.process.pid)) == 2
        finally:
            go_on.set()
        assert read_all(connection).endswith(b"late")
        assert waits.result().returncode == 0 and said(gateway) == "four"


def shop(**orders):
    return {**site(), "limits": {"threads": 1}, "orders": {"skus": {"milk-tea": 100}, **orders},
            "routes": [{"match": {"path": "/api/session"}, "session": True},
                       {"match": {"prefix": "/api/"}, "to": "orders", "identity": "required"}]}


def test_all_that_needs_a_restart_is_named(launch):
    gateway = launch(shop())
    rewrite(gateway, admin={"address": f"127.0.0.1:{free_port()}"},
            listeners=[*gateway.sections["listeners"], {"address": f"127.0.0.1:{free_port()}", "kind": "plain"}],
            orders={**gateway.sections["orders"], "durability": "memory", "fulfil": {"workers": 2},
                    "redis": {"memory_max": "8MiB", "directory": str(gateway.run / "elsewhere")}})
    at = len(gateway.log)
    gateway.signal(signal.SIGHUP)
    wait_for(lambda: "event=reload_failed" in gateway.log[at:], what="the refusal")
    assert 'reason="listeners[].address, admin.address, orders.redis.directory, orders.redis.memory_max, ' \
        'orders.durability, orders.fulfil.workers changed: such keys need a restart" kept=old' in gateway.log[at:]


def test_orders_are_carried_out_as_the_new_one_says(launch):
    gateway = launch(shop(fulfil={"confirm_after": "1h"}))
    headers = gateway.headers()

    def order():
        with gateway.client() as client:
            answer = client.post("/api/orders", headers={**headers, "idempotency-key": unique()},
                                 json={"sku": "milk-tea", "quantity": 1})
        return answer.json()["order_id"]

    def status(order_id):
        return gateway.get(f"/api/orders/{order_id}", headers=headers).json()["status"]
    first = order()
    wait_for(lambda: "event=fulfil_started" in gateway.log, what="its consumer")
    rewrite(gateway, orders={**gateway.sections["orders"], "fulfil": {"confirm_after": "0s"}})
    assert reload(gateway).returncode == 0
    second = order()
    wait_for(lambda: status(second) == "completed", what="the new order")
    assert status(first) == "accepted"  # it was told when it is its turn


def test_a_listener_that_stays_takes_the_new_backlog(launch):
    gateway = launch(site())

    def backlogs():
        """Those of the supervisor's sockets: of one that listens TCP_INFO says it in place of tcpi_sacked."""
        found, pidfd = set(), os.pidfd_open(gateway.process.pid)
        for fd in map(int, os.listdir(f"/proc/{gateway.process.pid}/fd")):
            copy = ctypes.CDLL(None).syscall(PIDFD_GETFD, pidfd, fd, 0)
            with contextlib.suppress(OSError), socket.socket(fileno=copy) as one:
                if one.getsockname()[1] == gateway.port:
                    found.add(struct.unpack_from("I", one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 28)[0])
        os.close(pidfd)
        return found
    assert 100 not in backlogs()
    rewrite(gateway, listeners=[{**gateway.sections["listeners"][0], "backlog": 100}])
    assert reload(gateway).returncode == 0 and backlogs() == {100}


def test_nobody_to_ask(launch):
    gateway = launch(site())
    assert plain_http.post(gateway.admin + "/reload?everything").status_code == 400
    gateway.stop()
    gone = reload(gateway)
    assert gone.returncode == 1 and "is the gateway running" in gone.stderr
    assert reload(gateway, "--wait", "0").returncode == 2


def test_new_workers_cut_no_stream(launch):
    gateway = launch(pool(workers=3))
    want = undisturbed(gateway)
    before = {one["worker"]: one["pid"] for one in living_workers(gateway)}
    outcome = {}

    async def exchange(crowd):
        await until(lambda: crowd.begun == STREAMS)
        outcome["done"] = await asyncio.to_thread(reload, gateway, "--workers")
    got = asyncio.run(Crowd(gateway, STREAMS).run(exchange))
    assert got == want
    done = outcome["done"]
    assert done.returncode == 0, done.stderr
    assert "configuration generation 1, 3 workers exchanged" in done.stdout
    stats = gateway.stats()["inference"]
    assert all(one["pid"] not in (0, before[one["worker"]]) for one in stats["workers"])
    assert stats["requests"]["failed"] == 0
    exits = [line for line in gateway.log.splitlines() if "role=worker" in line and "child_exited" in line]
    assert len(exits) == 3 and all("code=0" in line for line in exits), exits
    assert sum("child_started role=gateway" in line for line in gateway.log.splitlines()) <= 1
    assert_all_free(gateway)
