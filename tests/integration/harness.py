"""
harness.py: starts the real binary with a configuration of the test's own, and what stands around it.
Job      free ports, run directory, certificate, start, wait until ready, stop, verdict on the end.
Never    kills by name; every process is known by its pid, and each is looked after at the end.
Memory   a run directory a gateway, kept when the test failed (its path is in the failure).
"""
import base64
import contextlib
import hashlib
import hmac
import http.client
import http.server
import itertools
import json
import os
import pathlib
import random
import re
import resource
import selectors
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time

import h2.config
import h2.connection
import h2.events
import httpx

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("FG_BINARY", ROOT / "build/asan/gateway/floodgate"))
GOLDEN = ROOT / "tests/golden/models"
DEMO_MODEL = ROOT / "conf/models/demo.gguf"
READY_SECONDS = 120
STOP_SECONDS = 90
REPORT = re.compile(r"ERROR: (Address|Leak|Undefined)\w*Sanitizer|runtime error:|"
                    r"WARNING: ThreadSanitizer|Assertion .* failed")
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:exitcode=99",
    "LSAN_OPTIONS": "exitcode=99:print_suppressions=0",
}


def wait_for(condition, seconds=60, what="the condition"):
    """Polls until `condition()` is truthy and returns that; the bound only ends a failing test."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(0.02)


# Below those that the kernel gives to whoever wants any, client or server: nobody has one between its
# choice and its use. From 11000 on no browser refuses to go to one.
PORTS = range(11000, 32000)
next_ports = itertools.count(random.randrange(len(PORTS)))


def free_ports(count):
    """Different ones; each process of the tests begins somewhere else."""
    probes = []
    with contextlib.ExitStack() as stack:
        while len(probes) < count:
            probe = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # it is taken, or was a moment ago
                probe.bind(("127.0.0.1", PORTS[next(next_ports) % len(PORTS)]))
                probes.append(probe)
        return [probe.getsockname()[1] for probe in probes]


def free_port():
    return free_ports(1)[0]


def environment(extra=None):
    env = {**SANITIZERS, **os.environ}
    env.update(extra or {})
    return env


def run_binary(*arguments, env=None, cwd=None, timeout=180):
    """A command that ends by itself."""
    return subprocess.run([str(BINARY), *map(str, arguments)], capture_output=True, text=True,
                          errors="replace", env=environment(env), cwd=cwd, timeout=timeout, check=False)


def make_certificate(folder):
    crt, key = folder / "dev.crt", folder / "dev.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-days", "2", "-keyout", str(key), "-out", str(crt), "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    return crt, key


def children_of(pid):
    """Pids of the direct children, by /proc."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(entry.name))
    return found


