"""
Clients that have made their request and say no more, on a connection that stays open: shutdown in the clear,
close_notify over TLS (RFC 8446 section 6.1, RFC 9112 section 9.6). They are answered, byte for byte, and then the
connection closes; those that have left cost no more work than it takes to find out.
"""
import contextlib
import re
import socket
import ssl
import threading

import pytest

import wire
from harness import free_port, read_all, wait_for

BODY = b"0123456789" * 20000  # more than the sockets' buffers take at once
PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"


def answer(peer):
    while (request := peer.read_request()) is not None:
        path = request[0].split()[1]
        if path == b"/large":
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY)
        elif path == b"/pieces":  # until somebody says stop
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            while not peer.stop.wait(0.02):
                peer.write(b"data: x\n\n")
        elif path == b"/socket":
            peer.stop.wait(20)
            peer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            while peer.more():
                pass
            peer.write(b"bye")
            return
        elif path.startswith(b"/wait"):  # for a client to go, or for the test
            peer.connection.settimeout(0.02)
            while not peer.stop.is_set():
                with contextlib.suppress(TimeoutError):
                    if not peer.more():
                        peer.cancelled.set()
                        return
            peer.connection.settimeout(None)
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate")
        else:
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (len(path) + len(request[1])) + path
                       + request[1])


@pytest.fixture
def backend(recorder):
    stop, cancelled = threading.Event(), threading.Event()

    def serve(peer):
        peer.stop, peer.cancelled = stop, cancelled
        answer(peer)
    one = recorder(serve)
    one.stop, one.cancelled = stop, cancelled
    yield one
    stop.set()


@pytest.fixture
def site(launch, backend):
    plain = free_port()
    gateway = launch({
        "listeners": lambda fg: [
            {"name": "public", "address": f"127.0.0.1:{fg.port}", "certificate": str(fg.certificate),
             "private_key": str(fg.key)},
            {"name": "plain", "address": f"127.0.0.1:{plain}", "kind": "plain"}],
        "limits": {"threads": 1},
        "observability": {"access_log": True},
        "clusters": {"app": {"endpoints": [backend.address], "breaker": {"consecutive_failures": 1}}},
        "routes": [{"match": {"path": "/wait/cancel"}, "to": "cluster:app", "half_close": "cancel"},
                   {"match": {"path": "/socket"}, "to": "cluster:app", "websocket": True},
                   {"match": {"path": "/whole"}, "to": "cluster:app", "buffer_request": True, "body_max": "1KiB"},
                   {"match": {"prefix": "/"}, "to": "cluster:app"}],
    })
    gateway.plain_port = plain
    return gateway


class Clear:
    """A connection in the clear that can close its own side alone."""

    def __init__(self, site):
        self.socket = wire.connect(site.plain_port)

    def send(self, data):
        self.socket.sendall(data)

    def say_no_more(self):
        self.socket.shutdown(socket.SHUT_WR)

    def read_all(self):
        return read_all(self.socket)

    def close(self):
        self.socket.close()


class Tls(Clear):
    """The same over TLS, by memory, for a socket's unwrap() waits for the other side."""

    def __init__(self, site):
        self.socket = socket.create_connection(("127.0.0.1", site.port), 20)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.coming, self.going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.coming, self.going)
        self.run(self.tls.do_handshake)

    def run(self, call, *arguments):
        while True:
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                self.flush()
                self.coming.write(self.socket.recv(65536))
            finally:
                self.flush()

    def flush(self):
        self.socket.sendall(self.going.read())

    def send(self, data):
        self.run(self.tls.write, data)

    def say_no_more(self):
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.flush()

    def read_all(self):
        """To the other side's close_notify, which must come."""
        data = b""
        while True:
            try:
                data += self.run(self.tls.read, 65536)
            except ssl.SSLZeroReturnError:
                assert self.socket.recv(1) == b""
                return data


@pytest.fixture(params=[Clear, Tls], ids=["plain", "tls"])
def client(request, site):
    one = request.param(site)
    yield one
    one.close()


def stable(data, *more):
    """Answers without what differs each time, or by transport; in the clear a late one has been probed for before."""
    data = data.replace(PROBE, b"")
    names = [b"x-request-id", b"traceparent", b"date", b"server", b"server-timing", b"strict-transport-security", *more]
    return re.sub(b"(?:%s): [^\r]*\r\n" % b"|".join(names), b"", data)


def ok(body, *fields):
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n" % len(body) + b"".join(fields) + b"\r\n" + body


