"""
Attacks that cost the attacker little and end by themselves never: what trickles, is not read, or asks for what nobody
has asked for before. In each the attacker is closed or answered within bounds, and a client beside it is served.
"""
import contextlib
import re
import select
import socket
import ssl
import time

import pytest

import wire
from harness import free_port, read_all
from wire import CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, block, frame, headers, pseudo, settings

PAGE = bytes(i % 251 for i in range(100000))
GET = b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n"


def script(peer):
    while (request := peer.read_request()) is not None:
        body = PAGE if b" /c/page " in request[0] else b"y" * 1000
        peer.write(b"HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\netag: \"v1\"\r\nvary: x-kind\r\n"
                   b"content-length: %d\r\n\r\n%s" % (len(body), body))


@pytest.fixture(scope="module")
def site(launch_module, recorder_module):
    ports = {name: free_port() for name in ("tls", "proxied")}
    gateway = launch_module({
        "listeners": lambda fg: [
            {"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"},
            {"name": "proxied", "address": f"127.0.0.1:{ports['proxied']}", "kind": "plain",
             "proxy_protocol_from": ["127.0.0.1"]},
            {"name": "tls", "address": f"127.0.0.1:{ports['tls']}", "certificate": str(fg.certificate),
             "private_key": str(fg.key)}],
        # Crowds of well-behaved clients, too, have to say what they want in that time, on a busy machine.
        "limits": {"threads": 1, "header_timeout": "2s", "write_timeout": "500ms", "handshake_timeout": "2s",
                   "flooder_handshakes_per_second": 1000000},  # one address floods here, and has crowds
        "policies": {"cache": {"memory_max": "1MiB", "object_max": "256KiB"}},
        "clusters": {"up": {"endpoints": [recorder_module(script).address]}},
        "routes": [{"match": {"path": "/direct"}, "respond": {"status": 200, "body": "direct"}},
                   {"match": {"path": "/me"}, "identity": "required", "respond": {"status": 200, "body": "me"}},
                   {"match": {"prefix": "/c/"}, "to": "cluster:up", "cache": True}]})
    gateway.ports = ports
    return gateway


def neighbour(site):
    with wire.connect(site.port) as connection:
        assert wire.H2(connection).get(1, "/direct") == 200


def is_quiet(site):
    site.wait_stats(lambda stats: stats["gateway"]["connections"]["open"] <= 1 and
                    stats["gateway"]["requests"]["active"] == 0, what="the end of all connections")


def ends(connection):
    """It was closed, whatever was said before."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass


def trickle(site, first, more, port=None, count=30):
    """Connections that say `first`, and then `more` again and again, until all are closed by the gateway."""
    crowd = [wire.connect(port or site.port) for _ in range(count)]
    for one in crowd:
        one.sendall(first)
        one.setblocking(False)
    neighbour(site)
    deadline = time.monotonic() + 60
    while crowd and time.monotonic() < deadline:
        for one in list(crowd):
            try:
                one.send(more)
                is_open = one.recv(65536) != b""
            except BlockingIOError:
                is_open = True
            except OSError:
                is_open = False
            if not is_open:
                one.close()
                crowd.remove(one)
        time.sleep(0.05)  # the pace of the trickle
    assert not crowd
    is_quiet(site)


@pytest.mark.parametrize("first, more, name", [
    (wire.PREFACE + settings() + frame(HEADERS, END_STREAM, 1, block(pseudo())) + b"\0\x40\0\x09\0\0\0\0\1\0\x05", b"a", None),
    (b"PROXY TCP4 1.2.3.4", b" ", "proxied"),
    (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + bytes(12), b"\x04\0\0", "proxied"),
    (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + bytes(12) + b"\x04\0\0" * 21841, b"", "proxied"),
    (b"", b"\x16\x03\x01\0\x01\x01", "tls"),
    (b"", b"\x16\x03\x01\0\0" * 40, "tls"),
], ids=["continuation", "proxy header v1", "proxy header v2", "ancillary bomb", "hello a byte a record", "empty records"])
def test_what_trickles_is_closed(site, first, more, name):
    trickle(site, first, more, name and site.ports[name])


@pytest.mark.parametrize("frames", [frame(PING, 0, 0, b"12345678"), settings((3, 100)), settings((1, 0)) + settings((1, 65536))],
                         ids=["pings", "settings", "table sizes"])
def test_answers_that_are_never_read(site, frames):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", site.port))
        with contextlib.suppress(ConnectionError):
            connection.sendall(wire.PREFACE + settings() + frames * 3000)
        neighbour(site)
        is_quiet(site)


def test_pipelined_requests_whose_answers_are_never_read(site):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", site.port))
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            connection.send(GET % (b"/direct", b"") * 10000)
        neighbour(site)
        is_quiet(site)


def test_pipelined_requests_whose_answers_are_always_behind(site):
    """What has been read is over, and its memory others', though there is always more to be read."""
    requests, sent, read = GET % (b"/c/p", b"") * 1000, 0, 0
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", site.port))
        connection.setblocking(False)
        while read < 1 << 20:
            readable, writable, _ = select.select([connection], [connection], [], 60)
            assert readable or writable
            if writable:
                sent = (sent + connection.send(requests[sent:])) % len(requests)
            else:  # only then, so that there is no end to what waits
                read += len(connection.recv(65536))
        assert site.stats()["gateway"]["requests"]["active"] <= 100  # limits.streams_per_connection_max
        neighbour(site)
    is_quiet(site)


