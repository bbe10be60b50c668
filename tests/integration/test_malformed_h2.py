"""
HTTP/2 frames and requests that are malformed or ambiguous, and what becomes of each: answered, the
stream reset, or the connection ended, with the exact code; and every byte that the upstream received.
Sources: RFC 9113 sections 3.4, 4, 5, 6, 8; RFC 8441; RFC 9110 section 5.
"""
import pytest

import wire
from wire import (ACK, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR,
                  FRAME_SIZE_ERROR, GOAWAY, HEADERS, PADDED, PING, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM,
                  SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, WITH_PRIORITY, block, frame, headers, pseudo, settings)


@pytest.fixture(scope="module")
def upstream(recorder_module):
    return recorder_module()


@pytest.fixture(scope="module")
def site(launch_module, upstream):
    return launch_module({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1, "header_max": "4KiB", "header_count_max": 20, "uri_max": "512B", "body_max": "8KiB",
                   "late_body_max": 0},
        "clusters": {"up": {"endpoints": [upstream.address], "max_idle_connections": 0}},
        "routes": [{"match": {"path": "/direct"}, "respond": {"status": 200, "body": "direct"}},
                   {"match": {"prefix": "/"}, "to": "cluster:up"}],
    })


def get(*extra, path="/a", stream=1, flags=END_STREAM | END_HEADERS, **kwargs):
    return headers(stream, pseudo(path, **kwargs) + list(extra), flags)


def post(*extra, stream=1):
    return get(*extra, stream=stream, flags=END_HEADERS, method="POST")


def data(payload=b"", end=True, stream=1):
    return frame(DATA, END_STREAM if end else 0, stream, payload)


def without(name):
    return headers(1, [one for one in pseudo("/a") if one[0] != name])


def with_value(name, value):
    return headers(1, [(n, value if n == name else v) for n, v in pseudo("/a")])


