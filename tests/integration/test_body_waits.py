"""
A body that is announced and not sent: where the backend can do nothing without it (orders, inference, sessions) its
request holds no place there, and no more memory than twice what has come.
"""
import contextlib
import json
import socket

import pytest

import wire
from harness import plain_http, read_response, unique, wait_for
from test_inference import STORY, pool
from test_orders import User, left, shop
from wire import END_HEADERS, END_STREAM, frame

CHAT, ORDERS = "/v1/chat/completions", "/api/orders"
ANNOUNCED = 100000
STREAMS = 20


def plain(fg):
    return [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}]


@pytest.fixture(scope="module")
def site(launch_module):
    """Each of the two backends has two places, and nobody may wait for one."""
    few = {"concurrency": {"kind": "fixed", "limit": 2}, "queue": {"requests_max": "off"}}
    llm, orders = pool(workers=1, **few), shop(**few)
    gateway = launch_module({**llm, **orders, "routes": llm["routes"] + orders["routes"], "listeners": plain,
                             "observability": {"recent_requests": 256, "access_log": True, "log_level": "info"}})
    gateway.url = gateway.url.replace("https", "http")
    return gateway


@pytest.fixture(scope="module")
def user(site):
    one = User(site)
    yield one
    one.client.close()


def fields_of(user, body):
    return {"authorization": user.client.headers["authorization"], "idempotency-key": unique(), "host": "x",
            "content-length": str(len(body))}


def head(path, fields):
    return "\r\n".join([f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]).encode() + b"\r\n\r\n"


def awaiting(site):
    return site.stats()["gateway"]["requests"]["awaiting_body"]


def in_flight(site, backend):
    return site.gate(backend)["concurrency"]["in_flight"]


def announce(site, user, open_ones, path, each=b""):
    """Requests whose bodies do not come, by either version of HTTP; returns how many."""
    fields = fields_of(user, b"") | {"content-length": "10000" if path == ORDERS else str(ANNOUNCED)}
    for _ in range(STREAMS):
        connection = open_ones.enter_context(wire.connect(site.port))
        connection.sendall(head(path, fields) + each)
    crowd = open_ones.enter_context(wire.connect(site.port))
    peer = wire.H2(crowd)
    del fields["host"]
    for stream in range(1, 2 * STREAMS, 2):
        asked = [*wire.pseudo(path, "POST"), *fields.items()]
        peer.send(wire.headers(stream, asked, END_HEADERS) + (frame(wire.DATA, 0, stream, each) if each else b""))
    return 2 * STREAMS


@contextlib.contextmanager
def unsent(site, user, path, each=b""):
    with contextlib.ExitStack() as open_ones:
        count = announce(site, user, open_ones, path, each)
        wait_for(lambda: awaiting(site) == count, what="all of them")
        yield count
    wait_for(lambda: awaiting(site) == 0, what="their end")


def order(site, user):
    with site.client(http2=False, headers={"authorization": user.client.headers["authorization"]}) as client:
        return client.post(ORDERS, json={"sku": "milk-tea", "quantity": 1}, headers={"idempotency-key": unique()})


def chat(site, **more):
    with site.client(timeout=120) as client:
        return client.post(CHAT, json={**STORY, "max_tokens": 2, **more})


@pytest.mark.parametrize("path, backend, each", [(ORDERS, "orders", b"{"), (CHAT, "inference", b"")])
def test_who_sends_no_body_keeps_nobody_out(site, user, path, backend, each):
    with unsent(site, user, path, each) as count:
        assert in_flight(site, backend) == 0
        # a page or two for each head, whatever was announced
        memory = site.gate(backend)["memory"]["used_bytes"]
        assert 0 < memory <= count * 16384 < count * ANNOUNCED / 4
        answer = order(site, user) if path == ORDERS else chat(site)
        assert answer.status_code == (201 if path == ORDERS else 200), answer.text
        assert awaiting(site) == count
        assert f"floodgate_requests_awaiting_body {count}\n" in plain_http.get(site.admin + "/metrics").text
    wait_for(lambda: site.gate(backend)["memory"]["used_bytes"] == 0, what="its memory")


