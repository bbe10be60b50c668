"""
What a client with manners notices of an attack beside it, and what the gateway keeps of it afterwards.

  attack      8 HTTP/2 clients over TLS, each from an address of its own, 400 requests a second that arrive by chance
              (open_load.c), alone and beside one attack after another (attacker.py: floods, bombs, stalls), by turns
              in the same run; p99 beside against alone, the median of the rounds. A client connects again when it is told to go, and
              whoever has no answer with 200 after 2 s counts as not answered

One thread on one core; clients, upstream and attacker on the other, the attacker only when neither of those wants it:
it is the gateway's time that it must not get. Environment: FG_BENCH_SECONDS (4), FG_BENCH_ROUNDS (3), FG_BENCH_ATTACKS
(all; a comma between two).
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from . import machine, overload, peers

SECONDS = peers.environment("FG_BENCH_SECONDS", 4)
ROUNDS = peers.environment("FG_BENCH_ROUNDS", 3)
ATTACKER = pathlib.Path(__file__).with_name("attacker.py")  # not imported: it needs packages of the tests
CONNECTIONS, RATE, PATIENCE_MS = 8, 400, 2000
LARGE = 1 << 20
DESCRIPTORS = 512


def upstream_config(folder, port):
    (folder / "www").mkdir()
    (folder / "www/1k").write_bytes(os.urandom(1024))
    (folder / "www/large").write_bytes(os.urandom(LARGE))
    return f"""
daemon off; pid {folder}/upstream.pid; error_log {folder}/upstream.log;
events {{ worker_connections 2048; }}
http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {folder};
server {{ listen 127.0.0.1:{port}; root {folder}/www; location = / {{ return 200 "ok"; }}
location = /post {{ return 200 "ok"; }} }} }}
"""


def config(folder, plain, tls, upstream):
    return json.dumps({
        "listeners": [
            {"name": "tls", "address": f"127.0.0.1:{tls}", "certificate": f"{folder}/dev.crt",
             "private_key": f"{folder}/dev.key"},
            {"name": "plain", "address": f"127.0.0.1:{plain}", "kind": "plain"}],
        "admin": {"address": f"127.0.0.1:{machine.free_port()}"},
        "identity": {"jwt": {"secret_file": f"{folder}/jwt.key"}},
        "limits": {"threads": 1, "connections_per_ip_max": 300, "header_timeout": "2s", "body_timeout": "2s",
                   "handshake_timeout": "2s", "write_timeout": "2s"},
        "clusters": {"app": {"endpoints": [f"127.0.0.1:{upstream}"]}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})


class Site:
    def __init__(self, folder, processes, binary):
        self.folder = folder
        self.plain, self.tls, upstream = (machine.free_port() for _ in range(3))
        self.seed = 0
        machine.make_certificate(folder)
        overload.build_tools(folder)
        (folder / "upstream.conf").write_text(upstream_config(folder, upstream))
        (folder / "floodgate.yaml").write_text(config(folder, self.plain, self.tls, upstream))
        for name, core, port, command in (
                ("upstream", -1, upstream, ["nginx", "-p", str(folder), "-c", str(folder / "upstream.conf"), "-e",
                                            str(folder / "upstream.log")]),
                ("floodgate", 0, self.tls, ["prlimit", f"--nofile={DESCRIPTORS}", binary, "serve", "-c",
                                            str(folder / "floodgate.yaml")])):
            process = machine.start(processes, folder, name, machine.pinned(core, command))
            machine.wait_for_port(process, port, folder / f"{name}.out")
        self.process = process

    def neighbour(self):
        """p50 and p99 in ms of what was answered with 200, how many were not, and new connections made meanwhile."""
        self.seed += 1
        done = subprocess.run(machine.pinned(-1, [
            str(self.folder / "open_load"), str(self.tls), str(SECONDS), str(PATIENCE_MS), str(CONNECTIONS),
            str(self.seed), f"page=/1k@{RATE}"]), capture_output=True, text=True, check=False,
            env={**os.environ, "OPEN_LOAD_TLS": "1", "OPEN_LOAD_CLIENTS": "1"})
        if done.returncode != 0:
            raise SystemExit(f"open_load failed:\n{done.stderr}")
        page = json.loads(done.stdout)
        return page["p50_ms"], page["p99_ms"], page["offered"] - page["good"], page["reconnects"]

    def time_of_gateway(self):
        """Of its processes' threads: ms that they ran, and that they waited for the core which they share with others."""
        totals = [0, 0]
        for pid in machine.family(self.process.pid):
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                ran, waited, _ = map(int, (task / "schedstat").read_text().split())
                totals = [totals[0] + ran / 1e6, totals[1] + waited / 1e6]
        return totals

    def timed(self, measure):
        """What `measure` says, and what the gateway took meanwhile, each second."""
        before, started = self.time_of_gateway(), time.monotonic()
        measured = measure()
        seconds = time.monotonic() - started
        return measured, [(after - start) / seconds for after, start in zip(self.time_of_gateway(), before)]

    def beside(self, name):
        one = subprocess.Popen(machine.pinned(-1, ["chrt", "--idle", "0", sys.executable, str(ATTACKER), name,
                                                   str(self.plain), str(self.tls), str(SECONDS + 1)]),
                               stdout=subprocess.PIPE, text=True)
        try:
            time.sleep(0.7)  # it has begun: what it opens first is there
            measured = self.neighbour()
            return (*measured, one.communicate(timeout=SECONDS + 60)[0].strip())
        finally:
            if one.poll() is None:
                one.kill()
                one.wait()

    def memory(self):
        return machine.memory_bytes(self.process.pid) / (1 << 20)


