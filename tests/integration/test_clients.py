"""
test_clients.py: the clients that apps are written with, as they come: Java's HttpClient, Node's fetch and
http2, curl. Each does the same over TLS in HTTP/1.1 and HTTP/2: a GET, a HEAD, ten megabytes both ways,
server-sent events that only go on when the client has seen the one before, gzip, eighty at once.
"""
import hashlib
import os
import pathlib
import shutil
import subprocess
import threading

import pytest

CLIENTS = pathlib.Path(__file__).parent / "clients"
STEPS = ["get", "head", "down", "up", "events", "gzip", "many"]
LARGE = os.urandom(10 << 20)
TEXT = b"the same words again and again\n" * 400


class App:
    def __init__(self):
        self.seen = threading.Semaphore(0)

    def __call__(self, request):
        path = request.path
        if path == "/large":
            return 200, {"x-sha256": hashlib.sha256(LARGE).hexdigest()}, LARGE
        if path == "/digest":
            return 200, {"content-type": "text/plain"}, hashlib.sha256(request.body).hexdigest().encode()
        if path == "/seen":
            self.seen.release()
            return 200, {}, b""
        if path == "/events":
            return self.events(request)
        return 200, {"content-type": "text/plain", "cache-control": "max-age=600"}, TEXT

    def events(self, request):
        request.send_response(200)
        request.send_header("content-type", "text/event-stream")
        request.send_header("transfer-encoding", "chunked")
        request.end_headers()
        for number in range(5):
            event = b"data: %d\n\n" % number
            request.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            request.wfile.flush()
            assert self.seen.acquire(timeout=60), "the client has not seen the event"
        request.wfile.write(b"0\r\n\r\n")


@pytest.fixture(scope="module")
def site(launch_module, upstream_module):
    backend = upstream_module(App())
    return launch_module({
        "limits": {"body_max": "16MiB"},
        "policies": {"cache": {"memory_max": "16MiB"}},
        "clusters": {"app": {"endpoints": [backend.address], "max_connections": 512,
                             "concurrency": {"kind": "fixed", "limit": 256}}},
        "routes": [{"match": {"path": "/small"}, "to": "cluster:app", "body_max": "1KiB"},
                   {"match": {"path": "/text"}, "to": "cluster:app", "cache": True},
                   {"match": {"prefix": "/"}, "to": "cluster:app"}]})


def run(command, site, **environment):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, check=False,
                          env={**os.environ, **environment}, cwd=site.run)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"
    return done.stdout


def need(program):
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program}")


@pytest.mark.parametrize("version", ["HTTP_1_1", "HTTP_2"])
def test_java(site, version):
    need("java")
    out = run(["java", "-XX:TieredStopAtLevel=1", "-Xmx512m", CLIENTS / "Client.java", site.port, site.certificate,
               version], site)
    assert out.split() == [word for step in STEPS for word in ("ok", step)]


@pytest.mark.parametrize("version", ["HTTP_1_1", "HTTP_2"])
def test_node(site, version):
    need("node")
    out = run(["node", CLIENTS / "client.mjs", site.port, version], site, NODE_EXTRA_CA_CERTS=str(site.certificate))
    assert out.split() == [word for step in STEPS for word in ("ok", step)]


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl(site, version, tmp_path):
    need("curl")
    url, base = f"https://localhost:{site.port}", ["curl", "-sS", version, "--cacert", site.certificate, "--fail"]
    spoken = run([*base, "-o", "/dev/null", "-w", "%{http_version}", url + "/text"], site)
    assert spoken == ("2" if version == "--http2" else "1.1")
    run([*base, "-o", tmp_path / "down", url + "/large"], site)
    assert (tmp_path / "down").read_bytes() == LARGE
    (tmp_path / "up").write_bytes(LARGE)
    digest = hashlib.sha256(LARGE).hexdigest()
    assert run([*base, "--data-binary", f"@{tmp_path / 'up'}", url + "/digest"], site) == digest
    assert run([*base, "-T", tmp_path / "up", "-X", "POST", url + "/digest"], site) == digest
    for announced in ([], ["-H", "transfer-encoding: chunked"]):  # refused long before its end, and told so
        assert run(["curl", "-sS", version, "--cacert", site.certificate, "-o", "/dev/null", "-w", "%{http_code}", *announced,
                    "--data-binary", f"@{tmp_path / 'up'}", url + "/small"], site) == "413"
    assert f"content-length: {len(LARGE)}" in run([*base, "-I", url + "/large"], site).lower()
    assert run([*base, "--compressed", url + "/text"], site).encode() == TEXT
    assert run([*base, "-r", "0-3", url + "/text"], site) == "the "
