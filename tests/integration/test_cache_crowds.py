"""
Many at once before one cached object: all read from one fetch as it arrives, whoever leaves; what is
not for sharing, fails, or is too large meets the backend in an orderly way. And what operators do:
pins, tags, codings, pressure.
"""
import asyncio
import concurrent.futures
import contextlib
import ctypes
import gzip
import http.client
import os
import signal
import threading
import time

import httpx
import pytest

from harness import plain_http, send_signal, wait_for

TEXT = b"the same words again and again\n" * 400
MIB = 1 << 20


class Origin:
    """Answers by path with what a test put there: (status, fields, body) or a function of the request."""

    def __init__(self):
        self.answers = {}

    def __call__(self, request):
        answer = self.answers[request.path]
        return answer(request) if callable(answer) else answer


def cacheable(body=TEXT, **fields):
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return 200, {"content-type": "text/plain", "cache-control": "max-age=600", **named}, body


def in_pieces(pieces, gates, cache_control="max-age=600", length=None):
    """Sends one piece at a time; before each but the first it waits for its gate."""
    def answer(request):
        request.send_response(200)
        request.send_header("cache-control", cache_control)
        if length is not None:
            request.send_header("content-length", str(length))
        else:
            request.send_header("transfer-encoding", "chunked")
        request.end_headers()
        for number, piece in enumerate(pieces):
            if number > 0:
                gates[number - 1].wait(60)
            request.wfile.write(piece if length is not None else b"%x\r\n%s\r\n" % (len(piece), piece))
            request.wfile.flush()
        if length is None:
            request.wfile.write(b"0\r\n\r\n")
    return answer


@pytest.fixture
def site(launch, upstream):
    origin = Origin()
    backend = upstream(origin)
    gateway = launch({
        "policies": {"cache": {"memory_max": "16MiB", "object_max": "1MiB", "stale_if_error": "10m", "negative_ttl": "10m"}},
        "clusters": {"app": {"endpoints": [backend.address], "breaker": {"enabled": False}, "connect_retries": 0,
                             "concurrency": {"kind": "fixed", "limit": 64}}},
        "routes": [{"name": "pinned", "match": {"prefix": "/pinned/"}, "to": "cluster:app", "cache": "pinned"},
                   {"name": "cached", "match": {"prefix": "/"}, "to": "cluster:app", "cache": True}]})
    gateway.origin, gateway.backend = origin, backend
    return gateway


def results(gateway):
    """An answer is counted once it has left."""
    return gateway.stats()["cache"]["results"]


def active(gateway):
    return gateway.stats()["gateway"]["requests"]["active"]


async def in_thread(function, *args):
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)


@pytest.mark.races
@pytest.mark.parametrize("length", [None, len(TEXT) * 2], ids=["chunked", "content-length"])
def test_all_read_as_it_arrives(site, length):
    gate = threading.Event()
    site.origin.answers["/live"] = in_pieces([TEXT, TEXT], [gate], length=length)

    async def read_one(client, first_half):
        async with client.stream("GET", "/live") as answer:
            assert answer.status_code == 200
            data = b""
            async for piece in answer.aiter_raw():
                data += piece
                if len(data) >= len(TEXT):
                    first_half.release()
            return data

    async def crowd():
        first_half = asyncio.Semaphore(0)
        async with contextlib.AsyncExitStack() as stack:
            # A client each: this one's streams on one connection hold each other up when they are slow.
            clients = [await stack.enter_async_context(site.async_client(http2=number % 2 == 0)) for number in range(20)]
            readers = [asyncio.create_task(read_one(client, first_half)) for client in clients]
            for _ in readers:  # every one has half of it while the origin holds the rest back
                await asyncio.wait_for(first_half.acquire(), 60)
            gate.set()
            return await asyncio.gather(*readers)
    assert set(asyncio.run(crowd())) == {TEXT * 2}
    assert site.backend.count("/live") == 1
    wait_for(lambda: results(site)["miss"] == 1 and results(site)["coalesced"] == 19)
    assert site.get("/live").content == TEXT * 2 and site.backend.count("/live") == 1


def test_a_leader_that_leaves_amid_the_body_ends_nothing(site):
    gate = threading.Event()
    site.origin.answers["/amid"] = in_pieces([TEXT, TEXT], [gate])
    leader = site.raw()
    leader.sendall(b"GET /amid HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n" % site.port)
    assert leader.recv(100).startswith(b"HTTP/1.1 200")
    leader.close()
    wait_for(lambda: active(site) == 0)
    gate.set()  # nobody reads any more, and the fetch goes on: the next ones profit
    wait_for(lambda: site.stats()["cache"]["objects"] == 1)
    assert site.get("/amid").content == TEXT * 2 and site.backend.count("/amid") == 1


