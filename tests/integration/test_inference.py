"""The model behind the gateway: the OpenAI-compatible API, its limits, and workers that are killed."""
import asyncio
import contextlib
import json
import os
import signal
import threading

import httpx
import pytest

from harness import DEMO_MODEL, GOLDEN, living_workers, send_signal, server_sent_events, wait_for, workers

TINY = ["tiny-llama.F32", "tiny-llama.MIXED", "tiny-qwen2.F16", "tiny-qwen3.Q8_0"]
LONG = 480  # tokens; the demo model has a context of 512
STORY = {"messages": [{"role": "user", "content": "Tell me a story"}], "temperature": 0}


def pool(model=DEMO_MODEL, **inference):
    return {
        "inference": {"enabled": True, "model": str(model), "workers": 2, "threads_per_worker": 1,
                      "kv_memory": "8MiB", **inference},
        "routes": [{"name": "llm", "match": {"prefix": "/v1/"}, "to": "inference", "timeout": "2m"}],
    }


@pytest.fixture(scope="module")
def site(launch_module):
    return launch_module(pool())


def complete(gateway, path="/v1/chat/completions", http2=False, **body):
    with gateway.client(http2=http2, timeout=120) as client:
        return client.post(path, json=body)


def events_of(gateway, path="/v1/chat/completions", http2=False, **body):
    with gateway.client(http2=http2, timeout=120) as client:
        with client.stream("POST", path, json={"stream": True, **body}) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            data = [data for _, data in server_sent_events(strip(answer.iter_lines()))]
    assert data[-1] == "[DONE]"
    return [json.loads(one) for one in data[:-1]]


def strip(lines):
    """Older versions of httpx leave the newline on."""
    for line in lines:
        yield line.rstrip("\r\n")


def text_of(events):
    """The text of a stream, and why it ended."""
    text, reason = "", None
    for event in events:
        for choice in event["choices"]:
            text += choice["delta"].get("content", "") if "delta" in choice else choice["text"]
            reason = choice["finish_reason"] or reason
    return text, reason


def golden(name):
    """Prompts whose text is plain and whose answer leaves no room for rounding."""
    data = json.loads((GOLDEN / f"{name}.golden.json").read_text())
    for prompt in data["prompts"]:
        count = len(prompt["greedy"]) if prompt["eog_at"] is None else prompt["eog_at"]
        sure = next((at for at, margin in enumerate(prompt["margin"][:count]) if margin < data["flip_margin"]), count)
        yield prompt, sure


# ---- who it is served for ----

def test_a_guest_is_one_with_all_the_addresses_it_has(launch):
    """Of IPv6 a /64: what was computed for one is found again by another, and its turns are counted together."""
    gateway = launch({**pool(workers=1), "listeners": lambda fg: [
        {"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain", "trusted_proxies": ["127.0.0.1"]}]})

    def cached(address):
        before = gateway.stats()["inference"]["workers"][0]["tokens_cached"]
        answer = httpx.post(f"http://127.0.0.1:{gateway.port}/v1/completions", headers={"x-forwarded-for": address}, timeout=120,
                            json={"prompt": "A cup of milk tea for everybody who asks. " * 8, "max_tokens": 1, "temperature": 0})
        assert answer.status_code == 200, answer.text
        return gateway.stats()["inference"]["workers"][0]["tokens_cached"] - before
    assert cached("2001:db8:1:2::1") == 0
    assert cached("2001:db8:1:2:ffff::2") > 0
    assert cached("2001:db8:1:3::1") == 0 and cached("192.0.2.1") == 0 and cached("192.0.2.2") == 0
    assert cached("192.0.2.1") > 0


# ---- the API ----