def test_the_answer_comes_whole_and_the_connection_ends(client):
    client.send(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
    client.say_no_more()
    assert stable(client.read_all(), b"connection") == ok(BODY)


def test_an_answer_that_takes_its_time(client, site, backend):
    client.send(b"POST /wait HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello")
    wait_for(lambda: b"hello" in backend.received(), what="the request")
    client.say_no_more()
    # Another request on the same loop: when it is answered, the end has been seen, unless the machine is very busy.
    assert site.get("/other").text == "/other"
    assert not backend.cancelled.is_set()
    backend.stop.set()
    assert stable(client.read_all(), b"connection") == ok(b"late")
    wait_for(lambda: site.stats()["gateway"]["requests"]["active"] == 0)


def test_pipelined_requests_are_all_answered(client):
    one = b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n"
    client.send(b"".join(one % number for number in range(3)) + b"POST /3 HTTP/1.1\r\nhost: x\r\n"
                b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    client.say_no_more()
    said = stable(client.read_all(), b"connection")
    assert said == ok(b"/0") + ok(b"/1") + ok(b"/2") + ok(b"/3hello")


def test_a_request_behind_which_half_a_head_stands(client):
    client.send(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\nGET /b HTTP/1.1\r\nho")
    client.say_no_more()
    assert stable(client.read_all()).startswith(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n")


def active(site):
    return site.stats()["gateway"]["requests"]["active"]


@pytest.mark.parametrize("path", [b"/cut", b"/whole"])
@pytest.mark.parametrize("rest", [b"content-length: 15\r\n\r\nhello", b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"],
                         ids=["length", "chunked"])
def test_a_body_that_is_cut_short_is_no_request(client, site, backend, path, rest):
    """Its server hears that at once, which waits for the rest as long as it may, and is not to blame."""
    client.send(b"POST %s HTTP/1.1\r\nhost: x\r\n" % path + rest)
    if path == b"/cut":
        wait_for(lambda: b"hello" in backend.received(), what="the beginning of the body")
    client.say_no_more()
    said = client.read_all()
    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n") and b'"code":"incomplete_body"' in said
    assert b"\r\nconnection: close\r\n" in said
    wait_for(lambda: active(site) == 0)
    wait_for(lambda: " status=400 refused=incomplete_body " in site.log, what="the log")
    assert b"0\r\n\r\n" not in backend.received() and b"/whole" not in backend.received()
    gate = site.gate("app")
    assert gate["concurrency"]["in_flight"] == gate["breaker"]["opened_total"] == 0
    wait_for(lambda: site.stats()["backends"]["app"]["limits"]["connections"]["used"] == 0, what="its connection")



def test_a_tunnel_is_told_of_what_came_before_it_opened(client, site, backend):
    client.send(b"GET /socket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    wait_for(lambda: b"/socket" in backend.received(), what="the request")
    client.say_no_more()
    assert site.get("/other").text == "/other"  # as above
    backend.stop.set()
    assert client.read_all().endswith(b"\r\n\r\nbye")


def test_where_the_route_says_so_it_has_left(client, site, backend):
    client.send(b"GET /wait/cancel HTTP/1.1\r\nhost: x\r\n\r\n")
    wait_for(lambda: b"/wait/cancel" in backend.received(), what="the request")
    client.say_no_more()
    assert backend.cancelled.wait(20), "the work went on"
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        assert client.read_all() == b""


def test_who_has_left_is_found_out_by_the_answer(client, site, backend):
    """First its own side, then all of it: what is sent meets a reset, and the server's work ends."""
    client.send(b"GET /pieces HTTP/1.1\r\nhost: x\r\n\r\n")
    wait_for(lambda: b"/pieces" in backend.received(), what="the request")
    client.say_no_more()
    client.close()
    wait_for(lambda: site.stats()["gateway"]["requests"]["active"] == 0, what="the end of the request")
    assert not backend.stop.is_set()


def test_who_has_left_in_the_clear_is_found_out_before_the_answer(site, backend):
    client = Clear(site)
    client.send(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
    wait_for(lambda: b"/wait" in backend.received(), what="the request")
    client.close()
    assert backend.cancelled.wait(20), "the work went on"


def test_who_waits_hears_that_we_asked(site, backend):
    client = Clear(site)
    client.send(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
    client.say_no_more()
    said = b""
    while len(said) < 2 * len(PROBE):
        said += client.socket.recv(4096)
    assert said == 2 * PROBE
    backend.stop.set()
    assert stable(client.read_all()) == ok(b"late", b"connection: close\r\n")


def test_over_tls_the_end_of_the_socket_means_that_nobody_listens(site, backend):
    for say_no_more in (True, False):
        backend.cancelled.clear()
        client = Tls(site)
        before = backend.received().count(b"/wait")
        client.send(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        wait_for(lambda before=before: backend.received().count(b"/wait") > before, what="the request")
        if say_no_more:
            client.say_no_more()
        client.socket.shutdown(socket.SHUT_WR)
        assert backend.cancelled.wait(20), "the work went on"
        client.close()


def test_more_bytes_behind_the_last_word_have_a_bound(site, backend):
    client = Tls(site)
    client.send(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
    wait_for(lambda: b"/wait" in backend.received(), what="the request")
    client.say_no_more()
    with pytest.raises(ConnectionError):
        while True:
            client.socket.sendall(b"x" * 65536)
    assert backend.cancelled.wait(20), "the work went on"
    client.close()