def does_nothing(pid):
    """Stopped, with each of its threads: they do not stop all at once. Or ended."""
    try:
        return all((task / "stat").read_text().rsplit(")", 1)[1].split()[0] in "TZX"
                   for task in pathlib.Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return True


def send_signal(pid, number):
    """
    A pid of /stats may be 0, which for kill() is everyone in the group of the tests. Who is stopped does
    nothing any more when this returns.
    """
    if pid <= 1:
        raise ProcessLookupError(f"no process has pid {pid}")
    os.kill(pid, number)
    if number == signal.SIGSTOP:
        wait_for(lambda: does_nothing(pid), what=f"{pid} stopped")


def workers(gateway):
    return gateway.stats()["inference"]["workers"]


def living_workers(gateway):
    """All of them, ready for each loop: a gateway is ready with the first of them."""
    def all_alive():
        stats = gateway.stats()
        now, loops = stats["inference"]["workers"], stats["gateway"]["threads"]
        return now if all(one["pid"] > 0 and one["connections"] == loops for one in now) else None
    return wait_for(all_alive, what="all workers")


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# ---- TLS ----

class OneThreadSocket(ssl.SSLSocket):
    """
    Says so where one thread reads and another writes at the same time: OpenSSL's state of a connection
    has no lock, and Python lets go of its own in both calls, so that a record gets a bad MAC by chance.
    """

    @contextlib.contextmanager
    def alone(self):
        lock = self.__dict__.setdefault("_one_thread", threading.Lock())
        assert lock.acquire(blocking=False), "two threads use one TLS connection at the same time"
        try:
            yield
        finally:
            lock.release()

    def read(self, *arguments):
        with self.alone():
            return super().read(*arguments)

    def send(self, *arguments):
        with self.alone():
            return super().send(*arguments)


def trusting_context():
    """A client's that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = OneThreadSocket
    return context


# Asks in the clear, each time over a connection of its own. httpx.get() would read all authorities of the
# machine first, for each request: 60 ms of a core.
plain_http = httpx.Client(verify=trusting_context(), trust_env=False, timeout=60,
                          limits=httpx.Limits(max_keepalive_connections=0))


class Floodgate:
    """One running `floodgate serve`."""

    def __init__(self, certificate, sections, env=None, keep_ready=True, descriptors=None):
        self.certificate, self.key = certificate
        self.run = pathlib.Path(tempfile.mkdtemp(prefix="fg-", dir="/tmp"))
        self.port, self.admin_port, self.redirect_port = free_ports(3)
        self.url = f"https://127.0.0.1:{self.port}"
        self.admin = f"http://127.0.0.1:{self.admin_port}"
        self.config = self.run / "floodgate.yaml"
        self.sections = self.with_defaults(sections)
        self.write_config()
        self.stderr_path = self.run / "stderr"
        self.env = environment(env)
        self.process = None
        self.descriptors = descriptors
        self.keep = False
        self.start()
        if keep_ready:
            self.wait_ready()

    def with_defaults(self, sections):
        merged = {
            "listeners": [{"name": "public", "address": f"127.0.0.1:{self.port}",
                           "certificate": str(self.certificate), "private_key": str(self.key)}],
            "admin": {"address": f"127.0.0.1:{self.admin_port}"},
            "limits": {"threads": 2, "drain_timeout": "5s"},
            "identity": {"jwt": {"secret_file": str(self.run / "jwt.key")}},
            "observability": {"log_level": "info"},
        }
        for name, section in sections.items():
            if callable(section):
                section = section(self)
            if isinstance(section, dict) and isinstance(merged.get(name), dict):
                merged[name] = {**merged[name], **section}
            else:
                merged[name] = section
        # A machine with many times more to do than cores is no reason to refuse: only a test may say that it is.
        policies = merged.get("policies", {})
        merged["policies"] = {**policies, "overload": {"loop_lag_max": "60s", "redis_latency_max": "60s",
                                                       **policies.get("overload", {})}}
        if "orders" in merged:
            redis = merged["orders"].setdefault("redis", {})
            if "address" not in redis:
                redis.setdefault("directory", str(self.run / "redis"))
        if "inference" in merged:
            merged["inference"].setdefault("socket_directory", str(self.run / "sockets"))
        return merged

    def write_config(self):
        # JSON is YAML: no second serialiser is needed, and every value is quoted as it must be.
        fresh = self.run / "floodgate.yaml.new"
        fresh.write_text(json.dumps(self.sections, indent=1, ensure_ascii=False))
        fresh.replace(self.config)  # at once, for a reload may be reading it

    # ---- life ----

    def start(self):
        with open(self.stderr_path, "ab") as stderr:
            self.process = subprocess.Popen([str(BINARY), "serve", "-c", str(self.config)],
                                            stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                                            env=self.env, cwd=self.run,
                                            preexec_fn=self.limit_descriptors if self.descriptors else None)

    def limit_descriptors(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))

    @property
    def log(self):
        return self.stderr_path.read_text(errors="replace")

    def readiness(self):
        with contextlib.suppress(httpx.HTTPError):
            return plain_http.get(self.admin + "/readyz", timeout=5)
        return None

    def wait_ready(self):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"floodgate ended with {self.process.returncode}:\n{self.log[-6000:]}")
            answer = self.readiness()
            return answer is not None and answer.status_code == 200
        try:
            wait_for(ready, READY_SECONDS, "readiness")
        except AssertionError as error:
            self.keep = True
            last = self.readiness()
            self.kill()
            raise AssertionError(f"{error}; /readyz: {last.text if last else None}\n{self.log[-6000:]}") from None

    def signal(self, number):
        os.kill(self.process.pid, number)

    def kill(self):
        family = [self.process.pid] + children_of(self.process.pid)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """SIGTERM, and the verdict: exit code 0, nothing left running, no sanitizer report."""
        if self.process is None:
            return
        process, self.process = self.process, None
        if process.poll() is None:
            family = children_of(process.pid)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.keep = True
                left = [pid for pid in family if is_alive(pid)]
                for pid in [process.pid, *left]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()
                raise AssertionError(f"floodgate did not stop within {STOP_SECONDS} s; alive: {left}\n"
                                     f"{self.log[-4000:]}") from None
            left = [pid for pid in family if is_alive(pid)]
        else:
            left = []
        report = REPORT.search(self.log)
        self.keep = self.keep or report is not None or process.returncode != 0
        at = max(0, report.start() - 500) if report else -4000
        assert report is None, f"sanitizer report in {self.stderr_path}:\n{self.log[at:at + 8000]}"
        assert process.returncode == 0, f"exit code {process.returncode}:\n{self.log[-4000:]}"
        assert not left, f"processes left running: {left}"

    def clean(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if not self.keep:
            shutil.rmtree(self.run, ignore_errors=True)

    # ---- clients ----

    def client(self, http2=False, **kwargs):
        kwargs.setdefault("timeout", 60)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        return httpx.Client(base_url=self.url, verify=trusting_context(), http2=http2, limits=limits, trust_env=False,
                            **kwargs)

    def async_client(self, http2=False, **kwargs):
        kwargs.setdefault("timeout", 60)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        return httpx.AsyncClient(base_url=self.url, verify=False, http2=http2, limits=limits, trust_env=False,
                                 **kwargs)

    def get(self, path, **kwargs):
        with self.client() as client:
            return client.get(path, **kwargs)

    def raw(self, alpn="http/1.1", timeout=60, tls=None):
        """A TLS connection to write bytes into, for one thread at a time: send_and_hear() does both in one."""
        context = trusting_context()
        if tls is not None:
            context.minimum_version = context.maximum_version = tls
        if alpn:
            context.set_alpn_protocols([alpn] if isinstance(alpn, str) else alpn)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(plain, server_hostname="localhost")

    def exchange(self, data, **kwargs):
        """Writes, reads to the end of the connection, returns all bytes."""
        with self.raw(**kwargs) as connection:
            connection.sendall(data)
            return read_all(connection)

    # ---- operators' side ----

    def stats(self):
        answer = plain_http.get(self.admin + "/stats")
        assert answer.status_code == 200
        return answer.json()

    def gate(self, backend):
        return self.stats()["policies"]["backends"][backend]

    def wait_stats(self, condition, seconds=60, what="the figure in /stats"):
        return wait_for(lambda: condition(self.stats()), seconds, what)

    def explain(self, request_id):
        """What /explain tells of a request, which is recorded once its answer has left."""
        def record():
            answer = plain_http.get(f"{self.admin}/explain?request_id={request_id}")
            return answer if answer.status_code == 200 else None
        return wait_for(record, what=f"the record of {request_id}").json()

    def session(self, device="device-1", path="/api/session", **kwargs):
        with self.client(**kwargs) as client:
            answer = client.post(path, json={"device_id": device})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def headers(self, device="device-1"):
        return {"authorization": "Bearer " + self.session(device)["token"]}

    def token(self, subject="tester", seconds=3600, key=None, header=None, **claims):
        """A token signed here, for all that the program would not sign itself."""
        secret = key if key is not None else (self.run / "jwt.key").read_bytes()
        now = int(time.time())
        body = {"sub": subject, "iat": now, "exp": now + seconds, "iss": "floodgate", **claims}
        body = {name: value for name, value in body.items() if value is not None}
        return sign(secret, header or {"alg": "HS256", "typ": "JWT"}, body)


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(secret, header, claims):
    text = base64url(json.dumps(header).encode()) + "." + base64url(json.dumps(claims).encode())
    return text + "." + base64url(hmac.new(secret, text.encode(), hashlib.sha256).digest())


# ---- bytes ----

def send_and_hear(connection, pieces, is_enough, seconds=60):
    """
    Sends as many of the pieces as the other side takes, and reads meanwhile, until what it has heard is
    enough, or the connection has ended. Returns all that it has heard.
    """
    pieces, left, heard, end = iter(pieces), memoryview(b""), b"", time.monotonic() + seconds
    connection.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        while not is_enough(heard):
            left = left or memoryview(next(pieces, b""))
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if left else 0)
            try:
                left = left[connection.send(left):] if left else left
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            except OSError:  # it takes no more, but may have said why
                left, pieces = memoryview(b""), iter(())
            try:
                piece = connection.recv(65536)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                selector.modify(connection, wanted)
                assert selector.select(max(0, end - time.monotonic())), f"nothing within {seconds} s after {heard}"
                continue
            except ConnectionError:
                break
            if not piece:
                break
            heard += piece
    return heard


def read_all(connection):
    data = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := connection.recv(65536):
            data += piece
    return data


def read_response(file, method="GET"):
    """One HTTP/1.1 response off a connection's file object: (status, fields, body)."""
    line = file.readline()
    assert line.startswith(b"HTTP/1.1 "), line
    status = int(line.split()[1])
    fields = {}
    while (line := file.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().partition(":")
        fields[name.lower()] = value.strip()
    if status < 200 or status in (204, 304) or method == "HEAD":
        return status, fields, b""
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(file.readline().split(b";")[0], 16):
            body += file.read(size)
            assert file.readline() == b"\r\n"
        assert file.readline() == b"\r\n"
        return status, fields, body
    return status, fields, file.read(int(fields.get("content-length", 0)))


# ---- HTTP/2 by hand ----

def h2_start(site, settings=True):
    connection = site.raw(alpn="h2")
    state = h2.connection.H2Connection(h2.config.H2Configuration(
        client_side=True, header_encoding="utf-8", validate_outbound_headers=False,
        normalize_outbound_headers=False))
    state.initiate_connection()
    connection.sendall(state.data_to_send())
    return connection, state


def h2_until(connection, state, kind, events=None):
    """Events until one of `kind`, or the end of the connection (None); all are put into `events`."""
    connection.settimeout(60)
    events = [] if events is None else events
    while True:
        try:
            data = connection.recv(65536)
        except (ConnectionError, ssl.SSLError):
            return None
        if not data:
            return None
        new = state.receive_data(data)
        events += new
        found = next((event for event in new if isinstance(event, kind)), None)
        if found is not None:
            return found
        with contextlib.suppress(OSError):  # it may be closed already, with something left to read
            connection.sendall(state.data_to_send())


def server_sent_events(lines):
    """(event, data) of a stream of lines; comments are left out."""
    event, data = "message", []
    for line in lines:
        line = line.rstrip("\r\n")  # older versions of httpx leave it on
        if line == "":
            if data:
                yield event, "\n".join(data)
            event, data = "message", []
        elif line.startswith("event:"):
            event = line[6:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].strip())


# ---- an upstream ----

class Upstream:
    """An HTTP/1.1 server with keep-alive; `answer(request)` decides, by default an echo.

    `answer` gets the handler (method `command`, `path`, `headers`, `body`) and returns
    (status, fields, body) or None when it has written by itself.
    """

    def __init__(self, answer=None, port=0, read_body=True, host="127.0.0.1"):
        self.answer = answer or self.echo
        self.requests = []
        self.in_flight = 0
        self.in_flight_most = 0
        self.lock = threading.Lock()
        self.gate = threading.Event()
        self.gate.set()
        self.connections = set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self):
                super().setup()
                outer.connections.add(self.connection)

            def finish(self):
                outer.connections.discard(self.connection)
                with contextlib.suppress(OSError):
                    super().finish()

            def handle_one_request(self):
                with contextlib.suppress(ConnectionError, TimeoutError):
                    super().handle_one_request()
                    return
                self.close_connection = True

            def log_message(self, *_):
                pass

            def body_pieces(self):
                if self.headers.get("transfer-encoding", "").lower() == "chunked":
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        yield self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    left = int(self.headers.get("content-length", 0))
                    while left > 0 and (piece := self.rfile.read(min(left, 65536))):
                        left -= len(piece)
                        yield piece

            def do(self):
                self.body = b"".join(self.body_pieces()) if read_body else b""
                with outer.lock:
                    outer.requests.append((self.command, self.path, dict(self.headers.items())))
                    outer.in_flight += 1
                    outer.in_flight_most = max(outer.in_flight, outer.in_flight_most)
                try:
                    outer.gate.wait(60)
                    reply = outer.answer(self)
                finally:
                    with outer.lock:
                        outer.in_flight -= 1
                if reply is None:
                    return
                status, fields, body = reply
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                if "content-length" not in {name.lower() for name in fields} and status not in (204, 304):
                    self.send_header("content-length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD" and status not in (204, 304):
                    self.wfile.write(body)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do
            do_QUERY = do_PROPFIND = do_LOCK = do
            vars()["do_M-SEARCH"] = do

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True
            request_queue_size = 1024
            allow_reuse_address = True

            def handle_error(self, *_):
                pass

        self.server = Server((host, port), Handler)
        self.port = self.server.server_address[1]
        self.address = f"{host}:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    @staticmethod
    def echo(request):
        body = json.dumps({"method": request.command, "path": request.path, "bytes": len(request.body),
                           "sha256": hashlib.sha256(request.body).hexdigest(),
                           "headers": {name.lower(): value for name, value in request.headers.items()}}).encode()
        return 200, {"content-type": "application/json"}, body

    def count(self, path=None):
        with self.lock:
            return sum(1 for _, one, _ in self.requests if path is None or one == path)

    def close(self):
        """Stops listening and cuts what is open, like a server that died."""
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)


