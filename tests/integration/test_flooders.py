"""
Addresses whose connections were closed for floods: from then on their handshakes wait, or are refused, whatever the
flood was, before they cost anything; others notice nothing, and it is over soon after the flood.
"""
import contextlib
import re
import ssl

import pytest

import wire
from harness import plain_http, read_all, trusting_context, wait_for
from tls_tools import Sealed
from wire import CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, block, frame, headers, pseudo, settings

FLOODER, OTHER, BALANCER, PROXY = "127.0.7.1", "127.0.7.2", "127.0.7.3", "127.0.7.4"
GET = b"GET /direct HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def many(make, count=200):
    return b"".join(make(2 * i + 1) for i in range(count))


BOMB = headers(1, pseudo("/direct")) + frame(HEADERS, END_STREAM | END_HEADERS, 3, block(pseudo("/direct")) + b"\x40\x01a\x00" +
                                             b"\xbe" * 8000)
FLOODS = {
    "bomb": BOMB,
    "rapid reset": many(lambda i: headers(i, pseudo("/direct")) + frame(RST_STREAM, 0, i, b"\0\0\0\x08")),
    "CONTINUATION": headers(1, pseudo(), END_STREAM) + frame(CONTINUATION, 0, 1, block([("a", "b")])) * 40,
    "a head without end": headers(1, pseudo(), END_STREAM) + frame(CONTINUATION, 0, 1, block([("a", "b" * 16000)])) * 40,
    "SETTINGS": settings((3, 100)) * 200,
    "too many settings": settings(*[(3, 100)] * 1000),
    "PING": frame(PING, 0, 0, b"12345678") * 200,
}


def start(launch, wait_max):
    return launch({
        "listeners": lambda fg: [{"name": "public", "address": f"127.0.0.1:{fg.port}", "proxy_protocol_from": [BALANCER],
                                  "trusted_proxies": [PROXY], "certificate": str(fg.certificate),
                                  "private_key": str(fg.key)},
                                 {"name": "plain", "address": f"127.0.0.1:{fg.redirect_port}", "kind": "plain"}],
        "limits": {"threads": 2, "http2_overhead_burst": 100, "http2_overhead_per_second": 100,
                   "flooder_handshakes_per_second": 1, "flooder_handshakes_burst": 1,
                   "flooder_wait_max": wait_max},
        "routes": [{"match": {"path": "/direct"}, "respond": {"status": 200, "body": "direct"}}],
    })


@pytest.fixture
def site(launch):
    """Nobody waits there."""
    return start(launch, "off")


def connect(site, source, behind=None, alpn="h2"):
    """None: it is closed before it has said anything."""
    context = trusting_context()
    context.set_alpn_protocols([alpn])
    plain = wire.connect(site.port, source=source)
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
        if behind is not None:
            kind = b"TCP6" if ":" in behind else b"TCP4"
            plain.sendall(b"PROXY %s %s %s 1 2\r\n" % (kind, behind.encode(), behind.encode()))
        return context.wrap_socket(plain, server_hostname="localhost")
    plain.close()
    return None


def flood(site, frames, source=FLOODER, behind=None):
    connection = connect(site, source, behind)
    if connection is None:
        return
    with connection:
        peer = wire.H2(connection)
        peer.send(frames)
        peer.until(lambda: False)
        assert [one[1] for one in peer.goaways] in ([wire.ENHANCE_YOUR_CALM], []), peer.goaways


def figures(site):
    return site.stats()["gateway"]["connections"]


def until_refused(site, come):
    """Comes again and again, until one is refused."""
    before = figures(site)["flooders_refused"]

    def is_refused():
        come()
        return figures(site)["flooders_refused"] > before
    wait_for(is_refused, what="a refusal")


def is_served(site, source=FLOODER, behind=None):
    connection = connect(site, source, behind, alpn="http/1.1")
    if connection is None:
        return False
    with connection:
        connection.sendall(GET)
        return read_all(connection).endswith(b"direct")


def client_hello():
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl._create_unverified_context().wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


def is_quiet(site):
    site.wait_stats(lambda stats: stats["gateway"]["connections"]["open"] == 0 and
                    stats["gateway"]["requests"]["active"] == 0, what="the end of all connections")


@pytest.mark.parametrize("kind", FLOODS)
def test_who_floods_comes_again_only_now_and_then(site, kind):
    until_refused(site, lambda: flood(site, FLOODS[kind]))
    assert all(is_served(site, OTHER) for _ in range(5))
    wait_for(lambda: is_served(site), what="an answer for the one who had flooded")
    wait_for(lambda: all(is_served(site) for _ in range(5)), what="as many as it likes")
    assert re.search(r"event=flooder_refused listener=public from=127\.0\.7\.1", site.log)
    metrics = plain_http.get(f"{site.admin}/metrics").text
    refused = re.search(r"^floodgate_flooders_refused_total (\d+)$", metrics, re.MULTILINE)
    assert int(refused.group(1)) == figures(site)["flooders_refused"] > 0
    is_quiet(site)