# (what, frames on stream 1, status of our answer or None, code of the stream's reset or None).
# The connection goes on, and nothing of the request reaches the upstream.
STREAM_ERRORS = [
    ("no method", without(":method"), None, PROTOCOL_ERROR),
    ("no scheme", without(":scheme"), None, PROTOCOL_ERROR),
    ("no path", without(":path"), None, PROTOCOL_ERROR),
    ("no authority and no host", without(":authority"), None, PROTOCOL_ERROR),
    ("two methods", get((":method", "GET")), None, PROTOCOL_ERROR),
    ("two paths", get((":path", "/b")), None, PROTOCOL_ERROR),
    ("two schemes", get((":scheme", "http")), None, PROTOCOL_ERROR),
    ("two authorities", get((":authority", "x")), None, PROTOCOL_ERROR),
    ("a pseudo field behind a field", headers(1, pseudo("/a")[:3] + [("a", "b"), (":path", "/a")]), None,
     PROTOCOL_ERROR),
    ("a pseudo field that nobody knows", headers(1, pseudo("/a") + [(":magic", "1")]), None, PROTOCOL_ERROR),
    ("a status in a request", headers(1, pseudo("/a") + [(":status", "200")]), None, PROTOCOL_ERROR),
    ("an empty method", with_value(":method", ""), None, PROTOCOL_ERROR),
    ("an empty scheme", with_value(":scheme", ""), None, PROTOCOL_ERROR),
    ("an empty path", with_value(":path", ""), None, PROTOCOL_ERROR),
    ("an empty authority", with_value(":authority", ""), None, PROTOCOL_ERROR),
    ("a blank in the method", with_value(":method", "GET /b HTTP/1.1"), None, PROTOCOL_ERROR),
    ("CR and LF in the method", with_value(":method", "GET\r\nX: y"), None, PROTOCOL_ERROR),
    ("a method longer than any", with_value(":method", "M" * 33), 501, None),
    ("a method in lower case", with_value(":method", "get"), 501, None),
    ("a path without a slash", with_value(":path", "a"), None, PROTOCOL_ERROR),
    ("an absolute path", with_value(":path", "http://x/a"), None, PROTOCOL_ERROR),
    ("asterisk of a GET", with_value(":path", "*"), None, PROTOCOL_ERROR),
    ("a blank in the path", with_value(":path", "/a HTTP/1.1"), None, PROTOCOL_ERROR),
    ("CR and LF in the path", with_value(":path", "/a\r\nX: y"), None, PROTOCOL_ERROR),
    ("a NUL in the path", with_value(":path", "/a\0"), None, PROTOCOL_ERROR),
    ("a fragment in the path", with_value(":path", "/a#b"), 400, None),
    ("UTF-8 in the path", with_value(":path", "/é"), 400, None),
    ("a backslash in the path", with_value(":path", "/a\\b"), 400, None),
    ("an encoded slash in the path", with_value(":path", "/a%2fb"), 400, None),
    ("an encoded NUL in the path", with_value(":path", "/a%00"), 400, None),
    ("above the root", with_value(":path", "/../a"), 400, None),
    ("a parent segment with a parameter", with_value(":path", "/a/..;/b"), 400, None),
    ("a path too long", with_value(":path", "/" + "a" * 600), 414, None),
    ("a path in the authority", with_value(":authority", "x/b"), None, PROTOCOL_ERROR),
    ("user information in the authority", with_value(":authority", "u@x"), 400, None),
    ("CR and LF in the authority", with_value(":authority", "x\r\nY: z"), None, PROTOCOL_ERROR),
    ("a blank in the authority", with_value(":authority", "x y"), None, PROTOCOL_ERROR),
    ("a query in the authority", with_value(":authority", "x?y"), None, PROTOCOL_ERROR),
    ("a backslash in the authority", with_value(":authority", "x\\y"), None, PROTOCOL_ERROR),
    ("a bad port in the authority", with_value(":authority", "x:99999"), 400, None),
    ("no IPv6 address in the authority", with_value(":authority", "[1:2:3]"), 400, None),
    ("an IPv6 address with a zone in the authority", with_value(":authority", "[fe80::1%25eth0]"), 400, None),
    ("a comma in the authority", with_value(":authority", "x,y"), 400, None),
    ("a blank in the scheme", with_value(":scheme", "ht tp"), None, PROTOCOL_ERROR),
    ("a foreign scheme", with_value(":scheme", "ftp"), 400, None),
    ("a host that is none", get(("host", "u@y")), 400, None),
    ("two hosts", get(("host", "x"), ("host", "x")), None, PROTOCOL_ERROR),
    ("a host with a path", headers(1, [f for f in pseudo("/a") if f[0] != ":authority"] + [("host", "x/b")]), None,
     PROTOCOL_ERROR),
    ("a name in capitals", get(("X-A", "b")), None, PROTOCOL_ERROR),
    ("an empty name", get(("", "b")), None, PROTOCOL_ERROR),
    ("a blank in a name", get(("a b", "c")), None, PROTOCOL_ERROR),
    ("a colon in a name", get(("a:b", "c")), None, PROTOCOL_ERROR),
    ("CR and LF in a name", get(("a\r\nb", "c")), None, PROTOCOL_ERROR),
    ("a NUL in a name", get(("a\0", "c")), None, PROTOCOL_ERROR),
    ("a high byte in a name", get(("a\x80", "c")), None, PROTOCOL_ERROR),
    ("CR and LF in a value", get(("a", "b\r\nX: y")), None, PROTOCOL_ERROR),
    ("LF in a value", get(("a", "b\nX: y")), None, PROTOCOL_ERROR),
    ("CR in a value", get(("a", "b\rX: y")), None, PROTOCOL_ERROR),
    ("a NUL in a value", get(("a", "b\0")), None, PROTOCOL_ERROR),
    ("a control in a value", get(("a", "b\x01")), None, PROTOCOL_ERROR),
    ("DEL in a value", get(("a", "b\x7f")), None, PROTOCOL_ERROR),
    ("a value that begins with a blank", get(("a", " b")), None, PROTOCOL_ERROR),
    ("a value that ends with a blank", get(("a", "b ")), None, PROTOCOL_ERROR),
    ("connection", get(("connection", "close")), None, PROTOCOL_ERROR),
    ("keep-alive", get(("keep-alive", "5")), None, PROTOCOL_ERROR),
    ("proxy-connection", get(("proxy-connection", "close")), None, PROTOCOL_ERROR),
    ("transfer-encoding", get(("transfer-encoding", "chunked")), None, PROTOCOL_ERROR),
    ("transfer-encoding with a length", post(("content-length", "5"), ("transfer-encoding", "chunked")) + data(b"hello"),
     None, PROTOCOL_ERROR),
    ("upgrade", get(("upgrade", "h2c")), None, PROTOCOL_ERROR),
    ("te that is not trailers", get(("te", "gzip")), None, PROTOCOL_ERROR),
    ("te with more than trailers", get(("te", "trailers, gzip")), None, PROTOCOL_ERROR),
    ("a signed length", post(("content-length", "+5")) + data(b"hello"), None, PROTOCOL_ERROR),
    ("a negative length", post(("content-length", "-5")) + data(b"hello"), None, PROTOCOL_ERROR),
    ("a list of lengths", post(("content-length", "5, 5")) + data(b"hello"), None, PROTOCOL_ERROR),
    ("two lengths", post(("content-length", "5"), ("content-length", "6")) + data(b"hello"), None, PROTOCOL_ERROR),
    ("equal lengths", post(("content-length", "5"), ("content-length", "5")) + data(b"hello"), None, PROTOCOL_ERROR),
    ("an empty length", post(("content-length", "")) + data(b""), None, PROTOCOL_ERROR),
    ("a length beyond 63 bits", post(("content-length", "9223372036854775808")) + data(b"hello"), None, PROTOCOL_ERROR),
    ("a length above the limit", post(("content-length", "8193")), 413, None),
    ("a length and the end at once", get(("content-length", "5")), None, PROTOCOL_ERROR),
    ("too many fields", get(*[(f"a{i}", "b") for i in range(21)]), 431, None),
    ("a field too large", get(("a", "b" * 5000)), 431, None),
    ("a cookie too large, in pieces", get(*[("cookie", "b" * 34)] * 105), 431, None),
    ("an expectation nobody knows", get(("expect", "200-maybe")), 417, None),
    ("plain CONNECT", headers(1, [(":method", "CONNECT"), (":authority", "x:443")], END_HEADERS), 501, None),
    ("CONNECT with a path", headers(1, [(":method", "CONNECT"), (":authority", "x:443"), (":path", "/")]), None,
     PROTOCOL_ERROR),
    ("a protocol of a GET", get((":protocol", "websocket")), None, PROTOCOL_ERROR),
    ("a protocol nobody knows", headers(1, pseudo("/a", method="CONNECT") + [(":protocol", "connect-udp")],
                                        END_HEADERS), 501, None),
    ("a protocol without a path", headers(1, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"),
                                              (":authority", "x")], END_HEADERS), None, PROTOCOL_ERROR),
    ("a window update of zero", post() + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\0"), None, PROTOCOL_ERROR),
    ("data behind the end of a stream", get(path="/direct") + data(b"x"), None, STREAM_CLOSED),
    ("headers behind the end of a stream", get(path="/direct") + get(), None, STREAM_CLOSED),
    ("a stream's window beyond 31 bits", post() + frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"), None,
     FLOW_CONTROL_ERROR),
    ("a stream that depends on itself", frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1,
                                              b"\0\0\0\1\x10" + block(pseudo("/a"))), None, PROTOCOL_ERROR),
    ("a priority of a stream on itself", post() + frame(PRIORITY, 0, 1, b"\0\0\0\1\x10"), None, PROTOCOL_ERROR),
    ("a priority too short", post() + frame(PRIORITY, 0, 1, b"\0\0\0\1"), None, FRAME_SIZE_ERROR),
    ("a priority too long", post() + frame(PRIORITY, 0, 1, b"\0\0\0\0\x10\0"), None, FRAME_SIZE_ERROR),
    ("an empty priority", post() + frame(PRIORITY, 0, 1), None, FRAME_SIZE_ERROR),
    ("a websocket where the route has none",
     headers(1, pseudo("/a", method="CONNECT") + [(":protocol", "websocket")], END_HEADERS), 501, None),
]

