"""What HTTP has besides heads and bodies: trailers, interim answers, upgrades; h1 and h2 alike."""
import contextlib
import json
import re
import socket
import ssl
import struct
import threading

import h2.errors
import h2.events
import pytest

from harness import h2_start, h2_talk_through_tunnel, h2_until, plain_http, read_all, read_response, wait_for
from upstreams import websocket_accept


# ---- the upstream's scripts, by path ----

def proof_of(head):
    key = re.search(rb"\r\nsec-websocket-key: (\S+)", head)
    return b"sec-websocket-accept: " + websocket_accept(key.group(1) if key else b"") + b"\r\n"


def switch(proof):
    return b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n" + proof + b"\r\n"


PROOFS = {"none": lambda proof: b"", "another": lambda proof: b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
          "two": lambda proof: proof + proof}


def break_tunnel(peer, head):
    """The server's host goes away in the middle."""
    peer.write(switch(proof_of(head)) + b"hello ")
    peer.read(5)
    peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.connection.close()


def script(peer):
    while (request := peer.read_request()) is not None:
        head, body = request
        path = head.split(b" ")[1].split(b"?")[0]
        if path == b"/app/ws":
            tunnel(peer, head)
            return
        if path == b"/app/ws-reset":
            break_tunnel(peer, head)
            return
        if path.startswith(b"/app/ws-proof/"):
            peer.write(switch(PROOFS[path.decode().rsplit("/", 1)[1]](proof_of(head))) + b"hello ")
            return
        if path in (b"/edited/told", b"/edited/cached"):
            peer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nX-Inside: 1\r\nX_From: 2\r\n\r\n"
                       b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncache-control: max-age=60\r\n\r\n"
                       b"4\r\nbody\r\n0\r\nx-sum: abc\r\nx-inside: 3\r\nx_from: 4\r\nX-From: 5\r\n\r\n")
        elif path == b"/app/hints":
            peer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n"
                       b"content-length: 5\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\n\r\n")
        if path.startswith(b"/app/cached/hints"):
            give_hints(peer, path.decode())
        elif path == b"/app/no-ws-403":
            peer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
        elif path in (b"/app/trailers", b"/app/cached/trailers"):
            peer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: Grpc-Status, X-Sum\r\n"
                       b"cache-control: max-age=60\r\n\r\n4;x=\"y\"\r\nbody\r\n0\r\n"
                       b"Grpc-Status: 0\r\ncontent-length: 9\r\nX-Sum: abc\r\n\r\n")
        elif path == b"/app/bad-trailers":
            peer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx y: z\r\n\r\n")
        else:
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


GATES = {}  # what a script waits for between its first hint and its second, by path


def give_hints(peer, path):
    peer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n")
    GATES[path].wait(60)
    peer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\n\r\n"
               b"HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 4\r\n\r\nbody")