def ask(site, path, fields=b"", count=1):
    """The heads of answers to requests of one connection."""
    with wire.connect(site.port) as connection:
        connection.sendall(GET % (path, fields) * (count - 1) + GET % (path, fields + b"Connection: close\r\n"))
        return re.findall(rb"HTTP/1\.1 (\d+) [^\r]*\r\n(.*?)\r\n\r\n", read_all(connection), re.S)


def test_tiny_ranges_without_number_are_not_served_as_parts(site):
    ranges = ",".join(f"{i}-{i}" for i in range(0, 2000, 2)).encode()
    assert ask(site, b"/c/page")[0][0] == b"200"
    for text in (ranges, b",".join(b"0-%d" % (90000 + i) for i in range(500))):
        answers = ask(site, b"/c/page", b"Range: bytes=" + text + b"\r\n", 20)
        assert len(answers) == 20 and {status for status, _ in answers} == {b"200"}
        assert all(b"content-length: %d\r\n" % len(PAGE) in head + b"\r\n" for _, head in answers)
    neighbour(site)


def test_urls_that_nobody_asked_for_push_no_page_out(site):
    """Each is stored once; the cache stays within its memory, and what is asked for again stays in it."""
    for _ in range(5):
        ask(site, b"/c/page")
    for start in range(0, 3000, 100):
        with wire.connect(site.port) as connection:
            connection.sendall(b"".join(GET % (b"/c/p?q=%d" % (start + i), b"") for i in range(99)) +
                               GET % (b"/c/p?q=%d" % (start + 99), b"Connection: close\r\n"))
            assert read_all(connection).count(b"HTTP/1.1 200 ") == 100
    figures = site.stats()["cache"]
    assert figures["bytes"] <= 1 << 20 and figures["evicted"] > 0
    assert b"cache-status: floodgate; hit" in ask(site, b"/c/page")[0][1]


def test_variants_without_number_stay_within_the_cache(site):
    for i in range(1500):
        if i % 100 == 0:
            connection = wire.connect(site.port)
        last = i % 100 == 99
        connection.sendall(GET % (b"/c/v", b"X-Kind: %d\r\n" % i + (b"Connection: close\r\n" if last else b"")))
        if last:
            with connection:
                assert read_all(connection).count(b"HTTP/1.1 200 ") == 100
    assert site.stats()["cache"]["bytes"] <= 1 << 20
    neighbour(site)


@pytest.mark.parametrize("fields", [
    b"If-None-Match: " + b", ".join(b'"%d"' % i for i in range(3000)),
    b"Cache-Control: " + b",".join(b"x%d=1" % i for i in range(4000)),
    b"Accept-Encoding: " + b", ".join(b"a%d;q=0.1" % i for i in range(2000)),
    b"X-Forwarded-For: " + b", ".join([b"1.2.3.4"] * 3000),
], ids=["etags", "directives", "codings", "hops"])
def test_lists_as_long_as_a_head_may_be(site, fields):
    answers = ask(site, b"/c/page", fields + b"\r\n", 10)
    assert [status for status, _ in answers] == [b"200"] * 10
    neighbour(site)