# (what, frames, what the upstream has received by the end); the stream is reset with PROTOCOL_ERROR.
UP_POST = wire.head("POST", "/a", fields=[("content-length", "5")])
UP_STREAM = wire.head("POST", "/a", fields=[("transfer-encoding", "chunked")])
BODY_ERRORS = [
    ("less than the length", post(("content-length", "5")) + data(b"hell"), (b"", UP_POST, UP_POST + b"hell")),
    ("more than the length", post(("content-length", "5")) + data(b"hello!"), (b"", UP_POST)),
    ("more than the length, later", post(("content-length", "5")) + data(b"hello", end=False) + data(b"!"),
     (b"", UP_POST, UP_POST + b"hello")),
    ("a length and no data", post(("content-length", "5")) + data(b""), (b"", UP_POST)),
    ("less than the length, ended by trailers",
     post(("content-length", "5")) + data(b"hell", end=False) + headers(1, [("a", "b")]),
     (b"", UP_POST, UP_POST + b"hell")),
    ("a length and trailers alone", post(("content-length", "5")) + headers(1, [("a", "b")]), (b"", UP_POST)),
    ("data for a length of zero", post(("content-length", "0")) + data(b"x"), (b"", wire.head("POST", "/a", fields=[
        ("content-length", "0")]))),
    ("trailers without the end", post() + data(b"hello", end=False) + headers(1, [("a", "b")], END_HEADERS),
     (b"", UP_STREAM, UP_STREAM + b"5\r\nhello\r\n")),
    ("a pseudo field in trailers", post() + data(b"hello", end=False) + headers(1, [(":path", "/b")]),
     (b"", UP_STREAM, UP_STREAM + b"5\r\nhello\r\n")),
    ("capitals in trailers", post() + data(b"hello", end=False) + headers(1, [("A", "b")]),
     (b"", UP_STREAM, UP_STREAM + b"5\r\nhello\r\n")),
    ("CR and LF in trailers", post() + data(b"hello", end=False) + headers(1, [("a", "b\r\n\r\nGET /b")]),
     (b"", UP_STREAM, UP_STREAM + b"5\r\nhello\r\n")),
    ("transfer-encoding in trailers", post() + data(b"hello", end=False) + headers(1, [("transfer-encoding", "x")]),
     (b"", UP_STREAM, UP_STREAM + b"5\r\nhello\r\n")),
]

def headers_of(coded_block, stream=1):
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, coded_block)


def coded(more):
    """A request whose block goes on with these bytes."""
    return headers_of(PLAIN + more)


PLAIN = block(pseudo("/direct"))
INDEXED = b"\x40\x01a\x01b"  # goes into the table
CANCELLED = frame(RST_STREAM, 0, 1, b"\0\0\0\x08")

