"""Processes, ports, CPU seconds and memory of the servers that a benchmark starts."""
import contextlib
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PORTS_GIVEN = set()


def install(*package_lists):
    """What building and measuring needs, and what these lists of scripts/packages.sh name."""
    lists = dict.fromkeys(("FG_PACKAGES_BUILD", "FG_PACKAGES_BENCH", *package_lists))
    names = " ".join(f'"${{{name}[@]}}"' for name in lists)
    subprocess.run(["bash", "-c", f". scripts/packages.sh; fg_install_packages {names}"], cwd=ROOT, check=True)


def prepare(*package_lists):
    """Installs that and builds as scripts/train does; the binary's path."""
    install(*package_lists)
    if "FG_BINARY" in os.environ:
        return os.environ["FG_BINARY"]
    subprocess.run(["bash", "-c", ". scripts/release.sh; fg_build_trained"], cwd=ROOT, check=True)
    return str(ROOT / "build/trained/gateway/floodgate")


def program(name):
    """Builds one of tests/bench as a release is; its path."""
    subprocess.run(["bash", "-c", ". scripts/release.sh; fg_setup_release build/release"], cwd=ROOT, check=True)
    subprocess.run(["ninja", "-C", "build/release", "--quiet", f"tests/bench/{name}"], cwd=ROOT, check=True,
                   stdout=sys.stderr)
    return ROOT / "build/release/tests/bench" / name


def free_port():
    """Below those that are given to clients' connections, one of which could have it before its server does."""
    ephemeral = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(1024 if ephemeral < 21024 else ephemeral - 20000, max(ephemeral, 2048))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in PORTS_GIVEN:
                PORTS_GIVEN.add(port)
                return port


def family(pid):
    """The process and all below it."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def cpu_seconds(pid):
    """By the scheduler's count: a tick of the kernel's other one is 10 ms, a twentieth of what a run takes."""
    used_ns = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            for task in pathlib.Path(f"/proc/{one}/task").iterdir():
                used_ns += int((task / "schedstat").read_text().split()[0])
    if used_ns == 0:
        raise SystemExit("no CPU time in /proc/PID/task/*/schedstat; expected a kernel with CONFIG_SCHED_INFO")
    return used_ns / 1e9


def memory_bytes(pid):
    """What the processes have of their own, shared pages counted once among those who share them."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            found = re.search(r"^Pss:\s+(\d+) kB", pathlib.Path(f"/proc/{one}/smaps_rollup").read_text(), re.M)
            total += int(found[1]) * 1024
    return total


def pinned(core, command):
    """On one core, where there is more than one: servers on the first, what loads them on the last."""
    cores = sorted(os.sched_getaffinity(0))
    return command if len(cores) < 2 else ["taskset", "-c", str(cores[core]), *command]


@contextlib.contextmanager
def running(processes):
    """Ends what is in the list, by pid, whatever happens."""
    try:
        yield processes
    finally:
        for process in reversed(processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    for pid in reversed(family(process.pid)):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    process.wait()


def start(processes, folder, name, command):
    with open(folder / f"{name}.out", "wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    processes.append(process)
    return process


def wait_for_port(process, port, output):
    for _ in range(400):
        if process.poll() is not None:
            raise SystemExit(f"a server ended at its start:\n{output.read_text()[-2000:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}:\n{output.read_text()[-2000:]}")


def make_certificate(folder):
    """dev.crt, dev.key, and both in dev.pem."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-keyout", str(folder / "dev.key"), "-out", str(folder / "dev.crt"), "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
                   check=True, capture_output=True)
    (folder / "dev.pem").write_bytes((folder / "dev.crt").read_bytes() + (folder / "dev.key").read_bytes())


def first_line(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return ((done.stdout + done.stderr).splitlines() or ["unknown"])[0]


def describe(versions):
    """The machine and the versions, so that a figure can be judged later."""
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) // 1048576
    print(f"machine: {cpu[1] if cpu else 'unknown CPU'}, {os.cpu_count()} cores, {memory} GiB, "
          f"Linux {os.uname().release}, load {os.getloadavg()[0]:.2f} at the start")
    if versions:
        print("versions: " + "; ".join(first_line(command) for command in versions))
