"""Which route a request takes, and who it is said to come from."""
import time

import pytest

from harness import run_binary, sign, wait_for


@pytest.fixture(scope="module")
def site(launch_module, upstream_module):
    backend = upstream_module()
    gateway = launch_module({
        "identity": {"session_ttl": "1h", "sessions_per_ip": "100000/m"},
        "observability": {"access_log": True},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [
            {"name": "exact", "match": {"path": "/a"}, "respond": {"body": "exact"}},
            {"name": "host", "match": {"host": "shop.example.org", "prefix": "/"}, "respond": {"body": "host"}},
            {"name": "wild", "match": {"host": "*.example.org", "prefix": "/"}, "respond": {"body": "wild"}},
            {"name": "beta", "match": {"prefix": "/b", "headers": {"x-beta": "1"}}, "respond": {"body": "beta"}},
            {"name": "any-key", "match": {"prefix": "/b", "headers": {"x-key": "*"}}, "respond": {"body": "any-key"}},
            {"name": "read", "match": {"prefix": "/b", "methods": ["GET"]}, "respond": {"body": "read"}},
            {"name": "write", "match": {"prefix": "/b", "methods": ["POST"]}, "respond": {"status": 202, "body": "w"}},
            {"name": "below", "match": {"prefix": "/below/"}, "respond": {"body": "below"}},
            {"name": "stripped", "match": {"prefix": "/svc/"}, "to": "cluster:app", "strip_prefix": "/svc"},
            {"name": "moved", "match": {"prefix": "/old"}, "to": "cluster:app", "strip_prefix": "/old", "add_prefix": "/v2/new",
             "response_headers": {"set": {"x-path": "%{path}"}}},
            {"name": "deeper", "match": {"prefix": "/deeper"}, "to": "cluster:app", "add_prefix": "/base"},
            {"name": "session", "match": {"path": "/api/session", "methods": ["POST"]}, "session": True,
             "body_max": "4KiB"},
            {"name": "session-any", "match": {"path": "/any/session"}, "session": True},
            {"name": "secret", "match": {"prefix": "/secret"}, "to": "cluster:app", "identity": "required"},
            {"name": "maybe", "match": {"prefix": "/maybe"}, "to": "cluster:app", "identity": "optional"},
        ],
    })
    gateway.backend = backend
    return gateway


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
@pytest.mark.parametrize("method, path, headers, expected", [
    ("GET", "/a", {}, "exact"),
    ("GET", "/a?x=1", {}, "exact"),
    ("GET", "/a", {"host": "shop.example.org"}, "exact"),
    ("GET", "/z", {"host": "shop.example.org"}, "host"),
    ("GET", "/z", {"host": "SHOP.example.org:8443"}, "host"),
    ("GET", "/z", {"host": "other.example.org"}, "wild"),
    ("GET", "/z", {"host": "a.b.example.org"}, "wild"),
    ("GET", "/z", {"host": "example.org"}, None),
    ("GET", "/z", {"host": "badexample.org"}, None),
    ("GET", "/b", {}, "read"),
    ("GET", "/b/c", {}, "read"),
    ("GET", "/bc", {}, None),
    ("POST", "/b", {}, "w"),
    ("GET", "/b", {"x-beta": "1"}, "beta"),
    ("GET", "/b", {"x-beta": "2"}, "read"),
    ("GET", "/b", {"x-key": "whatever"}, "any-key"),
    ("GET", "/below/x", {}, "below"),
    ("GET", "/below", {}, None),
    ("GET", "/a/", {}, None),
    ("GET", "/%61", {}, "exact"),
    ("GET", "/x/../a", {}, "exact"),
])
def test_first_match_wins(site, http2, method, path, headers, expected):
    with site.client(http2=http2) as client:
        request = client.build_request(method, "/", headers=headers)
        request.url = request.url.copy_with(raw_path=path.encode())
        answer = client.send(request)
    if expected is None:
        assert answer.status_code == 404 and answer.json()["error"]["code"] == "no_route"
    else:
        assert answer.text == expected


def test_method_mismatch_lists_what_the_path_takes(site):
    with site.client() as client:
        answer = client.put("/b")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].replace(" ", "").split(",")) == {"GET", "HEAD", "POST"}


def test_prefix_is_stripped(site):
    with site.client() as client:
        assert client.get("/svc/one?x=1").json()["path"] == "/one?x=1"
        assert client.get("/svc/").json()["path"] == "/"


@pytest.mark.parametrize("path, seen", [("/old/a%20b?x=1", "/v2/new/a%20b?x=1"), ("/old", "/v2/new"), ("/old/", "/v2/new/"),
                                        ("/old?x", "/v2/new?x"), ("/deeper/x", "/base/deeper/x")])
@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_a_prefix_in_place_of_another_which_operators_see_as_it_was_asked_for(site, path, seen, http2):
    with site.client(http2=http2) as client:
        answer = client.get(path)
    asked, request_id = path.split("?")[0], answer.headers["x-request-id"]
    assert answer.json()["path"] == seen and answer.headers.get("x-path", asked) == asked
    assert site.explain(request_id)["path"] == asked
    wait_for(lambda: f'request_id={request_id} method=GET path="{asked}" route=' in site.log, what="the path in the log")


def test_what_the_backend_is_told(site):
    with site.client() as client:
        seen = client.get("/svc/x", headers={"x-forwarded-for": "6.6.6.6", "connection": "x-hop",
                                             "x-hop": "1", "te": "trailers"}).json()["headers"]
    assert seen["x-forwarded-for"].endswith("127.0.0.1")
    assert seen["x-forwarded-proto"] == "https"
    assert seen["traceparent"] and seen["x-request-id"]
    assert "x-hop" not in seen and "x-hop" not in seen["connection"]
    assert seen["te"] == "trailers"  # the one coding that is passed on, as our own wish


