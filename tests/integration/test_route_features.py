"""Redirects, direct answers, header edits, CORS, matchers, buffering and idle streams of routes."""
import hashlib
import threading
import time

import pytest

from harness import read_response, run_binary, wait_for


@pytest.fixture(scope="module")
def site(launch_module, upstream_module):
    def answer(request):
        if request.path.startswith("/slow"):
            request.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            for number in range(100):
                request.wfile.write(b"3\r\n%2d\n\r\n" % number)
                request.wfile.flush()
                if number == 3 and "stall" in request.path:
                    gateway.stalled.wait(30)
                time.sleep(0.05)
            request.wfile.write(b"0\r\n\r\n")
            return None
        fields = {"x-from": "backend", "access-control-allow-origin": "https://evil.example"}
        return 200, fields, b"hello"

    backend = upstream_module(answer)
    cors = {"origins": ["https://app.example.org", "https://*.shop.example.org"], "headers": ["authorization", "x-extra"],
            "expose": ["x-request-id"], "credentials": True, "max_age": "5m"}

    def route(name, **more):
        return {"name": name, "match": {"prefix": "/" + name}, **more}

    gateway = launch_module({
        "identity": {"api_keys": [{"user": "robot", "sha256": hashlib.sha256(b"k" * 40).hexdigest()}]},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [
            {"name": "by-query", "match": {"prefix": "/q", "query": {"v": "2", "Flag": "*"}}, "respond": {"body": "two"}},
            {"name": "by-scheme", "match": {"prefix": "/q", "scheme": "http"}, "respond": {"body": "plain"}},
            {"name": "otherwise", "match": {"prefix": "/q"}, "respond": {"body": "other", "type": "text/html"}},
            route("moved", redirect={"replace_prefix": "/new", "status": 301}),
            {"name": "moved-below", "match": {"prefix": "/deep/"}, "redirect": {"replace_prefix": "/x/", "host": "h.example:81"}},
            {"name": "secure", "match": {"prefix": "/secure"}, "redirect": {"https": True, "host": "s.example.org"}},
            {"name": "fixed", "match": {"path": "/fixed"}, "redirect": "/elsewhere"},
            {"name": "nothing", "match": {"path": "/nothing"}, "respond": {"status": 204}},
            {"name": "same", "match": {"path": "/same"}, "respond": {"status": 304}},
            {"name": "edited", "match": {"prefix": "/edited"}, "to": "cluster:app", "identity": "optional",
             "request_headers": {"set": {"X-User": "%{user}", "x-info": "%{client_ip} %{method} %{scheme} %{route}"},
                                 "add": {"x-tag": "one"}, "remove": ["x-secret", "cookie"]},
             "response_headers": {"set": {"x-from": "gateway %{request_id}"}, "add": {"x-path": "%{path}"},
                                  "remove": ["server", "strict-transport-security"]}},
            {"name": "cors", "match": {"path": "/cors", "methods": ["GET", "PUT"]}, "to": "cluster:app", "cors": cors},
            {"name": "public", "match": {"path": "/public", "methods": ["GET"]}, "to": "cluster:app",
             "cors": {"origins": "*", "headers": "*"}},
            {"name": "mixed", "match": {"path": "/mixed", "methods": ["POST"]}, "to": "cluster:app"},
            {"name": "mixed-cors", "match": {"path": "/mixed"}, "to": "cluster:app", "cors": cors},
            {"name": "whole", "match": {"prefix": "/whole"}, "to": "cluster:app", "buffer_request": True, "body_max": "100KiB"},
            {"name": "stream", "match": {"prefix": "/slow"}, "to": "cluster:app", "timeout": "1s",
             "stream_idle_timeout": "700ms"},
            {"name": "small", "match": {"prefix": "/small"}, "to": "cluster:app", "body_max": "10B", "cors": cors,
             "response_headers": {"set": {"x-from": "gateway %{path}"}, "remove": ["cache-control"]}},
            {"name": "all", "match": {"prefix": "/"}, "to": "cluster:app"},
        ],
    })
    gateway.backend, gateway.stalled = backend, threading.Event()
    yield gateway
    gateway.stalled.set()


def ask(site, path, method="GET", http2=False, **kwargs):
    with site.client(http2=http2) as client:
        return client.request(method, path, **kwargs)


def told(site):
    return {name.lower(): value for name, value in site.backend.requests[-1][2].items()}


@pytest.mark.parametrize("path, expected", [
    ("/q?v=2&Flag", "two"), ("/q?x=1&Flag=&v=2", "two"), ("/q?v=2&flag", "other"), ("/q?v=22&Flag", "other"),
    ("/q", "other"), ("/q?Flag=1", "other"),
])
def test_query_and_scheme(site, path, expected):
    answer = ask(site, path)
    assert answer.text == expected
    if expected == "other":
        assert answer.headers["content-type"] == "text/html"


