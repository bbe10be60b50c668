"""A worker that spins or blocks without a signal, in a step or not, is found and replaced; its streams go on."""
import asyncio
import bisect
import contextlib
import ctypes
import os
import pathlib
import re
import signal
import struct
import subprocess
import time

import pytest

import harness
from harness import living_workers, workers
from test_inference_kills import STREAMS, Crowd, assert_all_free, pool, undisturbed, until

PTRACE_POKETEXT, PTRACE_GETREGS, PTRACE_ATTACH, PTRACE_DETACH = 4, 12, 16, 17
PTRACE_SEIZE = 0x4206
WALL = 0x40000000
REGS_BYTES, RIP = 27 * 8, 16 * 8
SPIN = bytes.fromhex("ebfe")  # jmp to itself
BLOCK = bytes.fromhex("b8220000000f05ebf7")  # pause(), again and again
KERNELS = re.compile(r"(matmul|matvec|attention|panel|_tile|vec_|dot_|norm|rope|silu|multiply|pack)")

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes, libc.ptrace.restype = [ctypes.c_long] * 4, ctypes.c_long


def trace(request, pid, address=0, data=0):
    if libc.ptrace(request, pid, address, data) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace request {request}")


def symbols():
    listed = subprocess.run(["nm", "-n", str(harness.BINARY)], capture_output=True, text=True, check=True).stdout
    found = [line.split() for line in listed.splitlines()]
    found = [(int(parts[0], 16), parts[2]) for parts in found if len(parts) == 3 and parts[1] in "tT"]
    return [address for address, _ in found], [name for _, name in found]


def base_of(pid):
    name = str(pathlib.Path(harness.BINARY).resolve())
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        parts = line.split()
        if parts[-1] == name and parts[2] == "00000000":
            return int(parts[0].split("-")[0], 16)
    raise AssertionError("the program is not mapped")


def poke(pid, address, code):
    """Words over the code; the page becomes this process's own, no other worker sees it."""
    padded = code + b"\x90" * (-len(code) % 8)
    for at in range(0, len(padded), 8):
        word = struct.unpack_from("<q", padded, at)[0]
        trace(PTRACE_POKETEXT, pid, address + at, word)


@contextlib.contextmanager
def attached(pid):
    """Its first thread stands still meanwhile."""
    try:
        trace(PTRACE_ATTACH, pid)
    except PermissionError:
        pytest.skip("this machine does not allow ptrace")
    try:
        os.waitpid(pid, WALL)
        yield
    finally:
        trace(PTRACE_DETACH, pid)


def hang(pid, code, table):
    """Make the first thread run `code` in place of what it computes. False: it was not computing."""
    addresses, names = table
    with attached(pid):
        regs = ctypes.create_string_buffer(REGS_BYTES)
        trace(PTRACE_GETREGS, pid, 0, ctypes.addressof(regs))
        rip = struct.unpack_from("<Q", regs.raw, RIP)[0]
        offset = rip - base_of(pid)
        at = bisect.bisect_right(addresses, offset) - 1
        if not 0 <= offset < addresses[-1] or not KERNELS.search(names[at]):
            return False
        poke(pid, rip, code)
        return True


@pytest.mark.races
@pytest.mark.parametrize("code, word", [(SPIN, "spins"), (BLOCK, "blocked")], ids=["spins", "blocks"])
def test_a_worker_that_does_not_get_on_is_replaced(launch, code, word):
    gateway = launch(pool(worker_hang="1h"))  # its heartbeat would find nothing
    want = undisturbed(gateway)
    table = symbols()
    times = {}

    def hang_one(crowd):
        """Until a worker is met in a step, or the crowd has gone home."""
        while crowd.open > 0:
            for pid in [one["pid"] for one in workers(gateway) if one["pid"] > 0] * 20:
                if not harness.is_alive(pid) or not hang(pid, code, table):
                    continue
                times["pid"], times["hung"] = pid, time.monotonic()
                harness.wait_for(lambda: not harness.is_alive(pid), 60, "the end of the hung worker")
                times["found"] = time.monotonic()
                return

    async def disturb(crowd):
        await until(lambda: crowd.events > 3 * STREAMS)
        await asyncio.to_thread(hang_one, crowd)
    for _ in range(8):
        got = asyncio.run(Crowd(gateway, STREAMS).run(disturb))
        assert got == want
        if times:
            break
    assert times, "no worker was met in a step"
    assert re.search(rf"worker_hangs index=\d pid={times['pid']} reason={word}", gateway.log), gateway.log[-2000:]
    print(f"{word}: found after {times['found'] - times['hung']:.3f} s")
    assert gateway.stats()["inference"]["requests"]["failed"] == 0
    assert_all_free(gateway)


