"""
Answers of an HTTP/2 server that are malformed, and frames that break its connection: each costs the
request that it was for (502, or a broken-off answer when its head had passed), never the gateway nor
what is asked next. Sources: RFC 9113 sections 4 to 6 and 8; RFC 7541.
"""
import contextlib
import http.client

import pytest

import wire
from upstreams import H2Requests, SocketServer
from wire import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY, PUSH_PROMISE,
                  RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, settings)

END = END_STREAM | END_HEADERS


def head(*fields, status="200", flags=END_HEADERS):
    return lambda stream: frame(HEADERS, flags, stream, block([(":status", status), *fields]))


def fields(*all_of_them, flags=END):
    return lambda stream: frame(HEADERS, flags, stream, block(all_of_them))


def data(payload=b"ok", flags=END_STREAM):
    return lambda stream: frame(DATA, flags, stream, payload)


def on(kind, flags=0, payload=b"", stream_id=None):
    return lambda stream: frame(kind, flags, stream if stream_id is None else stream_id, payload)


# (what, frames); answered 502.
REFUSED = [
    ("no status", [fields(("a", "b"))]),
    ("no field at all", [on(HEADERS, END)]),
    ("two statuses", [fields((":status", "200"), (":status", "200"))]),
    ("a status behind a field", [fields(("a", "b"), (":status", "200"))]),
    ("a status of two digits", [head(status="20", flags=END)]),
    ("a status of four digits", [head(status="2000", flags=END)]),
    ("a status of letters", [head(status="2x0", flags=END)]),
    ("status 000", [head(status="000", flags=END)]),
    ("status 600", [head(status="600", flags=END)]),
    ("an empty status", [head(status="", flags=END)]),
    ("a signed status", [head(status="+20", flags=END)]),
    ("101, which HTTP/2 has not", [head(status="101")]),
    ("100 and the end", [head(status="100", flags=END)]),
    ("103 and the end", [head(status="103", flags=END)]),
    ("103 and data", [head(status="103"), data()]),
    ("103 without end", [head(status="103")] * 100),
    ("a pseudo field of requests", [fields((":status", "200"), (":path", "/"))]),
    ("a pseudo field nobody knows", [fields((":status", "200"), (":x", "y"))]),
    ("capitals in a name", [head(("A", "b"), flags=END)]),
    ("a blank in a name", [head(("a b", "c"), flags=END)]),
    ("a colon in a name", [head(("a:b", "c"), flags=END)]),
    ("an empty name", [head(("", "c"), flags=END)]),
    ("CR and LF in a name", [head(("a\r\nb", "c"), flags=END)]),
    ("CR and LF in a value", [head(("a", "b\r\nx: y"), flags=END)]),
    ("LF in a value", [head(("a", "b\nx: y"), flags=END)]),
    ("a NUL in a value", [head(("a", "b\0"), flags=END)]),
    ("connection", [head(("connection", "close"), flags=END)]),
    ("transfer-encoding", [head(("transfer-encoding", "chunked"), flags=END)]),
    ("keep-alive", [head(("keep-alive", "5"), flags=END)]),
    ("upgrade", [head(("upgrade", "h2c"), flags=END)]),
    ("two lengths", [head(("content-length", "2"), ("content-length", "3")), data()]),
    ("a signed length", [head(("content-length", "+2")), data()]),
    ("a list of lengths", [head(("content-length", "2, 2")), data()]),
    ("a length and no data", [head(("content-length", "2"), flags=END)]),
    ("data before the head", [data()]),
    ("empty data before the head", [data(b"", 0), head(), data()]),
    ("trailers before the head", [fields(("a", "b")), head(), data()]),
    ("a blank before a value", [head(("a", " b"), flags=END)]),
    ("te other than trailers", [head(("te", "gzip"), flags=END)]),
    ("a signed length of 103", [head(("content-length", "+2"), status="103"), head(), data()]),
    ("a reset", [on(RST_STREAM, payload=b"\0\0\0\x02")]),
    ("a reset that says nothing is wrong", [on(RST_STREAM, payload=b"\0\0\0\0")]),
    ("a head too large", [fields((":status", "200"), *[("a", "b" * 8000)] * 2, flags=END_STREAM),
                          *[lambda stream: frame(CONTINUATION, 0, stream, block([("a", "b" * 16000)]))] * 5]),
    # what ends the connection
    ("a push", [on(PUSH_PROMISE, END_HEADERS, b"\0\0\0\2" + block(wire.pseudo()))]),
    ("index 0", [on(HEADERS, END, b"\x80")]),
    ("an index of nothing", [on(HEADERS, END, b"\xff\xff\x7f")]),
    ("a table larger than allowed", [on(HEADERS, END, b"\x3f\xff\xff\x7f\x88")]),
    ("a frame too large", [on(DATA, 0, b"x" * 16385)]),
    ("a frame between head and continuation", [head(flags=0), on(PING, 0, b"12345678", 0)]),
    ("continuation alone", [on(CONTINUATION, END_HEADERS, b"\x88")]),
    ("a head on stream 0", [on(HEADERS, END, b"\x88", 0)]),
    ("a head on a stream of the server's", [on(HEADERS, END, b"\x88", 2)]),
    ("a head on an idle stream", [on(HEADERS, END, b"\x88", 99)]),
    ("data on an idle stream", [on(DATA, END_STREAM, b"x", 99)]),
    ("a head padded beyond its length", [on(HEADERS, END | PADDED, b"\xff\x88")]),
    ("settings of odd length", [on(SETTINGS, 0, b"12345", 0)]),
    ("settings on a stream", [on(SETTINGS)]),
    ("a window beyond 31 bits", [on(SETTINGS, 0, b"\0\x04\xff\xff\xff\xff", 0)]),
    ("push enabled by a server", [on(SETTINGS, 0, b"\0\x02\0\0\0\1", 0)]),
    ("a ping of wrong length", [on(PING, 0, b"1", 0)]),
    ("a window update of zero", [on(WINDOW_UPDATE, 0, b"\0\0\0\0", 0)]),
    ("a window that overflows", [on(WINDOW_UPDATE, 0, b"\x7f\xff\xff\xff", 0)]),
    ("a goaway too short", [on(GOAWAY, 0, b"\0" * 7, 0)]),
    ("a reset of an idle stream", [on(RST_STREAM, 0, b"\0\0\0\x08", 99)]),
    ("HTTP/1.1", [lambda stream: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]),
    ("the end of the connection", []),
]

