"""redis_tools.py: a Redis of a test's own."""
import contextlib
import subprocess

import redis

from harness import free_port, wait_for


@contextlib.contextmanager
def redis_server(folder, *arguments):
    port = free_port()
    process = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
                                "--save", "", *arguments], stdout=subprocess.DEVNULL)
    try:
        password = arguments[arguments.index("--requirepass") + 1] if "--requirepass" in arguments else None
        client = redis.Redis(port=port, password=password)

        def answers():
            with contextlib.suppress(redis.ConnectionError):
                return client.ping()
        wait_for(answers)
        yield port, client, process
    finally:
        process.terminate()
        process.wait(20)
