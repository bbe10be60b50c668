"""The order path over a real Redis: what is promised to a user, and that it holds whatever is killed."""
import asyncio
import contextlib
import json
import signal
import threading

import httpx
import pytest

from harness import children_of, send_signal, server_sent_events, unique, wait_for
from redis_tools import redis_server

API = [
    {"name": "session", "match": {"path": "/api/session", "methods": ["POST"]}, "session": True},
    {"name": "order-status", "match": {"prefix": "/api/orders/"}, "to": "orders", "identity": "required",
     "timeout": "2m"},
    {"name": "stock", "match": {"prefix": "/api/stock/"}, "to": "orders"},
    {"name": "api", "match": {"prefix": "/api/"}, "to": "orders", "identity": "required"},
]


def shop(**orders):
    return {
        "identity": {"sessions_per_ip": "off"},
        "orders": {"campaign": "night", "skus": {"milk-tea": {"stock": 1000}, "rare": {"stock": 1}, "none": 0},
                   "quantity_max": 5, "fulfil": {"workers": 1}, **orders},
        "routes": API,
    }


@pytest.fixture(scope="module")
def site(launch_module):
    return launch_module(shop())


class User:
    """A guest with a token, on a connection of its own."""

    def __init__(self, gateway, name=None, http2=False):
        self.client = gateway.client(http2=http2)
        self.session = gateway.session(name or unique("device"))
        self.client.headers["authorization"] = "Bearer " + self.session["token"]

    def order(self, key=None, **body):
        headers = {"idempotency-key": unique() if key is None else key}
        return self.client.post("/api/orders", json={"sku": "milk-tea", "quantity": 1, **body}, headers=headers)

    def status(self, order_id):
        return self.client.get(f"/api/orders/{order_id}")

    def me(self):
        answer = self.client.get("/api/me")
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def user(site):
    one = User(site)
    yield one
    one.client.close()


def left(gateway, sku="milk-tea"):
    answer = gateway.get(f"/api/stock/{sku}")
    assert answer.status_code == 200
    return answer.json()["left"]


def refused(answer, status, code):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code and error["message"] and error["request_id"] == answer.headers["x-request-id"]
    return answer.json()


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_from_session_to_completed(site, http2):
    user = User(site, http2=http2)
    empty = user.me()
    assert empty["user_id"] == user.session["user_id"] and empty["orders"] == [] and empty["coupons"] == []
    claimed = user.client.post("/api/coupons/claim", json={"campaign": "night"})
    assert claimed.status_code == 201
    coupon = claimed.json()["coupon_id"]
    again = refused(user.client.post("/api/coupons/claim"), 409, "already_claimed")
    assert again["coupon_id"] == coupon
    assert [one["coupon_id"] for one in user.me()["coupons"]] == [coupon]
    before = left(site)
    placed = user.order(quantity=2, coupon_id=coupon)
    assert placed.status_code == 201, placed.text
    order = placed.json()
    assert order["status"] == "accepted" and order["version"] >= 1
    assert left(site) == before - 2
    mine = user.me()["orders"]
    assert [one["order_id"] for one in mine] == [order["order_id"]] and mine[0]["quantity"] == 2
    done = wait_for(lambda: (one := user.status(order["order_id"]).json())["status"] == "completed" and one)
    assert set(done) >= {"order_id", "sku", "quantity", "status", "version", "created_at"}
    assert done["sku"] == "milk-tea" and done["quantity"] == 2 and done["version"] > order["version"]
    assert user.me()["orders"][0]["status"] == "completed"
    assert user.me()["version"] > empty["version"]
    assert "redis;dur=" in user.status(order["order_id"]).headers["server-timing"]


# ---- every refusal ----

