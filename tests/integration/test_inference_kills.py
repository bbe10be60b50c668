"""Workers that are killed or stopped under load, drained or exchanged: no stream is cut, and each says what it says undisturbed."""
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import time

import pytest

import harness
from harness import DEMO_MODEL, living_workers, send_signal, server_sent_events, wait_for, workers

STREAMS = 32
KILLS = 20
PROMPTS = ["what is on offer?", "how do I get a free card?", "Tell me a story", "我的订单到哪了", "order a milk tea"]


def pool(**inference):
    return {
        "inference": {"enabled": True, "model": str(DEMO_MODEL), "workers": 3, "threads_per_worker": 1,
                      "kv_memory": "16MiB", "sequences_max": 160, "batch_max": 12, "waiting_max": 64,
                      "wait_max": "25m", "breaker": {"enabled": False},
                      "concurrency": {"limit": 64}, **inference},
        "routes": [{"name": "llm", "match": {"prefix": "/v1/"}, "to": "inference", "timeout": "30m"}],  # however busy it is
        "limits": {"drain_timeout": "10m"},
    }


def body_of(index, tokens=120):
    body = {"prompt": PROMPTS[index % len(PROMPTS)], "max_tokens": tokens, "ignore_eos": True, "stream": True,
            "stream_options": {"include_usage": True}}
    if index % 2 == 0:
        return {**body, "temperature": 0}
    return {**body, "temperature": 1.2, "top_p": 0.95, "seed": index % 6}


class Crowd:
    """Many streams at once; counts what they have got so far."""

    def __init__(self, gateway, count, tokens=120, http2=True):
        self.gateway, self.count, self.tokens, self.http2 = gateway, count, tokens, http2
        self.events = 0
        self.begun = 0  # answers whose head is there
        self.open = count

    async def one(self, client, index):
        text, reason, usage = "", None, None
        try:
            async with client.stream("POST", "/v1/completions", json=body_of(index, self.tokens)) as answer:
                assert answer.status_code == 200, await answer.aread()
                self.begun += 1
                lines = []
                async for line in answer.aiter_lines():
                    lines.append(line.rstrip("\r\n"))
                    self.events += line.startswith("data:")
        finally:
            self.open -= 1
        data = [data for _, data in server_sent_events(lines + [""])]
        assert data[-1] == "[DONE]", f"stream {index} was cut"
        for event in map(json.loads, data[:-1]):
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                text += choice["text"]
                reason = choice["finish_reason"] or reason
        return text, reason, usage["completion_tokens"]

    async def run(self, disturb=None):
        async with self.gateway.async_client(http2=self.http2, timeout=900) as client:
            streams = asyncio.gather(*(self.one(client, index) for index in range(self.count)))
            if disturb is not None:
                await disturb(self)
            return await streams


DISTINCT = 30  # five prompts, six seeds, greedy or not
said_undisturbed = {}  # by the number of tokens and the type of the keys and values: the same of every pool


def undisturbed(gateway, tokens=120):
    """What each of the distinct requests says when nothing happens; the crowd repeats them."""
    key = tokens, gateway.sections["inference"].get("kv_type")
    if key not in said_undisturbed:
        said_undisturbed[key] = asyncio.run(Crowd(gateway, DISTINCT, tokens).run())
    return [said_undisturbed[key][index % DISTINCT] for index in range(STREAMS)]


async def until(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.01)


async def kill_at_random(crowd):
    rng = random.Random(20260206)
    for number in range(KILLS):
        # Some progress between two deaths, else it is one long outage.
        seen = crowd.events
        await until(lambda: crowd.events > seen + rng.randrange(5, 60) or crowd.open == 0)
        if crowd.open == 0:
            return
        alive = [one for one in await asyncio.to_thread(workers, crowd.gateway) if one["pid"] > 0]
        busy = [one for one in alive if one.get("running", 0) > 0] or alive
        if busy:
            try:
                send_signal(rng.choice(busy)["pid"], signal.SIGSTOP if number % 4 == 3 else signal.SIGKILL)
            except ProcessLookupError:
                pass


