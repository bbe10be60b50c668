"""
test_upstream_tunnels.py: WebSockets to servers that are spoken to in HTTP/2: extended CONNECT (RFC 8441)
where they announce it, HTTP/1.1 where the cluster leaves that open, and a plain no elsewhere.
"""
import contextlib

import h2.events
import h2.settings
import pytest

from harness import h2_start, h2_talk_through_tunnel, h2_until, read_all, read_response, wait_for
from upstreams import H2Server, Raw, cluster, figures, ok, server_tls, serving, websocket_accept

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = websocket_accept(KEY).decode()
WISH = (b"HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        b"sec-websocket-protocol: chat\r\nsec-websocket-key: " + KEY + b"\r\n\r\n")
CONNECT = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/ws"),
           (":authority", "x"), ("sec-websocket-version", "13")]


class Tunnels(H2Server):
    """Opens a tunnel to whoever asks and sends back what comes in, in capitals; " bye" at the end."""

    def __init__(self, status="200", takes=True, **keywords):
        self.status = status
        settings = {h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1} if takes else {}
        super().__init__(at_head=True, answer=self.open_tunnel, **keywords)
        self.first = settings

    def talk(self, connection, number):
        self.settings = self.first
        super().talk(connection, number)

    def open_tunnel(self, _, conn, stream_id, stream):
        if stream.headers[":method"] != "CONNECT":
            self.echo(self, conn, stream_id, stream)
        elif self.status == "200":
            conn.send_headers(stream_id, [(":status", "200"), ("sec-websocket-protocol", "chat"),
                                          ("content-length", "0")])
            self.send(conn, stream_id, b"hello ", end=False)
        else:
            conn.send_headers(stream_id, [(":status", self.status), ("content-length", "2")])
            self.send(conn, stream_id, b"no")

    def take(self, conn, number, streams, event):
        super().take(conn, number, streams, event)
        stream = streams.get(getattr(event, "stream_id", None))
        if stream is None or stream.headers[":method"] != "CONNECT" or self.status != "200":
            return
        if isinstance(event, h2.events.DataReceived):
            waiting = self.pending.get(number, {}).get(event.stream_id, (b"", False))[0]
            self.send(conn, event.stream_id, waiting + event.data.upper(), end=False)
        elif isinstance(event, h2.events.StreamEnded):
            waiting = self.pending.get(number, {}).get(event.stream_id, (b"", False))[0]
            self.send(conn, event.stream_id, waiting + b" bye")


def site_of(address, **keys):
    config = cluster([address], **keys)
    config["routes"][0]["websocket"] = True
    return config


def over_h1(gateway):
    """A whole conversation of a client of HTTP/1.1."""
    with gateway.raw() as connection:
        connection.sendall(b"GET /ws " + WISH + b"early ")
        file = connection.makefile("rb")
        status, fields, _ = read_response(file)
        assert status == 101 and fields["upgrade"] == "websocket"
        assert fields["sec-websocket-accept"] == ACCEPT and fields["sec-websocket-protocol"] == "chat"
        assert "content-length" not in fields
        assert file.read(12) == b"hello EARLY "
        connection.sendall(b"x" * 300000)
        assert file.read(300000) == b"X" * 300000
        with contextlib.suppress(OSError):  # a server that ends without TLS's goodbye has broken off
            connection.unwrap()


def over_h2(gateway):
    """The same of one of HTTP/2."""
    connection, state = h2_start(gateway)
    with connection:
        assert h2_talk_through_tunnel(connection, state, CONNECT)[":status"] == "200"


class Trailing(Tunnels):
    """Ends its tunnels by trailers, which they cannot have (RFC 9113 section 8.5)."""

    def send(self, conn, stream_id, data, end=True):
        super().send(conn, stream_id, data, end=False)
        if end:
            conn.send_headers(stream_id, [("x-sum", "1")], end_stream=True)


def test_a_head_of_the_servers_in_a_tunnel_breaks_it(launch):
    with serving(Trailing()) as server:
        gateway = launch(site_of(server.address, protocol="h2"))
        connection, state = h2_start(gateway)
        with connection:
            state.send_headers(1, CONNECT)
            state.send_data(1, b"more", end_stream=True)
            connection.sendall(state.data_to_send())
            assert h2_until(connection, state, h2.events.StreamReset) is not None
        wait_for(lambda: figures(gateway)["requests"]["malformed"] == 1, what="the server's fault in /stats")


