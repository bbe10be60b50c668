"""
The engine beside llama.cpp (the binaries of the npm package node-llama-cpp), on the CPU.

  inference   a model of Qwen2.5-0.5B's shape in Q8_0, Q4_0 and Q4_K: reading a prompt of 256 tokens, and
              generating for 1, 8 and 16 streams at once; tokens per wall second and per CPU second

Both engines sit idle in processes of their own and are asked in turn, so that a machine that gets
slower gets slower for both; medians. On a machine that others use too, judge by CPU seconds.
Environment: FG_BENCH_ROUNDS (5), FG_BENCH_THREADS (2), FG_BENCH_TYPES ("Q8_0 Q4_0 Q4_K"),
FG_BENCH_KERNELS (the fastest; or scalar, avx2, avx512).
"""
import json
import os
import statistics
import subprocess
import sys

from . import machine, peers

ROUNDS = peers.environment("FG_BENCH_ROUNDS", 5)
THREADS = peers.environment("FG_BENCH_THREADS", 2)
MODELS = machine.ROOT / "build/bench-models"
LLAMA = machine.ROOT / "build/bench-llama"
LLAMA_VERSION = "3"  # of node-llama-cpp

# Title and command of each workload.
WORKLOADS = [
    ("prompt of 256 tokens", "prompt 256 1"),
    ("1 stream", "decode 1 32"),
    ("8 streams", "decode 8 16"),
    ("16 streams", "decode 16 16"),
]


def prepare():
    """Builds our program, installs llama.cpp's; the path of ours."""
    machine.install("FG_PACKAGES_BENCH_INFERENCE")
    if not (LLAMA / "node_modules/node-llama-cpp").exists():
        LLAMA.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(LLAMA),
                        f"node-llama-cpp@{LLAMA_VERSION}"], check=True, stdout=sys.stderr)
    return machine.program("bench_engine")


def model_of(type_name):
    from . import bench_model  # numpy is there once prepare() has run
    path = MODELS / f"bench-{type_name}.gguf"
    MODELS.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        bench_model.make(path, type_name)
    return path


class Engine:
    """A process that answers a command a line with a line of JSON."""

    def __init__(self, processes, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        processes.append(self.process)
        self.kernels = self.answer()["kernels"]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self.process.args))} ended early")
        return json.loads(line)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def rates(self, command):
        """Tokens per wall second and per CPU second."""
        done = self.ask(command)
        return done["tokens"] / done["wall_s"], done["tokens"] / max(done["cpu_s"], 1e-6)


def measure(engines, label, command):
    """{name: (wall rate, CPU rate)}: medians over the rounds."""
    results = {name: [] for name in engines}
    for number in range(ROUNDS):
        for name in list(engines) if number % 2 == 0 else reversed(list(engines)):
            results[name].append(engines[name].rates(command))
            print(f"  {label}, round {number + 1}/{ROUNDS}: {name}", file=sys.stderr)
    return {name: [statistics.median(column) for column in zip(*rows)] for name, rows in results.items()}


def bandwidth(engine):
    """Bytes of weights, and GB/s at which all threads together read them, doing nothing else."""
    passes = [engine.ask("read 1") for _ in range(5)]
    return passes[0]["bytes"], max(one["bytes"] / one["wall_s"] for one in passes) / 1e9


def run_type(processes, program, type_name):
    path = model_of(type_name)
    kernels = [os.environ["FG_BENCH_KERNELS"]] if "FG_BENCH_KERNELS" in os.environ else []
    engines = {
        "floodgate": Engine(processes, [program, path, str(THREADS), *kernels]),
        "llama.cpp": Engine(processes, ["node", str(machine.ROOT / "scripts/benchmarks/llama_peer.mjs"),
                                        str(LLAMA / "node_modules"), path, str(THREADS)]),
    }
    for engine in engines.values():
        engine.ask("prompt 32 1")  # pages of the file are mapped, threads are there
    weight_bytes, read_rate = bandwidth(engines["floodgate"])
    print(f"\n{type_name}: {weight_bytes / 1e6:.0f} MB of weights; reading them alone: {read_rate:.1f} GB/s, which would "
          f"allow {read_rate * 1e9 / weight_bytes:.0f} tokens/s for one stream")
    print(f"kernels: {engines['floodgate'].kernels}; {engines['llama.cpp'].kernels}\n")
    print("| workload | tokens/s | llama.cpp | ratio | tokens/CPU s | llama.cpp | ratio |")
    print("| --- |" + " ---: |" * 6)
    for title, command in WORKLOADS:
        rows = measure(engines, f"{type_name}, {title}", command)
        (wall, cpu), (peer_wall, peer_cpu) = rows["floodgate"], rows["llama.cpp"]
        print(f"| {title} | {wall:.1f} | {peer_wall:.1f} | {wall / peer_wall:.2f} | {cpu:.1f} | {peer_cpu:.1f} | "
              f"{cpu / peer_cpu:.2f} |", flush=True)
    for engine in engines.values():
        engine.process.stdin.close()
        engine.process.wait(30)


def run(_kind, _folder):
    program = prepare()
    machine.describe([["node", "--version"], ["npm", "ls", "--prefix", str(LLAMA), "node-llama-cpp", "--parseable",
                                              "--long"]])
    print(f"{THREADS} threads each; {ROUNDS} interleaved rounds, medians")
    for type_name in os.environ.get("FG_BENCH_TYPES", "Q8_0 Q4_0 Q4_K").split():
        with machine.running([]) as processes:
            run_type(processes, program, type_name)
