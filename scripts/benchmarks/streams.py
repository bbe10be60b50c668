"""
Streaming clients of the whole program, on the CPU: how soon the first token comes, how evenly the
others follow, and what of a shared system prompt is computed again.

  streams     16 clients with the same system prompt of some 300 tokens and a question of their own each,
              three times; a model of Qwen2.5-0.5B's shape in Q8_0; all at once at first, then as they are done

Peers that were measured with the same clients compute the shared prompt once for each of them, and stand
still while they read another's prompt. Environment: FG_BENCH_CLIENTS (16), FG_BENCH_REQUESTS (3),
FG_BENCH_TOKENS (32), FG_BENCH_THREADS (2), FG_BENCH_TYPES (the first one of them).
"""
import asyncio
import json
import os
import pathlib
import subprocess
import time
import urllib.request

from . import inference, machine, peers

CLIENTS = peers.environment("FG_BENCH_CLIENTS", 16)
REQUESTS = peers.environment("FG_BENCH_REQUESTS", 3)
TOKENS = peers.environment("FG_BENCH_TOKENS", 32)
RULES = ["Answer in plain words and short sentences.", "A free card is for one cup of milk tea and one person.",
         "Cards can be claimed once a day until the end of the promotion.", "Orders are accepted while there is stock.",
         "A friend who accepts an invite brings one more card.", "Never promise a time of delivery.",
         "If a customer is rude, stay kind and brief.", "If an order is late, say that the shop has been told.",
         "Refunds are made by the shop within three days.", "Never tell one customer what another has ordered."]
SYSTEM = "You work at the help desk of a milk tea promotion. " + " ".join(RULES * 3)


def config(folder, model, port, admin):
    return {
        "listeners": [{"name": "bench", "address": f"127.0.0.1:{port}", "kind": "plain"}],
        "admin": {"address": f"127.0.0.1:{admin}"},
        "limits": {"threads": 1},
        "policies": {"overload": {"loop_lag_max": "20s"}},
        "inference": {"enabled": True, "model": str(model), "model_name": "bench", "workers": 1,
                      "threads_per_worker": inference.THREADS, "kv_memory": "256MiB", "batch_max": CLIENTS,
                      "waiting_max": CLIENTS, "wait_max": "2m", "context_max": 2048,
                      "socket_directory": str(folder / "sockets"), "concurrency": {"limit": CLIENTS},
                      "queue": {"target": "off", "wait_max": "2m"}},
        "routes": [{"name": "llm", "match": {"prefix": "/v1/"}, "to": "inference", "timeout": "10m"}],
    }


async def ask(port, number):
    """When it began, and when each piece of text came."""
    body = json.dumps({"model": "bench", "stream": True, "temperature": 0, "max_tokens": TOKENS, "ignore_eos": True,
                       "messages": [{"role": "system", "content": SYSTEM},
                                    {"role": "user", "content": f"This is customer {number}: where is order {7 * number}?"}]})
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
                 f"content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode())
    status = int((await reader.readline()).split()[1])
    if status != 200:
        raise SystemExit(f"answer {status}: {(await reader.read())[-300:]}")
    times = []
    async for line in reader:
        if line.startswith(b'data: {"') and b'"content":"' in line:
            times.append(time.perf_counter())
    writer.close()
    return began, times


async def crowd(port):
    async def client(index):
        return [await ask(port, index + turn * CLIENTS) for turn in range(REQUESTS)]
    return await asyncio.gather(*(client(index) for index in range(CLIENTS)))


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def row(title, answers):
    first = [times[0] - began for began, times in answers]
    gaps = [1e3 * (b - a) for _, times in answers for a, b in zip(times, times[1:])]
    print(f"| {title} | {quantile(first, .5):.2f} | {quantile(first, .99):.2f} | {quantile(gaps, .5):.0f} | "
          f"{quantile(gaps, .99):.0f} | {max(gaps):.0f} |", flush=True)


def stats(admin):
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/stats", timeout=10) as answer:
        return json.load(answer)["inference"]


def wait_ready(process, admin):
    while True:
        if process.poll() is not None:
            raise SystemExit("floodgate did not start")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=10):
                return
        except OSError:
            time.sleep(0.1)


def run(_kind, folder):
    binary = machine.prepare("FG_PACKAGES_BENCH_INFERENCE")
    type_name = os.environ.get("FG_BENCH_TYPES", "Q8_0").split()[0]
    model = inference.model_of(type_name)
    machine.describe([[binary, "--version"]])
    port, admin = machine.free_port(), machine.free_port()
    path = pathlib.Path(folder) / "floodgate.yaml"
    path.write_text(json.dumps(config(pathlib.Path(folder), model, port, admin)))
    with machine.running([]) as processes:
        processes.append(subprocess.Popen([binary, "serve", "-c", str(path)], stderr=subprocess.DEVNULL))
        wait_ready(processes[0], admin)
        cpu, began = machine.cpu_seconds(processes[0].pid), time.perf_counter()
        answers = asyncio.run(crowd(port))
        wall, cpu = time.perf_counter() - began, machine.cpu_seconds(processes[0].pid) - cpu
        worker = stats(admin)["workers"][0]
    print(f"\n{CLIENTS} clients, {REQUESTS} requests each, {type_name}, {inference.THREADS} threads\n")
    print("| requests | first token p50, s | p99, s | next token p50, ms | p99, ms | longest, ms |")
    print("| --- |" + " ---: |" * 5)
    row("first, all at once", [one[0] for one in answers])
    row("later", [answer for one in answers for answer in one[1:]])
    print(f"\n{worker['tokens_prompt']} prompt tokens, of which {worker['tokens_cached']} were not computed again; "
          f"{CLIENTS * REQUESTS * TOKENS / wall:.0f} tokens/s; {cpu:.1f} CPU seconds in {wall:.1f} s")
