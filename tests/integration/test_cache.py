"""The response cache: what is kept, for whom, for how long, and that one fetch serves a crowd."""
import asyncio
import gzip
import threading
import time

import pytest

from harness import plain_http, wait_for

TEXT = b"the same words again and again\n" * 200


class Origin:
    """Answers by path; counts are the harness's."""

    def __init__(self):
        self.version = 1
        self.fields = {}
        self.status = 200

    def __call__(self, request):
        fields = {"content-type": "text/plain", "cache-control": "max-age=60", **self.fields.get(request.path, {})}
        return self.status, {k: v for k, v in fields.items() if v is not None}, TEXT + str(self.version).encode()


@pytest.fixture
def site(launch, upstream):
    origin = Origin()
    backend = upstream(origin)
    gateway = launch({
        "policies": {"cache": {"memory_max": "4MiB", "object_max": "64KiB", "stale_if_error": "10m"}},
        "clusters": {"app": {"endpoints": [backend.address], "breaker": {"enabled": False}, "connect_retries": 0,
                             "concurrency": {"kind": "fixed", "limit": 64}}},
        "routes": [
            {"name": "plain", "match": {"prefix": "/plain/"}, "to": "cluster:app"},
            {"name": "short", "match": {"prefix": "/short/"}, "to": "cluster:app", "cache": {"ttl": "1s"}},
            {"name": "own", "match": {"prefix": "/own/"}, "to": "cluster:app", "cache": True, "identity": "optional"},
            {"name": "cached", "match": {"prefix": "/"}, "to": "cluster:app", "cache": True}]})
    gateway.origin, gateway.backend = origin, backend
    return gateway


def results(gateway):
    """An answer is counted once it has left."""
    return gateway.stats()["cache"]["results"]


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_hit_and_miss(site, http2):
    with site.client(http2=http2) as client:
        first = client.get("/a")
        second = client.get("/a")
        assert first.content == second.content == TEXT + b"1"
        assert "age" not in first.headers and int(second.headers["age"]) >= 0
        assert site.backend.count("/a") == 1
        assert client.get("/a?x=1").status_code == 200 and site.backend.count("/a?x=1") == 1
        assert client.get("/a", headers={"host": "other"}).status_code == 200 and site.backend.count("/a") == 2
        wait_for(lambda: results(site)["hit"] == 1 and results(site)["miss"] == 3)
        head = client.head("/a")
        assert head.status_code == 200 and head.content == b"" and site.backend.count("/a") == 2
        client.get("/plain/a"), client.get("/plain/a")
        assert site.backend.count("/plain/a") == 2


@pytest.mark.races
def test_a_crowd_is_one_fetch(site):
    site.backend.gate.clear()

    async def crowd():
        async with site.async_client(http2=True) as one, site.async_client() as two:
            asks = [asyncio.create_task(client.get("/crowd")) for _ in range(50) for client in (one, two)]
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, wait_for,
                                       lambda: site.stats()["gateway"]["requests"]["active"] == 100, 60)
            site.backend.gate.set()
            return await asyncio.gather(*asks)
    answers = asyncio.run(crowd())
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.content for answer in answers} == {TEXT + b"1"}
    assert site.backend.count("/crowd") == 1
    wait_for(lambda: results(site)["coalesced"] == 99 and results(site)["miss"] == 1)


def test_the_crowd_outlives_a_leader_that_leaves(site):
    site.backend.gate.clear()
    leader = site.raw()
    leader.sendall(b"GET /left HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n" % site.port)
    wait_for(lambda: site.backend.count("/left") == 1)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(site.get("/left").status_code)) for _ in range(5)]
    for thread in threads:
        thread.start()
    site.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 6)
    leader.close()
    site.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 5)
    site.backend.gate.set()
    for thread in threads:
        thread.join(30)
    assert answers == [200] * 5 and site.backend.count("/left") == 1


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_validators_give_304(site, http2):
    site.origin.fields["/tagged"] = {"etag": '"v1"', "last-modified": "Mon, 02 Nov 2026 10:00:00 GMT"}
    with site.client(http2=http2, headers={"accept-encoding": "identity"}) as client:
        assert client.get("/tagged").headers["etag"] == '"v1"'
        for headers, status in [({"if-none-match": '"v1"'}, 304), ({"if-none-match": 'W/"v1"'}, 304),
                                ({"if-none-match": '"v0", "v1"'}, 304), ({"if-none-match": "*"}, 304),
                                ({"if-none-match": '"v2"'}, 200),
                                ({"if-modified-since": "Mon, 02 Nov 2026 10:00:00 GMT"}, 304),
                                ({"if-modified-since": "Mon, 02 Nov 2026 09:00:00 GMT"}, 200),
                                ({"if-modified-since": "nonsense"}, 200),
                                ({"if-none-match": '"v2"', "if-modified-since": "Mon, 02 Nov 2026 10:00:00 GMT"}, 200)]:
            answer = client.get("/tagged", headers=headers)
            assert answer.status_code == status, headers
            assert answer.content == (b"" if status == 304 else TEXT + b"1")
            assert answer.headers["etag"] == '"v1"'
        assert site.backend.count("/tagged") == 1