# ---- sessions ----

def test_session_gives_a_token_that_works(site):
    session = site.session("phone-1")
    assert set(session) >= {"token", "user_id", "expires_at"}
    expires = time.mktime(time.strptime(session["expires_at"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert abs(expires - time.time() - 3600) < 60
    with site.client(http2=True) as client:
        answer = client.get("/secret", headers={"authorization": "Bearer " + session["token"]})
        assert answer.status_code == 200
    assert site.session("phone-1")["user_id"] == session["user_id"]
    assert site.session("phone-2")["user_id"] != session["user_id"]


@pytest.mark.parametrize("body, status", [
    (b"", 400), (b"{", 400), (b"[]", 400), (b"{}", 400), (b'{"device_id":""}', 400), (b'{"device_id":7}', 400),
    (b'{"device_id":"' + b"a" * 257 + b'"}', 400), (b'{"device_id":"a","x":"' + b"a" * 5000 + b'"}', 413),
    (b'\xff\xfe', 400), (b"[" * 3000, 413),
])
def test_bad_session_requests(site, body, status):
    with site.client() as client:
        answer = client.post("/api/session", content=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"] and answer.json()["error"]["request_id"]


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_a_session_is_made_with_post_alone(site, http2):
    with site.client(http2=http2) as client:
        for method in ("GET", "DELETE", "PUT"):
            answer = client.request(method, "/any/session", json={"device_id": "phone-1"})
            assert answer.status_code == 405 and answer.headers["allow"] == "POST"
            assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
        assert client.head("/any/session").status_code == 405
        assert client.post("/any/session", json={"device_id": "phone-1"}).status_code == 201


# ---- tokens ----

def ask(site, authorization):
    with site.client() as client:
        return client.get("/secret", headers={"authorization": authorization} if authorization else {})


def test_a_token_made_elsewhere_with_our_key_is_taken(site):
    assert ask(site, "Bearer " + site.token()).status_code == 200
    assert ask(site, "bearer  " + site.token()).status_code == 200
    # Within the leeway of 30 s both ways.
    assert ask(site, "Bearer " + site.token(seconds=-10)).status_code == 200
    assert ask(site, "Bearer " + site.token(nbf=int(time.time()) + 10)).status_code == 200


def bad_tokens(site):
    good = site.token()
    head, body, mac = good.split(".")
    now = int(time.time())
    key = (site.run / "jwt.key").read_bytes()
    return {
        "none at all": None,
        "another scheme": "Basic dXNlcjpwYXNz",
        "no token": "Bearer",
        "one part": "Bearer " + head,
        "four parts": "Bearer " + good + ".x",
        "cut": "Bearer " + good[:-1],
        "wrong key": "Bearer " + site.token(key=b"k" * 32),
        "changed body": "Bearer " + ".".join([head, body[:-2] + ("AA" if body[-2:] != "AA" else "BB"), mac]),
        "no signature": "Bearer " + head + "." + body + ".",
        "alg none": "Bearer " + site.token(header={"alg": "none"}),
        "alg HS512": "Bearer " + site.token(header={"alg": "HS512"}),
        "crit": "Bearer " + site.token(header={"alg": "HS256", "crit": ["x"]}),
        "expired": "Bearer " + site.token(seconds=-60),
        "no exp": "Bearer " + site.token(exp=None),
        "exp is text": "Bearer " + site.token(exp="tomorrow"),
        "not yet": "Bearer " + site.token(nbf=now + 120),
        "issuer": "Bearer " + site.token(iss="somebody"),
        "no issuer": "Bearer " + site.token(iss=None),
        "no subject": "Bearer " + site.token(sub=None),
        "empty subject": "Bearer " + site.token(sub=""),
        "subject is a number": "Bearer " + site.token(sub=7),
        "subject too long": "Bearer " + site.token(sub="a" * 300),
        "claims are a list": "Bearer " + sign(key, {"alg": "HS256", "typ": "JWT"}, []),
        "very long": "Bearer " + "a" * 6000,
    }


def test_tokens_that_are_not_taken(site):
    before = site.backend.count()
    for name, authorization in bad_tokens(site).items():
        answer = ask(site, authorization)
        assert answer.status_code == 401, name
        assert answer.headers["www-authenticate"].startswith("Bearer"), name
        error = answer.json()["error"]
        assert error["code"] == "unauthenticated" and error["message"], name
    assert site.backend.count() == before
    site.wait_stats(lambda stats: stats["routes"]["secret"]["refused"]["unauthenticated"] >= len(bad_tokens(site)))


def test_optional_identity(site):
    with site.client() as client:
        assert client.get("/maybe").status_code == 200
        assert client.get("/maybe", headers={"authorization": "Bearer " + site.token()}).status_code == 200
        assert client.get("/maybe", headers={"authorization": "Bearer x.y.z"}).status_code == 401


def test_token_subcommand(site):
    done = run_binary("token", "-c", site.config, "--user", "alice", "--ttl", "600")
    assert done.returncode == 0, done.stderr
    assert ask(site, "Bearer " + done.stdout.strip()).status_code == 200
    assert run_binary("token", "-c", site.config).returncode == 2
    assert run_binary("token", "-c", site.config, "--user", "a" * 1000).returncode == 2
    assert run_binary("token", "-c", site.config, "--user", "a", "--ttl", "soon").returncode == 2


def test_the_key_file_is_private_and_stays(site):
    assert (site.run / "jwt.key").stat().st_mode & 0o777 == 0o600
    assert len((site.run / "jwt.key").read_bytes()) >= 32
