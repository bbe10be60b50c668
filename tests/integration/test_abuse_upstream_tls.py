"""
What a server can do to a gateway above TCP and below HTTP: records of a byte each, sent as fast as they can be
read, and handshake messages after the handshake.
"""
import contextlib
import ctypes
import ctypes.util
import socket
import ssl

import pytest

import wire
from harness import read_all
from upstreams import SocketServer, server_tls, serving

TEXT = bytes(97 + i % 26 for i in range(3000))
MESSAGES = 5000


def request(path):
    return b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path


class Records:
    """TLS by hand on a plain socket, so that any number of records leaves at once."""

    def __init__(self, context, connection):
        self.connection, self.incoming, self.outgoing = connection, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.until(self.tls.do_handshake)

    def until(self, step):
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                return step()
            self.flush()
            data = self.connection.recv(65536)
            if not data:
                raise ConnectionError
            self.incoming.write(data)

    def flush(self):
        self.connection.sendall(self.outgoing.read())

    def write(self, data, size):
        for at in range(0, len(data), size):
            self.tls.write(data[at:at + size])


@pytest.fixture
def site(launch, certificate):
    """Its servers say what the path asks for."""
    context = server_tls(certificate)

    def serve(connection, _):
        peer = Records(context, connection)
        path = peer.until(lambda: peer.tls.read(8192)).split()[1]
        if path == b"/until-close":
            peer.write(b"HTTP/1.1 200 OK\r\n\r\n", 100)
            peer.write(TEXT, 1)
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.tls.unwrap()  # says goodbye, and does not wait for the other's
        else:
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (4000 if path == b"/cut" else 3000), 7)
            peer.write(TEXT, 1)
        peer.flush()
        with contextlib.suppress(ConnectionError):
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    with serving(SocketServer(serve)) as server:
        yield launch(conf(server.address))


def conf(address):
    return {"listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
            "limits": {"threads": 1},
            "clusters": {"up": {"endpoints": [address], "protocol": "http1", "tls": {"verify": False}}},
            "routes": [{"match": {"path": "/direct"}, "respond": {"status": 200, "body": "direct"}},
                       {"match": {"prefix": "/"}, "to": "cluster:up"}]}


def test_records_of_a_byte_are_an_answer_like_any_other(site):
    def ask(path):
        with wire.connect(site.port) as connection:
            connection.sendall(request(path))
            return read_all(connection).partition(b"\r\n\r\n")
    assert ask(b"/length")[2] == TEXT
    pieces = ask(b"/until-close")[2]
    assert pieces.endswith(b"0\r\n\r\n") and pieces.count(b"\r\n") < len(TEXT) // 4  # 16 of them are one piece
    assert ask(b"/cut")[2] == TEXT  # of 4000: the client sees that there is more
    site.wait_stats(lambda stats: stats["backends"]["up"]["requests"]["resets"] == 1)


class Library:
    """A server by the library itself: Python's module knows no KeyUpdate."""

    def __init__(self, certificate, version):
        self.ssl = ctypes.CDLL(ctypes.util.find_library("ssl"))
        for name in ("TLS_server_method", "SSL_CTX_new", "SSL_new"):
            getattr(self.ssl, name).restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.ssl.SSL_CTX_new(ctypes.c_void_p(self.ssl.TLS_server_method())))
        crt, key = (str(path).encode() for path in certificate)
        assert self.ssl.SSL_CTX_use_certificate_chain_file(self.context, crt) == 1
        assert self.ssl.SSL_CTX_use_PrivateKey_file(self.context, key, 1) == 1
        self.ssl.SSL_CTX_ctrl(self.context, 124, ctypes.c_long(version), None)  # at most this version

    def flood(self, connection, again):
        """Begins an answer and then says `again(library, connection)`. That tickets come to nobody is no failure."""
        peer = ctypes.c_void_p(self.ssl.SSL_new(self.context))
        buffer = ctypes.create_string_buffer(8192)
        said = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"
        try:
            self.ssl.SSL_set_fd(peer, connection.fileno())
            if self.ssl.SSL_accept(peer) == 1 and self.ssl.SSL_read(peer, buffer, 8192) > 0:
                self.ssl.SSL_write(peer, said, len(said))
                for _ in range(MESSAGES):
                    if again(self.ssl, peer) != 1 or self.ssl.SSL_do_handshake(peer) != 1:
                        break
        finally:
            self.ssl.SSL_free(peer)

    def close(self):
        self.ssl.SSL_CTX_free(self.context)


@pytest.mark.parametrize("version, again", [
    (0x304, lambda library, peer: library.SSL_key_update(peer, 0)),
    (0x304, lambda library, peer: library.SSL_key_update(peer, 1)),
    (0x304, lambda library, peer: library.SSL_new_session_ticket(peer)),
    (0x303, lambda library, peer: library.SSL_renegotiate(peer)),
], ids=["KeyUpdate", "KeyUpdate that wants another", "tickets", "HelloRequest"])
def test_handshakes_after_the_handshake_have_a_bound(launch, certificate, version, again):
    library = Library(certificate, version)
    with serving(SocketServer(lambda connection, _: library.flood(connection, again))) as server:
        gateway = launch(conf(server.address))
        with wire.connect(gateway.port) as connection:
            connection.sendall(request(b"/"))
            answer = read_all(connection)  # the head may have left, or stay behind
        assert not answer.startswith(b"HTTP/1.1 200 ") or answer.endswith(b"\r\n\r\n")
        with wire.connect(gateway.port) as connection:
            connection.sendall(request(b"/direct"))
            assert read_all(connection).endswith(b"\r\n\r\ndirect")
        gateway.wait_stats(lambda stats: stats["backends"]["up"]["requests"]["resets"] == 1)
        assert gateway.stats()["backends"]["up"]["connections"]["tls_errors"] == 1
    library.close()
