"""
Floods, bombs and stalls by raw frames: the attacker is closed or held to a budget, the process lives,
a well-behaved client beside it is answered, and what was taken is given back.
"""
import contextlib
import itertools
import os
import pathlib
import socket
import subprocess
import time

import pytest

import wire
from harness import SANITIZERS, children_of, plain_http, read_all, wait_for
from tls_tools import OpenSsl, Renegotiating, Sealed, hello, record as cut
from wire import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, PRIORITY,
                  PRIORITY_UPDATE, RST_STREAM, WINDOW_UPDATE, WITH_PRIORITY, block, frame, headers, pseudo, settings)

BIG = b"x" * 400000


def script(peer):
    while (request := peer.read_request()) is not None:
        if b" /hold " in request[0]:
            peer.read_until(b"never")  # until it is cut
            return
        body = BIG if b" /big " in request[0] else b"ok"
        peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


@pytest.fixture(scope="module")
def upstream(recorder_module):
    return recorder_module(script)


@pytest.fixture(scope="module")
def site(launch_module, upstream):
    return launch_module({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1, "header_timeout": "500ms", "body_timeout": "500ms", "write_timeout": "500ms",
                   "header_max": "16KiB", "stream_buffer_max": "16KiB"},
        "clusters": {"up": {"endpoints": [upstream.address], "max_connections": 200,
                            "concurrency": {"kind": "fixed", "limit": 200}}},
        "routes": [{"match": {"path": "/direct"}, "respond": {"status": 200, "body": "direct"}},
                   {"match": {"prefix": "/"}, "to": "cluster:up"}],
    }, env={"ASAN_OPTIONS": f"{SANITIZERS['ASAN_OPTIONS']}:quarantine_size_mb=4"})  # what is freed is no memory kept


sources = (f"127.1.{i >> 8}.{i & 255}" for i in itertools.count(1))


def attack(site, frames, first=None, source=None):
    """From an address of its own, if from no other: what one has spent its next connections owe."""
    peer = wire.H2(wire.connect(site.port, source=source or next(sources)), first=first)
    peer.send(frames)
    return peer


