"""
Light beside heavy on the same cores: what orders and looks at an account take while the model is idle, and
while streaming clients keep every worker thread busy.

  neighbours  40 orders/s and 360 looks/s, open loop, in turn with the model idle and with 16 streams on it; a
              model of Qwen2.5-0.5B's shape in Q8_0, as many worker threads as the machine has cores; the client
              goes before all others where it may (SCHED_FIFO): its own waits for a core are not the gateway's; all
              rounds' answers are one sample, of which p99 is taken (2,400 orders of each kind: their p99 is the 24th)

Environment: FG_BENCH_ROUNDS (6), FG_BENCH_SECONDS (10) of each measurement, FG_BENCH_CLIENTS (16) that stream,
FG_BENCH_THREADS (2), FG_BENCH_TYPES (the first one of them), FG_BENCH_DURABILITY (aof).
"""
import asyncio
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import urllib.request

from . import inference, machine, overload, peers, streams

ROUNDS = peers.environment("FG_BENCH_ROUNDS", 6)
SECONDS = peers.environment("FG_BENCH_SECONDS", 10)
RATES = {"order": ("POST:/api/orders", 40), "look": ("/api/me", 360)}
CONNECTIONS = 16
CUSTOMERS = 1000


def config(folder, model, port, admin):
    settings = streams.config(folder, model, port, admin)
    settings["identity"] = {"jwt": {"secret_file": f"{folder}/jwt.key"}, "sessions_per_ip": "100000/m"}
    settings["orders"] = {"redis": {"embedded": True, "directory": f"{folder}/redis"}, "campaign": "bench",
                          "skus": {"milk-tea": {"stock": 1000000}},
                          "durability": os.environ.get("FG_BENCH_DURABILITY", "aof")}
    settings["routes"] += [
        {"name": "session", "match": {"path": "/api/session"}, "session": True},
        {"name": "orders", "match": {"prefix": "/api/"}, "to": "orders", "identity": "required", "priority": "critical"}]
    return settings


async def talk(port, number):
    """Asks for stream after stream until it is cancelled."""
    while True:
        await streams.ask(port, number)
        number += streams.CLIENTS


def register(port, path):
    """Makes the customers; their tokens into a file."""
    with open(path, "w", encoding="ascii") as file:
        for number in range(CUSTOMERS):
            request = urllib.request.Request(f"http://127.0.0.1:{port}/api/session", method="POST",
                                             data=f'{{"device_id":"bench-{number}"}}'.encode(),
                                             headers={"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=10) as answer:
                file.write(json.load(answer)["token"] + "\n")


def before_all_others():
    """A customer is not on this machine: what the client itself waits for a core is not counted as an answer's time."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


async def load(folder, port, seed):
    """Open-loop arrivals for a while; {kind: results}."""
    kinds = [f"{name}={path}@{rate}" for name, (path, rate) in RATES.items()]
    process = await asyncio.create_subprocess_exec(
        str(folder / "open_load"), str(port), str(SECONDS), "2000", str(CONNECTIONS), str(seed), *kinds,
        stdout=subprocess.PIPE, preexec_fn=before_all_others,
        env={**os.environ, "OPEN_LOAD_EACH": "1", "OPEN_LOAD_TOKENS": str(folder / "tokens"),
             "OPEN_LOAD_BODY": '{"sku":"milk-tea","quantity":1}'})
    out, _ = await process.communicate()
    results = {result["kind"]: result for result in map(json.loads, out.splitlines())}
    for name, result in results.items():
        if result["good"] != result["offered"]:
            print(f"  {name}: only {result['good']} of {result['offered']} were answered well", file=sys.stderr)
    return results


async def measure(folder, port, seed):
    """The results with the model idle, then with every stream running."""
    idle = await load(folder, port, seed)
    talkers = [asyncio.create_task(talk(port, number)) for number in range(streams.CLIENTS)]
    await asyncio.sleep(3)  # until the prompts are read and all streams decode
    busy = await load(folder, port, seed)
    if any(talker.done() for talker in talkers):
        raise SystemExit(f"a stream ended: {[talker.exception() for talker in talkers if talker.done()][0]}")
    for talker in talkers:
        talker.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*talkers)
    await asyncio.sleep(1)  # the pool drops them within a step
    return idle, busy


def show_round(number, results):
    for which, kinds in zip(("idle", "saturated"), results):
        figures = ", ".join(f"{name} p50 {kind['p50_ms']:.2f} p99 {kind['p99_ms']:.2f}" for name, kind in kinds.items())
        print(f"  round {number}/{ROUNDS}, {which}: {figures}", file=sys.stderr)


def pooled(rounds, which, name):
    """p50 and p99 of all rounds' answers together."""
    every = sorted(latency for one in rounds for latency in one[which][name]["good_ms"])
    return every[len(every) // 2], every[len(every) * 99 // 100]


def run(_kind, folder):
    folder = pathlib.Path(folder)
    binary = machine.prepare("FG_PACKAGES_RUN", "FG_PACKAGES_BENCH_INFERENCE")
    overload.build_tools(folder)
    model = inference.model_of(os.environ.get("FG_BENCH_TYPES", "Q8_0").split()[0])
    machine.describe([[binary, "--version"], ["redis-server", "--version"]])
    port, admin = machine.free_port(), machine.free_port()
    (folder / "floodgate.yaml").write_text(json.dumps(config(folder, model, port, admin)))
    rounds = []
    with machine.running([]) as processes:
        processes.append(machine.start(processes, folder, "floodgate",
                                       [binary, "serve", "-c", str(folder / "floodgate.yaml")]))
        streams.wait_ready(processes[0], admin)
        register(port, folder / "tokens")
        for seed in range(1, ROUNDS + 1):
            rounds.append(asyncio.run(measure(folder, port, seed)))
            show_round(seed, rounds[-1])
    print(f"\n{ROUNDS} rounds of {SECONDS} s, together; {inference.THREADS} worker threads, {streams.CLIENTS} streams\n")
    print("| requests | model idle: p50 ms | p99 ms | saturated: p50 ms | p99 ms | p99 ratio |")
    print("| --- |" + " ---: |" * 5)
    for name in RATES:
        (idle50, idle99), (busy50, busy99) = pooled(rounds, 0, name), pooled(rounds, 1, name)
        print(f"| {name} | {idle50:.2f} | {idle99:.2f} | {busy50:.2f} | {busy99:.2f} | {busy99 / idle99:.2f} |")