def assert_all_free(gateway):
    kv = gateway.wait_stats(lambda stats: stats["inference"]["kv"]["blocks_used"] == 0 and stats)["inference"]["kv"]
    assert kv["blocks_free"] + kv["blocks_cached"] == kv["blocks_total"] and kv["sequences"] == 0


@pytest.mark.races
def test_32_streams_outlive_20_deaths(launch):
    gateway = launch(pool())
    want = undisturbed(gateway)
    before = gateway.stats()["inference"]["kv"]["adopted"]
    got = asyncio.run(Crowd(gateway, STREAMS).run(kill_at_random))
    for index in range(STREAMS):
        assert got[index] == want[index], f"stream {index} is another"
    stats = gateway.stats()["inference"]
    assert stats["kv"]["adopted"] > before, "no sequence was taken over by another worker"
    assert stats["requests"]["failed"] == 0 and stats["requests"]["refused"]["fatal"] == 0
    assert_all_free(gateway)


def test_what_a_worker_crashed_with_is_computed_alone_for_a_step(launch):
    gateway = launch(pool(workers=2))
    want = undisturbed(gateway, tokens=60)

    async def crash(crowd):
        """A worker that dies by itself, in a step: between two it has nobody to blame."""
        while crowd.open > 0 and gateway.stats()["inference"]["kv"]["suspects"] == 0:
            busy = [one["pid"] for one in await asyncio.to_thread(workers, gateway) if one["pid"] > 0 and one.get("running", 0) > 1]
            if busy:
                with contextlib.suppress(ProcessLookupError):  # the last signal's work
                    send_signal(busy[0], signal.SIGABRT)
                await until(lambda: not harness.is_alive(busy[0]))
            await asyncio.sleep(0.01)
    for _ in range(8):
        assert asyncio.run(Crowd(gateway, STREAMS, tokens=60).run(crash)) == want
        stats = gateway.stats()["inference"]
        if stats["kv"]["suspects"] > 0:
            break
    assert stats["kv"]["suspects"] > 0, "no worker crashed in a step"
    assert stats["requests"]["failed"] == 0 and stats["requests"]["refused"]["fatal"] == 0
    assert_all_free(gateway)


@pytest.mark.races
def test_choices_side_by_side_outlive_deaths(launch):
    """Each choice is a stream of its own when its worker dies, and says the same as without deaths."""
    gateway = launch(pool())
    body = {"prompt": PROMPTS[2], "max_tokens": 150, "ignore_eos": True, "temperature": 1.2, "seed": 5, "n": 6,
            "stream": True}

    async def ask(disturb):
        texts, events = [""] * body["n"], 0
        async with gateway.async_client(http2=False, timeout=900) as client:
            async with client.stream("POST", "/v1/completions", json=body) as answer:
                assert answer.status_code == 200, await answer.aread()
                async for line in answer.aiter_lines():
                    if not line.startswith("data: {"):
                        continue
                    events += 1
                    for choice in json.loads(line[6:])["choices"]:
                        texts[choice["index"]] += choice["text"]
                    if disturb and events in (30, 200, 500):
                        for one in await asyncio.to_thread(workers, gateway):
                            if one["pid"] > 0 and one.get("running", 0) > 0:
                                send_signal(one["pid"], signal.SIGKILL)
                                break
        return texts
    want = asyncio.run(ask(False))
    assert len(set(want)) == body["n"]
    assert asyncio.run(ask(True)) == want
    stats = gateway.stats()["inference"]
    assert stats["kv"]["adopted"] > 0 and stats["requests"]["failed"] == 0
    assert_all_free(gateway)


