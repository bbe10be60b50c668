"""The queue before a backend is bounded in bytes and in tokens too: of those who wait, exactly, and said so."""
import json

import pytest

from harness import plain_http, read_response, run_binary, wait_for
from test_rehearse import write  # noqa: F401


def shop(address, queue, **route):
    return {"clusters": {"app": {"endpoints": [address], "concurrency": {"kind": "fixed", "limit": 1},
                                 "queue": {"requests_max": 10, "wait_max": "60s", "target": "off", **queue}}},
            "observability": {"recent_requests": 64},
            "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", **route}]}


@pytest.fixture
def held(launch, upstream):
    """A gateway whose backend's one slot is taken until `release`; `post` sends a request that is to wait."""
    backend, open_ones = upstream(), []

    def start(queue, listeners=None, **route):
        sections = shop(backend.address, queue, **route)
        if listeners is not None:
            sections["listeners"] = listeners
        gateway = launch(sections)
        backend.gate.clear()
        send(gateway, b"GET /first HTTP/1.1\r\nhost: x\r\n\r\n")
        wait_for(lambda: backend.in_flight == 1)
        return gateway

    def send(gateway, data):
        connection = gateway.raw()
        connection.sendall(data)
        open_ones.append(connection)
        return connection

    def release():
        backend.gate.set()
        return [read_response(connection.makefile("rb"))[0] for connection in open_ones]

    start.send, start.release, start.open_ones, start.backend = send, release, open_ones, backend
    yield start
    backend.gate.set()
    for connection in open_ones:
        connection.close()


def queue_of(gateway):
    return gateway.gate("app")["queue"]


def post(body, path="/wait"):
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def check_refused(gateway, answer, code, limit):
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["policy"], error["limit"]) == (code, "queue", limit)
    last = gateway.explain(answer.headers["x-request-id"])["decisions"][-1]
    assert (last["stage"], last["reason"], last["limit"], last["value"]) == ("admit", code, limit, error["value"])
    assert gateway.stats()["gateway"]["requests"]["refused"][code] == 1
    assert f'reason="{code}"}} 1\n' in plain_http.get(gateway.admin + "/metrics").text
    return error["value"]


