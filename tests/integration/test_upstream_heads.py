"""
test_upstream_heads.py: what servers are told of who asked, byte for byte, over both protocols.
"""
import pytest

from upstreams import H2Server, Raw, cluster, ok, serving

SENT = {"x-forwarded-for": "203.0.113.9", "x-forwarded-host": "spoofed", "forwarded": "for=203.0.113.9", "host": "shop.test"}


def lines(head):
    return [line for line in head.decode().split("\r\n") if line.split(":")[0] in (
        "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "host")]


@pytest.mark.parametrize("keys, present, absent", [
    ({}, ["x-forwarded-proto: https"], []),
    ({"forwarded": ["x-forwarded-host", "forwarded"]},
     ["x-forwarded-host: shop.test", 'for=127.0.0.1;host="shop.test";proto=https'],
     ["x-forwarded-host: spoofed", "x-forwarded-proto"]),
    ({"forwarded": "none"}, ["host: shop.test"], ["x-forwarded-proto", "127.0.0.1"]),
    ({"host_header": "internal.test"}, ["host: internal.test"], ["host: shop.test"]),
])
def test_forwarded_fields_as_configured(launch, keys, present, absent):
    with serving(Raw([ok()])) as server:
        gateway = launch(cluster([server.address], **keys))
        with gateway.client() as client:
            assert client.get("/", headers=SENT).status_code == 200
        seen = lines(server.requests[0][0])
        for text in present:
            assert any(text in line for line in seen), seen
        for text in absent:
            assert not any(text in line for line in seen), seen


@pytest.mark.parametrize("version, came, expected", [
    ("HTTP/1.1", [], "1.1 floodgate"), ("HTTP/1.0", [], "1.0 floodgate"),
    ("HTTP/1.1", ["1.0 fred", "1.1 p.example (x)"], "1.0 fred, 1.1 p.example (x), 1.1 floodgate")])
def test_via_where_it_is_asked_for(launch, version, came, expected):
    with serving(Raw([ok()])) as server:
        gateway = launch(cluster([server.address], forwarded=["via"]))
        gateway.exchange(f"GET / {version}\r\nHost: x\r\nConnection: close\r\n".encode()
                         + b"".join(b"Via: %s\r\n" % one.encode() for one in came) + b"\r\n")
        head = server.requests[0][0].decode().split("\r\n")
        assert [line for line in head if line.startswith("via:")] == [f"via: {expected}"]
        assert not any(line.startswith("x-forwarded") for line in head)


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


TRACES = [([f"00-{TRACE}-{SPAN}-01"], "01"), ([f"00-{TRACE}-{SPAN}-fe"], "02"), ([f"cc-{TRACE}-{SPAN}-00-more"], "00"),
          ([f"00-{TRACE}-{SPAN}-01"] * 2, None), (["nonsense"], None), ([f"00-{'0' * 32}-{SPAN}-01"], None), ([], None)]


def test_a_trace_goes_on_or_a_new_one_begins(launch):
    with serving(Raw([ok()] * len(TRACES))) as server:
        gateway = launch(cluster([server.address]))
        for number, (sent, goes_on) in enumerate(TRACES):
            fields = "".join(f"Traceparent: {one}\r\n" for one in sent) + "Tracestate: a=b\r\n"
            answer = gateway.exchange(f"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n".encode()).decode()
            head = server.requests[number][0].decode().split("\r\n")
            (own,) = [line for line in head if line.startswith("traceparent: ")]
            assert own in answer.split("\r\n") and SPAN not in own
            assert own.startswith(f"traceparent: 00-{TRACE}-") == (goes_on is not None), sent
            assert own.endswith("-" + (goes_on or "01")) and ("tracestate: a=b" in head) == (goes_on is not None), sent


@pytest.mark.parametrize("keys, seen", [({"forwarded": ["via"]}, "1.0 fred, 2 floodgate"), ({}, "1.0 fred")])
def test_via_over_http2(launch, keys, seen):
    with serving(H2Server()) as server:
        gateway = launch(cluster([server.address], protocol="h2", **keys))
        with gateway.client(http2=True) as client:
            assert client.get("/", headers={"via": "1.0 fred"}).json()["headers"]["via"] == seen


def test_the_whole_head_byte_for_byte(launch):
    with serving(Raw([ok()])) as server:
        gateway = launch(cluster([server.address]))
        gateway.exchange(b"GET /a/../b?q=1 HTTP/1.1\r\nHost: Shop.Test\r\nX-One:  1 \r\nConnection: close, X-Two\r\n"
                         b"X-Two: 2\r\nKeep-Alive: 5\r\nProxy-Authorization: x\r\nTE: gzip\r\n\r\n")
        head = server.requests[0][0].decode()
        fields = head.split("\r\n")
        assert fields[0] == "GET /b?q=1 HTTP/1.1" and fields[1].lower() == "host: shop.test"
        assert fields[2] == "x-one: 1" and fields[-2:] == ["", ""]
        names = [line.split(":")[0] for line in fields[1:-2]]
        assert sorted(names) == sorted(["host", "x-one", "traceparent", "x-forwarded-for", "x-forwarded-proto",
                                        "x-request-id", "x-request-timeout-ms"])


def test_the_same_over_http2(launch):
    with serving(H2Server()) as server:
        gateway = launch(cluster([server.address], protocol="h2", forwarded=["x-forwarded-for", "forwarded"]))
        with gateway.client(http2=True) as client:
            seen = client.get("/", headers={"x-one": "1"}).json()["headers"]
        assert seen["x-forwarded-for"] == "127.0.0.1" and "x-forwarded-proto" not in seen
        assert seen["forwarded"].startswith("for=127.0.0.1;host=") and seen["x-one"] == "1"


@pytest.mark.parametrize("status, is_told", [(b"426 Upgrade Required", True), (b"200 OK", False)])
def test_what_to_switch_to_is_told_where_it_is_the_answer(launch, status, is_told):
    """RFC 9110 sections 7.8 and 15.5.22; HTTP/2 has no such field."""
    fields = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    with serving(Raw([ok(status=status, fields=fields)])) as server:
        gateway = launch(cluster([server.address]))
        with gateway.client() as client, gateway.client(http2=True) as client2:
            answer, answer2 = client.get("/"), client2.get("/")
        assert answer.headers["sec-websocket-version"] == answer2.headers["sec-websocket-version"] == "13"
        assert (answer.headers.get("upgrade") == "websocket") is is_told
        assert (answer.headers.get("connection") == "upgrade") is is_told
        assert not {"upgrade", "connection"} & set(answer2.headers)
