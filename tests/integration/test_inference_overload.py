"""Far more work than the inference pool can do: what is let in is done, what is not is told at once when to come back."""
import asyncio
import collections
import json
import pathlib

from harness import DEMO_MODEL, run_binary, server_sent_events, wait_for

REQUESTS = 200
TOKENS = 100


def pool():
    return {
        "inference": {"enabled": True, "model": str(DEMO_MODEL), "workers": 2, "threads_per_worker": 1,
                      "kv_memory": "2MiB", "batch_max": 6, "waiting_max": 6, "wait_max": "20s",
                      "queue": {"requests_max": 12}},
        "routes": [{"name": "llm", "match": {"prefix": "/v1/"}, "to": "inference", "timeout": "10m"}],
    }


def resident_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


async def ask(client, number, tokens=TOKENS):
    """("done", tokens) or ("refused", code); anything else is a fault."""
    body = {"prompt": f"Customer {number} asks what is on offer", "max_tokens": tokens, "temperature": 0,
            "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
    async with client.stream("POST", "/v1/completions", json=body) as answer:
        if answer.status_code != 200:
            error = json.loads(await answer.aread())["error"]
            assert answer.status_code in (429, 503), error
            assert int(answer.headers["retry-after"]) >= 1 and error["retry_after_ms"] > 0, error
            assert error["policy"] and error["limit"] > 0 and "value" in error, error
            return "refused", error["code"]
        lines = [line.rstrip("\r\n") async for line in answer.aiter_lines()]
    data = [data for _, data in server_sent_events(lines + [""])]
    assert data[-1] == "[DONE]", "an admitted stream was cut"
    return "done", json.loads(data[-2])["usage"]["completion_tokens"]


async def flood(gateway, count=REQUESTS, tokens=TOKENS):
    # HTTP/1.1: the client's HTTP/2 library takes an answer before the end of its request badly.
    async with gateway.async_client(http2=False, timeout=120) as client:
        return await asyncio.gather(*(ask(client, number, tokens) for number in range(count)))


def test_many_times_the_load_it_can_bear(launch):
    gateway = launch(pool(), env={"ASAN_OPTIONS": "detect_leaks=1:exitcode=99:quarantine_size_mb=1"})
    asyncio.run(flood(gateway))  # everything has its size by now
    workers = [worker["pid"] for worker in gateway.stats()["inference"]["workers"]]
    before = [resident_kib(pid) for pid in workers]
    outcomes = asyncio.run(flood(gateway))
    done = [tokens for kind, tokens in outcomes if kind == "done"]
    assert len(done) >= 6 and set(done) == {TOKENS}, collections.Counter(outcomes)
    assert len(done) < len(outcomes) / 2, "that was not too much"
    assert gateway.stats()["inference"]["requests"]["failed"] == 0
    kv = gateway.wait_stats(lambda stats: stats["inference"]["kv"]["blocks_used"] == 0 and stats)["inference"]["kv"]
    assert kv["sequences"] == 0 and kv["blocks_free"] + kv["blocks_cached"] == kv["blocks_total"]
    assert [worker["pid"] for worker in gateway.stats()["inference"]["workers"]] == workers, "a worker died"
    for pid, was in zip(workers, before):
        assert resident_kib(pid) < was + 32 * 1024, "a worker's memory grew"


def test_nobody_waits_for_a_refusal(launch):
    """Who stands in line gets a place; for whom the line would be too long hears it when it comes."""
    config = pool()
    config["inference"].update(workers=1, batch_max=1, waiting_max=1, concurrency={"limit": 2},
                               # A worker that gets less of a core than before keeps people waiting; that is not meant.
                               queue={"requests_max": 1000, "target": "2s", "interval": "10m", "wait_max": "10m"},
                               wait_max="10m")
    gateway = launch(config)

    async def crowd(count, at_once):
        gate = asyncio.Semaphore(at_once)
        async with gateway.async_client(http2=False, timeout=600) as client:
            async def one(number):
                async with gate:
                    return await ask(client, number)
            return await asyncio.gather(*(one(number) for number in range(count)))

    calm = asyncio.run(crowd(17, 2))  # how long a place is held is known
    assert collections.Counter(calm) == {("done", TOKENS): 17}
    was = gateway.stats()["policies"]["backends"]["inference"]["queue"]
    outcomes = asyncio.run(crowd(80, 80))
    now = gateway.stats()["policies"]["backends"]["inference"]["queue"]
    done = sum(kind == "done" for kind, _ in outcomes)
    shed, queued = (now[name] - was[name] for name in ("shed_total", "queued_total"))
    assert shed > 0 and done < 80, (done, shed, queued)
    assert queued <= done - 2, "somebody was refused after a wait"  # two had places at once


def test_deadlines_are_met_or_refused(launch):
    """A request whose deadline cannot be met is told so before it costs anything."""
    gateway = launch(pool())
    asyncio.run(flood(gateway, 30, 30))  # steps have been measured

    async def hurried():
        async with gateway.async_client(http2=False, timeout=120,
                                        headers={"x-request-timeout-ms": "20"}) as client:
            answers = await asyncio.gather(*(client.post("/v1/completions", json={
                "prompt": "Customer asks", "max_tokens": 400, "ignore_eos": True}) for _ in range(8)))
        return answers
    for answer in asyncio.run(hurried()):
        assert answer.status_code in (429, 503, 504), answer.text
        error = answer.json()["error"]
        assert error["policy"] and "value" in error and "limit" in error, error
        if error["code"] in ("cannot_meet_deadline", "deadline_exceeded"):
            assert error["value"] >= error["limit"], error
    wait_for(lambda: gateway.stats()["inference"]["kv"]["blocks_used"] == 0)
    refused = gateway.stats()["inference"]["requests"]["refused"]
    assert refused["late"] + refused["deadline"] > 0
    assert gateway.stats()["inference"]["prediction"]["count"] > 0


def test_the_arena_can_be_looked_at(launch):
    gateway = launch(pool())
    asyncio.run(flood(gateway, 30, 30))
    page = run_binary("kv", "-c", gateway.config)
    assert page.returncode == 0, page.stderr
    total = gateway.stats()["inference"]["kv"]["blocks_total"]
    assert "KV blocks of demo" in page.stdout and f"{total}" in page.stdout
    assert page.stdout.count("\n") >= 10
    gateway.stop()
    gone = run_binary("kv", "-c", gateway.config)
    assert gone.returncode == 1 and "is the gateway running" in gone.stderr