def test_idempotency_key_is_needed(user):
    body = {"sku": "milk-tea", "quantity": 1}
    refused(user.client.post("/api/orders", json=body), 400, "idempotency_key_missing")
    refused(user.order(key=""), 400, "idempotency_key_missing")
    refused(user.order(key='""'), 400, "idempotency_key_missing")
    refused(user.order(key="a" * 256), 400, "idempotency_key_invalid")
    refused(user.order(key="a b"), 400, "idempotency_key_invalid")
    assert user.order(key="a" * 255).status_code == 201
    assert len(user.me()["orders"]) == 1


def test_the_same_key_gives_the_same_order(site, user):
    before, key = left(site), unique()
    first = user.order(key=key)
    second = user.order(key=key)
    quoted = user.order(key=f'"{key}"')
    assert first.status_code == second.status_code == quoted.status_code == 201
    assert first.json()["order_id"] == second.json()["order_id"] == quoted.json()["order_id"]
    assert "idempotency-replayed" not in first.headers and second.headers["idempotency-replayed"] == "true"
    refused(user.order(key=key, quantity=2), 422, "idempotency_key_reused")
    assert left(site) == before - 1
    other = User(site)  # a key is a user's own
    assert other.order(key=key).json()["order_id"] != first.json()["order_id"]


def test_coupons(site, user):
    refused(user.order(coupon_id="cpn_unknown"), 404, "coupon_unknown")
    refused(user.order(coupon_id="../x"), 404, "coupon_unknown")
    refused(user.order(coupon_id=7), 400, "coupon_invalid")
    refused(user.client.post("/api/coupons/claim", json={"campaign": "other"}), 404, "campaign_unknown")
    coupon = user.client.post("/api/coupons/claim").json()["coupon_id"]
    refused(User(site).order(coupon_id=coupon), 404, "coupon_unknown")
    assert user.order(coupon_id=coupon).status_code == 201
    refused(user.order(coupon_id=coupon), 409, "coupon_used")
    assert len(user.me()["orders"]) == 1


def test_coupons_are_needed_where_the_campaign_says_so(launch):
    gateway = launch(shop(coupon_required=True))
    user = User(gateway)
    refused(user.order(), 400, "coupon_required")
    coupon = user.client.post("/api/coupons/claim").json()["coupon_id"]
    assert user.order(coupon_id=coupon).status_code == 201


def test_sold_out_and_unknown_articles(site, user):
    assert user.order(sku="rare").status_code == 201
    assert refused(user.order(sku="rare"), 409, "sold_out")["left"] == 0
    refused(user.order(sku="none"), 409, "sold_out")
    refused(user.order(sku="coffee"), 404, "sku_unknown")
    refused(site.get("/api/stock/coffee"), 404, "sku_unknown")
    assert left(site, "rare") == 0
    # A refusal is not remembered under its key: the same key may order something else.
    key = unique()
    refused(user.order(key=key, sku="none"), 409, "sold_out")
    assert user.order(key=key).status_code == 201


@pytest.mark.parametrize("quantity", [0, -1, 6, 1.5, "1", None, True, 10 ** 15])
def test_quantities(user, quantity):
    refused(user.order(quantity=quantity), 400, "quantity_out_of_range")


@pytest.mark.parametrize("body, status", [
    (b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b'"text"', 400), (b"{}", 400), (b"\xff", 400),
    (b'{"sku":"milk-tea","quantity":1', 400), (b'{"sku":7,"quantity":1}', 400), (b"[" * 200, 400),
    (b'{"sku":"milk-tea","quantity":1,"x":[' + b"1," * 300 + b"1]}", 413),
    (b'{"sku":"milk-tea","quantity":1,"x":"' + b"a" * 17000 + b'"}', 413),
])
def test_bad_json(site, user, body, status):
    before = left(site)
    answer = user.client.post("/api/orders", content=body, headers={"idempotency-key": unique()})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] and answer.json()["error"]["message"]
    assert left(site) == before


