"""Files as Kubernetes mounts a ConfigMap: links into a directory that is exchanged whole, while it is served."""
import concurrent.futures
import os
import shutil

import pytest

NAMES = ("index.html", "app.js")
LETTERS = "abcdefghij"


class Mount:
    """What kubelet's atomic writer does: a new directory, a new link over the old one, the old directory gone."""

    def __init__(self, root):
        self.root, self.version = root, 0
        self.write()
        for name in NAMES:
            (root / name).symlink_to(f"..data/{name}")

    def write(self):
        old = self.root / f"..version_{self.version}"
        self.version += 1
        new = self.root / f"..version_{self.version}"
        new.mkdir()
        for name in NAMES:
            (new / name).write_text(self.text())
        (self.root / "..data_tmp").symlink_to(new.name)
        os.rename(self.root / "..data_tmp", self.root / "..data")
        shutil.rmtree(old, ignore_errors=True)

    def text(self):
        return LETTERS[self.version % len(LETTERS)] * 200_000


@pytest.fixture
def mount(tmp_path):
    (tmp_path / "outside.txt").write_text("secret")
    (tmp_path / "root").mkdir()
    return Mount(tmp_path / "root")


def start(launch, mount, **static):
    return launch({"static": {"files": {"root": str(mount.root), "cache_control": "max-age=0", **static}},
                   "routes": [{"match": {"prefix": "/kept/"}, "strip_prefix": "/kept", "to": "static:files", "cache": True},
                              {"match": {"prefix": "/"}, "to": "static:files"}]})


@pytest.mark.parametrize("prefix", ["", "/kept"], ids=["static", "cached"])
def test_exchanged_while_it_is_served(launch, mount, prefix):
    gateway = start(launch, mount)
    with gateway.client() as client:
        for _ in range(3):
            for path in ("/", "/app.js"):
                answer = client.get(prefix + path)
                assert (answer.status_code, answer.text) == (200, mount.text())
            mount.write()

    def ask(number):
        with gateway.client(http2=number % 2 == 0) as client:
            return [(answer.status_code, len(answer.text), len(set(answer.text)))
                    for answer in (client.get(prefix + "/app.js") for _ in range(40))]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, number) for number in range(4)]
        while not all(one.done() for one in asked):
            mount.write()
        assert {answer for one in asked for answer in one.result()} == {(200, 200_000, 1)}  # always one version, whole


def test_links_lead_nowhere_else(launch, mount):
    (mount.root / "out").symlink_to("../outside.txt")
    (mount.root / "absolute").symlink_to(mount.root / "..data" / "app.js")
    with start(launch, mount).client() as client:
        for path in ("/out", "/absolute", "/..data/app.js", f"/..version_{mount.version}/app.js", "/kept/out"):
            assert client.get(path).status_code == 404
    with start(launch, mount, symlinks="none").client() as client:
        assert client.get("/app.js").status_code == 404