def test_gzip_comes_in_time(site):
    site.origin.fields["/text"] = {"etag": '"v1"'}
    with site.client(headers={"accept-encoding": "gzip"}) as client:
        def packed():
            with client.stream("GET", "/text") as answer:
                return answer if answer.headers.get("content-encoding") == "gzip" else answer.read() and None
        answer = wait_for(packed)
        assert answer.headers["etag"] == '"v1;gz"'
        assert "accept-encoding" in answer.headers["vary"].lower()
        with client.stream("GET", "/text") as raw:
            data = b"".join(raw.iter_raw())
        assert gzip.decompress(data) == TEXT + b"1" and len(data) < len(TEXT) / 4
        for refused in ("identity", "gzip;q=0", "gzip;q=0.5, identity"):
            plain = client.get("/text", headers={"accept-encoding": refused})
            assert "content-encoding" not in plain.headers and plain.content == TEXT + b"1"
        for accept, tags, status, tag in [("gzip", '"v1;gz"', 304, '"v1;gz"'), ("gzip", '"v1"', 304, '"v1"'),
                                          ("br, gzip;q=0.5", '"v0", W/"v1;gz"', 304, '"v1;gz"'),
                                          ("identity", '"v1;gz"', 200, '"v1"'), ("gzip;q=0", '"v1;gz"', 200, '"v1"'),
                                          ("zstd", '"v1;gz"', 200, None), (None, '"v1;gz"', 200, '"v1"')]:
            headers = [("if-none-match", tags), *([("accept-encoding", accept)] if accept else [])]
            client.headers.pop("accept-encoding", None)
            with client.stream("GET", "/text", headers=headers) as same:  # a coding may be made meanwhile
                assert same.status_code == status, (accept, tags)
                assert tag is None or same.headers["etag"] == tag
                assert status == 200 or "content-encoding" not in same.headers
                assert "accept-encoding" in same.headers["vary"].lower()
        plain = client.get("/text", headers={"accept-encoding": "gzip", "cache-control": "No-Transform"})
        assert "content-encoding" not in plain.headers and plain.content == TEXT + b"1"
        with client.stream("GET", "/text", headers=[("accept-encoding", "x-own"), ("accept-encoding", "gzip")]) as two:
            assert two.headers["content-encoding"] == "gzip"
    assert site.stats()["cache"]["variants"] >= 1
    assert site.backend.count("/text") == 1


@pytest.mark.parametrize("fields", [
    {"cache-control": "private, max-age=60"}, {"cache-control": "no-store"}, {"cache-control": "max-age=0"},
    {"cache-control": "no-cache"}, {"cache-control": "max-age=60", "set-cookie": "a=b"},
    {"cache-control": "max-age=60", "vary": "*"},
    {"cache-control": None, "expires": "Thu, 01 Jan 1970 00:00:00 GMT"}, {"cache-control": None},
], ids=lambda fields: str(fields))
def test_what_is_not_kept(site, fields):
    site.origin.fields["/not"] = fields
    for _ in range(2):
        assert site.get("/not").status_code == 200
    assert site.backend.count("/not") == 2


NOT_FETCHED_WITH = ["X-Original-URL", "X_Original_URL", "X-Original-URI", "X-Rewrite-URL", "X-Override-URL", "X-Proxy-URL",
                    "X-HTTP-DestinationURL", "X-Matched-Path", "X-Now-Route-Matches", "X-Nextjs-Data", "X-Envoy-Original-Path",
                    "X-Invoke-Path", "X-Invoke-Status", "X-Middleware-Subrequest", "X_Middleware-Prefetch", "X-Host",
                    "X-Original-Host", "X-HTTP-Host-Override", "Base-URL", "X-HTTP-Method-Override", "X_HTTP_Method_Override",
                    "X-HTTP-Method", "X-Method-Override", "X-URL-Scheme", "Front-End-Https"]


