#!/usr/bin/env python3
"""Run the steps of the test suite in order and add up what passed.

  run.py [--list] [STEP ...]

A step builds what it needs below build/ and reports how many of its tests passed, failed and were
skipped. A step that cannot even start counts as one failure. Output of failing tests is shown; the
last line of all is "N passed, N failed" (", N skipped" where there were some).

Tests of the real binary share the machine with each other and with builds. Where a few of a step
(integration, browser, races) fail, each gets a second try at the end of the step with no other beside
it. Who passes then counts as passed, and is shown as PASSED AT THE SECOND TRY with the output of the
first: either the test is not made for a busy machine, or what it tests is not. With more failures than
that nothing is tried again.
"""
import json
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
JOBS = str(os.cpu_count() or 2)
NICE = ["nice", "-n", "15"]  # for what goes on beside tests that mostly wait; inference workers are at 10
# What reads bytes of strangers gets a minute, the others a sixth of it; FG_FUZZ_SECONDS is for all.
FUZZ_LONG = {"h1", "h2", "upstream_response", "config", "jwt", "proxy_header", "cache_fields"}
SECOND_TRIES = 5  # of a step; more failures than that are no chance


def fuzz_seconds(name):
    return int(os.environ.get("FG_FUZZ_SECONDS", "60" if name in FUZZ_LONG else "10"))


class Result:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, name, status, detail=""):
        if status == "ok":
            self.passed += 1
        elif status == "skip":
            self.skipped += 1
            print(f"  SKIPPED {name}: {detail}", flush=True)
        elif status == "second try":
            self.passed += 1
            print(f"  PASSED AT THE SECOND TRY {name}\n{indent(detail)}", flush=True)
        else:
            self.failed += 1
            print(f"  FAILED {name}\n{indent(detail)}", flush=True)


def indent(text, limit=10000):
    return "\n".join("    " + line for line in text[-limit:].splitlines())


def run(command, **kwargs):
    kwargs.setdefault("cwd", ROOT)
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, **kwargs)


# The flavours of the build: what meson is told, and in which environment.
FLAVOURS = {
    "asan": (["-Db_sanitize=address,undefined", "-Dwerror=true"], {}),
    "tsan": (["-Db_sanitize=thread", "-Db_lundef=false"], {}),
    "fuzz": (["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dfuzzing=true", "-Dwerror=true"], {"CC": "clang"}),
}
build_locks = {name: threading.Lock() for name in FLAVOURS}


def linker():
    """A faster one than the default, which takes half of the time of a build, where there is one."""
    found = next((name for name in ("lld", "gold") if shutil.which(f"ld.{name}")), None)
    return {"CC_LD": found} if found else {}


def build_targets(name, folder):
    """Of the thread sanitiser's flavour only what is run: the program and the tests with threads."""
    if name != "tsan":
        return []
    tests = json.loads(run(["meson", "introspect", "--tests", str(folder)]).stdout)
    programs = {os.path.relpath(test["cmd"][0], folder) for test in tests
                if any(suite.endswith(":threads") for suite in test["suite"])}
    return ["gateway/floodgate", *sorted(programs)]


def build(name, *prefix):
    """Configure and build a flavour below build/; None when it is ready to use, else what was printed."""
    folder = BUILD / name
    options, env = FLAVOURS[name]
    with build_locks[name]:
        if not (folder / "build.ninja").exists():
            # -g1: a report needs lines, not variables, which are a sixth of the time of a build.
            done = run(["meson", "setup", str(folder), *options, "-Dtests=enabled", "-Doptimization=1", "-Dc_args=-g1"],
                       env={**os.environ, **linker(), **env})
            if done.returncode != 0:
                return done.stdout + done.stderr
        done = run([*prefix, "ninja", "-C", str(folder), "-j", JOBS, *build_targets(name, folder)])
        return None if done.returncode == 0 else done.stdout + done.stderr


def is_built(result, name, title):
    """Builds a flavour, and counts that as a test where it has a title or goes wrong."""
    complaint = build(name)
    if complaint is not None:
        result.add(f"{name} build", "failed", complaint)
    elif title:
        result.add(title, "ok")
    return complaint is None


def work_meanwhile(names):
    """
    What later steps need, while tests mostly wait: each build says by itself, in its step, what went
    wrong. Then fuzz targets, one at a time; the fuzz step does those that are left on all cores.
    """
    for name in names:
        if build(name, *NICE) is None and name == "fuzz":
            fuzz_targets_left(NICE)


