"""
Many times the load that the inference pool can bear, for a minute, against the whole program.

  flood       what the pool can do is measured first, with as many clients as it serves at once; then requests
              come at 20 times that rate, whether or not anybody is served; each has a prompt of its own behind a
              system prompt that all share, and a deadline

What it must show: no request that was let in is cut or late, the rest is refused at once, memory does not grow,
and little of the KV blocks is allocated and unused. How fast a refusal is, a process of its own asks, PROBES times a
second: the generator, which shares the machine, sees its own turns. The processors' time before and in the flood
tells whether a token got dearer or only rarer. Environment: FG_BENCH_MODEL (a model of Qwen2.5-0.5B's
shape in Q8_0), FG_BENCH_TOKENS (32) an answer, FG_BENCH_DEADLINE_MS (30000), FG_BENCH_SECONDS (60),
FG_BENCH_TIMES (20), FG_BENCH_BATCH (8) sequences at once in each of two workers, FG_BENCH_KV (64MiB).
"""
import asyncio
import collections
import http.client
import json
import multiprocessing
import os
import pathlib
import subprocess
import time

from . import inference, machine, peers, streams

TOKENS = peers.environment("FG_BENCH_TOKENS", 32)
DEADLINE_MS = peers.environment("FG_BENCH_DEADLINE_MS", 30000)
SECONDS = peers.environment("FG_BENCH_SECONDS", 60)
TIMES = peers.environment("FG_BENCH_TIMES", 20)
BATCH = peers.environment("FG_BENCH_BATCH", 8)
KV = os.environ.get("FG_BENCH_KV", "64MiB")
WORKERS = 2
CAPACITY_SECONDS = 15
PROBES = 25
SYSTEM = "You work at the help desk of a milk tea promotion. " + " ".join(streams.RULES[:5])

Answer = collections.namedtuple("Answer", "outcome began first ended")


def config(folder, model, port, admin):
    return {
        "listeners": [{"name": "bench", "address": f"127.0.0.1:{port}", "kind": "plain"}],
        "admin": {"address": f"127.0.0.1:{admin}"},
        "limits": {"threads": 1},
        "policies": {"overload": {"loop_lag_max": "20s"}},
        "inference": {"enabled": True, "model": str(model), "model_name": "bench", "workers": WORKERS,
                      "threads_per_worker": 1, "kv_memory": KV, "batch_max": BATCH, "waiting_max": BATCH,
                      "wait_max": "10s", "socket_directory": str(folder / "sockets"),
                      "concurrency": {"limit": 2 * WORKERS * BATCH}, "queue": {"requests_max": 4 * BATCH}},
        "routes": [{"name": "llm", "match": {"prefix": "/v1/"}, "to": "inference",
                    "timeout": f"{DEADLINE_MS}ms"}],
    }


async def read_answer(reader, began):
    """Outcome and the time of the first token."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    if status != 200:
        await reader.read()
        return str(status), None
    first, tokens, is_whole = None, 0, False
    async for line in reader:
        if line.startswith(b'data: {"') and b'"text":"' in line:
            first = first or time.perf_counter()
        if b'"completion_tokens":' in line:
            tokens = int(line.split(b'"completion_tokens":')[1].split(b",")[0])
        is_whole = is_whole or b"[DONE]" in line
    return "done" if is_whole and tokens == TOKENS else "cut", first


def body_of(number):
    return json.dumps({"model": "bench", "stream": True, "temperature": 0, "max_tokens": TOKENS, "ignore_eos": True,
                       "stream_options": {"include_usage": True},
                       "prompt": f"{SYSTEM}\nCustomer {number} asks: where is order {7 * number}?"})


async def ask(port, number):
    body = body_of(number)
    began = time.perf_counter()
    writer = None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST /v1/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
                     f"content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode())
        outcome, first = await read_answer(reader, began)
    except (OSError, asyncio.IncompleteReadError) as error:
        outcome, first = type(error).__name__, None
    finally:
        if writer is not None:
            writer.close()
    return Answer(outcome, began, first, time.perf_counter())


async def capacity(port):
    """Requests a second, with as many clients as there are places."""
    ends, done = time.perf_counter() + CAPACITY_SECONDS, []

    async def client(index):
        number = index
        while time.perf_counter() < ends:
            done.append(await ask(port, 1000000 + number))
            number += WORKERS * BATCH
    began = time.perf_counter()
    await asyncio.gather(*(client(index) for index in range(WORKERS * BATCH)))
    return sum(one.outcome == "done" for one in done) / (time.perf_counter() - began)


async def offer(port, rate):
    """`rate` requests a second for SECONDS, on time whatever becomes of those before."""
    began, asked = time.perf_counter(), []
    for number in range(int(rate * SECONDS)):
        pause = began + number / rate - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        elif number % 32 == 0:
            await asyncio.sleep(0)
        asked.append(asyncio.create_task(ask(port, number)))
    offered = len(asked) / (time.perf_counter() - began)
    return offered, await asyncio.gather(*asked)


def probe(port, is_over, results):
    """Asks one after the other, on time, until `is_over`; sends the seconds of those that were refused."""
    refused, number = [], 0
    began = time.perf_counter()
    while not is_over.wait(max(0, began + number / PROBES - time.perf_counter())):
        number += 1
        asked = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("POST", "/v1/completions", body_of(2000000 + number), {"content-type": "application/json"})
            answer = connection.getresponse()
            if answer.status != 200:
                answer.read()
                refused.append(time.perf_counter() - asked)
        finally:
            connection.close()  # one that was let in is cancelled: it is of no use here
    results.send(refused)


def spent(pid, admin):
    """Processor time of workers and of the rest, the generator's, and the tokens and seconds so far."""
    workers = streams.stats(admin)["workers"]
    in_workers = sum(machine.cpu_seconds(worker["pid"]) for worker in workers)
    return {"workers": in_workers, "gateway": machine.cpu_seconds(pid) - in_workers, "generator": time.process_time(),
            "tokens": sum(worker["tokens_decode"] + worker["tokens_prefill"] for worker in workers),
            "wall": time.perf_counter()}


