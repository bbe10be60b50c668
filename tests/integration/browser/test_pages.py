"""
test_pages.py: the promotion page and the dashboard in Chromium, against the real binary. The steps
are in promo.test.mjs, which prints "ok NAME" or "not ok NAME: why" for each; every name is a test here.
"""
import os
import pathlib
import re
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import harness  # noqa: E402

SCRIPT = HERE / "promo.test.mjs"
NAMES = re.findall(r'^test\("([^"]+)"', SCRIPT.read_text(encoding="utf-8"), re.M)
SECONDS_MAX = 300


def route(name, match, **rest):
    return {"name": name, "match": match, **rest}


SECTIONS = {
    "policies": {"rate_limits": {"per-user": {"rate": "1000/s"}}},
    "static": {"promo": {"root": str(harness.ROOT / "conf/promo")}},
    "orders": {"redis": {"embedded": True}, "skus": {"milk-tea": {"stock": 1000}},
               "fulfil": {"workers": 1, "confirm_after": "1s", "complete_after": "2s"}},
    "inference": {"enabled": True, "model": str(harness.DEMO_MODEL), "workers": 2, "threads_per_worker": 1,
                  "kv_memory": "16MiB"},
    "routes": [
        route("promo", {"prefix": "/promo/", "methods": ["GET"]}, to="static:promo", strip_prefix="/promo", cache=True),
        route("session", {"path": "/api/session", "methods": ["POST"]}, session=True),
        route("claim", {"path": "/api/coupons/claim", "methods": ["POST"]}, to="orders", identity="required"),
        route("invites", {"prefix": "/api/invites", "methods": ["POST"]}, to="orders", identity="required"),
        route("order", {"path": "/api/orders", "methods": ["POST"]}, to="orders", identity="required",
              rate_limits=["per-user"], concurrency={"kind": "fixed", "limit": 100}),
        route("order-status", {"prefix": "/api/orders/", "methods": ["GET"]}, to="orders", identity="required",
              timeout="10m"),
        route("me", {"path": "/api/me", "methods": ["GET"]}, to="orders", identity="required"),
        route("stock", {"prefix": "/api/stock/", "methods": ["GET"]}, to="orders", cache={"ttl": "1s"}),
        route("chat", {"path": "/v1/chat/completions", "methods": ["POST"]}, to="inference", identity="required",
              timeout="120s"),
    ],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    gateway = harness.Floodgate(harness.make_certificate(tmp_path_factory.mktemp("certificate")), SECTIONS)
    try:
        done = subprocess.run(["node", str(SCRIPT)], capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
                              env={**os.environ, "FG_URL": gateway.url, "FG_ADMIN": gateway.admin})
        gateway.stop()
    finally:
        gateway.clean()
    return done


@pytest.mark.parametrize("name", NAMES)
def test_page(results, name):
    lines = results.stdout.splitlines()
    assert f"ok {name}" in lines, next((line for line in lines if line.startswith(f"not ok {name}")),
                                       f"no result\n{results.stdout}\n{results.stderr}"[-4000:])