@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_chat(site, http2):
    answer = complete(site, http2=http2, max_tokens=12, **STORY)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["object"] == "chat.completion" and body["id"].startswith("chatcmpl-")
    choice = body["choices"][0]
    assert choice["message"]["role"] == "assistant" and choice["message"]["content"]
    assert choice["finish_reason"] in ("stop", "length")
    usage = body["usage"]
    assert usage["prompt_tokens"] > 5 and 0 < usage["completion_tokens"] <= 12
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert "ttft;dur=" in answer.headers["server-timing"] or "decode;dur=" in answer.headers["server-timing"]


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_streams_say_the_same_as_whole_answers(site, http2):
    whole = complete(site, max_tokens=20, **STORY).json()
    events = events_of(site, http2=http2, max_tokens=20, stream_options={"include_usage": True}, **STORY)
    assert text_of(events) == (whole["choices"][0]["message"]["content"], whole["choices"][0]["finish_reason"])
    assert events[0]["object"] == "chat.completion.chunk"
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    counts = ("prompt_tokens", "completion_tokens", "total_tokens")
    assert events[-1]["choices"] == []
    assert [events[-1]["usage"][count] for count in counts] == [whole["usage"][count] for count in counts]
    assert len({event["id"] for event in events}) == 1
    raw = complete(site, "/v1/completions", prompt="What is", max_tokens=10, temperature=0).json()
    assert raw["object"] == "text_completion"
    events = events_of(site, "/v1/completions", prompt="What is", max_tokens=10, temperature=0)
    assert text_of(events)[0] == raw["choices"][0]["text"]


def test_models(site):
    answer = site.get("/v1/models")
    assert answer.status_code == 200
    assert [model["id"] for model in answer.json()["data"]] == ["demo"]
    assert site.get("/v1/models/demo").json()["id"] == "demo"
    assert site.get("/v1/models/gpt-9").status_code == 404


def test_a_seed_repeats_an_answer(site):
    def ask(seed):
        return complete(site, "/v1/completions", max_tokens=16, temperature=2, seed=seed,
                        prompt="A").json()["choices"][0]["text"]
    assert ask(7) == ask(7)
    assert len({ask(seed) for seed in range(6)}) > 1


