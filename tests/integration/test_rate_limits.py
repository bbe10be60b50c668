"""Rate limits: who shares one, what a request costs, and what is given back."""
import pytest

from harness import DEMO_MODEL, wait_for

OK = 200
REFUSED = 429


def statuses(client, path, headers, method="GET", **kwargs):
    return [client.request(method, path, headers=one, **kwargs).status_code for one in headers]


def limit(gateway, name):
    return gateway.stats()["policies"]["rate_limits"][name]


@pytest.mark.parametrize("algorithm", ["token_bucket", "gcra"])
def test_keys_of_every_sort(launch, algorithm):
    def one(key, **more):
        return {"key": key, "rate": "1/h", "burst": 1, "algorithm": algorithm, **more}
    gateway = launch({
        "policies": {"rate_limits": {
            "device": one("device"), "invite": one(["user", "invite"]), "tier": one(["tier", "route"]),
            "app": one(["user", "header:x-app"])}},
        "routes": [{"name": name, "match": {"prefix": f"/{name}"}, "identity": "optional", "rate_limits": [name],
                    "respond": {"status": 200}} for name in ("device", "invite", "tier", "app")]})

    def token(subject, **claims):
        return {"authorization": "Bearer " + gateway.token(subject, **claims)}
    with gateway.client() as client:
        # two devices are two; who names none is known by address, once
        assert statuses(client, "/device", [{"x-device-id": "d1"}, {"x-device-id": "d2"}, {"x-device-id": "d1"},
                                            {}, {}]) == [OK, OK, REFUSED, OK, REFUSED]
        anna, ben = token("anna"), token("ben")
        assert statuses(client, "/invite/invites/c1/accept", [anna, anna, ben]) == [OK, REFUSED, OK]
        assert statuses(client, "/invite/invites/c2/accept", [anna]) == [OK]
        assert statuses(client, "/invite/x?invite=c2", [anna]) == [REFUSED]
        # a tier is shared by all who have it
        assert statuses(client, "/tier", [token("a", tier="gold"), token("b", tier="gold"), token("a", tier="free"),
                                          token("c"), {}]) == [OK, REFUSED, OK, OK, REFUSED]
        assert statuses(client, "/app", [{**anna, "x-app": "1"}, {**anna, "x-app": "2"}, {**anna, "x-app": "1"}]) \
            == [OK, OK, REFUSED]
    assert limit(gateway, "device")["keys"] == 3


def test_bytes_are_reserved_and_settled(launch, upstream):
    backend = upstream(answer=lambda request: (200, {}, b"x" * 3000))
    gateway = launch({
        "policies": {"rate_limits": {"volume": {"key": "header:x-app", "rate": "1/h", "burst": 10000, "cost": "bytes"}}},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [{"name": "r", "match": {"prefix": "/"}, "rate_limits": ["volume"], "to": "cluster:app"}]})
    with gateway.client() as client:
        first = client.post("/", headers={"x-app": "1"}, content=b"y" * 4000)
        assert first.status_code == OK and '"volume";r=6000;' in first.headers["ratelimit"]
        wait_for(lambda: limit(gateway, "volume")["owed"] == 3000)  # the answer
        refused = client.post("/", headers={"x-app": "1"}, content=b"y" * 4000)
        assert refused.status_code == REFUSED and refused.json()["error"]["value"] == 3000
        assert int(refused.headers["retry-after"]) > 1000
        assert client.post("/", headers={"x-app": "1"}, content=b"y" * 2000).status_code == OK
        wait_for(lambda: limit(gateway, "volume")["owed"] == 6000)
        assert client.get("/", headers={"x-app": "1"}).status_code == REFUSED  # 2000 are owed
        # what can never pass is told so, and there is nothing to wait for
        never = client.post("/", headers={"x-app": "2"}, content=b"y" * 10001)
        assert never.status_code == REFUSED and "too small for this request" in never.json()["error"]["message"]
        assert "retry-after" not in never.headers and "retry_after_ms" not in never.json()["error"]


