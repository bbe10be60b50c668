"""
Requests about the way: OPTIONS *, TRACE and Max-Forwards (RFC 9110 sections 7.6.2, 9.3.7, 9.3.8; RFC 9112 section
3.2.4), over both versions: who answers, and every byte that the upstream received.
"""
import re

import pytest

import wire
from harness import read_all

H = b"Host: x\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
ANY = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"


@pytest.fixture(scope="module")
def upstream(recorder_module):
    return recorder_module()


@pytest.fixture(scope="module")
def site(launch_module, upstream):
    return launch_module({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1},
        "clusters": {"up": {"endpoints": [upstream.address], "max_idle_connections": 0}},
        "routes": [{"match": {"path": "/read", "methods": ["GET"]}, "to": "cluster:up"},
                   {"match": {"path": "/write", "methods": ["POST", "OPTIONS"]}, "to": "cluster:up"},
                   {"match": {"path": "/fixed", "methods": ["GET"]}, "respond": {"status": 200, "body": "fixed"}},
                   {"match": {"prefix": "/any"}, "to": "cluster:up"},
                   {"match": {"path": "/last", "methods": ["GET"]}, "to": "cluster:up"}],
    })


def options(path, *fields):
    return "OPTIONS", path, fields


def trace(path, *fields):
    return "TRACE", path, fields


def hops(value):
    return "max-forwards", value


# (what, request, status, Allow of the answer, what the upstream received)
CASES = [
    ("the server as a whole", options("*"), 200, ANY, b""),
    ("the server as a whole, far away", options("*", hops("7")), 200, ANY, b""),
    ("no hop left, any method", options("/any/a", hops("0")), 200, ANY, b""),
    ("no hop left, one method", options("/read", hops("0")), 200, "GET, HEAD", b""),
    ("no hop left, methods", options("/write", hops("0")), 200, "POST, OPTIONS", b""),
    ("no hop left, of a fixed text", options("/fixed", hops("0")), 200, "GET, HEAD", b""),
    ("no hop left, nothing there", options("/nowhere", hops("0")), 404, None, b""),
    ("one hop left", options("/any/a", hops("1")), 200, None,
     wire.head("OPTIONS", "/any/a", fields=[("max-forwards", "0")])),
    ("many hops left", options("/any/a", hops("010")), 200, None,
     wire.head("OPTIONS", "/any/a", fields=[("max-forwards", "9")])),
    ("hops left, not for this method", options("/read", hops("3")), 405, "GET, HEAD", b""),
    ("no number of hops", options("/any/a", hops("a")), 400, None, b""),
    ("a negative number of hops", options("/any/a", hops("-1")), 400, None, b""),
    ("an empty number of hops", options("/any/a", hops("")), 400, None, b""),
    ("more hops than can be counted", options("/any/a", hops("9" * 30)), 400, None, b""),
    ("hops twice", options("/any/a", hops("1"), hops("1")), 400, None, b""),
    ("no hops said", options("/any/a"), 200, None, wire.head("OPTIONS", "/any/a")),
    ("hops of another method are its own affair", ("GET", "/any/a", [hops("0")]), 200, None,
     wire.head("GET", "/any/a", fields=[("max-forwards", "0")])),
    ("a method nobody knows, where any is taken", ("M-SEARCH", "/any/a", []), 200, None, wire.head("M-SEARCH", "/any/a")),
    ("a method nobody knows, where some are", ("M-SEARCH", "/write", []), 405, "POST, OPTIONS", b""),
    ("a method nobody knows, where nothing is", ("M-SEARCH", "/nowhere", []), 404, None, b""),
    ("trace", trace("/any/a"), 405, ANY, b""),
    ("trace, no hop left", trace("/any/a", hops("0")), 405, ANY, b""),
    ("trace, hops left", trace("/read", hops("5")), 405, "GET, HEAD", b""),
]


def over_h1(site, method, target, fields):
    with wire.connect(site.port) as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\nhost: x\r\n".encode()
                           + b"".join(f"{name}: {value}\r\n".encode() for name, value in fields) + b"\r\n" + LAST)
        head, _, rest = read_all(connection).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    answer = {name: value for name, _, value in (line.partition(": ") for line in lines[1:])}
    assert rest[int(answer["content-length"]):].startswith(b"HTTP/1.1 200 "), "the connection goes on"
    return int(lines[0].split()[1]), answer


def over_h2(site, method, target, fields):
    peer = wire.H2(wire.connect(site.port))
    heads = []
    decode = peer.decoder.decode
    peer.decoder.decode = lambda data: heads.append(decode(data)) or heads[-1]
    with peer.connection:
        peer.send(wire.headers(1, wire.pseudo(target, method) + list(fields)))
        assert peer.until(lambda: peer.is_over(1)) and peer.get(3, "/last") == 200
    return peer.status[1], dict(heads[0])


@pytest.mark.parametrize("ask", [over_h1, over_h2], ids=["h1", "h2"])
@pytest.mark.parametrize("request_, status, allow, received", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_case(site, upstream, ask, request_, status, allow, received):
    before = len(upstream.received())
    got, answer = ask(site, *request_)
    assert got == status
    assert answer.get("allow") == allow
    if status == 200 and allow is not None:
        assert answer["content-length"] == "0"
    assert wire.stable(upstream.received()[before:]) == received + wire.head(path="/last")


@pytest.mark.parametrize("target, received", [("http://x", b""), ("http://x/any", wire.head("OPTIONS", "/any"))])
def test_an_absolute_target_without_a_path_is_the_server_as_a_whole(site, upstream, target, received):
    before = len(upstream.received())
    status, answer = over_h1(site, "OPTIONS", target, [])
    assert status == 200 and answer.get("allow") == (None if received else ANY)
    assert wire.stable(upstream.received()[before:]) == received + wire.head(path="/last")


def test_a_body_of_either_is_read_and_dropped(site, upstream):
    before = len(upstream.received())
    with wire.connect(site.port) as connection:
        for method, target in ((b"OPTIONS", b"*"), (b"TRACE", b"/any/a")):
            connection.sendall(method + b" " + target + b" HTTP/1.1\r\n" + H + b"Content-Length: 5\r\n\r\nhello")
        connection.sendall(LAST)
        answers = read_all(connection)
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answers) == [b"200", b"405", b"200"]
    assert wire.stable(upstream.received()[before:]) == wire.head(path="/last")