@pytest.mark.parametrize("path, is_chunked", [(ORDERS, False), (CHAT, True)])
def test_byte_by_byte(site, user, path, is_chunked):
    asked = {"sku": "milk-tea", "quantity": 1} if path == ORDERS else {**STORY, "max_tokens": 2}
    body, had = json.dumps(asked).encode(), left(site)
    fields = fields_of(user, body)
    if is_chunked:
        del fields["content-length"]
        fields["transfer-encoding"] = "chunked"
    with wire.connect(site.port, timeout=120) as connection:
        connection.sendall(head(path, fields))
        wait_for(lambda: awaiting(site) == 1)
        for byte in body:
            connection.sendall(b"1\r\n%c\r\n" % byte if is_chunked else bytes([byte]))
        if is_chunked:
            assert awaiting(site) == 1
            connection.sendall(b"0\r\n\r\n")
        status, got, answer = read_response(connection.makefile("rb"))
    assert status == (201 if path == ORDERS else 200), answer
    assert "upload;dur=" in got["server-timing"]
    assert left(site) == had - (path == ORDERS)
    assert site.explain(got["x-request-id"])["hops_ms"]["upload"] > 0


@pytest.mark.parametrize("path", [ORDERS, CHAT])
def test_half_a_body_is_told_so(site, user, path):
    had = left(site)
    with wire.connect(site.port) as connection:
        connection.sendall(head(path, fields_of(user, bytes(100))) + b"{")
        wait_for(lambda: awaiting(site) == 1)
        connection.shutdown(socket.SHUT_WR)
        status, _, answer = read_response(connection.makefile("rb"))
    assert (status, json.loads(answer)["error"]["code"]) == (400, "incomplete_body")
    assert awaiting(site) == 0 and left(site) == had


def test_several_at_once_on_one_connection(site, user):
    """Pipelined: each of them is read when the one before it has its answer."""
    body = b'{"sku":"milk-tea","quantity":1}'
    had = left(site)
    with wire.connect(site.port) as connection:
        connection.sendall(b"".join(head(ORDERS, fields_of(user, body)) + body for _ in range(3)))
        file = connection.makefile("rb")
        assert [read_response(file)[0] for _ in range(3)] == [201] * 3
    assert left(site) == had - 3


def test_who_waits_for_100_is_told_to_go_on(site, user):
    body = b'{"sku":"milk-tea","quantity":1}'
    with wire.connect(site.port) as connection:
        connection.sendall(head(ORDERS, fields_of(user, body) | {"expect": "100-continue"}))
        file = connection.makefile("rb")
        assert read_response(file)[0] == 100
        connection.sendall(body)
        assert read_response(file)[0] == 201


@pytest.mark.parametrize("path, status", [("/api/nothing", 404), ("/v1/nothing", 404), ("/v1/models", 405)])
def test_what_the_head_decides_waits_for_no_body(site, user, path, status):
    with wire.connect(site.port) as connection:
        connection.sendall(head(path, fields_of(user, bytes(1000))))
        assert read_response(connection.makefile("rb"))[0] == status


@pytest.mark.parametrize("path, limit", [("/api/session", 16384), (ORDERS, 16384), (CHAT, None)])
def test_a_body_that_is_too_long_is_refused_by_its_head(site, user, path, limit):
    with wire.connect(site.port) as connection:
        connection.sendall(head(path, fields_of(user, bytes(500000))))
        status, got, answer = read_response(connection.makefile("rb"))
    error = json.loads(answer)["error"]
    assert (status, error["code"], error["policy"], error["value"]) == (413, "body_too_large", "body_max", 500000)
    # of 256 KiB that a request may have, less its head, three quarters
    assert error["limit"] == limit if limit is not None else 180000 < error["limit"] <= 196608
    wait_for(lambda: any(got["x-request-id"] in line and " refused=body_too_large policy=body_max value=500000 " in line
                         for line in site.log.splitlines()), what="the log")