@pytest.mark.parametrize("path, status, location", [
    ("/moved/a%20b?x=1&y", 301, "https://127.0.0.1:PORT/new/a%20b?x=1&y"),
    ("/moved", 301, "https://127.0.0.1:PORT/new"),
    ("/deep/a/b", 308, "https://h.example:81/x/a/b"),
    ("/secure/a?b", 308, "https://s.example.org/secure/a?b"),
    ("/fixed?a", 308, "/elsewhere"),
])
@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_redirects(site, path, status, location, http2):
    answer = ask(site, path, http2=http2)
    assert answer.status_code == status
    assert answer.headers["location"] == location.replace("PORT", str(site.port))
    assert answer.text == f"See {answer.headers['location']}\n" and answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path, status, location", [("/moved/a", 400, None), ("/secure/a", 308, "https://s.example.org/secure/a"),
                                                    ("/fixed", 308, "/elsewhere")])
def test_a_redirect_without_a_host(site, path, status, location):
    with site.raw() as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answered, fields, _ = read_response(connection.makefile("rb"))
    assert (answered, fields.get("location")) == (status, location)


@pytest.mark.parametrize("path, status", [("/nothing", 204), ("/same", 304)])
@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_answers_without_content_describe_none(site, path, status, http2):
    answer = ask(site, path, http2=http2)
    assert answer.status_code == status and not {"content-type", "content-length"} & set(answer.headers)


def test_edits_on_the_way_to_the_backend(site):
    ask(site, "/edited/x", headers={"x-user": "forged", "x-secret": "1", "cookie": "a=b", "x-tag": "zero",
                                    "x-api-key": "k" * 40})
    seen = told(site)
    assert seen["x-user"] == "robot" and seen["x-info"] == "127.0.0.1 GET https edited"
    assert "x-secret" not in seen and "cookie" not in seen and "x-tag" in seen
    ask(site, "/edited/x", headers={"x-user": "forged", "X_User": "forged", "x_secret": "1", "x_tag": "zero"})
    seen = told(site)
    assert not {"x-user", "x_user", "x_secret"} & set(seen) and seen["x_tag"] == "zero"  # nobody is not somebody


def test_edits_of_the_answer(site):
    answer = ask(site, "/edited/y?z")
    assert "server" not in answer.headers and "strict-transport-security" not in answer.headers
    assert answer.headers["x-from"] == "gateway " + answer.headers["x-request-id"]
    assert answer.headers["x-path"] == "/edited/y"
    refused = ask(site, "/edited/y", headers={"x-api-key": "wrong"})
    assert refused.status_code == 401 and refused.headers["x-from"].startswith("gateway ")


# ---- CORS ----

def preflight(site, path, origin, method="PUT", headers="x-extra"):
    return ask(site, path, "OPTIONS", headers={"origin": origin, "access-control-request-method": method,
                                               "access-control-request-headers": headers})


@pytest.mark.parametrize("origin", ["https://app.example.org", "https://a.shop.example.org", "https://a.b.shop.example.org"])
def test_preflight_is_answered_here(site, origin):
    before = len(site.backend.requests)
    answer = preflight(site, "/cors", origin)
    assert answer.status_code == 204 and answer.content == b""
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, PUT"
    assert answer.headers["access-control-allow-headers"] == "authorization, x-extra"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-max-age"] == "300" and "origin" in answer.headers["vary"]
    assert len(site.backend.requests) == before


@pytest.mark.parametrize("origin", ["https://evil.example", "http://app.example.org", "https://shop.example.org",
                                    "https://app.example.org.evil.example", "null", "https://app.example.org:8443",
                                    "https://x:y@a.shop.example.org"])
def test_other_origins_get_no_permission(site, origin):
    answer = preflight(site, "/cors", origin)
    assert answer.status_code == 204 and not [name for name in answer.headers if name.startswith("access-control")]
    answer = ask(site, "/cors", headers={"origin": origin})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "origin" in answer.headers["vary"]


def test_answers_are_marked(site):
    answer = ask(site, "/cors", headers={"origin": "https://app.example.org"})
    assert answer.text == "hello"
    assert answer.headers.get_list("access-control-allow-origin") == ["https://app.example.org"]
    assert answer.headers["access-control-expose-headers"] == "x-request-id"
    public = ask(site, "/public", headers={"origin": "https://anybody.example"})
    assert public.headers["access-control-allow-origin"] == "*" and "access-control-allow-credentials" not in public.headers
    assert preflight(site, "/public", "https://anybody.example", "GET", "a, b").headers[
        "access-control-allow-headers"] == "a, b"


@pytest.mark.parametrize("make", [bytes, lambda text: iter([text])], ids=["length", "chunked"])
@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_a_body_that_is_too_large_is_answered_as_the_route_says(site, http2, make):
    answer = ask(site, "/small/x", "POST", http2=http2, content=make(b"x" * 11), headers={"origin": "https://app.example.org"})
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "body_too_large"
    assert answer.headers["access-control-allow-origin"] == "https://app.example.org"
    assert answer.headers["access-control-allow-credentials"] == "true" and answer.headers["vary"] == "origin"
    assert answer.headers["x-from"] == "gateway /small/x" and "cache-control" not in answer.headers
    assert answer.headers["traceparent"].startswith("00-")
    call = ask(site, "/small/x", "POST", http2=http2, content=b"x" * 11, headers={"content-type": "application/grpc"})
    assert (call.headers["grpc-status"], call.headers["x-from"]) == ("8", "gateway /small/x")