def test_stop_texts(site):
    whole = complete(site, max_tokens=24, **STORY).json()["choices"][0]["message"]["content"]
    stop = whole[len(whole) // 2:][:4]
    cut = complete(site, max_tokens=24, stop=[stop], **STORY).json()["choices"][0]
    assert cut["finish_reason"] == "stop" and cut["message"]["content"] == whole[:whole.index(stop)]
    assert text_of(events_of(site, max_tokens=24, stop=stop, **STORY))[0] == whole[:whole.index(stop)]


@pytest.mark.parametrize("body, status, code", [
    (b"", 400, "invalid_json"), (b"{", 400, "invalid_json"), (b"[]", 400, "invalid_json"),
    (b'{"messages":[{"role":"user","content":"a"}],"messages":[]}', 400, "invalid_json"),
    (b"[" * 5000, 400, "invalid_json"), (b"\xff\xfe", 400, "invalid_json"),
    (b"{}", 400, None), (b'{"messages":[]}', 400, None), (b'{"messages":"hi"}', 400, None),
    (b'{"messages":[{"role":"user"}]}', 400, None), (b'{"messages":[{"role":"pope","content":"a"}]}', 400, None),
    (b'{"messages":[{"role":"user","content":7}]}', 400, None),
])
def test_bad_bodies(site, body, status, code):
    with site.client() as client:
        answer = client.post("/v1/chat/completions", content=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["message"] and error["request_id"] and (code is None or error["code"] == code)


@pytest.mark.parametrize("change, status, code", [
    ({"model": "gpt-9"}, 404, "model_not_found"), ({"model": 7}, 400, "invalid_type"),
    ({"temperature": -1}, 400, "invalid_value"), ({"temperature": "hot"}, 400, "invalid_type"),
    ({"temperature": 3}, 400, "invalid_value"), ({"top_p": 0}, 400, "invalid_value"),
    ({"top_p": 1.1}, 400, "invalid_value"), ({"max_tokens": 0}, 400, "invalid_value"),
    ({"max_tokens": 10 ** 9}, 400, "invalid_value"), ({"max_tokens": 1.5}, 400, "invalid_type"),
    ({"stream": "yes"}, 400, "invalid_type"), ({"n": 17}, 400, "invalid_value"),
    ({"seed": "x"}, 400, "invalid_type"), ({"stop": 7}, 400, "invalid_type"), ({"stop": [""]}, 400, "invalid_value"),
    ({"logprobs": 1}, 400, "invalid_type"), ({"presence_penalty": 3}, 400, "invalid_value"),
    ({"functions": [{"name": "f"}]}, 400, "unsupported_parameter"),
    ({"stream_options": {"include_usage": True}}, 400, "invalid_value"),
])
def test_bad_parameters(site, change, status, code):
    answer = complete(site, **{**STORY, "max_tokens": 4, **change})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == code


def test_what_changes_nothing_is_taken(site):
    assert complete(site, max_tokens=2, logprobs=False, presence_penalty=0, n=1, tools=[], user="me", model="demo",
                    response_format={"type": "text"}, **STORY).status_code == 200


def test_a_prompt_longer_than_the_context(site):
    answer = complete(site, messages=[{"role": "user", "content": "tea " * 30000}], max_tokens=4)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "context_length_exceeded"


def test_a_body_that_is_too_large(launch):
    gateway = launch(pool(body_max="2KiB", workers=1))
    answer = complete(gateway, messages=[{"role": "user", "content": "a" * 4000}])
    assert answer.status_code == 413
    assert complete(gateway, max_tokens=2, **STORY).status_code == 200


# ---- the numbers ----

@pytest.mark.parametrize("name", ["demo"] + TINY)
def test_greedy_equals_the_golden_answer(launch, name):
    gateway = launch(pool(DEMO_MODEL if name == "demo" else GOLDEN / f"{name}.gguf", workers=1))
    compared = 0
    for prompt, sure in golden(name):
        answer = complete(gateway, "/v1/completions", prompt=prompt["text"], max_tokens=max(sure, 1), temperature=0)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["usage"]["prompt_tokens"] == len(prompt["ids"]), prompt["name"]
        if sure == 0:
            continue
        want = bytes.fromhex(prompt["greedy_hex"])
        got = body["choices"][0]["text"].encode().rstrip("\N{REPLACEMENT CHARACTER}".encode())
        # Broken characters at a cut cannot be compared; all before them can.
        clean = want.decode(errors="replace").split("\N{REPLACEMENT CHARACTER}")[0].encode()
        least = min(len(got), len(clean))
        assert got[:least] == clean[:least], prompt["name"]
        compared += least
    assert compared > (100 if name == "demo" else 3), "nothing to compare"


@pytest.mark.races
def test_eight_streams_at_once_say_what_each_says_alone(site):
    prompts = ["What is on offer?", "how do I get a card", "Tell me a story", "我的订单到哪了", "order a milk tea",
               "who are you", "I want a coupon", "thank you"]

    def body(prompt):
        return {"messages": [{"role": "user", "content": prompt}], "max_tokens": 24, "temperature": 0}
    alone = [complete(site, **body(prompt)).json()["choices"][0]["message"]["content"] for prompt in prompts]

    async def together():
        async with site.async_client(http2=True, timeout=120) as client:
            async def one(prompt):
                async with client.stream("POST", "/v1/chat/completions",
                                         json={"stream": True, **body(prompt)}) as answer:
                    assert answer.status_code == 200
                    lines = [line.rstrip("\r\n") async for line in answer.aiter_lines()]
                events = [json.loads(data) for _, data in server_sent_events(lines + [""]) if data != "[DONE]"]
                return text_of(events)[0]
            return await asyncio.gather(*(one(prompt) for prompt in prompts))
    assert asyncio.run(together()) == alone
    kv = site.wait_stats(lambda stats: stats["inference"]["kv"]["blocks_used"] == 0 and stats)["inference"]["kv"]
    assert kv["blocks_free"] + kv["blocks_cached"] == kv["blocks_total"]


# ---- memory ----

def long_request(tokens=LONG):
    return {"prompt": "Tell me a story", "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}


def open_stream(gateway, body, stack, first=True):
    client = stack.enter_context(gateway.client(timeout=120))
    answer = stack.enter_context(client.stream("POST", "/v1/completions", json=body))
    lines = strip(answer.iter_lines())
    if first:
        assert answer.status_code == 200, answer.read()
        next(line for line in lines if line.startswith("data:"))
    return answer, lines


def used(gateway):
    return gateway.stats()["inference"]["kv"]["blocks_used"]


def test_eight_bits_hold_nearly_twice_as_much(launch, site):
    gateway = launch(pool(kv_type="q8_0"))
    ratio = gateway.stats()["inference"]["kv"]["blocks_total"] / site.stats()["inference"]["kv"]["blocks_total"]
    assert 1.8 < ratio < 2, ratio
    answer, other = complete(gateway, max_tokens=60, **STORY), complete(site, max_tokens=60, **STORY)
    assert answer.status_code == 200, answer.text
    said, meant = (one.json()["choices"][0]["message"]["content"] for one in (answer, other))
    assert said[:8] == meant[:8]


@pytest.mark.parametrize("http2", [True], ids=["h2"])
def test_a_client_that_leaves_frees_its_blocks(site, http2):
    cancelled = site.stats()["inference"]["requests"]["cancelled"]
    left_early = False
    for _ in range(20):  # a quick machine may finish one before we have looked
        with site.client(http2=http2, timeout=120) as client:
            with client.stream("POST", "/v1/completions", json=long_request(LONG)) as answer:
                next(line for line in answer.iter_lines() if line.startswith("data:"))
                left_early = used(site) > 0
        wait_for(lambda: used(site) == 0)
        if left_early and site.stats()["inference"]["requests"]["cancelled"] > cancelled:
            break
    assert left_early, "every generation was over before its client could leave"
    assert site.stats()["inference"]["requests"]["cancelled"] > cancelled
    site.wait_stats(lambda stats: stats["inference"]["requests"]["running"] == 0)


def test_when_blocks_run_out_a_request_waits_or_is_told(launch):
    gateway = launch(pool(kv_memory="1MiB", context_max=512, wait_max="300ms", workers=1))
    total = gateway.stats()["inference"]["kv"]["blocks_total"]
    tokens = min(400, total * 16 - 64)
    with contextlib.ExitStack() as stack:
        refused, streams = None, []
        for _ in range(total + 4):
            client = stack.enter_context(gateway.client(timeout=120))
            answer = stack.enter_context(client.stream("POST", "/v1/completions", json=long_request(tokens)))
            if answer.status_code != 200:
                answer.read()
                refused = answer
                break
            streams.append(answer)
        assert refused is not None, f"{total} blocks held {len(streams)} streams of {tokens} tokens"
        assert refused.status_code in (429, 503), refused.text
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] in ("no_kv_blocks", "queue_full")
        assert used(gateway) <= total
    wait_for(lambda: used(gateway) == 0)
    assert complete(gateway, max_tokens=4, **STORY).status_code == 200
    # With time to wait it is served once the other has gone.
    waiting = launch(pool(kv_memory="1MiB", context_max=512, wait_max="60s", workers=1))
    with contextlib.ExitStack() as stack:
        for _ in range(max(1, len(streams))):
            open_stream(waiting, long_request(tokens), stack)
        answers = []
        asker = threading.Thread(target=lambda: answers.append(
            complete(waiting, "/v1/completions", prompt="a", max_tokens=tokens, temperature=0)))
        asker.start()
        waiting.wait_stats(lambda stats: stats["inference"]["requests"]["started"] > len(streams))
    asker.join(120)
    assert answers[0].status_code == 200, answers[0].text


def test_too_many_sequences_are_told(launch):
    gateway = launch(pool(workers=1, batch_max=1, waiting_max=1, wait_max="60s"))

    async def crowd():
        async with gateway.async_client(http2=True, timeout=120) as client:
            return await asyncio.gather(*(client.post("/v1/completions", json={
                "prompt": "Tell me", "max_tokens": LONG, "temperature": 0, "ignore_eos": True}) for _ in range(16)))
    answers = asyncio.run(crowd())
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 1 <= len(refused) < 16
    for answer in refused:
        assert answer.status_code in (429, 503), answer.text
        assert int(answer.headers["retry-after"]) >= 1
    assert len({answer.text.split('"text"')[1].split('"usage"')[0] for answer in answers
                if answer.status_code == 200}) == 1


# ---- workers that die ----

def kill_the_one_that_runs(gateway):
    victim = wait_for(lambda: next((one for one in workers(gateway) if one["pid"] > 0 and one.get("running", 0) > 0), None))
    send_signal(victim["pid"], signal.SIGKILL)
    return victim


@pytest.mark.races
@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_a_killed_worker_costs_no_stream(launch, http2):
    gateway = launch(pool())
    body = {**long_request(300), "prompt": "what is on offer?"}
    with gateway.client(timeout=120) as client:
        want = client.post("/v1/completions", json={**body, "stream": False}).json()["choices"][0]["text"]
    with gateway.client(http2=http2, timeout=120) as client:
        with client.stream("POST", "/v1/completions", json=body) as answer:
            events, victim, other = [], None, None
            for _, data in server_sent_events(strip(answer.iter_lines())):
                if data == "[DONE]":
                    break
                events.append(json.loads(data))
                if victim is None and len(events) == 5:
                    victim = kill_the_one_that_runs(gateway)
                    other = complete(gateway, max_tokens=4, **STORY)
    assert other is not None and other.status_code == 200
    assert text_of(events) == (want, "length")

    def restarted():
        now = workers(gateway)[victim["worker"]]
        return now if now["pid"] not in (0, victim["pid"]) and now["starts"] > victim["starts"] else None
    assert wait_for(restarted)["connections"] >= 0
    wait_for(lambda: used(gateway) == 0)
    gone = next(line for line in gateway.log.splitlines() if f"pid={victim['pid']} " in line + " "
                and "child_killed" in line)
    back = next(line for line in gateway.log.splitlines()[gateway.log.splitlines().index(gone):]
                if "child_started role=worker" in line)
    assert (seconds(back) - seconds(gone)) % 86400 < 4  # 20 ms, of a supervisor that has a core


def seconds(line):
    """Time of day of a log line."""
    clock = line.split("T")[1].split("Z")[0]
    hours, minutes, rest = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def test_a_hung_worker_is_replaced(launch):
    gateway = launch(pool(worker_hang="1s"))
    victim = living_workers(gateway)[0]
    send_signal(victim["pid"], signal.SIGSTOP)
    wait_for(lambda: workers(gateway)[0]["pid"] not in (0, victim["pid"]), 60)
    assert complete(gateway, max_tokens=4, **STORY).status_code == 200


def test_a_worker_gives_way_to_what_shares_its_cores(launch):
    gateway = launch(pool())
    for one in living_workers(gateway):
        for thread in os.listdir(f"/proc/{one['pid']}/task"):
            assert os.sched_getscheduler(int(thread)) == os.SCHED_BATCH
            assert os.getpriority(os.PRIO_PROCESS, int(thread)) >= 10


def test_all_workers_killed_at_once(launch):
    gateway = launch(pool(breaker={"enabled": False}))
    for one in living_workers(gateway):
        send_signal(one["pid"], signal.SIGKILL)
    wait_for(lambda: complete(gateway, max_tokens=4, **STORY).status_code == 200)
