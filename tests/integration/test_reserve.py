"""What a backend's requests have for themselves, however many of the others' there are."""
import asyncio
import threading


from harness import plain_http, unique, wait_for
from test_orders import API, User
from test_policies import join

FLOOD = 40
BODY = b"x" * 90000


def config(address, **orders):
    """Orders beside a backend of one request at a time, with a long line of large ones before it."""
    return {
        "limits": {"threads": 1, "request_memory_total_max": "2MiB", "request_memory_max": "256KiB",
                   "awaiting_body_share": "100%"},  # uploads that come at once hold what they may hold in line
        "identity": {"sessions_per_ip": "off"},
        "orders": {"campaign": "night", "skus": {"milk-tea": {"stock": 1000}}, "fulfil": {"workers": 1}, **orders},
        "clusters": {"heavy": {"endpoints": [address], "concurrency": {"kind": "fixed", "limit": 1},
                               "queue": {"requests_max": 1000, "wait_max": "10m", "target": "off"}}},
        "routes": API + [{"name": "flood", "match": {"prefix": "/flood"}, "to": "cluster:heavy", "timeout": "10m",
                          "buffer_request": True, "body_max": "100KiB"}]}


class Flood:
    """Uploads that fill the memory which they may have, until `end`."""

    def __init__(self, gateway, backend):
        self.gateway, self.backend, self.answers, self.threads = gateway, backend, [], []
        backend.gate.clear()
        self.add(*[self.upload] * FLOOD)

    def add(self, *targets):
        """One behind the other, each until it waits or has its answer: side by side many would be refused for what
        others, refused too, hold at that moment, and who is left would not fill the memory."""
        for target in targets:
            self.threads.append(threading.Thread(target=target))
            self.threads[-1].start()
            wait_for(lambda: self.waiting() + len(self.answers) == len(self.threads), what="the flood's arrival")

    def waiting(self):
        gate = self.gateway.gate("heavy")
        return gate["queue"]["waiting"] + gate["concurrency"]["in_flight"]

    def upload(self):
        with self.gateway.client(timeout=120) as client:
            self.answers.append(client.post("/flood", content=BODY))

    def ask(self):
        with self.gateway.client(timeout=120) as client:
            self.answers.append(client.get("/flood"))

    def end(self):
        self.backend.gate.set()
        join(self.threads)


def memory(gateway, backend):
    return gateway.gate(backend)["memory"]


def test_a_flood_of_others_does_not_take_the_orders_memory(launch, upstream):
    backend = upstream()
    gateway = launch(config(backend.address, reserve="50%"))
    user = User(gateway)
    flood = Flood(gateway, backend)
    refused = [answer for answer in flood.answers if answer.status_code == 503]
    assert refused and len(refused) == len(flood.answers) and flood.waiting() >= 5
    for answer in refused:
        assert answer.json()["error"]["code"] in ("reserve", "no_memory") and int(answer.headers["retry-after"]) >= 1
    heavy, orders = memory(gateway, "heavy"), memory(gateway, "orders")
    assert heavy["reserved_bytes"] == 0 and heavy["refused_total"] >= 1
    assert heavy["used_bytes"] <= 1 << 20 and orders["reserved_bytes"] > 1000000
    for _ in range(50):
        assert user.order().status_code == 201
    assert memory(gateway, "orders")["refused_total"] == 0
    assert f'floodgate_backend_memory_bytes{{backend="heavy"}} {heavy["used_bytes"]}' in \
        plain_http.get(gateway.admin + "/metrics").text
    flood.end()
    assert {answer.status_code for answer in flood.answers} == {200, 503}
    gateway.wait_stats(lambda stats: stats["policies"]["backends"]["heavy"]["memory"]["used_bytes"] == 0)


def test_many_orders_at_once_beside_the_flood(launch, upstream):
    backend = upstream()
    gateway = launch(config(backend.address, reserve={"memory": "50%"}))
    headers = User(gateway).client.headers
    flood = Flood(gateway, backend)

    async def crowd():
        async with gateway.async_client(http2=True, headers=headers) as client:
            answers = await asyncio.gather(*(client.post("/api/orders", json={"sku": "milk-tea", "quantity": 1},
                                                         headers={"idempotency-key": unique()}) for _ in range(60)))
            return [answer.status_code for answer in answers]
    assert asyncio.run(crowd()) == [201] * 60
    flood.end()


def test_a_share_that_is_less_than_a_chunk_is_one(launch, upstream):
    sections = config(upstream().address, reserve="0.1%")
    sections["limits"]["threads"] = 2  # 256 chunks each: a thousandth of it is none
    gateway = launch(sections)
    assert memory(gateway, "orders")["reserved_bytes"] == 2 * 4096 and memory(gateway, "heavy")["reserved_bytes"] == 0


def test_in_shadow_nothing_is_kept_and_the_refusals_are_counted(launch, upstream):
    backend = upstream()
    gateway = launch(config(backend.address, reserve={"memory": "50%", "shadow": True}))
    flood = Flood(gateway, backend)
    heavy = memory(gateway, "heavy")
    assert heavy["used_bytes"] > 1500000 and heavy["refused_total"] >= 1
    assert memory(gateway, "orders")["shadow"]
    flood.end()


def test_a_refusal_explains_itself(launch, upstream):
    backend = upstream()
    gateway = launch(config(backend.address, reserve="50%"))
    flood = Flood(gateway, backend)

    def reserved():
        return [answer for answer in flood.answers if answer.json()["error"]["code"] == "reserve"]
    for _ in range(300):  # small ones take what is left, until there is room for no head
        flood.add(flood.ask)
        if reserved():
            break
    answer = reserved()[0]
    error = answer.json()["error"]
    assert error["policy"] == "reserve" and 0 < error["value"] <= 1 << 20 and error["limit"] == 2 << 20
    last = gateway.explain(answer.headers["x-request-id"])["decisions"][-1]
    assert last["stage"] == "route" and last["decided"] == "refuse" and last["reason"] == "reserve"
    flood.end()