def test_somebody_elses_order_is_unknown(site, user):
    order = user.order().json()["order_id"]
    other = User(site)
    refused(other.status(order), 404, "order_unknown")
    refused(other.client.get(f"/api/orders/{order}/events"), 404, "order_unknown")
    refused(user.status("ord_nonsense"), 404, "order_unknown")
    refused(user.status("%7B%7D"), 404, "order_unknown")
    with site.client() as nobody:
        assert nobody.get(f"/api/orders/{order}").status_code == 401
        assert nobody.get("/api/me").status_code == 401


def test_unknown_endpoints(user):
    assert user.client.get("/api/nothing").status_code == 404
    assert user.client.get("/api/coupons/claim").status_code in (404, 405)
    assert user.client.delete("/api/orders").status_code in (404, 405)


def test_invites(site):
    inviter, guest = User(site), User(site)
    made = inviter.client.post("/api/invites")
    assert made.status_code == 201
    code = made.json()["code"]
    assert inviter.client.post("/api/invites").json()["code"] == code
    refused(inviter.client.post(f"/api/invites/{code}/accept"), 409, "own_invite")
    refused(guest.client.post("/api/invites/nonsense/accept"), 404, "invite_unknown")
    assert guest.client.post(f"/api/invites/{code}/accept").status_code in (200, 201)
    again = guest.client.post(f"/api/invites/{code}/accept")
    assert again.status_code in (200, 201, 409)
    assert inviter.me()["invites"]["accepted"] == 1  # credited exactly once
    assert len(inviter.me()["coupons"]) == 1
    other = User(site).client.post("/api/invites").json()["code"]
    refused(guest.client.post(f"/api/invites/{other}/accept"), 409, "already_accepted")


# ---- events ----

@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_events_until_completed(launch, http2):
    gateway = launch(shop(fulfil={"workers": 1, "confirm_after": "300ms", "complete_after": "300ms"}))
    user = User(gateway, http2=http2)
    order = user.order().json()["order_id"]
    states = []
    with user.client.stream("GET", f"/api/orders/{order}/events") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        for _, data in server_sent_events(answer.iter_lines()):
            states.append(json.loads(data))
    names = [state["status"] for state in states if "status" in state]
    assert names[-1] == "completed"
    assert names == sorted(set(names), key=["accepted", "confirmed", "completed"].index)
    versions = [state["version"] for state in states if "version" in state]
    assert versions == sorted(versions)
    gateway.wait_stats(lambda stats: stats["orders"]["event_streams"] == 0)


def test_many_watchers_and_one_that_leaves(launch):
    gateway = launch(shop(fulfil={"workers": 1, "confirm_after": "1s", "complete_after": "0s"}))
    user = User(gateway)
    order = user.order().json()["order_id"]
    finals = []

    def watch():
        with gateway.client() as client, client.stream(
                "GET", f"/api/orders/{order}/events", headers=dict(user.client.headers)) as answer:
            finals.append([json.loads(data)["status"] for _, data in server_sent_events(answer.iter_lines())][-1])
    watchers = [threading.Thread(target=watch) for _ in range(4)]
    for watcher in watchers:
        watcher.start()
    with contextlib.ExitStack() as leaver:
        client = leaver.enter_context(gateway.client())
        leaver.enter_context(client.stream("GET", f"/api/orders/{order}/events", headers=dict(user.client.headers)))
    for watcher in watchers:
        watcher.join(60)
    assert finals == ["completed"] * 4


def watched(gateway, client, orders):
    """Streams of all of them, open until the stack is closed."""
    stack = contextlib.ExitStack()
    for order in orders:
        answer = stack.enter_context(client.stream("GET", f"/api/orders/{order}/events"))
        assert answer.status_code == 200, answer.read()
    gateway.wait_stats(lambda stats: stats["orders"]["event_streams"] == len(orders))
    return stack


