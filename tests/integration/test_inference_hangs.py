"""A worker that spins or blocks in the middle of a step, without a signal, is found and replaced; its streams go on."""
import asyncio
import bisect
import ctypes
import os
import pathlib
import re
import struct
import subprocess
import time

import pytest

import harness
from test_inference_kills import STREAMS, Crowd, assert_all_free, pool, undisturbed, until, workers

PTRACE_POKETEXT, PTRACE_GETREGS, PTRACE_ATTACH, PTRACE_DETACH = 4, 12, 16, 17
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


def hang(pid, code, table):
    """Make the first thread run `code` in place of what it computes. False: it was not computing."""
    addresses, names = table
    try:
        trace(PTRACE_ATTACH, pid)
    except PermissionError:
        pytest.skip("this machine does not allow ptrace")
    try:
        os.waitpid(pid, WALL)
        regs = ctypes.create_string_buffer(REGS_BYTES)
        trace(PTRACE_GETREGS, pid, 0, ctypes.addressof(regs))
        rip = struct.unpack_from("<Q", regs.raw, RIP)[0]
        offset = rip - base_of(pid)
        at = bisect.bisect_right(addresses, offset) - 1
        if not 0 <= offset < addresses[-1] or not KERNELS.search(names[at]):
            return False
        poke(pid, rip, code)
        return True
    finally:
        trace(PTRACE_DETACH, pid)


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


def test_a_busy_machine_hangs_nobody(launch):
    """Many more that compute than there are processors: slow is not stuck."""
    gateway = launch(pool(workers=4, threads_per_worker=2))
    burners = [subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        asyncio.run(Crowd(gateway, 8, tokens=40).run())
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert "worker_hangs" not in gateway.log
    assert gateway.stats()["inference"]["requests"]["failed"] == 0
