"""
What event loops lose to one another where they share; no sockets, no clients.

  loops       a request's share of what all loops touch, with one thread and with more at once: a cached page that
              everybody asks for, as a loop looks it up and as if each request asked the store; a slot before one
              backend. Nanoseconds a request beyond the same without it; medians

Environment: FG_BENCH_ROUNDS (7), FG_BENCH_REPEATS (200000 requests a thread), FG_BENCH_WORK_NS (1000, of other work
a request: the more, the less loops meet).
"""
import os
import statistics
import subprocess
import sys

from . import machine, peers

ROUNDS = peers.environment("FG_BENCH_ROUNDS", 7)
REPEATS = peers.environment("FG_BENCH_REPEATS", 200000)
WORK_NS = peers.environment("FG_BENCH_WORK_NS", 1000)
KINDS = {"page": "a cached page", "store": "the same, the store asked each time", "gate": "a slot before a backend"}


def thread_counts():
    """1, 2, 4 and so on, and as many as there are cores."""
    cores = len(os.sched_getaffinity(0))
    return sorted({1, cores, *(2 ** i for i in range(1, cores.bit_length()) if 2 ** i <= cores)})


def measure(program, kind, count):
    command = [program, kind, str(count), str(REPEATS), str(WORK_NS)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run(_kind, _folder):
    machine.install()
    program = machine.program("bench_loops")
    counts = thread_counts()
    measured = {(kind, count): [] for kind in KINDS for count in counts}
    for turn in range(ROUNDS):
        for count in counts:
            print(f"  round {turn + 1}/{ROUNDS}: {count} threads", file=sys.stderr)
            for kind in KINDS:
                measured[kind, count].append(measure(program, kind, count))
    machine.describe([])
    print(f"ns a request, beside {WORK_NS} ns of other work; {ROUNDS} rounds, medians\n")
    print("| what all loops share | " + " | ".join(f"{count} thread{'s' * (count > 1)}" for count in counts) + " |")
    print("| --- |" + " ---: |" * len(counts))
    for kind, name in KINDS.items():
        print(f"| {name} | " + " | ".join(f"{statistics.median(measured[kind, count]):.0f}" for count in counts)
              + " |")
