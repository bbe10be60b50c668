"""
Answers that come before the request's body is all there (RFC 9113 section 8.1, RFC 9112 section 9.5): the client gets
them whole, and may finish what it is sending where it would not look at them before.
"""
import contextlib
import re
import subprocess

import h2.events
import pytest

from harness import h2_start, h2_until, read_all
from upstreams import SocketServer, cluster

LATE_MAX = 700000


def serve(connection, _):
    """Answers the head, and takes what comes behind it for as long as anything does."""
    file = connection.makefile("rb")
    path = file.readline().split()[1]
    while file.readline() not in (b"\r\n", b""):
        pass
    status = b"400 No" if path == b"/no" else b"200 OK"
    connection.sendall(b"HTTP/1.1 " + status + b"\r\ncontent-length: 5\r\nconnection: close\r\n\r\nearly")
    while connection.recv(65536):
        pass


@pytest.fixture(scope="module")
def site(launch_module):
    server = SocketServer(serve)
    conf = cluster([server.address])
    conf["routes"][0]["body_max"] = "64MiB"
    conf["limits"]["late_body_max"] = LATE_MAX
    yield launch_module(conf)
    server.close()


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("size", [1000, 100000, 600000])
def test_a_client_that_sends_all_before_it_looks(site, tmp_path, version, size):
    (tmp_path / "body").write_bytes(bytes(size))
    done = subprocess.run(["curl", "-sk", version, "-m", "30", "-w", " %{http_code}", "--data-binary",
                           f"@{tmp_path}/body", site.url + "/x"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "early 200"), done


def upload(site, path, size, waits=False):
    """(bytes sent, the stream's end) of an upload that goes on, or begins, behind the answer, as long as it may."""
    connection, state = h2_start(site)
    with connection:
        state.send_headers(1, [(":method", "POST"), (":scheme", "https"), (":authority", "x"), (":path", path)])
        sent, events = 0, []
        if waits:
            connection.sendall(state.data_to_send())
            assert h2_until(connection, state, h2.events.ResponseReceived, events) is not None
        while sent < size and not any(isinstance(event, h2.events.StreamReset) for event in events):
            room = min(state.local_flow_control_window(1), 16384, size - sent)
            if room > 0:
                state.send_data(1, bytes(room), end_stream=sent + room == size)
                sent += room
                connection.sendall(state.data_to_send())
            else:
                connection.sendall(state.data_to_send())
                assert h2_until(connection, state, (h2.events.WindowUpdated, h2.events.StreamReset), events) is not None
        ends = (h2.events.StreamEnded, h2.events.StreamReset)
        if not any(isinstance(event, ends) for event in events):
            assert h2_until(connection, state, ends, events) is not None
        body = b"".join(event.data for event in events if isinstance(event, h2.events.DataReceived))
        resets = [event.error_code for event in events if isinstance(event, h2.events.StreamReset)]
        with contextlib.suppress(OSError):
            connection.sendall(state.data_to_send())
    return sent, body, resets


def test_what_is_longer_than_that_is_reset_behind_the_answer(site):
    sent, body, resets = upload(site, "/x", 5000000)
    assert sent < 5000000 and body == b"early" and resets == [0]


def test_who_is_told_no_is_stopped_at_once(site):
    sent, body, resets = upload(site, "/no", 5000000, waits=True)
    assert sent <= 4 * 65536 and body == b"early" and resets == [0]


@pytest.mark.parametrize("line", ["GET /next HTTP/1.1", "X : y", "X", ": y", "X: y\r\n z", "X: y\nZ: z"])
def test_trailers_that_are_none_behind_a_body_nobody_takes(launch, line):
    """What follows them is not heard either: to others it may be another request, or none."""
    gateway = launch({"limits": {"threads": 1}, "routes": [
        {"match": {"path": "/next"}, "respond": {"body": "next"}}, {"match": {"prefix": "/"}, "respond": {"status": 403}}]})
    next_one = "GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    start = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
    for trailer, answers in ((line, [b"403"]), ("X: y", [b"403", b"200"])):
        with gateway.raw() as connection:
            connection.sendall(f"{start}{trailer}\r\n\r\n{next_one}".encode())
            assert re.findall(rb"HTTP/1\.1 (\d{3}) ", read_all(connection)) == answers, trailer
