"""A signed request passes once among all gateways that share a Redis, and not at all while nobody can tell."""
import concurrent.futures
import signal
import time

import pytest

from harness import free_port, run_binary, send_signal, wait_for
from redis_tools import redis_server
from test_identity import SECRET, signature


@pytest.fixture
def two(launch, upstream, tmp_path):
    """Two gateways, one Redis, one server behind."""
    backend = upstream()
    (tmp_path / "partner.key").write_text(SECRET)
    with redis_server(tmp_path) as (port, client, process):
        def start():
            return launch({
                "identity": {"signatures": {"shared": True, "window": "60s",
                                            "keys": [{"id": "partner", "secret_file": str(tmp_path / "partner.key")}]}},
                "policies": {"shared_state": {"redis": {"address": f"127.0.0.1:{port}"}, "prefix": "shop"}},
                "clusters": {"app": {"endpoints": [backend.address]}},
                "routes": [{"name": "signed", "match": {"prefix": "/signed"}, "to": "cluster:app", "identity": "required",
                            "identity_by": "signature", "body_max": "64KiB"},
                           {"name": "direct", "match": {"prefix": "/direct"}, "respond": {"body": "in"},
                            "identity": "required", "identity_by": "signature", "body_max": "64KiB"},
                           {"name": "open", "match": {"prefix": "/"}, "respond": {"body": "open"}}]})
        gateways = [start(), start()]
        started = time.time()
        for one in gateways:
            wait_for(lambda one=one: one.stats()["policies"]["shared_state"]["state"] == "connected")
        wait_for(lambda: time.time() > started + 1, what="a second that both processes have begun before")
        yield *gateways, client, process, backend


def ask(gateway, method, path, headers, http2=False, **kwargs):
    with gateway.client(http2=http2) as client:
        return client.request(method, path, headers={**headers, "host": "shop.test"}, **kwargs)


def sign(method, path, body=b"", **more):
    return signature(None, method, path, body, host="shop.test", **more)


def test_a_nonce_is_good_once_at_all_gateways_together(two):
    first, second, redis, _, backend = two
    body = b'{"sku":"milk-tea"}'
    for path, http2 in (("/signed/a", False), ("/signed/b", True), ("/direct", False)):
        headers = sign("POST", path, body)
        assert ask(first, "POST", path, headers, http2, content=body).status_code == 200
        again = ask(second, "POST", path, headers, http2, content=body)
        assert again.status_code == 401 and "at another gateway" in again.json()["error"]["message"], again.text
        assert "used before" in ask(first, "POST", path, headers, content=body).json()["error"]["message"]
    assert backend.count("/signed/a") == backend.count("/signed/b") == 1
    keys = redis.keys("shop:{nonces}:partner:*")
    assert len(keys) == 3 and all(60 < redis.ttl(key) <= 181 for key in keys)
    # Another body than the signed one uses nothing up at the others.
    headers = sign("POST", "/signed/c", body)
    assert "not the one that was signed" in ask(first, "POST", "/signed/c", headers, content=b"x").text
    assert ask(second, "POST", "/signed/c", headers, content=body).status_code == 200


def test_many_at_once_and_one_wins(two):
    first, second, _, _, backend = two
    headers = sign("GET", "/signed/race")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        tries = [pool.submit(ask, one, "GET", "/signed/race", headers) for one in [first, second] * 8]
        statuses = sorted(one.result().status_code for one in tries)
    assert statuses == [200] + [401] * 15 and backend.count("/signed/race") == 1


def test_without_the_redis_nothing_signed_passes(two):
    first, _, redis, process, backend = two
    redis.config_set("maxmemory", "1")
    assert ask(first, "GET", "/signed/late", sign("GET", "/signed/late")).status_code == 503  # it can keep nothing
    redis.config_set("maxmemory", "0")
    send_signal(process.pid, signal.SIGSTOP)
    try:
        with first.raw() as leaving:  # nobody is there for the reply
            field = sign("GET", "/signed/late")["x-floodgate-signature"]
            leaving.sendall(f"GET /signed/late HTTP/1.1\r\nhost: shop.test\r\nx-floodgate-signature: {field}\r\n\r\n".encode())
        answer = ask(first, "GET", "/signed/late", sign("GET", "/signed/late"))
    finally:
        send_signal(process.pid, signal.SIGCONT)
    error = answer.json()["error"]
    assert answer.status_code == 503 and error["code"] == "backend_busy" and error["policy"] == "signatures.shared"
    assert int(answer.headers["retry-after"]) >= 1
    send_signal(process.pid, signal.SIGKILL)
    process.wait(20)
    wait_for(lambda: first.stats()["policies"]["shared_state"]["state"] == "disconnected")
    assert ask(first, "GET", "/signed/late", sign("GET", "/signed/late")).status_code == 503
    assert ask(first, "GET", "/open", {}).status_code == 200 and backend.count("/signed/late") == 0


def test_check_wants_a_redis(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text(f"listeners: [{{address: '127.0.0.1:{free_port()}', kind: plain}}]\n"
                    "identity:\n  signatures:\n    shared: true\n    keys: [{id: a, secret_file: a.key}]\n"
                    "routes: [{match: {prefix: /}, respond: {}}]\n")
    done = run_binary("check", "-c", path)
    assert done.returncode == 2 and "f.yaml:4:13: shared without policies.shared_state" in done.stderr