def since(before, after):
    used = {name: after[name] - before[name] for name in before}
    shares = {name: used[name] / used["wall"] for name in ("workers", "gateway", "generator")}
    return {**shares, "us_a_token": 1e6 * used["workers"] / used["tokens"]}


async def sample(pid, admin, samples):
    """Memory of all processes, and the blocks' slots, until cancelled."""
    while True:
        kv = (await asyncio.to_thread(streams.stats, admin))["kv"]
        samples.append((machine.memory_bytes(pid), kv["slots_held"], kv["slots_wasted"]))
        await asyncio.sleep(0.5)


async def measure(pid, port, admin):
    samples = []
    await capacity(port)  # until everything has its size
    calm = spent(pid, admin)
    able = await capacity(port)
    before = spent(pid, admin)
    sampler = asyncio.create_task(sample(pid, admin, samples))
    is_over = multiprocessing.Event()
    receiver, sender = multiprocessing.Pipe(duplex=False)
    prober = multiprocessing.Process(target=probe, args=(port, is_over, sender))
    prober.start()
    try:
        offered, answers = await offer(port, able * TIMES)
    finally:
        is_over.set()
        probed = await asyncio.to_thread(receiver.recv)
        prober.join()
        sampler.cancel()
    return able, offered, answers, samples, probed, (since(calm, before), since(before, spent(pid, admin)))


def report(able, offered, answers, samples, probed, costs):
    count = collections.Counter(one.outcome for one in answers)
    done = [one for one in answers if one.outcome == "done"]
    first = [one.first - one.began for one in done if one.first]
    whole = [one.ended - one.began for one in done]
    refused = [one.ended - one.began for one in answers if one.outcome in ("429", "503")]
    held = [(wasted / slots, slots) for _, slots, wasted in samples if slots > 0]
    memory = [one[0] / 1048576 for one in samples]
    fifth = max(1, len(memory) // 5)
    fifths = [sum(memory[at:at + fifth]) / fifth for at in range(0, 5 * fifth, fifth)]
    wall = max(one.ended for one in answers) - min(one.began for one in answers)
    print(f"\ncapacity {able:.2f} requests/s; offered {offered:.1f}/s for {SECONDS} s ({offered / able:.1f} times); "
          f"{TOKENS} tokens an answer, deadline {DEADLINE_MS / 1000:.0f} s\n")
    print("| | |\n| --- | ---: |")
    print(f"| offered | {len(answers)} |")
    for outcome, number in sorted(count.items()):
        print(f"| {outcome} | {number} |")
    print(f"| done a second, of what it can do | {len(done) / wall / able:.0%} |")
    print(f"| first token p50, p99, longest, s | {streams.quantile(first, .5):.2f}, {streams.quantile(first, .99):.2f}, "
          f"{max(first):.2f} |")
    print(f"| whole answer p99, longest, s | {streams.quantile(whole, .99):.2f}, {max(whole):.2f} |")
    if refused:
        print(f"| a refusal as the generator sees it p50, p99, ms | {1e3 * streams.quantile(refused, .5):.1f}, "
              f"{1e3 * streams.quantile(refused, .99):.1f} |")
    if probed:
        print(f"| a refusal as another client sees it p50, p99, longest, ms (of {len(probed)}) | "
              f"{1e3 * streams.quantile(probed, .5):.1f}, {1e3 * streams.quantile(probed, .99):.1f}, "
              f"{1e3 * max(probed):.1f} |")
    for name, cost in zip(("before the flood", "in it"), costs):
        print(f"| processors {name}: workers, gateway, generator; us a token | {cost['workers']:.2f}, "
              f"{cost['gateway']:.2f}, {cost['generator']:.2f}; {cost['us_a_token']:.0f} |")
    print(f"| memory in each fifth of the time, MiB | {', '.join(f'{one:.0f}' for one in fifths)} |")
    print(f"| KV slots held without a token, over the time | "
          f"{sum(share * slots for share, slots in held) / sum(slots for _, slots in held):.2%} |")


def run(_kind, folder):
    binary = machine.prepare("FG_PACKAGES_BENCH_INFERENCE")
    model = os.environ.get("FG_BENCH_MODEL") or inference.model_of("Q8_0")
    machine.describe([[binary, "--version"]])
    port, admin = machine.free_port(), machine.free_port()
    path = pathlib.Path(folder) / "floodgate.yaml"
    path.write_text(json.dumps(config(pathlib.Path(folder), pathlib.Path(model).resolve(), port, admin)))
    with machine.running([]) as processes:
        processes.append(subprocess.Popen([binary, "serve", "-c", str(path)], stderr=subprocess.DEVNULL))
        streams.wait_ready(processes[0], admin)
        report(*asyncio.run(measure(processes[0].pid, port, admin)))
        pool = streams.stats(admin)
    print(f"| preemptions | {sum(worker['preemptions'] for worker in pool['workers'])} |")
    print(f"| prompt tokens found in the cache | "
          f"{sum(w['tokens_cached'] for w in pool['workers']) / sum(w['tokens_prompt'] for w in pool['workers']):.0%} |")
