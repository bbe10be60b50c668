"""The records of TLS 1.3 connections are our own behind the handshake: with real clients, quiet ones, and wrong ones."""
import contextlib
import os
import pathlib
import select
import socket
import ssl
import subprocess
import threading

import pytest

from harness import wait_for
from tls_tools import OpenSsl, Sealed, Seen, client_context, openssl

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
SIZE = 10 << 20
GET = b"GET /direct HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(scope="module")
def site(launch_module):
    return launch_module({
        "limits": {"threads": 1},
        "routes": [{"match": {"path": "/direct"}, "respond": {"status": 200, "body": "direct"}}],
    })


def figures(gateway):
    return gateway.stats()["gateway"]["connections"]


class Peer:
    """A client whose TLS is in memory, so that anything can be put between its records."""

    def __init__(self, port, version=V13, context=None):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = context or client_context(version=version)
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.until(self.tls.do_handshake)

    def until(self, step):
        while True:
            try:
                result = step()
                self.socket.sendall(self.outgoing.read())
                return result
            except ssl.SSLWantReadError:
                self.socket.sendall(self.outgoing.read())
                data = self.socket.recv(65536)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()

    def read_until(self, text):
        heard = b""
        while text not in heard:
            heard += self.until(lambda: self.tls.read(65536))
        return heard

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def test_who_has_the_records(site):
    before = figures(site)
    for version, by_openssl in ((V13, 0), (V12, 1)):
        assert Seen(site.port, "localhost", version=version, request=GET).answer.startswith(b"HTTP/1.1 200")
        assert figures(site)["tls_by_openssl"] == before["tls_by_openssl"] + by_openssl
    # Records of 512 bytes that a client asks for are OpenSSL's to count, whatever the version.
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{site.port}", "-tls1_3", "-maxfraglen", "512",
                           "-ign_eof"], input=GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"),
                          capture_output=True, timeout=60, check=False)
    assert done.stdout.count(b"\r\n\r\ndirect") == 1
    assert figures(site)["tls_by_openssl"] == before["tls_by_openssl"] + 2


@pytest.mark.skipif(not (pathlib.Path(openssl("version", "-m").decode().split('"')[1]) / "legacy.so").exists(),
                    reason="OpenSSL has no second provider here")
def test_without_our_derivations_openssl_has_the_records(launch, tmp_path):
    """The provider's name is taken, here by another one of an openssl.cnf: OpenSSL's own derivations serve."""
    (tmp_path / "openssl.cnf").write_text("openssl_conf = all\n[all]\nproviders = these\n[these]\ndefault = one\n"
                                          "floodgate = two\n[one]\nactivate = 1\n[two]\nmodule = legacy.so\nactivate = 1\n")
    gateway = launch({"limits": {"threads": 1},
                      "routes": [{"match": {"path": "/direct"}, "respond": {"status": 200, "body": "direct"}}]},
                     env={"OPENSSL_CONF": str(tmp_path / "openssl.cnf")})
    for count, version in enumerate((V13, V12), 1):
        before = Seen(gateway.port, "localhost", version=version, request=GET)
        after = Seen(gateway.port, "localhost", session=before.session, context=before.context, request=GET)
        assert after.answer.startswith(b"HTTP/1.1 200") and after.was_resumed
        assert figures(gateway)["tls_by_openssl"] == 2 * count
    with OpenSsl(gateway.port) as client:
        assert client.update_key() and client.write(GET)
        assert client.read().startswith(b"HTTP/1.1 200")
    attacker = Sealed(gateway.port, tmp_path)
    with attacker.socket as connection:
        connection.sendall(attacker.record(22, b"\x01\x00\x00\x00"))
        heard = b""
        while piece := connection.recv(65536):
            heard += piece
    assert attacker.open_all(heard)[-1] == (21, b"\x02\x0a")


@pytest.mark.parametrize("suite", [b"TLS_AES_128_GCM_SHA256", b"TLS_AES_256_GCM_SHA384", b"TLS_CHACHA20_POLY1305_SHA256"])
def test_new_keys_that_a_client_wants(site, suite):
    with OpenSsl(site.port, suite) as client:
        for _ in range(4):
            assert client.update_key() and client.update_key(OpenSsl.KEY_UPDATE_NOT_REQUESTED) and client.write(GET)
            heard = b""
            while not heard.endswith(b"\r\n\r\ndirect"):
                heard += client.read()
            assert heard.startswith(b"HTTP/1.1 200")


def test_a_quiet_connection_rests_and_goes_on(site):
    with Peer(site.port) as peer:
        for _ in range(2):
            before = figures(site)["tls_rests"]
            peer.until(lambda: peer.tls.write(GET))
            assert peer.read_until(b"direct").startswith(b"HTTP/1.1 200")
            wait_for(lambda least=before: figures(site)["tls_rests"] > least, what="a rest")


def test_a_record_byte_by_byte(site):
    with Peer(site.port) as peer:
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.tls.write(GET)
        record = peer.outgoing.read()
        for at in range(len(record)):
            peer.socket.sendall(record[at:at + 1])
        assert peer.read_until(b"direct").startswith(b"HTTP/1.1 200")


def flipped(record):
    return record[:-1] + bytes([record[-1] ^ 1])


