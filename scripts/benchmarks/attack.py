"""
What a client with manners notices of an attack beside it, and what the gateway keeps of it afterwards.

  attack      4 HTTP/2 clients over TLS, 50 requests a second each, alone and beside one attack after another
              (attacker.py: floods, bombs, stalls), by turns in the same run; p99 beside against alone

One thread on one core; clients, upstream and attacker on the other, the attacker with little priority, since it is
the gateway's time that it must not get. Environment: FG_BENCH_SECONDS (4), FG_BENCH_ROUNDS (3), FG_BENCH_ATTACKS
(all; a comma between two).
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from . import gateway, machine, peers

SECONDS = peers.environment("FG_BENCH_SECONDS", 4)
ROUNDS = peers.environment("FG_BENCH_ROUNDS", 3)
ATTACKER = pathlib.Path(__file__).with_name("attacker.py")  # not imported: it needs packages of the tests
CLIENTS, RATE = 4, 50
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
        machine.make_certificate(folder)
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
        """p50 and p99 in microseconds, and how many requests were not answered with 200."""
        requests = CLIENTS * RATE * SECONDS
        with tempfile.NamedTemporaryFile(dir=self.folder) as log:
            peers.load(["-n", str(requests), "-c", str(CLIENTS), "-m", "1", "--rps", str(RATE),
                               f"--log-file={log.name}", f"https://127.0.0.1:{self.tls}/1k"])
            lines = pathlib.Path(log.name).read_text().splitlines()
            fine = sum(line.split("\t")[1] == "200" for line in lines)
            if not lines:  # no connection: refused by a gateway under pressure
                return SECONDS * 1e6, SECONDS * 1e6, requests
            return (gateway.percentile(pathlib.Path(log.name), 0.5), gateway.percentile(pathlib.Path(log.name), 0.99),
                    requests - fine)

    def beside(self, name):
        one = subprocess.Popen(machine.pinned(-1, ["nice", "-n", "10", sys.executable, str(ATTACKER), name,
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
            alone = site.neighbour()
            rows[name].append((alone, site.beside(name), site.memory()))
            print(f"  attack, round {number + 1}/{ROUNDS}: {name}", file=sys.stderr)
    print("\n| attack | p99 alone, ms | p99 beside it, ms | ratio | p50 alone, beside | not answered | memory after, MiB | "
          "the attacker |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for name, results in rows.items():
        alone = statistics.median(one[0][1] for one in results) / 1e3
        beside = statistics.median(one[1][1] for one in results) / 1e3
        middle = [statistics.median(one[i][0] for one in results) / 1e3 for i in (0, 1)]
        lost = sum(one[1][2] for one in results)
        print(f"| {name} | {alone:.2f} | {beside:.2f} | {beside / alone:.2f} | {middle[0]:.2f}, {middle[1]:.2f} | {lost} | "
              f"{results[-1][2]:.1f} | {results[-1][1][3]} |")
    print(f"\nmemory {start:.1f} MiB before all of them, {site.memory():.1f} MiB after", flush=True)


def run(_kind, folder):
    binary = machine.prepare("FG_PACKAGES_BENCH", "FG_PACKAGES_TEST")
    with machine.running([]) as processes:
        site = Site(folder, processes, binary)
        machine.describe([[binary, "--version"], ["nginx", "-v"], ["h2load", "--version"], ["openssl", "version"]])
        measure(site)