def test_no_page_is_fetched_under_another_name(launch, recorder):
    """What is in no key, but servers take the path, host, method or scheme of a request from, stays out of a shared fetch."""
    def script(peer):
        while peer.read_request() is not None:
            peer.write(b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 2\r\n\r\nok")
    backend = recorder(script)
    gateway = launch({"clusters": {"app": {"endpoints": [backend.address]}},
                      "routes": [{"match": {"prefix": "/own/"}, "to": "cluster:app"},
                                 {"match": {"prefix": "/"}, "to": "cluster:app", "cache": True}]})
    fields = {name: "evil" for name in NOT_FETCHED_WITH}
    assert gateway.get("/shared", headers={**fields, "x-kept": "evil"}).headers["cache-status"].endswith("fwd=uri-miss")
    assert backend.received().count(b"evil") == 1 and b"\r\nx-kept: evil\r\n" in backend.received()
    assert gateway.get("/own/x", headers=fields).status_code == 200
    gone = {"X-Original-URL", "X_Original_URL", "X-Rewrite-URL"}  # from whoever is no trusted proxy, everywhere
    assert backend.received().count(b"evil") == 1 + len(fields) - len(gone)  # where nobody else gets the answer, it is the server's business


def test_what_is_said_to_one_user_is_not_said_to_another(site):
    header = {"authorization": "Bearer " + site.token("anna")}
    for _ in range(2):
        assert site.get("/own/a", headers=header).status_code == 200
    assert site.backend.count("/own/a") == 2
    site.origin.fields["/own/public"] = {"cache-control": "public, max-age=60"}
    assert site.get("/own/public", headers=header).status_code == 200
    assert site.get("/own/public").status_code == 200
    assert site.backend.count("/own/public") == 1


def test_errors_and_large_objects_are_passed_on(site, launch, upstream):
    site.origin.status = 500
    site.origin.fields["/broken"] = {"cache-control": None}
    assert site.get("/broken").status_code == 500
    site.origin.status = 200
    assert site.get("/broken").status_code == 200
    large = upstream(lambda _: (200, {"cache-control": "max-age=60"}, b"x" * 200000))
    gateway = launch({"policies": {"cache": {"object_max": "64KiB"}},
                      "clusters": {"app": {"endpoints": [large.address]}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "cache": True}]})
    for _ in range(2):
        assert len(gateway.get("/large").content) == 200000
    assert large.count() == 2 and gateway.stats()["cache"]["objects"] == 0


def test_memory_is_bounded(site):
    with site.client() as client:
        for number in range(1000):
            client.get(f"/many/{number}")
    cache = site.stats()["cache"]
    assert cache["bytes"] <= cache["bytes_max"] == 4 << 20
    assert cache["evicted"] > 0


def test_ttl_of_the_route_overrides(site):
    site.origin.fields["/short/a"] = {"cache-control": "max-age=0"}
    with site.client() as client:
        assert client.get("/short/a").content.endswith(b"1")
        site.origin.version = 2
        wait_for(lambda: client.get("/short/a").content.endswith(b"2"))
    assert 2 <= site.backend.count("/short/a") <= 3


def test_stale_while_revalidate(site):
    site.origin.fields["/swr"] = {"cache-control": "max-age=1, stale-while-revalidate=600"}
    with site.client() as client:
        client.get("/swr")
        expired = time.monotonic() + 1.1
        wait_for(lambda: time.monotonic() > expired)
        site.origin.version = 2
        site.backend.gate.clear()
        for _ in range(5):  # at once, though the backend hangs
            assert client.get("/swr").content.endswith(b"1")
        wait_for(lambda: site.backend.in_flight == 1)
        assert client.get("/swr").headers["cache-status"] == "floodgate; hit; detail=stale"
        site.origin.fields["/swr"] = {"cache-control": "max-age=600"}  # however long it is until we look
        site.backend.gate.set()
        wait_for(lambda: client.get("/swr").content.endswith(b"2"))
    wait_for(lambda: results(site)["stale"] >= 6)
    assert site.backend.count("/swr") == 2


def test_stale_if_error(site):
    site.origin.fields["/old"] = {"cache-control": "max-age=1"}
    with site.client() as client:
        assert client.get("/old").status_code == 200
        assert client.get("/never").status_code == 200
        site.backend.close()
        wait_for(lambda: results(site)["stale"] >= 1 if client.get("/old").status_code == 200 else False)
        assert client.get("/old").content == TEXT + b"1"
        missing = client.get("/not-kept")
        assert missing.status_code == 502


def test_purge(site):
    with site.client() as client:
        for path in ("/p/1", "/p/2", "/q/1"):
            client.get(path)
        site.wait_stats(lambda stats: stats["cache"]["objects"] == 3)
        purged = plain_http.post(site.admin + "/cache/purge?prefix=/p/")
        assert purged.status_code == 200 and purged.json() == {"purged": 2}
        for path in ("/p/1", "/q/1"):
            client.get(path)
        assert site.backend.count("/p/1") == 2 and site.backend.count("/q/1") == 1
        assert plain_http.post(site.admin + "/cache/purge").json()["purged"] == 2
        assert site.stats()["cache"]["objects"] == 0
