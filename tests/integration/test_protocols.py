"""The wire: TLS, ALPN, HTTP/1.1 and HTTP/2 framing, limits, time-outs and drain."""
import asyncio
import hashlib
import json
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import h2.events
import httpx
import pytest

import wire
from harness import free_port, h2_start, h2_until, plain_http, read_all, read_response, wait_for

HEADER_MAX = 8192


@pytest.fixture(scope="module")
def backend(upstream_module):
    return upstream_module()


@pytest.fixture(scope="module")
def site(launch_module, backend):
    redirect = free_port()
    gateway = launch_module({
        "listeners": lambda fg: [
            {"name": "public", "address": f"127.0.0.1:{fg.port}", "certificate": str(fg.certificate),
             "private_key": str(fg.key)},
            {"name": "to-https", "address": f"127.0.0.1:{redirect}", "kind": "redirect",
             "redirect_to": f"127.0.0.1:{fg.port}"}],
        "limits": {"threads": 2, "drain_timeout": "5s", "header_max": "8KiB", "header_count_max": 50,
                   "uri_max": "1KiB", "body_max": "64KiB"},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [
            {"name": "fixed", "match": {"path": "/fixed", "methods": ["GET", "POST"]},
             "respond": {"status": 200, "body": "fixed text"}},
            {"name": "moved", "match": {"path": "/moved"}, "redirect": "/fixed"},
            {"name": "large", "match": {"prefix": "/large"}, "to": "cluster:app", "body_max": "1MiB"},
            {"name": "app", "match": {"prefix": "/app"}, "to": "cluster:app"},
        ],
    })
    gateway.redirect_to_port = redirect
    return gateway


# ---- TLS and versions ----

@pytest.mark.parametrize("offered, chosen", [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), (["h2"], "h2")])
@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls12", "tls13"])
def test_alpn_and_tls_versions_on_one_port(site, offered, chosen, tls):
    with site.raw(alpn=offered, tls=tls) as connection:
        assert connection.selected_alpn_protocol() == chosen
        assert connection.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[tls]


def test_without_alpn_it_is_http1(site):
    with site.raw(alpn=None) as connection:
        connection.sendall(b"GET /fixed HTTP/1.1\r\nhost: x\r\n\r\n")
        assert read_response(connection.makefile("rb"))[0] == 200


def test_unknown_alpn_is_refused(site):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with site.raw(alpn="spdy/3") as connection:
            connection.sendall(b"GET /fixed HTTP/1.1\r\nhost: x\r\n\r\n")
            if not connection.recv(1):
                raise ConnectionError("closed")