# Their head passed: the client must see that the rest is missing.
BROKEN_OFF = [
    ("less than the length", [head(("content-length", "5")), data()]),
    ("more than the length", [head(("content-length", "1")), data(b"okay")]),
    ("less than the length and trailers", [head(("content-length", "5")), data(flags=0), fields(("a", "b"))]),
    ("a reset", [head(), data(flags=0), on(RST_STREAM, payload=b"\0\0\0\x02")]),
    ("a reset that says nothing is wrong", [head(), data(flags=0), on(RST_STREAM, payload=b"\0\0\0\0")]),
    ("trailers without the end", [head(), data(flags=0), fields(("a", "b"), flags=END_HEADERS)]),
    ("two heads", [head(), head(), data()]),
    ("a status in trailers", [head(), data(flags=0), fields((":status", "200"))]),
    ("capitals in trailers", [head(), data(flags=0), fields(("A", "b"))]),
    ("CR and LF in trailers", [head(), data(flags=0), fields(("a", "b\r\n\r\nc"))]),
    ("connection in trailers", [head(), data(flags=0), fields(("connection", "x"))]),
    ("padding beyond the length", [head(), data(flags=0), on(DATA, PADDED | END_STREAM, b"\xffx")]),
    ("a bad block behind it", [head(), data(flags=0), on(HEADERS, END, b"\x80")]),
    ("the end of the connection", [head(), data(flags=0)]),
]

# Odd, and nothing is wrong with it.
TAKEN = [
    ("plain", [head(), data()]),
    ("frames that nobody knows", [on(99, 255, b"x"), head(), on(99, 0, b"x", 0), data()]),
    ("padding", [lambda stream: frame(HEADERS, END_HEADERS | PADDED, stream, b"\2" + block([(":status", "200")]) + b"\0\0"),
                 on(DATA, PADDED | END_STREAM, b"\3ok\0\0\0")]),
    ("a priority", [on(PRIORITY, 0, b"\0\0\0\0\x10"), head(), data()]),
    ("empty data", [head(), data(b"", 0), data(flags=0), data(b"")]),
    ("a head in four pieces", [head(("a", "b"), flags=0), on(CONTINUATION, 0, block([("c", "d" * 300)])), on(CONTINUATION),
                               on(CONTINUATION, END_HEADERS, block([("content-length", "2")])), data()]),
    ("a host that is none, which means nothing there", [head(("host", "a b/c")), data()]),
    ("103 before the head", [head(status="103"), head(("content-length", "2")), data()]),
    ("a length of 103", [head(("content-length", "9"), status="103"), head(), data()]),
    ("a reset behind the end, without an error", [head(), data(), on(RST_STREAM, payload=b"\0\0\0\0")]),
    ("a goaway that spares it", [lambda stream: frame(GOAWAY, 0, 0, stream.to_bytes(4, "big") + b"\0" * 4), head(), data()]),
    ("acknowledgements of nothing", [on(PING, ACK, b"12345678", 0), head(), data()]),
]