def test_tokens_that_are_none_cost_no_memory(site):
    """Nothing is kept of a token that does not verify, however many of them there are."""
    for start in range(0, 2000, 100):
        tokens = [site.token(f"user-{start + i}", key=b"of somebody else") for i in range(100)]
        with wire.connect(site.port) as connection:
            connection.sendall(b"".join(GET % (b"/me", b"Authorization: Bearer %s\r\n" % token.encode() + (
                b"Connection: close\r\n" if token is tokens[-1] else b"")) for token in tokens))
            assert read_all(connection).count(b"HTTP/1.1 401 ") == 100
    nested = site.token(key=b"of somebody else", deep="[" * 4000)
    assert ask(site, b"/me", b"Authorization: Bearer %s\r\n" % nested.encode())[0][0] == b"401"


def test_names_that_nobody_has(site):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for i in range(30):
        with wire.connect(site.ports["tls"]) as plain, context.wrap_socket(plain, server_hostname=f"h{i}.example") as one:
            one.sendall(GET % (b"/direct", b"Connection: close\r\n"))
            assert read_all(one).endswith(b"direct")


def test_a_head_of_many_small_continuations(site):
    peer = wire.H2(wire.connect(site.port))
    with peer.connection:
        peer.send(headers(1, pseudo("/direct"), END_STREAM) + b"".join(
            frame(CONTINUATION, END_HEADERS if i == 99 else 0, 1, block([(f"x{i}", "")])) for i in range(100)))
        ends(peer.connection)
    is_quiet(site)


def test_a_crowd_asks_at_once_and_leaves_at_once(site):
    """
    Who asks for much goes last, and whoever is of the same address waits for all of them; yet each of them has its
    answers, and who leaves in the middle holds nothing.
    """
    first = wire.PREFACE + settings() + headers(1, pseudo("/direct"))
    many = b"".join(headers(3 + 2 * i, pseudo("/direct")) for i in range(60))
    for leaves in (False, True):
        crowd = [wire.connect(site.port) for _ in range(60)]
        for one in crowd:
            one.sendall(first)
        for one in crowd:
            one.sendall(many)
        with wire.connect(site.port, source="127.0.0.2") as connection:
            assert wire.H2(connection).get(1, "/direct") == 200
        for one in crowd:
            peer = wire.H2(one, first=b"", preface=b"")
            while not leaves and len(peer.ended) < 61 and peer.read():
                pass
            assert leaves or set(peer.status.values()) == {200} and len(peer.ended) == 61
            one.close()
    is_quiet(site)


def test_fields_by_reference_behind_windows_that_stay_shut(site):
    """The HTTP/2 bomb of 2026: a byte on the wire is a field to hold, and a byte of window now and then holds it for ever."""
    crumb = b"\x60" + wire.length(b"a=b") + b"a=b"
    requests = b"".join(frame(HEADERS, END_STREAM | END_HEADERS, stream, block(pseudo("/c/page")) +
                              (crumb if stream == 1 else b"") + b"\xbe" * 90) for stream in range(1, 101, 2))
    trickle(site, wire.PREFACE + settings((4, 0)) + requests,
            b"".join(frame(wire.WINDOW_UPDATE, 0, stream, b"\0\0\0\1") for stream in range(1, 101, 2)), count=20)


def test_an_answer_of_the_configuration_that_nobody_reads(launch):
    """It is there once, however many are sent it over whichever protocol, and each gets all of it."""
    text = "notice " * 9000
    gateway = launch({"listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
                      "limits": {"threads": 1}, "routes": [{"match": {"prefix": "/"}, "respond": {"body": text}}]})
    with wire.connect(gateway.port) as connection:
        connection.sendall(GET % (b"/", b"") * 20 + GET % (b"/", b"Connection: close\r\n"))
        assert read_all(connection).count(text.encode()) == 21
    before = gateway.stats()["process"]["rss_peak_bytes"]
    crowd = [wire.H2(wire.connect(gateway.port), first=settings((4, 0))) for _ in range(40)]
    for peer in crowd:
        peer.send(b"".join(headers(i, pseudo()) for i in range(1, 201, 2)))
    for peer in crowd:
        assert peer.until(lambda peer=peer: len(peer.status) == 100)
    assert gateway.stats()["process"]["rss_peak_bytes"] - before < len(text) * 40 * 100 * 2 // 3
    window = len(text).to_bytes(4, "big")
    crowd[0].send(frame(wire.WINDOW_UPDATE, 0, 0, window) + frame(wire.WINDOW_UPDATE, 0, 1, window))
    assert crowd[0].until(lambda: crowd[0].is_over(1)) and crowd[0].bodies[1] == text.encode()
    for peer in crowd:
        peer.connection.close()
