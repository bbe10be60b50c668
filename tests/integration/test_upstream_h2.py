"""
test_upstream_h2.py: HTTP/2 servers: many requests on a connection, flow control both ways, refused
streams and GOAWAY, ends that are none, trailers.
"""
import concurrent.futures
import hashlib
import threading
import time

import h2.errors
import h2.settings
import hpack
import httpx
import pytest

import wire
from harness import wait_for
from upstreams import H2Server, Raw, cluster, figures, ok, serving


def h2_cluster(server, **keys):
    return cluster([server.address], protocol="h2", **keys)


def test_requests_share_a_connection(launch):
    waiting = []

    def hold(server, conn, stream_id, stream):
        waiting.append((conn, stream_id))
        if len(waiting) == 8:
            for one, number in waiting:
                one.send_headers(number, [(":status", "200"), ("x-connection", str(one.fg_number))])
                server.send(one, number, b"all here")

    with serving(H2Server(hold)) as server:
        gateway = launch(h2_cluster(server, concurrency={"kind": "fixed", "limit": 20}))
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: gateway.get("/"), range(8)))
        assert [one.text for one in answers] == ["all here"] * 8
        assert {one.headers["x-connection"] for one in answers} == {"0"}
        assert server.count == 1
        assert figures(gateway, "connections")["opened"] == 1
        wait_for(lambda: figures(gateway, "connections")["streams"] == 0 and figures(gateway, "connections")["idle"] == 1)


def test_what_the_server_sees(launch):
    with serving(H2Server()) as server:
        gateway = launch(h2_cluster(server))
        with gateway.client() as client:
            seen = client.post("/a/b?c=d", content=b"x" * 1000,
                               headers={"x-one": "1", "connection": "close, x-hop", "x-hop": "2"}).json()
        headers = seen["headers"]
        assert list(headers)[:4] == [":method", ":scheme", ":authority", ":path"]
        assert (headers[":method"], headers[":scheme"], headers[":path"]) == ("POST", "http", "/a/b?c=d")
        assert headers["x-one"] == "1" and headers["content-length"] == "1000" and seen["bytes"] == 1000
        assert headers["x-forwarded-for"] == "127.0.0.1" and 0 < int(headers["x-request-timeout-ms"])
        for name in ("connection", "x-hop", "host", "transfer-encoding", "keep-alive"):
            assert name not in headers


def test_the_servers_limit_of_streams_is_kept(launch):
    waiting = []

    def hold(server, conn, stream_id, stream):
        waiting.append((conn, stream_id))

    with serving(H2Server(hold, settings={h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 2})) as server:
        gateway = launch(h2_cluster(server, concurrency={"kind": "fixed", "limit": 20}))
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            first = pool.submit(gateway.get, "/")  # the settings have come once this has an answer
            wait_for(lambda: len(waiting) == 1)
            conn, number = waiting.pop()
            with server.lock:
                conn.send_headers(number, [(":status", "204")], end_stream=True)
                conn.fg_socket.sendall(conn.data_to_send())
            assert first.result().status_code == 204
            answers = [pool.submit(gateway.get, "/") for _ in range(6)]
            wait_for(lambda: len(waiting) == 6)
            # A new connection may be given more until its settings have come; the first one's are known.
            assert sum(conn.fg_number == 0 for conn, _ in waiting) <= 2 <= server.count
            with server.lock:
                for conn, number in waiting:
                    conn.send_headers(number, [(":status", "204")], end_stream=True)
                    conn.fg_socket.sendall(conn.data_to_send())
            assert [one.result().status_code for one in answers] == [204] * 6


