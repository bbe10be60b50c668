"""
What RFC 9110 and 9112 ask of a gateway for answers of every kind: a server of bytes says something odd or rare, and
clients of HTTP/1.0, 1.1 and 2 are looked at for what arrives, and that the connection goes on behind it.
"""
import ssl

import pytest

import wire
from harness import read_all

OK = b"HTTP/1.1 200 OK\r\n"
BODY = b"Content-Length: 2\r\n\r\nok"
END = b"GET /plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
OURS = {"date", "x-request-id", "traceparent", "server-timing", "cache-status", "connection"}
CHUNKED, UNTIL_CLOSE = [("transfer-encoding", "chunked")], []
EMPTY = [("content-length", "0")]

# (section, what, the server's bytes, status, fields for all, body, what frames it in HTTP/1.1 beyond the fields)
CASES = [
    ("9110 15.3.5", "204 with a body", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", 204, [], b"", []),
    ("9110 15.3.5", "204 in chunks", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 204, [],
     b"", []),
    # Nothing behind its head, whatever its server says, and HTTP/1.1 is told so (RFC 9112 section 6.3).
    ("9110 15.3.6", "205 without a body", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", 205, [], b"", EMPTY),
    ("9110 15.3.6", "205 in chunks", b"HTTP/1.1 205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 205, [], b"",
     EMPTY),
    ("9110 15.3.6", "205 with content", b"HTTP/1.1 205 Reset Content\r\n" + BODY, 205, [], b"", EMPTY),
    ("9110 15.3.6", "205 with content in chunks", b"HTTP/1.1 205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n"
     b"2\r\nok\r\n0\r\n\r\n", 205, [], b"", EMPTY),
    ("9110 15.3.6", "205 whose content does not come", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 9\r\n\r\nok", 205, [], b"", EMPTY),
    ("9110 15.3.6", "205 that does not end", b"HTTP/1.1 205 Reset Content\r\n\r\nok", 205, [], b"", EMPTY),
    # What it is stands in its status and Content-Range, which a client has to look at; only the cache keeps out of it.
    ("9110 15.3.7", "206 that nobody asked for", b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\n" + BODY, 206,
     [("content-range", "bytes 0-1/9"), ("content-length", "2")], b"ok", []),
    ("9110 15.4.5", "304 with a length", b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n", 304,
     [("etag", '"a"'), ("content-length", "5")], b"", []),
    ("9110 15.5.22", "426 names what to switch to", b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.0\r\n" + BODY, 426,
     [("content-length", "2")], b"ok", [("upgrade", "TLS/1.0")]),
    ("9110 15", "a status nobody knows", b"HTTP/1.1 299 Odd\r\n" + BODY, 299, [("content-length", "2")], b"ok", []),
    ("9110 11.6.1", "two challenges", b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"a, b\"\r\nWWW-Authenticate: New x=y\r\n"
     + BODY, 401, [("www-authenticate", 'Basic realm="a, b"'), ("www-authenticate", "New x=y"), ("content-length", "2")], b"ok", []),
    ("9110 5.3", "fields of one name stay apart, in their order", OK + b"Set-Cookie: a=1, x\r\nVia: 1.0 a\r\nSet-Cookie: b=2\r\n"
     b"Via: 1.1 b\r\n" + BODY, 200, [("set-cookie", "a=1, x"), ("via", "1.0 a"), ("set-cookie", "b=2"), ("via", "1.1 b"),
                                     ("content-length", "2")], b"ok", []),
    ("9110 5.5", "blanks around values, empty ones, bytes from 0x80 up", OK + b"X-A:\r\nX-B: \t b c\t \r\nX-C: caf\xe9\r\n" + BODY, 200,
     [("x-a", ""), ("x-b", "b c"), ("x-c", "caf\xe9"), ("content-length", "2")], b"ok", []),
    ("9110 7.6.1", "fields of one hop", OK + b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
     b"Proxy-Connection: x\r\nUpgrade: h2c\r\nTE: x\r\n" + BODY, 200, [("content-length", "2")], b"ok", []),
    ("9112 4", "a status line without a reason", b"HTTP/1.1 200\r\n" + BODY, 200, [("content-length", "2")], b"ok", []),
    ("9112 4", "a reason of any bytes", b"HTTP/1.1 200 \xff\t=?\r\n" + BODY, 200, [("content-length", "2")], b"ok", []),
    ("9112 5.1", "blanks before a colon", OK + b"X-A : b\r\nX-C \t :d\r\nContent-Length : 2\r\n\r\nok", 200,
     [("x-a", "b"), ("x-c", "d"), ("content-length", "2")], b"ok", []),
    ("9112 2.3", "HTTP/1.0 that stays open", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + BODY, 200,
     [("content-length", "2")], b"ok", []),
    ("9112 6.3", "a body until the end", OK + b"X-End: 1\r\n\r\nok", 200, [("x-end", "1")], b"ok", CHUNKED),
    ("9112 7.1", "chunks", OK + b"Transfer-Encoding: CHUNKED\r\n\r\n1\r\no\r\n01;a=\"b\"\r\nk\r\n0\r\n\r\n", 200, [], b"ok", CHUNKED),
    ("9110 8.6", "a length with zeros before it", OK + b"Content-Length: 002\r\n\r\nok", 200, [("content-length", "2")], b"ok", []),
    ("9110 8.6", "a length of an interim answer", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n" + OK + BODY, 200,
     [("content-length", "2")], b"ok", []),
]


REASONS = {207: "Multi-Status", 226: "IM Used", 407: "Proxy Authentication Required", 423: "Locked", 508: "Loop Detected",
           511: "Network Authentication Required", 599: "Unknown"}


@pytest.fixture(scope="module")
def site(launch_module, recorder_module):
    answers = {f"/{number}": case[2] for number, case in enumerate(CASES)}
    answers.update({f"/status/{status}": b"HTTP/1.1 %d Any\r\n" % status + BODY for status in REASONS})
    answers["/hsts"] = OK + b"Strict-Transport-Security: max-age=1\r\n" + BODY

    def script(peer):
        while (request := peer.read_request()) is not None:
            method, path = request[0].decode().split(" ")[:2]
            answer = answers.get(path, OK + BODY)
            peer.write(answer)
            if b"X-End" in answer:
                return
    return launch_module({
        "listeners": lambda fg: [
            {"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"},
            {"name": "tls", "address": f"127.0.0.1:{fg.redirect_port}", "certificate": str(fg.certificate),
             "private_key": str(fg.key)}],
        "limits": {"threads": 1},
        "clusters": {"up": {"endpoints": [recorder_module(script).address], "breaker": {"enabled": False}, "outlier": False}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:up"}],
    })


def theirs(fields):
    return [(name, value) for name, value in fields if name not in OURS]


def take_answer(data):
    """(status, fields, body, what is behind it) of one answer of HTTP/1.1; interim ones are read over."""
    while True:
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        assert lines[0].startswith("HTTP/1.1 "), lines
        status = int(lines[0].split()[1])
        fields = [tuple(line.split(": ", 1)) for line in lines[1:]]
        if status >= 200:
            break
        data = rest
    named = dict(fields)
    if status in (204, 304):
        return status, fields, b"", rest
    if named.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size, _, rest = rest.partition(b"\r\n")
            piece, rest = rest[:int(size, 16)], rest[int(size, 16) + 2:]
            if size == b"0":
                return status, fields, body, rest
            body += piece
    length = int(named["content-length"])
    return status, fields, rest[:length], rest[length:]


by_case = pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{section} {what}" for section, what, *_ in CASES])


@by_case
def test_on_http11(site, number):
    status, fields, body, framing = CASES[number][3:]
    with wire.connect(site.port) as connection:
        connection.sendall(f"GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + END)
        got, got_fields, got_body, rest = take_answer(read_all(connection))
    assert (got, got_body) == (status, body)
    assert sorted(theirs(got_fields)) == sorted(fields + framing)
    assert [one for one in theirs(got_fields) if one not in framing] == fields
    assert take_answer(rest)[0] == 200, "the connection goes on"


@by_case
def test_on_http10(site, number):
    """No chunks, no interim answers; what has no length ends with the connection, and others may go on."""
    status, fields, body, framing = CASES[number][3:]
    with wire.connect(site.port) as connection:
        connection.sendall(f"GET /{number} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode() + END)
        data = read_all(connection)
    head, _, rest = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status) and b"\r\ntransfer-encoding" not in head
    if framing == CHUNKED:
        assert head.endswith(b"\r\nconnection: close") and rest == body
    else:
        assert b"\r\nconnection: keep-alive" in head and rest.startswith(body + b"HTTP/1.1 200 OK\r\n")


@by_case
def test_on_http2(site, number):
    status, fields, body, _ = CASES[number][3:]
    peer = wire.H2(wire.connect(site.port))
    heads, decode = [], peer.decoder.decode
    peer.decoder.decode = lambda data: heads.append(decode(data, raw=True)) or [
        (name.decode(), value.decode("latin-1")) for name, value in heads[-1]]
    with peer.connection:
        peer.send(wire.headers(1, wire.pseudo(f"/{number}")))
        assert peer.until(lambda: peer.is_over(1)) and not peer.resets
        assert peer.get(3, "/plain") == 200
    final = [(name.decode(), value.decode("latin-1")) for name, value in heads[-2]]
    assert final[0] == (":status", str(status)) and theirs(final[1:]) == fields
    assert peer.bodies.get(1, b"") == body


@by_case
def test_of_head(site, number):
    """RFC 9110 section 9.3.2: the same head, no content, also where the server sends some."""
    status, fields, _, framing = CASES[number][3:]
    with wire.connect(site.port) as connection:
        connection.sendall(f"HEAD /{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + END)
        data = read_all(connection)
    while data.startswith(b"HTTP/1.1 1"):
        data = data.partition(b"\r\n\r\n")[2]
    head, _, rest = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status) and rest.startswith(b"HTTP/1.1 200 OK\r\n")
    got = [tuple(line.split(": ", 1)) for line in head.decode("latin-1").split("\r\n")[1:]]
    assert [one for one in theirs(got) if one[0] != "upgrade"] == fields + (EMPTY if framing == EMPTY else [])


def test_reasons_are_the_registered_ones(site):
    """RFC 9112 section 4: a reason is about one hop, and nobody has to read it; ours say what the status means."""
    with wire.connect(site.port) as connection:
        connection.sendall(b"".join(b"GET /status/%d HTTP/1.1\r\nHost: x\r\n\r\n" % status for status in REASONS) + END)
        lines = [line for line in read_all(connection).decode().split("\r\n") if "HTTP/1.1 " in line]
    assert [line.partition("HTTP/1.1 ")[2] for line in lines] == [f"{status} {reason}" for status, reason in REASONS.items()] + [
        "200 OK"]


@pytest.mark.parametrize("path, said", [("/plain", "max-age=31536000"), ("/hsts", "max-age=1")])
def test_strict_transport_is_said_once(site, path, said):
    """RFC 6797 section 7.1: the server's own goes before ours."""
    context = ssl._create_unverified_context()
    with context.wrap_socket(wire.connect(site.redirect_port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        fields = take_answer(read_all(connection))[1]
    assert [value for name, value in fields if name == "strict-transport-security"] == [said]