def test_a_fetch_in_a_queue_ends_with_the_last_that_waits(launch, upstream):
    origin, gate = Origin(), threading.Event()
    backend = upstream(origin)
    gateway = launch({
        "clusters": {"app": {"endpoints": [backend.address], "breaker": {"enabled": False},
                             "concurrency": {"kind": "fixed", "limit": 1}, "queue": {"wait_max": "1m", "target": "off"}}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "cache": True, "timeout": "1m"}]})
    origin.answers["/busy"] = in_pieces([b"a", b"b"], [gate], "no-store")
    origin.answers["/left"] = origin.answers["/wanted"] = cacheable()
    answers = []

    def get(path):
        answers.append((path, gateway.get(path).status_code))

    def ask(path):
        connection = gateway.raw()
        connection.sendall(b"GET %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n" % (path.encode(), gateway.port))
        return connection

    threads = [threading.Thread(target=get, args=("/busy",))]
    threads[0].start()
    wait_for(lambda: backend.count("/busy") == 1)
    before = active(gateway)
    leavers = [ask("/left"), ask("/left"), ask("/wanted")]
    wait_for(lambda: active(gateway) >= before + len(leavers))
    threads.append(threading.Thread(target=get, args=("/wanted",)))
    threads[1].start()
    wait_for(lambda: active(gateway) >= before + len(leavers) + 1)
    wait_for(lambda: gateway.gate("app")["queue"]["waiting"] == 2, what="both fetches in the queue")
    for connection in leavers:
        connection.close()
    wait_for(lambda: gateway.gate("app")["queue"]["waiting"] == 1, what="one of them to leave it")
    gate.set()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [("/busy", 200), ("/wanted", 200)]
    assert backend.count("/left") == 0 and backend.count("/wanted") == 1


def test_a_fetch_that_breaks_off_is_cut_for_all(site):
    gate = threading.Event()

    def answer(request):
        request.send_response(200)
        request.send_header("cache-control", "max-age=600")
        request.send_header("content-length", "1000000")
        request.end_headers()
        request.wfile.write(TEXT)
        request.wfile.flush()
        gate.wait(60)
        request.connection.close()
        request.close_connection = True
    site.origin.answers["/cut"] = answer
    failures = []

    def read(http2):
        with site.client(http2=http2) as client, pytest.raises(httpx.TransportError):
            client.get("/cut")
        failures.append(http2)
    threads = [threading.Thread(target=read, args=(http2,)) for http2 in (True, False) * 3]
    for thread in threads:
        thread.start()
    wait_for(lambda: active(site) == 6)
    gate.set()
    for thread in threads:
        thread.join(30)
    assert len(failures) == 6 and site.backend.count("/cut") == 1
    assert site.stats()["cache"]["objects"] == 0


@pytest.mark.races
def test_those_who_wait_for_a_private_answer_go_on_in_order(site):
    users = 100
    site.origin.answers["/mine"] = lambda request: (
        200, {"cache-control": "private"}, request.headers["x-user"].encode())
    site.backend.gate.clear()

    async def crowd():
        async with site.async_client(http2=True) as client:
            asks = [asyncio.create_task(client.get("/mine", headers={"x-user": str(user)})) for user in range(users)]
            await in_thread(wait_for, lambda: active(site) == users, 60)
            assert site.backend.count("/mine") == 1
            site.backend.gate.set()
            return await asyncio.gather(*asks)
    answers = asyncio.run(crowd())
    assert [answer.text for answer in answers] == [str(user) for user in range(users)]
    assert site.backend.count("/mine") == users
    wait_for(lambda: results(site)["bypass"] == users - 1)


@pytest.mark.races
@pytest.mark.parametrize("control, is_shared", [("max-age=60", True), ("private", False), ("no-store", False),
                                                ("no-cache", False), ("max-age=0", False)])