@pytest.mark.parametrize("version, make, reason", [
    (V13, flipped, "BAD_RECORD_MAC"), (V12, flipped, "BAD_RECORD_MAC"),
    (V13, lambda _: b"\x15\x03\x03\x00\x02\x01\x00", "UNEXPECTED_MESSAGE"),
    (V13, lambda _: b"\x14\x03\x03\x00\x01\x01", "UNEXPECTED_MESSAGE"),
    (V13, lambda _: b"\x17\x03\x03\x40\x12", "RECORD_OVERFLOW"),
], ids=["mac", "mac 1.2", "alert in the clear", "cipher change", "too long"])
def test_who_breaks_the_records_is_told_why(site, version, make, reason):
    """And gets nothing behind that, not even the answer to what came before in the same read."""
    with Peer(site.port, version) as peer:
        peer.until(lambda: peer.tls.write(GET))
        peer.read_until(b"direct")
        peer.tls.write(GET)
        peer.socket.sendall(make(peer.outgoing.read()))
        with pytest.raises(ssl.SSLError) as told:
            peer.until(lambda: peer.tls.read(65536))
        assert reason in told.value.reason
        rest = b""
        while piece := peer.socket.recv(65536):
            rest += piece
        assert rest == b""
    wait_for(lambda: figures(site)["open"] <= 1, what="the end of the connection")


SEALED = [  # what is said, and the alert that answers it
    ("cipher change", lambda s: s.record(20, b"\x01"), 10),
    ("zeroes", lambda s: s.record(0, b"", 40), 10),
    ("a hello", lambda s: s.record(22, b"\x01\x00\x00\x00"), 10),
    ("no message", lambda s: s.record(22, b""), 10),
    ("data within a message", lambda s: s.record(22, b"\x18\x00") + s.record(23, GET), 10),
    ("two key updates in one", lambda s: s.record(22, b"\x18\x00\x00\x01\x00" * 2), 10),
    ("a key update with a wish of its own", lambda s: s.record(22, b"\x18\x00\x00\x01\x02"), 47),
    ("a long key update", lambda s: s.record(22, b"\x18\x00\x00\x02\x00\x00"), 50),
    ("half an alert", lambda s: s.record(21, b"\x01"), 50),
    ("an empty alert", lambda s: s.record(21, b""), 10),
    ("an empty alert with padding", lambda s: s.record(21, b"", 7), 10),
    ("two alerts in one", lambda s: s.record(21, b"\x01\x5a" * 2), 50),
    ("too much", lambda s: s.record(23, bytes(16385)), 22),
    ("too much padding", lambda s: s.record(23, b"x", 16384), 22),
]


@pytest.mark.parametrize("make, alert", [case[1:] for case in SEALED], ids=[case[0] for case in SEALED])
def test_each_fault_has_its_alert(site, tmp_path, make, alert):
    attacker = Sealed(site.port, tmp_path)
    with attacker.socket as connection:
        connection.sendall(make(attacker))
        heard = b""
        while piece := connection.recv(65536):
            heard += piece
    said = attacker.open_all(heard)
    assert said[-1] == (21, bytes([2, alert]))
    assert all(kind == 22 for kind, _ in said[:-1])  # tickets


def test_new_keys_are_answered_by_new_keys(site, tmp_path):
    client = Sealed(site.port, tmp_path)
    with client.socket as connection:
        connection.sendall(b"".join(client.key_update(True) for _ in range(3)) + client.record(23, GET) +
                           client.record(23, GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")))
        heard = b""
        while piece := connection.recv(65536):
            heard += piece
    said = client.open_all(heard)
    assert [data for kind, data in said if kind == 22 and data[0] == 24] == [b"\x18\x00\x00\x01\x00"]
    assert b"".join(data for kind, data in said if kind == 23).count(b"\r\n\r\ndirect") == 2
    assert said[-1] == (21, b"\x01\x00")


def test_much_at_once_both_ways(launch):
    """Ten megabytes through a gateway that answers with what it gets, while the client reads and writes as it likes."""
    upstream = socket.create_server(("127.0.0.1", 0))

    def echo():
        connection, _ = upstream.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            head, _, data = head.partition(b"\r\n\r\n")
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % SIZE)
            left = SIZE
            while True:
                connection.sendall(data)
                left -= len(data)
                if left <= 0:
                    return
                data = connection.recv(65536)

    with upstream:
        gateway = launch({"limits": {"threads": 1},
                          "clusters": {"up": {"endpoints": [f"127.0.0.1:{upstream.getsockname()[1]}"]}},
                          "routes": [{"match": {"prefix": "/"}, "to": "cluster:up", "timeout": "60s", "body_max": SIZE}]})
        server = threading.Thread(target=echo, daemon=True)
        server.start()
        body = os.urandom(1 << 20) * (SIZE >> 20)
        with Peer(gateway.port) as peer:
            peer.tls.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % SIZE)
            sent, heard = 0, bytearray()
            waiting = peer.outgoing.read()
            while not (b"\r\n\r\n" in heard[:4096] and len(heard) >= heard.index(b"\r\n\r\n") + 4 + SIZE):
                can_read, can_write, _ = select.select([peer.socket], [peer.socket] if waiting or sent < SIZE else [], [], 30)
                assert can_read or can_write
                if can_write:
                    if not waiting:
                        sent += peer.tls.write(body[sent:sent + 100000])
                        waiting = peer.outgoing.read()
                    waiting = waiting[peer.socket.send(waiting, socket.MSG_DONTWAIT):]
                if can_read:
                    data = peer.socket.recv(65536)
                    assert data
                    peer.incoming.write(data)
                    with contextlib.suppress(ssl.SSLWantReadError):
                        while True:
                            heard += peer.tls.read(65536)
        server.join(30)
        head, _, answer = bytes(heard).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200") and answer == body