def test_tokens_are_reserved_and_the_rest_given_back(launch):
    gateway = launch({
        "policies": {"rate_limits": {"tokens": {"key": "route", "rate": "1/h", "burst": 300, "cost": "tokens",
                                                "reserve": 200}}},
        "inference": {"enabled": True, "model": str(DEMO_MODEL), "workers": 1, "threads_per_worker": 1,
                      "kv_memory": "16MiB"},
        "routes": [{"name": "v1", "match": {"prefix": "/v1/"}, "to": "inference", "timeout": "60s",
                    "rate_limits": ["tokens"]}]})
    with gateway.client(timeout=60) as client:
        def ask(**body):
            return client.post("/v1/completions", json={"prompt": "tea", "max_tokens": 5, **body})

        def settled(asked, used):
            wait_for(lambda: limit(gateway, "tokens")["given_back"] == 200 * asked - used)
        used = asked = 0
        while (answer := ask()).status_code == OK:
            assert used <= 100  # else there was no room for what is reserved
            used, asked = used + answer.json()["usage"]["total_tokens"], asked + 1
            settled(asked, used)
            if asked == 1:
                assert ask(max_tokens=-1).status_code == 400  # costs nothing
                asked += 1
                settled(asked, used)
        assert answer.status_code == REFUSED and used > 100
        assert answer.json()["error"]["value"] == 300 - used


def test_tokens_of_what_is_cut_short_or_computes_nothing(launch):
    reserve = 3000
    gateway = launch({
        "policies": {"rate_limits": {"tokens": {"key": "route", "rate": "1/h", "burst": 100000, "cost": "tokens",
                                                "reserve": reserve}}},
        "inference": {"enabled": True, "model": str(DEMO_MODEL), "workers": 1, "threads_per_worker": 1,
                      "kv_memory": "16MiB"},
        "routes": [{"name": "v1", "match": {"prefix": "/v1/"}, "to": "inference", "timeout": "60s",
                    "rate_limits": ["tokens"]}]})
    body = {"prompt": "tea is", "max_tokens": 400, "ignore_eos": True}

    def charge(ask):
        """What `ask` has cost when it is settled."""
        before = limit(gateway, "tokens")["given_back"]
        ask()
        wait_for(lambda: limit(gateway, "tokens")["given_back"] > before)
        return reserve - (limit(gateway, "tokens")["given_back"] - before)

    def leave_after(events):
        with gateway.client(timeout=60) as client, \
                client.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
            lines = (line for line in answer.iter_lines() if line.startswith("data:"))
            for _ in range(events):
                next(lines)

    def leave_in_the_body():
        with gateway.raw() as connection:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
            wait_for(lambda: gateway.stats()["gateway"]["requests"]["awaiting_body"] == 1)
    with gateway.client(timeout=60) as client:
        usage = []

        def ask(**more):
            usage.append(client.post("/v1/completions", json={**body, **more}).json()["usage"])
        cost = charge(lambda: ask(max_tokens=2, n=3))
        prompt = usage[0]["prompt_tokens"]
        assert cost == usage[0]["total_tokens"] > prompt
        assert prompt + 1 <= charge(lambda: leave_after(3)) < prompt + 400
        assert charge(lambda: client.get("/v1/models")) == 0
        assert charge(lambda: client.get("/v1/nothing")) == 0
        assert charge(lambda: client.post("/v1/completions", content=b"{")) == 0
        assert charge(leave_in_the_body) == 0
    assert limit(gateway, "tokens")["owed"] == 0


def test_who_is_refused_by_one_limit_has_not_paid_the_others(launch):
    gateway = launch({
        "policies": {"rate_limits": {"wide": {"key": "route", "rate": "1/h", "burst": 3},
                                     "narrow": {"key": "header:x-app", "rate": "1/h", "burst": 1}}},
        "routes": [{"name": "r", "match": {"prefix": "/"}, "rate_limits": ["wide", "narrow"],
                    "respond": {"status": 200}}]})
    with gateway.client() as client:
        headers = [{"x-app": "1"}, {"x-app": "1"}, {"x-app": "1"}, {"x-app": "1"}, {"x-app": "2"}, {"x-app": "3"},
                   {"x-app": "4"}]
        assert statuses(client, "/", headers) == [OK, REFUSED, REFUSED, REFUSED, OK, OK, REFUSED]
