"""Who is served first by a worker that has more than it can do: class and lot reach its queue, and order it."""
import asyncio
import itertools
import struct

from harness import DEMO_MODEL, run_binary, wait_for


CONTEXT = 16384


def long_model(folder):
    """The demo's model, said to have been trained for more: an answer that lasts for as long as a test needs."""
    model = bytearray(DEMO_MODEL.read_bytes())
    key = b".context_length"
    at = model.index(key) + len(key)
    assert struct.unpack_from("<I", model, at) == (4,), "expected a u32"
    struct.pack_into("<I", model, at + 4, CONTEXT)
    path = folder / "long.gguf"
    path.write_bytes(model)
    return path


def pool(folder, waiting_max):
    return {
        # One place, and room for those who wait; the gateway's own queue lets all of them through. They have so much
        # time that their wait makes none of them older than another (a third of it is worth a class).
        "inference": {"enabled": True, "model": str(long_model(folder)), "workers": 1, "threads_per_worker": 1,
                      "kv_memory": "64MiB", "batch_max": 1, "waiting_max": waiting_max, "wait_max": "1h",
                      "max_tokens_limit": CONTEXT, "concurrency": {"limit": 32}},
        "routes": [{"name": name, "match": {"prefix": "/v1/", "headers": {"x-class": name}}, "to": "inference",
                    "priority": name, "identity": "optional", "timeout": "1h"} for name in ("low", "high", "normal", "critical")],
        "limits": {"write_timeout": "1h"},  # who has the place reads nothing
    }


class Pool:
    """A gateway whose one place in the batch is taken, until `release` is called."""

    def __init__(self, gateway, client):
        self.gateway, self.client = gateway, client
        self.order = []

    async def occupy(self):
        stream = self.client.stream("POST", "/v1/completions", headers={"x-class": "critical"}, json={
            "prompt": "begin", "max_tokens": CONTEXT - 100, "ignore_eos": True, "stream": True})
        answer = await stream.__aenter__()
        assert answer.status_code == 200, await answer.aread()
        self.lines = answer.aiter_lines()  # the stream is closed with it
        await anext(self.lines)
        self.stream = stream

    async def release(self):
        await self.stream.__aexit__(None, None, None)

    async def ask(self, name, token=None):
        headers = {"x-class": name} | ({"authorization": f"Bearer {token}"} if token else {})
        answer = await self.client.post("/v1/completions", headers=headers, json={
            "prompt": f"Customer {name} asks", "max_tokens": 16, "ignore_eos": True})  # one is heard of before the next
        self.order.append(name if token is None else token)
        return answer

    async def waiting(self, count):
        def is_so():
            return self.gateway.stats()["inference"]["workers"][0]["waiting"] == count
        await asyncio.to_thread(wait_for, is_so)


async def with_pool(gateway, scenario):
    async with gateway.async_client(http2=False, timeout=120) as client:
        pool = Pool(gateway, client)
        await pool.occupy()
        return await scenario(pool)


def test_the_higher_class_is_served_first_by_the_worker(launch, tmp_path):
    gateway = launch(pool(tmp_path, waiting_max=8))

    async def scenario(pool):
        answers = []
        for count, name in enumerate(("low", "normal", "high"), 1):
            answers.append(asyncio.create_task(pool.ask(name)))
            await pool.waiting(count)
        await pool.release()
        for answer in await asyncio.gather(*answers):
            assert answer.status_code == 200, answer.text
        return pool.order
    assert asyncio.run(with_pool(gateway, scenario)) == ["high", "normal", "low"]


def test_a_full_queue_gives_the_last_place_to_the_higher_class(launch, tmp_path):
    gateway = launch(pool(tmp_path, waiting_max=1))

    async def scenario(pool):
        low = asyncio.create_task(pool.ask("low"))
        await pool.waiting(1)
        high = asyncio.create_task(pool.ask("high"))
        refused = await low
        assert refused.status_code == 429 and refused.json()["error"]["code"] == "queue_full", refused.text
        assert int(refused.headers["retry-after"]) >= 1
        again = await pool.ask("low")
        assert again.status_code == 429, again.text
        await pool.release()
        assert (await high).status_code == 200
    asyncio.run(with_pool(gateway, scenario))


def test_users_of_one_class_are_served_by_their_lots(launch, tmp_path):
    """The lot is secret, but it is the same for an hour: two floods are served in the same order of users."""
    gateway = launch(pool(tmp_path, waiting_max=16))
    users = []
    for number in range(12):
        made = run_binary("token", "--user", f"user-{number}", "-c", gateway.config)
        assert made.returncode == 0, made.stderr
        users.append(made.stdout.strip())

    async def scenario(pool):
        answers = []
        for count, user in enumerate(users, 1):
            answers.append(asyncio.create_task(pool.ask("normal", user)))
            await pool.waiting(count)
        await pool.release()
        for answer in await asyncio.gather(*answers):
            assert answer.status_code == 200, answer.text
        return pool.order
    asked = list(users)
    first = asyncio.run(with_pool(gateway, scenario))
    users.reverse()
    second = asyncio.run(with_pool(gateway, scenario))
    assert sorted(first) == sorted(asked)
    # By arrival none of the pairs would agree. A few may: two lots in 128 are the same now and then.
    agree = sum((first.index(one) < first.index(two)) == (second.index(one) < second.index(two))
                for one, two in itertools.combinations(asked, 2))
    assert agree >= 60, f"{agree} of 66 pairs were served in the same order"