def tunnel(peer, head):
    """Says 101 and sends back what comes in, in capitals, until the other side ends."""
    if b"\r\nupgrade: websocket\r\n" not in head or b"\r\nconnection: upgrade\r\n" not in head:
        peer.write(b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n")
        return
    peer.write(switch(proof_of(head)) + b"hello ")
    while True:
        if peer.at == len(peer.data) and not peer.more():
            peer.write(b" bye")
            return
        piece, peer.at = peer.data[peer.at:], len(peer.data)
        peer.write(piece.upper())


@pytest.fixture(scope="module")
def backend(recorder_module):
    return recorder_module(script)


@pytest.fixture(scope="module")
def site(launch_module, backend):
    return launch_module({
        "limits": {"threads": 1, "body_max": "64KiB"},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [
            {"name": "short", "match": {"prefix": "/short"}, "to": "cluster:app", "strip_prefix": "/short",
             "websocket": {"idle_timeout": "300ms"}},
            {"name": "plain", "match": {"prefix": "/app/plain"}, "to": "cluster:app"},
            {"name": "cached", "match": {"prefix": "/app/cached"}, "to": "cluster:app", "cache": True},
            {"name": "app", "match": {"prefix": "/app"}, "to": "cluster:app", "websocket": True},
            *({"name": "edited-" + name, "match": {"prefix": "/edited/" + name}, "to": "cluster:app", "cache": name == "cached",
               "request_headers": {"set": {"x-user": "%{user}"}, "remove": ["x-secret"]},
               "response_headers": {"set": {"x-from": "gateway"}, "remove": ["x-inside"]}} for name in ("told", "cached")),
        ],
    })


def h2_events(site, head, body=None, trailers=None, until=h2.events.StreamEnded):
    connection, state = h2_start(site)
    with connection:
        state.send_headers(1, head, end_stream=body is None and trailers is None)
        if body is not None:
            state.send_data(1, body, end_stream=trailers is None)
        if trailers is not None:
            state.send_headers(1, trailers, end_stream=True)
        connection.sendall(state.data_to_send())
        events = []
        assert h2_until(connection, state, until, events) is not None
        return events


def head_of(path, method="GET", **fields):
    return [(":method", method), (":scheme", "https"), (":authority", "x"), (":path", path),
            *((name.replace("_", "-"), value) for name, value in fields.items())]


# ---- trailers ----

def test_request_trailers_reach_the_upstream(site, backend):
    before = len(backend.received())
    answer = site.exchange(b"POST /app/t1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n"
                           b"\r\n4\r\nbody\r\n0\r\nX-Sum: 12\r\nContent-Length: 4\r\nX-Forwarded-For: me\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nbody")
    assert backend.received()[before:].endswith(b"\r\n0\r\nx-sum: 12\r\n\r\n")


def test_request_trailers_of_h2_reach_the_upstream(site, backend):
    before = len(backend.received())
    h2_events(site, head_of("/app/t2", "POST"), b"body", [("x-sum", "13")])
    assert backend.received()[before:].endswith(b"4\r\nbody\r\n0\r\nx-sum: 13\r\n\r\n")


FORGED = ["x-user", "X_User", "x-secret", "X_Forwarded_For", "x-real-ip", "X-Real_IP", "x-request-id", "content_length",
          "transfer_encoding", "proxy_authorization", "If_None_Match", "x-request-timeout-ms", "x_forwarded-host"]


def test_trailers_forge_no_field_of_ours(site, backend):
    before = len(backend.received())
    lines = "".join(f"{name}: forged\r\n" for name in FORGED)
    site.exchange(b"POST /edited/told HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n"
                  b"\r\n4\r\nbody\r\n0\r\n" + lines.encode() + b"x_sum: 12\r\n\r\n")
    assert backend.received()[before:].endswith(b"4\r\nbody\r\n0\r\nx_sum: 12\r\n\r\n")
    before = len(backend.received())
    h2_events(site, head_of("/edited/told", "POST"), b"body", [(n.lower(), "forged") for n in FORGED] + [("x_sum", "13")])
    assert backend.received()[before:].endswith(b"4\r\nbody\r\n0\r\nx_sum: 13\r\n\r\n")


@pytest.mark.parametrize("path", ["/edited/told", "/edited/cached"])
def test_edits_of_the_answer_hold_for_all_its_parts(site, path):
    answer = site.exchange(b"GET %s HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: te, close\r\n\r\n" % path.encode())
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n"), answer
    assert b"\r\nx-from: gateway\r\n" in answer and b"inside" not in answer.lower() and b"_from" not in answer.lower()
    assert (b"\r\n0\r\nx-sum: abc\r\n\r\n" in answer) == (path == "/edited/told")


def test_bad_request_trailers_are_refused(site, backend):
    for line in (b"x y: z", b"x: a\x01b", b"nocolon", b": x"):
        answer = site.exchange(b"POST /app/t3 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
                               b"4\r\nbody\r\n0\r\n" + line + b"\r\n\r\nGET /app/smuggled HTTP/1.1\r\nhost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ") and b"connection: close" in answer, line
    assert b"smuggled" not in backend.received()


@pytest.mark.parametrize("te, has_trailers", [(b"te: trailers\r\nconnection: te, close\r\n", True),
                                              (b"connection: close\r\n", False)], ids=["te", "no te"])
def test_response_trailers_go_to_who_can_read_them(site, te, has_trailers):
    answer = site.exchange(b"GET /app/trailers HTTP/1.1\r\nhost: x\r\n" + te + b"\r\n")
    end = b"\r\n0\r\ngrpc-status: 0\r\nx-sum: abc\r\n\r\n" if has_trailers else b"\r\n0\r\n\r\n"
    assert answer.endswith(b"4\r\nbody" + end)
    assert (b"\r\ntrailer: Grpc-Status, X-Sum\r\n" in answer) == has_trailers


def test_announced_trailers_are_announced_on(site, backend):
    """RFC 9110 section 6.6.2: some servers take no others; where there can be none nothing is said of them."""
    def head_seen(data):
        before = len(backend.received())
        assert site.exchange(data).startswith(b"HTTP/1.1 200 OK\r\n")
        return backend.received()[before:]
    post = b"POST /app/t4 HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntrailer: X-Sum\r\n"
    assert b"\r\ntrailer: X-Sum\r\n" in head_seen(post + b"transfer-encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\n")
    assert b"\r\ntrailer" not in head_seen(post + b"content-length: 1\r\n\r\nx")
    before = len(backend.received())
    h2_events(site, head_of("/app/t5", "POST", trailer="x-sum"), b"body", [("x-sum", "13")])
    assert b"\r\ntrailer: x-sum\r\n" in backend.received()[before:]
    for how in ("miss", "hit"):
        answer = site.exchange(b"GET /app/cached/trailers?announced HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: te, close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\ntrailer" not in answer, how


@pytest.mark.parametrize("path, version, is_told", [("/app/trailers", b"1.1", True), ("/app/trailers", b"1.0", False),
                                                    ("/app/cached/trailers", b"1.1", False)])
def test_who_drops_trailers_does_not_ask_for_them(site, backend, path, version, is_told):
    """RFC 9110 section 10.1.4: HTTP/1.0 has no place for them, and what the cache keeps has none either."""
    before = len(backend.received())
    site.exchange(b"GET %s HTTP/%s\r\nhost: x\r\nte: trailers\r\nconnection: te, close\r\n\r\n" % (path.encode(), version))
    head = backend.received()[before:]
    assert head.startswith(b"GET ") and (b"\r\nte: trailers\r\n" in head) == is_told


def test_response_trailers_on_h2(site):
    events = h2_events(site, head_of("/app/trailers"))
    trailers = [event for event in events if isinstance(event, h2.events.TrailersReceived)]
    assert [dict(one.headers) for one in trailers] == [{"grpc-status": "0", "x-sum": "abc"}]
    answer = next(event for event in events if isinstance(event, h2.events.ResponseReceived))
    assert dict(answer.headers)["trailer"] == "Grpc-Status, X-Sum"
    assert b"".join(e.data for e in events if isinstance(e, h2.events.DataReceived)) == b"body"


def test_bad_response_trailers_break_the_answer_off(site):
    answer = site.exchange(b"GET /app/bad-trailers HTTP/1.1\r\nhost: x\r\n\r\n")
    assert not answer.endswith(b"0\r\n\r\n")
    events = h2_events(site, head_of("/app/bad-trailers"), until=h2.events.StreamReset)
    assert not any(isinstance(event, h2.events.StreamEnded) for event in events)


# ---- interim answers ----

def test_early_hints_are_passed_on(site):
    answer = site.exchange(b"GET /app/hints HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
                             b"HTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\n\r\nHTTP/1.1 200 OK\r\n")
    events = h2_events(site, head_of("/app/hints"))
    interim = [e for e in events if isinstance(e, h2.events.InformationalResponseReceived)]
    assert [dict(one.headers) for one in interim] == [{":status": "103", "link": "</a.css>"},
                                                      {":status": "103", "link": "</b.css>"}]


def test_http10_gets_no_interim_answer(site):
    assert site.exchange(b"GET /app/hints HTTP/1.0\r\nhost: x\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")


def read_h1(connection):
    """The head that comes next, and nothing behind it."""
    text = b""
    while not text.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, text
        text += byte
    return text


def test_early_hints_of_a_fetch_go_to_who_caused_it_alone(site):
    """RFC 8297: at once, while others wait for an answer that may yet turn out to be nobody else's."""
    path = "/app/cached/hints/h1"
    gate = GATES[path] = threading.Event()
    get = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
    with site.raw() as leader, site.raw() as follower:
        try:
            leader.sendall(get)
            assert read_h1(leader) == b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
            follower.sendall(get)
            site.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 2)
        finally:
            gate.set()
        assert read_h1(leader) == b"HTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\n\r\n"
        for one in (leader, follower):
            answer = read_all(one)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nbody")
    assert site.exchange(get).startswith(b"HTTP/1.1 200 OK\r\n")  # and nothing of them is stored


def test_early_hints_of_a_fetch_on_h2(site):
    path = "/app/cached/hints/h2"
    gate = GATES[path] = threading.Event()
    connection, state = h2_start(site)
    with connection:
        try:
            state.send_headers(1, head_of(path), end_stream=True)
            connection.sendall(state.data_to_send())
            events = []
            assert h2_until(connection, state, h2.events.InformationalResponseReceived, events) is not None
        finally:
            gate.set()
        assert h2_until(connection, state, h2.events.StreamEnded, events) is not None
    interim = [dict(e.headers) for e in events if isinstance(e, h2.events.InformationalResponseReceived)]
    assert interim == [{":status": "103", "link": "</a.css>"}, {":status": "103", "link": "</b.css>"}]


# ---- tunnels ----

WISH = (b"HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")


def test_websocket_on_http1(site):
    with site.raw() as connection:
        connection.sendall(b"GET /app/ws " + WISH + b"early ")
        connection.settimeout(60)
        file = connection.makefile("rb")
        status, fields, _ = read_response(file)
        assert status == 101
        assert fields["upgrade"] == "websocket" and fields["connection"] == "upgrade"
        assert "sec-websocket-accept" in fields and "transfer-encoding" not in fields
        assert file.read(12) == b"hello EARLY "
        connection.sendall(b"x" * 200000)
        assert file.read(200000) == b"X" * 200000
        with contextlib.suppress(ssl.SSLError):
            connection.unwrap()  # says that we have no more to say, and waits for the other side's end


def test_a_key_is_the_clients_to_send(site, backend):
    with site.raw() as connection:
        connection.sendall(b"GET /app/ws " + WISH.replace(b"sec-websocket-key", b"x-key"))
        connection.settimeout(60)
        assert read_response(connection.makefile("rb"))[0] == 101  # the server's answer, who may refuse it
    assert b"\r\nx-key: " in backend.peers[-1].data and b"sec-websocket-key" not in backend.peers[-1].data


@pytest.mark.parametrize("protocol", ["websocket", "WebSocket"])
def test_websocket_on_http2(site, backend, protocol):
    connection, state = h2_start(site)
    with connection:
        assert h2_until(connection, state, h2.events.RemoteSettingsChanged).changed_settings[8].new_value == 1
        fields = h2_talk_through_tunnel(connection, state, [
            (":method", "CONNECT"), (":protocol", protocol), (":scheme", "https"), (":path", "/app/ws"),
            (":authority", "x"), ("sec-websocket-version", "13")])
        assert fields[":status"] == "200" and not {"upgrade", "sec-websocket-accept"} & set(fields)
    head = backend.peers[-1].data
    assert b"GET /app/ws HTTP/1.1\r\n" in head and b"\r\nsec-websocket-key: " in head


WEBSOCKET = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/app/ws"),
             (":authority", "x"), ("sec-websocket-version", "13")]