def test_nobody_has_all_event_streams(launch):
    gateway = launch({**shop(redis={"commands_in_flight_max": 20}, fulfil={"workers": "off"}), "limits": {"threads": 1}})
    user = User(gateway, http2=True)
    orders = [user.order().json()["order_id"] for _ in range(11)]
    with watched(gateway, user.client, orders[:10]):
        full = refused(user.client.get(f"/api/orders/{orders[10]}/events"), 503, "too_many_streams")["error"]
        assert (full["policy"], full["value"], full["limit"]) == ("orders.event_streams_share", 10, 8)
        transport = httpx.HTTPTransport(verify=False, local_address="127.0.0.2")
        with gateway.client(transport=transport, headers=dict(user.client.headers)) as neighbour:
            with neighbour.stream("GET", f"/api/orders/{orders[10]}/events") as answer:
                assert answer.status_code == 200
        assert user.status(orders[10]).status_code == 200
    user.client.close()
    gateway.wait_stats(lambda stats: stats["orders"]["event_streams"] == 0)


def test_one_order_has_so_many_watchers(launch):
    gateway = launch({**shop(fulfil={"workers": "off"}), "limits": {"threads": 1}})
    user = User(gateway, http2=True)
    order = user.order().json()["order_id"]
    with watched(gateway, user.client, [order] * 32):
        full = refused(user.client.get(f"/api/orders/{order}/events"), 503, "too_many_streams")["error"]
        assert (full["policy"], full["limit"]) == ("order_watchers", 32)
    user.client.close()


# ---- many at once ----

@pytest.mark.races
def test_three_hundred_orders_for_fifty_pieces(launch):
    gateway = launch({**shop(skus={"milk-tea": {"stock": 50}})})
    tokens = [gateway.token(f"user-{number}") for number in range(300)]

    async def flood():
        async with gateway.async_client(http2=True) as one, gateway.async_client() as two:
            return await asyncio.gather(*((one if number % 2 else two).post(
                "/api/orders", json={"sku": "milk-tea", "quantity": 1},
                headers={"authorization": f"Bearer {token}", "idempotency-key": "k"})
                for number, token in enumerate(tokens)))
    answers = asyncio.run(flood())
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [201] * 50 + [409] * 250
    assert len({answer.json()["order_id"] for answer in answers if answer.status_code == 201}) == 50
    assert left(gateway) == 0
    gateway.wait_stats(lambda stats: stats["orders"]["orders"]["completed"] == 50)
    assert gateway.stats()["orders"]["orders_sold_out"] >= 250


@pytest.mark.races
def test_the_same_key_at_the_same_time_orders_once(launch):
    gateway = launch(shop())
    token, before = gateway.token("one-user"), left(gateway)

    async def flood():
        async with gateway.async_client(http2=True) as one, gateway.async_client() as two:
            return await asyncio.gather(*(client.post(
                "/api/orders", json={"sku": "milk-tea", "quantity": 1},
                headers={"authorization": f"Bearer {token}", "idempotency-key": "the-same"})
                for _ in range(20) for client in (one, two)))
    answers = asyncio.run(flood())
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["order_id"] for answer in answers}) == 1
    assert left(gateway) == before - 1


# ---- Redis ----

def test_an_external_redis_with_a_password(launch, tmp_path):
    with redis_server(tmp_path, "--requirepass", "very-secret") as (port, client, _):
        gateway = launch(shop(durability="memory", redis={"address": f"127.0.0.1:{port}",
                                                          "password": "${FG_TEST_PASSWORD}"}),
                         env={"FG_TEST_PASSWORD": "very-secret"})
        user = User(gateway)
        order = user.order().json()["order_id"]
        wait_for(lambda: user.status(order).json()["status"] == "completed")
        assert any(b"milk-tea" in key or order.encode() in key for key in client.keys("*"))
        assert "very-secret" not in gateway.log
        gateway.stop()
    assert not (gateway.run / "redis").exists()


