"""The promotion page in a line: it watches its place where the route has a desk, and tries again where it has none."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from harness import ROOT

CLIENT = pathlib.Path(__file__).parent / "clients" / "promo_line.mjs"
CLAIM = "/api/coupons/claim"
DESK = {"name": "claim-line", "match": {"path": "/api/line/claim"}, "room": "claim", "identity": "required"}


def stand_in_line(gateway, folder):
    api = folder / "api.mjs"  # as a module, whatever the folder says
    shutil.copy(ROOT / "conf/promo/api.js", api)
    done = subprocess.run(["node", str(CLIENT), gateway.url, str(api)], capture_output=True, text=True, timeout=120,
                          check=False, env={**os.environ, "NODE_TLS_REJECT_UNAUTHORIZED": "0"})
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def shop(launch, upstream):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    backend = upstream()

    def start(room, desks):
        return launch({"clusters": {"app": {"endpoints": [backend.address]}}, "routes": [
            {"name": "session", "match": {"path": "/api/session"}, "session": True},
            {"name": "claim", "match": {"path": CLAIM}, "to": "cluster:app", "identity": "required",
             "waiting_room": {"admit": "1/3s", "burst": 1, **room}}, *desks]})
    return start


def asked_of(seen, path):
    return [call for call in seen["calls"] if call["path"] == path]


def test_with_a_desk_it_watches_and_comes_in_once(shop, tmp_path):
    seen = stand_in_line(shop({}, [DESK]), tmp_path)
    claims, looks = asked_of(seen, CLAIM), asked_of(seen, "/api/line/claim")
    assert seen["status"] == 200 and len(claims) == 2  # a place, and in: nothing between
    assert [look["accept"] for look in looks] == ["text/event-stream"] and looks[0]["ticket"].startswith("t2.")
    assert claims[0].get("ticket") is None and claims[1]["ticket"].startswith("t2.")
    watched = [place for place in seen["places"] if place.get("isWatched")]
    assert watched and all(place["position"] >= 0 for place in watched)


@pytest.mark.parametrize("room, desks", [({}, []), ({"streams_max": 0}, [DESK])], ids=["no desk", "no stream left"])
def test_else_it_tries_again_when_it_is_told_to(shop, tmp_path, room, desks):
    seen = stand_in_line(shop(room, desks), tmp_path)
    assert seen["status"] == 200 and len(asked_of(seen, CLAIM)) >= 2
    assert not any(place.get("isWatched") for place in seen["places"])
