"""
test_upstream_proxy_header.py: servers that are told whose connection it is (PROXY protocol, sent): what
they get, byte for byte, and who may use a connection that began with somebody's header.
"""
import socket
import ssl
import struct

import httpx
import pytest

from harness import free_port, read_response, wait_for
from tls_tools import Seen, make_pair
from upstreams import H2Server, Raw, SocketServer, cluster, figures, ok, server_tls, serving

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL = SIGNATURE + b"\x20\0\0\0"


def read_header(connection):
    """Exactly the header's bytes, in either version."""
    def exactly(count):
        data = b""
        while len(data) < count:
            piece = connection.recv(count - len(data))
            if not piece:
                raise OSError("the connection ended within the header")
            data += piece
        return data
    data = exactly(12)
    if data == SIGNATURE:
        data += exactly(4)
        return data + exactly(int.from_bytes(data[14:16], "big"))
    while not data.endswith(b"\r\n"):
        data += exactly(1)
    return data


def told(server_class):
    """A server that reads a header first, then speaks TLS if it should, then HTTP."""
    class Told(server_class):
        def __init__(self, *arguments, inner=None, **keywords):
            self.inner, self.headers = inner, []
            super().__init__(*arguments, **keywords)

        def talk(self, connection, number):
            header = read_header(connection)
            with self.lock:
                self.headers.append(header)
            super().talk(self.inner.wrap_socket(connection, server_side=True) if self.inner else connection, number)
    return Told


ToldRaw, ToldH2 = told(Raw), told(H2Server)