@pytest.mark.parametrize("proof", list(PROOFS))
def test_a_server_proves_that_it_has_read_a_key_of_ours(site, proof):
    """RFC 6455 section 4.1: whoever sent the key looks at the answer. A client of HTTP/2 sends none, and cannot."""
    path = f"/app/ws-proof/{proof}"
    events = h2_events(site, [(name, path if name == ":path" else value) for name, value in WEBSOCKET], b"tunnel")
    answer = next(event for event in events if isinstance(event, h2.events.ResponseReceived))
    assert dict(answer.headers)[":status"] == "502"
    with site.raw() as connection:
        connection.sendall(b"GET " + path.encode() + b" " + WISH)
        assert b" 101 " in read_all(connection)  # it knows its key, and looks for itself


def test_a_tunnel_whose_client_has_nothing_to_say(site):
    """END_STREAM with the head is the end of what the client says, of which the server hears."""
    connection, state = h2_start(site)
    with connection:
        state.send_headers(1, WEBSOCKET, end_stream=True)
        connection.sendall(state.data_to_send())
        events = []
        assert h2_until(connection, state, h2.events.StreamEnded, events)
    assert b"".join(event.data for event in events if isinstance(event, h2.events.DataReceived)) == b"hello  bye"


def test_a_head_in_a_tunnel_breaks_it(site, backend):
    """RFC 9113 section 8.5: of such a stream there is nothing but DATA."""
    connection, state = h2_start(site)
    with connection:
        state.send_headers(1, WEBSOCKET)
        connection.sendall(state.data_to_send())
        assert h2_until(connection, state, h2.events.DataReceived).data == b"hello "
        state.send_headers(1, [("x-sum", "1")], end_stream=True)
        connection.sendall(state.data_to_send())
        reset = h2_until(connection, state, h2.events.StreamReset)
    assert reset.error_code == h2.errors.ErrorCodes.PROTOCOL_ERROR
    assert b"x-sum" not in backend.peers[-1].data