# (what, frames, code of the GOAWAY).
CONNECTION_ERRORS = [
    ("data on stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
    ("data on an idle stream", data(b"x"), PROTOCOL_ERROR),
    ("data padded beyond its length", post() + frame(DATA, PADDED, 1, b"\x05abc"), PROTOCOL_ERROR),
    ("data without room for the padding's length", post() + frame(DATA, PADDED, 1, b""), FRAME_SIZE_ERROR),
    ("headers without room for the padding's length", frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1), FRAME_SIZE_ERROR),
    ("data too large", post() + frame(DATA, 0, 1, b"x" * 16385), FRAME_SIZE_ERROR),
    ("headers on stream 0", frame(HEADERS, END_HEADERS, 0, block(pseudo())), PROTOCOL_ERROR),
    ("headers on an even stream", get(stream=2), PROTOCOL_ERROR),
    ("headers on a stream that went before", get(stream=5, path="/direct") + get(stream=3), PROTOCOL_ERROR),
    ("headers padded beyond their length", frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, b"\xff\x82"),
     PROTOCOL_ERROR),
    ("headers too short for their priority", frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, b"\0\0"),
     FRAME_SIZE_ERROR),
    ("headers between headers and continuation", get(flags=END_STREAM) + get(stream=3), PROTOCOL_ERROR),
    ("data between headers and continuation", get(flags=0) + data(b"x"), PROTOCOL_ERROR),
    ("a ping between headers and continuation", get(flags=0) + frame(PING, 0, 0, b"12345678"), PROTOCOL_ERROR),
    ("an unknown frame between headers and continuation", get(flags=0) + frame(99, 0, 0, b"x"), PROTOCOL_ERROR),
    ("continuation of another stream", get(flags=0) + frame(CONTINUATION, END_HEADERS, 3, b"\x82"), PROTOCOL_ERROR),
    ("continuation without headers", frame(CONTINUATION, END_HEADERS, 1, b"\x82"), PROTOCOL_ERROR),
    ("continuation behind the end of headers", get(flags=END_HEADERS) + frame(CONTINUATION, END_HEADERS, 1, b"\x82"),
     PROTOCOL_ERROR),
    ("continuation on stream 0", frame(CONTINUATION, END_HEADERS, 0, b"\x82"), PROTOCOL_ERROR),
    ("an index of no field", frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xff\xff\x7f"), COMPRESSION_ERROR),
    ("index 0", frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x80"), COMPRESSION_ERROR),
    ("an integer without end", frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xff" * 16), COMPRESSION_ERROR),
    ("a text longer than the block", frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x00\x7fa"), COMPRESSION_ERROR),
    ("bad Huffman code", frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x00\x84\xff\xff\xff\xff\x01a"),
     COMPRESSION_ERROR),
    ("a table larger than allowed", frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x3f\xe1\xff\x7f\x82"),
     COMPRESSION_ERROR),
    ("a table update behind a field", frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x82\x20"), COMPRESSION_ERROR),
    ("priority on stream 0", frame(PRIORITY, 0, 0, b"\0\0\0\0\x10"), PROTOCOL_ERROR),
    ("a reset on stream 0", frame(RST_STREAM, 0, 0, b"\0\0\0\x08"), PROTOCOL_ERROR),
    ("a reset of an idle stream", frame(RST_STREAM, 0, 1, b"\0\0\0\x08"), PROTOCOL_ERROR),
    ("a reset of wrong length", post() + frame(RST_STREAM, 0, 1, b"\0\0\x08"), FRAME_SIZE_ERROR),
    ("settings on a stream", frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
    ("settings of odd length", frame(SETTINGS, 0, 0, b"12345"), FRAME_SIZE_ERROR),
    ("an acknowledgement with payload", frame(SETTINGS, ACK, 0, b"123456"), FRAME_SIZE_ERROR),
    ("push enabled with 2", settings((2, 2)), PROTOCOL_ERROR),
    ("a window beyond 31 bits", settings((4, 1 << 31)), FLOW_CONTROL_ERROR),
    ("frames too small", settings((5, 16383)), PROTOCOL_ERROR),
    ("frames too large", settings((5, 1 << 24)), PROTOCOL_ERROR),
    ("a connect protocol of 2", settings((8, 2)), PROTOCOL_ERROR),
    ("an initial window that overflows a stream's",
     post() + frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\x00\x00") + settings((4, 0x7fffffff)), FLOW_CONTROL_ERROR),
    ("more settings than there are", settings(*[(0x99, i) for i in range(33)]), wire.ENHANCE_YOUR_CALM),
    ("a priority of an idle stream on itself, exclusively", frame(PRIORITY, 0, 9, b"\x80\0\0\x09\x10"), PROTOCOL_ERROR),
    ("a priority of an idle stream too short", frame(PRIORITY, 0, 1, b"\0\0\0\1"), FRAME_SIZE_ERROR),
    ("a reset of an idle stream of ours", frame(RST_STREAM, 0, 2, b"\0\0\0\x08"), PROTOCOL_ERROR),
    ("a window update of an idle stream of ours", frame(WINDOW_UPDATE, 0, 2, b"\0\0\0\1"), PROTOCOL_ERROR),
    ("data behind the client's own reset", post() + CANCELLED + data(b"x"), STREAM_CLOSED),
    ("headers behind the client's own reset", post() + CANCELLED + get(), STREAM_CLOSED),
    ("continuation behind the client's own reset", post() + CANCELLED + frame(CONTINUATION, END_HEADERS, 1, b"\x82"),
     PROTOCOL_ERROR),
    ("a push promise on stream 0", frame(PUSH_PROMISE, END_HEADERS, 0, b"\0\0\0\2"), PROTOCOL_ERROR),
    ("a dynamic index of an empty table", coded(b"\xbe"), COMPRESSION_ERROR),
    ("a dynamic index of what was dropped", coded(INDEXED) + headers_of(b"\x20" + PLAIN + b"\xbe", 3), COMPRESSION_ERROR),
    ("a dynamic index of what never fitted", coded(INDEXED) + headers_of(PLAIN + b"\x40\x01b" + wire.length(b"x" * 4096)
                                                                       + b"x" * 4096 + b"\xbe", 3), COMPRESSION_ERROR),
    ("a table one larger than allowed", headers_of(b"\x3f\xe2\x1f" + PLAIN), COMPRESSION_ERROR),
    ("the end of a Huffman text within it", coded(b"\x00\x01a\x84\xff\xff\xff\xff"), COMPRESSION_ERROR),
    ("Huffman padding of more than seven bits", coded(b"\x00\x01a\x82\x1f\xff"), COMPRESSION_ERROR),
    ("Huffman padding of zeros", coded(b"\x00\x01a\x81\x18"), COMPRESSION_ERROR),
    ("an index beyond 32 bits", coded(b"\xff\xff\xff\xff\xff\x0f"), COMPRESSION_ERROR),
    ("a length beyond 32 bits", coded(b"\x00\x7f\xff\xff\xff\xff\x0f"), COMPRESSION_ERROR),
    ("a field without a name", coded(b"\x0f"), COMPRESSION_ERROR),
    ("data on a stream that was passed over", get(stream=5, path="/direct") + data(b"x", stream=3), PROTOCOL_ERROR),
    ("a push promise", frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + block(pseudo())), PROTOCOL_ERROR),
    ("a ping on a stream", frame(PING, 0, 1, b"12345678"), PROTOCOL_ERROR),
    ("a ping of wrong length", frame(PING, 0, 0, b"1234567"), FRAME_SIZE_ERROR),
    ("a goaway on a stream", frame(GOAWAY, 0, 1, b"\0" * 8), PROTOCOL_ERROR),
    ("a goaway too short", frame(GOAWAY, 0, 0, b"\0" * 7), FRAME_SIZE_ERROR),
    ("a window update of zero", frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), PROTOCOL_ERROR),
    ("a window update of wrong length", frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"), FRAME_SIZE_ERROR),
    ("a window update of an idle stream", frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"), PROTOCOL_ERROR),
    ("the connection's window beyond 31 bits", frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), FLOW_CONTROL_ERROR),
    ("a continuation too large", get(flags=END_STREAM) + frame(CONTINUATION, END_HEADERS, 1, block([("a", "b" * 16380)])),
     FRAME_SIZE_ERROR),
    ("more continuations than any head needs", get(flags=END_STREAM) + b"".join(
        frame(CONTINUATION, 0, 1, block([("a", "b")])) for _ in range(9)), wire.ENHANCE_YOUR_CALM),
    ("a goaway too large", frame(GOAWAY, 0, 0, b"\0" * 16385), FRAME_SIZE_ERROR),
    ("a priority update of a push", frame(wire.PRIORITY_UPDATE, 0, 0, b"\0\0\0\2u=1"), PROTOCOL_ERROR),
    ("priorities of RFC 7540 neither there nor not", settings((9, 2)), PROTOCOL_ERROR),
    ("a bad block behind a reset", post() + CANCELLED + frame(HEADERS, END_STREAM | END_HEADERS, 3, b"\x80"),
     COMPRESSION_ERROR),
    ("a frame too large", frame(99, 0, 0, b"x" * 20000), FRAME_SIZE_ERROR),
    *[(f"{what} between headers and continuation", get(flags=0) + one + frame(CONTINUATION, END_HEADERS, 1), PROTOCOL_ERROR)
      for what, one in (("a priority", frame(PRIORITY, 0, 1, b"\0\0\0\0\x10")), ("settings", settings()),
                        ("a window update", frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1")), ("a reset", CANCELLED),
                        ("a goaway", frame(GOAWAY, 0, 0, b"\0" * 8)), ("the same headers", get()))],
    *[(f"a ping of {size} bytes", frame(PING, 0, 0, b"x" * size), FRAME_SIZE_ERROR) for size in (0, 7, 9)],
    *[(f"a reset of {size} bytes", post() + frame(RST_STREAM, 0, 1, b"x" * size), FRAME_SIZE_ERROR) for size in (0, 5)],
    ("a window update of a stream of wrong length", post() + frame(WINDOW_UPDATE, 0, 1, b"12345"), FRAME_SIZE_ERROR),
    ("the connection's window by one beyond 31 bits", frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\0\1"), FLOW_CONTROL_ERROR),
    ("headers behind the client's own reset", post() + CANCELLED + get(), STREAM_CLOSED),
    ("continuation behind a reset", post() + CANCELLED + frame(CONTINUATION, END_HEADERS, 1), PROTOCOL_ERROR),
    ("continuation of a stream that has ended", get(path="/direct") + frame(CONTINUATION, END_HEADERS, 1), PROTOCOL_ERROR),
    ("a push promise on a stream", post() + frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + block(pseudo())), PROTOCOL_ERROR),
    ("padding and a priority that leave no room", frame(HEADERS, END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY, 1,
                                                        b"\x05\0\0\0\0\x10\x82"), PROTOCOL_ERROR),
    ("an index behind the last", coded(INDEXED + b"\xbf"), COMPRESSION_ERROR),
    ("a name of an index behind the last", coded(b"\x7f\x07\x00"), COMPRESSION_ERROR),
    ("a table larger than allowed by one", headers_of(b"\x3f\xe2\x1f" + PLAIN), COMPRESSION_ERROR),
    ("a field that a smaller table has no room for", headers_of(b"\x3f\x02" + PLAIN + INDEXED + b"\xbe"), COMPRESSION_ERROR),
    ("a field that a table of nothing has forgotten", coded(INDEXED) + headers_of(b"\x20" + PLAIN + b"\xbe", 3),
     COMPRESSION_ERROR),
    ("eight bits of padding behind Huffman's code", coded(b"\x00\x01a\x82\x1f\xff"), COMPRESSION_ERROR),
    ("padding of zeros behind Huffman's code", coded(b"\x00\x01a\x81\x18"), COMPRESSION_ERROR),
    ("the end of Huffman's code in a text", coded(b"\x00\x01a\x85\x1f\xff\xff\xff\xff"), COMPRESSION_ERROR),
    ("a name without a value", coded(b"\x00\x01a"), COMPRESSION_ERROR),
    ("a number that is cut off", coded(b"\x7f"), COMPRESSION_ERROR),
    ("a priority update on a stream", frame(wire.PRIORITY_UPDATE, 0, 1, b"\0\0\0\1u=1"), PROTOCOL_ERROR),
    ("a priority update of stream 0", frame(wire.PRIORITY_UPDATE, 0, 0, b"\0\0\0\0u=1"), PROTOCOL_ERROR),
    ("a priority update too short", frame(wire.PRIORITY_UPDATE, 0, 0, b"\0\0\0"), FRAME_SIZE_ERROR),
]

# (what, frames, what the upstream received); the request on stream 1 is answered 200.
PASSED = [
    ("plain", get(), wire.head(path="/a")),
    ("names that servers may take for ours or for framing", get(("x_forwarded_for", "1.2.3.4"), ("content_length", "5"),
                                                                ("transfer_encoding", "chunked"), ("user_name", "z")),
     wire.head(path="/a", fields=[("user_name", "z")])),
    ("a host that is the same", get(("host", "x")), wire.head(path="/a")),
    ("a host with the scheme's port", get(("host", "X:80")), wire.head(path="/a")),
    ("a host that differs", get(("host", "y")), wire.head(path="/a")),
    ("a host of another port", get(("host", "x:8080")), wire.head(path="/a")),
    ("an empty port", get(authority="x:"), wire.head(path="/a")),
    ("an authority with the scheme's port", get(("host", "x"), authority="x:80"), wire.head(path="/a", host="x:80")),
    ("a host alone", headers(1, [f for f in pseudo("/a") if f[0] != ":authority"] + [("host", "y")]),
     wire.head(path="/a", host="y")),
    ("the path normalised", with_value(":path", "/b/..//%61/%2e"), wire.head(path="/a/")),
    ("a method nobody knows", with_value(":method", "M-BREW"), wire.head("M-BREW", "/a")),
    ("proxy, of which CGI makes HTTP_PROXY", get(("proxy", "http://evil.example")), wire.head(path="/a")),
    ("cookies joined", get(("cookie", "a=1"), ("cookie", "b=2")), wire.head(path="/a", fields=[("cookie", "a=1; b=2")])),
    ("a cookie in a hundred pieces is one field", get(("a", "b"), *[("cookie", f"c{n}={n}") for n in range(100)], ("c", "d")),
     wire.head(path="/a", fields=[("a", "b"), ("cookie", "; ".join(f"c{n}={n}" for n in range(100))), ("c", "d")])),
    ("an empty piece of a cookie", get(("cookie", ""), ("cookie", "a=1"), ("cookie", "")),
     wire.head(path="/a", fields=[("cookie", "; a=1; ")])),
    ("te trailers", get(("te", "trailers")), wire.head(path="/a", fields=[("te", "trailers"), ("connection", "te")])),
    ("a continuation", frame(HEADERS, END_STREAM, 1, block(pseudo("/a"))) +
     frame(CONTINUATION, END_HEADERS, 1, block([("a", "b")])), wire.head(path="/a", fields=[("a", "b")])),
    ("padding", frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, b"\x04" + block(pseudo("/a")) + b"\0" * 4),
     wire.head(path="/a")),
    ("an unknown frame first", frame(99, 255, 77, b"anything") + get(), wire.head(path="/a")),
    ("an unknown setting first", settings((0x99, 7)) + get(), wire.head(path="/a")),
    ("the table's size twice, and a field out of it", headers_of(b"\x20\x3f\xe1\x1f" + block(pseudo("/a")) + b"\x40\x01b\x01c"
                                                               + b"\xbe"),
     wire.head(path="/a", fields=[("b", "c"), ("b", "c")])),
    ("a Huffman text, never to be indexed", headers_of(block(pseudo("/a")) + b"\x10\x01b\x81\x1f"),
     wire.head(path="/a", fields=[("b", "a")])),
    ("a block in empty and other pieces", frame(HEADERS, END_STREAM, 1) + frame(CONTINUATION, 0, 1) + frame(
        CONTINUATION, 0, 1, block(pseudo("/a"))[:5]) + frame(CONTINUATION, END_HEADERS, 1, block(pseudo("/a"))[5:]),
     wire.head(path="/a")),
    ("frames for streams of ours that were never opened", frame(PRIORITY, 0, 2, b"\0\0\0\0\x10") + get(),
     wire.head(path="/a")),
    ("a goaway first", frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\xff") + get(), wire.head(path="/a")),
    ("acknowledgements of nothing first", frame(SETTINGS, ACK, 0) + frame(PING, ACK, 0, b"12345678") + get(),
     wire.head(path="/a")),
    ("priority of an idle stream first", frame(PRIORITY, 0, 9, b"\0\0\0\0\x10") + get(), wire.head(path="/a")),
    ("the reserved bit", frame(HEADERS, END_STREAM | END_HEADERS, 0x80000001, block(pseudo("/a"))), wire.head(path="/a")),
    ("flags that nobody knows", frame(SETTINGS, 0xfe, 0) + frame(PING, 0xfe, 0, b"12345678") + frame(
        HEADERS, 0xc2 | END_STREAM | END_HEADERS, 1, block(pseudo("/a"))), wire.head(path="/a")),
    ("the reserved bit of a window update", frame(WINDOW_UPDATE, 0, 0, b"\x80\0\0\1") + get(), wire.head(path="/a")),
    ("the connection's window to its limit", frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\0\0") + get(), wire.head(path="/a")),
    ("a setting twice, of which the last counts", settings((4, 0), (4, 1000)) + get(), wire.head(path="/a")),
    ("no table for us", settings((1, 0)) + get(), wire.head(path="/a")),
    ("a priority update that says nothing", frame(wire.PRIORITY_UPDATE, 0, 0, b"\0\0\0\1\xff\0") + get(),
     wire.head(path="/a")),
    ("the last stream of all", get(stream=1) + get(stream=0x7fffffff, path="/direct"), wire.head(path="/a")),
    ("the end in a continuation's flags, where it is none", frame(HEADERS, 0, 1, block(pseudo("/a", "POST"))) +
     frame(CONTINUATION, END_HEADERS | END_STREAM, 1) + data(), UP_STREAM + b"0\r\n\r\n"),
    ("frames behind the end that a stream may have", get() + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1") + frame(
        PRIORITY, 0, 1, b"\0\0\0\0\x10") + frame(99, 255, 1, b"x"), wire.head(path="/a")),
    ("a stream's window to its limit", get() + frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\0\0"), wire.head(path="/a")),
    ("padding alone", post() + frame(DATA, PADDED | END_STREAM, 1, b"\x03\0\0\0"), UP_STREAM + b"0\r\n\r\n"),
    ("empty trailers", post() + data(b"hello", end=False) + frame(HEADERS, END_STREAM | END_HEADERS, 1),
     UP_STREAM + b"5\r\nhello\r\n0\r\n\r\n"),
    ("a table of just a field", headers_of(b"\x3f\x03" + block(pseudo("/a")) + INDEXED + b"\xbe"),
     wire.head(path="/a", fields=[("a", "b"), ("a", "b")])),
    ("a field that pushes the one out that lends its name", headers_of(
        b"\x3f\x04" + block(pseudo("/a")) + INDEXED + b"\x7e\x02cc" + b"\xbe"),
     wire.head(path="/a", fields=[("a", "b"), ("a", "cc"), ("a", "cc")])),
    ("eight continuations", frame(HEADERS, END_STREAM, 1, block(pseudo("/a"))) + b"".join(
        frame(CONTINUATION, END_HEADERS if i == 7 else 0, 1) for i in range(8)), wire.head(path="/a")),
    ("an empty body", post() + data(b""), UP_STREAM + b"0\r\n\r\n"),
    ("a body with its length", post(("content-length", "5")) + data(b"he", end=False) + data(b"llo"),
     UP_POST + b"hello"),
    ("a body without length", post() + data(b"hello"), UP_STREAM + b"5\r\nhello\r\n0\r\n\r\n"),
    ("trailers", post() + data(b"hello", end=False) + headers(1, [("a", "b"), ("host", "y"), ("x-forwarded-for", "z")]),
     UP_STREAM + b"5\r\nhello\r\n0\r\na: b\r\n\r\n"),
    ("padded data", post(("content-length", "5")) + frame(DATA, PADDED | END_STREAM, 1, b"\x03hello\0\0\0"),
     UP_POST + b"hello"),
]


def start(site):
    return wire.H2(wire.connect(site.port))


@pytest.mark.parametrize("frames, status, reset", [case[1:] for case in STREAM_ERRORS],
                         ids=[case[0] for case in STREAM_ERRORS])
def test_ends_the_stream(site, upstream, frames, status, reset):
    before = len(upstream.received())
    peer = start(site)
    with peer.connection:
        peer.send(frames + get(stream=3, path="/direct"))
        assert peer.until(lambda: peer.is_over(1) and peer.is_over(3)), (peer.status, peer.resets, peer.goaways)
        assert peer.status.get(3) == 200 and not peer.goaways
        assert peer.status.get(1) == status
        assert peer.resets.get(1) in ((None, 0) if reset is None else (reset,))
    if status != 200:
        # of a request with a body the head may be on its way when the stream goes wrong
        assert wire.stable(upstream.received()[before:]) in (b"", UP_STREAM)


@pytest.mark.parametrize("frames, status", [
    (get(method="HEAD", path="/a%2fb"), 400), (get(method="HEAD", path="/" + "a" * 600), 414),
    (get(("a", "b" * 5000), method="HEAD"), 431), (get(("expect", "else"), method="HEAD"), 417)])
def test_what_is_refused_of_head_has_no_content(site, frames, status):
    peer = start(site)
    with peer.connection:
        peer.send(frames)
        assert peer.until(lambda: peer.is_over(1)) and peer.status == {1: status} and not peer.bodies


@pytest.mark.parametrize("frames, received", [case[1:] for case in BODY_ERRORS], ids=[case[0] for case in BODY_ERRORS])
def test_a_body_that_goes_wrong_never_looks_complete(site, upstream, frames, received):
    before = len(upstream.received())
    peer = start(site)
    with peer.connection:
        peer.send(frames + get(stream=3, path="/direct"))
        assert peer.until(lambda: peer.is_over(1) and peer.is_over(3))
        assert peer.resets[1] == PROTOCOL_ERROR and peer.status == {3: 200} and not peer.goaways
    assert wire.stable(upstream.received()[before:]) in received


@pytest.mark.parametrize("frames, code", [case[1:] for case in CONNECTION_ERRORS],
                         ids=[case[0] for case in CONNECTION_ERRORS])
def test_ends_the_connection(site, upstream, frames, code):
    peer = start(site)
    with peer.connection:
        peer.send(frames + get(stream=7, path="/direct"))
        peer.until(lambda: False)
        assert [one[1] for one in peer.goaways] == [code]
        assert 7 not in peer.status
    assert wire.stable(upstream.received())[-1:] != b"x"


@pytest.mark.parametrize("frames, received", [case[1:] for case in PASSED], ids=[case[0] for case in PASSED])
def test_passed(site, upstream, frames, received):
    before = len(upstream.received())
    peer = start(site)
    with peer.connection:
        peer.send(frames)
        assert peer.until(lambda: peer.is_over(1)), peer.goaways
        assert peer.status.get(1) == 200, (peer.status, peer.resets)
    assert wire.stable(upstream.received()[before:]) == received


@pytest.mark.parametrize("preface", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX" + b"x" * 64, b"PRI * HTTP/1.1\r\n\r\n",
                                     b"PRI / HTTP/2.0\r\nHost: x\r\n\r\n"])
def test_a_wrong_preface_is_no_request(site, upstream, preface):
    before = len(upstream.received())
    with wire.connect(site.port) as connection:
        connection.sendall(preface)
        connection.settimeout(60)
        answer = connection.recv(65536)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 ", b"HTTP/1.1 505 "))
    assert len(upstream.received()) == before


@pytest.mark.parametrize("first", [get(path="/direct"), frame(PING, 0, 0, b"12345678"), frame(SETTINGS, ACK, 0),
                                   frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"), frame(99, 0, 0, b"x")])
def test_a_first_frame_that_is_no_settings(site, first):
    peer = wire.H2(wire.connect(site.port), first=first)
    with peer.connection:
        peer.until(lambda: False)
        assert [one[1] for one in peer.goaways] == [PROTOCOL_ERROR] and not peer.status


def test_data_behind_an_answer(site):
    peer = start(site)
    with peer.connection:
        peer.send(get(path="/direct"))
        assert peer.until(lambda: peer.is_over(1)) and peer.status[1] == 200
        peer.send(data(b"x"))
        peer.until(lambda: False)
        assert [one[1] for one in peer.goaways] == [STREAM_CLOSED]


def test_a_table_is_kept_in_step_by_what_is_refused(site):
    """Fields of a request that is reset, and of trailers that cross the reset, are in the table nevertheless."""
    peer = start(site)
    with peer.connection:
        peer.send(post(("connection", "x")) + headers_of(b"\x40\x03x-a\x01b"))
        peer.send(headers_of(PLAIN + b"\xbe", 3))
        assert peer.until(lambda: peer.is_over(3)) and peer.status == {3: 200} and not peer.goaways


# (what, frames behind the whole answer to a POST that has not ended, the code they are told of, and by GOAWAY or not).
LATE = [
    ("more than the content-length", data(b"test"), PROTOCOL_ERROR, False),
    ("less than the content-length", data(b""), PROTOCOL_ERROR, False),
    ("a second head without the end", headers(1, [("a", "b")], END_HEADERS), PROTOCOL_ERROR, False),
    ("a pseudo field in trailers", headers(1, [(":method", "POST")]), PROTOCOL_ERROR, False),
    ("a window that overflows", frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff") * 2, FLOW_CONTROL_ERROR, False),
    ("padding beyond the length", frame(DATA, PADDED, 1, b"\x05abc"), PROTOCOL_ERROR, True),
    ("data behind its reset", CANCELLED + data(b"x"), STREAM_CLOSED, True),
    ("what it had announced", data(b"x"), None, False),
]


@pytest.mark.parametrize("frames, code, is_fatal", [case[1:] for case in LATE], ids=[case[0] for case in LATE])
def test_what_comes_behind_an_early_answer(site, frames, code, is_fatal):
    for _ in range(50):
        peer = start(site)
        with peer.connection:
            peer.send(get(("content-length", "1"), path="/direct", method="POST", flags=END_HEADERS))
            assert peer.until(lambda: 1 in peer.ended) and peer.status == {1: 200}
            if 1 in peer.resets:
                continue  # this machine was so slow that its second is over
            peer.send(frames + frame(PING, 0, 0, b"12345678"))
            peer.until(lambda: bool(peer.pongs))
            if peer.resets.get(1) == 0:
                continue
            assert peer.resets.get(1) == (None if is_fatal else code)
            assert [one[1] for one in peer.goaways] == ([code] if is_fatal else [])
            return
    pytest.fail("never in time")


def test_a_body_that_does_not_end_is_stopped_behind_the_answer(site):
    peer = start(site)
    with peer.connection:
        peer.send(get(path="/direct", method="POST", flags=END_HEADERS))
        assert peer.until(lambda: 1 in peer.resets) and peer.status == {1: 200} and peer.resets == {1: 0}
        peer.send(get(path="/direct", method="POST", flags=END_HEADERS, stream=3) + data(b"x" * 5000, end=False, stream=3))
        assert peer.until(lambda: 3 in peer.resets) and peer.resets[3] == 0 and not peer.goaways


@pytest.mark.parametrize("window", [0, 1, 5])
def test_a_small_window_is_kept_to_the_byte(site, window):
    peer = wire.H2(wire.connect(site.port), first=settings((4, 100), (4, window)))
    with peer.connection:
        peer.send(get(path="/direct") + frame(PING, 0, 0, b"12345678"))
        assert peer.until(lambda: peer.pongs and 1 in peer.status and len(peer.bodies.get(1, b"")) == window)
        peer.send(settings((4, 0)) + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\x06"))
        assert peer.until(lambda: peer.is_over(1)) and peer.bodies[1] == b"direct"


def test_a_window_may_be_taken_back_below_nothing(site):
    """RFC 9113 section 6.9.2."""
    peer = wire.H2(wire.connect(site.port), first=settings((4, 4)))
    with peer.connection:
        peer.send(get(path="/direct"))
        assert peer.until(lambda: peer.bodies.get(1) == b"dire")
        peer.send(settings((4, 1)) + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\3") + frame(PING, 0, 0, b"12345678"))
        assert peer.until(lambda: peer.pongs == 1) and peer.bodies[1] == b"dire"
        peer.send(frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1") + frame(PING, 0, 0, b"12345678"))
        assert peer.until(lambda: peer.pongs == 2) and peer.bodies[1] == b"direc"
        peer.send(settings((4, 2)))
        assert peer.until(lambda: peer.is_over(1)) and peer.bodies[1] == b"direct"


def test_what_we_index_follows_the_clients_table(site):
    """The decoder here takes no block that does not say first that its table has become smaller (RFC 7541, 4.2)."""
    peer = start(site)
    with peer.connection:
        for number, size in enumerate((4096, 0, 64, 4096, 0xffffffff)):
            peer.send(settings((1, size)))
            assert peer.until(lambda acks=number + 2: peer.acks == acks)
            peer.decoder.max_allowed_table_size = size
            for stream in (10 * number + 1, 10 * number + 3):
                assert peer.get(stream, "/direct") == 200 and not peer.goaways
        blocks = []
        decode, peer.decoder.max_allowed_table_size = peer.decoder.decode, 4096
        peer.decoder.decode = lambda text: (blocks.append(text), decode(text))[1]
        peer.send(settings((1, 0), (1, 4096)) + get(path="/direct", stream=101))
        assert peer.until(lambda: peer.is_over(101)) and peer.status[101] == 200
        assert blocks[0].startswith(b"\x20\x3f\xe1\x1f")  # what it became in between is said before what it is


def test_data_that_crosses_our_reset_is_late_not_wrong(site):
    peer = start(site)
    with peer.connection:
        peer.send(with_value(":path", "/%zz").replace(b"\x01\x05\0\0\0\1", b"\x01\x04\0\0\0\1", 1))
        assert peer.until(lambda: 1 in peer.resets) and peer.status[1] == 400
        peer.send(data(b"x", end=False) + data(b"y"))
        assert peer.get(3, "/direct") == 200 and not peer.goaways


def test_data_beyond_the_window(site):
    peer = start(site)
    with peer.connection:
        peer.send(get(path="/hold", method="PUT", flags=END_HEADERS) + b"".join(
            frame(DATA, 0, 1, b"x" * 16384) for _ in range(5)))
        peer.until(lambda: bool(peer.goaways or peer.is_over(1)))
        # above the limit of a body, or above the window: never taken
        assert peer.status.get(1) == 413 or peer.resets.get(1) == FLOW_CONTROL_ERROR or peer.goaways
