"""
Origins that lie, change and break off, by the hundred: answers mutated byte by byte, and pages whose versions change under
a crowd of clients. What must hold of every single one does not depend on which comes when: a client is never given another
one's bytes, nor a part as the whole, nor under a tag what is not that tag's.
"""
import concurrent.futures
import contextlib
import random
import re
import threading

import httpx

from harness import plain_http
from upstreams import SocketServer, read_request
from wire import connect

CLIENTS = 8
MUTANTS = 300
VISITS = 150  # of each client
PAGES = 8


def site_of(launch, server, silence, **route):
    """Nothing that stands before the servers is to answer for them; who says nothing for `silence` has said all."""
    quiet = {"breaker": {"enabled": False}, "outlier": False, "concurrency": {"kind": "fixed", "limit": 50},
             "response_head_timeout": silence, "response_idle_timeout": silence}
    return launch({
        "listeners": lambda fg: [{"name": "public", "address": f"127.0.0.1:{fg.port}", "certificate": str(fg.certificate),
                                  "private_key": str(fg.key)},
                                 {"name": "plain", "address": f"127.0.0.1:{fg.redirect_port}", "kind": "plain"}],
        "clusters": {"up": {"endpoints": [server.address], **quiet}},
        "policies": {"cache": {"memory_max": "4MiB", "object_max": "64KiB", "compress_min": "1KiB", "stale_if_error": "10s"}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:up", **route}]})


def crowd(work, items):
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        return [result for results in pool.map(work, items) for result in results]


# ---- answers that are mutated ----

PIECES = [b"\r\n", b"\r", b"\n", b"\0", b" ", b":", b"-1", b"+5", b"0x10", b";", b"\xff", b"\r\n\r\n", b"0\r\n\r\n", b"HTTP/1.0 ",
          b"HTTP/1.1 200 OK\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 101 S\r\n\r\n", b"HTTP/1.1 100\r\n\r\n", b"ffffffffffffffff\r\n",
          b"content-length: 5\r\n", b"content-length: 18446744073709551616\r\n", b"transfer-encoding: chunked\r\n",
          b"transfer-encoding: gzip, chunked\r\n", b"transfer-encoding:\x0bchunked\r\n", b"connection: close\r\n",
          b"connection: content-length\r\n", b"upgrade: websocket\r\nconnection: upgrade\r\n", b"A" * 20000,
          b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"]


def answer_of(dice, number):
    """(how it is framed, its body, its bytes)"""
    body = b"<%d>" % number + b"x" * dice.choice([0, 1, 10, 5000, 70000])
    how = dice.choice(["length", "length", "chunks", "close"])
    interim = dice.choice([b"", b"", b"HTTP/1.1 103 Early\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"])
    if how == "length":
        return how, body, interim + b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    if how == "close":
        return how, body, interim + b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + body
    size = dice.choice([7, 1000]) if len(body) < 6000 else 4000
    runs = [body[at:at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(run), run) for run in runs)
    return how, body, interim + b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def mutate(dice, data):
    near = min(len(data), data.find(b"200 OK") + 120)  # in the heads, or the first chunks
    at = dice.randrange(near)
    how = dice.choice(["cut", "flip", "insert", "delete", "append"])
    if how == "cut":
        return how, data[:dice.randrange(len(data))]
    if how == "flip":
        return how, data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1:]
    if how == "insert":
        return how, data[:at] + dice.choice(PIECES) + data[at:]
    if how == "delete":
        return how, data[:at] + data[at + dice.randrange(1, 6):]
    return how, data + dice.choice(PIECES)


class Mutant:
    def __init__(self, number):
        dice = random.Random(number)
        self.framing, self.body, whole = answer_of(dice, number)
        self.how, self.data = mutate(dice, whole)
        self.dribble = dice.choice([0, 0, 20])
        self.stays = dice.random() < 0.5  # keeps the connection, or what is left of it


def mutants(connection, _):
    file = connection.makefile("rb")
    while (request := read_request(file)) is not None:
        mutant = Mutant(int(request[0].split()[1][1:]))
        for at in range(mutant.dribble):
            connection.sendall(mutant.data[at:at + 1])
        connection.sendall(mutant.data[mutant.dribble:])
        if not mutant.stays:
            return


def client_reads(data):
    """(status, body, is it whole?) as a client of HTTP/1.1 understands it."""
    while True:
        head, _, data = data.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        if status >= 200:
            break
    length = re.search(rb"\r\ncontent-length: (\d+)", head)
    if length is not None:
        return status, data[:int(length[1])], len(data) >= int(length[1]) or status == 304
    if b"\r\ntransfer-encoding: chunked" not in head:
        return status, data, status in (204, 304)
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        if int(size, 16) == 0:
            return status, body, data.endswith(b"\r\n")
        body, data = body + data[:int(size, 16)], data[int(size, 16) + 2:]
    return status, body, False


def ask_mutant(gateway, number):
    mutant = Mutant(number)
    with connect(gateway.redirect_port) as connection:
        connection.sendall(b"GET /%d HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % number)
        data = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                data += piece
    if data == b"":
        return  # its head broke off behind an interim answer's
    status, body, is_whole = client_reads(data)
    others = [int(one) for one in re.findall(rb"<(\d+)>", body)]
    if status >= 500 and b'"backend_' in body:
        return
    if mutant.how in ("cut", "append"):
        yield from (f"{number}: {mutant.how}: bytes of {one}" for one in others if one != number)
    if mutant.how == "cut" and mutant.framing != "close" and is_whole and body != mutant.body:
        yield f"{number}: {len(body)} of {len(mutant.body)} bytes as the whole"
    if mutant.how == "append" and mutant.framing != "close" and b"evil" in body:
        yield f"{number}: what came behind the end was passed on"


def test_mutated_answers(launch):
    server = SocketServer(mutants)
    with contextlib.closing(server):
        gateway = site_of(launch, server, "300ms")
        wrong = crowd(lambda number: list(ask_mutant(gateway, number)), range(MUTANTS))
        assert wrong == [] and gateway.process.poll() is None


# ---- pages that change ----

class Pages:
    """Each page is one version or another; all of a version's bytes follow from its tag."""

    def __init__(self):
        self.versions = [0] * PAGES
        self.lock = threading.Lock()

    @staticmethod
    def body(page, version):
        dice = random.Random(page * 1000 + version)
        size = dice.choice([0, 100, 1500, 9000, 40000, 90000])
        return (b"<%d-%d>" % (page, version) + bytes(dice.choices(b"abcdefgh ", k=64)) * (size // 64 + 1))[:size]

    def turn(self, dice, page):
        with self.lock:
            self.versions[page] += dice.random() < 0.15
            return self.versions[page]

    def serve(self, connection, number):
        dice = random.Random(number)
        file = connection.makefile("rb")
        while (request := read_request(file)) is not None:
            head = request[0].decode("latin-1")
            page = int(head.split()[1][1:])
            version = self.turn(dice, page)
            data, goes_on = self.answer(dice, head, f'"{page}-{version}"', self.body(page, version))
            connection.sendall(data)
            if not goes_on:
                return

    @staticmethod
    def answer(dice, head, tag, body):
        """(bytes, whether the connection stays)"""
        told = dice.choice(["max-age=1", "max-age=0", "max-age=60", "max-age=0, stale-while-revalidate=5", "no-cache", "s-maxage=2"])
        more = dice.choice(["", "", "vary: x-v\r\n", "content-type: text/html\r\n", "content-encoding: identity\r\n"])
        fields = f"etag: {dice.choice(['', '', 'W/'])}{tag}\r\ncache-control: {told}\r\n{more}"
        chance = dice.random()
        if head.startswith("POST "):
            return b"HTTP/1.1 204 No\r\n\r\n", True
        if tag in head and chance < 0.8:
            return f"HTTP/1.1 304 Not Modified\r\n{fields}\r\n".encode(), True
        if chance < 0.04:
            return b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops", True
        if chance < 0.06:
            return b'HTTP/1.1 304 Not Modified\r\netag: "lie"\r\n\r\n', True
        if chance < 0.11:
            who = re.search(r"\r\nx-who: (\S+)", head)[1].encode()
            return (b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nset-cookie: a=b\r\nx-own: 1\r\ncontent-length: %d\r\n\r\n" % len(who)
                    + who), True
        framing = dice.choice(["length", "length", "chunks", "close"])
        if framing == "length":
            data = f"HTTP/1.1 200 OK\r\n{fields}content-length: {len(body)}\r\n\r\n".encode() + body
        elif framing == "chunks":
            chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
            data = f"HTTP/1.1 200 OK\r\n{fields}transfer-encoding: chunked\r\n\r\n".encode() + chunk + b"0\r\n\r\n"
        else:
            return f"HTTP/1.1 200 OK\r\n{fields}connection: close\r\n\r\n".encode() + body, False
        if body and dice.random() < 0.06:
            return data[:len(data) - len(body) // 2 - 1], False
        return data, True


def question(dice, who):
    """A method and fields, of all that a cache looks at."""
    fields = {"x-who": f"{who}-{dice.randrange(10 ** 9)}", "accept-encoding": dice.choice(["identity", "gzip"])}
    extra = {"x-v": ["a", "b", None, None], "cache-control": ["no-cache", "max-age=0", "no-store", "max-stale"] + [None] * 20,
             "range": ["bytes=0-9", "bytes=5-5000", "bytes=-100", "bytes=99999999-"] + [None] * 12,
             "authorization": ["mine"] + [None] * 20}
    fields |= {name: value for name, values in extra.items() if (value := dice.choice(values)) is not None}
    return dice.choice(["GET"] * 12 + ["HEAD", "POST"]), fields


def verdict(page, fields, answer):
    """What is wrong with it, or None."""
    tag = re.fullmatch(r'(?:W/)?"(\d+)-(\d+)(?:;gz)?"', answer.headers.get("etag", ""))
    if "x-own" in answer.headers:
        return None if answer.text == fields["x-who"] else "what was said to another"
    if answer.status_code == 304 and "bypass" not in answer.headers["cache-status"]:
        return "a 304 that was not asked for"
    if answer.status_code not in (200, 206):
        return None
    if tag is None or int(tag[1]) != page:
        return "the tag of something else"
    if len(answer.headers.get_list("content-encoding")) > 1:
        return "two codings"
    whole = Pages.body(page, int(tag[2]))
    if answer.status_code == 200:
        return None if answer.content == whole else "not what its tag names"
    first, last, size = map(int, re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers["content-range"]).groups())
    return None if size == len(whole) and answer.content == whole[first:last + 1] else "not the range of what its tag names"


def visit(gateway, who):
    dice = random.Random(who)
    with gateway.client(http2=who % 2 == 0) as client:
        for _ in range(VISITS):
            page = dice.randrange(PAGES)
            method, fields = question(dice, who)
            try:
                if dice.random() < 0.05:
                    with client.stream("GET", f"/{page}", headers=fields) as answer:
                        next(answer.iter_raw(), None)  # and leaves amid it
                    continue
                answer = client.request(method, f"/{page}", headers=fields)
            except httpx.RemoteProtocolError:
                continue  # it broke off, and that shows
            wrong = verdict(page, fields, answer) if method == "GET" else None
            if wrong is not None:
                yield page, fields, wrong, answer.status_code, dict(answer.headers)
            if dice.random() < 0.02:
                plain_http.post(f"{gateway.admin}/cache/purge?path=/{dice.randrange(PAGES)}")


def test_pages_that_change_under_a_crowd(launch):
    server = SocketServer(Pages().serve)
    with contextlib.closing(server):
        gateway = site_of(launch, server, "2s", cache=True)
        wrong = crowd(lambda who: list(visit(gateway, who)), range(CLIENTS))
        assert wrong == []
        cache = gateway.stats()["cache"]
        assert cache["revalidated"] > 0 and cache["stored"] > 0 and cache["hit_ratio"] > 0.1, cache