def test_who_has_flooded_waits_for_its_turn(launch):
    """Nobody is refused, and others do not wait behind it."""
    site = start(launch, "1m")

    def is_delayed():
        flood(site, BOMB)
        return figures(site)["flooders_delayed"] > 0
    wait_for(is_delayed, what="a handshake that waits")
    waiting = [wire.connect(site.port, source=FLOODER) for _ in range(8)]
    hello = client_hello()
    for one in waiting:
        one.sendall(hello)
    site.wait_stats(lambda stats: stats["gateway"]["connections"]["handshakes_waiting"] > 0, what="those that wait")
    assert all(is_served(site, OTHER) for _ in range(5))
    assert is_served(site)
    for one in waiting:
        with one:
            assert one.recv(5)[:1] == b"\x16"
    after = figures(site)
    assert after["flooders_refused"] == 0 and after["flooders_delayed"] > 1
    assert "event=flooder_delayed listener=public from=127.0.7.1" in site.log
    assert "floodgate_flooders_delayed_total " in plain_http.get(f"{site.admin}/metrics").text
    is_quiet(site)


def ask_in_the_clear(site, frames=b""):
    with wire.connect(site.redirect_port, source=FLOODER) as connection:
        peer = wire.H2(connection)
        peer.send(frames)
        return peer.get(101, "/direct")


def test_http2_in_the_clear_waits_as_well(launch):
    site = start(launch, "1m")

    def is_delayed():
        assert ask_in_the_clear(site, BOMB) is None
        return figures(site)["flooders_delayed"] > 0
    wait_for(is_delayed, what="a connection that waits")
    before = figures(site)["flooders_delayed"]
    wait_for(lambda: ask_in_the_clear(site) == 200 and figures(site)["flooders_delayed"] > before, what="an answer behind a wait")
    with wire.connect(site.redirect_port, source=FLOODER) as connection:  # in pieces
        for piece in (wire.PREFACE[:10], wire.PREFACE[10:], settings(), headers(1, pseudo("/direct"))):
            connection.sendall(piece)
        peer = wire.H2(connection, first=b"", preface=b"")
        assert peer.until(lambda: peer.is_over(1)) and peer.status[1] == 200
    with wire.connect(site.redirect_port, source=OTHER) as connection:
        assert wire.H2(connection).get(1, "/direct") == 200
    assert figures(site)["flooders_refused"] == 0
    is_quiet(site)


def test_http1_in_the_clear_does_not(site):
    until_refused(site, lambda: ask_in_the_clear(site, BOMB))
    for _ in range(10):
        with wire.connect(site.redirect_port, source=FLOODER) as connection:
            connection.sendall(GET)
            assert read_all(connection).endswith(b"direct")
    is_quiet(site)


def test_who_leaves_while_it_waits_is_forgotten(launch):
    site = start(launch, "1h")
    for _ in range(30):
        flood(site, BOMB)
        if figures(site)["flooders_delayed"] > 0:
            break
    gone = [wire.connect(site.port, source=FLOODER) for _ in range(50)]
    for one in gone:
        one.sendall(client_hello())
    site.wait_stats(lambda stats: stats["gateway"]["connections"]["handshakes_waiting"] > 5, what="those that wait")
    for one in gone:
        one.close()
    assert is_served(site, OTHER)


def test_who_is_refused_costs_no_handshake(site):
    until_refused(site, lambda: flood(site, BOMB))
    before = figures(site)
    served = sum(is_served(site) for _ in range(20))
    after = figures(site)
    assert after["accepted"] - before["accepted"] == 20
    assert after["flooders_refused"] - before["flooders_refused"] == 20 - served > 0
    assert after["handshakes_ok"] - before["handshakes_ok"] == served
    assert after["handshakes_failed"] == before["handshakes_failed"]
    is_quiet(site)


def test_floods_of_tls_are_owed_for_as_well(site, tmp_path):
    def come():
        with contextlib.suppress(ConnectionError, AssertionError, ssl.SSLError):
            attacker = Sealed(site.port, tmp_path)
            with attacker.socket as connection:
                connection.sendall(b"".join(attacker.key_update() for _ in range(400)))
                read_all(connection)
    until_refused(site, come)
    assert is_served(site, OTHER)
    wait_for(lambda: is_served(site, "127.0.0.1"), what="an answer for the one who had flooded")
    is_quiet(site)


@pytest.mark.parametrize("flooder, same, other", [
    ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
    ("2001:db8:1:2::3", "2001:db8:1:2:ffff::4", "2001:db8:1:3::3")], ids=["IPv4", "IPv6"])
def test_behind_a_balancer_it_is_the_client_who_owes(site, flooder, same, other):
    until_refused(site, lambda: flood(site, BOMB, BALANCER, flooder))
    until_refused(site, lambda: is_served(site, BALANCER, same))
    assert all(is_served(site, BALANCER, other) for _ in range(5))
    assert all(is_served(site, OTHER) for _ in range(5))
    is_quiet(site)


def test_a_trusted_proxy_is_many_clients(site):
    for _ in range(10):
        flood(site, BOMB, PROXY)
    assert all(is_served(site, PROXY) for _ in range(5))
    assert figures(site)["flooders_refused"] == 0
    is_quiet(site)
