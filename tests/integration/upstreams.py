"""
upstreams.py: servers that the tests of clusters play: HTTP/2 by python3-h2, and raw sockets that say
exactly what the test wants, byte for byte.
Thread   one an accepted connection; all end when the server is closed.
"""
import base64
import contextlib
import json
import hashlib
import socket
import ssl
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import hpack

import wire
from harness import OneThreadSocket


class SocketServer:
    """Calls `serve(connection, number)` in a thread for each connection."""

    def __init__(self, serve, tls=None, host="127.0.0.1", port=0, path=None):
        self.serve, self.tls = serve, tls
        if path is not None:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(path))
            self.address = f"unix:{path}"
        else:
            self.listener = socket.socket()
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind((host, port))
            self.address = "%s:%d" % self.listener.getsockname()[:2]
        self.listener.listen(64)
        self.port = None if path else self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.open = set()
        self.count = 0  # connections so far
        self.handshakes = []  # was each session resumed?
        self.errors = []
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                number, self.count = self.count, self.count + 1
                self.open.add(plain)
            threading.Thread(target=self.run, args=(plain, number), daemon=True).start()

    def run(self, plain, number):
        connection = plain
        try:
            if plain.family != socket.AF_UNIX:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                connection = self.tls.wrap_socket(plain, server_side=True)
                self.handshakes.append(connection.session_reused)
                with self.lock:
                    self.open.discard(plain)
                    self.open.add(connection)
            self.serve(connection, number)
        except (OSError, ssl.SSLError) as error:
            self.errors.append(error)
        finally:
            with self.lock:
                self.open.discard(connection)
            with contextlib.suppress(OSError):
                connection.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            left = list(self.open)
        for connection in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)