def test_a_long_prompt_of_unknown_length_is_taken(site, user):
    """All that one of stated length may have."""
    words = b'{"max_tokens":2,"messages":[{"role":"user","content":"' + b"tea " * 45000
    fields = fields_of(user, b"")
    del fields["content-length"]
    with wire.connect(site.port, timeout=120) as connection:
        connection.sendall(head(CHAT, fields | {"transfer-encoding": "chunked"}))
        for at in range(0, len(words), 1500):
            piece = words[at:at + 1500]
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b'4\r\n"}]}\r\n0\r\n\r\n')
        status, _, answer = read_response(connection.makefile("rb"))
    assert (status, json.loads(answer)["error"]["code"]) == (400, "context_length_exceeded")


def test_h2_is_no_different(site, user):
    body = b'{"sku":"milk-tea","quantity":1}'
    fields = fields_of(user, body)
    del fields["host"]
    with wire.connect(site.port) as connection:
        peer = wire.H2(connection)
        peer.send(wire.headers(1, [*wire.pseudo(ORDERS, "POST"), *fields.items()], END_HEADERS))
        for at in range(len(body)):
            peer.send(frame(wire.DATA, END_STREAM if at + 1 == len(body) else 0, 1, body[at:at + 1]))
        peer.until(lambda: peer.is_over(1))
        assert peer.status[1] == 201
        del fields["content-length"]  # and one that gets longer than may be
        peer.send(wire.headers(3, [*wire.pseudo(ORDERS, "POST"), *fields.items()], END_HEADERS))
        peer.send(frame(wire.DATA, 0, 3, bytes(10000)))
        peer.send(frame(wire.DATA, 0, 3, bytes(6385)))
        peer.until(lambda: 3 in peer.status)
        assert peer.status[3] == 413


def test_in_time_or_408(launch):
    gateway = launch({"listeners": plain, "limits": {"threads": 1, "body_timeout": "300ms"},
                      "observability": {"access_log": True, "log_level": "info"},
                      "routes": [{"match": {"path": "/api/session"}, "session": True}]})
    with wire.connect(gateway.port) as connection:
        connection.sendall(head("/api/session", {"host": "x", "content-length": "30"}) + b"{")
        assert read_response(connection.makefile("rb"))[0] == 408
    wait_for(lambda: "status=408 refused=body_timeout policy=body_timeout" in gateway.log, what="the log")
    assert awaiting(gateway) == 0


def test_those_who_wait_longest_give_way(launch):
    """Not even all of them together take more than their share of what everybody needs."""
    gateway = launch({"listeners": plain, "limits": {"threads": 1, "request_memory_total_max": "4MiB", "awaiting_body_share": "5%"},
                      "observability": {"access_log": True, "log_level": "info"},
                      "identity": {"sessions_per_ip": "off"},
                      "routes": [{"match": {"path": "/api/session"}, "session": True}]})
    fields = {"host": "x", "content-length": "1000"}
    with contextlib.ExitStack() as open_ones:
        crowd = wire.H2(open_ones.enter_context(wire.connect(gateway.port)))
        for stream in range(1, 180, 2):
            crowd.send(wire.headers(stream, [*wire.pseudo("/api/session", "POST"), ("content-length", "1000")], END_HEADERS))
        crowd.until(lambda: 503 in crowd.status.values())
        assert crowd.status[1] == 503  # the first of them
        others = [open_ones.enter_context(wire.connect(gateway.port)) for _ in range(90)]
        for connection in others:
            connection.sendall(head("/api/session", fields) + b"{")
        crowd.until(lambda: all(crowd.status.get(stream) == 503 for stream in range(1, 180, 2)))
        status, _, answer = read_response(others[0].makefile("rb"))
        error = json.loads(answer)["error"]
        assert (status, error["code"], error["policy"]) == (503, "no_memory", "awaiting_body_share")
        assert error["value"] > error["limit"] and error["limit"] <= (4 << 20) // 20
        wait_for(lambda: "refused=no_memory policy=awaiting_body_share" in gateway.log, what="the log")
        assert 0 < awaiting(gateway) < 90
        with wire.connect(gateway.port) as connection:  # a client with manners
            connection.sendall(head("/api/session", {"host": "x", "content-length": "17"}) + b'{"device_id"')
            wait_for(lambda: awaiting(gateway) > 0)
            connection.sendall(b':"a"}')
            assert read_response(connection.makefile("rb"))[0] == 201
    wait_for(lambda: awaiting(gateway) == 0)
