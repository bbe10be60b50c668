"""Files that stand compressed beside themselves: which one a client gets, and how it goes with ranges and the cache."""
import gzip
import os

import pytest

from harness import wait_for

TEXT = b"".join(b"line %d of a script that is worth compressing\n" % n for n in range(4000))


@pytest.fixture(scope="module")
def site(launch_module, tmp_path_factory):
    root = tmp_path_factory.mktemp("precompressed")
    (root / "app.js").write_bytes(TEXT)
    (root / "app.js.gz").write_bytes(gzip.compress(TEXT))
    (root / "app.js.zst").write_bytes(b"not looked into")
    (root / "old.js").write_bytes(TEXT)
    (root / "old.js.gz").write_bytes(gzip.compress(b"what it was before"))
    os.utime(root / "old.js.gz", (1, 1))
    gateway = launch_module({
        "limits": {"threads": 1},
        "static": {"files": {"root": str(root), "precompressed": ["gzip", "br"], "cache_control": "public, max-age=600"},
                   "plain": {"root": str(root)}},
        "routes": [{"match": {"prefix": "/plain/"}, "strip_prefix": "/plain", "to": "static:plain"},
                   {"match": {"prefix": "/kept/"}, "strip_prefix": "/kept", "to": "static:files", "cache": True},
                   {"match": {"prefix": "/"}, "to": "static:files"}]})
    gateway.root = root
    return gateway


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_who_takes_it_gets_it(site, http2):
    with site.client(http2=http2) as client:
        def ask(path, accepted, **fields):
            return client.get(path, headers={"accept-encoding": accepted, **fields})
        coded, plain = ask("/app.js", "gzip, br, zstd"), ask("/app.js", "identity")
        assert coded.headers["content-encoding"] == "gzip" and coded.content == TEXT
        assert int(coded.headers["content-length"]) == (site.root / "app.js.gz").stat().st_size < len(TEXT) // 4
        assert "content-encoding" not in plain.headers and plain.content == TEXT
        for answer in (coded, plain):
            assert answer.headers["vary"] == "accept-encoding"
            assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert coded.headers["etag"] != plain.headers["etag"]
        assert ask("/app.js", "gzip", **{"if-none-match": coded.headers["etag"]}).status_code == 304
        assert ask("/app.js", "identity", **{"if-none-match": coded.headers["etag"]}).status_code == 200
        assert ask("/app.js", "gzip;q=0").headers.get("content-encoding") is None
        assert ask("/app.js", "zstd").headers.get("content-encoding") is None  # nobody has asked for those
        old = ask("/old.js", "gzip")
        assert "content-encoding" not in old.headers and old.content == TEXT
        none = ask("/plain/app.js", "gzip")
        assert "content-encoding" not in none.headers and "vary" not in none.headers
        part = ask("/app.js", "gzip", range="bytes=0-9")
        assert part.status_code == 206 and part.headers["content-encoding"] == "gzip"
        assert part.headers["content-range"] == f"bytes 0-9/{(site.root / 'app.js.gz').stat().st_size}"


def test_a_cached_route_makes_its_own(site):
    """It keeps the file as it is and compresses that: one object for all clients."""
    before = site.stats()["backends"]["files"]["precompressed"]
    with site.client() as client:
        answer = wait_for(lambda: (lambda one: one if "content-encoding" in one.headers else None)(
            client.get("/kept/app.js", headers={"accept-encoding": "gzip"})), what="a compressed form")
        assert answer.content == TEXT
        assert client.get("/kept/app.js", headers={"accept-encoding": "identity"}).content == TEXT
    assert site.stats()["backends"]["files"]["precompressed"] == before