@pytest.mark.parametrize("path", [b"/app/plain"])
def test_without_leave_an_upgrade_is_a_plain_request(site, backend, path):
    before = len(backend.received())
    with site.raw() as connection:
        connection.sendall(b"GET " + path + b" " + WISH + b"GET /app/next HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        connection.settimeout(60)
        answers = read_all(connection)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 2
    seen = backend.received()[before:].lower()
    assert b"upgrade" not in seen and b"/app/next" in seen


def test_without_leave_a_connect_is_refused(site):
    events = h2_events(site, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"),
                              (":path", "/app/plain"), (":authority", "x")], b"tunnel",
                       until=h2.events.ResponseReceived)
    answer = next(event for event in events if isinstance(event, h2.events.ResponseReceived))
    assert dict(answer.headers)[":status"] == "501"


def test_an_upgrade_that_the_upstream_refuses_is_an_answer(site):
    with site.raw() as connection:
        connection.sendall(b"GET /app/no-ws " + WISH + b"GET /app/next HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        connection.settimeout(60)
        assert read_all(connection).count(b"HTTP/1.1 200 OK\r\n") == 2


@pytest.mark.parametrize("path, status", [("/app/no-ws", "502"), ("/app/no-ws-403", "403")])
def test_a_page_is_no_tunnel_on_http2(site, path, status):
    """RFC 8441 section 5: any 2xx would open one, so a server's 200 to an upgrade must not arrive as such."""
    events = h2_events(site, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", path),
                              (":authority", "x"), ("sec-websocket-version", "13")], b"tunnel")
    answer = next(event for event in events if isinstance(event, h2.events.ResponseReceived))
    body = b"".join(event.data for event in events if isinstance(event, h2.events.DataReceived))
    assert dict(answer.headers)[":status"] == status
    assert b'"backend_no_websocket"' in body if status == "502" else body == b""
    assert site.get("/app/plain").status_code == 200