def meson_tests(result, name, *selection):
    """Run meson tests of a build folder and count each."""
    folder = BUILD / name
    log = folder / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    run(["meson", "test", "-C", str(folder), "--no-rebuild", "--print-errorlogs",
         "--num-processes", JOBS, "--timeout-multiplier", "4", *selection],
        env={**os.environ, **SANITIZER_ENV})
    if not log.exists():
        result.add(f"{name}: meson test", "failed", "no tests ran")
        return
    for line in log.read_text().splitlines():
        test = json.loads(line)
        status = {"OK": "ok", "SKIP": "skip", "EXPECTEDFAIL": "ok"}.get(test["result"], "failed")
        output = test.get("stdout", "") + test.get("stderr", "")
        result.add(f"{name}: {test['name']}", status, f"{test['result']}\n{output}")
        for line_out in output.splitlines():
            if "SKIPPED:" in line_out:
                print(f"  {test['name']}: {line_out.strip()}", flush=True)


SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:abort_on_error=0:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:exitcode=99",
    "LSAN_OPTIONS": "exitcode=99:print_suppressions=0",
}


def step_tidy(result):
    """Layout rules that the compiler does not check, and formatting."""
    done = run(["/usr/bin/python3", "tests/tidy/tidy.py"])
    for line in done.stdout.splitlines():
        if line.startswith("ok "):
            result.add(line[3:], "ok")
        elif line.startswith("not ok "):
            result.add(line[7:], "failed")
    if done.returncode not in (0, 1):
        result.add("tidy", "failed", done.stdout + done.stderr)


def step_unit(result):
    """Unit tests and the fuzz corpora under the address and undefined-behaviour sanitisers (gcc)."""
    if is_built(result, "asan", "asan build, warnings are errors"):
        meson_tests(result, "asan")


def step_threads(result):
    """What has threads, under the thread sanitiser."""
    if is_built(result, "tsan", "tsan build"):
        meson_tests(result, "tsan", "--suite", "threads")


fuzz_lock = threading.Lock()
fuzz_queue = None  # targets that nobody has taken, longest first
fuzz_done = {}     # name: how it ended


def fuzz(target, prefix):
    """One target from its seeds."""
    name = target.name.removeprefix("fuzz_")
    work = BUILD / "fuzz" / "work" / name
    work.mkdir(parents=True, exist_ok=True)
    seeds = [str(ROOT / "tests/fuzz" / kind / name) for kind in ("corpus", "regression")
             if (ROOT / "tests/fuzz" / kind / name).is_dir()]
    fuzz_done[name] = run(
        [*prefix, str(target), f"-max_total_time={fuzz_seconds(name)}", "-rss_limit_mb=3000",
         f"-timeout={60 if prefix else 20}",  # by the clock: who gives way to the tests may get little of a core
         "-print_final_stats=0", "-verbosity=0", f"-artifact_prefix={work}/crash-", str(work), *seeds],
        env={**os.environ, **SANITIZER_ENV})


def fuzz_targets_left(prefix=()):
    """Takes targets and runs them until none is left."""
    global fuzz_queue
    with fuzz_lock:
        if fuzz_queue is None:
            targets = [path for path in (BUILD / "fuzz" / "tests" / "fuzz").glob("fuzz_*")
                       if path.is_file() and os.access(path, os.X_OK)]
            fuzz_queue = queue.SimpleQueue()
            for target in sorted(targets, key=lambda path: (-fuzz_seconds(path.name[5:]), path.name)):
                fuzz_queue.put(target)
    while True:
        try:
            target = fuzz_queue.get_nowait()
        except queue.Empty:
            return
        fuzz(target, prefix)


def step_fuzz(result):
    """Each fuzz target for a minute or less (libFuzzer, clang), also a second compiler for all warnings."""
    if not is_built(result, "fuzz", "clang build, warnings are errors"):
        return
    workers = [threading.Thread(target=fuzz_targets_left) for _ in range(int(JOBS) - (meanwhile is not None))]
    for worker in workers:
        worker.start()
    for worker in [*workers, *([meanwhile] if meanwhile else [])]:
        worker.join()
    for name, done in sorted(fuzz_done.items()):
        result.add(f"fuzz {name}, {fuzz_seconds(name)} s", "ok" if done.returncode == 0 else "failed",
                   done.stdout + done.stderr)