def test_bodies_of_those_who_wait_are_bounded(held):
    gateway = held({"bytes_max": "1000B"})
    held.send(gateway, post(b"a" * 600))
    wait_for(lambda: queue_of(gateway)["bytes"] == 600)
    with gateway.client() as client:
        assert check_refused(gateway, client.post("/wait", content=b"b" * 401), "queue_bytes", 1000) == 600
    held.send(gateway, post(b"c" * 400))  # the last byte that may
    held.send(gateway, b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")  # and one without any
    wait_for(lambda: queue_of(gateway)["waiting"] == 3)
    assert queue_of(gateway)["bytes"] == 1000 and queue_of(gateway)["full_bytes_total"] == 1
    assert 'floodgate_queue_bytes{backend="app"} 1000\n' in plain_http.get(gateway.admin + "/metrics").text
    assert held.release() == [200] * 4
    assert queue_of(gateway)["bytes"] == 0


def test_a_body_of_unknown_length_counts_as_it_comes(held):
    gateway = held({"bytes_max": "1000B"})
    connection = held.send(gateway, b"POST /wait HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    for size in (200, 700):
        before = queue_of(gateway)["bytes"]
        connection.sendall(b"%x\r\n%s\r\n" % (size, b"x" * size))
        wait_for(lambda: queue_of(gateway)["bytes"] == before + size)
    connection.sendall(b"%x\r\n%s\r\n" % (101, b"x" * 101))
    status, _, body = read_response(connection.makefile("rb"))
    held.open_ones.remove(connection)
    assert status == 503 and json.loads(body)["error"]["code"] == "queue_bytes"
    assert queue_of(gateway)["waiting"] == 0 and queue_of(gateway)["bytes"] == 0
    assert held.release() == [200] and held.backend.count("/wait") == 0


@pytest.mark.parametrize("buffered", [False, True])
def test_tokens_that_those_who_wait_will_take(held, buffered):
    gateway = held({"tokens_max": 1000, "tokens_answer": 100}, buffer_request=buffered, body_max="64KiB")
    ask = json.dumps({"prompt": "milk tea", "max_tokens": 500, "n": 1}).encode()
    tokens = 500 + (len(ask) + 3) // 4
    held.send(gateway, post(ask))
    wait_for(lambda: queue_of(gateway)["tokens"] == tokens)
    with gateway.client() as client:
        answer = client.post("/wait", content=json.dumps({"max_tokens": 300, "n": 2}).encode())
    # With the body behind its head the queue holds the request for a moment before it is weighed.
    assert check_refused(gateway, answer, "queue_tokens", 1000) >= tokens
    held.send(gateway, post(b"{}"))  # nothing said: `tokens_answer`
    wait_for(lambda: queue_of(gateway)["tokens"] == tokens + 101)
    assert queue_of(gateway)["full_tokens_total"] == 1
    assert held.release() == [200] * 3 and queue_of(gateway)["tokens"] == 0


def test_the_same_in_the_rehearsal(write):  # noqa: F811
    config = shop("127.0.0.1:9", {"tokens_max": 1000})
    config["routes"][0]["name"] = "ask"
    body = '{"max_tokens":400}'
    night = {"duration": "10s", "backends": {"app": {"slots": 1, "service": "100ms"}},
             "crowds": {"askers": {"arrivals": [{"rate": "40/s"}], "retry": 1,
                                   "journey": [{"request": "POST /ask", "body": body}]}}}
    done = run_binary("rehearse", *write(night, config), "--simulate")
    assert done.returncode == 0 and "queue_tokens" in done.stdout, done.stdout + done.stderr
    config["clusters"]["app"]["queue"].update(tokens_max="off", bytes_max="20B")
    done = run_binary("rehearse", *write(night, config), "--simulate")
    assert done.returncode == 0 and "queue_bytes" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("is_chunked", [False, True], ids=["content-length", "chunked"])
def test_a_body_that_waited_in_vain_is_read_to_its_end(held, is_chunked):
    """More of it has come than is taken while it waits; the connection goes on behind it."""
    gateway = held({"wait_max": "300ms"})
    body = b"b" * 100000
    request = post(body)
    if is_chunked:
        request = b"POST /wait HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    answers = held.send(gateway, request).makefile("rb")
    status, fields, text = read_response(answers)
    assert (status, json.loads(text)["error"]["code"]) == (503, "queue_timeout")
    assert "connection" not in fields
    held.backend.gate.set()
    held.open_ones[-1].sendall(b"GET /next HTTP/1.1\r\nhost: x\r\n\r\n")
    assert read_response(answers)[0] == 200
    held.open_ones.pop().close()
    assert held.release() == [200]


def behind_a_proxy(gateway):
    return [{"name": "public", "address": f"127.0.0.1:{gateway.port}", "certificate": str(gateway.certificate),
             "private_key": str(gateway.key), "trusted_proxies": ["127.0.0.1"]}]


def test_a_network_of_ipv6_is_one_client(held):
    """With a queue full of a crowd's requests a newcomer takes the place of one; a /64 is one client's to choose from."""
    def get(client):
        return f"GET /wait HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {client}\r\n\r\n".encode()

    gateway = held({"requests_max": 6}, listeners=behind_a_proxy)
    for number in range(6):
        held.send(gateway, get(f"2001:db8:0:1::{number:x}"))
    wait_for(lambda: queue_of(gateway)["waiting"] == 6)
    held.send(gateway, get("192.0.2.1"))
    wait_for(lambda: queue_of(gateway)["displaced_total"] == 1)
    assert queue_of(gateway)["waiting"] == 6
    statuses = held.release()
    assert (statuses.count(200), statuses.count(503), statuses[-1]) == (7, 1, 200)