def test_what_a_304_says_to_one_alone_is_not_told_to_all(launch, upstream, control, is_shared):
    """The page has not changed, but who asked may stand in the fields that come with that."""
    stored, free = threading.Event(), threading.Event()

    def answer(request):
        if not stored.is_set():
            return 200, {"cache-control": "max-age=60", "age": "61", "etag": '"a"'}, b"page"
        assert free.wait(60)
        has_it = request.headers.get("if-none-match") == '"a"'
        fields = {"cache-control": control, "etag": '"a"', "x-user": request.headers.get("cookie")}
        return (304, fields, b"") if has_it else (200, fields, b"page")

    backend = upstream(answer)
    gateway = launch({"clusters": {"app": {"endpoints": [backend.address]}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "cache": True}]})
    users = [f"user-{number}" for number in range(24)]

    def ask(user):
        answer = gateway.get("/", headers={"cookie": user})
        assert (answer.status_code, answer.text) == (200, "page")
        return answer.headers["x-user"]

    assert gateway.get("/").text == "page"
    stored.set()
    with concurrent.futures.ThreadPoolExecutor(len(users)) as pool:
        told = [pool.submit(ask, user) for user in users]
        gateway.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == len(users), what="all of them")
        free.set()
        told = [one.result() for one in told]
    assert told == ([told[0]] * len(users) if is_shared else users)
    later = gateway.get("/", headers={"cookie": "later"}).headers["x-user"]
    assert later == (told[0] if is_shared else "later")


@pytest.mark.parametrize("field, status", [("authorization", 404), ("authorization", 410), ("authorization", 500),
                                           ("authorization", 503), ("cookie", 404), ("cookie", 410)])
def test_an_error_for_one_user_is_not_told_to_another(launch, upstream, field, status):
    """What they may not see is not there, for them: its owner comes amid them."""
    free = threading.Event()

    def answer(request):
        assert free.wait(60)
        is_owner = request.headers.get(field) == "user owner"
        return (200, {"cache-control": "private"}, b"mine") if is_owner else (status, {}, b"not for you")

    backend = upstream(answer)
    gateway = launch({"clusters": {"app": {"endpoints": [backend.address], "breaker": {"enabled": False}}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "cache": True}]})
    users = [f"other-{number}" for number in range(4)] + ["owner"] + [f"more-{number}" for number in range(4)]
    with concurrent.futures.ThreadPoolExecutor(len(users)) as pool:
        told = {}
        for count, user in enumerate(users, 1):
            told[user] = pool.submit(gateway.get, "/order", headers={field: f"user {user}"})
            gateway.wait_stats(lambda stats, count=count: stats["gateway"]["requests"]["active"] == count, what=user)
        free.set()
        told = {user: (one.result().status_code, one.result().text) for user, one in told.items()}
    assert told.pop("owner") == (200, "mine")
    assert set(told.values()) == {(status, "not for you")}


@pytest.mark.races
def test_a_dying_backend_is_asked_by_few_at_a_time(launch, upstream):
    """Errors that may not be shared: everybody asks for himself, but never more at once than at first."""
    lock, asked = threading.Lock(), {"now": 0, "most": 0}

    def answer(request):
        with lock:
            asked["now"] += 1
            asked["most"] = max(asked["most"], asked["now"])
        backend.gate.wait(60)
        time.sleep(0.01)  # long enough that those who are let on meet
        with lock:
            asked["now"] -= 1
        return 503, {}, request.headers["authorization"].encode()

    backend = upstream(answer)
    gateway = launch({"policies": {"cache": {"unshared_at_once": 5}},
                      "clusters": {"app": {"endpoints": [backend.address], "breaker": {"enabled": False},
                                           "concurrency": {"kind": "fixed", "limit": 200}}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "cache": True}]})
    backend.gate.clear()
    users = [f"user {number}" for number in range(80)]
    with concurrent.futures.ThreadPoolExecutor(len(users)) as pool:
        told = [pool.submit(gateway.get, "/order", headers={"authorization": user}) for user in users]
        gateway.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == len(users), what="all of them")
        backend.gate.set()
        assert [one.result().text for one in told] == users
    assert asked["most"] <= 6  # one is done while the next is let on


@pytest.mark.races
@pytest.mark.parametrize("has_stale", [False, True])
@pytest.mark.parametrize("status", [404, 503])
def test_nobody_in_a_crowd_is_forgotten(launch, upstream, status, has_stale):
    """Those who wait first for one and then for another answer that is not for them: every one has his own in the end."""
    stored = threading.Event()

    def answer(request):
        if has_stale and not stored.is_set():
            return 200, {"cache-control": "public, max-age=60, stale-if-error=600", "age": "61", "etag": '"a"'}, b"stale"
        return status, {}, request.headers["authorization"].encode()

    backend = upstream(answer)
    gateway = launch({"clusters": {"app": {"endpoints": [backend.address], "breaker": {"enabled": False},
                                           "concurrency": {"kind": "fixed", "limit": 200}}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "cache": True}]})
    if has_stale:
        assert gateway.get("/order").text == "stale"
    stored.set()
    backend.gate.clear()
    users = [f"user {number}" for number in range(120)]
    with concurrent.futures.ThreadPoolExecutor(len(users)) as pool:
        told = [pool.submit(gateway.get, "/order", headers={"authorization": user}) for user in users]
        gateway.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == len(users), what="all of them")
        backend.gate.set()
        told = [one.result().text for one in told]
    assert told == (["stale"] * len(users) if has_stale and status == 503 else users)