def server_tls(certificate, alpn=None, ca=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = OneThreadSocket
    context.load_cert_chain(*map(str, certificate))
    if alpn:
        context.set_alpn_protocols(alpn)
    if ca is not None:
        context.load_verify_locations(str(ca))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def read_request(file):
    """Head and body of one HTTP/1.1 request as bytes; None at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = file.readline()
        if not line:
            return None
        head += line
    fields = {name.strip().lower(): value.strip() for name, _, value in
              (line.partition(b":") for line in head.split(b"\r\n")[1:])}
    body = b""
    if fields.get(b"transfer-encoding") == b"chunked":
        while size := int(file.readline(), 16):
            body += file.read(size)
            file.readline()
        while file.readline() not in (b"\r\n", b""):
            pass
    else:
        body = file.read(int(fields.get(b"content-length", 0)))
    return head, body


class Raw(SocketServer):
    """HTTP/1.1 where `answers` decides: a list, one entry a request in the order of arrival, the
    last for all that follow. An entry is bytes to send, then the connection stays open; or a
    callable(connection, head, body) that returns False to close it."""

    def __init__(self, answers, **keywords):
        self.answers = answers
        self.requests = []
        super().__init__(self.talk, **keywords)

    def talk(self, connection, _):
        file = connection.makefile("rb")
        while (request := read_request(file)) is not None:
            with self.lock:
                number = len(self.requests)
                self.requests.append(request)
            answer = self.answers[min(number, len(self.answers) - 1)]
            if callable(answer):
                if answer(connection, *request) is False:
                    return
            else:
                connection.sendall(answer)


def ok(body=b"ok", status=b"200 OK", fields=b""):
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\n%s\r\n%s" % (status, len(body), fields, body)


def websocket_accept(key):
    """The proof that a server has read the key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def reset(connection):
    """Close so that the other side gets a reset instead of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return False


class H2Stream:
    def __init__(self, fields):
        self.fields = fields
        self.headers = dict(fields)
        self.body = b""
        self.trailers = None
        self.ended = False
        self.reset = None


class H2Server(SocketServer):
    """HTTP/2; `answer(server, h2, stream_id, stream)` is called when a request has ended (or, with
    at_head, when it begins) and uses h2, which is sent afterwards."""

    def __init__(self, answer=None, at_head=False, settings=None, acknowledge=True, **keywords):
        self.answer = answer or self.echo
        self.at_head = at_head
        self.settings = settings or {}
        self.acknowledge = acknowledge
        self.streams = []  # (connection number, stream id, stream)
        self.pending = {}  # (connection number, stream id): bytes left to send
        self.connections = {}
        super().__init__(self.talk, **keywords)

    @staticmethod
    def echo(server, conn, stream_id, stream):
        body = json.dumps({"headers": stream.headers, "bytes": len(stream.body), "trailers": stream.trailers,
                           "sha256": hashlib.sha256(stream.body).hexdigest()}).encode()
        conn.send_headers(stream_id, [(":status", "200"), ("content-type", "application/json"),
                                      ("content-length", str(len(body)))])
        server.send(conn, stream_id, body)

    def send(self, conn, stream_id, body, end=True):
        """As the windows allow; the rest when they open."""
        self.pending.setdefault(conn.fg_number, {})[stream_id] = (body, end)
        self.pump(conn)

    def pump(self, conn):
        for stream_id, (body, end) in list(self.pending.get(conn.fg_number, {}).items()):
            while True:
                room = min(conn.local_flow_control_window(stream_id), conn.max_outbound_frame_size)
                part, body = body[:room], body[room:]
                last = end and not body
                if part or last:
                    conn.send_data(stream_id, part, end_stream=last)
                if not body:
                    del self.pending[conn.fg_number][stream_id]
                    break
                self.pending[conn.fg_number][stream_id] = (body, end)
                if not part:
                    break

    def talk(self, connection, number):
        conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        conn.fg_number = number
        conn.fg_socket = connection
        conn.initiate_connection()
        if self.settings:
            conn.update_settings(self.settings)
        connection.sendall(conn.data_to_send())
        streams = {}
        self.connections[number] = conn
        while data := connection.recv(65536):
            with self.lock:
                for event in conn.receive_data(data):
                    self.take(conn, number, streams, event)
                self.pump(conn)
                out = conn.data_to_send()
            connection.sendall(out)

    def take(self, conn, number, streams, event):
        stream_id = getattr(event, "stream_id", None)
        if isinstance(event, h2.events.RequestReceived):
            streams[stream_id] = H2Stream(event.headers)
            self.streams.append((number, stream_id, streams[stream_id]))
            if self.at_head:
                self.answer(self, conn, stream_id, streams[stream_id])
        elif isinstance(event, h2.events.DataReceived):
            streams[stream_id].body += event.data
            if self.acknowledge:
                conn.acknowledge_received_data(event.flow_controlled_length, stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            streams[stream_id].trailers = event.headers
        elif isinstance(event, h2.events.StreamReset):
            streams[stream_id].reset = event.error_code
            self.pending.get(number, {}).pop(stream_id, None)
        elif isinstance(event, h2.events.StreamEnded):
            streams[stream_id].ended = True
            if not self.at_head:
                self.answer(self, conn, stream_id, streams[stream_id])


class H2Requests:
    """The frames of a client, as requests; what else it says is noted. Answers are whatever bytes the test wants."""

    def __init__(self, connection):
        self.connection, self.buffer, self.decoder = connection, b"", hpack.Decoder()
        self.resets, self.goaways = {}, []
        self.take(len(wire.PREFACE))
        connection.sendall(wire.settings() + wire.frame(wire.SETTINGS, wire.ACK, 0))

    def take(self, count):
        while len(self.buffer) < count:
            piece = self.connection.recv(65536)
            if not piece:
                raise ConnectionError
            self.buffer += piece
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def next_frame(self):
        """Its type, stream and payload; None: there is none any more."""
        try:
            start = self.take(9)
            payload = self.take(int.from_bytes(start[:3], "big"))
        except ConnectionError:
            return None
        stream = int.from_bytes(start[5:], "big")
        if start[3] == wire.RST_STREAM:
            self.resets[stream] = int.from_bytes(payload, "big")
        elif start[3] == wire.GOAWAY:
            self.goaways.append(int.from_bytes(payload[4:8], "big"))
        return start[3], stream, payload

    def next_request(self):
        """Its stream and path; None: there is none any more."""
        while (one := self.next_frame()) is not None:
            kind, stream, payload = one
            if kind == wire.HEADERS:
                return stream, dict(self.decoder.decode(payload))[":path"]
        return None

    def hang_up(self):
        """Not before the other side has read: a reset could overtake what was sent."""
        self.connection.shutdown(socket.SHUT_WR)
        while self.connection.recv(65536):
            pass


@contextlib.contextmanager
def serving(*servers):
    try:
        yield servers[0] if len(servers) == 1 else servers
    finally:
        for server in servers:
            server.close()


def wait_a_moment():
    time.sleep(0.02)


def cluster(endpoints, threads=1, **keys):
    """A configuration whose every path leads to these endpoints."""
    return {"routes": [{"name": "all", "match": {"prefix": "/"}, "to": "cluster:api"}],
            "clusters": {"api": {"endpoints": endpoints, **keys}}, "limits": {"threads": threads}}


def figures(gateway, group=None, backend="api"):
    """The cluster's part of /stats."""
    def find(node):
        if isinstance(node, dict):
            if "endpoints" in node and "connections" in node:
                return node
            for value in node.values():
                found = find(value)
                if found is not None:
                    return found
        return None
    stats = find(gateway.stats())
    return stats if group is None else stats[group]