def test_plain_text_on_the_tls_port_harms_nobody(site):
    with socket.create_connection(("127.0.0.1", site.port), 10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        read_all(plain)
    assert site.get("/fixed").status_code == 200


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_every_response_can_be_traced(site, http2):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with site.client(http2=http2) as client:
        for path, status in [("/fixed", 200), ("/moved", 308), ("/app/x", 200), ("/none", 404)]:
            answer = client.get(path, headers={"x-request-id": "my-id.1", "traceparent": trace})
            assert answer.status_code == status
            assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            assert answer.headers["x-request-id"] == "my-id.1"
            assert answer.headers["traceparent"].startswith(trace[:36])
            assert answer.headers["traceparent"] != trace
            assert ("total;dur=" in answer.headers.get("server-timing", "")) == (path == "/app/x")
            assert "date" in answer.headers
        first, second = client.get("/fixed"), client.get("/fixed")
        assert first.headers["x-request-id"] != second.headers["x-request-id"]


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_unknown_path_and_method(site, http2):
    with site.client(http2=http2) as client:
        missing = client.get("/none")
        assert missing.status_code == 404
        assert missing.json()["error"]["code"] == "no_route"
        assert missing.json()["error"]["request_id"] == missing.headers["x-request-id"]
        wrong = client.delete("/fixed")
        assert wrong.status_code == 405
        assert set(wrong.headers["allow"].replace(" ", "").split(",")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_head_has_the_fields_and_no_body(site, http2):
    with site.client(http2=http2) as client:
        for path in ("/fixed", "/app/x"):
            got, head = client.get(path), client.head(path)
            assert head.status_code == 200 and head.content == b""
            assert head.headers["content-type"] == got.headers["content-type"]
        assert client.head("/fixed").headers["content-length"] == "10"
        assert client.get("/fixed").text == "fixed text"  # the connection is still in order


def test_redirect_listener_names_the_https_address(site):
    answer = plain_http.get(f"http://127.0.0.1:{site.redirect_to_port}/promo/?a=1", follow_redirects=False)
    assert answer.status_code == 308
    assert answer.headers["location"] == f"https://127.0.0.1:{site.port}/promo/?a=1"
    assert answer.headers["date"].endswith(" GMT")


def test_what_a_redirect_listener_answers_is_remembered(launch):
    """In the log, for `explain` and in the figures, as what a route answers; and so is what it refuses."""
    port = free_port()
    gateway = launch({
        "listeners": [{"name": "to-https", "address": f"127.0.0.1:{port}", "kind": "redirect"}],
        "observability": {"access_log": True}, "limits": {"threads": 1},
        "routes": [{"match": {"prefix": "/"}, "respond": {"body": "ok"}}]})

    with wire.connect(port) as connection:
        connection.sendall(b"GET /promo?a=1 HTTP/1.1\r\nHost: x\r\nX-Request-Id: moved-1\r\n\r\nGET /bad\r\n\r\n")
        answers = read_all(connection)
    assert answers.startswith(b"HTTP/1.1 308 ") and b"\r\nlocation: https://x/promo?a=1\r\n" in answers
    error = json.loads(answers.rpartition(b"\r\n\r\n")[2])["error"]

    moved, refused = gateway.explain("moved-1"), gateway.explain(error["request_id"])
    assert (moved["status"], moved["method"], moved["path"]) == (308, "GET", "/promo") and "route" not in moved
    assert {"stage": "listener", "decided": "pass", "policy": "to-https", "reason": "redirect"}.items() <= \
        moved["decisions"][0].items()
    assert refused["status"] == 400 and refused["decisions"][0]["reason"] == error["code"] == "malformed_request"
    assert re.search(r'event=redirected request_id=moved-1 method=GET path="/promo" listener=to-https status=308 '
                     r"client=127\.0\.0\.1\n", gateway.log)
    assert f"event=bad_request request_id={error['request_id']} " in gateway.log
    figures = gateway.stats()["routes"]["unmatched"]
    assert figures["requests"] == 2 and figures["by_class"]["3xx"] == 1 and figures["by_class"]["4xx"] == 1


# ---- HTTP/1.1 ----

def test_keep_alive_and_pipelining_keep_the_order(site):
    paths = ["/fixed", "/app/1", "/none", "/app/2", "/fixed"]
    with site.raw() as connection:
        file = connection.makefile("rb")
        connection.sendall(b"".join(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode() for path in paths))
        answers = [read_response(file) for _ in paths]
        assert [status for status, _, _ in answers] == [200, 200, 404, 200, 200]
        assert [json.loads(answers[at][2])["path"] for at in (1, 3)] == ["/app/1", "/app/2"]
        connection.sendall(b"GET /fixed HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        status, fields, _ = read_response(file)
        assert status == 200 and fields["connection"] == "close"
        assert file.read() == b""


@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls12", "tls13"])
def test_a_crowd_of_pipelined_requests_is_answered_by_and_by(site, tls):
    """Far more than a read or the buffer of answers, and among them one that a server has to answer."""
    count = 1500
    ours, theirs, last = (b"GET %s HTTP/1.1\r\nhost: x\r\n%s\r\n" % words for words in (
        (b"/fixed", b""), (b"/app/1", b""), (b"/fixed", b"connection: close\r\n")))
    answers = site.exchange(ours * count + theirs + ours * count + last, tls=tls)
    assert answers.count(b"HTTP/1.1 200 ") == answers.count(b"HTTP/1.1 ") == 2 * count + 2
    before, _, behind = answers.partition(b'"path": "/app/1"')
    assert (before.count(b"fixed text"), behind.count(b"fixed text")) == (count, count + 1)


def test_http10_is_answered_and_closed(site):
    answer = site.exchange(b"GET /fixed HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"fixed text")


def test_a_request_in_single_bytes(site):
    with site.raw() as connection:
        for byte in b"POST /app/slow HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello":
            connection.sendall(bytes([byte]))
        status, _, body = read_response(connection.makefile("rb"))
        assert status == 200
        assert json.loads(body)["sha256"] == hashlib.sha256(b"hello").hexdigest()


def test_chunked_upload_with_extensions_and_trailers(site):
    with site.raw() as connection:
        connection.sendall(b"POST /app/up HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
                           b"5;a=b\r\nhello\r\n1\r\n \r\n005\r\nworld\r\n0\r\nx-trailer: 1\r\n\r\n"
                           b"GET /fixed HTTP/1.1\r\nhost: x\r\n\r\n")
        file = connection.makefile("rb")
        status, _, body = read_response(file)
        assert status == 200
        assert json.loads(body)["sha256"] == hashlib.sha256(b"hello world").hexdigest()
        assert read_response(file)[2] == b"fixed text"


def test_expect_100_continue(site):
    with site.raw() as connection:
        file = connection.makefile("rb")
        connection.sendall(b"POST /app/up HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n")
        assert file.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert file.readline() == b"\r\n"
        connection.sendall(b"body")
        assert read_response(file)[0] == 200


def h2_wire(site):
    """Interim statuses are noted in `interim`."""
    peer = wire.H2(site.raw(alpn="h2"))
    peer.interim = []
    decode = peer.decoder.decode

    def note(data):
        fields = decode(data)
        peer.interim += [value for name, value in fields if name == ":status" and value < "200"]
        return fields
    peer.decoder.decode = note
    return peer


def test_an_answer_before_the_end_of_a_body_is_read_before_its_reset(site):
    """In one read with both, curl up to 8.0 takes the answer for lost: each goes in a TLS record of its own."""
    peer = h2_wire(site)
    with peer.connection:
        peer.send(wire.headers(1, [*wire.pseudo("/nothing", "POST", scheme="https"), ("content-length", "100000")],
                               wire.END_HEADERS) + wire.frame(wire.DATA, 0, 1, b"x" * 1000))
        assert peer.until(lambda: 1 in peer.ended) and not peer.resets and peer.status[1] == 404
        assert peer.until(lambda: 1 in peer.resets) and peer.resets == {1: wire.NO_ERROR}
        assert peer.get(3, "/fixed") == 200  # what else it sent was late, not wrong


def test_expect_100_continue_on_http2(site):
    expect = [*wire.pseudo("/app/e", "POST", scheme="https"), ("expect", "100-continue"), ("content-length", "5")]
    peer = h2_wire(site)
    with peer.connection:
        peer.send(wire.headers(1, expect, wire.END_HEADERS))
        assert peer.until(lambda: peer.interim == ["100"]), "leave to send the body"
        peer.send(wire.frame(wire.DATA, wire.END_STREAM, 1, b"hello"))
        assert peer.until(lambda: peer.is_over(1)) and peer.status[1] == 200
        assert json.loads(peer.bodies[1])["bytes"] == 5 and peer.interim == ["100"]


@pytest.mark.parametrize("path, extra, end, status", [
    ("/app/e", [("content-length", "65537")], False, 413), ("/app/e", [], True, 200), ("/fixed", [], False, 200),
    ("/app/e", [("expect", "else")], False, 417)])
def test_expect_100_continue_on_http2_is_not_sent_where_no_body_is_wanted(site, path, extra, end, status):
    peer = h2_wire(site)
    fields = [*wire.pseudo(path, "POST", scheme="https"), *(extra if extra and extra[0][0] == "expect" else
                                                            [("expect", "100-continue"), *extra])]
    with peer.connection:
        peer.send(wire.headers(1, fields, wire.END_HEADERS | (wire.END_STREAM if end else 0)))
        assert peer.until(lambda: peer.is_over(1)) and peer.status[1] == status and not peer.interim


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_a_204_has_no_length(launch, recorder, http2):
    def answer(peer):
        while peer.read_request() is not None:
            peer.write(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\nx-own: 1\r\n\r\n")
    gateway = launch({"clusters": {"app": {"endpoints": [recorder(answer).address]}},
                      "routes": [{"match": {"path": "/own"}, "respond": {"status": 204}},
                                 {"match": {"prefix": "/"}, "to": "cluster:app"}]})
    with gateway.client(http2=http2) as client:
        for path in ("/own", "/app"):
            got = client.get(path)
            assert got.status_code == 204 and "content-length" not in got.headers and not got.content
        assert got.headers["x-own"] == "1"


def test_expect_100_continue_is_not_sent_for_a_refused_body(site):
    with site.raw() as connection:
        file = connection.makefile("rb")
        connection.sendall(b"POST /app/up HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n"
                           b"expect: 100-continue\r\n\r\n")
        assert read_response(file)[0] == 413


MALFORMED = [
    ("no host", b"GET /fixed HTTP/1.1\r\n\r\n", 400),
    ("two hosts", b"GET /fixed HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
    ("host with a path", b"GET /fixed HTTP/1.1\r\nhost: a/b\r\n\r\n", 400),
    ("host with a blank", b"GET /fixed HTTP/1.1\r\nhost: a b\r\n\r\n", 400),
    ("host with userinfo", b"GET /fixed HTTP/1.1\r\nhost: u@a\r\n\r\n", 400),
    ("blank before the colon", b"GET /fixed HTTP/1.1\r\nhost : x\r\n\r\n", 400),
    ("no colon", b"GET /fixed HTTP/1.1\r\nhost: x\r\nnonsense\r\n\r\n", 400),
    ("empty name", b"GET /fixed HTTP/1.1\r\nhost: x\r\n: y\r\n\r\n", 400),
    ("name with a blank", b"GET /fixed HTTP/1.1\r\nhost: x\r\na b: y\r\n\r\n", 400),
    ("name with a control", b"GET /fixed HTTP/1.1\r\nhost: x\r\na\x01b: y\r\n\r\n", 400),
    ("name not ASCII", "GET /fixed HTTP/1.1\r\nhost: x\r\nä: y\r\n\r\n".encode(), 400),
    ("value with NUL", b"GET /fixed HTTP/1.1\r\nhost: x\r\na: y\x00z\r\n\r\n", 400),
    ("value with a bare CR", b"GET /fixed HTTP/1.1\r\nhost: x\r\na: y\rz\r\n\r\n", 400),
    ("bare LF ends a line", b"GET /fixed HTTP/1.1\nhost: x\n\n", 400),
    ("bare LF in the middle", b"GET /fixed HTTP/1.1\r\nhost: x\na: b\r\n\r\n", 400),
    ("folded field", b"GET /fixed HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n", 400),
    ("blank first line of fields", b"GET /fixed HTTP/1.1\r\n host: x\r\n\r\n", 400),
    ("no version", b"GET /fixed\r\nhost: x\r\n\r\n", 400),
    ("two blanks", b"GET  /fixed HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ("blank in the target", b"GET /fi xed HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ("no target", b"GET HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ("relative target", b"GET fixed HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ("control in the target", b"GET /fix\x01ed HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ("NUL in the target", b"GET /fix%00ed HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ("broken escape", b"GET /fix%2 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ("broken escape, not hex", b"GET /fix%zz HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ("above the root", b"GET /../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ("fragment", b"GET /fixed#top HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ("method with a control", b"GE\x01T /fixed HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ("not HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ("length not a number", b"POST /app/x HTTP/1.1\r\nhost: x\r\ncontent-length: abc\r\n\r\n", 400),
    ("length with a sign", b"POST /app/x HTTP/1.1\r\nhost: x\r\ncontent-length: +5\r\n\r\nhello", 400),
    ("length negative", b"POST /app/x HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400),
    ("length in hex", b"POST /app/x HTTP/1.1\r\nhost: x\r\ncontent-length: 0x5\r\n\r\nhello", 400),
    ("length empty", b"POST /app/x HTTP/1.1\r\nhost: x\r\ncontent-length:\r\n\r\n", 400),
    ("length too large", b"POST /app/x HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n", 400),
    ("two lengths", b"POST /app/x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", 400),
    ("list of lengths", b"POST /app/x HTTP/1.1\r\nhost: x\r\ncontent-length: 5, 5\r\n\r\nhello", 400),
    ("both lengths", b"POST /app/x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
                     b"0\r\n\r\n", 400),
    ("coding twice", b"POST /app/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
                     b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("coding in HTTP/1.0", b"POST /app/x HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("coding unknown", b"POST /app/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n", 400),
    ("chunked hidden", b"POST /app/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    ("chunk size not hex", b"POST /app/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n\r\n", 400),
    ("chunk size negative", b"POST /app/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n",
     400),
    ("chunk size too large", b"POST /app/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
                             b"fffffffffffffffff\r\n", 400),
    ("chunk longer than said", b"POST /app/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
                               b"3\r\nhello\r\n0\r\n\r\n", 400),
    ("version 3.0", b"GET /fixed HTTP/3.0\r\nhost: x\r\n\r\n", 505),
    ("version 2.0 as text", b"GET /fixed HTTP/2.0\r\nhost: x\r\n\r\n", 505),
    ("lower case version", b"GET /fixed http/1.1\r\nhost: x\r\n\r\n", 400),
    ("unknown expectation", b"POST /app/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\nexpect: magic\r\n\r\nx", 417),
    ("connect", b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", 501),
]


@pytest.mark.parametrize("data, status", [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_malformed_http1_is_refused_and_closed(site, data, status):
    before = site.stats()["backends"]["app"]["requests"]["completed"]
    answer = site.exchange(data + b"")
    assert answer[:12] == f"HTTP/1.1 {status}".encode(), answer[:300]
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert b"HTTP/1.1 2" not in body and b"HTTP/1.1 4" not in body, "a second answer: the rest was taken for a request"
    assert json.loads(body)["error"]["code"]
    assert site.stats()["backends"]["app"]["requests"]["completed"] == before


def test_after_all_that_it_still_serves(site):
    assert site.get("/fixed").text == "fixed text"


# ---- limits ----

def curl_post(site, path, data, *options):
    """A POST by curl over HTTP/2, which goes on after a GOAWAY as httpx does not."""
    done = subprocess.run(["curl", "-sk", "--http2", "-i", "--data-binary", "@-", *options, site.url + path],
                          input=data, capture_output=True, timeout=60, check=False)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0].startswith("HTTP/2 "), (done.returncode, done.stdout, done.stderr)
    fields = [line.partition(": ")[::2] for line in lines[1:]]
    return httpx.Response(int(lines[0].split()[1]), headers=fields, content=body)


def h2_early_answer(site, path, length):
    """The answer to a head that announces `length` bytes: before any of them is sent."""
    connection, state = h2_start(site)
    with connection:
        state.send_headers(1, [(":method", "POST")] + GET[1:3] + [(":path", path), ("content-length", str(length))])
        connection.sendall(state.data_to_send())
        head = h2_until(connection, state, h2.events.ResponseReceived, keep := [])
        while not any(isinstance(event, h2.events.StreamReset) for event in keep):
            keep += state.receive_data(connection.recv(65536))
        body = b"".join(event.data for event in keep if isinstance(event, h2.events.DataReceived))
    fields = dict(head.headers)
    return httpx.Response(int(fields.pop(":status")), headers=fields, content=body)


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
@pytest.mark.parametrize("what, status", [("large field", 431), ("many fields", 431), ("long uri", 414),
                                          ("large body", 413)])
def test_limits_of_a_request(site, http2, what, status):
    with site.client(http2=http2) as client:
        if what == "large field":
            answer = client.get("/fixed", headers={"x-large": "a" * (HEADER_MAX + 1)})
        elif what == "many fields":
            answer = client.get("/fixed", headers={f"x-{i}": "1" for i in range(60)})
        elif what == "long uri":
            answer = client.get("/fixed?" + "a" * 1100)
        elif http2:
            answer = h2_early_answer(site, "/app/x", 70000)
        else:
            answer = client.post("/app/x", content=b"a" * 70000)
        assert answer.status_code == status
        assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
        assert client.get("/fixed").status_code == 200


def test_just_within_the_limits(site):
    with site.client() as client:
        assert client.get("/fixed?" + "a" * 1000).status_code == 200
        assert client.get("/fixed", headers={"x-large": "a" * 7000}).status_code == 200
        assert client.post("/app/x", content=b"a" * 65536).json()["bytes"] == 65536
        assert client.post("/large/x", content=b"a" * (1 << 20)).json()["bytes"] == 1 << 20


def test_a_body_without_length_is_limited_too(site):
    def pieces():
        for _ in range(40):
            yield b"a" * 4096
    with site.client() as client:
        try:
            assert client.post("/app/x", content=pieces()).status_code == 413
        except (httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError):
            pass  # closed while the client still wrote
    assert site.get("/fixed").status_code == 200


def test_a_body_without_length_is_limited_too_on_h2(site):
    connection, state = h2_start(site)
    with connection:
        state.send_headers(1, [(":method", "POST")] + GET[1:3] + [(":path", "/app/x")])
        connection.sendall(state.data_to_send())
        connection.settimeout(60)
        status, ended, sent = None, False, 0
        while not ended:
            while not ended and status is None and sent < 200000 and state.local_flow_control_window(1) >= 8192:
                state.send_data(1, b"a" * 8192)
                sent += 8192
            connection.sendall(state.data_to_send())
            data = connection.recv(65536)
            assert data, "the connection was ended"
            for event in state.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[":status"]
                # The stream must be over for both sides, or a client that only writes waits forever.
                ended = ended or isinstance(event, h2.events.StreamReset)
        assert status == "413" and sent <= 65536 + 8 * 8192 * 2
        state.send_headers(3, GET, end_stream=True)
        connection.sendall(state.data_to_send())
        assert h2_until(connection, state, h2.events.ResponseReceived) is not None


# ---- HTTP/2 ----

def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


GET = [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/fixed")]

H2_CONNECTION_ERRORS = [
    ("data on stream 0", frame(0, 0, 0, b"x")),
    ("headers on stream 0", frame(1, 4, 0, b"\x82")),
    ("headers on an even stream", frame(1, 4 | 1, 2, b"\x82\x84\x87")),
    ("settings on a stream", frame(4, 0, 1)),
    ("settings of odd length", frame(4, 0, 0, b"12345")),
    ("settings ack with payload", frame(4, 1, 0, b"123456")),
    ("ping of wrong length", frame(6, 0, 0, b"1234")),
    ("ping on a stream", frame(6, 0, 1, b"12345678")),
    ("window update of zero", frame(8, 0, 0, b"\0\0\0\0")),
    ("window overflow", frame(8, 0, 0, b"\x7f\xff\xff\xff")),
    ("frame too large", frame(0, 0, 1, b"x" * 20000)),
    ("broken HPACK", frame(1, 4 | 1, 1, b"\xff\xff\xff\xff\xff\xff")),
    ("continuation without headers", frame(9, 4, 1, b"\x82")),
    ("push promise from a client", frame(5, 4, 1, b"\0\0\0\2\x82")),
    ("reset of an idle stream", frame(3, 0, 1, b"\0\0\0\x08")),
    ("enable push out of range", frame(4, 0, 0, b"\0\2\0\0\0\5")),
]


@pytest.mark.parametrize("data", [case[1] for case in H2_CONNECTION_ERRORS], ids=[c[0] for c in H2_CONNECTION_ERRORS])
def test_h2_connection_errors_end_the_connection(site, data):
    connection, state = h2_start(site)
    with connection:
        connection.sendall(data)
        event = h2_until(connection, state, h2.events.ConnectionTerminated)
        assert event is None or event.error_code != 0
        connection.settimeout(60)
        read_all(connection)
    assert site.get("/fixed").status_code == 200


def test_h2_wrong_preface_is_closed(site):
    with site.raw(alpn="h2") as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" + b"x" * 64)
        connection.settimeout(60)
        read_all(connection)
    assert site.get("/fixed").status_code == 200


H2_BAD_HEADS = [
    ("no path", [h for h in GET if h[0] != ":path"]),
    ("no method", [h for h in GET if h[0] != ":method"]),
    ("two paths", GET + [(":path", "/fixed")]),
    ("unknown pseudo field", GET[:1] + [(":magic", "1")] + GET[1:]),
    ("upper case name", GET + [("X-Upper", "1")]),
    ("connection field", GET + [("connection", "keep-alive")]),
    ("transfer-encoding", GET + [("transfer-encoding", "chunked")]),
    ("pseudo after regular", GET[:3] + [("a", "b")] + GET[3:]),
    ("empty path", [(n, "" if n == ":path" else v) for n, v in GET]),
    ("relative path", [(n, "fixed" if n == ":path" else v) for n, v in GET]),
    ("host that is none", GET + [("host", "u@other")]),
    ("bad length", GET + [("content-length", "abc")]),
    ("te gzip", GET + [("te", "gzip")]),
]


@pytest.mark.parametrize("head", [case[1] for case in H2_BAD_HEADS], ids=[case[0] for case in H2_BAD_HEADS])
def test_h2_malformed_requests_end_only_their_stream(site, head):
    connection, state = h2_start(site)
    with connection:
        state.send_headers(1, head, end_stream=True)
        state.send_headers(3, GET, end_stream=True)
        connection.sendall(state.data_to_send())
        seen, done = {}, False
        connection.settimeout(60)
        while not done:
            data = connection.recv(65536)
            assert data, f"the connection was ended: {seen}"
            for event in state.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    seen[event.stream_id] = dict(event.headers)[":status"]
                elif isinstance(event, h2.events.StreamReset):
                    seen[event.stream_id] = "reset"
                assert not isinstance(event, h2.events.ConnectionTerminated), event
            done = 1 in seen and 3 in seen
        assert seen[3] == "200"
        assert seen[1] in ("reset", "400"), seen


def test_h2_many_streams_on_one_connection(site):
    async def load():
        async with site.async_client(http2=True) as client:
            return await asyncio.gather(*(client.get(f"/app/{i}") for i in range(60)))
    answers = asyncio.run(load())
    assert [answer.json()["path"] for answer in answers] == [f"/app/{i}" for i in range(60)]


def test_h2_padding_is_read_over_and_is_no_flood(site):
    connection, state = h2_start(site)
    with connection:
        connection.settimeout(60)
        state.send_headers(1, [*GET[1:3], (":method", "POST"), (":path", "/large")])
        for _ in range(1500):
            state.send_data(1, b"x" * 300, pad_length=255)
            connection.sendall(state.data_to_send())
            while state.local_flow_control_window(1) < 1024:
                data = connection.recv(65536)
                assert data, "the connection was ended"
                state.receive_data(data)
        state.end_stream(1)
        connection.sendall(state.data_to_send())
        event = h2_until(connection, state, h2.events.DataReceived)
        assert json.loads(event.data)["bytes"] == 450000


def test_h2_ping_is_answered(site):
    connection, state = h2_start(site)
    with connection:
        state.ping(b"12345678")
        connection.sendall(state.data_to_send())
        event = h2_until(connection, state, h2.events.PingAckReceived)
        assert event.ping_data == b"12345678"


# ---- time-outs ----

@pytest.fixture(scope="module")
def impatient(launch_module, backend):
    return launch_module({
        "limits": {"threads": 1, "drain_timeout": "5s", "header_timeout": "300ms", "idle_timeout": "500ms",
                   "body_timeout": "300ms", "handshake_timeout": "500ms"},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [{"name": "fixed", "match": {"path": "/fixed"}, "respond": {"body": "fixed text"}},
                   {"name": "app", "match": {"prefix": "/"}, "to": "cluster:app"}],
    })


def test_slow_head_is_answered_408(impatient):
    with impatient.raw() as connection:
        connection.sendall(b"GET /fixed HTTP/1.1\r\nhost:")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert impatient.stats()["gateway"]["connections"]["timeouts"] >= 1


def test_slow_body_is_answered_408(impatient):
    with impatient.raw() as connection:
        connection.sendall(b"POST /app HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_idle_connections_are_closed(impatient):
    with impatient.raw() as connection:
        connection.sendall(b"GET /fixed HTTP/1.1\r\nhost: x\r\n\r\n")
        file = connection.makefile("rb")
        assert read_response(file)[0] == 200
        assert file.read() == b""
    connection, state = h2_start(impatient)
    with connection:
        h2_until(connection, state, h2.events.ConnectionTerminated)
        read_all(connection)


def test_a_handshake_that_never_comes_is_closed(impatient):
    with socket.create_connection(("127.0.0.1", impatient.port), 20) as plain:
        assert read_all(plain) == b""


# ---- drain ----

@pytest.mark.races
@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_drain_finishes_what_is_in_flight(launch, upstream, http2):
    backend = upstream()
    gateway = launch({"limits": {"threads": 2, "drain_timeout": "20s"},
                      "clusters": {"app": {"endpoints": [backend.address]}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    backend.gate.clear()
    answers = []

    def ask():
        if http2:
            answers.append(curl_post(gateway, "/slow", b"x" * 1000))
            return
        with gateway.client() as client:
            answers.append(client.post("/slow", content=b"x" * 1000))
    asker = threading.Thread(target=ask)
    asker.start()
    wait_for(lambda: backend.count("/slow") == 1)
    gateway.signal(signal.SIGTERM)

    def refused():
        try:
            with gateway.raw(timeout=5):
                return False
        except OSError:
            return True
    wait_for(refused, what="new connections are refused")
    assert gateway.process.poll() is None
    backend.gate.set()
    asker.join(30)
    assert answers and answers[0].status_code == 200 and answers[0].json()["bytes"] == 1000
    assert gateway.process.wait(30) == 0


def test_a_connection_that_was_kept_is_answered_once_more_while_it_drains(launch, upstream):
    """The client cannot know yet, and what it sends to a connection that closes is lost: a POST is repeated by nobody."""
    backend = upstream()
    gateway = launch({"limits": {"threads": 1, "drain_timeout": "20s"},
                      "clusters": {"app": {"endpoints": [backend.address]}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    post = b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"
    with gateway.raw() as connection, connection.makefile("rb") as file:
        connection.sendall(post)
        status, fields, _ = read_response(file)
        assert status == 200 and "connection" not in fields
        gateway.signal(signal.SIGTERM)
        wait_for(lambda: "event=drain_started" in gateway.log, what="the drain")
        connection.sendall(post)
        status, fields, _ = read_response(file)
        assert (status, fields["connection"], file.read()) == (200, "close", b"")
    assert gateway.process.wait(30) == 0 and backend.count("/x") == 2


def test_drain_has_an_end(launch, upstream):
    backend = upstream()
    gateway = launch({"limits": {"threads": 1, "drain_timeout": "500ms"},
                      "clusters": {"app": {"endpoints": [backend.address]}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    backend.gate.clear()
    with gateway.raw() as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        wait_for(lambda: backend.count("/slow") == 1)
        gateway.signal(signal.SIGTERM)
        assert gateway.process.wait(20) == 0


# ---- a client of its own ----

def test_curl_understands_it(site):
    for version in ("--http1.1", "--http2"):
        done = subprocess.run(["curl", "-sk", version, "-w", "%{http_code} %{http_version}", f"{site.url}/fixed"],
                              capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout == "fixed text200 " + ("2" if version == "--http2" else "1.1")