@pytest.mark.parametrize("control", ["public", "must-revalidate", "s-maxage=0"])
def test_an_error_that_is_open_to_all_is_shared(launch, upstream, control):
    """RFC 9111 section 3.5: with leave, what came for one with Authorization is anybody's."""
    backend = upstream(lambda request: (503, {"cache-control": control}, b"down"))
    gateway = launch({"clusters": {"app": {"endpoints": [backend.address], "breaker": {"enabled": False}}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "cache": True}]})
    backend.gate.clear()
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        told = [pool.submit(gateway.get, "/down", headers={"authorization": f"user {number}"}) for number in range(40)]
        gateway.wait_stats(lambda stats: stats["gateway"]["requests"]["active"] == 40, what="all of them")
        backend.gate.set()
        assert {(one.result().status_code, one.result().text) for one in told} == {(503, "down")}
    assert backend.count("/down") <= 12


def test_an_error_costs_the_backend_few_tries(site):
    site.origin.answers["/down"] = 503, {}, b"down"
    site.backend.gate.clear()

    async def crowd():
        async with site.async_client(http2=True) as client:
            asks = [asyncio.create_task(client.get("/down")) for _ in range(100)]
            await in_thread(wait_for, lambda: active(site) == 100, 60)
            site.backend.gate.set()
            return await asyncio.gather(*asks)
    answers = asyncio.run(crowd())
    assert {(answer.status_code, answer.content) for answer in answers} == {(503, b"down")}
    assert site.backend.count("/down") <= 20


def test_a_dead_backend_is_told_to_all_with_their_own_ids(site, launch):
    gateway = launch({"clusters": {"app": {"endpoints": ["127.0.0.1:1"], "connect_retries": 0}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "cache": True}]})

    async def crowd():
        async with gateway.async_client(http2=True) as client:
            return await asyncio.gather(*(client.get("/x") for _ in range(20)))
    answers = asyncio.run(crowd())
    assert {answer.status_code for answer in answers} <= {502, 503}
    for answer in answers:
        assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 20


