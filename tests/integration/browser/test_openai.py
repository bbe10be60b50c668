"""
test_openai.py: the official openai client of npm against the real binary. The steps are in
openai.test.mjs, which prints "ok NAME" or "not ok NAME: why" for each; every name is a test here.
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

SCRIPT = HERE / "openai.test.mjs"
NAMES = re.findall(r'^test\("([^"]+)"', SCRIPT.read_text(encoding="utf-8"), re.M)
SECTIONS = {
    "inference": {"enabled": True, "model": str(harness.DEMO_MODEL), "workers": 2, "threads_per_worker": 1,
                  "kv_memory": "16MiB", "chat_template": "qwen2.5"},
    "routes": [{"name": "llm", "match": {"prefix": "/v1/"}, "to": "inference", "timeout": "2m"}],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    gateway = harness.Floodgate(harness.make_certificate(tmp_path_factory.mktemp("certificate")), SECTIONS)
    try:
        done = subprocess.run(["node", "--no-warnings", str(SCRIPT)], capture_output=True, text=True, timeout=300,
                              check=False, env={**os.environ, "FG_URL": gateway.url})
        gateway.stop()
    finally:
        gateway.clean()
    found = dict(re.findall(r"^(?:not )?ok ([^:\n]+)(?:: (.*))?$", done.stdout, re.M))
    assert set(found) == set(NAMES), done.stdout + done.stderr
    return found


@pytest.mark.parametrize("name", NAMES)
def test_openai_client(results, name):
    assert not results[name], results[name]
