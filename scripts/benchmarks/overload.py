"""
Overload: an upstream of 8 slots x 20 ms that works on everything it accepts, and open-loop clients
that leave after a second.

  a   ten times what the upstream can do                       goodput, of its capacity
  b   half the slots lost while 90 % of the capacity is asked   goodput, of what is left
  c   the upstream grows to 64 slots, 75 % of that is asked     goodput, of what is offered
  d   a few orders share the upstream with the flood of a       orders that succeed, their p99

floodgate runs with one configuration that holds no number about the upstream. nginx (limit_req,
limit_conn) and HAProxy (maxconn, queue, priority class) are tuned for 8 slots of 20 ms. Everybody
has a fresh process and a fresh upstream in each scenario.

FG_BENCH_SECONDS (10): how long each scenario is measured; FG_BENCH_ROUNDS (1).
"""
import json
import pathlib
import socket
import statistics
import subprocess
import sys

from . import machine, peers

NAMES = ("floodgate", "nginx", "haproxy")
SECONDS = peers.environment("FG_BENCH_SECONDS", 10)
ROUNDS = peers.environment("FG_BENCH_ROUNDS", 1)
CONNECTIONS = 64
SLOTS, SERVICE_MS = 8, 20
CAPACITY = SLOTS * 1000 // SERVICE_MS


def floodgate_config(folder, port, upstream):
    return json.dumps({
        "listeners": [{"address": f"127.0.0.1:{port}", "kind": "plain"}],
        "admin": {"address": f"127.0.0.1:{machine.free_port()}"},
        "identity": {"jwt": {"secret_file": f"{folder}/jwt.key"}},
        "limits": {"threads": 1, "connections_per_ip_max": 1000, "requests_per_connection_max": 1000000000},
        "clusters": {"app": {"endpoints": [f"127.0.0.1:{upstream}"]}},
        "routes": [{"match": {"path": "/order"}, "to": "cluster:app", "priority": "critical"},
                   {"match": {"prefix": "/"}, "to": "cluster:app"}]})


def nginx_config(folder, port, upstream):
    """At most as many at the upstream as it has slots and two more, and no more a second than it can do."""
    return f"""
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; http2_max_concurrent_streams 1000;
  client_body_temp_path {folder}/n1; proxy_temp_path {folder}/n2; fastcgi_temp_path {folder}/n3;
  uwsgi_temp_path {folder}/n4; scgi_temp_path {folder}/n5;
  limit_req_zone $server_name zone=rate:1m rate={CAPACITY}r/s;
  limit_conn_zone $server_name zone=slots:1m;
  upstream app {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} http2; server_name app;
    limit_req zone=rate burst={SLOTS} nodelay; limit_conn slots {SLOTS + 2};
    proxy_http_version 1.1; proxy_set_header Connection "";
    location / {{ proxy_pass http://app; }}
  }}
}}
"""


def haproxy_config(folder, port, upstream):
    """As many at the upstream as it has slots; the others wait for two service times at most."""
    return f"""
global
  nbthread 1
  maxconn 8192
  tune.h2.max-concurrent-streams 1000
defaults
  mode http
  option abortonclose
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  timeout queue {2 * SERVICE_MS}ms
frontend public
  bind 127.0.0.1:{port} proto h2
  http-request set-priority-class int(-100) if {{ path /order }}
  default_backend app
backend app
  http-reuse always
  server one 127.0.0.1:{upstream} maxconn {SLOTS}
"""


COMMANDS = {
    "floodgate": (floodgate_config, "floodgate.yaml", lambda binary, folder: [binary, "serve", "-c"]),
    "nginx": (nginx_config, "nginx.conf",
              lambda binary, folder: ["nginx", "-p", str(folder), "-e", str(folder / "nginx.log"), "-c"]),
    "haproxy": (haproxy_config, "haproxy.cfg", lambda binary, folder: ["haproxy", "-db", "-f"]),
}


def build_tools(folder):
    """The upstream and the load, compiled as they are."""
    here = pathlib.Path(__file__).resolve().parent
    for name, libraries in (("slot_server", []), ("open_load", ["-lnghttp2", "-lssl", "-lcrypto", "-lm"])):
        subprocess.run(["cc", "-O2", "-o", str(folder / name), str(here / f"{name}.c"), *libraries], check=True)


