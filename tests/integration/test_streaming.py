"""Bodies of any length both ways, back-pressure from either end, and answers that outgrow their memory."""
import hashlib
import os
import threading
import time

import httpx
import pytest

from harness import Upstream, read_response, wait_for

MEGABYTES = 10 << 20


def blob():
    return bytes(range(256)) * (MEGABYTES // 256)


@pytest.fixture(scope="module")
def stream(launch_module, upstream_module):
    backend = upstream_module(lambda request: (
        (200, {"content-type": "application/octet-stream"}, blob()) if request.command == "GET"
        else Upstream.echo(request)))
    gateway = launch_module({
        "limits": {"threads": 1, "drain_timeout": "5s", "stream_buffer_max": "64KiB"},
        "clusters": {"app": {"endpoints": [backend.address], "response_idle_timeout": "60s"}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "body_max": "64MiB", "timeout": "2m"}]},
        # Freed memory that the sanitiser keeps aside is not what is measured here.
        env={"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "exitcode=99") + ":quarantine_size_mb=1"})
    gateway.backend = backend
    return gateway


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_ten_megabytes_up_and_down(stream, http2):
    with stream.client(http2=http2, timeout=90) as client:
        down = client.get("/down")
        assert hashlib.sha256(down.content).digest() == hashlib.sha256(blob()).digest()
        up = client.post("/up", content=blob())
        assert up.json()["sha256"] == hashlib.sha256(blob()).hexdigest()

        def pieces():
            for at in range(0, MEGABYTES, 65536):
                yield blob_view[at:at + 65536]
        blob_view = blob()
        up = client.post("/up", content=pieces())
        assert up.json()["sha256"] == hashlib.sha256(blob()).hexdigest()


def resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def test_a_client_that_does_not_read_makes_the_backend_wait(stream):
    stream.get("/down")
    pid = stream.stats()["process"]["pid"]
    before, connections = resident(pid), []
    received = stream.stats()["backends"]["app"]["received_bytes"]
    for _ in range(8):
        connection = stream.raw()
        connection.sendall(b"GET /down HTTP/1.1\r\nhost: x\r\n\r\n")
        connections.append(connection)
    wait_for(lambda: stream.stats()["gateway"]["requests"]["active"] >= 8)

    def settled():
        first = stream.stats()["backends"]["app"]["received_bytes"]
        time.sleep(0.3)  # the figure must stand still, which no single look can tell
        return first > received and first == stream.stats()["backends"]["app"]["received_bytes"]
    wait_for(settled, what="the transfers come to rest")
    moved = stream.stats()["backends"]["app"]["received_bytes"] - received
    # The kernel's socket buffers hold some megabytes of each; the gateway may hold 64 KiB and its
    # read buffers. Unbounded, it would be the whole 80 MiB.
    assert moved < 8 * MEGABYTES
    assert resident(pid) - before < 24 << 20
    for connection in connections:
        file = connection.makefile("rb")
        status, _, body = read_response(file)
        assert status == 200 and len(body) == MEGABYTES
        connection.close()


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_a_backend_that_does_not_read_makes_the_client_wait(launch, upstream, http2):
    backend = upstream(read_body=False, answer=lambda request: (
        200, {}, str(sum(len(piece) for piece in request.body_pieces())).encode()))
    backend.gate.clear()
    gateway = launch({
        "limits": {"threads": 1, "drain_timeout": "5s", "body_timeout": "60s"},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "body_max": "64MiB", "timeout": "2m"}]})
    answers = []

    def upload():
        with gateway.client(http2=http2, timeout=90) as client:
            answers.append(client.post("/up", content=blob()).text)
    sender = threading.Thread(target=upload)
    sender.start()
    wait_for(lambda: backend.in_flight == 1)

    def settled():
        first = gateway.stats()["gateway"]["connections"]["bytes_read"]
        time.sleep(0.3)
        return first == gateway.stats()["gateway"]["connections"]["bytes_read"]
    wait_for(settled, what="the upload comes to rest")
    assert gateway.stats()["backends"]["app"]["upload_buffered_bytes_most"] <= 2 << 20
    backend.gate.set()
    sender.join(60)
    assert answers == [str(MEGABYTES)]


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_a_response_head_that_does_not_fit_costs_only_its_request(launch, upstream, http2):
    def answer(request):
        count = int(request.path[1:])
        return 200, {f"x-field-{number}": "v" * 1000 for number in range(count)}, b"body" * 1000
    backend = upstream(answer)
    gateway = launch({"limits": {"threads": 1, "request_memory_max": "16KiB", "header_max": "4KiB",
                                 "uri_max": "1KiB"},
                      "clusters": {"app": {"endpoints": [backend.address], "breaker": {"enabled": False}}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    pid = gateway.stats()["process"]["pid"]
    for count in (1, 8, 12, 14, 16, 20, 28, 40):
        try:
            with gateway.client(http2=http2) as client:
                assert client.get(f"/{count}").status_code in (200, 502, 503)
        except httpx.TransportError:
            pass  # cut: there was no room even for an error
    assert gateway.get("/1").content == b"body" * 1000
    assert gateway.stats()["process"]["pid"] == pid
    gateway.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 0)
    assert gateway.gate("app")["concurrency"]["in_flight"] == 0