def test_a_reset_behind_a_tunnel_is_a_cancel_on_http2(site):
    """RFC 8441 section 5: an orderly end is END_STREAM, a reset of TCP is RST_STREAM with CANCEL."""
    connection, state = h2_start(site)
    with connection:
        state.send_headers(1, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", "x"),
                               (":path", "/app/ws-reset"), ("sec-websocket-version", "13")])
        connection.sendall(state.data_to_send())
        events = []
        assert h2_until(connection, state, h2.events.DataReceived, events).data == b"hello "
        state.send_data(1, b"break")
        connection.sendall(state.data_to_send())
        reset = h2_until(connection, state, h2.events.StreamReset, events)
    assert reset.error_code == h2.errors.ErrorCodes.CANCEL and reset.remote_reset


def test_a_silent_tunnel_is_cut(site):
    with site.raw() as connection:
        connection.sendall(b"GET /short/app/ws " + WISH)
        connection.settimeout(60)
        assert b" 101 " in read_all(connection)


def test_h2c_upgrade_over_tls_is_refused(site, backend):
    before = len(backend.received())
    answer = site.exchange(b"GET /app/h2c HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\n"
                           b"upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ") and b"connection: close" in answer
    assert len(backend.received()) == before


class Tunnels:
    """Opened by clients of several addresses, and held."""

    def __init__(self, gateway, stack):
        self.gateway, self.stack, self.open = gateway, stack, {}

    def ask(self, source, path="/app/ws"):
        """Status and code of the answer."""
        connection = socket.create_connection(("127.0.0.1", self.gateway.port), 20, (source, 0))
        self.stack.callback(connection.close)
        connection.sendall(b"GET " + path.encode() + b" " + WISH)
        status, _, body = read_response(connection.makefile("rb"))
        if status == 101:
            self.open.setdefault(source, []).append(connection)
            return 101, None
        connection.close()
        error = json.loads(body)["error"]
        assert error["policy"].startswith("limits.tunnels") and error["value"] >= error["limit"] >= 8, error
        return status, error["code"]


