"""
test_cache_ranges.py: several ranges of a cached object, or of a file, in one answer (RFC 9110 sections 14.2, 14.6 and
15.3.7.2): every byte of the parts, what is joined, what is refused, and what more than enough gets.
"""
import os
import re

import pytest

from harness import wait_for

DATA = os.urandom(300000)
TAG = '"v1"'
OLD = "Mon, 01 Jan 2024 00:00:00 GMT"
MODIFIED = "Sun, 31 Dec 2023 00:00:00 GMT"


@pytest.fixture(scope="module")
def site(launch_module, upstream_module, tmp_path_factory):
    files = tmp_path_factory.mktemp("files")
    (files / "a.png").write_bytes(DATA)
    os.utime(files / "a.png", (1704000000, 1704000000))
    def answer(request):
        type_of = {"/untyped": {}}.get(request.path, {"content-type": "image/png"})
        return 200, {**type_of, "cache-control": "max-age=600", "etag": TAG, "last-modified": MODIFIED}, DATA
    backend = upstream_module(answer)
    gateway = launch_module({
        "policies": {"cache": {"memory_max": "16MiB", "object_max": "1MiB", "ranges_max": 4}},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "static": {"files": {"root": str(files), "ranges_max": 4}},
        "routes": [{"match": {"path": "/a.png"}, "to": "static:files"},
                   {"match": {"path": "/kept/a.png"}, "strip_prefix": "/kept", "to": "static:files", "cache": True},
                   {"match": {"prefix": "/"}, "to": "cluster:app", "cache": True}]})
    with gateway.client() as client:
        for path in ("/a", "/untyped"):
            wait_for(lambda path=path: "hit" in client.get(path).headers["cache-status"], what="a stored object")
    return gateway


def parts_of(answer):
    """(fields, bytes) of each part, by the letter of RFC 2046."""
    boundary = re.fullmatch(r"multipart/byteranges; boundary=([0-9a-f]{32})", answer.headers["content-type"]).group(1)
    assert int(answer.headers["content-length"]) == len(answer.content)
    pieces = answer.content.split(b"\r\n--" + boundary.encode())
    assert pieces[0] == b"" and pieces[-1] == b"--\r\n"
    found = []
    for piece in pieces[1:-1]:
        head, _, data = piece.partition(b"\r\n\r\n")
        assert head.startswith(b"\r\n")
        found.append((dict(line.decode().split(": ", 1) for line in head[2:].split(b"\r\n")), data))
    return found


@pytest.mark.parametrize("path", ["/a", "/a.png"], ids=["cached", "file"])
@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
@pytest.mark.parametrize("text, runs", [
    ("bytes=0-9,1000-1009", [(0, 9), (1000, 1009)]),
    ("bytes=200000-299999, 0-99999", [(200000, 299999), (0, 99999)]),  # as asked for, not as they lie
    ("bytes=0-0,-1", [(0, 0), (299999, 299999)]),
    ("bytes=5-5,100000-100009,900000-,200000-200001", [(5, 5), (100000, 100009), (200000, 200001)]),
    ("bytes=0-999,500-1499,100000-100001", [(0, 1499), (100000, 100001)]),
])
def test_parts(site, http2, text, runs, path):
    with site.client(http2=http2) as client:
        answer = client.get(path, headers={"range": text})
        tag = client.head(path).headers["etag"]
    assert answer.status_code == 206 and "content-range" not in answer.headers
    assert answer.headers["etag"] == tag and answer.headers["accept-ranges"] == "bytes"
    assert parts_of(answer) == [
        ({"content-type": "image/png", "content-range": f"bytes {first}-{last}/{len(DATA)}"}, DATA[first:last + 1])
        for first, last in runs]


def test_what_has_no_type_has_none_in_its_parts(site):
    answer = site.get("/untyped", headers={"range": "bytes=0-1,9000-9001"})
    assert [set(fields) for fields, _ in parts_of(answer)] == [{"content-range"}] * 2


@pytest.mark.parametrize("path", ["/a", "/a.png"], ids=["cached", "file"])
@pytest.mark.parametrize("text, status, of", [
    ("bytes=0-9,10-19", 206, "bytes 0-19/300000"),          # one run after all: no parts
    ("bytes=0-9,60-69", 206, "bytes 0-69/300000"),          # the gap costs less than a part
    ("bytes=0-9,400000-", 206, "bytes 0-9/300000"),
    ("bytes=300000-,400000-500000", 416, "bytes */300000"),
    ("bytes=-0,300000-", 416, "bytes */300000"),
    ("bytes=0-1,9000-9001,20000-20001,30000-30001,40000-40001", 200, None),  # more than ranges_max
    ("bytes=0-,0-,0-,0-,0-", 200, None),
    ("bytes=0-1,9-5", 200, None),
    ("bytes=0-1;9000-9001", 200, None),
    ("bytes=0-149900,150100-299999", 200, None),  # as parts it would be longer than it is whole
])
def test_one_range_none_or_all(site, text, status, of, path):
    answer = site.get(path, headers={"range": text})
    assert answer.status_code == status and answer.headers.get("content-range") == of
    assert answer.headers.get("content-type") == (None if status == 416 else "image/png")
    if status == 206:
        first, last = map(int, re.match(r"bytes (\d+)-(\d+)/", of).groups())
        assert answer.content == DATA[first:last + 1]
    else:
        assert answer.content == (DATA if status == 200 else b"")


@pytest.mark.parametrize("value, has_parts", [(TAG, True), ('"v2"', False), ('W/"v1"', False), (OLD, False)])
def test_if_range(site, value, has_parts):
    answer = site.get("/a", headers={"range": "bytes=0-1,9000-9001", "if-range": value})
    assert answer.status_code == (206 if has_parts else 200)
    if has_parts:
        assert [data for _, data in parts_of(answer)] == [DATA[:2], DATA[9000:9002]]
    else:
        assert answer.content == DATA


@pytest.mark.parametrize("path", ["/a", "/a.png", "/kept/a.png"], ids=["cached", "file", "cached file"])
def test_if_range_with_a_date(site, path):
    """Good when the answer's Date says that it had rested; also where that Date is ours."""
    date = site.get(path).headers["last-modified"]
    for value, status in ((date, 206), (OLD, 200)):
        assert site.get(path, headers={"range": "bytes=0-1", "if-range": value}).status_code == status


@pytest.mark.parametrize("path", [b"/a", b"/a.png"], ids=["cached", "file"])
def test_a_slow_client_gets_every_byte(site, path):
    """The parts wait in the object or the file, not in copies, while the client reads little by little."""
    with site.raw() as connection:
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nconnection: close\r\n"
                           b"range: bytes=0-139999,150000-289999\r\n\r\n" % site.port)
        connection.settimeout(30)
        data = b""
        while piece := connection.recv(4096):
            data += piece
    assert data.startswith(b"HTTP/1.1 206 ") and DATA[:140000] in data and DATA[150000:290000] in data
