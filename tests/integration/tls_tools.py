"""
tls_tools.py: certificates of all sorts by the openssl program, and clients that look at handshakes.
"""
import ctypes
import datetime
import hashlib
import hmac
import os
import pathlib
import re
import socket
import ssl
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def openssl(*arguments, text=None):
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, input=text).stdout


def make_pair(folder, name, hosts=(), kind="ec", authority=None, uri=None, days=2, more=()):
    """A certificate and its key, signed by itself or by `authority`, another such pair; `more` are further extensions."""
    crt, key = pathlib.Path(folder) / f"{name}.crt", pathlib.Path(folder) / f"{name}.key"
    new_key = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"] if kind == "ec" else [kind]
    names = [f"DNS:{host}" for host in hosts] + ([f"URI:{uri}"] if uri else [])
    extensions = ["-addext", "subjectAltName=" + ",".join(names)] if names else []
    extensions += [word for one in more for word in ("-addext", one)]
    signer = ["-CA", authority[0], "-CAkey", authority[1]] if authority else []
    openssl("req", "-x509", "-newkey", *new_key, "-nodes", "-days", days, "-keyout", key, "-out", crt,
            "-subj", f"/CN={name}", *extensions, *signer)
    return crt, key


def reissue(pair, days, since=-5, signer=None):
    """The certificate of a pair once more for the same key and names, signed by the key of `signer`, its authority, or its
    own; good from `since` to `days`."""
    def key_of(one):
        return serialization.load_pem_private_key(one[1].read_bytes(), None)
    old, now = x509.load_pem_x509_certificate(pair[0].read_bytes()), datetime.datetime.utcnow()
    builder = x509.CertificateBuilder(old.issuer, old.subject, key_of(pair).public_key(), x509.random_serial_number(),
                                      now + datetime.timedelta(days=since), now + datetime.timedelta(days=days),
                                      list(old.extensions))
    return builder.sign(key_of(signer or pair), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def make_crl(folder, authority, revoked=(), is_over=False, seconds=2 * 86400):
    """The list of what an authority, a pair of make_pair, has revoked; good for two days, or until long ago."""
    folder = pathlib.Path(folder)
    (folder / "index.txt").write_text("")
    (folder / "ca.conf").write_text(f"[ca]\ndefault_ca = one\n[one]\ndatabase = {folder}/index.txt\n"
                                    "default_md = sha256\n")
    signer = ["ca", "-config", folder / "ca.conf", "-cert", authority[0], "-keyfile", authority[1]]
    for certificate, _ in revoked:
        openssl(*signer, "-revoke", certificate)
    times = ["-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200102000000Z"] if is_over else ["-crlsec", seconds]
    return openssl(*signer, "-gencrl", *times)


def replace(files, by):
    """Each in one step, as whoever renews certificates should."""
    for target, source in zip(files, by):
        fresh = target.with_suffix(target.suffix + ".new")
        fresh.write_bytes(source.read_bytes())
        os.replace(fresh, target)


def der(path):
    return ssl.PEM_cert_to_DER_cert(pathlib.Path(path).read_text())


def client_context(version=None, pair=None, ciphers=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    if pair:
        context.load_cert_chain(*pair)
    return context


GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


class Seen:
    """One connection: what the client saw of the handshake, and the answer to one request."""

    def __init__(self, port, host=None, session=None, request=GET, context=None, **kwargs):
        context = context or client_context(**kwargs)
        plain = socket.create_connection(("127.0.0.1", port), 30)
        with context.wrap_socket(plain, server_hostname=host, session=session) as tls:
            self.context = context
            self.version = tls.version()
            self.cipher = tls.cipher()[0]
            self.certificate = tls.getpeercert(True)
            self.was_resumed = tls.session_reused
            self.answer = b""
            if request:
                tls.sendall(request)
                while b"\r\n\r\n" not in self.answer:
                    piece = tls.recv(65536)  # a ticket of TLS 1.3 comes before the first answer
                    if not piece:
                        break
                    self.answer += piece
            self.session = tls.session


def s_client(port, *arguments, text=b""):
    """openssl s_client's report; it says `text`, and then its input ends."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *map(str, arguments)],
                          input=text, capture_output=True, timeout=60, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


def field(report, name):
    found = re.search(rf"^\s*{name}\s*: (.*)$", report, re.M)
    return found.group(1).strip() if found else None


def record(data, size=16384, kind=22):
    """In the clear, over as many records as it takes."""
    return b"".join(bytes([kind, 3, 1]) + len(data[at:at + size]).to_bytes(2, "big") + data[at:at + size]
                    for at in range(0, len(data), size))


def hello(groups=(29,), share=29, share_bytes=32, shares=1, tickets=0):
    """A client's of TLS 1.3, with key shares of one group's number (29 is X25519); nobody can go on behind it."""
    def counted(data, size):
        return len(data).to_bytes(size, "big") + data

    def extension(kind, data):
        return kind.to_bytes(2, "big") + counted(data, 2)
    key = share.to_bytes(2, "big") + counted(os.urandom(share_bytes), 2)
    extensions = (extension(43, b"\x02\x03\x04") + extension(13, counted(b"\x04\x03\x08\x04", 2)) +
                  extension(10, counted(b"".join(one.to_bytes(2, "big") for one in groups), 2)) +
                  extension(51, counted(key * shares, 2)))
    if tickets:
        ticket = counted(os.urandom(32), 2) + bytes(4)
        extensions += extension(45, b"\x01\x01") + extension(41, counted(ticket * tickets, 2) + counted(
            counted(bytes(32), 1) * tickets, 2))
    return b"\x01" + counted(b"\x03\x03" + os.urandom(32) + b"\0" + counted(b"\x13\x01", 2) + b"\x01\0" +
                             counted(extensions, 2), 3)


class OpenSsl:
    """A client of TLS 1.3 by libssl itself, which says more than Python's ssl lets anybody say. It reads only when asked to."""

    KEY_UPDATE_NOT_REQUESTED, KEY_UPDATE_REQUESTED = 0, 1
    libssl = None

    def __init__(self, port, suites=None):
        if OpenSsl.libssl is None:
            OpenSsl.libssl = load_libssl()
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setblocking(True)
        self.context = self.libssl.SSL_CTX_new(self.libssl.TLS_client_method())
        assert suites is None or self.libssl.SSL_CTX_set_ciphersuites(self.context, suites) == 1
        self.ssl = self.libssl.SSL_new(self.context)
        assert self.libssl.SSL_set_fd(self.ssl, self.socket.fileno()) == 1
        assert self.libssl.SSL_connect(self.ssl) == 1

    def write(self, data):
        return self.libssl.SSL_write(self.ssl, data, len(data)) == len(data)

    def read(self):
        buffer = ctypes.create_string_buffer(65536)
        got = self.libssl.SSL_read(self.ssl, buffer, len(buffer))
        assert got > 0
        return buffer.raw[:got]

    def update_key(self, kind=KEY_UPDATE_REQUESTED):
        """Asks the server for a new key of its own, too; False once the connection is broken."""
        return (self.libssl.SSL_key_update(self.ssl, kind) == 1 and
                self.libssl.SSL_do_handshake(self.ssl) == 1)

    def close(self):
        self.libssl.SSL_free(self.ssl)
        self.libssl.SSL_CTX_free(self.context)
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def load_libssl():
    library = ctypes.CDLL("libssl.so.3")
    for name, result, *arguments in [
            ("TLS_client_method", ctypes.c_void_p), ("SSL_CTX_new", ctypes.c_void_p, ctypes.c_void_p),
            ("SSL_new", ctypes.c_void_p, ctypes.c_void_p), ("SSL_set_fd", ctypes.c_int, ctypes.c_void_p, ctypes.c_int),
            ("SSL_connect", ctypes.c_int, ctypes.c_void_p), ("SSL_do_handshake", ctypes.c_int, ctypes.c_void_p),
            ("SSL_key_update", ctypes.c_int, ctypes.c_void_p, ctypes.c_int), ("SSL_free", None, ctypes.c_void_p),
            ("SSL_write", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int),
            ("SSL_read", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int),
            ("SSL_CTX_set_ciphersuites", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p),
            ("SSL_CTX_free", None, ctypes.c_void_p)]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Sealed:
    """A client of TLS 1.3 that seals records of its own making, of any type, behind a proper handshake."""

    def __init__(self, port, folder):
        keys = pathlib.Path(folder) / "keys.log"
        keys.unlink(missing_ok=True)
        context = client_context(version=ssl.TLSVersion.TLSv1_3)
        context.keylog_filename = str(keys)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.socket.sendall(outgoing.read())
                incoming.write(self.socket.recv(65536))
        self.socket.sendall(outgoing.read())
        assert tls.cipher()[0] == "TLS_AES_128_GCM_SHA256"
        ours, servers = (bytes.fromhex(re.search(rf"^{name}_TRAFFIC_SECRET_0 \w+ (\w+)$", keys.read_text(), re.M).group(1))
                         for name in ("CLIENT", "SERVER"))
        self.use(ours)
        self.servers_secret = servers
        self.left = incoming.read()  # behind the server's Finished, if it came at once

    def use(self, secret):
        self.secret, self.number = secret, 0
        self.cipher = AESGCM(expand(secret, b"key", 16))
        self.iv = int.from_bytes(expand(secret, b"iv", 12), "big")

    def record(self, kind, data, padding=0):
        """RFC 8446 section 5.2; its type is inside, behind the data."""
        head = b"\x17\x03\x03" + (len(data) + 1 + padding + 16).to_bytes(2, "big")
        nonce = (self.iv ^ self.number).to_bytes(12, "big")
        self.number += 1
        return head + self.cipher.encrypt(nonce, data + bytes([kind]) + bytes(padding), head)

    def key_update(self, wants_answer=False):
        sealed = self.record(22, b"\x18\x00\x00\x01" + bytes([wants_answer]))
        self.use(expand(self.secret, b"traffic upd", 32))
        return sealed


    def open_all(self, data):
        """What the server has said behind the handshake, `data` being all that was read since: (type, content) each."""
        secret, number, said = self.servers_secret, 0, []
        data = self.left + data
        while data:
            length = int.from_bytes(data[3:5], "big")
            assert data[:3] == b"\x17\x03\x03" and len(data) >= 5 + length
            iv = int.from_bytes(expand(secret, b"iv", 12), "big")
            inner = AESGCM(expand(secret, b"key", 16)).decrypt((iv ^ number).to_bytes(12, "big"), data[5:5 + length], data[:5])
            inner = inner.rstrip(b"\0")
            said.append((inner[-1], inner[:-1]))
            data, number = data[5 + length:], number + 1
            if said[-1][0] == 22 and said[-1][1][0] == 24:
                secret, number = expand(secret, b"traffic upd", 32), 0
        return said


class Renegotiating:
    """A client of TLS 1.2 that seals hellos of its own making behind a proper and full handshake, in AES-128-GCM."""

    HELLO = b"\x01\x00\x00\x2b\x03\x03" + bytes(32) + b"\x00\x00\x02\xc0\x2b\x01\x00\x00\x00"

    def __init__(self, plain, folder):
        self.socket = plain
        keys = pathlib.Path(folder) / "keys.log"
        keys.unlink(missing_ok=True)
        context = client_context(version=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE+AES128+AESGCM")
        context.keylog_filename = str(keys)
        incoming, outgoing, said = ssl.MemoryBIO(), ssl.MemoryBIO(), b""
        tls = context.wrap_bio(incoming, outgoing)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.sendall(outgoing.read())
                got = plain.recv(65536)
                if not got:
                    raise ConnectionError("closed in the handshake") from None
                said += got
                incoming.write(got)
        plain.sendall(outgoing.read())
        client, master = (bytes.fromhex(one) for one in re.search(r"^CLIENT_RANDOM (\w+) (\w+)$", keys.read_text(), re.M).groups())
        block = prf(master, b"key expansion" + said[11:43] + client, 40)  # its random, behind two heads and a version
        self.cipher, self.salt, self.number = AESGCM(block[:16]), block[32:36], 1  # Finished was the first

    def hello(self):
        """RFC 5288 section 3: one more record, of one hello."""
        number = self.number.to_bytes(8, "big")
        self.number += 1
        head = number + b"\x16\x03\x03" + len(self.HELLO).to_bytes(2, "big")
        sealed = number + self.cipher.encrypt(self.salt + number, self.HELLO, head)
        return b"\x16\x03\x03" + len(sealed).to_bytes(2, "big") + sealed


def prf(secret, seed, length):
    """P_SHA256 of RFC 5246 section 5."""
    made, block = b"", seed
    while len(made) < length:
        block = hmac.digest(secret, block, "sha256")
        made += hmac.digest(secret, block + seed, "sha256")
    return made[:length]


def expand(secret, label, length):
    """HKDF-Expand-Label of RFC 8446 section 7.1, of one block."""
    name = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\x00\x01"
    return hmac.new(secret, info, hashlib.sha256).digest()[:length]