class Server(SocketServer):
    """Answers "/good" well, and other paths with the frames of the table, behind which it hangs up."""

    def __init__(self):
        super().__init__(self.talk)

    def talk(self, connection, _):
        peer = H2Requests(connection)
        answers = {"/taken/205": [head(("content-length", "9"), status="205"), data(b"ok", 0)],
                   "/taken/204": [head(("content-length", "9"), status="204", flags=END)],
                   "/broken/204": [head(("content-length", "2"), status="204"), data()],
                   **{f"/{table}/{number}": case[1] for table, cases in TABLES.items() for number, case in enumerate(cases)}}
        while (request := peer.next_request()) is not None:
            stream, path = request
            if path == "/good":
                connection.sendall(head()(stream) + data()(stream))
                continue
            connection.sendall(b"".join(one(stream) for one in answers[path]))
            if not path.startswith("/taken/"):
                peer.hang_up()
                return


TABLES = {"refused": REFUSED, "broken": BROKEN_OFF, "taken": TAKEN}


@pytest.fixture(scope="module")
def server():
    one = Server()
    yield one
    one.close()


@pytest.fixture(scope="module")
def site(launch_module, server):
    return launch_module({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1},
        "clusters": {"up": {"endpoints": [server.address], "protocol": "h2", "breaker": {"enabled": False},
                            "outlier": False, "response_idle_timeout": "1h"}},
        "routes": [{"match": {"path": "/taken/205"}, "to": "cluster:up", "timeout": "1h"},
                   {"match": {"prefix": "/"}, "to": "cluster:up"}],
    })


def ask(site, path):
    """A POST, which goes once, and then a good request."""
    peer = wire.H2(wire.connect(site.port))
    with peer.connection:
        peer.send(wire.headers(1, wire.pseudo(path, method="POST")))
        assert peer.until(lambda: peer.is_over(1))
        assert peer.get(3, "/good") == 200 and peer.bodies[3] == b"ok" and not peer.goaways
    return peer


def of(table):
    return pytest.mark.parametrize("path", [f"/{table}/{number}" for number in range(len(TABLES[table]))],
                                   ids=[case[0] for case in TABLES[table]])


@of("refused")
def test_costs_one_request(site, path):
    peer = ask(site, path)
    assert peer.status[1] == 502 and 1 in peer.ended


@of("broken")
def test_a_part_is_never_the_whole(site, path):
    peer = ask(site, path)
    # a head that is still on its way when the answer breaks off stays behind
    assert peer.status.get(1) in (None, 200) and 1 in peer.resets and 1 not in peer.ended


@of("taken")
def test_taken(site, path):
    peer = ask(site, path)
    assert peer.status[1] == 200 and peer.bodies[1] == b"ok" and 1 in peer.ended


def test_a_204_has_no_content_whatever_length_it_says(site):
    """RFC 9113 section 8.1.1; the client is told of none (RFC 9110 section 8.6). Content all the same is malformed."""
    peer = ask(site, "/taken/204")
    assert peer.status[1] == 204 and 1 in peer.ended and not peer.bodies.get(1)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)) as plain:
        plain.request("GET", "/taken/204")
        answer = plain.getresponse()
        assert answer.status == 204 and answer.getheader("content-length") is None
    peer = ask(site, "/broken/204")
    assert 1 in peer.resets and 1 not in peer.ended


def test_a_205_ends_with_its_head(site):
    """Nobody is given its content, so nobody waits for it."""
    peer = wire.H2(wire.connect(site.port))
    with peer.connection:
        assert peer.get(1, "/taken/205") == 205
        site.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 0, what="the end of the request")
        assert peer.get(3, "/good") == 200
