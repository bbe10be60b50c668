#!/usr/bin/env python3
"""Print `url=` and `admin=` shell settings for a configuration, from what the program itself reads.

  demo_addresses.py CONFIG FLOODGATE
"""
import json
import shlex
import subprocess
import sys


def reachable(address: str) -> str:
    """A listener on all addresses is reached over loopback."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "[::]", "*", "") else address


def main() -> int:
    config, program = sys.argv[1:3]
    shown = subprocess.run([program, "show", "-c", config], capture_output=True, text=True, check=False)
    if shown.returncode != 0:
        sys.stderr.write(shown.stderr)
        return 2
    settings = json.loads(shown.stdout)
    listeners = settings["listeners"]
    tls = [one for one in listeners if one["kind"] == "tls"]
    plain = [one for one in listeners if one["kind"] == "plain"]
    if tls:
        url = "https://" + reachable(tls[0]["address"])
    elif plain:
        url = "http://" + reachable(plain[0]["address"])
    else:
        print("the configuration has no tls or plain listener", file=sys.stderr)
        return 2
    print(f"url={shlex.quote(url)}")
    print(f"admin={shlex.quote('http://' + reachable(settings['admin']['address']))}")
    return 0


sys.exit(main())
