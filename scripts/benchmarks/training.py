"""
training BINARY: what a build learns from. A program that counts how often each branch is taken does some of
everything that a gateway mostly does: HTTP/2 and HTTP/1.1, one request at a time and many, large and small,
from a server and from the cache, uploads, refusals, handshakes. It writes its counts beside its objects when
it ends. Functions that are not trained are optimised as they would be without.
"""
import os
import pathlib
import sys
import tempfile

from . import gateway, machine, peers

# (path, how many, what h2load is told besides)
LESSONS = [
    ("/1k", 20000, ["-c", "16", "-m", "8"]),
    ("/1k", 10000, ["-c", "2", "-m", "100"]),
    ("/1k", 20000, ["--h1", "-c", "32"]),
    ("/1k", 3000, ["-c", "20", "-m", "1", "--rps", "100"]),
    ("/64k", 2000, ["-c", "8", "-m", "4"]),
    ("/64k", 2000, ["--h1", "-c", "8"]),
    ("/cached/1k", 40000, ["-c", "16", "-m", "8"]),
    ("/cached/1k", 20000, ["--h1", "-c", "32"]),
    ("/cached/64k", 4000, ["-c", "16", "-m", "8"]),
    ("/limited/1k", 10000, ["-c", "16", "-m", "8"]),
    ("/limited/1k", 5000, ["--h1", "-c", "32"]),
]
UPLOADS = [(5000, 1024), (1000, 262144)]  # (how many, bytes); the server behind has no use for them: 405


def teach(site):
    for path, requests, arguments in LESSONS:
        peers.load(["-n", str(requests), *arguments, site.url("floodgate", path)])
    for requests, size in UPLOADS:
        body = site.folder / "upload"
        body.write_bytes(b"x" * size)
        peers.load(["-n", str(requests), "-c", "8", "-m", "4", "-d", str(body), site.url("floodgate", "/1k")])
    for is_resumed in (False, True):
        gateway.shake_hands(site, "floodgate", is_resumed)


def main(binary):
    with tempfile.TemporaryDirectory(prefix="fg-train-") as name, machine.running([]) as processes:
        folder = pathlib.Path(name)
        os.chmod(folder, 0o755)
        teach(peers.Site(folder, processes, str(pathlib.Path(binary).resolve()), names=("floodgate",)))


main(sys.argv[1])