@pytest.mark.parametrize("method, allowed", [
    ("PUT", "GET, HEAD, PUT, DELETE, PATCH"), ("GET", "GET, HEAD, PUT, DELETE, PATCH"),
    ("PROPFIND", "GET, HEAD, PUT, DELETE, PATCH, PROPFIND"), ("PUT, POST", "GET, HEAD, PUT, DELETE, PATCH"),
    ("POST", None)])
def test_one_preflight_names_all_methods_of_its_route_and_no_others(site, method, allowed):
    answer = preflight(site, "/mixed", "https://app.example.org", method)
    assert answer.headers.get("access-control-allow-methods") == allowed
    assert (answer.status_code == 204) == (allowed is not None)


def test_preflight_for_what_has_no_cors(site):
    assert preflight(site, "/cors", "https://app.example.org", "DELETE").text == "hello"  # the next route's
    assert ask(site, "/cors", "OPTIONS", headers={"origin": "https://app.example.org"}).text == "hello"


# ---- bodies and streams ----

def test_a_slow_body_waits_at_the_gateway(site):
    before = len(site.backend.requests)
    with site.raw() as connection:
        connection.sendall(b"POST /whole HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        wait_for(lambda: site.stats()["gateway"]["requests"]["active"] >= 1, what="the request")
        assert len(site.backend.requests) == before
        connection.sendall(b"90000\r\n".replace(b"90000", b"15f90") + b"x" * 90000 + b"\r\n")
        assert len(site.backend.requests) == before
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert told(site)["content-length"] == "90005" and "transfer-encoding" not in told(site)


def test_a_client_that_waits_for_100_is_told_to_go_on(site):
    with site.raw() as connection:
        connection.sendall(b"POST /whole HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 100")
        connection.sendall(b"hello")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_client_that_leaves_was_never_there(site):
    before = len(site.backend.requests)
    with site.raw() as connection:
        connection.sendall(b"POST /whole HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhello")
        wait_for(lambda: site.stats()["gateway"]["requests"]["active"] >= 1, what="the request")
    wait_for(lambda: site.stats()["gateway"]["requests"]["active"] == 0, what="its end")
    assert len(site.backend.requests) == before
    assert ask(site, "/whole", "POST", content=b"y" * 110000).status_code == 413


def test_a_stream_outlives_the_timeout_while_it_moves(site):
    answer = ask(site, "/slow")  # 5 seconds of events under a timeout of one
    assert answer.text.splitlines()[-1] == "99"


def test_a_silent_stream_is_cut(site):
    with site.raw() as connection:
        connection.sendall(b"GET /slow/stall HTTP/1.1\r\nhost: x\r\n\r\n")
        heard = b""
        with pytest.raises((ConnectionError, EOFError)):
            while True:
                piece = connection.recv(65536)
                if not piece:
                    raise EOFError
                heard += piece
    assert b" 3\n" in heard and b"\r\n0\r\n\r\n" not in heard


# ---- the check ----

@pytest.mark.parametrize("more, message", [
    ("redirect: {}", "the redirect leads nowhere"),
    ("redirect: true", "the redirect leads nowhere"),
    ("redirect: {https: true}", "leads in a circle over https"),
    ("redirect: {to: /x, https: true}", "https has no effect beside to"),
    ("redirect: /x\n   respond: {}", "redirect and respond in one route"),
    ("redirect: {to: /x, status: 300}", 'status: unknown value "300"'),
    ("respond: {}\n   response_headers: {set: {content-length: '1'}}", '"content-length" is written by the gateway'),
    ("respond: {}\n   response_headers: {set: {x-a: '%{nobody}'}}", "has an unknown variable"),
    ("respond: {}\n   response_headers: {remove: [X-A]}", "has capital letters"),
    ("respond: {}\n   cors: {origins: [example.org]}", "is no origin"),
    ("respond: {}\n   cors: {origins: ['*'], credentials: true}", "credentials for every origin"),
    ("respond: {}\n   cors: true", '"origins" is missing'),
    ("respond: {}\n   cors: {origins: ['https://*.']}", "is no origin"),
])
def test_check(tmp_path, more, message):
    path = tmp_path / "f.yaml"
    path.write_text('listeners: [{address: "127.0.0.1:8080", kind: plain}]\nroutes:\n'
                    f" - match: {{prefix: /}}\n   {more}\n")
    done = run_binary("check", "-c", path)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert "f.yaml:4:" in done.stderr or "f.yaml:5:" in done.stderr or "f.yaml:3:" in done.stderr