def test_redis_goes_away_and_comes_back(launch, tmp_path):
    with redis_server(tmp_path) as (port, client, _):
        gateway = launch(shop(durability="memory", breaker={"enabled": False},
                              redis={"address": f"127.0.0.1:{port}", "command_timeout": "2s"}))
        user = User(gateway)
        assert user.order().status_code == 201
        client.execute_command("CLIENT", "PAUSE", "5000", "ALL")
        slow = user.order(key="paused")
        assert slow.status_code == 503 and int(slow.headers["retry-after"]) >= 1
        placed = wait_for(lambda: (answer := user.order(key="paused")).status_code == 201 and answer)
        assert user.status(placed.json()["order_id"]).status_code == 200
        assert len(user.me()["orders"]) == 2


def redis_pid(gateway):
    """Redis writes the file anew when it starts: it may be empty, or not there, for a moment."""
    def read():
        file = gateway.run / "redis/redis.pid"
        return file.read_text().strip() if file.exists() else ""
    return int(wait_for(read, what="the pid file of Redis"))


def test_redis_killed_and_no_acknowledged_order_lost(launch):
    gateway = launch(shop(breaker={"enabled": False}, redis={"command_timeout": "1s"}))
    acknowledged, stop, problems = [], threading.Event(), []

    def buy():
        try:
            user = User(gateway)
            while not stop.is_set():
                answer = user.order()
                if answer.status_code == 201:
                    acknowledged.append((user, answer.json()["order_id"]))
                elif answer.status_code != 503:
                    problems.append(answer.text)
        except Exception as error:  # the thread's failure is the test's
            problems.append(repr(error))
    buyers = [threading.Thread(target=buy) for _ in range(4)]
    for buyer in buyers:
        buyer.start()
    wait_for(lambda: len(acknowledged) >= 20)
    for _ in range(2):
        pid = redis_pid(gateway)
        send_signal(pid, signal.SIGKILL)
        wait_for(lambda old=pid: redis_pid(gateway) != old)
        count = len(acknowledged)
        wait_for(lambda old=count: len(acknowledged) > old + 10)
    stop.set()
    for buyer in buyers:
        buyer.join(30)
    assert not problems, problems[:3]
    for user, order in acknowledged:
        assert user.status(order).status_code == 200, order
    by_user = {}
    for user, order in acknowledged:
        by_user.setdefault(user, set()).add(order)
    assert sum(len(orders) for orders in by_user.values()) == len(acknowledged)
    # Each piece that is gone has an order. An order whose acknowledgement was cut off may exist too.
    # The figure in /stats is sampled, so it follows after a moment.
    placed = 1000 - left(gateway)
    assert placed >= len(acknowledged)
    gateway.wait_stats(lambda stats: sum(stats["orders"]["orders"].values()) == placed, 60)
    gateway.wait_stats(lambda stats: stats["orders"]["orders"]["completed"] == placed, 60)


def test_fulfil_killed_and_orders_completed_all_the_same(launch):
    gateway = launch(shop(fulfil={"workers": 2, "confirm_after": "200ms"}))
    user = User(gateway)
    orders = [user.order().json()["order_id"] for _ in range(10)]
    victims = [pid for pid in children_of(gateway.process.pid) if role_of(gateway, pid) == "fulfil"]
    assert len(victims) == 2
    send_signal(victims[0], signal.SIGKILL)
    for order in orders:
        wait_for(lambda one=order: user.status(one).json()["status"] == "completed", 60)


def role_of(gateway, pid):
    """By the log's `child_started` events."""
    for line in reversed(gateway.log.splitlines()):
        if "event=child_started" in line and f" pid={pid} " in line + " ":
            return line.split("role=")[1].split()[0]
    return None


def test_a_restart_finds_everything_again(launch):
    gateway = launch(shop())
    user = User(gateway)
    order = user.order(key="before").json()["order_id"]
    remaining = left(gateway)
    gateway.stop()
    gateway.start()
    gateway.wait_ready()
    assert left(gateway) == remaining
    again = User(gateway)
    again.client.headers["authorization"] = user.client.headers["authorization"]
    assert again.status(order).json()["order_id"] == order
    assert again.order(key="before").json()["order_id"] == order
