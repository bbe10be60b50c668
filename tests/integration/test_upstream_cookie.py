"""
test_upstream_cookie.py: clients without the cookie that chooses their server get one, and stay.
"""
import json
import re

import pytest

from harness import run_binary
from upstreams import Raw, cluster, ok, serving


def four(fields=b""):
    return serving(*(Raw([ok(name, fields=fields)]) for name in (b"a", b"b", b"c", b"d")))


def sticky(servers, **keys):
    settings = {"balance": "hash", "hash_key": "cookie:sid", "hash_load_max": "off", "hash_cookie": {}, **keys}
    return cluster([one.address for one in servers], threads=2, **settings)


@pytest.mark.parametrize("http2", [False, True])
def test_a_client_comes_back_to_its_first_server(launch, http2):
    with four() as servers:
        gateway = launch(sticky(servers))
        seen = set()
        for _ in range(16):
            with gateway.client(http2=http2) as client:
                answers = [client.get("/") for _ in range(5)]
            assert len({one.text for one in answers}) == 1
            assert [len(one.headers.get_list("set-cookie")) for one in answers] == [1, 0, 0, 0, 0]
            assert re.fullmatch(r"sid=[0-9a-f]{16}; Path=/; HttpOnly; Secure; SameSite=Lax",
                                answers[0].headers["set-cookie"])
            seen.add(answers[0].headers["set-cookie"])
            seen.add(answers[0].text)
        assert len(seen & {"a", "b", "c", "d"}) > 1 and len(seen - {"a", "b", "c", "d"}) == 16


def test_the_cookie_is_as_configured(launch):
    with four() as servers:
        gateway = launch(sticky(servers, hash_cookie={"ttl": "1h", "path": "/app", "secure": "off", "http_only": False,
                                                      "same_site": "unsaid"}))
        assert re.fullmatch(r"sid=[0-9a-f]{16}; Path=/app; Max-Age=3600", gateway.get("/app/x").headers["set-cookie"])


def test_no_answer_for_others_sets_it(launch):
    for control in (b"public, max-age=60", b"max-age=0, s-maxage=60"):
        with four(b"cache-control: %s\r\n" % control) as servers:
            assert "set-cookie" not in launch(sticky(servers)).get("/").headers
    with four(b"cache-control: max-age=60\r\n") as servers:
        sections = sticky(servers)
        gateway = launch({**sections, "routes": [{**sections["routes"][0], "cache": True}]})
        assert all("set-cookie" not in gateway.get("/").headers for _ in range(3))
        assert sum(len(one.requests) for one in servers) == 1  # and it is cached


def test_the_servers_own_cookie_is_left_alone(launch):
    with four(b"set-cookie: other=1\r\nset-cookie: sid=mine; Path=/\r\n") as servers:
        assert launch(sticky(servers)).get("/").headers.get_list("set-cookie") == ["other=1", "sid=mine; Path=/"]
    with four() as servers:
        assert "set-cookie" not in launch(sticky(servers, hash_cookie=False)).get("/").headers


@pytest.mark.parametrize("keys, complaint", [
    ({"hash_key": "client"}, "expected hash_key cookie:NAME"),
    ({"balance": "round_robin"}, "hash_cookie"),
    ({"hash_cookie": {"same_site": "none"}}, "expected secure: on"),
    ({"hash_cookie": {"path": "/a;b"}}, "cannot be said in a cookie"),
])
def test_mistakes_are_told(tmp_path, keys, complaint):
    path = tmp_path / "floodgate.yaml"
    settings = {"balance": "hash", "hash_key": "cookie:sid", "hash_cookie": {}, **keys}
    path.write_text(json.dumps({"listeners": {"a": {"address": "127.0.0.1:1", "kind": "plain"}},
                                **cluster(["127.0.0.1:2"], **settings)}))
    done = run_binary("check", "-c", path)
    assert done.returncode == 2 and complaint in done.stderr