class Client:
    """A TLS connection that says which port it has."""

    def __init__(self, gateway, name="localhost"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.plain = socket.create_connection(("127.0.0.1", gateway.port), 30)
        self.port = self.plain.getsockname()[1]
        self.tls = context.wrap_socket(self.plain, server_hostname=name)
        self.file = self.tls.makefile("rb")

    def get(self, path="/", fields=""):
        self.tls.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n".encode())
        return read_response(self.file)

    def close(self):
        self.tls.close()


def line(client, gateway):
    return f"PROXY TCP4 127.0.0.1 127.0.0.1 {client.port} {gateway.port}\r\n".encode()


def binary(client, gateway, tlvs=b"", command=0x21):
    body = socket.inet_aton("127.0.0.1") * 2 + struct.pack(">HH", client.port, gateway.port) + tlvs
    return SIGNATURE + bytes([command, 0x11]) + struct.pack(">H", len(body)) + body


def tlv(kind, value):
    return bytes([kind]) + struct.pack(">H", len(value)) + value


@pytest.mark.parametrize("version, expected", [("v1", line), ("v2", binary)])
@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_a_connection_is_one_clients_alone(launch, tmp_path, version, expected, over):
    keywords = {"path": tmp_path / "s"} if over == "unix" else {}
    with serving(ToldRaw([ok()], **keywords)) as server:
        gateway = launch(cluster([server.address], proxy_protocol=version))
        first, second = Client(gateway), Client(gateway)
        for client in (first, first, second, first, second):
            assert client.get()[0] == 200
        assert server.headers == [expected(first, gateway), expected(second, gateway)]
        assert len(server.requests) == 5 and figures(gateway, "connections")["reused"] == 3
        first.close()
        third = Client(gateway)
        assert third.get()[0] == 200
        assert server.headers[2:] == [expected(third, gateway)]


@pytest.mark.parametrize("protocol", ["http1", "auto", "h2"])
def test_the_header_stands_before_tls(launch, certificate, protocol):
    inner = server_tls(certificate, alpn=["h2"] if protocol != "http1" else ["http/1.1"])
    server = ToldRaw([ok()], inner=inner) if protocol == "http1" else ToldH2(inner=inner)
    with serving(server):
        gateway = launch(cluster([server.address], proxy_protocol="v1", protocol=protocol, tls={"verify": False}))
        clients = [Client(gateway) for _ in range(2)]
        for client in clients * 2:
            assert client.get()[0] == 200
        assert server.headers == [line(client, gateway) for client in clients]


def test_streams_of_one_client_share_and_those_of_two_do_not(launch):
    with serving(ToldH2()) as server:
        gateway = launch(cluster([server.address], proxy_protocol="v2", protocol="h2"))
        with gateway.client(http2=True) as one, gateway.client(http2=True) as other:
            for client in (one, other, one, other):
                assert client.get("/").status_code == 200
        assert len(server.headers) == 2 and server.headers[0] != server.headers[1]
        by_connection = [number for number, _, _ in server.streams]
        assert sorted(by_connection) == [0, 0, 1, 1]


def test_what_version_2_can_say_besides(launch):
    with serving(ToldRaw([ok()])) as server:
        gateway = launch(cluster([server.address], proxy_protocol="v2",
                                 proxy_protocol_tlvs=["alpn", "authority", "ssl"]))
        client = Client(gateway, name="shop.test")
        assert client.get()[0] == 200
        tls = b"\x01\0\0\0\x01" + tlv(0x21, b"TLSv1.3")
        assert server.headers == [binary(client, gateway, tlv(1, b"http/1.1") + tlv(2, b"shop.test") + tlv(0x20, tls))]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_certificate_is_of_the_session(launch, tmp_path, version):
    """Who resumes shows none again; that it has one is as true as before (flags CERT_SESS and CERT_CONN)."""
    authority = make_pair(tmp_path, "authority")
    guest = make_pair(tmp_path, "guest", authority=authority)
    with serving(ToldRaw([ok(fields=b"connection: close\r\n")])) as server:
        gateway = launch({**cluster([server.address], proxy_protocol="v2", proxy_protocol_tlvs="ssl"),
                          "listeners": lambda g: [{"name": "public", "address": f"127.0.0.1:{g.port}",
                                                   "certificate": str(g.certificate), "private_key": str(g.key),
                                                   "client_auth": "optional", "client_ca": str(authority[0])}]})
        first = Seen(gateway.port, "localhost", version=version, pair=guest)
        assert not first.was_resumed
        assert Seen(gateway.port, "localhost", session=first.session, context=first.context).was_resumed
        assert not Seen(gateway.port, "localhost", version=version).was_resumed
        name = f"TLSv1.{version - ssl.TLSVersion.TLSv1_2 + 2}".encode()
        assert [header[28:] for header in server.headers] == [
            tlv(0x20, said + tlv(0x21, name)) for said in (b"\x07\0\0\0\0", b"\x05\0\0\0\0", b"\x01\0\0\0\x01")]


def test_a_requests_own_id_makes_a_connection_its_own(launch):
    with serving(ToldRaw([ok()])) as server:
        gateway = launch(cluster([server.address], proxy_protocol="v2", proxy_protocol_tlvs="unique_id"))
        client = Client(gateway)
        ids = [client.get()[1]["x-request-id"] for _ in range(3)]
        assert server.headers == [binary(client, gateway, tlv(5, name.encode())) for name in ids]
        gateway.wait_stats(lambda _: figures(gateway, "connections")["open"] == 0)


def test_behind_trusted_hops_it_is_the_client_that_is_named(launch):
    def listeners(gateway):
        gateway.hop_port = free_port()
        return [{"name": "hop", "address": f"127.0.0.1:{gateway.port}", "kind": "plain",
                 "trusted_proxies": ["127.0.0.1"]},
                {"name": "balanced", "address": f"127.0.0.1:{gateway.hop_port}", "kind": "plain",
                 "proxy_protocol_from": ["127.0.0.1"]}]
    with serving(ToldRaw([ok()])) as server:
        gateway = launch({**cluster([server.address], proxy_protocol="v1"), "listeners": listeners})
        with httpx.Client(verify=False, trust_env=False) as client:
            for who in ("203.0.113.9", "203.0.113.9", "203.0.113.10", "2001:db8::7"):
                answer = client.get(f"http://127.0.0.1:{gateway.port}/", headers={"x-forwarded-for": who})
                assert answer.status_code == 200
        assert server.headers == [f"PROXY TCP4 203.0.113.9 127.0.0.1 0 {gateway.port}\r\n".encode(),
                                  f"PROXY TCP4 203.0.113.10 127.0.0.1 0 {gateway.port}\r\n".encode(),
                                  f"PROXY TCP6 2001:db8::7 ::ffff:127.0.0.1 0 {gateway.port}\r\n".encode()]
        # what a balancer's header says goes on as it came
        came = b"PROXY TCP4 198.51.100.7 192.0.2.2 5555 443\r\n"
        with socket.create_connection(("127.0.0.1", gateway.hop_port), 30) as plain:
            plain.sendall(came + b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert plain.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"
        assert server.headers[3:] == [came]


@pytest.mark.parametrize("version, expected", [("v1", b"PROXY UNKNOWN\r\n"), ("v2", LOCAL)])
def test_a_check_speaks_for_itself(launch, version, expected):
    with serving(ToldRaw([ok()])) as server:
        launch(cluster([server.address], proxy_protocol=version, health_check={"interval": "50ms"}))
        wait_for(lambda: len(server.headers) >= 3, what="three checks")
        assert set(server.headers) == {expected}


@pytest.mark.parametrize("version, expected", [("off", b""), ("v1", b"PROXY UNKNOWN\r\n"), ("v2", LOCAL)])
def test_a_connect_alone_speaks_for_itself(launch, version, expected):
    """Each byte of a check of kind tcp, to the end that it makes."""
    heard = []

    def listen(connection, _):
        data = b""
        while piece := connection.recv(65536):
            data += piece
        heard.append(data)

    with serving(SocketServer(listen)) as server:
        gateway = launch(cluster([server.address], proxy_protocol=version,
                                 health_check={"kind": "tcp", "interval": "50ms"}))
        wait_for(lambda: len(heard) >= 3, what="three checks")
        assert set(heard) == {expected} and not server.errors
        gateway.wait_stats(lambda _: figures(gateway, "endpoints")[0]["state"] == "healthy")


def test_a_fetch_of_the_cache_names_who_caused_it(launch):
    with serving(ToldRaw([ok(fields=b"cache-control: max-age=60\r\n")])) as server:
        config = cluster([server.address], proxy_protocol="v1")
        config["routes"][0]["cache"] = True
        gateway = launch(config)
        client = Client(gateway)
        assert [client.get()[0] for _ in range(3)] == [200] * 3
        assert server.headers == [line(client, gateway)]


def test_a_connection_kept_for_somebody_else_makes_room(launch):
    """As many idle ones as may be open, each another client's: the oldest goes."""
    with serving(ToldRaw([ok()])) as server:
        gateway = launch(cluster([server.address], proxy_protocol="v1", max_connections=2, max_idle_connections=2,
                                 idle_timeout="60s", concurrency={"kind": "fixed", "limit": 2}))
        clients = [Client(gateway) for _ in range(5)]
        for client in clients + clients:
            assert client.get()[0] == 200
        assert server.headers == [line(client, gateway) for client in clients + clients]
