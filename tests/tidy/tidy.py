#!/usr/bin/env python3
"""Rules of the code base that a compiler does not check. Prints "ok RULE" or "not ok RULE: where"."""
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SOURCES = sorted(p for top in ("gateway", "policies", "backends", "tests/unit", "tests/fuzz", "tests/sim")
                 for p in (ROOT / top).rglob("*") if p.suffix in (".c", ".h", ".cu", ".cuh"))
OWN = [p for p in SOURCES if "tests" not in p.relative_to(ROOT).parts]

# Which top folders the includes of a folder may start with; the first match counts.
GATEWAY = ("base/", "config/", "net/", "http/", "pipeline/", "upstream/", "admin/", "observe/", "supervisor/",
           "rehearse/", "state/")
BACKENDS = ("tls/", "static/", "proxy/", "redis/", "orders/", "inference/")
LAYERS = [
    ("policies/", ("policies/",)),
    ("gateway/base/", ("base/",)),
    ("backends/inference/", ("base/", "policies/", "backends/", "inference/")),
    ("backends/orders/", ("base/", "policies/", "backends/", "redis/", "orders/")),
    ("backends/proxy/", ("base/", "policies/", "backends/", "tls/", "proxy/")),
    ("backends/redis/", ("base/", "policies/", "backends/", "redis/")),
    ("backends/tls/", ("base/", "tls/")),
    ("backends/static/", ("base/", "policies/", "backends/", "static/")),
    ("backends/", ("base/", "policies/", "backends/")),
    ("gateway/http/", ("base/", "policies/", "backends/", "config/", "net/", "http/")),
    ("gateway/net/", ("base/", "policies/", "backends/", "tls/", "config/", "net/", "http/")),
    ("gateway/config/", ("base/", "policies/", "backends/", "config/") + BACKENDS),
    ("gateway/observe/", ("base/", "observe/")),
    ("gateway/state/", ("base/", "policies/", "backends/", "redis/", "config/", "state/")),
    ("gateway/upstream/", ("base/", "policies/", "backends/", "config/", "upstream/")),
    # virtual time sees no socket, loop or lock: only what decides and what describes
    ("gateway/rehearse/sim/", ("base/", "policies/", "config/", "observe/", "pipeline/policy_conf.h",
                               "upstream/gate_conf.h", "rehearse/")),
    ("gateway/", ("policies/", "backends/") + GATEWAY + BACKENDS),
]
ALL_PREFIXES = ("policies/", "backends/") + GATEWAY + BACKENDS
BANNED = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|atoi|atol|rand|srand|gets|strtok|alloca)\s*\(")
SHARED = re.compile(r"\b(_Atomic|atomic_\w+|pthread_(mutex|rwlock|cond|spin)\w*|__atomic_\w+|__sync_\w+)\b")
LINES_MAX = 1000
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100  # also in comments, which clang-format leaves as they are


def name(path):
    return str(path.relative_to(ROOT))


def code_of(path):
    """The text without comments and string contents, line numbers kept."""
    text = path.read_text(encoding="utf-8")
    blank = lambda m: re.sub(r"[^\n]", " ", m.group())
    return re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", blank, text, flags=re.S)


def wrong_includes():
    for path in OWN:
        allowed = next(permitted for top, permitted in LAYERS if name(path).startswith(top))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not found:
                continue
            target = found.group(1)
            if target.startswith("../"):
                yield f"{name(path)}:{number} includes {target}: no relative way up"
            elif target.startswith(ALL_PREFIXES) and not target.startswith(allowed):
                yield f"{name(path)}:{number} includes {target}: the arrow turns back"


def long_files():
    for path in SOURCES:
        count = len(path.read_text(encoding="utf-8").splitlines())
        if count > LINES_MAX:
            yield f"{name(path)} has {count} lines"


def long_lines():
    for path in SOURCES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if len(line) > COLUMNS_MAX:
                yield f"{name(path)}:{number} has {len(line)} columns"


def long_functions():
    for path in OWN:
        start = None
        for number, line in enumerate(code_of(path).splitlines(), 1):
            if line.startswith("{"):
                start = number
            elif line.startswith("}") and start is not None:
                if number - start - 1 > FUNCTION_LINES_MAX and line.rstrip() == "}":
                    yield f"{name(path)}:{start} is a function of {number - start - 1} lines"
                start = None


def banned_calls():
    for path in OWN:
        for number, line in enumerate(code_of(path).splitlines(), 1):
            found = BANNED.search(line)
            if found:
                yield f"{name(path)}:{number} calls {found.group(1)}"


def stray_sharing():
    for path in OWN:
        if path.stem.endswith("_shared"):
            continue
        for number, line in enumerate(code_of(path).splitlines(), 1):
            found = SHARED.search(line)
            if found:
                yield f"{name(path)}:{number} uses {found.group(1)} outside a _shared file"


def missing_headers():
    for path in OWN:
        if path.suffix in (".c", ".h") and not path.read_text(encoding="utf-8").startswith("/*"):
            yield f"{name(path)} does not say on its first screen what it is"


def unbuilt_files():
    listed = "\n".join(p.read_text(encoding="utf-8") for top in ("gateway", "policies", "backends", "tests")
                       for p in (ROOT / top).rglob("meson.build"))
    for path in SOURCES:
        bare = re.sub(r"^(test|fuzz)_", "", path.stem) # lists of tests name them so
        if path.suffix == ".c" and path.name not in listed and f"'{bare}'" not in listed:
            yield f"{name(path)} is in no meson.build"


def unfinished_marks():
    pattern = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    for path in OWN:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if pattern.search(line):
                yield f"{name(path)}:{number} is marked unfinished"


def unformatted():
    if shutil.which("clang-format") is None:
        return
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *map(str, SOURCES)],
                          capture_output=True, text=True, check=False, cwd=ROOT)
    seen = set()
    for line in done.stderr.splitlines():
        found = re.match(r"(.+?):(\d+):\d+: error:", line)
        if found and found.group(1) not in seen:
            seen.add(found.group(1))
            yield f"{found.group(1)}:{found.group(2)} is not formatted"


RULES = [wrong_includes, long_files, long_lines, long_functions, banned_calls, stray_sharing, missing_headers,
         unbuilt_files, unfinished_marks, unformatted]


def main():
    failed = False
    for rule in RULES:
        found = list(rule())
        label = rule.__name__.replace("_", " ")
        if found:
            failed = True
            print(f"not ok {label}: {'; '.join(found[:20])}")
        else:
            print(f"ok no {label}")
    return 1 if failed else 0


sys.exit(main())