def neighbour(site):
    """A client with manners, on a connection of its own."""
    with wire.connect(site.port) as connection:
        assert wire.H2(connection).get(1, "/a") == 200
    with wire.connect(site.port) as connection:
        connection.sendall(b"GET /direct HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_all(connection).endswith(b"\r\n\r\ndirect")


def is_quiet(site):
    site.wait_stats(lambda stats: stats["gateway"]["connections"]["open"] <= 1 and
                    stats["gateway"]["requests"]["active"] == 0, what="the end of all connections")


def post(stream, path="/hold"):
    return headers(stream, pseudo(path, method="POST"), END_HEADERS)


def many(count, make):
    return b"".join(make(2 * i + 1) for i in range(count))


FLOODS = [
    ("rapid reset", many(2000, lambda i: headers(i, pseudo("/hold")) + frame(RST_STREAM, 0, i, b"\0\0\0\x08"))),
    ("resets that we are made to send", many(2000, lambda i: post(i) + frame(WINDOW_UPDATE, 0, i, b"\x7f\xff\xff\xff"))),
    # MadeYouReset (CVE-2025-8671): each is the client's fault, and the reset is ours.
    ("resets for window updates of nothing", many(2000, lambda i: post(i) + frame(WINDOW_UPDATE, 0, i, b"\0\0\0\0"))),
    ("resets for a stream that depends on itself", many(2000, lambda i: post(i) + frame(
        PRIORITY, 0, i, i.to_bytes(4, "big") + b"\x10"))),
    ("resets for a head that depends on itself", many(2000, lambda i: frame(
        HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, i, i.to_bytes(4, "big") + b"\x10" + block(pseudo("/hold"))))),
    ("resets for a priority of a wrong length", many(2000, lambda i: post(i) + frame(PRIORITY, 0, i, b"x"))),
    ("resets for data behind the end", many(2000, lambda i: headers(i, pseudo("/hold")) + frame(DATA, 0, i, b"x"))),
    ("resets for heads behind the end", many(2000, lambda i: headers(i, pseudo("/hold")) + headers(i, [("a", "b")]))),
    ("resets for trailers without the end", many(2000, lambda i: post(i) + headers(i, [("a", "b")], END_HEADERS))),
    ("tunnels that are reset", many(2000, lambda i: headers(i, pseudo("/hold", method="CONNECT") + [
        (":protocol", "websocket"), ("sec-websocket-version", "13")], END_HEADERS) + frame(RST_STREAM, 0, i, b"\0\0\0\x08"))),
    ("windows that open and shut", headers(1, pseudo("/hold")) + b"".join(settings((4, i % 2 << 20)) for i in range(2000))),
    ("priorities in a ring", many(2000, lambda i: frame(PRIORITY, 0, i, (i + 2).to_bytes(4, "big") + b"\x10"))),
    ("heads without a field", many(2000, lambda i: frame(HEADERS, END_STREAM | END_HEADERS, i))),
    ("fields without a name", many(2000, lambda i: headers(i, pseudo("/hold") + [("", "")] * 50))),
    ("resets for a length that is not kept", many(2000, lambda i: headers(i, pseudo("/hold", method="POST") + [
        ("content-length", "1")], END_HEADERS) + frame(DATA, END_STREAM, i, b"xx"))),
    ("requests above the limit of streams", many(2000, lambda i: headers(i, pseudo("/hold")))),
    ("malformed requests", many(2000, lambda i: headers(i, pseudo("/hold") + [("Bad", "name")]))),
    ("settings", settings((3, 100)) * 2000),
    ("acknowledgements", frame(4, ACK, 0) * 2000),
    ("pings", frame(PING, 0, 0, b"12345678") * 2000),
    ("answers to no ping", frame(PING, ACK, 0, b"12345678") * 2000),
    ("empty data", post(1) + frame(DATA, 0, 1) * 2000),
    ("data for a stream that was reset", post(1, "/direct") + frame(DATA, 0, 1, b"x") * 30000),
    ("heads for a stream that was reset", headers(1, pseudo("/hold") + [("Bad", "name")]) + headers(1, [("a", "b")]) * 3000),
    ("empty heads for a stream that was reset", headers(1, pseudo("/hold") + [("Bad", "name")]) +
     frame(HEADERS, END_HEADERS, 1) * 3000),
    ("padding", post(1) + frame(DATA, 8, 1, b"\0") * 2000),
    ("priorities", frame(PRIORITY, 0, 3, b"\0\0\0\0\x10") * 2000),
    ("priority updates", post(1) + frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=1") * 2000),
    ("priority updates of many streams", many(2000, lambda i: frame(PRIORITY_UPDATE, 0, 0, i.to_bytes(4, "big") + b"u=1"))),
    ("window updates", frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 3000),
    ("window updates of a stream", post(1) + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1") * 3000),
    ("frames of no known type", frame(99, 0, 0, b"x") * 3000),
    ("continuations", headers(1, pseudo("/a"), END_STREAM) + frame(CONTINUATION, 0, 1, block([("a", "b")])) * 3000),
    ("empty continuations", headers(1, pseudo("/a"), END_STREAM) + frame(CONTINUATION, 0, 1) * 3000),
]


@pytest.mark.parametrize("frames", [case[1] for case in FLOODS], ids=[case[0] for case in FLOODS])
def test_a_flood_is_told_to_calm_down(site, frames):
    peer = attack(site, frames)
    with peer.connection:
        neighbour(site)
        peer.until(lambda: False)
        # A stream that is idle forever may be a protocol error before it is a flood.
        assert peer.goaways and peer.goaways[-1][1] in (ENHANCE_YOUR_CALM, wire.PROTOCOL_ERROR), peer.goaways
    is_quiet(site)


@pytest.mark.parametrize("fields", [pseudo("/%zz", method="HEAD"), pseudo("/%zz"), pseudo() + [("x", "~" * 9000)]],
                         ids=["HEAD", "GET", "431"])
def test_requests_that_are_none_come_to_an_end(launch, fields):
    """The codec answers them by itself, before any rate limit: they are paid for as frames that bring nothing."""
    gateway = launch({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1, "header_max": "8KiB", "http2_overhead_per_second": 1},
        "routes": [{"match": {"path": "/direct"}, "respond": {"status": 200, "body": "direct"}}]})
    source = next(sources)
    peer = attack(gateway, frame(WINDOW_UPDATE, 0, 0, b"\0\x7f\0\0"), source=source)
    with peer.connection:
        for stream in range(1, 2001, 2):
            peer.send(headers(stream, fields))
            if not peer.until(lambda s=stream: peer.is_over(s)):
                break
        assert [one[1] for one in peer.goaways] == [ENHANCE_YOUR_CALM]
        assert len(peer.status) > 100 and set(peer.status.values()) <= {400, 431}
    gateway.wait_stats(lambda stats: stats["gateway"]["connections"]["open"] == 0, what="its end")
    with attack(gateway, b"", source=source).connection:
        gateway.wait_stats(lambda stats: stats["gateway"]["connections"]["h2_indebted"] == 1, what="an address that owes it")


def test_requests_that_are_none_do_not_end_a_trusted_proxys_connection(launch):
    """One of its clients would end what is under way for all others."""
    gateway = launch({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain",
                                  "trusted_proxies": ["127.1.0.0/16"]}],
        "limits": {"threads": 1, "http2_overhead_per_second": 1},
        "routes": [{"match": {"path": "/direct"}, "respond": {"status": 200, "body": "direct"}}]})
    peer = attack(gateway, b"")
    with peer.connection:
        for stream in range(1, 401, 2):
            peer.send(headers(stream, pseudo("/%zz", method="HEAD")))
            assert peer.until(lambda s=stream: peer.is_over(s)), stream
        assert not peer.goaways and peer.get(401, "/direct") == 200


