"""
test_room_page.py: the page of who waits in line in Chromium, against the real binary. The steps are
in room.test.mjs, which prints "ok NAME" or "not ok NAME: why" for each; every name is a test here.
"""
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import harness  # noqa: E402

SCRIPT = HERE / "room.test.mjs"
NAMES = ["the page goes on by itself when the turn comes", "the place moves up without a reload, and can be given back",
         "without a script the page loads itself anew", "without a desk the page loads itself anew"]


def room(name, admit, **rest):
    return {"name": name, "match": {"path": f"/{name}"}, "to": "cluster:app",
            "waiting_room": {"admit": admit, "burst": 1, "waiting_max": 100, **rest}}


def answer(_request):
    return 200, {"content-type": "text/html"}, b"<!doctype html><p>the sale itself"


def sections(upstream):
    return {
        "clusters": {"app": {"endpoints": [upstream.address]}},
        "routes": [
            {"name": "sale-desk", "match": {"path": "/sale-line"}, "room": "sale"},
            {"name": "slow-desk", "match": {"path": "/slow-line"}, "room": "slow"},
            room("sale", "1/s", session="10m"), room("slow", "1/h"), room("plain", "1/s", session="10m")]}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    upstream = harness.Upstream(answer)
    gateway = harness.Floodgate(harness.make_certificate(tmp_path_factory.mktemp("certificate")), sections(upstream))
    try:
        done = subprocess.run(["node", str(SCRIPT)], capture_output=True, text=True, timeout=300, check=False,
                              env={**os.environ, "FG_URL": gateway.url})
        gateway.stop()
    finally:
        gateway.clean()
        upstream.close()
    return done


@pytest.mark.parametrize("name", NAMES)
def test_room_page(results, name):
    lines = results.stdout.splitlines()
    assert f"ok {name}" in lines, next((line for line in lines if line.startswith(f"not ok {name}")),
                                       f"no result\n{results.stdout}\n{results.stderr}"[-4000:])
