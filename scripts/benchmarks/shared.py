"""
What requests under a rate limit that gateways share notice of the Redis that keeps its count.

  redis       2,000 requests/s under a `scope: global` limit that passes half of them, in turn with Redis well,
              slowed (50 ms each way), stopped (SIGSTOP) and killed; p50 and p99 of the answers, 200 and 429 alike,
              how many passed in a second, and what each p99 is above that of the same round with Redis well

One thread on one core; Redis and the clients on the other. Environment: FG_BENCH_ROUNDS (3), FG_BENCH_SECONDS (5).
"""
import asyncio
import contextlib
import json
import pathlib
import signal
import statistics
import sys
import tempfile
import threading

from . import gateway, machine, peers

ROUNDS = peers.environment("FG_BENCH_ROUNDS", 3)
SECONDS = peers.environment("FG_BENCH_SECONDS", 5)
CLIENTS, RATE = 20, 100  # and requests a second of each
LIMIT = CLIENTS * RATE // 2
DELAY_S = 0.05
STATES = ["well", "slowed", "stopped", "killed"]


class SlowPort:
    """Passes bytes on to another port; while `delay_s` is set, that much later."""

    def __init__(self, target):
        self.target, self.delay_s, self.port = target, 0.0, machine.free_port()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(asyncio.start_server(self.accept, "127.0.0.1", self.port))
        self.loop.run_forever()

    async def accept(self, reader, writer):
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(self.pump(reader, far_writer), self.pump(far_reader, writer))

    async def pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await asyncio.sleep(self.delay_s)
                sink.write(data)
        sink.close()


def config(port, redis):
    return json.dumps({
        "listeners": [{"name": "plain", "address": f"127.0.0.1:{port}", "kind": "plain"}],
        "limits": {"threads": 1}, "admin": {"address": f"127.0.0.1:{machine.free_port()}"},
        "policies": {"shared_state": {"redis": {"address": f"127.0.0.1:{redis}"}},
                     "rate_limits": {"all": {"key": "route", "scope": "global", "rate": f"{LIMIT}/s",
                                             "burst": LIMIT // 10}}},
        "routes": [{"match": {"prefix": "/"}, "rate_limits": ["all"], "respond": {"status": 200}}]})


class Site:
    def __init__(self, folder, processes, binary):
        self.folder, self.processes, self.binary = folder, processes, binary
        self.redis_port = machine.free_port()
        self.slow = SlowPort(self.redis_port)
        self.start_redis()
        self.port = machine.free_port()
        (folder / "floodgate.yaml").write_text(config(self.port, self.slow.port))
        process = machine.start(processes, folder, "floodgate",
                                machine.pinned(0, [binary, "serve", "-c", str(folder / "floodgate.yaml")]))
        machine.wait_for_port(process, self.port, folder / "floodgate.out")

    def start_redis(self):
        self.redis = machine.start(self.processes, self.folder, "redis", machine.pinned(
            -1, ["redis-server", "--port", str(self.redis_port), "--save", "", "--dir", str(self.folder)]))
        machine.wait_for_port(self.redis, self.redis_port, self.folder / "redis.out")

    @contextlib.contextmanager
    def redis_is(self, state):
        """The state lasts from now on; afterwards Redis is well again."""
        if state == "slowed":
            self.slow.delay_s = DELAY_S
        elif state == "stopped":
            self.redis.send_signal(signal.SIGSTOP)
        elif state == "killed":
            self.redis.kill()
            self.redis.wait()
        try:
            yield
        finally:
            self.slow.delay_s = 0
            if state == "stopped":
                self.redis.send_signal(signal.SIGCONT)
            elif state == "killed":
                self.start_redis()

    def ask(self, seconds):
        """p50 and p99 in microseconds, requests passed a second; each request must have its answer."""
        with tempfile.NamedTemporaryFile(dir=self.folder) as log:
            peers.load(["-n", str(CLIENTS * RATE * seconds), "-c", str(CLIENTS), "-m", "1", "--rps", str(RATE),
                        f"--log-file={log.name}", f"http://127.0.0.1:{self.port}/"])
            path = pathlib.Path(log.name)
            statuses = [line.split("\t")[1] for line in path.read_text().splitlines()]
            if len(statuses) != CLIENTS * RATE * seconds or not set(statuses) <= {"200", "429"}:
                raise SystemExit(f"{len(statuses)} answers of {CLIENTS * RATE * seconds}: {set(statuses)}")
            return gateway.percentile(path, 0.5), gateway.percentile(path, 0.99), statuses.count("200") / seconds


def measure(site):
    results = {state: [] for state in STATES}
    site.ask(1)
    for number in range(ROUNDS):
        for state in STATES:
            with site.redis_is(state):
                results[state].append(site.ask(SECONDS))
            site.ask(2)  # it has come back by then
            print(f"  redis, round {number + 1}/{ROUNDS}: {state}", file=sys.stderr)
    print(f"\n| Redis | p50, ms | p99, ms | above a well one, ms | passed/s, of {LIMIT} |\n| --- | ---: | ---: | ---: | ---: |")
    for state in STATES:
        p50, p99, passed = (statistics.median(one[i] for one in results[state]) for i in range(3))
        above = statistics.median(one[1] - well[1] for one, well in zip(results[state], results["well"]))
        print(f"| {state} | {p50 / 1e3:.2f} | {p99 / 1e3:.2f} | {above / 1e3:.2f} | {passed:.0f} |", flush=True)


def run(_kind, folder):
    binary = machine.prepare("FG_PACKAGES_BENCH", "FG_PACKAGES_RUN")
    with machine.running([]) as processes:
        site = Site(folder, processes, binary)
        machine.describe([[binary, "--version"], ["redis-server", "--version"]])
        measure(site)