def wanted():
    names = [name for name in os.environ.get("FG_BENCH_ATTACKS", "").split(",") if name]
    every = subprocess.run([sys.executable, str(ATTACKER)], check=True, capture_output=True, text=True).stdout.splitlines()
    return names or every


def measure(site):
    names = wanted()
    site.neighbour()  # connections and pages are warm
    start = site.memory()
    rows = {name: [] for name in names}
    for number in range(ROUNDS):
        for name in names:
            (alone, quiet), (beside, busy) = site.timed(site.neighbour), site.timed(lambda: site.beside(name))
            rows[name].append((alone, beside, site.memory(), quiet, busy))
            print(f"  attack, round {number + 1}/{ROUNDS}: {name}", file=sys.stderr)
    print("\n| attack | p99 alone, ms | p99 beside it, ms | ratio | p50 alone, beside | not answered with 200 | "
          "reconnected | gateway ran, ms a second: alone, beside | waited for its core, ms a second | memory after, MiB | the attacker |\n"
          "| --- |" + " ---: |" * 9 + " --- |")
    for name, results in rows.items():
        middle = [[statistics.median(one[i][quantile] for one in results) for i in (0, 1)] for quantile in (0, 1)]
        ran, waited = ([statistics.median(one[i][what] for one in results) for i in (3, 4)] for what in (0, 1))
        lost, again = (sum(one[1][i] for one in results) for i in (2, 3))
        print(f"| {name} | {middle[1][0]:.2f} | {middle[1][1]:.2f} | {middle[1][1] / middle[1][0]:.2f} | "
              f"{middle[0][0]:.2f}, {middle[0][1]:.2f} | {lost} of {RATE * SECONDS * ROUNDS} | {again} | "
              f"{ran[0]:.0f}, {ran[1]:.0f} | {waited[0]:.0f}, {waited[1]:.0f} | "
              f"{results[-1][2]:.1f} | {results[-1][1][4]} |")
    print(f"\nmemory {start:.1f} MiB before all of them, {site.memory():.1f} MiB after", flush=True)


def run(_kind, folder):
    binary = machine.prepare("FG_PACKAGES_BENCH", "FG_PACKAGES_TEST")
    with machine.running([]) as processes:
        site = Site(folder, processes, binary)
        machine.describe([[binary, "--version"], ["nginx", "-v"], ["h2load", "--version"], ["openssl", "version"]])
        measure(site)
