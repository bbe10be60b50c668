"""Rate limits over several gateways: one count in Redis, and what happens while it is slow, stopped or gone."""
import contextlib
import signal
import socket
import threading
import time

import pytest

from harness import send_signal, wait_for
from redis_tools import redis_server

OK = 200
REFUSED = 429
RATE, BURST, LEASE, SHARE = 50, 40, 8, 0.5


def limited(port, **limit):
    return {
        "policies": {
            "shared_state": {"redis": {"address": f"127.0.0.1:{port}", "command_timeout": "1s"}},
            "rate_limits": {"all": {"key": ["route", "header:x-app"], "scope": "global", **limit}}},
        "routes": [{"name": "r", "match": {"prefix": "/"}, "rate_limits": ["all"], "respond": {"status": 200}}]}


def figures(gateway):
    return gateway.stats()["policies"]["rate_limits"]["all"]["global"]


def connected(gateway):
    wait_for(lambda: gateway.stats()["policies"]["shared_state"]["state"] == "connected")


class Flood:
    """Clients that ask without pause, and when each of their requests began and how it ended."""

    def __init__(self, gateway, clients=4):
        self.gateway, self.ended, self.answers = gateway, threading.Event(), []
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]

    def run(self):
        with self.gateway.client() as client:
            while not self.ended.is_set() and len(self.answers) < 50000:
                began = time.monotonic()
                self.answers.append((began, client.get("/", headers={"x-app": "flood"}).status_code))

    def passed(self, since=0.0):
        return sum(status == OK for began, status in list(self.answers) if began >= since)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self.ended.set()
        for thread in self.threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self.threads)  # nobody hangs
        assert {status for _, status in self.answers} <= {OK, REFUSED}


class SlowPort:
    """Passes bytes on to a port, `delay` seconds late."""

    def __init__(self, port):
        self.target, self.delay, self.sockets = port, 0.0, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near = self.listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self.target))
                self.sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    def pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.delay)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        for end in (self.listener, *self.sockets):
            end.close()


def test_two_gateways_count_together(launch, tmp_path):
    with redis_server(tmp_path) as (port, client, _):
        limit = {"rate": "1/h", "burst": 20, "lease": 4}
        gateways = [launch(limited(port, **limit)) for _ in range(2)]
        for gateway in gateways:
            connected(gateway)
        with gateways[0].client() as one, gateways[1].client() as other:
            statuses = []
            for i in range(60):
                statuses.append((one, other)[i % 2].get("/", headers={"x-app": "1"}).status_code)
            refused = other.get("/", headers={"x-app": "1"})
            # one lease each, either way
            assert 20 - 2 * 4 <= statuses.count(OK) <= 20 + 2 * 4
            assert statuses[-20:] == [REFUSED] * 20 and refused.status_code == REFUSED
            assert refused.json()["error"]["policy"] == "all" and int(refused.headers["retry-after"]) > 60
            # another key is another count; a key that came once has not reached Redis
            assert one.get("/", headers={"x-app": "2"}).status_code == OK
        wait_for(lambda: len(client.keys("floodgate:rate:{all:*}")) == 1)
        assert 0 < client.pttl(client.keys("floodgate:rate:*")[0]) <= 40 * 3600 * 1000
        for gateway in gateways:
            assert figures(gateway)["state"] == "shared_count" and figures(gateway)["answered"] > 0


def test_keys_in_redis_are_bounded_by_what_is_asked_for(launch, tmp_path):
    with redis_server(tmp_path) as (port, client, _):
        # 40 at 100/s: whatever has been taken, a key is as good as new 0.4 s later
        gateway = launch(limited(port, rate="100/s", burst=40, lease=4))
        connected(gateway)
        with gateway.client() as asking:
            for number in range(300):  # once each: nothing is asked, and nothing kept there
                assert asking.get("/", headers={"x-app": f"once-{number}"}).status_code == OK
            assert client.dbsize() == 0 and figures(gateway)["answered"] == 0
            for number in range(60):
                for _ in range(3):
                    assert asking.get("/", headers={"x-app": f"again-{number}"}).status_code == OK
                ages = [client.pttl(key) for key in client.scan_iter("floodgate:rate:*")]
                assert len(ages) <= number + 1 and all(age <= 401 for age in ages)
            wait_for(lambda: figures(gateway)["answered"] > 0)
        wait_for(lambda: client.dbsize() == 0, what="keys that are gone")  # by themselves


