"""
The gateway beside its peers: what a request, a connection and a handshake cost.

  proxy   TLS in front of one HTTP/1.1 upstream: HTTP/2 with many streams, HTTP/1.1 keep-alive,
          20,000 and 16,000 a second of them, and 2,000 with nothing to batch; system calls; handshakes; idle connections
  cache   a cached object of 1 KiB and of 64 KiB; a request that a rate limit refuses, beside the cached 1 KiB

Interleaved rounds, so that a machine that gets slower gets slower for all; medians. Where a process's memory happens to
lie makes it a tenth faster or slower for as long as it runs, so each round of requests has servers of its own.
"""
import contextlib
import os
import pathlib
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

from . import machine, peers

ROUNDS = peers.environment("FG_BENCH_ROUNDS", 5)
REQUESTS = peers.environment("FG_BENCH_REQUESTS", 40000)
CONNECTIONS = peers.environment("FG_BENCH_CONNECTIONS", 1000)
HANDSHAKE_SECONDS = 2
IDLE_SECONDS = 4

# What a regime asks of h2load, and of how many requests.
REGIMES = {
    "proxy": [
        ("TLS + HTTP/2, 16 connections x 8 streams", "/1k", REQUESTS, ["-c", "16", "-m", "8"]),
        ("TLS + HTTP/2, 2 connections x 100 streams", "/1k", REQUESTS, ["-c", "2", "-m", "100"]),
        ("TLS + HTTP/1.1 keep-alive, 32 connections", "/1k", REQUESTS, ["--h1", "-c", "32"]),
        # The p99 of a client that asks as soon as it has an answer is the queue in front of whatever is full, which may
        # be the client; here all have the same to do, and none is.
        ("20,000 requests/s over HTTP/2, 16 connections", "/1k", REQUESTS, ["-c", "16", "-m", "8", "--rps", "1250"]),
        ("16,000 requests/s over HTTP/1.1, 32 connections", "/1k", REQUESTS, ["--h1", "-c", "32", "--rps", "500"]),
        ("2,000 requests/s, nothing to batch", "/1k", 6000, ["-c", "20", "-m", "1", "--rps", "100"]),
    ],
    "cache": [
        ("cached 1 KiB, 16 connections x 8 streams", "/cached/1k", 2 * REQUESTS, ["-c", "16", "-m", "8"]),
        ("cached 64 KiB, 16 connections x 8 streams", "/cached/64k", REQUESTS // 4, ["-c", "16", "-m", "8"]),
    ],
}


def percentile(log, share):
    """Of the third column of h2load's log, microseconds from the request's start to its end."""
    times = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
    return times[min(len(times) - 1, int(len(times) * share))] if times else 0


def ask(site, name, path, requests, arguments):
    """One run: requests/s, CPU microseconds a request, p99 in microseconds, how many failed."""
    with tempfile.NamedTemporaryFile(dir=site.folder) as log:
        before = machine.cpu_seconds(site.pid(name))
        done = peers.load(["-n", str(requests), *arguments, f"--log-file={log.name}", site.url(name, path)])
        used = machine.cpu_seconds(site.pid(name)) - before
        rate = re.search(r"finished in [\d.]+\w*, ([\d.]+) req/s", done.stdout)
        fine = re.search(r"status codes: (\d+) 2xx", done.stdout)
        if rate is None or fine is None:
            raise SystemExit(f"h2load failed:\n{done.stdout}{done.stderr}")
        return (float(rate[1]), used * 1e6 / requests, percentile(pathlib.Path(log.name), 0.99),
                requests - int(fine[1]))


def interleaved(names, rounds, measure, label):
    """{name: [result of each round]}, everybody's first place taken in turn."""
    results = {name: [] for name in names}
    for number in range(rounds):
        for step in range(len(names)):
            name = names[(number + step) % len(names)]
            results[name].append(measure(name))
            print(f"  {label}, round {number + 1}/{rounds}: {name}", file=sys.stderr)
    return results


def medians(results):
    return {name: [statistics.median(column) for column in zip(*rows)] for name, rows in results.items()}


def table(title, names, head, rows, cost_column):
    """Markdown; the ratio of the cost is to the best of the others."""
    best = min(rows[name][cost_column] for name in names if name != "floodgate" and rows[name][cost_column] > 0)
    print(f"\n{title}\n\n| server | {' | '.join(head)} | to the best peer |")
    print("| --- |" + " ---: |" * (len(head) + 1))
    for name in names:
        figures = " | ".join(f"{value:,.2f}" if value < 100 else f"{value:,.0f}" for value in rows[name])
        print(f"| {name} | {figures} | {rows[name][cost_column] / best:.2f} |", flush=True)


@contextlib.contextmanager
def fresh_site(binary, folder):
    """Servers that have done nothing yet."""
    with machine.running([]) as processes, tempfile.TemporaryDirectory(dir=folder) as fresh:
        os.chmod(fresh, 0o755)  # a server's worker may be another user
        yield peers.Site(pathlib.Path(fresh), processes, binary)


def measure_regimes(binary, folder, names, regimes):
    results = {title: {name: [] for name in names} for title, *_ in regimes}
    for number in range(ROUNDS):
        with fresh_site(binary, folder) as site:
            for title, path, requests, arguments in regimes:
                for name in names:
                    ask(site, name, path, min(requests, 4000), arguments)  # connections, caches and pages are warm
                for step in range(len(names)):
                    name = names[(number + step) % len(names)]
                    results[title][name].append(ask(site, name, path, requests, arguments))
                    print(f"  {title}, round {number + 1}/{ROUNDS}: {name}", file=sys.stderr)
    for title in results:
        table(title, names, ["requests/s", "CPU us a request", "p99 us", "not 2xx"], medians(results[title]), 1)


def measure_refusals(site):
    """h2o 2.2 has no rate limit; nobody's refusal should cost more than his cached answer."""
    names = [name for name in peers.NAMES if name != "h2o"]
    regimes = {"cached": "/cached/1k", "refused": "/limited/1k"}
    places = [(name, regime) for name in names for regime in regimes]
    arguments = ["-c", "16", "-m", "8"]
    for name, regime in places:
        ask(site, name, regimes[regime], 4000, arguments)
    rows = medians(interleaved(places, ROUNDS, lambda place: ask(site, place[0], regimes[place[1]], REQUESTS, arguments),
                               "refusals"))
    print("\nRefused by a rate limit (429), beside a cached 1 KiB, CPU us a request\n\n| server | cached | refused | to its "
          "cached |\n| --- | ---: | ---: | ---: |")
    for name in names:
        cached, refused = (rows[(name, regime)][1] for regime in regimes)
        print(f"| {name} | {cached:,.2f} | {refused:,.2f} | {refused / cached:.2f} |", flush=True)


def count_system_calls(site, name):
    """System calls a request while 16 x 8 streams ask."""
    report = site.folder / f"{name}.strace"
    pids = [flag for pid in machine.family(site.pid(name)) for flag in ("-p", str(pid))]
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-c", "-o", str(report), *pids], stderr=subprocess.DEVNULL)
    try:
        peers.load(["-n", "2000", "-c", "16", "-m", "8", site.url(name, "/1k")])  # also waits for the tracer
        asked = 10000
        peers.load(["-n", str(asked), "-c", "16", "-m", "8", site.url(name, "/1k")])
    finally:
        tracer.send_signal(2)
        tracer.wait(20)
    total = re.search(r"^100\.00\s+[\d.]+\s+\d+\s+(\d+)", report.read_text(), re.M)
    return int(total[1]) / (asked + 2000)


def shake_hands(site, name, is_resumed):
    """CPU microseconds of the server for one handshake: (cost, handshakes/s)."""
    before = machine.cpu_seconds(site.pid(name))
    done = subprocess.run(machine.pinned(-1, [
        "openssl", "s_time", "-connect", f"127.0.0.1:{site.ports[name]}", "-reuse" if is_resumed else "-new",
        "-tls1_2", "-time", str(HANDSHAKE_SECONDS)]), capture_output=True, text=True, check=False)
    used = machine.cpu_seconds(site.pid(name)) - before
    counts = re.findall(r"^(\d+) connections in [\d.]+ real", done.stdout, re.M) or \
        re.findall(r"^(\d+) connections in (?:\d+) real seconds", done.stdout, re.M)
    if not counts:
        raise SystemExit(f"openssl s_time failed:\n{done.stdout}{done.stderr}")
    count = max(int(counts[-1]), 1)
    return used * 1e6 / count, count / HANDSHAKE_SECONDS


H2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
H2_SETTINGS_ACK = bytes.fromhex("000000040100000000")


def h2_get(path, authority):
    """A HEADERS frame for stream 1 that ends it: GET, https, path and authority as literals without an index."""
    block = b"\x82\x87" + b"".join(bytes([index, len(text)]) + text.encode() for index, text in ((4, path), (1, authority)))
    return len(block).to_bytes(3, "big") + b"\x01\x05" + (1).to_bytes(4, "big") + block


def idle_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def open_idle(context, port, path):
    """An HTTP/2 connection that has said hello, heard the server's settings and, with a path, got an answer."""
    connection = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10))
    connection.sendall(H2_HELLO)
    connection.recv(65536)
    connection.sendall(H2_SETTINGS_ACK + (h2_get(path, f"127.0.0.1:{port}") if path else b""))
    got = 0
    while path and got < 1024:
        got += len(connection.recv(65536))
    return connection