def test_what_is_too_large_passes_through_a_window(site):
    """4 MiB of no stated length before a limit of 1 MiB: two who were there read all of it, nobody keeps it."""
    pieces = [os.urandom(MIB // 2) for _ in range(8)]
    gates = [threading.Event() for _ in pieces[1:]]
    site.origin.answers["/large"] = in_pieces(pieces, gates)
    bodies = []
    threads = [threading.Thread(target=lambda: bodies.append(site.get("/large").content)) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: active(site) == 2)
    for gate in gates:
        gate.set()
    for thread in threads:
        thread.join(60)
    assert bodies == [b"".join(pieces)] * 2
    cache = site.stats()["cache"]
    assert cache["objects"] == 0 and cache["held_bytes"] == 0
    assert site.get("/large").headers["cache-status"] == "floodgate; fwd=bypass"


def test_an_answer_for_one_ends_with_its_client(site):
    gate = threading.Event()
    ended = threading.Event()

    def answer(request):
        request.send_response(200)
        request.send_header("cache-control", "no-store")
        request.send_header("transfer-encoding", "chunked")
        request.end_headers()
        with contextlib.suppress(OSError):
            while not gate.is_set():
                request.wfile.write(b"1000\r\n%s\r\n" % (b"x" * 4096))
        ended.set()
        request.close_connection = True
    site.origin.answers["/endless"] = answer
    client = site.raw()
    client.sendall(b"GET /endless HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n" % site.port)
    assert client.recv(100).startswith(b"HTTP/1.1 200")
    client.close()
    assert ended.wait(30), "the backend was left writing to nobody"
    gate.set()


def test_a_client_that_leaves_is_no_failure_of_the_origin(site):
    """What is stale stands in for an origin that fails, not for one whose answer somebody did not read to its end."""
    ended = threading.Event()

    def answer(request):
        request.send_response(200)
        request.send_header("cache-control", "no-store")
        request.send_header("transfer-encoding", "chunked")
        request.end_headers()
        with contextlib.suppress(OSError):
            while True:
                request.wfile.write(b"1000\r\n%s\r\n" % (b"x" * 4096))
        ended.set()
        request.close_connection = True
    site.origin.answers["/left"] = 200, {"cache-control": "max-age=60", "age": "61", "etag": '"a"'}, b"stale"
    assert site.get("/left").text == "stale"
    site.origin.answers["/left"] = answer
    client = site.raw()
    client.sendall(b"GET /left HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n" % site.port)
    assert client.recv(100).startswith(b"HTTP/1.1 200")
    client.close()
    assert ended.wait(30)
    site.origin.answers["/left"] = 200, {"cache-control": "no-store"}, b"new"
    assert site.get("/left").text == "new"


# ---- codings ----

def unbrotli(data, room):
    library = ctypes.CDLL("libbrotlidec.so.1")
    out, size = ctypes.create_string_buffer(room), ctypes.c_size_t(room)
    assert library.BrotliDecoderDecompress(ctypes.c_size_t(len(data)), data, ctypes.byref(size), out) == 1
    return out.raw[:size.value]


def unzstd(data, room):
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_decompress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(room)
    size = library.ZSTD_decompress(out, ctypes.c_size_t(room), data, ctypes.c_size_t(len(data)))
    return out.raw[:size]


def raw_get(client, path, **headers):
    with client.stream("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}) as answer:
        return answer, b"".join(answer.iter_raw())


@pytest.mark.parametrize("coding, tag, unpack", [("br", "br", unbrotli), ("zstd", "zs", unzstd),
                                                 ("gzip", "gz", lambda data, _: gzip.decompress(data))])
def test_codings(site, coding, tag, unpack):
    if coding not in site.stats()["cache"]["codings"]:
        pytest.skip("this build cannot make it")
    site.origin.answers["/text"] = cacheable(etag='"v1"', vary="x-kind")
    with site.client() as client:
        def packed():
            answer, data = raw_get(client, "/text", accept_encoding=f"deflate, {coding}")
            return (answer, data) if "content-encoding" in answer.headers else None
        answer, data = wait_for(packed)
        assert answer.headers["content-encoding"] == coding and answer.headers["etag"] == f'"v1;{tag}"'
        assert answer.headers["vary"] == "x-kind, accept-encoding"
        assert int(answer.headers["content-length"]) == len(data) < len(TEXT) / 10
        assert unpack(data, len(TEXT) + 1) == TEXT
        answer, data = raw_get(client, "/text", accept_encoding=coding, if_none_match=f'"v1;{tag}"')
        assert answer.status_code == 304
        answer, data = raw_get(client, "/text", accept_encoding=coding, range="bytes=0-3")
        assert answer.status_code == 206 and data == TEXT[:4] and "content-encoding" not in answer.headers
        answer, data = raw_get(client, "/text", accept_encoding=coding, range="bytes=0-3", if_range=f'"v1;{tag}"')
        assert answer.status_code == 200 and unpack(data, len(TEXT) + 1) == TEXT
        assert client.head("/text", headers={"accept-encoding": coding}).headers["content-encoding"] == coding
    assert site.backend.count("/text") == 1


def test_what_is_not_compressed(site):
    site.origin.answers["/small"] = cacheable(b"x" * 500)
    site.origin.answers["/picture"] = cacheable(content_type="image/png")
    site.origin.answers["/noise"] = cacheable(os.urandom(20000))
    with site.client() as client:
        for path in ("/small", "/picture", "/noise"):
            for _ in range(3):
                answer, _ = raw_get(client, path, accept_encoding="br, gzip")
                assert "content-encoding" not in answer.headers
    assert site.stats()["cache"]["variants"] == 0


# ---- what operators do ----

def test_a_pinned_page_stays_through_anything(site):
    site.origin.answers["/pinned/page"] = 200, {"cache-control": "max-age=1, must-revalidate", "age": "2", "etag": '"a"'}, TEXT
    with site.client() as client:
        assert client.get("/pinned/page").status_code == 200
        wait_for(lambda: site.stats()["cache"]["pinned_objects"] == 1)
        for number in range(40):
            site.origin.answers[f"/fill/{number}"] = cacheable(os.urandom(MIB - 1000))
            client.get(f"/fill/{number}")
        assert site.stats()["cache"]["evicted"] > 20
        site.backend.close()
        for _ in range(5):
            answer = client.get("/pinned/page")
            assert answer.content == TEXT and answer.headers["cache-status"] == "floodgate; hit; detail=stale"
        assert client.get("/fill/0").status_code in (502, 503)
        assert plain_http.post(site.admin + "/cache/purge?path=/pinned/page").json() == {"purged": 1}
        assert client.get("/pinned/page").status_code in (502, 503)


def gateway_pid(site):
    return site.stats()["process"]["pid"]


def test_a_pinned_page_outlives_purges_reloads_and_crashes(site):
    site.origin.answers["/pinned/page"] = 200, {"cache-control": "max-age=600", "etag": '"a"'}, TEXT
    site.origin.answers["/fill/0"] = cacheable(TEXT)

    def page():
        answer = site.get("/pinned/page")
        return answer.status_code, answer.content, answer.headers["cache-status"]

    assert page() == (200, TEXT, "floodgate; fwd=uri-miss")
    assert page() == (200, TEXT, "floodgate; hit")
    site.get("/fill/0")
    wait_for(lambda: site.stats()["cache"]["objects"] == 2)
    assert plain_http.post(site.admin + "/cache/purge").json() == {"purged": 1}
    assert site.stats()["cache"]["pinned_objects"] == 1
    site.origin.answers["/pinned/page"] = 200, {"cache-control": "max-age=600", "etag": '"b"'}, TEXT + b"new"
    assert page()[:2] == (200, TEXT + b"new")  # it is asked about before it is given
    site.backend.close()
    assert plain_http.post(site.admin + "/cache/purge").json() == {"purged": 0}
    assert page() == (200, TEXT + b"new", "floodgate; hit; detail=stale")
    wait_for(lambda: site.stats()["cache"]["pinned_kept"] == 1)
    before = gateway_pid(site)
    site.signal(signal.SIGHUP)
    wait_for(lambda: gateway_pid(site) != before, what="the reload")
    assert page() == (200, TEXT + b"new", "floodgate; hit; detail=stale")
    before = gateway_pid(site)
    send_signal(before, signal.SIGKILL)
    wait_for(lambda: site.readiness() is not None and gateway_pid(site) != before, what="the next gateway")
    assert site.stats()["cache"]["pinned_kept"] == 1
    assert page() == (200, TEXT + b"new", "floodgate; hit; detail=stale")


@pytest.mark.parametrize("directives", ["max-age=60, stale-if-error=6000", "max-age=60, stale-while-revalidate=6000"])
def test_a_failing_origin_is_asked_once_a_second(site, directives):
    site.origin.answers["/ill"] = 200, {"cache-control": directives, "age": "100"}, TEXT
    with site.client() as client:
        client.get("/ill")
        site.origin.answers["/ill"] = 503, {}, b""
        started = time.monotonic()
        for _ in range(200):
            answer = client.get("/ill")
            assert answer.content == TEXT and answer.headers["cache-status"] == "floodgate; hit; detail=stale"
        assert site.backend.count("/ill") <= 2 + (time.monotonic() - started)


def test_a_stale_answer_comes_before_a_timeout(site):
    site.origin.answers["/slow"] = 200, {"cache-control": "max-age=60", "age": "100", "etag": '"a"'}, TEXT
    with site.client() as client:
        client.get("/slow")
        site.backend.gate.clear()
        answer = client.get("/slow", headers={"x-request-timeout-ms": "300"})
        assert answer.content == TEXT and answer.headers["cache-status"] == "floodgate; hit; detail=stale"
        assert client.get("/never", headers={"x-request-timeout-ms": "300"}).status_code == 504
        site.backend.gate.set()


def test_a_full_queue_is_told_to_all_or_hidden_by_what_is_stale(launch, upstream):
    origin = Origin()
    backend = upstream(origin)
    gateway = launch({
        "policies": {"cache": {"stale_if_error": "10m"}},
        "clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 1},
                             "queue": {"requests_max": 1, "wait_max": "60s", "target": "off"}}},
        "routes": [{"name": "cached", "match": {"prefix": "/"}, "to": "cluster:app", "cache": True}]})
    origin.answers.update({"/old": (200, {"cache-control": "max-age=60", "age": "100", "etag": '"a"'}, TEXT),
                           "/busy": cacheable(), "/queued": cacheable()})
    with gateway.client() as client:
        client.get("/old")
        backend.gate.clear()
        threads = [threading.Thread(target=lambda path=path: gateway.get(path)) for path in ("/busy", "/queued")]
        threads[0].start()
        wait_for(lambda: backend.in_flight == 1)
        threads[1].start()
        wait_for(lambda: gateway.gate("app")["queue"]["waiting"] == 1)
        assert client.get("/old").content == TEXT
        refused = client.get("/new")
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "queue_full"
        assert refused.json()["error"]["request_id"] == refused.headers["x-request-id"]
        backend.gate.set()
        for thread in threads:
            thread.join(30)
    gateway.wait_stats(lambda stats: stats["routes"]["cached"]["refused"]["queue_full"] == 1)


@pytest.mark.parametrize("query", ["path=/n/a%20b", "path=/n/a%2520b", "path=%2Fn%2Fa%20b", "prefix=/n/a%20", "tag=a%26b"])
def test_percent_signs_in_what_is_purged(site, query):
    """Decoded as in any query; a path that was not escaped once more for it is found all the same."""
    site.origin.answers.update({"/n/a%20b": cacheable(surrogate_key="a&b"), "/n/ab": cacheable()})
    for path in ("/n/a%20b", "/n/ab"):
        assert site.get(path).status_code == 200
    assert plain_http.post(site.admin + "/cache/purge?" + query).json() == {"purged": 1}
    listed = plain_http.get(site.admin + "/cache/objects?prefix=%2Fn/").json()["objects"]
    assert [entry["path"] for entry in listed] == ["/n/ab"]


def test_tags_of_any_bytes_are_shown(launch, recorder):
    """One object whose origin speaks Latin-1 does not hide all others."""
    def script(peer):
        while (request := peer.read_request()) is not None:
            more = b"cache-tag: caf\xe9,\xff\xfe,plain\r\netag: \"\xe9\"\r\n" if b"/odd " in request[0] else b"cache-tag: caf\xc3\xa9\r\n"
            peer.write(b"HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 2\r\n%s\r\nok" % more)
    gateway = launch({"clusters": {"up": {"endpoints": [recorder(script).address]}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:up", "cache": True}]})
    for path in ("/odd", "/even"):
        assert gateway.get(path).status_code == 200
    listed = {entry["path"]: entry for entry in plain_http.get(gateway.admin + "/cache/objects").json()["objects"]}
    assert listed["/odd"]["tags"] == "caf? ?? plain" and listed["/odd"]["etag"] == '"?"'
    assert listed["/even"]["tags"] == "caf\u00e9"


def test_purge_by_tag_path_and_prefix(site):
    site.origin.answers.update({"/t/1": cacheable(surrogate_key="menu milk-tea"), "/t/2": cacheable(cache_tag="menu,stock"),
                                "/t/2?x=1": cacheable(), "/t/3": cacheable()})

    def purge(query):
        return plain_http.post(site.admin + "/cache/purge?" + query)
    with site.client() as client:
        for path in ("/t/1", "/t/2", "/t/2?x=1", "/t/3"):
            answer = client.get(path)
            assert "surrogate-key" not in answer.headers and "cache-tag" not in answer.headers
        listed = {entry["path"]: entry for entry in plain_http.get(site.admin + "/cache/objects?prefix=/t/").json()["objects"]}
        assert set(listed) == {"/t/1", "/t/2", "/t/2?x=1", "/t/3"}
        assert listed["/t/1"]["tags"] == "menu milk-tea" and listed["/t/2"]["tags"] == "menu stock"
        assert listed["/t/3"]["route"] == "cached" and listed["/t/3"]["lifetime_s"] == 600
        assert listed["/t/3"]["bytes"] == len(TEXT) and not listed["/t/3"]["is_pinned"]
        assert purge("tag=milk").json() == {"purged": 0}
        assert purge("tag=milk-tea").json() == {"purged": 1}
        assert purge("path=/t/2").json() == {"purged": 2}
        client.get("/t/1"), client.get("/t/2")
        assert purge("tag=menu").json() == {"purged": 2}
        assert purge("prefix=/t/").json() == {"purged": 1}
        for bad in ("prefx=/t/", "path=", "path=/a&prefix=/b", "prefix=/a%00"):
            assert purge(bad).status_code == 400
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", site.admin_port, timeout=60)) as plain:
            plain.request("POST", "/cache/purge?path=/t/3%2")  # as it stands there, which httpx would mend
            assert plain.getresponse().status == 400
        assert plain_http.get(site.admin + "/cache/objects?prefx=/t/").status_code == 400
        assert plain_http.get(site.admin + "/cache/purge").status_code == 405


def test_a_purge_reaches_what_is_on_its_way(site):
    site.origin.answers["/way"] = cacheable(b"old")
    site.backend.gate.clear()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(site.get("/way").content))
    thread.start()
    wait_for(lambda: site.backend.count("/way") == 1)
    plain_http.post(site.admin + "/cache/purge?path=/way")
    site.backend.gate.set()
    thread.join(30)
    site.origin.answers["/way"] = cacheable(b"new")
    assert answers == [b"old"] and site.get("/way").content == b"new"


def test_what_is_not_there_is_remembered(site):
    for status in (404, 410):
        path = f"/gone/{status}"
        site.origin.answers[path] = status, {}, b"no"
        for _ in range(3):
            assert site.get(path).status_code == status
        assert site.backend.count(path) == 1


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_not_there_for_one_user_is_there_for_another(site, status):
    """Nobody said for how long: only those who show no cookie share it."""
    def answer(request):
        cookie = request.headers.get("cookie")
        return (200, {"cache-control": "private"}, b"mine") if cookie == "owner" else (status, {}, b"no")
    site.origin.answers["/order"] = answer
    with site.client() as client:
        def ask(cookie=None):
            answered = client.get("/order", headers={"cookie": cookie} if cookie else {})
            return answered.status_code, site.backend.count("/order")
        assert ask("other") == (status, 1)
        assert ask() == (status, 2)  # what the other was told is not kept
        assert ask() == (status, 2)
        assert ask("owner") == (200, 3)
        assert ask("other") == (status, 4)
        assert ask() == (status, 4)  # and what is kept stays
        site.origin.answers["/said"] = status, {"cache-control": "max-age=60"}, b"no"
        for cookie in ("other", "owner"):
            assert client.get("/said", headers={"cookie": cookie}).status_code == status
        assert site.backend.count("/said") == 1


def test_who_waits_with_a_cookie_is_not_told_a_404_of_those_without(site):
    def answer(request):
        is_owner = request.headers.get("cookie") == "owner"
        return (200, {"cache-control": "private"}, b"mine") if is_owner else (404, {}, b"no")
    site.origin.answers["/order"] = answer
    site.backend.gate.clear()
    cookies = [None, "other", None, "owner", None, "owner", "other", None]
    told = []
    with concurrent.futures.ThreadPoolExecutor(len(cookies)) as pool:
        for count, cookie in enumerate(cookies, 1):
            told.append(pool.submit(site.get, "/order", headers={"cookie": cookie} if cookie else {}))
            wait_for(lambda count=count: active(site) == count)
        site.backend.gate.set()
    assert [one.result().text for one in told] == ["mine" if cookie == "owner" else "no" for cookie in cookies]


def test_files_are_looked_at_again_when_they_expire(launch, tmp_path):
    page = tmp_path / "page.txt"
    page.write_bytes(TEXT)
    gateway = launch({"static": {"www": {"root": str(tmp_path), "cache_control": "max-age=0"}},
                      "routes": [{"match": {"prefix": "/"}, "to": "static:www", "cache": True}]})
    with gateway.client() as client:
        assert client.get("/page.txt").content == TEXT
        assert client.get("/page.txt").headers["cache-status"] == "floodgate; fwd=stale; fwd-status=304"
        page.write_bytes(TEXT + b"more")
        assert client.get("/page.txt").content == TEXT + b"more"
        assert client.get("/page.txt", headers={"range": "bytes=-4"}).content == b"more"
        page.unlink()
        assert client.get("/page.txt").status_code == 404


@pytest.mark.parametrize("is_pressed", [False, True])
def test_pressure_makes_stale_good_enough_and_ignores_reloads(launch, upstream, is_pressed):
    origin = Origin()
    backend = upstream(origin)
    gateway = launch({
        "policies": {"cache": {"stale_under_pressure": "10m"},
                     "overload": {"memory_max": "1GiB", "interval": "20ms",
                                  "memory": {"stale_cache": "0.1%/0.1%" if is_pressed else "off"}}},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "cache": True, "priority": "critical"}]})
    gateway.wait_stats(lambda stats: stats["policies"]["overload"]["resources"]["memory"]["used"] > 0)
    assert gateway.stats()["policies"]["overload"]["steps"]["stale_cache"]["taken"] == is_pressed
    origin.answers["/old"] = 200, {"cache-control": "max-age=60", "age": "61", "etag": '"a"'}, TEXT
    origin.answers["/fresh"] = cacheable()
    with gateway.client() as client:
        client.get("/old"), client.get("/fresh")
        stale = client.get("/old").headers["cache-status"]
        reloaded = client.get("/fresh", headers={"cache-control": "no-cache"}).headers["cache-status"]
    assert stale == ("floodgate; hit; detail=stale" if is_pressed else "floodgate; fwd=stale")
    assert reloaded == ("floodgate; hit" if is_pressed else "floodgate; fwd=request")