class Recorder:
    """A server of bytes: `script(peer)` runs for each connection; all that came in is kept.

    The default script answers each HTTP/1.1 request with 200 and "ok". `received()` is every byte of
    every connection, in the order in which the connections came.
    """

    class Peer:
        def __init__(self, connection):
            self.connection = connection
            self.data = b""  # all that was ever received
            self.at = 0  # how much of it was read

        def more(self):
            piece = self.connection.recv(65536)
            self.data += piece
            return piece != b""

        def read_until(self, marker):
            """Up to and with the marker; None at the end of the connection."""
            while (end := self.data.find(marker, self.at)) == -1:
                if not self.more():
                    return None
            start, self.at = self.at, end + len(marker)
            return self.data[start:self.at]

        def read(self, count):
            while len(self.data) - self.at < count:
                if not self.more():
                    return None
            start, self.at = self.at, self.at + count
            return self.data[start:self.at]

        def read_request(self):
            """(head, body without its framing) or None."""
            head = self.read_until(b"\r\n\r\n")
            if head is None:
                return None
            lower = head.lower()
            if b"\r\ntransfer-encoding: chunked\r\n" in lower:
                body = b""
                while size := int(self.read_until(b"\r\n").split(b";")[0], 16):
                    body += self.read(size)
                    assert self.read(2) == b"\r\n"
                while self.read_until(b"\r\n") != b"\r\n":
                    pass
                return head, body
            length = re.search(rb"\r\ncontent-length: (\d+)\r\n", lower)
            return head, self.read(int(length.group(1))) if length else b""

        def write(self, data):
            self.connection.sendall(data)

    def __init__(self, script=None):
        self.script = script or self.answer_ok
        self.peers = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = self.Peer(connection)
            self.peers.append(peer)
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        with contextlib.suppress(OSError, TypeError, AttributeError, ValueError):
            self.script(peer)
        with contextlib.suppress(OSError):
            peer.connection.close()

    @staticmethod
    def answer_ok(peer):
        while peer.read_request() is not None:
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    def received(self):
        return b"".join(peer.data for peer in self.peers)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.connection.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)


numbers = itertools.count(1)


def unique(prefix="key"):
    return f"{prefix}-{os.getpid()}-{next(numbers)}"


__all__ = [name for name in globals() if not name.startswith("_")]
assert http.client  # BaseHTTPRequestHandler needs it; named so that it is not taken for unused


def h2_talk_through_tunnel(connection, state, connect):
    """Opens a tunnel on stream 1 to a server that greets, shouts back and says bye; the answer's fields."""
    state.send_headers(1, connect)
    state.send_data(1, b"early ")
    connection.sendall(state.data_to_send())
    events = []
    answer = h2_until(connection, state, h2.events.ResponseReceived, events)

    def text():
        return b"".join(e.data for e in events if isinstance(e, h2.events.DataReceived))
    while text() != b"hello EARLY ":
        assert h2_until(connection, state, h2.events.DataReceived, events)
    state.send_data(1, b"more", end_stream=True)
    connection.sendall(state.data_to_send())
    if not any(isinstance(e, h2.events.StreamEnded) for e in events):
        assert h2_until(connection, state, h2.events.StreamEnded, events)
    assert text() == b"hello EARLY MORE bye"
    return dict(answer.headers)