def weigh_idle(site, name, path):
    """KiB of server memory for each HTTP/2 connection that has been idle for a while."""
    context, port = idle_context(), site.ports[name]
    for connection in [open_idle(context, port, path) for _ in range(50)]:
        connection.close()
    before = machine.memory_bytes(site.pid(name))
    held = [open_idle(context, port, path) for _ in range(CONNECTIONS)]
    time.sleep(IDLE_SECONDS)
    after = machine.memory_bytes(site.pid(name))
    for connection in held:
        connection.close()
    return (after - before) / CONNECTIONS / 1024


def measure_idle(binary, folder, names):
    """By servers that have done nothing else: what earlier loads left in a heap would hide some of it."""
    for title, path in (("that has asked nothing", None), ("after one request", "/1k")):
        with fresh_site(binary, folder) as site:
            table(f"Memory of an idle HTTP/2 connection {title} ({CONNECTIONS} open)", names, ["KiB"],
                  {name: [weigh_idle(site, name, path)] for name in names}, 0)


def measure_connections(site, names):
    for title, is_resumed in (("Full TLS 1.2 handshakes", False), ("Resumed TLS 1.2 handshakes", True)):
        rows = medians(interleaved(names, ROUNDS, lambda name, r=is_resumed: shake_hands(site, name, r), title))
        table(title, names, ["CPU us a handshake", "handshakes/s"], rows, 0)
    table("System calls a proxied request (16 x 8 streams)", names, ["system calls"],
          {name: [count_system_calls(site, name)] for name in names}, 0)


def run(kind, folder):
    binary = machine.prepare("FG_PACKAGES_BENCH")
    machine.describe(peers.versions(binary))
    print(f"load: h2load, {ROUNDS} interleaved rounds, medians; one worker thread for each server, all on one core, "
          "the load and the upstream on the other; servers started anew for each round of requests")
    measure_regimes(binary, folder, peers.NAMES, REGIMES[kind])
    with fresh_site(binary, folder) as site:
        if kind == "proxy":
            measure_connections(site, peers.NAMES)
        else:
            measure_refusals(site)
    if kind == "proxy":
        measure_idle(binary, folder, peers.NAMES)