def stop(process, _slow):
    send_signal(process.pid, signal.SIGSTOP)


def kill(process, _slow):
    send_signal(process.pid, signal.SIGKILL)


def slow_down(_process, slow):
    slow.delay = 3.0


@pytest.mark.parametrize("trouble", [stop, kill, slow_down])
def test_nobody_waits_for_redis_and_the_share_applies(launch, tmp_path, trouble):
    with redis_server(tmp_path) as (port, _, process):
        slow = SlowPort(port)
        gateway = launch(limited(slow.port, rate=f"{RATE}/s", burst=BURST, lease=LEASE, local_share="50%"))
        connected(gateway)
        try:
            start = time.monotonic()
            with Flood(gateway) as flood:
                wait_for(lambda: flood.passed() > BURST and figures(gateway)["leased"] > 0)
                assert figures(gateway)["state"] == "shared_count"
                began = time.monotonic()
                trouble(process, slow)
                wait_for(lambda: figures(gateway)["state"] == "local_share")
                before = time.monotonic()
                wait_for(lambda: flood.passed(since=before) > 2 * LEASE)  # it goes on, by the share
            end = time.monotonic()
            # what was leased, one more in advance, and the share; an answer may have been on its way
            assert flood.passed(since=began) <= 3 * LEASE + SHARE * RATE * (end - began) + 1
            assert flood.passed() <= BURST + RATE * (end - start) + 3 * LEASE
        finally:
            send_signal(process.pid, signal.SIGCONT)
            slow.close()


def test_a_redis_that_answers_with_errors_is_as_good_as_none(launch, tmp_path):
    with redis_server(tmp_path) as (port, client, _):
        gateway = launch(limited(port, rate=f"{RATE}/s", burst=BURST, lease=LEASE))
        connected(gateway)
        with Flood(gateway, clients=2) as flood:
            wait_for(lambda: figures(gateway)["leased"] > LEASE)
            client.slaveof("127.0.0.1", 1)  # READONLY from now on
            wait_for(lambda: figures(gateway)["state"] == "local_share")
            before = time.monotonic()
            wait_for(lambda: flood.passed(since=before) > 2 * LEASE)  # it goes on, by the share
            client.slaveof()
            wait_for(lambda: figures(gateway)["state"] == "shared_count")
        assert "event=rate_lease_refused" in gateway.log and "READONLY" in gateway.log


def test_errors_give_redis_a_rest(launch, tmp_path):
    with redis_server(tmp_path) as (port, client, _):
        gateway = launch(limited(port, rate=f"{RATE}/s", burst=BURST, lease=LEASE))
        connected(gateway)
        threads = gateway.stats()["gateway"]["threads"]
        client.slaveof("127.0.0.1", 1)  # READONLY
        with gateway.client() as asking:
            for _ in range(300):  # one key, which would ask at each request
                assert asking.get("/", headers={"x-app": "one"}).status_code in {OK, REFUSED}
            wait_for(lambda: figures(gateway)["lost"] > 0)
            seen = figures(gateway)
            assert seen["lost"] <= 40 and seen["held_back"] > seen["lost"], seen
            assert seen["state"] == "local_share"
            for number in range(200):  # and many of them, each of which would ask once
                for _ in range(2):
                    assert asking.get("/", headers={"x-app": str(number)}).status_code == OK
            seen = figures(gateway)
            assert seen["lost"] <= 16 * threads + 80 and seen["not_asked"] > 50, seen
            client.slaveof()
            wait_for(lambda: asking.get("/", headers={"x-app": "one"}) and
                     figures(gateway)["state"] == "shared_count", what="the count that is asked again")


def test_it_comes_back_to_the_count(launch, tmp_path):
    with redis_server(tmp_path) as (port, _, process):
        slow = SlowPort(port)
        gateway = launch(limited(slow.port, rate=f"{RATE}/s", burst=BURST, lease=LEASE))
        connected(gateway)
        slow.delay = 0.02  # late, but in time: leases go on
        with Flood(gateway) as flood:
            wait_for(lambda: figures(gateway)["leased"] > 2 * LEASE)
            send_signal(process.pid, signal.SIGSTOP)
            try:
                wait_for(lambda: figures(gateway)["state"] == "local_share")
            finally:
                send_signal(process.pid, signal.SIGCONT)
            leased = figures(gateway)["leased"]
            wait_for(lambda: figures(gateway)["state"] == "shared_count" and figures(gateway)["leased"] > leased)
            assert flood.answers
        slow.close()