@pytest.mark.parametrize("size", [1, 70000, 900000])
def test_bodies_both_ways_through_small_windows(launch, size):
    body = hashlib.sha256(b"seed").digest() * (size // 32 + 1)

    def back(server, conn, stream_id, stream):
        conn.send_headers(stream_id, [(":status", "200")])
        server.send(conn, stream_id, stream.body)

    with serving(H2Server(back)) as server:
        gateway = launch(h2_cluster(server))
        for http2 in (False, True):
            with gateway.client(http2=http2) as client:
                assert client.put("/", content=body).content == body


def test_a_slow_server_stops_the_client(launch):
    """The server gives no window: the gateway takes its own window's worth and no more."""
    with serving(H2Server(acknowledge=False)) as server:
        gateway = launch(h2_cluster(server, response_head_timeout="1s"))
        with gateway.raw() as connection:
            connection.settimeout(3)
            connection.sendall(b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n")
            sent = 0
            with pytest.raises(TimeoutError):
                while sent < 900000:
                    sent += connection.send(b"x" * 16384)
                raise TimeoutError  # the socket buffers took it all: the bound is below
            wait_for(lambda: server.streams and len(server.streams[0][2].body) == 65535)
            assert figures(gateway)["upload_buffered_bytes"] <= 256 * 1024
        wait_for(lambda: server.streams[0][2].reset is not None)


def test_an_upload_that_pauses_is_waited_for(launch):
    """Only who has the request can be late with the head of an answer."""
    with serving(H2Server()) as server:
        gateway = launch({**h2_cluster(server, response_head_timeout="500ms"),
                          "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}]})
        client = wire.H2(wire.connect(gateway.port))
        with client.connection:
            client.send(wire.headers(1, wire.pseudo("/up", method="POST"), wire.END_HEADERS))
            for piece in (b"first", b"second"):
                client.send(wire.frame(wire.DATA, 0, 1, piece))
                wait_for(lambda: server.streams and server.streams[0][2].body.endswith(piece))
            started = time.monotonic()
            wait_for(lambda: time.monotonic() > started + 1.2, what="the end of the time for a head")
            client.send(wire.frame(wire.DATA, wire.END_STREAM, 1, b"last"))
            assert client.until(lambda: client.is_over(1)) and client.status[1] == 200
        assert figures(gateway, "endpoints")[0]["errors"] == 0


def test_a_slow_client_stops_its_stream_only(launch):
    def answer(server, conn, stream_id, stream):
        conn.send_headers(stream_id, [(":status", "200")])
        server.send(conn, stream_id, b"x" * (20_000_000 if stream.headers[":path"] == "/big" else 1000))

    with serving(H2Server(answer)) as server:
        gateway = launch(h2_cluster(server, concurrency={"kind": "fixed", "limit": 20}))
        with gateway.raw() as slow:
            slow.sendall(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
            assert slow.recv(100)
            wait_for(lambda: server.streams and server.connections[0].local_flow_control_window(1) == 0)
            for _ in range(20):
                assert len(gateway.get("/small").content) == 1000
            assert server.count == 1
            left = len(server.pending[0][1][0])
            assert left > 10_000_000
        wait_for(lambda: server.streams[0][2].reset == h2.errors.ErrorCodes.CANCEL, what="the reset")


def test_a_refused_stream_goes_again_whatever_its_method(launch):
    def refuse_first(server, conn, stream_id, stream):
        if len(server.streams) == 1:
            conn.reset_stream(stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
        else:
            server.echo(server, conn, stream_id, stream)

    with serving(H2Server(refuse_first)) as server:
        gateway = launch(h2_cluster(server))
        with gateway.client() as client:
            answer = client.post("/order", content=b"once" * 100)
        assert answer.status_code == 200 and answer.json()["bytes"] == 400
        assert len(server.streams) == 2
        assert figures(gateway, "requests")["reconnects"] == 1
        assert figures(gateway)["endpoints"][0]["resets"] == 0


def test_a_goaway_moves_what_was_not_seen_and_keeps_the_rest(launch):
    def drain(server, conn, stream_id, stream):
        if conn.fg_number == 0 and stream_id == 1:
            return  # answered later
        if conn.fg_number == 0 and stream_id == 3:
            conn.close_connection(last_stream_id=1)
            # h2 would say no more after this: the answer to stream 1 is written by hand
            conn.fg_socket.sendall(conn.data_to_send())
            conn.fg_socket.sendall(b"\0\0\1\1\4\0\0\0\1\x88" + b"\0\0\3\0\1\0\0\0\1old")
            return
        server.echo(server, conn, stream_id, stream)

    with serving(H2Server(drain)) as server:
        gateway = launch(h2_cluster(server, concurrency={"kind": "fixed", "limit": 20}))
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            old = pool.submit(gateway.get, "/old")
            wait_for(lambda: len(server.streams) == 1)
            with gateway.client() as client:
                fresh = client.post("/new", content=b"a post")
            assert fresh.status_code == 200 and fresh.json()["bytes"] == 6
            assert old.result().text == "old"
        assert server.count == 2
        assert figures(gateway)["endpoints"][0]["resets"] == 0  # that is how servers go, and no fault of theirs
        wait_for(lambda: figures(gateway, "connections")["open"] == 1, what="the old connection's end")


@pytest.mark.parametrize("code", ["INTERNAL_ERROR", "NO_ERROR", "CANCEL"])
def test_a_reset_inside_the_answer_is_no_end(launch, code):
    def break_off(server, conn, stream_id, stream):
        conn.send_headers(stream_id, [(":status", "200")])
        conn.send_data(stream_id, b"half of the")
        conn.reset_stream(stream_id, h2.errors.ErrorCodes[code])

    with serving(H2Server(break_off)) as server:
        gateway = launch(h2_cluster(server))
        data = gateway.exchange(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert not data.endswith(b"0\r\n\r\n")
        with gateway.client(http2=True) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                client.get("/")
        assert len(server.streams) == 2  # once each: an answer had begun


@pytest.mark.parametrize("method, tries", [("GET", 2), ("POST", 1)])
def test_a_connection_that_dies_before_the_answer(launch, method, tries):
    """A GET goes again where retries are on; a POST, which may have been processed, never."""
    def die(server, conn, stream_id, stream):
        if len(server.streams) < 2:
            conn.fg_socket.shutdown(2)
        else:
            server.echo(server, conn, stream_id, stream)

    with serving(H2Server(die)) as server:
        gateway = launch(h2_cluster(server, retries={"attempts": 1}))
        with gateway.client() as client:
            answer = client.request(method, "/", content=b"x" if method == "POST" else None)
        assert answer.status_code == (200 if tries == 2 else 502)
        assert len(server.streams) == tries


def test_a_connection_that_says_nothing_any_more_gets_no_more(launch):
    """As a host that is gone looks: no end, no reset, no answer. It costs the requests on it, not the next."""
    def answer(server, conn, stream_id, stream):
        if conn.fg_number > 0 or len(server.streams) == 1:
            server.echo(server, conn, stream_id, stream)

    with serving(H2Server(answer)) as server:
        gateway = launch(h2_cluster(server, response_head_timeout="3s"))
        statuses = [gateway.get("/").status_code for _ in range(4)]
        assert statuses == [200, 504, 200, 200]
        assert [number for number, _, _ in server.streams] == [0, 0, 1, 1]
        gateway.wait_stats(lambda _: figures(gateway, "connections")["open"] == 1)


class Freezing(H2Server):
    """Its first connection takes no notice of anything after a request for /freeze, as if its host had gone."""

    def __init__(self):
        super().__init__(at_head=True)
        self.answer = self.answer_or_freeze

    def answer_or_freeze(self, server, conn, stream_id, stream):
        conn.is_frozen = conn.fg_number == 0 and stream.headers[":path"] == "/freeze"
        if not conn.is_frozen:
            self.echo(server, conn, stream_id, stream)

    def talk(self, connection, number):
        class Deaf:
            """Reads on, and hears nothing."""

            def recv(_, size):
                while data := connection.recv(size):
                    if not getattr(self.connections[number], "is_frozen", False):
                        return data
                return b""

            def sendall(_, data):
                connection.sendall(data)
        super().talk(Deaf(), number)


KEEPALIVE = {"connection_keepalive": {"interval": "100ms", "timeout": "5s"}, "idle_timeout": "1h",
             "response_head_timeout": "1h"}


@pytest.mark.parametrize("method, status, connections", [("GET", 200, 2), ("POST", 502, 1)])
def test_a_request_on_a_dead_connection_is_lost_or_goes_again(launch, method, status, connections):
    with serving(Freezing()) as server:
        gateway = launch(h2_cluster(server, **KEEPALIVE))
        with gateway.client() as client:
            assert client.get("/").status_code == 200
            assert client.request(method, "/freeze").status_code == status
            assert server.count == connections
            seen = figures(gateway, "connections")
            assert seen["pings_lost"] == 1 and seen["pings"] >= 1
            assert client.get("/").status_code == 200 and server.count == 2


def test_an_idle_connection_that_is_dead_is_closed_before_anybody_needs_it(launch):
    with serving(Freezing()) as server:
        gateway = launch(h2_cluster(server, retries={"attempts": 1}, **KEEPALIVE))
        with gateway.client(timeout=60) as client:
            assert client.get("/").status_code == 200
            with gateway.raw() as gone:
                gone.sendall(b"GET /freeze HTTP/1.1\r\nhost: x\r\n\r\n")
                wait_for(lambda: getattr(server.connections[0], "is_frozen", False))
            # Its stream is reset by us; the connection has heard nothing since.
            gateway.wait_stats(lambda _: figures(gateway, "connections")["open"] == 0)
            assert figures(gateway, "connections")["pings_lost"] == 1
            assert client.get("/").status_code == 200 and server.count == 2


def test_a_connection_that_answers_pings_waits_for_its_answer(launch):
    held = []
    with serving(H2Server(lambda _, conn, stream_id, __: held.append((conn, stream_id)))) as server:
        gateway = launch(h2_cluster(server, connection_keepalive={"interval": "20ms", "timeout": "60s"},
                                    idle_timeout="1h"))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(gateway.get, "/")
            gateway.wait_stats(lambda _: figures(gateway, "connections")["pings"] >= 3)
            conn, stream_id = held[0]
            with server.lock:
                server.echo(server, conn, stream_id, server.streams[0][2])
                conn.fg_socket.sendall(conn.data_to_send())
            assert asked.result(30).status_code == 200
        assert server.count == 1 and figures(gateway, "connections")["pings_lost"] == 0


def test_a_slow_answer_is_its_streams_affair(launch):
    """Beside it the connection is alive, and kept."""
    def answer(server, conn, stream_id, stream):
        if stream.headers[":path"] != "/slow":
            server.echo(server, conn, stream_id, stream)

    with serving(H2Server(answer)) as server:
        gateway = launch(h2_cluster(server, response_head_timeout="3s"))
        slow = []
        asking = threading.Thread(target=lambda: slow.append(gateway.get("/slow").status_code))
        asking.start()
        while asking.is_alive():
            assert gateway.get("/").status_code == 200
        asking.join()
        assert slow == [504] and gateway.get("/").status_code == 200
        assert server.count == 1


def test_a_wrong_length_is_no_answer(launch):
    def lie(server, conn, stream_id, stream):
        # 100 bytes promised, 4 sent: the codec of the test would not do that
        conn.send_headers(stream_id, [(":status", "200"), ("content-length", "100")])
        conn.fg_socket.sendall(conn.data_to_send())
        conn.fg_socket.sendall(b"\0\0\4\0\1" + stream_id.to_bytes(4, "big") + b"1234")

    with serving(H2Server(lie)) as server:
        gateway = launch(h2_cluster(server))
        with pytest.raises(httpx.RemoteProtocolError):
            gateway.get("/")


def test_a_length_goes_on_as_a_plain_number(launch):
    def answer(server, conn, stream_id, stream):
        conn.send_headers(stream_id, [(":status", "200"), ("content-length", "004")])
        conn.send_data(stream_id, b"body", end_stream=True)

    with serving(H2Server(answer)) as server:
        gateway = launch(h2_cluster(server))
        got = gateway.get("/")
        assert (got.headers["content-length"], got.text) == ("4", "body")


def test_trailers_and_interim_answers(launch):
    def answer(server, conn, stream_id, stream):
        conn.send_headers(stream_id, [(":status", "103"), ("link", "</a.css>; rel=preload")])
        conn.send_headers(stream_id, [(":status", "200"), ("content-type", "text/plain")])
        conn.send_data(stream_id, b"body")
        conn.send_headers(stream_id, [("x-sum", "42"), ("grpc-status", "0")], end_stream=True)

    with serving(H2Server(answer)) as server:
        gateway = launch(h2_cluster(server))
        data = gateway.exchange(b"GET / HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: te, close\r\n\r\n")
        assert data.startswith(b"HTTP/1.1 103 ")
        assert b"\r\n0\r\nx-sum: 42\r\ngrpc-status: 0\r\n\r\n" in data


def test_what_is_not_http2_is_a_bad_gateway(launch):
    with serving(Raw([ok()])) as server:
        gateway = launch(h2_cluster(server))
        assert gateway.get("/").status_code == 502


def test_an_idle_connection_is_closed_and_counted_once(launch):
    with serving(H2Server()) as server:
        gateway = launch(h2_cluster(server, idle_timeout="100ms"))
        for number in range(3):
            assert gateway.get("/").status_code == 200
            wait_for(lambda: figures(gateway, "connections")["open"] == 0, what="the idle connection's end")
            assert figures(gateway, "connections")["idle"] == 0
            assert server.count == number + 1


def test_a_header_bomb_costs_one_request(launch):
    def bomb(server, conn, stream_id, stream):
        if stream.headers[":path"] == "/bomb":
            conn.send_headers(stream_id, [(":status", "200")] + [("x-a", "b" * 4000)] * 20, end_stream=True)
        else:
            server.echo(server, conn, stream_id, stream)

    with serving(H2Server(bomb)) as server:
        gateway = launch(h2_cluster(server))
        assert gateway.get("/bomb").status_code == 502
        assert gateway.get("/fine").status_code == 200
        assert server.count == 1


@pytest.mark.parametrize("table", [None, 0, 100, 65536])
def test_heads_are_read_back_whatever_table_the_server_has(launch, table):
    """What the server remembers of a connection's heads, and what is never to be remembered; one larger than a frame of
    ours in between. Its decoder is strict about every index."""
    def answer(server, conn, stream_id, stream):
        size = int(stream.headers.get("x-table", "0"))
        if size:
            conn.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: size})
        conn.send_headers(stream_id, [(":status", "200"), ("content-length", "0")], end_stream=True)

    settings = {} if table is None else {h2.settings.SettingCodes.HEADER_TABLE_SIZE: table}
    with serving(H2Server(answer, settings=settings)) as server, launch(h2_cluster(server)).client() as client:
        large = "l" * 9000
        for number in range(60):
            own = {"x-a": "always", "x-number": str(number % 7), f"x-name-{number % 30}": "v" * (number % 50),
                   "cookie": f"s={number}" + "c" * 40, "authorization": "Bearer " + "t" * 40, "accept-language": "zh"}
            if number % 20 == 19:
                own["x-table"] = str((200, 4096, 0)[number // 20] or 1000)
            if number % 25 == 24:
                own["x-large"] = large
            method = ("GET", "POST", "HEAD", "PUT")[number % 4]
            reply = client.request(method, f"/p{number}?q={number % 3}", headers=own)
            assert reply.status_code == 200
            _, _, stream = server.streams[-1]
            seen = stream.headers
            assert (seen[":method"], seen[":path"]) == (method, f"/p{number}?q={number % 3}")
            assert {name: seen[name] for name in own} == own
            # A large head is the session's own, whose literals are all marked.
            assert "x-large" in own or marked(stream.fields) == {"cookie", "authorization"}
        assert server.count == 1


def marked(fields):
    return {name for name, _ in (one for one in fields if isinstance(one, hpack.NeverIndexedHeaderTuple))}


@pytest.mark.parametrize("cached", [False, True], ids=["passed on", "by a fetch of the cache"])
def test_what_may_never_be_indexed_goes_on_so_marked(launch, cached):
    """RFC 7541 section 7.1.3, both ways, in heads and trailers; what stands beside it stays unmarked."""
    def answer(server, conn, stream_id, stream):
        secret = hpack.NeverIndexedHeaderTuple
        conn.send_headers(stream_id, [(":status", "103"), secret("link", "</a>"), ("x-a", "1")])
        conn.send_headers(stream_id, [(":status", "200"), secret("set-cookie", "s=" + "1" * 30), ("x-b", "2")])
        conn.send_data(stream_id, b"body")
        conn.send_headers(stream_id, [secret("x-sum", "3"), ("x-end", "4")], end_stream=True)

    def literal(name, value):  # never to be indexed
        return b"\x10" + wire.block([(name, value)])[1:]

    with serving(H2Server(answer)) as server:
        sections = h2_cluster(server)
        sections["routes"][0]["cache"] = cached
        sections["listeners"] = lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}]
        gateway = launch(sections)
        peer = wire.H2(wire.connect(gateway.port))
        with peer.connection:
            secrets = literal("authorization", "Bearer " + "1" * 30) + literal("x-key", "2")
            if cached:
                peer.send(wire.frame(wire.HEADERS, wire.END_STREAM | wire.END_HEADERS, 1, wire.block(
                    wire.pseudo("/a") + [("x-open", "3")]) + secrets))
            else:
                path = literal(":path", "/a")
                peer.send(wire.frame(wire.HEADERS, wire.END_HEADERS, 1, wire.block(
                    [(":method", "POST"), (":scheme", "http"), (":authority", "x")]) + path + secrets + wire.block(
                        [("x-open", "3")])) + wire.frame(wire.DATA, 0, 1, b"x") + wire.frame(
                            wire.HEADERS, wire.END_STREAM | wire.END_HEADERS, 1, literal("x-late", "4") + wire.block(
                                [("x-later", "5")])))
            assert peer.until(lambda: peer.is_over(1)) and peer.status[1] == 200, (peer.resets, peer.goaways)
        _, _, stream = server.streams[0]
        assert stream.headers["x-key"] == "2" and stream.headers["x-open"] == "3"
        assert marked(stream.fields) == {"authorization", "x-key"} | (set() if cached else {":path"})
        if not cached:
            assert marked(stream.trailers) == {"x-late"} and ("x-later", "5") in stream.trailers
            of_us = {"x-request-id", "traceparent", "server-timing"}  # they differ each time
            assert peer.never_indexed[1] - of_us == {"link", "set-cookie", "x-sum"}
