"""
Answers of a server that are malformed or that two parsers could read differently: each costs its one
request (502, or a broken-off answer when its head had passed), never the connection beside it.
"""
import pytest

import wire
from harness import read_all

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 2\r\n\r\nok"

# Answered 502.
REFUSED = [
    ("nothing", b""),
    ("half a status line", b"HTTP/1.1 20"),
    ("a head without end", OK + b"X: y\r\n"),
    ("garbage", b"\x00\x01\x02\x03garbage\r\n\r\n"),
    ("TLS", b"\x15\x03\x01\x00\x02\x02\x46"),
    ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("a request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("HTTP/0.9", b"<html>hello</html>"),
    ("HTTP/2", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    ("version 2.0", b"HTTP/2.0 200 OK\r\n" + LENGTH),
    ("lower case", b"http/1.1 200 OK\r\n" + LENGTH),
    ("status 000", b"HTTP/1.1 000 Zero\r\n" + LENGTH),
    ("status 099", b"HTTP/1.1 099 Low\r\n" + LENGTH),
    ("status 600", b"HTTP/1.1 600 High\r\n" + LENGTH),
    ("status 999", b"HTTP/1.1 999 High\r\n" + LENGTH),
    ("status of two digits", b"HTTP/1.1 20 OK\r\n" + LENGTH),
    ("status of four digits", b"HTTP/1.1 2000 OK\r\n" + LENGTH),
    ("status of letters", b"HTTP/1.1 abc OK\r\n" + LENGTH),
    ("a signed status", b"HTTP/1.1 +200 OK\r\n" + LENGTH),
    ("101 that nobody asked for", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    ("LF behind the status line", b"HTTP/1.1 200 OK\n" + LENGTH),
    ("LF behind a field", OK + b"X: y\n" + LENGTH),
    ("CR in a field", OK + b"X: y\rZ: a\r\n" + LENGTH),
    ("a folded field", OK + b"X: y\r\n z\r\n" + LENGTH),
    ("a blank in a name", OK + b"X Y : z\r\n" + LENGTH),
    ("two lengths, one with a blank", OK + b"Content-Length : 3\r\n" + LENGTH),
    ("a length beside a coding with a blank", OK + b"Transfer-Encoding\t: chunked\r\n" + LENGTH),
    ("no colon", OK + b"X\r\n" + LENGTH),
    ("a NUL in a value", OK + b"X: a\0b\r\n" + LENGTH),
    ("a control in a name", OK + b"X\x01: a\r\n" + LENGTH),
    ("two lengths", OK + b"Content-Length: 3\r\n" + LENGTH),
    ("equal lengths", OK + b"Content-Length: 2\r\n" + LENGTH),
    ("a list of lengths", OK + b"Content-Length: 2, 2\r\n\r\nok"),
    ("a signed length", OK + b"Content-Length: +2\r\n\r\nok"),
    ("a negative length", OK + b"Content-Length: -2\r\n\r\nok"),
    ("a length in hexadecimal", OK + b"Content-Length: 0x2\r\n\r\nok"),
    ("a length beyond 64 bits", OK + b"Content-Length: 18446744073709551618\r\n\r\nok"),
    ("both", OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n"),
    ("gzip", OK + b"Transfer-Encoding: gzip\r\n\r\nok"),
    ("gzip, chunked", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("two codings", OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a coding nobody knows", OK + b"Transfer-Encoding: nonsense\r\n\r\n0\r\n\r\n"),
    ("chunked of HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a field too large", OK + b"X: " + b"y" * 70000 + b"\r\n" + LENGTH),
    ("too many fields", OK + b"X: y\r\n" * 5000 + LENGTH),
    ("Connection of many names", OK + b"Connection: " + b"x, " * 100 + b"close\r\n" + LENGTH),
    ("Connection of nothing but commas", OK + b"Connection: " + b"," * 20000 + b"\r\n" + LENGTH),
    ("100 without end", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    ("103 without end", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000),
    ("102 and then nothing", b"HTTP/1.1 102 Processing\r\n\r\n"),
]

# Their head passed: the client must see that the rest is missing.
BROKEN_OFF = [
    ("less than the length", OK + b"Content-Length: 10\r\n\r\nok"),
    ("a bad chunk size", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n"),
    ("a chunk longer than its size", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n"),
    ("no last chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
    ("no end of trailers", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n"),
    ("a trailer that is no field", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX y: z\r\n\r\n"),
]


@pytest.fixture(scope="module")
def upstream(recorder_module):
    def script(peer):
        while (request := peer.read_request()) is not None:
            path = request[0].split(b" ")[1].decode()
            if path == "/good":
                peer.write(OK + LENGTH)
                continue
            peer.write(dict(REFUSED + BROKEN_OFF)[path[1:].replace("-", " ")])
            return
    return recorder_module(script)


@pytest.fixture(scope="module")
def site(launch_module, upstream):
    return launch_module({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1},
        "clusters": {"up": {"endpoints": [upstream.address], "breaker": {"enabled": False},
                            "outlier": False}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:up"}],
    })


def path_of(what):
    return "/" + what.replace(" ", "-")


def h1(site, path):
    with wire.connect(site.port) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return read_all(connection)


@pytest.mark.parametrize("what", [case[0] for case in REFUSED])
def test_costs_one_request(site, what):
    answer = h1(site, path_of(what))
    final = answer[answer.index(b"HTTP/1.1 502 "):]
    assert b"HTTP/1.1 1" not in final and answer.count(b"HTTP/1.1 103 ") <= 16
    with wire.connect(site.port) as connection:
        peer = wire.H2(connection)
        assert peer.get(1, path_of(what)) == 502
        assert peer.get(3, "/good") == 200 and not peer.goaways
    assert h1(site, "/good").endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("what", [case[0] for case in BROKEN_OFF])
def test_a_part_is_never_the_whole(site, what):
    answer = h1(site, path_of(what))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and not answer.endswith(b"\r\n0\r\n\r\n")
    if b"content-length: 10" in answer:
        assert len(answer.split(b"\r\n\r\n", 1)[1]) < 10
    with wire.connect(site.port) as connection:
        peer = wire.H2(connection)
        peer.get(1, path_of(what))
        assert peer.resets[1] == wire.INTERNAL_ERROR and 1 not in peer.ended
        assert peer.get(3, "/good") == 200 and not peer.goaways