def pytest_once(label, binary, env, *arguments):
    """{test: (status, detail)}, None where there is no report, and what was printed."""
    report = BUILD / f"{label}.xml"
    report.unlink(missing_ok=True)
    done = run(["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}",
                f"--junitxml={report}", "-o", "junit_family=xunit1", *arguments],
               env={**os.environ, **SANITIZER_ENV, **(env or {}), "FG_BINARY": str(binary)})
    if not report.exists():
        return None, done.stdout + done.stderr
    cases = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        test = f"{case.get('file') or case.get('classname')}::{case.get('name')}"
        bad = next((child for child in case if child.tag in ("failure", "error")), None)
        skipped = next((child for child in case if child.tag == "skipped"), None)
        if bad is not None:
            cases[test] = "failed", bad.text or ""
        elif skipped is not None:
            cases.setdefault(test, ("skip", skipped.get("message") or ""))
        else:
            cases.setdefault(test, ("ok", ""))
    return cases, done.stdout + done.stderr


def pytest(result, label, binary, selection, env=None, more=0):
    """Side by side, as many as there are cores and some more; conftest.py says which tests may."""
    cases, output = pytest_once(label, binary, env, "-n", str(int(JOBS) + more), "--dist", "loadscope", *selection)
    if cases is None:
        result.add(label, "failed", output)
        return
    failed = [test for test, (status, _) in cases.items() if status == "failed"]
    again = None
    if 0 < len(failed) <= SECOND_TRIES:
        again, _ = pytest_once(f"{label}-again", binary, env, "-n", "0", *failed)
    for test, (status, detail) in cases.items():
        if status == "failed" and again is not None and again.get(test, ("", ""))[0] == "ok":
            status = "second try"
        result.add(f"{label}: {test}", status, detail)


def step_integration(result):
    """The real binary (with sanitisers) with real Redis and real clients."""
    if not is_built(result, "asan", None):
        return
    # Most of them wait most of the time.
    pytest(result, "integration", BUILD / "asan/gateway/floodgate", ["tests/integration"], more=1)


def step_races(result):
    """The real binary under the thread sanitiser, with the tests that load it from many sides."""
    if not is_built(result, "tsan", None):
        return
    pytest(result, "races", BUILD / "tsan/gateway/floodgate", ["tests/integration", "-m", "races"])


def step_browser(result):
    """The pages in Chromium, and the openai client of npm."""
    folder = ROOT / "tests/integration/browser"
    if not is_built(result, "asan", None):
        return
    modules = BUILD / "browser"
    modules.mkdir(parents=True, exist_ok=True)
    wanted, have = (folder / "package.json").read_text(), modules / "package.json"
    if not (modules / "node_modules").is_dir() or not have.exists() or have.read_text() != wanted:
        have.write_text(wanted)
        done = run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"], cwd=modules)
        if done.returncode != 0:
            result.add("browser: npm install", "failed", done.stdout + done.stderr)
            return
    pytest(result, "browser", BUILD / "asan/gateway/floodgate", ["tests/integration/browser"],
           env={"FG_NODE_MODULES": str(modules / "node_modules")})


STEPS = {
    "tidy": step_tidy,
    "unit": step_unit,
    "integration": step_integration,
    "browser": step_browser,
    "threads": step_threads,
    "races": step_races,
    "fuzz": step_fuzz,
}


meanwhile = None  # the thread that works beside the tests


def main():
    global meanwhile
    if "--list" in sys.argv:
        for name, step in STEPS.items():
            print(f"{name:12} {step.__doc__}")
        return 0
    chosen = sys.argv[1:] or list(STEPS)
    unknown = [name for name in chosen if name not in STEPS]
    if unknown:
        print(f"no such step: {', '.join(unknown)}; expected {', '.join(STEPS)}", file=sys.stderr)
        return 2
    total = Result()
    later = {"threads": "tsan", "races": "tsan", "fuzz": "fuzz"}
    for name in chosen:
        if name == "integration":
            names = dict.fromkeys(later[step] for step in chosen if step in later)
            meanwhile = threading.Thread(target=work_meanwhile, args=(names,), daemon=True)
            meanwhile.start()
        print(f"== {name}: {STEPS[name].__doc__}", flush=True)
        started = time.monotonic()
        one = Result()
        try:
            STEPS[name](one)
        except Exception as error:  # a broken step must not hide the others
            one.add(name, "failed", repr(error))
        print(f"   {one.passed} passed, {one.failed} failed, {one.skipped} skipped in "
              f"{time.monotonic() - started:.0f} s", flush=True)
        total.passed += one.passed
        total.failed += one.failed
        total.skipped += one.skipped
    print(f"{total.passed} passed, {total.failed} failed" +
          (f", {total.skipped} skipped" if total.skipped else ""))
    return 1 if total.failed or not total.passed else 0


sys.exit(main())