def hang_at(pid, name, code):
    """From now on `name` runs `code`, whichever thread calls it."""
    addresses, names = symbols()
    with attached(pid):
        poke(pid, base_of(pid) + addresses[names.index(name)], code)


@pytest.mark.parametrize("name, code, word", [
    ("fg_kv_arena_reclaim_orphans", SPIN, "silent"), ("fg_kv_arena_reclaim_orphans", BLOCK, "silent"),
    ("fg_worker_prepare_run", SPIN, "prepares"), ("fg_worker_prepare_run", BLOCK, "prepares"),
], ids=["loop-spins", "loop-blocks", "helper-spins", "helper-blocks"])
def test_a_hang_outside_a_step_is_found(launch, name, code, word):
    gateway = launch(pool(workers=2, worker_hang="1s"))
    want = asyncio.run(Crowd(gateway, 4, tokens=20).run())
    pid = living_workers(gateway)[0]["pid"]
    hang_at(pid, name, code)  # the heartbeat calls the one, the next prompt the other
    assert asyncio.run(Crowd(gateway, 4, tokens=20).run()) == want
    harness.wait_for(lambda: re.search(rf"worker_hangs index=0 pid={pid} reason={word}", gateway.log), 60)
    harness.wait_for(lambda: workers(gateway)[0]["pid"] not in (0, pid), 60)
    assert gateway.stats()["inference"]["requests"]["failed"] == 0
    assert_all_free(gateway)


def test_a_worker_that_is_slow_to_die_is_found_once(launch):
    gateway = launch(pool(workers=2, worker_hang="1s"))
    first, second = (one["pid"] for one in living_workers(gateway))
    hang_at(first, "fg_kv_arena_reclaim_orphans", BLOCK)
    trace(PTRACE_SEIZE, first)  # until we have waited for it, its parent cannot
    try:
        harness.wait_for(lambda: f"pid={first} reason=silent" in gateway.log, 60)
        hang_at(second, "fg_kv_arena_reclaim_orphans", BLOCK)
        harness.wait_for(lambda: workers(gateway)[1]["pid"] not in (0, second), 60)
        assert gateway.log.count(f"worker_hangs index=0 pid={first} ") == 1
    finally:
        os.waitpid(first, WALL)
    harness.wait_for(lambda: workers(gateway)[0]["pid"] not in (0, first), 60)


def set_policy(pids, policy):
    """Of all threads of these processes; not everybody may go back to what was."""
    for pid in pids:
        for tid in map(int, os.listdir(f"/proc/{pid}/task")):
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.sched_setscheduler(tid, policy, os.sched_param(0))


def test_a_starved_worker_is_not_taken_for_a_hung_one(launch):
    """Threads that run only when nobody else wants to, beside many who do: seconds without a sign of life."""
    gateway = launch(pool(workers=2, worker_hang="1s"))
    pids = [one["pid"] for one in living_workers(gateway)]
    set_policy(pids, os.SCHED_IDLE)
    burners = []
    ages = []

    async def starve(crowd):
        await until(lambda: crowd.events > 12)
        burners.extend(subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"]) for _ in range(4 * (os.cpu_count() or 1)))
        end = time.monotonic() + 10
        while crowd.open > 0 and time.monotonic() < end and max(ages, default=0) < 3:
            ages.extend(one.get("heartbeat_age_seconds", 0) for one in await asyncio.to_thread(workers, gateway))
            await asyncio.sleep(0.1)
        if crowd.open > 0:  # one that is stopped is found all the same, and takes none of the streams along
            harness.send_signal(pids[0], signal.SIGSTOP)
            await until(lambda: not harness.is_alive(pids[0]))
        for burner in burners:
            burner.kill()
        set_policy(pids[1:], os.SCHED_OTHER)
    try:
        asyncio.run(Crowd(gateway, 12, tokens=60).run(starve))
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    print(f"{max(ages):.1f} s without a sign of life")
    hung = re.findall(r"worker_hangs index=\d pid=(\d+) reason=(\w+)", gateway.log)
    # It may take its time to die, and is found once.
    assert hung in ([], [(str(pids[0]), "stopped")]), gateway.log[-2000:]
    assert gateway.stats()["inference"]["requests"]["failed"] == 0


def test_a_busy_machine_hangs_nobody(launch):
    """Many more that compute than there are processors: slow is not stuck."""
    gateway = launch(pool(workers=4, threads_per_worker=2))
    burners = [subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        asyncio.run(Crowd(gateway, 8, tokens=16).run())
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert "worker_hangs" not in gateway.log
    assert gateway.stats()["inference"]["requests"]["failed"] == 0