class Site:
    """One server before one fresh upstream."""

    def __init__(self, folder, tools, processes, binary, name):
        self.tools = tools
        self.upstream, self.port = machine.free_port(), machine.free_port()
        make, file, command = COMMANDS[name]
        (folder / file).write_text(make(folder, self.port, self.upstream))
        for label, core, port, line in (
                ("upstream", -1, self.upstream,
                 [str(tools / "slot_server"), str(self.upstream), str(SLOTS), str(SERVICE_MS * 1000)]),
                (name, 0, self.port, [*command(binary, folder), str(folder / file)])):
            process = machine.start(processes, folder, label, machine.pinned(core, line))
            machine.wait_for_port(process, port, folder / f"{label}.out")

    def set_slots(self, count):
        with socket.create_connection(("127.0.0.1", self.upstream)) as connection:
            connection.sendall(f"GET /slots/{count} HTTP/1.1\r\n\r\n".encode())
            connection.recv(1000)

    def load(self, seconds, seed, **rates):
        """Open-loop arrivals of each kind; {kind: results}."""
        kinds = [f"{kind}=/{kind}@{rate}" for kind, rate in rates.items()]
        done = subprocess.run(machine.pinned(-1, [str(self.tools / "open_load"), str(self.port), str(seconds), "1000",
                                                  str(CONNECTIONS), str(seed), *kinds]),
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"open_load failed:\n{done.stderr}")
        results = [json.loads(line) for line in done.stdout.splitlines()]
        return {result["kind"]: result for result in results}


def tenfold(site, seed):
    site.load(3, seed, page=CAPACITY // 2)
    flood = site.load(SECONDS, seed, page=10 * CAPACITY)["page"]
    after = site.load(2, seed, page=CAPACITY // 2)["page"]
    return {"good": flood["good"] / SECONDS / CAPACITY, "p99_ms": flood["p99_ms"],
            "refused_p50_ms": flood["refused_p50_ms"], "after": after["good"] / after["offered"]}


def half_lost(site, seed):
    site.load(3, seed, page=CAPACITY * 0.9)
    site.set_slots(SLOTS // 2)
    page = site.load(SECONDS, seed, page=CAPACITY * 0.9)["page"]
    return {"good": page["good"] / SECONDS / (CAPACITY / 2)}


def grown(site, seed):
    site.load(3, seed, page=CAPACITY * 0.9)
    site.set_slots(8 * SLOTS)
    page = site.load(SECONDS, seed, page=CAPACITY * 8 * 0.75)["page"]
    return {"good": page["good"] / page["offered"]}


def light_beside_heavy(site, seed):
    site.load(3, seed, page=CAPACITY // 2)
    both = site.load(SECONDS, seed, page=10 * CAPACITY, order=CAPACITY // 10)
    order = both["order"]
    return {"good": order["good"] / order["offered"], "p99_ms": order["p99_ms"]}


SCENARIOS = {"a": tenfold, "b": half_lost, "c": grown, "d": light_beside_heavy}


def measure(folder, tools, binary, name, letter, seed):
    folder = folder / f"{letter}-{name}-{seed}"
    folder.mkdir()
    folder.chmod(0o755)
    with machine.running([]) as processes:
        result = SCENARIOS[letter](Site(folder, tools, processes, binary, name), seed)
    print(f"  {letter}, round {seed}/{ROUNDS}, {name}: {result}", file=sys.stderr)
    return result


def run(kind, folder):
    assert kind == "overload"
    binary = machine.prepare("FG_PACKAGES_BENCH")
    build_tools(folder)
    machine.describe([[binary, "--version"], ["nginx", "-v"], ["haproxy", "-v"]])
    print(f"load: open loop over {CONNECTIONS} HTTP/2 connections, {SECONDS} s a scenario, {ROUNDS} rounds, medians; "
          "one thread for each server on one core, the load and the upstream on the other")
    print("\n| server | a: goodput | a: p99 ms | a: refusal p50 ms | a: after it | b: goodput | c: goodput | "
          "d: orders | d: p99 ms |\n| --- |" + " ---: |" * 8)
    for name in NAMES:
        rounds = {letter: [measure(folder, folder, binary, name, letter, seed + 1) for seed in range(ROUNDS)]
                  for letter in SCENARIOS}

        def median(letter, figure):
            return statistics.median(result[figure] for result in rounds[letter])

        print(f"| {name} | {median('a', 'good'):.1%} | {median('a', 'p99_ms'):.0f} | "
              f"{median('a', 'refused_p50_ms'):.1f} | {median('a', 'after'):.1%} | {median('b', 'good'):.1%} | "
              f"{median('c', 'good'):.1%} | {median('d', 'good'):.1%} | {median('d', 'p99_ms'):.0f} |", flush=True)