def test_streams_behind_the_last_goaway_are_a_flood_as_well(launch, recorder):
    """What crosses it is ignored (RFC 9113 section 6.8), and few at most do."""
    gateway = launch({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1, "requests_per_connection_max": 1},
        "clusters": {"up": {"endpoints": [recorder(script).address]}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:up"}]})
    peer = wire.H2(wire.connect(gateway.port))
    with peer.connection:
        peer.send(headers(1, pseudo("/hold")))
        assert peer.until(lambda: bool(peer.goaways))
        peer.send(frame(PING, ACK, 0, bytes(8)))
        assert peer.until(lambda: len(peer.goaways) == 2) and peer.goaways == [(0x7fffffff, 0), (1, 0)]
        peer.send(b"".join(headers(i, pseudo("/a")) for i in range(3, 103, 2)) + frame(PING, 0, 0, bytes(8)))
        assert peer.until(lambda: bool(peer.pongs)) and len(peer.goaways) == 2
        peer.send(b"".join(headers(i, pseudo("/a")) for i in range(103, 6003, 2)))
        peer.until(lambda: False)
        assert peer.goaways[2:] == [(1, ENHANCE_YOUR_CALM)] and not peer.status


@pytest.mark.parametrize("size", [b"xx", b""], ids=["longer", "shorter"])
def test_resets_for_a_length_that_is_not_kept_are_paid_for_one_by_one(site, size):
    """The session says nothing of them, and in no turn are there more than streams may be open."""
    peer = attack(site, b"")
    with peer.connection:
        for stream in range(1, 1000, 2):
            peer.send(headers(stream, pseudo("/hold", method="POST") + [("content-length", "1")], END_HEADERS) +
                      frame(DATA, END_STREAM, stream, size))
            if not peer.until(lambda one=stream: peer.is_over(one)):
                break
        peer.until(lambda: False)
        assert [one[1] for one in peer.goaways] == [ENHANCE_YOUR_CALM]
        assert 50 < len(peer.resets) < 400 and set(peer.resets.values()) == {wire.PROTOCOL_ERROR}
        neighbour(site)
    is_quiet(site)


def test_a_flood_over_many_connections_is_one(site):
    """Each stays below what a connection may do; the address owes it, and nobody else does."""
    nearly = many(120, lambda i: headers(i, pseudo("/direct")) + frame(RST_STREAM, 0, i, b"\0\0\0\x08"))
    ping = frame(PING, 0, 0, b"12345678")

    def goaways(source, frames):
        peer = attack(site, frames + ping, source=source)
        with peer.connection:
            peer.until(lambda: peer.pongs > 0)
            return [one[1] for one in peer.goaways]
    before = site.stats()["gateway"]["connections"]
    flooder, other = next(sources), next(sources)
    assert goaways(flooder, nearly) == []
    wait_for(lambda: goaways(flooder, nearly) == [ENHANCE_YOUR_CALM], what="the end of a second one")
    assert goaways(other, nearly) == []
    assert goaways(flooder, headers(1, pseudo("/direct")) + many(10, lambda i: frame(PING, 0, 0, b"abcdefgh"))) == []
    after = site.stats()["gateway"]["connections"]
    assert after["h2_indebted"] >= before["h2_indebted"] + 2 and after["h2_floods"] > before["h2_floods"]
    assert "floodgate_h2_indebted_total " in plain_http.get(f"{site.admin}/metrics").text
    is_quiet(site)


def dear_reads(site):
    return site.stats()["gateway"]["connections"]["dear_reads"]


@pytest.mark.parametrize("kind", ["chunks", "frames"])
def test_input_in_tiny_pieces_is_read_a_little_at_a_time(site, kind):
    """Of a connection whose bytes are dear less is read in a turn; all of it arrives nevertheless."""
    before = dear_reads(site)
    with wire.connect(site.port) as connection:
        if kind == "chunks":
            connection.sendall(b"POST /hold HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            connection.sendall(b"1\r\nx\r\n" * 100000)
        else:
            wire.H2(connection).send(post(1) + frame(DATA, 0, 1, b"x") * 60000)
        wait_for(lambda: dear_reads(site) > before, what="a dear read")
        assert "floodgate_dear_reads_total " in plain_http.get(f"{site.admin}/metrics").text
        neighbour(site)
    is_quiet(site)


def test_a_newcomer_after_dear_reads_begins_small(site):
    """Whoever closes after each dear first read and comes again finds the next one smaller; who sends much is served."""
    tiny = b"POST /hold HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20000
    before = dear_reads(site)
    for _ in range(4):
        with wire.connect(site.port) as connection:
            connection.sendall(tiny)
            wait_for(lambda seen=before: dear_reads(site) > seen, what="a dear read")
        before = dear_reads(site)
    reads = site.stats()["gateway"]["connections"]
    with wire.connect(site.port) as connection:
        connection.sendall(b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 65000\r\n\r\n" +
                           b"x" * 65000)
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    after = site.stats()["gateway"]["connections"]
    assert after["bytes_read"] - reads["bytes_read"] > 65000
    assert after["reads"] - reads["reads"] > 8  # 8 KiB at a time, and twice as much after two, would do with five
    is_quiet(site)


def unread_by_the_gateway(site, connection):
    """Bytes that the kernel keeps for its end of the connection; 0 when that is closed."""
    ports = f"{site.port:04X}", f"{connection.getsockname()[1]:04X}"
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, remote, _, queues = line.split()[1:5]
        if (local.split(":")[1], remote.split(":")[1]) == ports:
            return int(queues.split(":")[1], 16)
    return 0


def test_what_nobody_reads_is_not_kept(site):
    """Of a client that goes on sending behind its answer some is thrown away, and the rest stays on its side."""
    with wire.connect(site.port) as connection:
        connection.sendall(b"POST /direct HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.settimeout(0.2)
        with contextlib.suppress(OSError):
            while True:  # until nothing more is taken
                connection.sendall(b"x" * 65536)
        assert unread_by_the_gateway(site, connection) < 1 << 20  # 4 MiB where the kernel decides
        neighbour(site)
    is_quiet(site)


def test_uploads_go_on_beside_those_whose_bytes_are_dear(site):
    """They are read by turns; a chunked upload of another client that begins meanwhile arrives whole."""
    before = dear_reads(site)
    body = bytes(i % 251 for i in range(600000))
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            peer = stack.enter_context(wire.connect(site.port))
            peer.sendall(b"POST /hold HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            peer.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                peer.send(b"1\r\nx\r\n" * 100000)
        wait_for(lambda: dear_reads(site) > before, what="a dear read")
        chunks = b"".join(b"1000\r\n%s\r\n" % body[at:at + 4096] for at in range(0, 598016, 4096))
        connection = stack.enter_context(wire.connect(site.port))
        connection.sendall(b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    is_quiet(site)


def test_manners_are_not_taken_for_a_flood(site):
    """A client that pings, updates windows and cancels now and then, as browsers and gRPC do."""
    peer = attack(site, settings((4, 1 << 20)) + frame(WINDOW_UPDATE, 0, 0, b"\0\x10\0\0"))
    with peer.connection:
        for i in range(60):
            stream = 4 * i + 1
            peer.send(headers(stream, pseudo("/big")) + headers(stream + 2, pseudo("/hold")))
            peer.send(frame(RST_STREAM, 0, stream + 2, b"\0\0\0\x08") + frame(PING, 0, 0, b"12345678"))
            assert peer.until(lambda s=stream: peer.is_over(s)), peer.goaways
            peer.send((frame(WINDOW_UPDATE, 0, 0, b"\0\0\x20\0")) * (len(BIG) // 8192 + 1))
            assert peer.bodies.pop(stream) == BIG
        assert not peer.goaways


def test_a_reset_stream_is_off_the_upstream_before_another_begins(site, upstream):
    """However fast streams are reset, no more requests are upstream than streams may be open."""
    peer = attack(site, many(100, lambda i: headers(i, pseudo("/hold")) + frame(RST_STREAM, 0, i, b"\0\0\0\x08")))
    with peer.connection:
        peer.send(frame(PING, 0, 0, b"12345678"))
        assert peer.until(lambda: peer.pongs == 1)
        site.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 0, what="the end of the requests")
    neighbour(site)


def test_an_hpack_bomb_ends_its_connection(site):
    """A large field goes into the table once and is referred to again and again: 4 bytes, then 1 each."""
    bomb = b"\x40" + wire.length(b"bomb") + b"bomb" + wire.length(b"x" * 3000) + b"x" * 3000 + b"\xbe" * 12000
    peer = attack(site, frame(1, END_STREAM, 1, block(pseudo("/a")) + bomb[:8000]) +
                  frame(CONTINUATION, END_HEADERS, 1, bomb[8000:]))
    with peer.connection:
        peer.until(lambda: False)
        assert [one[1] for one in peer.goaways] == [ENHANCE_YOUR_CALM] and not peer.status
        neighbour(site)


def test_what_a_flooder_still_says_is_not_read_for_long(site):
    before = site.stats()["gateway"]["connections"]["bytes_read"]
    again = frame(1, END_STREAM | END_HEADERS, 3, b"\xbe" * 12000)
    peer = attack(site, frame(1, END_STREAM | END_HEADERS, 1, block(pseudo("/a")) + b"\x40\x01a\x00" + b"\xbe" * 4000) + again * 1000)
    with peer.connection:
        peer.until(lambda: False)
        assert [one[1] for one in peer.goaways] == [ENHANCE_YOUR_CALM] and not peer.status
        is_quiet(site)
    assert site.stats()["gateway"]["connections"]["bytes_read"] - before < 1 << 20


def test_a_head_of_thousands_of_tiny_fields_ends_its_connection(site):
    """A byte each: far below the limit for bytes, and a millisecond of work in one go."""
    peer = attack(site, frame(1, END_STREAM | END_HEADERS, 1, block(pseudo("/a")) + b"\x40\x01a\x00" + b"\xbe" * 4000))
    with peer.connection:
        peer.until(lambda: False)
        assert [one[1] for one in peer.goaways] == [ENHANCE_YOUR_CALM] and not peer.status
    is_quiet(site)


def test_a_head_of_some_hundred_fields_is_refused(site):
    peer = attack(site, frame(1, END_STREAM | END_HEADERS, 1, block(pseudo("/a")) + b"\x40\x01a\x00" + b"\xbe" * 1000))
    with peer.connection:
        assert peer.until(lambda: peer.is_over(1)) and peer.status[1] == 431
    is_quiet(site)


def test_chunk_extensions_without_end_are_refused(site):
    """What they may come to is paid by data (CVE-2023-39326): some are fine around large chunks."""
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    for chunk, status in ((b"1;" + b"a" * 250 + b"\r\nx\r\n", b"400"),
                          (b"200;" + b"a" * 250 + b"\r\n" + b"x" * 512 + b"\r\n", b"200")):
        with wire.connect(site.port) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(head + chunk * 200 + b"0\r\n\r\n")
            assert read_all(connection).startswith(b"HTTP/1.1 " + status)
    is_quiet(site)


def test_an_hpack_bomb_in_trailers_ends_its_connection(site):
    field = b"\x40" + wire.length(b"bomb") + b"bomb" + wire.length(b"x" * 3000) + b"x" * 3000 + b"\xbe" * 8000
    peer = attack(site, post(1, "/a") + frame(DATA, 0, 1, b"some") + frame(1, END_STREAM | END_HEADERS, 1, field))
    with peer.connection:
        peer.until(lambda: False)
        assert [one[1] for one in peer.goaways] == [ENHANCE_YOUR_CALM]
    is_quiet(site)


@pytest.mark.parametrize("pieces", [1, 40])
def test_huge_header_lists_are_refused(site, pieces):
    fields = [(f"x-{i}", "y" * (40000 // pieces)) for i in range(pieces)]
    data = block(pseudo("/a") + fields)
    frames = frame(1, END_STREAM, 1, data[:16000]) + b"".join(
        frame(CONTINUATION, 0, 1, data[at:at + 16000]) for at in range(16000, len(data), 16000)) + frame(
        CONTINUATION, END_HEADERS, 1)
    peer = attack(site, frames)
    with peer.connection:
        peer.until(lambda: peer.is_over(1) or bool(peer.goaways))
        assert peer.status.get(1) == 431
    with wire.connect(site.port) as connection:
        connection.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"".join(
            b"%s: %s\r\n" % (n.encode(), v.encode()) for n, v in fields) + b"\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 431 ")
    neighbour(site)


def test_a_window_that_stays_shut_ends_the_stream(site):
    peer = attack(site, b"".join(headers(2 * i + 1, pseudo("/big")) for i in range(50)), first=settings((4, 0)))
    with peer.connection:
        neighbour(site)
        assert peer.until(lambda: len(peer.resets) == 50), peer.goaways
        assert set(peer.resets.values()) == {wire.CANCEL} and len(peer.status) == 50
    is_quiet(site)


def test_a_window_that_opens_a_byte_at_a_time_is_held_to_a_budget(site):
    peer = attack(site, headers(1, pseudo("/big")), first=settings((4, 0)))
    with peer.connection:
        peer.connection.settimeout(0.02)
        deadline = time.monotonic() + 60
        while not peer.is_over(1) and not peer.is_closed and time.monotonic() < deadline:
            peer.send(frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"))
            with contextlib.suppress(TimeoutError):
                peer.read()
        assert peer.resets.get(1) == wire.CANCEL or peer.goaways
    is_quiet(site)


def test_windows_that_open_by_bytes_earn_nothing(site):
    """What we send pays for window updates, but not where these let a single byte through each."""
    streams = range(1, 41, 2)
    peer = attack(site, b"".join(headers(stream, pseudo("/big")) for stream in streams), first=settings((4, 0)))
    with peer.connection:
        assert peer.until(lambda: len(peer.status) == len(streams)), peer.goaways
        for _ in range(400):
            taken = sum(map(len, peer.bodies.values())) + len(peer.resets)
            peer.send(b"".join(frame(WINDOW_UPDATE, 0, stream, b"\0\0\0\1") for stream in streams))
            if all(peer.is_over(stream) for stream in streams):
                continue
            if not peer.until(lambda before=taken: sum(map(len, peer.bodies.values())) + len(peer.resets) > before):
                break
        peer.until(lambda: False)
        assert [one[1] for one in peer.goaways] == [ENHANCE_YOUR_CALM]
        neighbour(site)
    is_quiet(site)


def test_a_connection_that_is_not_read_is_closed(site):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", site.port))
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        is_quiet(site)
    neighbour(site)


def test_slow_readers_hold_no_place_that_others_need(launch, upstream):
    """Far more of them than the concurrency limit that a cluster starts with."""
    gateway = launch({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1, "stream_buffer_max": "16KiB"},
        "clusters": {"up": {"endpoints": [upstream.address]}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:up"}],
    })
    peer = attack(gateway, b"".join(headers(2 * i + 1, pseudo("/big")) for i in range(50)), first=settings((4, 0)))
    with peer.connection:
        assert peer.until(lambda: len(peer.status) == 50), peer.goaways
        with wire.connect(gateway.port) as connection:
            assert wire.H2(connection).get(1, "/a") == 200
        wait_for(lambda: gateway.gate("up")["concurrency"]["in_flight"] == 0)
        gateway.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 50)


def test_a_head_that_never_ends_is_closed(site):
    peer = attack(site, headers(1, pseudo("/a"), END_STREAM))
    with peer.connection:
        peer.until(lambda: False)
        assert [one[1] for one in peer.goaways] == [ENHANCE_YOUR_CALM]
    is_quiet(site)


def test_a_body_that_stops_is_answered_408(site):
    peer = attack(site, headers(1, pseudo("/a", method="POST"), END_HEADERS) + frame(DATA, 0, 1, b"some"))
    with peer.connection:
        assert peer.until(lambda: peer.is_over(1)) and peer.status[1] == 408
    is_quiet(site)


def test_connections_come_and_go(site):
    for i in range(400):
        with wire.connect(site.port) as connection:
            if i % 2:
                connection.sendall(wire.PREFACE[:i % 25])
            if i % 3 == 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    neighbour(site)
    is_quiet(site)


def test_descriptors_run_out_and_come_back(launch):
    gateway = launch({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1, "descriptors_reserved": 32},
        "policies": {"overload": {"fds": {"address_share": "off"}}},  # as if they came from many addresses
        "routes": [{"match": {"path": "/direct"}, "respond": {"status": 200, "body": "direct"}}],
    }, descriptors=128)
    crowd = [socket.create_connection(("127.0.0.1", gateway.port), 20) for _ in range(200)]
    try:
        gateway.wait_stats(lambda stats: stats["gateway"]["connections"]["refused_limit"] > 0, what="a refusal")
        gateway.stats()  # the admin side answers, again and again
        assert gateway.readiness() is not None
        assert "descriptors_short" in gateway.log
        with wire.connect(gateway.port) as connection:
            for one in crowd:
                one.close()
            connection.sendall(b"GET /direct HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                connection.recv(1)
    finally:
        for one in crowd:
            one.close()

    def is_back():
        with contextlib.suppress(OSError), wire.connect(gateway.port) as connection:
            connection.sendall(b"GET /direct HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return read_all(connection).endswith(b"direct")
        return False
    wait_for(is_back, what="an answer again")


@pytest.fixture(scope="module")
def secure(launch_module):
    return launch_module({
        # One address floods here, time and again: how often it may come is test_flooders.py's.
        "limits": {"threads": 1, "handshake_timeout": "300ms", "flooder_handshakes_per_second": 1000000},
        "routes": [{"match": {"path": "/direct"}, "respond": {"status": 200, "body": "direct"}}],
    })


def test_half_a_handshake_is_closed(secure):
    half = [socket.create_connection(("127.0.0.1", secure.port), 20) for _ in range(100)]
    for one in half:
        one.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert secure.get("/direct").text == "direct"
    for one in half:
        with one:
            read_all(one)
    secure.wait_stats(lambda stats: stats["gateway"]["connections"]["open"] <= 1, what="their end")


@pytest.mark.parametrize("size", [16384, 100], ids=["one record", "records of 100 bytes"])
@pytest.mark.parametrize("what", ["shares", "tickets"])
def test_a_hello_has_only_so_much_to_choose_from(secure, what, size):
    """Each share is looked for among all groups that the client names, and each ticket is opened: milliseconds of both."""
    for count, is_let_in in ((16, True), (17, False), (200, False)):
        with wire.connect(secure.port) as connection:
            connection.sendall(cut(hello(groups=(*range(256, 2000, 7), 29), **{what: count}), size))
            begin = connection.recv(7, socket.MSG_WAITALL)
        assert begin[:1] == b"\x16" if is_let_in else begin[-2:] == b"\x02\x2f"  # a hello, or illegal_parameter
    assert secure.get("/direct").text == "direct"


def test_renegotiation_is_refused(secure):
    client = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{secure.port}", "-tls1_2",
                               "-legacy_renegotiation"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
    text, _ = client.communicate(b"R\n" + b"GET /direct HTTP/1.1\r\nHost: x\r\n\r\n", timeout=30)
    assert b"RENEGOTIATING" in text
    assert b"direct\n" not in text.replace(b"/direct", b"")
    assert secure.get("/direct").text == "direct"


def test_renegotiations_without_end_are_cut(secure, tmp_path):
    """Each is refused with an alert, and the connection goes on; only so often."""
    before = secure.stats()["gateway"]["connections"]["tls_floods"]
    with wire.connect(secure.port) as connection:
        attacker = Renegotiating(connection, tmp_path)
        connection.sendall(attacker.hello())
        assert connection.recv(5)[:3] == b"\x15\x03\x03"  # no_renegotiation
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(attacker.hello())
        with contextlib.suppress(ConnectionError):
            read_all(connection)
    secure.wait_stats(lambda stats: stats["gateway"]["connections"]["tls_floods"] == before + 1)
    assert secure.get("/direct").text == "direct"


def test_key_updates_without_end_are_cut(secure):
    """Each costs new keys and an answer, which a client that does not read leaves to us."""
    before = secure.stats()["gateway"]["connections"]["tls_floods"]
    with OpenSsl(secure.port) as attacker:
        said = 0
        while said < 100000 and attacker.update_key():
            said += 1
    assert 50 < said < 100000
    assert secure.stats()["gateway"]["connections"]["tls_floods"] == before + 1
    assert secure.get("/direct").text == "direct"


def test_key_updates_between_data_are_no_flood(secure):
    request = b"GET /direct HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 8000 + b"\r\n\r\n"
    before = secure.stats()["gateway"]["connections"]["requests_h1"]
    with OpenSsl(secure.port) as client:
        for _ in range(120):
            assert client.update_key() and all(client.write(request) for _ in range(3))
        secure.wait_stats(lambda stats: stats["gateway"]["connections"]["requests_h1"] == before + 360, what="all of them")
        assert client.update_key() and client.write(b"GET")


@pytest.mark.parametrize("record", [
    b"\x16\x03\x03\x00\x04\x01\x00\x00\x00", b"\x16\x03\x03\x00\x00", b"\x15\x03\x03\x00\x02\x01\x00", b"\x15\x03\x03\x00\x00",
    b"\x14\x03\x03\x00\x01\x01", b"\x17\x03\x03\x00\x00", b"\x17\x03\x03\x00\x01x", b"\x18\x03\x03\x00\x03\x01\x40\x00",
    b"\x17\x03\x03\xff\xff"],
    ids=["hello", "empty handshake", "alert", "empty alert", "cipher change", "empty data", "too short", "heartbeat", "too long"])
def test_records_in_the_clear_end_a_secured_connection(secure, record):
    with OpenSsl(secure.port) as attacker:
        with contextlib.suppress(OSError):
            attacker.socket.sendall(record * 3000 + bytes(100))
        with contextlib.suppress(ConnectionError):
            while attacker.socket.recv(65536):
                pass
    assert secure.get("/direct").text == "direct"
    secure.wait_stats(lambda stats: stats["gateway"]["connections"]["open"] <= 1, what="its end")


SEALED = [
    ("empty data", lambda s: s.record(23, b"")),
    ("padding alone", lambda s: s.record(23, b"", 16000)),
    ("warnings", lambda s: s.record(21, b"\x01\x5a")),
    ("warnings between data", lambda s: s.record(21, b"\x01\x5a") + s.record(23, b"G")),
    ("goodbyes", lambda s: s.record(21, b"\x01\x00")),
    ("half alerts", lambda s: s.record(21, b"\x01")),
    ("key updates", lambda s: s.key_update()),
    ("key updates between data", lambda s: s.key_update() + s.record(23, b"G")),
    ("key updates that want an answer", lambda s: s.key_update(True)),
    ("bad key updates", lambda s: s.record(22, b"\x18\x00\x00\x01\x02")),
    ("hellos", lambda s: s.record(22, b"\x01\x00\x00\x03\x03\x03\x00")),
    ("tickets", lambda s: s.record(22, b"\x04\x00\x00\x02\x00\x00")),
    ("certificates", lambda s: s.record(22, b"\x0b\x00\x00\x04\x00\x00\x00\x00")),
    ("a message without end", lambda s: s.record(22, b"\x18\xff\xff\xff" + bytes(8000))),
    ("empty messages", lambda s: s.record(22, b"")),
    ("cipher changes", lambda s: s.record(20, b"\x01")),
    ("no known type", lambda s: s.record(99, b"x")),
    ("no type", lambda s: s.record(0, b"")),
]


def test_sealed_records_are_understood(secure, tmp_path):
    client = Sealed(secure.port, tmp_path)
    before = secure.stats()["gateway"]["connections"]["requests_h1"]
    request = b"GET /direct HTTP/1.1\r\nHost: x\r\n\r\n"
    with client.socket as connection:
        connection.sendall(client.record(23, request, 100) + client.record(21, b"\x01\x5a") + client.record(23, b"") +
                           client.key_update() + client.record(23, request))
        secure.wait_stats(lambda stats: stats["gateway"]["connections"]["requests_h1"] == before + 2, what="two requests")


@pytest.mark.parametrize("make", [case[1] for case in SEALED], ids=[case[0] for case in SEALED])
def test_sealed_records_that_bring_nothing_end_their_connection(secure, tmp_path, make):
    attacker = Sealed(secure.port, tmp_path)
    with attacker.socket as connection:
        flood = b"".join(make(attacker) for _ in range(400))
        with contextlib.suppress(ConnectionError):
            connection.sendall(flood)
            while connection.recv(65536):
                pass
    assert secure.get("/direct").text == "direct"
    secure.wait_stats(lambda stats: stats["gateway"]["connections"]["open"] <= 1, what="its end")


def test_a_body_in_records_of_a_byte(secure):
    """Nobody is cut for it, and a neighbour is answered meanwhile."""
    with OpenSsl(secure.port) as slow:
        assert slow.write(b"POST /direct HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n")
        for _ in range(10):
            assert all(slow.write(b"x") for _ in range(500))
            assert secure.get("/direct").text == "direct"
        secure.wait_stats(lambda stats: stats["gateway"]["connections"]["open"] <= 1, what="the end of the connection")


def test_memory_comes_back(site):
    """What floods took is not kept: another round of all of them finds the process no larger."""
    pid = max(children_of(site.process.pid))
    assert os.path.exists(f"/proc/{pid}")

    def round_of_floods():
        for _, frames in FLOODS:
            peer = attack(site, frames)
            with peer.connection:
                peer.until(lambda: False)
        is_quiet(site)
    round_of_floods()
    before = resident(pid)
    round_of_floods()
    assert resident(pid) < before + (16 << 20)


def resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