@pytest.mark.parametrize("secured", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("talk", [over_h1, over_h2])
def test_a_tunnel_is_a_stream_of_the_shared_connection(launch, certificate, secured, talk):
    keys = {"tls": {"verify": False}} if secured else {}
    tls = server_tls(certificate, alpn=["h2"]) if secured else None
    with serving(Tunnels(tls=tls)) as server:
        gateway = launch(site_of(server.address, protocol="h2", **keys))
        assert gateway.get("/plain").status_code == 200
        for _ in range(2):
            talk(gateway)
        assert gateway.get("/plain").status_code == 200
        asked = [stream.headers for _, _, stream in server.streams if stream.headers[":method"] == "CONNECT"]
        assert len(asked) == 2 and server.count == 1
        for headers in asked:
            assert headers[":protocol"] == "websocket" and headers[":path"] == "/ws"
            assert headers[":scheme"] == ("https" if secured else "http") and headers[":authority"] == "x"
            assert headers["sec-websocket-version"] == "13"
            assert not {"sec-websocket-key", "connection", "upgrade", "content-length"} & set(headers)


@pytest.mark.parametrize("talk", [over_h1, over_h2])
def test_what_tls_agrees_on_carries_it(launch, certificate, talk):
    """`auto`, and the first request of all is a WebSocket: it waits for the server's settings."""
    with serving(Tunnels(tls=server_tls(certificate, alpn=["h2", "http/1.1"]))) as server:
        gateway = launch(site_of(server.address, tls={"verify": False}))
        talk(gateway)
        assert server.count == 1 and server.streams[0][2].headers[":protocol"] == "websocket"


def test_a_server_without_them_is_asked_in_http1(launch, certificate):
    """HTTP/2 for requests, HTTP/1.1 for tunnels, as most servers want it."""
    class Both(Tunnels):
        def talk(self, connection, number):
            if connection.selected_alpn_protocol() == "h2":
                super().talk(connection, number)
                return
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += connection.recv(1)
            self.heads.append(head)
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                               b"sec-websocket-protocol: chat\r\nsec-websocket-accept: %s\r\n\r\nhello " % ACCEPT.encode())
            while data := connection.recv(65536):
                connection.sendall(data.upper())
    Both.heads = []
    with serving(Both(takes=False, tls=server_tls(certificate, alpn=["h2", "http/1.1"]))) as server:
        gateway = launch(site_of(server.address, tls={"verify": False}))
        for _ in range(2):
            over_h1(gateway)
        assert gateway.get("/plain").status_code == 200
        assert len(Both.heads) == 2 and all(b"\r\nupgrade: websocket\r\n" in head for head in Both.heads)
        assert server.count == 3 and [stream.headers[":method"] for _, _, stream in server.streams] == ["GET"]


def test_where_only_http2_is_spoken_the_answer_is_no(launch):
    with serving(Tunnels(takes=False)) as server:
        gateway = launch(site_of(server.address, protocol="h2"))
        for _ in range(3):
            answer = gateway.exchange(b"GET /ws " + WISH.replace(b"connection: ", b"connection: close, "))
            assert answer.startswith(b"HTTP/1.1 502 ") and b'"backend_no_websocket"' in answer
            assert b"retry-after" not in answer
        assert server.count == 1 and not server.streams
        assert gateway.get("/plain").status_code == 200
        assert "the server takes no extended CONNECT" in gateway.log


@pytest.mark.parametrize("status", ["403", "503"])
def test_another_answer_than_a_tunnel_is_passed_on(launch, status):
    with serving(Tunnels(status=status)) as server:
        gateway = launch(site_of(server.address, protocol="h2"))
        with gateway.raw() as connection:
            connection.sendall(b"GET /ws " + WISH + b"GET /next HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answers = read_all(connection)
        assert answers.startswith(b"HTTP/1.1 " + status.encode()) and answers.count(b"HTTP/1.1 200 OK\r\n") == 1
        wait_for(lambda: server.streams[0][2].ended or server.streams[0][2].reset is not None, what="the stream's end")
        assert server.streams[0][2].body == b"" and server.count == 1


def test_a_client_that_leaves_ends_its_stream_alone(launch):
    with serving(Tunnels()) as server:
        gateway = launch(site_of(server.address, protocol="h2"))
        with gateway.raw() as one, gateway.raw() as other:
            for connection in (one, other):
                connection.sendall(b"GET /ws " + WISH)
                assert read_response(connection.makefile("rb"))[0] == 101
            one.close()
            wait_for(lambda: server.streams[0][2].reset is not None or server.streams[0][2].ended, what="the end")
            other.sendall(b"still here")
            text = b""
            while not text.endswith(b"STILL HERE"):
                text += other.recv(100)
        gateway.wait_stats(lambda _: figures(gateway, "connections")["streams"] == 0)


def test_a_connection_lost_before_its_settings_is_another_try(launch):
    class Late(Tunnels):
        def talk(self, connection, number):
            if number > 0:
                super().talk(connection, number)
                return
            while b"\r\n\r\nSM\r\n\r\n" not in connection.recv(65536):
                pass

    with serving(Late()) as server:
        gateway = launch(site_of(server.address, protocol="h2"))
        over_h1(gateway)
        assert server.count == 2


def test_a_server_that_says_nothing_is_too_slow(launch):
    def silent(connection, _):
        while connection.recv(65536):
            pass

    class Silent(Raw):
        talk = staticmethod(silent)

    with serving(Silent([ok()])) as server:
        gateway = launch(site_of(server.address, protocol="h2", response_head_timeout="200ms"))
        answer = gateway.exchange(b"GET /ws " + WISH.replace(b"connection: ", b"connection: close, "))
        assert answer.startswith(b"HTTP/1.1 504 ")