def test_a_reload_exchanges_workers_and_cuts_no_stream(launch):
    gateway = launch(pool(workers=2))
    want = undisturbed(gateway)
    before = {one["worker"]: one["pid"] for one in living_workers(gateway)}

    async def reload(crowd):
        await until(lambda: crowd.begun == STREAMS)  # a draining gateway takes no new request
        gateway.signal(signal.SIGHUP)
    # HTTP/1.1: the client's HTTP/2 library takes the draining gateway's GOAWAY for the end.
    got = asyncio.run(Crowd(gateway, STREAMS, http2=False).run(reload))
    assert got == want
    gateway.wait_stats(lambda stats: all(
        one["pid"] not in (0, before[one["worker"]]) for one in stats["inference"]["workers"]))
    exits = [line for line in gateway.log.splitlines() if "role=worker" in line and "child_exited" in line]
    assert len(exits) == 2 and all("code=0" in line for line in exits), exits


@pytest.mark.parametrize("roles, kv_type", [({"prefill_workers": 1, "decode_workers": 1}, "q8_0"),
                                            ({"prefill_workers": 2}, "f16")], ids=["one of each", "prefill only"])
def test_prefill_and_decode_workers(launch, roles, kv_type):
    plain = launch(pool(workers=2, kv_type=kv_type))
    want = undisturbed(plain, tokens=40)
    blocks = plain.stats()["inference"]["kv"]["blocks_total"]
    assert (blocks > 1.8 * launch(pool()).stats()["inference"]["kv"]["blocks_total"]) == (kv_type == "q8_0")
    gateway = launch(pool(workers=2, kv_type=kv_type, **roles))
    living_workers(gateway)  # alone either of them would do all of it
    got = asyncio.run(Crowd(gateway, STREAMS, tokens=40).run())
    assert got == want
    stats = gateway.stats()["inference"]
    assert stats["requests"]["moved"] >= STREAMS // 2 and stats["requests"]["failed"] == 0
    assert stats["kv"]["adopted"] == stats["requests"]["moved"]
    first, second = stats["workers"]
    if "decode_workers" in roles:
        assert first["tokens_decode"] == 0 and second["tokens_prefill"] == 0
    assert_all_free(gateway)


def program_of(pid):
    return os.readlink(f"/proc/{pid}/exe")


def test_a_new_program_takes_over_worker_by_worker(launch, monkeypatch, tmp_path):
    program = tmp_path / "floodgate"
    shutil.copy2(harness.BINARY, program)
    monkeypatch.setattr(harness, "BINARY", program)
    gateway = launch(pool(workers=2))
    want = undisturbed(gateway)
    before = {one["worker"]: one["pid"] for one in living_workers(gateway)}

    def replace(content):
        new = tmp_path / "new"
        content(new)
        os.replace(new, program)

    async def upgrade(crowd):
        await until(lambda: crowd.begun == STREAMS)  # a draining gateway takes no new request
        await asyncio.to_thread(replace, lambda new: shutil.copy2(program, new))
        gateway.signal(signal.SIGHUP)
    got = asyncio.run(Crowd(gateway, STREAMS, http2=False).run(upgrade))
    assert got == want
    now = gateway.wait_stats(lambda stats: all(
        one["pid"] not in (0, before[one["worker"]]) for one in stats["inference"]["workers"]) and stats)
    assert {program_of(one["pid"]) for one in now["inference"]["workers"]} == {str(program)}
    assert program_of(gateway.process.pid) != str(program)  # the supervisor is the old one

    # A file that is no program, or one that cannot use the arena: workers stay what they are.
    def broken(new):
        new.write_text("#!/bin/sh\nexit 2\n")
        new.chmod(0o755)
    replace(broken)
    gateway.signal(signal.SIGHUP)
    wait_for(lambda: "worker_program_refused" in gateway.log, 60)
    gateway.wait_stats(lambda stats: all(one["pid"] > 0 and one["connections"] > 0
                                         for one in stats["inference"]["workers"]), 60)
    assert asyncio.run(Crowd(gateway, 8).run()) == want[:8]