def test_tunnels_leave_connections_to_requests_and_to_each_other(launch, backend):
    gateway = launch({
        "listeners": lambda one: [{"name": "plain", "address": f"127.0.0.1:{one.port}", "kind": "plain"}],
        "limits": {"threads": 1, "drain_timeout": "1s"},
        "clusters": {"app": {"endpoints": [backend.address], "max_connections": 24,
                             "limits": {"tunnels": 20, "tunnels_share": "1%"}}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "websocket": True}]})

    def limit(name):
        return gateway.stats()["backends"]["app"]["limits"]["tunnels"][name]

    with contextlib.ExitStack() as stack:
        tunnels = Tunnels(gateway, stack)
        hoarder, other, third = "127.0.0.2", "127.0.0.3", "127.0.0.4"
        for source, count in ((hoarder, 10), (other, 8), (third, 2)):  # half of them; a share of 8; what is left
            assert [tunnels.ask(source)[0] for _ in range(count)] == [101] * count
            assert tunnels.ask(source) == (503, "cluster_tunnels")
        assert (limit("used"), limit("max"), limit("refused")) == (20, 20, 1)
        counted = 'floodgate_refused_total{route="/",reason="cluster_tunnels"} 3'
        wait_for(lambda: counted in plain_http.get(f"{gateway.admin}/metrics").text, what="three refusals")
        with socket.create_connection(("127.0.0.1", gateway.port), 20, (hoarder, 0)) as connection:
            connection.sendall(b"GET /app/page HTTP/1.1\r\nhost: x\r\n\r\n")
            assert read_response(connection.makefile("rb"))[0] == 200
        tunnels.open[hoarder][0].close()
        wait_for(lambda: limit("used") == 19, what="the end of a tunnel")
        assert tunnels.ask(hoarder) == (503, "cluster_tunnels")
        assert tunnels.ask(third) == (101, None)
    wait_for(lambda: limit("used") == 0, what="the end of all")
